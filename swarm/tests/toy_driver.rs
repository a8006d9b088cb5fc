//! The engine with a second protocol: lines of text. What the engine does must not depend on whose protocol it is.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use holdline_fleet::Channel;
use holdline_host::ports::{HostPorts, PortPlan, Sources};
use holdline_swarm::{Driver, DriverEvent, Engine, FromWorker, Step, ToWorker, Violation, WorkerPlan};

/// `iam ID` is answered by `welcome` or `no`; `push X` by `got X`; `ping` by `pong`.
struct Lines;

impl Driver for Lines {
    type State = ();

    fn open(&self, client_id: u64, (): &mut (), out: &mut Vec<u8>) {
        writeln!(out, "iam {client_id}").unwrap();
    }

    fn receive(
        &self,
        _client_id: u64,
        (): &mut (),
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<usize, Violation> {
        let mut taken = 0;
        while let Some(end) = input[taken..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&input[taken..taken + end]).map_err(|_| Violation)?;
            taken += end + 1;
            match line.split_once(' ').unwrap_or((line, "")) {
                ("welcome", _) => events.push(DriverEvent::Registered),
                ("no", _) => events.push(DriverEvent::Refused { reason: "full", retry_after_ms: 0 }),
                ("pong", _) => events.push(DriverEvent::KeepaliveAnswered),
                ("push", what) => {
                    writeln!(out, "got {what}").unwrap();
                    events.push(DriverEvent::Tapped);
                }
                _ => return Err(Violation),
            }
        }
        Ok(taken)
    }

    fn keepalive(&self, _client_id: u64, (): &mut (), out: &mut Vec<u8>) {
        out.extend_from_slice(b"ping\n");
    }

    fn leave(&self, _client_id: u64, (): &mut (), out: &mut Vec<u8>) {
        out.extend_from_slice(b"bye\n");
    }
}

/// One client's conversation, as the service sees it: id 2 is refused, id 3 hears nonsense, the others get a push.
fn serve(stream: TcpStream) -> Vec<String> {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut said = vec![lines.next().unwrap()];
    let answer: &[&str] = match said[0].as_str() {
        "iam 2" => &["no\n"],
        "iam 3" => &["what?\n"],
        // Split inside a line: the rest must be kept and joined.
        _ => &["welc", "ome\npush he", "llo\n"],
    };
    for part in answer {
        (&stream).write_all(part.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    said.extend(lines);
    said
}

#[tokio::test(flavor = "current_thread")]
async fn a_second_protocol_is_spoken() {
    const CLIENTS: u64 = 5;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let service = std::thread::spawn(move || {
        let conversations: Vec<_> = (0..CLIENTS)
            .map(|_| listener.accept().unwrap().0)
            .map(|stream| std::thread::spawn(move || serve(stream)))
            .collect();
        conversations.into_iter().map(|conversation| conversation.join().unwrap()).collect::<Vec<_>>()
    });

    let plan = WorkerPlan {
        ports: PortPlan::new(Sources::Auto, vec![target], 0, CLIENTS, &HostPorts::read()).unwrap(),
        start_id: 0,
        first: 0,
        clients: CLIENTS,
        rate: None,
        window: 2,
        nop_interval: Duration::from_millis(250),
        reconnect: None,
        connect_timeout: Duration::from_secs(5),
        register_timeout: Duration::from_secs(5),
    };
    let (mut supervisor, worker) = Channel::<ToWorker, FromWorker>::pair().unwrap();
    supervisor.push(&ToWorker::Start(Box::new(plan)));
    supervisor.push(&ToWorker::Grow(CLIENTS));
    let supervising = async {
        let mut said = Vec::new();
        supervisor.next(&mut said).await.unwrap();
        let Some(FromWorker::Grown(Step { registered, failed, .. })) = said.pop() else { panic!("a step's end") };
        assert_eq!((registered, failed), (3, 2));
        let counts = loop {
            supervisor.push(&ToWorker::Ask(1));
            supervisor.next(&mut said).await.unwrap();
            match said.pop() {
                Some(FromWorker::Counts { counts, .. }) if counts.taps_total == 3 && counts.nops_total >= 3 => {
                    break counts;
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        assert_eq!((counts.registered, counts.tap_acks_total), (3, 3));
        assert_eq!(counts.outcomes["refused_full"], 1);
        assert_eq!(counts.outcomes["not_the_protocol"], 1);
        supervisor.push(&ToWorker::Stop);
        supervisor.next(&mut said).await.unwrap();
        let Some(FromWorker::Stopped(counts)) = said.pop() else { panic!("the end") };
        assert_eq!((counts.registered, counts.lost["closed_here"]), (0, 3));
    };
    let (ran, ()) = tokio::join!(Engine::run(Lines, worker), supervising);
    ran.unwrap();

    let mut conversations = service.join().unwrap();
    conversations.sort();
    let first: Vec<&str> = conversations.iter().map(|said| said[0].as_str()).collect();
    assert_eq!(first, ["iam 0", "iam 1", "iam 2", "iam 3", "iam 4"], "no gap, no overlap");
    for said in conversations.iter().filter(|said| !["iam 2", "iam 3"].contains(&said[0].as_str())) {
        assert!(said.contains(&"got hello".to_owned()) && said.last().unwrap() == "bye", "{said:?}");
    }
}
