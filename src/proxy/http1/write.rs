//! Heads written out: what stays is copied in runs, what must go is left out, what is ours is added.
//!
//! Order and spelling of the fields that stay are kept. An upstream gets HTTP/1.1 on a connection
//! that is kept, whatever the client spoke.

use super::field::{FieldId, Fields, Span};
use super::grammar::{Framing, Version};
use super::request::{Method, RequestHead};
use super::response::ResponseHead;

/// What tells the upstream who asked. Made once per client connection.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The peer is one whose own forwarded fields are believed.
    trusted: bool,
    client_ip: Box<str>,
    /// The lines `X-Forwarded-For`, `-Proto`, `-Port` and `X-Real-IP`, one behind the other.
    lines: Box<[u8]>,
    /// Where each line but the first begins.
    proto: usize,
    port: usize,
    real_ip: usize,
}

impl Forwarded {
    /// `proto` is `http` or `https`, `port` the one the client connected to.
    pub fn new(client_ip: &str, proto: &str, port: u16, trusted: bool) -> Self {
        let mut lines = format!("X-Forwarded-For: {client_ip}\r\n");
        let proto_at = lines.len();
        lines += &format!("X-Forwarded-Proto: {proto}\r\n");
        let port_at = lines.len();
        lines += &format!("X-Forwarded-Port: {port}\r\n");
        let real_ip_at = lines.len();
        lines += &format!("X-Real-IP: {client_ip}\r\n");
        Self {
            trusted,
            client_ip: client_ip.into(),
            lines: lines.into_bytes().into(),
            proto: proto_at,
            port: port_at,
            real_ip: real_ip_at,
        }
    }

    pub fn is_trusted(&self) -> bool {
        self.trusted
    }
}

/// How a request head differs when it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEdit<'a> {
    /// Replaces the path; the query stays. Empty is `/`.
    pub path: Option<&'a [u8]>,
    /// Replaces the query, which has no `?` here. Empty takes it away.
    pub query: Option<&'a [u8]>,
    /// What `Host` says, whatever the client named. `X-Forwarded-Host` keeps what the client named.
    pub host: Option<&'a [u8]>,
    /// What `Host` says where an HTTP/1.0 client named none: the upstream's address.
    pub default_host: &'a [u8],
    /// `None` leaves forwarded fields as they came.
    pub forwarded: Option<&'a Forwarded>,
    /// `X-Request-Id`, in the place of any that came.
    pub request_id: Option<&'a [u8]>,
    /// Asks the upstream to close after its answer.
    pub close: bool,
    /// More field lines, each with its CR LF, well formed.
    pub extra: &'a [u8],
}

/// What the client is told about its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientConnection {
    /// It stays, which an HTTP/1.1 client expects.
    #[default]
    Kept,
    /// It stays, which an HTTP/1.0 client has to be told.
    KeptHttp10,
    Close,
}

impl ClientConnection {
    /// What to say to a client of this version.
    pub fn for_client(version: Version, keep: bool) -> Self {
        match (version, keep) {
            (_, false) => ClientConnection::Close,
            (Version::Http11, true) => ClientConnection::Kept,
            (Version::Http10, true) => ClientConnection::KeptHttp10,
        }
    }

    pub(super) fn line(self) -> &'static [u8] {
        match self {
            ClientConnection::Kept => b"",
            ClientConnection::KeptHttp10 => b"Connection: keep-alive\r\n",
            ClientConnection::Close => b"Connection: close\r\n",
        }
    }
}

/// How a response head differs when it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseEdit<'a> {
    /// How the body goes to the client. Usually the head's own; [`Framing::UntilClose`] for a chunked
    /// body and an HTTP/1.0 client; [`Framing::Chunked`] for a body that ends with its connection and
    /// a client whose connection stays.
    pub framing: Framing,
    pub connection: ClientConnection,
    /// `X-Request-Id`, in the place of an upstream's own.
    pub request_id: Option<&'a [u8]>,
    /// More field lines, each with its CR LF, well formed.
    pub extra: &'a [u8],
}

/// What neither side's connection tells the other.
const HOP_BY_HOP: u64 = FieldId::Connection.bit()
    | FieldId::KeepAlive.bit()
    | FieldId::ProxyConnection.bit()
    | FieldId::Te.bit()
    | FieldId::Upgrade.bit();
const NEVER_UPSTREAM: u64 =
    HOP_BY_HOP | FieldId::Http2Settings.bit() | FieldId::Proxy.bit() | FieldId::Alias.bit();
