//! The figures that a report shows: their dotted names, what they are called, their units and what they cover.

use holdline_record::{Floor, Reference};

use super::{UNKNOWN, units};
use crate::{Summary, summary};

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Rate,
    BytesEach,
    Megabytes,
    Microseconds,
    Milliseconds,
    Seconds,
    Percent,
}

/// A figure of `summary.json`.
struct Figure {
    /// Its dotted name there.
    name: &'static str,
    /// What people call it.
    label: &'static str,
    unit: Unit,
    /// What it includes and how it was obtained.
    covers: &'static str,
}

const fn figure(name: &'static str, label: &'static str, unit: Unit, covers: &'static str) -> Figure {
    Figure { name, label, unit, covers }
}

const SLOPE: &str = "user memory of all its processes, slope over the staircase";
const ALL_IN: &str = "user memory of all its processes by connections, their base included";
const TOTAL: &str = "Pss_Anon + Pss_Shmem of all its processes at the highest level";
const BASE: &str = "intercept of that slope: user memory without connections";
const FILE: &str = "Pss_File of all its processes: the program itself, apart from user memory";
const CPU: &str =
    "all its processes over the first tap phase; 100% is one core; split between roles approximate on loopback";
const SETUP: &str = "CPU time of all its processes over the climb, by connections; split approximate on loopback";

/// In the order of a report.
const FIGURES: [Figure; 24] = [
    figure("connections.held", "Connections held", Unit::Count, "the fewest either side counted in the hold"),
    figure("connections.failed", "Connection attempts failed", Unit::Count, "all attempts of the swarm"),
    figure("hold_s", "Held for", Unit::Seconds, "from all connections standing to the end of the hold"),
    figure("connect.rate_per_s", "Connect rate", Unit::Rate, "registered a second, time spent connecting only"),
    figure("connect.latency_us.p50", "Connect latency, median", Unit::Milliseconds, "first SYN to Registered"),
    figure("connect.latency_us.p99", "Connect latency, 99th percentile", Unit::Milliseconds, "first SYN to Registered"),
    figure("connect.latency_us.max", "Connect latency, maximum", Unit::Milliseconds, "one sample, not repeatable"),
    figure("server.user_bytes_per_connection", "Server memory per connection", Unit::BytesEach, SLOPE),
    figure("server.user_bytes_per_connection_all_in", "Server memory per connection, all in", Unit::BytesEach, ALL_IN),
    figure("server.user_bytes_total", "Server memory", Unit::Megabytes, TOTAL),
    figure("server.base_bytes", "Server base", Unit::Megabytes, BASE),
    figure("server.program_file_bytes", "Server program", Unit::Megabytes, FILE),
    figure("server.cpu_percent_hold", "Server CPU in the hold", Unit::Percent, CPU),
    figure("server.cpu_us_per_connect", "Server CPU to set up a connection", Unit::Microseconds, SETUP),
    figure("swarm.user_bytes_per_connection", "Swarm memory per connection", Unit::BytesEach, SLOPE),
    figure("swarm.user_bytes_per_connection_all_in", "Swarm memory per connection, all in", Unit::BytesEach, ALL_IN),
    figure("swarm.user_bytes_total", "Swarm memory", Unit::Megabytes, TOTAL),
    figure("swarm.base_bytes", "Swarm base", Unit::Megabytes, BASE),
    figure("swarm.program_file_bytes", "Swarm program", Unit::Megabytes, FILE),
    figure("swarm.cpu_percent_hold", "Swarm CPU in the hold", Unit::Percent, CPU),
    figure("swarm.cpu_us_per_connect", "Swarm CPU to set up a connection", Unit::Microseconds, SETUP),
    figure(
        "softirq.cpu_percent_hold",
        "Soft interrupt CPU in the hold",
        Unit::Percent,
        "whole host, all cores; 100% is one core; in no process's CPU",
    ),
    figure(
        "kernel.bytes_per_connection_pair",
        "Kernel memory per connection pair",
        Unit::BytesEach,
        "socket slab caches of the whole host, slope; both ends where both are on this host",
    ),
    figure(
        "kernel.bytes_total",
        "Kernel memory",
        Unit::Megabytes,
        "growth of those caches from the start to the highest level",
    ),
];

