//! The books each side keeps. Totals only grow; "now" values say what is held at the moment of reading.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by stable label (`registered`, `reset`, `no_port` ...). A label that never occurred is absent.
pub type Causes = BTreeMap<String, u64>;

/// What a push service says of its own connections and alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCounts {
    /// Connections open now, registered or not.
    pub open: u64,
    /// Of `open`, those that were sent their last frame and have their cause in `ended` already.
    pub ending: u64,
    /// Connections that are registered now.
    pub registered: u64,
    /// Connections accepted since the start.
    pub accepted_total: u64,
    /// Registrations granted since the start.
    pub registered_total: u64,
    /// Connections that ended since the start, by cause.
    pub ended: Causes,
    /// Registrations refused since the start, by reason.
    pub refused: Causes,
    /// Nops received since the start.
    pub nops_total: u64,
    /// Taps written to clients since the start.
    pub taps_sent_total: u64,
    /// Acknowledgements that matched a tap since the start, late ones too.
    pub tap_acks_total: u64,
    /// Bytes held now because clients did not read them yet.
    pub unsent_bytes: u64,
    /// Alerts since the start, by how they ended.
    pub alerts: AlertCounts,
}

/// Alerts that a push service received, each in one outcome or still in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Alerts received.
    pub received: u64,
    /// Acknowledged by the client.
    pub acknowledged: u64,
    /// Written to the client, no acknowledgement asked for.
    pub sent: u64,
    /// No connection of that client.
    pub offline: u64,
    /// A bound on queued bytes or on alerts in flight was reached.
    pub overloaded: u64,
    /// The client did not acknowledge in time.
    pub timed_out: u64,
}

impl AlertCounts {
    /// Alerts that have an outcome.
    #[must_use]
    pub fn settled(&self) -> u64 {
        saturating_sum([self.acknowledged, self.sent, self.offline, self.overloaded, self.timed_out])
    }
}

/// What a swarm says of its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmCounts {
    /// Clients asked for so far.
    pub asked: u64,
    /// Connection attempts begun since the start: one a client, and more where clients connect again.
    pub attempts_total: u64,
    /// Connections being set up now.
    pub connecting: u64,
    /// Clients that are registered now.
    pub registered: u64,
    /// Connection attempts that ended since the start, by outcome; `registered` is the good one.
    pub outcomes: Causes,
    /// Registered connections that ended since the start, by cause.
    pub lost: Causes,
    /// Taps received since the start.
    pub taps_total: u64,
    /// Acknowledgements handed to the kernel since the start.
    pub tap_acks_total: u64,
    /// Nops sent since the start.
    pub nops_total: u64,
    /// Answers to Nops since the start.
    pub nop_answers_total: u64,
}

impl SwarmCounts {
    /// Attempts that did not end registered.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.outcomes.iter().filter(|(label, _)| *label != "registered").map(|(_, n)| *n).fold(0, u64::saturating_add)
    }

    /// What these counts contradict themselves in; empty if they add up.
    ///
    /// Every attempt has one outcome or is under way, and every registered connection has ended or stands.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let outcomes = sum(&self.outcomes);
        if self.attempts_total != outcomes.saturating_add(self.connecting) {
            found.push(format!(
                "{} connection attempts were begun, but {outcomes} have an outcome and {} are under way",
                self.attempts_total, self.connecting
            ));
        }
        let (registered, lost) = (self.outcomes.get("registered").copied().unwrap_or(0), sum(&self.lost));
        if registered != lost.saturating_add(self.registered) {
            found.push(format!(
                "{registered} attempts ended registered, but {lost} registered connections have ended and {} stand",
                self.registered
            ));
        }
        found
    }

    /// Registered connections that ended for any other reason than that the swarm closed them.
    #[must_use]
    pub fn lost_unasked(&self) -> u64 {
        self.lost.iter().filter(|(cause, _)| *cause != "closed_here").map(|(_, n)| *n).fold(0, u64::saturating_add)
    }

    /// Adds the counts of another worker or group.
    pub fn add(&mut self, other: &Self) {
        self.asked = self.asked.saturating_add(other.asked);
        self.attempts_total = self.attempts_total.saturating_add(other.attempts_total);
        self.connecting = self.connecting.saturating_add(other.connecting);
        self.registered = self.registered.saturating_add(other.registered);
        add_causes(&mut self.outcomes, &other.outcomes);
        add_causes(&mut self.lost, &other.lost);
        self.taps_total = self.taps_total.saturating_add(other.taps_total);
        self.tap_acks_total = self.tap_acks_total.saturating_add(other.tap_acks_total);
        self.nops_total = self.nops_total.saturating_add(other.nops_total);
        self.nop_answers_total = self.nop_answers_total.saturating_add(other.nop_answers_total);
    }
}

