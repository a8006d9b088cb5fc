//! Limits: that of open files (getrlimit(2)) and what it means for processes, and that of times.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a worker keeps for other things than connections: its standard streams, its channel, the epoll
/// sets, the listener, logs, and a reserve so that a full worker can still refuse politely.
pub const RESERVED_FILES: u64 = 128;

/// The longest time that a setting may ask for, far below what clocks can count to.
pub const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

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

/// Splits `total` in proportion to `sizes`: whole numbers that add up to `total`, and that are the sizes themselves when
/// `total` is their sum. As `total` grows, no part shrinks.
#[must_use]
pub fn split_in_proportion(total: u64, sizes: &[u64]) -> Vec<u64> {
    let sum: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    let (mut size_so_far, mut given) = (0_u128, 0);
    let part = |size: &u64| {
        size_so_far += u128::from(*size);
        // What all up to this one have together, less what those before it have.
        let due = u64::try_from(u128::from(total) * size_so_far / sum.max(1)).unwrap_or(u64::MAX);
        let part = due - given;
        given = due;
        part
    };
    sizes.iter().map(part).collect()
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

    #[test]
    fn parts_in_proportion_add_up_and_never_shrink() {
        let sizes = [15_000, 0, 16_000, 2_000];
        assert_eq!(split_in_proportion(33_000, &sizes), sizes);
        assert_eq!(split_in_proportion(0, &sizes), [0; 4]);
        assert_eq!(split_in_proportion(7, &[]), []);
        let mut before = vec![0; sizes.len()];
        for total in 0..=33_000 {
            let parts = split_in_proportion(total, &sizes);
            assert_eq!(parts.iter().sum::<u64>(), total);
            assert!(parts.iter().zip(&before).all(|(part, before)| part >= before), "{total}: {parts:?}");
            before = parts;
        }
        assert_eq!(split_in_proportion(u64::MAX, &[1, u64::MAX - 1]), [1, u64::MAX - 1]);
    }
}
