//! The ladder of limits: what stops a number of connections on this host first, and what next. Pure: grants in, rungs out.
//!
//! Both ends are on this host, so a connection takes two sockets, two open files, two places in epoll sets.

use holdline_host::grants::{Bound, Grants};
use holdline_host::limits::{RESERVED_FILES, connections_per_worker, workers_for};
use serde::Serialize;

/// Kernel memory of one connection, both ends on this host: 8.2 KB were measured for the bare pair.
const KERNEL_BYTES_PER_PAIR: u64 = 8_400;
/// Of this, what a memory cgroup is charged: 5.2 of 8.0 KB were measured, part of the accepting side belongs to nobody.
const CHARGED_BYTES_PER_PAIR: u64 = 5_400;
/// User memory of one connection, both ends and their share of the processes' base: 110 to 200 bytes were measured.
const USER_BYTES_PER_PAIR: u64 = 400;
/// Memory of one process, the pages of the program that it shares left out.
const BYTES_PER_PROCESS: u64 = 3 << 20;
/// Left for everything else on the host.
const SPARE_BYTES: u64 = 256 << 20;
/// Open files of each process that are no connections.
const FILES_PER_PROCESS: u64 = 32;
/// Processes of a run that hold no connection: conductor, alerter, two supervisors.
const OTHER_PROCESSES: u64 = 4;

/// What is to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Connections, both ends here.
    pub connections: u64,
    /// Worker processes of the server, if that is settled; as many as needed if none.
    pub server_workers: Option<u64>,
    /// Worker processes of all swarm groups, if that is settled.
    pub swarm_workers: Option<u64>,
    /// What the port plan gives at most, and in which words; none where sources are taken from loopback as needed.
    pub ports: Option<(u64, String)>,
    /// Connections being set up at once.
    pub window: u64,
    /// The length of the accept queue that the server asks for.
    pub backlog: u64,
}

