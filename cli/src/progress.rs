//! Shows a run or a swarm while it goes on: a bar on a terminal, plain lines elsewhere. Both on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use holdline_conductor::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what a run, or a swarm, says of itself.
pub(crate) struct Watcher {
    /// Counts connections; hidden where standard error is no terminal.
    bar: ProgressBar,
    plain: bool,
    /// When the last plain line about connections was written, and how many there were.
    said: (Instant, u64),
}

/// At most so often a plain line says how many connections there are.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

impl Watcher {
    /// Watches a run of `connections` connections.
    pub(crate) fn new(connections: u64) -> Self {
        let bar = ProgressBar::new(connections);
        let style =
            ProgressStyle::with_template("{elapsed_precise} {bar:30} {human_pos}/{human_len} connections  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let plain = !std::io::stderr().is_terminal();
        if !plain {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, plain, said: (Instant::now(), 0) }
    }

    /// Shows `progress`.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if let Progress::Connections(connections) | Progress::Level { connections, .. } = progress {
            self.bar.set_position(*connections);
            if self.plain && self.said.1 != *connections && self.said.0.elapsed() >= LINE_INTERVAL {
                self.said = (Instant::now(), *connections);
                eprintln!("{connections} connections");
            }
        }
        if let Progress::Level { connections, .. } = progress {
            // The line of the level says it.
            self.said = (Instant::now(), *connections);
        }
        match line(progress) {
            Some(line) if self.plain || matches!(progress, Progress::Warning(_)) => self.line(&line),
            Some(line) => self.bar.set_message(line),
            None => {}
        }
    }

    /// Writes a line that stays.
    pub(crate) fn line(&mut self, line: &str) {
        if self.plain {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A line for `progress`; none for what only moves the bar.
fn line(progress: &Progress) -> Option<String> {
    let time = |span: Duration| {
        humantime::format_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    };
    Some(match progress {
        Progress::Connections(_) => return None,
        Progress::Started { server_workers, swarm_workers } => {
            format!("started {server_workers} server and {swarm_workers} swarm workers")
        }
        Progress::Level { level, of, connections, rate_per_s } => {
            let rate = rate_per_s.map(|rate| format!(", {rate:.0} a second")).unwrap_or_default();
            format!("level {level} of {of}: {connections} registered{rate}")
        }
        Progress::Tapping { rate, duration } => format!("tapping {rate} a second for {}", time(*duration)),
        Progress::Holding(rest) => format!("holding for {}", time(*rest)),
        Progress::Stopping => "closing connections".to_owned(),
        Progress::Warning(message) => format!("warning: {message}"),
    })
}
