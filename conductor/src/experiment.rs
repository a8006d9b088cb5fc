//! The file that describes an experiment, as written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdline_record as record;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::check::Shortfall;

/// An experiment file. Keys that are not known are errors: a setting that is silently ignored spoils a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Names the run and its folder: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Decides which clients are tapped.
    #[serde(default = "one")]
    pub seed: u64,
    /// What is to be kept.
    pub promise: Promise,
    /// What is measured.
    #[serde(default)]
    pub target: Target,
    /// The clients.
    pub swarm: Swarm,
    /// How the connections are built up.
    #[serde(default)]
    pub staircase: Staircase,
    /// The tap phases, one after the other, while all connections are held.
    #[serde(default)]
    pub taps: Vec<Taps>,
    /// The sender of taps.
    #[serde(default)]
    pub alerter: Alerter,
    /// How often memory and CPU are read.
    #[serde(default)]
    pub sampling: Sampling,
    /// What `holdline gate` and `holdline compare` hold the figures to.
    #[serde(default)]
    pub gate: Gate,
    /// Figures of elsewhere to print beside this run's.
    #[serde(default, rename = "reference")]
    pub references: Vec<Reference>,
}

/// What a run promises. Broken, its verdict is `not_held`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// Connections held at once: the sum of the groups.
    pub connections: u64,
    /// For how long. Where the tap phases take longer, the connections are held longer.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// Share of taps acknowledged in time, 0 to 1.
    #[serde(default = "all")]
    pub taps_delivered: f64,
    /// In time: from the intended send.
    #[serde(default = "second", with = "humantime_serde")]
    pub within: Duration,
}

/// What kind of service is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The reference service, started by the run and ended by it.
    #[default]
    Holdline,
}

/// What is measured. Settings of the reference service that are left out are `holdline server`'s own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// The kind of service.
    pub kind: TargetKind,
    /// Where clients connect; with port 0 the kernel chooses a free one.
    pub listen: std::net::SocketAddr,
    /// Addresses by which clients reach `listen`, if not by its own: each is a destination with source ports of its own. They
    /// lead to a service that listens on all addresses (`0.0.0.0:0`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<std::net::IpAddr>,
    /// Where alerts come in; with port 0 the kernel chooses a free one.
    pub alerts: std::net::SocketAddr,
    /// Connections held at most; the promised ones if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Worker processes; as many as the limit of open files asks for if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// A client that has not registered for this long is closed.
    #[serde(with = "humantime_serde")]
    pub register_deadline: Duration,
    /// A client silent for longer is closed; 0s for never.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// An alert whose client has not acknowledged for this long has timed out.
    #[serde(with = "humantime_serde")]
    pub tap_timeout: Duration,
}

impl Default for Target {
    fn default() -> Self {
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = holdline_server::Config::default();
        Self {
            kind: TargetKind::default(),
            listen: any_port,
            connect: Vec::new(),
            alerts: any_port,
            max_connections: None,
            workers: None,
            register_deadline: server.register_deadline,
            idle_timeout: server.idle_timeout,
            tap_timeout: server.tap_timeout,
        }
    }
}

/// The clients; settings left out are `holdline swarm`'s own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// Source addresses or blocks separated by commas, or `auto`.
    #[serde(default = "automatic")]
    pub sources: String,
    /// Connections begun a second, all groups together; no limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Connections being set up at once, all groups together.
    #[serde(default = "window")]
    pub window: u32,
    /// A client sends a Nop this often; 0s for never.
    #[serde(default = "nop_interval", with = "humantime_serde")]
    pub nop_interval: Duration,
    /// A connection that does not stand after this long has failed.
    #[serde(default = "connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// A client that is not registered this long after its connection stood has failed.
    #[serde(default = "register_timeout", with = "humantime_serde")]
    pub register_timeout: Duration,
    /// Connect again what failed or was lost; it stays away if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
    /// Worker processes of each group; as many as the limit of open files asks for if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// The groups; each is a set of processes of its own. In order of their ids, without gap or overlap.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
}

/// How clients connect again: after a random time up to `first`, doubled with each failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reconnect {
    /// The most that is waited after a connection was lost.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// The most that is waited at all.
    #[serde(with = "humantime_serde")]
    pub longest: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        let holdline_swarm::Reconnect { first, longest } = holdline_swarm::Reconnect::default();
        Self { first, longest }
    }
}

/// A swarm group: what one client machine would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The first client's id.
    pub start_id: u64,
    /// How many clients.
    pub connections: u64,
}

