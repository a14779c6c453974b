//! The keys over HTTP at the admin listener: who may write, what is refused, and what it does.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::certs::{Leaf, town_hall};
use support::client;
use support::etcd::Etcd;
use support::message::Response;
use support::origin::Origin;
use support::pointsman::Pointsman;
use support::relay::{Relay, State};
use support::tls::town;

const TOKEN: &str = "a-token-of-enough-characters";
const READ_TOKEN: &str = "a-token-for-those-who-read";

/// A node that can be written to, over a directory.
struct Desk {
    node: Pointsman,
    _token: tempfile::TempDir,
}

impl Desk {
    fn open() -> Self {
        Self::with(Pointsman::builder().key("services/first/virtual_hosts", "first.test"))
    }

    fn with(builder: support::pointsman::Builder) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        fs::write(&file, format!("{TOKEN}\n")).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        let read = dir.path().join("read-token");
        fs::write(&read, READ_TOKEN).expect("write");
        fs::set_permissions(&read, fs::Permissions::from_mode(0o600)).expect("chmod");
        let [file, read] = [file, read].map(|path| path.to_str().expect("text").to_owned());
        let node = builder
            .without_certificate()
            .args(&["--api-token-file", &file])
            .args(&["--api-read-token-file", &read])
            .start();
        Self { node, _token: dir }
    }

    /// With token and host as they have to be.
    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        answer(&self.raw(method, target, &fields, body.as_bytes()))
    }

    fn raw(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        let host = match fields.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.node.stats()),
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{host}{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        client::exchange(self.node.stats(), [head.as_bytes(), body].concat())
    }

    #[track_caller]
    fn done(&self, method: &str, target: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, target, body);
        assert_eq!(status, 200, "{method} {target}: {answer}");
        assert!(answer["revision"].as_u64() > Some(0), "{answer}");
        answer
    }

    #[track_caller]
    fn refused(&self, method: &str, target: &str, body: Option<&Value>, status: u16, word: &str) {
        let before = self.keys();
        let (got, answer) = self.ask(method, target, body);
        let told = answer["error"].as_str().unwrap_or_default();
        assert_eq!(got, status, "{method} {target}: {answer}");
        assert!(
            told.contains(word),
            "{method} {target}: no {word:?} in {answer}"
        );
        assert_eq!(self.keys(), before, "{method} {target}");
    }

    fn keys(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut dirs = vec![self.node.keys_dir()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => dirs.push(path),
                    false => {
                        let text = fs::read_to_string(&path).expect("text");
                        all.push(format!("{}={text}", path.display()));
                    }
                }
            }
        }
        all.sort();
        all
    }
}

fn answer(response: &Response) -> (u16, Value) {
    let text = response.text();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (response.status(), value)
}

#[test]
fn services_are_put_patched_drained_and_deleted() {
    let desk = Desk::open();
    let origin = Origin::saying("hello");
    let at = origin.addr().to_string();
    let form = json!({
        "keys": {"virtual_hosts": "www.test", "balance": "source"},
        "upstreams": {"one": at, "two": "127.0.0.1:9 weight=0"},
    });
    let put = desk.done("PUT", "/v1/services/web?wait=20s", Some(&form));
    assert_eq!(put["changed"], true);
    assert_eq!(desk.node.get("www.test", "/").text(), "hello");
    let again = desk.done("PUT", "/v1/services/web", Some(&form));
    assert_eq!(again["changed"], false);

    let (_, seen) = desk.ask("GET", "/v1/services/web", None);
    assert_eq!(seen["keys"], form["keys"]);
    assert_eq!(seen["upstreams"], form["upstreams"]);
    assert_eq!(
        (&seen["mode"], &seen["unit"]),
        (&json!("http"), &json!("services/web"))
    );
    // What was read can be put back.
    assert_eq!(
        desk.done("PUT", "/v1/services/web", Some(&seen))["changed"],
        false
    );

    let patch =
        json!({"keys": {"balance": null, "retries": "1"}, "upstreams": {"three": "127.0.0.1:8"}});
    desk.done("PATCH", "/v1/services/web", Some(&patch));
    let (_, seen) = desk.ask("GET", "/v1/services/web", None);
    assert_eq!(
        seen["keys"],
        json!({"virtual_hosts": "www.test", "retries": "1"})
    );
    assert_eq!(seen["upstreams"].as_object().map(|all| all.len()), Some(3));

    let upstream = "/v1/services/web/upstreams/four";
    desk.done(
        "PUT",
        upstream,
        Some(&json!({"address": "127.0.0.1:7", "weight": 5})),
    );
    desk.done("DELETE", upstream, None);
    desk.done("DELETE", "/v1/services/web/upstreams/three", None);
    desk.done("PUT", "/v1/services/web/upstreams/one/drain?wait=20s", None);
    assert_eq!(desk.node.get("www.test", "/").status(), 503);
    let (_, seen) = desk.ask("GET", "/v1/services/web", None);
    assert_eq!(seen["drained"], json!(["one"]));
    desk.done(
        "DELETE",
        "/v1/services/web/upstreams/one/drain?wait=20s",
        None,
    );
    assert_eq!(desk.node.get("www.test", "/").text(), "hello");

    let (_, all) = desk.ask("GET", "/v1/services", None);
    let names: Vec<_> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["first", "web"]);
    desk.done("DELETE", "/v1/services/web?wait=20s", None);
    assert_eq!(desk.node.get("www.test", "/").status(), 404);
    desk.refused("DELETE", "/v1/services/web", None, 404, "no service");
}

