//! Runs of two builds through the gate: the figures are made up, the verdicts are not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holdline_analysis::gate::{
    FigureVerdict, Gate, GateError, GateVerdict, Run, annotations, gate_markdown, read_runs, weigh, write_gate,
};
use holdline_analysis::{Summary, TapRate, Verdict};

use crate::synthetic::Synthetic;

/// Runs of a side, named `side`, each with a bit of noise in every figure.
fn runs(side: &str, count: usize) -> Vec<Run> {
    (0..count).map(|index| run(side, index)).collect()
}

fn run(side: &str, index: usize) -> Run {
    let mut manifest = Synthetic::good().manifest;
    manifest.run = format!("{side}-{index}");
    // Some percent, of no pattern that both sides share.
    let offset = if side == "base" { 0 } else { 5 };
    let noise = |size: f64| 1.0 + size * (((index * 7 + offset) % 11) as f64 / 5.0 - 1.0);
    let mut summary = Summary { verdict: Verdict::Held, ..Summary::default() };
    summary.connect.rate_per_s = Some(30_000.0 * noise(0.05));
    summary.server.cpu_us_per_connect = Some(30.0 * noise(0.05));
    summary.server.cpu_percent_hold = Some(4.0 * noise(0.05));
    summary.server.user_bytes_per_connection = Some(50.0 * noise(0.06));
    summary.server.user_bytes_per_connection_all_in = Some(95.0 * noise(0.03));
    summary.swarm.user_bytes_per_connection_all_in = Some(80.0 * noise(0.05));
    summary.kernel.bytes_per_connection_pair = Some(8_100.0 * noise(0.01));
    summary.connections.failed = Some(0);
    let mut rate = TapRate { rate: 1_000.0, ..TapRate::default() };
    rate.round_trip_us.p50 = Some(156 + (index as u64 * 7 + 1) % 9);
    rate.round_trip_us.p99 = Some(320 + (index as u64 * 70 + 11) % 160);
    summary.taps.by_rate = vec![TapRate { rate: 10.0, ..TapRate::default() }, rate];
    Run { folder: PathBuf::from(format!("{side}/{index}")), manifest, summary }
}

/// A side with `change` made to every run.
fn changed(side: &str, count: usize, change: impl Fn(&mut Run)) -> Vec<Run> {
    let mut runs = runs(side, count);
    runs.iter_mut().for_each(change);
    runs
}

fn limited(count: usize, limit: &str) -> Vec<Run> {
    changed("candidate", count, |run| run.manifest.plan.limits = vec![limit.parse().unwrap()])
}

fn judged(base: &[Run], candidate: &[Run]) -> Gate {
    weigh(base, candidate, false).unwrap()
}

/// Multiplies a figure that is known.
fn scale(figure: &mut Option<f64>, by: f64) {
    *figure = figure.map(|value| value * by);
}

#[test]
fn equal_builds_pass() {
    let gate = judged(&runs("base", 12), &runs("candidate", 12));
    assert_eq!(gate.verdict, GateVerdict::Pass, "{}", gate_markdown(&gate));
    assert!(gate.reasons.is_empty() && gate.warnings.is_empty());
    assert_eq!(gate.figures.len(), 9);
    for figure in &gate.figures {
        let [low, high] = figure.change_interval.unwrap();
        assert!((low..=high).contains(&figure.change.unwrap()) && figure.smallest_shown >= figure.floor, "{figure:?}");
    }
}

