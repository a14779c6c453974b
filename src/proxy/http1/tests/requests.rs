use super::*;

#[test]
fn a_plain_request_is_understood() {
    let bytes = b"GET /a/b?c=d HTTP/1.1\r\nHost: Example.com:8080\r\nAccept: */*\r\n\r\nrest";
    let head = request(bytes).unwrap();
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.path.get(bytes), b"/a/b");
    assert_eq!(head.query.get(bytes), b"?c=d");
    assert_eq!(head.target.get(bytes), b"/a/b?c=d");
    assert_eq!(head.host(), "example.com");
    assert_eq!(head.authority.get(bytes), b"Example.com:8080");
    assert_eq!(head.port, Some(8080));
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, Framing::None);
    assert!(head.keep_alive && !head.expect_continue && !head.te_trailers);
    assert_eq!(head.upgrade, None);
    assert_eq!(head.len, bytes.len() - 4);
    assert_eq!(head.fields.find(b"accept", bytes), Some(&b"*/*"[..]));
}

#[test]
fn a_head_is_reused_without_traces_of_the_last_one() {
    let first = b"POST http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: w\r\n\
        TE: trailers\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let second = b"GET / HTTP/1.0\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(
        parse_request(first, &Limits::default(), &mut head),
        Ok(true)
    );
    head.clear();
    assert_eq!(
        parse_request(second, &Limits::default(), &mut head),
        Ok(true)
    );
    let fresh = request(second).unwrap();
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

/// Each line: what comes in, the status and the reason that must come out.
#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let table: Vec<(String, u16, &str)> = vec![
        // Two framings, or one that is not quite one.
        (
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "both content-length and transfer-encoding",
        ),
        (
            post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
            400,
            "both content-length and transfer-encoding",
        ),
        (
            post("Transfer-Encoding: xchunked\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: chunked, identity\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: gzip, chunked\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: identity\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: \"chunked\"\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: chunked;q=1\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding:\r\n"),
            501,
            "unknown transfer-encoding",
        ),
        (
            post("Transfer-Encoding: chunked\u{b}\r\n"),
            400,
            "control character in field value",
        ),
        (
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "more than one transfer-encoding",
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            400,
            "transfer-encoding in http/1.0",
        ),
        (
            post("Content-Length: 3\r\nContent-Length: 4\r\n"),
            400,
            "more than one content-length",
        ),
        (
            post("Content-Length: 3\r\nContent-Length: 3\r\n"),
            400,
            "more than one content-length",
        ),
        (post("Content-Length: 3, 3\r\n"), 400, "bad content-length"),
        (post("Content-Length: -3\r\n"), 400, "bad content-length"),
        (post("Content-Length: +3\r\n"), 400, "bad content-length"),
        (post("Content-Length: 0x3\r\n"), 400, "bad content-length"),
        (post("Content-Length: 3 3\r\n"), 400, "bad content-length"),
        (post("Content-Length: 1_0\r\n"), 400, "bad content-length"),
        (post("Content-Length:\r\n"), 400, "bad content-length"),
        (
            post("Content-Length: 99999999999999999999\r\n"),
            400,
            "bad content-length",
        ),
        (post("Content-Length: 3.0\r\n"), 400, "bad content-length"),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".into(),
            400,
            "trace with a body",
        ),
        // Lines.
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), 400, "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), 400, "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), 400, "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\n\n".into(), 400, "bare LF"),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400, "bare LF"),
        ("GET / HTTP/1.0\n\n".into(), 400, "bare LF"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, "bare LF"),
        (
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(),
            400,
            "empty line before request",
        ),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, "bare CR"),
        (get("Host: a\rb\r\n"), 400, "bare CR"),
        (
            get("Host: a\r\nX: y\rTransfer-Encoding: chunked\r\n"),
            400,
            "bare CR",
        ),
        (get("Host: a\r\nX\r: y\r\n"), 400, "bare CR"),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n".into(), 400, "bare CR"),
        (get("Host: a\r\nX: y\r\n z\r\n"), 400, "line folding"),
        (get("Host: a\r\nX: y\r\n\tz: w\r\n"), 400, "line folding"),
        (get(" Host: a\r\n"), 400, "line folding"),
        (
            get("Host: a\r\nContent-Length : 3\r\n"),
            400,
            "space before colon",
        ),
        (
            get("Host: a\r\nContent-Length\t: 3\r\n"),
            400,
            "space before colon",
        ),
        (get("Host: a\r\n: x\r\n"), 400, "empty field name"),
        (get("Host: a\r\nX\0: y\r\n"), 400, "bad field name"),
        (get("Host: a\r\n(X): y\r\n"), 400, "bad field name"),
        (get("Host: a\r\nnonsense\r\n"), 400, "bad field name"),
        (
            get("Host: a\r\nX: y\0\r\n"),
            400,
            "control character in field value",
        ),
        (
            get("Host: a\r\nX: \u{1b}[2J\r\n"),
            400,
            "control character in field value",
        ),
        (
            get("Host: a\r\nX: \u{7f}\r\n"),
            400,
            "control character in field value",
        ),
        // Start line.
        (
            "G<T / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        (
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        (
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        (
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        (
            "GET / a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        (
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(),
            400,
            "bad line end",
        ),
        (
            "GET / http/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "bad request line",
        ),
        ("GET /\r\n".into(), 400, "bad request line"),
        (
            "GET / HTTP/2.0\r\n\r\n".into(),
            505,
            "unsupported http version",
        ),
        (
            "GET / HTTP/1.2\r\n\r\n".into(),
            505,
            "unsupported http version",
        ),
        (
            "GET / HTTP/0.9\r\n\r\n".into(),
            505,
            "unsupported http version",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            505,
            "unsupported http version",
        ),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(),
            501,
            "connect is not offered",
        ),
        // Targets.
        (target("a"), 400, "bad request target"),
        (target("*"), 400, "bad request target"),
        (target("a:80"), 400, "bad request target"),
        (target("ftp://a/"), 400, "bad request target"),
        (target("http://u:p@a/"), 400, "userinfo in request target"),
        (target("http:///x"), 400, "bad host"),
        (target("http://a:x/"), 400, "bad port in host"),
        (target("/a#b"), 400, "bad byte in request target"),
        (target("/\u{e9}"), 400, "bad byte in request target"),
        (target("/a\0b"), 400, "bad request line"),
        (target("/a\u{7f}b"), 400, "bad request line"),
        (target("/a/../b"), 400, "dot segment in path"),
        (target("/a/%2e%2E/b"), 400, "dot segment in path"),
        (target("/a/..;/b"), 400, "dot segment in path"),
        (target("/a%00"), 400, "escaped NUL in path"),
        // Hosts.
        (get(""), 400, "no host"),
        (get("Host:\r\n"), 400, "bad host"),
        (get("Host: a\r\nHost: a\r\n"), 400, "more than one host"),
        (get("Host: a\r\nhost: b\r\n"), 400, "more than one host"),
        (get("Host: a, b\r\n"), 400, "bad host"),
        (get("Host: a b\r\n"), 400, "bad host"),
        (get("Host: u@a\r\n"), 400, "bad host"),
        (get("Host: a/b\r\n"), 400, "bad host"),
        (get("Host: a:80x\r\n"), 400, "bad port in host"),
        (get("Host: a:x\r\n"), 400, "bad port in host"),
        (get("Host: a:99999\r\n"), 400, "bad port in host"),
        (get("Host: [::1\r\n"), 400, "bad host"),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n".into(),
            400,
            "bad host",
        ),
        // Connection, Upgrade, Expect.
        (
            get("Host: a\r\nConnection: a b\r\n"),
            400,
            "bad connection option",
        ),
        (
            get(&format!("Host: a\r\nConnection: {}\r\n", "x,".repeat(33))),
            400,
            "too many connection options",
        ),
        (
            get("Host: a\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"),
            400,
            "more than one upgrade",
        ),
        (
            get("Host: a\r\nConnection: upgrade\r\nUpgrade: a=b\r\n"),
            400,
            "bad upgrade",
        ),
        (
            post("Expect: 200-ok\r\nContent-Length: 3\r\n"),
            417,
            "unknown expectation",
        ),
        // Size.
        (
            get(&format!("Host: a\r\n{}", "X: y\r\n".repeat(100))),
            431,
            "too many fields",
        ),
        (
            get(&format!("Host: a\r\nX: {}\r\n", "y".repeat(17_000))),
            431,
            "head too large",
        ),
    ];
    for (bytes, status, reason) in table {
        let found = request(bytes.as_bytes()).map(|_| ());
        assert_eq!(found, Err(Reject { status, reason }), "{bytes:?}");
    }
}

