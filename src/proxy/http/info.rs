//! Header fields that tell a client how it was served: the request id unless it is to be hidden, and
//! what `info_headers` names besides.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::balance::Member;
use crate::config::InfoHeaders;
use crate::proxy::http::id::RequestId;
use crate::proxy::worker::Worker;
use crate::rules::FieldEdit;

const SERVER_INFO: &str = concat!("pointsman/", env!("CARGO_PKG_VERSION"));

/// What one request has to remember for them.
pub(super) struct Info {
    headers: InfoHeaders,
    /// Of the service's members.
    upstream: Cell<Option<usize>>,
    picked: Cell<Option<Instant>>,
    connected: Cell<Option<Instant>>,
}

impl Info {
    pub(super) fn new(headers: InfoHeaders) -> Self {
        Self {
            headers,
            upstream: Cell::new(None),
            picked: Cell::new(None),
            connected: Cell::new(None),
        }
    }

    pub(super) fn picked(&self, index: usize) {
        self.upstream.set(Some(index));
        self.picked.set(Some(Instant::now()));
    }

    /// How long the upstream has had until now.
    pub(super) fn since_picked(&self) -> Duration {
        self.picked.get().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Who has the request, of the service's members.
    pub(super) fn member<'a>(&self, members: &'a [Member]) -> Option<&'a Member> {
        members.get(self.upstream.get()?)
    }

    /// No clock is read here unless somebody wants to know.
    pub(super) fn connected(&self) {
        if self.headers.upstream_response_time {
            self.connected.set(Some(Instant::now()));
        }
    }

    pub(super) fn request_id<'a>(&self, id: &'a RequestId) -> Option<&'a [u8]> {
        self.headers.request_id.then(|| id.as_bytes())
    }

    /// Adds the fields to an upstream's answer whose head is there.
    pub(super) fn tell(&self, worker: &Worker, members: &[Member], edits: &mut Vec<FieldEdit>) {
        if self.headers.are_usual() {
            return;
        }
        let mut set = |name: &str, value: String| {
            edits.push(FieldEdit::Set {
                name: name.to_owned(),
                value: value.into_bytes(),
            });
        };
        for (name, value) in of_node(self.headers, worker) {
            set(name, value.to_owned());
        }
        if self.headers.upstream_addr
            && let Some(member) = self.member(members)
        {
            set("X-Upstream-Addr", member.address.to_string());
        }
        if let Some(connected) = self.connected.get() {
            let seconds = connected.elapsed().as_secs_f64();
            set("X-Upstream-Response-Time", format!("{seconds:.3}"));
        }
    }
}

/// Field lines for an answer of our own, behind those it has; `None` if there are no more.
pub(super) fn of_own_answer(
    headers: InfoHeaders,
    worker: &Worker,
    extra: &[u8],
) -> Option<Vec<u8>> {
    if headers.are_usual() {
        return None;
    }
    let mut lines = extra.to_vec();
    for (name, value) in of_node(headers, worker) {
        lines.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    Some(lines)
}

/// What is the same for every answer of this process.
fn of_node(headers: InfoHeaders, worker: &Worker) -> impl Iterator<Item = (&'static str, &str)> {
    let node = &*worker.shared.node;
    let all = [
        (headers.proxy_id, "X-Proxy-Id", node),
        (headers.server_info, "X-Server-Info", SERVER_INFO),
    ];
    all.into_iter()
        .filter(|(is_wanted, ..)| *is_wanted)
        .map(|(_, name, value)| (name, value))
}
