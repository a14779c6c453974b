//! One HTTP connection: requests in, answers out, as their queries ask.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::controls::{Abort, Controls};
use super::request::{BodyState, Conn, Framing, Next, Request};
use super::{Whoami, raw, websocket};

/// `hang=1` lets go after this.
const HANG: Duration = Duration::from_secs(3600);
/// A multiple of the alphabet, so that blocks of it join without a seam.
const PATTERN: usize = 26 * 630;

/// What to do with the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Keep,
    Close,
}

pub(super) async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    whoami: &Whoami,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut conn = Conn::new(stream);
    loop {
        let next = tokio::select! {
            biased;
            next = conn.next_request() => next?,
            _ = ending.wait_for(|end| *end) => return Ok(()),
        };
        let request = match next {
            Next::Request(request) => request,
            Next::End => return Ok(()),
            Next::Bad(reason) => return refuse(&mut conn, &reason).await,
        };
        if let Some(protocol) = upgrade(&request) {
            return protocol.serve(&mut conn, &request, whoami).await;
        }
        if answer(&mut conn, &request, peer, whoami).await? == After::Close {
            return Ok(());
        }
    }
}

async fn refuse(conn: &mut Conn, reason: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reason}\n",
        reason.len() + 1
    );
    conn.write(text.as_bytes()).await
}

async fn answer(
    conn: &mut Conn,
    request: &Request,
    peer: SocketAddr,
    whoami: &Whoami,
) -> io::Result<After> {
    let mut body = BodyState::new(request.framing);
    let controls = match Controls::parse(request.query()) {
        Ok(controls) => controls,
        Err(reason) => {
            refuse(conn, &reason).await?;
            return Ok(After::Close);
        }
    };
    tokio::time::sleep(controls.delay).await;
    if controls.hang {
        tokio::time::sleep(HANG).await;
        return Ok(After::Close);
    }
    if request.minor == 1 && request.lists("expect", "100-continue") && !body.is_done() {
        conn.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if let Some(early) = controls.early.filter(|_| request.minor == 1) {
        let head = format!(
            "HTTP/1.1 {early} {}\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
            reason(early)
        );
        conn.write(head.as_bytes()).await?;
    }
    let mut reply = Reply::new(request, &controls, whoami);
    if controls.abort == Some(Abort::Head) {
        conn.write(b"HTTP/1.1 200 OK\r\nContent-Le").await?;
        return Ok(After::Close);
    }
    let echoes = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH")
        && request.framing != Framing::None
        && request.path() != "/control"
        && controls.size.is_none()
        && controls.stream.is_none();
    if echoes {
        reply.echo(conn, request, &mut body).await?;
        return Ok(reply.after);
    }
    conn.skip(&mut body).await?;
    if let Some(events) = controls.stream {
        let every = controls.every.unwrap_or(Duration::from_secs(1));
        reply.stream(conn, events, every).await?;
    } else if let Some(size) = controls.size {
        reply.pattern(conn, size, &controls).await?;
    } else {
        let (kind, text) = reply.text_for(request, &controls, peer, whoami);
        reply.whole(conn, kind, &text, &controls).await?;
    }
    Ok(reply.after)
}

/// An answer being given.
struct Reply<'a> {
    status: u16,
    name: &'a str,
    /// Of the request: HTTP/1.0 has no chunked coding, its answer ends with the connection.
    minor: u8,
    is_head: bool,
    after: After,
}

impl<'a> Reply<'a> {
    fn new(request: &Request, controls: &Controls, whoami: &'a Whoami) -> Self {
        let status = match request.path() {
            "/health" => controls.status.unwrap_or(whoami.health()),
            _ => controls.status.unwrap_or(200),
        };
        let after = if controls.close || controls.abort.is_some() || !request.keeps_alive() {
            After::Close
        } else {
            After::Keep
        };
        Self {
            status,
            name: whoami.name(),
            minor: request.minor,
            is_head: request.method == "HEAD",
            after,
        }
    }

