//! The swarm: many clients, each with an id, from many source addresses.
//!
//! Worker processes hold the connections; a supervisor gives each a contiguous range of ids. What a client says is the
//! business of a [`Driver`], a pure state machine; the engine under it knows sockets, time and counts only.

mod again;
mod config;
pub mod driver;
mod engine;
mod messages;
mod native;
mod supervisor;

pub use config::{Config, ConfigError, Reconnect, Whole};
pub use driver::{Driver, DriverEvent, Violation};
pub use engine::{Engine, run_worker};
pub use messages::{FromWorker, Order, Report, Step, ToWorker, WorkerPlan, WorkerReport};
pub use native::Native;
pub use supervisor::{SwarmError, run};

/// The name of the worker's role in `holdline role KIND NAME`.
pub const WORKER_ROLE: &str = "swarm-worker";
