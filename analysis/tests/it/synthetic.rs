//! A run that was never run: 33,000 connections, all promises kept. Tests change one thing and see what comes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use holdline_record::{
    AlertCounts, Build, Causes, Environment, Event, EventRow, Group, GroupStep, HlogInterval, HostRow, Manifest, Phase,
    Plan, Promise, Reference, Role, RunFolder, RunWriter, SCHEMA_VERSION, SampleRow, ServerCounts, SwarmCounts,
    TapCounts, TapPhase, new_histogram,
};

pub(crate) const CONNECTIONS: u64 = 33_000;
pub(crate) const SERVER_BYTES: u64 = 29;
pub(crate) const SWARM_BYTES: u64 = 9;
pub(crate) const PAIR_BYTES: u64 = 8_000;
pub(crate) const BASE_BYTES: u64 = 1_200_000;
const LEVELS: u64 = 11;
const ORIGIN_US: u64 = 1_000_000_000;
const WALL_US: u64 = 1_796_000_000_000_000;

/// A run in memory: what the folder will hold.
pub(crate) struct Synthetic {
    pub(crate) manifest: Manifest,
    pub(crate) samples: Vec<SampleRow>,
    pub(crate) host: Vec<HostRow>,
    pub(crate) connect: Vec<HlogInterval>,
    pub(crate) taps: Vec<HlogInterval>,
    pub(crate) events: Vec<EventRow>,
    /// The run's clock.
    now_us: u64,
    /// The next sample.
    sample: u64,
    /// Taps acknowledged so far.
    tapped: u64,
    /// Accumulated time of each server worker, swarm worker, and of soft interrupts.
    cpu_us: [u64; 3],
}

impl Synthetic {
    /// A sound run that keeps its promise.
    pub(crate) fn good() -> Self {
        Self::planned(|_| {})
    }

    /// As [`good`](Self::good), of another plan.
    pub(crate) fn planned(change: impl FnOnce(&mut Plan)) -> Self {
        let mut manifest = manifest();
        change(&mut manifest.plan);
        let mut run = Self {
            manifest,
            samples: Vec::new(),
            host: Vec::new(),
            connect: Vec::new(),
            taps: Vec::new(),
            events: Vec::new(),
            now_us: ORIGIN_US,
            sample: 0,
            tapped: 0,
            cpu_us: [0; 3],
        };
        run.event(Event::Started { server_workers: 2, swarm_workers: 2 });
        run.event(Event::PhaseStarted { phase: Phase::Start, step: None });
        run.samples(3, Phase::Start, None, 0, [0, 0, 0]);
        for (level, target) in (0_u32..).zip(run.manifest.plan.levels.clone()) {
            run.climb(level, target);
        }
        run.hold();
        run.event(Event::PhaseStarted { phase: Phase::Stop, step: None });
        run.closed_books();
        run.samples(2, Phase::Stop, None, 0, [1_000, 1_000, 0]);
        run.event(Event::Finished);
        run
    }

    fn climb(&mut self, level: u32, target: u64) {
        let step = CONNECTIONS / LEVELS;
        self.event(Event::PhaseStarted { phase: Phase::Climb, step: Some(level) });
        let from = self.now_us;
        self.samples(1, Phase::Climb, Some(level), target, [400_000, 600_000, 150_000]);
        let group = |name: &str| GroupStep {
            group: name.to_owned(),
            registered: step / 2,
            failed: 0,
            first_syn_us: Some(from),
            last_outcome_us: Some(from + 100_000),
        };
        self.event(Event::StepReached { step: level, target, groups: vec![group("a"), group("b")] });
        for name in ["a", "b"] {
            let values = (0..step / 2).map(|i| 300 + i % 1_100);
            self.connect.push(interval(name, from, histogram(values)));
        }
        self.event(Event::PhaseStarted { phase: Phase::Level, step: Some(level) });
        self.samples(3, Phase::Level, Some(level), target, [2_000, 2_000, 1_000]);
        self.books(Phase::Level, Some(level));
    }

