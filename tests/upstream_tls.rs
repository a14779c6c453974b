//! TLS towards upstreams: who they have to be, what they are shown, and what they get.

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use support::certs::{self, Authority, Bundle, DAY, Leaf, now};
use support::client::Client;
use support::door::Door;
use support::origin::{Gate, Origin, ok};
use support::pointsman::{Builder, Pointsman, Service, local};
use support::{Killed, free_port, tls, wait_until};

const HOST: &str = "h.test";
const APP: &str = "app.test";

/// One worker: what it keeps, the next request finds.
fn builder() -> Builder {
    Pointsman::builder().env("LB_WORKERS", "1")
}

fn signed(names: &[&str]) -> Bundle {
    certs::town_hall().sign(&Leaf::of(names))
}

fn ca() -> String {
    certs::town_hall().pem()
}

/// A service over TLS that trusts the town hall and asks for the name of [`APP`].
fn web(upstream: SocketAddr) -> Service {
    Service::http("web")
        .hosts(HOST)
        .upstream(upstream)
        .key("upstream_tls", "true")
        .key("upstream_tls_ca", &ca())
        .key("upstream_tls_name", APP)
        .key("retries", "0")
}

/// An origin that closes after each answer.
fn closing(text: &'static str) -> Origin {
    Origin::scripted(move |conn| {
        if conn.request().is_some() {
            let length = text.len();
            conn.send_last(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            ));
        }
    })
}

fn get(pointsman: &Pointsman) -> (u16, String) {
    let answer = pointsman.get(HOST, "/");
    (answer.status(), answer.text())
}

/// Asserts that requests fail for `reason`, and that the log says so of service and upstream.
#[track_caller]
fn assert_fails(pointsman: &Pointsman, reason: &str) {
    assert_eq!(pointsman.get(HOST, "/").status(), 502, "{reason}");
    wait_until(&format!("{reason:?} in {}", pointsman.log()), || {
        pointsman.log().lines().any(|line| {
            ["handshake with upstream failed", reason, "web", "127.0.0.1"]
                .iter()
                .all(|word| line.contains(word))
        })
    });
}

