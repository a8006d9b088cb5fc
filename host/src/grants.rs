//! What the kernel grants to all sockets and processes of this host, or of the cgroup and namespace that this process is
//! in. A value that can't be read is none.

use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::sysctl;
use crate::limits::{self, OpenFiles};
use crate::network;

/// A bound and how much of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The most there can be.
    pub limit: u64,
    /// What is taken already, by everything.
    pub used: u64,
}

impl Bound {
    /// What is left.
    #[must_use]
    pub fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The grants at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// RLIMIT_NOFILE of this process, which its children inherit.
    pub open_files: OpenFiles,
    /// fs.nr_open: what RLIMIT_NOFILE can be raised to at most.
    pub nr_open: Option<u64>,
    /// fs.file-max and fs.file-nr: open files of the host.
    pub files: Option<Bound>,
    /// fs.epoll.max_user_watches: descriptors in epoll sets, for each user.
    pub epoll_watches: Option<u64>,
    /// net.core.somaxconn: the longest accept queue.
    pub somaxconn: Option<u64>,
    /// net.netfilter.nf_conntrack_max and _count; none where connections are not tracked.
    pub conntrack: Option<Bound>,
    /// net.ipv4.tcp_mem: low, pressure and high mark for queued data, in pages.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// `MemAvailable` of /proc/meminfo.
    pub mem_available_bytes: Option<u64>,
    /// Whether the kernel's memory for sockets can be read (/proc/slabinfo, as root).
    pub slabs_readable: bool,
    /// Processes and threads of the host: the lesser of kernel.pid_max and kernel.threads-max; all that run count.
    pub processes: Option<Bound>,
    /// pids.max of the tightest cgroup around this process.
    pub cgroup_pids: Option<Bound>,
    /// memory.max (v1: memory.limit_in_bytes) of the tightest cgroup around this process; files cached are not used memory.
    pub cgroup_memory: Option<Bound>,
}

impl Grants {
    /// Reads them now.
    #[must_use]
    pub fn read() -> Self {
        let number = |name: &str| sysctl(name)?.parse::<u64>().ok();
        let reading = network::read();
        Self {
            open_files: limits::open_files(),
            nr_open: number("fs.nr_open"),
            files: number("fs.file-max").zip(files_open()).map(|(limit, used)| Bound { limit, used }),
            epoll_watches: number("fs.epoll.max_user_watches"),
            somaxconn: number("net.core.somaxconn"),
            conntrack: number("net.netfilter.nf_conntrack_max")
                .zip(number("net.netfilter.nf_conntrack_count"))
                .map(|(limit, used)| Bound { limit, used }),
            tcp_mem_pages: sysctl("net.ipv4.tcp_mem").and_then(|text| {
                let pages: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
                pages.try_into().ok()
            }),
            mem_available_bytes: reading.mem_available_bytes,
            slabs_readable: reading.socket_caches().is_some(),
            processes: processes(),
            cgroup_pids: cgroup_bound("pids", ["pids.max", "pids.current"], ["pids.max", "pids.current"]),
            cgroup_memory: cgroup_bound(
                "memory",
                ["memory.max", "memory.current"],
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            ),
        }
    }
}

fn files_open() -> Option<u64> {
    sysctl("fs.file-nr")?.split(' ').next()?.parse().ok()
}

fn processes() -> Option<Bound> {
    let number = |name: &str| sysctl(name)?.parse::<u64>().ok();
    let limit = [number("kernel.pid_max"), number("kernel.threads-max")].into_iter().flatten().min()?;
    // The fourth field of /proc/loadavg: runnable threads and all there are (proc_loadavg(5)).
    let loadavg = fs::read_to_string("/proc/loadavg").ok()?;
    let used = loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Bound { limit, used })
}

/// The bound with the least left among the cgroups around this process: version 2, or the controller of version 1.
fn cgroup_bound(controller: &str, v2: [&str; 2], v1: [&str; 2]) -> Option<Bound> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (controllers, path) = (parts.nth(1)?, parts.next()?);
            let (root, files) = if controllers.is_empty() {
                ("/sys/fs/cgroup".to_owned(), v2)
            } else if controllers.split(',').any(|one| one == controller) {
                (format!("/sys/fs/cgroup/{controllers}"), v1)
            } else {
                return None;
            };
            tightest(Path::new(&root), path.trim_start_matches('/'), files)
        })
        .min_by_key(|bound| bound.left())
}

/// Pages of files that the group would give back: `memory.stat` of a memory group; 0 for others.
fn cached_bytes(folder: &Path) -> u64 {
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    // Version 1 counts the groups below apart, under names of their own.
    let of = |name: &str| value(&format!("total_{name}")).or_else(|| value(name)).unwrap_or(0);
    of("inactive_file").saturating_add(of("active_file"))
}

/// Walks up from the group at `path` to `root`: any group on the way may be the tightest.
fn tightest(root: &Path, path: &str, [limit, used]: [&str; 2]) -> Option<Bound> {
    let group = root.join(path);
    let number = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let ancestors: Vec<PathBuf> =
        group.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect();
    ancestors
        .iter()
        // "max" is no number, and version 1 writes a number beyond any memory.
        .filter_map(|folder| {
            let used = number(folder, used)?.saturating_sub(cached_bytes(folder));
            Some(Bound { limit: number(folder, limit)?, used })
        })
        .filter(|bound| bound.limit < 1 << 62)
        .min_by_key(|bound| bound.left())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_read() {
        let grants = Grants::read();
        assert!(grants.open_files.hard > 0 && grants.mem_available_bytes > Some(0));
        assert!(grants.files.is_some_and(|files| files.limit > 0) && grants.processes.is_some());
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("holdline-cgroup-{}", std::process::id()));
        let put = |group: &str, limit: &str, used: &str| {
            let folder = root.join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("pids.max"), limit).unwrap();
            fs::write(folder.join("pids.current"), used).unwrap();
        };
        put("", "5000\n", "10\n");
        put("a", "100\n", "90\n");
        put("a/b", "max\n", "5\n");
        let files = ["pids.max", "pids.current"];
        assert_eq!(tightest(&root, "a/b", files), Some(Bound { limit: 100, used: 90 }));
        assert_eq!(tightest(&root, "", files), Some(Bound { limit: 5000, used: 10 }));
        assert_eq!(tightest(&root, "none/such", files), Some(Bound { limit: 5000, used: 10 }));
        fs::remove_dir_all(&root).unwrap();
    }
}
