//! Memory: against connections on the staircase, and over time. The kernel above, the processes below, each on its own
//! scale: the kernel takes some hundred times what a process does; on one scale the processes would be a flat line.

use std::collections::BTreeMap;

use holdline_record::{Role, RunFolder};
use plotters::prelude::*;

use super::axis::Axis;
use super::chart::{Chart, Panel, Series};
use super::style::{KERNEL, SERVER, SWARM};
use super::timeline::Timeline;
use crate::facts::{Facts, Memory};
use crate::report::units;

const KERNEL_TITLE: &str = "kernel memory, growth since the start, MB";
const USER_TITLE: &str = "user memory of all processes, MB";
const MB: f64 = 1e6;

/// Against connections, with the fitted lines.
pub(super) fn against_connections(run: &RunFolder, facts: &Facts) -> Chart {
    // Growth needs a start to grow from.
    let start = facts.kernel_at_start.map(|bytes| bytes as f64);
    let kernel = start.and_then(|start| fitted("kernel", "pair", KERNEL, &facts.kernel, start));
    let kernel: Vec<Series> = kernel.into_iter().collect();
    let user: Vec<Series> = [
        fitted("server", "connection", SERVER, &facts.server.memory, 0.0),
        fitted("swarm", "connection", SWARM, &facts.swarm.memory, 0.0),
    ]
    .into_iter()
    .flatten()
    .collect();
    let most = kernel.iter().chain(&user).flat_map(|series| &series.dots).map(|point| point.0).fold(0.0, f64::max);
    Chart {
        name: "memory",
        title: "Memory against connections",
        subtitle: format!(
            "{} – one dot a level of the staircase; Theil-Sen line with the 95% interval of its slope",
            run.manifest.run
        ),
        x: Axis::up_to("connections", most, 8),
        bands: Vec::new(),
        panels: vec![Panel::from_zero(KERNEL_TITLE, kernel), Panel::from_zero(USER_TITLE, user)],
        vertical_grid: false,
        nothing: "No level of the staircase has readings.",
    }
}

/// None without points. `base` bytes are taken off.
pub(super) fn fitted(name: &str, each: &str, colour: RGBColor, memory: &Memory, base: f64) -> Option<Series> {
    let mut dots: Vec<(f64, f64)> =
        memory.points.iter().map(|point| (point.connections as f64, (point.bytes as f64 - base) / MB)).collect();
    dots.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = dots.last()?.0;
    let (label, line) = match &memory.fit {
        Ok(fit) => {
            let at = |x: f64| (x, (fit.line.at(x) - base) / MB);
            let (low, high) = fit.slope_interval;
            let decimals = usize::from(fit.line.slope.abs() < 999.5);
            let interval = format!("{} to {}", units::decimal(low, decimals), units::decimal(high, decimals));
            (format!("{name}: {} per {each} ({interval})", units::bytes_each(fit.line.slope)), vec![at(0.0), at(last)])
        }
        Err(_) => (format!("{name}: not fitted (too few)"), Vec::new()),
    };
    Some(Series { colour, label, line, dots })
}

/// Over time.
pub(super) fn over_time(run: &RunFolder, facts: &Facts) -> Chart {
    let time = Timeline::of(run);
    let start = facts.kernel_at_start.map(|bytes| bytes as f64);
    let kernel: Vec<(f64, f64)> = run
        .host
        .iter()
        .filter_map(|row| Some((time.seconds(row.mono_us), (row.kernel_bytes()? as f64 - start?) / MB)))
        .collect();
    let user = |role, name: &str, colour| {
        let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for row in run.samples.iter().filter(|row| row.role == role) {
            let (at, bytes) = sums.entry(row.sample).or_insert((row.mono_us, 0));
            *at = (*at).min(row.mono_us);
            *bytes = bytes.saturating_add(row.user_bytes());
        }
        let points: Vec<(f64, f64)> =
            sums.into_values().map(|(at, bytes)| (time.seconds(at), bytes as f64 / MB)).collect();
        last_value(name, colour, points)
    };
    let user = [user(Role::Server, "server", SERVER), user(Role::Swarm, "swarm", SWARM)];
    let panels = vec![
        Panel::from_zero_below_names(KERNEL_TITLE, last_value("kernel", KERNEL, kernel).into_iter().collect()),
        Panel::from_zero_below_names(USER_TITLE, user.into_iter().flatten().collect()),
    ];
    let covers = "socket slab caches of the whole host; Pss_Anon + Pss_Shmem of each role";
    time.chart("memory-over-time", "Memory over the run", covers, panels, "There is no sample.")
}

/// A line that is labelled with the most it reached; none without points.
fn last_value(name: &str, colour: RGBColor, line: Vec<(f64, f64)>) -> Option<Series> {
    let most = line.iter().map(|point| point.1).reduce(f64::max)?;
    Some(Series::line(colour, format!("{name}: at most {} MB", units::decimal(most, 1)), line))
}
