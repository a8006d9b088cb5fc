//! Runs of both sides in, a verdict out. Pure.

use serde_json::Value;

use super::figures::{self, Better, FIGURES, Figure};
use super::permutation::{self, Shift};
use super::read::check_distinct;
use super::{
    ALPHA, Compared, FigureVerdict, Gate, GateError, GateVerdict, Held, MAX_RUNS, Run, Side, Spread, likeness,
};
use crate::report::units;
use crate::summary::figure;
use crate::{Verdict, stats};

/// A larger share of invalid runs on a side means that something else is wrong.
const MAX_INVALID_SHARE: f64 = 0.2;

/// Weighs the candidate's runs against the baseline's, and against the limits of their experiment. With no baseline only
/// the hard gates are held.
///
/// # Errors
/// The runs can't be compared: none of the candidate, too many, the same one twice, or unlike ones without
/// `allow_differences`.
pub fn weigh(baseline: &[Run], candidate: &[Run], allow_differences: bool) -> Result<Gate, GateError> {
    let Some(first) = candidate.first() else { return Err(GateError::NoCandidate) };
    if let Some(most) = [baseline.len(), candidate.len()].into_iter().find(|runs| *runs > MAX_RUNS) {
        return Err(GateError::TooMany(most));
    }
    check_distinct(baseline.iter().chain(candidate))?;
    let differences = likeness::differences(baseline.iter().chain(candidate));
    if !differences.is_empty() && !allow_differences {
        return Err(GateError::NotAlike(differences));
    }
    let limits = &first.manifest.plan.limits;
    for limit in limits {
        figures::check_name(&limit.figure, first.manifest.plan.taps.len())?;
    }
    let (base, new) = (Values::of(baseline), Values::of(candidate));
    let mut gate = Gate {
        name: first.manifest.plan.name.clone(),
        verdict: GateVerdict::Pass,
        reasons: Vec::new(),
        warnings: differences.iter().map(|difference| format!("The runs differ in {difference}.")).collect(),
        baseline: (!baseline.is_empty()).then(|| Side::of(baseline)),
        candidate: Side::of(candidate),
        limits: limits.iter().map(|limit| held(limit, &new)).collect(),
        figures: if baseline.is_empty() { Vec::new() } else { compare(&base, &new) },
    };
    warn_of_invalid(baseline, "baseline", &mut gate.warnings);
    warn_of_invalid(candidate, "candidate", &mut gate.warnings);
    judge(&mut gate, candidate);
    Ok(gate)
}

/// The figures of the runs of a side that are a result.
struct Values<'a> {
    runs: Vec<(&'a Run, Value)>,
}

impl<'a> Values<'a> {
    fn of(runs: &'a [Run]) -> Self {
        let sound = runs.iter().filter(|run| run.summary.verdict != Verdict::Invalid);
        Self { runs: sound.map(|run| (run, run.summary.as_json())).collect() }
    }

    fn named(&self, name: &str) -> Vec<f64> {
        self.runs.iter().filter_map(|(_, values)| figure(values, name)).collect()
    }
}

fn held(limit: &holdline_record::Limit, candidate: &Values<'_>) -> Held {
    let median = stats::median(&candidate.named(&limit.figure));
    Held { limit: limit.clone(), median, kept: median.map(|median| limit.holds(median)) }
}

fn spread(values: &[f64]) -> Option<Spread> {
    let median = stats::median(values)?;
    let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    Some(Spread { runs: values.len(), median, min, max })
}

