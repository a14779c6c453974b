//! Certificates as keys: what is wrong with one is told with what to do, its last good form stays, and
//! nobody else notices.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::LazyLock;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use support::certs::{Authority, Bundle, DAY, Leaf, by_openssl, now, openssl, town_hall};
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service, run};
use support::tls::Tls;
use support::town::named;
use support::wait_until;

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::root("test root").below("test authority"));

/// A good one for `www.test`.
static GOOD: LazyLock<Bundle> = LazyLock::new(|| AUTHORITY.sign(&Leaf::of(&["www.test"])));

/// Every bundle that has to be refused: what it is called, the bundle, the code, and what is told.
static BROKEN: LazyLock<Vec<(&str, String, &str, &str)>> = LazyLock::new(|| {
    let other = Leaf::of(&["other.test"]).alone();
    let spoilt = GOOD.pem().replacen("MII", "M?I", 1);
    let ended = |from, to| {
        AUTHORITY
            .sign(&Leaf::of(&["www.test"]).valid(from, to))
            .pem()
    };
    let encrypt = |args: &[&str]| {
        let key = openssl(
            &[args, &["-aes256", "-passout", "pass:x"]].concat(),
            &GOOD.key,
        );
        [&GOOD.cert, &GOOD.chain, &key].map(String::as_str).concat()
    };
    vec![
        (
            "no-key",
            GOOD.cert.clone(),
            "no-key",
            "pem has no private key",
        ),
        (
            "no-cert",
            GOOD.key.clone(),
            "no-certificate",
            "pem has no certificate",
        ),
        (
            "no-pem",
            "hello".to_owned(),
            "no-certificate",
            "pem has no PEM in it",
        ),
        ("empty", String::new(), "missing-field", "pem is missing"),
        (
            "wrong-key",
            [GOOD.cert.as_str(), &other.key].concat(),
            "wrong-key",
            "pem has a private key (ECDSA P-256) that belongs to none of its certificates: \\\"www.test\\\"",
        ),
        (
            "two-leaves",
            [GOOD.pem(), other.cert.clone()].concat(),
            "two-leaves",
            "pem has two certificates that are no authorities",
        ),
        (
            "two-bundles",
            [GOOD.pem(), other.pem()].concat(),
            "many-keys",
            "pem has 2 private keys",
        ),
        (
            "expired",
            ended(now() - 9 * DAY, now() - DAY),
            "expired",
            "pem has a certificate that expired at ",
        ),
        (
            "not-yet",
            ended(now() + DAY, now() + 9 * DAY),
            "not-yet-valid",
            "pem has a certificate that is not valid before ",
        ),
        (
            "encrypted",
            encrypt(&["pkey"]),
            "encrypted-key",
            "pem has an encrypted private key",
        ),
        (
            "encrypted-old",
            encrypt(&["ec"]),
            "encrypted-key",
            "pem has an encrypted private key",
        ),
        (
            "weak",
            by_openssl("rsa:1024", "www.test").pem(),
            "weak-key",
            "that is too weak: RSA with 1024 bits",
        ),
        (
            "foreign",
            by_openssl("ed448", "www.test").pem(),
            "unsupported-key",
            "of a kind that is not taken: Ed448",
        ),
        (
            "spoilt",
            spoilt,
            "bad-pem",
            "pem has a CERTIFICATE at line 1 that is no base64",
        ),
        (
            "cut",
            GOOD.pem()[..300].to_owned(),
            "bad-pem",
            "pem has a CERTIFICATE at line 1 without its end",
        ),
        (
            "large",
            "x".repeat(200_000),
            "too-big",
            "pem has 200000 bytes",
        ),
        (
            "huge",
            "x\n".repeat(500_000),
            "too-big",
            "has 999999 bytes and may have 262144",
        ),
        (
            "odd-name",
            Leaf::of(&["w*.test"]).alone().pem(),
            "no-name",
            "pem has a certificate for no name that can be asked for: \\\"w*.test\\\"",
        ),
    ]
});

fn key(name: &str) -> String {
    format!("certs/{name}")
}

static WEB: LazyLock<Origin> = LazyLock::new(|| named("web"));

