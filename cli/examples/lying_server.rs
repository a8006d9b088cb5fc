//! A push service for the tests that can lie about itself, as the environment's `HOLDLINE_LIE` says: `nothing`, `drop`,
//! `forget`, `acknowledge` or `count`. It stands in for `holdline role server`; see the flow test of the same name.
//!
//! One task a connection, and no care for memory: what a server must not be, but short.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use holdline_fleet::{Channel, from_parent};
use holdline_host::socket;
use holdline_protocol::{Decoded, Features, Frame, Hello, Outcome, VERSION, decode};
use holdline_record::ServerCounts;
use holdline_server::{Config, Order, Report};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    Nothing,
    /// Closes one connection in a hundred without a word, and goes on counting it.
    Drop,
    /// Forgets one client in a hundred, whose connection stays open.
    Forget,
    /// Says that taps were acknowledged which it never sent.
    Acknowledge,
    /// Counts clients that it does not have.
    Count,
}

#[derive(Default)]
struct State {
    counts: ServerCounts,
    clients: HashMap<u64, mpsc::UnboundedSender<Vec<u8>>>,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    next_tap: u64,
}

type Shared = Arc<Mutex<State>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let lie = match std::env::var("HOLDLINE_LIE").unwrap_or_default().as_str() {
        "drop" => Lie::Drop,
        "forget" => Lie::Forget,
        "acknowledge" => Lie::Acknowledge,
        "count" => Lie::Count,
        _ => Lie::Nothing,
    };
    let mut parent = Channel::<Report, Order>::new(from_parent()?)?;
    let shared = Shared::default();
    let mut orders = Vec::new();
    while parent.next(&mut orders).await.is_ok() {
        for order in orders.drain(..) {
            match order {
                Order::Start(config) => parent.push(&serve(&config, lie, &shared)?),
                Order::Ask { seq } => {
                    parent.push(&Report::Counts { seq, total: say(lie, &shared), workers: Vec::new() })
                }
                Order::Drain => {
                    parent.push(&Report::Drained);
                    let _ = parent.flush_all().await;
                    return Ok(());
                }
            }
        }
        if parent.flush_all().await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What it says of itself.
fn say(lie: Lie, shared: &Shared) -> ServerCounts {
    let mut counts = shared.lock().unwrap().counts.clone();
    if lie == Lie::Count && counts.registered > 0 {
        counts.registered += 100;
        counts.open += 100;
        counts.accepted_total += 100;
    }
    counts
}

fn serve(config: &Config, lie: Lie, shared: &Shared) -> std::io::Result<Report> {
    let listen = |address| TcpListener::from_std(socket::listen(address, config.backlog)?.into());
    let (clients, alerts) = (listen(config.listen)?, listen(config.alerts)?);
    let (clients_at, alerts_at) = (clients.local_addr()?, alerts.local_addr()?);
    let for_clients = shared.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = clients.accept().await {
            for_clients.lock().unwrap().counts.accepted_total += 1;
            for_clients.lock().unwrap().counts.open += 1;
            tokio::spawn(client(stream, lie, for_clients.clone()));
        }
    });
    let for_alerts = shared.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = alerts.accept().await {
            tokio::spawn(alerter(stream, lie, for_alerts.clone()));
        }
    });
    let pid = std::process::id();
    Ok(Report::Ready { listen: clients_at, alerts: alerts_at, metrics: None, pid, workers: Vec::new() })
}

