//! Between the task that reads a store and whoever uses the result: one slot per store, in which
//! the newest tree replaces the last one. Nothing queues.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::MAX_PROBLEMS;
use crate::diag::Diagnostic;
use crate::snapshot::Snapshot;
use crate::status::time_text;

/// Different errors logged while a store is away.
const MAX_LOGGED: usize = 16;

/// How one store fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// As it was given: `etcd://10.0.0.1:2379`, `dir:keys`.
    pub store: String,
    /// Whether changes are being followed right now.
    pub connected: bool,
    /// Since when it is (or is not) connected, RFC 3339 in UTC.
    pub since: String,
    /// What went wrong last; kept after a recovery until the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Of the newest tree.
    pub revision: u64,
    pub keys: usize,
    /// Works, but not as it should: directory polled and not watched, for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Since when a tree without services is held back, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_since: Option<String>,
    /// Keys left out because they cannot be used; see [`Monitor::problems`].
    pub problems: usize,
}

/// One store's tree at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) snapshot: Snapshot,
    /// What it was before what agents announce was laid under it.
    pub(super) raw: Option<Snapshot>,
    /// The newest revision of any key that is in the tree. The snapshot's own revision is this or
    /// higher: deleting a key leaves none behind.
    pub(super) newest_key: u64,
    /// Keys that were left out, in key order.
    pub(super) problems: Arc<Vec<Diagnostic>>,
}

/// Looks at the stores from the side: health and left-out keys. Cheap to clone, never waits.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

impl Monitor {
    /// In the order in which the stores were given.
    pub fn health(&self) -> Vec<StoreHealth> {
        self.shared.lock().iter().map(Slot::health).collect()
    }

    /// Keys that were left out of the tree, and why: too large, not UTF-8, no name. Warnings, since
    /// everything else is live.
    pub fn problems(&self) -> Vec<Diagnostic> {
        let slots = self.shared.lock();
        slots
            .iter()
            .filter_map(|slot| slot.tree.as_ref())
            .flat_map(|tree| tree.problems.iter())
            .chain(self.shared.hidden().iter())
            .cloned()
            .collect()
    }
}

/// The slots of all stores of one [`Store`](super::Store).
pub(super) struct Shared {
    slots: Mutex<Vec<Slot>>,
    /// Keys that are not used because another store has them: only all stores together know.
    hidden: Mutex<Arc<Vec<Diagnostic>>>,
    /// One permit is enough: the waiter looks at every slot when it wakes.
    changed: Notify,
}

pub(super) struct Slot {
    name: String,
    pub(super) tree: Option<Tree>,
    /// Counts the trees put in here.
    pub(super) version: u64,
    connected: bool,
    since: SystemTime,
    last_error: Option<String>,
    /// Errors that were logged since the store was connected last: with several endpoints they take turns.
    logged: HashSet<String>,
    note: Option<String>,
    held_since: Option<SystemTime>,
}

