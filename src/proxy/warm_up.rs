//! An upstream that came up gets its full share bit by bit, by a small task on the control runtime.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::balance::{Health, Share, UpstreamState};

/// Steps are not shorter than this, nor than a hundredth of the time.
const STEP: Duration = Duration::from_millis(100);

/// Warms up one upstream. Dropping it ends that, and the share stays where it is.
#[derive(Default)]
pub(super) struct WarmUp(JoinSet<()>);

impl WarmUp {
    /// Goes on from the share that the upstream has; `time` is that of the whole way. `None`: it has
    /// all at once. In place of what went on before: there is one task at most.
    pub(super) fn begin(&mut self, state: &Arc<UpstreamState>, time: Option<Duration>) {
        self.end();
        match time {
            None => state.set_share(Share::FULL),
            Some(time) if state.share() < Share::FULL => {
                self.0.spawn(raise(state.clone(), time));
            }
            Some(_) => {}
        }
    }

    pub(super) fn end(&mut self) {
        // Its task is aborted with the old set.
        self.0 = JoinSet::new();
    }
}

async fn raise(state: Arc<UpstreamState>, time: Duration) {
    let (first, began) = (state.share(), Instant::now());
    let mut steps = interval(STEP.max(time / 100));
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        if state.health() != Health::Up {
            return;
        }
        let share = raised(first, began.elapsed(), time);
        state.set_share(share);
        if share == Share::FULL {
            return;
        }
    }
}

/// What `first` has become after a while, where the way from the least to the full share takes `time`: less of
/// the way takes less of it.
fn raised(first: Share, elapsed: Duration, time: Duration) -> Share {
    let way = 1.0 - Share::LEAST.part();
    let own = time.mul_f64(((1.0 - first.part()) / way).clamp(0.0, 1.0));
    match elapsed >= own {
        true => Share::FULL,
        false => first.raised(elapsed.div_duration_f64(own)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn new() -> Arc<UpstreamState> {
        let state = Arc::new(UpstreamState::new(true));
        state.judge(true, 1, 1);
        state
    }

    async fn becomes(state: &UpstreamState, wanted: impl Fn(Share) -> bool) {
        let seen = async {
            while !wanted(state.share()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(MINUTE, seen).await.expect("the share is reached");
    }

    #[test]
    fn a_share_rises_evenly_within_the_time() {
        assert_eq!(raised(Share::LEAST, Duration::ZERO, MINUTE), Share::LEAST);
        for quarter in 1..=3 {
            let part = raised(Share::LEAST, quarter * MINUTE / 4, MINUTE).part();
            let expected = f64::from(quarter) / 4.0;
            assert!((part - expected).abs() < 0.03, "{part} of {expected}");
        }
        assert_eq!(raised(Share::LEAST, MINUTE, MINUTE), Share::FULL);
        assert_eq!(
            raised(Share::LEAST, Duration::ZERO, Duration::ZERO),
            Share::FULL
        );
    }

    #[test]
    fn who_goes_on_from_the_middle_needs_what_is_left_of_the_time() {
        let half = raised(Share::LEAST, MINUTE / 2, MINUTE);
        // With twice the time for the whole way, what is left takes a minute.
        let later = raised(half, MINUTE / 2, 2 * MINUTE).part();
        assert!((later - 0.75).abs() < 0.03, "{later}");
        assert_eq!(raised(half, MINUTE + MINUTE / 50, 2 * MINUTE), Share::FULL);
    }

    #[tokio::test]
    async fn a_task_raises_the_share_until_it_is_full() {
        let (state, mut warm_up) = (new(), WarmUp::default());
        warm_up.begin(&state, Some(Duration::from_millis(400)));
        becomes(&state, |share| share == Share::FULL).await;
    }

    #[tokio::test]
    async fn who_begins_again_goes_on_from_where_it_was() {
        let (state, mut warm_up) = (new(), WarmUp::default());
        warm_up.begin(&state, Some(Duration::from_secs(2)));
        becomes(&state, |share| share.part() > 0.3).await;
        drop(warm_up);
        sleep(Duration::from_millis(1)).await;
        let before = state.share();
        let mut warm_up = WarmUp::default();
        warm_up.begin(&state, Some(60 * MINUTE));
        sleep(Duration::from_millis(20)).await;
        assert!(state.share() >= before, "{:?}", state.share());
        warm_up.begin(&state, None);
        assert_eq!(state.share(), Share::FULL, "without a time at once");
    }

    #[tokio::test]
    async fn one_that_goes_down_begins_anew() {
        let (state, mut warm_up) = (new(), WarmUp::default());
        warm_up.begin(&state, Some(Duration::from_millis(200)));
        state.set_health(Health::Down);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(state.share(), Share::LEAST, "nobody raises it");
    }
}
