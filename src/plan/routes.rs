//! From host and path to a service.
//!
//! Precedence: host and path, then host, then path, then the default service. Inside a tier an
//! exact host goes over a wildcard, a longer wildcard over a shorter, a longer path over a shorter,
//! and the first name where all else is equal. Kontena's habit is the tier and then the first name
//! alone, over raw string prefixes. A lookup costs the labels of the host and the number of
//! different path lengths, never the number of services.

use std::sync::Arc;

use crate::config::{HostPattern, HttpRoutes};
use crate::plan::cow_map::CowMap;
use crate::plan::service::Service;

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
}

#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    exact: CowMap<Arc<HostRoutes>>,
    /// By suffix with its dot: `.example.com`.
    wildcard: CowMap<Arc<HostRoutes>>,
    any_host: PathTable,
    defaults: Claimants,
}

/// What one host (or wildcard) leads to.
#[derive(Clone, Debug, Default)]
struct HostRoutes {
    paths: PathTable,
    whole: Claimants,
}

/// Longest-prefix table.
#[derive(Clone, Debug, Default)]
struct PathTable {
    prefixes: CowMap<Claimants>,
    /// The different lengths of the prefixes, longest first, and how many have each.
    lengths: Vec<(usize, usize)>,
}

/// Services that claim the same route, by name; the first has it.
#[derive(Clone, Debug, Default)]
struct Claimants(Vec<Arc<Service>>);

impl Routes {
    /// `host` is lowercase and without a port; `path` has no query.
    pub(super) fn find(&self, host: &[u8], path: &[u8], habit: Habit) -> Option<Match<'_>> {
        let mut best = Best { habit, found: None };
        for routes in self.hosts(host) {
            if best.offer_all(routes.paths.matches(path, habit)) {
                return best.found;
            }
        }
        if best.found.is_some() {
            return best.found;
        }
        for routes in self.hosts(host) {
            if best.offer_all(
                routes
                    .whole
                    .first()
                    .map(|service| Match { service, prefix: 0 }),
            ) {
                return best.found;
            }
        }
        if best.found.is_some() {
            return best.found;
        }
        best.offer_all(self.any_host.matches(path, habit));
        best.found.or_else(|| {
            self.defaults
                .first()
                .map(|service| Match { service, prefix: 0 })
        })
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
        if routes.hosts.is_empty() {
            for path in &routes.paths {
                self.any_host.edit(path.as_bytes(), service, present);
            }
        }
        for pattern in &routes.hosts {
            self.edit_host(pattern, |entry| {
                if routes.paths.is_empty() {
                    entry.whole.edit(service, present);
                }
                for path in &routes.paths {
                    entry.paths.edit(path.as_bytes(), service, present);
                }
            });
        }
        for (pattern, path) in &routes.redirected {
            self.edit_host(pattern, |entry| match path.as_str() {
                "" => entry.whole.edit(service, present),
                path => entry.paths.edit(path.as_bytes(), service, present),
            });
        }
    }

    fn edit_host(&mut self, pattern: &HostPattern, edit: impl FnOnce(&mut HostRoutes)) {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
        };
        let mut entry = map
            .get(name.as_bytes())
            .map(|e| (**e).clone())
            .unwrap_or_default();
        edit(&mut entry);
        let is_empty = entry.whole.0.is_empty() && entry.paths.prefixes.is_empty();
        map.set(name.as_bytes(), (!is_empty).then(|| Arc::new(entry)));
    }

    /// Exact first, then wildcards from the longest suffix to the shortest.
    fn hosts<'a, 'h>(
        &'a self,
        host: &'h [u8],
    ) -> impl Iterator<Item = &'a HostRoutes> + use<'a, 'h> {
        let suffixes = if self.wildcard.is_empty() {
            &[][..]
        } else {
            host
        };
        let wildcards = memchr::memchr_iter(b'.', suffixes)
            // `*.example.com` stands for at least one character before the dot.
            .filter(|dot| *dot > 0)
            .filter_map(|dot| self.wildcard.get(&host[dot..]));
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcards)
            .map(|routes| &**routes)
    }

    /// Every route as `host path -> services`, sorted, for dumps and comparisons.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let hosts = self.exact.iter().map(|e| ("", e));
        let hosts = hosts.chain(self.wildcard.iter().map(|e| ("*", e)));
        for (star, (name, routes)) in hosts {
            let host = format!("{star}{}", String::from_utf8_lossy(name));
            routes.paths.lines(&host, &mut lines);
            if !routes.whole.0.is_empty() {
                lines.push(format!("{host} -> {}", routes.whole.names()));
            }
        }
        self.any_host.lines("any", &mut lines);
        if !self.defaults.0.is_empty() {
            lines.push(format!("default -> {}", self.defaults.names()));
        }
        lines.sort();
        lines
    }
}

