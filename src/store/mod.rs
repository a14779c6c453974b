//! Stores: where the key tree comes from.
//!
//! [`open`] starts one task per store and gives a [`Store`], whose [`Store::next`] yields the newest
//! complete [`Snapshot`](crate::snapshot::Snapshot) whenever there is one. What arrived while the caller was at work is one
//! batch: nothing queues up, and the newest wins. A store that fails keeps its last tree; it never
//! yields an empty one because of an error.
//!
//! - [`StoreSpec`]: `etcd://`, `etcds://`, `dir:`, `docker:`. [`StoreOptions`]: root, settle, grace, credentials.
//! - `etcd`: list at one revision, watch from the next, and what to do when that breaks.
//! - `dir`: a directory as a key tree. `certs`: a directory of certificate files as keys.
//! - `docker`: containers that announce themselves, as keys.
//! - [`Monitor`]: how the stores fare ([`StoreHealth`]) and which keys were left out, readable from
//!   anywhere while somebody waits in `next`.
//! - [`read_once`]: one snapshot, for the subcommands that look and go.
//! - [`Announcer`]: what an agent says of its host, under a lease; `announced` lays it under the tree.
//! - [`SharedTickets`]: one value that nodes agree on, beside the tree.
//! - [`Writer`]: keys that are written, as one change.
//! - [`StatusBoard`]: what every node tells about itself, beside the tree; [`wait()`] on it.
//!
//! **Several stores are one tree.** Where two have the same key the later `--store` wins, key by
//! key; when the later one loses the key, the earlier one's value shows again. What is this node's own
//! (files of certificates, the environment) goes below all of them, is told where it is hidden, and is
//! in neither revision nor digest.
//!
//! **The revision** of a snapshot is etcd's own when there is exactly one etcd store, whatever else is
//! merged in: so `pointsman wait --revision` takes what a put returned. It can be lower than before
//! when the cluster was restored from a backup; that is logged. With `dir:` stores only it is the
//! time of the newest change in microseconds, the same on every node that reads the same directory.
//! With several etcd clusters it is the sum of theirs, which rises but can be compared with nothing
//! else. A `docker:` store counts as a directory: its revision is the time at which this node saw the newest change. [`Snapshot::digest`](crate::snapshot::Snapshot::digest) compares content in all cases.
//!
//! What is not here: templates, units, routes, and any thought about what a key means, except that a
//! tree without anything under `services/`, `tcp-services/` and `udp-services/` has no services.

mod announce;
mod announced;
mod board;
mod certs;
mod dir;
mod docker;
mod etcd;
mod feed;
mod guard;
mod hub;
mod once;
mod options;
mod permit;
mod settle;
mod spec;
mod tickets;
mod wait;
mod write;

pub use announce::{Announcer, Farewell, LEASE, MIN_LEASE, is_agent_name, own_address};
pub use board::StatusBoard;
pub use feed::{Monitor, StoreHealth};
pub use hub::{Store, open};
pub use once::{TreeState, read_once, read_tree};
pub use options::{DEFAULT_ROOT, EtcdOptions, StoreOptions, normalise_root};
pub use spec::{DockerEngine, DockerSpec, EtcdSpec, GivenKeys, StoreSpec, StoreSpecError};
pub use tickets::SharedTickets;
pub use wait::{Behind, Left, WaitError, is_drain_known, wait, wait_drained};
pub use write::{Edit, Held, WriteError, Writer, place};

/// Why a store gave nothing to a caller who could not wait for ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{store} gave no keys within {waited:?}: {reason}")]
    NoAnswer {
        store: String,
        waited: std::time::Duration,
        reason: String,
    },
    #[error("{store}: {reason}")]
    Failed { store: String, reason: String },
    #[error("no store given")]
    NoStore,
}

/// A key longer than this is left out: it is no name anybody chose.
const MAX_KEY: usize = 1024;

/// A value longer than this is not kept, and whoever reads its key fails. etcd's own limit for a
/// request is 1.5 MiB; a certificate
/// bundle, the largest thing that belongs here, is some kilobytes.
const MAX_VALUE: usize = 1024 * 1024;

/// More keys than this are refused as a whole: the root is most likely wrong.
const MAX_KEYS: usize = 2_000_000;

/// How many diagnostics about left-out keys a store keeps.
const MAX_PROBLEMS: usize = 1000;
