//! What must survive a swap, by identity: a plan refers to these and never copies them.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::balance::{Departed, Gate, Latencies};
use crate::names::UpstreamName;

/// Unique in this process for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(u64);

/// Whether an upstream can be given traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not checked yet. Takes traffic only while no upstream of the service is `Up`.
    Starting,
    Up,
    Down,
}

/// How much of its weight an upstream is given while it warms up: from [`Share::LEAST`] when it comes up to
/// [`Share::FULL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    pub const FULL: Self = Self(256);
    /// Enough for an application to load its code by, and for two that come up one after the other not
    /// to be worlds apart.
    pub const LEAST: Self = Self(8);

    /// What is reached when `part` of the way from here to full is gone.
    #[must_use]
    pub fn raised(self, part: f64) -> Self {
        let missing = f64::from(Self::FULL.0 - self.0);
        Self(self.0 + (missing * part.clamp(0.0, 1.0)) as u16)
    }

    /// From 0 to 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(Self::FULL.0)
    }

    pub(super) fn units(self) -> u64 {
        self.0.into()
    }
}

/// How one request or connection ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by an upstream with this status.
    Status(u16),
    /// A TCP flow or tunnel that ended.
    Flow,
    /// No answer came from any upstream: refused, broken or timed out.
    UpstreamFailure,
    /// Turned away before an upstream was chosen: no upstream, queue full.
    TurnedAway,
    /// The client left before the answer, or sent a body that is none.
    ClientFault,
}

/// State of one service. Everything a worker touches for each request shares one cache line.
#[derive(Debug, Default)]
pub struct ServiceState {
    hot: CachePadded<ServiceHot>,
    pub gate: Gate,
    /// Of HTTP, from the choice of an upstream to the head of its answer; of TCP, to the connection.
    pub latencies: Latencies,
    /// Its upstreams that are in no plan any more.
    pub departed: Departed<UpstreamState>,
    pub(super) has_departed: AtomicBool,
}

#[derive(Debug, Default)]
struct ServiceHot {
    cursor: AtomicU64,
    /// Statuses 1xx to 5xx at 0 to 4.
    answers: [AtomicU64; 5],
    flows: AtomicU64,
    failures: AtomicU64,
    turned_away: AtomicU64,
    client_faults: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    /// Requests and flows under way that the access log follows.
    traced: AtomicU32,
}

impl ServiceState {
    /// One more that the access log follows. Each that enters leaves.
    pub(crate) fn enter_traced(&self) {
        self.hot.traced.fetch_add(1, Relaxed);
    }

    /// Answers how many are left.
    pub(crate) fn leave_traced(&self) -> u32 {
        self.hot.traced.fetch_sub(1, Relaxed).saturating_sub(1)
    }

    /// The next place in the rotation. Shared by all workers, so that alternation is exact.
    pub(crate) fn next_turn(&self) -> u64 {
        self.hot.cursor.fetch_add(1, Relaxed)
    }

