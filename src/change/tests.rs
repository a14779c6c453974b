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
        .edits(&tree, &held, |_| None)
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
        mode: Some(Mode::Tcp),
        ..link("services/app", &[(None, "10.0.0.2:80")])
    };
    told(
        &Change::Link(tcp),
        "services/app is an HTTP service, and a TCP port or the mode tcp is said",
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

/// What a first attempt saw is what a second is held to.
#[test]
fn a_service_that_goes_between_two_attempts_is_not_made_anew() {
    let mut after = tree();
    for key in ["upstreams/one", "upstreams/two", "virtual_hosts", "drain"] {
        after.remove(&format!("services/web/{key}"));
    }
    let mut change = Change::Link(link("web", &[(Some("three"), "10.0.0.3:80")]));
    change.pin(&tree()).unwrap();
    change.places(&tree()).unwrap();
    let told = change.places(&after).unwrap_err();
    assert!(matches!(told, Problem::NotThere(_)), "{told}");
    // One that was never there has to be said to be.
    let mut new = Link {
        has_to_be: true,
        ..link("new", &[(None, "10.0.0.3:80")])
    };
    assert!(matches!(
        Change::Link(new.clone()).places(&tree()),
        Err(Problem::NotThere(_))
    ));
    new.has_to_be = false;
    assert!(Change::Link(new).places(&tree()).is_ok());
    // Nor is another one of its name taken for it.
    let mut unlink = Change::Unlink {
        service: "web".to_owned(),
        upstreams: Vec::new(),
    };
    unlink.pin(&tree()).unwrap();
    after.put("tcp-services/web/external_port", "1");
    assert!(matches!(unlink.places(&after), Err(Problem::NotThere(_))));
}

#[test]
fn what_would_be_open_to_everybody_is_told() {
    let with = |keys: &[(&str, Option<&str>)]| {
        let mut tree = tree();
        for (key, value) in keys {
            match value {
                Some(value) => tree.put(*key, value.as_bytes().to_vec()),
                None => {
                    tree.remove(key);
                }
            }
        }
        tree
    };
    let risk = |change: &Change, before: &Snapshot, after: &Snapshot| {
        let told = change.check_risk(before, after);
        told.err().map(|told| told.to_string()).unwrap_or_default()
    };
    let wbe = Change::Link(link("wbe", &[(None, "127.0.0.1:1")]));
    let after = with(&[("services/wbe/upstreams/x", Some("127.0.0.1:1"))]);
    let told = risk(&wbe, &tree(), &after);
    assert!(told.contains("did you mean web?"), "{told}");
    assert_eq!(risk(&wbe, &after, &after), "");
    for route in [
        "virtual_hosts",
        "virtual_path",
        "match",
        "default",
        "redirects",
    ] {
        let mut after = after.clone();
        // `default` that is false leads nobody there.
        let value = if route == "default" { "true" } else { "x" };
        after.put(format!("services/wbe/{route}"), value);
        assert_eq!(risk(&wbe, &tree(), &after), "", "{route}");
    }
    let web = Change::Link(link("web", &[]));
    let after = with(&[("services/web/virtual_hosts", None)]);
    let told = risk(&web, &tree(), &after);
    assert!(told.contains("every host"), "{told}");
    let db = Change::Link(Link {
        mode: Some(Mode::Tcp),
        ..link("db", &[])
    });
    let after = with(&[("tcp-services/db/upstreams/x", Some("127.0.0.1:1"))]);
    let told = risk(&db, &tree(), &after);
    assert!(told.contains("--tcp-port"), "{told}");

    let unlink = Change::Unlink {
        service: "web".to_owned(),
        upstreams: Vec::new(),
    };
    let before = with(&[("services/web/basic_auth_secrets", Some("user a password b"))]);
    let told = risk(&unlink, &before, &tree());
    assert!(
        told.contains("basic_auth_secrets") && told.contains("--force"),
        "{told}"
    );
    assert_eq!(risk(&unlink, &before, &before), "");
    assert_eq!(risk(&unlink, &tree(), &Snapshot::default()), "");
}

#[test]
fn the_mode_that_is_said_is_the_one_that_is_meant() {
    let mode = |service: &str, mode| {
        let link = Link {
            mode,
            ..link(service, &[(Some("one"), "10.0.0.9:80")])
        };
        come_to(&Change::Link(link))
    };
    let mut tcp_only = Link {
        mode: Some(Mode::Http),
        ..link("db", &[])
    };
    let db: Snapshot = [("tcp-services/db/external_port", "1")]
        .into_iter()
        .collect();
    assert_eq!(tcp_only.dir(&db).unwrap(), "services/db");
    tcp_only.mode = None;
    assert_eq!(tcp_only.dir(&db).unwrap(), "tcp-services/db");
    assert!(mode("tcp-services/app", Some(Mode::Http)).is_err());
    assert!(mode("services/app", Some(Mode::Tcp)).is_err());
    assert_eq!(
        mode("app", Some(Mode::Tcp)).unwrap(),
        ["tcp-services/app/upstreams/one=10.0.0.9:80"]
    );
}

#[test]
fn what_others_announce_is_written_when_it_is_said_and_told_when_it_stays() {
    let tree: Snapshot = [
        ("services/web/upstreams/one", "10.0.0.1:80"),
        ("services/web/virtual_hosts", "web.test"),
    ]
    .into_iter()
    .collect();
    let none = Held::default();
    let agent = |_: &str| Some("agent hosta".to_owned());
    let edits = |link: Link| Change::Link(link).edits(&tree, &none, agent);
    let unset = |key: &str| [(key.to_owned(), None)].into();
    let told = edits(Link {
        keys: unset("virtual_hosts"),
        ..link("web", &[])
    });
    let told = told.unwrap_err().to_string();
    assert!(
        told.contains("virtual_hosts") && told.contains("agent hosta"),
        "{told}"
    );
    let same = edits(link("web", &[(None, "10.0.0.1:80")])).unwrap();
    assert_eq!(same.edit.keys.len(), 1, "{same:?}");
    let mut all = link("web", &[(Some("two"), "10.0.0.2:80")]);
    all.replace = true;
    let all = edits(all).unwrap();
    assert_eq!(all.edit.keys.len(), 1);
    let told = all.warnings.join("\n");
    assert!(
        told.contains("upstreams/one") && told.contains("agent hosta"),
        "{told}"
    );
    let unlink = Change::Unlink {
        service: "web".to_owned(),
        upstreams: Vec::new(),
    };
    let told = unlink.edits(&tree, &none, agent).unwrap_err().to_string();
    assert_eq!(
        told,
        "web is announced by agent hosta, and is unlinked there"
    );
}
