//! One run mutated per reason: the verdict, and what the reason says.

use holdline_analysis::{Summary, Verdict, summarize};
use holdline_record::{Event, Phase, Role};

use crate::synthetic::{Synthetic, causes};

/// A name, what is changed, and what one reason then says.
type Case = (&'static str, fn(&mut Synthetic), &'static str);

fn summary_after(change: fn(&mut Synthetic)) -> Summary {
    let mut run = Synthetic::good();
    change(&mut run);
    summarize(&run.folder())
}

fn check(verdict: Verdict, cases: &[Case]) {
    for (name, change, expected) in cases {
        let summary = summary_after(*change);
        assert_eq!(summary.verdict, verdict, "{name}: {:#?}", summary.reasons);
        assert!(summary.reasons.iter().any(|reason| reason.contains(expected)), "{name}: {:#?}", summary.reasons);
    }
}

/// As [`check`], and it must be the only reason: one fault is not reported twice.
fn check_alone(verdict: Verdict, cases: &[Case]) {
    check(verdict, cases);
    for (name, change, _) in cases {
        let reasons = summary_after(*change).reasons;
        assert_eq!(reasons.len(), 1, "{name}: {reasons:#?}");
    }
}

#[test]
fn a_good_run_is_held() {
    let summary = summary_after(|_| {});
    assert_eq!(summary.verdict, Verdict::Held, "{:#?}", summary.reasons);
    assert_eq!(summary.reasons, Vec::<String>::new());
    assert_eq!(summary.warnings, Vec::<String>::new());
}

#[test]
fn broken_promises_are_not_held() {
    check_alone(
        Verdict::NotHeld,
        &[
            (
                "fewer held",
                |run| {
                    run.change_books(Some(Phase::Hold), |server, swarm| {
                        (server.registered, swarm.registered) = (32_990, 32_990);
                        swarm.lost = causes(&[("closed_here", 10)]);
                    })
                },
                "32,990 of 33,000 promised connections were held",
            ),
            (
                "failed attempts",
                |run| {
                    run.change_books(None, |_, swarm| {
                        swarm.attempts_total += 12;
                        swarm.outcomes.extend(causes(&[("reset", 4), ("closed_by_server", 8)]));
                    });
                },
                "12 connection attempts failed: 8 closed_by_server (the service closed",
            ),
            (
                "lost connections",
                |run| {
                    run.change_books(None, |server, swarm| {
                        // Twelve more that stood once: the swarm closed nine itself.
                        swarm.attempts_total += 12;
                        *swarm.outcomes.get_mut("registered").unwrap() += 12;
                        for (cause, count) in [("closed_here", 9), ("reset", 3)] {
                            *swarm.lost.entry(cause.to_owned()).or_default() += count;
                        }
                        server.accepted_total += 12;
                        server.registered_total += 12;
                        *server.ended.entry("closed_by_client".to_owned()).or_default() += 12;
                    });
                },
                "3 registered connections were lost: 3 reset (the service reset",
            ),
            (
                "a short hold",
                |run| run.manifest.plan.promise.hold_us = 100_000_000,
                "held for 60.0 s, less than the 100.0 s promised",
            ),
            (
                "taps not delivered",
                |run| {
                    run.change_taps(2, |counts, _| {
                        counts.acknowledged -= 30;
                        (counts.timed_out, counts.late, counts.offline) = (20, 5, 10);
                    });
                    run.change_books(None, |server, swarm| {
                        server.alerts.acknowledged = server.alerts.acknowledged.saturating_sub(25);
                        swarm.taps_total = swarm.taps_total.saturating_sub(10);
                        (swarm.tap_acks_total, server.tap_acks_total) =
                            (swarm.tap_acks_total.saturating_sub(20), server.tap_acks_total.saturating_sub(25));
                    });
                },
                "21,270 of 21,300 taps were acknowledged within 1,000 ms, less than the 100% promised: \
                 at 1,000 taps/s 20 timed_out, 10 offline (5 acknowledged late).",
            ),
        ],
    );
}

#[test]
fn a_smaller_share_of_taps_may_be_promised() {
    let summary = summary_after(|run| {
        run.manifest.plan.promise.taps_delivered = 0.99;
        run.change_taps(2, |counts, _| (counts.acknowledged, counts.offline) = (counts.acknowledged - 30, 30));
        run.change_books(None, |server, swarm| {
            for count in [&mut server.alerts.acknowledged, &mut server.taps_sent_total, &mut server.tap_acks_total] {
                *count = count.saturating_sub(30);
            }
            (swarm.taps_total, swarm.tap_acks_total) = (server.taps_sent_total, server.tap_acks_total);
        });
    });
    assert_eq!(summary.verdict, Verdict::Held, "{:#?}", summary.reasons);
}

