//! A swarm worker: begins connections in a bounded window, holds them in one private epoll set, lets the driver speak.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use hdrhistogram::Histogram;
use holdline_fleet::{Channel, Gone, from_parent};
use holdline_host::clock::{mono_us, stagger};
use holdline_host::epoll::{Epoll, Event, Interest};
use holdline_host::{limits, socket};
use holdline_record::{SwarmCounts, encode_histogram, new_histogram};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::again::Again;
use crate::driver::{Driver, DriverEvent};
use crate::messages::{FromWorker, Step, ToWorker, WorkerPlan};
use crate::native::Native;

/// Events taken at a time.
const BATCH: usize = 256;
/// Batches after which other things get their turn.
const BATCHES: usize = 4;
/// Connections begun between two looks at what has arrived: many at once would keep answers waiting, which would count
/// as the service's latency.
const BURST: u32 = 32;
/// Bytes read from a connection at a time; one buffer for all.
const READ_BYTES: usize = 16 * 1024;
/// Reads of one connection in one event.
const READS: usize = 4;
/// How often timeouts are looked at and Nops sent.
const TICK: Duration = Duration::from_millis(250);
/// The same while connections are begun at a fixed rate: a finer grain for an even pace.
const PACED_TICK: Duration = Duration::from_millis(5);
/// The slot table grows by this many slots at a time, not by doubling.
const SLOT_STEP: usize = 1024;

/// A connection, in the slot of its descriptor's number.
#[derive(Debug)]
struct Slot<S> {
    socket: Option<OwnedFd>,
    /// Which client, counted from the worker's first.
    client: u32,
    phase: Phase,
    state: S,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection, or one that was closed in this batch of events.
    Gone,
    /// The handshake is under way.
    Connecting,
    /// It stands; the driver registers.
    Registering,
    /// The service holds it.
    Registered,
}

/// An attempt in progress; few at a time, so it is not part of the slot.
#[derive(Debug)]
struct Attempt {
    began_us: u64,
    /// When it has failed.
    deadline_us: u64,
    /// Attempts of this client that failed in a row before it; none for a client's first attempt ever.
    failures: Option<u32>,
}

/// A worker's connections and counts.
pub struct Engine<D: Driver> {
    driver: D,
    plan: WorkerPlan,
    epoll: AsyncFd<Epoll>,
    slots: Vec<Slot<D::State>>,
    attempts: HashMap<u32, Attempt>,
    /// Input that is not a whole message, by slot.
    partial: HashMap<u32, Vec<u8>>,
    /// Output that sockets did not take, by slot.
    unsent: HashMap<u32, Vec<u8>>,
    /// Closed in this batch; given back after it, so that a number can't come back to life within it.
    closed: Vec<u32>,
    /// Clients to have, and clients begun.
    wanted: u64,
    begun: u64,
    /// First attempts of clients that have no outcome yet: a step waits for these.
    first_attempts: u64,
    /// Clients that are to connect again, by when.
    again: Again,
    /// Attempts that the rate allows now.
    allowance: f64,
    allowed_at: Instant,
    /// Where the Nops go on, and the fraction of a slot that is owed.
    nop_slot: usize,
    nops_owed: f64,
    counts: SwarmCounts,
    outcomes: BTreeMap<&'static str, u64>,
    lost: BTreeMap<&'static str, u64>,
    step: Option<Step>,
    histogram: Histogram<u64>,
    /// Reused for what the driver says and finds.
    out: Vec<u8>,
    events: Vec<DriverEvent>,
}

/// The door of a worker process: does as the supervisor says until `Stop`, or until the supervisor is gone.
///
/// # Errors
/// This process was not started by a supervisor, or the kernel refuses what every worker needs.
pub async fn run_worker() -> io::Result<()> {
    limits::raise_open_files()?;
    let channel = Channel::new(from_parent()?)?;
    Engine::run(Native, channel).await
}

