//! Charts of a run: one file a chart, and what they share. Each is drawn twice from the same code: SVG for pages, PNG
//! for where SVG is not shown.
//!
//! To add a chart: a module with a type that implements [`Chart`], and a line in [`render_all`].

mod axis;
mod cpu;
mod labels;
mod memory;
mod plot;
mod style;
mod taps;

use std::fs;
use std::path::Path;

use holdline_record::RunFolder;
use plotters::prelude::*;

use self::style::{Area, Drawn, SIZE};
use crate::facts::Facts;
use crate::{AnalysisError, output};

/// A chart that can be drawn on any backend. It holds the numbers it shows, already worked out.
trait Chart {
    /// The name of its files, without the ending.
    const NAME: &'static str;

    /// Draws it on `root`, an empty area of [`SIZE`].
    fn draw<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB>;
}

/// Draws every chart into `folder`.
pub(crate) fn render_all(run: &RunFolder, facts: &Facts, folder: &Path) -> Result<(), AnalysisError> {
    fs::create_dir_all(folder).map_err(|error| AnalysisError::write(folder, error))?;
    style::register_font().map_err(|why| AnalysisError::chart(folder, why))?;
    render(&memory::MemoryChart::of(run, facts), folder)?;
    render(&cpu::CpuChart::of(run, facts), folder)?;
    render(&taps::TapChart::of(run, facts), folder)
}

fn render<C: Chart>(chart: &C, folder: &Path) -> Result<(), AnalysisError> {
    svg(chart, &folder.join(format!("{}.svg", C::NAME)))?;
    png(chart, &folder.join(format!("{}.png", C::NAME)))
}

fn svg<C: Chart>(chart: &C, path: &Path) -> Result<(), AnalysisError> {
    let mut text = String::new();
    paint(chart, SVGBackend::with_string(&mut text, SIZE)).map_err(|why| AnalysisError::chart(path, why))?;
    output::write(path, text.as_bytes())
}

fn png<C: Chart>(chart: &C, path: &Path) -> Result<(), AnalysisError> {
    let partial = output::partial(path);
    if let Err(why) = paint(chart, BitMapBackend::new(&partial, SIZE)) {
        // The backend may have left a blank picture behind when it was dropped.
        let _ = fs::remove_file(&partial);
        return Err(AnalysisError::chart(path, why));
    }
    output::publish(&partial, path)
}

fn paint<C: Chart, DB: DrawingBackend>(chart: &C, backend: DB) -> Result<(), String> {
    let root = backend.into_drawing_area();
    let drawn = root.fill(&WHITE).and_then(|()| chart.draw(&root)).and_then(|()| root.present());
    drawn.map_err(|error| error.to_string())
}
