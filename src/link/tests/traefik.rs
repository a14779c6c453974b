//! Routers, services and middlewares of Traefik 2 and 3.

use super::*;

/// Labels without the `traefik.` in front.
fn labels(words: &[(&str, &str)]) -> Facts {
    let mut facts = facts(&[]);
    let full = words
        .iter()
        .map(|(name, value)| (format!("traefik.{name}"), (*value).to_owned()));
    facts.labels = full.collect();
    facts
}

fn check(words: &[(&str, &str)], expected: &[&str], problems: &[&str]) {
    let (keys, told) = said(&labels(words), &Ground::default());
    let keys: Vec<_> = keys
        .lines()
        .filter(|line| !line.contains("=10.0.0.2:"))
        .map(|line| line.trim_start_matches("services/web/"))
        .collect();
    assert_eq!(keys.join("\n"), expected.join("\n"), "{words:?}: {told:#?}");
    assert_eq!(told.len(), problems.len(), "{words:?}: {told:#?}");
    for (told, part) in told.iter().zip(problems) {
        assert!(told.contains(part), "{told} lacks {part}");
    }
}

fn refused(words: &[(&str, &str)], problem: &str) {
    let (keys, told) = said(&labels(words), &Ground::default());
    assert_eq!(keys, "", "{words:?}");
    let is_told = told
        .iter()
        .any(|told| told.starts_with("error") && told.contains(problem));
    assert!(is_told, "{words:?}: {told:#?} lacks {problem}");
}

fn rule(rule: &str, expected: &[&str]) {
    check(&[("http.routers.web.rule", rule)], expected, &[]);
}

fn bad_rule(text: &str, problem: &str) {
    refused(&[("http.routers.web.rule", text)], problem);
}

#[test]
fn hosts_and_paths_are_looked_up() {
    rule("Host(`a.com`)", &["virtual_hosts=a.com"]);
    rule("Host(`a.com`, `b.com`)", &["virtual_hosts=a.com, b.com"]);
    rule(
        "Host(`a.com`) || Host(\"b.com\")",
        &["virtual_hosts=a.com, b.com"],
    );
    rule("HostHeader(`a.com`)", &["virtual_hosts=a.com"]);
    rule(
        "HostRegexp(`^.+\\.a\\.com$`)",
        &["virtual_host_regex=.*(?:^.+\\.a\\.com$).*"],
    );
    rule(
        "HostRegexp(`{sub:[a-z]{2}}.a.com`)",
        &["virtual_host_regex=(?:[a-z]{2})\\.a\\.com"],
    );
    rule(
        "Path(`/x`)",
        &["keep_virtual_path=true", "virtual_path==/x"],
    );
    rule(
        "PathPrefix(`/x`)",
        &["keep_virtual_path=true", "virtual_path=/x*"],
    );
    rule(
        "PathPrefix(`/x/`)",
        &["keep_virtual_path=true", "virtual_path=/x"],
    );
    rule(
        "PathPrefix(`/`)",
        &["keep_virtual_path=true", "virtual_path=/"],
    );
    rule(
        "(Host(`a`) || Host(`b`)) && (PathPrefix(`/x`) || Path(`/y`))",
        &[
            "keep_virtual_path=true",
            "virtual_hosts=a, b",
            "virtual_path==/y, /x*",
        ],
    );
}

#[test]
fn everything_else_is_a_condition() {
    let condition = |text: &str, condition: &str| rule(text, &[&format!("match={condition}")]);
    condition("PathRegexp(`^/[0-9]+$`)", "{ path -m reg -- '^/[0-9]+$' }");
    condition("Method(`GET`, `head`)", "{ method GET HEAD }");
    condition("Header(`X-A`, `1 2`)", "{ req.fhdr(X-A) -m str -- '1 2' }");
    condition("Headers(`X-A`, `1`)", "{ req.fhdr(X-A) -m str -- '1' }");
    condition(
        "HeaderRegexp(`X-A`, `^1`)",
        "{ req.fhdr(X-A) -m reg -- '^1' }",
    );
    condition(
        "HeadersRegexp(`X-A`, `^1`)",
        "{ req.fhdr(X-A) -m reg -- '^1' }",
    );
    condition("Query(`a`, `1`)", "{ urlp(a) -m str -- '1' }");
    condition("Query(`a=1`)", "{ urlp(a) -m str -- '1' }");
    condition("Query(`a`)", "{ urlp(a) -m found }");
    condition("QueryRegexp(`a`, `1`)", "{ urlp(a) -m reg -- '1' }");
    condition(
        "ClientIP(`10.0.0.0/8`, `::1`)",
        "{ src '10.0.0.0/8' '::1' }",
    );
    condition("!Method(`GET`)", "!{ method GET }");
    condition(
        "!(Method(`GET`) || Query(`a`))",
        "!{ method GET } !{ urlp(a) -m found }",
    );
    condition(
        "!(Method(`GET`) && Query(`a`))",
        "!{ method GET } || !{ urlp(a) -m found }",
    );
    condition(
        "!Host(`a`, `b`)",
        "!{ hdr(host) -m str -- 'a' } !{ hdr(host) -m str -- 'b' }",
    );
    condition(
        "Path(`/{id:[0-9]+}/x`)",
        "{ path -m reg -- '^/(?:[0-9]+)/x$' }",
    );
    rule(
        "Host(`a`) && Method(`GET`)",
        &["match={ method GET }", "virtual_hosts=a"],
    );
}

