//! Sessions by OpenSSL on both sides: what holds for other sessions holds for them. And lists as it reads them.

#![cfg(feature = "legacy-tls")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use openssl::ssl::{ErrorCode, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use pointsman::config::{self, Accepted, Balancer, Unit};
use pointsman::names::UnitName;
use pointsman::tls::suites::Suites;
use support::certs::{self, Leaf, TOWN};
use support::message::{Reader, Response};
use support::origin::{Origin, ok};
use support::pointsman::{Builder, Pointsman, Service};
use support::s_client::{SUITES, s_client, town_with, working};
use support::wait_until;

const STATIC: &str = "AES128-SHA";

/// A client of TLS 1.2 with these suites, and these protocols as ALPN has them.
fn shake(addr: SocketAddr, list: &str, alpn: &[u8]) -> Result<SslStream<TcpStream>, String> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("a client");
    builder.set_verify(SslVerifyMode::NONE);
    builder
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .expect("a version");
    builder.set_security_level(0);
    builder.set_cipher_list(list).expect("suites");
    if !alpn.is_empty() {
        builder.set_alpn_protos(alpn).expect("protocols");
    }
    let socket = TcpStream::connect(addr).expect("a connection");
    socket
        .set_read_timeout(Some(support::LIMIT))
        .expect("a limit");
    let stream = builder.build().connect(TOWN, socket);
    stream.map_err(|error| format!("{error:?}"))
}

struct Old(SslStream<TcpStream>);

fn old(addr: SocketAddr, list: &str) -> Old {
    Old(shake(addr, list, b"").expect("a session"))
}

impl Old {
    fn ask(&mut self, request: &str) -> Response {
        self.0.write_all(request.as_bytes()).expect("write");
        let response = Reader::new(&mut self.0).response("GET");
        response.expect("read").expect("a response")
    }

    fn get(&mut self, target: &str) -> Response {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: web.test\r\n\r\n"))
    }

