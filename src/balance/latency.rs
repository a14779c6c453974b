//! How long upstreams take to answer, counted in ranges: what a percentile and a histogram are made from.
//!
//! Counting is one addition to one number. A reader takes a [`Counts`] now and then; the difference of two is
//! what happened in between.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The upper ends of the ranges, in microseconds; what took longer than the last is in one range more. Ten in each
/// decade, as in the series R10 of preferred numbers: a percentile is as good as that, and the usual bounds of a
/// histogram are among them.
const BOUNDS: [u32; RANGES - 1] = [
    100, 125, 160, 200, 250, 320, 400, 500, 630, 800, 1_000, 1_250, 1_600, 2_000, 2_500, 3_200,
    4_000, 5_000, 6_300, 8_000, 10_000, 12_500, 16_000, 20_000, 25_000, 32_000, 40_000, 50_000,
    63_000, 80_000, 100_000, 125_000, 160_000, 200_000, 250_000, 320_000, 400_000, 500_000,
    630_000, 800_000, 1_000_000, 1_250_000, 1_600_000, 2_000_000, 2_500_000, 3_200_000, 4_000_000,
    5_000_000, 6_300_000, 8_000_000, 10_000_000, 12_500_000, 16_000_000, 20_000_000, 25_000_000,
    32_000_000, 40_000_000, 50_000_000, 60_000_000,
];

const RANGES: usize = 60;

/// Counted by whoever serves, read by whoever looks.
#[derive(Debug)]
pub struct Latencies {
    ranges: [AtomicU64; RANGES],
    /// Of all, in microseconds.
    sum: AtomicU64,
}

/// The counts of one moment, or of the time between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    ranges: [u64; RANGES],
    sum: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            ranges: [const { AtomicU64::new(0) }; RANGES],
            sum: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    #[inline]
    pub fn note(&self, took: Duration) {
        let took = took.as_micros().min(u128::from(u64::MAX / 2)) as u64;
        let range = BOUNDS.partition_point(|bound| u64::from(*bound) < took);
        self.ranges[range].fetch_add(1, Relaxed);
        self.sum.fetch_add(took, Relaxed);
    }

    /// Not of one instant: what is noted meanwhile may be in it or not.
    pub fn counts(&self) -> Counts {
        Counts {
            ranges: self.ranges.each_ref().map(|n| n.load(Relaxed)),
            sum: self.sum.load(Relaxed),
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            ranges: [0; RANGES],
            sum: 0,
        }
    }
}

impl Counts {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut ranges = self.ranges;
        for (now, before) in ranges.iter_mut().zip(before.ranges) {
            *now = now.saturating_sub(before);
        }
        Self {
            ranges,
            sum: self.sum.saturating_sub(before.sum),
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.ranges.iter_mut().zip(other.ranges) {
            *own += other;
        }
        self.sum += other.sum;
    }

    pub fn total(&self) -> u64 {
        self.ranges.iter().sum()
    }

    /// Of all, together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// The time within which `part` of them were answered, from 0 to 1, taking them to be spread evenly in their
    /// range; `None` where there were none. What is beyond the last bound counts as that bound.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let wanted = (part.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut below = 0u64;
        let mut lower = 0u32;
        for (count, bound) in self.ranges.iter().zip(BOUNDS) {
            let reached = below + count;
            if reached as f64 >= wanted {
                let into = (wanted - below as f64) / *count as f64;
                let micros = f64::from(lower) + f64::from(bound - lower) * into;
                return Some(Duration::from_micros(micros as u64));
            }
            below = reached;
            lower = bound;
        }
        Some(Duration::from_micros(lower.into()))
    }

    /// How many took no longer than each of `bounds`, which are bounds of ranges.
    pub fn within<const N: usize>(&self, bounds: [Duration; N]) -> [u64; N] {
        bounds.map(|bound| {
            let micros = bound.as_micros();
            let ranges = self.ranges.iter().zip(BOUNDS);
            let within = ranges.filter(|(_, upper)| u128::from(*upper) <= micros);
            within.map(|(count, _)| count).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn bounds_rise_by_a_third_at_most() {
        for pair in BOUNDS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] * 3 <= pair[0] * 4, "{pair:?}");
        }
    }

    #[test]
    fn a_percentile_is_near_what_was_noted() {
        let latencies = Latencies::default();
        for n in 1..=1000 {
            latencies.note(Duration::from_micros(n * 100));
        }
        let counts = latencies.counts();
        assert_eq!(counts.total(), 1000);
        for (part, real) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0)] {
            let found = counts.quantile(part).expect("there are some").as_secs_f64() * 1e3;
            assert!((found / real - 1.0).abs() < 0.05, "{part}: {found} ms");
        }
        assert_eq!(Counts::default().quantile(0.5), None);
    }

    #[test]
    fn what_takes_longer_than_all_bounds_is_counted_too() {
        let latencies = Latencies::default();
        latencies.note(Duration::MAX);
        latencies.note(Duration::ZERO);
        let counts = latencies.counts();
        assert_eq!(counts.total(), 2);
        assert_eq!(counts.quantile(1.0), Some(Duration::from_secs(60)));
        assert_eq!(counts.within([ms(1), ms(10_000)]), [1, 1]);
    }

    #[test]
    fn the_difference_of_two_moments_is_what_came_between() {
        let latencies = Latencies::default();
        latencies.note(ms(1));
        let before = latencies.counts();
        latencies.note(ms(300));
        let came = latencies.counts().since(&before);
        assert_eq!(came.total(), 1);
        assert_eq!(came.within([ms(250), ms(320)]), [0, 1]);
        assert_eq!(came.sum(), ms(300));
        let mut all = before;
        all.add(&came);
        assert_eq!(all, latencies.counts());
    }
}
