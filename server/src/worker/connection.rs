//! What is said on one connection.

use holdline_host::epoll::{Event, Interest};
use holdline_host::socket;
use holdline_protocol::{Features, Frame, Frames, GoodbyeReason, Hello, Invalid, Outcome, RefusedReason, VERSION};

use super::Worker;
use super::slots::State;
use crate::messages::FromWorker;

/// Reads of one connection in one event: one that never stops talking must not keep the others waiting.
const READS: usize = 4;

/// A registration that its client has not been told.
pub(super) struct Unconfirmed {
    index: u32,
    /// The answer to the client's Hello, if that is still owed too.
    greeting: Option<Hello>,
}

/// A frame that has no place in the conversation, or is none.
enum Fault {
    Invalid(Invalid),
    OutOfPlace,
}

impl Worker {
    pub(super) fn on_event(&mut self, event: Event, buffer: &mut [u8]) {
        if event.writable {
            self.write_rest(event.token);
        }
        if event.readable {
            self.read(event.token, buffer);
        }
    }

    fn read(&mut self, index: u32, buffer: &mut [u8]) {
        for _ in 0..READS {
            let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.is_open()) else { return };
            // Only a registered client lives by what it says: the deadline to register is no matter of talking.
            slot.heard_s = if slot.state == State::Registered { self.now_s } else { slot.heard_s };
            let Some(socket) = slot.socket() else { return };
            match socket::read(socket, buffer) {
                Ok(Some(0)) => return self.end(index, "closed_by_client"),
                Ok(Some(bytes)) => {
                    self.heard(index, &buffer[..bytes]);
                    if bytes < buffer.len() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.end(index, socket::error_label(&error)),
            }
        }
    }

    /// Bytes came in.
    fn heard(&mut self, index: u32, bytes: &[u8]) {
        if self.slots.get(index).is_some_and(|slot| slot.state == State::Ending) {
            return;
        }
        let fault = match self.slots.partial.remove(&index) {
            None => self.frames(index, bytes),
            Some(mut kept) => {
                kept.extend_from_slice(bytes);
                self.frames(index, &kept)
            }
        };
        self.send_reply(index);
        if let Err(fault) = fault {
            if let Fault::Invalid(invalid) = fault {
                tracing::debug!("connection {index}: {invalid}");
            }
            self.send_away(index, GoodbyeReason::Protocol);
        }
    }

    fn frames(&mut self, index: u32, bytes: &[u8]) -> Result<(), Fault> {
        let mut frames = Frames::new(bytes);
        for frame in frames.by_ref() {
            self.frame(index, &frame.map_err(Fault::Invalid)?)?;
            // The rest of what a client said before it was closed is of no interest.
            if self.slots.get(index).is_none_or(|slot| !slot.is_open() || slot.state == State::Ending) {
                return Ok(());
            }
        }
        let rest = &bytes[frames.taken()..];
        if !rest.is_empty() {
            self.slots.partial.insert(index, rest.to_vec());
        }
        Ok(())
    }

    fn frame(&mut self, index: u32, frame: &Frame<'_>) -> Result<(), Fault> {
        // A client that goes on talking before it was confirmed must not be answered in the wrong order.
        if self.is_unconfirmed(index) {
            self.send_reply(index);
            self.confirm_now(index);
        }
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        match (slot.state, frame) {
            (State::New, Frame::Hello(hello)) => {
                slot.state = State::Greeted;
                self.greeting = Some(answer(*hello));
            }
            (State::Greeted, Frame::Register { .. }) if slot.is_unwanted() => self.refuse(index, RefusedReason::Full),
            (State::Greeted, Frame::Register { client_id, .. }) => self.register(index, *client_id),
            (State::Registered, Frame::Nop) => {
                self.counts.nops_total += 1;
                Frame::NopAck.encode(&mut self.reply);
            }
            (State::Registered, Frame::TapAck { tap_id }) => {
                if self.taps.acknowledged(*tap_id, index, slot.seq) {
                    self.counts.tap_acks_total += 1;
                    self.settle(*tap_id, Outcome::Acknowledged);
                } else if self.taps.acknowledged_late(*tap_id) {
                    self.counts.tap_acks_total += 1;
                }
            }
            (_, Frame::Goodbye { .. }) => self.end(index, "goodbye_of_client"),
            _ => return Err(Fault::OutOfPlace),
        }
        Ok(())
    }

