use super::*;

const GET: Asked = Asked {
    head: false,
    upgrade: false,
};
const HEAD: Asked = Asked {
    head: true,
    upgrade: false,
};
const UPGRADE: Asked = Asked {
    head: false,
    upgrade: true,
};

fn written(
    bytes: &str,
    asked: Asked,
    edit: impl Fn(&ResponseHead) -> ResponseEdit<'static>,
) -> String {
    let head = response(bytes.as_bytes(), asked).unwrap();
    let mut out = Vec::new();
    write_response(&head, bytes.as_bytes(), &edit(&head), &mut out);
    String::from_utf8(out).unwrap()
}

fn same(head: &ResponseHead) -> ResponseEdit<'static> {
    ResponseEdit {
        framing: head.framing,
        ..ResponseEdit::default()
    }
}

#[test]
fn the_end_of_a_body_is_known_from_status_request_and_fields() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let five = "Content-Length: 5\r\n";
    let table = [
        ("HTTP/1.1 200 OK", five, GET, Framing::Length(5), true),
        ("HTTP/1.1 200 OK", chunked, GET, Framing::Chunked, true),
        (
            "HTTP/1.1 200 OK",
            "Transfer-Encoding: CHUNKED\r\n",
            GET,
            Framing::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK", "", GET, Framing::UntilClose, false),
        ("HTTP/1.1 200", five, GET, Framing::Length(5), true),
        ("HTTP/1.1 200 ", five, GET, Framing::Length(5), true),
        ("HTTP/1.1 200 OK", five, HEAD, Framing::None, true),
        ("HTTP/1.1 200 OK", "", HEAD, Framing::None, true),
        ("HTTP/1.1 304 Not Modified", five, GET, Framing::None, true),
        ("HTTP/1.1 204 No Content", "", GET, Framing::None, true),
        ("HTTP/1.1 204 No Content", five, GET, Framing::None, false),
        (
            "HTTP/1.1 204 No Content",
            chunked,
            GET,
            Framing::None,
            false,
        ),
        ("HTTP/1.1 100 Continue", "", GET, Framing::None, true),
        (
            "HTTP/1.1 103 Early Hints",
            "Link: <a>\r\n",
            GET,
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 101 Switching",
            "Upgrade: x\r\n",
            UPGRADE,
            Framing::None,
            true,
        ),
        ("HTTP/1.0 200 OK", five, GET, Framing::Length(5), false),
        (
            "HTTP/1.0 200 OK",
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
            GET,
            Framing::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200 OK",
            "Content-Length: 5\r\nConnection: close\r\n",
            GET,
            Framing::Length(5),
            false,
        ),
        ("HTTP/1.1 999 What", five, GET, Framing::Length(5), true),
    ];
    for (line, fields, asked, framing, keep) in table {
        let head = response(format!("{line}\r\n{fields}\r\n").as_bytes(), asked).unwrap();
        assert_eq!(
            (head.framing, head.keep_alive),
            (framing, keep),
            "{line} {fields:?}"
        );
    }
}

#[test]
fn the_reason_phrase_is_found_in_every_form() {
    for (line, reason) in [
        ("HTTP/1.1 200 OK", "OK"),
        ("HTTP/1.1 404 Not Found", "Not Found"),
        ("HTTP/1.1 200 ", ""),
        ("HTTP/1.1 200", ""),
        ("HTTP/1.0 200 \u{e9}", "\u{e9}"),
    ] {
        for fields in ["", "A: b\r\n"] {
            let bytes = format!("{line}\r\n{fields}\r\n");
            let head = response(bytes.as_bytes(), GET).unwrap();
            assert_eq!(
                head.reason.get(bytes.as_bytes()),
                reason.as_bytes(),
                "{bytes:?}"
            );
        }
    }
}

