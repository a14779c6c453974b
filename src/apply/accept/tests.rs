use super::*;
use crate::config::{self, Balancer};

fn good(unit: &str, text: &str) -> (UnitName, Verdict) {
    let name: UnitName = unit.into();
    let accepted = config::parse(&name, text, &Balancer::default()).unwrap();
    let unit = Box::new(accepted.unit);
    let text = text.into();
    (name, Verdict::Good { text, unit })
}

fn tcp(name: &str, port: u16) -> (UnitName, Verdict) {
    let text = format!("service: {{name: {name}, mode: tcp, external_port: {port}}}");
    good(&format!("tcp-services/{name}"), &text)
}

fn bad(unit: &str, code: &str) -> (UnitName, Verdict) {
    bad_that_asks(unit, code, Asks::Nothing)
}

fn bad_that_asks(unit: &str, code: &str, asks: Asks) -> (UnitName, Verdict) {
    let diagnostics = vec![Diagnostic::error(code, "no")];
    let verdict = Verdict::Bad {
        diagnostics,
        asks,
        closed: None,
    };
    (unit.into(), verdict)
}

/// A text that asks for passwords, is refused, and whose routes can be read.
fn asking(unit: &str, text: &str) -> (UnitName, Verdict) {
    let closed = config::closed(&unit.into(), text, &Balancer::default());
    let verdict = Verdict::Bad {
        diagnostics: vec![Diagnostic::error("bad-value", "no")],
        asks: Asks::of_text(text),
        closed: closed.map(|form| (text.into(), Box::new(form))),
    };
    (unit.into(), verdict)
}

/// `+unit:port`, `+unit` or `-unit` for each change.
fn changes(decision: &Decision) -> Vec<String> {
    let mut lines: Vec<_> = decision
        .changes
        .iter()
        .map(|(unit, form)| match form {
            Some(Unit::Service(s)) => match s.mode {
                Mode::Tcp { external_port } => format!("+{unit}:{external_port}"),
                Mode::Http(_) => format!("+{unit}"),
            },
            Some(_) => format!("+{unit}"),
            None => format!("-{unit}"),
        })
        .collect();
    lines.sort();
    lines
}

fn refused(court: &Court) -> Vec<String> {
    let line = |r: Refused| {
        let form = if r.serves_last_good {
            "last good"
        } else {
            "absent"
        };
        format!("{} {} {form}", r.unit, r.diagnostics[0].code)
    };
    court.refused().map(line).collect()
}

#[test]
fn a_bad_text_leaves_the_last_good_form_in_force_and_heals_with_a_good_one() {
    let mut court = Court::default();
    let text = "service: {name: web, mode: http}";
    assert_eq!(
        changes(&court.decide(vec![good("services/web", text)])),
        ["+services/web"]
    );
    let decision = court.decide(vec![
        bad("services/web", "bad-value"),
        bad("services/new", "x"),
    ]);
    assert!(decision.changes.is_empty() && decision.saved.is_empty());
    assert_eq!(decision.refused.len(), 2);
    assert_eq!(
        refused(&court),
        ["services/new x absent", "services/web bad-value last good"]
    );
    let decision = court.decide(vec![bad("services/web", "bad-value")]);
    assert_eq!(decision.refused, ["services/web".into()], "once more");
    let decision = court.decide(vec![good("services/web", text)]);
    assert_eq!(decision.healed, ["services/web".into()]);
    assert_eq!(refused(&court), ["services/new x absent"]);
    court.decide(vec![("services/new".into(), Verdict::Gone)]);
    assert!(refused(&court).is_empty());
}

