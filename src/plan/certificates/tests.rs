//! Which certificate a name leads to, and what a change of one costs.

use super::*;
use crate::config::{Balancer, Unit};
use crate::plan::{Change, Plan};
use crate::tls::tests::certs::{DAY, Leaf, now};

fn made(leaf: &Leaf) -> Arc<tls::Certificate> {
    Arc::new(tls::Certificate::read(&leaf.alone().pem()).unwrap())
}

fn put(name: &str, bundle: &Arc<tls::Certificate>) -> Change {
    let form = config::Certificate {
        name: name.into(),
        bundle: bundle.clone(),
    };
    let unit = UnitName::from(format!("certs/{name}").as_str());
    (unit, Some(Unit::Certificate(form)))
}

fn ecdsa(name: &str, names: &[&str]) -> Change {
    put(name, &made(&Leaf::of(names)))
}

fn default(name: Option<&str>) -> Change {
    let balancer = Balancer {
        ssl_default_certificate: name.map(CertificateName::from),
        ..Balancer::default()
    };
    ("balancer".into(), Some(Unit::Balancer(balancer)))
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan::new(Balancer::default()).with(changes)
}

#[track_caller]
fn check(plan: &Plan, asked: &[(Option<&str>, &str)]) {
    for (name, expected) in asked {
        let found = plan.certificates().find(*name);
        let found: Option<Vec<_>> = found.map(|all| all.iter().map(|c| c.name.as_str()).collect());
        assert_eq!(found.unwrap_or_default().join(" "), *expected, "{name:?}");
    }
}

#[test]
fn the_exact_name_goes_over_the_wildcard_and_that_over_the_default() {
    let plan = plan(vec![
        ecdsa("a", &["other.test"]),
        ecdsa("b", &["*.example.test", "example.test"]),
        ecdsa("c", &["www.example.test"]),
    ]);
    check(
        &plan,
        &[
            (Some("www.example.test"), "c"),
            (Some("WWW.Example.TEST."), "c"),
            (Some("api.example.test"), "b"),
            (Some("example.test"), "b"),
            (Some("a.b.example.test"), "a"),
            (Some(".example.test"), "a"),
            (Some("*.example.test"), "b"),
            (Some("test"), "a"),
            (Some(""), "a"),
            (None, "a"),
        ],
    );
    assert!(plan.certificates().matching("unknown.test").is_none());
    check(
        &Plan::new(Balancer::default()),
        &[(None, ""), (Some("a"), "")],
    );
}

#[test]
fn one_name_has_all_its_certificates_in_natural_order() {
    let rsa = made(&Leaf::of(&["a.test"]).rsa());
    let mut plan = plan(vec![
        ecdsa("cert10", &["a.test"]),
        put("cert2", &rsa),
        ecdsa("cert9", &["a.test", "b.test"]),
    ]);
    check(
        &plan,
        &[
            (Some("a.test"), "cert2 cert9 cert10"),
            (None, "cert2 cert9 cert10"),
        ],
    );
    let certificates = plan.certificates();
    let shadow = |unit: &str| {
        let unit = UnitName::from(unit);
        let told = certificates.overshadowed(&unit);
        told.map(|(name, by)| format!("{name} {}", by.name))
            .collect::<Vec<_>>()
    };
    assert_eq!(shadow("certs/cert10"), ["a.test cert9"]);
    assert!(shadow("certs/cert9").is_empty() && shadow("certs/cert2").is_empty());
    let order: Vec<_> = certificates.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(order, ["cert2", "cert9", "cert10"]);
    plan = plan.with([("certs/cert9".into(), None)]);
    check(
        &plan,
        &[
            (Some("a.test"), "cert2 cert10"),
            (Some("b.test"), "cert2 cert10"),
        ],
    );
}

#[test]
fn the_default_is_the_one_that_is_named_or_the_first() {
    let mut plan = plan(vec![ecdsa("a", &["a.test"]), ecdsa("b", &["b.test"])]);
    check(&plan, &[(None, "a")]);
    plan = plan.with([default(Some("b"))]);
    check(&plan, &[(None, "b"), (Some("a.test"), "a")]);
    assert!(plan.certificates().missing_default().is_none());
    plan = plan.with([("certs/b".into(), None)]);
    check(&plan, &[(None, "a")]);
    assert_eq!(plan.certificates().missing_default(), Some(&"b".into()));
    // It may come later than the setting.
    plan = plan.with([ecdsa("b", &["b.test"])]);
    check(&plan, &[(None, "b")]);
    plan = plan.with([("balancer".into(), None)]);
    check(&plan, &[(None, "a")]);
    let flags = Balancer {
        ssl_default_certificate: Some("z".into()),
        ..Balancer::default()
    };
    let plan = Plan::new(flags).with([ecdsa("a", &["a.test"]), ecdsa("z", &["z.test"])]);
    check(&plan, &[(None, "z")]);
}

