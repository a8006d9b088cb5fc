//! The swarm's settings, as resolved.

use std::net::SocketAddr;
use std::time::Duration;

use holdline_host::limits;
use holdline_host::ports::{HostPorts, PlanError, PortPlan, Sources};
use holdline_host::{reach, socket};
use serde::{Deserialize, Serialize};

/// Settings of a swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The service, by one or several addresses that lead to it.
    pub connect: Vec<SocketAddr>,
    /// The first client's id.
    pub start_id: u64,
    /// How many clients; their ids have no gap.
    pub connections: u64,
    /// The swarm that this one is a part of: they share the sources. None for one by itself.
    pub whole: Option<Whole>,
    /// Where they come from.
    pub sources: Sources,
    /// Connections begun a second, over all workers; as fast as they are accepted if none.
    pub rate: Option<f64>,
    /// Connections being set up at once, over all workers: below the target's accept queue.
    pub window: u32,
    /// A client sends a Nop this often; zero for never.
    pub nop_interval: Duration,
    /// A connection that does not stand after this long has failed.
    pub connect_timeout: Duration,
    /// A client that is not registered this long after its connection stood has failed.
    pub register_timeout: Duration,
    /// Whether and how clients connect again that were lost or failed; they stay away if none.
    pub reconnect: Option<Reconnect>,
    /// Worker processes; as many as the limit of open files asks for if none.
    pub processes: Option<u32>,
    /// The target may be a public address.
    pub allow_public_target: bool,
}

/// A swarm of several parts, whose ids follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// The first client's id of all parts.
    pub start_id: u64,
    /// Clients of all parts.
    pub connections: u64,
}

/// How clients connect again: after a random time up to `first`, doubled with each failure in a row, up to `longest`; on
/// top of what the service asked for (retry-after).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconnect {
    /// The most that is waited after a connection was lost.
    pub first: Duration,
    /// The most that is waited at all.
    pub longest: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect: vec![SocketAddr::from(([127, 0, 0, 1], 7000))],
            start_id: 0,
            connections: 1000,
            whole: None,
            sources: Sources::Auto,
            rate: None,
            window: 1024,
            nop_interval: Duration::from_secs(10 * 60),
            connect_timeout: Duration::from_secs(10),
            register_timeout: Duration::from_secs(10),
            reconnect: None,
            processes: None,
            allow_public_target: false,
        }
    }
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There are not the ports or ids for it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A public address without the flag that says it is meant.
    #[error(
        "{0} is neither loopback nor private: load on somebody's public address must be meant; if it is yours, say so \
         with --allow-public-target"
    )]
    PublicTarget(SocketAddr),
    /// The workers can't hold that many under the limit of open files.
    #[error(
        "{asked} connections do not fit: {processes} process(es) hold {each} each under the limit of {limit} open files \
         per process; use --processes {needed} (or auto), or raise the limit (`ulimit -n`, LimitNOFILE=)"
    )]
    OpenFiles {
        /// Connections asked for.
        asked: u64,
        /// Processes asked for.
        processes: u32,
        /// What each may hold.
        each: u64,
        /// The limit in force.
        limit: u64,
        /// Processes that would do.
        needed: u32,
    },
    /// Not even one connection fits into a process.
    #[error(
        "the limit of {limit} open files per process leaves no room for connections; raise it (`ulimit -n`, LimitNOFILE=)"
    )]
    NoFiles {
        /// The limit in force.
        limit: u64,
    },
    /// A value that makes no sense.
    #[error("{setting} must be {bound}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// What it must be.
        bound: &'static str,
    },
    /// A source address is not of this host.
    #[error(
        "source address {address} can't be used: {error}; add it with `ip addr add {address}/32 dev lo`, or leave it out of --sources"
    )]
    Source {
        /// The address.
        address: std::net::IpAddr,
        /// What the system answered.
        error: std::io::Error,
    },
}

