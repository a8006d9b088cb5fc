//! Starts the processes of a floor, gives turns, climbs, and measures.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdline_host::ports::PortPlan;
use holdline_host::process::Sampler;
use holdline_host::{limits, network, socket};
use holdline_record::Floor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::Share;
use crate::wire::{hear, say};
use crate::{CLIENT_ROLE, SERVER_ROLE};

/// Server processes that may accept at a time, and how many each: the numbers of the reference server.
const ARMED: usize = 2;
const GRANT: u64 = 256;

/// A floor to be played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the server processes listen; port 0 for one that the kernel chooses.
    pub listen: SocketAddr,
    /// Connections in all after each step, growing.
    pub levels: Vec<u64>,
    /// Server processes.
    pub servers: u32,
    /// Client processes.
    pub clients: u32,
    /// Connections being set up at once, over all client processes.
    pub window: u64,
    /// Length of the accept queue; the kernel caps it at net.core.somaxconn.
    pub backlog: i32,
    /// A step that takes longer ends it.
    pub step_timeout: Duration,
}

/// A floor that can't be played.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The system refused something.
    #[error("the floor can't {what}: {error}{}", socket::remedy(error).map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// What the system answered.
        error: io::Error,
    },
    /// A process ended: it writes why to standard error.
    #[error("a process of the floor ended: {0}")]
    Lost(io::Error),
    /// A step took too long.
    #[error("a step of the floor took more than {} s", .0.as_secs())]
    Late(Duration),
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> FloorError {
    move |error| FloorError::Io { what, error }
}

/// A process with the socket to it; killed and reaped when dropped.
struct Part {
    child: Child,
    stream: UnixStream,
}

impl Part {
    fn spawn(program: &Path, role: &str, number: u32, file: Option<&OwnedFd>) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.args(["role", role, &number.to_string()]).stdin(OwnedFd::from(theirs)).process_group(0);
        command.stdout(match file {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        });
        let child = command.spawn()?;
        Ok(Self { child, stream })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays a floor with processes of `program`. `watch` is told how many connections stand after each step.
///
/// # Errors
/// The host lacks something, or a process was lost. No process is left.
pub fn play(
    program: &Path,
    plan: &Plan,
    ports: impl FnOnce(SocketAddr) -> PortPlan,
    watch: &mut dyn FnMut(u64, f64),
) -> Result<Floor, FloorError> {
    let connections = plan.levels.last().copied().unwrap_or(0);
    let listener = socket::listen(plan.listen, plan.backlog).map_err(failed("listen"))?;
    let address = socket::local_address(&listener).map_err(failed("listen"))?;
    let spawn = failed("start a process");
    let servers: Vec<Part> = (0..plan.servers)
        .map(|number| Part::spawn(program, SERVER_ROLE, number, Some(&listener)).map_err(&spawn))
        .collect::<Result<_, _>>()?;
    let clients: Vec<Part> = (0..plan.clients)
        .map(|number| Part::spawn(program, CLIENT_ROLE, number, None).map_err(&spawn))
        .collect::<Result<_, _>>()?;
    let shares = limits::split_evenly(connections, plan.clients);
    share_out(&clients, &shares, plan.window, &ports(address)).map_err(FloorError::Lost)?;
    let mut sampler = Sampler::new().map_err(failed("read the memory of processes"))?;
    std::thread::sleep(Duration::from_millis(200));
    let before = Memory::read(&mut sampler, &servers, &clients);
    let mut turns = Turns::new(limits::split_evenly(connections, plan.servers));
    let mut connecting_us = 0;
    let mut reached = 0;
    let mut had = vec![0; shares.len()];
    for level in &plan.levels {
        let wanted = limits::split_in_proportion(*level, &shares);
        let took_us = step(&servers, &clients, &mut turns, [&had, &wanted], plan)?;
        had = wanted;
        watch(*level, (level - reached) as f64 / (took_us.max(1) as f64 / 1e6));
        connecting_us += took_us;
        reached = *level;
    }
    std::thread::sleep(Duration::from_millis(200));
    let after = Memory::read(&mut sampler, &servers, &clients);
    let each = |to: u64, from: u64| (to as f64 - from as f64) / connections.max(1) as f64;
    let closing = Instant::now();
    close(servers, clients).map_err(FloorError::Lost)?;
    Ok(Floor {
        connections,
        servers: plan.servers,
        clients: plan.clients,
        connect_rate_per_s: connections as f64 / (connecting_us.max(1) as f64 / 1e6),
        kernel_bytes_per_connection_pair: after.kernel.zip(before.kernel).map(|(to, from)| each(to, from)),
        server_user_bytes_per_connection: each(after.servers, before.servers),
        client_user_bytes_per_connection: each(after.clients, before.clients),
        close_s: closing.elapsed().as_secs_f64(),
    })
}

/// Tells each client process what it connects.
fn share_out(clients: &[Part], shares: &[u64], window: u64, ports: &PortPlan) -> io::Result<()> {
    let windows = limits::split_evenly(window, u32::try_from(clients.len()).unwrap_or(u32::MAX));
    let mut first = 0;
    for ((client, share), window) in clients.iter().zip(shares).zip(windows) {
        let share_of = Share { ports: ports.clone(), first, window: window.max(1) };
        let bytes = postcard::to_stdvec(&share_of).map_err(io::Error::other)?;
        say(&client.stream, [bytes.len() as u64])?;
        io::Write::write_all(&mut &client.stream, &bytes)?;
        first += share;
    }
    Ok(())
}

/// Whose turn it is to accept: `ARMED` at a time, those with the most room next.
struct Turns {
    room: Vec<u64>,
    busy: Vec<bool>,
}

impl Turns {
    fn new(room: Vec<u64>) -> Self {
        Self { busy: vec![false; room.len()], room }
    }

