//! What the exit status says.

use std::process::ExitCode;

use holdline_alerter::AlerterError;
use holdline_analysis::Verdict;
use holdline_analysis::gate::{GateError, GateVerdict};
use holdline_conductor::{ExperimentError, SeriesError};
use holdline_server::ServerError;
use holdline_swarm::SwarmError;

/// The exit statuses, which CI jobs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// What was promised was held.
    Held = 0,
    /// It could not run.
    CouldNotRun = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// This host can't hold what was asked; found out before the run.
    Host = 3,
    /// What was promised was not held.
    NotHeld = 4,
    /// Worse than the baseline, or than a limit allows.
    Regression = 5,
    /// The measurement can't be trusted.
    Invalid = 6,
    /// Too few runs to tell whether it is worse.
    NotEnough = 7,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl From<Verdict> for Status {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Held => Self::Held,
            Verdict::NotHeld => Self::NotHeld,
            Verdict::Invalid => Self::Invalid,
        }
    }
}

impl From<GateVerdict> for Status {
    fn from(verdict: GateVerdict) -> Self {
        match verdict {
            GateVerdict::Pass => Self::Held,
            GateVerdict::Regression => Self::Regression,
            GateVerdict::NotHeld => Self::NotHeld,
            GateVerdict::NotEnough => Self::NotEnough,
        }
    }
}

/// Why a command failed, and what its exit status says of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(status: Status, error: impl Into<anyhow::Error>) -> Self {
        Self { status, error: error.into() }
    }

    /// A setting that is wrong, or that this host can't serve.
    fn setting(of_host: bool, error: impl Into<anyhow::Error>) -> Self {
        Self::new(if of_host { Status::Host } else { Status::Usage }, error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Status::CouldNotRun, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Status::CouldNotRun, error)
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match &error {
            ServerError::Config(config) => Self::setting(config.is_of_host(), error),
            _ => Self::new(Status::CouldNotRun, error),
        }
    }
}

impl From<SwarmError> for Failure {
    fn from(error: SwarmError) -> Self {
        match &error {
            SwarmError::Config(config) => Self::setting(config.is_of_host(), error),
            _ => Self::new(Status::CouldNotRun, error),
        }
    }
}

impl From<AlerterError> for Failure {
    fn from(error: AlerterError) -> Self {
        match error {
            AlerterError::Config(_) => Self::new(Status::Usage, error),
            _ => Self::new(Status::CouldNotRun, error),
        }
    }
}

impl From<GateError> for Failure {
    fn from(error: GateError) -> Self {
        let status = match &error {
            GateError::Read(_) | GateError::List { .. } | GateError::Write(_) => Status::CouldNotRun,
            GateError::NotAlike(_) => Status::Host,
            _ => Status::Usage,
        };
        Self::new(status, error)
    }
}

impl From<SeriesError> for Failure {
    fn from(error: SeriesError) -> Self {
        // A build's own word, where it has one.
        let status = match &error {
            SeriesError::Refused { exit, .. } if exit.code() == Some(Status::Usage as i32) => Status::Usage,
            SeriesError::Refused { exit, .. } if exit.code() == Some(Status::Host as i32) => Status::Host,
            _ => Status::CouldNotRun,
        };
        Self::new(status, error)
    }
}

impl From<ExperimentError> for Failure {
    fn from(error: ExperimentError) -> Self {
        Self::setting(matches!(error, ExperimentError::Host(_)), error)
    }
}
