//! Paths to claimants: exact ones, prefixes by segment and raw prefixes.
//!
//! A lookup costs one look for the exact paths and one for each different length of the prefixes.

use std::sync::Arc;

use crate::config::PathPattern;
use crate::plan::cow_map::CowMap;
use crate::plan::routes::Habit;
use crate::plan::routes::claimants::Claimants;
use crate::plan::service::Service;

#[derive(Clone, Debug, Default)]
pub(super) struct PathTable {
    exact: CowMap<Claimants>,
    segments: Prefixes,
    raw: Prefixes,
}

/// Prefixes of one kind.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    claimants: CowMap<Claimants>,
    /// The different lengths of the prefixes, longest first, and how many have each.
    lengths: Vec<(usize, usize)>,
}

/// A place in the table that a path leads to.
#[derive(Clone, Copy)]
pub(super) struct PathSlot<'a> {
    pub(super) claimants: &'a Claimants,
    /// How much of the path matched.
    pub(super) length: usize,
    pub(super) is_exact: bool,
}

impl PathTable {
    /// Shows the slots that match until `visit` answers true, and then does. From the most specific: the
    /// exact path, then the longest prefix, and of two of the same length the one that looks at
    /// segments.
    #[inline]
    pub(super) fn any<'a>(
        &'a self,
        path: &[u8],
        habit: Habit,
        mut visit: impl FnMut(PathSlot<'a>) -> bool,
    ) -> bool {
        if let Some(claimants) = self.exact.get(path) {
            let slot = PathSlot {
                claimants,
                length: path.len(),
                is_exact: true,
            };
            if visit(slot) {
                return true;
            }
        }
        let by_segment = habit == Habit::MostSpecific;
        // Raw prefixes are rare: without any there is nothing to merge.
        let mut raw = &*self.raw.lengths;
        for &(length, _) in &self.segments.lengths {
            while let Some((&(longer, _), rest)) = raw.split_first()
                && longer > length
            {
                raw = rest;
                if self.raw.get(path, longer, false).is_some_and(&mut visit) {
                    return true;
                }
            }
            let slot = self.segments.get(path, length, by_segment);
            if slot.is_some_and(&mut visit) {
                return true;
            }
        }
        let mut rest = raw.iter().filter_map(|l| self.raw.get(path, l.0, false));
        rest.any(visit)
    }

    pub(super) fn edit(&mut self, pattern: &PathPattern, service: &Arc<Service>, present: bool) {
        match pattern {
            PathPattern::Exact(path) => {
                edit(&mut self.exact, path.as_bytes(), service, present);
            }
            PathPattern::Prefix(path) => self.segments.edit(path.as_bytes(), service, present),
            PathPattern::Raw(path) => self.raw.edit(path.as_bytes(), service, present),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.segments.claimants.is_empty() && self.raw.claimants.is_empty()
    }

    /// Each as `host path -> services`.
    pub(super) fn lines(&self, host: &str, lines: &mut Vec<String>) {
        let tables = [
            ("=", &self.exact, ""),
            ("", &self.segments.claimants, ""),
            ("", &self.raw.claimants, "*"),
        ];
        for (before, table, after) in tables {
            for (path, claimants) in table.iter() {
                let path = String::from_utf8_lossy(path);
                let names = claimants.names();
                lines.push(format!("{host} {before}{path}{after} -> {names}"));
            }
        }
    }
}

impl Prefixes {
    /// The prefix of `path` that has this length.
    #[inline]
    fn get(&self, path: &[u8], length: usize, by_segment: bool) -> Option<PathSlot<'_>> {
        if length > path.len() || by_segment && !ends_segment(path, length) {
            return None;
        }
        Some(PathSlot {
            claimants: self.claimants.get(&path[..length])?,
            length,
            is_exact: false,
        })
    }

    fn edit(&mut self, prefix: &[u8], service: &Arc<Service>, present: bool) {
        let (had, has) = edit(&mut self.claimants, prefix, service, present);
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
}

/// Answers whether the key was there before, and whether it is there now.
fn edit(
    table: &mut CowMap<Claimants>,
    key: &[u8],
    service: &Arc<Service>,
    present: bool,
) -> (bool, bool) {
    let old = table.get(key);
    let had = old.is_some();
    let mut claimants = old.cloned().unwrap_or_default();
    claimants.edit(service, present);
    let has = !claimants.is_empty();
    table.set(key, has.then_some(claimants));
    (had, has)
}

/// Whether a prefix of this length ends where a segment of the path ends: `/api` leads to `/api`
/// and `/api/x` and not to `/apiary`.
fn ends_segment(path: &[u8], length: usize) -> bool {
    length == path.len() || path[length] == b'/' || path[..length].ends_with(b"/")
}
