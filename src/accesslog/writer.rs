//! From workers to the outside: a bounded queue and a thread for each target.
//!
//! A thread for each, because a pipe that nobody reads holds its writer for ever: changing to another
//! target must not wait for that.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::record::Record;
use super::settings::{Format, Sample, Settings, Target};
use super::sink::Sink;

/// Bytes that may wait for one target.
const QUEUED: usize = 16 * 1024 * 1024;

/// Dropped lines are told at most this often.
const TELL: Duration = Duration::from_secs(60);

/// What is in force: how lines look, which are wanted, and who writes them.
#[derive(Debug)]
pub struct Log {
    pub(super) format: Format,
    sample: Sample,
    pub(super) writer: Arc<Writer>,
}

/// Lines that were lost, over all targets since the start.
#[derive(Debug, Default)]
pub struct Tally {
    dropped: AtomicU64,
}

/// The writers there are. Kept by the one who changes what is in force.
#[derive(Debug, Default)]
pub struct Logs {
    tally: Arc<Tally>,
    settings: Settings,
    current: Option<Arc<Log>>,
    /// Also those that workers still hold: a target may come back.
    writers: Vec<Weak<Writer>>,
    told: Option<(Instant, u64)>,
}

/// Takes batches for one target. Its thread ends when the last worker has let go of it and all is
/// written.
#[derive(Debug)]
pub(super) struct Writer {
    target: Target,
    jobs: Sender<Job>,
    queued: Arc<AtomicUsize>,
    tally: Arc<Tally>,
}

enum Job {
    Lines(Batch),
    Reopen,
    /// Answered when everything before it is written.
    Tell(Sender<()>),
}

/// Whole lines, each with its end.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u32,
}

impl Log {
    pub(super) fn wants(&self, record: &Record<'_>) -> bool {
        self.sample.takes_one() || record.is_failure()
    }
}

impl Tally {
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn add(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }
}

impl Logs {
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    /// What holds by these settings. Unchanged ones give what they gave before.
    pub fn follow(&mut self, settings: &Settings, default: Format) -> Option<Arc<Log>> {
        let format = settings.format.unwrap_or(default);
        let is_same = |log: &Arc<Log>| log.format == format;
        if *settings == self.settings && self.current.as_ref().is_none_or(is_same) {
            return self.current.clone();
        }
        self.settings = settings.clone();
        self.current = settings.target.as_ref().and_then(|target| {
            let writer = self.writer(target)?;
            let sample = settings.sample;
            Some(Arc::new(Log {
                format,
                sample,
                writer,
            }))
        });
        self.current.clone()
    }

    /// Opens files anew, so that ones that were moved away get no more lines.
    pub fn reopen(&self) {
        for writer in self.writers.iter().filter_map(Weak::upgrade) {
            writer.send(Job::Reopen);
        }
    }

    /// Tells of lines that were dropped since the last time. To be called now and then.
    pub fn tell_dropped(&mut self) {
        let dropped = self.tally.dropped();
        let (at, told) = self.told.unzip();
        let lines = dropped - told.unwrap_or_default();
        if lines > 0 && at.is_none_or(|at| at.elapsed() >= TELL) {
            tracing::warn!(lines, "access log lines were dropped");
            self.told = Some((Instant::now(), dropped));
        }
    }

    /// Waits until all lines are written, for no longer than `within`.
    pub fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let (done, all_done) = channel();
        let writers: Vec<_> = self.writers.iter().filter_map(Weak::upgrade).collect();
        for writer in &writers {
            writer.send(Job::Tell(done.clone()));
        }
        for _ in &writers {
            let left = until.saturating_duration_since(Instant::now());
            if all_done.recv_timeout(left).is_err() {
                tracing::warn!(
                    "access log lines were not written by the end: their target is too slow"
                );
                return;
            }
        }
    }

    fn writer(&mut self, target: &Target) -> Option<Arc<Writer>> {
        self.writers.retain(|writer| writer.strong_count() > 0);
        let mut known = self.writers.iter().filter_map(Weak::upgrade);
        if let Some(writer) = known.find(|writer| writer.target == *target) {
            return Some(writer);
        }
        match Writer::start(target, self.tally.clone()) {
            Ok(writer) => {
                let writer = Arc::new(writer);
                self.writers.push(Arc::downgrade(&writer));
                Some(writer)
            }
            Err(error) => {
                tracing::error!(%target, %error, "access log has no thread to write it");
                None
            }
        }
    }
}

impl Writer {
    fn start(target: &Target, tally: Arc<Tally>) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let task = Task {
            sink: Sink::new(target),
            target: target.clone(),
            queued: queued.clone(),
            tally: tally.clone(),
            lost: 0,
        };
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || task.run(&receiver))?;
        Ok(Self {
            target: target.clone(),
            jobs,
            queued,
            tally,
        })
    }

    /// Queues a batch, or drops and counts it. Never blocks.
    pub(super) fn take(&self, batch: Batch) {
        let bytes = batch.bytes.len();
        // Two workers may both find room for one: the limit is not that exact.
        if self.queued.load(Relaxed) + bytes > QUEUED {
            self.tally.add(u64::from(batch.lines));
            return;
        }
        self.queued.fetch_add(bytes, Relaxed);
        self.send(Job::Lines(batch));
    }

    fn send(&self, job: Job) {
        // The thread ends only when the last sender is gone.
        let _ = self.jobs.send(job);
    }
}

/// What the thread has.
struct Task {
    target: Target,
    sink: Sink,
    queued: Arc<AtomicUsize>,
    tally: Arc<Tally>,
    /// Lines since the target began to refuse; 0 while it takes them.
    lost: u64,
}

impl Task {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Lines(batch) => {
                    self.write(&batch);
                    self.queued.fetch_sub(batch.bytes.len(), Relaxed);
                }
                Job::Reopen => self.sink.reopen(),
                // Whoever asked may have stopped waiting.
                Job::Tell(done) => drop(done.send(())),
            }
        }
    }

    /// Told once when the target begins to refuse, and once when it takes lines again.
    fn write(&mut self, batch: &Batch) {
        let written = self.sink.write(&batch.bytes, u64::from(batch.lines));
        self.tally.add(written.lost);
        if let Some(error) = written.error {
            if self.lost == 0 {
                tracing::warn!(
                    target = %self.target, %error,
                    "access log cannot be written: lines are dropped until it can"
                );
            }
            // At least one, so that the trouble is remembered.
            self.lost += written.lost.max(1);
        } else if self.lost > 0 && self.sink.is_well() {
            tracing::info!(target = %self.target, lost = self.lost, "access log is written again");
            self.lost = 0;
        }
    }
}
