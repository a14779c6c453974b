//! `pointsman import`, side by side with a real HAProxy: the same file, the same requests, the same
//! upstreams, and the answers compared.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::certs;
use support::client::{self, Client, exchange};
use support::message::{Head, Response};
use support::origin::{Conn, Origin};
use support::pointsman::{Pointsman, local, run};
use support::tls;
use support::{free_port, wait_until};
use tempfile::TempDir;

/// Names in the files of `tests/import` that stand for ports.
const LISTENERS: [&str; 4] = ["HTTP", "HTTP_B", "TCP_A", "TCP_B"];
const ORIGINS: [&str; 4] = ["ORIGIN_A", "ORIGIN_B", "ORIGIN_C", "ORIGIN_D"];
const ECHOES: [&str; 2] = ["ECHO_A", "ECHO_B"];

/// HAProxy and pointsman from one file, before the same upstreams.
struct Pair {
    haproxy: Haproxy,
    pointsman: Pointsman,
    theirs: BTreeMap<&'static str, u16>,
    ours: BTreeMap<&'static str, u16>,
    /// What `import` said on stderr.
    told: String,
    _origins: Vec<Origin>,
    /// Of the keys.
    _dir: TempDir,
}

struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pair {
    fn of(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/import")
            .join(name);
        let text = fs::read_to_string(file).expect("the configuration");
        let origins: Vec<Origin> = ORIGINS.iter().map(|name| telling(name)).collect();
        let echoes: Vec<Origin> = ECHOES.iter().map(|name| greeting(name)).collect();
        let upstreams: BTreeMap<&'static str, u16> = ORIGINS
            .into_iter()
            .zip(origins.iter().map(|o| o.addr().port()))
            .chain(
                ECHOES
                    .into_iter()
                    .zip(echoes.iter().map(|o| o.addr().port())),
            )
            .collect();
        let listeners = || {
            LISTENERS
                .map(|name| (name, free_port()))
                .into_iter()
                .collect()
        };
        let (theirs, ours): (BTreeMap<&str, u16>, BTreeMap<&str, u16>) = (listeners(), listeners());

        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("theirs.cfg"), with_ports(&text, [&theirs, &upstreams])).expect("write");
        fs::write(path("ours.cfg"), with_ports(&text, [&ours, &upstreams])).expect("write");
        let haproxy = Haproxy(
            Command::new("haproxy")
                // In the foreground, whatever the file says.
                .args(["-db", "-f"])
                .arg(path("theirs.cfg"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("haproxy is installed by scripts/needs"),
        );

        let (cfg, keys) = (path("ours.cfg"), path("keys"));
        let imported = run(&["import", shown(&cfg), "--to", shown(&keys)]);
        let told = String::from_utf8_lossy(&imported.stderr).into_owned();
        assert!(imported.status.success(), "{told}");
        let store = format!("dir:{}", keys.display());
        let args: Vec<&str> = told
            .lines()
            .filter_map(|line| line.strip_prefix("start with: pointsman run"))
            .flat_map(|flags| flags.split_whitespace())
            .skip_while(|word| *word != "--http")
            .collect();
        let pointsman = Pointsman::builder().store(&store).args(&args).start();
        let judged = pointsman.status();
        assert_eq!(judged["refused_total"], 0, "{judged:#}");
        assert_eq!(judged["warnings_total"], 0, "{judged:#}");
        let pair = Self {
            haproxy,
            pointsman,
            theirs,
            ours,
            told,
            _origins: origins.into_iter().chain(echoes).collect(),
            _dir: dir,
        };
        pair.wait_for_listeners(&text);
        pair
    }

    fn wait_for_listeners(&self, text: &str) {
        for name in LISTENERS {
            if text.contains(&format!("${{{name}}}")) {
                for ports in [&self.theirs, &self.ours] {
                    let address = local(ports[name]);
                    wait_until(&format!("a listener for {name}"), || {
                        TcpStream::connect(address).is_ok()
                    });
                }
            }
        }
        assert!(self.haproxy.0.id() > 0);
    }

    /// Sends the same request a few times to both and compares what came of it. Several times, because
    /// what is balanced is compared as a set.
    fn assert_same(&self, door: &str, request: &str) {
        let outcomes = |ports: &BTreeMap<&str, u16>| -> BTreeSet<Outcome> {
            (0..4)
                .map(|_| Outcome::of(&exchange(local(ports[door]), request.replace('\n', "\r\n"))))
                .collect()
        };
        let (theirs, ours) = (outcomes(&self.theirs), outcomes(&self.ours));
        assert_eq!(
            ours,
            theirs,
            "ours, then haproxy's, for\n{request}\nlog:\n{}",
            self.pointsman.log()
        );
    }

    /// The same for a GET.
    fn assert_same_get(&self, host: &str, target: &str) {
        self.assert_same_with(host, target, "");
    }

    /// The same for a GET with more field lines.
    fn assert_same_with(&self, host: &str, target: &str, fields: &str) {
        self.assert_same(
            "HTTP",
            &format!("GET {target} HTTP/1.1\nHost: {host}\n{fields}Connection: close\n\n"),
        );
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn with_ports(text: &str, ports: [&BTreeMap<&str, u16>; 2]) -> String {
    let mut text = text.to_owned();
    for (name, port) in ports.into_iter().flatten() {
        text = text.replace(&format!("${{{name}}}"), &port.to_string());
    }
    text
}

/// What of an answer has to be the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    status: u16,
    /// Of the fields that a proxy does not add by itself.
    fields: BTreeSet<String>,
    /// The upstream's; our own pages and HAProxy's say the same in other words.
    body: Option<String>,
}

impl Outcome {
    fn of(response: &Response) -> Self {
        // What the two add in their own way to all answers, or only to their own.
        const OWN: [&str; 6] = [
            "content-length",
            "cache-control",
            "connection",
            "content-type",
            "x-request-id",
            "retry-after",
        ];
        let is_upstreams = response.head.has("x-origin");
        let fields = response.head.headers.iter().filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_own = OWN[..].contains(&name.as_str());
            // A cookie is its name and value; its attributes are ours to choose.
            let value = match name.as_str() {
                "set-cookie" if !is_upstreams || value.starts_with("SRV=") => {
                    value.split(';').next().unwrap_or_default()
                }
                "www-authenticate" => value.split(',').next().unwrap_or_default(),
                _ => value,
            };
            let is_kept =
                !is_own || (is_upstreams && name == "cache-control" && value != "private");
            is_kept.then(|| format!("{name}: {value}"))
        });
        Self {
            status: response.status(),
            fields: fields.collect(),
            body: is_upstreams.then(|| response.text()),
        }
    }
}

