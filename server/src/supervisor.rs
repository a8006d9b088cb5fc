//! The supervisor: owns the listeners, the directory and the workers; routes alerts.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use holdline_fleet::{Channel, Heard, Member, Program, SpawnError, Team};
use holdline_host::clock::mono_us;
use holdline_host::{limits, socket};
use holdline_protocol::Outcome;
use holdline_record::ServerCounts;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::alerts::Senders;
use crate::messages::{FromWorker, ToWorker};
use crate::metrics::{self, Question};
use crate::router::{Post, Router};
use crate::turns::{STALL, Turn, Turns};
use crate::{Config, ConfigError, Order, Report, WORKER_ROLE, WorkerReport};

/// How often a worker that stalls with credit is looked for.
const TICK: Duration = STALL;
/// Bytes queued to a worker that does not read, before alerts for its clients are overloaded.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// A worker that ends is started again after this long: one that ends at once must not be started in a loop.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the bound on taps a worker must have told what became of one.
const ROUTER_PATIENCE: Duration = Duration::from_secs(1);
/// How long after the bound on draining a worker must have ended before it is killed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Length of the accept queue of the alert interface.
const ALERT_BACKLOG: i32 = 128;

/// The server can't serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address can't be listened on.
    #[error("can't listen on {address} ({setting}): {error}{}", .error.raw_os_error().and_then(|_| socket::remedy(.error)).map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        error: io::Error,
    },
    /// A worker can't be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Something every process needs was refused.
    #[error("can't serve: {0}")]
    Io(#[from] io::Error),
}

type Worker = Member<ToWorker, FromWorker>;

/// What is known of a worker.
#[derive(Default)]
struct Known {
    /// When it ended, or could last not be started again.
    ended: Option<Instant>,
    /// The parent was not told yet how it ended.
    untold: bool,
    /// What it counted when last asked.
    counts: ServerCounts,
}

/// Who asked for counts.
enum Asker {
    Parent(u64),
    Metrics(Question),
}

/// A question whose answers are being gathered.
struct Asked {
    asker: Asker,
    answers: Vec<Option<ServerCounts>>,
    /// The worker that is being asked.
    at: usize,
}

struct Supervisor {
    config: Config,
    program: Program,
    listener: OwnedFd,
    workers: Team<ToWorker, FromWorker>,
    known: Vec<Known>,
    turns: Turns,
    router: Router,
    senders: Senders,
    next_question: u64,
    asked: HashMap<u64, Asked>,
    /// What workers that died had counted when last asked; so that totals do not go back.
    lost_counts: ServerCounts,
    parent: Channel<Report, Order>,
    draining: bool,
    /// When workers that have not drained are killed.
    drain_by: Option<Instant>,
}

/// The door of the server: serves until `parent` says `Drain`, or is gone.
///
/// The first order must be `Start`; the answer is `Ready` or `Failed`.
///
/// # Errors
/// What is also said as `Failed`.
pub async fn run(program: Program, mut parent: Channel<Report, Order>) -> Result<(), ServerError> {
    let mut orders = Vec::new();
    if parent.next(&mut orders).await.is_err() {
        return Ok(());
    }
    let config = orders.into_iter().find_map(|order| match order {
        Order::Start(config) => Some(config),
        Order::Ask { .. } | Order::Drain => None,
    });
    let Some(config) = config else { return Ok(()) };
    match prepare(*config, program) {
        Ok(prepared) => prepared.serve(parent).await,
        Err(error) => {
            parent.push(&Report::Failed(error.to_string()));
            // The error is returned as well; a parent that is gone needs no telling.
            let _ = parent.flush_all().await;
            Err(error)
        }
    }
}

/// Everything that can be refused, before anything is served.
struct Prepared {
    config: Config,
    program: Program,
    listener: OwnedFd,
    alerts: TcpListener,
    metrics: Option<TcpListener>,
    workers: Team<ToWorker, FromWorker>,
}