    pub fn record(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Status(status) => {
                &self.hot.answers[usize::from((status / 100).clamp(1, 5) - 1)]
            }
            Outcome::Flow => &self.hot.flows,
            Outcome::UpstreamFailure => &self.hot.failures,
            Outcome::TurnedAway => &self.hot.turned_away,
            Outcome::ClientFault => &self.hot.client_faults,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// What went up to an upstream and down to the client, when it is over.
    pub fn record_bytes(&self, (up, down): (u64, u64)) {
        self.hot.bytes_up.fetch_add(up, Relaxed);
        self.hot.bytes_down.fetch_add(down, Relaxed);
    }

    /// From clients to upstreams, and back.
    pub fn bytes(&self) -> (u64, u64) {
        let (up, down) = (&self.hot.bytes_up, &self.hot.bytes_down);
        (up.load(Relaxed), down.load(Relaxed))
    }

    /// Answers by class, 1xx to 5xx.
    pub fn answers(&self) -> [u64; 5] {
        self.hot.answers.each_ref().map(|a| a.load(Relaxed))
    }

    pub fn flows(&self) -> u64 {
        self.hot.flows.load(Relaxed)
    }

    pub fn failures(&self) -> u64 {
        self.hot.failures.load(Relaxed)
    }

    pub fn turned_away(&self) -> u64 {
        self.hot.turned_away.load(Relaxed)
    }

    /// Requests that came to nothing by their clients.
    pub fn client_faults(&self) -> u64 {
        self.hot.client_faults.load(Relaxed)
    }
}

/// State of one upstream: one address under one name of one service.
#[derive(Debug)]
pub struct UpstreamState {
    id: UpstreamId,
    health: AtomicU8,
    /// Below full while it is not up, and then for as long as the checker lets it warm up. Looked at only
    /// where the service says `warm_up`.
    share: AtomicU16,
    /// Checks in a row that agree against the present health. Written by the checker alone.
    streak: AtomicU32,
    /// Whether it ever was `Up`: one that never was enters with its first good check.
    was_up: AtomicBool,
    has_left: AtomicBool,
    pub(super) has_departed: AtomicBool,
    /// The newest plan gives it nothing new.
    is_drained: AtomicBool,
    /// What the last check found, in words; empty before the first. For those who look, not for traffic.
    last_check: Mutex<Box<str>>,
    times: Times,
    hot: CachePadded<UpstreamHot>,
    /// As the service's.
    pub latencies: Latencies,
}

/// When things happened, in milliseconds since 1970; 0: never. Written by the checker alone.
#[derive(Debug, Default)]
struct Times {
    health: AtomicU64,
    check: AtomicU64,
    drained: AtomicU64,
    /// How often it went down, and checks that failed.
    downs: AtomicU64,
    failed_checks: AtomicU64,
}

#[derive(Debug, Default)]
struct UpstreamHot {
    in_flight: AtomicU32,
    served: AtomicU64,
    failed: AtomicU64,
    connect_failures: AtomicU64,
}

impl UpstreamState {
    /// A new upstream. Without a check nobody would ever call it up, so it starts `Up`.
    pub fn new(is_checked: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = Self {
            id: UpstreamId(NEXT.fetch_add(1, Relaxed)),
            health: AtomicU8::new(0),
            share: AtomicU16::new(Share::FULL.0),
            streak: AtomicU32::new(0),
            was_up: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            has_departed: AtomicBool::new(false),
            is_drained: AtomicBool::new(false),
            last_check: Mutex::default(),
            times: Times::default(),
            hot: CachePadded::default(),
            latencies: Latencies::default(),
        };
        state.set_health(if is_checked {
            Health::Starting
        } else {
            Health::Up
        });
        state
    }

