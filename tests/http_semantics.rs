//! HTTP/1 as clients and upstreams rely on it: connections, bodies, interim answers, headers, limits.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, exchange};
use support::message::Framing;
use support::origin::{Gate, Origin, ok};
use support::pointsman::{Builder, Pointsman, Service};
use support::{LIMIT, wait_until};

/// What short timeouts are set to here, and how much later than that is still in time.
const SHORT: &str = "300ms";
const SHORT_IS: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(5);

fn build(origin: &Origin) -> Builder {
    Pointsman::builder().service(&Service::http("web").hosts("h.test").upstream(origin.addr()))
}

fn before(origin: &Origin) -> Pointsman {
    build(origin).start()
}

fn assert_in_time(took: Duration) {
    assert!(
        took >= SHORT_IS && took < LATE,
        "took {took:?} where {SHORT_IS:?} is set"
    );
}

/// An origin that answers with the request's target.
fn target_teller() -> Origin {
    Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(ok(request.head.target()));
        }
    })
}

// ---- connections

#[test]
fn one_client_connection_carries_many_requests_over_one_upstream_connection() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    for i in 0..10 {
        let target = format!("/{i}");
        let response = client.get("h.test", &target);
        assert_eq!(response.text(), target);
        assert!(
            !response.head.has("connection"),
            "HTTP/1.1 stays open without saying so"
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    let all: String = (0..20)
        .map(|i| format!("GET /{i} HTTP/1.1\r\nHost: h.test\r\n\r\n"))
        .collect();
    client.send(all);
    for i in 0..20 {
        assert_eq!(client.response().text(), format!("/{i}"));
    }
}

#[test]
fn a_pipelined_request_behind_a_body_is_found() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "POST /a HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\n\r\nhello\
         POST /b HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: h.test\r\n\r\n",
    );
    for target in ["/a", "/b", "/c"] {
        assert_eq!(client.response().text(), target);
    }
}

#[test]
fn a_head_in_single_bytes_is_understood() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    for byte in b"GET /slow HTTP/1.1\r\nHost: h.test\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "/slow");
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("\r\nGET /a HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(client.response().text(), "/a");
}

#[test]
fn an_empty_line_behind_a_body_is_no_request_that_is_late() {
    let origin = target_teller();
    let pointsman = build(&origin)
        .setting("timeout_head", SHORT)
        .setting("timeout_idle", "2s")
        .start();
    let mut client = pointsman.client();
    let request = "POST /a HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\n\r\nhi\r\n";
    client.send(request);
    assert_eq!(client.response().text(), "/a");
    assert!(
        client.is_silent_for(SHORT_IS * 3),
        "closed before its idle time"
    );
    assert_eq!(client.get("h.test", "/b").text(), "/b");
    client.send(request);
    assert_eq!(client.response().text(), "/a");
    client.half_close().assert_closed();
    let mut client = pointsman.client();
    client.send(request);
    assert_eq!(client.response().text(), "/a");
    client.assert_closed();
}

#[test]
fn an_answer_is_not_lost_to_what_the_client_sent_behind_its_last_request() {
    let origin = target_teller();
    let pointsman = before(&origin);
    for _ in 0..20 {
        let mut client = pointsman.client();
        client.send(format!(
            "GET /a HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n{}",
            "GET /b HTTP/1.1\r\nHost: h.test\r\n\r\n".repeat(4000)
        ));
        assert_eq!(client.response().text(), "/a");
        assert!(client.rest().is_empty(), "nothing behind it, and no reset");
    }
}

#[test]
fn connection_close_is_obeyed_and_announced() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET /a HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.header("connection")),
        ("/a", Some("close"))
    );
    client.assert_closed();
}

