//! Numbers between the processes, and events from the kernel.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Events taken at a time.
const BATCH: usize = 256;

/// Writes whole numbers.
pub(crate) fn say<const N: usize>(mut to: &UnixStream, numbers: [u64; N]) -> io::Result<()> {
    to.write_all(numbers.map(u64::to_le_bytes).as_flattened())
}

/// Reads whole numbers; waits for them.
pub(crate) fn hear<const N: usize>(mut from: &UnixStream) -> io::Result<[u64; N]> {
    let mut bytes = [[0; 8]; N];
    from.read_exact(bytes.as_flattened_mut())?;
    Ok(bytes.map(u64::from_le_bytes))
}

/// An epoll set whose events carry a number.
pub(crate) struct Set {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Set {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { set: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    pub(crate) fn add(&self, fd: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.set, fd, EventData::new_u64(number), flags)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.set, fd)?)
    }

    /// The next events; waits for one unless `now`.
    pub(crate) fn next(&mut self, now: bool) -> io::Result<Vec<(u64, EventFlags)>> {
        let none = rustix::event::Timespec::default();
        self.events.clear();
        loop {
            match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), now.then_some(&none)) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.events.iter().map(|event| (event.data.u64(), event.flags)).collect())
    }
}
