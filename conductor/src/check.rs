//! What this host must offer before a run begins. Found out without opening a connection.

use holdline_host::grants::Grants;
use holdline_swarm::Config as SwarmConfig;

use crate::Plan;
use crate::ladder::{Rung, ladder};

/// Something this host lacks, in words: what is asked, what there is, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Shortfall {
    words: String,
    rung: bool,
}

impl Shortfall {
    pub(crate) fn new(words: String) -> Self {
        Self { words, rung: false }
    }

    /// Whether it is a rung of the ladder, and stands there.
    #[must_use]
    pub fn is_rung(&self) -> bool {
        self.rung
    }

    fn of(rung: &Rung, connections: u64) -> Self {
        let most = rung.connections.unwrap_or(u64::MAX);
        let remedy = rung.raise.as_deref().unwrap_or("ask for fewer connections, or end what else is running");
        let words = format!(
            "{connections} connections with both ends here are asked for, {} lets {most} through ({}, {}): {}; {remedy}",
            rung.limit, rung.value, rung.read_from, rung.meaning
        );
        Self { words, rung: true }
    }
}

/// Everything this host lacks for `plan`; empty if nothing.
#[must_use]
pub fn check(plan: &Plan) -> Vec<Shortfall> {
    let demand = plan.demand();
    let rungs = ladder(&Grants::read(), &demand);
    let stopping = rungs.iter().filter(|rung| rung.stops(demand.connections));
    let mut shortfalls: Vec<Shortfall> = stopping.map(|rung| Shortfall::of(rung, demand.connections)).collect();
    shortfalls.extend(vanished_sources(plan).into_iter().map(Shortfall::new));
    shortfalls
}

/// The first source address of each group that is not of this host, or not any more; in words.
pub(crate) fn vanished_sources(plan: &Plan) -> Vec<String> {
    let errors = plan.groups.iter().filter_map(|group| SwarmConfig::probe_sources(&group.ports).err());
    let mut words: Vec<String> = errors.map(|error| error.to_string()).collect();
    // Groups that share an address lack it together.
    words.dedup();
    words
}

/// What does not stop a run but shapes its figures.
pub(crate) fn warnings(plan: &Plan) -> Vec<String> {
    let shaping = ladder(&Grants::read(), &plan.demand());
    let shaping = shaping.into_iter().filter(|rung| rung.connections.is_none());
    let told = ["net.core.somaxconn", "/proc/slabinfo"];
    shaping
        .filter(|rung| told.contains(&rung.limit))
        .filter_map(|rung| {
            let raise = rung.raise?;
            Some(format!("{} is {}: {}; `{raise}`.", rung.limit, rung.value, rung.meaning))
        })
        .collect()
}
