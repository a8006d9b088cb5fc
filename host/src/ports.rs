//! Source addresses and ports: the plan that is checked before the first socket.
//!
//! The kernel chooses source ports of one parity first; once half of the range is taken for a pair of source and
//! destination, each further choice searches the other half and connecting becomes a hundred times slower. So the plan
//! fills a source to [`FILL_PERCENT`] of the range for each destination and then takes the next source. Where there are too
//! few sources for that, the plan chooses the ports itself, outside the automatic range: a port that is bound
//! by number is skipped by automatic selection for all addresses, and so must not come from there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use procfs::net::TcpState;
use serde::{Deserialize, Serialize};

/// Share of the automatic port range that is used for each source and destination.
pub const FILL_PERCENT: u64 = 40;

/// The kernel's default for net.ipv4.ip_local_port_range, for hosts where it can't be read.
const DEFAULT_RANGE: RangeInclusive<u16> = 32_768..=60_999;

/// Lower ports need a privilege (net.ipv4.ip_unprivileged_port_start) and belong to services.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Most addresses taken from blocks: with all their ports, hundreds of millions of connections.
const MAX_SOURCES: usize = 1 << 16;

/// First address of the automatic sources on loopback; 127.0.x.y is left to services.
const FIRST_LOOPBACK: u32 = u32::from_be_bytes([127, 1, 0, 0]);
/// How many automatic sources there are: 127.1.0.0 to 127.255.255.254.
const LOOPBACK_SOURCES: u64 = (u32::from_be_bytes([127, 255, 255, 255]) - FIRST_LOOPBACK) as u64;

/// Where connections come from, as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sources {
    /// Loopback targets: as many of 127.1.0.0 and up as needed, chosen by client id, so that several swarms on one host
    /// never share an address. Other targets: the address the kernel would choose.
    #[default]
    Auto,
    /// These addresses, filled one after the other.
    Listed(Vec<IpAddr>),
}

/// A plan that can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A word of the list is no address.
    #[error("--sources: {0:?} is neither an IP address nor a block such as 127.1.0.0/24")]
    NotAnAddress(String),
    /// The list is empty.
    #[error("--sources names no address")]
    NoSources,
    /// The list is too long.
    #[error("--sources: more than {MAX_SOURCES} addresses")]
    TooManySources,
    /// No target.
    #[error("no target address: give one with --connect")]
    NoTargets,
    /// A source and a target of different families.
    #[error("source {source_address} can't reach {target}: one is IPv4, the other IPv6")]
    Family {
        /// The source.
        source_address: IpAddr,
        /// The target.
        target: SocketAddr,
    },
    /// Not enough source ports.
    #[error(
        "{asked} connections need more source ports than there are: {sources} source address(es) x {ports} ports ({way}) x \
         {targets} destination(s) = {capacity}; name {missing} more address(es) with --sources (on loopback all of \
         127.0.0.0/8 are there, such as 127.1.0.0/24; elsewhere add them, for example `ip addr add 10.0.0.2/32 dev lo`), or \
         more destinations"
    )]
    TooFewPorts {
        /// Connections asked for.
        asked: u64,
        /// Sources there are.
        sources: u64,
        /// Ports used of each source for each destination.
        ports: u64,
        /// Which ports these are.
        way: &'static str,
        /// Destinations there are.
        targets: u64,
        /// What they give.
        capacity: u64,
        /// Addresses that would do.
        missing: u64,
    },
    /// The last id would be beyond u64.
    #[error("--start-id {start_id} with {connections} connections goes past the largest id, {}", u64::MAX)]
    IdsOverflow {
        /// The first id.
        start_id: u64,
        /// How many.
        connections: u64,
    },
}

impl FromStr for Sources {
    type Err = PlanError;

    /// `auto`, or addresses and blocks separated by commas. Of a block all addresses count, of an IPv4 block larger than
    /// /31 without the first and the last, which many networks keep for themselves; on loopback all.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let mut listed = Vec::new();
        let mut seen = BTreeSet::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            for address in addresses(word)? {
                if listed.len() >= MAX_SOURCES {
                    return Err(PlanError::TooManySources);
                }
                // An address named twice would be filled twice, past the cliff.
                if seen.insert(address) {
                    listed.push(address);
                }
            }
        }
        if listed.is_empty() { Err(PlanError::NoSources) } else { Ok(Self::Listed(listed)) }
    }
}

