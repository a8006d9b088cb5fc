//! The roles of a run as its conductor sees them: their processes, what they said last, and what is news.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use holdline_alerter as alerter;
use holdline_fleet::{Member, Program, SpawnError};
use holdline_record::{Role, ServerCounts, SwarmCounts};
use holdline_server as server;
use holdline_swarm as swarm;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journal::Process;
use crate::{ALERTER_ROLE, SERVER_ROLE, SWARM_ROLE};

/// How long a role that has said its last word gets to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// What a role said that the conductor acts on at once.
#[derive(Debug)]
pub(crate) enum News {
    /// A swarm group's step has all its outcomes.
    Grown { group: usize, step: swarm::Step },
    /// Round trips of the alerter.
    Interval(alerter::Interval),
    /// A worker ended.
    WorkerLost { role: Role, who: String, how: String },
    /// A role can't go on, in its own words.
    Failed { who: String, why: String },
    /// A role's process ended without a last word.
    Gone { role: Role, who: String, how: String },
}

/// The answer to a question for counts.
#[derive(Debug, Default)]
struct Answer<C> {
    seq: u64,
    total: C,
    /// Process and its registered connections, by worker.
    workers: Vec<(u32, u64)>,
}

/// One role's process and whether it has said its last word.
struct Part<O, R> {
    role: Role,
    member: Member<O, R>,
    finished: bool,
}

impl<O: Serialize, R: DeserializeOwned> Part<O, R> {
    fn spawn(program: &Program, role: Role, kind: &str, name: &str, first: &O) -> Result<Self, SpawnError> {
        Ok(Self { role, member: Member::spawn(program, kind, name, None, first)?, finished: false })
    }

    fn tell(&mut self, order: &O) {
        if !self.finished {
            self.member.channel.push(order);
        }
    }

    fn flush(&mut self) {
        if !self.finished {
            // A process that is gone is found out by reading, after its last words.
            let _ = self.member.channel.flush();
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> bool {
        !self.finished && self.member.channel.poll_ready(context).is_ready()
    }

    /// Hands what it said to `hear`, which says whether it was the last word, and tells if it ended without one.
    fn receive(&mut self, news: &mut Vec<News>, mut hear: impl FnMut(R, &mut Vec<News>) -> bool) {
        if self.finished {
            return;
        }
        let mut reports = Vec::new();
        let gone = self.member.channel.receive(&mut reports).is_err();
        for report in reports {
            self.finished |= hear(report, news);
        }
        if gone && !self.finished {
            self.finished = true;
            let how = self.member.reap().to_string();
            news.push(News::Gone { role: self.role, who: self.member.name.clone(), how });
        }
    }
}

/// The service under test, where this run started it.
pub(crate) struct Server {
    part: Part<server::Order, server::Report>,
    /// Where clients connect and where alerts come in, once it listens.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    answer: Answer<ServerCounts>,
    workers: Vec<u32>,
}

/// A swarm group.
pub(crate) struct Group {
    name: String,
    part: Part<swarm::Order, swarm::Report>,
    ready: bool,
    /// Whether a step is under way.
    growing: bool,
    answer: Answer<SwarmCounts>,
    workers: Vec<u32>,
    /// Its last counts, when it has closed its connections.
    stopped: Option<SwarmCounts>,
}

/// The alerter of one tap phase.
struct Alerter {
    part: Part<alerter::Order, alerter::Report>,
    outcome: Option<alerter::Outcome>,
}

/// All roles of a run.
#[derive(Default)]
pub(crate) struct Cast {
    server: Option<Server>,
    groups: Vec<Group>,
    alerter: Option<Alerter>,
    seq: u64,
}

impl Cast {
    pub(crate) fn start_server(&mut self, program: &Program, config: &server::Config) -> Result<(), SpawnError> {
        let first = server::Order::Start(Box::new(config.clone()));
        self.server = Some(Server {
            part: Part::spawn(program, Role::Server, SERVER_ROLE, "server", &first)?,
            addresses: None,
            answer: Answer::default(),
            workers: Vec::new(),
        });
        Ok(())
    }

    pub(crate) fn start_group(
        &mut self,
        program: &Program,
        name: &str,
        config: &swarm::Config,
    ) -> Result<(), SpawnError> {
        let first = swarm::Order::Start(Box::new(config.clone()));
        self.groups.push(Group {
            name: name.to_owned(),
            part: Part::spawn(program, Role::Swarm, SWARM_ROLE, name, &first)?,
            ready: false,
            growing: false,
            answer: Answer::default(),
            workers: Vec::new(),
            stopped: None,
        });
        Ok(())
    }

    pub(crate) fn start_alerter(
        &mut self,
        program: &Program,
        name: &str,
        config: &alerter::Config,
    ) -> Result<(), SpawnError> {
        let first = alerter::Order::Start(Box::new(config.clone()));
        self.alerter =
            Some(Alerter { part: Part::spawn(program, Role::Alerter, ALERTER_ROLE, name, &first)?, outcome: None });
        Ok(())
    }

    /// Where the server listens for clients and for alerts, once it does.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.server.as_ref()?.addresses
    }

    pub(crate) fn groups_ready(&self) -> bool {
        self.groups.iter().all(|group| group.ready)
    }

    /// Worker processes of the server and of all groups.
    pub(crate) fn workers(&self) -> (usize, usize) {
        let server = self.server.as_ref().map_or(0, |server| server.workers.len());
        (server, self.groups.iter().map(|group| group.workers.len()).sum())
    }

    /// Has group `index` grow to `to` clients.
    pub(crate) fn grow(&mut self, index: usize, to: u64) {
        let group = &mut self.groups[index];
        group.growing = true;
        group.part.tell(&swarm::Order::Grow { to });
    }

    pub(crate) fn growing(&self) -> bool {
        self.groups.iter().any(|group| group.growing)
    }

    pub(crate) fn group_name(&self, index: usize) -> &str {
        &self.groups[index].name
    }

    /// Asks all for their counts; the answer to [`answered`](Self::answered) with this number is then awaited.
    pub(crate) fn ask(&mut self) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        if let Some(server) = &mut self.server {
            server.part.tell(&server::Order::Ask { seq });
        }
        for group in &mut self.groups {
            group.part.tell(&swarm::Order::Ask { seq });
        }
        seq
    }

