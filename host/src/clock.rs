//! The two clocks of a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// A part of `period` that differs between processes, evenly spread over those that were started one after the other: where
/// each begins to tick, so that fifty of them do not wake at once and keep everything else waiting for a core.
#[must_use]
pub fn stagger(period: Duration) -> Duration {
    // Multiples of the golden ratio never come close to each other (Weyl).
    const GOLDEN: f64 = 0.618_033_988_749_895;
    period.mul_f64((f64::from(std::process::id()) * GOLDEN).fract())
}