#[test]
fn an_upstream_that_closes_does_not_close_the_client() {
    let origin = Origin::answering_once(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    );
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    for _ in 0..5 {
        let response = client.get("h.test", "/");
        assert_eq!(response.text(), "ok");
        assert!(!response.head.has("connection"), "{:?}", response.head);
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_costs_no_request() {
    // It promises to stay and goes: what every idle timeout of an upstream looks like.
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    for i in 0..20 {
        if i % 2 == 0 {
            assert_eq!(client.get("h.test", "/").status(), 200);
        } else {
            client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!(client.response().status(), 200);
        }
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            of_script.pass();
            conn.send(ok("late"));
        }
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client
        .send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n")
        .half_close();
    origin.wait_for(1);
    assert!(client.is_silent_for(Duration::from_millis(50)));
    gate.open();
    assert_eq!(client.response().text(), "late");
    client.assert_closed();
}

#[test]
fn http_1_0_clients_get_close_by_default_and_keep_alive_when_asked() {
    let origin = target_teller();
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET /a HTTP/1.0\r\nHost: h.test\r\n\r\n");
    assert_eq!(client.response().text(), "/a");
    client.assert_closed();
    let mut client = pointsman.client();
    for target in ["/b", "/c"] {
        client.send(format!(
            "GET {target} HTTP/1.0\r\nHost: h.test\r\nConnection: keep-alive\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.text(), target);
        let connection = response
            .header("connection")
            .unwrap_or_default()
            .to_ascii_lowercase();
        assert_eq!(connection, "keep-alive");
    }
}

#[test]
fn http_1_0_clients_get_no_chunks_and_no_1xx() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.0\r\nHost: h.test\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert!(
        response.interim.is_empty() && !response.head.has("transfer-encoding"),
        "{response:?}"
    );
    assert_eq!(
        (response.body.framing, response.text().as_str()),
        (Framing::Close, "hello")
    );
}

#[test]
fn a_body_that_ends_with_its_connection_reaches_the_client_whole() {
    let origin =
        Origin::answering_once("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nup to the end");
    let pointsman = before(&origin);
    let response = pointsman.client().get("h.test", "/");
    assert_eq!(response.text(), "up to the end");
    assert!(
        response.head.start.starts_with("HTTP/1.1 200"),
        "{}",
        response.head.start
    );
}

// ---- bodies

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\nTE: trailers\r\n\r\n\
         5\r\nhello\r\n6\r\n world\r\n0\r\nX-End: yes\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.body.framing),
        ("abcdefg", Framing::Chunked)
    );
    assert_eq!(
        response.body.trailers,
        [("X-Sum".to_owned(), "7".to_owned())]
    );
    let seen = origin.only_request().body;
    assert_eq!(seen.bytes, b"hello world");
    assert_eq!(seen.trailers, [("X-End".to_owned(), "yes".to_owned())]);
}

#[test]
fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            match (request.head.method(), request.head.target()) {
                ("HEAD", "/chunked") => {
                    conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                }
                ("HEAD", _) => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
                (_, "/204") => conn.send("HTTP/1.1 204 No Content\r\n\r\n"),
                (_, "/304") => {
                    conn.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n")
                }
                _ => conn.send(ok("after")),
            }
        }
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("HEAD / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(
        client.response_to("HEAD").header("content-length"),
        Some("1000")
    );
    client.send("HEAD /chunked HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 200);
    assert_eq!(client.get("h.test", "/204").status(), 204);
    let not_modified = client.get("h.test", "/304");
    assert_eq!(
        (not_modified.status(), not_modified.header("content-length")),
        (304, Some("1000"))
    );
    assert_eq!(client.get("h.test", "/").text(), "after");
}

#[test]
fn events_reach_the_client_before_the_answer_ends() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        conn.send("7\r\ndata: 1\r\n");
        of_script.pass();
        conn.send("7\r\ndata: 2\r\n0\r\n\r\n");
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), b"data: 1");
    gate.open();
    assert_eq!(client.chunk(), b"data: 2");
    assert_eq!(client.chunk(), b"");
}

