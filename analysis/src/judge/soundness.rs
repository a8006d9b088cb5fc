//! What makes a run invalid: it is cut short, or its numbers contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use holdline_record::{Event, HostRow, Phase, Role, RunFolder, ServerCounts, SwarmCounts, is_of_generator};

use super::taps;
use crate::facts::Facts;
use crate::report::units;

/// Samples further apart than this in the hold leave room for something that nobody saw.
const MAX_GAP_US: u64 = 5_000_000;

/// Every reason not to believe the run, a sentence each.
pub(super) struct Unsound {
    /// Faults of the generator, the host or the record.
    pub(super) of_generator: Vec<String>,
    /// What is missing or contradicts itself. A service that fails in the middle of a run leaves such things behind.
    pub(super) incomplete: Vec<String>,
}

/// Looks for reasons not to believe the run.
pub(super) fn reasons(run: &RunFolder, facts: &Facts) -> Unsound {
    let mut of_generator: Vec<String> = run
        .problems
        .iter()
        .map(|problem| format!("The file {} can't be used: {}.", problem.file, problem.why))
        .collect();
    of_generator.extend(processes_lost(run));
    of_generator.extend(
        super::promise::failures(facts, is_of_generator)
            .map(|failed| format!("The generator could not do what was asked of it: {failed}")),
    );
    of_generator.extend(connect_latencies(run, facts));
    of_generator.extend(accept_queue(&run.host));
    let mut incomplete = Vec::new();
    incomplete.extend(cut_short(run));
    incomplete.extend(hold_books(run));
    incomplete.extend(hold_end(run, facts));
    incomplete.extend(last_books(facts));
    incomplete.extend(stop_books(run));
    incomplete.extend(taps::reasons(run, facts));
    incomplete.extend(level_readings(run));
    incomplete.extend(hold_gaps(run));
    Unsound { of_generator, incomplete }
}

fn cut_short(run: &RunFolder) -> Option<String> {
    let finished = run.events.iter().any(|row| row.event == Event::Finished);
    let why = run.events.iter().find_map(|row| match &row.event {
        Event::Interrupted { why } => Some(why),
        _ => None,
    });
    match (finished, why) {
        (true, None) => None,
        (_, Some(why)) => Some(format!("The run was cut short: {}.", why.trim_end_matches('.'))),
        (false, None) => Some(
            "The run was cut short: its record has no end, so the conductor was killed or could not write; run it again."
                .to_owned(),
        ),
    }
}

/// Processes of the generator that were lost; those of the service are its own failure.
fn processes_lost(run: &RunFolder) -> Vec<String> {
    super::lost_processes(run, |role| role != Role::Server)
}

/// The books of both sides must be there in the hold, and agree on how many connections there are.
fn hold_books(run: &RunFolder) -> Vec<String> {
    let books: Vec<(Option<&ServerCounts>, Option<&SwarmCounts>)> = run
        .events
        .iter()
        .filter_map(|row| match &row.event {
            Event::Books { phase: Phase::Hold, server, swarm, .. } => Some((server.as_ref(), swarm.as_ref())),
            _ => None,
        })
        .collect();
    if books.is_empty() {
        return vec!["No books were read in the hold, so nothing says what both sides held.".to_owned()];
    }
    let mut reasons = Vec::new();
    for (side, missing) in [
        ("server", books.iter().filter(|(server, _)| server.is_none()).count()),
        ("swarm", books.iter().filter(|(_, swarm)| swarm.is_none()).count()),
    ] {
        if missing > 0 {
            let all = books.len();
            reasons.push(format!(
                "The {side}'s books are missing in {missing} of {all} readings of the hold: it did not answer in time."
            ));
        }
    }
    let pairs: Vec<(u64, u64)> =
        books.iter().filter_map(|(server, swarm)| Some(((*server)?.registered, (*swarm)?.registered))).collect();
    let apart = pairs.iter().filter(|(server, swarm)| server != swarm).count();
    let worst =
        pairs.iter().filter(|(server, swarm)| server != swarm).max_by_key(|(server, swarm)| server.abs_diff(*swarm));
    if let Some((server, swarm)) = worst {
        reasons.push(format!(
            "The server counts {} registered connections and the swarm {} ({apart} of {} readings of the hold disagree; \
             this is the largest difference): {} of them are half open.",
            units::count(*server),
            units::count(*swarm),
            pairs.len(),
            units::count(server.abs_diff(*swarm)),
        ));
    }
    reasons
}

fn hold_end(run: &RunFolder, facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.hold_us.is_none() {
        reasons.push(
            "How long the connections were held is not known: the end of the hold is not in the record.".to_owned(),
        );
    }
    if facts.held.is_none() {
        reasons.push(format!(
            "How many of the {} promised connections were held is not known: no reading of the hold counts them.",
            units::count(run.manifest.plan.promise.connections)
        ));
    }
    reasons
}

/// After the swarm has closed everything, nobody may believe in a connection.
fn stop_books(run: &RunFolder) -> Option<String> {
    let last = run.events.iter().rev().find_map(|row| match &row.event {
        Event::Books { phase: Phase::Stop, server, swarm, .. } => Some((server.as_ref(), swarm.as_ref())),
        _ => None,
    });
    match last {
        Some((Some(server), Some(swarm))) if server.open == 0 && swarm.registered == 0 => None,
        Some((Some(server), Some(swarm))) => Some(format!(
            "After the swarm had closed its connections the server still counts {} and the swarm {}.",
            units::count(server.open),
            units::count(swarm.registered)
        )),
        _ => Some(
            "The books after the connections were closed are missing, so nothing says that both sides saw them end."
                .to_owned(),
        ),
    }
}

