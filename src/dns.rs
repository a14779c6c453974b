//! What names of upstreams are asked for and what was answered: plain data, and what follows from it.
//!
//! Nobody is asked here ([`crate::resolve`] does), and nobody is led anywhere (plans do).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::names::DnsName;

/// A name may stand for this many addresses. Of more, the first in order are used.
pub const ADDRESSES: usize = 256;

/// Names of all services that are asked for. Of more, the first in order are.
pub const NAMES: usize = 4096;

/// What SRV records call weights goes to 65535, what members have to this.
const HEAVIEST: u32 = 256;

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `dns_servers`. Empty: those of resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// `dns_interval`, 5 s, 1 s to 1 h: a name is asked for at least this often, whatever its TTL says.
    pub interval: Duration,
    /// `dns_timeout`, 2 s, 100 ms to 30 s: for one try at one server.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
        }
    }
}

/// What DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// All addresses of a host: A and AAAA.
    Host(DnsName),
    /// Hosts, ports and weights of a service, and the addresses of those hosts.
    Srv(DnsName),
}

impl Question {
    pub fn name(&self) -> &DnsName {
        match self {
            Self::Host(name) | Self::Srv(name) => name,
        }
    }

    /// What [`fmt::Display`] wrote. The name is not judged.
    pub fn of_text(text: &str) -> Self {
        match text.strip_prefix("srv:") {
            Some(name) => Self::Srv(name.into()),
            None => Self::Host(text.into()),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "{name}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
        }
    }
}

/// One address that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub ip: IpAddr,
    /// Of SRV records: the port, and the weight that a member has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<(u16, u16)>,
}

impl Target {
    pub fn host(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }

    pub fn service(ip: IpAddr, port: u16, weight: u16) -> Self {
        Self {
            ip,
            port: Some((port, weight)),
        }
    }
}

/// As [`targets`] has made it.
pub type Answer = Arc<[Target]>;

/// The newest good answer to each question. Shared with all that came before it.
pub type Answers = OrdMap<Question, Answer>;

/// An answer: what can be used of these, once each, in order, [`ADDRESSES`] at most. Two answers that say
/// the same are equal. With it: how many were usable.
pub fn targets(all: impl IntoIterator<Item = Target>) -> (Answer, usize) {
    let usable = all.into_iter().filter_map(|target| {
        let ip = target.ip.to_canonical();
        let is_reachable = !ip.is_unspecified() && !ip.is_multicast();
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let has_port = target.port.is_none_or(|(port, _)| port > 0);
        (is_reachable && !is_broadcast && has_port).then_some(Target { ip, ..target })
    });
    let mut all: Vec<_> = usable.collect();
    // The heaviest of those that differ by weight alone stays.
    all.sort_unstable_by_key(|t| (t.ip, t.port.map(|(port, weight)| (port, u16::MAX - weight))));
    all.dedup_by_key(|t| (t.ip, t.port.map(|(port, _)| port)));
    let count = all.len();
    all.truncate(ADDRESSES);
    (all.into(), count)
}

/// Weights of SRV records as members have them: as they are, or scaled down together where one of them
/// is above what a member can have. One of 0 asks for little (RFC 2782) and not for nothing.
pub fn weights(records: &[u16]) -> impl Iterator<Item = u16> {
    let most = records.iter().copied().max().map_or(0, u32::from);
    records.iter().map(move |weight| {
        let weight = u32::from(*weight);
        let scaled = match most > HEAVIEST {
            true => weight * HEAVIEST / most,
            false => weight,
        };
        u16::try_from(scaled.max(1)).unwrap_or(1)
    })
}

/// Why a name has no newer answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has not been answered since this began, in words.
    Failed(String),
    /// So many addresses that not all are used.
    TooMany(usize),
    /// More names are asked for than may be.
    Beyond,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason),
            Self::TooMany(count) => write!(f, "{count} addresses, {ADDRESSES} are used"),
            Self::Beyond => write!(f, "more than {NAMES} names"),
        }
    }
}

/// All that is known at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub answers: Answers,
    pub troubles: OrdMap<Question, Trouble>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<Target> {
        let ip = |text: &&str| Target::host(text.parse().unwrap());
        texts.iter().map(ip).collect()
    }

    fn shown(all: &[Target]) -> Vec<String> {
        all.iter().map(|t| t.ip.to_string()).collect()
    }

    #[test]
    fn an_answer_is_sorted_unique_and_reachable() {
        let mixed = [
            "10.0.0.2",
            "fd00::1",
            "0.0.0.0",
            "10.0.0.1",
            "10.0.0.2",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:10.0.0.1",
            "127.0.0.1",
        ];
        let (answer, count) = targets(ips(&mixed));
        assert_eq!(
            shown(&answer),
            ["10.0.0.1", "10.0.0.2", "127.0.0.1", "fd00::1"]
        );
        assert_eq!(count, 4);
        let mut turned = ips(&mixed);
        turned.reverse();
        assert_eq!(targets(turned).0, answer);
    }

    #[test]
    fn of_too_many_the_first_in_order_stay() {
        let all = (0..300u32)
            .rev()
            .map(|n| Target::host(IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
        let (answer, count) = targets(all);
        assert_eq!((answer.len(), count), (ADDRESSES, 300));
        assert_eq!(answer[0].ip.to_string(), "10.0.0.0");
    }

    #[test]
    fn one_host_may_serve_on_several_ports_and_each_once() {
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let all = [(80, 1), (81, 5), (80, 9), (0, 3)].map(|(p, w)| Target::service(ip, p, w));
        let (answer, _) = targets(all);
        let ports: Vec<_> = answer.iter().filter_map(|t| t.port).collect();
        assert_eq!(ports, [(80, 9), (81, 5)]);
    }

    #[test]
    fn weights_of_records_become_those_of_members() {
        let of = |records: &[u16]| weights(records).collect::<Vec<_>>();
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[0, 0]), [1, 1]);
        assert_eq!(of(&[10, 20, 0]), [10, 20, 1]);
        assert_eq!(of(&[65535, 32768, 1]), [256, 128, 1]);
    }

    #[test]
    fn a_question_is_read_as_it_is_written() {
        for text in [
            "app.internal",
            "app.internal.",
            "srv:_http._tcp.app.internal",
        ] {
            assert_eq!(Question::of_text(text).to_string(), text);
        }
    }
}
