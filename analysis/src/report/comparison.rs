//! Several runs side by side: for the terminal, as Markdown, as a page.

use maud::html as markup;

use super::figures::{self, Row};
use super::html::{figure, page};
use super::terminal::align;
use super::{headline, units};
use crate::charts::Chart;
use crate::summary::Summary;

/// A row for each figure, with a cell for each run.
fn rows(summaries: &[Summary]) -> Vec<(Row, Vec<String>)> {
    let columns: Vec<Vec<Row>> = summaries.iter().map(|summary| figures::rows(summary, &[])).collect();
    let first = columns.first().into_iter().flatten().enumerate();
    first
        .map(|(index, row)| {
            let cells = columns.iter().filter_map(|column| column.get(index)).map(|row| row.value.clone());
            (row.clone(), cells.collect())
        })
        .collect()
}

fn verdicts(summaries: &[Summary]) -> Vec<String> {
    summaries.iter().map(|summary| summary.verdict.label().to_owned()).collect()
}

/// The highest rate of each run with its 99th percentile.
fn taps(summaries: &[Summary]) -> Vec<String> {
    let cell = |summary: &Summary| {
        summary.taps.at_highest_rate().map_or_else(String::new, |rate| {
            let p99 = rate.round_trip_us.p99.map_or_else(|| "–".to_owned(), units::ms);
            format!("{p99} at {}/s", units::rate(rate.rate))
        })
    };
    summaries.iter().map(cell).collect()
}

/// Every line of the table: its heading, then a cell for each run.
fn lines(summaries: &[Summary]) -> Vec<(String, Vec<String>)> {
    let figures = rows(summaries).into_iter().map(|(row, cells)| (row.label, cells));
    std::iter::once(("Verdict".to_owned(), verdicts(summaries)))
        .chain(figures)
        .chain([("Tap round trip, p99".to_owned(), taps(summaries))])
        .collect()
}

/// As aligned plain text.
pub(crate) fn comparison_table(names: &[String], summaries: &[Summary]) -> String {
    let heading = std::iter::once("figure".to_owned()).chain(names.iter().cloned()).collect();
    let body = lines(summaries).into_iter().map(|(name, cells)| std::iter::once(name).chain(cells).collect());
    align(&std::iter::once(heading).chain(body).collect::<Vec<Vec<String>>>(), false)
}

/// As a table in Markdown.
pub(crate) fn comparison_markdown(names: &[String], summaries: &[Summary]) -> String {
    let escape = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let mut text =
        format!("| figure | {} |\n|---|", names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(" | "));
    text.push_str(&"---:|".repeat(names.len()));
    text.push('\n');
    for (name, cells) in lines(summaries) {
        text.push_str(&format!(
            "| {name} | {} |\n",
            cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" | ")
        ));
    }
    text
}

/// As a page with charts.
///
/// # Errors
/// A chart can't be drawn; in words.
pub(crate) fn comparison_html(names: &[String], summaries: &[Summary], charts: &[Chart]) -> Result<String, String> {
    let figures = charts.iter().map(figure).collect::<Result<Vec<_>, _>>()?;
    let title = format!("{} runs side by side", summaries.len());
    let body = markup! {
        header { h1 { (title) } }
        ul {
            @for (name, summary) in names.iter().zip(summaries) {
                li {
                    strong { (name) } ": " span class=(summary.verdict.label()) { (headline(summary.verdict)) }
                    @if let Some(reason) = summary.reasons.first() { " – " (reason) }
                }
            }
        }
        table {
            thead { tr { th scope="col" { "figure" } @for name in names { th scope="col" { (name) } } } }
            tbody {
                @for (name, cells) in lines(summaries) {
                    tr { th scope="row" { (name) } @for cell in cells { td { (cell) } } }
                }
            }
        }
        section { h2 { "Charts" } @for figure in &figures { (figure) } }
    };
    Ok(page(&title, &body).into_string())
}
