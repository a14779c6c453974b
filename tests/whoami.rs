//! `whoami` does what its queries ask, so that what tests see through the balancer is the balancer's.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::whoami::{Whoami, serve};
use support::client::{Client, exchange, get};
use support::message::Framing;

/// A running whoami; dropping it cuts everything off.
struct Running {
    addr: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn start(name: &str, tcp: bool) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let addr = listener
        .local_addr()
        .expect("a bound socket has an address");
    runtime.spawn(serve(
        vec![listener],
        Arc::new(Whoami::new(name, tcp)),
        std::future::pending(),
    ));
    Running {
        addr,
        _runtime: runtime,
    }
}

#[test]
fn tells_name_method_path_and_every_header() {
    let whoami = start("one", false);
    let answer = exchange(
        whoami.addr,
        "GET /a?b=c HTTP/1.1\r\nHost: web.test\r\nX-Odd: 1\r\nx-odd: 2\r\n\r\n",
    );
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.line("name").as_deref(), Some("one"));
    assert_eq!(answer.line("method").as_deref(), Some("GET"));
    assert_eq!(answer.line("path").as_deref(), Some("/a?b=c"));
    for line in [
        "header Host: web.test",
        "header X-Odd: 1",
        "header x-odd: 2",
    ] {
        assert!(
            answer.text().lines().any(|l| l == line),
            "{line} in {}",
            answer.text()
        );
    }
    assert_eq!(answer.header("x-whoami"), Some("one"));
}

#[test]
fn answers_in_json_when_asked() {
    let whoami = start("one", false);
    let answer = exchange(
        whoami.addr,
        "GET /a HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n",
    );
    let value: serde_json::Value = serde_json::from_slice(&answer.body.bytes).unwrap();
    assert_eq!(value["name"], "one");
    assert_eq!(value["path"], "/a");
    assert_eq!(value["headers"][0], serde_json::json!(["Host", "h"]));
}

#[test]
fn keeps_connections_and_pipelines() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().line("path").as_deref(), Some("/1"));
    assert_eq!(client.response().line("path").as_deref(), Some("/2"));
    assert_eq!(
        client.get("h", "/3?close=1").header("connection"),
        Some("close")
    );
    client.assert_closed();
}

#[test]
fn health_follows_the_control_request() {
    let whoami = start("one", false);
    assert_eq!(get(whoami.addr, "h", "/health").status(), 200);
    let put = exchange(
        whoami.addr,
        "PUT /control?health=500 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((put.status(), put.text().as_str()), (200, "health 500\n"));
    assert_eq!(get(whoami.addr, "h", "/health").status(), 500);
}

#[test]
fn sizes_statuses_chunks_and_trailers_are_as_asked() {
    let whoami = start("one", false);
    let answer = get(whoami.addr, "h", "/?size=100000&status=503");
    assert_eq!((answer.status(), answer.body.bytes.len()), (503, 100_000));
    assert!(
        answer
            .body
            .bytes
            .iter()
            .zip((b'a'..=b'z').cycle())
            .all(|(a, b)| *a == b)
    );
    let answer = get(whoami.addr, "h", "/?size=100000&chunked=1");
    assert_eq!(
        (answer.body.framing, answer.body.bytes.len()),
        (Framing::Chunked, 100_000)
    );
    assert_eq!(
        answer.body.trailers,
        [("X-Whoami-Trailer".to_owned(), "one".to_owned())]
    );
    assert_eq!(get(whoami.addr, "h", "/?status=204").status(), 204);
    let answer = get(whoami.addr, "h", "/?status=1000");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (400, "status=\"1000\" must be 200 to 599\n")
    );
}

#[test]
fn head_has_the_length_and_no_body() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send("HEAD /?size=77 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        client.response_to("HEAD").header("content-length"),
        Some("77")
    );
    assert_eq!(
        client.get("h", "/after").line("path").as_deref(),
        Some("/after")
    );
}

#[test]
fn echoes_bodies_framed_as_they_came() {
    let whoami = start("one", false);
    let answer = exchange(
        whoami.addr,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(
        (answer.body.framing, answer.text().as_str()),
        (Framing::Length, "hello")
    );
    let answer = exchange(
        whoami.addr,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-End: yes\r\n\r\n",
    );
    assert_eq!(
        (answer.body.framing, answer.text().as_str()),
        (Framing::Chunked, "hello world")
    );
    assert!(
        answer
            .body
            .trailers
            .contains(&("X-End".to_owned(), "yes".to_owned()))
    );
}

#[test]
fn continues_when_expected_and_hints_early() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    assert_eq!(client.send("ok").response().text(), "ok");
    let answer = client.get("h", "/?early=103");
    assert_eq!((answer.interim[0].status(), answer.status()), (103, 200));
}

#[test]
fn events_come_one_by_one() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    let start = Instant::now();
    client.send("GET /?stream=3&every=50ms HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        client.head().header("content-type"),
        Some("text/event-stream")
    );
    assert_eq!(client.chunk(), b"data: 0 one\n\n");
    assert_eq!(client.chunk(), b"data: 1 one\n\n");
    assert_eq!(client.chunk(), b"data: 2 one\n\n");
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(client.chunk(), b"");
}

#[test]
fn aborts_inside_head_or_body() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send("GET /?abort=head HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.rest(), b"HTTP/1.1 200 OK\r\nContent-Le");
    let mut client = Client::connect(whoami.addr);
    client.send("GET /?abort=body&size=1000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().header("content-length"), Some("1000"));
    assert_eq!(client.rest().len(), 500);
}

#[test]
fn http_1_0_gets_no_chunks_and_a_close() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send("GET /?size=50&chunked=1 HTTP/1.0\r\n\r\n");
    let answer = client.response();
    assert_eq!(
        (answer.body.framing, answer.body.bytes.len()),
        (Framing::Length, 50)
    );
    client.assert_closed();
}

#[test]
fn ambiguous_framing_is_refused() {
    let whoami = start("one", false);
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let mut client = Client::connect(whoami.addr);
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n"));
        assert_eq!(client.response().status(), 400, "{head}");
        client.assert_closed();
    }
}

#[test]
fn upgrades_to_websocket_and_to_plain_echo() {
    let whoami = start("one", false);
    let mut client = Client::connect(whoami.addr);
    client.send(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.head();
    assert_eq!(
        (head.status(), head.header("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
    let mask = [1u8, 2, 3, 4];
    let masked = |text: &[u8]| -> Vec<u8> {
        text.iter()
            .zip(mask.iter().cycle())
            .map(|(b, m)| b ^ m)
            .collect()
    };
    client.send([&[0x81, 0x85][..], &mask, &masked(b"hello")].concat());
    assert_eq!(client.exactly(7), b"\x81\x05hello");
    client.send([&[0x89, 0x82][..], &mask, &masked(b"hi")].concat());
    assert_eq!(client.exactly(4), b"\x8a\x02hi");
    client.send([&[0x88, 0x82][..], &mask, &masked(&1000u16.to_be_bytes())].concat());
    assert_eq!(client.rest(), b"\x88\x02\x03\xe8");

    let mut client = Client::connect(whoami.addr);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nahead");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(5), b"ahead");
    assert_eq!(client.send("more").half_close().rest(), b"more");
}

#[test]
fn tcp_greets_then_echoes_to_the_end() {
    let whoami = start("one", true);
    let mut client = Client::connect(whoami.addr);
    assert_eq!(client.line(), "one");
    assert_eq!(client.send("abc").half_close().rest(), b"abc");
}