#[test]
fn an_upstream_that_its_authority_signed_for_its_name_is_served_pooled() {
    let origin = Origin::saying("hello");
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let pointsman = builder().service(&web(door.addr())).start();
    for _ in 0..5 {
        assert_eq!(get(&pointsman), (200, "hello".to_owned()));
    }
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    assert_eq!(client.get(HOST, "/").text(), "hello");
    let entered = door.entered();
    assert_eq!(entered.len(), 1, "{entered:?}");
    assert_eq!(entered[0].server_name.as_deref(), Some(APP));
    assert_eq!(entered[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(entered[0].version, ProtocolVersion::TLSv1_3);
    assert!(entered[0].shown.is_empty());
    let requests = origin.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests.iter().all(|request| request.connection == 0));
    let proto = |at: usize| requests[at].head.header("x-forwarded-proto");
    assert_eq!((proto(0), proto(5)), (Some("http"), Some("https")));
    assert_eq!(requests[0].head.header("host"), Some(HOST));
}

#[test]
fn whoever_is_somebody_else_gets_nothing_and_the_log_says_why() {
    let origin = Origin::saying("hello");
    let other = Authority::root("another hall");
    let town = certs::town_hall();
    let expired = Leaf::of(&[APP]).valid(now() - 9 * DAY, now() - 8 * DAY);
    let early = Leaf::of(&[APP]).valid(now() + DAY, now() + 9 * DAY);
    for (bundle, reason) in [
        (
            other.sign(&Leaf::of(&[APP])),
            "its certificate is signed by nobody in upstream_tls_ca",
        ),
        (
            Leaf::of(&[APP]).alone(),
            "its certificate is signed by nobody in upstream_tls_ca",
        ),
        (
            signed(&["other.test"]),
            "its certificate is not for app.test, but for other.test",
        ),
        (town.sign(&expired), "its certificate expired at 20"),
        (town.sign(&early), "its certificate is not valid before 20"),
    ] {
        let door = Door::with(&bundle).before(origin.addr());
        let pointsman = builder().service(&web(door.addr())).start();
        assert_fails(&pointsman, reason);
        assert_eq!(
            pointsman.status()["services"][0]["upstreams"][0]["name"],
            "a"
        );
        // The one who is asked hears of it, too.
        wait_until("it is told", || !door.turned_away().is_empty());
    }
    origin.assert_saw_nothing();
}

#[test]
fn without_a_name_an_upstream_has_to_be_its_address() {
    let origin = Origin::saying("hello");
    let right = Door::with(&signed(&["127.0.0.1"])).before(origin.addr());
    let wrong = Door::with(&signed(&["127.0.0.2", APP])).before(origin.addr());
    let of = |door: &Door| web(door.addr()).without("upstream_tls_name");
    let pointsman = builder().service(&of(&right)).start();
    assert_eq!(get(&pointsman).0, 200);
    assert_eq!(
        right.last().server_name,
        None,
        "addresses are not asked for"
    );
    let pointsman = builder().service(&of(&wrong)).start();
    assert_fails(&pointsman, "its certificate is not for 127.0.0.1, but for");
}

#[test]
fn without_verification_anybody_is_served_and_the_status_warns() {
    let origin = Origin::saying("hello");
    let stranger = Leaf::of(&["other.test"]).valid(now() - 9 * DAY, now() - 8 * DAY);
    let door = Door::with(&stranger.alone()).before(origin.addr());
    for word in ["none", "false"] {
        let service = web(door.addr())
            .without("upstream_tls_ca")
            .key("upstream_tls_verify", word);
        let pointsman = builder().service(&service).start();
        assert_eq!(get(&pointsman), (200, "hello".to_owned()));
        pointsman.wait_for_status_words(&[
            "unverified-upstreams",
            "services/web/upstream_tls_verify",
            "whoever answers at their addresses",
        ]);
        assert!(pointsman.log().contains("upstream_tls_verify is off"));
        let plan = pointsman.plan().dump;
        assert!(plan.contains("upstream_tls_verify: 'false'"), "{plan}");
        pointsman.remove("services/web/upstream_tls_verify");
        pointsman.put("services/web/upstream_tls_ca", ca());
        pointsman.wait_for_status(HOST, "/", 502);
        assert!(
            !pointsman
                .status()
                .to_string()
                .contains("unverified-upstreams")
        );
    }
}

#[test]
fn who_is_written_down_needs_no_authority() {
    let origin = Origin::saying("hello");
    // As `openssl req -x509` makes it: an authority by its own words.
    let alone = certs::by_openssl("ec:prime256v1", APP);
    let door = Door::with(&alone).before(origin.addr());
    let of = |ca: &str| web(door.addr()).key("upstream_tls_ca", ca);
    let pointsman = builder().service(&of(&alone.cert)).start();
    assert_eq!(get(&pointsman).0, 200);
    // Its twin by name is another.
    let twin = certs::by_openssl("ec:prime256v1", APP);
    let pointsman = builder().service(&of(&twin.cert)).start();
    assert_fails(&pointsman, "its certificate is not taken");
    let other = of(&alone.cert).key("upstream_tls_name", "other.test");
    let pointsman = builder().service(&other).start();
    assert_fails(&pointsman, "its certificate is not for other.test");
}

#[test]
fn an_upstream_is_another_one_if_it_cannot_prove_itself() {
    let origin = Origin::saying("hello");
    let right = Door::with(&signed(&[APP])).before(origin.addr());
    let wrong = Door::with(&signed(&["other.test"])).before(origin.addr());
    let service = web(wrong.addr()).upstream(right.addr()).key("retries", "1");
    let pointsman = builder().service(&service).start();
    for _ in 0..4 {
        assert_eq!(get(&pointsman).0, 200);
    }
    assert!(!wrong.turned_away().is_empty() && wrong.entered().is_empty());
}

#[test]
fn sessions_are_resumed_also_after_other_keys_changed() {
    for version in [&TLS12, &TLS13] {
        let origin = closing("hello");
        let door = Door::with(&signed(&[APP]))
            .version(version)
            .before(origin.addr());
        let pointsman = builder().service(&web(door.addr())).start();
        let asked = || {
            assert_eq!(get(&pointsman), (200, "hello".to_owned()));
            door.last().is_resumed
        };
        assert!(!asked());
        assert!(asked() && asked());
        let put = |key: &str, value: &str| {
            let generation = pointsman.plan().generation;
            pointsman.put(key, value);
            wait_until("the swap", || pointsman.plan().generation > generation);
        };
        put("settings/max_headers", "50");
        assert!(asked());
        put("services/web/balance", "leastconn");
        assert!(asked());
        put("services/web/upstreams/b", "127.0.0.1:1 weight=0");
        assert!(asked());
        // Whoever is trusted otherwise has to prove it anew.
        let more = ca() + &Authority::root("another hall").pem();
        put("services/web/upstream_tls_ca", &more);
        assert!(!asked());
        assert!(asked());
        assert_eq!(door.entered().len(), 8);
    }
}

#[test]
fn services_of_one_address_share_no_connection_unless_they_ask_for_the_same() {
    let origin = Origin::saying("hello");
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let careless = Service::http("careless")
        .hosts("careless.test")
        .upstream(door.addr())
        .key("upstream_tls", "true")
        .key("upstream_tls_verify", "none");
    let plain = Service::http("plain")
        .hosts("plain.test")
        .upstream(door.addr())
        .key("retries", "0");
    let strict = web(door.addr()).key("upstream_tls_ca", &Authority::root("another hall").pem());
    let pointsman = builder()
        .service(&careless)
        .service(&plain)
        .service(&strict)
        .start();
    for _ in 0..3 {
        assert_eq!(pointsman.get("careless.test", "/").status(), 200);
        assert_eq!(pointsman.get("plain.test", "/").status(), 502);
        assert_eq!(pointsman.get(HOST, "/").status(), 502);
    }
    assert_eq!(door.entered().len(), 1);
    assert_eq!(origin.requests().len(), 3);
    // The other way round: a plain connection that is kept is none for TLS.
    let kept = Origin::scripted(|conn| {
        while let Some(&first) = conn.some().first() {
            match first {
                b'G' => conn.send(ok("plain")),
                _ => return conn.send("HTTP/1.1 400 Bad Request\r\n\r\n"),
            }
        }
    });
    pointsman.put("services/plain/upstreams/a", kept.addr().to_string());
    pointsman.wait_for_text("plain.test", "/", "plain");
    pointsman.put("services/web/upstreams/a", kept.addr().to_string());
    wait_until("the reason", || {
        assert_eq!(pointsman.get(HOST, "/").status(), 502);
        pointsman.log().contains("it does not speak TLS")
    });
    let hello = |raw: &Vec<u8>| raw[0] == 0x16;
    let (secured, plain): (Vec<_>, Vec<_>) = kept.raw().into_iter().partition(hello);
    assert!(!secured.is_empty() && plain.len() == 1, "{plain:?}");
    let plain = String::from_utf8_lossy(&plain[0]);
    assert!(
        plain.contains("plain.test") && !plain.contains(HOST),
        "{plain}"
    );
}

#[test]
fn an_upstream_that_speaks_1_2_alone_is_served() {
    let origin = Origin::saying("hello");
    let door = Door::with(&signed(&[APP]))
        .version(&TLS12)
        .before(origin.addr());
    let pointsman = builder().service(&web(door.addr())).start();
    assert_eq!(get(&pointsman).0, 200);
    assert_eq!(door.last().version, ProtocolVersion::TLSv1_2);
}

#[test]
fn large_bodies_go_both_ways() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            let length = request.body.bytes.len();
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ));
            conn.send(&request.body.bytes);
        }
    });
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let pointsman = builder().service(&web(door.addr())).start();
    let body: Vec<u8> = (0..5_000_003u32).map(|n| (n % 251) as u8).collect();
    let secured = tls::town().connect(pointsman.https(), certs::TOWN);
    for mut client in [pointsman.client(), secured] {
        let length = body.len();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(&body);
        let answer = client.response();
        assert_eq!(answer.status(), 200);
        assert!(
            answer.body.bytes == body,
            "{} bytes",
            answer.body.bytes.len()
        );
    }
}

