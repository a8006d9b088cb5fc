//! `summary.json`: every figure of a run, documented. A figure that is not known is null, never 0.

use holdline_record::{Floor, RunFolder, TapCounts};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::{Facts, Fit, PhaseTaps, RoleFacts, step_rates};
use crate::judge::Judgement;
use crate::{SUMMARY_SCHEMA_VERSION, stats};

/// What a run showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this format, [`SUMMARY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run's name, from the manifest.
    pub run: String,
    /// The experiment's name, from the manifest.
    pub name: String,
    /// Whether the promise was kept, and whether that can be believed.
    pub verdict: Verdict,
    /// Why the verdict is not `held`: what makes the run invalid first, then what broke the promise. A sentence each.
    pub reasons: Vec<String>,
    /// What a reader of the figures should know, but that does not change the verdict.
    pub warnings: Vec<String>,
    /// Connections asked for and held.
    pub connections: Connections,
    /// Setting connections up.
    pub connect: Connect,
    /// What the server's processes cost.
    pub server: RoleSummary,
    /// What the swarm's processes cost.
    pub swarm: RoleSummary,
    /// CPU in soft interrupts.
    pub softirq: Softirq,
    /// The kernel's memory for sockets.
    pub kernel: Kernel,
    /// Taps, over all tap phases and by rate.
    pub taps: Taps,
    /// One entry for each level of the staircase that was reached, in order.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// What the host itself costs, played just before the run; null if it was not.
    #[serde(default)]
    pub floor: Option<Floor>,
    /// Seconds from the first row or event of the conducting host to the last.
    pub duration_s: Option<f64>,
    /// Seconds that all connections were held, by the conductor's events.
    pub hold_s: Option<f64>,
}

/// One level of the staircase: how cost grows. Memory is the median of the readings; null where there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Connections that stood.
    pub connections: u64,
    /// Connections registered a second in the step up to this level, first SYN to last outcome.
    pub connect_rate_per_s: Option<f64>,
    /// User memory of the server by connections, its base included.
    pub server_user_bytes_per_connection_all_in: Option<f64>,
    /// User memory of the swarm by connections, its base included.
    pub swarm_user_bytes_per_connection_all_in: Option<f64>,
    /// Kernel memory of the socket caches by connections: growth since the start, whole host, both ends.
    pub kernel_bytes_per_connection_pair: Option<f64>,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The promise was kept.
    Held,
    /// The measurement is sound and the promise was broken.
    NotHeld,
    /// The measurement can't be trusted: not a result.
    #[default]
    Invalid,
}

impl Verdict {
    /// The word used in `summary.json`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "not_held",
            Self::Invalid => "invalid",
        }
    }
}

/// Connections asked for and held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// What the experiment promises, from the manifest.
    pub promised: u64,
    /// The fewest that either side reported in any reading of the hold, from its books and samples.
    pub held: Option<u64>,
    /// The largest difference between what both sides counted as registered in any books of the hold: connections that
    /// one side believes in and the other does not.
    pub half_open: Option<u64>,
    /// Attempts that did not end registered, from the swarm's last books.
    pub failed: Option<u64>,
}

/// Setting connections up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    /// Connections registered a second, over the time spent connecting only: first SYN to last outcome of each step.
    pub rate_per_s: Option<f64>,
    /// From the first SYN to Registered, all connections, from `connect.hlog`.
    pub latency_us: Latency,
}

/// Microseconds from SYN to Registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Median; null under 20 samples.
    pub p50: Option<u64>,
    /// 99th percentile; null under 1,000 samples.
    pub p99: Option<u64>,
    /// The largest, one sample.
    pub max: Option<u64>,
}

/// What the processes of a role cost, supervisors and workers together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleSummary {
    /// Bytes of user memory each further connection takes: the slope of a Theil-Sen line over the staircase.
    /// Null below 8 levels or 20,000 connections.
    pub user_bytes_per_connection: Option<f64>,
    /// The 95% interval of that slope over the levels of this run (Sen 1968): how well the levels agree, not how well
    /// runs do.
    pub user_bytes_per_connection_interval: Option<[f64; 2]>,
    /// Bytes of user memory a connection with its share of the base: total at the highest level, by its connections.
    pub user_bytes_per_connection_all_in: Option<f64>,
    /// Bytes of user memory (Pss_Anon + Pss_Shmem) at the highest level, median of its readings.
    pub user_bytes_total: Option<u64>,
    /// Bytes of user memory without connections: the intercept of that line.
    pub base_bytes: Option<f64>,
    /// Bytes of mapped files (Pss_File), the program itself: the largest sum of any sample. Apart from user memory,
    /// because it shrinks for each process as more share the program.
    pub program_file_bytes: Option<u64>,
    /// Processes of this role, the most seen in one sample.
    pub processes: Option<u64>,
    /// CPU over the first tap phase of the hold; 100% is one core. On loopback the split between the roles is
    /// approximate: the receiver's TCP work often runs in the sender's time.
    pub cpu_percent_hold: Option<f64>,
    /// Microseconds of CPU time for each connection set up and registered, over the whole climb. Soft interrupts that
    /// ran in another process's time are not in it.
    #[serde(default)]
    pub cpu_us_per_connect: Option<f64>,
}

