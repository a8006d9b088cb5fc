//! An experiment resolved for this host: what each role is told, and what analysis will hold the run to.

use std::net::SocketAddr;
use std::time::Duration;

use holdline_host::limits;
use holdline_host::ports::{PlanError, PortPlan, Sources};
use holdline_record as record;

use crate::check::Shortfall;
use crate::experiment::{Experiment, ExperimentError, Group, Taps};
use crate::ladder::Demand;

/// Stands for a port that is not known before the server listens; the plan only counts destinations.
const SOME_PORT: u16 = 1;

/// Connections a second that a host of two cores sets up, both ends there; only for estimates of time.
const TYPICAL_CONNECT_RATE: f64 = 25_000.0;
/// What a run takes beyond climbing and holding: to start, to close the connections, to write its report.
const AROUND: Duration = Duration::from_millis(1_500);

/// A resolved experiment. Nothing has been opened or started for it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// As written, with defaults and overrides.
    pub experiment: Experiment,
    /// What the server is told.
    pub server: holdline_server::Config,
    /// Worker processes of the server.
    pub server_workers: u32,
    /// What each swarm group is told, but for the address, which is known when the server listens.
    pub groups: Vec<PlannedGroup>,
    /// Connections in all at each level of the staircase.
    pub levels: Vec<u64>,
}

/// A swarm group of a plan.
#[derive(Debug, Clone)]
pub struct PlannedGroup {
    /// Its name.
    pub name: String,
    /// What it is told.
    pub config: holdline_swarm::Config,
    /// Its worker processes.
    pub processes: u32,
    /// Its sources and ports.
    pub ports: PortPlan,
}

impl Plan {
    /// Resolves `experiment` under a limit of `open_files` per process.
    ///
    /// # Errors
    /// The setting that can't be used, or what this host lacks for it.
    pub fn new(experiment: Experiment, open_files: u64) -> Result<Self, ExperimentError> {
        check_names(&experiment)?;
        check_groups(&experiment.swarm.groups)?;
        check_promise(&experiment)?;
        check_staircase(&experiment)?;
        let server = server_config(&experiment);
        let server_workers =
            server.validate(open_files).map_err(|error| refused("[target]", &error, error.is_of_host()))?;
        let groups = planned_groups(&experiment, server.listen, open_files)?;
        let staircase = &experiment.staircase;
        let even = || even_levels(experiment.promise.connections, staircase.levels);
        let levels = staircase.at.clone().unwrap_or_else(even);
        let plan = Self { server, server_workers, groups, levels, experiment };
        for (index, taps) in plan.experiment.taps.iter().enumerate() {
            plan.alerter(taps, 0, plan.server.alerts)
                .validate()
                .map_err(|error| refused(&format!("taps.{index}:"), &error, false))?;
        }
        Ok(plan)
    }

    /// What the alerter of tap phase `step` is told.
    #[must_use]
    pub fn alerter(&self, taps: &Taps, step: u64, connect: SocketAddr) -> holdline_alerter::Config {
        let (first, last) = (self.groups.first(), self.groups.last());
        holdline_alerter::Config {
            connect,
            first_id: first.map_or(0, |group| group.config.start_id),
            end_id: last.map_or(0, |group| group.config.start_id.saturating_add(group.config.connections)),
            rate: taps.rate,
            duration: taps.duration,
            // Other clients in each phase, the same ones in each run.
            seed: self.experiment.seed.wrapping_add(step),
            timeout: self.experiment.promise.within,
            grace: self.grace(),
            payload_bytes: self.experiment.alerter.payload_bytes,
            ..holdline_alerter::Config::default()
        }
    }