#[test]
fn connections_closed_on_request_are_not_lost() {
    let summary = summary_after(|run| {
        run.change_books(Some(Phase::Stop), |_, swarm| {
            swarm.lost = causes(&[("closed_here", 32_000), ("reset", 1_000)])
        });
    });
    assert_eq!(summary.verdict, Verdict::Held, "{:#?}", summary.reasons);
}

#[test]
fn a_service_that_loses_a_process_has_failed_whatever_is_missing() {
    fn lose(run: &mut Synthetic, role: Role) {
        run.event(Event::ProcessLost { role, who: "worker 1".to_owned(), how: "signal 9".to_owned() });
        run.drop_events(|event| matches!(event, Event::HoldEnded { .. }));
    }
    let summary = summary_after(|run| lose(run, Role::Server));
    assert_eq!(summary.verdict, Verdict::NotHeld, "{:#?}", summary.reasons);
    assert!(summary.reasons[0].contains("worker 1 (signal 9)"), "{:#?}", summary.reasons);
    assert!(summary.warnings[0].starts_with("As the service failed: How long"), "{:#?}", summary.warnings);
    let both = summary_after(|run| {
        lose(run, Role::Server);
        lose(run, Role::Swarm);
    });
    assert_eq!(both.verdict, Verdict::Invalid);
}

#[test]
fn an_incomplete_record_is_invalid() {
    check(
        Verdict::Invalid,
        &[
            ("no end", |run| run.drop_events(|event| *event == Event::Finished), "cut short: its record has no end"),
            (
                "interrupted",
                |run| run.event(Event::Interrupted { why: "Ctrl-C".to_owned() }),
                "The run was cut short: Ctrl-C.",
            ),
            (
                "a process of the generator lost",
                |run| {
                    let (who, how) = ("swarm worker 1".to_owned(), "signal 9".to_owned());
                    run.event(Event::ProcessLost { role: Role::Swarm, who, how });
                },
                "swarm worker 1 (signal 9)",
            ),
            (
                "no end of the hold",
                |run| run.drop_events(|event| matches!(event, Event::HoldEnded { .. })),
                "How long the connections were held is not known",
            ),
            (
                "no end of a tap phase",
                |run| run.drop_events(|event| matches!(event, Event::TapsEnded { step: 1, .. })),
                "tap phase 1 (100 taps/s) has no counts",
            ),
            (
                "a tap phase nobody planned",
                |run| run.manifest.plan.taps.truncate(2),
                "Tap phase 2 ended 1 time(s), but 2 phases were planned",
            ),
            (
                "no books in the hold",
                |run| run.drop_events(|event| matches!(event, Event::Books { phase: Phase::Hold, .. })),
                "No books were read in the hold",
            ),
            (
                "the server's books",
                |run| {
                    run.change_events(|event| {
                        if let Event::Books { phase: Phase::Hold, step: Some(1), server, .. } = event {
                            *server = None;
                        }
                    });
                },
                "The server's books are missing in 1 of 3 readings of the hold",
            ),
            (
                "a reading of a level",
                |run| {
                    let last = run.host.iter().rposition(|row| row.phase == Phase::Level).unwrap();
                    let sample = run.host[last].sample;
                    run.samples.retain(|row| row.sample != sample || row.role != Role::Swarm);
                },
                "missing at 1 of 11 levels of the staircase: level 10 has 2 of 3 readings",
            ),
            (
                "a gap in the hold",
                |run| {
                    let from = run.host.iter().position(|row| row.phase == Phase::Hold).unwrap() + 4;
                    run.host.drain(from..from + 6);
                },
                "Samples of the host are missing in the hold: 7.0 s passed without one, at most 5.0 s may.",
            ),
            (
                "no sample in the hold",
                |run| run.samples.retain(|row| row.phase != Phase::Hold || row.role != Role::Server),
                "no sample of the server in the hold",
            ),
        ],
    );
}

