//! Who may see and change what at `--stats`: by password, token and certificate, and whatever browser it is asked from.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use support::certs::{Authority, Leaf, openssl};
use support::client::{self, Client};
use support::message::Response;
use support::pointsman::{Builder, Pointsman, run};
use support::{free_port, wait_until};

const ADMIN: &str = "a-token-for-admins-to-use";
const READER: &str = "a-token-for-readers-to-use";
const PASSWORD: &str = "open-sesame";

/// Files for flags.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// In one step, as an editor does.
    fn put(&self, name: &str, text: &str) -> String {
        let (new, path) = (self.path("new"), self.path(name));
        fs::write(&new, text).expect("write");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::rename(&new, &path).expect("rename");
        path.to_str().expect("text").to_owned()
    }
}

fn builder() -> Builder {
    Pointsman::builder()
        .without_certificate()
        .key("services/first/virtual_hosts", "first.test")
        .key("services/first/upstreams/one", "127.0.0.1:9")
        .key(
            "services/first/basic_auth_secrets",
            "user joe insecure-password in-a-key",
        )
}

fn hash(password: &str) -> String {
    openssl(&["passwd", "-6", "-salt", "salt", password], "")
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn ask(node: &Pointsman, method: &str, target: &str, fields: &str) -> Response {
    let host = match fields.contains("Host: ") {
        true => String::new(),
        false => format!("Host: {}\r\n", node.stats()),
    };
    let mut client = Client::connect(node.stats());
    client.send(format!(
        "{method} {target} HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    client.response_to(method)
}

fn status(node: &Pointsman, method: &str, target: &str, fields: &str) -> u16 {
    ask(node, method, target, fields).status()
}

/// What a password comes to once it is looked at: who has tried too many waits for his turn.
fn judged(node: &Pointsman, user: &str, password: &str) -> u16 {
    let mut found = 429;
    wait_until("the password is looked at", || {
        found = status(node, "GET", "/v1/status", &basic(user, password));
        found != 429
    });
    found
}

fn curl(args: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["-s", "-S", "-m", "20", "-o", "-", "-w", "\n%{http_code}"])
        .args(args)
        .output()
        .expect("curl");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), format!("{body}{told}"))
}

