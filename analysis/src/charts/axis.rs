//! Axes: a range of values with round ticks. Pure.

use crate::report::units;

/// A value with a text beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// Where, in the axis' own values.
    pub(super) at: f64,
    /// What stands there; empty for a line only.
    pub(super) text: String,
}

/// A range of values.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Where it begins.
    pub(super) min: f64,
    /// Where it ends; above `min`.
    pub(super) max: f64,
    /// In order.
    pub(super) ticks: Vec<Tick>,
    /// What is measured, with its unit.
    pub(super) title: String,
}

/// Values beyond this come from damaged rows; drawing them to scale would show nothing else.
const LARGEST: f64 = 1e15;

impl Axis {
    /// From 0 to the first round value at or above `largest`, with at most `ticks` steps.
    pub(super) fn from_zero(title: &str, largest: f64, ticks: u32) -> Self {
        let axis = Self::up_to(title, largest, ticks);
        let step = axis.ticks.get(1).map_or(1.0, |tick| tick.at);
        let end = (axis.max / step - 1e-9).ceil().max(1.0) * step;
        Self::with_step(title, end, step)
    }

    /// From 0 to exactly `largest`, ticks at round values.
    pub(super) fn up_to(title: &str, largest: f64, ticks: u32) -> Self {
        let largest = if largest.is_finite() { largest.clamp(1e-3, LARGEST) } else { 1.0 };
        Self::with_step(title, largest, round_step(largest / f64::from(ticks.max(1))))
    }

    fn with_step(title: &str, max: f64, step: f64) -> Self {
        let decimals = decimals(step);
        let ticks = (0..64_u32)
            .map(|index| f64::from(index) * step)
            .take_while(|at| *at <= max * (1.0 + 1e-9))
            .map(|at| Tick { at, text: units::decimal(at, decimals) })
            .collect();
        Self { min: 0.0, max, ticks, title: title.to_owned() }
    }

    /// Logarithmic, from a 1, 2 or 5 below `smallest` to one above `largest`; values on it are log10 of what is shown.
    pub(super) fn log10(title: &str, smallest: f64, largest: f64) -> Self {
        let usable = smallest.is_finite() && largest.is_finite() && smallest > 0.0 && largest >= smallest;
        let (smallest, largest) = if usable { (smallest, largest) } else { (1.0, 10.0) };
        let steps: Vec<f64> =
            (-9..=15).flat_map(|power| [1.0, 2.0, 5.0].map(|lead| lead * 10_f64.powi(power))).collect();
        let first = steps.iter().rposition(|step| *step <= smallest).unwrap_or(0);
        let last = steps
            .iter()
            .position(|step| *step >= largest)
            .unwrap_or(steps.len() - 1)
            .max(first + 1)
            .min(steps.len() - 1);
        let shown = &steps[first.min(last - 1)..=last];
        // Over many decades only the powers of ten are written out; all twos and fives would run into each other.
        let sparse = shown.len() > 10;
        let ticks = shown.iter().map(|step| Tick { at: step.log10(), text: log_text(*step, sparse) }).collect();
        Self { min: shown[0].log10(), max: shown[shown.len() - 1].log10(), ticks, title: title.to_owned() }
    }

    /// The same with at most half as many numbers, for a narrow chart.
    pub(super) fn sparse(&self) -> Self {
        let every = if self.ticks.len() > 6 { 2 } else { 1 };
        let keep = |(index, tick): (usize, &Tick)| {
            let text = if index % every == 0 { tick.text.clone() } else { String::new() };
            Tick { at: tick.at, text }
        };
        Self { ticks: self.ticks.iter().enumerate().map(keep).collect(), ..self.clone() }
    }

    /// Where `value` lies, 0 at the beginning and 1 at the end. Values outside are drawn at the edge.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = (value - self.min) / (self.max - self.min);
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn log_text(step: f64, sparse: bool) -> String {
    let power = step.log10();
    if sparse && (power - power.round()).abs() > 1e-9 {
        return String::new();
    }
    units::decimal(step, decimals(step))
}

/// The first of 1, 2, 5, 10 ... at or above `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let lead = [1.0, 2.0, 5.0].into_iter().find(|lead| lead * power >= least * (1.0 - 1e-9)).unwrap_or(10.0);
    lead * power
}

/// Decimals that tell multiples of `step` apart.
fn decimals(step: f64) -> usize {
    (0..9_u8).find(|places| step * 10_f64.powi(i32::from(*places)) >= 1.0 - 1e-9).map_or(9, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> String {
        axis.ticks.iter().map(|tick| tick.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn round_ticks() {
        let cases = [
            (Axis::from_zero("", 264.1, 5), "0 100 200 300"),
            (Axis::from_zero("", 0.87, 5), "0.0 0.2 0.4 0.6 0.8 1.0"),
            (Axis::from_zero("", 0.0, 5), "0.0000 0.0002 0.0004 0.0006 0.0008 0.0010"),
            (Axis::from_zero("", f64::NAN, 5), "0.0 0.2 0.4 0.6 0.8 1.0"),
            (Axis::up_to("", 33_000.0, 7), "0 5,000 10,000 15,000 20,000 25,000 30,000"),
            (Axis::log10("", 0.21, 41.0), "0.2 0.5 1 2 5 10 20 50"),
            (Axis::log10("", 0.15, 4_100.0), "0.1   1   10   100   1,000  "),
            (Axis::log10("", 1.0, 1.0), "1 2"),
            (Axis::log10("", f64::NAN, 0.0), "1 2 5 10"),
        ];
        for (axis, expected) in cases {
            assert_eq!(texts(&axis), expected);
            assert!(axis.max > axis.min && axis.min.is_finite() && axis.max.is_finite());
        }
    }

    #[test]
    fn any_value_has_a_place() {
        let axes = [Axis::from_zero("", f64::MAX, 5), Axis::log10("", 1e-300, 1e300), Axis::log10("", 1e17, 1e18)];
        for axis in axes {
            for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
                assert!((0.0..=1.0).contains(&axis.share(value)), "{value}");
            }
            assert!(axis.ticks.len() < 100 && axis.max > axis.min);
        }
    }
}
