//! One client, and one sender of alerts, that wait for each frame.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use holdline_protocol::{Decoded, Features, Frame, GoodbyeReason, Hello, Outcome, RefusedReason, VERSION, decode};

use crate::processes::PATIENCE;

/// A connection to either interface of a server.
pub(crate) struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// What a server said, without what is borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Hello,
    Registered,
    Refused(RefusedReason, u32),
    Tap(u64, Vec<u8>),
    Goodbye(GoodbyeReason),
    Result(u64, Outcome),
    NopAck,
    Other,
    /// The connection ended.
    End,
}

impl Peer {
    /// Connects and exchanges Hello.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut peer = Self { stream, inbox: Vec::new() };
        peer.say(&Frame::Hello(Hello { version: VERSION, features: Features::NONE }));
        peer
    }

    /// Connects and asks for a registration; returns what the server said to it.
    pub(crate) fn register(address: SocketAddr, client_id: u64) -> (Self, Said) {
        let mut peer = Self::connect(address);
        peer.say(&Frame::Register { client_id, credential: &[] });
        loop {
            match peer.hear() {
                Said::Hello => {}
                said => return (peer, said),
            }
        }
    }

    /// A client that is registered.
    pub(crate) fn registered(address: SocketAddr, client_id: u64) -> Self {
        let (peer, said) = Self::register(address, client_id);
        assert_eq!(said, Said::Registered, "client {client_id}");
        peer
    }

    pub(crate) fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // A server that has closed is noticed by reading, after its last words.
        let _ = self.stream.write_all(&bytes);
    }

    /// Waits for the next frame.
    pub(crate) fn hear(&mut self) -> Said {
        let mut buffer = [0; 4096];
        loop {
            if let Decoded::Frame(frame, length) = decode(&self.inbox).unwrap() {
                let said = own(frame);
                self.inbox.drain(..length);
                return said;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Said::End,
                Ok(bytes) => self.inbox.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Said::End,
                Err(error) => panic!("no frame came: {error}"),
            }
        }
    }

    /// Waits for a frame other than Hello.
    pub(crate) fn hear_more(&mut self) -> Said {
        loop {
            match self.hear() {
                Said::Hello => {}
                said => return said,
            }
        }
    }

    /// Sends an alert that waits for the acknowledgement.
    pub(crate) fn alert(&mut self, alert_id: u64, client_id: u64) {
        self.say(&Frame::Alert { alert_id, client_id, wait_for_ack: true, payload: b"wake up" });
    }

    /// Waits for the result of the one alert that is under way, while `client` acknowledges what it is tapped with.
    pub(crate) fn outcome_with(&mut self, client: &mut Peer) -> Outcome {
        if let Said::Tap(tap_id, _) = client.hear_more() {
            client.say(&Frame::TapAck { tap_id });
        }
        match self.hear_more() {
            Said::Result(_, outcome) => outcome,
            other => panic!("{other:?} came instead of a result"),
        }
    }
}

fn own(frame: Frame<'_>) -> Said {
    match frame {
        Frame::Hello(_) => Said::Hello,
        Frame::Registered { .. } => Said::Registered,
        Frame::Refused { reason, retry_after_ms } => Said::Refused(reason, retry_after_ms),
        Frame::Tap { tap_id, payload } => Said::Tap(tap_id, payload.to_vec()),
        Frame::Goodbye { reason, .. } => Said::Goodbye(reason),
        Frame::AlertResult { alert_id, outcome } => Said::Result(alert_id, outcome),
        Frame::NopAck => Said::NopAck,
        _ => Said::Other,
    }
}
