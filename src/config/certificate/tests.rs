use crate::config::{Balancer, Compat, Unit, parse};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::tls::tests::certs::{Authority, Leaf};

fn text(fields: &[(&str, &str)]) -> String {
    let line = |(name, value): &(&str, &str)| format!("  {name}: {}\n", serde_json::json!(value));
    "certificate:\n".to_owned() + &fields.iter().map(line).collect::<String>()
}

fn judge(text: &str, compat: Compat) -> (Option<Unit>, Vec<String>) {
    let defaults = Balancer {
        compat,
        ..Balancer::default()
    };
    let told = |all: Vec<Diagnostic>| all.iter().map(ToString::to_string).collect();
    match parse(&UnitName::from("certs/www"), text, &defaults) {
        Ok(accepted) => (Some(accepted.unit), told(accepted.warnings)),
        Err(problems) => (None, told(problems)),
    }
}

#[track_caller]
fn refused(fields: &[(&str, &str)], expected: &[&str]) {
    let (unit, told) = judge(&text(fields), Compat::Pointsman);
    assert!(unit.is_none());
    assert_eq!(told, expected);
}

#[test]
fn a_bundle_becomes_a_certificate_of_its_name() {
    let bundle = Leaf::of(&["www.test"]).alone();
    let stray = Authority::root("stray").pem();
    let fields = [("name", "www"), ("pem", &*(bundle.pem() + &stray))];
    let (unit, warnings) = judge(&text(&fields), Compat::Pointsman);
    let Some(Unit::Certificate(certificate)) = unit else {
        panic!("{warnings:?}")
    };
    assert_eq!(certificate.name.as_str(), "www");
    assert_eq!(certificate.bundle.names(), ["www.test".into()]);
    let line = bundle.pem().lines().count() + 1;
    assert_eq!(
        warnings,
        [format!(
            "warning: certs/www:3:8: pem has a certificate that signed none of the others: \"CN=stray\" (line \
             {line}); it is not sent; remove it"
        )]
    );
    // As a block, as people write it by hand.
    let block = format!(
        "certificate:\n  name: www\n  pem: |\n    {}",
        bundle.pem().replace('\n', "\n    ")
    );
    let (unit, _) = judge(&block, Compat::Pointsman);
    assert_eq!(unit, Some(Unit::Certificate(certificate)));
}

#[test]
fn what_is_wrong_is_told_with_place_and_advice() {
    refused(
        &[("name", "www"), ("pem", "")],
        &[
            "error: certs/www:1:1: pem is missing; write leaf, chain and private key, or remove the key of this \
           certificate",
        ],
    );
    refused(
        &[("pem", "true")],
        &[
            "error: certs/www:1:1: name is missing; say what the certificate is called",
            "error: certs/www:2:8: pem has no PEM in it; a bundle has blocks from -----BEGIN CERTIFICATE----- to \
             -----END CERTIFICATE-----, and one of a private key",
        ],
    );
    let bundle = Leaf::of(&["www.test"]).alone();
    refused(
        &[("name", "a/b"), ("pem", &bundle.cert), ("pam", "x")],
        &[
            "error: certs/www:2:9: name \"a/b\" is no name; '/' cannot be in it; letters, digits, - _ . and the \
             like can",
            "error: certs/www:3:8: pem has no private key; write the key that the certificate was asked for with \
             into the same bundle",
            "error: certs/www:4:3: field \"pam\" is unknown; did you mean \"pem\"?",
        ],
    );
}

#[test]
fn a_flag_of_kontenas_is_no_certificate_and_no_mistake() {
    let flag = text(&[("name", "bundle"), ("pem", "true")]);
    assert_eq!(
        judge(&flag, Compat::Kontena),
        (Some(Unit::Ignored), Vec::new())
    );
    for (name, value) in [("www", "1"), ("www", " off\n"), ("bundle", "by hand")] {
        let flag = text(&[("name", name), ("pem", value)]);
        assert_eq!(judge(&flag, Compat::Kontena).0, Some(Unit::Ignored));
    }
    let broken = text(&[("name", "bundle"), ("pem", "-----BEGIN CERTIFICATE-----")]);
    assert_eq!(judge(&broken, Compat::Kontena).0, None);
}

/// Ignored, it would take the last good one out of service without a word.
#[test]
fn a_spoilt_certificate_is_no_flag_of_kontenas() {
    for value in [
        "MIIB",
        "----BEGIN CERTIFICATE-----",
        "yes please",
        "not found",
    ] {
        let spoilt = text(&[("name", "www"), ("pem", value)]);
        let (unit, told) = judge(&spoilt, Compat::Kontena);
        assert_eq!(unit, None, "{value}");
        assert_eq!(told, judge(&spoilt, Compat::Pointsman).1);
        assert!(told[0].contains("pem has no PEM in it"), "{told:?}");
    }
}

#[test]
fn no_message_shows_what_is_in_a_bundle() {
    let secret = Leaf::of(&["www.test"]).alone().key;
    let body: String = secret
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    for pem in [
        secret.replace("-----END", "----END"),
        secret.replace("-----BEGIN PRIVATE KEY-----", ""),
        body.clone(),
        secret.replace("PRIVATE", "PRIVAT"),
    ] {
        for text in [
            text(&[("name", "x"), ("pem", &pem)]),
            format!("certificate:\n  name: x\n  pem: {pem}"),
            format!("certificate:\n  name: x\n{pem}"),
            format!("certificate: {}", serde_json::json!(pem)),
        ] {
            let (unit, told) = judge(&text, Compat::Pointsman);
            assert!(unit.is_none() && !told.is_empty());
            let told = told.join("\n");
            for part in body.as_bytes().chunks(24).map(String::from_utf8_lossy) {
                assert!(!told.contains(&*part), "{told}");
            }
        }
    }
}

/// Marks that lost a dash make a label of what follows.
#[test]
fn no_message_shows_a_key_that_became_a_label() {
    let key = crate::tls::tests::certs::openssl(&["ec"], &Leaf::of(&["www.test"]).alone().key);
    let body: String = key.lines().filter(|line| !line.contains('-')).collect();
    let marks = [
        key.replace("KEY-----\n", "KEY----\n"),
        key.replace("KEY-----\n", "KEY\n"),
        key.replace("KEY-----\nM", "KEY-----\n-----BEGIN M"),
        key.replace("-----BEGIN EC PRIVATE KEY-----", "-----BEGIN "),
        format!(
            "{}-----BEGIN PRIVATE KEY-----",
            key.replace("Y-----\n", "Y\n")
        ),
        format!("-----BEGIN {body} PRIVATE KEY-----\nx\n-----END {body} PRIVATE KEY-----"),
        format!("-----BEGIN {body} PRIVATE KEY-----\n\n"),
        format!("-----BEGIN CERTIFICATE {body}-----\n-----END CERTIFICATE {body}-----"),
    ];
    for spoilt in marks {
        let forms = ["\n", "", " ", "\\n", "\r"].map(|gap| spoilt.replace('\n', gap));
        for pem in forms {
            let (unit, told) = judge(&text(&[("name", "x"), ("pem", &pem)]), Compat::Pointsman);
            assert!(unit.is_none() && !told.is_empty());
            let told = told.join("\n");
            for part in body.as_bytes().windows(12).map(String::from_utf8_lossy) {
                assert!(!told.contains(&*part), "{told}");
            }
        }
    }
}
