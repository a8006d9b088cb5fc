//! Plays an experiment: starts the roles, climbs the staircase, holds and taps, samples, and stops everything.
//!
//! ```text
//! experiment.toml -> Experiment (typed, as written) -> Plan (resolved for this host) -> check -> run -> run folder
//! ```
//!
//! Parsing, planning and checking open no socket and start no process. [`run`] writes the run folder as it goes; judging
//! it is left to the analysis, which sees nothing but that folder. [`play_in_turn`] repeats runs of several builds.

mod cast;
mod check;
mod experiment;
mod journal;
mod ladder;
mod plan;
mod play;
mod progress;
mod series;

pub use check::{Shortfall, check};
pub use experiment::{
    Alerter, Experiment, ExperimentError, Gate, Group, Promise, Reconnect, Reference, Sampling, Staircase, Swarm, Taps,
    Target, TargetKind, experiment_text,
};
pub use ladder::{Demand, Rung, ladder};
pub use plan::{Plan, even_levels};
pub use play::{Cut, Options, Played, RunError, manifest, run};
pub use progress::Progress;
pub use series::{SeriesBuild, SeriesError, Turn, play_in_turn};

/// The kind of process that runs a server, for `holdline role KIND NAME`.
pub const SERVER_ROLE: &str = "server";
/// The kind of process that runs a swarm group.
pub const SWARM_ROLE: &str = "swarm";
/// The kind of process that runs an alerter.
pub const ALERTER_ROLE: &str = "alerter";
