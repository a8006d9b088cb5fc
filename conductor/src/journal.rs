//! The run folder as the conductor writes it: rows and events of one run and host, each with its phase and time.

use std::path::Path;
use std::time::Duration;

use holdline_host::clock::{mono_us, wall_us};
use holdline_host::network::Reading;
use holdline_host::process::Usage;
use holdline_record::{
    Event, EventRow, HostRow, Manifest, Phase, RecordError, Role, RunWriter, SampleRow, decode_histogram, new_histogram,
};

/// A process to be sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) role: Role,
    /// The swarm group, or empty.
    pub(crate) group: String,
    /// None for a supervisor, or a role of one process.
    pub(crate) worker: Option<u32>,
    pub(crate) pid: u32,
    /// What it says it holds; none for a process that holds none by design, or did not say.
    pub(crate) connections: Option<u64>,
}

/// Writes the record of a run.
pub(crate) struct Journal {
    writer: RunWriter,
    run: String,
    host: String,
    phase: Phase,
    step: Option<u32>,
    samples: u64,
}

impl Journal {
    /// Begins the record of a run in `folder`, which must hold none yet.
    pub(crate) fn create(folder: &Path, manifest: &Manifest) -> Result<Self, RecordError> {
        Ok(Self {
            writer: RunWriter::create(folder, manifest, mono_us())?,
            run: manifest.run.clone(),
            host: manifest.host.clone(),
            phase: Phase::Start,
            step: None,
            samples: 0,
        })
    }

    /// Writes an event of this moment.
    pub(crate) fn event(&mut self, event: Event) -> Result<(), RecordError> {
        let (run, host) = (self.run.clone(), self.host.clone());
        self.writer.event(&EventRow { run, host, mono_us: mono_us(), wall_us: wall_us(), event })
    }

    /// From here on rows belong to this phase.
    pub(crate) fn enter(&mut self, phase: Phase, step: Option<u32>) -> Result<(), RecordError> {
        (self.phase, self.step) = (phase, step);
        self.event(Event::PhaseStarted { phase, step })
    }

    /// The phase that rows belong to now.
    pub(crate) fn place(&self) -> (Phase, Option<u32>) {
        (self.phase, self.step)
    }

    /// Writes one sample: the processes that could be read, and the host.
    pub(crate) fn sample(&mut self, processes: Vec<(Process, Usage, u64)>, host: &Reading) -> Result<(), RecordError> {
        let wall_us = wall_us();
        let rows: Vec<SampleRow> = processes
            .into_iter()
            .map(|(process, usage, mono_us)| self.process_row(process, usage, mono_us, wall_us))
            .collect();
        let host = self.host_row(host, wall_us);
        self.samples += 1;
        self.writer.sample(&rows, &host)
    }

    fn process_row(&self, process: Process, usage: Usage, mono_us: u64, wall_us: u64) -> SampleRow {
        SampleRow {
            run: self.run.clone(),
            host: self.host.clone(),
            group: process.group,
            role: process.role,
            worker: process.worker,
            pid: process.pid,
            sample: self.samples,
            mono_us,
            wall_us,
            phase: self.phase,
            step: self.step,
            connections: process.connections,
            rss_bytes: usage.rss_bytes,
            pss_anon_bytes: usage.pss_anon_bytes,
            pss_shmem_bytes: usage.pss_shmem_bytes,
            pss_file_bytes: usage.pss_file_bytes,
            cpu_us: usage.cpu_us,
        }
    }

    fn host_row(&self, reading: &Reading, wall_us: u64) -> HostRow {
        HostRow {
            run: self.run.clone(),
            host: self.host.clone(),
            sample: self.samples,
            mono_us: mono_us(),
            wall_us,
            phase: self.phase,
            step: self.step,
            mem_available_bytes: reading.mem_available_bytes,
            slab_tcp_bytes: reading.slab(&["TCP"]),
            slab_sock_inode_bytes: reading.slab(&["sock_inode_cache"]),
            slab_filp_bytes: reading.slab(&["filp"]),
            slab_dentry_bytes: reading.slab(&["dentry"]),
            slab_eventpoll_bytes: reading.slab(&["eventpoll_"]),
            slab_tcp_bind_bytes: reading.slab(&["tcp_bind"]),
            tcp_inuse: reading.tcp_inuse,
            tcp_time_wait: reading.tcp_time_wait,
            tcp_mem_pages: reading.tcp_mem_pages,
            listen_overflows: reading.listen_overflows,
            listen_drops: reading.listen_drops,
            retransmitted_segments: reading.retransmitted_segments,
            softirq_us: reading.softirq_us,
            steal_us: reading.steal_us,
            busy_us: reading.busy_us,
        }
    }

    /// Writes the connect-and-register latencies of a group's step.
    pub(crate) fn connect_latencies(
        &mut self,
        group: &str,
        first_us: u64,
        last_us: u64,
        histogram: &[u8],
    ) -> Result<(), RecordError> {
        let span = Duration::from_micros(last_us.saturating_sub(first_us));
        match decode_histogram(histogram) {
            Ok(histogram) => self.writer.connect_interval(group, first_us, span, &histogram),
            Err(error) => {
                // Every step of a group has its interval, though this one is empty.
                self.writer.connect_interval(group, first_us, span, &new_histogram())?;
                self.unreadable(group, &error)
            }
        }
    }

    /// Writes an interval of round trips of tap phase `step` at `rate`.
    pub(crate) fn round_trips(
        &mut self,
        step: u32,
        rate: f64,
        interval: &holdline_alerter::Interval,
    ) -> Result<(), RecordError> {
        let tag = format!("taps-{step}-{rate}");
        match decode_histogram(&interval.histogram) {
            Ok(histogram) => self.writer.tap_interval(
                &tag,
                interval.start_us,
                Duration::from_micros(interval.duration_us),
                &histogram,
            ),
            Err(error) => self.unreadable(&tag, &error),
        }
    }

    /// Latencies that can't be read are missing in the record, which analysis notices; here is why.
    fn unreadable(&mut self, whose: &str, error: &std::io::Error) -> Result<(), RecordError> {
        self.event(Event::Warning { message: format!("The latencies of {whose} could not be read: {error}.") })
    }
}
