//! Routing sentences one by one, and the two laws of plans as properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::balance::Health;
use crate::config::*;
use crate::names::UnitName;
use crate::plan::{Change, Plan};

fn service(name: &str, hosts: &[&str], paths: &[&str]) -> Change {
    let hosts = hosts.iter().map(|h| match h.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact((*h).to_owned()),
    });
    let routes = HttpRoutes {
        hosts: hosts.collect(),
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        ..HttpRoutes::default()
    };
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
        address: address.parse().unwrap(),
        weight: 1,
    });
    let service = Service {
        name: name.into(),
        mode,
        balance: None,
        upstreams: upstreams.collect(),
        health_check: HealthCheck::default(),
        timeouts: ServiceTimeouts::default(),
        retries: None,
        max_connections: None,
        max_queue: None,
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

fn kontena(changes: Vec<Change>) -> Plan {
    let defaults = Balancer {
        compat: Compat::Kontena,
        ..Balancer::default()
    };
    Plan::new(defaults).with(changes)
}

#[track_caller]
fn check(plan: &Plan, requests: &[(&str, &str, &str)]) {
    for (host, path, expected) in requests {
        let found = plan.route(host.as_bytes(), path.as_bytes());
        let found = found.map_or("none".to_owned(), |m| {
            format!("{} {}", m.service.config.name, &path[..m.prefix])
        });
        assert_eq!(found.trim_end(), *expected, "{host}{path}");
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
    let (unit, form) = service("fallback", &["own.com"], &[]);
    let Some(Unit::Service(mut config)) = form else {
        unreachable!()
    };
    let Mode::Http(routes) = &mut config.mode else {
        unreachable!()
    };
    routes.is_default = true;
    let p = plan(vec![
        (unit, Some(Unit::Service(config))),
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
        let (unit, form) = service(name, hosts, paths);
        let Some(Unit::Service(mut config)) = form else {
            unreachable!()
        };
        let Mode::Http(routes) = &mut config.mode else {
            unreachable!()
        };
        let from = from.iter().map(|(host, path)| {
            let host = HostPattern::Exact((*host).to_owned());
            (host, (*path).to_owned())
        });
        routes.redirected = from.collect();
        (unit, Some(Unit::Service(config)))
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

fn arbitrary_change() -> impl Strategy<Value = Change> {
    let hosts =
        prop::sample::subsequence(vec!["a.com", "b.com", "x.a.com", "*.a.com", "*.com"], 0..4);
    let paths = prop::sample::subsequence(vec!["/", "/a", "/a/", "/a/b", "/b"], 0..3);
    let upstreams = prop::sample::subsequence(
        vec![
            ("u1", "10.0.0.1:80"),
            ("u2", "10.0.0.2:80"),
            ("u2", "10.0.0.3:80"),
        ],
        0..3,
    );
    (0..6usize, 0..8u8, hosts, paths, upstreams).prop_map(|(name, kind, hosts, paths, mut ups)| {
        let name = ["ant", "bee", "cat", "dog", "eel", "fox"][name];
        ups.dedup_by_key(|u| u.0);
        match kind {
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
                        ..Balancer::default()
                    })),
                )
            }
            _ => {
                let (unit, form) = service(name, &hosts, &paths);
                let Some(Unit::Service(mut config)) = form else {
                    unreachable!()
                };
                let Mode::Http(routes) = &mut config.mode else {
                    unreachable!()
                };
                routes.is_default = kind == 7;
                if kind == 6 {
                    let exact = |name: &str| HostPattern::Exact(name.to_owned());
                    routes.redirected = vec![
                        (exact("a.com"), "/a".to_owned()),
                        (exact("b.com"), String::new()),
                        (HostPattern::Wildcard(".a.com".to_owned()), String::new()),
                    ];
                }
                config.upstreams = ups
                    .iter()
                    .map(|(n, a)| Upstream {
                        name: (*n).into(),
                        address: a.parse().unwrap(),
                        weight: 1,
                    })
                    .collect();
                (unit, Some(Unit::Service(config)))
            }
        }
    })
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
