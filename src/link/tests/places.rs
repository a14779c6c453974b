//! Which network and address.

use super::*;

fn in_networks(networks: &[&str], words: &[(&str, &str)]) -> Facts {
    let numbered = networks.iter().zip(1..);
    Facts {
        networks: numbered
            .map(|(name, n)| ((*name).to_owned(), format!("10.0.{n}.1").parse().ok()))
            .collect(),
        ..facts(&[&[("LB_MODE", "http"), ("LB_INTERNAL_PORT", "80")], words].concat())
    }
}

fn container(networks: &[&str]) -> Ground {
    let names = networks.iter().map(|name| (*name).to_owned());
    Ground {
        standing: Standing::Container(names.collect()),
        ..Ground::default()
    }
}

fn check(facts: &Facts, ground: &Ground, upstream: &str, problem: &str) {
    let (keys, told) = said(facts, ground);
    assert_eq!(
        keys.trim_start_matches("services/web="),
        upstream,
        "{told:?}"
    );
    assert_eq!(told.len(), usize::from(!problem.is_empty()), "{told:?}");
    assert!(told.iter().all(|told| told.contains(problem)), "{told:?}");
}

#[test]
fn a_network_is_said_or_the_only_one_or_shared_or_the_first() {
    let host = Ground::default();
    check(&in_networks(&["a"], &[]), &host, "10.0.1.1:80", "");
    check(
        &in_networks(&["a", "b"], &[("lb.network", "b")]),
        &host,
        "10.0.2.1:80",
        "",
    );
    check(
        &in_networks(&["a", "b"], &[]),
        &host,
        "10.0.1.1:80",
        "is in 2 networks (\"a\", \"b\"), the first is taken; name a network",
    );
    check(
        &in_networks(&["a", "b"], &[]),
        &container(&["b"]),
        "10.0.2.1:80",
        "",
    );
    check(
        &in_networks(&["a"], &[]),
        &container(&["b"]),
        "10.0.1.1:80",
        "which this balancer is not in",
    );
    check(
        &in_networks(&["a"], &[("lb.network", "c")]),
        &host,
        "",
        "lb.network is \"c\", and it is not in that network; it is in network \"a\"",
    );
    check(&in_networks(&[], &[]), &host, "", "is in no network");
    let stacked = Facts {
        stack: Some("shop".to_owned()),
        ..in_networks(
            &["a", "shop_b"],
            &[("LB_SERVICE", "web"), ("lb.network", "b")],
        )
    };
    check(&stacked, &host, "10.0.2.1:80", "");
}

#[test]
fn the_host_is_reached_from_the_host() {
    let mut facts = in_networks(&["host"], &[]);
    facts.is_on_host = true;
    check(&facts, &Ground::default(), "127.0.0.1:80", "");
    check(&facts, &container(&["a"]), "", "has the host's network");
}

#[test]
fn no_address_is_told() {
    let mut facts = in_networks(&["a"], &[]);
    facts.networks.insert("a".to_owned(), None);
    check(
        &facts,
        &Ground::default(),
        "",
        "has no address in network \"a\"",
    );
    facts
        .networks
        .insert("a".to_owned(), "fd00::2".parse().ok());
    check(&facts, &Ground::default(), "[fd00::2]:80", "");
}

#[test]
fn a_node_s_published_port_stands_in_for_a_network_that_is_not_shared() {
    let published = |at: &str, overlay: bool| {
        let mut facts = in_networks(&["a"], &[]);
        facts.ports = vec![Port {
            number: 80,
            published: at.parse().into_iter().collect(),
        }];
        if overlay {
            facts.overlays = ["a".to_owned()].into();
        }
        facts
    };
    let host = Ground::default();
    let remote = "192.0.2.1:8080";
    check(
        &published(remote, true),
        &container(&["a"]),
        "10.0.1.1:80",
        "",
    );
    check(&published(remote, true), &container(&["b"]), remote, "");
    check(&published(remote, true), &host, remote, "");
    check(&published(remote, false), &host, "10.0.1.1:80", "");
    check(
        &published("127.0.0.1:8080", true),
        &host,
        "127.0.0.1:8080",
        "",
    );
    for nowhere in ["127.0.0.1:8080", "0.0.0.0:8080"] {
        let unused = published(nowhere, true);
        check(&unused, &container(&["b"]), "10.0.1.1:80", "is not in");
    }
    check(
        &published("0.0.0.0:8080", true),
        &host,
        "10.0.1.1:80",
        "no host is in an overlay network; run the balancer as a container in it",
    );
    let mut nowhere = published(remote, true);
    nowhere.networks.clear();
    check(&nowhere, &host, remote, "");
}

#[test]
fn a_host_s_own_network_is_at_its_address() {
    let mut facts = in_networks(&[], &[]);
    facts.is_on_host = true;
    facts.host = "192.0.2.2".parse().ok();
    check(&facts, &Ground::default(), "192.0.2.2:80", "");
    check(&facts, &container(&["b"]), "192.0.2.2:80", "");
}

#[test]
fn other_hosts_reach_what_is_published_at_the_address_of_this_one() {
    let ground = |text: &str| Ground {
        reach: Reach::At(text.parse().expect("an address")),
        ..Ground::default()
    };
    let published = |at: &[&str]| {
        let mut facts = in_networks(&["a", "b"], &[]);
        facts.ports = vec![Port {
            number: 80,
            published: at
                .iter()
                .map(|at| at.parse().expect("an address"))
                .collect(),
        }];
        facts
    };
    let host = ground("192.0.2.7");
    check(&published(&["0.0.0.0:32768"]), &host, "192.0.2.7:32768", "");
    check(&published(&["192.0.2.7:81"]), &host, "192.0.2.7:81", "");
    check(
        &published(&["0.0.0.0:81", "[::]:82"]),
        &ground("2001:db8::7"),
        "[2001:db8::7]:82",
        "",
    );
    check(
        &published(&["127.0.0.1:81"]),
        &host,
        "",
        "port 80 is published at 127.0.0.1:81 and not at 192.0.2.7",
    );
    let not = "port 80 is not published, so nobody reaches it at 192.0.2.7";
    check(&published(&[]), &host, "", not);
    check(&in_networks(&["a"], &[]), &host, "", not);

    let mut on_host = in_networks(&[], &[]);
    on_host.is_on_host = true;
    check(&on_host, &host, "192.0.2.7:80", "");
    let afar = Ground {
        reach: Reach::Afar,
        ..container(&["own"])
    };
    check(&on_host, &afar, "", "say it with --address");
    check(&in_networks(&["a"], &[]), &afar, "10.0.1.1:80", "");
}