#[test]
fn a_request_body_reaches_the_upstream_before_it_ends() {
    let (first_seen, of_script) = (Gate::default(), Gate::default());
    let (tell, go) = (first_seen.clone(), of_script.clone());
    let origin = Origin::scripted(move |conn| {
        let Some(head) = conn.head() else { return };
        assert!(head.has("transfer-encoding"));
        let mut got = String::new();
        while !got.contains("hello") {
            got.push_str(&String::from_utf8_lossy(&conn.some()));
        }
        tell.open();
        while !got.contains("world") {
            got.push_str(&String::from_utf8_lossy(&conn.some()));
        }
        go.pass();
        conn.send(ok("done"));
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    first_seen.pass();
    client.send("5\r\nworld\r\n0\r\n\r\n");
    of_script.open();
    assert_eq!(client.response().text(), "done");
}

const LARGE: usize = 64 << 20;

fn pattern(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|i| (i % 251) as u8).collect()
}

/// Waits until `counter` has stood still for a while and gives where it stopped.
fn standstill(counter: &AtomicUsize) -> usize {
    let mut last = counter.load(Ordering::Relaxed);
    let mut since = Instant::now();
    wait_until("a standstill", || {
        let now = counter.load(Ordering::Relaxed);
        if now != last || now == 0 {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    last
}

#[test]
fn a_large_answer_waits_for_a_slow_reader_and_arrives_whole() {
    let sent = Arc::new(AtomicUsize::new(0));
    let of_script = sent.clone();
    let origin = Origin::scripted(move |conn| {
        conn.request();
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        for at in (0..LARGE).step_by(1 << 16) {
            conn.send(pattern(at, 1 << 16));
            of_script.fetch_add(1 << 16, Ordering::Relaxed);
        }
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(
        client.head().header("content-length"),
        Some(LARGE.to_string().as_str())
    );
    let stopped = standstill(&sent);
    assert!(
        stopped < LARGE * 3 / 4,
        "{stopped} bytes were taken while nobody read"
    );
    for at in (0..LARGE).step_by(1 << 20) {
        assert!(
            client.exactly(1 << 20) == pattern(at, 1 << 20),
            "different bytes in the MiB at {at}"
        );
    }
}

#[test]
fn a_large_request_waits_for_a_slow_upstream_and_arrives_whole() {
    for chunked in [false, true] {
        let gate = Gate::default();
        let of_script = gate.clone();
        let origin = Origin::scripted(move |conn| {
            of_script.pass();
            let Some(request) = conn.request() else {
                return;
            };
            let good = request.body.bytes == pattern(0, LARGE);
            conn.send(ok(if good { "same" } else { "different" }));
        });
        let pointsman = before(&origin);
        let mut client = pointsman.client();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        let mut writer = Client::over(client.stream().try_clone().expect("a second handle"))
            .expect("a client on it");
        let thread = std::thread::spawn(move || {
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {LARGE}")
            };
            writer.send(format!(
                "POST / HTTP/1.1\r\nHost: h.test\r\n{framing}\r\n\r\n"
            ));
            for at in (0..LARGE).step_by(1 << 16) {
                if chunked {
                    writer
                        .send("10000\r\n")
                        .send(pattern(at, 1 << 16))
                        .send("\r\n");
                } else {
                    writer.send(pattern(at, 1 << 16));
                }
                counter.fetch_add(1 << 16, Ordering::Relaxed);
            }
            if chunked {
                writer.send("0\r\n\r\n");
            }
        });
        let stopped = standstill(&sent);
        assert!(
            stopped < LARGE * 3 / 4,
            "{stopped} bytes were taken while nobody read"
        );
        gate.open();
        assert_eq!(client.response().text(), "same", "chunked: {chunked}");
        thread.join().expect("the writer");
    }
}

// ---- interim answers and upgrades

#[test]
fn the_upstreams_100_continue_reaches_the_client_once_and_before_the_body() {
    let origin = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.header("expect"), Some("100-continue"));
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(5).unwrap_or_default();
            conn.send(ok(&String::from_utf8_lossy(&body)));
        }
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    let response = client.response();
    assert!(response.interim.is_empty(), "{:?}", response.interim);
    assert_eq!(response.text(), "hello");
}

#[test]
fn early_hints_pass() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let pointsman = before(&origin);
    let response = pointsman.client().get("h.test", "/");
    let links: Vec<_> = response
        .interim
        .iter()
        .map(|h| (h.status(), h.header("link")))
        .collect();
    assert_eq!(
        links,
        [
            (103, Some("</a.css>; rel=preload")),
            (103, Some("</b.css>"))
        ]
    );
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: h.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn an_upgraded_connection_is_a_tunnel_with_both_halves() {
    let origin = Origin::scripted(|conn| {
        let Some(request) = conn.request() else {
            return;
        };
        assert_eq!(request.head.header("upgrade"), Some("websocket"));
        let connection = request
            .head
            .header("connection")
            .unwrap_or_default()
            .to_ascii_lowercase();
        assert!(connection.contains("upgrade"), "{connection}");
        // The first bytes of the tunnel come in the same write as the head.
        conn.send([UPGRADED, "first"].concat());
        let mut all = Vec::new();
        while !all.ends_with(b"bye") {
            let some = conn.some();
            if some.is_empty() {
                return;
            }
            conn.send(&some);
            all.extend_from_slice(&some);
        }
        conn.rest();
        conn.send("last");
    });
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(UPGRADE);
    let head = client.head();
    assert_eq!(
        (head.status(), head.header("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(client.exactly(5), b"first");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.exactly(18), b"GET / HTTP/1.1\r\n\r\n");
    client.send("bye");
    assert_eq!(client.exactly(3), b"bye");
    client.half_close();
    assert_eq!(client.rest(), b"last");
}

#[test]
fn a_declined_upgrade_is_an_ordinary_answer() {
    let origin = Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(UPGRADE);
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.get("h.test", "/").status(), 403);
}

#[test]
fn a_silent_tunnel_ends_after_its_timeout() {
    let origin = Origin::scripted(|conn| {
        conn.request();
        conn.send(UPGRADED);
        conn.rest();
    });
    let pointsman = build(&origin).setting("timeout_tunnel", SHORT).start();
    let mut client = pointsman.client();
    let start = Instant::now();
    client.send(UPGRADE);
    assert_eq!(client.head().status(), 101);
    client.assert_closed();
    assert_in_time(start.elapsed());
}

// ---- headers

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         X-Kept: 2\r\nContent-Length: 2\r\n\r\nok",
    );
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: x-hop, X-Other\r\nConnection: keep-alive\r\nX-Hop: 1\r\nX-Other: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: websocket\r\nTE: gzip\r\nX-Kept: 2\r\n\r\n",
    );
    let response = client.response();
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert!(
            !response.head.has(name),
            "{name} came back: {:?}",
            response.head
        );
    }
    assert_eq!(response.header("x-kept"), Some("2"));
    let seen = origin.only_request().head;
    for name in [
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
    ] {
        assert!(!seen.has(name), "{name} went on: {seen:?}");
    }
    assert_eq!(seen.header("x-kept"), Some("2"));
}

#[test]
fn other_headers_pass_with_case_order_and_repetition() {
    let origin = Origin::answering(b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX-ODD: \xe9\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    client.send("GET /?q=%20a+b&c[]=d HTTP/1.1\r\nHost: h.test\r\nCookie: a=1\r\nX-oDD: x\r\nX-Empty:\r\nX-oDD:   y  \r\n\r\n");
    let response = client.response();
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    let seen = origin.only_request().head;
    assert_eq!(seen.target(), "/?q=%20a+b&c[]=d");
    let own: Vec<_> = seen
        .headers
        .iter()
        .filter(|(n, _)| n == "X-oDD" || n == "X-Empty")
        .cloned()
        .collect();
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(
        own,
        [pair("X-oDD", "x"), pair("X-Empty", ""), pair("X-oDD", "y")]
    );
}

#[test]
fn forwarded_headers_of_strangers_are_replaced() {
    let origin = Origin::saying("ok");
    let pointsman = before(&origin);
    exchange(
        pointsman.http(),
        "GET / HTTP/1.1\r\nHost: h.test:8080\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: evil.test\r\nX-Real-IP: 6.6.6.6\r\n\
         X-Request-Id: forged\r\nConnection: close\r\n\r\n",
    );
    let seen = origin.only_request().head;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.header("x-forwarded-port"),
        Some(pointsman.http().port().to_string().as_str())
    );
    assert_eq!(seen.header("x-forwarded-host"), Some("h.test:8080"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    let id = seen.header("x-request-id").expect("an id");
    assert!(id.len() >= 16 && id != "forged", "{id}");
}

#[test]
fn forwarded_headers_of_trusted_proxies_are_kept_and_extended() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin)
        .setting("trusted_proxies", "127.0.0.0/8")
        .start();
    exchange(
        pointsman.http(),
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\
         X-Forwarded-Host: public.test\r\nX-Real-IP: 10.1.2.3\r\nX-Request-Id: from-outside\r\nConnection: close\r\n\r\n",
    );
    let seen = origin.only_request().head;
    assert_eq!(
        seen.all("x-forwarded-for").join(", "),
        "10.1.2.3, 127.0.0.1"
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-port"), Some("443"));
    assert_eq!(seen.header("x-forwarded-host"), Some("public.test"));
    assert_eq!(seen.header("x-real-ip"), Some("10.1.2.3"));
    assert_eq!(seen.header("x-request-id"), Some("from-outside"));
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let origin = Origin::saying("ok");
    let pointsman = before(&origin);
    let mut client = pointsman.client();
    for _ in 0..100 {
        client.get("h.test", "/");
    }
    let mut ids: Vec<_> = origin
        .requests()
        .iter()
        .map(|r| r.head.header("x-request-id").map(str::to_owned))
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[test]
fn upstream_and_client_hear_the_same_id_even_if_a_trusted_peers_cannot_be_taken_over() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin)
        .setting("trusted_proxies", "127.0.0.0/8")
        .start();
    for given in ["abc".to_owned(), "z".repeat(100)] {
        let response = exchange(
            pointsman.http(),
            format!(
                "GET / HTTP/1.1\r\nHost: h.test\r\nX-Request-Id: {given}\r\n\
                 X-Request-Id: second\r\nConnection: close\r\n\r\n"
            ),
        );
        let seen = origin.requests();
        let head = &seen.last().expect("it was asked").head;
        assert_eq!(
            head.all("x-request-id"),
            [response.header("x-request-id").expect("it has an id")]
        );
        assert_eq!(head.header("x-request-id") == Some("abc"), given == "abc");
    }
}

// ---- timeouts

#[test]
fn a_head_that_does_not_end_is_answered_408() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin).setting("timeout_head", SHORT).start();
    let mut client = pointsman.client();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\nX: ");
    assert_eq!(client.response().status(), 408);
    assert_in_time(start.elapsed());
    client.assert_closed();
    origin.assert_saw_nothing();
}