#[test]
fn only_who_has_the_token_writes_and_no_web_page() {
    let desk = Desk::open();
    let body = json!({"upstreams": {"one": "127.0.0.1:9"}}).to_string();
    let json = "Content-Type: application/json\r\n";
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let before = desk.keys();
    let check = |fields: &str, status: u16, word: &str| {
        for (method, target) in [
            ("PUT", "/v1/services/web"),
            ("PATCH", "/v1/services/first"),
            ("DELETE", "/v1/services/first"),
            ("PUT", "/v1/services/first/upstreams/x"),
            ("PUT", "/v1/services/first/upstreams/x/drain"),
            ("PUT", "/v1/certs/www"),
            ("DELETE", "/v1/certs/www"),
        ] {
            let answered = desk.raw(method, target, &format!("{json}{fields}"), body.as_bytes());
            let (got, told) = answer(&answered);
            assert_eq!(got, status, "{method} {target} {fields}: {told}");
            assert!(
                told["error"].as_str().is_some_and(|t| t.contains(word)),
                "{told}"
            );
            if status == 401 {
                assert_eq!(answered.head.all("www-authenticate"), ["Bearer"]);
            }
        }
    };
    check("", 401, "Authorization: Bearer");
    for wrong in [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        "Basic YTpi",
        TOKEN,
        &format!("Bearer {TOKEN}x"),
        &format!("Bearer {}", &TOKEN[1..]),
    ] {
        let fields = format!("Authorization: {wrong}\r\n");
        check(&fields, 401, "token");
    }
    check(&format!("{token}{token}"), 401, "token");
    for foreign in [
        "Origin: http://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: https://{}\r\n", desk.node.stats()),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
    ] {
        check(&format!("{token}{foreign}"), 403, "web pages");
    }
    // A name that somebody made point here has no token.
    for host in ["evil.example", "127.0.0.1.evil.example:1000", ""] {
        check(&format!("Host: {host}\r\n"), 401, "token");
    }
    assert_eq!(desk.keys(), before);
    let (status, _) = answer(&desk.raw("PUT", "/v1/services/web", &token, body.as_bytes()));
    assert_eq!(status, 415);
}

#[test]
fn without_a_token_file_nothing_is_written_and_the_answer_says_how() {
    let node = Pointsman::builder()
        .without_certificate()
        .key("services/web/virtual_hosts", "a.test")
        .key(
            "services/web/basic_auth_secrets",
            "user joe insecure-password hush",
        )
        .start();
    let head = format!(
        "DELETE /v1/services/web HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n",
        node.stats()
    );
    let (status, told) = answer(&client::exchange(node.stats(), head));
    assert_eq!(status, 403);
    assert!(
        told["error"]
            .as_str()
            .is_some_and(|t| t.contains("--api-token-file")),
        "{told}"
    );
    let (status, seen) = answer(&client::get(node.stats(), "localhost", "/v1/services/web"));
    assert_eq!(status, 200);
    assert_eq!(seen["keys"], json!({"virtual_hosts": "a.test"}));
    assert_eq!(seen["hidden"], json!(["basic_auth_secrets"]));
    assert!(!seen.to_string().contains("hush"));
    let all = client::get(node.stats(), "localhost", "/v1/services").text();
    assert!(!all.contains("hush"), "{all}");
}

