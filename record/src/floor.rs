//! `floor.json`: what the host itself costs, played beside a run.

use serde::{Deserialize, Serialize};

/// What the host itself costs: a bare epoll pair with the same processes, turns and one message each way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Connections held at the end.
    pub connections: u64,
    /// Server processes.
    pub servers: u32,
    /// Client processes.
    pub clients: u32,
    /// Connections set up and answered a second, over the time of the steps only: first SYN to last answer.
    pub connect_rate_per_s: f64,
    /// Kernel memory of the named socket caches for each pair, whole host: their growth by the connections; null without
    /// /proc/slabinfo.
    pub kernel_bytes_per_connection_pair: Option<f64>,
    /// User memory of the server processes for each connection: growth of Pss_Anon and Pss_Shmem.
    pub server_user_bytes_per_connection: f64,
    /// The same of the client processes.
    pub client_user_bytes_per_connection: f64,
    /// From the order to close to the end of the last process.
    pub close_s: f64,
}
