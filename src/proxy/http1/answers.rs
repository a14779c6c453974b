//! Our own answers: what a client gets when no upstream answers for us.
//!
//! Plain text unless the operator set a page. Written with the same care as an upstream's answer:
//! length, connection and, for HEAD, no body.

use super::field::FieldId;
use super::grammar::is_token_byte;
use super::write::{ClientConnection, decimal, line};
use crate::config::PAGE_STATUSES;

/// The bodies of our own answers as the operator's files have them.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    by_status: Vec<(u16, Page)>,
    by_file: Vec<(Box<str>, Page)>,
}

/// One file: a body, or a whole answer as HAProxy writes them.
#[derive(Clone, Debug)]
struct Page {
    /// What the file itself says; `None`: that of the answer.
    status: Option<u16>,
    content_type: Box<str>,
    /// More field lines.
    fields: Box<[u8]>,
    body: Box<[u8]>,
}

/// What an answer of our own depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    pub status: u16,
    /// The request was HEAD: the head of the answer alone.
    pub head_only: bool,
    pub connection: ClientConnection,
    pub request_id: Option<&'a [u8]>,
    /// A page in the place of the operator's for this status and of ours: content type and body.
    pub page: Option<(&'a str, &'a [u8])>,
    /// The name of a file whose page goes before that of the status, if there is such a file.
    pub file: Option<&'a str>,
    /// More field lines, each with its CR LF, well formed.
    pub extra: &'a [u8],
}

