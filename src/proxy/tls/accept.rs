//! Handshakes with clients: bounded in time, in size and in number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::net::TcpStream;

use super::session::{Connection, HandshakeError, Session};
use crate::proxy::http;
use crate::proxy::listen::Ends;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Cutter;
use crate::proxy::worker::{Counted, Worker};

/// Serves a connection that begins with a handshake.
pub(crate) async fn serve(worker: Counted, socket: TcpStream, ends: Ends) {
    match Box::pin(accept(&worker, socket)).await {
        Ok(stream) => http::serve(worker, stream, ends).await,
        Err(failure) => worker.note_failure(ends, &failure),
    }
}

async fn accept(worker: &Counted, socket: TcpStream) -> Result<Stream, Failure> {
    let pinned = worker.view.pin();
    let balancer = pinned.plan.balancer();
    let deadline = worker.wheel.deadline();
    let most = balancer.max_handshakes as usize;
    let _under_way = Handshakes::begin(worker, deadline.cutter(), most);
    let patience = balancer.timeouts.handshake;
    let connection = pinned.tls.connection().map_err(HandshakeError::Tls)?;
    drop(pinned);
    let mut session = Session::new(Connection::Server(connection), &worker.buffers);
    let shaking = poll_fn(|cx| session.poll_handshake(&socket, cx));
    match deadline.limit(patience, shaking).await {
        Ok(result) => result?,
        Err(_) if deadline.is_cut() => return Err(Failure::GaveWay),
        Err(_) => return Err(Failure::TooLate),
    }
    Ok(Stream::secured(socket, session))
}

/// Why a connection has no session.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("it did not end in time")]
    TooLate,
    #[error("there were too many, and it was the oldest")]
    GaveWay,
}

impl Worker {
    fn note_failure(&self, ends: Ends, failure: &Failure) {
        self.shared.failed_handshakes.fetch_add(1, Relaxed);
        let Ends { peer, listener } = ends;
        // Probes connect and leave, and browsers open connections that they never use.
        let has_left = matches!(
            failure,
            Failure::Handshake(HandshakeError::Io(error))
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
        );
        if has_left {
            tracing::debug!(%peer, %listener, reason = %failure, "handshake failed");
        } else if self.may_log() {
            tracing::info!(%peer, %listener, reason = %failure, "handshake failed");
        }
    }
}

/// Those under way on one worker, in the order of their beginning.
#[derive(Default)]
pub(crate) struct Handshakes {
    cutters: RefCell<BTreeMap<u64, Cutter>>,
    next: Cell<u64>,
}

/// One of them. Dropping it ends it.
struct UnderWay {
    worker: Rc<Worker>,
    id: u64,
}

impl Handshakes {
    /// Beyond `most` the oldest gives way: in a flood of hellos that lead nowhere it is the likeliest
    /// to be one of them.
    fn begin(worker: &Rc<Worker>, cutter: Cutter, most: usize) -> UnderWay {
        let all = &worker.handshakes;
        let id = all.next.get();
        all.next.set(id + 1);
        let mut cutters = all.cutters.borrow_mut();
        if cutters.len() >= most
            && let Some((_, oldest)) = cutters.pop_first()
        {
            oldest.cut();
        }
        cutters.insert(id, cutter);
        let worker = worker.clone();
        UnderWay { worker, id }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.worker.handshakes.cutters.borrow_mut().remove(&self.id);
    }
}
