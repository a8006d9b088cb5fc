//! A process that accepts in its turn and answers each client once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
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
                        let number = u64::try_from(client.as_raw_fd()).map_err(io::Error::other)?;
                        set.add(&client, number, EventFlags::IN)?;
                        held.push(client);
                        credit -= 1;
                    }
                    if credit == 0 && granted > 0 {
                        set.remove(&listener)?;
                        say(parent, [granted])?;
                        granted = 0;
                    }
                }
                client => answer(client, &set, &mut buffer)?,
            }
        }
    }
}

/// Reads what a client said and answers; one that has gone is not watched any more.
#[allow(unsafe_code, reason = "the descriptor's number is all that an event carries")]
fn answer(client: u64, set: &Set, buffer: &mut [u8]) -> io::Result<()> {
    let number = i32::try_from(client).map_err(io::Error::other)?;
    // SAFETY: descriptors are watched under their own number, and none is closed before the process ends.
    let client = unsafe { BorrowedFd::borrow_raw(number) };
    match socket::read(client, buffer) {
        Ok(Some(bytes)) if bytes > 0 => socket::write(client, &ANSWER).map(|_| ()),
        Ok(None) => Ok(()),
        Ok(_) | Err(_) => set.remove(client),
    }
}
