//! What dialects make of containers is what the balancer takes: the seed files of each, and what is quoted in
//! conditions and lines, through `pointsman check`.

use std::collections::BTreeMap;
use std::fs;

use pointsman::config::SERVICE_FIELDS;
use pointsman::link::{Facts, Ground, Port, SERVICE_KEYS, merge, read};

mod support;

fn facts(name: &str, service: &str, stack: Option<&str>, words: &[(&str, &str)]) -> Facts {
    let is_variable = |name: &str| name == name.to_uppercase();
    let pick = |variables: bool| {
        let some = words
            .iter()
            .filter(|(name, _)| is_variable(name) == variables);
        some.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    Facts {
        name: name.to_owned(),
        service: Some(service.to_owned()),
        stack: stack.map(str::to_owned),
        env: pick(true),
        labels: pick(false),
        networks: [("demo-network".to_owned(), "10.0.0.2".parse().ok())].into(),
        ports: vec![Port {
            number: 8080,
            published: Vec::new(),
        }],
        ..Facts::default()
    }
}

/// The keys of all services, and the problems of the dialects.
fn keys(containers: &[Facts]) -> (BTreeMap<String, String>, Vec<String>) {
    let mut problems = Vec::new();
    let mut services = BTreeMap::<String, Vec<_>>::new();
    for facts in containers {
        let said = read(facts, &Ground::default());
        problems.extend(said.problems.iter().map(ToString::to_string));
        for service in said.services {
            let members = services.entry(service.dir.clone()).or_default();
            members.push((facts.name.clone(), service));
        }
    }
    let mut keys = BTreeMap::new();
    for (dir, members) in services {
        let members = members.iter().map(|(name, member)| (name.as_str(), member));
        let (merged, told) = merge(members);
        problems.extend(told.iter().map(ToString::to_string));
        keys.extend(
            merged
                .into_iter()
                .map(|(key, value)| (format!("{dir}/{key}"), value)),
        );
    }
    (keys, problems)
}

/// What `pointsman check` says of keys, empty if nothing.
fn complaints(keys: &BTreeMap<String, String>) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    for (key, value) in keys {
        let path = dir.path().join(key);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        fs::write(path, value).expect("a key");
    }
    let store = format!("dir:{}", dir.path().display());
    let run = support::command()
        .args(["check", "--store", &store])
        .output();
    let run = run.expect("run pointsman");
    let text =
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    match run.status.success() {
        true => String::new(),
        false => text,
    }
}

