//! The outcome of a gate for people, as Markdown whose tables also read well as plain text.

use super::weigh::{chance, number};
use super::{Compared, Gate, Held, Side, Spread};
use crate::report::escape;

/// The outcome as Markdown: for the terminal, a job summary, or a comment.
#[must_use]
pub fn markdown(gate: &Gate) -> String {
    let mut text = format!("## Gate {}: {}\n\n", escape(&gate.name), gate.verdict.words());
    for (title, lines) in [("", &gate.reasons), ("Warnings:\n\n", &gate.warnings)] {
        if !lines.is_empty() {
            text.push_str(title);
            text.extend(lines.iter().map(|one| format!("- {}\n", escape(one))));
            text.push('\n');
        }
    }
    let heading = ["runs", "commit", "held", "not held", "invalid"].map(str::to_owned);
    let sides = gate.baseline.iter().map(|base| ("baseline", base)).chain([("candidate", &gate.candidate)]);
    table(&mut text, &heading, &sides.map(|(name, side)| side_row(name, side)).collect::<Vec<_>>());
    if !gate.limits.is_empty() {
        text.push('\n');
        let heading = ["limit", "candidate, median", "verdict"].map(str::to_owned);
        table(&mut text, &heading, &gate.limits.iter().map(limit_row).collect::<Vec<_>>());
    }
    if !gate.figures.is_empty() {
        text.push('\n');
        let heading = ["figure", "baseline", "candidate", "change", "95% interval", "could show", "p", "verdict"]
            .map(str::to_owned);
        table(&mut text, &heading, &gate.figures.iter().map(figure_row).collect::<Vec<_>>());
        text.push_str(
            "\nMedians over the runs. *Could show*: the smallest change for the worse that would have been significant. *p*: \
             how likely runs like these are if nothing changed (exact permutation test, one-sided, corrected for the number \
             of figures by Holm).\n",
        );
    }
    text
}

fn side_row(name: &str, side: &Side) -> [String; 5] {
    let commits = if side.commits.is_empty() { "not known".to_owned() } else { side.commits.join(", ") };
    [name.to_owned(), escape(&commits), side.held.to_string(), side.not_held.to_string(), side.invalid.to_string()]
}

fn limit_row(held: &Held) -> [String; 3] {
    let verdict = match held.kept {
        Some(true) => "kept",
        Some(false) => "**broken**",
        None => "not known",
    };
    [held.limit.to_string(), held.median.map_or_else(unknown, number), verdict.to_owned()]
}

fn figure_row(figure: &Compared) -> [String; 8] {
    let median = |spread: Option<Spread>| spread.map_or_else(unknown, |spread| number(spread.median));
    let base = figure.baseline.map(|spread| spread.median);
    let share = |value: f64| base.filter(|base| *base != 0.0).map(|base| percent(value / base.abs()));
    let optional = |value: Option<f64>| value.and_then(share).unwrap_or_else(unknown);
    let interval = figure
        .change_interval
        .and_then(|[low, high]| Some(format!("{} to {}", share(low)?, share(high)?)))
        .unwrap_or_else(unknown);
    let worse = |value: f64| if figure.higher_is_better { -value } else { value };
    [
        format!("{}, {}", figure.label, figure.unit),
        median(figure.baseline),
        median(figure.candidate),
        optional(figure.change),
        interval,
        optional(figure.smallest_shown.map(worse)),
        figure.p.map_or_else(unknown, chance),
        figure.verdict.words().to_owned(),
    ]
}

/// A row of the table as a sentence.
pub(super) fn figure_words(figure: &Compared) -> String {
    let [label, base, new, change, interval, shown, p, _] = figure_row(figure);
    format!("{label}: baseline {base}, candidate {new}, change {change} ({interval}), could show {shown}, p = {p}")
}

/// A change as `+3.1%`.
fn percent(share: f64) -> String {
    format!("{:+.1}%", share * 100.0)
}

fn unknown() -> String {
    "–".to_owned()
}

/// A table in Markdown, its columns padded to their widest cell; the first to the left, numbers to the right.
fn table<const N: usize>(text: &mut String, heading: &[String; N], rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in std::iter::once(heading).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count()).max(3);
        }
    }
    let put = |text: &mut String, row: &[String; N]| {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let left = column == 0 || column + 1 == N;
            text.push_str(&if left { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") });
        }
        text.push_str("|\n");
    };
    put(text, heading);
    for (column, width) in widths.into_iter().enumerate() {
        let left = column == 0 || column + 1 == N;
        text.push_str(&format!("|{}{}", "-".repeat(width + 1), if left { "-" } else { ":" }));
    }
    text.push_str("|\n");
    rows.iter().for_each(|row| put(text, row));
}