/// How the connections are built up: in steps, each reached as fast as it goes, with readings of memory on each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staircase {
    /// Steps up to the promised connections, all of one size; a slope needs 8, better 10.
    pub levels: u32,
    /// Instead of even steps: the connections in all after each, growing up to the promised ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<u64>>,
    /// Rest between the last registration of a step and its first reading.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// Readings on each level.
    pub readings: u32,
    /// Time between two readings of a level.
    #[serde(with = "humantime_serde")]
    pub reading_interval: Duration,
    /// A step that takes longer ends the run.
    #[serde(with = "humantime_serde")]
    pub step_timeout: Duration,
}

impl Default for Staircase {
    fn default() -> Self {
        Self {
            levels: 12,
            at: None,
            settle: Duration::from_millis(300),
            readings: 3,
            reading_interval: Duration::from_millis(100),
            step_timeout: Duration::from_secs(120),
        }
    }
}

/// Taps at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taps {
    /// Alerts a second, open loop.
    pub rate: f64,
    /// For how long.
    #[serde(rename = "for", with = "humantime_serde")]
    pub duration: Duration,
}

/// The sender of taps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerter {
    /// Bytes of each payload.
    pub payload_bytes: u32,
    /// The run is invalid if more than 1% of the alerts left later than this after their intended time.
    #[serde(with = "humantime_serde")]
    pub max_lag_p99: Duration,
}

impl Default for Alerter {
    fn default() -> Self {
        let alerter = holdline_alerter::Config::default();
        Self { payload_bytes: alerter.payload_bytes, max_lag_p99: Duration::from_millis(50) }
    }
}

/// How often memory and CPU are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Time between two samples; on each level of the staircase there are more.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1) }
    }
}

/// What a gate holds the figures to, whatever they were before. It changes nothing in a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Bounds such as `server.user_bytes_per_connection <= 72`.
    pub limits: Vec<record::Limit>,
}

/// A figure measured elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The dotted name of the figure of `summary.json` it stands beside.
    pub figure: String,
    /// Its value, with its unit, as reported there.
    pub value: String,
    /// What it covers, and where it is from.
    pub covers: String,
}

fn one() -> u64 {
    1
}
fn all() -> f64 {
    1.0
}
fn second() -> Duration {
    Duration::from_secs(1)
}
fn automatic() -> String {
    "auto".to_owned()
}
fn window() -> u32 {
    holdline_swarm::Config::default().window
}
fn connect_timeout() -> Duration {
    holdline_swarm::Config::default().connect_timeout
}
fn register_timeout() -> Duration {
    holdline_swarm::Config::default().register_timeout
}
fn nop_interval() -> Duration {
    holdline_swarm::Config::default().nop_interval
}

/// An experiment that can't be played as it is written.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The file can't be read.
    #[error("can't read the experiment {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        error: std::io::Error,
    },
    /// The file is not of the format, or has a key that is not known.
    #[error("{}: {error}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
    /// An override is not of the form or names no setting.
    #[error("--set {text}: {why}")]
    Set {
        /// The override as given.
        text: String,
        /// In words.
        why: String,
    },
    /// A value that can't be used.
    #[error("{setting} {why}")]
    Value {
        /// The setting, by its dotted name in the file.
        setting: String,
        /// In words, with what to change.
        why: String,
    },
    /// The settings are sound, but not for this host.
    #[error(transparent)]
    Host(Shortfall),
}

impl ExperimentError {
    pub(crate) fn value(setting: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value { setting: setting.into(), why: why.into() }
    }
}

impl Experiment {
    /// Reads the experiment at `path` and applies `overrides`, each `key=value` with a dotted key (`taps.0.rate=100`).
    ///
    /// # Errors
    /// The file can't be read, is not of the format, or an override names a place that can't be.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, ExperimentError> {
        if overrides.is_empty() {
            // Straight from the text, so that an error says in which line.
            return toml::from_str(&read_text(path)?)
                .map_err(|error| ExperimentError::Parse { path: path.to_owned(), error });
        }
        let table = read_table(path, overrides)?;
        table.try_into().map_err(|error: toml::de::Error| ExperimentError::Set {
            text: overrides.join(" --set "),
            why: format!("the experiment can't be read with it: {}", error.to_string().trim_end()),
        })
    }
}

