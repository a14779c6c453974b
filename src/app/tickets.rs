//! Keeps the keys of session tickets: renews this node's own, and shares one set with all other nodes.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::proxy::{Published, now_ms};
use crate::seal::{OpenError, Place, SealKeys, is_sealed};
use crate::store::SharedTickets;
use crate::tls::tickets::{Ring, TicketKeys, lead};

/// How often to look, whatever the lead is.
const PAUSE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(20);

/// By how much the clocks of nodes may differ.
const SKEW_MS: u64 = 120_000;

/// How often to ask whether the setting is still the same.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    pub(super) ring: Arc<Ring>,
    /// `None`: this node shares with nobody.
    pub(super) shared: Option<SharedTickets>,
    pub(super) seal_keys: watch::Receiver<SealKeys>,
    /// Says for how long tickets live.
    pub(super) published: Arc<Published>,
}

/// What stands in the store.
#[derive(Serialize, Deserialize)]
struct Shared {
    /// When the newest key's term begins: for nodes that cannot open the rest.
    from_ms: u64,
    /// As [`TicketKeys::to_text`] writes them, sealed where this node has seal keys.
    keys: String,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let mut told = None;
        loop {
            let Some(lifetime) = self.lifetime() else {
                tokio::time::sleep(IDLE).await;
                continue;
            };
            let reason = self.turn(lifetime).await.err();
            match &reason {
                Some(reason) if reason != told.as_deref().unwrap_or_default() => {
                    tracing::warn!(
                        reason,
                        "session tickets are not shared with other nodes, trying on"
                    );
                }
                None if told.is_some() => tracing::info!("session tickets are shared again"),
                _ => {}
            }
            told = reason;
            // Three looks before a key is used that another node made.
            let pause = (lead(lifetime) / 3).clamp(*PAUSE.start(), *PAUSE.end());
            self.rest(pause, lifetime).await;
        }
    }

    fn lifetime(&self) -> Option<Duration> {
        self.published.current().plan.balancer().ssl_ticket_lifetime
    }

    /// Until it is time, or something else holds.
    async fn rest(&mut self, pause: Duration, lifetime: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && self.lifetime() == Some(lifetime) {
            let left = end.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(left.min(IDLE)) => {}
                Ok(()) = self.seal_keys.changed() => return,
            }
        }
    }

    async fn turn(&mut self, lifetime: Duration) -> Result<(), String> {
        let turned = self.ring.turn(now_ms(), lifetime);
        turned.map_err(|error| error.to_string())?;
        let Some(shared) = &mut self.shared else {
            return Ok(());
        };
        let seal_keys = self.seal_keys.borrow_and_update().clone();
        let replace = |value: Option<&[u8]>| replace(value, &seal_keys, now_ms(), lifetime);
        let value = shared.agree(replace).await;
        let value = value.map_err(|error| error.to_string())?;
        let keys = read(&value.unwrap_or_default(), &seal_keys);
        self.ring.share(keys.map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// What should stand in the store instead of `value`; `None`: that is good, or not ours to judge.
fn replace(
    value: Option<&[u8]>,
    seal_keys: &SealKeys,
    now_ms: u64,
    lifetime: Duration,
) -> Option<Vec<u8>> {
    let keys = match value.map(|value| read(value, seal_keys)) {
        Some(Ok(keys)) => match keys.rotated(now_ms, lifetime).ok()? {
            Some(keys) => keys,
            None if is_sealed_by_the_newest(value?, seal_keys) => return None,
            None => keys,
        },
        // Those who can open it renew it, as long as there is one of them.
        Some(Err(Unreadable::Sealed { from_ms, .. })) if is_renewed(from_ms, now_ms, lifetime) => {
            return None;
        }
        None | Some(Err(_)) => TicketKeys::fresh(now_ms).ok()?,
    };
    write(&keys, seal_keys)
}

/// Whether somebody saw to it that the newest key's term is not long past; by a clock that is not years ahead.
fn is_renewed(from_ms: u64, now_ms: u64, lifetime: Duration) -> bool {
    let over = from_ms.saturating_add(millis(lifetime).saturating_mul(2));
    let soon = now_ms.saturating_add(millis(lifetime));
    now_ms < over && from_ms <= soon.max(now_ms.saturating_add(SKEW_MS))
}

/// Why a value gives no keys.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Unreadable {
    #[error("their keys are sealed {reason}")]
    Sealed { from_ms: u64, reason: OpenError },
    #[error("their keys are in plain text, though this node has a seal key file")]
    Plain,
    #[error("what stands for their keys is none")]
    NoKeys,
}

fn read(value: &[u8], seal_keys: &SealKeys) -> Result<TicketKeys, Unreadable> {
    let shared: Shared = serde_json::from_slice(value).map_err(|_| Unreadable::NoKeys)?;
    let keys = shared.keys.as_bytes();
    if !is_sealed(keys) {
        return match seal_keys.is_empty() {
            true => TicketKeys::from_text(&shared.keys).ok_or(Unreadable::NoKeys),
            // Whoever may write there could read what was resumed.
            false => Err(Unreadable::Plain),
        };
    }
    let opened = seal_keys.open(Place::Tickets, keys);
    let from_ms = shared.from_ms;
    let text = opened.map_err(|reason| Unreadable::Sealed { from_ms, reason })?;
    let text = String::from_utf8(text).map_err(|_| Unreadable::NoKeys)?;
    TicketKeys::from_text(&text).ok_or(Unreadable::NoKeys)
}

fn write(keys: &TicketKeys, seal_keys: &SealKeys) -> Option<Vec<u8>> {
    let text = keys.to_text();
    let text = match seal_keys.is_empty() {
        true => text,
        false => seal_keys.seal(Place::Tickets, text.as_bytes()).ok()?,
    };
    let shared = Shared {
        from_ms: keys.newest_from_ms(),
        keys: text,
    };
    serde_json::to_vec(&shared).ok()
}

/// Sealed again when there is a newer seal key, as everything that this program seals.
fn is_sealed_by_the_newest(value: &[u8], seal_keys: &SealKeys) -> bool {
    let Some(newest) = seal_keys.ids().next() else {
        return true;
    };
    let shared: Option<Shared> = serde_json::from_slice(value).ok();
    shared.is_some_and(|shared| shared.keys.split(':').any(|part| part == newest))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::new_key_line;

    const TERM: Duration = Duration::from_secs(3600);
    const START: u64 = 1_800_000_000_000;

    fn seal_key() -> (String, SealKeys) {
        let line = new_key_line().unwrap();
        let keys = SealKeys::read(&line).unwrap();
        (line, keys)
    }

    fn next(value: Option<&[u8]>, seal_keys: &SealKeys, now_ms: u64) -> Option<Vec<u8>> {
        replace(value, seal_keys, now_ms, TERM)
    }

    #[test]
    fn the_first_node_makes_keys_and_the_others_take_them() {
        let none = SealKeys::default();
        let value = next(None, &none, START).unwrap();
        assert_eq!(next(Some(&value), &none, START), None);
        let keys = read(&value, &none).unwrap();
        assert_eq!(keys.newest_from_ms(), START);
        let later = START + 3_600_000;
        let renewed = next(Some(&value), &none, later).unwrap();
        assert_ne!(read(&renewed, &none).unwrap(), keys);
        for garbage in ["", "true", "{}", r#"{"from_ms":1,"keys":"[]"}"#] {
            assert_eq!(
                read(garbage.as_bytes(), &none).unwrap_err(),
                Unreadable::NoKeys
            );
            assert!(next(Some(garbage.as_bytes()), &none, START).is_some());
        }
    }

    #[test]
    fn with_seal_keys_the_store_holds_no_plain_key_and_none_is_believed() {
        let (line, sealing) = seal_key();
        let plain = next(None, &SealKeys::default(), START).unwrap();
        assert_eq!(read(&plain, &sealing).unwrap_err(), Unreadable::Plain);
        let value = next(Some(&plain), &sealing, START).unwrap();
        let keys = read(&value, &sealing).unwrap();
        assert!(!String::from_utf8_lossy(&value).contains(&keys.to_text()));
        assert_ne!(read(&plain, &SealKeys::default()).unwrap(), keys);
        assert_eq!(next(Some(&value), &sealing, START), None);

        // A newer seal key: the same ticket keys, sealed with it.
        let (newer, _) = seal_key();
        let both = SealKeys::read(&format!("{newer}\n{line}")).unwrap();
        let again = next(Some(&value), &both, START).unwrap();
        assert_eq!(read(&again, &both).unwrap(), keys);
        assert_eq!(next(Some(&again), &both, START), None);
        assert!(read(&again, &SealKeys::read(&newer).unwrap()).is_ok());
    }

    #[test]
    fn a_node_without_the_seal_key_leaves_the_keys_to_those_who_have_it() {
        let (_, sealing) = seal_key();
        let value = next(None, &sealing, START).unwrap();
        for stranger in [SealKeys::default(), seal_key().1] {
            let error = read(&value, &stranger).unwrap_err();
            assert!(matches!(error, Unreadable::Sealed { .. }), "{error:?}");
            assert_eq!(next(Some(&value), &stranger, START + 7_199_999), None);
            // By a clock that was years ahead nobody ever would.
            assert!(next(Some(&value), &stranger, START - 400 * 24 * 3_600_000).is_some());
            // Nobody renewed them for two terms.
            assert!(next(Some(&value), &stranger, START + 7_200_000).is_some());
        }
    }
}
