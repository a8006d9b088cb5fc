//! The reference service by itself. A limit of 256 open files makes it use several workers for a few clients.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use holdline_protocol::{Frame, GoodbyeReason, Outcome, RefusedReason};

use crate::client::{Peer, Said};
use crate::processes::{descendants, send, start_server, wait_for, wait_until_gone};

/// Room for 128 connections in a worker.
const FEW_FILES: u32 = 256;

#[test]
fn the_newest_connection_of_an_id_is_the_one_that_is_tapped() {
    let server = start_server(380, FEW_FILES, &[]);
    assert_eq!(descendants(server.process.pid()).len(), 3, "several workers");
    let mut alerts = Peer::connect(server.alerts);
    let mut old = Peer::registered(server.clients, 7);
    // Turns of accepting go round the workers, so that these connections are of all of them.
    for round in 0..300 {
        let mut new = Peer::registered(server.clients, 7);
        assert_eq!(old.hear_more(), Said::Goodbye(GoodbyeReason::Replaced), "round {round}");
        assert_eq!(old.hear_more(), Said::End);
        alerts.alert(round, 7);
        let Said::Tap(tap_id, payload) = new.hear_more() else { panic!("no tap in round {round}") };
        assert_eq!(payload, b"wake up");
        new.say(&Frame::TapAck { tap_id });
        assert_eq!(alerts.hear_more(), Said::Result(round, Outcome::Acknowledged));
        old = new;
    }
    // As fast as it goes, which is thousands a second, and without a look at the old one.
    for _ in 0..2000 {
        old = Peer::registered(server.clients, 7);
    }
    // Nothing of all these connections is left but one: there is room for as many others as there was at first.
    let mut others: Vec<Peer> = Vec::new();
    for id in 1000..1379 {
        wait_for("room for another", || {
            let (peer, said) = Peer::register(server.clients, id);
            let registered = said == Said::Registered;
            others.extend(registered.then_some(peer));
            registered
        });
    }
    assert!(matches!(Peer::register(server.clients, 2000).1, Said::Refused(RefusedReason::Full, _)));
    drop(old);
}

#[test]
fn a_full_server_refuses_and_has_room_again_when_a_client_leaves() {
    let server = start_server(2, FEW_FILES, &[]);
    let (one, _two) = (Peer::registered(server.clients, 1), Peer::registered(server.clients, 2));
    let (mut third, said) = Peer::register(server.clients, 3);
    assert!(matches!(said, Said::Refused(RefusedReason::Full, retry_after_ms) if retry_after_ms > 0), "{said:?}");
    assert_eq!(third.hear_more(), Said::End);
    drop(one);
    wait_for("room", || Peer::register(server.clients, 3).1 == Said::Registered);
}

#[test]
fn a_drain_sends_the_clients_away_and_ends() {
    let mut server = start_server(300, FEW_FILES, &[]);
    let mut clients: Vec<Peer> = (0..300).map(|id| Peer::registered(server.clients, id)).collect();
    let processes = descendants(server.process.pid());
    server.process.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.hear_more(), Said::Goodbye(GoodbyeReason::Draining));
        assert_eq!(client.hear_more(), Said::End);
    }
    assert_eq!(server.process.end(), Some(0));
    wait_until_gone(&processes);
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_its_clients_are_offline() {
    // Room for old and new connections: an old one counts until its client has closed it.
    let server = start_server(700, FEW_FILES, &[]);
    let mut alerts = Peer::connect(server.alerts);
    let mut clients: Vec<Peer> = (0..300).map(|id| Peer::registered(server.clients, id)).collect();
    let before = descendants(server.process.pid());
    let killed = *before.first().unwrap();
    send(killed, "KILL");
    wait_for("a new worker", || {
        let now = descendants(server.process.pid());
        now.len() == before.len() && !now.contains(&killed)
    });
    let mut offline = 0;
    for (id, client) in (0..).zip(&mut clients) {
        alerts.alert(id, id);
        match alerts.outcome_with(client) {
            Outcome::Offline => offline += 1,
            outcome => assert_eq!(outcome, Outcome::Acknowledged),
        }
    }
    assert!((1..300).contains(&offline), "{offline} of 300 were of the worker that was killed");
    for id in 0..300 {
        clients.push(Peer::registered(server.clients, id));
    }
    let (last, id) = (clients.last_mut().unwrap(), 299);
    alerts.alert(1000, id);
    assert_eq!(alerts.outcome_with(last), Outcome::Acknowledged);
}

#[test]
fn workers_end_with_their_supervisor() {
    let server = start_server(380, FEW_FILES, &[]);
    let workers = descendants(server.process.pid());
    send(server.process.pid(), "KILL");
    wait_until_gone(&workers);
}

#[test]
fn metrics_are_open_metrics() {
    let server = start_server(10, FEW_FILES, &["--metrics", "127.0.0.1:0"]);
    let _clients: Vec<Peer> = (0..3).map(|id| Peer::registered(server.clients, id)).collect();
    let address = server.ready.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("application/openmetrics-text") && answer.trim_end().ends_with("# EOF"), "{answer}");
    let registered = answer.lines().find(|line| line.contains("registered") && !line.starts_with('#')).unwrap();
    assert!(answer.lines().any(|line| line.ends_with(" 3") && line.contains("registered")), "{registered}");
}

#[test]
fn garbage_ends_one_connection_and_no_other() {
    let server = start_server(10, FEW_FILES, &[]);
    let mut good = Peer::registered(server.clients, 1);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0], &[0xff; 64], &[0, 1, 0x7f]] {
        for address in [server.clients, server.alerts] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(garbage).unwrap();
            // It ends, with or without a last word; a reset is an end too.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    good.say(&Frame::Nop);
    assert_eq!(good.hear_more(), Said::NopAck);
    let processes: BTreeSet<u32> = descendants(server.process.pid());
    assert_eq!(processes.len(), 1);
}