/// What only a trusted peer may say.
const FORWARDED: u64 = FieldId::Forwarded.bit()
    | FieldId::XForwardedFor.bit()
    | FieldId::XForwardedProto.bit()
    | FieldId::XForwardedPort.bit()
    | FieldId::XForwardedHost.bit()
    | FieldId::XForwardedOther.bit()
    | FieldId::XRealIp.bit()
    | FieldId::XRequestId.bit();

/// Appends the request head to `out`. `buf` is the buffer that `head` was read from.
pub fn write_request(head: &RequestHead, buf: &[u8], edit: &RequestEdit<'_>, out: &mut Vec<u8>) {
    // Enough for the lines we add; growing later would only be slower.
    out.reserve(head.len + edit.extra.len() + 512);
    let fields = &head.fields;
    let trusted = edit.forwarded.is_some_and(|f| f.trusted);
    let mut drop = NEVER_UPSTREAM;
    if head.absolute || edit.host.is_some() {
        drop |= FieldId::Host.bit();
    }
    if !head.expect_continue {
        drop |= FieldId::Expect.bit();
    }
    match edit.forwarded {
        Some(_) if trusted => drop |= FieldId::XForwardedFor.bit(),
        Some(_) => drop |= FORWARDED,
        None => {}
    }
    if edit.request_id.is_some() {
        drop |= FieldId::XRequestId.bit();
    }

    let first = request_line(head, buf, edit, out);
    copy_fields(fields, buf, first, head.len, drop, out);

    if head.absolute || edit.host.is_some() || !fields.has(FieldId::Host) {
        let host = match (edit.host, head.authority.get(buf)) {
            (Some(host), _) => host,
            (None, b"") => edit.default_host,
            (None, host) => host,
        };
        line(b"Host: ", host, out);
    }
    if fields.seen & Fields::DROPS != 0 {
        rewrite_framing(fields, head.framing, out);
    }
    connection_lines(head, buf, edit.close, out);
    if let Some(forwarded) = edit.forwarded {
        if trusted {
            trusted_lines(head, buf, forwarded, out);
        } else {
            out.extend_from_slice(&forwarded.lines);
            if !head.authority.is_empty() {
                line(b"X-Forwarded-Host: ", head.authority.get(buf), out);
            }
        }
    }
    if let Some(id) = edit.request_id {
        line(b"X-Request-Id: ", id, out);
    }
    out.extend_from_slice(edit.extra);
    out.extend_from_slice(b"\r\n");
}

