//! How many checks are under way at once, and who waits for whom.
//!
//! Ten thousand upstreams must not take all descriptors, so a check needs a place; and a check that takes seconds must
//! not hold the place of one that takes a millisecond. Whom a place is asked of goes by what an upstream's last check
//! was like ([`Pace`]), and no check keeps a quick place for longer than [`QUICK`]: nobody knows beforehand which host
//! has died without a word.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::balance::{Health, UpstreamState};
use crate::config::HealthCheck;

/// What is answered within this time is quick.
const QUICK: Duration = Duration::from_millis(100);

/// How often somebody looks whether checks are late, and tells of it.
const LOOK: Duration = Duration::from_secs(5);
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What an upstream's checks are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// There was none yet.
    New,
    Quick,
    Slow,
    /// It is down, and gave no answer in time.
    Hanging,
}

/// A check's verdict in words, or `None` if it came to none in its time.
type Found = Option<Result<String, String>>;

pub(super) struct Places {
    new: Semaphore,
    quick: Semaphore,
    /// For checks of upstreams that were quick until now: they go on here, or among the slow ones.
    turned: Semaphore,
    slow: Semaphore,
    hanging: Semaphore,
    lateness: Arc<Lateness>,
}

/// Checks that wait for a place for too long: by when they were due.
#[derive(Default)]
pub(in crate::proxy) struct Lateness {
    waiting: Mutex<BTreeSet<(Instant, u64)>>,
    next: AtomicU64,
}

/// One of them, for as long as it waits.
struct Late<'a> {
    lateness: &'a Lateness,
    key: (Instant, u64),
}

impl Pace {
    /// After a check that took so long.
    pub(super) fn after(self, took: Duration, is_late: bool, state: &UpstreamState) -> Self {
        if !is_late && took < QUICK {
            return Self::Quick;
        }
        match self {
            // It is about to be judged otherwise, and that must not wait behind those that are always slow.
            Self::Quick if state.streak() > 0 => Self::Quick,
            _ if is_late && state.health() == Health::Down => Self::Hanging,
            _ => Self::Slow,
        }
    }
}

impl Places {
    /// As many as descriptors allow: of a thousand a third, of a hundred thousand a few thousand.
    pub(super) fn new(lateness: Arc<Lateness>) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let part = |of: u64, least: u64, most: u64| {
            let places = (descriptors / of).clamp(least, most);
            Semaphore::new(usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS))
        };
        Self {
            new: part(32, 32, 512),
            quick: part(16, 64, 1024),
            turned: part(32, 32, 512),
            slow: part(8, 64, 4096),
            hanging: part(16, 64, 1024),
            lateness,
        }
    }

    /// One check that is due now, and how long it took; `None` at the end of all. Dropping it ends the check.
    ///
    /// `begin` is called a second time if a check turned out to be slow while there was no place for such: that one
    /// is broken off.
    pub(super) async fn check<F>(
        &self,
        pace: Pace,
        check: &HealthCheck,
        begin: impl Fn() -> F,
    ) -> Option<(Duration, Found)>
    where
        F: Future<Output = Result<String, String>>,
    {
        let due = Instant::now();
        let overdue = due + check.interval + check.timeout;
        let queue = match pace {
            Pace::New => Some(&self.new),
            Pace::Quick => Some(&self.quick),
            Pace::Slow | Pace::Hanging => None,
        };
        if let Some(queue) = queue {
            let place = self.place(queue, due, overdue).await?;
            let began = Instant::now();
            let mut probing = pin!(timeout(check.timeout, begin()));
            if let Ok(found) = timeout(QUICK, &mut probing).await {
                return Some((began.elapsed(), found.ok()));
            }
            let onward = match pace {
                Pace::Quick => self.turned.try_acquire(),
                _ => Err(TryAcquireError::NoPermits),
            };
            let onward = onward.or_else(|_| self.slow.try_acquire());
            drop(place);
            if let Ok(_onward) = onward {
                let found = probing.await;
                return Some((began.elapsed(), found.ok()));
            }
        }
        let queue = match pace {
            Pace::Hanging => &self.hanging,
            Pace::New | Pace::Quick | Pace::Slow => &self.slow,
        };
        let _place = self.place(queue, due, overdue).await?;
        let began = Instant::now();
        let found = timeout(check.timeout, begin()).await;
        Some((began.elapsed(), found.ok()))
    }

    async fn place<'a>(
        &self,
        queue: &'a Semaphore,
        due: Instant,
        overdue: Instant,
    ) -> Option<SemaphorePermit<'a>> {
        // One wait: who asked anew would stand at the end again.
        let mut waiting = pin!(queue.acquire());
        if let Ok(place) = timeout_at(overdue, &mut waiting).await {
            return place.ok();
        }
        let _late = self.lateness.note(due);
        waiting.await.ok()
    }
}

