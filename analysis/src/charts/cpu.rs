//! CPU over the run, its phases shaded.

use holdline_record::{Event, Phase, Role, RunFolder};
use plotters::prelude::*;

use super::Chart;
use super::axis::Axis;
use super::plot::{EndLabel, Frame, Plot, empty, heading};
use super::style::{Area, Drawn, KERNEL, SERVER, SWARM};
use crate::facts::{Facts, cpu};
use crate::report::units;

/// Every other phase has this shade, so that neighbours are told apart.
const SHADE: RGBColor = RGBColor(0xf4, 0xf4, 0xf4);

/// The chart.
pub(super) struct CpuChart {
    subtitle: String,
    lines: Vec<Line>,
    phases: Vec<Band>,
    /// The length of the run in seconds.
    end: f64,
}

struct Line {
    colour: RGBColor,
    label: String,
    /// Seconds and percent.
    points: Vec<(f64, f64)>,
}

/// A phase, in seconds from the start.
struct Band {
    from: f64,
    to: f64,
    /// What it is called, the longest first: the narrower the stretch, the shorter the name.
    names: Vec<String>,
}

impl CpuChart {
    /// Takes what it shows out of the run and `facts`.
    pub(super) fn of(run: &RunFolder, facts: &Facts) -> Self {
        let times = || {
            let events = run.events.iter().map(|row| row.mono_us);
            events.chain(run.host.iter().map(|row| row.mono_us)).chain(run.samples.iter().map(|row| row.mono_us))
        };
        let origin = times().min().unwrap_or(0);
        let seconds = |us: u64| us.saturating_sub(origin) as f64 / 1e6;
        let end = times().max().map_or(0.0, seconds);
        let first = run.manifest.plan.taps.first();
        let when =
            first.map_or_else(|| "in the hold".to_owned(), |taps| format!("at {} taps/s", units::rate(taps.rate)));
        let line = |name: &str, colour, hold: Option<f64>, series: cpu::Series| {
            let points: Vec<_> = series.into_iter().map(|(at, percent)| (seconds(at), percent)).collect();
            let hold = hold.map_or_else(String::new, |percent| format!(": {}% {when}", units::decimal(percent, 1)));
            (!points.is_empty()).then(|| Line { colour, label: format!("{name}{hold}"), points })
        };
        let lines = [
            line("server", SERVER, facts.server.cpu_percent_hold, cpu::series(&run.samples, Role::Server)),
            line("swarm", SWARM, facts.swarm.cpu_percent_hold, cpu::series(&run.samples, Role::Swarm)),
            line("softirq", KERNEL, facts.softirq_percent_hold, cpu::softirq_series(&run.host)),
        ];
        Self {
            subtitle: format!(
                "{} – 100% is one core; on one host the split between roles is approximate",
                run.manifest.run
            ),
            lines: lines.into_iter().flatten().collect(),
            phases: phases(run, seconds, end),
            end,
        }
    }
}

/// The phases as they began. Climbing and reading levels alternate many times; together they are one stretch.
fn phases(run: &RunFolder, seconds: impl Fn(u64) -> f64, end: f64) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for row in &run.events {
        let Event::PhaseStarted { phase, step } = &row.event else { continue };
        let names = names(run, *phase, *step);
        let at = seconds(row.mono_us);
        if let Some(last) = bands.last_mut() {
            if last.names == names {
                continue;
            }
            last.to = at;
        }
        bands.push(Band { from: at, to: end, names });
    }
    bands
}

fn names(run: &RunFolder, phase: Phase, step: Option<u32>) -> Vec<String> {
    match phase {
        Phase::Start => vec!["start".to_owned()],
        Phase::Climb | Phase::Level => vec!["connecting".to_owned()],
        Phase::Stop => vec!["stop".to_owned()],
        Phase::Hold => {
            let step = step.and_then(|step| usize::try_from(step).ok());
            let rate = step.and_then(|step| run.manifest.plan.taps.get(step)).map(|taps| units::rate(taps.rate));
            rate.map_or_else(
                || vec!["hold".to_owned()],
                |rate| vec![format!("hold, {rate} taps/s"), format!("{rate} taps/s"), format!("{rate}/s")],
            )
        }
    }
}

impl Chart for CpuChart {
    const NAME: &'static str = "cpu";

    fn draw<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB> {
        heading(root, "CPU over the run", &self.subtitle)?;
        if self.lines.is_empty() {
            return empty(root, "There are no two samples to tell CPU from.");
        }
        let labels: Vec<String> = self.lines.iter().map(|line| line.label.clone()).collect();
        let most = self.lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
        let x = Axis::up_to("time from the start, s", self.end, 10);
        // The names of the phases stand in the top of the plot; lines stay below them.
        let y = Axis::from_zero("CPU, % of one core", most * 1.1, 6);
        let plot = Plot::new(root, Frame::beside(&labels, 134, 622), x, y);
        for band in self.phases.iter().skip(1).step_by(2) {
            plot.shade(band.from, band.to, SHADE)?;
        }
        plot.axes(true)?;
        for line in &self.lines {
            plot.line(&line.points, line.colour)?;
        }
        for band in &self.phases {
            plot.top_text(band.from, band.to, &band.names)?;
        }
        let ends = self.lines.iter().filter_map(|line| {
            Some(EndLabel { at: *line.points.last()?, text: line.label.clone(), colour: line.colour })
        });
        plot.end_labels(&ends.collect::<Vec<_>>())
    }
}
