//! One plot: a frame with its axes, and what is drawn in it. Values in, pixels out.

use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::labels;
use super::style::{AXIS, Area, Drawn, FAINT_INK, GRID, INK, LABEL, SUBTITLE, TICK, TITLE, text, width};

/// Pixels between two labels of lines.
const LABEL_GAP: f64 = 24.0;
/// Pixels from the plot's right edge to the labels of its lines.
const LABEL_AT: i32 = 50;
/// Pixels of the line's own colour before its label; where lines end together the thin ties alone can't be followed.
const SWATCH: i32 = 16;
/// Pixels of a line of a legend.
pub(super) const LEGEND_LINE: i32 = 28;
/// Pixels between two plots of a chart, for the tick numbers and titles of the lower one.
const PANEL_GAP: i32 = 64;
/// Pixels that text of the bitmap backend stands too high beside the middle of what it names.
const SINK: i32 = 2;

/// The pixels a plot covers, without the texts around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

impl Frame {
    /// Part `index` of `count` equal ones, from the top.
    pub(super) fn part(self, index: usize, count: usize) -> Self {
        let (index, count) = (i32::try_from(index).unwrap_or(0), i32::try_from(count).unwrap_or(1).max(1));
        let height = (self.bottom - self.top - PANEL_GAP * (count - 1)) / count;
        let top = self.top + index * (height + PANEL_GAP);
        Self { top, bottom: top + height, ..self }
    }
}

/// Where a plot ends on the right that has `labels` beside it, on a chart of `whole` pixels.
pub(super) fn beside(labels: &[(&str, RGBColor)], whole: i32) -> i32 {
    let widest = labels.iter().map(|(label, _)| width(label, LABEL)).max().unwrap_or(0);
    // Labels are short; a very long one may be cut off rather than leave no plot.
    whole - (widest + LABEL_AT + 18).clamp(40, 480)
}

/// Writes `labels` below each other at the top of a chart and returns where they end.
pub(super) fn legend<DB: DrawingBackend>(
    root: &Area<DB>,
    labels: &[(&str, RGBColor)],
) -> Result<i32, DrawingAreaErrorKind<DB::ErrorType>> {
    let mut y = 14;
    for (label, colour) in labels {
        root.draw(&PathElement::new(vec![(24, y), (24 + SWATCH, y)], colour.stroke_width(3)))?;
        let style = text(LABEL, INK, HPos::Left, VPos::Center);
        root.draw(&Text::new((*label).to_owned(), (24 + SWATCH + 10, y + SINK), style))?;
        y += LEGEND_LINE;
    }
    Ok(y)
}

/// A label for the end of a line.
pub(super) struct EndLabel {
    /// Where the line ends.
    pub(super) at: (f64, f64),
    pub(super) text: String,
    pub(super) colour: RGBColor,
}

/// The two lines above a chart.
pub(super) fn heading<DB: DrawingBackend>(root: &Area<DB>, title: &str, subtitle: &str) -> Drawn<DB> {
    root.draw(&Text::new(title.to_owned(), (24, 18), text(TITLE, INK, HPos::Left, VPos::Top)))?;
    root.draw(&Text::new(subtitle.to_owned(), (24, 52), text(SUBTITLE, FAINT_INK, HPos::Left, VPos::Top)))
}

/// At the middle of a chart that has nothing to show: why.
pub(super) fn empty<DB: DrawingBackend>(root: &Area<DB>, middle: (i32, i32), why: &str) -> Drawn<DB> {
    root.draw(&Text::new(why.to_owned(), middle, text(LABEL, FAINT_INK, HPos::Center, VPos::Center)))
}

/// A frame with axes.
pub(super) struct Plot<'a, DB: DrawingBackend> {
    root: &'a Area<DB>,
    frame: Frame,
    x: Axis,
    y: Axis,
}

impl<'a, DB: DrawingBackend> Plot<'a, DB> {
    /// A plot that is still empty: nothing is drawn yet, so that shades can lie below the grid.
    pub(super) fn new(root: &'a Area<DB>, frame: Frame, x: Axis, y: Axis) -> Self {
        Self { root, frame, x, y }
    }

    fn pixel_x(&self, value: f64) -> i32 {
        between(self.frame.left, self.frame.right, self.x.share(value))
    }

    fn pixel_y(&self, value: f64) -> i32 {
        between(self.frame.bottom, self.frame.top, self.y.share(value))
    }

    fn pixel(&self, (x, y): (f64, f64)) -> (i32, i32) {
        (self.pixel_x(x), self.pixel_y(y))
    }