#[test]
fn dripping_a_head_does_not_stretch_its_timeout() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin).setting("timeout_head", SHORT).start();
    let mut client = pointsman.client();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\n");
    while client.is_silent_for(Duration::from_millis(50)) {
        assert!(start.elapsed() < LATE, "a head was still waited for");
        if client.try_send("X: y\r\n").is_err() {
            break;
        }
    }
    assert_in_time(start.elapsed());
    assert!(
        client.all_text().starts_with("HTTP/1.1 408 "),
        "{:?}",
        client.all_text()
    );
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = target_teller();
    let pointsman = build(&origin)
        .setting("timeout_idle", SHORT)
        .setting("timeout_head", SHORT)
        .start();
    let mut client = pointsman.client();
    assert_eq!(client.get("h.test", "/a").text(), "/a");
    let start = Instant::now();
    client.assert_closed();
    assert!(start.elapsed() < LATE);
    // One that never asked anything, such as a browser's spare connection, is closed as quietly.
    let mut client = pointsman.client();
    client.assert_closed();
}

#[test]
fn a_request_body_that_stops_is_answered_408() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin).setting("timeout_client", SHORT).start();
    let mut client = pointsman.client();
    let start = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 10\r\n\r\nhel");
    assert_eq!(client.response().status(), 408);
    assert_in_time(start.elapsed());
    client.assert_closed();
    assert!(origin.requests().is_empty());
}

