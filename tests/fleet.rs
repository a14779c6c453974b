//! Several nodes on one root, and the life of one: what they tell, what is waited for, how they end.

mod support;

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::time::{Duration, Instant};

use support::client::Client;
use support::etcd::Etcd;
use support::load::Load;
use support::origin::{Gate, Origin, ok};
use support::pointsman::{self as program, Pointsman, Service, local};
use support::{LIMIT, free_port, wait_until};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";

/// Two nodes, east and west.
struct Pair {
    runtime: Runtime,
    etcd: Etcd,
    origins: Load,
    east: Pointsman,
    west: Pointsman,
}

#[test]
fn status_shows_every_node_and_what_it_runs() {
    let pair = Pair::new();
    let revision = pair.put("services/web/retries", "2");
    assert_succeeds(&pair.wait(revision, "10s"));
    for node in [&pair.east, &pair.west] {
        assert_eq!(node.plan().revision, revision);
        assert!(node.plan().dump.contains("retries: '2'"));
    }
    let table = text(&assert_succeeds(&pair.run(&["status"])).stdout);
    for node in ["east", "west"] {
        let line = table.lines().find(|line| line.starts_with(node));
        let line = line.unwrap_or_else(|| panic!("no {node} in\n{table}"));
        assert!(
            line.contains(&revision.to_string()) && line.contains("running"),
            "{table}"
        );
    }

    let json = assert_succeeds(&pair.run(&["status", "--json"]));
    let nodes: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let nodes = nodes.as_array().expect("a list of nodes");
    let field = |name: &str| -> Vec<_> { nodes.iter().map(|node| node[name].clone()).collect() };
    assert_eq!(field("node"), ["east", "west"]);
    assert_eq!(field("revision"), [revision, revision]);
    assert_eq!(field("phase"), ["running", "running"]);
    assert_eq!(field("pid"), [pair.east.id(), pair.west.id()]);
    assert_eq!(field("refused_total"), [0, 0]);
    assert_eq!(nodes[0]["digest"], nodes[1]["digest"]);
}

#[test]
fn wait_names_node_unit_key_and_reason_of_what_was_refused() {
    let pair = Pair::new();
    let bad = pair.put("services/web/balance", "leastcom");
    let told = text(&assert_fails(&pair.wait(bad, "10s")).stderr);
    for word in [
        "services/web/balance",
        "leastcom",
        "leastconn",
        &bad.to_string(),
    ] {
        assert!(told.contains(word), "no {word} in {told}");
    }
    assert!(told.contains("node east refused") || told.contains("node west refused"));
    // Without a revision the question is whether what the keys say now is live: it is not.
    assert_fails(&pair.run(&["wait"]));
    let table = text(&assert_succeeds(&pair.run(&["status"])).stdout);
    assert!(
        table.contains("refused services/web") && table.contains("leastcom"),
        "{table}"
    );

    // Another change of the same service does not go live either, and its writer has to hear of it.
    let good = pair.put("services/web/retries", "4");
    let told = text(&assert_fails(&pair.wait(good, "10s")).stderr);
    assert!(told.contains("leastcom"), "{told}");
    // The change of a service that nothing is wrong with is no matter of the other one.
    let other = pair.put("services/other/upstreams/a", "127.0.0.1:9");
    assert_succeeds(&pair.wait(other, "10s"));

    let healed = pair.put("services/web/balance", "leastconn");
    assert_succeeds(&pair.wait(healed, "10s"));
    assert_succeeds(&pair.run(&["wait"]));
}

#[test]
fn a_port_that_cannot_be_had_is_told_once_and_taken_when_it_is_free() {
    let pair = Pair::new();
    let port = free_port();
    let holder = std::net::TcpListener::bind(("0.0.0.0", port)).expect("a port");
    let keys = Service::tcp("db", port).upstream(pair.origins.echo());
    let revision = pair.put_service(&keys);
    let told = text(&assert_fails(&pair.wait(revision, "10s")).stderr);
    assert!(
        told.contains(&port.to_string()) && told.contains("tcp-services/db"),
        "{told}"
    );

    // It is tried again every few seconds, and nothing is said or swapped meanwhile.
    let before = (pair.east.plan().generation, refusals(&pair.east));
    let later = pair.put("services/other/upstreams/a", "127.0.0.1:9");
    assert_succeeds(&pair.wait(later, "10s"));
    let tries = Instant::now();
    wait_until("a few tries have passed", || {
        tries.elapsed() > Duration::from_secs(5)
    });
    let after = (pair.east.plan().generation, refusals(&pair.east));
    assert_eq!(after, (before.0 + 1, before.1), "{}", pair.east.log());
    assert_succeeds(&pair.wait(later, "10s"));

    drop(holder);
    pair.east.wait_for_port(port);
    assert_succeeds(&pair.run(&["wait"]));
}

