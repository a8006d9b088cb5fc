use std::path::Path;

use anyhow::Context;
use holdline_analysis::{SUMMARY_MD, analyze as judge, table};
use holdline_record::RunFolder;

use crate::status::{Failure, Status};

/// Judges a run folder, writes its summary and charts, and prints the table.
pub(crate) fn analyze(folder: &Path) -> Result<Status, Failure> {
    let summary = judge(folder).context("can't analyse the run")?;
    let run = RunFolder::read(folder).context("can't read the run")?;
    print!("{}", table(&summary, &run.manifest));
    println!("\nSummary, charts and raw data: {}", folder.join(SUMMARY_MD).display());
    Ok(summary.verdict.into())
}
