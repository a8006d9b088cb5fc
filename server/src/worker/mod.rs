//! A worker process: holds connections in one private epoll set and speaks the protocol on them.

mod connection;
#[cfg(test)]
mod interleavings;
mod slots;
mod taps;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use holdline_fleet::{Channel, Gone, from_parent, receive_file};
use holdline_host::clock::{mono_us, stagger};
use holdline_host::epoll::{Epoll, Event, Interest};
use holdline_host::{limits, socket};
use holdline_protocol::{Frame, GoodbyeReason, Hello};
use holdline_record::ServerCounts;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use crate::Config;
use crate::messages::{FromWorker, ToWorker};
use connection::Unconfirmed;
use slots::{Slots, State};
use taps::Taps;

/// Events taken at a time.
const BATCH: usize = 256;
/// Batches after which other things get their turn.
const BATCHES: usize = 4;
/// Bytes read from a connection at a time; one buffer for all.
const READ_BYTES: usize = 16 * 1024;
/// Names the listener in the epoll set; a descriptor never has this number.
const LISTENER: u32 = u32::MAX;
/// How often the sweep does a slice and timeouts are looked at.
const TICK: Duration = Duration::from_millis(250);
/// The same in ticks while no tap is in flight and no connection is new or ending: at a million connections fifty workers
/// that wake four times a second for nothing are a tenth of what the service takes.
const CALM_TICKS: u32 = 4;
/// Idle timeouts below this are never calm: a second more or less matters.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);
/// Ticks in which the sweep goes through all slots: the least deadline (1 s) is met within some seconds.
const TICKS_PER_PASS: u32 = 20;
/// The longest that the sweep works at a time; when many clients have fallen silent at once, it goes on after others had
/// their turn.
const SWEEP_BUDGET: Duration = Duration::from_micros(500);
/// Slots swept between two looks at the clock.
const SWEEP_STEP: u32 = 16;
/// How long a client gets to close after the last frame it was sent, in seconds.
const LINGER_S: u16 = 2;
/// Connections that are being refused at once; more wait in the accept queue.
const MAX_REFUSING: u32 = 64;

/// What the worker may accept.
#[derive(Debug, Default)]
struct Turn {
    /// Accepts granted and not used.
    credit: u32,
    /// Accept and refuse whoever comes.
    refusing: bool,
    /// The listener is in the epoll set.
    watching: bool,
}

/// Time as a worker sees it.
struct Clock {
    started: std::time::Instant,
    /// How far tests have moved it.
    skew: Duration,
}

impl Clock {
    fn new() -> Self {
        Self { started: std::time::Instant::now(), skew: Duration::ZERO }
    }

    /// Since the start.
    fn elapsed(&self) -> Duration {
        self.started.elapsed() + self.skew
    }

    /// CLOCK_MONOTONIC.
    fn now_us(&self) -> u64 {
        mono_us().saturating_add(u64::try_from(self.skew.as_micros()).unwrap_or(u64::MAX))
    }
}

struct Worker {
    config: Config,
    listener: OwnedFd,
    epoll: AsyncFd<Epoll>,
    channel: Channel<FromWorker, ToWorker>,
    slots: Slots,
    taps: Taps,
    turn: Turn,
    counts: ServerCounts,
    /// Counts the registrations; the next one's `seq`.
    joins: u32,
    /// Connections that registered and were not told yet.
    unconfirmed: Vec<Unconfirmed>,
    /// The answer to the Hello of the connection being heard, until something is sent to it.
    greeting: Option<Hello>,
    /// Connections that are refused or being refused and do not count as open.
    refusing: u32,
    /// Not said yet in `Flow`.
    opened: u32,
    closed: u32,
    /// Where the sweep goes on.
    swept: u32,
    /// Slots that the sweep is behind.
    sweep_owed: u32,
    clock: Clock,
    /// Seconds since the start, wrapping.
    now_s: u16,
    /// Frames to be sent to one connection, reused.
    reply: Vec<u8>,
    draining: bool,
}

