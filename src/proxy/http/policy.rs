//! What a service's keys do to a request before it goes on: who may come, who is sent elsewhere, and
//! whether anybody is served at all.

use std::net::IpAddr;

use crate::balance::Outcome;
use crate::config::{Balancer, ForceCode, Front, Maintenance, Policy};
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{Answer, FieldId, Method, RequestHead};

/// Where a certificate authority looks for proof of who we are: it asks without TLS and follows no
/// redirect to a certificate that is not there yet.
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// When to come again to a service under maintenance, in seconds.
const RETRY_AFTER: &[u8] = b"Retry-After: 60\r\n";

/// What a client gets instead of being led on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Forbidden,
    Redirect { status: u16, location: Vec<u8> },
    Maintenance,
}

impl Client {
    /// Access lists, then `redirects`, then `force_ssl`.
    pub(super) fn turn_back(
        &self,
        policy: Option<&Policy>,
        front: Option<&Front>,
        balancer: &Balancer,
        head: &RequestHead,
        bytes: &[u8],
    ) -> Option<Reply> {
        let access = policy.and_then(|policy| policy.access.as_ref());
        if let Some(access) = access
            && !access.permits(self.client_ip(balancer, head, bytes))
        {
            return Some(Reply::Forbidden);
        }
        let path = match head.path.get(bytes) {
            path if path.starts_with(b"/") => path,
            // Of a URL without a path, and of `OPTIONS *`.
            _ => b"/",
        };
        let query = head.query.get(bytes);
        if let Some(redirects) = policy.and_then(|policy| policy.redirects.as_ref())
            && let Some(location) = redirects.location(head.host().as_bytes(), path, query)
        {
            let status = redirects.code;
            return Some(Reply::Redirect { status, location });
        }
        let own = policy.map(|policy| &policy.secure);
        let all = front.map(|front| &front.secure);
        let is_forced = own.and_then(|own| own.force);
        let is_forced = is_forced.or(all.and_then(|all| all.force)).unwrap_or(false);
        // Nobody shows a certificate in the open.
        let asks = policy.and_then(|policy| policy.client_auth.as_ref());
        let is_forced = is_forced || asks.is_some_and(|auth| auth.is_required);
        if !is_forced || path.starts_with(CHALLENGES) || self.is_tls(head, bytes) {
            return None;
        }
        if head.host().is_empty() {
            // An HTTP/1.0 client that named no host cannot be told where to go.
            return Some(Reply::Forbidden);
        }
        let port = own.and_then(|own| own.port);
        let port = port
            .or(all.and_then(|all| all.port))
            .filter(|port| *port != 443);
        let code = own.and_then(|own| own.code);
        let code = code.or(all.and_then(|all| all.code)).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        // The host has been checked to be a name or an address and nothing else.
        let origin = format!("https://{}{port}", head.host());
        Some(Reply::Redirect {
            status: match (code, head.method) {
                (ForceCode::Get301, Method::Get | Method::Head) => 301,
                _ => 308,
            },
            location: [origin.as_bytes(), path, query].concat(),
        })
    }

    /// What a browser is told to remember, where the answer goes over TLS: over anything else it would
    /// not be believed (RFC 6797, 8.1).
    pub(super) fn hsts<'p>(
        &self,
        policy: Option<&'p Policy>,
        front: Option<&'p Front>,
    ) -> Option<&'p str> {
        if !self.stream.is_tls() {
            return None;
        }
        match (policy, front) {
            (None, None) => None,
            (Some(policy), None) => policy.secure.hsts(&policy.secure),
            (None, Some(front)) => front.secure.hsts(&front.secure),
            (Some(policy), Some(front)) => policy.secure.hsts(&front.secure),
        }
    }

    /// Gives a reply and counts it where it is the service that turns somebody away.
    pub(super) async fn reply(
        &self,
        reply: Reply,
        service: &Service,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let (status, extra) = match reply {
            Reply::Redirect { status, location } => {
                (status, [b"Location: ", &*location, b"\r\n"].concat())
            }
            Reply::Forbidden => (403, Vec::new()),
            Reply::Maintenance => (503, RETRY_AFTER.to_vec()),
        };
        if status >= 400 {
            service.state.record(Outcome::TurnedAway);
            tracing::debug!(
                service = %service.config.name, peer = %self.ends.peer, status, "turned away"
            );
        }
        let answer = Answer {
            status,
            extra: &extra,
            ..Answer::default()
        };
        self.answer_whole(answer, input, head, Some(id)).await
    }

    /// Who asks: the peer or, behind proxies that are trusted, whom the last of them names.
    ///
    /// `X-Forwarded-For` is read from its end: each trusted proxy wrote who came to it, so the first
    /// address from the right that is no trusted proxy is the client's, and what stands left of it
    /// is what that client claims. An entry that is no address ends the search with the peer.
    pub(super) fn client_ip(
        &self,
        balancer: &Balancer,
        head: &RequestHead,
        bytes: &[u8],
    ) -> IpAddr {
        let peer = self.ends.peer.ip().to_canonical();
        let values = head.fields.values(FieldId::XForwardedFor, bytes);
        client_ip(balancer, peer, values.rev())
    }
}

