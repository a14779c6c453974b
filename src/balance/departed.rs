//! Counters that stay when what they were of is gone, so that sums never fall.
//!
//! Whoever departs may still be counting: requests and flows go on at an upstream that no plan has any more. So it is
//! kept for as long as somebody else has it, and only then comes to a number.

use std::fmt::Debug;
use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::balance::{ServiceState, UpstreamState};

/// What can depart.
pub trait Counted {
    type Figures: Copy + Debug + Default + AddAssign;

    fn figures(&self) -> Self::Figures;

    /// Once set, its figures are among those of the departed, whatever plan somebody still looks at.
    fn has_departed(&self) -> &AtomicBool;
}

/// Upstreams that left a service, or services that left the node.
#[derive(Debug)]
pub struct Departed<T: Counted>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T: Counted> {
    /// Of those that count no more.
    sum: T::Figures,
    leaving: Vec<Arc<T>>,
}

/// Of a node.
#[derive(Debug, Default)]
pub struct DepartedServices {
    pub http: Departed<ServiceState>,
    pub tcp: Departed<ServiceState>,
}

/// Of an upstream, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamFigures {
    pub in_flight: u64,
    pub served: u64,
    pub connect_failures: u64,
    /// How often it went down.
    pub downs: u64,
}

/// Of a service with its upstreams, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceFigures {
    /// By class, 1xx to 5xx.
    pub answers: [u64; 5],
    pub flows: u64,
    pub failures: u64,
    pub turned_away: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub upstreams: UpstreamFigures,
}

impl<T: Counted> Departed<T> {
    /// Takes it in, once. To be called before the plan without it is published: who looks at the new one finds it here,
    /// and who looks at the old one does not count it twice.
    pub fn take_in(&self, one: &Arc<T>) {
        let mut inner = self.lock();
        inner.settle();
        if !one.has_departed().swap(true, Relaxed) {
            inner.leaving.push(one.clone());
        }
    }

    /// Of all that departed, and of those that a plan has, each with its figures.
    pub fn with<'a>(&self, there: impl Iterator<Item = (&'a T, T::Figures)>) -> T::Figures
    where
        T: 'a,
    {
        // Nobody departs in the middle.
        let mut inner = self.lock();
        inner.settle();
        let mut sum = inner.sum;
        for one in &inner.leaving {
            sum += one.figures();
        }
        for (one, figures) in there {
            if !one.has_departed().load(Relaxed) {
                sum += figures;
            }
        }
        sum
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Counted> Default for Departed<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            sum: T::Figures::default(),
            leaving: Vec::new(),
        }))
    }
}

impl<T: Counted> Inner<T> {
    /// Lets go of those that nobody else has.
    fn settle(&mut self) {
        let sum = &mut self.sum;
        self.leaving.retain_mut(|one| {
            let is_last = Arc::get_mut(one).is_some();
            if is_last {
                *sum += one.figures();
            }
            !is_last
        });
    }
}

impl ServiceState {
    /// What all comes to, with that of the upstreams that it has, and of those that it had.
    pub fn figures_with<'a>(
        &self,
        upstreams: impl Iterator<Item = &'a UpstreamState>,
    ) -> ServiceFigures {
        let (bytes_up, bytes_down) = self.bytes();
        ServiceFigures {
            answers: self.answers(),
            flows: self.flows(),
            failures: self.failures(),
            turned_away: self.turned_away(),
            bytes_up,
            bytes_down,
            upstreams: self
                .departed
                .with(upstreams.map(|one| (one, one.figures()))),
        }
    }
}

impl Counted for ServiceState {
    type Figures = ServiceFigures;

    fn figures(&self) -> ServiceFigures {
        self.figures_with(std::iter::empty())
    }

    fn has_departed(&self) -> &AtomicBool {
        &self.has_departed
    }
}

impl Counted for UpstreamState {
    type Figures = UpstreamFigures;

    fn figures(&self) -> UpstreamFigures {
        UpstreamFigures {
            in_flight: self.in_flight().into(),
            served: self.served(),
            connect_failures: self.connect_failures(),
            downs: self.downs(),
        }
    }

    fn has_departed(&self) -> &AtomicBool {
        &self.has_departed
    }
}

impl ServiceFigures {
    /// Of HTTP, however they ended. An upgraded connection was an answer before, and answers count from their head on.
    pub fn requests(&self) -> u64 {
        self.answers.iter().sum::<u64>() + self.failures + self.turned_away
    }

    /// Of TCP: flows, however they ended or will.
    pub fn flows_begun(&self) -> u64 {
        self.flows + self.upstreams.in_flight + self.failures + self.turned_away
    }
}

impl AddAssign for UpstreamFigures {
    fn add_assign(&mut self, other: Self) {
        self.in_flight += other.in_flight;
        self.served += other.served;
        self.connect_failures += other.connect_failures;
        self.downs += other.downs;
    }
}

impl AddAssign for ServiceFigures {
    fn add_assign(&mut self, other: Self) {
        for (sum, own) in self.answers.iter_mut().zip(other.answers) {
            *sum += own;
        }
        self.flows += other.flows;
        self.failures += other.failures;
        self.turned_away += other.turned_away;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.upstreams += other.upstreams;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{InFlight, Outcome};

    fn served(service: &ServiceState, there: &[&Arc<UpstreamState>]) -> (u64, u64) {
        let there = there.iter().map(|state| &***state);
        let sums = service.figures_with(there).upstreams;
        (sums.served, sums.in_flight)
    }

    #[test]
    fn what_an_upstream_counted_stays_and_what_it_still_counts_is_added() {
        let service = ServiceState::default();
        let (one, other) = (
            Arc::new(UpstreamState::new(false)),
            Arc::new(UpstreamState::new(false)),
        );
        drop(InFlight::begin(&other));
        let under_way = InFlight::begin(&one);
        assert_eq!(served(&service, &[&one, &other]), (2, 1));
        service.departed.take_in(&one);
        // By the plan before, and by the one after.
        assert_eq!(served(&service, &[&one, &other]), (2, 1));
        assert_eq!(served(&service, &[&other]), (2, 1));
        service.departed.take_in(&one);
        assert_eq!(served(&service, &[&other]), (2, 1));
        let late = InFlight::begin(&one);
        assert_eq!(served(&service, &[&other]), (3, 2));
        drop((late, under_way));
        drop(one);
        assert_eq!(served(&service, &[&other]), (3, 0));
        let is_number = service.departed.lock().leaving.is_empty();
        assert!(is_number, "nobody else has it");
        assert_eq!(served(&service, &[&other]), (3, 0));
    }

    #[test]
    fn a_service_departs_with_what_left_it_before() {
        let node = DepartedServices::default();
        let service = Arc::new(ServiceState::default());
        let upstream = Arc::new(UpstreamState::new(false));
        service.record(Outcome::Flow);
        service.departed.take_in(&upstream);
        let flow = InFlight::begin(&upstream);
        node.tcp.take_in(&service);
        let own = (&*service, service.figures());
        assert_eq!(node.tcp.with([own].into_iter()).flows_begun(), 2);
        let begun = || node.tcp.with(std::iter::empty()).flows_begun();
        assert_eq!(begun(), 2);
        service.record(Outcome::Flow);
        drop((flow, service));
        assert_eq!(begun(), 2);
    }
}
