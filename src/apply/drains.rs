//! Upstreams that take nothing new, and what they still have.
//!
//! Kept by what changes: a plan of ten thousand services is never searched for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::balance::{UpstreamId, UpstreamState};
use crate::names::{UnitName, UpstreamName};
use crate::plan::Service;
use crate::status::{Drain, time_text};

/// One that is gone is told for so long after it has nothing left.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// Beyond the time that a request may wait for a place: from its head to the choice of an upstream.
const CHOOSING: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Drains {
    all: BTreeMap<Key, Leaving>,
    has_news: bool,
}

type Key = (UnitName, UpstreamName, UpstreamId);

struct Leaving {
    state: Arc<UpstreamState>,
    address: String,
    began: Instant,
    since: SystemTime,
    /// The first generation that leads nobody there.
    generation: u64,
    is_removed: bool,
    /// It had nothing at the last look.
    was_empty: bool,
    done: Option<Instant>,
}

impl Drains {
    /// Follows one service to its form in `generation`.
    pub(super) fn follow(
        &mut self,
        before: Option<&Arc<Service>>,
        now: Option<&Arc<Service>>,
        generation: u64,
    ) {
        let members = |service: Option<&Arc<Service>>| {
            let service = service.cloned();
            service.into_iter().flat_map(|service| {
                let unit = service.unit.clone();
                let all: Vec<_> = service.all_members().cloned().collect();
                all.into_iter().map(move |member| (unit.clone(), member))
            })
        };
        let there: Vec<_> = members(now).collect();
        for (unit, member) in &there {
            let key = (unit.clone(), member.name.clone(), member.state.id());
            match member.weight {
                0 => {
                    self.note(key, &member.state, member.address, generation);
                }
                _ => self.has_news |= self.all.remove(&key).is_some(),
            }
        }
        for (unit, member) in members(before) {
            let id = member.state.id();
            if there.iter().any(|(_, own)| own.state.id() == id) {
                continue;
            }
            let key = (unit, member.name.clone(), id);
            let leaving = self.note(key, &member.state, member.address, generation);
            leaving.is_removed = true;
            self.has_news = true;
        }
    }

    fn note(
        &mut self,
        key: Key,
        state: &Arc<UpstreamState>,
        address: SocketAddr,
        generation: u64,
    ) -> &mut Leaving {
        let has_news = &mut self.has_news;
        self.all.entry(key).or_insert_with(|| {
            *has_news = true;
            Leaving::new(state, address, generation)
        })
    }

    /// Whether others have come or gone since they were looked at.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Looks at all of them. `oldest` is the oldest generation in use, `queue` how long a request may wait for a
    /// place. One is done when two looks found nothing there, and nobody is on the way by an older plan.
    pub(super) fn look(&mut self, oldest: u64, queue: Duration) -> Vec<Drain> {
        self.has_news = false;
        self.all.retain(|_, own| {
            let is_empty = own.state.in_flight() == 0;
            let is_settled = oldest >= own.generation || own.began.elapsed() > queue + CHOOSING;
            let was_empty = std::mem::replace(&mut own.was_empty, is_empty);
            own.done = match is_empty && was_empty && is_settled {
                true => own.done.or_else(|| Some(Instant::now())),
                false => None,
            };
            let is_told = own.done.is_none_or(|at| at.elapsed() < TOLD_FOR);
            is_told || !own.is_removed
        });
        let drain = |((unit, name, _), own): (&Key, &Leaving)| Drain {
            unit: unit.to_string(),
            upstream: name.to_string(),
            address: own.address.clone(),
            in_flight: own.state.in_flight(),
            removed: own.is_removed,
            done: own.done.is_some(),
            since: time_text(own.since),
        };
        self.all.iter().map(drain).collect()
    }
}

impl Leaving {
    fn new(state: &Arc<UpstreamState>, address: SocketAddr, generation: u64) -> Self {
        Self {
            state: state.clone(),
            address: address.to_string(),
            began: Instant::now(),
            since: SystemTime::now(),
            generation,
            is_removed: false,
            was_empty: false,
            done: None,
        }
    }
}