/// Each side's last books must add up by themselves, and both sides' must agree on the connections there ever were.
fn last_books(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    match &facts.last_swarm {
        None => reasons
            .push("How many connection attempts failed is not known: the swarm's books were never read.".to_owned()),
        Some(swarm) => reasons.extend(contradictions("swarm", swarm.contradictions())),
    }
    if let Some(server) = &facts.last_server {
        reasons.extend(contradictions("server", server.contradictions()));
    }
    if let (Some(server), Some(swarm)) = (&facts.last_server, &facts.last_swarm) {
        let registered = swarm.outcomes.get("registered").copied().unwrap_or(0);
        // A client may give up, or lose its connection, in the moment between the server's word and its arrival; those
        // attempts failed on the swarm's side.
        let unheard = swarm.failed();
        if server.registered_total < registered || server.registered_total - registered > unheard {
            reasons.push(format!(
                "Counts contradict each other: the server granted {} registrations, but {} clients heard of theirs and {} \
                 attempts failed.",
                units::count(server.registered_total),
                units::count(registered),
                units::count(unheard)
            ));
        }
    }
    reasons
}

fn contradictions(side: &str, found: Vec<String>) -> Vec<String> {
    found.into_iter().map(|what| format!("The books of the {side} contradict themselves: {what}.")).collect()
}

/// Each attempt that a step counts as registered must have its latency.
fn connect_latencies(run: &RunFolder, facts: &Facts) -> Option<String> {
    let steps = run.events.iter().filter_map(|row| match &row.event {
        Event::StepReached { groups, .. } => Some(groups),
        _ => None,
    });
    let registered = steps.flatten().fold(0_u64, |sum, group| sum.saturating_add(group.registered));
    let timed = facts.connect.len();
    (timed < registered).then(|| {
        format!(
            "Of {} registered connections, {} have a latency in connect.hlog.",
            units::count(registered),
            units::count(timed)
        )
    })
}

fn accept_queue(host: &[HostRow]) -> Option<String> {
    let mut known = host.iter().filter_map(|row| row.listen_overflows);
    let first = known.next()?;
    let grown = known.next_back()?.saturating_sub(first);
    (grown > 0).then(|| {
        format!(
            "The accept queue overflowed {} times: connections waited for a second SYN; raise net.core.somaxconn and the \
             server's backlog, or connect more slowly.",
            units::count(grown)
        )
    })
}

/// Every level needs all its readings, of the host and of both sides as far as they are sampled at all.
fn level_readings(run: &RunFolder) -> Option<String> {
    let plan = &run.manifest.plan;
    let mut found: Vec<BTreeMap<u32, BTreeSet<u64>>> =
        vec![by_level(run.host.iter().map(|row| (row.phase, row.step, row.sample)))];
    for role in [Role::Server, Role::Swarm] {
        let rows = run.samples.iter().filter(|row| row.role == role);
        found.push(by_level(rows.map(|row| (row.phase, row.step, row.sample))));
    }
    let wanted = usize::try_from(plan.readings).unwrap_or(usize::MAX);
    let readings = |step: u32| found.iter().map(|levels| levels.get(&step).map_or(0, BTreeSet::len)).min().unwrap_or(0);
    let short: Vec<(u32, usize)> =
        (0_u32..).zip(&plan.levels).map(|(step, _)| (step, readings(step))).filter(|(_, had)| *had < wanted).collect();
    let (step, had) = short.first()?;
    Some(format!(
        "Samples are missing at {} of {} levels of the staircase: level {step} has {had} of {wanted} readings.",
        short.len(),
        plan.levels.len()
    ))
}

fn by_level(rows: impl Iterator<Item = (Phase, Option<u32>, u64)>) -> BTreeMap<u32, BTreeSet<u64>> {
    let mut levels: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for (_, step, sample) in rows.filter(|(phase, ..)| *phase == Phase::Level) {
        if let Some(step) = step {
            levels.entry(step).or_default().insert(sample);
        }
    }
    levels
}

/// The hold must be watched without a break, from its beginning to its end.
fn hold_gaps(run: &RunFolder) -> Vec<String> {
    let ends: Vec<u64> = run
        .events
        .iter()
        .find_map(|row| match row.event {
            Event::HoldEnded { held_from_us } => Some(vec![held_from_us, row.mono_us]),
            _ => None,
        })
        .unwrap_or_default();
    let host = run.host.iter().filter(|row| row.phase == Phase::Hold).map(|row| row.mono_us);
    let of = |role| {
        run.samples.iter().filter(move |row| row.phase == Phase::Hold && row.role == role).map(|row| row.mono_us)
    };
    let sources: [(&str, Vec<u64>); 3] =
        [("host", host.collect()), ("server", of(Role::Server).collect()), ("swarm", of(Role::Swarm).collect())];
    sources.into_iter().filter_map(|(who, times)| hold_gap(who, times, &ends)).collect()
}

fn hold_gap(who: &str, mut times: Vec<u64>, ends: &[u64]) -> Option<String> {
    if times.is_empty() {
        return Some(format!("There is no sample of the {who} in the hold."));
    }
    times.extend_from_slice(ends);
    times.sort_unstable();
    let largest = times.windows(2).map(|pair| pair[1] - pair[0]).max()?;
    (largest > MAX_GAP_US).then(|| {
        format!(
            "Samples of the {who} are missing in the hold: {} passed without one, at most {} may.",
            units::seconds(largest),
            units::seconds(MAX_GAP_US)
        )
    })
}
