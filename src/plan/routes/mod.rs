//! From a request to a service.
//!
//! `docs/routing.md` has the precedence as one table; `plan/tests` holds the tables to it. A request
//! goes down the priorities that occur, and in each through the tiers: host and path, then host, then
//! path. The default services come after all. In every slot it meets, the claimants are asked in turn;
//! when none takes the request, the way goes on as if the slot were not there.
//!
//! Kontena's habit is the tier and then the first name alone, over raw string prefixes.
//!
//! A lookup costs, for each priority in use, the labels of the host and the number of different path
//! lengths, never the number of services. Beyond that, each service that claims the path of the request
//! by pattern costs one match of its patterns, and each condition what it looks at.

mod claimants;
mod level;
mod paths;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::HttpRoutes;
use crate::plan::service::Service;
use crate::rules::Facts;
use claimants::{Asked, Claimants, Gate};
use level::Level;
use paths::PathSlot;

/// How prefixes compare and who wins: one of the two habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Prefixes end where segments end; the most specific route wins.
    MostSpecific,
    /// Prefixes are raw strings; the first name of the tier wins.
    FirstName,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    pub service: &'a Arc<Service>,
    /// Bytes at the front of the path that matched a `virtual_path` and may be stripped.
    pub prefix: usize,
    /// Whether the service asks for this path alone, and takes nothing below it.
    pub is_exact: bool,
}

impl Match<'_> {
    /// Whether `path` is the bare root of what the service takes: `/app` of `/app/...`. A dot in the last
    /// segment is a file's. Two slashes at the front are left alone: as a place to go to they would be
    /// the name of a host.
    pub fn lacks_slash(&self, path: &[u8]) -> bool {
        let last = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let is_root = self.prefix == path.len() && !self.is_exact;
        is_root && !last.is_empty() && !last.contains(&b'.') && !path.starts_with(b"//")
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// By priority, the highest first. None is empty.
    levels: Vec<(i32, Arc<Level>)>,
    defaults: Claimants,
}

impl Routes {
    pub(super) fn find(&self, request: &dyn Facts, habit: Habit) -> Option<Match<'_>> {
        let asked = Asked {
            host: request.host(),
            path: request.path(),
            facts: request,
        };
        for (_, level) in &self.levels {
            let found = level.find(&asked, Best::new(habit));
            if found.is_some() {
                return found;
            }
        }
        let mut best = Best::new(habit);
        best.offer_whole(&self.defaults, &asked, Gate::HostFits);
        best.found
    }

    pub(crate) fn add(&mut self, service: &Arc<Service>, routes: &HttpRoutes) {
        self.edit(service, routes, true);
    }

    pub(crate) fn remove(&mut self, service: &Arc<Service>, routes: &HttpRoutes) {
        self.edit(service, routes, false);
    }

    fn edit(&mut self, service: &Arc<Service>, routes: &HttpRoutes, present: bool) {
        if routes.is_default {
            self.defaults.edit(service, present);
        }
        let priority = Reverse(routes.priority);
        let place = self
            .levels
            .binary_search_by_key(&priority, |l| Reverse(l.0));
        let at = place.unwrap_or_else(|at| {
            self.levels.insert(at, (routes.priority, Arc::default()));
            at
        });
        let level = Arc::make_mut(&mut self.levels[at].1);
        level.edit(service, routes, present);
        if level.is_empty() {
            self.levels.remove(at);
        }
    }

    /// Every route as `host path -> services`, sorted, for dumps and comparisons.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (priority, level) in &self.levels {
            let mut routes = level.lines();
            routes.sort();
            lines.extend(routes.into_iter().map(|route| match priority {
                0 => route,
                _ => format!("priority {priority}: {route}"),
            }));
        }
        if !self.defaults.is_empty() {
            lines.push(format!("default -> {}", self.defaults.names()));
        }
        lines
    }
}

/// The winner so far. Slots are offered from the most specific to the least.
struct Best<'a> {
    habit: Habit,
    found: Option<Match<'a>>,
}

impl<'a> Best<'a> {
    fn new(habit: Habit) -> Self {
        Self { habit, found: None }
    }

    /// Answers whether nothing later can win.
    #[inline]
    fn offer(&mut self, slot: PathSlot<'a>, asked: &Asked<'_>, gate: Gate) -> bool {
        let found = |service| Match {
            service,
            prefix: slot.length,
            is_exact: slot.is_exact,
        };
        let mut taking = slot.claimants.taking(asked, gate);
        if self.habit == Habit::MostSpecific {
            self.found = taking.next().map(found);
            return self.found.is_some();
        }
        for service in taking {
            let first = |best: Match<'_>| by_name(service) < by_name(best.service);
            if self.found.is_none_or(first) {
                self.found = Some(found(service));
            }
        }
        false
    }

    /// The same for claimants of a host without a path, or of all that nobody else takes.
    fn offer_whole(&mut self, claimants: &'a Claimants, asked: &Asked<'_>, gate: Gate) -> bool {
        let slot = PathSlot {
            claimants,
            length: 0,
            is_exact: false,
        };
        self.offer(slot, asked, gate)
    }
}

/// Kontena's order, below the priority that it did not have: only default services differ in it.
fn by_name(service: &Service) -> (Reverse<i32>, (&str, &str)) {
    let priority = service.http_routes().map_or(0, |routes| routes.priority);
    (Reverse(priority), service.order())
}
