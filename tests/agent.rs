//! Agents on several hosts announce one service, and die, restart, lose etcd and their network.

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use etcd_client::{GetOptions, Permission};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::engine::{Engine, container};
use support::etcd::Etcd;
use support::load::Load;
use support::pointsman::{self as program, Pointsman};
use support::process::Process;
use support::relay::{Relay, State};
use support::{free_port, wait_until};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";
const AGENTS: &str = "/pointsman/lb/agents/";
const LEASE: Duration = Duration::from_secs(3);
const PACE: Duration = Duration::from_millis(5);

/// An etcd, and origins for the containers.
struct Site {
    runtime: Runtime,
    etcd: Etcd,
    origins: Load,
}

/// A host: its engine, its one container, and where that answers.
struct Host {
    name: &'static str,
    engine: Engine,
    web: Value,
    place: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        Self {
            runtime,
            etcd,
            origins: Load::default(),
        }
    }

    /// With a member of the service `web`, which answers the host's name.
    fn host(&self, name: &'static str, words: &[(&str, &str)]) -> Host {
        let place = self.origins.origin(name);
        let engine = Engine::start();
        let web = member("web", place, words);
        engine.put(&web);
        Host {
            name,
            engine,
            web,
            place,
        }
    }

    fn balancer(&self) -> Pointsman {
        Pointsman::builder()
            .store(&self.etcd.spec().to_string())
            .without_certificate()
            .start()
    }

    fn put(&self, key: &str, value: &str) {
        self.runtime.block_on(self.etcd.put(key, value));
    }

    /// What is announced, without who announces it.
    fn announced(&self) -> Vec<(String, String)> {
        let mut keys = self.runtime.block_on(self.etcd.keys(AGENTS));
        keys.retain(|(key, _)| !key.ends_with("/about"));
        keys
    }

    fn wait_for_keys(&self, count: usize) {
        wait_until(
            &format!("{count} keys, there are {:#?}", self.announced()),
            || self.announced().len() == count,
        );
    }
}

impl Host {
    fn agent(&self, store: &str, args: &[&str]) -> Process {
        let mut command = support::command();
        command.args(["agent", "--docker", &self.engine.store("")]);
        command.args(["--store", store, "--agent", self.name]);
        command.args(args);
        Process::start(command)
    }

    fn start(&self, site: &Site) -> Process {
        let agent = self.agent(&site.etcd.spec().to_string(), &["--lease", "3s"]);
        agent.wait_for_log("connected: what is announced is written");
        agent
    }
}

/// A container that is reached where an origin is.
fn member(service: &str, place: SocketAddr, words: &[(&str, &str)]) -> Value {
    let (host, port) = (format!("{service}.test"), place.port().to_string());
    let mut labels = vec![
        ("lb.service", service),
        ("lb.virtual_hosts", host.as_str()),
        ("lb.internal_port", port.as_str()),
        ("lb.health_check", "off"),
    ];
    labels.retain(|(name, _)| !words.iter().any(|(other, _)| other == name));
    labels.extend_from_slice(words);
    container(&format!("{service}-1"), &place.ip().to_string(), &labels)
}

fn wait_for_upstreams(balancer: &Pointsman, hosts: &[&Host], gone: &[&Host]) {
    wait_until(&format!("upstreams in {}", balancer.plan().dump), || {
        let dump = balancer.plan().dump;
        hosts.iter().all(|h| dump.contains(&h.place.to_string()))
            && !gone.iter().any(|h| dump.contains(&h.place.to_string()))
    });
}