    fn post(&mut self, body: &str) -> Response {
        let length = body.len();
        self.ask(&format!(
            "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn suite(&self) -> &'static str {
        self.0.ssl().current_cipher().expect("a suite").name()
    }
}

fn compatible(origin: &Origin) -> Builder {
    town_with(origin, Leaf::of(&[TOWN]).rsa()).setting("ssl_ciphers", "compatible")
}

#[test]
fn large_bodies_go_both_ways_on_a_kept_connection() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(ok(&String::from_utf8(request.body.bytes).expect("text")));
        }
    });
    let pointsman = compatible(&origin).start();
    let body = "0123456789abcdef".repeat(128 * 1024);
    for suite in [STATIC, "AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA"] {
        let mut client = old(pointsman.https(), suite);
        for size in [0, 1, 100, 16 * 1024, body.len()] {
            assert!(client.post(&body[..size]).text() == body[..size], "{suite}");
        }
        assert_eq!(client.suite(), suite);
    }
    for request in origin.requests() {
        assert_eq!(request.head.header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn the_certificate_is_the_one_that_the_suite_goes_with() {
    let origin = Origin::saying("hello");
    let ecdsa = certs::town_hall().sign(&Leaf::of(&[TOWN]));
    let pointsman = compatible(&origin)
        .setting("ssl_ciphers", "ALL")
        .key("certs/town-ecdsa", ecdsa.pem())
        .start();
    let key_of = |list: &str| {
        let client = old(pointsman.https(), list);
        let certificate = client.0.ssl().peer_certificate().expect("a certificate");
        let key = certificate.public_key().expect("a key");
        (client.suite(), key.rsa().is_ok())
    };
    assert_eq!(key_of(STATIC), (STATIC, true));
    assert_eq!(
        key_of("ECDHE-ECDSA-AES128-SHA"),
        ("ECDHE-ECDSA-AES128-SHA", false)
    );
    assert_eq!(
        key_of("ECDHE-RSA-AES128-SHA256"),
        ("ECDHE-RSA-AES128-SHA256", true)
    );
    // The strongest that both have.
    assert_eq!(
        key_of("AES128-SHA:ECDHE+SHA1:AES256-GCM-SHA384").0,
        "ECDHE-ECDSA-AES256-SHA"
    );
    assert_eq!(
        key_of("AES128-SHA:AES128-GCM-SHA256").0,
        "AES128-GCM-SHA256"
    );
    // Whoever rustls can serve is served by it.
    assert_eq!(
        key_of("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256").0,
        "ECDHE-RSA-AES128-GCM-SHA256"
    );
}

#[test]
fn a_key_switches_and_open_connections_live_on() {
    let origin = Origin::saying("hello");
    let pointsman = compatible(&origin).start();
    let mut open = old(pointsman.https(), STATIC);
    assert_eq!(open.get("/").text(), "hello");
    pointsman.put("settings/ssl_ciphers", "strict");
    wait_until("strict", || shake(pointsman.https(), STATIC, b"").is_err());
    assert_eq!(open.get("/").text(), "hello");
    pointsman.put("settings/ssl_ciphers", "AES128-SHA:AES256-SHA:RC4");
    wait_until("the list", || shake(pointsman.https(), STATIC, b"").is_ok());
    assert_eq!(
        working(pointsman.https(), &SUITES),
        ["AES128-SHA", "AES256-SHA"]
    );
    pointsman.wait_for_status_words(&["ssl_ciphers leaves out", "RC4"]);
    let plan = pointsman.look("plan", &[]);
    assert!(
        String::from_utf8_lossy(&plan.stdout).contains("AES128-SHA"),
        "{plan:?}"
    );
    // Refused as a whole, and the list stays.
    pointsman.put("settings/ssl_ciphers", "compatible:nonsense");
    pointsman.wait_for_status_words(&["ssl_ciphers has a word that is unknown"]);
    assert_eq!(
        working(pointsman.https(), &SUITES),
        ["AES128-SHA", "AES256-SHA"]
    );
    assert_eq!(open.get("/").text(), "hello");
}

#[test]
fn a_new_certificate_is_seen_and_names_lead_to_theirs() {
    let origin = Origin::saying("hello");
    let pointsman = compatible(&origin)
        .setting("ssl_unknown_name", "reject")
        .start();
    let next = certs::town_hall().sign(&Leaf::of(&[TOWN]).rsa());
    pointsman.put("certs/town", next.pem());
    let next = openssl::x509::X509::from_pem(next.cert.as_bytes()).expect("a certificate");
    wait_until("the new certificate", || {
        let client = old(pointsman.https(), STATIC);
        client.0.ssl().peer_certificate() == Some(next.clone())
    });
    let other = [
        "-tls1_2",
        "-cipher",
        "AES128-SHA:@SECLEVEL=0",
        "-servername",
        "b.test",
    ];
    assert!(!s_client(pointsman.https(), &other).is_served());
    pointsman.put("settings/ssl_unknown_name", "certificate");
    wait_until("the default", || {
        s_client(pointsman.https(), &other).is_served()
    });
}

#[test]
fn a_session_is_resumed_by_its_id() {
    let origin = Origin::saying("hello");
    let pointsman = compatible(&origin).start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("session");
    let file = file.to_str().expect("a path");
    let with = |option: &str| {
        let cipher = "AES128-SHA:@SECLEVEL=0";
        s_client(
            pointsman.https(),
            &["-tls1_2", "-cipher", cipher, option, file],
        )
    };
    let first = with("-sess_out");
    assert!(first.is_served() && first.has("\nNew, "), "{}", first.0);
    // Also over a change that has nothing to do with suites.
    let next = certs::town_hall().sign(&Leaf::of(&["b.test"]).common_name("another"));
    pointsman.put("certs/b", next.pem());
    wait_until("the other certificate", || {
        s_client(pointsman.https(), &["-servername", "b.test"]).has("another")
    });
    let again = with("-sess_in");
    assert!(again.is_served() && again.has("\nReused, "), "{}", again.0);
}

#[test]
fn http_1_1_is_agreed_on_and_nothing_else() {
    let origin = Origin::saying("hello");
    let pointsman = compatible(&origin).start();
    let alpn = |offered: &[u8]| {
        let stream = shake(pointsman.https(), STATIC, offered)?;
        Ok(stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(alpn(b"\x02h2\x08http/1.1"), Ok(Some(b"http/1.1".to_vec())));
    assert_eq!(alpn(b""), Ok(None));
    let refused: Result<_, String> = alpn(b"\x04imap");
    assert!(
        refused
            .as_ref()
            .is_err_and(|e| e.contains("no application protocol")),
        "{refused:?}"
    );
}

#[test]
fn ends_are_announced_where_everything_was_said_and_only_there() {
    let origin = Origin::scripted(|conn| {
        let Some(request) = conn.request() else {
            return;
        };
        match request.head.target() {
            "/whole" => conn.send(b"HTTP/1.0 200 OK\r\n\r\nwhole"),
            _ => conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        }
    });
    let pointsman = compatible(&origin).start();
    let ask = |target: &str| {
        let mut client = old(pointsman.https(), STATIC);
        write!(client.0, "GET {target} HTTP/1.0\r\nHost: web.test\r\n\r\n").expect("write");
        let (mut all, mut part) = (Vec::new(), [0; 512]);
        loop {
            match client.0.ssl_read(&mut part) {
                Ok(n) => all.extend_from_slice(&part[..n]),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    };
    assert!(
        ask("/whole")
            .expect("an announced end")
            .ends_with(b"\r\n\r\nwhole")
    );
    assert!(ask("/half").is_err());
    // The client's end without a word ends the connection, and nothing else.
    let client = old(pointsman.https(), STATIC);
    client
        .0
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("an end");
    let mut rest = Vec::new();
    let _ = client.0.get_ref().read_to_end(&mut rest);
    assert!(ask("/whole").is_ok());
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
    let pointsman = compatible(&origin).start();
    let mut client = old(pointsman.https(), "AES256-SHA");
    let head = "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(client.ask(head).status(), 101);
    let much = b"0123456789".repeat(3_000);
    for _ in 0..20 {
        client.0.write_all(&much).expect("write");
        let mut back = vec![0; much.len()];
        client.0.read_exact(&mut back).expect("read");
        assert!(back == much);
    }
    client.0.shutdown().expect("an end");
    assert_eq!(client.0.read(&mut [0; 8]).expect("their end"), 0);
}

#[test]
fn logs_and_upstreams_are_told_version_and_suite() {
    let origin = Origin::scripted(|conn| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(conn.some());
        }
        conn.send(ok("hello"));
    });
    let service = Service::http("web")
        .hosts("web.test")
        .key("send_proxy", "v2-ssl")
        .upstream(origin.addr());
    let rsa = certs::town_hall().sign(&Leaf::of(&[TOWN]).rsa());
    let pointsman = Pointsman::builder()
        .service(&service)
        .without_certificate()
        .key("certs/town", rsa.pem())
        .setting("ssl_ciphers", "compatible")
        .args(&["--access-log", "stdout"])
        .start();
    let mut client = Old(shake(pointsman.https(), STATIC, b"\x08http/1.1").expect("a session"));
    assert_eq!(client.get("/").text(), "hello");
    wait_until("a line", || pointsman.log().contains("\"tls\":\"TLSv1.2\""));
    let raw = origin.raw().concat();
    for word in ["TLSv1.2", STATIC, TOWN, "http/1.1"] {
        let has = raw.windows(word.len()).any(|part| part == word.as_bytes());
        assert!(has, "{word}: {raw:?}");
    }
}

#[test]
fn a_new_handshake_inside_a_session_is_refused() {
    let origin = Origin::saying("hello");
    let pointsman = compatible(&origin).start();
    let cipher = "AES128-SHA:@SECLEVEL=0";
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_2",
            "-legacy_renegotiation",
            "-cipher",
            cipher,
            "-connect",
        ])
        .arg(pointsman.https().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(b"R\n").expect("write");
    let output = child.wait_with_output().expect("openssl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    let mut client = old(pointsman.https(), STATIC);
    assert_eq!(client.get("/").text(), "hello");
}

/// As the old load balancer had it built in.
const KONTENA: &str = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:DHE-DSS-AES128-GCM-SHA256:kEDH+AESGCM:\
    ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:\
    ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:\
    DHE-RSA-AES128-SHA256:DHE-RSA-AES128-SHA:DHE-DSS-AES128-SHA256:DHE-RSA-AES256-SHA256:\
    DHE-DSS-AES256-SHA:DHE-RSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:\
    AES256-SHA256:AES128-SHA:AES256-SHA:AES:CAMELLIA:DES-CBC3-SHA:!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:\
    !PSK:!aECDH:!EDH-DSS-DES-CBC3-SHA:!EDH-RSA-DES-CBC3-SHA:!KRB5-DES-CBC3-SHA";

const MOZILLA_INTERMEDIATE: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:\
    ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
    DHE-RSA-CHACHA20-POLY1305";

const MOZILLA_OLD: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:\
    ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
    DHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:\
    ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:\
    ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:DHE-RSA-AES128-SHA256:DHE-RSA-AES256-SHA256:\
    AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:DES-CBC3-SHA";

fn by_us(list: &str) -> Suites {
    let text = format!("balancer:\n  ssl_ciphers: {list:?}\n");
    match config::parse(&UnitName::from("balancer"), &text, &Balancer::default()) {
        Ok(Accepted {
            unit: Unit::Balancer(balancer),
            ..
        }) => balancer.ssl_ciphers,
        other => panic!("{list}: {other:?}"),
    }
}

/// What `openssl ciphers` makes of a list, of what is in our table up to TLS 1.2.
fn by_openssl(list: &str) -> Suites {
    let names = certs::openssl(&["ciphers", list], "");
    let names: Vec<_> = names.trim().split(':').collect();
    Suites::that(|suite| !suite.is_tls13() && names.contains(&suite.name))
}

#[test]
fn lists_choose_what_openssl_chooses() {
    for list in [
        KONTENA,
        MOZILLA_INTERMEDIATE,
        MOZILLA_OLD,
        "HIGH:!aNULL:!MD5",
        "HIGH:!aNULL:!kRSA:!PSK:!SRP:!MD5:!RC4",
        "ALL",
        "DEFAULT",
        "DEFAULT:!SHA1",
        "DEFAULT@SECLEVEL=2",
        "DEFAULT:@SECLEVEL=1",
        "EECDH+AESGCM:EDH+AESGCM:AES256+EECDH:AES256+EDH",
        "EECDH+CHACHA20:EECDH+AES128:RSA+AES128:EECDH+AES256:RSA+AES256:EECDH+3DES:RSA+3DES:!MD5",
        "ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS",
        "HIGH:-SHA1",
        "ALL:-aRSA:AES128-SHA",
        "ALL:!aRSA:AES128-SHA",
        "kECDHE+aECDSA",
        "aRSA+AES128+SHA256",
        "TLSv1.2:+kRSA",
        "TLSv1.2:!AESGCM:!CHACHA20",
        "TLSv1:-ECDSA",
        "SSLv3",
        "SHA:SHA384",
        "FIPS:!kRSA",
        "AES256+aECDSA:ECDHE-RSA-CHACHA20-POLY1305",
        "ALL:!SHA:!SHA256:!SHA384:@STRENGTH",
        "RSA:!AES256,ECDHE-RSA-AES256-SHA AES256-SHA256",
        "MEDIUM:LOW:AES128-SHA",
    ] {
        let ours = by_us(list);
        let theirs = by_openssl(list);
        assert_eq!(ours.without(Suites::tls13()), theirs, "{list}");
        assert_eq!(ours.and(Suites::tls13()), Suites::tls13(), "{list}");
        assert!(!theirs.is_empty(), "{list}");
    }
}
