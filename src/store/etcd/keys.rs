//! etcd's keys and values to the tree's: without the prefix, and without what cannot be used.

use std::sync::Arc;

use etcd_client::KeyValue;

use super::super::announced::Announced;
use super::super::feed::{Problems, Tree};
use super::super::{MAX_KEY, MAX_VALUE};
use crate::diag::Diagnostic;
use crate::snapshot::{Key, Snapshot};

/// The tree under one prefix, changed in place. What it publishes shares all that did not change.
pub(super) struct KeyTree {
    prefix: String,
    snapshot: Snapshot,
    newest_key: u64,
    problems: Problems,
    /// Lays what agents announce under it.
    announced: Announced,
}

impl KeyTree {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            snapshot: Snapshot::default(),
            newest_key: 0,
            problems: Problems::default(),
            announced: Announced::default(),
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn digest(&self) -> u64 {
        self.snapshot.digest()
    }

    /// The tree as it is with what agents announce, called `revision`.
    pub(super) fn at(&mut self, revision: u64) -> Tree {
        self.snapshot.set_revision(revision);
        let snapshot = self.announced.follow(&self.snapshot);
        let mut problems = self.problems.list();
        let of_agents = self.announced.problems();
        if !of_agents.is_empty() {
            problems = Arc::new(problems.iter().chain(&*of_agents).cloned().collect());
        }
        Tree {
            snapshot,
            raw: Some(self.snapshot.clone()),
            newest_key: self.newest_key,
            problems,
        }
    }

    /// Takes a whole list as the truth. `entries` are in key order. What is the same already stays as it
    /// is, down to the shared nodes.
    pub(super) fn replace(&mut self, entries: Vec<KeyValue>) {
        self.newest_key = 0;
        let mut present: Vec<Key> = Vec::with_capacity(entries.len());
        self.problems = Problems::default();
        for entry in entries {
            if let Some(key) = self.put(entry) {
                present.push(key);
            }
        }
        // The list is sorted by the whole key, which is the order without the prefix too.
        let gone: Vec<Key> = self
            .snapshot
            .iter()
            .filter(|(key, _)| present.binary_search(key).is_err())
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.snapshot.remove(&key);
        }
    }

    /// Sets a key. `None` if it cannot be one; then it is not in the tree, whatever it was before.
    pub(super) fn put(&mut self, entry: KeyValue) -> Option<Key> {
        let revision = u64::try_from(entry.mod_revision()).unwrap_or(0);
        self.newest_key = self.newest_key.max(revision);
        let (full_key, value) = entry.into_key_value();
        let key = match self.judge(&full_key) {
            Ok(key) => key,
            Err(problem) => {
                if let Some(key) = self.plain(&full_key) {
                    self.snapshot.remove(&key);
                }
                let shown = shown(&full_key, &self.prefix);
                self.problems.insert(&shown, problem.for_key(&*shown));
                return None;
            }
        };
        if value.len() > MAX_VALUE {
            let why = format!("{} bytes, a value has at most {MAX_VALUE}", value.len());
            let problem =
                Diagnostic::warning("value-too-large", format!("value is too large: {why}"))
                    .help("write a smaller value");
            self.problems.insert(&key, problem.for_key(&*key));
            self.snapshot.put_unusable(&*key, &why);
        } else {
            self.problems.remove(&key);
            self.snapshot.put(&*key, value);
        }
        Some(key.into())
    }

    pub(super) fn delete(&mut self, full_key: &[u8]) {
        if let Some(key) = self.plain(full_key) {
            self.snapshot.remove(&key);
        }
        self.problems.remove(&shown(full_key, &self.prefix));
    }

    /// The key as it would be in the tree, if it can be there at all.
    fn plain(&self, full_key: &[u8]) -> Option<String> {
        let key = full_key.strip_prefix(self.prefix.as_bytes())?;
        String::from_utf8(key.to_vec()).ok()
    }

    fn judge(&self, full_key: &[u8]) -> Result<String, Box<Diagnostic>> {
        let refuse = |code: &str, message: &str, help: &str| {
            Err(Box::new(Diagnostic::warning(code, message).help(help)))
        };
        let key = full_key
            .strip_prefix(self.prefix.as_bytes())
            .unwrap_or(full_key);
        if key.len() > MAX_KEY {
            return refuse(
                "key-too-long",
                &format!("key of {} bytes is left out", key.len()),
                &format!("keys have at most {MAX_KEY} bytes below the root"),
            );
        }
        let Ok(key) = std::str::from_utf8(key) else {
            return refuse(
                "key-not-utf8",
                "key that is not UTF-8 is left out",
                "delete it and write it again as UTF-8",
            );
        };
        if key.split('/').any(str::is_empty) {
            return refuse(
                "key-empty-name",
                "key with an empty name in its path is left out",
                "write it without the extra or trailing slash",
            );
        }
        Ok(key.to_owned())
    }
}

/// The key as it can be named, whatever bytes are in it.
fn shown(full_key: &[u8], prefix: &str) -> String {
    let key = full_key.strip_prefix(prefix.as_bytes()).unwrap_or(full_key);
    let text = String::from_utf8_lossy(&key[..key.len().min(MAX_KEY)]);
    text.into_owned()
}