fn text(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

const MARK: &str = "X-Pointsman: page\r\n";

/// All ways to say who one is at one node.
fn full(desk: &Desk) -> Pointsman {
    let users = format!("reader:{}chief:{}", hash("reads"), hash("rules"));
    builder()
        .args(&["--stats-password-file", &desk.put("password", PASSWORD)])
        .args(&["--stats-users", &desk.put("users", &users)])
        .args(&["--stats-admins", "chief,boss"])
        .args(&["--api-token-file", &desk.put("token", ADMIN)])
        .args(&["--api-read-token-file", &desk.put("read-token", READER)])
        .start()
}

#[test]
fn each_identity_has_its_role_on_every_route() {
    let desk = Desk::new();
    let node = full(&desk);
    let reads = [
        "/metrics",
        "/v1/status",
        "/v1/plan",
        "/v1/services",
        "/v1/services/first",
    ];
    let drain = "/v1/services/first/upstreams/one/drain";
    let changes = [
        ("PUT", drain, 200),
        ("DELETE", drain, 200),
        ("DELETE", "/v1/services/nobody", 404),
        ("PUT", "/v1/certs/www", 400),
        ("PATCH", "/v1/services/first", 415),
        ("POST", "/v1/services/first", 405),
        ("POST", "/live", 405),
        ("OPTIONS", "/v1/new", 404),
    ];
    let known = [
        (basic("stats", PASSWORD), 403),
        (basic("reader", "reads"), 403),
        (bearer(READER), 403),
        (basic("chief", "rules") + MARK, 200),
        (bearer(ADMIN), 200),
    ];
    for (fields, change) in &known {
        for target in reads.iter().chain(&["/live", "/ready"]) {
            assert_eq!(
                status(&node, "GET", target, fields),
                200,
                "{target} {fields}"
            );
            assert_eq!(
                status(&node, "HEAD", target, fields),
                200,
                "{target} {fields}"
            );
        }
        assert_eq!(status(&node, "GET", "/v1/new", fields), 404, "{fields}");
        for (method, target, expected) in changes {
            let expected = if *change == 200 { expected } else { 403 };
            let answer = ask(&node, method, target, fields);
            let told = answer.text();
            assert_eq!(
                answer.status(),
                expected,
                "{method} {target} {fields} {told}"
            );
            let says_role = told.contains("this needs role admin") && told.contains("role read");
            assert_eq!(says_role, *change == 403, "{told}");
        }
        // Credentials in keys are for admins.
        let shown = ask(&node, "GET", "/v1/services/first", fields).text();
        assert_eq!(shown.contains("in-a-key"), *change == 200, "{shown}");
    }
    let strangers = [
        String::new(),
        basic("stats", "wrong"),
        basic("stats", "reads"),
        basic("", PASSWORD),
        basic("chief", ""),
        basic("boss", ""),
        bearer("a-token-of-nobody-at-all"),
        bearer(""),
        format!("Authorization: {ADMIN}\r\n"),
        "Authorization: Digest x\r\n".to_owned(),
        bearer(ADMIN) + &bearer(ADMIN),
    ];
    for (at, fields) in strangers.iter().enumerate() {
        // In turn, so that wrong passwords stay below what is slowed down.
        let target = reads[at % reads.len()];
        let answer = ask(&node, "GET", target, fields);
        assert_eq!(answer.status(), 401, "{target} {fields}");
        let ways = answer.head.all("www-authenticate");
        let basic = "Basic realm=\"pointsman\", charset=\"UTF-8\"";
        assert_eq!(ways, [basic, "Bearer"], "{fields}");
        assert!(answer.text().contains("\"error\""), "{}", answer.text());
        for probe in ["/live", "/ready"] {
            assert_eq!(status(&node, "GET", probe, fields), 200, "{probe} {fields}");
        }
    }
    for target in reads.iter().chain(&["/", "/v1/new", "/favicon.ico"]) {
        assert_eq!(status(&node, "GET", target, ""), 401, "{target}");
    }
    for (method, target, _) in changes {
        assert_eq!(
            status(&node, method, target, MARK),
            401,
            "{method} {target}"
        );
    }
    // As people and Prometheus ask.
    let url = format!("http://{}/metrics", node.stats());
    let user = format!("stats:{PASSWORD}");
    assert_eq!(curl(&["-u", &user, &url]).0, "200");
    assert_eq!(curl(&["-u", "stats:secret", &url]).0, "401");
    assert_eq!(curl(&["--oauth2-bearer", READER, &url]).0, "200");
}

#[test]
fn what_a_browser_sends_by_itself_changes_nothing_for_pages_of_others() {
    let desk = Desk::new();
    let node = full(&desk);
    let own = format!("Origin: http://{}\r\n", node.stats());
    let (chief, token) = (basic("chief", "rules"), bearer(ADMIN));
    let drain = "/v1/services/first/upstreams/one/drain";
    let changed = |fields: &str| status(&node, "PUT", drain, fields);

    // Our page.
    let ours = format!("{chief}{MARK}{own}Sec-Fetch-Site: same-origin\r\n");
    assert_eq!(changed(&ours), 200);
    assert_eq!(changed(&format!("{chief}{MARK}{own}")), 200);
    assert_eq!(changed(&format!("{chief}{MARK}")), 200);
    // A form elsewhere cannot say this.
    for without in [
        chief.clone(),
        format!("{chief}{own}"),
        format!("{chief}X-Pointsman: yes\r\n"),
        format!("{chief}{MARK}{MARK}"),
    ] {
        let answer = ask(&node, "PUT", drain, &without);
        assert_eq!(answer.status(), 403, "{without}");
        assert!(answer.text().contains("X-Pointsman: page"), "{without}");
    }
    assert_eq!(changed(&token), 200);
    assert_eq!(changed(&format!("{token}{own}")), 200);
    let foreign = [
        "Origin: http://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: https://{}\r\n", node.stats()),
        format!("Origin: http://127.0.0.1:{}\r\n", node.http().port()),
        format!("{own}{own}"),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"
            .to_owned(),
    ];
    let reader = basic("reader", "reads");
    for foreign in &foreign {
        for who in [&chief, &token] {
            let answer = ask(&node, "PUT", drain, &format!("{who}{MARK}{foreign}"));
            assert_eq!(answer.status(), 403, "{foreign}");
            assert!(answer.text().contains("web pages of others"), "{foreign}");
        }
        for who in [&reader, &token] {
            for target in ["/v1/services", "/v1/status", "/metrics", "/"] {
                let answer = ask(&node, "GET", target, &format!("{who}{foreign}"));
                assert_eq!(answer.status(), 403, "{target} {foreign}");
                assert!(!answer.text().contains("first"), "{target} {foreign}");
            }
        }
        assert_eq!(status(&node, "GET", "/live", foreign), 200);
    }
    // Who follows a link sees what he may see; a form that is sent by one changes nothing.
    let link =
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(
        status(&node, "GET", "/v1/status", &format!("{reader}{link}")),
        200
    );
    assert_eq!(changed(&format!("{chief}{MARK}{link}")), 403);
    let typed = "Sec-Fetch-Site: none\r\n";
    assert_eq!(
        status(&node, "GET", "/v1/status", &format!("{reader}{typed}")),
        200
    );
    let answer = ask(&node, "GET", "/v1/status", &reader);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        answer.header("cross-origin-resource-policy"),
        Some("same-origin")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // Credentials do not follow to another name, so any will do.
    for host in ["lb.example", "evil.example:1000"] {
        let fields = format!("{reader}Host: {host}\r\n");
        assert_eq!(status(&node, "GET", "/v1/services", &fields), 200);
        assert_eq!(
            status(&node, "GET", "/v1/services", &format!("Host: {host}\r\n")),
            401
        );
    }
}

