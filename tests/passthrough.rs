//! TLS connections that go to a service as they come, beside those that end here.

mod support;

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::certs::{self, Bundle, Leaf};
use support::client::Client;
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service};
use support::tls::{self, Tls};
use support::wait_until;

/// A service that ends TLS itself, with a certificate of its own.
struct Own {
    origin: Origin,
    bundle: Bundle,
    addr: std::net::SocketAddr,
}

impl Own {
    fn new(name: &str, text: &str) -> Self {
        let origin = Origin::saying(text);
        let bundle = certs::town_hall().sign(&Leaf::of(&[name]));
        let addr = tls::ended_before(origin.addr(), &bundle);
        Self {
            origin,
            bundle,
            addr,
        }
    }

    fn service(&self, name: &str, passthrough: &str) -> Service {
        Service::http(name)
            .upstream(self.addr)
            .key("ssl_passthrough", passthrough)
    }
}

/// Ends `web.test` here.
fn builder(origin: &Origin) -> Builder {
    Pointsman::builder().service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    )
}

/// What a client that asks for `name` is shown, and then served for `host`.
fn served(pointsman: &Pointsman, name: &str, host: &str) -> (CertificateDer<'static>, String) {
    let (mut client, shaken) = Tls::careless().shake(pointsman.https(), name);
    (shaken.chain[0].clone(), client.get(host, "/").text())
}

fn leaf(bundle: &Bundle) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(bundle.cert.as_bytes()).expect("a certificate")
}

#[test]
fn connections_for_its_hosts_go_through_and_all_others_end_here() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(&own.service("own", "true").hosts("own.test,*.own.test"))
        .start();
    for name in ["own.test", "OWN.test", "a.own.test", "a.b.own.test"] {
        assert_eq!(
            served(&pointsman, name, "own.test"),
            (leaf(&own.bundle), "own".to_owned())
        );
    }
    for name in ["web.test", certs::TOWN, "127.0.0.1", "unknown.test"] {
        let (shown, text) = served(&pointsman, name, "web.test");
        assert_ne!(shown, leaf(&own.bundle), "{name}");
        assert_eq!(text, "here");
    }
    // Nothing was added to what it got.
    for request in own.origin.requests() {
        assert!(!request.head.has("x-forwarded-for"), "{request:?}");
    }
}

#[test]
fn its_requests_are_misdirected_wherever_they_can_be_read() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(&own.service("own", "true").hosts("own.test"))
        .start();
    assert_eq!(pointsman.get("own.test", "/").status(), 421);
    let mut client = tls::town().connect(pointsman.https(), certs::TOWN);
    assert_eq!(client.get("own.test", "/").status(), 421);
    assert_eq!(client.get("web.test", "/").text(), "here");
    own.origin.assert_saw_nothing();
    // A balancer that sends all plain requests to https sends these too.
    pointsman.put("settings/force_ssl", "true");
    pointsman.wait_for_status("own.test", "/", 308);
}

#[test]
fn unknown_names_go_where_they_are_wanted_and_known_ones_do_not() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let known = certs::town_hall().sign(&Leaf::of(&["known.test"]));
    let pointsman = builder(&here)
        .key("certs/known", known.pem())
        .service(&own.service("own", "unknown"))
        .start();
    for name in ["unknown.test", "127.0.0.1"] {
        assert_eq!(served(&pointsman, name, "x.test").1, "own", "{name}");
    }
    // A certificate has the one, a service the other.
    assert_eq!(
        served(&pointsman, "known.test", "web.test"),
        (leaf(&known), "here".to_owned())
    );
    assert_eq!(served(&pointsman, "web.test", "web.test").1, "here");
    // And requests without a route are not its own.
    assert_eq!(pointsman.get("unknown.test", "/").status(), 404);
    pointsman.put("services/own/ssl_passthrough", "false");
    wait_until("unknown names to end here", || {
        let (mut client, _) = Tls::careless().shake(pointsman.https(), "unknown.test");
        client.get("web.test", "/").text() == "here"
    });
}

#[test]
fn what_is_no_hello_is_nobodys_connection() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(&own.service("own", "unknown"))
        .start();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"[..],
        b"\x80\x2e\x01\x03\x01",
        &[0; 600],
    ] {
        let mut client = Client::connect(pointsman.https());
        client.send(garbage);
        let answer = client.all_to_the_end();
        assert_eq!(
            answer.first(),
            Some(&21),
            "an alert for {garbage:?}: {answer:?}"
        );
    }
    own.origin.assert_saw_nothing();
}

