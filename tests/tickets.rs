//! Session tickets: the nodes of one balancer resume each other's sessions, and their keys change.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use support::certs::{self, Leaf};
use support::etcd::Etcd;
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service};
use support::tls::{self, Tls};
use support::{command, wait_until};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb";

/// One etcd for several nodes.
struct Town {
    runtime: Runtime,
    etcd: Etcd,
    origin: Origin,
}

impl Town {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let town = Self {
            etcd: runtime.block_on(Etcd::start()),
            origin: Origin::saying("hello"),
            runtime,
        };
        let web = Service::http("web").upstream(town.origin.addr());
        for (key, value) in web.keys() {
            town.put(&key, value);
        }
        let leaf = certs::town_hall().sign(&Leaf::of(&[certs::TOWN]));
        town.put("certs/town", leaf.pem());
        town
    }

    fn node(&self, name: &str) -> Builder {
        Pointsman::builder()
            .store(&self.etcd.spec().to_string())
            .node(name)
    }

    fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> u64 {
        let key = format!("{ROOT}/{key}");
        self.runtime.block_on(self.etcd.put(&key, value))
    }

    /// What nodes share.
    fn shared(&self) -> Option<String> {
        self.runtime.block_on(async {
            let mut client = self.etcd.client().await;
            let answer = client.get(format!("{ROOT}.tickets"), None).await;
            let answer = answer.expect("get");
            let kv = answer.kvs().first()?;
            Some(kv.value_str().expect("text").to_owned())
        })
    }
}

/// One request by a session of its own; whether the session was resumed.
fn is_resumed(tls: &Tls, https: SocketAddr) -> bool {
    let (mut client, shaken) = tls.shake(https, certs::TOWN);
    assert_eq!(client.get("web.test", "/").text(), "hello");
    shaken.is_resumed
}

#[test]
fn a_session_of_one_node_is_resumed_by_another_also_after_a_swap_and_without_etcd() {
    let mut town = Town::new();
    let [east, west] = ["east", "west"].map(|name| town.node(name).start());
    wait_until("both nodes to have the keys", || {
        let tls = tls::town().resuming();
        is_resumed(&tls, east.https());
        is_resumed(&tls, west.https())
    });
    for version in [&TLS12, &TLS13] {
        let tls = tls::town().version(version).resuming();
        assert!(!is_resumed(&tls, east.https()));
        assert!(is_resumed(&tls, west.https()));
        let revision = town.put("services/web/retries", "2");
        east.wait_for_revision(revision);
        west.wait_for_revision(revision);
        assert!(is_resumed(&tls, east.https()));
        assert!(is_resumed(&tls, west.https()));
        // A node that comes later knows the keys of those before it.
        let late = town.node("late").start();
        wait_until("the new node to have the keys", || {
            is_resumed(&tls, late.https())
        });
    }
    town.etcd.kill();
    for version in [&TLS12, &TLS13] {
        let tls = tls::town().version(version).resuming();
        assert!(!is_resumed(&tls, west.https()));
        assert!(is_resumed(&tls, east.https()));
    }
}

/// `openssl s_client`, whose session stays the same however often it is resumed.
fn openssl(https: SocketAddr, args: &[&str]) -> String {
    let mut client = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &https.to_string()])
        .args(["-servername", certs::TOWN])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let request = b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    let mut stdin = client.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, request).expect("openssl reads");
    // It ends with the answer; at the end of its input it would not wait for one.
    let output = client.wait_with_output().expect("openssl");
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("hello"), "{text}");
    text
}

fn begins(https: SocketAddr, version: &str, file: &Path) {
    let file = file.to_str().expect("a path");
    let told = openssl(https, &[version, "-ign_eof", "-sess_out", file]);
    assert!(told.contains("New, TLSv1"), "{told}");
}

fn goes_on(https: SocketAddr, version: &str, file: &Path) -> bool {
    let file = file.to_str().expect("a path");
    openssl(https, &[version, "-ign_eof", "-sess_in", file]).contains("Reused, TLSv1")
}

