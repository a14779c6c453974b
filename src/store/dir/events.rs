//! From file system events to what has to be read again.
//!
//! [`Pending::add`] runs on the watcher's own thread and never waits. Kinds of events differ between
//! file systems, so they are trusted only as far as "something is up with this path" and, for a file,
//! whether somebody may still be writing it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Work;
use super::names::{NameKind, kind_of};

/// A file that stays open for writing is read this long after its last write.
const WRITING: Duration = Duration::from_millis(500);

/// Beyond this many paths it is cheaper to look at everything.
const MAX_TOUCHED: usize = 4096;

const MAX_LINKS: usize = 1024;

#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    root: PathBuf,
    /// The same without links in it.
    real_root: PathBuf,
    /// Links below the root and what they lead to, by whatever name that has below the root.
    links: HashMap<PathBuf, PathBuf>,
    /// Paths above the root whose change means that the root is another directory now.
    anchors: Vec<PathBuf>,
    rewatch: bool,
    full: bool,
    touched: BTreeSet<PathBuf>,
    writing: HashMap<PathBuf, Instant>,
    /// Events were lost, nobody knows which.
    lost: bool,
    /// Until then lost events are most likely our own.
    lost_not_before: Option<Instant>,
    count: u64,
}

impl Pending {
    /// From now on events are about this root.
    pub(super) fn set_root(&self, root: &Path, anchors: Vec<PathBuf>) {
        let mut state = self.lock();
        state.root = root.to_owned();
        state.real_root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        state.anchors = anchors;
    }

    /// From now on an event about `target` is one about `link` too, and the other way round. Whether the
    /// target is below the root. Beyond a cap it is left to the safety net: every event is compared with
    /// every link.
    pub(super) fn add_link(&self, link: &Path, target: &Path) -> bool {
        let mut state = self.lock();
        let below = target
            .strip_prefix(&state.real_root)
            .ok()
            .map(Path::to_owned);
        let is_below = below.is_some();
        let goes_by_indirection = below.as_ref().is_some_and(|below| {
            let mut names = below.iter().filter_map(|name| name.to_str());
            names.any(|name| kind_of(name) == NameKind::Indirection)
        });
        // What is behind `..data` shows when that is swung.
        if !goes_by_indirection && state.links.len() < MAX_LINKS {
            let target = match below {
                Some(below) => state.root.join(below),
                None => target.to_owned(),
            };
            state.links.insert(link.to_owned(), target);
        }
        is_below
    }

    pub(super) fn forget_links(&self) {
        self.lock().links.clear();
    }

