//! The keys that session tickets are sealed with.
//!
//! Who holds them can resume sessions, and read what was resumed or, with TLS 1.2, all of a session; so they change. A
//! **key's term** is as long as a ticket lives: it seals for one term and opens for another one.
//! A new key is made known a while ([`lead`]) before its term, so that no node meets a ticket of a key that it does
//! not know yet.
//!
//! A ticket is the key's id, a nonce, and the sealed state of the session with the time it was sealed. The
//! cipher is AES-256-GCM-SIV (RFC 8452): many nodes draw nonces for one key. What is authenticated along is
//! the *rule* that the session was made by, such as who may come in without a certificate of his own: a
//! ticket opens under no other rule.
//!
//! Pure: what time it is, whoever calls says, in milliseconds since 1970.

mod ring;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

pub use ring::Ring;

const SECRET: usize = 32;
const ID: usize = 8;
const TIME: usize = 8;

/// More keys than this in a text are not of our making: there are three at most.
const KEYS: usize = 16;

/// By how much the clocks of two nodes may differ. A ticket from further in the future is none of ours.
const SKEW_MS: u64 = 60_000;

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// Keys in the order of their terms. Cheap to clone.
#[derive(Clone, Default)]
pub struct TicketKeys(Arc<[Arc<TicketKey>]>);

struct TicketKey {
    id: [u8; ID],
    /// When its term begins.
    from_ms: u64,
    secret: [u8; SECRET],
    key: RandomizedNonceKey,
}

/// How a key is written.
#[derive(Serialize, Deserialize)]
struct Written {
    from_ms: u64,
    key: String,
}

/// How long before its term a key is made, for tickets that live for `lifetime`.
pub fn lead(lifetime: Duration) -> Duration {
    (lifetime / 8).min(Duration::from_secs(60))
}

impl TicketKeys {
    /// One key, whose term begins now.
    pub fn fresh(now_ms: u64) -> Result<Self, NoRandom> {
        Ok(Self([Arc::new(TicketKey::new(now_ms)?)].into()))
    }

    /// What these become once a new term is near; `None` if there is time yet. Keys that no living ticket can be of
    /// are left out.
    pub fn rotated(&self, now_ms: u64, lifetime: Duration) -> Result<Option<Self>, NoRandom> {
        let term = millis(lifetime);
        let lead = millis(lead(lifetime));
        let Some(newest) = self.0.last().filter(|key| !key.is_absurd(now_ms, lifetime)) else {
            return Self::fresh(now_ms).map(Some);
        };
        if now_ms.saturating_add(lead) < newest.from_ms.saturating_add(term) {
            return Ok(None);
        }
        let next = Arc::new(TicketKey::new(now_ms.saturating_add(lead))?);
        let ends = self.0.iter().skip(1).map(|key| key.from_ms);
        let ends = ends.chain([next.from_ms]);
        let kept = self.0.iter().zip(ends);
        let kept = kept.filter(|(_, end)| end.saturating_add(term) > now_ms);
        let keys = kept.map(|(key, _)| key.clone()).chain([next]);
        Ok(Some(Self(keys.collect())))
    }

    /// Whether a key of these is for tickets of now.
    pub fn can_seal(&self, now_ms: u64, lifetime: Duration) -> bool {
        self.newest(now_ms, lifetime).is_some()
    }

    /// The newest whose term has begun, unless the term is over by another one: whoever should have made the next key
    /// is not there.
    fn newest(&self, now_ms: u64, lifetime: Duration) -> Option<&Arc<TicketKey>> {
        let begun = self.0.iter().rev().find(|key| key.from_ms <= now_ms)?;
        let end = begun.from_ms.saturating_add(2 * millis(lifetime));
        (now_ms <= end).then_some(begun)
    }

    /// When the newest key's term begins; 0 without keys.
    pub fn newest_from_ms(&self) -> u64 {
        self.0.last().map_or(0, |key| key.from_ms)
    }

