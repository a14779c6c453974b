//! Services that ask clients for certificates: who is let in, and what applications are told.

mod support;

use std::process::{Command, Stdio};

use rustls::version::{TLS12, TLS13};
use support::certs::{self, Authority, Bundle, DAY, Leaf, now};
use support::client::{Client, exchange};
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service};
use support::tls::{self, Tls};
use support::wait_until;

/// A service for staff alone beside one for everybody, under the names of one certificate.
struct Office {
    staff: Authority,
    origin: Origin,
    pointsman: Pointsman,
}

const HOSTS: &[&str] = &["staff.test", "open.test", certs::TOWN];

impl Office {
    fn new(verify: &str) -> Self {
        Self::with(verify, |builder| builder)
    }

    fn with(verify: &str, more: impl FnOnce(Builder) -> Builder) -> Self {
        let staff = Authority::root("staff");
        let origin = Origin::saying("hello");
        let service = Service::http("staff")
            .hosts("staff.test")
            .key("ssl_client_ca", &staff.pem())
            .key("ssl_client_verify", verify)
            .upstream(origin.addr());
        let open = Service::http("open")
            .hosts("open.test")
            .upstream(origin.addr());
        let builder = Pointsman::builder()
            .without_certificate()
            .key(
                "certs/office",
                certs::town_hall().sign(&Leaf::of(HOSTS)).pem(),
            )
            .service(&service)
            .service(&open);
        Self {
            staff,
            origin,
            pointsman: more(builder).start(),
        }
    }

    fn employs(&self, name: &str) -> Bundle {
        self.staff.sign(&Leaf::of(&[]).common_name(name))
    }

    fn connect(&self, tls: &Tls, name: &str) -> Client {
        tls.connect(self.pointsman.https(), name)
    }

    /// The status for a request of a client that connects like this.
    fn status(&self, tls: &Tls) -> u16 {
        let mut client = self.connect(tls, "staff.test");
        client.get("staff.test", "/").status()
    }
}

#[test]
fn only_those_with_a_certificate_of_the_authority_are_let_in() {
    let office = Office::new("required");
    let anna = office.employs("anna");
    let past = office
        .staff
        .sign(&Leaf::of(&[]).valid(now() - 9 * DAY, now() - DAY));
    let later = office
        .staff
        .sign(&Leaf::of(&[]).valid(now() + DAY, now() + 9 * DAY));
    let elsewhere = Authority::root("staff").sign(&Leaf::of(&[]).common_name("anna"));
    let below = office.staff.below("a department").sign(&Leaf::of(&[]));
    for version in [&TLS12, &TLS13] {
        let town = tls::town().version(version);
        assert_eq!(office.status(&town), 403, "without a certificate");
        assert_eq!(office.status(&town.clone().showing(&anna)), 200);
        assert_eq!(office.status(&town.clone().showing(&below)), 200);
        for (who, bundle) in [
            ("expired", &past),
            ("not yet valid", &later),
            ("of another authority with the same name", &elsewhere),
            ("signed by nobody", &Leaf::of(&[]).alone()),
        ] {
            assert_eq!(office.status(&town.clone().showing(bundle)), 403, "{who}");
        }
    }
    assert_eq!(office.origin.requests().len(), 4);
    let log = office.pointsman.log();
    for reason in [
        "no certificate",
        "is over since",
        "is not valid before",
        "signed by nobody in ssl_client_ca",
    ] {
        assert!(log.contains(reason), "no {reason} in {log}");
    }
}

#[test]
fn on_one_connection_every_request_is_let_in_or_none() {
    let office = Office::new("required");
    let anna = office.employs("anna");
    let mut client = office.connect(&tls::town().showing(&anna), "staff.test");
    for _ in 0..3 {
        assert_eq!(client.get("staff.test", "/").status(), 200);
        assert_eq!(client.get("open.test", "/").status(), 200);
    }
    let mut client = office.connect(&tls::town(), "staff.test");
    for _ in 0..3 {
        assert_eq!(client.get("staff.test", "/").status(), 403);
        assert_eq!(client.get("open.test", "/").status(), 200);
    }
    // Nobody was asked in this handshake; a new one, for the right name, will be.
    let mut client = office.connect(&tls::town().showing(&anna), "open.test");
    assert_eq!(client.get("staff.test", "/").status(), 421);
    assert_eq!(client.get("open.test", "/").status(), 200);
}

