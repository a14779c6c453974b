//! What to write, as transactions: one for each service as long as it fits.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::snapshot::{ChangeKind, Key, Snapshot};

/// etcd takes 128 operations, unless told otherwise.
const MAX_OPS: usize = 100;

/// A request has at most 1.5 MiB.
const MAX_BYTES: usize = 1024 * 1024;

/// What happens to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put(Key, Bytes),
    Delete(Key),
}

impl Op {
    fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn bytes(&self) -> usize {
        // Some for the prefix and the frame.
        200 + self.key().len()
            + match self {
                Self::Put(_, value) => value.len(),
                Self::Delete(_) => 0,
            }
    }
}

/// What is to be written of one service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// `services/web`.
    pub(super) dir: String,
    /// A transaction each, in this order.
    pub(super) parts: Vec<Vec<Op>>,
}

/// What makes `old` to `new`.
pub(super) fn between(old: &Snapshot, new: &Snapshot) -> Vec<Op> {
    let changes = old.diff(new).into_iter();
    let ops = changes.filter_map(|change| match change.kind {
        ChangeKind::Removed => Some(Op::Delete(change.key)),
        ChangeKind::Added | ChangeKind::Updated => {
            let value = new.get(&change.key)?.clone();
            Some(Op::Put(change.key, value))
        }
    });
    ops.collect()
}

/// Service by service. Where one does not fit into a transaction its upstreams come after its settings, and go
/// before them: a service without upstreams answers 503, and one without its settings could let anybody in.
pub(super) fn by_service(ops: Vec<Op>, new: &Snapshot) -> Vec<Change> {
    let mut services: BTreeMap<String, Vec<Op>> = BTreeMap::new();
    for op in ops {
        let dir = service_of(op.key()).to_owned();
        services.entry(dir).or_default().push(op);
    }
    let changes = services.into_iter().map(|(dir, mut ops)| {
        let is_gone = !new.has_dir(&dir);
        ops.sort_by_key(|op| {
            let is_upstream = is_upstream(op.key());
            match (op, is_gone) {
                (_, true) => u8::from(!is_upstream),
                (Op::Put(..), false) => u8::from(is_upstream),
                (Op::Delete(_), false) => 2 * u8::from(is_upstream),
            }
        });
        Change {
            dir,
            parts: parts(ops),
        }
    });
    changes.collect()
}

fn parts(ops: Vec<Op>) -> Vec<Vec<Op>> {
    let mut parts: Vec<Vec<Op>> = Vec::new();
    let mut bytes = 0;
    for op in ops {
        bytes += op.bytes();
        match parts.last_mut() {
            Some(part) if part.len() < MAX_OPS && bytes <= MAX_BYTES => part.push(op),
            _ => {
                bytes = op.bytes();
                parts.push(vec![op]);
            }
        }
    }
    parts
}

/// The first two names of a key.
fn service_of(key: &str) -> &str {
    let mut slashes = key.match_indices('/').map(|(at, _)| at);
    slashes.nth(1).map_or(key, |end| &key[..end])
}

fn is_upstream(key: &str) -> bool {
    key[service_of(key).len()..].starts_with("/upstreams/")
}

/// How many upstreams a tree has in a service.
pub(super) fn upstreams(tree: &Snapshot, dir: &str) -> usize {
    tree.under(&format!("{dir}/upstreams")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(keys: &[(&str, &str)]) -> Snapshot {
        keys.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn names(change: &Change) -> Vec<Vec<String>> {
        let name = |op: &Op| match op {
            Op::Put(key, _) => format!("+{key}"),
            Op::Delete(key) => format!("-{key}"),
        };
        let part = |part: &Vec<Op>| part.iter().map(name).collect();
        change.parts.iter().map(part).collect()
    }

    #[test]
    fn a_service_is_one_transaction() {
        let old = tree(&[
            ("services/a/balance", "source"),
            ("services/a/upstreams/1", "x"),
            ("services/b/balance", "source"),
            ("services/b/upstreams/1", "x"),
        ]);
        let new = tree(&[
            ("services/a/balance", "random"),
            ("services/a/upstreams/2", "x"),
            ("tcp-services/a/upstreams/1", "x"),
        ]);
        let changes = by_service(between(&old, &new), &new);
        let shown: Vec<_> = changes.iter().map(names).collect();
        assert_eq!(
            shown,
            [
                vec![vec![
                    "+services/a/balance",
                    "+services/a/upstreams/2",
                    "-services/a/upstreams/1",
                ]],
                vec![vec!["-services/b/upstreams/1", "-services/b/balance"]],
                vec![vec!["+tcp-services/a/upstreams/1"]],
            ]
        );
        assert_eq!(changes[1].dir, "services/b");
    }

    #[test]
    fn a_huge_service_comes_with_its_settings_first_and_goes_with_them_last() {
        let upstreams = (0..250).map(|n| (format!("services/a/upstreams/{n}"), "x".to_owned()));
        let settings = [
            ("services/a/virtual_hosts".to_owned(), "y".repeat(600_000)),
            ("services/a/balance".to_owned(), "y".repeat(600_000)),
        ];
        let full: Snapshot = upstreams.chain(settings).collect();
        let empty = Snapshot::default();
        let there = by_service(between(&empty, &full), &full);
        let sizes: Vec<_> = there[0].parts.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 100, 100, 51]);
        assert!(!is_upstream(there[0].parts[1][0].key()));
        let away = by_service(between(&full, &empty), &empty);
        let last = away[0].parts.last().expect("a part");
        assert!(!is_upstream(last.last().expect("an operation").key()));
        assert!(is_upstream(away[0].parts[0][0].key()));
        assert_eq!(away[0].parts.len(), 3);
    }
}
