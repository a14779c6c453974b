//! Bodies: which bytes of the input belong to the message, and which of those go on as they are.
//!
//! A chunked body is not taken apart and put together again. Its framing is checked and then passed
//! on where it lies, so any number of chunks in one input is one run of bytes and one write, and a
//! large chunk goes straight from the buffer (or by splice) to the other side. Only what must not go
//! on interrupts a run: chunk extensions and forbidden trailers.

use super::field::FieldId;
use super::grammar::{Framing, Reject, is_token_byte, is_value_byte};

/// What ends a chunked body that we frame ourselves.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The most that a reader asks to be kept until more is there: one line of trailers. The caller's
/// buffer must hold at least this much.
pub const MAX_HELD: usize = 4096;

/// All trailers together, and their number.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: u16 = 64;
/// One chunk's extensions: beyond what anyone sends in earnest.
const MAX_EXTENSION: usize = 256;
/// Extensions of one body, counted against its data: an endless row of one-byte chunks with long
/// extensions costs us and gives the upstream nothing.
const MAX_EXTENSIONS: u64 = 16 * 1024;

/// What to do with the next bytes of the input: leave out `skip`, then pass on `len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub skip: usize,
    pub len: usize,
    /// The body ends behind these bytes.
    pub end: bool,
}

impl Step {
    /// Bytes of the input that this step uses up. None, and not the end: more input is needed.
    pub fn used(self) -> usize {
        self.skip + self.len
    }
}

/// The reader of one body, whatever its framing.
#[derive(Clone, Debug, Default)]
pub enum BodyReader {
    #[default]
    None,
    /// Bytes that are left.
    Length(u64),
    Chunked(ChunkedReader),
    UntilClose,
}

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => BodyReader::None,
            Framing::Length(n) => BodyReader::Length(n),
            Framing::Chunked => BodyReader::Chunked(ChunkedReader::default()),
            Framing::UntilClose => BodyReader::UntilClose,
        }
    }

    /// The next step through `buf`, framing passed on as it came.
    #[inline]
    pub fn relay(&mut self, buf: &[u8]) -> Result<Step, Reject> {
        match self {
            BodyReader::Chunked(reader) => reader.relay(buf),
            _ => Ok(self.plain(buf)),
        }
    }

    /// The next step through `buf`, the framing left out.
    #[inline]
    pub fn decode(&mut self, buf: &[u8]) -> Result<Step, Reject> {
        match self {
            BodyReader::Chunked(reader) => reader.decode(buf),
            _ => Ok(self.plain(buf)),
        }
    }

    fn plain(&mut self, buf: &[u8]) -> Step {
        let len = match self {
            BodyReader::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= len as u64;
                len
            }
            BodyReader::UntilClose => buf.len(),
            BodyReader::None | BodyReader::Chunked(_) => 0,
        };
        Step {
            skip: 0,
            len,
            end: self.is_done(),
        }
    }

    /// Whether all of it was seen. Never for a body that ends with its connection.
    pub fn is_done(&self) -> bool {
        match self {
            BodyReader::None => true,
            BodyReader::Length(left) => *left == 0,
            BodyReader::Chunked(reader) => reader.is_done(),
            BodyReader::UntilClose => false,
        }
    }

    /// Bytes to come that are nothing but data and may pass without being looked at, by splice for
    /// one; [`BodyReader::passed`] says how many did. Inside a chunk it is what is left of that.
    pub fn data_left(&self) -> u64 {
        match self {
            BodyReader::None => 0,
            BodyReader::Length(left) => *left,
            BodyReader::Chunked(reader) => reader.data_left(),
            BodyReader::UntilClose => u64::MAX,
        }
    }

    /// `n` bytes of data, at most [`BodyReader::data_left`], went by unseen.
    pub fn passed(&mut self, n: u64) {
        match self {
            BodyReader::Length(left) => *left = left.saturating_sub(n),
            BodyReader::Chunked(reader) => reader.passed(n),
            BodyReader::None | BodyReader::UntilClose => {}
        }
    }
}

/// A chunked body, read as it comes in.
///
/// Strict: a size is 1 to 16 hexadecimal digits and nothing else, every line ends with CR LF, data
/// is followed by CR LF. Extensions are bounded and left out. Trailers are checked as fields, bounded,
/// and those that would change what was decided on the head are left out.
#[derive(Clone, Debug, Default)]
pub struct ChunkedReader {
    state: State,
    /// Bytes of data seen.
    data: u64,
    /// Bytes of extensions seen.
    extensions: u64,
    trailer_bytes: usize,
    trailer_fields: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At a chunk's size.
    #[default]
    Size,
    /// Behind the size, at the `;`.
    Extension(u64),
    /// At the CR LF behind extensions.
    SizeEnd(u64),
    /// In a chunk's data; never zero.
    Data(u64),
    /// At the CR LF behind data.
    DataEnd,
    /// At a trailer line or the empty line that ends it all.
    Trailer,
    Done,
}

