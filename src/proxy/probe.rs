//! One health check: a connect, with a handshake where there is one, or a request and what has to come
//! back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{CheckKind, CheckVersion, Expect, HttpCheck};
use crate::plan::Secured;
use crate::proxy::http1::{Asked, Framing, Limits, ResponseHead, parse_response};
use crate::proxy::tls::connect_check;
use crate::proxy_header::{Form, write_own};

/// Enough of an answer to read its status line.
const MAX_STATUS_LINE: usize = 1024;
/// As much of an answer as is looked at where its text counts.
const MAX_ANSWER: usize = 64 * 1024;

/// One check; the text says why, for the log.
pub(super) async fn probe(
    address: SocketAddr,
    host: &str,
    kind: &CheckKind,
    send_proxy: Option<Form>,
    secured: Option<&Secured>,
) -> Result<String, String> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("connect: {error}"))?;
    // Closed by a reset: thousands of checks in a minute would otherwise leave as many ports waiting
    // for their time to pass.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    let mut bytes = Vec::new();
    if let Some(form) = send_proxy {
        // There is no client: the connection is our own.
        write_own(form, &mut bytes);
    }
    if let CheckKind::Http(check) = kind
        && secured.is_none()
    {
        return ask(stream, bytes, check, host).await;
    }
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| format!("send: {error}"))?;
    let Some(secured) = secured else {
        return Ok("connected".to_owned());
    };
    let connecting = connect_check(stream, secured).await;
    let stream = connecting.map_err(|reason| format!("handshake: {reason}"))?;
    match kind {
        CheckKind::Http(check) => ask(stream, Vec::new(), check, host).await,
        CheckKind::Off | CheckKind::Tcp => Ok("connected by TLS".to_owned()),
    }
}

/// Asks, with `first` in front of the request.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    first: Vec<u8>,
    check: &HttpCheck,
    host: &str,
) -> Result<String, String> {
    let mut bytes = first;
    bytes.extend_from_slice(request(check, host).as_bytes());
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| format!("send: {error}"))?;
    stream
        .flush()
        .await
        .map_err(|error| format!("send: {error}"))?;
    let answer = read_answer(&mut stream, check)
        .await
        .map_err(|error| format!("answer: {error}"))?;
    let status = status(&answer).ok_or("answer: no HTTP status line")?;
    let (method, uri) = (&check.method, &check.uri);
    let verdict = format!("{method} {uri} answered {status}");
    if check.expect.is_empty() {
        return match (200..400).contains(&status) {
            true => Ok(verdict),
            false => Err(verdict),
        };
    }
    let body = body(&answer);
    match check
        .expect
        .iter()
        .find(|expect| !expect.holds(status, body))
    {
        None => Ok(verdict),
        Some(expect) if expect.is_of_body() => Err(format!("{verdict}, not the text expected")),
        Some(_) => Err(verdict),
    }
}

fn request(check: &HttpCheck, host: &str) -> String {
    let HttpCheck {
        method, uri, body, ..
    } = check;
    let version = match check.version {
        CheckVersion::Http10 => "1.0",
        CheckVersion::Http11 => "1.1",
    };
    let is_set = |name: &str| {
        let mut names = check.fields.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    let mut request = format!("{method} {uri} HTTP/{version}\r\n");
    for (name, value) in [
        ("Host", host),
        ("User-Agent", "pointsman-check"),
        ("Accept", "*/*"),
    ] {
        if !is_set(name) {
            request += &format!("{name}: {value}\r\n");
        }
    }
    for (name, value) in &check.fields {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request + "Connection: close\r\n\r\n" + body
}

/// The status line, or all of the answer if its text counts.
async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    check: &HttpCheck,
) -> io::Result<Vec<u8>> {
    let wants_body = check.expect.iter().any(Expect::is_of_body);
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let is_enough = match wants_body {
            true => answer.len() >= MAX_ANSWER || is_whole(&answer, &check.method),
            false => answer.len() >= MAX_STATUS_LINE || answer.contains(&b'\n'),
        };
        if is_enough {
            return Ok(answer);
        }
        match stream.read(&mut chunk).await {
            Ok(0) => return Ok(answer),
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            // What came before the connection broke may be all there was to come.
            Err(_) if !answer.is_empty() => return Ok(answer),
            Err(error) => return Err(error),
        }
    }
}

/// Whether nothing more will come: not every upstream closes when it is asked to.
fn is_whole(answer: &[u8], method: &str) -> bool {
    let asked = Asked {
        head: method == "HEAD",
        upgrade: false,
    };
    let mut head = ResponseHead::default();
    match parse_response(answer, &Limits::default(), asked, &mut head) {
        Ok(false) => false,
        Ok(true) => match head.framing {
            Framing::None => true,
            Framing::Length(length) => (answer.len() - head.len) as u64 >= length,
            Framing::Chunked => answer.ends_with(b"\r\n0\r\n\r\n"),
            Framing::UntilClose => false,
        },
        // Nobody knows where it ends: time does.
        Err(_) => false,
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let text = answer.strip_prefix(b"HTTP/1.")?;
    let digits = std::str::from_utf8(text.get(2..5)?).ok()?;
    digits.parse().ok()
}

fn body(answer: &[u8]) -> &[u8] {
    let start = memchr::memmem::find(answer, b"\r\n\r\n").map(|at| at + 4);
    start.map_or(b"", |start| &answer[start..])
}