/// An upstream that answers its name and the request as it came.
fn telling(name: &'static str) -> Origin {
    Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            let body = seen(name, &request.head);
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nX-Origin: {name}\r\nServer: origin\r\nX-Powered-By: tests\r\n\
                 Set-Cookie: JSESSIONID=abc; Path=/\r\n{}Content-Length: {}\r\n\r\n{}",
                match request.head.target().contains("font") {
                    true => "Content-Type: font/woff2\r\n",
                    false => "",
                },
                body.len(),
                match request.head.method() {
                    "HEAD" => "",
                    _ => &body,
                },
            ));
        }
    })
}

fn seen(name: &str, head: &Head) -> String {
    // What a proxy tells of itself and of the client's connection.
    const OF_THE_PROXY: [&str; 7] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "connection",
    ];
    let fields: BTreeSet<String> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| !OF_THE_PROXY.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let fields: Vec<String> = fields.into_iter().collect();
    format!(
        "{name} {} {}\n{}",
        head.method(),
        head.target(),
        fields.join("\n")
    )
}

/// A TCP upstream that says its name and sends everything back.
fn greeting(name: &'static str) -> Origin {
    Origin::scripted(move |conn: &mut Conn| {
        conn.send(format!("{name}\n"));
        loop {
            let some = conn.some();
            if some.is_empty() {
                return;
            }
            conn.send(&some);
        }
    })
}

#[test]
fn the_cookbooks_file_behaves_the_same() {
    let pair = Pair::of("cookbook.cfg");
    wait_until("both upstreams are up", || {
        pair.pointsman
            .status()
            .to_string()
            .matches("\"up\"")
            .count()
            == 2
    });
    pair.assert_same_get("www.example.com", "/");
    pair.assert_same_get("anything", "/index.html?a=1");
    // The statistics: not without a password, and never from an upstream.
    for ports in [&pair.theirs, &pair.ours] {
        let page = client::get(local(ports["HTTP"]), "www.example.com", "/lbstats");
        assert_eq!(page.status(), 401);
    }
    for ports in [&pair.theirs, &pair.ours] {
        let page = exchange(
            local(ports["HTTP"]),
            "GET /lbstats;csv HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dXNlcjpkb2NrZXI=\r\n\
             Connection: close\r\n\r\n",
        );
        assert_eq!(page.status(), 200);
        assert!(!page.head.has("x-origin"));
        for name in ["webfarm", "web1", "web2"] {
            assert!(page.text().contains(name), "{name} in {}", page.text());
        }
    }
}

#[test]
fn hosts_paths_and_redirects_behave_the_same() {
    let pair = Pair::of("hosts_and_paths.cfg");
    assert!(
        pair.told.contains("; 0 things not carried over"),
        "{}",
        pair.told
    );
    for host in [
        "shop.example.com",
        "WWW.shop.example.com",
        "a.b.blog.example.com",
        "blog.example.com",
        "other",
    ] {
        for target in [
            "/",
            "/api",
            "/apiary?x=1",
            "/api/v1?x=1",
            "/style.css",
            "/admin",
            "/old",
            "/health",
            "/.git/config",
            "/.GIT",
            "/a.css?b=c",
            "/API/x",
        ] {
            pair.assert_same_get(host, target);
        }
    }
    pair.assert_same(
        "HTTP",
        "POST /style.css HTTP/1.1\nHost: shop.example.com\nContent-Length: 2\nConnection: close\n\nhi",
    );
}

