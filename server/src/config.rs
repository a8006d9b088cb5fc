//! The server's settings, as resolved.

use std::net::SocketAddr;
use std::time::Duration;

use holdline_host::limits;
use serde::{Deserialize, Serialize};

/// Longest idle timeout: a worker keeps the time of the last sign of life in 16 bits of seconds, compared by wrapping.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(8 * 3600);

/// Settings of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Where clients connect; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where alerts come in; port 0 lets the kernel choose.
    pub alerts: SocketAddr,
    /// Where OpenMetrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Connections held at most, over all workers; the next client is refused.
    pub max_connections: u64,
    /// Worker processes; as many as the limit of open files asks for if none.
    pub workers: Option<u32>,
    /// Length asked for the accept queue; the kernel caps it at net.core.somaxconn.
    pub backlog: i32,
    /// A client that has not registered for this long is closed.
    pub register_deadline: Duration,
    /// A client silent for longer is closed; zero for never.
    pub idle_timeout: Duration,
    /// An alert whose client has not acknowledged for this long has timed out.
    pub tap_timeout: Duration,
    /// How long clients get to leave by themselves when the server shuts down.
    pub drain_timeout: Duration,
    /// What a client that was refused, or sent away by a shutdown, is told to wait before it comes back.
    pub retry_after: Duration,
    /// Bytes kept for one client that does not read, before a tap to it is overloaded.
    pub max_unsent_per_connection_bytes: u32,
    /// Bytes kept in one worker for all its clients that do not read.
    pub max_unsent_per_worker_bytes: u64,
    /// Alerts waiting for their outcome, over all workers, before the next is overloaded.
    pub max_alerts_in_flight: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7000)),
            alerts: SocketAddr::from(([127, 0, 0, 1], 7001)),
            metrics: None,
            max_connections: 100_000,
            workers: None,
            backlog: 4096,
            register_deadline: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30 * 60),
            tap_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            retry_after: Duration::from_secs(1),
            max_unsent_per_connection_bytes: 64 * 1024,
            max_unsent_per_worker_bytes: 16 << 20,
            max_alerts_in_flight: 65_536,
        }
    }
}

/// Settings that can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing could be held.
    #[error("--max-connections is 0: nothing could be held")]
    NoConnections,
    /// The workers can't hold that many under the limit of open files.
    #[error(
        "--max-connections {asked} does not fit: {workers} worker(s) hold {each} each under the limit of {limit} open \
         files per process; use --workers {needed}, or leave it out, or raise the limit (`ulimit -n`, LimitNOFILE=)"
    )]
    OpenFiles {
        /// Connections asked for.
        asked: u64,
        /// Workers asked for.
        workers: u32,
        /// What each may hold.
        each: u64,
        /// The limit in force.
        limit: u64,
        /// Workers that would do.
        needed: u32,
    },
    /// Not even one connection fits into a process.
    #[error(
        "the limit of {limit} open files per process leaves no room for connections ({} are kept back); raise it \
         (`ulimit -n`, LimitNOFILE=)",
        limits::RESERVED_FILES
    )]
    NoFiles {
        /// The limit in force.
        limit: u64,
    },
    /// A time that can't be kept.
    #[error("{setting} must be {bound}")]
    Time {
        /// The setting.
        setting: &'static str,
        /// What it must be.
        bound: &'static str,
    },
    /// More workers or connections than a location has room for.
    #[error("--workers {0} is more than {1}")]
    TooManyWorkers(u32, u32),
}

impl ConfigError {
    /// Whether this host lacks something for sound settings, rather than the settings being wrong.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        matches!(self, Self::NoFiles { .. })
    }
}

impl Config {
    /// Checks the settings under a limit of `open_files` per process and returns how many workers there will be.
    ///
    /// # Errors
    /// The setting that can't be kept, and what to change.
    pub fn validate(&self, open_files: u64) -> Result<u32, ConfigError> {
        if self.max_connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        self.validate_times()?;
        // A slot is a descriptor's number, so those that are no connections count too.
        let most = u64::from(crate::directory::MAX_SLOTS) - limits::RESERVED_FILES;
        let each = limits::connections_per_worker(open_files).min(most);
        if each == 0 {
            return Err(ConfigError::NoFiles { limit: open_files });
        }
        let needed = u32::try_from(self.max_connections.div_ceil(each)).unwrap_or(u32::MAX);
        let workers = self.workers.unwrap_or(needed);
        if workers > crate::directory::MAX_WORKERS {
            return Err(ConfigError::TooManyWorkers(workers, crate::directory::MAX_WORKERS));
        }
        if workers < needed {
            let (asked, limit) = (self.max_connections, open_files);
            return Err(ConfigError::OpenFiles { asked, workers, each, limit, needed });
        }
        Ok(workers)
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let second = Duration::from_secs(1);
        let time = |setting, bound| Err(ConfigError::Time { setting, bound });
        if self.idle_timeout > MAX_IDLE_TIMEOUT || (!self.idle_timeout.is_zero() && self.idle_timeout < second) {
            return time("--idle-timeout", "0 (never), or from 1s to 8h");
        }
        if !(second..=MAX_IDLE_TIMEOUT).contains(&self.register_deadline) {
            return time("--register-deadline", "from 1s to 8h");
        }
        if self.tap_timeout.is_zero() || self.tap_timeout > MAX_IDLE_TIMEOUT {
            return time("--tap-timeout", "more than 0 and at most 8h");
        }
        if self.drain_timeout > MAX_IDLE_TIMEOUT || self.retry_after > MAX_IDLE_TIMEOUT {
            return time("--drain-timeout and --retry-after", "at most 8h");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_must_fit_the_limit() {
        let config = |max_connections, workers| Config { max_connections, workers, ..Config::default() };
        for (max_connections, workers, open_files, expected) in [
            (33_000, None, 20_000, Ok(2)),
            (33_000, Some(5), 20_000, Ok(5)),
            (1_000_000, None, 1_048_576, Ok(1)),
            (1_048_576, None, 2_000_000, Ok(2)),
            (0, None, 20_000, Err(ConfigError::NoConnections)),
            (1, None, 100, Err(ConfigError::NoFiles { limit: 100 })),
            (1, Some(9999), 20_000, Err(ConfigError::TooManyWorkers(9999, 4096))),
        ] {
            assert_eq!(config(max_connections, workers).validate(open_files), expected);
        }
        let too_few = config(33_000, Some(1)).validate(20_000).unwrap_err().to_string();
        assert!(too_few.contains("--workers 2"), "{too_few}");
    }

    #[test]
    fn times_have_bounds() {
        let idle = |secs| Config { idle_timeout: Duration::from_secs(secs), ..Config::default() }.validate(20_000);
        assert!(idle(0).is_ok() && idle(1).is_ok() && idle(8 * 3600).is_ok());
        assert!(idle(8 * 3600 + 1).is_err());
    }
}
