//! The rows of `samples.csv` and `host.csv`.

use serde::{Deserialize, Serialize};

use crate::Phase;

/// What a sampled process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The push service.
    Server,
    /// The clients.
    Swarm,
    /// The sender of alerts.
    Alerter,
    /// The process that plays the experiment.
    Conductor,
}

/// One process at one sample. Memory by kind is from `/proc/PID/smaps_rollup` (proc_pid_smaps(5)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// The run.
    pub run: String,
    /// The host that took the sample.
    pub host: String,
    /// The swarm group, or empty.
    pub group: String,
    /// The role of the process.
    pub role: Role,
    /// The worker's number in its role and group; none for the supervisor, or for a role of one process.
    pub worker: Option<u32>,
    /// The process.
    pub pid: u32,
    /// Which sample: rows of the same number were taken together.
    pub sample: u64,
    /// Microseconds of the host's CLOCK_MONOTONIC.
    pub mono_us: u64,
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// The phase of the run.
    pub phase: Phase,
    /// The level in `climb` and `level`, the tap phase in `hold`.
    pub step: Option<u32>,
    /// Registered connections this process holds, by its own count; none for a process that holds none by design.
    pub connections: Option<u64>,
    /// Resident set size; counts pages shared with other processes in full.
    pub rss_bytes: u64,
    /// Proportional share of anonymous memory.
    pub pss_anon_bytes: u64,
    /// Proportional share of shared memory.
    pub pss_shmem_bytes: u64,
    /// Proportional share of mapped files: the program itself.
    pub pss_file_bytes: u64,
    /// CPU time since the process began, user and system.
    pub cpu_us: u64,
}

impl SampleRow {
    /// User memory of this process: anonymous and shared memory, without the program's own file pages.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        self.pss_anon_bytes.saturating_add(self.pss_shmem_bytes)
    }
}

/// The host at one sample. A value the kernel does not offer is none.
///
/// Slab columns are the pages that a cache holds (`num_slabs * pagesperslab`, slabinfo(5)), in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    /// The run.
    pub run: String,
    /// The host.
    pub host: String,
    /// Which sample: goes with the rows of `samples.csv` of the same number.
    pub sample: u64,
    /// Microseconds of the host's CLOCK_MONOTONIC.
    pub mono_us: u64,
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// The phase of the run.
    pub phase: Phase,
    /// The level in `climb` and `level`, the tap phase in `hold`.
    pub step: Option<u32>,
    /// `MemAvailable` of /proc/meminfo.
    pub mem_available_bytes: Option<u64>,
    /// Slab caches `TCP` and `TCPv6`.
    pub slab_tcp_bytes: Option<u64>,
    /// Slab cache `sock_inode_cache`.
    pub slab_sock_inode_bytes: Option<u64>,
    /// Slab cache `filp`.
    pub slab_filp_bytes: Option<u64>,
    /// Slab cache `dentry`.
    pub slab_dentry_bytes: Option<u64>,
    /// Slab caches `eventpoll_*`.
    pub slab_eventpoll_bytes: Option<u64>,
    /// Slab caches `tcp_bind*_bucket`; none where the kernel merged them into another cache.
    pub slab_tcp_bind_bytes: Option<u64>,
    /// TCP sockets in use, /proc/net/sockstat and sockstat6.
    pub tcp_inuse: Option<u64>,
    /// TCP sockets in TIME_WAIT.
    pub tcp_time_wait: Option<u64>,
    /// Pages of queued data, not of sockets.
    pub tcp_mem_pages: Option<u64>,
    /// Connections dropped because an accept queue was full, since boot (`TcpExt ListenOverflows`).
    pub listen_overflows: Option<u64>,
    /// SYNs dropped for any reason, since boot (`TcpExt ListenDrops`).
    pub listen_drops: Option<u64>,
    /// Segments sent again, since boot (`Tcp RetransSegs`).
    pub retransmitted_segments: Option<u64>,
    /// CPU time in soft interrupts, all cores, since boot (/proc/stat; ticks of 10 ms).
    pub softirq_us: Option<u64>,
    /// CPU time taken by other guests of the same machine, all cores, since boot.
    pub steal_us: Option<u64>,
    /// CPU time of all cores that was not idle, since boot.
    pub busy_us: Option<u64>,
}

impl HostRow {
    /// Kernel memory in the named socket caches: the sum of those that the kernel shows, none if it shows none.
    #[must_use]
    pub fn kernel_bytes(&self) -> Option<u64> {
        let known = [
            self.slab_tcp_bytes,
            self.slab_sock_inode_bytes,
            self.slab_filp_bytes,
            self.slab_dentry_bytes,
            self.slab_eventpoll_bytes,
            self.slab_tcp_bind_bytes,
        ];
        self.slab_tcp_bytes?;
        Some(known.into_iter().flatten().fold(0, u64::saturating_add))
    }
}