#[test]
fn a_body_without_a_length_that_ends_without_a_word_is_half_of_one() {
    let origin = Origin::scripted(|conn| {
        if conn.request().is_some() {
            conn.send_last("HTTP/1.1 200 OK\r\n\r\nall there is");
        }
    });
    let bundle = signed(&[APP]);
    for version in [&TLS12, &TLS13] {
        let whole = Door::with(&bundle).version(version).before(origin.addr());
        let half = Door::with(&bundle).version(version).truncating();
        let half = half.before(origin.addr());
        let asked = |door: &Door| {
            let pointsman = builder().service(&web(door.addr())).start();
            let mut client = pointsman.client();
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
            ));
            String::from_utf8(client.all_to_the_end()).expect("text")
        };
        let told = asked(&whole);
        assert!(told.ends_with("all there is\r\n0\r\n\r\n"), "{told}");
        let told = asked(&half);
        assert!(
            told.contains("all there is") && !told.ends_with("0\r\n\r\n"),
            "{told}"
        );
    }
}

#[test]
fn a_kept_session_that_was_ended_meanwhile_costs_another_try_and_no_answer() {
    let origin = Origin::answering_once(ok("hello"));
    let bundle = signed(&[APP]);
    let silent = Door::with(&bundle).truncating().before(origin.addr());
    for door in [Door::with(&bundle).before(origin.addr()), silent] {
        let pointsman = builder().service(&web(door.addr())).start();
        let mut client = pointsman.client();
        for _ in 0..20 {
            assert_eq!(client.get(HOST, "/").text(), "hello");
        }
        assert_eq!(door.entered().len(), 20);
    }
}

