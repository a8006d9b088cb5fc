//! A summary for people: Markdown for the run folder, plain text for the terminal.

mod comparison;
mod figures;
mod html;
mod levels;
mod markdown;
mod terminal;
pub(crate) mod units;

pub(crate) use comparison::{comparison_html, comparison_markdown, comparison_table};
pub(crate) use html::html;
pub(crate) use markdown::{escape, markdown};
pub use terminal::table;

use crate::summary::Verdict;

/// What stands for a figure that is not known.
const UNKNOWN: &str = "not known";

/// The verdict in words.
fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held: the promise was kept",
        Verdict::NotHeld => "not held: the measurement is sound and the promise was broken",
        Verdict::Invalid => "invalid: the measurement can't be trusted and is not a result",
    }
}
