//! The candidate's figures in the formats of services that plot them over time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Compared, Gate, Spread};

/// Bencher Metric Format: benchmark, then measure (https://bencher.dev/docs/reference/bencher-metric-format).
pub(crate) type Bencher = BTreeMap<String, BTreeMap<String, BencherMetric>>;

/// A value with the extremes of the runs.
#[derive(Debug, Serialize)]
pub(crate) struct BencherMetric {
    value: f64,
    lower_value: f64,
    upper_value: f64,
}

/// An entry of github-action-benchmark's `customSmallerIsBetter` and `customBiggerIsBetter`
/// (https://github.com/benchmark-action/github-action-benchmark).
#[derive(Debug, Serialize)]
pub(crate) struct BenchmarkEntry {
    name: String,
    unit: &'static str,
    value: f64,
    range: String,
    extra: String,
}

/// The figures that the candidate has, with its values.
fn measured(gate: &Gate) -> impl Iterator<Item = (&Compared, Spread)> {
    gate.figures.iter().filter_map(|figure| Some((figure, figure.candidate?)))
}

/// All figures of the candidate, for Bencher.
pub(crate) fn bencher(gate: &Gate) -> Bencher {
    let measures = measured(gate).map(|(figure, spread)| {
        let Spread { median, min, max, .. } = spread;
        (figure.figure.clone(), BencherMetric { value: median, lower_value: min, upper_value: max })
    });
    BTreeMap::from([(gate.name.clone(), measures.collect())])
}

/// The figures of one direction, for github-action-benchmark, which takes a file for each.
pub(crate) fn benchmark_action(gate: &Gate, higher_is_better: bool) -> Vec<BenchmarkEntry> {
    measured(gate)
        .filter(|(figure, _)| figure.higher_is_better == higher_is_better)
        .map(|(figure, spread)| BenchmarkEntry {
            name: format!("{}: {}", gate.name, figure.label),
            unit: figure.unit,
            value: spread.median,
            range: format!("{} to {}", spread.min, spread.max),
            extra: format!("{}, median of {} runs", figure.figure, spread.runs),
        })
        .collect()
}