/// The door of a worker process: serves until the supervisor says so or is gone.
///
/// # Errors
/// This process was not started by a supervisor, or the kernel refuses what every worker needs.
pub async fn run() -> io::Result<()> {
    let stream = from_parent()?;
    let listener = receive_file(&stream)?;
    let mut channel = Channel::new(stream)?;
    let mut messages = Vec::new();
    if channel.next(&mut messages).await.is_err() {
        return Ok(());
    }
    let mut messages = VecDeque::from(messages);
    let Some(ToWorker::Start(config)) = messages.pop_front() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the supervisor's first message is not Start"));
    };
    limits::raise_open_files()?;
    let mut worker = Worker::new(*config, listener, channel)?;
    for message in messages {
        worker.obey(message)?;
    }
    worker.serve().await
}

impl Worker {
    fn new(config: Config, listener: OwnedFd, channel: Channel<FromWorker, ToWorker>) -> io::Result<Self> {
        Ok(Self {
            taps: Taps::new(config.tap_timeout),
            config,
            listener,
            epoll: Epoll::new(BATCH)?.nest()?,
            channel,
            slots: Slots::default(),
            turn: Turn::default(),
            counts: ServerCounts::default(),
            joins: 0,
            unconfirmed: Vec::new(),
            greeting: None,
            refusing: 0,
            opened: 0,
            closed: 0,
            swept: 0,
            sweep_owed: 0,
            clock: Clock::new(),
            now_s: 0,
            reply: Vec::new(),
            draining: false,
        })
    }

    /// The one loop: connections, the supervisor, time.
    async fn serve(mut self) -> io::Result<()> {
        let (mut ticks, mut next_tick) = (1, Instant::now() + stagger(TICK));
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(BATCH);
        let mut orders = Vec::new();
        let mut drain_deadline = None;
        loop {
            if ticks > 1 && !self.is_calm() {
                while next_tick > Instant::now() + TICK {
                    next_tick -= TICK;
                }
                ticks = 1;
            }
            tokio::select! {
                ready = self.epoll.readable_mut() => {
                    let mut ready = ready?;
                    // Kept ready until a take returns nothing: the inner set tells of each change only once.
                    let drained = {
                        let epoll = ready.get_inner_mut();
                        epoll.take(&mut events)? == 0
                    };
                    if drained {
                        ready.clear_ready();
                    } else {
                        drop(ready);
                        if !self.batches(&mut events, &mut buffer)? {
                            // Without this the loop would see nothing but connections until the runtime's budget ends.
                            tokio::task::yield_now().await;
                        }
                    }
                }
                () = self.channel.ready() => {
                    match self.channel.receive(&mut orders) {
                        Ok(()) => {}
                        Err(Gone::Ended) => return Ok(()),
                        Err(gone) => return Err(io::Error::other(gone)),
                    }
                    for order in orders.drain(..) {
                        self.obey(order)?;
                    }
                    if self.draining && drain_deadline.is_none() {
                        drain_deadline = Some(Instant::now() + self.config.drain_timeout);
                    }
                }
                () = sleep_until(next_tick) => {
                    self.on_tick(ticks);
                    ticks = if self.is_calm() { CALM_TICKS } else { 1 };
                    // On from when it was due: workers that once waited together would go on together.
                    next_tick = (next_tick + TICK * ticks).max(Instant::now());
                }
                () = tokio::task::yield_now(), if self.sweep_owed > 0 => self.sweep_some(SWEEP_BUDGET),
                () = sleep_until(drain_deadline.unwrap_or_else(Instant::now)), if drain_deadline.is_some() => return self.leave().await,
            }
            self.after_batch();
            if self.draining && self.counts.open == 0 {
                return self.leave().await;
            }
            if self.channel.flush().is_err() {
                return Ok(());
            }
        }
    }

