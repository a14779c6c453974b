//! PROXY headers: who the client is behind a proxy, said in front of a connection's bytes.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::certs;
use support::client::Client;
use support::origin::{Conn, Origin};
use support::pointsman::{Builder, Pointsman, Service, local};
use support::{free_port, tls, wait_until};

const HOST: &str = "h.test";

/// Where proxies are in these tests, and where they are not.
const PROXIES: &str = "127.0.0.1";
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 50000 8443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 2, 0xc3, 0x50, 0x20, 0xfb];
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A header of version 2 whose length is that of its block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a short block");
    [SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

/// Says of the same client as [`V1`].
fn v2_tcp4(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&ADDRESSES, tlvs].concat())
}

fn v2_tcp6() -> Vec<u8> {
    let ip = |last: u8| [&[0x20, 1, 0x0d, 0xb8], &[0; 11][..], &[last]].concat();
    v2(
        0x21,
        0x21,
        &[&ip(7)[..], &ip(2), &[0xc3, 0x50, 0x20, 0xfb]].concat(),
    )
}

fn builder(origin: &Origin) -> Builder {
    Pointsman::builder()
        .service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
        .setting("accept_proxy", PROXIES)
}

/// Sends everything back.
fn echo() -> Origin {
    Origin::scripted(|conn: &mut Conn| {
        loop {
            let some = conn.some();
            if some.is_empty() {
                return;
            }
            conn.send(&some);
        }
    })
}

/// A connection from another address than those of `accept_proxy`.
fn stranger(to: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let from = SocketAddr::from((STRANGER, 0));
    socket.bind(&from.into()).expect("an address of this host");
    socket.connect(&to.into()).expect("connect");
    Client::over(socket.into()).expect("a client")
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

#[test]
fn the_client_is_the_one_that_a_header_of_either_version_names() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    let noop = [4, 0, 2, 7, 7];
    for (header, ip) in [
        (V1.to_vec(), "192.0.2.7"),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::2 50000 8443\r\n".to_vec(),
            "2001:db8::7",
        ),
        (v2_tcp4(b""), "192.0.2.7"),
        (v2_tcp4(&noop), "192.0.2.7"),
        (v2_tcp6(), "2001:db8::7"),
    ] {
        // In one segment with what follows, and again on the kept connection.
        let mut client = pointsman.client();
        client.send([&header[..], request("/first").as_bytes()].concat());
        assert_eq!(client.response().text(), "hello");
        assert_eq!(client.get(HOST, "/second").text(), "hello");
        let (mut client, _) = tls::town()
            .announced(&header)
            .shake(pointsman.https(), certs::TOWN);
        assert_eq!(client.get(HOST, "/by-tls").text(), "hello");
        for request in origin.requests().iter().rev().take(3) {
            assert_eq!(request.head.header("x-forwarded-for"), Some(ip));
            assert_eq!(request.head.header("x-real-ip"), Some(ip));
            assert_eq!(request.head.header("x-forwarded-port"), Some("8443"));
            let proto = match request.head.target() {
                "/by-tls" => "https",
                _ => "http",
            };
            assert_eq!(request.head.header("x-forwarded-proto"), Some(proto));
        }
    }
    assert_eq!(pointsman.status()["rejected"], 0);
}

#[test]
fn a_header_without_a_client_leaves_the_proxys_own_address() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.7 198.51.100.2 50000 8443\r\n".to_vec(),
        LOCAL.to_vec(),
        v2(0x20, 0x11, &ADDRESSES),
        v2(0x21, 0x00, &ADDRESSES),
    ] {
        let mut client = pointsman.client();
        client.send(&header).send(request("/"));
        assert_eq!(client.response().text(), "hello");
        let last = origin.requests().pop().expect("a request");
        assert_eq!(last.head.header("x-forwarded-for"), Some("127.0.0.1"));
        let port = pointsman.http().port().to_string();
        assert_eq!(last.head.header("x-forwarded-port"), Some(&*port));
    }
    // A check that says who it is and nothing else.
    let mut check = pointsman.client();
    check.send(LOCAL).half_close().assert_closed();
    assert!(!pointsman.log().contains("PROXY"), "{}", pointsman.log());
}

