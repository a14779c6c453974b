//! The quiet window of `--settle`: for writers that set the keys of one service one by one.

use std::time::Duration;

use tokio::time::Instant;

/// A writer that never stops must not hold changes back for ever: at most this many windows.
const CAP: u32 = 10;

#[derive(Debug)]
pub(super) struct Settle {
    window: Duration,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Settle {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            first: None,
            last: None,
        }
    }

    /// Something changed.
    pub(super) fn touch(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When what changed may be passed on; `None` if nothing changed.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        Some((last + self.window).min(first + self.window * CAP))
    }

    /// It was passed on.
    pub(super) fn reset(&mut self) {
        self.first = None;
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_quiet_and_not_longer_than_ten_windows() {
        let window = Duration::from_millis(100);
        let start = Instant::now();
        let mut settle = Settle::new(window);
        assert_eq!(settle.due(), None);
        settle.touch(start);
        assert_eq!(settle.due(), Some(start + window));
        for step in 1..40 {
            settle.touch(start + window / 2 * step);
        }
        assert_eq!(settle.due(), Some(start + window * 10));
        settle.reset();
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn without_a_window_a_change_is_due_at_once() {
        let now = Instant::now();
        let mut settle = Settle::new(Duration::ZERO);
        settle.touch(now);
        assert_eq!(settle.due(), Some(now));
    }
}