    pub fn id(&self) -> UpstreamId {
        self.id
    }

    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            0 => Health::Starting,
            1 => Health::Up,
            _ => Health::Down,
        }
    }

    pub fn set_health(&self, health: Health) {
        let value = match health {
            Health::Starting => 0,
            Health::Up => 1,
            Health::Down => 2,
        };
        if health == Health::Up {
            self.was_up.store(true, Relaxed);
        } else {
            // Before it comes up, so that nobody sees it up and full in between.
            self.set_share(Share::LEAST);
        }
        self.health.store(value, Relaxed);
        self.streak.store(0, Relaxed);
    }

    pub fn share(&self) -> Share {
        Share(self.share.load(Relaxed))
    }

    pub fn set_share(&self, share: Share) {
        self.share.store(share.0, Relaxed);
    }

    /// Takes in the result of one check; answers the new health if this check changed it.
    ///
    /// The first check decides alone, and so does the first good one: an upstream that starts is
    /// believed at once. Later it takes `fall` failures in a row to go down and `rise` successes in a
    /// row to come back.
    pub fn judge(&self, passed: bool, rise: u32, fall: u32) -> Option<Health> {
        let (target, needed) = if passed {
            (Health::Up, rise)
        } else {
            (Health::Down, fall)
        };
        let now = self.health();
        if now == target {
            self.streak.store(0, Relaxed);
            return None;
        }
        let streak = self.streak.load(Relaxed) + 1;
        let is_first = now == Health::Starting || (passed && !self.was_up());
        if is_first || streak >= needed {
            self.set_health(target);
            return Some(target);
        }
        self.streak.store(streak, Relaxed);
        None
    }

    /// Checks in a row that agree against the present health.
    pub fn streak(&self) -> u32 {
        self.streak.load(Relaxed)
    }

    pub fn was_up(&self) -> bool {
        self.was_up.load(Relaxed)
    }

    /// It is in the plan no more: who still goes by an older one is not led there. Called when the plan without it
    /// is published; whoever sees this sees that plan as well.
    pub fn leave(&self) {
        self.has_left.store(true, Release);
        self.set_health(Health::Down);
    }

    /// The newest plan gives it nothing new, or does again. Who still goes by an older plan holds to it as well: one
    /// that is drained gets nothing more but from clients that belong to it.
    pub fn set_drained(&self, is_drained: bool, at_ms: u64) {
        if self.is_drained.swap(is_drained, AcqRel) != is_drained {
            self.times.drained.store(at_ms, Relaxed);
        }
    }

    /// Since when it is drained or is not, in milliseconds since 1970; `None`: it never was.
    pub fn drained_ms(&self) -> Option<u64> {
        Some(self.times.drained.load(Relaxed)).filter(|at| *at > 0)
    }

    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Acquire)
    }

    pub fn has_left(&self) -> bool {
        self.has_left.load(Acquire)
    }

    /// Keeps when its health came to be what it is.
    pub fn note_change(&self, at_ms: u64) {
        self.times.health.store(at_ms, Relaxed);
        if self.health() == Health::Down && self.was_up() {
            self.times.downs.fetch_add(1, Relaxed);
        }
    }

    /// Since when its health is what it is, in milliseconds since 1970.
    pub fn since_ms(&self) -> Option<u64> {
        Some(self.times.health.load(Relaxed)).filter(|at| *at > 0)
    }

    /// When it was checked last, in milliseconds since 1970.
    pub fn checked_ms(&self) -> Option<u64> {
        Some(self.times.check.load(Relaxed)).filter(|at| *at > 0)
    }

    /// How often it went down.
    pub fn downs(&self) -> u64 {
        self.times.downs.load(Relaxed)
    }

    pub fn failed_checks(&self) -> u64 {
        self.times.failed_checks.load(Relaxed)
    }

    /// Keeps what a check found; most find what the one before found.
    pub fn note_check(&self, found: &str, passed: bool, at_ms: u64) {
        self.times.check.store(at_ms, Relaxed);
        if !passed {
            self.times.failed_checks.fetch_add(1, Relaxed);
        }
        let mut last = self
            .last_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if &**last != found {
            *last = found.into();
        }
    }

    pub fn last_check(&self) -> Box<str> {
        let last = self
            .last_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    pub fn in_flight(&self) -> u32 {
        self.hot.in_flight.load(Relaxed)
    }

    pub fn served(&self) -> u64 {
        self.hot.served.load(Relaxed)
    }

    /// It answered with this status after so long.
    #[inline]
    pub fn answered(&self, status: u16, took: Duration) {
        self.latencies.note(took);
        if status >= 500 {
            self.record_failure();
        }
    }

    /// What was given to it came to nothing, or to a 5xx.
    pub fn record_failure(&self) {
        self.hot.failed.fetch_add(1, Relaxed);
    }

    pub fn failed(&self) -> u64 {
        self.hot.failed.load(Relaxed)
    }

    pub fn connect_failures(&self) -> u64 {
        self.hot.connect_failures.load(Relaxed)
    }

    pub fn record_connect_failure(&self) {
        self.hot.connect_failures.fetch_add(1, Relaxed);
    }
}

/// One request or connection under way at an upstream; dropping it ends it.
#[derive(Debug)]
pub struct InFlight(Arc<UpstreamState>);

