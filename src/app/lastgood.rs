//! The last accepted config on disk: what a start without any store begins from.
//!
//! One file for one tree, a line of JSON for each accepted or forgotten unit, and a line with the
//! revision that ends each batch. A change appends its own lines, so its cost does not depend on how
//! much there is. Now and then the file is written anew: a temporary file, fsync, rename. A batch
//! without its last line (a crash while writing) does not count; a line that cannot be read (a bad
//! disk) costs its unit alone. Both are told.
//!
//! What names stood for is in a file beside it: a start without DNS goes on with that.
//!
//! Where there are seal keys, texts are sealed. What cannot be opened at the start stays in the file as it
//! is until a store speaks of its unit: the key file may only have been forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::dns::Answers;
use crate::names::UnitName;
use crate::seal::{self, Place, SealKeys};

mod answers;

/// The file is written anew when it is this much larger than what it says.
const SLACK: u64 = 4;
const LEAST: u64 = 1024 * 1024;

/// Texts hold private keys, and the passwords and hashes that services ask for.
const ONLY_OURS: u32 = 0o600;

/// Texts of accepted units and the revision they were accepted at.
#[derive(Default, PartialEq)]
pub(super) struct Saved {
    pub(super) revision: u64,
    pub(super) units: BTreeMap<UnitName, Arc<str>>,
    /// Lines that say nothing any more, by a crash or a bad disk.
    pub(super) lost: usize,
    /// Texts that are sealed and could not be opened, as they are in the file.
    pub(super) closed: BTreeMap<UnitName, Arc<str>>,
    /// What names stood for.
    pub(super) answers: Answers,
}

/// The units, and not what is in them.
impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: Vec<_> = self.units.keys().collect();
        write!(f, "{units:?} at {}, {} lost", self.revision, self.lost)
    }
}

/// Accepted (`Some`) and forgotten units of one change.
pub(super) type Batch = Vec<(UnitName, Option<Arc<str>>)>;

/// Saves what it is told, in order, on a thread of its own: the disk never holds up a change.
pub(super) struct LastGood {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Save(u64, Batch),
    /// Seal everything with these from now on.
    Keys(SealKeys),
    Answers(Answers),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Unit { name: String, text: Arc<str> },
    Gone { name: String },
    Revision(u64),
}

impl LastGood {
    /// Reads what is there and keeps the file for this process alone.
    ///
    /// `tree` says whose config it is: the root in etcd, or the directory. One file for each.
    pub(super) fn open(dir: &Path, tree: &str, keys: SealKeys) -> io::Result<(Self, Saved)> {
        fs::create_dir_all(dir)?;
        // `a/b` and `a-b` are two trees.
        let slug = tree.trim_matches('/').replace('-', "--").replace('/', "-");
        let path = dir.join(format!("accepted-{slug}.jsonl"));
        let lock = File::create(dir.join(format!("accepted-{slug}.lock")))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                "another pointsman keeps its config here",
            )
        })?;
        let mut saved = match File::open(&path) {
            Ok(file) => read(BufReader::new(file), &keys)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(error),
        };
        let names = dir.join(format!("answers-{slug}.json"));
        saved.answers = answers::read(&names);
        let journal = Journal::start(path, names, lock, &saved, keys)?;
        let (orders, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("last-good".into())
            .spawn(move || journal.follow(receiver))?;
        Ok((
            Self {
                orders: Some(orders),
                thread: Some(thread),
            },
            saved,
        ))
    }

    pub(super) fn save(&self, revision: u64, batch: Batch) {
        self.order(Order::Save(revision, batch));
    }

    pub(super) fn save_answers(&self, answers: Answers) {
        self.order(Order::Answers(answers));
    }

    pub(super) fn replace_keys(&self, keys: SealKeys) {
        self.order(Order::Keys(keys));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only when the sender is dropped.
            let _ = orders.send(order);
        }
    }
}

/// Waits until everything is on disk.
impl Drop for LastGood {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(file: impl BufRead, keys: &SealKeys) -> io::Result<Saved> {
    let mut saved = Saved::default();
    let mut batch: Batch = Vec::new();
    for line in file.split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(Line::Unit { name, text }) => batch.push((UnitName::new(name), Some(text))),
            Ok(Line::Gone { name }) => batch.push((UnitName::new(name), None)),
            Ok(Line::Revision(revision)) => {
                saved.take(std::mem::take(&mut batch));
                saved.revision = revision;
            }
            // Every other unit of the batch stands for itself.
            Err(_) => saved.lost += 1,
        }
    }
    // Without its last line nobody knows what else belonged to it.
    saved.lost += batch.len();
    saved.open(keys);
    Ok(saved)
}

impl Saved {
    fn open(&mut self, keys: &SealKeys) {
        for (unit, text) in std::mem::take(&mut self.units) {
            if !seal::is_sealed(text.as_bytes()) {
                self.units.insert(unit, text);
                continue;
            }
            let opened = keys.open(Place::Saved(unit.as_str()), text.as_bytes());
            match opened.map(String::from_utf8) {
                Ok(Ok(plain)) => self.units.insert(unit, plain.into()),
                _ => self.closed.insert(unit, text),
            };
        }
    }

