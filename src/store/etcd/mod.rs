//! The etcd v3 store: list at one revision, watch from the next, for ever.
//!
//! The client library is a thin stub; the loop is here. One endpoint is used at a time (the library's
//! own balancing picks dead members as readily as live ones), and any failure moves on to the next.
//!
//! What is kept across connections is the tree and its [`Position`]. On a new connection the position is
//! compared with the cluster first: the same cluster, not younger than we are, means the watch goes
//! on where it broke off; anything else (another cluster, a lower revision, a lower raft term: a
//! restored backup) means listing again. A watch from a revision the cluster has not reached would
//! be accepted by the server and stay silent. Listing again is compared with the tree that is there,
//! so that an unchanged tree makes no change.
//!
//! A backup that was restored and written to beyond our revision while we were away looks like a cluster
//! that may be resumed (a restored member can have the old cluster's number, and its term). So every
//! watch that was resumed is followed by a list within some seconds, spread at random over the fleet,
//! which puts right whatever differs.
//!
//! **Which revision is safe to resume from.** The revision of the last event applied, or that of a
//! periodic progress notification. Not the header of just any message: a watcher that catches up gets
//! its events in batches whose headers already carry the cluster's newest revision, so that a
//! connection lost between two batches would lose the second. And not a progress message that was
//! asked for: etcd up to 3.4.24 and 3.5.7 sends it ahead of events that are still under way. Those
//! serve as a sign of life only.
//!
//! **Fragments are not asked for.** The client library does not show the flag that tells a fragment
//! from a whole, so nothing could say when a revision is complete. Without fragments the server puts
//! all events of a revision into one message (also when it batches for a slow watcher), however large; the
//! limit for received messages is raised accordingly. A revision is at most 1.5 MiB of request, but
//! deleting a large prefix makes one event per key.

mod connect;
mod keys;
mod list;
mod watch;

use std::time::Duration;

use etcd_client::{Client, ResponseHeader};
use tokio::time::Instant;
use tracing::{info, warn};

use self::keys::KeyTree;
use super::StoreOptions;
use super::feed::Feed;
use super::spec::EtcdSpec;
use crate::backoff::Backoff;

pub(super) use self::connect::{EtcdError, connect, limited};
pub(super) use self::list::list;

/// For one answer. A list of a large tree is many answers.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// After a watch was resumed the tree is compared with a list within this time.
const CHECK: Duration = Duration::from_secs(10);

/// For a received message; see the module's words on fragments.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// How far the tree is, and in the history of which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    cluster: u64,
    /// Raft terms only rise; a restored backup starts over.
    term: u64,
    /// Everything up to and including this revision is in the tree.
    revision: i64,
}

impl Position {
    fn of(header: Option<&ResponseHeader>) -> Result<Self, EtcdError> {
        let header = header.ok_or(EtcdError::Protocol("an answer without a header"))?;
        Ok(Self {
            cluster: header.cluster_id(),
            term: header.raft_term(),
            revision: header.revision(),
        })
    }

    /// Whether a cluster that is at `now` can tell what happened after `self`.
    fn may_resume(self, now: Position) -> bool {
        self.cluster == now.cluster && self.term <= now.term && self.revision <= now.revision
    }
}

/// Follows the keys under the root until the task is dropped.
pub(super) async fn follow(spec: EtcdSpec, options: StoreOptions, feed: Feed) {
    let mut follower = Follower {
        tree: KeyTree::new(options.key_prefix()),
        position: None,
        options,
        spec,
        feed,
    };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut failures = 0;
    loop {
        for endpoint in follower.spec.endpoints.clone() {
            let mut watched = false;
            let error = match follower.session(&endpoint, &mut watched).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            follower.feed.failed(&format!("{endpoint}: {error}"));
            if watched {
                backoff.reset();
                failures = 0;
            }
            failures += 1;
            // Every member gets its first try at once; then the whole cluster is spared.
            if failures >= follower.spec.endpoints.len() {
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

struct Follower {
    spec: EtcdSpec,
    options: StoreOptions,
    feed: Feed,
    tree: KeyTree,
    position: Option<Position>,
}

/// A session ends by an error only.
enum Never {}

/// Why a watch ended without the connection being at fault.
enum WatchEnd {
    /// The revisions asked for are gone, or came too large to be received.
    ListAgain(String),
}

impl Follower {
    /// One connection, for as long as it lasts. Sets `watched` once changes are followed.
    async fn session(&mut self, endpoint: &str, watched: &mut bool) -> Result<Never, EtcdError> {
        let mut client = connect(endpoint, self.spec.tls, &self.options.etcd).await?;
        let mut check_at = None;
        if let Some(position) = self.position {
            let now = list::probe(&mut client, self.tree.prefix()).await?;
            if !position.may_resume(now) {
                warn!(
                    store = %self.feed.store,
                    known_revision = position.revision,
                    revision = now.revision,
                    same_cluster = position.cluster == now.cluster,
                    event = "store_restored",
                    "etcd is not where it was left (restored from a backup?), listing again"
                );
                self.position = None;
            }
            check_at = Some(Instant::now() + CHECK.mul_f64(0.2 + 0.8 * fastrand::f64()));
        }
        loop {
            let position = match self.position {
                Some(position) => position,
                None => {
                    check_at = None;
                    self.list(&mut client).await?
                }
            };
            let end = self.watch(&mut client, position, watched, &mut check_at);
            let WatchEnd::ListAgain(why) = end.await?;
            info!(store = %self.feed.store, "listing again: {why}");
            self.position = None;
        }
    }

    async fn list(&mut self, client: &mut Client) -> Result<Position, EtcdError> {
        let listed = list::list(client, self.tree.prefix()).await?;
        self.tree.replace(listed.entries);
        self.position = Some(listed.position);
        self.publish(listed.position);
        Ok(listed.position)
    }

    /// Compares the tree with a list while the watch goes on. Events that the list already has come
    /// again, and are known by their revision.
    async fn check(&mut self, client: &mut Client) -> Result<(), EtcdError> {
        let before = self.tree.digest();
        self.list(client).await?;
        if self.tree.digest() != before {
            warn!(
                store = %self.feed.store,
                event = "store_restored",
                "keys were not as this node knew them after reconnecting (restored from a backup?), taken over"
            );
        }
        Ok(())
    }

    fn publish(&mut self, position: Position) {
        let revision = u64::try_from(position.revision).unwrap_or(0);
        self.feed.publish(self.tree.at(revision));
    }
}
