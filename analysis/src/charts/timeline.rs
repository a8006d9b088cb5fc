//! Time over a run: seconds from its first row, and its phases.

use holdline_record::{Event, Phase, RunFolder};

use super::axis::Axis;
use super::chart::{Band, Chart, Panel};
use crate::report::units;

/// The time of a run.
pub(super) struct Timeline<'a> {
    run: &'a RunFolder,
    origin_us: u64,
    end: f64,
}

impl<'a> Timeline<'a> {
    /// From the first row or event of a run to its last.
    pub(super) fn of(run: &'a RunFolder) -> Self {
        let times = || {
            let events = run.events.iter().map(|row| row.mono_us);
            events.chain(run.host.iter().map(|row| row.mono_us)).chain(run.samples.iter().map(|row| row.mono_us))
        };
        let origin_us = times().min().unwrap_or(0);
        let end = times().max().map_or(0.0, |last| (last - origin_us) as f64 / 1e6);
        Self { run, origin_us, end }
    }

    /// Seconds from the start.
    pub(super) fn seconds(&self, mono_us: u64) -> f64 {
        mono_us.saturating_sub(self.origin_us) as f64 / 1e6
    }

    /// A chart over this time, with its phases.
    pub(super) fn chart(
        &self,
        name: &'static str,
        title: &'static str,
        covers: &str,
        panels: Vec<Panel>,
        nothing: &'static str,
    ) -> Chart {
        Chart {
            name,
            title,
            subtitle: format!("{} – {covers}", self.run.manifest.run),
            x: Axis::up_to("time from the start, s", self.end, 10),
            bands: self.bands(),
            panels,
            vertical_grid: false,
            nothing,
        }
    }

    /// The phases as they began. Climbing and reading levels alternate many times; together they are one stretch.
    fn bands(&self) -> Vec<Band> {
        let mut bands: Vec<Band> = Vec::new();
        for row in &self.run.events {
            let Event::PhaseStarted { phase, step } = &row.event else { continue };
            let names = self.names(*phase, *step);
            let at = self.seconds(row.mono_us);
            if let Some(last) = bands.last_mut() {
                if last.names == names {
                    continue;
                }
                last.to = at;
            }
            bands.push(Band { from: at, to: self.end, names });
        }
        bands
    }

    fn names(&self, phase: Phase, step: Option<u32>) -> Vec<String> {
        match phase {
            Phase::Start => vec!["start".to_owned()],
            Phase::Climb | Phase::Level => vec!["connecting".to_owned()],
            Phase::Stop => vec!["stop".to_owned()],
            Phase::Hold => {
                let step = step.and_then(|step| usize::try_from(step).ok());
                let taps = step.and_then(|step| self.run.manifest.plan.taps.get(step));
                taps.map(|taps| units::rate(taps.rate)).map_or_else(
                    || vec!["hold".to_owned()],
                    |rate| vec![format!("hold, {rate} taps/s"), format!("{rate} taps/s"), format!("{rate}/s")],
                )
            }
        }
    }
}
