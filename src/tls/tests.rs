//! Bundles good and bad, one sentence each.

use std::sync::LazyLock;

use super::*;

/// The same that tests of the whole program use.
#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/support/certs.rs"]
pub(crate) mod certs;

use certs::{Authority, Bundle, DAY, Leaf, by_openssl, now, openssl};

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::root("root").below("middle").below("near"));
static WWW: LazyLock<Bundle> =
    LazyLock::new(|| AUTHORITY.sign(&Leaf::of(&["www.test", "*.www.test"])));

#[track_caller]
fn read(pem: &str) -> Certificate {
    Certificate::read(pem).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Code and message of each problem.
#[track_caller]
fn refused(pem: &str, expected: &[(&str, &str)]) {
    let Err(problems) = Certificate::read(pem) else {
        panic!("accepted")
    };
    let told: Vec<_> = problems
        .iter()
        .map(|p| (p.code, p.message.as_str()))
        .collect();
    assert_eq!(told, expected);
    for problem in &problems {
        assert!(!problem.help.is_empty());
        assert!(!format!("{problem:?}").contains("MII"), "{problem:?}");
    }
}

fn certificates(pem: &str) -> Vec<&str> {
    pem.split_inclusive("-----END CERTIFICATE-----\n").collect()
}

#[test]
fn a_bundle_in_the_usual_order_is_read_and_shakes_hands() {
    let certificate = read(&WWW.pem());
    assert_eq!(
        certificate.names(),
        ["www.test".into(), "*.www.test".into()]
    );
    assert_eq!(
        certificate.key().cert.len(),
        3,
        "leaf, near and middle; no root"
    );
    assert_eq!(certificate.key_type(), KeyType::Ecdsa(Curve::P256));
    assert_eq!(certificate.subject(), "CN=a leaf");
    assert!(
        certificate.issuer().contains("near"),
        "{}",
        certificate.issuer()
    );
    assert_eq!(certificate.warnings(), []);
    certificate.trial().unwrap();
}

#[test]
fn what_it_tells_is_what_openssl_tells() {
    let certificate = read(&WWW.pem());
    let told = openssl(
        &["x509", "-noout", "-fingerprint", "-sha256", "-serial"],
        &WWW.cert,
    );
    let told = told.replace(':', "").to_lowercase();
    let serial = certificate.serial().trim_start_matches("00");
    assert!(told.contains(&certificate.fingerprint()), "{told}");
    assert!(told.contains(serial), "{told} {serial}");
}

#[test]
fn any_order_is_the_same_certificate() {
    let usual = read(&WWW.pem());
    let chain = certificates(&WWW.chain);
    let (near, middle) = (chain[0], chain[1]);
    for parts in [
        [WWW.key.as_str(), middle, WWW.cert.as_str(), near],
        [middle, near, WWW.key.as_str(), WWW.cert.as_str()],
        [near, WWW.cert.as_str(), middle, WWW.key.as_str()],
    ] {
        let other = read(&parts.concat());
        assert_eq!(other, usual);
        assert_eq!(other.key().cert, usual.key().cert);
    }
}

#[test]
fn how_it_is_written_down_does_not_matter() {
    let usual = read(&WWW.pem());
    let pem = WWW.pem();
    let between = pem.replace(
        "-----BEGIN",
        "\nsubject=/CN=ä, ---\n friendlyName: x\n-----BEGIN",
    );
    let indented = pem.replace('\n', "\n    ");
    for text in [
        pem.replace('\n', "\r\n"),
        between,
        indented,
        pem.replace('\n', " "),
        format!("\u{feff}{pem}"),
        format!("{pem}{}", WWW.cert),
        format!("{pem}-----BEGIN DH PARAMETERS-----\nMIIB\n-----END DH PARAMETERS-----\n"),
    ] {
        assert_eq!(read(&text), usual, "{text}");
    }
}

#[test]
fn keys_are_taken_in_all_three_forms() {
    let rsa = Leaf::of(&["rsa.test"]).rsa().alone();
    let pkcs1 = openssl(&["rsa", "-traditional"], &rsa.key);
    let sec1 = openssl(&["ec"], &WWW.key);
    let with_parameters = openssl(&["ecparam", "-name", "prime256v1"], "") + &sec1;
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY") && sec1.contains("BEGIN EC PRIVATE KEY"));
    let rsa = [rsa.cert.as_str(), &pkcs1].concat();
    assert_eq!(read(&rsa).key_type(), KeyType::Rsa(2048));
    for key in [sec1, with_parameters] {
        assert_eq!(
            read(&[WWW.cert.as_str(), &WWW.chain, &key].concat()),
            read(&WWW.pem())
        );
    }
}

#[test]
fn every_kind_of_key_that_is_taken_shakes_hands() {
    for (kind, shown) in [
        ("rsa:2048", "RSA 2048"),
        ("rsa:3072", "RSA 3072"),
        ("ec:P-256", "ECDSA P-256"),
        ("ec:P-384", "ECDSA P-384"),
        ("ec:P-521", "ECDSA P-521"),
        ("ed25519", "Ed25519"),
    ] {
        let certificate = read(&by_openssl(kind, "kind.test").pem());
        assert_eq!(certificate.key_type().to_string(), shown);
        certificate
            .trial()
            .unwrap_or_else(|problem| panic!("{kind}: {problem:?}"));
    }
}

#[test]
fn kinds_that_are_not_taken_are_named() {
    let bundle = |kind| by_openssl(kind, "kind.test");
    for (kind, code, message) in [
        (
            "rsa:1024",
            "weak-key",
            "that is too weak: RSA with 1024 bits",
        ),
        (
            "ec:secp256k1",
            "unsupported-key",
            "of a kind that is not taken: ECDSA on another curve",
        ),
        (
            "ed448",
            "unsupported-key",
            "of a kind that is not taken: Ed448",
        ),
    ] {
        let bundle = bundle(kind);
        let line = bundle.cert.lines().count() + 1;
        let told = format!("has a private key (line {line}) {message}");
        refused(&bundle.pem(), &[(code, &told)]);
    }
    let weak = bundle("rsa:1024");
    let pkcs1 = openssl(&["rsa", "-traditional"], &weak.key);
    let told = "has a private key (line 1) that is too weak: RSA with 1024 bits";
    refused(&(pkcs1 + &weak.cert), &[("weak-key", told)]);
}

#[test]
fn parts_that_are_missing_are_told_together() {
    refused(&WWW.cert, &[("no-key", "has no private key")]);
    refused(&WWW.key, &[("no-certificate", "has no certificate")]);
    refused("", &[("no-certificate", "has no PEM in it")]);
    refused("true", &[("no-certificate", "has no PEM in it")]);
    let parameters = "-----BEGIN DH PARAMETERS-----\nMIIB\n-----END DH PARAMETERS-----\n";
    refused(
        parameters,
        &[
            ("no-key", "has no private key"),
            ("no-certificate", "has no certificate"),
        ],
    );
}

#[test]
fn a_key_of_another_certificate_is_refused_with_the_names() {
    let other = Leaf::of(&["other.test"]).alone();
    refused(
        &[WWW.cert.as_str(), &other.key].concat(),
        &[(
            "wrong-key",
            "has a private key (ECDSA P-256) that belongs to none of its certificates: \"www.test\" (line 1)",
        )],
    );
}

#[test]
fn two_leaves_or_two_keys_are_refused() {
    let other = Leaf::of(&["other.test"]).common_name("other").alone();
    let told = format!(
        "has two certificates that are no authorities: \"www.test\" (line 1), which is the private key's, \
         and \"other.test\" (line {})",
        WWW.cert.lines().count() + 1
    );
    refused(
        &[WWW.cert.as_str(), &other.cert, &WWW.key].concat(),
        &[("two-leaves", &told)],
    );
    let bundles = [WWW.pem(), other.pem()].concat();
    let Err(problems) = Certificate::read(&bundles) else {
        panic!("accepted")
    };
    assert_eq!(problems[0].code, "many-keys");
    // The same key, signed twice: a renewal that was put on top.
    let renewed = by_openssl("ec:P-256", "twice.test");
    let args = [
        "req",
        "-x509",
        "-key",
        "/dev/stdin",
        "-subj",
        "/CN=again",
        "-days",
        "9",
    ];
    let again = openssl(&args, &renewed.key);
    let Err(problems) = Certificate::read(&(renewed.pem() + &again)) else {
        panic!("accepted")
    };
    assert_eq!(problems[0].code, "two-leaves");
    assert_eq!(problems[0].help, "keep the newer one");
}

#[test]
fn authorities_that_signed_nothing_are_left_out_and_told() {
    let stray = Authority::root("stray");
    let certificate = read(&(WWW.pem() + &stray.pem()));
    assert_eq!(certificate, read(&WWW.pem()));
    let told: Vec<_> = certificate.warnings().iter().map(|w| w.code).collect();
    assert_eq!(told, ["unused-certificate"]);
    // An authority that renewed its key under its old name did not sign it.
    let namesake = Authority::root("near");
    let certificate = read(&[&namesake.pem(), WWW.pem().as_str()].concat());
    assert_eq!(certificate, read(&WWW.pem()));
}

#[test]
fn encrypted_keys_are_told_apart_from_broken_ones() {
    let pkcs8 = openssl(&["pkey", "-aes256", "-passout", "pass:x"], &WWW.key);
    let old = openssl(&["ec", "-aes256", "-passout", "pass:x"], &WWW.key);
    assert!(
        pkcs8.contains("BEGIN ENCRYPTED") && old.contains("Proc-Type"),
        "{old}"
    );
    for key in [pkcs8, old] {
        refused(
            &(key + &WWW.cert),
            &[("encrypted-key", "has an encrypted private key (line 1)")],
        );
    }
}

#[test]
fn broken_blocks_are_told_with_their_lines() {
    let pem = WWW.pem();
    let lines = WWW.cert.lines().count();
    let no_end = pem.replacen("-----END CERTIFICATE-----\n", "", 1);
    refused(
        &no_end,
        &[("bad-pem", "has a CERTIFICATE at line 1 without its end")],
    );
    refused(
        &pem.replacen("MII", "M?I", 1),
        &[("bad-pem", "has a CERTIFICATE at line 1 that is no base64")],
    );
    refused(
        &pem.replacen("MII", "AII", 1),
        &[(
            "bad-certificate",
            "has a certificate at line 1 that is broken",
        )],
    );
    let key = lines + WWW.chain.lines().count() + 1;
    refused(
        &pem.replace(&WWW.key[28..34], "AAAAAA"),
        &[(
            "bad-key",
            &format!("has a private key (line {key}) that is broken"),
        )],
    );
    refused(
        "-----BEGIN CERTIFICATE\nx",
        &[
            ("bad-pem", "has a mark at line 1 that is cut off"),
            ("no-key", "has no private key"),
            ("no-certificate", "has no certificate"),
        ],
    );
    let Err(problems) = Certificate::read(&pem.replace('\n', "\\n")) else {
        panic!("accepted")
    };
    assert!(problems[0].help.contains("written as \\n"), "{problems:?}");
}

#[test]
fn no_cut_or_changed_text_panics() {
    let pem = WWW.pem();
    for cut in 0..pem.len() {
        let _ = Certificate::read(&pem[..cut]);
    }
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..3_000 {
        let mut bytes = pem.clone().into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(32..127);
        }
        let _ = Certificate::read(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_costs() {
    let start = std::time::Instant::now();
    refused(&"x".repeat(1_000_000), &[("too-big", "has 1000000 bytes")]);
    let many = WWW.cert.repeat(CERTIFICATES + 1);
    refused(&many, &[("too-many", "has 17 certificates")]);
    let marks = "-----BEGIN X-----".repeat(BUNDLE_BYTES / 17);
    assert!(Certificate::read(&marks).is_err());
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn names_come_from_the_list_lowercase_and_once() {
    let leaf = |names: &[&str]| Leaf::of(names).common_name("cn.test");
    let names = |names: &[&str]| read(&leaf(names).alone().pem()).names().join(" ");
    assert_eq!(
        names(&[
            "WWW.Test", "www.test", "*.Test", "10.0.0.1", "::1", "a_b.test"
        ]),
        "www.test *.test 10.0.0.1 ::1 a_b.test"
    );
    assert_eq!(names(&[]), "cn.test", "no list");
    let odd = read(
        &leaf(&["a*.test", "*.*.test", "good.test", "*"])
            .alone()
            .pem(),
    );
    assert_eq!(odd.names(), ["good.test".into()]);
    assert!(odd.warnings().iter().all(|w| w.code == "odd-name"));
    assert_eq!(odd.warnings().len(), 3);
    refused(
        &leaf(&["a*.test"]).alone().pem(),
        &[(
            "no-name",
            "has a certificate for no name that can be asked for: \"a*.test\"",
        )],
    );
    refused(
        &Leaf::of(&[]).alone().pem(),
        &[(
            "no-name",
            "has a certificate for no name that can be asked for: \"a leaf\"",
        )],
    );
    let args = [
        "req",
        "-x509",
        "-key",
        "/dev/stdin",
        "-subj",
        "/O=x",
        "-days",
        "9",
    ];
    let nameless = openssl(&args, &WWW.key);
    refused(
        &[nameless.as_str(), &WWW.key].concat(),
        &[("no-name", "has a certificate without a name")],
    );
    let mail = openssl(
        &[&args[..], &["-addext", "subjectAltName=email:a@b.test"]].concat(),
        &WWW.key,
    );
    refused(
        &[mail.as_str(), &WWW.key].concat(),
        &[("no-name", "has a certificate for no host name")],
    );
}

#[test]
fn it_is_valid_from_its_first_second_to_its_last() {
    let (from, to) = (now() - DAY, now() + DAY);
    let certificate = read(&Leaf::of(&["a.test"]).valid(from, to).alone().pem());
    for (at, expected) in [
        (from - 1, Validity::NotYet),
        (from, Validity::Valid),
        (to, Validity::Valid),
        (to + 1, Validity::Expired),
    ] {
        assert_eq!(certificate.validity(at), expected);
    }
    assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
    assert!(time_text(i64::MAX).contains("after 1970"));
}

#[test]
fn a_certificate_of_the_first_version_is_served_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pem");
    std::fs::write(&key, &WWW.key).unwrap();
    let key = key.to_str().unwrap();
    let request = openssl(&["req", "-new", "-key", key, "-subj", "/CN=old.test"], "");
    let old = openssl(&["x509", "-req", "-signkey", key, "-days", "9"], &request);
    let shown = openssl(&["x509", "-noout", "-text"], &old);
    assert!(shown.contains("Version: 1"), "{shown}");
    let certificate = read(&(old + &WWW.key));
    assert_eq!(certificate.names(), ["old.test".into()]);
    certificate.trial().unwrap();
}

#[test]
fn a_key_that_cannot_sign_for_its_certificate_fails_the_trial() {
    let one = read(&WWW.pem());
    let other = read(&Leaf::of(&["other.test"]).alone().pem());
    let mixed = rustls::sign::CertifiedKey::new(one.key().cert.clone(), other.key().key.clone());
    let problem = trial::shake_hands(&std::sync::Arc::new(mixed)).unwrap_err();
    assert_eq!(problem.code, "handshake-failed");
    assert_eq!(
        problem.message,
        "cannot shake hands by TLS 1.3: unexpected error: the key's signature is wrong"
    );
}

#[test]
fn nothing_that_is_shown_has_the_key_in_it() {
    let certificate = read(&WWW.pem());
    let secret: String = WWW.key.lines().nth(1).unwrap()[..16].to_owned();
    let shown = format!("{certificate:?} {:?}", certificate.key());
    assert!(
        !shown.contains(&secret) && shown.contains("www.test"),
        "{shown}"
    );
}
