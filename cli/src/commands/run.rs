use std::path::{Path, PathBuf};

use anyhow::Context;
use holdline_analysis::gate::check_figure;
use holdline_conductor::{Experiment, Options, Plan, RunError, check};
use holdline_host::clock::wall_us;
use holdline_host::limits;
use holdline_record::{Build, MANIFEST, RecordError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::arguments::RunArguments;
use crate::commands::analyze_one;
use crate::commands::floor::{floor_of, keep_floor};
use crate::drive::StopSignals;
use crate::progress::Watcher;
use crate::status::{Failure, Status};

/// Where records go that have no `--out`.
const RUNS: &str = "runs";

/// Plays an experiment, judges its record and prints the table.
pub(crate) async fn run(arguments: RunArguments) -> Result<Status, Failure> {
    let plan = plan(&arguments.experiment, &arguments.overrides)?;
    eprint!("{}", plan.describe());
    check_host(&plan)?;
    eprintln!("this host can hold it");
    if arguments.dry_run {
        return Ok(Status::Held);
    }
    let floor = if arguments.floor { Some(floor_of(&plan)?) } else { None };
    let run = run_name(&plan.experiment.name);
    let folder = arguments.out.clone().unwrap_or_else(|| PathBuf::from(RUNS).join(&run));
    let options = Options {
        run,
        program: std::env::current_exe()?,
        folder: folder.clone(),
        command: command(&arguments)?,
        build: build(),
    };
    let (interrupt, interrupts) = unbounded_channel();
    tokio::spawn(forward(StopSignals::new()?, interrupt));
    let mut watcher = Watcher::new(plan.experiment.promise.connections);
    let played = Box::pin(holdline_conductor::run(&plan, options, interrupts, &mut |news| watcher.show(&news))).await;
    watcher.finish();
    if let Some(floor) = floor.filter(|_| folder.join(MANIFEST).exists()) {
        keep_floor(&floor, &folder)?;
    }
    let played = match played {
        Ok(played) => played,
        Err(error) if folder.join(MANIFEST).exists() && !matches!(error, RunError::Record(RecordError::Exists(_))) => {
            // What is there is worth a report, and the reason is in it; that it can't be written changes nothing here.
            let _ = holdline_analysis::analyze(&folder);
            return Err(anyhow::Error::from(error)
                .context(format!("the run failed, its record is {}", folder.display()))
                .into());
        }
        Err(error) => return Err(anyhow::Error::from(error).context("the run failed").into()),
    };
    if let Some(cut) = played.cut {
        eprintln!("holdline: the run was cut short: {cut}");
    }
    analyze_one(&folder)
}

/// The experiment resolved for this host. A limit on something that is no figure is found now, not after the run.
pub(super) fn plan(experiment: &Path, overrides: &[String]) -> Result<Plan, Failure> {
    let experiment = Experiment::read(experiment, overrides)?;
    let open_files = limits::raise_open_files().context("can't raise the limit of open files")?.soft;
    let plan = Plan::new(experiment, open_files)?;
    let phases = plan.experiment.taps.len();
    plan.experiment.gate.limits.iter().try_for_each(|limit| check_figure(&limit.figure, phases))?;
    Ok(plan)
}

/// Fails with everything that this host lacks for the plan.
pub(super) fn check_host(plan: &Plan) -> Result<(), Failure> {
    let shortfalls = check(plan);
    if shortfalls.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = shortfalls.iter().map(|shortfall| format!("\n  - {shortfall}")).collect();
    Err(Failure::new(Status::Host, anyhow::anyhow!("this host can't hold what was asked:{}", lines.concat())))
}

/// The experiment and the time, as `33k-20261124T124818Z`.
pub(super) fn run_name(experiment: &str) -> String {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_micros(wall_us());
    let now = humantime::format_rfc3339_seconds(now).to_string();
    format!("{experiment}-{}", now.replace([':', '-'], ""))
}

/// The command that makes the run again. Where the record goes is no part of it.
fn command(arguments: &RunArguments) -> anyhow::Result<String> {
    let experiment = arguments.experiment.to_string_lossy();
    let overrides = arguments.overrides.iter().flat_map(|text| ["--set", text.as_str()]);
    let floor = arguments.floor.then_some("--floor");
    let words = ["holdline", "run", experiment.as_ref()].into_iter().chain(overrides).chain(floor);
    shlex::try_join(words).context("an argument holds a zero byte")
}

pub(super) fn build() -> Build {
    let commit = env!("HOLDLINE_COMMIT");
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: (!commit.is_empty()).then(|| commit.to_owned()),
        profile: env!("HOLDLINE_PROFILE").to_owned(),
    }
}

/// Tells the run of each signal: the first ends it in order, the second at once.
pub(super) async fn forward(mut signals: StopSignals, interrupt: UnboundedSender<String>) {
    loop {
        let signal = signals.next().await;
        // A run that has ended takes no more interrupts.
        if interrupt.send(format!("interrupted by {signal}")).is_err() {
            return;
        }
    }
}
