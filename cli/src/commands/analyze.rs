use std::path::{Path, PathBuf};

use anyhow::Context;
use holdline_analysis::{REPORT_HTML, Verdict, analyze as judge, compare, table};
use holdline_record::Manifest;

use crate::status::{Failure, Status};

/// Judges a run folder, or compares several, and prints the table.
pub(crate) fn analyze(folders: &[PathBuf], out: &Path) -> Result<Status, Failure> {
    match folders {
        [folder] => analyze_one(folder),
        _ => analyze_several(folders, out),
    }
}

/// Judges a run folder, writes its summary, report and charts, and prints the table.
pub(crate) fn analyze_one(folder: &Path) -> Result<Status, Failure> {
    let summary = judge(folder).map_err(anyhow::Error::from)?;
    let manifest = Manifest::read(folder).context("can't read the run")?;
    print!("{}", table(&summary, &manifest));
    println!("\nReport, summary, charts and raw data: {}", folder.join(REPORT_HTML).display());
    Ok(summary.verdict.into())
}

fn analyze_several(folders: &[PathBuf], out: &Path) -> Result<Status, Failure> {
    let comparison = compare(folders, out).map_err(anyhow::Error::from)?;
    print!("{}", comparison.table);
    println!("\nPage and charts: {}", comparison.page.display());
    let any = |verdict| comparison.summaries.iter().any(|summary| summary.verdict == verdict);
    let worst = [Verdict::Invalid, Verdict::NotHeld].into_iter().find(|verdict| any(*verdict));
    Ok(worst.unwrap_or(Verdict::Held).into())
}
