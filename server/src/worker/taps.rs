//! Taps in flight.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use holdline_protocol::{Frame, Outcome};

use super::Worker;
use super::slots::State;
use crate::messages::FromWorker;

/// How long a tap that has timed out is remembered, in timeouts, so that its acknowledgement is counted as late.
const REMEMBERED_TIMEOUTS: u64 = 12;

/// A tap that waits for its acknowledgement.
#[derive(Debug)]
struct Pending {
    slot: u32,
    /// The registration it was sent on: an acknowledgement on a later connection in the same slot is not for it.
    seq: u32,
}

/// Taps in flight in this worker.
#[derive(Debug)]
pub(super) struct Taps {
    timeout_us: u64,
    pending: HashMap<u64, Pending>,
    /// In the order they were sent; as all have the same timeout, also the order in which they expire.
    deadlines: VecDeque<(u64, u64)>,
    /// Timed out not long ago: until when they are remembered, and which.
    late: VecDeque<(u64, u64)>,
}

impl Taps {
    pub(super) fn new(timeout: Duration) -> Self {
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        Self { timeout_us, pending: HashMap::new(), deadlines: VecDeque::new(), late: VecDeque::new() }
    }

    /// Whether none is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn sent(&mut self, token: u64, slot: u32, seq: u32, now_us: u64) {
        self.pending.insert(token, Pending { slot, seq });
        self.deadlines.push_back((now_us.saturating_add(self.timeout_us), token));
    }

    /// Whether `token` was in flight on this very registration.
    pub(super) fn acknowledged(&mut self, token: u64, slot: u32, seq: u32) -> bool {
        let is_it = self.pending.get(&token).is_some_and(|pending| pending.slot == slot && pending.seq == seq);
        if is_it {
            self.pending.remove(&token);
            self.forget_settled();
        }
        is_it
    }

    /// Whether `token` had timed out not long ago.
    pub(super) fn acknowledged_late(&mut self, token: u64) -> bool {
        let found = self.late.iter().position(|(_, late)| *late == token);
        found.and_then(|at| self.late.remove(at)).is_some()
    }

    /// Taps in flight to `slot`, which are taken out.
    pub(super) fn of_slot(&mut self, slot: u32) -> Vec<u64> {
        let tokens: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.slot == slot).map(|(token, _)| *token).collect();
        for token in &tokens {
            self.pending.remove(token);
        }
        tokens
    }

    /// Taps whose time is over, which are taken out.
    pub(super) fn expired(&mut self, now_us: u64) -> Vec<(u64, Outcome)> {
        let mut expired = Vec::new();
        while let Some((deadline, token)) = self.deadlines.front().copied().filter(|(deadline, _)| *deadline <= now_us)
        {
            self.deadlines.pop_front();
            if self.pending.remove(&token).is_some() {
                self.late.push_back((deadline.saturating_add(self.timeout_us * REMEMBERED_TIMEOUTS), token));
                expired.push((token, Outcome::TimedOut));
            }
        }
        while self.late.front().is_some_and(|(until, _)| *until <= now_us) {
            self.late.pop_front();
        }
        expired
    }

    /// Deadlines of taps that are settled leave at once where they are the oldest; others when their time comes.
    fn forget_settled(&mut self) {
        while self.deadlines.front().is_some_and(|(_, token)| !self.pending.contains_key(token)) {
            self.deadlines.pop_front();
        }
    }
}

impl Worker {
    /// Taps the client in `slot`, if it is there.
    pub(super) fn tap(&mut self, token: u64, index: u32, client_id: u64, wait_for_ack: bool, payload: Vec<u8>) {
        let here = self.slots.get(index).filter(|slot| slot.state == State::Registered && slot.id() == client_id);
        let Some(slot) = here else {
            return self.channel.push(&FromWorker::Moved { token, payload });
        };
        let seq = slot.seq;
        if self.is_unconfirmed(index) {
            self.confirm_now(index);
        }
        let mut tap = Vec::with_capacity(payload.len() + 16);
        Frame::Tap { tap_id: token, payload: &payload }.encode(&mut tap);
        if !self.has_room_for(index, tap.len()) {
            return self.settle(token, Outcome::Overloaded);
        }
        self.send(index, &tap);
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.state == State::Registered && slot.seq == seq)
        else {
            // Sending found that the client is gone.
            return self.settle(token, Outcome::Offline);
        };
        self.counts.taps_sent_total += 1;
        if wait_for_ack {
            slot.mark_tapped();
            self.taps.sent(token, index, seq, self.clock.now_us());
        } else {
            self.settle(token, Outcome::Sent);
        }
    }

    /// Whether the bounds on unsent bytes leave room for `bytes` more to this client.
    fn has_room_for(&self, index: u32, bytes: usize) -> bool {
        self.slots.kept_bytes(index) + bytes <= self.config.max_unsent_per_connection_bytes as usize
            && self.slots.unsent_bytes + bytes as u64 <= self.config.max_unsent_per_worker_bytes
    }

    /// Tells the supervisor what became of an alert.
    pub(super) fn settle(&mut self, token: u64, outcome: Outcome) {
        self.channel.push(&FromWorker::Settled { token, outcome: outcome.code() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tap_leaves_once() {
        let mut taps = Taps::new(Duration::from_secs(1));
        taps.sent(1, 10, 100, 0);
        taps.sent(2, 10, 100, 0);
        taps.sent(3, 11, 101, 500_000);
        assert!(!taps.acknowledged(1, 10, 99), "another registration in the same slot");
        assert!(!taps.acknowledged(1, 11, 101), "another client");
        assert!(taps.acknowledged(1, 10, 100));
        assert!(!taps.acknowledged(1, 10, 100), "twice");
        assert_eq!(taps.expired(1_000_000), [(2, Outcome::TimedOut)]);
        assert!(taps.acknowledged_late(2) && !taps.acknowledged_late(2));
        assert_eq!(taps.of_slot(11), [3]);
        assert_eq!(taps.expired(9_000_000), []);
        assert!(taps.pending.is_empty() && taps.deadlines.is_empty());
    }
}