#[test]
fn what_was_hidden_is_not_lost_by_putting_it_back() {
    let desk = Desk::with(
        Pointsman::builder()
            .key("services/web/virtual_hosts", "a.test")
            .key(
                "services/web/basic_auth_secrets",
                "user joe insecure-password hush",
            ),
    );
    let reader = format!("Authorization: Bearer {READ_TOKEN}\r\n");
    let (_, veiled) = answer(&desk.raw("GET", "/v1/services/web", &reader, b""));
    desk.refused(
        "PUT",
        "/v1/services/web",
        Some(&veiled),
        400,
        "basic_auth_secrets",
    );
    let (_, whole) = desk.ask("GET", "/v1/services/web", None);
    assert_eq!(
        desk.done("PUT", "/v1/services/web", Some(&whole))["changed"],
        false
    );
}

#[test]
fn token_files_that_are_none_end_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    let path = file.to_str().expect("text").to_owned();
    let keys = format!("dir:{}", dir.path().display());
    for (text, word) in [
        (None, "No such file"),
        (Some("short"), "at least 16"),
        (Some("two words of a token"), "one token"),
    ] {
        if let Some(text) = text {
            fs::write(&file, text).expect("write");
        }
        let run = support::pointsman::run(&["run", "--store", &keys, "--api-token-file", &path]);
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(2), "{told}");
        assert!(told.contains(word) && !told.contains("two words"), "{told}");
    }
}

#[test]
fn a_token_that_changes_holds_at_once_and_one_for_all_to_read_is_told() {
    let desk = Desk::open();
    let file = desk._token.path().join("token");
    assert!(!desk.node.log().contains("can be read by others"));
    fs::write(&file, "another-token-of-enough-characters").expect("write");
    desk.refused("DELETE", "/v1/services/first", None, 401, "not the token");
    fs::remove_file(&file).expect("remove");
    desk.refused("DELETE", "/v1/services/first", None, 503, "token file");
    let open = Pointsman::builder().without_certificate();
    fs::write(&file, TOKEN).expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
    let node = open
        .args(&["--api-token-file", file.to_str().expect("text")])
        .start();
    assert!(
        node.log().contains("can be read by others"),
        "{}",
        node.log()
    );
    assert!(!node.log().contains(TOKEN));
}

#[test]
fn what_cannot_be_is_refused_with_reason_and_nothing_is_written() {
    let desk = Desk::open();
    let web = "/v1/services/web";
    let up = |value: &str| json!({"upstreams": {"one": value}});
    desk.refused("PUT", web, Some(&up("10.0.0.1")), 400, "port is missing");
    desk.refused("PUT", web, Some(&json!({})), 400, "nothing is said");
    desk.refused("PUT", web, Some(&json!({"kyes": {}})), 400, "unknown field");
    desk.refused(
        "PUT",
        web,
        Some(&json!({"keys": {"balance": 3}})),
        400,
        "expected a string",
    );
    desk.refused(
        "PUT",
        web,
        Some(&json!({"keys": {"a": {"b": "c"}}})),
        400,
        "expected a string",
    );
    desk.refused("PUT", web, Some(&json!([])), 400, "");
    desk.refused(
        "PUT",
        web,
        Some(&json!({"keys": {"balanc": "x"}})),
        400,
        "did you mean",
    );
    desk.refused("PUT", web, None, 400, "EOF");
    desk.refused(
        "PUT",
        "/v1/services/web?wiat=1s",
        Some(&up("10.0.0.1:80")),
        400,
        "wiat",
    );
    desk.refused(
        "PUT",
        "/v1/services/web?wait=2h",
        Some(&up("10.0.0.1:80")),
        400,
        "wait",
    );
    desk.refused(
        "PUT",
        "/v1/services/web?mode=udp",
        Some(&up("10.0.0.1:80")),
        400,
        "mode",
    );
    let bad = json!({"keys": {"balance": "leastcom"}, "upstreams": {"one": "10.0.0.1:80"}});
    desk.refused("PUT", web, Some(&bad), 422, "refused: errors 1");
    let (_, told) = desk.ask("PUT", web, Some(&bad));
    assert_eq!(told["diagnostics"][0]["key"], "services/web/balance");
    assert_eq!(
        told["diagnostics"][0]["help"],
        "did you mean \"leastconn\"?"
    );
    desk.refused("DELETE", "/v1/services/nobody", None, 404, "first");
    desk.refused(
        "PUT",
        "/v1/services/nobody/upstreams/a",
        Some(&json!({"address": "10.0.0.1:80"})),
        404,
        "no service",
    );
    desk.refused(
        "PUT",
        "/v1/services/first/upstreams/a/drain",
        None,
        404,
        "no upstream",
    );
    for name in [
        "..%2Fsettings",
        "%2e%2e",
        "a%2Fb",
        "a%0Ab",
        "%00",
        "a%20b",
        "tcp-services%2F..",
        ".hidden",
    ] {
        let target = format!("/v1/services/{name}");
        let mut form = up("10.0.0.1:80");
        form["keys"] = json!({"virtual_hosts": "a.test"});
        let (status, told) = desk.ask("PUT", &target, Some(&form));
        assert!([400, 413].contains(&status), "{name}: {status} {told}");
        let (status, told) = desk.ask("DELETE", &format!("/v1/certs/{name}"), None);
        assert!([400, 404].contains(&status), "{name}: {status} {told}");
    }
    let long = format!("/v1/services/{}", "x".repeat(5000));
    desk.refused("PUT", &long, Some(&up("10.0.0.1:80")), 400, "at most 200");
    assert_eq!(desk.keys().len(), 1, "{:?}", desk.keys());
    let (status, _) = desk.ask("POST", web, None);
    assert_eq!(status, 405);
}