/// Compares every figure that both sides have; the others are listed.
fn compare(baseline: &Values<'_>, candidate: &Values<'_>) -> Vec<Compared> {
    let any = baseline.runs.first().or(candidate.runs.first());
    let named = FIGURES.iter().map(|figure| {
        let name = any.map_or_else(|| figure.label.to_owned(), |(run, _)| figure.name(&run.summary));
        let (base, new) = (baseline.named(&name), candidate.named(&name));
        (figure, name, base, new)
    });
    let all: Vec<_> = named.collect();
    let tested: Vec<usize> = (0..all.len()).filter(|i| !all[*i].2.is_empty() && !all[*i].3.is_empty()).collect();
    let p: Vec<f64> = tested
        .iter()
        .map(|i| {
            let (figure, _, base, new) = &all[*i];
            // Figures of a sound run are finite, and the runs were counted; what can't be tested is no proof.
            permutation::p_value(&worsening(figure, base), &worsening(figure, new)).unwrap_or(1.0)
        })
        .collect();
    let adjusted = permutation::holm(&p);
    all.iter()
        .enumerate()
        .map(|(index, (figure, name, base, new))| {
            let p = tested.iter().position(|tested| *tested == index).map(|place| adjusted[place]);
            compared(figure, name, base, new, p, ALPHA / tested.len() as f64)
        })
        .collect()
}

/// The values turned so that more is worse.
fn worsening(figure: &Figure, values: &[f64]) -> Vec<f64> {
    match figure.better {
        Better::Lower => values.to_vec(),
        Better::Higher => values.iter().map(|value| -value).collect(),
    }
}

fn compared(figure: &Figure, name: &str, base: &[f64], new: &[f64], p: Option<f64>, alpha: f64) -> Compared {
    let (baseline, candidate) = (spread(base), spread(new));
    let mut compared = Compared {
        figure: name.to_owned(),
        label: figure.label,
        unit: figure.unit,
        higher_is_better: figure.better == Better::Higher,
        baseline,
        candidate,
        change: None,
        change_interval: None,
        smallest_shown: None,
        floor: None,
        p,
        verdict: if baseline.is_none() && candidate.is_none() {
            FigureVerdict::NotMeasured
        } else {
            FigureVerdict::NotEnough
        },
    };
    let (Some(baseline), Some(p)) = (baseline, p) else { return compared };
    let shift = Shift::new(base, new);
    compared.change = Some(shift.estimate());
    compared.change_interval = shift.at_least(0.025).zip(shift.at_most(0.025)).map(|(low, high)| [low, high]);
    let (worse_base, worse_new) = (worsening(figure, base), worsening(figure, new));
    let worsened = Shift::new(&worse_base, &worse_new);
    let floor = figure.floor.of(baseline.median);
    compared.floor = Some(floor);
    // A worsening below the floor is no regression, so it could not have been shown as one.
    compared.smallest_shown = worsened.smallest_shown(alpha).map(|shown| shown.max(floor));
    let able = permutation::least_p(base.len(), new.len()) <= alpha
        && [compared.smallest_shown, worsened.at_most(0.025)]
            .into_iter()
            .all(|worst| worst.is_some_and(|worst| worst <= figure.tolerance.of(baseline.median)));
    compared.verdict = if p <= ALPHA && worsened.estimate() >= floor {
        FigureVerdict::Regression
    } else if able {
        FigureVerdict::Pass
    } else {
        FigureVerdict::NotEnough
    };
    compared
}

fn warn_of_invalid(runs: &[Run], side: &str, warnings: &mut Vec<String>) {
    for run in runs.iter().filter(|run| run.summary.verdict == Verdict::Invalid) {
        let why = run.summary.reasons.first().map_or("no reason is known", String::as_str);
        warnings.push(format!("A run of the {side} is invalid and in no figure: {} ({why})", run.folder.display()));
    }
}

/// What fails, and what can't be told.
#[derive(Default)]
struct Findings {
    failed: Vec<String>,
    unclear: Vec<String>,
}

