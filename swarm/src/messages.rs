//! What the processes of a swarm say to each other, and to who started the swarm.

use std::time::Duration;

use holdline_host::ports::PortPlan;
use holdline_record::SwarmCounts;
use serde::{Deserialize, Serialize};

use crate::{Config, Reconnect};

/// To the swarm, from who started it. The first is always `Start`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Be ready for these settings; no connection yet.
    Start(Box<Config>),
    /// Have this many clients, counted from the first id.
    Grow {
        /// How many in all.
        to: u64,
    },
    /// Say your counts.
    Ask {
        /// Comes back in the answer.
        seq: u64,
    },
    /// Close all connections and end.
    Stop,
}

/// From the swarm, to who started it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// All workers are up.
    Ready {
        /// The supervisor.
        pid: u32,
        /// The workers, by number.
        workers: Vec<u32>,
        /// The port plan, in one line.
        plan: String,
    },
    /// It can't start; in words, with the remedy. The last message.
    Failed(String),
    /// Every attempt of the last `Grow` has an outcome.
    Grown(Step),
    /// The answer to `Ask`.
    Counts {
        /// That of the question.
        seq: u64,
        /// Over all workers.
        total: SwarmCounts,
        /// By worker.
        workers: Vec<WorkerReport>,
    },
    /// A worker ended, and its connections with it.
    WorkerLost {
        /// Its number.
        worker: u32,
        /// How it ended.
        how: String,
    },
    /// All connections are closed; the last message, with the last counts.
    Stopped(SwarmCounts),
}

/// One worker's share of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its process.
    pub pid: u32,
    /// Clients registered there now.
    pub registered: u64,
}

/// What came of one `Grow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Attempts that ended registered.
    pub registered: u64,
    /// Attempts that ended otherwise.
    pub failed: u64,
    /// CLOCK_MONOTONIC at the first SYN; none if nothing was attempted.
    pub first_syn_us: Option<u64>,
    /// CLOCK_MONOTONIC at the last outcome.
    pub last_outcome_us: Option<u64>,
    /// Connect-and-register latency, see [`holdline_record::encode_histogram`].
    pub histogram: Vec<u8>,
}

/// What a worker is started with: a contiguous part of the swarm's clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerPlan {
    /// The plan of the whole swarm.
    pub ports: PortPlan,
    /// The id of the swarm's client 0.
    pub start_id: u64,
    /// The first client of this worker, counted from the swarm's first.
    pub first: u64,
    /// How many clients.
    pub clients: u64,
    /// Connections begun a second by this worker.
    pub rate: Option<f64>,
    /// Connections being set up at once by this worker.
    pub window: u32,
    /// Zero for never.
    pub nop_interval: Duration,
    /// See [`Config::reconnect`].
    pub reconnect: Option<Reconnect>,
    /// See [`Config::connect_timeout`].
    pub connect_timeout: Duration,
    /// See [`Config::register_timeout`].
    pub register_timeout: Duration,
}

impl WorkerPlan {
    /// The id of this worker's client of number `client`.
    #[must_use]
    pub fn id(&self, client: u32) -> u64 {
        self.start_id.wrapping_add(self.first).wrapping_add(u64::from(client))
    }
}

/// From the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message.
    Start(Box<WorkerPlan>),
    /// Have this many clients.
    Grow(u64),
    /// Say your counts.
    Ask(u64),
    /// Close all connections and end.
    Stop,
}

/// From a worker to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// Every attempt of the last `Grow` has an outcome.
    Grown(Step),
    /// The answer to `Ask`.
    Counts {
        /// That of the question.
        seq: u64,
        /// This worker's.
        counts: Box<SwarmCounts>,
    },
    /// All connections are closed; the last message.
    Stopped(Box<SwarmCounts>),
}
