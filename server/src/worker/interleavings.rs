//! Workers and the router with real sockets, but with time and order in the hands of the test: whatever comes before
//! what, no id has two owners, no tap reaches the wrong client, every alert has one outcome, and nothing is left behind.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use holdline_protocol::{Decoded, Features, Hello, Outcome, VERSION, decode};
use proptest::prelude::*;

use super::*;
use crate::alerts::Alert;
use crate::router::{Post, Router};

const WORKERS: usize = 3;
/// Few, so that connections of one id meet. Others have an id that is used once.
const IDS: u64 = 3;
/// Alerts are for one of the ids used last, so that many meet a connection that has just gone.
const RECENT: usize = 6;
/// Descriptors of the clients are from here on.
const CLIENT_FILES: i32 = 500;
/// Taps time out after this, and clients fall silent after `IDLE_TIMEOUT`.
const TAP_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What happens next. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    /// With `id` as one of the few, or as a new one.
    Connect {
        id: Option<u64>,
        registers: bool,
    },
    Register {
        client: usize,
    },
    Read {
        client: usize,
        acknowledge: bool,
    },
    Nop {
        client: usize,
    },
    Close {
        client: usize,
    },
    Alert {
        recent: usize,
    },
    Worker {
        worker: usize,
    },
    Router {
        worker: usize,
    },
    Time {
        seconds: u64,
    },
    Sweep {
        worker: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (prop::option::of(0..IDS), prop::bool::weighted(0.8))
            .prop_map(|(id, registers)| Event::Connect { id, registers }),
        2 => any::<usize>().prop_map(|client| Event::Register { client }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(client, acknowledge)| Event::Read { client, acknowledge }),
        1 => any::<usize>().prop_map(|client| Event::Nop { client }),
        6 => any::<usize>().prop_map(|client| Event::Close { client }),
        10 => (0..RECENT).prop_map(|recent| Event::Alert { recent }),
        16 => any::<usize>().prop_map(|worker| Event::Worker { worker }),
        5 => any::<usize>().prop_map(|worker| Event::Router { worker }),
        1 => (1..40_u64).prop_map(|seconds| Event::Time { seconds }),
        2 => any::<usize>().prop_map(|worker| Event::Sweep { worker }),
    ]
}

struct Client {
    id: u64,
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Taps that were not acknowledged when they were read.
    unanswered: Vec<u64>,
}

impl Client {
    fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // The server may have closed.
        let _ = self.stream.write(&bytes);
    }

    /// Reads what is there; whether the connection has ended. Taps must be for this client.
    fn read(&mut self, acknowledge: bool) -> bool {
        let mut buffer = [0; 4096];
        let ended = match self.stream.read(&mut buffer) {
            Ok(bytes) => {
                self.inbox.extend_from_slice(&buffer[..bytes]);
                bytes == 0
            }
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        let mut taps = std::mem::take(&mut self.unanswered);
        while let Decoded::Frame(frame, length) = decode(&self.inbox).unwrap() {
            match frame {
                Frame::Tap { tap_id, payload } => {
                    assert_eq!(payload, self.id.to_be_bytes(), "a tap for another client");
                    taps.push(tap_id);
                }
                Frame::Goodbye { reason: GoodbyeReason::Replaced, .. } => {
                    assert!(self.id < IDS, "replaced, but nobody else has id {}", self.id);
                }
                _ => {}
            }
            self.inbox.drain(..length);
        }
        if acknowledge {
            taps.drain(..).for_each(|tap_id| self.say(&Frame::TapAck { tap_id }));
        }
        self.unanswered = taps;
        ended
    }
}

