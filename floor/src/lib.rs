//! The floor: what a number of connections costs on this host whatever the program. A bare epoll pair with the processes,
//! the turns at accepting and the one message each way that the real pair has, and nothing else.
//!
//! ```text
//! play ─┬─ server process …   accepts when it has credit, answers each client's one message
//!       └─ client process …   connects, says one message, waits for the answer
//! ```
//!
//! Each process is this program again, with a Unix socket as standard input over which it is told numbers and answers
//! with numbers. No runtime, no framing, no table but one byte for each descriptor of a client.

mod client;
mod play;
mod server;
mod wire;

pub use client::run_client;
pub use play::{FloorError, Plan, play};
pub use server::run_server;

/// The kind of process that accepts, for `holdline role KIND NAME`.
pub const SERVER_ROLE: &str = "floor-server";
/// The kind of process that connects.
pub const CLIENT_ROLE: &str = "floor-client";

/// As many bytes as Hello and Register of the native protocol have together.
const REQUEST: [u8; 32] = [0x5a; 32];
/// As many bytes as Hello and Registered have together.
const ANSWER: [u8; 24] = [0xa5; 24];
