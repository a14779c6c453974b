//! Request heads: read, checked, and understood as far as a proxy has to.

use super::field::{FieldId, Fields, Span};
use super::grammar::{
    self, Coding, Framing, Limits, Progress, Reject, Version, offset, with_scratch,
};
use super::target;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Trace,
    Patch,
    /// Any other token; [`RequestHead::method_name`] has it.
    Other,
}

impl Method {
    fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether doing it twice is doing it once, so that it may be sent again.
    pub fn is_idempotent(self) -> bool {
        use Method::*;
        match self {
            Get | Head | Put | Delete | Options | Trace => true,
            Post | Patch | Other => false,
        }
    }
}

/// One request head. Kept by its connection and reused: [`RequestHead::clear`], then
/// [`parse_request`] again; nothing is allocated once it has grown to what comes in.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub method_name: Span,
    /// The target as it came.
    pub target: Span,
    /// Its path without the query. Empty for `http://host` without a path, `*` for `OPTIONS *`.
    pub path: Span,
    /// Its query with the `?`, or empty.
    pub query: Span,
    pub version: Version,
    pub fields: Fields,
    /// Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants to go on after this request.
    pub keep_alive: bool,
    /// The protocol asked for, when `Connection` names `upgrade` and it may be tunnelled.
    pub upgrade: Option<Span>,
    /// The client waits for a 100 before it sends its body.
    pub expect_continue: bool,
    /// The client takes trailers.
    pub te_trailers: bool,
    /// The host as the client named it, port and all: the target's in absolute form, else `Host`'s.
    /// Empty where an HTTP/1.0 request has none.
    pub authority: Span,
    /// The port in `authority`.
    pub port: Option<u16>,
    /// Bytes of the buffer that the head takes. The body begins there.
    pub len: usize,
    pub(super) host: String,
    /// The target is in absolute form, so that its authority replaces `Host`.
    pub(super) absolute: bool,
    progress: Progress,
}

impl RequestHead {
    /// For routing: lower case, without port and trailing dot, IPv6 in brackets and in its shortest
    /// form. Empty where an HTTP/1.0 request named none.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Makes it ready for the next head.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.host.clear();
        self.progress = Progress::default();
        self.len = 0;
    }
}

/// Reads the head at the start of `buf`. `Ok(false)`: it is not all there; call again with more
/// behind the same bytes. After `Ok(true)` or an error, [`RequestHead::clear`] comes first.
#[inline]
pub fn parse_request(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<bool, Reject> {
    if !head
        .progress
        .worth_trying(buf)
        .map_err(Reject::bad_request)?
    {
        return unfinished(buf, limits);
    }
    let start = leading_line(buf)?;
    let complete = with_scratch(limits, |scratch| read(buf, start, scratch, limits, head))?;
    if !complete {
        head.progress.tried(buf);
        return unfinished(buf, limits);
    }
    understand(buf, head)?;
    Ok(true)
}

/// One empty line before a request is forgiven: some clients send it behind a body.
fn leading_line(buf: &[u8]) -> Result<usize, Reject> {
    match buf {
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Reject::bad_request("empty line before request")),
        [b'\r', b'\n', ..] => Ok(2),
        [b'\r'] => Ok(0),
        [b'\r', ..] => Err(Reject::bad_request("bare CR")),
        [b'\n', ..] => Err(Reject::bad_request("bare LF")),
        _ => Ok(0),
    }
}

fn unfinished(buf: &[u8], limits: &Limits) -> Result<bool, Reject> {
    if buf.len() < limits.max_head_size {
        return Ok(false);
    }
    let line = &buf[leading_line(buf)?..];
    match memchr::memchr(b'\n', line) {
        Some(_) => Err(Reject::new(431, "head too large")),
        None => Err(Reject::new(414, "request line too long")),
    }
}

#[inline]
fn read<'b>(
    buf: &'b [u8],
    start: usize,
    scratch: &mut grammar::Scratch<'b>,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<bool, Reject> {
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(&buf[start..], scratch) {
        Ok(httparse::Status::Complete(len)) => start + len,
        Ok(httparse::Status::Partial) => return Ok(false),
        Err(error) => return Err(refuse(&buf[start..], error)),
    };
    if len > limits.max_head_size {
        return Err(Reject::new(431, "head too large"));
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version)
    else {
        return Err(Reject::bad_request("bad request line"));
    };
    grammar::take_fields(
        buf,
        len,
        request.headers,
        FieldId::of_request,
        &mut head.fields,
    )
    .map_err(Reject::bad_request)?;
    // Without fields the check of the head's end has seen the request line's end already.
    let at = offset(buf, method.as_bytes());
    head.method_name = Span::new(at, at + method.len());
    head.method = Method::of(method.as_bytes());
    let at = offset(buf, path.as_bytes());
    head.target = Span::new(at, at + path.len());
    head.version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    head.len = len;
    Ok(true)
}

#[cold]
fn refuse(buf: &[u8], error: httparse::Error) -> Reject {
    let line = &buf[..memchr::memchr(b'\n', buf).unwrap_or(buf.len())];
    if error == httparse::Error::TooManyHeaders {
        return Reject::new(431, "too many fields");
    }
    if error == httparse::Error::Version {
        let version = line.split(|b| *b == b' ').nth(2).unwrap_or_default();
        if matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', ..]) {
            return Reject::new(505, "unsupported http version");
        }
    }
    if error == httparse::Error::NewLine && bare_cr(line) {
        return Reject::bad_request("bare CR");
    }
    Reject::bad_request(grammar::diagnose(buf, error, "bad request line"))
}