    /// Handles these events, and further batches up to a bound; whether there is nothing left.
    fn batches(&mut self, events: &mut Vec<Event>, buffer: &mut [u8]) -> io::Result<bool> {
        self.look_at_the_clock();
        for _ in 0..BATCHES {
            for event in events.iter() {
                if event.token == LISTENER {
                    self.accept_some()?;
                } else {
                    self.on_event(*event, buffer);
                }
            }
            // Sockets are closed only now: an event of this batch can't meet a new connection of the same number.
            self.after_batch();
            if self.epoll.get_mut().take(events)? == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether nothing has a deadline soon.
    fn is_calm(&self) -> bool {
        let timeout = self.config.idle_timeout;
        let long = timeout.is_zero() || timeout >= LONG_TIMEOUT;
        long && self.counts.open == self.counts.registered && self.taps.is_empty() && !self.draining
    }

    /// Gives descriptors back, tells the supervisor what came and went, and then the clients that they are registered.
    fn after_batch(&mut self) {
        // Before descriptors are given back: one of them could be confirmed for the next connection of its number.
        self.confirm();
        let reaped = self.slots.reap();
        if reaped > 0 && self.turn.refusing {
            self.watch_listener();
        }
        if self.opened > 0 || self.closed > 0 {
            self.channel.push(&FromWorker::Flow { opened: self.opened, closed: self.closed });
            (self.opened, self.closed) = (0, 0);
        }
    }

    /// Says all that is left to say, and ends. The kernel closes what is still open.
    async fn leave(mut self) -> io::Result<()> {
        for index in 0..self.slots.len() {
            self.end(index, GoodbyeReason::Draining.label());
        }
        self.after_batch();
        // The supervisor may be gone already; then nobody is left to tell.
        let _ = self.channel.flush_all().await;
        Ok(())
    }

    fn obey(&mut self, order: ToWorker) -> io::Result<()> {
        match order {
            ToWorker::Start(_) => {}
            ToWorker::Accept(credit) => {
                self.turn.credit += credit;
                self.turn.refusing = false;
                self.watch_listener();
            }
            ToWorker::Refuse => {
                self.turn.refusing = true;
                self.watch_listener();
            }
            ToWorker::Revoke => self.give_back()?,
            ToWorker::Alert { token, slot, client_id, wait_for_ack, payload } => {
                self.tap(token, slot, client_id, wait_for_ack, payload);
            }
            ToWorker::Replaced { slot, seen } => self.replaced(slot, seen),
            ToWorker::Ask(seq) => {
                let mut counts = self.counts.clone();
                counts.unsent_bytes = self.slots.unsent_bytes;
                self.channel.push(&FromWorker::Counts { seq, counts: Box::new(counts) });
            }
            ToWorker::Drain => self.drain()?,
        }
        Ok(())
    }

    fn give_back(&mut self) -> io::Result<()> {
        // What was accepted is told first: what is given back is what is left after that.
        self.after_batch();
        self.channel.push(&FromWorker::Returned(self.turn.credit));
        self.turn.credit = 0;
        self.turn.refusing = false;
        self.unwatch_listener()
    }

    fn watch_listener(&mut self) {
        if self.turn.watching || self.draining {
            return;
        }
        match self.epoll.get_ref().add(&self.listener, LISTENER, Interest::Read) {
            Ok(()) => self.turn.watching = true,
            // Without the listener this worker accepts nothing; the supervisor sees credit unused and grants elsewhere.
            Err(error) => tracing::warn!("can't watch the listener: {error}"),
        }
    }

    fn unwatch_listener(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.turn.watching) {
            self.epoll.get_ref().remove(&self.listener)?;
        }
        Ok(())
    }

    /// Accepts what the turn allows and the queue holds.
    fn accept_some(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            let unwanted = self.turn.credit == 0;
            let may_refuse = self.turn.refusing && self.refusing < MAX_REFUSING;
            if unwanted && !may_refuse {
                return self.unwatch_listener();
            }
            match socket::accept(&self.listener) {
                Ok(Some(accepted)) => self.accepted(accepted, unwanted),
                Ok(None) => return Ok(()),
                Err(error) => {
                    // Watching on would spin: the queue stays full and the error comes back at once.
                    tracing::warn!("can't accept: {error}; {}", socket::remedy(&error).unwrap_or_default());
                    return self.unwatch_listener();
                }
            }
        }
        Ok(())
    }