#[test]
fn tcp_services_get_every_byte_behind_the_header_and_judge_the_client() {
    let origin = echo();
    let (open, closed) = (free_port(), free_port());
    let service = |name, port, allow| {
        Service::tcp(name, port)
            .key("allow", allow)
            .upstream(origin.addr())
    };
    let pointsman = Pointsman::builder()
        .service(&service("open", open, "192.0.2.0/24"))
        .service(&service("closed", closed, "127.0.0.0/8"))
        .setting("accept_proxy", PROXIES)
        .start();
    pointsman.wait_for_port(open);
    pointsman.wait_for_port(closed);
    let much: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for header in [V1.to_vec(), v2_tcp4(b"")] {
        let mut client = Client::connect(local(open));
        client.send([&header[..], b"ping"].concat());
        assert_eq!(client.exactly(4), b"ping");
        let mut client = Client::connect(local(open));
        let mut writer = client.stream().try_clone().expect("clone");
        let all = [&header[..], &much].concat();
        let thread = std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, &all).expect("write");
        });
        assert!(client.exactly(much.len()) == much, "other bytes");
        thread.join().expect("the writer");
        // It is not the proxy that may come in, but its client.
        let mut client = Client::connect(local(closed));
        client.send(&header).assert_closed();
    }
    // A connection of the proxy's own is what `allow` sees then.
    let mut client = Client::connect(local(closed));
    client.send(LOCAL).send("ping");
    assert_eq!(client.exactly(4), b"ping");
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for header in [V1.to_vec(), v2_tcp4(&[4, 0, 1, 7])] {
        for step in [1, 7] {
            let mut client = pointsman.client();
            let all = [&header[..], request("/").as_bytes()].concat();
            for piece in all.chunks(step) {
                client.send(piece);
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(client.response().text(), "hello");
            let last = origin.requests().pop().expect("a request");
            assert_eq!(last.head.header("x-forwarded-for"), Some("192.0.2.7"));
        }
    }
}

/// What is no header, and why.
fn bad_headers() -> Vec<(Vec<u8>, &'static str)> {
    let line = |text: &str| [text.as_bytes(), b"\r\n"].concat();
    let edited = |at: usize, byte: u8| {
        let mut header = v2_tcp4(b"");
        header[at] = byte;
        header
    };
    let none = "does not begin with a PROXY header";
    let bad_line = "line that is none of";
    vec![
        (request("/").into_bytes(), none),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), none),
        (edited(11, b'\r'), none),
        (edited(4, 1), none),
        (
            line("PROXY TCP4 192.0.2.07 198.51.100.2 50000 8443"),
            bad_line,
        ),
        (
            line("PROXY TCP4 192.0.2.7 198.51.100.2 050000 8443"),
            bad_line,
        ),
        (
            line("PROXY TCP4 2001:db8::7 2001:db8::2 50000 8443"),
            bad_line,
        ),
        (
            line("PROXY TCP6 192.0.2.7 198.51.100.2 50000 8443"),
            bad_line,
        ),
        (
            line("PROXY TCP4  192.0.2.7 198.51.100.2 50000 8443"),
            bad_line,
        ),
        (
            line("PROXY TCP4 192.0.2.7 198.51.100.2 50000 8443 "),
            bad_line,
        ),
        (
            line("PROXY TCP4 192.0.2.7 198.51.100.2 65536 8443"),
            bad_line,
        ),
        (line("PROXY TCP4 192.0.2.7 198.51.100.2"), bad_line),
        (
            line("PROXY UDP4 192.0.2.7 198.51.100.2 50000 8443"),
            bad_line,
        ),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.2 50000 8443\nGET".to_vec(),
            "lone CR or LF",
        ),
        (b"PROXY UNKNOWN\rGET".to_vec(), "lone CR or LF"),
        (
            line(&format!("PROXY UNKNOWN {}", "x".repeat(92))),
            "more than 107 bytes",
        ),
        (edited(12, 0x11), "neither version 1 nor 2"),
        (edited(12, 0x22), "neither the command LOCAL nor PROXY"),
        (edited(13, 0x41), "family or transport"),
        (edited(13, 0x13), "family or transport"),
        (v2(0x21, 0x12, &ADDRESSES), "did not come by TCP"),
        (v2(0x21, 0x31, &[b'/'; 216]), "did not come by TCP"),
        (edited(15, 11), "too short for its addresses"),
        (v2(0x21, 0x21, &ADDRESSES), "too short for its addresses"),
        (edited(14, 0x11), "more than 4096 bytes"),
        (v2_tcp4(&[4, 0, 9, 7]), "TLV that is longer"),
        (v2_tcp4(&[4, 0]), "TLV that is longer"),
        (v2_tcp4(&[3, 0, 4, 1, 2, 3, 4]), "checksum"),
        (v2_tcp4(&[3, 0, 2, 1, 2]), "checksum"),
    ]
}