#[test]
fn a_node_that_is_behind_is_named_and_not_waited_for_when_its_lease_is_over() {
    let pair = Pair::new();
    pair.west.freeze();
    let revision = pair.put("services/web/retries", "3");
    let told = text(&assert_fails(&pair.wait(revision, "1s")).stderr);
    assert!(told.contains("node west is at revision"), "{told}");
    assert!(
        told.contains(&revision.to_string()) && !told.contains("east"),
        "{told}"
    );
    // It does not say that it lives: its lease runs out, and nobody waits for it any more.
    assert_succeeds(&pair.wait(revision, "20s"));
    assert_eq!(pair.nodes(), ["east"]);
    // It was only away.
    pair.west.thaw();
    wait_until("west reports again", || pair.nodes() == ["east", "west"]);
    assert_succeeds(&pair.wait(revision, "10s"));
}

#[test]
fn a_node_that_died_is_forgotten_and_one_that_ended_takes_its_leave() {
    let mut pair = Pair::new();
    let killed = Instant::now();
    pair.west.kill();
    wait_until("west is forgotten", || pair.nodes() == ["east"]);
    println!("a killed node was forgotten after {:?}", killed.elapsed());
    // One that ends in good order takes its own leave at once.
    pair.east.terminate();
    assert_eq!(pair.east.wait().code(), Some(0));
    assert!(pair.nodes().is_empty());
    let told = text(&assert_fails(&pair.run(&["wait", "--timeout", "5s"])).stderr);
    assert!(told.contains("no node reports"), "{told}");
}

/// Names are keys, so two nodes of one name take turns on the board: it shows one of them at a time,
/// and `wait` knows of one only. That cannot be waited for in good faith, so both say so in their logs.
/// They serve as they should: nothing about traffic depends on the name.
#[test]
fn two_nodes_of_one_name_say_so() {
    let pair = Pair::new();
    let twin = Pointsman::builder()
        .store(&pair.etcd.spec().to_string())
        .node("east")
        .start();
    let mut value = 1;
    wait_until("the clash is told", || {
        value = value % 5 + 1;
        pair.put("services/web/retries", &value.to_string());
        [&pair.east, &twin].iter().any(|node| {
            node.log()
                .contains("another process reports under this node's name")
        })
    });
    assert_eq!(pair.nodes(), ["east", "west"]);
    assert!(!pair.west.log().contains("another process"));
    assert_eq!(twin.get("web.test", "/").status(), 200);
}

#[test]
fn it_is_ready_from_the_first_good_generation_on_and_says_so_to_systemd() {
    let runtime = Runtime::new().expect("a runtime");
    let mut etcd = Etcd::prepare();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a limit");
    let mut pointsman = Pointsman::builder()
        .store(&etcd.spec().to_string())
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .without_waiting()
        .start();
    wait_until("the stats listener answers", || {
        Client::try_connect(pointsman.stats()).is_ok()
    });
    assert_eq!(pointsman.ready(), 503);
    assert!(
        Client::try_connect(pointsman.http()).is_err(),
        "not from empty tables"
    );
    let mut message = [0; 256];
    assert!(
        socket.recv(&mut message).is_err(),
        "not ready, and nothing said"
    );

    runtime.block_on(etcd.run());
    pointsman.wait_until_ready();
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut next = || {
        let n = socket.recv(&mut message).expect("a message to systemd");
        text(&message[..n])
    };
    assert!(next().contains("READY=1"));
    assert_eq!(pointsman.get("nobody.test", "/").status(), 404);
    pointsman.terminate();
    assert!(next().contains("STOPPING=1"));
    assert_eq!(pointsman.wait().code(), Some(0));
}

#[test]
fn sigterm_lets_requests_finish_and_closes_what_is_idle() {
    let (origin, gate) = gated();
    let mut pointsman = draining(&origin);
    let mut idle = pointsman.client();
    assert_eq!(idle.get("web.test", "/").status(), 200);
    let mut slow = held(&pointsman);
    pointsman.terminate();
    idle.assert_closed();
    wait_until("nobody new comes in", || {
        Client::try_connect(pointsman.http()).is_err()
    });
    assert_eq!(
        pointsman.ready(),
        503,
        "it can still be asked, and says what it does"
    );
    gate.open();
    let answer = slow.response();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "web"));
    slow.assert_closed();
    assert_eq!(pointsman.wait().code(), Some(0));
}

#[test]
fn a_second_sigterm_cuts_what_is_left() {
    let (origin, _gate) = gated();
    let mut pointsman = draining(&origin);
    let mut slow = held(&pointsman);
    pointsman.terminate();
    wait_until("nobody new comes in", || {
        Client::try_connect(pointsman.http()).is_err()
    });
    assert!(pointsman.is_running());
    // Right behind the first one it would be taken for the same. The drain alone would take longer
    // than is waited for here.
    wait_until("it ends", || {
        pointsman.terminate();
        !pointsman.is_running()
    });
    assert_eq!(pointsman.wait().code(), Some(1));
    slow.assert_closed();
}

