use std::time::Duration;

use crate::config::{
    Accepted, Balance, Balancer, CheckKind, CheckVersion, ErrorPage, Expected, HttpCheck, Service,
    Sticky, Unit, parse,
};
use crate::diag::Diagnostic;
use crate::names::UnitName;

fn parsed(text: &str) -> Result<Accepted, Vec<Diagnostic>> {
    parse(&UnitName::from("services/web"), text, &Balancer::default())
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// A service with these fields and lines, and what is told about them.
#[track_caller]
fn service(fields: &str, lines_of_settings: &str) -> (Service, Vec<String>) {
    let text = format!(
        "service:\n  name: web\n{fields}  custom_settings: {}\n",
        serde_json::Value::from(lines_of_settings)
    );
    match parsed(&text) {
        Ok(Accepted {
            unit: Unit::Service(service),
            warnings,
            ..
        }) => (service, lines(&warnings)),
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn check(fields: &str, lines_of_settings: &str) -> HttpCheck {
    match service(fields, lines_of_settings).0.health_check.kind {
        CheckKind::Http(check) => *check,
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn lines_set_what_keys_set() {
    let s = Duration::from_secs;
    let (service, warnings) = service(
        "",
        "timeout connect 1s\ntimeout server 2s\ntimeout client 3s\ntimeout tunnel 4s\ntimeout queue 5s\n\
         timeout check 6s\nretries 0\nmaxconn 7\nbalance static-rr\n\
         default-server inter 500ms rise 4 fall 5 port 81 slowstart 30s check",
    );
    assert_eq!(warnings, [""; 0]);
    let timeouts = &service.timeouts;
    assert_eq!(
        [
            timeouts.connect,
            timeouts.server,
            timeouts.client,
            timeouts.tunnel,
            timeouts.queue
        ],
        [1, 2, 3, 4, 5].map(|n| Some(s(n)))
    );
    assert_eq!(service.retries, Some(0));
    assert_eq!(service.max_connections, Some(7));
    assert_eq!(service.balance, Some(Balance::RoundRobin));
    let check = &service.health_check;
    assert_eq!(check.kind, CheckKind::Tcp);
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_millis(500), s(6))
    );
    assert_eq!((check.rise, check.fall, check.port), (4, 5, Some(81)));
    assert_eq!(service.warm_up, Some(s(30)));
    assert_eq!(service.policy, None);
}

#[test]
fn a_slow_start_without_checks_says_nothing() {
    let (service, warnings) = service("  health_check: off\n", "default-server slowstart 30s");
    assert_eq!(service.warm_up, None);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("custom_settings: slowstart says nothing when health_check is off"),
        "{warnings:?}"
    );
}

#[test]
fn a_key_goes_over_a_line_and_whoever_wrote_both_is_told() {
    let (service, warnings) = service(
        "  timeout_server: 9s\n  balance: source\n  retries: 1\n  max_connections: none\n",
        "timeout server 2s\nbalance leastconn\nretries 5\nmaxconn 3",
    );
    assert_eq!(service.timeouts.server, Some(Duration::from_secs(9)));
    assert_eq!(service.balance, Some(Balance::Source));
    assert_eq!((service.retries, service.max_connections), (Some(1), None));
    let told = |line: usize, key: &str| {
        format!(
            "warning: services/web:7:20: custom_settings line {line}: says nothing beside {key}; \
             remove the line, or the key {key}"
        )
    };
    assert_eq!(
        warnings,
        [
            told(2, "balance"),
            told(1, "timeout_server"),
            told(3, "retries"),
            told(4, "max_connections")
        ]
    );
}

#[test]
fn checks_are_described_in_haproxys_words() {
    let default = check("", "option httpchk");
    assert_eq!(default.method, "OPTIONS");
    assert_eq!(
        (default.uri.as_str(), default.version),
        ("/", CheckVersion::Http10)
    );
    let head = check("", "option httpchk HEAD /index.html HTTP/1.0");
    assert_eq!(
        (head.method.as_str(), head.uri.as_str()),
        ("HEAD", "/index.html")
    );
    let old = check(
        "",
        r"option httpchk GET /x HTTP/1.1\r\nHost:\ www.test\r\nX-A:\ 1",
    );
    assert_eq!(old.version, CheckVersion::Http11);
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(old.fields, [field("Host", "www.test"), field("X-A", "1")]);
    let new = check(
        "",
        "option httpchk\nhttp-check send meth POST uri /p ver HTTP/1.1 hdr X-A 1 body ping\n\
         http-check expect status 200-204,301\nhttp-check expect ! rstring err.r",
    );
    assert_eq!(
        (new.method.as_str(), new.uri.as_str(), new.body.as_str()),
        ("POST", "/p", "ping")
    );
    assert_eq!(new.fields, [field("X-A", "1")]);
    assert!(matches!(&new.expect[0].what, Expected::Status(ranges) if ranges.len() == 2));
    assert!(new.expect[0].holds(204, b"") && !new.expect[0].holds(205, b""));
    assert!(new.expect[1].holds(200, b"fine") && !new.expect[1].holds(200, b"an error"));
}

#[test]
fn the_uri_of_a_check_is_the_keys_and_the_rest_the_lines() {
    let keys = "  health_check_uri: /key\n";
    let both = check(keys, "option httpchk HEAD /line");
    assert_eq!((both.method.as_str(), both.uri.as_str()), ("HEAD", "/key"));
    let refined = check(keys, "http-check expect string ok");
    assert_eq!(
        (refined.method.as_str(), refined.uri.as_str()),
        ("GET", "/key")
    );
    assert!(refined.expect[0].holds(500, b"all ok"));
    let off = service("  health_check: off\n", "option httpchk");
    assert_eq!(off.0.health_check.kind, CheckKind::Off);
    assert_eq!(
        off.1,
        [
            "warning: services/web:4:20: custom_settings line 1: says nothing beside health_check; \
          remove the line, or the key health_check"
        ]
    );
    let alone = service("", "http-check expect status 200");
    assert_eq!(
        alone.1,
        [
            "warning: services/web:3:20: custom_settings line 1: http-check says nothing by itself; \
          write option httpchk too, or set health_check_uri"
        ]
    );
}

#[test]
fn every_line_that_is_wrong_refuses_the_service_and_lines_count_from_the_top_of_the_value() {
    let text =
        "service:\n  name: web\n  custom_settings: \"\\n\\ntiemout server 5s\\nretries x\"\n";
    assert_eq!(
        lines(&parsed(text).unwrap_err()),
        [
            "error: services/web:3:20: custom_settings line 3: \"tiemout\" is unknown; did you mean \
             \"timeout\"?",
            "error: services/web:3:20: custom_settings line 4: \"x\" is no whole number; write a \
             number from 0 to 100",
        ]
    );
}

#[test]
fn the_balancer_takes_lines_too() {
    let text = "balancer:\n  timeout_drain: 1s\n  custom_settings: \"timeout http-request 1s\\n\
                timeout http-keep-alive 2s\\nretries 7\\nmaxconn 9\\n\
                http-request set-header X y\"\n  global_settings: \"maxconn 50\\nhard-stop-after 3s\"\n";
    let Ok(Accepted {
        unit: Unit::Balancer(balancer),
        warnings,
        ..
    }) = parsed(text)
    else {
        panic!("no balancer");
    };
    let s = Duration::from_secs;
    let timeouts = &balancer.timeouts;
    assert_eq!(
        (timeouts.head, timeouts.idle, timeouts.drain),
        (s(1), s(2), s(1))
    );
    assert_eq!((balancer.retries, balancer.max_connections), (7, 50));
    assert!(balancer.rules.is_some_and(|rules| rules.request.len() == 1));
    assert_eq!(
        lines(&warnings),
        [
            "warning: services/web:4:20: global_settings line 2: says nothing beside timeout_drain; \
          remove the line, or the key timeout_drain",
        ]
    );
}

#[test]
fn rules_of_a_flag_hold_until_a_key_says_something_else() {
    let flags = "balancer: {custom_settings: 'http-request deny'}";
    let Ok(Accepted {
        unit: Unit::Balancer(flags),
        ..
    }) = parsed(flags)
    else {
        panic!("no balancer");
    };
    let over = |text: &str| match parse(&UnitName::from("balancer"), text, &flags) {
        Ok(Accepted {
            unit: Unit::Balancer(balancer),
            ..
        }) => balancer.rules,
        other => panic!("{other:?}"),
    };
    assert_eq!(over("balancer: {}"), flags.rules);
    assert_eq!(over("balancer: {custom_settings: 'retries 1'}"), None);
}

#[test]
fn a_cookie_line_is_the_key_cookie_and_gives_way_to_it() {
    let sticks = |fields: &str| {
        let (service, warnings) = service(fields, "cookie SRV insert indirect nocache");
        let policy = service.policy.expect("a policy");
        match &policy.sticky {
            Some(Sticky::Cookie(cookie)) => (cookie.name.clone(), warnings),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sticks(""), ("SRV".to_owned(), Vec::new()));
    let (name, warnings) = sticks("  cookie: ''\n");
    assert_eq!((name.as_str(), warnings.len()), ("LB_SERVERID", 1));
    assert!(warnings[0].contains("line 1: says nothing beside cookie;"));
}

#[test]
fn figures_are_shown_to_everybody_only_if_somebody_says_so() {
    let open = "balancer:\n  custom_settings: 'stats enable'\n";
    let told = lines(&parsed(open).unwrap_err());
    assert_eq!(
        told,
        [
            "error: services/web:2:20: custom_settings have stats and no user: everybody could read the \
          figures; write stats auth NAME:PASSWORD, or set stats_auth to none if everybody may"
        ]
    );
    assert!(parsed(&format!("{open}  stats_auth: none\n")).is_ok());
}

#[test]
fn an_errorfile_line_is_a_page_of_the_service_and_a_key_goes_over_it() {
    let pages = |fields: &str| {
        let lines = "errorfile 503 503.http\nerrorfile 404 none.http";
        let pages = service(fields, lines).0.policy;
        let pages = pages.and_then(|policy| policy.error_pages.clone());
        let pages = pages.expect("pages");
        [503, 404].map(|status| pages.get(status).cloned())
    };
    let file = |name: &str| Some(ErrorPage::File(name.into()));
    assert_eq!(pages(""), [file("503.http"), file("none.http")]);
    let keys = pages("  error_pages: {503: 'back soon'}\n");
    assert!(matches!(keys[0], Some(ErrorPage::Text { .. })));
    assert_eq!(keys[1], file("none.http"));
}
