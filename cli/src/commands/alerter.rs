use anyhow::Context;
use holdline_alerter::{Config, Order, Report};
use holdline_analysis::stats::{P50, P99, P999, percentile};
use holdline_fleet::Channel;
use holdline_record::{decode_histogram, new_histogram};

use crate::arguments::AlerterArguments;
use crate::drive::{Driven, Next, drive};
use crate::status::{Failure, Status};

/// Taps as scheduled and prints what became of each alert.
pub(crate) async fn alerter(arguments: AlerterArguments) -> Result<Status, Failure> {
    let (mut ours, theirs) = Channel::<Order, Report>::pair()?;
    let config = Config {
        connect: arguments.connect,
        first_id: arguments.ids.0,
        end_id: arguments.ids.1,
        rate: arguments.rate,
        duration: arguments.duration,
        seed: arguments.seed,
        timeout: arguments.timeout,
        grace: arguments.grace,
        payload_bytes: arguments.payload_bytes,
        allow_public_target: arguments.allow_public_target,
    };
    let scheduled = config.scheduled();
    ours.push(&Order::Start(Box::new(config)));
    let mut trips = new_histogram();
    let driving = drive(ours, &Order::Stop, None, |report| match report {
        Report::Interval(interval) => {
            if let Ok(histogram) = decode_histogram(&interval.histogram) {
                // All histograms of this program have the same bounds.
                let _ = trips.add(&histogram);
            }
            Next::Go
        }
        Report::Done(outcome) => Next::Done(outcome),
        Report::Started { .. } | Report::Failed(_) => Next::Go,
    });
    let (ran, driven) = tokio::join!(holdline_alerter::run(theirs), driving);
    ran?;
    let Driven { result, interrupted } = driven?;
    let outcome = result.context("the alerter ended without its outcome")?;
    println!("{}", serde_json::to_string(&outcome).context("can't write the outcome")?);
    if !trips.is_empty() {
        let known = [("p50", P50), ("p99", P99), ("p99.9", P999)]
            .into_iter()
            .filter_map(|(name, one_in)| Some(format!("{name} {}, ", percentile(&trips, one_in)?)));
        println!("round trip in us: {}max {}", known.collect::<String>(), trips.max());
    }
    if interrupted && outcome.counts.sent < scheduled {
        eprintln!("interrupted: the schedule was not kept to its end");
        return Ok(Status::Invalid);
    }
    let all = outcome.counts.acknowledged == outcome.counts.scheduled;
    Ok(if all { Status::Held } else { Status::NotHeld })
}