fn builder() -> Builder {
    Pointsman::builder()
        .without_certificate()
        .service(&Service::http("web").hosts("web.test").upstream(WEB.addr()))
        .key("certs/good", GOOD.pem())
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// As a plan shows it.
fn fingerprint(bundle: &Bundle) -> String {
    let told = openssl(&["x509", "-noout", "-fingerprint", "-sha256"], &bundle.cert);
    let hex = told.rsplit('=').next().expect("a fingerprint");
    hex.trim().replace(':', "").to_lowercase()
}

fn refusals(pointsman: &Pointsman) -> Vec<serde_json::Value> {
    pointsman.status()["refused"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn wait_for_plan(pointsman: &Pointsman, what: &str) {
    wait_until(
        &format!("{what} in the plan; log:\n{}", pointsman.log()),
        || pointsman.plan().dump.contains(what),
    );
}

#[track_caller]
fn assert_no_key_in(text: &str) {
    for bundle in BROKEN.iter().map(|(_, pem, ..)| pem).chain([&GOOD.key]) {
        let Some((_, key)) = bundle.split_once("PRIVATE KEY-----\n") else {
            continue;
        };
        for line in key.lines().filter(|line| line.len() > 30) {
            assert!(!text.contains(line), "a private key in {text}");
        }
    }
}

#[test]
fn each_broken_bundle_is_refused_alone_with_its_reason() {
    let mut builder = builder();
    for (name, pem, ..) in BROKEN.iter() {
        builder = builder.key(&key(name), pem);
    }
    let pointsman = builder.start();
    assert_eq!(pointsman.get("web.test", "/").status(), 200);
    let checked = pointsman.look("check", &[]);
    assert!(!checked.status.success());
    let checked = text(&checked);
    let refused = refusals(&pointsman);
    assert_eq!(refused.len(), BROKEN.len(), "{refused:#?}");
    for (name, _, code, message) in BROKEN.iter() {
        let unit = key(name);
        let refusal = refused
            .iter()
            .find(|refusal| refusal["unit"] == unit.as_str());
        let refusal = refusal.unwrap_or_else(|| panic!("{name} is not refused"));
        assert_eq!(refusal["serving"], "absent", "{name}");
        let told = refusal["diagnostics"].to_string();
        assert!(
            told.contains(&format!("\"code\":\"{code}\"")),
            "{name}: {told}"
        );
        assert!(told.contains(message), "{name}: {told}");
        assert!(
            told.contains(&format!("\"key\":\"{unit}\"")),
            "{name}: {told}"
        );
        let message = message.replace('\\', "");
        let line = checked
            .lines()
            .find(|line| line.contains(&format!("error: {unit}:")));
        let line = line.unwrap_or_else(|| panic!("no {unit} in {checked}"));
        assert!(line.contains(&message), "{line}");
    }
    let end = "services that would go live: 1, certificates 1\n";
    assert!(checked.ends_with(end), "{checked}");
    let running = pointsman.plan().dump;
    assert_eq!(running.matches("fingerprint:").count(), 1, "{running}");
    assert!(running.contains(&fingerprint(&GOOD)));
    let planned = pointsman.look("plan", &[]);
    assert!(text(&planned).contains(&fingerprint(&GOOD)));
    let store = format!("dir:{}", pointsman.keys_dir().display());
    let status = text(&run(&["status", "--store", &store]));
    assert!(
        status.contains("refused certs/weak at revision"),
        "{status}"
    );
    let wait = run(&["wait", "--store", &store, "--timeout", "5s"]);
    assert!(
        !wait.status.success() && text(&wait).contains("certs/"),
        "{}",
        text(&wait)
    );
    for shown in [
        &checked,
        &running,
        &text(&planned),
        &status,
        &text(&wait),
        &pointsman.log(),
    ] {
        assert_no_key_in(shown);
    }
    assert_no_key_in(&pointsman.status().to_string());
}

#[test]
fn the_last_good_certificate_stays_and_heals_with_the_next_good_one() {
    let first = AUTHORITY.sign(&Leaf::of(&["tls.test"]));
    let pointsman = builder().key("certs/web", first.pem()).start();
    let unchanged = |name: &str| {
        let plan = pointsman.plan().dump;
        assert!(plan.contains(&fingerprint(&first)), "{name}: {plan}");
        assert!(plan.contains(&fingerprint(&GOOD)), "{name}: {plan}");
        assert_eq!(pointsman.get("web.test", "/").status(), 200);
    };
    let generation = pointsman.plan().generation;
    for (name, pem, code, _) in BROKEN.iter() {
        pointsman.put("certs/web", pem);
        wait_until(&format!("{name} is refused"), || {
            let refused = refusals(&pointsman);
            let told = refused.first().map(ToString::to_string).unwrap_or_default();
            told.contains(code) && told.contains("\"serving\":\"last-good\"")
        });
        unchanged(name);
    }
    assert_eq!(pointsman.plan().generation, generation);
    // What was good, but for its form, is the same certificate.
    pointsman.put("certs/web", first.pem().replace('\n', "\r\n"));
    wait_until("it is healed", || refusals(&pointsman).is_empty());
    assert_eq!(pointsman.plan().generation, generation);
    let second = AUTHORITY.sign(&Leaf::of(&["tls.test"]));
    pointsman.put("certs/web", second.pem());
    wait_for_plan(&pointsman, &fingerprint(&second));
    assert_eq!(pointsman.plan().generation, generation + 1);
    pointsman.remove("certs/web");
    wait_until("it is gone", || {
        !pointsman.plan().dump.contains("tls.test ->")
    });
    assert!(pointsman.plan().dump.contains("www.test -> good"));
}

#[test]
fn order_line_ends_and_text_between_do_not_matter() {
    let parts = [GOOD.key.as_str(), &GOOD.chain, &GOOD.cert];
    let pointsman = builder()
        .key("certs/key-first", parts.concat())
        .key("certs/crlf", GOOD.pem().replace('\n', "\r\n"))
        .key(
            "certs/between",
            parts.join("subject=/CN=ä\n  garbage: \"{{ x }}\" ---\n"),
        )
        .start();
    assert!(
        refusals(&pointsman).is_empty(),
        "{:#?}",
        refusals(&pointsman)
    );
    let plan = pointsman.plan().dump;
    assert_eq!(plan.matches(&fingerprint(&GOOD)).count(), 4, "{plan}");
    assert_eq!(plan.matches("chain: 2").count(), 4, "{plan}");
    assert!(
        plan.contains("- www.test -> between, crlf, good, key-first"),
        "{plan}"
    );
}

#[test]
fn what_is_not_valid_yet_goes_live_when_it_is_and_what_ends_stays_with_a_warning() {
    let from = now() + 3;
    let early = AUTHORITY.sign(&Leaf::of(&["early.test"]).valid(from, from + 30 * DAY));
    let short = AUTHORITY.sign(&Leaf::of(&["short.test"]).valid(from - DAY, from + 2));
    let twice = |to| AUTHORITY.sign(&Leaf::of(&["twice.test"]).valid(from - DAY, to));
    let pointsman = builder()
        .key("certs/early", early.pem())
        .key("certs/short", short.pem())
        .key("certs/twice", twice(from + 2).pem())
        .key("certs/twice-2", twice(from + 30 * DAY).pem())
        .start();
    wait_for_plan(&pointsman, "twice.test -> twice, twice-2");
    assert_eq!(refusals(&pointsman).len(), 1);
    let soon = "the certificate for short.test expires in less than a day";
    pointsman.wait_for_status_words(&[soon, "\"key\":\"certs/short\""]);
    assert!(text(&pointsman.look("check", &[])).contains(soon));
    wait_for_plan(&pointsman, "early.test -> early");
    wait_until("it is healed", || refusals(&pointsman).is_empty());
    let over = "the certificate for short.test expired less than a day ago";
    pointsman.wait_for_status_words(&[over]);
    // The status is told first.
    wait_until("it is in the log", || pointsman.log().contains(over));
    let log = pointsman.log();
    for told in [soon, over] {
        assert_eq!(log.matches(told).count(), 1, "{log}");
    }
    assert!(pointsman.plan().dump.contains("short.test -> short"));
    wait_for_plan(&pointsman, "twice.test -> twice-2, twice");
    assert!(refusals(&pointsman).is_empty());
    // The same keys on a node that never served it: refused.
    let checked = text(&pointsman.look("check", &[]));
    assert!(
        checked.contains("error: certs/short: pem has a certificate that expired"),
        "{checked}"
    );
}

#[test]
fn a_restart_without_keys_serves_what_was_accepted_even_if_it_has_expired() {
    let short = AUTHORITY.sign(&Leaf::of(&["short.test"]).valid(now() - DAY, now() + 4));
    let end = now() + 5;
    let mut pointsman = builder().key("certs/short", short.pem()).start();
    wait_for_plan(&pointsman, "short.test -> short");
    let saved = std::fs::read_dir(pointsman.state_dir()).expect("a state directory");
    let saved: Vec<_> = saved.map(|entry| entry.expect("an entry").path()).collect();
    wait_until("the certificate is saved", || {
        saved.iter().any(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.contains("BEGIN PRIVATE KEY")
        })
    });
    for path in &saved {
        let mode = path.metadata().expect("a file").permissions().mode();
        let text = std::fs::read_to_string(path).expect("a file");
        assert!(
            mode & 0o077 == 0 || !text.contains("PRIVATE"),
            "{path:?} {mode:o}"
        );
    }
    wait_until("its end", || now() > end);
    pointsman.kill();
    pointsman.start_again();
    pointsman.wait_until_ready();
    wait_for_plan(&pointsman, "short.test -> short");
    pointsman
        .wait_for_status_words(&["the certificate for short.test expired less than a day ago"]);
    assert!(
        refusals(&pointsman).is_empty(),
        "{:#?}",
        refusals(&pointsman)
    );
}

#[test]
fn of_two_with_like_keys_the_first_by_natural_order_is_served_and_the_other_told() {
    let of = |leaf: Leaf| AUTHORITY.sign(&leaf).pem();
    let pointsman = Pointsman::builder()
        .without_certificate()
        .key("certs/cert10", of(Leaf::of(&["www.test"])))
        .key("certs/cert2", of(Leaf::of(&["www.test"])))
        .key("certs/cert3", of(Leaf::of(&["www.test"]).rsa()))
        .start();
    let told = "other certificates with ECDSA P-256 keys go first: www.test by certs/cert2";
    pointsman.wait_for_status_words(&[told]);
    let plan = pointsman.plan().dump;
    assert!(
        plan.contains("- www.test -> cert2, cert3, cert10"),
        "{plan}"
    );
    assert!(plan.contains("- default -> cert2, cert3"), "{plan}");
    pointsman.put("settings/ssl_default_certificate", "cert10");
    wait_for_plan(&pointsman, "- default -> cert10, cert3");
    pointsman.put("settings/ssl_default_certificate", "cert11");
    pointsman.wait_for_status_words(&[
        "ssl_default_certificate \\\"cert11\\\" is no certificate",
        "\"key\":\"settings/ssl_default_certificate\"",
    ]);
    wait_for_plan(&pointsman, "- default -> cert2, cert3");
    pointsman.remove("certs/cert2");
    wait_for_plan(&pointsman, "- www.test -> cert3, cert10");
    wait_until("the warning is gone", || {
        !pointsman.status().to_string().contains(told)
    });
}

#[test]
fn the_flag_says_which_certificate_is_the_default() {
    let pointsman = builder()
        .key(
            "certs/other",
            AUTHORITY.sign(&Leaf::of(&["other.test"])).pem(),
        )
        .args(&["--ssl-default-certificate", "other"])
        .start();
    assert!(pointsman.plan().dump.contains("- default -> other"));
}

#[test]
fn a_flag_of_kontenas_under_certs_is_passed_over_in_silence() {
    let pointsman = builder()
        .key("certs/bundle", "true")
        .args(&["--compat", "kontena"])
        .start();
    assert!(refusals(&pointsman).is_empty());
    assert_eq!(pointsman.status()["warnings_total"], 0);
    let plan = pointsman.plan().dump;
    assert!(
        !plan.contains("certs/bundle") && plan.contains("certs/good"),
        "{plan}"
    );
    // By the other habits it is a bundle without anything in it.
    let pointsman = builder().key("certs/bundle", "true").start();
    assert_eq!(refusals(&pointsman).len(), 1);
}

#[test]
fn of_two_thousand_certificates_the_one_that_changed_is_all_that_a_generation_changes() {
    const MANY: usize = 2_000;
    const ONE: usize = 1_234;
    let name = |n: usize| format!("n-{n}.test");
    let key = Leaf::of(&[]).key();
    let sign = |n: usize| town_hall().sign_for(&Leaf::of(&[&name(n)]), &key);
    let leaf = |bundle: &Bundle| {
        CertificateDer::from_pem_slice(bundle.cert.as_bytes()).expect("a certificate")
    };
    let origin = Origin::saying("hello");
    let web = Service::http("web").upstream(origin.addr());
    let mut builder = Pointsman::builder().without_certificate().service(&web);
    let mut expected = Vec::with_capacity(MANY);
    for n in 0..MANY {
        let bundle = sign(n);
        expected.push(leaf(&bundle));
        builder = builder.key(&format!("certs/n-{n}"), bundle.pem());
    }
    let pointsman = builder.start();
    let new = sign(ONE);
    assert_ne!(leaf(&new), expected[ONE]);
    expected[ONE] = leaf(&new);
    let shown = |n: usize| {
        let shaken = Tls::careless().shake(pointsman.https(), &name(n)).1;
        shaken.chain[0].clone()
    };
    let swaps = || -> Vec<String> {
        let log = pointsman.log();
        let lines = log.lines().filter(|line| line.contains(" swapped "));
        lines.map(str::to_owned).collect()
    };
    let before = swaps().len();
    pointsman.put(&format!("certs/n-{ONE}"), new.pem());
    wait_until("the new one is shown", || shown(ONE) == expected[ONE]);
    wait_until("the swap is told", || swaps().len() > before);
    let after = &swaps()[before..];
    assert!(
        after.len() == 1 && after[0].contains(" changed=1 ") && after[0].contains(" removed=0 "),
        "{after:#?}"
    );
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (expected, shown, name) = (&expected, &shown, &name);
            scope.spawn(move || {
                for n in (part..MANY).step_by(4) {
                    assert!(shown(n) == expected[n], "{} is another's", name(n));
                }
            });
        }
    });
    assert_eq!(pointsman.status()["refused_total"], 0);
}