    pub(super) fn add(&self, event: &Event) {
        let mut state = self.lock();
        let before = state.count;
        if event.need_rescan() {
            state.lost = true;
            state.count += 1;
        }
        for path in &event.paths {
            for path in state.names_of(path) {
                state.add(&path, &event.kind);
            }
        }
        if state.count != before {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Something was lost, nobody knows what.
    pub(super) fn add_unknown(&self) {
        let mut state = self.lock();
        state.lost = true;
        state.count += 1;
        drop(state);
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Counts what was added ever.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// When something is due that no new event will tell of.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = self.lock();
        let lost = state.lost_not_before.filter(|_| state.lost);
        state.writing.values().copied().chain(lost).min()
    }

    /// Everything was compared with the disk. Reading a large tree makes so many events by itself that
    /// the kernel's queue may overflow, which must not lead to reading it again for ever: the next
    /// overflow is given some time.
    pub(super) fn scanned_all(&self, now: Instant, took: Duration) {
        self.lock().lost_not_before = Some(now + Duration::from_secs(1) + took * 20);
    }

    pub(super) fn take(&self, now: Instant) -> Work {
        let mut state = self.lock();
        let due: Vec<PathBuf> = state
            .writing
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            state.writing.remove(&path);
            state.touched.insert(path);
        }
        if state.lost && state.lost_not_before.is_none_or(|at| at <= now) {
            state.lost = false;
            state.full = true;
        }
        Work {
            rewatch: std::mem::take(&mut state.rewatch),
            full: std::mem::take(&mut state.full),
            touched: std::mem::take(&mut state.touched).into_iter().collect(),
            writing: state.writing.keys().cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All names of the place that an event calls `path`.
    fn names_of(&self, path: &Path) -> Vec<PathBuf> {
        let mut names = vec![path.to_owned()];
        for (link, target) in &self.links {
            if let Ok(rest) = path.strip_prefix(link)
                && !rest.as_os_str().is_empty()
            {
                names.push(target.join(rest));
            }
        }
        for at in 0..names.len() {
            for (link, target) in &self.links {
                if let Ok(rest) = names[at].strip_prefix(target) {
                    // Joining nothing would add a slash.
                    let name = match rest.as_os_str().is_empty() {
                        true => link.clone(),
                        false => link.join(rest),
                    };
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        names
    }

    fn add(&mut self, path: &Path, kind: &EventKind) {
        if is_noise(kind) {
            return;
        }
        let Ok(below) = path.strip_prefix(&self.root) else {
            if self.anchors.iter().any(|anchor| anchor == path) {
                self.root_changed();
            }
            return;
        };
        if below.as_os_str().is_empty() {
            // The times and rights of the root change with every file in it.
            if !matches!(kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                self.root_changed();
            }
            return;
        }
        let Some(touched) = named(below) else {
            return;
        };
        self.count += 1;
        let may_be_written = match kind {
            EventKind::Modify(ModifyKind::Data(_)) => true,
            // A hard or symbolic link is complete when it is there; a file is about to be written.
            EventKind::Create(CreateKind::File) => touched == below && is_fresh_file(path),
            _ => false,
        };
        if may_be_written {
            self.writing.insert(touched, Instant::now() + WRITING);
            return;
        }
        self.writing.remove(&touched);
        self.touched.insert(touched);
        if self.touched.len() + self.writing.len() > MAX_TOUCHED {
            self.touched.clear();
            self.writing.clear();
            self.full = true;
        }
    }

    fn root_changed(&mut self) {
        self.count += 1;
        self.rewatch = true;
        self.full = true;
    }
}

/// Opening and reading: we do that ourselves.
fn is_noise(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

/// What to read again for an event below the root, if anything.
fn named(below: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    let mut names = below.components().peekable();
    while let Some(name) = names.next() {
        let name = name.as_os_str();
        // A name that is not UTF-8 is looked at: the scan tells that it cannot be used.
        match name.to_str().map_or(NameKind::Key, kind_of) {
            NameKind::Key => path.push(name),
            NameKind::Ignored => return None,
            // What happens inside shows when the link is swung, which happens here.
            NameKind::Indirection => return names.peek().is_none().then_some(path),
        }
    }
    Some(path)
}

fn is_fresh_file(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_what_to_read_again() {
        let check = |below: &str, expected: Option<&str>| {
            assert_eq!(
                named(Path::new(below)),
                expected.map(PathBuf::from),
                "{below}"
            );
        };
        check("services/web/balance", Some("services/web/balance"));
        check("services/web/.balance.swp", None);
        check(".git/HEAD", None);
        check("..data", Some(""));
        check("services/..data", Some("services"));
        check("..2026_11_20/balance", None);
    }

    #[test]
    fn a_written_file_is_due_when_closed_or_after_a_while() {
        let pending = Pending::default();
        pending.set_root(Path::new("/keys"), Vec::new());
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let write = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        pending.add(&event(write, "/keys/a"));
        let now = Instant::now();
        assert!(pending.take(now).touched.is_empty(), "still open");
        assert_eq!(pending.take(now).writing, [PathBuf::from("a")]);
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        pending.add(&event(close, "/keys/a"));
        assert_eq!(pending.take(now).touched, [PathBuf::from("a")]);

        pending.add(&event(write, "/keys/a"));
        let later = Instant::now() + WRITING;
        assert_eq!(pending.take(later).touched, [PathBuf::from("a")]);
    }

    #[test]
    fn too_many_paths_become_everything() {
        let pending = Pending::default();
        pending.set_root(Path::new("/keys"), Vec::new());
        for i in 0..=MAX_TOUCHED {
            let removed = EventKind::Remove(notify::event::RemoveKind::File);
            pending.add(&Event::new(removed).add_path(format!("/keys/{i}").into()));
        }
        let work = pending.take(Instant::now());
        assert!(work.full && work.touched.is_empty());
    }
}