#[test]
fn a_client_that_waits_for_leave_gets_it_from_the_upstream() {
    let origin = Origin::scripted(|conn| {
        if conn.head().is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(5).unwrap_or_default();
            conn.send(ok(&String::from_utf8_lossy(&body)));
        }
    });
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let pointsman = builder().service(&web(door.addr())).start();
    let mut client = pointsman.client();
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    ));
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "hello".to_owned()));
}

#[test]
fn an_upgraded_connection_is_a_tunnel_inside_of_tls() {
    let origin = Origin::scripted(|conn| {
        if conn.head().is_none() {
            return;
        }
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly",
        );
        loop {
            let some = conn.some();
            if some.is_empty() {
                conn.send("bye");
                return;
            }
            conn.send(&some);
        }
    });
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let pointsman = builder().service(&web(door.addr())).start();
    let mut client = pointsman.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    ));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(5), b"early");
    let much: Vec<u8> = (0..300_000u32).map(|n| (n % 250) as u8).collect();
    for part in much.chunks(100_000) {
        client.send(part);
        assert!(client.exactly(part.len()) == part);
    }
    client.half_close();
    assert_eq!(client.rest(), b"bye");
}

#[test]
fn a_tcp_service_speaks_tls_to_its_upstreams_to_the_last_word() {
    let origin = Origin::scripted(|conn| {
        conn.send("hello ");
        let mut all = conn.rest();
        all.make_ascii_uppercase();
        conn.send(&all);
    });
    for version in [&TLS12, &TLS13] {
        let door = Door::with(&signed(&[APP]))
            .version(version)
            .before(origin.addr());
        let port = free_port();
        let service = Service::tcp("db", port)
            .upstream(door.addr())
            .key("upstream_tls", "true")
            .key("upstream_tls_ca", &ca())
            .key("upstream_tls_name", APP);
        let pointsman = builder().service(&service).start();
        pointsman.wait_for_port(port);
        let much = "abcdefg".repeat(100_000);
        let mut client = Client::connect(local(port));
        client.send(&much).half_close();
        let rest = String::from_utf8(client.rest()).expect("text");
        assert!(
            rest == format!("hello {}", much.to_uppercase()),
            "{} bytes",
            rest.len()
        );
        assert_eq!(door.last().alpn, None);
    }
}

