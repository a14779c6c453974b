//! Reading the disk into the tree: all of it, or what was touched.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Work;
use super::events::Pending;
use super::names::{NameKind, kind_of};
use super::watch::Watches;
use crate::diag::Diagnostic;
use crate::snapshot::{Key, Snapshot};
use crate::store::feed::{Problems, Tree};
use crate::store::{MAX_KEY, MAX_KEYS, MAX_VALUE};

/// Deeper than any key goes; links that lead round in circles are met earlier.
const MAX_DEPTH: usize = 32;

/// A file that changed this shortly before it was read may have changed again with the same time.
const COARSE_CLOCK: Duration = Duration::from_millis(100);

/// Why there is no tree. The last one stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error("directory {0} does not exist (any more)")]
    Gone(String),
    #[error("directory {0} cannot be read: {1}")]
    Unreadable(String, io::Error),
    #[error("more than {MAX_KEYS} files under {0}, is it the right directory?")]
    TooMany(String),
}

/// The tree of one directory and what is known of the files it came from.
pub(super) struct Scanner {
    root: PathBuf,
    watches: Watches,
    snapshot: Snapshot,
    stamps: HashMap<Key, Stamp>,
    problems: Problems,
    /// The newest time met anywhere: files, links and directories, in microseconds.
    clock: u64,
    /// The newest time of a file or a link to one.
    newest_key: u64,
    /// Of the last tree given out; `None`: there was none.
    revision: Option<u64>,
    /// Whether the root could not be read.
    lost: bool,
}

/// What a file looked like when it was read. `size` and times of the file behind a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    /// Not compared alone: whether the times can be trusted to show the next change.
    settled: bool,
}

/// One pass over a part of the tree.
struct Pass<'a> {
    writing: &'a HashSet<String>,
    found: HashSet<Key>,
    bad: HashSet<String>,
    /// Directories on the way to where we are, against links in circles.
    above: Vec<(u64, u64)>,
}

