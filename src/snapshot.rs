//! The key tree at one revision: ordered, immutable, cheap to clone and to compare.
//!
//! Keys are relative to the root and have no leading slash: `services/web/balance`. A directory is
//! what lies under a prefix; it exists as long as a key does. Two snapshots that come from one
//! another share their unchanged parts, so a diff costs what changed and not what is there.
//!
//! A snapshot also knows the digest of its content. Two nodes with one digest hold the same keys and
//! values, however they came by them and whatever their stores call the revision.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use rapidhash::v3::rapidhash_v3;

pub type Key = Arc<str>;

/// Begins what stands for a value that cannot be had. No UTF-8, so that it is nobody's text.
const UNUSABLE: &[u8] = b"\xff\xfeunusable: ";

/// Why a value cannot be had, if it is what [`Snapshot::put_unusable`] put.
pub fn why_unusable(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_prefix(UNUSABLE)?).ok()
}

/// All keys under one root at one revision.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The store's own counter. Rises with every change of one store; says nothing across stores.
    revision: u64,
    /// The exclusive or of every entry's hash, kept up by `put` and `remove`: it costs nothing to read,
    /// and does not depend on the order in which the keys came.
    digest: u64,
    keys: OrdMap<Key, Bytes>,
    /// Those of them that are this node's alone: see [`Self::put_own`].
    own: OrdSet<Key>,
    /// Those whose values nobody is to see: see [`Self::put_secret`].
    secret: OrdSet<Key>,
}

/// What happened to one key between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    pub key: Key,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Updated,
    Removed,
}

