//! Tap round trips: by percentile, on the axis that users of HdrHistogram know (each step to the right has a tenth of the
//! samples beyond it), and over time.

use hdrhistogram::Histogram;
use holdline_record::RunFolder;

use super::axis::{Axis, Tick};
use super::chart::{Chart, Panel, Series, log_ms};
use super::style::{GREEN, SERVER, VERMILLION, colour};
use super::timeline::Timeline;
use crate::facts::{Facts, PhaseTaps};
use crate::report::units;
use crate::stats;

/// Points a decade of samples; enough that a line looks like one.
const POINTS_A_DECADE: u32 = 40;
/// Decades at most: with 10 samples beyond each percentile, 10^10 taps.
const DECADES: u32 = 9;

/// By percentile, a line for each tap phase.
pub(super) fn by_percentile(run: &RunFolder, facts: &Facts) -> Chart {
    let lines = facts.taps.iter().enumerate().filter_map(|(index, phase)| phase_line(index, phase)).collect();
    percentiles(format!("{} – {COVERS}", run.manifest.run), lines)
}

/// What the chart by percentile covers.
pub(super) const COVERS: &str = "intended send to acknowledgement; drawn as far as 10 taps lie beyond";

/// The chart by percentile of these lines.
pub(super) fn percentiles(subtitle: String, lines: Vec<Series>) -> Chart {
    let decades = lines.iter().flat_map(|line| &line.line).map(|point| point.0).fold(0.0, f64::max);
    Chart {
        name: "taps",
        title: "Tap round trip by percentile",
        subtitle,
        x: percentile_axis(decades),
        bands: Vec::new(),
        panels: vec![Panel::log10("round trip, ms (logarithmic)", lines)],
        vertical_grid: true,
        nothing: "Too few taps were acknowledged to draw a percentile.",
    }
}

/// None when there are too few taps even for a median.
fn phase_line(index: usize, phase: &PhaseTaps) -> Option<Series> {
    let line = curve(&phase.round_trips);
    let max = stats::max(&phase.round_trips).filter(|_| line.len() > 1)?;
    Some(Series::line(colour(index), format!("{} taps/s (max {})", units::rate(phase.rate), units::ms(max)), line))
}

/// Over time: the maximum of each interval, percentiles over as many intervals as they need.
pub(super) fn over_time(run: &RunFolder) -> Chart {
    let time = Timeline::of(run);
    let line = |name: &str, colour, least: u64, of: &dyn Fn(&Histogram<u64>) -> Option<u64>| {
        let points = windows(run, least)
            .into_iter()
            .filter_map(|(at, histogram)| Some((at, log_ms(of(&histogram)?))))
            .collect::<Vec<_>>();
        (!points.is_empty()).then(|| Series::line(colour, name.to_owned(), points))
    };
    let lines = [
        line("max of each interval", VERMILLION, 1, &stats::max),
        line("p99", GREEN, stats::P99 * stats::SAMPLES_BEYOND, &|trips| stats::percentile(trips, stats::P99)),
        line("p50", SERVER, stats::P50 * stats::SAMPLES_BEYOND, &|trips| stats::percentile(trips, stats::P50)),
    ];
    time.chart(
        "taps-over-time",
        "Tap round trip over the run",
        "a percentile takes as many seconds together as give it 10 samples beyond",
        vec![Panel::log10_below_names("round trip, ms (logarithmic)", lines.into_iter().flatten().collect())],
        "No tap was acknowledged.",
    )
}

/// Neighbouring intervals of one phase together, until each window has `least` samples; what is left over at the end of a
/// phase is too little to say something.
fn windows(run: &RunFolder, least: u64) -> Vec<(f64, Histogram<u64>)> {
    let mut windows = Vec::new();
    let mut open: Vec<&holdline_record::HlogInterval> = Vec::new();
    for interval in &run.taps {
        if open.first().is_some_and(|first| first.tag != interval.tag) {
            open.clear();
        }
        open.push(interval);
        let samples = open.iter().fold(0_u64, |sum, interval| sum.saturating_add(interval.histogram.len()));
        if samples >= least {
            let (from, to) = (open[0].start, interval.start.saturating_add(interval.duration));
            // A log counts from the start of the record, which is within a moment of the run's first event.
            let middle = from.saturating_add(to.saturating_sub(from) / 2).as_secs_f64();
            windows.push((middle, stats::merge(open.iter().map(|interval| &interval.histogram))));
            open.clear();
        }
    }
    windows
}

/// Every percentile that enough samples lie beyond, from the smallest value on.
pub(super) fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    (0..=POINTS_A_DECADE * DECADES)
        .map(|nth| f64::from(nth) / f64::from(POINTS_A_DECADE))
        .take_while(|decades| samples / 10_f64.powf(*decades) >= stats::SAMPLES_BEYOND as f64 * (1.0 - 1e-9))
        .map(|decades| (decades, log_ms(histogram.value_at_quantile(1.0 - 10_f64.powf(-decades)))))
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
