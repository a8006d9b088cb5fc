//! The reference push service: clients register an id and stay, an alert taps one of them.
//!
//! A supervisor process owns the listeners and the directory of client ids; worker processes hold the connections, as
//! many as the limit of open files lets each. See ARCHITECTURE.md for how an accept, a registration and a tap travel.

mod alerts;
mod config;
mod directory;
mod messages;
mod metrics;
mod router;
mod supervisor;
mod turns;
mod worker;

pub use config::{Config, ConfigError};
pub use messages::{Order, Report, WorkerReport};
pub use supervisor::{ServerError, run};
pub use worker::run as run_worker;

/// The name of the worker's role in `holdline role KIND NAME`.
pub const WORKER_ROLE: &str = "server-worker";
