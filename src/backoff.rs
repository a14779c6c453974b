//! Waiting between tries: doubling, capped, with full jitter so that a fleet does not return in step.

use std::time::Duration;

/// Grows from `first` to `cap`; [`Backoff::reset`] after a success.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            tries: 0,
        }
    }

    /// The next wait: random between half of the step and the whole of it.
    pub fn next_wait(&mut self) -> Duration {
        let step = self
            .first
            .saturating_mul(1 << self.tries.min(16))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_over_after_reset() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        assert!(b.next_wait() <= Duration::from_millis(100));
        for _ in 0..100 {
            assert!(b.next_wait() <= Duration::from_secs(5));
        }
        assert!(b.next_wait() >= Duration::from_millis(2500));
        b.reset();
        assert!(b.next_wait() <= Duration::from_millis(100));
    }
}
