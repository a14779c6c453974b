//! Several members of one service.

use super::*;

fn member(words: &[(&str, &str)]) -> Announced {
    read(&facts(words), &Ground::default()).services.remove(0)
}

#[test]
fn members_are_upstreams_of_one_service_and_the_first_settles_what_differs() {
    let a = member(&[("LB_VIRTUAL_HOSTS", "a"), ("LB_BALANCE", "source")]);
    let b = member(&[("lb.virtual_hosts", "b"), ("LB_BALANCE", "source")]);
    let (keys, problems) = merge([("web-1", &a), ("web-2", &b)]);
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        keys,
        [
            "balance=source",
            "upstreams/web-1=10.0.0.2:8080",
            "upstreams/web-2=10.0.0.2:8080",
            "virtual_hosts=a"
        ]
    );
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "warning: web-2: label lb.virtual_hosts is not used: web-1 says otherwise with LB_VIRTUAL_HOSTS, and is the first by name (key services/web/virtual_hosts); say the same in all members of a service"
        ]
    );
}

#[test]
fn what_one_member_says_holds_for_all_and_is_told() {
    let open = member(&[("LB_VIRTUAL_HOSTS", "a")]);
    let closed = member(&[("LB_VIRTUAL_HOSTS", "a"), ("LB_BASIC_AUTH_SECRETS", "x")]);
    for order in [
        [("1", &open), ("2", &closed)],
        [("1", &closed), ("2", &open)],
    ] {
        let (keys, problems) = merge(order);
        assert_eq!(keys["basic_auth_secrets"], "x");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0]
                .message
                .contains("does not say LB_BASIC_AUTH_SECRETS"),
            "{problems:?}"
        );
    }
}
