use super::*;
use crate::config::{self, Balancer, Unit};
use crate::plan::{Change, Plan};
use crate::tls::tests::certs::{Leaf, now};

fn put(name: &str, leaf: &Leaf) -> Change {
    let bundle = Arc::new(tls::Certificate::read(&leaf.alone().pem()).unwrap());
    let name = name.into();
    let form = config::Certificate { name, bundle };
    let unit = UnitName::from(format!("certs/{}", form.name).as_str());
    (unit, Some(Unit::Certificate(form)))
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan::new(Balancer::default()).with(changes)
}

fn look(watch: &mut Watch, plan: &Plan, now: i64) -> Vec<String> {
    let units = watch.look(plan.certificates(), now);
    let lines = units.iter().map(|unit| {
        let told = watch.of_unit(unit).iter().map(|d| d.message.clone());
        format!("{unit}: {}", told.collect::<Vec<_>>().join("; "))
    });
    lines.collect()
}

#[test]
fn only_what_is_valid_now_goes_live() {
    let (from, to) = (1_000_000_000, 1_100_000_000);
    let leaf = Leaf::of(&["a.test"]).valid(from, to).alone();
    let certificate = tls::Certificate::read(&leaf.pem()).unwrap();
    let judged = |now| {
        let judged = judge(&"certs/a".into(), &certificate, now);
        judged.map_err(|problems| problems[0].to_string())
    };
    assert_eq!(judged(from), Ok(()));
    assert_eq!(
        judged(from - 1).unwrap_err(),
        "error: certs/a: pem has a certificate that is not valid before 2001-09-09T01:46:40Z; it goes live by \
         itself then; if it should be valid already, look at this machine's clock"
    );
    assert_eq!(
        judged(to + 1).unwrap_err(),
        "error: certs/a: pem has a certificate that expired at 2004-11-09T11:33:20Z; get a new one from who \
         signed it"
    );
}

#[test]
fn the_end_is_told_from_fourteen_days_before_and_once_a_day() {
    let end = now();
    let mut watch = Watch::default();
    let plan = plan(vec![
        put("a", &Leaf::of(&["a.test"]).valid(end - 90 * DAY, end)),
        put("b", &Leaf::of(&["b.test"]).valid(end, end + 90 * DAY)),
    ]);
    let at = time_text(end);
    assert!(look(&mut watch, &plan, end - 15 * DAY).is_empty());
    let told = |text: &str| {
        vec![format!(
            "certs/a: the certificate for a.test {text}, at {at}"
        )]
    };
    assert_eq!(
        look(&mut watch, &plan, end - 14 * DAY + 1),
        told("expires in 13 days")
    );
    assert!(look(&mut watch, &plan, end - 13 * DAY - DAY / 2).is_empty());
    assert_eq!(
        look(&mut watch, &plan, end - 12 * DAY - 1),
        told("expires in 12 days")
    );
    assert_eq!(
        look(&mut watch, &plan, end - 1),
        told("expires in less than a day")
    );
    assert!(
        look(&mut watch, &plan, end).is_empty(),
        "too soon after the last look"
    );
    assert_eq!(
        look(&mut watch, &plan, end + 5),
        told("expired less than a day ago")
    );
    assert_eq!(
        look(&mut watch, &plan, end + DAY),
        told("expired 1 day ago")
    );
    assert_eq!(watch.all().count(), 1);
    let renewed = plan.with([put("a", &Leaf::of(&["a.test"]).valid(end, end + 90 * DAY))]);
    assert_eq!(look(&mut watch, &renewed, end + DAY), ["certs/a: "]);
    assert_eq!(watch.all().count(), 0);
}

#[test]
fn who_stands_behind_another_is_told_until_the_other_goes() {
    let mut watch = Watch::default();
    let first = plan(vec![
        put("cert10", &Leaf::of(&["a.test", "b.test", "*.c.test"])),
        put("rsa", &Leaf::of(&["a.test"]).rsa()),
    ]);
    assert!(look(&mut watch, &first, now()).is_empty());
    let both = first.with([put("cert2", &Leaf::of(&["a.test", "b.test", "*.c.test"]))]);
    assert_eq!(
        look(&mut watch, &both, now()),
        [
            "certs/cert10: other certificates with ECDSA P-256 keys go first: a.test by certs/cert2, b.test by \
          certs/cert2, *.c.test by certs/cert2"
        ]
    );
    let other = both.with([put("cert2", &Leaf::of(&["b.test", "z.test"]))]);
    assert_eq!(
        look(&mut watch, &other, now()),
        ["certs/cert10: other certificates with ECDSA P-256 keys go first: b.test by certs/cert2"]
    );
    let gone = other.with([("certs/cert2".into(), None)]);
    assert_eq!(look(&mut watch, &gone, now()), ["certs/cert10: "]);
}

#[test]
fn a_default_that_is_not_there_is_told_until_it_is() {
    let mut watch = Watch::default();
    let flags = Balancer {
        ssl_default_certificate: Some("www".into()),
        ..Balancer::default()
    };
    let none = Plan::new(flags);
    assert_eq!(
        look(&mut watch, &none, now()),
        ["balancer: ssl_default_certificate \"www\" is no certificate"]
    );
    let there = none.with([put("www", &Leaf::of(&["www.test"]))]);
    assert_eq!(look(&mut watch, &there, now()), ["balancer: "]);
}

#[test]
fn of_a_certificate_for_a_week_the_end_is_told_in_its_last_third() {
    let end = now();
    let mut watch = Watch::default();
    let plan = plan(vec![put(
        "a",
        &Leaf::of(&["a.test"]).valid(end - 6 * DAY, end),
    )]);
    assert!(look(&mut watch, &plan, end - 2 * DAY - 5).is_empty());
    let told = look(&mut watch, &plan, end - 2 * DAY + 1);
    assert!(told[0].contains("expires in 1 day"), "{told:?}");
}

#[test]
fn a_change_is_told_at_once_and_others_are_looked_at_when_it_is_time() {
    let end = now() + 10 * DAY;
    let mut watch = Watch::default();
    let a = put("a", &Leaf::of(&["a.test"]).valid(end - 90 * DAY, end));
    let first = plan(vec![a]);
    assert_eq!(look(&mut watch, &first, end - 8 * DAY).len(), 1);
    // A day less is left of the first one, which did not change and was looked at just now.
    let b = put("b", &Leaf::of(&["b.test"]).valid(end - 90 * DAY, end));
    let second = first.with([b]);
    let told = look(&mut watch, &second, end - 8 * DAY + 1);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("certs/b"), "{told:?}");
    let later = look(&mut watch, &second, end - 8 * DAY + 6);
    assert_eq!(later.len(), 1, "{later:?}");
    assert!(later[0].starts_with("certs/a"), "{later:?}");
}
