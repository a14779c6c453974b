//! `LB_*` and `KONTENA_LB_*`, and which balancer a container is for.

use super::*;

#[test]
fn a_container_that_says_nothing_is_nothing() {
    check(&[], &[]);
    check(
        &[
            ("PATH", "/bin"),
            ("org.label.x", "y"),
            ("LB_TIMEOUT_SERVER", "5s"),
        ],
        &[],
    );
    check(&[("LB_STORE", "dir:keys"), ("LB_VIRTUAL_HOSTS", "a")], &[]);
    check(
        &[("KONTENA_SERVICE_ROLE", "lb"), ("KONTENA_LB_MODE", "http")],
        &[],
    );
    check_with_problems(
        &[("LB_VIRTUAL_HOST", "a.com")],
        &[],
        &["did you mean LB_VIRTUAL_HOSTS?"],
    );
}

#[test]
fn lb_words_are_keys_in_capitals() {
    for key in SERVICE_KEYS {
        let variable = format!("LB_{}", key.to_uppercase());
        let label = format!("lb.{key}");
        for name in [variable.as_str(), label.as_str()] {
            let mut expected = [format!("{key}=x"), "virtual_hosts=a".to_owned()];
            expected.sort();
            let expected: Vec<_> = expected.iter().map(String::as_str).collect();
            check(&[("LB_VIRTUAL_HOSTS", "a"), (name, "x")], &expected);
        }
    }
    check(
        &[("LB_VIRTUAL_PATH", "/x"), ("LB_ERROR_PAGES_503", "sorry")],
        &["error_pages/503=sorry", "virtual_path=/x"],
    );
    check(
        &[("LB_VIRTUAL_HOST_REGEX", "a|b")],
        &["virtual_host_regex=a|b"],
    );
    check(
        &[("LB_MODE", "TCP"), ("LB_EXTERNAL_PORT", "3306")],
        &["tcp-services/web/external_port=3306"],
    );
    refused(&[("LB_MODE", "udp")], "it has to be http or tcp");
    check_with_problems(
        &[
            ("LB_MODE", "http"),
            ("LB_BALANSE", "x"),
            ("LB_ZZZZZZZZ", "x"),
        ],
        &[],
        &["did you mean LB_BALANCE?", "docs/linking.md"],
    );
}

#[test]
fn lb_ports_weights_and_names() {
    assert_eq!(upstream(&[("LB_MODE", "http")]), "10.0.0.2:8080");
    assert_eq!(
        upstream(&[
            ("LB_MODE", "http"),
            ("LB_INTERNAL_PORT", "9000"),
            ("LB_WEIGHT", "7")
        ]),
        "10.0.0.2:9000 weight=7"
    );
    refused(&[("LB_INTERNAL_PORT", "0")], "a port from 1 to 65535");
    refused(
        &[("LB_MODE", "http"), ("LB_WEIGHT", "many")],
        "a whole number from 0 to 256",
    );
    let mut several = facts(&[("LB_MODE", "http")]);
    several.ports = vec![port(80), port(81), port(82), port(83), port(84)];
    let told = said(&several, &Ground::default()).1;
    assert_eq!(
        told,
        [
            "error: web-1: exposes 5 ports (80, 81, 82, 83, 84) and says not which; say it with LB_INTERNAL_PORT"
        ]
    );
    several.ports.clear();
    let (keys, told) = said(&several, &Ground::default());
    assert_eq!(keys, "services/web=10.0.0.2:80");
    assert_eq!(
        told,
        ["warning: web-1: exposes no port, 80 is taken; say it with LB_INTERNAL_PORT"]
    );
    let named = read(
        &facts(&[("LB_SERVICE", "shop"), ("LB_VIRTUAL_HOSTS", "a")]),
        &Ground::default(),
    );
    assert_eq!(named.services[0].dir, "services/shop");
    for name in ["a/b", "*", "p?", "a{b}", "a[b"] {
        refused(
            &[("LB_MODE", "http"), ("LB_SERVICE", name)],
            "cannot be the name of a service",
        );
    }
}

