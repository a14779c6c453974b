//! Services that ask for passwords: who gets in, who does not, and that nothing opens them.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::client::Client;
use support::message::Response;
use support::origin::{Origin, ok};
use support::pointsman::{Pointsman, Service};
use support::transport::{Ask, on_every_transport};
use support::wait_until;

/// What all of [`FORMS`] are made of.
const SESAME: &str = "open sésame";

/// Made by openssl passwd, htpasswd and crypt(3).
const FORMS: &[(&str, &str)] = &[
    ("md5", "$1$x3Xb.xpB$smPLzz.I1csJM.RZPfL5h."),
    ("apr1", "$apr1$ft9GCNw/$G91xqWvRqF1IxjydCQI4x/"),
    (
        "sha256",
        "$5$EVEBCTyls0uZ6f1P$ShBlYP4jQGqHDhT6exGPoWzFao7ISkO5u1YzB62csyA",
    ),
    (
        "sha512",
        "$6$ytU0WoGj27Sa5rEJ$CyLOa3DzcaLHMZtBLaCmDpRc.3j0OczdgTuZWb1nm2GyvbP7JUbrbqIMQoRLI1wRJ8Iw870X30.9fXdR4k8G8/",
    ),
    (
        "rounds",
        "$6$rounds=1000$abc$XaMam1N4aQ2REcbjtY.sqbfEEHfa3R9NHWeY3EQlB6Mt4qKYQu9UnGa0uh9HJ.xMgpN2prHNPz0VhZ4KDjrXb1",
    ),
    (
        "2a",
        "$2a$05$abcdefghijklmnopqrstuu8TiWIUQ8ijM1p1zgTUhTfEtCqs4vnlG",
    ),
    (
        "2b",
        "$2b$05$abcdefghijklmnopqrstuu8TiWIUQ8ijM1p1zgTUhTfEtCqs4vnlG",
    ),
    (
        "2y",
        "$2y$05$whzHvLP/nj8b.P5HMKd5JeQZ93cHf6cq/cLmgHy8rt32zqt.s.zTi",
    ),
    (
        "yescrypt",
        "$y$j75$abcdefgh$DvvSsjyM3p9gFSx4s3R0eBlybp5IVVrJj6LpT3znJ11",
    ),
    ("sha1", "{SHA}h3vEP7yIx/YrH/fJv0XdGX2QNMM="),
];

/// Of bcrypt at cost 12: a fifth of a second of work. Its password is `slow`.
const SLOW: &str = "$2b$12$abcdefghijklmnopqrstuuvhqlfa3SToYAWnpQD0wYcoxAD7y2cEy";

const OPEN: &str = "user joe insecure-password sesame";

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn ask(credentials: &str) -> Ask {
    Ask::get("web.test", "/").header("Authorization", credentials)
}

fn web(origin: &Origin, secrets: &str) -> Service {
    Service::http("web")
        .hosts("web.test")
        .upstream(origin.addr())
        .key("basic_auth_secrets", secrets)
}

/// One GET with these credentials.
fn get(to: SocketAddr, host: &str, credentials: &str) -> Response {
    let mut client = Client::connect(to);
    client.send(request(host, credentials));
    client.response()
}

fn request(host: &str, credentials: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: {credentials}\r\n\r\n")
}

#[track_caller]
fn assert_asks(response: &Response) {
    assert_asks_for(response, "web");
}

#[track_caller]
fn assert_asks_for(response: &Response, realm: &str) {
    assert_eq!(response.status(), 401, "{}", response.text());
    let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
    assert_eq!(response.header("www-authenticate"), Some(&*challenge));
}

