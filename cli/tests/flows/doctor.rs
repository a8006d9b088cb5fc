//! `holdline doctor` and `holdline floor`: what they say, and that it comes true.

use serde_json::Value;

use crate::processes::{holdline, holdline_with_files, outcome};
use crate::runs::{SHORT, SMOKE, fresh, run_arguments, summary};

fn ladder(text: &str) -> Vec<Value> {
    let finding: Value = serde_json::from_str(text).unwrap();
    finding["ladder"].as_array().unwrap().clone()
}

/// Settings that make the smoke experiment one of `connections`, with one worker a side.
fn one_worker(connections: u64) -> Vec<String> {
    let first = connections - 2;
    [
        format!("promise.connections={connections}"),
        format!("swarm.group.0.connections={first}"),
        format!("swarm.group.1.start_id={first}"),
        "swarm.group.1.connections=2".to_owned(),
        "target.workers=1".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["--set".to_owned(), setting])
    .collect()
}

#[test]
fn the_ladder_is_in_order_and_says_where_it_was_read() {
    let (status, text, error) = outcome(holdline(&["doctor", "--connections", "10", "--json"]));
    assert_eq!(status, Some(0), "{text}{error}");
    let ladder = ladder(&text);
    let bites: Vec<u64> = ladder.iter().filter_map(|rung| rung["connections"].as_u64()).collect();
    assert!(bites.is_sorted() && bites.len() >= 4, "{text}");
    for rung in &ladder {
        for key in ["limit", "value", "read_from", "meaning"] {
            assert!(!rung[key].as_str().unwrap().is_empty(), "{rung}");
        }
    }
    let (status, text, _) = outcome(holdline(&["doctor"]));
    assert!(status == Some(0) && text.contains("the first limit is ") && text.contains("fs.file-max"), "{text}");
}

#[test]
fn absurd_numbers_get_clear_words() {
    for (connections, expected, words) in [
        ("0", 2, "is not in 1.."),
        ("-5", 2, "-5"),
        ("9223372036854775808", 3, "can't hold them; the first limit is "),
        ("18446744073709551616", 2, "too large"),
        ("many", 2, "invalid"),
    ] {
        let argument = format!("--connections={connections}");
        for command in ["doctor", "floor"] {
            let (status, text, error) = outcome(holdline(&[command, &argument]));
            assert_eq!(status, Some(expected), "{command} {connections}: {text}{error}");
            assert!(command == "floor" || format!("{text}{error}").contains(words), "{connections}: {text}{error}");
            assert!(!error.contains("panicked"), "{error}");
        }
    }
}

#[test]
fn a_script_changes_nothing_and_names_each_limit() {
    let (status, text, _) = outcome(holdline(&["doctor", "--connections", "99999999999", "--fix-script"]));
    assert_eq!(status, Some(3));
    assert!(text.starts_with("#!/bin/sh\n") && text.contains("# memory: "), "{text}");
    let commands: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && *line != "set -eu").collect();
    assert!(commands.iter().all(|line| line.starts_with("sysctl -w ")), "{commands:?}");
}

#[test]
fn under_a_lowered_limit_of_files_the_run_stops_where_the_doctor_said() {
    // 256 open files: 128 connections for the only worker of the server.
    let experiment = |connections| {
        let mut arguments = vec!["doctor".to_owned(), "--json".to_owned(), "--experiment".to_owned(), SMOKE.to_owned()];
        arguments.extend(one_worker(connections));
        arguments
    };
    let doctor = |connections| {
        let arguments = experiment(connections);
        let (status, text, error) =
            outcome(holdline_with_files(256, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        (status, format!("{text}{error}"))
    };
    let (status, text) = doctor(100);
    assert_eq!(status, Some(0), "{text}");
    let rung = ladder(&text).into_iter().find(|rung| rung["limit"] == "open files a process").unwrap();
    let most = rung["connections"].as_u64().unwrap();
    assert_eq!(most, 128);

    let run = |connections| {
        let (_parent, folder) = fresh();
        let settings = one_worker(connections);
        let mut arguments = run_arguments(&folder, &SHORT);
        arguments.extend(settings.iter().map(String::as_str));
        let (status, text, error) = outcome(holdline_with_files(256, &arguments));
        let held = (status == Some(0)).then(|| summary(&folder)["connections"]["held"].as_u64().unwrap());
        (status, held, format!("{text}{error}"))
    };
    let (status, held, text) = run(most);
    assert_eq!((status, held), (Some(0), Some(most)), "{text}");
    let (status, _, text) = run(most + 1);
    assert!(status != Some(0) && text.contains("open files"), "{text}");
    assert_ne!(doctor(most + 1).0, Some(0));
}

#[test]
fn one_source_address_holds_more_than_the_automatic_range_gives() {
    let (_parent, folder) = fresh();
    let mut arguments = run_arguments(&folder, &SHORT);
    for setting in [
        "swarm.sources=127.9.9.9",
        "promise.connections=13_000",
        "swarm.group.0.connections=13_000",
        "swarm.group=[{name='all',start_id=0,connections=13_000}]",
    ] {
        arguments.extend(["--set", setting]);
    }
    let (status, text, error) = outcome(holdline(&arguments));
    assert_eq!(status, Some(0), "{text}{error}");
    // 40% of 28,232 would have been 11,292.
    assert!(error.contains("13000 source ports each chosen by the plan"), "{error}");
    assert_eq!(summary(&folder)["connections"]["held"], 13_000);
}

#[test]
fn a_floor_is_played_and_stands_beside_the_run() {
    let (status, text, error) =
        outcome(holdline(&["floor", "--connections", "3000", "--levels", "3", "--processes", "2", "--json"]));
    assert_eq!(status, Some(0), "{text}{error}");
    let floor: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&floor["connections"], &floor["servers"], &floor["clients"]), (&3000.into(), &2.into(), &2.into()));
    assert!(floor["connect_rate_per_s"].as_f64().unwrap() > 0.0);

    let (_parent, folder) = fresh();
    let mut arguments = run_arguments(&folder, &SHORT);
    arguments.push("--floor");
    let (status, text, error) = outcome(holdline(&arguments));
    assert_eq!(status, Some(0), "{text}{error}");
    assert!(text.contains("floor ") && text.contains(" x"), "{text}");
    assert_eq!(summary(&folder)["floor"]["connections"], 2000);
}
