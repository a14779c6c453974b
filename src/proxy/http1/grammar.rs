//! What requests and responses share: limits, refusals, line discipline, framing fields.
//!
//! `httparse` reads the line grammar. It forgives line ends that are a lone LF, so those are looked
//! for here, and it cannot say what was wrong, so [`diagnose`] does once a head is refused.

use std::fmt;
use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::field::{Field, FieldId, Fields, Span};

/// Bounds of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first of the start line to the empty line, that one included.
    pub max_head_size: usize,
    /// Field lines; at most [`MOST_HEADERS`] are taken whatever this says.
    pub max_headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head_size: 16 * 1024,
            max_headers: 100,
        }
    }
}

/// The hard bound under `Limits::max_headers`: what the scratch list on the stack holds.
pub(super) const MOST_HEADERS: usize = 1000;
/// Most heads fit here; a smaller scratch list keeps the stack warm.
const FEW_HEADERS: usize = 128;
/// Options in all `Connection` fields of one head. Each is compared with each field name.
const MOST_CONNECTION_OPTIONS: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    Length(u64),
    Chunked,
    /// The end of the connection is the end of the body. Responses only.
    UntilClose,
}

/// A refusal: what to answer and, in short words, why. The connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    pub status: u16,
    pub reason: &'static str,
}

impl Reject {
    pub(super) const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(super) const fn bad_request(reason: &'static str) -> Self {
        Self::new(400, reason)
    }

    pub(super) const fn bad_gateway(reason: &'static str) -> Self {
        Self::new(502, reason)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.status)
    }
}

impl std::error::Error for Reject {}

/// How far an unfinished head was looked at, so that one that drips in byte by byte costs its
/// length and not the square of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Bytes searched for the end of the head.
    scanned: usize,
    /// Bytes there were when the parser last ran.
    tried: usize,
}

impl Progress {
    /// Whether the parser can tell more than it did last time: the head's end has come, or twice as
    /// much is there, which finds early what is wrong already.
    pub(super) fn worth_trying(&mut self, buf: &[u8]) -> Result<bool, &'static str> {
        if self.tried == 0 {
            return Ok(true);
        }
        let from = self.scanned.min(buf.len());
        for found in memchr_iter(b'\n', &buf[from..]) {
            let at = from + found;
            if at == 0 || buf[at - 1] != b'\r' {
                return Err("bare LF");
            }
            if at >= 3 && buf[at - 2] == b'\n' {
                return Ok(true);
            }
        }
        self.scanned = buf.len();
        Ok(buf.len() >= self.tried.saturating_mul(2))
    }

    /// The parser ran and found no end.
    pub(super) fn tried(&mut self, buf: &[u8]) {
        self.tried = buf.len().max(1);
    }
}

pub(super) type Scratch<'b> = [MaybeUninit<httparse::Header<'b>>];

/// Runs `parse` with a scratch list of the size that `limits` asks for.
#[inline]
pub(super) fn with_scratch<'b, R>(limits: &Limits, parse: impl FnOnce(&mut Scratch<'b>) -> R) -> R {
    if limits.max_headers <= FEW_HEADERS {
        parse(&mut [const { MaybeUninit::uninit() }; FEW_HEADERS][..limits.max_headers])
    } else {
        with_large_scratch(limits, parse)
    }
}

#[inline(never)]
fn with_large_scratch<'b, R>(limits: &Limits, parse: impl FnOnce(&mut Scratch<'b>) -> R) -> R {
    let most = limits.max_headers.min(MOST_HEADERS);
    parse(&mut [const { MaybeUninit::uninit() }; MOST_HEADERS][..most])
}

/// Where `part`, a slice of `buf`, begins in it.
#[inline]
pub(super) fn offset(buf: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(buf.as_ptr() as usize)
}

/// The line before `at` ends with CR and LF.
#[inline]
pub(super) fn ends_line(buf: &[u8], at: usize) -> bool {
    at >= 2 && buf.get(at - 2..at) == Some(b"\r\n")
}

/// Takes over what the parser found, names classified. Each line must end with CR LF; the parser
/// leaves names right behind the line end before them, so a look at the two bytes there decides.
#[inline]
pub(super) fn take_fields(
    buf: &[u8],
    len: usize,
    headers: &[httparse::Header<'_>],
    classify: impl Fn(&[u8]) -> FieldId,
    fields: &mut Fields,
) -> Result<(), &'static str> {
    let mut strict = ends_line(buf, len) && ends_line(buf, len - 2);
    let mut seen = 0;
    fields.list.reserve(headers.len());
    for header in headers {
        let name = header.name.as_bytes();
        let at = offset(buf, name);
        let value = offset(buf, header.value);
        strict &= ends_line(buf, at);
        let id = classify(name);
        seen |= id.bit();
        fields.list.push(Field {
            name: Span::new(at, at + name.len()),
            value: Span::new(value, value + header.value.len()),
            id,
            drop: false,
        });
    }
    fields.seen = seen;
    if strict { Ok(()) } else { Err("bare LF") }
}

