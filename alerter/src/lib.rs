//! The alerter: taps random clients at a fixed rate, open loop.
//!
//! The schedule is fixed beforehand: alert `i` is meant for `start + i / rate`, whatever became of the ones before. Its
//! latency runs from that intended time, so a service (or an alerter) that falls behind can't hide it: no coordinated
//! omission. A late send is recorded, never skipped.

mod books;
mod config;
mod messages;
mod run;

pub use config::{Config, ConfigError};
pub use messages::{Interval, Order, Outcome, Report};
pub use run::{AlerterError, run};
