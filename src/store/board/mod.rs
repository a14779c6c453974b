//! The status board: every node of a balancer writes what it runs, and everybody can read it.
//!
//! It lies beside the key tree, never in it: `<root>.status/nodes/<node>` in etcd, under a lease, or
//! `<PATH>.status/nodes/<node>.json` next to a directory, refreshed while the node lives. With several
//! stores it is on the first etcd, else on the first directory. A `docker:` store has none.
//!
//! Publishing never makes the balancer wait and never fails it: the newest status replaces whatever was
//! not written yet, and is tried again until it is there.

mod dir;
mod etcd;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::once::{TreeState, read_tree};
use super::{StoreError, StoreOptions, StoreSpec};
use crate::status::NodeStatus;

/// A node that wrote nothing for this long is not alive.
const LIFETIME: Duration = Duration::from_secs(12);

/// How often a living node says so.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// Between two writes. The first of a burst of changes is written at once; the store is not asked to take
/// a write for each of a thousand changes per second.
const PAUSE: Duration = Duration::from_millis(50);

/// What goes into a published status at most.
const MAX_REFUSALS: usize = 200;
const MAX_DIAGNOSTICS: usize = 5;

/// For one write or one list.
const LIMIT: Duration = Duration::from_secs(5);

/// Where the nodes of one balancer meet.
pub struct StatusBoard {
    specs: Vec<StoreSpec>,
    options: StoreOptions,
    place: Place,
    newest: watch::Sender<Option<NodeStatus>>,
    writer: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone)]
enum Place {
    Etcd(Box<etcd::Board>),
    Dir(dir::Board),
    /// An engine takes no writes: a node tells of itself at its own listener alone.
    Nowhere(String),
}

impl StatusBoard {
    /// Touches nothing yet. Must be called inside a tokio runtime if [`StatusBoard::publish`] is to be.
    pub fn open(specs: &[StoreSpec], options: &StoreOptions) -> Result<Self, StoreError> {
        let is_etcd = |spec: &&StoreSpec| matches!(spec, StoreSpec::Etcd(_));
        let is_dir = |spec: &&StoreSpec| matches!(spec, StoreSpec::Dir(_));
        let first = specs.iter().find(is_etcd);
        let is_docker = |spec: &&StoreSpec| matches!(spec, StoreSpec::Docker(_));
        let first = first.or_else(|| specs.iter().find(is_dir));
        let place = match first.or_else(|| specs.iter().find(is_docker)) {
            None | Some(StoreSpec::Certs(_) | StoreSpec::Given(_)) => {
                return Err(StoreError::NoStore);
            }
            Some(StoreSpec::Docker(spec)) => Place::Nowhere(spec.to_string()),
            Some(StoreSpec::Etcd(spec)) => {
                Place::Etcd(Box::new(etcd::Board::new(spec.clone(), options.clone())))
            }
            Some(StoreSpec::Dir(path)) => Place::Dir(dir::Board::new(path)),
        };
        Ok(Self {
            specs: specs.to_vec(),
            options: options.clone(),
            place,
            newest: watch::Sender::new(None),
            writer: None,
        })
    }

    /// Replaces this node's status. Returns at once; the writing happens in a task of its own.
    pub fn publish(&mut self, status: &NodeStatus) {
        let status = status.clone().shortened(MAX_REFUSALS, MAX_DIAGNOSTICS);
        self.newest.send_replace(Some(status));
        if self.writer.is_none() {
            let newest = self.newest.subscribe();
            let place = self.place.clone();
            self.writer = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                match place {
                    Place::Etcd(board) => board.write(newest).await,
                    Place::Dir(board) => board.write(newest).await,
                    Place::Nowhere(_) => {}
                }
            })));
        }
    }

    /// Takes this node's status away, for a node that ends in good order. A node that is killed is gone
    /// after its lifetime of 12 s. Takes a second at most.
    pub async fn close(mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        // The writer's task sees the sender go, and cleans up behind itself.
        drop(self.newest);
        if tokio::time::timeout(Duration::from_secs(1), writer)
            .await
            .is_err()
        {
            warn!("status of this node could not be taken away, it will expire");
        }
    }

    /// The nodes that are alive, in name order.
    pub async fn list(&self) -> Result<Vec<NodeStatus>, StoreError> {
        let mut nodes = match &self.place {
            Place::Etcd(board) => board.list().await?,
            Place::Dir(board) => board.list().await?,
            Place::Nowhere(store) => {
                return Err(StoreError::Failed {
                    store: store.clone(),
                    reason:
                        "nodes write no status there; ask a node itself: GET /v1/status at --stats"
                            .to_owned(),
                });
            }
        };
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(nodes)
    }

    /// What the stores hold at this moment: what `wait` without a revision waits for.
    ///
    /// A revision alone would not do. In etcd the newest revision of any key does not tell of deletions,
    /// and the cluster's own revision rises with every status a node writes and so is never reached by
    /// the nodes. In a directory two changes may share one time. The digest of the content tells.
    pub async fn tree(&self, timeout: Duration) -> Result<TreeState, StoreError> {
        read_tree(&self.specs, &self.options, timeout).await
    }

    /// Whether there is one at all.
    pub fn is_somewhere(&self) -> bool {
        !matches!(self.place, Place::Nowhere(_))
    }

    /// Where the status is, for messages.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Etcd(board) => board.place(),
            Place::Dir(board) => board.place(),
            Place::Nowhere(store) => store.clone(),
        }
    }
}

/// A node's name as a file or key name: one path component, whatever is in it.
fn file_name(node: &str) -> String {
    let mut name = String::with_capacity(node.len());
    for (at, byte) in node.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// A status as it was read. What cannot be understood is another program's, or of another age.
fn parse(from: &str, text: &[u8]) -> Option<NodeStatus> {
    match serde_json::from_slice::<NodeStatus>(text) {
        Ok(status) if !status.node.is_empty() => Some(status),
        Ok(_) => None,
        Err(error) => {
            // Whoever looks finds it each time.
            if told_first(from) {
                warn!(key = from, %error, "status of a node cannot be read");
            }
            None
        }
    }
}

/// Whether nobody was told of this one before; of more than there is room for, nobody is.
fn told_first(from: &str) -> bool {
    const ROOM: usize = 100;
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.len() < ROOM && told.insert(from.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_node_name_is_one_path_component() {
        assert_eq!(file_name("lb-1.example.com"), "lb-1.example.com");
        assert_eq!(file_name("../a b"), "%2E.%2Fa%20b");
        assert_eq!(file_name("knoten-ä"), "knoten-%C3%A4");
    }
}