/// The text of the experiment at `path` with `overrides` in it and without the tables `left_out`: an experiment for another
/// build, which may not know them.
///
/// # Errors
/// The file can't be read or is no TOML, or an override names a place that can't be.
pub fn experiment_text(path: &Path, overrides: &[String], left_out: &[&str]) -> Result<String, ExperimentError> {
    let mut table = read_table(path, overrides)?;
    table.retain(|key, _| !left_out.contains(&key));
    Ok(table.to_string())
}

fn read_table(path: &Path, overrides: &[String]) -> Result<Table, ExperimentError> {
    let mut table: Table =
        toml::from_str(&read_text(path)?).map_err(|error| ExperimentError::Parse { path: path.to_owned(), error })?;
    for text in overrides {
        set(&mut table, text).map_err(|why| ExperimentError::Set { text: text.clone(), why })?;
    }
    Ok(table)
}

fn read_text(path: &Path) -> Result<String, ExperimentError> {
    std::fs::read_to_string(path).map_err(|error| ExperimentError::Read { path: path.to_owned(), error })
}

/// Puts the value of `key=value` where the dotted key says. Tables on the way are made, entries of lists are not.
fn set(table: &mut Table, text: &str) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or("an override is key=value, for example promise.hold=30s")?;
    let (key, value) = (key.trim(), value.trim());
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().filter(|last| !last.is_empty()).ok_or("the key is empty")?;
    let mut place = table;
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        let next = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = match next {
            Value::Table(table) => table,
            Value::Array(list) => {
                let number = parts.next().unwrap_or(last);
                let length = list.len();
                let entry = number.parse().ok().and_then(|index: usize| list.get_mut(index));
                let entry = entry
                    .ok_or_else(|| format!("{part} is a list of {length}; name an entry from 0, as in {part}.0.…"))?;
                entry.as_table_mut().ok_or_else(|| format!("{part}.{number} has no settings of its own"))?
            }
            _ => return Err(format!("{part} is a value and has no {last}")),
        };
    }
    place.insert(last.to_owned(), parse_value(value));
    Ok(())
}

/// A TOML value; what is none is text, so that durations need no quotes in the shell.
fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
        name = "small"
        [promise]
        connections = 20
        hold = "2s"
        [[swarm.group]]
        name = "one"
        start_id = 0
        connections = 20
        [[taps]]
        rate = 10
        for = "1s"
    "#;

    fn read(text: &str, overrides: &[&str]) -> Result<Experiment, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Experiment::read(&path, &overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        let experiment = read(SMALLEST, &[]).unwrap();
        assert_eq!(experiment.staircase, Staircase::default());
        assert_eq!(experiment.target, Target::default());
        assert_eq!((experiment.promise.taps_delivered, experiment.seed), (1.0, 1));
        let written = toml::to_string(&experiment).unwrap();
        assert_eq!(read(&written, &[]).unwrap(), experiment, "an experiment as resolved is an experiment");
    }

    #[test]
    fn overrides_reach_every_setting() {
        let experiment = read(
            SMALLEST,
            &["promise.hold=5m", "taps.0.rate=2.5", "staircase.levels=3", "swarm.sources=127.2.0.0/24", "name = other"],
        )
        .unwrap();
        assert_eq!(experiment.promise.hold, Duration::from_secs(300));
        assert_eq!((experiment.taps[0].rate, experiment.staircase.levels), (2.5, 3));
        assert_eq!((experiment.swarm.sources.as_str(), experiment.name.as_str()), ("127.2.0.0/24", "other"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, overrides, words) in [
            (SMALLEST.replace("hold =", "holt ="), &[][..], "holt"),
            (SMALLEST.replace("2s", "2 parsecs"), &[], "parsecs"),
            (SMALLEST.replace("[promise]", "[promise"), &[], "line 3"),
            (SMALLEST.to_owned(), &["promise.holt=3s"], "holt"),
            (SMALLEST.to_owned(), &["promise.hold"], "key=value"),
            (SMALLEST.to_owned(), &["taps.7.rate=3"], "list of 1"),
            (SMALLEST.to_owned(), &["name.x=3"], "no x"),
            (SMALLEST.to_owned(), &["target.kind=nonsense"], "nonsense"),
            (format!("{SMALLEST}\n[target]\nkind = \"holdline\"\nspeed = 3"), &[], "speed"),
        ] {
            let message = read(&text, overrides).unwrap_err();
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
        assert!(
            Experiment::read(Path::new("/nowhere/x.toml"), &[]).unwrap_err().to_string().contains("/nowhere/x.toml")
        );
    }
}
