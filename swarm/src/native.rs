//! The Holdline protocol as a driver.

use holdline_protocol::{Features, Frame, Frames, GoodbyeReason, Hello, VERSION};

use crate::driver::{Driver, DriverEvent, Violation};

/// Speaks the protocol of `protocol/PROTOCOL.md`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

/// How far the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Hello and Register are sent.
    #[default]
    Opened,
    /// The service has said Hello.
    Greeted,
    /// The service has said Registered.
    Registered,
}

impl Driver for Native {
    type State = State;

    fn open(&self, client_id: u64, state: &mut State, out: &mut Vec<u8>) {
        *state = State::Opened;
        // Both in one write: the server may be asked before it has said its version.
        Frame::Hello(Hello { version: VERSION, features: Features::NONE }).encode(out);
        Frame::Register { client_id, credential: &[] }.encode(out);
    }

    fn receive(
        &self,
        _client_id: u64,
        state: &mut State,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<usize, Violation> {
        let mut frames = Frames::new(input);
        for frame in frames.by_ref() {
            match (*state, frame.map_err(|_| Violation)?) {
                (State::Opened, Frame::Hello(hello)) if hello.version <= VERSION => *state = State::Greeted,
                (State::Greeted, Frame::Registered { .. }) => {
                    *state = State::Registered;
                    events.push(DriverEvent::Registered);
                }
                (State::Opened | State::Greeted, Frame::Refused { reason, retry_after_ms }) => {
                    events.push(DriverEvent::Refused { reason: reason.label(), retry_after_ms });
                }
                (State::Registered, Frame::Tap { tap_id, .. }) => {
                    Frame::TapAck { tap_id }.encode(out);
                    events.push(DriverEvent::Tapped);
                }
                (State::Registered, Frame::NopAck) => events.push(DriverEvent::KeepaliveAnswered),
                (_, Frame::Goodbye { reason, retry_after_ms }) => {
                    events.push(DriverEvent::Goodbye { reason: reason.label(), retry_after_ms });
                }
                _ => return Err(Violation),
            }
        }
        Ok(frames.taken())
    }

    fn keepalive(&self, _client_id: u64, _state: &mut State, out: &mut Vec<u8>) {
        Frame::Nop.encode(out);
    }

    fn leave(&self, _client_id: u64, _state: &mut State, out: &mut Vec<u8>) {
        Frame::Goodbye { reason: GoodbyeReason::Leaving, retry_after_ms: 0 }.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use holdline_protocol::RefusedReason;

    use super::*;

    fn bytes(frames: &[Frame<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        bytes
    }

    const HELLO: Frame<'static> = Frame::Hello(Hello { version: VERSION, features: Features::NONE });
    const REGISTERED: Frame<'static> = Frame::Registered { idle_timeout_ms: 0 };

    /// What comes of `input`, given whole and byte by byte.
    fn check(input: &[Frame<'_>], expected: Result<&[DriverEvent], Violation>, answer: &[Frame<'_>]) {
        let input = bytes(input);
        for step in [input.len(), 1] {
            let (mut state, mut out, mut events, mut kept) = (State::default(), Vec::new(), Vec::new(), Vec::new());
            let mut result = Ok(());
            for part in input.chunks(step) {
                kept.extend_from_slice(part);
                match Native.receive(7, &mut state, &kept, &mut out, &mut events) {
                    Ok(taken) => drop(kept.drain(..taken)),
                    Err(violation) => {
                        result = Err(violation);
                        break;
                    }
                }
            }
            assert_eq!(result.map(|()| events.as_slice()), expected);
            if result.is_ok() {
                assert_eq!(out, bytes(answer));
                assert!(kept.is_empty());
            }
        }
    }

    #[test]
    fn conversations() {
        let tap = |tap_id| Frame::Tap { tap_id, payload: b"x" };
        let ack = |tap_id| Frame::TapAck { tap_id };
        check(&[HELLO, REGISTERED], Ok(&[DriverEvent::Registered]), &[]);
        let tapped = [DriverEvent::Registered, DriverEvent::Tapped, DriverEvent::Tapped];
        check(&[HELLO, REGISTERED, tap(1), tap(2)], Ok(&tapped), &[ack(1), ack(2)]);
        let refused = DriverEvent::Refused { reason: "full", retry_after_ms: 9 };
        check(&[HELLO, Frame::Refused { reason: RefusedReason::Full, retry_after_ms: 9 }], Ok(&[refused]), &[]);
        let goodbye = DriverEvent::Goodbye { reason: "replaced", retry_after_ms: 0 };
        let farewell = Frame::Goodbye { reason: GoodbyeReason::Replaced, retry_after_ms: 0 };
        check(&[HELLO, REGISTERED, farewell], Ok(&[DriverEvent::Registered, goodbye]), &[]);
        check(&[HELLO, REGISTERED, Frame::NopAck], Ok(&[DriverEvent::Registered, DriverEvent::KeepaliveAnswered]), &[]);
        // A push before the registration, a registration twice, a version above ours.
        check(&[HELLO, tap(1)], Err(Violation), &[]);
        check(&[REGISTERED], Err(Violation), &[]);
        check(&[HELLO, REGISTERED, REGISTERED], Err(Violation), &[]);
        check(&[Frame::Hello(Hello { version: VERSION + 1, features: Features::NONE })], Err(Violation), &[]);
    }
}