/// The next element of the input: its length, what comes behind it, and whether it goes on.
struct Element {
    len: usize,
    next: State,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Framing,
    /// A trailer that may go on.
    Trailer,
    /// Extensions, forbidden trailers.
    Unwanted,
}

impl ChunkedReader {
    /// The next step, with the chunks' framing passed on.
    #[inline]
    pub fn relay(&mut self, buf: &[u8]) -> Result<Step, Reject> {
        self.step(buf, |kind| kind != Kind::Unwanted)
    }

    /// The next step, data alone. Trailers are left out with the framing.
    #[inline]
    pub fn decode(&mut self, buf: &[u8]) -> Result<Step, Reject> {
        self.step(buf, |kind| kind == Kind::Data)
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that were seen so far, framing not counted.
    pub fn data_seen(&self) -> u64 {
        self.data
    }

    fn data_left(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    fn passed(&mut self, n: u64) {
        if let State::Data(left) = self.state {
            let n = n.min(left);
            self.data += n;
            self.state = after_data(left - n);
        }
    }

    #[inline]
    fn step(&mut self, buf: &[u8], goes_on: impl Fn(Kind) -> bool) -> Result<Step, Reject> {
        let mut skip = 0;
        let mut at = 0;
        while self.state != State::Done {
            let Some(element) = self.element(&buf[at..]).map_err(Reject::bad_request)? else {
                break;
            };
            if goes_on(element.kind) {
                at += element.len;
            } else if at == skip {
                at += element.len;
                skip = at;
            } else {
                // The run ends here; the next step begins with this element.
                break;
            }
            self.accept(&element).map_err(Reject::bad_request)?;
        }
        Ok(Step {
            skip,
            len: at - skip,
            end: self.state == State::Done,
        })
    }

    /// Counts an element and moves behind it.
    #[inline]
    fn accept(&mut self, element: &Element) -> Result<(), &'static str> {
        match self.state {
            State::Data(_) => self.data += element.len as u64,
            State::Extension(_) => {
                self.extensions += element.len as u64;
                if self.extensions > MAX_EXTENSIONS.max(self.data) {
                    return Err("too many chunk extensions");
                }
            }
            State::Trailer => {
                self.trailer_bytes += element.len;
                if element.next == State::Trailer {
                    self.trailer_fields += 1;
                }
                if self.trailer_bytes > MAX_TRAILERS || self.trailer_fields > MAX_TRAILER_FIELDS {
                    return Err("trailers too large");
                }
            }
            _ => {}
        }
        self.state = element.next;
        Ok(())
    }

    /// The element at the start of `buf`, or `None` while it is not all there. Data may come in
    /// parts, everything else is seen whole.
    #[inline]
    fn element(&self, buf: &[u8]) -> Result<Option<Element>, &'static str> {
        if buf.is_empty() {
            return Ok(None);
        }
        match self.state {
            State::Data(left) => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                Ok(Some(Element {
                    len,
                    next: after_data(left - len as u64),
                    kind: Kind::Data,
                }))
            }
            State::DataEnd => line_end(buf, State::Size, "no CR LF behind chunk data"),
            State::Size => size(buf),
            State::SizeEnd(n) => line_end(buf, after_size(n), "bad chunk size line"),
            State::Extension(n) => extension(buf, n),
            State::Trailer => trailer(buf),
            State::Done => Ok(None),
        }
    }
}

fn after_data(left: u64) -> State {
    match left {
        0 => State::DataEnd,
        left => State::Data(left),
    }
}

fn after_size(size: u64) -> State {
    match size {
        0 => State::Trailer,
        size => State::Data(size),
    }
}

