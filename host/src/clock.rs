//! The two clocks of a record.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of CLOCK_MONOTONIC (clock_gettime(2)): the clock of every duration. The same for all processes of a host.
#[must_use]
pub fn mono_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// Microseconds since the Unix epoch: for people and for merging hosts, never for a duration.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock, for the record's time stamps")]
pub fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