#[test]
fn without_identities_everybody_on_this_machine_reads_by_address_and_nobody_changes() {
    let node = builder().start();
    for target in ["/metrics", "/v1/status", "/v1/plan", "/v1/services/first"] {
        for host in ["127.0.0.1:1", "localhost", "[::1]:5"] {
            let fields = format!("Host: {host}\r\n");
            assert_eq!(
                status(&node, "GET", target, &fields),
                200,
                "{target} {host}"
            );
        }
        // A name that somebody made point here.
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
        ] {
            let answer = ask(&node, "GET", target, &format!("Host: {host}\r\n"));
            assert_eq!(answer.status(), 403, "{target} {host}");
            assert!(answer.text().contains("Host"), "{target} {host}");
        }
        let foreign = "Origin: http://evil.example\r\n";
        assert_eq!(status(&node, "GET", target, foreign), 403, "{target}");
        // Somebody whom nobody asked.
        assert_eq!(status(&node, "GET", target, &basic("stats", "x")), 200);
    }
    for probe in ["/live", "/ready"] {
        assert_eq!(status(&node, "GET", probe, "Host: lb.example\r\n"), 200);
    }
    for who in [String::new(), basic("stats", "x"), bearer(ADMIN)] {
        let answer = ask(
            &node,
            "DELETE",
            "/v1/services/first",
            &format!("{who}{MARK}"),
        );
        assert_eq!(answer.status(), 403);
        assert!(
            answer.text().contains("--api-token-file"),
            "{}",
            answer.text()
        );
    }
    assert!(
        !ask(&node, "GET", "/v1/services/first", "")
            .text()
            .contains("in-a-key")
    );
}

/// A node that speaks TLS, with everything that clients need to be believed.
struct Secure {
    desk: Desk,
    node: Pointsman,
    hall: Authority,
    clients: Authority,
}

impl Secure {
    fn start() -> Self {
        let (desk, hall) = (Desk::new(), Authority::root("hall"));
        let clients = Authority::root("clients");
        desk.put("hall", &hall.pem());
        let server = hall.sign(&Leaf::of(&["127.0.0.1", "lb.test"]));
        let node = builder()
            .args(&["--stats-certificate", &desk.put("server", &server.pem())])
            .args(&["--stats-client-ca", &desk.put("clients", &clients.pem())])
            .args(&["--stats-admins", "boss,mail@boss.test"])
            .env("STATS_PASSWORD", PASSWORD)
            .without_waiting()
            .start();
        let own = Self {
            desk,
            node,
            hall,
            clients,
        };
        wait_until("it is ready", || own.ready().status.success());
        own
    }

