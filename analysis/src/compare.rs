//! Several runs side by side: a table of all figures, and their charts laid over each other.

use std::fs;
use std::path::{Path, PathBuf};

use holdline_record::RunFolder;

use crate::charts::{self, Overlay};
use crate::facts::Facts;
use crate::{AnalysisError, CHARTS, Summary, judge, output, report, summary};

/// The name of the page that compares runs.
const COMPARISON_HTML: &str = "comparison.html";
/// The name of the table that compares runs.
const COMPARISON_MD: &str = "comparison.md";

/// Several runs, read and judged.
#[derive(Debug)]
pub struct Comparison {
    /// In the order given.
    pub summaries: Vec<Summary>,
    /// Their figures side by side, as aligned plain text.
    pub table: String,
    /// The page.
    pub page: PathBuf,
}

/// Compares the runs in `folders` and writes a page, a table and charts into `out`.
///
/// # Errors
/// A folder has no readable manifest, two folders hold the same run, or `out` can't be written.
pub fn compare(folders: &[PathBuf], out: &Path) -> Result<Comparison, AnalysisError> {
    let runs = folders.iter().map(|folder| RunFolder::read(folder)).collect::<Result<Vec<_>, _>>()?;
    for (index, run) in runs.iter().enumerate() {
        if let Some(earlier) = runs[..index].iter().find(|earlier| earlier.manifest.run == run.manifest.run) {
            return Err(AnalysisError::SameRun(earlier.path.clone(), run.path.clone()));
        }
    }
    let facts: Vec<Facts> = runs.iter().map(Facts::of).collect();
    let summaries: Vec<Summary> =
        runs.iter().zip(&facts).map(|(run, facts)| summary::build(run, facts, judge::judge(run, facts))).collect();
    let names = names(&summaries);
    let overlays: Vec<Overlay<'_>> = names.iter().zip(&facts).map(|(name, facts)| Overlay { name, facts }).collect();
    let charts = charts::overlays(&overlays);
    fs::create_dir_all(out).map_err(|error| AnalysisError::write(out, error))?;
    charts::render_all(&charts, &out.join(CHARTS))?;
    output::write(&out.join(COMPARISON_MD), report::comparison_markdown(&names, &summaries).as_bytes())?;
    let page = out.join(COMPARISON_HTML);
    let html = report::comparison_html(&names, &summaries, &charts);
    output::write(&page, html.map_err(|why| AnalysisError::chart(&page, why))?.as_bytes())?;
    Ok(Comparison { table: report::comparison_table(&names, &summaries), summaries, page })
}

/// What the runs are called: their experiment, numbered where it occurs more than once.
fn names(summaries: &[Summary]) -> Vec<String> {
    let count = |name: &str| summaries.iter().filter(|summary| summary.name == name).count();
    summaries
        .iter()
        .enumerate()
        .map(|(index, summary)| {
            let before = summaries[..index].iter().filter(|earlier| earlier.name == summary.name).count();
            if count(&summary.name) > 1 { format!("{} ({})", summary.name, before + 1) } else { summary.name.clone() }
        })
        .collect()
}
