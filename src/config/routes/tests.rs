use super::*;
use crate::config::{Balancer, Mode, Unit, parse};
use crate::diag::Diagnostic;
use crate::names::UnitName;

/// The routes of a service with these fields, and the warnings; or everything wrong with them.
fn read(fields: &str, compat: Compat) -> (Option<HttpRoutes>, Vec<String>) {
    let defaults = Balancer {
        compat,
        ..Balancer::default()
    };
    let text = format!(
        "service:\n  name: web\n  {}\n",
        fields.replace('\n', "\n  ")
    );
    let lines = |diagnostics: Vec<Diagnostic>| {
        let line = |d: Diagnostic| d.to_string().replace(": services/web:", ":");
        diagnostics.into_iter().map(line).collect()
    };
    match parse(&UnitName::from("services/web"), &text, &defaults) {
        Ok(accepted) => match accepted.unit {
            Unit::Service(service) => match service.mode {
                Mode::Http(routes) => (Some(routes), lines(accepted.warnings)),
                Mode::Tcp { .. } => panic!("not http"),
            },
            _ => panic!("no service"),
        },
        Err(diagnostics) => (None, lines(diagnostics)),
    }
}

#[track_caller]
fn good(fields: &str) -> HttpRoutes {
    match read(fields, Compat::Pointsman) {
        (Some(routes), warnings) if warnings.is_empty() => routes,
        (_, told) => panic!("{fields}: {told:#?}"),
    }
}

/// The whole report. Warnings leave the service alive, errors do not.
#[track_caller]
fn told(fields: &str, expected: &[&str]) {
    let (routes, told) = read(fields, Compat::Pointsman);
    assert_eq!(told, expected, "{fields}");
    let refused = expected.iter().any(|line| line.starts_with("error"));
    assert_eq!(routes.is_none(), refused, "{fields}");
}

#[test]
fn a_path_is_a_prefix_by_segment_unless_a_mark_says_otherwise() {
    let paths = |text: &str| good(&format!("virtual_path: '{text}'")).paths;
    assert_eq!(
        paths("/b*, =/b, /b, /a"),
        [
            PathPattern::Prefix("/a".into()),
            PathPattern::Prefix("/b".into()),
            PathPattern::Exact("/b".into()),
            PathPattern::Raw("/b".into()),
        ]
    );
    assert_eq!(paths("=/"), [PathPattern::Exact("/".into())]);
    assert_eq!(paths("/*"), [PathPattern::Raw("/".into())]);
    assert_eq!(paths("/a/*"), [PathPattern::Raw("/a/".into())]);
    // Written differently, and each is shown as it was written.
    let shown: Vec<_> = paths("/b,=/b,/b*").iter().map(|p| p.to_string()).collect();
    assert_eq!(shown, ["/b", "=/b", "/b*"]);
}

