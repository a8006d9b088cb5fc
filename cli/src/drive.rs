//! Runs a role in this process and drives it, as a conductor would from another one.

use std::time::Duration;

use holdline_fleet::Channel;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval};

/// What to do after a report.
pub(crate) enum Next<T> {
    /// Wait for the next one.
    Go,
    /// Tell the role to stop after this time.
    StopIn(Duration),
    /// It has said all there is to say.
    Done(T),
}

/// SIGTERM and Ctrl-C, which ask for an orderly end.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and says which it was.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}

/// How often a role is asked how far it is.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// How a role came to its end.
pub(crate) struct Driven<T> {
    /// Its last word; none if it went without one.
    pub(crate) result: Option<T>,
    /// Whether a signal asked it to stop.
    pub(crate) interrupted: bool,
}

/// Hands the role's reports to `hear` until it is done or the role is gone; each stop signal becomes a `stop` order.
/// Meanwhile the role is given `ask` from time to time, if there is such an order.
pub(crate) async fn drive<O: Serialize, R: DeserializeOwned, T>(
    mut role: Channel<O, R>,
    stop: &O,
    ask: Option<&O>,
    mut hear: impl FnMut(R) -> Next<T>,
) -> std::io::Result<Driven<T>> {
    let mut signals = StopSignals::new()?;
    let mut reports = Vec::new();
    let (mut stop_at, mut interrupted, mut told) = (None, false, false);
    let mut tick = interval(ASK_INTERVAL);
    loop {
        let waiting = async {
            match stop_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = role.next(&mut reports) => if heard.is_err() && reports.is_empty() {
                return Ok(Driven { result: None, interrupted });
            },
            _ = signals.next() => {
                // What ends anyway is not cut short.
                interrupted |= !told;
                role.push(stop);
            }
            _ = tick.tick() => ask.into_iter().for_each(|ask| role.push(ask)),
            () = waiting => {
                stop_at = None;
                told = true;
                role.push(stop);
            }
        }
        for report in reports.drain(..) {
            match hear(report) {
                Next::Go => {}
                Next::StopIn(span) => stop_at = Instant::now().checked_add(span),
                Next::Done(result) => return Ok(Driven { result: Some(result), interrupted }),
            }
        }
    }
}
