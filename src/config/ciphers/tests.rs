use super::*;
use crate::config::{Accepted, Unit, parse};
use crate::names::UnitName;

/// As the old load balancer had it built in.
const KONTENA: &str = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:DHE-DSS-AES128-GCM-SHA256:kEDH+AESGCM:\
    ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:\
    ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:\
    DHE-RSA-AES128-SHA256:DHE-RSA-AES128-SHA:DHE-DSS-AES128-SHA256:DHE-RSA-AES256-SHA256:\
    DHE-DSS-AES256-SHA:DHE-RSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:\
    AES256-SHA256:AES128-SHA:AES256-SHA:AES:CAMELLIA:DES-CBC3-SHA:!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:\
    !PSK:!aECDH:!EDH-DSS-DES-CBC3-SHA:!EDH-RSA-DES-CBC3-SHA:!KRB5-DES-CBC3-SHA";

const MOZILLA_INTERMEDIATE: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:\
    ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:\
    DHE-RSA-CHACHA20-POLY1305";

#[test]
fn names_are_taken_in_every_spelling() {
    let is = |text: &str, names: &str| {
        let chosen = read(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(chosen.left_out, [""; 0], "{text}");
        let old = chosen.suites.without(Suites::tls13());
        assert_eq!(old.names(" "), names, "{text}");
    };
    is("aes128-sha", "AES128-SHA");
    is("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA");
    let chacha = "ECDHE-RSA-CHACHA20-POLY1305";
    for spelling in [
        chacha,
        "ECDHE-RSA-CHACHA20-POLY1305-SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "tls_ecdhe_rsa_with_chacha20_poly1305",
    ] {
        is(spelling, chacha);
    }
    is(
        "AES128-SHA,\tAES256-SHA ; AES128-GCM-SHA256",
        "AES128-GCM-SHA256 AES256-SHA AES128-SHA",
    );
    assert_eq!(read(" Strict ").unwrap().suites, Suites::strict());
    assert_eq!(read("compatible").unwrap().suites, Suites::compatible());
}

#[test]
fn suites_of_tls_1_3_are_on_unless_some_are_named() {
    let tls13 = |text: &str| read(text).unwrap().suites.and(Suites::tls13()).names(" ");
    assert_eq!(tls13("AES128-SHA"), Suites::tls13().names(" "));
    assert_eq!(
        tls13("AES128-SHA:TLS_AES_128_GCM_SHA256"),
        "TLS_AES_128_GCM_SHA256"
    );
    assert_eq!(
        tls13("TLS_CHACHA20_POLY1305_SHA256"),
        "TLS_CHACHA20_POLY1305_SHA256"
    );
    assert_eq!(
        tls13("HIGH:!TLS_CHACHA20_POLY1305_SHA256"),
        "TLS_AES_256_GCM_SHA384 TLS_AES_128_GCM_SHA256"
    );
}

#[test]
fn what_nobody_serves_here_is_left_out_and_told() {
    let left_out = |text: &str| read(text).unwrap().left_out;
    assert_eq!(
        left_out(MOZILLA_INTERMEDIATE),
        [
            "DHE-RSA-AES128-GCM-SHA256",
            "DHE-RSA-AES256-GCM-SHA384",
            "DHE-RSA-CHACHA20-POLY1305"
        ]
    );
    assert_eq!(left_out("AES128-SHA:RC4:kEDH+AESGCM:ECDSA+kRSA").len(), 3);
    assert_eq!(left_out("AES128-SHA:TLS_AES_128_CCM_SHA256").len(), 1);
    assert_eq!(
        left_out("AES128-SHA:TLS_RSA_WITH_3DES_EDE_CBC_SHA").len(),
        1
    );
    assert_eq!(left_out(KONTENA).len(), 11);
    assert_eq!(left_out("HIGH:!aNULL:!eNULL:!RC4:-DES:+3DES").len(), 0);
    let many: Vec<_> = (0..20).map(|_| "RC4".to_owned()).collect();
    assert!(not_here(&many).ends_with("\"RC4\" and 12 more"));
}

#[test]
fn what_is_unknown_or_chooses_nothing_is_refused() {
    let refused = |text: &str, told: &str| {
        let Problem { message, help } = read(text).unwrap_err();
        assert_eq!(format!("{message}; {}", help.unwrap()), told);
    };
    refused(
        "ECDHE-RSA-AES128-GCM-SHA265",
        "has a word that is unknown: \"ECDHE-RSA-AES128-GCM-SHA265\"; did you mean \
         \"ECDHE-RSA-AES128-GCM-SHA256\"?",
    );
    // Made of parts that there are, and no suite.
    refused(
        "HIGH:AES128-GCM-SHA384",
        "has a word that is unknown: \"AES128-GCM-SHA384\"; did you mean \"AES256-GCM-SHA384\"?",
    );
    refused(
        "HIGH:!nonsense-of-somebody",
        "has a word that is unknown: \"nonsense-of-somebody\"; docs/tls.md lists the names and words",
    );
    refused(
        "strickt",
        "has a word that is unknown: \"strickt\"; did you mean \"strict\"?",
    );
    refused(
        "@SECLEVEL=4:HIGH",
        "has a command that is not read: \"@SECLEVEL=4\"; levels go from 0 to 3 here: no certificate of \
         the usual kinds has more",
    );
    for nothing in [
        "RC4:MD5",
        "!HIGH",
        "HIGH:!ALL",
        ":,",
        "kRSA:@SECLEVEL=3",
        "+HIGH",
    ] {
        let problem = read(nothing).unwrap_err();
        assert!(
            problem
                .message
                .ends_with("chooses no suite that is served here")
        );
    }
    for odd in [
        "!", "-", "+", "++", "HIGH+", "@", "!!HIGH", "a+b+", "ÄÖ", "\u{0}",
    ] {
        assert!(read(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn without_openssl_what_it_would_serve_is_refused_by_name() {
    let judged = |suites| servable("x", suites, Suites::NONE);
    assert_eq!(judged(Suites::strict()), Ok(Suites::strict()));
    assert_eq!(
        judged(Suites::compatible()).unwrap_err().message,
        "\"x\" needs suites that this build does not have: ECDHE-RSA-AES256-SHA, ECDHE-RSA-AES128-SHA, \
         AES256-GCM-SHA384, AES128-GCM-SHA256, AES256-SHA, AES128-SHA"
    );
    let all = Suites::that(|_| true);
    assert_eq!(servable("x", all, all), Ok(all));
    // A library may have been built without some.
    let missing = servable("x", all, all.without(Suites::NONE.with(0x002f))).unwrap_err();
    assert!(missing.message.ends_with("have: AES128-SHA"), "{missing:?}");
}

#[test]
fn versions_are_1_2_and_1_3() {
    for text in ["1.2", "TLSv1.2", "tls1.2", "TLS 1.2"] {
        assert_eq!(min_version(text), Ok(MinVersion::Tls12), "{text}");
    }
    assert_eq!(min_version("TLSv1.3"), Ok(MinVersion::Tls13));
    for old in ["1.0", "TLSv1.1", "SSLv3", "tlsv1"] {
        let problem = min_version(old).unwrap_err();
        assert!(problem.message.contains("older than"), "{old}: {problem:?}");
    }
    assert!(min_version("2").unwrap_err().message.contains("unknown"));
}

/// The balancer of a unit with these fields, or its problems, and what was warned of.
fn balancer(fields: &str) -> (Result<Balancer, String>, Vec<String>) {
    let lines = fields.lines().map(|line| format!("\n  {line}"));
    let text = format!("balancer:{}", lines.collect::<String>());
    match parse(&UnitName::from("balancer"), &text, &Balancer::default()) {
        Ok(Accepted {
            unit: Unit::Balancer(balancer),
            warnings,
            ..
        }) => {
            let warnings = warnings.into_iter().map(|warning| warning.message);
            (Ok(balancer), warnings.collect())
        }
        Ok(other) => panic!("{other:?}"),
        Err(problems) => (Err(problems[0].message.clone()), Vec::new()),
    }
}

#[test]
fn lines_of_global_settings_say_it_where_keys_do_not() {
    let lines = "global_settings: \"ssl-default-bind-ciphers ECDHE+AESGCM:RC4\\nssl-default-bind-ciphersuites \
                 TLS_AES_128_GCM_SHA256\\nssl-default-bind-options no-sslv3 ssl-min-ver TLSv1.2 no-tlsv12\"";
    let (read, warnings) = balancer(lines);
    let read = read.unwrap();
    assert_eq!(
        read.ssl_ciphers.to_string(),
        "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:\
         ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
    );
    assert_eq!(read.ssl_min_version, MinVersion::Tls13);
    assert_eq!(
        warnings,
        ["global_settings line 1: ssl-default-bind-ciphers leaves out \"RC4\""]
    );
    let (read, warnings) = balancer(&format!(
        "ssl_ciphers: strict\nssl_min_version: \"1.2\"\n{lines}"
    ));
    let read = read.unwrap();
    assert_eq!(read.ssl_ciphers, Suites::strict());
    assert_eq!(read.ssl_min_version, MinVersion::Tls12);
    let overruled = warnings
        .iter()
        .filter(|w| w.contains("says nothing beside ssl_"));
    assert_eq!(overruled.count(), 3, "{warnings:?}");
    // What a Debian package brings along.
    let (read, warnings) = balancer(
        "global_settings: \"ca-base /etc/ssl/certs\\ncrt-base /etc/ssl/private\\nssl-default-bind-options \
         ssl-min-ver TLSv1.2 no-tls-tickets\\ntune.ssl.default-dh-param 2048\\nssl-default-server-options no-sslv3\"",
    );
    let read = read.unwrap();
    assert_eq!(read.ssl_ciphers, Suites::strict());
    assert_eq!(read.ssl_ticket_lifetime, None);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}

#[test]
fn nothing_left_for_the_lowest_version_is_refused() {
    let (read, _) = balancer(
        "ssl_min_version: \"1.3\"\nssl_ciphers: \"HIGH:!kRSA:!SHA1:!SHA256:!SHA384:!TLS_AES_128_GCM_SHA256:\
         !TLS_AES_256_GCM_SHA384:!TLS_CHACHA20_POLY1305_SHA256\"",
    );
    let told = read.unwrap_err();
    assert!(told.contains("leaves nothing of ssl_ciphers"), "{told}");
    let (read, warnings) = balancer("ssl_ciphers: ECDHE+AESGCM:DHE+AESGCM");
    assert!(read.is_ok());
    assert_eq!(warnings, ["ssl_ciphers leaves out \"DHE+AESGCM\""]);
}
