//! What a render read, and who has to be rendered again when a key changes.
//!
//! Ten thousand services read the same dozen names below their own directories, so reads inside a
//! unit's own directory are kept relative to it and shared; a change finds that unit by the
//! directories it lies in. Only reads elsewhere need an index over all units.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::pattern;
use crate::names::UnitName;
use crate::snapshot::{ChangeKind, KeyChange, Snapshot};

/// One thing a template asked the tree. Paths have no slash at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Read {
    /// A key's value, or that it is absent.
    Key(Box<str>),
    /// The names directly under a directory.
    Names(Box<str>),
    /// Those of them that are directories.
    Directories(Box<str>),
    /// Whether anything lies under a directory.
    Directory(Box<str>),
    /// Keys and values that match a pattern.
    Pattern(Box<str>),
}

impl Read {
    fn path(&self) -> &str {
        match self {
            Read::Key(path)
            | Read::Names(path)
            | Read::Directories(path)
            | Read::Directory(path)
            | Read::Pattern(path) => path,
        }
    }

    /// The read with its path relative to `dir`; `None` if it reaches beyond it.
    fn inside(&self, dir: &str) -> Option<Read> {
        let path = self.path();
        let rest = match path.strip_prefix(dir) {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/')?,
            None => return None,
        };
        let rest: Box<str> = Box::from(rest);
        Some(match self {
            Read::Key(_) if rest.is_empty() => return None,
            Read::Key(_) => Read::Key(rest),
            Read::Names(_) => Read::Names(rest),
            Read::Directories(_) => Read::Directories(rest),
            Read::Directory(_) => Read::Directory(rest),
            Read::Pattern(_) => Read::Pattern(rest),
        })
    }
}

/// A set of reads, sorted by kind and path.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reads(Box<[Read]>);

impl Reads {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Read> {
        self.0.iter()
    }

    /// Whether a change is seen by one of these reads. `dir` is what their paths are relative to.
    pub(super) fn see(&self, dir: &str, change: &KeyChange, between: Between<'_>) -> bool {
        let Some(path) = below(dir, &change.key) else {
            return false;
        };
        if self.0.binary_search(&Read::Key(path.into())).is_ok() {
            return true;
        }
        // Keys sort first; whatever stands behind them is few.
        let listings = self.0.partition_point(|read| matches!(read, Read::Key(_)));
        self.0[listings..].iter().any(|read| match read {
            Read::Key(_) => false,
            Read::Pattern(glob) => pattern::matches(glob, path),
            Read::Names(at) | Read::Directories(at) | Read::Directory(at) => {
                let Some(rest) = below(at, path) else {
                    return false;
                };
                let at_end = change.key.len() - rest.len();
                between.listing_changed(read, change, at_end)
            }
        })
    }
}

/// `path` relative to the directory `dir`, if it lies in it.
fn below<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    if dir.is_empty() {
        return Some(path);
    }
    path.strip_prefix(dir)?.strip_prefix('/')
}

/// The two snapshots a change lies between.
#[derive(Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) old: &'a Snapshot,
    pub(super) new: &'a Snapshot,
}

impl Between<'_> {
    /// Whether the listing of the directory that `key` names up to `end` (behind its slash; 0 is the
    /// root) differs. A key that comes into a directory that is there already changes no listing above.
    fn listing_changed(self, read: &Read, change: &KeyChange, end: usize) -> bool {
        if change.kind == ChangeKind::Updated {
            return false;
        }
        let key = &*change.key;
        let differs = |is: &dyn Fn(&Snapshot) -> bool| is(self.old) != is(self.new);
        if let Read::Directory(_) = read {
            let dir = key[..end].trim_end_matches('/');
            return differs(&|s| s.has_dir(dir));
        }
        let child_end = key[end..].find('/').map(|at| end + at);
        match (read, child_end) {
            // A plain key came or went; its name stays listed while a directory has the same name.
            (Read::Names(_), None) => differs(&|s| s.get(key).is_some() || s.has_dir(key)),
            (Read::Names(_), Some(child)) => {
                let child = &key[..child];
                differs(&|s| s.get(child).is_some() || s.has_dir(child))
            }
            (Read::Directories(_), Some(child)) => differs(&|s| s.has_dir(&key[..child])),
            _ => false,
        }
    }
}

