//! What can keep a run from being analysed.

use std::io;
use std::path::{Path, PathBuf};

use holdline_record::RecordError;

/// A run that can't be read, or a result that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The run folder can't be read at all.
    #[error("can't analyse this run: {0}; name a folder that `holdline` wrote, with its manifest.json")]
    Read(#[from] RecordError),
    /// Two folders to be compared hold the same run.
    #[error("{} and {} hold the same run: name each run once", .0.display(), .1.display())]
    SameRun(PathBuf, PathBuf),
    /// A result can't be written.
    #[error(
        "can't write {path}: {error}; make the run folder writable and analyse it again (the raw rows are untouched)",
        path = path.display()
    )]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// A chart can't be drawn or written.
    #[error(
        "can't draw {path}: {why}; check that the folder is writable and not full, then analyse the run again",
        path = path.display()
    )]
    Chart {
        /// Which file.
        path: PathBuf,
        /// In words.
        why: String,
    },
}

impl AnalysisError {
    pub(crate) fn write(path: &Path, error: io::Error) -> Self {
        Self::Write { path: path.to_owned(), error }
    }

    pub(crate) fn chart(path: &Path, why: impl ToString) -> Self {
        Self::Chart { path: path.to_owned(), why: why.to_string() }
    }
}
