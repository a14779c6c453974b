//! Keys in a directory: files, each written beside and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::super::dir::{absolute, is_key};
use super::super::{MAX_VALUE, StoreError};
use super::{Edit, Entry, Held, WriteError};

/// For another writer to be done.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Private keys are for the balancer alone, and for the group that the directory is of.
const SECRET_MODE: u32 = 0o640;
const PLAIN_MODE: u32 = 0o644;
const SECRETS: &str = "certs/";

#[derive(Clone)]
pub(super) struct Keys {
    root: PathBuf,
}

impl Keys {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            root: absolute(path),
        }
    }

    pub(super) async fn read(&self, places: &[String]) -> Result<Held, WriteError> {
        let (keys, places) = (self.clone(), places.to_vec());
        self.blocking(move || keys.read_all(places.iter().map(String::as_str)))
            .await
    }

    pub(super) async fn write(&self, edit: &Edit, held: &Held) -> Result<u64, WriteError> {
        for key in edit.keys.keys() {
            if let Some(name) = key.split('/').find(|name| !is_key(name)) {
                return Err(WriteError::Impossible(format!(
                    "{name:?} cannot be the name of a key in a directory; those with a dot in front and those of \
                     editors (~, .swp) are not read"
                )));
            }
        }
        let (keys, edit, held) = (self.clone(), edit.clone(), held.clone());
        self.blocking(move || keys.write_locked(&edit, &held)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        let failed = |reason: String| {
            WriteError::Store(StoreError::Failed {
                store: format!("dir:{}", self.root.display()),
                reason,
            })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(WriteError::Conflict)
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("writing ended early".to_owned())),
        }
    }

    fn read_all<'a>(&self, places: impl Iterator<Item = &'a str>) -> io::Result<Held> {
        let mut held = Held::default();
        fs::metadata(&self.root)?;
        for place in places {
            self.collect(place.trim_end_matches('/'), &mut held.keys, 0)?;
        }
        Ok(held)
    }

    /// A key, or all keys below a directory; nothing if neither is there.
    fn collect(&self, key: &str, into: &mut BTreeMap<String, Entry>, depth: u32) -> io::Result<()> {
        let path = self.root.join(key);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) => {
                let is_none = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
                return match is_none.contains(&error.kind()) {
                    true => Ok(()),
                    false => Err(named(&path, &error)),
                };
            }
        };
        if meta.is_dir() && depth < 8 {
            for entry in fs::read_dir(&path).map_err(|e| named(&path, &e))? {
                let name = entry?.file_name();
                if let Some(name) = name.to_str().filter(|name| is_key(name)) {
                    self.collect(&format!("{key}/{name}"), into, depth + 1)?;
                }
            }
        } else if meta.is_file() && meta.len() <= MAX_VALUE as u64 + 1 {
            let mut value = fs::read(&path).map_err(|e| named(&path, &e))?;
            // As the store reads it.
            if value.last() == Some(&b'\n') {
                value.pop();
                if value.last() == Some(&b'\r') {
                    value.pop();
                }
            }
            let entry = Entry { value, revision: 0 };
            into.insert(key.to_owned(), entry);
        }
        Ok(())
    }

    fn write_locked(&self, edit: &Edit, held: &Held) -> io::Result<u64> {
        let _lock = self.lock()?;
        if !self.is_as_read(edit, held)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut newest = 0;
        if let Some(dir) = &edit.removed {
            newest = self.remove_dir(dir.trim_end_matches('/'))?;
        }
        let puts = edit
            .keys
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
        let puts: Vec<(&str, &[u8])> = puts.collect();
        newest = newest.max(match self.new_dir(&puts) {
            Some(dir) => self.move_in(dir, &puts)?,
            None => {
                let times = puts.iter().map(|(key, value)| self.put(key, value));
                times
                    .collect::<io::Result<Vec<_>>>()?
                    .into_iter()
                    .max()
                    .unwrap_or(0)
            }
        });
        for (key, _) in edit.keys.iter().filter(|(_, value)| value.is_none()) {
            newest = newest.max(self.remove(key)?);
        }
        Ok(newest)
    }

    /// Held until it is dropped.
    fn lock(&self) -> io::Result<File> {
        let dir = File::open(&self.root).map_err(|e| named(&self.root, &e))?;
        let until = Instant::now() + LOCK_LIMIT;
        loop {
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(dir),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => {
                    let error = io::Error::other(format!("another writer has it: {error}"));
                    return Err(named(&self.root, &error));
                }
            }
        }
    }

    fn is_as_read(&self, edit: &Edit, held: &Held) -> io::Result<bool> {
        let exact = edit.keys.keys().chain(&edit.same);
        let now = self.read_all(exact.clone().map(String::as_str))?;
        let mut exact = exact.map(|key| now.keys.get(key) == held.keys.get(key));
        if !exact.all(|is_same| is_same) {
            return Ok(false);
        }
        let removed = edit
            .removed
            .iter()
            .map(|dir| (dir.clone(), format!("{}0", dir.trim_end_matches('/'))));
        for (from, to) in edit.quiet.iter().cloned().chain(removed) {
            // The directory that both ends are in.
            let shared = from
                .bytes()
                .zip(to.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let dir = from[..shared].rfind('/').map_or("", |at| &from[..at]);
            let dir = match from.strip_suffix('/') {
                Some(whole) if to == format!("{whole}0") => whole,
                _ => dir,
            };
            let now = self.read_all([dir].into_iter())?;
            let is_new =
                |(key, entry): (&String, &Entry)| held.keys.get(key).is_none_or(|old| old != entry);
            if now.keys.range(from..to).any(is_new) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The directory of a service that is not there yet, if all of these are in it.
    fn new_dir<'a>(&self, puts: &[(&'a str, &[u8])]) -> Option<&'a str> {
        let (first, _) = puts.first()?;
        let (at, _) = first.match_indices('/').nth(1)?;
        let dir = &first[..at];
        let is_in = |key: &str| {
            key.strip_prefix(dir)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let is_new = fs::symlink_metadata(self.root.join(dir)).is_err();
        (is_new && puts.iter().all(|(key, _)| is_in(key))).then_some(dir)
    }

    /// Built beside under a name that is no key's, and moved in.
    fn move_in(&self, dir: &str, puts: &[(&str, &[u8])]) -> io::Result<u64> {
        let target = self.root.join(dir);
        let parent = target.parent().unwrap_or(&self.root);
        self.make_dirs(parent)?;
        let beside = parent.join(hidden("new"));
        let built = puts.iter().try_for_each(|(key, value)| {
            let path = beside.join(key[dir.len()..].trim_start_matches('/'));
            let within = path.parent().unwrap_or(&beside);
            self.make_dirs(within)?;
            self.create(&path, key, value, within)
        });
        if let Err(error) = built.and_then(|()| fs::rename(&beside, &target)) {
            let _ = fs::remove_dir_all(&beside);
            return Err(named(&target, &error));
        }
        sync(parent)?;
        Ok(time(&target)?.max(time(parent)?))
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<u64> {
        let path = self.root.join(key);
        let parent = path.parent().unwrap_or(&self.root);
        self.make_dirs(parent)?;
        let beside = parent.join(hidden("new"));
        let written = self.create(&beside, key, value, parent);
        if let Err(error) = written.and_then(|()| fs::rename(&beside, &path)) {
            let _ = fs::remove_file(&beside);
            return Err(named(&path, &error));
        }
        sync(parent)?;
        Ok(time(&path)?.max(time(parent)?))
    }

    /// Makes a directory and those above it that are not there, each like the one that it is in: a balancer that
    /// runs as another user than who writes could not read it otherwise.
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let above = dir.parent().unwrap_or(&self.root);
        self.make_dirs(above)?;
        let like = fs::metadata(above).map_err(|e| named(above, &e))?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(named(dir, &error));
            }
            _ => {}
        }
        let open = File::open(dir).map_err(|e| named(dir, &e))?;
        // Only root can give it away; for others it is theirs already. Not before it is closed to whom it has to be.
        let mode = like.mode() & 0o7777;
        let closed = open.set_permissions(fs::Permissions::from_mode(mode));
        closed.map_err(|e| named(dir, &e))?;
        let _ = fchown(&open, Some(like.uid()), Some(like.gid()));
        Ok(())
    }

    /// Whoever has the directory has its files: the balancer may run as another user than who writes.
    fn create(&self, path: &Path, key: &str, value: &[u8], within: &Path) -> io::Result<()> {
        let known = fs::metadata(self.root.join(key)).ok();
        let mode = match &known {
            Some(meta) => meta.mode() & 0o777,
            None if key.starts_with(SECRETS) => SECRET_MODE,
            None => PLAIN_MODE,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        if let Some(owner) = known.or_else(|| fs::metadata(within).ok()) {
            // Only root can give files away; for others it is theirs already.
            let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
        }
        file.write_all(value)?;
        file.sync_all()
    }

    fn remove(&self, key: &str) -> io::Result<u64> {
        let path = self.root.join(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(named(&path, &error));
            }
            _ => {}
        }
        self.cleared(&path)
    }

    /// Moved out whole, so that all its keys go at one moment.
    fn remove_dir(&self, dir: &str) -> io::Result<u64> {
        let path = self.root.join(dir);
        let parent = path.parent().unwrap_or(&self.root);
        let out = parent.join(hidden("gone"));
        fs::rename(&path, &out).map_err(|e| named(&path, &e))?;
        let link = fs::symlink_metadata(&out)?;
        let removed = match link.is_dir() {
            true => fs::remove_dir_all(&out),
            false => fs::remove_file(&out),
        };
        removed.map_err(|e| named(&out, &e))?;
        sync(parent)?;
        time(parent)
    }

    /// Removes directories of a service that are empty now. Gives the time of what is left.
    fn cleared(&self, path: &Path) -> io::Result<u64> {
        let mut dir = path.parent().unwrap_or(&self.root);
        while let Some(parent) = dir.parent()
            && dir != self.root
            && parent != self.root
            && fs::remove_dir(dir).is_ok()
        {
            dir = parent;
        }
        sync(dir)?;
        time(dir)
    }
}

/// A name that the store does not read.
fn hidden(what: &str) -> String {
    format!(".pointsman-{:016x}.{what}", fastrand::u64(..))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// When it changed, in microseconds, as the store counts.
fn time(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let micros = meta
        .ctime()
        .saturating_mul(1_000_000)
        .saturating_add(meta.ctime_nsec() / 1000);
    Ok(u64::try_from(micros).unwrap_or(0))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::WouldBlock.into(),
        kind => io::Error::new(kind, format!("{}: {error}", path.display())),
    }
}
