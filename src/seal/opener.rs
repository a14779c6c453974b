//! Snapshots with their sealed values opened.

use super::{Place, SealKeys, is_sealed};
use crate::snapshot::Snapshot;

/// Stands for an opened value where nobody is to see it.
const VEIL: &str = "<sealed>";

/// Follows snapshots and opens what is sealed in them. A value that cannot be opened becomes one that cannot
/// be had: whoever reads it fails, by name and with the reason, and nobody else. The cost is that of the change.
pub struct Opener {
    keys: SealKeys,
    shown: Shown,
    /// As the stores have it.
    sealed: Snapshot,
    opened: Snapshot,
    has_sealed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Plain,
    Veiled,
}

impl Opener {
    pub fn new(keys: SealKeys) -> Self {
        Self {
            keys,
            shown: Shown::Plain,
            sealed: Snapshot::default(),
            opened: Snapshot::default(),
            has_sealed: false,
        }
    }

    /// For a tree that is to be shown to people: what can be opened reads `<sealed>`.
    pub fn veiled(keys: SealKeys) -> Self {
        Self {
            shown: Shown::Veiled,
            ..Self::new(keys)
        }
    }

    /// Takes other keys: the next snapshot is opened from its beginning.
    pub fn replace_keys(&mut self, keys: SealKeys) {
        *self = Self {
            shown: self.shown,
            ..Self::new(keys)
        };
    }

    /// Digest and marks of this node's own keys are those of what went in, and not of what comes out.
    pub fn follow(&mut self, snapshot: &Snapshot) -> Snapshot {
        let changes = self.sealed.diff(snapshot);
        self.sealed = snapshot.clone();
        let had_sealed = self.has_sealed;
        if !had_sealed {
            // Most trees have nothing sealed in them, and share everything with what went in.
            self.opened = snapshot.clone();
        }
        for change in changes {
            match snapshot.get(&change.key) {
                None => {
                    self.opened.remove(&change.key);
                }
                Some(value) if is_sealed(value) => {
                    self.has_sealed = true;
                    match self.keys.open(Place::Keys(&change.key), value) {
                        Ok(_) if self.shown == Shown::Veiled => {
                            self.opened.put_secret(change.key, VEIL);
                        }
                        Ok(plain) => self.opened.put_secret(change.key, plain),
                        Err(why) => {
                            let why = format!("it is sealed {why}");
                            self.opened.put_unusable(change.key, &why);
                        }
                    }
                }
                Some(value) if had_sealed => self.opened.put(change.key, value.clone()),
                Some(_) => {}
            }
        }
        self.opened.set_revision(snapshot.revision());
        self.opened.clone()
    }
}
