//! Commands that write keys: `link`, `unlink`, `drain`, `undrain`, `cert`, `services`, on a real etcd and on a
//! directory, with a real node behind it.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::certs::{Leaf, town_hall};
use support::client::Client;
use support::etcd::Etcd;
use support::load::Load;
use support::origin::Origin;
use support::pointsman::{Pointsman, local};
use support::tls::town;
use support::{free_port, wait_until};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";

/// A node, and the store that commands write to.
struct Place {
    node: Pointsman,
    store: String,
    etcd: Option<(Runtime, Etcd)>,
}

impl Place {
    fn etcd() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        // A tree without services is not believed at first.
        runtime.block_on(etcd.put("/pointsman/lb/services/first/virtual_hosts", "first.test"));
        let store = etcd.spec().to_string();
        let node = Pointsman::builder()
            .store(&store)
            .without_certificate()
            .start();
        Self {
            node,
            store,
            etcd: Some((runtime, etcd)),
        }
    }

    fn dir() -> Self {
        let node = Pointsman::builder()
            .without_certificate()
            .key("services/first/virtual_hosts", "first.test")
            .start();
        Self {
            store: format!("dir:{}", node.keys_dir().display()),
            node,
            etcd: None,
        }
    }

    fn both() -> [Self; 2] {
        [Self::etcd(), Self::dir()]
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = support::command();
        command.args(args).args(["--store", &self.store]);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run pointsman")
    }

    /// Succeeds, and is live. Gives what it told besides.
    #[track_caller]
    fn live(&self, args: &[&str]) -> String {
        let done = self
            .command(args)
            .args(["--wait", "--timeout", "20s"])
            .output()
            .expect("run");
        assert!(
            done.status.success(),
            "{args:?}: {}{}",
            out(&done),
            err(&done)
        );
        let revision = out(&done);
        let number = revision
            .strip_prefix("revision ")
            .unwrap_or_else(|| panic!("{revision}"));
        assert!(number.trim().parse::<u64>().is_ok(), "{revision}");
        err(&done)
    }

    /// Fails with 1, tells all of `words`, and writes nothing.
    #[track_caller]
    fn refused(&self, args: &[&str], words: &[&str]) {
        let before = self.keys();
        let done = self.run(args);
        let told = err(&done);
        assert_eq!(
            done.status.code(),
            Some(1),
            "{args:?}: {}{told}",
            out(&done)
        );
        for word in words {
            assert!(told.contains(word), "{args:?}: no {word:?} in {told}");
        }
        assert_eq!(self.keys(), before, "{args:?}");
        assert_eq!(out(&done), "", "{args:?}");
    }

    /// All keys with their values, as the store has them.
    fn keys(&self) -> Vec<(String, String)> {
        match &self.etcd {
            Some((runtime, etcd)) => runtime.block_on(async {
                let options = etcd_client::GetOptions::new().with_prefix();
                let mut client = etcd.client().await;
                let answer = client.get(ROOT, Some(options)).await.expect("get");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let pairs = answer.kvs().iter();
                pairs
                    .map(|kv| (text(kv.key()).replacen(ROOT, "", 1), text(kv.value())))
                    .collect()
            }),
            None => {
                let mut keys = Vec::new();
                files(&self.node.keys_dir(), "", &mut keys);
                keys.sort();
                keys
            }
        }
    }

    /// Those of one service, as `key=value`.
    fn service(&self, dir: &str) -> Vec<String> {
        let keys = self.keys().into_iter();
        let own = keys.filter_map(|(key, value)| {
            let key = key.strip_prefix(dir)?.strip_prefix('/')?.to_owned();
            Some(format!("{key}={}", value.trim_end()))
        });
        own.collect()
    }
}

