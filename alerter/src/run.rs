//! Sends the schedule and hears the answers.

use std::io;
use std::time::Duration;

use holdline_fleet::Channel;
use holdline_host::clock::mono_us;
use holdline_host::{socket, timer::Timer};
use holdline_protocol::{Features, Frame, Frames, GoodbyeReason, Hello, RefusedReason, VERSION};
use holdline_record::encode_histogram;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::books::Books;
use crate::messages::Interval;
use crate::{Config, ConfigError, Order, Outcome, Report};

/// How long the connection and the greeting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Length of an interval of the record.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often overdue alerts are looked for.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of alerts that the service does not take, kept before the run is cut short: a million alerts at the most.
const MAX_UNSENT_BYTES: usize = 64 << 20;

/// The alerter can't tap.
#[derive(Debug, thiserror::Error)]
pub enum AlerterError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The alert interface can't be reached.
    #[error("can't connect to the alert interface at {target} (--connect): {error}{}", socket::remedy(.error).map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Connect {
        /// The address.
        target: std::net::SocketAddr,
        /// What the system answered.
        error: io::Error,
    },
    /// Whoever listens there is no Holdline alert interface.
    #[error(
        "{target} does not speak the Holdline protocol: {why}; is it the address of the alert interface (--alerts of the server)?"
    )]
    Protocol {
        /// The address.
        target: std::net::SocketAddr,
        /// In words.
        why: String,
    },
    /// The service wants no more alerters.
    #[error("{target} refused the alerter: {}; it takes 64 alerters at once, or is shutting down", .reason.label())]
    Refused {
        /// The address.
        target: std::net::SocketAddr,
        /// Its reason.
        reason: RefusedReason,
    },
    /// Something every process needs was refused.
    #[error("can't tap: {0}")]
    Io(#[from] io::Error),
}

struct Alerter {
    config: Config,
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    timer: AsyncFd<Timer>,
    random: Xoshiro256PlusPlus,
    payload: Vec<u8>,
    books: Books,
    start_us: u64,
    /// Alerts sent so far, which is the next one's index and id.
    next: u64,
    /// Alerts in the schedule; fewer once it was cut short.
    scheduled: u64,
    cut_short: Option<String>,
    parent: Channel<Report, Order>,
}

/// The door of the alerter: taps as the first order says, until the schedule has ended or `parent` is gone.
///
/// # Errors
/// What is also said as `Failed`.
pub async fn run(mut parent: Channel<Report, Order>) -> Result<(), AlerterError> {
    let mut orders = Vec::new();
    if parent.next(&mut orders).await.is_err() {
        return Ok(());
    }
    let Some(Order::Start(config)) = orders.into_iter().next() else { return Ok(()) };
    match connect(&config).await {
        Ok((stream, inbox)) => Alerter::new(*config, stream, inbox, parent)?.serve().await,
        Err(error) => {
            parent.push(&Report::Failed(error.to_string()));
            // The error is returned as well; a parent that is gone needs no telling.
            let _ = parent.flush_all().await;
            Err(error)
        }
    }
}

/// A connection on which both sides have said Hello, and what came behind it.
async fn connect(config: &Config) -> Result<(TcpStream, Vec<u8>), AlerterError> {
    config.validate()?;
    let target = config.connect;
    let refused = |error| AlerterError::Connect { target, error };
    let late = || refused(io::ErrorKind::TimedOut.into());
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await.map_err(|_| late())?.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    let mut hello = Vec::new();
    Frame::Hello(Hello { version: VERSION, features: Features::NONE }).encode(&mut hello);
    // A new connection takes these few bytes at once.
    stream.writable().await.map_err(refused)?;
    stream.try_write(&hello).map_err(refused)?;
    let inbox = timeout(CONNECT_TIMEOUT, greeting(&stream, target)).await.map_err(|_| late())??;
    Ok((stream, inbox))
}

async fn greeting(stream: &TcpStream, target: std::net::SocketAddr) -> Result<Vec<u8>, AlerterError> {
    let wrong = |why: String| AlerterError::Protocol { target, why };
    let (mut inbox, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(wrong("it closed the connection instead of a greeting".into())),
            Ok(bytes) => inbox.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(AlerterError::Connect { target, error }),
        }
        let mut frames = Frames::new(&inbox);
        match frames.next() {
            None => {}
            Some(Err(invalid)) => return Err(wrong(invalid.to_string())),
            Some(Ok(Frame::Hello(hello))) if hello.version == VERSION => {
                if let Some(Ok(Frame::Refused { reason, .. })) = frames.next() {
                    return Err(AlerterError::Refused { target, reason });
                }
                // Anything else behind the greeting stays to be read.
                let mut greeting = Frames::new(&inbox);
                greeting.next();
                let taken = greeting.taken();
                inbox.drain(..taken);
                return Ok(inbox);
            }
            Some(Ok(Frame::Refused { reason, .. })) => return Err(AlerterError::Refused { target, reason }),
            Some(Ok(_)) => return Err(wrong("its first frame is not a Hello of version 1".into())),
        }
    }
}

impl Alerter {
    fn new(
        config: Config,
        stream: TcpStream,
        inbox: Vec<u8>,
        parent: Channel<Report, Order>,
    ) -> Result<Self, AlerterError> {
        let timeout_us = u64::try_from(config.timeout.as_micros()).unwrap_or(u64::MAX);
        Ok(Self {
            stream,
            inbox,
            outbox: Vec::new(),
            timer: Timer::new()?.nest()?,
            random: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            payload: vec![b'.'; config.payload_bytes as usize],
            books: Books::new(timeout_us),
            // A little ahead, so that the first alert is not late before it is sent.
            start_us: mono_us() + 10_000,
            next: 0,
            scheduled: config.scheduled(),
            cut_short: None,
            parent,
            config,
        })
    }