#[inline]
fn line_end(buf: &[u8], next: State, wrong: &'static str) -> Result<Option<Element>, &'static str> {
    match buf {
        [b'\r', b'\n', ..] => Ok(Some(Element {
            len: 2,
            next,
            kind: Kind::Framing,
        })),
        [b'\r'] => Ok(None),
        _ => Err(wrong),
    }
}

/// A chunk's size line, or its digits alone where an extension follows that must be cut out.
#[inline]
fn size(buf: &[u8]) -> Result<Option<Element>, &'static str> {
    let mut size = 0u64;
    for (digits, &b) in buf.iter().enumerate() {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            b'A'..=b'F' => b - b'A' + 10,
            _ if digits == 0 => return Err("no chunk size"),
            b'\r' => {
                return match buf.get(digits + 1) {
                    Some(b'\n') => Ok(Some(Element {
                        len: digits + 2,
                        next: after_size(size),
                        kind: Kind::Framing,
                    })),
                    Some(_) => Err("bad chunk size line"),
                    None => Ok(None),
                };
            }
            b';' => {
                return Ok(Some(Element {
                    len: digits,
                    next: State::Extension(size),
                    kind: Kind::Framing,
                }));
            }
            b'\n' => return Err("bare LF in chunk size line"),
            _ => return Err("bad chunk size"),
        };
        if digits == 16 {
            return Err("chunk size too long");
        }
        size = size << 4 | u64::from(digit);
    }
    Ok(None)
}

/// `;name=value` up to the CR LF. What is in it matters to nobody, so it is only bounded and kept
/// clear of line ends and control characters, quoted or not.
fn extension(buf: &[u8], size: u64) -> Result<Option<Element>, &'static str> {
    for (len, &b) in buf.iter().enumerate() {
        if b == b'\r' {
            return match buf.get(len + 1) {
                Some(b'\n') => Ok(Some(Element {
                    len,
                    next: State::SizeEnd(size),
                    kind: Kind::Unwanted,
                })),
                Some(_) => Err("bare CR in chunk extension"),
                None => Ok(None),
            };
        }
        if b == b'\n' {
            return Err("bare LF in chunk extension");
        }
        if !is_value_byte(b) {
            return Err("control character in chunk extension");
        }
        if len == MAX_EXTENSION {
            return Err("chunk extension too long");
        }
    }
    Ok(None)
}

/// One trailer line, or the empty line that ends the body.
fn trailer(buf: &[u8]) -> Result<Option<Element>, &'static str> {
    if let [b'\r', ..] = buf {
        return line_end(buf, State::Done, "bare CR in trailer");
    }
    let name = buf.iter().position(|b| !is_token_byte(*b));
    let Some(name) = name else {
        return held(buf);
    };
    match buf[name] {
        b':' if name > 0 => {}
        b':' => return Err("empty trailer name"),
        b' ' | b'\t' if name == 0 => return Err("line folding in trailer"),
        b' ' | b'\t' => return Err("space before colon in trailer"),
        b'\n' => return Err("bare LF in trailer"),
        _ => return Err("bad trailer name"),
    }
    let value = &buf[name + 1..];
    let Some(length) = value.iter().position(|b| !is_value_byte(*b)) else {
        return held(buf);
    };
    match &value[length..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] => return held(buf),
        [b'\r', ..] => return Err("bare CR in trailer"),
        [b'\n', ..] => return Err("bare LF in trailer"),
        _ => return Err("control character in trailer"),
    }
    let len = name + 1 + length + 2;
    if len > MAX_HELD {
        return Err("trailer too long");
    }
    Ok(Some(Element {
        len,
        next: State::Trailer,
        kind: match is_harmless(&buf[..name]) {
            true => Kind::Trailer,
            false => Kind::Unwanted,
        },
    }))
}

fn held(buf: &[u8]) -> Result<Option<Element>, &'static str> {
    match buf.len() < MAX_HELD {
        true => Ok(None),
        false => Err("trailer too long"),
    }
}

/// Whether a trailer of this name may go on. What frames, routes, authenticates, conditions or
/// describes a message was decided on its head, and a server that merges trailers into the head must
/// not be told something else by them: no name we know, no alias of one, no family of such names.
fn is_harmless(name: &[u8]) -> bool {
    const FAMILIES: [&[u8]; 7] = [
        b"client-cert",
        b"content-",
        b"if-",
        b"proxy-",
        b"sec-",
        b"www-",
        b"x-ssl-",
    ];
    FieldId::of_request(name) == FieldId::Other
        && !FAMILIES.iter().any(|family| {
            let of_it = |n: &[u8]| {
                n.iter()
                    .zip(*family)
                    .all(|(a, b)| a.to_ascii_lowercase() == *b || (*a, *b) == (b'_', b'-'))
            };
            name.get(..family.len()).is_some_and(of_it)
        })
}

/// Appends the size line of a chunk of `len` bytes, which must not be 0. CR LF follows the data.
pub fn write_chunk_header(len: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut n = len;
    loop {
        at -= 1;
        digits[at] = HEX[n & 15];
        n >>= 4;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
