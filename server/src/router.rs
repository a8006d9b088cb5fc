//! Which alert goes where: the directory, the alerts in flight, and what each message of a worker means for them. No I/O.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use holdline_protocol::Outcome;
use holdline_record::AlertCounts;

use crate::alerts::Alert;
use crate::directory::{Directory, Location};
use crate::messages::ToWorker;

/// How often one alert follows a client that moves between connections before it is called offline.
const MAX_MOVES: u8 = 4;

/// An alert on its way.
#[derive(Debug)]
struct InFlight {
    from: u64,
    alert_id: u64,
    client_id: u64,
    wait_for_ack: bool,
    worker: usize,
    moves: u8,
}

/// The answer to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The sender it is for.
    pub(crate) to: u64,
    pub(crate) alert_id: u64,
    pub(crate) outcome: Outcome,
}

/// What is to be said to whom, in order.
#[derive(Debug, Default)]
pub(crate) struct Post {
    pub(crate) orders: Vec<(usize, ToWorker)>,
    pub(crate) answers: Vec<Answer>,
}

/// Knows where each client is, and has one answer for each alert.
pub(crate) struct Router {
    directory: Directory,
    /// The `seq` of each worker's last `Joined`.
    seen: Vec<u32>,
    in_flight: HashMap<u64, InFlight>,
    /// When the answer of a worker is overdue, and for which alert; in order.
    deadlines: VecDeque<(u64, u64)>,
    patience_us: u64,
    max_in_flight: u64,
    next_token: u64,
    counts: AlertCounts,
    post: Post,
}

impl Router {
    /// No client yet; at most `max_in_flight` alerts wait for their outcome, each at most for `patience`: longer than a
    /// worker needs to find out that a tap has timed out.
    pub(crate) fn new(workers: usize, max_in_flight: u64, patience: Duration) -> Self {
        Self {
            directory: Directory::new(workers),
            seen: vec![0; workers],
            in_flight: HashMap::new(),
            deadlines: VecDeque::new(),
            patience_us: u64::try_from(patience.as_micros()).unwrap_or(u64::MAX),
            max_in_flight,
            next_token: 0,
            counts: AlertCounts::default(),
            post: Post::default(),
        }
    }

    /// What came of the calls since the last time.
    pub(crate) fn take_post(&mut self) -> Post {
        std::mem::take(&mut self.post)
    }

    /// Alerts by outcome.
    pub(crate) fn counts(&self) -> &AlertCounts {
        &self.counts
    }

    /// A client registered: an older connection of its id is told to go.
    pub(crate) fn joined(&mut self, worker: usize, slot: u32, client_id: u64, seq: u32) {
        self.seen[worker] = seq;
        if let Some(old) = self.directory.insert(client_id, location(worker, slot)) {
            let seen = self.seen[old.worker()];
            self.post.orders.push((old.worker(), ToWorker::Replaced { slot: old.slot(), seen }));
        }
    }

    /// A registered client's connection ended.
    pub(crate) fn left(&mut self, worker: usize, slot: u32) {
        self.directory.remove(location(worker, slot));
    }

    /// A worker ended: its clients are gone, and so are the alerts it had.
    pub(crate) fn worker_ended(&mut self, worker: usize) {
        self.directory.remove_worker(worker);
        self.seen[worker] = 0;
        let lost: Vec<u64> =
            self.in_flight.iter().filter(|(_, alert)| alert.worker == worker).map(|(token, _)| *token).collect();
        for token in lost {
            self.settled(token, Outcome::Offline);
        }
    }

    /// Alerts whose worker has not answered in time: it hangs, and its clients with it.
    pub(crate) fn expire(&mut self, now_us: u64) {
        while let Some((_, token)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now_us) {
            self.settled(token, Outcome::TimedOut);
        }
    }

    /// An alert came in. `has_room` says whether a worker takes more orders.
    pub(crate) fn alert(&mut self, alert: Alert, now_us: u64, has_room: impl Fn(usize) -> bool) {
        self.counts.received += 1;
        let Alert { from, alert_id, client_id, wait_for_ack, payload } = alert;
        let in_flight = InFlight { from, alert_id, client_id, wait_for_ack, worker: 0, moves: 0 };
        if self.in_flight.len() as u64 >= self.max_in_flight {
            return self.conclude(&in_flight, Outcome::Overloaded);
        }
        self.next_token += 1;
        self.deadlines.push_back((now_us.saturating_add(self.patience_us), self.next_token));
        self.route(self.next_token, in_flight, payload, has_room);
    }

    /// An alert has its outcome. One that is not in flight any more had one before.
    pub(crate) fn settled(&mut self, token: u64, outcome: Outcome) {
        if let Some(alert) = self.in_flight.remove(&token) {
            self.conclude(&alert, outcome);
        }
        // Deadlines of alerts that are settled leave at once where they are the oldest; others when their time comes.
        while self.deadlines.pop_front_if(|(_, token)| !self.in_flight.contains_key(token)).is_some() {}
    }

    /// The client was not where the directory said when the alert came there. What the worker said before this has
    /// been heard, so the directory knows by now where the client is.
    pub(crate) fn moved(&mut self, token: u64, payload: Vec<u8>, has_room: impl Fn(usize) -> bool) {
        if let Some(mut alert) = self.in_flight.remove(&token) {
            alert.moves += 1;
            self.route(token, alert, payload, has_room);
        }
    }

    /// Sends an alert to the worker that holds its client.
    fn route(&mut self, token: u64, mut alert: InFlight, payload: Vec<u8>, has_room: impl Fn(usize) -> bool) {
        let Some(at) = self.directory.find(alert.client_id).filter(|_| alert.moves <= MAX_MOVES) else {
            return self.conclude(&alert, Outcome::Offline);
        };
        let worker = at.worker();
        if !has_room(worker) {
            return self.conclude(&alert, Outcome::Overloaded);
        }
        let (client_id, wait_for_ack) = (alert.client_id, alert.wait_for_ack);
        alert.worker = worker;
        self.in_flight.insert(token, alert);
        self.post.orders.push((worker, ToWorker::Alert { token, slot: at.slot(), client_id, wait_for_ack, payload }));
    }

    fn conclude(&mut self, alert: &InFlight, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Acknowledged => &mut self.counts.acknowledged,
            Outcome::Sent => &mut self.counts.sent,
            Outcome::Offline | Outcome::Other(_) => &mut self.counts.offline,
            Outcome::Overloaded => &mut self.counts.overloaded,
            Outcome::TimedOut => &mut self.counts.timed_out,
        };
        *counter += 1;
        self.post.answers.push(Answer { to: alert.from, alert_id: alert.alert_id, outcome });
    }
}

fn location(worker: usize, slot: u32) -> Location {
    Location::new(u32::try_from(worker).unwrap_or(u32::MAX), slot)
}

#[cfg(test)]
impl Router {
    /// Where the directory thinks a client is.
    pub(crate) fn find(&self, client_id: u64) -> Option<(usize, u32)> {
        self.directory.find(client_id).map(|at| (at.worker(), at.slot()))
    }

    /// Clients in the directory, and alerts in flight.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.directory.len(), self.in_flight.len())
    }
}
