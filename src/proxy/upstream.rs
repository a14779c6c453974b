//! Connections to upstreams: made, kept for reuse, checked before reuse.
//!
//! A pool belongs to one worker and is keyed by the address: services that share an upstream's
//! address share its connections, and no swap empties a pool.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::balance::Member;
use crate::proxy::stream::Stream;
use crate::proxy::timer::{Deadline, Wheel};

/// An unused connection is closed after this long: sooner than common origins close it (5 s in
/// Apache and Node.js), so that a request rarely meets a closing connection.
const IDLE_FOR: Duration = Duration::from_secs(4);

/// Unused connections kept per address and worker.
const MAX_IDLE: usize = 256;

/// Before upstreams that failed are tried once more because there are no others.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Pools {
    wheel: Rc<Wheel>,
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>, foldhash::fast::RandomState>>,
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
    pub(crate) fn take(&self, upstream: SocketAddr, may_repeat: bool) -> Option<Stream> {
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
    pub(crate) fn put(&self, upstream: SocketAddr, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.entry(upstream).or_default();
        if pool.len() < MAX_IDLE {
            pool.push(Idle::new(stream, &self.wheel));
        }
    }

    /// Closes what has been unused for too long or was closed by the other side.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, pool| {
            pool.retain(|idle| !idle.is_over(&self.wheel));
            !pool.is_empty()
        });
    }
}

/// Connects, for no longer than `timeout`.
pub(crate) async fn connect(
    address: SocketAddr,
    timeout: Duration,
    deadline: &Deadline,
) -> io::Result<Stream> {
    let stream = deadline
        .limit(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// Connects to a member and counts a failure as its own.
pub(crate) async fn connect_member(
    member: &Member,
    timeout: Duration,
    deadline: &Deadline,
) -> io::Result<Stream> {
    let result = connect(member.address, timeout, deadline).await;
    if result.is_err() {
        member.state.record_connect_failure();
    }
    result
}
