//! Finds and reads the runs of a side.

use std::fs;
use std::path::{Path, PathBuf};

use holdline_record::{MANIFEST, RunFolder};

use super::{GateError, Run};
use crate::summarize;

/// Reads the runs that `paths` name: each is a run folder or holds run folders. All figures are computed again from the
/// raw rows, so that both sides are judged by the same rules.
///
/// # Errors
/// A path holds no run, or a run can't be read, or is named twice.
pub fn read_runs(paths: &[PathBuf]) -> Result<Vec<Run>, GateError> {
    let mut runs: Vec<Run> = Vec::new();
    for path in paths {
        for folder in run_folders(path)? {
            let run = RunFolder::read(&folder)?;
            let summary = summarize(&run);
            runs.push(Run { folder, manifest: run.manifest, summary });
        }
    }
    check_distinct(runs.iter())?;
    Ok(runs)
}

/// A run that is counted twice makes noise look small.
pub(crate) fn check_distinct<'a>(runs: impl Iterator<Item = &'a Run>) -> Result<(), GateError> {
    let mut seen: Vec<&Run> = Vec::new();
    for run in runs {
        let same = |other: &&Run| {
            (&other.manifest.run, &other.manifest.host, other.manifest.started_wall_us)
                == (&run.manifest.run, &run.manifest.host, run.manifest.started_wall_us)
        };
        if let Some(other) = seen.iter().find(|other| same(other)) {
            return Err(GateError::SameRun(other.folder.clone(), run.folder.clone()));
        }
        seen.push(run);
    }
    Ok(())
}

/// The run folder at `path`, or those in it, by name.
fn run_folders(path: &Path) -> Result<Vec<PathBuf>, GateError> {
    if path.join(MANIFEST).exists() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error| GateError::List { path: path.to_owned(), error };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let folder = entry.map_err(failed)?.path();
        if folder.join(MANIFEST).exists() {
            folders.push(folder);
        }
    }
    if folders.is_empty() {
        return Err(GateError::Empty(path.to_owned()));
    }
    folders.sort();
    Ok(folders)
}
