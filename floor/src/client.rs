//! A process that connects, says one message on each connection, and waits for the answer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use holdline_host::clock::mono_us;
use holdline_host::ports::PortPlan;
use holdline_host::{limits, socket};
use rustix::event::epoll::EventFlags;
use serde::{Deserialize, Serialize};

use crate::REQUEST;
use crate::wire::{Set, hear, say};

const PARENT: u64 = u64::MAX;
/// Connections begun between two looks at what has arrived, as the swarm does.
const BURST: u64 = 32;

/// What a client process connects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The ways of all clients.
    pub(crate) ports: PortPlan,
    /// The first client of this process.
    pub(crate) first: u64,
    /// Connections being set up at once.
    pub(crate) window: u64,
}

/// A connection without an answer, by its place among the descriptors.
const SILENT: u8 = 0;
const ASKED: u8 = 1;
const ANSWERED: u8 = 2;

/// The door of a client process: `parent` tells how many connections to have, and hears when the first SYN and the last
/// answer of that step were (microseconds of CLOCK_MONOTONIC); 0 ends it.
///
/// # Errors
/// A connection fails: a floor has no failures. The parent is gone.
pub fn run_client(parent: &UnixStream) -> io::Result<()> {
    limits::raise_open_files()?;
    let [length] = hear(parent)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    io::Read::read_exact(&mut &*parent, &mut bytes)?;
    let share: Share = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
    let mut clients = Clients { set: Set::new()?, held: Vec::new(), states: Vec::new(), answered: 0 };
    clients.set.add(parent, PARENT, EventFlags::IN)?;
    let (mut wanted, mut first_us) = (0, 0);
    loop {
        for _ in 0..BURST {
            let begun = clients.held.len() as u64;
            if begun >= wanted || begun - clients.answered >= share.window {
                break;
            }
            clients.begin(&share, begun)?;
        }
        let more = (clients.held.len() as u64) < wanted && clients.held.len() as u64 - clients.answered < share.window;
        let before = clients.answered;
        for (number, flags) in clients.set.next(more)? {
            if number == PARENT {
                [wanted] = hear(parent)?;
                if wanted == 0 {
                    return clients.close();
                }
                first_us = mono_us();
            } else {
                clients.on_event(number, flags)?;
            }
        }
        if clients.answered == wanted && clients.answered > before {
            say(parent, [first_us, mono_us()])?;
        }
    }
}

struct Clients {
    set: Set,
    held: Vec<OwnedFd>,
    /// By descriptor.
    states: Vec<u8>,
    answered: u64,
}

impl Clients {
    fn begin(&mut self, share: &Share, index: u64) -> io::Result<()> {
        let (client, connected) = socket::connect(share.ports.route(share.first + index))?;
        let at = usize::try_from(client.as_raw_fd()).map_err(io::Error::other)?;
        if self.states.len() <= at {
            self.states.resize(at + 1, SILENT);
        }
        // Edge-triggered, so that nothing has to be changed once the connection stands.
        let flags = if connected { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT } | EventFlags::ET;
        self.set.add(&client, (self.held.len() as u64) << 32 | at as u64, flags)?;
        if connected {
            socket::write(&client, &REQUEST)?;
        }
        self.states[at] = if connected { ASKED } else { SILENT };
        self.held.push(client);
        Ok(())
    }

    fn on_event(&mut self, number: u64, flags: EventFlags) -> io::Result<()> {
        let place = |bits: u64| usize::try_from(bits & 0xffff_ffff).map_err(io::Error::other);
        let (client, at) = (&self.held[place(number >> 32)?], place(number)?);
        if self.states[at] == SILENT {
            socket::connect_result(client)?;
            socket::write(client, &REQUEST)?;
            self.states[at] = ASKED;
        }
        if flags.contains(EventFlags::IN) && self.states[at] == ASKED && socket::read(client, &mut [0; 256])?.is_some()
        {
            self.states[at] = ANSWERED;
            self.answered += 1;
        }
        Ok(())
    }

    /// Resets all connections, as the swarm does, so that none stays in TIME_WAIT.
    fn close(self) -> io::Result<()> {
        self.held.into_iter().try_for_each(socket::reset_on_close)
    }
}
