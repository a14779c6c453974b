//! Threads that check passwords, and the queue before them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Recent, Tag, Tagger};
use crate::config::User;

/// Checks that wait or run for one source. Who guesses gets no more than these at once.
const PER_SOURCE: usize = 8;

/// Checks that wait or run in all.
const MOST: usize = 256;

/// Below the workers: a check may take what they leave.
const NICE: i32 = 5;

/// Whom a check is for, where fairness counts: an IPv4 address, or the network of an IPv6 address that
/// one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

/// A password to be checked.
pub(crate) struct Attempt {
    pub(crate) tag: Tag,
    pub(crate) user: Arc<User>,
    /// Nobody has the name that was given: the check takes its time and fails.
    pub(crate) is_stand_in: bool,
    pub(crate) password: Box<[u8]>,
    pub(crate) source: Source,
}

pub(crate) enum Asked {
    Known(bool),
    /// Comes when it was checked; not at all if the pool ends. Dropping it takes the question back.
    Wait(oneshot::Receiver<bool>),
    Refused(Refused),
}

/// Why an attempt is not even queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its source has as many under way as it may.
    SourceIsBusy,
    QueueIsFull,
}

/// The threads end when this is dropped.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    pub(crate) tagger: Tagger,
}

struct Inner {
    state: Mutex<State>,
    wake: Condvar,
    started: Instant,
}

#[derive(Default)]
struct State {
    /// Waiting checks of each source that has some.
    queues: HashMap<Source, VecDeque<Attempt>>,
    /// The sources of `queues`, in turn.
    turns: VecDeque<Source>,
    /// Waiting and running checks of each source that has some.
    under_way: HashMap<Source, usize>,
    /// Who waits for each check that waits or runs.
    askers: HashMap<Tag, Vec<oneshot::Sender<bool>>>,
    right: Recent,
    wrong: Recent,
    is_ending: bool,
}

impl Pool {
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads((cores / 4).clamp(1, 4))
    }

    fn with_threads(count: usize) -> io::Result<Self> {
        let pool = Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                wake: Condvar::new(),
                started: Instant::now(),
            }),
            tagger: Tagger::new()?,
        };
        for index in 0..count {
            let inner = pool.inner.clone();
            std::thread::Builder::new()
                .name(format!("password-{index}"))
                .spawn(move || inner.work())?;
        }
        Ok(pool)
    }

    pub(crate) fn ask(&self, attempt: Attempt) -> Asked {
        let now = self.inner.now_ms();
        let mut state = self.inner.lock();
        if state.right.holds(&attempt.tag, now) {
            return Asked::Known(true);
        }
        if state.wrong.holds(&attempt.tag, now) {
            return Asked::Known(false);
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(askers) = state.askers.get_mut(&attempt.tag) {
            if askers.len() == askers.capacity() {
                // Those who went away meanwhile make room.
                askers.retain(|asker| !asker.is_closed());
            }
            askers.push(sender);
            return Asked::Wait(receiver);
        }
        if state.askers.len() >= MOST {
            return Asked::Refused(Refused::QueueIsFull);
        }
        let under_way = state.under_way.entry(attempt.source).or_default();
        if *under_way >= PER_SOURCE {
            return Asked::Refused(Refused::SourceIsBusy);
        }
        *under_way += 1;
        state.askers.insert(attempt.tag, vec![sender]);
        let queue = state.queues.entry(attempt.source).or_default();
        let is_first = queue.is_empty();
        let source = attempt.source;
        queue.push_back(attempt);
        if is_first {
            state.turns.push_back(source);
        }
        drop(state);
        self.inner.wake.notify_one();
        Asked::Wait(receiver)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.lock().is_ending = true;
        self.inner.wake.notify_all();
    }
}

impl Inner {
    fn work(&self) {
        // Where it is not allowed, the kernel is fair to all.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut state = self.lock();
        while !state.is_ending {
            let Some(attempt) = state.next() else {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let is_right = check(&attempt);
            state = self.lock();
            let now = self.now_ms();
            state.finish(&attempt, is_right, now);
        }
        // Who still asks learns it from the end of the channel.
        state.askers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// A panic would be a fault of a hash function's. It lets nobody in and takes no thread away.
fn check(attempt: &Attempt) -> bool {
    let verify = AssertUnwindSafe(|| attempt.user.secret.verify(&attempt.password));
    let is_right = catch_unwind(verify).unwrap_or_else(|_| {
        tracing::error!(secret = ?attempt.user.secret, "checking a password failed; report this");
        false
    });
    is_right && !attempt.is_stand_in
}

impl State {
    /// The next check that somebody still waits for: the oldest of the source whose turn it is.
    fn next(&mut self) -> Option<Attempt> {
        loop {
            let source = self.turns.pop_front()?;
            let attempt = self.queues.get_mut(&source).and_then(|queue| {
                let attempt = queue.pop_front();
                if !queue.is_empty() {
                    self.turns.push_back(source);
                }
                attempt
            });
            if self.queues.get(&source).is_some_and(VecDeque::is_empty) {
                self.queues.remove(&source);
            }
            let Some(attempt) = attempt else { continue };
            let askers = self.askers.get(&attempt.tag);
            if askers.is_some_and(|askers| askers.iter().any(|asker| !asker.is_closed())) {
                return Some(attempt);
            }
            self.let_go(&attempt);
        }
    }

    fn finish(&mut self, attempt: &Attempt, is_right: bool, now: u64) {
        match is_right {
            true => self.right.put(attempt.tag, now),
            false => self.wrong.put(attempt.tag, now),
        }
        for asker in self.let_go(attempt) {
            // Who went away meanwhile does not need it.
            let _ = asker.send(is_right);
        }
    }

    fn let_go(&mut self, attempt: &Attempt) -> Vec<oneshot::Sender<bool>> {
        if let Some(count) = self.under_way.get_mut(&attempt.source) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&attempt.source);
            }
        }
        self.askers.remove(&attempt.tag).unwrap_or_default()
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests;
