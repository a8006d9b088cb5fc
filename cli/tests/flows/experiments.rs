//! `holdline run` and `holdline analyze`, on the smallest experiment.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{
    Running, descendants, holdline, holdline_with_files, outcome, standard_error, wait_for, wait_until_gone,
};

const SMOKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/smoke.toml");
/// Shorter than the experiment as it is; generous with the alerter's lag, as tests share two cores.
const SHORT: [&str; 8] = [
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
const LONG: [&str; 2] = ["--set", "taps.0.for=10m"];

/// A folder for records, and the arguments of a run that writes there.
fn run_arguments<'a>(folder: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", SMOKE, "--out", folder.to_str().unwrap()];
    arguments.extend(more);
    arguments
}

fn fresh() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    (parent, folder)
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn summary(folder: &Path) -> Value {
    serde_json::from_str(&read(folder, "summary.json")).unwrap()
}

fn events(folder: &Path) -> Vec<Value> {
    read(folder, "events.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last_books(folder: &Path) -> Value {
    events(folder).into_iter().rfind(|event| event["event"] == "books").unwrap()
}

#[test]
fn the_smoke_run_is_held() {
    let (_parent, folder) = fresh();
    let (status, table, progress) = outcome(holdline(&run_arguments(&folder, &SHORT)));
    assert_eq!(status, Some(0), "{table}{progress}");
    assert!(table.contains("held") && progress.contains("level 4 of 4: 2000 registered"), "{table}{progress}");
    let summary = summary(&folder);
    assert_eq!(summary["verdict"], "held");
    assert_eq!(summary["connections"], serde_json::json!({"promised": 2000, "held": 2000, "failed": 0}));
    assert_eq!((&summary["taps"]["sent"], &summary["taps"]["acknowledged"]), (&510.into(), &510.into()));
    assert_eq!(summary["server"]["user_bytes_per_connection"], Value::Null, "too few connections for a slope");
    let books = last_books(&folder);
    assert_eq!((&books["server"]["open"], &books["swarm"]["registered"]), (&0.into(), &0.into()));
    assert_eq!(books["server"]["ended"], serde_json::json!({"goodbye_of_client": 2000}));
    for file in ["manifest.json", "host.csv", "connect.hlog", "tap.hlog", "summary.md", "charts/memory.svg"] {
        assert!(std::fs::metadata(folder.join(file)).unwrap().len() > 0, "{file}");
    }
    let manifest: Value = serde_json::from_str(&read(&folder, "manifest.json")).unwrap();
    assert!(manifest["command"].as_str().unwrap().contains("promise.hold=2s"), "{}", manifest["command"]);

    // A compressed record is judged as the plain one.
    let plain = read(&folder, "summary.json");
    for file in ["samples.csv", "host.csv", "events.jsonl", "connect.hlog", "tap.hlog"] {
        assert!(std::process::Command::new("gzip").arg(folder.join(file)).status().unwrap().success());
    }
    let (status, ..) = outcome(holdline(&["analyze", folder.to_str().unwrap()]));
    assert_eq!((status, read(&folder, "summary.json")), (Some(0), plain));

    let (status, _, error) = outcome(holdline(&run_arguments(&folder, &SHORT)));
    assert_eq!(status, Some(1));
    assert!(error.contains("holds a run already") && error.contains("--out"), "{error}");
}

#[test]
fn several_workers_a_side_hold_what_one_would() {
    let (_parent, folder) = fresh();
    let mut arguments = run_arguments(&folder, &SHORT);
    for more in ["promise.connections=600", "swarm.group.0.connections=400", "swarm.group.1.start_id=400"] {
        arguments.extend(["--set", more]);
    }
    arguments.extend(["--set", "swarm.group.1.connections=200"]);
    let (status, table, progress) = outcome(holdline_with_files(256, &arguments));
    assert_eq!(status, Some(0), "{table}{progress}");
    assert!(progress.contains("started 5 server and 6 swarm workers"), "{progress}");
    assert_eq!(summary(&folder)["connections"]["held"], 600);
}

#[test]
fn a_server_with_less_room_than_promised_is_not_held() {
    let (_parent, folder) = fresh();
    let mut arguments = run_arguments(&folder, &SHORT);
    arguments.extend(["--set", "target.kind=holdline", "--set", "target.max_connections=1900"]);
    let (status, table, progress) = outcome(holdline(&arguments));
    assert_eq!(status, Some(4), "{table}{progress}");
    let summary = summary(&folder);
    assert_eq!((&summary["verdict"], &summary["connections"]["held"]), (&"not_held".into(), &1900.into()), "{table}");
    assert_eq!(summary["connections"]["failed"], 100);
    assert!(table.contains("100 connection attempts failed"), "{table}");
}

#[test]
fn a_dry_run_shows_the_plan_and_starts_nothing() {
    let (_parent, folder) = fresh();
    let mut arguments = run_arguments(&folder, &[]);
    arguments.push("--dry-run");
    let (status, _, plan) = outcome(holdline(&arguments));
    assert_eq!(status, Some(0), "{plan}");
    assert!(plan.contains("ids 1500..2000") && plan.contains("source address"), "{plan}");
    assert!(!folder.exists());
    let (status, _, error) = outcome(holdline_with_files(100, &arguments));
    assert_eq!(status, Some(3), "{error}");
    assert!(error.contains("ulimit -n"), "{error}");
}

#[test]
fn wrong_usage_is_named() {
    let (_parent, folder) = fresh();
    for (setting, words) in [
        ("promise.holt=1s", "holt"),
        ("promise.hold=1 parsec", "parsec"),
        ("promise.connections=1999", "promise.connections"),
        ("swarm.group.1.start_id=1499", "overlaps"),
    ] {
        let (status, _, error) = outcome(holdline(&run_arguments(&folder, &["--set", setting])));
        assert_eq!(status, Some(2), "{setting}: {error}");
        assert!(error.contains(words), "{setting}: {error}");
        assert!(!folder.exists(), "{setting}");
    }
    let (status, _, error) = outcome(holdline(&["run", "nowhere.toml"]));
    assert_eq!(status, Some(2), "{error}");
    assert!(error.contains("nowhere.toml"), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let (_parent, folder) = fresh();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setting = format!("target.listen={}", taken.local_addr().unwrap());
    let (status, _, error) =
        outcome(holdline(&run_arguments(&folder, &["--set", "target.kind=holdline", "--set", &setting])));
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("in use"), "{error}");
}

/// Starts a long run and waits until it taps.
fn start_long(folder: &Path) -> Running {
    let mut command = holdline(&run_arguments(folder, &LONG));
    command.stdout(Stdio::null()).process_group(0);
    let run = Running(command.spawn().unwrap());
    wait_for("taps", || std::fs::read_to_string(folder.join("tap.hlog")).is_ok_and(|text| text.contains("taps-0")));
    run
}

#[test]
fn a_killed_run_leaves_no_process_and_a_readable_folder() {
    let (_parent, folder) = fresh();
    let mut run = start_long(&folder);
    let processes = descendants(run.pid());
    assert!(processes.len() >= 7, "server, two groups, an alerter, and workers: {processes:?}");
    run.signal("KILL");
    run.end();
    wait_until_gone(&processes);
    let (status, table, error) = outcome(holdline(&["analyze", folder.to_str().unwrap()]));
    assert_eq!(status, Some(6), "{table}{error}");
    assert!(table.contains("cut short"), "{table}");
    assert_eq!(summary(&folder)["connections"]["held"], 2000);
}

#[test]
fn ctrl_c_ends_a_run_in_order_and_completes_its_record() {
    let (_parent, folder) = fresh();
    let mut run = start_long(&folder);
    let processes = descendants(run.pid());
    run.signal("INT");
    assert_eq!(run.end(), Some(6), "{}", standard_error(&mut run));
    wait_until_gone(&processes);
    assert!(standard_error(&mut run).contains("interrupted by Ctrl-C"));
    let events = events(&folder);
    assert_eq!(events.last().unwrap()["event"], "finished");
    let taps = events.iter().find(|event| event["event"] == "taps_ended").expect("the taps so far are counted");
    assert_eq!(taps["counts"]["sent"], taps["counts"]["acknowledged"]);
    let books = last_books(&folder);
    assert_eq!(books["server"]["ended"], serde_json::json!({"goodbye_of_client": 2000}));
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let (_parent, folder) = fresh();
    let mut run = start_long(&folder);
    let processes = descendants(run.pid());
    // A role that does not answer would keep an orderly end waiting.
    let stopped = *processes.first().unwrap();
    crate::processes::send(stopped, "STOP");
    run.signal("INT");
    wait_for("the first to be noticed", || read(&folder, "events.jsonl").contains("interrupted"));
    run.signal("INT");
    assert_eq!(run.end(), Some(6), "{}", standard_error(&mut run));
    wait_until_gone(&processes);
    assert_eq!(events(&folder).last().unwrap()["event"], "finished");
}