/// A server in one process, without its loop.
struct World {
    address: SocketAddr,
    workers: Vec<Worker>,
    channels: Vec<Channel<ToWorker, FromWorker>>,
    router: Router,
    clients: Vec<Client>,
    /// Of all clients there ever were.
    ids: Vec<u64>,
    /// By alert, what came of it.
    outcomes: BTreeMap<u64, Vec<Outcome>>,
    buffer: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let listener = socket::listen("127.0.0.1:0".parse().unwrap(), 128).unwrap();
        let address = socket::local_address(&listener).unwrap();
        let config = Config { tap_timeout: TAP_TIMEOUT, idle_timeout: IDLE_TIMEOUT, ..Config::default() };
        let (mut workers, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..WORKERS {
            let (mut ours, theirs) = Channel::pair().unwrap();
            ours.push(&ToWorker::Accept(100_000));
            workers.push(Worker::new(config.clone(), listener.try_clone().unwrap(), theirs).unwrap());
            channels.push(ours);
        }
        let (router, buffer) = (Router::new(WORKERS, 1000, TAP_TIMEOUT * 2), vec![0; READ_BYTES]);
        Self {
            address,
            workers,
            channels,
            router,
            clients: Vec::new(),
            ids: Vec::new(),
            outcomes: BTreeMap::new(),
            buffer,
        }
    }

    async fn happen(&mut self, event: Event) {
        let client = |number: usize, clients: &[Client]| (!clients.is_empty()).then(|| number % clients.len());
        match event {
            Event::Connect { id, registers } => {
                let id = id.unwrap_or(IDS + self.ids.len() as u64);
                self.ids.push(id);
                let stream = TcpStream::connect(self.address).unwrap();
                // Out of the way, so that the server's next connection takes the number of the last one that closed.
                let stream = TcpStream::from(rustix::io::fcntl_dupfd_cloexec(&stream, CLIENT_FILES).unwrap());
                stream.set_nonblocking(true).unwrap();
                let mut client = Client { id, stream, inbox: Vec::new(), unanswered: Vec::new() };
                client.say(&Frame::Hello(Hello { version: VERSION, features: Features::NONE }));
                if registers {
                    client.say(&Frame::Register { client_id: id, credential: &[] });
                }
                self.clients.push(client);
            }
            Event::Register { client: number } => {
                if let Some(at) = client(number, &self.clients) {
                    let client_id = self.clients[at].id;
                    self.clients[at].say(&Frame::Register { client_id, credential: &[] });
                }
            }
            Event::Read { client: number, acknowledge } => {
                if let Some(at) = client(number, &self.clients)
                    && self.clients[at].read(acknowledge)
                {
                    self.clients.swap_remove(at);
                }
            }
            Event::Nop { client: number } => {
                if let Some(at) = client(number, &self.clients) {
                    self.clients[at].say(&Frame::Nop);
                }
            }
            Event::Close { client: number } => {
                if let Some(at) = client(number, &self.clients) {
                    self.clients.swap_remove(at);
                }
            }
            Event::Alert { recent } => {
                let Some(id) = self.ids.iter().rev().nth(recent).copied() else { return };
                let alert_id = self.outcomes.len() as u64;
                self.outcomes.insert(alert_id, Vec::new());
                let payload = id.to_be_bytes().to_vec();
                let alert = Alert { from: 1, alert_id, client_id: id, wait_for_ack: true, payload };
                self.router.alert(alert, mono_us(), |_| true);
                self.deliver();
            }
            Event::Worker { worker } => self.turn(worker % WORKERS).await,
            Event::Router { worker } => self.hear(worker % WORKERS).await,
            Event::Time { seconds } => {
                self.workers.iter_mut().for_each(|worker| worker.clock.skew += Duration::from_secs(seconds));
            }
            Event::Sweep { worker } => {
                let worker = &mut self.workers[worker % WORKERS];
                worker.on_tick(1);
                worker.sweep_some(SWEEP_BUDGET);
            }
        }
    }

    /// What a worker's loop does in one round.
    async fn turn(&mut self, worker: usize) {
        // Lets the runtime see what the sockets have.
        tokio::task::yield_now().await;
        let worker = &mut self.workers[worker];
        let (mut orders, mut events) = (Vec::new(), Vec::new());
        worker.channel.receive(&mut orders).unwrap();
        orders.into_iter().for_each(|order| worker.obey(order).unwrap());
        if worker.epoll.get_mut().take(&mut events).unwrap() > 0 {
            worker.batches(&mut events, &mut self.buffer).unwrap();
        }
        worker.after_batch();
        worker.channel.flush().unwrap();
    }

