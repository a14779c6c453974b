//! TLS towards clients: which certificate they see, how sessions end, what bad ones get.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion};
use support::certs::{self, Leaf};
use support::client::Client;
use support::origin::{Origin, ok};
use support::pointsman::{Builder, Pointsman, Service};
use support::tls::{self, Shaken, Tls};
use support::{free_port, wait_until};

fn builder(origin: &Origin) -> Builder {
    Pointsman::builder().service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    )
}

fn leaf_of(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// A bundle of the town hall for these names.
fn signed(leaf: Leaf) -> support::certs::Bundle {
    certs::town_hall().sign(&leaf)
}

fn shown(pointsman: &Pointsman, name: &str) -> Shaken {
    tls::town().shake(pointsman.https(), name).1
}

#[test]
fn both_versions_lead_to_the_same_service_and_the_application_hears_of_https() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for (version, is) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let (mut client, shaken) = tls::town()
            .version(version)
            .shake(pointsman.https(), certs::TOWN);
        assert_eq!(shaken.version, is);
        for _ in 0..3 {
            assert_eq!(client.get("web.test", "/").text(), "hello");
        }
    }
    for request in origin.requests() {
        assert_eq!(request.head.header("x-forwarded-proto"), Some("https"));
        let port = pointsman.https().port().to_string();
        assert_eq!(request.head.header("x-forwarded-port"), Some(port.as_str()));
    }
}

#[test]
fn a_client_sees_the_exact_name_then_the_wildcard_then_the_default() {
    let origin = Origin::saying("hello");
    let exact = signed(Leaf::of(&["a.shop.test"]));
    let wild = signed(Leaf::of(&["*.shop.test"]));
    let pointsman = builder(&origin)
        .without_certificate()
        .key("certs/cert10", exact.pem())
        .key("certs/cert9", wild.pem())
        .start();
    let sees = |name: &str, pem: &str| {
        // A certificate for another name is taken too: the handshake tells which one came.
        let careless = Tls::careless();
        let chain = careless.shake(pointsman.https(), name).1.chain;
        assert_eq!(chain[0], leaf_of(pem), "{name}");
    };
    sees("a.shop.test", &exact.cert);
    sees("A.Shop.TEST", &exact.cert);
    sees("b.shop.test", &wild.cert);
    sees("b.a.shop.test", &wild.cert);
    sees("shop.test", &wild.cert);
    sees("other.test", &wild.cert);
    sees("127.0.0.1", &wild.cert);
    pointsman.put("settings/ssl_default_certificate", "cert10");
    wait_until("the default to change", || {
        let chain = Tls::careless()
            .shake(pointsman.https(), "other.test")
            .1
            .chain;
        chain[0] == leaf_of(&exact.cert)
    });
    sees("b.shop.test", &wild.cert);
}

#[test]
fn of_two_key_types_for_one_name_the_client_gets_the_one_it_can_use() {
    let origin = Origin::saying("hello");
    let (ecdsa, rsa) = (Leaf::of(&["two.test"]), Leaf::of(&["two.test"]).rsa());
    let (ecdsa, rsa) = (signed(ecdsa), signed(rsa));
    let pointsman = builder(&origin)
        .without_certificate()
        .key("certs/a-rsa", rsa.pem())
        .key("certs/b-ecdsa", ecdsa.pem())
        .start();
    let shown = |tls: Tls| tls.shake(pointsman.https(), "two.test").1;
    assert_eq!(shown(tls::town()).chain[0], leaf_of(&ecdsa.cert));
    assert_eq!(
        shown(tls::town().version(&TLS12)).chain[0],
        leaf_of(&ecdsa.cert)
    );
    let only_rsa = |suite| {
        use CipherSuite as S;
        matches!(
            suite,
            S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 | S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    };
    let old = shown(tls::town().version(&TLS12).suites(only_rsa));
    assert_eq!(old.chain[0], leaf_of(&rsa.cert));
}

#[test]
fn a_new_certificate_is_seen_by_the_next_handshake_and_open_connections_live_on() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    let mut open = tls::town().connect(pointsman.https(), certs::TOWN);
    assert_eq!(open.get("web.test", "/").text(), "hello");
    for _ in 0..5 {
        let next = signed(Leaf::of(&[certs::TOWN]));
        pointsman.put("certs/town", next.pem());
        wait_until("the new certificate", || {
            shown(&pointsman, certs::TOWN).chain[0] == leaf_of(&next.cert)
        });
        assert_eq!(open.get("web.test", "/").text(), "hello");
    }
}

