//! Services under HAProxy's names and numbers. A proxy is a service, a server one of its upstreams.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::balance::Member;
use crate::plan::{Plan, Service};

/// Goes before the name of a TCP service where an HTTP service has the same.
const TCP: &str = "tcp/";

/// Numbers below are of what is no service.
const FIRST: u32 = 16;

pub(super) struct Proxy<'a> {
    pub(super) name: Cow<'a, str>,
    /// HAProxy's `iid`. It comes from the name, so that it is the same on every node and after every start; HAProxy
    /// counts lines of its file.
    pub(super) iid: u32,
    pub(super) service: &'a Arc<Service>,
}

pub(super) struct Server<'a> {
    pub(super) sid: u32,
    pub(super) member: &'a Member,
    /// Its place in the service; `None` for one that stands in.
    pub(super) index: Option<usize>,
}

/// In the order of the plan.
pub(super) fn proxies(plan: &Plan) -> Vec<Proxy<'_>> {
    let is_http = |service: &&Arc<Service>| service.tcp_port().is_none();
    let of_http = plan.services().filter(is_http);
    let of_http: HashSet<_> = of_http
        .map(|service| service.config.name.as_str())
        .collect();
    let mut taken = HashSet::new();
    let all = plan.services().map(|service| {
        let name = service.config.name.as_str();
        let is_second = service.tcp_port().is_some() && of_http.contains(name);
        let hash = rapidhash::v3::rapidhash_v3(service.unit.as_str().as_bytes());
        Proxy {
            name: match is_second {
                true => Cow::Owned(format!("{TCP}{name}")),
                false => Cow::Borrowed(name),
            },
            iid: number(hash, &mut taken),
            service,
        }
    });
    all.collect()
}

impl Proxy<'_> {
    /// Its upstreams, and the one that stands in for them.
    pub(super) fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        let mut taken = HashSet::new();
        let own = self.service.members.iter().enumerate();
        let own = own.map(|(index, member)| (Some(index), member));
        let stand_in = self.service.stand_in.iter().flat_map(|s| s.members.iter());
        let all = own.chain(stand_in.map(|member| (None, member)));
        all.map(move |(index, member)| Server {
            sid: number(member.name_hash, &mut taken),
            member,
            index,
        })
    }
}

/// 31 bits, which is what HAProxy has for them, of a hash; the next free one where two are the same.
fn number(hash: u64, taken: &mut HashSet<u32>) -> u32 {
    let mut number = (hash >> 33) as u32;
    while number < FIRST || !taken.insert(number) {
        number = (number + 1) & (u32::MAX >> 1);
    }
    number
}

/// The proxy and the server that somebody calls `PROXY/SERVER`. Both may have slashes in their names, so that
/// those count that are there.
pub(super) fn find<'a, 'p>(
    all: &'a [Proxy<'p>],
    called: &'a str,
) -> Result<(&'a Proxy<'p>, &'a Member), &'static str> {
    if !called.contains('/') {
        return Err("Require 'backend/server'.");
    }
    let mut why = "No such backend.";
    for (at, _) in called.match_indices('/') {
        let Some(proxy) = all.iter().find(|proxy| proxy.name == called[..at]) else {
            continue;
        };
        why = "No such server.";
        let mut members = proxy.service.members.iter();
        if let Some(member) = members.find(|member| member.name.as_str() == &called[at + 1..]) {
            return Ok((proxy, member));
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_apart_and_leave_room_for_what_is_no_service() {
        let mut taken = HashSet::new();
        assert_eq!(number(0, &mut taken), 16);
        assert_eq!(number(1 << 33, &mut taken), 17);
        assert_eq!(number(u64::MAX, &mut taken), u32::MAX >> 1);
        assert_eq!(number(u64::MAX, &mut taken), 18);
        assert_eq!(number(1000 << 33, &mut taken), 1000);
    }
}
