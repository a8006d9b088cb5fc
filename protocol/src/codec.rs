//! Bytes to frames and back.

use crate::{
    FIRST_SKIPPABLE_TYPE, Features, Frame, GoodbyeReason, Hello, MAGIC, MAX_CREDENTIAL_BYTES, MAX_LENGTH,
    MAX_PAYLOAD_BYTES, Outcome, RefusedReason,
};

/// Type bytes. Those below 0x80 must be known to be read; the gaps are for later versions.
mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const REGISTER: u8 = 0x02;
    pub(super) const REGISTERED: u8 = 0x03;
    pub(super) const REFUSED: u8 = 0x04;
    pub(super) const NOP: u8 = 0x05;
    pub(super) const NOP_ACK: u8 = 0x06;
    pub(super) const TAP: u8 = 0x07;
    pub(super) const TAP_ACK: u8 = 0x08;
    pub(super) const GOODBYE: u8 = 0x09;
    /// Reserved for a request over an open connection; not sent by this version.
    pub(super) const REQUEST: u8 = 0x0a;
    /// Reserved for the answer to a request.
    pub(super) const REPLY: u8 = 0x0b;
    pub(super) const ALERT: u8 = 0x20;
    pub(super) const ALERT_RESULT: u8 = 0x21;
}

/// Bit of an Alert's flags: answer when the client has acknowledged.
const WAIT_FOR_ACK: u8 = 0x01;

/// What the first bytes of a buffer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A frame, and how many bytes it took.
    Frame(Frame<'a>, usize),
    /// A frame of an unknown type that may be skipped, and how many bytes it took.
    Skipped(usize),
    /// The beginning of a frame: wait for more.
    Incomplete,
}

/// Why bytes can't be frames. The connection they came from can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A length of 0: not even a type.
    #[error("a frame of length 0")]
    Empty,
    /// A length beyond [`MAX_LENGTH`].
    #[error("a frame of length {0}, more than {MAX_LENGTH}")]
    TooLong(usize),
    /// A type below 0x80 that this version does not know.
    #[error("frame type {0:#04x} is not known")]
    UnknownType(u8),
    /// A type that is reserved and was not agreed on.
    #[error("frame type {0:#04x} is reserved")]
    Reserved(u8),
    /// The body is shorter or longer than the type asks for.
    #[error("a body of {length} bytes does not fit frame type {kind:#04x}")]
    Body {
        /// The type.
        kind: u8,
        /// The body's length.
        length: usize,
    },
    /// A Hello without the magic: the sender speaks something else.
    #[error("the first bytes are not of this protocol")]
    Magic,
    /// A Hello of version 0.
    #[error("version 0 does not exist")]
    Version,
}

/// Reads the frame at the beginning of `input`.
///
/// # Errors
/// The bytes can't be the beginning of a frame, however many follow.
pub fn decode(input: &[u8]) -> Result<Decoded<'_>, Invalid> {
    let Some((length, rest)) = take::<2>(input) else { return Ok(Decoded::Incomplete) };
    let length = usize::from(u16::from_be_bytes(length));
    match length {
        0 => return Err(Invalid::Empty),
        1..=MAX_LENGTH => {}
        _ => return Err(Invalid::TooLong(length)),
    }
    // The type alone can tell that the rest is not worth waiting for.
    let Some((&kind, _)) = rest.split_first() else { return Ok(Decoded::Incomplete) };
    check_type(kind)?;
    let Some(frame) = rest.get(..length) else { return Ok(Decoded::Incomplete) };
    let taken = 2 + length;
    match body(kind, &frame[1..])? {
        Some(frame) => Ok(Decoded::Frame(frame, taken)),
        None => Ok(Decoded::Skipped(taken)),
    }
}

fn check_type(kind: u8) -> Result<(), Invalid> {
    match kind {
        kind::HELLO..=kind::GOODBYE | kind::ALERT | kind::ALERT_RESULT | FIRST_SKIPPABLE_TYPE.. => Ok(()),
        kind::REQUEST | kind::REPLY => Err(Invalid::Reserved(kind)),
        _ => Err(Invalid::UnknownType(kind)),
    }
}

fn body(kind: u8, body: &[u8]) -> Result<Option<Frame<'_>>, Invalid> {
    let misfit = Invalid::Body { kind, length: body.len() };
    let frame = match kind {
        kind::HELLO => hello(body, misfit)?,
        kind::REGISTER => {
            let (client_id, credential) = take::<8>(body).ok_or(misfit)?;
            at_most(credential, MAX_CREDENTIAL_BYTES, misfit)?;
            Frame::Register { client_id: u64::from_be_bytes(client_id), credential }
        }
        kind::REGISTERED => Frame::Registered { idle_timeout_ms: u32::from_be_bytes(exactly(body, misfit)?) },
        kind::REFUSED => {
            let (reason, retry_after_ms) = reason(body, misfit)?;
            Frame::Refused { reason: RefusedReason::from_code(reason), retry_after_ms }
        }
        kind::NOP => exactly::<0>(body, misfit).map(|_| Frame::Nop)?,
        kind::NOP_ACK => exactly::<0>(body, misfit).map(|_| Frame::NopAck)?,
        kind::TAP => {
            let (tap_id, payload) = take::<8>(body).ok_or(misfit)?;
            at_most(payload, MAX_PAYLOAD_BYTES, misfit)?;
            Frame::Tap { tap_id: u64::from_be_bytes(tap_id), payload }
        }
        kind::TAP_ACK => Frame::TapAck { tap_id: u64::from_be_bytes(exactly(body, misfit)?) },
        kind::GOODBYE => {
            let (reason, retry_after_ms) = reason(body, misfit)?;
            Frame::Goodbye { reason: GoodbyeReason::from_code(reason), retry_after_ms }
        }
        kind::ALERT => alert(body, misfit)?,
        kind::ALERT_RESULT => {
            let (alert_id, rest) = take::<8>(body).ok_or(misfit)?;
            let [outcome] = exactly(rest, misfit)?;
            Frame::AlertResult { alert_id: u64::from_be_bytes(alert_id), outcome: Outcome::from_code(outcome) }
        }
        _ => return Ok(None),
    };
    Ok(Some(frame))
}

