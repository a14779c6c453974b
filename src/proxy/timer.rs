//! Deadlines from a coarse wheel: one per worker, not one timer per operation.
//!
//! A connection arms its deadline anew for every wait. That is a store to a cell, because a
//! deadline that moves away is put into its right place only when its old place comes up. All
//! deadlines of a worker fire at the next tick, so they are late by up to [`TICK`] and never early.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, Timespec};

/// How coarse: also the price of an idle worker, which wakes up this often while deadlines wait.
pub(crate) const TICK: Duration = Duration::from_millis(20);
const TICK_NANOS: u64 = TICK.as_nanos() as u64;

/// Places of the wheel; what lies further ahead goes round.
const PLACES: usize = 512;

/// A jump beyond this many ticks is time in which nothing of this worker ran: see [`Wheel::tick`].
const STALL: u64 = 10;

const NEVER: u64 = u64::MAX;

/// What [`Cutter::cut`] leaves: no deadline that was armed is due so early.
const CUT: u64 = 0;

pub(crate) struct Wheel {
    clock: Clock,
    /// By the clock. Moves ahead by what was lost in stalls.
    start: Cell<u64>,
    /// Ticks since `start` that have been turned.
    now: Cell<u64>,
    places: RefCell<Vec<Vec<Rc<Slot>>>>,
}

/// The kernel's coarse clock: read in a few nanoseconds, since every arming reads it.
struct Clock {
    /// For how long it stands still.
    step: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            step: nanos(rustix::time::clock_getres(ClockId::MonotonicCoarse)),
        }
    }

    /// Nanoseconds since some moment: the true time is this or up to a step later.
    fn now(&self) -> u64 {
        nanos(rustix::time::clock_gettime(ClockId::MonotonicCoarse))
    }

    /// The true time is this or up to a step earlier.
    fn latest(&self) -> u64 {
        self.now() + self.step
    }
}