    /// How long after the last alert of a phase answers are waited for: the service's own bound, and its way back.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.server.tap_timeout + Duration::from_secs(2)
    }

    /// Where clients connect when the service listens on `listen`.
    #[must_use]
    pub fn targets(&self, listen: SocketAddr) -> Vec<SocketAddr> {
        targets(&self.experiment, listen)
    }

    /// What the run asks of this host.
    #[must_use]
    pub fn demand(&self) -> Demand {
        // Without a list, sources are taken from loopback as needed; elsewhere there is the one that the kernel chooses.
        let targets = self.targets(self.server.listen);
        let loopback = targets.iter().all(|target| target.is_ipv4() && target.ip().is_loopback());
        let listed = !loopback || self.groups.iter().all(|group| group.config.sources != Sources::Auto);
        // All groups share the sources.
        let most = self.groups.first().map_or(0, |group| group.ports.most());
        let words: Vec<String> = self.groups.iter().map(|group| group.ports.describe_sources()).collect();
        Demand {
            connections: self.experiment.promise.connections,
            server_workers: Some(u64::from(self.server_workers)),
            swarm_workers: Some(self.groups.iter().map(|group| u64::from(group.processes)).sum()),
            ports: listed.then(|| (most, words.join("; "))),
            window: u64::from(self.experiment.swarm.window),
            backlog: u64::try_from(self.server.backlog).unwrap_or(0),
        }
    }

    /// About how long a run takes.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let experiment = &self.experiment;
        let staircase = &experiment.staircase;
        let rate = experiment.swarm.rate.unwrap_or(f64::INFINITY).min(TYPICAL_CONNECT_RATE);
        let connecting =
            Duration::try_from_secs_f64(experiment.promise.connections as f64 / rate).unwrap_or(Duration::MAX);
        let readings = staircase.reading_interval.saturating_mul(staircase.readings.saturating_sub(1));
        let resting = (staircase.settle.saturating_add(readings))
            .saturating_mul(u32::try_from(self.levels.len()).unwrap_or(u32::MAX));
        let tapping = experiment.taps.iter().fold(Duration::ZERO, |sum, taps| sum.saturating_add(taps.duration));
        let hold = experiment.promise.hold.max(tapping);
        [connecting, resting, hold].into_iter().fold(AROUND, Duration::saturating_add)
    }

    /// What analysis needs to know.
    #[must_use]
    pub fn record(&self) -> record::Plan {
        let promise = &self.experiment.promise;
        record::Plan {
            name: self.experiment.name.clone(),
            promise: record::Promise {
                connections: promise.connections,
                hold_us: micros(promise.hold),
                taps_delivered: promise.taps_delivered,
                within_us: micros(promise.within),
            },
            groups: self.experiment.swarm.groups.iter().map(group).collect(),
            reconnect: self.experiment.swarm.reconnect.is_some(),
            levels: self.levels.clone(),
            readings: self.experiment.staircase.readings,
            taps: self
                .experiment
                .taps
                .iter()
                .map(|taps| record::TapPhase { rate: taps.rate, duration_us: micros(taps.duration) })
                .collect(),
            max_lag_p99_us: micros(self.experiment.alerter.max_lag_p99),
            references: self
                .experiment
                .references
                .iter()
                .map(|reference| record::Reference {
                    figure: reference.figure.clone(),
                    value: reference.value.clone(),
                    covers: reference.covers.clone(),
                })
                .collect(),
            limits: self.experiment.gate.limits.clone(),
        }
    }

    /// The plan in lines for people: what would be started, and what it would do.
    #[must_use]
    pub fn describe(&self) -> String {
        let experiment = &self.experiment;
        let mut text = format!("{}: {}\n", experiment.name, experiment.description);
        text.push_str(&format!(
            "  server       {} worker(s), at most {} connections\n",
            self.server_workers, self.server.max_connections
        ));
        for group in &self.groups {
            let config = &group.config;
            text.push_str(&format!(
                "  swarm {:<6} {} worker(s), ids {}..{}; {}\n",
                group.name,
                group.processes,
                config.start_id,
                config.start_id.saturating_add(config.connections),
                group.ports.describe_sources(),
            ));
        }
        text.push_str(&format!("  staircase    {} levels: {:?}\n", self.levels.len(), self.levels));
        for taps in &experiment.taps {
            text.push_str(&format!(
                "  taps         {}/s for {}\n",
                taps.rate,
                humantime::format_duration(taps.duration)
            ));
        }
        let promise = &experiment.promise;
        text.push_str(&format!(
            "  promise      {} connections held for {}, {}% of taps acknowledged within {}\n",
            promise.connections,
            humantime::format_duration(promise.hold),
            promise.taps_delivered * 100.0,
            humantime::format_duration(promise.within),
        ));
        text
    }
}