#[test]
fn sessions_and_passwords_behave_the_same() {
    let pair = Pair::of("sticky_and_auth.cfg");
    wait_until("both upstreams are up", || {
        let status = pair.pointsman.status();
        status["services"][0].to_string().matches("\"up\"").count() == 2
    });
    pair.assert_same_get("app.example.com", "/");
    pair.assert_same_with("app.example.com", "/", "Cookie: SRV=app2\n");
    pair.assert_same_with("app.example.com", "/", "Cookie: a=b; SRV=app1; c=d\n");
    pair.assert_same_with("app.example.com", "/", "Cookie: SRV=nobody\n");
    for fields in [
        "",
        "Authorization: Basic b3R0bzpzZWNyZXQ=\n",
        "Authorization: Basic b3R0bzp3cm9uZw==\n",
        "Authorization: Basic bm9ib2R5OnNlY3JldA==\n",
        "Authorization: Bearer b3R0bzpzZWNyZXQ=\n",
        "Authorization: Basic b3R0bzpzZWNyZXQ=\nCookie: JSESSIONID=st2~xyz; q=1\n",
    ] {
        pair.assert_same_with("app.example.com", "/staff/list", fields);
    }
}

#[test]
fn listen_sections_behave_the_same() {
    let pair = Pair::of("tcp_and_http.cfg");
    wait_until("all checked upstreams are up", || {
        pair.pointsman
            .status()
            .to_string()
            .matches("\"up\"")
            .count()
            >= 6
    });
    pair.assert_same_get("site", "/");
    for door in ["TCP_A", "TCP_B"] {
        let said = |ports: &BTreeMap<&str, u16>| -> BTreeSet<String> {
            (0..4)
                .map(|_| {
                    let mut client = Client::connect(local(ports[door]));
                    let name = client.line();
                    assert_eq!(client.send("ping").exactly(4), b"ping");
                    name
                })
                .collect()
        };
        let (theirs, ours) = (said(&pair.theirs), said(&pair.ours));
        // Which of the two a source address leads to is each program's own choice.
        assert_eq!(
            ours.len(),
            theirs.len(),
            "{door}: ours {ours:?}, haproxy's {theirs:?}"
        );
    }
}

#[test]
fn two_frontends_stay_two() {
    let pair = Pair::of("two_doors.cfg");
    for (target, fields) in [
        ("/", ""),
        ("/internal/x", ""),
        ("/a/live/b", ""),
        ("/alive", ""),
        ("/", "X-Version: 2\n"),
        ("/", "X-Version: 22\n"),
        ("/?version=2&a=b", ""),
        ("/?version=22", ""),
        ("/", "Cookie: beta=1\n"),
        ("/", "Cookie: alphabeta=1\n"),
        ("/", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0)\n"),
        ("/", "X-Internal: 1\nX-Door: me\n"),
    ] {
        for door in ["HTTP", "HTTP_B"] {
            let request =
                format!("GET {target} HTTP/1.1\nHost: a.example\n{fields}Connection: close\n\n");
            pair.assert_same(door, &request);
        }
    }
}

#[test]
fn rules_on_headers_behave_the_same() {
    let pair = Pair::of("headers_and_limits.cfg");
    let long = format!("/{}", "a".repeat(300));
    for (target, fields) in [
        ("/", ""),
        ("/", "User-Agent: curl/0.1\n"),
        ("/", "User-Agent: A rather long name of a client/1.0\n"),
        ("/one/x?y=z", ""),
        ("/one", ""),
        ("/slow", ""),
        ("/slower", ""),
        ("/font/a", "Origin: http://a\n"),
        ("/secure/a?b=c", ""),
        ("/q?a=1", "X-Tag: mine\n"),
        (long.as_str(), ""),
    ] {
        // A redirect to https spells the host in lower case here.
        let host = match target.starts_with("/secure") {
            true => "www.example.com",
            false => "Www.Example.com",
        };
        pair.assert_same_with(host, target, fields);
    }
}

#[test]
fn a_line_that_cannot_be_carried_over_is_told_with_its_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let cfg: PathBuf = dir.path().join("a.cfg");
    fs::write(
        &cfg,
        "defaults\n mode http\nfrontend f\n bind :80 ssl crt a.pem\n default_backend b\n\
         backend b\n stick-table type ip size 1m\n http-request sett-header A b\n\
         server s 10.0.0.1:80 backup\n server t 10.0.0.2:80 maxconn 5\nbackend lost\n server u 10.0.0.3:80\n",
    )
    .expect("write");
    let imported = run(&["import", shown(&cfg)]);
    let (out, told) = (
        String::from_utf8_lossy(&imported.stdout).into_owned(),
        String::from_utf8_lossy(&imported.stderr).into_owned(),
    );
    assert!(imported.status.success(), "{told}");
    assert!(
        out.contains("services/b/upstreams/t = 10.0.0.2:80"),
        "{out}"
    );
    assert!(!out.contains("10.0.0.1"), "{out}");
    for line in [4, 7, 8, 9, 10, 11] {
        assert!(
            told.contains(&format!("a.cfg:{line}: ")),
            "line {line} in {told}"
        );
    }
    assert!(told.contains("set-header"), "the nearest word in {told}");
    let strict = run(&["import", shown(&cfg), "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn keys_are_written_to_a_new_directory_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cfg, keys) = (dir.path().join("a.cfg"), dir.path().join("deep/keys"));
    fs::write(
        &cfg,
        "listen a\n mode http\n bind :80\n server s 10.0.0.1:80\n",
    )
    .expect("write");
    let import = || run(&["import", shown(&cfg), "--to", shown(&keys)]);
    assert!(import().status.success());
    let read = |key: &str| fs::read_to_string(keys.join(key)).expect("a key");
    assert_eq!(read("services/a/upstreams/s"), "10.0.0.1:80");
    let again = import();
    assert_eq!(again.status.code(), Some(2));
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("is not empty"), "{told}");
    assert_eq!(
        fs::read_dir(dir.path().join("deep")).expect("read").count(),
        1
    );
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let cfg = dir.path().join("a.cfg");
    for bytes in [&b""[..], b"hello\n", b"\xff\xfe", b"frontend \"a\n"] {
        fs::write(&cfg, bytes).expect("write");
        let imported = run(&["import", shown(&cfg)]);
        assert_eq!(imported.status.code(), Some(2));
        assert!(imported.stdout.is_empty());
    }
    assert_eq!(run(&["import", "/nowhere.cfg"]).status.code(), Some(2));
}

