//! Routing sentences one by one, and the two laws of plans as properties.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use crate::balance::Health;
use crate::config::*;
use crate::names::UnitName;
use crate::plan::{Change, Plan};
use crate::rules::{Facts, Side};
use crate::tls;
use crate::tls::tests::certs::Leaf;

/// A host that begins with `~` is a pattern.
pub(super) fn routes(hosts: &[&str], paths: &[&str]) -> HttpRoutes {
    let patterns: Vec<&str> = hosts.iter().filter_map(|h| h.strip_prefix('~')).collect();
    let regex = || Arc::new(HostRegex::new(&patterns).unwrap());
    let names = hosts.iter().filter(|h| !h.starts_with('~'));
    let names = names.map(|h| match h.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact((*h).to_owned()),
    });
    let paths = paths.iter().map(|path| {
        if let Some(exact) = path.strip_prefix('=') {
            PathPattern::Exact(exact.to_owned())
        } else if let Some(raw) = path.strip_suffix('*') {
            PathPattern::Raw(raw.to_owned())
        } else {
            PathPattern::Prefix((*path).to_owned())
        }
    });
    HttpRoutes {
        hosts: names.collect(),
        host_regex: (!patterns.is_empty()).then(regex),
        paths: paths.collect(),
        ..HttpRoutes::default()
    }
}

pub(super) fn condition(text: &str) -> Arc<RouteCondition> {
    Arc::new(RouteCondition {
        text: text.to_owned(),
        condition: haproxy::condition(text).unwrap(),
    })
}

fn service(name: &str, hosts: &[&str], paths: &[&str]) -> Change {
    http(name, routes(hosts, paths))
}

pub(super) fn http(name: &str, routes: HttpRoutes) -> Change {
    change(name, Mode::Http(routes), &[])
}

fn change(name: &str, mode: Mode, upstreams: &[(&str, &str)]) -> Change {
    let dir = if matches!(mode, Mode::Http(_)) {
        "services"
    } else {
        "tcp-services"
    };
    let upstreams = upstreams.iter().map(|(name, address)| Upstream {
        name: (*name).into(),
        address: match address.strip_prefix("srv:") {
            Some(name) => Address::Srv(name.into()),
            None => match address.parse() {
                Ok(address) => Address::At(address),
                Err(_) => {
                    let (name, port) = address.rsplit_once(':').unwrap();
                    Address::Named(name.into(), port.parse().unwrap())
                }
            },
        },
        weight: 1,
    });
    let service = Service {
        name: name.into(),
        mode,
        balance: None,
        upstreams: upstreams.collect(),
        health_check: HealthCheck::default(),
        warm_up: None,
        timeouts: ServiceTimeouts::default(),
        retries: None,
        max_connections: None,
        max_queue: None,
        send_proxy: None,
        upstream_tls: None,
        access_log: true,
        policy: None,
    };
    (
        format!("{dir}/{name}").as_str().into(),
        Some(Unit::Service(service)),
    )
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan::new(Balancer::default()).with(changes)
}

pub(super) fn kontena(changes: Vec<Change>) -> Plan {
    let defaults = Balancer {
        compat: Compat::Kontena,
        ..Balancer::default()
    };
    Plan::new(defaults).with(changes)
}

/// A request for a host and a path, by `GET` unless told otherwise.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) method: &'static str,
}

impl Ask {
    pub(super) fn get(host: &str, path: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            method: "GET",
        }
    }
}