#[test]
fn kontena_words_mean_what_they_meant() {
    let with = |words: &[(&str, &str)], expected: &[&str]| {
        let mut all = vec![("KONTENA_LB_VIRTUAL_HOSTS", "a")];
        all.extend(words);
        let mut expected = expected.to_vec();
        expected.extend(["balance=roundrobin", "virtual_hosts=a"]);
        expected.sort_unstable();
        check(&all, &expected);
    };
    with(&[], &[]);
    with(
        &[("KONTENA_LB_VIRTUAL_PATH", "/api")],
        &["virtual_path=/api"],
    );
    with(
        &[("KONTENA_LB_KEEP_VIRTUAL_PATH", "true")],
        &["keep_virtual_path=true"],
    );
    with(&[("KONTENA_LB_KEEP_VIRTUAL_PATH", "false")], &[]);
    with(&[("KONTENA_LB_COOKIE", "")], &["cookie="]);
    with(
        &[("KONTENA_LB_CUSTOM_SETTINGS", "retries 2")],
        &["custom_settings=retries 2"],
    );
    with(
        &[(
            "KONTENA_LB_BASIC_AUTH_SECRETS",
            "user a insecure-password b",
        )],
        &["basic_auth_secrets=user a insecure-password b"],
    );
    with(
        &[
            ("io.kontena.health_check.uri", "/h"),
            ("io.kontena.health_check.port", "81"),
        ],
        &["health_check_port=81", "health_check_uri=/h"],
    );
    check(
        &[
            ("KONTENA_LB_BALANCE", "leastcon"),
            ("KONTENA_LB_MODE", "http"),
        ],
        &["balance=leastcon"],
    );
    check_with_problems(
        &[
            ("KONTENA_LB_MODE", "http"),
            ("KONTENA_LB_KEEP_VIRTUAL_PATH", "yes"),
        ],
        &["balance=roundrobin"],
        &["which cuts the path off"],
    );
    assert_eq!(upstream(&[("KONTENA_LB_MODE", "http")]), "10.0.0.2:80");
    assert_eq!(
        upstream(&[("KONTENA_LB_INTERNAL_PORT", "8000")]),
        "10.0.0.2:8000"
    );
    check_with_problems(
        &[("KONTENA_LB_MODE", "HTTP")],
        &["tcp-services/web/balance=roundrobin"],
        &["is \"HTTP\", which is TCP"],
    );
    check(
        &[
            ("KONTENA_LB_MODE", "tcp"),
            ("KONTENA_LB_EXTERNAL_PORT", "3306"),
            ("io.kontena.health_check.uri", "/h"),
        ],
        &[
            "tcp-services/web/balance=roundrobin",
            "tcp-services/web/external_port=3306",
        ],
    );
    check_with_problems(
        &[("KONTENA_LB_MODE", "http"), ("KONTENA_LB_RETRIES", "1")],
        &["balance=roundrobin"],
        &["write LB_RETRIES"],
    );
    let labels = [
        ("io.kontena.load_balancer.name", "lb"),
        ("io.kontena.load_balancer.internal_port", "81"),
        ("io.kontena.load_balancer.mode", "http"),
    ];
    assert_eq!(upstream(&labels), "10.0.0.2:81");
}

#[test]
fn of_two_spellings_of_a_word_the_first_counts_and_the_other_is_told() {
    check_with_problems(
        &[
            ("LB_BALANCE", "source"),
            ("lb.balance", "random"),
            ("KONTENA_LB_BALANCE", "first"),
            ("LB_MODE", "http"),
        ],
        &["balance=random"],
        &[
            "LB_BALANCE is not used: label lb.balance says something else",
            "KONTENA_LB_BALANCE is not used",
        ],
    );
    check(
        &[
            ("LB_BALANCE", "source"),
            ("lb.balance", "source"),
            ("LB_MODE", "http"),
        ],
        &["balance=source"],
    );
    check_with_problems(
        &[("LB_VIRTUAL_HOSTS", "a"), ("VIRTUAL_HOST", "b")],
        &["virtual_hosts=a"],
        &["VIRTUAL_HOST is not read: it has LB_* too"],
    );
}

#[test]
fn only_those_that_link_to_a_balancer_are_its() {
    let ground = Ground {
        link: Some("blue".to_owned()),
        ..Ground::default()
    };
    let is_ours = |word: &str, value: &str| {
        !read(&facts(&[("LB_VIRTUAL_HOSTS", "a"), (word, value)]), &ground)
            .services
            .is_empty()
    };
    assert!(is_ours("lb.link", "blue") && is_ours("LB_LINK", "red, blue"));
    assert!(is_ours("io.kontena.load_balancer.name", "blue"));
    let linked = [
        ("lb.link", "blue"),
        ("lb.service", "shop"),
        ("VIRTUAL_HOST", "a"),
    ];
    assert_eq!(
        read(&facts(&linked), &ground).services[0].dir,
        "services/shop"
    );
    assert!(!is_ours("lb.link", "red") && !is_ours("lb.network", "blue"));
    let cluster = [
        ("com.docker.lb.hosts", "a"),
        ("com.docker.lb.port", "1"),
        ("com.docker.lb.service_cluster", "blue"),
    ];
    assert_eq!(read(&facts(&cluster), &ground).services.len(), 1);
}