/// What the text of a haproxy.cfg becomes: keys as they are printed, and what is told.
fn import_of(text: &str) -> (String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let cfg = dir.path().join("a.cfg");
    fs::write(&cfg, text).expect("write");
    let imported = run(&["import", shown(&cfg)]);
    let told = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(imported.status.success(), "{told}");
    let told = told.replace(&format!("{}:", cfg.display()), "");
    (String::from_utf8_lossy(&imported.stdout).into_owned(), told)
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

/// A frontend and a backend around what a test is about.
const PLAIN: &str = "frontend f\n mode http\n bind :8080\n default_backend b\n\
                     backend b\n mode http\n server s 10.0.0.1:80\n";

#[test]
fn imported_keys_are_checked_as_keys_are() {
    let text = PLAIN.replace("10.0.0.1:80\n", "10.0.0.1:80\n retries 1000\n");
    let (_, told) = import_of(&text);
    assert_has(
        &told,
        &[
            "error: services/b:",
            "retries",
            "; 1 things not carried over",
        ],
    );
}

#[test]
fn lines_about_handshakes_are_carried_over_in_their_own_words() {
    let global = "global\n ssl-default-bind-options ssl-min-ver TLSv1.2 strict-sni\n \
                  ssl-default-bind-ciphers ECDHE+AESGCM:!aNULL\n ssl-default-bind-ciphersuites nonsense\n";
    let (keys, told) = import_of(&format!("{global}{PLAIN}"));
    assert_has(
        &keys,
        &[
            "ssl-default-bind-options ssl-min-ver TLSv1.2 strict-sni",
            "ssl-default-bind-ciphers ECDHE+AESGCM:!aNULL",
        ],
    );
    assert_has(
        &told,
        &[
            "4: not carried over: ssl-default-bind-ciphersuites nonsense: ",
            "is unknown",
            "strict-sni says nothing here",
        ],
    );
}

#[test]
fn a_log_that_requests_go_to_becomes_the_access_log() {
    let log =
        "global\n log /dev/log local1 notice\n log 127.0.0.1:514 local0\n log 10.0.0.1 local0\n";
    let (keys, told) = import_of(&format!("{log}defaults\n log global\n{PLAIN}"));
    assert_has(
        &keys,
        &[
            "settings/access_log = 127.0.0.1:514 local0\n",
            "settings/access_log_format = httplog\n",
        ],
    );
    assert_has(
        &told,
        &[
            "2: not carried over: log /dev/log local1 notice: ",
            "write info",
            "4: not carried over: log 10.0.0.1 local0: requests are logged to one place",
            "; 2 things",
        ],
    );
    // Nobody writes to it.
    let (keys, _) = import_of(&format!("{log}{PLAIN}"));
    assert!(!keys.contains("access_log"), "{keys}");
    let text = PLAIN.replace("bind", "log stdout format raw local0\n bind");
    assert_has(&import_of(&text).0, &["settings/access_log = stdout\n"]);
}

#[test]
fn error_files_are_carried_over_by_their_names_and_have_to_be_brought() {
    let text = format!(
        "defaults\n errorfile 503 /etc/haproxy/errors/503.http\n{}",
        PLAIN.replace(
            "server s",
            "errorfile 502 /etc/haproxy/down.html\n errorfile 418 /tea.http\n server s"
        )
    );
    let (keys, told) = import_of(&text);
    assert_has(
        &keys,
        &[
            "settings/custom_settings = errorfile 503 503.http\n",
            "services/b/custom_settings = errorfile 502 502.http\n",
        ],
    );
    assert_has(
        &told,
        &[
            "2: copy /etc/haproxy/errors/503.http as 503.http into a directory, and start with \
             --error-pages DIR\n",
            "9: copy /etc/haproxy/down.html as 502.http",
            "10: not carried over: errorfile 418",
            "; 3 things",
        ],
    );
}

#[test]
fn every_line_that_is_lost_is_told() {
    let text = format!(
        "defaults\n compression algo gzip\n timeout connect 5s\n{}",
        PLAIN.replace(
            " default_backend",
            " capture request header Host len 9\n tcp-request connection reject if { src 10.0.0.0/8 }\n \
             default_backend"
        )
    );
    let (_, told) = import_of(&text);
    assert_has(
        &told,
        &[
            "2: not carried over: compression algo gzip",
            "7: not carried over: capture request header Host len 9: ",
            "8: not carried over: tcp-request connection reject",
            "; 3 things",
        ],
    );
}

#[test]
fn a_door_that_is_guarded_stays_guarded() {
    // A password that the frontend asks for is asked for by all that it leads to.
    let users = "userlist u\n user a insecure-password b\n";
    let guard = |rule: &str| PLAIN.replace("bind", &format!("{rule}\n bind"));
    let text = format!(
        "{users}{}",
        guard("http-request auth unless { http_auth(u) }")
    );
    assert_has(
        &import_of(&text).0,
        &["services/b/basic_auth_secrets = user a insecure-password b\n"],
    );
    let (keys, told) = import_of(&guard("http-request auth unless { http_auth_group(u) x }"));
    assert_has(&keys, &["services/b/basic_auth_secrets = user nobody"]);
    assert_has(&told, &["a password that nobody has", "; 1 things"]);

    // Access rules of a TCP frontend, and TLS that would be left away.
    let tcp = "frontend t\n bind :9000\n bind :9001 ssl crt a.pem\n acl bad src 10.0.0.0/8\n \
               tcp-request connection reject if bad\n default_backend b\nbackend b\n \
               server s 10.0.0.1:1\n";
    let (keys, told) = import_of(tcp);
    assert_has(
        &keys,
        &[
            "tcp-services/b/custom_settings =\n    acl bad src 10.0.0.0/8\n    tcp-request connection reject if bad\n",
        ],
    );
    assert!(!keys.contains("9001"), "{keys}");
    assert_has(&told, &["3: bind :9001 is left out: ssl crt a.pem"]);

    // Rules of one frontend of several are about that one.
    let text = format!(
        "{}frontend g\n mode http\n bind :8081\n default_backend b\n",
        guard("http-request deny unless { src 10.0.0.0/8 } || { method GET }")
    );
    assert_has(
        &import_of(&text).0,
        &["http-request deny if !{ src 10.0.0.0/8 } !{ method GET } { dst_port 8080 }"],
    );
}

#[test]
fn figures_on_a_port_of_their_own_do_not_come_between_services() {
    let figures = "listen figures\n mode http\n bind :8404\n stats enable\n stats uri /\n";
    let (keys, told) = import_of(&format!("{PLAIN}{figures}"));
    assert!(
        !keys.contains("stats") && !keys.contains("figures"),
        "{keys}"
    );
    assert_has(
        &told,
        &["8: figures is not carried over", "--http 0.0.0.0:8080\n"],
    );
    // Nor are they shown to everybody because a line says who may see them where nobody is named.
    let (keys, told) = import_of(&PLAIN.replace("bind", "stats uri /s\n bind"));
    assert!(!keys.contains("stats"), "{keys}");
    assert_has(&told, &["3: stats without stats auth are not carried over"]);
}

#[test]
fn no_name_in_the_file_leads_out_of_the_directory_or_hides_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cfg, keys) = (dir.path().join("a.cfg"), dir.path().join("deep/keys"));
    let text = PLAIN.replace(
        "server s 10.0.0.1:80",
        "server s 10.0.0.1:80 cookie ../../../../out\n server t 10.0.0.2:80 cookie x\n \
         server u 10.0.0.3:80 cookie x",
    );
    fs::write(&cfg, text.replace(" b\n", " ..\n")).expect("write");
    let imported = run(&["import", shown(&cfg), "--to", shown(&keys)]);
    let told = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(imported.status.success(), "{told}");
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(dir).expect("a directory");
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    };
    assert_eq!(names(dir.path()).len(), 2);
    assert_eq!(names(&dir.path().join("deep")).len(), 1);
    let services = keys.join("services");
    assert_eq!(names(&services).len(), 1);
    assert_eq!(
        names(&services.join("-../upstreams")),
        ["-..-..-..-..-out", "u", "x"].map(str::to_owned).into()
    );
    assert_has(
        &told,
        &[
            "server s is called",
            "server u is called \"u\" here, not \"x\"",
        ],
    );
}

