//! Memory against connections on the staircase: the kernel above, the processes below, each on its own scale.
//!
//! The kernel takes some hundred times what a process does; on one scale the processes would be a flat line.

use holdline_record::RunFolder;
use plotters::prelude::*;

use super::Chart;
use super::axis::Axis;
use super::plot::{EndLabel, Frame, Plot, empty, heading};
use super::style::{Area, Drawn, KERNEL, SERVER, SWARM};
use crate::facts::{Facts, Memory};
use crate::report::units;

/// The chart.
pub(super) struct MemoryChart {
    subtitle: String,
    kernel: Vec<Series>,
    user: Vec<Series>,
}

/// The points of one side, and the line through them.
struct Series {
    colour: RGBColor,
    label: String,
    /// Connections and MB.
    points: Vec<(f64, f64)>,
    /// The ends of the fitted line; empty without a fit.
    line: Vec<(f64, f64)>,
}

impl MemoryChart {
    /// Takes what it shows out of `facts`.
    pub(super) fn of(run: &RunFolder, facts: &Facts) -> Self {
        let start = facts.kernel_at_start.map_or(0.0, |bytes| bytes as f64);
        Self {
            subtitle: format!("{} – one dot a level of the staircase, the line is a Theil-Sen fit", run.manifest.run),
            kernel: series("kernel", "pair", KERNEL, &facts.kernel, start).into_iter().collect(),
            user: [
                series("server", "connection", SERVER, &facts.server.memory, 0.0),
                series("swarm", "connection", SWARM, &facts.swarm.memory, 0.0),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Series> {
        self.kernel.iter().chain(&self.user)
    }
}

/// None without points. `base` bytes are taken off.
fn series(name: &str, each: &str, colour: RGBColor, memory: &Memory, base: f64) -> Option<Series> {
    let mut points: Vec<(f64, f64)> =
        memory.points.iter().map(|point| (point.connections as f64, (point.bytes as f64 - base) / 1e6)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = points.last()?.0;
    let (label, line) = match &memory.fit {
        Ok(line) => {
            let at = |x: f64| (x, (line.at(x) - base) / 1e6);
            (format!("{name}: {} per {each}", units::bytes_each(line.slope)), vec![at(0.0), at(last)])
        }
        Err(_) => (format!("{name}: not fitted (too few)"), Vec::new()),
    };
    Some(Series { colour, label, points, line })
}

impl Chart for MemoryChart {
    const NAME: &'static str = "memory";

    fn draw<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB> {
        heading(root, "Memory against connections", &self.subtitle)?;
        if self.all().next().is_none() {
            return empty(root, "No level of the staircase has readings.");
        }
        let labels: Vec<String> = self.all().map(|series| series.label.clone()).collect();
        let most = self.all().flat_map(|series| &series.points).map(|point| point.0).fold(0.0, f64::max);
        let x = Axis::up_to("connections", most, 8);
        let upper = Frame::beside(&labels, 128, 350);
        let lower = Frame::beside(&labels, 424, 622);
        panel(root, upper, x.clone(), "kernel memory, growth since the start, MB", &self.kernel, false)?;
        panel(root, lower, x, "user memory of all processes, MB", &self.user, true)
    }
}

fn panel<DB: DrawingBackend>(
    root: &Area<DB>,
    frame: Frame,
    x: Axis,
    title: &str,
    all: &[Series],
    x_texts: bool,
) -> Drawn<DB> {
    let largest = all.iter().flat_map(|series| series.points.iter().chain(&series.line)).map(|point| point.1);
    let plot = Plot::new(root, frame, x, Axis::from_zero(title, largest.fold(0.0, f64::max), 4));
    plot.axes(x_texts)?;
    for series in all {
        plot.line(&series.line, series.colour)?;
        plot.dots(&series.points, series.colour)?;
    }
    let ends = all.iter().filter_map(|series| {
        let at = *series.line.last().or(series.points.last())?;
        Some(EndLabel { at, text: series.label.clone(), colour: series.colour })
    });
    plot.end_labels(&ends.collect::<Vec<_>>())
}
