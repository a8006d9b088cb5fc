//! Memory on the staircase: one point a level, and a robust line through them.

use std::collections::BTreeMap;

use holdline_record::{HostRow, Phase, Role, SampleRow};

use crate::stats::{self, Line};

/// Fewer levels than this are no staircase: the line would follow single readings.
pub(crate) const MIN_LEVELS: usize = 8;
/// With fewer connections than this, what the processes do for themselves outweighs what connections take.
pub(crate) const MIN_CONNECTIONS: u64 = 20_000;

/// One level of the staircase: the medians of its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Connections that stood.
    pub(crate) connections: u64,
    /// Bytes in use.
    pub(crate) bytes: u64,
}

/// Memory against connections.
#[derive(Debug)]
pub(crate) struct Memory {
    /// One point a level, in the order of levels.
    pub(crate) points: Vec<Point>,
    /// The number of the level of each.
    levels: Vec<u32>,
    /// The line through those with connections, or why there is none.
    pub(crate) fit: Result<Fit, NoFit>,
}

/// A line through the levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fit {
    pub(crate) line: Line,
    /// The 95% interval of its slope over the levels of this run.
    pub(crate) slope_interval: (f64, f64),
}

/// Why there is no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoFit {
    /// Levels with connections and readings.
    pub(crate) levels: usize,
    /// Connections of the highest.
    pub(crate) connections: u64,
}

impl Memory {
    fn of(readings: &Readings) -> Self {
        let (levels, points): (Vec<u32>, Vec<Point>) =
            readings.iter().filter_map(|(level, readings)| Some((*level, Point::of(readings.values())?))).unzip();
        let fit = fit(&points);
        Self { points, levels, fit }
    }

    /// The level of that number.
    pub(crate) fn at_level(&self, number: u32) -> Option<Point> {
        self.levels.iter().position(|level| *level == number).map(|place| self.points[place])
    }

    /// The level with the most connections.
    pub(crate) fn highest(&self) -> Option<Point> {
        self.points.iter().copied().max_by_key(|point| point.connections)
    }
}

impl Point {
    fn of<'a>(readings: impl Iterator<Item = &'a Point>) -> Option<Self> {
        let (connections, bytes): (Vec<_>, Vec<_>) =
            readings.map(|reading| (reading.connections, reading.bytes)).unzip();
        Some(Self { connections: stats::median_whole(&connections)?, bytes: stats::median_whole(&bytes)? })
    }
}

/// Readings by level and sample.
type Readings = BTreeMap<u32, BTreeMap<u64, Point>>;

fn fit(points: &[Point]) -> Result<Fit, NoFit> {
    let loaded: Vec<Point> = points.iter().copied().filter(|point| point.connections > 0).collect();
    let no_fit =
        NoFit { levels: loaded.len(), connections: loaded.iter().map(|point| point.connections).max().unwrap_or(0) };
    if no_fit.levels < MIN_LEVELS || no_fit.connections < MIN_CONNECTIONS {
        return Err(no_fit);
    }
    let loaded: Vec<_> = loaded.iter().map(|point| (point.connections as f64, point.bytes as f64)).collect();
    let line = stats::theil_sen(&loaded).ok_or(no_fit)?;
    Ok(Fit { line, slope_interval: stats::theil_sen_interval(&loaded).ok_or(no_fit)? })
}

/// User memory of a role's processes against the connections they say they hold.
pub(crate) fn user(samples: &[SampleRow], role: Role) -> Memory {
    let connections = connections(samples, role);
    let mut readings: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for row in samples.iter().filter(|row| row.role == role && row.phase == Phase::Level) {
        let Some(step) = row.step else { continue };
        let bytes = readings.entry((step, row.sample)).or_default();
        *bytes = bytes.saturating_add(row.user_bytes());
    }
    let mut by_level = Readings::new();
    for ((step, sample), bytes) in readings {
        if let Some(connections) = connections.get(&sample).copied() {
            by_level.entry(step).or_default().insert(sample, Point { connections, bytes });
        }
    }
    Memory::of(&by_level)
}

