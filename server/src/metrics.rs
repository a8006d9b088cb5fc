//! Counts as OpenMetrics over HTTP: `GET /metrics`.

use std::convert::Infallible;

use holdline_record::{Causes, ServerCounts};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// The media type of the OpenMetrics text format.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Asks the supervisor for counts.
pub(crate) type Question = oneshot::Sender<ServerCounts>;

/// Serves until the runtime ends. One connection at a time: a scrape is short, and rare.
pub(crate) async fn serve(listener: TcpListener, questions: mpsc::Sender<Question>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The limit of open files; the next scrape may find room.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let questions = questions.clone();
        let service = service_fn(move |request| answer(request, questions.clone()));
        let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        // A peer that says nothing must not keep the next one waiting for long.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), connection).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    questions: mpsc::Sender<Question>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        Ok(response)
    };
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    let (ask, counts) = oneshot::channel();
    if questions.send(ask).await.is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the server is ending\n");
    }
    let Ok(counts) = counts.await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "a worker did not say its counts\n");
    };
    let mut response = Response::new(Full::new(Bytes::from(text(&counts))));
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// The counts in the OpenMetrics text format.
fn text(counts: &ServerCounts) -> String {
    let mut registry = Registry::with_prefix("holdline");
    let gauges = [
        ("connections_open", "Connections open now, registered or not", counts.open),
        ("connections_registered", "Connections registered now", counts.registered),
        ("unsent_bytes", "Bytes held because clients do not read them", counts.unsent_bytes),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let counters = [
        ("connections_accepted", "Connections accepted", counts.accepted_total),
        ("registrations", "Registrations granted", counts.registered_total),
        ("nops", "Nops received", counts.nops_total),
        ("taps_sent", "Taps written to clients", counts.taps_sent_total),
        ("tap_acks", "Acknowledgements that matched a tap", counts.tap_acks_total),
        ("alerts_received", "Alerts received", counts.alerts.received),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let alerts = &counts.alerts;
    let outcomes = [
        ("acknowledged", alerts.acknowledged),
        ("sent", alerts.sent),
        ("offline", alerts.offline),
        ("overloaded", alerts.overloaded),
        ("timed_out", alerts.timed_out),
    ];
    let outcomes: Causes = outcomes.map(|(name, value)| (name.to_owned(), value)).into();
    for (name, help, label, causes) in [
        ("connections_ended", "Connections that ended, by cause", "cause", &counts.ended),
        ("registrations_refused", "Registrations refused, by reason", "reason", &counts.refused),
        ("alerts_settled", "Alerts by outcome", "outcome", &outcomes),
    ] {
        let family = Family::<Vec<(String, String)>, Counter>::default();
        for (cause, value) in causes {
            family.get_or_create(&vec![(label.to_owned(), cause.clone())]).inc_by(*value);
        }
        registry.register(name, help, family);
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a string does not fail; an empty exposition would still be a valid one.
        Err(_) => "# EOF\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exposed_by_name_and_cause() {
        let mut counts = ServerCounts { registered: 7, accepted_total: 9, ..ServerCounts::default() };
        counts.ended.insert("reset".into(), 2);
        let text = text(&counts);
        for line in [
            "holdline_connections_registered 7",
            "holdline_connections_accepted_total 9",
            "holdline_connections_ended_total{cause=\"reset\"} 2",
            "holdline_alerts_settled_total{outcome=\"offline\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