    fn ready(&self) -> Output {
        run(&["ready", "--stats", &self.node.stats().to_string()])
    }

    fn certificate(&self, name: &str, leaf: &Leaf) -> String {
        self.desk.put(name, &self.clients.sign(leaf).pem())
    }

    fn curl(&self, target: &str, args: &[&str]) -> (String, String) {
        let (ca, url) = (
            self.desk.path("hall"),
            format!("https://{}{target}", self.node.stats()),
        );
        curl(&[&["--cacert", ca.to_str().expect("text"), &url], args].concat())
    }
}

#[test]
fn certificates_say_who_comes_and_what_he_may() {
    let secure = Secure::start();
    let leaf = |name: &str| Leaf::of(&[]).common_name(name);
    let boss = secure.certificate("boss", &leaf("boss"));
    let anna = secure.certificate("anna", &leaf("anna"));
    let mail = secure.certificate("mail", &Leaf::of(&["mail@boss.test"]).common_name(""));
    let bare = secure.certificate("bare", &leaf(""));
    let change = ["-X", "PUT", "-d", ""];
    let mark = ["-H", "X-Pointsman: page"];
    let drain = "/v1/services/first/upstreams/one/drain";
    for (certificate, may) in [(&boss, true), (&anna, false), (&mail, true), (&bare, false)] {
        let own = ["--cert", certificate.as_str()];
        let (status, told) = secure.curl("/v1/services", &own);
        assert_eq!(status, "200", "{certificate}: {told}");
        let (status, told) = secure.curl(drain, &[&own[..], &change, &mark].concat());
        assert_eq!(
            status,
            if may { "200" } else { "403" },
            "{certificate}: {told}"
        );
        assert!(may || told.contains("role admin"), "{told}");
        let (status, told) = secure.curl(drain, &[&own[..], &change].concat());
        assert_eq!(status, "403", "{certificate}: {told}");
    }
    // Without one, a password does; with a wrong one nothing does, whatever certificate is beside it.
    let user = format!("stats:{PASSWORD}");
    assert_eq!(secure.curl("/v1/status", &[]).0, "401");
    assert_eq!(secure.curl("/v1/status", &["-u", &user]).0, "200");
    assert_eq!(
        secure
            .curl("/v1/status", &["-u", "stats:x", "--cert", &boss])
            .0,
        "401"
    );
    assert_eq!(
        secure
            .curl(
                drain,
                &[&["-u", &user, "--cert", &boss][..], &change, &mark].concat()
            )
            .0,
        "403"
    );
    assert_eq!(secure.curl("/live", &[]).0, "200");
    let origin = format!("Origin: https://{}", secure.node.stats());
    let ours = [&["--cert", &boss, "-H", &origin][..], &change, &mark].concat();
    assert_eq!(secure.curl(drain, &ours).0, "200");
    let origin = format!("Origin: http://{}", secure.node.stats());
    let plain = [&["--cert", &boss, "-H", &origin][..], &change, &mark].concat();
    assert_eq!(secure.curl(drain, &plain).0, "403");

    // Signed by nobody here, and over.
    let other = Authority::root("clients");
    let forged = secure.desk.put("forged", &other.sign(&leaf("boss")).pem());
    let (then, now) = (
        support::certs::now() - 20 * support::certs::DAY,
        support::certs::now(),
    );
    let over = leaf("boss").valid(then, now - support::certs::DAY);
    let over = secure.certificate("over", &over);
    for bad in [&forged, &over] {
        let (status, told) = secure.curl("/v1/status", &["--cert", bad]);
        assert_eq!(status, "000", "{told}");
    }
    let log = secure.node.log();
    assert!(
        log.contains("handshake failed at the listener of --stats"),
        "{log}"
    );
}

