//! The vectors of PROTOCOL.md against the codec, and properties that no table can list.

use std::fmt::Write as _;

use holdline_protocol::{
    Decoded, Features, Frame, Frames, GoodbyeReason, Hello, Invalid, MAX_CREDENTIAL_BYTES, MAX_FRAME_BYTES, MAX_LENGTH,
    MAX_PAYLOAD_BYTES, Outcome, RefusedReason, decode,
};
use proptest::prelude::*;

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

struct Vector {
    name: String,
    bytes: Vec<u8>,
    meaning: String,
}

/// The lines of the document's `vectors` block.
fn vectors() -> Vec<Vector> {
    let block =
        DOCUMENT.split("```vectors\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a vectors block");
    block.lines().map(|line| vector(&repeated(line))).collect()
}

/// The line with each `xx*N` written out: the byte xx, N times.
fn repeated(line: &str) -> String {
    let Some(at) = line.find('*') else { return line.to_owned() };
    let (before, after) = (&line[..at - 2], &line[at + 1..]);
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let times = after[..digits].parse().expect("a number behind *");
    before.to_owned() + &line[at - 2..at].repeat(times) + &repeated(&after[digits..])
}

fn vector(line: &str) -> Vector {
    let is_hex =
        |word: &&str| word.len().is_multiple_of(2) && word.chars().all(|c| c.is_ascii_hexdigit() && !c.is_uppercase());
    let mut words = line.split_whitespace();
    let name = words.next().expect("a name").to_owned();
    let words: Vec<&str> = words.collect();
    let hex: String = words.iter().take_while(|word| is_hex(word)).copied().collect();
    let meaning = words.iter().skip_while(|word| is_hex(word)).copied().collect::<Vec<_>>().join(" ");
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
    Vector { name, bytes, meaning }
}

/// A frame in the words of the document.
fn words(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Hello(Hello { version, features }) => format!("Hello version={version} features={}", features.0),
        Frame::Register { client_id, credential } => {
            format!("Register client_id={client_id} credential={}", hex(credential))
        }
        Frame::Registered { idle_timeout_ms } => format!("Registered idle_timeout_ms={idle_timeout_ms}"),
        Frame::Refused { reason, retry_after_ms } => {
            format!("Refused reason={} retry_after_ms={retry_after_ms}", reason.code())
        }
        Frame::Nop => "Nop".into(),
        Frame::NopAck => "NopAck".into(),
        Frame::Tap { tap_id, payload } => format!("Tap tap_id={tap_id} payload={}", hex(payload)),
        Frame::TapAck { tap_id } => format!("TapAck tap_id={tap_id}"),
        Frame::Goodbye { reason, retry_after_ms } => {
            format!("Goodbye reason={} retry_after_ms={retry_after_ms}", reason.code())
        }
        Frame::Alert { alert_id, client_id, wait_for_ack, payload } => {
            let wait = u8::from(*wait_for_ack);
            format!("Alert alert_id={alert_id} client_id={client_id} wait={wait} payload={}", hex(payload))
        }
        Frame::AlertResult { alert_id, outcome } => {
            format!("AlertResult alert_id={alert_id} outcome={}", outcome.code())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every write");
        text
    })
}

#[test]
fn the_document_and_the_codec_agree() {
    let vectors = vectors();
    assert!(vectors.len() > 30, "the document lost its vectors");
    for Vector { name, bytes, meaning } in vectors {
        let (found, frame) = match decode(&bytes) {
            Ok(Decoded::Frame(frame, taken)) => {
                assert_eq!(taken, bytes.len(), "{name}");
                (words(&frame), Some(frame))
            }
            Ok(Decoded::Skipped(taken)) => {
                assert_eq!(taken, bytes.len(), "{name}");
                ("skipped".into(), None)
            }
            Ok(Decoded::Incomplete) => ("incomplete".into(), None),
            Err(_) => ("invalid".into(), None),
        };
        assert_eq!(found, meaning, "{name}");
        // What a Hello of a later version says more is not kept, so that one does not come back as it was.
        if let Some(frame) = frame.filter(|_| name != "hello-later") {
            let mut encoded = Vec::new();
            frame.encode(&mut encoded);
            assert_eq!(hex(&encoded), hex(&bytes), "{name}");
        }
    }
}

#[test]
fn limits_are_what_they_say() {
    let mut out = Vec::new();
    Frame::Alert { alert_id: 1, client_id: 2, wait_for_ack: true, payload: &[7; MAX_PAYLOAD_BYTES] }.encode(&mut out);
    assert!(out.len() <= MAX_FRAME_BYTES);
    assert!(matches!(decode(&out), Ok(Decoded::Frame(Frame::Alert { .. }, taken)) if taken == out.len()));

    let too_much = |kind: u8, body: usize| {
        let mut bytes = u16::try_from(body + 1).unwrap().to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.resize(3 + body, 0);
        decode(&bytes).unwrap_err()
    };
    assert!(matches!(too_much(0x07, 8 + MAX_PAYLOAD_BYTES + 1), Invalid::Body { .. }));
    assert!(matches!(too_much(0x20, 17 + MAX_PAYLOAD_BYTES + 1), Invalid::Body { .. }));
    assert!(matches!(too_much(0x02, 8 + MAX_CREDENTIAL_BYTES + 1), Invalid::Body { .. }));
    assert_eq!(too_much(0x80, MAX_LENGTH), Invalid::TooLong(MAX_LENGTH + 1));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    (0..11_u8, any::<u64>(), any::<u64>(), any::<u32>(), any::<u8>(), payload).prop_map(
        |(kind, a, b, c, code, payload)| {
            let frame = match kind {
                0 => Frame::Hello(Hello { version: u16::from(code).max(1), features: Features(c) }),
                1 => Frame::Register { client_id: a, credential: &payload },
                2 => Frame::Registered { idle_timeout_ms: c },
                3 => Frame::Refused { reason: RefusedReason::from_code(code), retry_after_ms: c },
                4 => Frame::Nop,
                5 => Frame::NopAck,
                6 => Frame::Tap { tap_id: a, payload: &payload },
                7 => Frame::TapAck { tap_id: a },
                8 => Frame::Goodbye { reason: GoodbyeReason::from_code(code), retry_after_ms: c },
                9 => {
                    Frame::Alert { alert_id: a, client_id: b, wait_for_ack: code.is_multiple_of(2), payload: &payload }
                }
                _ => Frame::AlertResult { alert_id: a, outcome: Outcome::from_code(code) },
            };
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn every_prefix_of_a_frame_is_incomplete_and_the_whole_comes_back(bytes in any_frame()) {
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut]), Ok(Decoded::Incomplete));
        }
        let Ok(Decoded::Frame(frame, taken)) = decode(&bytes) else { panic!("a whole frame") };
        prop_assert_eq!(taken, bytes.len());
        let mut again = Vec::new();
        frame.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(frames in prop::collection::vec(any_frame(), 0..12), cut in any::<prop::sample::Index>()) {
        let stream: Vec<u8> = frames.concat();
        let cut = cut.index(stream.len() + 1);
        let mut first = Frames::new(&stream[..cut]);
        let mut found = first.by_ref().filter_map(Result::ok).count();
        found += Frames::new(&stream[first.taken()..]).filter_map(Result::ok).count();
        prop_assert_eq!(found, frames.len());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut frames = Frames::new(&bytes);
        let failures = frames.by_ref().filter(Result::is_err).count();
        prop_assert!(failures <= 1 && frames.taken() <= bytes.len());
    }
}