fn group(group: &Group) -> record::Group {
    record::Group { name: group.name.clone(), start_id: group.start_id, connections: group.connections }
}

/// Microseconds; a time beyond u64 is as good as for ever.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Names become names of folders and tags of histograms.
fn check_names(experiment: &Experiment) -> Result<(), ExperimentError> {
    let good = |name: &str| {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        starts_well && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let groups = experiment.swarm.groups.iter().map(|group| ("swarm.group.name", group.name.as_str()));
    for (setting, name) in std::iter::once(("name", experiment.name.as_str())).chain(groups) {
        if !good(name) {
            return Err(ExperimentError::value(
                setting,
                format!("is {name:?}; use up to 64 letters, digits, '-', '_' and '.', the first a letter or digit"),
            ));
        }
    }
    Ok(())
}

fn check_groups(groups: &[Group]) -> Result<(), ExperimentError> {
    if groups.is_empty() {
        return Err(ExperimentError::value("swarm.group", "is missing: at least one [[swarm.group]] is needed"));
    }
    for (index, group) in groups.iter().enumerate() {
        if group.connections == 0 {
            return Err(ExperimentError::value(
                format!("swarm.group.{index}.connections"),
                "is 0: leave the group out",
            ));
        }
        if groups[..index].iter().any(|earlier| earlier.name == group.name) {
            return Err(ExperimentError::value(
                format!("swarm.group.{index}.name"),
                format!("{:?} is taken", group.name),
            ));
        }
    }
    for (index, pair) in groups.windows(2).enumerate() {
        let (before, after) = (&pair[0], &pair[1]);
        let end = before.start_id.checked_add(before.connections);
        if end != Some(after.start_id) {
            let relation = if end.is_none_or(|end| end > after.start_id) { "overlaps with" } else { "leaves a gap to" };
            return Err(ExperimentError::value(
                format!("swarm.group.{}.start_id", index + 1),
                format!(
                    "is {}: group {:?} {relation} group {:?}, whose ids are {} and {} following; groups are listed in \
                     order of their ids, each from where the one before ends",
                    after.start_id,
                    after.name,
                    before.name,
                    before.start_id,
                    before.connections - 1,
                ),
            ));
        }
    }
    Ok(())
}

fn check_promise(experiment: &Experiment) -> Result<(), ExperimentError> {
    let promise = &experiment.promise;
    let clients = experiment.swarm.groups.iter().try_fold(0_u64, |sum, group| sum.checked_add(group.connections));
    if clients != Some(promise.connections) {
        return Err(ExperimentError::value(
            "promise.connections",
            format!(
                "is {}, but the swarm groups have {} clients: change swarm.group.N.connections with it",
                promise.connections,
                clients.map_or_else(|| "too many".to_owned(), |clients| clients.to_string())
            ),
        ));
    }
    if !(0.0..=1.0).contains(&promise.taps_delivered) {
        return Err(ExperimentError::value("promise.taps_delivered", "is a share from 0 to 1"));
    }
    if promise.hold.is_zero() || promise.within.is_zero() {
        return Err(ExperimentError::value("promise.hold and promise.within", "are more than 0"));
    }
    let times = [promise.hold, promise.within, experiment.staircase.settle, experiment.staircase.step_timeout];
    if times.into_iter().any(|time| time > limits::MAX_TIME) {
        return Err(ExperimentError::value("promise and staircase:", "times are at most 365days"));
    }
    Ok(())
}

fn check_staircase(experiment: &Experiment) -> Result<(), ExperimentError> {
    let staircase = &experiment.staircase;
    if staircase.at.is_none() && (staircase.levels == 0 || u64::from(staircase.levels) > experiment.promise.connections)
    {
        return Err(ExperimentError::value("staircase.levels", "is from 1 to the number of connections"));
    }
    if let Some(at) = &staircase.at {
        let grows = at.first() > Some(&0) && at.windows(2).all(|pair| pair[0] < pair[1]);
        if !grows || at.last() != Some(&experiment.promise.connections) {
            return Err(ExperimentError::value(
                "staircase.at",
                format!("lists growing numbers up to promise.connections, {}", experiment.promise.connections),
            ));
        }
    }
    if staircase.readings == 0 {
        return Err(ExperimentError::value("staircase.readings", "is at least 1"));
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(4)).contains(&experiment.sampling.interval) {
        return Err(ExperimentError::value(
            "sampling.interval",
            "is from 100ms to 4s: with more, a run would be invalid for gaps in its samples",
        ));
    }
    Ok(())
}

fn server_config(experiment: &Experiment) -> holdline_server::Config {
    let target = &experiment.target;
    holdline_server::Config {
        listen: target.listen,
        alerts: target.alerts,
        max_connections: target.max_connections.unwrap_or(experiment.promise.connections),
        workers: target.workers,
        register_deadline: target.register_deadline,
        idle_timeout: target.idle_timeout,
        tap_timeout: target.tap_timeout,
        ..holdline_server::Config::default()
    }
}

fn planned_groups(
    experiment: &Experiment,
    listen: SocketAddr,
    open_files: u64,
) -> Result<Vec<PlannedGroup>, ExperimentError> {
    let swarm = &experiment.swarm;
    let targets = targets(experiment, SocketAddr::new(listen.ip(), listen.port().max(SOME_PORT)));
    let wildcard = targets.iter().any(|target| target.ip().is_unspecified());
    if wildcard || !listen.ip().is_unspecified() && !experiment.target.connect.is_empty() {
        return Err(ExperimentError::value(
            "target.connect",
            "names the addresses of clients' connections where target.listen is all addresses (0.0.0.0 or [::]), and only there",
        ));
    }
    let sources: Sources = swarm.sources.parse().map_err(|error: PlanError| refused("[swarm]", &error, false))?;
    let whole = swarm
        .groups
        .first()
        .map(|first| holdline_swarm::Whole { start_id: first.start_id, connections: experiment.promise.connections });
    let parts = u32::try_from(swarm.groups.len()).unwrap_or(u32::MAX);
    let windows = limits::split_evenly(u64::from(swarm.window), parts);
    if swarm.window < parts {
        return Err(ExperimentError::value(
            "swarm.window",
            format!("is {}: each of {parts} groups needs one", swarm.window),
        ));
    }
    let mut planned = Vec::new();
    for (group, window) in swarm.groups.iter().zip(windows) {
        let config = holdline_swarm::Config {
            connect: targets.clone(),
            start_id: group.start_id,
            connections: group.connections,
            whole,
            sources: sources.clone(),
            // Groups are of different sizes and grow in proportion, so their shares of the rate are in proportion.
            rate: swarm.rate.map(|rate| rate * group.connections as f64 / experiment.promise.connections as f64),
            window: u32::try_from(window).unwrap_or(u32::MAX),
            nop_interval: swarm.nop_interval,
            connect_timeout: swarm.connect_timeout,
            register_timeout: swarm.register_timeout,
            reconnect: swarm
                .reconnect
                .map(|again| holdline_swarm::Reconnect { first: again.first, longest: again.longest }),
            processes: swarm.processes,
            ..holdline_swarm::Config::default()
        };
        let name = format!("group {:?}:", group.name);
        let (ports, processes) =
            config.validate(open_files).map_err(|error| refused(&name, &error, error.is_of_host()))?;
        planned.push(PlannedGroup { name: group.name.clone(), config, processes, ports });
    }
    Ok(planned)
}

/// Where clients connect when the service listens on `listen`.
fn targets(experiment: &Experiment, listen: SocketAddr) -> Vec<SocketAddr> {
    match &experiment.target.connect[..] {
        [] => vec![listen],
        addresses => addresses.iter().map(|address| SocketAddr::new(*address, listen.port())).collect(),
    }
}

fn refused(who: &str, error: &dyn std::error::Error, of_host: bool) -> ExperimentError {
    if of_host {
        ExperimentError::Host(Shortfall::new(format!("{who} {}", in_terms_of_experiments(&error.to_string()))))
    } else {
        ExperimentError::value(who, in_terms_of_experiments(&error.to_string()))
    }
}

/// The roles name their settings as the command line does; here they are named as in an experiment.
fn in_terms_of_experiments(message: &str) -> String {
    const SETTINGS: [(&str, &str); 16] = [
        ("--max-connections", "target.max_connections"),
        ("--workers", "target.workers"),
        ("--idle-timeout", "target.idle_timeout"),
        ("--register-deadline", "target.register_deadline"),
        ("--tap-timeout", "target.tap_timeout"),
        ("--connections", "connections"),
        ("--start-id", "start_id"),
        ("--sources", "swarm.sources"),
        ("--processes", "swarm.processes"),
        ("--window", "swarm.window"),
        ("--connect-timeout and --register-timeout", "swarm.connect_timeout and swarm.register_timeout"),
        ("--rate", "rate"),
        ("--duration", "for"),
        ("--timeout", "promise.within"),
        ("--payload-bytes", "alerter.payload_bytes"),
        ("if it is yours, say so with --allow-public-target", "choose another target.listen"),
    ];
    SETTINGS.iter().fold(message.to_owned(), |text, (flag, setting)| text.replace(flag, setting))
}

/// `count` even steps up to `total`: the levels of a staircase.
#[must_use]
pub fn even_levels(total: u64, count: u32) -> Vec<u64> {
    let step = |level: u64| u128::from(total) * u128::from(level) / u128::from(count);
    (1..=u64::from(count)).filter_map(|level| u64::try_from(step(level)).ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn experiment(groups: &[(u64, u64)]) -> Experiment {
        let mut text = format!(
            "name = \"x\"\n[promise]\nconnections = {}\nhold = \"1s\"\n",
            groups.iter().map(|(_, connections)| connections).sum::<u64>()
        );
        for (index, (start_id, connections)) in groups.iter().enumerate() {
            text.push_str(&format!(
                "[[swarm.group]]\nname = \"g{index}\"\nstart_id = {start_id}\nconnections = {connections}\n"
            ));
        }
        toml::from_str(&text).unwrap()
    }

    fn message(change: impl FnOnce(&mut Experiment)) -> String {
        let mut experiment = experiment(&[(0, 15_000), (15_000, 16_000), (31_000, 2_000)]);
        change(&mut experiment);
        Plan::new(experiment, 20_000).map_or_else(|error| error.to_string(), |plan| plan.describe())
    }

    #[test]
    fn the_three_machines_of_2012() {
        let plan = Plan::new(experiment(&[(0, 15_000), (15_000, 16_000), (31_000, 2_000)]), 20_000).unwrap();
        assert_eq!(plan.levels.len(), 12);
        assert_eq!((plan.levels[0], plan.levels[11]), (2_750, 33_000));
        assert_eq!(plan.server_workers, 2);
        assert_eq!(plan.groups.iter().map(|group| group.processes).collect::<Vec<_>>(), [1, 1, 1]);
        let taps = Taps { rate: 10.0, duration: Duration::from_secs(60) };
        let alerter = plan.alerter(&taps, 0, plan.server.alerts);
        assert_eq!((alerter.first_id, alerter.end_id), (0, 33_000));
    }

    #[test]
    fn settings_that_contradict_themselves() {
        for (change, words) in [
            (
                Box::new(|e: &mut Experiment| e.promise.connections = 5) as Box<dyn FnOnce(&mut Experiment)>,
                "33000 clients",
            ),
            (Box::new(|e| e.swarm.groups[1].start_id = 14_999), "overlaps"),
            (Box::new(|e| e.swarm.groups[1].start_id = 15_001), "gap"),
            (Box::new(|e| e.swarm.groups[2].start_id = 0), "overlaps"),
            (Box::new(|e| e.swarm.groups[2].name = "g0".into()), "taken"),
            (Box::new(|e| e.swarm.groups[2].name = "a b".into()), "letters"),
            (Box::new(|e| e.name = "../x".into()), "letters"),
            (Box::new(|e| e.swarm.groups.clear()), "[[swarm.group]]"),
            (Box::new(|e| e.promise.taps_delivered = 1.5), "share"),
            (Box::new(|e| e.promise.hold = Duration::ZERO), "more than 0"),
            (Box::new(|e| e.staircase.levels = 0), "staircase.levels"),
            (Box::new(|e| e.staircase.readings = 0), "staircase.readings"),
            (Box::new(|e| e.sampling.interval = Duration::from_secs(9)), "sampling.interval"),
            (Box::new(|e| e.swarm.sources = "nowhere".into()), "nowhere"),
            (Box::new(|e| e.swarm.sources = "127.1.0.1".into()), "source ports"),
            (Box::new(|e| e.swarm.rate = Some(-1.0)), "rate must be"),
            (Box::new(|e| e.swarm.window = 2), "swarm.window"),
            (Box::new(|e| e.taps.push(Taps { rate: 0.0, duration: Duration::from_secs(1) })), "taps.0: rate"),
            (Box::new(|e| e.target.workers = Some(1)), "target.workers 2"),
        ] {
            let message = message(change);
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
    }

    #[test]
    fn what_this_host_lacks_is_told_apart_from_wrong_settings() {
        let host = |open_files, sources: &str| {
            let mut experiment = experiment(&[(0, 99_000)]);
            experiment.swarm.sources = sources.into();
            matches!(Plan::new(experiment, open_files).unwrap_err(), ExperimentError::Host(_))
        };
        assert!(host(64, "auto"));
        assert!(host(20_000, "127.1.0.1"));
        let mut elsewhere = experiment(&[(0, 11_000), (11_000, 11_000), (22_000, 11_000)]);
        elsewhere.target.listen = "[::1]:0".parse().unwrap();
        assert!(
            matches!(Plan::new(elsewhere, 20_000).unwrap_err(), ExperimentError::Host(_)),
            "one source for all groups"
        );
        assert!(!host(20_000, "nonsense"));
    }

    #[test]
    fn groups_share_listed_sources_and_fill_none_twice() {
        for (sources, own_ports) in [("127.9.0.0/29", false), ("127.9.0.1", true)] {
            let mut experiment = experiment(&[(0, 12_000), (12_000, 12_000)]);
            experiment.swarm.sources = sources.into();
            let plan = Plan::new(experiment, 20_000).unwrap();
            let mut uses = std::collections::HashMap::new();
            for group in &plan.groups {
                for index in 0..group.config.connections {
                    *uses.entry(group.ports.route(index)).or_insert(0_u64) += 1;
                }
            }
            let most = uses.values().max().copied().unwrap();
            assert!(if own_ports { most == 1 } else { most <= 11_292 }, "{sources}: {most}");
            assert_eq!(uses.values().sum::<u64>(), 24_000);
        }
    }

    #[test]
    fn levels_are_even_and_end_at_the_target() {
        assert_eq!(even_levels(33_000, 3), [11_000, 22_000, 33_000]);
        assert_eq!(even_levels(10, 3), [3, 6, 10]);
        assert_eq!(even_levels(u64::MAX, 2), [u64::MAX / 2, u64::MAX]);
    }
}
