//! Rates and latencies: what counters come to from one look to the next, and how that was in the last hour.
//!
//! Nothing is measured here that is not counted anyway. The counters of all services are read every ten seconds, and
//! when somebody looks, but not twice in a second; a service that nobody asks costs one line of memory read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::balance::{Counts, Member, ServiceState, UpstreamId};
use crate::plan::Service;
use crate::proxy::Shared;

use super::history::{Hour, Point};
use super::views::Conditions;

/// What was found is as good as new for so long.
const FRESH: Duration = Duration::from_millis(900);

/// Always. Latencies and the rates of upstreams are of so long a time, too.
const SLOW: Duration = Duration::from_secs(10);

/// Points of the node's and of a service's history.
pub(super) const NODE_STEP: Duration = SLOW;
pub(super) const SERVICE_STEP: Duration = Duration::from_secs(60);

/// Per second, and what part of it came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) errors: f64,
    pub(super) bytes_up: f64,
    pub(super) bytes_down: f64,
}

/// In milliseconds; `None` where nothing was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spread {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// Counters of one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: u64,
    /// Those that came to nothing, or to a 5xx.
    pub(super) errors: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

pub(super) struct Sampler {
    shared: Arc<Shared>,
    samples: RwLock<Samples>,
}

#[derive(Default)]
pub(super) struct Samples {
    services: HashMap<usize, OfService, foldhash::fast::RandomState>,
    pub(super) rates: Rates,
    pub(super) conditions: Conditions,
    pub(super) spread: Spread,
    pub(super) hour: Hour,
    /// Whose services these are.
    generation: u64,
    /// Of the looks, so that what is gone is known.
    turn: u64,
    fast_at: Option<Instant>,
    slow_at: Option<Instant>,
    minute_at: Option<Instant>,
}

#[derive(Default)]
struct OfService {
    /// So that nobody else comes to be at its address.
    state: Option<Arc<ServiceState>>,
    turn: u64,
    totals: Totals,
    rates: Rates,
    /// The last slow look and the last end of a minute. Nothing of a service that nobody has asked, and so with the
    /// hour.
    slow: Option<Box<Window>>,
    minute: Option<Box<(Totals, Counts)>>,
    hour: Option<Box<Hour>>,
    upstreams: HashMap<UpstreamId, OfUpstream>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfUpstream {
    pub(super) requests: f64,
    pub(super) error_share: f64,
    pub(super) spread: Spread,
}

#[derive(Default)]
struct Window {
    activity: Activity,
    counts: Counts,
    spread: Spread,
    /// Of each upstream: served, failed, latencies.
    upstreams: HashMap<UpstreamId, (u64, u64, Counts)>,
}

impl Sampler {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            samples: RwLock::default(),
        })
    }

    /// Looks until the task is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SLOW);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let sampler = self.clone();
            // Ten thousand services are milliseconds.
            let _ = tokio::task::spawn_blocking(move || sampler.look(&mut sampler.write())).await;
        }
    }

    /// What is found now, or was a moment ago. Blocks for milliseconds where there are thousands of services.
    pub(super) fn samples(&self) -> RwLockReadGuard<'_, Samples> {
        let samples = self.read();
        let generation = self.shared.published.id();
        if samples.is_fresh(generation) {
            return samples;
        }
        drop(samples);
        let mut samples = self.write();
        // Somebody else may have looked while this one waited.
        if !samples.is_fresh(generation) {
            self.look(&mut samples);
        }
        drop(samples);
        self.read()
    }

    fn read(&self) -> RwLockReadGuard<'_, Samples> {
        self.samples.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Samples> {
        self.samples.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, samples: &mut Samples) {
        let generation = self.shared.published.current();
        let look = samples.begin(Instant::now());
        let mut sum = Rates::default();
        let mut counts = Counts::default();
        let mut conditions = Conditions::default();
        for service in generation.plan.services() {
            conditions.add(service);
            let own = samples.services.entry(key(service)).or_default();
            own.follow(service, &look, &mut counts);
            sum.add(own.rates);
        }
        samples.services.retain(|_, own| own.turn == look.turn);
        samples.rates = sum;
        samples.conditions = conditions;
        samples.generation = generation.id;
        if look.slow.is_some() {
            samples.spread = Spread::of(&counts);
            let point = Point::new(sum, samples.spread, self.shared.connections());
            samples.hour.push(point, NODE_STEP, SystemTime::now());
        }
    }
}