    fn hold(&mut self) {
        let held_from_us = self.now_us;
        for (step, taps) in (0_u32..).zip(self.manifest.plan.taps.clone()) {
            self.event(Event::PhaseStarted { phase: Phase::Hold, step: Some(step) });
            let busy = [5_000, 20_000].map(|us| us * (u64::from(step) * 10 + 1));
            for second in 0..taps.duration_us / 1_000_000 {
                self.samples(1, Phase::Hold, Some(step), CONNECTIONS, [busy[0], busy[1], busy[0] / 2]);
                let rate = whole(taps.rate);
                let values = (0..rate).map(|i| {
                    150 + u64::from(step) * 80 + (i * 7919 + second * 104_729) % 997 * ((i % 50 / 49) * 9 + 1)
                });
                self.taps.push(interval(&format!("taps-{step}-{}", taps.rate), self.now_us, histogram(values)));
                self.tapped += rate;
            }
            let sent = whole(taps.rate) * taps.duration_us / 1_000_000;
            let counts = TapCounts { scheduled: sent, sent, acknowledged: sent, ..TapCounts::default() };
            self.event(Event::TapsEnded { step, rate: taps.rate, counts, lag_max_us: 900, lag_p99_us: 120 });
            self.books(Phase::Hold, Some(step));
        }
        self.event(Event::HoldEnded { held_from_us });
    }

    /// The books after the swarm has closed everything.
    fn closed_books(&mut self) {
        self.books(Phase::Stop, None);
        if let Some(EventRow { event: Event::Books { server: Some(server), swarm: Some(swarm), .. }, .. }) =
            self.events.last_mut()
        {
            server.ended = causes(&[("goodbye_of_client", server.registered)]);
            swarm.lost = causes(&[("closed_here", swarm.registered)]);
            (server.open, server.registered, swarm.registered) = (0, 0, 0);
        }
    }

    /// Appends an event at the run's clock.
    pub(crate) fn event(&mut self, event: Event) {
        let row = EventRow {
            run: self.manifest.run.clone(),
            host: self.manifest.host.clone(),
            mono_us: self.now_us,
            wall_us: self.now_us - ORIGIN_US + WALL_US,
            event,
        };
        self.events.push(row);
    }

    fn books(&mut self, phase: Phase, step: Option<u32>) {
        let held = self.samples.last().and_then(|row| row.connections).map_or(0, |_| self.held());
        let tapped = self.tapped;
        let server = ServerCounts {
            open: held,
            registered: held,
            accepted_total: held,
            registered_total: held,
            taps_sent_total: tapped,
            tap_acks_total: tapped,
            alerts: AlertCounts { received: tapped, acknowledged: tapped, ..AlertCounts::default() },
            ..ServerCounts::default()
        };
        let swarm = SwarmCounts {
            asked: held,
            attempts_total: held,
            registered: held,
            outcomes: causes(&[("registered", held)]),
            taps_total: tapped,
            tap_acks_total: tapped,
            ..SwarmCounts::default()
        };
        self.event(Event::Books { phase, step, server: Some(server), swarm: Some(swarm) });
    }

    /// Server connections in the last sample.
    fn held(&self) -> u64 {
        let last = self.sample - 1;
        let rows = self.samples.iter().filter(|row| row.sample == last && row.role == Role::Server);
        rows.filter_map(|row| row.connections).sum()
    }

    /// Samples a second apart; `busy` is what a server worker, a swarm worker and soft interrupts take in each.
    fn samples(&mut self, count: u32, phase: Phase, step: Option<u32>, connections: u64, busy: [u64; 3]) {
        for _ in 0..count {
            self.now_us += 1_000_000;
            for (total, us) in self.cpu_us.iter_mut().zip(busy) {
                // Some unrest, or the chart of CPU would show straight lines only.
                *total += us + us / 10 * (self.sample * 7 % 5);
            }
            for worker in [None, Some(0), Some(1)] {
                self.process(Role::Server, worker, phase, step, connections);
                self.process(Role::Swarm, worker, phase, step, connections);
            }
            self.host_row(phase, step, connections);
            self.sample += 1;
        }
    }

