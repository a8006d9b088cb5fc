//! `holdline run` and `holdline analyze`, on the smallest experiment.

use serde_json::Value;

use crate::processes::{holdline, holdline_with_files, outcome};
use crate::runs::{SHORT, fresh, last_books, read, run_arguments, summary};

#[test]
fn the_smoke_run_is_held() {
    let (_parent, folder) = fresh();
    let (status, table, progress) = outcome(holdline(&run_arguments(&folder, &SHORT)));
    assert_eq!(status, Some(0), "{table}{progress}");
    assert!(table.contains("held") && progress.contains("level 4 of 4: 2000 registered"), "{table}{progress}");
    let summary = summary(&folder);
    assert_eq!(summary["verdict"], "held");
    assert_eq!(
        summary["connections"],
        serde_json::json!({"promised": 2000, "held": 2000, "half_open": 0, "failed": 0})
    );
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
    arguments.extend(["--set", "target.max_connections=1900"]);
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
    let (status, _, error) = outcome(holdline(&run_arguments(&folder, &["--set", &setting])));
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("in use"), "{error}");
}
