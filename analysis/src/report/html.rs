//! `report.html`: one file that opens offline and needs no script.

use holdline_record::{Environment, Manifest};
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use super::figures::{self, Row};
use super::markdown::other_outcomes;
use super::{UNKNOWN, headline, levels, units};
use crate::charts::{self, Chart, Layout};
use crate::summary::{Level, Summary, TapRate};

const STYLE: &str = include_str!("report.css");

/// The figures that stand at the top, by their dotted names.
const FIRST: [&str; 6] = [
    "connections.held",
    "server.user_bytes_per_connection",
    "swarm.user_bytes_per_connection",
    "kernel.bytes_per_connection_pair",
    "connect.rate_per_s",
    "taps.p99",
];

/// Tap phases beside each other, as many as fit a telephone.
const RATES_A_TABLE: usize = 3;

/// The whole document.
///
/// # Errors
/// A chart can't be drawn; in words.
pub(crate) fn html(summary: &Summary, manifest: &Manifest, charts: &[Chart]) -> Result<String, String> {
    let figures = charts.iter().map(figure).collect::<Result<Vec<_>, _>>()?;
    let rows = figures::rows(summary, &manifest.plan.references);
    let title = format!("{}: {}", summary.name, headline(summary.verdict));
    let body = markup! {
        header {
            h1 { (summary.name) ": " span class=(summary.verdict.label()) { (headline(summary.verdict)) } }
            p.faint { "Run " code { (summary.run) } }
        }
        (sentences("Reasons", &summary.reasons))
        (cards(summary, &rows))
        (sentences("Warnings", &summary.warnings))
        section { h2 { "Charts" } @for figure in &figures { (figure) } }
        section { h2 { "All figures" } (figure_table(&rows)) }
        @if !summary.taps.by_rate.is_empty() {
            section {
                h2 { "Taps by rate" }
                p.faint {
                    "Round trip from the intended send to the acknowledgement, by the alerter's clock. A percentile with fewer \
                     than 10 samples beyond it is not given."
                }
                @for rates in summary.taps.by_rate.chunks(RATES_A_TABLE) { (tap_table(rates)) }
            }
        }
        @if !summary.levels.is_empty() {
            section { h2 { "Levels" } p.faint { (levels::COVERS) } (level_table(&summary.levels)) }
        }
        section { h2 { "Environment" } (environment(manifest)) }
        section { h2 { "Experiment" } p { "As resolved, with defaults and overrides." } pre { (experiment(manifest)) } }
        section { h2 { "Make it again" } pre { (manifest.command) } }
    };
    Ok(page(&title, &body).into_string())
}

/// A page with this title and body.
pub(crate) fn page(title: &str, body: &Markup) -> Markup {
    markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    }
}

/// A chart in both forms, of which the page shows the one that fits.
///
/// # Errors
/// It can't be drawn; in words.
pub(crate) fn figure(chart: &Chart) -> Result<Markup, String> {
    let alternative = chart.alternative();
    let form = |layout, class: &str| {
        let drawn = charts::svg(chart, layout)?;
        let labelled = drawn.replacen("<svg ", "<svg role=\"img\" ", 1);
        let with_name =
            labelled.replacen('>', &format!("><title>{}</title>", markup! { (alternative) }.into_string()), 1);
        Ok::<Markup, String>(markup! { div class=(class) { (PreEscaped(with_name)) } })
    };
    Ok(markup! {
        figure id=(chart.name) {
            figcaption { strong { (chart.title) } span { (chart.subtitle) } }
            (form(Layout::Wide, "wide")?)
            (form(Layout::Narrow, "narrow")?)
        }
    })
}

fn sentences(title: &str, sentences: &[String]) -> Markup {
    markup! {
        @if !sentences.is_empty() {
            section {
                h2 { (title) }
                ul { @for sentence in sentences { li { (sentence) } } }
            }
        }
    }
}

/// The figures that most readers came for, each with its reference.
fn cards(summary: &Summary, rows: &[Row]) -> Markup {
    let promised = units::count(summary.connections.promised);
    markup! {
        ul.cards {
            @for name in FIRST {
                @if let Some(row) = rows.iter().find(|row| row.name == name) {
                    li {
                        (row.label)
                        strong { (row.value) }
                        @if name == "connections.held" { small { "of " (promised) " promised" } }
                        @if !row.reference.is_empty() { small { "reference: " (row.reference) } }
                        @if let Some(total) = total_of(name).and_then(|name| rows.iter().find(|row| row.name == name)) {
                            small {
                                (total.value) " in all"
                                @if !total.reference.is_empty() { "; reference: " (total.reference) }
                            }
                        }
                    }
                } @else if let Some(rate) = summary.taps.at_highest_rate() {
                    li {
                        "Tap round trip, 99th percentile"
                        strong { (rate.round_trip_us.p99.map_or_else(|| UNKNOWN.to_owned(), units::ms)) }
                        small { "at " (units::rate(rate.rate)) " taps/s" }
                    }
                }
            }
        }
    }
}

