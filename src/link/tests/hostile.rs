//! Containers that mean harm.

use super::*;

#[test]
fn too_much_is_told_and_not_read() {
    let mut many = facts(&[("LB_MODE", "http")]);
    many.labels
        .extend((0..5000).map(|n| (format!("label-{n}"), String::new())));
    let told = said(&many, &Ground::default()).1;
    assert_eq!(
        told,
        ["error: web-1: has 5002 labels and variables; at most 4096 are read; it is not announced"]
            .map(|t| t.replace("5002", "5001"))
    );
    let long = "x".repeat(1024 * 1024);
    refused(
        &[("LB_MODE", "http"), ("LB_CUSTOM_SETTINGS", &long)],
        "LB_CUSTOM_SETTINGS has 1048576 bytes",
    );
    refused(
        &[("traefik.http.routers.a.rule", &long)],
        "at most 4096 are read",
    );
    check(&[("LB_MODE", "http"), ("other", &long)], &[]);
    let mut unknown = facts(&[("LB_MODE", "http")]);
    unknown
        .env
        .extend((0..3000).map(|n| (format!("LB_ODD_{n}"), long[..9].to_owned())));
    let told = said(&unknown, &Ground::default()).1;
    assert_eq!(told.len(), 21);
    assert!(told[20].contains("2980 more problems"), "{}", told[20]);
}

#[test]
fn a_value_is_a_value_whatever_is_in_it() {
    let yaml = "a\n  evil: true\nservice: {}\n";
    let read = read(&facts(&[("LB_VIRTUAL_HOSTS", yaml)]), &Ground::default());
    assert_eq!(read.services[0].keys["virtual_hosts"].value, yaml);
    refused(
        &[("LB_MODE", "http"), ("LB_SERVICE", "a\nb")],
        "cannot be the name of a service",
    );
    refused(
        &[(
            "traefik.http.routers.a.rule",
            "Path(`/a'} deny`)&&!Path(`/x`)&&Method(`G'`)",
        )],
        "which is none".trim_start_matches("which "),
    );
    let mut named = facts(&[("LB_MODE", "http")]);
    named.name = "a\nerror: b".to_owned();
    let told = said(&named, &Ground::default()).1;
    assert!(
        told[0].starts_with("error: a\\nerror: b: \"a\\nerror: b\" cannot be"),
        "{told:?}"
    );
    refused(
        &[
            ("traefik.http.routers.a.middlewares", "m"),
            (
                "traefik.http.middlewares.m.headers.customrequestheaders.x",
                "1\nset Y: 2",
            ),
        ],
        "one line",
    );
}