/// Writes the request line, or nothing where it can go along with the fields as it came. Gives where
/// copying goes on.
#[inline]
fn request_line(
    head: &RequestHead,
    buf: &[u8],
    edit: &RequestEdit<'_>,
    out: &mut Vec<u8>,
) -> usize {
    if edit.path.is_none()
        && edit.query.is_none()
        && !head.absolute
        && head.version == Version::Http11
    {
        return head.method_name.start as usize;
    }
    let path = match edit.path.unwrap_or_else(|| head.path.get(buf)) {
        // RFC 9112, 3.2.4: this is how a client asks for `*` through a proxy.
        b"" if edit.path.is_none() && head.method == Method::Options && head.query.is_empty() => {
            b"*"
        }
        b"" => b"/",
        path => path,
    };
    out.extend_from_slice(head.method_name.get(buf));
    out.push(b' ');
    out.extend_from_slice(path);
    match edit.query {
        None => out.extend_from_slice(head.query.get(buf)),
        Some(b"") => {}
        Some(query) => {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields_start(&head.fields, head.len)
}

fn fields_start(fields: &Fields, len: usize) -> usize {
    match fields.list.first() {
        Some(field) => field.name.start as usize,
        None => len - 2,
    }
}

/// Copies from `first` to the end of the last field line, without the fields of `drop` and those
/// marked.
#[inline]
fn copy_fields(
    fields: &Fields,
    buf: &[u8],
    first: usize,
    len: usize,
    drop: u64,
    out: &mut Vec<u8>,
) {
    let mut run = first;
    if fields.seen & (drop | Fields::DROPS) != 0 {
        for (i, field) in fields.list.iter().enumerate() {
            if field.drop || drop & field.id.bit() != 0 {
                let start = field.name.start as usize;
                out.extend_from_slice(&buf[run..start]);
                run = match fields.list.get(i + 1) {
                    Some(next) => next.name.start as usize,
                    None => len - 2,
                };
            }
        }
    }
    out.extend_from_slice(&buf[run..len - 2]);
}

/// Framing fields that were dropped for their spelling come back in their plain form.
#[cold]
fn rewrite_framing(fields: &Fields, framing: Framing, out: &mut Vec<u8>) {
    for field in fields.iter().filter(|f| f.drop) {
        if matches!(field.id, FieldId::ContentLength | FieldId::TransferEncoding) {
            framing_line(framing, out);
        }
    }
}

fn framing_line(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(n) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(n, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

#[inline]
fn connection_lines(head: &RequestHead, buf: &[u8], close: bool, out: &mut Vec<u8>) {
    if head.upgrade.is_none() && !head.te_trailers && !close {
        return;
    }
    let mut separator: &[u8] = b"Connection: ";
    for (wanted, option) in [
        (head.upgrade.is_some(), &b"upgrade"[..]),
        (head.te_trailers, b"te"),
        (close, b"close"),
    ] {
        if wanted {
            out.extend_from_slice(separator);
            out.extend_from_slice(option);
            separator = b", ";
        }
    }
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = head.upgrade {
        line(b"Upgrade: ", protocol.get(buf), out);
    }
    if head.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
}

/// A trusted peer's list is continued, what else it said stands, and what it left out is added.
fn trusted_lines(head: &RequestHead, buf: &[u8], forwarded: &Forwarded, out: &mut Vec<u8>) {
    let fields = &head.fields;
    if fields.has(FieldId::XForwardedFor) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        for value in fields.values(FieldId::XForwardedFor, buf) {
            if !value.is_empty() {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(forwarded.client_ip.as_bytes());
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(&forwarded.lines[..forwarded.proto]);
    }
    if !fields.has(FieldId::XForwardedProto) {
        out.extend_from_slice(&forwarded.lines[forwarded.proto..forwarded.port]);
    }
    if !fields.has(FieldId::XForwardedPort) {
        out.extend_from_slice(&forwarded.lines[forwarded.port..forwarded.real_ip]);
    }
    if !fields.has(FieldId::XRealIp) {
        out.extend_from_slice(&forwarded.lines[forwarded.real_ip..]);
    }
    if !fields.has(FieldId::XForwardedHost) && !head.authority.is_empty() {
        line(b"X-Forwarded-Host: ", head.authority.get(buf), out);
    }
}

/// Appends the response head to `out`. `buf` is the buffer that `head` was read from.
pub fn write_response(head: &ResponseHead, buf: &[u8], edit: &ResponseEdit<'_>, out: &mut Vec<u8>) {
    out.reserve(head.len + edit.extra.len() + 256);
    let fields = &head.fields;
    let mut drop = HOP_BY_HOP;
    if edit.request_id.is_some() {
        drop |= FieldId::XRequestId.bit();
    }
    // A field that says what is true already stays in its place.
    let (stays, stated) = match edit.framing {
        Framing::Length(_) => (FieldId::ContentLength, edit.framing == head.framing),
        Framing::Chunked => (FieldId::TransferEncoding, edit.framing == head.framing),
        // What a GET would have got, told in answer to HEAD or with 304.
        Framing::None => (
            FieldId::ContentLength,
            head.status >= 200 && head.status != 204,
        ),
        Framing::UntilClose => (FieldId::ContentLength, false),
    };
    drop |= FieldId::ContentLength.bit() | FieldId::TransferEncoding.bit();
    if stated {
        drop &= !stays.bit();
    }

    let first = if head.version == Version::Http11 {
        0
    } else {
        out.extend_from_slice(b"HTTP/1.1");
        8
    };
    copy_fields(fields, buf, first, head.len, drop, out);

    let respelled = fields.seen & Fields::DROPS != 0 && fields.get(stays).is_some_and(|f| f.drop);
    if !stated || respelled {
        framing_line(edit.framing, out);
    }
    match head.upgrade {
        Some(protocol) => upgrade_lines(protocol, buf, edit.connection, out),
        None => out.extend_from_slice(edit.connection.line()),
    }
    if let Some(id) = edit.request_id {
        line(b"X-Request-Id: ", id, out);
    }
    out.extend_from_slice(edit.extra);
    out.extend_from_slice(b"\r\n");
}

#[cold]
fn upgrade_lines(protocol: Span, buf: &[u8], connection: ClientConnection, out: &mut Vec<u8>) {
    out.extend_from_slice(match connection {
        ClientConnection::Close => b"Connection: upgrade, close\r\n",
        _ => &b"Connection: upgrade\r\n"[..],
    });
    line(b"Upgrade: ", protocol.get(buf), out);
}

#[inline]
pub(super) fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn decimal(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
