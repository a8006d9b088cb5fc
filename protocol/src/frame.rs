//! What the frames say.

/// One frame. Payloads and credentials borrow from the buffer they were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// First frame of each side.
    Hello(Hello),
    /// Client to server: hold a connection for this id.
    Register {
        /// Any number; a second connection with the same id replaces the first.
        client_id: u64,
        /// What proves the id, at most [`MAX_CREDENTIAL_BYTES`](crate::MAX_CREDENTIAL_BYTES); may be empty.
        credential: &'a [u8],
    },
    /// Server to client: the id is registered.
    Registered {
        /// A client silent for longer is closed; milliseconds, 0 for never.
        idle_timeout_ms: u32,
    },
    /// Server to client: not registered, and the connection ends.
    Refused {
        /// Why.
        reason: RefusedReason,
        /// Do not try again sooner; milliseconds, 0 if the server has no opinion.
        retry_after_ms: u32,
    },
    /// Client to server: still here.
    Nop,
    /// Server to client: so am I.
    NopAck,
    /// Server to client: the push.
    Tap {
        /// Chosen by the server; a TapAck repeats it.
        tap_id: u64,
        /// Opaque, at most [`MAX_PAYLOAD_BYTES`](crate::MAX_PAYLOAD_BYTES).
        payload: &'a [u8],
    },
    /// Client to server: the Tap arrived.
    TapAck {
        /// The id of the Tap.
        tap_id: u64,
    },
    /// Either side: the last frame before it closes.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// Do not come back sooner; milliseconds, 0 if the sender has no opinion.
        retry_after_ms: u32,
    },
    /// Alert interface, to the server: tap this client.
    Alert {
        /// Chosen by the sender; the AlertResult repeats it.
        alert_id: u64,
        /// The client to tap.
        client_id: u64,
        /// Answer when the client has acknowledged, rather than when the Tap is written.
        wait_for_ack: bool,
        /// Goes into the Tap.
        payload: &'a [u8],
    },
    /// Alert interface, from the server: what became of an Alert. Exactly one for each.
    AlertResult {
        /// The id of the Alert.
        alert_id: u64,
        /// What became of it.
        outcome: Outcome,
    },
}

/// Version and features of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Client: the highest version it speaks. Server: the version that will be spoken.
    pub version: u16,
    /// Client: what it offers. Server: what of that will be used.
    pub features: Features,
}

/// Bits of optional behaviour. Unknown bits are ignored, and left out of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u32);

impl Features {
    /// Nothing optional.
    pub const NONE: Self = Self(0);
}

/// Declares an enum of one-byte codes in which an unknown code is kept, not an error.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A code of a later version.
            Other(u8),
        }

        impl $name {
            /// Every code this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The byte on the wire.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* Self::Other(code) => code }
            }

            /// The meaning of a byte from the wire.
            #[must_use]
            pub fn from_code(code: u8) -> Self {
                match code { $($code => Self::$variant,)* other => Self::Other(other) }
            }

            /// A stable name for records and metrics.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* Self::Other(_) => "other" }
            }
        }
    };
}

codes! {
    /// Why a registration was refused.
    RefusedReason {
        /// The server holds as many connections as it may.
        Full = 1 "full",
        /// No version in common.
        Version = 2 "version",
        /// The credential does not fit the id.
        Credential = 3 "credential",
        /// The server is shutting down.
        Draining = 4 "draining",
    }
}

codes! {
    /// Why a side ends a connection.
    GoodbyeReason {
        /// The client has no more need of it.
        Leaving = 1 "leaving",
        /// The same id registered on another connection.
        Replaced = 2 "replaced",
        /// Nothing was heard for longer than the idle timeout.
        Silent = 3 "silent",
        /// The server is shutting down.
        Draining = 4 "draining",
        /// A frame that is invalid, or not expected here.
        Protocol = 5 "protocol",
        /// No Register within the deadline.
        NotRegistered = 6 "not_registered",
        /// The client does not read what it is sent.
        SlowReader = 7 "slow_reader",
    }
}

codes! {
    /// What became of an Alert.
    Outcome {
        /// The client acknowledged the Tap.
        Acknowledged = 0 "acknowledged",
        /// The Tap was written; no acknowledgement was asked for.
        Sent = 1 "sent",
        /// No connection of that client, or it ended before it acknowledged.
        Offline = 2 "offline",
        /// A bound on queued bytes or on alerts in flight was reached; nothing was sent.
        Overloaded = 3 "overloaded",
        /// The client did not acknowledge within the server's bound.
        TimedOut = 4 "timed_out",
    }
}
