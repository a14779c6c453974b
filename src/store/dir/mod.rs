//! The directory store: a path is a key, a file's content is its value.
//!
//! - One trailing newline is not part of the value. Anything else is, down to the last byte.
//! - Symbolic links are followed, to files and to directories. Names that start with a dot, and what
//!   editors leave behind (`~`, `.swp` and the like), are no keys.
//! - A name that is not UTF-8: left out, and told. A file larger than 1 MiB or unreadable, a link that leads
//!   nowhere: told, and whoever reads the key fails.
//! - A file or directory that cannot be read keeps its last value. A root that is gone keeps the last
//!   tree, and is looked for every second.
//!
//! **Seeing changes.** Every directory is watched, and so is the one above the root, so that a root that
//! is renamed over, or is a link that is swung around, is followed. Only what an event names is read
//! again; a change of a name that starts with two dots (the `..data` link Kubernetes swings around when
//! it updates a volume) means everything in that directory. Every 30 s all of it is compared with the
//! disk by file times, as a safety net for lost events and for file systems that have none. Where the
//! kernel's watch limits are used up the directory is polled, and the health says so.
//!
//! **Half-written files.** A plain `echo x > file` truncates, writes and closes. The file is read when it
//! was closed (or renamed, linked, removed); one that stays open for writing is read half a second
//! after its last write. Then 2 ms of quiet, at most 20, make one batch. For several files in one step
//! write a new directory and rename it, or swing a link: what is renamed is seen whole.

mod events;
mod names;
mod scan;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use self::events::Pending;
use self::scan::Scanner;
use super::feed::{Feed, Tree};

/// The safety net's mesh.
const RESCAN: Duration = Duration::from_secs(30);

/// While nothing tells of changes: the root is gone, or no watches are to be had.
const POLL: Duration = Duration::from_secs(1);

const QUIET: Duration = Duration::from_millis(2);
const QUIET_ROUNDS: u32 = 10;

/// What a scan looks at.
#[derive(Debug, Default)]
struct Work {
    /// Everything, and the watches anew.
    rewatch: bool,
    /// Everything.
    full: bool,
    /// Below the root.
    touched: Vec<PathBuf>,
    /// Open for writing at this moment: not to be read if there is a value already.
    writing: Vec<PathBuf>,
}

/// Follows the directory until the task is dropped. `shape` makes keys of what the files say.
pub(super) async fn follow(path: PathBuf, feed: Feed, mut shape: impl FnMut(Tree) -> Tree + Send) {
    let pending = Arc::new(Pending::default());
    let mut scanner = Scanner::new(absolute(&path), Arc::clone(&pending));
    let mut work = Work {
        rewatch: true,
        full: true,
        ..Work::default()
    };
    let mut last_full = Instant::now();
    loop {
        let started = Instant::now();
        let is_full = work.full;
        // Files block; a scan of everything may take a while.
        let run = tokio::task::spawn_blocking(move || {
            let result = scanner.run(&work);
            (scanner, result)
        });
        let Ok((returned, result)) = run.await else {
            // It panicked; whoever started this task starts it again.
            return;
        };
        scanner = returned;
        let took = started.elapsed();
        if is_full {
            last_full = started;
            pending.scanned_all(Instant::now(), took);
        }
        let every = match result {
            Ok(tree) => {
                feed.note(scanner.watch_problem());
                feed.connected("reading the directory");
                if let Some(tree) = tree {
                    feed.publish(shape(tree));
                }
                if scanner.is_watching() {
                    RESCAN
                } else {
                    POLL.max(took * 20)
                }
            }
            Err(error) => {
                feed.failed(&error.to_string());
                POLL
            }
        };
        work = next_work(&pending, last_full + every, scanner.is_lost()).await;
    }
}

/// Waits for events, or for the time when everything is to be compared.
async fn next_work(pending: &Pending, full_at: Instant, lost: bool) -> Work {
    loop {
        let wake = pending.next_due().map_or(full_at, |due| due.min(full_at));
        if timeout_at(wake, pending.changed()).await.is_ok() {
            pending.wait_for_quiet().await;
        }
        let now = Instant::now();
        let mut work = pending.take(now);
        if now >= full_at {
            work.full = true;
            work.rewatch |= lost;
        }
        if work.full || work.rewatch || !work.touched.is_empty() {
            return work;
        }
    }
}

/// The path without `.` in it; with the working directory in front where it is relative.
/// Whether a file of this name is a key, or part of one's path.
pub(super) fn is_key(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0') && names::kind_of(name) == names::NameKind::Key
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Pending {
    /// Sleeps until nothing was added for a moment, within reason.
    async fn wait_for_quiet(&self) {
        for _ in 0..QUIET_ROUNDS {
            let before = self.count();
            sleep(QUIET).await;
            if self.count() == before {
                return;
            }
        }
    }
}
