//! `manifest.json`: everything about a run that was known before it began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Limit;

/// What is needed to read a run, and to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of every file in the folder, see [`SCHEMA_VERSION`](crate::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The run's name, unique enough to merge folders: the experiment and its start.
    pub run: String,
    /// The host that conducts.
    pub host: String,
    /// When it began, microseconds since the Unix epoch.
    pub started_wall_us: u64,
    /// The command that makes it again.
    pub command: String,
    /// The seed of all random choices.
    pub seed: u64,
    /// What the experiment asks, in the terms that analysis needs.
    pub plan: Plan,
    /// The experiment as resolved, in its own format.
    pub experiment: serde_json::Value,
    /// The build that ran it.
    pub build: Build,
    /// The machine it ran on.
    pub environment: Environment,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    /// What is to be kept.
    pub promise: Promise,
    /// The swarm groups.
    pub groups: Vec<Group>,
    /// Whether clients connect again: a failed attempt is then no broken promise, if the connections are held.
    #[serde(default)]
    pub reconnect: bool,
    /// Levels of the staircase, each in connections in all.
    pub levels: Vec<u64>,
    /// Readings at each level.
    pub readings: u32,
    /// Tap phases, in order.
    pub taps: Vec<TapPhase>,
    /// Largest delay of the alerter, intended to actual send, at the 99th percentile, before the run is invalid.
    pub max_lag_p99_us: u64,
    /// Figures of elsewhere to print beside this run's.
    pub references: Vec<Reference>,
    /// Bounds that a gate holds the figures to.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// What a run promises; broken, its verdict is `not_held`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Connections held at once.
    pub connections: u64,
    /// For how long.
    pub hold_us: u64,
    /// Share of taps acknowledged in time, 0 to 1.
    pub taps_delivered: f64,
    /// In time: from the intended send.
    pub within_us: u64,
}

/// A swarm group: one machine of the original experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The first client id.
    pub start_id: u64,
    /// How many clients.
    pub connections: u64,
}

/// Taps at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapPhase {
    /// Alerts a second.
    pub rate: f64,
    /// For how long.
    pub duration_us: u64,
}

/// A figure measured elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The dotted name of the figure of `summary.json` it stands beside.
    pub figure: String,
    /// Its value, with its unit, as reported there.
    pub value: String,
    /// What it covers, and where it is from.
    pub covers: String,
}

/// The build of this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version of the package.
    pub version: String,
    /// The commit, with `-dirty` if files had changed; none outside a checkout.
    pub commit: Option<String>,
    /// The cargo profile.
    pub profile: String,
}

/// The machine, as far as it matters for the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Kernel release, `uname -r`.
    pub kernel: Option<String>,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// Cores this process may use.
    pub cpu_cores: u64,
    /// Memory in all.
    pub mem_total_bytes: Option<u64>,
    /// Open files a process: the soft limit after it was raised to the hard one.
    pub open_files_per_process: u64,
    /// The sysctls that matter, as the kernel prints them; one that can't be read is absent.
    pub sysctls: BTreeMap<String, String>,
}
