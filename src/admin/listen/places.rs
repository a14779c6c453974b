//! Who has a place at the operator's listener, and who gives his up for somebody new.
//!
//! Those go first that never said what they want, then those that wait for nothing of ours, and among both whose last
//! step is the longest ago. Whoever asks under a name, or by a token, goes behind those who did not. A stream keeps its
//! place for as long as it is taken: every event that its client takes is a step.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::task::AbortHandle;

const AT_ONCE: usize = 256;

/// Each by its number, with what ends it.
type Taken = HashMap<u64, (Arc<Place>, Option<AbortHandle>)>;

/// The connections that are open.
#[derive(Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    /// Counts steps of all, so that it is known whose was before whose.
    steps: AtomicU64,
}

/// One connection's.
pub(in crate::admin) struct Place {
    id: u64,
    of: Arc<Places>,
    step: AtomicU64,
    has_asked: AtomicBool,
    /// Somebody who may read here has asked by it.
    is_known: AtomicBool,
    /// Requests whose answers are not all handed over.
    open: AtomicU32,
    /// Its client did not take at once what there was.
    is_stuck: AtomicBool,
}

/// The least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// No whole head of a request came yet.
    Silent,
    /// Waits for nothing, or does not take it.
    Idle,
    KnownIdle,
    Asking,
    /// Somebody who is known, on a slow line or asleep.
    KnownStuck,
    KnownAsking,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and somebody else's if there is none.
    pub(super) fn take(self: &Arc<Self>) -> Arc<Place> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place {
            id: step,
            of: self.clone(),
            step: AtomicU64::new(step),
            has_asked: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
            open: AtomicU32::new(0),
            is_stuck: AtomicBool::new(false),
        });
        let mut taken = self.lock();
        while taken.len() >= AT_ONCE {
            let last = taken.values().min_by_key(|(place, _)| place.rank());
            let Some(id) = last.map(|(place, _)| place.id) else {
                break;
            };
            if let Some((_, Some(task))) = taken.remove(&id) {
                task.abort();
            }
        }
        taken.insert(place.id, (place.clone(), None));
        place
    }

    /// Notes how it is ended. It may have ended by itself.
    pub(super) fn seat(&self, place: Arc<Place>, task: AbortHandle) {
        if let Some((_, own)) = self.lock().get_mut(&place.id) {
            *own = Some(task);
        }
    }
}

impl Place {
    pub(super) fn step(&self) {
        let step = self.of.steps.fetch_add(1, Ordering::Relaxed);
        self.step.store(step, Ordering::Relaxed);
    }

    /// Its client took something.
    pub(super) fn took(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        self.step();
    }

    /// Its client takes nothing now.
    pub(super) fn stick(&self) {
        self.is_stuck.store(true, Ordering::Relaxed);
    }

    pub(super) fn know(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// The head of a request is there.
    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        self.has_asked.store(true, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.step();
        Asked(self.clone())
    }

    fn rank(&self) -> (Worth, u64) {
        (self.worth(), self.step.load(Ordering::Relaxed))
    }

    fn worth(&self) -> Worth {
        if !self.has_asked.load(Ordering::Relaxed) {
            return Worth::Silent;
        }
        let is_known = self.is_known.load(Ordering::Relaxed);
        let is_stuck = self.is_stuck.load(Ordering::Relaxed);
        let is_open = self.open.load(Ordering::Relaxed) > 0;
        match (is_known, is_stuck, is_open) {
            (true, true, _) => Worth::KnownStuck,
            (true, false, true) => Worth::KnownAsking,
            (true, false, false) => Worth::KnownIdle,
            // What anybody is told fits on its way.
            (false, false, true) => Worth::Asking,
            (false, ..) => Worth::Idle,
        }
    }
}

/// Gives the place back, however the connection ends.
pub(super) struct Leave(pub(super) Arc<Place>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.of.lock().remove(&self.0.id);
    }
}

/// A request, until the last of its answer is handed over.
pub(super) struct Asked(Arc<Place>);

impl Asked {
    pub(super) fn until(self, body: Body) -> Answer {
        Answer { body, _asked: self }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is answered. What is left of it when it was handed over whole is seen by its client's being stuck.
pub(super) struct Answer {
    body: Body,
    _asked: Asked,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_an_answer_goes_last_and_who_never_asked_first() {
        let places = Arc::new(Places::default());
        let idle = places.take();
        drop(idle.ask());
        let silent = places.take();
        let known_idle = places.take();
        known_idle.know();
        drop(known_idle.ask());
        let asking = places.take();
        let _asked = asking.ask();
        let stream = places.take();
        stream.know();
        let body = stream.ask().until(Body::from("event"));
        let stuck = places.take();
        stuck.know();
        let _whole = stuck.ask();
        stuck.stick();
        let all = [&silent, &idle, &known_idle, &asking, &stuck, &stream];
        assert!(all.is_sorted_by_key(|place| place.rank()));
        // What it waited for has come.
        drop(body);
        assert!(stream.rank() < asking.rank());
        stuck.took();
        assert!(stuck.rank() > asking.rank());
        // Of two alike the one goes whose last step was before.
        let later = places.take();
        assert!(silent.rank() < later.rank());
        silent.step();
        assert!(silent.rank() > later.rank());
    }
}
