//! Whole folders: what is written, what damage does.

use std::fs;
use std::path::Path;

use holdline_analysis::{
    AnalysisError, CHARTS, REPORT_HTML, SUMMARY_JSON, SUMMARY_MD, Summary, Verdict, analyze, compare, table,
};
use holdline_record::{CONNECT_HLOG, EVENTS, Event, HOST, Phase, RunFolder, SAMPLES, TAP_HLOG, TapPhase};

use crate::synthetic::Synthetic;

const CHART_NAMES: [&str; 7] =
    ["memory", "taps", "cpu", "memory-over-time", "connections", "connecting", "taps-over-time"];

fn written(change: impl Fn(&mut Synthetic)) -> tempfile::TempDir {
    let mut run = Synthetic::good();
    change(&mut run);
    written_run(&run)
}

fn written_run(run: &Synthetic) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run.write(folder.path());
    folder
}

/// The report, which must be whole, hold every chart twice, and need nothing from outside.
fn report(folder: &Path) -> String {
    let html = fs::read_to_string(folder.join(REPORT_HTML)).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    assert_eq!(html.matches("<svg role=\"img\"").count(), 2 * CHART_NAMES.len());
    assert_eq!(html.matches("<figure").count(), CHART_NAMES.len());
    for outside in ["<script", "<link", "<img", " src=\"", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    html
}

/// Whether every chart is there in both forms and shows more than a white page.
fn assert_charts(folder: &Path) {
    for name in CHART_NAMES {
        let svg = fs::read_to_string(folder.join(CHARTS).join(format!("{name}.svg"))).unwrap();
        assert!(svg.contains("<text") && svg.ends_with("</svg>\n"), "{name}.svg");
        let png = fs::read(folder.join(CHARTS).join(format!("{name}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{name}.png");
        // A blank page of this size takes some 8 KB.
        assert!(png.len() > 12_000, "{name}.png has {} bytes", png.len());
    }
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = [folder.to_owned(), folder.join(CHARTS)].into_iter().flat_map(|path| fs::read_dir(path).unwrap());
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect()
}

#[test]
fn a_good_run_gets_its_summary_and_charts() {
    let folder = written(|_| {});
    let summary = analyze(folder.path()).unwrap();
    assert_eq!(summary.verdict, Verdict::Held, "{:#?}", summary.reasons);
    let json = fs::read_to_string(folder.path().join(SUMMARY_JSON)).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    assert!(json.contains("\"verdict\": \"held\"") && json.contains("\"schema_version\": 1"));
    assert_charts(folder.path());
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    let html = report(folder.path());
    for words in
        ["held: the promise was kept", "33,000", "1,560 B", "experiments/33k.toml --seed 7", "net.core.somaxconn"]
    {
        assert!(html.contains(words), "{words}");
    }
    // Again, on its own results.
    assert_eq!(analyze(folder.path()).unwrap(), summary);
}

#[test]
fn the_documents_show_references_beside_figures() {
    let folder = written(|_| {});
    let summary = analyze(folder.path()).unwrap();
    let markdown = fs::read_to_string(folder.path().join(SUMMARY_MD)).unwrap();
    for expected in [
        "# 33k: held: the promise was kept",
        "| Server memory per connection | 29.0 B | 1,560 B |",
        "reference: C1 \\| 2010, resident memory only",
        "| taps.by_rate.2.round_trip_us.p99 | ",
        "| 1,000 | 20 s | 20,000 | 20,000 | none |",
        "holdline run experiments/33k.toml --seed 7",
        "`net.core.somaxconn` = `4096`",
    ] {
        assert!(markdown.contains(expected), "{expected}\n{markdown}");
    }
    // Every figure of the table has its place in the summary, and this run knows them all.
    assert!(!markdown.contains("not known"), "{markdown}");
    let run = RunFolder::read(folder.path()).unwrap();
    let text = table(&summary, &run.manifest);
    assert!(text.starts_with("33k: held: the promise was kept\n"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("Server memory per connection ") && line.ends_with("1,560 B")),
        "{text}"
    );
}

#[test]
fn a_run_cut_short_in_the_middle_of_a_row_is_analysed() {
    let folder = written(|run| {
        run.drop_events(|event| {
            matches!(event, Event::Finished | Event::HoldEnded { .. } | Event::TapsEnded { step: 2, .. })
        });
    });
    for name in [SAMPLES, HOST, EVENTS, TAP_HLOG] {
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 17]).unwrap();
    }
    let summary = analyze(folder.path()).unwrap();
    assert_eq!(summary.verdict, Verdict::Invalid);
    assert!(summary.reasons[0].contains("cut short"), "{:#?}", summary.reasons);
    assert!(summary.server.user_bytes_per_connection.is_some());
    assert_charts(folder.path());
    assert!(report(folder.path()).contains("cut short"));
}

#[test]
fn a_record_of_hardly_anything_still_has_a_report() {
    let folder = written(|run| {
        run.samples.clear();
        run.host.clear();
        run.drop_events(|event| !matches!(event, Event::Started { .. }));
    });
    for name in [TAP_HLOG, CONNECT_HLOG] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(analyze(folder.path()).unwrap().verdict, Verdict::Invalid);
    let html = report(folder.path());
    assert!(html.contains("tap.hlog") && html.contains("No tap was acknowledged."), "{html}");
}

#[test]
fn text_from_a_record_is_not_markup() {
    let folder = written(|run| {
        run.manifest.command = "<script>alert(1)</script>".to_owned();
        run.event(Event::Warning { message: "</title><img src=x>".to_owned() });
    });
    analyze(folder.path()).unwrap();
    assert!(report(folder.path()).contains("&lt;script&gt;"));
}

#[test]
fn rows_of_two_runs_and_files_beyond_reason_are_refused() {
    let mixed = written(|run| run.samples.last_mut().unwrap().run = "another".to_owned());
    let summary = analyze(mixed.path()).unwrap();
    assert_eq!(summary.verdict, Verdict::Invalid);
    assert!(summary.reasons[0].contains("rows of the run \"another\""), "{:#?}", summary.reasons);
    let huge = written(|_| {});
    fs::File::options().write(true).open(huge.path().join(SAMPLES)).unwrap().set_len(1 << 30).unwrap();
    let summary = analyze(huge.path()).unwrap();
    assert!(summary.reasons[0].contains("larger than 512 MB"), "{:#?}", summary.reasons);
}

#[test]
fn several_runs_are_laid_over_each_other() {
    let (one, other) = (written(|_| {}), written(|run| run.rename("other")));
    let out = tempfile::tempdir().unwrap();
    let folders = [one.path().to_owned(), other.path().to_owned()];
    let comparison = compare(&folders, out.path()).unwrap();
    assert_eq!(comparison.summaries.len(), 2);
    assert!(comparison.table.lines().any(|line| line.starts_with("Server memory per connection ")));
    let html = fs::read_to_string(comparison.page).unwrap();
    assert_eq!(html.matches("<svg role=\"img\"").count(), 4);
    assert!(html.contains("33k (1)") && html.contains("33k (2)"));
    let same = compare(&[one.path().to_owned(), one.path().to_owned()], out.path()).unwrap_err();
    assert!(same.to_string().contains("the same run"), "{same}");
}

#[test]
fn damaged_and_missing_files_make_the_run_invalid() {
    for name in [SAMPLES, HOST, EVENTS, TAP_HLOG] {
        for content in [None, Some(&b""[..]), Some(&b"\0\xff,NaN,\n1,2\n"[..])] {
            let folder = written(|_| {});
            let path = folder.path().join(name);
            match content {
                None => fs::remove_file(path).unwrap(),
                Some(content) => fs::write(path, content).unwrap(),
            }
            let summary = analyze(folder.path()).unwrap();
            assert_eq!(summary.verdict, Verdict::Invalid, "{name} {content:?}");
            let named = summary.reasons.iter().any(|reason| reason.contains(name));
            assert!(named || content == Some(b""), "{name} {content:?}: {:#?}", summary.reasons);
        }
    }
}

#[test]
fn values_beyond_reason_are_drawn() {
    let folder = written(|run| {
        for row in run.samples.iter_mut().step_by(5) {
            (row.pss_anon_bytes, row.connections, row.cpu_us) = (u64::MAX, Some(u64::MAX), u64::MAX);
        }
        run.host.last_mut().unwrap().mono_us = u64::MAX;
        run.event(Event::PhaseStarted { phase: Phase::Hold, step: Some(u32::MAX) });
    });
    analyze(folder.path()).unwrap();
    assert_charts(folder.path());
}

#[test]
fn a_folder_without_a_manifest_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let error = analyze(folder.path()).unwrap_err();
    assert!(matches!(error, AnalysisError::Read(_)));
    assert!(error.to_string().contains("manifest.json"), "{error}");
}