#[test]
fn every_form_of_hash_lets_its_user_in_and_nobody_else() {
    let origin = Origin::saying("inside");
    let mut secrets = format!("# of all kinds\nuser plain insecure-password '{SESAME}'\n");
    for (index, (name, hash)) in FORMS.iter().enumerate() {
        secrets += &match (index % 2, hash.starts_with('{')) {
            (0, false) => format!("user {name} password {hash}\n"),
            _ => format!("{name}:{hash}\n"),
        };
    }
    let pointsman = Pointsman::builder()
        .service(&web(&origin, &secrets))
        .start();
    let names = FORMS.iter().map(|(name, _)| *name).chain(["plain"]);
    let mut let_in = 0;
    on_every_transport(&pointsman, |client| {
        for name in names.clone() {
            for (password, expected) in [
                (SESAME, 200),
                ("open sesame", 401),
                (SESAME, 200),
                ("", 401),
            ] {
                let response = client.ask(&ask(&basic(name, password)));
                assert_eq!(response.status(), expected, "{name} {password:?}");
                if expected == 401 {
                    assert_asks(&response);
                } else {
                    assert_eq!(response.text(), "inside");
                    let_in += 1;
                }
            }
        }
        assert_asks(&client.ask(&ask(&basic("nobody", SESAME))));
    });
    assert_eq!(origin.requests().len(), let_in);
}

#[test]
fn whoever_does_not_say_who_it_is_is_asked() {
    let origin = Origin::saying("inside");
    let pointsman = Pointsman::builder().service(&web(&origin, OPEN)).start();
    let long = basic("joe", &"x".repeat(3000));
    on_every_transport(&pointsman, |client| {
        assert_asks(&client.get("web.test", "/"));
        for credentials in [
            "",
            "Basic",
            "Basic !!!!",
            "Basic am9l",
            "Bearer sesame",
            "Digest username=\"joe\"",
            &basic("", ""),
            &basic("joe", ""),
            &basic("JOE", "sesame"),
            &basic("joe", "sesame "),
            &basic("joe", "sesame\0"),
            &format!("{}x", basic("joe", "sesame")),
            &long,
        ] {
            assert_asks(&client.ask(&ask(credentials)));
        }
        // Which of the two would the application believe?
        let twice = ask(&basic("joe", "sesame")).header("Authorization", &basic("joe", "x"));
        assert_eq!(client.ask(&twice).status(), 400);
    });
    origin.assert_saw_nothing();
    // The connection lives on after a question.
    let mut client = pointsman.client();
    assert_asks(&client.get("web.test", "/"));
    client.send(request("web.test", &basic("joe", "sesame")));
    assert_eq!(client.response().text(), "inside");
}

#[test]
fn a_question_has_no_body_for_head_and_does_not_wait_for_the_requests() {
    let origin = Origin::saying("inside");
    let pointsman = Pointsman::builder().service(&web(&origin, OPEN)).start();
    on_every_transport(&pointsman, |client| {
        let head = client.ask(&Ask::new("HEAD", "web.test", "/"));
        assert_asks(&head);
        assert!(head.body.bytes.is_empty());
        assert_asks(&client.ask(&Ask::new("POST", "web.test", "/").body("x".repeat(100_000))));
    });
    let mut client = pointsman.client();
    client.send("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1000000\r\n\r\nfirst bytes");
    let answer = client.response();
    assert_asks(&answer);
    assert_eq!(answer.header("connection"), Some("close"));
    client.assert_closed();
    origin.assert_saw_nothing();
}

#[test]
fn the_application_gets_no_credentials_unless_it_is_to() {
    let (kept, told) = (Origin::saying("inside"), Origin::saying("inside"));
    let pointsman = Pointsman::builder()
        .service(&web(&kept, OPEN))
        .service(
            &Service::http("told")
                .hosts("told.test")
                .upstream(told.addr())
                .key("basic_auth_secrets", OPEN)
                .key("basic_auth_forward", "true")
                .key("basic_auth_realm", "For the app"),
        )
        .start();
    let credentials = basic("joe", "sesame");
    on_every_transport(&pointsman, |client| {
        assert_asks_for(&client.get("told.test", "/"), "For the app");
        for host in ["web.test", "told.test"] {
            let ask = Ask::new("POST", host, "/x?y")
                .header("AUTHORIZATION", &credentials)
                .header("Proxy-Authorization", "Basic eDp5")
                .body("body");
            assert_eq!(client.ask(&ask).status(), 200);
        }
    });
    assert_eq!(kept.requests().len(), 4);
    for request in kept.requests() {
        assert!(!request.head.has("authorization"), "{request:?}");
        assert_eq!(request.body.bytes, b"body");
    }
    for request in told.requests() {
        assert_eq!(request.head.all("authorization"), [&*credentials]);
    }
}

