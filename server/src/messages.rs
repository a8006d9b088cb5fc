//! What the processes of a server say to each other, and to who started the server.

use std::net::SocketAddr;

use holdline_record::ServerCounts;
use serde::{Deserialize, Serialize};

use crate::Config;

/// To the server, from who started it. The first is always `Start`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Serve with these settings.
    Start(Box<Config>),
    /// Say your counts.
    Ask {
        /// Comes back in the answer.
        seq: u64,
    },
    /// Send the clients away and end.
    Drain,
}

/// From the server, to who started it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// It listens.
    Ready {
        /// Where clients connect.
        listen: SocketAddr,
        /// Where alerts come in.
        alerts: SocketAddr,
        /// Where metrics are served.
        metrics: Option<SocketAddr>,
        /// The supervisor.
        pid: u32,
        /// The workers, by number.
        workers: Vec<u32>,
    },
    /// It can't serve; in words, with the remedy. The last message.
    Failed(String),
    /// The answer to `Ask`.
    Counts {
        /// That of the question.
        seq: u64,
        /// Over all workers.
        total: ServerCounts,
        /// By worker.
        workers: Vec<WorkerReport>,
    },
    /// A worker ended that should not have.
    WorkerLost {
        /// Its number.
        worker: u32,
        /// How it ended.
        how: String,
    },
    /// A worker that had ended was started again.
    WorkerReplaced {
        /// Its number.
        worker: u32,
        /// The new process.
        pid: u32,
    },
    /// All clients are gone; the last message.
    Drained,
}

/// One worker's share of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its process.
    pub pid: u32,
    /// Connections registered there now.
    pub registered: u64,
}

/// From the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message; the listener came before it.
    Start(Box<Config>),
    /// Accept this many more connections.
    Accept(u32),
    /// There is no room in any worker: accept and refuse until revoked.
    Refuse,
    /// Accept no more; say what was left.
    Revoke,
    /// Tap a client.
    Alert {
        /// Names the alert between supervisor and worker, and is the tap's id to the client.
        token: u64,
        /// Where the client was when the directory was asked.
        slot: u32,
        /// The client, to be verified in the slot.
        client_id: u64,
        /// Answer when the client has acknowledged.
        wait_for_ack: bool,
        /// Goes into the tap.
        payload: Vec<u8>,
    },
    /// Another connection of the same client has taken over.
    Replaced {
        /// Where the old one is.
        slot: u32,
        /// The `seq` of the last `Joined` that the supervisor had seen of this worker: a connection that joined in this
        /// slot later is another one, and stays.
        seen: u32,
    },
    /// Say your counts.
    Ask(u64),
    /// Send the clients away and end.
    Drain,
}

/// From a worker to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// Connections accepted under `Accept`, and connections closed, since the last time this was said.
    Flow { opened: u32, closed: u32 },
    /// The answer to `Revoke`: what of `Accept` was not used.
    Returned(u32),
    /// A client registered.
    Joined { slot: u32, client_id: u64, seq: u32 },
    /// A registered client's connection ended.
    Left { slot: u32 },
    /// An alert has its outcome, as its code in the protocol.
    Settled { token: u64, outcome: u8 },
    /// The client was not in that slot any more; nothing was sent.
    Moved { token: u64, payload: Vec<u8> },
    /// The answer to `Ask`.
    Counts { seq: u64, counts: Box<ServerCounts> },
}