    fn accepted(&mut self, accepted: OwnedFd, unwanted: bool) {
        self.counts.accepted_total += 1;
        self.counts.open += 1;
        if unwanted {
            self.refusing += 1;
        } else {
            self.turn.credit -= 1;
            self.opened += 1;
        }
        let index = self.slots.open(accepted, unwanted, self.now_s);
        let socket = self.slots.get(index).and_then(|slot| slot.socket());
        let watched = socket.map(|socket| self.epoll.get_ref().add(socket, index, Interest::Read));
        if let Some(Err(error)) = watched {
            tracing::warn!("can't watch a connection: {error}; see fs.epoll.max_user_watches");
            self.end(index, "no_memory");
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the clock wraps by design; deadlines are far below half its span"
    )]
    fn look_at_the_clock(&mut self) {
        self.now_s = self.clock.elapsed().as_secs() as u16;
    }

    /// A slice of the sweep is due, and the timeouts of taps, after so many ticks.
    fn on_tick(&mut self, ticks: u32) {
        self.look_at_the_clock();
        for (token, outcome) in self.taps.expired(self.clock.now_us()) {
            self.settle(token, outcome);
        }
        let slots = self.slots.len();
        // What is owed from before is done before more is: a pass late is no reason to do two.
        self.sweep_owed = (self.sweep_owed + (slots * ticks).div_ceil(TICKS_PER_PASS)).min(slots);
    }

    /// Sweeps what is owed, for about as long as `budget`.
    fn sweep_some(&mut self, budget: Duration) {
        let began = std::time::Instant::now();
        while self.sweep_owed > 0 && began.elapsed() < budget {
            let step = self.sweep_owed.min(SWEEP_STEP);
            for _ in 0..step {
                self.swept = if self.swept + 1 < self.slots.len() { self.swept + 1 } else { 0 };
                self.sweep(self.swept);
            }
            self.sweep_owed -= step;
        }
    }

    fn sweep(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let silent_s = Duration::from_secs(u64::from(self.now_s.wrapping_sub(slot.heard_s)));
        match slot.state {
            State::Free | State::Closed => {}
            State::Registered if self.config.idle_timeout.is_zero() || silent_s <= self.config.idle_timeout => {}
            State::Registered => self.send_away(index, GoodbyeReason::Silent),
            State::New | State::Greeted => {
                if silent_s > self.config.register_deadline {
                    self.send_away(index, GoodbyeReason::NotRegistered);
                }
            }
            State::Ending => {
                if silent_s > Duration::from_secs(u64::from(LINGER_S)) {
                    self.end(index, "not_closed_by_client");
                }
            }
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        self.draining = true;
        self.unwatch_listener()?;
        for index in 0..self.slots.len() {
            self.send_away(index, GoodbyeReason::Draining);
        }
        Ok(())
    }

    /// How long a client that is sent away is to stay away: spread out, so that a fleet does not come back as one.
    fn retry_after_ms(&self, index: u32) -> u32 {
        let base = u64::try_from(self.config.retry_after.as_millis()).unwrap_or(u64::MAX);
        // A cheap spread over the slots is enough: the point is only that they differ.
        let spread = u64::from(index.wrapping_mul(2_654_435_761) >> 16) * base / 65_536;
        u32::try_from(base.saturating_add(spread)).unwrap_or(u32::MAX)
    }

    /// Sends the last frame and waits for the client to close.
    fn send_away(&mut self, index: u32, reason: GoodbyeReason) {
        let retry_after_ms = match reason {
            GoodbyeReason::Draining => self.retry_after_ms(index),
            _ => 0,
        };
        self.finish(index, &Frame::Goodbye { reason, retry_after_ms }, reason.label());
    }
}