#[test]
fn a_head_that_never_ends_is_given_up_at_the_limit() {
    let limits = Limits {
        max_head_size: 1024,
        max_headers: 10,
    };
    let mut head = RequestHead::default();
    let line = format!("GET /{}", "a".repeat(1020));
    assert_eq!(
        parse_request(line.as_bytes(), &limits, &mut head).map_err(|r| r.status),
        Err(414)
    );
    head.clear();
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(1024));
    assert_eq!(
        parse_request(fields.as_bytes(), &limits, &mut head).map_err(|r| r.status),
        Err(431)
    );
}

#[test]
fn a_wrong_head_is_refused_before_its_end_has_come() {
    let whole = format!("GET / HTTP/1.1\r\nHost: a\r\nbad name: {}", "x".repeat(400));
    let mut head = RequestHead::default();
    let early = (1..whole.len())
        .find(|n| parse_request(&whole.as_bytes()[..*n], &Limits::default(), &mut head).is_err());
    assert!(early.is_some_and(|n| n <= 64), "{early:?}");
}

#[test]
fn one_byte_at_a_time_gives_the_same_head() {
    let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a.b:1\r\nContent-Length: 3\r\nX:\r\n\r\nabc";
    let whole = request(bytes).unwrap();
    let mut head = RequestHead::default();
    let complete = (0..=bytes.len())
        .find(|n| parse_request(&bytes[..*n], &Limits::default(), &mut head).unwrap())
        .unwrap();
    assert_eq!(complete, whole.len);
    assert_eq!(head.framing, whole.framing);
    assert_eq!(head.host(), whole.host());
    assert_eq!(head.fields.len(), whole.fields.len());
}