fn addresses(word: &str) -> Result<Box<dyn Iterator<Item = IpAddr>>, PlanError> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(Box::new(std::iter::once(address)));
    }
    match word.parse::<IpNet>() {
        Ok(IpNet::V4(net)) if net.network().is_loopback() => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            Ok(Box::new((first..=last).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))))
        }
        Ok(net) => Ok(Box::new(net.hosts())),
        Err(_) => Err(PlanError::NotAnAddress(word.to_owned())),
    }
}

/// The source ports of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPorts {
    /// What the kernel chooses from (net.ipv4.ip_local_port_range, which serves IPv6 too).
    pub automatic: RangeInclusive<u16>,
    /// Ports that somebody listens on: never taken by number.
    pub listening: BTreeSet<u16>,
}

impl HostPorts {
    /// Those of this host, or of its network namespace that this process is in.
    #[must_use]
    pub fn read() -> Self {
        let parse = |text: String| {
            let (low, high) = text.split_once(' ')?;
            Some(low.parse().ok()?..=high.parse().ok()?)
        };
        let range = crate::environment::sysctl("net.ipv4.ip_local_port_range").and_then(parse);
        let sockets = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
        let listening = sockets.filter(|socket| socket.state == TcpState::Listen);
        Self {
            automatic: range.unwrap_or(DEFAULT_RANGE),
            listening: listening.map(|socket| socket.local_address.port()).collect(),
        }
    }

    /// Ports that a program can choose by number, in the order in which they are taken: above the automatic range, then
    /// below it from the top, because the lowest ones are those that services are known by.
    fn own(&self) -> impl Iterator<Item = u16> {
        let above = self.automatic.end().saturating_add(1)..=u16::MAX;
        let below = (FIRST_UNPRIVILEGED..*self.automatic.start()).rev();
        let above = above.filter(|port| port > self.automatic.end());
        above.chain(below).filter(|port| !self.listening.contains(port))
    }
}

/// Which source, port and destination each client uses: a pure function of its number, the same in every process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPlan {
    sources: Sources,
    targets: Vec<SocketAddr>,
    start_id: u64,
    connections: u64,
    /// The first of these clients that this plan is for; index 0 of [`route`](Self::route).
    first: u64,
    /// How many it is for.
    own: u64,
    ports: Ports,
    /// The most connections that these sources and destinations could have, one way or the other.
    most: u64,
}

/// How a source port comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Ports {
    /// The kernel chooses when the connection begins, up to so many for each source and destination.
    Late(u64),
    /// The plan chooses: these, for each source and destination.
    Own(Vec<u16>),
}

impl Ports {
    fn count(&self) -> u64 {
        match self {
            Self::Late(count) => *count,
            Self::Own(ports) => u64::try_from(ports.len()).unwrap_or(u64::MAX),
        }
    }
}

/// The way of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The source address; the kernel's choice if none.
    pub source: Option<IpAddr>,
    /// The source port; the kernel's choice if 0.
    pub port: u16,
    /// The destination.
    pub target: SocketAddr,
}

impl PortPlan {
    /// Plans `connections` clients with ids from `start_id`, over `range` source ports.
    ///
    /// # Errors
    /// See [`PlanError`]; nothing is opened to find out.
    pub fn new(
        sources: Sources,
        targets: Vec<SocketAddr>,
        start_id: u64,
        connections: u64,
        host: &HostPorts,
    ) -> Result<Self, PlanError> {
        if targets.is_empty() {
            return Err(PlanError::NoTargets);
        }
        // A destination named twice has no more ports for that.
        let mut seen = BTreeSet::new();
        let targets: Vec<SocketAddr> = targets.into_iter().filter(|target| seen.insert(*target)).collect();
        if connections > 0 && start_id.checked_add(connections - 1).is_none() {
            return Err(PlanError::IdsOverflow { start_id, connections });
        }
        let automatic = u64::from(host.automatic.end().saturating_sub(*host.automatic.start())) + 1;
        let late = Ports::Late((automatic * FILL_PERCENT / 100).max(1));
        let (first, own) = (0, connections);
        let mut plan = Self { sources, targets, start_id, connections, first, own, ports: late, most: 0 };
        plan.check_families()?;
        plan.most = plan.capacity();
        if plan.most >= connections {
            return Ok(plan);
        }
        // Only sources that are known can be bound with a port.
        if let Some(sources) = plan.source_count() {
            let own: Vec<u16> = host.own().collect();
            let pairs = sources.saturating_mul(plan.target_count());
            let enough = usize::try_from(connections.div_ceil(pairs.max(1))).unwrap_or(usize::MAX);
            let most = pairs.saturating_mul(u64::try_from(own.len()).unwrap_or(u64::MAX));
            if most > plan.most {
                plan.most = most;
                // As few as will do: each is one that nobody else on this host can have by number.
                plan.ports = Ports::Own(own[..enough.min(own.len())].to_vec());
            }
        }
        if plan.most >= connections { Ok(plan) } else { Err(plan.shortfall()) }
    }

