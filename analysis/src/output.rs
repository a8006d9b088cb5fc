//! Writes results so that a reader never sees half of one.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::AnalysisError;

/// Writes `bytes` to `path`, replacing what is there in one step.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), AnalysisError> {
    let partial = partial(path);
    fs::write(&partial, bytes).map_err(|error| AnalysisError::write(path, error))?;
    publish(&partial, path)
}

/// Writes `value` as indented JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), AnalysisError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| AnalysisError::write(path, error.into()))?;
    text.push(b'\n');
    write(path, &text)
}

/// Where `path` is built before it is published: the same folder, so that a rename is enough; the same extension,
/// because the PNG encoder goes by it.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".partial-{name}"))
}

/// Moves a finished file to its name.
pub(crate) fn publish(partial: &Path, path: &Path) -> Result<(), AnalysisError> {
    fs::rename(partial, path).map_err(|error| {
        // The half-made file has no reader; if it can't be removed either, the first error says why.
        let _ = fs::remove_file(partial);
        AnalysisError::write(path, error)
    })
}
