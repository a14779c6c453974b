//! Work at upstreams that is to be cut when its upstream leaves the plan.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::balance::UpstreamState;
use crate::proxy::timer::Cutter;

/// Of one worker and of one kind.
#[derive(Default)]
pub(crate) struct Noted {
    all: RefCell<HashMap<u64, (Arc<UpstreamState>, Cutter), foldhash::fast::RandomState>>,
    next: Cell<u64>,
}

/// Dropping it forgets what was noted.
pub(crate) struct Note {
    of: Rc<Noted>,
    id: u64,
}

impl Noted {
    pub(crate) fn note(self: &Rc<Self>, upstream: Arc<UpstreamState>, cutter: Cutter) -> Note {
        let id = self.next.get();
        self.next.set(id + 1);
        self.all.borrow_mut().insert(id, (upstream, cutter));
        Note {
            of: self.clone(),
            id,
        }
    }

    pub(crate) fn cut(&self, upstreams: &[Arc<UpstreamState>]) {
        let gone: HashSet<_> = upstreams.iter().map(|upstream| upstream.id()).collect();
        for (upstream, cutter) in self.all.borrow().values() {
            if gone.contains(&upstream.id()) {
                cutter.cut();
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.of.all.borrow_mut().remove(&self.id);
    }
}