#[test]
fn a_slow_client_is_not_taken_for_a_slow_upstream() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin)
        .setting("timeout_client", "10s")
        .setting("timeout_server", SHORT)
        .start();
    let mut client = pointsman.client();
    client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 10\r\n\r\nhel");
    assert!(
        client.is_silent_for(SHORT_IS * 4),
        "it has time for its body"
    );
    client.send("lo worl");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn an_upstream_that_has_the_body_and_does_not_answer_becomes_504() {
    let origin = Origin::scripted(|conn| {
        conn.request();
        conn.rest();
    });
    let pointsman = build(&origin).setting("timeout_server", SHORT).start();
    let mut client = pointsman.client();
    client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 4\r\n\r\nhe");
    assert!(client.is_silent_for(SHORT_IS * 2));
    let start = Instant::now();
    client.send("lo");
    assert_eq!(client.response().status(), 504);
    assert_in_time(start.elapsed());
}

#[test]
fn an_upstream_that_does_not_answer_becomes_504() {
    let origin = Origin::scripted(|conn| {
        conn.request();
        conn.rest();
    });
    let pointsman = build(&origin).setting("timeout_server", SHORT).start();
    let start = Instant::now();
    assert_eq!(pointsman.get("h.test", "/").status(), 504);
    assert_in_time(start.elapsed());
    assert_eq!(
        origin.requests().len(),
        1,
        "a request that reached an upstream and waited is not sent again"
    );
}

