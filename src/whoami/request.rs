//! Reading requests, strictly.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head may be this large; a balancer in front refuses far smaller ones.
const LARGEST_HEAD: usize = 256 * 1024;
const MOST_HEADERS: usize = 2048;
/// A chunk-size or trailer line may be this long.
const LONGEST_LINE: usize = 8 * 1024;
/// A peer that sends nothing for this long is cut off. Long, because idle tunnels are shown with it.
const SILENCE: Duration = Duration::from_secs(3600);
/// A peer that reads nothing for this long is cut off.
const STALLED: Duration = Duration::from_secs(300);

/// A request's head, owned: this upstream does not have to be fast.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// 0 or 1 of HTTP/1.x.
    pub(super) minor: u8,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) framing: Framing,
}

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next().map(|v| v.trim())
    }

    fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .filter_map(|(_, v)| std::str::from_utf8(v).ok())
    }

    /// Whether a comma list such as `Connection` names `token`.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|v| v.split(','))
            .any(|t| t.trim().eq_ignore_ascii_case(token))
    }

    pub(super) fn keeps_alive(&self) -> bool {
        !self.lists("connection", "close")
            && (self.minor == 1 || self.lists("connection", "keep-alive"))
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, q)| q)
    }
}

/// A connection with what was read ahead on it.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) ahead: BytesMut,
}

/// What came of waiting for a request.
pub(super) enum Next {
    Request(Request),
    /// The peer is done, or cut a head short.
    End,
    /// Answer 400 with this reason and close.
    Bad(String),
}

impl Conn {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: BytesMut::with_capacity(8 * 1024),
        }
    }

    pub(super) async fn next_request(&mut self) -> io::Result<Next> {
        loop {
            match parse_head(&self.ahead) {
                Ok(Some((request, length))) => {
                    self.ahead.advance(length);
                    return Ok(Next::Request(request));
                }
                Ok(None) if self.ahead.len() > LARGEST_HEAD => {
                    return Ok(Next::Bad(format!("head is over {LARGEST_HEAD} bytes")));
                }
                Ok(None) => {}
                Err(reason) => return Ok(Next::Bad(reason)),
            }
            if self.fill().await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// The next piece of a body framed by `state`; `None` at its end. Trailers end up in
    /// `state.trailers`.
    pub(super) async fn next_piece(&mut self, state: &mut BodyState) -> io::Result<Option<Bytes>> {
        loop {
            match &mut state.left {
                Left::Nothing => return Ok(None),
                Left::Bytes {
                    count: 0,
                    chunked: false,
                } => state.left = Left::Nothing,
                Left::Bytes {
                    count: 0,
                    chunked: true,
                } => {
                    if !self.line().await?.is_empty() {
                        return Err(malformed("no line end after a chunk"));
                    }
                    state.left = Left::Size;
                }
                Left::Bytes { count, .. } => {
                    if self.ahead.is_empty() && self.fill().await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let take = self
                        .ahead
                        .len()
                        .min(usize::try_from(*count).unwrap_or(usize::MAX));
                    *count -= take as u64;
                    return Ok(Some(self.ahead.split_to(take).freeze()));
                }
                Left::Size => {
                    let line = self.line().await?;
                    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
                    let size = chunk_size(digits).ok_or_else(|| malformed("bad chunk size"))?;
                    state.left = if size == 0 {
                        Left::Trailers
                    } else {
                        Left::Bytes {
                            count: size,
                            chunked: true,
                        }
                    };
                }
                Left::Trailers => {
                    let line = self.line().await?;
                    if line.is_empty() {
                        state.left = Left::Nothing;
                    } else if state.trailers.len() >= MOST_HEADERS {
                        return Err(malformed("too many trailers"));
                    } else {
                        state.trailers.push(line);
                    }
                }
            }
        }
    }

    /// Reads what is left of a body and forgets it.
    pub(super) async fn skip(&mut self, state: &mut BodyState) -> io::Result<()> {
        while self.next_piece(state).await?.is_some() {}
        Ok(())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(STALLED, self.stream.write_all(bytes)).await?
    }

    /// Waits for more bytes; 0 is the peer's end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.ahead.reserve(8 * 1024);
        tokio::time::timeout(SILENCE, self.stream.read_buf(&mut self.ahead)).await?
    }

    /// One line that ends in CRLF, without it.
    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.ahead) {
                let line = self.ahead.split_to(end + 1).freeze();
                return match line.strip_suffix(b"\r\n") {
                    Some(text) if !text.contains(&b'\r') => Ok(line.slice(..text.len())),
                    _ => Err(malformed("a line that does not end in CRLF")),
                };
            }
            if self.ahead.len() > LONGEST_LINE {
                return Err(malformed("line is too long"));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Where in a body the reader is.
#[derive(Debug)]
pub(super) struct BodyState {
    left: Left,
    /// Trailer lines as they came, without line ends.
    pub(super) trailers: Vec<Bytes>,
}

#[derive(Debug)]
enum Left {
    Nothing,
    Bytes { count: u64, chunked: bool },
    Size,
    Trailers,
}

impl BodyState {
    pub(super) fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::None => Left::Nothing,
            Framing::Length(count) => Left::Bytes {
                count,
                chunked: false,
            },
            Framing::Chunked => Left::Size,
        };
        Self {
            left,
            trailers: Vec::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }
}

/// `None`: not all of it is here yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let headers: Vec<(String, Vec<u8>)> = parsed
        .headers
        .iter()
        .map(|h| (h.name.to_owned(), h.value.to_vec()))
        .collect();
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        minor: parsed.version.unwrap_or_default(),
        headers,
        framing: Framing::None,
    };
    request.framing = framing(&request)?;
    Ok(Some((request, length)))
}

fn framing(request: &Request) -> Result<Framing, String> {
    let codings: Vec<_> = request.values("transfer-encoding").collect();
    let lengths: Vec<_> = request.values("content-length").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(Framing::None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && request.minor == 1 => {
            Ok(Framing::Chunked)
        }
        ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length
                .parse()
                .map(Framing::Length)
                .map_err(|_| format!("content-length {length} is too large"))
        }
        _ => Err(format!(
            "ambiguous framing: transfer-encoding {codings:?}, content-length {lengths:?}"
        )),
    }
}

fn chunk_size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