fn nanos(time: Timespec) -> u64 {
    // Monotonic time is not negative, and 64 bits of it are five hundred years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One waiter's deadline. Not `Clone`: each belongs to one task.
pub(crate) struct Deadline {
    wheel: Rc<Wheel>,
    slot: Rc<Slot>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

struct Slot {
    due: Cell<u64>,
    /// The tick at whose place this slot is filed; entries filed for another tick are stale.
    filed: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Wheel {
    pub(crate) fn new() -> Rc<Self> {
        let clock = Clock::new();
        Rc::new(Self {
            start: Cell::new(clock.now()),
            clock,
            now: Cell::new(0),
            places: RefCell::new((0..PLACES).map(|_| Vec::new()).collect()),
        })
    }

    pub(crate) fn deadline(self: &Rc<Self>) -> Deadline {
        let slot = Slot {
            due: Cell::new(NEVER),
            filed: Cell::new(NEVER),
            waker: RefCell::new(None),
        };
        Deadline {
            wheel: self.clone(),
            slot: Rc::new(slot),
        }
    }

    /// The tick of a `time` about now, whether it was turned yet or not.
    ///
    /// A process that was stopped, or a machine that slept, finds new connections and answers before
    /// it comes to turning. Deadlines armed before would all expire at once, so time in which nothing
    /// ran counts for nobody.
    fn tick(&self, time: u64) -> u64 {
        let ticks = time.saturating_sub(self.start.get()) / TICK_NANOS;
        let lost = ticks.saturating_sub(self.now.get() + STALL);
        if lost > 0 {
            let start = self
                .start
                .get()
                .saturating_add(lost.saturating_mul(TICK_NANOS));
            self.start.set(start);
        }
        ticks - lost
    }

    /// Turns to the present, waking whoever is due. Call about every [`TICK`].
    pub(crate) fn turn(&self) {
        let target = self.tick(self.clock.now());
        while self.now.get() < target {
            let now = self.now.get() + 1;
            self.now.set(now);
            let place = (now % PLACES as u64) as usize;
            let due = std::mem::take(&mut self.places.borrow_mut()[place]);
            for slot in due {
                let filed = slot.filed.get();
                if filed == now {
                    self.fire_or_refile(slot, now);
                } else if filed != NEVER && filed > now && filed % PLACES as u64 == place as u64 {
                    // For a later round. Anything else was filed anew elsewhere: a stale entry.
                    self.places.borrow_mut()[place].push(slot);
                }
            }
        }
    }

    /// Wakes everybody who waits for a deadline, due or not.
    pub(crate) fn wake_all(&self) {
        for slot in self.places.borrow().iter().flatten() {
            if let Some(waker) = slot.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Whole milliseconds since this wheel was made, as of the last turn, without stalls.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now.get() * TICK.as_millis() as u64
    }

    fn fire_or_refile(&self, slot: Rc<Slot>, now: u64) {
        slot.filed.set(NEVER);
        let due = slot.due.get();
        if due <= now {
            if let Some(waker) = slot.waker.borrow_mut().take() {
                waker.wake();
            }
        } else if due != NEVER && Rc::strong_count(&slot) > 1 {
            self.file(slot, due);
        }
    }

    fn file(&self, slot: Rc<Slot>, due: u64) {
        slot.filed.set(due);
        self.places.borrow_mut()[(due % PLACES as u64) as usize].push(slot);
    }
}

impl Deadline {
    /// From now on `after` is left; replaces what was armed before, unless that was cut.
    pub(crate) fn arm(&self, after: Duration) {
        if self.slot.due.get() == CUT {
            return;
        }
        let ticks = after.as_millis().div_ceil(TICK.as_millis()) as u64;
        let wheel = &self.wheel;
        // By the clock: a worker that was kept from turning would give less than was asked for. One
        // more: the present tick has begun already.
        let due = wheel
            .tick(wheel.clock.latest())
            .saturating_add(ticks.max(1) + 1)
            .min(NEVER - 1);
        self.slot.due.set(due);
        if self.slot.filed.get() > due {
            self.wheel.file(self.slot.clone(), due);
        }
    }

    /// A handle for somebody else to let this deadline pass at once.
    pub(crate) fn cutter(&self) -> Cutter {
        Cutter(self.slot.clone())
    }

    /// Whether it passed because somebody cut it.
    pub(crate) fn is_cut(&self) -> bool {
        self.slot.due.get() == CUT
    }

    /// Leaves a cut as it is.
    pub(crate) fn disarm(&self) {
        if !self.is_cut() {
            self.slot.due.set(NEVER);
        }
    }

    /// Ready when it has passed; registers the task otherwise.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.due.get() <= self.wheel.now.get() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Runs `work` for no longer than `after`. Dropping the future drops the work.
    pub(crate) async fn limit<F: Future>(
        &self,
        after: Duration,
        work: F,
    ) -> Result<F::Output, Expired> {
        self.arm(after);
        let mut work = pin!(work);
        let result = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(|()| Err(Expired)),
        })
        .await;
        self.disarm();
        result
    }

    /// Waits for `after` to pass.
    pub(crate) async fn sleep(&self, after: Duration) {
        self.arm(after);
        poll_fn(|cx| self.poll_expired(cx)).await;
        self.disarm();
    }
}

/// Ends another task's wait.
pub(crate) struct Cutter(Rc<Slot>);

impl Cutter {
    pub(crate) fn cut(&self) {
        self.0.due.set(CUT);
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The entry in the wheel is stale now and goes when its place comes up next, not in the
        // hour that it may have been filed for: short connections would pile up until then.
        self.slot.filed.set(NEVER);
        self.slot.due.set(NEVER);
        self.slot.waker.borrow_mut().take();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn run(f: impl AsyncFnOnce(Rc<Wheel>)) {
        let runtime = tokio::runtime::LocalRuntime::new().unwrap();
        runtime.block_on(async {
            let wheel = Wheel::new();
            let turning = wheel.clone();
            let turner = tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(TICK / 2).await;
                    turning.turn();
                }
            });
            f(wheel).await;
            turner.abort();
        });
    }

    #[test]
    fn never_early_and_hardly_late() {
        run(async |wheel| {
            for ms in [1u64, 45, 130] {
                let started = Instant::now();
                wheel.deadline().sleep(Duration::from_millis(ms)).await;
                assert!(
                    started.elapsed() >= Duration::from_millis(ms),
                    "{ms} ms came early"
                );
            }
        });
    }

    #[test]
    fn a_deadline_moved_nearer_or_further_counts_from_its_last_arming() {
        run(async |wheel| {
            let deadline = wheel.deadline();
            deadline.arm(Duration::from_secs(3600));
            let started = Instant::now();
            assert_eq!(
                deadline
                    .limit(Duration::from_millis(30), std::future::pending::<()>())
                    .await,
                Err(Expired)
            );
            assert!(started.elapsed() < Duration::from_secs(60));
            deadline.arm(Duration::from_millis(20));
            let long = deadline.limit(Duration::from_secs(60), async {
                tokio::time::sleep(Duration::from_millis(120)).await;
                7
            });
            assert_eq!(long.await, Ok(7));
        });
    }

    #[test]
    fn a_cut_holds_even_if_the_deadline_is_moved_after_it() {
        let wheel = Wheel::new();
        let deadline = wheel.deadline();
        deadline.arm(Duration::from_secs(3600));
        deadline.cutter().cut();
        deadline.arm(Duration::from_secs(3600));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(deadline.poll_expired(&mut cx).is_ready());
    }

    #[test]
    fn deadlines_that_are_gone_leave_the_wheel_within_a_round() {
        let wheel = Wheel::new();
        for _ in 0..100 {
            wheel.deadline().arm(Duration::from_secs(3600));
        }
        let kept = wheel.deadline();
        kept.arm(Duration::from_secs(3600));
        for _ in 0..PLACES as u64 / STALL + 1 {
            // As if so many ticks had passed.
            wheel.start.set(wheel.start.get() - TICK_NANOS * STALL);
            wheel.turn();
        }
        let filed: usize = wheel.places.borrow().iter().map(Vec::len).sum();
        assert_eq!(filed, 1);
    }

    #[test]
    fn what_is_armed_after_a_stall_has_its_time() {
        let wheel = Wheel::new();
        // As if nothing had run for a minute.
        wheel.start.set(wheel.start.get() - 3000 * TICK_NANOS);
        let deadline = wheel.deadline();
        deadline.arm(Duration::from_secs(5));
        wheel.turn();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(deadline.poll_expired(&mut cx).is_pending());
        let due_in = deadline.slot.due.get() - wheel.now.get();
        assert!(due_in * TICK.as_millis() as u64 >= 5_000, "{due_in} ticks");
    }

    #[test]
    fn what_is_armed_before_a_late_turn_has_its_time() {
        for late in [1, 3, STALL] {
            let wheel = Wheel::new();
            // As if the worker had been kept from turning for so long.
            wheel.start.set(wheel.start.get() - late * TICK_NANOS);
            let deadline = wheel.deadline();
            deadline.arm(TICK * 2);
            wheel.turn();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(deadline.poll_expired(&mut cx).is_pending());
            let due_in = deadline.slot.due.get() - wheel.now.get();
            assert!(due_in >= 2, "{due_in} ticks after {late}");
        }
    }

    #[test]
    fn what_lies_further_than_one_round_waits_for_its_round() {
        let wheel = Wheel::new();
        let deadline = wheel.deadline();
        let ticks = PLACES as u64 * 2 + 5;
        deadline.arm(TICK * ticks as u32);
        let mut cx = Context::from_waker(Waker::noop());
        let due = deadline.slot.due.get();
        for now in 1..=due {
            assert!(
                deadline.poll_expired(&mut cx).is_pending(),
                "expired at {now} of {due}"
            );
            wheel.now.set(now - 1);
            let place = (now % PLACES as u64) as usize;
            let slots = std::mem::take(&mut wheel.places.borrow_mut()[place]);
            wheel.now.set(now);
            for slot in slots {
                if slot.filed.get() > now {
                    wheel.places.borrow_mut()[place].push(slot);
                } else {
                    wheel.fire_or_refile(slot, now);
                }
            }
        }
        assert!(deadline.poll_expired(&mut cx).is_ready());
    }
}