fn bare_cr(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r')
}

/// What the request means for routing, framing and the connection.
#[inline]
fn understand(buf: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let bad = Reject::bad_request;
    if head.method == Method::Other && head.method_name.get(buf) == b"CONNECT" {
        return Err(Reject::new(501, "connect is not offered"));
    }
    understand_target(buf, head)?;
    understand_host(buf, head).map_err(bad)?;
    head.framing = framing(buf, head)?;
    if head.method == Method::Trace && head.framing != Framing::None {
        return Err(bad("trace with a body"));
    }

    let options = grammar::connection_options(buf, &mut head.fields).map_err(bad)?;
    head.keep_alive = match head.version {
        Version::Http11 => !options.close,
        Version::Http10 => options.keep_alive && !options.close,
    };
    head.upgrade = match options.upgrade {
        true => upgrade(buf, head).map_err(bad)?,
        false => None,
    };
    head.te_trailers = head.version == Version::Http11
        && head
            .fields
            .values(FieldId::Te, buf)
            .any(|te| grammar::list_items(te).any(|item| item.eq_ignore_ascii_case(b"trailers")));
    head.expect_continue = expects_continue(buf, head)?;
    Ok(())
}

#[inline]
fn understand_target(buf: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let text = head.target.get(buf);
    let at = head.target.start as usize;
    head.absolute = false;
    if text == b"*" && head.method == Method::Options {
        head.path = head.target;
        head.query = Span::new(at + 1, at + 1);
        return Ok(());
    }
    let parts = target::split_target(text).map_err(Reject::bad_request)?;
    head.path = Span::new(at + parts.path, at + parts.query);
    head.query = Span::new(at + parts.query, at + text.len());
    if let Some((start, end)) = parts.authority {
        head.absolute = true;
        head.authority = Span::new(at + start, at + end);
    }
    Ok(())
}

/// One `Host`, and it must be good even where an absolute target makes it moot.
#[inline]
fn understand_host(buf: &[u8], head: &mut RequestHead) -> Result<(), &'static str> {
    head.port = None;
    head.host.clear();
    let mut hosts = head.fields.iter().filter(|f| f.id == FieldId::Host);
    let host = hosts.next().map(|f| f.value);
    if hosts.next().is_some() {
        return Err("more than one host");
    }
    match host {
        Some(span) => {
            head.port = target::read_host(span.get(buf), &mut head.host)?;
            if !head.absolute {
                head.authority = span;
            }
        }
        None if head.version == Version::Http11 => return Err("no host"),
        None if !head.absolute => head.authority = Span::default(),
        None => {}
    }
    if head.absolute {
        head.port = target::read_host(head.authority.get(buf), &mut head.host)?;
    }
    Ok(())
}

#[inline]
fn framing(buf: &[u8], head: &mut RequestHead) -> Result<Framing, Reject> {
    let length = grammar::content_length(buf, &mut head.fields).map_err(Reject::bad_request)?;
    if !head.fields.has(FieldId::TransferEncoding) {
        return Ok(length.map_or(Framing::None, Framing::Length));
    }
    if head.version == Version::Http10 {
        return Err(Reject::bad_request("transfer-encoding in http/1.0"));
    }
    if length.is_some() {
        return Err(Reject::bad_request(
            "both content-length and transfer-encoding",
        ));
    }
    match grammar::transfer_coding(buf, &mut head.fields) {
        Coding::Absent => Ok(Framing::None),
        Coding::Chunked => Ok(Framing::Chunked),
        Coding::Repeated => Err(Reject::bad_request("more than one transfer-encoding")),
        Coding::Unknown => Err(Reject::new(501, "unknown transfer-encoding")),
    }
}

/// The protocol to tunnel, if it may be. HTTP/2 and TLS inside a tunnel would pass every rule by, so
/// those are answered as if nothing had been asked; so are HTTP/1.0 clients, who cannot ask.
fn upgrade(buf: &[u8], head: &RequestHead) -> Result<Option<Span>, &'static str> {
    let mut fields = head.fields.iter().filter(|f| f.id == FieldId::Upgrade);
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err("more than one upgrade");
    }
    let value = field.value.get(buf);
    if value.is_empty() || !value.iter().all(|b| upgrade_byte(*b)) {
        return Err("bad upgrade");
    }
    let barred = grammar::list_items(value).any(|protocol| {
        let is = |prefix: &[u8]| {
            protocol
                .get(..prefix.len())
                .is_some_and(|p| p.eq_ignore_ascii_case(prefix))
        };
        is(b"h2") || is(b"http") || is(b"tls")
    });
    Ok((head.version == Version::Http11 && !barred).then_some(field.value))
}

/// Protocol names are tokens with `/`, in a list.
pub(super) fn upgrade_byte(b: u8) -> bool {
    grammar::is_token_byte(b) || matches!(b, b'/' | b',' | b' ' | b'\t')
}

/// Whether the client waits for a 100. An expectation without a body, or of an HTTP/1.0 client, is
/// none.
fn expects_continue(buf: &[u8], head: &RequestHead) -> Result<bool, Reject> {
    if !head.fields.has(FieldId::Expect) {
        return Ok(false);
    }
    for value in head.fields.values(FieldId::Expect, buf) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Reject::new(417, "unknown expectation"));
        }
    }
    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    Ok(has_body && head.version == Version::Http11)
}