#[test]
fn a_tcp_service_closes_on_who_cannot_prove_who_its_upstream_is() {
    let origin = Origin::scripted(|conn| conn.send("hello"));
    let door = Door::with(&signed(&["other.test"])).before(origin.addr());
    let port = free_port();
    let service = Service::tcp("db", port)
        .upstream(door.addr())
        .key("upstream_tls", "true")
        .key("upstream_tls_ca", &ca())
        .key("retries", "0");
    let pointsman = builder().service(&service).start();
    pointsman.wait_for_port(port);
    Client::connect(local(port)).assert_closed();
    let reason = "its certificate is not for 127.0.0.1, but for other.test";
    wait_until(reason, || pointsman.log().contains(reason));
    assert!(door.entered().is_empty());
}

#[test]
fn who_never_shakes_hands_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let addr = listener.local_addr().expect("an address");
    let gate = Gate::default();
    let of_thread = gate.clone();
    std::thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().take(1).collect();
        of_thread.pass();
        drop(kept);
    });
    let service = web(addr).key("timeout_connect", "200ms");
    let pointsman = builder().service(&service).start();
    assert_fails(&pointsman, "it did not end in 200ms");
    gate.open();
}

#[test]
fn a_proxy_header_goes_before_the_handshake() {
    let origin = closing("hello");
    let door = Door::with(&signed(&[APP]))
        .announced()
        .before(origin.addr());
    let port = free_port();
    let tcp = Service::tcp("db", port)
        .upstream(door.addr())
        .key("upstream_tls", "true")
        .key("upstream_tls_ca", &ca())
        .key("upstream_tls_name", APP)
        .key("send_proxy", "v1");
    let pointsman = builder()
        .service(&web(door.addr()).key("send_proxy", "v1"))
        .service(&tcp)
        .start();
    pointsman.wait_for_port(port);
    for door_of in [pointsman.http(), local(port)] {
        let mut client = Client::connect(door_of);
        let source = client.local_addr().port();
        assert_eq!(client.get(HOST, "/").text(), "hello");
        let header = door.last().header;
        let expected = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {source} {}\r\n",
            door_of.port()
        );
        assert_eq!(header, expected);
    }
    let requests = origin.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
}

#[test]
fn checks_shake_hands_as_traffic_does_and_say_what_failed() {
    let origin = Origin::saying("fine");
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let wrong = Authority::root("another hall").pem();
    for (check, good) in [("tcp", "connected by TLS"), ("http", "GET / answered 200")] {
        let service = web(door.addr())
            .key("health_check", check)
            .key("health_check_interval", "100ms")
            .key("health_check_rise", "1")
            .key("health_check_fall", "1")
            .key("upstream_tls_ca", &wrong);
        let pointsman = builder()
            .service(&service)
            .setting("stats_uri", "/figures")
            .setting("stats_auth", "none")
            .start();
        let health = |is: &str| {
            wait_until(&format!("it is {is}: {}", pointsman.status()), || {
                pointsman.status()["services"][0]["upstreams"][0]["health"] == is
            });
        };
        let told = |reason: &str| {
            wait_until(&format!("{reason:?} in {}", pointsman.log()), || {
                pointsman
                    .log()
                    .lines()
                    .any(|l| l.contains("upstream is down") && l.contains(reason))
            });
            let figures = pointsman.get(HOST, "/figures;csv").text();
            assert!(figures.contains(reason), "{reason:?} in {figures}");
        };
        health("down");
        told("handshake: its certificate is signed by nobody in upstream_tls_ca");
        pointsman.put("services/web/upstream_tls_ca", ca());
        health("up");
        assert!(pointsman.get(HOST, "/figures;csv").text().contains(good));
        pointsman.put("services/web/upstream_tls_name", "other.test");
        health("down");
        told("handshake: its certificate is not for other.test, but for app.test");
    }
}