#[test]
fn a_service_may_have_a_timeout_of_its_own() {
    let slow = Origin::scripted(|conn| {
        conn.request();
        conn.rest();
    });
    let service = Service::http("slow")
        .hosts("h.test")
        .upstream(slow.addr())
        .key("timeout_server", SHORT);
    let pointsman = Pointsman::builder().service(&service).start();
    let start = Instant::now();
    assert_eq!(pointsman.get("h.test", "/").status(), 504);
    assert_in_time(start.elapsed());
}

#[test]
fn an_answer_that_stops_half_way_is_cut_after_the_timeout() {
    let origin = Origin::scripted(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        conn.rest();
    });
    let pointsman = build(&origin).setting("timeout_server", SHORT).start();
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(4), b"half");
    assert!(client.time_to_close() < LATE);
}

// ---- limits and own answers

#[test]
fn heads_over_the_limit_are_answered_431() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin)
        .setting("max_head_size", "4096")
        .setting("max_headers", "20")
        .start();
    let long = "y".repeat(5000);
    let many = "X: y\r\n".repeat(30);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: h.test\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h.test\r\n{many}\r\n"),
    ] {
        let mut client = pointsman.client();
        client.send(head);
        assert_eq!(client.response().status(), 431);
    }
    let mut client = pointsman.client();
    client.send(format!("GET /{long} HTTP/1.1\r\nHost: h.test\r\n\r\n"));
    let status = client.response().status();
    assert!([414, 431].contains(&status), "{status}");
    origin.assert_saw_nothing();
    assert_eq!(pointsman.get("h.test", "/").status(), 200);
}