    fn register(&mut self, index: u32, client_id: u64) {
        if self.draining {
            return self.refuse(index, RefusedReason::Draining);
        }
        self.joins = self.joins.wrapping_add(1);
        let now_s = self.now_s;
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = State::Registered;
        slot.heard_s = now_s;
        slot.seq = self.joins;
        slot.set_id(client_id);
        self.counts.registered += 1;
        self.counts.registered_total += 1;
        self.channel.push(&FromWorker::Joined { slot: index, client_id, seq: self.joins });
        // Hello and Registered go out together: two small writes would cost the service, and wake the client, twice.
        self.unconfirmed.push(Unconfirmed { index, greeting: self.greeting.take() });
    }

    /// Whether this client's registration is still to be told.
    pub(super) fn is_unconfirmed(&self, index: u32) -> bool {
        self.unconfirmed.iter().any(|unconfirmed| unconfirmed.index == index)
    }

    fn take_unconfirmed(&mut self, index: u32) -> Option<Unconfirmed> {
        let at = self.unconfirmed.iter().position(|unconfirmed| unconfirmed.index == index)?;
        Some(self.unconfirmed.remove(at))
    }

    /// Tells the clients that registered since the last time that they are, once the supervisor has been told: an alert
    /// that follows on Registered must find the new connection, not the one it replaced.
    pub(super) fn confirm(&mut self) {
        if self.unconfirmed.is_empty() {
            return;
        }
        // A supervisor that is gone is noticed by the loop.
        let _ = self.channel.flush();
        // One that is slow keeps clients waiting for their registration: it is what limits them.
        if self.channel.queued_bytes() == 0 {
            let mut registered = std::mem::take(&mut self.unconfirmed);
            registered.drain(..).for_each(|unconfirmed| self.say_registered(unconfirmed));
            self.unconfirmed = registered;
        }
    }

    /// The same at once for one client, to whom something else is about to be said.
    pub(super) fn confirm_now(&mut self, index: u32) {
        // Where the supervisor takes nothing now, the order on this connection matters more than what an alert may meet.
        let _ = self.channel.flush();
        if let Some(unconfirmed) = self.take_unconfirmed(index) {
            self.say_registered(unconfirmed);
        }
    }

    fn say_registered(&mut self, Unconfirmed { index, greeting }: Unconfirmed) {
        if self.slots.get(index).is_some_and(|slot| slot.state == State::Registered) {
            let idle_timeout_ms = u32::try_from(self.config.idle_timeout.as_millis()).unwrap_or(u32::MAX);
            greet(greeting, &mut self.reply);
            Frame::Registered { idle_timeout_ms }.encode(&mut self.reply);
            self.send_reply(index);
        }
    }

    fn refuse(&mut self, index: u32, reason: RefusedReason) {
        *self.counts.refused.entry(reason.label().to_owned()).or_default() += 1;
        self.send_reply(index);
        let retry_after_ms = self.retry_after_ms(index);
        self.finish(index, &Frame::Refused { reason, retry_after_ms }, "refused");
    }

    /// Sends `frame` as the last one, and waits for the client to close.
    pub(super) fn finish(&mut self, index: u32, frame: &Frame<'_>, cause: &'static str) {
        if self.slots.get(index).is_none_or(|slot| !slot.is_open() || slot.state == State::Ending) {
            return;
        }
        let greeting = self.unregister(index, cause);
        greet(greeting, &mut self.reply);
        let now_s = self.now_s;
        // From here on it is in the books as ended: that sending fails must not count it again.
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = State::Ending;
        slot.heard_s = now_s;
        self.counts.ending += 1;
        frame.encode(&mut self.reply);
        self.send_reply(index);
        self.slots.forget_bytes(index);
        // A socket whose sending side is shut is always ready to be written: watched for that, it would never rest.
        self.wait_for(index, Interest::Read);
        let Some(slot) = self.slots.get(index).filter(|slot| slot.is_open()) else { return };
        if slot.socket().is_some_and(|socket| socket::finish_writing(socket).is_err()) {
            // It was over before the last frame could be sent.
            self.end(index, cause);
        }
    }