#[test]
fn alternatives_of_different_shape_are_led_here_and_told_apart() {
    rule(
        "Host(`a`) && PathPrefix(`/x`) || Host(`b`)",
        &[
            "match={ hdr(host) -m str -- 'a' } { path -m beg -- '/x' } || { hdr(host) -m str -- 'b' }",
            "virtual_hosts=a, b",
        ],
    );
    rule(
        "Host(`a`) || Method(`GET`)",
        &["match={ hdr(host) -m str -- 'a' } || { method GET }"],
    );
}

#[test]
fn bad_rules_are_told() {
    bad_rule("Host(`a`", "lacks a comma or a )");
    bad_rule("Host(`a", "lacks the ` behind a value of Host");
    bad_rule("Host(a)", "has no ` around a value of Host");
    bad_rule("Host", "has Host without its values");
    bad_rule("Host(`a`) &&", "ends where a test was expected");
    bad_rule("Host(`a`) & Path(`/`)", "where && or || was expected");
    bad_rule("(Host(`a`)", "lacks a )");
    bad_rule("Host()", "has Host without a value");
    bad_rule("Geo(`x`)", "Geo is not known");
    bad_rule("Header(`a`)", "Header has 1 values");
    bad_rule("Header(`a(`, `b`)", "has a name that is none");
    bad_rule("Query(`a`, `it's`)", "a value that no condition can hold");
    bad_rule(&"!".repeat(100), "too many brackets");
    bad_rule(
        &format!("Host(`a`){}", " && (Path(`/a`) || Path(`/b`))".repeat(20)),
        "more than 64 alternatives",
    );
}

#[test]
fn routers_have_entry_points_priorities_and_names() {
    let with = |option: (&str, &str), expected: &[&str], problems: &[&str]| {
        let option_name = format!("http.routers.web.{}", option.0);
        let mut expected = expected.to_vec();
        expected.push("virtual_hosts=a");
        check(
            &[
                ("http.routers.web.rule", "Host(`a`)"),
                (&option_name, option.1),
            ],
            &expected,
            problems,
        );
    };
    with(("entrypoints", "web"), &["match=!{ ssl_fc }"], &[]);
    with(("entrypoints", "websecure"), &["match={ ssl_fc }"], &[]);
    with(("entrypoints", "web,websecure"), &[], &[]);
    with(
        ("entrypoints", "odd"),
        &[],
        &["names \"odd\", which is not known"],
    );
    with(("tls", "true"), &["match={ ssl_fc }"], &[]);
    with(
        ("tls.certresolver", "le"),
        &["match={ ssl_fc }"],
        &["tls.certresolver says nothing here"],
    );
    with(
        ("tls.options", "x"),
        &["match={ ssl_fc }"],
        &["ssl_ciphers"],
    );
    with(
        ("observability.accesslogs", "x"),
        &[],
        &["says nothing here"],
    );
    with(("priority", "1"), &["priority=-999"], &[]);
    with(("priority", "50"), &["priority=50"], &[]);
    with(("priority", "0"), &[], &[]);
    with(("priorty", "1"), &[], &["is unknown"]);
    let two = labels(&[
        ("http.routers.a.rule", "Host(`a`)"),
        ("http.routers.b.rule", "Host(`b`)"),
    ]);
    let said = read(&two, &Ground::default());
    let dirs: Vec<_> = said
        .services
        .iter()
        .map(|service| service.dir.as_str())
        .collect();
    assert_eq!(dirs, ["services/web-a", "services/web-b"]);
    check(&[("enable", "true")], &["virtual_hosts=web"], &[]);
    check(
        &[("enable", "false"), ("http.routers.a.rule", "Host(`a`)")],
        &[],
        &[],
    );
    check(
        &[("enable", "true"), ("HTTP.Routers.web.Rule", "Host(`a`)")],
        &["virtual_hosts=a"],
        &[],
    );
    check(
        &[("udp.routers.a.entrypoints", "x"), ("enable", "true")],
        &["virtual_hosts=web"],
        &["UDP is not balanced"],
    );
}