fn accepted(containers: &[Facts]) -> Vec<String> {
    let (keys, problems) = keys(containers);
    assert_eq!(problems, [""; 0]);
    assert_eq!(complaints(&keys), "", "{keys:#?}");
    keys.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

#[test]
fn lb_words_are_all_the_keys_that_services_have() {
    let routes = ["virtual_hosts", "virtual_host_regex", "virtual_path"];
    let ours: Vec<&str> = SERVICE_KEYS.into_iter().chain(routes).collect();
    let missing: Vec<_> = SERVICE_FIELDS
        .iter()
        .filter(|field| !ours.contains(field))
        .filter(|field| {
            ![
                "name",
                "mode",
                "upstreams",
                "error_pages",
                "compat",
                "drain",
            ]
            .contains(*field)
        })
        .collect();
    assert!(missing.is_empty(), "no LB_ variable for {missing:?}");
    let strange: Vec<_> = ours
        .iter()
        .filter(|key| !SERVICE_FIELDS.contains(key))
        .collect();
    assert!(
        strange.is_empty(),
        "LB_ variables without a key: {strange:?}"
    );
}

#[test]
fn kontenas_two_examples() {
    let web = [
        ("KONTENA_LB_MODE", "http"),
        ("KONTENA_LB_BALANCE", "roundrobin"),
        ("KONTENA_LB_INTERNAL_PORT", "80"),
        ("KONTENA_LB_VIRTUAL_HOSTS", "www.kontena.io,kontena.io"),
    ];
    let galera = [
        ("KONTENA_LB_MODE", "tcp"),
        ("KONTENA_LB_BALANCE", "leastcon"),
        ("KONTENA_LB_EXTERNAL_PORT", "3306"),
        ("KONTENA_LB_INTERNAL_PORT", "3306"),
    ];
    assert_eq!(
        accepted(&[
            facts("web-1", "web", None, &web),
            facts("web-2", "web", None, &web),
            facts("galera-1", "galera", None, &galera),
        ]),
        [
            "services/web/balance=roundrobin",
            "services/web/upstreams/web-1=10.0.0.2:80",
            "services/web/upstreams/web-2=10.0.0.2:80",
            "services/web/virtual_hosts=www.kontena.io,kontena.io",
            "tcp-services/galera/balance=leastcon",
            "tcp-services/galera/external_port=3306",
            "tcp-services/galera/upstreams/galera-1=10.0.0.2:3306",
        ]
    );
}

#[test]
fn interlocks_compose_labels() {
    let demo = [
        ("com.docker.lb.hosts", "demo.local"),
        ("com.docker.lb.network", "demo-network"),
        ("com.docker.lb.port", "8080"),
        (
            "com.docker.lb.redirects",
            "http://new.local,http://demo.local",
        ),
        ("com.docker.lb.context_root", "/app"),
        ("com.docker.lb.context_root_rewrite", "true"),
        ("com.docker.lb.websocket_endpoints", "/ws"),
    ];
    assert_eq!(
        accepted(&[facts("demo.1", "demo", None, &demo)]),
        [
            "services/demo/context_root_rewrite=true",
            "services/demo/redirects=http://new.local,http://demo.local",
            "services/demo/upstreams/demo.1=10.0.0.2:8080",
            "services/demo/virtual_hosts=demo.local",
            "services/demo/virtual_path=/app",
        ]
    );
}

#[test]
fn ranchers_web_test_labels() {
    let test = [
        ("traefik.enable", "true"),
        ("traefik.domain", "local"),
        ("traefik.port", "8080"),
    ];
    assert_eq!(
        accepted(&[facts("web-test-1", "web-test", Some("proxy-test"), &test)]),
        [
            "services/proxy-test-web-test/upstreams/web-test-1=10.0.0.2:8080 weight=5",
            "services/proxy-test-web-test/virtual_hosts=web-test.proxy-test.local",
        ]
    );
}

#[test]
fn what_panels_write_for_traefik() {
    let labels = [
        ("traefik.enable", "true"),
        ("traefik.docker.network", "demo-network"),
        (
            "traefik.http.routers.app-plain.rule",
            "Host(`app.example.com`) && PathPrefix(`/`)",
        ),
        ("traefik.http.routers.app-plain.entrypoints", "web"),
        ("traefik.http.routers.app-plain.middlewares", "to-https"),
        (
            "traefik.http.middlewares.to-https.redirectscheme.scheme",
            "https",
        ),
        (
            "traefik.http.middlewares.to-https.redirectscheme.permanent",
            "true",
        ),
        (
            "traefik.http.routers.app.rule",
            "Host(`app.example.com`) && PathPrefix(`/`)",
        ),
        ("traefik.http.routers.app.entrypoints", "websecure"),
        ("traefik.http.routers.app.tls", "true"),
        ("traefik.http.services.app.loadbalancer.server.port", "3000"),
    ];
    assert_eq!(
        accepted(&[facts("app-1", "app", None, &labels)]),
        [
            "services/app-app-plain/force_ssl=true",
            "services/app-app-plain/keep_virtual_path=true",
            "services/app-app-plain/match=!{ ssl_fc }",
            "services/app-app-plain/upstreams/app-1=10.0.0.2:3000",
            "services/app-app-plain/virtual_hosts=app.example.com",
            "services/app-app-plain/virtual_path=/",
            "services/app/keep_virtual_path=true",
            "services/app/match={ ssl_fc }",
            "services/app/upstreams/app-1=10.0.0.2:3000",
            "services/app/virtual_hosts=app.example.com",
            "services/app/virtual_path=/",
        ]
    );
}

#[test]
fn every_test_and_every_line_is_one_that_the_balancer_reads() {
    let rules = [
        "Host(`a.com`) && Method(`GET`, `POST`)",
        "Host(`a.com`) && Path(`/x`) || Host(`b.com`) && PathPrefix(`/y-z`)",
        "HostRegexp(`^.+\\.a\\.com$`) || Host(`b.com`) && !HostRegexp(`{x:[a-z]{2}}.com`)",
        "PathRegexp(`^/(a|b)\\s#\"x$`) && !Query(`a`) && Query(`a`, `-i`) && QueryRegexp(`b`, `^[0-9]+$`)",
        "Header(`X-A`, `a \\b \"c\" # {}`) && HeaderRegexp(`X-B`, `^a|b$`) && !Header(`X-C`, `{}`)",
        "ClientIP(`10.0.0.0/8`, `::1`) || !ClientIP(`192.168.0.1`)",
        "Path(`/{id:[0-9]{3}}/x`) && Host(`*.a.com`)",
    ];
    for rule in rules {
        let labels = [("traefik.http.routers.a.rule", rule)];
        accepted(&[facts("a-1", "a", None, &labels)]);
    }
    let lines: [(&str, &[(&str, &str)]); 8] = [
        ("stripprefix", &[("prefixes", "/a.b, /c+d")]),
        ("stripprefixregex", &[("regex", "/[a-z0-9]+/")]),
        ("addprefix", &[("prefix", "/100%/x y")]),
        ("replacepath", &[("path", "/x%{Q}\"y")]),
        (
            "replacepathregex",
            &[("regex", "^/a/(.*)$"), ("replacement", "/b/$1%")],
        ),
        (
            "headers",
            &[
                ("customrequestheaders.X-A", "a: b # c"),
                ("customresponseheaders.X-B", ""),
                ("framedeny", "true"),
                ("stsseconds", "60"),
            ],
        ),
        (
            "basicauth",
            &[(
                "users",
                "a:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/,b:$2y$05$whzHvLP/nj8b.P5HMKd5JeQZ93cHf6cq/cLmgHy8rt32zqt.s.zTi",
            )],
        ),
        (
            "ipallowlist",
            &[("sourcerange", "127.0.0.1/32, 192.168.1.7")],
        ),
    ];
    for (kind, options) in lines {
        let names: Vec<_> = options
            .iter()
            .map(|(name, value)| (format!("traefik.http.middlewares.m.{kind}.{name}"), *value))
            .collect();
        let mut labels = vec![
            ("traefik.http.routers.a.rule", "Host(`a.com`)"),
            ("traefik.http.routers.a.middlewares", "m"),
        ];
        labels.extend(names.iter().map(|(name, value)| (name.as_str(), *value)));
        accepted(&[facts("a-1", "a", None, &labels)]);
    }
    let sticky = [
        (
            "traefik.http.services.a.loadbalancer.sticky.cookie.name",
            "srv",
        ),
        (
            "traefik.http.services.a.loadbalancer.sticky.cookie.samesite",
            "none",
        ),
        (
            "traefik.http.services.a.loadbalancer.sticky.cookie.maxage",
            "60",
        ),
        (
            "traefik.http.services.a.loadbalancer.sticky.cookie.domain",
            "a.com",
        ),
        (
            "traefik.http.services.a.loadbalancer.healthcheck.interval",
            "10",
        ),
    ];
    accepted(&[facts("a-1", "a", None, &sticky)]);
    let passthrough = [
        ("traefik.tcp.routers.a.rule", "HostSNI(`a.com`)"),
        ("traefik.tcp.routers.a.tls.passthrough", "true"),
    ];
    accepted(&[facts("a-1", "a", None, &passthrough)]);
    let nginx = [
        ("VIRTUAL_HOST", "www.*, ~^x[0-9]+$, *.b.com"),
        ("VIRTUAL_PATH", "/api"),
        ("VIRTUAL_DEST", "/v1"),
        ("HSTS", "max-age=31536000; includeSubDomains"),
        ("NETWORK_ACCESS", "internal"),
    ];
    accepted(&[facts("a-1", "a", None, &nginx)]);
}

#[test]
fn hostile_values_stay_values() {
    for value in [
        "a\n  evil: true\nservice: {}",
        "a'} deny",
        "\"\n- x",
        "{{ getv('x') }}",
        "!ruby/object",
    ] {
        let (keys, _) = keys(&[facts("a-1", "a", None, &[("LB_VIRTUAL_HOSTS", value)])]);
        let told = complaints(&keys);
        assert!(
            told.contains("services/a/virtual_hosts"),
            "{value:?}: {told}"
        );
        assert!(!told.contains("\n  evil"), "{told}");
    }
}
