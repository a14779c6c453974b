//! Who was seen on the board, and who of them is missing. Knows no board and no clock.
//!
//! A node that ends in good order takes its status away, and that of one that died goes by its age: nobody can tell
//! the two apart, and both are gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::status::NodeStatus;

/// A node is remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// One that is started anew is away for a moment; so is every node where a store lost their leases. Told is who is
/// missing for longer than it takes a living node to say so again.
const MISSED: Duration = Duration::from_secs(5);

/// Nodes that are gone, the newest: names may be made up anew with every start.
const MOST_GONE: usize = 200;

pub(super) struct Roll {
    own: String,
    nodes: BTreeMap<String, Known>,
}

struct Known {
    status: NodeStatus,
    gone: Option<Gone>,
}

struct Gone {
    at: Instant,
    /// RFC 3339 in UTC.
    since: String,
    is_told: bool,
}

/// A node as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    #[serde(flatten)]
    status: NodeStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone_since: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::admin) struct Counts {
    /// With those that are gone.
    pub(in crate::admin) total: usize,
    pub(in crate::admin) gone: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Gone { node: String, since: String },
    Back { node: String },
}

impl Roll {
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            nodes: BTreeMap::new(),
        }
    }

    /// Takes in who is there; `at` is how the present time is written.
    pub(super) fn follow(&mut self, there: Vec<NodeStatus>, now: Instant, at: &str) -> Vec<Told> {
        let mut told = Vec::new();
        let mut before = std::mem::take(&mut self.nodes);
        for status in there {
            let node = status.node.clone();
            let gone = before.remove(&node).and_then(|known| known.gone);
            if gone.is_some_and(|gone| gone.is_told) {
                told.push(Told::Back { node: node.clone() });
            }
            self.nodes.insert(node, Known { status, gone: None });
        }
        let mut missing: Vec<_> = before.into_iter().collect();
        // Whoever asks this one knows that it lives.
        missing.retain(|(node, known)| {
            let is_old = |gone: &Gone| now.duration_since(gone.at) > REMEMBERED;
            *node != self.own && !known.gone.as_ref().is_some_and(is_old)
        });
        missing.sort_by_key(|(_, known)| {
            let at = known.gone.as_ref().map(|gone| gone.at);
            std::cmp::Reverse(at.unwrap_or(now))
        });
        missing.truncate(MOST_GONE);
        for (node, known) in missing {
            let mut gone = known.gone.unwrap_or_else(|| Gone {
                at: now,
                since: at.to_owned(),
                is_told: false,
            });
            if !gone.is_told && now.duration_since(gone.at) >= MISSED {
                gone.is_told = true;
                let since = gone.since.clone();
                let node = node.clone();
                told.push(Told::Gone { node, since });
            }
            // What it refused has no use any more.
            let status = known.status.shortened(0, 0);
            let gone = Some(gone);
            self.nodes.insert(node, Known { status, gone });
        }
        told
    }

    /// Whether somebody is missing of whom nobody was told.
    pub(super) fn misses_one(&self) -> bool {
        let mut gone = self.nodes.values().filter_map(|known| known.gone.as_ref());
        gone.any(|gone| !gone.is_told)
    }

    /// In the order of names.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let nodes = self.nodes.values().map(|known| Node {
            status: known.status.clone(),
            gone_since: known.gone.as_ref().map(|gone| gone.since.clone()),
        });
        nodes.collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let is_gone = |known: &&Known| known.gone.is_some();
        let own = usize::from(!self.nodes.contains_key(&self.own));
        Counts {
            total: self.nodes.len() + own,
            gone: self.nodes.values().filter(is_gone).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(names: &[&str]) -> Vec<NodeStatus> {
        let node = |name: &&str| NodeStatus {
            node: (*name).to_owned(),
            ..NodeStatus::default()
        };
        names.iter().map(node).collect()
    }

    #[test]
    fn who_is_missing_for_a_while_is_gone_and_forgotten_in_the_end() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut roll = Roll::new("a");
        let counts = |roll: &Roll| (roll.counts().total, roll.counts().gone);
        assert_eq!(counts(&roll), (1, 0), "itself");
        assert_eq!(roll.follow(there(&["a", "b"]), after(0), "0"), []);
        assert_eq!(counts(&roll), (2, 0));

        // For a moment only: nobody is told.
        assert_eq!(roll.follow(there(&["a"]), after(1), "1"), []);
        assert!(roll.misses_one());
        assert_eq!(counts(&roll), (2, 1));
        assert_eq!(roll.nodes()[1].gone_since.as_deref(), Some("1"));
        assert_eq!(roll.follow(there(&["a", "b"]), after(3), "3"), []);
        assert!(!roll.misses_one());

        assert_eq!(roll.follow(there(&["a"]), after(10), "10"), []);
        let (node, since) = ("b".to_owned(), "10".to_owned());
        let gone = Told::Gone { node, since };
        assert_eq!(roll.follow(there(&["a"]), after(16), "16"), [gone]);
        assert_eq!(roll.follow(there(&[]), after(17), "17"), []);
        assert_eq!(counts(&roll), (2, 1), "one that is asked lives");
        let node = "b".to_owned();
        let back = Told::Back { node };
        assert_eq!(roll.follow(there(&["a", "b"]), after(20), "20"), [back]);

        roll.follow(there(&["a"]), after(30), "30");
        roll.follow(there(&["a"]), after(30 + 3601), "3631");
        assert_eq!(counts(&roll), (1, 0));
    }
}
