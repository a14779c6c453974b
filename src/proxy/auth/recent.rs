//! What was found out lately, within bounds of time and number.

use hashbrown::HashSet;

use super::Tag;

/// A tag is remembered for one to two of these.
const TURN_MS: u64 = 15_000;

/// Tags in each half: 2 MiB at most for both.
const MOST: usize = 16 * 1024;

/// A set of tags that forgets. Two halves: when the younger is old or full it becomes the older, and
/// what was the older goes. Times are milliseconds of any one clock.
#[derive(Default)]
pub(crate) struct Recent {
    young: HashSet<Tag>,
    old: HashSet<Tag>,
    turned: u64,
}

impl Recent {
    pub(crate) fn holds(&mut self, tag: &Tag, now: u64) -> bool {
        self.turn_if_due(now);
        self.young.contains(tag) || self.old.contains(tag)
    }

    pub(crate) fn put(&mut self, tag: Tag, now: u64) {
        self.turn_if_due(now);
        if self.young.len() == MOST {
            self.turn(now);
        }
        self.young.insert(tag);
    }

    fn turn_if_due(&mut self, now: u64) {
        let age = now.saturating_sub(self.turned);
        if age >= 2 * TURN_MS {
            self.young = HashSet::new();
        }
        if age >= TURN_MS {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: u64) {
        self.old = std::mem::take(&mut self.young);
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: usize) -> Tag {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&(n as u64).to_le_bytes());
        tag
    }

    #[test]
    fn a_tag_is_forgotten_after_two_turns_at_most() {
        let mut recent = Recent::default();
        recent.put(tag(1), 100);
        assert!(recent.holds(&tag(1), TURN_MS - 1) && !recent.holds(&tag(2), 0));
        assert!(recent.holds(&tag(1), TURN_MS + 200));
        assert!(!recent.holds(&tag(1), 2 * TURN_MS + 200));
        recent.put(tag(2), 100_000);
        assert!(!recent.holds(&tag(2), 100_000 + 2 * TURN_MS));
    }

    #[test]
    fn looking_a_tag_up_does_not_make_it_younger() {
        let mut recent = Recent::default();
        recent.put(tag(1), 0);
        let known = (0..3 * TURN_MS).step_by(1000);
        let known = known.take_while(|now| recent.holds(&tag(1), *now));
        assert!(known.count() <= 30);
    }

    #[test]
    fn it_holds_no_more_than_its_bound() {
        let mut recent = Recent::default();
        for n in 0..5 * MOST {
            recent.put(tag(n), 0);
            assert!(recent.holds(&tag(n), 0));
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * MOST);
    }
}
