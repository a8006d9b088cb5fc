//! May the run be believed, and was its promise kept? Pure: facts in, a verdict with its reasons out.

mod promise;
mod soundness;
mod taps;
mod warnings;

use holdline_record::{Causes, Event, Role, RunFolder};

use crate::facts::Facts;
use crate::report::units;
use crate::summary::Verdict;

/// The verdict and what led to it.
pub(crate) struct Judgement {
    /// The outcome.
    pub(crate) verdict: Verdict,
    /// Why it is not `held`; a sentence each, what makes the run invalid first.
    pub(crate) reasons: Vec<String>,
    /// What does not change the verdict.
    pub(crate) warnings: Vec<String>,
}

/// Judges a run.
pub(crate) fn judge(run: &RunFolder, facts: &Facts) -> Judgement {
    let soundness::Unsound { of_generator, mut incomplete } = soundness::reasons(run, facts);
    let broken = promise::reasons(run, facts);
    let mut warnings = warnings::warnings(run, facts);
    // A service that lost a process has failed, whatever is missing in the record because of it.
    if !lost_processes(run, |role| role == Role::Server).is_empty() {
        warnings.splice(0..0, incomplete.drain(..).map(|reason| format!("As the service failed: {reason}")));
    }
    let unsound: Vec<String> = of_generator.into_iter().chain(incomplete).collect();
    // An unsound run is never a result, so what else is wrong with it can't make it one.
    let verdict = match (unsound.is_empty(), broken.is_empty()) {
        (true, true) => Verdict::Held,
        (true, false) => Verdict::NotHeld,
        (false, _) => Verdict::Invalid,
    };
    let reasons = unsound.into_iter().chain(broken).collect();
    Judgement { verdict, reasons, warnings }
}

/// Processes that ended and should not have, a sentence each.
fn lost_processes(run: &RunFolder, of: fn(Role) -> bool) -> Vec<String> {
    let lost = run.events.iter().filter_map(|row| match &row.event {
        Event::ProcessLost { role, who, how } if of(*role) => {
            Some(format!("A process was lost during the run: {who} ({how})."))
        }
        _ => None,
    });
    lost.collect()
}

/// Counts by label with what each means, as `1,200 reset (the service reset ...), 3 no_port (...)`, the most frequent
/// first.
fn causes(causes: &Causes, without: &str) -> String {
    let mut named: Vec<_> = causes.iter().filter(|(label, count)| *label != without && **count > 0).collect();
    named.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let explained = |label: &str| match holdline_record::explain(label) {
        Some(words) => format!("{label} ({words})"),
        None => label.to_owned(),
    };
    let named = named.into_iter().map(|(label, count)| format!("{} {}", units::count(*count), explained(label)));
    named.collect::<Vec<_>>().join(", ")
}

/// Counts as `1,200 reset, 3 no_port`, those of 0 left out.
fn list<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let named = counts.into_iter().filter(|(_, count)| *count > 0);
    named.map(|(label, count)| format!("{} {label}", units::count(count))).collect::<Vec<_>>().join(", ")
}