#[test]
fn tables_are_the_same_until_a_certificate_changes() {
    let one = made(&Leaf::of(&["a.test"]));
    let first = plan(vec![put("a", &one)]);
    let again = first.with([put("a", &one), default(None), ("services/x".into(), None)]);
    assert!(first.certificates().same_as(again.certificates()));
    assert!(first.diff(&first.with([put("a", &one)])).is_empty());
    for change in [
        ecdsa("a", &["a.test"]),
        ("certs/a".into(), None),
        default(Some("a")),
    ] {
        assert!(
            !first
                .certificates()
                .same_as(first.with([change]).certificates())
        );
    }
}

#[test]
fn a_dump_tells_everything_but_the_key() {
    let leaf = Leaf::of(&["a.test", "*.a.test"]).alone();
    let bundle = Arc::new(tls::Certificate::read(&leaf.pem()).unwrap());
    let dump = plan(vec![put("a", &bundle), default(Some("a"))]).dump();
    let fingerprint = bundle.fingerprint();
    for word in [
        "ssl_default_certificate: a",
        "certs/a:",
        "- '*.a.test'",
        "subject: CN=a leaf",
        "issuer: CN=a leaf",
        "key_type: ECDSA P-256",
        "not_after:",
        &fingerprint,
        "- a.test -> a",
        "- default -> a",
    ] {
        assert!(dump.contains(word), "{word} in\n{dump}");
    }
    for line in leaf.key.lines().filter(|line| !line.starts_with("---")) {
        assert!(!dump.contains(line));
    }
}

#[test]
fn one_that_has_ended_stands_behind_those_that_are_good() {
    let now = now();
    let names = ["www.test", "*.www.test"];
    let leaf = |to| made(&Leaf::of(&names).valid(now - 90 * DAY, to));
    let (old, new) = (leaf(now), leaf(now + 90 * DAY));
    let rsa = made(&Leaf::of(&names).rsa());
    let plan = plan(vec![
        put("www", &old),
        put("www-2026", &new),
        put("x", &rsa),
    ]);
    let asked = |all, first| {
        [
            (Some("www.test"), all),
            (Some("a.www.test"), all),
            (None, first),
        ]
    };
    // Valid up to and with its last second.
    let at_its_end = plan.clone().at(now);
    assert!(at_its_end.is_as_of(now) && !at_its_end.is_as_of(now + 1));
    check(&at_its_end, &asked("www www-2026 x", "www x"));
    let over = at_its_end.clone().at(now + 1);
    check(&over, &asked("www-2026 x www", "www-2026 x"));
    let certificates = over.certificates();
    let shadowed = |unit: &str| certificates.overshadowed(&unit.into()).count();
    assert_eq!((shadowed("certs/www"), shadowed("certs/www-2026")), (2, 0));
    // Also one that is asked for by name, one that comes when it is over, and one that is all there is.
    check(
        &over.with([default(Some("www"))]),
        &asked("www-2026 x www", "www-2026 x"),
    );
    check(
        &over.with([put("a", &old)]),
        &asked("www-2026 x a www", "www-2026 x"),
    );
    let gone =
        ["www-2026", "x"].map(|name| (UnitName::from(format!("certs/{name}").as_str()), None));
    check(&over.with(gone), &asked("www", "www"));
    // A clock that is set back.
    check(&over.at(now), &asked("www www-2026 x", "www x"));
}

#[test]
fn a_change_copies_what_it_changes_and_no_more() {
    let one = made(&Leaf::of(&["shared.test"]));
    let mut certificates = Certificates::default();
    // One certificate under many names of its own would be as many parses: what counts is the tables.
    for nth in 0..2_000 {
        let form = config::Certificate {
            name: format!("c{nth}").as_str().into(),
            bundle: one.clone(),
        };
        let unit = format!("certs/c{nth}");
        let own = Arc::new(NamedCertificate {
            unit: unit.as_str().into(),
            name: form.name,
            certificate: form.bundle,
            has_ended: false,
        });
        certificates.order.insert(own.place(), own.clone());
        certificates.units.insert(own.unit.clone(), own.clone());
        let name = format!("n{nth}.test");
        certificates.exact.set(name.as_bytes(), Some([own].into()));
    }
    let start = std::time::Instant::now();
    let other = config::Certificate {
        name: "new".into(),
        bundle: one,
    };
    for _ in 0..1_000 {
        let mut next = certificates.clone();
        next.put("certs/new".into(), other.clone());
        certificates = next;
    }
    // A copy of everything, a thousand times, would be seconds even here.
    assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    assert_eq!(certificates.len(), 2_001);
}
