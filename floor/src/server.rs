//! A process that accepts in its turn and answers each client once.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use holdline_host::{limits, socket};
use rustix::event::epoll::EventFlags;

use crate::ANSWER;
use crate::wire::{Set, hear, say};

const PARENT: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// The door of a server process: `parent` tells how many to accept and hears when that is done; 0 ends it.
///
/// # Errors
/// The kernel refuses what is needed, or the parent is gone.
pub fn run_server(parent: &UnixStream, listener: OwnedFd) -> io::Result<()> {
    limits::raise_open_files()?;
    let mut set = Set::new()?;
    set.add(parent, PARENT, EventFlags::IN)?;
    let mut held: Vec<OwnedFd> = Vec::new();
    let (mut credit, mut granted) = (0, 0);
    let mut buffer = [0; 256];
    loop {
        for (number, _) in set.next(false)? {
            match number {
                PARENT => {
                    [credit] = hear(parent)?;
                    if credit == 0 {
                        return Ok(());
                    }
                    granted = credit;
                    set.add(&listener, LISTENER, EventFlags::IN)?;
                }
                LISTENER => {
                    while credit > 0
                        && let Some(client) = socket::accept(&listener)?
                    {
                        set.add(&client, held.len() as u64, EventFlags::IN)?;
                        held.push(client);
                        credit -= 1;
                    }
                    if credit == 0 && granted > 0 {
                        set.remove(&listener)?;
                        say(parent, [granted])?;
                        granted = 0;
                    }
                }
                place => answer(&held[usize::try_from(place).map_err(io::Error::other)?], &set, &mut buffer)?,
            }
        }
    }
}

/// Reads what a client said and answers; one that has gone is not watched any more.
fn answer(client: &OwnedFd, set: &Set, buffer: &mut [u8]) -> io::Result<()> {
    match socket::read(client, buffer) {
        Ok(Some(bytes)) if bytes > 0 => socket::write(client, &ANSWER).map(|_| ()),
        Ok(None) => Ok(()),
        Ok(_) | Err(_) => set.remove(client),
    }
}
