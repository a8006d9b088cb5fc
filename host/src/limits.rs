//! The limit of open files (getrlimit(2)), and what it means for processes.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a worker keeps for other things than connections: its standard streams, its channel, the epoll
/// sets, the listener, logs, and a reserve so that a full worker can still refuse politely.
pub const RESERVED_FILES: u64 = 128;

/// RLIMIT_NOFILE of this process. `u64::MAX` stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// What is enforced.
    pub soft: u64,
    /// What the soft limit may be raised to without privilege.
    pub hard: u64,
}

/// The limit in force.
#[must_use]
pub fn open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
}

/// Raises the soft limit to the hard one and returns what is in force then. Children inherit it.
///
/// # Errors
/// The kernel refused, although no privilege is needed for it.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(open_files())
}

/// Connections that one worker can hold under `limit` open files.
#[must_use]
pub fn connections_per_worker(limit: u64) -> u64 {
    limit.saturating_sub(RESERVED_FILES)
}

/// Workers needed for `connections` under `limit` open files each; none if not even one connection fits.
#[must_use]
pub fn workers_for(connections: u64, limit: u64) -> Option<u32> {
    let each = connections_per_worker(limit);
    if each == 0 {
        return None;
    }
    u32::try_from(connections.div_ceil(each).max(1)).ok()
}

/// Splits `total` into `parts` that differ by at most one, the larger ones first.
#[must_use]
pub fn split_evenly(total: u64, parts: u32) -> Vec<u64> {
    let parts_u64 = u64::from(parts.max(1));
    let (each, more) = (total / parts_u64, total % parts_u64);
    (0..parts_u64).map(|part| each + u64::from(part < more)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_from_the_limit() {
        for (connections, limit, workers) in [
            (0, 20_000, Some(1)),
            (1, 20_000, Some(1)),
            (19_872, 20_000, Some(1)),
            (19_873, 20_000, Some(2)),
            (33_000, 20_000, Some(2)),
            (1_000_000, 20_000, Some(51)),
            (1_000_000, 1_048_576, Some(1)),
            (10, 129, Some(10)),
            (10, 128, None),
            (u64::MAX, 129, None),
        ] {
            assert_eq!(workers_for(connections, limit), workers, "{connections} under {limit}");
        }
    }

    #[test]
    fn parts_are_even_and_whole() {
        assert_eq!(split_evenly(10, 3), [4, 3, 3]);
        assert_eq!(split_evenly(2, 4), [1, 1, 0, 0]);
        for (total, parts) in [(33_000, 2), (0, 5), (u64::MAX, 7)] {
            assert_eq!(split_evenly(total, parts).iter().sum::<u64>(), total);
        }
    }
}
