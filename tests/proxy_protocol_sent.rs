//! PROXY headers toward upstreams: each connection says whose it is, and serves nobody else. And a real
//! HAProxy on the other side, both ways.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use support::certs::{Authority, Leaf};
use support::client::Client;
use support::origin::{Conn, Origin, ok};
use support::pointsman::{Pointsman, Service, local};
use support::{Killed, certs, free_port, tls, wait_until};

const HOST: &str = "h.test";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FORMS: [&str; 3] = ["v1", "v2", "v2-ssl"];

/// An upstream whose connections have to begin with a header.
struct Announced {
    origin: Origin,
    headers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Announced {
    /// Runs `script` behind the header.
    fn new(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let headers: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let of_script = headers.clone();
        let origin = Origin::scripted(move |conn| {
            if let Some(header) = take_header(conn) {
                of_script.lock().expect("no panic with it").push(header);
                script(conn);
            }
        });
        Self { origin, headers }
    }

    fn saying(text: &'static str) -> Self {
        Self::new(move |conn| {
            while conn.request().is_some() {
                conn.send(ok(text));
            }
        })
    }

    fn echo() -> Self {
        Self::new(|conn| {
            conn.send("hello ");
            loop {
                let some = conn.some();
                if some.is_empty() {
                    return;
                }
                conn.send(&some);
            }
        })
    }

    fn headers(&self) -> Vec<Vec<u8>> {
        self.headers.lock().expect("no panic with it").clone()
    }

    fn last(&self) -> Vec<u8> {
        self.headers().pop().expect("a header")
    }
}

/// Reads a header to the byte.
fn take_header(conn: &mut Conn) -> Option<Vec<u8>> {
    let mut header = conn.exactly(1)?;
    if header == b"P" {
        while !header.ends_with(b"\r\n") {
            header.extend(conn.exactly(1)?);
        }
        return Some(header);
    }
    header.extend(conn.exactly(15)?);
    assert_eq!(&header[..12], SIGNATURE);
    let length = u16::from_be_bytes([header[14], header[15]]);
    header.extend(conn.exactly(length.into())?);
    Some(header)
}

/// What a header says of addresses: `SOURCE > DESTINATION`, or that it is the sender's own.
fn ends(header: &[u8]) -> String {
    if header.starts_with(b"PROXY ") {
        let line = std::str::from_utf8(header).expect("text");
        let words: Vec<_> = line.trim_end().split(' ').collect();
        return match words[..] {
            [_, "UNKNOWN"] => "own".to_owned(),
            [_, "TCP4", a, b, p, q] => format!("{a}:{p} > {b}:{q}"),
            [_, "TCP6", a, b, p, q] => format!("[{a}]:{p} > [{b}]:{q}"),
            _ => panic!("{line:?}"),
        };
    }
    match header[12..14] {
        [0x20, 0] if header.len() == 16 => "own".to_owned(),
        [0x21, 0x11] => {
            let b = &header[16..];
            let port = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
            let ip = |at: usize| format!("{}.{}.{}.{}", b[at], b[at + 1], b[at + 2], b[at + 3]);
            format!("{}:{} > {}:{}", ip(0), port(8), ip(4), port(10))
        }
        _ => panic!("{}", header.escape_ascii()),
    }
}

/// What stands behind IPv4 addresses, by type.
fn tlvs(header: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    pairs(&header[28..])
}

fn pairs(mut bytes: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut all = BTreeMap::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let (value, next) = rest.split_at(u16::from_be_bytes([*high, *low]).into());
        assert!(all.insert(*kind, value.to_vec()).is_none(), "twice {kind}");
        bytes = next;
    }
    assert!(bytes.is_empty());
    all
}

fn web(origin: &Origin, form: &str) -> Service {
    Service::http("web")
        .hosts(HOST)
        .key("send_proxy", form)
        .upstream(origin.addr())
}