#[test]
fn bodies_have_an_end() {
    let desk = Desk::open();
    let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let big = vec![b' '; 1024 * 1024 + 1];
    let (status, told) = answer(&desk.raw("PUT", "/v1/services/web", &fields, &big));
    assert_eq!(status, 413, "{told}");
    let deep = "[".repeat(200_000);
    let (status, _) = answer(&desk.raw("PUT", "/v1/services/web", &fields, deep.as_bytes()));
    assert_eq!(status, 400);
    // One that never comes is answered, and the others meanwhile.
    let mut slow = TcpStream::connect(desk.node.stats()).expect("connect");
    let head = format!(
        "PUT /v1/services/web HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).expect("send");
    assert_eq!(
        client::get(desk.node.stats(), "localhost", "/live").status(),
        200
    );
    slow.set_read_timeout(Some(support::LIMIT))
        .expect("a limit");
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn certificates_are_judged_and_served() {
    let desk = Desk::open();
    let bundle = town_hall().sign(&Leaf::of(&["www.test"]));
    let fields = format!("Authorization: Bearer {TOKEN}\r\n");
    let put = |pem: &str, query: &str| {
        let target = format!("/v1/certs/www{query}");
        answer(&desk.raw("PUT", &target, &fields, pem.as_bytes()))
    };
    let (status, told) = put(&bundle.cert, "");
    assert_eq!(status, 422, "{told}");
    assert_eq!(told["diagnostics"][0]["unit"], "certs/www");
    let (status, told) = put(&bundle.pem(), "?seal=true");
    assert_eq!(status, 400, "{told}");
    let (status, told) = put(&bundle.pem(), "?wait=20s");
    assert_eq!(status, 200, "{told}");
    assert!(!told.to_string().contains("BEGIN"));
    town().shake(desk.node.https(), "www.test");
    let gone = desk.done("DELETE", "/v1/certs/www", None);
    assert!(
        gone["warnings"][0]
            .as_str()
            .is_some_and(|w| w.contains("www.test")),
        "{gone}"
    );
}

#[test]
fn who_waits_is_told_who_refused_and_who_is_behind() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    runtime.block_on(etcd.put("/pointsman/lb/services/first/virtual_hosts", "first.test"));
    let desk = Desk::with(Pointsman::builder().store(&etcd.spec().to_string()));
    let other = Pointsman::builder()
        .without_certificate()
        .store(&etcd.spec().to_string())
        .node("other")
        .start();
    let good = json!({"keys": {"virtual_hosts": "a.test"}, "upstreams": {"one": "127.0.0.1:9"}});
    let done = desk.done("PUT", "/v1/services/web?wait=20s", Some(&good));
    assert_eq!(
        other.plan().revision,
        done["revision"].as_u64().expect("a number")
    );
    let bad = json!({"keys": {"balance": "leastcom"}});
    let (status, told) = desk.ask("PATCH", "/v1/services/web?force=true&wait=20s", Some(&bad));
    assert_eq!(status, 422, "{told}");
    assert!(
        told["revision"].as_u64() > done["revision"].as_u64(),
        "{told}"
    );
    desk.done(
        "PATCH",
        "/v1/services/web?wait=20s",
        Some(&json!({"keys": {"balance": null}})),
    );
    other.freeze();
    let change = json!({"keys": {"retries": "1"}});
    let (status, told) = desk.ask("PATCH", "/v1/services/web?wait=1s", Some(&change));
    other.thaw();
    assert_eq!(status, 504, "{told}");
    assert_eq!(told["behind"][0]["node"], "other", "{told}");
    assert_eq!(told["behind"][0]["wanted"], told["revision"], "{told}");
}

#[test]
fn the_mode_that_is_said_is_not_another_services() {
    let desk = Desk::with(
        Pointsman::builder()
            .key("services/first/virtual_hosts", "first.test")
            .key("tcp-services/db/external_port", "0"),
    );
    let http = json!({
        "mode": "http", "keys": {"virtual_hosts": "db.test"}, "upstreams": {"one": "127.0.0.1:9"}
    });
    for target in ["/v1/services/db?mode=tcp", "/v1/services/tcp-services%2Fdb"] {
        desk.refused("PUT", target, Some(&http), 400, "mode http");
    }
    let tcp = json!({"mode": "tcp", "upstreams": {"one": "127.0.0.1:9"}});
    desk.refused(
        "PUT",
        "/v1/services/db?mode=http",
        Some(&tcp),
        400,
        "mode tcp",
    );
    desk.done("PUT", "/v1/services/db", Some(&http));
    let keys = desk.keys().join("\n");
    assert!(keys.contains("tcp-services/db/external_port"), "{keys}");
    assert!(keys.contains("services/db/virtual_hosts=db.test"), "{keys}");
    let open = json!({"upstreams": {"one": "127.0.0.1:9"}});
    desk.refused(
        "PUT",
        "/v1/services/frist",
        Some(&open),
        422,
        "did you mean first?",
    );
    desk.done("PUT", "/v1/services/frist?force=true", Some(&open));
}

/// A service that is removed while upstreams are added to it is not left over as one that takes every host.
#[test]
fn who_adds_upstreams_to_a_service_that_goes_does_not_bring_it_back() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    runtime.block_on(etcd.put("/pointsman/lb/services/first/virtual_hosts", "first.test"));
    let desk = Desk::with(Pointsman::builder().store(&etcd.spec().to_string()));
    let whole = json!({
        "keys": {"virtual_hosts": "web.test", "basic_auth_secrets": "user a insecure-password b"},
        "upstreams": {"one": "127.0.0.1:9"},
    });
    for round in 0..12 {
        desk.done("PUT", "/v1/services/web", Some(&whole));
        std::thread::scope(|scope| {
            scope.spawn(|| desk.done("DELETE", "/v1/services/web", None));
            for (method, target, body) in [
                (
                    "PUT",
                    "/v1/services/web/upstreams/two",
                    json!({"address": "127.0.0.1:8"}),
                ),
                (
                    "PATCH",
                    "/v1/services/web",
                    json!({"upstreams": {"three": "127.0.0.1:7"}}),
                ),
            ] {
                let desk = &desk;
                scope.spawn(move || {
                    let (status, told) = desk.ask(method, target, Some(&body));
                    assert!(
                        [200, 404, 409, 422, 503].contains(&status),
                        "{status} {told}"
                    );
                });
            }
        });
        let left = runtime.block_on(etcd.keys("/pointsman/lb/services/web/"));
        assert_eq!(left, [], "round {round}");
    }
}