#[test]
fn what_is_worse_is_a_regression_and_what_is_better_or_too_small_is_not() {
    type Change = fn(&mut Summary);
    let cases: [(Change, Option<&str>); 12] = [
        (|s| scale(&mut s.connect.rate_per_s, 0.9), Some("Connect rate is worse")),
        (|s| scale(&mut s.connect.rate_per_s, 1.3), None),
        (
            |s| s.server.user_bytes_per_connection = s.server.user_bytes_per_connection.map(|b| b + 16.0),
            Some("Server memory per connection is worse"),
        ),
        (|s| scale(&mut s.server.user_bytes_per_connection, 0.5), None),
        // 3 bytes are below the floor, however certain.
        (
            |s| {
                s.server.user_bytes_per_connection_all_in =
                    Some(if s.server.user_bytes_per_connection_all_in < Some(94.0) { 98.0 } else { 98.1 })
            },
            None,
        ),
        (|s| scale(&mut s.swarm.user_bytes_per_connection_all_in, 1.3), Some("Swarm memory per connection, all in")),
        (|s| scale(&mut s.kernel.bytes_per_connection_pair, 1.05), Some("Kernel memory")),
        (|s| scale(&mut s.server.cpu_us_per_connect, 1.15), Some("Server CPU to set up")),
        (|s| scale(&mut s.server.cpu_percent_hold, 1.3), Some("Server CPU in the hold")),
        (
            |s| s.taps.by_rate[1].round_trip_us.p50 = s.taps.by_rate[1].round_trip_us.p50.map(|us| us + 40),
            Some("Tap round trip, median"),
        ),
        (
            |s| s.taps.by_rate[1].round_trip_us.p99 = s.taps.by_rate[1].round_trip_us.p99.map(|us| us * 3),
            Some("99th percentile"),
        ),
        // Of another rate than the highest: in no figure.
        (|s| s.taps.by_rate[0].round_trip_us.p50 = Some(99_999), None),
    ];
    for (index, (change, words)) in cases.into_iter().enumerate() {
        let gate = judged(&runs("base", 12), &changed("candidate", 12, |run| change(&mut run.summary)));
        match words {
            None => assert_eq!(gate.verdict, GateVerdict::Pass, "{index}: {}", gate_markdown(&gate)),
            Some(words) => {
                assert_eq!(gate.verdict, GateVerdict::Regression, "{index}: {}", gate_markdown(&gate));
                assert!(gate.reasons[0].contains(words) && gate.reasons.len() == 1, "{index}: {:?}", gate.reasons);
            }
        }
    }
}

#[test]
fn too_few_or_too_different_runs_are_never_fine() {
    for count in [1, 2, 4] {
        let gate = judged(&runs("base", count), &runs("candidate", count));
        assert_eq!(gate.verdict, GateVerdict::NotEnough, "{count}");
        assert!(gate.figures.iter().all(|figure| figure.verdict == FigureVerdict::NotEnough));
    }
    let wild = |side| {
        let mut runs = runs(side, 12);
        for (index, run) in runs.iter_mut().enumerate() {
            scale(&mut run.summary.connect.rate_per_s, if index % 2 == 0 { 0.5 } else { 1.5 });
        }
        runs
    };
    let gate = judged(&wild("base"), &wild("candidate"));
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
    assert!(
        matches!(&gate.reasons[..], [one] if one.contains("Connect rate differs too much between runs")),
        "{:?}",
        gate.reasons
    );
    // Few runs that differ enough are enough: 5 of each, separated, are one way of 252.
    let gate = judged(
        &runs("base", 6),
        &changed("candidate", 6, |run| scale(&mut run.summary.server.user_bytes_per_connection, 2.0)),
    );
    assert_eq!(gate.verdict, GateVerdict::Regression);
}

#[test]
fn a_figure_that_only_one_side_has_is_not_passed_over() {
    let gate =
        judged(&runs("base", 12), &changed("candidate", 12, |run| run.summary.server.user_bytes_per_connection = None));
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
    assert!(gate.reasons[0].contains("no run of the candidate has it"), "{:?}", gate.reasons);
    let without = |side| changed(side, 12, |run| run.summary.kernel.bytes_per_connection_pair = None);
    let gate = judged(&without("base"), &without("candidate"));
    assert_eq!(gate.verdict, GateVerdict::Pass, "a figure that nobody has is said to be not measured");
    assert!(gate_markdown(&gate).contains("not measured"));
}

#[test]
fn figures_that_do_not_differ_at_all_pass() {
    let same = |side| changed(side, 12, |run| run.summary.taps.by_rate[1].round_trip_us.p50 = Some(150));
    assert_eq!(judged(&same("base"), &same("candidate")).verdict, GateVerdict::Pass);
}

fn with_verdict(side: &str, count: usize, verdict: Verdict, of: usize) -> Vec<Run> {
    let mut runs = runs(side, count);
    for run in &mut runs[..of] {
        run.summary.verdict = verdict;
        run.summary.reasons = vec!["Broke in some way.".to_owned()];
    }
    runs
}

