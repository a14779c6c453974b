//! In which network a container is reached, and at which address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::draft::Draft;
use super::{Ground, Reach, Standing};
use crate::diag::quoted;

const HOW: &str =
    "name a network with the label lb.network, com.docker.lb.network or traefik.docker.network";

/// Where `port` of the container is reached: in the network that is said, its only one, one that the
/// balancer shares, or the first by name.
pub(super) fn address(
    draft: &mut Draft<'_>,
    ground: &Ground,
    said: Option<&(String, String)>,
    port: u16,
) -> Option<SocketAddr> {
    let facts = draft.facts;
    if let Reach::At(host) = ground.reach {
        return published(draft, host, port);
    }
    if facts.is_on_host {
        if let Some(host) = facts.host {
            return Some(SocketAddr::new(host, port));
        }
        if ground.reach == Reach::Afar {
            let message = "has the host's network, and nobody said at which address other hosts reach this one";
            draft.error("no-network", message.to_owned(), "say it with --address");
            return None;
        }
        if let Standing::Container(_) = ground.standing {
            let message = "has the host's network, which this balancer's container cannot reach";
            let help = "run the balancer with the host's network, or put the container into a network of the balancer's";
            draft.error("no-network", message.to_owned(), help);
            return None;
        }
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let shared = |name: &str| match &ground.standing {
        _ if ground.reach == Reach::Afar => true,
        Standing::Host => !facts.overlays.contains(name),
        Standing::Container(own) => own.contains(name),
    };
    let names: Vec<&String> = facts.networks.keys().collect();
    // Where no network is shared, a port that its node publishes will do.
    let published = facts.published(port).filter(|at| match ground.standing {
        Standing::Host => true,
        Standing::Container(_) => !at.ip().is_loopback(),
    });
    let chosen = match (said, names.as_slice()) {
        (_, []) => {
            if published.is_some() {
                return published;
            }
            let message = "is in no network, so nobody can reach it";
            draft.error(
                "no-network",
                message.to_owned(),
                "put it into a network of the balancer's",
            );
            return None;
        }
        (Some((name, from)), _) => {
            // Compose and stacks put their own name in front.
            let full = facts.stack.as_ref().map(|stack| format!("{stack}_{name}"));
            let found = names.iter().find(|have| **have == name);
            let found = found.or_else(|| names.iter().find(|have| Some(**have) == full.as_ref()));
            match found {
                Some(name) => (*name).clone(),
                None => {
                    let message =
                        format!("{from} is {}, and it is not in that network", quoted(name));
                    draft.error("no-network", message, &format!("it is in {}", list(&names)));
                    return None;
                }
            }
        }
        (None, [only]) => (*only).clone(),
        (None, [first, ..]) => {
            let is_choosing =
                matches!(ground.standing, Standing::Container(_)) || !facts.overlays.is_empty();
            let mut ours = names.iter().filter(|name| is_choosing && shared(name));
            match ours.next() {
                Some(name) => (*name).clone(),
                None if published.is_some() => return published,
                None => {
                    let message = format!("is in {}, the first is taken", list(&names));
                    let first = (*first).clone();
                    draft.warn("which-network", message, HOW);
                    first
                }
            }
        }
    };
    if !shared(&chosen) {
        if published.is_some() {
            return published;
        }
        let network = quoted(&chosen);
        match ground.standing {
            Standing::Container(_) => draft.warn(
                "no-shared-network",
                format!("is reached in network {network}, which this balancer is not in"),
                "connect the balancer's container to it",
            ),
            Standing::Host => draft.warn(
                "no-shared-network",
                format!("is reached in network {network}, and no host is in an overlay network"),
                "run the balancer as a container in it, or publish the port with mode=host",
            ),
        }
    }
    let Some(address) = facts.networks.get(&chosen).copied().flatten() else {
        let message = format!("has no address in network {}", quoted(&chosen));
        draft.error("no-address", message, HOW);
        return None;
    };
    if is_nowhere(address) {
        let message = format!("has the address {address} in network {}", quoted(&chosen));
        draft.error("no-address", message, HOW);
        return None;
    }
    Some(SocketAddr::new(address, port))
}

/// Where the host publishes `port`, if other hosts can reach it there.
fn published(draft: &mut Draft<'_>, host: IpAddr, port: u16) -> Option<SocketAddr> {
    let facts = draft.facts;
    if facts.is_on_host {
        return Some(SocketAddr::new(host, port));
    }
    let at = facts.ports.iter().find(|exposed| exposed.number == port);
    let help = format!(
        "publish it, as in -p {port}:{port}, or start the agent without --address if containers' own addresses are reached from other hosts"
    );
    let at = at.map_or(&[][..], |exposed| &exposed.published);
    let reached = at.iter().find(|at| {
        let is_every = at.ip().is_unspecified() && at.is_ipv4() == host.is_ipv4();
        is_every || at.ip() == host
    });
    if let Some(at) = reached {
        return Some(SocketAddr::new(host, at.port()));
    }
    let message = match at.first() {
        Some(at) => format!("port {port} is published at {at} and not at {host}"),
        None => format!("port {port} is not published, so nobody reaches it at {host}"),
    };
    draft.error("not-published", message, &help);
    None
}

fn is_nowhere(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast()
}

fn list(names: &[&String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    match names.len() {
        1 => format!("network {}", shown.join("")),
        n => format!("{n} networks ({}{more})", shown.join(", ")),
    }
}