#[test]
fn results_that_cannot_be_written_are_an_error_and_leave_nothing_half_made() {
    let folder = written(|_| {});
    // A folder in the place of a file: even root can't rename over it.
    fs::create_dir_all(folder.path().join(CHARTS).join("cpu.png/in the way")).unwrap();
    let error = analyze(folder.path()).unwrap_err();
    assert!(error.to_string().contains("cpu.png"), "{error}");
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
}

#[test]
fn many_rates_and_few_levels_are_drawn() {
    let folder = written_run(&crowded());
    assert!(analyze(folder.path()).unwrap().server.user_bytes_per_connection.is_none());
    assert_charts(folder.path());
}

/// Eight rates, whose labels must not cover each other, and too few levels for a line.
fn crowded() -> Synthetic {
    Synthetic::planned(|plan| {
        plan.levels.truncate(3);
        plan.taps = (1..=8).map(|n| TapPhase { rate: f64::from(n) * 62.5, duration_us: 6_000_000 }).collect();
    })
}

/// `HOLDLINE_LOOK=DIR cargo test -p holdline-analysis look` leaves run folders with charts to look at.
#[test]
fn look() {
    let Some(folder) = std::env::var_os("HOLDLINE_LOOK") else { return };
    for (name, run) in [("good", Synthetic::good()), ("crowded", crowded())] {
        let folder = Path::new(&folder).join(name);
        run.write(&folder);
        analyze(&folder).unwrap();
    }
}
