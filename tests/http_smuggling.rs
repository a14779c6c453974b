//! Requests and answers whose end or meaning two parties could read differently.
//!
//! Bad requests are answered 400 on a connection that closes, and not a byte of them reaches the
//! upstream. Bad answers become 502 and their connection is never used again. Where the RFCs leave a
//! choice, the test names what must never happen instead of one way to avoid it.

mod support;

use std::net::Shutdown;

use support::client::Client;
use support::message::Response;
use support::origin::{Gate, Origin, ok};
use support::pointsman::{Pointsman, Service};

/// Everything for `h.test` goes to `origin`.
fn before(origin: &Origin) -> Pointsman {
    Pointsman::builder()
        .service(&Service::http("web").hosts("h.test").upstream(origin.addr()))
        .setting("timeout_head", "2s")
        .setting("timeout_client", "2s")
        .setting("timeout_server", "5s")
        .start()
}

/// Sends `bytes` and closes the sending side, so that no case waits for a timeout; the answer, or
/// `None` when the connection was closed without one.
fn ask(pointsman: &Pointsman, bytes: &[u8]) -> Option<(Response, Client)> {
    let mut client = pointsman.client();
    client.try_send(bytes).ok()?;
    let _ = client.stream().shutdown(Shutdown::Write);
    let all = client.all_to_the_end();
    if all.is_empty() {
        return None;
    }
    let mut reader = support::message::Reader::new(&all[..]);
    let response = reader.response("GET").ok().flatten()?;
    Some((response, client))
}

