//! A chart as data, and how it is drawn. What a chart shows is decided elsewhere; here it gets its pixels.

use plotters::prelude::*;

use super::axis::Axis;
use super::plot::{self, EndLabel, Frame, Plot};
use super::style::{Area, Drawn, SHADE};

/// One or several plots above each other over the same x.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The name of its files, without the ending.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Where it is from and what it covers, in a line.
    pub(crate) subtitle: String,
    pub(super) x: Axis,
    /// Stretches of x with a name; every other one is shaded.
    pub(super) bands: Vec<Band>,
    pub(super) panels: Vec<Panel>,
    /// Lines at the ticks of x, for charts that are read along x.
    pub(super) vertical_grid: bool,
    /// What stands there when there is nothing to show.
    pub(super) nothing: &'static str,
}

/// One plot of a chart.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// A line, dots, or both, with a label.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) colour: RGBColor,
    pub(super) label: String,
    pub(super) line: Vec<(f64, f64)>,
    pub(super) dots: Vec<(f64, f64)>,
}

/// A stretch of x.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    /// What it is called, the longest first: the narrower the stretch, the shorter the name.
    pub(super) names: Vec<String>,
}

/// How much room a chart has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A file of its own: with its title, and labels beside the lines.
    Page,
    /// Part of a page that has the title, labels beside the lines.
    Wide,
    /// The same for a telephone: labels above the plots.
    Narrow,
}

impl Series {
    /// A line.
    pub(super) fn line(colour: RGBColor, label: String, line: Vec<(f64, f64)>) -> Self {
        Self { colour, label, line, dots: Vec::new() }
    }

    /// Where its label is tied to.
    fn end(&self) -> Option<(f64, f64)> {
        self.line.last().or(self.dots.last()).copied()
    }

    /// All its values of y.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.line.iter().chain(&self.dots).map(|point| point.1)
    }
}

impl Panel {
    /// A plot from 0 to the largest value, with `title` saying what is measured in which unit.
    pub(super) fn from_zero(title: &str, series: Vec<Series>) -> Self {
        Self::from_zero_with_room(title, series, 1.0)
    }

    /// As [`from_zero`](Self::from_zero), with room at the top for the names of phases.
    pub(super) fn from_zero_below_names(title: &str, series: Vec<Series>) -> Self {
        Self::from_zero_with_room(title, series, 1.12)
    }

    fn from_zero_with_room(title: &str, series: Vec<Series>, room: f64) -> Self {
        let largest = series.iter().flat_map(Series::values).fold(0.0, f64::max);
        Self { y: Axis::from_zero(title, largest * room, 5), series }
    }

    /// On a logarithmic scale. Values are log10 of what is shown.
    pub(super) fn log10(title: &str, series: Vec<Series>) -> Self {
        Self::log10_with_room(title, series, 1.0)
    }

    /// As [`log10`](Self::log10), with room at the top for the names of phases.
    pub(super) fn log10_below_names(title: &str, series: Vec<Series>) -> Self {
        Self::log10_with_room(title, series, 1.6)
    }

    fn log10_with_room(title: &str, series: Vec<Series>, room: f64) -> Self {
        let values = || series.iter().flat_map(Series::values);
        let (smallest, largest) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        Self { y: Axis::log10(title, 10_f64.powf(smallest), 10_f64.powf(largest) * room), series }
    }
}

/// A latency as a value on the scale of [`Panel::log10`], in milliseconds.
pub(super) fn log_ms(us: u64) -> f64 {
    (us.max(1) as f64 / 1e3).log10()
}

impl Chart {
    fn series(&self) -> impl Iterator<Item = &Series> {
        self.panels.iter().flat_map(|panel| &panel.series)
    }

    /// Whether there is anything to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.series().all(|series| series.end().is_none())
    }

    /// What it shows in words, for those who can't see it: the labels carry the figures.
    pub(crate) fn alternative(&self) -> String {
        if self.is_empty() {
            return format!("{}: {}", self.title, self.nothing);
        }
        let measured: Vec<&str> = self.panels.iter().map(|panel| panel.y.title.as_str()).collect();
        let labels: Vec<&str> = self.series().map(|series| series.label.as_str()).collect();
        format!("{}: {} over {}. {}.", self.title, measured.join("; "), self.x.title, labels.join("; "))
    }

    /// Width and height in pixels.
    pub(super) fn size(&self, layout: Layout) -> (u32, u32) {
        let panels = u32::try_from(self.panels.len()).unwrap_or(1);
        let more = panels.saturating_sub(1);
        match layout {
            Layout::Page => (1_200, 700),
            Layout::Wide => (1_200, 480 + more * 140),
            Layout::Narrow => {
                let labels = u32::try_from(self.series().count()).unwrap_or(0);
                (560, 380 + more * 230 + labels * plot::LEGEND_LINE.unsigned_abs())
            }
        }
    }

    /// Draws it on an empty area of its [`size`](Self::size).
    pub(super) fn draw<DB: DrawingBackend>(&self, root: &Area<DB>, layout: Layout) -> Drawn<DB> {
        let (width, height) = self.size(layout);
        let (width, height) = (width.cast_signed(), height.cast_signed());
        if layout == Layout::Page {
            plot::heading(root, self.title, &self.subtitle)?;
        }
        if self.is_empty() {
            return plot::empty(root, (width / 2, height / 2), self.nothing);
        }
        let labels: Vec<(&str, RGBColor)> =
            self.series().map(|series| (series.label.as_str(), series.colour)).collect();
        let (top, right) = match layout {
            Layout::Page => (128, plot::beside(&labels, width)),
            Layout::Wide => (44, plot::beside(&labels, width)),
            Layout::Narrow => (plot::legend(root, &labels)? + 44, width - 24),
        };
        let outer = Frame { left: 90, top, right, bottom: height - 78 };
        for (index, panel) in self.panels.iter().enumerate() {
            let last = index + 1 == self.panels.len();
            let frame = outer.part(index, self.panels.len());
            let x = if layout == Layout::Narrow { self.x.sparse() } else { self.x.clone() };
            self.draw_panel(&Plot::new(root, frame, x, panel.y.clone()), panel, last, layout)?;
        }
        Ok(())
    }

    fn draw_panel<DB: DrawingBackend>(
        &self,
        plot: &Plot<'_, DB>,
        panel: &Panel,
        last: bool,
        layout: Layout,
    ) -> Drawn<DB> {
        for band in self.bands.iter().skip(1).step_by(2) {
            plot.shade(band.from, band.to, SHADE)?;
        }
        if self.vertical_grid {
            plot.vertical_grid()?;
        }
        plot.axes(last)?;
        for series in &panel.series {
            plot.line(&series.line, series.colour)?;
            plot.dots(&series.dots, series.colour)?;
        }
        for band in &self.bands {
            plot.top_text(band.from, band.to, &band.names)?;
        }
        if layout == Layout::Narrow {
            return Ok(());
        }
        let ends = panel.series.iter().filter_map(|series| {
            Some(EndLabel { at: series.end()?, text: series.label.clone(), colour: series.colour })
        });
        plot.end_labels(&ends.collect::<Vec<_>>())
    }
}