impl Snapshot {
    pub fn new(revision: u64) -> Self {
        Self {
            revision,
            ..Self::default()
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Stands for the content, the same on every node and in every run; keys of one node alone do not
    /// count. Not meant against forgery: who can write keys can write what they like anyway.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.keys.get(key)
    }

    /// Sets a key; writing the value it has already changes nothing, so that a diff stays empty.
    pub fn put(&mut self, key: impl Into<Key>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.secret.remove(&key);
        let was_own = self.own.remove(&key).is_some();
        match self.keys.get(&key) {
            Some(old) if !was_own && *old == value => return,
            Some(old) if !was_own => self.digest ^= entry_hash(&key, old),
            _ => {}
        }
        self.digest ^= entry_hash(&key, &value);
        self.keys.insert(key, value);
    }

    /// As [`Self::put`], for a key that only this node has, such as a certificate in its environment.
    /// It does not count in the digest: nodes whose cluster says the same have one digest, whatever each of
    /// them has besides.
    pub fn put_own(&mut self, key: impl Into<Key>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.remove(&key);
        self.own.insert(key.clone());
        self.keys.insert(key, value);
    }

    /// Notes that a key is there and its value cannot be had, and why. Taking such a key for absent
    /// would let a service go live without what the key asks for, such as its virtual hosts.
    pub fn put_unusable(&mut self, key: impl Into<Key>, why: &str) {
        self.put(key, [UNUSABLE, why.as_bytes()].concat());
    }

    /// As [`Self::put`], for a value that was sealed: messages about it must not show it.
    pub fn put_secret(&mut self, key: impl Into<Key>, value: impl Into<Bytes>) {
        let key = key.into();
        self.put(key.clone(), value);
        self.secret.insert(key);
    }

    pub fn is_secret(&self, key: &str) -> bool {
        self.secret.contains(key)
    }

    /// Keys whose values nobody is to see, in order.
    pub fn secrets(&self) -> impl Iterator<Item = &Key> {
        self.secret.iter()
    }

    pub fn remove(&mut self, key: &str) -> bool {
        let Some(old) = self.keys.remove(key) else {
            return false;
        };
        self.secret.remove(key);
        if self.own.remove(key).is_none() {
            self.digest ^= entry_hash(key, &old);
        }
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.keys.iter()
    }

    /// Keys that lie under the directory `dir` at any depth, in order. The empty `dir` is the root.
    pub fn under<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a Key, &'a Bytes)> + use<'a> {
        let prefix = dir_prefix(dir);
        let start: Key = prefix.as_str().into();
        self.keys
            .range(start..)
            .take_while(move |(k, _)| k.starts_with(prefix.as_str()))
    }

    /// Names directly under `dir`, sorted, each once, whether a key or a directory.
    ///
    /// Skips over the inside of each child by a new search, so the cost is the number of children
    /// and not the number of keys below them.
    pub fn children(&self, dir: &str) -> Vec<Arc<str>> {
        let prefix = dir_prefix(dir);
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut from: Key = prefix.as_str().into();
        while let Some((key, _)) = self.keys.range(from..).next() {
            let Some(rest) = key.strip_prefix(prefix.as_str()) else {
                break;
            };
            let name = rest.split('/').next().unwrap_or_default();
            if !name.is_empty() && names.last().is_none_or(|last| &**last != name) {
                names.push(name.into());
            }
            // '0' is the byte after '/': the first key that is not inside this child. A plain key of
            // the same name sorts before its directory, and "name-x" between the two; both are met
            // because the search goes on right behind the key when it is a plain one.
            from = if rest.len() == name.len() {
                format!("{key}\0").into()
            } else {
                format!("{prefix}{name}0").into()
            };
        }
        names.sort();
        names.dedup();
        names
    }

    /// Whether anything lies under `dir`.
    pub fn has_dir(&self, dir: &str) -> bool {
        self.under(dir).next().is_some()
    }

    /// What turns `self` into `newer`, in key order.
    pub fn diff(&self, newer: &Snapshot) -> Vec<KeyChange> {
        self.keys
            .diff(&newer.keys)
            .map(|item| match item {
                DiffItem::Add(key, _) => KeyChange {
                    key: key.clone(),
                    kind: ChangeKind::Added,
                },
                DiffItem::Update { new: (key, _), .. } => KeyChange {
                    key: key.clone(),
                    kind: ChangeKind::Updated,
                },
                DiffItem::Remove(key, _) => KeyChange {
                    key: key.clone(),
                    kind: ChangeKind::Removed,
                },
            })
            .collect()
    }

    /// Whether both hold the same keys and values, whatever their revisions.
    pub fn same_keys(&self, other: &Snapshot) -> bool {
        self.keys == other.keys
    }
}

/// Names the keys and never the values: there are private keys and passwords among them.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let names: Vec<&Key> = self.keys.keys().take(SHOWN).collect();
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("digest", &format_args!("{:016x}", self.digest))
            .field("len", &self.len())
            .field("first_keys", &names)
            .finish()
    }
}

impl<K: Into<Key>, V: Into<Bytes>> FromIterator<(K, V)> for Snapshot {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Self {
        let mut snapshot = Snapshot::default();
        for (key, value) in iter {
            snapshot.put(key, value);
        }
        snapshot
    }
}