    /// The plan of `connections` of these clients from number `first` on. Several parts share the sources, and no two use the
    /// same way.
    #[must_use]
    pub fn part(self, first: u64, connections: u64) -> Self {
        let first = first.min(self.connections);
        Self { first, own: connections.min(self.connections - first), ..self }
    }

    fn check_families(&self) -> Result<(), PlanError> {
        if let Sources::Listed(listed) = &self.sources {
            for (source, target) in listed.iter().flat_map(|source| self.targets.iter().map(move |t| (source, t))) {
                if source.is_ipv4() != target.is_ipv4() {
                    return Err(PlanError::Family { source_address: *source, target: *target });
                }
            }
        }
        Ok(())
    }

    fn shortfall(&self) -> PlanError {
        let capacity = self.most;
        PlanError::TooFewPorts {
            asked: self.connections,
            sources: self.source_count().unwrap_or(1),
            ports: self.ports.count(),
            way: match self.ports {
                Ports::Late(_) => "40% of net.ipv4.ip_local_port_range: above half of it connecting is slow",
                Ports::Own(_) => "all outside net.ipv4.ip_local_port_range that nobody listens on",
            },
            targets: self.target_count(),
            capacity,
            missing: self.connections.saturating_sub(capacity).div_ceil(self.per_source().max(1)),
        }
    }

    fn target_count(&self) -> u64 {
        u64::try_from(self.targets.len()).unwrap_or(u64::MAX)
    }

    /// Connections from one source, over all destinations.
    fn per_source(&self) -> u64 {
        self.ports.count().saturating_mul(self.target_count())
    }

    /// Whether sources are chosen from 127.1.0.0 and up.
    fn spreads_over_loopback(&self) -> bool {
        self.sources == Sources::Auto
            && self.targets.iter().all(|target| matches!(target.ip(), IpAddr::V4(v4) if v4.is_loopback()))
    }

    /// Source addresses there are to use; none where the kernel chooses.
    fn source_count(&self) -> Option<u64> {
        match &self.sources {
            Sources::Listed(listed) => u64::try_from(listed.len()).ok(),
            Sources::Auto if self.spreads_over_loopback() => Some(LOOPBACK_SOURCES),
            Sources::Auto => None,
        }
    }

