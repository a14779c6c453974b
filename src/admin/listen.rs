//! Connections to the operator's listener, with limits: so many at once, and none that keeps its place by being slow.
//!
//! Whoever comes new is always let in, so that `/live` answers whatever others do: when all places are taken, the
//! one goes whose last step is the longest ago, and those first that wait for no answer of ours.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};

const AT_ONCE: usize = 256;

/// For the head of a request, from the end of the one before on.
const HEAD: Duration = Duration::from_secs(10);

/// For a client to take some of its answer.
const STUCK: Duration = Duration::from_secs(10);

/// From the head of a request to the head of its answer. More than a change may take that is waited for.
const ANSWER: Duration = Duration::from_secs(100);

/// What is read of a request before its head has to be over.
const MAX_HEAD: usize = 64 * 1024;

/// Who asks, for handlers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves until it is dropped.
pub(super) async fn serve(mut listener: TcpListener, router: Router) {
    let places = Arc::new(Places::default());
    let mut tasks = JoinSet::new();
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        let place = places.take();
        let own = place.clone();
        let connection = connection(stream, Peer(peer), router.clone(), place);
        let task = tasks.spawn(async move {
            connection.await;
        });
        places.seat(own, task);
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, place: Arc<Place>) {
    let leave = Leave(place.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
        let (router, place) = (router.clone(), place.clone());
        request.extensions_mut().insert(peer);
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
    let timed = TokioIo::new(Timed {
        stream,
        stuck: None,
    });
    // How it ends is the client's business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(timed, service)
        .await;
    drop(leave);
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