impl ConfigError {
    /// Whether this host lacks something for sound settings, rather than the settings being wrong.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        matches!(self, Self::NoFiles { .. } | Self::Source { .. } | Self::Plan(PlanError::TooFewPorts { .. }))
    }
}

impl Config {
    /// Checks the settings under a limit of `open_files` per process, without opening a connection; returns the port
    /// plan and how many workers there will be.
    ///
    /// # Errors
    /// The setting that can't be used, and what to change.
    pub fn validate(&self, open_files: u64) -> Result<(PortPlan, u32), ConfigError> {
        let value = |setting, bound| Err(ConfigError::Value { setting, bound });
        if self.connections == 0 {
            return value("--connections", "at least 1");
        }
        if self.window == 0 {
            return value("--window", "at least 1");
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return value("--rate", "a number above 0 (leave it out for no limit)");
        }
        if self.connect_timeout.is_zero() || self.register_timeout.is_zero() {
            return value("--connect-timeout and --register-timeout", "more than 0");
        }
        let times = [self.connect_timeout, self.register_timeout, self.nop_interval];
        if times.into_iter().any(|time| time > limits::MAX_TIME) {
            return value("--connect-timeout, --register-timeout and --nop-interval", "at most 365days");
        }
        if let Some(public) =
            self.connect.iter().find(|target| !reach::is_near(target.ip()) && !self.allow_public_target)
        {
            return Err(ConfigError::PublicTarget(*public));
        }
        let itself = Whole { start_id: self.start_id, connections: self.connections };
        let Whole { start_id, connections } = self.whole.unwrap_or(itself);
        let (sources, targets) = (self.sources.clone(), self.connect.clone());
        let plan = PortPlan::new(sources, targets, start_id, connections, &HostPorts::read())?
            .part(self.start_id.saturating_sub(start_id), self.connections);
        Ok((plan, self.processes(open_files)?))
    }

    fn processes(&self, open_files: u64) -> Result<u32, ConfigError> {
        let each = limits::connections_per_worker(open_files);
        let Some(needed) = limits::workers_for(self.connections, open_files) else {
            return Err(ConfigError::NoFiles { limit: open_files });
        };
        let processes = self.processes.unwrap_or(needed);
        if processes < needed {
            let (asked, limit) = (self.connections, open_files);
            return Err(ConfigError::OpenFiles { asked, processes, each, limit, needed });
        }
        Ok(processes)
    }

    /// Checks that the plan's sources are addresses of this host.
    ///
    /// # Errors
    /// The first that is not.
    pub fn probe_sources(plan: &PortPlan) -> Result<(), ConfigError> {
        for address in plan.used_sources() {
            socket::probe_source(address).map_err(|error| ConfigError::Source { address, error })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config
            .validate(20_000)
            .map_or_else(|error| error.to_string(), |(_, processes)| format!("{processes} processes"))
    }

    #[test]
    fn settings_and_their_remedies() {
        assert_eq!(message(|_| {}), "1 processes");
        assert_eq!(message(|config| config.connections = 33_000), "2 processes");
        for (change, words) in [
            (Box::new(|c: &mut Config| c.connections = 0) as Box<dyn FnOnce(&mut Config)>, "--connections"),
            (Box::new(|c| c.rate = Some(0.0)), "--rate"),
            (Box::new(|c| c.rate = Some(f64::NAN)), "--rate"),
            (Box::new(|c| c.window = 0), "--window"),
            (Box::new(|c| c.connect = vec!["8.8.8.8:80".parse().unwrap()]), "--allow-public-target"),
            (
                Box::new(|c| {
                    c.connections = 33_000;
                    c.processes = Some(1)
                }),
                "--processes 2",
            ),
            (
                Box::new(|c| {
                    c.start_id = u64::MAX;
                    c.connections = 2
                }),
                "--start-id",
            ),
            (Box::new(|c| c.connect.clear()), "--connect"),
        ] {
            let message = message(change);
            assert!(message.contains(words), "{message}");
        }
        assert!(matches!(Config::default().validate(64), Err(ConfigError::NoFiles { limit: 64 })));
    }
}