/// CPU in soft interrupts, which belongs to no process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Softirq {
    /// Over the first tap phase of the hold, all cores and all of the host; 100% is one core.
    pub cpu_percent_hold: Option<f64>,
}

/// The kernel's slab memory for sockets, whole host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Bytes for each connection, both ends together where both are on this host: slope of a Theil-Sen line over the
    /// staircase. Null below 8 levels or 20,000 connections.
    pub bytes_per_connection_pair: Option<f64>,
    /// The 95% interval of that slope over the levels of this run.
    pub bytes_per_connection_pair_interval: Option<[f64; 2]>,
    /// Growth in bytes from the start to the highest level. Negative if the kernel gave back more than it took.
    pub bytes_total: Option<i64>,
}

/// Taps, over all tap phases and by rate. Totals are null unless every planned phase has its counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Taps {
    /// Totals over the tap phases.
    #[serde(flatten)]
    pub totals: TapTotals,
    /// One entry for each planned tap phase, in order.
    pub by_rate: Vec<TapRate>,
}

impl Taps {
    /// The phase of the highest rate, which says most about percentiles.
    pub(crate) fn at_highest_rate(&self) -> Option<&TapRate> {
        self.by_rate.iter().max_by(|a, b| a.rate.total_cmp(&b.rate))
    }
}

/// Alerts by outcome; each sent alert is in exactly one, and `late` ones are part of `timed_out`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapTotals {
    /// Alerts written to the service.
    pub sent: Option<u64>,
    /// Acknowledged by the client in time.
    pub acknowledged: Option<u64>,
    /// The service said that the client is not connected.
    pub offline: Option<u64>,
    /// The service refused the alert interface.
    pub refused: Option<u64>,
    /// The service said that a bound was reached.
    pub overloaded: Option<u64>,
    /// Not acknowledged in time.
    pub timed_out: Option<u64>,
    /// Of `timed_out`, those acknowledged too late.
    pub late: Option<u64>,
    /// No answer at all.
    pub lost: Option<u64>,
}

/// One tap phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TapRate {
    /// Alerts a second, as planned.
    pub rate: f64,
    /// Seconds, as planned.
    pub duration_s: f64,
    /// Outcomes; null when the phase did not end.
    #[serde(flatten)]
    pub counts: TapTotals,
    /// From the intended send to the acknowledgement, by the alerter's clock, from `tap.hlog`.
    pub round_trip_us: RoundTrip,
    /// 99th percentile of the delay from intended to actual send, microseconds; null under 1,000 alerts.
    pub lag_p99_us: Option<u64>,
    /// The largest such delay, microseconds.
    pub lag_max_us: Option<u64>,
}

/// Microseconds from the intended send to the acknowledgement. A percentile with fewer than 10 samples beyond is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Median; null under 20 samples.
    pub p50: Option<u64>,
    /// 90th percentile; null under 100 samples.
    pub p90: Option<u64>,
    /// 99th percentile; null under 1,000 samples.
    pub p99: Option<u64>,
    /// 99.9th percentile; null under 10,000 samples.
    pub p999: Option<u64>,
    /// The largest, one sample.
    pub max: Option<u64>,
}