fn files(dir: &Path, below: &str, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let key = format!("{below}{name}");
        match path.is_dir() {
            true => files(&path, &format!("{key}/"), into),
            false => into.push((key, fs::read_to_string(&path).expect("a text"))),
        }
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn address(origin: &Origin) -> String {
    origin.addr().to_string()
}

/// What an upstream is called that was given no name.
fn called(address: SocketAddr) -> String {
    address.to_string().replace(':', "-")
}

#[test]
fn a_linked_service_is_served_when_the_command_returns_and_gone_when_it_is_unlinked() {
    let origin = Origin::saying("hello");
    for place in Place::both() {
        let at = address(&origin);
        let name = called(origin.addr());
        place.live(&[
            "link",
            "web",
            "--host",
            "www.test",
            "--host",
            "alias.test",
            "--path",
            "/api",
            &at,
            "--set",
            "keep_virtual_path=true",
        ]);
        assert_eq!(
            place.service("services/web"),
            [
                "keep_virtual_path=true".to_owned(),
                format!("upstreams/{name}={at}"),
                "virtual_hosts=www.test, alias.test".to_owned(),
                "virtual_path=/api".to_owned(),
            ]
        );
        for host in ["www.test", "alias.test"] {
            assert_eq!(place.node.get(host, "/api/x").text(), "hello");
        }
        assert_eq!(place.node.get("www.test", "/other").status(), 404);

        // Said again, nothing changes; with a weight, the same upstream has one.
        let told = place.live(&["link", "web", &at]);
        assert!(told.contains("nothing to change"), "{told}");
        place.live(&["link", "web", &at, "weight=3", "two=127.0.0.1:9 weight=0"]);
        place.live(&["link", "web", &at, "--balance", "leastconn"]);
        assert_eq!(
            place.service("services/web"),
            [
                "balance=leastconn".to_owned(),
                "keep_virtual_path=true".to_owned(),
                format!("upstreams/{name}={at} weight=3"),
                "upstreams/two=127.0.0.1:9 weight=0".to_owned(),
                "virtual_hosts=www.test, alias.test".to_owned(),
                "virtual_path=/api".to_owned(),
            ]
        );

        place.live(&["link", "web", "--replace", "--host", "www.test", &at]);
        assert_eq!(
            place.service("services/web"),
            [
                format!("upstreams/{name}={at}"),
                "virtual_hosts=www.test".to_owned()
            ]
        );
        assert_eq!(place.node.get("www.test", "/other").text(), "hello");

        let told = place.live(&["unlink", "web", &at]);
        assert!(told.contains("answers 503"), "{told}");
        assert_eq!(place.node.get("www.test", "/").status(), 503);
        place.live(&["unlink", "web"]);
        assert_eq!(place.node.get("www.test", "/").status(), 404);
        assert_eq!(place.service("services/web"), [""; 0]);
        let last = place.run(&["unlink", "first"]);
        assert!(err(&last).contains("--empty-grace"), "{}", err(&last));
    }
}

#[test]
fn tcp_services_open_their_port() {
    let load = Load::default();
    let (port, other) = (free_port(), free_port());
    for (place, port) in Place::both().into_iter().zip([port, other]) {
        let echo = load.echo();
        place.live(&[
            "link",
            "db",
            "--tcp-port",
            &port.to_string(),
            &format!("db-1={echo}"),
        ]);
        let mut client = Client::connect(local(port));
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
        // An HTTP service of that name is another one, and has to be called by its whole name then.
        place.live(&["link", "services/db", "--host", "db.test", "127.0.0.1:9"]);
        place.refused(&["unlink", "db"], &["services/db or tcp-services/db"]);
        place.live(&["unlink", "tcp-services/db"]);
        place.node.wait_for_no_port(port);
    }
}

#[test]
fn one_command_is_one_revision() {
    let place = Place::etcd();
    let done = place.run(&[
        "link",
        "web",
        "--host",
        "a.test",
        "--balance",
        "source",
        "--set",
        "retries=2",
        "127.0.0.1:1",
        "127.0.0.1:2",
    ]);
    assert!(done.status.success(), "{}", err(&done));
    let revision: i64 = out(&done)["revision ".len()..]
        .trim()
        .parse()
        .expect("a number");
    let (runtime, etcd) = place.etcd.as_ref().expect("etcd");
    let revisions: Vec<i64> = runtime.block_on(async {
        let options = etcd_client::GetOptions::new().with_prefix();
        let mut client = etcd.client().await;
        let answer = client
            .get(format!("{ROOT}services/web/"), Some(options))
            .await;
        let answer = answer.expect("get");
        answer.kvs().iter().map(|kv| kv.mod_revision()).collect()
    });
    assert_eq!(revisions, [revision; 5]);
    let json = place.run(&["link", "web", "127.0.0.1:3", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json["revision"].as_i64() > Some(revision), "{json}");
    assert_eq!(json["changed"], true);
}

#[test]
fn what_would_be_refused_is_not_written() {
    for place in Place::both() {
        place.refused(
            &["link", "web", "--balance", "leastcom", "10.0.0.1:80"],
            &["services/web", "did you mean \"leastconn\"?", "--force"],
        );
        place.refused(&["link", "web", "10.0.0.1"], &["write 10.0.0.1:80"]);
        place.refused(
            &["link", "web", "--set", "balanc=source", "10.0.0.1:80"],
            &["no key \"balanc\"", "did you mean \"balance\"?"],
        );
        place.refused(
            &["link", "web", "--set", "retries", "10.0.0.1:80"],
            &["KEY=VALUE"],
        );
        place.refused(
            &[
                "link",
                "web",
                "--host",
                "a.test",
                "--set",
                "virtual_hosts=b.test",
            ],
            &["virtual_hosts is said twice"],
        );
        place.refused(&["link", "web"], &["nothing is said of web"]);
        // Ports of the balancer's own.
        place.refused(
            &["link", "db", "--tcp-port", "80", "10.0.0.1:80"],
            &["tcp-services/db", "80"],
        );
        let done = place.run(&[
            "link",
            "web",
            "--force",
            "--balance",
            "leastcom",
            "10.0.0.1:80",
        ]);
        assert!(done.status.success(), "{}", err(&done));
        assert!(err(&done).contains("leastconn"), "{}", err(&done));
        let done = place.run(&["wait"]);
        assert_eq!(done.status.code(), Some(1));
        let table = out(&place.run(&["services"]));
        assert!(table.contains("refused by test: "), "{table}");
        place.live(&["link", "web", "--balance", "source"]);
    }
}

#[test]
fn a_port_that_another_service_has_is_told_before_it_is_taken_from_it() {
    let place = Place::dir();
    let port = free_port().to_string();
    place.live(&["link", "zoo", "--tcp-port", &port, "127.0.0.1:9"]);
    // By the order of names it would be the older one that loses.
    place.refused(
        &["link", "ape", "--tcp-port", &port, "127.0.0.1:9"],
        &["tcp-services/zoo", &port],
    );
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    for place in Place::both() {
        place.live(&["link", "web", "--host", "a.test", "one=127.0.0.1:1"]);
        place.live(&[
            "link",
            "app",
            "--host",
            "b.test",
            "one=127.0.0.1:1",
            "two=127.0.0.1:2",
        ]);
        place.refused(&["unlink", "wbe"], &["no service \"wbe\"", "app", "web"]);
        place.refused(&["unlink", "web", "two"], &["no upstream \"two\"", "one"]);
        place.refused(
            &["drain", "three"],
            &["no service has an upstream \"three\""],
        );
        place.refused(&["drain", "one"], &["services/app/one", "services/web/one"]);
        place.refused(
            &["drain", "127.0.0.1:1"],
            &["services/app/one", "services/web/one"],
        );
        place.refused(&["drain", "web/two"], &["web has no upstream \"two\""]);
        place.refused(&["undrain", "nowhere/one"], &["no service \"nowhere\""]);
        place.refused(&["cert", "remove", "www"], &["no certificate \"www\""]);
        place.live(&["drain", "127.0.0.1:2"]);
        assert!(
            place
                .service("services/app")
                .contains(&"drain=two".to_owned())
        );
    }
}

#[test]
fn hostile_names_are_refused_with_a_message() {
    let long = "x".repeat(60_000);
    for place in Place::both() {
        for name in [
            "../settings",
            "..",
            "a/b",
            "services/",
            "services/a/b",
            "a\nb",
            "a b",
            "",
            "a\\b",
            "\u{e4}",
            &long,
        ] {
            let named = format!("{name}=127.0.0.1:9");
            place.refused(&["link", name, "127.0.0.1:9"], &[]);
            place.refused(&["cert", "remove", name], &[]);
            if !name.contains([' ', '\n']) {
                place.refused(&["link", "web", &named], &[]);
            }
        }
        place.refused(&["unlink", &long], &["at most 200 characters"]);
        place.refused(
            &[
                "link",
                "web",
                "--set",
                "error_pages/../../x=1",
                "127.0.0.1:9",
            ],
            &["no status"],
        );
    }
    let outside = Place::dir();
    outside.refused(
        &["link", ".hidden", "--host", "a.test", "127.0.0.1:9"],
        &["cannot be the name of a key"],
    );
}

#[test]
fn a_change_beyond_one_transaction_is_refused_and_a_large_service_goes_in_one() {
    let place = Place::etcd();
    let many: Vec<String> = (0..200).map(|i| format!("10.0.{}.1:80", i)).collect();
    let mut args = vec!["link", "web", "--host", "a.test"];
    args.extend(many.iter().map(String::as_str));
    place.refused(&args, &["201 keys at once", "128"]);
    let (runtime, etcd) = place.etcd.as_ref().expect("etcd");
    for chunk in many.chunks(100) {
        let keys = chunk
            .iter()
            .map(|at| format!("{ROOT}services/web/upstreams/{at}"));
        let keys: Vec<_> = keys.collect();
        let pairs = keys.iter().map(|key| (key.as_str(), Some("10.0.0.1:80")));
        runtime.block_on(etcd.transact(pairs));
    }
    place.live(&["unlink", "web"]);
    assert_eq!(place.service("services/web"), [""; 0]);
}

#[test]
fn nothing_is_lost_when_twenty_write_at_once() {
    for place in Place::both() {
        place.live(&["link", "web", "--host", "a.test", "first=127.0.0.1:1"]);
        let runs: Vec<_> = (0..20)
            .map(|i| {
                let named = format!("u{i:02}=127.0.0.1:{}", 1000 + i);
                let mut command = place.command(&["link", "web", &named]);
                let spawned = command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn();
                spawned.expect("run pointsman")
            })
            .collect();
        for run in runs {
            let done = run.wait_with_output().expect("it ends");
            assert!(done.status.success(), "{}", err(&done));
        }
        let keys = place.service("services/web");
        let upstreams = keys.iter().filter(|key| key.starts_with("upstreams/u"));
        assert_eq!(upstreams.count(), 20, "{keys:?}");

        // The same list changed by all of them.
        let runs: Vec<_> = (0..6)
            .map(|i| {
                let mut command = place.command(&["drain", &format!("web/u{i:02}")]);
                let spawned = command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn();
                spawned.expect("run pointsman")
            })
            .collect();
        for run in runs {
            let done = run.wait_with_output().expect("it ends");
            assert!(done.status.success(), "{}", err(&done));
        }
        let keys = place.service("services/web");
        assert!(
            keys.contains(&"drain=u00, u01, u02, u03, u04, u05".to_owned()),
            "{keys:?}"
        );
    }
}

#[test]
fn a_drained_upstream_gets_nothing_new_and_keeps_what_it_has() {
    let load = Load::default();
    let (a, b) = (load.origin("a"), load.origin("b"));
    let place = Place::etcd();
    let (a, b) = (format!("a={a}"), format!("b={b}"));
    place.live(&[
        "link",
        "web",
        "--host",
        "h.test",
        "--cookie",
        "--health-uri",
        "/",
        &a,
        &b,
    ]);
    let node = &place.node;
    wait_until("both to serve", || {
        let names: std::collections::BTreeSet<_> =
            (0..6).map(|_| node.get("h.test", "/").text()).collect();
        names.len() == 2
    });
    load.http(4, node.http(), "h.test", "", Duration::from_millis(2));
    load.websockets(8, node.http(), "h.test");
    load.assert_passes(50, "before the drain");
    let counters = |node: &Pointsman| {
        let status = node.status();
        let services = status["services"].as_array().expect("services").clone();
        let web = services.into_iter().find(|s| s["name"] == "web");
        let upstreams = web.expect("web")["upstreams"].as_array().cloned();
        upstreams.expect("upstreams")
    };
    let before = counters(node)[1]["served"].as_u64();

    place.live(&["drain", "web/b"]);
    assert!(
        place
            .service("services/web")
            .contains(&"drain=b".to_owned())
    );
    let stays = |to: &str| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h.test\r\nCookie: LB_SERVERID={to}\r\nConnection: close\r\n\r\n"
        );
        support::client::exchange(node.http(), request).text()
    };
    for _ in 0..10 {
        assert_eq!(node.get("h.test", "/").text(), "a");
        assert_eq!(stays("b"), "b");
    }
    load.assert_passes(50, "b is drained");
    let now = &counters(node)[1];
    assert_eq!(now["weight"], 0);
    assert_eq!(now["health"], "up", "health was not asked for anew");
    assert!(now["served"].as_u64() >= before, "{now}");
    assert!(
        now["in_flight"].as_u64() > Some(0),
        "its tunnels go on: {now}"
    );
    let table = out(&place.run(&["services", "--stats", &node.stats().to_string()]));
    assert!(table.contains("drained  up"), "{table}");

    // It comes and goes, and is drained all the same; linked by hand anew, it is told.
    let told = place.live(&["link", "web", &b]);
    assert!(told.contains("b is drained"), "{told}");
    let told = place.live(&["drain", "web/a"]);
    assert!(told.contains("503"), "{told}");
    place.live(&["undrain", "web/a", "web/b"]);
    assert!(
        !place
            .service("services/web")
            .iter()
            .any(|key| key.starts_with("drain"))
    );
    let now = &counters(node)[1];
    assert_eq!((&now["weight"], &now["health"]), (&1.into(), &"up".into()));
    wait_until("b to get its share again", || {
        node.get("h.test", "/").text() == "b"
    });
    drop(load);
}