    /// The connection is over, for this cause.
    pub(super) fn end(&mut self, index: u32, cause: &'static str) {
        let Some(slot) = self.slots.get(index).filter(|slot| slot.is_open()) else { return };
        let (ending, unwanted) = (slot.state == State::Ending, slot.is_unwanted());
        if ending {
            self.counts.ending -= 1;
        } else {
            self.unregister(index, cause);
        }
        self.slots.close(index);
        self.counts.open -= 1;
        if unwanted {
            self.refusing -= 1;
        } else {
            self.closed += 1;
        }
    }

    /// Takes the connection out of the books: its end has this cause. Returns the Hello that the client has not got yet.
    fn unregister(&mut self, index: u32, cause: &'static str) -> Option<Hello> {
        *self.counts.ended.entry(cause.to_owned()).or_default() += 1;
        let slot = self.slots.get_mut(index)?;
        if slot.state != State::Registered {
            return None;
        }
        let tapped = slot.take_tapped();
        let unconfirmed = self.take_unconfirmed(index);
        self.counts.registered -= 1;
        self.channel.push(&FromWorker::Left { slot: index });
        if tapped {
            for token in self.taps.of_slot(index) {
                self.settle(token, Outcome::Offline);
            }
        }
        unconfirmed?.greeting
    }

    /// Another connection of the same client has registered, here or in another worker.
    pub(super) fn replaced(&mut self, index: u32, seen: u32) {
        let is_old = |seq: u32| seen.wrapping_sub(seq) < u32::MAX / 2;
        if self.slots.get(index).is_some_and(|slot| slot.state == State::Registered && is_old(slot.seq)) {
            self.send_away(index, GoodbyeReason::Replaced);
        }
    }

    fn send_reply(&mut self, index: u32) {
        if let Some(greeting) = self.greeting.take() {
            // Nothing is said before it: a client is heard from its Hello on.
            greet(Some(greeting), &mut self.reply);
        }
        if self.reply.is_empty() {
            return;
        }
        let mut reply = std::mem::take(&mut self.reply);
        self.send(index, &reply);
        reply.clear();
        // One large push must not be paid for ever after.
        if reply.capacity() <= super::READ_BYTES {
            self.reply = reply;
        }
    }

    /// Sends bytes now, or keeps what the socket does not take.
    pub(super) fn send(&mut self, index: u32, bytes: &[u8]) {
        let kept = self.slots.kept_bytes(index);
        // Nops answered to a client that never reads would grow without end.
        if kept > 0 && kept + bytes.len() > self.config.max_unsent_per_connection_bytes as usize {
            return self.end(index, GoodbyeReason::SlowReader.label());
        }
        match self.slots.write(index, bytes) {
            Ok(false) => {}
            Ok(true) => self.wait_for(index, Interest::ReadWrite),
            Err(error) => self.end(index, socket::error_label(&error)),
        }
    }

    fn write_rest(&mut self, index: u32) {
        match self.slots.write_rest(index) {
            Ok(false) => {}
            Ok(true) => self.wait_for(index, Interest::Read),
            Err(error) => self.end(index, socket::error_label(&error)),
        }
    }

    fn wait_for(&self, index: u32, interest: Interest) {
        let Some(socket) = self.slots.get(index).and_then(|slot| slot.socket()) else { return };
        if let Err(error) = self.epoll.get_ref().modify(socket, index, interest) {
            tracing::warn!("can't change what is waited for on a connection: {error}");
        }
    }
}

/// The answer to a client's Hello.
fn answer(hello: Hello) -> Hello {
    Hello { version: hello.version.min(VERSION), features: Features::NONE }
}

/// Says a Hello that is owed.
fn greet(greeting: Option<Hello>, reply: &mut Vec<u8>) {
    if let Some(hello) = greeting {
        Frame::Hello(hello).encode(reply);
    }
}