    /// Grid, ticks, axis and titles. Without `x_texts` the lower ticks have no numbers: another plot below has them.
    pub(super) fn axes(&self, x_texts: bool) -> Drawn<DB> {
        let Frame { left, top, right, bottom } = self.frame;
        for tick in &self.y.ticks {
            let y = self.pixel_y(tick.at);
            self.root.draw(&PathElement::new(vec![(left, y), (right, y)], GRID))?;
            let style = text(TICK, FAINT_INK, HPos::Right, VPos::Center);
            self.root.draw(&Text::new(tick.text.clone(), (left - 10, y + SINK), style))?;
        }
        for tick in &self.x.ticks {
            let x = self.pixel_x(tick.at);
            self.root.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 6)], AXIS))?;
            if x_texts {
                let style = text(TICK, FAINT_INK, HPos::Center, VPos::Top);
                // A long number at the end of the axis must not leave the chart.
                let whole = i32::try_from(self.root.dim_in_pixel().0).unwrap_or(i32::MAX);
                let x = x.min(whole - width(&tick.text, TICK) / 2 - 6);
                self.root.draw(&Text::new(tick.text.clone(), (x, bottom + 10), style))?;
            }
        }
        self.root.draw(&PathElement::new(vec![(left, bottom), (right, bottom)], AXIS))?;
        let above = text(LABEL, INK, HPos::Left, VPos::Bottom);
        self.root.draw(&Text::new(self.y.title.clone(), (24, top - 10), above))?;
        if x_texts {
            let below = text(LABEL, INK, HPos::Right, VPos::Top);
            self.root.draw(&Text::new(self.x.title.clone(), (right, bottom + 36), below))?;
        }
        Ok(())
    }

    /// Vertical lines at the x ticks, for charts that are read along x.
    pub(super) fn vertical_grid(&self) -> Drawn<DB> {
        for tick in &self.x.ticks {
            let x = self.pixel_x(tick.at);
            self.root.draw(&PathElement::new(vec![(x, self.frame.top), (x, self.frame.bottom)], GRID))?;
        }
        Ok(())
    }

    /// A light shade from `from` to `to` on x.
    pub(super) fn shade(&self, from: f64, to: f64, colour: RGBColor) -> Drawn<DB> {
        let corners = [(self.pixel_x(from), self.frame.top), (self.pixel_x(to), self.frame.bottom)];
        self.root.draw(&Rectangle::new(corners, colour.filled()))
    }

    /// The first of `words` that fits at the top of the stretch from `from` to `to` on x; nothing if none does.
    pub(super) fn top_text(&self, from: f64, to: f64, words: &[String]) -> Drawn<DB> {
        let (from, to) = (self.pixel_x(from), self.pixel_x(to));
        let Some(fits) = words.iter().find(|words| width(words, TICK) + 8 <= to - from) else { return Ok(()) };
        let style = text(TICK, FAINT_INK, HPos::Left, VPos::Top);
        self.root.draw(&Text::new(fits.clone(), (from + 5, self.frame.top + 5), style))
    }

    /// A line through `points`.
    pub(super) fn line(&self, points: &[(f64, f64)], colour: RGBColor) -> Drawn<DB> {
        let pixels: Vec<(i32, i32)> = points.iter().map(|point| self.pixel(*point)).collect();
        self.root.draw(&PathElement::new(pixels, colour.stroke_width(2)))
    }

    /// A dot at each of `points`.
    pub(super) fn dots(&self, points: &[(f64, f64)], colour: RGBColor) -> Drawn<DB> {
        for point in points {
            self.root.draw(&Circle::new(self.pixel(*point), 5, colour.filled()))?;
        }
        Ok(())
    }

    /// Labels to the right of the plot, each tied to the end of its line by a thin one.
    pub(super) fn end_labels(&self, ends: &[EndLabel]) -> Drawn<DB> {
        let wanted: Vec<f64> = ends.iter().map(|end| f64::from(self.pixel_y(end.at.1))).collect();
        let (low, high) = (f64::from(self.frame.top), f64::from(self.frame.bottom));
        for (end, y) in ends.iter().zip(labels::spread(&wanted, LABEL_GAP, low, high)) {
            let y = between(self.frame.top, self.frame.bottom, (y - low) / (high - low));
            let (from_x, from_y) = self.pixel(end.at);
            let (right, label_x) = (self.frame.right, self.frame.right + LABEL_AT);
            let tie = vec![(from_x, from_y), (right.max(from_x), from_y), (label_x - SWATCH - 8, y)];
            self.root.draw(&PathElement::new(tie, end.colour.mix(0.45).stroke_width(1)))?;
            let swatch = vec![(label_x - SWATCH - 8, y), (label_x - 8, y)];
            self.root.draw(&PathElement::new(swatch, end.colour.stroke_width(3)))?;
            let style = text(LABEL, INK, HPos::Left, VPos::Center);
            self.root.draw(&Text::new(end.text.clone(), (label_x, y + SINK), style))?;
        }
        Ok(())
    }
}

/// The pixel at `share` of the way from `from` to `to`.
fn between(from: i32, to: i32, share: f64) -> i32 {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "lies between two pixels of the chart")]
    let pixel = (f64::from(to - from).mul_add(share, f64::from(from))).round() as i32;
    pixel
}
