use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use holdline_analysis::gate::{Gate, annotations, gate_markdown, read_runs, weigh, write_gate};

use crate::arguments::CompareArguments;
use crate::status::{Failure, Status};

/// Set to `true` by GitHub Actions in every job.
const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";
/// The file whose Markdown GitHub Actions shows as the summary of the job.
const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Weighs stored runs.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<Status, Failure> {
    let (baseline, candidate) = (read_runs(&arguments.baseline)?, read_runs(&arguments.candidate)?);
    let gate = weigh(&baseline, &candidate, arguments.allow_differences)?;
    publish(&gate, arguments.out.as_deref())
}

/// Prints the outcome, and puts it where people look.
pub(crate) fn publish(gate: &Gate, out: Option<&Path>) -> Result<Status, Failure> {
    let markdown = gate_markdown(gate);
    print!("{markdown}");
    if let Some(out) = out {
        write_gate(gate, out).map_err(anyhow::Error::from)?;
        println!("\nOutcome in all formats: {}", out.display());
    }
    if env::var_os(GITHUB_ACTIONS).is_some_and(|value| value == "true") {
        print!("{}", annotations(gate));
        if let Some(summary) = env::var_os(GITHUB_STEP_SUMMARY) {
            let file = OpenOptions::new().append(true).create(true).open(&summary);
            file.and_then(|mut file| file.write_all(markdown.as_bytes()))
                .with_context(|| format!("can't write the job summary {}", Path::new(&summary).display()))?;
        }
    }
    Ok(gate.verdict.into())
}