#[test]
fn the_application_hears_who_it_is_and_no_client_can_say_it_himself() {
    let office = Office::new("required");
    let anna = office.employs("Anna, \"A\" + <B>; ü #1");
    let mut client = office.connect(&tls::town().showing(&anna), "staff.test");
    client.send(
        "POST / HTTP/1.1\r\nHost: staff.test\r\nX-SSL-Client-CN: root\r\nx_ssl_client_cn: root\r\n\
         X_SSL-Client_DN: CN=root\r\nClient-Cert: :cm9vdA==:\r\nclient_cert: :cm9vdA==:\r\n\
         Client-Cert-Chain: :cm9vdA==:\r\nX-SSL-Client-Verify: SUCCESS\r\nX-SSL-CLIENT-SERIAL: 1\r\n\
         X-SSL-Client-Issuer: CN=root\r\nX-SSL-Client-SHA256: 1\r\nConnection: X-SSL-Client-CN\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nX-SSL-Client-CN: root\r\nClient_Cert: root\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let request = office.origin.requests().remove(0);
    let der = certs::openssl(&["x509", "-outform", "PEM"], &anna.cert);
    let base64: String = der
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let told = |args: &[&str]| {
        let told = certs::openssl(&[&["x509", "-noout"], args].concat(), &anna.cert);
        told.trim()
            .rsplit_once('=')
            .expect("name=value")
            .1
            .to_owned()
    };
    let common_name = r#"Anna\, \"A\" \+ \<B\>\; \C3\BC #1"#;
    for (name, value) in [
        ("client-cert", format!(":{base64}:")),
        ("x-ssl-client-verify", "SUCCESS".to_owned()),
        ("x-ssl-client-dn", format!("CN={common_name}")),
        ("x-ssl-client-cn", common_name.to_owned()),
        ("x-ssl-client-issuer", "CN=staff".to_owned()),
        ("x-ssl-client-serial", told(&["-serial"])),
        (
            "x-ssl-client-sha256",
            told(&["-fingerprint", "-sha256"])
                .replace(':', "")
                .to_lowercase(),
        ),
    ] {
        assert_eq!(request.head.header(name), Some(value.as_str()), "{name}");
    }
    let all = format!("{:?} {:?}", request.head.headers, request.body).to_lowercase();
    assert!(
        !all.contains("root") && !all.contains("client-cert-chain"),
        "{all}"
    );
    assert_eq!(all.matches("client-cn").count(), 1, "{all}");
    assert_eq!(all.matches("client-cert").count(), 1, "{all}");
    assert!(!all.contains("client_"), "{all}");
}

#[test]
fn with_optional_everybody_may_come_but_nobody_with_a_bad_certificate() {
    let office = Office::new("optional");
    let anna = office.employs("anna");
    let stranger = Authority::root("elsewhere").sign(&Leaf::of(&[]));
    assert_eq!(office.status(&tls::town()), 200);
    assert_eq!(office.status(&tls::town().showing(&anna)), 200);
    assert_eq!(office.status(&tls::town().showing(&stranger)), 403);
    let plain = "GET / HTTP/1.1\r\nHost: staff.test\r\nX-SSL-Client-Verify: SUCCESS\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(office.pointsman.http(), plain).status(), 200);
    let told: Vec<_> = office
        .origin
        .requests()
        .iter()
        .map(|r| {
            let header = |name| r.head.header(name).unwrap_or("-").to_owned();
            (header("x-ssl-client-verify"), header("x-ssl-client-cn"))
        })
        .collect();
    let expected = [("NONE", "-"), ("SUCCESS", "anna"), ("NONE", "-")];
    let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn in_the_open_clients_are_sent_to_https_and_nothing_is_served() {
    let office = Office::new("required");
    let ask = |target: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: staff.test\r\nConnection: close\r\n\r\n");
        exchange(office.pointsman.http(), request)
    };
    let sent = ask("/a?b");
    assert_eq!(sent.status(), 308);
    assert_eq!(sent.header("location"), Some("https://staff.test/a?b"));
    assert_eq!(ask("/.well-known/acme-challenge/x").status(), 403);
    assert_eq!(office.origin.requests().len(), 0);
}

#[test]
fn a_trusted_proxy_that_says_https_shows_no_certificate() {
    let office = Office::with("required", |builder| {
        builder.setting("trusted_proxies", "127.0.0.0/8")
    });
    let request = "GET / HTTP/1.1\r\nHost: staff.test\r\nX-Forwarded-Proto: https\r\n\
                   X-SSL-Client-Verify: SUCCESS\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(office.pointsman.http(), request).status(), 403);
    assert_eq!(office.origin.requests().len(), 0);
}

#[test]
fn services_on_one_host_may_believe_different_authorities() {
    let guests = Authority::root("guests");
    let office = Office::with("required", |builder| {
        let lounge = Service::http("lounge")
            .hosts("staff.test")
            .paths("/lounge")
            .key("ssl_client_ca", &guests.pem());
        builder.service(&lounge)
    });
    office.pointsman.put(
        "services/lounge/upstreams/a",
        office.origin.addr().to_string(),
    );
    let statuses = |bundle: &Bundle| {
        let tls = tls::town().showing(bundle);
        let mut client = office.connect(&tls, "staff.test");
        ["/", "/lounge", "/", "/lounge"].map(|path| client.get("staff.test", path).status())
    };
    wait_until("the upstream", || {
        statuses(&guests.sign(&Leaf::of(&[]))) == [403, 200, 403, 200]
    });
    assert_eq!(statuses(&office.employs("anna")), [200, 403, 200, 403]);
}

#[test]
fn a_resumed_session_is_judged_by_the_authorities_of_today() {
    let office = Office::new("required");
    let anna = office.employs("anna");
    for version in [&TLS12, &TLS13] {
        office
            .pointsman
            .put("services/staff/ssl_client_ca", office.staff.pem());
        let tls = tls::town().version(version).showing(&anna).resuming();
        let shake = || {
            let (mut client, shaken) = tls.shake(office.pointsman.https(), "staff.test");
            (client.get("staff.test", "/").status(), shaken.is_resumed)
        };
        wait_until("the authority", || shake().0 == 200);
        assert_eq!(shake(), (200, true));
        let requests = office.origin.requests();
        let told = &requests.last().expect("a request").head;
        assert_eq!(told.header("x-ssl-client-cn"), Some("anna"));
        office
            .pointsman
            .put("services/staff/ssl_client_ca", Authority::root("new").pem());
        wait_until("the new authority", || shake().0 == 403);
        assert_eq!(shake(), (403, true));
    }
}

#[test]
fn a_session_in_which_nobody_was_asked_is_not_resumed_where_one_is() {
    let office = Office::new("required");
    let anna = office.employs("anna");
    let ca = office.staff.pem();
    office.pointsman.remove("services/staff/ssl_client_verify");
    for version in [&TLS12, &TLS13] {
        office.pointsman.remove("services/staff/ssl_client_ca");
        let tls = tls::town().version(version).showing(&anna).resuming();
        let shake = || {
            let (mut client, shaken) = tls.shake(office.pointsman.https(), "staff.test");
            (client.get("staff.test", "/").status(), shaken.is_resumed)
        };
        wait_until("a session without a question", || {
            let resumed = shake();
            let requests = office.origin.requests();
            let told = &requests.last().expect("a request").head;
            resumed == (200, true) && told.header("x-ssl-client-verify").is_none()
        });
        office.pointsman.put("services/staff/ssl_client_ca", &ca);
        wait_until("the question", || {
            let (status, _) = shake();
            // 421: the handshake was just before the key. A session of before would bring no certificate
            // along, which is a 403.
            assert!([200, 421].contains(&status), "{status}");
            let requests = office.origin.requests();
            let told = &requests.last().expect("a request").head;
            told.header("x-ssl-client-cn") == Some("anna")
        });
    }
}

#[test]
fn a_chain_may_have_six_certificates() {
    let office = Office::new("required");
    let mut authority = office.staff.below("1");
    for name in ["2", "3", "4", "5"] {
        authority = authority.below(name);
    }
    let longest = authority.sign(&Leaf::of(&[]));
    let longer = authority.below("6").sign(&Leaf::of(&[]));
    for version in [&TLS12, &TLS13] {
        let town = tls::town().version(version);
        assert_eq!(office.status(&town.clone().showing(&longest)), 200);
        // Which of many leads where is not looked into: that takes a worker seconds.
        let tls = town.showing(&longer);
        if let Ok((mut client, _)) = tls.try_connect(office.pointsman.https(), "staff.test") {
            // By TLS 1.3 the client is through before the other side has looked at what it shows.
            let _ = client.try_send("GET / HTTP/1.1\r\nHost: staff.test\r\n\r\n");
            assert_eq!(client.try_rest().unwrap_or_default(), b"");
        }
    }
    assert_eq!(office.origin.requests().len(), 2);
}

#[test]
fn a_certificate_that_is_written_down_lets_its_own_client_in_and_signs_for_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    let alice = Leaf::of(&[]).common_name("alice").alone();
    std::fs::write(path("alice.crt"), &alice.cert).expect("a file");
    std::fs::write(path("alice.key"), &alice.key).expect("a file");
    let key = certs::openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "");
    let request = ["req", "-new", "-key", "/dev/stdin", "-subj", "/CN=bob"];
    let request = certs::openssl(&request, &key);
    std::fs::write(path("ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    let (by, with, ext) = (path("alice.crt"), path("alice.key"), path("ext"));
    let sign = [
        "x509",
        "-req",
        "-CA",
        &by,
        "-CAkey",
        &with,
        "-set_serial",
        "7",
        "-extfile",
        &ext,
    ];
    let bob = Bundle {
        cert: certs::openssl(&sign, &request),
        chain: alice.cert.clone(),
        key,
    };
    let office = Office::new("required");
    let both = office.staff.pem() + &alice.cert;
    office.pointsman.put("services/staff/ssl_client_ca", both);
    let status = |bundle: &Bundle| office.status(&tls::town().showing(bundle));
    wait_until("alice to be believed", || status(&alice) == 200);
    assert_eq!(status(&bob), 403);
    assert_eq!(status(&office.employs("anna")), 200);
    // Alone it is enough for alice.
    office
        .pointsman
        .put("services/staff/ssl_client_ca", &alice.cert);
    wait_until("the others to be out", || {
        status(&office.employs("anna")) == 403
    });
    assert_eq!((status(&alice), status(&bob)), (200, 403));
}

#[test]
fn rules_see_who_it_is_and_nothing_that_the_client_says_of_itself() {
    let rules = "http-request set-header X-Claims %[req.hdr(X-SSL-Client-CN)]\n\
                 http-request del-header X-SSL-Client-CN";
    let office = Office::with("required", |builder| {
        builder.setting("custom_settings", rules).key(
            "services/staff/custom_settings",
            "http-request deny unless { req.hdr(X-SSL-Client-CN) anna }",
        )
    });
    let ask = |name: &str, host: &str| {
        let tls = tls::town().showing(&office.employs(name));
        let mut client = office.connect(&tls, "staff.test");
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nX-SSL-Client-CN: anna\r\nx_ssl_client_cn: anna\r\n\r\n"
        ));
        client.response().status()
    };
    assert_eq!(ask("anna", "staff.test"), 200);
    assert_eq!(ask("bob", "staff.test"), 403);
    // Nobody asked here, and nobody is told.
    assert_eq!(ask("bob", "open.test"), 200);
    let told: Vec<_> = office
        .origin
        .requests()
        .into_iter()
        .map(|r| r.head)
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].header("x-ssl-client-cn"), Some("anna"));
    for head in &told {
        assert_eq!(head.header("x-claims").unwrap_or_default(), "");
        assert!(!format!("{head:?}").contains("_cn"), "{head:?}");
    }
    assert_eq!(told[1].header("x-ssl-client-cn"), None);
}

