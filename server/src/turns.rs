//! Whose turn it is to accept.
//!
//! The workers share one listener, but only those with credit watch it: a listener in the nested epoll set of every
//! worker would wake them all for each connection. About two at a time get credit for some accepts; then it is the turn
//! of those with the most room. Credits also count connections exactly, so that a full server refuses the next client.

use std::time::Duration;

/// Workers that may accept at a time.
const ARMED: usize = 2;
/// Accepts granted at a time.
const GRANT: u64 = 256;
/// A worker that has credit, and does nothing with it for this long while connections wait, is passed over.
pub(crate) const STALL: Duration = Duration::from_millis(250);

/// What a worker is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Accept(u32),
    Refuse,
    Revoke,
}

#[derive(Debug, Clone, Default)]
struct Share {
    /// Connections it may hold.
    quota: u64,
    /// Connections it holds.
    open: u64,
    /// Accepts granted and not used yet.
    credit: u64,
    /// It was told to give its credit back and has not answered: its credit still counts, its turn does not.
    revoked: bool,
    /// It refuses whoever comes.
    refusing: bool,
    /// It has ended: nothing can be granted before it is started again.
    down: bool,
    /// When it last accepted or was granted something.
    moved_us: u64,
}

impl Share {
    fn room(&self) -> u64 {
        if self.down {
            return 0;
        }
        self.quota.saturating_sub(self.open + self.credit)
    }

    fn armed(&self) -> bool {
        self.credit > 0 && !self.revoked
    }
}

/// The accounts of all workers.
#[derive(Debug)]
pub(crate) struct Turns {
    max_connections: u64,
    shares: Vec<Share>,
}

impl Turns {
    /// No worker holds anything; `quotas` says what each may hold, `max_connections` what they may hold together.
    pub(crate) fn new(max_connections: u64, quotas: Vec<u64>) -> Self {
        let shares = quotas.into_iter().map(|quota| Share { quota, ..Share::default() }).collect();
        Self { max_connections, shares }
    }

    /// Worker `worker` accepted and closed connections.
    pub(crate) fn flow(&mut self, worker: usize, opened: u64, closed: u64, now_us: u64) {
        let share = &mut self.shares[worker];
        share.open = (share.open + opened).saturating_sub(closed);
        share.credit = share.credit.saturating_sub(opened);
        if opened > 0 {
            share.moved_us = now_us;
        }
    }

    /// Worker `worker` gave credit back.
    pub(crate) fn returned(&mut self, worker: usize, unused: u64) {
        let share = &mut self.shares[worker];
        share.credit = share.credit.saturating_sub(unused);
        share.revoked = false;
    }

    /// Worker `worker` ended, with all its connections and its credit.
    pub(crate) fn ended(&mut self, worker: usize) {
        self.shares[worker] = Share { quota: self.shares[worker].quota, down: true, ..Share::default() };
    }

    /// A new worker stands in the place of one that ended.
    pub(crate) fn restarted(&mut self, worker: usize) {
        self.shares[worker].down = false;
    }

    /// What to tell whom now. `waiting` says whether connections wait in the accept queue; asked only where it matters.
    pub(crate) fn next(&mut self, now_us: u64, waiting: impl FnOnce() -> bool) -> Vec<(usize, Turn)> {
        let mut turns = Vec::new();
        self.pass_over_stalled(now_us, waiting, &mut turns);
        while self.shares.iter().filter(|share| share.armed()).count() < ARMED {
            let Some((worker, accepts)) = self.grant() else { break };
            let share = &mut self.shares[worker];
            share.credit += accepts;
            share.moved_us = now_us;
            share.refusing = false;
            turns.push((worker, Turn::Accept(u32::try_from(accepts).unwrap_or(u32::MAX))));
        }
        self.refuse_when_full(&mut turns);
        turns
    }

    fn pass_over_stalled(&mut self, now_us: u64, waiting: impl FnOnce() -> bool, turns: &mut Vec<(usize, Turn)>) {
        let stall_us = u64::try_from(STALL.as_micros()).unwrap_or(u64::MAX);
        let stalled = |share: &Share| share.armed() && now_us.saturating_sub(share.moved_us) > stall_us;
        if !self.shares.iter().any(stalled) || !waiting() {
            return;
        }
        for (worker, share) in self.shares.iter_mut().enumerate().filter(|(_, share)| stalled(share)) {
            share.revoked = true;
            turns.push((worker, Turn::Revoke));
        }
    }

    /// The worker with the most room that has no turn now, and how many accepts it gets.
    fn grant(&self) -> Option<(usize, u64)> {
        let taken: u64 = self.shares.iter().map(|share| share.open + share.credit).sum();
        let left = self.max_connections.saturating_sub(taken);
        let candidates = self.shares.iter().enumerate().filter(|(_, share)| !share.armed() && !share.revoked);
        let (worker, share) = candidates.max_by_key(|(index, share)| (share.room(), std::cmp::Reverse(*index)))?;
        let accepts = GRANT.min(share.room()).min(left);
        (accepts > 0).then_some((worker, accepts))
    }

