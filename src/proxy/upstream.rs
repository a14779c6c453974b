//! Connections to upstreams: made, kept for reuse, checked before reuse.
//!
//! A pool belongs to one worker and is keyed by the address and how connections to it are secured:
//! services that share a plain upstream's address share its connections, and no swap empties a pool.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::balance::Member;
use crate::plan::{Secured, Service};
use crate::proxy::stream::Stream;
use crate::proxy::timer::{Deadline, Expired, Wheel};
use crate::proxy::tls;
use crate::proxy::worker::Worker;

/// An unused connection is closed after this long: sooner than common origins close it (5 s in
/// Apache and Node.js), so that a request rarely meets a closing connection.
const IDLE_FOR: Duration = Duration::from_secs(4);

/// Unused connections kept per address and worker.
const MAX_IDLE: usize = 256;

/// Before upstreams that failed are tried once more because there are no others.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Pools {
    wheel: Rc<Wheel>,
    idle: RefCell<HashMap<Destination, Vec<Idle>, foldhash::fast::RandomState>>,
}

/// What connections can be used for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    address: SocketAddr,
    /// [`Secured::id`]: whoever was verified by other rules, or not at all, is somebody else.
    secured: Option<NonZeroU64>,
}

impl Destination {
    pub(crate) fn of(service: &Service, index: usize) -> Self {
        Self {
            address: service.members[index].address,
            secured: service.secured(index).map(|secured| secured.id),
        }
    }
}

/// An unused connection, and since when.
pub(crate) struct Idle {
    stream: Stream,
    since_ms: u64,
}

impl Idle {
    pub(crate) fn new(stream: Stream, wheel: &Wheel) -> Self {
        let since_ms = wheel.now_ms();
        Self { stream, since_ms }
    }

    /// Whether it has been unused for too long or was closed by the other side.
    pub(crate) fn is_over(&self, wheel: &Wheel) -> bool {
        wheel.now_ms().saturating_sub(self.since_ms) >= IDLE_FOR.as_millis() as u64
            || !self.stream.is_silent()
    }

    /// The connection, if it is still silent. One that closes while it is being used costs another
    /// try; for a request that `may_repeat` that is cheaper than a system call to find out, for any
    /// other it must not happen if it can be helped.
    pub(crate) fn take(self, may_repeat: bool) -> Option<Stream> {
        let is_silent = self.stream.is_silent() && (may_repeat || self.stream.is_silent_now());
        is_silent.then_some(self.stream)
    }
}

impl Pools {
    pub(crate) fn new(wheel: Rc<Wheel>) -> Self {
        Self {
            wheel,
            idle: RefCell::default(),
        }
    }

    /// The connection that was used last of those that are still silent.
    pub(crate) fn take(&self, upstream: Destination, may_repeat: bool) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.get_mut(&upstream)?;
        while let Some(candidate) = pool.pop() {
            if let Some(stream) = candidate.take(may_repeat) {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) fn put(&self, upstream: Destination, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.entry(upstream).or_default();
        if pool.len() < MAX_IDLE {
            pool.push(Idle::new(stream, &self.wheel));
        } else {
            stream.end_now();
        }
    }

    /// Closes what has been unused for too long or was closed by the other side.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, pool| {
            pool.retain(|idle| {
                let stays = !idle.is_over(&self.wheel);
                if !stays {
                    idle.stream.end_now();
                }
                stays
            });
            !pool.is_empty()
        });
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotConnected {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// In words for who runs the upstream.
    #[error("{0}")]
    Handshake(String),
    /// It was taken out of the plan meanwhile, which is no fault of its own.
    #[error("it left")]
    Left,
}

/// One member of a service, to be connected.
#[derive(Clone, Copy)]
pub(crate) struct Whom<'a> {
    pub(crate) service: &'a Service,
    pub(crate) index: usize,
    /// What is said before everything else, TLS too.
    pub(crate) header: Option<&'a [u8]>,
}

/// Connects, with all that belongs to it, for no longer than `timeout`, and no longer than the member is in the
/// plan: at the address of what is gone nobody may answer, not even with a refusal. A failure counts as the
/// member's own, and is told.
pub(crate) async fn connect(
    worker: &Worker,
    whom: Whom<'_>,
    timeout: Duration,
) -> Result<Stream, NotConnected> {
    let Whom {
        service,
        index,
        header,
    } = whom;
    let member = &service.members[index];
    // Its own: a cut of the client's would end more than this.
    let deadline = &worker.wheel.deadline();
    let _noted = worker
        .connects
        .note(member.state.clone(), deadline.cutter());
    let result = match service.secured(index) {
        None => connect_plain(member.address, header, timeout, deadline).await,
        // Boxed: requests to plain upstreams would pay for what a handshake remembers.
        Some(secured) => {
            Box::pin(connect_secured(
                worker,
                (member.address, secured),
                header,
                timeout,
                deadline,
            ))
            .await
        }
    };
    if result.is_err() && deadline.is_cut() {
        return Err(NotConnected::Left);
    }
    if let Err(error) = &result {
        member.state.record_connect_failure();
        worker.note_not_connected(service, member, error);
    }
    result
}

async fn connect_plain(
    address: SocketAddr,
    header: Option<&[u8]>,
    timeout: Duration,
    deadline: &Deadline,
) -> Result<Stream, NotConnected> {
    let stream = deadline
        .limit(timeout, TcpStream::connect(address))
        .await
        .map_err(|Expired| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let stream = Stream::from(stream);
    if let Some(header) = header {
        // It is shorter than what a new socket takes at once.
        deadline
            .limit(timeout, stream.write_all(header))
            .await
            .map_err(|Expired| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    Ok(stream)
}

async fn connect_secured(
    worker: &Worker,
    (address, secured): (SocketAddr, &Secured),
    header: Option<&[u8]>,
    timeout: Duration,
    deadline: &Deadline,
) -> Result<Stream, NotConnected> {
    let is_there = Cell::new(false);
    let connecting = async {
        let stream = Stream::from(TcpStream::connect(address).await?);
        is_there.set(true);
        let header = header.unwrap_or_default();
        stream.write_all(header).await?;
        let socket = stream.into_socket();
        socket.set_nodelay(true)?;
        tls::connect(socket, secured, &worker.buffers)
            .await
            .map_err(NotConnected::Handshake)
    };
    match deadline.limit(timeout, connecting).await {
        Ok(result) => result,
        Err(Expired) if is_there.get() => Err(NotConnected::Handshake(format!(
            "it did not end in {timeout:?}"
        ))),
        Err(Expired) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

impl Worker {
    fn note_not_connected(&self, service: &Service, member: &Member, error: &NotConnected) {
        let (name, upstream, address) = (&service.config.name, &member.name, &member.address);
        match error {
            NotConnected::Io(error) => tracing::debug!(
                service = %name, %upstream, %address, %error, "connect failed"
            ),
            NotConnected::Handshake(reason) => {
                self.note_no_handshake(service, member, reason);
            }
            NotConnected::Left => {}
        }
    }

    /// What a handshake with an upstream came to. Also for one that was ended by the upstream once it was
    /// done here: in TLS 1.3 it judges client certificates so late.
    pub(crate) fn note_no_handshake(&self, service: &Service, member: &Member, reason: &str) {
        let (name, upstream, address) = (&service.config.name, &member.name, &member.address);
        if self.may_log() {
            tracing::warn!(
                service = %name, %upstream, %address, reason, "handshake with upstream failed"
            );
        }
    }
}