#[test]
fn headers_of_the_proxy_protocol_are_sent_where_they_were() {
    for (words, form) in [
        ("send-proxy check-send-proxy", Some("v1")),
        ("send-proxy-v2", Some("v2")),
        ("send-proxy-v2-ssl", Some("v2-ssl")),
        ("send-proxy no-send-proxy", None),
    ] {
        let (keys, told) =
            import_of(&PLAIN.replace("10.0.0.1:80", &format!("10.0.0.1:80 {words}")));
        match form {
            Some(form) => assert_has(&keys, &[&format!("services/b/send_proxy = {form}\n")]),
            None => assert!(!keys.contains("send_proxy"), "{keys}"),
        }
        assert_has(&told, &["; 0 things"]);
    }
    let servers = "10.0.0.1:80 send-proxy\n server t 10.0.0.2:80\n server u 10.0.0.3:80 send-proxy";
    let (keys, told) = import_of(&PLAIN.replace("10.0.0.1:80", servers));
    assert_has(
        &keys,
        &["upstreams/s = ", "upstreams/u = ", "send_proxy = v1\n"],
    );
    assert!(!keys.contains("upstreams/t"), "{keys}");
    assert_has(
        &told,
        &["server t is left out: all of a service", "; 1 things"],
    );
}

#[test]
fn servers_that_start_slowly_warm_up() {
    let servers = "10.0.0.1:80 check\n server t 10.0.0.2:80 check";
    let slow = servers.replace("check", "check slowstart 30s");
    for text in [
        PLAIN.replace("10.0.0.1:80", &slow),
        PLAIN.replace("10.0.0.1:80", servers) + " default-server slowstart 30s\n",
    ] {
        let (keys, told) = import_of(&text);
        assert_has(&keys, &["services/b/warm_up = 30s\n"]);
        assert_has(&told, &["; 0 things"]);
    }
    let other = slow.replacen("30s", "1m", 1);
    let (keys, told) = import_of(&PLAIN.replace("10.0.0.1:80", &other));
    assert_has(&keys, &["services/b/warm_up = 1m\n"]);
    assert_has(&told, &["warm_up is 1m for the whole service, not 30s"]);
    // Without a check it says nothing there either.
    let (_, told) = import_of(&PLAIN.replace("10.0.0.1:80", "10.0.0.1:80 slowstart 30s"));
    assert_has(&told, &["warm_up says nothing when health_check is off"]);
}