    /// With no credit anywhere and none to give, one worker refuses; as soon as there is room again it stops.
    fn refuse_when_full(&mut self, turns: &mut Vec<(usize, Turn)>) {
        let full = self.shares.iter().all(|share| share.credit == 0) && self.grant().is_none();
        if full
            && !self.shares.iter().any(|share| share.refusing)
            && let Some(worker) = self.shares.iter().position(|share| !share.down)
        {
            self.shares[worker].refusing = true;
            turns.push((worker, Turn::Refuse));
        }
        if !full {
            for (worker, share) in self.shares.iter_mut().enumerate().filter(|(_, share)| share.refusing) {
                share.refusing = false;
                share.revoked = true;
                turns.push((worker, Turn::Revoke));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn never() -> bool {
        false
    }

    #[test]
    fn two_are_armed_and_the_roomiest_is_next() {
        let mut turns = Turns::new(10_000, vec![5000, 5000, 5000]);
        assert_eq!(turns.next(0, never), [(0, Turn::Accept(256)), (1, Turn::Accept(256))]);
        assert_eq!(turns.next(1, never), []);
        turns.flow(0, 255, 0, 2);
        assert_eq!(turns.next(2, never), []);
        turns.flow(0, 1, 0, 3);
        assert_eq!(turns.next(3, never), [(2, Turn::Accept(256))]);
        turns.flow(1, 256, 0, 4);
        assert_eq!(turns.next(4, never), [(0, Turn::Accept(256))]);
    }

    #[test]
    fn a_full_server_refuses_until_there_is_room() {
        let mut turns = Turns::new(3, vec![2, 2]);
        assert_eq!(turns.next(0, never), [(0, Turn::Accept(2)), (1, Turn::Accept(1))]);
        turns.flow(0, 2, 0, 1);
        assert_eq!(turns.next(1, never), []);
        turns.flow(1, 1, 0, 2);
        assert_eq!(turns.next(2, never), [(0, Turn::Refuse)]);
        assert_eq!(turns.next(3, never), []);
        turns.flow(1, 0, 1, 4);
        assert_eq!(turns.next(4, never), [(1, Turn::Accept(1)), (0, Turn::Revoke)]);
        turns.returned(0, 0);
        assert_eq!(turns.next(5, never), []);
    }

    #[test]
    fn a_stalled_worker_does_not_stop_the_others() {
        let mut turns = Turns::new(10_000, vec![5000, 5000, 5000]);
        turns.next(0, never);
        turns.flow(0, 10, 0, 400_000);
        assert_eq!(turns.next(400_000, never), [], "nobody waits, so nobody is late");
        assert_eq!(turns.next(400_000, || true), [(1, Turn::Revoke), (2, Turn::Accept(256))]);
        // It comes back: what it did not use is free again.
        turns.flow(1, 6, 0, 500_000);
        turns.returned(1, 250);
        turns.ended(2);
        assert_eq!(turns.next(500_000, never).len(), 1);
    }

    #[test]
    fn a_worker_that_ended_is_granted_nothing_before_it_is_started_again() {
        let mut turns = Turns::new(600, vec![300, 300]);
        turns.next(0, never);
        turns.flow(0, 256, 0, 1);
        turns.ended(0);
        assert_eq!(turns.next(2, never), []);
        turns.flow(1, 256, 0, 3);
        assert_eq!(turns.next(3, never), [(1, Turn::Accept(44))]);
        turns.flow(1, 44, 0, 4);
        assert_eq!(turns.next(4, never), [(1, Turn::Refuse)]);
        turns.restarted(0);
        assert_eq!(turns.next(5, never), [(0, Turn::Accept(256)), (1, Turn::Revoke)]);
    }

    proptest! {
        /// Whatever happens, no worker and no server is granted more than it may hold, and while there is room someone accepts.
        #[test]
        fn never_too_many_and_never_nobody(events in prop::collection::vec((0..3_usize, 0..4_u8, 0..300_u64), 0..200)) {
            let mut turns = Turns::new(900, vec![400; 3]);
            let mut now = 0;
            for (worker, kind, n) in events {
                now += 100_000;
                let (credit, open) = (turns.shares[worker].credit, turns.shares[worker].open);
                match kind {
                    0 => turns.flow(worker, n.min(credit), 0, now),
                    1 => turns.flow(worker, 0, n.min(open), now),
                    2 if turns.shares[worker].revoked => turns.returned(worker, credit),
                    3 if turns.shares[worker].down => turns.restarted(worker),
                    3 if n < 100 => turns.ended(worker),
                    _ => {}
                }
                let told = turns.next(now, || n.is_multiple_of(2));
                prop_assert!(told.iter().all(|(worker, _)| !turns.shares[*worker].down));
                let taken: u64 = turns.shares.iter().map(|share| share.open + share.credit).sum();
                prop_assert!(taken <= 900);
                prop_assert!(turns.shares.iter().all(|share| share.open + share.credit <= 400));
                let someone = turns.shares.iter().any(|share| share.credit > 0 || share.refusing || share.revoked);
                prop_assert!(someone || turns.shares.iter().all(|share| share.down), "{turns:?}");
            }
        }
    }
}
