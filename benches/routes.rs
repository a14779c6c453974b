//! What leading one request to its service costs among ten thousand, in nanoseconds of one core.
//!
//! `cargo bench --bench routes`. Prints the best of several rounds, which is what repeats. With a case's
//! name behind `--` only that one is run, a million times: `valgrind --tool=callgrind` and `perf stat`
//! count its instructions so.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use pointsman::config::{Balancer, parse};
use pointsman::names::UnitName;
use pointsman::plan::{Change, Plan};
use pointsman::rules::{Facts, Side};

const SERVICES: usize = 10_000;

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let hosts = |n| format!("virtual_hosts: 'www.shop-{n}.example.com'");
    let paths = |n| format!("{}\n  virtual_path: '/api'", hosts(n));
    let names = plan((0..SERVICES).map(hosts));
    let mixed = plan((0..SERVICES).map(|n| match n % 3 {
        0 => hosts(n),
        1 => paths(n),
        _ => format!("virtual_hosts: '*.shop-{n}.example.com'"),
    }));
    let pattern = r"virtual_host_regex: '(www|api)\.brand-[0-9]+\.test'".to_owned();
    let mut with_pattern = plan((0..SERVICES).map(hosts));
    with_pattern = with_pattern.with([change("pattern", &pattern)]);

    let cases = [
        ("host", &names, "www.shop-4711.example.com", "/api/items"),
        ("host-of-mixed", &mixed, "www.shop-4710.example.com", "/api"),
        ("path", &mixed, "www.shop-4711.example.com", "/api/items/7"),
        (
            "wildcard",
            &mixed,
            "a.b.shop-4712.example.com",
            "/api/items",
        ),
        ("nobody", &mixed, "www.shop-x.example.com", "/api/items"),
        (
            "host-beside-pattern",
            &with_pattern,
            "www.shop-4711.example.com",
            "/",
        ),
        ("pattern", &with_pattern, "www.brand-7.test", "/"),
    ];
    for (name, plan, host, path) in cases {
        let asked = Asked { host, path };
        let once = || black_box(plan.route(black_box(&asked))).is_some();
        assert_eq!(once(), name != "nobody", "{name}");
        match &only {
            None => measure(name, once),
            Some(only) if only == name => {
                assert!((0..1_000_000).all(|_| once() || name == "nobody"))
            }
            Some(_) => {}
        }
    }
}

fn plan(services: impl Iterator<Item = String>) -> Plan {
    let changes = services
        .enumerate()
        .map(|(n, lines)| change(&format!("s{n}"), &lines));
    Plan::new(Balancer::default()).with(changes)
}

fn change(name: &str, lines: &str) -> Change {
    let unit = UnitName::from(format!("services/{name}").as_str());
    let text = format!("service:\n  name: {name}\n  {lines}\n");
    let accepted = parse(&unit, &text, &Balancer::default()).expect("a good text");
    (unit, Some(accepted.unit))
}

fn measure(what: &str, mut once: impl FnMut() -> bool) {
    const ROUNDS: u32 = 20;
    const CALLS: u32 = 100_000;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            once();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{what:<45} {best:8.1} ns");
}

/// A request that is nothing but a host and a path.
struct Asked {
    host: &'static str,
    path: &'static str,
}

impl Facts for Asked {
    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn query(&self) -> &[u8] {
        b""
    }

    fn version(&self) -> &str {
        "1.1"
    }

    fn client(&self) -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn listener(&self) -> SocketAddr {
        ([127, 0, 0, 1], 80).into()
    }

    fn is_tls(&self) -> bool {
        false
    }

    fn request_id(&self) -> &[u8] {
        b""
    }

    fn status(&self) -> u16 {
        0
    }

    fn each_field(&self, _side: Side, _name: &str, _visit: &mut dyn FnMut(&[u8]) -> bool) {}
}
