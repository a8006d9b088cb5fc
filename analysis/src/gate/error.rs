use std::path::PathBuf;

use holdline_record::RecordError;

use super::likeness::Difference;
use crate::AnalysisError;

/// Runs that can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A run folder can't be read at all.
    #[error("can't read a run: {0}; name folders that `holdline run` wrote, or folders of such")]
    Read(#[from] RecordError),
    /// A folder holds no run and no folder of one.
    #[error("{} holds no run: name a folder with a manifest.json, or one of such folders", .0.display())]
    Empty(PathBuf),
    /// A folder can't be listed.
    #[error("can't list {}: {error}", path.display())]
    List {
        /// Which folder.
        path: PathBuf,
        /// What the system answered.
        error: std::io::Error,
    },
    /// The same run is named twice.
    #[error("{} and {} hold the same run: name each run once, on one side", .0.display(), .1.display())]
    SameRun(PathBuf, PathBuf),
    /// More runs than the test is made for.
    #[error("{0} runs on one side; the exact test takes up to {max}: name fewer", max = super::MAX_RUNS)]
    TooMany(usize),
    /// No candidate.
    #[error("there is no run of the candidate")]
    NoCandidate,
    /// A limit is on something that is no figure.
    #[error("gate.limits: {figure:?} is no figure of a run; there are: {}", known.join(", "))]
    UnknownFigure {
        /// What the limit names.
        figure: String,
        /// What could be named.
        known: Vec<String>,
    },
    /// The runs are of different machines, kernels or settings.
    #[error(
        "these runs are not alike, and a difference between them says nothing of the builds:{}\nuse runs of one machine and \
         one experiment, or --allow-differences if these are meant",
        .0.iter().map(|difference| format!("\n  - {difference}")).collect::<String>()
    )]
    NotAlike(Vec<Difference>),
    /// A result can't be written.
    #[error(transparent)]
    Write(#[from] AnalysisError),
}
