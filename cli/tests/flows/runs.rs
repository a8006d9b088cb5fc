//! Runs of the smallest experiment, and their folders.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Running, holdline, wait_for};

pub(crate) const SMOKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/smoke.toml");
/// Shorter than the experiment as it is; generous with the alerter's lag, as tests share two cores.
pub(crate) const SHORT: [&str; 10] = [
    "--set",
    "promise.within=4s",
    "--set",
    "promise.hold=2s",
    "--set",
    "taps.0.for=1s",
    "--set",
    "taps.1.for=1s",
    "--set",
    "alerter.max_lag_p99=500ms",
];
/// Long enough to be cut short.
pub(crate) const LONG: [&str; 4] = ["--set", "taps.0.for=10m", "--set", "promise.within=4s"];

/// A folder for records, and the arguments of a run that writes there.
pub(crate) fn run_arguments<'a>(folder: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", SMOKE, "--out", folder.to_str().unwrap()];
    arguments.extend(more);
    arguments
}

pub(crate) fn fresh() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    (parent, folder)
}

pub(crate) fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

pub(crate) fn summary(folder: &Path) -> Value {
    serde_json::from_str(&read(folder, "summary.json")).unwrap()
}

pub(crate) fn events(folder: &Path) -> Vec<Value> {
    read(folder, "events.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn last_books(folder: &Path) -> Value {
    events(folder).into_iter().rfind(|event| event["event"] == "books").unwrap()
}

/// Starts a run with `more` arguments and waits until its events hold `sign`.
pub(crate) fn start_until(folder: &Path, more: &[&str], sign: &str) -> Running {
    let mut command = holdline(&run_arguments(folder, more));
    command.stdout(Stdio::null()).process_group(0);
    let run = Running(command.spawn().unwrap());
    let seen = || std::fs::read_to_string(folder.join("events.jsonl")).is_ok_and(|text| text.contains(sign));
    wait_for(sign, seen);
    run
}

/// Starts a long run and waits until it taps.
pub(crate) fn start_long(folder: &Path) -> Running {
    let run = start_until(folder, &LONG, "\"phase\":\"hold\"");
    wait_for("taps", || std::fs::read_to_string(folder.join("tap.hlog")).is_ok_and(|text| text.contains("taps-0")));
    run
}
