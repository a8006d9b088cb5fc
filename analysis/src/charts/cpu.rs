//! CPU over the run.

use holdline_record::{Role, RunFolder};

use super::chart::{Chart, Panel, Series};
use super::style::{KERNEL, SERVER, SWARM};
use super::timeline::Timeline;
use crate::facts::{Facts, cpu};
use crate::report::units;

/// Of server, swarm and soft interrupts.
pub(super) fn over_time(run: &RunFolder, facts: &Facts) -> Chart {
    let time = Timeline::of(run);
    let first = run.manifest.plan.taps.first();
    let when = first.map_or_else(|| "in the hold".to_owned(), |taps| format!("at {} taps/s", units::rate(taps.rate)));
    let line = |name: &str, colour, hold: Option<f64>, series: cpu::Series| {
        let points: Vec<_> = series.into_iter().map(|(at, percent)| (time.seconds(at), percent)).collect();
        let hold = hold.map_or_else(String::new, |percent| format!(" ({}% {when})", units::decimal(percent, 1)));
        (!points.is_empty()).then(|| Series::line(colour, format!("{name}{hold}"), points))
    };
    let lines = [
        line("server", SERVER, facts.server.cpu_percent_hold, cpu::series(&run.samples, Role::Server)),
        line("swarm", SWARM, facts.swarm.cpu_percent_hold, cpu::series(&run.samples, Role::Swarm)),
        line("softirq", KERNEL, facts.softirq_percent_hold, cpu::softirq_series(&run.host)),
    ];
    time.chart(
        "cpu",
        "CPU over the run",
        "100% is one core; on one host the split between roles is approximate",
        vec![Panel::from_zero_below_names("CPU, % of one core", lines.into_iter().flatten().collect())],
        "There are no two samples to tell CPU from.",
    )
}