#[test]
fn what_a_dead_host_announced_goes_with_its_lease_and_nothing_else_does() {
    let site = Site::new();
    let (a, b) = (site.host("host-a", &[]), site.host("host-b", &[]));
    site.put(
        &format!("{ROOT}services/web/upstreams/by-hand"),
        &b.place.to_string(),
    );
    site.put(&format!("{ROOT}services/web/balance"), "roundrobin");
    let mut first = a.start(&site);
    let second = b.start(&site);
    let balancer = site.balancer();
    wait_for_upstreams(&balancer, &[&a, &b], &[]);
    balancer.wait_for_text("web.test", "/", "host-a");
    balancer.wait_for_text("web.test", "/", "host-b");
    let load = Load::default();
    load.http(4, balancer.http(), "web.test", "host-", PACE);
    load.assert_passes(50, "both announce");

    // By name it has the settings of both.
    first.kill();
    load.assert_passes(50, "one agent is dead");
    wait_until("its keys go", || {
        site.announced()
            .iter()
            .all(|(key, _)| key.starts_with("host-b/"))
    });
    wait_for_upstreams(&balancer, &[&b], &[&a]);
    load.assert_passes(200, "what it announced is gone");
    let dump = balancer.plan().dump;
    assert!(
        dump.contains("by-hand") && dump.contains("web-1.host-b"),
        "{dump}"
    );
    assert_eq!(balancer.get("web.test", "/").status(), 200);
    assert!(
        second.log().contains("service announced"),
        "{}",
        second.log()
    );

    // Two nodes that read it in one go or step by step hold the same.
    let waited = program::run(&["wait", "--store", &site.etcd.spec().to_string()]);
    assert!(waited.status.success(), "{waited:?}");
    let planned = program::run(&["plan", "--store", &site.etcd.spec().to_string()]);
    assert_eq!(
        String::from_utf8_lossy(&planned.stdout),
        balancer.plan().dump
    );
    drop(second);
    wait_until("all that agents announced goes", || {
        site.announced().is_empty()
    });
    let keys = site.runtime.block_on(site.etcd.keys(ROOT));
    assert_eq!(keys.len(), 2, "what was written by hand stays: {keys:?}");
    load.finish("agents died");
}

#[test]
fn containers_that_come_and_go_are_announced_and_withdrawn() {
    let site = Site::new();
    let a = site.host("host-a", &[]);
    let agent = a.start(&site);
    let balancer = site.balancer();
    wait_for_upstreams(&balancer, &[&a], &[]);
    let place = site.origins.origin("api");
    let api = member("api", place, &[]);
    wait_until("the engine is followed", || a.engine.is_followed());
    a.engine.run(&api);
    balancer.wait_for_text("api.test", "/", "api");
    // An engine that is away says nothing of its containers.
    a.engine.down(true);
    agent.wait_for_log("store does not answer");
    std::thread::sleep(LEASE + LEASE / 2);
    assert_eq!(balancer.get("api.test", "/").status(), 200);
    a.engine.down(false);
    wait_until("the engine is followed again", || a.engine.is_followed());
    a.engine.die(&api);
    balancer.wait_for_status("api.test", "/", 404);
    agent.wait_for_log("service withdrawn");

    for n in 0..300 {
        let mut many = member("many", place, &[]);
        many["Id"] = json!(format!("{:0>64}", format!("a{n}")));
        many["Name"] = json!(format!("/many-{n}"));
        a.engine.put(&many);
    }
    a.engine.run(&api);
    a.engine.down(true);
    a.engine.down(false);
    wait_until("a service beyond one transaction is there", || {
        let keys = site.announced();
        let many = keys.iter().filter(|(key, _)| key.contains("/many-"));
        many.count() == 300
    });
    balancer.wait_for_text("many.test", "/", "api");
    balancer.wait_for_text("web.test", "/", "host-a");
}

#[test]
fn an_agent_that_is_started_anew_changes_nothing() {
    let site = Site::new();
    let a = site.host("host-a", &[]);
    let mut agent = a.start(&site);
    let balancer = site.balancer();
    wait_for_upstreams(&balancer, &[&a], &[]);
    let load = Load::default();
    load.http(2, balancer.http(), "web.test", "host-a", PACE);
    load.assert_passes(20, "it begins");
    let before = balancer.plan().generation;

    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    assert_eq!(site.announced().len(), 3, "left for the next one");
    let mut agent = a.start(&site);
    assert!(
        !agent.log().contains("waiting for the lease"),
        "{}",
        agent.log()
    );
    agent.kill();
    // This time nobody said that the name is free.
    let mut agent = a.start(&site);
    assert!(
        agent.log().contains("waiting for the lease"),
        "{}",
        agent.log()
    );
    std::thread::sleep(LEASE * 2);
    assert_eq!(site.announced().len(), 3);
    assert_eq!(
        balancer.plan().generation,
        before,
        "nobody saw anything of it"
    );
    load.finish("the agent was started anew");

    // What is stale goes, and what is new comes, while it was not there.
    agent.kill();
    a.engine.die(&a.web);
    let place = site.origins.origin("api");
    a.engine.put(&member("api", place, &[]));
    let agent = a.start(&site);
    balancer.wait_for_text("api.test", "/", "api");
    balancer.wait_for_status("web.test", "/", 404);
    drop(agent);

    let mut agent = a.agent(
        &site.etcd.spec().to_string(),
        &["--lease", "1h", "--withdraw"],
    );
    agent.wait_for_log("connected: what is announced is written");
    assert_eq!(site.announced().len(), 3);
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    assert!(site.announced().is_empty(), "{:?}", site.announced());
}

