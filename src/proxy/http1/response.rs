//! Response heads: read, checked, and understood as far as a proxy has to.

use super::field::{FieldId, Fields, Span};
use super::grammar::{self, Coding, Framing, Limits, Progress, Reject, Version, with_scratch};
use super::request::upgrade_byte;

/// What the request was, as far as the answer's meaning depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The method was HEAD: no body whatever the fields say.
    pub head: bool,
    /// An upgrade was passed on: 101 is a possible answer.
    pub upgrade: bool,
}

/// One response head. Kept and reused: [`ResponseHead::clear`], then [`parse_response`] again.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub reason: Span,
    pub version: Version,
    pub fields: Fields,
    pub framing: Framing,
    /// Whether the upstream's connection can be used again once the body is read.
    pub keep_alive: bool,
    /// The protocol switched to (101), or wanted (426).
    pub upgrade: Option<Span>,
    /// Bytes of the buffer that the head takes.
    pub len: usize,
    progress: Progress,
}

impl ResponseHead {
    /// 100, 103 and the like: another head follows. 101 is final.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Makes it ready for the next head.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.progress = Progress::default();
        self.len = 0;
    }
}

/// Reads the head at the start of `buf`. `Ok(false)`: it is not all there; call again with more
/// behind the same bytes. After `Ok(true)` or an error, [`ResponseHead::clear`] comes first.
#[inline]
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    asked: Asked,
    head: &mut ResponseHead,
) -> Result<bool, Reject> {
    let bad = Reject::bad_gateway;
    if !matches!(buf.first(), None | Some(b'H')) {
        // The parser would skip empty lines here; behind a body they are a wrong length.
        return Err(bad("bad status line"));
    }
    let mut complete = false;
    if head.progress.worth_trying(buf).map_err(bad)? {
        complete = with_scratch(limits, |scratch| read(buf, scratch, head)).map_err(bad)?;
        head.progress.tried(buf);
    }
    if !complete {
        return match buf.len() < limits.max_head_size {
            true => Ok(false),
            false => Err(bad("head too large")),
        };
    }
    if head.len > limits.max_head_size {
        return Err(bad("head too large"));
    }
    understand(buf, asked, head).map_err(bad)?;
    Ok(true)
}

#[inline]
fn read<'b>(
    buf: &'b [u8],
    scratch: &mut grammar::Scratch<'b>,
    head: &mut ResponseHead,
) -> Result<bool, &'static str> {
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        buf,
        scratch,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(false),
        Err(error) => return Err(grammar::diagnose(buf, error, "bad status line")),
    };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err("bad status line");
    };
    if status < 100 {
        return Err("bad status");
    }
    grammar::take_fields(buf, len, response.headers, FieldId::of, &mut head.fields)?;
    head.status = status;
    head.version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    head.len = len;
    // "HTTP/1.1 200" is twelve bytes; the line ends before the first field, or before the end.
    let line_end = head
        .fields
        .iter()
        .next()
        .map_or(len - 2, |f| f.name.start as usize)
        - 2;
    head.reason = Span::new(line_end.min(13), line_end);
    Ok(true)
}

#[inline]
fn understand(buf: &[u8], asked: Asked, head: &mut ResponseHead) -> Result<(), &'static str> {
    let options = grammar::connection_options(buf, &mut head.fields)?;
    head.keep_alive = match head.version {
        Version::Http11 => !options.close,
        Version::Http10 => options.keep_alive && !options.close,
    };

    let length = grammar::content_length(buf, &mut head.fields)?;
    let chunked = match grammar::transfer_coding(buf, &mut head.fields) {
        Coding::Absent => false,
        Coding::Chunked if head.version == Version::Http10 => {
            return Err("transfer-encoding in http/1.0");
        }
        Coding::Chunked => true,
        Coding::Repeated => return Err("more than one transfer-encoding"),
        Coding::Unknown => return Err("unknown transfer-encoding"),
    };
    if chunked && length.is_some() {
        return Err("both content-length and transfer-encoding");
    }

    let never_a_body = head.status < 200 || head.status == 204;
    if never_a_body || head.status == 304 || asked.head {
        head.framing = Framing::None;
        // Such an upstream may send the body it announces all the same.
        if never_a_body && (chunked || length.is_some_and(|n| n > 0)) {
            if head.status < 200 {
                return Err("interim response with a body");
            }
            head.keep_alive = false;
        }
    } else {
        head.framing = match length {
            _ if chunked => Framing::Chunked,
            Some(n) => Framing::Length(n),
            None => Framing::UntilClose,
        };
        if head.framing == Framing::UntilClose {
            head.keep_alive = false;
        }
    }

    head.upgrade = None;
    if matches!(head.status, 101 | 426) {
        let value = head.fields.get(FieldId::Upgrade).map(|f| f.value);
        head.upgrade =
            value.filter(|v| !v.is_empty() && v.get(buf).iter().all(|b| upgrade_byte(*b)));
        if head.status == 101 && !asked.upgrade {
            return Err("101 without a request for it");
        }
        if head.status == 101 && head.upgrade.is_none() {
            return Err("101 without a protocol");
        }
    }
    Ok(())
}