#[test]
fn services_rows() {
    let with = |options: &[(&str, &str)], expected: &[&str], problems: &[&str]| {
        let full: Vec<_> = options
            .iter()
            .map(|(name, value)| (format!("http.services.s.loadbalancer.{name}"), *value))
            .collect();
        let mut all = vec![("http.routers.web.rule", "Host(`a`)")];
        all.extend(full.iter().map(|(name, value)| (name.as_str(), *value)));
        let mut expected = expected.to_vec();
        expected.push("virtual_hosts=a");
        check(&all, &expected, problems);
    };
    with(&[("server.port", "81")], &[], &[]);
    with(&[("server.scheme", "https")], &["upstream_tls=true"], &[]);
    with(&[("server.weight", "5")], &[], &[]);
    with(
        &[("passhostheader", "false")],
        &["pass_host_header=false"],
        &[],
    );
    with(&[("strategy", "p2c")], &["balance=random"], &[]);
    with(&[("strategy", "leasttime")], &[], &["leastconn"]);
    with(
        &[("healthcheck.path", "/h"), ("healthcheck.port", "81")],
        &["health_check_port=81", "health_check_uri=/h"],
        &[],
    );
    with(
        &[
            ("healthcheck.interval", "10"),
            ("healthcheck.timeout", "3s"),
        ],
        &["health_check_interval=10s", "health_check_timeout=3s"],
        &[],
    );
    for option in [
        "method",
        "status",
        "scheme",
        "mode",
        "hostname",
        "followredirects",
        "unhealthyinterval",
        "headers.x",
    ] {
        with(
            &[(&format!("healthcheck.{option}"), "x")],
            &[],
            &["checks are a GET"],
        );
    }
    with(&[("sticky.cookie", "true")], &["cookie="], &[]);
    with(&[("sticky", "true")], &["cookie="], &[]);
    with(
        &[("sticky.cookie", "false"), ("sticky.cookie.name", "x")],
        &[],
        &[],
    );
    with(
        &[
            ("sticky.cookie.name", "srv"),
            ("sticky.cookie.httponly", "true"),
            ("sticky.cookie.secure", "true"),
            ("sticky.cookie.samesite", "none"),
            ("sticky.cookie.maxage", "60"),
            ("sticky.cookie.path", "/x"),
            ("sticky.cookie.domain", "a.com"),
        ],
        &[
            "cookie=srv insert indirect nocache httponly secure attr \"SameSite=none\" attr \"Max-Age=60\" attr \"Path=/x\" domain \"a.com\"",
        ],
        &[],
    );
    with(&[("responseforwarding.flushinterval", "1ms")], &[], &[]);
    with(&[("serverstransport", "x")], &[], &["upstream_tls_"]);
    with(&[("proxyprotocol.version", "2")], &["send_proxy=v2"], &[]);
    with(&[("odd", "2")], &[], &["odd is unknown"]);
    for (option, value, problem) in [
        ("server.scheme", "h2c", "h2c, which is not spoken"),
        ("server.url", "http://x", "the container is the server"),
        ("server.port", "x", "a port from 1"),
        ("sticky.cookie.name", "a;b", "the name of a cookie"),
    ] {
        let full = format!("http.services.s.loadbalancer.{option}");
        refused(
            &[("http.routers.web.rule", "Host(`a`)"), (&full, value)],
            problem,
        );
    }
    refused(&[("http.services.s.weighted.services", "x")], "no weighted");
    refused(
        &[("http.routers.web.service", "other@file")],
        "has no such service",
    );
    refused(
        &[
            ("http.routers.web.rule", "Host(`a`)"),
            ("http.services.a.loadbalancer.server.port", "1"),
            ("http.services.b.loadbalancer.server.port", "2"),
        ],
        "has several services (\"a\", \"b\")",
    );
    let mut two = labels(&[("http.routers.web.rule", "Host(`a`)")]);
    two.ports = vec![port(80), port(443)];
    let (keys, told) = said(&two, &Ground::default());
    assert!(
        keys.ends_with("services/web=10.0.0.2:80") && told[0].contains("the lowest is taken"),
        "{keys} {told:?}"
    );
    two.ports.clear();
    assert!(said(&two, &Ground::default()).1[0].contains("exposes no port and says none"));
}