    /// Whether all that can still answer have answered question `seq`.
    pub(crate) fn answered(&self, seq: u64) -> bool {
        self.server.as_ref().is_none_or(|server| server.part.finished || server.answer.seq >= seq)
            && self.groups.iter().all(|group| group.part.finished || group.answer.seq >= seq)
    }

    /// The server's counts in its answer to question `seq`.
    pub(crate) fn server_counts(&self, seq: u64) -> Option<&ServerCounts> {
        let server = self.server.as_ref()?;
        (server.answer.seq >= seq).then_some(&server.answer.total)
    }

    /// The sum of the groups' counts: their last ones, or those in their answers to question `seq`; none if one is
    /// missing.
    pub(crate) fn swarm_counts(&self, seq: u64) -> Option<SwarmCounts> {
        self.groups.iter().try_fold(SwarmCounts::default(), |mut sum, group| {
            let answer = (group.answer.seq >= seq).then_some(&group.answer.total);
            sum.add(group.stopped.as_ref().or(answer)?);
            Some(sum)
        })
    }

    /// All processes that are up, with what they said of themselves in answer to question `seq`.
    pub(crate) fn processes(&self, seq: u64) -> Vec<Process> {
        let mut processes = Vec::new();
        let mut add = |role, group: &str, worker, pid, connections| {
            processes.push(Process { role, group: group.to_owned(), worker, pid, connections });
        };
        if let Some(server) = self.server.as_ref().filter(|server| !server.part.finished) {
            add(Role::Server, "", None, server.part.member.pid(), None);
            for (worker, pid, held) in workers(&server.workers, &server.answer, seq) {
                add(Role::Server, "", Some(worker), pid, held);
            }
        }
        for group in self.groups.iter().filter(|group| !group.part.finished) {
            add(Role::Swarm, &group.name, None, group.part.member.pid(), None);
            for (worker, pid, held) in workers(&group.workers, &group.answer, seq) {
                add(Role::Swarm, &group.name, Some(worker), pid, held);
            }
        }
        if let Some(alerter) = self.alerter.as_ref().filter(|alerter| !alerter.part.finished) {
            add(Role::Alerter, "", None, alerter.part.member.pid(), None);
        }
        processes
    }

    /// Sends what the processes take now.
    pub(crate) fn flush(&mut self) {
        if let Some(server) = &mut self.server {
            server.part.flush();
        }
        for group in &mut self.groups {
            group.part.flush();
        }
        if let Some(alerter) = &mut self.alerter {
            alerter.part.flush();
        }
    }

