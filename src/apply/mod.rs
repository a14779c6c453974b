//! Making plans current: stage, commit, retire.
//!
//! Stage does everything that can fail and is dropped on failure. Commit is one store and cannot
//! fail. Retire lets go of what the old plan had.

pub mod accept;
pub mod certificates;
mod drains;
mod https;
pub mod upstream_tls;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use drains::Drains;
pub use https::{Https, unbound_help};

use crate::accesslog::Logs;
use crate::balance::UpstreamState;
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::plan::{Change, Plan};
use crate::proxy::health::Checker;
use crate::proxy::{Bound, Fleet, Generation, Protocol, Termination, bind, now_ms};
use crate::status::Drain;
use crate::status::generations::NAMED;

/// How long the last lines of access logs may take at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// The one who changes what runs.
pub struct Applier {
    fleet: Fleet,
    checker: Checker,
    /// Where TCP services listen.
    bind_ip: IpAddr,
    /// Bound at the start, opened by the first commit: nobody is served from empty tables.
    waiting_http: Vec<Bound>,
    https: Https,
    open_ports: HashMap<u16, SocketAddr>,
    logs: Logs,
    drains: Drains,
}

/// A plan whose every need has been met, not current yet. Dropping it gives the addresses back.
pub struct Staged {
    plan: Plan,
    bound: Vec<(u16, Bound)>,
    https: Option<Bound>,
    tls: Arc<Termination>,
}

/// What a commit did, for those who are told.
#[derive(Clone, Debug)]
pub struct Swap {
    pub generation: u64,
    pub services: usize,
    pub certificates: usize,
    pub changed: usize,
    pub removed: usize,
    /// The first of them by name.
    pub changed_units: Vec<UnitName>,
    pub removed_units: Vec<UnitName>,
    pub opened: usize,
    pub closed: usize,
}

