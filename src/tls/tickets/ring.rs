//! The ticket keys of one node: those that it shares with others, and its own.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::{NoRandom, TicketKeys};

/// Read by all workers, changed now and then by one task. Tickets of both kinds of keys are opened. New ones are
/// sealed with the shared keys, or with the node's own as long as there are none or nobody renews them.
#[derive(Debug)]
pub struct Ring {
    keys: RwLock<Keys>,
}

#[derive(Clone, Debug)]
struct Keys {
    own: TicketKeys,
    shared: TicketKeys,
}

impl Ring {
    pub fn new(now_ms: u64) -> Result<Self, NoRandom> {
        let keys = Keys {
            own: TicketKeys::fresh(now_ms)?,
            shared: TicketKeys::default(),
        };
        Ok(Self {
            keys: RwLock::new(keys),
        })
    }

    /// Renews the node's own keys when they are due.
    pub fn turn(&self, now_ms: u64, lifetime: Duration) -> Result<(), NoRandom> {
        if let Some(own) = self.read().own.rotated(now_ms, lifetime)? {
            self.write(|keys| keys.own = own);
        }
        Ok(())
    }

    /// These are the keys of all nodes from now on.
    pub fn share(&self, shared: TicketKeys) {
        if self.read().shared != shared {
            self.write(|keys| keys.shared = shared);
        }
    }

    pub fn seal(
        &self,
        rule: &[u8],
        state: &[u8],
        now_ms: u64,
        lifetime: Duration,
    ) -> Option<Vec<u8>> {
        let keys = self.read();
        let is_good = keys.shared.can_seal(now_ms, lifetime);
        let newest = if is_good { &keys.shared } else { &keys.own };
        newest.seal(rule, state, now_ms, lifetime)
    }

    pub fn open(
        &self,
        rule: &[u8],
        ticket: &[u8],
        now_ms: u64,
        lifetime: Duration,
    ) -> Option<Vec<u8>> {
        let keys = self.read();
        let open = |keys: &TicketKeys| keys.open(rule, ticket, now_ms, lifetime);
        open(&keys.shared).or_else(|| open(&keys.own))
    }

    /// A copy costs two counters and leaves no lock behind.
    fn read(&self) -> Keys {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn write(&self, change: impl FnOnce(&mut Keys)) {
        change(&mut self.keys.write().unwrap_or_else(PoisonError::into_inner));
    }
}