    /// The most connections that these sources and destinations could have: by late binding, or with ports of the plan's
    /// choice.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    fn capacity(&self) -> u64 {
        self.source_count().unwrap_or(1).saturating_mul(self.per_source())
    }

    /// The way of the client of number `index`, 0 for the first of this part.
    #[must_use]
    pub fn route(&self, index: u64) -> Route {
        let index = self.first.wrapping_add(index);
        let id = self.start_id.wrapping_add(index);
        let (block, within) = match &self.sources {
            // By id, not by index: swarms that were started apart then agree who uses which address.
            Sources::Auto => (id / self.per_source(), id % self.per_source()),
            Sources::Listed(_) => (index / self.per_source(), index % self.per_source()),
        };
        let target = self.targets[usize::try_from(within % self.target_count()).unwrap_or(0)];
        let source = match &self.sources {
            Sources::Listed(listed) => usize::try_from(block).ok().and_then(|block| listed.get(block)).copied(),
            Sources::Auto if self.spreads_over_loopback() => {
                let offset = u32::try_from(block % LOOPBACK_SOURCES).unwrap_or(0);
                Some(IpAddr::V4(Ipv4Addr::from_bits(FIRST_LOOPBACK + offset)))
            }
            Sources::Auto => None,
        };
        let port = match &self.ports {
            Ports::Late(_) => 0,
            // Each port serves all destinations before the next one is taken.
            Ports::Own(ports) => {
                usize::try_from(within / self.target_count()).ok().and_then(|at| ports.get(at)).copied().unwrap_or(0)
            }
        };
        Route { source, port, target }
    }

    /// The sources that the plan uses, in order; empty where the kernel chooses.
    #[must_use]
    pub fn used_sources(&self) -> Vec<IpAddr> {
        let mut used = Vec::new();
        let mut index = 0;
        while index < self.own {
            let Some(source) = self.route(index).source else { break };
            used.push(source);
            let number = self.first.wrapping_add(index);
            let number = if self.sources == Sources::Auto { self.start_id.wrapping_add(number) } else { number };
            index += self.per_source() - number % self.per_source();
        }
        used
    }

    /// The plan in one line, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        format!("{} connections from {} to {}", self.own, self.describe_sources(), targets.join(", "))
    }

    /// Where the connections come from, for people.
    #[must_use]
    pub fn describe_sources(&self) -> String {
        let sources = self.used_sources();
        let from = match (sources.first(), sources.last()) {
            (Some(first), Some(last)) if first != last => {
                format!("{} source addresses {first} to {last}", sources.len())
            }
            (Some(only), _) => format!("source address {only}"),
            _ => "the source address the kernel chooses".to_owned(),
        };
        let ports = match &self.ports {
            Ports::Late(each) => format!("at most {each} source ports each ({FILL_PERCENT}% of the automatic range)"),
            Ports::Own(ports) => {
                let (low, high) = (ports.iter().min(), ports.iter().max());
                let range = low.zip(high).map(|(low, high)| format!("{low} to {high}")).unwrap_or_default();
                format!("{} source ports each chosen by the plan ({range}, outside the automatic range)", ports.len())
            }
        };
        let targets = match self.targets.len() {
            1 => String::new(),
            several => format!(", {several} destinations"),
        };
        format!("{from}, {ports}{targets}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn ports() -> HostPorts {
        HostPorts { automatic: 32_768..=60_999, listening: BTreeSet::from([22, 7000, 61_000]) }
    }

    fn plan(sources: &str, targets: &[&str], start_id: u64, connections: u64) -> Result<PortPlan, PlanError> {
        let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
        PortPlan::new(sources.parse()?, targets, start_id, connections, &ports())
    }

    #[test]
    fn lists_and_blocks() {
        for (text, count) in [
            ("127.0.0.1", 1),
            ("127.1.0.0/30", 4),
            ("10.0.0.0/30", 2),
            ("10.0.0.1, 10.0.0.1,10.0.0.2", 2),
            ("fd00::/126", 4),
        ] {
            let Sources::Listed(listed) = text.parse().unwrap() else { panic!("{text}") };
            assert_eq!(listed.len(), count, "{text}");
        }
        assert_eq!("127.0.0".parse::<Sources>(), Err(PlanError::NotAnAddress("127.0.0".into())));
        assert_eq!(" , ".parse::<Sources>(), Err(PlanError::NoSources));
        assert_eq!("10.0.0.0/8".parse::<Sources>(), Err(PlanError::TooManySources));
        assert_eq!("fd00::/8".parse::<Sources>(), Err(PlanError::TooManySources));
    }

    #[test]
    fn shortfalls_are_found_before_the_first_socket() {
        assert!(plan("127.0.0.1", &["127.0.0.1:7000"], 0, 11_292).is_ok());
        let Err(PlanError::TooFewPorts { capacity, missing, .. }) = plan("127.0.0.1", &["127.0.0.1:7000"], 0, 99_000)
        else {
            panic!("one address has not the ports for 99,000")
        };
        // 4,536 above the range and 31,744 below, without those that are listened on.
        assert_eq!((capacity, missing), (36_278, 2));
        assert!(plan("127.0.0.1", &["127.0.0.1:7000", "127.0.0.1:7002"], 0, 22_584).is_ok());
        assert!(plan("auto", &["127.0.0.1:7000"], 0, 1_000_000).is_ok());
        assert!(plan("auto", &["10.0.0.1:7000"], 0, 11_293).is_err());
        assert!(matches!(plan("::1", &["127.0.0.1:7000"], 0, 1), Err(PlanError::Family { .. })));
        assert!(matches!(plan("auto", &["127.0.0.1:1"], u64::MAX, 2), Err(PlanError::IdsOverflow { .. })));
        assert!(plan("auto", &["127.0.0.1:1"], u64::MAX, 1).is_ok());
        assert_eq!(plan("auto", &[], 0, 1), Err(PlanError::NoTargets));
    }

    #[test]
    fn few_sources_get_ports_of_the_plan_outside_the_automatic_range() {
        for (sources, targets, connections, each) in [
            ("127.0.0.1", &["127.0.0.1:7000"][..], 30_000, 30_000),
            ("127.0.0.1", &["127.0.0.1:7000", "127.0.0.2:7000"], 60_001, 30_001),
            ("10.0.0.1,10.0.0.2", &["10.0.0.9:7000"], 40_000, 20_000),
        ] {
            let plan = plan(sources, targets, 0, connections).unwrap();
            let routes: BTreeSet<_> = (0..connections)
                .map(|index| plan.route(index))
                .map(|route| (route.source, route.port, route.target))
                .collect();
            assert_eq!(routes.len() as u64, connections, "no two connections have the same four numbers");
            let used: BTreeSet<u16> = routes.iter().map(|(_, port, _)| *port).collect();
            assert_eq!(used.len(), each, "the window is as narrow as it can be");
            let host = ports();
            assert!(used.iter().all(|port| *port >= 1024 && !host.automatic.contains(port)), "{used:?}");
            assert!(used.is_disjoint(&host.listening));
        }
    }

    #[test]
    fn no_pair_is_filled_past_its_share_even_by_swarms_started_apart() {
        let mut used: HashMap<_, u64> = HashMap::new();
        for (start, connections) in [(0, 15_000), (15_000, 16_000), (31_000, 2_000)] {
            let plan = plan("auto", &["127.0.0.1:7000"], start, connections).unwrap();
            for index in 0..connections {
                *used.entry(plan.route(index)).or_default() += 1;
            }
        }
        assert_eq!(used.values().sum::<u64>(), 33_000);
        assert!(used.values().all(|count| *count <= 11_292), "{used:?}");
        assert_eq!(used.len(), 3);
    }

    #[test]
    fn parts_share_sources_and_no_way_is_used_twice() {
        for (sources, connections) in [("127.1.0.0/30", 40_000), ("127.1.0.1", 30_000), ("auto", 33_000)] {
            let whole = plan(sources, &["127.0.0.1:7000"], 100, connections).unwrap();
            let of_whole: Vec<Route> = (0..connections).map(|index| whole.route(index)).collect();
            let mut of_parts = Vec::new();
            for (first, count) in [(0, 15_000), (15_000, 1), (15_001, connections - 15_001)] {
                let part = whole.clone().part(first, count);
                of_parts.extend((0..count).map(|index| part.route(index)));
                let mut routed: Vec<IpAddr> = (0..count).filter_map(|index| part.route(index).source).collect();
                routed.dedup();
                assert_eq!(part.used_sources(), routed, "{sources} {first}");
            }
            assert_eq!(of_parts, of_whole, "{sources}");
        }
        assert_eq!(plan("auto", &["127.0.0.1:7000"], 0, 10).unwrap().part(11, 5).used_sources(), [] as [IpAddr; 0]);
    }

    #[test]
    fn used_sources_are_those_of_the_routes() {
        for (sources, start, connections) in [("auto", 31_000, 20_000), ("127.1.0.0/28", 7, 40_000), ("auto", 5, 0)] {
            let plan = plan(sources, &["127.0.0.1:7000"], start, connections).unwrap();
            let mut routed: Vec<IpAddr> = (0..connections).filter_map(|index| plan.route(index).source).collect();
            routed.dedup();
            assert_eq!(plan.used_sources(), routed, "{sources}");
        }
    }
}
