#![cfg(feature = "legacy-tls")]

use super::*;
use crate::tls::Certificate;
use crate::tls::hello::Schemes;
use crate::tls::suites::SUITES;

fn named(algorithm: Option<rcgen::RsaKeySize>) -> Arc<NamedCertificate> {
    let key = match algorithm {
        Some(size) => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size),
        None => rcgen::KeyPair::generate(),
    };
    let key = key.unwrap();
    let params = rcgen::CertificateParams::new(vec!["town.test".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    Arc::new(NamedCertificate {
        unit: "certs/town".into(),
        name: "town".into(),
        certificate: Arc::new(Certificate::read(&pem).unwrap()),
        has_ended: false,
    })
}

/// What a client of TLS 1.2 sends who can do everything else.
fn hello(names: &[&str]) -> Hello {
    let suites = SUITES.iter().filter(|suite| names.contains(&suite.name));
    Hello {
        suites: suites.fold(Suites::NONE, |all, suite| all.with(suite.code)),
        offers_tls12: true,
        has_curve: true,
        schemes: Schemes::all(),
        ..Hello::default()
    }
}

#[test]
fn openssl_gets_who_cannot_be_served_otherwise_and_nobody_else() {
    let profile = Profile::new(Suites::compatible(), MinVersion::Tls12).unwrap();
    let (rsa, ecdsa) = (named(Some(rcgen::RsaKeySize::_2048)), named(None));
    let goes = |hello: &Hello, candidates: &[&Arc<NamedCertificate>]| {
        let candidates: Vec<_> = candidates.iter().map(|own| (*own).clone()).collect();
        profile.openssl_for(hello, &candidates).is_some()
    };
    const MODERN: &str = "ECDHE-RSA-AES128-GCM-SHA256";
    const MODERN_ECDSA: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
    const OLD: &str = "AES128-SHA";
    assert!(goes(&hello(&[OLD]), &[&rsa]));
    assert!(goes(&hello(&[OLD]), &[&ecdsa, &rsa]));
    assert!(!goes(&hello(&[OLD]), &[&ecdsa]), "no key for it");
    assert!(!goes(&hello(&[OLD, MODERN]), &[&rsa]));
    assert!(goes(&hello(&[OLD, MODERN_ECDSA]), &[&rsa]));
    assert!(!goes(&hello(&[OLD, MODERN_ECDSA]), &[&rsa, &ecdsa]));
    // One that is not in the profile.
    assert!(!goes(&hello(&["AES128-SHA256"]), &[&rsa]));
    // Whoever has TLS 1.3 needs nothing else, and whoever has not even 1.2 is not served.
    let modern = Hello {
        offers_tls13: true,
        ..hello(&[OLD, "TLS_AES_128_GCM_SHA256"])
    };
    assert!(!goes(&modern, &[&rsa]));
    let ancient = Hello {
        offers_tls12: false,
        ..hello(&[OLD])
    };
    assert!(!goes(&ancient, &[&rsa]));
    // No curve in common, or no signature: what stands in the list cannot be had.
    let no_curve = Hello {
        has_curve: false,
        ..hello(&[OLD, MODERN])
    };
    assert!(goes(&no_curve, &[&rsa]));
    let no_scheme = Hello {
        schemes: Schemes::default(),
        ..hello(&[OLD, MODERN])
    };
    assert!(goes(&no_scheme, &[&rsa]));
}

#[test]
fn without_legacy_suites_there_is_no_openssl() {
    let profile = Arc::new(Profile::usual().unwrap());
    assert!(profile.openssl.is_none());
    let only_13 = Profile::new(Suites::compatible(), MinVersion::Tls13).unwrap();
    assert!(only_13.openssl.is_none());
    let mut balancer = Balancer::default();
    assert!(Arc::ptr_eq(&profile, &profile.follow(&balancer)));
    balancer.ssl_ciphers = Suites::compatible();
    let compatible = profile.follow(&balancer);
    assert!(compatible.openssl.is_some());
    assert!(Arc::ptr_eq(&compatible, &compatible.follow(&balancer)));
}

/// Every choice of one suite, and of all but one, makes a profile.
#[test]
fn every_list_that_is_accepted_can_be_served() {
    let all = Suites::that(|_| true);
    for suite in SUITES {
        let one = Suites::tls13().with(suite.code);
        for suites in [one, all.without(Suites::NONE.with(suite.code))] {
            for min in [MinVersion::Tls12, MinVersion::Tls13] {
                Profile::new(suites, min).unwrap_or_else(|e| panic!("{suites} {min:?}: {e}"));
            }
        }
    }
}
