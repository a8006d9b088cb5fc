//! Every alert in exactly one outcome: pure accounts, with time handed in.

use std::collections::{HashMap, VecDeque};

use hdrhistogram::Histogram;
use holdline_protocol::Outcome;
use holdline_record::{TapCounts, new_histogram};

/// An alert without a final answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    intended_us: u64,
    /// Counted as timed out already; an answer can only make it late, no answer at all makes it lost.
    timed_out: bool,
}

/// The accounts of one schedule.
pub(crate) struct Books {
    timeout_us: u64,
    counts: TapCounts,
    open: HashMap<u64, Open>,
    /// In the order of their intended times, which is that of their timeouts.
    waiting: VecDeque<u64>,
    /// Round trips since the last [`take_interval`](Self::take_interval).
    interval: Histogram<u64>,
    lag: Histogram<u64>,
}

impl Books {
    pub(crate) fn new(timeout_us: u64) -> Self {
        Self {
            timeout_us,
            counts: TapCounts::default(),
            open: HashMap::new(),
            waiting: VecDeque::new(),
            interval: new_histogram(),
            lag: new_histogram(),
        }
    }

    /// The schedule asked for an alert, and it was sent.
    pub(crate) fn sent(&mut self, alert_id: u64, intended_us: u64, now_us: u64) {
        self.counts.scheduled += 1;
        self.counts.sent += 1;
        self.lag.saturating_record(now_us.saturating_sub(intended_us));
        self.open.insert(alert_id, Open { intended_us, timed_out: false });
        self.waiting.push_back(alert_id);
    }

    /// The schedule asked for alerts that could not be sent.
    pub(crate) fn not_sent(&mut self, alerts: u64) {
        self.counts.scheduled += alerts;
    }

    /// The service said what became of an alert. An answer to an alert that is not open is none of ours.
    pub(crate) fn answered(&mut self, alert_id: u64, outcome: Outcome, now_us: u64) {
        self.expire(now_us);
        let Some(open) = self.open.remove(&alert_id) else { return };
        if outcome == Outcome::Acknowledged {
            self.interval.saturating_record(now_us.saturating_sub(open.intended_us));
        }
        if open.timed_out {
            // Its outcome stands; that an acknowledgement came after all is told beside it.
            self.counts.late += u64::from(outcome == Outcome::Acknowledged);
            return;
        }
        match outcome {
            Outcome::Acknowledged => self.counts.acknowledged += 1,
            Outcome::Offline => self.counts.offline += 1,
            Outcome::Overloaded => self.counts.overloaded += 1,
            Outcome::TimedOut => self.counts.timed_out += 1,
            // Asked for an acknowledgement and told something else: nobody knows what became of it.
            Outcome::Sent | Outcome::Other(_) => self.counts.lost += 1,
        }
    }

    /// Times out what is overdue at `now_us`.
    pub(crate) fn expire(&mut self, now_us: u64) {
        while let Some(alert_id) = self.waiting.front() {
            match self.open.get_mut(alert_id) {
                Some(open) if open.intended_us.saturating_add(self.timeout_us) >= now_us => return,
                Some(open) => {
                    open.timed_out = true;
                    self.counts.timed_out += 1;
                }
                None => {}
            }
            self.waiting.pop_front();
        }
    }

    /// The service refused the interface: what is open, and `unsent` more, were refused.
    pub(crate) fn refused(&mut self) {
        for (_, open) in self.open.drain() {
            self.counts.refused += 1;
            self.counts.timed_out -= u64::from(open.timed_out);
        }
    }

    /// No more answers will come: what is still open is lost.
    pub(crate) fn close(&mut self) {
        for (_, open) in self.open.drain() {
            self.counts.lost += 1;
            self.counts.timed_out -= u64::from(open.timed_out);
        }
        self.waiting.clear();
    }

    /// Whether every alert has its final answer.
    pub(crate) fn settled(&self) -> bool {
        self.open.is_empty()
    }

    /// The round trips since the last time.
    pub(crate) fn take_interval(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.interval, new_histogram())
    }

    pub(crate) fn counts(&self) -> &TapCounts {
        &self.counts
    }

    /// Largest and 99th percentile of the delay from intended to actual send.
    pub(crate) fn lag_us(&self) -> (u64, u64) {
        (self.lag.max(), self.lag.value_at_quantile(0.99))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn outcomes_and_late_acknowledgements() {
        let mut books = Books::new(1000);
        for alert in 0..6 {
            books.sent(alert, alert * 10, alert * 10 + 5);
        }
        books.answered(0, Outcome::Acknowledged, 500);
        books.answered(1, Outcome::Offline, 500);
        books.answered(2, Outcome::Overloaded, 500);
        books.answered(3, Outcome::Acknowledged, 1030);
        books.answered(4, Outcome::Acknowledged, 1041);
        books.answered(99, Outcome::Acknowledged, 1041);
        assert!(!books.settled());
        books.expire(2000);
        assert_eq!(books.counts().timed_out, 2);
        books.close();
        let expected = TapCounts {
            scheduled: 6,
            sent: 6,
            acknowledged: 2,
            offline: 1,
            overloaded: 1,
            timed_out: 1,
            late: 1,
            lost: 1,
            refused: 0,
        };
        assert_eq!(books.counts(), &expected);
        // The late one took its time all the same: leaving it out would make the service look faster.
        assert_eq!((books.take_interval().len(), books.take_interval().len()), (3, 0));
        assert_eq!(books.lag_us().0, 5);
    }

    proptest! {
        /// Whatever is answered when, once or more often: each alert is in one outcome at the end.
        #[test]
        fn every_alert_in_one_outcome(events in prop::collection::vec((0..20_u64, 0..6_u8, 0..3000_u64), 0..100), refused: bool) {
            let mut books = Books::new(1000);
            for alert in 0..20 {
                books.sent(alert, 0, 0);
            }
            let mut now = 0;
            for (alert, code, pause) in events {
                now += pause / 10;
                books.answered(alert, Outcome::from_code(code), now);
            }
            if refused { books.refused() } else { books.close() }
            let counts = books.counts();
            prop_assert_eq!(counts.settled(), counts.sent);
            prop_assert!(counts.late <= counts.timed_out);
        }
    }
}
