//! The frames of the Holdline protocol and their codec. No I/O, no clock, no allocation on the way in.
//!
//! `protocol/PROTOCOL.md` is the document for those who write a client in another language; its byte-level vectors are
//! tests of this crate. A frame is `length` (u16, big-endian, of what follows), `type` (u8) and a body.
//!
//! *Incomplete* input is not *invalid* input: the first waits for more bytes, the second ends the connection.

mod codec;
mod frame;

pub use codec::{Decoded, Frames, Invalid, decode};
pub use frame::{Features, Frame, GoodbyeReason, Hello, Outcome, RefusedReason};

/// The version this crate speaks. Each side says its highest; the lower of the two is spoken.
pub const VERSION: u16 = 1;
/// The four bytes that begin every Hello, so that a stranger on the port is told from a client.
pub const MAGIC: [u8; 4] = *b"HOLD";
/// The largest payload of a Tap or an Alert, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 4096;
/// The largest credential of a Register, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 256;
/// The largest value of a frame's length field: an Alert with the largest payload (type, two ids, flags), and some room
/// for frames of later versions.
pub const MAX_LENGTH: usize = MAX_PAYLOAD_BYTES + 64;
/// The largest frame on the wire, in bytes: [`MAX_LENGTH`] and the length field.
pub const MAX_FRAME_BYTES: usize = MAX_LENGTH + 2;
/// Types from here on are skipped by a receiver that does not know them.
pub const FIRST_SKIPPABLE_TYPE: u8 = 0x80;