/// The kernel's socket memory against the connections of the server.
pub(crate) fn kernel(samples: &[SampleRow], host: &[HostRow]) -> Memory {
    let connections = connections(samples, Role::Server);
    let mut by_level = Readings::new();
    for row in host.iter().filter(|row| row.phase == Phase::Level) {
        if let (Some(step), Some(bytes), Some(connections)) =
            (row.step, row.kernel_bytes(), connections.get(&row.sample))
        {
            by_level.entry(step).or_default().insert(row.sample, Point { connections: *connections, bytes });
        }
    }
    Memory::of(&by_level)
}

/// Connections of a role by sample, for samples in which every worker of it counted. A supervisor holds none by design
/// and says so with none; a worker that did not say makes the sum unknown, not smaller.
pub(crate) fn connections(samples: &[SampleRow], role: Role) -> BTreeMap<u64, u64> {
    let mut sums: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for row in samples.iter().filter(|row| row.role == role) {
        let counts = row.worker.is_some() || row.connections.is_some();
        if counts {
            let sum = sums.entry(row.sample).or_insert(Some(0));
            *sum = sum.zip(row.connections).map(|(sum, own)| sum.saturating_add(own));
        }
    }
    sums.into_iter().filter_map(|(sample, sum)| Some((sample, sum?))).collect()
}

/// The kernel's socket memory before the first connection.
pub(crate) fn kernel_at_start(host: &[HostRow]) -> Option<u64> {
    let readings: Vec<u64> =
        host.iter().filter(|row| row.phase == Phase::Start).filter_map(HostRow::kernel_bytes).collect();
    stats::median_whole(&readings)
}

/// From the start to the highest level.
pub(crate) fn growth(at_start: Option<u64>, kernel: &Memory) -> Option<i64> {
    let (start, highest) = (at_start?, kernel.highest()?.bytes);
    i64::try_from(i128::from(highest) - i128::from(start)).ok()
}

/// The largest sum of Pss_File over a role's processes in one sample.
pub(crate) fn program_file_bytes(samples: &[SampleRow], role: Role) -> Option<u64> {
    largest_sum(samples, role, |row| row.pss_file_bytes)
}

/// The most processes of a role in one sample.
pub(crate) fn processes(samples: &[SampleRow], role: Role) -> Option<u64> {
    largest_sum(samples, role, |_| 1)
}

fn largest_sum(samples: &[SampleRow], role: Role, of: impl Fn(&SampleRow) -> u64) -> Option<u64> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for row in samples.iter().filter(|row| row.role == role) {
        let sum = sums.entry(row.sample).or_default();
        *sum = sum.saturating_add(of(row));
    }
    sums.into_values().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staircase(levels: u64, step: u64) -> Vec<Point> {
        (1..=levels).map(|i| Point { connections: i * step, bytes: 2_000_000 + 29 * i * step }).collect()
    }

    #[test]
    fn a_line_needs_eight_levels_and_twenty_thousand_connections() {
        let cases = [(7, 10_000, false), (8, 2_500, true), (8, 2_499, false), (40, 499, false), (10, 100_000, true)];
        for (levels, step, fits) in cases {
            assert_eq!(fit(&staircase(levels, step)).is_ok(), fits, "{levels} levels of {step}");
        }
    }

    #[test]
    fn the_empty_level_is_no_part_of_the_line() {
        let mut points = staircase(10, 3_000);
        points.insert(0, Point { connections: 0, bytes: 900_000_000 });
        let line = fit(&points).unwrap().line;
        assert!((line.slope - 29.0).abs() < 1e-9, "{line:?}");
        points.truncate(8);
        assert_eq!(fit(&points), Err(NoFit { levels: 7, connections: 21_000 }));
    }

    #[test]
    fn one_disturbed_level_in_ten_does_not_move_the_slope() {
        let mut points = staircase(10, 3_000);
        points[4].bytes += 50_000_000;
        assert!((fit(&points).unwrap().line.slope - 29.0).abs() < 1e-6);
    }
}