#[test]
fn drained_names_take_all_their_members_along() {
    let place = Place::dir();
    let origin = Origin::saying("x");
    let port = origin.addr().port();
    place.live(&[
        "link",
        "web",
        "--host",
        "h.test",
        &format!("app=localhost:{port}"),
    ]);
    place.node.wait_for_text("h.test", "/", "x");
    place.live(&["drain", &format!("localhost:{port}")]);
    let plan = place.node.plan().dump;
    assert!(plan.contains(&format!("app/127.0.0.1:{port}")), "{plan}");
    assert_eq!(place.node.get("h.test", "/").status(), 503);
    place.live(&["undrain", "app"]);
    place.node.wait_for_text("h.test", "/", "x");
}

#[test]
fn a_service_that_only_drains_is_none() {
    let place = Place::dir();
    place.node.put("services/gone/drain", "a");
    place.node.put("services/web/virtual_hosts", "h.test");
    place.node.wait_for_status("h.test", "/", 503);
    assert_eq!(place.node.get("other.test", "/").status(), 404);
    let table = out(&place.run(&["services"]));
    assert!(!table.contains("gone"), "{table}");
    let check = place.run(&["check"]);
    assert!(out(&check).contains("ok: services 2"), "{}", out(&check));
}

#[test]
fn services_tell_routes_and_upstreams_and_no_secrets() {
    let place = Place::dir();
    place.live(&[
        "link",
        "web",
        "--host",
        "a.test",
        "--path",
        "/x",
        "--set",
        "basic_auth_secrets=user joe insecure-password hush",
        "--set",
        "basic_auth_realm=all",
        "one=127.0.0.1:1",
        "two=127.0.0.1:2 weight=5",
    ]);
    place.live(&["drain", "two"]);
    let table = out(&place.run(&["services"]));
    for line in [
        "web  http  a.test  /x",
        "    one  127.0.0.1:1",
        "    two  127.0.0.1:2 weight=5  drained",
    ] {
        assert!(table.lines().any(|l| l == line), "no {line:?} in\n{table}");
    }
    let json = out(&place.run(&["services", "--json"]));
    assert!(!table.contains("hush") && !json.contains("hush"), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[1]["drained"][0], "two");
    assert_eq!(json[1]["hidden"][1], "basic_auth_secrets");
}

