//! Keys in, checked units or a report out: built-in templates and config together.

use pointsman::config::{
    BALANCER_FIELDS, Balancer, CERTIFICATE_FIELDS, SERVICE_FIELDS, Unit, parse,
};
use pointsman::diag::Diagnostic;
use pointsman::render::{Renderer, Templates};
use pointsman::snapshot::Snapshot;

/// What the keys lead to: units, and every diagnostic with the key it is about.
fn judge(keys: &[(&str, &[u8])]) -> (Vec<Unit>, Vec<Diagnostic>) {
    let snapshot: Snapshot = keys
        .iter()
        .map(|(key, value)| (*key, value.to_vec()))
        .collect();
    let mut renderer = Renderer::new(Templates::load(None).0);
    let rendered = renderer.update(&snapshot);
    let mut units = Vec::new();
    let mut diagnostics: Vec<_> = rendered.failed.into_iter().flat_map(|f| f.1).collect();
    for text in rendered.changed {
        diagnostics.extend(text.warnings);
        let mut told = match parse(&text.unit, &text.text, &Balancer::default()) {
            Ok(accepted) => {
                units.push(accepted.unit);
                accepted.warnings
            }
            Err(told) => told,
        };
        renderer.name_keys(&text.unit, &mut told);
        diagnostics.append(&mut told);
    }
    (units, diagnostics)
}

#[track_caller]
fn refused(key: &str, value: &str, expected: &str) {
    let (_, diagnostics) = judge(&[(key, value.as_bytes())]);
    let report: Vec<_> = diagnostics.iter().map(Diagnostic::to_string).collect();
    assert_eq!(report, [expected], "{key} = {value}");
}

#[test]
fn bad_keys_are_told_with_line_key_and_advice() {
    refused(
        "services/web/balance",
        "leastcom",
        "error: services/web:4:12: balance \"leastcom\" is unknown (key services/web/balance); did you mean \"leastconn\"?",
    );
    refused(
        "services/web/virtual_hosts",
        "www foo.com",
        "error: services/web:4:18: virtual_hosts \"www foo.com\" is no host name (key services/web/virtual_hosts); it has a space; put a comma between two hosts",
    );
    refused(
        "services/web/virtual_path",
        "api",
        "error: services/web:4:17: virtual_path \"api\" is no path (key services/web/virtual_path); a path starts with a slash: \"/api\"",
    );
    refused(
        "services/web/upstreams/web-1",
        "10.0.0.1",
        "error: services/web:5:14: upstreams.web-1 \"10.0.0.1\" is no address (key services/web/upstreams/web-1); the port is missing; write 10.0.0.1:80 if it is 80",
    );
    refused(
        "tcp-services/db/external_port",
        "99999",
        "error: tcp-services/db:4:18: external_port \"99999\" is out of range (key tcp-services/db/external_port); a port goes from 1 to 65535",
    );
    refused(
        "settings/max_headers",
        "0",
        "error: balancer:2:16: max_headers \"0\" is out of range (key settings/max_headers); it goes from 1 to 1000",
    );
}

#[test]
fn one_bad_service_leaves_the_others_alone() {
    let big = vec![b'x'; 10_000_000];
    let (units, diagnostics) = judge(&[
        ("services/a/upstreams/1", b"10.0.0.1:80"),
        ("services/b/balance", b"\xff"),
        ("services/c/balance", &big),
        ("services/d/basic_auth_secrets", b"user x password y"),
        ("services/e/upstreams/1", b"10.0.0.1:0"),
        ("services/f/upstreams/1", b"10.0.0.1:80"),
    ]);
    assert_eq!(units.len(), 3, "balancer, a and f: {units:?}");
    let codes: Vec<_> = diagnostics
        .iter()
        .map(|d| (d.unit.as_str(), d.code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            ("services/b", "not-utf8"),
            ("services/c", "too-big"),
            ("services/d", "bad-value"),
            ("services/e", "bad-value"),
        ]
    );
}

