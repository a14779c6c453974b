//! An upstream whose every byte the test decides.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::LIMIT;
use super::message::{Body, Head, Reader};

/// A listening origin. Each connection that sends or gets a byte runs the script in a thread of its
/// own; connections that say nothing, such as health checks by TCP connect, are not counted.
pub struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Request>>,
    raw: Mutex<Vec<Vec<u8>>>,
    news: Condvar,
    next: AtomicUsize,
    is_over: AtomicBool,
}

/// A request as it reached the origin.
#[derive(Clone, Debug)]
pub struct Request {
    /// Counted from 0: requests of one number shared a connection.
    pub connection: usize,
    pub head: Head,
    pub body: Body,
}

impl Origin {
    /// Answers every request with `bytes` and keeps the connection.
    pub fn answering(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::scripted(move |conn| {
            while conn.request().is_some() {
                conn.send(&bytes);
            }
        })
    }

    /// Answers every request with `bytes` and closes.
    pub fn answering_once(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::scripted(move |conn| {
            if conn.request().is_some() {
                conn.send_last(&bytes);
            }
        })
    }

    /// Answers 200 with `text`.
    pub fn saying(text: &str) -> Self {
        Self::answering(ok(text))
    }

    /// The same at an address of its own.
    pub fn saying_at(at: SocketAddr, text: &str) -> Self {
        let bytes = ok(text);
        Self::at(at, move |conn| {
            while conn.request().is_some() {
                conn.send(&bytes);
            }
        })
    }

    /// Runs `script` for each connection; it is closed when the script returns.
    pub fn scripted(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// The same at an address of its own.
    pub fn at(at: SocketAddr, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).expect("bind");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let of_thread = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (shared, script) = (of_thread.clone(), script.clone());
                thread::spawn(move || {
                    if let Some(mut conn) = Conn::new(stream, shared) {
                        script(&mut conn);
                    }
                });
            }
        });
        Self { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests so far, in the order in which their ends arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.shared
            .seen
            .lock()
            .expect("no test thread panicked with it")
            .clone()
    }

    /// Waits for `count` requests.
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let start = Instant::now();
        let mut seen = self
            .shared
            .seen
            .lock()
            .expect("no test thread panicked with it");
        while seen.len() < count {
            let left = LIMIT.saturating_sub(start.elapsed());
            assert!(
                !left.is_zero(),
                "only {} of {count} requests reached the origin",
                seen.len()
            );
            (seen, _) = self
                .shared
                .news
                .wait_timeout(seen, left)
                .expect("no test thread panicked with it");
        }
        seen.clone()
    }

    /// The only request so far.
    pub fn only_request(&self) -> Request {
        let mut all = self.wait_for(1);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Every byte that came, by connection; connections that brought none are left out.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        let raw = self
            .shared
            .raw
            .lock()
            .expect("no test thread panicked with it");
        raw.iter().filter(|r| !r.is_empty()).cloned().collect()
    }

    /// Asserts that not one byte reached this origin.
    pub fn assert_saw_nothing(&self) {
        let raw = self.raw();
        let texts: Vec<_> = raw.iter().map(|r| String::from_utf8_lossy(r)).collect();
        assert!(texts.is_empty(), "the origin was sent {texts:?}");
    }

    /// How many connections brought bytes.
    pub fn connections(&self) -> usize {
        self.raw().len()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the accept loop, so that the port is given back.
        let _ = TcpStream::connect_timeout(&self.addr, LIMIT);
    }
}

/// One connection inside a script.
pub struct Conn {
    /// Counted from 0 over those that sent something.
    pub number: usize,
    stream: TcpStream,
    reader: Reader<TcpStream>,
    shared: Arc<Shared>,
}

impl Conn {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        stream.set_write_timeout(Some(LIMIT)).ok()?;
        let reader = Reader::new(stream.try_clone().ok()?);
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let mut raw = shared.raw.lock().expect("no test thread panicked with it");
        if raw.len() <= number {
            raw.resize(number + 1, Vec::new());
        }
        drop(raw);
        Some(Self {
            number,
            stream,
            reader,
            shared,
        })
    }

    /// The next whole request; `None` when the peer is done or cut it short.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let body = self.reader.request_body(&head);
        self.record();
        let request = Request {
            connection: self.number,
            head,
            body: body.ok()?,
        };
        self.shared
            .seen
            .lock()
            .expect("no test thread panicked with it")
            .push(request.clone());
        self.shared.news.notify_all();
        Some(request)
    }

    /// The next head, its body left unread.
    pub fn head(&mut self) -> Option<Head> {
        let head = self.reader.head();
        self.record();
        head.ok().flatten()
    }

    /// What is there, at least a byte; empty at the end or on an error.
    pub fn some(&mut self) -> Vec<u8> {
        let bytes = self.reader.some().unwrap_or_default();
        self.record();
        bytes
    }

    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let bytes = self.reader.exactly(count);
        self.record();
        bytes.ok()
    }

    /// Reads until the peer is done.
    pub fn rest(&mut self) -> Vec<u8> {
        let bytes = self.reader.rest().unwrap_or_default();
        self.record();
        bytes
    }

    /// Sends; a peer that is gone is no matter here, the test sees it on the other side.
    /// Sends the bytes and the end of the connection in one segment: nobody can see the one without
    /// the other.
    pub fn send_last(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = socket2::SockRef::from(&self.stream).set_tcp_cork(true);
        self.send(bytes);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// Sends, and tells whether the peer is still there.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close at the end a reset.
    pub fn reset(self: &mut Conn) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    fn record(&mut self) {
        let mut raw = self
            .shared
            .raw
            .lock()
            .expect("no test thread panicked with it");
        raw[self.number].clone_from(&self.reader.raw);
    }
}

/// `200` with a length and `text`.
pub fn ok(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// A gate that a script waits at until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().expect("no test thread panicked with it") = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open, or for [`LIMIT`].
    pub fn pass(&self) {
        let open = self.0.0.lock().expect("no test thread panicked with it");
        let _ = self.0.1.wait_timeout_while(open, LIMIT, |open| !*open);
    }
}
