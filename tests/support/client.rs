//! A client that sends exactly the bytes it is given.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::LIMIT;
use super::message::{Head, Reader, Response};

/// One connection. Reads give up after [`LIMIT`] with a panic that shows what came until then.
pub struct Client {
    stream: TcpStream,
    reader: Reader<TcpStream>,
}

impl Client {
    /// Connects; panics when nothing listens.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|e| panic!("connect to {addr}: {e}"))
    }

    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&addr, LIMIT)?)
    }

    /// A client on a stream made elsewhere, such as one with a source address of its own.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let reader = Reader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).expect("send");
        self
    }

    /// Sends; the peer may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that no more will be sent.
    pub fn half_close(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
        self
    }

    /// `GET` without a body on this connection, kept alive.
    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.response()
    }

    /// The whole answer to a GET or POST.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Response {
        match self.reader.response(method) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the connection was closed instead of an answer"),
            Err(e) => panic!("no whole answer: {e}; all that came: {:?}", self.all_text()),
        }
    }

    /// An answer's head only; its body is read as the test likes.
    pub fn head(&mut self) -> Head {
        match self.reader.head() {
            Ok(Some(head)) => head,
            Ok(None) => panic!("the connection was closed instead of a head"),
            Err(e) => panic!("no whole head: {e}; all that came: {:?}", self.all_text()),
        }
    }

    pub fn chunk(&mut self) -> Vec<u8> {
        self.reader
            .chunk()
            .unwrap_or_else(|e| panic!("no whole chunk: {e}"))
    }

    pub fn line(&mut self) -> String {
        self.reader
            .line()
            .unwrap_or_else(|e| panic!("no whole line: {e}"))
    }

    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.reader
            .exactly(count)
            .unwrap_or_else(|e| panic!("not {count} bytes: {e}"))
    }

    /// Everything up to the end of the connection; a reset is an error.
    pub fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        self.reader.rest()
    }

    pub fn rest(&mut self) -> Vec<u8> {
        self.try_rest()
            .unwrap_or_else(|e| panic!("no clean end: {e}; all that came: {:?}", self.all_text()))
    }

    /// Asserts that the peer closes, by end or reset, without another byte.
    pub fn assert_closed(&mut self) {
        match self.reader.rest() {
            Ok(rest) => assert!(
                rest.is_empty(),
                "bytes before the end: {:?}",
                String::from_utf8_lossy(&rest)
            ),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("was not closed: {e}"),
        }
    }

    /// How long it takes until the peer closes, whatever it sends before.
    pub fn time_to_close(&mut self) -> Duration {
        let start = Instant::now();
        match self.reader.rest() {
            Ok(_) => start.elapsed(),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => start.elapsed(),
            Err(e) => panic!("was not closed: {e}"),
        }
    }

    /// Whether nothing comes for `time`, neither a byte nor an end.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("timeout");
        let silent = match self.reader.some() {
            Err(e) => matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
            Ok(_) => false,
        };
        self.stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        silent
    }

    /// Everything up to the end, be it clean or a reset.
    pub fn all_to_the_end(&mut self) -> Vec<u8> {
        let _ = self.reader.rest();
        self.reader.raw.clone()
    }

    /// Everything that ever came, as text; of much, its end.
    pub fn all_text(&self) -> String {
        let raw = &self.reader.raw;
        let from = raw.len().saturating_sub(8000);
        String::from_utf8_lossy(&raw[from..]).into_owned()
    }
}

/// One `GET` on a connection of its own.
pub fn get(addr: SocketAddr, host: &str, target: &str) -> Response {
    exchange(
        addr,
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends `bytes` on a connection of its own and reads one answer.
pub fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(addr);
    client.send(bytes);
    client.response()
}
