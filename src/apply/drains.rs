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
use crate::proxy::now_ms;
use crate::status::{Drain, time_text};

/// Longer than choosing an upstream takes.
const MOMENT: Duration = Duration::from_millis(200);

/// One that is gone is told for so long after it has nothing left, and so many of them.
const TOLD_FOR: Duration = Duration::from_secs(60);
const TOLD: usize = 200;

#[derive(Default)]
pub(super) struct Drains {
    all: BTreeMap<Key, Leaving>,
    has_news: bool,
}

type Key = (UnitName, UpstreamName, UpstreamId);

struct Leaving {
    state: Arc<UpstreamState>,
    address: String,
    since: SystemTime,
    is_removed: bool,
    /// Looks have found nothing there since.
    empty: Option<Instant>,
    done: Option<Instant>,
}

impl Drains {
    /// Follows one service to its new form, which is published.
    pub(super) fn follow(&mut self, before: Option<&Arc<Service>>, now: Option<&Arc<Service>>) {
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
                    member.state.set_drained(true, now_ms());
                    self.note(key, &member.state, member.address);
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
            let leaving = self.note(key, &member.state, member.address);
            leaving.is_removed = true;
            self.has_news = true;
        }
    }

    fn note(&mut self, key: Key, state: &Arc<UpstreamState>, address: SocketAddr) -> &mut Leaving {
        let has_news = &mut self.has_news;
        self.all.entry(key).or_insert_with(|| {
            *has_news = true;
            Leaving::new(state, address)
        })
    }

    /// Whether others have come or gone since they were looked at.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Looks at all of them. One is done when looks found nothing there for a moment: who was just choosing it when
    /// it was drained is there by then, whatever plan he goes by.
    pub(super) fn look(&mut self) -> Vec<Drain> {
        self.has_news = false;
        self.all.retain(|_, own| {
            let is_empty = own.state.in_flight() == 0;
            own.empty = match is_empty {
                true => own.empty.or_else(|| Some(Instant::now())),
                false => None,
            };
            own.done = own.empty.filter(|at| at.elapsed() >= MOMENT);
            let is_told = own.done.is_none_or(|at| at.elapsed() < TOLD_FOR);
            is_told || !own.is_removed
        });
        self.forget_the_oldest();
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

impl Drains {
    /// Of those that are gone and done: whoever changes upstreams many times a second has many.
    fn forget_the_oldest(&mut self) {
        let gone = self.all.iter().filter(|(_, own)| own.is_removed);
        let mut gone: Vec<_> = gone
            .filter_map(|(key, own)| Some((own.done?, key)))
            .collect();
        let Some(more) = gone.len().checked_sub(TOLD).filter(|more| *more > 0) else {
            return;
        };
        gone.sort();
        let keys: Vec<_> = gone[..more].iter().map(|(_, key)| (*key).clone()).collect();
        for key in keys {
            self.all.remove(&key);
        }
    }
}

impl Leaving {
    fn new(state: &Arc<UpstreamState>, address: SocketAddr) -> Self {
        Self {
            state: state.clone(),
            address: address.to_string(),
            since: SystemTime::now(),
            is_removed: false,
            empty: None,
            done: None,
        }
    }
}