async fn client(stream: TcpStream, lie: Lie, shared: Shared) {
    let (outbox, mut out) = mpsc::unbounded_channel::<Vec<u8>>();
    let (mut inbox, mut id) = (Vec::new(), None);
    let mut cause = "closed_by_client";
    loop {
        tokio::select! {
            Some(bytes) = out.recv() => if stream.try_write(&bytes).is_err() { break },
            ready = stream.readable() => if ready.is_err() { break },
        }
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => inbox.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        while let Ok(Decoded::Frame(frame, length)) = decode(&inbox) {
            let mut reply = Vec::new();
            match frame {
                Frame::Hello(_) => {
                    Frame::Hello(Hello { version: VERSION, features: Features::NONE }).encode(&mut reply)
                }
                Frame::Register { client_id, .. } => {
                    id = Some(client_id);
                    let mut state = shared.lock().unwrap();
                    state.counts.registered += 1;
                    state.counts.registered_total += 1;
                    state.clients.insert(client_id, outbox.clone());
                    Frame::Registered { idle_timeout_ms: 0 }.encode(&mut reply);
                }
                Frame::TapAck { tap_id } => {
                    let mut state = shared.lock().unwrap();
                    if let Some(waiting) = state.waiting.remove(&tap_id) {
                        state.counts.tap_acks_total += 1;
                        let _ = waiting.send(());
                    }
                }
                Frame::Goodbye { .. } => cause = "goodbye_of_client",
                _ => Frame::NopAck.encode(&mut reply),
            }
            let registered = matches!(frame, Frame::Register { .. });
            inbox.drain(..length);
            let _ = stream.try_write(&reply);
            if registered && id.is_some_and(|id| id.is_multiple_of(100)) {
                match lie {
                    // The socket closes; the books do not know.
                    Lie::Drop => return,
                    Lie::Forget => {
                        let mut state = shared.lock().unwrap();
                        state.counts.registered -= 1;
                        state.clients.remove(&id.unwrap());
                    }
                    _ => {}
                }
            }
        }
    }
    let mut state = shared.lock().unwrap();
    state.counts.open -= 1;
    *state.counts.ended.entry(cause.to_owned()).or_default() += 1;
    if id.is_some_and(|id| state.clients.remove(&id).is_some()) {
        state.counts.registered -= 1;
    }
}

async fn alerter(stream: TcpStream, lie: Lie, shared: Shared) {
    let (outbox, mut out) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut inbox = Vec::new();
    loop {
        tokio::select! {
            Some(bytes) = out.recv() => { let _ = stream.try_write(&bytes); }
            ready = stream.readable() => if ready.is_err() { return },
        }
        let mut buffer = [0; 65_536];
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => inbox.extend_from_slice(&buffer[..bytes]),
            Err(_) => continue,
        }
        while let Ok(Decoded::Frame(frame, length)) = decode(&inbox) {
            match frame {
                Frame::Hello(hello) => {
                    let mut reply = Vec::new();
                    Frame::Hello(hello).encode(&mut reply);
                    let _ = outbox.send(reply);
                }
                Frame::Alert { alert_id, client_id, payload, .. } => {
                    tap(lie, &shared, &outbox, alert_id, client_id, payload);
                }
                _ => {}
            }
            inbox.drain(..length);
        }
    }
}

fn tap(
    lie: Lie,
    shared: &Shared,
    outbox: &mpsc::UnboundedSender<Vec<u8>>,
    alert_id: u64,
    client_id: u64,
    payload: &[u8],
) {
    let answer = move |outbox: &mpsc::UnboundedSender<Vec<u8>>, outcome| {
        let mut result = Vec::new();
        Frame::AlertResult { alert_id, outcome }.encode(&mut result);
        let _ = outbox.send(result);
    };
    let mut state = shared.lock().unwrap();
    state.counts.alerts.received += 1;
    if lie == Lie::Acknowledge && client_id.is_multiple_of(2) {
        state.counts.alerts.acknowledged += 1;
        return answer(outbox, Outcome::Acknowledged);
    }
    state.next_tap += 1;
    let tap_id = state.next_tap;
    let mut frame = Vec::new();
    Frame::Tap { tap_id, payload }.encode(&mut frame);
    if state.clients.get(&client_id).is_none_or(|client| client.send(frame).is_err()) {
        state.counts.alerts.offline += 1;
        return answer(outbox, Outcome::Offline);
    }
    state.counts.taps_sent_total += 1;
    let (acknowledge, acknowledged) = oneshot::channel();
    state.waiting.insert(tap_id, acknowledge);
    let (shared, outbox) = (shared.clone(), outbox.clone());
    tokio::spawn(async move {
        if acknowledged.await.is_ok() {
            shared.lock().unwrap().counts.alerts.acknowledged += 1;
            answer(&outbox, Outcome::Acknowledged);
        }
    });
}