/// Each head must be refused with one of `statuses`, and nothing of it may reach the upstream.
fn assert_heads_refused(statuses: &[u16], heads: &[&[u8]]) {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let mut faults = Vec::new();
    let mut reached = 0;
    for head in heads {
        let shown = head.escape_ascii().to_string();
        let shown = &shown[..shown.len().min(200)];
        match ask(&pointsman, head) {
            None => faults.push(format!("no answer to {shown}")),
            Some((response, client)) => {
                if !statuses.contains(&response.status()) {
                    faults.push(format!("{} to {shown}", response.status()));
                }
                // An answer that closes leaves nothing behind it, above all no second answer.
                let answers = client.all_text().matches("HTTP/1.1 ").count();
                if answers != 1 {
                    faults.push(format!("{answers} answers to {shown}"));
                }
            }
        }
        let raw = origin.raw();
        if raw.len() > reached {
            reached = raw.len();
            faults.push(format!("the upstream was reached by {shown}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    // The last proof that nothing is on its way: the first thing that arrives is a good request.
    assert_eq!(pointsman.get("h.test", "/good").status(), 200);
    assert_eq!(origin.only_request().head.target(), "/good");
}

/// Each body, sent after a head that says `chunked`, must be refused. The head may have gone on
/// already, but the upstream must never see a whole request.
fn assert_chunked_refused(bodies: &[&[u8]]) {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let mut faults = Vec::new();
    let mut reached = 0;
    for body in bodies {
        let shown = body.escape_ascii().to_string();
        let shown = &shown[..shown.len().min(120)];
        let bytes = [
            &b"POST /bad HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            body,
        ]
        .concat();
        match ask(&pointsman, &bytes) {
            None => faults.push(format!("no answer to {shown}")),
            Some((response, _)) if response.status() != 400 => {
                faults.push(format!("{} to {shown}", response.status()));
            }
            Some(_) => {}
        }
        if origin.requests().len() > reached {
            reached = origin.requests().len();
            faults.push(format!("the upstream got a whole request for {shown}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(pointsman.get("h.test", "/good").status(), 200);
    assert_eq!(origin.only_request().head.target(), "/good");
}

#[test]
fn content_length_beside_transfer_encoding_is_refused() {
    assert_heads_refused(
        &[400],
        &[
            b"POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn transfer_encodings_other_than_chunked_are_refused() {
    let values: &[&[u8]] = &[
        b"xchunked",
        b"chunkedx",
        b"identity",
        b"chunked, identity",
        b"chunked, chunked",
        b"chunked,",
        b"\"chunked\"",
        b"chunked;q=1",
        b"cow",
        b"",
        b"chunked\x0b",
        b"\x0bchunked",
        b"chunked\0",
        b"chunked\x7f",
        b"ch\xc3\xbcnked",
    ];
    let heads: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            [&b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: "[..], value, b"\r\n\r\n0\r\n\r\n"].concat()
        })
        .chain([
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\r\nHost: h.test\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ])
        .collect();
    let heads: Vec<&[u8]> = heads.iter().map(Vec::as_slice).collect();
    assert_heads_refused(&[400, 501], &heads);
}

#[test]
fn content_lengths_that_are_no_single_plain_number_are_refused() {
    let heads: Vec<String> = [
        "+5",
        "-5",
        "-0",
        "5 5",
        "5, 5",
        "5,6",
        "5,",
        ",5",
        "0x5",
        "5_0",
        "5;",
        "5.0",
        "1e1",
        "",
        "\t",
        "five",
        "18446744073709551616",
        "99999999999999999999999",
        "\u{664}",
    ]
    .iter()
    .map(|value| format!("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: {value}\r\n\r\nhello"))
    .chain([
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
            .to_owned(),
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello"
            .to_owned(),
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length : 5\r\n\r\nhello".to_owned(),
    ])
    .collect();
    let heads: Vec<&[u8]> = heads.iter().map(String::as_bytes).collect();
    assert_heads_refused(&[400], &heads);
}

#[test]
fn a_repeated_equal_content_length_never_goes_on_twice() {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let bytes =
        b"POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello";
    let (response, _) = ask(&pointsman, bytes).expect("an answer");
    if response.status() != 400 {
        assert_eq!(origin.only_request().head.all("content-length"), ["5"]);
    }
}

#[test]
fn lines_that_do_not_end_in_crlf_are_refused() {
    assert_heads_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\nHost: h.test\n\n",
            b"GET / HTTP/1.1\r\nHost: h.test\n\r\n",
            b"GET / HTTP/1.1\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\n\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: y\nContent-Length: 5\r\n\r\nhello",
            b"GET / HTTP/1.1\rHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: a\r\r\n\r\n",
        ],
    );
}

#[test]
fn malformed_header_lines_are_refused() {
    assert_heads_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: a\r\n\tfolded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost\t: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX : y\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\n\tX: y\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\n: empty\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nno colon here\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX(Y): z\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX\0Y: z\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: y\0z\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nX: y\x01z\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\n\xc3\xa9: z\r\n\r\n",
        ],
    );
}

#[test]
fn malformed_request_lines_are_refused() {
    assert_heads_refused(
        &[400, 501, 505],
        &[
            b"G(T / HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET\t/\tHTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET / x HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET /\x01 HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET /\x7f HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET no-slash HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: h.test\r\n\r\n",
            b"GET / http/1.1\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/01.1\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1x\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: h.test\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / ICAP/1.0\r\nHost: h.test\r\n\r\n",
        ],
    );
}

#[test]
fn http_0_9_and_transfer_encoding_in_http_1_0_are_refused() {
    assert_heads_refused(
        &[400, 501, 505],
        &[
            b"GET /\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: h.test\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: h.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn hosts_that_could_be_read_two_ways_are_refused() {
    assert_heads_refused(
        &[400],
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nHost: other.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\r\nHost: h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test, other.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test other.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@h.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test/x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test?x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test#x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test\\x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test:80x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test:80:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test:99999\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h.test:-1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            b"GET http://user@h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"GET http:// HTTP/1.1\r\nHost: h.test\r\n\r\n",
        ],
    );
}

#[test]
fn an_absolute_target_and_host_go_on_as_one_value() {
    let origin = Origin::saying("web");
    let other = Origin::saying("other");
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts("h.test").upstream(origin.addr()))
        .service(
            &Service::http("other")
                .hosts("other.test")
                .upstream(other.addr()),
        )
        .start();
    let same = b"GET http://h.test/a?b HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(&pointsman, same).expect("an answer").0.status(), 200);
    let seen = origin.only_request();
    assert_eq!(
        (seen.head.target(), seen.head.header("host")),
        ("/a?b", Some("h.test"))
    );
    // RFC 9112, 3.2.2: the target's host wins; refusing is as good. Two truths are not.
    let differs = b"GET http://other.test/a HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";
    let (response, _) = ask(&pointsman, differs).expect("an answer");
    if response.status() != 400 {
        assert_eq!(response.text(), "other");
        let seen = other.only_request();
        assert_eq!(
            (seen.head.target(), seen.head.header("host")),
            ("/a", Some("other.test"))
        );
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn connect_is_off() {
    assert_heads_refused(
        &[400, 405, 501],
        &[
            b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\nGET /x HTTP/1.1\r\nHost: h.test\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: h.test\r\n\r\n",
        ],
    );
}

#[test]
fn chunk_sizes_that_are_not_plain_hex_are_refused() {
    assert_chunked_refused(&[
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\t5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5.\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"00000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\0\r\nhello\r\n0\r\n\r\n",
        b";\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn chunks_with_wrong_line_ends_are_refused() {
    assert_chunked_refused(&[
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n folded\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
    ]);
}

#[test]
fn chunk_extensions_with_line_ends_or_without_bound_are_refused() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    assert_chunked_refused(&[
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a\0b\r\nhello\r\n0\r\n\r\n",
        long.as_bytes(),
    ]);
}

#[test]
fn endless_trailers_are_refused() {
    let large = format!("0\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    for body in [large, many] {
        let bytes =
            format!("POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        // The rest of such a body may meet a closed socket, and a reset may overtake the answer.
        if let Some((response, _)) = ask(&pointsman, bytes.as_bytes()) {
            assert!(
                [400, 431].contains(&response.status()),
                "{}",
                response.status()
            );
        }
        assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    }
    assert_eq!(pointsman.get("h.test", "/good").status(), 200);
}

#[test]
fn chunk_extensions_do_not_go_on() {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let bytes = b"POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n5;secret=1\r\nhello\r\n0;secret=2\r\n\r\n";
    assert_eq!(ask(&pointsman, bytes).expect("an answer").0.status(), 200);
    assert_eq!(origin.only_request().body.bytes, b"hello");
    let raw = origin.raw().concat();
    assert!(
        !String::from_utf8_lossy(&raw).contains("secret"),
        "{}",
        raw.escape_ascii()
    );
}

#[test]
fn forbidden_trailers_do_not_go_on() {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let trailers = "Content-Length: 7\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: evil\r\n\
                    X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\nX-Checksum: abc\r\n";
    let bytes = format!(
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    );
    let (response, _) = ask(&pointsman, bytes.as_bytes()).expect("an answer");
    if response.status() == 400 {
        return;
    }
    let body = origin.only_request().body;
    let names: Vec<_> = body
        .trailers
        .iter()
        .map(|(n, _)| n.to_ascii_lowercase())
        .collect();
    assert_eq!(names, ["x-checksum"]);
}

#[test]
fn a_body_on_get_is_a_body_and_not_the_next_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";
    let length = smuggled.len();
    for head in [
        format!("GET /a HTTP/1.1\r\nHost: h.test\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!(
            "GET /a HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
        format!(
            "OPTIONS /a HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
        format!("DELETE /a HTTP/1.1\r\nHost: h.test\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
    ] {
        let origin = Origin::saying("reached");
        let pointsman = before(&origin);
        let mut client = pointsman.client();
        client.send(&head);
        let status = client.response().status();
        if status == 400 {
            client.assert_closed();
            origin.assert_saw_nothing();
            continue;
        }
        assert_eq!(client.get("h.test", "/b").status(), 200, "{head}");
        let targets: Vec<_> = origin
            .wait_for(2)
            .iter()
            .map(|r| r.head.target().to_owned())
            .collect();
        assert_eq!(targets, ["/a", "/b"], "{head}");
        assert_eq!(origin.requests()[0].body.bytes, smuggled.as_bytes());
    }
}

#[test]
fn an_upstream_that_answers_before_the_body_is_not_reused_for_others() {
    // The first connection answers at the head and would take the rest of the body for requests.
    let origin = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            conn.send(ok(head.target()));
        }
    });
    let pointsman = before(&origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";
    let mut client = pointsman.client();
    client.send(format!(
        "POST /early HTTP/1.1\r\nHost: h.test\r\nContent-Length: {}\r\n\r\n",
        smuggled.len() + 10
    ));
    assert_eq!(client.response().text(), "/early");
    for _ in 0..5 {
        assert_eq!(pointsman.get("h.test", "/other").text(), "/other");
    }
    // The rest of the body, late: consumed or cut off, never a request.
    let _ = client.try_send(smuggled);
    let _ = client.try_send("0123456789GET /next HTTP/1.1\r\nHost: h.test\r\n\r\n");
    client.half_close();
    let rest = client.try_rest().unwrap_or_default();
    assert!(
        !String::from_utf8_lossy(&rest).contains("/smuggled"),
        "{}",
        rest.escape_ascii()
    );
    assert_eq!(pointsman.get("h.test", "/other").text(), "/other");
}

#[test]
fn a_final_answer_instead_of_100_leaves_no_room_for_a_request_in_the_body() {
    let origin = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            let text = head.target().to_owned();
            conn.send(format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ));
        }
    });
    let pointsman = before(&origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";
    let mut client = pointsman.client();
    client.send(format!(
        "POST /a HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        smuggled.len()
    ));
    assert_eq!(client.response().text(), "/a");
    let _ = client.try_send(smuggled);
    client.half_close();
    let rest = client.try_rest().unwrap_or_default();
    assert!(
        !String::from_utf8_lossy(&rest).contains("/smuggled"),
        "{}",
        rest.escape_ascii()
    );
    let raw = origin.raw();
    // As a body it may have gone on, on the connection of /a; as a request never.
    assert!(
        raw.iter().all(|r| !r.starts_with(b"GET /smuggled")),
        "{raw:?}"
    );
}

#[test]
fn bytes_behind_an_upgrade_that_was_declined_are_parsed_as_a_request() {
    let origin = Origin::saying("no upgrade here");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
         GET /behind HTTP/1.1\r\nHost: h.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    );
    client.half_close();
    assert_eq!(client.response().status(), 200);
    let _ = client.try_rest();
    for request in origin
        .requests()
        .iter()
        .filter(|r| r.head.target() == "/behind")
    {
        let forwarded = request
            .head
            .header("x-forwarded-for")
            .expect("it went through the balancer's hands");
        assert_eq!(forwarded, "127.0.0.1");
    }
}

#[test]
fn h2c_is_not_passed_on() {
    let origin = Origin::saying("plain");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    let status = client.response().status();
    if status == 400 {
        return;
    }
    let head = origin.only_request().head;
    assert!(
        !head.has("upgrade") && !head.has("http2-settings"),
        "{head:?}"
    );
}

#[test]
fn paths_are_routed_and_forwarded_as_the_same_bytes() {
    let api = Origin::saying("api");
    let admin = Origin::saying("admin");
    let service = |name: &str, path: &str, origin: &Origin| {
        Service::http(name)
            .paths(path)
            .key("keep_virtual_path", "true")
            .upstream(origin.addr())
    };
    let pointsman = Pointsman::builder()
        .service(&service("api", "/api", &api))
        .service(&service("admin", "/admin", &admin))
        .start();
    for target in [
        "/api/../admin",
        "/api/..;/admin",
        "/api/%2e%2e/admin",
        "/api/%2E%2E%2fadmin",
        "/api%2f..%2fadmin",
        "/api/./x",
        "/api//x",
        "//api/x",
        "/api\\..\\admin",
        "/%61pi/x",
        "/api#/../admin",
    ] {
        ask(
            &pointsman,
            format!("GET {target} HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
    }
    for (origin, prefix) in [(&api, "/api"), (&admin, "/admin")] {
        for request in origin.requests() {
            let target = request.head.target();
            assert!(
                target.starts_with(prefix) && !target.contains('#'),
                "{prefix} was sent {target}"
            );
        }
    }
}

#[test]
fn header_names_with_underscores_cannot_pose_as_ours() {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let bytes = b"GET / HTTP/1.1\r\nHost: h.test\r\nX_Real_IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\n\
                  Content_Length: 5\r\nTransfer_Encoding: chunked\r\nConnection: close\r\n\r\n";
    let (response, _) = ask(&pointsman, bytes).expect("an answer");
    if response.status() == 400 {
        return;
    }
    let names: Vec<_> = origin
        .only_request()
        .head
        .headers
        .iter()
        .map(|(n, _)| n.clone())
        .collect();
    assert!(names.iter().all(|n| !n.contains('_')), "{names:?}");
}

#[test]
fn connection_cannot_name_away_what_the_upstream_relies_on() {
    let origin = Origin::saying("reached");
    let pointsman = before(&origin);
    let bytes = b"POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\n\
                  Connection: close, Host, Content-Length, X-Forwarded-For, X-Real-IP, X-Request-Id\r\n\r\nhello";
    let (response, _) = ask(&pointsman, bytes).expect("an answer");
    if response.status() == 400 {
        return;
    }
    let request = origin.only_request();
    assert_eq!(request.head.header("host"), Some("h.test"));
    assert_eq!(request.body.bytes, b"hello");
    assert_eq!(request.head.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.head.header("x-real-ip"), Some("127.0.0.1"));
    assert!(request.head.has("x-request-id"));
}

/// An origin that gives `bad` for /bad, and afterwards would answer again on the same connection.
fn misbehaving(bad: &[u8]) -> Origin {
    let bad = bad.to_vec();
    Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            match request.head.target() {
                "/bad" => conn.send(&bad),
                _ => conn.send(ok("good")),
            }
        }
    })
}

/// The connection that answered /bad must serve nothing else, and /bad must not have been tried again.
fn assert_not_reused(pointsman: &Pointsman, origin: &Origin, shown: &str) {
    for _ in 0..3 {
        assert_eq!(
            pointsman.get("h.test", "/good").text(),
            "good",
            "after {shown}"
        );
    }
    let requests = origin.requests();
    let bad: Vec<_> = requests
        .iter()
        .filter(|r| r.head.target() == "/bad")
        .collect();
    assert_eq!(bad.len(), 1, "tries of /bad with {shown}");
    let shared = requests
        .iter()
        .any(|r| r.connection == bad[0].connection && r.head.target() == "/good");
    assert!(!shared, "the connection was used again after {shown}");
}

#[test]
fn answers_with_ambiguous_or_malformed_heads_become_502() {
    let cases: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\xc3\xa9: a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        b"<html>no head at all</html>\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ];
    let mut faults = Vec::new();
    for case in cases {
        let shown = case.escape_ascii().to_string();
        let origin = misbehaving(case);
        let pointsman = before(&origin);
        let status = pointsman.get("h.test", "/bad").status();
        if status == 502 {
            assert_not_reused(&pointsman, &origin, &shown);
        } else {
            faults.push(format!("{status} for {shown}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_answer_head_without_end_becomes_502() {
    let origin = misbehaving(
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n",
            "y".repeat(300_000)
        )
        .as_bytes(),
    );
    let pointsman = before(&origin);
    assert_eq!(pointsman.get("h.test", "/bad").status(), 502);
    assert_not_reused(&pointsman, &origin, "300000 bytes of head");
    let origin = misbehaving(
        "HTTP/1.1 200 OK\r\n"
            .as_bytes()
            .iter()
            .chain("X: y\r\n".repeat(5000).as_bytes())
            .copied()
            .collect::<Vec<_>>()
            .as_slice(),
    );
    let pointsman = before(&origin);
    assert_eq!(pointsman.get("h.test", "/bad").status(), 502);
}

#[test]
fn folded_answer_headers_are_unfolded_or_become_502() {
    let origin =
        misbehaving(b"HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 5\r\nContent-Length: 0\r\n\r\n");
    let pointsman = before(&origin);
    let response = pointsman.get("h.test", "/bad");
    if response.status() != 502 {
        assert_eq!(response.header("content-length"), Some("0"));
        let value = response.header("x").unwrap_or_default();
        assert_eq!(
            value.split_whitespace().collect::<Vec<_>>(),
            ["a", "Content-Length:", "5"]
        );
    }
}

#[test]
fn a_broken_answer_body_cuts_the_client_and_is_never_completed() {
    let cases: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    ];
    for case in cases {
        let shown = case.escape_ascii().to_string();
        let origin = misbehaving(case);
        let pointsman = before(&origin);
        let mut client = pointsman.client();
        client.send("GET /bad HTTP/1.1\r\nHost: h.test\r\n\r\n");
        let all = client.all_to_the_end();
        let whole = support::message::Reader::new(&all[..]).response("GET");
        if let Ok(Some(response)) = whole {
            assert_eq!(
                response.status(),
                502,
                "a whole answer for {shown}: {}",
                response.text()
            );
        }
        assert_not_reused(&pointsman, &origin, &shown);
    }
}

#[test]
fn an_answer_that_ends_early_is_not_made_whole() {
    for promised in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let origin = Origin::answering_once(promised);
        let pointsman = before(&origin);
        let mut client = pointsman.client();
        client.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
        let all = client.all_to_the_end();
        if let Ok(Some(response)) = support::message::Reader::new(&all[..]).response("GET") {
            assert_eq!(
                response.status(),
                502,
                "a whole answer: {}",
                all.escape_ascii()
            );
        }
    }
}

#[test]
fn bytes_behind_an_answer_never_become_the_next_answer() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
    ] {
        // In one write and, because a pool looks at a socket before it uses it, in two.
        for pieces in [
            vec![format!("{first}{evil}")],
            vec![first.to_owned(), evil.to_owned()],
        ] {
            let all_sent = Gate::default();
            let of_script = all_sent.clone();
            let origin = Origin::scripted(move |conn| {
                let Some(request) = conn.request() else {
                    return;
                };
                if request.head.target() == "/good" {
                    conn.send(ok("good"));
                    while conn.request().is_some() {
                        conn.send(ok("good"));
                    }
                    return;
                }
                for piece in &pieces {
                    conn.send(piece);
                }
                of_script.open();
                conn.rest();
            });
            let pointsman = before(&origin);
            let mut client = pointsman.client();
            client.send("GET /bad HTTP/1.1\r\nHost: h.test\r\n\r\n");
            assert_ne!(client.response().text(), "evil");
            // From here on the bytes lie in the balancer's socket, where a look finds them.
            all_sent.pass();
            for _ in 0..3 {
                let text = pointsman.get("h.test", "/good").text();
                assert_eq!(text, "good", "after {first:?}");
            }
        }
    }
}

#[test]
fn a_body_after_head_never_becomes_the_next_answer() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            match request.head.method() {
                "HEAD" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
                _ => conn.send(ok("good")),
            }
        }
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("HEAD / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(
        client.response_to("HEAD").header("content-length"),
        Some("42")
    );
    assert_eq!(client.get("h.test", "/").text(), "good");
    assert_eq!(pointsman.get("h.test", "/").text(), "good");
}
