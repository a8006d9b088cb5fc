//! What breaks the promise of a sound run.

use holdline_record::{Causes, Role, RunFolder, is_of_generator};

use super::{causes, list};
use crate::facts::{Facts, PhaseTaps};
use crate::report::units;

/// Every part of the promise that was broken, a sentence each. What is not known breaks nothing here: it makes the run
/// invalid.
pub(super) fn reasons(run: &RunFolder, facts: &Facts) -> Vec<String> {
    let mut reasons = super::lost_processes(run, |role| role == Role::Server);
    reasons.extend(fewer_held(run, facts));
    if !run.manifest.plan.reconnect {
        reasons.extend(failed(facts));
    }
    reasons.extend(lost(facts));
    reasons.extend(shorter(run, facts));
    reasons.extend(undelivered(run, facts));
    reasons
}

fn fewer_held(run: &RunFolder, facts: &Facts) -> Option<String> {
    let promised = run.manifest.plan.promise.connections;
    let held = facts.held.filter(|held| *held < promised)?;
    Some(format!(
        "{} of {} promised connections were held: the fewest that either side counted in the hold.",
        units::count(held),
        units::count(promised)
    ))
}

/// Attempts that failed, by outcome and with what each means; without those that the generator could not make.
pub(super) fn failed(facts: &Facts) -> Option<String> {
    failures(facts, |label| !is_of_generator(label))
}

/// Attempts that failed with one of these outcomes.
pub(super) fn failures(facts: &Facts, of: fn(&str) -> bool) -> Option<String> {
    let outcomes = &facts.last_swarm.as_ref()?.outcomes;
    let failed: Causes = outcomes
        .iter()
        .filter(|(label, count)| *label != "registered" && **count > 0 && of(label))
        .map(|(label, count)| (label.clone(), *count))
        .collect();
    let count = failed.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    (count > 0)
        .then(|| format!("{} connection attempts failed: {}.", units::count(count), causes(&failed, "registered")))
}

fn lost(facts: &Facts) -> Option<String> {
    let swarm = facts.swarm_before_stop.as_ref().filter(|swarm| swarm.lost_unasked() > 0)?;
    let causes = causes(&swarm.lost, "closed_here");
    Some(format!("{} registered connections were lost: {causes}.", units::count(swarm.lost_unasked())))
}

fn shorter(run: &RunFolder, facts: &Facts) -> Option<String> {
    let promised = run.manifest.plan.promise.hold_us;
    let held = facts.hold_us.filter(|held| *held < promised)?;
    Some(format!(
        "The connections were held for {}, less than the {} promised.",
        units::seconds(held),
        units::seconds(promised)
    ))
}

/// Compared with the taps scheduled, not those sent: one that never left was not delivered either.
fn undelivered(run: &RunFolder, facts: &Facts) -> Option<String> {
    let promise = &run.manifest.plan.promise;
    let ended = || facts.taps.iter().filter_map(|phase| phase.ended.as_ref().map(|ended| (phase, &ended.counts)));
    let scheduled = ended().fold(0_u64, |sum, (_, counts)| sum.saturating_add(counts.scheduled));
    let acknowledged = ended().fold(0_u64, |sum, (_, counts)| sum.saturating_add(counts.acknowledged));
    if scheduled == 0 || acknowledged as f64 / scheduled as f64 >= promise.taps_delivered {
        return None;
    }
    let by_rate: Vec<String> = ended()
        .filter(|(_, counts)| counts.acknowledged < counts.scheduled)
        .map(|(phase, _)| shortfall(phase))
        .collect();
    Some(format!(
        "{} of {} taps were acknowledged within {}, less than the {} promised: {}.",
        units::count(acknowledged),
        units::count(scheduled),
        units::ms(promise.within_us),
        units::share(promise.taps_delivered),
        by_rate.join("; ")
    ))
}

/// `at 1,000 taps/s 12 timed_out (3 of them acknowledged late)`
fn shortfall(phase: &PhaseTaps) -> String {
    let Some(ended) = &phase.ended else { return String::new() };
    let counts = &ended.counts;
    let outcomes = list([
        ("timed_out", counts.timed_out),
        ("offline", counts.offline),
        ("refused", counts.refused),
        ("overloaded", counts.overloaded),
        ("lost", counts.lost),
        ("never sent", counts.scheduled.saturating_sub(counts.sent)),
    ]);
    let late =
        if counts.late > 0 { format!(" ({} acknowledged late)", units::count(counts.late)) } else { String::new() };
    format!("at {} taps/s {outcomes}{late}", units::rate(phase.rate))
}
