//! The swarm's supervisor: checks the plan, splits it over worker processes, adds up what they say.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use holdline_fleet::{Channel, Heard, Member, Program, SpawnError, Team};
use holdline_host::limits;
use holdline_host::ports::PortPlan;
use holdline_record::{SwarmCounts, decode_histogram, encode_histogram, new_histogram};

use crate::messages::{FromWorker, Order, Report, Step, ToWorker, WorkerPlan, WorkerReport};
use crate::{Config, ConfigError, WORKER_ROLE};

/// How long workers get to close their connections before they are killed.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The swarm can't start.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A worker can't be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Something every process needs was refused.
    #[error("can't start a swarm: {0}")]
    Io(#[from] io::Error),
}

/// What is known of a worker.
struct Known {
    /// The clients it is there for.
    clients: u64,
    growing: bool,
    /// What it last counted: kept when it dies, less what it held.
    counts: SwarmCounts,
    /// The question it has answered.
    answered: u64,
    /// It has said its last word.
    stopped: bool,
}

/// A question of the parent, put to one worker after the other: fifty that wake at once would keep taps waiting for a core.
struct Asked {
    /// The number that the workers are asked with.
    question: u64,
    /// The parent's own.
    seq: u64,
    /// The worker whose turn it is.
    at: usize,
    /// Whether it was asked.
    told: bool,
}

struct Supervisor {
    connections: u64,
    workers: Team<ToWorker, FromWorker>,
    known: Vec<Known>,
    parent: Channel<Report, Order>,
    /// Gathers what the workers say of the step in progress.
    step: Step,
    histogram: Histogram<u64>,
    growing: bool,
    /// The question of the parent that is being answered.
    asked: Option<Asked>,
    next_question: u64,
    stopping: bool,
}

/// The door of the swarm: does as `parent` says until it says `Stop`, or is gone.
///
/// The first order must be `Start`; the answer is `Ready` or `Failed`.
///
/// # Errors
/// What is also said as `Failed`.
pub async fn run(program: Program, mut parent: Channel<Report, Order>) -> Result<(), SwarmError> {
    let mut orders = Vec::new();
    if parent.next(&mut orders).await.is_err() {
        return Ok(());
    }
    let mut orders = orders.into_iter();
    let Some(Order::Start(config)) = orders.next() else { return Ok(()) };
    match prepare(&config, &program) {
        Ok(Prepared { plan, workers, clients }) => {
            let pid = std::process::id();
            parent.push(&Report::Ready { pid, workers: workers.pids(), plan: plan.describe() });
            let mut supervisor = Supervisor::new(config.connections, workers, clients, parent);
            orders.for_each(|order| supervisor.obey(&order));
            supervisor.serve().await;
            Ok(())
        }
        Err(error) => {
            parent.push(&Report::Failed(error.to_string()));
            // The error is returned as well; a parent that is gone needs no telling.
            let _ = parent.flush_all().await;
            Err(error)
        }
    }
}

/// Everything that can be refused, before the first connection.
struct Prepared {
    plan: PortPlan,
    workers: Team<ToWorker, FromWorker>,
    /// By worker.
    clients: Vec<u64>,
}

fn prepare(config: &Config, program: &Program) -> Result<Prepared, SwarmError> {
    let limit = limits::raise_open_files()?;
    let (plan, processes) = config.validate(limit.soft)?;
    Config::probe_sources(&plan)?;
    let windows = limits::split_evenly(u64::from(config.window), processes);
    let split = limits::split_evenly(config.connections, processes);
    let mut first = 0;
    let mut members = Vec::new();
    for (worker, clients) in split.iter().copied().enumerate() {
        let part = WorkerPlan {
            ports: plan.clone(),
            start_id: config.start_id,
            first,
            clients,
            rate: config.rate.map(|rate| rate / f64::from(processes)),
            window: u32::try_from(windows[worker]).unwrap_or(u32::MAX).max(1),
            nop_interval: config.nop_interval,
            reconnect: config.reconnect,
            connect_timeout: config.connect_timeout,
            register_timeout: config.register_timeout,
        };
        let first_message = ToWorker::Start(Box::new(part));
        members.push(Member::spawn(program, WORKER_ROLE, &worker.to_string(), None, &first_message)?);
        first += clients;
    }
    Ok(Prepared { plan, workers: members.into_iter().collect(), clients: split })
}

impl Supervisor {
    fn new(
        connections: u64,
        workers: Team<ToWorker, FromWorker>,
        clients: Vec<u64>,
        parent: Channel<Report, Order>,
    ) -> Self {
        let known =
            |clients| Known { clients, growing: false, counts: SwarmCounts::default(), answered: 0, stopped: false };
        Self {
            connections,
            workers,
            known: clients.into_iter().map(known).collect(),
            parent,
            step: Step::default(),
            histogram: new_histogram(),
            growing: false,
            asked: None,
            next_question: 0,
            stopping: false,
        }
    }

