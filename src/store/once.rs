//! One look at the stores, for subcommands that judge a tree and end.

use std::sync::Arc;
use std::time::Duration;

use super::announced::{AGENTS, Announced};
use super::hub::{Store, open};
use super::spec::StoreSpec;
use super::{Edit, StoreError, StoreOptions};
use crate::diag::Diagnostic;
use crate::snapshot::Snapshot;

/// What the stores hold at this moment.
#[derive(Clone, Debug)]
pub struct TreeState {
    pub snapshot: Snapshot,
    /// A node whose revision is at least this has seen everything that is in `snapshot` and every
    /// deletion before it.
    pub revision: u64,
    /// The newest revision of any key in it: a unit that was refused at this revision or later was
    /// refused for what is in the tree now. Deletions do not show in this number.
    pub newest_key: u64,
    /// Keys that were left out, and why.
    pub problems: Vec<Diagnostic>,
    sources: Vec<Source>,
}

/// One store of several.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) snapshot: Snapshot,
    /// Its keys as they are written, where agents announce some of `snapshot`.
    pub(super) raw: Option<Snapshot>,
}

impl Source {
    fn raw(&self) -> &Snapshot {
        self.raw.as_ref().unwrap_or(&self.snapshot)
    }

    /// An agent that announces a key here.
    fn agent_of(&self, key: &str) -> Option<String> {
        let raw = self.raw.as_ref()?;
        let agents = raw.children(AGENTS);
        let says = |agent: &&Arc<str>| raw.get(&format!("{AGENTS}/{agent}/{key}")).is_some();
        let agent = agents.iter().find(says)?;
        Some(format!("agent {agent}"))
    }
}

impl TreeState {
    /// The store that a key's value is from.
    pub fn source_of(&self, key: &str) -> Option<&str> {
        let mut stores = self.sources.iter().rev();
        let source = stores.find(|source| source.snapshot.get(key).is_some())?;
        Some(&source.name)
    }

    /// Who says a key besides the store at `place`: an agent there, or another store.
    pub fn others(&self, place: usize, key: &str) -> Option<String> {
        let agent = self.sources.get(place).and_then(|own| own.agent_of(key));
        agent.or_else(|| {
            let others = self.sources.iter().enumerate().rev();
            let mut others = others.filter(|(index, _)| *index != place);
            let (_, other) = others.find(|(_, other)| other.snapshot.get(key).is_some())?;
            Some(other.agent_of(key).unwrap_or_else(|| other.name.clone()))
        })
    }

    /// The tree as it would be if the store at `place` had these keys changed. What agents announce stays.
    pub fn with(&self, place: usize, edit: &Edit) -> Snapshot {
        let mut tree = self.snapshot.clone();
        let Some(own) = self.sources.get(place) else {
            return tree;
        };
        let mut raw = own.raw().clone();
        let removed = edit.removed.iter().flat_map(|dir| own.raw().under(dir));
        for (key, _) in removed {
            raw.remove(key);
        }
        for (key, value) in &edit.keys {
            match value {
                Some(value) => raw.put(key.as_str(), value.clone()),
                None => {
                    raw.remove(key);
                }
            }
        }
        let laid = match own.raw {
            Some(_) => Announced::default().follow(&raw),
            None => raw,
        };
        let below = self.sources.get(..place).unwrap_or_default();
        for change in own.snapshot.diff(&laid) {
            let key = &*change.key;
            if self.hides(place, key).is_some() {
                continue;
            }
            let below = below.iter().rev();
            let below = || below.clone().find_map(|source| source.snapshot.get(key));
            match laid.get(key).or_else(below) {
                Some(value) => tree.put(key, value.clone()),
                None => {
                    tree.remove(key);
                }
            }
        }
        tree
    }

    /// The store whose value of a key goes over that of the store at `place`.
    pub fn hides(&self, place: usize, key: &str) -> Option<&str> {
        let later = self.sources.get(place + 1..).unwrap_or_default();
        let has_it = |source: &&Source| source.snapshot.get(key).is_some();
        later.iter().rev().find(has_it).map(|s| s.name.as_str())
    }
}

/// The merged snapshot of all stores, or which of them did not give one in time.
pub async fn read_once(
    specs: &[StoreSpec],
    options: &StoreOptions,
    timeout: Duration,
) -> Result<Snapshot, StoreError> {
    Ok(read_tree(specs, options, timeout).await?.snapshot)
}

/// [`read_once`] with what goes with the snapshot.
pub async fn read_tree(
    specs: &[StoreSpec],
    options: &StoreOptions,
    timeout: Duration,
) -> Result<TreeState, StoreError> {
    if specs.is_empty() {
        return Err(StoreError::NoStore);
    }
    for spec in specs {
        let (StoreSpec::Dir(path) | StoreSpec::Certs(path)) = spec else {
            continue;
        };
        let reason = match tokio::fs::metadata(path).await {
            Ok(meta) if meta.is_dir() => continue,
            Ok(_) => "is not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        let store = spec.to_string();
        return Err(StoreError::Failed { store, reason });
    }
    // What is there is what was asked for: no guard, no waiting for quiet.
    let options = StoreOptions {
        settle: Duration::ZERO,
        empty_grace: Duration::ZERO,
        ..options.clone()
    };
    let mut store = open(specs.to_vec(), options);
    let Ok(snapshot) = tokio::time::timeout(timeout, store.next()).await else {
        return Err(who_is_missing(&store, timeout));
    };
    let has_etcd = specs.iter().any(|spec| matches!(spec, StoreSpec::Etcd(_)));
    Ok(TreeState {
        // etcd numbers every change. A directory's times are coarse, and two changes may share one:
        // only a node that is past it has certainly seen both.
        revision: snapshot.revision() + u64::from(!has_etcd),
        newest_key: store.newest_key(),
        problems: store.problems(),
        sources: store.sources(),
        snapshot,
    })
}

fn who_is_missing(store: &Store, waited: Duration) -> StoreError {
    let health = store.health();
    let missing = health
        .iter()
        .find(|health| !health.connected)
        .or(health.first());
    StoreError::NoAnswer {
        store: missing.map(|h| h.store.clone()).unwrap_or_default(),
        waited,
        reason: missing
            .and_then(|h| h.last_error.clone())
            .unwrap_or_else(|| "no answer".to_owned()),
    }
}