#[test]
fn a_refused_text_that_asks_who_it_is_closes_a_form_that_asks_for_none() {
    let mut court = Court::default();
    let open = "service: {name: web, mode: http}";
    let closed = "error: services/web: the service is closed: it asks for authentication and was last \
                  accepted without; put the other problems right, or remove what asks for authentication";
    let told = |court: &Court| {
        let refused = court.refused_unit(&"services/web".into());
        let diagnostics = refused.map(|r| r.diagnostics).unwrap_or_default();
        let told = diagnostics.iter().map(ToString::to_string);
        told.collect::<Vec<_>>()
    };
    court.decide(vec![good("services/web", open)]);
    let asks = || vec![bad_that_asks("services/web", "bad-value", Asks::First)];
    let decision = court.decide(asks());
    // Its routes stay, and answer that nobody is served; also after a start from what is saved.
    assert_eq!(changes(&decision), ["+services/web"]);
    assert!(is_closed(&decision));
    let [(_, Some(saved))] = &decision.saved[..] else {
        panic!("{:?}", decision.saved)
    };
    assert!(config::parse(&"services/web".into(), saved, &Balancer::default()).is_err());
    let decision = Court::default().decide(vec![asking("services/web", saved)]);
    assert!(is_closed(&decision));
    assert_eq!(
        decision.saved,
        [("services/web".into(), Some(saved.clone()))]
    );
    assert_eq!(told(&court), ["error: no", closed]);
    // As long as nothing good comes, whatever else is wrong.
    court.decide(asks());
    assert_eq!(told(&court), ["error: no", closed]);
    court.decide(vec![bad("services/web", "bad-value")]);
    assert_eq!(refused(&court), ["services/web bad-value absent"]);
    let decision = court.decide(vec![good("services/web", open)]);
    assert_eq!(changes(&decision), ["+services/web"]);
    assert!(told(&court).is_empty());
}

/// Whether the one change is a form that serves nobody.
fn is_closed(decision: &Decision) -> bool {
    let [(_, Some(Unit::Service(service)))] = &decision.changes[..] else {
        return false;
    };
    let policy = service.policy.as_ref();
    let maintenance = policy.and_then(|policy| policy.maintenance);
    service.upstreams.is_empty() && maintenance == Some(config::Maintenance::Closed)
}

#[test]
fn a_service_that_asks_and_was_never_good_has_its_routes_and_serves_nobody() {
    let mut court = Court::default();
    let text = "service: {name: web, virtual_hosts: a.test, balance: x, basic_auth_secrets: ''}";
    let decision = court.decide(vec![asking("services/web", text)]);
    assert!(is_closed(&decision));
    // A start from what was saved judges the text again.
    assert_eq!(
        decision.saved,
        [("services/web".into(), Some(std::sync::Arc::from(text)))]
    );
    assert_eq!(refused(&court), ["services/web bad-value absent"]);
    // Of a text without routes that can be read, those before stay.
    let broken = "service: {name: web, virtual_hosts: 'a b', basic_auth_secrets: ''}";
    assert!(is_closed(
        &court.decide(vec![asking("services/web", broken)])
    ));
    let good_one = good(
        "services/web",
        "service: {name: web, virtual_hosts: a.test}",
    );
    let decision = court.decide(vec![good_one]);
    assert!(!is_closed(&decision) && refused(&court).is_empty());
    let decision = court.decide(vec![asking("services/web", text)]);
    assert!(is_closed(&decision));
    let gone = court.decide(vec![("services/web".into(), Verdict::Gone)]);
    assert_eq!(changes(&gone), ["-services/web"]);
    assert_eq!(gone.saved, [("services/web".into(), None)]);
    assert!(court.units().next().is_none());
}

#[test]
fn a_text_that_asks_for_as_much_as_before_leaves_the_form_in_force() {
    let mut court = Court::default();
    let ca = serde_json::Value::from(crate::tls::tests::certs::Authority::root("x").pem());
    let with = |verify: &str, more: &str| {
        format!("service: {{name: web, ssl_client_ca: {ca}, ssl_client_verify: {verify}{more}}}")
    };
    court.decide(vec![good("services/web", &with("optional", ""))]);
    let decision = court.decide(vec![asking(
        "services/web",
        &with("optional", ", balance: x"),
    )]);
    assert!(decision.changes.is_empty());
    assert_eq!(refused(&court), ["services/web bad-value last good"]);
    // Who wants to ask everybody now is not served by a form that lets everybody in.
    let decision = court.decide(vec![asking(
        "services/web",
        &with("required", ", balance: x"),
    )]);
    assert!(is_closed(&decision));
}