#[test]
fn a_broken_promise_is_judged_by_what_the_baseline_held() {
    let not_held = |side, of| with_verdict(side, 12, Verdict::NotHeld, of);
    for (base, candidate, expected, words) in [
        (
            0,
            1,
            GateVerdict::Regression,
            "in 1 of 12 runs, the baseline in 0 of 12 runs (candidate/0: Broke in some way.)",
        ),
        (1, 12, GateVerdict::Regression, "in 12 of 12"),
        (2, 2, GateVerdict::NotHeld, "The baseline broke the promise in 2 of 12 runs, the candidate in 2 of 12 runs"),
    ] {
        let gate = judged(&not_held("base", base), &not_held("candidate", candidate));
        assert_eq!(gate.verdict, expected, "{base} {candidate}");
        assert!(gate.reasons[0].contains(words), "{:?}", gate.reasons);
    }
    let better = judged(&not_held("base", 3), &runs("candidate", 12));
    assert_eq!((better.verdict, better.warnings.len()), (GateVerdict::Pass, 1));
    let alone = judged(&[], &not_held("candidate", 1));
    assert_eq!(alone.verdict, GateVerdict::NotHeld);
    assert!(alone.reasons[0].contains("Broke in some way"), "{:?}", alone.reasons);
}

#[test]
fn an_invalid_run_is_neither_good_nor_bad_and_is_said() {
    let mut candidate = with_verdict("candidate", 14, Verdict::Invalid, 2);
    scale(&mut candidate[0].summary.connect.rate_per_s, 0.001);
    let gate = judged(&runs("base", 12), &candidate);
    assert_eq!((gate.verdict, gate.candidate.invalid), (GateVerdict::Pass, 2));
    assert_eq!(gate.figures[0].candidate.unwrap().runs, 12);
    assert!(gate.warnings.len() == 2 && gate.warnings[0].contains("candidate/0"), "{:?}", gate.warnings);
    let gate = judged(&runs("base", 12), &with_verdict("candidate", 20, Verdict::Invalid, 8));
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
    assert!(gate.reasons[0].contains("8 of 20 runs of the candidate are invalid"), "{:?}", gate.reasons);
    let gate = judged(&runs("base", 12), &with_verdict("candidate", 12, Verdict::Invalid, 12));
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
    assert!(
        gate.reasons.iter().any(|reason| reason.contains("No run of the candidate is a result")),
        "{:?}",
        gate.reasons
    );
    let gate = judged(&[], &with_verdict("candidate", 1, Verdict::Invalid, 1));
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
}

#[test]
fn limits_hold_with_and_without_a_baseline() {
    for (limit, expected, words) in [
        ("server.user_bytes_per_connection <= 72", GateVerdict::Pass, ""),
        (
            "server.user_bytes_per_connection <= 40",
            GateVerdict::Regression,
            "A limit is broken: server.user_bytes_per_connection <= 40, but it is 50",
        ),
        ("connect.rate_per_s >= 50000", GateVerdict::Regression, "but it is 30,"),
        ("connections.failed <= 0", GateVerdict::Pass, ""),
        ("taps.by_rate.1.round_trip_us.p99 <= 1e3", GateVerdict::Pass, ""),
        ("taps.by_rate.0.round_trip_us.p99 <= 1e3", GateVerdict::NotEnough, "no run has that figure"),
    ] {
        for base in [Vec::new(), runs("base", 12)] {
            let gate = judged(&base, &limited(12, limit));
            assert_eq!(gate.verdict, expected, "{limit}: {}", gate_markdown(&gate));
            assert!(gate.reasons.is_empty() || gate.reasons[0].contains(words), "{:?}", gate.reasons);
        }
    }
    let error = weigh(&[], &limited(1, "server.bytes <= 3"), false).unwrap_err().to_string();
    assert!(error.contains("\"server.bytes\" is no figure") && error.contains("server.base_bytes"), "{error}");
}