#[test]
fn headers_are_taken_from_everybody_where_every_bind_takes_them() {
    let text = PLAIN.replace(":8080", ":8080 accept-proxy")
        + "listen t\n mode tcp\n bind :8081 accept-proxy\n server s 10.0.0.1:90\n";
    let (keys, told) = import_of(&text);
    assert_has(&keys, &["settings/accept_proxy = 0.0.0.0/0,::/0\n"]);
    assert_has(
        &told,
        &["3: accept-proxy believes whoever connects", "; 2 things"],
    );
    let (keys, told) = import_of(&text.replace(":8081 accept-proxy", ":8081"));
    assert!(!keys.contains("accept_proxy"), "{keys}");
    assert_has(&told, &["3: accept-proxy of one bind is not", "; 1 things"]);
}

#[test]
fn servers_with_tls_stay_servers_with_tls() {
    let of = |servers: &str| import_of(&PLAIN.replace("10.0.0.1:80", servers));
    let (keys, told) = of(
        "10.0.0.1:443 ssl verify required ca-file /etc/ca.pem sni str(app.test) \
                           alpn http/1.1 check\n server t 10.0.0.2:443 ssl verify required \
                           ca-file /etc/ca.pem sni str(app.test)",
    );
    assert_has(
        &keys,
        &[
            "services/b/upstream_tls = true\n",
            "services/b/upstream_tls_name = app.test\n",
            "upstreams/s = 10.0.0.1:443\n",
            "upstreams/t = 10.0.0.2:443\n",
        ],
    );
    assert!(!keys.contains("upstream_tls_verify"), "{keys}");
    assert_has(
        &told,
        &[
            "server s: write what is in /etc/ca.pem to upstream_tls_ca",
            "all servers are checked",
            "; 2 things",
        ],
    );
    let (keys, told) = of("10.0.0.1:443 ssl verify none crt /etc/own.pem");
    assert_has(&keys, &["services/b/upstream_tls_verify = none\n"]);
    assert_has(
        &told,
        &[
            "/etc/own.pem to upstream_tls_certificate",
            "upstream_tls_verify is off",
        ],
    );
    let (keys, told) =
        of("10.0.0.1:443 ssl verify required ca-file @system-ca verifyhost a.test sni str(b.test)");
    assert_has(&keys, &["upstream_tls_name = a.test\n"]);
    assert_has(
        &told,
        &["it is asked for a.test, not for b.test", "; 1 things"],
    );
    let (keys, told) = of("10.0.0.1:443 ssl verify required ca-file @system-ca");
    assert!(!keys.contains("upstream_tls_name"), "{keys}");
    assert_has(
        &told,
        &["its certificate has to be for its address", "; 1 things"],
    );
    let (_, told) = of(
        "10.0.0.1:443 ssl verify none sni req.hdr(host) ciphers X alpn h2 force-tlsv12 \
                        check port 80 check-ssl",
    );
    assert_has(
        &told,
        &[
            "sni req.hdr(host) is not carried over",
            "ciphers X is not carried over",
            "alpn h2 is not carried over",
            "force-tlsv12 is not carried over",
            "checks of another port are plain",
        ],
    );
    // What would be spoken to in another way is no upstream of the same service.
    let (keys, told) = of("10.0.0.1:443 ssl verify none\n server t 10.0.0.2:80\n \
                           server u 10.0.0.3:80 check-ssl");
    assert!(
        !keys.contains("upstreams/t") && !keys.contains("upstreams/u"),
        "{keys}"
    );
    assert_has(
        &told,
        &[
            "server t is left out: all of a service are spoken to by the same TLS",
            "server u is left out: check-ssl without ssl",
        ],
    );
    let servers = "10.0.0.1:80 no-ssl\n default-server ssl verify none";
    let (keys, _) = of(servers);
    assert!(!keys.contains("upstream_tls"), "{keys}");
}

/// `PLAIN` with another listener.
fn behind(bind: &str) -> (String, String) {
    import_of(&PLAIN.replace("bind :8080", bind))
}