#[test]
fn what_is_no_header_is_closed_without_a_byte_and_reaches_nobody() {
    let (web, db) = (Origin::saying("reached"), echo());
    let port = free_port();
    let pointsman = builder(&web)
        .service(&Service::tcp("db", port).upstream(db.addr()))
        .start();
    pointsman.wait_for_port(port);
    let doors = [pointsman.http(), pointsman.https(), local(port)];
    let start = Instant::now();
    let mut rejected = 0;
    for (bytes, _) in bad_headers() {
        for door in doors {
            let mut client = Client::connect(door);
            // Refused for what is there, not for what stays away.
            let _ = client.try_send(&bytes);
            client.assert_closed();
            rejected += 1;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "waited for more");
    wait_until("all are counted", || {
        pointsman.status()["rejected"] == rejected
    });
    web.assert_saw_nothing();
    db.assert_saw_nothing();
    assert!(pointsman.log().contains("no good PROXY header"));
}

#[test]
fn the_log_says_why_a_header_is_none() {
    let origin = Origin::saying("reached");
    let pointsman = builder(&origin).args(&["--workers", "1"]).start();
    for (bytes, reason) in bad_headers() {
        // Again, where there were as many lines in this second as may be.
        wait_until(reason, || {
            let mut client = pointsman.client();
            let from = client.local_addr().to_string();
            let _ = client.try_send(&bytes);
            client.assert_closed();
            std::thread::sleep(Duration::from_millis(20));
            let log = pointsman.log();
            log.lines()
                .any(|line| line.contains(reason) && line.contains(&from))
        });
    }
}

#[test]
fn half_a_header_is_waited_for_and_then_closed() {
    let (web, db) = (Origin::saying("reached"), echo());
    let port = free_port();
    let pointsman = builder(&web)
        .service(&Service::tcp("db", port).upstream(db.addr()))
        .setting("timeout_head", "700ms")
        .start();
    pointsman.wait_for_port(port);
    let (short, long) = (Duration::from_millis(700), Duration::from_secs(3));
    let parts = [
        b"".to_vec(),
        V1[..20].to_vec(),
        v2_tcp4(b"")[..15].to_vec(),
        v2_tcp4(b"")[..27].to_vec(),
    ];
    std::thread::scope(|scope| {
        for part in &parts {
            for (door, patience) in [
                (pointsman.http(), short),
                (pointsman.https(), long),
                (local(port), long),
            ] {
                scope.spawn(move || {
                    let mut client = Client::connect(door);
                    client.send(part);
                    let time = client.time_to_close();
                    let most = patience + Duration::from_millis(1500);
                    assert!((patience..most).contains(&time), "{time:?} at {door}");
                });
            }
        }
        // The time is that of the whole header, not of its next byte.
        scope.spawn(|| {
            let mut client = Client::connect(local(port));
            let start = Instant::now();
            let ended = V1.iter().find(|byte| {
                std::thread::sleep(Duration::from_millis(150));
                client.try_send([**byte]).is_err()
            });
            assert!(ended.is_some(), "all of it was taken");
            let time = start.elapsed();
            assert!((long..2 * long).contains(&time), "{time:?}");
        });
        // An end in the middle.
        scope.spawn(|| {
            let mut client = Client::connect(local(port));
            let start = Instant::now();
            client.send(&V1[..20]).half_close().assert_closed();
            assert!(start.elapsed() < long, "it was waited for");
        });
    });
    web.assert_saw_nothing();
    db.assert_saw_nothing();
}

#[test]
fn nobody_else_can_say_who_it_is() {
    let (web, db) = (Origin::saying("hello"), echo());
    let port = free_port();
    let pointsman = builder(&web)
        .service(&Service::tcp("db", port).upstream(db.addr()))
        .start();
    pointsman.wait_for_port(port);
    for header in [V1.to_vec(), v2_tcp4(b""), LOCAL.to_vec()] {
        let mut client = stranger(pointsman.http());
        client.send(&header).send(request("/"));
        assert_eq!(client.response().status(), 400);
        web.assert_saw_nothing();
        let mut client = stranger(local(port));
        client.send(&header);
        assert_eq!(client.exactly(header.len()), header, "bytes like others");
        let mut client = stranger(pointsman.https());
        let _ = client.try_send(&header);
        let said = client.all_to_the_end();
        // An alert at most.
        assert!(said.is_empty() || said[0] == 21, "{said:?}");
    }
    let mut client = stranger(pointsman.http());
    client.send(request("/"));
    assert_eq!(client.response().text(), "hello");
    let seen = web.only_request();
    assert_eq!(
        seen.head.header("x-forwarded-for"),
        Some(&*STRANGER.to_string())
    );
}

#[test]
fn fields_are_believed_of_whom_the_header_names_and_not_of_who_sent_it() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin)
        .setting("trusted_proxies", "127.0.0.0/8")
        .start();
    let asked = || {
        let mut client = pointsman.client();
        client.send(V1).send(format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "hello");
        let seen = origin.requests().pop().expect("a request");
        let fields = seen.head.all("x-forwarded-for");
        fields.join(", ")
    };
    assert_eq!(asked(), "192.0.2.7");
    pointsman.put("settings/trusted_proxies", "192.0.2.7");
    wait_until("the proxy's proxy is trusted", || {
        asked() == "203.0.113.9, 192.0.2.7"
    });
}