#[test]
fn keys_change_and_old_tickets_are_good_for_their_lifetime() {
    let town = Town::new();
    town.put("settings/ssl_ticket_lifetime", "8s");
    let [east, west] = ["east", "west"].map(|name| town.node(name).start());
    let dir = tempfile::tempdir().expect("a directory");
    for version in ["-tls1_2", "-tls1_3"] {
        let file = dir.path().join("session");
        wait_until("both nodes to have the keys", || {
            begins(east.https(), version, &file);
            goes_on(west.https(), version, &file)
        });
        let before = town.shared();
        wait_until("new keys", || town.shared() != before);
        begins(east.https(), version, &file);
        // By now the next key is used for new tickets.
        std::thread::sleep(Duration::from_secs(2));
        assert!(goes_on(west.https(), version, &file));
        assert!(goes_on(east.https(), version, &file));
        wait_until("the ticket to be too old", || {
            !goes_on(west.https(), version, &file)
        });
        assert!(!goes_on(east.https(), version, &file));
        begins(west.https(), version, &file);
        assert!(goes_on(east.https(), version, &file));
    }
    // Terms of the past are not kept.
    let shared = town.shared().expect("keys");
    assert!(shared.matches("from_ms").count() <= 4, "{shared}");
}

#[test]
fn without_tickets_no_session_is_resumed() {
    let origin = Origin::saying("hello");
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").upstream(origin.addr()))
        .setting("ssl_ticket_lifetime", "none")
        .start();
    for version in [&TLS12, &TLS13] {
        let tls = tls::town().version(version).resuming();
        assert!(!is_resumed(&tls, pointsman.https()));
        assert!(!is_resumed(&tls, pointsman.https()));
    }
    assert!(pointsman.plan().dump.contains("ssl_ticket_lifetime: none"));
    let tls = tls::town().resuming();
    pointsman.put("settings/ssl_ticket_lifetime", "1h");
    wait_until("tickets", || is_resumed(&tls, pointsman.https()));
    // One that was given out before they were turned off is worth nothing while they are.
    pointsman.put("settings/ssl_ticket_lifetime", "none");
    wait_until("no tickets", || !is_resumed(&tls, pointsman.https()));
}

#[test]
fn with_a_seal_key_file_etcd_holds_no_key_that_opens_a_ticket() {
    let town = Town::new();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("seal.key");
    let file = file.to_str().expect("a path");
    let output = command()
        .args(["seal", "--new-key", "--seal-key-file", file])
        .output();
    assert!(output.expect("pointsman seal").status.success());

    // A node without the file was here first: its keys are known to everybody who can read etcd.
    let open = town.node("open").start();
    wait_until("plain keys", || {
        town.shared()
            .is_some_and(|shared| !shared.contains("sealed:"))
    });
    let tls = tls::town().resuming();
    assert!(!is_resumed(&tls, open.https()));

    let node = |name| town.node(name).args(&["--seal-key-file", file]).start();
    let [east, west] = ["east", "west"].map(node);
    wait_until("both nodes to have the keys", || {
        let tls = tls::town().resuming();
        is_resumed(&tls, east.https());
        is_resumed(&tls, west.https())
    });
    let shared = town.shared().expect("keys");
    assert!(shared.contains("sealed:v1:"), "{shared}");
    assert!(!is_resumed(&tls, east.https()), "by a key that was plain");
    assert!(!east.log().contains("not shared"));

    // The node without the file is told of, goes on alone, and leaves the others' keys as they are.
    wait_until("the reason", || {
        open.log().contains("not shared") && open.log().contains("--seal-key-file")
    });
    let alone = tls::town().resuming();
    assert!(!is_resumed(&alone, open.https()));
    assert!(is_resumed(&alone, open.https()));
    assert!(!is_resumed(&alone, east.https()));
    assert_eq!(town.shared(), Some(shared));
}
