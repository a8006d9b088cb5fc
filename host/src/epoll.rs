//! A private epoll set (epoll(7)), to be nested in a runtime as one descriptor.
//!
//! Seen from the outer set it is edge-triggered: take events until [`Epoll::take`] returns none before clearing the
//! outer readiness.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::unix::AsyncFd;

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Input, or the peer's end.
    Read,
    /// Input, and room for output.
    ReadWrite,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The token given when the descriptor was added.
    pub token: u32,
    /// There is input, an end or an error to be read.
    pub readable: bool,
    /// There is room for output, or an error to be met by writing.
    pub writable: bool,
}

/// A private epoll set.
pub struct Epoll {
    set: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// A set that returns at most `batch` events at a time.
    ///
    /// # Errors
    /// EMFILE or ENFILE: no descriptor left for the set itself.
    pub fn new(batch: usize) -> io::Result<Self> {
        Ok(Self { set: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(batch) })
    }

    /// Nests the set in the runtime that this is called in.
    ///
    /// # Errors
    /// The runtime can't watch another descriptor.
    #[allow(unsafe_code, reason = "the safe constructor is deprecated: it takes descriptors that may be closed early")]
    pub fn nest(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by `self`, always the same, and closed only when `self` is dropped.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    /// Watches `fd`, level-triggered; its events carry `token`.
    ///
    /// # Errors
    /// ENOSPC: fs.epoll.max_user_watches is reached. ENOMEM.
    pub fn add(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.set, fd, EventData::new_u64(u64::from(token)), interest.flags())?)
    }

    /// Watches `fd` for something else.
    ///
    /// # Errors
    /// The descriptor is not in the set.
    pub fn modify(&self, fd: impl AsFd, token: u32, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.set, fd, EventData::new_u64(u64::from(token)), interest.flags())?)
    }

    /// Watches `fd` no more. A descriptor that is closed leaves by itself.
    ///
    /// # Errors
    /// The descriptor is not in the set.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.set, fd)?)
    }

    /// The events that are there now, without waiting; puts them into `out` and returns how many.
    ///
    /// # Errors
    /// The set itself failed; never for a single descriptor.
    pub fn take(&mut self, out: &mut Vec<Event>) -> io::Result<usize> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.events.clear();
        loop {
            match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&NOW)) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        out.clear();
        out.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            let ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Event {
                token: u32::try_from(event.data.u64()).unwrap_or(u32::MAX),
                readable: ended || flags.contains(EventFlags::IN),
                writable: ended || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(out.len())
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}