#[test]
fn what_is_wrong_closes_the_service_and_hurts_no_neighbour() {
    let origin = Origin::saying("hello");
    let web = Service::http("web")
        .hosts("staff.test")
        .upstream(origin.addr());
    let open = Service::http("open")
        .hosts("open.test")
        .upstream(origin.addr());
    let pointsman = Pointsman::builder().service(&web).service(&open).start();
    assert_eq!(pointsman.get("staff.test", "/").status(), 200);
    let key = Authority::root("x").sign(&Leaf::of(&[]));
    let keys = [
        ("ssl_client_ca", "garbage".to_owned(), "has no PEM in it"),
        (
            "ssl_client_ca",
            String::new(),
            "is empty and does not say who signs",
        ),
        ("ssl_client_ca", key.pem(), "private key"),
        (
            "ssl_client_verify",
            "optional".to_owned(),
            "does not say who signs them",
        ),
        ("ssl_client_caa", "x".to_owned(), "ssl_client_caa"),
        ("client_ca", key.cert.clone(), "client_ca"),
        ("ssl_verify_client", "on".to_owned(), "ssl_verify_client"),
    ];
    for (key, value, told) in keys {
        let key = format!("services/web/{key}");
        pointsman.put(&key, value);
        pointsman.wait_for_status("staff.test", "/", 503);
        pointsman.wait_for_status_words(&[told, "closed"]);
        assert_eq!(pointsman.get("open.test", "/").status(), 200);
        pointsman.remove(&key);
        pointsman.wait_for_status("staff.test", "/", 200);
    }
    // One that asked already goes on asking as it did.
    pointsman.put("services/web/ssl_client_ca", Authority::root("staff").pem());
    pointsman.wait_for_status("staff.test", "/", 308);
    pointsman.put("services/web/ssl_client_ca", "garbage");
    pointsman.wait_for_status_words(&["has no PEM in it"]);
    assert_eq!(pointsman.get("staff.test", "/").status(), 308);
}

