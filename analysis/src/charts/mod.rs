//! Charts of a run: what they show is data ([`Chart`]); how they look is in one place. Each is drawn as SVG for pages and
//! as PNG for where SVG is not shown, and for the report in a wide and a narrow form.
//!
//! To add a chart: a function that makes one, and a line in [`all`].

mod axis;
mod chart;
mod connections;
mod cpu;
mod labels;
mod memory;
mod overlay;
mod plot;
mod style;
mod taps;
mod timeline;

use std::fs;
use std::path::Path;

use holdline_record::RunFolder;
use plotters::prelude::*;

pub(crate) use self::chart::{Chart, Layout};
pub(crate) use self::overlay::{Overlay, overlays};
use crate::facts::Facts;
use crate::{AnalysisError, output};

/// Every chart of a run, in the order of a report.
pub(crate) fn all(run: &RunFolder, facts: &Facts) -> Vec<Chart> {
    vec![
        memory::against_connections(run, facts),
        taps::by_percentile(run, facts),
        cpu::over_time(run, facts),
        memory::over_time(run, facts),
        connections::over_time(run),
        connections::connecting(run),
        taps::over_time(run),
    ]
}

/// Draws `charts` into files of `folder`.
pub(crate) fn render_all(charts: &[Chart], folder: &Path) -> Result<(), AnalysisError> {
    fs::create_dir_all(folder).map_err(|error| AnalysisError::write(folder, error))?;
    for chart in charts {
        let file = |ending: &str| folder.join(format!("{}.{ending}", chart.name));
        let path = file("svg");
        let text = svg(chart, Layout::Page).map_err(|why| AnalysisError::chart(&path, why))?;
        output::write(&path, text.as_bytes())?;
        png(chart, &file("png"))?;
    }
    Ok(())
}

/// The chart as SVG.
pub(crate) fn svg(chart: &Chart, layout: Layout) -> Result<String, String> {
    let mut text = String::new();
    paint(chart, layout, SVGBackend::with_string(&mut text, chart.size(layout)))?;
    Ok(text)
}

fn png(chart: &Chart, path: &Path) -> Result<(), AnalysisError> {
    let partial = output::partial(path);
    if let Err(why) = paint(chart, Layout::Page, BitMapBackend::new(&partial, chart.size(Layout::Page))) {
        // The backend may have left a blank picture behind when it was dropped.
        let _ = fs::remove_file(&partial);
        return Err(AnalysisError::chart(path, why));
    }
    output::publish(&partial, path)
}

fn paint<DB: DrawingBackend>(chart: &Chart, layout: Layout, backend: DB) -> Result<(), String> {
    style::register_font()?;
    let root = backend.into_drawing_area();
    let drawn = root.fill(&WHITE).and_then(|()| chart.draw(&root, layout)).and_then(|()| root.present());
    drawn.map_err(|error| error.to_string())
}
