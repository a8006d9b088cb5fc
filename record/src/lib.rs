//! The run folder on disk: what a run writes while it goes on, and the only thing analysis reads.
//!
//! ```text
//! DIR/manifest.json   the experiment as resolved, seed, build, environment       [`Manifest`]
//! DIR/samples.csv     one row per process and sample                             [`SampleRow`]
//! DIR/host.csv        one row per sample: kernel memory, network counters        [`HostRow`]
//! DIR/connect.hlog    connect-and-register latency, an interval a level and group
//! DIR/tap.hlog        tap round trips, an interval a second and rate
//! DIR/events.jsonl    what happened, in order                                    [`EventRow`]
//! ```
//!
//! Rows are flushed as they are taken, so a run that is killed leaves all but its last row. Every row names its run and
//! host and carries monotonic time beside wall-clock time, so that the folders of several hosts can be merged.
//! Types here are the format: a change of meaning raises [`SCHEMA_VERSION`].

mod counts;
mod event;
mod floor;
mod hlog;
mod labels;
mod limit;
mod manifest;
mod reader;
mod rows;
mod writer;

pub use counts::{AlertCounts, Causes, ServerCounts, SwarmCounts, TapCounts};
pub use event::{Event, EventRow, GroupStep, Phase};
pub use floor::Floor;
pub use hlog::{HlogInterval, HlogWriter, decode_histogram, encode_histogram, new_histogram, read_hlog};
pub use labels::{explain, is_of_generator};
pub use limit::{Bound, Limit, LimitError};
pub use manifest::{Build, Environment, Group, Manifest, Plan, Promise, Reference, TapPhase};
pub use reader::{Problem, RunFolder};
pub use rows::{HostRow, Role, SampleRow};
pub use writer::{RecordError, RunWriter};

/// The version of every file in a run folder. A reader refuses another one rather than guess.
pub const SCHEMA_VERSION: u32 = 1;

/// The name of the manifest in a run folder.
pub const MANIFEST: &str = "manifest.json";
/// The name of the table of processes in a run folder.
pub const SAMPLES: &str = "samples.csv";
/// The name of the table of the host in a run folder.
pub const HOST: &str = "host.csv";
/// The name of the log of connect-and-register latencies in a run folder.
pub const CONNECT_HLOG: &str = "connect.hlog";
/// The name of the log of tap round trips in a run folder.
pub const TAP_HLOG: &str = "tap.hlog";
/// The name of the floor that was played beside a run, in its folder; most runs have none.
pub const FLOOR: &str = "floor.json";
/// The name of the list of events in a run folder.
pub const EVENTS: &str = "events.jsonl";
