//! `allow` and `deny`: the networks a service is there for.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::fields::{Fields, Written};
use super::values;

pub(super) const NETWORKS: usize = 1_000;

/// Who may come. Networks are kept sorted, and those of IPv4 inside IPv6 as IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Empty: everybody who is not denied.
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl Access {
    /// Whether a client of this address may come. Deny goes over allow.
    pub fn permits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// The networks that may come, and those that may not, as they would be written.
    pub fn lists(&self) -> (String, String) {
        let text = |nets: &[IpNet]| {
            let nets: Vec<_> = nets.iter().map(ToString::to_string).collect();
            nets.join(",")
        };
        (text(&self.allow), text(&self.deny))
    }
}

/// `None` if neither key is set.
pub(super) fn access(fields: &mut Fields<'_>) -> Option<Access> {
    let access = Access {
        allow: networks(fields, "allow"),
        deny: networks(fields, "deny"),
    };
    (access != Access::default()).then_some(access)
}

/// A comma list of networks, sorted, each once.
pub(super) fn networks(fields: &mut Fields<'_>, field: &str) -> Vec<IpNet> {
    let items = fields.items(field, NETWORKS);
    canonical_networks(fields, field, items)
}

pub(super) fn canonical_networks(
    fields: &mut Fields<'_>,
    field: &str,
    items: Vec<Written<'_>>,
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for written in items {
        match values::network(written.text) {
            Ok(network) => networks.push(canonical(network)),
            Err(problem) => fields.refuse(field, written, &problem),
        }
    }
    networks.sort();
    networks.dedup();
    networks
}

/// A network inside `::ffff:0:0/96` is the IPv4 one it stands for: clients are compared that way.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(address) = v6.network().to_ipv4_mapped()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(address, prefix)
    {
        return IpNet::V4(v4);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let nets = |texts: &[&str]| {
            let nets = texts.iter().map(|t| canonical(values::network(t).unwrap()));
            nets.collect()
        };
        Access {
            allow: nets(allow),
            deny: nets(deny),
        }
    }

    #[track_caller]
    fn check(access: &Access, client: &str, expected: bool) {
        assert_eq!(
            access.permits(client.parse().unwrap()),
            expected,
            "{client}"
        );
    }

    #[test]
    fn deny_goes_over_allow_and_no_allow_means_everybody() {
        let both = access(&["10.0.0.0/8", "fd00::/8"], &["10.1.0.0/16"]);
        check(&both, "10.2.0.1", true);
        check(&both, "10.1.0.1", false);
        check(&both, "fd00::1", true);
        check(&both, "192.0.2.1", false);
        check(&both, "2001:db8::1", false);
        let deny = access(&[], &["192.0.2.7"]);
        check(&deny, "192.0.2.7", false);
        check(&deny, "192.0.2.8", true);
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4_on_both_sides() {
        let plain = access(&["10.0.0.0/8"], &[]);
        check(&plain, "::ffff:10.0.0.1", true);
        check(&plain, "::ffff:11.0.0.1", false);
        let mapped = access(&["::ffff:10.0.0.0/104"], &[]);
        check(&mapped, "10.9.9.9", true);
        check(&mapped, "::ffff:11.0.0.1", false);
    }
}