impl Summary {
    /// Itself as JSON, to look figures up in by name.
    pub(crate) fn as_json(&self) -> Value {
        // A summary always serializes; if it ever did not, no figure would be known.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// The number with a dotted name in a summary as JSON; positions in lists are numbers
/// (`taps.by_rate.0.round_trip_us.p99`).
pub(crate) fn figure(summary: &Value, name: &str) -> Option<f64> {
    summary.pointer(&format!("/{}", name.replace('.', "/")))?.as_f64()
}

/// Puts facts and judgement in the form of `summary.json`.
pub(crate) fn build(run: &RunFolder, facts: &Facts, judgement: Judgement) -> Summary {
    let manifest = &run.manifest;
    Summary {
        schema_version: SUMMARY_SCHEMA_VERSION,
        run: manifest.run.clone(),
        name: manifest.plan.name.clone(),
        verdict: judgement.verdict,
        reasons: judgement.reasons,
        warnings: judgement.warnings,
        connections: Connections {
            promised: manifest.plan.promise.connections,
            held: facts.held,
            half_open: facts.half_open,
            failed: facts.last_swarm.as_ref().map(holdline_record::SwarmCounts::failed),
        },
        connect: Connect {
            rate_per_s: facts.connect_rate,
            latency_us: Latency {
                p50: stats::percentile(&facts.connect, stats::P50),
                p99: stats::percentile(&facts.connect, stats::P99),
                max: stats::max(&facts.connect),
            },
        },
        server: role(&facts.server),
        swarm: role(&facts.swarm),
        softirq: Softirq { cpu_percent_hold: facts.softirq_percent_hold },
        kernel: Kernel {
            bytes_per_connection_pair: facts.kernel.fit.ok().map(|fit| fit.line.slope),
            bytes_per_connection_pair_interval: facts.kernel.fit.ok().map(interval),
            bytes_total: facts.kernel_growth,
        },
        taps: taps(&facts.taps),
        levels: levels(run, facts),
        floor: run.floor.clone(),
        duration_s: facts.duration_us.map(seconds),
        hold_s: facts.hold_us.map(seconds),
    }
}

fn levels(run: &RunFolder, facts: &Facts) -> Vec<Level> {
    let rates = step_rates(&run.events);
    let levels = (0_u32..).zip(&run.manifest.plan.levels).filter(|(step, _)| rates.contains_key(step));
    levels
        .map(|(step, connections)| {
            let each = |bytes: f64| bytes / (*connections).max(1) as f64;
            let user = |role: &RoleFacts| role.memory.at_level(step).map(|point| each(point.bytes as f64));
            let kernel = facts.kernel.at_level(step).zip(facts.kernel_at_start);
            Level {
                connections: *connections,
                connect_rate_per_s: rates.get(&step).copied().flatten(),
                server_user_bytes_per_connection_all_in: user(&facts.server),
                swarm_user_bytes_per_connection_all_in: user(&facts.swarm),
                kernel_bytes_per_connection_pair: kernel.map(|(point, start)| each(point.bytes as f64 - start as f64)),
            }
        })
        .collect()
}

fn interval(fit: Fit) -> [f64; 2] {
    [fit.slope_interval.0, fit.slope_interval.1]
}

fn role(facts: &RoleFacts) -> RoleSummary {
    let highest = facts.memory.highest();
    let fit = facts.memory.fit.ok();
    RoleSummary {
        user_bytes_per_connection: fit.map(|fit| fit.line.slope),
        user_bytes_per_connection_interval: fit.map(interval),
        user_bytes_per_connection_all_in: highest
            .filter(|point| point.connections > 0)
            .map(|point| point.bytes as f64 / point.connections as f64),
        user_bytes_total: highest.map(|point| point.bytes),
        base_bytes: fit.map(|fit| fit.line.intercept),
        program_file_bytes: facts.program_file_bytes,
        processes: facts.processes,
        cpu_percent_hold: facts.cpu_percent_hold,
        cpu_us_per_connect: facts.cpu_us_per_connect,
    }
}

fn taps(phases: &[PhaseTaps]) -> Taps {
    let counts: Option<Vec<_>> = phases.iter().map(|phase| phase.ended.as_ref().map(|ended| &ended.counts)).collect();
    // No phase at all is no total of 0: nothing was asked.
    let totals = counts.filter(|all| !all.is_empty()).map(|all| {
        all.into_iter().fold(TapCounts::default(), |mut sum, counts| {
            sum.add(counts);
            sum
        })
    });
    Taps { totals: totals.as_ref().map(tap_totals).unwrap_or_default(), by_rate: phases.iter().map(tap_rate).collect() }
}

fn tap_totals(counts: &TapCounts) -> TapTotals {
    TapTotals {
        sent: Some(counts.sent),
        acknowledged: Some(counts.acknowledged),
        offline: Some(counts.offline),
        refused: Some(counts.refused),
        overloaded: Some(counts.overloaded),
        timed_out: Some(counts.timed_out),
        late: Some(counts.late),
        lost: Some(counts.lost),
    }
}

fn tap_rate(phase: &PhaseTaps) -> TapRate {
    let ended = phase.ended.as_ref();
    let sent = ended.map_or(0, |ended| ended.counts.sent);
    TapRate {
        rate: phase.rate,
        duration_s: seconds(phase.planned_us),
        counts: ended.map(|ended| tap_totals(&ended.counts)).unwrap_or_default(),
        round_trip_us: RoundTrip {
            p50: stats::percentile(&phase.round_trips, stats::P50),
            p90: stats::percentile(&phase.round_trips, stats::P90),
            p99: stats::percentile(&phase.round_trips, stats::P99),
            p999: stats::percentile(&phase.round_trips, stats::P999),
            max: stats::max(&phase.round_trips),
        },
        lag_p99_us: ended.filter(|_| sent / stats::P99 >= stats::SAMPLES_BEYOND).map(|ended| ended.lag_p99_us),
        lag_max_us: ended.filter(|_| sent > 0).map(|ended| ended.lag_max_us),
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