#[test]
fn a_lease_that_ended_and_an_etcd_without_its_data_are_made_up_for() {
    let mut site = Site::new();
    let a = site.host("host-a", &[]);
    let relay = site.runtime.block_on(Relay::to(site.etcd.endpoint()));
    let agent = a.agent(&format!("etcd://{}", relay.endpoint()), &["--lease", "3s"]);
    site.wait_for_keys(3);
    let balancer = site.balancer();
    wait_for_upstreams(&balancer, &[&a], &[]);
    for state in [State::Cut, State::Silent] {
        relay.set(state);
        agent.wait_for_log("announcing is interrupted");
        site.wait_for_keys(0);
        wait_until("the tree without services is held back", || {
            balancer.log().contains("holding it back")
        });
        assert_eq!(balancer.get("web.test", "/").status(), 200);
        relay.set(State::Cut);
        relay.set(State::Open);
        site.wait_for_keys(3);
    }
    site.etcd.kill();
    std::thread::sleep(LEASE);
    site.runtime.block_on(site.etcd.run());
    site.wait_for_keys(3);
    std::thread::sleep(LEASE * 2);
    site.wait_for_keys(3);
    site.etcd.kill();
    site.etcd.lose_data();
    site.runtime.block_on(site.etcd.run());
    site.wait_for_keys(3);
    assert_eq!(balancer.get("web.test", "/").status(), 200);
}

#[test]
fn agents_that_disagree_are_named_and_a_written_key_goes_over_both() {
    let site = Site::new();
    let a = site.host("host-a", &[]);
    let b = site.host("host-b", &[("lb.virtual_hosts", "other.test")]);
    let _agents = [a.start(&site), b.start(&site)];
    site.put(&format!("{AGENTS}host-a/settings/compat"), "kontena");
    let balancer = site.balancer();
    let told = "agent host-b: services/web/virtual_hosts is not used: agent host-a says otherwise";
    wait_until("it is told", || balancer.log().contains(told));
    let checked = program::run(&["check", "--store", &site.etcd.spec().to_string()]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.contains(told) && checked.contains("say the same"),
        "{checked}"
    );
    assert!(
        checked.contains("key agents/host-a/settings/compat"),
        "{checked}"
    );
    assert_eq!(balancer.get("other.test", "/").status(), 404);
    assert_eq!(balancer.get("web.test", "/").status(), 200);
    site.put(&format!("{ROOT}services/web/virtual_hosts"), "hand.test");
    balancer.wait_for_status("hand.test", "/", 200);
    balancer.wait_for_status("web.test", "/", 404);
}

#[test]
fn two_agents_of_one_name_are_told_and_do_not_fight() {
    let site = Site::new();
    let (a, mut b) = (site.host("host-a", &[]), site.host("host-b", &[]));
    b.name = "host-a";
    let mut first = a.start(&site);
    let before = site.announced();
    let second = b.agent(&site.etcd.spec().to_string(), &["--lease", "3s"]);
    second.wait_for_log("give each its own --agent");
    assert_eq!(site.announced(), before);
    assert!(!first.log().contains("interrupted"), "{}", first.log());
    // When the first one has gone there is one of that name.
    first.kill();
    wait_until("the second has the name", || {
        let place = b.place.to_string();
        site.announced().iter().any(|(_, value)| *value == place)
    });

    // One that was stopped for longer than its lease does not take it back.
    let third = a.agent(&site.etcd.spec().to_string(), &["--lease", "3s"]);
    third.wait_for_log("waiting for the lease");
    second.signal(Signal::STOP);
    third.wait_for_log("connected: what is announced is written");
    let now = site.announced();
    second.signal(Signal::CONT);
    wait_until("the one that was stopped finds out", || {
        second.log().matches("waiting for the lease").count() >= 1
    });
    std::thread::sleep(LEASE);
    assert_eq!(site.announced(), now);
}

