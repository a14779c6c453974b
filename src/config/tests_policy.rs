//! What the keys of policies and of the front say, and every wrong value of them with its message.

use std::sync::Arc;

use super::*;
use crate::rules::{FieldAction, RequestAction, Template};

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |d: &Diagnostic| {
        let help = d.help.as_deref().unwrap_or_default();
        format!("{:?}: {}; {help}", d.severity, d.message)
    };
    diagnostics.iter().map(line).collect()
}

fn parsed(text: &str) -> (Option<Unit>, Vec<String>) {
    match parse(&UnitName::from("unit"), text, &Balancer::default()) {
        Ok(accepted) => (Some(accepted.unit), lines(&accepted.warnings)),
        Err(diagnostics) => (None, lines(&diagnostics)),
    }
}

/// A value as a template writes it.
fn quoted_yaml(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn service_text(fields: &[(&str, &str)]) -> String {
    let mut text = "service:\n  name: web\n".to_owned();
    for (name, value) in fields {
        text += &format!("  {name}: {}\n", quoted_yaml(value));
    }
    text
}

/// The policy that these fields make, and what is said of them.
#[track_caller]
fn policy(fields: &[(&str, &str)]) -> Policy {
    match parsed(&service_text(fields)) {
        (Some(Unit::Service(service)), report) if report.is_empty() => {
            service.policy.as_deref().cloned().unwrap_or_default()
        }
        other => panic!("{fields:?}: {other:?}"),
    }
}

/// One field of a service is refused in these words, and nothing else is said.
#[track_caller]
fn refused(name: &str, value: &str, expected: &str) {
    let (_, report) = parsed(&service_text(&[(name, value)]));
    assert_eq!(report, [format!("Error: {expected}")], "{name} = {value}");
}

/// The same of the balancer.
#[track_caller]
fn balancer_refused(name: &str, value: &str, expected: &str) {
    let text = format!("balancer:\n  {name}: {}\n", quoted_yaml(value));
    let (_, report) = parsed(&text);
    assert_eq!(report, [format!("Error: {expected}")], "{name} = {value}");
}

#[track_caller]
fn front(text: &str) -> Front {
    match parsed(text) {
        (Some(Unit::Balancer(balancer)), report) if report.is_empty() => {
            balancer.front.as_deref().cloned().unwrap_or_default()
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_service_without_these_keys_has_no_policy() {
    let text = service_text(&[("maintenance", "false"), ("pass_host_header", "true")]);
    let (Some(Unit::Service(service)), _) = parsed(&text) else {
        panic!("refused");
    };
    assert_eq!(service.policy, None);
    let (Some(Unit::Balancer(balancer)), _) = parsed("balancer: {force_ssl: no}") else {
        panic!("refused");
    };
    assert_eq!((balancer.front, balancer.error_pages), (None, None));
}

#[test]
fn every_key_becomes_its_part_of_the_policy() {
    let policy = policy(&[
        ("allow", "10.0.0.0/8, ::1"),
        ("deny", "10.1.2.3"),
        ("redirects", "http://old.com,http://new.com; /a,/b;"),
        ("redirect_code", "308"),
        ("force_ssl", "on"),
        ("force_ssl_port", "8443"),
        (
            "request_headers",
            "# for the app\nset X-A: 1\n\n remove  X-B \n",
        ),
        ("response_headers", "add Vary: Origin"),
        ("pass_host_header", "app.internal:8080"),
        ("max_body_size", "10m"),
        ("maintenance", "10.0.0.9:80"),
    ]);
    let access = policy.access.expect("access");
    assert_eq!(
        access.lists(),
        ("10.0.0.0/8,::1/128".into(), "10.1.2.3/32".into())
    );
    let redirects = policy.redirects.expect("redirects");
    assert_eq!(redirects.code, 308);
    assert_eq!(
        redirects.lines().collect::<Vec<_>>(),
        ["old.com,http://new.com", "/a,/b"]
    );
    assert_eq!(
        (policy.secure.force, policy.secure.port),
        (Some(true), Some(8443))
    );
    let edits: Vec<_> = policy.rules.request.iter().map(|r| &r.action).collect();
    let set = RequestAction::Field(FieldAction::Set {
        name: "X-A".into(),
        value: Template::text("1"),
    });
    let remove = RequestAction::Field(FieldAction::Remove { name: "X-B".into() });
    assert_eq!(edits, [&set, &remove]);
    assert_eq!(policy.rules.answer.len(), 1);
    assert_eq!(
        policy.host_header,
        HostHeader::Named("app.internal:8080".into())
    );
    assert_eq!(policy.max_body_size, Some(10 << 20));
    assert_eq!(
        policy.maintenance,
        Some(Maintenance::At("10.0.0.9:80".parse().unwrap()))
    );
}

#[test]
fn words_stand_for_what_they_say() {
    let maintenance = |value| policy(&[("maintenance", value)]).maintenance;
    assert_eq!(maintenance("yes"), Some(Maintenance::Closed));
    assert_eq!(maintenance("off"), None);
    let host = |value| policy(&[("pass_host_header", value)]).host_header;
    assert_eq!(host("false"), HostHeader::Upstream);
    assert_eq!(host("app"), HostHeader::Named("app".into()));
    assert_eq!(host("[::1]:80"), HostHeader::Named("[::1]:80".into()));
    let size = |value| policy(&[("max_body_size", value)]).max_body_size;
    assert_eq!(size("none"), Some(u64::MAX));
    assert_eq!(size("0"), Some(u64::MAX));
    assert_eq!(policy(&[("force_ssl", "no")]).secure.force, Some(false));
}

#[test]
fn hosts_that_are_redirected_become_routes_of_their_own() {
    let text = service_text(&[
        ("virtual_hosts", "new.com"),
        (
            "redirects",
            "old.com,http://new.com;*.x.com/a/,/b;/c,/d;old.com,/e",
        ),
    ]);
    let (Some(Unit::Service(service)), _) = parsed(&text) else {
        panic!("refused");
    };
    let Mode::Http(routes) = &service.mode else {
        panic!("not http");
    };
    assert_eq!(routes.hosts, [HostPattern::Exact("new.com".into())]);
    assert_eq!(
        routes.redirected,
        [
            (HostPattern::Exact("old.com".into()), String::new()),
            (HostPattern::Wildcard(".x.com".into()), "/a/".to_owned()),
        ]
    );
}

#[test]
fn wrong_lists_of_networks_are_refused() {
    refused(
        "allow",
        "10.0.0.0/8, office",
        "allow \"office\" is no network; write an address with a prefix length, such as 10.0.0.0/8 or fd00::/8",
    );
    refused(
        "deny",
        "10.0.0.0/33",
        "deny \"10.0.0.0/33\" is no network; write an address with a prefix length, such as 10.0.0.0/8 or fd00::/8",
    );
}

#[test]
fn wrong_redirects_are_refused() {
    refused(
        "redirects",
        "http://old.com http://new.com",
        "redirects \"http://old.com http://new.com\" is no pair; write from,to with a comma between the two",
    );
    refused(
        "redirects",
        "/a,/b,/c",
        "redirects \"/a,/b,/c\" is no pair; put ; between two pairs; a comma inside a path is written %2C",
    );
    refused(
        "redirects",
        "old.com,new.com",
        "redirects \"new.com\" is no target; write a path, or a URL that begins with http:// or https://",
    );
    refused(
        "redirects",
        "old.com,//new.com",
        "redirects \"//new.com\" is no path; a target on another host begins with http:// or https://",
    );
    refused(
        "redirects",
        "old.com,javascript://alert",
        "redirects \"javascript://alert\" has a scheme that is not served; write http:// or https://",
    );
    refused(
        "redirects",
        "/a,https://*.new.com",
        "redirects \"https://*.new.com\" has a * in it; a target is one host; write its name whole",
    );
    refused(
        "redirects",
        ",/b",
        "redirects \"\" says nothing before the comma; write a host name or a path there",
    );
    refused(
        "redirects",
        "/a,/a/b",
        "redirects \"/a/b\" leads in a circle; who is sent there is sent on again; choose a target outside of what is redirected",
    );
    refused(
        "redirects",
        "http://a.com,https://a.com",
        "redirects \"https://a.com\" leads in a circle; from is inside to; to send plain requests to https, set force_ssl",
    );
    refused(
        "redirect_code",
        "300",
        "redirect_code \"300\" is unknown; did you mean \"301\"?",
    );
    let text = service_text(&[("redirect_code", "301")]);
    assert_eq!(
        parsed(&text).1,
        ["Warning: redirect_code says nothing without redirects; remove it, or set redirects"]
    );
    let many: Vec<_> = (0..1001).map(|n| format!("/a{n},/b")).collect();
    refused(
        "redirects",
        &many.join(";"),
        "redirects has 1001 pairs; it may have 1000",
    );
}

#[test]
fn wrong_header_lines_are_refused_with_their_number() {
    refused(
        "request_headers",
        "set X-A: 1\nsett X-B: 2",
        "request_headers line 2: \"sett\" is unknown; did you mean \"set\"?",
    );
    refused(
        "request_headers",
        "set X-A 1",
        "request_headers line 1: \"set X-A 1\" has no value; write set NAME: VALUE",
    );
    refused(
        "response_headers",
        "set X-A:",
        "response_headers line 1: X-A has no value; write remove X-A to take it away",
    );
    refused(
        "request_headers",
        "add X A: 1",
        "request_headers line 1: \"X A\" is no field that can be changed; ' ' cannot be in a field's name",
    );
    refused(
        "response_headers",
        "set Transfer-Encoding: chunked",
        "response_headers line 1: \"Transfer-Encoding\" is no field that can be changed; it frames the message or belongs to one connection, which no rule may change",
    );
    refused(
        "request_headers",
        "set host: x",
        "request_headers line 1: host cannot be changed; set pass_host_header to the name that upstreams shall see",
    );
    refused(
        "request_headers",
        "set X-A: caf\u{e9}",
        "request_headers line 1: X-A has a value with 'é' in it; a value has visible ASCII characters, spaces and tabs",
    );
    refused(
        "request_headers",
        &"remove X-A\n".repeat(101),
        "request_headers has 101 lines; it may have 100",
    );
    refused(
        "request_headers",
        &format!("set X-A: {}", "x".repeat(8193)),
        "request_headers line 1: X-A has a value of 8193 bytes; it may have 8192",
    );
}

#[test]
fn wrong_words_and_numbers_are_refused() {
    refused(
        "force_ssl",
        "always",
        "force_ssl \"always\" is neither true nor false; write true or false",
    );
    refused(
        "force_ssl_port",
        "0",
        "force_ssl_port \"0\" is out of range; a port goes from 1 to 65535",
    );
    refused(
        "pass_host_header",
        "flase",
        "pass_host_header \"flase\" is neither true nor false; did you mean \"false\"? A host name so near to it is written with its port",
    );
    refused(
        "pass_host_header",
        "*.app.com",
        "pass_host_header \"*.app.com\" has a * in it; upstreams are told one name; write it whole",
    );
    refused(
        "pass_host_header",
        "http://app.com",
        "pass_host_header \"http://app.com\" is a URL or has a path; write the host name alone; the path goes to virtual_path",
    );
    refused(
        "max_body_size",
        "huge",
        "max_body_size \"huge\" is no size; write bytes, or a number with k, m or g: 16k, 10m",
    );
    refused(
        "maintenance",
        "ja",
        "maintenance \"ja\" is neither true nor false; write true, false, or the address of an upstream that stands in: 10.0.0.1:80",
    );
    refused(
        "maintenance",
        "10.0.0.9",
        "maintenance \"10.0.0.9\" is no address; the port is missing; write 10.0.0.9:80 if it is 80",
    );
    refused(
        "maintenance",
        "10.0.0.9:80 weight=2",
        "maintenance \"10.0.0.9:80 weight=2\" is more than an address; one upstream stands in, which needs no weight: write address and port alone",
    );
}

#[test]
fn pages_are_html_if_they_look_like_it() {
    let text = "service:\n  name: web\n  error_pages:\n    503: \"  <h1>later</h1>\"\n    \
                404: not here\n    502: \"\"\n";
    let (Some(Unit::Service(service)), report) = parsed(text) else {
        panic!("refused");
    };
    assert!(report.is_empty());
    let policy = service.policy.expect("a policy");
    let pages = policy.error_pages.as_deref().expect("pages");
    let text = |content_type, body: &str| ErrorPage::Text {
        content_type,
        body: Arc::from(body),
    };
    assert_eq!(
        pages.get(503),
        Some(&text("text/html; charset=utf-8", "<h1>later</h1>"))
    );
    assert_eq!(
        pages.get(404),
        Some(&text("text/plain; charset=utf-8", "not here"))
    );
    assert_eq!(pages.get(502), None, "empty is not set");
    let known = "it is one of 400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505";
    for status in ["200", "302", "5o3", "99999999", "-503"] {
        for unit in ["service:\n  name: web", "balancer:"] {
            let text = format!("{unit}\n  error_pages:\n    \"{status}\": x\n");
            let expected =
                format!("Error: error_pages \"{status}\" is no status of our own answers; {known}");
            assert_eq!(parsed(&text).1, [expected]);
        }
    }
    refused(
        "error_pages",
        "sorry",
        "error_pages is a single value and has to be a map; write one line for each name below it",
    );
}

#[test]
fn the_front_goes_over_the_flags_field_by_field() {
    let flags = front(
        "balancer:\n  health_uri: /h\n  stats_uri: /s\n  stats_auth: \"a:b\\nc:d:e\"\n  \
         acme: {t1: t1.x, t2: t2.x}\n",
    );
    let stats = flags.stats.as_ref().expect("stats");
    assert_eq!(stats.users.iter().collect::<Vec<_>>(), ["a:b", "c:d:e"]);
    assert_eq!(format!("{:?}", stats.users), "2 users");
    assert!(flags.answers_from_the_start());
    let defaults = Balancer {
        front: Some(Arc::new(flags)),
        ..Balancer::default()
    };
    let text = "balancer:\n  ready_uri: /r\n  stats_uri: /x\n  acme: {t2: other, t3: t3.x}\n";
    let accepted = parse(&UnitName::from("balancer"), text, &defaults).unwrap();
    let Unit::Balancer(balancer) = accepted.unit else {
        panic!("no balancer");
    };
    let front = balancer.front.expect("a front");
    assert_eq!(front.health_uri.as_deref(), Some("/h"));
    assert_eq!(front.ready_uri.as_deref(), Some("/r"));
    let stats = front.stats.as_ref().expect("stats");
    assert_eq!((stats.uri.as_str(), stats.users.len()), ("/x", 2));
    let acme: Vec<_> = front.acme.iter().map(|(t, a)| format!("{t}={a}")).collect();
    assert_eq!(acme, ["t1=t1.x", "t2=other", "t3=t3.x"]);
}

#[test]
fn figures_are_open_only_if_somebody_says_so() {
    balancer_refused(
        "stats_uri",
        "/lbstats",
        "stats_uri is set and stats_auth is not: everybody could read the figures; \
         set stats_auth to user:password, or to none if everybody may",
    );
    let open = front("balancer: {stats_uri: /lbstats, stats_auth: None}");
    assert!(open.stats.expect("stats").users.is_empty());
    let (_, report) = parsed("balancer: {stats_auth: 'user:docker'}");
    assert_eq!(
        report,
        ["Warning: stats_auth says nothing without stats_uri; remove it, or set stats_uri"]
    );
    let (_, report) = parsed("balancer: {stats_uri: /s, stats_auth: \"user:docker\\nsecret\"}");
    assert_eq!(
        report,
        ["Error: stats_auth line 2 is no user with a password; \
             write user:password, one on each line; or none if everybody may see the figures"],
        "and the secret is not shown"
    );
}

#[test]
fn wrong_values_of_the_front_are_refused() {
    for field in ["health_uri", "ready_uri"] {
        balancer_refused(
            field,
            "health",
            &format!("{field} \"health\" is no path; a path starts with a slash: \"/health\""),
        );
        balancer_refused(
            field,
            "/health?x",
            &format!(
                "{field} \"/health?x\" is no path; requests are led by path alone; remove ? and what follows"
            ),
        );
    }
    let (_, report) = parsed("balancer: {stats_auth: none, stats_uri: '/s;csv'}");
    assert_eq!(
        report,
        [
            "Error: stats_uri \"/s;csv\" has a ; in it; what follows it is the form that is asked for, as in /lbstats;csv"
        ]
    );
    let (_, report) = parsed("balancer: {health_uri: /h, ready_uri: /h}");
    assert_eq!(
        report,
        ["Error: ready_uri \"/h\" is that of health_uri too; give each a path of its own"]
    );
    balancer_refused(
        "force_ssl",
        "maybe",
        "force_ssl \"maybe\" is neither true nor false; write true or false",
    );
    balancer_refused(
        "force_ssl_port",
        "https",
        "force_ssl_port \"https\" is no port; write a number from 1 to 65535",
    );
    let (_, report) = parsed("balancer: {acme: {'a/b': x, 'ok': \"x\\ny\"}}");
    assert_eq!(
        report,
        [
            "Error: acme \"a/b\" is no token; a token has letters, digits, - and _, at most 256 of them",
            "Error: acme.ok \"x\\ny\" is no key authorization; it is what the ACME client gave: the token, a dot and a thumbprint",
        ]
    );
}

#[test]
fn on_a_tcp_service_only_access_lists_say_something() {
    let text = |field: &str| format!("service: {{name: db, mode: tcp, {field}}}");
    let (Some(Unit::Service(service)), report) = parsed(&text("deny: 10.0.0.1")) else {
        panic!("refused");
    };
    assert!(report.is_empty());
    assert!(service.policy.expect("a policy").access.is_some());
    for field in [
        "redirects",
        "redirect_code",
        "force_ssl",
        "force_ssl_port",
        "request_headers",
        "response_headers",
        "pass_host_header",
        "max_body_size",
        "maintenance",
    ] {
        let (unit, report) = parsed(&text(&format!("{field}: x")));
        assert!(unit.is_some());
        assert_eq!(
            report,
            [format!(
                "Warning: {field} says nothing when mode is tcp; remove it, or set mode to \"http\""
            )]
        );
    }
}
