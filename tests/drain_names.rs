//! Draining an upstream that is a name of DNS, by what each place that shows it calls it.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::browser::{Browser, DESK};
use support::client;
use support::dns::Dns;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::{LIMIT, free_port, wait_until};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-who-may-change";
const HOST: &str = "web.test";
const APP: &str = "app.internal";

/// A service with a name that has two addresses, and one upstream beside it.
struct Node {
    node: Pointsman,
    port: u16,
    socket: PathBuf,
    _dns: Dns,
    _dir: TempDir,
    _origins: [Origin; 3],
}

impl Node {
    fn start() -> Self {
        let (dns, port) = (Dns::start(), free_port());
        dns.host(APP, &["127.0.0.2", "127.0.0.3"]);
        let origins = [(2, "app"), (3, "app"), (4, "beside")].map(|(last, text)| {
            let at: SocketAddr = (IpAddr::from([127, 0, 0, last]), port).into();
            Origin::saying_at(at, text)
        });
        let dir = tempfile::tempdir().expect("a directory");
        let (token, socket) = (dir.path().join("token"), dir.path().join("sock"));
        fs::write(&token, TOKEN).expect("write");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("chmod");
        let service = Service::http("web")
            .hosts(HOST)
            .key("upstreams/app", &format!("{APP}:{port}"))
            .key("upstreams/beside", &origins[2].addr().to_string());
        let node = Pointsman::builder()
            .setting("dns_servers", &dns.addr())
            .args(&["--api-token-file", &token.display().to_string()])
            .args(&["--admin-socket", &socket.display().to_string()])
            .service(&service)
            .start();
        let node = Self {
            node,
            port,
            socket,
            _dns: dns,
            _dir: dir,
            _origins: origins,
        };
        wait_until("the name to be known", || node.states().len() == 3);
        node
    }

    fn ask(&self, method: &str, target: &str) -> (u16, Value) {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = client::exchange(self.node.stats(), head);
        let body = serde_json::from_slice(&answer.body.bytes).expect("JSON");
        (answer.status(), body)
    }

    /// Key and state of each upstream as it runs, in the order of names.
    fn states(&self) -> Vec<(String, String)> {
        let (status, page) = self.ask("GET", "/v1/running/upstreams");
        assert_eq!(status, 200, "{page}");
        let word = |row: &Value, field: &str| row[field].as_str().expect("a word").to_owned();
        let rows = page["rows"].as_array().expect("rows");
        rows.iter()
            .map(|row| (word(row, "key"), word(row, "state")))
            .collect()
    }

    fn wait_for_states(&self, app: &str) {
        let expected = [("app", app), ("app", app), ("beside", "unchecked")];
        let expected = expected.map(|(key, state)| (key.to_owned(), state.to_owned()));
        wait_until(&format!("app to be {app}"), || self.states() == expected);
    }

    fn drained(&self) -> String {
        let key = self.node.keys_dir().join("services/web/drain");
        fs::read_to_string(key).unwrap_or_default()
    }

    fn say(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(command.as_bytes()).expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

#[test]
fn the_key_of_each_address_drains_the_name_over_the_api_and_its_server_over_the_socket() {
    let node = Node::start();
    node.wait_for_states("unchecked");
    let (key, _) = node.states().remove(0);
    let target = format!("/v1/services/web/upstreams/{key}/drain");
    let (status, told) = node.ask("PUT", &target);
    assert_eq!(status, 200, "{told}");
    node.wait_for_states("drained");
    assert_eq!(node.drained(), "app");
    for _ in 0..6 {
        assert_eq!(node.node.get(HOST, "/").text(), "beside");
    }
    let (status, told) = node.ask("DELETE", &target);
    assert_eq!(status, 200, "{told}");
    node.wait_for_states("unchecked");

    let server = format!("web/app/127.0.0.3:{}", node.port);
    assert_eq!(node.say(&format!("disable server {server}\n")), "\n");
    node.wait_for_states("drained");
    assert_eq!(node.drained(), "app");
    assert_eq!(node.say(&format!("enable server {server}\n")), "\n");
    node.wait_for_states("unchecked");
}

#[test]
fn the_page_drains_all_addresses_of_a_name_and_says_so() {
    let node = Node::start();
    let mut browser = Browser::start(DESK);
    browser.always_send(json!({"Authorization": format!("Bearer {TOKEN}")}));
    let one = format!("app/127.0.0.3:{}", node.port);
    let button = format!("[data-drain=\"{one}\"]");
    for (place, all) in [
        ("#overview?open=http/web", "all 2 addresses of it"),
        ("#upstreams", "all addresses of it"),
    ] {
        browser.open(&format!("http://{}/{place}", node.node.stats()));
        browser.wait_for(&format!("document.querySelector('{button}')"));
        browser.click(&button);
        browser.wait_for("document.getElementById('ask').open");
        let text = browser.eval("document.getElementById('ask').innerText");
        let text = text.as_str().expect("text");
        for part in ["Drain app?", all, "on every node"] {
            assert!(text.contains(part), "{place}: {part} in {text}");
        }
        browser.click("#ask-yes");
        browser.wait_for(
            "document.querySelector('#told').innerText.includes('app of web is drained from')",
        );
        node.wait_for_states("drained");
        browser.wait_for("document.querySelectorAll('[data-upstream^=\"app/\"] [data-state=drained]').length == 2");
        browser.click(&button);
        browser.click("#ask-yes");
        browser.wait_for(
            "document.querySelector('#told').innerText.includes('app of web is not drained from')",
        );
        node.wait_for_states("unchecked");
    }
    assert_eq!(browser.problems(), Vec::<String>::new());
}
