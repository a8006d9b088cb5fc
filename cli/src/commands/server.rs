use holdline_fleet::{Channel, Program};
use holdline_server::{Config, Order, Report};

use crate::arguments::ServerArguments;
use crate::drive::{Next, drive};
use crate::status::{Failure, Status};

/// Serves until it is told to stop.
pub(crate) async fn server(arguments: ServerArguments) -> Result<Status, Failure> {
    let (mut ours, theirs) = Channel::<Order, Report>::pair()?;
    ours.push(&Order::Start(Box::new(Config {
        listen: arguments.listen,
        alerts: arguments.alerts,
        metrics: arguments.metrics,
        max_connections: arguments.max_connections,
        workers: arguments.workers,
        backlog: arguments.backlog,
        register_deadline: arguments.register_deadline,
        idle_timeout: arguments.idle_timeout,
        tap_timeout: arguments.tap_timeout,
        drain_timeout: arguments.drain_timeout,
        retry_after: arguments.retry_after,
        max_unsent_per_connection_bytes: arguments.max_unsent_per_connection,
        max_unsent_per_worker_bytes: arguments.max_unsent_per_worker,
        max_alerts_in_flight: arguments.max_alerts_in_flight,
    })));
    let driving = drive(ours, &Order::Drain, None, |report| match report {
        Report::Ready { listen, alerts, metrics, workers, .. } => {
            let metrics = metrics.map(|address| format!(", metrics on http://{address}/metrics")).unwrap_or_default();
            println!("clients on {listen}, alerts on {alerts}{metrics}, {} worker processes", workers.len());
            Next::Go
        }
        Report::Drained => Next::Done(()),
        _ => Next::Go,
    });
    let (served, driven) = tokio::join!(holdline_server::run(Program::current()?, theirs), driving);
    served?;
    driven?;
    Ok(Status::Held)
}