fn prepare(config: Config, program: Program) -> Result<Prepared, ServerError> {
    let limit = limits::raise_open_files()?;
    let workers = config.validate(limit.soft)?;
    let listener = open(config.listen, config.backlog, "--listen")?;
    let alerts = to_tokio(open(config.alerts, ALERT_BACKLOG, "--alerts")?)?;
    let metrics = match config.metrics {
        Some(address) => Some(to_tokio(open(address, ALERT_BACKLOG, "--metrics")?)?),
        None => None,
    };
    let workers = (0..workers as usize)
        .map(|worker| start_worker(&program, &config, worker, &listener))
        .collect::<Result<_, SpawnError>>()?;
    Ok(Prepared { config, program, listener, alerts, metrics, workers })
}

fn open(address: SocketAddr, backlog: i32, setting: &'static str) -> Result<OwnedFd, ServerError> {
    socket::listen(address, backlog).map_err(|error| ServerError::Listen { setting, address, error })
}

fn to_tokio(listener: OwnedFd) -> io::Result<TcpListener> {
    TcpListener::from_std(std::net::TcpListener::from(listener))
}

fn start_worker(program: &Program, config: &Config, worker: usize, listener: &OwnedFd) -> Result<Worker, SpawnError> {
    let first = ToWorker::Start(Box::new(config.clone()));
    Worker::spawn(program, WORKER_ROLE, &worker.to_string(), Some(listener.as_fd()), &first)
}

impl Prepared {
    async fn serve(self, mut parent: Channel<Report, Order>) -> Result<(), ServerError> {
        let quotas = limits::split_evenly(self.config.max_connections, u32::try_from(self.workers.len()).unwrap_or(1));
        parent.push(&Report::Ready {
            listen: socket::local_address(&self.listener)?,
            alerts: self.alerts.local_addr()?,
            metrics: self.metrics.as_ref().map(TcpListener::local_addr).transpose()?,
            pid: std::process::id(),
            workers: self.workers.pids(),
        });
        let (questions, asked) = mpsc::channel(1);
        if let Some(metrics) = self.metrics {
            tokio::spawn(metrics::serve(metrics, questions.clone()));
        }
        let supervisor = Supervisor {
            turns: Turns::new(self.config.max_connections, quotas),
            router: Router::new(
                self.workers.len(),
                self.config.max_alerts_in_flight,
                self.config.tap_timeout + ROUTER_PATIENCE,
            ),
            known: std::iter::repeat_with(Known::default).take(self.workers.len()).collect(),
            config: self.config,
            program: self.program,
            listener: self.listener,
            workers: self.workers,
            senders: Senders::default(),
            next_question: 0,
            asked: HashMap::new(),
            lost_counts: ServerCounts::default(),
            parent,
            draining: false,
            drain_by: None,
        };
        // Held until the end, so that the receiver does not see its last sender go when there are no metrics.
        let result = supervisor.serve(self.alerts, asked).await;
        drop(questions);
        result
    }
}