#[test]
fn an_upgrade_needs_a_password_too() {
    let origin = Origin::scripted(|conn| {
        if conn.head().is_some() {
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            let bytes = conn.some();
            conn.send(bytes);
        }
    });
    let pointsman = Pointsman::builder().service(&web(&origin, OPEN)).start();
    let upgrade = |more: &str| {
        let mut client = pointsman.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n{more}\r\n"
        ));
        client
    };
    assert_asks(&upgrade("").response());
    origin.assert_saw_nothing();
    let credentials = basic("joe", "sesame");
    let mut client = upgrade(&format!("Authorization: {credentials}\r\n"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.send("ping").exactly(4), b"ping");
}

/// The promise of the whole: whatever is done to the secret, nobody comes in without one.
#[test]
fn a_secret_changed_two_hundred_times_under_traffic_never_lets_anybody_else_in() {
    const ROTATIONS: usize = 200;
    let origin = Origin::saying("inside");
    // One of the two is checked beside the workers and remembered, the other at once.
    let secrets = [format!("joe:{}", FORMS[1].1), OPEN.to_owned()];
    let credentials = [basic("joe", SESAME), basic("joe", "sesame")];
    let pointsman = Pointsman::builder()
        .service(&web(&origin, &secrets[1]))
        .start();
    let to = pointsman.http();
    let is_over = AtomicBool::new(false);
    let asked: [AtomicUsize; 4] = Default::default();
    let let_in = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let strangers = ["", &basic("joe", "wrong")].map(str::to_owned);
        for (index, who) in strangers.iter().chain(&credentials).cloned().enumerate() {
            let (is_over, asked, let_in) = (&is_over, &asked, &let_in);
            scope.spawn(move || {
                let mut client = None;
                while !is_over.load(Relaxed) {
                    let mut on = client.take().unwrap_or_else(|| Client::connect(to));
                    on.send(request("web.test", &who));
                    let response = on.response();
                    match response.status() {
                        200 if index >= 2 => {
                            let_in.fetch_add(1, Relaxed);
                        }
                        401 => assert_asks(&response),
                        status => panic!("{status} for client {index}"),
                    }
                    asked[index].fetch_add(1, Relaxed);
                    if response.header("connection") != Some("close") {
                        client = Some(on);
                    }
                }
            });
        }
        // Ends the others, too, when something fails here.
        let _end = End(&is_over);
        let key = "services/web/basic_auth_secrets";
        let path = pointsman.keys_dir().join(key);
        for turn in 0..ROTATIONS {
            let (new, old) = (turn % 2, (turn + 1) % 2);
            if turn % 4 == 3 {
                // For a moment it is empty, which says less than the secret before.
                std::fs::write(&path, &secrets[new]).expect("write in place");
            } else {
                pointsman.put(key, &secrets[new]);
            }
            wait_until("the new secret holds", || {
                get(to, "web.test", &credentials[new]).status() == 200
            });
            let_in.fetch_add(1, Relaxed);
            assert_asks(&get(to, "web.test", &credentials[old]));
        }
        wait_until("all have asked", || {
            asked.iter().all(|n| n.load(Relaxed) > 100)
        });
    });
    assert!(origin.requests().len() >= let_in.load(Relaxed));
    for request in origin.requests() {
        assert!(!request.head.has("authorization"));
    }
    // It went on all the time: a request that was let in is one the origin saw, and no other.
    assert_eq!(origin.requests().len(), let_in.load(Relaxed));
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_secret_that_goes_bad_leaves_the_last_good_one_in_force_and_neighbours_open() {
    let (origin, near) = (Origin::saying("inside"), Origin::saying("near"));
    let mut pointsman = Pointsman::builder()
        .service(&web(&origin, OPEN))
        .service(
            &Service::http("near")
                .hosts("near.test")
                .upstream(near.addr()),
        )
        .start();
    let to = pointsman.http();
    let right = basic("joe", "sesame");
    let key = "services/web/basic_auth_secrets";
    for bad in [
        "user joe password sesame2",
        "",
        "joe",
        "user joe insecure-password",
    ] {
        pointsman.put(key, bad);
        pointsman.wait_for_status_words(&["services/web", "last-good", "basic_auth_secrets"]);
        assert_asks(&pointsman.get("web.test", "/"));
        assert_eq!(get(to, "web.test", &right).text(), "inside");
        assert_eq!(pointsman.get("near.test", "/").text(), "near");
        pointsman.put(key, OPEN);
        wait_until("it is healed", || pointsman.status()["refused_total"] == 0);
    }
    // The same from what is on disk, when the key is bad and the program starts anew.
    pointsman.put(key, "user joe");
    pointsman.wait_for_status_words(&["services/web", "last-good"]);
    pointsman.kill();
    pointsman.start_again();
    pointsman.wait_until_ready();
    pointsman.wait_for_status_words(&["services/web", "last-good"]);
    assert_asks(&pointsman.get("web.test", "/"));
    assert_eq!(get(to, "web.test", &right).text(), "inside");
    for secret in ["sesame2", "insecure"] {
        let shown = pointsman.log() + &pointsman.status().to_string() + &pointsman.plan().dump;
        assert!(
            !shown.contains(&format!("{secret} ")) || secret == "insecure",
            "{shown}"
        );
    }
    // Only the key's removal opens it.
    pointsman.remove(key);
    pointsman.wait_for_text("web.test", "/", "inside");
}

