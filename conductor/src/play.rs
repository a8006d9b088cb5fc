//! The run itself: start, climb, hold and tap, stop.

use std::path::PathBuf;
use std::time::Duration;

use holdline_alerter::Outcome;
use holdline_fleet::{Program, SpawnError};
use holdline_host::clock::{mono_us, wall_us};
use holdline_host::process::Sampler;
use holdline_host::{environment, limits, network};
use holdline_record::{Build, Environment, Event, GroupStep, Manifest, Phase, RecordError, Role, SCHEMA_VERSION};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::cast::{Cast, News};
use crate::journal::Journal;
use crate::{Plan, Progress, check};

/// How long the roles get to be ready: a hundred processes start in some seconds on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all processes get to say their counts. Without an answer the sample is taken without counts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the swarm gets to close its connections, and then the server to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server gets to see connections end that the swarm has closed.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two processes of a sample in the hold.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at something that is only known by asking.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// What the alerter may need beyond its schedule and grace.
const ALERTER_SPARE: Duration = Duration::from_secs(20);
/// What the roles write to standard error, in the run folder.
const ROLES_LOG: &str = "roles.log";

/// What a run needs to know that the experiment does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run's name, unique enough to tell it from other runs.
    pub run: String,
    /// The program whose roles are started.
    pub program: PathBuf,
    /// Where the record goes; made if it is missing, and must hold no run yet.
    pub folder: PathBuf,
    /// The command that makes the run again, for the record.
    pub command: String,
    /// The build of the program, for the record.
    pub build: Build,
}

/// A run that was played, to its end or not. Its record is complete either way.
#[derive(Debug)]
pub struct Played {
    /// Why it ended before its time, if it did.
    pub cut: Option<Cut>,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// Somebody asked for it.
    #[error("{0}")]
    Interrupted(String),
    /// A role said why it can't go on.
    #[error("the {who} can't go on: {why}")]
    Failed {
        /// Which role.
        who: String,
        /// In its words.
        why: String,
    },
    /// A role's process ended without a word.
    #[error("the process \"{who}\" ended ({how}); what it wrote to standard error is in {ROLES_LOG} of the run folder")]
    Gone {
        /// Which process.
        who: String,
        /// How.
        how: String,
    },
    /// Something took longer than it may.
    #[error("{what} took more than {} s", bound.as_secs())]
    Late {
        /// What.
        what: &'static str,
        /// The bound.
        bound: Duration,
    },
    /// A process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The record can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A run that has no record, or whose record can't be completed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The record can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Processes can't be read.
    #[error("can't read the memory of processes: {0}")]
    Sampler(std::io::Error),
    /// The experiment can't be put into the record.
    #[error("can't write the experiment into the record: {0}")]
    Experiment(#[from] serde_json::Error),
    /// Nothing was measured.
    #[error("the run could not begin: {0}")]
    Start(Cut),
}

/// Plays `plan` and writes its record.
///
/// `interrupts` ends the run early: with the first message connections are closed in order and the record is completed,
/// with the second all processes are killed at once. `watch` is told what goes on.
///
/// # Errors
/// The run could not begin, or its record can't be completed. No process is left in either case.
pub async fn run(
    plan: &Plan,
    options: Options,
    interrupts: UnboundedReceiver<String>,
    watch: &mut dyn FnMut(Progress),
) -> Result<Played, RunError> {
    let manifest = manifest(plan, &options)?;
    let journal = Journal::create(&options.folder, &manifest)?;
    let program = Program { path: options.program, log: Some(options.folder.join(ROLES_LOG)) };
    let mut player = Player {
        plan,
        program,
        journal,
        cast: Cast::default(),
        sampler: Sampler::new().map_err(RunError::Sampler)?,
        interrupts,
        watch,
        next_sample: Instant::now(),
        steps: Vec::new(),
        registered: 0,
        taps: None,
        process_lost: false,
        closed: false,
    };
    let cut = Box::pin(player.play()).await.err();
    Box::pin(player.finish(cut)).await
}

/// What is known about a run of `plan` before it begins.
///
/// # Errors
/// The experiment can't be put into the record.
pub fn manifest(plan: &Plan, options: &Options) -> Result<Manifest, RunError> {
    let started_wall_us = wall_us();
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        run: options.run.clone(),
        host: environment::host_name(),
        started_wall_us,
        command: options.command.clone(),
        seed: plan.experiment.seed,
        plan: plan.record(),
        experiment: serde_json::to_value(&plan.experiment)?,
        build: options.build.clone(),
        environment: Environment {
            kernel: environment::kernel(),
            cpu_model: environment::cpu_model(),
            cpu_cores: environment::cpu_cores(),
            mem_total_bytes: network::mem_total_bytes(),
            open_files_per_process: limits::open_files().soft,
            sysctls: environment::sysctls(),
        },
    })
}