#[test]
fn a_check_of_another_port_is_plain() {
    let (origin, checked) = (Origin::saying("hello"), Origin::saying("fine"));
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let service = web(door.addr())
        .key("health_check", "http")
        .key("health_check_port", &checked.addr().port().to_string());
    let pointsman = builder().service(&service).start();
    pointsman.wait_for_status(HOST, "/", 200);
    assert_eq!(checked.wait_for(1)[0].head.target(), "/");
}

#[test]
fn without_authorities_in_keys_those_of_the_system_count() {
    let origin = Origin::saying("hello");
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let service = web(door.addr()).without("upstream_tls_ca");
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write a file");
        path.display().to_string()
    };
    let over = |file: &str| {
        let pointsman = builder().service(&service).env("SSL_CERT_FILE", file).env(
            "SSL_CERT_DIR",
            &dir.path().join("none").display().to_string(),
        );
        pointsman.start()
    };
    assert_eq!(get(&over(&file("town.pem", &ca()))).0, 200);
    let pointsman = over(&file("other.pem", &Authority::root("another hall").pem()));
    assert_fails(&pointsman, "signed by nobody whom this system trusts");
    let pointsman = over(&file("empty.pem", "nothing"));
    assert_fails(&pointsman, "this system trusts nobody");
}

/// A real HAProxy that takes who has a certificate of `authority`, and says who that is.
fn asking_haproxy(authority: &Authority, version: &str) -> (SocketAddr, Killed, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write a file");
        path.display().to_string()
    };
    let (own, clients) = (
        file("own.pem", &signed(&[APP]).pem()),
        file("clients.pem", &authority.pem()),
    );
    let door = local(free_port());
    let config = file(
        "haproxy.cfg",
        &format!(
            "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 5s\n\
             frontend f\n bind {door} ssl crt {own} ca-file {clients} verify required \
             ssl-min-ver {version} ssl-max-ver {version}\n \
             http-request return status 200 content-type text/plain lf-string \
             \"%[ssl_c_s_dn(cn)] by %[ssl_fc_protocol] resumed %[ssl_fc_is_resumed]\"\n"
        ),
    );
    let child = Command::new("haproxy")
        .args(["-db", "-f", &config])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy runs; scripts/needs test installs it");
    let killed = Killed(child);
    wait_until("haproxy listens", || Client::try_connect(door).is_ok());
    (door, killed, dir)
}

#[test]
fn a_real_haproxy_that_asks_for_a_certificate_gets_ours() {
    let guild = Authority::root("guild");
    // For nobody by name, which is no fault of one that is shown.
    let ours = guild.sign(&Leaf::of(&[]).common_name("balancer"));
    for version in ["TLSv1.2", "TLSv1.3"] {
        let (door, _haproxy, _dir) = asking_haproxy(&guild, version);
        let with = web(door).key("upstream_tls_certificate", &ours.pem());
        let pointsman = builder().service(&with).start();
        let expected = format!("balancer by {version} resumed 0");
        assert_eq!(get(&pointsman), (200, expected));
        let plan = pointsman.plan().dump;
        assert!(
            plan.contains("upstream_tls_certificate: CN=balancer"),
            "{plan}"
        );
        // Told one by one, since a word of them may stand in a name.
        pointsman.put("services/web/upstream_tls_certificate", "");
        pointsman.wait_for_status(HOST, "/", 502);
        let reason = "client certificate";
        wait_until(reason, || pointsman.log().contains(reason));
        let stranger = Authority::root("another guild").sign(&Leaf::of(&[]));
        pointsman.put("services/web/upstream_tls_certificate", stranger.pem());
        let reason = "it does not take our client certificate";
        wait_until(reason, || {
            assert_eq!(pointsman.get(HOST, "/").status(), 502);
            pointsman.log().contains(reason)
        });
    }
}

