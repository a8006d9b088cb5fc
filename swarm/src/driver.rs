//! What a client says: a driver is a protocol, seen from the client, as a pure state machine.

/// What a driver made of the bytes it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverEvent {
    /// The service holds the client's connection from now on.
    Registered,
    /// The service does not want the client; the connection is of no more use.
    Refused {
        /// A stable name of the reason.
        reason: &'static str,
        /// Not to come back sooner; milliseconds, 0 if nothing was said.
        retry_after_ms: u32,
    },
    /// A push arrived, and its acknowledgement is in the output.
    Tapped,
    /// The service answered a keepalive.
    KeepaliveAnswered,
    /// The service ends the connection.
    Goodbye {
        /// A stable name of the reason.
        reason: &'static str,
        /// Not to come back sooner; milliseconds, 0 if nothing was said.
        retry_after_ms: u32,
    },
}

/// The service said something that its protocol does not allow here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service does not speak the expected protocol")]
pub struct Violation;

/// A client's side of a protocol: bytes in; events and bytes out. No I/O, no clock, no allocation of its own per client.
///
/// The engine keeps one `State` for each connection, so its size is part of what a connection costs; it keeps input that
/// is not a whole message yet, and output that the socket does not take yet.
pub trait Driver {
    /// What is remembered of one connection.
    type State: Copy + Default;

    /// The size of `State`, as it appears in every connection's slot.
    const STATE_BYTES: usize = size_of::<Self::State>();

    /// What is sent as soon as the connection stands.
    fn open(&self, client_id: u64, state: &mut Self::State, out: &mut Vec<u8>);

    /// Takes input; returns how many bytes of it were whole messages. The rest comes again, with more behind it.
    ///
    /// # Errors
    /// The input can't be the protocol's.
    fn receive(
        &self,
        client_id: u64,
        state: &mut Self::State,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<usize, Violation>;

    /// What is sent from time to time, so that the service knows the client is there.
    fn keepalive(&self, client_id: u64, state: &mut Self::State, out: &mut Vec<u8>);

    /// What is sent before the connection is closed from this side.
    fn leave(&self, client_id: u64, state: &mut Self::State, out: &mut Vec<u8>);
}
