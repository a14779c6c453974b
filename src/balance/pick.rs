//! The algorithms. Each looks at the members as they are now and answers an index.

use std::net::IpAddr;

use crate::balance::draw::Draw;
use crate::balance::{Health, Member, ServiceState};

/// Longest rotation that is kept; weights beyond it are scaled down.
const MAX_ROTATION: usize = 8192;

/// How often members are looked at again when their health changed between counting and choosing, so
/// that none had the health that was counted.
const LOOKS: usize = 4;

/// How a service spreads its traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    Source,
    LeastConn,
    Random,
}

impl Balance {
    /// The word for it in keys, texts and dumps.
    pub fn word(self) -> &'static str {
        match self {
            Balance::RoundRobin => "roundrobin",
            Balance::Source => "source",
            Balance::LeastConn => "leastconn",
            Balance::Random => "random",
        }
    }
}

/// Members that this request tried already and will not try again.
#[derive(Clone, Debug, Default)]
pub struct Tried(Vec<usize>);

impl Tried {
    pub fn add(&mut self, index: usize) {
        self.0.push(index);
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0.contains(&index)
    }
}

/// The order of turns for members of different weight: each has as many turns as its weight says,
/// spread evenly instead of in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation(Box<[u16]>);

impl Rotation {
    /// `None` when all weights are equal: then the turns are the members themselves.
    pub fn new(members: &[Member]) -> Option<Self> {
        let first = members.first()?.weight;
        if members.iter().all(|m| m.weight == first) || members.len() > usize::from(u16::MAX) {
            return None;
        }
        let divisor = members.iter().fold(0, |d, m| gcd(d, m.weight)).max(1);
        let total: usize = members
            .iter()
            .map(|m| usize::from(m.weight / divisor))
            .sum();
        let scale = total.div_ceil(MAX_ROTATION).max(1);
        let mut turns: Vec<(f64, u16)> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let weight = usize::from(member.weight / divisor);
            let count = if weight == 0 {
                0
            } else {
                (weight / scale).max(1)
            };
            for turn in 0..count {
                turns.push(((turn as f64 + 0.5) / count as f64, index as u16));
            }
        }
        turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Some(Self(turns.into_iter().map(|(_, index)| index).collect()))
    }
}

/// Chooses a member that can take traffic, or none: then the answer is 503.
///
/// Members that are `Up` come first; only when there is none do `Starting` ones get traffic. A
/// weight of 0 takes nothing new. `client` is used by `source` alone. With `warms`, those that are warming
/// up get less, but where `source` says whom a client belongs to.
pub fn pick(
    balance: Balance,
    members: &[Member],
    rotation: Option<&Rotation>,
    state: &ServiceState,
    client: u64,
    tried: &Tried,
    warms: bool,
) -> Option<usize> {
    let warms = warms && balance != Balance::Source;
    for _ in 0..LOOKS {
        let (wanted, count) = eligible(members, tried)?;
        let all = Field {
            members,
            tried,
            wanted,
            count,
            draw: Draw::default(),
        };
        let chosen = match warms.then(|| all.drawn()).flatten() {
            None => choose(balance, all, rotation, state, client),
            Some(drawn) => choose(balance, drawn, rotation, state, client),
        };
        if chosen.is_some() {
            return chosen;
        }
    }
    // Health that changes at every look: whoever is not down will do.
    (0..members.len()).find(|index| {
        let member = &members[*index];
        member.takes_new() && member.state.health() != Health::Down && !tried.has(*index)
    })
}

/// Whom one choice is among. Who does not warm up pays nothing for those who do: the compiler makes two of
/// everything below.
#[derive(Clone, Copy)]
struct Field<'a, const DRAWN: bool> {
    members: &'a [Member],
    tried: &'a Tried,
    wanted: Health,
    /// How many are in it.
    count: usize,
    draw: Draw,
}

impl<'a> Field<'a, false> {
    /// Without those that this choice passes over, as they are warming up; `None`: nobody is.
    fn drawn(self) -> Option<Field<'a, true>> {
        let is_in = |index| self.has(index);
        let (draw, count) = Draw::of(self.members, is_in, fastrand::u64(..))?;
        Some(Field {
            members: self.members,
            tried: self.tried,
            wanted: self.wanted,
            count,
            draw,
        })
    }
}

impl<const DRAWN: bool> Field<'_, DRAWN> {
    fn has(&self, index: usize) -> bool {
        let member = &self.members[index];
        member.takes_new()
            && member.state.health() == self.wanted
            && !self.tried.has(index)
            && (!DRAWN || self.draw.takes(member))
    }

    /// The nth of those in it; the first if health changed since they were counted.
    fn nth(&self, n: u64) -> Option<usize> {
        let all = 0..self.members.len();
        all.clone()
            .filter(|index| self.has(*index))
            .nth(n as usize)
            .or_else(|| all.clone().find(|index| self.has(*index)))
    }

    /// Compares load per weight without a division.
    fn is_lighter(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.members[a], &self.members[b]);
        let weight = |member: &Member| match DRAWN {
            false => u64::from(member.weight),
            true => u64::from(member.weight) * member.state.share().units(),
        };
        u64::from(a.state.in_flight()) * weight(b) < u64::from(b.state.in_flight()) * weight(a)
    }
}

