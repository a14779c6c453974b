//! `pointsman wait`: until every living node runs a change, or one says why it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{StatusBoard, StoreError};
use crate::snapshot::Snapshot;
use crate::status::{Drain, NodeStatus, digest_text};

/// Between two looks at the board.
const LOOK: Duration = Duration::from_millis(50);

/// A balancer that was started a moment ago has not reported yet.
const FIRST_REPORT: Duration = Duration::from_secs(2);

/// Why a wait did not end well.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WaitError {
    #[error("node {node} refused {unit} at revision {revision}: {reason}")]
    Refused {
        node: String,
        unit: String,
        revision: u64,
        reason: String,
    },
    #[error("not everywhere within {waited:?}: {}", list(.behind))]
    Timeout {
        waited: Duration,
        behind: Vec<Behind>,
    },
    #[error("not drained within {waited:?}: {}", list(.left))]
    NotDrained { waited: Duration, left: Vec<Left> },
    #[error("no node reports at {0}; is pointsman running with this store and root?")]
    NoNode(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node that does not run what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub node: String,
    pub revision: u64,
    /// What it was waited to reach.
    pub wanted: u64,
}

/// Returns when every living node has worked through `revision` and refused nothing of it.
///
/// Without a revision it waits for what the stores hold when it is called: a node is there when its
/// digest is that of the tree, or its revision shows that it is past it. A refusal counts if it is of
/// `refused_from` or later, where that is said, else of `revision`, else of the newest key in the tree; one that was
/// there before is not this change's fault. In a directory a deletion leaves no key behind that is as new.
///
/// A revision that no key under the root has, such as one from a put elsewhere in the same etcd, is
/// reached only when the server sends its next progress notification, which can take ten minutes.
pub async fn wait(
    board: &StatusBoard,
    revision: Option<u64>,
    refused_from: Option<u64>,
    timeout: Duration,
) -> Result<Vec<NodeStatus>, WaitError> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut target = match revision {
        Some(revision) => Target {
            revision,
            refused_from: revision,
            digest: None,
        },
        None => {
            let tree = board.tree(timeout).await?;
            Target::of(&tree.snapshot, tree.revision, tree.newest_key)
        }
    };
    target.refused_from = refused_from.unwrap_or(target.refused_from);
    let mut behind = Vec::new();
    let mut trouble = None;
    loop {
        match timeout_at(deadline, board.list()).await {
            Ok(Ok(nodes)) => {
                trouble = None;
                if nodes.is_empty() && start.elapsed() >= FIRST_REPORT.min(timeout) {
                    return Err(WaitError::NoNode(board.place()));
                }
                behind = target.judge(&nodes)?;
                if behind.is_empty() && !nodes.is_empty() {
                    return Ok(nodes);
                }
            }
            // The store may be restarting; the deadline decides.
            Ok(Err(error)) => trouble = Some(error),
            Err(_) => {}
        }
        if Instant::now() + LOOK >= deadline {
            return Err(match trouble {
                Some(error) => WaitError::Store(error),
                None if behind.is_empty() => WaitError::NoNode(board.place()),
                None => WaitError::Timeout {
                    waited: timeout,
                    behind,
                },
            });
        }
        sleep(LOOK).await;
    }
}

/// What a node still has, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub node: String,
    pub why: String,
}

/// Returns when no node has anything left at upstreams that are called by `names` and take nothing new, as nodes
/// that have heard of it say. `nodes` are those that lived before: one that is heard of no more may serve on, cut
/// off from the store.
pub async fn wait_drained(
    board: &StatusBoard,
    names: &[String],
    nodes: &[NodeStatus],
    timeout: Duration,
) -> Result<(), WaitError> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        known.insert(node.node.clone(), left_at(node, names));
    }
    let mut trouble = None;
    loop {
        match timeout_at(deadline, board.list()).await {
            Ok(Ok(nodes)) => {
                trouble = None;
                for node in &nodes {
                    known.insert(node.node.clone(), left_at(node, names));
                }
                let is_there = |name: &str| nodes.iter().any(|node| node.node == name);
                for (name, left) in &mut known {
                    if !is_there(name) && !left.is_empty() && !left[0].starts_with(SILENT) {
                        let before = std::mem::take(left).join(", ");
                        left.push(format!("{SILENT} any more: it said last that {before}"));
                    }
                }
                if known.values().all(Vec::is_empty) {
                    return Ok(());
                }
            }
            // The store may be restarting; the deadline decides.
            Ok(Err(error)) => trouble = Some(error),
            Err(_) => {}
        }
        if Instant::now() + LOOK >= deadline {
            let left = known.into_iter().flat_map(|(node, left)| {
                let left = left.into_iter();
                left.map(move |why| Left {
                    node: node.clone(),
                    why,
                })
            });
            return Err(match trouble {
                Some(error) => WaitError::Store(error),
                None => WaitError::NotDrained {
                    waited: timeout,
                    left: left.collect(),
                },
            });
        }
        sleep(LOOK).await;
    }
}