#[test]
fn bodies_over_the_limit_are_answered_413() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin).setting("max_body_size", "1000").start();
    let mut client = pointsman.client();
    client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(client.response().status(), 413);
    client.assert_closed();
    origin.assert_saw_nothing();
    let mut client = pointsman.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{}",
        "x".repeat(1001)
    ));
    assert_eq!(client.response().status(), 413);
    assert!(origin.requests().is_empty(), "a whole request went on");
    // Most clients send all of it before they look for an answer.
    let mut client = pointsman.client();
    client.send("POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 20000000\r\n\r\n");
    client.send(vec![b'x'; 20_000_000]);
    assert_eq!(client.response().status(), 413);
    let body = "x".repeat(1000);
    let fits = exchange(
        pointsman.http(),
        format!(
            "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{body}"
        ),
    );
    assert_eq!(fits.status(), 200);
}

#[test]
fn own_answers_are_whole_messages_and_keep_good_connections() {
    let origin = Origin::saying("ok");
    let pointsman = build(&origin)
        .service(&Service::http("empty").hosts("empty.test"))
        .start();
    let mut client = pointsman.client();
    for (host, status) in [("nowhere.test", 404), ("empty.test", 503), ("h.test", 200)] {
        let response = client.get(host, "/");
        assert_eq!(response.status(), status, "{host}");
        assert_eq!(response.body.framing, Framing::Length, "{host}");
    }
    client.send("HEAD / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 404);
    assert_eq!(client.get("h.test", "/").text(), "ok");
}

#[test]
fn the_body_of_a_request_that_has_no_route_is_never_a_request() {
    let origin = Origin::saying("ok");
    let pointsman = before(&origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";
    let mut client = pointsman.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: nowhere.test\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    client.half_close();
    assert_eq!(client.response().status(), 404);
    let _ = client.try_rest();
    origin.assert_saw_nothing();
}

#[test]
fn an_upstream_that_refuses_is_passed_over_for_the_next_one() {
    let origin = Origin::saying("ok");
    let dead = support::pointsman::local(support::free_port());
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(dead)
        .upstream(origin.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    for _ in 0..10 {
        assert_eq!(pointsman.get("h.test", "/").status(), 200);
    }
    let all_dead = Service::http("dead").hosts("dead.test").upstream(dead);
    pointsman.put_service(&all_dead);
    wait_until("an answer for the service without a live upstream", || {
        [502, 503].contains(&pointsman.get("dead.test", "/").status())
    });
}

#[test]
fn a_request_that_reached_an_upstream_is_sent_again_only_if_idempotent() {
    // Each connection takes one request and cuts it off; every third answers.
    let origin = Origin::scripted(|conn| {
        if conn.request().is_some() && conn.number % 3 == 2 {
            conn.send_last(ok("third time"));
        }
    });
    let pointsman = before(&origin);
    assert_eq!(pointsman.get("h.test", "/").text(), "third time");
    let posted = exchange(
        pointsman.http(),
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    );
    assert_eq!(posted.status(), 502);
    let posts = origin
        .requests()
        .iter()
        .filter(|r| r.head.method() == "POST")
        .count();
    assert_eq!(posts, 1);
}

#[test]
fn a_full_service_queues_and_then_answers_503() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            of_script.pass();
            conn.send(ok("served"));
        }
    });
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(origin.addr())
        .key("max_connections", "1")
        .key("max_queue", "1");
    let pointsman = Pointsman::builder().service(&service).start();
    let ask = |client: &mut Client| {
        client.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    };
    let (mut first, mut second, mut third) =
        (pointsman.client(), pointsman.client(), pointsman.client());
    ask(&mut first);
    origin.wait_for(1);
    ask(&mut second);
    wait_for_queued(&pointsman, 1);
    ask(&mut third);
    assert_eq!(third.response().status(), 503);
    gate.open();
    assert_eq!(first.response().text(), "served");
    assert_eq!(second.response().text(), "served");
}

