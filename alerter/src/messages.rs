//! What the alerter and who started it say to each other.

use holdline_record::TapCounts;
use serde::{Deserialize, Serialize};

use crate::Config;

/// To the alerter. The first is always `Start`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Tap with these settings.
    Start(Box<Config>),
    /// Send no more alerts; wait for what is under way, then say the outcome.
    Stop,
}

/// From the alerter.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// It is connected; the schedule begins.
    Started {
        /// The process.
        pid: u32,
    },
    /// A second of round trips.
    Interval(Interval),
    /// Every alert has its outcome; the last message.
    Done(Outcome),
    /// It can't tap; in words, with the remedy. The last message.
    Failed(String),
}

/// Round trips that ended in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// CLOCK_MONOTONIC at its start.
    pub start_us: u64,
    /// How long it was.
    pub duration_us: u64,
    /// From intended send to acknowledgement, see [`holdline_record::encode_histogram`].
    pub histogram: Vec<u8>,
}

/// What became of the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Every alert in one outcome.
    pub counts: TapCounts,
    /// Largest delay from intended to actual send.
    pub lag_max_us: u64,
    /// 99th percentile of the delay from intended to actual send.
    pub lag_p99_us: u64,
    /// Why alerts were not sent, if some were not.
    pub cut_short: Option<String>,
}
