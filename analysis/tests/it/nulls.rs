//! Figures of a good run, and when a figure is null.

use holdline_analysis::{Summary, Verdict, summarize};
use holdline_record::{Event, Phase, Role};

use crate::synthetic::{BASE_BYTES, CONNECTIONS, PAIR_BYTES, SERVER_BYTES, SWARM_BYTES, Synthetic};

fn summary_after(change: impl Fn(&mut Synthetic)) -> Summary {
    let mut run = Synthetic::good();
    change(&mut run);
    summarize(&run.folder())
}

/// Within a part in a hundred.
fn near(value: Option<f64>, expected: u64) -> bool {
    value.is_some_and(|value| (value - expected as f64).abs() <= expected as f64 * 0.01)
}

#[test]
fn a_good_run_gives_every_figure_back() {
    let summary = summary_after(|_| {});
    assert_eq!(summary.connections.held, Some(CONNECTIONS));
    assert_eq!(summary.connections.failed, Some(0));
    assert!(near(summary.connect.rate_per_s, 30_000), "{:?}", summary.connect);
    assert!(near(summary.server.user_bytes_per_connection, SERVER_BYTES), "{:?}", summary.server);
    assert!(near(summary.swarm.user_bytes_per_connection, SWARM_BYTES), "{:?}", summary.swarm);
    assert!(near(summary.server.base_bytes, BASE_BYTES + 3 * 4_096), "{:?}", summary.server);
    assert!(near(summary.kernel.bytes_per_connection_pair, PAIR_BYTES), "{:?}", summary.kernel);
    assert!(
        near(summary.kernel.bytes_total.map(|bytes| bytes as f64), CONNECTIONS * PAIR_BYTES),
        "{:?}",
        summary.kernel
    );
    let all_in = summary.server.user_bytes_per_connection_all_in.map(|each| each * CONNECTIONS as f64);
    assert!(near(all_in, BASE_BYTES + 3 * 4_096 + CONNECTIONS * SERVER_BYTES), "{:?}", summary.server);
    assert_eq!((summary.server.processes, summary.server.program_file_bytes), (Some(3), Some(2_100_000)));
    // Two workers at 0.5% of a core with some unrest, and a supervisor that does next to nothing.
    assert!(summary.server.cpu_percent_hold.is_some_and(|cpu| (1.0..1.5).contains(&cpu)), "{:?}", summary.server);
    assert!(summary.softirq.cpu_percent_hold.is_some_and(|cpu| (0.2..0.4).contains(&cpu)), "{:?}", summary.softirq);
    assert_eq!(summary.taps.totals.acknowledged, Some(300 + 1_000 + 20_000));
    assert_eq!((summary.hold_s, summary.taps.totals.lost), (Some(60.0), Some(0)));
    assert!(summary.duration_s.is_some_and(|seconds| seconds > 100.0));
}

#[test]
fn a_percentile_without_ten_samples_beyond_it_is_null() {
    let taps = summary_after(|_| {}).taps.by_rate;
    let given = |index: usize| {
        let trip = &taps[index].round_trip_us;
        [trip.p50, trip.p90, trip.p99, trip.p999, trip.max, taps[index].lag_p99_us].map(|us| us.is_some())
    };
    assert_eq!(given(0), [true, true, false, false, true, false], "300 taps");
    assert_eq!(given(1), [true, true, true, false, true, true], "1,000 taps");
    assert_eq!(given(2), [true, true, true, true, true, true], "20,000 taps");
}

#[test]
fn slopes_need_levels_and_connections() {
    let few = summary_after(|run| {
        run.samples.retain(|row| row.phase != Phase::Level || row.step.is_some_and(|step| step > 3));
    });
    assert_eq!(few.server.user_bytes_per_connection, None);
    assert_eq!(few.server.base_bytes, None);
    assert_eq!(few.kernel.bytes_per_connection_pair, None);
    assert!(few.server.user_bytes_total.is_some());
    let expected = "this run has 7 up to 33,000";
    assert!(few.warnings.iter().any(|warning| warning.contains(expected)), "{:?}", few.warnings);

    let small = summary_after(|run| {
        for row in &mut run.samples {
            row.connections = row.connections.map(|own| own / 2);
        }
    });
    assert_eq!(small.server.user_bytes_per_connection, None);
    assert!(small.server.user_bytes_per_connection_all_in.is_some());
}

