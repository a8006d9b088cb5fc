//! Services that misbehave towards the swarm, clients that misbehave towards the server, hosts that lack something.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use holdline_protocol::{Features, Frame, GoodbyeReason, Hello, Outcome, VERSION};
use serde_json::Value;

use crate::client::{Peer, Said};
use crate::processes::{holdline, holdline_with_files, outcome, start_server};

/// A service that does `what` with each connection, until the test ends.
fn service(what: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(what));
    address
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::Hello(Hello { version: VERSION, features: Features::NONE }).encode(&mut bytes);
    bytes
}

#[test]
fn every_attempt_has_an_outcome_that_says_what_to_do() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = service(std::mem::forget);
    let garbage = service(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let leaves = service(|mut stream| {
        let mut heard = [0; 64];
        let _ = stream.read(&mut heard).unwrap();
        stream.write_all(&hello()).unwrap();
    });
    let refuses = service(|mut stream| {
        let mut heard = [0; 64];
        let _ = stream.read(&mut heard).unwrap();
        let mut bytes = hello();
        Frame::Refused { reason: holdline_protocol::RefusedReason::Full, retry_after_ms: 1 }.encode(&mut bytes);
        stream.write_all(&bytes).unwrap();
    });
    for (target, label, words) in [
        (nobody, "connection_refused", "check the address"),
        (silent, "timed_out_registering", "something else listens"),
        (garbage, "not_the_protocol", "address for clients"),
        (leaves, "closed_by_server", "without a word"),
        (refuses, "refused_full", "--max-connections"),
    ] {
        let target = target.to_string();
        let arguments =
            ["swarm", "--connect", &target, "--connections", "5", "--hold", "0s", "--register-timeout", "1s"];
        let (status, counts, error) = outcome(holdline(&arguments));
        assert_eq!(status, Some(4), "{label}: {error}");
        let counts: Value = serde_json::from_str(&counts).unwrap();
        assert_eq!(counts["outcomes"], serde_json::json!({ label: 5 }), "{error}");
        assert!(error.contains(&format!("5 attempts failed: {label}")) && error.contains(words), "{error}");
    }
}

#[test]
fn a_swarm_that_may_reconnect_comes_back() {
    // Refuses the first two, then says nothing: the clients are back, or there would be no third.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let service = std::thread::spawn(move || {
        let mut sources = Vec::new();
        for (stream, refuse) in listener.incoming().flatten().zip([true, true, false]) {
            let (mut stream, mut heard) = (stream, [0; 64]);
            let _ = stream.read(&mut heard).unwrap();
            sources.push(stream.peer_addr().unwrap().ip());
            let mut bytes = hello();
            if refuse {
                Frame::Refused { reason: holdline_protocol::RefusedReason::Full, retry_after_ms: 50 }
                    .encode(&mut bytes);
                stream.write_all(&bytes).unwrap();
            } else {
                Frame::Registered { idle_timeout_ms: 0 }.encode(&mut bytes);
                stream.write_all(&bytes).unwrap();
                // Held until the client leaves.
                let _ = stream.read_to_end(&mut Vec::new());
                break;
            }
        }
        sources.len()
    });
    let arguments = ["swarm", "--connect", &target, "--connections", "1", "--hold", "3s", "--reconnect"];
    let (_, counts, error) = outcome(holdline(&[&arguments[..], &["--reconnect-first", "100ms"]].concat()));
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["outcomes"], serde_json::json!({"refused_full": 2, "registered": 1}), "{error}");
    assert_eq!((&counts["attempts_total"], &counts["asked"]), (&3.into(), &1.into()));
    assert_eq!(service.join().unwrap(), 3);
}

