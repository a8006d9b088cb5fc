//! The workers of a supervisor: told by number, heard all at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Exit, Member};

/// What a supervisor hears of a worker. Everything that a worker said comes before its end.
#[derive(Debug)]
pub enum Heard<In> {
    /// It said something.
    Said(In),
    /// It has closed its end of the channel, so it has ended or is about to; [`Team::reap`] tells how.
    Ended,
}

/// Worker processes by number. A worker that has ended keeps its number until it is [replaced](Team::replace).
pub struct Team<Out, In> {
    seats: Vec<Seat<Out, In>>,
}

struct Seat<Out, In> {
    member: Member<Out, In>,
    /// Has ended; nothing is sent to it.
    down: bool,
}

impl<Out, In> FromIterator<Member<Out, In>> for Team<Out, In> {
    fn from_iter<T: IntoIterator<Item = Member<Out, In>>>(members: T) -> Self {
        Self { seats: members.into_iter().map(|member| Seat { member, down: false }).collect() }
    }
}

impl<Out: Serialize, In: DeserializeOwned> Team<Out, In> {
    /// How many workers there are, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is no worker at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether `worker` has not ended.
    #[must_use]
    pub fn is_up(&self, worker: usize) -> bool {
        !self.seats[worker].down
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.seats.iter().all(|seat| seat.down)
    }

    /// The process of `worker`, the last one if it has ended.
    #[must_use]
    pub fn pid(&self, worker: usize) -> u32 {
        self.seats[worker].member.pid()
    }

    /// All processes, by number.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.seats.iter().map(|seat| seat.member.pid()).collect()
    }

    /// Bytes that `worker` has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self, worker: usize) -> usize {
        self.seats[worker].member.channel.queued_bytes()
    }

    /// Queues a message to `worker`; one that has ended is told nothing.
    pub fn tell(&mut self, worker: usize, message: &Out) {
        let seat = &mut self.seats[worker];
        if !seat.down {
            seat.member.channel.push(message);
        }
    }

    /// Queues a message to every worker that has not ended.
    pub fn tell_all(&mut self, message: &Out) {
        for worker in 0..self.seats.len() {
            self.tell(worker, message);
        }
    }

    /// Sends what the workers take now.
    pub fn flush(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| !seat.down) {
            // That a worker has ended is found out by reading, after its last words.
            let _ = seat.member.channel.flush();
        }
    }

    /// Waits until a worker has said something, or takes what it is to be told. May be dropped at any point.
    pub async fn ready(&mut self) {
        let any = poll_fn(|context| {
            let mut ready = false;
            // All are polled, so that each wakes the task that waits.
            for seat in self.seats.iter_mut().filter(|seat| !seat.down) {
                ready |= seat.member.channel.poll_ready(context).is_ready();
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        });
        // With many workers one look at all of them would use up the runtime's budget and look like nothing is there.
        tokio::task::unconstrained(any).await;
    }

    /// What the workers have said, by number and in order.
    pub fn hear(&mut self) -> Vec<(usize, Heard<In>)> {
        let (mut heard, mut messages) = (Vec::new(), Vec::new());
        for (worker, seat) in self.seats.iter_mut().enumerate().filter(|(_, seat)| !seat.down) {
            let gone = seat.member.channel.receive(&mut messages).is_err();
            heard.extend(messages.drain(..).map(|message| (worker, Heard::Said(message))));
            if gone {
                seat.down = true;
                heard.push((worker, Heard::Ended));
            }
        }
        heard
    }

    /// How a worker ended, if it has.
    pub fn ended(&mut self, worker: usize) -> Option<Exit> {
        self.seats[worker].member.ended()
    }

    /// How a worker ended; see [`Member::reap`], which may block for a moment.
    pub fn reap(&mut self, worker: usize) -> Exit {
        self.seats[worker].member.reap()
    }

    /// Ends all workers at once that have not ended; that they have is heard as of any other.
    pub fn kill(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| !seat.down) {
            seat.member.kill();
        }
    }

    /// Puts `member` in the place of a worker that has ended.
    pub fn replace(&mut self, worker: usize, member: Member<Out, In>) {
        self.seats[worker] = Seat { member, down: false };
    }

    /// Waits until all have ended by themselves, up to `patience` in all, and kills the rest.
    pub async fn retire(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        for seat in &mut self.seats {
            seat.member.retire(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
            seat.down = true;
        }
    }
}