/// The templates list the keys they know; the list and the fields of the config must not drift apart.
#[test]
fn built_in_templates_know_every_field_and_no_other() {
    // The directory says these two, so no key does.
    let not_keys = ["name", "mode"];
    for (fields, dir) in [
        (SERVICE_FIELDS, "services/web"),
        (SERVICE_FIELDS, "tcp-services/web"),
        (BALANCER_FIELDS, "settings"),
    ] {
        for field in fields.iter().filter(|field| !not_keys.contains(field)) {
            let key = match *field {
                "upstreams" | "error_pages" => format!("{dir}/{field}/x"),
                "acme" => "acme/?".to_owned(),
                field => format!("{dir}/{field}"),
            };
            let (_, diagnostics) = judge(&[(&key, b"?/")]);
            let named: Vec<_> = diagnostics
                .iter()
                .filter(|d| match &d.key {
                    Some(of) => *of == key,
                    // Where the key is a directory, the field alone is named.
                    None => d.field.as_deref() == Some(field),
                })
                .map(|d| d.code.as_str())
                .collect();
            assert!(!named.is_empty(), "{key} reaches no field");
            assert!(
                !named.contains(&"unknown-key"),
                "{key} is unknown to its template"
            );
        }
    }
    for field in CERTIFICATE_FIELDS {
        let template = include_str!("../templates/certificate.tera");
        assert!(template.contains(&format!("\n  {field}: ")), "{field}");
    }
    for text in [
        include_str!("../templates/http-service.tera"),
        include_str!("../templates/tcp-service.tera"),
        include_str!("../templates/balancer.tera"),
    ] {
        let start = text
            .find("set known = [")
            .expect("templates list their keys");
        let end = start + text[start..].find(']').expect("the list ends");
        let words: Vec<_> = text[start..end].split('"').skip(1).step_by(2).collect();
        assert!(words.len() > 10);
        for word in words {
            assert!(
                SERVICE_FIELDS.contains(&word) || BALANCER_FIELDS.contains(&word),
                "{word} is no field"
            );
        }
    }
}

#[test]
fn every_field_is_documented() {
    let keys = include_str!("../docs/keys.md");
    let config = include_str!("../docs/config.md");
    let fields = [SERVICE_FIELDS, CERTIFICATE_FIELDS, BALANCER_FIELDS];
    for field in fields.into_iter().flatten() {
        let quoted = format!("`{field}`");
        assert!(config.contains(&quoted), "docs/config.md lacks {field}");
        if !["name", "mode"].contains(field) {
            let row = format!("`{field}");
            assert!(keys.contains(&row), "docs/keys.md lacks {field}");
        }
    }
}

/// `docs/coming_from.md` names the test that shows each claim, as `file::name`.
#[test]
fn what_is_claimed_for_those_who_come_from_others_has_its_test() {
    let claims = include_str!("../docs/coming_from.md");
    let tests = |file: &str| {
        let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    for row in claims.lines().filter(|line| line.starts_with("| ")) {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next();
        let shown = shown.expect("a last column");
        if shown == "seen in" {
            continue;
        }
        for name in shown.split(", ") {
            let (file, name) = name
                .trim_matches('`')
                .split_once("::")
                .unwrap_or_else(|| panic!("no test in {row}"));
            let heading = format!("#[test]\nfn {name}() {{");
            assert!(tests(file).contains(&heading), "no test {file}::{name}");
        }
    }
}

#[test]
fn a_value_where_only_keys_below_are_read_draws_a_warning() {
    let (units, diagnostics) = judge(&[
        ("services/web/error_pages", b"<h1>"),
        ("services/web/upstreams", b"10.0.0.1:80"),
        ("tcp-services/db/upstreams", b"10.0.0.1:80"),
        ("settings/error_pages", b"<h1>"),
    ]);
    assert_eq!(units.len(), 3);
    let told: Vec<_> = diagnostics.iter().map(Diagnostic::to_string).collect();
    for key in [
        "services/web/error_pages",
        "services/web/upstreams",
        "tcp-services/db/upstreams",
        "settings/error_pages",
    ] {
        let is_told = told.iter().any(|told| {
            told.starts_with("warning: ")
                && told.contains(&format!("(key {key})"))
                && told.contains("only keys below it")
        });
        assert!(is_told, "{key} in {told:#?}");
    }
}
