//! Plays the same experiment with several builds in turn, each run by the build's own `holdline run`.
//!
//! Builds are taken whole, because the messages between the processes of a run are not kept stable between versions; what
//! they share is the record.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use holdline_host::process::end_with_parent;
use holdline_record::MANIFEST;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

/// How often a run is looked at: a runtime with a driver for child processes would cost every worker of every role.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a run that was told to stop gets to close its connections and complete its record.
const STOP_PATIENCE: Duration = Duration::from_secs(150);

/// A build to be played.
#[derive(Debug, Clone)]
pub struct SeriesBuild {
    /// Names its folder of runs.
    pub name: &'static str,
    /// Its `holdline`.
    pub program: PathBuf,
    /// The experiment, as a file that it can read.
    pub experiment: PathBuf,
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The build's name.
    pub build: &'static str,
    /// How many runs have ended, this one included.
    pub done: u32,
    /// How many are to be played.
    pub of: u32,
    /// How it ended.
    pub exit: ExitStatus,
}

/// A series that can't go on. The runs that were played stay.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// A folder or file can't be made.
    #[error("can't write {}: {error}; name another folder with --out", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// The program can't be started.
    #[error("can't start {}: {error}; it has to be a holdline binary for this machine", program.display())]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// A build refuses the experiment, or can't run.
    #[error("the {build} can't play the experiment ({exit}): {said}")]
    Refused {
        /// Which build.
        build: &'static str,
        /// How its run ended.
        exit: ExitStatus,
        /// The end of what it wrote, with the file that has it all.
        said: String,
    },
}

/// Plays `runs` runs of each of `builds`, in turn, each into a folder of its own: `FOLDER/BUILD/01` and on. What a run writes
/// to standard error is beside it in `01.log`. A run that takes longer than `patience` is told to stop.
///
/// The first message of `interrupts` ends the run under way in order, the next one at once, and no other is begun.
/// Returns why the series is incomplete, if it is.
///
/// # Errors
/// A build can't play the experiment at all. A run that failed after it had begun is no error: its record says so.
pub async fn play_in_turn(
    builds: &[SeriesBuild],
    runs: u32,
    folder: &Path,
    patience: Duration,
    mut interrupts: UnboundedReceiver<String>,
    watch: &mut dyn FnMut(Turn),
) -> Result<Option<String>, SeriesError> {
    let turns = turns(builds.len(), runs);
    let of = u32::try_from(turns.len()).unwrap_or(u32::MAX);
    for (done, (build, run)) in (1..).zip(turns) {
        let build = &builds[build];
        let (exit, interrupted) = play(build, run, folder, patience, &mut interrupts).await?;
        watch(Turn { build: build.name, done, of, exit });
        if interrupted.is_some() {
            return Ok(interrupted);
        }
    }
    Ok(None)
}

/// Which build plays which run: forth and back, so that a drift of the machine falls on all alike.
fn turns(builds: usize, runs: u32) -> Vec<(usize, u32)> {
    (1..=runs)
        .flat_map(|run| (0..builds).map(move |index| (if run % 2 == 1 { index } else { builds - 1 - index }, run)))
        .collect()
}

async fn play(
    build: &SeriesBuild,
    run: u32,
    folder: &Path,
    patience: Duration,
    interrupts: &mut UnboundedReceiver<String>,
) -> Result<(ExitStatus, Option<String>), SeriesError> {
    let runs = folder.join(build.name);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| SeriesError::Io { path, error }
    };
    std::fs::create_dir_all(&runs).map_err(io(&runs))?;
    let (record, log) = (runs.join(format!("{run:02}")), runs.join(format!("{run:02}.log")));
    let stderr = File::create(&log).map_err(io(&log))?;
    let mut command = Command::new(&build.program);
    command.arg("run").arg(&build.experiment).arg("--out").arg(&record);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    end_with_parent(&mut command);
    // A group of its own: Ctrl-C is passed on by this process, once.
    command.process_group(0);
    let spawn = |error| SeriesError::Spawn { program: build.program.clone(), error };
    let mut run = Run(command.spawn().map_err(spawn)?);
    let (exit, interrupted) = wait(&mut run.0, patience, interrupts).await.map_err(spawn)?;
    // A record that was only begun is invalid; without any there is nothing to judge.
    if interrupted.is_none() && !record.join(MANIFEST).exists() {
        return Err(SeriesError::Refused { build: build.name, exit, said: last_words(&log) });
    }
    Ok((exit, interrupted))
}

/// A run of a build; killed and reaped when dropped.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the run to end. Returns why it was told to, if somebody asked for it.
async fn wait(
    child: &mut Child,
    patience: Duration,
    interrupts: &mut UnboundedReceiver<String>,
) -> io::Result<(ExitStatus, Option<String>)> {
    let (mut interrupted, mut late) = (None, false);
    let mut bound = Instant::now() + patience;
    loop {
        if let Some(exit) = child.try_wait()? {
            return Ok((exit, interrupted));
        }
        tokio::select! {
            Some(why) = interrupts.recv() => {
                interrupted.get_or_insert(why);
                bound = Instant::now() + STOP_PATIENCE;
                terminate(child);
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        if Instant::now() >= bound {
            // Told to stop, and when that does not help, killed.
            if late {
                child.kill()?;
            }
            late = true;
            bound = Instant::now() + STOP_PATIENCE;
            terminate(child);
        }
    }
}

/// Asks a run to stop; a second time, to stop at once.
fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now, and its status is about to be seen.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The last lines that a run wrote, and where the others are.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(4)..];
    format!("{} (all of it: {})", last.join("\n"), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_alternate_so_that_drift_falls_on_both() {
        assert_eq!(turns(2, 3), [(0, 1), (1, 1), (1, 2), (0, 2), (0, 3), (1, 3)]);
        assert_eq!(turns(1, 2), [(0, 1), (0, 2)]);
        assert_eq!(turns(2, 0), []);
        // The mean place of both is the same for an even number of runs.
        let places = |build: usize| {
            turns(2, 10).iter().enumerate().filter(|(_, turn)| turn.0 == build).map(|(at, _)| at).sum::<usize>()
        };
        assert_eq!(places(0), places(1));
    }
}