impl<D: Driver> Engine<D> {
    /// Serves a supervisor at the other end of `channel`, with clients that speak as `driver` does.
    ///
    /// # Errors
    /// The kernel refuses what every worker needs.
    pub async fn run(driver: D, mut channel: Channel<FromWorker, ToWorker>) -> io::Result<()> {
        let mut orders = Vec::new();
        if channel.next(&mut orders).await.is_err() {
            return Ok(());
        }
        let mut orders = VecDeque::from(orders);
        let Some(ToWorker::Start(plan)) = orders.pop_front() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the supervisor's first message is not Start"));
        };
        let mut engine = Self::new(driver, *plan)?;
        for order in orders {
            if engine.obey(&order, &mut channel) {
                return engine.stop(channel).await;
            }
        }
        engine.serve(channel).await
    }

    fn new(driver: D, plan: WorkerPlan) -> io::Result<Self> {
        Ok(Self {
            driver,
            epoll: Epoll::new(BATCH)?.nest()?,
            slots: Vec::new(),
            attempts: HashMap::new(),
            partial: HashMap::new(),
            unsent: HashMap::new(),
            closed: Vec::new(),
            wanted: 0,
            begun: 0,
            first_attempts: 0,
            again: Again::new(plan.reconnect, plan.start_id.wrapping_add(plan.first)),
            allowance: 0.0,
            allowed_at: Instant::now(),
            nop_slot: 0,
            nops_owed: 0.0,
            counts: SwarmCounts::default(),
            outcomes: BTreeMap::new(),
            lost: BTreeMap::new(),
            step: None,
            histogram: new_histogram(),
            out: Vec::new(),
            events: Vec::new(),
            plan,
        })
    }

    /// The one loop: connections, the supervisor, time.
    async fn serve(mut self, mut channel: Channel<FromWorker, ToWorker>) -> io::Result<()> {
        let mut tick = interval_at(Instant::now() + stagger(TICK), TICK);
        let mut paced = interval(PACED_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        paced.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(BATCH);
        let mut orders = Vec::new();
        loop {
            let more = self.begin_some();
            self.conclude(&mut channel);
            if channel.flush().is_err() {
                return Ok(());
            }
            tokio::select! {
                ready = self.epoll.readable_mut() => {
                    let mut ready = ready?;
                    // Kept ready until a take returns nothing: the inner set tells of each change only once.
                    if ready.get_inner_mut().take(&mut events)? == 0 {
                        ready.clear_ready();
                    } else {
                        self.batches(&mut events, &mut buffer)?;
                        // Without this the loop would see nothing but connections until the runtime's budget ends.
                        tokio::task::yield_now().await;
                    }
                }
                () = channel.ready() => {
                    match channel.receive(&mut orders) {
                        Ok(()) => {}
                        Err(Gone::Ended) => return Ok(()),
                        Err(gone) => return Err(io::Error::other(gone)),
                    }
                    for order in orders.drain(..) {
                        if self.obey(&order, &mut channel) {
                            return self.stop(channel).await;
                        }
                    }
                }
                _ = tick.tick() => self.on_tick(),
                _ = paced.tick(), if self.plan.rate.is_some() && self.is_someone_due() => {}
                () = tokio::task::yield_now(), if more => {}
            }
            self.reap();
        }
    }

    /// Does as it is told; whether it is to stop.
    fn obey(&mut self, order: &ToWorker, channel: &mut Channel<FromWorker, ToWorker>) -> bool {
        match *order {
            ToWorker::Start(_) => {}
            ToWorker::Grow(to) => {
                self.wanted = to.min(self.plan.clients).max(self.begun);
                self.counts.asked = self.wanted;
                self.allowance = 0.0;
                self.allowed_at = Instant::now();
                self.histogram.reset();
                self.step = Some(Step::default());
            }
            ToWorker::Ask(seq) => channel.push(&FromWorker::Counts { seq, counts: Box::new(self.counts()) }),
            ToWorker::Stop => return true,
        }
        false
    }

    fn counts(&self) -> SwarmCounts {
        let owned = |causes: &BTreeMap<&'static str, u64>| {
            causes.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
        };
        SwarmCounts {
            connecting: self.attempts.len() as u64,
            outcomes: owned(&self.outcomes),
            lost: owned(&self.lost),
            ..self.counts.clone()
        }
    }

    /// Begins connections as far as window, rate and demand allow; whether more could be begun at once.
    fn begin_some(&mut self) -> bool {
        self.refill();
        for _ in 0..BURST {
            if !self.may_begin() {
                return false;
            }
            self.allowance -= 1.0;
            if let Some((client, failures)) = self.again.take_due(mono_us()) {
                self.begin(client, Some(failures));
            } else {
                let client = u32::try_from(self.begun).unwrap_or(u32::MAX);
                self.begun += 1;
                self.first_attempts += 1;
                self.begin(client, None);
            }
        }
        self.may_begin()
    }

    fn may_begin(&self) -> bool {
        self.is_someone_due()
            && self.attempts.len() < self.plan.window as usize
            && (self.plan.rate.is_none() || self.allowance >= 1.0)
    }

    fn is_someone_due(&self) -> bool {
        self.begun < self.wanted || self.again.is_due(mono_us())
    }

    fn refill(&mut self) {
        let Some(rate) = self.plan.rate else { return };
        let now = Instant::now();
        // What could not be begun in time is not caught up in one burst: at most a tick's worth is saved.
        let saved = (rate * TICK.as_secs_f64()).max(1.0);
        self.allowance = (self.allowance + rate * (now - self.allowed_at).as_secs_f64()).min(saved);
        self.allowed_at = now;
    }

    fn begin(&mut self, client: u32, failures: Option<u32>) {
        let route = self.plan.ports.route(self.plan.first + u64::from(client));
        self.counts.attempts_total += 1;
        let attempt = Attempt { began_us: mono_us(), deadline_us: 0, failures };
        match socket::connect(route) {
            Ok((socket, connected)) => self.begun(socket, client, attempt, connected),
            Err(error) => self.failed(client, &attempt, socket::error_label(&error), 0),
        }
    }

    fn begun(&mut self, socket: OwnedFd, client: u32, mut attempt: Attempt, connected: bool) {
        let index = u32::try_from(socket.as_raw_fd()).expect("descriptors are not negative");
        let at = index as usize;
        if self.slots.len() <= at {
            let length = (at / SLOT_STEP + 1) * SLOT_STEP;
            self.slots.reserve_exact(length - self.slots.len());
            let free = || Slot { socket: None, client: 0, phase: Phase::Gone, state: D::State::default() };
            self.slots.resize_with(length, free);
        }
        let interest = if connected { Interest::Read } else { Interest::ReadWrite };
        let watched = self.epoll.get_ref().add(&socket, index, interest);
        self.slots[at] = Slot { socket: Some(socket), client, phase: Phase::Connecting, state: D::State::default() };
        attempt.deadline_us = after(attempt.began_us, self.plan.connect_timeout);
        self.attempts.insert(index, attempt);
        if watched.is_err() {
            self.fail(index, "no_memory", 0);
        } else if connected {
            self.connected(index);
        }
    }

    /// The handshake is done: the driver speaks first.
    fn connected(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.phase = Phase::Registering;
        if let Some(attempt) = self.attempts.get_mut(&index) {
            attempt.deadline_us = after(mono_us(), self.plan.register_timeout);
        }
        let id = self.plan.id(slot.client);
        self.driver.open(id, &mut slot.state, &mut self.out);
        self.send_out(index);
    }

    fn batches(&mut self, events: &mut Vec<Event>, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCHES {
            for event in events.iter() {
                self.on_event(*event, buffer);
            }
            self.reap();
            self.begin_some();
            if self.epoll.get_mut().take(events)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, buffer: &mut [u8]) {
        let Some(slot) = self.slots.get(event.token as usize).filter(|slot| slot.phase != Phase::Gone) else { return };
        if slot.phase == Phase::Connecting {
            let Some(socket) = &slot.socket else { return };
            match socket::connect_result(socket) {
                Err(error) => return self.fail(event.token, socket::error_label(&error), 0),
                Ok(()) if !event.writable => return,
                Ok(()) => {
                    // Watched for room until now, to learn that the connection stands.
                    let changed = self.epoll.get_ref().modify(socket, event.token, Interest::Read);
                    debug_assert!(changed.is_ok());
                    self.connected(event.token);
                }
            }
        } else if event.writable {
            self.write_rest(event.token);
        }
        if event.readable {
            self.read(event.token, buffer);
        }
    }

    fn read(&mut self, index: u32, buffer: &mut [u8]) {
        for _ in 0..READS {
            let Some(slot) = self.slots.get(index as usize).filter(|slot| slot.phase != Phase::Gone) else { return };
            let Some(socket) = &slot.socket else { return };
            match socket::read(socket, buffer) {
                Ok(Some(0)) => return self.ended(index, "closed_by_server"),
                Ok(Some(bytes)) => {
                    self.heard(index, &buffer[..bytes]);
                    if bytes < buffer.len() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.ended(index, socket::error_label(&error)),
            }
        }
    }

    fn heard(&mut self, index: u32, bytes: &[u8]) {
        let kept = self.partial.remove(&index).map(|mut kept| {
            kept.extend_from_slice(bytes);
            kept
        });
        let input = kept.as_deref().unwrap_or(bytes);
        let mut events = std::mem::take(&mut self.events);
        let slot = &mut self.slots[index as usize];
        let id = self.plan.id(slot.client);
        let result = self.driver.receive(id, &mut slot.state, input, &mut self.out, &mut events);
        let acks = events.iter().filter(|event| **event == DriverEvent::Tapped).count() as u64;
        if let Ok(taken) = result
            && taken < input.len()
        {
            self.partial.insert(index, input[taken..].to_vec());
        }
        if self.send_out(index) {
            self.counts.tap_acks_total += acks;
        }
        for event in events.drain(..) {
            self.found(index, event);
        }
        self.events = events;
        if result.is_err() {
            self.ended(index, "not_the_protocol");
        }
    }

    /// The driver found something in the input.
    fn found(&mut self, index: u32, event: DriverEvent) {
        match event {
            DriverEvent::Registered => self.registered(index),
            DriverEvent::Refused { reason, retry_after_ms } => self.fail(index, refusal_label(reason), retry_after_ms),
            DriverEvent::Tapped => self.counts.taps_total += 1,
            DriverEvent::KeepaliveAnswered => self.counts.nop_answers_total += 1,
            DriverEvent::Goodbye { reason, retry_after_ms } => {
                self.over(index, goodbye_label(reason), retry_after_ms);
            }
        }
    }

    fn registered(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase != Phase::Registering {
            return;
        }
        slot.phase = Phase::Registered;
        self.counts.registered += 1;
        if let Some(attempt) = self.attempts.remove(&index) {
            self.outcome("registered", &attempt);
        }
    }

    /// An attempt has its outcome. Only a client's first attempt is part of a step, and of its latencies.
    fn outcome(&mut self, label: &'static str, attempt: &Attempt) {
        *self.outcomes.entry(label).or_default() += 1;
        if attempt.failures.is_some() {
            return;
        }
        self.first_attempts -= 1;
        let now_us = mono_us();
        let registered = label == "registered";
        if registered {
            self.histogram.saturating_record(now_us.saturating_sub(attempt.began_us));
        }
        let step = self.step.get_or_insert_default();
        *(if registered { &mut step.registered } else { &mut step.failed }) += 1;
        step.first_syn_us = Some(step.first_syn_us.map_or(attempt.began_us, |first| first.min(attempt.began_us)));
        step.last_outcome_us = Some(now_us);
    }

    /// An attempt failed.
    fn fail(&mut self, index: u32, label: &'static str, retry_after_ms: u32) {
        if let Some(attempt) = self.attempts.remove(&index) {
            self.failed(self.slots[index as usize].client, &attempt, label, retry_after_ms);
        }
        self.close(index);
    }

    /// The client's attempt failed; it may be asked to try again.
    fn failed(&mut self, client: u32, attempt: &Attempt, label: &'static str, retry_after_ms: u32) {
        self.outcome(label, attempt);
        let failures = attempt.failures.unwrap_or(0).saturating_add(1);
        self.again.put(client, failures, retry_after_ms, mono_us());
    }

    /// The connection ended, for this cause: a failed attempt, or a client lost.
    fn ended(&mut self, index: u32, cause: &'static str) {
        self.over(index, cause, 0);
    }

    /// The same, where the service has said when to come back.
    fn over(&mut self, index: u32, cause: &'static str, retry_after_ms: u32) {
        let slot = &self.slots[index as usize];
        match slot.phase {
            Phase::Gone => {}
            Phase::Connecting | Phase::Registering => self.fail(index, cause, retry_after_ms),
            Phase::Registered => {
                self.again.put(slot.client, 0, retry_after_ms, mono_us());
                self.counts.registered -= 1;
                *self.lost.entry(cause).or_default() += 1;
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: u32) {
        self.partial.remove(&index);
        self.unsent.remove(&index);
        let slot = &mut self.slots[index as usize];
        if slot.phase != Phase::Gone {
            slot.phase = Phase::Gone;
            self.closed.push(index);
        }
    }

    /// Gives back the descriptors that were closed in this batch.
    fn reap(&mut self) {
        for index in self.closed.drain(..) {
            self.slots[index as usize].socket = None;
        }
    }

    /// Sends what the driver has said; whether the connection lives on.
    fn send_out(&mut self, index: u32) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let mut out = std::mem::take(&mut self.out);
        let lives = self.send(index, &out);
        out.clear();
        self.out = out;
        lives
    }

    fn send(&mut self, index: u32, bytes: &[u8]) -> bool {
        if let Some(kept) = self.unsent.get_mut(&index) {
            kept.extend_from_slice(bytes);
            return true;
        }
        let Some(socket) = &self.slots[index as usize].socket else { return false };
        match socket::write(socket, bytes) {
            Ok(written) if written == bytes.len() => true,
            Ok(written) => {
                let changed = self.epoll.get_ref().modify(socket, index, Interest::ReadWrite);
                debug_assert!(changed.is_ok());
                self.unsent.insert(index, bytes[written..].to_vec());
                true
            }
            Err(error) => {
                self.ended(index, socket::error_label(&error));
                false
            }
        }
    }

    fn write_rest(&mut self, index: u32) {
        let Some(kept) = self.unsent.get_mut(&index) else { return };
        let Some(socket) = &self.slots[index as usize].socket else { return };
        match socket::write(socket, kept) {
            Ok(written) if written == kept.len() => {
                let changed = self.epoll.get_ref().modify(socket, index, Interest::Read);
                debug_assert!(changed.is_ok());
                self.unsent.remove(&index);
            }
            Ok(written) => drop(kept.drain(..written)),
            Err(error) => self.ended(index, socket::error_label(&error)),
        }
    }

    fn on_tick(&mut self) {
        let now_us = mono_us();
        let late = self.attempts.iter().filter(|(_, attempt)| attempt.deadline_us <= now_us);
        for index in late.map(|(index, _)| *index).collect::<Vec<_>>() {
            let connecting = self.slots[index as usize].phase == Phase::Connecting;
            self.fail(index, if connecting { "timed_out_connecting" } else { "timed_out_registering" }, 0);
        }
        self.send_nops();
    }

    /// Sends a slice of the Nops, so that each client sends one every interval and no timer is kept for any.
    fn send_nops(&mut self) {
        if self.plan.nop_interval.is_zero() || self.slots.is_empty() {
            return;
        }
        let share = (TICK.as_secs_f64() / self.plan.nop_interval.as_secs_f64()).min(1.0);
        #[allow(clippy::cast_precision_loss, reason = "a table of slots is far below 2^52")]
        let owed = self.nops_owed + self.slots.len() as f64 * share;
        self.nops_owed = owed.fract();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, positive, at most the table"
        )]
        for _ in 0..owed.trunc() as usize {
            self.nop_slot = (self.nop_slot + 1) % self.slots.len();
            self.send_nop(self.nop_slot);
        }
    }

    fn send_nop(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if slot.phase != Phase::Registered {
            return;
        }
        let id = self.plan.id(slot.client);
        self.driver.keepalive(id, &mut slot.state, &mut self.out);
        if self.send_out(u32::try_from(at).expect("slots are descriptor numbers")) {
            self.counts.nops_total += 1;
        }
    }

    /// Says that a step is over once each of its attempts has an outcome.
    fn conclude(&mut self, channel: &mut Channel<FromWorker, ToWorker>) {
        if self.begun < self.wanted || self.first_attempts > 0 {
            return;
        }
        if let Some(mut step) = self.step.take() {
            step.histogram = encode_histogram(&self.histogram);
            channel.push(&FromWorker::Grown(step));
        }
    }

    /// Takes leave on every connection and closes it with a reset: no TIME_WAIT is left on this host, and what was
    /// said before stays readable to the service.
    async fn stop(mut self, mut channel: Channel<FromWorker, ToWorker>) -> io::Result<()> {
        self.again = Again::new(None, 0);
        for at in 0..self.slots.len() {
            let index = u32::try_from(at).expect("slots are descriptor numbers");
            let slot = &mut self.slots[at];
            let phase = slot.phase;
            if phase == Phase::Gone {
                continue;
            }
            let id = self.plan.id(slot.client);
            if phase == Phase::Registered {
                self.driver.leave(id, &mut slot.state, &mut self.out);
                self.send_out(index);
            }
            if let Some(socket) = &self.slots[at].socket {
                // It is closed either way; without this it leaves a TIME_WAIT.
                let _ = socket::reset_on_close(socket);
            }
            self.ended(index, "closed_here");
            self.reap();
        }
        channel.push(&FromWorker::Stopped(Box::new(self.counts())));
        // The supervisor may be gone; then nobody is left to tell.
        let _ = channel.flush_all().await;
        Ok(())
    }
}

fn after(now_us: u64, patience: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(patience.as_micros()).unwrap_or(u64::MAX))
}

/// The outcome of an attempt that the service refused.
fn refusal_label(reason: &str) -> &'static str {
    match reason {
        "full" => "refused_full",
        "version" => "refused_version",
        "credential" => "refused_credential",
        "draining" => "refused_draining",
        _ => "refused_other",
    }
}

/// The cause of an end that the service announced.
fn goodbye_label(reason: &str) -> &'static str {
    match reason {
        "replaced" => "goodbye_replaced",
        "silent" => "goodbye_silent",
        "draining" => "goodbye_draining",
        "protocol" => "goodbye_protocol",
        "not_registered" => "goodbye_not_registered",
        "slow_reader" => "goodbye_slow_reader",
        _ => "goodbye_other",
    }
}