#[test]
fn a_certificate_that_is_missing_is_told_of_uploads_and_flows_too() {
    let guild = Authority::root("guild");
    let origin = Origin::saying("hello");
    let port = free_port();
    for version in [&TLS12, &TLS13] {
        let door = Door::with(&signed(&[APP]))
            .version(version)
            .asking(&guild)
            .before(origin.addr());
        let tcp = Service::tcp("db", port)
            .upstream(door.addr())
            .key("upstream_tls", "true")
            .key("upstream_tls_ca", &ca())
            .key("upstream_tls_name", APP)
            .key("retries", "0");
        let pointsman = builder().service(&web(door.addr())).service(&tcp).start();
        pointsman.wait_for_port(port);
        let told = |service: &str| {
            let words = ["handshake with upstream failed", "certificate", service];
            wait_until(&format!("{words:?} in {}", pointsman.log()), || {
                let log = pointsman.log();
                log.lines()
                    .any(|line| words.iter().all(|word| line.contains(word)))
            });
        };
        let mut client = pointsman.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello"
        ));
        assert_eq!(client.response().status(), 502);
        told("service=web");
        Client::connect(local(port)).assert_closed();
        told("service=db");
        assert!(door.entered().is_empty());
    }
    origin.assert_saw_nothing();
}

