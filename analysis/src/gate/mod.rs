//! Is the candidate build worse than the baseline? Runs of both in; a verdict for each figure and for all out.
//!
//! ```text
//! run folders -> Run -> likeness (may they be compared?) -> weigh -> Gate -> table, Markdown, annotations, JUnit, JSON
//! ```
//!
//! *Hard gates* need no baseline: the promise, and the limits of the experiment's `[gate]` table. *Relative gates*
//! compare the figures of [`figures`] by the test of [`permutation`].

mod annotations;
mod error;
mod figures;
mod junit;
mod likeness;
mod metrics;
mod permutation;
mod read;
mod table;
mod weigh;
mod write;

use std::path::PathBuf;

use holdline_record::{Limit, Manifest};
use serde::Serialize;

pub use annotations::annotations;
pub use error::GateError;
pub use figures::check_name as check_figure;
pub use likeness::{Difference, check_alike};
pub use read::read_runs;
pub use table::markdown as gate_markdown;
pub use weigh::weigh;
pub use write::{GATE_MD, write_gate};

use crate::{Summary, Verdict};

/// The chance that the figures of two builds that don't differ look like a regression in any of them, at most. The promise
/// and the limits are judged apart.
pub const ALPHA: f64 = 0.05;

/// Runs of a side at most.
pub const MAX_RUNS: usize = permutation::MAX_RUNS;

/// A run with what it showed.
#[derive(Debug)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// What was known before it began.
    pub manifest: Manifest,
    /// What it showed.
    pub summary: Summary,
}

/// What a gate found.
#[derive(Debug, Serialize)]
pub struct Gate {
    /// The experiment's name.
    pub name: String,
    /// The outcome.
    pub verdict: GateVerdict,
    /// Why it is not `pass`, a sentence each; what fails first.
    pub reasons: Vec<String>,
    /// What a reader should know, but that does not change the verdict.
    pub warnings: Vec<String>,
    /// The runs of the baseline; none where only hard gates were asked for.
    pub baseline: Option<Side>,
    /// The runs of the candidate.
    pub candidate: Side,
    /// The limits of the experiment.
    pub limits: Vec<Held>,
    /// The figures compared, in the order of the table. Empty without a baseline.
    pub figures: Vec<Compared>,
}

/// The outcome of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Nothing is shown to be worse, and a worsening of more than each figure's tolerance is outside its 95% interval.
    Pass,
    /// A figure is worse, a limit is broken, or the candidate does not hold what the baseline held.
    Regression,
    /// The promise was broken, and there is no baseline that always kept it.
    NotHeld,
    /// These runs can't tell.
    NotEnough,
}

/// The runs of one side.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The commits they are of.
    pub commits: Vec<String>,
    /// Runs in all.
    pub runs: usize,
    /// Of these, held.
    pub held: usize,
    /// Of these, not held.
    pub not_held: usize,
    /// Of these, invalid: neither good nor bad, and in no figure.
    pub invalid: usize,
}

/// A limit and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The limit.
    pub limit: Limit,
    /// The median of the candidate's runs; none if no run has the figure.
    pub median: Option<f64>,
    /// Whether the median keeps it; none if it is not known.
    pub kept: Option<bool>,
}

/// A figure of both sides.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Its dotted name in `summary.json`.
    pub figure: String,
    /// What people call it.
    pub label: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether a higher value is the better one.
    pub higher_is_better: bool,
    /// The baseline's values; none if no run has it.
    pub baseline: Option<Spread>,
    /// The candidate's values; none if no run has it.
    pub candidate: Option<Spread>,
    /// The median of all differences between a candidate and a baseline run, in the figure's unit.
    pub change: Option<f64>,
    /// Its 95% interval; none if there are too few runs for one.
    pub change_interval: Option<[f64; 2]>,
    /// The smallest change for the worse that these runs could have shown; none if none.
    pub smallest_shown: Option<f64>,
    /// The change for the worse that is needed for a regression, however certain it is.
    pub floor: Option<f64>,
    /// How likely runs like these are if nothing changed, corrected for the number of figures.
    pub p: Option<f64>,
    /// What it comes to.
    pub verdict: FigureVerdict,
}

/// The values of a figure over the runs of a side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Runs that have it.
    pub runs: usize,
    /// Their median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureVerdict {
    /// No worse.
    Pass,
    /// Worse, by more than its floor and more than chance.
    Regression,
    /// Too few runs, or too different ones, to tell.
    NotEnough,
    /// Neither side has it.
    NotMeasured,
}

impl Gate {
    /// Says that not all runs were played that were asked for: what is no regression can't be told then.
    pub fn cut_short(&mut self, why: &str) {
        self.reasons.push(format!("Not all runs were played: {why}."));
        if self.verdict == GateVerdict::Pass {
            self.verdict = GateVerdict::NotEnough;
        }
    }
}

impl GateVerdict {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::NotHeld => "not held",
            Self::NotEnough => "not enough runs to tell",
        }
    }
}

impl FigureVerdict {
    fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "**regression**",
            Self::NotEnough => "not enough runs",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Side {
    fn of(runs: &[Run]) -> Self {
        let count = |verdict| runs.iter().filter(|run| run.summary.verdict == verdict).count();
        let mut commits: Vec<String> = runs.iter().filter_map(|run| run.manifest.build.commit.clone()).collect();
        commits.sort();
        commits.dedup();
        Self {
            commits,
            runs: runs.len(),
            held: count(Verdict::Held),
            not_held: count(Verdict::NotHeld),
            invalid: count(Verdict::Invalid),
        }
    }

    /// The runs that are a result.
    fn sound(&self) -> usize {
        self.held + self.not_held
    }
}