#[test]
fn tls_is_spoken_with_the_newest_certificate_and_who_speaks_plainly_is_told() {
    let secure = Secure::start();
    let stats = secure.node.stats();
    let plain = client::get(stats, "localhost", "/v1/status");
    assert_eq!(plain.status(), 426);
    assert!(plain.text().contains("https"), "{}", plain.text());
    let ready = secure.ready();
    assert!(
        ready.status.success() && text(&ready) == "ready\n",
        "{}",
        text(&ready)
    );

    // The command that lists services asks by TLS, and says who it is.
    let keys = format!("dir:{}", secure.node.keys_dir().display());
    let password = secure.desk.put("password", PASSWORD);
    let hall = secure.desk.path("hall").to_str().expect("text").to_owned();
    let url = format!("https://{stats}");
    let services = |args: &[&str]| run(&[&["services", "--store", &keys][..], args].concat());
    let whole = [
        "--stats",
        &url,
        "--stats-ca",
        &hall,
        "--stats-password-file",
        &password,
    ];
    let told = text(&services(&whole));
    assert!(told.contains("one  127.0.0.1:9  "), "{told}");
    for (args, word) in [
        (
            &["--stats", &stats.to_string()][..],
            "--stats https://HOST:PORT",
        ),
        (
            &["--stats", &url, "--stats-ca", &hall],
            "--stats-password-file",
        ),
        (&["--stats", &url], "TLS"),
    ] {
        let output = services(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output).contains(word), "{args:?}: {}", text(&output));
    }

    // Somebody who says nothing takes one place of many, and is not waited for.
    let silent: Vec<_> = (0..300).map(|_| Client::connect(stats)).collect();
    assert_eq!(secure.curl("/live", &[]).0, "200");
    drop(silent);

    let fingerprint = |leaf: &Leaf| {
        let bundle = secure.hall.sign(leaf);
        (
            openssl(&["x509", "-noout", "-serial"], &bundle.cert),
            bundle.pem(),
        )
    };
    let (serial, pem) = fingerprint(&Leaf::of(&["127.0.0.1"]));
    let shown = || {
        let to = stats.to_string();
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &to])
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        openssl(
            &["x509", "-noout", "-serial"],
            &String::from_utf8_lossy(&output.stdout),
        )
    };
    assert_ne!(shown(), serial);
    secure.desk.put("server", "no certificate");
    wait_until("the bad one is told", || {
        secure.node.log().contains("file cannot be read anew")
    });
    assert_eq!(secure.curl("/live", &[]).0, "200");
    secure.desk.put("server", &pem);
    wait_until("the new one is shown", || shown() == serial);
    // Other clients are believed from now on.
    let others = Authority::root("others");
    let leaf = Leaf::of(&[]).common_name("boss");
    let boss = secure.desk.put("boss", &others.sign(&leaf).pem());
    secure.desk.put("clients", &others.pem());
    wait_until("the other authority is believed", || {
        secure.curl("/v1/status", &["--cert", &boss]).0 == "200"
    });
    let before = secure.certificate("before", &leaf);
    assert_eq!(secure.curl("/v1/status", &["--cert", &before]).0, "000");
}

