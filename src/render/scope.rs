//! What the functions of a template see while one unit is rendered, and what they leave behind.
//!
//! The engine calls functions without any state of ours, so the scope lies in a thread-local for
//! the time of one render. A function called outside of one fails.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::reads::Read;
use super::{Failure, TEXT_BYTES};
use crate::diag::{Diagnostic, quoted};
use crate::snapshot::{Snapshot, why_unusable};

pub(super) struct Scope {
    pub(super) snapshot: Snapshot,
    /// What keys without a leading slash are relative to; empty: the root.
    dir: Arc<str>,
    pub(super) reads: BTreeSet<Read>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Why the function that failed did: the engine passes on only a text.
    pub(super) failure: Option<Failure>,
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

impl Scope {
    pub(super) fn new(snapshot: Snapshot, dir: &str) -> Self {
        Self {
            snapshot,
            dir: dir.into(),
            reads: BTreeSet::new(),
            warnings: Vec::new(),
            failure: None,
        }
    }

    /// Runs `work` with this scope in place and gives back what became of both. A panic of `work`
    /// is caught: the engine's mistake costs one unit and not the program.
    pub(super) fn during<T>(self, work: impl FnOnce() -> T) -> (std::thread::Result<T>, Scope) {
        let fallback = Scope::new(Snapshot::default(), "");
        CURRENT.set(Some(self));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let scope = CURRENT.take();
        (result, scope.unwrap_or(fallback))
    }

    /// Lets a function look at and add to the scope of the render under way.
    pub(super) fn with<T>(
        look: impl FnOnce(&mut Scope) -> Result<T, Failure>,
    ) -> Result<T, tera::Error> {
        CURRENT.with_borrow_mut(|scope| {
            let Some(scope) = scope else {
                return Err(tera::Error::message(
                    "keys can be read while rendering only",
                ));
            };
            look(scope).map_err(|failure| {
                let error = tera::Error::message(&failure.message);
                scope.failure = Some(failure);
                error
            })
        })
    }

    /// What keys without a leading slash are relative to; empty: the root.
    pub(super) fn dir(&self) -> &str {
        &self.dir
    }

    /// The path from the root that a template's `key` means, without slashes at its ends.
    pub(super) fn path(&self, key: &str) -> Result<String, Failure> {
        let mut path = String::with_capacity(self.dir.len() + key.len() + 1);
        if !key.starts_with('/') {
            path.push_str(&self.dir);
        }
        for segment in key.split('/').filter(|segment| !segment.is_empty()) {
            if segment == ".." || segment == "." {
                return Err(Diagnostic::error(
                    "bad-key",
                    format!("key {} has a segment . or ..", quoted(key)),
                )
                .help("start it with a slash to read from the root")
                .into());
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment);
        }
        Ok(path)
    }

    /// The text of a key, recorded as read whether it is there or not.
    pub(super) fn text(&mut self, path: &str) -> Result<Option<&str>, Failure> {
        self.reads.insert(Read::Key(path.into()));
        match self.snapshot.get(path) {
            None => Ok(None),
            Some(value) => text_of(path, value).map(Some),
        }
    }
}

/// A value as text, if it is one of a size that a unit can hold.
pub(super) fn text_of<'a>(path: &str, value: &'a [u8]) -> Result<&'a str, Failure> {
    if let Some(why) = why_unusable(value) {
        let problem = Diagnostic::error(
            "unusable-value",
            format!("the value of {path} cannot be used: {why}"),
        );
        let problem = problem.for_key(path);
        // There is nothing wrong with what was written where something else is missing.
        let tells_what_is_missing = [" seal key file", " is there without "]
            .iter()
            .any(|words| why.contains(words));
        return Err(match tells_what_is_missing {
            true => problem.into(),
            false => problem.help("write it again, or remove the key").into(),
        });
    }
    if value.len() > TEXT_BYTES {
        return Err(Diagnostic::error(
            "too-big",
            format!(
                "the value of {path} has {} bytes and may have {TEXT_BYTES}",
                value.len()
            ),
        )
        .for_key(path)
        .into());
    }
    std::str::from_utf8(value).map_err(|e| {
        Diagnostic::error(
            "not-utf8",
            format!(
                "the value of {path} is no UTF-8 text from byte {} on",
                e.valid_up_to() + 1
            ),
        )
        .for_key(path)
        .help("write the value again as text")
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_write_again_what_is_as_it_should_be() {
        for (why, is_to_be_written) in [
            ("it has 2000000 bytes", true),
            ("it is sealed and is no whole sealed text", true),
            (
                "it is sealed and there is no seal key file; --seal-key-file names it",
                false,
            ),
            (
                "it is sealed with key K, which the seal key file does not have",
                false,
            ),
            ("/c/a.crt is there without /c/a.key", false),
        ] {
            let mut snapshot = Snapshot::default();
            snapshot.put_unusable("a", why);
            let failure = text_of("a", snapshot.get("a").unwrap()).unwrap_err();
            let told = failure.to_string();
            assert!(told.contains(why), "{told}");
            assert_eq!(told.contains("write it again"), is_to_be_written, "{told}");
        }
    }
}
