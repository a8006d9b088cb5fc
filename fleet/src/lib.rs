//! Worker processes under a supervisor, and the channel between a process and its parent.
//!
//! A process can hold no more sockets than its limit of open files, so server and swarm are sets of processes; and each
//! role of a run is a process of its own so that its memory and CPU can be told apart. All of them are this same program
//! started again, with a channel to their parent as standard input. **A process whose parent has gone sees its channel
//! end and stops**: nothing is left behind when any of them is killed.

mod channel;
mod files;
mod member;
mod team;

pub use channel::{Channel, Gone};
pub use files::{receive_file, send_file};
pub use member::{Exit, Member, Program, SpawnError, from_parent};
pub use team::{Heard, Team};