#[test]
fn certificates_are_judged_written_served_and_removed() {
    for place in Place::both() {
        let https = place.node.https();
        let bundle = town_hall().sign(&Leaf::of(&["www.test"]));
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        fs::write(path("cert.pem"), format!("{}{}", bundle.chain, bundle.cert)).expect("write");
        fs::write(path("key.pem"), &bundle.key).expect("write");
        fs::write(path("all.pem"), bundle.pem()).expect("write");
        let other = town_hall().sign(&Leaf::of(&["www.test"]));
        fs::write(path("other.pem"), &other.key).expect("write");
        let past = support::certs::now() - 100;
        let old = town_hall().sign(&Leaf::of(&["www.test"]).valid(past - 100, past));
        fs::write(path("old.pem"), old.pem()).expect("write");

        place.refused(
            &["cert", "add", "www", &path("cert.pem")],
            &["certs/www", "key"],
        );
        place.refused(
            &["cert", "add", "www", &path("cert.pem"), &path("other.pem")],
            &["certs/www"],
        );
        place.refused(&["cert", "add", "www", &path("old.pem")], &["expired"]);
        place.live(&["cert", "add", "www", &path("cert.pem"), &path("key.pem")]);
        let shown = place.live(&["cert", "add", "www", &path("all.pem")]);
        assert!(!shown.contains("PRIVATE"), "{shown}");
        place.live(&["link", "web", "--host", "www.test", "127.0.0.1:9"]);
        let (mut client, _) = town().shake(https, "www.test");
        assert_eq!(client.get("www.test", "/").status(), 503);

        let told = place.live(&["cert", "remove", "www"]);
        assert!(
            told.contains("no certificate is for www.test any more"),
            "{told}"
        );
        assert_eq!(place.service("certs"), [""; 0]);

        let keys = path("seal.key");
        let made = support::command()
            .args(["seal", "--new-key", "--seal-key-file", &keys])
            .output();
        assert!(made.expect("run").status.success());
        place.refused(
            &["cert", "add", "www", &path("all.pem"), "--seal"],
            &["--seal-key-file"],
        );
        let done = place.run(&[
            "cert",
            "add",
            "www",
            &path("all.pem"),
            "--seal",
            "--seal-key-file",
            &keys,
        ]);
        assert!(done.status.success(), "{}", err(&done));
        let value = &place.service("certs")[0];
        assert!(
            value.starts_with("www=sealed:v1:") && !value.contains("BEGIN"),
            "{value}"
        );
    }
}