    fn text_for(
        &mut self,
        request: &Request,
        controls: &Controls,
        peer: SocketAddr,
        whoami: &Whoami,
    ) -> (&'static str, String) {
        match request.path() {
            "/health" => return ("text/plain", format!("{}\n", whoami.health())),
            "/control" if request.method == "PUT" => {
                if let Some(health) = controls.health {
                    whoami.set_health(health);
                }
                return ("text/plain", format!("health {}\n", whoami.health()));
            }
            _ => {}
        }
        if request.lists("accept", "application/json") {
            ("application/json", json(request, peer, self.name))
        } else {
            ("text/plain", lines(request, peer, self.name))
        }
    }

    async fn whole(
        &mut self,
        conn: &mut Conn,
        kind: &str,
        text: &str,
        controls: &Controls,
    ) -> io::Result<()> {
        let bytes = text.as_bytes();
        if controls.chunked && self.minor == 1 {
            self.head(conn, kind, Framing::Chunked).await?;
            if !self.is_head && !self.is_bodiless() {
                self.chunk(conn, bytes).await?;
                self.last_chunk(conn, &[]).await?;
            }
            return Ok(());
        }
        let mut out = self
            .head_text(kind, Framing::Length(bytes.len() as u64))
            .into_bytes();
        if !self.is_head && !self.is_bodiless() {
            let sent = if controls.abort == Some(Abort::Body) {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            out.extend_from_slice(&bytes[..sent]);
        }
        conn.write(&out).await
    }

    /// `size` bytes of alphabet.
    async fn pattern(&mut self, conn: &mut Conn, size: u64, controls: &Controls) -> io::Result<()> {
        let chunked = controls.chunked && self.minor == 1;
        let framing = if chunked {
            Framing::Chunked
        } else {
            Framing::Length(size)
        };
        self.head(conn, "application/octet-stream", framing).await?;
        if self.is_head || self.is_bodiless() {
            return Ok(());
        }
        let block: Vec<u8> = (b'a'..=b'z').cycle().take(PATTERN).collect();
        let mut left = if controls.abort == Some(Abort::Body) {
            size / 2
        } else {
            size
        };
        while left > 0 {
            let take = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if chunked {
                self.chunk(conn, &block[..take]).await?;
            } else {
                conn.write(&block[..take]).await?;
            }
            left -= take as u64;
        }
        if chunked && controls.abort.is_none() {
            self.last_chunk(conn, &[]).await?;
        }
        Ok(())
    }

    /// Server-sent events, each written when its time has come.
    async fn stream(&mut self, conn: &mut Conn, events: u64, every: Duration) -> io::Result<()> {
        self.head(conn, "text/event-stream", Framing::Chunked)
            .await?;
        if self.is_head || self.is_bodiless() {
            return Ok(());
        }
        for event in 0..events {
            if event > 0 {
                tokio::time::sleep(every).await;
            }
            let text = format!("data: {event} {}\n\n", self.name);
            self.chunk(conn, text.as_bytes()).await?;
        }
        self.last_chunk(conn, &[]).await
    }

    /// The request's body back as it comes, framed as it came, with its trailers.
    async fn echo(
        &mut self,
        conn: &mut Conn,
        request: &Request,
        body: &mut BodyState,
    ) -> io::Result<()> {
        let kind = request
            .header("content-type")
            .unwrap_or("application/octet-stream");
        self.head(conn, kind, request.framing).await?;
        while let Some(piece) = conn.next_piece(body).await? {
            if self.is_bodiless() {
                continue;
            }
            if request.framing == Framing::Chunked {
                self.chunk(conn, &piece).await?;
            } else {
                conn.write(&piece).await?;
            }
        }
        if request.framing == Framing::Chunked && !self.is_bodiless() {
            let trailers: Vec<&[u8]> = body.trailers.iter().map(|t| &t[..]).collect();
            self.last_chunk(conn, &trailers).await?;
        }
        Ok(())
    }

    async fn head(&mut self, conn: &mut Conn, kind: &str, framing: Framing) -> io::Result<()> {
        let text = self.head_text(kind, framing);
        conn.write(text.as_bytes()).await
    }

    fn head_text(&mut self, kind: &str, framing: Framing) -> String {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nX-Whoami: {}\r\n",
            self.status,
            reason(self.status),
            self.name
        );
        if !self.is_bodiless() {
            let _ = write!(head, "Content-Type: {kind}\r\n");
            match framing {
                Framing::Length(length) => {
                    let _ = write!(head, "Content-Length: {length}\r\n");
                }
                Framing::Chunked if self.minor == 1 => {
                    head.push_str("Transfer-Encoding: chunked\r\nTrailer: X-Whoami-Trailer\r\n");
                }
                _ => self.after = After::Close,
            }
        }
        if self.after == After::Close {
            head.push_str("Connection: close\r\n");
        } else if self.minor == 0 {
            head.push_str("Connection: keep-alive\r\n");
        }
        head.push_str("\r\n");
        head
    }