#[test]
fn the_private_key_shows_nowhere_and_a_sealed_bundle_is_as_good() {
    let guild = Authority::root("guild");
    let ours = guild.sign(&Leaf::of(&[]).common_name("balancer"));
    let origin = Origin::saying("hello");
    let door = Door::with(&signed(&[APP]))
        .asking(&guild)
        .before(origin.addr());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("seal.key").display().to_string();
    let seal = |args: &[&str], value: &str| {
        let mut child = support::command()
            .args(["seal", "--seal-key-file", &file])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start pointsman");
        let mut stdin = child.stdin.take().expect("its input");
        // One that ends without reading is no error here.
        let _ = stdin.write_all(value.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("run pointsman");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    seal(&["--new-key"], "");
    let place = "services/web/upstream_tls_certificate";
    for value in [ours.pem(), seal(&["--for", place], &ours.pem())] {
        let service = web(door.addr()).key("upstream_tls_certificate", &value);
        let pointsman = builder()
            .args(&["--seal-key-file", &file])
            .service(&service)
            .start();
        assert_eq!(get(&pointsman), (200, "hello".to_owned()));
        assert_eq!(door.last().shown.len(), 1);
        // Refused, told and dumped: nothing of it is in any of them.
        pointsman.put("services/web/upstream_tls_ca", ours.pem());
        pointsman.wait_for_status_words(&["unwanted-key", "services/web/upstream_tls_ca"]);
        assert_eq!(get(&pointsman).0, 200);
        let look = |command: &str| {
            let output = pointsman.look(command, &["--seal-key-file", &file]);
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
        };
        let shown = [
            pointsman.log(),
            pointsman.status().to_string(),
            pointsman.plan().dump,
            look("plan"),
            look("check"),
        ];
        assert!(shown[2].contains("CN=balancer") && shown[4].contains("has a private key (line"));
        for secret in ours.key.lines().filter(|line| line.len() > 30) {
            assert!(
                shown.iter().all(|text| !text.contains(secret)),
                "{shown:#?}"
            );
        }
    }
}

#[test]
fn a_bad_value_is_refused_alone_with_its_reason() {
    let (origin, other) = (Origin::saying("hello"), Origin::saying("other"));
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let neighbour = Service::http("other")
        .hosts("other.test")
        .upstream(other.addr());
    let pointsman = builder()
        .service(&web(door.addr()))
        .service(&neighbour)
        .start();
    let (one, two) = (signed(&["a.test"]), signed(&["b.test"]));
    let cut = &ca()[..200];
    let wrong_key = one.cert.clone() + &two.key;
    let encrypted = certs::openssl(&["pkey", "-aes256", "-passout", "pass:x"], &one.key);
    let locked = one.cert.clone() + &encrypted;
    let many = ca().repeat(101);
    for (key, value, code, message) in [
        (
            "upstream_tls_ca",
            "a path/to/ca.pem",
            "no-certificate",
            "has no PEM in it",
        ),
        (
            "upstream_tls_ca",
            cut,
            "bad-pem",
            "at line 1 without its end",
        ),
        (
            "upstream_tls_ca",
            &one.pem(),
            "unwanted-key",
            "has a private key (line",
        ),
        ("upstream_tls_ca", &many, "too-many", "has 101 certificates"),
        (
            "upstream_tls_certificate",
            &one.cert,
            "no-key",
            "has no private key",
        ),
        (
            "upstream_tls_certificate",
            &wrong_key,
            "wrong-key",
            "belongs to none of its certificates",
        ),
        (
            "upstream_tls_certificate",
            &locked,
            "encrypted-key",
            "has an encrypted private key",
        ),
        (
            "upstream_tls_name",
            "*.app.test",
            "bad-value",
            "is no name of a server",
        ),
        (
            "upstream_tls_verify",
            "maybe",
            "bad-value",
            "is neither true nor false",
        ),
        (
            "ssl_passthrough",
            "true",
            "conflict",
            "upstream_tls cannot be done with ssl_passthrough",
        ),
    ] {
        let key = format!("services/web/{key}");
        let path = pointsman.keys_dir().join(&key);
        let before = std::fs::read_to_string(&path).ok();
        pointsman.put(&key, value);
        pointsman.wait_for_status_words(&[code, message, "\"services/web\""]);
        assert_eq!(get(&pointsman), (200, "hello".to_owned()), "{key}");
        assert_eq!(pointsman.get("other.test", "/").text(), "other");
        match before {
            Some(before) => pointsman.put(&key, before),
            None => pointsman.remove(&key),
        }
        wait_until("it is good again", || {
            !pointsman.status().to_string().contains(message)
        });
    }
}

#[test]
fn what_ends_or_says_nothing_is_told_and_goes_live() {
    let origin = Origin::saying("hello");
    let guild = Authority::root("guild");
    let old = Leaf::of(&[]).common_name("balancer");
    let old = guild.sign(&old.valid(now() - 9 * DAY, now() - 8 * DAY));
    let door = Door::with(&signed(&[APP])).before(origin.addr());
    let ended = Leaf::of(&["old.test"]).common_name("old hall");
    let ended = ended.valid(now() - 9 * DAY, now() - 8 * DAY).alone();
    let service = web(door.addr())
        .key("upstream_tls_ca", &(ca() + &ended.cert))
        .key("upstream_tls_certificate", &old.pem());
    let plain = Service::http("plain")
        .hosts("plain.test")
        .upstream(origin.addr())
        .key("upstream_tls_name", APP);
    let pointsman = builder().service(&service).service(&plain).start();
    assert_eq!(get(&pointsman).0, 200);
    assert_eq!(pointsman.get("plain.test", "/").text(), "hello");
    let status = pointsman.status().to_string();
    for told in [
        "upstream_tls_ca has \\\"CN=old hall\\\", which expired at 20",
        "upstream_tls_certificate expired at 20",
        "upstream_tls_name says nothing without upstream_tls",
    ] {
        assert!(status.contains(told), "{told} in {status}");
    }
    let checked = pointsman.look("check", &[]);
    let checked = String::from_utf8_lossy(&checked.stderr).into_owned()
        + &String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.contains("upstream_tls_certificate expired at 20"),
        "{checked}"
    );
}
