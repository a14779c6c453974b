//! etcd goes, comes back, comes back as another; pointsman goes while it is away. Traffic goes on.
//!
//! In each case the tables, the health of upstreams, the listeners and the saved file stay as they were
//! until somebody who can be believed says otherwise.
//!
//! `POINTSMAN_OUTAGE_SECONDS` says how long etcd is away (4 without it; the long run has 60).

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use support::client::Client;
use support::etcd::Etcd;
use support::load::Load;
use support::pointsman::{self as program, Builder, Pointsman, Service, local};
use support::relay::{Relay, State};
use support::{free_port, wait_until};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";
const PACE: Duration = Duration::from_millis(5);

/// An etcd that tells of two HTTP services and a TCP one.
struct Site {
    runtime: Runtime,
    etcd: Etcd,
    origins: Load,
    services: [Service; 4],
    tcp_port: u16,
}

/// What must not change while nobody can say what is true.
#[derive(Debug, PartialEq)]
struct Kept {
    dump: String,
    generation: u64,
    saved: String,
    health: Vec<String>,
}

#[test]
fn traffic_goes_on_without_etcd_and_changes_are_followed_when_it_is_back() {
    let mut site = Site::new();
    let mut pointsman = Pointsman::builder().store(&site.store()).start();
    let load = site.traffic(&pointsman);
    let before = kept(&pointsman);
    site.etcd.kill();
    wait_until("the outage is noticed", || !is_connected(&pointsman));
    let away = std::env::var("POINTSMAN_OUTAGE_SECONDS");
    let away: u64 = away.map_or(4, |text| text.parse().expect("a number of seconds"));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(away) {
        load.assert_passes(100, "etcd is away");
        assert_eq!(kept(&pointsman), before, "after {:?}", start.elapsed());
        assert_eq!(pointsman.ready(), 200);
        Client::connect(local(site.tcp_port));
    }
    let told = fails(&["status", "--store", &site.store()]);
    assert!(told.contains(&site.etcd.endpoint()), "{told}");
    assert!(pointsman.is_running());

    site.bring_back();
    wait_until("the store is connected", || is_connected(&pointsman));
    assert_eq!(
        kept(&pointsman),
        before,
        "nothing changed while it was away"
    );
    site.add_a_service(&pointsman);
    let waited = program::run(&["wait", "--store", &site.store()]);
    assert!(waited.status.success(), "{waited:?}");
    let figures = load.finish("etcd came back");
    println!(
        "etcd was away for {:?}: {figures:?}, none failed",
        start.elapsed()
    );
}

#[test]
fn a_node_that_is_killed_while_etcd_is_away_serves_what_it_saved() {
    let mut site = Site::new();
    let mut pointsman = Pointsman::builder().store(&site.store()).start();
    site.traffic(&pointsman).finish("it began");
    let before = pointsman.plan();
    site.etcd.kill();
    pointsman.kill();
    // As if the machine had gone down in the middle of a write: a whole line and half of one, of a
    // change that did not come to its end.
    let path = pointsman.state_dir().join("accepted-pointsman-lb.jsonl");
    let torn = "{\"gone\":{\"name\":\"services/one\"}}\n{\"unit\":{\"name\":\"services/tw";
    let mut file = std::fs::File::options()
        .append(true)
        .open(path)
        .expect("the saved config");
    file.write_all(torn.as_bytes()).expect("write");
    drop(file);

    for start in ["first", "second"] {
        pointsman.start_again();
        pointsman.wait_until_ready();
        let after = pointsman.plan();
        assert_eq!(after.dump, before.dump, "{start} start");
        assert_eq!(after.revision, before.revision, "{start} start");
        assert!(!is_connected(&pointsman));
        site.traffic(&pointsman).finish("it serves what it saved");
        pointsman.kill();
    }

    let lost = "saved config is damaged: these lines of it are left out lines=2 ";
    assert_eq!(
        pointsman.log().matches(lost).count(),
        1,
        "{}",
        pointsman.log()
    );

    // What changed in the meantime is followed: one service came, another one went.
    pointsman.start_again();
    pointsman.wait_until_ready();
    let load = site.traffic(&pointsman);
    site.bring_back();
    site.runtime
        .block_on(site.etcd.delete(&format!("{ROOT}services/spare/")));
    site.add_a_service(&pointsman);
    pointsman.wait_for_status("spare.test", "/", 404);
    load.assert_passes(100, "etcd is back");
}