#[test]
fn silent_and_slow_clients_do_not_keep_others_out() {
    let desk = Desk::open();
    let live = || {
        let answer = client::get(desk.node.stats(), "localhost", "/live");
        assert_eq!(answer.status(), 200);
    };
    let connect = |said: &[u8]| {
        let mut stream = TcpStream::connect(desk.node.stats()).expect("connect");
        stream.write_all(said).expect("send");
        stream
    };
    let mut silent: Vec<_> = (0..300).map(|_| connect(b"")).collect();
    live();
    let slow: Vec<_> = (0..300).map(|_| connect(b"GET /live HT")).collect();
    live();
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {READ_TOKEN}\r\n\r\n"
    );
    let head = head.repeat(200).into_bytes();
    let unread: Vec<_> = (0..300).map(|_| connect(&head)).collect();
    live();
    drop((slow, unread));
    // And one that says nothing is not waited for.
    let mut last = connect(b"GET /live HTTP/1.1\r\nHost");
    silent.clear();
    last.set_read_timeout(Some(support::LIMIT))
        .expect("a limit");
    let mut rest = Vec::new();
    last.read_to_end(&mut rest).expect("an end");
}

#[test]
fn a_store_that_hangs_does_not_silence_the_node() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    runtime.block_on(etcd.put("/pointsman/lb/services/first/virtual_hosts", "first.test"));
    let relay = runtime.block_on(Relay::to(etcd.endpoint()));
    let store = format!("etcd://{}", relay.endpoint());
    let desk = Desk::with(Pointsman::builder().store(&store));
    relay.set(State::Silent);
    let head = format!(
        "GET /v1/services HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {READ_TOKEN}\r\n\r\n"
    );
    let mut asked: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(desk.node.stats()).expect("connect");
            stream.write_all(head.as_bytes()).expect("send");
            stream
        })
        .collect();
    let answer = client::get(desk.node.stats(), "localhost", "/live");
    assert_eq!(answer.status(), 200);
    let mut last = asked.pop().expect("one");
    last.set_read_timeout(Some(support::LIMIT))
        .expect("a limit");
    let mut start = [0; 12];
    last.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 503");
}

