//! Run folders in; summaries, charts and verdicts out.
//!
//! ```text
//! RunFolder -> facts (what the rows say) -> judge (may it be believed, was the promise kept) -> Summary
//! Summary   -> summary.json, summary.md, the table for the terminal      RunFolder + facts -> charts/*.svg, *.png
//! ```
//!
//! Several runs of two builds -> [`gate`]: is the one worse than the other?
//!
//! Everything up to the [`Summary`] is pure ([`summarize`]); only [`analyze`] touches files. An unknown figure is null
//! and never 0, because a reader who sees 0 believes it was measured.

mod charts;
mod compare;
mod error;
mod facts;
pub mod gate;
mod judge;
mod output;
mod report;
pub mod stats;
mod summary;

use std::path::Path;

use holdline_record::RunFolder;

pub use compare::{Comparison, compare};
pub use error::AnalysisError;
pub use report::table;
pub use summary::{
    Connect, Connections, Kernel, Latency, Level, RoleSummary, RoundTrip, Softirq, Summary, TapRate, TapTotals, Taps,
    Verdict,
};

/// The version of `summary.json`. A change of meaning raises it.
pub const SUMMARY_SCHEMA_VERSION: u32 = 1;
/// The name of the summary for programs in a run folder.
pub const SUMMARY_JSON: &str = "summary.json";
/// The name of the summary for people in a run folder.
pub const SUMMARY_MD: &str = "summary.md";
/// The name of the report that opens in a browser in a run folder.
pub const REPORT_HTML: &str = "report.html";
/// The name of the folder of charts in a run folder.
pub const CHARTS: &str = "charts";

/// Reads the run at `folder`, judges it, and writes its summary and charts beside the raw rows.
///
/// May be run again on the same folder: only the files it wrote itself are replaced.
///
/// # Errors
/// The folder has no readable manifest, or the summary or a chart can't be written. A run that was cut short or damaged
/// is no error: its verdict is [`Verdict::Invalid`].
pub fn analyze(folder: &Path) -> Result<Summary, AnalysisError> {
    let run = RunFolder::read(folder)?;
    let facts = facts::Facts::of(&run);
    let summary = summary::build(&run, &facts, judge::judge(&run, &facts));
    let charts = charts::all(&run, &facts);
    output::write_json(&folder.join(SUMMARY_JSON), &summary)?;
    output::write(&folder.join(SUMMARY_MD), report::markdown(&summary, &run.manifest, &charts).as_bytes())?;
    charts::render_all(&charts, &folder.join(CHARTS))?;
    let html = report::html(&summary, &run.manifest, &charts);
    let path = folder.join(REPORT_HTML);
    output::write(&path, html.map_err(|why| AnalysisError::chart(&path, why))?.as_bytes())?;
    Ok(summary)
}

/// The summary of a run that was read already. Writes nothing.
#[must_use]
pub fn summarize(run: &RunFolder) -> Summary {
    let facts = facts::Facts::of(run);
    summary::build(run, &facts, judge::judge(run, &facts))
}