    /// What the supervisor's loop does for one worker.
    async fn hear(&mut self, worker: usize) {
        tokio::task::yield_now().await;
        let mut messages = Vec::new();
        self.channels[worker].receive(&mut messages).unwrap();
        for message in messages {
            match message {
                FromWorker::Joined { slot, client_id, seq } => self.router.joined(worker, slot, client_id, seq),
                FromWorker::Left { slot } => self.router.left(worker, slot),
                FromWorker::Settled { token, outcome } => self.router.settled(token, Outcome::from_code(outcome)),
                FromWorker::Moved { token, payload } => self.router.moved(token, payload, |_| true),
                FromWorker::Flow { .. } | FromWorker::Returned(_) | FromWorker::Counts { .. } => {}
            }
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        let Post { orders, answers } = self.router.take_post();
        orders.into_iter().for_each(|(worker, order)| self.channels[worker].push(&order));
        self.channels.iter_mut().for_each(|channel| channel.flush().unwrap());
        for answer in answers {
            self.outcomes.get_mut(&answer.alert_id).unwrap().push(answer.outcome);
        }
    }

    /// Lets everything that is under way arrive.
    async fn settle(&mut self) {
        for _ in 0..12 {
            for worker in 0..WORKERS {
                self.turn(worker).await;
                self.hear(worker).await;
            }
        }
    }

    /// Registered connections of each id, over all workers.
    fn owners(&self) -> BTreeMap<u64, Vec<(usize, u32)>> {
        let mut owners: BTreeMap<u64, Vec<(usize, u32)>> = BTreeMap::new();
        for (number, worker) in self.workers.iter().enumerate() {
            for index in 0..worker.slots.len() {
                let slot = worker.slots.get(index).filter(|slot| slot.state == State::Registered);
                slot.into_iter().for_each(|slot| owners.entry(slot.id()).or_default().push((number, index)));
            }
        }
        owners
    }

    async fn check(mut self) {
        self.settle().await;
        let owners = self.owners();
        for (id, at) in &owners {
            assert_eq!(at.len(), 1, "owners of id {id}: {at:?}");
            assert_eq!(self.router.find(*id), Some(at[0]), "the directory on id {id}");
        }
        assert_eq!(self.router.sizes().0, owners.len(), "clients in the directory");

        // All clients leave, and the time of the last taps comes.
        self.clients.clear();
        self.settle().await;
        for worker in &mut self.workers {
            worker.clock.skew += TAP_TIMEOUT * 2 + Duration::from_secs(u64::from(LINGER_S) + 1);
            for _ in 0..=TICKS_PER_PASS {
                worker.on_tick(1);
                worker.sweep_some(Duration::from_secs(1));
            }
        }
        self.settle().await;
        assert_eq!(self.router.sizes(), (0, 0), "clients in the directory, alerts in flight");
        for worker in &self.workers {
            let counts = &worker.counts;
            assert_eq!((counts.open, counts.registered, counts.ending), (0, 0, 0), "{counts:?}");
            assert_eq!(counts.contradictions(), Vec::<String>::new());
            assert!((0..worker.slots.len()).all(|index| worker.slots.get(index).unwrap().state == State::Free));
        }
        for (alert_id, outcomes) in &self.outcomes {
            assert_eq!(outcomes.len(), 1, "outcomes of alert {alert_id}: {outcomes:?}");
        }
        let counts = self.router.counts();
        assert_eq!(counts.received, self.outcomes.len() as u64);
        assert_eq!(counts.settled(), counts.received);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_leaves_one_owner_one_outcome_and_nothing_behind(events in prop::collection::vec(event(), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for event in events {
                world.happen(event).await;
            }
            world.check().await;
        });
    }
}