#[test]
fn containers_cannot_be_unlinked_by_keys() {
    let engine = support::engine::Engine::start();
    let labels = [
        ("lb.virtual_hosts", "h.test"),
        ("lb.internal_port", "80"),
        ("lb.service", "web"),
    ];
    engine.put(&support::engine::container("web-1", "10.9.0.1", &labels));
    let docker = engine.store("");
    let run = |args: &[&str]| {
        let run = support::command()
            .args(args)
            .args(["--store", &docker])
            .output();
        run.expect("run pointsman")
    };
    let done = run(&["link", "web", "10.0.0.1:80"]);
    assert_eq!(done.status.code(), Some(2));
    let told = err(&done);
    assert!(
        told.contains("docker:") && told.contains("cannot be written"),
        "{told}"
    );

    let keys = tempfile::tempdir().expect("a directory");
    let dir = format!("dir:{}", keys.path().display());
    let with_dir = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--store", &dir]);
        run(&all)
    };
    for args in [&["unlink", "web"][..], &["unlink", "web", "web-1"]] {
        let done = with_dir(args);
        assert_eq!(done.status.code(), Some(1), "{}", err(&done));
        assert!(
            err(&done).contains("announced by docker:"),
            "{}",
            err(&done)
        );
    }
    let done = with_dir(&["drain", "web-1"]);
    assert!(done.status.success(), "{}", err(&done));
    let drain = fs::read_to_string(keys.path().join("services/web/drain"));
    assert_eq!(drain.expect("a key"), "web-1");
}