impl Reply {
    /// Whether nobody is served here now.
    pub(super) fn of_maintenance(policy: &Policy) -> Option<Self> {
        matches!(policy.maintenance, Some(Maintenance::Closed)).then_some(Reply::Maintenance)
    }
}

/// `values` from the last to the first.
fn client_ip<'a>(
    balancer: &Balancer,
    peer: IpAddr,
    values: impl Iterator<Item = &'a [u8]>,
) -> IpAddr {
    if !balancer.trusts(peer) {
        return peer;
    }
    let mut client = peer;
    let entries = values.flat_map(|value| value.rsplit(|b| *b == b','));
    for entry in entries.map(<[u8]>::trim_ascii) {
        // RFC 9110, 5.6.1: an empty element counts for nothing.
        if entry.is_empty() {
            continue;
        }
        let Some(address) = entry_address(entry) else {
            return peer;
        };
        client = address;
        if !balancer.trusts(address) {
            break;
        }
    }
    client
}

/// `10.0.0.1`, `10.0.0.1:4711`, `::1`, `[::1]`, `[::1]:4711`.
fn entry_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let address = if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        address.ip()
    } else {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(trusted: &[&str]) -> Balancer {
        Balancer {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..Balancer::default()
        }
    }

    #[track_caller]
    fn check(trusted: &[&str], peer: &str, values: &[&str], expected: &str) {
        let values = values.iter().rev().map(|value| value.as_bytes());
        let client = client_ip(&balancer(trusted), peer.parse().unwrap(), values);
        assert_eq!(client.to_string(), expected);
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        check(&[], "192.0.2.1", &["10.0.0.1"], "192.0.2.1");
        check(
            &["10.0.0.0/8"],
            "192.0.2.1",
            &["10.0.0.1, 1.1.1.1"],
            "192.0.2.1",
        );
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_other_address_is_the_client() {
        let trusted = &["10.0.0.0/8", "fd00::/8"];
        let check = |values: &[&str], expected| check(trusted, "10.0.0.1", values, expected);
        check(&["192.0.2.7"], "192.0.2.7");
        check(&["6.6.6.6, 192.0.2.7"], "192.0.2.7");
        check(&["6.6.6.6, 192.0.2.7, 10.9.9.9"], "192.0.2.7");
        check(&["6.6.6.6", "192.0.2.7", "10.9.9.9, fd00::1"], "192.0.2.7");
        check(&["192.0.2.7:4711"], "192.0.2.7");
        check(&["[2001:db8::1]:4711"], "2001:db8::1");
        check(&["[2001:db8::1]"], "2001:db8::1");
        check(&["2001:db8::1"], "2001:db8::1");
        check(&["::ffff:192.0.2.7"], "192.0.2.7");
        check(&["192.0.2.7, ::ffff:10.0.0.5"], "192.0.2.7");
        check(&["192.0.2.7,, "], "192.0.2.7");
        // Everybody on the way is trusted: the first of them asks.
        check(&["10.1.1.1, 10.2.2.2"], "10.1.1.1");
        check(&[], "10.0.0.1");
        check(&[""], "10.0.0.1");
    }

    #[test]
    fn what_a_client_claims_left_of_its_own_address_is_not_even_read() {
        let trusted = &["10.0.0.0/8"];
        check(
            trusted,
            "10.0.0.1",
            &["not an address, 192.0.2.7"],
            "192.0.2.7",
        );
        check(
            trusted,
            "10.0.0.1",
            &["\u{fffd}", "10.4.4.4, 192.0.2.7"],
            "192.0.2.7",
        );
    }

    #[test]
    fn an_entry_that_is_no_address_leaves_the_peer() {
        let trusted = &["10.0.0.0/8"];
        for bad in [
            "unknown",
            "192.0.2.7, x",
            "192.0.2.7 10.0.0.1",
            "1.2.3.4:x",
            "fe80::1%eth0",
        ] {
            check(trusted, "10.0.0.1", &[bad], "10.0.0.1");
        }
    }
}
