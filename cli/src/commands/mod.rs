//! One file a command.

mod alerter;
mod analyze;
mod compare;
mod doctor;
mod floor;
mod gate;
mod role;
mod run;
mod server;
mod swarm;

pub(crate) use alerter::alerter;
pub(crate) use analyze::{analyze, analyze_one};
pub(crate) use compare::compare;
pub(crate) use doctor::doctor;
pub(crate) use floor::floor;
pub(crate) use gate::gate;
pub(crate) use role::role;
pub(crate) use run::run;
pub(crate) use server::server;
pub(crate) use swarm::swarm;
