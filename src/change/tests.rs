use std::collections::BTreeMap;

use super::*;

fn tree() -> Snapshot {
    [
        ("services/app/upstreams/one", "10.0.0.1:80"),
        ("services/app/virtual_hosts", "app.test"),
        ("services/web/drain", "gone, two"),
        ("services/web/upstreams/one", "10.0.0.1:80 weight=5"),
        ("services/web/upstreams/two", "[fd00::1]:80"),
        ("services/web/virtual_hosts", "web.test"),
        ("tcp-services/app/external_port", "3306"),
        ("certs/www", "pem"),
    ]
    .into_iter()
    .collect()
}

/// What a change comes to, where one store says everything that there is.
fn come_to(change: &Change) -> Result<Vec<String>, String> {
    let tree = tree();
    let places = change.places(&tree).map_err(|p| p.to_string())?;
    let held = tree.iter().filter(|(key, _)| {
        let is_in = |place: &String| {
            place == &***key || (place.ends_with('/') && key.starts_with(&**place))
        };
        places.iter().any(is_in)
    });
    let held = Held::of(held.map(|(key, value)| (key.to_string(), value.to_vec())));
    let planned = change
        .edits(&tree, &held, |_| Some("docker:"))
        .map_err(|p| p.to_string())?;
    let removed = planned.edit.removed.map(|dir| format!("{dir}*"));
    let keys = planned
        .edit
        .keys
        .into_iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={}", String::from_utf8_lossy(&value)),
            None => format!("{key} removed"),
        });
    Ok(removed.into_iter().chain(keys).collect())
}

fn link(service: &str, upstreams: &[(Option<&str>, &str)]) -> Link {
    let said = upstreams.iter().map(|(name, value)| SaidUpstream {
        name: name.map(str::to_owned),
        value: (*value).to_owned(),
    });
    Link {
        service: service.to_owned(),
        upstreams: said.collect(),
        ..Link::default()
    }
}

#[track_caller]
fn linked(link: Link, expected: &[&str]) {
    assert_eq!(come_to(&Change::Link(link)).unwrap(), expected);
}

#[track_caller]
fn told(change: &Change, expected: &str) {
    assert_eq!(come_to(change).unwrap_err(), expected);
}

#[test]
fn upstreams_are_called_as_they_were_or_as_their_address_is() {
    linked(link("web", &[(None, "10.0.0.1:80")]), &[]);
    linked(
        link("web", &[(None, "10.0.0.1:80 weight=2")]),
        &["services/web/upstreams/one=10.0.0.1:80 weight=2"],
    );
    linked(link("web", &[(None, "[FD00::1]:80")]), &[]);
    for (address, key) in [
        ("10.0.0.9:80", "10.0.0.9-80"),
        ("[fd00::9]:80", "fd00::9-80"),
        ("App.internal:8080", "app.internal-8080"),
        ("srv:_http._tcp.app.internal", "_http._tcp.app.internal"),
    ] {
        let key = format!("services/new/upstreams/{key}={address}");
        linked(link("new", &[(None, address)]), &[&key]);
    }
    linked(
        link("web", &[(Some("one"), "10.0.0.7:80")]),
        &["services/web/upstreams/one=10.0.0.7:80"],
    );
}

#[test]
fn what_is_not_said_stays_and_replace_says_all() {
    let keys: BTreeMap<_, _> = [
        ("balance".to_owned(), Some(" source\n".to_owned())),
        ("virtual_hosts".to_owned(), None),
    ]
    .into();
    let change = Link {
        keys: keys.clone(),
        ..link("web", &[])
    };
    linked(
        change,
        &[
            "services/web/balance=source",
            "services/web/virtual_hosts removed",
        ],
    );
    let change = Link {
        keys,
        replace: true,
        ..link("web", &[(Some("two"), "[fd00::1]:80")])
    };
    linked(
        change,
        &[
            "services/web/balance=source",
            "services/web/drain removed",
            "services/web/upstreams/one removed",
            "services/web/virtual_hosts removed",
        ],
    );
}

#[test]
fn an_http_and_a_tcp_service_of_one_name_are_told_apart() {
    let unlink = |service: &str| Change::Unlink {
        service: service.to_owned(),
        upstreams: Vec::new(),
    };
    told(
        &unlink("app"),
        "there are two services app: write services/app or tcp-services/app",
    );
    assert_eq!(
        come_to(&unlink("tcp-services/app")).unwrap(),
        ["tcp-services/app/*"]
    );
    let tcp = Link {
        is_tcp: true,
        ..link("services/app", &[(None, "10.0.0.2:80")])
    };
    told(
        &Change::Link(tcp),
        "services/app is an HTTP service, and a TCP port is said",
    );
}

#[test]
fn drained_names_are_a_list_in_order() {
    let drain = |names: &[&str]| Change::Drain(names.iter().map(|n| (*n).to_owned()).collect());
    let undrain = |names: &[&str]| Change::Undrain(names.iter().map(|n| (*n).to_owned()).collect());
    let check = |change: Change, expected: &[&str]| {
        assert_eq!(come_to(&change).unwrap(), expected, "{change:?}");
    };
    check(drain(&["two"]), &[]);
    check(drain(&["web/one"]), &["services/web/drain=gone, one, two"]);
    check(
        drain(&["web/one", "services/app/one"]),
        &[
            "services/app/drain=one",
            "services/web/drain=gone, one, two",
        ],
    );
    check(undrain(&["[fd00::1]:80"]), &["services/web/drain=gone"]);
    check(undrain(&["gone", "two"]), &["services/web/drain removed"]);
    told(
        &drain(&["10.0.0.1:80"]),
        "\"10.0.0.1:80\" is an upstream of several services; write which: services/app/one, services/web/one",
    );
    told(
        &drain(&["web/gone"]),
        "web has no upstream \"gone\"; there are one, two",
    );
}

#[test]
fn who_is_unlinked_is_drained_no_more() {
    let change = Change::Unlink {
        service: "web".to_owned(),
        upstreams: vec!["two".to_owned()],
    };
    assert_eq!(
        come_to(&change).unwrap(),
        [
            "services/web/drain=gone",
            "services/web/upstreams/two removed"
        ]
    );
}