/// The figure in all beside which a figure per connection stands.
fn total_of(name: &str) -> Option<&'static str> {
    match name {
        "server.user_bytes_per_connection" => Some("server.user_bytes_total"),
        "swarm.user_bytes_per_connection" => Some("swarm.user_bytes_total"),
        "kernel.bytes_per_connection_pair" => Some("kernel.bytes_total"),
        _ => None,
    }
}

fn figure_table(rows: &[Row]) -> Markup {
    markup! {
        table {
            thead { tr { th scope="col" { "figure" } th scope="col" { "this run" } th scope="col" { "reference" } } }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" { (row.label) small { (row.covers) } }
                        td.value { (row.value) }
                        td { (row.reference) }
                    }
                }
            }
        }
    }
}

fn level_table(all: &[Level]) -> Markup {
    markup! {
        table.levels {
            thead { tr { @for heading in levels::HEADING { th scope="col" { (heading) } } } }
            tbody { @for row in levels::rows(all) { tr { @for cell in row { td.value { (cell) } } } } }
        }
    }
}

/// A column for each rate, so that it fits a telephone.
fn tap_table(rates: &[TapRate]) -> Markup {
    type Cell = fn(&TapRate) -> String;
    type Figure = (&'static str, fn(&TapRate) -> Option<u64>);
    let count = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), units::count);
    let ms = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), units::ms);
    let counted: [Figure; 2] = [("sent", |rate| rate.counts.sent), ("acknowledged", |rate| rate.counts.acknowledged)];
    let timed: [Figure; 6] = [
        ("p50", |rate| rate.round_trip_us.p50),
        ("p90", |rate| rate.round_trip_us.p90),
        ("p99", |rate| rate.round_trip_us.p99),
        ("p99.9", |rate| rate.round_trip_us.p999),
        ("maximum", |rate| rate.round_trip_us.max),
        ("send lag p99", |rate| rate.lag_p99_us),
    ];
    let duration: Cell = |rate| format!("{} s", units::rate(rate.duration_s));
    let others: Cell = |rate| other_outcomes(&rate.counts);
    let row = |name: &str, cells: Vec<String>| {
        markup! { tr { th scope="row" { (name) } @for cell in cells { td.value { (cell) } } } }
    };
    markup! {
        table {
            thead {
                tr { th scope="col" { "taps a second" } @for rate in rates { th scope="col" { (units::rate(rate.rate)) } } }
            }
            tbody {
                (row("for", rates.iter().map(duration).collect()))
                @for (name, of) in counted { (row(name, rates.iter().map(|rate| count(of(rate))).collect())) }
                (row("other outcomes", rates.iter().map(others).collect()))
                @for (name, of) in timed { (row(name, rates.iter().map(|rate| ms(of(rate))).collect())) }
            }
        }
    }
}

fn environment(manifest: &Manifest) -> Markup {
    let Environment { kernel, cpu_model, cpu_cores, mem_total_bytes, open_files_per_process, sysctls } =
        &manifest.environment;
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    let memory = mem_total_bytes.map_or_else(|| UNKNOWN.to_owned(), |bytes| units::megabytes(bytes as f64));
    let build = &manifest.build;
    let commit = or_unknown(&build.commit);
    let facts = [
        ("kernel", format!("Linux {}", or_unknown(kernel))),
        ("processor", format!("{}, {cpu_cores} cores", or_unknown(cpu_model))),
        ("memory", memory),
        ("open files a process", units::count(*open_files_per_process)),
        ("holdline", format!("{}, commit {commit}, {} build", build.version, build.profile)),
        ("seed", manifest.seed.to_string()),
    ];
    markup! {
        table {
            tbody {
                @for (name, value) in facts { tr { th scope="row" { (name) } td { (value) } } }
                @for (name, value) in sysctls { tr { th scope="row" { code { (name) } } td { (value) } } }
            }
        }
    }
}

fn experiment(manifest: &Manifest) -> String {
    serde_json::to_string_pretty(&manifest.experiment).unwrap_or_else(|error| error.to_string())
}
