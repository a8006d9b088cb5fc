//! `holdline gate` and `holdline compare`, on the smallest experiment: what is played, what is said, what is left.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::processes::{Running, descendants, holdline, outcome, wait_for, wait_until_gone};
use crate::runs::{SHORT, SMOKE, fresh, read};

/// A gate on the smoke experiment, shortened, into `folder`.
fn gate(folder: &Path, more: &[&str]) -> Command {
    let mut arguments = vec!["gate", SMOKE, "--out", folder.to_str().unwrap()];
    arguments.extend(SHORT);
    arguments.extend(more);
    let mut command = holdline(&arguments);
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
    command
}

#[test]
fn hard_gates_need_one_run_and_no_baseline() {
    let (parent, folder) = fresh();
    let summary = parent.path().join("summary.md");
    let mut command = gate(&folder, &[]);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let (status, table, progress) = outcome(command);
    assert_eq!(status, Some(0), "{table}{progress}");
    assert!(progress.contains("smoke: 1 runs of candidate, about "), "{progress}");
    assert!(progress.contains("1 of 1: candidate held"), "{progress}");
    assert!(table.contains("## Gate smoke: pass") && table.contains("| connections.failed <= 0 "), "{table}");
    assert!(table.contains("::notice title=Gate smoke%3A pass::1 of 1 candidate runs held."), "{table}");
    assert_eq!(std::fs::read_to_string(summary).unwrap(), read(&folder, "gate.md"));
    for file in ["gate.json", "junit.xml", "bencher.json", "benchmark-smaller.json", "candidate/01/report.html"] {
        assert!(std::fs::metadata(folder.join(file)).unwrap().len() > 0, "{file}");
    }
}

#[test]
fn two_builds_are_played_in_turn_and_one_run_of_each_is_not_enough() {
    let (parent, folder) = fresh();
    let (status, table, progress) =
        outcome(gate(&folder, &["--base-binary", env!("CARGO_BIN_EXE_holdline"), "--runs", "1"]));
    assert_eq!(status, Some(7), "{table}{progress}");
    assert!(progress.contains("1 of 2: baseline held") && progress.contains("2 of 2: candidate held"), "{progress}");
    assert!(table.contains("not enough runs to tell") && table.contains("Connect rate needs more runs"), "{table}");
    assert!(!table.contains("::"), "annotations are for GitHub only: {table}");
    // The baseline was played without the limits, which an older build would not know; the candidate with them.
    let manifest = |side: &str| -> serde_json::Value {
        serde_json::from_str(&read(&folder, &format!("{side}/01/manifest.json"))).unwrap()
    };
    assert_eq!(manifest("baseline")["plan"]["limits"], serde_json::json!([]));
    assert_eq!(manifest("candidate")["plan"]["limits"][0], "connections.failed <= 0");

    // What was played can be weighed again, and says the same.
    let side = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (baseline, candidate) = (side("baseline"), side("candidate"));
    let (status, again, _) = outcome(holdline(&["compare", "--baseline", &baseline, "--candidate", &candidate]));
    assert_eq!(status, Some(7));
    assert_eq!(again, read(&folder, "gate.md"));
    let (status, alone, _) = outcome(holdline(&["compare", "--candidate", &candidate]));
    assert_eq!(status, Some(0), "{alone}");
    let (status, _, error) = outcome(holdline(&["compare", "--baseline", &baseline, "--candidate", &baseline]));
    assert!(status == Some(2) && error.contains("hold the same run"), "{error}");

    // A stored baseline of another experiment is refused before anything is played.
    let other = parent.path().join("other");
    let stored = ["--baseline", &baseline, "--set", "alerter.payload_bytes=10"];
    let (status, _, error) = outcome(gate(&other, &stored));
    assert!(status == Some(3) && error.contains("experiment: alerter.payload_bytes: 64"), "{status:?} {error}");
}

#[test]
fn a_broken_limit_is_a_regression() {
    let (_parent, folder) = fresh();
    let (status, table, progress) = outcome(gate(&folder, &["--set", "gate.limits=['connections.held <= 1_999']"]));
    assert_eq!(status, Some(5), "{table}{progress}");
    assert!(table.contains("A limit is broken: connections.held <= 1999, but it is 2,000"), "{table}");
}

#[test]
fn what_cannot_be_played_is_said_at_once() {
    let (parent, folder) = fresh();
    let exists = parent.path().to_str().unwrap();
    for (arguments, expected, words) in [
        (&["--set", "gate.limits=['server.bytes <= 1']"][..], 2, "\"server.bytes\" is no figure"),
        (&["--set", "gate.limits=['server.bytes']"], 2, "FIGURE <= NUMBER"),
        (&["--set", "gate.limit=3"], 2, "limits"),
        (&["--base-binary", "no/such/file"], 2, "--base-binary no/such/file"),
        (&["--base-binary", "/bin/false"], 1, "the baseline can't play the experiment"),
        (&["--base-binary", "/bin/true"], 1, "the baseline can't play the experiment"),
        (&["--base-binary", SMOKE], 1, "a holdline binary"),
        (&["--baseline", exists], 2, "holds no run"),
        (&["--runs", "0"], 2, "1..=64"),
        (&["--runs", "65"], 2, "1..=64"),
        (&["--out", exists], 2, "exists already"),
        (&["--set", "swarm.sources=192.0.2.1"], 3, "ip addr add 192.0.2.1/32"),
    ] {
        let _ = std::fs::remove_dir_all(&folder);
        let (status, _, error) = outcome(match arguments {
            ["--out", exists] => holdline(&["gate", SMOKE, "--out", exists]),
            _ => gate(&folder, arguments),
        });
        assert_eq!(status, Some(expected), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

/// Starts a gate whose run would take long, and waits until that taps.
fn start(folder: &Path) -> Running {
    let mut command = gate(folder, &["--runs", "3", "--set", "taps.0.for=10m"]);
    command.stdout(Stdio::null());
    let gate = Running(command.spawn().unwrap());
    let events = folder.join("candidate/01/events.jsonl");
    wait_for("the hold", || std::fs::read_to_string(&events).is_ok_and(|text| text.contains("\"phase\":\"hold\"")));
    gate
}

#[test]
fn a_gate_that_is_interrupted_ends_its_run_in_order_and_does_not_pass() {
    let (_parent, folder) = fresh();
    let mut gate = start(&folder);
    let below = descendants(gate.pid());
    assert!(below.len() > 4, "{below:?}");
    gate.signal("INT");
    assert_eq!(gate.end(), Some(7));
    assert!(read(&folder, "candidate/01/events.jsonl").contains("\"event\":\"finished\""));
    assert!(read(&folder, "gate.md").contains("Not all runs were played: interrupted by Ctrl-C."));
    assert!(!folder.join("candidate/02").exists());
    wait_until_gone(&below);
}

#[test]
fn a_gate_that_is_killed_leaves_no_process() {
    let (_parent, folder) = fresh();
    let mut gate = start(&folder);
    let below = descendants(gate.pid());
    gate.signal("KILL");
    assert_eq!(gate.end(), None);
    wait_until_gone(&below);
    assert!(read(&folder, "candidate/01/events.jsonl").contains("interrupted by SIGTERM"));
}
