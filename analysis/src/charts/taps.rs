//! Tap round trips by percentile, on the axis that users of HdrHistogram know: each step to the right has a tenth of
//! the samples beyond it.

use hdrhistogram::Histogram;
use holdline_record::RunFolder;
use plotters::prelude::*;

use super::Chart;
use super::axis::{Axis, Tick};
use super::plot::{EndLabel, Frame, Plot, empty, heading};
use super::style::{Area, Drawn, colour};
use crate::facts::{Facts, PhaseTaps};
use crate::report::units;
use crate::stats;

/// Points a decade of samples; enough that a line looks like one.
const POINTS_A_DECADE: u32 = 40;
/// Decades at most: with 10 samples beyond each percentile, 10^10 taps.
const DECADES: u32 = 9;

/// The chart.
pub(super) struct TapChart {
    subtitle: String,
    lines: Vec<Line>,
}

struct Line {
    colour: RGBColor,
    label: String,
    /// log10 of 1/(1-p), and log10 of milliseconds.
    points: Vec<(f64, f64)>,
}

impl TapChart {
    /// Takes what it shows out of `facts`.
    pub(super) fn of(run: &RunFolder, facts: &Facts) -> Self {
        let subtitle =
            format!("{} – intended send to acknowledgement; drawn as far as 10 taps lie beyond", run.manifest.run);
        let lines = facts.taps.iter().enumerate().filter_map(|(index, phase)| line(index, phase)).collect();
        Self { subtitle, lines }
    }
}

/// None when there are too few taps even for a median.
fn line(index: usize, phase: &PhaseTaps) -> Option<Line> {
    let points = curve(&phase.round_trips);
    let max = stats::max(&phase.round_trips).filter(|_| points.len() > 1)?;
    let label = format!("{} taps/s: max {}", units::rate(phase.rate), units::ms(max));
    Some(Line { colour: colour(index), label, points })
}

/// Every percentile that enough samples lie beyond, from the smallest value on.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    (0..=POINTS_A_DECADE * DECADES)
        .map(|nth| f64::from(nth) / f64::from(POINTS_A_DECADE))
        .take_while(|decades| samples / 10_f64.powf(*decades) >= stats::SAMPLES_BEYOND as f64 * (1.0 - 1e-9))
        .map(|decades| {
            let us = histogram.value_at_quantile(1.0 - 10_f64.powf(-decades)).max(1);
            (decades, (us as f64 / 1e3).log10())
        })
        .collect()
}

/// From 0% to the last percentile drawn, named as percentiles.
fn percentile_axis(decades: f64) -> Axis {
    let ticks = std::iter::once((0.0, "0%".to_owned()))
        .chain(std::iter::once((2_f64.log10(), "50%".to_owned())))
        .chain((1..=DECADES).map(|nines| (f64::from(nines), nines_text(nines))));
    let max = decades.max(1.0);
    let ticks = ticks.filter(|(at, _)| *at <= max + 1e-9).map(|(at, text)| Tick { at, text }).collect();
    Axis {
        min: 0.0,
        max,
        ticks,
        title: "percentile of taps (each decade has a tenth of the taps beyond it)".to_owned(),
    }
}

/// `90%`, `99%`, `99.9%`, `99.99%` ...
fn nines_text(nines: u32) -> String {
    match nines {
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(usize::try_from(more - 2).unwrap_or(0))),
    }
}

impl Chart for TapChart {
    const NAME: &'static str = "taps";

    fn draw<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB> {
        heading(root, "Tap round trip by percentile", &self.subtitle)?;
        if self.lines.is_empty() {
            return empty(root, "Too few taps were acknowledged to draw a percentile.");
        }
        let labels: Vec<String> = self.lines.iter().map(|line| line.label.clone()).collect();
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let decades = points().map(|point| point.0).fold(0.0, f64::max);
        let smallest = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let largest = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let y = Axis::log10("round trip, ms (logarithmic)", 10_f64.powf(smallest), 10_f64.powf(largest));
        let plot = Plot::new(root, Frame::beside(&labels, 134, 622), percentile_axis(decades), y);
        plot.vertical_grid()?;
        plot.axes(true)?;
        for line in &self.lines {
            plot.line(&line.points, line.colour)?;
        }
        let ends = self.lines.iter().filter_map(|line| {
            Some(EndLabel { at: *line.points.last()?, text: line.label.clone(), colour: line.colour })
        });
        plot.end_labels(&ends.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_without_ten_samples_beyond_are_not_drawn() {
        for (samples, decades) in
            [(9, None), (10, Some(0.0)), (100, Some(1.0)), (1_000, Some(2.0)), (10_000, Some(3.0))]
        {
            let mut histogram = holdline_record::new_histogram();
            histogram.saturating_record_n(500, samples);
            let last = curve(&histogram).last().map(|point| point.0);
            assert_eq!(last, decades, "{samples}");
        }
    }

    #[test]
    fn ticks_are_named_as_percentiles() {
        let texts: Vec<_> = percentile_axis(4.2).ticks.into_iter().map(|tick| tick.text).collect();
        assert_eq!(texts, ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]);
    }
}
