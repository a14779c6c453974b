//! HTTP/1 messages as tests see them: read to the byte, judged by nobody but the test.

use std::io::{self, Read};

/// The head of a request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line without its end.
    pub start: String,
    /// Names and values as they came, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Self { start, headers }
    }

    /// The only value of `name`; panics when there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} came more than once: {values:?}");
        values.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// Of a request: its method, target and version.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// Of a response.
    pub fn status(&self) -> u16 {
        self.word(1)
            .parse()
            .unwrap_or_else(|_| panic!("no status in {:?}", self.start))
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding")
            .iter()
            .any(|v| v.to_ascii_lowercase().ends_with("chunked"))
    }

    fn length(&self) -> Option<u64> {
        let value = self.header("content-length")?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("content-length {value:?}")),
        )
    }
}

/// How a body was delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    #[default]
    None,
    Length,
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A body with all that was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub framing: Framing,
    /// Sizes of the chunks in order, without the last empty one.
    pub chunks: Vec<usize>,
    pub trailers: Vec<(String, String)>,
}

/// A response with the 1xx ones that came before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub interim: Vec<Head>,
    pub head: Head,
    pub body: Body,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// The value of a line `word value` in what `whoami` answers.
    pub fn line(&self, word: &str) -> Option<String> {
        let prefix = format!("{word} ");
        self.text()
            .lines()
            .find_map(|l| l.strip_prefix(&prefix).map(str::to_owned))
    }
}

/// Bytes of a connection, read as far as messages ask.
pub struct Reader<R> {
    from: R,
    ahead: Vec<u8>,
    /// Everything that was ever read.
    pub raw: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            ahead: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// More bytes into the buffer; `false` at the end. A reset counts as an error, not as an end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = self.from.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..read]);
        self.raw.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    /// A head with its empty line; `None` when the connection ended before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|w| w == b"\r\n\r\n") {
                let raw: Vec<u8> = self.ahead.drain(..at + 4).collect();
                return Ok(Some(Head::parse(&raw)));
            }
            if !self.fill()? {
                return match self.ahead.is_empty() {
                    true => Ok(None),
                    false => Err(cut("a head", &self.ahead)),
                };
            }
        }
    }

    /// The body of a request.
    pub fn request_body(&mut self, head: &Head) -> io::Result<Body> {
        if head.is_chunked() {
            self.chunked()
        } else if let Some(length) = head.length() {
            self.sized(length)
        } else {
            Ok(Body::default())
        }
    }

    /// The body of the answer to a request with `method`.
    pub fn response_body(&mut self, head: &Head, method: &str) -> io::Result<Body> {
        let status = head.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            Ok(Body::default())
        } else if head.is_chunked() {
            self.chunked()
        } else if let Some(length) = head.length() {
            self.sized(length)
        } else {
            let bytes = self.rest()?;
            Ok(Body {
                bytes,
                framing: Framing::Close,
                ..Body::default()
            })
        }
    }

    /// A whole response to a request with `method`; `None` when the connection ended instead.
    pub fn response(&mut self, method: &str) -> io::Result<Option<Response>> {
        let mut interim = Vec::new();
        loop {
            let Some(head) = self.head()? else {
                return match interim.is_empty() {
                    true => Ok(None),
                    false => Err(cut("an answer after 1xx", b"")),
                };
            };
            if (100..200).contains(&head.status()) && head.status() != 101 {
                interim.push(head);
                continue;
            }
            let body = self.response_body(&head, method)?;
            return Ok(Some(Response {
                interim,
                head,
                body,
            }));
        }
    }

    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill()? {
                return Err(cut("bytes", &self.ahead));
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// What is there, at least one byte; empty at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    pub fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.ahead.iter().position(|b| *b == b'\n') {
                let raw: Vec<u8> = self.ahead.drain(..=at).collect();
                let text = String::from_utf8_lossy(&raw).into_owned();
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            if !self.fill()? {
                return Err(cut("a line", &self.ahead));
            }
        }
    }

    /// One chunk with its line ends; empty for the last one, whose trailers are still to be read.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}"))
        })?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.exactly(size)?;
        let end = self.exactly(2)?;
        assert_eq!(end, b"\r\n", "after a chunk of {size} bytes");
        Ok(bytes)
    }

    fn sized(&mut self, length: u64) -> io::Result<Body> {
        let bytes = self.exactly(usize::try_from(length).expect("a length that fits"))?;
        Ok(Body {
            bytes,
            framing: Framing::Length,
            ..Body::default()
        })
    }

    fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body {
            framing: Framing::Chunked,
            ..Body::default()
        };
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            body.chunks.push(chunk.len());
            body.bytes.extend_from_slice(&chunk);
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(body);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            body.trailers
                .push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

fn cut(what: &str, seen: &[u8]) -> io::Error {
    let text = format!(
        "the connection ended inside {what}, after {:?}",
        String::from_utf8_lossy(seen)
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