/// Key and value are mixed unevenly, so that swapping two values, or a key with its value, shows.
fn entry_hash(key: &str, value: &[u8]) -> u64 {
    let key = rapidhash_v3(key.as_bytes());
    let value = rapidhash_v3(value);
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value.rotate_left(29);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn dir_prefix(dir: &str) -> String {
    let dir = dir.trim_matches('/');
    if dir.is_empty() {
        String::new()
    } else {
        format!("{dir}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Snapshot {
        [
            ("services/web/balance", "roundrobin"),
            ("services/web/upstreams/web-1", "10.0.0.1:80"),
            ("services/web/upstreams/web-2", "10.0.0.2:80"),
            ("services/web-x/balance", "source"),
            ("services/web", "odd: a key and a directory of one name"),
            ("settings/timeout_server", "5s"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn children_are_direct_names_each_once_in_order() {
        let names = |dir| {
            tree()
                .children(dir)
                .iter()
                .map(|n| n.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["services", "settings"]);
        assert_eq!(names("services"), ["web", "web-x"]);
        assert_eq!(names("services/web/upstreams"), ["web-1", "web-2"]);
        assert_eq!(names("nothing"), [""; 0]);
    }

    #[test]
    fn diff_names_what_was_added_updated_and_removed() {
        let old = tree();
        let mut new = old.clone();
        new.put("services/web/balance", "source");
        new.put("services/web/upstreams/web-3", "10.0.0.3:80");
        new.remove("settings/timeout_server");
        new.put("services/web/upstreams/web-1", "10.0.0.1:80");
        let changes: Vec<_> = old
            .diff(&new)
            .into_iter()
            .map(|c| (c.key.to_string(), c.kind))
            .collect();
        assert_eq!(
            changes,
            [
                ("services/web/balance".to_owned(), ChangeKind::Updated),
                ("services/web/upstreams/web-3".to_owned(), ChangeKind::Added),
                ("settings/timeout_server".to_owned(), ChangeKind::Removed),
            ]
        );
        assert!(old.diff(&old.clone()).is_empty());
    }

    #[test]
    fn under_stays_inside_the_directory() {
        let t = tree();
        assert_eq!(t.under("services/web").count(), 3);
        assert!(t.has_dir("services/web-x"));
        assert!(!t.has_dir("services/we"));
    }

    #[test]
    fn digest_follows_the_content_and_not_the_way_there() {
        let mut t = tree();
        let before = t.digest();
        t.put("services/web/balance", "source");
        t.put("services/new/balance", "source");
        assert_ne!(t.digest(), before);
        t.remove("services/new/balance");
        t.put("services/web/balance", "roundrobin");
        assert_eq!(t.digest(), before);

        assert!(
            !format!("{t:?}").contains("roundrobin"),
            "values are not shown"
        );

        let pair = |a, b| -> u64 {
            [("a", a), ("b", b)]
                .into_iter()
                .collect::<Snapshot>()
                .digest()
        };
        assert_ne!(pair("1", "2"), pair("2", "1"));
        assert_ne!(pair("1", "1"), pair("2", "2"));
    }

    #[test]
    fn what_one_node_alone_has_is_not_in_the_digest() {
        let plain = tree();
        let mut t = plain.clone();
        t.put_own("certs/a", "1");
        t.put_own("certs/a", "2");
        assert_eq!(t.digest(), plain.digest());
        assert_eq!(plain.diff(&t).len(), 1);
        t.put("certs/a", "2");
        let mut all = plain.clone();
        all.put("certs/a", "2");
        assert_eq!(t.digest(), all.digest(), "now everybody has it");
        t.put_own("certs/a", "3");
        assert_eq!(t.digest(), plain.digest());
        assert!(t.remove("certs/a") && t.same_keys(&plain));
        assert_eq!(t.digest(), plain.digest());
    }

    #[test]
    fn diff_of_a_large_tree_costs_what_changed() {
        let old: Snapshot = (0..60_000)
            .map(|i| (format!("services/s{:05}/k{}", i / 6, i % 6), "value"))
            .collect();
        let mut new = old.clone();
        new.put("services/s05000/k3", "other");
        new.remove("services/s07000/k1");
        new.put("services/s09999/upstreams/a", "10.0.0.1:80");
        let strange = rebuilt(&new);
        let (_, whole) = timed(|| old.diff(&strange));
        let (changes, shared) = timed(|| old.diff(&new));
        assert_eq!(changes.len(), 3);
        println!("diff of 60,000 keys: {shared:?} when shared, {whole:?} when not");
        assert!(
            shared * 10 < whole,
            "a diff that walks everything: {shared:?} against {whole:?}"
        );
    }

    fn rebuilt(snapshot: &Snapshot) -> Snapshot {
        snapshot
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    fn timed<T>(work: impl Fn() -> T) -> (T, std::time::Duration) {
        (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                let done = work();
                (done, start.elapsed())
            })
            .min_by_key(|(_, took)| *took)
            .expect("five runs")
    }
}