impl Pages {
    /// Puts an operator's page in the place of the plain one. Refuses a status that we never answer
    /// with, a second page for one status, and a content type that is no field value.
    pub fn set(
        &mut self,
        status: u16,
        content_type: &str,
        body: impl Into<Box<[u8]>>,
    ) -> Result<(), &'static str> {
        if content_type.is_empty() || !content_type.bytes().all(|b| (b' '..0x7f).contains(&b)) {
            return Err("bad content type");
        }
        let page = Page {
            status: None,
            content_type: content_type.into(),
            fields: Box::default(),
            body: body.into(),
        };
        self.put(status, page)
    }

    /// Takes a file in HAProxy's form, `NAME.http`: a whole answer with its head. Framing and
    /// connection are ours whatever it says of them. One that is called after a status of ours is
    /// the page for it; all of them can be asked for by name.
    pub fn set_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), &'static str> {
        let page = read_answer(bytes)?;
        let status = name.strip_suffix(".http").and_then(|s| s.parse().ok());
        if let Some(status) = status.filter(|status| PAGE_STATUSES.contains(status)) {
            self.put(status, page.clone())?;
        }
        self.by_file.push((name.into(), page));
        Ok(())
    }

    fn put(&mut self, status: u16, page: Page) -> Result<(), &'static str> {
        if !PAGE_STATUSES.contains(&status) {
            return Err("not a status of our own answers");
        }
        if self.by_status.iter().any(|(of, _)| *of == status) {
            return Err("a second page for this status");
        }
        self.by_status.push((status, page));
        Ok(())
    }

    fn find(&self, answer: &Answer<'_>) -> Option<&Page> {
        if answer.page.is_some() {
            return None;
        }
        let named = answer.file.and_then(|file| {
            let file = self.by_file.iter().find(|(name, _)| **name == *file);
            file.map(|(_, page)| page)
        });
        named.or_else(|| {
            let of_status = self.by_status.iter().find(|(of, _)| *of == answer.status);
            of_status.map(|(_, page)| page)
        })
    }

    /// Appends the whole answer to `out`.
    pub fn write(&self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        let page = self.find(answer);
        let status = page.and_then(|p| p.status).unwrap_or(answer.status);
        let phrase = reason_phrase(status);
        out.extend_from_slice(b"HTTP/1.1 ");
        decimal(u64::from(status), out);
        out.push(b' ');
        line(phrase.as_bytes(), b"", out);

        let fields = page.map_or(&b""[..], |page| &page.fields);
        let page = answer
            .page
            .or_else(|| page.map(|page| (&*page.content_type, &*page.body)));
        let content_type = page.map_or("text/plain; charset=utf-8", |(content_type, _)| {
            content_type
        });
        // RFC 9110, 15.3.5 and 15.4.5: there is nothing behind such a head, not even an empty body. The
        // status may be a file's.
        let has_body = !matches!(status, 204 | 304);
        if has_body {
            line(b"Content-Type: ", content_type.as_bytes(), out);
            // "404 not found\n": the status and the phrase, as people quote them.
            let length = page.map_or(phrase.len() + 5, |(_, body)| body.len());
            out.extend_from_slice(b"Content-Length: ");
            decimal(length as u64, out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Cache-Control: no-cache\r\n");
        out.extend_from_slice(answer.connection.line());
        if let Some(id) = answer.request_id {
            line(b"X-Request-Id: ", id, out);
        }
        out.extend_from_slice(fields);
        out.extend_from_slice(answer.extra);
        out.extend_from_slice(b"\r\n");
        if answer.head_only || !has_body {
            return;
        }
        match page {
            Some((_, body)) => out.extend_from_slice(body),
            None => {
                decimal(u64::from(status), out);
                out.push(b' ');
                out.extend(phrase.bytes().map(|b| b.to_ascii_lowercase()));
                out.push(b'\n');
            }
        }
    }
}

/// Reads a whole answer from a file, with line ends of either kind.
fn read_answer(bytes: &[u8]) -> Result<Page, &'static str> {
    let mut rest = bytes;
    let mut next = || {
        let end = memchr::memchr(b'\n', rest).ok_or("its head does not end with an empty line")?;
        let (line, tail) = rest.split_at(end);
        rest = &tail[1..];
        Ok::<_, &str>(line.strip_suffix(b"\r").unwrap_or(line))
    };
    let first = next()?;
    let status = first
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(1..5))
        .and_then(|digits| {
            std::str::from_utf8(digits)
                .ok()?
                .strip_prefix(' ')?
                .parse()
                .ok()
        })
        .filter(|status| (200..600).contains(status))
        .ok_or("its first line is no status line, as in HTTP/1.0 503 Service Unavailable")?;
    if status == 205 {
        return Err("an answer with status 205 has no body; take 204");
    }
    let mut content_type: Box<str> = "application/octet-stream".into();
    let mut fields = Vec::new();
    loop {
        let field = next()?;
        if field.is_empty() {
            break;
        }
        const BAD: &str = "it has a line in its head that is no field";
        let colon = memchr::memchr(b':', field).ok_or(BAD)?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        let is_value = value
            .iter()
            .all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..));
        if name.is_empty() || !name.iter().all(|b| is_token_byte(*b)) || !is_value {
            return Err(BAD);
        }
        match FieldId::of(name) {
            FieldId::ContentType => {
                content_type = std::str::from_utf8(value).map_err(|_| BAD)?.into();
            }
            FieldId::Connection
            | FieldId::KeepAlive
            | FieldId::ProxyConnection
            | FieldId::Te
            | FieldId::Trailer
            | FieldId::TransferEncoding
            | FieldId::Upgrade
            | FieldId::ContentLength
            // Every answer of ours says it.
            | FieldId::CacheControl => {}
            _ => {
                fields.extend_from_slice(name);
                line(b": ", value, &mut fields);
            }
        }
    }
    Ok(Page {
        status: Some(status),
        content_type,
        fields: fields.into(),
        body: rest.into(),
    })
}

