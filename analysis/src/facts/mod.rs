//! What the rows of a run say, before anyone judges it.

mod counts;
pub(crate) mod cpu;
mod memory;
mod taps;

use hdrhistogram::Histogram;
use holdline_record::{Event, EventRow, Phase, Role, RunFolder, ServerCounts, SwarmCounts};

pub(crate) use counts::{step_rate, step_rates};
pub(crate) use memory::{Fit, MIN_CONNECTIONS, MIN_LEVELS, Memory, connections as connections_by_sample};
pub(crate) use taps::PhaseTaps;

use crate::stats;

/// Everything that the summary, the judge and the charts share.
pub(crate) struct Facts {
    /// The server's processes.
    pub(crate) server: RoleFacts,
    /// The swarm's processes.
    pub(crate) swarm: RoleFacts,
    /// The kernel's socket memory against the server's connections.
    pub(crate) kernel: Memory,
    /// The kernel's socket memory at the start, in bytes.
    pub(crate) kernel_at_start: Option<u64>,
    /// Its growth from there to the highest level, in bytes.
    pub(crate) kernel_growth: Option<i64>,
    /// CPU in soft interrupts over the first tap phase; 100% is one core.
    pub(crate) softirq_percent_hold: Option<f64>,
    /// Connect-and-register latencies in microseconds.
    pub(crate) connect: Histogram<u64>,
    /// Connections registered a second of connecting.
    pub(crate) connect_rate: Option<f64>,
    /// The fewest connections of any reading in the hold.
    pub(crate) held: Option<u64>,
    /// The largest difference between both sides' counts in the hold.
    pub(crate) half_open: Option<u64>,
    /// One entry a planned tap phase.
    pub(crate) taps: Vec<PhaseTaps>,
    /// The server's last books.
    pub(crate) last_server: Option<ServerCounts>,
    /// The swarm's last books.
    pub(crate) last_swarm: Option<SwarmCounts>,
    /// The swarm's last books before it began to close connections.
    pub(crate) swarm_before_stop: Option<SwarmCounts>,
    /// How long all connections stood.
    pub(crate) hold_us: Option<u64>,
    /// The whole run.
    pub(crate) duration_us: Option<u64>,
}

/// What the samples of one role's processes say.
pub(crate) struct RoleFacts {
    /// User memory against this role's own connections.
    pub(crate) memory: Memory,
    /// Largest sum of Pss_File.
    pub(crate) program_file_bytes: Option<u64>,
    /// Most processes in one sample.
    pub(crate) processes: Option<u64>,
    /// CPU over the first tap phase; 100% is one core.
    pub(crate) cpu_percent_hold: Option<f64>,
    /// CPU time for each connection set up, in microseconds.
    pub(crate) cpu_us_per_connect: Option<f64>,
}

impl Facts {
    /// Reads the facts out of a run.
    pub(crate) fn of(run: &RunFolder) -> Self {
        let kernel = memory::kernel(&run.samples, &run.host);
        let kernel_at_start = memory::kernel_at_start(&run.host);
        Self {
            server: RoleFacts::of(run, Role::Server),
            swarm: RoleFacts::of(run, Role::Swarm),
            kernel_growth: memory::growth(kernel_at_start, &kernel),
            kernel,
            kernel_at_start,
            softirq_percent_hold: cpu::softirq_percent_hold(&run.host),
            connect: stats::merge(run.connect.iter().map(|interval| &interval.histogram)),
            connect_rate: counts::connect_rate(&run.events),
            held: counts::held(run),
            half_open: counts::half_open(&run.events),
            taps: taps::phases(run),
            last_server: last(&run.events, |_, server, _| server.cloned()),
            last_swarm: last(&run.events, |_, _, swarm| swarm.cloned()),
            swarm_before_stop: last(&run.events, |phase, _, swarm| swarm.filter(|_| phase != Phase::Stop).cloned()),
            hold_us: counts::hold_us(&run.events),
            duration_us: counts::duration_us(run),
        }
    }
}

impl RoleFacts {
    fn of(run: &RunFolder, role: Role) -> Self {
        Self {
            memory: memory::user(&run.samples, role),
            program_file_bytes: memory::program_file_bytes(&run.samples, role),
            processes: memory::processes(&run.samples, role),
            cpu_percent_hold: cpu::percent_hold(&run.samples, role),
            cpu_us_per_connect: cpu::us_per_connect(&run.samples, role, run.manifest.plan.levels.len()),
        }
    }
}

/// The last books that `pick` finds something in.
fn last<T>(
    events: &[EventRow],
    pick: impl Fn(Phase, Option<&ServerCounts>, Option<&SwarmCounts>) -> Option<T>,
) -> Option<T> {
    events.iter().rev().find_map(|row| match &row.event {
        Event::Books { phase, server, swarm, .. } => pick(*phase, server.as_ref(), swarm.as_ref()),
        _ => None,
    })
}
