use super::*;
use crate::config::{Balancer, Policy, Unit, parse};
use crate::diag::Diagnostic;

const MD5: &str = "$1$abcdefgh$jUYc1Xi7pkozuzWQ0Dft71";

fn parsed(fields: &str) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let text = format!("service:\n  name: web\n{fields}");
    let accepted = parse(&"services/web".into(), &text, &Balancer::default())?;
    let Unit::Service(service) = accepted.unit else {
        panic!("no service");
    };
    let policy = service.policy.map(|policy| (*policy).clone());
    Ok((policy.unwrap_or_default(), accepted.warnings))
}

/// The text of a service with these secrets, its breaks as a template writes them.
fn secrets(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap();
    format!("  basic_auth_secrets: {quoted}\n")
}

#[track_caller]
fn auth(fields: &str) -> BasicAuth {
    let (policy, _) = parsed(fields).unwrap_or_else(|told| panic!("{told:?}"));
    policy.auth.expect("it asks for passwords")
}

/// All problems of these secrets, without what all have in common.
fn problems(value: &str) -> Vec<String> {
    let told = match parsed(&secrets(value)) {
        Ok((_, warnings)) => warnings,
        Err(told) => told,
    };
    let line = |d: &Diagnostic| {
        assert_eq!((d.line, d.column), (Some(3), Some(23)), "{d}");
        let line = d.to_string();
        line.replace(": services/web:3:23: basic_auth_secrets ", ": ")
    };
    told.iter().map(line).collect()
}

#[track_caller]
fn refused(line: &str, expected: &str) {
    assert_eq!(
        problems(line),
        [format!("error: line 1 {expected}")],
        "{line}"
    );
}

fn verifies(auth: &BasicAuth, name: &str, password: &str) -> bool {
    let user = auth.users.find(name.as_bytes());
    user.is_some_and(|user| user.secret.verify(password.as_bytes()))
}

#[test]
fn userlists_and_htpasswd_lines_name_users() {
    let auth = auth(&secrets(&format!(
        "# who may come in\n\n  user joe password {MD5}  \r\nuser ann insecure-password sesame\n\
         \tuser bob insecure-password 'open \" sesame' # his own\nuser cid insecure-password a\\ b\\#c\n\
         user dan insecure-password \"it's \\\"x\\\"\"\neve:{MD5}\nuser:{MD5}:a comment\nfräd: {MD5}"
    )));
    for (name, password) in [
        ("joe", "a"),
        ("ann", "sesame"),
        ("bob", "open \" sesame"),
        ("cid", "a b#c"),
        ("dan", "it's \"x\""),
        ("eve", "a"),
        ("user", "a"),
        ("fräd", "a"),
    ] {
        assert!(verifies(&auth, name, password), "{name}");
        assert!(!verifies(&auth, name, "other"), "{name}");
    }
    assert_eq!(auth.users.len(), 8);
    assert!(auth.users.find(b"JOE").is_none() && auth.users.find(b"").is_none());
    assert_eq!((&*auth.realm, auth.forward), ("web", false));
}

#[test]
fn realm_and_forwarding_can_be_chosen() {
    let fields = secrets("user joe insecure-password a")
        + "  basic_auth_realm: ' Staff only '\n  basic_auth_forward: yes\n";
    let auth = auth(&fields);
    assert_eq!((&*auth.realm, auth.forward), ("Staff only", true));
}

#[test]
fn a_service_that_says_nothing_of_passwords_has_no_policy() {
    assert_eq!(parsed("  balance: source\n").unwrap().0, Policy::default());
}

#[test]
fn who_has_another_secret_is_another_user() {
    let of = |line: &str| auth(&secrets(line)).users.find(b"joe").unwrap().digest;
    let plain = of("user joe insecure-password a");
    assert_eq!(plain, of("user joe insecure-password \"a\" groups x"));
    assert_ne!(plain, of("user joe insecure-password b"));
    assert_eq!(
        of(&format!("joe:{MD5}")),
        of(&format!("user joe password {MD5}"))
    );
    assert_ne!(plain, of(&format!("joe:{MD5}")));
}