impl ServerCounts {
    /// What these counts contradict themselves in; empty if they add up.
    ///
    /// Every connection accepted has ended for one cause or is open. Alerts are held against the other sides' counts.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let ended = sum(&self.ended);
        let open = self.open.saturating_sub(self.ending);
        if self.accepted_total != ended.saturating_add(open) {
            let accepted = self.accepted_total;
            found.push(format!("{accepted} connections were accepted, but {ended} have ended and {open} are open"));
        }
        if self.registered > self.open {
            found.push(format!("{} clients are registered on {} open connections", self.registered, self.open));
        }
        found
    }

    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        self.open = self.open.saturating_add(other.open);
        self.ending = self.ending.saturating_add(other.ending);
        self.registered = self.registered.saturating_add(other.registered);
        self.accepted_total = self.accepted_total.saturating_add(other.accepted_total);
        self.registered_total = self.registered_total.saturating_add(other.registered_total);
        add_causes(&mut self.ended, &other.ended);
        add_causes(&mut self.refused, &other.refused);
        self.nops_total = self.nops_total.saturating_add(other.nops_total);
        self.taps_sent_total = self.taps_sent_total.saturating_add(other.taps_sent_total);
        self.tap_acks_total = self.tap_acks_total.saturating_add(other.tap_acks_total);
        self.unsent_bytes = self.unsent_bytes.saturating_add(other.unsent_bytes);
        self.alerts.received = self.alerts.received.saturating_add(other.alerts.received);
        self.alerts.acknowledged = self.alerts.acknowledged.saturating_add(other.alerts.acknowledged);
        self.alerts.sent = self.alerts.sent.saturating_add(other.alerts.sent);
        self.alerts.offline = self.alerts.offline.saturating_add(other.alerts.offline);
        self.alerts.overloaded = self.alerts.overloaded.saturating_add(other.alerts.overloaded);
        self.alerts.timed_out = self.alerts.timed_out.saturating_add(other.alerts.timed_out);
    }
}

/// What an alerter says of its alerts: `sent` is the sum of the outcomes once the phase has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapCounts {
    /// Alerts that the schedule asked for.
    pub scheduled: u64,
    /// Alerts written to the service.
    pub sent: u64,
    /// Acknowledged by the client within the bound.
    pub acknowledged: u64,
    /// The service said that the client is not connected.
    pub offline: u64,
    /// The service refused the alert interface.
    pub refused: u64,
    /// The service said that a bound was reached.
    pub overloaded: u64,
    /// Not acknowledged within the bound, by the service's clock or the alerter's.
    pub timed_out: u64,
    /// Of `timed_out`, those whose acknowledgement came after the bound.
    pub late: u64,
    /// No answer at all: the connection to the service ended, or the service never said.
    pub lost: u64,
}

impl TapCounts {
    /// Alerts with an outcome; equals `sent` in a sound run.
    #[must_use]
    pub fn settled(&self) -> u64 {
        saturating_sum([self.acknowledged, self.offline, self.refused, self.overloaded, self.timed_out, self.lost])
    }

    /// Adds the counts of another phase.
    pub fn add(&mut self, other: &Self) {
        self.scheduled = self.scheduled.saturating_add(other.scheduled);
        self.sent = self.sent.saturating_add(other.sent);
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
        self.offline = self.offline.saturating_add(other.offline);
        self.refused = self.refused.saturating_add(other.refused);
        self.overloaded = self.overloaded.saturating_add(other.overloaded);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
        self.late = self.late.saturating_add(other.late);
        self.lost = self.lost.saturating_add(other.lost);
    }
}

// Counts read from a damaged file may be anything; a wrong sum is judged, a panic is not.
fn saturating_sum<const N: usize>(counts: [u64; N]) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

fn sum(causes: &Causes) -> u64 {
    causes.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn add_causes(into: &mut Causes, from: &Causes) {
    for (cause, count) in from {
        let sum = into.entry(cause.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}