fn middleware(options: &[(&str, &str)], expected: &[&str], problems: &[&str]) {
    let full: Vec<_> = options
        .iter()
        .map(|(name, value)| (format!("http.middlewares.m.{name}"), *value))
        .collect();
    let mut all = vec![
        ("http.routers.web.rule", "Host(`a`) && PathPrefix(`/x`)"),
        ("http.routers.web.middlewares", "m@docker"),
    ];
    all.extend(full.iter().map(|(name, value)| (name.as_str(), *value)));
    let mut expected = expected.to_vec();
    expected.extend(["virtual_hosts=a", "virtual_path=/x*"]);
    check(&all, &expected, problems);
}

#[test]
fn middlewares_rows() {
    const KEEP: &str = "keep_virtual_path=true";
    middleware(&[("stripprefix.prefixes", "/x")], &[], &[]);
    middleware(
        &[("stripprefix.prefixes", "/y")],
        &[
            r"custom_settings=http-request replace-path '^(?:/y)/?(.*)$' '/\1'",
            KEEP,
        ],
        &[],
    );
    middleware(
        &[("stripprefixregex.regex", "/[0-9]+")],
        &[
            r"custom_settings=http-request replace-path '^(?:/[0-9]+)/?(.*)$' '/\1'",
            KEEP,
        ],
        &[],
    );
    middleware(
        &[("addprefix.prefix", "/y")],
        &[
            r"custom_settings=http-request replace-path '^(?:)/?(.*)$' '/y/\1'",
            KEEP,
        ],
        &[],
    );
    middleware(
        &[("replacepath.path", "/100%")],
        &["custom_settings=http-request set-path '/100%%'", KEEP],
        &[],
    );
    middleware(
        &[
            ("replacepathregex.regex", "^/a/(.*)"),
            ("replacepathregex.replacement", "/b/${1}%$1"),
        ],
        &[
            r"custom_settings=http-request replace-path '^/a/(.*)' '/b/\1%%\1'",
            KEEP,
        ],
        &[],
    );
    middleware(
        &[
            ("redirectscheme.scheme", "https"),
            ("redirectscheme.permanent", "true"),
        ],
        &["force_ssl=true", KEEP],
        &[],
    );
    middleware(
        &[
            ("redirectscheme.scheme", "https"),
            ("redirectscheme.port", "8443"),
        ],
        &["force_ssl=true", "force_ssl_port=8443", KEEP],
        &["sent to https for good"],
    );
    middleware(
        &[
            ("headers.customrequestheaders.X-A", "1"),
            ("headers.customrequestheaders.X-B", ""),
        ],
        &[KEEP, "request_headers=set x-a: 1", "remove x-b"],
        &[],
    );
    middleware(
        &[("headers.customresponseheaders.X-A", "1")],
        &[KEEP, "response_headers=set x-a: 1"],
        &[],
    );
    middleware(
        &[("headers.framedeny", "true")],
        &[KEEP, "response_headers=set X-Frame-Options: DENY"],
        &[],
    );
    middleware(
        &[("headers.contenttypenosniff", "true")],
        &[KEEP, "response_headers=set X-Content-Type-Options: nosniff"],
        &[],
    );
    middleware(
        &[("headers.browserxssfilter", "true")],
        &[KEEP, "response_headers=set X-XSS-Protection: 1; mode=block"],
        &[],
    );
    middleware(
        &[("headers.referrerpolicy", "same-origin")],
        &[KEEP, "response_headers=set Referrer-Policy: same-origin"],
        &[],
    );
    middleware(
        &[
            ("headers.stsseconds", "31536000"),
            ("headers.stsincludesubdomains", "true"),
            ("headers.stspreload", "true"),
        ],
        &["hsts=31536000 includeSubDomains preload", KEEP],
        &[],
    );
    middleware(
        &[("headers.sslredirect", "true")],
        &["force_ssl=true", KEEP],
        &[],
    );
    middleware(
        &[("headers.accesscontrolmaxage", "1")],
        &[KEEP],
        &["says nothing here"],
    );
    middleware(
        &[("basicauth.users", "a:$2y$x, b:{SHA}y")],
        &[
            "basic_auth_forward=true",
            "basic_auth_secrets=a:$2y$x",
            "b:{SHA}y",
            KEEP,
        ],
        &[],
    );
    middleware(
        &[
            ("basicauth.users", "a:b"),
            ("basicauth.removeheader", "true"),
            ("basicauth.realm", "r"),
        ],
        &["basic_auth_realm=r", "basic_auth_secrets=a:b", KEEP],
        &[],
    );
    middleware(
        &[("ipallowlist.sourcerange", "10.0.0.0/8")],
        &["allow=10.0.0.0/8", KEEP],
        &[],
    );
    middleware(
        &[
            ("ipwhitelist.sourcerange", "10.0.0.0/8"),
            ("ipwhitelist.ipstrategy.depth", "1"),
        ],
        &["allow=10.0.0.0/8", KEEP],
        &["trusted_proxies"],
    );
    middleware(
        &[("buffering.maxrequestbodybytes", "100")],
        &[KEEP, "max_body_size=100"],
        &[],
    );
    middleware(&[("retry.attempts", "4")], &[KEEP, "retries=3"], &[]);
    for kind in [
        "ratelimit.average",
        "inflightreq.amount",
        "circuitbreaker.expression",
        "compress",
        "errors.status",
        "redirectregex.regex",
        "contenttype",
        "grpcweb",
        "passtlsclientcert.pem",
        "encodedcharacters.x",
    ] {
        middleware(&[(kind, "x")], &[KEEP], &["says nothing here"]);
    }
}