#[test]
fn a_stand_in_is_always_the_same() {
    let users = auth(&secrets(&format!("joe:{MD5}\nann:{MD5}\nbob:{MD5}"))).users;
    let names: Vec<_> = (0..6).map(|n| &*users.stand_in(n).unwrap().name).collect();
    assert_eq!(names, ["ann", "bob", "joe", "ann", "bob", "joe"]);
}

#[test]
fn every_wrong_line_is_told_with_its_number() {
    let lines = "write user NAME password HASH, user NAME insecure-password PASSWORD, or NAME:HASH";
    assert_eq!(
        problems("\n# fine\nuser joe\nuser ann insecure-password sesame\nsesame\nuser ann password x"),
        [
            format!("error: line 3 has no password; {lines}"),
            format!("error: line 5 names no user and password; {lines}"),
            "error: line 6 has a password that is no hash of a known form; make a hash of $2y$ (htpasswd -nB), $6$, $5$, $y$ (mkpasswd), $apr1$ or $1$; an open password follows the word insecure-password".to_owned(),
        ],
    );
    refused("user", &format!("names no user; {lines}"));
    refused(
        "user joe password",
        &format!("has nothing after password; {lines}"),
    );
    refused(
        "user joe sesame",
        &format!(
            "has another word than password, insecure-password or groups; {lines}; put quotes around a password with spaces"
        ),
    );
    refused(
        "user joe insecure-password open sesame",
        &format!(
            "has another word than password, insecure-password or groups; {lines}; put quotes around a password with spaces"
        ),
    );
    refused(
        "user joe insecure-password a insecure-password b",
        "has two passwords; keep one of the two",
    );
    refused(
        "user joe insecure-password ab#cd",
        "has a # inside a word; put quotes around the word; HAProxy takes what follows for a comment",
    );
    refused(
        "user joe insecure-password 'ab",
        "has a quote that is not closed; write \\\" for a quote",
    );
    refused(
        "user joe insecure-password ab\\",
        "ends with a backslash; write \\\\ for a backslash",
    );
    refused(
        "user joe insecure-password ''",
        "has a password that cannot be sent; it cannot be empty",
    );
    refused(
        &format!("user joe insecure-password {}", "x".repeat(513)),
        "has a password that cannot be sent; it has at most 512 bytes",
    );
    refused(
        "user joe insecure-password a\u{7}b",
        "has a password that cannot be sent; it has no control character",
    );
    refused(
        "user jo:e insecure-password a",
        "has a user's name that cannot be sent; it has no colon and no control character",
    );
    refused(
        &format!(":{MD5}"),
        "has a user's name that cannot be sent; it cannot be empty",
    );
    refused(
        &format!("{}:{MD5}", "n".repeat(256)),
        "has a user's name that cannot be sent; it has at most 255 bytes",
    );
    refused(&"x".repeat(1025), "has 1025 bytes; it may have 1024");
    refused(
        "joe:rl0uE0K6ffrBE",
        "has a password that looks like DES crypt; only its first 8 characters count; make a hash of $2y$ (htpasswd -nB), $6$, $5$, $y$ (mkpasswd), $apr1$ or $1$",
    );
    refused(
        &format!("joe:$6$rounds=9999999$ab${}", "x".repeat(86)),
        "has a password that has 9999999 rounds; they go from 1000 to 1000000",
    );
    refused(
        "joe:$2y$16$JwqJTuv9dvQjmSJmNY/Gru6lJ3Ew8CqVAPTT5kUwPIUgvUcmMHjSu",
        "has a password that has bcrypt cost 16; it goes from 4 to 14; each step doubles the time of a login",
    );
    refused(
        "joe:$1$abc",
        "has a password that is no whole $1$ hash; copy it anew; it was cut or changed on its way",
    );
    refused(
        "joe:$argon2id$v=19$m=65536,t=3,p=4$abc$def",
        "has a password that is of a form that is not supported; make a hash of $2y$ (htpasswd -nB), $6$, $5$, $y$ (mkpasswd), $apr1$ or $1$",
    );
    refused(
        &format!("joe:$y$jFT$abcd${}", "x".repeat(43)),
        "has a password that takes more memory than a password may; 64 MiB is the most (mkpasswd: up to -R 7)",
    );
}

#[test]
fn a_user_named_twice_is_told_with_both_lines() {
    assert_eq!(
        problems(&format!(
            "joe:{MD5}\nann:{MD5}\nuser joe insecure-password a"
        )),
        ["error: line 3 names user \"joe\" again, after line 1; keep one of the two"],
    );
}

