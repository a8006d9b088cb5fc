//! CPU as a delta of CPU time over wall time; 100% is one core.

use std::collections::BTreeMap;

use holdline_record::{HostRow, Phase, Role, SampleRow};

/// A shorter span than this says little of a host: one tick of 10 ms is already 0.2% of it.
const MIN_HOST_SPAN_US: u64 = 5_000_000;
/// A shorter span than this says little of a process, whose clock counts nanoseconds.
const MIN_SPAN_US: u64 = 1_000_000;
/// Points of the chart are at least this far apart: the readings of a level can be closer than a tick allows.
const MIN_CHART_SPAN_US: u64 = 500_000;

/// What identifies a process in a run.
type Process<'a> = (&'a str, u32);

/// A process at a moment.
#[derive(Clone, Copy)]
struct Clock {
    mono_us: u64,
    cpu_us: u64,
}

/// One sample of a role: every process in it.
type Reading<'a> = BTreeMap<Process<'a>, Clock>;

/// The share of a core that `to - from` took; none if either clock ran backwards or no time passed.
fn percent(from: Clock, to: Clock) -> Option<f64> {
    let wall = to.mono_us.checked_sub(from.mono_us).filter(|us| *us > 0)?;
    Some(to.cpu_us.checked_sub(from.cpu_us)? as f64 / wall as f64 * 100.0)
}

fn is_first_tap_phase(phase: Phase, step: Option<u32>) -> bool {
    phase == Phase::Hold && step == Some(0)
}

fn readings<'a>(rows: impl Iterator<Item = &'a SampleRow>) -> BTreeMap<u64, Reading<'a>> {
    let mut readings: BTreeMap<u64, Reading<'a>> = BTreeMap::new();
    for row in rows {
        let clock = Clock { mono_us: row.mono_us, cpu_us: row.cpu_us };
        readings.entry(row.sample).or_default().insert((&row.host, row.pid), clock);
    }
    readings
}

/// CPU of a role over the first tap phase. None if a process came or went in it, or it was shorter than 1 s.
pub(crate) fn percent_hold(samples: &[SampleRow], role: Role) -> Option<f64> {
    let in_phase = samples.iter().filter(|row| row.role == role && is_first_tap_phase(row.phase, row.step));
    let readings = readings(in_phase);
    let (first, last) = (readings.values().next()?, readings.values().next_back()?);
    // A process in only one of the two would add its whole life, or leave its share out.
    if !first.keys().eq(last.keys()) {
        return None;
    }
    // Each process over its own clock: rows of one sample are read one after the other.
    first
        .iter()
        .zip(last.values())
        .map(|((_, from), to)| percent(*from, *to).filter(|_| to.mono_us - from.mono_us >= MIN_SPAN_US))
        .sum()
}

fn softirq_clock(row: &HostRow) -> Option<Clock> {
    Some(Clock { mono_us: row.mono_us, cpu_us: row.softirq_us? })
}

/// CPU in soft interrupts over the first tap phase, all cores.
pub(crate) fn softirq_percent_hold(host: &[HostRow]) -> Option<f64> {
    let mut in_phase = host.iter().filter(|row| is_first_tap_phase(row.phase, row.step)).filter_map(softirq_clock);
    let from = in_phase.next()?;
    let to = in_phase.next_back()?;
    percent(from, to).filter(|_| to.mono_us - from.mono_us >= MIN_HOST_SPAN_US)
}

/// CPU time of a role for each connection set up, in microseconds: from the last sample without connections to the first
/// reading of the highest level. None if a process came or went meanwhile.
pub(crate) fn us_per_connect(samples: &[SampleRow], role: Role, levels: usize) -> Option<f64> {
    let top = u32::try_from(levels.checked_sub(1)?).ok()?;
    let of_role = || samples.iter().filter(|row| row.role == role);
    let before = readings(of_role().filter(|row| row.phase == Phase::Start));
    let after = readings(of_role().filter(|row| row.phase == Phase::Level && row.step == Some(top)));
    let ((_, from), (sample, to)) = (before.last_key_value()?, after.first_key_value()?);
    if !from.keys().eq(to.keys()) {
        return None;
    }
    let spent =
        from.iter().zip(to.values()).map(|((_, from), to)| to.cpu_us.checked_sub(from.cpu_us)).sum::<Option<u64>>()?;
    let at_top = of_role().filter(|row| row.sample == *sample).filter_map(|row| row.connections);
    let connections: u64 = at_top.sum();
    (connections > 0).then(|| spent as f64 / connections as f64)
}

/// A moment (microseconds of CLOCK_MONOTONIC) and the CPU around it.
pub(crate) type Series = Vec<(u64, f64)>;

/// CPU of a role over the run. A process that came or went between two samples is left out between these two.
pub(crate) fn series(samples: &[SampleRow], role: Role) -> Series {
    let readings = readings(samples.iter().filter(|row| row.role == role));
    over_time(
        readings.values(),
        |reading| reading.values().map(|clock| clock.mono_us).min(),
        |from, to| {
            let both = from.iter().filter_map(|(process, from)| Some((*from, *to.get(process)?)));
            both.filter_map(|(from, to)| percent(from, to)).reduce(|sum, one| sum + one)
        },
    )
}

/// CPU in soft interrupts over the run, all cores.
pub(crate) fn softirq_series(host: &[HostRow]) -> Series {
    let clocks: Vec<Clock> = host.iter().filter_map(softirq_clock).collect();
    over_time(clocks.iter(), |clock| Some(clock.mono_us), |from, to| percent(*from, *to))
}

fn over_time<'a, T: 'a>(
    readings: impl Iterator<Item = &'a T>,
    when: impl Fn(&T) -> Option<u64>,
    between: impl Fn(&T, &T) -> Option<f64>,
) -> Series {
    let mut series = Series::new();
    let mut from: Option<(u64, &T)> = None;
    for reading in readings {
        let Some(at) = when(reading) else { continue };
        let Some((since, before)) = from else {
            from = Some((at, reading));
            continue;
        };
        if at.saturating_sub(since) < MIN_CHART_SPAN_US {
            continue;
        }
        if let Some(percent) = between(before, reading) {
            series.push((u64::midpoint(since, at), percent));
        }
        from = Some((at, reading));
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_of_one_core() {
        let at = |mono_us, cpu_us| Clock { mono_us, cpu_us };
        let cases = [
            (at(0, 0), at(10_000_000, 1_000_000), Some(10.0)),
            (at(0, 0), at(10_000_000, 25_000_000), Some(250.0)),
            (at(5, 5), at(5, 9), None),
            (at(9, 0), at(5, 0), None),
            (at(0, 9), at(5, 0), None),
        ];
        for (from, to, expected) in cases {
            assert_eq!(percent(from, to), expected);
        }
    }

    #[test]
    fn readings_closer_than_a_tick_allows_are_joined() {
        let clocks: Vec<Clock> =
            [0, 100_000, 200_000, 1_000_000, 2_000_000].map(|mono_us| Clock { mono_us, cpu_us: mono_us / 2 }).into();
        let series = over_time(clocks.iter(), |clock| Some(clock.mono_us), |from, to| percent(*from, *to));
        assert_eq!(series, [(500_000, 50.0), (1_500_000, 50.0)]);
    }
}
