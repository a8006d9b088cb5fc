//! What the operating system grants and what it costs: limits, source addresses and ports, sockets, readings of /proc.
//!
//! Linux only. The only crate of Holdline that may hold `unsafe`, and only where no library offers the call.

pub mod clock;
pub mod environment;
pub mod epoll;
pub mod grants;
pub mod limits;
pub mod network;
pub mod ports;
pub mod process;
pub mod reach;
pub mod socket;
pub mod timer;
