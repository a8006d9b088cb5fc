//! Connections over the run, and how fast they were set up.

use std::collections::BTreeMap;

use holdline_record::{Event, Role, RunFolder};

use super::axis::Axis;
use super::chart::{Chart, Panel, Series, log_ms};
use super::style::{FAILED, GREEN, SERVER, SWARM, VERMILLION};
use super::timeline::Timeline;
use crate::facts::{connections_by_sample, step_rate};
use crate::report::units;
use crate::stats;

/// What each side counts, and attempts that failed.
pub(super) fn over_time(run: &RunFolder) -> Chart {
    let time = Timeline::of(run);
    let line = |role, name: &str, colour| {
        let counts = connections_by_sample(&run.samples, role);
        let mut at: BTreeMap<u64, u64> = BTreeMap::new();
        for row in run.samples.iter().filter(|row| row.role == role) {
            at.entry(row.sample).or_insert(row.mono_us);
        }
        let points: Vec<(f64, f64)> =
            counts.iter().filter_map(|(sample, count)| Some((time.seconds(*at.get(sample)?), *count as f64))).collect();
        let most = counts.values().max()?;
        Some(Series::line(colour, format!("{name}: at most {}", units::count(*most)), points))
    };
    let lines = [line(Role::Swarm, "swarm counts", SWARM), line(Role::Server, "server counts", SERVER)];
    let mut series: Vec<Series> = lines.into_iter().flatten().collect();
    series.extend(failures(run, &time));
    time.chart(
        "connections",
        "Connections over the run",
        "registered connections, by the count of each side; dots are failed attempts, at the end of their step",
        vec![Panel::from_zero_below_names("connections", series)],
        "No sample counts connections.",
    )
}

/// A dot for each step with failed attempts, as high as there are so far.
fn failures(run: &RunFolder, time: &Timeline<'_>) -> Option<Series> {
    let (mut dots, mut failed) = (Vec::new(), 0_u64);
    for row in &run.events {
        let Event::StepReached { groups, .. } = &row.event else { continue };
        let more = groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.failed));
        failed = failed.saturating_add(more);
        if more > 0 {
            dots.push((time.seconds(row.mono_us), failed as f64));
        }
    }
    let label = format!("failed: {}", units::count(failed));
    (!dots.is_empty()).then_some(Series { colour: FAILED, label, line: Vec::new(), dots })
}

/// Rate and latency of connecting, step by step.
pub(super) fn connecting(run: &RunFolder) -> Chart {
    let time = Timeline::of(run);
    let steps: Vec<(f64, f64)> = run
        .events
        .iter()
        .filter_map(|row| match &row.event {
            Event::StepReached { groups, .. } => Some((time.seconds(row.mono_us), step_rate(groups)?)),
            _ => None,
        })
        .collect();
    let rates = stats::median(&steps.iter().map(|step| step.1).collect::<Vec<_>>()).map(|median| {
        let label = format!("median step: {}/s", units::decimal(median, 0));
        Series { colour: SERVER, label, line: steps.clone(), dots: steps.clone() }
    });
    let panels = vec![
        Panel::from_zero("registered a second of connecting", rates.into_iter().collect()),
        Panel::log10("SYN to Registered, ms (logarithmic)", latencies(run, &time)),
    ];
    let covers = "each step by itself; a percentile with fewer than 10 samples beyond it is not drawn";
    let whole = time.chart("connecting", "Connecting", covers, panels, "No step of the staircase has registrations.");
    // Only the climb: what comes after it has no connecting in it.
    let end = steps.last().map_or(1.0, |step| step.0);
    Chart { x: Axis::up_to("time from the start, s", end, 10), bands: Vec::new(), ..whole }
}

/// Percentiles of each step: the intervals of all groups that lie before its end.
fn latencies(run: &RunFolder, time: &Timeline<'_>) -> Vec<Series> {
    let mut left = run.connect.as_slice();
    let mut steps = Vec::new();
    for row in &run.events {
        let Event::StepReached { groups, .. } = &row.event else { continue };
        let timed = groups.iter().filter(|group| group.first_syn_us.is_some()).count().min(left.len());
        let (these, rest) = left.split_at(timed);
        left = rest;
        steps.push((time.seconds(row.mono_us), stats::merge(these.iter().map(|interval| &interval.histogram))));
    }
    let line = |name: &str, colour, of: &dyn Fn(&hdrhistogram::Histogram<u64>) -> Option<u64>| {
        let points: Vec<(f64, f64)> =
            steps.iter().filter_map(|(at, histogram)| Some((*at, log_ms(of(histogram)?)))).collect();
        let last = points.last()?.1;
        let label = format!("{name}: {} at the last point", units::ms_of(10_f64.powf(last) * 1e3));
        Some(Series { colour, label, line: points.clone(), dots: points })
    };
    [
        line("p99", VERMILLION, &|histogram| stats::percentile(histogram, stats::P99)),
        line("p50", GREEN, &|histogram| stats::percentile(histogram, stats::P50)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