fn hello(body: &[u8], misfit: Invalid) -> Result<Frame<'_>, Invalid> {
    let (magic, rest) = take::<4>(body).ok_or(misfit)?;
    if magic != MAGIC {
        return Err(Invalid::Magic);
    }
    let (version, rest) = take::<2>(rest).ok_or(misfit)?;
    // A later version may say more in its Hello; what this one knows comes first.
    let (features, _) = take::<4>(rest).ok_or(misfit)?;
    let version = u16::from_be_bytes(version);
    if version == 0 {
        return Err(Invalid::Version);
    }
    Ok(Frame::Hello(Hello { version, features: Features(u32::from_be_bytes(features)) }))
}

fn alert(body: &[u8], misfit: Invalid) -> Result<Frame<'_>, Invalid> {
    let (alert_id, rest) = take::<8>(body).ok_or(misfit)?;
    let (client_id, rest) = take::<8>(rest).ok_or(misfit)?;
    let ([flags], payload) = take::<1>(rest).ok_or(misfit)?;
    at_most(payload, MAX_PAYLOAD_BYTES, misfit)?;
    Ok(Frame::Alert {
        alert_id: u64::from_be_bytes(alert_id),
        client_id: u64::from_be_bytes(client_id),
        wait_for_ack: flags & WAIT_FOR_ACK != 0,
        payload,
    })
}

fn reason(body: &[u8], misfit: Invalid) -> Result<(u8, u32), Invalid> {
    let [reason, retry @ ..] = exactly::<5>(body, misfit)?;
    Ok((reason, u32::from_be_bytes(retry)))
}

fn take<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    input.split_first_chunk::<N>().map(|(head, rest)| (*head, rest))
}

fn exactly<const N: usize>(body: &[u8], misfit: Invalid) -> Result<[u8; N], Invalid> {
    body.try_into().map_err(|_| misfit)
}

fn at_most(bytes: &[u8], limit: usize, misfit: Invalid) -> Result<(), Invalid> {
    if bytes.len() <= limit { Ok(()) } else { Err(misfit) }
}

impl Frame<'_> {
    /// Appends the bytes of this frame to `out`.
    ///
    /// # Panics
    /// A payload or credential beyond its limit: the caller checks what it takes in.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        match *self {
            Frame::Hello(Hello { version, features }) => {
                put(out, kind::HELLO, &[&MAGIC, &version.to_be_bytes(), &features.0.to_be_bytes()]);
            }
            Frame::Register { client_id, credential } => {
                assert!(credential.len() <= MAX_CREDENTIAL_BYTES, "credential beyond its limit");
                put(out, kind::REGISTER, &[&client_id.to_be_bytes(), credential]);
            }
            Frame::Registered { idle_timeout_ms } => put(out, kind::REGISTERED, &[&idle_timeout_ms.to_be_bytes()]),
            Frame::Refused { reason, retry_after_ms } => {
                put(out, kind::REFUSED, &[&[reason.code()], &retry_after_ms.to_be_bytes()]);
            }
            Frame::Nop => put(out, kind::NOP, &[]),
            Frame::NopAck => put(out, kind::NOP_ACK, &[]),
            Frame::Tap { tap_id, payload } => {
                assert!(payload.len() <= MAX_PAYLOAD_BYTES, "payload beyond its limit");
                put(out, kind::TAP, &[&tap_id.to_be_bytes(), payload]);
            }
            Frame::TapAck { tap_id } => put(out, kind::TAP_ACK, &[&tap_id.to_be_bytes()]),
            Frame::Goodbye { reason, retry_after_ms } => {
                put(out, kind::GOODBYE, &[&[reason.code()], &retry_after_ms.to_be_bytes()]);
            }
            Frame::Alert { alert_id, client_id, wait_for_ack, payload } => {
                assert!(payload.len() <= MAX_PAYLOAD_BYTES, "payload beyond its limit");
                let flags = if wait_for_ack { WAIT_FOR_ACK } else { 0 };
                put(out, kind::ALERT, &[&alert_id.to_be_bytes(), &client_id.to_be_bytes(), &[flags], payload]);
            }
            Frame::AlertResult { alert_id, outcome } => {
                put(out, kind::ALERT_RESULT, &[&alert_id.to_be_bytes(), &[outcome.code()]]);
            }
        }
        let length = u16::try_from(out.len() - start - 2).expect("limits keep every frame below MAX_LENGTH");
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }
}

fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The frames in a buffer, one after the other; ends at the first incomplete or invalid one.
///
/// [`taken`](Self::taken) says how many bytes were read so far; the rest is the beginning of a frame to be kept.
#[derive(Debug)]
pub struct Frames<'a> {
    input: &'a [u8],
    taken: usize,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// Reads from the beginning of `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, taken: 0, failed: false }
    }

    /// Bytes of the frames returned or skipped so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match decode(&self.input[self.taken..]) {
                Ok(Decoded::Frame(frame, bytes)) => {
                    self.taken += bytes;
                    return Some(Ok(frame));
                }
                Ok(Decoded::Skipped(bytes)) => self.taken += bytes,
                Ok(Decoded::Incomplete) => return None,
                Err(invalid) => {
                    self.failed = true;
                    return Some(Err(invalid));
                }
            }
        }
        None
    }
}
