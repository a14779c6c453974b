//! The compiled tables of one generation: immutable, built from the last plan and what changed.
//!
//! Pure and synchronous: no sockets, no files, no clock, no tasks. [`Plan::with`] is the only way
//! from one plan to the next; what did not change is shared with the plan before.

mod asking;
mod certificates;
mod cow_map;
mod dump;
mod expand;
mod named;
mod pins;
mod routes;
mod secured;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use rustls::DistinguishedName;

pub use certificates::{Certificates, Changed, NamedCertificate};
pub use cow_map::CowMap;
pub use routes::{Habit, Match};
pub use secured::Secured;
pub use service::Service;

use crate::config::{self, Balancer, Compat, Passthrough, Unit};
use crate::dns::{Answers, Question};
use crate::names::{ServiceName, UnitName};
use crate::rules::Facts;
use asking::Asking;
use named::Named;
use routes::Routes;

/// A unit's new accepted form, or `None` when it is gone.
pub type Change = (UnitName, Option<Unit>);

#[derive(Clone, Debug)]
pub struct Plan {
    /// What holds when no unit says otherwise.
    defaults: Arc<Balancer>,
    balancer: Arc<Balancer>,
    /// The unit that `balancer` came from.
    balancer_unit: Option<UnitName>,
    services: OrdMap<UnitName, Arc<Service>>,
    routes: Routes,
    /// HTTP services whose connections go on as they come.
    passthroughs: usize,
    /// Those among them that take connections for unknown names, in the order of names. The first does.
    unknown_takers: OrdMap<(ServiceName, UnitName), Arc<Service>>,
    /// Services that ask clients for certificates.
    asking: Asking,
    /// TCP services by their port.
    ports: OrdMap<u16, Arc<Service>>,
    certificates: Arc<Certificates>,
    /// Services whose upstreams are names, and what those stand for.
    named: Named,
}

impl Plan {
    /// A plan without services.
    pub fn new(defaults: Balancer) -> Self {
        let defaults = Arc::new(defaults);
        let mut certificates = Certificates::default();
        certificates.set_default(defaults.ssl_default_certificate.clone());
        Self {
            balancer: defaults.clone(),
            defaults,
            balancer_unit: None,
            services: OrdMap::new(),
            routes: Routes::default(),
            passthroughs: 0,
            unknown_takers: OrdMap::new(),
            asking: Asking::default(),
            ports: OrdMap::new(),
            certificates: Arc::new(certificates),
            named: Named::default(),
        }
    }

