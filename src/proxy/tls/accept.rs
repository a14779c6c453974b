//! Handshakes with clients: bounded in time, in size and in number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::net::TcpStream;

use super::session::{HandshakeError, Session};
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::io::poll_read;
use crate::proxy::known::Known;
use crate::proxy::listen::Ends;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Cutter;
use crate::proxy::worker::{Counted, Worker};
use crate::proxy::{http, tcp};
use crate::tls::hello::{Hello, NoHello, Reader};

/// Serves a connection that begins with a handshake.
pub(crate) async fn serve(worker: Counted, socket: TcpStream, ends: Ends) {
    match Box::pin(accept(&worker, socket, ends)).await {
        Ok(Accepted::Session(stream)) => http::serve(worker, stream, ends).await,
        Ok(Accepted::Passed(passed)) => {
            let Passed {
                socket,
                service,
                server_name,
                early,
            } = *passed;
            let server_name = server_name.as_deref().unwrap_or_default();
            let known = Known { ends, server_name };
            // Boxed: connections with a session of ours would pay for what a tunnel remembers.
            Box::pin(tcp::forward(
                worker,
                socket.into(),
                ends,
                service,
                known,
                Some(early),
            ))
            .await;
        }
        Err(failure) => worker.note_failure(ends, &failure),
    }
}

enum Accepted {
    Session(Stream),
    Passed(Box<Passed>),
}

/// A connection that goes to a service as it comes.
struct Passed {
    socket: TcpStream,
    service: Arc<Service>,
    server_name: Option<Box<str>>,
    /// What was read of it.
    early: Input,
}

async fn accept(worker: &Counted, socket: TcpStream, ends: Ends) -> Result<Accepted, Failure> {
    let deadline = worker.wheel.deadline();
    let (most, patience) = {
        let pinned = worker.view.pin();
        let balancer = pinned.plan.balancer();
        (
            balancer.max_handshakes as usize,
            balancer.timeouts.handshake,
        )
    };
    let _under_way = Handshakes::begin(worker, deadline.cutter(), most);
    match deadline.limit(patience, shake(worker, socket, ends)).await {
        Ok(result) => Ok(result?),
        Err(_) if deadline.is_cut() => Err(Failure::GaveWay),
        Err(_) => Err(Failure::TooLate),
    }
}

async fn shake(
    worker: &Counted,
    socket: TcpStream,
    ends: Ends,
) -> Result<Accepted, HandshakeError> {
    let mut early = worker.buffers.input();
    let hello = read_hello(&socket, &mut early).await?;
    let pinned = worker.view.pin();
    let server_name = hello
        .as_ref()
        .and_then(|hello| hello.server_name.as_deref());
    let known = Known {
        ends,
        server_name: server_name.unwrap_or_default(),
    };
    if hello.is_some()
        && let Some(service) = pinned.plan.passthrough(server_name, &known)
    {
        return Ok(Accepted::Passed(Box::new(Passed {
            service: service.clone(),
            socket,
            server_name: hello.and_then(|hello| hello.server_name),
            early,
        })));
    }
    let named = hello
        .as_ref()
        .and_then(|hello| hello.server_name.as_deref());
    let hints = pinned.plan.client_hints(named);
    let asks_client = hints.is_some();
    let connection = pinned
        .tls
        .connection(hello.as_ref(), hints, &worker.buffers)?;
    drop(pinned);
    let mut session = Session::new(connection, early, &worker.buffers)
        .asked_for(hello.and_then(|hello| hello.server_name), asks_client);
    poll_fn(|cx| session.poll_handshake(&socket, cx)).await?;
    Ok(Accepted::Session(Stream::secured(socket, session)))
}

/// `None`: it cannot be read here. The session reads it again, and says best what is wrong with it.
async fn read_hello(socket: &TcpStream, early: &mut Input) -> io::Result<Option<Hello>> {
    let mut reader = Reader::default();
    loop {
        if early.is_empty() {
            // No buffer is held for who says nothing.
            poll_fn(|cx| socket.poll_read_ready(cx)).await?;
        }
        let n = poll_fn(|cx| poll_read(socket, cx, early.room())).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        early.add(n);
        match reader.read(early.filled()) {
            Ok(None) => {}
            Ok(hello) => return Ok(hello),
            Err(NoHello(_)) => return Ok(None),
        }
    }
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
        let Ends { peer, listener, .. } = ends;
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
