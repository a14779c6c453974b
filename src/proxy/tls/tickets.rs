//! Session tickets as `rustls` asks for them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::ProducesTickets;

use crate::tls::tickets::Ring;

/// Seals and opens the tickets of sessions that were made by one rule. `lifetime` `None`: there are none.
#[derive(Debug)]
pub(super) struct Tickets {
    ring: Arc<Ring>,
    lifetime: Option<Duration>,
    /// What was asked of clients; a session is not resumed under another rule.
    rule: Box<[u8]>,
}

impl Tickets {
    pub(super) fn new(ring: Arc<Ring>, lifetime: Option<Duration>, rule: &[u8]) -> Self {
        let rule = rule.into();
        Self {
            ring,
            lifetime,
            rule,
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.lifetime.is_some()
    }

    fn lifetime(&self) -> u32 {
        let seconds = self.lifetime.unwrap_or_default().as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.ring.seal(&self.rule, plain, now_ms(), self.lifetime?)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.ring.open(&self.rule, cipher, now_ms(), self.lifetime?)
    }
}

/// In milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