#[test]
fn a_service_whose_keys_come_one_by_one_is_never_open_once_it_says_that_it_asks() {
    let origin = Origin::saying("inside");
    let pointsman = Pointsman::builder().start();
    let upstream = origin.addr().to_string();
    let steps = [
        ("basic_auth_realm", "Staff"),
        ("health_check", "off"),
        ("upstreams/a", upstream.as_str()),
        ("virtual_hosts", "web.test"),
        ("basic_auth_secrets", ""),
        ("basic_auth_secrets", "# to come"),
    ];
    let mut known = 404;
    for (key, value) in steps {
        pointsman.put(&format!("services/web/{key}"), value);
        // Refused anew with each key: the service has to be seen again by then.
        pointsman.wait_for_status_words(&["services/web", "absent", "names no user"]);
        // Once its host is known, it is closed to everybody there.
        let status = if key == "virtual_hosts" { 503 } else { known };
        known = status;
        pointsman.wait_for_status("web.test", "/", status);
    }
    pointsman.put("services/web/basic_auth_secrets", OPEN);
    pointsman.wait_for_status("web.test", "/", 401);
    // Taken away again, the realm alone keeps it closed to strangers.
    pointsman.remove("services/web/basic_auth_secrets");
    pointsman.wait_for_status_words(&["services/web", "last-good", "names no user"]);
    assert_eq!(pointsman.get("web.test", "/").status(), 401);
    origin.assert_saw_nothing();
}

/// A connection from another address of this machine.
fn client_from(source: [u8; 4], to: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket
        .bind(&SocketAddr::from((source, 0)).into())
        .expect("bind");
    socket.connect(&to.into()).expect("connect");
    Client::over(TcpStream::from(socket)).expect("a client")
}

/// Guesses at a password that takes long to check: more than one source may have under way, so that
/// some wait when this returns and some were turned away.
fn guesses(to: SocketAddr, more: &str) -> Vec<Client> {
    let guess = |n: usize| {
        let mut client = Client::connect(to);
        let credentials = basic("slow", &format!("guess {n}"));
        let request = request("slow.test", &credentials);
        client.send(request.replace("\r\n\r\n", &format!("\r\n{more}\r\n")));
        client
    };
    let guesses: Vec<_> = (0..16).map(guess).collect();
    wait_until("a guess is one too many", || {
        guesses
            .iter()
            .any(|client| came(client).starts_with(b"HTTP/1.1 429"))
    });
    guesses
}

/// What has come and was not read yet.
fn came(client: &Client) -> Vec<u8> {
    use rustix::net::{RecvFlags, recv};
    let mut bytes = vec![0; 12];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let length = recv(client.stream(), bytes.as_mut_slice(), flags).map_or(0, |(n, _)| n);
    bytes.truncate(length);
    bytes
}

