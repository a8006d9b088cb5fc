//! `events.jsonl`: what happened in a run, one object a line.

use serde::{Deserialize, Serialize};

use crate::{Role, ServerCounts, SwarmCounts, TapCounts};

/// The part of a run that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// All processes up, no connection yet.
    Start,
    /// Connections are being set up, or just settled; between the readings of two levels.
    Climb,
    /// A level of the staircase is reached and settled; these are its readings.
    Level,
    /// All connections are held and tapped.
    Hold,
    /// Connections are being closed.
    Stop,
}

/// One event with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// The run it belongs to.
    pub run: String,
    /// The host that wrote it.
    pub host: String,
    /// Microseconds of that host's CLOCK_MONOTONIC.
    pub mono_us: u64,
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What one swarm group did in one step of the staircase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStep {
    /// The group's name.
    pub group: String,
    /// Attempts that ended registered in this step.
    pub registered: u64,
    /// Attempts that ended otherwise in this step.
    pub failed: u64,
    /// CLOCK_MONOTONIC at the first SYN of this step; none if nothing was attempted.
    pub first_syn_us: Option<u64>,
    /// CLOCK_MONOTONIC at the last outcome of this step.
    pub last_outcome_us: Option<u64>,
}

/// What happened.
#[allow(clippy::large_enum_variant, reason = "one event at a time; a box would only make its reading clumsy")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The roles are up and their processes known.
    Started {
        /// Worker processes of the server, without its supervisor.
        server_workers: u32,
        /// Worker processes of all swarm groups, without their supervisors.
        swarm_workers: u32,
    },
    /// A phase begins. `step` counts levels in `climb` and `level`, tap phases in `hold`.
    PhaseStarted {
        /// Which phase.
        phase: Phase,
        /// Which level or tap phase, from 0.
        step: Option<u32>,
    },
    /// A step of the staircase ended: every attempt in it has an outcome.
    StepReached {
        /// The level, from 0.
        step: u32,
        /// Connections this level asks for in all.
        target: u64,
        /// What each group did.
        groups: Vec<GroupStep>,
    },
    /// The books of both sides, read one right after the other.
    Books {
        /// The phase they were read in.
        phase: Phase,
        /// The level or tap phase.
        step: Option<u32>,
        /// The server's; none when it could not be asked.
        server: Option<ServerCounts>,
        /// The sum of the swarm groups'; none when one could not be asked.
        swarm: Option<SwarmCounts>,
    },
    /// A tap phase ended.
    TapsEnded {
        /// The tap phase, from 0.
        step: u32,
        /// Alerts a second, as scheduled.
        rate: f64,
        /// Every alert in its outcome.
        counts: TapCounts,
        /// Largest delay from intended to actual send.
        lag_max_us: u64,
        /// 99th percentile of the delay from intended to actual send.
        lag_p99_us: u64,
    },
    /// The hold ended: it began at `held_from_us` and lasted to this event's time.
    HoldEnded {
        /// CLOCK_MONOTONIC when all connections stood.
        held_from_us: u64,
    },
    /// A process of a role ended that should not have, or was replaced.
    ProcessLost {
        /// The role it was of: a service that loses a process has failed, a generator that does has measured nothing.
        role: Role,
        /// Which role, group and worker, in words.
        who: String,
        /// How it ended, in words.
        how: String,
    },
    /// Something that a reader of the figures should know.
    Warning {
        /// In words, with the remedy.
        message: String,
    },
    /// The run was ended before its time.
    Interrupted {
        /// By what, in words.
        why: String,
    },
    /// The last line of a complete record.
    Finished,
}
