//! Connections, rates and durations out of events and samples.

use std::collections::{BTreeMap, BTreeSet};

use holdline_record::{Event, EventRow, GroupStep, Phase, Role, RunFolder};

use super::memory;

/// Connections registered a second, over the time spent connecting only.
///
/// None when nothing registered, or when a step in which something did has no times.
pub(crate) fn connect_rate(events: &[EventRow]) -> Option<f64> {
    let (mut all, mut us) = (0_u64, 0_u64);
    for row in events {
        let Event::StepReached { groups, .. } = &row.event else { continue };
        let step = registered(groups);
        match connecting_us(groups) {
            Some(span) => us = us.saturating_add(span),
            // Leaving the time of these connections out would make the rate too good.
            None if step > 0 => return None,
            None => {}
        }
        all = all.saturating_add(step);
    }
    (all > 0 && us > 0).then(|| all as f64 / (us as f64 / 1e6))
}

/// Connections registered a second in each step that was reached, by its number.
pub(crate) fn step_rates(events: &[EventRow]) -> BTreeMap<u32, Option<f64>> {
    let steps = events.iter().filter_map(|row| match &row.event {
        Event::StepReached { step, groups, .. } => Some((*step, groups)),
        _ => None,
    });
    steps.map(|(step, groups)| (step, step_rate(groups))).collect()
}

/// Registrations of a step a second, from its first SYN to its last outcome.
pub(crate) fn step_rate(groups: &[GroupStep]) -> Option<f64> {
    let us = connecting_us(groups).filter(|us| *us > 0)?;
    Some(registered(groups) as f64 / (us as f64 / 1e6))
}

fn registered(groups: &[GroupStep]) -> u64 {
    groups.iter().fold(0, |sum, group| sum.saturating_add(group.registered))
}

/// From the first SYN of any group to the last outcome of any.
fn connecting_us(groups: &[GroupStep]) -> Option<u64> {
    let first = groups.iter().filter_map(|group| group.first_syn_us).min()?;
    let last = groups.iter().filter_map(|group| group.last_outcome_us).max()?;
    last.checked_sub(first)
}

/// The fewest connections that either side reported in any reading of the hold.
pub(crate) fn held(run: &RunFolder) -> Option<u64> {
    let books = run.events.iter().filter_map(|row| match &row.event {
        Event::Books { phase: Phase::Hold, server, swarm, .. } => {
            let sides = [server.as_ref().map(|side| side.registered), swarm.as_ref().map(|side| side.registered)];
            sides.into_iter().flatten().min()
        }
        _ => None,
    });
    let in_hold: BTreeSet<u64> =
        run.samples.iter().filter(|row| row.phase == Phase::Hold).map(|row| row.sample).collect();
    let samples = [Role::Server, Role::Swarm].into_iter().flat_map(|role| {
        let sums = memory::connections(&run.samples, role);
        in_hold.iter().filter_map(move |sample| sums.get(sample).copied()).collect::<Vec<_>>()
    });
    books.chain(samples).min()
}

/// The largest difference between the registered connections of both sides in the books of the hold.
pub(crate) fn half_open(events: &[EventRow]) -> Option<u64> {
    let differences = events.iter().filter_map(|row| match &row.event {
        Event::Books { phase: Phase::Hold, server: Some(server), swarm: Some(swarm), .. } => {
            Some(server.registered.abs_diff(swarm.registered))
        }
        _ => None,
    });
    differences.max()
}

/// How long all connections stood. None when the end of the hold is not in the record.
pub(crate) fn hold_us(events: &[EventRow]) -> Option<u64> {
    events.iter().find_map(|row| match row.event {
        Event::HoldEnded { held_from_us } => row.mono_us.checked_sub(held_from_us),
        _ => None,
    })
}

/// From the first row or event of the conducting host to its last. Clocks of other hosts are never compared with it.
pub(crate) fn duration_us(run: &RunFolder) -> Option<u64> {
    let here = &run.manifest.host;
    let events = run.events.iter().filter(|row| &row.host == here).map(|row| row.mono_us);
    let rows = run.host.iter().filter(|row| &row.host == here).map(|row| row.mono_us);
    let times: Vec<u64> = events.chain(rows).collect();
    // One moment is no duration.
    times.iter().max()?.checked_sub(*times.iter().min()?).filter(|us| *us > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(groups: Vec<GroupStep>) -> EventRow {
        EventRow {
            run: String::new(),
            host: String::new(),
            mono_us: 0,
            wall_us: 0,
            event: Event::StepReached { step: 0, target: 0, groups },
        }
    }

    fn group(registered: u64, first_syn_us: Option<u64>, last_outcome_us: Option<u64>) -> GroupStep {
        GroupStep { group: "a".to_owned(), registered, failed: 0, first_syn_us, last_outcome_us }
    }

    #[test]
    fn the_rate_counts_the_time_spent_connecting_only() {
        let none = || group(0, None, None);
        let cases = [
            (vec![], None),
            (vec![step(vec![none()])], None),
            (vec![step(vec![group(1_000, Some(0), Some(500_000)), none()])], Some(2_000.0)),
            // Two groups at once: from the first SYN to the last outcome of both.
            (
                vec![step(vec![group(1_000, Some(0), Some(500_000)), group(1_000, Some(500_000), Some(1_000_000))])],
                Some(2_000.0),
            ),
            // A pause between two steps is not connecting.
            (
                vec![
                    step(vec![group(1_000, Some(0), Some(500_000))]),
                    step(vec![group(1_000, Some(9_000_000), Some(9_500_000))]),
                ],
                Some(2_000.0),
            ),
            (vec![step(vec![group(1_000, None, Some(5))])], None),
            (vec![step(vec![group(1_000, Some(9), Some(5))])], None),
            (vec![step(vec![group(1_000, Some(9), Some(9))])], None),
        ];
        for (events, expected) in cases {
            assert_eq!(connect_rate(&events), expected, "{events:?}");
        }
    }
}
