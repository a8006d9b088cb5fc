//! Several runs in one chart.

use super::axis::Axis;
use super::chart::{Chart, Panel, Series};
use super::memory::fitted;
use super::style::colour;
use super::taps::{self, curve};
use crate::facts::{Facts, Memory, PhaseTaps};
use crate::report::units;
use crate::stats;

/// A run among others.
pub(crate) struct Overlay<'a> {
    pub(crate) name: &'a str,
    pub(crate) facts: &'a Facts,
}

/// Every chart that shows several runs.
pub(crate) fn overlays(runs: &[Overlay<'_>]) -> Vec<Chart> {
    vec![memory(runs), taps(runs)]
}

fn memory(runs: &[Overlay<'_>]) -> Chart {
    let panel = |title: &str, each: &str, of: fn(&Facts) -> Option<(&Memory, f64)>| {
        let series = runs.iter().enumerate().filter_map(|(index, run)| {
            let (memory, base) = of(run.facts)?;
            fitted(run.name, each, colour(index), memory, base)
        });
        Panel::from_zero(title, series.collect())
    };
    let panels = vec![
        panel("kernel memory, growth since the start, MB", "pair", |facts| {
            Some((&facts.kernel, facts.kernel_at_start? as f64))
        }),
        panel("user memory of the server, MB", "connection", |facts| Some((&facts.server.memory, 0.0))),
        panel("user memory of the swarm, MB", "connection", |facts| Some((&facts.swarm.memory, 0.0))),
    ];
    let dots = panels.iter().flat_map(|panel| &panel.series).flat_map(|series: &Series| &series.dots);
    let most = dots.map(|point| point.0).fold(0.0, f64::max);
    Chart {
        name: "memory",
        title: "Memory against connections",
        subtitle: "one dot a level of the staircase; Theil-Sen lines with the 95% interval of their slopes".to_owned(),
        x: Axis::up_to("connections", most, 8),
        bands: Vec::new(),
        panels,
        vertical_grid: false,
        nothing: "No run has readings on a level of its staircase.",
    }
}

/// The phase of the highest rate of each run.
fn taps(runs: &[Overlay<'_>]) -> Chart {
    let line = |(index, run): (usize, &Overlay<'_>)| {
        let phase: &PhaseTaps = run.facts.taps.iter().max_by(|a, b| a.rate.total_cmp(&b.rate))?;
        let line = curve(&phase.round_trips);
        let max = stats::max(&phase.round_trips).filter(|_| line.len() > 1)?;
        let label = format!("{}, {} taps/s (max {})", run.name, units::rate(phase.rate), units::ms(max));
        Some(Series::line(colour(index), label, line))
    };
    taps::percentiles(taps::COVERS.to_owned(), runs.iter().enumerate().filter_map(line).collect())
}