#[test]
fn sessions_are_resumed_also_after_a_rotation() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for version in [&TLS12, &TLS13] {
        let tls = tls::town().version(version).resuming();
        let shake = || {
            let (mut client, shaken) = tls.shake(pointsman.https(), certs::TOWN);
            assert_eq!(client.get("web.test", "/").text(), "hello");
            shaken.is_resumed
        };
        assert!(!shake());
        assert!(shake());
        let next = signed(Leaf::of(&[certs::TOWN]));
        pointsman.put("certs/town", next.pem());
        wait_until("the new certificate", || {
            shown(&pointsman, certs::TOWN).chain[0] == leaf_of(&next.cert)
        });
        assert!(shake());
    }
}

#[test]
fn http_1_1_is_agreed_on_and_nothing_else() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    let alpn = |protocols: &[&str]| {
        let tls = tls::town().alpn(protocols);
        let shaken = tls.try_connect(pointsman.https(), certs::TOWN);
        shaken.map(|(_, shaken)| shaken.alpn)
    };
    assert_eq!(alpn(&["http/1.1"]).unwrap(), Some(b"http/1.1".to_vec()));
    assert_eq!(
        alpn(&["h3", "http/1.1"]).unwrap(),
        Some(b"http/1.1".to_vec())
    );
    assert_eq!(alpn(&[]).unwrap(), None);
    let refused = alpn(&["imap"]).unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn an_answer_that_breaks_off_is_not_announced_as_whole() {
    let origin = Origin::scripted(|conn| {
        let Some(request) = conn.request() else {
            return;
        };
        match request.head.target() {
            "/whole" => conn.send(b"HTTP/1.0 200 OK\r\n\r\nwhole"),
            _ => conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        }
    });
    let pointsman = builder(&origin).start();
    let ask = |target: &str| {
        let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
        client.send(format!("GET {target} HTTP/1.0\r\nHost: web.test\r\n\r\n"));
        client.try_rest()
    };
    let whole = ask("/whole").expect("an announced end");
    assert!(whole.ends_with(b"\r\n\r\nwhole"));
    assert!(
        ask("/half").is_err(),
        "a reset, by the relay, for want of an announcement"
    );
    // Our own answers and idle connections end in the proper way.
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    client.send("no request\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn large_bodies_go_both_ways_through_a_session() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(ok(&String::from_utf8(request.body.bytes).expect("text")));
        }
    });
    let pointsman = builder(&origin).start();
    let body = "0123456789abcdef".repeat(256 * 1024);
    for version in [&TLS12, &TLS13] {
        let mut client = tls::town()
            .version(version)
            .connect(pointsman.https(), certs::TOWN);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(client.response_to("POST").text() == body);
    }
}

#[test]
fn whoever_does_not_speak_tls_is_turned_away_with_an_alert() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"[..],
        b"\x16\x03\x01\xff\xff\x01",
        b"\x80\x2e\x01\x00\x02",
        &[0; 600],
    ] {
        let mut client = Client::connect(pointsman.https());
        client.send(garbage);
        let answer = client.all_to_the_end();
        assert_eq!(answer.first(), Some(&21), "{garbage:?}: {answer:?}");
        assert!(answer.len() < 32, "{answer:?}");
    }
    wait_until("log lines", || {
        pointsman.log().matches("handshake failed").count() == 4
    });
    assert_eq!(pointsman.get("web.test", "/").text(), "hello");
}

#[test]
fn old_versions_are_refused() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).start();
    for version in [1u8, 2] {
        // A hello of TLS 1.0 or 1.1 as they were, with a suite that both sides would have.
        let mut body = vec![3, version];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
        let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
        hello.extend(body);
        let mut client = Client::connect(pointsman.https());
        client.send(hello);
        let answer = client.all_to_the_end();
        // protocol_version, or handshake_failure where the hello lacks what later versions need.
        assert!(
            matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40 | 47]),
            "{answer:?}"
        );
    }
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin)
        .setting("timeout_handshake", "300ms")
        .start();
    let mut silent = Client::connect(pointsman.https());
    let mut slow = Client::connect(pointsman.https());
    slow.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
    silent.assert_closed();
    slow.assert_closed();
    assert_eq!(pointsman.get("web.test", "/").text(), "hello");
}