#[test]
fn the_password_is_changed_by_its_key_while_it_runs() {
    let desk = Desk::new();
    let seal_key = desk.path("seal.key").to_str().expect("text").to_owned();
    let made = run(&["seal", "--seal-key-file", &seal_key, "--new-key"]);
    assert!(made.status.success(), "{}", text(&made));
    let node = builder()
        .env("LB_STATS_PASSWORD", PASSWORD)
        .env("STATS_PASSWORD", "of-somebody-else")
        .args(&["--seal-key-file", &seal_key])
        .start();
    let takes = |password: &str| judged(&node, "stats", password) == 200;
    assert!(takes(PASSWORD) && !takes("of-somebody-else"));
    node.put("settings/stats_password", "new-one\n");
    wait_until("the key holds", || takes("new-one"));
    assert!(node.log().contains("stats_password has fewer than 8 bytes"));
    assert!(!takes(PASSWORD));

    // Kontena's default and the like are refused, and leave the one before in force.
    for (bad, word) in [
        (
            "secret",
            "stats_password is the default of Kontena's load balancer",
        ),
        (
            "two\nlines",
            "stats_password has a password that cannot be sent",
        ),
    ] {
        node.put("settings/stats_password", bad);
        wait_until("it is refused", || {
            ask(&node, "GET", "/v1/status", &basic("stats", "new-one"))
                .text()
                .contains(word)
        });
        assert!(!takes(bad) && takes("new-one"));
    }
    let mut seal = support::command();
    seal.args([
        "seal",
        "--seal-key-file",
        &seal_key,
        "--for",
        "settings/stats_password",
    ]);
    let word = desk.put("word", "sealed-one");
    seal.stdin(fs::File::open(word).expect("a file"));
    let sealed = seal.output().expect("pointsman seal");
    assert!(sealed.status.success(), "{}", text(&sealed));
    node.put("settings/stats_password", &sealed.stdout);
    wait_until("the sealed one holds", || takes("sealed-one"));
    node.put("settings/stats_password", "");
    wait_until("an empty key says nothing", || takes(PASSWORD));
    node.put("settings/stats_password", "last-one");
    wait_until("the key holds again", || takes("last-one"));
    node.remove("settings/stats_password");
    wait_until("without it the flag holds", || takes(PASSWORD));

    node.put("settings/stats_password", "last-one");
    wait_until("the key holds again", || takes("last-one"));
    let auth = basic("stats", "last-one");
    let mut shown = vec![node.log()];
    for target in ["/v1/status", "/v1/plan", "/v1/services", "/metrics"] {
        shown.push(ask(&node, "GET", target, &auth).text());
    }
    let flags = ["--seal-key-file", seal_key.as_str()];
    for command in ["plan", "check", "status", "services"] {
        let output = match command {
            "plan" | "check" => node.look(command, &flags),
            _ => run(&[
                command,
                "--store",
                &format!("dir:{}", node.keys_dir().display()),
            ]),
        };
        shown.push(text(&output));
    }
    assert!(shown[2].contains("stats_password: set"), "{}", shown[2]);
    let words = [
        PASSWORD,
        "of-somebody-else",
        "new-one",
        "sealed-one",
        "last-one",
    ];
    for (at, shown) in shown.iter().enumerate() {
        for word in words {
            assert!(!shown.contains(word), "{at}: {word} in {shown}");
        }
    }
}

/// On loopback the key alone closes and opens it.
#[test]
fn a_key_alone_asks_everybody_for_the_password() {
    let node = builder().start();
    let reads = |fields: &str| status(&node, "GET", "/v1/plan", fields);
    assert_eq!(reads(""), 200);
    node.put("settings/stats_password", "of-a-key");
    wait_until("it is asked for", || reads("") == 401);
    assert_eq!(reads(&basic("stats", "of-a-key")), 200);
    assert_eq!(reads(&basic("stats", "")), 401);
    node.put("settings/stats_password", "secret");
    wait_until("it is refused", || {
        node.log().contains("stats_password is the default")
    });
    assert_eq!((reads(""), reads(&basic("stats", "of-a-key"))), (401, 200));
}