#[test]
fn without_a_taker_unknown_names_see_the_default_certificate_or_an_alert() {
    let here = Origin::saying("here");
    let pointsman = builder(&here).start();
    assert_eq!(served(&pointsman, "unknown.test", "web.test").1, "here");
    pointsman.put("settings/ssl_unknown_name", "reject");
    wait_until("unknown names to be rejected", || {
        Tls::careless()
            .try_connect(pointsman.https(), "unknown.test")
            .is_err()
    });
    let refused = Tls::careless().try_connect(pointsman.https(), "127.0.0.1");
    assert!(refused.is_err(), "no name at all");
    assert_eq!(served(&pointsman, certs::TOWN, "web.test").1, "here");
}

#[test]
fn a_hello_in_many_pieces_finds_its_way() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(&own.service("own", "true").hosts("own.test"))
        .start();
    // Byte by byte to whom it may concern, and the answer is that of the service.
    let hello = hello_for("own.test");
    assert!(hello.len() > 1200, "longer than a segment");
    let mut client = Client::connect(pointsman.https());
    for byte in &hello {
        client.send([*byte]);
    }
    assert_eq!(client.exactly(3), [22, 3, 3], "a handshake goes on");
}

/// What `rustls` says first.
fn hello_for(name: &str) -> Vec<u8> {
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().expect("a name");
    let mut bytes = Vec::new();
    let mut client = ClientConnection::new(config.into(), name).expect("a client");
    client.write_tls(&mut bytes).expect("a hello");
    bytes
}

#[test]
fn a_service_without_upstreams_closes_and_one_with_a_list_lets_in_whom_it_wants() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(
            &Service::http("empty")
                .hosts("empty.test")
                .key("ssl_passthrough", "true"),
        )
        .service(
            &own.service("shut", "true")
                .hosts("shut.test")
                .key("deny", "127.0.0.0/8"),
        )
        .start();
    for name in ["empty.test", "shut.test"] {
        let mut client = Client::connect(pointsman.https());
        client.send(hello_for(name));
        client.assert_closed();
    }
    own.origin.assert_saw_nothing();
}

#[test]
fn connections_live_on_when_the_service_changes() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .service(&own.service("own", "true").hosts("own.test"))
        .start();
    let mut open = Tls::careless().connect(pointsman.https(), "own.test");
    assert_eq!(open.get("own.test", "/").text(), "own");
    pointsman.put("services/own/timeout_tunnel", "10m");
    pointsman.put("services/web/virtual_hosts", "web.test,also.test");
    pointsman.wait_for_text("also.test", "/", "here");
    assert_eq!(open.get("own.test", "/").text(), "own");
    assert!(open.is_silent_for(Duration::from_millis(20)));
}

#[test]
fn access_logs_tell_of_it_as_of_a_tcp_session() {
    let here = Origin::saying("here");
    let own = Own::new("own.test", "own");
    let pointsman = builder(&here)
        .args(&["--access-log", "stdout"])
        .service(&own.service("own", "true").hosts("own.test"))
        .start();
    let mut client = Tls::careless().connect(pointsman.https(), "own.test");
    client.get("own.test", "/");
    drop(client);
    wait_until("a line", || {
        let log = pointsman.log();
        let line = log
            .lines()
            .find(|line| line.starts_with("{\"type\":\"tcp\""));
        line.is_some_and(|line| line.contains("\"service\":\"own\""))
    });
}

#[test]
fn what_needs_requests_to_be_read_is_refused_with_it() {
    let here = Origin::saying("here");
    let pointsman = builder(&here)
        .service(
            &Service::http("own")
                .hosts("own.test")
                .key("ssl_passthrough", "true")
                .key("virtual_path", "/x")
                .key("cookie", ""),
        )
        .service(&Service::http("nobody").key("ssl_passthrough", "true"))
        .start();
    pointsman.wait_for_status_words(&[
        "virtual_path cannot be done with ssl_passthrough",
        "cookie cannot be done with ssl_passthrough",
        "ssl_passthrough is on, but no host leads here",
    ]);
    assert_eq!(pointsman.get("web.test", "/").text(), "here");
}
