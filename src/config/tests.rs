use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::names::{ServiceName, UpstreamName};

fn parsed(text: &str) -> Result<Accepted, Vec<Diagnostic>> {
    parse(&UnitName::from("services/web"), text, &Balancer::default())
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|d| {
            d.to_string()
                .replace(": services/web:", ":")
                .replace(": services/web: ", ": ")
        })
        .collect()
}

/// The whole report of a text, one line for each diagnostic: `error:LINE:COLUMN: message; help`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let diagnostics = match parsed(text) {
        Ok(accepted) => accepted.warnings,
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(Diagnostic::is_error));
            diagnostics
        }
    };
    assert_eq!(lines(&diagnostics), expected, "\n{text}");
}

/// One field of a service named web; the report has to hold `expected`, or be empty.
#[track_caller]
fn field(line: &str, expected: &str) {
    let text = format!("service:\n  name: web\n  {line}\n");
    let report = match parsed(&text) {
        Ok(accepted) => lines(&accepted.warnings).join("\n"),
        Err(diagnostics) => lines(&diagnostics).join("\n"),
    };
    if expected.is_empty() {
        assert_eq!(report, "", "\n{text}");
    } else {
        assert!(report.contains(expected), "\n{text}\n{report}");
    }
}

#[track_caller]
fn service(text: &str) -> Service {
    match parsed(text).map(|accepted| accepted.unit) {
        Ok(Unit::Service(service)) => service,
        other => panic!("no service: {other:?}\n{text}"),
    }
}

#[track_caller]
fn routes(text: &str) -> HttpRoutes {
    match service(text).mode {
        Mode::Http(routes) => routes,
        Mode::Tcp { .. } => panic!("not http\n{text}"),
    }
}

const FULL: &str = r#"
service:
  name: "web"
  mode: "HTTP"
  balance: "LeastCon"
  virtual_hosts: "www.Foo.com, *.bar.com,www.foo.com"
  virtual_path: ["/b", "/a"]
  keep_virtual_path: "true"
  default: "no"
  health_check_uri: "/health?deep=1"
  health_check_port: "8081"
  health_check_interval: "500ms"
  health_check_timeout: "1s"
  health_check_rise: "1"
  health_check_fall: "5"
  warm_up: "30s"
  timeout_connect: "1s"
  timeout_server: 90s
  timeout_client: "2000"
  timeout_tunnel: "1d"
  timeout_queue: "3s"
  retries: "0"
  max_connections: "100"
  max_queue: 0
  upstreams:
    "web-2": "[::1]:80 weight=0"
    "web-1": "10.0.0.1:80 weight=5"
"#;

#[test]
fn a_full_service_is_read_into_its_checked_form() {
    let s = Duration::from_secs;
    let upstream = |name: &str, address: &str, weight| Upstream {
        name: UpstreamName::from(name),
        address: Address::At(address.parse().unwrap()),
        weight,
    };
    let expected = Service {
        name: ServiceName::from("web"),
        mode: Mode::Http(HttpRoutes {
            hosts: vec![
                HostPattern::Exact("www.foo.com".into()),
                HostPattern::Wildcard(".bar.com".into()),
            ],
            paths: vec![
                PathPattern::Prefix("/a".into()),
                PathPattern::Prefix("/b".into()),
            ],
            keep_virtual_path: true,
            ..HttpRoutes::default()
        }),
        balance: Some(Balance::LeastConn),
        upstreams: vec![
            upstream("web-1", "10.0.0.1:80", 5),
            upstream("web-2", "[::1]:80", 0),
        ],
        health_check: HealthCheck {
            kind: CheckKind::Http(HttpCheck::get("/health?deep=1").into()),
            port: Some(8081),
            interval: Duration::from_millis(500),
            timeout: s(1),
            rise: 1,
            fall: 5,
        },
        warm_up: Some(s(30)),
        timeouts: ServiceTimeouts {
            connect: Some(s(1)),
            server: Some(s(90)),
            client: Some(s(2)),
            tunnel: Some(s(86_400)),
            queue: Some(s(3)),
        },
        retries: Some(0),
        max_connections: Some(100),
        max_queue: Some(0),
        send_proxy: None,
        upstream_tls: None,
        access_log: true,
        policy: None,
    };
    assert_eq!(service(FULL), expected);
    check(FULL, &[]);
}

