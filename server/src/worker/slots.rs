//! The slot table of a worker: 20 bytes a connection, indexed by descriptor number.
//!
//! What most connections do not have most of the time is kept beside it only while it exists: the beginning of a frame,
//! bytes that the client does not read, taps in flight.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use holdline_host::socket;

/// The table grows by this many slots at a time, not by doubling.
const SLOT_STEP: usize = 1024;

/// What a connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection in this slot.
    Free,
    /// Accepted; nothing valid heard yet.
    New,
    /// Hello was heard.
    Greeted,
    /// Registered.
    Registered,
    /// The last frame was sent; the client closes, or is closed after a while.
    Ending,
    /// Closed in this batch of events; the descriptor is given back after the batch, so that its number can't come back
    /// to life within it.
    Closed,
}

/// A connection. The id is kept in two halves so that a slot needs no alignment of 8.
#[derive(Debug)]
pub(super) struct Slot {
    socket: Option<OwnedFd>,
    id: [u32; 2],
    /// Which of the worker's registrations this is; tells it from an earlier one in the same slot.
    pub(super) seq: u32,
    /// Second of the last sign of life, wrapping.
    pub(super) heard_s: u16,
    pub(super) state: State,
    marks: u8,
}

/// Taps may be in flight: they are looked for when the connection ends.
const TAPPED: u8 = 1;
/// Accepted only to be refused, because the server is full; does not count as open to the supervisor.
const UNWANTED: u8 = 2;

const _: () = assert!(size_of::<Slot>() == 20, "a slot is what every connection costs");

impl Slot {
    const FREE: Self = Self { socket: None, id: [0; 2], seq: 0, heard_s: 0, state: State::Free, marks: 0 };

    pub(super) fn id(&self) -> u64 {
        u64::from(self.id[0]) << 32 | u64::from(self.id[1])
    }

    #[allow(clippy::cast_possible_truncation, reason = "the halves of the id")]
    pub(super) fn set_id(&mut self, id: u64) {
        self.id = [(id >> 32) as u32, id as u32];
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.marks & UNWANTED != 0
    }

    pub(super) fn mark_tapped(&mut self) {
        self.marks |= TAPPED;
    }

    /// Whether taps may be in flight; not any more after this.
    pub(super) fn take_tapped(&mut self) -> bool {
        let tapped = self.marks & TAPPED != 0;
        self.marks &= !TAPPED;
        tapped
    }

    /// Whether it has a socket that is still spoken on.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Free | State::Closed)
    }
}

/// All connections of a worker.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Beginnings of frames, by slot.
    pub(super) partial: HashMap<u32, Vec<u8>>,
    /// Bytes that clients do not read, by slot.
    unsent: HashMap<u32, Vec<u8>>,
    /// The sum of `unsent`.
    pub(super) unsent_bytes: u64,
    /// Closed in this batch.
    closed: Vec<u32>,
}

impl Slots {
    /// Puts a socket into its slot.
    pub(super) fn open(&mut self, socket: OwnedFd, unwanted: bool, heard_s: u16) -> u32 {
        let index = u32::try_from(socket.as_raw_fd()).expect("descriptors are not negative");
        let at = index as usize;
        if self.slots.len() <= at {
            let length = (at / SLOT_STEP + 1) * SLOT_STEP;
            self.slots.reserve_exact(length - self.slots.len());
            self.slots.resize_with(length, || Slot::FREE);
        }
        self.slots[at] = Slot {
            socket: Some(socket),
            heard_s,
            state: State::New,
            marks: if unwanted { UNWANTED } else { 0 },
            ..Slot::FREE
        };
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    /// Slots there are, free ones too.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("slots are descriptor numbers")
    }

    /// Writes `bytes`, behind what is kept already; keeps what the socket does not take.
    ///
    /// Returns whether this is the first that had to be kept: the caller then waits for room.
    pub(super) fn write(&mut self, index: u32, bytes: &[u8]) -> io::Result<bool> {
        let Some(slot) = self.slots.get(index as usize).filter(|slot| slot.is_open()) else { return Ok(false) };
        let Some(socket) = &slot.socket else { return Ok(false) };
        if let Some(kept) = self.unsent.get_mut(&index) {
            kept.extend_from_slice(bytes);
            self.unsent_bytes += bytes.len() as u64;
            return Ok(false);
        }
        let written = socket::write(socket, bytes)?;
        if written == bytes.len() {
            return Ok(false);
        }
        self.unsent.insert(index, bytes[written..].to_vec());
        self.unsent_bytes += (bytes.len() - written) as u64;
        Ok(true)
    }

    /// Writes what was kept. Returns whether nothing is left: the caller then waits for room no more.
    pub(super) fn write_rest(&mut self, index: u32) -> io::Result<bool> {
        let Some(slot) = self.slots.get(index as usize).filter(|slot| slot.is_open()) else { return Ok(false) };
        let (Some(socket), Some(kept)) = (&slot.socket, self.unsent.get_mut(&index)) else { return Ok(false) };
        let written = socket::write(socket, kept)?;
        kept.drain(..written);
        self.unsent_bytes -= written as u64;
        let done = kept.is_empty();
        if done {
            self.unsent.remove(&index);
        }
        Ok(done)
    }

    /// Bytes kept for this connection.
    pub(super) fn kept_bytes(&self, index: u32) -> usize {
        self.unsent.get(&index).map_or(0, Vec::len)
    }

    /// Nothing is spoken on this connection any more. Its descriptor is given back by [`reap`](Self::reap).
    pub(super) fn close(&mut self, index: u32) {
        self.forget_bytes(index);
        if let Some(slot) = self.slots.get_mut(index as usize).filter(|slot| slot.is_open()) {
            slot.state = State::Closed;
            self.closed.push(index);
        }
    }

    /// Drops what was to be read or written.
    pub(super) fn forget_bytes(&mut self, index: u32) {
        self.partial.remove(&index);
        if let Some(bytes) = self.unsent.remove(&index) {
            self.unsent_bytes -= bytes.len() as u64;
        }
    }

    /// Closes the sockets of this batch and says how many there were.
    pub(super) fn reap(&mut self) -> u32 {
        for index in &self.closed {
            self.slots[*index as usize] = Slot::FREE;
        }
        let reaped = u32::try_from(self.closed.len()).expect("no more than slots");
        self.closed.clear();
        reaped
    }
}