/// The reads of all units: own ones shared, the others indexed.
#[derive(Debug, Default)]
pub(super) struct ReadIndex {
    shared: HashSet<Arc<Reads>>,
    keys: HashMap<Box<str>, HashSet<UnitName>>,
    /// By directory: listings of it, and patterns that start in it.
    directories: HashMap<Box<str>, HashMap<Read, HashSet<UnitName>>>,
}

/// What one unit read. Comes from [`ReadIndex::add`] and goes back to [`ReadIndex::remove`].
#[derive(Debug, Default)]
pub(super) struct UnitReads {
    /// Inside its own directory, relative to it.
    pub(super) own: Arc<Reads>,
    /// Elsewhere, from the root.
    far: Box<[Read]>,
}

impl UnitReads {
    /// Whether a key's value is read, and not as one of the unit's own directory.
    pub(super) fn reads_from_afar(&self, key: &str) -> bool {
        self.far.iter().any(|read| match read {
            Read::Key(path) => **path == *key,
            Read::Pattern(glob) => pattern::matches(glob, key),
            Read::Names(_) | Read::Directories(_) | Read::Directory(_) => false,
        })
    }

    /// The keys read elsewhere, from the root.
    pub(super) fn far_keys(&self) -> impl Iterator<Item = &str> {
        self.far.iter().filter_map(|read| match read {
            Read::Key(key) => Some(&**key),
            _ => None,
        })
    }
}

impl ReadIndex {
    /// `dir` is the unit's own directory; a unit of the whole tree has none, and every read of it is
    /// indexed, however many there are.
    pub(super) fn add(
        &mut self,
        unit: &UnitName,
        dir: Option<&str>,
        reads: BTreeSet<Read>,
    ) -> UnitReads {
        let mut own = Vec::with_capacity(reads.len());
        let mut far = Vec::new();
        for read in reads {
            match dir.and_then(|dir| read.inside(dir)) {
                Some(read) => own.push(read),
                None => far.push(read),
            }
        }
        own.sort();
        for read in &far {
            self.readers(read).insert(unit.clone());
        }
        let own = Reads(own.into());
        let own = match self.shared.get(&own) {
            Some(shared) => shared.clone(),
            None => {
                let own = Arc::new(own);
                self.shared.insert(own.clone());
                own
            }
        };
        UnitReads {
            own,
            far: far.into(),
        }
    }

    pub(super) fn remove(&mut self, unit: &UnitName, reads: UnitReads) {
        for read in &reads.far {
            self.forget(unit, read);
        }
        // Two: the set and the one in hand.
        if Arc::strong_count(&reads.own) <= 2 {
            self.shared.remove(&reads.own);
        }
    }

    /// Units that read from elsewhere what `change` changed.
    pub(super) fn far_readers<'a>(
        &'a self,
        change: &'a KeyChange,
        between: Between<'a>,
    ) -> impl Iterator<Item = &'a UnitName> {
        let key = &*change.key;
        let exact = self.keys.get(key).into_iter().flatten();
        let ends = std::iter::once(0).chain(key.match_indices('/').map(|(at, _)| at + 1));
        let listings = ends.flat_map(move |end| {
            let dir = key[..end].trim_end_matches('/');
            let readers = self.directories.get(dir).into_iter().flatten();
            readers
                .filter(move |(read, _)| match read {
                    Read::Pattern(glob) => pattern::matches(glob, key),
                    listing => between.listing_changed(listing, change, end),
                })
                .flat_map(|(_, units)| units)
        });
        exact.chain(listings)
    }

    fn readers(&mut self, read: &Read) -> &mut HashSet<UnitName> {
        match read {
            Read::Key(key) => self.keys.entry(key.clone()).or_default(),
            other => self
                .directories
                .entry(directory_of(other).into())
                .or_default()
                .entry(other.clone())
                .or_default(),
        }
    }

    fn forget(&mut self, unit: &UnitName, read: &Read) {
        if let Read::Key(key) = read {
            if let Some(units) = self.keys.get_mut(key) {
                units.remove(unit);
                if units.is_empty() {
                    self.keys.remove(key);
                }
            }
            return;
        }
        let dir = directory_of(read);
        let Some(readers) = self.directories.get_mut(dir) else {
            return;
        };
        if let Some(units) = readers.get_mut(read) {
            units.remove(unit);
            if units.is_empty() {
                readers.remove(read);
            }
        }
        if readers.is_empty() {
            self.directories.remove(dir);
        }
    }
}

fn directory_of(read: &Read) -> &str {
    match read {
        Read::Pattern(glob) => pattern::base(glob),
        other => other.path(),
    }
}