/// A service's state is what it is known by: it outlives plans, and is kept here for as long as it is asked for by
/// this.
fn key(service: &Service) -> usize {
    Arc::as_ptr(&service.state) as usize
}

/// One look: how long ago the ones before were that it is compared with.
struct Look {
    turn: u64,
    is_first: bool,
    fast: Option<f64>,
    /// Only at slow looks, and only at those that end a minute.
    slow: Option<f64>,
    minute: Option<f64>,
}

impl Samples {
    pub(super) fn rates_of(&self, service: &Service) -> Rates {
        self.of(service).map(|own| own.rates).unwrap_or_default()
    }

    pub(super) fn spread_of(&self, service: &Service) -> Spread {
        let own = self.of(service);
        own.and_then(|own| Some(own.slow.as_ref()?.spread))
            .unwrap_or_default()
    }

    pub(super) fn hour_of(&self, service: &Service) -> Option<&Hour> {
        self.of(service)?.hour.as_deref()
    }

    pub(super) fn upstream(&self, service: &Service, id: UpstreamId) -> OfUpstream {
        let found = self.of(service).and_then(|own| own.upstreams.get(&id));
        found.copied().unwrap_or_default()
    }

    fn of(&self, service: &Service) -> Option<&OfService> {
        self.services.get(&key(service))
    }

    fn is_fresh(&self, generation: u64) -> bool {
        self.generation == generation && self.fast_at.is_some_and(|at| at.elapsed() < FRESH)
    }

    fn begin(&mut self, now: Instant) -> Look {
        self.turn += 1;
        let since = |at: Option<Instant>| at.map(|at| now.duration_since(at).as_secs_f64());
        // The first look has nothing to compare with; it is a slow one.
        let is_slow = self
            .slow_at
            .is_none_or(|at| now.duration_since(at) + FRESH >= SLOW);
        let is_minute = self
            .minute_at
            .is_none_or(|at| now.duration_since(at) + SLOW / 2 >= SERVICE_STEP);
        let look = Look {
            turn: self.turn,
            is_first: self.fast_at.is_none(),
            // Of less there is no rate to tell.
            fast: since(self.fast_at).filter(|seconds| *seconds >= FRESH.as_secs_f64()),
            slow: since(self.slow_at).filter(|_| is_slow),
            minute: since(self.minute_at).filter(|_| is_slow && is_minute),
        };
        if look.is_first || look.fast.is_some() {
            self.fast_at = Some(now);
        }
        if is_slow {
            self.slow_at = Some(now);
            if is_minute {
                self.minute_at = Some(now);
            }
        }
        look
    }
}

impl OfService {
    fn follow(&mut self, service: &Service, look: &Look, all: &mut Counts) {
        self.turn = look.turn;
        let totals = Totals::of(service);
        if self.state.is_none() {
            // One that came since the last look has been asked since then; of the first look nobody knows.
            self.state = Some(service.state.clone());
            if look.is_first {
                self.totals = totals;
                if totals.requests > 0 {
                    let window = Window::at(service, &totals);
                    self.minute = Some(Box::new((totals, window.counts.clone())));
                    self.slow = Some(Box::new(window));
                }
                return;
            }
        }
        if let Some(seconds) = look.fast {
            self.rates = totals.since(&self.totals).per(seconds);
            self.totals = totals;
        }
        if let Some(seconds) = look.slow {
            self.look_slowly(service, totals, seconds, all);
        }
        if let Some(seconds) = look.minute {
            self.end_minute(service, totals, seconds);
        }
    }