/// Whether some are not answered yet. Eight guesses take more than a second of work, what
/// is asked meanwhile hardly any.
fn some_wait(guesses: &[Client]) -> bool {
    guesses.iter().any(|client| came(client).is_empty())
}

fn slow_town(settings: &[(&str, &str)]) -> (Pointsman, Origin) {
    let origin = Origin::answering(ok("inside"));
    let service = |name: &str| {
        Service::http(name)
            .hosts(&format!("{name}.test"))
            .upstream(origin.addr())
    };
    let quick = format!("quick:{}\n{OPEN}", FORMS[1].1);
    let mut builder = Pointsman::builder()
        .service(&service("open"))
        .service(&service("quick").key("basic_auth_secrets", &quick))
        .service(&service("slow").key("basic_auth_secrets", &format!("slow:{SLOW}")));
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    (builder.start(), origin)
}

#[test]
fn passwords_that_take_long_to_check_delay_nobody_else() {
    let (pointsman, _origin) = slow_town(&[]);
    let to = pointsman.http();
    let slow = basic("slow", "slow");
    // From here on the right one is known, on the worker that served it and on the others.
    for _ in 0..8 {
        assert_eq!(get(to, "slow.test", &slow).status(), 200);
    }
    let guesses = guesses(to, "");
    for _ in 0..4 {
        assert_eq!(pointsman.get("open.test", "/").status(), 200);
        assert_eq!(get(to, "quick.test", &basic("joe", "sesame")).status(), 200);
        assert_eq!(get(to, "slow.test", &slow).status(), 200);
        assert_eq!(pointsman.get("slow.test", "/").status(), 401);
    }
    // Another source has its turn between two guesses, with a password that is to be checked too.
    let mut other = client_from([127, 0, 0, 2], to);
    other.send(request("quick.test", &basic("quick", SESAME)));
    assert_eq!(other.response().status(), 200);
    assert!(some_wait(&guesses));
}

#[test]
fn one_source_has_so_many_guesses_at_once_also_behind_a_trusted_proxy() {
    let (pointsman, _origin) = slow_town(&[("trusted_proxies", "127.0.0.1,10.0.0.0/8")]);
    let to = pointsman.http();
    let guesses = guesses(to, "X-Forwarded-For: 1.1.1.1, 192.0.2.1, 10.0.0.7\r\n");
    assert!(some_wait(&guesses));
    // Somebody else comes by the same proxy, and has a turn before the rest of the guesses.
    let mut other = Client::connect(to);
    let request = request("slow.test", &basic("slow", "another"));
    other.send(request.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n"));
    assert_asks_for(&other.response(), "slow");
    assert!(some_wait(&guesses));
    let too_many = guesses
        .into_iter()
        .find(|client| came(client).starts_with(b"HTTP/1.1 429"));
    let answer = too_many.expect("one too many").response();
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.head.has("www-authenticate"));
}

#[test]
fn a_plan_a_check_and_a_log_show_no_secret() {
    let origin = Origin::saying("inside");
    let secrets = format!(
        "{OPEN}\nann:{}\nuser bob password {}",
        FORMS[0].1, FORMS[8].1
    );
    let pointsman = Pointsman::builder()
        .service(&web(&origin, &secrets))
        .args(&["--log", "debug"])
        .start();
    let credentials = basic("joe", "sesame");
    assert_eq!(
        get(pointsman.http(), "web.test", &credentials).status(),
        200
    );
    assert_asks(&get(pointsman.http(), "web.test", &basic("joe", "sesamf")));
    assert_asks(&get(pointsman.http(), "web.test", &basic("hunter2", "x")));
    let text = |command: &str| {
        let output = pointsman.look(command, &[]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let plan = text("plan");
    assert!(plan.contains("basic_auth: 3 users, realm web"), "{plan}");
    wait_until("wrong passwords are told", || {
        pointsman.log().contains("wrong password")
    });
    let shown = plan + &text("check") + &pointsman.log() + &pointsman.status().to_string();
    for secret in [
        "sesam",
        "smPLzz",
        "x3Xb.xpB",
        "DvvSsjy",
        "hunter2",
        &credentials[6..20],
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
