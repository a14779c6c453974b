//! Upstreams to members: a name becomes as many as its answer has addresses.
//!
//! A member of a name is called by the upstream and its own address, `web/10.0.0.1:80`, also where there
//! is only one: what the others do, and the order of an answer, never change what it is called, so that its
//! state, and the clients that are pinned to it, stay. No key has a slash in its name.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Address, Upstream};
use crate::dns::Answers;
use crate::names::{DnsName, UpstreamName};

/// One address that traffic can go to.
#[derive(Debug, PartialEq)]
pub(super) struct Expanded {
    pub(super) name: UpstreamName,
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
    /// With the port, where the key says a name.
    pub(super) host: Option<Arc<str>>,
    /// Whom a certificate has to name: the name that is written. Of an SRV name what is behind service and
    /// protocol (RFC 6125, 6.2.1): the hosts of its records are what anybody says who answers for DNS.
    pub(super) server_name: Option<DnsName>,
}

/// In the order of names.
pub(super) fn expand(upstreams: &[Upstream], answers: &Answers) -> Vec<Expanded> {
    let mut all = Vec::with_capacity(upstreams.len());
    for upstream in upstreams {
        match &upstream.address {
            Address::At(address) => all.push(Expanded {
                name: upstream.name.clone(),
                address: *address,
                weight: upstream.weight,
                host: None,
                server_name: None,
            }),
            Address::Named(name, port) => {
                let bare = without_dot(name);
                let host: Arc<str> = format!("{bare}:{port}").into();
                let of_name = answered(upstream, answers).map(|target| Expanded {
                    host: Some(host.clone()),
                    ..member(upstream, SocketAddr::new(target.ip, *port), bare)
                });
                all.extend(of_name);
            }
            Address::Srv(name) => {
                let bare = without_dot(name);
                let of_name = answered(upstream, answers).filter_map(|target| {
                    let (port, weight) = target.port?;
                    Some(Expanded {
                        weight: weight * upstream.weight.min(1),
                        ..member(
                            upstream,
                            SocketAddr::new(target.ip, port),
                            behind_service(bare),
                        )
                    })
                });
                all.extend(of_name);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn answered<'a>(
    upstream: &Upstream,
    answers: &'a Answers,
) -> impl Iterator<Item = &'a crate::dns::Target> {
    let question = upstream.address.question();
    let answer = question.and_then(|question| answers.get(&question));
    answer.into_iter().flat_map(|answer| answer.iter())
}

fn member(upstream: &Upstream, address: SocketAddr, server_name: &str) -> Expanded {
    Expanded {
        name: format!("{}/{address}", upstream.name).as_str().into(),
        address,
        weight: upstream.weight,
        host: None,
        server_name: Some(server_name.into()),
    }
}

fn without_dot(name: &DnsName) -> &str {
    let name = name.as_str();
    name.strip_suffix('.').unwrap_or(name)
}

/// `app.internal` of `_http._tcp.app.internal`.
fn behind_service(name: &str) -> &str {
    let mut rest = name;
    while let Some((label, behind)) = rest.split_once('.')
        && label.starts_with('_')
    {
        rest = behind;
    }
    rest
}
