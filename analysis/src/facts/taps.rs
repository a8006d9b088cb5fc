//! Tap phases: what was planned, what came of it, and how long it took.

use hdrhistogram::Histogram;
use holdline_record::{Event, RunFolder, TapCounts};

use crate::stats;

/// A planned tap phase.
pub(crate) struct PhaseTaps {
    /// Alerts a second, as planned.
    pub(crate) rate: f64,
    /// Microseconds, as planned.
    pub(crate) planned_us: u64,
    /// What the alerter said at its end; none if it never did.
    pub(crate) ended: Option<Ended>,
    /// Round trips in microseconds.
    pub(crate) round_trips: Histogram<u64>,
}

/// What the alerter said at the end of a tap phase.
pub(crate) struct Ended {
    /// Every alert in its outcome.
    pub(crate) counts: TapCounts,
    /// 99th percentile of the delay from intended to actual send.
    pub(crate) lag_p99_us: u64,
    /// The largest such delay.
    pub(crate) lag_max_us: u64,
}

/// One entry for each planned tap phase, in order.
pub(crate) fn phases(run: &RunFolder) -> Vec<PhaseTaps> {
    run.manifest
        .plan
        .taps
        .iter()
        .zip(0_u32..)
        .map(|(plan, step)| PhaseTaps {
            rate: plan.rate,
            planned_us: plan.duration_us,
            ended: ended(run, step),
            round_trips: round_trips(run, step),
        })
        .collect()
}

fn ended(run: &RunFolder, wanted: u32) -> Option<Ended> {
    run.events.iter().find_map(|row| match &row.event {
        Event::TapsEnded { step, counts, lag_max_us, lag_p99_us, .. } if *step == wanted => {
            Some(Ended { counts: counts.clone(), lag_p99_us: *lag_p99_us, lag_max_us: *lag_max_us })
        }
        _ => None,
    })
}

/// Intervals are told apart by their tag, `taps-{step}-{rate}`; the step alone identifies the phase.
fn round_trips(run: &RunFolder, step: u32) -> Histogram<u64> {
    let prefix = format!("taps-{step}-");
    stats::merge(
        run.taps.iter().filter(|interval| interval.tag.starts_with(&prefix)).map(|interval| &interval.histogram),
    )
}