#[test]
fn lists_balancing_rules_and_logs_go_by_the_client_of_the_header() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let service = Service::http("web")
        .hosts(HOST)
        .key("balance", "source")
        .key("deny", "192.0.2.66")
        .key(
            "custom_settings",
            "http-request deny deny_status 410 if { dst_port 8444 }",
        )
        .upstream(a.addr())
        .upstream(b.addr());
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("accept_proxy", PROXIES)
        .setting("access_log", "stdout")
        .start();
    let asked = |client: &str, port: u16| {
        let mut connection = pointsman.client();
        connection.send(format!("PROXY TCP4 {client} 198.51.100.2 50000 {port}\r\n"));
        connection.get(HOST, "/")
    };
    assert_eq!(asked("192.0.2.66", 8443).status(), 403);
    assert_eq!(asked("192.0.2.7", 8444).status(), 410);
    let mut homes = std::collections::BTreeSet::new();
    for n in 1..=40 {
        let client = IpAddr::from([192, 0, 2, n]).to_string();
        let home = asked(&client, 8443).text();
        assert_eq!(asked(&client, 8443).text(), home);
        homes.insert(home);
    }
    assert_eq!(homes.len(), 2, "the proxy is not the source");
    let fields = r#""client":"192.0.2.7:50000","listener":"198.51.100.2:8443""#;
    wait_until("the client is in the log", || {
        pointsman.log().contains(fields)
    });
}

#[test]
fn the_setting_holds_from_the_next_connection_on_and_goes_over_the_flag() {
    let origin = Origin::saying("hello");
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
        .env("LB_ACCEPT_PROXY", PROXIES)
        .start();
    let mut old = pointsman.client();
    old.send(V1);
    assert_eq!(old.get(HOST, "/").text(), "hello");
    assert!(pointsman.plan().dump.contains("accept_proxy: 127.0.0.1/32"));
    pointsman.put("settings/accept_proxy", "none");
    wait_until("no header is read", || {
        let mut client = pointsman.client();
        client.send(V1).send(format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        ));
        client.response().status() == 400
    });
    assert_eq!(pointsman.get(HOST, "/").text(), "hello");
    assert_eq!(
        old.get(HOST, "/").text(),
        "hello",
        "it was read once and for all"
    );
    let last = origin.requests().pop().expect("a request");
    assert_eq!(last.head.header("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn connections_whose_tls_goes_through_are_judged_by_the_header_too() {
    let origin = Origin::saying("own");
    let bundle = certs::town_hall().sign(&certs::Leaf::of(&["own.test"]));
    let service = Service::http("own")
        .hosts("own.test")
        .key("ssl_passthrough", "true")
        .key("allow", "192.0.2.0/24")
        .upstream(tls::ended_before(origin.addr(), &bundle));
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("accept_proxy", PROXIES)
        .start();
    for header in [V1.to_vec(), v2_tcp4(b"")] {
        let tls = tls::town().announced(header);
        let (mut client, shaken) = tls.shake(pointsman.https(), "own.test");
        assert_eq!(client.get("own.test", "/").text(), "own");
        let shown = shaken.chain[0].clone();
        assert_eq!(
            shown,
            CertificateDer::from_pem_slice(bundle.cert.as_bytes()).expect("a leaf")
        );
    }
    let tls = tls::town().announced(LOCAL);
    assert!(tls.try_connect(pointsman.https(), "own.test").is_err());
}