/// The phrase that goes with a status of our own; `Error` for any other.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asked, Framing, Limits, ResponseHead, parse_response};
    use super::*;

    fn read(pages: &Pages, answer: &Answer<'_>) -> (ResponseHead, Vec<u8>) {
        let mut out = Vec::new();
        pages.write(answer, &mut out);
        let mut head = ResponseHead::default();
        let asked = Asked {
            head: answer.head_only,
            upgrade: false,
        };
        assert_eq!(
            parse_response(&out, &Limits::default(), asked, &mut head),
            Ok(true)
        );
        (head, out)
    }

    #[test]
    fn every_own_answer_reads_as_a_response_of_its_length() {
        let pages = Pages::default();
        for status in PAGE_STATUSES {
            let answer = Answer {
                status,
                connection: ClientConnection::Close,
                ..Answer::default()
            };
            let (head, out) = read(&pages, &answer);
            assert_eq!(head.status, status);
            assert_ne!(reason_phrase(status), "Error");
            assert_eq!(head.framing, Framing::Length((out.len() - head.len) as u64));
            assert!(!head.keep_alive);
        }
    }

    #[test]
    fn an_answer_to_head_has_the_length_but_not_the_body() {
        let answer = Answer {
            status: 503,
            head_only: true,
            request_id: Some(b"abc"),
            ..Answer::default()
        };
        let (head, out) = read(&Pages::default(), &answer);
        assert_eq!(out.len(), head.len);
        assert_eq!(head.fields.find(b"content-length", &out), Some(&b"24"[..]));
        assert_eq!(head.fields.find(b"x-request-id", &out), Some(&b"abc"[..]));
        assert!(head.keep_alive);
    }

    #[test]
    fn an_operators_page_replaces_ours_and_bad_ones_are_refused() {
        let mut pages = Pages::default();
        pages.set(503, "text/html", *b"<h1>back soon</h1>").unwrap();
        assert!(pages.set(503, "text/html", *b"x").is_err());
        assert!(pages.set(200, "text/html", *b"x").is_err());
        assert!(pages.set(404, "text/html\r\nX: y", *b"x").is_err());
        let answer = Answer {
            status: 503,
            ..Answer::default()
        };
        let (head, out) = read(&pages, &answer);
        assert_eq!(&out[head.len..], b"<h1>back soon</h1>");
        assert_eq!(
            head.fields.find(b"content-type", &out),
            Some(&b"text/html"[..])
        );
    }

    #[test]
    fn a_file_of_haproxy_is_answered_with_our_own_framing() {
        let file = b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\n\
            Connection: close\r\nContent-Length: 7\r\nContent-Type: text/html\r\n\
            Retry-After: 9\r\n\r\n<h1>later</h1>\n";
        let mut pages = Pages::default();
        pages.set_file("503.http", file).unwrap();
        pages
            .set_file("teapot.http", b"HTTP/1.1 200 OK\nX-A: b\n\nhello")
            .unwrap();
        let mut answer = Answer {
            status: 503,
            ..Answer::default()
        };
        let (head, out) = read(&pages, &answer);
        assert_eq!(&out[head.len..], b"<h1>later</h1>\n");
        assert_eq!(head.framing, Framing::Length(15));
        assert!(head.keep_alive);
        assert_eq!(head.fields.find(b"retry-after", &out), Some(&b"9"[..]));
        assert_eq!(
            head.fields.find(b"content-type", &out),
            Some(&b"text/html"[..])
        );

        answer.file = Some("teapot.http");
        let (head, out) = read(&pages, &answer);
        assert_eq!(head.status, 200);
        assert_eq!(&out[head.len..], b"hello");
        assert_eq!(head.fields.find(b"x-a", &out), Some(&b"b"[..]));

        answer.file = Some("none.http");
        let (head, out) = read(&pages, &answer);
        assert_eq!(head.status, 503);
        assert_eq!(&out[head.len..], b"<h1>later</h1>\n");

        answer.page = Some(("text/plain", b"mine"));
        let (head, out) = read(&pages, &answer);
        assert_eq!(&out[head.len..], b"mine");
        assert_eq!(head.fields.find(b"retry-after", &out), None);
    }

    #[test]
    fn a_file_whose_status_has_no_body_is_a_head_alone() {
        for status in ["204 No Content", "304 Not Modified"] {
            let mut pages = Pages::default();
            let file = format!("HTTP/1.0 {status}\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
            pages.set_file("503.http", file.as_bytes()).unwrap();
            let answer = Answer {
                status: 503,
                ..Answer::default()
            };
            let (head, out) = read(&pages, &answer);
            assert_eq!(out.len(), head.len, "{status}");
            assert!(head.fields.find(b"content-length", &out).is_none());
            assert_eq!(head.fields.find(b"x-a", &out), Some(&b"b"[..]));
        }
    }

    #[test]
    fn files_that_are_no_answers_are_refused() {
        for bad in [
            "HTTP/1.0 205 Reset Content\n\n",
            "",
            "<h1>503</h1>\n\n",
            "HTTP/1.0 abc\n\n",
            "HTTP/1.0 099 X\n\n",
            "HTTP/1.0 100 Continue\n\n",
            "HTTP/1.0 503 X\nA: b",
            "HTTP/1.0 503 X\nno field\n\n",
            "HTTP/1.0 503 X\nA b: c\n\n",
            "HTTP/1.0 503 X\nA: b\rc\n\n",
        ] {
            assert!(
                Pages::default()
                    .set_file("503.http", bad.as_bytes())
                    .is_err(),
                "{bad:?}"
            );
        }
    }
}
