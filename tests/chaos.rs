//! A thousand changes under moving traffic: what stays is not touched, what runs is what the keys say.
//!
//! Keys change at random, in transactions, bad values among them, while clients ask without a pause and
//! a hundred TCP flows and upgraded connections stay open. After each change the tables that run
//! are compared with tables built at once: from the saved texts always, and from the keys by `pointsman
//! plan` whenever nothing is refused.
//!
//! `POINTSMAN_CHAOS_CHANGES` says how many changes (150 without it; the long run has 1,000) and
//! `POINTSMAN_CHAOS_SEED` which ones; the seed is printed.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use pointsman::config::{self, Balancer, Unit};
use pointsman::names::UnitName;
use pointsman::plan::Plan;
use support::etcd::Etcd;
use support::load::Load;
use support::pointsman::{self as program, Pointsman, Service};
use support::{LIMIT, free_port};

const ROOT: &str = "/pointsman/lb/";

/// Of a round, so many changes may hold bad values; then all is healed, and the rest is good.
const ROUND: usize = 20;
const BAD_UNTIL: usize = 12;

#[test]
fn random_changes_harm_no_traffic_and_lead_where_a_full_build_leads() {
    let changes = number("POINTSMAN_CHAOS_CHANGES").unwrap_or(150) as usize;
    let seed = number("POINTSMAN_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{changes} changes of seed {seed}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut etcd = runtime.block_on(Etcd::start());
    let load = Load::default();
    let mut world = World::new(seed, &load);
    runtime.block_on(etcd.transact(world.everything()));
    let store = etcd.spec().to_string();
    let mut pointsman = Pointsman::builder().store(&store).start();
    let http = pointsman.http();
    world.reserved = [http.port(), pointsman.stats().port()];

    let pace = Duration::from_millis(5);
    load.http(10, http, "one.stable", "one", pace);
    load.http(10, http, "any.two.stable", "two", pace);
    load.http(10, http, "three.stable", "three", pace);
    pointsman.wait_for_port(world.flow_port);
    load.flows(60, program::local(world.flow_port));
    load.websockets(40, http, "socket.stable");

    let mut seen = Seen::default();
    let started = Instant::now();
    for number in 1..=changes {
        let batch = world.change(number % ROUND);
        let shown = show(&batch);
        let when = format!("change {number} of seed {seed} was made:\n{shown}");
        let revision = runtime.block_on(
            etcd.transact(
                batch
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_ref())),
            ),
        );
        let at = Instant::now();
        pointsman.wait_for_revision(revision);
        seen.slowest = seen.slowest.max(at.elapsed());
        let running = pointsman.plan();
        assert_is_what_was_saved(&pointsman, &running.dump, &when);
        let refused = refused(&pointsman);
        world.assert_refused(&refused, &when);
        seen.refused += refused.len();
        if refused.is_empty() {
            seen.full += 1;
            let fresh = program::run(&["plan", "--store", &store]);
            let fresh = String::from_utf8_lossy(&fresh.stdout).into_owned();
            assert_same(
                "what runs",
                &running.dump,
                "what `plan` prints",
                &fresh,
                &when,
            );
        }
        load.assert_unharmed(&when);
    }
    load.assert_passes(100, "all changes were made");
    let last = pointsman.plan();
    let figures = load.finish("all changes were made");
    println!(
        "{changes} changes in {:?} (slowest put to swap {:?}), {} generations, {} refusals seen, {} \
         compared with `pointsman plan`; {} requests and {} echoes passed, none failed",
        started.elapsed(),
        seen.slowest,
        last.generation,
        seen.refused,
        seen.full,
        figures.requests,
        figures.echoes,
    );
    assert!(
        seen.full > changes / 5,
        "too few states were compared: {}",
        seen.full
    );
    assert!(
        seen.refused > 0 || changes < ROUND,
        "bad values were refused"
    );

    // What it saved is where it begins when nobody else can tell it.
    etcd.kill();
    pointsman.kill();
    pointsman.start_again();
    pointsman.wait_until_ready();
    let again = pointsman.plan().dump;
    let when = "it started from the saved config";
    assert_same("what runs", &again, "what ran before", &last.dump, when);
}

#[derive(Default)]
struct Seen {
    refused: usize,
    full: usize,
    slowest: Duration,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
    )
}

/// The saved texts, built at once, are the tables that run. The file is written behind the swap.
fn assert_is_what_was_saved(pointsman: &Pointsman, running: &str, when: &str) {
    let path = pointsman.state_dir().join("accepted-pointsman-lb.jsonl");
    let start = Instant::now();
    let mut built = full_build(&path);
    while built != running && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
        built = full_build(&path);
    }
    assert_same("what runs", running, "what was saved", &built, when);
}

