use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use holdline_analysis::gate::{GateError, Run, check_alike, read_runs, weigh};
use holdline_conductor::{Options, Plan, SeriesBuild, Turn, experiment_text, manifest, play_in_turn};
use holdline_record::Manifest;
use tokio::sync::mpsc::unbounded_channel;

use super::compare::publish;
use super::run::{build, check_host, forward, plan, run_name};
use crate::arguments::GateArguments;
use crate::drive::StopSignals;
use crate::status::{Failure, Status};

/// Where a gate goes if `--out` does not say otherwise.
const GATES: &str = "gates";
/// The folders of the runs of each side.
const BASELINE: &str = "baseline";
const CANDIDATE: &str = "candidate";
/// Runs of each build: what it takes to see 10% in figures that scatter by 8%, with 9 of them compared.
const RUNS: u32 = 20;
/// A run that takes longer than this many times what it should is stopped.
const PATIENCE: u32 = 10;
/// On top of that, for the roles' own bounds to come first.
const SPARE: Duration = Duration::from_secs(180);

/// Plays the runs that are needed and weighs them.
pub(crate) async fn gate(arguments: GateArguments) -> Result<Status, Failure> {
    let plan = plan(&arguments.experiment, &arguments.overrides)?;
    check_host(&plan)?;
    // What can be read is read before anything is played.
    let stored = read_runs(&arguments.baseline)?;
    if !arguments.allow_differences {
        check_alike(&stored, &planned(&plan)?)?;
    }
    let runs = arguments.runs.unwrap_or(if arguments.base_binary.is_some() || !stored.is_empty() { RUNS } else { 1 });
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(GATES).join(run_name(&plan.experiment.name)));
    let builds = builds(&arguments, &out)?;
    announce(&plan, runs, &builds, &out);
    let (interrupt, interrupts) = unbounded_channel();
    tokio::spawn(forward(StopSignals::new()?, interrupt));
    let patience = plan.duration().saturating_mul(PATIENCE).saturating_add(SPARE);
    let begun = Instant::now();
    let cut = play_in_turn(&builds, runs, &out, patience, interrupts, &mut |turn| eprintln!("{}", line(&turn, begun)))
        .await?;
    if let Some(why) = &cut {
        eprintln!("holdline: the gate was cut short: {why}");
    }
    let of = |name: &str| -> Result<Vec<Run>, GateError> {
        match read_runs(&[out.join(name)]) {
            // A gate that was cut short may have none of one side.
            Err(GateError::Empty(_) | GateError::List { .. }) if cut.is_some() => Ok(Vec::new()),
            runs => runs,
        }
    };
    let baseline = if arguments.base_binary.is_some() { of(BASELINE)? } else { stored };
    let candidate = of(CANDIDATE)?;
    if cut.is_some() && candidate.is_empty() {
        // There is nothing to weigh.
        return Ok(Status::NotEnough);
    }
    let mut gate = weigh(&baseline, &candidate, arguments.allow_differences)?;
    if let Some(why) = cut {
        gate.cut_short(&why);
    }
    publish(&gate, Some(&out))
}

/// The manifest that a run of the candidate will have, as far as it decides what it may be compared with.
fn planned(plan: &Plan) -> anyhow::Result<Manifest> {
    let options = Options {
        run: run_name(&plan.experiment.name),
        program: PathBuf::new(),
        folder: PathBuf::new(),
        command: String::new(),
        build: build(),
    };
    Ok(manifest(plan, &options)?)
}

/// The builds to be played, with the experiment written down for each as it can read it.
fn builds(arguments: &GateArguments, out: &Path) -> Result<Vec<SeriesBuild>, Failure> {
    if out.exists() {
        let why = anyhow::anyhow!("{} exists already; name another folder with --out, or remove it", out.display());
        return Err(Failure::new(Status::Usage, why));
    }
    let candidate = SeriesBuild {
        name: CANDIDATE,
        program: std::env::current_exe().context("can't find this program")?,
        experiment: out.join("candidate.toml"),
    };
    let mut builds = vec![(candidate, &[][..])];
    if let Some(program) = &arguments.base_binary {
        let found = program.canonicalize();
        let program = found.with_context(|| format!("can't use --base-binary {}", program.display()));
        let program = program.map_err(|error| Failure::new(Status::Usage, error))?;
        // A build from before gates knows of no such table, and it changes nothing in a run.
        let base = SeriesBuild { name: BASELINE, program, experiment: out.join("baseline.toml") };
        builds.insert(0, (base, &["gate"]));
    }
    fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
    for (build, left_out) in &builds {
        let text = experiment_text(&arguments.experiment, &arguments.overrides, left_out)?;
        fs::write(&build.experiment, text).with_context(|| format!("can't write {}", build.experiment.display()))?;
    }
    Ok(builds.into_iter().map(|(build, _)| build).collect())
}

/// Says what comes before it begins.
fn announce(plan: &Plan, runs: u32, builds: &[SeriesBuild], out: &Path) {
    let all = runs.saturating_mul(u32::try_from(builds.len()).unwrap_or(u32::MAX));
    let names: Vec<&str> = builds.iter().map(|build| build.name).collect();
    eprintln!(
        "{}: {runs} runs of {}{}, about {}; they are kept in {}",
        plan.experiment.name,
        names.join(" and "),
        if builds.len() > 1 { ", in turn" } else { "" },
        time(plan.duration().saturating_mul(all)),
        out.display()
    );
}

/// How far the series is.
fn line(turn: &Turn, begun: Instant) -> String {
    let verdict = match turn.exit.code() {
        Some(0) => "held".to_owned(),
        Some(4) => "not held".to_owned(),
        Some(6) => "invalid".to_owned(),
        _ => turn.exit.to_string(),
    };
    let left = begun.elapsed() / turn.done * (turn.of - turn.done);
    format!("{} of {}: {} {verdict}; about {} left", turn.done, turn.of, turn.build, time(left))
}

/// To the second.
fn time(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.saturating_add(Duration::from_millis(500)).as_secs()))
}