fn judge(gate: &mut Gate, candidate: &[Run]) {
    let mut findings = Findings::default();
    let broken = promise(gate, candidate, &mut findings);
    for held in &gate.limits {
        let limit = &held.limit;
        match (held.kept, held.median) {
            (Some(false), Some(median)) => {
                findings.failed.push(format!("A limit is broken: {limit}, but it is {}.", number(median)))
            }
            (None, _) => findings.unclear.push(format!("The limit {limit} can't be held to: no run has that figure.")),
            _ => {}
        }
    }
    for figure in &gate.figures {
        match figure.verdict {
            FigureVerdict::Regression => findings.failed.push(worse(figure)),
            FigureVerdict::NotEnough => findings.unclear.push(unclear(figure)),
            FigureVerdict::Pass | FigureVerdict::NotMeasured => {}
        }
    }
    for (side, name) in gate.baseline.iter().map(|side| (side, "baseline")).chain([(&gate.candidate, "candidate")]) {
        if side.sound() == 0 {
            findings.unclear.push(format!("No run of the {name} is a result: look at why in its runs."));
        } else if side.invalid as f64 > MAX_INVALID_SHARE * side.runs as f64 {
            findings.unclear.push(format!(
                "{} of {} runs of the {name} are invalid: this machine, or the build, does not let itself be measured.",
                side.invalid, side.runs
            ));
        }
    }
    gate.verdict = if !findings.failed.is_empty() {
        GateVerdict::Regression
    } else if broken {
        GateVerdict::NotHeld
    } else if !findings.unclear.is_empty() {
        GateVerdict::NotEnough
    } else {
        GateVerdict::Pass
    };
    gate.reasons.extend(findings.failed.into_iter().chain(findings.unclear));
}

/// The promise, in each run. Returns whether it was broken without that being a regression.
fn promise(gate: &mut Gate, candidate: &[Run], findings: &mut Findings) -> bool {
    let side = &gate.candidate;
    let reason = || {
        let run = candidate.iter().find(|run| run.summary.verdict == Verdict::NotHeld);
        run.and_then(|run| Some(format!(" ({}: {})", run.folder.display(), run.summary.reasons.first()?)))
    };
    let broke = |side: &Side| format!("in {} of {} runs", side.not_held, side.sound());
    let Some(base) = gate.baseline.as_ref().filter(|base| base.sound() > 0) else {
        if side.not_held > 0 {
            gate.reasons.push(format!("The promise was broken {}{}.", broke(side), reason().unwrap_or_default()));
        }
        return side.not_held > 0;
    };
    let share = |side: &Side| [vec![0.0; side.held], vec![1.0; side.not_held]].concat();
    // Where the baseline always held, one run that doesn't is enough: nothing about it is noise.
    let more = permutation::p_value(&share(base), &share(side)).is_some_and(|p| p <= ALPHA);
    if side.not_held > 0 && (base.not_held == 0 || more) {
        let reason = reason().unwrap_or_default();
        findings.failed.push(format!(
            "The candidate broke the promise {}, the baseline {}{reason}.",
            broke(side),
            broke(base)
        ));
        return false;
    }
    if base.not_held > 0 {
        let text = format!("The baseline broke the promise {}, the candidate {}.", broke(base), broke(side));
        if side.not_held > 0 { &mut gate.reasons } else { &mut gate.warnings }.push(text);
    }
    side.not_held > 0
}

fn worse(figure: &Compared) -> String {
    let (Some(base), Some(new), Some(p)) = (figure.baseline, figure.candidate, figure.p) else {
        return format!("{} is worse.", figure.label);
    };
    format!(
        "{} is worse: {} {} instead of {} {} (p = {}, corrected for the number of figures).",
        figure.label,
        number(new.median),
        figure.unit,
        number(base.median),
        figure.unit,
        chance(p),
    )
}

fn unclear(figure: &Compared) -> String {
    let (Some(base), Some(new)) = (figure.baseline, figure.candidate) else {
        let side = if figure.baseline.is_none() { "baseline" } else { "candidate" };
        return format!("{} can't be compared: no run of the {side} has it.", figure.label);
    };
    match figure.smallest_shown {
        Some(shown) => format!(
            "{} differs too much between runs: {} and {} of them can't rule out a worsening of more than they may hide (could \
             show {} {}, {}).",
            figure.label,
            base.runs,
            new.runs,
            number(shown),
            figure.unit,
            units::share(shown / base.median.abs()),
        ),
        None => format!(
            "{} needs more runs: {} and {} could not have shown any worsening.",
            figure.label, base.runs, new.runs
        ),
    }
}

/// Three significant digits or whole, in groups.
pub(super) fn number(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    units::decimal(value, decimals)
}

/// A probability.
pub(super) fn chance(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}