    /// The next plan. Costs what the changed units cost, whatever the number of services.
    ///
    /// Two services on one port must have been sorted out before: the later change would win.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>) -> Plan {
        let mut next = self.clone();
        for (unit, form) in changes {
            next.forget(&unit, form.as_ref());
            match form {
                Some(Unit::Balancer(balancer)) => {
                    next.balancer = Arc::new(balancer);
                    next.balancer_unit = Some(unit);
                }
                Some(Unit::Service(config)) => {
                    let before = next.take(&unit);
                    let answers = &next.named.answers;
                    let service = Service::new(unit.clone(), config, before.as_deref(), answers);
                    next.put(Arc::new(service));
                }
                Some(Unit::Certificate(form)) => {
                    if !next.certificates.has(&unit, &form) {
                        Arc::make_mut(&mut next.certificates).put(unit, form);
                    }
                }
                Some(Unit::Ignored) | None => {}
            }
        }
        let wanted = &next.balancer.ssl_default_certificate;
        if next.certificates.wanted_default() != wanted.as_ref() {
            Arc::make_mut(&mut next.certificates).set_default(wanted.clone());
        }
        next
    }

    /// The same by other answers of DNS. Costs the services that have a name whose answer differs.
    #[must_use]
    pub fn answered(&self, answers: &Answers) -> Plan {
        let mut next = self.clone();
        let units = next.named.follow(answers);
        for unit in units {
            if let Some(before) = next.take(&unit) {
                let config = before.config.clone();
                let service = Service::new(unit, config, Some(&before), answers);
                next.put(Arc::new(service));
            }
        }
        next
    }

    /// Whether [`Self::answered`] would change anything.
    pub fn has_answers(&self, answers: &Answers) -> bool {
        self.named.has(answers)
    }

    /// What DNS has to be asked, and the services that want to know.
    pub fn questions(&self) -> &OrdMap<Question, OrdSet<UnitName>> {
        &self.named.askers
    }

    /// The same at `now`, in seconds since 1970: certificates that have ended go behind others.
    #[must_use]
    pub fn at(mut self, now: i64) -> Plan {
        if let Some(certificates) = self.certificates.at(now) {
            self.certificates = Arc::new(certificates);
        }
        self
    }

    /// Whether [`Self::at`] would change anything. Costs a look at what ends next.
    pub fn is_as_of(&self, now: i64) -> bool {
        self.certificates.is_as_of(now)
    }

    /// The changes that lead from here to `newer`, where both have the same answers of DNS. Where they
    /// have not, services with other members are among the changes too.
    pub fn diff(&self, newer: &Plan) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.balancer != newer.balancer || self.balancer_unit != newer.balancer_unit {
            match (&self.balancer_unit, &newer.balancer_unit) {
                (Some(old), None) => changes.push((old.clone(), None)),
                (_, Some(new)) => {
                    changes.push((new.clone(), Some(Unit::Balancer((*newer.balancer).clone()))));
                }
                (None, None) => {}
            }
        }
        for item in self.services.diff(&newer.services) {
            match item {
                DiffItem::Add(unit, service)
                | DiffItem::Update {
                    new: (unit, service),
                    ..
                } => {
                    changes.push((unit.clone(), Some(Unit::Service(service.config.clone()))));
                }
                DiffItem::Remove(unit, _) => changes.push((unit.clone(), None)),
            }
        }
        if !self.certificates.same_as(&newer.certificates) {
            let (old, new) = (self.certificates.units(), newer.certificates.units());
            changes.extend(old.diff(new).map(|item| match item {
                DiffItem::Add(unit, own)
                | DiffItem::Update {
                    new: (unit, own), ..
                } => {
                    let form = config::Certificate {
                        name: own.name.clone(),
                        bundle: own.certificate.clone(),
                    };
                    (unit.clone(), Some(Unit::Certificate(form)))
                }
                DiffItem::Remove(unit, _) => (unit.clone(), None),
            }));
        }
        // A unit that is something else now goes as what it was before it comes.
        changes.sort_by_key(|(_, form)| form.is_some());
        changes
    }

    /// Where a request goes. Only services with a `match` look at more of it than host and path.
    pub fn route(&self, request: &dyn Facts) -> Option<Match<'_>> {
        let habit = match self.balancer.compat {
            Compat::Pointsman => Habit::MostSpecific,
            Compat::Kontena => Habit::FirstName,
        };
        self.routes.find(request, habit)
    }

    /// The service that a TLS connection goes to as it comes, by what its hello asks for. `None`: it
    /// ends here. `hello` is a request for that name's `/`.
    pub fn passthrough(
        &self,
        server_name: Option<&str>,
        hello: &dyn Facts,
    ) -> Option<&Arc<Service>> {
        if self.passthroughs == 0 {
            return None;
        }
        if let Some(name) = server_name {
            match self.route(hello) {
                Some(found) if found.service.passthrough().is_some() => return Some(found.service),
                Some(_) => return None,
                None if self.certificates.matching(name).is_some() => return None,
                None => {}
            }
        }
        self.unknown_takers.values().next()
    }

    /// Whether a handshake for this name asks the client for a certificate, and of whose clients; empty:
    /// of anybody's.
    pub fn client_hints(&self, server_name: Option<&str>) -> Option<Vec<DistinguishedName>> {
        self.asking.hints(server_name)
    }

    /// Whether any service asks clients for certificates.
    pub fn asks_clients(&self) -> bool {
        !self.asking.is_empty()
    }

    pub fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    pub fn service(&self, unit: &UnitName) -> Option<&Arc<Service>> {
        self.services.get(unit)
    }

    /// All services in the order of their units.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    pub fn len(&self) -> usize {
        self.services.len()
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The service that has a TCP port for itself.
    pub fn tcp(&self, port: u16) -> Option<&Arc<Service>> {
        self.ports.get(&port)
    }

    /// TCP ports in order.
    pub fn ports(&self) -> impl Iterator<Item = (u16, &Arc<Service>)> {
        self.ports.iter().map(|(port, service)| (*port, service))
    }

    /// Ports that `newer` opens and closes.
    pub fn port_changes(&self, newer: &Plan) -> PortChanges {
        let mut changes = PortChanges::default();
        for item in self.ports.diff(&newer.ports) {
            match item {
                DiffItem::Add(port, service) => changes.opened.push((*port, service.clone())),
                DiffItem::Remove(port, _) => changes.closed.push(*port),
                DiffItem::Update { .. } => {}
            }
        }
        changes
    }

    /// Shared between plans as long as no certificate, and not the default, changes.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Lets go of what a unit was and is not any more: another template may make something else of it.
    fn forget(&mut self, unit: &UnitName, form: Option<&Unit>) {
        let is_balancer = matches!(form, Some(Unit::Balancer(_)));
        if !is_balancer && self.balancer_unit.as_ref() == Some(unit) {
            self.balancer = self.defaults.clone();
            self.balancer_unit = None;
        }
        if !matches!(form, Some(Unit::Service(_))) {
            drop(self.take(unit));
        }
        let is_certificate = matches!(form, Some(Unit::Certificate(_)));
        if !is_certificate && self.certificates.of_unit(unit).is_some() {
            Arc::make_mut(&mut self.certificates).take(unit);
        }
    }

    fn put(&mut self, service: Arc<Service>) {
        if let Some(routes) = service.http_routes() {
            self.routes.add(&service, routes);
            self.asking.edit(&service, true);
        }
        if let Some(port) = service.tcp_port() {
            self.ports.insert(port, service.clone());
        }
        if let Some(passthrough) = service.passthrough() {
            self.passthroughs += 1;
            if passthrough == Passthrough::Unknown {
                let place = (service.config.name.clone(), service.unit.clone());
                self.unknown_takers.insert(place, service.clone());
            }
        }
        self.named.edit(&service, true);
        self.services.insert(service.unit.clone(), service);
    }

    fn take(&mut self, unit: &UnitName) -> Option<Arc<Service>> {
        let service = self.services.remove(unit)?;
        self.named.edit(&service, false);
        if let Some(routes) = service.http_routes() {
            self.routes.remove(&service, routes);
            self.asking.edit(&service, false);
        }
        if service.passthrough().is_some() {
            self.passthroughs -= 1;
            let place = (service.config.name.clone(), service.unit.clone());
            self.unknown_takers.remove(&place);
        }
        if let Some(port) = service.tcp_port()
            && self.ports.get(&port).is_some_and(|s| s.unit == *unit)
        {
            self.ports.remove(&port);
        }
        Some(service)
    }
}

#[derive(Debug, Default)]
pub struct PortChanges {
    pub opened: Vec<(u16, Arc<Service>)>,
    pub closed: Vec<u16>,
}
