//! What makes a run invalid because of its taps: counts of the three parties that contradict each other, a late sender.

use std::collections::BTreeMap;

use holdline_record::{Event, RunFolder, TapCounts};

use crate::facts::{Facts, PhaseTaps};
use crate::report::units;

/// Every reason not to believe the taps, a sentence each.
pub(super) fn reasons(run: &RunFolder, facts: &Facts) -> Vec<String> {
    let phases = facts.taps.iter().enumerate().flat_map(|(step, phase)| tap_phase(run, step, phase));
    phases.chain(unplanned_taps(run)).chain(tap_books(facts)).collect()
}

/// One tap phase by itself: complete, on time, every alert in exactly one outcome.
fn tap_phase(run: &RunFolder, step: usize, phase: &PhaseTaps) -> Vec<String> {
    let name = format!("tap phase {step} ({} taps/s)", units::rate(phase.rate));
    let Some(ended) = &phase.ended else {
        return vec![format!("The {name} has no counts: its end is not in the record.")];
    };
    let counts = &ended.counts;
    let n = units::count;
    let mut reasons = Vec::new();
    if counts.scheduled == 0 {
        reasons.push(format!("Nothing was scheduled in {name}; make it longer or its rate higher."));
    }
    if counts.scheduled != counts.sent {
        reasons.push(format!("Of {} alerts scheduled in {name}, {} were sent.", n(counts.scheduled), n(counts.sent)));
    }
    if counts.sent != counts.settled() {
        reasons.push(format!("Of {} alerts sent in {name}, {} have an outcome.", n(counts.sent), n(counts.settled())));
    }
    if phase.round_trips.len() < counts.acknowledged {
        reasons.push(format!(
            "Of {} acknowledged alerts in {name}, {} have a round trip in tap.hlog.",
            n(counts.acknowledged),
            n(phase.round_trips.len())
        ));
    }
    let bound = run.manifest.plan.max_lag_p99_us;
    if ended.lag_p99_us > bound {
        reasons.push(format!(
            "In {name} the alerter sent its alerts up to {} late at the 99th percentile, more than the {} allowed: it was \
             starved of CPU; lower the rate or give it a core of its own.",
            units::ms(ended.lag_p99_us),
            units::ms(bound)
        ));
    }
    reasons
}

fn unplanned_taps(run: &RunFolder) -> Vec<String> {
    let mut ended: BTreeMap<u32, usize> = BTreeMap::new();
    for row in &run.events {
        if let Event::TapsEnded { step, .. } = row.event {
            *ended.entry(step).or_default() += 1;
        }
    }
    let planned = run.manifest.plan.taps.len();
    let odd = ended
        .into_iter()
        .filter(|(step, times)| *times > 1 || usize::try_from(*step).map_or(true, |step| step >= planned));
    odd.map(|(step, times)| {
        format!("Tap phase {step} ended {times} time(s), but {planned} phases were planned, each once.")
    })
    .collect()
}

/// The three parties' totals of taps against each other.
///
/// A tap that was not acknowledged may have stopped anywhere on its way, so each such tap may be missing from the counts
/// beyond the point where it stopped. With every tap acknowledged the counts must be equal.
fn tap_books(facts: &Facts) -> Vec<String> {
    let phases: Option<Vec<_>> = facts.taps.iter().map(|phase| phase.ended.as_ref()).collect();
    let (Some(phases), Some(server), Some(swarm)) = (phases, &facts.last_server, &facts.last_swarm) else {
        return Vec::new();
    };
    let mut all = TapCounts::default();
    for phase in phases {
        all.add(&phase.counts);
    }
    let answered = all.acknowledged.saturating_add(all.late);
    let open = all.sent.saturating_sub(answered);
    // Those of them of which the alerter never learnt anything from the service.
    let unknown = all.timed_out.saturating_sub(all.late).saturating_add(all.lost);
    let refused = all.refused.saturating_add(all.lost);
    let checks = [
        ("alerts sent by the alerter", all.sent, "alerts received by the server", server.alerts.received, refused),
        ("taps written by the server", server.taps_sent_total, "taps received by the swarm", swarm.taps_total, open),
        (
            "acknowledgements sent by the swarm",
            swarm.tap_acks_total,
            "acknowledgements received by the server",
            server.tap_acks_total,
            open,
        ),
    ];
    let mut reasons: Vec<String> = checks
        .into_iter()
        .filter(|(_, upstream, _, downstream, missing)| {
            downstream > upstream || upstream.saturating_sub(*downstream) > *missing
        })
        .map(|(left, upstream, right, downstream, _)| disagree(left, upstream, right, downstream))
        .collect();
    // Whatever the server says of itself: what a client never acknowledged can't have been acknowledged.
    if answered > swarm.tap_acks_total {
        reasons.push(disagree(
            "alerts acknowledged to the alerter",
            answered,
            "acknowledgements sent by the swarm",
            swarm.tap_acks_total,
        ));
    }
    let acknowledged = server.alerts.acknowledged;
    if acknowledged < answered || acknowledged - answered > unknown {
        reasons.push(disagree(
            "alerts acknowledged to the alerter",
            answered,
            "alerts acknowledged by the server's count",
            acknowledged,
        ));
    }
    reasons
}

fn disagree(left: &str, a: u64, right: &str, b: u64) -> String {
    format!("Counts contradict each other: {} {left}, but {} {right}.", units::count(a), units::count(b))
}
