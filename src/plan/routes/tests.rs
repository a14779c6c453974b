//! The tables against the documented order, written down as plainly as it can be.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::config::{Balancer, HostPattern, HttpRoutes, PathPattern};
use crate::plan::Plan;
use crate::plan::tests::{Ask, arbitrary_routes, condition, http, kontena, led, routes};
use crate::rules::Facts;

/// One way to a service: `docs/routing.md` has the order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    is_default: bool,
    priority: Reverse<i32>,
    tier: u8,
    /// Exact, wildcard, pattern; a longer wildcard first.
    host: (u8, Reverse<usize>),
    /// Exact first, then the longer, then by segment before raw.
    path: (bool, Reverse<usize>, bool),
    has_no_match: bool,
    name: String,
}

impl Way {
    /// Sorts by what is left of the order with compat kontena: the rest only decides what is stripped.
    fn by_name(&self, other: &Self) -> Ordering {
        let key = |way: &Self| (way.is_default, way.priority, way.tier);
        let name = key(self).cmp(&key(other)).then(self.name.cmp(&other.name));
        name.then(self.host.cmp(&other.host))
            .then(self.path.cmp(&other.path))
    }
}

/// Every way that takes the request.
fn ways(name: &str, routes: &HttpRoutes, ask: &Ask, by_segment: bool) -> Vec<Way> {
    if routes
        .condition
        .as_ref()
        .is_some_and(|c| !c.condition.holds(ask))
    {
        return Vec::new();
    }
    let takes_host = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (*name == ask.host).then_some((0, Reverse(0))),
        HostPattern::Wildcard(suffix) => (ask.host.ends_with(suffix)
            && ask.host.len() > suffix.len())
        .then_some((1, Reverse(suffix.len()))),
    };
    let takes_path = |pattern: &PathPattern| {
        let (key, takes) = match pattern {
            PathPattern::Exact(path) => ((false, Reverse(path.len()), false), *path == ask.path),
            PathPattern::Prefix(path) => {
                let below = match path.ends_with('/') {
                    true => path.clone(),
                    false => format!("{path}/"),
                };
                let takes = match by_segment {
                    true => ask.path == *path || ask.path.starts_with(&below),
                    false => ask.path.starts_with(path),
                };
                ((true, Reverse(path.len()), false), takes)
            }
            PathPattern::Raw(path) => (
                (true, Reverse(path.len()), true),
                ask.path.starts_with(path),
            ),
        };
        takes.then_some(key)
    };
    let mut hosts: Vec<_> = routes.hosts.iter().filter_map(takes_host).collect();
    if let Some(regex) = &routes.host_regex {
        let takes = |pattern| {
            let regex = regex::Regex::new(pattern).unwrap();
            // The patterns of these tests have no shorter alternative.
            regex
                .find(&ask.host)
                .is_some_and(|found| found.len() == ask.host.len())
        };
        if regex.patterns().any(takes) {
            hosts.push((2, Reverse(0)));
        }
    }
    let any_host = routes.hosts.is_empty() && routes.host_regex.is_none();
    let paths: Vec<_> = routes.paths.iter().filter_map(takes_path).collect();
    let way = |tier, host, path| Way {
        is_default: false,
        priority: Reverse(routes.priority),
        tier,
        host,
        path,
        has_no_match: routes.condition.is_none(),
        name: name.to_owned(),
    };
    let nothing = (true, Reverse(0), false);
    let mut ways = Vec::new();
    match (any_host, routes.paths.is_empty()) {
        (true, _) => ways.extend(paths.iter().map(|path| way(2, (0, Reverse(0)), *path))),
        (false, true) => ways.extend(hosts.iter().map(|host| way(1, *host, nothing))),
        (false, false) => {
            let both = hosts
                .iter()
                .flat_map(|h| paths.iter().map(move |p| (*h, *p)));
            ways.extend(both.map(|(host, path)| way(0, host, path)));
        }
    }
    for (host, path) in &routes.redirected {
        let Some(host) = takes_host(host) else {
            continue;
        };
        if path.is_empty() {
            ways.push(way(1, host, nothing));
        } else if let Some(path) = takes_path(&PathPattern::Prefix(path.clone())) {
            ways.push(way(0, host, path));
        }
    }
    if routes.is_default {
        ways.push(Way {
            is_default: true,
            ..way(3, (0, Reverse(0)), nothing)
        });
    }
    ways
}