#[test]
fn answers_that_two_parsers_could_read_differently_are_refused() {
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    let table: Vec<(String, Asked, &str)> = vec![
        (
            ok("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            GET,
            "both content-length and transfer-encoding",
        ),
        (
            ok("Content-Length: 3\r\nContent-Length: 4\r\n"),
            GET,
            "more than one content-length",
        ),
        (ok("Content-Length: 3,3\r\n"), GET, "bad content-length"),
        (ok("Content-Length: x\r\n"), GET, "bad content-length"),
        (ok("Content-Length: x\r\n"), HEAD, "bad content-length"),
        (
            ok("Transfer-Encoding: gzip\r\n"),
            GET,
            "unknown transfer-encoding",
        ),
        (
            ok("Transfer-Encoding: gzip, chunked\r\n"),
            GET,
            "unknown transfer-encoding",
        ),
        (
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            GET,
            "more than one transfer-encoding",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            GET,
            "transfer-encoding in http/1.0",
        ),
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n".into(), GET, "bare LF"),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n".into(), GET, "bare LF"),
        ("HTTP/1.1 200 OK\r\nA: b\n\n".into(), GET, "bare LF"),
        (ok("A: b\rc\r\n"), GET, "bare CR"),
        (ok("A: b\r\n c\r\n"), GET, "line folding"),
        (ok("A : b\r\n"), GET, "space before colon"),
        (ok(": b\r\n"), GET, "empty field name"),
        (ok("A: \0\r\n"), GET, "control character in field value"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), GET, "bad status line"),
        ("HTTP/2 200 OK\r\n\r\n".into(), GET, "bad status line"),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), GET, "bad status line"),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), GET, "bad status line"),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), GET, "bad status"),
        ("SSH-2.0-OpenSSH\r\n".into(), GET, "bad status line"),
        (
            "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n".into(),
            GET,
            "interim response with a body",
        ),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".into(),
            GET,
            "101 without a request for it",
        ),
        (
            "HTTP/1.1 101 Switching\r\n\r\n".into(),
            UPGRADE,
            "101 without a protocol",
        ),
        (ok(&"A: b\r\n".repeat(101)), GET, "too many fields"),
        (
            ok(&format!("A: {}\r\n", "b".repeat(20_000))),
            GET,
            "head too large",
        ),
    ];
    for (bytes, asked, reason) in table {
        let found = response(bytes.as_bytes(), asked).map(|_| ());
        assert_eq!(
            found,
            Err(Reject {
                status: 502,
                reason
            }),
            "{bytes:?}"
        );
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_answer() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX:\r\n\r\nabc";
    let whole = response(bytes, GET).unwrap();
    let mut head = ResponseHead::default();
    let complete = (0..=bytes.len())
        .find(|n| parse_response(&bytes[..*n], &Limits::default(), GET, &mut head).unwrap())
        .unwrap();
    assert_eq!(complete, whole.len);
    assert_eq!(head.framing, whole.framing);
}

#[test]
fn an_answer_without_anything_to_change_goes_on_byte_for_byte() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ] {
        assert_eq!(written(bytes, GET, same), bytes);
    }
}

#[test]
fn answers_lose_what_concerns_the_upstreams_connection_alone() {
    assert_eq!(
        written(
            "HTTP/1.0 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n\
             Content-Length: 05\r\nUpgrade: h2c\r\nX-Request-Id: theirs\r\n\r\n",
            GET,
            |head| ResponseEdit {
                request_id: Some(b"ours"),
                connection: ClientConnection::for_client(Version::Http10, true),
                ..same(head)
            }
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-Request-Id: ours\r\n\r\n"
    );
}

#[test]
fn framing_is_told_as_the_client_gets_it() {
    let until_close = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    assert_eq!(
        written(until_close, GET, |_| ResponseEdit {
            framing: Framing::Chunked,
            ..ResponseEdit::default()
        }),
        "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n";
    assert_eq!(
        written(chunked, GET, |_| ResponseEdit {
            framing: Framing::UntilClose,
            connection: ClientConnection::Close,
            ..ResponseEdit::default()
        }),
        "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n"
    );
    let empty = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(written(empty, GET, same), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_switch_of_protocols_goes_on_with_its_fields() {
    assert_eq!(
        written(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: x\r\n\r\n",
            UPGRADE,
            same
        ),
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
}