#[test]
fn a_refused_text_that_asks_who_it_is_leaves_a_form_that_asks_too() {
    let mut court = Court::default();
    let asking = "service: {name: web, basic_auth_secrets: user joe insecure-password a}";
    court.decide(vec![good("services/web", asking)]);
    let decision = court.decide(vec![bad_that_asks(
        "services/web",
        "bad-value",
        Asks::First,
    )]);
    assert!(decision.changes.is_empty() && decision.saved.is_empty());
    assert_eq!(refused(&court), ["services/web bad-value last good"]);
}

#[test]
fn the_first_name_has_the_port_whoever_came_first() {
    let mut court = Court::default();
    court.decide(vec![tcp("b", 5000)]);
    let decision = court.decide(vec![tcp("a", 5000)]);
    assert_eq!(
        changes(&decision),
        ["+tcp-services/a:5000", "-tcp-services/b"]
    );
    assert_eq!(refused(&court), ["tcp-services/b port-conflict absent"]);
    let decision = court.decide(vec![("tcp-services/a".into(), Verdict::Gone)]);
    assert_eq!(
        changes(&decision),
        ["+tcp-services/b:5000", "-tcp-services/a"]
    );
    assert!(refused(&court).is_empty());
}

#[test]
fn who_loses_a_port_falls_back_to_the_one_it_had() {
    let mut court = Court::default();
    court.decide(vec![tcp("a", 5000), tcp("b", 5001)]);
    let decision = court.decide(vec![tcp("b", 5000)]);
    assert!(decision.changes.is_empty());
    assert_eq!(refused(&court), ["tcp-services/b port-conflict last good"]);
    // Somebody who wants the port goes before somebody who fell back to it.
    let decision = court.decide(vec![tcp("c", 5001)]);
    assert_eq!(
        changes(&decision),
        ["+tcp-services/c:5001", "-tcp-services/b"]
    );
    assert!(decision.saved.contains(&("tcp-services/b".into(), None)));
    assert_eq!(decision.refused, ["tcp-services/b".into()]);
    assert_eq!(refused(&court), ["tcp-services/b port-conflict absent"]);
    let decision = court.decide(vec![tcp("a", 6000)]);
    assert_eq!(
        changes(&decision),
        ["+tcp-services/a:6000", "+tcp-services/b:5000"]
    );
}

#[test]
fn our_own_ports_are_not_to_be_had() {
    let mut court = Court::new(HashMap::from([(80, "the HTTP listener".to_owned())]));
    court.decide(vec![tcp("a", 80)]);
    assert_eq!(refused(&court), ["tcp-services/a port-conflict absent"]);
}

#[test]
fn a_port_that_cannot_be_bound_leaves_the_form_before_and_is_tried_again() {
    let mut court = Court::default();
    court.decide(vec![tcp("a", 5000)]);
    court.decide(vec![tcp("a", 5001)]);
    let failure = Diagnostic::error("bind-failed", "address in use");
    let decision = court.bind_failed(vec![("tcp-services/a".into(), failure.clone())]);
    assert_eq!(changes(&decision), ["+tcp-services/a:5000"]);
    assert_eq!(refused(&court), ["tcp-services/a bind-failed last good"]);
    let unbound: Vec<_> = court.unbound().map(|(u, port)| (u.clone(), port)).collect();
    assert_eq!(unbound, [("tcp-services/a".into(), 5001)]);
    let decision = court.retry_binds(BTreeSet::from(["tcp-services/a".into()]));
    assert_eq!(changes(&decision), ["+tcp-services/a:5001"]);
    assert!(refused(&court).is_empty() && court.unbound().next().is_none());
    let mut court = Court::default();
    court.decide(vec![tcp("a", 5000)]);
    let decision = court.bind_failed(vec![("tcp-services/a".into(), failure)]);
    assert_eq!(changes(&decision), ["-tcp-services/a"]);
}