fn expected(services: &BTreeMap<String, HttpRoutes>, ask: &Ask, is_kontena: bool) -> String {
    let ways = services
        .iter()
        .flat_map(|(name, r)| ways(name, r, ask, !is_kontena));
    let best = match is_kontena {
        false => ways.min(),
        true => ways.min_by(Way::by_name),
    };
    let Some(way) = best else {
        return "none".to_owned();
    };
    let Reverse(prefix) = way.path.1;
    format!("{} {}", way.name, &ask.path[..prefix])
        .trim_end()
        .to_owned()
}

fn arbitrary_ask() -> impl Strategy<Value = Ask> {
    let hosts = [
        "a.com",
        "b.com",
        "x.a.com",
        "y.x.a.com",
        "c.com",
        "a",
        ".a.com",
        "",
    ];
    let paths = [
        "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/a/bb", "/c",
    ];
    let methods = ["GET", "POST"];
    let of = |from: &[&'static str]| prop::sample::select(from.to_vec());
    (of(&hosts), of(&paths), of(&methods)).prop_map(|(host, path, method)| Ask {
        method,
        ..Ask::get(host, path)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_tables_lead_where_the_documented_order_leads(
        services in prop::collection::btree_map("[a-f]", arbitrary_routes(), 0..6),
        asks in prop::collection::vec(arbitrary_ask(), 1..12),
    ) {
        let changes = || services.iter().map(|(name, r)| http(name, r.clone()));
        let plan = Plan::new(Balancer::default()).with(changes());
        let old = kontena(changes().collect());
        for ask in asks {
            prop_assert_eq!(led(&plan, &ask), expected(&services, &ask, false), "{:?}", ask);
            prop_assert_eq!(led(&old, &ask), expected(&services, &ask, true), "kontena {:?}", ask);
        }
    }
}

fn plan(services: Vec<(&str, HttpRoutes)>) -> Plan {
    let changes = services
        .into_iter()
        .map(|(name, routes)| http(name, routes));
    Plan::new(Balancer::default()).with(changes)
}

#[track_caller]
fn check(plan: &Plan, requests: &[(&str, &str, &str)]) {
    for (host, target, expected) in requests {
        let (method, path) = match target.split_once(' ') {
            Some(("POST", path)) => ("POST", path),
            _ => ("GET", *target),
        };
        let ask = Ask {
            method,
            ..Ask::get(host, path)
        };
        assert_eq!(led(plan, &ask), *expected, "{method} {host}{path}");
    }
}

#[test]
fn an_exact_path_goes_over_a_prefix_by_segment_and_that_over_a_raw_one() {
    let p = plan(vec![
        ("a-raw", routes(&[], &["/api*"])),
        ("b-prefix", routes(&[], &["/api"])),
        ("c-exact", routes(&[], &["=/api"])),
        ("d-longer", routes(&[], &["/api/x*"])),
    ]);
    check(
        &p,
        &[
            ("h", "/api", "c-exact /api"),
            ("h", "/api/", "b-prefix /api"),
            ("h", "/apiary", "a-raw /api"),
            ("h", "/api/xyz", "d-longer /api/x"),
            ("h", "/ap", "none"),
        ],
    );
}

#[test]
fn hosts_by_pattern_come_after_wildcards_and_there_the_path_and_then_the_name_decides() {
    let p = plan(vec![
        ("a", routes(&["~.*\\.test"], &[])),
        ("b", routes(&["~[a-z]+\\.shop\\.test"], &[])),
        ("c", routes(&["*.shop.test"], &[])),
        ("d", routes(&["~.*"], &["/x", "/x/y"])),
        ("e", routes(&["~.*\\.test"], &["/x"])),
    ]);
    check(
        &p,
        &[
            ("www.shop.test", "/", "c"),
            ("shop.test", "/", "a"),
            ("www.shop.test", "/x", "d /x"),
            ("www.shop.test", "/x/y/z", "d /x/y"),
            ("other", "/", "none"),
        ],
    );
    // The patterns of those that are gone are gone with them.
    let p = p.with([("services/d".into(), None), ("services/a".into(), None)]);
    check(
        &p,
        &[
            ("www.shop.test", "/x/y", "e /x"),
            ("shop.test", "/", "none"),
        ],
    );
}

#[test]
fn a_higher_priority_wins_whatever_is_more_specific_but_the_default_stays_last() {
    let with = |priority, is_default, routes| HttpRoutes {
        priority,
        is_default,
        ..routes
    };
    let p = plan(vec![
        ("exact", routes(&["h.test"], &["=/x"])),
        ("high", with(1, false, routes(&["~h.*"], &["/"]))),
        ("low", with(-1, false, routes(&["low.test"], &["/x"]))),
        ("path", routes(&[], &["/x"])),
        ("fallback", with(1000, true, routes(&["own.test"], &[]))),
    ]);
    check(
        &p,
        &[
            ("h.test", "/x", "high /"),
            ("low.test", "/x", "path /x"),
            ("low.test", "/x/y", "path /x"),
            ("low.test", "/y", "fallback"),
            ("own.test", "/x", "fallback"),
        ],
    );
    assert!(
        p.dump()
            .contains("priority 1: by pattern / -> services/high"),
        "{}",
        p.dump()
    );
}

#[test]
fn a_service_whose_condition_does_not_hold_is_not_there() {
    let on_post = |routes| HttpRoutes {
        condition: Some(condition("{ method POST }")),
        ..routes
    };
    let p = plan(vec![
        ("a", routes(&["h.test"], &["/x"])),
        ("b", on_post(routes(&["h.test"], &["/x"]))),
        ("c", on_post(routes(&["h.test"], &["/x/y"]))),
        ("d", on_post(routes(&["i.test"], &[]))),
        ("e", on_post(routes(&["*.test"], &[]))),
        ("f", routes(&["~.*t"], &[])),
        (
            "g",
            HttpRoutes {
                is_default: true,
                ..on_post(routes(&["own"], &[]))
            },
        ),
    ]);
    check(
        &p,
        &[
            ("h.test", "/x/y", "a /x"),
            ("h.test", "POST /x/y", "c /x/y"),
            ("h.test", "POST /x", "b /x"),
            ("i.test", "POST /", "d"),
            ("i.test", "/", "f"),
            ("j.test", "POST /", "e"),
            ("j.test", "/", "f"),
            ("else", "POST /", "g"),
            ("else", "/", "none"),
        ],
    );
    assert!(
        p.dump()
            .contains("h.test /x -> services/b if it matches over services/a")
    );
}

#[test]
fn facts_beyond_host_and_path_are_looked_at_only_for_a_claimant_with_a_condition() {
    struct Blind;
    impl Facts for Blind {
        fn host(&self) -> &[u8] {
            b"h.test"
        }
        fn path(&self) -> &[u8] {
            b"/x"
        }
        fn method(&self) -> &[u8] {
            panic!("looked")
        }
        fn query(&self) -> &[u8] {
            panic!("looked")
        }
        fn version(&self) -> &str {
            panic!("looked")
        }
        fn client(&self) -> std::net::SocketAddr {
            panic!("looked")
        }
        fn listener(&self) -> std::net::SocketAddr {
            panic!("looked")
        }
        fn is_tls(&self) -> bool {
            panic!("looked")
        }
        fn request_id(&self) -> &[u8] {
            panic!("looked")
        }
        fn status(&self) -> u16 {
            panic!("looked")
        }
        fn each_field(&self, _: crate::rules::Side, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) {
            panic!("looked")
        }
    }
    let on_post = HttpRoutes {
        condition: Some(condition("{ method POST }")),
        ..routes(&["other.test"], &[])
    };
    let p = plan(vec![("a", routes(&["h.test"], &["/x"])), ("b", on_post)]);
    assert_eq!(p.route(&Blind).unwrap().service.config.name.as_str(), "a");
}
