//! The tables of `interlock`, `nginx_proxy` and `rancher`.

use super::*;

#[test]
fn interlock_rows() {
    let with = |words: &[(&str, &str)], expected: &[&str], problems: &[&str]| {
        let mut all = vec![
            ("com.docker.lb.hosts", "a.com"),
            ("com.docker.lb.port", "8080"),
        ];
        all.extend(words);
        let mut expected = expected.to_vec();
        expected.push("virtual_hosts=a.com");
        expected.sort_unstable();
        check_with_problems(&all, &expected, problems);
    };
    with(
        &[("com.docker.lb.context_root", "/app")],
        &["virtual_path=/app", "context_root_rewrite=false"],
        &[],
    );
    with(
        &[
            ("com.docker.lb.context_root", "/app"),
            ("com.docker.lb.context_root_rewrite", "true"),
        ],
        &["virtual_path=/app", "context_root_rewrite=true"],
        &[],
    );
    with(&[("com.docker.lb.network", "net")], &[], &[]);
    with(
        &[("com.docker.lb.ssl_cert", "x")],
        &[],
        &["com.docker.lb.ssl_cert says nothing here; put the certificate under certs/<name>"],
    );
    with(
        &[("com.docker.lb.ssl_key", "x")],
        &[],
        &["ssl_key says nothing here"],
    );
    with(
        &[("com.docker.lb.ssl_passthrough", "true")],
        &["ssl_passthrough=true"],
        &[],
    );
    with(
        &[("com.docker.lb.ssl_backend", "true")],
        &["upstream_tls=true", "upstream_tls_verify=false"],
        &[],
    );
    with(
        &[
            ("com.docker.lb.ssl_backend", "true"),
            ("com.docker.lb.ssl_backend_tls_verify", "required"),
        ],
        &["upstream_tls=true", "upstream_tls_verify=true"],
        &[],
    );
    with(
        &[("com.docker.lb.ssl_only", "true")],
        &["force_ssl=true"],
        &[],
    );
    with(
        &[("com.docker.lb.sticky_session_cookie", "session")],
        &["sticky_session_cookie=session"],
        &[],
    );
    with(
        &[("com.docker.lb.ip_hash", "true")],
        &["balance=source"],
        &[],
    );
    with(&[("com.docker.lb.ip_hash", "false")], &[], &[]);
    with(
        &[("com.docker.lb.redirects", "http://b.com,http://a.com")],
        &["redirects=http://b.com,http://a.com"],
        &[],
    );
    with(&[("com.docker.lb.websocket_endpoints", "/ws")], &[], &[]);
    with(&[("com.docker.lb.service_cluster", "x")], &[], &[]);
    with(&[("com.docker.lb.backend_mode", "task")], &[], &[]);
    with(
        &[("com.docker.lb.backend_mode", "vip")],
        &[],
        &["backend_mode says nothing here"],
    );
    for (kind, told) in [(Kind::Vip, 0), (Kind::Task, 1)] {
        for words in [
            [
                ("com.docker.lb.hosts", "a"),
                ("com.docker.lb.port", "1"),
                ("com.docker.lb.backend_mode", "vip"),
            ],
            [
                ("lb.virtual_hosts", "a"),
                ("lb.internal_port", "1"),
                ("LB_BACKEND_MODE", "vip"),
            ],
            [
                ("traefik.enable", "true"),
                ("traefik.port", "1"),
                ("traefik.docker.lbswarm", "true"),
            ],
            [
                ("traefik.enable", "true"),
                ("traefik.http.routers.a.rule", "Host(`a`)"),
                ("traefik.swarm.lbswarm", "true"),
            ],
            [
                ("traefik.enable", "true"),
                ("traefik.docker.lbswarm", "true"),
                ("traefik.swarm.network", "net"),
            ],
        ] {
            let facts = Facts {
                kind,
                ..facts(&words)
            };
            let said = read(&facts, &Ground::default());
            assert!(
                facts.wants_vip() && said.services.len() == 1,
                "{words:?}: {said:?}"
            );
            assert_eq!(said.problems.len(), told, "{words:?}: {:?}", said.problems);
            assert!(
                said.problems
                    .iter()
                    .all(|told| told.message.contains("no virtual address"))
            );
        }
    }
    with(
        &[("com.docker.lb.default_backend", "true")],
        &["default=true"],
        &[],
    );
    with(
        &[("com.docker.lb.max_fails", "3")],
        &[],
        &["health_check_fall"],
    );
    with(
        &[("com.docker.lb.fail_timeout", "3s")],
        &[],
        &["health_check_fall"],
    );
    with(
        &[("com.docker.lb.hots", "x")],
        &[],
        &["com.docker.lb.hots is unknown; did you mean com.docker.lb.hosts?"],
    );
    refused(
        &[("com.docker.lb.hosts", "a")],
        "has no label com.docker.lb.port",
    );
    refused(
        &[("com.docker.lb.port", "80")],
        "has no label com.docker.lb.hosts",
    );
    refused(
        &[("com.docker.lb.hosts", "a"), ("com.docker.lb.port", "x")],
        "a port from 1 to 65535",
    );
    refused(
        &[
            ("com.docker.lb.hosts", "a"),
            ("com.docker.lb.port", "1"),
            ("com.docker.lb.backend_mode", "x"),
        ],
        "task or vip",
    );
}