#[test]
fn beyond_loopback_somebody_is_named_or_nothing_starts() {
    let desk = Desk::new();
    let keys = format!("dir:{}", desk.0.path().display());
    let token = desk.put("token", ADMIN);
    let start = |stats: &str, variable: Option<(&str, &str)>, args: &[&str]| {
        let mut command = support::command();
        command.args(["run", "--store", &keys, "--https", "none", "--stats", stats]);
        // It ends at the port that is taken, and has told by then what else there is.
        command.args(["--http", "127.0.0.1:1"]).args(args);
        command
            .envs(variable)
            .env("LB_STATE_DIR", desk.path("state"));
        let taken = stats.parse().ok().map(taken);
        let output = command.stdin(Stdio::null()).output().expect("run");
        drop(taken);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        text(&output)
    };
    let open = |port: u16| format!("0.0.0.0:{port}");
    for variable in [
        None,
        Some(("STATS_PASSWORD", "")),
        Some(("STATS_PASSWORD", "secret")),
        Some(("LB_STATS_PASSWORD", " secret\n")),
        Some(("LB_STATS_PASSWORD", "")),
    ] {
        for stats in [open(free_port()), format!("[::]:{}", free_port())] {
            let told = start(&stats, variable, &[]);
            let expected = format!(
                "pointsman: --stats {stats} is not a loopback address, and everybody who reaches it could read all of it"
            );
            assert!(told.starts_with(&expected), "{told}");
            for word in [
                "set STATS_PASSWORD",
                "--stats-users",
                "--api-token-file",
                "or keep --stats to 127.0.0.1",
            ] {
                assert!(told.contains(word), "{told}");
            }
            if let Some((name, value)) = variable {
                let why = match value {
                    "" => "is empty",
                    _ => "is the default of Kontena's load balancer",
                };
                assert!(told.contains(&format!("{name} {why}")), "{told}");
            }
        }
    }
    // Somebody is named: the port is what ends it then.
    let stats = open(free_port());
    let named = start(&stats, Some(("STATS_PASSWORD", "a-word")), &[]);
    assert!(
        named.contains("in use") || named.contains("--http 127.0.0.1:1"),
        "{named}"
    );
    assert!(named.contains("cross the network in clear"), "{named}");
    let named = start(
        &stats,
        Some(("STATS_PASSWORD", "secret")),
        &["--api-token-file", &token],
    );
    assert!(named.contains("STATS_PASSWORD is the default"), "{named}");
    assert!(named.contains("it counts as none"), "{named}");

    let local = format!("127.0.0.1:{}", free_port());
    for (args, word) in [
        (
            &["--stats-password-file", "/nowhere/x"][..],
            "--stats-password-file /nowhere/x: No such file",
        ),
        (
            &["--stats-password-file", &desk.put("secret", "secret\n")],
            "it is the default of Kontena's",
        ),
        (
            &["--stats-password-file", &desk.put("empty", "\n")],
            "it is empty",
        ),
        (
            &["--stats-users", &desk.put("plain", "anna:open sesame\n")],
            "plain passwords are not taken",
        ),
        (
            &[
                "--stats-users",
                &desk.put("stats", &format!("stats:{}", hash("x"))),
            ],
            "give that user another name",
        ),
        (&["--stats-admins", "anna"], "neither is given"),
        (
            &[
                "--stats-users",
                &desk.put("some", &format!("a:{}", hash("x"))),
                "--stats-admins",
                "stats",
            ],
            "role read alone",
        ),
        (
            &["--stats-certificate", &desk.put("no", "no PEM")],
            "it has no PEM in it",
        ),
        (&["--stats-client-ca", &token], "--stats-certificate"),
        (
            &["--api-read-token-file", &desk.put("short", "short")],
            "at least 16 visible characters",
        ),
    ] {
        let told = start(&local, None, args);
        assert!(told.contains(word), "{args:?}: {told}");
        assert!(!told.contains("sesame"), "{told}");
    }
}

/// Nobody else gets this address meanwhile.
fn taken(at: std::net::SocketAddr) -> std::net::TcpListener {
    std::net::TcpListener::bind(at).expect("a free port")
}

#[test]
fn users_come_and_go_with_their_file() {
    let desk = Desk::new();
    let line = |name: &str, password: &str| format!("{name}:{}", hash(password));
    let node = builder()
        .args(&["--stats-users", &desk.put("users", &line("anna", "one"))])
        .args(&["--stats-admins", "bert"])
        .start();
    let reads = |user: &str, password: &str| judged(&node, user, password);
    assert_eq!((reads("anna", "one"), reads("bert", "two")), (200, 401));
    desk.put("users", &(line("anna", "other") + &line("bert", "two")));
    wait_until("bert is known", || reads("bert", "two") == 200);
    // What was right is remembered, and not of one that changed.
    assert_eq!((reads("anna", "one"), reads("anna", "other")), (401, 200));
    let drain = "/v1/services/first/upstreams/one/drain";
    assert_eq!(
        status(&node, "PUT", drain, &(basic("bert", "two") + MARK)),
        200
    );
    assert_eq!(
        status(&node, "PUT", drain, &(basic("anna", "other") + MARK)),
        403
    );
    desk.put("users", "anna:in the open\n");
    wait_until("it is told", || {
        node.log().contains("plain passwords are not taken")
    });
    assert!(!node.log().contains("in the open"));
    assert_eq!((reads("anna", "other"), reads("bert", "two")), (200, 200));
    desk.put("users", "");
    wait_until("nobody is left", || reads("anna", "other") == 401);
    // And that opens nothing.
    assert_eq!(status(&node, "GET", "/v1/status", ""), 401);
    let log = node.log();
    assert!(
        log.contains("keys written over the API") && log.contains("user=\"bert\""),
        "{log}"
    );
}