impl Scanner {
    pub(super) fn new(root: PathBuf, pending: Arc<Pending>) -> Self {
        Self {
            root,
            watches: Watches::new(pending),
            snapshot: Snapshot::default(),
            stamps: HashMap::new(),
            problems: Problems::default(),
            clock: 0,
            newest_key: 0,
            revision: None,
            lost: false,
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watches.is_watching()
    }

    pub(super) fn watch_problem(&self) -> Option<&str> {
        self.watches.problem()
    }

    /// Whether the last pass found no root: the next one has to watch anew.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// `None` if nothing changed.
    pub(super) fn run(&mut self, work: &Work) -> Result<Option<Tree>, ScanError> {
        let result = self.scan(work);
        self.lost = result.is_err();
        result
    }

    fn scan(&mut self, work: &Work) -> Result<Option<Tree>, ScanError> {
        if work.rewatch || self.lost {
            self.watches.restart(&self.root);
        }
        let before = (self.snapshot.digest(), self.problems.list());
        let writing = work.writing.iter().map(|path| key_of(path)).collect();
        if work.full || self.lost {
            self.watches.forget_links();
            self.look_at(Path::new(""), &writing)?;
        } else {
            for path in &work.touched {
                self.look_at(path, &writing)?;
            }
        }
        let problems = self.problems.list();
        let changed = self.snapshot.digest() != before.0 || problems != before.1;
        let revision = match self.revision {
            Some(last) if !changed => last,
            Some(last) => (last + 1).max(self.clock),
            None => self.clock,
        };
        if self.revision == Some(revision) {
            return Ok(None);
        }
        self.revision = Some(revision);
        self.snapshot.set_revision(revision);
        Ok(Some(Tree {
            snapshot: self.snapshot.clone(),
            raw: None,
            newest_key: self.newest_key,
            problems,
        }))
    }

    /// Brings `below` (a file, a directory or nothing any more) up to date.
    fn look_at(&mut self, below: &Path, writing: &HashSet<String>) -> Result<(), ScanError> {
        let path = self.root.join(below);
        let dir = key_of(below);
        let is_root = dir.is_empty();
        let mut pass = Pass {
            writing,
            found: HashSet::new(),
            bad: HashSet::new(),
            above: Vec::new(),
        };
        if !is_root && !self.come_down(below, &mut pass) {
            return Ok(());
        }
        match fs::metadata(&path) {
            Ok(meta) if is_root && !meta.is_dir() => {
                let error = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(ScanError::Unreadable(self.shown(), error));
            }
            Ok(_) if is_root => {
                // Links on the way to the root are part of what can change.
                for path in self.root.clone().ancestors() {
                    if let Ok(meta) = fs::symlink_metadata(path)
                        && (meta.is_symlink() || path == self.root)
                    {
                        self.clock = self.clock.max(time_of(&meta));
                    }
                }
                self.visit_dir(&path, "", &mut pass)?;
            }
            Ok(meta) => {
                let is_circle = pass.above.contains(&(meta.dev(), meta.ino()));
                if meta.is_dir() && !is_circle {
                    self.watches.add_dir(&path);
                }
                // The directory's time tells of names that are gone.
                self.visit_parent_time(&path);
                self.visit(&path, &dir, &mut pass)?;
            }
            Err(error) if is_root && error.kind() == io::ErrorKind::NotFound => {
                return Err(ScanError::Gone(self.shown()));
            }
            Err(error) if is_root => return Err(ScanError::Unreadable(self.shown(), error)),
            Err(_) => {
                // Gone, or a link that leads nowhere: the visit tells which.
                self.visit_parent_time(&path);
                self.visit(&path, &dir, &mut pass)?;
            }
        }
        self.forget_all_but(&dir, &pass);
        Ok(())
    }

    /// Notes the directories between the root and `below`. `false` if the way goes round in circles.
    fn come_down(&self, below: &Path, pass: &mut Pass<'_>) -> bool {
        let Some(parent) = below.parent() else {
            return true;
        };
        let mut dir = self.root.clone();
        for name in std::iter::once(None).chain(parent.iter().map(Some)) {
            dir.extend(name);
            // What is gone on the way is told by what comes after.
            let Ok(meta) = fs::metadata(&dir) else { break };
            let identity = (meta.dev(), meta.ino());
            if pass.above.contains(&identity) {
                return false;
            }
            pass.above.push(identity);
        }
        true
    }

    fn visit_parent_time(&mut self, path: &Path) {
        if let Some(meta) = path.parent().and_then(|dir| fs::metadata(dir).ok()) {
            self.clock = self.clock.max(time_of(&meta));
        }
    }

    /// Whatever is at `path`, if it is anything.
    fn visit(&mut self, path: &Path, key: &str, pass: &mut Pass<'_>) -> Result<(), ScanError> {
        let Ok(link) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        self.clock = self.clock.max(time_of(&link));
        let meta = if link.is_symlink() {
            match fs::metadata(path) {
                Ok(meta) => meta,
                Err(error) => {
                    let why = format!("link cannot be followed: {error}");
                    let problem = Diagnostic::warning("dangling-link", &why)
                        .help("mend what it points to, or remove it");
                    self.mark_unusable(key, &why, problem, pass);
                    return Ok(());
                }
            }
        } else {
            link.clone()
        };
        if link.is_symlink() && !pass.above.contains(&(meta.dev(), meta.ino())) {
            self.watches.add_link(path, &meta);
        }
        if meta.is_dir() {
            return self.visit_dir(path, key, pass);
        }
        if meta.is_file() {
            self.newest_key = self.newest_key.max(time_of(&link)).max(time_of(&meta));
            self.clock = self.clock.max(time_of(&meta));
            self.visit_file(path, key, &meta, pass);
            if self.stamps.len() > MAX_KEYS {
                return Err(ScanError::TooMany(self.shown()));
            }
        }
        Ok(())
    }

    fn visit_dir(&mut self, path: &Path, key: &str, pass: &mut Pass<'_>) -> Result<(), ScanError> {
        let entries = fs::metadata(path).and_then(|meta| Ok((meta, fs::read_dir(path)?)));
        let (meta, entries) = match entries {
            Ok(entries) => entries,
            Err(error) if key.is_empty() => {
                return Err(ScanError::Unreadable(self.shown(), error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let message =
                    format!("directory cannot be read, its keys stay as they were: {error}");
                self.keep_all_in(key, pass);
                self.tell(key, Diagnostic::warning("unreadable", message), pass);
                return Ok(());
            }
        };
        self.clock = self.clock.max(time_of(&meta));
        let identity = (meta.dev(), meta.ino());
        if pass.above.contains(&identity) || pass.above.len() >= MAX_DEPTH {
            let problem = Diagnostic::warning(
                "link-circle",
                "directory is left out, it contains itself or is too deep",
            )
            .help("remove the link");
            self.leave_out(key, problem, pass);
            return Ok(());
        }
        pass.above.push(identity);
        for entry in entries {
            let Ok(entry) = entry else {
                // Reading broke off in the middle: what was not seen is not gone.
                self.keep_all_in(key, pass);
                break;
            };
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = join(key, &name.to_string_lossy());
                let problem =
                    Diagnostic::warning("key-not-utf8", "file whose name is not UTF-8 is left out")
                        .help("rename it");
                self.leave_out(&shown, problem, pass);
                continue;
            };
            if kind_of(name) == NameKind::Key {
                self.visit(&entry.path(), &join(key, name), pass)?;
            }
        }
        pass.above.pop();
        Ok(())
    }

    fn visit_file(&mut self, path: &Path, key: &str, meta: &Metadata, pass: &mut Pass<'_>) {
        if key.len() > MAX_KEY {
            let message = format!("key of {} bytes is left out", key.len());
            let problem = Diagnostic::warning("key-too-long", message)
                .help(format!("keys have at most {MAX_KEY} bytes"));
            let cut: String = key.chars().take(MAX_KEY / 4).collect();
            return self.leave_out(&cut, problem, pass);
        }
        let known = self.stamps.get(key).copied();
        let keep =
            known.is_some_and(|stamp| stamp.shows_no_change(meta) || pass.writing.contains(key));
        if keep {
            pass.found.insert(key.into());
            return;
        }
        let before = SystemTime::now();
        let value = match read_value(path, meta) {
            Ok(Some(value)) => value,
            Ok(None) => {
                let why = format!("{} bytes, a value has at most {MAX_VALUE}", meta.len());
                let message = format!("file is too large: {why}");
                let problem = Diagnostic::warning("value-too-large", message)
                    .help("write a smaller value, or move the file out of the store");
                return self.mark_unusable(key, &why, problem, pass);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if known.is_some() => {
                pass.found.insert(key.into());
                let message = format!("file cannot be read, its key stays as it was: {error}");
                return self.tell(key, Diagnostic::warning("unreadable", message), pass);
            }
            Err(error) => {
                let why = format!("file cannot be read: {error}");
                let problem = Diagnostic::warning("unreadable", &why);
                return self.mark_unusable(key, &why, problem, pass);
            }
        };
        let key: Key = key.into();
        self.stamps.insert(key.clone(), Stamp::of(meta, before));
        self.snapshot.put(key.clone(), value);
        pass.found.insert(key);
    }

    /// The key exists, but nobody can have its value.
    fn mark_unusable(&mut self, key: &str, why: &str, problem: Diagnostic, pass: &mut Pass<'_>) {
        self.stamps.remove(key);
        self.snapshot.put_unusable(key, why);
        pass.found.insert(key.into());
        self.tell(key, problem, pass);
    }

    /// The key does not exist, and here is why.
    fn leave_out(&mut self, key: &str, problem: Diagnostic, pass: &mut Pass<'_>) {
        pass.found.remove(key);
        self.tell(key, problem, pass);
    }

    fn tell(&mut self, key: &str, problem: Diagnostic, pass: &mut Pass<'_>) {
        self.problems.insert(key, problem.for_key(key));
        pass.bad.insert(key.to_owned());
    }

    fn keep_all_in(&mut self, dir: &str, pass: &mut Pass<'_>) {
        for (key, _) in self.snapshot.under(dir) {
            pass.found.insert(key.clone());
        }
    }

    /// Removes what is in or under `dir` and was not met.
    fn forget_all_but(&mut self, dir: &str, pass: &Pass<'_>) {
        let own = self.snapshot.get(dir).map(|_| Key::from(dir));
        let gone: Vec<Key> = self
            .snapshot
            .under(dir)
            .map(|(key, _)| key.clone())
            .chain(own)
            .filter(|key| !pass.found.contains(key))
            .collect();
        for key in gone {
            self.snapshot.remove(&key);
            self.stamps.remove(&key);
        }
        self.problems
            .retain(|key| !is_in(key, dir) || pass.bad.contains(key));
    }

    fn shown(&self) -> String {
        self.root.display().to_string()
    }
}

impl Stamp {
    fn of(meta: &Metadata, read_at: SystemTime) -> Self {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_micros(time_of(meta));
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            settled: read_at
                .duration_since(changed)
                .is_ok_and(|age| age > COARSE_CLOCK),
        }
    }

    fn shows_no_change(self, now: &Metadata) -> bool {
        self.settled
            && self
                == Self {
                    device: now.dev(),
                    inode: now.ino(),
                    size: now.len(),
                    changed: (now.ctime(), now.ctime_nsec()),
                    settled: true,
                }
    }
}

/// `None` if it is too large.
fn read_value(path: &Path, meta: &Metadata) -> io::Result<Option<Vec<u8>>> {
    if meta.len() > MAX_VALUE as u64 {
        return Ok(None);
    }
    // Not to hang on a pipe that took the file's place a moment ago.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let mut value = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
    file.take(MAX_VALUE as u64 + 2).read_to_end(&mut value)?;
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok((value.len() <= MAX_VALUE).then_some(value))
}

/// When the inode changed last, in microseconds. Not the modification time, which can be set at will and
/// comes along when an old file is renamed into place.
fn time_of(meta: &Metadata) -> u64 {
    let micros = i128::from(meta.ctime()) * 1_000_000 + i128::from(meta.ctime_nsec()) / 1000;
    u64::try_from(micros).unwrap_or(0)
}

fn key_of(below: &Path) -> String {
    let names: Vec<_> = below
        .components()
        .map(|name| name.as_os_str().to_string_lossy())
        .collect();
    names.join("/")
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

fn is_in(key: &str, dir: &str) -> bool {
    dir.is_empty()
        || key
            .strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