#[test]
fn connections_above_the_balancers_limit_wait_until_one_ends() {
    let origin = Origin::saying("served");
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts("h.test").upstream(origin.addr()))
        .setting("max_connections", "2")
        .start();
    let (mut first, mut second) = (pointsman.client(), pointsman.client());
    assert_eq!(first.get("h.test", "/").text(), "served");
    assert_eq!(second.get("h.test", "/").text(), "served");
    // Enough of them that every worker has some, also one that had nothing to do until now.
    let mut waiting: Vec<Client> = (0..8).map(|_| pointsman.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n");
    }
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut waiting {
        assert!(client.is_silent_for(Duration::from_millis(1)));
    }
    drop(first);
    for client in &mut waiting {
        assert_eq!(client.response().text(), "served");
    }
    assert_eq!(
        second.get("h.test", "/").text(),
        "served",
        "who is in stays"
    );
}

#[test]
fn a_client_that_resets_frees_its_place_though_its_upstream_hangs() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/hang" {
                of_script.pass();
            }
            conn.send(ok("served"));
        }
    });
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(origin.addr())
        .key("max_connections", "1");
    let pointsman = Pointsman::builder().service(&service).start();
    let (mut hanging, mut queued) = (pointsman.client(), pointsman.client());
    hanging.send("GET /hang HTTP/1.1\r\nHost: h.test\r\n\r\n");
    origin.wait_for(1);
    queued.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    wait_for_queued(&pointsman, 1);
    reset(queued);
    wait_for_queued(&pointsman, 0);
    let mut last = pointsman.client();
    last.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    reset(hanging);
    assert_eq!(last.response().text(), "served");
    assert_eq!(origin.requests().len(), 2, "the queued one went away too");
    gate.open();
}

/// Waits until so many requests wait for a place at the only service.
fn wait_for_queued(pointsman: &Pointsman, count: u64) {
    wait_until(&format!("{count} in the queue"), || {
        pointsman.status()["services"][0]["queued"] == count
    });
}

/// Closes a client's connection by a reset.
fn reset(client: Client) {
    let socket = socket2::SockRef::from(client.stream());
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a connected socket");
}

#[test]
fn waiting_in_the_queue_has_a_limit() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            of_script.pass();
            conn.send(ok("served"));
        }
    });
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(origin.addr())
        .key("max_connections", "1");
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("timeout_queue", SHORT)
        .start();
    let mut first = pointsman.client();
    first.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    origin.wait_for(1);
    let start = Instant::now();
    assert_eq!(pointsman.get("h.test", "/").status(), 503);
    assert_in_time(start.elapsed());
    gate.open();
    assert_eq!(first.response().text(), "served");
}

// ---- the end

#[test]
fn sigterm_lets_requests_finish_and_ends_with_0() {
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            of_script.pass();
            conn.send(ok("finished"));
        }
    });
    let mut pointsman = before(&origin);
    let mut busy = pointsman.client();
    busy.send("GET / HTTP/1.1\r\nHost: h.test\r\n\r\n");
    let mut idle = pointsman.client();
    assert_eq!(idle.get("nowhere.test", "/").status(), 404);
    origin.wait_for(1);
    pointsman.terminate();
    wait_until("no new connections", || {
        Client::try_connect(pointsman.http()).is_err()
    });
    let start = Instant::now();
    idle.assert_closed();
    assert!(
        start.elapsed() < LIMIT / 2,
        "an idle connection held the end up"
    );
    gate.open();
    let response = busy.response();
    assert_eq!(
        (response.text().as_str(), response.header("connection")),
        ("finished", Some("close"))
    );
    assert_eq!(pointsman.wait().code(), Some(0));
}