    /// A ticket for the session that `state` is of. `None`: there is no key for it, or the engine fails.
    pub fn seal(
        &self,
        rule: &[u8],
        state: &[u8],
        now_ms: u64,
        lifetime: Duration,
    ) -> Option<Vec<u8>> {
        let key = self.newest(now_ms, lifetime)?;
        let mut text = [now_ms.to_be_bytes().as_slice(), state].concat();
        let aad = Aad::from(bound(rule));
        let nonce = key.key.seal_in_place_append_tag(aad, &mut text).ok()?;
        Some([&key.id, nonce.as_ref().as_slice(), &text].concat())
    }

    /// The session's state, if the ticket was sealed by one of these keys, under the same rule, less than
    /// `lifetime` ago.
    pub fn open(
        &self,
        rule: &[u8],
        ticket: &[u8],
        now_ms: u64,
        lifetime: Duration,
    ) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.0.iter().find(|key| key.id == *id)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(bound(rule));
        let opened = key.key.open_in_place(nonce, aad, &mut text).ok()?;
        let (sealed_at, state) = opened.split_first_chunk::<TIME>()?;
        let sealed_ms = u64::from_be_bytes(*sealed_at);
        let is_alive = now_ms < sealed_ms.saturating_add(millis(lifetime))
            && sealed_ms <= now_ms.saturating_add(SKEW_MS);
        is_alive.then(|| state.to_vec())
    }

    /// For the store. Shows the keys.
    pub fn to_text(&self) -> String {
        let written = self.0.iter().map(|key| Written {
            from_ms: key.from_ms,
            key: BASE64_STANDARD.encode(key.secret),
        });
        // Numbers and base64 are always written.
        serde_json::to_string(&written.collect::<Vec<_>>()).unwrap_or_default()
    }

    /// `None`: it is no text of keys.
    pub fn from_text(text: &str) -> Option<Self> {
        let written: Vec<Written> = serde_json::from_str(text).ok()?;
        if written.is_empty() || written.len() > KEYS {
            return None;
        }
        let keys = written.iter().map(|written| {
            let secret = BASE64_STANDARD.decode(&written.key).ok()?;
            TicketKey::of(secret.try_into().ok()?, written.from_ms).map(Arc::new)
        });
        let mut keys = keys.collect::<Option<Vec<_>>>()?;
        keys.sort_by_key(|key| key.from_ms);
        Some(Self(keys.into()))
    }
}

/// Shows the ids and never the keys.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| u64::from_be_bytes(key.id));
        f.debug_list().entries(ids).finish()
    }
}

/// By their ids, which stand for the keys.
impl PartialEq for TicketKeys {
    fn eq(&self, other: &Self) -> bool {
        let ids = |keys: &Self| keys.0.iter().map(|key| key.id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

impl TicketKey {
    /// Made by a clock that was far ahead: its term would not begin for years, and no other be made until then.
    fn is_absurd(&self, now_ms: u64, lifetime: Duration) -> bool {
        let latest = now_ms.saturating_add(millis(lead(lifetime)));
        self.from_ms > latest.saturating_add(SKEW_MS)
    }

    fn new(from_ms: u64) -> Result<Self, NoRandom> {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret).map_err(|_| NoRandom)?;
        Self::of(secret, from_ms).ok_or(NoRandom)
    }

    fn of(secret: [u8; SECRET], from_ms: u64) -> Option<Self> {
        let hash = digest(
            &SHA256,
            &[b"pointsman ticket key\0".as_slice(), &secret].concat(),
        );
        Some(Self {
            id: *hash.as_ref().first_chunk()?,
            from_ms,
            key: RandomizedNonceKey::new(&AES_256_GCM_SIV, &secret).ok()?,
            secret,
        })
    }
}

fn bound(rule: &[u8]) -> Vec<u8> {
    [b"pointsman ticket v1\0".as_slice(), rule].concat()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