impl Shared {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Arc<Self> {
        let slots = names.map(|name| Slot {
            name,
            tree: None,
            version: 0,
            connected: false,
            since: SystemTime::now(),
            last_error: None,
            logged: HashSet::new(),
            note: None,
            held_since: None,
        });
        Arc::new(Self {
            slots: Mutex::new(slots.collect()),
            hidden: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Nothing is left half done under this lock, so a poisoned one is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hidden(&self) -> MutexGuard<'_, Arc<Vec<Diagnostic>>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_hidden(&self, now: Arc<Vec<Diagnostic>>) {
        let mut hidden = self.hidden();
        if !Arc::ptr_eq(&hidden, &now) {
            for problem in now.iter().filter(|problem| !hidden.contains(problem)) {
                warn!(event = "key_left_out", "{problem}");
            }
            *hidden = now;
        }
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn monitor(self: &Arc<Self>) -> Monitor {
        Monitor {
            shared: Arc::clone(self),
        }
    }

    pub(super) fn feed(self: &Arc<Self>, index: usize) -> Feed {
        let store = self.lock()[index].name.clone();
        Feed {
            shared: Arc::clone(self),
            index,
            store,
        }
    }
}

impl Slot {
    fn health(&self) -> StoreHealth {
        StoreHealth {
            store: self.name.clone(),
            connected: self.connected,
            since: time_text(self.since),
            last_error: self.last_error.clone(),
            revision: self.tree.as_ref().map_or(0, |t| t.snapshot.revision()),
            keys: self.tree.as_ref().map_or(0, |t| t.snapshot.len()),
            note: self.note.clone(),
            held_since: self.held_since.map(time_text),
            problems: self.tree.as_ref().map_or(0, |t| t.problems.len()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// Marks whether the tree in this slot is held back by the guard.
    pub(super) fn set_held(&mut self, held: bool) {
        if held != self.held_since.is_some() {
            self.held_since = held.then(SystemTime::now);
        }
    }
}

/// A store's own end of its slot.
pub(super) struct Feed {
    shared: Arc<Shared>,
    index: usize,
    pub(super) store: String,
}

impl Feed {
    /// A new complete tree.
    pub(super) fn publish(&self, tree: Tree) {
        {
            let mut slots = self.shared.lock();
            let slot = &mut slots[self.index];
            let known = slot.tree.as_ref().map(|old| Arc::clone(&old.problems));
            report_problems(&self.store, known.as_deref(), &tree.problems);
            slot.tree = Some(tree);
            slot.version += 1;
        }
        self.shared.changed.notify_one();
    }

    /// Changes are followed from now on.
    pub(super) fn connected(&self, how: &str) {
        let mut slots = self.shared.lock();
        let slot = &mut slots[self.index];
        if !slot.connected {
            slot.connected = true;
            slot.since = SystemTime::now();
            slot.logged.clear();
            info!(store = %self.store, event = "store_connected", "store connected: {how}");
        }
    }

    /// Changes are not followed any more. Logs a reason once, not at every try.
    pub(super) fn failed(&self, error: &str) {
        let mut slots = self.shared.lock();
        let slot = &mut slots[self.index];
        let news = slot.logged.len() < MAX_LOGGED && slot.logged.insert(error.to_owned());
        if slot.connected {
            slot.connected = false;
            slot.since = SystemTime::now();
        }
        slot.last_error = Some(error.to_owned());
        let keeps = match &slot.tree {
            Some(tree) => format!("keeping its last {} keys", tree.snapshot.len()),
            None => {
                "it gave no keys yet, and until it does those of no store are followed".to_owned()
            }
        };
        drop(slots);
        if news {
            warn!(store = %self.store, error, event = "store_lost", "store does not answer, {keeps}");
        }
    }

    /// Something to know that is no failure; `None` when it is over.
    pub(super) fn note(&self, note: Option<&str>) {
        let mut slots = self.shared.lock();
        let slot = &mut slots[self.index];
        if slot.note.as_deref() != note {
            slot.note = note.map(str::to_owned);
            if let Some(note) = note {
                warn!(store = %self.store, event = "store_note", "{note}");
            }
        }
    }
}

/// Logs problems that were not there before.
fn report_problems(store: &str, known: Option<&Vec<Diagnostic>>, now: &[Diagnostic]) {
    for problem in now {
        if !known.is_some_and(|known| known.contains(problem)) {
            warn!(store, event = "key_left_out", "{problem}");
        }
    }
}

/// The problems of a tree by key, as its source keeps them.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    by_key: BTreeMap<String, Diagnostic>,
    /// What was shared last, while nothing changed.
    shared: Option<Arc<Vec<Diagnostic>>>,
}

impl Problems {
    /// Beyond the cap a problem is dropped: a thousand say enough.
    pub(super) fn insert(&mut self, key: &str, problem: Diagnostic) {
        if self.by_key.get(key) == Some(&problem) {
            return;
        }
        if self.by_key.len() < MAX_PROBLEMS || self.by_key.contains_key(key) {
            self.by_key.insert(key.to_owned(), problem);
            self.shared = None;
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if !self.by_key.is_empty() && self.by_key.remove(key).is_some() {
            self.shared = None;
        }
    }

    /// Keeps those for which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let before = self.by_key.len();
        self.by_key.retain(|key, _| keep(key));
        if self.by_key.len() != before {
            self.shared = None;
        }
    }

    pub(super) fn list(&mut self) -> Arc<Vec<Diagnostic>> {
        let by_key = &self.by_key;
        Arc::clone(
            self.shared
                .get_or_insert_with(|| Arc::new(by_key.values().cloned().collect())),
        )
    }
}