#[test]
fn what_was_saved_is_read_by_the_habits_that_were_in_force() {
    let keeps = Service::http("web").hosts("web.test").paths("/api");
    let mut pointsman = Pointsman::builder()
        .setting("compat", "kontena")
        // To Kontena this is no `true`, so the path is cut off.
        .service(&keeps.key("keep_virtual_path", "yes"))
        .start();
    let before = pointsman.plan();
    assert!(
        !before.dump.contains("keep_virtual_path"),
        "{}",
        before.dump
    );
    pointsman.kill();
    let keys = pointsman.keys_dir();
    std::fs::rename(&keys, keys.with_extension("away")).expect("take the keys away");
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert_eq!(pointsman.plan().dump, before.dump);
}

#[test]
fn what_was_compacted_while_the_connection_was_cut_is_caught_up_with() {
    let site = Site::new();
    let relay = site.runtime.block_on(Relay::to(site.etcd.endpoint()));
    let store = format!("etcd://{}", relay.endpoint());
    let pointsman = Pointsman::builder().store(&store).start();
    let load = site.traffic(&pointsman);
    let before = kept(&pointsman);
    relay.set(State::Cut);
    wait_until("the cut is noticed", || !is_connected(&pointsman));
    let revision = site.runtime.block_on(async {
        for i in 0..20 {
            let key = format!("{ROOT}services/one/retries");
            site.etcd.put(&key, format!("{}", i % 5 + 1)).await;
        }
        let revision = site.etcd.delete(&format!("{ROOT}services/spare/")).await;
        site.etcd.compact(revision).await;
        revision
    });
    load.assert_passes(100, "the connection is cut");
    assert_eq!(kept(&pointsman), before);
    relay.set(State::Open);
    pointsman.wait_for_revision(revision);
    pointsman.wait_for_status("spare.test", "/", 404);
    site.assert_runs_what_the_keys_say(&pointsman);
    site.add_a_service(&pointsman);
    load.finish("what was compacted is caught up with");
}

#[test]
fn an_etcd_that_comes_back_older_is_believed_and_followed() {
    let mut site = Site::new();
    let pointsman = Pointsman::builder().store(&site.store()).start();
    let load = site.traffic(&pointsman);
    let backup = site.etcd.save();
    // The node's own reports count too: what they add after the restore is far from what was lost.
    site.runtime.block_on(async {
        for i in 0..100 {
            site.etcd.put("/elsewhere", format!("{i}")).await;
        }
    });
    site.add_a_service(&pointsman);
    let newer = pointsman.plan();
    site.etcd.kill();
    site.etcd.restore(&backup);
    site.bring_back();
    pointsman.wait_for_status("new.test", "/", 404);
    let older = pointsman.plan();
    assert!(
        older.revision < newer.revision,
        "{} then {}",
        newer.revision,
        older.revision
    );
    assert!(older.generation > newer.generation);
    site.assert_runs_what_the_keys_say(&pointsman);
    assert!(
        pointsman.log().contains("restored from a backup?"),
        "{}",
        pointsman.log()
    );
    site.add_a_service(&pointsman);
    let waited = program::run(&["wait", "--store", &site.store()]);
    assert!(waited.status.success(), "{waited:?}");
    load.finish("etcd came back older");
}

