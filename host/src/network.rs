//! The kernel's side: socket caches, counters of the network stack, time in soft interrupts.
//!
//! A value that the kernel does not show (no root, no such cache) is none, never 0.

use std::collections::BTreeMap;
use std::fs;

/// The host at one moment. Counters count since boot; in a network namespace they are that namespace's own, except the
/// caches, which are the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// `MemAvailable` of /proc/meminfo.
    pub mem_available_bytes: Option<u64>,
    /// Slab caches by name: the bytes of pages they hold.
    pub slab_bytes: BTreeMap<String, u64>,
    /// /proc/net/sockstat and sockstat6, as `TCP inuse`.
    pub tcp_inuse: Option<u64>,
    /// Sockets in TIME_WAIT.
    pub tcp_time_wait: Option<u64>,
    /// Pages of queued data (not of sockets).
    pub tcp_mem_pages: Option<u64>,
    /// `TcpExt ListenOverflows`.
    pub listen_overflows: Option<u64>,
    /// `TcpExt ListenDrops`.
    pub listen_drops: Option<u64>,
    /// `Tcp RetransSegs`.
    pub retransmitted_segments: Option<u64>,
    /// Time in soft interrupts, all cores (/proc/stat).
    pub softirq_us: Option<u64>,
    /// Time taken by other guests, all cores.
    pub steal_us: Option<u64>,
    /// Time not idle, all cores.
    pub busy_us: Option<u64>,
}

/// Reads the host now.
#[must_use]
pub fn read() -> Reading {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (sockstat, sockstat6) = (file("/proc/net/sockstat"), file("/proc/net/sockstat6"));
    let (netstat, snmp, stat) = (file("/proc/net/netstat"), file("/proc/net/snmp"), file("/proc/stat"));
    let cpu = |column| cpu_us(&stat, column);
    let inuse6 = pair(&sockstat6, "TCP6:", "inuse").unwrap_or(0);
    Reading {
        mem_available_bytes: meminfo_bytes(&file("/proc/meminfo"), "MemAvailable"),
        slab_bytes: slabs(&file("/proc/slabinfo")),
        tcp_inuse: pair(&sockstat, "TCP:", "inuse").map(|inuse| inuse + inuse6),
        tcp_time_wait: pair(&sockstat, "TCP:", "tw"),
        tcp_mem_pages: pair(&sockstat, "TCP:", "mem"),
        listen_overflows: column(&netstat, "TcpExt:", "ListenOverflows"),
        listen_drops: column(&netstat, "TcpExt:", "ListenDrops"),
        retransmitted_segments: column(&snmp, "Tcp:", "RetransSegs"),
        softirq_us: cpu(7),
        steal_us: cpu(8),
        // user, nice, system, irq, softirq, steal; without idle (4) and iowait (5)
        busy_us: [1, 2, 3, 6, 7, 8].into_iter().map(cpu).sum(),
    }
}

impl Reading {
    /// The bytes of all caches that sockets take memory from; none where they can't be read.
    #[must_use]
    pub fn socket_caches(&self) -> Option<u64> {
        self.slab(&["TCP"])?;
        self.slab(&SOCKET_CACHES)
    }

    /// The bytes of all caches whose name begins with one of `prefixes`; none if there is no such cache.
    #[must_use]
    pub fn slab(&self, prefixes: &[&str]) -> Option<u64> {
        let mut matching =
            self.slab_bytes.iter().filter(|(name, _)| prefixes.iter().any(|p| name.starts_with(p))).peekable();
        matching.peek()?;
        Some(matching.map(|(_, bytes)| bytes).sum())
    }
}

/// Caches of the slab allocator that sockets take memory from, by the beginning of their names. `tcp_bind` ones are
/// merged into others by some kernels.
const SOCKET_CACHES: [&str; 6] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_", "tcp_bind"];

/// `MemTotal` of /proc/meminfo.
#[must_use]
pub fn mem_total_bytes() -> Option<u64> {
    meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes of pages by cache: `num_slabs * pagesperslab` of slabinfo(5). Active objects would be less than what is taken.
fn slabs(slabinfo: &str) -> BTreeMap<String, u64> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let cache = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let pages_per_slab: u64 = fields.get(5)?.parse().ok()?;
        let data = fields.iter().position(|field| *field == "slabdata")?;
        let slabs: u64 = fields.get(data + 2)?.parse().ok()?;
        Some(((*fields.first()?).to_owned(), slabs * pages_per_slab * page))
    };
    slabinfo.lines().filter_map(cache).collect()
}

/// The value after `key` in the line that begins with `prefix`: `TCP: inuse 4 orphan 0 tw 6 alloc 6 mem 1`.
fn pair(text: &str, prefix: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(prefix))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != key);
    words.nth(1)?.parse().ok()
}

/// The value under the heading `name` of the two lines that begin with `prefix`.
fn column(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(prefix));
    let at = lines.next()?.split_whitespace().position(|heading| heading == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// A column of the `cpu` line of proc_stat(5), where 1 is user; in units of 1/100 s whatever the kernel's tick.
fn cpu_us(stat: &str, column: usize) -> Option<u64> {
    let ticks: u64 = stat.lines().next()?.split_whitespace().nth(column)?.parse().ok()?;
    Some(ticks * 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let sockstat = "sockets: used 130\nTCP: inuse 4 orphan 0 tw 6 alloc 7 mem 1\nUDP: inuse 3 mem 2\n";
        assert_eq!(pair(sockstat, "TCP:", "tw"), Some(6));
        assert_eq!(pair(sockstat, "TCP:", "gone"), None);
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 33\nIpExt: A\nIpExt: 9\n";
        assert_eq!(column(netstat, "TcpExt:", "ListenOverflows"), Some(22));
        assert_eq!(column(netstat, "TcpExt:", "Missing"), None);
        assert_eq!(cpu_us("cpu  1 2 3 4 5 6 7 8 0 0\n", 7), Some(70_000));
        assert_eq!(cpu_us("", 7), None);
        assert_eq!(meminfo_bytes("MemTotal: 8 kB\nMemAvailable:   5 kB\n", "MemAvailable"), Some(5120));
    }

    #[test]
    fn slabs_are_pages_not_objects() {
        let slabinfo = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
            TCP 13 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n\
            TCPv6 1 13 2496 13 8 : tunables 0 0 0 : slabdata 1 1 0\n";
        let page = u64::try_from(rustix::param::page_size()).unwrap();
        let reading = Reading { slab_bytes: slabs(slabinfo), ..Reading::default() };
        assert_eq!(reading.slab_bytes["TCP"], 2 * 8 * page);
        assert_eq!(reading.slab(&["TCP"]), Some(3 * 8 * page));
        assert_eq!(reading.slab(&["filp"]), None);
    }

    #[test]
    fn this_host_can_be_read() {
        let reading = read();
        assert!(reading.tcp_inuse.is_some() && reading.busy_us.is_some() && reading.listen_overflows.is_some());
    }
}