#[test]
fn nginx_proxy_rows() {
    let with = |words: &[(&str, &str)], expected: &[&str], problems: &[&str]| {
        let mut all = vec![("VIRTUAL_HOST", "a.com")];
        all.extend(words);
        let mut expected = expected.to_vec();
        expected.push("virtual_hosts=a.com");
        expected.sort_unstable();
        check_with_problems(&all, &expected, problems);
    };
    check(
        &[("VIRTUAL_HOST", "a.com, *.b.com,,")],
        &["virtual_hosts=a.com, *.b.com"],
    );
    check(
        &[("VIRTUAL_HOST", "www.*")],
        &["virtual_host_regex=www\\..*"],
    );
    check(
        &[("VIRTUAL_HOST", r"~^x\d+$,a")],
        &[r"virtual_host_regex=.*(?:^x\d+$).*", "virtual_hosts=a"],
    );
    with(&[("VIRTUAL_PATH", "/")], &[], &[]);
    with(
        &[("VIRTUAL_PATH", "/api")],
        &["virtual_path=/api*", "keep_virtual_path=true"],
        &[],
    );
    with(
        &[("VIRTUAL_PATH", "/api/"), ("VIRTUAL_DEST", "/")],
        &["virtual_path=/api"],
        &[],
    );
    with(
        &[("VIRTUAL_PATH", "/api/"), ("VIRTUAL_DEST", "/v1.0/")],
        &[
            "virtual_path=/api",
            "keep_virtual_path=true",
            r"custom_settings=http-request replace-path '^(?:/api)/?(.*)$' '/v1.0/\1'",
        ],
        &[],
    );
    refused(
        &[("VIRTUAL_HOST", "a"), ("VIRTUAL_PATH", "~ ^/x")],
        "a place by pattern",
    );
    refused(
        &[
            ("VIRTUAL_HOST", "a"),
            ("VIRTUAL_PATH", "/x"),
            ("VIRTUAL_DEST", "/a'b"),
        ],
        "it has to be a path",
    );
    with(
        &[("VIRTUAL_PROTO", "https")],
        &["upstream_tls=true", "upstream_tls_verify=false"],
        &[],
    );
    refused(
        &[("VIRTUAL_HOST", "a"), ("VIRTUAL_PROTO", "grpc")],
        "grpc, which is not spoken here",
    );
    refused(
        &[("VIRTUAL_HOST", "a"), ("VIRTUAL_PROTO", "ftp")],
        "http or https",
    );
    with(&[("HTTPS_METHOD", "redirect")], &["force_ssl=true"], &[]);
    with(&[("HTTPS_METHOD", "noredirect")], &["force_ssl=false"], &[]);
    with(
        &[("HTTPS_METHOD", "nohttp")],
        &[],
        &["HTTPS_METHOD nohttp says nothing here"],
    );
    with(
        &[("HSTS", "max-age=31536000; includeSubDomains")],
        &["hsts=31536000 includeSubDomains"],
        &[],
    );
    with(
        &[("NETWORK_ACCESS", "internal")],
        &["allow=127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"],
        &[],
    );
    refused(
        &[("VIRTUAL_HOST", "a"), ("NETWORK_ACCESS", "inner")],
        "internal or external",
    );
    for name in [
        "VIRTUAL_HOST_MULTIPORTS",
        "CERT_NAME",
        "LETSENCRYPT_HOST",
        "ACME_HOST",
        "SSL_POLICY",
        "VIRTUAL_ROOT",
    ] {
        with(&[(name, "x")], &[], &[&format!("{name} says nothing here")]);
    }
    assert_eq!(upstream(&[("VIRTUAL_HOST", "a")]), "10.0.0.2:8080");
    assert_eq!(
        upstream(&[("VIRTUAL_HOST", "a"), ("VIRTUAL_PORT", "81")]),
        "10.0.0.2:81"
    );
    let mut none = facts(&[("VIRTUAL_HOST", "a")]);
    none.ports = vec![port(1), port(2)];
    assert_eq!(
        said(&none, &Ground::default()).0.lines().next_back(),
        Some("services/web=10.0.0.2:80")
    );
}