#[test]
fn a_tree_that_vanishes_is_not_believed_at_once() {
    let site = Site::new();
    let mut pointsman = site.with_grace("10s").start();
    let load = site.traffic(&pointsman);
    let before = kept(&pointsman);
    site.runtime.block_on(site.etcd.delete(ROOT));
    wait_until("the tree is held back", || is_held(&pointsman));
    let held = Instant::now();
    load.assert_passes(100, "the tree is gone");
    assert_eq!(kept(&pointsman), before);
    let words = ["holding it back", "tree has no services"];
    assert!(
        words.iter().all(|word| pointsman.log().contains(word)),
        "{}",
        pointsman.log()
    );

    // A node that starts now is not fooled either.
    pointsman.kill();
    drop(load);
    pointsman.start_again();
    pointsman.wait_until_ready();
    let load = site.traffic(&pointsman);
    wait_until("the tree is held back again", || is_held(&pointsman));
    assert_eq!(pointsman.plan().dump, before.dump);
    // Written anew, without the empty beginning of a first start.
    assert_eq!(
        saved(&pointsman),
        before.saved.trim_start_matches("{\"revision\":0}\n")
    );

    site.fill();
    wait_until("the tree is believed again", || !is_held(&pointsman));
    site.assert_runs_what_the_keys_say(&pointsman);
    load.finish("the keys are back");

    // It was meant: after the grace it is done.
    let again = Instant::now();
    site.runtime.block_on(site.etcd.delete(ROOT));
    wait_until("the tree is held back a third time", || is_held(&pointsman));
    pointsman.wait_for_status("one.test", "/", 404);
    pointsman.wait_for_no_port(site.tcp_port);
    assert!(
        again.elapsed() >= Duration::from_secs(10),
        "{:?}",
        again.elapsed()
    );
    println!(
        "held back for {:?} and {:?}",
        held.elapsed(),
        again.elapsed()
    );
}

#[test]
fn a_tree_that_never_had_services_is_believed_at_every_start() {
    let mut pointsman = Pointsman::builder().setting("retries", "1").start();
    pointsman.kill();
    pointsman.put("settings/retries", "2");
    pointsman.start_again();
    pointsman.wait_until_ready();
    wait_until("the setting is in force", || {
        pointsman.plan().dump.contains("retries: '2'")
    });
    assert!(!is_held(&pointsman));
}

#[test]
fn a_wrong_password_is_told_and_what_was_saved_serves() {
    let site = Site::new();
    let revision = site.runtime.block_on(async {
        let mut client = site.etcd.client().await;
        client.user_add("root", "hush", None).await.expect("user");
        client.role_add("root").await.ok();
        client.user_grant_role("root", "root").await.expect("grant");
        client.auth_enable().await.expect("auth");
        let mut client = site.etcd.client_as("root", "hush").await;
        let key = format!("{ROOT}services/one/retries");
        let put = client.put(key, "2", None).await.expect("put");
        put.header().expect("a header").revision().cast_unsigned()
    });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "wrong\n").expect("write");
    let flag = file.display().to_string();
    let args = ["--etcd-user", "root", "--etcd-password-file", &flag];
    let mut pointsman = Pointsman::builder()
        .store(&site.store())
        .args(&args)
        .without_waiting()
        .start();
    wait_until("the reason is told", || {
        pointsman.log().contains("authentication failed")
    });
    assert_eq!(pointsman.ready(), 503);
    assert!(
        Client::try_connect(pointsman.http()).is_err(),
        "nobody is served from empty tables"
    );
    let told = fails(&[&["plan", "--store", &site.store()], &args[..]].concat());
    assert!(told.contains("authentication failed"), "{told}");
    let told = fails(&["plan", "--store", &site.store(), "--timeout", "1s"]);
    assert!(told.contains("user name is empty"), "{told}");

    pointsman.kill();
    std::fs::write(&file, "hush\n").expect("write");
    pointsman.start_again();
    pointsman.wait_until_ready();
    pointsman.wait_for_revision(revision);
    let before = pointsman.plan();
    pointsman.kill();
    std::fs::write(&file, "wrong\n").expect("write");
    pointsman.start_again();
    pointsman.wait_until_ready();
    wait_until("the status tells the reason", || {
        store_health(&pointsman)["last_error"]
            .to_string()
            .contains("authentication failed")
    });
    assert_eq!(pointsman.plan().dump, before.dump);
    site.traffic(&pointsman).finish("the password is wrong");
}

