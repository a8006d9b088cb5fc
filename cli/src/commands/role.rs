use std::os::fd::AsFd;

use anyhow::anyhow;
use holdline_conductor::{ALERTER_ROLE, SERVER_ROLE, SWARM_ROLE};
use holdline_fleet::{Channel, Program, from_parent};

use crate::status::{Failure, Status};

/// Is one process of a run, a server or a swarm, for the parent at the other end of standard input.
pub(crate) async fn role(kind: &str) -> Result<Status, Failure> {
    match kind {
        SERVER_ROLE => holdline_server::run(Program::current()?, Channel::new(from_parent()?)?).await?,
        SWARM_ROLE => holdline_swarm::run(Program::current()?, Channel::new(from_parent()?)?).await?,
        ALERTER_ROLE => holdline_alerter::run(Channel::new(from_parent()?)?).await?,
        holdline_server::WORKER_ROLE => holdline_server::run_worker().await?,
        holdline_swarm::WORKER_ROLE => holdline_swarm::run_worker().await?,
        holdline_floor::SERVER_ROLE => {
            // The listener is handed over as standard output: a bare process has no channel for files.
            let listener = std::io::stdout().as_fd().try_clone_to_owned()?;
            holdline_floor::run_server(&from_parent()?, listener)?;
        }
        holdline_floor::CLIENT_ROLE => holdline_floor::run_client(&from_parent()?)?,
        other => {
            from_parent()?;
            return Err(anyhow!("there is no role {other:?}").into());
        }
    }
    Ok(Status::Held)
}