    fn process(&mut self, role: Role, worker: Option<u32>, phase: Phase, step: Option<u32>, connections: u64) {
        let (each, cpu_us, pid) = match role {
            Role::Server => (SERVER_BYTES, self.cpu_us[0], 100),
            _ => (SWARM_BYTES, self.cpu_us[1], 200),
        };
        let own = worker.map(|_| connections / 2);
        let wobble = self.sample * 7 % 3 * 4_096;
        self.samples.push(SampleRow {
            run: self.manifest.run.clone(),
            host: self.manifest.host.clone(),
            group: String::new(),
            role,
            worker,
            pid: pid + worker.map_or(0, |worker| worker + 1),
            sample: self.sample,
            mono_us: self.now_us + u64::from(pid),
            wall_us: self.now_us - ORIGIN_US + WALL_US,
            phase,
            step,
            connections: own,
            rss_bytes: 5_000_000,
            pss_anon_bytes: BASE_BYTES / 3 + own.unwrap_or(0) * each + wobble,
            pss_shmem_bytes: 0,
            pss_file_bytes: 700_000,
            cpu_us: if worker.is_some() { cpu_us } else { self.sample * 100 },
        });
    }

    fn host_row(&mut self, phase: Phase, step: Option<u32>, connections: u64) {
        self.host.push(HostRow {
            run: self.manifest.run.clone(),
            host: self.manifest.host.clone(),
            sample: self.sample,
            mono_us: self.now_us,
            wall_us: self.now_us - ORIGIN_US + WALL_US,
            phase,
            step,
            mem_available_bytes: Some(20_000_000_000),
            slab_tcp_bytes: Some(2_000_000 + connections * PAIR_BYTES * 5 / 8),
            slab_sock_inode_bytes: Some(1_000_000 + connections * PAIR_BYTES * 3 / 8),
            slab_filp_bytes: Some(3_000_000),
            slab_dentry_bytes: Some(30_000_000 + self.sample * 31 % 7 * 40_960),
            slab_eventpoll_bytes: Some(100_000),
            slab_tcp_bind_bytes: None,
            tcp_inuse: Some(connections * 2),
            tcp_time_wait: Some(0),
            tcp_mem_pages: Some(0),
            listen_overflows: Some(7),
            listen_drops: Some(9),
            retransmitted_segments: Some(40),
            softirq_us: Some(50_000 + self.cpu_us[2]),
            steal_us: Some(0),
            busy_us: Some(9_000_000),
        });
    }

    /// Changes the events that `change` accepts.
    pub(crate) fn change_events(&mut self, change: impl Fn(&mut Event)) {
        for row in &mut self.events {
            change(&mut row.event);
        }
    }

    /// Changes the books that were read in `wanted`, or in any phase.
    pub(crate) fn change_books(&mut self, wanted: Option<Phase>, change: impl Fn(&mut ServerCounts, &mut SwarmCounts)) {
        self.change_events(|event| {
            if let Event::Books { phase, server: Some(server), swarm: Some(swarm), .. } = event
                && wanted.is_none_or(|wanted| wanted == *phase)
            {
                change(server, swarm);
            }
        });
    }

    /// Makes it another run, in every row.
    pub(crate) fn rename(&mut self, name: &str) {
        self.manifest.run = name.to_owned();
        self.samples.iter_mut().for_each(|row| row.run = name.to_owned());
        self.host.iter_mut().for_each(|row| row.run = name.to_owned());
        self.events.iter_mut().for_each(|row| row.run = name.to_owned());
    }

    /// Changes the counts of a tap phase.
    pub(crate) fn change_taps(&mut self, wanted: u32, change: impl Fn(&mut TapCounts, &mut u64)) {
        self.change_events(|event| {
            if let Event::TapsEnded { step, counts, lag_p99_us, .. } = event
                && *step == wanted
            {
                change(counts, lag_p99_us);
            }
        });
    }

