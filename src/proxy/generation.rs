//! Generations and how workers come to see them.
//!
//! Publishing is one store. A worker compares one counter per request and takes the mutex only when
//! it changed. A request pins the generation it began with and keeps it to its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::accesslog::Log;
use crate::plan::Plan;
use crate::proxy::tls::Termination;

/// One plan made current.
#[derive(Debug)]
pub struct Generation {
    /// Rises by one with every swap of this process.
    pub id: u64,
    /// The store's revision this plan was built from.
    pub revision: u64,
    pub plan: Plan,
    /// Where requests are told, if they are.
    pub access_log: Option<Arc<Log>>,
    /// What handshakes with clients go by.
    pub tls: Arc<Termination>,
}

/// The place where the current generation stands.
#[derive(Debug)]
pub struct Published {
    id: AtomicU64,
    current: Mutex<Arc<Generation>>,
    /// Replaced generations. They are freed here, by whoever publishes, and not by the worker that
    /// happens to let go last: the tables of many services take milliseconds to free.
    retired: Mutex<Vec<Arc<Generation>>>,
}

impl Published {
    pub fn new(first: Generation) -> Arc<Self> {
        Arc::new(Self {
            id: AtomicU64::new(first.id),
            current: Mutex::new(Arc::new(first)),
            retired: Mutex::new(Vec::new()),
        })
    }

    /// Makes a generation current. Cannot fail.
    pub fn publish(&self, next: Generation) {
        let id = next.id;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, Arc::new(next));
        // Inside the lock: a worker that sees the new number finds the new generation.
        self.id.store(id, Ordering::Release);
        drop(current);
        self.retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(old);
        self.free_retired();
    }

    /// Frees the generations that nobody uses any more; answers how many are still in use.
    ///
    /// A generation that was published again with a higher revision is held by workers under its
    /// old one: that is the current generation and no old one.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|generation| Arc::strong_count(generation) > 1);
        let current = self.id();
        retired.iter().filter(|old| old.id != current).count()
    }

    pub fn current(&self) -> Arc<Generation> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }
}

/// A worker's own view of what is published.
pub(crate) struct View {
    published: Arc<Published>,
    seen: Cell<u64>,
    held: RefCell<Pinned>,
}

/// A generation that stays as long as this does; cloning it touches no other thread's memory.
pub(crate) type Pinned = Rc<Arc<Generation>>;

impl View {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        let held = published.current();
        Self {
            seen: Cell::new(held.id),
            held: RefCell::new(Rc::new(held)),
            published,
        }
    }

    pub(crate) fn pin(&self) -> Pinned {
        self.refresh();
        self.held.borrow().clone()
    }

    /// Lets go of an old generation even if no request comes by.
    pub(crate) fn refresh(&self) {
        if self.published.id() != self.seen.get() {
            let current = self.published.current();
            self.seen.set(current.id);
            *self.held.borrow_mut() = Rc::new(current);
        }
    }
}