    fn take(&mut self, batch: Batch) {
        for (unit, text) in batch {
            self.closed.remove(&unit);
            match text {
                Some(text) => self.units.insert(unit, text),
                None => self.units.remove(&unit),
            };
        }
    }
}

struct Journal {
    path: PathBuf,
    /// The file of the answers.
    names: PathBuf,
    file: File,
    /// Held for as long as this process keeps the file.
    _lock: File,
    units: Saved,
    keys: SealKeys,
    size: u64,
    live: u64,
}

impl Journal {
    fn start(
        path: PathBuf,
        names: PathBuf,
        lock: File,
        saved: &Saved,
        keys: SealKeys,
    ) -> io::Result<Self> {
        let units = Saved {
            revision: saved.revision,
            units: saved.units.clone(),
            lost: 0,
            closed: saved.closed.clone(),
            answers: Answers::new(),
        };
        let (file, size) = write_anew(&path, &units, &keys)?;
        Ok(Self {
            path,
            names,
            file,
            _lock: lock,
            units,
            keys,
            size,
            live: size,
        })
    }

    fn follow(mut self, orders: Receiver<Order>) {
        let mut failed = false;
        while let Ok(order) = orders.recv() {
            let mut bytes = Vec::new();
            let mut is_anew = false;
            let mut newest = Ok(());
            let mut answers = None;
            // What came meanwhile goes to disk with the same sync.
            for order in std::iter::once(order).chain(orders.try_iter().take(1024)) {
                match order {
                    Order::Save(revision, batch) => {
                        newest = newest.and(self.take(revision, batch, &mut bytes));
                    }
                    Order::Answers(newest) => answers = Some(newest),
                    Order::Keys(keys) => {
                        self.keys = keys;
                        is_anew = true;
                    }
                }
            }
            // After a failure nobody knows what is in the file: it is written anew.
            let result = newest.and_then(|()| {
                if failed || is_anew {
                    self.renew()
                } else {
                    self.append(&bytes)
                }
            });
            let file = self.path.display();
            match &result {
                Ok(()) if failed => tracing::info!(%file, "accepted config is saved again"),
                Err(error) if !failed => {
                    tracing::error!(%file, %error, "accepted config is not saved");
                }
                _ => {}
            }
            failed = result.is_err();
            if let Some(answers) = answers
                && let Err(error) = answers::write(&self.names, &answers)
            {
                tracing::debug!(%error, "answers of DNS are not saved");
            }
        }
    }

    /// Takes a batch in, and writes down what of it is news: a start from the file accepts all of it
    /// once more.
    fn take(&mut self, revision: u64, mut batch: Batch, bytes: &mut Vec<u8>) -> io::Result<()> {
        let (known, closed) = (&self.units.units, &self.units.closed);
        batch.retain(|(unit, text)| known.get(unit) != text.as_ref() || closed.contains_key(unit));
        if batch.is_empty() && revision == self.units.revision {
            return Ok(());
        }
        let units = batch.iter().map(|(unit, text)| (unit, text.as_ref()));
        let written = write_batch(bytes, revision, units, &self.keys);
        self.units.revision = revision;
        self.units.take(batch);
        written
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        if self.size > self.live * SLACK + LEAST {
            return self.renew();
        }
        self.file.sync_data()
    }

    fn renew(&mut self) -> io::Result<()> {
        (self.file, self.size) = write_anew(&self.path, &self.units, &self.keys)?;
        self.live = self.size;
        Ok(())
    }
}

/// Writes everything to a new file and puts it into the place of the old one.
fn write_anew(path: &Path, saved: &Saved, keys: &SealKeys) -> io::Result<(File, u64)> {
    let temporary = path.with_extension("new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(ONLY_OURS)
        .open(&temporary)?;
    // A file that was left behind keeps the mode it had.
    file.set_permissions(Permissions::from_mode(ONLY_OURS))?;
    let mut out = BufWriter::new(file);
    let closed = saved.closed.iter();
    let units = saved.units.iter().chain(closed);
    let units = units.map(|(unit, text)| (unit, Some(text)));
    write_batch(&mut out, saved.revision, units, keys)?;
    out.into_inner()?.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    let file = OpenOptions::new().append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn write_batch<'a>(
    out: &mut impl Write,
    revision: u64,
    units: impl Iterator<Item = (&'a UnitName, Option<&'a Arc<str>>)>,
    keys: &SealKeys,
) -> io::Result<()> {
    let mut line = |line: Line| -> io::Result<()> {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    };
    for (unit, text) in units {
        let name = unit.to_string();
        match text {
            Some(text) => line(Line::Unit {
                text: sealed(unit, text, keys)?,
                name,
            })?,
            None => line(Line::Gone { name })?,
        }
    }
    line(Line::Revision(revision))
}

/// As it goes to disk.
fn sealed(unit: &UnitName, text: &Arc<str>, keys: &SealKeys) -> io::Result<Arc<str>> {
    if keys.is_empty() || seal::is_sealed(text.as_bytes()) {
        return Ok(text.clone());
    }
    let sealed = keys.seal(Place::Saved(unit.as_str()), text.as_bytes());
    sealed.map(Arc::from).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
