//! Compared with the tools that make such hashes: `openssl passwd`, `htpasswd` and the system's own
//! crypt(3), by way of perl.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// What a tool prints when it is given `input`.
fn run(program: &str, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}; scripts/needs test installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// The hashes that crypt(3) makes of a password with each of these settings.
fn crypt(password: &str, settings: &[String]) -> Vec<String> {
    let script = "my $p = <STDIN>; chomp $p; print crypt($p, $_), \"\\n\" for @ARGV;";
    let mut args = vec!["-e", script];
    args.extend(settings.iter().map(String::as_str));
    let hashes = run("perl", &args, format!("{password}\n").as_bytes());
    hashes.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_matches(hash: &str, password: &str) {
    let secret: Secret = hash.parse().unwrap_or_else(|e| panic!("{hash} {e}"));
    assert!(secret.verify(password.as_bytes()), "{hash} {password:?}");
    let other = format!("{password}x");
    // bcrypt does not see what is behind 72 bytes, and nobody writes more than the longest.
    if other.len() <= 72 || !hash.starts_with("$2") {
        assert!(!secret.verify(other.as_bytes()), "{hash} {other:?}");
    }
    let mut other = password.as_bytes().to_vec();
    if let Some(first) = other.first_mut() {
        *first ^= 1;
        assert!(!secret.verify(&other), "{hash} {other:?}");
    }
}

/// What can be typed, without the line ends and zero bytes that end a password for the tools.
fn password() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "[^\\p{C}]{0,30}",
        // At most 240 bytes: openssl cuts passwords at 256, and htpasswd takes no longer ones.
        "[a-zß€]{60,80}",
        Just(String::new()),
    ]
}

fn salt(length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    let (least, most) = length.into_inner();
    proptest::string::string_regex(&format!("[./0-9A-Za-z]{{{least},{most}}}")).unwrap()
}

fn few() -> ProptestConfig {
    ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn md5_and_sha_hashes_of_crypt_verify(
        password in password(), short in salt(1..=8), long in salt(1..=16), rounds in 1000u32..3000,
    ) {
        let settings = [
            format!("$1${short}$"),
            format!("$5${long}$"),
            format!("$6${long}$"),
            format!("$5$rounds={rounds}${long}$"),
            format!("$6$rounds={rounds}${long}$"),
        ];
        for hash in crypt(&password, &settings) {
            assert_matches(&hash, &password);
        }
    }

    #[test]
    fn bcrypt_hashes_of_crypt_verify(
        password in password(), salt in salt(21..=21), last in "[.Oeu]", id in "2[aby]",
    ) {
        for hash in crypt(&password, &[format!("${id}$04${salt}{last}")]) {
            assert_matches(&hash, &password);
        }
    }

    #[test]
    fn hashes_of_openssl_verify(password in password().prop_filter("openssl hashes no empty one", |p| !p.is_empty())) {
        for form in ["-1", "-apr1", "-5", "-6"] {
            let input = format!("{password}\n");
            let hash = run("openssl", &["passwd", form, "-stdin"], input.as_bytes());
            assert_matches(&hash, &password);
        }
    }

    #[test]
    fn hashes_of_htpasswd_verify(password in password()) {
        for form in [&["-m"][..], &["-2"], &["-5"], &["-s"], &["-B"], &["-5", "-r2000"]] {
            let args = [&["-n", "-i"], form, &["joe"]].concat();
            let line = run("htpasswd", &args, format!("{password}\n").as_bytes());
            assert_matches(line.strip_prefix("joe:").unwrap(), &password);
        }
    }

    #[test]
    fn no_text_is_a_hash_that_panics(
        text in "(\\{SHA\\}|\\$(1|apr1|5|6|2a|2b|2y|y|7|)\\$)?(rounds=[0-9]{0,12}\\$|0[4-5]\\$|j[.-Za-z]{1,3}\\$)?\\PC{0,90}",
        password in "\\PC{0,80}",
    ) {
        if let Ok(secret) = text.parse::<Secret>() {
            secret.verify(password.as_bytes());
        }
    }

    #[test]
    fn a_damaged_hash_is_refused_or_matches_nothing(at in 0usize..60, with in "\\PC{0,3}") {
        let whole = "$2y$04$JwqJTuv9dvQjmSJmNY/Gru6lJ3Ew8CqVAPTT5kUwPIUgvUcmMHjSu";
        let mut hash = whole.to_owned();
        hash.replace_range(at..at + 1, &with);
        if let Ok(secret) = hash.parse::<Secret>() {
            let _ = secret.verify("pässword".as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..few() })]

    #[test]
    fn yescrypt_hashes_of_crypt_verify(password in password(), salt in "([./0-9A-Za-z]{4}){1,5}") {
        // What mkpasswd writes for its costs 1 to 5 (5 is the default).
        let settings = ["j75", "j85", "j7T", "j8T", "j9T"].map(|s| format!("$y${s}${salt}$"));
        for hash in crypt(&password, &settings) {
            assert_matches(&hash, &password);
        }
    }
}