impl InFlight {
    pub fn begin(state: &Arc<UpstreamState>) -> Self {
        state.hot.in_flight.fetch_add(1, Relaxed);
        state.hot.served.fetch_add(1, Relaxed);
        Self(state.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.hot.in_flight.fetch_sub(1, Relaxed);
    }
}

/// One upstream as a plan holds it: what its key says, and the state that outlives the plan.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: UpstreamName,
    pub address: SocketAddr,
    pub weight: u16,
    /// Stable hash of the name: the same on every node and in every generation.
    pub name_hash: u64,
    pub state: Arc<UpstreamState>,
    /// What it is called as a host where its key says a name, with the port.
    pub host: Option<Arc<str>>,
}

impl Member {
    pub fn new(
        name: UpstreamName,
        address: SocketAddr,
        weight: u16,
        state: Arc<UpstreamState>,
    ) -> Self {
        let name_hash = rapidhash::v3::rapidhash_v3(name.as_str().as_bytes());
        Self {
            name,
            address,
            weight,
            name_hash,
            state,
            host: None,
        }
    }

    /// Whether it is given what belongs to nobody yet, as far as weights go.
    pub fn takes_new(&self) -> bool {
        self.weight > 0 && !self.state.is_drained()
    }

    /// What it is called in a `Host` field: the name that its key says, or its address.
    pub fn authority(&self) -> String {
        match &self.host {
            Some(host) => host.as_ref().to_owned(),
            None => self.address.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_check_decides_alone() {
        let state = UpstreamState::new(true);
        assert_eq!(state.health(), Health::Starting);
        assert_eq!(state.judge(true, 2, 3), Some(Health::Up));
        let state = UpstreamState::new(true);
        assert_eq!(state.judge(false, 2, 3), Some(Health::Down));
        assert_eq!(
            state.judge(true, 2, 3),
            Some(Health::Up),
            "it has started now"
        );
    }

    #[test]
    fn it_takes_fall_failures_in_a_row_to_go_down_and_rise_successes_to_return() {
        let state = UpstreamState::new(false);
        assert_eq!(state.judge(false, 2, 3), None);
        assert_eq!(state.judge(false, 2, 3), None);
        assert_eq!(
            state.judge(true, 2, 3),
            None,
            "a success in between starts the count again"
        );
        assert_eq!(state.judge(false, 2, 3), None);
        assert_eq!(state.judge(false, 2, 3), None);
        assert_eq!(state.judge(false, 2, 3), Some(Health::Down));
        assert_eq!(state.judge(true, 2, 3), None);
        assert_eq!(state.judge(true, 2, 3), Some(Health::Up));
    }

    #[test]
    fn only_what_comes_up_by_a_check_begins_with_less_than_its_full_share() {
        assert_eq!(UpstreamState::new(false).share(), Share::FULL);
        let state = UpstreamState::new(true);
        state.judge(true, 2, 3);
        assert_eq!((state.health(), state.share()), (Health::Up, Share::LEAST));
        state.set_share(Share::FULL);
        for _ in 0..2 {
            state.judge(false, 2, 3);
        }
        assert_eq!(state.share(), Share::FULL, "it is up still");
        state.judge(false, 2, 3);
        assert_eq!(state.share(), Share::LEAST);
    }

    #[test]
    fn a_share_rises_evenly_from_where_it_is() {
        let raised = [0.0, 0.5, 1.0, 7.0].map(|part| Share::LEAST.raised(part).0);
        assert_eq!(raised, [8, 132, 256, 256]);
        assert_eq!(Share(132).raised(0.5).0, 194);
        assert_eq!(Share::FULL.raised(0.3), Share::FULL);
    }

    #[test]
    fn what_is_in_flight_ends_when_dropped() {
        let state = Arc::new(UpstreamState::new(false));
        let a = InFlight::begin(&state);
        let b = InFlight::begin(&state);
        assert_eq!(state.in_flight(), 2);
        drop((a, b));
        assert_eq!((state.in_flight(), state.served()), (0, 2));
    }
}