    async fn chunk(&self, conn: &mut Conn, bytes: &[u8]) -> io::Result<()> {
        if self.minor == 0 {
            return conn.write(bytes).await;
        }
        let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        conn.write(&out).await
    }

    async fn last_chunk(&self, conn: &mut Conn, trailers: &[&[u8]]) -> io::Result<()> {
        if self.minor == 0 {
            return Ok(());
        }
        let mut out = format!("0\r\nX-Whoami-Trailer: {}\r\n", self.name).into_bytes();
        for trailer in trailers {
            out.extend_from_slice(trailer);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        conn.write(&out).await
    }

    /// Statuses that never have a body.
    fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }
}

/// What a connection turns into.
enum Upgrade {
    WebSocket,
    Echo,
}

/// `status=` declines an upgrade, so that a refusal can be shown too.
fn upgrade(request: &Request) -> Option<Upgrade> {
    let declined = Controls::parse(request.query()).map_or(true, |c| c.status.is_some());
    if declined || request.minor == 0 || !request.lists("connection", "upgrade") {
        return None;
    }
    if request.lists("upgrade", "websocket") {
        Some(Upgrade::WebSocket)
    } else if request.lists("upgrade", "echo") {
        Some(Upgrade::Echo)
    } else {
        None
    }
}

impl Upgrade {
    async fn serve(self, conn: &mut Conn, request: &Request, whoami: &Whoami) -> io::Result<()> {
        let mut body = BodyState::new(request.framing);
        conn.skip(&mut body).await?;
        let name = whoami.name();
        match self {
            Upgrade::Echo => {
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Whoami: {name}\r\n\r\n"
                );
                conn.write(head.as_bytes()).await?;
                let ahead = conn.ahead.split();
                raw::echo(&mut conn.stream, &ahead).await
            }
            Upgrade::WebSocket => {
                let Some(key) = request.header("sec-websocket-key") else {
                    return refuse(conn, "sec-websocket-key is missing").await;
                };
                let accept = websocket::accept_key(key);
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nX-Whoami: {name}\r\n\r\n"
                );
                conn.write(head.as_bytes()).await?;
                websocket::echo(conn).await
            }
        }
    }
}

fn lines(request: &Request, peer: SocketAddr, name: &str) -> String {
    let mut text = format!(
        "name {name}\nmethod {}\npath {}\nversion HTTP/1.{}\nfrom {peer}\n",
        request.method, request.target, request.minor
    );
    for (header, value) in &request.headers {
        let _ = writeln!(text, "header {header}: {}", String::from_utf8_lossy(value));
    }
    text
}

fn json(request: &Request, peer: SocketAddr, name: &str) -> String {
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), String::from_utf8_lossy(v)))
        .collect();
    let value = serde_json::json!({
        "name": name,
        "method": request.method,
        "path": request.target,
        "version": format!("HTTP/1.{}", request.minor),
        "from": peer.to_string(),
        "headers": headers,
    });
    format!("{value}\n")
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unnamed",
    }
}
