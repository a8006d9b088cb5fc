use std::time::Duration;

use anyhow::Context;
use holdline_conductor::Progress;
use holdline_fleet::{Channel, Program};
use holdline_record::{Causes, SwarmCounts, decode_histogram, explain, is_of_generator};
use holdline_swarm::{Config, Order, Reconnect, Report, Step};

use crate::arguments::SwarmArguments;
use crate::drive::{Driven, Next, drive};
use crate::progress::Watcher;
use crate::status::{Failure, Status};

/// Connects the clients, holds them, and prints the books.
pub(crate) async fn swarm(arguments: SwarmArguments) -> Result<Status, Failure> {
    let (mut ours, theirs) = Channel::<Order, Report>::pair()?;
    let (connections, hold, reconnects) = (arguments.connections, arguments.hold, arguments.reconnect);
    ours.push(&Order::Start(Box::new(Config {
        connect: arguments.connect,
        start_id: arguments.start_id,
        connections,
        whole: None,
        sources: arguments.sources,
        rate: arguments.rate,
        window: arguments.window,
        nop_interval: arguments.nop_interval,
        connect_timeout: arguments.connect_timeout,
        register_timeout: arguments.register_timeout,
        reconnect: arguments
            .reconnect
            .then_some(Reconnect { first: arguments.reconnect_first, longest: arguments.reconnect_longest }),
        processes: arguments.processes.0,
        allow_public_target: arguments.allow_public_target,
    })));
    ours.push(&Order::Grow { to: connections });
    let mut watcher = Watcher::new(connections);
    let mut worker_lost = false;
    let driving = drive(ours, &Order::Stop, Some(&Order::Ask { seq: 0 }), |report| match report {
        Report::Ready { workers, plan, .. } => {
            watcher.line(&format!("{plan}; {} processes", workers.len()));
            Next::Go
        }
        Report::Counts { total, .. } => {
            watcher.show(&Progress::Connections(total.registered));
            Next::Go
        }
        Report::Grown(step) => {
            watcher.line(&describe(&step));
            if step.registered == 0 && !reconnects {
                // There is nothing to hold.
                return Next::StopIn(Duration::ZERO);
            }
            watcher.show(&Progress::Holding(hold));
            Next::StopIn(hold)
        }
        Report::WorkerLost { worker, how } => {
            worker_lost = true;
            watcher.line(&format!("worker {worker} ended: {how}"));
            Next::Go
        }
        Report::Stopped(counts) => Next::Done(counts),
        Report::Failed(_) => Next::Go,
    });
    let (ran, driven) = tokio::join!(holdline_swarm::run(Program::current()?, theirs), driving);
    watcher.finish();
    ran?;
    let Driven { result, interrupted } = driven?;
    let counts = result.context("the swarm ended without its last counts")?;
    println!("{}", serde_json::to_string(&counts).context("can't write the counts")?);
    explain_losses(&counts);
    if interrupted {
        eprintln!("interrupted: the hold was not kept to its end");
        return Ok(Status::Invalid);
    }
    if worker_lost || counts.outcomes.keys().any(|label| is_of_generator(label)) {
        eprintln!("invalid: the swarm could not do what was asked of it, which says nothing of the service");
        return Ok(Status::Invalid);
    }
    // What stood when the swarm was told to stop it closed itself.
    let held = counts.lost.get("closed_here").copied().unwrap_or(0);
    let unbroken = reconnects || counts.failed() == 0 && counts.lost_unasked() == 0;
    let kept = held == connections && unbroken;
    Ok(if kept { Status::Held } else { Status::NotHeld })
}

/// A line for each way in which attempts failed or connections were lost, with its remedy.
fn explain_losses(counts: &SwarmCounts) {
    let lines = |what: &str, causes: &Causes, good: &str| {
        for (label, count) in causes.iter().filter(|(label, _)| *label != good) {
            eprintln!("{count} {what}: {label} ({})", explain(label).unwrap_or("unknown"));
        }
    };
    lines("attempts failed", &counts.outcomes, "registered");
    lines("connections were lost", &counts.lost, "closed_here");
}

fn describe(step: &Step) -> String {
    let spent = step.last_outcome_us.zip(step.first_syn_us).map(|(last, first)| last.saturating_sub(first));
    let time = spent.map(|us| format!(", in {} ms", us / 1000)).unwrap_or_default();
    let latency = decode_histogram(&step.histogram).ok().filter(|latency| !latency.is_empty()).map(|latency| {
        let at = |quantile| latency.value_at_quantile(quantile);
        format!("; SYN to Registered in us: p50 {}, p99 {}, max {}", at(0.5), at(0.99), latency.max())
    });
    format!("{} registered, {} failed{time}{}", step.registered, step.failed, latency.unwrap_or_default())
}
