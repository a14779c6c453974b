//! Passwords are shorter than tokens: who tries one after the other is slowed down, and who has shown the right one
//! is known for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::proxy::auth::{Source, Tag};

/// Wrong passwords of one source, one after the other; after that one each [`PACE`].
const AT_ONCE: u32 = 10;
const PACE: Duration = Duration::from_secs(1);

/// Sources that are remembered: those who tried within the last ten seconds.
const SOURCES: usize = 4096;

/// For how long a password that was right is not asked for anew. It stands for a user and a secret that match: a
/// changed secret is another user's.
const KNOWN: Duration = Duration::from_secs(600);
const MOST_KNOWN: usize = 1024;

#[derive(Default)]
pub(super) struct Guesses(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the last of the wrong ones will be forgotten, by source.
    wrong: HashMap<Source, Instant>,
    known: HashMap<Tag, Instant>,
}

impl Guesses {
    pub(super) fn knows(&self, tag: &Tag, now: Instant) -> bool {
        self.lock().known.get(tag).is_some_and(|until| *until > now)
    }

    /// Takes one try of a source; `false`: it has none left for the moment.
    pub(super) fn take(&self, source: Source, now: Instant) -> bool {
        let mut state = self.lock();
        if state.wrong.len() >= SOURCES && !state.wrong.contains_key(&source) {
            state.wrong.retain(|_, until| *until > now);
            if state.wrong.len() >= SOURCES {
                return false;
            }
        }
        let until = state.wrong.entry(source).or_insert(now);
        let next = (*until).max(now) + PACE;
        if next > now + PACE * AT_ONCE {
            return false;
        }
        *until = next;
        true
    }

    /// It was right: the try is given back.
    pub(super) fn was_right(&self, source: Source, tag: Tag, now: Instant) {
        let mut state = self.lock();
        if let Some(until) = state.wrong.get_mut(&source)
            && let Some(earlier) = until.checked_sub(PACE)
        {
            *until = earlier;
        }
        if state.known.len() >= MOST_KNOWN {
            state.known.retain(|_, until| *until > now);
        }
        if state.known.len() < MOST_KNOWN {
            state.known.insert(tag, now + KNOWN);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(n: u32) -> Source {
        IpAddr::from(Ipv4Addr::from(n)).into()
    }

    #[test]
    fn a_source_has_some_tries_and_then_one_each_second() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let tries = |at: Instant| (0..100).filter(|_| guesses.take(source(1), at)).count();
        assert_eq!(tries(start), AT_ONCE as usize);
        assert_eq!(tries(start + PACE), 1);
        assert!(guesses.take(source(2), start));
        assert_eq!(tries(start + PACE * 100), AT_ONCE as usize);
    }

    #[test]
    fn right_ones_cost_no_try_and_are_known_for_a_while() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..100 {
            assert!(guesses.take(source(1), now), "{n}");
            guesses.was_right(source(1), [n; 32], now);
        }
        assert!(guesses.knows(&[99; 32], now) && !guesses.knows(&[100; 32], now));
        assert!(!guesses.knows(&[99; 32], now + KNOWN));
    }

    #[test]
    fn sources_without_number_make_no_room_for_each_other() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let taken = (0..10_000).filter(|n| guesses.take(source(*n), now));
        assert_eq!(taken.count(), SOURCES);
        assert!(guesses.take(source(20_000), now + PACE * 2));
    }
}