#[test]
fn beyond_the_limit_of_handshakes_the_oldest_gives_way() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin)
        .setting("max_handshakes", "3")
        .setting("timeout_handshake", "1m")
        .env("LB_WORKERS", "1")
        .start();
    let mut idle: Vec<_> = (0..4).map(|_| Client::connect(pointsman.https())).collect();
    idle.remove(0).assert_closed();
    wait_until("the log to say why", || {
        pointsman
            .log()
            .contains("there were too many, and it was the oldest")
    });
    for client in &mut idle {
        assert!(client.is_silent_for(Duration::from_millis(50)));
    }
    // Flooded as it is, whoever means it comes in.
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    assert_eq!(client.get("web.test", "/").text(), "hello");
    idle.remove(0).assert_closed();
}

#[test]
fn upgraded_connections_are_tunnels_inside_the_session() {
    let origin = Origin::scripted(|conn| {
        let _ = conn.request();
        conn.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        loop {
            let bytes = conn.some();
            if bytes.is_empty() {
                return;
            }
            conn.send(bytes);
        }
    });
    let pointsman = builder(&origin).start();
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    client.send("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    let much = b"0123456789".repeat(100_000);
    let mut to = client.stream().try_clone().expect("a clone");
    let copy = much.clone();
    let writer = std::thread::spawn(move || to.write_all(&copy).expect("write"));
    assert!(client.exactly(much.len()) == much);
    writer.join().expect("written");
    client.half_close();
    assert_eq!(client.rest(), b"");
}

#[test]
fn the_listener_opens_with_the_first_certificate_unless_it_was_asked_for() {
    let origin = Origin::saying("hello");
    // Asked for: open at once, and no handshake succeeds.
    let asked = builder(&origin).without_certificate().start();
    let refused = tls::town().try_connect(asked.https(), certs::TOWN);
    assert!(refused.is_err());
    asked.put("certs/town", signed(Leaf::of(&[certs::TOWN])).pem());
    wait_until("a handshake", || {
        tls::town().try_connect(asked.https(), certs::TOWN).is_ok()
    });
    // Nowhere.
    let nowhere = builder(&origin).args(&["--https", "none"]).start();
    assert!(Client::try_connect(nowhere.https()).is_err());
    assert_eq!(nowhere.get("web.test", "/").text(), "hello");
}

#[test]
fn redirects_to_https_end_where_the_handshake_did() {
    let origin = Origin::saying("hello");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr())
                .key("force_ssl", "true"),
        )
        .start();
    assert_eq!(pointsman.get("web.test", "/").status(), 308);
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    assert_eq!(client.get("web.test", "/").text(), "hello");
}

#[test]
fn access_logs_tell_the_version() {
    let origin = Origin::saying("hello");
    let pointsman = builder(&origin).args(&["--access-log", "stdout"]).start();
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    client.get("web.test", "/");
    wait_until("a line", || pointsman.log().contains("\"tls\":\"TLSv1.3\""));
    pointsman.get("web.test", "/");
    wait_until("a line", || pointsman.log().contains("\"tls\":null"));
    pointsman.put("settings/access_log_format", "httplog");
    wait_until("a line", || {
        client.get("web.test", "/");
        pointsman.log().contains(" http~ web/a ")
    });
}

#[test]
fn a_port_that_https_has_is_not_for_services() {
    let origin = Origin::saying("hello");
    let port = free_port();
    let pointsman = builder(&origin)
        .args(&["--https", &format!("127.0.0.1:{port}")])
        .service(&Service::tcp("db", port).upstream(origin.addr()))
        .start();
    pointsman.wait_for_status_words(&["tcp-services/db", "the HTTPS listener"]);
    let _ = TcpStream::connect(("127.0.0.1", port))
        .expect("it listens")
        .read(&mut []);
}