#[test]
fn published_ports_are_announced_at_the_address_of_the_host() {
    let site = Site::new();
    let a = site.host("host-a", &[]);
    let port = a.place.port();
    let mut web = a.web.clone();
    web["Config"]["ExposedPorts"] = json!({format!("{port}/tcp"): {}});
    web["NetworkSettings"]["Ports"] =
        json!({format!("{port}/tcp"): [{"HostIp": "0.0.0.0", "HostPort": "32768"}]});
    a.engine.put(&web);
    a.engine.put(&member("hidden", a.place, &[]));
    let agent = a.agent(
        &site.etcd.spec().to_string(),
        &["--lease", "3s", "--address", "192.0.2.7"],
    );
    site.wait_for_keys(3);
    let upstream = (
        "host-a/services/web/upstreams/web-1.host-a",
        "192.0.2.7:32768",
    );
    let keys = site.announced();
    let found = keys
        .iter()
        .any(|(key, value)| (key.as_str(), value.as_str()) == upstream);
    assert!(found, "{keys:?}");
    let told = format!("hidden-1: port {port} is not published, so nobody reaches it at 192.0.2.7");
    assert!(agent.log().contains(&told), "{}", agent.log());
}

#[test]
fn an_agents_user_needs_its_own_directory_and_nothing_else() {
    let site = Site::new();
    let (a, b) = (site.host("host-a", &[]), site.host("host-b", &[]));
    site.runtime.block_on(async {
        let mut client = site.etcd.client().await;
        for user in ["root", "agent"] {
            client.user_add(user, "hush", None).await.expect("user");
            client.role_add(user).await.expect("role");
            client.user_grant_role(user, user).await.expect("grant");
        }
        let own = Permission::read_write(format!("{AGENTS}host-a/")).with_prefix();
        let granted = client.role_grant_permission("agent", own).await;
        granted.expect("permission");
        client.auth_enable().await.expect("auth");
    });
    let count = || {
        site.runtime.block_on(async {
            let mut client = site.etcd.client_as("root", "hush").await;
            let options = GetOptions::new().with_prefix().with_count_only();
            let answer = client.get(AGENTS, Some(options)).await;
            answer.expect("get").count()
        })
    };
    let args = [
        "--lease",
        "3s",
        "--etcd-user",
        "agent",
        "--etcd-password",
        "hush",
    ];
    let mut agent = a.agent(&site.etcd.spec().to_string(), &args);
    agent.wait_for_log("connected: what is announced is written");
    std::thread::sleep(LEASE * 2);
    assert_eq!(count(), 4, "who it is, two settings and an upstream");
    let stranger = b.agent(&site.etcd.spec().to_string(), &args);
    stranger.wait_for_log("permission denied");
    agent.kill();
    let args = [&args[..], &["--withdraw"]].concat();
    let mut agent = a.agent(&site.etcd.spec().to_string(), &args);
    agent.wait_for_log("connected: what is announced is written");
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    assert_eq!(count(), 0, "{}", agent.log());
}

#[test]
fn what_cannot_be_announced_to_is_told_at_the_start() {
    let fails = |args: &[&str], told: &str| {
        let run = program::run(&[&["agent"], args].concat());
        assert_eq!(run.status.code(), Some(2), "{run:?}");
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(text.contains(told), "{text}");
    };
    fails(&[], "no store given");
    fails(
        &["--store", "dir:/tmp"],
        "keys with a lease are only in etcd",
    );
    let store = ["--store", "etcd://127.0.0.1:1"];
    fails(
        &[&store[..], &["--docker", "dir:x"]].concat(),
        "no Docker engine",
    );
    fails(
        &[&store[..], &["--agent", "a/b"]].concat(),
        "an agent's name has",
    );
    fails(
        &[&store[..], &["--lease", "1s"]].concat(),
        "a lease is from 3s to 3600s",
    );
    fails(
        &[&store[..], &["--address", "0.0.0.0"]].concat(),
        "write an address of this host",
    );
}

/// A network namespace with one wire to it.
struct Namespace {
    name: String,
    wire: String,
    outside: String,
    inside: String,
}

