//! Clients that are to connect again, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::Reconnect;

/// Waiting clients, the earliest first.
#[derive(Debug)]
pub(crate) struct Again {
    settings: Option<Reconnect>,
    /// When, which client, and how many of its attempts in a row had failed.
    waiting: BinaryHeap<Reverse<(u64, u32, u32)>>,
    random: Xoshiro256PlusPlus,
}

impl Again {
    /// Nobody waits yet; without settings nobody ever does.
    pub(crate) fn new(settings: Option<Reconnect>, seed: u64) -> Self {
        Self { settings, waiting: BinaryHeap::new(), random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// A client's connection or attempt ended, after `failures` failed attempts in a row.
    ///
    /// It waits a random time up to `first * 2^failures`, at most up to `longest` ("full jitter", so that a fleet that was
    /// dropped at once does not come back at once), on top of what the service asked for.
    pub(crate) fn put(&mut self, client: u32, failures: u32, retry_after_ms: u32, now_us: u64) {
        let Some(settings) = self.settings else { return };
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let most_us = micros(settings.first).saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
        let jitter_us = self.random.random_range(0..=most_us.min(micros(settings.longest)));
        let due_us = now_us.saturating_add(u64::from(retry_after_ms) * 1000).saturating_add(jitter_us);
        self.waiting.push(Reverse((due_us, client, failures)));
    }

    /// Whether a client's time has come.
    pub(crate) fn is_due(&self, now_us: u64) -> bool {
        self.waiting.peek().is_some_and(|Reverse((due_us, ..))| *due_us <= now_us)
    }

    /// A client whose time has come, and its failed attempts.
    pub(crate) fn take_due(&mut self, now_us: u64) -> Option<(u32, u32)> {
        if !self.is_due(now_us) {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, client, failures))| (client, failures))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTINGS: Reconnect = Reconnect { first: Duration::from_millis(100), longest: Duration::from_secs(10) };

    /// The due times of many clients in the same state, in microseconds from now.
    fn due(failures: u32, retry_after_ms: u32) -> Vec<u64> {
        let mut again = Again::new(Some(SETTINGS), 1);
        (0..1000).for_each(|client| again.put(client, failures, retry_after_ms, 0));
        again.waiting.into_iter().map(|Reverse((due_us, ..))| due_us).collect()
    }

    #[test]
    fn waits_are_spread_and_grow_up_to_a_bound() {
        for (failures, retry_after_ms, least_us, most_us) in [
            (0, 0, 0, 100_000),
            (1, 0, 0, 200_000),
            (6, 0, 0, 6_400_000),
            (7, 0, 0, 10_000_000),
            (u32::MAX, 0, 0, 10_000_000),
            (0, 3_000, 3_000_000, 3_100_000),
        ] {
            let due = due(failures, retry_after_ms);
            let (earliest, latest) = (*due.iter().min().unwrap(), *due.iter().max().unwrap());
            assert!(least_us <= earliest && latest <= most_us, "{failures}: {earliest} to {latest}");
            let middle = u64::midpoint(least_us, most_us);
            let below = due.iter().filter(|us| **us < middle).count();
            assert!((400..600).contains(&below), "{failures}: {below} of 1000 in the first half");
        }
    }

    #[test]
    fn the_earliest_is_first_and_not_before_its_time() {
        let mut again = Again::new(Some(SETTINGS), 1);
        again.put(1, 0, 5_000, 0);
        again.put(2, 0, 1_000, 0);
        assert_eq!(again.take_due(999_999), None);
        assert_eq!(again.take_due(1_100_000), Some((2, 0)));
        assert_eq!(again.take_due(4_999_999), None);
        assert_eq!(again.take_due(5_100_000), Some((1, 0)));
        assert!(!again.is_due(u64::MAX));
    }

    #[test]
    fn nobody_comes_back_unasked() {
        let mut again = Again::new(None, 1);
        again.put(1, 0, 0, 0);
        assert!(!again.is_due(u64::MAX));
    }
}