#[test]
fn unlike_runs_are_refused_with_their_differences() {
    let settings = |run: &mut Run| run.manifest.experiment = serde_json::json!({"name": "33k", "swarm": {"window": 9}});
    type Change = fn(&mut Run);
    let cases: [(Change, &str); 6] = [
        (|run| run.manifest.environment.kernel = Some("7.0".to_owned()), "kernel: 6.18.0 (base/0), 7.0 (candidate/0)"),
        (|run| run.manifest.host = "other".to_owned(), "host: bench"),
        (|run| run.manifest.environment.cpu_cores = 4, "cores: 2"),
        (|run| run.manifest.build.profile = "debug".to_owned(), "cargo profile: release"),
        (|run| run.manifest.environment.sysctls.clear(), "sysctl net.core.somaxconn: 4096 (base/0), nothing"),
        (settings, "experiment: swarm.window: nothing (base/0), 9 (candidate/0)"),
    ];
    for (change, words) in cases {
        let candidate = changed("candidate", 12, change);
        let error = weigh(&runs("base", 12), &candidate, false).unwrap_err();
        assert!(matches!(error, GateError::NotAlike(_)) && error.to_string().contains(words), "{error}");
        let gate = weigh(&runs("base", 12), &candidate, true).unwrap();
        assert!(gate.verdict == GateVerdict::Pass && gate.warnings[0].contains(words), "{:?}", gate.warnings);
    }
    // What changes nothing in a run may differ, and a machine that was started again is the same.
    let gate = weigh(
        &runs("base", 12),
        &changed("candidate", 12, |run| {
            run.manifest.experiment =
                serde_json::json!({"name": "33k", "description": "words", "gate": {"limits": []}});
            run.manifest.environment.mem_total_bytes = Some(24_999_900_000);
            run.manifest.build.commit = Some("def456".to_owned());
        }),
        false,
    );
    assert_eq!(gate.unwrap().verdict, GateVerdict::Pass);
}

#[test]
fn what_cannot_be_weighed_is_refused() {
    assert!(matches!(weigh(&runs("base", 2), &[], false), Err(GateError::NoCandidate)));
    assert!(matches!(weigh(&runs("base", 65), &runs("candidate", 2), false), Err(GateError::TooMany(65))));
    assert!(matches!(weigh(&runs("base", 3), &runs("base", 3), false), Err(GateError::SameRun(..))));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(read_runs(&[empty.path().to_owned()]), Err(GateError::Empty(_))));
    assert!(matches!(read_runs(&[empty.path().join("none")]), Err(GateError::List { .. })));
}

#[test]
fn folders_of_runs_are_read_as_their_runs() {
    let parent = tempfile::tempdir().unwrap();
    for index in 0..3 {
        let mut run = Synthetic::good();
        let name = format!("33k-{index}");
        run.samples.iter_mut().for_each(|row| row.run.clone_from(&name));
        run.host.iter_mut().for_each(|row| row.run.clone_from(&name));
        run.events.iter_mut().for_each(|row| row.run.clone_from(&name));
        run.manifest.run = name;
        run.write(&parent.path().join(format!("{index:02}")));
    }
    std::fs::write(parent.path().join("00.log"), "not a run").unwrap();
    let runs = read_runs(&[parent.path().to_owned()]).unwrap();
    assert_eq!(runs.iter().map(|run| run.manifest.run.as_str()).collect::<Vec<_>>(), ["33k-0", "33k-1", "33k-2"]);
    assert!(runs.iter().all(|run| run.summary.verdict == Verdict::Held));
    let twice = read_runs(&[parent.path().to_owned(), parent.path().join("01")]).unwrap_err();
    assert!(matches!(twice, GateError::SameRun(..)), "{twice}");
}

/// A gate in which everything occurs that a format has to carry.
fn of_everything() -> Gate {
    let mut candidate = limited(12, "connect.rate_per_s >= 50000");
    candidate[0].summary.verdict = Verdict::Invalid;
    candidate[0].summary.reasons = vec!["<b> & \"quotes\" | 100%\nof 'it' \u{1b}[31m".to_owned()];
    for run in &mut candidate {
        run.manifest.plan.name = "a|b <c> & d".to_owned();
        scale(&mut run.summary.connect.rate_per_s, 0.8);
        run.summary.kernel.bytes_per_connection_pair = None;
        run.summary.server.cpu_percent_hold = None;
    }
    let base = changed("base", 12, |run| run.summary.server.cpu_percent_hold = None);
    judged(&base, &candidate)
}