#[test]
fn paths_that_are_none_or_look_like_a_mistake_are_told() {
    told(
        "virtual_path: '='",
        &[
            r#"error:3:17: virtual_path "=" is no path; the path stands behind the =, as in "=/api""#,
        ],
    );
    told(
        "virtual_path: '=api'",
        &[r#"error:3:17: virtual_path "api" is no path; a path starts with a slash: "/api""#],
    );
    told(
        "virtual_path: '=/a?b'",
        &[
            r#"error:3:17: virtual_path "/a?b" is no path; requests are led by path alone; remove ? and what follows"#,
        ],
    );
    told(
        "virtual_path: '*'",
        &[r#"error:3:17: virtual_path "*" is no path; a path starts with a slash: "/*""#],
    );
    told(
        "virtual_path: 'api*'",
        &[r#"error:3:17: virtual_path "api" is no path; a path starts with a slash: "/api""#],
    );
    told(
        "virtual_path: '=/api*'",
        &[
            r#"warning:3:17: virtual_path "=/api*" takes only paths with a * in them; remove the * if it is not part of the path"#,
        ],
    );
    told(
        "virtual_path: '/api/**'",
        &[
            r#"warning:3:17: virtual_path "/api/**" takes only paths with a * in them; one * at the end takes whatever begins like the path"#,
        ],
    );
}

#[test]
fn with_compat_kontena_a_star_is_part_of_the_path() {
    let (routes, told) = read("virtual_path: '/api*'", Compat::Kontena);
    assert_eq!(routes.unwrap().paths, [PathPattern::Prefix("/api*".into())]);
    assert_eq!(
        told,
        [
            r#"warning:3:17: virtual_path "/api*" takes only paths with a * in them; remove the *; a path takes everything below it"#
        ]
    );
}

#[test]
fn host_patterns_take_whole_names_whatever_their_case() {
    let routes = good(
        "virtual_host_regex: |\n  (www|API)\\.example\\.com\n\n  \\[::1\\]\n  [a-z]{1,3}|x+\\.test",
    );
    assert_eq!(routes.paths, []);
    let regex = routes.host_regex.unwrap();
    assert_eq!(
        regex.patterns().collect::<Vec<_>>(),
        [
            r"(www|API)\.example\.com",
            r"\[::1\]",
            r"[a-z]{1,3}|x+\.test"
        ]
    );
    for name in [
        "www.example.com",
        "api.example.com",
        "[::1]",
        "abc",
        "xxx.test",
    ] {
        assert!(regex.is_match(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "xwww.example.com",
        "www.example.com.evil",
        "wwwxexample.com",
        "abcd",
    ] {
        assert!(!regex.is_match(name.as_bytes()), "{name}");
    }
}

#[test]
fn bad_host_patterns_are_told_in_the_words_of_whoever_could_not_read_them() {
    let advice =
        r"; each line is one pattern for the whole host name, such as (www|api)\.example\.com";
    let no_regex = |pattern: &str, why: &str| {
        let expected = format!(
            "error:3:23: virtual_host_regex {pattern:?} is no regular expression: {why}{advice}"
        );
        told(&format!("virtual_host_regex: '{pattern}'"), &[&expected]);
    };
    no_regex("www(", "unclosed group");
    no_regex("a)|(b", "unopened group");
    no_regex("*.example.com", "repetition operator missing expression");
    no_regex(
        "[z-a]",
        "invalid character class range, the start must be <= the end",
    );
    no_regex(
        "(?=a)",
        "look-around, including look-ahead and look-behind, is not supported",
    );
    told(
        "virtual_host_regex: '(a{1000}){1000}'",
        &[
            r#"error:3:23: virtual_host_regex "(a{1000}){1000}" takes too much memory; write smaller repetitions"#,
        ],
    );
    told(
        "virtual_host_regex: '(?x)a # no end'",
        &[
            "error:3:23: virtual_host_regex has a pattern that cannot stand beside others; write fewer or simpler patterns",
        ],
    );
    told(
        "virtual_host_regex: 'füü'",
        &[
            r#"error:3:23: virtual_host_regex "füü" can match no host name; 'ü' is beyond ASCII; write the name's xn-- form, as browsers send it"#,
        ],
    );
    told(
        "virtual_host_regex: [a]",
        &[
            "error:3:23: virtual_host_regex is a list and has to be one value; write it as a text in quotes",
        ],
    );
    let many = "virtual_host_regex: |".to_owned() + &"\n  a".repeat(101);
    told(
        &many,
        &["error:4:5: virtual_host_regex has 101 patterns; it may have 100"],
    );
    let long = format!("virtual_host_regex: '{}'", "a".repeat(1025));
    let (_, report) = read(&long, Compat::Pointsman);
    assert!(report[0].contains("is too long; a pattern has at most 1024 characters"));
    let heavy = "virtual_host_regex: |".to_owned() + &"\n  (a{1000}){5}".repeat(20);
    told(
        &heavy,
        &[
            "error:4:5: virtual_host_regex has patterns that take too much memory; write fewer or simpler patterns",
        ],
    );
}

#[test]
fn several_bad_host_patterns_are_told_at_once() {
    let (_, report) = read("virtual_host_regex: |\n  (\n  ok\n  [", Compat::Pointsman);
    assert_eq!(report.len(), 2, "{report:#?}");
}

#[test]
fn priority_is_a_whole_number_within_its_range() {
    assert_eq!(good("priority: '-1000'").priority, -1000);
    assert_eq!(good("priority: 1000").priority, 1000);
    assert_eq!(good("priority: ''").priority, 0);
    for (value, problem) in [
        (
            "high",
            "is no whole number; write a number from -1000 to 1000",
        ),
        (
            "+5",
            "is no whole number; write a number from -1000 to 1000",
        ),
        (
            "1.5",
            "is no whole number; write a number from -1000 to 1000",
        ),
        ("-", "is no whole number; write a number from -1000 to 1000"),
        ("1001", "is out of range; it goes from -1000 to 1000"),
        ("-1001", "is out of range; it goes from -1000 to 1000"),
        (
            "99999999999999999999",
            "is out of range; it goes from -1000 to 1000",
        ),
    ] {
        told(
            &format!("priority: '{value}'"),
            &[&format!("error:3:13: priority \"{value}\" {problem}")],
        );
    }
}

#[test]
fn a_condition_is_acl_lines_and_a_condition() {
    let condition = |text: &str| good(&format!("match: {text}")).condition.unwrap();
    let text = "{ method GET } { hdr(x-version) 2 } !{ url_param(debug) -m found }";
    assert_eq!(condition(&format!("'{text}'")).text, text);
    let lines = condition("|\n  acl is_get method GET\n  if is_get");
    assert_eq!(lines.text, "acl is_get method GET\nif is_get");
    assert_eq!(good("match: ''").condition, None);
}

#[test]
fn a_condition_that_cannot_be_read_or_never_be_judged_is_told() {
    let check = |text: &str, problem: &str| {
        told(&format!("match: {text}"), &[&format!("error:{problem}")]);
    };
    check(
        "'{ method GET'",
        "3:10: match line 1 has a { without a }; write both with spaces around, as in { path_beg /api }",
    );
    check(
        "'is_get'",
        r#"3:10: match line 1 acl "is_get" is unknown; declare it with an acl line"#,
    );
    check(
        "|\n  acl x method GET\n  { metod GET }",
        r#"4:5: match line 2 "metod" is unknown; did you mean "method"?"#,
    );
    check(
        "|\n  acl x method GET",
        "4:5: match line 1 has no condition; write one behind the acl lines, such as: if is_api METH_GET",
    );
    for text in ["{ status 200 }", "{ res.hdr(x) 1 }", "{ res.hdr_cnt(x) 1 }"] {
        check(
            &format!("'{text}'"),
            "3:10: match looks at the answer, which is not there when a request is led; write a condition on method, host, path, query, fields or addresses",
        );
    }
}

#[test]
fn context_root_rewrite_says_whether_the_path_is_cut() {
    let kept = |fields: &str| {
        let routes = good(fields);
        (routes.keep_virtual_path, routes.adds_slash)
    };
    assert_eq!(kept("priority: 0"), (false, false));
    assert_eq!(kept("context_root_rewrite: true"), (false, true));
    assert_eq!(kept("context_root_rewrite: false"), (true, false));
    // Both may be written if they agree.
    let both = |rewrite, keep| {
        kept(&format!(
            "context_root_rewrite: {rewrite}\nkeep_virtual_path: {keep}"
        ))
    };
    assert_eq!(both(true, false), (false, true));
    assert_eq!(both(false, true), (true, false));
    told(
        "context_root_rewrite: true\nkeep_virtual_path: true",
        &[
            "error:3:25: context_root_rewrite true cuts the path off and keep_virtual_path true keeps it; remove one of the two",
        ],
    );
    told(
        "keep_virtual_path: false\ncontext_root_rewrite: false",
        &[
            "error:4:25: context_root_rewrite false keeps the path and keep_virtual_path false cuts it off; remove one of the two",
        ],
    );
    told(
        "context_root_rewrite: maybe",
        &[
            r#"error:3:25: context_root_rewrite "maybe" is neither true nor false; write true or false"#,
        ],
    );
}

#[test]
fn a_tcp_service_is_told_that_routes_say_nothing_there() {
    let fields =
        "mode: tcp\nvirtual_host_regex: a\ncontext_root_rewrite: true\nmatch: TRUE\npriority: 1";
    let text = format!("service:\n  name: db\n  {}\n", fields.replace('\n', "\n  "));
    let accepted = parse(
        &UnitName::from("tcp-services/db"),
        &text,
        &Balancer::default(),
    )
    .unwrap();
    let told: Vec<_> = accepted
        .warnings
        .iter()
        .map(|d| d.message.clone())
        .collect();
    let expected = [
        "virtual_host_regex",
        "context_root_rewrite",
        "match",
        "priority",
    ];
    assert_eq!(
        told,
        expected.map(|key| format!("{key} says nothing when mode is tcp"))
    );
}