/// What the `Connection` fields say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Reads all `Connection` fields and marks the fields they name as not to be passed on.
///
/// Only names that mean nothing to us can be taken away like this. Otherwise a client could remove
/// what the upstream relies on: `Connection: x-forwarded-for`, `content-length`, `authorization`.
pub(super) fn connection_options(
    buf: &[u8],
    fields: &mut Fields,
) -> Result<ConnectionOptions, &'static str> {
    let mut options = ConnectionOptions::default();
    if !fields.has(FieldId::Connection) {
        return Ok(options);
    }
    let mut count = 0;
    for i in 0..fields.list.len() {
        if fields.list[i].id != FieldId::Connection {
            continue;
        }
        for option in list_items(fields.list[i].value.get(buf)) {
            count += 1;
            if count > MOST_CONNECTION_OPTIONS {
                return Err("too many connection options");
            }
            if !option.iter().all(|b| is_token_byte(*b)) {
                return Err("bad connection option");
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                drop_named(buf, fields, option);
            }
        }
    }
    Ok(options)
}

fn drop_named(buf: &[u8], fields: &mut Fields, name: &[u8]) {
    for i in 0..fields.list.len() {
        let field = fields.list[i];
        if field.id == FieldId::Other && field.name.get(buf).eq_ignore_ascii_case(name) {
            fields.mark_dropped(i);
        }
    }
}

/// The items of a comma list, white space trimmed, empty ones left out.
pub(super) fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(|item| item.trim_ascii())
        .filter(|item| !item.is_empty())
}

/// The one content length of a head, or that it has none. More than one field is refused even where
/// they agree: a list of lengths is what smuggling is made of.
pub(super) fn content_length(buf: &[u8], fields: &mut Fields) -> Result<Option<u64>, &'static str> {
    if !fields.has(FieldId::ContentLength) {
        return Ok(None);
    }
    let mut length = None;
    for i in 0..fields.list.len() {
        if fields.list[i].id != FieldId::ContentLength {
            continue;
        }
        if length.is_some() {
            return Err("more than one content-length");
        }
        let digits = fields.list[i].value.get(buf);
        length = Some(decimal(digits).ok_or("bad content-length")?);
        if digits.len() > 1 && digits[0] == b'0' {
            // Octal to some. It is written anew.
            fields.mark_dropped(i);
        }
    }
    Ok(length)
}

/// One to nineteen digits, nothing else: no sign, no list, no overflow.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'))
    })
}

/// What the `Transfer-Encoding` fields say.
pub(super) enum Coding {
    Absent,
    Chunked,
    /// More than one field.
    Repeated,
    /// Anything but the one word `chunked`.
    Unknown,
}

pub(super) fn transfer_coding(buf: &[u8], fields: &mut Fields) -> Coding {
    if !fields.has(FieldId::TransferEncoding) {
        return Coding::Absent;
    }
    let mut coding = Coding::Absent;
    for i in 0..fields.list.len() {
        if fields.list[i].id != FieldId::TransferEncoding {
            continue;
        }
        if !matches!(coding, Coding::Absent) {
            return Coding::Repeated;
        }
        let value = fields.list[i].value.get(buf);
        if value != b"chunked" {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Coding::Unknown;
            }
            // Some servers know only the small letters. It is written anew.
            fields.mark_dropped(i);
        }
        coding = Coding::Chunked;
    }
    coding
}

/// What was wrong with a head that the parser refused, in words.
#[cold]
pub(super) fn diagnose(
    buf: &[u8],
    error: httparse::Error,
    start_line: &'static str,
) -> &'static str {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => "too many fields",
        Error::Status | Error::Token | Error::Version => start_line,
        Error::NewLine => "bad line end",
        Error::HeaderName | Error::HeaderValue => bad_field_line(buf),
    }
}

/// The first field line that is wrong decides.
fn bad_field_line(buf: &[u8]) -> &'static str {
    let Some(mut at) = memchr(b'\n', buf).map(|i| i + 1) else {
        return start_of_line_end(buf);
    };
    while at < buf.len() {
        let rest = &buf[at..];
        let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        let name = line.iter().position(|b| !is_token_byte(*b));
        match name.map(|n| (n, line[n])) {
            Some((0, b' ' | b'\t')) => return "line folding",
            Some((0, b':')) => return "empty field name",
            Some((_, b' ' | b'\t')) => return "space before colon",
            Some((n, b':')) => {
                let value = &line[n + 1..];
                let value = value.strip_suffix(b"\r").unwrap_or(value);
                if value.contains(&b'\r') {
                    return "bare CR";
                }
                if value.iter().any(|b| !is_value_byte(*b)) {
                    return "control character in field value";
                }
            }
            Some((n, b'\r')) if n + 1 < line.len() => return "bare CR",
            _ => return "bad field name",
        }
        at += line.len() + 1;
    }
    "bad field line"
}

fn start_of_line_end(buf: &[u8]) -> &'static str {
    if buf.contains(&b'\r') {
        "bare CR"
    } else {
        "bad field line"
    }
}

/// RFC 9110's `tchar`.
#[inline]
pub(super) fn is_token_byte(b: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut i = 0;
        while i < 256 {
            let b = i as u8;
            table[i] = b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            i += 1;
        }
        table
    };
    TOKEN[b as usize]
}

/// What a field value may hold: visible ASCII, space, tab, and bytes above ASCII.
#[inline]
pub(super) fn is_value_byte(b: u8) -> bool {
    b == b'\t' || (b >= b' ' && b != 0x7f)
}