struct Player<'a> {
    plan: &'a Plan,
    program: Program,
    journal: Journal,
    cast: Cast,
    sampler: Sampler,
    interrupts: UnboundedReceiver<String>,
    watch: &'a mut dyn FnMut(Progress),
    next_sample: Instant,
    /// What the groups, by their index, did in the step under way.
    steps: Vec<(usize, holdline_swarm::Step)>,
    /// Registered in the steps so far.
    registered: u64,
    /// The tap phase under way: its number and rate.
    taps: Option<(u32, f64)>,
    /// A process ended that should not have.
    process_lost: bool,
    /// The last books are in the record.
    closed: bool,
}

impl Player<'_> {
    async fn play(&mut self) -> Result<(), Cut> {
        self.start().await?;
        for (step, target) in (0_u32..).zip(self.plan.levels.clone()) {
            self.climb(step, target).await?;
            self.read_level(step).await?;
        }
        self.hold().await
    }

    /// Brings all processes up and reads them before the first connection.
    async fn start(&mut self) -> Result<(), Cut> {
        self.journal.enter(Phase::Start, None)?;
        for message in check::warnings(self.plan) {
            self.warn(message)?;
        }
        self.cast.start_server(&self.program, &self.plan.server)?;
        self.next_sample = Instant::now() + START_TIMEOUT;
        self.until("starting the server", START_TIMEOUT, |cast| cast.addresses().is_some()).await?;
        let Some((listen, _)) = self.cast.addresses() else { return Ok(()) };
        for group in &self.plan.groups {
            let config = holdline_swarm::Config { connect: self.plan.targets(listen), ..group.config.clone() };
            self.cast.start_group(&self.program, &group.name, &config)?;
        }
        self.until("starting the swarm", START_TIMEOUT, Cast::groups_ready).await?;
        let (server_workers, swarm_workers) = self.cast.workers();
        let count = |workers| u32::try_from(workers).unwrap_or(u32::MAX);
        self.journal
            .event(Event::Started { server_workers: count(server_workers), swarm_workers: count(swarm_workers) })?;
        (self.watch)(Progress::Started { server_workers, swarm_workers });
        self.read_several().await
    }

    /// Grows all groups to `target` connections together and waits until every attempt has its outcome.
    async fn climb(&mut self, step: u32, target: u64) -> Result<(), Cut> {
        self.journal.enter(Phase::Climb, Some(step))?;
        self.steps.clear();
        let sizes: Vec<u64> = self.plan.groups.iter().map(|group| group.config.connections).collect();
        for (group, share) in limits::split_in_proportion(target, &sizes).into_iter().enumerate() {
            self.cast.grow(group, share);
        }
        let bound = self.plan.experiment.staircase.step_timeout;
        self.until("a step of the staircase (staircase.step_timeout)", bound, |cast| !cast.growing()).await?;
        if let Some(reconnect) = self.plan.experiment.swarm.reconnect {
            self.wait_for_the_late(target, Instant::now() + reconnect.longest.min(bound)).await?;
        }
        self.reached(step, target)
    }

    /// Gives clients whose first attempt failed the time to come back.
    async fn wait_for_the_late(&mut self, target: u64, deadline: Instant) -> Result<(), Cut> {
        while Instant::now() < deadline && !self.process_lost {
            let seq = self.answers().await?;
            if self.cast.swarm_counts(seq).is_some_and(|counts| counts.registered >= target) {
                break;
            }
            self.pass(ASK_INTERVAL).await?;
        }
        Ok(())
    }

    /// Records what a step came to.
    fn reached(&mut self, step: u32, target: u64) -> Result<(), Cut> {
        let mut groups = Vec::new();
        let (mut first, mut last, mut registered) = (None::<u64>, None::<u64>, 0);
        for (index, done) in std::mem::take(&mut self.steps) {
            let group = self.cast.group_name(index).to_owned();
            if let (Some(from), Some(to)) = (done.first_syn_us, done.last_outcome_us) {
                self.journal.connect_latencies(&group, from, to, &done.histogram)?;
                first = Some(first.map_or(from, |first| first.min(from)));
                last = last.max(Some(to));
            }
            registered += done.registered;
            groups.push(GroupStep {
                group,
                registered: done.registered,
                failed: done.failed,
                first_syn_us: done.first_syn_us,
                last_outcome_us: done.last_outcome_us,
            });
        }
        self.journal.event(Event::StepReached { step, target, groups })?;
        self.registered += registered;
        let spent_us = first.zip(last).map(|(first, last)| last.saturating_sub(first)).filter(|us| *us > 0);
        (self.watch)(Progress::Level {
            level: step as usize + 1,
            of: self.plan.levels.len(),
            connections: self.registered,
            rate_per_s: spent_us.map(|us| registered as f64 * 1e6 / us as f64),
        });
        Ok(())
    }

    /// Lets a level settle, then reads it several times.
    async fn read_level(&mut self, step: u32) -> Result<(), Cut> {
        self.pass(self.plan.experiment.staircase.settle).await?;
        self.journal.enter(Phase::Level, Some(step))?;
        self.read_several().await?;
        self.books().await
    }

    async fn read_several(&mut self) -> Result<(), Cut> {
        for reading in 0..self.plan.experiment.staircase.readings {
            if reading > 0 {
                self.pass(self.plan.experiment.staircase.reading_interval).await?;
            }
            self.sample().await?;
        }
        Ok(())
    }

    /// Holds all connections for the promised time and taps meanwhile.
    async fn hold(&mut self) -> Result<(), Cut> {
        let held_from_us = mono_us();
        let promised_until = Instant::now() + self.plan.experiment.promise.hold;
        self.journal.enter(Phase::Hold, None)?;
        self.sample().await?;
        self.books().await?;
        for (step, taps) in (0_u32..).zip(&self.plan.experiment.taps) {
            self.journal.enter(Phase::Hold, Some(step))?;
            self.tap(step, taps).await?;
            self.books().await?;
        }
        let rest = promised_until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            self.journal.enter(Phase::Hold, None)?;
            if rest >= Duration::from_secs(1) {
                (self.watch)(Progress::Holding(rest));
            }
            self.pass(rest).await?;
        }
        self.sample().await?;
        self.books().await?;
        self.journal.event(Event::HoldEnded { held_from_us })?;
        // An address that is taken away cuts its connections without a word to either end.
        for error in check::vanished_sources(self.plan) {
            self.warn(format!(
                "{error}. It was there when the run began: what its connections lost is not the service's doing."
            ))?;
        }
        Ok(())
    }

    /// One tap phase: an alerter of its own, from its first alert to the outcome of its last.
    async fn tap(&mut self, step: u32, taps: &crate::Taps) -> Result<(), Cut> {
        let Some((_, alerts)) = self.cast.addresses() else { return Ok(()) };
        (self.watch)(Progress::Tapping { rate: taps.rate, duration: taps.duration });
        let config = self.plan.alerter(taps, u64::from(step), alerts);
        let bound = config.duration + config.grace + ALERTER_SPARE;
        self.cast.start_alerter(&self.program, &format!("taps-{step}"), &config)?;
        self.taps = Some((step, taps.rate));
        self.until("a tap phase", bound, Cast::alerter_finished).await?;
        self.end_taps()?;
        self.cast.retire_alerter().await;
        Ok(())
    }

    /// Records the outcome of the tap phase under way.
    fn end_taps(&mut self) -> Result<(), RecordError> {
        let Some((step, rate)) = self.taps.take() else { return Ok(()) };
        let Some(Outcome { counts, lag_max_us, lag_p99_us, cut_short }) = self.cast.take_outcome() else {
            return Ok(());
        };
        self.journal.event(Event::TapsEnded { step, rate, counts, lag_max_us, lag_p99_us })?;
        match cut_short {
            Some(why) => self.warn(format!("Tap phase {step} was cut short: {why}.")),
            None => Ok(()),
        }
    }

    /// Closes everything in order and completes the record, also after the run was cut.
    async fn finish(mut self, cut: Option<Cut>) -> Result<Played, RunError> {
        // Without connections nothing was measured: whoever ran it wants the reason, not a record.
        let begun = self.journal.place().0 != Phase::Start;
        if let Some(cut) = &cut {
            self.journal.event(Event::Interrupted { why: cut.to_string() })?;
        }
        let mut stopped = self.stop().await;
        if let (None, Err(Cut::Interrupted(why))) = (&cut, &stopped) {
            // What was promised is measured, and things are ending anyway: only a second interrupt is in a hurry.
            (self.watch)(Progress::Warning(format!(
                "{why}; connections are being closed, once more to kill all processes"
            )));
            stopped = self.stop().await;
        }
        if let Err(hurry) = stopped {
            if let Cut::Late { .. } = &hurry
                && let Some((role, who)) = self.cast.unfinished()
            {
                self.lost(role, who, format!("did not end when it was told to: {hurry}"))?;
            }
            self.cast.kill();
            self.journal.event(Event::Warning {
                message: format!("Connections were not closed in order, their processes were killed: {hurry}."),
            })?;
        }
        self.journal.event(Event::Finished)?;
        match cut {
            Some(Cut::Record(error)) => Err(error.into()),
            Some(cut @ (Cut::Failed { .. } | Cut::Gone { .. } | Cut::Late { .. } | Cut::Spawn(_))) if !begun => {
                Err(RunError::Start(cut))
            }
            cut => Ok(Played { cut }),
        }
    }

    /// Ends the alerter, then the swarm, then the server, so that each sees the end of the one before.
    async fn stop(&mut self) -> Result<(), Cut> {
        (self.watch)(Progress::Stopping);
        self.cast.stop_alerter();
        self.until("ending the alerter", self.plan.grace() + ALERTER_SPARE, Cast::alerter_finished).await?;
        self.end_taps()?;
        self.journal.enter(Phase::Stop, None)?;
        self.cast.stop_groups();
        self.until("closing the connections", STOP_TIMEOUT, Cast::groups_finished).await?;
        self.last_books().await?;
        self.cast.drain_server();
        self.until("draining the server", STOP_TIMEOUT, Cast::server_finished).await?;
        self.cast.retire().await;
        Ok(())
    }

    /// The books after the swarm has closed everything: the server sees the last connection end a moment later.
    async fn last_books(&mut self) -> Result<(), Cut> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while !self.closed {
            let seq = self.answers().await?;
            let all_closed = self.cast.server_counts(seq).is_some_and(|counts| counts.open == 0);
            if all_closed || Instant::now() >= deadline {
                self.write_books(seq)?;
                self.closed = true;
            } else {
                self.pass(ASK_INTERVAL).await?;
            }
        }
        Ok(())
    }

    /// Reads the books of both sides.
    async fn books(&mut self) -> Result<(), Cut> {
        let seq = self.answers().await?;
        self.write_books(seq)
    }

    fn write_books(&mut self, seq: u64) -> Result<(), Cut> {
        let (phase, step) = self.journal.place();
        let (server, swarm) = (self.cast.server_counts(seq).cloned(), self.cast.swarm_counts(seq));
        self.journal.event(Event::Books { phase, step, server, swarm })?;
        Ok(())
    }

    /// Asks all processes for their counts and waits for the answers, up to a bound; returns the question's number.
    async fn answers(&mut self) -> Result<u64, Cut> {
        let seq = self.cast.ask();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !self.cast.answered(seq) && Instant::now() < deadline {
            self.turn(deadline).await?;
        }
        Ok(seq)
    }

    /// Takes one sample of all processes and the host, right after all have said their counts.
    ///
    /// In the hold the processes are read with pauses between them, over up to half of the interval: reading a hundred in one
    /// go would keep taps waiting for a core.
    async fn sample(&mut self) -> Result<(), Cut> {
        let begun = Instant::now();
        let interval = self.plan.experiment.sampling.interval;
        let seq = self.answers().await?;
        let processes = self.cast.processes(seq);
        let own = crate::journal::Process {
            role: Role::Conductor,
            group: String::new(),
            worker: None,
            pid: std::process::id(),
            connections: None,
        };
        let pause = if self.journal.place().0 == Phase::Hold {
            (interval / 2 / u32::try_from(processes.len() + 1).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
        let mut rows = Vec::new();
        for process in processes.into_iter().chain([own]) {
            if let Some(usage) = self.sampler.read(&[process.pid]).remove(&process.pid) {
                rows.push((process, usage, mono_us()));
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                self.turn(until).await?;
            }
        }
        self.journal.sample(rows, &network::read())?;
        if let Some(counts) = self.cast.swarm_counts(seq) {
            (self.watch)(Progress::Connections(counts.registered));
        }
        self.next_sample = begun + interval;
        Ok(())
    }

    /// Goes on until `done`, sampling as it falls due.
    async fn until(&mut self, what: &'static str, bound: Duration, done: impl Fn(&Cast) -> bool) -> Result<(), Cut> {
        let deadline = Instant::now() + bound;
        while !done(&self.cast) {
            if Instant::now() >= deadline {
                return Err(Cut::Late { what, bound });
            }
            self.turn_or_sample(deadline).await?;
        }
        Ok(())
    }

    /// Goes on for `span`, sampling as it falls due.
    async fn pass(&mut self, span: Duration) -> Result<(), Cut> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.turn_or_sample(end).await?;
        }
        Ok(())
    }

    async fn turn_or_sample(&mut self, deadline: Instant) -> Result<(), Cut> {
        if Instant::now() < self.next_sample {
            self.turn(deadline.min(self.next_sample)).await
        } else {
            self.sample().await
        }
    }

    /// Waits until a role has said something, somebody wants the run to end, or `deadline`; and acts on what was said.
    async fn turn(&mut self, deadline: Instant) -> Result<(), Cut> {
        self.cast.flush();
        tokio::select! {
            biased;
            Some(why) = self.interrupts.recv() => return Err(Cut::Interrupted(why)),
            () = self.cast.ready() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        // All of it is learnt, also what came behind a reason to end the run.
        self.cast.hear().into_iter().map(|news| self.learn(news)).fold(Ok(()), Result::and)
    }

    fn learn(&mut self, news: News) -> Result<(), Cut> {
        match news {
            News::Grown { group, step } => {
                self.steps.push((group, step));
                Ok(())
            }
            News::Interval(interval) => match self.taps {
                Some((step, rate)) => Ok(self.journal.round_trips(step, rate, &interval)?),
                None => Ok(()),
            },
            News::WorkerLost { role, who, how } => {
                (self.watch)(Progress::Warning(format!("{who} ended: {how}")));
                Ok(self.lost(role, who, how)?)
            }
            News::Failed { who, why } => Err(Cut::Failed { who, why }),
            News::Gone { role, who, how } => {
                self.lost(role, who.clone(), how.clone())?;
                Err(Cut::Gone { who, how })
            }
        }
    }

    fn lost(&mut self, role: Role, who: String, how: String) -> Result<(), RecordError> {
        self.process_lost = true;
        self.journal.event(Event::ProcessLost { role, who, how })
    }

    fn warn(&mut self, message: String) -> Result<(), RecordError> {
        (self.watch)(Progress::Warning(message.clone()));
        self.journal.event(Event::Warning { message })
    }
}