#[test]
fn an_http_upstream_hears_of_each_client_on_connections_of_its_own() {
    for form in FORMS {
        let upstream = Announced::saying("hello");
        let pointsman = Pointsman::builder()
            .service(&web(&upstream.origin, form))
            .start();
        let mut clients: Vec<_> = (0..3).map(|_| pointsman.client()).collect();
        for _ in 0..3 {
            for client in &mut clients {
                assert_eq!(client.get(HOST, "/").text(), "hello");
            }
        }
        let post = "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 4\r\n\r\nbody";
        for client in &mut clients {
            client.send(post);
            assert_eq!(client.response().text(), "hello");
        }
        // One connection for each client, and one header on it.
        let expected = |client: &Client| format!("{} > {}", client.local_addr(), pointsman.http());
        let expected: Vec<_> = clients.iter().map(expected).collect();
        let said: Vec<_> = upstream.headers().iter().map(|h| ends(h)).collect();
        assert_eq!(said, expected, "{form}");
        let mut served: Vec<_> = upstream.origin.requests();
        assert_eq!(served.len(), 12);
        served.retain(|request| request.connection == 0);
        assert_eq!(served.len(), 4);
        // It goes with its client.
        drop(clients);
        let mut next = pointsman.client();
        assert_eq!(next.get(HOST, "/").text(), "hello");
        assert_eq!(
            ends(&upstream.last()),
            format!("{} > {}", next.local_addr(), pointsman.http())
        );
    }
}

