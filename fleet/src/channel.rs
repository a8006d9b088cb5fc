//! Typed messages over a Unix socket, without ever waiting inside a read or a write.
//!
//! Two processes that both wait to write to each other would wait for ever, so writes that do not fit are kept and the
//! owner's loop waits for reading and writing at once.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Reads at a time: together more than a socket's buffer holds, so that all that was sent before is received.
const READS: usize = 32;

/// The largest message; a longer one is a fault of the peer. A histogram takes some 20 KB, a payload 4 KB.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The other process has closed its end, has died, or speaks another version.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// It has ended.
    #[error("the process at the other end has ended")]
    Ended,
    /// The socket failed.
    #[error("the channel failed: {0}")]
    Io(#[from] io::Error),
    /// What it says can't be read.
    #[error("the process at the other end does not speak this version's messages")]
    Unreadable,
}

/// One end of a channel: sends `Out`, receives `In`.
pub struct Channel<Out, In> {
    stream: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// An end made of a connected socket. Must be called within a runtime.
    ///
    /// # Errors
    /// The runtime can't watch the socket.
    pub fn new(stream: StdUnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, inbox: Vec::new(), outbox: Vec::new(), types: PhantomData })
    }

    /// Both ends of a channel inside one process. Must be called within a runtime.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn pair() -> io::Result<(Self, Channel<In, Out>)>
    where
        Out: DeserializeOwned,
        In: Serialize,
    {
        let (one, other) = StdUnixStream::pair()?;
        Ok((Self::new(one)?, Channel::new(other)?))
    }

    /// Puts a message into the outbox; [`flush`](Self::flush) sends it.
    ///
    /// # Panics
    /// Never for the messages of this program: they can all be encoded.
    pub fn push(&mut self, message: &Out) {
        let start = self.outbox.len();
        self.outbox.extend_from_slice(&[0; 4]);
        let outbox = std::mem::take(&mut self.outbox);
        self.outbox = postcard::to_extend(message, outbox).expect("messages can be encoded");
        let length = u32::try_from(self.outbox.len() - start - 4).expect("messages are below 4 GiB");
        self.outbox[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Bytes in the outbox: what the other process has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Sends what the socket takes now; the rest stays in the outbox.
    ///
    /// # Errors
    /// The other process is gone.
    pub fn flush(&mut self) -> Result<(), Gone> {
        let mut sent = 0;
        while sent < self.outbox.len() {
            match self.stream.try_write(&self.outbox[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    // Nobody takes it any more. Kept, it would look like something to do for ever, and a loop that never
                    // waits never learns from the runtime that the other end has closed.
                    self.outbox.clear();
                    let ended = error.kind() == io::ErrorKind::BrokenPipe;
                    return Err(if ended { Gone::Ended } else { error.into() });
                }
            }
        }
        self.outbox.drain(..sent);
        // A burst must not be paid for in memory ever after.
        if self.outbox.is_empty() && self.outbox.capacity() > READ_BYTES {
            self.outbox = Vec::new();
        }
        Ok(())
    }

    /// Appends the messages that have arrived to `messages`, without waiting.
    ///
    /// # Errors
    /// The other process is gone; what it said before is in `messages`.
    pub fn receive(&mut self, messages: &mut Vec<In>) -> Result<(), Gone> {
        let ended = self.fill();
        let mut taken = 0;
        while let Some((length, rest)) = self.inbox[taken..].split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            if length > MAX_MESSAGE_BYTES {
                return Err(Gone::Unreadable);
            }
            let Some(message) = rest.get(..length) else { break };
            messages.push(postcard::from_bytes(message).map_err(|_| Gone::Unreadable)?);
            taken += 4 + length;
        }
        self.inbox.drain(..taken);
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        ended
    }

    /// Reads what is there into the inbox, up to a bound, so that a talkative peer does not keep its reader for ever.
    fn fill(&mut self) -> Result<(), Gone> {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(Gone::Ended),
                Ok(bytes) => {
                    self.inbox.extend_from_slice(&buffer[..bytes]);
                    if bytes < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Gone::Ended),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ready when there is something to receive, or room for what is in the outbox.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let readable = self.stream.poll_read_ready(context).is_ready();
        let writable = !self.outbox.is_empty() && self.stream.poll_write_ready(context).is_ready();
        if readable || writable { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until there is something to receive, or room for what is in the outbox. May be dropped at any point.
    pub async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    /// Flushes the outbox, waiting as long as needed: for a process that has nothing else left to do.
    ///
    /// # Errors
    /// The other process is gone.
    pub async fn flush_all(&mut self) -> Result<(), Gone> {
        loop {
            self.flush()?;
            if self.outbox.is_empty() {
                return Ok(());
            }
            self.stream.writable().await?;
        }
    }

    /// Waits for the next messages: at least one.
    ///
    /// # Errors
    /// The other process is gone; what it said before is in `messages`.
    pub async fn next(&mut self, messages: &mut Vec<In>) -> Result<(), Gone> {
        while messages.is_empty() {
            // A peer that takes no more may still have said something; that it is gone shows in reading.
            let _ = self.flush();
            self.ready().await;
            self.receive(messages)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_left_is_noticed_although_something_is_queued_for_it() {
        let (mut one, mut other) = Channel::<u64, u64>::pair().unwrap();
        let mut messages = Vec::new();
        // A word from there, and a look that finds nothing, so that the runtime has to tell of the end.
        other.push(&1);
        other.flush_all().await.unwrap();
        one.next(&mut messages).await.unwrap();
        one.receive(&mut messages).unwrap();
        drop(other);
        for _ in 0..1_000 {
            one.push(&2);
            let _ = one.flush();
            // As a supervisor waits for many: without the budget that would make it yield.
            tokio::task::unconstrained(one.ready()).await;
            if one.receive(&mut messages).is_err() {
                return;
            }
        }
        panic!("it looked a thousand times and never waited");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn messages_arrive_whole_and_in_order_however_much_is_queued() {
        let (mut one, mut other) = Channel::<Vec<u8>, u64>::pair().unwrap();
        for length in 0..600 {
            one.push(&vec![7; length * 10]);
        }
        let mut received = Vec::new();
        let receiving = async {
            while received.len() < 600 {
                other.ready().await;
                other.receive(&mut received).unwrap();
            }
        };
        let (sent, ()) = tokio::join!(one.flush_all(), receiving);
        sent.unwrap();
        assert!(received.iter().enumerate().all(|(length, message)| message.len() == length * 10));
        assert_eq!(one.queued_bytes(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_peer_is_seen_after_its_last_words() {
        let (mut one, mut other) = Channel::<String, String>::pair().unwrap();
        one.push(&"last words".into());
        one.flush_all().await.unwrap();
        drop(one);
        let mut received = Vec::new();
        other.next(&mut received).await.unwrap();
        assert_eq!(received, ["last words"]);
        received.clear();
        assert!(matches!(other.next(&mut received).await, Err(Gone::Ended)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn last_words_are_heard_by_one_who_still_has_something_to_say() {
        let (mut one, mut other) = Channel::<String, String>::pair().unwrap();
        one.push(&"last words".into());
        one.flush_all().await.unwrap();
        drop(one);
        other.push(&"a question".into());
        let mut received = Vec::new();
        other.next(&mut received).await.unwrap();
        assert_eq!(received, ["last words"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn strange_bytes_are_an_error() {
        let (raw, end) = StdUnixStream::pair().unwrap();
        let mut channel = Channel::<u8, String>::new(end).unwrap();
        io::Write::write_all(&mut &raw, &[2, 0, 0, 0, 9, 9]).unwrap();
        assert!(matches!(channel.next(&mut Vec::new()).await, Err(Gone::Unreadable)));
    }
}