impl Demand {
    /// `connections` with everything else as it is by default.
    #[must_use]
    pub fn of(connections: u64) -> Self {
        Self {
            connections,
            server_workers: None,
            swarm_workers: None,
            ports: None,
            window: u64::from(holdline_swarm::Config::default().window),
            backlog: u64::try_from(holdline_server::Config::default().backlog).unwrap_or(0),
        }
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// Its name, as the system calls it.
    pub limit: &'static str,
    /// The most connections that it lets through, both ends here; none if it stops no connection.
    pub connections: Option<u64>,
    /// What is there now.
    pub value: String,
    /// Where that was read.
    pub read_from: &'static str,
    /// What it does and what it does not.
    pub meaning: String,
    /// The command that raises it far enough for what is asked; none where only less demand or more hardware helps.
    pub raise: Option<String>,
}

impl Rung {
    /// Whether it stops `connections`.
    #[must_use]
    pub fn stops(&self, connections: u64) -> bool {
        self.connections.is_some_and(|most| most < connections)
    }
}

/// All rungs, the lowest first; those that stop nothing last. A grant that can't be read has no rung.
#[must_use]
pub fn ladder(grants: &Grants, demand: &Demand) -> Vec<Rung> {
    let mut rungs: Vec<Rung> = [
        open_files(grants, demand),
        files(grants, demand),
        ports(demand),
        epoll_watches(grants, demand),
        conntrack(grants, demand),
        memory(grants, demand),
        cgroup_memory(grants, demand),
        processes(
            grants.processes,
            demand,
            grants,
            "processes",
            "/proc/sys/kernel/pid_max, threads-max",
            "sysctl kernel.pid_max=4194304 kernel.threads-max=4194304",
        ),
        processes(
            grants.cgroup_pids,
            demand,
            grants,
            "pids.max of the cgroup",
            "/sys/fs/cgroup",
            "raise the container's limit of processes (docker: --pids-limit)",
        ),
        accept_queue(grants, demand),
        queued_data(grants),
        slabs(grants),
    ]
    .into_iter()
    .flatten()
    .collect();
    rungs.sort_by_key(|rung| rung.connections.unwrap_or(u64::MAX));
    rungs
}

/// Worker processes a side: those that are settled, or as many as the limit of open files asks for.
fn workers(settled: Option<u64>, grants: &Grants, connections: u64) -> u64 {
    settled.unwrap_or_else(|| workers_for(connections, grants.open_files.hard).map_or(u64::MAX, u64::from))
}

fn open_files(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let limit = grants.open_files.hard;
    let each = connections_per_worker(limit);
    let settled = [demand.server_workers, demand.swarm_workers].into_iter().flatten().min();
    let ceiling = grants.nr_open.map_or_else(String::new, |most| format!(" (it can be at most fs.nr_open = {most})"));
    let (most, meaning) = match settled {
        _ if each == 0 => (Some(0), format!("{RESERVED_FILES} are kept for other things than connections")),
        Some(workers) => (
            Some(each.saturating_mul(workers)),
            format!("{workers} worker process(es) a side, as the experiment says, hold {each} each"),
        ),
        None => {
            let workers = workers(None, grants, demand.connections);
            (
                None,
                format!("a process holds {each}: {} connections take {workers} processes a side", demand.connections),
            )
        }
    };
    let needed = match settled {
        Some(workers) => demand.connections.div_ceil(workers.max(1)),
        None => 1,
    };
    Some(Rung {
        limit: "open files a process",
        connections: most,
        value: format!("{limit} (hard), {} (soft, raised to it)", grants.open_files.soft),
        read_from: "getrlimit(RLIMIT_NOFILE)",
        meaning,
        raise: Some(format!(
            "ulimit -Hn {}{ceiling}; systemd: LimitNOFILE=, docker: --ulimit nofile=",
            needed.saturating_add(RESERVED_FILES)
        )),
    })
}

/// Both ends' processes.
fn all_processes(grants: &Grants, demand: &Demand) -> u64 {
    let workers = workers(demand.server_workers, grants, demand.connections).saturating_add(workers(
        demand.swarm_workers,
        grants,
        demand.connections,
    ));
    workers.saturating_add(OTHER_PROCESSES)
}

fn files(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let files = grants.files?;
    let around = all_processes(grants, demand).saturating_mul(FILES_PER_PROCESS);
    let needed = files.used.saturating_add(around).saturating_add(demand.connections.saturating_mul(2));
    Some(Rung {
        limit: "fs.file-max",
        connections: Some(files.left().saturating_sub(around) / 2),
        value: format!("{}, {} open", files.limit, files.used),
        read_from: "/proc/sys/fs/file-max, /proc/sys/fs/file-nr",
        meaning: "open files of the whole host, two for each connection".to_owned(),
        raise: Some(format!("sysctl fs.file-max={}", needed.saturating_mul(2))),
    })
}

fn ports(demand: &Demand) -> Option<Rung> {
    let (most, words) = match &demand.ports {
        Some((most, words)) => (Some(*most), words.clone()),
        None => (None, "as many sources of 127.0.0.0/8 as needed, 40% of the automatic range of each".to_owned()),
    };
    Some(Rung {
        limit: "source ports",
        connections: most,
        value: words,
        read_from: "/proc/sys/net/ipv4/ip_local_port_range",
        meaning:
            "sources x ports x destinations; above half of the automatic range, choosing a port is a hundred times \
                  slower, so 40% are used, or ports outside of it"
                .to_owned(),
        raise: most.map(|_| "more addresses in swarm.sources, or in target.connect".to_owned()),
    })
}

fn epoll_watches(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let watches = grants.epoll_watches?;
    Some(Rung {
        limit: "fs.epoll.max_user_watches",
        connections: Some(watches / 2),
        value: watches.to_string(),
        read_from: "/proc/sys/fs/epoll/max_user_watches",
        meaning: "descriptors in epoll sets, for each user; two for each connection".to_owned(),
        raise: Some(format!("sysctl fs.epoll.max_user_watches={}", demand.connections.saturating_mul(4))),
    })
}

fn conntrack(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let tracked = grants.conntrack?;
    // The table counts what it has seen; where nothing is tracked now, no rule asks for it.
    let active = tracked.used > 0;
    Some(Rung {
        limit: "net.netfilter.nf_conntrack_max",
        connections: active.then(|| tracked.left()),
        value: format!("{}, {} tracked", tracked.limit, tracked.used),
        read_from: "/proc/sys/net/netfilter/nf_conntrack_max, nf_conntrack_count",
        meaning: if active {
            "one entry for each connection; a full table drops new ones without a word".to_owned()
        } else {
            "nothing is tracked in this network namespace now; a firewall rule would change that".to_owned()
        },
        raise: Some(format!(
            "sysctl net.netfilter.nf_conntrack_max={}",
            tracked.used.saturating_add(demand.connections.saturating_mul(2))
        )),
    })
}

/// What all but the connections takes.
fn around_bytes(grants: &Grants, demand: &Demand) -> u64 {
    all_processes(grants, demand).saturating_mul(BYTES_PER_PROCESS).saturating_add(SPARE_BYTES)
}

fn memory(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let available = grants.mem_available_bytes?;
    let each = KERNEL_BYTES_PER_PAIR + USER_BYTES_PER_PAIR;
    Some(Rung {
        limit: "memory",
        connections: Some(available.saturating_sub(around_bytes(grants, demand)) / each),
        value: format!("{} MB available", available >> 20),
        read_from: "/proc/meminfo (MemAvailable)",
        meaning: format!(
            "a connection takes about {each} bytes with both ends here, {KERNEL_BYTES_PER_PAIR} of them the kernel's; {} take {} MB",
            demand.connections,
            demand.connections.saturating_mul(each).saturating_add(around_bytes(grants, demand)) >> 20
        ),
        raise: None,
    })
}

fn cgroup_memory(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let bound = grants.cgroup_memory?;
    let each = CHARGED_BYTES_PER_PAIR + USER_BYTES_PER_PAIR;
    Some(Rung {
        limit: "memory.max of the cgroup",
        connections: Some(bound.left().saturating_sub(around_bytes(grants, demand)) / each),
        value: format!("{} MB, {} MB used", bound.limit >> 20, bound.used >> 20),
        read_from: "/sys/fs/cgroup",
        meaning: format!("a cgroup is charged about {each} bytes for each connection with both ends in it"),
        raise: Some("raise the container's memory (docker: --memory)".to_owned()),
    })
}

fn processes(
    bound: Option<Bound>,
    demand: &Demand,
    grants: &Grants,
    limit: &'static str,
    read_from: &'static str,
    raise: &str,
) -> Option<Rung> {
    let bound = bound?;
    let left = bound.left().saturating_sub(OTHER_PROCESSES);
    // Workers that are settled fit or don't; otherwise each pair of processes holds so many.
    let most = match (demand.server_workers, demand.swarm_workers) {
        (Some(server), Some(swarm)) => {
            if server.saturating_add(swarm) <= left {
                None
            } else {
                Some(0)
            }
        }
        _ => Some((left / 2).saturating_mul(connections_per_worker(grants.open_files.hard))),
    };
    Some(Rung {
        limit,
        connections: most,
        value: format!("{}, {} running", bound.limit, bound.used),
        read_from,
        meaning: format!("{} processes are needed", all_processes(grants, demand)),
        raise: Some(raise.to_owned()),
    })
}

fn accept_queue(grants: &Grants, demand: &Demand) -> Option<Rung> {
    let somaxconn = grants.somaxconn?;
    let queue = somaxconn.min(demand.backlog);
    Some(Rung {
        limit: "net.core.somaxconn",
        connections: None,
        value: somaxconn.to_string(),
        read_from: "/proc/sys/net/core/somaxconn",
        meaning: if queue < demand.window {
            format!(
                "the accept queue holds {queue} and {} are set up at once: it may overflow, which makes a run invalid",
                demand.window
            )
        } else {
            format!("the accept queue holds {queue}, {} are set up at once", demand.window)
        },
        raise: (queue < demand.window)
            .then(|| format!("sysctl net.core.somaxconn={}", demand.backlog.max(demand.window))),
    })
}

fn queued_data(grants: &Grants) -> Option<Rung> {
    let [_, pressure, high] = grants.tcp_mem_pages?;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Rung {
        limit: "net.ipv4.tcp_mem",
        connections: None,
        value: format!("pressure at {} MB, {} MB at most", (pressure * page) >> 20, (high * page) >> 20),
        read_from: "/proc/sys/net/ipv4/tcp_mem",
        meaning: "counts data that is queued in sockets, not the sockets: idle connections take nothing of it"
            .to_owned(),
        raise: None,
    })
}