fn choose<const DRAWN: bool>(
    balance: Balance,
    field: Field<'_, DRAWN>,
    rotation: Option<&Rotation>,
    state: &ServiceState,
    client: u64,
) -> Option<usize> {
    let Field { members, count, .. } = field;
    match balance {
        Balance::RoundRobin => {
            let turn = state.next_turn();
            match rotation {
                None => field.nth(turn % count as u64),
                Some(Rotation(turns)) => {
                    let start = (turn % turns.len() as u64) as usize;
                    (0..turns.len())
                        .map(|step| usize::from(turns[(start + step) % turns.len()]))
                        .find(|index| field.has(*index))
                }
            }
        }
        Balance::LeastConn => {
            // Start at another place each time, so that equally loaded members take turns.
            let turn = state.next_turn();
            let start = match DRAWN {
                false => (turn % members.len() as u64) as usize,
                // Or whoever stands behind the one that is passed over would have its turns, too.
                true => field.nth(turn % count as u64)?,
            };
            (0..members.len())
                .map(|step| (start + step) % members.len())
                .filter(|index| field.has(*index))
                .reduce(|best, next| match field.is_lighter(next, best) {
                    true => next,
                    false => best,
                })
        }
        Balance::Random => {
            let a = field.nth(fastrand::u64(..count as u64))?;
            let b = field.nth(fastrand::u64(..count as u64))?;
            Some(if field.is_lighter(b, a) { b } else { a })
        }
        Balance::Source => (0..members.len())
            .filter(|index| field.has(*index))
            .max_by(|a, b| {
                rendezvous(&members[*a], client).total_cmp(&rendezvous(&members[*b], client))
            }),
    }
}

/// Whether [`pick`] would choose one. Takes no turn.
pub fn has_eligible(members: &[Member], tried: &Tried) -> bool {
    eligible(members, tried).is_some()
}

/// Whether a client that belongs to this member may stay with it. A weight of 0 takes nothing new, and
/// this is not new; and a member that is `Starting` is where the client's session is.
pub fn can_stay(members: &[Member], index: usize, tried: &Tried) -> bool {
    members
        .get(index)
        .is_some_and(|member| member.state.health() != Health::Down && !tried.has(index))
}

/// Stable hash of what tells clients apart, for [`Balance::Source`]: the same on every node.
pub fn key_hash(key: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(key)
}

/// [`key_hash`] of a client's address.
pub fn client_hash(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => key_hash(&ip.octets()),
        IpAddr::V6(ip) => key_hash(&ip.octets()),
    }
}

/// The best health on offer and how many have it.
fn eligible(members: &[Member], tried: &Tried) -> Option<(Health, usize)> {
    let (mut up, mut starting) = (0, 0);
    for (index, member) in members.iter().enumerate() {
        if member.takes_new() && !tried.has(index) {
            match member.state.health() {
                Health::Up => up += 1,
                Health::Starting => starting += 1,
                Health::Down => {}
            }
        }
    }
    match (up, starting) {
        (0, 0) => None,
        (0, n) => Some((Health::Starting, n)),
        (n, _) => Some((Health::Up, n)),
    }
}