#[test]
fn what_agents_announce_is_told_and_not_taken_for_ours() {
    let place = Place::etcd();
    let put = |key: &str, value: &str| {
        let (runtime, etcd) = place.etcd.as_ref().expect("etcd");
        runtime.block_on(etcd.put(&format!("{ROOT}{key}"), value));
    };
    put("agents/hosta/services/web/upstreams/a.hosta", "127.0.0.1:9");
    put("agents/hosta/services/web/virtual_hosts", "web.test");
    place.refused(
        &["link", "web", "--unset", "virtual_hosts"],
        &["virtual_hosts", "agent hosta"],
    );
    place.refused(&["unlink", "web"], &["announced by agent hosta"]);
    place.refused(&["unlink", "web", "a.hosta"], &["announced by agent hosta"]);
    // What is judged is what will be there: the agent's hosts are.
    let told = place.live(&["link", "web", "b=127.0.0.1:8", "--replace"]);
    assert!(
        told.contains("agent hosta")
            && told.contains("upstreams/a.hosta")
            && told.contains("stays"),
        "{told}"
    );
    assert_eq!(place.service("services/web"), ["upstreams/b=127.0.0.1:8"]);
    // Word for word is ours too, and does not go with the agent.
    place.live(&["link", "web", "--host", "web.test"]);
    assert_eq!(
        place.service("services/web"),
        ["upstreams/b=127.0.0.1:8", "virtual_hosts=web.test"]
    );
    let told = place.live(&["link", "web", "--unset", "virtual_hosts"]);
    assert!(told.contains("agent hosta"), "{told}");
    // A password that only we say would be off the service that stays.
    place.live(&[
        "link",
        "web",
        "--set",
        "basic_auth_secrets=user joe insecure-password hush",
    ]);
    place.refused(&["unlink", "web"], &["basic_auth_secrets", "--force"]);
    place.live(&["unlink", "web", "--force"]);
    assert_eq!(place.service("services/web"), [""; 0]);
}