#[test]
fn what_this_host_lacks_and_what_is_wrong_are_told_apart() {
    let swarm = |files: u32, more: &[&str]| outcome(holdline_with_files(files, &[&["swarm"], more].concat()));
    for (files, arguments, status, words) in [
        (1024, &["--connections", "5", "--sources", "192.0.2.1"][..], 3, &["192.0.2.1", "ip addr add"][..]),
        (1024, &["--connections", "40000", "--sources", "127.0.0.1"], 3, &["source ports", "--sources"]),
        (100, &["--connections", "5"], 3, &["open files", "ulimit -n"]),
        (256, &["--connections", "300", "--processes", "1"], 2, &["--processes 3"]),
        (1024, &["--connections", "0"], 2, &["--connections"]),
        (1024, &["--connections", "5", "--connect", "8.8.8.8:1"], 2, &["--allow-public-target"]),
        (1024, &["--connections", "5", "--rate", "0"], 2, &["--rate"]),
        (1024, &["--connections", "5", "--start-id", "18446744073709551615"], 2, &["--start-id"]),
    ] {
        let (found, _, error) = swarm(files, arguments);
        assert_eq!(found, Some(status), "{arguments:?}: {error}");
        assert!(words.iter().all(|words| error.contains(words)), "{arguments:?}: {error}");
    }
    let (status, _, error) =
        outcome(holdline_with_files(256, &["server", "--max-connections", "300", "--workers", "1"]));
    assert_eq!(status, Some(2), "{error}");
    assert!(error.contains("--workers 3"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(taken).unwrap();
    for setting in ["--listen", "--alerts", "--metrics"] {
        let mut arguments = vec!["server", "--listen", "127.0.0.1:0", "--alerts", "127.0.0.1:0"];
        let address = taken.to_string();
        match arguments.iter().position(|argument| *argument == setting) {
            Some(at) => arguments[at + 1] = &address,
            None => arguments.extend([setting, &address]),
        }
        let (status, _, error) = outcome(holdline(&arguments));
        assert_eq!(status, Some(1), "{error}");
        assert!(error.contains(setting) && error.contains("ss -ltnp"), "{error}");
    }
    drop(listener);
}

#[test]
fn an_alerter_says_what_answered_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let garbage = service(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    for (target, words) in [(nobody, "nobody listens"), (garbage, "does not speak")] {
        let (status, _, error) = outcome(holdline(&["alerter", "--ids", "0..5", "--connect", &target.to_string()]));
        assert_eq!(status, Some(1), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn frames_that_are_cut_drip_or_never_end() {
    let server = start_server(10, 256, &["--register-deadline", "1s"]);
    let mut register = hello();
    Frame::Register { client_id: 5, credential: &[] }.encode(&mut register);
    // Byte by byte is slow, not wrong.
    let mut slow = TcpStream::connect(server.clients).unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &register {
        slow.write_all(&[*byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut answer = [0; 13 + 7];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer[15], 3, "Registered");
    // The same at the other interface, where nobody has this id.
    let mut alert = hello();
    Frame::Alert { alert_id: 9, client_id: 77, wait_for_ack: true, payload: b"x" }.encode(&mut alert);
    let mut slow_alerter = TcpStream::connect(server.alerts).unwrap();
    slow_alerter.set_nodelay(true).unwrap();
    for byte in &alert {
        slow_alerter.write_all(&[*byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut answer = [0; 13 + 12];
    slow_alerter.read_exact(&mut answer).unwrap();
    assert_eq!((answer[15], answer[24]), (0x21, Outcome::Offline.code()), "AlertResult");
    // Cut in the middle, at both.
    for (address, bytes) in [(server.clients, &register), (server.alerts, &alert)] {
        let mut cut = TcpStream::connect(address).unwrap();
        cut.write_all(&bytes[..7]).unwrap();
        drop(cut);
    }
    // A frame longer than any, at both interfaces.
    for address in [server.clients, server.alerts] {
        let mut long = TcpStream::connect(address).unwrap();
        long.write_all(&hello()).unwrap();
        long.write_all(&[0xff, 0xff, 0x20]).unwrap();
        let mut said = Vec::new();
        let _ = long.read_to_end(&mut said);
        assert_eq!(said[13..16], [0, 6, 9], "Hello, then Goodbye");
        assert_eq!(said[16], GoodbyeReason::Protocol.code());
    }
    // Never registers.
    let mut waits = Peer::connect(server.clients);
    assert_eq!(waits.hear_more(), Said::Goodbye(GoodbyeReason::NotRegistered));
    // The slow one is as good as any.
    let mut alerts = Peer::connect(server.alerts);
    alerts.say(&Frame::Alert { alert_id: 1, client_id: 5, wait_for_ack: false, payload: b"" });
    assert_eq!(alerts.hear_more(), Said::Result(1, Outcome::Sent));
}

#[test]
fn a_silent_client_is_sent_away_and_a_nop_keeps_it() {
    let server = start_server(10, 256, &["--idle-timeout", "2s"]);
    let (mut silent, mut talks) = (Peer::registered(server.clients, 1), Peer::registered(server.clients, 2));
    let talking = std::thread::spawn(move || {
        for _ in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(500));
            talks.say(&Frame::Nop);
            assert_eq!(talks.hear_more(), Said::NopAck);
        }
    });
    assert_eq!(silent.hear_more(), Said::Goodbye(GoodbyeReason::Silent));
    assert_eq!(silent.hear_more(), Said::End);
    talking.join().unwrap();
}

#[test]
fn a_tap_to_one_that_stopped_reading_is_overloaded_and_to_nobody_offline() {
    let server = start_server(10, 256, &["--max-unsent-per-connection", "65536", "--tap-timeout", "1s"]);
    let (_stuck, mut reads) = (Peer::registered(server.clients, 1), Peer::registered(server.clients, 2));
    let mut alerts = Peer::connect(server.alerts);
    alerts.alert(0, 3);
    assert_eq!(alerts.hear_more(), Said::Result(0, Outcome::Offline));
    // More than the socket's buffers of both ends and the server's bound take together.
    let mut overloaded = false;
    for alert_id in 1..20_000 {
        alerts.say(&Frame::Alert { alert_id, client_id: 1, wait_for_ack: false, payload: &[7; 4096] });
        match alerts.hear_more() {
            Said::Result(id, Outcome::Sent) => assert_eq!(id, alert_id),
            Said::Result(id, Outcome::Overloaded) => {
                assert_eq!(id, alert_id);
                overloaded = true;
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(overloaded, "80 MB were taken for a client that does not read");
    // Nobody else suffers.
    alerts.alert(30_000, 2);
    assert_eq!(alerts.outcome_with(&mut reads), Outcome::Acknowledged);
}