const SILENT: &str = "does not report";

/// Whether any node speaks of an upstream that is called so.
pub fn is_drain_known(nodes: &[NodeStatus], name: &str) -> bool {
    let drains = nodes.iter().flat_map(|node| &node.drains);
    drains.into_iter().any(|drain| drain.is_called(name))
}

fn left_at(node: &NodeStatus, names: &[String]) -> Vec<String> {
    let is_meant = |drain: &&Drain| names.iter().any(|name| drain.is_called(name));
    let meant = node.drains.iter().filter(is_meant);
    let mut left: Vec<_> = meant.filter(|drain| !drain.done).map(told).collect();
    let listed = node.drains.iter().filter(|drain| !drain.done).count();
    if node.drains_left > listed && left.is_empty() {
        let more = node.drains_left - listed;
        left.push(format!(
            "has {more} more upstreams to empty than it can list"
        ));
    }
    left
}

fn told(drain: &Drain) -> String {
    let Drain { unit, upstream, .. } = drain;
    match drain.in_flight {
        0 => format!("was at {unit}/{upstream} a moment ago"),
        n => format!("has {n} under way at {unit}/{upstream}"),
    }
}

struct Target {
    revision: u64,
    refused_from: u64,
    digest: Option<String>,
}

impl Target {
    fn of(snapshot: &Snapshot, revision: u64, newest_key: u64) -> Self {
        Self {
            revision,
            refused_from: newest_key,
            digest: Some(digest_text(snapshot.digest())),
        }
    }

    /// Who is behind; an error if a node that is there refused something.
    fn judge(&self, nodes: &[NodeStatus]) -> Result<Vec<Behind>, WaitError> {
        let mut behind = Vec::new();
        for node in nodes {
            let refusal = node
                .refused
                .iter()
                .find(|refusal| refusal.revision >= self.refused_from);
            if let Some(refusal) = refusal {
                return Err(WaitError::Refused {
                    node: node.node.clone(),
                    unit: refusal.unit.clone(),
                    revision: refusal.revision,
                    reason: refusal.reason(),
                });
            }
            let is_same = self.digest.as_ref().is_some_and(|d| *d == node.digest);
            if !is_same && node.revision < self.revision {
                behind.push(Behind {
                    node: node.node.clone(),
                    revision: node.revision,
                    wanted: self.revision,
                });
            }
        }
        Ok(behind)
    }
}

fn list<T: fmt::Display>(behind: &[T]) -> String {
    let words: Vec<String> = behind.iter().map(ToString::to_string).collect();
    words.join(", ")
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, why } = self;
        write!(f, "node {node} {why}")
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            revision,
            wanted,
        } = self;
        write!(
            f,
            "node {node} is at revision {revision}, {wanted} is wanted"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostic;
    use crate::status::{Refusal, Serving};

    fn node(name: &str, revision: u64, digest: &str) -> NodeStatus {
        NodeStatus {
            node: name.to_owned(),
            revision,
            digest: digest.to_owned(),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_node_is_there_by_revision_or_by_content() {
        let target = Target {
            revision: 10,
            refused_from: 8,
            digest: Some("d".to_owned()),
        };
        let nodes = [node("a", 10, "x"), node("b", 7, "d"), node("c", 9, "x")];
        let behind = target.judge(&nodes).expect("nothing refused");
        assert_eq!(behind.len(), 1);
        let error = WaitError::Timeout {
            waited: Duration::from_secs(10),
            behind,
        };
        assert_eq!(
            error.to_string(),
            "not everywhere within 10s: node c is at revision 9, 10 is wanted"
        );
    }

    #[test]
    fn a_refusal_counts_only_if_it_is_of_this_change() {
        let target = Target {
            revision: 10,
            refused_from: 10,
            digest: None,
        };
        let mut refusing = node("a", 12, "");
        refusing.refused.push(Refusal {
            unit: "services/web".to_owned(),
            revision: 9,
            since: String::new(),
            serving: Serving::LastGood,
            diagnostics: vec![Diagnostic::error(
                "bad-value",
                "unknown balance \"leastcom\"",
            )],
        });
        assert!(target.judge(std::slice::from_ref(&refusing)).is_ok());
        refusing.refused[0].revision = 11;
        let error = target.judge(&[refusing]).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "node a refused services/web at revision 11: error: unknown balance \"leastcom\""
        );
    }
}
