//! Memory and CPU of processes, without listing their descriptors.
//!
//! `/proc/PID/fd` of a process with many sockets is never read: each entry listed pins about 1 KB of slab.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use procfs::process::Process;
use rustix::process::Signal;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Lets a process end with the one that starts it: it gets SIGTERM when the thread that started it ends, however that
/// came about (PR_SET_PDEATHSIG, prctl(2)).
#[allow(unsafe_code, reason = "no library offers what is done in a child before its program starts")]
pub fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before the signal was set.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls may be made; these are two system calls without memory
    // or locks.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Resident set size (sysinfo); pages shared with other processes count in full.
    pub rss_bytes: u64,
    /// Pss_Anon of `/proc/PID/smaps_rollup`.
    pub pss_anon_bytes: u64,
    /// Pss_Shmem of `/proc/PID/smaps_rollup`.
    pub pss_shmem_bytes: u64,
    /// Pss_File of `/proc/PID/smaps_rollup`.
    pub pss_file_bytes: u64,
    /// CPU time since the process began, user and system.
    pub cpu_us: u64,
}

/// Reads the usage of processes named by their pids.
pub struct Sampler {
    system: System,
}

impl Sampler {
    /// A sampler with no process read yet.
    ///
    /// # Errors
    /// The operating system is not one whose processes can be read.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { system: System::new().map_err(|error| std::io::Error::other(error.to_string()))? })
    }

    /// The usage of each of `pids` now; one that has ended, or may not be read, is absent.
    pub fn read(&mut self, pids: &[u32]) -> BTreeMap<u32, Usage> {
        let wanted: Vec<Pid> = pids.iter().map(|pid| Pid::from_u32(*pid)).collect();
        // Tasks are on by default, and cost a directory listing for each process.
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), true, kind);
        pids.iter().filter_map(|pid| Some((*pid, self.usage(*pid)?))).collect()
    }

    fn usage(&self, pid: u32) -> Option<Usage> {
        let seen = self.system.process(Pid::from_u32(pid))?;
        let rollup = Process::new(i32::try_from(pid).ok()?).ok()?.smaps_rollup().ok()?;
        let kinds = &rollup.memory_map_rollup.0.first()?.extension.map;
        let kind = |name: &str| kinds.get(name).copied();
        Some(Usage {
            rss_bytes: seen.memory(),
            pss_anon_bytes: kind("Pss_Anon")?,
            pss_shmem_bytes: kind("Pss_Shmem")?,
            pss_file_bytes: kind("Pss_File")?,
            cpu_us: run_time_us(pid).unwrap_or_else(|| seen.accumulated_cpu_time().saturating_mul(1000)),
        })
    }
}

/// Time on a CPU in microseconds, from the scheduler's own account (`/proc/PID/schedstat`, in nanoseconds): the ticks of
/// `/proc/PID/stat` are 10 ms, more than an idle service uses in a minute. It covers the first thread only, so it
/// serves for processes of one thread; none for others.
fn run_time_us(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim();
    if threads != "1" {
        return None;
    }
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_and_a_strange_one_is_not() {
        let own = std::process::id();
        let usage = Sampler::new().unwrap().read(&[own, u32::MAX / 4]);
        assert_eq!(usage.keys().copied().collect::<Vec<_>>(), [own]);
        let usage = usage[&own];
        assert!(usage.rss_bytes > 0 && usage.pss_anon_bytes > 0 && usage.pss_file_bytes > 0);
    }

    #[test]
    fn memory_that_is_touched_appears_as_anonymous() {
        let own = std::process::id();
        let mut sampler = Sampler::new().unwrap();
        let before = sampler.read(&[own])[&own];
        let block = vec![1_u8; 32 << 20];
        let after = sampler.read(&[own])[&own];
        let grown = after.pss_anon_bytes.saturating_sub(before.pss_anon_bytes);
        // Other tests run in this process and take and give memory too, but far less than half of this; a wrong unit or
        // a wrong row would be off by far more.
        assert!((16 << 20..48 << 20).contains(&grown), "{grown} of {}", block.len());
    }
}