    /// Leaves out the events that `drop` accepts.
    pub(crate) fn drop_events(&mut self, drop: impl Fn(&Event) -> bool) {
        self.events.retain(|row| !drop(&row.event));
    }

    /// As if read back, without touching a disk.
    pub(crate) fn folder(self) -> RunFolder {
        RunFolder {
            path: PathBuf::new(),
            manifest: self.manifest,
            samples: self.samples,
            host: self.host,
            connect: self.connect,
            taps: self.taps,
            events: self.events,
            floor: None,
            problems: Vec::new(),
        }
    }

    /// Writes the folder as a run does.
    pub(crate) fn write(&self, folder: &Path) {
        let mut writer = RunWriter::create(folder, &self.manifest, ORIGIN_US).unwrap();
        for host in &self.host {
            let rows: Vec<_> = self.samples.iter().filter(|row| row.sample == host.sample).cloned().collect();
            writer.sample(&rows, host).unwrap();
        }
        for row in &self.events {
            writer.event(row).unwrap();
        }
        for one in &self.connect {
            writer.connect_interval(&one.tag, ORIGIN_US + micros(one.start), one.duration, &one.histogram).unwrap();
        }
        for one in &self.taps {
            writer.tap_interval(&one.tag, ORIGIN_US + micros(one.start), one.duration, &one.histogram).unwrap();
        }
    }
}

/// Causes by label.
pub(crate) fn causes(counts: &[(&str, u64)]) -> Causes {
    counts.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

fn whole(rate: f64) -> u64 {
    format!("{rate:.0}").parse().unwrap()
}

fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = new_histogram();
    values.for_each(|value| histogram.saturating_record(value));
    histogram
}

fn interval(tag: &str, start_us: u64, histogram: Histogram<u64>) -> HlogInterval {
    let start = Duration::from_micros(start_us - ORIGIN_US);
    HlogInterval { tag: tag.to_owned(), start, duration: Duration::from_secs(1), histogram }
}

fn manifest() -> Manifest {
    let group = |name: &str, start_id| Group { name: name.to_owned(), start_id, connections: CONNECTIONS / 2 };
    Manifest {
        schema_version: SCHEMA_VERSION,
        run: "33k-20261124T080000Z".to_owned(),
        host: "bench".to_owned(),
        started_wall_us: WALL_US,
        command: "holdline run experiments/33k.toml --seed 7".to_owned(),
        seed: 7,
        plan: Plan {
            name: "33k".to_owned(),
            promise: Promise {
                connections: CONNECTIONS,
                hold_us: 40_000_000,
                taps_delivered: 1.0,
                within_us: 1_000_000,
            },
            groups: vec![group("a", 1), group("b", 16_501)],
            reconnect: false,
            levels: (1..=LEVELS).map(|level| level * CONNECTIONS / LEVELS).collect(),
            readings: 3,
            taps: [(10.0, 30), (100.0, 10), (1_000.0, 20)]
                .map(|(rate, seconds)| TapPhase { rate, duration_us: seconds * 1_000_000 })
                .into(),
            max_lag_p99_us: 10_000,
            limits: Vec::new(),
            references: vec![
                Reference {
                    figure: "server.user_bytes_per_connection".to_owned(),
                    value: "1,560 B".to_owned(),
                    covers: "C1 | 2010, resident memory only".to_owned(),
                },
                Reference {
                    figure: "taps.by_rate.2.round_trip_us.p99".to_owned(),
                    value: "12 ms".to_owned(),
                    covers: "at 1,000/s".to_owned(),
                },
            ],
        },
        experiment: serde_json::json!({ "name": "33k" }),
        build: Build { version: "0.1.0".to_owned(), commit: Some("abc123".to_owned()), profile: "release".to_owned() },
        environment: Environment {
            kernel: Some("6.18.0".to_owned()),
            cpu_model: Some("A processor".to_owned()),
            cpu_cores: 2,
            mem_total_bytes: Some(25_000_000_000),
            open_files_per_process: 20_000,
            sysctls: [("net.core.somaxconn".to_owned(), "4096".to_owned())].into(),
        },
    }
}
