//! Services that claim the same slot, and what a request is asked before one of them has it.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::plan::service::Service;
use crate::rules::Facts;

/// A request on its way through the tables.
pub(super) struct Asked<'r> {
    /// Lowercase and without a port.
    pub(super) host: &'r [u8],
    /// Without the query.
    pub(super) path: &'r [u8],
    /// For conditions.
    pub(super) facts: &'r dyn Facts,
}

/// What stands between a request and a service besides the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The slot's key is the host, or every host will do.
    HostFits,
    /// The slot is for hosts by pattern, and each claimant has its own.
    HostByPattern,
}

/// Services that claim the same slot: those with a condition first, then by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Claimants(Vec<Arc<Service>>);

impl Claimants {
    /// Those that take this request, the first first.
    #[inline]
    pub(super) fn taking<'a>(
        &'a self,
        asked: &Asked<'_>,
        gate: Gate,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.0.iter().filter(move |s| takes(s, asked, gate))
    }

    pub(super) fn edit(&mut self, service: &Arc<Service>, present: bool) {
        let place = self.0.binary_search_by(|s| order(s).cmp(&order(service)));
        match (place, present) {
            (Ok(at), true) => self.0[at] = service.clone(),
            (Err(at), true) => self.0.insert(at, service.clone()),
            (Ok(at), false) => drop(self.0.remove(at)),
            (Err(_), false) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For dumps. Those with a condition are marked.
    pub(super) fn names(&self) -> String {
        let name = |s: &Arc<Service>| match has_condition(s) {
            true => format!("{} if it matches", s.unit),
            false => s.unit.to_string(),
        };
        let names: Vec<_> = self.0.iter().map(name).collect();
        names.join(" over ")
    }
}

/// Without conditions and patterns this is one look at a service that is about to be used.
#[inline]
fn takes(service: &Service, asked: &Asked<'_>, gate: Gate) -> bool {
    let Some(routes) = service.http_routes() else {
        return false;
    };
    if gate == Gate::HostByPattern {
        let regex = routes.host_regex.as_deref();
        if !regex.is_some_and(|regex| regex.is_match(asked.host)) {
            return false;
        }
    }
    match &routes.condition {
        None => true,
        Some(condition) => condition.condition.holds(asked.facts),
    }
}

/// Services in one slot have one priority, but for the default services.
fn order(service: &Service) -> (Reverse<i32>, bool, (&str, &str)) {
    let priority = service.http_routes().map_or(0, |routes| routes.priority);
    (Reverse(priority), !has_condition(service), service.order())
}

fn has_condition(service: &Service) -> bool {
    service
        .http_routes()
        .is_some_and(|routes| routes.condition.is_some())
}