#[test]
fn groups_and_quick_hashes_are_worth_a_warning() {
    assert_eq!(
        problems(&format!(
            "group staff users joe,ann\nuser joe password {MD5} groups staff\nuser ann groups staff insecure-password a\n\
             eve:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
        )),
        [
            "warning: names groups, which say nothing here (line 1 and 2 more); remove them; every user of the list may come in",
            "warning: has {SHA} hashes, quick to guess for who reads them (line 4); make new ones with htpasswd -nB",
        ],
    );
}

#[test]
fn secrets_that_name_nobody_are_refused() {
    let help = "the service stays closed rather than open; write user NAME password HASH, \
                user NAME insecure-password PASSWORD, or NAME:HASH, or remove the key if it may be open";
    for value in ["", " \n ", "# nobody", "group staff"] {
        let told = problems(value);
        let expected = format!("error: names no user; {help}");
        assert!(told.contains(&expected), "{value:?}: {told:#?}");
    }
    let told = |fields: &str| {
        let told = parsed(fields).unwrap_err();
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        told("  basic_auth_realm: x\n"),
        [format!(
            "error: services/web:3:21: basic_auth_realm asks for authentication and basic_auth_secrets names no user; {help}"
        )]
    );
    assert_eq!(
        told("  basic_auth_forward: false\n"),
        [format!(
            "error: services/web:3:23: basic_auth_forward asks for authentication and basic_auth_secrets names no user; {help}"
        )]
    );
    assert_eq!(
        told("  basic_auth_secrets: [x]\n"),
        [
            "error: services/web:3:23: basic_auth_secrets is a list and has to be one value; write it as a text in quotes"
        ]
    );
    assert_eq!(
        told("  mode: tcp\n  basic_auth_secrets: 'user joe insecure-password a'\n"),
        [
            "error: services/web:4:23: basic_auth_secrets asks for authentication, which a TCP service cannot do; the service stays closed rather than open; remove the key if it may be open"
        ]
    );
}

#[test]
fn realm_and_forwarding_that_say_something_else_are_refused() {
    let told = |field: &str| {
        let told = parsed(&format!(
            "{}  {field}\n",
            secrets("user joe insecure-password a")
        ))
        .unwrap_err();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].to_string()
    };
    let help = "it has at most 200 ASCII characters, none of them a quote or a backslash";
    assert_eq!(
        told("basic_auth_realm: 'a\"b'"),
        format!("error: services/web:4:21: basic_auth_realm \"a\\\"b\" is no realm; {help}")
    );
    assert_eq!(
        told("basic_auth_realm: büro"),
        format!("error: services/web:4:21: basic_auth_realm \"büro\" is no realm; {help}")
    );
    assert!(told(&format!("basic_auth_realm: {}", "x".repeat(201))).ends_with(help));
    assert_eq!(
        told("basic_auth_forward: maybe"),
        "error: services/web:4:23: basic_auth_forward \"maybe\" is neither true nor false; write true or false"
    );
    assert_eq!(
        told("basic_auth_secret: x"),
        "error: services/web:4:3: field \"basic_auth_secret\" is unknown; did you mean \"basic_auth_secrets\"?"
    );
}

#[test]
fn no_secret_shows_itself() {
    let (policy, _) = parsed(&secrets(&format!(
        "joe:{MD5}\nuser ann insecure-password sesame"
    )))
    .unwrap();
    let shown = format!("{policy:?}");
    assert!(shown.contains("2 users"), "{shown}");
    for secret in ["sesame", "jUYc1", "abcdefgh"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for line in [
        "s3same",
        "user s3same",
        "user joe s3same",
        "user joe passwrd s3same",
        "user joe password s3same",
        "joe:s3same",
        "joe:$6$s3same",
        "joe:$1$s3same$s3same",
        "user joe insecure-password 's3same",
        "user joe insecure-password s3same\\",
        "user joe insecure-password s3same x",
        "user joe insecure-password s3same password s3same",
    ] {
        let told = problems(line).join("\n");
        assert!(told.starts_with("error: line 1 "), "{told}");
        if line != "user s3same" {
            assert!(!told.contains("s3same"), "{told}");
        }
    }
}