/// Tells when checks are late, until the task is dropped.
pub(super) async fn tell(places: Arc<Places>) {
    let mut told: Option<Instant> = None;
    loop {
        sleep(LOOK).await;
        if told.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            continue;
        }
        if let Some((late, longest)) = places.lateness.look() {
            told = Some(Instant::now());
            tracing::warn!(
                late,
                longest_s = longest.as_secs(),
                event = "checks_late",
                "health checks are late: others that are slow to answer take all places"
            );
        }
    }
}

impl Lateness {
    pub(in crate::proxy) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// How many there are, and for how long the first has been due.
    fn look(&self) -> Option<(usize, Duration)> {
        let waiting = self.waiting();
        let (due, _) = waiting.first()?;
        Some((waiting.len(), due.elapsed()))
    }

    fn note(&self, due: Instant) -> Late<'_> {
        let key = (due, self.next.fetch_add(1, Relaxed));
        self.waiting().insert(key);
        let lateness = self;
        Late { lateness, key }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        self.lateness.waiting().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CheckKind;

    #[test]
    fn who_is_slow_waits_among_the_slow_but_for_a_change_of_health() {
        let (quick, slow) = (Duration::from_millis(3), Duration::from_secs(1));
        let state = UpstreamState::new(true);
        state.judge(true, 2, 2);
        assert_eq!(Pace::New.after(quick, false, &state), Pace::Quick);
        assert_eq!(Pace::New.after(slow, false, &state), Pace::Slow);
        assert_eq!(Pace::Quick.after(slow, false, &state), Pace::Slow);
        assert_eq!(Pace::Slow.after(quick, false, &state), Pace::Quick);
        // No answer in time: once, and once more.
        state.judge(false, 2, 2);
        assert_eq!(Pace::Quick.after(slow, true, &state), Pace::Quick);
        assert_eq!(Pace::Slow.after(slow, true, &state), Pace::Slow);
        state.judge(false, 2, 2);
        assert_eq!(Pace::Quick.after(slow, true, &state), Pace::Hanging);
        assert_eq!(Pace::Hanging.after(slow, false, &state), Pace::Slow);
        assert_eq!(Pace::Hanging.after(quick, false, &state), Pace::Quick);
    }

    #[tokio::test]
    async fn a_check_that_hangs_keeps_no_quick_place() {
        let places = Places {
            new: Semaphore::new(1),
            quick: Semaphore::new(1),
            turned: Semaphore::new(0),
            slow: Semaphore::new(0),
            hanging: Semaphore::new(0),
            lateness: Arc::default(),
        };
        let check = HealthCheck {
            interval: Duration::from_millis(1),
            timeout: Duration::from_millis(300),
            kind: CheckKind::Tcp,
            port: None,
            rise: 2,
            fall: 2,
        };
        let hangs = || std::future::pending::<Result<String, String>>();
        let quick = || std::future::ready(Ok("fine".to_owned()));
        let hanging = places.check(Pace::Quick, &check, hangs);
        let later = async {
            loop {
                // Behind the one that hangs, which then waits for a slow place and is late.
                let found = places.check(Pace::Quick, &check, quick).await;
                assert_eq!(found.expect("a place").1, Some(Ok("fine".to_owned())));
                if places.lateness.look().is_some() {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = hanging => panic!("there is no place for it"),
            () = later => {}
        }
        assert_eq!(places.lateness.len(), 0, "it is not waited for any more");
    }
}
