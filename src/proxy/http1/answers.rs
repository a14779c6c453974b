//! Our own answers: what a client gets when no upstream answers for us.
//!
//! Plain text unless the operator set a page. Written with the same care as an upstream's answer:
//! length, connection and, for HEAD, no body.

use super::write::{ClientConnection, decimal, line};

/// The statuses we answer with by ourselves.
const OWN: [u16; 17] = [
    400, 401, 403, 404, 405, 408, 413, 414, 417, 429, 431, 500, 501, 502, 503, 504, 505,
];

/// The bodies of our own answers, by status.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    set: Vec<Page>,
}

#[derive(Clone, Debug)]
struct Page {
    status: u16,
    content_type: Box<str>,
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
    /// More field lines, each with its CR LF, well formed.
    pub extra: &'a [u8],
}

impl Pages {
    /// Puts an operator's page in the place of the plain one. Refuses a status that we never answer
    /// with, and a content type that is no field value.
    pub fn set(
        &mut self,
        status: u16,
        content_type: &str,
        body: impl Into<Box<[u8]>>,
    ) -> Result<(), &'static str> {
        if !OWN.contains(&status) {
            return Err("not a status of our own answers");
        }
        if content_type.is_empty() || !content_type.bytes().all(|b| (b' '..0x7f).contains(&b)) {
            return Err("bad content type");
        }
        self.set.retain(|page| page.status != status);
        self.set.push(Page {
            status,
            content_type: content_type.into(),
            body: body.into(),
        });
        Ok(())
    }

    /// Appends the whole answer to `out`.
    pub fn write(&self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        let phrase = reason_phrase(answer.status);
        out.extend_from_slice(b"HTTP/1.1 ");
        decimal(u64::from(answer.status), out);
        out.push(b' ');
        line(phrase.as_bytes(), b"", out);

        let page = self.set.iter().find(|page| page.status == answer.status);
        let page = answer
            .page
            .or_else(|| page.map(|page| (&*page.content_type, &*page.body)));
        let content_type = page.map_or("text/plain; charset=utf-8", |(content_type, _)| {
            content_type
        });
        // RFC 9110, 15.3.5: there is nothing behind this head, not even an empty body.
        let has_body = answer.status != 204;
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
        out.extend_from_slice(answer.extra);
        out.extend_from_slice(b"\r\n");
        if answer.head_only || !has_body {
            return;
        }
        match page {
            Some((_, body)) => out.extend_from_slice(body),
            None => {
                decimal(u64::from(answer.status), out);
                out.push(b' ');
                out.extend(phrase.bytes().map(|b| b.to_ascii_lowercase()));
                out.push(b'\n');
            }
        }
    }
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
        for status in OWN {
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
        pages.set(503, "text/html", *b"<h1>old</h1>").unwrap();
        pages.set(503, "text/html", *b"<h1>back soon</h1>").unwrap();
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
}
