//! The `holdline` binary: arguments, logging, exit status; no logic.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use holdline_fleet::{Channel, Program, from_parent};
use holdline_host::ports::Sources;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How many connections can this push service hold, what does each one cost, and what stops it first?
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the reference push service until SIGTERM or Ctrl-C, then send the clients away.
    Server(ServerArguments),
    /// Connect many clients, hold them, and say what became of each.
    Swarm(SwarmArguments),
    /// Tap random clients at a fixed rate, open loop.
    Alerter(AlerterArguments),
    /// Judge a run folder and write summary.json, summary.md and charts into it.
    Analyze {
        /// The run folder.
        folder: std::path::PathBuf,
    },
    /// A process of a server or swarm; started by its supervisor only.
    #[command(hide = true)]
    Role {
        /// Which.
        kind: String,
        /// Its name, for ps(1).
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct ServerArguments {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
    /// Where alerts come in.
    #[arg(long, default_value = "127.0.0.1:7001")]
    alerts: SocketAddr,
    /// Serve OpenMetrics at http://ADDR/metrics.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Connections held at most; the next client is refused.
    #[arg(long, default_value_t = 100_000)]
    max_connections: u64,
    /// Worker processes; as many as the limit of open files asks for if left out.
    #[arg(long)]
    workers: Option<u32>,
    /// A client silent for longer is closed; 0s for never.
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    idle_timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct SwarmArguments {
    /// The service; several addresses that lead to it separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7000")]
    connect: Vec<SocketAddr>,
    /// The first client's id.
    #[arg(long, default_value_t = 0)]
    start_id: u64,
    /// How many clients.
    #[arg(long)]
    connections: u64,
    /// Source addresses or blocks separated by commas, or auto.
    #[arg(long, default_value = "auto")]
    sources: Sources,
    /// Connections begun a second; no limit if left out.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections being set up at once.
    #[arg(long, default_value_t = 1024)]
    window: u32,
    /// A client sends a Nop this often; 0s for never.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    nop_interval: Duration,
    /// How long the connections are held.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    hold: Duration,
    /// Worker processes; as many as the limit of open files asks for if left out.
    #[arg(long)]
    processes: Option<u32>,
    /// The target is a public address, and that is meant.
    #[arg(long)]
    allow_public_target: bool,
}

#[derive(Debug, clap::Args)]
struct AlerterArguments {
    /// The service's alert interface.
    #[arg(long, default_value = "127.0.0.1:7001")]
    connect: SocketAddr,
    /// Client ids A..B, B not included.
    #[arg(long, value_parser = id_range)]
    ids: (u64, u64),
    /// Alerts a second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How long alerts are sent.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Decides which clients are tapped.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The target is a public address, and that is meant.
    #[arg(long)]
    allow_public_target: bool,
}

fn id_range(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    Ok((number(first)?, number(end)?))
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")
        .and_then(|runtime| runtime.block_on(Box::pin(dispatch(arguments.command))));
    match result {
        Ok(status) => status,
        Err(error) => {
            eprintln!("holdline: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Server(arguments) => server(arguments).await,
        Command::Swarm(arguments) => swarm(arguments).await,
        Command::Alerter(arguments) => alerter(arguments).await,
        Command::Analyze { folder } => {
            let summary = holdline_analysis::analyze(&folder)?;
            println!("{}", summary.verdict.label());
            Ok(ExitCode::SUCCESS)
        }
        Command::Role { kind, .. } => role(&kind).await,
    }
}

async fn role(kind: &str) -> anyhow::Result<ExitCode> {
    match kind {
        holdline_server::WORKER_ROLE => holdline_server::run_worker().await?,
        holdline_swarm::WORKER_ROLE => holdline_swarm::run_worker().await?,
        other => {
            from_parent()?;
            bail!("there is no role {other:?}")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM and Ctrl-C, which ask for an orderly end.
fn stop_signals() -> anyhow::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn server(arguments: ServerArguments) -> anyhow::Result<ExitCode> {
    use holdline_server::{Config, Order, Report, run};
    let (mut parent, role) = Channel::<Order, Report>::pair()?;
    parent.push(&Order::Start(Box::new(Config {
        listen: arguments.listen,
        alerts: arguments.alerts,
        metrics: arguments.metrics,
        max_connections: arguments.max_connections,
        workers: arguments.workers,
        idle_timeout: arguments.idle_timeout,
        ..Config::default()
    })));
    let (mut terminate, mut interrupt) = stop_signals()?;
    let driving = async {
        let mut reports = Vec::new();
        loop {
            tokio::select! {
                heard = parent.next(&mut reports) => if heard.is_err() { return },
                _ = terminate.recv() => parent.push(&Order::Drain),
                _ = interrupt.recv() => parent.push(&Order::Drain),
            }
            for report in reports.drain(..) {
                match report {
                    Report::Ready { listen, alerts, workers, .. } => {
                        println!("clients on {listen}, alerts on {alerts}, {} worker processes", workers.len());
                    }
                    Report::Drained => return,
                    _ => {}
                }
            }
        }
    };
    let (result, ()) = tokio::join!(run(Program::current()?, role), driving);
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn swarm(arguments: SwarmArguments) -> anyhow::Result<ExitCode> {
    use holdline_swarm::{Config, Order, Report, run};
    let (mut parent, role) = Channel::<Order, Report>::pair()?;
    let connections = arguments.connections;
    parent.push(&Order::Start(Box::new(Config {
        connect: arguments.connect,
        start_id: arguments.start_id,
        connections,
        sources: arguments.sources,
        rate: arguments.rate,
        window: arguments.window,
        nop_interval: arguments.nop_interval,
        processes: arguments.processes,
        allow_public_target: arguments.allow_public_target,
        ..Config::default()
    })));
    parent.push(&Order::Grow { to: connections });
    let (mut terminate, mut interrupt) = stop_signals()?;
    let driving = async {
        let mut reports = Vec::new();
        let mut held_until = None;
        loop {
            tokio::select! {
                heard = parent.next(&mut reports) => if heard.is_err() { return None },
                _ = terminate.recv() => parent.push(&Order::Stop),
                _ = interrupt.recv() => parent.push(&Order::Stop),
                () = tokio::time::sleep_until(held_until.unwrap_or_else(tokio::time::Instant::now)), if held_until.is_some() => {
                    held_until = None;
                    parent.push(&Order::Stop);
                }
            }
            for report in reports.drain(..) {
                match report {
                    Report::Ready { workers, plan, .. } => println!("{plan}; {} processes", workers.len()),
                    Report::Grown(step) => {
                        let spent_us = step.last_outcome_us.zip(step.first_syn_us).map(|(last, first)| last - first);
                        println!(
                            "{} registered, {} failed, in {} ms",
                            step.registered,
                            step.failed,
                            spent_us.unwrap_or(0) / 1000
                        );
                        held_until = Some(tokio::time::Instant::now() + arguments.hold);
                    }
                    Report::WorkerLost { worker, how } => println!("worker {worker} ended: {how}"),
                    Report::Stopped(counts) => return Some(counts),
                    Report::Counts { .. } | Report::Failed(_) => {}
                }
            }
        }
    };
    let (result, counts) = tokio::join!(run(Program::current()?, role), driving);
    result?;
    let counts = counts.context("the swarm ended without its last counts")?;
    println!("{}", serde_json::to_string(&counts)?);
    let kept = counts.failed() == 0 && counts.lost_unasked() == 0 && counts.asked == connections;
    Ok(ExitCode::from(if kept { 0 } else { 4 }))
}

async fn alerter(arguments: AlerterArguments) -> anyhow::Result<ExitCode> {
    use holdline_alerter::{Config, Order, Report, run};
    let (mut parent, role) = Channel::<Order, Report>::pair()?;
    parent.push(&Order::Start(Box::new(Config {
        connect: arguments.connect,
        first_id: arguments.ids.0,
        end_id: arguments.ids.1,
        rate: arguments.rate,
        duration: arguments.duration,
        seed: arguments.seed,
        allow_public_target: arguments.allow_public_target,
        ..Config::default()
    })));
    let (mut terminate, mut interrupt) = stop_signals()?;
    let driving = async {
        let (mut reports, mut trips) = (Vec::new(), holdline_record::new_histogram());
        loop {
            tokio::select! {
                heard = parent.next(&mut reports) => if heard.is_err() { return None },
                _ = terminate.recv() => parent.push(&Order::Stop),
                _ = interrupt.recv() => parent.push(&Order::Stop),
            }
            for report in reports.drain(..) {
                match report {
                    Report::Interval(interval) => {
                        if let Ok(histogram) = holdline_record::decode_histogram(&interval.histogram) {
                            // All histograms of this program have the same bounds.
                            let _ = trips.add(&histogram);
                        }
                    }
                    Report::Done(outcome) => return Some((outcome, trips)),
                    Report::Started { .. } | Report::Failed(_) => {}
                }
            }
        }
    };
    let (result, outcome) = tokio::join!(run(role), driving);
    result?;
    let (outcome, trips) = outcome.context("the alerter ended without its outcome")?;
    println!("{}", serde_json::to_string(&outcome)?);
    println!("round trip in us: p50 {}, max {}", trips.value_at_quantile(0.5), trips.max());
    let all = outcome.counts.acknowledged == outcome.counts.scheduled;
    Ok(ExitCode::from(if all { 0 } else { 4 }))
}
