//! The table that the terminal shows after a run.

use holdline_record::Manifest;

use super::figures;
use super::markdown::other_outcomes;
use super::{UNKNOWN, headline, units};
use crate::Summary;
use crate::summary::TapRate;

/// The verdict, its reasons, the figures beside their references, and taps by rate, as aligned plain text.
#[must_use]
pub fn table(summary: &Summary, manifest: &Manifest) -> String {
    let mut text = format!("{}: {}\n", summary.name, headline(summary.verdict));
    for reason in &summary.reasons {
        text.push_str(&format!("  - {reason}\n"));
    }
    for warning in &summary.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    text.push('\n');
    let heading = ["figure", "this run", "reference"].map(str::to_owned);
    let rows = figures::rows(summary, &manifest.plan.references);
    let rows = rows.into_iter().map(|row| [row.label, row.value, row.reference]);
    text.push_str(&align(std::iter::once(heading).chain(rows).collect()));
    if !summary.taps.by_rate.is_empty() {
        text.push('\n');
        let heading = ["taps/s", "sent", "acknowledged", "p50", "p99", "max", "other outcomes"].map(str::to_owned);
        text.push_str(&align(std::iter::once(heading).chain(summary.taps.by_rate.iter().map(tap_row)).collect()));
    }
    text
}

fn tap_row(rate: &TapRate) -> [String; 7] {
    let count = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), units::count);
    let ms = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), units::ms);
    [
        units::rate(rate.rate),
        count(rate.counts.sent),
        count(rate.counts.acknowledged),
        ms(rate.round_trip_us.p50),
        ms(rate.round_trip_us.p99),
        ms(rate.round_trip_us.max),
        other_outcomes(&rate.counts),
    ]
}

/// Columns as wide as their widest cell: the first and the last to the left, numbers to the right.
fn align<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 || column == N - 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = [["figure", "value", "note"], ["a", "1", ""], ["longer", "12,345", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned)).to_vec();
        assert_eq!(align(rows), "figure   value  note\na            1\nlonger  12,345  x\n");
    }
}
