//! A process that this one has started.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Channel, send_file};

/// How often a process that was asked to end is looked at.
const REAP_INTERVAL: Duration = Duration::from_millis(2);
/// How long a process that has closed its channel gets to end before it is killed.
const REAP_PATIENCE: Duration = Duration::from_millis(500);

/// The program that every process of a run is.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Where the standard error of its processes goes; to this process's own if none.
    pub log: Option<PathBuf>,
}

impl Program {
    /// The binary that is running now.
    ///
    /// # Errors
    /// The kernel can't say where it is.
    pub fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, log: None })
    }
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("can't start the process {name}: {error}; see `ulimit -u` and the cgroup's pids.max if processes ran out")]
pub struct SpawnError {
    name: String,
    error: io::Error,
}

/// How a process ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Whether it ended by itself and with success.
    pub success: bool,
    words: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<io::Result<ExitStatus>> for Exit {
    fn from(status: io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => Self { success: status.success(), words: status.to_string() },
            Err(error) => Self { success: false, words: format!("can't be waited for: {error}") },
        }
    }
}

/// A process of this program, started by this process. Dropping it kills and reaps the process.
pub struct Member<Out, In> {
    /// What it is, for logs and errors.
    pub name: String,
    /// The way to talk to it.
    pub channel: Channel<Out, In>,
    child: Child,
}

impl<Out: Serialize, In: DeserializeOwned> Member<Out, In> {
    /// Starts `holdline role KIND NAME`, hands it `file` if there is one, and queues its `first` message.
    ///
    /// # Errors
    /// The process could not be started, or died at once.
    pub fn spawn(
        program: &Program,
        kind: &str,
        name: &str,
        file: Option<BorrowedFd<'_>>,
        first: &Out,
    ) -> Result<Self, SpawnError> {
        let failed = |error| SpawnError { name: format!("{kind} {name}"), error };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&program.path);
        command.args(["role", kind, name]).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        // A process group of its own: Ctrl-C is for the parent, which tells its children in its own time.
        command.process_group(0);
        if let Some(log) = &program.log {
            command.stderr(OpenOptions::new().create(true).append(true).open(log).map_err(failed)?);
        }
        let child = command.spawn().map_err(failed)?;
        // The command still holds the child's end; it must not outlive the child there.
        drop(command);
        if let Some(file) = file {
            send_file(&ours, file).map_err(failed)?;
        }
        let mut channel = Channel::new(ours).map_err(failed)?;
        channel.push(first);
        Ok(Self { name: format!("{kind} {name}"), channel, child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(Ok(status).into()),
            Err(error) => Some(Err(error).into()),
        }
    }

    /// How it ended. One that has closed its end of the channel is given a moment to end, then it is killed, so that the
    /// answer is its own exit and not the kill.
    ///
    /// Blocks meanwhile, and until the kernel has closed all its sockets.
    pub fn reap(&mut self) -> Exit {
        let deadline = std::time::Instant::now() + REAP_PATIENCE;
        while std::time::Instant::now() < deadline {
            if let Some(exit) = self.ended() {
                return exit;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.kill()
    }

    /// Ends it at once and says how it ended.
    pub fn kill(&mut self) -> Exit {
        // It may have ended by itself; then there is nothing to kill, and waiting tells how.
        let _ = self.child.kill();
        self.child.wait().into()
    }

    /// Waits until it has ended by itself, up to `patience`, then kills it. Messages that still arrive are dropped.
    ///
    /// Returns whether it ended by itself and successfully.
    pub async fn retire(&mut self, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        let mut ignored = Vec::new();
        loop {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return status.success(),
                Err(_) => return false,
            }
            if tokio::time::Instant::now() >= deadline {
                self.kill();
                return false;
            }
            // A full channel would keep it from ending; its end is of no interest here.
            let _ = self.channel.flush().and_then(|()| self.channel.receive(&mut ignored));
            ignored.clear();
            tokio::time::sleep(REAP_INTERVAL).await;
        }
    }
}

impl<Out, In> Drop for Member<Out, In> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing can be done about a failure here, and the process sees its channel end as well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The socket to the parent that a process started by [`Member::spawn`] has as its standard input.
///
/// # Errors
/// Standard input is no socket: the process was started by hand.
pub fn from_parent() -> io::Result<UnixStream> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "this command is for holdline's own processes; see `holdline --help`",
        )
    })?;
    Ok(stream)
}
