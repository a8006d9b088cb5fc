//! `summary.md`.

use std::fmt::Write as _;

use holdline_record::{Environment, Manifest};

use super::figures::{self, Row};
use super::{UNKNOWN, headline, levels, units};
use crate::Summary;
use crate::charts::Chart;
use crate::summary::{TapRate, TapTotals};

/// The whole document.
pub(crate) fn markdown(summary: &Summary, manifest: &Manifest, charts: &[Chart]) -> String {
    let mut text =
        format!("# {}: {}\n\nRun `{}`.\n", line(&summary.name), headline(summary.verdict), code(&summary.run));
    list(&mut text, "Reasons", &summary.reasons);
    list(&mut text, "Warnings", &summary.warnings);
    text.push_str("\n## Figures\n\n");
    figure_table(&mut text, &figures::rows(summary, &manifest.plan.references));
    if !summary.taps.by_rate.is_empty() {
        text.push_str("\n## Taps by rate\n\nRound trip from the intended send to the acknowledgement, by the alerter's clock.\n\n");
        tap_table(&mut text, &summary.taps.by_rate);
    }
    if !summary.levels.is_empty() {
        push(&mut text, format_args!("\n## Levels\n\n{}\n\n| {} |\n", levels::COVERS, levels::HEADING.join(" | ")));
        text.push_str("|---:|---:|---:|---:|---:|\n");
        for row in levels::rows(&summary.levels) {
            push(&mut text, format_args!("| {} |\n", row.join(" | ")));
        }
    }
    text.push_str("\n## Charts\n");
    for chart in charts {
        push(&mut text, format_args!("\n![{}](charts/{}.svg)\n", chart.title, chart.name));
    }
    environment(&mut text, manifest);
    text
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    push(text, format_args!("\n{title}:\n\n"));
    for one in lines {
        push(text, format_args!("- {}\n", line(one)));
    }
}

fn figure_table(text: &mut String, rows: &[Row]) {
    text.push_str("| figure | this run | reference | what it covers |\n|---|---:|---:|---|\n");
    for row in rows {
        let cells = [&row.label, &row.value, &row.reference, &row.covers].map(|cell| escape(cell));
        push(text, format_args!("| {} |\n", cells.join(" | ")));
    }
}

fn tap_table(text: &mut String, rates: &[TapRate]) {
    text.push_str(
        "| taps/s | for | sent | acknowledged | other outcomes | p50 | p90 | p99 | p99.9 | max | send lag p99 |\n\
         |---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for rate in rates {
        let trip = &rate.round_trip_us;
        let latencies = [trip.p50, trip.p90, trip.p99, trip.p999, trip.max, rate.lag_p99_us]
            .map(|us| us.map_or_else(few, units::ms));
        let counts = [rate.counts.sent, rate.counts.acknowledged]
            .map(|count| count.map_or_else(|| UNKNOWN.to_owned(), units::count));
        push(
            text,
            format_args!(
                "| {} | {} s | {} | {} | {} |\n",
                units::rate(rate.rate),
                units::rate(rate.duration_s),
                counts.join(" | "),
                other_outcomes(&rate.counts),
                latencies.join(" | ")
            ),
        );
    }
    text.push_str("\nA percentile with fewer than 10 samples beyond it is not given.\n");
}

fn few() -> String {
    "–".to_owned()
}

/// Every outcome but the good one, those of 0 left out.
pub(super) fn other_outcomes(counts: &TapTotals) -> String {
    let named = [
        ("timed out", counts.timed_out),
        ("offline", counts.offline),
        ("refused", counts.refused),
        ("overloaded", counts.overloaded),
        ("lost", counts.lost),
    ];
    if named.iter().any(|(_, count)| count.is_none()) {
        return UNKNOWN.to_owned();
    }
    let found: Vec<String> = named
        .into_iter()
        .filter_map(|(name, count)| {
            count.filter(|count| *count > 0).map(|count| format!("{} {name}", units::count(count)))
        })
        .collect();
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

fn environment(text: &mut String, manifest: &Manifest) {
    let Environment { kernel, cpu_model, cpu_cores, mem_total_bytes, open_files_per_process, sysctls } =
        &manifest.environment;
    let or_unknown = |value: &Option<String>| value.as_deref().map_or_else(|| UNKNOWN.to_owned(), line);
    let build = &manifest.build;
    push(
        text,
        format_args!(
            "\n## Environment\n\n- Linux {}; {}; {cpu_cores} cores; {} of memory\n- {} open files a process\n\
             - holdline {}, commit {}, {} build, seed {}\n",
            or_unknown(kernel),
            or_unknown(cpu_model),
            mem_total_bytes.map_or_else(|| UNKNOWN.to_owned(), |bytes| units::megabytes(bytes as f64)),
            units::count(*open_files_per_process),
            line(&build.version),
            or_unknown(&build.commit),
            line(&build.profile),
            manifest.seed,
        ),
    );
    for (name, value) in sysctls {
        push(text, format_args!("- `{}` = `{}`\n", code(name), code(value)));
    }
    push(text, format_args!("\n## Command\n\n```sh\n{}\n```\n", line(&manifest.command)));
}

/// Writing to a string does not fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// Text from a record on one line: a line end in it would break out of its place.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same in a cell of a table.
pub(crate) fn escape(text: &str) -> String {
    line(text).replace('|', "\\|")
}

fn code(text: &str) -> String {
    line(text).replace('`', "'")
}
