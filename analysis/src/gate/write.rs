//! The files that a gate leaves.

use std::fs;
use std::path::Path;

use super::{Gate, junit, metrics};
use crate::{AnalysisError, output};

/// The outcome for people, for a job summary.
pub const GATE_MD: &str = "gate.md";

/// Writes the outcome into `folder`, in every format: `gate.md`, `gate.json`, `junit.xml`, `bencher.json`, and
/// `benchmark-smaller.json` and `benchmark-bigger.json` for github-action-benchmark.
///
/// # Errors
/// A file can't be written.
pub fn write_gate(gate: &Gate, folder: &Path) -> Result<(), AnalysisError> {
    fs::create_dir_all(folder).map_err(|error| AnalysisError::write(folder, error))?;
    output::write(&folder.join(GATE_MD), super::gate_markdown(gate).as_bytes())?;
    output::write_json(&folder.join("gate.json"), gate)?;
    let path = folder.join("junit.xml");
    let junit = junit::report(gate).to_string();
    let junit = junit.map_err(|error| AnalysisError::write(&path, std::io::Error::other(error)))?;
    output::write(&path, junit.as_bytes())?;
    output::write_json(&folder.join("bencher.json"), &metrics::bencher(gate))?;
    output::write_json(&folder.join("benchmark-smaller.json"), &metrics::benchmark_action(gate, false))?;
    output::write_json(&folder.join("benchmark-bigger.json"), &metrics::benchmark_action(gate, true))
}
