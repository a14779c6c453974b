//! All stores as one: guard each, merge, settle, hand out the newest.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use super::feed::{Feed, Monitor, Problems, Shared, Tree};
use super::guard::{EmptyGuard, Verdict};
use super::once::Source;
use super::settle::Settle;
use super::spec::{GivenKeys, StoreSpec};
use super::{StoreHealth, StoreOptions, certs, dir, docker, etcd};
use crate::backoff::Backoff;
use crate::diag::Diagnostic;
use crate::snapshot::Snapshot;

/// Starts reading `specs` on the current tokio runtime.
///
/// Must be called inside a runtime. Nothing fails here: a store that cannot be reached is a matter of
/// health, and is tried again for as long as the handle lives.
pub fn open(specs: Vec<StoreSpec>, options: StoreOptions) -> Store {
    let shared = Shared::new(specs.iter().map(ToString::to_string));
    let mut tasks = JoinSet::new();
    let mut inputs = Vec::with_capacity(specs.len());
    for (index, spec) in specs.into_iter().enumerate() {
        // In what is this node's own there are no services to miss, and an engine that answers
        // knows what runs: its last container has gone when it says so.
        let is_believed = spec.is_own() || matches!(spec, StoreSpec::Docker(_));
        let guard = match is_believed {
            true => EmptyGuard::new(Duration::ZERO, false),
            false => EmptyGuard::new(options.empty_grace, options.expect_services),
        };
        inputs.push(Input {
            name: spec.to_string(),
            is_etcd: matches!(spec, StoreSpec::Etcd(_)),
            is_own: spec.is_own(),
            guard,
            seen: 0,
            held: None,
            accepted: None,
        });
        tasks.spawn(supervise(spec, options.clone(), Arc::clone(&shared), index));
    }
    Store {
        shared,
        inputs,
        merged: Snapshot::default(),
        newest_key: 0,
        hidden: Problems::default(),
        started: false,
        settle: Settle::new(options.settle),
        _tasks: tasks,
    }
}

/// The handle on all stores of a balancer. Its tasks end when it is dropped.
pub struct Store {
    shared: Arc<Shared>,
    inputs: Vec<Input>,
    /// What `next` returned last.
    merged: Snapshot,
    newest_key: u64,
    /// Keys of this node's own that others go over.
    hidden: Problems,
    /// Whether `next` has returned anything.
    started: bool,
    settle: Settle,
    _tasks: JoinSet<()>,
}

/// One store as the hub sees it.
struct Input {
    name: String,
    is_etcd: bool,
    is_own: bool,
    guard: EmptyGuard,
    /// Version of the newest tree that was looked at.
    seen: u64,
    /// The newest tree, while the guard holds it back.
    held: Option<Tree>,
    /// The newest tree the guard let through; whether it was merged is the hub's business.
    accepted: Option<Accepted>,
}

struct Accepted {
    tree: Tree,
    /// What of it the merged tree knows.
    merged: Snapshot,
    is_new: bool,
}