#[test]
fn the_largest_yescrypt_that_is_taken_verifies() {
    for hash in crypt("päss", &["$y$jBT$abcd.f5gij/k$".to_owned()]) {
        assert_matches(&hash, "päss");
    }
}

#[test]
fn what_verifying_would_cost_is_bounded_and_other_forms_are_refused() {
    let told = |hash: &str| {
        let why = hash.parse::<Secret>().unwrap_err();
        assert!(!why.help().is_empty());
        why.to_string()
    };
    let sha256 = "x".repeat(43);
    let sha512 = "x".repeat(86);
    let bcrypt = "JwqJTuv9dvQjmSJmNY/Gru6lJ3Ew8CqVAPTT5kUwPIUgvUcmMHjSu";
    for (hash, expected) in [
        (format!("$5$rounds=999$ab${sha256}"), "has 999 rounds"),
        (
            format!("$6$rounds=1000001$ab${sha512}"),
            "has 1000001 rounds",
        ),
        (
            format!("$6$rounds=99999999999999999999$ab${sha512}"),
            "has 18446744073709551615 rounds",
        ),
        (format!("$6$rounds=-1$ab${sha512}"), "is no whole $6$ hash"),
        (format!("$6$ab${sha256}"), "is no whole $6$ hash"),
        (
            format!("$5$abcdefghijklmnopq${sha256}"),
            "is no whole $5$ hash",
        ),
        ("$1$ab$cd".to_owned(), "is no whole $1$ hash"),
        ("$apr1$".to_owned(), "is no whole $apr1$ hash"),
        (format!("$2y$15${bcrypt}"), "has bcrypt cost 15"),
        (format!("$2y$03${bcrypt}"), "has bcrypt cost 3"),
        (format!("$2y$99${bcrypt}"), "has bcrypt cost 99"),
        (
            format!("$2y$04${}ä", &bcrypt[2..]),
            "is no whole bcrypt hash",
        ),
        (
            format!("$2x$04${bcrypt}"),
            "is of a form that is not supported",
        ),
        (
            format!("$y$jFT$abcd${sha256}"),
            "takes more memory than a password may",
        ),
        (
            format!("$y$j/T$abcd${sha256}"),
            "is of a form that is not supported",
        ),
        (
            format!("$y$j9T.$abcd${sha256}"),
            "is of a form that is not supported",
        ),
        (format!("$y$j9T$abcde${sha256}"), "is no whole $y$ hash"),
        (
            "$7$CU..../....abc".to_owned(),
            "is of a form that is not supported",
        ),
        (
            "$argon2id$v=19$m=65536".to_owned(),
            "is of a form that is not supported",
        ),
        ("{SSHA}abc".to_owned(), "is of a form that is not supported"),
        ("{SHA}abc".to_owned(), "is no whole {SHA} hash"),
        ("rl0uE0K6ffrBE".to_owned(), "looks like DES crypt"),
        ("_J9..rasmBYk8r9AiWNc".to_owned(), "looks like DES crypt"),
        ("secret".to_owned(), "is no hash of a known form"),
        (String::new(), "is no hash of a known form"),
    ] {
        assert_eq!(told(&hash), expected, "{hash}");
    }
}

#[test]
fn a_plain_password_matches_itself_alone() {
    for password in ["secret", "", "pässword €"] {
        let secret = Secret::plain(password);
        assert!(secret.verify(password.as_bytes()) && secret.is_cheap());
        assert!(!secret.verify(format!("{password} ").as_bytes()));
    }
}

#[test]
fn what_no_tool_could_have_hashed_is_never_right() {
    let long = "x".repeat(LONGEST);
    assert!(Secret::plain(&long).verify(long.as_bytes()));
    let long = long + "x";
    assert!(!Secret::plain(&long).verify(long.as_bytes()));
    assert!(!Secret::plain("a\0b").verify(b"a\0b"));
}

#[test]
fn a_secret_does_not_show_itself() {
    for secret in [
        Secret::plain("open sesame"),
        "$1$abcdefgh$jUYc1Xi7pkozuzWQ0Dft71".parse().unwrap(),
    ] {
        let shown = format!("{secret:?}");
        assert!(
            ["Secret(plain)", "Secret(md5-crypt)"].contains(&&*shown),
            "{shown}"
        );
    }
}

/// `cargo test --lib -- --ignored --nocapture what_a_check_costs`
#[test]
#[ignore = "a measurement"]
fn what_a_check_costs() {
    let settings = [
        "$1$abcdefgh$",
        "$5$abcdefgh$",
        "$6$abcdefgh$",
        "$5$rounds=1000000$abcdefgh$",
        "$6$rounds=1000000$abcdefgh$",
        "$2b$05$abcdefghijklmnopqrstuu",
        "$2b$12$abcdefghijklmnopqrstuu",
        "$2b$14$abcdefghijklmnopqrstuu",
        "$y$j9T$abcdefgh$",
        "$y$jBT$abcdefgh$",
    ];
    for hash in crypt("sesame", &settings.map(str::to_owned)) {
        let secret: Secret = hash.parse().unwrap();
        let started = std::time::Instant::now();
        assert!(secret.verify(b"sesame"));
        println!("{:?} for {hash}", started.elapsed());
    }
}