#[test]
fn rancher_rows() {
    let with = |words: &[(&str, &str)], expected: &[&str], problems: &[&str]| {
        let mut all = vec![("traefik.enable", "true"), ("traefik.port", "8080")];
        all.extend(words);
        let mut expected = expected.to_vec();
        if !expected.iter().any(|key| key.starts_with("virtual_hosts")) {
            expected.push("virtual_hosts=web");
        }
        expected.sort_unstable();
        check_with_problems(&all, &expected, problems);
    };
    with(&[], &[], &[]);
    with(
        &[("traefik.domain", "A.com, b.com")],
        &["virtual_hosts=web.a.com, web.b.com"],
        &[],
    );
    with(
        &[("traefik.domain", "a.com"), ("traefik.alias", "www,w")],
        &["virtual_hosts=web.a.com, www.a.com, w.a.com"],
        &[],
    );
    with(
        &[("traefik.alias.fqdn", "x.org")],
        &["virtual_hosts=web, x.org"],
        &[],
    );
    with(
        &[("traefik.domain.regexp", "^a[0-9]$")],
        &["virtual_host_regex=.*(?:^a[0-9]$).*"],
        &[],
    );
    with(
        &[("traefik.path", "/x")],
        &["virtual_path==/x", "keep_virtual_path=true"],
        &[],
    );
    with(&[("traefik.path.strip", "/x")], &["virtual_path==/x"], &[]);
    with(
        &[("traefik.path.prefix", "/x,/y/")],
        &["virtual_path=/x*, /y", "keep_virtual_path=true"],
        &[],
    );
    with(
        &[("traefik.path.prefix.strip", "/x")],
        &["virtual_path=/x*"],
        &[],
    );
    with(
        &[("traefik.path.prefix.strip", "/x"), ("traefik.path", "/y")],
        &["virtual_path=/x*, =/y", "keep_virtual_path=true"],
        &["no path is cut off"],
    );
    with(
        &[("traefik.protocol", "https")],
        &["upstream_tls=true"],
        &[],
    );
    with(&[("traefik.priority", "7")], &["priority=7"], &[]);
    with(
        &[("traefik.priority", "7000")],
        &["priority=1000"],
        &["taken as the nearest"],
    );
    with(&[("traefik.sticky", "true")], &["cookie="], &[]);
    with(
        &[("traefik.backend.loadbalancer.method", "drr")],
        &["balance=roundrobin"],
        &[],
    );
    with(
        &[("traefik.frontend.passHostHeader", "false")],
        &["pass_host_header=false"],
        &[],
    );
    with(
        &[("traefik.acme", "true")],
        &[],
        &["traefik.acme says nothing here"],
    );
    with(
        &[("traefik.backend.circuitbreaker.expression", "x")],
        &[],
        &["says nothing here"],
    );
    with(
        &[("traefik.ratelimit.average", "x")],
        &[],
        &["traefik.ratelimit.average says nothing here"],
    );
    with(&[("traefik.docker.network", "net")], &[], &[]);
    with(
        &[("traefik.prioritty", "1")],
        &[],
        &["did you mean traefik.priority?"],
    );
    assert_eq!(
        upstream(&[
            ("traefik.enable", "true"),
            ("traefik.port", "81"),
            ("traefik.weight", "9")
        ]),
        "10.0.0.2:81 weight=9"
    );
    assert_eq!(
        upstream(&[("traefik.enable", "true"), ("traefik.domain", "a")]),
        "10.0.0.2:80 weight=5"
    );
    check(&[("traefik.enable", "false"), ("traefik.port", "80")], &[]);
    check_with_problems(
        &[("traefik.port", "80")],
        &[],
        &["has no label traefik.enable"],
    );
    refused(
        &[("traefik.enable", "perhaps"), ("traefik.port", "80")],
        "true, false or stack",
    );
    let mut stacked = facts(&[("traefik.enable", "stack"), ("traefik.domain", "a.com")]);
    stacked.stack = Some("shop".to_owned());
    assert!(
        said(&stacked, &Ground::default())
            .0
            .starts_with("services/shop-web/virtual_hosts=shop.a.com")
    );
}

