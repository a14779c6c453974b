//! The routes of one priority: hosts and, below them, paths.

use std::sync::Arc;

use crate::config::{HostPattern, HttpRoutes, PathPattern};
use crate::plan::cow_map::CowMap;
use crate::plan::routes::claimants::{Asked, Claimants, Gate};
use crate::plan::routes::paths::PathTable;
use crate::plan::routes::{Best, Match};
use crate::plan::service::Service;

#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    exact: CowMap<Arc<HostRoutes>>,
    /// By suffix with its dot: `.example.com`.
    wildcard: CowMap<Arc<HostRoutes>>,
    /// All hosts by pattern: whose pattern takes the host is asked of those who claim the path.
    by_pattern: Option<Arc<HostRoutes>>,
    any_host: PathTable,
}

/// What one host (or wildcard) leads to.
#[derive(Clone, Debug, Default)]
struct HostRoutes {
    paths: PathTable,
    whole: Claimants,
}

impl Level {
    /// Offers what takes the request, tier by tier; the first tier with a taker ends it.
    pub(super) fn find<'a>(&'a self, asked: &Asked<'_>, mut best: Best<'a>) -> Option<Match<'a>> {
        let exact = self.exact.get(asked.host).map(|routes| &**routes);
        let ended = self.hosts(exact, asked.host, |routes, gate| {
            routes
                .paths
                .any(asked.path, best.habit, |slot| best.offer(slot, asked, gate))
        });
        if ended || best.found.is_some() {
            return best.found;
        }
        let ended = self.hosts(exact, asked.host, |routes, gate| {
            best.offer_whole(&routes.whole, asked, gate)
        });
        if ended || best.found.is_some() {
            return best.found;
        }
        self.any_host.any(asked.path, best.habit, |slot| {
            best.offer(slot, asked, Gate::HostFits)
        });
        best.found
    }

    /// Shows what takes a host until `visit` answers true, and then does: the exact host, then wildcards
    /// from the longest suffix to the shortest, then patterns.
    #[inline]
    fn hosts<'a>(
        &'a self,
        exact: Option<&'a HostRoutes>,
        host: &[u8],
        mut visit: impl FnMut(&'a HostRoutes, Gate) -> bool,
    ) -> bool {
        if exact.is_some_and(|routes| visit(routes, Gate::HostFits)) {
            return true;
        }
        if !self.wildcard.is_empty() {
            // `*.example.com` stands for at least one character before the dot.
            for dot in memchr::memchr_iter(b'.', host).filter(|dot| *dot > 0) {
                let routes = self.wildcard.get(&host[dot..]);
                if routes.is_some_and(|routes| visit(routes, Gate::HostFits)) {
                    return true;
                }
            }
        }
        let by_pattern = self.by_pattern.as_deref();
        by_pattern.is_some_and(|routes| visit(routes, Gate::HostByPattern))
    }

    pub(super) fn edit(&mut self, service: &Arc<Service>, routes: &HttpRoutes, present: bool) {
        if routes.hosts.is_empty() && routes.host_regex.is_none() {
            for path in &routes.paths {
                self.any_host.edit(path, service, present);
            }
        }
        if routes.host_regex.is_some() {
            let mut entry = self.by_pattern.take().unwrap_or_default();
            Arc::make_mut(&mut entry).edit(service, routes, present);
            self.by_pattern = (!entry.is_empty()).then_some(entry);
        }
        for pattern in &routes.hosts {
            self.edit_host(pattern, |entry| entry.edit(service, routes, present));
        }
        for (pattern, path) in &routes.redirected {
            self.edit_host(pattern, |entry| match path.as_str() {
                "" => entry.whole.edit(service, present),
                path => entry
                    .paths
                    .edit(&PathPattern::Prefix(path.to_owned()), service, present),
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
        let is_empty = entry.is_empty();
        map.set(name.as_bytes(), (!is_empty).then(|| Arc::new(entry)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.wildcard.is_empty()
            && self.by_pattern.is_none()
            && self.any_host.is_empty()
    }

    /// Every route as `host path -> services`, for dumps and comparisons.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, routes) in self.exact.iter() {
            routes.lines(&String::from_utf8_lossy(name), &mut lines);
        }
        for (name, routes) in self.wildcard.iter() {
            routes.lines(&format!("*{}", String::from_utf8_lossy(name)), &mut lines);
        }
        if let Some(routes) = &self.by_pattern {
            routes.lines("by pattern", &mut lines);
        }
        self.any_host.lines("any", &mut lines);
        lines
    }
}

impl HostRoutes {
    fn edit(&mut self, service: &Arc<Service>, routes: &HttpRoutes, present: bool) {
        if routes.paths.is_empty() {
            self.whole.edit(service, present);
        }
        for path in &routes.paths {
            self.paths.edit(path, service, present);
        }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.paths.is_empty()
    }

    fn lines(&self, host: &str, lines: &mut Vec<String>) {
        self.paths.lines(host, lines);
        if !self.whole.is_empty() {
            lines.push(format!("{host} -> {}", self.whole.names()));
        }
    }
}