#[test]
fn a_client_keeps_a_connection_to_each_upstream_whose_turn_it_is() {
    let (a, b) = (Announced::saying("a"), Announced::saying("b"));
    let service = web(&a.origin, "v2").upstream(b.origin.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    let mut client = pointsman.client();
    for _ in 0..6 {
        client.get(HOST, "/");
    }
    assert_eq!((a.headers().len(), b.headers().len()), (1, 1));
    assert_eq!(
        (a.origin.requests().len(), b.origin.requests().len()),
        (3, 3)
    );
}

#[test]
fn a_connection_that_the_upstream_closed_is_replaced_and_says_it_again() {
    let upstream = Announced::new(|conn| {
        if conn.request().is_some() {
            conn.send_last(ok("once"));
        }
    });
    let pointsman = Pointsman::builder()
        .service(&web(&upstream.origin, "v1"))
        .start();
    let mut client = pointsman.client();
    for _ in 0..5 {
        assert_eq!(client.get(HOST, "/").text(), "once");
    }
    let said = format!("{} > {}", client.local_addr(), pointsman.http());
    let all: Vec<_> = upstream.headers().iter().map(|h| ends(h)).collect();
    assert_eq!(all, vec![said; 5]);
}

#[test]
fn connections_of_other_services_to_the_same_address_are_not_mixed_up() {
    // Answers what each connection began with.
    let upstream = Origin::scripted(|conn| {
        let first = conn.exactly(1).unwrap_or_default();
        if first == b"P" {
            while conn.exactly(1).is_some_and(|b| b != b"\n") {}
            while conn.request().is_some() {
                conn.send(ok("announced"));
            }
        } else {
            while conn.head().is_some() {
                conn.send(ok("plain"));
            }
        }
    });
    let plain = Service::http("plain")
        .hosts("plain.test")
        .upstream(upstream.addr());
    let pointsman = Pointsman::builder()
        .service(&web(&upstream, "v1"))
        .service(&plain)
        .start();
    for _ in 0..10 {
        let mut client = pointsman.client();
        for _ in 0..3 {
            assert_eq!(client.get(HOST, "/").text(), "announced");
            assert_eq!(client.get("plain.test", "/").text(), "plain");
        }
    }
    // What the key says now, on connections that were kept under another word too.
    let mut client = pointsman.client();
    assert_eq!(client.get(HOST, "/").text(), "announced");
    pointsman.put("services/web/send_proxy", "none");
    wait_until("no header", || client.get(HOST, "/").text() == "plain");
    pointsman.put("services/web/send_proxy", "v1");
    wait_until("a header", || client.get(HOST, "/").text() == "announced");
}

#[test]
fn tcp_upstreams_hear_of_the_client_before_its_first_byte() {
    for form in FORMS {
        let upstream = Announced::echo();
        let port = free_port();
        let service = Service::tcp("db", port)
            .key("send_proxy", form)
            .upstream(upstream.origin.addr());
        let pointsman = Pointsman::builder()
            .service(&service)
            .args(&["--tcp-address", "127.0.0.1"])
            .start();
        pointsman.wait_for_port(port);
        let mut client = Client::connect(local(port));
        // It may be the upstream that speaks first.
        assert_eq!(client.exactly(6), b"hello ");
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
        let said = format!("{} > {}", client.local_addr(), local(port));
        // Whoever looked whether somebody listens came before.
        let headers = upstream.headers();
        let header = headers.iter().find(|header| ends(header) == said);
        let header = header.unwrap_or_else(|| panic!("no header of {said}"));
        assert!(form == "v1" || tlvs(header).is_empty());
    }
}

#[test]
fn what_a_proxy_in_front_said_is_passed_on() {
    let (http, tcp) = (Announced::saying("hello"), Announced::echo());
    let port = free_port();
    let db = Service::tcp("db", port)
        .key("send_proxy", "v2")
        .upstream(tcp.origin.addr());
    let pointsman = Pointsman::builder()
        .service(&web(&http.origin, "v1"))
        .service(&db)
        .setting("accept_proxy", "127.0.0.0/8")
        .start();
    pointsman.wait_for_port(port);
    let header = "PROXY TCP4 192.0.2.7 198.51.100.2 50000 8443\r\n";
    let mut client = pointsman.client();
    client.send(header);
    assert_eq!(client.get(HOST, "/").text(), "hello");
    assert_eq!(ends(&http.last()), "192.0.2.7:50000 > 198.51.100.2:8443");
    let mut client = Client::connect(local(port));
    client.send(header);
    assert_eq!(client.exactly(6), b"hello ");
    assert_eq!(ends(&tcp.last()), "192.0.2.7:50000 > 198.51.100.2:8443");
    let mut client = pointsman.client();
    client.send("PROXY TCP6 2001:db8::7 2001:db8::2 50000 8443\r\n");
    assert_eq!(client.get(HOST, "/").text(), "hello");
    assert_eq!(
        ends(&http.last()),
        "[2001:db8::7]:50000 > [2001:db8::2]:8443"
    );
}

#[test]
fn v2_ssl_tells_of_the_request_and_of_the_clients_session() {
    let upstream = Announced::saying("hello");
    let pointsman = Pointsman::builder()
        .service(&web(&upstream.origin, "v2-ssl"))
        .start();
    for (version, name, suite) in [
        (&TLS12, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (&TLS13, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ] {
        let tls = tls::town().version(version).alpn(&["http/1.1"]);
        let (mut client, _) = tls.shake(pointsman.https(), certs::TOWN);
        assert_eq!(client.get(HOST, "/").text(), "hello");
        let header = upstream.last();
        assert!(ends(&header).ends_with(&format!(" > {}", pointsman.https())));
        let said = tlvs(&header);
        assert_eq!(said.keys().copied().collect::<Vec<_>>(), [1, 2, 5, 0x20]);
        assert_eq!(said[&1], b"http/1.1");
        assert_eq!(said[&2], certs::TOWN.as_bytes());
        let request = upstream.origin.requests().pop().expect("a request");
        let id = request.head.header("x-request-id").expect("an id");
        assert_eq!(said[&5], id.as_bytes());
        let (fixed, texts) = said[&0x20].split_at(5);
        // By TLS, and no certificate of the client's was verified.
        assert_eq!((fixed[0], fixed[1..] == [0; 4]), (1, false));
        let texts = pairs(texts);
        assert_eq!(texts.keys().copied().collect::<Vec<_>>(), [0x21, 0x23]);
        assert_eq!(texts[&0x21], name.as_bytes());
        assert_eq!(texts[&0x23], suite.as_bytes());
    }
    // A client without TLS has none of it.
    let mut client = pointsman.client();
    assert_eq!(client.get(HOST, "/").text(), "hello");
    let said = tlvs(&upstream.last());
    assert_eq!(said.keys().copied().collect::<Vec<_>>(), [5]);
    // One whose TLS goes through asks for a name, and that is all that is known.
    let own = Announced::new(|conn| drop(conn.some()));
    let service = Service::http("own")
        .hosts("own.test")
        .key("ssl_passthrough", "true")
        .key("send_proxy", "v2-ssl")
        .upstream(own.origin.addr());
    pointsman.put_service(&service);
    wait_until("it goes through", || {
        let _ = tls::town().try_connect(pointsman.https(), "own.test");
        !own.headers().is_empty()
    });
    let said = tlvs(&own.last());
    assert_eq!(said, BTreeMap::from([(2, b"own.test".to_vec())]));
}

#[test]
fn v2_ssl_tells_who_the_client_is_where_the_service_asked_for_a_certificate() {
    let upstream = Announced::saying("hello");
    let staff = Authority::root("staff");
    let anna = staff.sign(&Leaf::of(&[]).common_name("anna"));
    let asks = web(&upstream.origin, "v2-ssl").key("ssl_client_ca", &staff.pem());
    let open = Service::http("open")
        .hosts("open.test")
        .key("send_proxy", "v2-ssl")
        .upstream(upstream.origin.addr());
    let pointsman = Pointsman::builder()
        .without_certificate()
        .key(
            "certs/office",
            certs::town_hall().sign(&Leaf::of(&[HOST])).pem(),
        )
        .service(&asks)
        .service(&open)
        .start();
    let mut client = tls::town().showing(&anna).connect(pointsman.https(), HOST);
    let told = |client: &mut Client, host: &str| {
        assert_eq!(client.get(host, "/").text(), "hello");
        let header = upstream.last();
        let said = tlvs(&header);
        let (fixed, texts) = said[&0x20].split_at(5);
        let name = pairs(texts).remove(&0x22).unwrap_or_default();
        let name = String::from_utf8(name).expect("text");
        (fixed[0], fixed[1..] == [0; 4], name)
    };
    let known = (7, true, "anna".to_owned());
    assert_eq!(told(&mut client, HOST), known);
    // The other service did not ask: it gets a connection that says nothing of it, to the same upstream.
    assert_eq!(told(&mut client, "open.test"), (1, false, String::new()));
    assert_eq!(upstream.headers().len(), 2);
    assert_eq!(client.get(HOST, "/").text(), "hello");
    assert_eq!(
        upstream.headers().len(),
        2,
        "the first connection serves again"
    );
}

#[test]
fn checks_say_that_they_are_our_own() {
    for form in FORMS {
        for (check, has_uri) in [("tcp", false), ("http", true)] {
            let upstream = Announced::saying("hello");
            let mut service = web(&upstream.origin, form).key("health_check", check);
            if has_uri {
                service = service.key("health_check_uri", "/health");
            }
            let pointsman = Pointsman::builder().service(&service).start();
            wait_until("it is up", || {
                pointsman.status()["services"][0]["upstreams"][0]["health"] == "up"
            });
            wait_until("its header", || !upstream.headers().is_empty());
            assert!(upstream.headers().iter().all(|h| ends(h) == "own"));
            if has_uri {
                let request = upstream.origin.wait_for(1).remove(0);
                assert_eq!(request.head.target(), "/health");
            }
        }
    }
    // Another port may be another server's.
    let (upstream, checked) = (Announced::saying("hello"), Origin::saying("fine"));
    let port = checked.addr().port().to_string();
    let service = web(&upstream.origin, "v2")
        .key("health_check_uri", "/health")
        .without("health_check")
        .key("health_check_port", &port);
    let pointsman = Pointsman::builder().service(&service).start();
    assert_eq!(checked.wait_for(1)[0].head.target(), "/health");
    pointsman.wait_for_status(HOST, "/", 200);
}

/// A real HAProxy.
fn haproxy(config: &str, door: SocketAddr) -> (Killed, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("haproxy.cfg");
    let defaults = "defaults\n timeout client 20s\n timeout server 20s\n timeout connect 5s\n";
    fs::write(&file, format!("{defaults}{config}")).expect("write its config");
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy runs; scripts/needs test installs it");
    let killed = Killed(child);
    wait_until("haproxy listens", || Client::try_connect(door).is_ok());
    (killed, dir)
}

#[test]
fn headers_of_a_real_haproxy_in_front_are_understood() {
    let origin = Origin::saying("hello");
    let echo = Origin::scripted(|conn| {
        let some = conn.some();
        conn.send(&some);
    });
    let port = free_port();
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
        .service(&Service::tcp("db", port).upstream(echo.addr()))
        .setting("accept_proxy", "127.0.0.1")
        .start();
    pointsman.wait_for_port(port);
    for words in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl",
        "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c,unique-id",
    ] {
        let [http, https, tcp] = [(); 3].map(|()| local(free_port()));
        let listen = |name: &str, door: SocketAddr, to: SocketAddr| {
            format!(
                "listen {name}\n mode tcp\n bind {door}\n server s {to} {words} check inter 200ms\n"
            )
        };
        let config = listen("http", http, pointsman.http())
            + &listen("https", https, pointsman.https())
            + &listen("tcp", tcp, local(port));
        let (mut haproxy, _dir) = haproxy(&config, tcp);
        let mut client = Client::connect(http);
        assert_eq!(client.get(HOST, "/").text(), "hello", "{words}");
        let last = origin.requests().pop().expect("a request");
        assert_eq!(last.head.header("x-forwarded-for"), Some("127.0.0.1"));
        let asked = http.port().to_string();
        assert_eq!(last.head.header("x-forwarded-port"), Some(&*asked));
        let mut client = tls::town().connect(https, certs::TOWN);
        assert_eq!(client.get(HOST, "/").text(), "hello", "{words}");
        let last = origin.requests().pop().expect("a request");
        let asked = https.port().to_string();
        assert_eq!(last.head.header("x-forwarded-port"), Some(&*asked));
        let mut client = Client::connect(tcp);
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping", "{words}");
        // It would have found us down by now, if its checks were refused.
        std::thread::sleep(Duration::from_millis(900));
        let mut client = Client::connect(http);
        assert_eq!(client.get(HOST, "/").text(), "hello", "{words}");
        let _ = haproxy.0.kill();
    }
    assert!(!pointsman.log().contains("PROXY"), "{}", pointsman.log());
}

#[test]
fn our_headers_are_understood_by_a_real_haproxy_behind() {
    for form in FORMS {
        let [http, tcp] = [(); 2].map(|()| local(free_port()));
        let config = format!(
            "frontend http\n mode http\n bind {http} accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \
             \"%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_authority] %[fc_pp_unique_id] %[req.fhdr(x-request-id)]\"\n\
             frontend tcp\n mode tcp\n bind {tcp} accept-proxy\n default_backend http\n\
             backend http\n mode tcp\n server s {http} send-proxy-v2\n"
        );
        // It takes connections and closes them, as a check without a header would find.
        let (_haproxy, _dir) = haproxy(&config, http);
        let port = free_port();
        let db = Service::tcp("db", port)
            .key("send_proxy", form)
            .upstream(tcp);
        let service = Service::http("web")
            .hosts(HOST)
            .key("send_proxy", form)
            .key("health_check", "http")
            .upstream(http);
        let pointsman = Pointsman::builder()
            .service(&service)
            .service(&db)
            .args(&["--tcp-address", "127.0.0.1"])
            .start();
        pointsman.wait_for_port(port);
        wait_until("its check is good", || {
            pointsman.status().to_string().contains("\"up\"")
        });
        let mut client = pointsman.client();
        let from = client.local_addr();
        let response = client.get(HOST, "/");
        let id = response.header("x-request-id").expect("an id").to_owned();
        let said = match form {
            "v2-ssl" => format!("{from} {}  {id} {id}", pointsman.http()),
            _ => format!("{from} {}   {id}", pointsman.http()),
        };
        assert_eq!(response.text(), said, "{form}");
        let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
        let text = client.get(HOST, "/").text();
        let authority = match form {
            "v2-ssl" => certs::TOWN,
            _ => "",
        };
        let mark = format!(" {} {authority} ", pointsman.https());
        assert!(text.contains(&mark), "{form}: {text}");
        // What it was told it tells on.
        let mut client = Client::connect(local(port));
        let text = client.get(HOST, "/").text();
        let ends = format!("{} {} ", client.local_addr(), local(port));
        assert!(text.starts_with(&ends), "{form}: {text}");
    }
}
