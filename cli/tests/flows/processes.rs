//! Starts the binary, and makes sure that nothing outlives a test.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes this long; a test that waits longer has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is ended with the test, whatever its outcome.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        send(self.pid(), signal);
    }

    /// Waits for its end and returns its exit status; none if a signal ended it.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let mut status = None;
        wait_for("the end of the process", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

/// Sends `signal` to a process that this test started, or that descends from one.
pub(crate) fn send(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Looks until `done`; a test that has waited for too long fails with what it waited for.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The binary with `arguments`.
pub(crate) fn holdline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The binary with `arguments` under a limit of `files` open files per process.
pub(crate) fn holdline_with_files(files: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_holdline")]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit status, standard output and standard error of a command that ends by itself.
pub(crate) fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// All living descendants of a process.
pub(crate) fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([of]);
    loop {
        let children: Vec<u32> = parents()
            .into_iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| pid)
            .collect();
        if children.is_empty() {
            found.remove(&of);
            return found;
        }
        found.extend(children);
    }
}

/// Every living process with its parent (proc_pid_stat(5)).
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may hold anything, so fields are counted from its closing bracket.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?;
            (state != "Z").then_some((pid, fields.next()?.parse().ok()?))
        })
        .collect()
}

/// Waits until none of these processes is left.
pub(crate) fn wait_until_gone(pids: &BTreeSet<u32>) {
    wait_for("all processes to end", || parents().iter().all(|(pid, _)| !pids.contains(pid)));
}

/// A server with its addresses.
pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) clients: SocketAddr,
    pub(crate) alerts: SocketAddr,
    /// What it said when it was ready.
    pub(crate) ready: String,
    // A closed pipe would fail the server's next line.
    _stdout: BufReader<ChildStdout>,
}

/// Starts `holdline server` for at most `connections`, with `files` open files per process, and `more` arguments.
pub(crate) fn start_server(connections: u32, files: u32, more: &[&str]) -> Server {
    let connections = connections.to_string();
    let mut arguments = vec!["server", "--listen", "127.0.0.1:0", "--alerts", "127.0.0.1:0"];
    arguments.extend(["--max-connections", &connections]);
    arguments.extend(more);
    let mut command = holdline_with_files(files, &arguments);
    let mut process = Running(command.stderr(Stdio::null()).process_group(0).spawn().unwrap());
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    let mut ready = String::new();
    stdout.read_line(&mut ready).unwrap();
    let address = |what: &str| {
        let rest = ready.split(&format!("{what} on ")).nth(1).expect("the server says where it listens");
        rest.split(',').next().unwrap().parse().unwrap()
    };
    Server { clients: address("clients"), alerts: address("alerts"), ready, process, _stdout: stdout }
}

/// What is left of a process's standard error.
pub(crate) fn standard_error(process: &mut Running) -> String {
    let mut text = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}