#[test]
fn connections_stay_or_close_as_their_version_says() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close, x\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
    ];
    for (bytes, keep) in table {
        assert_eq!(
            request(bytes.as_bytes()).unwrap().keep_alive,
            keep,
            "{bytes:?}"
        );
    }
}

#[test]
fn only_real_upgrades_are_tunnelled() {
    let asks = |version: &str, connection: &str, upgrade: &str| {
        let bytes = format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\r\n"
        );
        request(bytes.as_bytes()).unwrap().upgrade.is_some()
    };
    assert!(asks("1.1", "keep-alive, Upgrade", "websocket"));
    assert!(asks("1.1", "upgrade", "SPDY/3.1"));
    assert!(!asks("1.1", "keep-alive", "websocket"));
    assert!(!asks("1.0", "upgrade", "websocket"));
    assert!(!asks("1.1", "upgrade, http2-settings", "h2c"));
    assert!(!asks("1.1", "upgrade", "websocket, h2c"));
    assert!(!asks("1.1", "upgrade", "TLS/1.0"));
    assert!(!asks("1.1", "upgrade", "HTTP/2.0"));
}

#[test]
fn the_absolute_target_wins_over_host_and_one_canonical_host_goes_on() {
    let out = forwarded(
        "GET HTTP://Good.example:81/a?b HTTP/1.1\r\nX: 1\r\nHost: evil\r\nY: 2\r\n\r\n",
        &RequestEdit::default(),
    );
    assert_eq!(
        out,
        "GET /a?b HTTP/1.1\r\nX: 1\r\nY: 2\r\nHost: Good.example:81\r\n\r\n"
    );
    let out = forwarded(
        "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        &RequestEdit::default(),
    );
    assert_eq!(out, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let out = forwarded(
        "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
        &RequestEdit::default(),
    );
    assert_eq!(out, "GET /?q HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_request_without_anything_to_change_goes_on_byte_for_byte() {
    let bytes = "POST /x?y=%20 HTTP/1.1\r\nhOsT:  a:80 \r\ncontent-length: 3\r\nX-Y: \u{e9}\t\r\n\
        Cookie: a=b\r\nEmpty:\r\n\r\n";
    assert_eq!(forwarded(bytes, &RequestEdit::default()), bytes);
}

#[test]
fn hop_by_hop_fields_stay_here_and_those_that_matter_cannot_be_removed() {
    let out = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, Host, Content-Length, Cookie\r\n\
         Keep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Connection: x\r\nContent-Length: 2\r\n\
         Proxy: http://evil\r\nHTTP2-Settings: x\r\nCookie: a=b\r\nUpgrade: h2c\r\nX-Stay: 1\r\n\r\n",
        &RequestEdit::default(),
    );
    assert_eq!(
        out,
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nCookie: a=b\r\nX-Stay: 1\r\n\r\n"
    );
}

#[test]
fn upgrade_te_and_expect_go_on_where_they_mean_something() {
    let out = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\n\
         TE: gzip, trailers\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
        &RequestEdit::default(),
    );
    assert_eq!(
        out,
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\
         Connection: upgrade, te\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n"
    );
    let without_body = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n";
    assert!(!request(without_body.as_bytes()).unwrap().expect_continue);
    assert!(!forwarded(without_body, &RequestEdit::default()).contains("Expect"));
}

