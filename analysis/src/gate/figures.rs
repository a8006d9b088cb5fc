//! The figures that a gate compares, and how much each has to change to matter.

use serde_json::Value;

use super::GateError;
use crate::Summary;
use crate::summary::TapRate;

/// On which side the good values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// A change, as the larger of a share of the baseline and an amount in the figure's unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    share: f64,
    at_least: f64,
}

impl Amount {
    /// In the figure's unit.
    pub(crate) fn of(self, base: f64) -> f64 {
        (self.share * base.abs()).max(self.at_least)
    }
}

/// A figure that differs from run to run and is compared by its distribution.
pub(crate) struct Figure {
    /// Its dotted name in `summary.json`. Of a tap phase, the part after the phase; of which phase says `taps`.
    name: &'static str,
    /// Whether it is of the tap phase of the highest rate.
    taps: bool,
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// A smaller worsening is no regression, however certain: two builds of the same source differ by as much, from the
    /// placement of code and pages.
    pub(crate) floor: Amount,
    /// Runs that could not have shown a worsening of this much are not enough.
    pub(crate) tolerance: Amount,
}

const fn amount(share: f64, at_least: f64) -> Amount {
    Amount { share, at_least }
}

/// A page of 4 KB a thousand connections is 4 bytes each: slopes are not sharper.
const MEMORY: (Amount, Amount) = (amount(0.05, 4.0), amount(0.15, 12.0));

const fn memory(name: &'static str, label: &'static str) -> Figure {
    Figure { name, taps: false, label, unit: "B", better: Better::Lower, floor: MEMORY.0, tolerance: MEMORY.1 }
}

/// In the order of the table. Figures that do not differ between runs (counts of connections, of processes) are held to
/// limits only; figures of the same thing are left out, because each further one asks more of all others.
pub(crate) const FIGURES: [Figure; 9] = [
    Figure {
        name: "connect.rate_per_s",
        taps: false,
        label: "Connect rate",
        unit: "/s",
        better: Better::Higher,
        floor: amount(0.03, 0.0),
        tolerance: amount(0.15, 0.0),
    },
    Figure {
        name: "server.cpu_us_per_connect",
        taps: false,
        label: "Server CPU to set up a connection",
        unit: "µs",
        better: Better::Lower,
        floor: amount(0.03, 0.2),
        tolerance: amount(0.15, 1.0),
    },
    Figure {
        name: "server.cpu_percent_hold",
        taps: false,
        label: "Server CPU in the hold",
        unit: "%",
        better: Better::Lower,
        floor: amount(0.05, 0.05),
        tolerance: amount(0.25, 0.25),
    },
    memory("server.user_bytes_per_connection", "Server memory per connection"),
    memory("server.user_bytes_per_connection_all_in", "Server memory per connection, all in"),
    memory("swarm.user_bytes_per_connection_all_in", "Swarm memory per connection, all in"),
    Figure {
        name: "kernel.bytes_per_connection_pair",
        taps: false,
        label: "Kernel memory per connection pair",
        unit: "B",
        better: Better::Lower,
        // The slab caches grow by whole slabs: 250 bytes a pair between runs of the same build were seen.
        floor: amount(0.02, 64.0),
        tolerance: amount(0.08, 256.0),
    },
    Figure {
        name: "round_trip_us.p50",
        taps: true,
        label: "Tap round trip, median",
        unit: "µs",
        better: Better::Lower,
        floor: amount(0.05, 10.0),
        tolerance: amount(0.3, 50.0),
    },
    Figure {
        name: "round_trip_us.p99",
        taps: true,
        label: "Tap round trip, 99th percentile",
        unit: "µs",
        better: Better::Lower,
        floor: amount(0.1, 50.0),
        tolerance: amount(1.0, 1_000.0),
    },
];

impl Figure {
    /// Its dotted name in `summary`, whose tap phases are those of the experiment.
    pub(crate) fn name(&self, summary: &Summary) -> String {
        let highest = |rate: &TapRate| summary.taps.at_highest_rate() == Some(rate);
        match summary.taps.by_rate.iter().position(highest) {
            Some(phase) if self.taps => format!("taps.by_rate.{phase}.{}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// Checks that a run with `tap_phases` has a figure called `name`, before it is played.
///
/// # Errors
/// There is none, and here are those of nearly that name.
pub fn check_name(name: &str, tap_phases: usize) -> Result<(), GateError> {
    let mut none = Summary::default();
    none.taps.by_rate.resize(tap_phases, TapRate::default());
    let mut names = Vec::new();
    collect(&none.as_json(), "", &mut names);
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(GateError::UnknownFigure { figure: name.to_owned(), known: names })
}

/// The dotted names of all numbers, and of nulls that stand for one.
fn collect(value: &Value, name: &str, names: &mut Vec<String>) {
    let under = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| collect(value, &under(key), names)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| collect(value, &under(&index.to_string()), names));
        }
        Value::Null | Value::Number(_) if !name.ends_with("_interval") && name != "schema_version" => {
            names.push(name.to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_exists_in_a_summary() {
        let mut summary = Summary::default();
        summary.taps.by_rate = [10.0, 1000.0, 100.0].map(|rate| TapRate { rate, ..TapRate::default() }).into();
        for figure in &FIGURES {
            check_name(&figure.name(&summary), 3).unwrap();
        }
        assert_eq!(FIGURES[8].name(&summary), "taps.by_rate.1.round_trip_us.p99");
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_those_there_are() {
        for (name, phases) in
            [("server.bytes", 1), ("taps.by_rate.1.lag_max_us", 1), ("reasons", 0), ("", 0), ("run", 0)]
        {
            let error = check_name(name, phases).unwrap_err().to_string();
            assert!(error.contains("connect.rate_per_s"), "{error}");
        }
        check_name("taps.by_rate.1.lag_max_us", 2).unwrap();
        check_name("connections.failed", 0).unwrap();
    }
}