#[test]
fn sigterm_and_sigint_that_come_together_are_one_word() {
    let (origin, gate) = gated();
    let mut pointsman = draining(&origin);
    let mut slow = held(&pointsman);
    // Both are there when it looks, however busy the machine is.
    pointsman.freeze();
    pointsman.terminate();
    pointsman.interrupt();
    pointsman.thaw();
    wait_until("nobody new comes in", || {
        Client::try_connect(pointsman.http()).is_err()
    });
    gate.open();
    assert_eq!(slow.response().status(), 200);
    assert_eq!(pointsman.wait().code(), Some(0));
}

#[test]
fn the_drain_time_ends_what_does_not_end_by_itself() {
    let origins = Load::default();
    let port = free_port();
    let mut pointsman = Pointsman::builder()
        .service(&Service::tcp("echo", port).upstream(origins.echo()))
        .setting("timeout_drain", "3s")
        .start();
    pointsman.wait_for_port(port);
    let mut flow = Client::connect(local(port));
    flow.stream().write_all(b"first").expect("send");
    assert_eq!(flow.exactly(5), b"first");
    let told = Instant::now();
    pointsman.terminate();
    wait_until("nobody new comes in", || {
        Client::try_connect(local(port)).is_err()
    });
    flow.stream().write_all(b"still").expect("send");
    assert_eq!(
        flow.exactly(5),
        b"still",
        "a flow lives on while others finish"
    );
    flow.assert_closed();
    assert!(
        told.elapsed() >= Duration::from_secs(3),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(pointsman.wait().code(), Some(0));
}

/// An origin that answers at once, but `/slow` when the gate is opened.
fn gated() -> (Origin, Gate) {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/slow" {
                at_gate.pass();
            }
            conn.send(ok("web"));
        }
    });
    (origin, gate)
}

/// A node over a directory with one service.
fn draining(origin: &Origin) -> Pointsman {
    let web = Service::http("web")
        .hosts("web.test")
        .upstream(origin.addr());
    Pointsman::builder().service(&web).start()
}

/// A client whose request is under way until the gate opens.
fn held(pointsman: &Pointsman) -> Client {
    let mut client = pointsman.client();
    client.send("GET /slow HTTP/1.1\r\nHost: web.test\r\n\r\n");
    wait_until("the slow request is under way", || {
        in_flight(pointsman) == 1
    });
    client
}

fn in_flight(pointsman: &Pointsman) -> u64 {
    let status = pointsman.status();
    let upstream = &status["services"][0]["upstreams"][0];
    upstream["in_flight"].as_u64().expect("a count")
}

fn refusals(pointsman: &Pointsman) -> usize {
    pointsman.log().matches("unit refused").count()
}

impl Pair {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        let store = etcd.spec().to_string();
        let node = |name| Pointsman::builder().store(&store).node(name).start();
        let pair = Self {
            east: node("east"),
            west: node("west"),
            runtime,
            etcd,
            origins: Load::default(),
        };
        let web = Service::http("web")
            .hosts("web.test")
            .upstream(pair.origins.origin("web"));
        let revision = pair.put_service(&web);
        assert_succeeds(&pair.wait(revision, "10s"));
        pair
    }

    fn put(&self, key: &str, value: &str) -> u64 {
        self.runtime
            .block_on(self.etcd.put(&format!("{ROOT}{key}"), value))
    }

    fn put_service(&self, service: &Service) -> u64 {
        let keys: Vec<_> = service
            .keys()
            .map(|(key, value)| (format!("{ROOT}{key}"), value))
            .collect();
        let changes = keys.iter().map(|(key, value)| (key.as_str(), Some(value)));
        self.runtime.block_on(self.etcd.transact(changes))
    }

    fn run(&self, args: &[&str]) -> Output {
        let store = self.etcd.spec().to_string();
        program::run(&[args, &["--store", &store]].concat())
    }

    fn wait(&self, revision: u64, timeout: &str) -> Output {
        let revision = revision.to_string();
        self.run(&["wait", "--revision", &revision, "--timeout", timeout])
    }

    /// Who is on the board.
    fn nodes(&self) -> Vec<String> {
        let json = self.run(&["status", "--json"]);
        let nodes: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
        let nodes = nodes.as_array().expect("a list of nodes").iter();
        nodes
            .map(|node| node["node"].as_str().expect("a name").to_owned())
            .collect()
    }
}

fn assert_succeeds(output: &Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output.clone()
}

fn assert_fails(output: &Output) -> Output {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    output.clone()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
