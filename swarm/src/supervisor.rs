//! The swarm's supervisor: checks the plan, splits it over worker processes, adds up what they say.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use holdline_fleet::{Channel, Member, Program, SpawnError, poll_any_ready};
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

/// A worker and what it was asked.
struct Place {
    worker: Member<ToWorker, FromWorker>,
    clients: u64,
    down: bool,
    growing: bool,
    /// What it last counted: kept when it dies, less what it held.
    counts: SwarmCounts,
    /// The question it has answered.
    answered: u64,
}

struct Supervisor {
    connections: u64,
    places: Vec<Place>,
    parent: Channel<Report, Order>,
    /// Gathers what the workers say of the step in progress.
    step: Step,
    histogram: Histogram<u64>,
    growing: bool,
    /// Questions of the parent, by the number the workers are asked with.
    asked: Option<(u64, u64)>,
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
        Ok((plan, places)) => {
            let workers = places.iter().map(|place| place.worker.pid()).collect();
            parent.push(&Report::Ready { pid: std::process::id(), workers, plan: plan.describe() });
            let mut supervisor = Supervisor::new(config.connections, places, parent);
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

fn prepare(config: &Config, program: &Program) -> Result<(PortPlan, Vec<Place>), SwarmError> {
    let limit = limits::raise_open_files()?;
    let (plan, processes) = config.validate(limit.soft)?;
    Config::probe_sources(&plan)?;
    let windows = limits::split_evenly(u64::from(config.window), processes);
    let mut first = 0;
    let mut places = Vec::new();
    for (worker, clients) in limits::split_evenly(config.connections, processes).into_iter().enumerate() {
        let part = WorkerPlan {
            ports: plan.clone(),
            start_id: config.start_id,
            first,
            clients,
            rate: config.rate.map(|rate| rate / f64::from(processes)),
            window: u32::try_from(windows[worker]).unwrap_or(u32::MAX).max(1),
            nop_interval: config.nop_interval,
            connect_timeout: config.connect_timeout,
            register_timeout: config.register_timeout,
        };
        places.push(Place {
            worker: Member::spawn(program, WORKER_ROLE, &worker.to_string(), None, &ToWorker::Start(Box::new(part)))?,
            clients,
            down: false,
            growing: false,
            counts: SwarmCounts::default(),
            answered: 0,
        });
        first += clients;
    }
    Ok((plan, places))
}

impl Supervisor {
    fn new(connections: u64, places: Vec<Place>, parent: Channel<Report, Order>) -> Self {
        Self {
            connections,
            places,
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
            self.flush_workers();
            self.conclude();
            if self.parent.flush().is_err() {
                return;
            }
            if self.stopping {
                break;
            }
            tokio::select! {
                () = ready(&mut self.places) => {}
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
                self.asked = Some((self.next_question, seq));
                self.tell_all(&ToWorker::Ask(self.next_question));
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
        let (mut before, mut done) = (0_u64, 0_u64);
        for place in &mut self.places {
            before += place.clients;
            // What all workers up to this one have together, less what those before it have.
            let share = u128::from(to) * u128::from(before) / u128::from(self.connections.max(1));
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            if !place.down {
                place.growing = true;
                place.worker.channel.push(&ToWorker::Grow(share - done));
            }
            done = share;
        }
    }

    fn tell_all(&mut self, message: &ToWorker) {
        for place in self.places.iter_mut().filter(|place| !place.down) {
            place.worker.channel.push(message);
        }
    }

    fn flush_workers(&mut self) {
        for worker in 0..self.places.len() {
            let place = &mut self.places[worker];
            if !place.down && place.worker.channel.flush().is_err() {
                self.worker_lost(worker);
            }
        }
    }

    fn hear_workers(&mut self) {
        let mut messages = Vec::new();
        for worker in 0..self.places.len() {
            let place = &mut self.places[worker];
            if place.down {
                continue;
            }
            let gone = place.worker.channel.receive(&mut messages).is_err();
            for message in messages.drain(..) {
                self.hear(worker, message);
            }
            if gone {
                self.worker_lost(worker);
            }
        }
    }

    fn hear(&mut self, worker: usize, message: FromWorker) {
        let place = &mut self.places[worker];
        match message {
            FromWorker::Grown(step) => {
                place.growing = false;
                self.add(&step);
            }
            FromWorker::Counts { seq, counts } => {
                place.counts = *counts;
                place.answered = seq;
            }
            FromWorker::Stopped(counts) => place.counts = *counts,
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
        if self.growing && !self.places.iter().any(|place| place.growing) {
            self.growing = false;
            let mut step = std::mem::take(&mut self.step);
            step.histogram = encode_histogram(&self.histogram);
            self.parent.push(&Report::Grown(step));
        }
        let Some((question, seq)) = self.asked else { return };
        if self.places.iter().all(|place| place.down || place.answered >= question) {
            self.asked = None;
            let workers = self
                .places
                .iter()
                .map(|place| WorkerReport { pid: place.worker.pid(), registered: place.counts.registered });
            self.parent.push(&Report::Counts { seq, total: self.total(), workers: workers.collect() });
        }
    }

    fn total(&self) -> SwarmCounts {
        self.places.iter().fold(SwarmCounts::default(), |mut total, place| {
            total.add(&place.counts);
            total
        })
    }

    /// A worker ended, and its connections with it.
    fn worker_lost(&mut self, worker: usize) {
        let place = &mut self.places[worker];
        place.down = true;
        place.growing = false;
        let held = std::mem::take(&mut place.counts.registered);
        if held > 0 {
            *place.counts.lost.entry("worker_lost".to_owned()).or_default() += held;
        }
        let how = place.worker.kill().to_string();
        tracing::warn!("swarm worker {worker} ended: {how}");
        self.parent.push(&Report::WorkerLost { worker: u32::try_from(worker).unwrap_or(u32::MAX), how });
    }

    /// Has all workers close their connections and end, and says what they counted in the end.
    async fn stop(mut self) {
        self.tell_all(&ToWorker::Stop);
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        let mut messages = Vec::new();
        for place in self.places.iter_mut().filter(|place| !place.down) {
            // A worker closes its end after its last word.
            while place.worker.channel.flush().is_ok() {
                let ready = tokio::time::timeout_at(deadline, place.worker.channel.ready()).await;
                let gone = place.worker.channel.receive(&mut messages).is_err();
                for message in messages.drain(..) {
                    if let FromWorker::Stopped(counts) = message {
                        place.counts = *counts;
                    }
                }
                if gone || ready.is_err() {
                    break;
                }
            }
            place.worker.retire(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
        }
        let total = self.total();
        self.parent.push(&Report::Stopped(total));
        // A parent that is gone needs no telling.
        let _ = self.parent.flush_all().await;
    }
}

/// Waits until a worker has said something, or takes what it is to be told.
async fn ready(places: &mut [Place]) {
    let any = poll_fn(|context| {
        let up = places.iter_mut().filter(|place| !place.down).map(|place| &mut place.worker);
        poll_any_ready(up, context)
    });
    // With many workers one look at all of them would use up the runtime's budget and look like nothing is there.
    tokio::task::unconstrained(any).await;
}