/// One row of a report.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its dotted name in `summary.json`.
    pub(super) name: String,
    pub(super) label: String,
    pub(super) value: String,
    /// The figure of elsewhere; empty where there is none.
    pub(super) reference: String,
    pub(super) covers: String,
}

/// All rows: the known figures, then those that only a reference names.
pub(super) fn rows(summary: &Summary, references: &[Reference]) -> Vec<Row> {
    let values = summary.as_json();
    let floor = summary.floor.iter().flat_map(|floor| against_floor(floor, summary));
    let references: Vec<Reference> = references.iter().cloned().chain(floor).collect();
    let known = FIGURES.iter().map(|figure| {
        let matching: Vec<&Reference> = references.iter().filter(|reference| reference.figure == figure.name).collect();
        row(figure.name, figure.label, figure.unit, figure.covers, summary::figure(&values, figure.name), &matching)
    });
    let other = references.iter().filter(|reference| FIGURES.iter().all(|figure| figure.name != reference.figure));
    let other = other.map(|reference| {
        row(
            &reference.figure,
            &reference.figure,
            Unit::of(&reference.figure),
            "",
            summary::figure(&values, &reference.figure),
            &[reference],
        )
    });
    known.chain(other).collect()
}

/// The figures of the floor as references, with this run's as a multiple.
fn against_floor(floor: &Floor, summary: &Summary) -> Vec<Reference> {
    let pairs = [
        ("connect.rate_per_s", Some(floor.connect_rate_per_s), summary.connect.rate_per_s, Unit::Rate),
        (
            "kernel.bytes_per_connection_pair",
            floor.kernel_bytes_per_connection_pair,
            summary.kernel.bytes_per_connection_pair,
            Unit::BytesEach,
        ),
    ];
    let known = pairs.into_iter().filter_map(|(figure, floor, run, unit)| Some((figure, floor?, run?, unit)));
    known
        .map(|(figure, floor, run, unit)| Reference {
            figure: figure.to_owned(),
            value: format!("floor {}: {} x", unit.text(floor), units::decimal(run / floor, 2)),
            covers: "bare epoll pair on this host just before, as many processes and connections".to_owned(),
        })
        .collect()
}

fn row(name: &str, label: &str, unit: Unit, covers: &str, value: Option<f64>, references: &[&Reference]) -> Row {
    let join = |texts: Vec<&str>| texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    let elsewhere = join(references.iter().map(|reference| reference.covers.as_str()).collect());
    let elsewhere = if elsewhere.is_empty() { elsewhere } else { format!("reference: {elsewhere}") };
    Row {
        name: name.to_owned(),
        label: label.to_owned(),
        value: value.map_or_else(|| UNKNOWN.to_owned(), |value| unit.text(value)),
        reference: join(references.iter().map(|reference| reference.value.as_str()).collect()),
        covers: join(vec![covers, &elsewhere]),
    }
}

impl Unit {
    /// For a figure that only a reference names, by the ending of its name.
    fn of(name: &str) -> Self {
        if name.contains("cpu_us") {
            Self::Microseconds
        } else if name.contains("_us") {
            Self::Milliseconds
        } else if name.contains("bytes_per") {
            Self::BytesEach
        } else if name.contains("bytes") {
            Self::Megabytes
        } else if name.contains("percent") {
            Self::Percent
        } else if name.ends_with("per_s") {
            Self::Rate
        } else if name.ends_with("_s") {
            Self::Seconds
        } else {
            Self::Count
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Count => units::rate(value),
            Self::Rate => format!("{}/s", units::decimal(value, 0)),
            Self::BytesEach => units::bytes_each(value),
            Self::Megabytes => units::megabytes(value),
            Self::Microseconds => format!("{} µs", units::decimal(value, 1)),
            Self::Milliseconds => units::ms_of(value),
            Self::Seconds => format!("{} s", units::decimal(value, 1)),
            Self::Percent => format!("{}%", units::decimal(value, 1)),
        }
    }
}
