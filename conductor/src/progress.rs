//! What a run says of itself while it goes on, for whoever watches.

use std::time::Duration;

/// Something to show.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// All processes are up.
    Started {
        /// Worker processes of the server.
        server_workers: usize,
        /// Worker processes of all swarm groups.
        swarm_workers: usize,
    },
    /// Connections that are registered now, by the swarm's count.
    Connections(u64),
    /// A level of the staircase was reached.
    Level {
        /// Which, from 1.
        level: usize,
        /// Of how many.
        of: usize,
        /// Registered in all.
        connections: u64,
        /// Registered a second in this step, over the time spent connecting.
        rate_per_s: Option<f64>,
    },
    /// A tap phase begins.
    Tapping {
        /// Alerts a second.
        rate: f64,
        /// For how long.
        duration: Duration,
    },
    /// The connections are held without taps for the rest of the promised time.
    Holding(Duration),
    /// Connections are being closed and processes ended.
    Stopping,
    /// Something the reader of the figures should know.
    Warning(String),
}
