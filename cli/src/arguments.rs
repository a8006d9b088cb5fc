//! The arguments as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use holdline_host::ports::Sources;

/// How many connections can this push service hold, what does each one cost, and what stops it first?
///
/// Exit status: 0 held; 1 could not run; 2 wrong usage or configuration; 3 this host can't hold what was asked;
/// 4 not held; 6 invalid, the measurement can't be trusted.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play an experiment: start everything, hold, tap, measure, stop everything, and judge.
    Run(RunArguments),
    /// Judge a run folder and write summary.json, summary.md, report.html and charts into it; or compare several.
    ///
    /// The exit status is that of the verdict: 0 held, 4 not held, 6 invalid; of several runs, the worst.
    Analyze(AnalyzeArguments),
    /// Show the limits of this host, lowest first: where each stops connections, where it was read, how to raise it.
    ///
    /// With --connections or --experiment the exit status is 0 if this host can hold it and 3 if it can't.
    Doctor(DoctorArguments),
    /// Play what the host itself costs: a bare epoll pair with as many processes, turns and messages as the real one.
    Floor(FloorArguments),
    /// Play this build and another one in turn, and say whether this one is worse; for CI.
    ///
    /// Exit status: 0 pass; 1 could not run; 2 wrong usage or configuration; 3 this host can't hold the experiment, or the
    /// runs are of different machines or experiments; 4 the promise was broken, and no baseline always kept it; 5 regression: a
    /// figure is worse, a limit broken, or not held what the baseline held; 7 not enough runs to tell.
    Gate(GateArguments),
    /// Say whether the candidate's runs are worse than the baseline's; the exit status is as of gate.
    Compare(CompareArguments),
    /// Run the reference push service until SIGTERM or Ctrl-C, then send the clients away.
    Server(ServerArguments),
    /// Connect many clients, hold them, and say what became of each.
    Swarm(SwarmArguments),
    /// Tap random clients at a fixed rate, open loop.
    Alerter(AlerterArguments),
    /// A process of a run, a server or a swarm; started by them only.
    #[command(hide = true)]
    Role {
        /// Which.
        kind: String,
        /// Its name, for ps(1).
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The experiment, for example experiments/33k.toml.
    pub(crate) experiment: PathBuf,
    /// Where the record goes; must hold no run yet [default: runs/NAME-TIME].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Override a setting of the experiment, for example promise.hold=30s or taps.0.rate=100; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Show the plan and what this host lacks for it; start nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Before the run, play what this host itself costs with the same connections and processes; the report compares.
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArguments {
    /// The run folder; several are compared with each other.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// Where the comparison of several runs goes.
    #[arg(long, value_name = "DIR", default_value = "comparison")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Connections to be held, both ends on this host.
    #[arg(long, value_name = "N", conflicts_with = "experiment", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connections: Option<u64>,
    /// An experiment to be played here, for example experiments/1m.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) experiment: Option<PathBuf>,
    /// Override a setting of the experiment; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "experiment")]
    pub(crate) overrides: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a shell script that raises what is too low; change nothing.
    #[arg(long, conflicts_with = "json")]
    pub(crate) fix_script: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FloorArguments {
    /// Connections to be set up, both ends on this host.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connections: u64,
    /// Steps up to them.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) levels: u32,
    /// Processes of each side; as many as the limit of open files asks for if left out.
    #[arg(long)]
    pub(crate) processes: Option<u32>,
    /// Connections being set up at once.
    #[arg(long, default_value_t = 1024)]
    pub(crate) window: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GateArguments {
    /// The experiment, for example experiments/ci.toml; limits are in its table [gate].
    pub(crate) experiment: PathBuf,
    /// The holdline to compare this one with: both play the experiment in turn.
    #[arg(long, value_name = "PATH", conflicts_with = "baseline")]
    pub(crate) base_binary: Option<PathBuf>,
    /// Stored runs to compare with: run folders, or folders of such. Without these and --base-binary only the promise and the
    /// limits are held.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) baseline: Vec<PathBuf>,
    /// Runs of each build [default: 20, or 1 if there is nothing to compare with].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) runs: Option<u32>,
    /// Where runs and outcome go; must not exist yet [default: gates/NAME-TIME].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Override a setting of the experiment for both builds, for example promise.hold=5s; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Compare with stored runs of another machine, kernel or setting; the differences become warnings.
    #[arg(long)]
    pub(crate) allow_differences: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// Runs of the build that is known to be good: run folders, or folders of such. Without any only the promise and the
    /// limits are held.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) baseline: Vec<PathBuf>,
    /// Runs of the build in question: run folders, or folders of such.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub(crate) candidate: Vec<PathBuf>,
    /// Write the outcome there, as gate does: gate.md, gate.json, junit.xml and files for services that plot.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Compare runs of different machines, kernels or settings; the differences become warnings.
    #[arg(long)]
    pub(crate) allow_differences: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:7000")]
    pub(crate) listen: SocketAddr,
    /// Where alerts come in.
    #[arg(long, default_value = "127.0.0.1:7001")]
    pub(crate) alerts: SocketAddr,
    /// Serve OpenMetrics at http://ADDR/metrics.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Connections held at most; the next client is refused.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) max_connections: u64,
    /// Worker processes; as many as the limit of open files asks for if left out.
    #[arg(long)]
    pub(crate) workers: Option<u32>,
    /// Length of the accept queue; the kernel caps it at net.core.somaxconn.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
    /// A client that has not registered for this long is closed.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) register_deadline: Duration,
    /// A client silent for longer is closed; 0s for never.
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    pub(crate) idle_timeout: Duration,
    /// An alert whose client has not acknowledged for this long has timed out.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) tap_timeout: Duration,
    /// How long clients get to leave by themselves when the server is stopped.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) drain_timeout: Duration,
    /// What a client that is refused, or sent away by a shutdown, is told to wait at least.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) retry_after: Duration,
    /// Bytes kept for a client that does not read, before taps to it are overloaded.
    #[arg(long, default_value_t = 65_536, value_name = "BYTES")]
    pub(crate) max_unsent_per_connection: u32,
    /// Bytes kept in one worker for all its clients that do not read.
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES")]
    pub(crate) max_unsent_per_worker: u64,
    /// Alerts waiting for their outcome, before the next is overloaded.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) max_alerts_in_flight: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SwarmArguments {
    /// The service, as address and port; several that lead to it separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7000")]
    pub(crate) connect: Vec<SocketAddr>,
    /// The first client's id.
    #[arg(long, default_value_t = 0)]
    pub(crate) start_id: u64,
    /// How many clients.
    #[arg(long)]
    pub(crate) connections: u64,
    /// Source addresses or blocks separated by commas, or auto.
    #[arg(long, default_value = "auto")]
    pub(crate) sources: Sources,
    /// Connections begun a second; no limit if left out.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Connections being set up at once.
    #[arg(long, default_value_t = 1024)]
    pub(crate) window: u32,
    /// A client sends a Nop this often; 0s for never.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) nop_interval: Duration,
    /// A connection that does not stand after this long has failed.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// A client that is not registered this long after its connection stood has failed.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) register_timeout: Duration,
    /// Connect again what failed or was lost: after a random time, doubled with each failure in a row, and not sooner than
    /// the service asks for.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// The most that is waited after a connection was lost.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, requires = "reconnect")]
    pub(crate) reconnect_first: Duration,
    /// The most that is waited at all, however often connecting failed.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, requires = "reconnect")]
    pub(crate) reconnect_longest: Duration,
    /// How long the connections are held.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,
    /// Worker processes, or auto: as many as the limit of open files asks for.
    #[arg(long, default_value = "auto", value_parser = processes)]
    pub(crate) processes: Processes,
    /// The target is a public address, and that is meant.
    #[arg(long)]
    pub(crate) allow_public_target: bool,
}

/// A number of processes; none for auto.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes(pub(crate) Option<u32>);

#[derive(Debug, Args)]
pub(crate) struct AlerterArguments {
    /// The service's alert interface.
    #[arg(long, default_value = "127.0.0.1:7001")]
    pub(crate) connect: SocketAddr,
    /// Client ids A..B, B not included.
    #[arg(long, value_parser = id_range)]
    pub(crate) ids: (u64, u64),
    /// Alerts a second.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) rate: f64,
    /// How long alerts are sent.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Decides which clients are tapped.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// An alert that is not acknowledged this long after its intended send has timed out.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// How long after the last alert answers are waited for; longer than the service's own bound on taps.
    #[arg(long, default_value = "7s", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 64)]
    pub(crate) payload_bytes: u32,
    /// The target is a public address, and that is meant.
    #[arg(long)]
    pub(crate) allow_public_target: bool,
}

fn id_range(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    Ok((number(first)?, number(end)?))
}

fn processes(text: &str) -> Result<Processes, String> {
    if text == "auto" {
        return Ok(Processes(None));
    }
    text.parse().map(|number| Processes(Some(number))).map_err(|error| format!("{error}; a number, or auto"))
}
