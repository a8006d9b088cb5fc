//! What this host must offer before a run begins. Found out without opening a connection.

use holdline_host::{environment, network};
use holdline_swarm::Config as SwarmConfig;

use crate::Plan;

/// Kernel memory of one connection, both ends on this host: 8.2 KB were measured for the bare pair.
const KERNEL_BYTES_PER_PAIR: u64 = 8_400;
/// User memory of one connection, both ends and their share of the processes' base: 200 bytes were measured.
const USER_BYTES_PER_PAIR: u64 = 400;
/// Memory of one process, the pages of the program that it shares left out.
const BYTES_PER_PROCESS: u64 = 3 << 20;
/// Left for everything else on the host.
const SPARE_BYTES: u64 = 256 << 20;
/// Descriptors of each process that are no connections.
const FILES_PER_PROCESS: u64 = 32;

/// Something this host lacks, in words: what is asked, what there is, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Shortfall(String);

impl Shortfall {
    pub(crate) fn new(words: String) -> Self {
        Self(words)
    }
}

/// What the kernel grants in all.
#[derive(Debug, Clone, Copy, Default)]
struct Grants {
    mem_available_bytes: Option<u64>,
    file_max: Option<u64>,
    files_open: Option<u64>,
    epoll_watches: Option<u64>,
}

impl Grants {
    fn read() -> Self {
        let number = |name: &str, column: usize| environment::sysctl(name)?.split(' ').nth(column)?.parse().ok();
        Self {
            mem_available_bytes: network::read().mem_available_bytes,
            file_max: number("fs.file-max", 0),
            files_open: number("fs.file-nr", 0),
            epoll_watches: number("fs.epoll.max_user_watches", 0),
        }
    }
}

/// Everything this host lacks for `plan`; empty if nothing.
#[must_use]
pub fn check(plan: &Plan) -> Vec<Shortfall> {
    let mut shortfalls = against(plan, Grants::read());
    let sources = plan.groups.iter().filter_map(|group| SwarmConfig::probe_sources(&group.ports).err());
    shortfalls.extend(sources.map(|error| Shortfall(error.to_string())));
    shortfalls
}

/// Both ends are on this host, so each connection counts twice.
fn against(plan: &Plan, grants: Grants) -> Vec<Shortfall> {
    let pairs = plan.experiment.promise.connections;
    let ends = pairs.saturating_mul(2);
    let processes =
        u64::from(plan.server_workers) + plan.groups.iter().map(|group| u64::from(group.processes)).sum::<u64>();
    let mut shortfalls = Vec::new();
    let memory = pairs
        .saturating_mul(KERNEL_BYTES_PER_PAIR + USER_BYTES_PER_PAIR)
        .saturating_add(processes * BYTES_PER_PROCESS)
        .saturating_add(SPARE_BYTES);
    if let Some(available) = grants.mem_available_bytes.filter(|available| *available < memory) {
        shortfalls.push(Shortfall(format!(
            "{pairs} connections with both ends here take about {} MB, most of it kernel memory; {} MB are available \
             (MemAvailable): ask for fewer connections, or end what else is running",
            memory >> 20,
            available >> 20
        )));
    }
    let files = ends.saturating_add(processes * FILES_PER_PROCESS);
    if let (Some(max), Some(open)) = (grants.file_max, grants.files_open)
        && max.saturating_sub(open) < files
    {
        shortfalls.push(Shortfall(format!(
            "{pairs} connections with both ends here take {files} open files; the host has {max} (fs.file-max) and {open} are \
             open: `sysctl fs.file-max={}`",
            open.saturating_add(files).saturating_mul(2)
        )));
    }
    if let Some(watches) = grants.epoll_watches.filter(|watches| *watches < ends) {
        shortfalls.push(Shortfall(format!(
            "{pairs} connections with both ends here take {ends} epoll watches; a user has {watches} \
             (fs.epoll.max_user_watches): `sysctl fs.epoll.max_user_watches={}`",
            ends.saturating_mul(2)
        )));
    }
    shortfalls
}

/// What does not stop a run but shapes its figures.
pub(crate) fn warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    let (limit, backlog) = (environment::accept_queue_limit(), plan.server.backlog);
    let (queue, window) = (i64::from(limit.min(backlog)), i64::from(plan.experiment.swarm.window));
    if queue < window {
        let raise = if limit < backlog { format!("`sysctl net.core.somaxconn={backlog}`, or ") } else { String::new() };
        warnings.push(format!(
            "The accept queue holds {queue} connections and {window} are set up at once: it may overflow; {raise}set \
             swarm.window lower."
        ));
    }
    if network::read().slab(&["TCP"]).is_none() {
        warnings.push("The kernel's memory can't be read (/proc/slabinfo): run as root to have it.".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::experiment;

    #[test]
    fn each_limit_is_named_with_its_remedy() {
        let plan = Plan::new(experiment(&[(0, 33_000)]), 20_000).unwrap();
        let plenty = Grants {
            mem_available_bytes: Some(1 << 40),
            file_max: Some(1 << 40),
            files_open: Some(1000),
            epoll_watches: Some(1 << 40),
        };
        assert_eq!(against(&plan, plenty), []);
        assert_eq!(against(&plan, Grants::default()), [], "what can't be read stops nothing");
        for (grants, words) in [
            (Grants { mem_available_bytes: Some(100 << 20), ..plenty }, "MemAvailable"),
            (Grants { file_max: Some(60_000), ..plenty }, "sysctl fs.file-max"),
            (Grants { epoll_watches: Some(60_000), ..plenty }, "sysctl fs.epoll.max_user_watches"),
        ] {
            let shortfalls = against(&plan, grants);
            assert!(matches!(&shortfalls[..], [one] if one.to_string().contains(words)), "{shortfalls:?}");
        }
    }
}