impl Namespace {
    /// `None` where this machine does not let us.
    fn make() -> Option<Self> {
        let id = std::process::id();
        let (name, wire) = (format!("ptm-{id}"), format!("ptm{}", id % 100_000));
        let net = format!("10.213.{}", id % 250);
        let namespace = Self {
            outside: format!("{net}.1"),
            inside: format!("{net}.2"),
            name,
            wire,
        };
        let (name, wire) = (namespace.name.as_str(), namespace.wire.as_str());
        let peer = format!("{wire}p");
        let steps = [
            format!("netns add {name}"),
            format!("link add {wire} type veth peer name {peer}"),
            format!("link set {peer} netns {name}"),
            format!("addr add {}/24 dev {wire}", namespace.outside),
            format!("link set {wire} up"),
            format!("-n {name} addr add {}/24 dev {peer}", namespace.inside),
            format!("-n {name} link set {peer} up"),
            format!("-n {name} link set lo up"),
        ];
        for step in steps {
            if let Err(error) = ip(&step) {
                let _ = writeln!(
                    std::io::stderr(),
                    "!!! SKIPPED: no network namespace can be made here (ip {step}: {error}), so a host that is cut off was not seen"
                );
                return None;
            }
        }
        Some(namespace)
    }

    fn cut(&self, is_cut: bool) {
        let how = if is_cut { "down" } else { "up" };
        ip(&format!("link set {} {how}", self.wire)).expect("our own wire");
    }

    /// A command inside. `ip` becomes it, so that a signal reaches it.
    fn command(&self, inside: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command.arg(inside.get_program()).args(inside.get_args());
        for (name, value) in inside.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.wire));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let run = Command::new("ip").args(words.split(' ')).output();
    let run = run.map_err(|error| error.to_string())?;
    match run.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&run.stderr).trim().to_owned()),
    }
}

/// Passes connections at an address on to another.
fn pass_on(listener: TcpListener, to: String) {
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else {
                continue;
            };
            for (from, into) in [(&client, &server), (&server, &client)] {
                let (mut from, mut into) = (
                    from.try_clone().expect("a handle"),
                    into.try_clone().expect("a handle"),
                );
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

#[test]
fn a_host_that_is_cut_off_is_left_out_and_comes_back() {
    let Some(namespace) = Namespace::make() else {
        return;
    };
    let site = Site::new();
    let listener = TcpListener::bind((namespace.outside.as_str(), 0)).expect("a port");
    let store = format!("etcd://{}", listener.local_addr().expect("an address"));
    pass_on(listener, site.etcd.endpoint());

    let a = site.host("host-a", &[]);
    let alone = site.origins.origin("alone");
    a.engine.put(&member("alone", alone, &[]));
    let _agent = a.start(&site);
    let place = SocketAddr::new(namespace.inside.parse().expect("an address"), free_port());
    let mut whoami = support::command();
    whoami.args(["whoami", "--listen", &place.to_string(), "--name", "far"]);
    let _whoami = Process::start(namespace.command(&whoami));
    let far = Host {
        name: "host-far",
        engine: Engine::start(),
        web: member("web", place, &[]),
        place,
    };
    far.engine.put(&far.web);
    let mut agent = support::command();
    agent.args(["agent", "--docker", &far.engine.store("")]);
    agent.args(["--store", &store, "--agent", far.name, "--lease", "3s"]);
    let agent = Process::start(namespace.command(&agent));
    agent.wait_for_log("connected: what is announced is written");

    let balancer = Pointsman::builder()
        .store(&site.etcd.spec().to_string())
        .without_certificate()
        .args(&["--timeout-connect", "300ms"])
        .start();
    wait_for_upstreams(&balancer, &[&a, &far], &[]);
    balancer.wait_for_text("web.test", "/", "far");
    let load = Load::default();
    load.http(4, balancer.http(), "alone.test", "alone", PACE);
    load.assert_passes(50, "all are there");

    namespace.cut(true);
    agent.wait_for_log(
        "announcing is interrupted, trying on; what is announced stays until its lease ends",
    );
    wait_for_upstreams(&balancer, &[&a], &[&far]);
    load.assert_passes(200, "a host is cut off");
    for _ in 0..20 {
        assert_eq!(balancer.get("web.test", "/").text(), "host-a");
    }
    println!("the agent that is cut off says:\n{}", agent.log());
    namespace.cut(false);
    wait_for_upstreams(&balancer, &[&a, &far], &[]);
    balancer.wait_for_text("web.test", "/", "far");
    load.finish("a host was cut off and came back");
}
