//! Which suites and versions handshakes come to, asked for one by one with `openssl s_client`.
//!
//! What needs OpenSSL on our side too is under the feature that brings it; tests/ciphers_legacy.rs has more of it.

mod support;

use support::certs::{self, Leaf, TOWN};
use support::origin::Origin;
use support::s_client::{SUITES, TLS13_SUITES, alone, s_client, town_with, working};
use support::wait_until;

/// Every one of the twelve alone, for a kind of key: `count` of them may work.
fn check_profile(profile: &str, count: usize) {
    let origin = Origin::saying("hello");
    for (leaf, other) in [
        (Leaf::of(&[TOWN]).rsa(), "ECDHE-ECDSA"),
        (Leaf::of(&[TOWN]), "RSA"),
    ] {
        let pointsman = town_with(&origin, leaf)
            .setting("ssl_ciphers", profile)
            .start();
        let fits = |suite: &&&str| match other {
            "RSA" => suite.starts_with("ECDHE-ECDSA"),
            other => !suite.starts_with(other),
        };
        let expected: Vec<_> = SUITES[..count].iter().filter(fits).copied().collect();
        assert_eq!(
            working(pointsman.https(), &SUITES),
            expected,
            "{profile}, not {other}"
        );
        for suite in TLS13_SUITES {
            let said = s_client(pointsman.https(), &["-tls1_3", "-ciphersuites", suite]);
            said.assert_by(suite);
        }
        for version in ["-tls1", "-tls1_1"] {
            let said = s_client(pointsman.https(), &[version, "-cipher", "ALL:@SECLEVEL=0"]);
            assert!(!said.is_served(), "{profile} {version}");
            // Whatever else they lack is told first.
            let alerts = ["alert protocol version", "alert handshake failure"];
            assert!(
                alerts.iter().any(|alert| said.has(alert)),
                "{version}: {}",
                said.0
            );
        }
    }
}

#[test]
fn strict_has_the_six_and_no_other() {
    check_profile("strict", 6);
}

#[cfg(feature = "legacy-tls")]
#[test]
fn compatible_has_all_twelve() {
    check_profile("compatible", 12);
}

#[test]
fn nothing_weak_is_served_by_default() {
    let origin = Origin::saying("hello");
    let pointsman = town_with(&origin, Leaf::of(&[TOWN]).rsa()).start();
    let all = certs::openssl(&["ciphers", "-tls1_2", "ALL:eNULL:@SECLEVEL=0"], "");
    let rest: Vec<_> = all
        .trim()
        .split(':')
        .filter(|suite| !SUITES.contains(suite))
        .collect();
    assert!(rest.len() > 50, "{all}");
    let list = format!("{}:@SECLEVEL=0", rest.join(":"));
    let said = s_client(pointsman.https(), &["-tls1_2", "-cipher", &list]);
    assert!(!said.is_served(), "{}", said.0);
}

#[test]
fn a_list_has_what_it_names_and_the_lowest_version_holds() {
    let origin = Origin::saying("hello");
    let pointsman = town_with(&origin, Leaf::of(&[TOWN]).rsa())
        .setting(
            "ssl_ciphers",
            "ECDHE-RSA-AES128-GCM-SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305:TLS_AES_128_GCM_SHA256",
        )
        .start();
    assert_eq!(
        working(pointsman.https(), &SUITES),
        ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"]
    );
    let tls13 = |suite: &str| {
        let said = s_client(pointsman.https(), &["-tls1_3", "-ciphersuites", suite]);
        said.is_served()
    };
    assert_eq!(TLS13_SUITES.map(tls13), [true, false, false]);
    pointsman.put("settings/ssl_min_version", "TLSv1.3");
    wait_until("TLS 1.2 to be refused", || {
        !alone(pointsman.https(), SUITES[1]).is_served()
    });
    assert!(alone(pointsman.https(), SUITES[1]).has("alert protocol version"));
    assert!(tls13("TLS_AES_128_GCM_SHA256"));
    // What cannot be is refused, and what was good goes on.
    for bad in ["1.0", "TLSv1.1"] {
        pointsman.put("settings/ssl_min_version", bad);
        pointsman.wait_for_status_words(&["ssl_min_version", "older than what is served"]);
        assert!(tls13("TLS_AES_128_GCM_SHA256"));
    }
    pointsman.put("settings/ssl_min_version", "1.2");
    pointsman.put("settings/ssl_ciphers", "ECDHE-RSA-AES128-GCM-SHA265");
    pointsman.wait_for_status_words(&["did you mean", "ECDHE-RSA-AES128-GCM-SHA256"]);
    assert!(tls13("TLS_AES_128_GCM_SHA256"));
    pointsman.remove("settings/ssl_ciphers");
    wait_until("strict again", || {
        alone(pointsman.https(), SUITES[3]).is_served()
    });
}

#[test]
fn flags_and_lines_of_haproxy_say_it_too() {
    let origin = Origin::saying("hello");
    let pointsman = town_with(&origin, Leaf::of(&[TOWN]).rsa())
        .env("LB_SSL_CIPHERS", "EECDH+CHACHA20")
        .args(&["--ssl-min-version", "1.2"])
        .start();
    assert_eq!(working(pointsman.https(), &SUITES[..6]), [SUITES[5]]);
    pointsman.put(
        "settings/global_settings",
        "ssl-default-bind-ciphers ECDHE+AES128+AESGCM\nssl-default-bind-options no-sslv3 no-tlsv10 no-tlsv11",
    );
    wait_until("the line", || {
        alone(pointsman.https(), SUITES[1]).is_served()
    });
    assert_eq!(working(pointsman.https(), &SUITES[..6]), [SUITES[1]]);
    assert!(s_client(pointsman.https(), &["-tls1_3"]).is_served());
}

/// With both kinds of keys, what both have has to lead to the one that can be used by it.
#[test]
fn of_two_certificates_the_one_is_shown_that_the_list_has_a_suite_for() {
    let origin = Origin::saying("hello");
    let rsa = certs::town_hall().sign(&Leaf::of(&[TOWN]).rsa());
    let pointsman = town_with(&origin, Leaf::of(&[TOWN]))
        .key("certs/town-rsa", rsa.pem())
        .setting("ssl_ciphers", "aRSA+AESGCM+ECDHE")
        .start();
    // The client would take the other one.
    let said = alone(pointsman.https(), "ECDHE+AESGCM");
    said.assert_by("ECDHE-RSA-AES256-GCM-SHA384");
}

#[cfg(not(feature = "legacy-tls"))]
#[test]
fn compatible_is_refused_with_the_names_of_what_is_missing() {
    let origin = Origin::saying("hello");
    let pointsman = town_with(&origin, Leaf::of(&[TOWN])).start();
    pointsman.put("settings/ssl_ciphers", "compatible");
    pointsman.wait_for_status_words(&["needs suites that this build does not have", "AES128-SHA"]);
    assert!(alone(pointsman.https(), SUITES[0]).is_served());
}