#[test]
fn interlock_s_services_share_what_both_ask_for() {
    let claim = |words: &[(&str, &str)]| {
        let words = [&[("com.docker.lb.port", "80")], words].concat();
        read(&facts(&words), &Ground::default()).services[0]
            .shares
            .clone()
            .expect("a claim")
    };
    let plain = claim(&[("com.docker.lb.hosts", "a.test,b.test")]);
    for same in [
        &[("com.docker.lb.hosts", "B.test, a.test")][..],
        &[
            ("com.docker.lb.hosts", "a.test,b.test"),
            ("com.docker.lb.context_root", "/"),
        ],
        &[
            ("com.docker.lb.hosts", "a.test,b.test"),
            ("com.docker.lb.ip_hash", "true"),
            ("com.docker.lb.port", "81"),
        ],
    ] {
        assert_eq!(claim(same), plain, "{same:?}");
    }
    for other in [
        &[("com.docker.lb.hosts", "a.test")][..],
        &[
            ("com.docker.lb.hosts", "a.test,b.test"),
            ("com.docker.lb.context_root", "/x"),
        ],
        &[
            ("com.docker.lb.hosts", "a.test,b.test"),
            ("com.docker.lb.ssl_passthrough", "true"),
        ],
        &[
            ("com.docker.lb.hosts", "a.test,b.test"),
            ("com.docker.lb.ssl_backend", "true"),
        ],
        &[("com.docker.lb.default_backend", "true")],
    ] {
        assert_ne!(claim(other), plain, "{other:?}");
    }
    let lb = read(
        &facts(&[("lb.virtual_hosts", "a.test")]),
        &Ground::default(),
    );
    assert_eq!(lb.services[0].shares, None);
}

#[test]
fn interlock_s_first_version_is_told() {
    let old = [
        ("interlock.hostname", "www"),
        ("interlock.domain", "a.test"),
    ];
    let (keys, told) = said(&facts(&old), &Ground::default());
    assert_eq!(keys, "");
    assert_eq!(
        told,
        [
            "warning: web-1: is not announced: \"interlock.domain\" is of Interlock 1; write com.docker.lb.hosts and com.docker.lb.port"
        ]
    );
    let both = [&old[..], &[("lb.virtual_hosts", "a.test")]].concat();
    let (_, told) = said(&facts(&both), &Ground::default());
    assert!(told.is_empty(), "{told:?}");
}