    /// Waits until one of the roles has said something, or takes what it is to be told.
    pub(crate) async fn ready(&mut self) {
        poll_fn(|context| {
            // All are polled, so that each wakes this task.
            let mut ready = self.server.as_mut().is_some_and(|server| server.part.poll_ready(context));
            for group in &mut self.groups {
                ready |= group.part.poll_ready(context);
            }
            ready |= self.alerter.as_mut().is_some_and(|alerter| alerter.part.poll_ready(context));
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Takes in what the roles have said.
    pub(crate) fn hear(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(Server { part, addresses, answer, workers }) = &mut self.server {
            part.receive(&mut news, |report, news| hear_server(report, addresses, answer, workers, news));
        }
        for (index, group) in self.groups.iter_mut().enumerate() {
            let Group { name, part, ready, growing, answer, workers, stopped } = group;
            part.receive(&mut news, |report, news| {
                match report {
                    swarm::Report::Ready { workers: pids, .. } => {
                        *ready = true;
                        *workers = pids;
                    }
                    swarm::Report::Failed(why) => {
                        news.push(News::Failed { who: format!("swarm group {name}"), why });
                        return true;
                    }
                    swarm::Report::Grown(step) => {
                        *growing = false;
                        news.push(News::Grown { group: index, step });
                    }
                    swarm::Report::Counts { seq, total, workers } => {
                        let workers = workers.iter().map(|worker| (worker.pid, worker.registered)).collect();
                        *answer = Answer { seq, total, workers };
                    }
                    swarm::Report::WorkerLost { worker, how } => {
                        let who = format!("worker {worker} of swarm group {name}");
                        news.push(News::WorkerLost { role: Role::Swarm, who, how });
                    }
                    swarm::Report::Stopped(counts) => {
                        *stopped = Some(counts);
                        return true;
                    }
                }
                false
            });
            // What ended will not grow.
            *growing &= !part.finished;
        }
        if let Some(Alerter { part, outcome }) = &mut self.alerter {
            part.receive(&mut news, |report, news| {
                match report {
                    alerter::Report::Started { .. } => {}
                    alerter::Report::Interval(interval) => news.push(News::Interval(interval)),
                    alerter::Report::Done(done) => {
                        *outcome = Some(done);
                        return true;
                    }
                    alerter::Report::Failed(why) => {
                        news.push(News::Failed { who: "alerter".to_owned(), why });
                        return true;
                    }
                }
                false
            });
        }
        news
    }

    /// The outcome of the tap phase, once, when the alerter has ended its schedule.
    pub(crate) fn take_outcome(&mut self) -> Option<alerter::Outcome> {
        self.alerter.as_mut()?.outcome.take()
    }

    /// Whether the alerter has said its last word, or there is none.
    pub(crate) fn alerter_finished(&self) -> bool {
        self.alerter.as_ref().is_none_or(|alerter| alerter.part.finished)
    }

    pub(crate) fn stop_alerter(&mut self) {
        if let Some(alerter) = &mut self.alerter {
            alerter.part.tell(&alerter::Order::Stop);
        }
    }

    pub(crate) fn stop_groups(&mut self) {
        for group in &mut self.groups {
            group.part.tell(&swarm::Order::Stop);
        }
    }

    pub(crate) fn groups_finished(&self) -> bool {
        self.groups.iter().all(|group| group.part.finished)
    }

    pub(crate) fn drain_server(&mut self) {
        if let Some(server) = &mut self.server {
            server.part.tell(&server::Order::Drain);
        }
    }

    pub(crate) fn server_finished(&self) -> bool {
        self.server.as_ref().is_none_or(|server| server.part.finished)
    }

    /// A process that has not said its last word.
    pub(crate) fn unfinished(&self) -> Option<(Role, String)> {
        let group = self.groups.iter().find(|group| !group.part.finished);
        let group = group.map(|group| (Role::Swarm, group.part.member.name.clone()));
        let server = self.server.as_ref().filter(|server| !server.part.finished);
        group.or_else(|| server.map(|server| (Role::Server, server.part.member.name.clone())))
    }

    /// Waits until the processes that said their last word have ended, and kills those that do not.
    pub(crate) async fn retire(&mut self) {
        self.retire_alerter().await;
        for mut group in self.groups.drain(..) {
            group.part.member.retire(END_PATIENCE).await;
        }
        if let Some(mut server) = self.server.take() {
            server.part.member.retire(END_PATIENCE).await;
        }
    }

    /// Kills all processes at once.
    pub(crate) fn kill(&mut self) {
        *self = Self::default();
    }

    /// Waits until the alerter's process has ended; the next tap phase starts another.
    pub(crate) async fn retire_alerter(&mut self) {
        if let Some(mut alerter) = self.alerter.take() {
            alerter.part.member.retire(END_PATIENCE).await;
        }
    }
}

/// Takes in a report of the server; true if it is the last.
fn hear_server(
    report: server::Report,
    addresses: &mut Option<(SocketAddr, SocketAddr)>,
    answer: &mut Answer<ServerCounts>,
    workers: &mut Vec<u32>,
    news: &mut Vec<News>,
) -> bool {
    match report {
        server::Report::Ready { listen, alerts, workers: pids, .. } => {
            *addresses = Some((listen, alerts));
            *workers = pids;
        }
        server::Report::Failed(why) => {
            news.push(News::Failed { who: "server".to_owned(), why });
            return true;
        }
        server::Report::Counts { seq, total, workers: reports } => {
            *workers = reports.iter().map(|worker| worker.pid).collect();
            let workers = reports.iter().map(|worker| (worker.pid, worker.registered)).collect();
            *answer = Answer { seq, total, workers };
        }
        // The next answer to a question has its process.
        server::Report::WorkerReplaced { .. } => {}
        server::Report::WorkerLost { worker, how } => {
            news.push(News::WorkerLost { role: Role::Server, who: format!("worker {worker} of the server"), how });
        }
        server::Report::Drained => return true,
    }
    false
}

/// Workers by number with their process and, if they answered question `seq`, what they hold.
fn workers<'a, C>(
    pids: &'a [u32],
    answer: &'a Answer<C>,
    seq: u64,
) -> impl Iterator<Item = (u32, u32, Option<u64>)> + 'a {
    (0_u32..).zip(pids).map(move |(worker, pid)| {
        let said = answer.workers.iter().find(|(said, _)| said == pid).filter(|_| answer.seq >= seq);
        (worker, *pid, said.map(|(_, held)| *held))
    })
}