    fn look_slowly(&mut self, service: &Service, totals: Totals, seconds: f64, all: &mut Counts) {
        let before = self.slow.take().unwrap_or_default();
        let activity = Activity::of(service, &totals);
        let is_quiet = activity == before.activity;
        if is_quiet && before.spread == Spread::default() && self.upstreams.is_empty() {
            self.slow = (activity != Activity::default()).then_some(before);
            return;
        }
        let now = Window::at(service, &totals);
        let came = now.counts.since(&before.counts);
        all.add(&came);
        self.upstreams = service
            .all_members()
            .map(|member| {
                let id = member.state.id();
                let (served, failed, counts) = &now.upstreams[&id];
                let before = before.upstreams.get(&id).cloned().unwrap_or_default();
                let came = served.saturating_sub(before.0);
                let failed = failed.saturating_sub(before.1);
                let own = OfUpstream {
                    requests: came as f64 / seconds,
                    error_share: share(failed as f64, came as f64),
                    spread: Spread::of(&counts.since(&before.2)),
                };
                (id, own)
            })
            .collect();
        if is_quiet {
            // Nothing to keep until somebody asks again.
            self.upstreams.clear();
        }
        let spread = Spread::of(&came);
        self.slow = Some(Box::new(Window { spread, ..now }));
    }

    fn end_minute(&mut self, service: &Service, totals: Totals, seconds: f64) {
        let before = self.minute.take().unwrap_or_default();
        let came = totals.since(&before.0);
        if came.requests == 0 && self.hour.is_none() {
            self.minute = (totals.requests > 0).then_some(before);
            return;
        }
        let counts = service.state.latencies.counts();
        let spread = Spread::of(&counts.since(&before.1));
        let point = Point::new(came.per(seconds), spread, 0);
        let hour = self.hour.get_or_insert_default();
        hour.push(point, SERVICE_STEP, SystemTime::now());
        self.minute = Some(Box::new((totals, counts)));
    }
}

/// What differs if anything went on: a request is counted at its end, and its upstream when it is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Activity {
    requests: u64,
    served: u64,
}

impl Activity {
    fn of(service: &Service, totals: &Totals) -> Self {
        let served = service.all_members().map(|member| member.state.served());
        Self {
            requests: totals.requests,
            served: served.sum(),
        }
    }
}

impl Window {
    fn at(service: &Service, totals: &Totals) -> Self {
        let upstream = |member: &Member| {
            let state = &member.state;
            let figures = (state.served(), state.failed(), state.latencies.counts());
            (state.id(), figures)
        };
        Self {
            activity: Activity::of(service, totals),
            counts: service.state.latencies.counts(),
            spread: Spread::default(),
            upstreams: service.all_members().map(upstream).collect(),
        }
    }
}

impl Totals {
    pub(super) fn of(service: &Service) -> Self {
        let state = &service.state;
        let answers = state.answers();
        let served = match service.tcp_port() {
            // When they are connected: they may last for days.
            Some(_) => state.latencies.counts().total(),
            // A connection that was upgraded has its answer among these.
            None => answers.iter().sum(),
        };
        let (bytes_up, bytes_down) = state.bytes();
        Self {
            requests: served + state.failures() + state.turned_away() + state.client_faults(),
            errors: answers[4] + state.failures(),
            bytes_up,
            bytes_down,
        }
    }

    fn since(self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            bytes_up: self.bytes_up.saturating_sub(before.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(before.bytes_down),
        }
    }

    fn per(self, seconds: f64) -> Rates {
        let seconds = seconds.max(1e-3);
        Rates {
            requests: self.requests as f64 / seconds,
            errors: self.errors as f64 / seconds,
            bytes_up: self.bytes_up as f64 / seconds,
            bytes_down: self.bytes_down as f64 / seconds,
        }
    }
}

impl Rates {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
    }

    pub(super) fn error_share(self) -> f64 {
        share(self.errors, self.requests)
    }
}

impl Spread {
    fn of(counts: &Counts) -> Self {
        let ms = |part| Some(counts.quantile(part)?.as_secs_f64() * 1e3);
        Self {
            p50: ms(0.5),
            p99: ms(0.99),
        }
    }
}

fn share(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => (part / whole).min(1.0),
        false => 0.0,
    }
}