    /// The one loop: the schedule, the answers, time, the parent.
    async fn serve(mut self) -> Result<(), AlerterError> {
        self.parent.push(&Report::Started { pid: std::process::id() });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut interval_start_us = mono_us();
        let mut orders = Vec::new();
        self.timer.get_ref().set(self.start_us)?;
        while !self.finished() {
            if self.parent.flush().is_err() {
                return Ok(());
            }
            tokio::select! {
                due = self.timer.readable() => {
                    due?.clear_ready();
                    self.send_due()?;
                }
                ready = self.stream.readable() => {
                    ready?;
                    self.hear();
                }
                ready = self.stream.writable(), if !self.outbox.is_empty() => {
                    ready?;
                    self.flush();
                }
                _ = tick.tick() => self.books.expire(mono_us()),
                () = self.parent.ready() => {
                    if self.parent.receive(&mut orders).is_err() {
                        return Ok(());
                    }
                    if orders.drain(..).any(|order| matches!(order, Order::Stop)) {
                        self.scheduled = self.next;
                    }
                }
            }
            let now_us = mono_us();
            if now_us.saturating_sub(interval_start_us) >= u64::try_from(INTERVAL.as_micros()).unwrap_or(u64::MAX) {
                self.say_interval(interval_start_us, now_us);
                interval_start_us = now_us;
            }
        }
        self.finish(interval_start_us).await;
        Ok(())
    }

    /// Whether nothing more is to be sent, and nothing more is waited for.
    fn finished(&self) -> bool {
        if self.cut_short.is_some() {
            return true;
        }
        if self.next < self.scheduled {
            return false;
        }
        let last_us = self.start_us + self.config.intended_us(self.scheduled.saturating_sub(1));
        let until_us = last_us.saturating_add(u64::try_from(self.config.grace.as_micros()).unwrap_or(u64::MAX));
        self.books.settled() || mono_us() > until_us
    }

    /// Sends every alert whose time has come, late or not, and sets the timer for the next.
    fn send_due(&mut self) -> io::Result<()> {
        let now_us = mono_us();
        while self.next < self.scheduled {
            let intended_us = self.start_us + self.config.intended_us(self.next);
            if intended_us > now_us {
                self.timer.get_ref().set(intended_us)?;
                break;
            }
            let client_id = self.random.random_range(self.config.first_id..self.config.end_id);
            let alert_id = self.next;
            self.next += 1;
            Frame::Alert { alert_id, client_id, wait_for_ack: true, payload: &self.payload }.encode(&mut self.outbox);
            self.books.sent(alert_id, intended_us, now_us);
        }
        if self.outbox.len() > MAX_UNSENT_BYTES {
            self.cut("the service does not take the alerts as fast as they are sent");
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match self.stream.try_write(&self.outbox) {
                Ok(bytes) => drop(self.outbox.drain(..bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.cut(&format!("the connection to the service failed: {error}")),
            }
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; READ_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => return self.cut("the service closed the alert interface"),
            Ok(bytes) => self.inbox.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return self.cut(&format!("the connection to the service failed: {error}")),
        }
        let now_us = mono_us();
        let inbox = std::mem::take(&mut self.inbox);
        let mut frames = Frames::new(&inbox);
        for frame in frames.by_ref() {
            match frame {
                Ok(Frame::AlertResult { alert_id, outcome }) => self.books.answered(alert_id, outcome, now_us),
                Ok(Frame::Refused { reason, .. }) => {
                    self.books.refused();
                    return self.cut(&format!("the service refused the alert interface: {}", reason.label()));
                }
                Ok(Frame::Goodbye { reason, .. }) => {
                    return self.cut(&format!("the service ended the alert interface: {}", reason.label()));
                }
                Ok(_) => return self.cut("the service said something that has no place on the alert interface"),
                Err(invalid) => return self.cut(&format!("the service does not speak the protocol: {invalid}")),
            }
        }
        self.inbox = inbox[frames.taken()..].to_vec();
    }

    /// Ends the schedule before its time; what was not sent counts as asked for.
    fn cut(&mut self, why: &str) {
        if self.cut_short.is_none() {
            self.cut_short = Some(why.to_owned());
            self.books.not_sent(self.scheduled - self.next);
        }
    }

    fn say_interval(&mut self, start_us: u64, now_us: u64) {
        let histogram = encode_histogram(&self.books.take_interval());
        let duration_us = now_us.saturating_sub(start_us);
        self.parent.push(&Report::Interval(Interval { start_us, duration_us, histogram }));
    }

    async fn finish(mut self, interval_start_us: u64) {
        self.books.close();
        self.say_interval(interval_start_us, mono_us());
        let (lag_max_us, lag_p99_us) = self.books.lag_us();
        let counts = self.books.counts().clone();
        self.parent.push(&Report::Done(Outcome { counts, lag_max_us, lag_p99_us, cut_short: self.cut_short.take() }));
        Frame::Goodbye { reason: GoodbyeReason::Leaving, retry_after_ms: 0 }.encode(&mut self.outbox);
        self.flush();
        // A parent that is gone needs no telling.
        let _ = self.parent.flush_all().await;
    }
}