/// Panics with the lines that only one of two dumps has.
fn assert_same(a: &str, left: &str, b: &str, right: &str, when: &str) {
    let only = |this: &str, that: &str, name: &str| -> String {
        let that: Vec<_> = that.lines().collect();
        let lines = this.lines().filter(|line| !that.contains(line));
        lines.map(|line| format!("only {name}: {line}\n")).collect()
    };
    assert!(
        left == right,
        "{a} is not {b} after {when}\n{}{}\n{left}",
        only(left, right, a),
        only(right, left, b)
    );
}

/// Every unit that is in the saved file, compiled from nothing.
fn full_build(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("the saved config");
    let mut units = BTreeMap::new();
    let mut batch = Vec::new();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let name = |kind: &str| line[kind]["name"].as_str().map(str::to_owned);
        if let Some(unit) = name("unit") {
            batch.push((unit, line["unit"]["text"].as_str().map(str::to_owned)));
        } else if let Some(unit) = name("gone") {
            batch.push((unit, None));
        } else {
            units.extend(batch.drain(..));
        }
    }
    let mut defaults = Balancer::default();
    if let Some(Some(text)) = units.get("balancer")
        && let Ok(accepted) = config::parse(&"balancer".into(), text, &defaults)
        && let Unit::Balancer(balancer) = accepted.unit
    {
        // Whose habits hold decides how services are read.
        defaults.compat = balancer.compat;
    }
    let changes = units.into_iter().filter_map(|(name, text)| {
        let unit = UnitName::from(name.as_str());
        let text = text?;
        let form = match config::parse(&unit, &text, &defaults) {
            Ok(accepted) => Some(accepted.for_serving().unit),
            // One that asks who comes, and was refused, stands there closed.
            Err(_) => config::closed(&unit, &text, &defaults),
        };
        let form = form.unwrap_or_else(|| panic!("{name} was saved: {text}"));
        Some((unit, Some(form)))
    });
    Plan::new(Balancer::default()).with(changes).dump()
}

/// Refused units, and whether only another service's port stands in the way.
fn refused(pointsman: &Pointsman) -> BTreeMap<String, bool> {
    let status = pointsman.status();
    let refused = status["refused"].as_array().expect("a list").iter();
    let entry = |refusal: &serde_json::Value| {
        let codes = refusal["diagnostics"].as_array().expect("a list");
        let is_port = codes.iter().all(|d| d["code"] == "port-conflict");
        (
            refusal["unit"].as_str().expect("a unit").to_owned(),
            is_port,
        )
    };
    refused.map(entry).collect()
}

type Batch = BTreeMap<String, Option<Vec<u8>>>;

