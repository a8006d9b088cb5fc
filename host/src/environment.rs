//! What kind of machine this is, for the record.

use std::collections::BTreeMap;
use std::fs;

/// Sysctls that decide how many connections a host holds, or what they cost.
const SYSCTLS: &[&str] = &[
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.nr_open",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
    "vm.overcommit_memory",
];

/// The value of a sysctl (sysctl(8)) as the kernel prints it, words separated by one space; none if it can't be read.
#[must_use]
pub fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The sysctls that matter, as far as they can be read.
#[must_use]
pub fn sysctls() -> BTreeMap<String, String> {
    SYSCTLS.iter().filter_map(|name| Some(((*name).to_owned(), sysctl(name)?))).collect()
}

/// The kernel's release, as of `uname -r`.
#[must_use]
pub fn kernel() -> Option<String> {
    rustix::system::uname().release().to_str().ok().map(str::to_owned)
}

/// The host's name, as of `uname -n`.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The processor's name, from /proc/cpuinfo.
#[must_use]
pub fn cpu_model() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Cores this process may use.
#[must_use]
pub fn cpu_cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| u64::try_from(cores.get()).unwrap_or(1))
}

/// The longest accept queue that a listener gets (net.core.somaxconn); 4,096 where it can't be read.
#[must_use]
pub fn accept_queue_limit() -> i32 {
    sysctl("net.core.somaxconn").and_then(|text| text.parse().ok()).unwrap_or(4096)
}