#[test]
fn a_listener_with_tls_stays_one_with_tls() {
    let (keys, told) = behind(
        "bind :443,:8443 ssl crt /etc/ssl/www.example.com.pem crt /etc/ssl/more/ alpn h2,http/1.1 \
         ssl-min-ver TLSv1.3 no-sslv3 strict-sni no-tls-tickets \
         ciphers ECDHE-RSA-AES128-GCM-SHA256 ciphersuites TLS_AES_128_GCM_SHA256",
    );
    assert_has(
        &keys,
        &[
            "services/b/force_ssl = true\n",
            "settings/ssl_min_version = 1.3\n",
            "settings/ssl_unknown_name = reject\n",
            "settings/ssl_ticket_lifetime = none\n",
            "settings/ssl_ciphers = ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256\n",
        ],
    );
    assert!(!keys.contains("force_ssl_port"), "{keys}");
    assert!(!keys.contains("ssl_client"), "{keys}");
    assert_has(
        &told,
        &[
            "3: put what is in /etc/ssl/www.example.com.pem into certs/www.example.com, or give its \
             directory with --certs\n",
            "3: put what is in /etc/ssl/more/ into certs/NAME",
            "3: alpn h2,http/1.1: HTTP/1.1 is spoken",
            "HTTP is served at 0.0.0.0:80 all the same",
            "; 4 things",
            "start with: pointsman run --https 0.0.0.0:443 --https 0.0.0.0:8443\n",
        ],
    );
    // Both kinds, another port, and what cannot be had.
    let (keys, told) = behind(
        "bind :8080\n bind :8443 ssl crt a.pem ciphers nonsense ssl-min-ver TLSv1.0 crl-file r.pem \
         curves P-256 tfo\n bind :8444 ssl crt ssl ssl-min-ver TLSv1.2",
    );
    assert!(!keys.contains("force_ssl"), "{keys}");
    assert!(!keys.contains("ssl_ciphers"), "{keys}");
    assert_has(&keys, &["settings/ssl_min_version = 1.2\n"]);
    assert_has(
        &told,
        &[
            "ciphers nonsense are not carried over: ",
            "ssl-min-ver TLSv1.0 is not carried over: 1.2 is the oldest version",
            "crl-file r.pem: lists of revoked certificates are not read",
            "curves P-256 is not carried over",
            "bind options are not carried over: tfo",
            "--http 0.0.0.0:8080 --https 0.0.0.0:8443 --https 0.0.0.0:8444\n",
        ],
    );
    let (keys, _) = behind("bind :8443 ssl crt a.pem");
    assert_has(&keys, &["services/b/force_ssl_port = 8443\n"]);
}

#[test]
fn who_asked_clients_for_certificates_asks_on() {
    for (words, verify) in [
        ("verify required", Some("required")),
        ("verify optional", Some("optional")),
        ("verify none", None),
        ("", None),
    ] {
        let (keys, told) = behind(&format!(
            "bind :443 ssl crt a.pem ca-file /etc/staff.pem {words}"
        ));
        match verify {
            Some(word) => {
                assert_has(
                    &keys,
                    &[&format!("services/b/ssl_client_verify = {word}\n")],
                );
                assert_has(
                    &told,
                    &[
                        &format!(
                            "3: verify {word}: write what is in /etc/staff.pem to ssl_client_ca"
                        ),
                        "ssl_client_ca does not say who signs them",
                    ],
                );
            }
            None => assert!(!keys.contains("ssl_client"), "{keys}"),
        }
    }
    // The strictest of a frontend holds for its services, and no other frontend's ask.
    let text = PLAIN.replace(
        "bind :8080",
        "bind :8080\n bind :443 ssl crt a.pem verify optional ca-file y\n \
         bind :444 ssl crt a.pem verify required ca-file y",
    ) + "frontend g\n mode http\n bind :8081\n default_backend c\n\
         backend c\n mode http\n server s 10.0.0.1:80\n";
    let (keys, told) = import_of(&text);
    assert_has(&keys, &["services/b/ssl_client_verify = required\n"]);
    assert!(!keys.contains("services/c/ssl_client"), "{keys}");
    assert_has(&told, &["3: requests without TLS are sent to https"]);
}

