//! Writing keys: one change of several keys, made as a whole or not at all.
//!
//! [`Writer::read`] gives keys as the store has them now; [`Writer::write`] changes them, unless somebody else
//! changed what the change was made from: then nothing is written, and the caller reads again.
//!
//! In etcd a change is one transaction and one revision. A directory cannot change several files at one moment:
//! a service that is new, and one that goes, is moved in or out whole; else each key changes in one step,
//! deletions last. Writers of ours take turns there by a lock on the directory.
//!
//! With several stores it is the first etcd, else the first directory, as for the status board. Nothing here knows
//! what a key means.

mod dir;
mod etcd;

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_KEY, MAX_VALUE, StoreError, StoreOptions, StoreSpec};

/// Keys that one change may touch: etcd's limit for a transaction, unless a server says otherwise.
pub(super) const MAX_CHANGES: usize = 128;

/// What one change may weigh: etcd takes requests of 1.5 MiB.
pub(super) const MAX_CHANGE: usize = 1_400_000;

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error(
        "{0} cannot be written: containers say what they are; a store of keys besides, etcd:// or dir:, can"
    )]
    NotWritable(String),
    /// What the change was made from is not there any more.
    #[error("somebody else changed the same keys at the same time, again and again")]
    Conflict,
    #[error("{0}")]
    Impossible(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keys as the store had them at one moment.
#[derive(Clone, Debug, Default)]
pub struct Held {
    keys: BTreeMap<String, Entry>,
    /// Of the store as a whole.
    revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Vec<u8>,
    /// The revision that wrote it; 0 in a directory.
    revision: i64,
}

impl Held {
    /// Keys with their values, in no store.
    pub fn of(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let entry = |(key, value)| (key, Entry { value, revision: 0 });
        Self {
            keys: keys.into_iter().map(entry).collect(),
            revision: 0,
        }
    }

    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.keys.get(key).map(|entry| entry.value.as_slice())
    }

    /// Of the store when they were read; 0 where it counts none.
    pub fn revision(&self) -> u64 {
        u64::try_from(self.revision).unwrap_or(0)
    }

    /// Keys below a directory, which ends in a slash.
    pub fn under<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let from = self.keys.range(dir.to_owned()..);
        let keys = from.map(|(key, _)| key.as_str());
        keys.take_while(move |key| key.starts_with(dir))
    }
}

/// One change.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Values to put; `None` removes a key.
    pub keys: BTreeMap<String, Option<Vec<u8>>>,
    /// A directory that goes with all that is in it, and its slash at the end.
    pub removed: Option<String>,
    /// Keys that have to be as they were read, besides those of `keys`.
    pub same: BTreeSet<String>,
    /// Ranges of keys, without their ends, in which nothing may have been put since.
    pub quiet: Vec<(String, String)>,
}

impl Edit {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.removed.is_none()
    }

    fn judge(&self) -> Result<(), WriteError> {
        let refuse = |why: String| Err(WriteError::Impossible(why));
        let count = self.keys.len() + usize::from(self.removed.is_some());
        let guards = self.same.len() + self.quiet.len();
        if count + guards > MAX_CHANGES {
            let besides = match count > MAX_CHANGES {
                true => String::new(),
                false => format!(" and looks at {guards} more"),
            };
            return refuse(format!(
                "the change touches {count} keys at once{besides}, a transaction takes {MAX_CHANGES}; nothing is \
                 written, make it in smaller ones"
            ));
        }
        let mut weight = 0;
        for (key, value) in &self.keys {
            let size = value.as_ref().map_or(0, Vec::len);
            if key.len() > MAX_KEY {
                return refuse(format!("a key has at most {MAX_KEY} bytes"));
            }
            if size > MAX_VALUE {
                return refuse(format!(
                    "the value of {key} has {size} bytes, a value has at most {MAX_VALUE}"
                ));
            }
            weight += key.len() + size;
        }
        if weight > MAX_CHANGE {
            return refuse(format!(
                "the change has {weight} bytes, {MAX_CHANGE} can be written at once; nothing is written"
            ));
        }
        Ok(())
    }
}

/// Where keys are written.
pub struct Writer {
    name: String,
    place: Place,
}

enum Place {
    Etcd(Box<etcd::Keys>),
    Dir(dir::Keys),
}

impl Writer {
    /// Touches nothing yet.
    pub fn open(specs: &[StoreSpec], options: &StoreOptions) -> Result<Self, WriteError> {
        let place = place(specs)?;
        let spec = &specs[place];
        let place = match spec {
            StoreSpec::Etcd(etcd) => {
                Place::Etcd(Box::new(etcd::Keys::new(etcd.clone(), options.clone())))
            }
            StoreSpec::Dir(path) => Place::Dir(dir::Keys::new(path)),
            other => return Err(WriteError::NotWritable(other.to_string())),
        };
        Ok(Self {
            name: spec.to_string(),
            place,
        })
    }

    /// The store, as its flag has it.
    pub fn store(&self) -> &str {
        &self.name
    }

    /// Whether the store counts its changes, so that its revision can be waited for.
    pub fn has_revisions(&self) -> bool {
        matches!(self.place, Place::Etcd(_))
    }

    /// Keys, and all keys of directories, which end in a slash, at one moment.
    pub async fn read(&mut self, places: &[String]) -> Result<Held, WriteError> {
        match &mut self.place {
            Place::Etcd(keys) => keys.read(places).await,
            Place::Dir(keys) => keys.read(places).await,
        }
    }

    /// Makes a change of what was read. Gives the revision that it is.
    pub async fn write(&mut self, edit: &Edit, held: &Held) -> Result<u64, WriteError> {
        edit.judge()?;
        match &mut self.place {
            Place::Etcd(keys) => keys.write(edit, held).await,
            Place::Dir(keys) => keys.write(edit, held).await,
        }
    }
}

/// The store that is written, among these.
pub fn place(specs: &[StoreSpec]) -> Result<usize, WriteError> {
    let is_etcd = |spec: &StoreSpec| matches!(spec, StoreSpec::Etcd(_));
    let is_dir = |spec: &StoreSpec| matches!(spec, StoreSpec::Dir(_));
    let first = specs.iter().position(is_etcd);
    if let Some(place) = first.or_else(|| specs.iter().position(is_dir)) {
        return Ok(place);
    }
    match specs.iter().find(|spec| !spec.is_own()) {
        Some(spec) => Err(WriteError::NotWritable(spec.to_string())),
        None => Err(WriteError::Store(StoreError::NoStore)),
    }
}
