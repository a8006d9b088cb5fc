//! What a reader of the figures should know, but that does not change the verdict.

use holdline_record::{Event, HostRow, RunFolder};

use crate::facts::{Facts, MIN_CONNECTIONS, MIN_LEVELS, Memory};
use crate::report::units;

/// Time stolen by other guests beyond this share of the wall time disturbs the CPU figures.
const MAX_STEAL: f64 = 0.02;

/// Every warning, a sentence each.
pub(super) fn warnings(run: &RunFolder, facts: &Facts) -> Vec<String> {
    let mut warnings: Vec<String> = run
        .events
        .iter()
        .filter_map(|row| match &row.event {
            Event::Warning { message } => Some(message.clone()),
            _ => None,
        })
        .collect();
    if run.manifest.plan.reconnect {
        warnings.extend(super::promise::failed(facts));
    }
    warnings.extend(no_slopes(facts));
    warnings.extend(unknown(run, facts));
    warnings.extend(syns_dropped(&run.host));
    warnings.extend(stolen(&run.host));
    warnings
}

/// A null slope is explained, so that nobody takes it for a fault.
fn no_slopes(facts: &Facts) -> Option<String> {
    let sides = [
        ("server.user_bytes_per_connection", &facts.server.memory),
        ("swarm.user_bytes_per_connection", &facts.swarm.memory),
        ("kernel.bytes_per_connection_pair", &facts.kernel),
    ];
    let without = |(figure, memory): (&'static str, &Memory)| memory.fit.err().map(|why| (figure, why));
    // A side without any reading is no matter of levels; why it was not read is said elsewhere.
    let without: Vec<_> = sides.into_iter().filter_map(without).filter(|(_, why)| why.levels > 0).collect();
    let levels = without.iter().map(|(_, why)| why.levels).min()?;
    let connections = without.iter().map(|(_, why)| why.connections).min()?;
    let figures: Vec<_> = without.iter().map(|(figure, _)| *figure).collect();
    Some(format!(
        "Not fitted: {}: a slope needs {MIN_LEVELS} levels up to at least {} connections, this run has {levels} up to {}.",
        figures.join(", "),
        units::count(MIN_CONNECTIONS),
        units::count(connections)
    ))
}

fn unknown(run: &RunFolder, facts: &Facts) -> Vec<String> {
    let figures = [
        (
            "connect.rate_per_s",
            facts.connect_rate.is_none(),
            "no step of the staircase has both registrations and times",
        ),
        (
            "server.cpu_percent_hold",
            facts.server.cpu_percent_hold.is_none(),
            "it needs 5 s of samples of the same processes in the first tap phase",
        ),
        (
            "swarm.cpu_percent_hold",
            facts.swarm.cpu_percent_hold.is_none(),
            "it needs 5 s of samples of the same processes in the first tap phase",
        ),
        (
            "softirq.cpu_percent_hold",
            facts.softirq_percent_hold.is_none(),
            "it needs 5 s of readings of /proc/stat in the first tap phase",
        ),
        (
            "kernel.bytes_total",
            facts.kernel_growth.is_none(),
            "/proc/slabinfo was not readable at the start and at the highest level; run as root to see it",
        ),
    ];
    let mut warnings: Vec<String> = figures
        .iter()
        .filter(|(_, null, _)| *null)
        .map(|(figure, _, why)| format!("Not known: {figure}: {why}."))
        .collect();
    if run.host.iter().all(|row| row.listen_overflows.is_none()) {
        warnings
            .push("Not checked: overflow of the accept queue: the kernel shows no TcpExt ListenOverflows.".to_owned());
    }
    warnings
}

fn growth(host: &[HostRow], of: impl Fn(&HostRow) -> Option<u64>) -> Option<u64> {
    let mut known = host.iter().filter_map(of);
    let first = known.next()?;
    Some(known.next_back()?.saturating_sub(first))
}

fn syns_dropped(host: &[HostRow]) -> Option<String> {
    let dropped = growth(host, |row| row.listen_drops).filter(|dropped| *dropped > 0)?;
    Some(format!("The kernel dropped {} SYNs during the run (TcpExt ListenDrops, whole host).", units::count(dropped)))
}

fn stolen(host: &[HostRow]) -> Option<String> {
    let stolen = growth(host, |row| row.steal_us)?;
    let wall = growth(host, |row| Some(row.mono_us)).filter(|us| *us > 0)?;
    let share = stolen as f64 / wall as f64;
    (share > MAX_STEAL).then(|| {
        format!(
            "Other guests of this machine took {} of a core during the run; CPU and latency are worse for it.",
            units::share(share)
        )
    })
}