#[test]
fn a_service_behind_certificates_is_closed_until_its_authority_is_written() {
    let origin = Origin::saying("hello");
    let dir = tempfile::tempdir().expect("a directory");
    let (cfg, keys) = (dir.path().join("a.cfg"), dir.path().join("keys"));
    let text = PLAIN
        .replace("10.0.0.1:80", &origin.addr().to_string())
        .replace(":8080", ":443 ssl crt a.pem ca-file y verify required");
    fs::write(&cfg, text).expect("write");
    let imported = run(&["import", shown(&cfg), "--to", shown(&keys)]);
    assert!(imported.status.success());
    let put = |key: &str, value: &str| {
        let path = keys.join(key);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, value).expect("a key");
    };
    let names = certs::Leaf::of(&["b.test", certs::TOWN]);
    put("certs/b", &certs::town_hall().sign(&names).pem());
    let store = format!("dir:{}", keys.display());
    let pointsman = Pointsman::builder()
        .without_certificate()
        .store(&store)
        .start();
    let staff = certs::Authority::root("staff");
    let anna = staff.sign(&certs::Leaf::of(&[]).common_name("anna"));
    let status = |tls: &tls::Tls| {
        let mut client = tls.connect(pointsman.https(), "b.test");
        client.get("b.test", "/").status()
    };
    let showing = tls::town().showing(&anna);
    assert_eq!(pointsman.get("b.test", "/").status(), 404);
    assert_eq!((status(&tls::town()), status(&showing)), (404, 404));
    put("services/b/ssl_client_ca", &staff.pem());
    wait_until("anna is let in", || status(&showing) == 200);
    assert_eq!(status(&tls::town()), 403);
    assert_eq!(pointsman.get("b.test", "/").status(), 308);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_tcp_frontend_that_goes_by_the_name_of_the_hello_becomes_passthrough() {
    let by_name = "frontend t\n bind :443\n tcp-request inspect-delay 5s\n \
                   tcp-request content accept if { req_ssl_hello_type 1 }\n acl two req.ssl_sni -m end .Two.test\n \
                   tcp-request connection reject if { src 10.0.0.0/8 }\n \
                   use_backend a if { req_ssl_sni -i a.test www.a.test }\n use_backend b if two || { req_ssl_sni b.test }\n \
                   use_backend b if { src 10.0.0.0/8 }\n default_backend c\n\
                   backend a\n server s 10.0.0.1:443\nbackend b\n server s 10.0.0.2:443\n\
                   backend c\n server s 10.0.0.3:443\n";
    let (keys, told) = import_of(by_name);
    assert_has(
        &keys,
        &[
            "services/a/ssl_passthrough = true\n",
            "services/a/virtual_hosts = a.test,www.a.test\n",
            "services/a/priority = 1000\n",
            "services/a/upstreams/s = 10.0.0.1:443\n",
            "services/a/custom_settings = tcp-request connection reject if { src 10.0.0.0/8 }\n",
            "services/b/virtual_hosts = *.two.test,b.test\n",
            "services/c/ssl_passthrough = unknown\n",
        ],
    );
    assert!(!keys.contains("tcp-services"), "{keys}");
    assert_has(
        &told,
        &[
            "9: not carried over: a service with ssl_passthrough goes by virtual_hosts alone",
            "HTTP is served at 0.0.0.0:80",
            "; 2 things",
            "--https 0.0.0.0:443\n",
        ],
    );
    let (keys, _) = import_of(&by_name.replace(" default_backend c\n", ""));
    assert_has(&keys, &["settings/ssl_unknown_name = reject\n"]);
    // Hosts of HTTP frontends would be the same ones here.
    let (keys, told) = import_of(&format!("{by_name}{}", PLAIN.replace(" b\n", " d\n")));
    assert!(!keys.contains("passthrough"), "{keys}");
    assert_has(
        &told,
        &["7: use_backend of a TCP frontend", "ssl_passthrough"],
    );
    assert_has(&told, &["--http 0.0.0.0:8080 --https none\n"]);
}

#[test]
fn of_several_doors_only_the_one_that_asked_for_certificates_asks() {
    let (staff_only, open) = (Origin::saying("staff only"), Origin::saying("open"));
    let [asking, public, plain] = [(); 3].map(|()| free_port());
    let dir = tempfile::tempdir().expect("a directory");
    let (cfg, keys) = (dir.path().join("a.cfg"), dir.path().join("keys"));
    let text = format!(
        "defaults\n mode http\n\
         frontend a\n bind 127.0.0.1:{asking} ssl crt a.pem ca-file y verify required\n default_backend a\n\
         frontend b\n bind 127.0.0.1:{public} ssl crt a.pem\n default_backend b\n\
         frontend c\n bind 127.0.0.1:{plain}\n use_backend b if {{ path_beg /open }}\n\
         backend a\n server s {}\nbackend b\n server s {}\n",
        staff_only.addr(),
        open.addr()
    );
    fs::write(&cfg, text).expect("write");
    let imported = run(&["import", shown(&cfg), "--to", shown(&keys)]);
    let told = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(imported.status.success(), "{told}");
    let put = |key: &str, value: &str| {
        let path = keys.join(key);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, value).expect("a key");
    };
    let staff = certs::Authority::root("staff");
    let anna = staff.sign(&certs::Leaf::of(&[]).common_name("anna"));
    let names = certs::Leaf::of(&["b.test", certs::TOWN]);
    put("certs/b", &certs::town_hall().sign(&names).pem());
    put("services/a/ssl_client_ca", &staff.pem());
    let flags: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("start with: pointsman run"))
        .flat_map(|flags| flags.split_whitespace())
        .skip(2)
        .collect();
    let store = format!("dir:{}", keys.display());
    let pointsman = Pointsman::builder()
        .without_certificate()
        .store(&store)
        .args(&flags)
        .start();
    assert_eq!(pointsman.status()["refused_total"], 0);
    let of = |tls: &tls::Tls, port: u16| {
        let answer = tls.connect(local(port), "b.test").get("b.test", "/open");
        (answer.status(), answer.text())
    };
    let showing = tls::town().showing(&anna);
    assert_eq!(of(&tls::town(), asking).0, 403);
    assert_eq!(of(&showing, asking), (200, "staff only".to_owned()));
    for tls in [tls::town(), showing] {
        assert_eq!(of(&tls, public), (200, "open".to_owned()));
    }
    let get = |target: &str| client::get(local(plain), "b.test", target);
    assert_eq!(get("/open").text(), "open");
    assert_eq!(get("/").status(), 404);
    assert_eq!(staff_only.requests().len(), 1);
}