#[test]
fn a_closed_service_leaves_its_requests_to_nobody_else() {
    let staff = Authority::root("staff");
    let origin = Origin::saying("hello");
    let web = Service::http("web")
        .hosts("staff.test")
        .upstream(origin.addr());
    let admin = Service::http("admin")
        .hosts("staff.test")
        .paths("/admin")
        .key("ssl_client_ca", "garbage")
        .upstream(origin.addr());
    // Never good here: nothing is known of it but what can be read of its text.
    let mut pointsman = Pointsman::builder().service(&web).service(&admin).start();
    let statuses = |pointsman: &Pointsman| {
        ["/admin/x", "/admin", "/"].map(|path| pointsman.get("staff.test", path).status())
    };
    assert_eq!(statuses(&pointsman), [503, 503, 200]);
    pointsman.put("services/admin/ssl_client_ca", staff.pem());
    pointsman.wait_for_status("staff.test", "/admin/x", 308);
    // It went live open once, and asks from now on.
    pointsman.remove("services/admin/ssl_client_ca");
    pointsman.wait_for_status("staff.test", "/admin/x", 200);
    pointsman.put("services/admin/ssl_client_ca", "garbage");
    pointsman.wait_for_status("staff.test", "/admin/x", 503);
    assert_eq!(statuses(&pointsman), [503, 503, 200]);
    let open = ["/"].map(|path| pointsman.get("staff.test", path).text());
    assert_eq!(open, ["hello"]);
    // A restart without keys comes to the same.
    wait_until("it is saved", || {
        let saved = std::fs::read_dir(pointsman.state_dir()).expect("a state directory");
        saved.into_iter().any(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut lines = text.lines().filter(|line| line.contains("services/admin"));
            lines
                .next_back()
                .is_some_and(|line| line.contains("garbage"))
        })
    });
    pointsman.kill();
    let keys = pointsman.keys_dir();
    std::fs::rename(&keys, keys.with_extension("away")).expect("rename");
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert_eq!(statuses(&pointsman), [503, 503, 200]);
}