impl PathTable {
    /// All prefixes that match, the longest first.
    fn matches<'a, 'p>(
        &'a self,
        path: &'p [u8],
        habit: Habit,
    ) -> impl Iterator<Item = Match<'a>> + use<'a, 'p> {
        self.lengths
            .iter()
            .map(|(length, _)| *length)
            .skip_while(|length| *length > path.len())
            .filter(move |length| habit == Habit::FirstName || ends_segment(path, *length))
            .filter_map(|length| {
                let service = self.prefixes.get(&path[..length])?.first()?;
                Some(Match {
                    service,
                    prefix: length,
                })
            })
    }

    fn edit(&mut self, prefix: &[u8], service: &Arc<Service>, present: bool) {
        let old = self.prefixes.get(prefix);
        let had = old.is_some();
        let mut claimants = old.cloned().unwrap_or_default();
        claimants.edit(service, present);
        let has = !claimants.0.is_empty();
        self.prefixes.set(prefix, has.then_some(claimants));
        if had == has {
            return;
        }
        let place = self
            .lengths
            .binary_search_by(|(length, _)| prefix.len().cmp(length));
        match (place, has) {
            (Ok(at), true) => self.lengths[at].1 += 1,
            (Err(at), true) => self.lengths.insert(at, (prefix.len(), 1)),
            (Ok(at), false) if self.lengths[at].1 == 1 => drop(self.lengths.remove(at)),
            (Ok(at), false) => self.lengths[at].1 -= 1,
            (Err(_), false) => {}
        }
    }

    fn lines(&self, host: &str, lines: &mut Vec<String>) {
        for (prefix, claimants) in self.prefixes.iter() {
            let prefix = String::from_utf8_lossy(prefix);
            lines.push(format!("{host} {prefix} -> {}", claimants.names()));
        }
    }
}

impl Claimants {
    fn first(&self) -> Option<&Arc<Service>> {
        self.0.first()
    }

    fn edit(&mut self, service: &Arc<Service>, present: bool) {
        let place = self.0.binary_search_by(|s| s.order().cmp(&service.order()));
        match (place, present) {
            (Ok(at), true) => self.0[at] = service.clone(),
            (Err(at), true) => self.0.insert(at, service.clone()),
            (Ok(at), false) => drop(self.0.remove(at)),
            (Err(_), false) => {}
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|s| s.unit.as_str()).collect();
        names.join(" over ")
    }
}

/// The winner so far. Candidates are offered from the most specific to the least.
struct Best<'a> {
    habit: Habit,
    found: Option<Match<'a>>,
}

impl<'a> Best<'a> {
    /// Answers whether nothing later can win.
    fn offer_all(&mut self, candidates: impl IntoIterator<Item = Match<'a>>) -> bool {
        for candidate in candidates {
            let wins = match self.found {
                None => true,
                Some(best) => candidate.service.order() < best.service.order(),
            };
            if wins {
                self.found = Some(candidate);
            }
            if self.habit == Habit::MostSpecific {
                return true;
            }
        }
        false
    }
}

/// Whether a prefix of this length ends where a segment of the path ends: `/api` leads to `/api`
/// and `/api/x` and not to `/apiary`.
fn ends_segment(path: &[u8], length: usize) -> bool {
    length == path.len() || path[length] == b'/' || path[..length].ends_with(b"/")
}