impl Applier {
    /// `logs` has the tally that the fleet was started with.
    pub fn new(fleet: Fleet, http: Vec<Bound>, https: Https, bind_ip: IpAddr, logs: Logs) -> Self {
        Self {
            checker: Checker::new(&fleet.shared),
            fleet,
            bind_ip,
            waiting_http: http,
            https,
            open_ports: HashMap::new(),
            logs,
            drains: Drains::default(),
        }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub fn current(&self) -> Arc<Generation> {
        self.fleet.shared.published.current()
    }

    /// Lets HTTP connections in before there is any plan, for probes that ask from the start. Everything
    /// else is told to come again.
    pub fn open_http(&mut self) {
        for sockets in std::mem::take(&mut self.waiting_http) {
            self.open(sockets, Protocol::Http);
        }
    }

    /// Binds what the plan needs. The failures name the units to do without.
    pub fn stage(&self, plan: Plan) -> Result<Staged, Vec<(UnitName, Diagnostic)>> {
        let current = self.current();
        let changes = current.plan.port_changes(&plan);
        let mut bound = Vec::new();
        let mut failures = Vec::new();
        for (port, service) in changes.opened {
            let address = SocketAddr::new(self.bind_ip, port);
            match bind(address, self.fleet.size()) {
                Ok(sockets) => bound.push((port, sockets)),
                Err(error) => {
                    let failure = bind_failure(address, &error).in_unit(&service.unit);
                    failures.push((service.unit.clone(), failure));
                }
            }
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        Ok(Staged {
            https: self.https.stage(&plan, self.fleet.size()),
            tls: current.tls.follow(&plan),
            bound,
            plan,
        })
    }

    /// Whether a TCP service could have this port now.
    pub fn can_bind(&self, port: u16) -> bool {
        bind(SocketAddr::new(self.bind_ip, port), 1).is_ok()
    }

    /// Makes the staged plan current and lets go of what it replaced. `None` if it says what the
    /// current one says; the first commit always counts.
    pub fn commit(&mut self, staged: Staged, revision: u64) -> Option<Swap> {
        let old = self.current();
        let Staged {
            plan,
            bound,
            https,
            tls,
        } = staged;
        let closed = old.plan.port_changes(&plan).closed;
        let changes = old.plan.diff(&plan);
        if changes.is_empty() && old.id > 0 {
            self.note_revision(revision);
            return None;
        }
        let removed = changes.iter().filter(|(_, form)| form.is_none()).count();
        let https = self.https.commit(https);
        let swap = Swap {
            generation: old.id + 1,
            services: plan.len(),
            certificates: plan.certificates().len(),
            changed: changes.len() - removed,
            removed,
            changed_units: first_units(&changes, |form| form.is_some()),
            removed_units: first_units(&changes, |form| form.is_none()),
            opened: bound.len() + self.waiting_http.len() + https.len(),
            closed: closed.len(),
        };
        let drain = plan.balancer().timeouts.drain;
        let balancer = plan.balancer();
        let access_log = self
            .logs
            .follow(&balancer.access_log, balancer.log_format());
        // Before anybody sees the new tables: what has left them is counted elsewhere then.
        let gone = self.part_with(&changes, &old.plan, &plan);
        // Before anybody goes by the plan that gives them something: it would find them drained.
        let now = now_ms();
        for (unit, _) in &changes {
            let members = plan.service(unit).into_iter().flat_map(|s| s.all_members());
            for member in members.filter(|member| member.weight > 0) {
                member.state.set_drained(false, now);
            }
        }
        self.fleet.shared.published.publish(Generation {
            id: swap.generation,
            revision,
            plan: plan.clone(),
            access_log,
            tls,
        });

        for (port, sockets) in bound {
            self.open_ports.insert(port, sockets.address);
            self.open(sockets, Protocol::Tcp);
        }
        for sockets in std::mem::take(&mut self.waiting_http) {
            self.open(sockets, Protocol::Http);
        }
        for sockets in https {
            self.open(sockets, Protocol::Https);
        }
        for port in closed {
            if let Some(address) = self.open_ports.remove(&port) {
                self.fleet.close(address);
            }
        }
        for (unit, _) in &changes {
            let (before, now) = (old.plan.service(unit), plan.service(unit));
            self.checker.follow(before, now);
            self.drains.follow(before, now);
        }
        for upstream in &gone {
            upstream.leave();
        }
        if !gone.is_empty() {
            self.fleet.retire(&gone, drain);
        }
        Some(swap)
    }

    /// The upstreams that are in no plan any more. Their counters, and those of services that are gone, are kept.
    fn part_with(&self, changes: &[Change], old: &Plan, new: &Plan) -> Vec<Arc<UpstreamState>> {
        let mut gone = Vec::new();
        for (unit, _) in changes {
            let Some(before) = old.service(unit) else {
                continue;
            };
            let now = new.service(unit).map(|service| &**service);
            gone.extend(before.part_with(now));
            if !now.is_some_and(|now| Arc::ptr_eq(&now.state, &before.state)) {
                let departed = &self.fleet.shared.departed;
                match before.tcp_port() {
                    Some(_) => departed.tcp.take_in(&before.state),
                    None => departed.http.take_in(&before.state),
                }
            }
        }
        gone
    }

    /// Whether upstreams came to take nothing new, or ceased to, since they were asked for.
    pub fn has_other_drains(&self) -> bool {
        self.drains.has_news()
    }

    /// Upstreams that take nothing new, and what they still have.
    pub fn drains(&mut self) -> Vec<Drain> {
        self.drains.look()
    }

    /// A new revision that changed nothing: the tables stay, their revision rises.
    pub fn note_revision(&self, revision: u64) {
        let current = self.current();
        if current.revision != revision {
            self.fleet.shared.published.publish(Generation {
                id: current.id,
                revision,
                plan: current.plan.clone(),
                access_log: current.access_log.clone(),
                tls: current.tls.clone(),
            });
        }
    }

    /// Tries once more to listen where it could not be done.
    pub fn retry_https(&mut self) {
        let staged = self.https.stage(&self.current().plan, self.fleet.size());
        for sockets in self.https.commit(staged) {
            self.open(sockets, Protocol::Https);
        }
    }

    /// Ends everything: no new connections, requests may finish. Blocks; see [`Fleet::drain`].
    pub fn drain(self) {
        let within = self.current().plan.balancer().timeouts.drain;
        drop(self.checker);
        self.fleet.drain(within);
        self.logs.flush(LOG_FLUSH);
    }

    /// Opens the files of access logs anew.
    pub fn reopen_logs(&self) {
        self.logs.reopen();
    }

    /// Tells of lines of the access log that were lost since the last time.
    pub fn tell_lost_lines(&mut self) {
        self.logs.tell_dropped();
    }

    fn open(&self, sockets: Bound, protocol: Protocol) {
        let address = sockets.address;
        if let Err(error) = self.fleet.open(sockets, protocol) {
            tracing::error!(listener = %address, %error, "bound address does not listen");
        }
    }
}

fn first_units<T>(changes: &[(UnitName, T)], is_meant: impl Fn(&T) -> bool) -> Vec<UnitName> {
    let meant = changes.iter().filter(|(_, form)| is_meant(form));
    meant.map(|(unit, _)| unit.clone()).take(NAMED).collect()
}

fn bind_failure(address: SocketAddr, error: &io::Error) -> Diagnostic {
    Diagnostic::error("bind-failed", format!("{address} cannot be bound: {error}"))
        .for_field("external_port")
        .help("free the port or choose another; it is tried again every few seconds")
}