fn slabs(grants: &Grants) -> Option<Rung> {
    (!grants.slabs_readable).then(|| Rung {
        limit: "/proc/slabinfo",
        connections: None,
        value: "not readable".to_owned(),
        read_from: "/proc/slabinfo",
        meaning: "the kernel's memory for each connection will not be in the report".to_owned(),
        raise: Some("run as root".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use holdline_host::limits::OpenFiles;

    use super::*;

    pub(super) fn plenty() -> Grants {
        let bound = |limit| Some(Bound { limit, used: 1_000 });
        Grants {
            open_files: OpenFiles { soft: 1_024, hard: 20_000 },
            nr_open: Some(1 << 20),
            files: bound(100_000_000),
            epoll_watches: Some(100_000_000),
            somaxconn: Some(4_096),
            conntrack: None,
            tcp_mem_pages: Some([1_000, 2_000, 3_000]),
            mem_available_bytes: Some(1 << 40),
            slabs_readable: true,
            processes: bound(4_000_000),
            cgroup_pids: None,
            cgroup_memory: None,
        }
    }

    fn lowest(grants: &Grants, demand: &Demand) -> (&'static str, u64) {
        let rung = ladder(grants, demand).into_iter().next().unwrap();
        (rung.limit, rung.connections.unwrap())
    }

    #[test]
    fn each_limit_comes_first_when_it_is_the_lowest() {
        let asked = Demand::of(33_000);
        let bound = |limit, used| Some(Bound { limit, used });
        assert!(ladder(&plenty(), &asked).iter().all(|rung| !rung.stops(33_000)));
        let one_worker = Demand { server_workers: Some(1), swarm_workers: Some(2), ..asked.clone() };
        for (grants, demand, limit, connections) in [
            (plenty(), &one_worker, "open files a process", 19_872),
            (Grants { open_files: OpenFiles { soft: 64, hard: 64 }, ..plenty() }, &asked, "open files a process", 0),
            // 8 processes of 32 files are around them.
            (Grants { files: bound(40_000, 1_000), ..plenty() }, &asked, "fs.file-max", (39_000 - 8 * 32) / 2),
            (Grants { epoll_watches: Some(60_000), ..plenty() }, &asked, "fs.epoll.max_user_watches", 30_000),
            (Grants { conntrack: bound(30_000, 5), ..plenty() }, &asked, "net.netfilter.nf_conntrack_max", 29_995),
            (Grants { mem_available_bytes: Some(480 << 20), ..plenty() }, &asked, "memory", (200 << 20) / 8_800),
            (
                Grants { cgroup_memory: bound(480 << 20, 0), ..plenty() },
                &asked,
                "memory.max of the cgroup",
                (200 << 20) / 5_800,
            ),
            (Grants { cgroup_pids: bound(16, 10), ..plenty() }, &asked, "pids.max of the cgroup", 19_872),
            (
                plenty(),
                &Demand { ports: Some((11_292, "one source".to_owned())), ..asked.clone() },
                "source ports",
                11_292,
            ),
        ] {
            assert_eq!(lowest(&grants, demand), (limit, connections));
            let rung = &ladder(&grants, demand)[0];
            assert!(rung.stops(connections + 1) && !rung.stops(connections), "{rung:?}");
            assert!(rung.raise.is_some() || limit == "memory", "{rung:?}");
        }
    }

    #[test]
    fn commands_raise_far_enough() {
        let asked = Demand::of(1_000_000);
        let grants =
            Grants { files: Some(Bound { limit: 100_000, used: 5_000 }), epoll_watches: Some(1_000), ..plenty() };
        for rung in ladder(&grants, &asked).iter().filter(|rung| rung.stops(1_000_000)) {
            let value: u64 = rung.raise.as_ref().unwrap().split('=').next_back().unwrap().parse().unwrap();
            let raised = match rung.limit {
                "fs.file-max" => Grants { files: Some(Bound { limit: value, used: 5_000 }), ..plenty() },
                "fs.epoll.max_user_watches" => Grants { epoll_watches: Some(value), ..plenty() },
                other => panic!("{other} is plentiful"),
            };
            assert!(ladder(&raised, &asked).iter().all(|rung| !rung.stops(1_000_000)), "{rung:?}");
        }
    }

    #[test]
    fn absurd_demands_and_grants_do_not_overflow() {
        for connections in [0, 1, u64::MAX] {
            for hard in [0, 128, 129, u64::MAX] {
                let grants = Grants { open_files: OpenFiles { soft: 0, hard }, ..plenty() };
                assert!(!ladder(&grants, &Demand::of(connections)).is_empty());
            }
        }
    }

    #[test]
    fn what_stops_nothing_says_so() {
        let tracked = Grants {
            conntrack: Some(Bound { limit: 10, used: 0 }),
            slabs_readable: false,
            somaxconn: Some(16),
            ..plenty()
        };
        let rungs = ladder(&tracked, &Demand::of(1_000));
        let of = |limit: &str| rungs.iter().find(|rung| rung.limit == limit).unwrap();
        assert!(rungs.iter().all(|rung| !rung.stops(1_000)));
        assert!(of("net.netfilter.nf_conntrack_max").meaning.contains("nothing is tracked"));
        assert!(of("net.core.somaxconn").meaning.contains("may overflow"));
        assert!(of("/proc/slabinfo").raise.as_deref() == Some("run as root"));
    }
}