    /// The one loop: workers and the parent.
    async fn serve(mut self) {
        let mut orders = Vec::new();
        loop {
            self.workers.flush();
            self.conclude();
            if self.parent.flush().is_err() {
                return;
            }
            if self.stopping {
                break;
            }
            tokio::select! {
                () = self.workers.ready() => {}
                () = self.parent.ready() => {}
            }
            self.hear_workers();
            if self.parent.receive(&mut orders).is_err() {
                return;
            }
            for order in orders.drain(..) {
                self.obey(&order);
            }
        }
        self.stop().await;
    }

    fn obey(&mut self, order: &Order) {
        match *order {
            Order::Start(_) => {}
            Order::Grow { to } => self.grow(to.min(self.connections)),
            Order::Ask { seq } => {
                self.next_question += 1;
                self.asked = Some(Asked { question: self.next_question, seq, at: 0, told: false });
            }
            Order::Stop => {
                self.stopping = true;
            }
        }
    }

    /// Splits `to` over the workers in proportion to what each is there for, so that all grow together; with the last
    /// step each has its whole range, and no id is left out.
    fn grow(&mut self, to: u64) {
        self.growing = true;
        self.step = Step::default();
        self.histogram.reset();
        let sizes: Vec<u64> = self.known.iter().map(|known| known.clients).collect();
        for (worker, share) in limits::split_in_proportion(to, &sizes).into_iter().enumerate() {
            if self.workers.is_up(worker) {
                self.known[worker].growing = true;
                self.workers.tell(worker, &ToWorker::Grow(share));
            }
        }
    }

    fn hear_workers(&mut self) {
        for (worker, heard) in self.workers.hear() {
            match heard {
                Heard::Said(message) => self.hear(worker, message),
                Heard::Ended if self.known[worker].stopped => {}
                Heard::Ended => self.worker_lost(worker),
            }
        }
    }

    fn hear(&mut self, worker: usize, message: FromWorker) {
        let known = &mut self.known[worker];
        match message {
            FromWorker::Grown(step) => {
                known.growing = false;
                self.add(&step);
            }
            FromWorker::Counts { seq, counts } => {
                known.counts = *counts;
                known.answered = seq;
            }
            FromWorker::Stopped(counts) => {
                known.counts = *counts;
                known.stopped = true;
            }
        }
    }

    fn add(&mut self, step: &Step) {
        let earliest = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.step.registered += step.registered;
        self.step.failed += step.failed;
        self.step.first_syn_us = earliest(self.step.first_syn_us, step.first_syn_us);
        self.step.last_outcome_us = self.step.last_outcome_us.max(step.last_outcome_us);
        match decode_histogram(&step.histogram) {
            Ok(histogram) => {
                if self.histogram.add(&histogram).is_err() {
                    tracing::warn!("a worker's histogram has other bounds; its latencies are left out");
                }
            }
            Err(error) => tracing::warn!("a worker's latencies are left out: {error}"),
        }
    }

    /// Tells the parent what is complete by now.
    fn conclude(&mut self) {
        if self.growing && !self.known.iter().any(|known| known.growing) {
            self.growing = false;
            let mut step = std::mem::take(&mut self.step);
            step.histogram = encode_histogram(&self.histogram);
            self.parent.push(&Report::Grown(step));
        }
        let Some(asked) = &mut self.asked else { return };
        while asked.at < self.known.len() {
            let done = !self.workers.is_up(asked.at) || self.known[asked.at].answered >= asked.question;
            if !done {
                if !std::mem::replace(&mut asked.told, true) {
                    self.workers.tell(asked.at, &ToWorker::Ask(asked.question));
                }
                return;
            }
            (asked.at, asked.told) = (asked.at + 1, false);
        }
        if let Some(Asked { seq, .. }) = self.asked.take() {
            let workers = self.workers.pids().into_iter().zip(&self.known);
            let workers = workers.map(|(pid, known)| WorkerReport { pid, registered: known.counts.registered });
            self.parent.push(&Report::Counts { seq, total: self.total(), workers: workers.collect() });
        }
    }

    fn total(&self) -> SwarmCounts {
        self.known.iter().fold(SwarmCounts::default(), |mut total, known| {
            total.add(&known.counts);
            total
        })
    }

    /// A worker ended, and its connections with it.
    fn worker_lost(&mut self, worker: usize) {
        let how = self.workers.reap(worker).to_string();
        let known = &mut self.known[worker];
        known.growing = false;
        let held = std::mem::take(&mut known.counts.registered);
        if held > 0 {
            *known.counts.lost.entry("worker_lost".to_owned()).or_default() += held;
        }
        tracing::warn!("swarm worker {worker} ended: {how}");
        self.parent.push(&Report::WorkerLost { worker: u32::try_from(worker).unwrap_or(u32::MAX), how });
    }

    /// Has all workers close their connections and end, and says what they counted in the end.
    async fn stop(mut self) {
        self.workers.tell_all(&ToWorker::Stop);
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        // A worker closes its end after its last word.
        while !self.workers.is_down() {
            self.workers.flush();
            if tokio::time::timeout_at(deadline, self.workers.ready()).await.is_err() {
                break;
            }
            self.hear_workers();
        }
        self.workers.retire(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
        let total = self.total();
        self.parent.push(&Report::Stopped(total));
        // A parent that is gone needs no telling.
        let _ = self.parent.flush_all().await;
    }
}
