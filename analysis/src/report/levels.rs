//! The staircase as a table: how cost grows.

use super::{UNKNOWN, units};
use crate::summary::Level;

/// The columns, in order.
pub(super) const HEADING: [&str; 5] = ["connections", "connect rate", "server", "swarm", "kernel"];

/// What the columns cover.
pub(super) const COVERS: &str = "Each level of the staircase: the rate of the step up to it, and memory by connections with \
                                 bases included: of the server's processes, of the swarm's, of the kernel for both ends.";

/// A row for each level.
pub(super) fn rows(levels: &[Level]) -> Vec<[String; 5]> {
    let bytes = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), units::bytes_each);
    let rate =
        |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{}/s", units::decimal(rate, 0)));
    let row = |level: &Level| {
        [
            units::count(level.connections),
            rate(level.connect_rate_per_s),
            bytes(level.server_user_bytes_per_connection_all_in),
            bytes(level.swarm_user_bytes_per_connection_all_in),
            bytes(level.kernel_bytes_per_connection_pair),
        ]
    };
    levels.iter().map(row).collect()
}
