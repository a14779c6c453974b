//! PROXY headers in front of connections to upstreams, for services with `send_proxy`.
//!
//! A header speaks of one client, so such a connection serves that client alone: it is never in a pool.

use std::cell::RefCell;

use crate::proxy::listen::Ends;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Wheel;
use crate::proxy::upstream::{Destination, Idle};
use crate::proxy_header::{Details, Form, Pair, Tls, write};

/// What a header says besides addresses and the client's session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// Whom a client asks for whose TLS is not ended here.
    pub(crate) server_name: Option<&'a str>,
    /// Of the request that the connection is made for.
    pub(crate) id: Option<&'a [u8]>,
    /// In the client's certificate, where the service asks for one.
    pub(crate) common_name: Option<&'a str>,
}

/// The header for an upstream's connection, made for this client.
///
pub(crate) fn header(form: Form, client: &Stream, ends: Ends, about: About<'_>) -> Vec<u8> {
    // A listener on all addresses does not say which of them it was.
    let destination = ends.destination.or_else(|| client.local_addr().ok());
    let pair = Pair::new(ends.peer, destination.unwrap_or(ends.listener));
    let mut header = Vec::new();
    client.with_details(|details| {
        let details = Details {
            authority: about.server_name.or(details.authority),
            unique_id: about.id,
            tls: details.tls.map(|tls| Tls {
                client: about.common_name,
                ..tls
            }),
            ..details
        };
        write(form, pair, &details, &mut header);
    });
    header
}

/// Connections to upstreams that a client's requests left unused, and that its next ones may have.
/// Nobody sweeps them: they end with the client's connection, which is idle for some seconds at most, or
/// when it becomes a tunnel.
#[derive(Default)]
pub(crate) struct Own(RefCell<Vec<Kept>>);

/// Kept for one client: enough for the upstreams of most services, where requests take turns.
const MOST: usize = 8;

/// What an upstream was told in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) form: Form,
    /// That the client's certificate was verified, by a service that asks for it.
    pub(crate) is_identified: bool,
}

struct Kept {
    upstream: Destination,
    told: Told,
    idle: Idle,
}

impl Own {
    /// There will be no more requests.
    pub(crate) fn clear(&self) {
        self.0.take();
    }

    /// As [`Pools::take`](crate::proxy::upstream::Pools::take).
    pub(crate) fn take(
        &self,
        upstream: Destination,
        told: Told,
        may_repeat: bool,
        wheel: &Wheel,
    ) -> Option<Stream> {
        let mut all = self.0.borrow_mut();
        all.retain(|kept| !kept.idle.is_over(wheel));
        let at = all
            .iter()
            .position(|kept| (kept.upstream, kept.told) == (upstream, told))?;
        all.swap_remove(at).idle.take(may_repeat)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) fn put(&self, upstream: Destination, told: Told, stream: Stream, wheel: &Wheel) {
        let mut all = self.0.borrow_mut();
        if all.len() == MOST {
            all.remove(0);
        }
        all.push(Kept {
            upstream,
            told,
            idle: Idle::new(stream, wheel),
        });
    }
}