#[test]
fn cpu_is_null_when_a_process_changed_or_the_span_is_short() {
    let changed = summary_after(|run| {
        let last = run
            .samples
            .iter()
            .rposition(|row| row.phase == Phase::Hold && row.step == Some(0) && row.role == Role::Server);
        run.samples[last.unwrap()].pid = 999;
    });
    assert_eq!((changed.server.cpu_percent_hold, changed.swarm.cpu_percent_hold.is_some()), (None, true));

    let short = summary_after(|run| {
        let from = run.host.iter().find(|row| row.phase == Phase::Hold).unwrap().mono_us;
        let late = |mono_us: u64, phase, step| phase == Phase::Hold && step == Some(0) && mono_us > from + 4_900_000;
        run.host.retain(|row| !late(row.mono_us, row.phase, row.step));
        // Processes have finer clocks than the host; a single sample is no span even for them.
        let late = |mono_us: u64, phase, step| phase == Phase::Hold && step == Some(0) && mono_us > from + 900_000;
        run.samples.retain(|row| !late(row.mono_us, row.phase, row.step));
    });
    assert_eq!((short.server.cpu_percent_hold, short.softirq.cpu_percent_hold), (None, None));
}

#[test]
fn what_the_kernel_does_not_show_is_null() {
    let summary = summary_after(|run| {
        for row in &mut run.host {
            (row.slab_tcp_bytes, row.listen_overflows, row.softirq_us) = (None, None, None);
        }
    });
    assert_eq!((summary.kernel.bytes_total, summary.kernel.bytes_per_connection_pair), (None, None));
    assert_eq!(summary.softirq.cpu_percent_hold, None);
    assert_eq!(summary.verdict, Verdict::Held, "{:?}", summary.reasons);
    for expected in ["kernel.bytes_total", "softirq.cpu_percent_hold", "ListenOverflows"] {
        assert!(summary.warnings.iter().any(|warning| warning.contains(expected)), "{:?}", summary.warnings);
    }
}

#[test]
fn totals_of_taps_are_null_unless_every_phase_ended() {
    let summary = summary_after(|run| run.drop_events(|event| matches!(event, Event::TapsEnded { step: 1, .. })));
    assert_eq!(summary.taps.totals.sent, None);
    assert_eq!(
        summary.taps.by_rate.iter().map(|rate| rate.counts.sent).collect::<Vec<_>>(),
        [Some(300), None, Some(20_000)]
    );
}

#[test]
fn an_empty_record_is_all_null() {
    let summary = summary_after(|run| {
        run.samples.clear();
        run.host.clear();
        run.events.clear();
        run.taps.clear();
        run.connect.clear();
    });
    assert_eq!(summary.verdict, Verdict::Invalid);
    let value = serde_json::to_value(&summary).unwrap();
    for name in [
        "/connections/held",
        "/connections/failed",
        "/connect/rate_per_s",
        "/connect/latency_us/max",
        "/server/processes",
    ] {
        assert!(value.pointer(name).is_some_and(serde_json::Value::is_null), "{name}");
    }
    for name in [
        "/swarm/user_bytes_total",
        "/kernel/bytes_total",
        "/taps/sent",
        "/taps/by_rate/0/lost",
        "/duration_s",
        "/hold_s",
    ] {
        assert!(value.pointer(name).is_some_and(serde_json::Value::is_null), "{name}");
    }
}

#[test]
fn huge_numbers_are_judged_and_do_not_panic() {
    let summary = summary_after(|run| {
        for row in &mut run.samples {
            (row.pss_anon_bytes, row.pss_shmem_bytes, row.connections) = (u64::MAX, u64::MAX, Some(u64::MAX));
            (row.cpu_us, row.pss_file_bytes) = (u64::MAX - row.cpu_us, u64::MAX);
        }
        for row in &mut run.host {
            (row.slab_tcp_bytes, row.slab_filp_bytes) = (Some(u64::MAX), Some(u64::MAX));
            row.softirq_us = Some(u64::MAX);
        }
        run.change_books(None, |server, swarm| {
            (server.registered, server.alerts.acknowledged, swarm.asked) = (u64::MAX, u64::MAX, u64::MAX);
            swarm.lost.insert("reset".to_owned(), u64::MAX);
            swarm.lost.insert("other".to_owned(), u64::MAX);
        });
        run.change_taps(0, |counts, _| (counts.sent, counts.late, counts.lost) = (u64::MAX, u64::MAX, u64::MAX));
    });
    assert_eq!(summary.verdict, Verdict::Invalid);
}