/// Weighted rendezvous hashing: when a member goes, only its own clients move.
fn rendezvous(member: &Member, client: u64) -> f64 {
    let mut x = member.name_hash ^ client.rotate_left(32);
    // The finalizer of SplitMix64: the two hashes are good alone, their XOR need not be.
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let unit = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(member.weight) / unit.ln()
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balance::{InFlight, UpstreamState};

    fn members(weights: &[u16]) -> Vec<Member> {
        weights
            .iter()
            .enumerate()
            .map(|(i, w)| {
                let address = ([10, 0, 0, i as u8], 80).into();
                let state = Arc::new(UpstreamState::new(false));
                Member::new(format!("m{i}").as_str().into(), address, *w, state)
            })
            .collect()
    }

    fn picks(balance: Balance, members: &[Member], n: usize) -> Vec<usize> {
        let (state, rotation) = (ServiceState::default(), Rotation::new(members));
        (0..n)
            .filter_map(|i| {
                let client = client_hash(IpAddr::from([192, 0, 2, i as u8]));
                pick(
                    balance,
                    members,
                    rotation.as_ref(),
                    &state,
                    client,
                    &Tried::default(),
                    false,
                )
            })
            .collect()
    }

    #[test]
    fn health_that_changes_while_one_is_chosen_leaves_nobody_without() {
        let members = members(&[1]);
        let flips = std::time::Duration::from_millis(300);
        std::thread::scope(|scope| {
            let flipper = scope.spawn(|| {
                let start = std::time::Instant::now();
                while start.elapsed() < flips {
                    for health in [Health::Starting, Health::Up] {
                        members[0].state.set_health(health);
                    }
                }
            });
            while !flipper.is_finished() {
                for balance in [
                    Balance::RoundRobin,
                    Balance::Source,
                    Balance::LeastConn,
                    Balance::Random,
                ] {
                    assert_eq!(picks(balance, &members, 100).len(), 100, "{balance:?}");
                }
            }
        });
    }

    fn counts(picks: &[usize], len: usize) -> Vec<usize> {
        (0..len)
            .map(|i| picks.iter().filter(|p| **p == i).count())
            .collect()
    }

    #[test]
    fn round_robin_alternates_exactly() {
        assert_eq!(
            picks(Balance::RoundRobin, &members(&[1, 1, 1]), 6),
            [0, 1, 2, 0, 1, 2]
        );
    }

    #[test]
    fn round_robin_skips_the_dead_and_still_alternates() {
        let m = members(&[1, 1, 1]);
        m[1].state.set_health(Health::Down);
        assert_eq!(picks(Balance::RoundRobin, &m, 4), [0, 2, 0, 2]);
    }

    #[test]
    fn weights_are_shares_and_turns_are_spread() {
        let p = picks(Balance::RoundRobin, &members(&[4, 2, 0, 1]), 70);
        assert_eq!(counts(&p, 4), [40, 20, 0, 10]);
        assert!(
            p.windows(3).all(|w| w != [0, 0, 0]),
            "turns come in a row: {p:?}"
        );
    }

    #[test]
    fn least_connections_fills_up_the_emptier_one_first() {
        let m = members(&[1, 1]);
        let _held: Vec<_> = (0..10).map(|_| InFlight::begin(&m[0].state)).collect();
        assert_eq!(counts(&picks(Balance::LeastConn, &m, 5), 2), [0, 5]);
    }

    #[test]
    fn least_connections_takes_turns_when_loads_are_equal() {
        assert_eq!(
            counts(&picks(Balance::LeastConn, &members(&[1, 1]), 10), 2),
            [5, 5]
        );
    }

    #[test]
    fn source_keeps_a_client_and_moves_only_those_of_the_one_that_went() {
        let m = members(&[1, 1, 1, 1]);
        let before = picks(Balance::Source, &m, 256);
        assert!(
            counts(&before, 4).iter().all(|c| *c > 30),
            "unfair: {:?}",
            counts(&before, 4)
        );
        assert_eq!(before, picks(Balance::Source, &m, 256));
        m[2].state.set_health(Health::Down);
        let after = picks(Balance::Source, &m, 256);
        for (b, a) in before.iter().zip(&after) {
            assert!(if *b == 2 { *a != 2 } else { a == b });
        }
    }

    #[test]
    fn a_client_may_stay_with_any_member_that_is_not_down_and_was_not_tried() {
        let m = members(&[1, 0, 1]);
        let tried = Tried::default();
        m[0].state.set_health(Health::Starting);
        m[2].state.set_health(Health::Down);
        let stays = |tried: &Tried| [0, 1, 2, 3].map(|index| can_stay(&m, index, tried));
        assert_eq!(stays(&tried), [true, true, false, false]);
        let mut tried = tried;
        tried.add(1);
        assert_eq!(stays(&tried), [true, false, false, false]);
    }

    #[test]
    fn random_prefers_the_lighter_of_two() {
        let m = members(&[1, 1]);
        let _held: Vec<_> = (0..10).map(|_| InFlight::begin(&m[0].state)).collect();
        let c = counts(&picks(Balance::Random, &m, 400), 2);
        assert!(c[1] > c[0] * 2, "{c:?}");
    }

    #[test]
    fn starting_members_serve_only_while_nobody_is_up() {
        let m = members(&[1, 1]);
        m[0].state.set_health(Health::Starting);
        assert_eq!(picks(Balance::RoundRobin, &m, 2), [1, 1]);
        m[1].state.set_health(Health::Down);
        assert_eq!(picks(Balance::RoundRobin, &m, 2), [0, 0]);
        m[0].state.set_health(Health::Down);
        assert_eq!(picks(Balance::RoundRobin, &m, 2), [0; 0]);
    }

    #[test]
    fn a_tried_member_is_not_tried_again() {
        let (m, state) = (members(&[1, 1]), ServiceState::default());
        let mut tried = Tried::default();
        tried.add(0);
        for balance in [
            Balance::RoundRobin,
            Balance::LeastConn,
            Balance::Random,
            Balance::Source,
        ] {
            assert_eq!(pick(balance, &m, None, &state, 7, &tried, false), Some(1));
        }
        tried.add(1);
        assert_eq!(
            pick(Balance::RoundRobin, &m, None, &state, 7, &tried, false),
            None
        );
    }
}
