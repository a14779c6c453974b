//! Connections to the operator's listener, plain or by TLS, with limits: so many at once, and none that keeps its place
//! by being slow.
//!
//! Whoever comes new is always let in, so that `/live` answers whatever others do: when all places are taken, the
//! one goes whose last step is the longest ago, and those first that wait for no answer of ours.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::Guard;
use super::tls::Tls;
use crate::tls::client_name;

const AT_ONCE: usize = 256;

/// For the head of a request, from the end of the one before on.
const HEAD: Duration = Duration::from_secs(10);

/// From a connection to the end of its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// For who speaks plainly to have said what he wants, before he is told that TLS is spoken here.
const PLAIN: Duration = Duration::from_secs(1);

/// For a client to take some of its answer.
const STUCK: Duration = Duration::from_secs(10);

/// From the head of a request to the head of its answer. More than a change may take that is waited for.
const ANSWER: Duration = Duration::from_secs(100);

/// For all requests of one connection: passwords change, and certificates that were shown end. Who asks on begins anew;
/// a stream that goes on is cut [`ANSWER`] later.
const LIFE: Duration = Duration::from_secs(600);

/// What is read of a request before its head has to be over.
const MAX_HEAD: usize = 64 * 1024;

/// Who asks, for handlers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What the connection says of who is at its other end.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) is_tls: bool,
    /// A certificate was shown, and it is good.
    pub(super) is_certified: bool,
    /// How the certificate calls its owner, if it does.
    pub(super) user: Option<Arc<str>>,
}

/// How connections begin; `None`: plainly.
type Secure = Option<(Arc<Tls>, Arc<Guard>)>;

/// Serves until it is dropped.
pub(super) async fn serve(
    mut listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    guard: Arc<Guard>,
) {
    let secure = tls.map(|tls| (tls, guard));
    let places = Arc::new(Places::default());
    let mut tasks = JoinSet::new();
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        let place = places.take();
        let own = place.clone();
        let connection = begin(stream, Peer(peer), secure.clone(), router.clone(), place);
        let task = tasks.spawn(async move {
            connection.await;
        });
        places.seat(own, task);
    }
}

/// The handshake, if there is one, in the place of the connection: who does not end it in time is gone.
async fn begin(stream: TcpStream, peer: Peer, secure: Secure, router: Router, place: Arc<Place>) {
    let leave = Leave(place.clone());
    let stream = Timed {
        stream,
        stuck: None,
    };
    match secure {
        None => connection(stream, peer, Session::default(), router, place).await,
        Some((tls, guard)) => match timeout(HANDSHAKE, shake(stream, &tls)).await {
            Ok(Ok((stream, session))) => connection(stream, peer, session, router, place).await,
            // Who connects and leaves is no news.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Ok(Err(error)) => guard.refusals.tell_handshake(peer, &error.to_string()),
            Err(_) => guard.refusals.tell_handshake(peer, "it took too long"),
        },
    }
    drop(leave);
}

async fn shake(
    mut stream: Timed,
    tls: &Tls,
) -> io::Result<(tokio_rustls::server::TlsStream<Timed>, Session)> {
    const HANDSHAKE_RECORD: u8 = 22;
    let mut first = [0];
    if stream.stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
        tell_plain(&mut stream).await?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let session = Session {
        is_tls: true,
        is_certified: leaf.is_some(),
        user: leaf.and_then(client_name).map(Into::into),
    };
    Ok((stream, session))
}

/// RFC 2817, 4.2: who asks without TLS is told that it has to be.
async fn tell_plain(stream: &mut Timed) -> io::Result<()> {
    const WHY: &str = "{\"error\":\"this listener speaks TLS: ask by https\"}\n";
    let answer = format!(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: upgrade, close\r\n\r\n{WHY}",
        WHY.len()
    );
    // What was said has to be taken first: an end with bytes unread would lose the answer on its way.
    let mut said = [0; 4096];
    let _ = timeout(PLAIN, stream.read(&mut said)).await;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let _ = timeout(PLAIN, stream.read(&mut said)).await;
    Ok(())
}

async fn connection<S>(stream: S, peer: Peer, session: Session, router: Router, place: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        let (router, place) = (router.clone(), place.clone());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(session.clone());
        async move {
            place.step(true);
            let answer = timeout(ANSWER, router.call(request.map(Body::new))).await;
            place.step(false);
            match answer {
                Ok(answer) => answer,
                Err(_) => Ok(too_long()),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How it ends is the client's business.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(ANSWER, connection).await;
    }
}

fn too_long() -> Response {
    let why = format!("{{\"error\":\"no answer within {ANSWER:?}\"}}");
    (StatusCode::GATEWAY_TIMEOUT, why).into_response()
}

/// Each by its number, with what ends it.
type Taken = HashMap<u64, (Arc<Place>, Option<AbortHandle>)>;

/// The connections that are open.
#[derive(Default)]
struct Places {
    taken: Mutex<Taken>,
    /// Counts steps of all, so that it is known whose was before whose.
    steps: AtomicU64,
}

struct Place {
    id: u64,
    of: Arc<Places>,
    step: AtomicU64,
    /// Its request is being answered.
    is_busy: AtomicBool,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and somebody else's if there is none.
    fn take(self: &Arc<Self>) -> Arc<Place> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place {
            id: step,
            of: self.clone(),
            step: AtomicU64::new(step),
            is_busy: AtomicBool::new(false),
        });
        let mut taken = self.lock();
        while taken.len() >= AT_ONCE {
            let last = taken.values().min_by_key(|(place, _)| place.rank());
            let Some(id) = last.map(|(place, _)| place.id) else {
                break;
            };
            if let Some((_, Some(task))) = taken.remove(&id) {
                task.abort();
            }
        }
        taken.insert(place.id, (place.clone(), None));
        place
    }

    /// Notes how it is ended. It may have ended by itself.
    fn seat(&self, place: Arc<Place>, task: AbortHandle) {
        if let Some((_, own)) = self.lock().get_mut(&place.id) {
            *own = Some(task);
        }
    }
}

impl Place {
    fn step(&self, is_busy: bool) {
        let step = self.of.steps.fetch_add(1, Ordering::Relaxed);
        self.step.store(step, Ordering::Relaxed);
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// The least goes first.
    fn rank(&self) -> (bool, u64) {
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        (is_busy, self.step.load(Ordering::Relaxed))
    }
}

/// Gives the place back, however the connection ends.
struct Leave(Arc<Place>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.of.lock().remove(&self.0.id);
    }
}

/// Ends when its client takes nothing for too long.
struct Timed {
    stream: TcpStream,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stuck = None;
            return wrote;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(STUCK)));
        ready!(stuck.as_mut().poll(cx));
        stuck.as_mut().reset(Instant::now() + STUCK);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