impl Supervisor {
    /// The one loop: workers, alerts, questions, the parent, time. Every branch only says that something is there;
    /// then all that is there is handled, and what came of it is sent once.
    async fn serve(
        mut self,
        listener: TcpListener,
        mut questions: mpsc::Receiver<Question>,
    ) -> Result<(), ServerError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut orders = Vec::new();
        loop {
            self.take_turns();
            self.senders.flush();
            self.workers.flush();
            if self.parent.flush().is_err() {
                return Ok(());
            }
            if self.draining && self.workers.is_down() {
                self.tell_losses(true);
                self.parent.push(&Report::Drained);
                let _ = self.parent.flush_all().await;
                return Ok(());
            }
            tokio::select! {
                () = self.workers.ready() => {}
                () = self.senders.ready() => {}
                () = self.parent.ready() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.senders.add(stream),
                    Err(error) => {
                        tracing::warn!("can't accept an alert connection: {error}");
                        tokio::time::sleep(TICK).await;
                    }
                },
                Some(question) = questions.recv() => self.ask(Asker::Metrics(question)),
                _ = tick.tick() => {
                    if self.drain_by.is_some_and(|deadline| Instant::now() >= deadline) {
                        self.workers.kill();
                    }
                    self.router.expire(mono_us());
                    self.tell_losses(false);
                    self.restart_workers();
                }
            }
            // Whatever a worker told before an alert was sent is heard before the alert is routed.
            let alerts = self.senders.receive();
            self.hear_workers();
            for alert in alerts {
                self.router.alert(alert, mono_us(), has_room(&self.workers));
            }
            self.deliver();
            if self.parent.receive(&mut orders).is_err() {
                return Ok(());
            }
            for order in orders.drain(..) {
                match order {
                    Order::Start(_) => {}
                    Order::Ask { seq } => self.ask(Asker::Parent(seq)),
                    Order::Drain => self.drain(),
                }
            }
        }
    }

    fn take_turns(&mut self) {
        if self.draining {
            return;
        }
        let listener = &self.listener;
        let waiting = || socket::accept_queue_length(listener).is_ok_and(|length| length > 0);
        for (worker, turn) in self.turns.next(mono_us(), waiting) {
            let message = match turn {
                Turn::Accept(accepts) => ToWorker::Accept(accepts),
                Turn::Refuse => ToWorker::Refuse,
                Turn::Revoke => ToWorker::Revoke,
            };
            self.workers.tell(worker, &message);
        }
    }

    fn hear_workers(&mut self) {
        for (worker, heard) in self.workers.hear() {
            match heard {
                Heard::Said(message) => self.hear(worker, message),
                Heard::Ended => self.worker_ended(worker),
            }
        }
    }

    fn hear(&mut self, worker: usize, message: FromWorker) {
        match message {
            FromWorker::Flow { opened, closed } => {
                self.turns.flow(worker, u64::from(opened), u64::from(closed), mono_us());
            }
            FromWorker::Returned(unused) => self.turns.returned(worker, u64::from(unused)),
            FromWorker::Joined { slot, client_id, seq } => self.router.joined(worker, slot, client_id, seq),
            FromWorker::Left { slot } => self.router.left(worker, slot),
            FromWorker::Settled { token, outcome } => self.router.settled(token, Outcome::from_code(outcome)),
            FromWorker::Moved { token, payload } => self.router.moved(token, payload, has_room(&self.workers)),
            FromWorker::Counts { seq, counts } => self.answered(worker, seq, *counts),
        }
    }

    /// Hands on what the router has to say.
    fn deliver(&mut self) {
        let Post { orders, answers } = self.router.take_post();
        for (worker, order) in orders {
            self.workers.tell(worker, &order);
        }
        for answer in answers {
            self.senders.answer(answer.to, answer.alert_id, answer.outcome);
        }
    }

    fn ask(&mut self, asker: Asker) {
        self.next_question += 1;
        let seq = self.next_question;
        let answers = vec![None; self.workers.len()];
        self.asked.insert(seq, Asked { asker, answers, at: 0 });
        self.ask_next(seq);
    }

    /// Asks the next worker: one after the other, because fifty that wake at once keep taps waiting for a core.
    fn ask_next(&mut self, seq: u64) {
        let Some(asked) = self.asked.get_mut(&seq) else { return };
        while let Some(answer) = asked.answers.get_mut(asked.at) {
            if answer.is_none() && self.workers.is_up(asked.at) {
                return self.workers.tell(asked.at, &ToWorker::Ask(seq));
            }
            // One that has ended holds nothing; its totals are in `lost_counts`.
            answer.get_or_insert_default();
            asked.at += 1;
        }
        self.conclude(seq);
    }

    fn answered(&mut self, worker: usize, seq: u64, counts: ServerCounts) {
        self.known[worker].counts = counts.clone();
        let Some(asked) = self.asked.get_mut(&seq) else { return };
        asked.answers[worker] = Some(counts);
        if asked.at == worker {
            self.ask_next(seq);
        }
    }

    /// All have answered.
    fn conclude(&mut self, seq: u64) {
        let Some(asked) = self.asked.remove(&seq) else { return };
        let answers: Vec<ServerCounts> = asked.answers.into_iter().flatten().collect();
        let mut total = self.lost_counts.clone();
        for counts in &answers {
            total.add(counts);
        }
        total.alerts = self.router.counts().clone();
        match asked.asker {
            // A scrape that has given up is nobody's loss.
            Asker::Metrics(question) => drop(question.send(total)),
            Asker::Parent(seq) => {
                let workers = self.workers.pids().into_iter().zip(&answers);
                let workers = workers.map(|(pid, counts)| WorkerReport { pid, registered: counts.registered });
                self.parent.push(&Report::Counts { seq, total, workers: workers.collect() });
            }
        }
    }

    /// A worker has ended: its clients are gone, and so are the alerts it had.
    fn worker_ended(&mut self, worker: usize) {
        // Its totals stay in the sum as far as they are known; what it held is lost.
        let known = Known { ended: Some(Instant::now()), untold: true, ..Known::default() };
        let mut counts = std::mem::replace(&mut self.known[worker], known).counts;
        if counts.open > counts.ending {
            *counts.ended.entry("worker_lost".to_owned()).or_default() += counts.open - counts.ending;
        }
        (counts.open, counts.ending, counts.registered, counts.unsent_bytes) = (0, 0, 0, 0);
        self.lost_counts.add(&counts);
        self.router.worker_ended(worker);
        self.turns.ended(worker);
        let open: Vec<u64> = self.asked.keys().copied().collect();
        for seq in open {
            self.answered(worker, seq, ServerCounts::default());
        }
    }

    /// Tells the parent of workers that ended and should not have, as soon as it is known how they ended; `now` waits for that.
    fn tell_losses(&mut self, now: bool) {
        for worker in 0..self.workers.len() {
            if !self.known[worker].untold {
                continue;
            }
            // One that has closed its channel and lives on is of no use to anybody.
            let overdue = self.known[worker].ended.is_some_and(|since| since.elapsed() >= RESTART_INTERVAL);
            let how = if now || overdue { Some(self.workers.reap(worker)) } else { self.workers.ended(worker) };
            let Some(how) = how else { continue };
            self.known[worker].untold = false;
            if self.draining && how.success {
                continue;
            }
            tracing::warn!("worker {worker} ended: {how}");
            let worker = u32::try_from(worker).unwrap_or(u32::MAX);
            self.parent.push(&Report::WorkerLost { worker, how: how.to_string() });
        }
    }

    /// Starts workers again that have ended. One that can't be started is tried again later: the others serve on.
    fn restart_workers(&mut self) {
        for worker in 0..self.workers.len() {
            let Some(since) = self.known[worker].ended else { continue };
            if self.draining || self.known[worker].untold || since.elapsed() < RESTART_INTERVAL {
                continue;
            }
            match start_worker(&self.program, &self.config, worker, &self.listener) {
                Ok(member) => {
                    self.workers.replace(worker, member);
                    self.turns.restarted(worker);
                    self.known[worker].ended = None;
                    let pid = self.workers.pid(worker);
                    tracing::warn!("worker {worker} started again as process {pid}");
                    let worker = u32::try_from(worker).unwrap_or(u32::MAX);
                    self.parent.push(&Report::WorkerReplaced { worker, pid });
                }
                Err(error) => {
                    tracing::warn!("worker {worker} is not started again yet: {error}");
                    self.known[worker].ended = Some(Instant::now());
                }
            }
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.drain_by = Some(Instant::now() + self.config.drain_timeout + DRAIN_PATIENCE);
        self.workers.tell_all(&ToWorker::Drain);
    }
}

/// Whether a worker takes more alerts: one that does not read must not fill this process's memory.
fn has_room(workers: &Team<ToWorker, FromWorker>) -> impl Fn(usize) -> bool + '_ {
    |worker| workers.queued_bytes(worker) <= MAX_QUEUED_BYTES
}