#[test]
fn a_middleware_that_keeps_somebody_out_is_there_or_the_router_is_not() {
    let with = |options: &[(&str, &str)], problem: &str| {
        let mut all = vec![
            ("http.routers.web.rule", "Host(`a`)"),
            ("http.routers.web.middlewares", "m"),
        ];
        all.extend(options);
        refused(&all, problem);
    };
    with(&[], "this container has no labels for");
    with(
        &[("http.middlewares.m.forwardauth.address", "x")],
        "is not to be had",
    );
    with(
        &[("http.middlewares.m.digestauth.users", "x")],
        "is not to be had",
    );
    with(
        &[("http.middlewares.m.basicauth.usersfile", "x")],
        "names no users",
    );
    with(
        &[("http.middlewares.m.ipallowlist.ipstrategy.depth", "1")],
        "no sourcerange",
    );
    with(
        &[("http.middlewares.m.chain.middlewares", "m")],
        "a chain of chains without an end",
    );
    with(
        &[("http.middlewares.m.odd.x", "1")],
        "there is no middleware \"odd\"",
    );
    with(
        &[
            ("http.middlewares.m.chain.middlewares", "n"),
            ("http.middlewares.m.compress", "true"),
        ],
        "several middlewares at once",
    );
}

#[test]
fn chains_are_followed() {
    check(
        &[
            ("http.routers.web.rule", "Host(`a`)"),
            ("http.routers.web.middlewares", "both"),
            ("http.middlewares.both.chain.middlewares", "one, two@docker"),
            ("http.middlewares.one.retry.attempts", "2"),
            ("http.middlewares.two.buffering.maxrequestbodybytes", "9"),
        ],
        &["max_body_size=9", "retries=1", "virtual_hosts=a"],
        &[],
    );
}

#[test]
fn tcp_rows() {
    const RULE: (&str, &str) = ("tcp.routers.web.rule", "HostSNI(`*`)");
    let at = ("tcp.routers.web.entrypoints", "mysql-3306");
    check(&[RULE, at], &["tcp-services/web/external_port=3306"], &[]);
    check(
        &[RULE, at, ("tcp.services.s.loadbalancer.server.port", "99")],
        &["tcp-services/web/external_port=3306"],
        &[],
    );
    check(
        &[
            RULE,
            at,
            ("tcp.services.s.loadbalancer.proxyprotocol.version", "1"),
        ],
        &[
            "tcp-services/web/external_port=3306",
            "tcp-services/web/send_proxy=v1",
        ],
        &[],
    );
    check(
        &[RULE, ("tcp.routers.web.entrypoints", "mysql")],
        &["tcp-services/web/external_port=8080"],
        &["whose port is not known here"],
    );
    check(
        &[RULE],
        &["tcp-services/web/external_port=8080"],
        &["no entry point is named"],
    );
    check(
        &[
            ("tcp.routers.web.rule", "HostSNI(`a`, `b`)"),
            ("tcp.routers.web.tls.passthrough", "true"),
        ],
        &["ssl_passthrough=true", "virtual_hosts=a, b"],
        &[],
    );
    check(
        &[RULE, ("tcp.routers.web.tls.passthrough", "true")],
        &["ssl_passthrough=unknown"],
        &[],
    );
    refused(
        &[("tcp.routers.web.rule", "HostSNI(`a`)")],
        "asks for TLS to end",
    );
    refused(
        &[("tcp.routers.web.rule", "ClientIP(`1.2.3.4`)")],
        "HostSNI",
    );
    refused(
        &[RULE, ("tcp.routers.web.middlewares", "m")],
        "not known for TCP",
    );
}
