//! The alert interface: connections that send Alerts and are told what became of each.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use holdline_protocol::{Features, Frame, Frames, GoodbyeReason, Hello, Outcome, RefusedReason, VERSION};
use tokio::net::TcpStream;

/// Bytes read at a time: some 40 alerts with small payloads to a read.
const READ_BYTES: usize = 16 * 1024;
/// Results kept for an alerter that does not read them, before its alerts are not read either.
const MAX_UNREAD_BYTES: usize = 1 << 20;
/// Alert connections at once; they are few, and each is looked at in every turn.
const MAX_CONNECTIONS: usize = 64;

/// An alert as it came in.
#[derive(Debug)]
pub(crate) struct Alert {
    /// The connection it came from, to be told.
    pub(crate) from: u64,
    pub(crate) alert_id: u64,
    pub(crate) client_id: u64,
    pub(crate) wait_for_ack: bool,
    pub(crate) payload: Vec<u8>,
}

struct Sender {
    stream: TcpStream,
    greeted: bool,
    /// Bytes of a frame that is not whole.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Nothing more is read; closed once the outbox is out.
    ending: bool,
}

/// All alert connections.
#[derive(Default)]
pub(crate) struct Senders {
    next: u64,
    senders: BTreeMap<u64, Sender>,
}

impl Senders {
    /// A new connection. Beyond the bound it is told so and closed.
    pub(crate) fn add(&mut self, stream: TcpStream) {
        let full = self.senders.len() >= MAX_CONNECTIONS;
        let mut outbox = Vec::new();
        if full {
            Frame::Hello(Hello { version: VERSION, features: Features::NONE }).encode(&mut outbox);
            Frame::Refused { reason: RefusedReason::Full, retry_after_ms: 1000 }.encode(&mut outbox);
            tracing::warn!("more than {MAX_CONNECTIONS} alert connections: refused one");
        }
        // Results are small and awaited; failing to say so costs latency, not correctness.
        let _ = stream.set_nodelay(true);
        self.next += 1;
        self.senders.insert(self.next, Sender { stream, greeted: false, inbox: Vec::new(), outbox, ending: full });
    }

    /// Waits until one of them has something to read, or takes what it is to be told.
    pub(crate) async fn ready(&mut self) {
        poll_fn(|context| {
            let mut ready = false;
            for sender in self.senders.values_mut() {
                ready |= sender.may_read() && sender.stream.poll_read_ready(context).is_ready();
                ready |= !sender.outbox.is_empty() && sender.stream.poll_write_ready(context).is_ready();
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The alerts that have come in.
    pub(crate) fn receive(&mut self) -> Vec<Alert> {
        let (mut alerts, mut buffer) = (Vec::new(), [0; READ_BYTES]);
        self.senders.retain(|from, sender| {
            if !sender.may_read() {
                return true;
            }
            match sender.stream.try_read(&mut buffer) {
                Ok(0) => false,
                Ok(bytes) => {
                    sender.heard(*from, &buffer[..bytes], &mut alerts);
                    true
                }
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            }
        });
        alerts
    }

    /// Tells `to`, if it is still there, what became of an alert.
    pub(crate) fn answer(&mut self, to: u64, alert_id: u64, outcome: Outcome) {
        if let Some(sender) = self.senders.get_mut(&to) {
            Frame::AlertResult { alert_id, outcome }.encode(&mut sender.outbox);
        }
    }

    /// Sends what they take now.
    pub(crate) fn flush(&mut self) {
        self.senders.retain(|_, sender| sender.flush());
    }
}

impl Sender {
    fn may_read(&self) -> bool {
        !self.ending && self.outbox.len() < MAX_UNREAD_BYTES
    }

    fn heard(&mut self, from: u64, bytes: &[u8], alerts: &mut Vec<Alert>) {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut frames = Frames::new(&inbox);
        let mut sound = true;
        for frame in frames.by_ref() {
            sound = match frame {
                Ok(Frame::Hello(hello)) if !self.greeted => {
                    self.greeted = true;
                    let version = hello.version.min(VERSION);
                    Frame::Hello(Hello { version, features: Features::NONE }).encode(&mut self.outbox);
                    true
                }
                Ok(Frame::Alert { alert_id, client_id, wait_for_ack, payload }) if self.greeted => {
                    alerts.push(Alert { from, alert_id, client_id, wait_for_ack, payload: payload.to_vec() });
                    true
                }
                Ok(Frame::Goodbye { .. }) => {
                    self.ending = true;
                    true
                }
                Ok(_) | Err(_) => false,
            };
            if !sound || self.ending {
                break;
            }
        }
        if !sound {
            Frame::Goodbye { reason: GoodbyeReason::Protocol, retry_after_ms: 0 }.encode(&mut self.outbox);
            self.ending = true;
        }
        self.inbox = inbox[frames.taken()..].to_vec();
    }

    /// Sends what is taken now; whether the connection goes on.
    fn flush(&mut self) -> bool {
        let mut sent = 0;
        while sent < self.outbox.len() {
            match self.stream.try_write(&self.outbox[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.outbox.drain(..sent);
        !(self.ending && self.outbox.is_empty())
    }
}