impl Store {
    /// Waits until there is a snapshot newer than the last one returned, and gives the newest.
    ///
    /// The first comes when *every* store gave its first tree: a snapshot that lacks a store would
    /// remove that store's services. Until then [`Store::health`] says who is missing. After that a
    /// store that fails keeps its last tree. A snapshot with nothing but a higher revision is
    /// possible and worth reporting: somebody may wait for it.
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Snapshot {
        loop {
            let now = Instant::now();
            let held_until = self.collect(now);
            let due = self.due(now);
            if due.is_some_and(|due| due <= now) {
                return self.merge();
            }
            let wake = [held_until, due].into_iter().flatten().min();
            match wake {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.shared.changed()).await;
                }
                None => self.shared.changed().await,
            }
        }
    }

    /// How each store fares, in the order in which they were given.
    pub fn health(&self) -> Vec<StoreHealth> {
        self.monitor().health()
    }

    /// Keys that were left out of the tree, and why.
    pub fn problems(&self) -> Vec<Diagnostic> {
        self.monitor().problems()
    }

    /// A handle for those who only look, usable while `next` is waited for.
    pub fn monitor(&self) -> Monitor {
        self.shared.monitor()
    }

    /// The newest revision of any key in the snapshot returned last.
    pub(super) fn newest_key(&self) -> u64 {
        self.newest_key
    }

    /// The stores by name, as far as they are in the snapshot returned last; the later go over the earlier.
    pub(super) fn sources(&self) -> Vec<Source> {
        let inputs = self.inputs.iter().filter_map(|input| {
            let tree = &input.accepted.as_ref()?.tree;
            Some(Source {
                name: input.name.clone(),
                snapshot: tree.snapshot.clone(),
                raw: tree.raw.clone(),
            })
        });
        inputs.collect()
    }

    /// Takes what the stores have put into their slots past the guards. Returns when a tree that is
    /// held back has to be looked at again.
    fn collect(&mut self, now: Instant) -> Option<Instant> {
        let mut held_until: Option<Instant> = None;
        let mut slots = self.shared.lock();
        for (input, slot) in self.inputs.iter_mut().zip(slots.iter_mut()) {
            let tree = if slot.version != input.seen {
                input.seen = slot.version;
                slot.tree.clone()
            } else {
                input.held.take()
            };
            let Some(tree) = tree else { continue };
            let was_held = slot.is_held();
            match input.guard.judge(&tree.snapshot, now) {
                Verdict::Pass => {
                    slot.set_held(false);
                    if was_held {
                        warn!(
                            store = slot.name(),
                            event = "tree_released",
                            "tree is no longer held back"
                        );
                    }
                    input.held = None;
                    input.accept(tree);
                    self.settle.touch(now);
                }
                Verdict::HoldUntil(until) => {
                    if !was_held {
                        warn!(
                            store = slot.name(),
                            grace = ?until.saturating_duration_since(now),
                            event = "tree_held",
                            "tree has no services any more, holding it back; bring them back or wait"
                        );
                    }
                    slot.set_held(true);
                    input.held = Some(tree);
                    held_until = Some(held_until.map_or(until, |at| at.min(until)));
                }
            }
        }
        held_until
    }

    /// When the next snapshot may be given out, as far as is known.
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.inputs.iter().any(|input| input.accepted.is_none()) {
            return None;
        }
        let due = self.settle.due()?;
        // The first tree is not a change in the middle of something: start serving.
        Some(if self.started { due } else { now })
    }

    fn merge(&mut self) -> Snapshot {
        self.settle.reset();
        self.started = true;
        let revision = self.revision();
        match self.inputs.as_mut_slice() {
            [
                Input {
                    accepted: Some(only),
                    ..
                },
            ] => {
                only.is_new = false;
                self.merged = only.tree.snapshot.clone();
                self.newest_key = only.tree.newest_key;
            }
            _ => self.merge_changed_keys(),
        }
        self.merged.set_revision(revision);
        self.merged.clone()
    }

    /// Brings only what changed in each store into the merged tree, so that the cost is that of the
    /// change and the result shares everything else with the last one.
    fn merge_changed_keys(&mut self) {
        for index in 0..self.inputs.len() {
            let Some(accepted) = &mut self.inputs[index].accepted else {
                continue;
            };
            if !std::mem::take(&mut accepted.is_new) {
                continue;
            }
            let changes = accepted.merged.diff(&accepted.tree.snapshot);
            accepted.merged = accepted.tree.snapshot.clone();
            for change in changes {
                let key = change.key;
                let mut having = self.inputs.iter().rev().filter_map(|input| {
                    let value = input.accepted.as_ref()?.tree.snapshot.get(&key)?;
                    Some((input, value))
                });
                let winner = having.next();
                let hidden = winner.and_then(|(winner, _)| {
                    let (loser, _) = having.find(|(input, _)| input.is_own)?;
                    Some(hidden(&key, &loser.name, &winner.name))
                });
                match hidden {
                    Some(problem) => self.hidden.insert(&key, problem),
                    None => self.hidden.remove(&key),
                }
                match winner {
                    Some((input, value)) if input.is_own => {
                        self.merged.put_own(key, value.clone());
                    }
                    Some((_, value)) => self.merged.put(key, value.clone()),
                    None => {
                        self.merged.remove(&key);
                    }
                }
            }
        }
        self.newest_key = self.combine(|tree| tree.newest_key);
        self.shared.set_hidden(self.hidden.list());
    }

    fn revision(&self) -> u64 {
        self.combine(|tree| tree.snapshot.revision())
    }

    /// etcd's number if there is one etcd, the sum if there are several, else the newest of the rest. What
    /// is this node's own does not count: others wait for revisions.
    fn combine(&self, number: impl Fn(&Tree) -> u64) -> u64 {
        let numbers = |etcd: bool| {
            self.inputs
                .iter()
                .filter(move |input| input.is_etcd == etcd && !input.is_own)
                .filter_map(|input| input.accepted.as_ref())
                .map(|accepted| number(&accepted.tree))
        };
        if self.inputs.iter().any(|input| input.is_etcd) {
            numbers(true).fold(0, u64::saturating_add)
        } else {
            numbers(false).max().unwrap_or(0)
        }
    }
}

impl Input {
    fn accept(&mut self, tree: Tree) {
        match &mut self.accepted {
            Some(accepted) => {
                accepted.tree = tree;
                accepted.is_new = true;
            }
            None => {
                self.accepted = Some(Accepted {
                    tree,
                    merged: Snapshot::default(),
                    is_new: true,
                });
            }
        }
    }
}

fn hidden(key: &str, loser: &str, winner: &str) -> Diagnostic {
    let message = format!("{key} of {loser} is not used: {winner} has one of that name");
    Diagnostic::warning("hidden", message)
        .for_key(key)
        .help("rename one of the two, or remove it")
}

/// Nothing follows these keys: they never change.
async fn give(given: GivenKeys, feed: Feed) {
    feed.connected("given at the start");
    feed.publish(Tree {
        snapshot: given.keys.into_iter().collect(),
        ..Tree::default()
    });
    std::future::pending().await
}

/// Runs a store's task, and runs it again if it should panic: a client library has a `panic!` for
/// answers from servers that do not exist yet, and a balancer does not stop following its keys for that.
async fn supervise(spec: StoreSpec, options: StoreOptions, shared: Arc<Shared>, index: usize) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let feed: Feed = shared.feed(index);
        let run = match spec.clone() {
            StoreSpec::Etcd(spec) => {
                AbortOnDropHandle::new(tokio::spawn(etcd::follow(spec, options.clone(), feed)))
            }
            StoreSpec::Dir(path) => {
                AbortOnDropHandle::new(tokio::spawn(dir::follow(path, feed, |tree| tree)))
            }
            StoreSpec::Docker(spec) => {
                AbortOnDropHandle::new(tokio::spawn(docker::follow(spec, feed)))
            }
            StoreSpec::Certs(path) => {
                let mut files = certs::Files::new(&path);
                let shape = move |tree| files.shape(tree);
                AbortOnDropHandle::new(tokio::spawn(dir::follow(path, feed, shape)))
            }
            StoreSpec::Given(given) => AbortOnDropHandle::new(tokio::spawn(give(given, feed))),
        };
        if let Err(ended) = run.await {
            if ended.is_cancelled() {
                return;
            }
            error!(store = %spec, error = %ended, "reading the store broke off, starting over");
            shared.feed(index).failed("internal error, starting over");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}