fn show(batch: &Batch) -> String {
    let line = |(key, value): (&String, &Option<Vec<u8>>)| match value {
        Some(value) => format!(
            "put {key} {:?}",
            String::from_utf8_lossy(&value[..value.len().min(200)])
        ),
        None => format!("delete {key}"),
    };
    batch.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The keys as they are, and what may become of them.
struct World {
    rng: Rng,
    keys: BTreeMap<String, Vec<u8>>,
    /// Keys whose value is wrong, each of which refuses its unit.
    bad: BTreeSet<String>,
    /// Live origins for services that nobody asks.
    origins: Vec<SocketAddr>,
    /// Origins of the services that are asked, by name: the first always serves, others come and go.
    stable: BTreeMap<&'static str, Vec<SocketAddr>>,
    ports: Vec<u16>,
    flow_port: u16,
    reserved: [u16; 2],
    /// Of the batch that is being made.
    may_be_bad: bool,
    batch: Batch,
}

impl World {
    fn new(seed: u64, load: &Load) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            keys: BTreeMap::new(),
            bad: BTreeSet::new(),
            origins: (0..4).map(|i| load.origin(&format!("other-{i}"))).collect(),
            stable: BTreeMap::new(),
            ports: (0..8).map(|_| free_port()).collect(),
            flow_port: free_port(),
            reserved: [0; 2],
            may_be_bad: false,
            batch: Batch::new(),
        };
        for (name, hosts) in [
            ("one", "one.stable"),
            ("two", "*.two.stable"),
            ("three", "www.stable, three.stable"),
            ("socket", "socket.stable"),
        ] {
            let origins: Vec<_> = (0..3)
                .map(|i| load.origin(&format!("{name}-{i}")))
                .collect();
            world.begin_with(&Service::http(name).hosts(hosts).upstream(origins[0]));
            world.stable.insert(name, origins);
        }
        let echoes: Vec<_> = (0..3).map(|_| load.echo()).collect();
        world.begin_with(&Service::tcp("flow", world.flow_port).upstream(echoes[0]));
        world.stable.insert("flow", echoes);
        world
    }

    fn begin_with(&mut self, service: &Service) {
        for (key, value) in service.keys() {
            self.keys.insert(key, value.into());
        }
    }

    fn everything(&self) -> Vec<(&'static str, Option<&[u8]>)> {
        // A test makes one world: its few first keys may live as long as it does.
        let leak = |key: &str| -> &'static str { format!("{ROOT}{key}").leak() };
        self.keys
            .iter()
            .map(|(key, value)| (leak(key), Some(value.as_slice())))
            .collect()
    }

    /// The next transaction. `turn` counts within a round.
    fn change(&mut self, turn: usize) -> Batch {
        self.may_be_bad = (1..=BAD_UNTIL).contains(&turn);
        let there = self.keys.clone();
        if !self.may_be_bad {
            self.heal();
        }
        loop {
            for _ in 0..self.rng.usize(1..=4) {
                self.one_step();
            }
            let mut batch = std::mem::take(&mut self.batch);
            // What came and went within it was never there: a transaction of nothing else would
            // change nothing, and have no revision of its own to wait for.
            batch.retain(|key, value| value.is_some() || there.contains_key(key));
            if !batch.is_empty() {
                return batch
                    .into_iter()
                    .map(|(k, v)| (format!("{ROOT}{k}"), v))
                    .collect();
            }
        }
    }

    fn one_step(&mut self) {
        match self.rng.u32(..100) {
            0..15 => self.replace_service(),
            15..25 => self.remove_service(),
            25..45 => self.change_service(),
            45..60 => self.change_upstreams(),
            60..75 => self.change_tcp_service(),
            75..92 => self.touch_stable_service(),
            _ => self.change_setting(),
        }
    }

    fn replace_service(&mut self) {
        let dir = self.any_service();
        self.clear(&dir);
        for _ in 0..self.rng.usize(1..4) {
            self.put_upstream(&dir);
        }
        for _ in 0..self.rng.usize(0..5) {
            self.put_field(&dir);
        }
    }

    fn remove_service(&mut self) {
        let dir = if self.rng.u32(..4) == 0 {
            self.any_tcp_service()
        } else {
            self.any_service()
        };
        self.clear(&dir);
    }

    fn change_service(&mut self) {
        let dir = self.any_service();
        if self.rng.u32(..4) == 0 {
            let keys = self.under(&dir);
            if let Some(key) = self.choose(&keys) {
                self.delete(&key);
            }
        } else {
            self.put_field(&dir);
        }
    }

    fn change_upstreams(&mut self) {
        let dir = if self.rng.u32(..3) == 0 {
            self.any_tcp_service()
        } else {
            self.any_service()
        };
        let there = self.under(&format!("{dir}/upstreams"));
        match self.choose(&there) {
            Some(key) if self.rng.bool() => self.delete(&key),
            // A TCP service without a port of its own would take the default one.
            _ if dir.starts_with("tcp-") && self.under(&dir).is_empty() => {}
            _ => self.put_upstream(&dir),
        }
    }

    fn change_tcp_service(&mut self) {
        let dir = self.any_tcp_service();
        let port = self.free_or_any_port(&dir);
        if let Some(port) = port {
            self.put(&format!("{dir}/external_port"), port.to_string());
        }
        if self.under(&dir).is_empty() {
            return;
        }
        let key = match self.rng.u32(..8) {
            0 => return self.put_bad(&dir, "external_port", &["0", "99999", "many"]),
            1 => return self.put_bad(&dir, "balance", &["leastcom"]),
            2 => "health_check",
            3 => "retries",
            4 => "timeout_tunnel",
            _ => return self.put_upstream(&dir),
        };
        let value = self.good_value(key);
        self.put(&format!("{dir}/{key}"), value);
    }

    /// Changes that the traffic through a service must not notice: what serves goes on serving.
    fn touch_stable_service(&mut self) {
        let names: Vec<_> = self.stable.keys().copied().collect();
        let name = *self.rng.choice(&names).expect("some names");
        let dir = if name == "flow" {
            "tcp-services/flow".into()
        } else {
            format!("services/{name}")
        };
        let origins = self.stable[name].clone();
        match self.rng.u32(..10) {
            0..4 => {
                let which = self.rng.usize(1..origins.len());
                let key = format!("{dir}/upstreams/more-{which}");
                if self.keys.contains_key(&key) && self.rng.bool() {
                    self.delete(&key);
                } else {
                    let weight = self.rng.u32(0..5);
                    self.put(&key, format!("{} weight={weight}", origins[which]));
                }
            }
            4..6 => {
                let weight = self.rng.u32(1..10);
                self.put(
                    &format!("{dir}/upstreams/a"),
                    format!("{} weight={weight}", origins[0]),
                );
            }
            6 => self.put_bad(&dir, "retries", &["-1", "often"]),
            7 => self.put_bad(&dir, "upstreams/more-2", &["localhost:http", "127.0.0.1:0"]),
            _ => {
                let field =
                    self.rng
                        .choice(["balance", "health_check", "retries", "timeout_server"]);
                let field = field.expect("some fields");
                let value = self.good_value(field);
                self.put(&format!("{dir}/{field}"), value);
            }
        }
    }

    fn change_setting(&mut self) {
        let seconds = self.rng.u32(10..60);
        let (name, value) = match self.rng.u32(..9) {
            0 => (
                "compat",
                self.rng
                    .choice(["kontena", "pointsman"])
                    .expect("two")
                    .to_owned(),
            ),
            1 => ("timeout_server", format!("{seconds}s")),
            2 => ("timeout_idle", format!("{seconds}s")),
            // Short, so that flows would be cut within the test if they were to be cut at all.
            3 => ("timeout_drain", format!("{}s", seconds / 10)),
            4 => ("retries", self.rng.u32(1..5).to_string()),
            5 => ("max_connections", self.rng.u32(5_000..50_000).to_string()),
            6 => ("trusted_proxies", "10.0.0.0/8".to_owned()),
            7 => return self.put_bad("settings", "timeout_connect", &["soon", "5 fortnights"]),
            _ => return self.put_bad("settings", "trusted_proxies", &["everybody"]),
        };
        if self.rng.u32(..3) == 0 {
            self.delete(&format!("settings/{name}"));
        } else {
            self.put(&format!("settings/{name}"), value);
        }
    }

    fn put_field(&mut self, dir: &str) {
        match self.rng.u32(..14) {
            0 => self.put_bad(dir, "balance", &["leastcom", "\u{fffd}"]),
            1 => self.put_bad(
                dir,
                "virtual_hosts",
                &["a b.test", "a*.test", "http://a.test"],
            ),
            2 => self.put_bad(dir, "virtual_path", &["api", "/a b", "/a?b"]),
            3 => self.put_bad(
                dir,
                "upstreams/x",
                &["localhost:http", "10.0.0.1:0", "10.0.0.1"],
            ),
            4 => self.put_bad(dir, "basic_auth_secrets", &["user admin password x", ""]),
            // Invalid UTF-8.
            5 => self.put_bad_bytes(dir, "balance", vec![0xff, 0xfe]),
            _ => {
                let field = self.rng.choice([
                    "balance",
                    "virtual_hosts",
                    "virtual_path",
                    "keep_virtual_path",
                    "default",
                    "health_check",
                    "retries",
                    "timeout_server",
                    "max_connections",
                    "cookie",
                    "nonsense",
                ]);
                let field = field.expect("some fields");
                let value = self.good_value(field);
                self.put(&format!("{dir}/{field}"), value);
            }
        }
    }

    fn good_value(&mut self, field: &str) -> String {
        let rng = &mut self.rng;
        let mut some = |words: &[&str]| {
            let count = rng.usize(1..=2);
            let words = rng.choose_multiple(words, count);
            words.into_iter().copied().collect::<Vec<_>>().join(", ")
        };
        match field {
            "virtual_hosts" => some(&[
                "a.test",
                "b.test",
                "*.c.test",
                "*.x.c.test",
                "D.Test.",
                "[::1]",
            ]),
            "virtual_path" => some(&["/", "/api", "/api/v1", "/apiary", "/x/"]),
            "balance" => rng
                .choice(["roundrobin", "source", "LeastConn", "leastcon", "random"])
                .expect("words")
                .to_owned(),
            "keep_virtual_path" | "default" => {
                rng.choice(["true", "false"]).expect("words").to_owned()
            }
            "health_check" => rng.choice(["off", "tcp"]).expect("words").to_owned(),
            "retries" => rng.u32(1..6).to_string(),
            "timeout_server" => format!("{}s", rng.u32(10..60)),
            "timeout_tunnel" => format!("{}m", rng.u32(10..60)),
            "max_connections" => rng.choice(["none", "100", "7"]).expect("words").to_owned(),
            "cookie" => rng
                .choice(["", "SRV insert indirect", "cookie S prefix nocache"])
                .expect("words")
                .to_owned(),
            _ => "something".to_owned(),
        }
    }

    fn put_upstream(&mut self, dir: &str) {
        let origin = *self.rng.choice(&self.origins).expect("some origins");
        let address = match self.rng.u32(..5) {
            // Nobody is there.
            0 => "127.0.0.1:9".to_owned(),
            1 => format!("{origin} weight={}", self.rng.u32(0..=256)),
            _ => origin.to_string(),
        };
        let name = self.rng.u32(..4);
        self.put(&format!("{dir}/upstreams/u{name}"), address);
    }

    fn put(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.bad.remove(key);
        self.keys.insert(key.to_owned(), value.clone());
        self.batch.insert(key.to_owned(), Some(value));
    }

    fn put_bad(&mut self, dir: &str, key: &str, values: &[&str]) {
        let value = *self.rng.choice(values).expect("some values");
        self.put_bad_bytes(dir, key, value.as_bytes().to_vec());
    }

    fn put_bad_bytes(&mut self, dir: &str, key: &str, value: Vec<u8>) {
        if self.may_be_bad && self.bad.len() < 8 {
            let key = format!("{dir}/{key}");
            self.put(&key, value);
            self.bad.insert(key);
        }
    }

    /// Deletes a key if it is there.
    fn delete(&mut self, key: &str) {
        self.bad.remove(key);
        if self.keys.remove(key).is_some() {
            self.batch.insert(key.to_owned(), None);
        }
    }

    fn clear(&mut self, dir: &str) {
        for key in self.under(dir) {
            self.delete(&key);
        }
    }

    /// Takes back what is bad, and gives every TCP service a port for itself.
    fn heal(&mut self) {
        for key in std::mem::take(&mut self.bad) {
            self.delete(&key);
        }
        let mut taken = BTreeSet::new();
        for dir in (0..6).map(|i| format!("tcp-services/t{i}")) {
            if self.under(&dir).is_empty() {
                continue;
            }
            let key = format!("{dir}/external_port");
            let port = self
                .keys
                .get(&key)
                .and_then(|v| String::from_utf8_lossy(v).parse().ok());
            if port.is_some_and(|port: u16| taken.insert(port)) {
                continue;
            }
            let free = self
                .ports
                .iter()
                .copied()
                .find(|port| !taken.contains(port));
            let free = free.expect("more ports than services");
            taken.insert(free);
            self.put(&key, free.to_string());
        }
    }

    /// A port for a TCP service: any while values may be bad, so that two may want the same.
    fn free_or_any_port(&mut self, dir: &str) -> Option<u16> {
        let own = format!("{dir}/external_port");
        let is_taken = |port: &u16| {
            let text = port.to_string().into_bytes();
            self.keys
                .iter()
                .any(|(k, v)| k.ends_with("/external_port") && *k != own && *v == text)
        };
        let free: Vec<_> = self
            .ports
            .iter()
            .copied()
            .filter(|port| !is_taken(port))
            .collect();
        let from = if self.may_be_bad { &self.ports } else { &free };
        let port = self.rng.choice(from).copied();
        assert!(port.is_none_or(|port| !self.reserved.contains(&port)));
        port
    }

    fn under(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{dir}/");
        self.keys
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn choose(&mut self, from: &[String]) -> Option<String> {
        self.rng.choice(from).cloned()
    }

    fn any_service(&mut self) -> String {
        format!("services/s{}", self.rng.u32(..16))
    }

    fn any_tcp_service(&mut self) -> String {
        format!("tcp-services/t{}", self.rng.u32(..6))
    }

    /// Every unit with a bad key is refused, and no other, except for a port that another one has.
    fn assert_refused(&self, refused: &BTreeMap<String, bool>, when: &str) {
        let unit = |key: &String| match key.split('/').collect::<Vec<_>>()[..] {
            ["settings", ..] => "balancer".to_owned(),
            [tree, name, ..] => format!("{tree}/{name}"),
            _ => key.clone(),
        };
        let wanted: BTreeSet<_> = self.bad.iter().map(unit).collect();
        for unit in &wanted {
            assert!(
                refused.contains_key(unit),
                "{unit} is not refused after {when}"
            );
        }
        for (unit, is_port) in refused {
            let excused = *is_port && unit.starts_with("tcp-services/");
            assert!(
                wanted.contains(unit) || excused,
                "{unit} is refused after {when}"
            );
        }
    }
}