#[test]
fn whoever_may_come_without_a_certificate_may_so_while_something_else_is_wrong() {
    let office = Office::new("optional");
    assert_eq!(office.status(&tls::town()), 200);
    office.pointsman.put("services/staff/balance", "leastcom");
    office
        .pointsman
        .wait_for_status_words(&["leastcom", "last-good"]);
    assert_eq!(office.status(&tls::town()), 200);
    let anna = office.employs("anna");
    assert_eq!(office.status(&tls::town().showing(&anna)), 200);
}

#[test]
fn curl_and_openssl_find_their_way() {
    let office = Office::new("required");
    let anna = office.employs("anna");
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let (cert, ca) = (
        file("anna.pem", &anna.pem()),
        file("ca.pem", &certs::town_hall().pem()),
    );
    let port = office.pointsman.https().port();
    let curl = |more: &[&str]| {
        let output = Command::new("curl")
            .args([
                "-sS",
                "--cacert",
                &ca,
                "-w",
                "%{http_code}",
                "-o",
                "/dev/null",
            ])
            .args(["--resolve", &format!("staff.test:{port}:127.0.0.1")])
            .args(more)
            .arg(format!("https://staff.test:{port}/"))
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl(&["--cert", &cert]), "200");
    assert_eq!(curl(&[]), "403");
    let told = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(["-servername", "staff.test"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let wanted = told.split_once("Acceptable client certificate CA names");
    assert!(
        wanted.is_some_and(|(_, names)| names.starts_with("\nCN = staff\n")),
        "{told}"
    );
}

#[cfg(feature = "legacy-tls")]
#[test]
fn old_clients_are_asked_too() {
    let office = Office::with("required", |builder| {
        let rsa = certs::town_hall().sign(&Leaf::of(HOSTS).rsa());
        builder
            .setting("ssl_ciphers", "compatible")
            .key("certs/office", rsa.pem())
    });
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    for (name, bundle) in [
        ("anna", office.employs("anna")),
        ("other", Authority::root("staff").sign(&Leaf::of(&[]))),
    ] {
        std::fs::write(path(name), bundle.pem()).expect("a file");
    }
    let port = office.pointsman.https().port();
    let ask = |more: &[&str]| {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
            .args([
                "-servername",
                "staff.test",
                "-tls1_2",
                "-cipher",
                "AES128-SHA",
            ])
            .args(["-ign_eof"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let mut stdin = client.stdin.take().expect("a pipe");
        let request = b"GET / HTTP/1.1\r\nHost: staff.test\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stdin, request).expect("openssl reads");
        let output = client.wait_with_output().expect("openssl");
        drop(stdin);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Cipher is AES128-SHA"), "{more:?} {text}");
        let status = text.split_once("HTTP/1.1 ").expect("an answer").1[..3].to_owned();
        (status, text.contains("\nReused, "))
    };
    let is = |status: &str, resumed: bool| (status.to_owned(), resumed);
    assert_eq!(ask(&[]), is("403", false));
    assert_eq!(ask(&["-cert", &path("other")]), is("403", false));
    let (anna, kept) = (path("anna"), path("session"));
    assert_eq!(ask(&["-cert", &anna, "-sess_out", &kept]), is("200", false));
    // What a client shows is not kept for the next time: it got nothing to resume.
    assert!(!std::path::Path::new(&kept).exists());
    let told = office.origin.requests().remove(0).head;
    assert_eq!(told.header("x-ssl-client-cn"), Some("anna"));
    // One in which nobody was asked.
    office.pointsman.remove("services/staff/ssl_client_verify");
    office.pointsman.remove("services/staff/ssl_client_ca");
    wait_until("no question", || ask(&["-sess_out", &kept]).0 == "200");
    let again = office.staff.pem();
    office.pointsman.put("services/staff/ssl_client_ca", again);
    wait_until("the question", || {
        ask(&["-cert", &anna, "-sess_in", &kept]) == is("200", false)
    });
}