#[test]
fn a_service_with_a_name_alone_takes_every_path() {
    let service = service("service: {name: web}");
    assert_eq!(service.balance, None);
    assert_eq!(service.health_check, HealthCheck::default());
    assert_eq!(service.upstreams, []);
    let everything = [PathPattern::Prefix("/".into())];
    assert_eq!(routes("service: {name: web}").paths, everything);
    // Written empty is not written, whatever the field.
    let empty = "service: {name: web, virtual_hosts: '', virtual_path: ' ', balance: '', mode: ~,\
                 upstreams: , timeout_server: '', default: ''}";
    assert_eq!(routes(empty).paths, everything);
    assert_eq!(routes("service: {name: w, virtual_hosts: [a.b]}").paths, []);
}

#[test]
fn a_tcp_service_has_a_port_of_its_own() {
    let mode = |text: &str| service(text).mode;
    assert_eq!(
        mode("service: {name: db, mode: tcp, external_port: '3306'}"),
        Mode::Tcp {
            external_port: 3306
        }
    );
    assert_eq!(
        mode("service: {name: db, mode: TCP}"),
        Mode::Tcp {
            external_port: 5000
        }
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    check(
        r#"service:
  name: "web"
  mode: "htp"
  balanse: "x"
  balance: "leastcom"
  virtual_hosts: "ok.com, bad host,"
  virtual_path: "api"
  timeout_server: "soon"
  external_port: "99999"
  retries: "0"
  retries: "1"
  upstreams:
    "web-1": "10.0.0.1:0"
    "web-2": "web.local:http"
"#,
        &[
            r#"error:3:9: mode "htp" is unknown; did you mean "http"?"#,
            r#"error:4:3: field "balanse" is unknown; did you mean "balance"?"#,
            r#"error:5:12: balance "leastcom" is unknown; did you mean "leastconn"?"#,
            r#"error:6:18: virtual_hosts "bad host" is no host name; it has a space; put a comma between two hosts"#,
            "error:6:18: virtual_hosts has an empty entry; remove the comma that has nothing beside it",
            r#"error:7:17: virtual_path "api" is no path; a path starts with a slash: "/api""#,
            r#"error:8:19: timeout_server "soon" is no duration; write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d"#,
            r#"error:11:3: "retries" is written twice; keep one of the two"#,
            r#"error:13:14: upstreams.web-1 "10.0.0.1:0" has a port that cannot be; a port goes from 1 to 65535"#,
            r#"error:14:14: upstreams.web-2 "web.local:http" has a port that cannot be; write a number from 1 to 65535"#,
        ],
    );
}

#[test]
fn texts_that_are_no_unit_say_so() {
    check("", &["error:1:1: the text is empty"]);
    check(
        "hello",
        &["error:1:1: the text has no fields; it starts with service:, certificate: or balancer:"],
    );
    check(
        "{}",
        &["error:1:1: the text has no fields; it starts with service:, certificate: or balancer:"],
    );
    check(
        "servise: {name: web}",
        &["error:1:1: unit \"servise\" is unknown; did you mean \"service\"?"],
    );
    check(
        "service: {name: web}\nbalancer: {}",
        &[
            "error:2:1: \"balancer\" is a second unit in one text; one text is one unit; give it a template of its own",
        ],
    );
    check(
        "service:",
        &["error:1:1: name is missing; write the service's name, as in name: \"web\""],
    );
    check(
        "service: [1]",
        &[
            "error:1:1: name is missing; write the service's name, as in name: \"web\"",
            "error:1:10: service is a list and has to be fields; write the fields below it, each on a line of its own",
        ],
    );
    check(
        "service:\n  name: web\n  virtual_hosts: *.foo.com\n",
        &[
            "error:3:18: aliases (*name) are not taken; write the value out, or quote it when it starts with *",
        ],
    );
    assert!(parsed("service:\n  name: \"web\n").is_err());
    assert!(parsed("service:\n\tname: web\n").is_err());
}

#[test]
fn fields_report_in_their_own_words() {
    field(
        "name2: x",
        "field \"name2\" is unknown; did you mean \"name\"?",
    );
    field("mode: https", "write \"http\"");
    field("mode: udp", "it is one of http, tcp");
    field("balance: [a]", "balance is a list and has to be one value");
    field(
        "virtual_hosts: {a: b}",
        "virtual_hosts is a map and has to be a list",
    );
    field("virtual_hosts: [a.b, [c]]", "has an entry that is a list");
    field(
        "virtual_hosts: 'foo.com:8080'",
        "warning:3:18: virtual_hosts \"foo.com:8080\" has a port",
    );
    field("keep_virtual_path: maybe", "write true or false");
    field("default: '1'", "");
    field("health_check: of", "did you mean \"off\"?");
    field("health_check: off", "");
    field(
        "health_check_uri: health",
        "a path starts with a slash: \"/health\"",
    );
    field("health_check_port: '0'", "a port goes from 1 to 65535");
    field("health_check_interval: 10ms", "it goes from 100ms to 1h");
    field("health_check_timeout: 2h", "it goes from 10ms to 1h");
    field("health_check_rise: 0", "it goes from 1 to 100");
    field("health_check_fall: x", "write a number from 1 to 100");
    field("warm_up: 30s", "");
    field("warm_up: 0", "");
    field("warm_up: 2h", "it goes from 0s to 1h");
    field(
        "warm_up: 30",
        "warning:3:12: warm_up \"30\" is 30 milliseconds; write 30s",
    );
    field(
        "warm_up: 30s\n  health_check: off",
        "warning:3:12: warm_up says nothing when health_check is off: nobody knows when an upstream comes up",
    );
    field(
        "warm_up: 30s\n  balance: source",
        "warning:3:12: warm_up says nothing when balance is source",
    );
    field("timeout_connect: 0", "it goes from 1ms to 7d");
    field("timeout_client: 8d", "it goes from 1ms to 7d");
    field(
        "timeout_server: 60",
        "warning:3:19: timeout_server \"60\" is 60 milliseconds; write 60s",
    );
    field("timeout_queue: 60s", "");
    field("retries: -1", "write a number from 0 to 100");
    field("max_connections: 0", "");
    field("max_connections: none", "");
    field("max_queue: '1.5'", "is no whole number");
    field(
        "external_port: 80",
        "warning:3:18: external_port says nothing when mode is http",
    );
    field("upstreams: [a]", "upstreams is a list and has to be a map");
    field("upstreams: {web-1: [a]}", "upstreams.web-1 is a list");
    field("upstreams: {web-1: }", "upstreams.web-1 is empty");
    field("upstreams: {'web 1': '10.0.0.1:80'}", "' ' cannot be in it");
    field("upstreams: {'': '10.0.0.1:80'}", "it cannot be empty");
    field("<<: {a: b}", "field \"<<\" is unknown");
}

#[test]
fn external_port_is_checked_where_it_counts() {
    let tcp = |port: &str| format!("service: {{name: db, mode: tcp, external_port: '{port}'}}");
    for bad in ["0", "99999", "mysql", "-1", "3306,3307"] {
        assert!(parsed(&tcp(bad)).is_err(), "{bad}");
    }
    check(
        &tcp("99999"),
        &["error:1:47: external_port \"99999\" is out of range; a port goes from 1 to 65535"],
    );
}

#[test]
fn names_that_could_break_a_log_line_are_refused() {
    for bad in ["\"a\\nb\"", "\"a b\"", "\"a/b\"", "\"ü\"", "'a\"b'"] {
        let text = format!("service: {{name: {bad}}}");
        let report = lines(&parsed(&text).unwrap_err()).join("\n");
        assert!(
            report.contains("is no name") && !report.contains('\n'),
            "{report}"
        );
    }
}

#[test]
fn health_check_kind_follows_the_word_and_the_uri() {
    let kind = |rest: &str| {
        service(&format!("service: {{name: w, {rest}}}"))
            .health_check
            .kind
    };
    let http = |uri: &str| CheckKind::Http(HttpCheck::get(uri).into());
    assert_eq!(kind("health_check: http"), http("/"));
    assert_eq!(kind("health_check: http, health_check_uri: /x"), http("/x"));
    assert_eq!(
        kind("health_check: tcp, health_check_uri: /x"),
        CheckKind::Tcp
    );
    assert_eq!(
        kind("health_check: off, health_check_uri: /x"),
        CheckKind::Off
    );
    assert_eq!(kind("mode: tcp, health_check_uri: /x"), http("/x"));
}

#[test]
fn with_compat_kontena_only_true_keeps_the_path() {
    let kontena = Balancer {
        compat: Compat::Kontena,
        ..Balancer::default()
    };
    let keeps = |value: &str| {
        let text = format!("service: {{name: w, keep_virtual_path: '{value}'}}");
        let accepted = parse(&UnitName::from("services/w"), &text, &kontena).unwrap();
        match accepted.unit {
            Unit::Service(Service {
                mode: Mode::Http(routes),
                ..
            }) => (routes.keep_virtual_path, accepted.warnings.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(keeps("true"), (true, 0));
    assert_eq!(keeps("1"), (false, 1));
    assert_eq!(keeps("false"), (false, 0));
    assert_eq!(keeps(""), (false, 0));
}

#[test]
fn the_balancer_overrides_the_flags_field_by_field() {
    let flags = Balancer {
        retries: 7,
        max_headers: 50,
        ..Balancer::default()
    };
    let text = "balancer:\n  compat: Kontena\n  timeout_head: 1s\n  timeout_drain: 0\n  \
                max_head_size: 32k\n  max_body_size: 10m\n  max_headers: ''\n  \
                max_connections: 5\n  trusted_proxies: '10.1.2.3/8, ::1'\n";
    let accepted = parse(&UnitName::from("balancer"), text, &flags).unwrap();
    let mut expected = Balancer {
        compat: Compat::Kontena,
        max_head_size: 32 * 1024,
        max_body_size: Some(10 << 20),
        max_connections: 5,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..flags.clone()
    };
    expected.timeouts.head = Duration::from_secs(1);
    expected.timeouts.drain = Duration::ZERO;
    assert_eq!(accepted.unit, Unit::Balancer(expected));
    assert_eq!(
        parse(&UnitName::from("balancer"), "balancer: {}", &flags)
            .unwrap()
            .unit,
        Unit::Balancer(flags)
    );
}

#[test]
fn bad_balancer_fields_are_refused_with_their_range() {
    check(
        "balancer:\n  compat: haproxy\n  max_head_size: 1m\n  max_headers: 0\n  max_body_size: big\n  \
         max_connections: 0\n  trusted_proxies: [10.0.0.0/8, me]\n  timeout_hed: 1s\n",
        &[
            "error:2:11: compat \"haproxy\" is unknown; it is one of pointsman, kontena",
            "error:3:18: max_head_size \"1m\" is out of range; it goes from 1024 to 65536 bytes, such as 16k",
            "error:4:16: max_headers \"0\" is out of range; it goes from 1 to 1000",
            "error:5:18: max_body_size \"big\" is no size; write bytes, or a number with k, m or g: 16k, 10m",
            "error:6:20: max_connections \"0\" is out of range; it goes from 1 to 10000000",
            "error:7:33: trusted_proxies \"me\" is no network; write an address with a prefix length, such as 10.0.0.0/8 or fd00::/8",
            "error:8:3: field \"timeout_hed\" is unknown; did you mean \"timeout_head\"?",
        ],
    );
}

#[test]
fn big_texts_are_refused_and_long_reports_cut() {
    let report = lines(&parsed(&"x".repeat(10_000_000)).unwrap_err());
    assert_eq!(
        report,
        ["error: the text has 10000000 bytes and may have 262144"]
    );
    let long_value = format!("service: {{name: w, balance: \"{}\"}}", "x".repeat(200_000));
    let report = lines(&parsed(&long_value).unwrap_err()).join("");
    assert!(
        report.len() < 300 && report.contains("(200000 bytes)"),
        "{report}"
    );

    let mut bad = "service:\n  name: w\n  upstreams:\n".to_owned();
    for n in 0..5000 {
        bad.push_str(&format!("    u{n}: x\n"));
    }
    let report = parsed(&bad).unwrap_err();
    assert_eq!(report.len(), 101);
    assert_eq!(report[100].message, "and 4900 more problems");

    let mut many = "service:\n  name: w\n  upstreams:\n".to_owned();
    for n in 0..10_001 {
        many.push_str(&format!("    u{n}: 1:2\n"));
    }
    assert!(lines(&parsed(&many).unwrap_err())[0].contains("upstreams has 10001 entries"));
}

#[test]
fn a_refusal_is_kept_when_a_hundred_warnings_stand_before_it() {
    let hosts: Vec<String> = (0..300).map(|n| format!("h{n}.com:80")).collect();
    let text = format!(
        "service:\n  name: w\n  virtual_hosts: \"{}\"\n  basic_auth_secrets: x\n",
        hosts.join(",")
    );
    let report = parsed(&text).unwrap_err();
    assert!(report.iter().any(|d| d.code == "bad-value"));
}

proptest! {
    #[test]
    fn any_text_is_answered_without_a_panic(text in "\\PC{0,200}") {
        let _ = parsed(&text);
    }

    #[test]
    fn yaml_like_noise_is_answered_without_a_panic(
        text in "[ \\-\\[\\]{}:,?&*!|>'\"%@`#\n\tab1\\\\\r\u{0}\u{85}\u{feff}]{0,120}"
    ) {
        let _ = parsed(&text);
    }

    #[test]
    fn a_damaged_text_is_answered_without_a_panic(
        at in 0..FULL.len(), len in 0usize..40, with in "\\PC{0,8}"
    ) {
        let mut text = FULL.to_owned();
        let end = (at + len).min(text.len());
        text.replace_range(at..end, &with);
        if let Err(diagnostics) = parsed(&text) {
            prop_assert!(diagnostics.iter().any(Diagnostic::is_error));
        }
    }
}

#[test]
fn no_field_shows_a_key_that_was_put_there_by_mistake() {
    let secret = ["MHcCAQEEIFTiPHX0OzIdSjrwzUQpp", "oAoGCCqGSM49AwEHoUQDQgAEx"];
    let pem = format!(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n{}\n-----END EC PRIVATE KEY-----\n",
        secret[0], secret[1]
    );
    let value = serde_json::Value::from(pem.as_str());
    let units = [("service", SERVICE_FIELDS), ("balancer", BALANCER_FIELDS)];
    for (unit, fields) in units {
        for field in fields {
            let maps = ["upstreams", "error_pages", "acme"];
            let written = match maps.contains(field) {
                true => format!("{{a: {value}}}"),
                false => value.to_string(),
            };
            let text = format!("{unit}:\n  {field}: {written}\n");
            let problems = parse(&"x".into(), &text, &Balancer::default()).unwrap_err();
            let told = format!("{problems:?}");
            for line in secret {
                assert!(!told.contains(&line[..12]), "{field}: {told}");
            }
            assert!(
                told.contains("PEM") || told.contains("key"),
                "{field}: {told}"
            );
        }
    }
}