impl Facts for Ask {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
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

/// `<name> <what matched of the path>`, or `none`.
pub(super) fn led(plan: &Plan, ask: &Ask) -> String {
    let found = plan.route(ask).map_or("none".to_owned(), |m| {
        format!("{} {}", m.service.config.name, &ask.path[..m.prefix])
    });
    found.trim_end().to_owned()
}

#[track_caller]
fn check(plan: &Plan, requests: &[(&str, &str, &str)]) {
    for (host, path, expected) in requests {
        let led = led(plan, &Ask::get(host, path));
        assert_eq!(led, *expected, "{host}{path}");
    }
}

#[test]
fn host_and_path_goes_over_host_and_host_over_path() {
    let p = plan(vec![
        service("a-path", &[], &["/api"]),
        service("b-host", &["foo.com"], &[]),
        service("c-both", &["foo.com"], &["/api"]),
    ]);
    check(
        &p,
        &[
            ("foo.com", "/api/x", "c-both /api"),
            ("foo.com", "/other", "b-host"),
            ("bar.com", "/api", "a-path /api"),
            ("bar.com", "/", "none"),
        ],
    );
}

#[test]
fn exact_hosts_go_over_wildcards_and_longer_wildcards_over_shorter() {
    let p = plan(vec![
        service("a", &["*.com"], &[]),
        service("b", &["*.foo.com"], &[]),
        service("c", &["www.foo.com"], &[]),
    ]);
    check(
        &p,
        &[
            ("www.foo.com", "/", "c"),
            ("x.foo.com", "/", "b"),
            ("x.y.foo.com", "/", "b"),
            ("foo.com", "/", "a"),
            (".foo.com", "/", "a"),
            ("com", "/", "none"),
        ],
    );
}

#[test]
fn a_path_of_a_wildcard_goes_over_an_exact_host_without_path() {
    let p = plan(vec![
        service("exact", &["a.foo.com"], &[]),
        service("wild", &["*.foo.com"], &["/api"]),
    ]);
    check(
        &p,
        &[
            ("a.foo.com", "/api", "wild /api"),
            ("a.foo.com", "/", "exact"),
        ],
    );
}

#[test]
fn the_longest_prefix_wins_and_prefixes_end_with_segments() {
    let p = plan(vec![
        service("a", &[], &["/"]),
        service("b", &[], &["/api"]),
        service("c", &[], &["/api/v2/"]),
    ]);
    check(
        &p,
        &[
            ("h", "/", "a /"),
            ("h", "/apiary", "a /"),
            ("h", "/api", "b /api"),
            ("h", "/api/v2", "b /api"),
            ("h", "/api/v2/", "c /api/v2/"),
            ("h", "/api/v2/x", "c /api/v2/"),
        ],
    );
}

#[test]
fn kontena_compares_raw_strings_and_the_first_name_wins_inside_a_tier() {
    let p = kontena(vec![
        service("b", &[], &["/api"]),
        service("c", &[], &["/api/v2", "/api/v2/x"]),
        service("d", &["*.bar.com"], &[]),
        service("e", &["test.bar.com"], &[]),
        service("f", &["both.com"], &["/x"]),
    ]);
    check(
        &p,
        &[
            ("h", "/apiary", "b /api"),
            ("h", "/api/v2/x", "b /api"),
            ("test.bar.com", "/", "d"),
            ("test.bar.com", "/api", "d"),
            ("both.com", "/xyz", "f /x"),
        ],
    );
}

#[test]
fn of_two_claimants_the_first_name_has_the_route_and_the_other_inherits_it() {
    let p = plan(vec![
        service("b", &["h.com"], &[]),
        service("a", &["h.com"], &[]),
    ]);
    check(&p, &[("h.com", "/", "a")]);
    let p = p.with([("services/a".into(), None)]);
    check(&p, &[("h.com", "/", "b")]);
}

#[test]
fn the_default_service_takes_what_no_route_takes() {
    let fallback = HttpRoutes {
        is_default: true,
        ..routes(&["own.com"], &[])
    };
    let p = plan(vec![
        http("fallback", fallback),
        service("a", &["h.com"], &["/x"]),
    ]);
    check(
        &p,
        &[
            ("other.com", "/", "fallback"),
            ("h.com", "/", "fallback"),
            ("h.com", "/x", "a /x"),
        ],
    );
}

#[test]
fn hosts_that_are_redirected_lead_to_the_service_beside_its_own_routes() {
    let redirected = |name: &str, hosts: &[&str], paths: &[&str], from: &[(&str, &str)]| {
        let from = from.iter().map(|(host, path)| {
            let host = HostPattern::Exact((*host).to_owned());
            (host, (*path).to_owned())
        });
        let redirected = from.collect();
        http(
            name,
            HttpRoutes {
                redirected,
                ..routes(hosts, paths)
            },
        )
    };
    let plan = plan(vec![
        redirected("shop", &["shop.com"], &["/api"], &[("old.com", "")]),
        redirected("all", &[], &["/"], &[("old.org", "/a")]),
        service("other", &["old.org"], &[]),
    ]);
    check(
        &plan,
        &[
            ("shop.com", "/api/x", "shop /api"),
            ("old.com", "/x", "shop"),
            ("old.com", "/", "shop"),
            ("old.org", "/a/b", "all /a"),
            ("old.org", "/ab", "other"),
            ("any.net", "/", "all /"),
        ],
    );
}

#[test]
fn an_upstream_that_stands_in_keeps_its_state_and_shares_the_services() {
    let at = |address: &str| {
        let (unit, form) = change(
            "web",
            Mode::Http(HttpRoutes::default()),
            &[("a", "10.0.0.1:80")],
        );
        let Some(Unit::Service(mut config)) = form else {
            unreachable!()
        };
        config.retries = Some(address.len() as u32);
        config.policy = Some(Arc::new(Policy {
            maintenance: Some(Maintenance::At(address.parse().unwrap())),
            ..Policy::default()
        }));
        (unit, Some(Unit::Service(config)))
    };
    let id = |plan: &Plan| {
        let service = plan.service(&"services/web".into()).unwrap();
        let stand_in = service.stand_in.as_ref().expect("it has one");
        assert!(Arc::ptr_eq(&stand_in.state, &service.state));
        assert_eq!(
            stand_in.members[0].state.health(),
            Health::Up,
            "nobody checks it"
        );
        assert_eq!(service.all_members().count(), 2);
        stand_in.members[0].state.id()
    };
    let first = plan(vec![at("10.0.0.9:80")]);
    let mut changed = at("10.0.0.9:80");
    let Some(Unit::Service(config)) = &mut changed.1 else {
        unreachable!()
    };
    config.retries = None;
    assert_eq!(id(&first), id(&first.with([changed])));
    assert_ne!(id(&first), id(&first.with([at("10.0.0.9:8080")])));
}

#[test]
fn state_is_kept_by_identity_and_forgotten_with_it() {
    let unit: UnitName = "services/web".into();
    let mode = || Mode::Http(HttpRoutes::default());
    let p = plan(vec![change(
        "web",
        mode(),
        &[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")],
    )]);
    let old = p.service(&unit).unwrap().clone();
    old.members[0].state.set_health(Health::Down);
    let p = p.with([change(
        "web",
        mode(),
        &[("a", "10.0.0.1:80"), ("b", "10.0.0.9:80")],
    )]);
    let new = p.service(&unit).unwrap();
    assert!(Arc::ptr_eq(&old.state, &new.state));
    assert!(Arc::ptr_eq(&old.members[0].state, &new.members[0].state));
    assert_eq!(new.members[0].state.health(), Health::Down);
    assert!(
        !Arc::ptr_eq(&old.members[1].state, &new.members[1].state),
        "another address"
    );
}

#[test]
fn ports_open_and_close_with_their_services_and_stay_when_the_owner_changes() {
    let tcp = |name, external_port| change(name, Mode::Tcp { external_port }, &[]);
    let a = plan(vec![tcp("db", 3306), tcp("cache", 6379)]);
    let b = a.with([
        tcp("db", 3307),
        ("tcp-services/cache".into(), None),
        tcp("other", 6379),
    ]);
    let changes = a.port_changes(&b);
    let opened: Vec<_> = changes.opened.iter().map(|(port, _)| *port).collect();
    assert_eq!((opened, changes.closed), (vec![3307], vec![3306]));
}

/// Made once: a few names that certificates share or not, two kinds of keys.
static BUNDLES: LazyLock<Vec<Arc<tls::Certificate>>> = LazyLock::new(|| {
    let leaves = [
        Leaf::of(&["a.com", "*.a.com"]),
        Leaf::of(&["a.com", "b.com"]),
        Leaf::of(&["a.com"]).rsa(),
        Leaf::of(&["*.a.com"]),
    ];
    let made = |leaf: &Leaf| Arc::new(tls::Certificate::read(&leaf.alone().pem()).unwrap());
    leaves.iter().map(made).collect()
});

fn certificate(name: &str, nth: usize) -> Change {
    let form = Certificate {
        name: name.into(),
        bundle: BUNDLES[nth % BUNDLES.len()].clone(),
    };
    let unit = format!("certs/{name}");
    (unit.as_str().into(), Some(Unit::Certificate(form)))
}

fn arbitrary_change() -> impl Strategy<Value = Change> {
    let routes = arbitrary_routes();
    let upstreams = prop::sample::subsequence(
        vec![
            ("u1", "10.0.0.1:80"),
            ("u2", "10.0.0.2:80"),
            ("u2", "10.0.0.3:80"),
        ],
        0..3,
    );
    (0..6usize, 0..11u8, routes, upstreams).prop_map(|(name, kind, routes, mut ups)| {
        let name = ["ant", "bee", "cat", "dog", "eel", "fox"][name];
        let hosts = &routes.hosts;
        ups.dedup_by_key(|u| u.0);
        let nth = hosts.len() + ups.len();
        match kind {
            8 => (format!("certs/{name}").as_str().into(), None),
            9 => certificate(name, nth),
            // A unit that another template makes something else of.
            10 if nth % 3 == 0 => ("balancer".into(), certificate(name, nth).1),
            10 if nth % 2 == 0 => (
                format!("services/{name}").as_str().into(),
                certificate(name, nth).1,
            ),
            10 => (
                format!("certs/{name}").as_str().into(),
                change(name, Mode::Http(routes), &ups).1,
            ),
            0 => (format!("services/{name}").as_str().into(), None),
            1 => (format!("tcp-services/{name}").as_str().into(), None),
            // Each TCP service has a port of its own: conflicts are sorted out before a plan.
            2 => {
                let external_port =
                    5000 + u16::from(name.as_bytes()[0]) * 2 + hosts.len() as u16 % 2;
                change(name, Mode::Tcp { external_port }, &ups)
            }
            3 if hosts.is_empty() => ("balancer".into(), None),
            3 => {
                let max_queue = hosts.len() as u32;
                (
                    "balancer".into(),
                    Some(Unit::Balancer(Balancer {
                        max_queue,
                        ssl_default_certificate: (!ups.is_empty()).then(|| name.into()),
                        ..Balancer::default()
                    })),
                )
            }
            _ => change(name, Mode::Http(routes), &ups),
        }
    })
}

/// Few hosts, paths and levels, so that services meet.
pub(super) fn arbitrary_routes() -> impl Strategy<Value = HttpRoutes> {
    let hosts = vec![
        "a.com",
        "b.com",
        "x.a.com",
        "*.a.com",
        "*.com",
        "~[ab]\\.com",
        "~.*a.*",
    ];
    let paths = vec![
        "/", "/a", "/a/", "/a/b", "/b", "=/a", "=/a/b", "=/", "/a*", "/a/*", "/*",
    ];
    let hosts = prop::sample::subsequence(hosts, 0..4);
    let paths = prop::sample::subsequence(paths, 0..4);
    let conditions = [None, None, Some("{ method POST }"), Some("{ path_end b }")];
    let matches = prop::sample::select(conditions.to_vec());
    let priority = prop::sample::select(vec![0, 0, 0, -1, 5]);
    let exact = |name: &str| HostPattern::Exact(name.to_owned());
    let redirected = vec![
        (exact("a.com"), "/a".to_owned()),
        (exact("b.com"), String::new()),
        (HostPattern::Wildcard(".a.com".to_owned()), String::new()),
    ];
    let redirected = prop::sample::subsequence(redirected, 0..2);
    let is_default = prop::bool::weighted(0.15);
    (hosts, paths, matches, priority, is_default, redirected).prop_map(
        |(hosts, paths, text, priority, is_default, redirected)| HttpRoutes {
            redirected,
            condition: text.map(condition),
            priority,
            is_default,
            ..routes(&hosts, &paths)
        },
    )
}

proptest! {
    #[test]
    fn an_incremental_plan_equals_a_full_build(
        steps in prop::collection::vec(prop::collection::vec(arbitrary_change(), 1..4), 1..20)
    ) {
        let mut units: BTreeMap<UnitName, Unit> = BTreeMap::new();
        let mut incremental = Plan::new(Balancer::default());
        for step in steps {
            for (unit, form) in &step {
                match form {
                    Some(form) => units.insert(unit.clone(), form.clone()),
                    None => units.remove(unit),
                };
            }
            incremental = incremental.with(step);
            let full = Plan::new(Balancer::default())
                .with(units.iter().map(|(u, f)| (u.clone(), Some(f.clone()))));
            prop_assert_eq!(incremental.dump(), full.dump());
        }
    }

    #[test]
    fn applying_a_difference_leads_from_one_plan_to_the_other(
        a in prop::collection::vec(arbitrary_change(), 0..12),
        b in prop::collection::vec(arbitrary_change(), 0..12),
    ) {
        let a = Plan::new(Balancer::default()).with(a);
        let b = Plan::new(Balancer::default()).with(b);
        prop_assert_eq!(a.with(a.diff(&b)).dump(), b.dump());
        prop_assert!(b.diff(&b).is_empty());
    }
}