#[test]
fn counts_that_contradict_each_other_are_invalid() {
    check_alone(
        Verdict::Invalid,
        &[
            (
                "half-open connections",
                |run| {
                    run.change_books(Some(Phase::Hold), |server, _| {
                        server.registered += 40;
                        server.open += 40;
                        server.accepted_total += 40;
                    });
                },
                "The server counts 33,040 registered connections and the swarm 33,000 (3 of 3 readings of the hold disagree",
            ),
            (
                "attempts without outcome",
                |run| run.change_books(None, |_, swarm| swarm.attempts_total += 5),
                "33005 connection attempts were begun, but 33000 have an outcome",
            ),
            (
                "attempts that the generator could not make",
                |run| {
                    run.change_books(None, |_, swarm| {
                        swarm.attempts_total += 8;
                        swarm.outcomes.extend(causes(&[("no_port", 8)]));
                    });
                },
                "The generator could not do what was asked of it: 8 connection attempts failed: 8 no_port",
            ),
            (
                "connections that the server keeps",
                |run| {
                    run.change_books(Some(Phase::Stop), |server, _| {
                        server.open = 500;
                        *server.ended.get_mut("goodbye_of_client").unwrap() -= 500;
                    });
                },
                "the server still counts 500 and the swarm 0",
            ),
            (
                "connections that ended without a cause",
                |run| run.change_books(None, |server, _| server.accepted_total += 7),
                "33007 connections were accepted, but",
            ),
            (
                "registrations that no client heard of",
                |run| run.change_books(None, |server, _| server.registered_total += 3),
                "the server granted 33,003 registrations, but 33,000 clients heard of theirs",
            ),
            (
                "acknowledgements that no client sent",
                |run| {
                    run.change_books(Some(Phase::Stop), |server, swarm| {
                        swarm.tap_acks_total -= 5;
                        server.tap_acks_total -= 5;
                    });
                },
                "acknowledgements sent by the swarm",
            ),
            (
                "alerts without outcome",
                |run| {
                    run.change_taps(2, |counts, _| (counts.sent, counts.scheduled) = (20_003, 20_003));
                    run.change_books(None, |server, _| server.alerts.received += 3);
                    run.manifest.plan.promise.taps_delivered = 0.9;
                },
                "Of 20,003 alerts sent in tap phase 2 (1,000 taps/s), 20,000 have an outcome",
            ),
            (
                "alerts not sent",
                |run| {
                    run.change_taps(2, |counts, _| counts.scheduled += 3);
                    run.manifest.plan.promise.taps_delivered = 0.9;
                },
                "Of 20,003 alerts scheduled in tap phase 2 (1,000 taps/s), 20,000 were sent",
            ),
            (
                "round trips missing",
                |run| run.taps.truncate(run.taps.len() - 1),
                "Of 20,000 acknowledged alerts in tap phase 2 (1,000 taps/s), 19,000 have a round trip",
            ),
            (
                "connect latencies missing",
                |run| run.connect.truncate(run.connect.len() - 1),
                "Of 33,000 registered connections, 31,500 have a latency",
            ),
            (
                "alerts received",
                |run| run.change_books(None, |server, _| server.alerts.received += 2),
                "21,300 alerts sent by the alerter, but 21,302 alerts received by the server",
            ),
            (
                "taps received",
                |run| run.change_books(None, |_, swarm| swarm.taps_total = swarm.taps_total.saturating_sub(2)),
                "21,300 taps written by the server, but 21,298 taps received by the swarm",
            ),
            (
                "acknowledgements received",
                |run| run.change_books(None, |_, swarm| swarm.tap_acks_total += 1),
                "21,301 acknowledgements sent by the swarm, but 21,300 acknowledgements received by the server",
            ),
            (
                "alerts acknowledged",
                |run| run.change_books(None, |server, _| server.alerts.acknowledged += 1),
                "21,300 alerts acknowledged to the alerter, but 21,301",
            ),
        ],
    );
}

#[test]
fn a_disturbed_measurement_is_invalid() {
    check_alone(
        Verdict::Invalid,
        &[
            (
                "accept queue",
                |run| run.host.last_mut().unwrap().listen_overflows = Some(19),
                "The accept queue overflowed 12 times",
            ),
            (
                "a late generator",
                |run| run.change_taps(1, |_, lag_p99_us| *lag_p99_us = 41_300),
                "In tap phase 1 (100 taps/s) the alerter sent its alerts up to 41.3 ms late",
            ),
        ],
    );
}

#[test]
fn nothing_scheduled_is_invalid() {
    check(
        Verdict::Invalid,
        &[(
            "nothing scheduled",
            |run| run.change_taps(0, |counts, _| *counts = Default::default()),
            "Nothing was scheduled in tap phase 0",
        )],
    );
}

#[test]
fn an_invalid_run_lists_its_broken_promises_last() {
    let summary = summary_after(|run| {
        run.manifest.plan.promise.hold_us = 100_000_000;
        run.drop_events(|event| *event == Event::Finished);
    });
    assert_eq!(summary.verdict, Verdict::Invalid);
    assert_eq!(summary.reasons.len(), 2);
    assert!(summary.reasons[0].contains("cut short") && summary.reasons[1].contains("less than the 100.0 s promised"));
}

#[test]
fn warnings_do_not_change_the_verdict() {
    let summary = summary_after(|run| {
        run.event(Event::Warning { message: "The CPU governor is powersave; set it to performance.".to_owned() });
        run.host.last_mut().unwrap().listen_drops = Some(10);
        run.host.last_mut().unwrap().steal_us = Some(60_000_000);
    });
    assert_eq!(summary.verdict, Verdict::Held, "{:#?}", summary.reasons);
    for expected in ["powersave", "dropped 1 SYNs", "Other guests of this machine took"] {
        assert!(summary.warnings.iter().any(|warning| warning.contains(expected)), "{:#?}", summary.warnings);
    }
}