impl Site {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        let (origins, tcp_port) = (Load::default(), free_port());
        let http = |name: &str, hosts| {
            Service::http(name)
                .hosts(hosts)
                .upstream(origins.origin(name))
        };
        // With checks: the health of upstreams is part of what has to be kept.
        let services = [
            http("one", "one.test"),
            http("two", "*.two.test").upstream(origins.origin("two as well")),
            http("spare", "spare.test"),
            Service::tcp("echo", tcp_port).upstream(origins.echo()),
        ]
        .map(|service| service.without("health_check"));
        let site = Self {
            runtime,
            etcd,
            origins,
            services,
            tcp_port,
        };
        site.fill();
        site
    }

    fn store(&self) -> String {
        self.etcd.spec().to_string()
    }

    fn with_grace(&self, grace: &str) -> Builder {
        Pointsman::builder()
            .store(&self.store())
            .args(&["--empty-grace", grace])
    }

    /// Writes all services.
    fn fill(&self) {
        let keys: Vec<_> = self.services.iter().flat_map(Service::keys).collect();
        self.put_all(keys);
    }

    fn put_all(&self, keys: Vec<(String, &str)>) {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(key, value)| (format!("{ROOT}{key}"), value))
            .collect();
        let changes = keys.iter().map(|(key, value)| (key.as_str(), Some(value)));
        self.runtime.block_on(self.etcd.transact(changes));
    }

    /// Clients of all kinds, after everything they need is up.
    fn traffic(&self, pointsman: &Pointsman) -> Load {
        pointsman.wait_for_text("one.test", "/", "one");
        pointsman.wait_for_text("any.two.test", "/", "two");
        pointsman.wait_for_port(self.tcp_port);
        wait_until("all upstreams are up", || {
            let health = health(pointsman);
            health.len() == 5 && health.iter().all(|line| line.ends_with("up"))
        });
        let load = Load::default();
        load.http(4, pointsman.http(), "one.test", "one", PACE);
        load.http(4, pointsman.http(), "any.two.test", "two", PACE);
        load.flows(10, local(self.tcp_port));
        load.websockets(5, pointsman.http(), "one.test");
        load.assert_passes(50, "it begins");
        load
    }

    fn add_a_service(&self, pointsman: &Pointsman) {
        let service = Service::http("new")
            .hosts("new.test")
            .upstream(self.origins.origin("new"));
        self.put_all(service.keys().collect());
        pointsman.wait_for_text("new.test", "/", "new");
    }

    fn bring_back(&mut self) {
        self.runtime.block_on(self.etcd.run());
    }

    fn assert_runs_what_the_keys_say(&self, pointsman: &Pointsman) {
        let fresh = program::run(&["plan", "--store", &self.store()]);
        assert_eq!(
            pointsman.plan().dump,
            String::from_utf8_lossy(&fresh.stdout)
        );
    }
}

fn kept(pointsman: &Pointsman) -> Kept {
    let running = pointsman.plan();
    Kept {
        dump: running.dump,
        generation: running.generation,
        saved: saved(pointsman),
        health: health(pointsman),
    }
}

fn saved(pointsman: &Pointsman) -> String {
    let path = pointsman.state_dir().join("accepted-pointsman-lb.jsonl");
    std::fs::read_to_string(path).expect("the saved config")
}

/// Service, upstream and health, a line for each.
fn health(pointsman: &Pointsman) -> Vec<String> {
    let status = pointsman.status();
    let services = status["services"].as_array().expect("services");
    let line = |service: &serde_json::Value| -> Vec<String> {
        let upstreams = service["upstreams"].as_array().expect("upstreams").iter();
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let unit = text(&service["unit"]);
        upstreams
            .map(|u| format!("{unit} {} {}", text(&u["name"]), text(&u["health"])))
            .collect()
    };
    services.iter().flat_map(line).collect()
}

fn store_health(pointsman: &Pointsman) -> serde_json::Value {
    pointsman.status()["stores"][0].clone()
}

fn is_connected(pointsman: &Pointsman) -> bool {
    store_health(pointsman)["connected"] == true
}

fn is_held(pointsman: &Pointsman) -> bool {
    store_health(pointsman)["held_since"].is_string()
}

/// What a subcommand says when it cannot do what it should.
fn fails(args: &[&str]) -> String {
    let output = program::run(args);
    assert!(!output.status.success(), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
