//! HTTP/1.1 connections: one request after the other, each pinned to one generation.
//!
//! This file has the life of a client connection: waiting without a buffer, reading a head, leading
//! the request to a service, and what happens to the connection afterwards. [`exchange`] takes one
//! request to an upstream and its answer back; [`relay`] moves bodies.

mod auth;
mod exchange;
mod fault;
mod figures;
mod front;
mod id;
mod identify;
mod info;
mod judge;
mod policy;
mod relay;
mod request;
mod sticky;

pub(crate) use auth::{CREDENTIALS, credentials};

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use crate::balance::client_hash;
use crate::config::{Balancer, ErrorPages};
use crate::proxy::auth::Recent;
use crate::proxy::buffers::Input;
use crate::proxy::http::identify::Identified;
use crate::proxy::http1::{FieldId, Forwarded, RequestHead, ResponseHead};
use crate::proxy::listen::Ends;
use crate::proxy::send_proxy::Own;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Deadline;
use crate::proxy::trace::Trace;
use crate::proxy::worker::Counted;

/// How long and how much is still read from a client that was answered before it had sent all:
/// closing at once would reset the connection and lose the answer on its way. Most clients look for
/// an answer only when they have sent their whole body, so the time is the bound that counts.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// What a worker keeps for its requests to use again.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "a request moves its heads about: pointers are cheaper"
)]
pub(crate) struct Scratch {
    requests: RefCell<Vec<Box<RequestHead>>>,
    responses: RefCell<Vec<Box<ResponseHead>>>,
    /// Passwords that were right lately.
    right: RefCell<Recent>,
}

/// One client connection.
struct Client {
    worker: Counted,
    stream: Stream,
    ends: Ends,
    /// For whatever the connection's task waits for.
    deadline: Deadline,
    /// Of the peer's address, for `source`.
    hash: u64,
    /// What upstreams are told about the peer, and the balancer that decided on trust.
    forwarded: Option<(Arc<Balancer>, Forwarded)>,
    /// Pages that the service of the present request has for our own answers.
    error_pages: Option<Arc<ErrorPages>>,
    /// Of services whose upstreams are told who the client is.
    own: Own,
    /// What the client's certificate was found to be.
    identified: Vec<Identified>,
    /// Of the request under way.
    trace: Trace,
}

/// What becomes of the connection after a request.
enum Next {
    /// Another request may come, or is in the input already.
    Keep,
    /// Everything was said.
    Close,
    /// Close, but not as if everything had been said: by TLS the client can tell.
    Cut,
    /// Close, but let the client read our answer first: it has not sent everything yet.
    Linger,
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Counted, stream: Stream, ends: Ends) {
    let deadline = worker.wheel.deadline();
    let mut input = worker.buffers.input();
    let hash = client_hash(ends.peer.ip());
    let mut client = Client {
        worker,
        stream,
        ends,
        deadline,
        hash,
        forwarded: None,
        error_pages: None,
        own: Own::default(),
        identified: Vec::new(),
        trace: Trace::default(),
    };
    let mut is_first = true;
    loop {
        if input.filled() == b"\r\n" {
            // Some clients send it behind a body. Nobody has begun to ask for anything by that.
            input.consume(2);
        }
        if input.is_empty() {
            input.park();
            if !client.wait_for_request(is_first).await {
                return client.end().await;
            }
        }
        is_first = false;
        // Boxed: what a request needs to remember is paid for while there is one.
        match Box::pin(client.serve_request(&mut input)).await {
            Next::Keep => {}
            // Bytes that nobody will read would make the close a reset.
            Next::Close if input.is_empty() && client.stream.is_silent() => {
                return client.end().await;
            }
            Next::Cut if input.is_empty() && client.stream.is_silent() => return,
            Next::Close | Next::Linger => {
                let told = poll_fn(|cx| client.stream.poll_shutdown_write(cx));
                let _ = client.deadline.limit(LINGER, told).await;
                return client.linger(input).await;
            }
            Next::Cut => {
                client.stream.cut_write();
                return client.linger(input).await;
            }
        }
    }
}

impl Client {
    /// Waits for the first byte of a request without holding a buffer. Answers whether to go on.
    ///
    /// A connection that never says anything is closed without an answer: browsers open spare ones,
    /// and would show a 408 for the request they make later.
    async fn wait_for_request(&self, is_first: bool) -> bool {
        let timeouts = &self.worker.view.pin().plan.balancer().timeouts.clone();
        self.deadline.arm(if is_first {
            timeouts.head
        } else {
            timeouts.idle
        });
        poll_fn(|cx| {
            if let Poll::Ready(ready) = self.stream.poll_read_ready(cx) {
                return Poll::Ready(ready.is_ok());
            }
            if self.worker.is_parting() {
                return Poll::Ready(false);
            }
            self.deadline.poll_expired(cx).map(|()| false)
        })
        .await
    }

    /// What upstreams are told about this client.
    fn forwarded(&mut self, balancer: &Arc<Balancer>) -> &Forwarded {
        let is_stale = |(of, _): &(Arc<Balancer>, Forwarded)| !Arc::ptr_eq(of, balancer);
        if self.forwarded.as_ref().is_none_or(is_stale) {
            let ip = self.ends.peer.ip().to_canonical();
            let port = self.ends.asked().port();
            let proto = match self.stream.is_tls() {
                true => "https",
                false => "http",
            };
            let is_trusted = balancer.trusts(ip);
            let forwarded = Forwarded::new(&ip.to_string(), proto, port, is_trusted);
            self.forwarded = Some((balancer.clone(), forwarded));
        }
        &self.forwarded.as_ref().expect("set just above").1
    }

    /// Whether the client came by TLS: as a trusted peer says, else here.
    fn is_tls(&self, head: &RequestHead, bytes: &[u8]) -> bool {
        let is_trusted = self
            .forwarded
            .as_ref()
            .is_some_and(|(_, forwarded)| forwarded.is_trusted());
        // Of several lines the last is the trusted peer's; those before may be anybody's.
        let said = head.fields.values(FieldId::XForwardedProto, bytes);
        match said.last() {
            Some(said) if is_trusted => said.eq_ignore_ascii_case(b"https"),
            _ => self.stream.is_tls(),
        }
    }

    /// Says so where it can be said, before the connection is closed.
    async fn end(&self) {
        if self.stream.is_tls() {
            let told = poll_fn(|cx| self.stream.poll_end(cx));
            let _ = self.deadline.limit(LINGER, told).await;
        }
    }

    async fn linger(self, mut input: Input) {
        let drain = async {
            let mut left = LINGER_BYTES;
            loop {
                input.consume(input.filled().len());
                match self.stream.read(input.room()).await {
                    Ok(n) if n > 0 && n < left => left -= n,
                    _ => return,
                }
            }
        };
        // Whether it ended or time ran out, the connection is closed now.
        let _ = self.deadline.limit(LINGER, drain).await;
    }
}

impl Scratch {
    fn request_head(&self) -> Box<RequestHead> {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    fn response_head(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    fn keep_request_head(&self, mut head: Box<RequestHead>) {
        head.clear();
        keep(&self.requests, head);
    }

    fn keep_response_head(&self, mut head: Box<ResponseHead>) {
        head.clear();
        keep(&self.responses, head);
    }
}

/// In seconds since 1970.
fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn keep<T>(pool: &RefCell<Vec<T>>, item: T) {
    let mut pool = pool.borrow_mut();
    if pool.len() < 256 {
        pool.push(item);
    }
}
