//! Runs that are cut short, and processes that die: one clear message, the right exit status, no process left, and
//! nothing lost that was measured.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::processes::{descendants, holdline, outcome, send, standard_error, wait_for, wait_until_gone};
use crate::runs::{events, fresh, last_books, read, run_arguments, start_long, start_until, summary};

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

#[test]
fn ctrl_c_in_every_phase_completes_the_record() {
    let phase = |name: &str| format!("\"phase\":\"{name}\"");
    for (name, settings) in [
        ("start", &[][..]),
        ("climb", &["--set", "swarm.rate=100"][..]),
        ("level", &["--set", "staircase.reading_interval=1s"][..]),
        ("hold", &["--set", "taps=[]", "--set", "promise.hold=10m"][..]),
    ] {
        let (_parent, folder) = fresh();
        let mut run = start_until(&folder, settings, &phase(name));
        let processes = descendants(run.pid());
        run.signal("INT");
        assert_eq!(run.end(), Some(6), "{name}: {}", standard_error(&mut run));
        wait_until_gone(&processes);
        assert!(standard_error(&mut run).contains("interrupted by Ctrl-C"), "{name}");
        let events = events(&folder);
        assert_eq!(events.last().unwrap()["event"], "finished", "{name}");
        let books = last_books(&folder);
        assert_eq!((&books["phase"], &books["swarm"]["registered"]), (&"stop".into(), &0.into()), "{name}");
        assert_eq!((&books["server"]["open"], &books["server"]["ending"]), (&0.into(), &0.into()), "{name}");
        assert_eq!(summary(&folder)["verdict"], "invalid", "{name}");
    }
}

/// The process of a run that was started as `holdline role KIND NAME`.
fn role(of: u32, kind: &str, name: &str) -> u32 {
    let wanted = format!("role\0{kind}\0{name}\0");
    let is_it =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(&wanted));
    descendants(of).into_iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn a_process_that_is_killed_is_named_and_the_rest_ends() {
    for (kind, name, status, words) in [
        ("server-worker", "0", 4, "worker 0 of the server"),
        ("server", "server", 4, "server server"),
        ("swarm-worker", "0", 6, "worker 0 of swarm group"),
        ("swarm", "first", 6, "swarm first"),
        ("alerter", "taps-0", 6, "alerter taps-0"),
    ] {
        let (_parent, folder) = fresh();
        let settings = ["--set", "promise.hold=6s", "--set", "taps.0.for=6s", "--set", "taps.1.for=1s"];
        let mut run = start_until(&folder, &settings, "\"phase\":\"hold\",\"step\":0");
        wait_for("taps", || read(&folder, "tap.hlog").contains("taps-0"));
        let processes: BTreeSet<u32> = descendants(run.pid());
        send(role(run.pid(), kind, name), "KILL");
        assert_eq!(run.end(), Some(status), "{kind}: {}", standard_error(&mut run));
        wait_until_gone(&processes);
        let events = events(&folder);
        assert_eq!(events.last().unwrap()["event"], "finished", "{kind}");
        let lost = events.iter().find(|event| event["event"] == "process_lost").unwrap();
        assert!(lost["who"].as_str().unwrap().contains(words), "{kind}: {lost}");
        assert!(lost["how"].as_str().unwrap().contains('9'), "{kind}: {lost}");
        let summary = summary(&folder);
        let reasons = summary["reasons"].to_string();
        assert!(reasons.contains(words) && summary["connect"]["rate_per_s"].is_number(), "{kind}: {reasons}");
        let (status_again, ..) = outcome(holdline(&["analyze", folder.to_str().unwrap()]));
        assert_eq!(status_again, Some(status), "{kind}: the record says the same again");
    }
}

#[test]
fn a_full_disk_is_named_and_what_was_recorded_is_kept() {
    let namespace = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: this host does not let a test have a mount namespace of its own");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("disk").join("run");
    std::fs::create_dir(parent.path().join("disk")).unwrap();
    // A small file system of its own, in a mount namespace that ends with the command.
    let script =
        "mount -t tmpfs -o size=40k tmpfs \"$1\" && shift && \"$@\"; status=$?; wc -l \"$FOLDER\"/*.csv; exit $status";
    let mut command = Command::new("unshare");
    command.args(namespace).args(["sh", "-c", script, "sh"]).arg(parent.path().join("disk"));
    command.arg(env!("CARGO_BIN_EXE_holdline")).args(run_arguments(&folder, &[])).env("FOLDER", &folder);
    let (status, rows, error) = outcome({
        command.stdin(Stdio::null());
        command
    });
    assert_eq!(status, Some(1), "{rows}{error}");
    assert!(error.contains("No space left") && error.contains("--out"), "{error}");
    assert!(rows.contains("samples.csv") && !rows.contains(" 0 total"), "{rows}");
}