#[test]
fn guesses_are_slowed_down_and_who_is_known_is_not() {
    let desk = Desk::new();
    let node = full(&desk);
    let read = |user: &str, password: &str| ask(&node, "GET", "/v1/status", &basic(user, password));
    assert_eq!(read("reader", "reads").status(), 200);
    let guesses = (0..60).map(|n| {
        let user = ["stats", "reader", "nobody"][n % 3];
        read(user, &format!("a-guess-{n}"))
    });
    let answers: Vec<_> = guesses.collect();
    let slowed: Vec<_> = answers.iter().filter(|a| a.status() == 429).collect();
    assert!(slowed.len() > 10, "{} of 60", slowed.len());
    assert!(slowed.iter().all(|a| a.header("retry-after") == Some("1")));
    assert!(answers.iter().all(|a| [401, 429].contains(&a.status())));
    // Who has shown the right one before is not kept out, nor are tokens.
    assert_eq!(read("reader", "reads").status(), 200);
    assert_eq!(status(&node, "GET", "/v1/status", &bearer(READER)), 200);
    assert_eq!(status(&node, "GET", "/live", ""), 200);
    // The right one is not looked at either, until it is its turn.
    wait_until("its turn", || read("stats", PASSWORD).status() == 200);
    let log = node.log();
    assert!(
        log.contains("refused over the API") && log.contains("status=401"),
        "{log}"
    );
    assert!(log.matches("refused over the API").count() <= 6, "{log}");
    assert!(!log.contains("a-guess") && !log.contains("nobody"), "{log}");
}

#[test]
fn many_wrong_passwords_at_once_do_not_silence_it() {
    let desk = Desk::new();
    let users = "slow:$2y$12$abcdefghijklmnopqrstuu8TiWIUQ8ijM1p1zgTUhTfEtCqs4vnlG\n";
    let node = builder()
        .args(&["--stats-users", &desk.put("users", users)])
        .args(&["--api-read-token-file", &desk.put("token", READER)])
        .start();
    let stats = node.stats();
    let mut waiting: Vec<_> = (0..64)
        .map(|n| {
            let mut client = Client::connect(stats);
            let who = basic("slow", &format!("guess-{n}"));
            client.send(format!(
                "GET /v1/status HTTP/1.1\r\nHost: {stats}\r\n{who}Connection: close\r\n\r\n"
            ));
            client
        })
        .collect();
    assert_eq!(status(&node, "GET", "/live", ""), 200);
    assert_eq!(status(&node, "GET", "/v1/status", &bearer(READER)), 200);
    let answered: Vec<_> = waiting.iter_mut().map(|c| c.response().status()).collect();
    assert!(
        answered.iter().all(|status| [401, 429].contains(status)),
        "{answered:?}"
    );
    assert!(answered.contains(&429), "{answered:?}");
}

#[test]
fn a_password_file_is_read_anew() {
    let desk = Desk::new();
    let file = desk.put("password", PASSWORD);
    let node = builder().args(&["--stats-password-file", &file]).start();
    let takes = |password: &str| judged(&node, "stats", password) == 200;
    assert!(takes(PASSWORD));
    desk.put("password", "another\n");
    wait_until("the new one holds", || takes("another"));
    desk.put("password", "secret\n");
    wait_until("it is told", || {
        node.log().contains("file cannot be read anew")
    });
    assert!(takes("another") && !takes("secret"));
}