#[test]
fn a_gate_is_written_in_each_format() {
    let folder = tempfile::tempdir().unwrap();
    let gate = of_everything();
    write_gate(&gate, &folder.path().join("out")).unwrap();
    let read = |file: &str| std::fs::read_to_string(folder.path().join("out").join(file)).unwrap();

    // Bencher Metric Format, by its JSON Schema: names to names to numbers, `value` among them.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metric {
        value: f64,
        lower_value: f64,
        upper_value: f64,
    }
    let bencher: BTreeMap<String, BTreeMap<String, Metric>> = serde_json::from_str(&read("bencher.json")).unwrap();
    let metrics = &bencher["a|b <c> & d"];
    assert_eq!(metrics.len(), 7, "those that the candidate has");
    for (name, metric) in metrics {
        assert!(name.len() <= 64, "a measure's name has up to 64 characters");
        assert!(metric.lower_value <= metric.value && metric.value <= metric.upper_value);
    }

    // github-action-benchmark: a list of results, by its interface BenchmarkResult; one file a direction.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        name: String,
        unit: String,
        value: f64,
        range: String,
        extra: String,
    }
    let entries = |file: &str| serde_json::from_str::<Vec<Entry>>(&read(file)).unwrap();
    let (smaller, bigger) = (entries("benchmark-smaller.json"), entries("benchmark-bigger.json"));
    assert_eq!((smaller.len(), bigger.len()), (6, 1));
    for entry in smaller.iter().chain(&bigger) {
        assert!(
            entry.value > 0.0
                && !entry.unit.is_empty()
                && entry.range.contains(" to ")
                && entry.extra.contains("11 runs")
        );
    }
    assert_eq!(bigger[0].name, "a|b <c> & d: Connect rate");

    // JUnit: read by Python's parser, which is not the one that the writer is built on.
    let rules = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == 'testsuites' and [child.tag for child in root] == ['testsuite'], root
suite = root[0]
cases = suite.findall('testcase')
assert all(case.get('name') and case.get('classname') for case in cases)
assert all(len(case) <= 1 and all(kind.tag in ('failure', 'error', 'skipped') for kind in case) for case in cases)
for of in (root, suite):
    assert int(of.get('tests')) == len(cases), of.attrib
    for kind, count in (('failure', 'failures'), ('error', 'errors'), ('skipped', 'skipped')):
        assert int(of.get(count)) == sum(1 for case in cases if case.find(kind) is not None), (kind, of.attrib)
assert all(kind.get('message') for case in cases for kind in case)
print(*[len(cases)] + [sum(1 for c in cases if c.find(k) is not None) for k in ('failure', 'error', 'skipped')])
assert '100%' in suite.find('system-out').text
";
    let path = folder.path().join("out/junit.xml");
    let checked = std::process::Command::new("python3").arg("-c").arg(rules).arg(path).output().unwrap();
    // The verdict, one limit and nine figures; the verdict, the limit and the rate fail, the kernel's memory is an error.
    let words = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(words.trim(), "11 3 1 1", "{}\n{}", String::from_utf8_lossy(&checked.stderr), read("junit.xml"));

    // Markdown: each table has as many cells in every row as in its heading.
    let markdown = read("gate.md");
    let mut cells = 0;
    for line in markdown.lines() {
        let found = line.replace("\\|", "").matches('|').count();
        assert!(found == 0 || cells == 0 || found == cells, "{line}");
        cells = found;
    }
    assert!(markdown.starts_with("## Gate a\\|b <c> & d: regression\n"), "{markdown}");

    // Annotations: one line each, of a known kind.
    let lines = annotations(&gate);
    assert!(
        lines.lines().all(|line| line.starts_with("::error title=") || line.starts_with("::warning title=")),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), gate.reasons.len() + gate.warnings.len());

    let json: serde_json::Value = serde_json::from_str(&read("gate.json")).unwrap();
    assert_eq!((&json["verdict"], &json["candidate"]["invalid"]), (&"regression".into(), &1.into()));
}

#[test]
fn a_gate_cut_short_does_not_pass() {
    let mut gate = judged(&runs("base", 12), &runs("candidate", 12));
    gate.cut_short("interrupted by Ctrl-C");
    assert_eq!(gate.verdict, GateVerdict::NotEnough);
    let slower = changed("candidate", 12, |run| scale(&mut run.summary.connect.rate_per_s, 0.8));
    let mut gate = judged(&runs("base", 12), &slower);
    gate.cut_short("interrupted by Ctrl-C");
    assert_eq!(gate.verdict, GateVerdict::Regression, "what was shown was shown");
}
