//! The empty guard: a tree that suddenly has no services is most likely somebody's mistake, and
//! obeying it at once takes every host down.
//!
//! Only a tree without anything under `services/`, `tcp-services/` and `udp-services/`, after one that had
//! some, is suspicious. It is held back for the grace; if services are back before that, in whatever
//! form, the caller never learns of it. After the grace the tree is taken as meant.

use std::time::Duration;

use tokio::time::Instant;

use crate::snapshot::Snapshot;

/// Judges the trees of one store, one after the other.
#[derive(Debug)]
pub(super) struct EmptyGuard {
    grace: Duration,
    had_services: bool,
    held_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Ask again then, with whatever tree is the newest by that time.
    HoldUntil(Instant),
}

impl EmptyGuard {
    pub(super) fn new(grace: Duration, had_services: bool) -> Self {
        Self {
            grace,
            had_services,
            held_since: None,
        }
    }

    pub(super) fn judge(&mut self, snapshot: &Snapshot, now: Instant) -> Verdict {
        if has_services(snapshot) {
            self.had_services = true;
            self.held_since = None;
            return Verdict::Pass;
        }
        if !self.had_services || self.grace.is_zero() {
            return Verdict::Pass;
        }
        let until = *self.held_since.get_or_insert(now) + self.grace;
        if now < until {
            return Verdict::HoldUntil(until);
        }
        self.had_services = false;
        self.held_since = None;
        Verdict::Pass
    }
}

fn has_services(snapshot: &Snapshot) -> bool {
    ["services", "tcp-services", "udp-services"]
        .iter()
        .any(|dir| snapshot.has_dir(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(keys: &[&str]) -> Snapshot {
        keys.iter().map(|key| (*key, "x")).collect()
    }

    #[test]
    fn an_empty_tree_passes_only_after_the_grace_and_once() {
        let start = Instant::now();
        let grace = Duration::from_secs(30);
        let mut guard = EmptyGuard::new(grace, false);
        let full = tree(&["tcp-services/db/external_port"]);
        let empty = tree(&["settings/timeout_server"]);

        assert_eq!(guard.judge(&empty, start), Verdict::Pass, "never had any");
        assert_eq!(guard.judge(&full, start), Verdict::Pass);
        let held = Verdict::HoldUntil(start + grace);
        assert_eq!(guard.judge(&empty, start), held);
        let later = start + Duration::from_secs(10);
        assert_eq!(
            guard.judge(&empty, later),
            held,
            "asking does not prolong it"
        );
        assert_eq!(guard.judge(&full, later), Verdict::Pass, "it was a mistake");
        assert_eq!(
            guard.judge(&empty, later),
            Verdict::HoldUntil(later + grace)
        );
        assert_eq!(guard.judge(&empty, later + grace), Verdict::Pass);
        assert_eq!(guard.judge(&empty, later + grace), Verdict::Pass);
    }

    #[test]
    fn without_a_grace_everything_passes() {
        let mut guard = EmptyGuard::new(Duration::ZERO, true);
        assert_eq!(guard.judge(&tree(&[]), Instant::now()), Verdict::Pass);
    }

    #[test]
    fn a_first_tree_is_held_when_services_were_expected() {
        let mut guard = EmptyGuard::new(Duration::from_secs(1), true);
        let now = Instant::now();
        assert!(matches!(
            guard.judge(&tree(&[]), now),
            Verdict::HoldUntil(_)
        ));
    }
}
