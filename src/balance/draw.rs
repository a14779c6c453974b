//! Who takes part in one choice while some members are warming up.
//!
//! A member that has a quarter of its share takes part in a quarter of all choices: so its part of the
//! traffic is a quarter of what it will be, whichever algorithm chooses among those that take part. Shares are
//! measured by the greatest on offer: where all are new they are equals, and somebody always takes part.

use crate::balance::{Member, Share};

/// Who takes part is decided by one number and the member's name: it can be asked again and again
/// without being written down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    chance: u64,
    /// The greatest share on offer.
    greatest: Share,
}

impl Default for Draw {
    fn default() -> Self {
        Self {
            chance: 0,
            greatest: Share::LEAST,
        }
    }
}

impl Draw {
    /// The draw, and how many of those that are eligible take part; `None` where all have the same share.
    pub(super) fn of(
        members: &[Member],
        is_eligible: impl Fn(usize) -> bool,
        chance: u64,
    ) -> Option<(Self, usize)> {
        let eligible = || (0..members.len()).filter(|index| is_eligible(*index));
        let mut shares = eligible().map(|index| members[index].state.share());
        let first = shares.next()?;
        let (least, greatest) = shares.fold((first, first), |(least, greatest), share| {
            (least.min(share), greatest.max(share))
        });
        if least == greatest {
            return None;
        }
        let draw = Self { chance, greatest };
        match eligible()
            .filter(|index| draw.takes(&members[*index]))
            .count()
        {
            // Whoever had the greatest share just went.
            0 => None,
            count => Some((draw, count)),
        }
    }

    pub(super) fn takes(&self, member: &Member) -> bool {
        let share = member.state.share();
        if share >= self.greatest {
            return true;
        }
        let mut chance = fastrand::Rng::with_seed(self.chance ^ member.name_hash);
        chance.u64(..self.greatest.units()) < share.units()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balance::{
        Balance, Health, InFlight, Rotation, ServiceState, Tried, UpstreamState, client_hash, pick,
    };

    const BALANCED: [Balance; 3] = [Balance::RoundRobin, Balance::LeastConn, Balance::Random];

    /// Members with a weight, and how far they are from their least to their full share.
    fn members(all: &[(u16, f64)]) -> Vec<Member> {
        let all = all.iter().enumerate();
        all.map(|(i, (weight, part))| {
            let state = Arc::new(UpstreamState::new(true));
            state.set_health(Health::Up);
            state.set_share(Share::LEAST.raised(*part));
            let address = ([10, 0, 0, i as u8], 80).into();
            Member::new(format!("m{i}").as_str().into(), address, *weight, state)
        })
        .collect()
    }

    /// The part of each member in many choices. `busy`: a request is under way for a while, so that
    /// load counts.
    fn parts(balance: Balance, members: &[Member], warms: bool, busy: usize) -> Vec<f64> {
        const CHOICES: usize = 20_000;
        fastrand::seed(11);
        let (state, rotation) = (ServiceState::default(), Rotation::new(members));
        let mut counts = vec![0; members.len()];
        let mut held: Vec<InFlight> = Vec::new();
        for i in 0..CHOICES {
            let rotation = rotation.as_ref();
            let client = client_hash([10, 1, (i >> 8) as u8, i as u8].into());
            let tried = Tried::default();
            let index = pick(balance, members, rotation, &state, client, &tried, warms)
                .expect("somebody is up");
            counts[index] += 1;
            held.push(InFlight::begin(&members[index].state));
            if held.len() > busy {
                held.swap_remove(fastrand::usize(..held.len()));
            }
        }
        counts.iter().map(|n| *n as f64 / CHOICES as f64).collect()
    }

    #[track_caller]
    fn assert_near(part: f64, expected: f64, what: impl std::fmt::Debug) {
        assert!(
            (part - expected).abs() < 0.04,
            "{part} of {expected}: {what:?}"
        );
    }

    #[test]
    fn a_member_that_warms_up_has_its_share_of_its_part() {
        for balance in BALANCED {
            for busy in [0, 40] {
                for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
                    let m = members(&[(1, 1.0), (1, 1.0), (1, 1.0), (1, part)]);
                    let share = m[3].state.share().part();
                    let parts = parts(balance, &m, true, busy);
                    let case = (balance, busy, part, &parts);
                    // Alike, or below where load counts too.
                    let (low, high) = (share * share / 4.0 - 0.03, share / 4.0 + 0.03);
                    assert!((low..high).contains(&parts[3]), "{case:?}");
                    assert_near(parts[0], (1.0 - parts[3]) / 3.0, case);
                }
            }
        }
    }

    #[test]
    fn a_warm_member_does_not_bear_everything_while_many_warm_up() {
        let mut all = vec![(1, 0.1); 9];
        all.push((1, 1.0));
        for balance in BALANCED {
            let parts = parts(balance, &members(&all), true, 0);
            assert!((0.3..0.8).contains(&parts[9]), "{balance:?} {parts:?}");
        }
    }

    #[test]
    fn members_that_are_all_new_are_equals_and_one_alone_has_everything() {
        for balance in BALANCED {
            assert_eq!(parts(balance, &members(&[(1, 0.0)]), true, 0), [1.0]);
            let parts = parts(balance, &members(&[(1, 0.0), (1, 0.0)]), true, 0);
            assert_near(parts[0], 0.5, (balance, parts[1]));
        }
    }

    #[test]
    fn weights_count_and_a_weight_of_0_stays_0() {
        let m = members(&[(1, 1.0), (3, 1.0), (0, 1.0), (4, 0.5), (0, 0.5)]);
        let parts = parts(Balance::RoundRobin, &m, true, 0);
        assert_eq!((parts[2], parts[4]), (0.0, 0.0), "{parts:?}");
        assert_near(parts[3], 0.25, &parts);
    }

    #[test]
    fn only_where_a_service_warms_up_do_shares_count_and_never_by_source() {
        let m = members(&[(1, 1.0), (1, 0.0)]);
        for balance in BALANCED {
            let parts = parts(balance, &m, false, 0);
            assert_near(parts[1], 0.5, (balance, parts[0]));
        }
        let parts = parts(Balance::Source, &m, true, 0);
        assert_near(parts[1], 0.5, ("source", parts[0]));
    }

    #[test]
    fn one_that_warms_up_is_asked_when_the_others_are_down_or_were_tried() {
        let (m, state) = (
            members(&[(1, 1.0), (1, 1.0), (1, 0.0)]),
            ServiceState::default(),
        );
        m[0].state.set_health(Health::Down);
        let mut tried = Tried::default();
        tried.add(1);
        for balance in BALANCED {
            for _ in 0..100 {
                assert_eq!(pick(balance, &m, None, &state, 7, &tried, true), Some(2));
            }
        }
    }
}