    /// Arms processes while there is room, and says which and for how many.
    fn next(&mut self) -> Option<(usize, u64)> {
        if self.busy.iter().filter(|busy| **busy).count() >= ARMED {
            return None;
        }
        let idle = (0..self.room.len()).filter(|place| !self.busy[*place] && self.room[*place] > 0);
        let place = idle.max_by_key(|place| self.room[*place])?;
        let grant = self.room[place].min(GRANT);
        self.room[place] -= grant;
        self.busy[place] = true;
        Some((place, grant))
    }
}

/// One step of the staircase; microseconds from the first SYN to the last answer.
fn step(
    servers: &[Part],
    clients: &[Part],
    turns: &mut Turns,
    [had, wanted]: [&Vec<u64>; 2],
    plan: &Plan,
) -> Result<u64, FloorError> {
    let deadline = Instant::now() + plan.step_timeout;
    let mut growing = 0;
    for ((client, _), wanted) in clients.iter().zip(had).zip(wanted).filter(|((_, had), wanted)| wanted > had) {
        say(&client.stream, [*wanted]).map_err(FloorError::Lost)?;
        growing += 1;
    }
    let (mut first, mut last, mut done) = (u64::MAX, 0, 0);
    while done < growing {
        while let Some((place, grant)) = turns.next() {
            say(&servers[place].stream, [grant]).map_err(FloorError::Lost)?;
        }
        let parts = servers.iter().chain(clients);
        let mut waiting: Vec<PollFd<'_>> =
            parts.map(|part| PollFd::from_borrowed_fd(part.stream.as_fd(), PollFlags::IN)).collect();
        let tick = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut waiting, Some(&tick)).map_err(|error| FloorError::Lost(error.into()))?;
        let ready: Vec<usize> = (0..waiting.len()).filter(|place| !waiting[*place].revents().is_empty()).collect();
        for place in ready {
            if place < servers.len() {
                hear::<1>(&servers[place].stream).map_err(FloorError::Lost)?;
                turns.busy[place] = false;
            } else {
                let [from, to] = hear(&clients[place - servers.len()].stream).map_err(FloorError::Lost)?;
                (first, last, done) = (first.min(from), last.max(to), done + 1);
            }
        }
        if Instant::now() > deadline {
            return Err(FloorError::Late(plan.step_timeout));
        }
    }
    Ok(last.saturating_sub(first))
}

/// Clients reset their connections, then the servers end; waits for all.
fn close(servers: Vec<Part>, clients: Vec<Part>) -> io::Result<()> {
    for mut part in clients.into_iter().chain(servers) {
        say(&part.stream, [0])?;
        let status = part.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("it failed at its end ({status})")));
        }
    }
    Ok(())
}

/// Memory at one moment.
struct Memory {
    kernel: Option<u64>,
    servers: u64,
    clients: u64,
}

impl Memory {
    fn read(sampler: &mut Sampler, servers: &[Part], clients: &[Part]) -> Self {
        let mut user = |parts: &[Part]| {
            let pids: Vec<u32> = parts.iter().map(|part| part.child.id()).collect();
            sampler.read(&pids).values().map(|usage| usage.pss_anon_bytes + usage.pss_shmem_bytes).sum()
        };
        Self { servers: user(servers), clients: user(clients), kernel: network::read().socket_caches() }
    }
}
