//! Plans whose upstreams are names, by one answer after another.

use std::net::IpAddr;
use std::sync::Arc;

use crate::balance::{Health, InFlight};
use crate::config::{Balancer, Unit, parse};
use crate::dns::{Answers, Question, Target, targets};
use crate::plan::{Change, Plan, Service};

const UNIT: &str = "services/web";

fn change(lines: &str) -> Change {
    named_change(UNIT, lines)
}

fn named_change(unit: &str, lines: &str) -> Change {
    let name = unit.rsplit('/').next().unwrap();
    let text = format!("service:\n  name: {name}\n{lines}");
    match parse(&unit.into(), &text, &Balancer::default())
        .unwrap()
        .unit
    {
        Unit::Service(service) => (unit.into(), Some(Unit::Service(service))),
        other => panic!("{other:?}"),
    }
}

fn plan(lines: &str) -> Plan {
    Plan::new(Balancer::default()).with([change(lines)])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn answers(all: &[(&str, &[&str])]) -> Answers {
    let answer = |(name, ips): &(&str, &[&str])| {
        let all = ips.iter().map(|text| Target::host(ip(text)));
        (Question::of_text(name), targets(all).0)
    };
    all.iter().map(answer).collect()
}

fn service(plan: &Plan) -> &Arc<Service> {
    plan.service(&UNIT.into()).unwrap()
}

/// Names, addresses and weights of the members.
fn members(plan: &Plan) -> Vec<String> {
    let members = service(plan).members.iter();
    members
        .map(|m| format!("{} {} {}", m.name, m.address, m.weight))
        .collect()
}

const APP: &str = "  upstreams: {web: 'app.internal:8080 weight=5', own: '10.0.0.9:80'}\n";

#[test]
fn a_name_has_no_member_until_it_is_answered_and_then_one_for_each_address() {
    let first = plan(APP);
    assert_eq!(members(&first), ["own 10.0.0.9:80 1"]);
    let two = first.answered(&answers(&[("app.internal", &["fd00::1", "10.0.0.1"])]));
    assert_eq!(
        members(&two),
        [
            "own 10.0.0.9:80 1",
            "web/10.0.0.1:8080 10.0.0.1:8080 5",
            "web/[fd00::1]:8080 [fd00::1]:8080 5",
        ]
    );
    let hosts: Vec<_> = service(&two)
        .members
        .iter()
        .map(|m| m.authority())
        .collect();
    assert_eq!(
        hosts,
        ["10.0.0.9:80", "app.internal:8080", "app.internal:8080"]
    );
    assert_eq!(members(&two.answered(&Answers::new())), members(&first));
}

#[test]
fn an_answer_keeps_the_state_of_every_address_that_stays() {
    let first = plan(APP).answered(&answers(&[("app.internal", &["10.0.0.2", "10.0.0.3"])]));
    let state = |plan: &Plan, name: &str| service(plan).member(&name.into()).unwrap().state.clone();
    let (kept, own) = (state(&first, "web/10.0.0.2:8080"), state(&first, "own"));
    kept.set_health(Health::Down);
    let _under_way = InFlight::begin(&kept);
    let second = first.answered(&answers(&[("app.internal", &["10.0.0.1", "10.0.0.2"])]));
    let after = state(&second, "web/10.0.0.2:8080");
    assert_eq!((after.id(), after.health()), (kept.id(), Health::Down));
    assert_eq!(after.in_flight(), 1);
    assert_eq!(state(&second, "own").id(), own.id());
    assert!(
        service(&second)
            .member(&"web/10.0.0.3:8080".into())
            .is_none()
    );
    assert!(Arc::ptr_eq(&service(&first).state, &service(&second).state));
    // Also when the key changes, as long as name and port are those.
    let lines = APP.replace("weight=5", "weight=7");
    let third = second.with([change(&lines)]);
    assert_eq!(state(&third, "web/10.0.0.2:8080").id(), kept.id());
    assert_eq!(members(&third)[1], "web/10.0.0.1:8080 10.0.0.1:8080 7");
}

#[test]
fn an_answer_makes_anew_what_has_its_name_and_nothing_else() {
    let other = "  virtual_hosts: other.test\n  upstreams: {a: 'db.internal:1'}\n";
    let first = plan(APP).with([named_change("services/other", other)]);
    let questions: Vec<_> = first.questions().keys().map(ToString::to_string).collect();
    assert_eq!(questions, ["app.internal", "db.internal"]);
    let all = answers(&[("app.internal", &["10.0.0.1"]), ("stranger", &["10.0.0.7"])]);
    assert!(!first.has_answers(&all));
    let second = first.answered(&all);
    assert!(second.has_answers(&all));
    let unit = "services/other".into();
    assert!(Arc::ptr_eq(
        first.service(&unit).unwrap(),
        second.service(&unit).unwrap()
    ));
    let changed: Vec<_> = first
        .diff(&second)
        .into_iter()
        .map(|(unit, _)| unit)
        .collect();
    assert_eq!(changed, [UNIT.into()]);
    // What changes nothing is no difference.
    let same = second.answered(&answers(&[("app.internal", &["10.0.0.1"])]));
    assert!(second.diff(&same).is_empty());
    let gone = second.with([(UNIT.into(), None)]);
    assert_eq!(gone.questions().len(), 1);
}

#[test]
fn two_ways_to_the_same_answers_give_the_same_text() {
    let one = answers(&[("app.internal", &["10.0.0.1", "10.0.0.2"])]);
    let other = answers(&[("app.internal", &["10.0.0.7"])]);
    let direct = plan(APP).answered(&one);
    let astray = Plan::new(Balancer::default())
        .answered(&one)
        .answered(&other);
    let astray = astray.with([change(APP)]).answered(&one);
    assert_eq!(direct.dump(), astray.dump());
    let text = direct.dump();
    assert!(text.contains("web: app.internal:8080 weight=5\n"), "{text}");
    assert!(
        text.contains("resolved:\n      web/10.0.0.1:8080: 10.0.0.1:8080 weight=5\n"),
        "{text}"
    );
    // Without answers it is the same but for what they say.
    let offline = plan(APP).dump();
    let is_told = |line: &&str| !line.contains("resolved:") && !line.contains("web/");
    let rest: Vec<_> = text.lines().filter(is_told).collect();
    assert_eq!(rest, offline.lines().collect::<Vec<_>>());
}

#[test]
fn srv_records_say_port_and_weight_and_a_key_may_drain_them() {
    let records = [
        Target::service(ip("10.0.0.1"), 8001, 10),
        Target::service(ip("10.0.0.2"), 8002, 30),
    ];
    let question = Question::of_text("srv:_http._tcp.app.internal");
    let all: Answers = [(question, targets(records).0)].into_iter().collect();
    let lines = "  upstreams: {web: 'srv:_http._tcp.app.internal'}\n";
    let answered = plan(lines).answered(&all);
    assert_eq!(
        members(&answered),
        [
            "web/10.0.0.1:8001 10.0.0.1:8001 10",
            "web/10.0.0.2:8002 10.0.0.2:8002 30",
        ]
    );
    let drained = lines.replace("internal'", "internal weight=0'");
    assert_eq!(
        members(&answered.with([change(&drained)]))[0],
        "web/10.0.0.1:8001 10.0.0.1:8001 0"
    );
    let text = answered.dump();
    assert!(
        text.contains("web: srv:_http._tcp.app.internal\n"),
        "{text}"
    );
}

#[test]
fn pins_of_names_show_no_address_and_stay() {
    let lines = format!("  cookie: C\n{APP}");
    let first = plan(&lines).answered(&answers(&[("app.internal", &["10.0.0.2"])]));
    let at = |plan: &Plan, name: &str| service(plan).place(&name.into()).unwrap();
    let pin = service(&first)
        .pin(at(&first, "web/10.0.0.2:8080"))
        .into_owned();
    assert!(!pin.contains("10.0.0.2"), "{pin}");
    assert_eq!(service(&first).pin(at(&first, "own")), "own");
    let second = first.answered(&answers(&[("app.internal", &["10.0.0.1", "10.0.0.2"])]));
    let found = service(&second).pinned(pin.as_bytes()).unwrap();
    assert_eq!(found, at(&second, "web/10.0.0.2:8080"));
}

#[test]
fn tls_asks_for_the_name_that_is_written() {
    let all = "  upstream_tls: true\n  upstreams: {a: 'App.internal.:1', b: '10.0.0.9:1', c: 'srv:_https._tcp.svc.internal'}\n";
    let mut known = answers(&[("app.internal.", &["10.0.0.1", "10.0.0.2"])]);
    let question = Question::of_text("srv:_https._tcp.svc.internal");
    known.insert(question, targets([Target::service(ip("10.0.0.3"), 5, 1)]).0);
    let names = |plan: &Plan| -> Vec<String> {
        let service = service(plan);
        let all = (0..service.members.len()).map(|at| service.secured(at).unwrap());
        all.map(|secured| secured.name.to_str().into_owned())
            .collect()
    };
    let first = plan(all).answered(&known);
    assert_eq!(
        names(&first),
        ["app.internal", "app.internal", "10.0.0.9", "svc.internal"]
    );
    let told = all.replace("true\n", "true\n  upstream_tls_name: x.test\n");
    assert_eq!(names(&first.with([change(&told)])), ["x.test"; 4]);
    // Another name at the same address is somebody else, and the others stay whom they were.
    known.insert(
        Question::of_text("new.internal"),
        known[&Question::of_text("app.internal.")].clone(),
    );
    let renamed = first
        .answered(&known)
        .with([change(&all.replace("App.internal.", "new.internal"))]);
    assert_eq!(names(&renamed)[0], "new.internal");
    let id = |plan: &Plan, at: usize| service(plan).secured(at).unwrap().id;
    assert_ne!(id(&renamed, 0), id(&first, 0));
    assert_eq!(id(&renamed, 3), id(&first, 3));
}