#[test]
fn a_service_that_nothing_leads_to_is_not_made_by_mistake() {
    for place in Place::both() {
        place.live(&["link", "web", "--host", "web.test", "127.0.0.1:9"]);
        place.refused(
            &["link", "wbe", "127.0.0.1:1"],
            &["did you mean web?", "--force"],
        );
        place.refused(
            &["link", "tcp-services/db", "127.0.0.1:1"],
            &["--tcp-port", "--force"],
        );
        place.refused(
            &["link", "web", "--unset", "virtual_hosts"],
            &["every host"],
        );
        place.live(&["link", "wbe", "127.0.0.1:1", "--force"]);
        place.live(&["link", "wbe", "two=127.0.0.1:2"]);
    }
}

/// The balancer reads as another user than the one who writes.
#[test]
fn what_is_new_in_a_directory_is_like_what_it_is_in() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let root = tempfile::tempdir().expect("a directory");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o2750)).expect("chmod");
    // Only root can give away.
    let _ = chown(root.path(), Some(1234), Some(1235));
    let store = format!("dir:{}", root.path().display());
    let bundle = town_hall().sign(&Leaf::of(&["www.test"]));
    let pem = tempfile::NamedTempFile::new().expect("a file");
    fs::write(pem.path(), bundle.cert.clone() + &bundle.key).expect("write");
    let file = pem.path().to_str().expect("text");
    for args in [
        &["link", "web", "--host", "www.test", "a=127.0.0.1:9"][..],
        &["cert", "add", "www", file],
        &["link", "web", "--set", "error_pages/503=gone"],
    ] {
        let done = support::command()
            .args(args)
            .args(["--store", &store])
            .output()
            .expect("run");
        assert!(done.status.success(), "{}", err(&done));
    }
    let like = fs::metadata(root.path()).expect("metadata");
    for (path, mode) in [
        ("services", 0o2750),
        ("services/web", 0o2750),
        ("services/web/upstreams", 0o2750),
        ("services/web/upstreams/a", 0o644),
        ("services/web/error_pages", 0o2750),
        ("services/web/error_pages/503", 0o644),
        ("certs", 0o2750),
        ("certs/www", 0o640),
    ] {
        let meta = fs::metadata(root.path().join(path)).expect(path);
        assert_eq!(meta.mode() & 0o7777, mode, "{path}");
        assert_eq!((meta.uid(), meta.gid()), (like.uid(), like.gid()), "{path}");
    }
}

#[test]
fn values_come_from_files_and_standard_input() {
    let place = Place::dir();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "user joe insecure-password hush\n").expect("write");
    let set = format!("basic_auth_secrets=@{}", file.path().display());
    place.live(&[
        "link",
        "web",
        "--host",
        "a.test",
        "--set",
        &set,
        "a=127.0.0.1:9",
    ]);
    let keys = place.service("services/web");
    assert!(
        keys.contains(&"basic_auth_secrets=user joe insecure-password hush".to_owned()),
        "{keys:?}"
    );
    place.refused(
        &["link", "web", "--set", "balance=@/nowhere/at/all"],
        &["/nowhere/at/all"],
    );
}
