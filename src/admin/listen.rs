//! Connections to the operator's listener, plain or by TLS, with limits: so many at once, and none that keeps its place
//! by being slow.
//!
//! Whoever comes new is always let in, so that `/live` answers whatever others do: which one goes when all places are
//! taken is said in [`places`].

mod places;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::{Access, Guard, Role};
use super::tls::Tls;
use crate::tls::client_name;
use places::{Leave, Place, Places};

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
        place: place.clone(),
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
    if session.is_certified {
        place.know();
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        let (router, place) = (router.clone(), place.clone());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(session.clone());
        request.extensions_mut().insert(place.clone());
        async move {
            // Until the last of its answer is handed over, however it ends.
            let request_of = place.ask();
            let answer = timeout(ANSWER, router.call(request.map(Body::new))).await;
            place.step();
            let Ok(answer) = match answer {
                Ok(answer) => answer,
                Err(_) => Ok(too_long()),
            };
            Ok::<_, Infallible>(answer.map(|body| request_of.until(body)))
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

/// The layer behind the guard: notes at its place that somebody is known.
pub(super) async fn note_known(
    Extension(place): Extension<Arc<Place>>,
    Extension(access): Extension<Access>,
    request: Request,
    next: Next,
) -> Response {
    if access.role > Role::Nobody {
        place.know();
    }
    next.run(request).await
}

fn too_long() -> Response {
    let why = format!("{{\"error\":\"no answer within {ANSWER:?}\"}}");
    (StatusCode::GATEWAY_TIMEOUT, why).into_response()
}

/// Ends when its client takes nothing for too long.
struct Timed {
    stream: TcpStream,
    stuck: Option<Pin<Box<Sleep>>>,
    place: Arc<Place>,
}

impl Timed {
    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stuck = None;
            self.place.took();
            return wrote;
        }
        self.place.stick();
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
