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
    text.push_str(&align(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), true));
    if !summary.taps.by_rate.is_empty() {
        text.push('\n');
        let heading = ["taps/s", "sent", "acknowledged", "p50", "p99", "max", "other outcomes"].map(str::to_owned);
        let rates = std::iter::once(heading).chain(summary.taps.by_rate.iter().map(tap_row));
        text.push_str(&align(&rates.collect::<Vec<_>>(), true));
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

/// Columns as wide as their widest cell: the first to the left, and with `words_last` the last; numbers to the right.
pub(super) fn align<R: AsRef<[String]>>(rows: &[R], words_last: bool) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for (width, cell) in rows.iter().flat_map(|row| row.as_ref().iter().enumerate()) {
        widths[width] = widths[width].max(cell.chars().count());
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let left = column == 0 || words_last && column + 1 == columns;
            if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
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
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows, true), "figure   value  note\na            1\nlonger  12,345  x\n");
    }
}