#[test]
fn framing_in_an_odd_spelling_goes_on_in_the_plain_one() {
    let out = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        &RequestEdit::default(),
    );
    assert!(
        out.ends_with("Host: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "{out}"
    );
    let out = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0010\r\n\r\n",
        &RequestEdit::default(),
    );
    assert!(
        out.ends_with("Host: a\r\nContent-Length: 10\r\n\r\n"),
        "{out}"
    );
}

#[test]
fn an_http_1_0_request_goes_on_as_1_1_with_a_host() {
    let edit = RequestEdit {
        default_host: b"10.0.0.1:80",
        ..RequestEdit::default()
    };
    assert_eq!(
        forwarded("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &edit),
        "GET /a HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n"
    );
}

#[test]
fn a_stripped_path_keeps_its_query() {
    let edit = |path: &'static [u8]| RequestEdit {
        path: Some(path),
        ..RequestEdit::default()
    };
    let bytes = "GET /app/x?y=z HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        forwarded(bytes, &edit(b"/x")),
        "GET /x?y=z HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    assert_eq!(
        forwarded(bytes, &edit(b"")),
        "GET /?y=z HTTP/1.1\r\nHost: a\r\n\r\n"
    );
}

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-For: 1.1.1.1\r\n\
    X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nx-real-ip: 1.1.1.1\r\n\
    X-Request-Id: theirs\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-Ssl: on\r\nX_Real_IP: 3.3.3.3\r\n\r\n";

#[test]
fn what_a_stranger_claims_to_forward_is_replaced() {
    let forwarded_by_us = Forwarded::new("9.9.9.9", "http", 80, false);
    let edit = RequestEdit {
        forwarded: Some(&forwarded_by_us),
        request_id: Some(b"ours"),
        ..RequestEdit::default()
    };
    assert_eq!(
        forwarded(CLAIMS, &edit),
        "GET / HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Port: 80\r\nX-Real-IP: 9.9.9.9\r\nX-Forwarded-Host: a:81\r\n\
         X-Request-Id: ours\r\n\r\n"
    );
    let hiding = CLAIMS.replace("\r\n\r\n", "\r\nConnection: x-forwarded-for\r\n\r\n");
    assert!(forwarded(&hiding, &edit).contains("X-Forwarded-For: 9.9.9.9\r\n"));
}

#[test]
fn what_a_trusted_peer_forwards_is_kept_and_completed() {
    let forwarded_by_us = Forwarded::new("9.9.9.9", "http", 80, true);
    let edit = RequestEdit {
        forwarded: Some(&forwarded_by_us),
        // Whether to take over the peer's is decided before.
        request_id: Some(b"theirs"),
        ..RequestEdit::default()
    };
    assert_eq!(
        forwarded(CLAIMS, &edit),
        "GET / HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-Proto: https\r\nx-real-ip: 1.1.1.1\r\n\
         Forwarded: for=1.1.1.1\r\nX-Forwarded-Ssl: on\r\n\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 9.9.9.9\r\nX-Forwarded-Port: 80\r\n\
         X-Forwarded-Host: a:81\r\nX-Request-Id: theirs\r\n\r\n"
    );
}

#[test]
fn many_fields_are_taken_when_the_limit_says_so() {
    let bytes = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(998)
    );
    let limits = Limits {
        max_head_size: 65_536,
        max_headers: 1000,
    };
    let mut head = RequestHead::default();
    assert_eq!(
        parse_request(bytes.as_bytes(), &limits, &mut head),
        Ok(true)
    );
    assert_eq!(head.fields.len(), 999);
}