#[test]
fn writes_and_refusals_are_in_the_log_and_keys_are_not_for_web_pages() {
    let desk = Desk::open();
    let form = json!({"keys": {"virtual_hosts": "a.test"}, "upstreams": {"one": "127.0.0.1:9"}});
    desk.done("PUT", "/v1/services/web?force=true", Some(&form));
    let wrong = "Authorization: Bearer a-token-that-is-wrong\r\n";
    for _ in 0..20 {
        assert_eq!(
            desk.raw("DELETE", "/v1/services/web", wrong, b"").status(),
            401
        );
    }
    let log = desk.node.log();
    assert!(
        log.contains("keys written over the API") && log.contains("force=true"),
        "{log}"
    );
    assert!(
        log.contains("link ") && log.contains("peer=127.0.0.1:"),
        "{log}"
    );
    assert!(log.matches("refused over the API").count() <= 3, "{log}");
    assert!(
        log.contains("refused over the API") && log.contains("status=401"),
        "{log}"
    );
    assert!(!log.contains("a-token-that-is-wrong"));
    let reader = format!("Authorization: Bearer {READ_TOKEN}\r\n");
    for target in ["/v1/services", "/v1/services/web", "/v1/plan"] {
        let foreign = format!("{reader}Origin: http://evil.example\r\n");
        assert_eq!(
            desk.raw("GET", target, &foreign, b"").status(),
            403,
            "{target}"
        );
        let ours = format!("{reader}Host: 10.0.0.1:9\r\n");
        assert_eq!(desk.raw("GET", target, &ours, b"").status(), 200);
    }
    for (target, status) in [("/v1/status", 401), ("/live", 200), ("/ready", 200)] {
        let answer = desk.raw("GET", target, "Host: lb.example\r\n", b"");
        assert_eq!(answer.status(), status, "{target}");
    }
    let (status, told) = desk.ask("GET", "/v1/services/%ff", None);
    assert_eq!(status, 400);
    assert!(told["error"].is_string(), "{told}");
}

#[test]
fn a_value_that_is_no_text_is_not_lost_by_putting_it_back() {
    let desk = Desk::open();
    let file = desk.node.keys_dir().join("services/first/balance");
    fs::write(file, b"\xff\xfe").expect("write");
    let (_, seen) = desk.ask("GET", "/v1/services/first", None);
    assert_eq!(seen["hidden"], json!(["balance"]));
    let (status, told) = desk.ask("PUT", "/v1/services/first", Some(&seen));
    assert_eq!(status, 400, "{told}");
    for page in ["error_pages/+503", "error_pages/0503"] {
        let form = json!({"keys": {page: "gone"}});
        let (status, told) = desk.ask("PATCH", "/v1/services/first", Some(&form));
        assert_eq!(status, 400, "{told}");
    }
}

#[test]
fn a_token_that_crosses_the_network_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    fs::write(&file, TOKEN).expect("write");
    let keys = format!("dir:{}", dir.path().display());
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let at = taken.local_addr().expect("an address").to_string();
    // It ends at the port that is taken, and has told by then.
    let run = support::pointsman::run(&[
        "run",
        "--store",
        &keys,
        "--stats",
        &at,
        "--api-token-file",
        file.to_str().expect("text"),
    ]);
    let told = [run.stdout, run.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("cross the network in clear"), "{told}");
}
