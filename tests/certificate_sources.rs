//! Certificates that are in no key: files of a directory and the environment of a node.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::certs::{self, Bundle, Leaf};
use support::pointsman::{Builder, Pointsman, Service, run};
use support::tls::{self, Tls};
use support::town::named;
use support::wait_until;

fn signed(name: &str) -> Bundle {
    certs::town_hall().sign(&Leaf::of(&[name]))
}

fn builder() -> Builder {
    Pointsman::builder().without_certificate()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// The certificate that a client sees who asks for `name`.
fn shown(pointsman: &Pointsman, name: &str) -> Option<CertificateDer<'static>> {
    let (_, shaken) = Tls::careless().try_connect(pointsman.https(), name).ok()?;
    shaken.chain.into_iter().next()
}

fn der(bundle: &Bundle) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(bundle.cert.as_bytes()).expect("a certificate")
}

#[track_caller]
fn wait_for(pointsman: &Pointsman, name: &str, bundle: &Bundle) {
    let der = der(bundle);
    wait_until(&format!("{name}; log:\n{}", pointsman.log()), || {
        shown(pointsman, name).as_ref() == Some(&der)
    });
}

/// As whoever replaces a file should: in one step.
fn replace(path: &Path, text: &str) {
    let beside = path.with_file_name(".new");
    fs::write(&beside, text).expect("write");
    fs::rename(beside, path).expect("rename");
}

fn write_pair(dir: &Path, name: &str, bundle: &Bundle) {
    fs::create_dir_all(dir).expect("a directory");
    let chain = bundle.cert.clone() + &bundle.chain;
    fs::write(dir.join(format!("{name}.crt")), chain).expect("write");
    fs::write(dir.join(format!("{name}.key")), &bundle.key).expect("write");
}

#[test]
fn bundles_in_the_environment_are_served_and_a_bad_one_is_refused_by_name() {
    let [a, b, named_one] = ["a.test", "b.test", "c.test"].map(signed);
    let many = [a.pem(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n".to_owned(), b.pem()].concat();
    let variables = [
        ("SSL_CERTS", many.as_str()),
        ("SSL_CERT_c.test", &named_one.pem()),
        ("SSL_CERT_FILE", "/nowhere"),
    ];
    let mut builder = builder();
    for (name, value) in variables {
        builder = builder.env(name, value);
    }
    let pointsman = builder.start();
    for (name, bundle) in [("a.test", &a), ("b.test", &b), ("c.test", &named_one)] {
        wait_for(&pointsman, name, bundle);
    }
    // Whoever asks for nobody sees the first, as with Kontena.
    assert_eq!(shown(&pointsman, "other.test"), Some(der(&a)));
    let refused = pointsman.status()["refused"].to_string();
    assert!(
        refused.contains("\"unit\":\"certs/SSL_CERTS-2\"") && refused.contains("bad-pem"),
        "{refused}"
    );
    assert_eq!(pointsman.status()["refused_total"], 1);
    assert!(
        pointsman.status()["stores"]
            .to_string()
            .contains("\"environment\"")
    );
    let mut check = support::command();
    check
        .args(["check", "--store"])
        .arg(format!("dir:{}", pointsman.keys_dir().display()));
    let checked = check.envs(variables).output().expect("run");
    assert!(!checked.status.success());
    let checked = text(&checked);
    assert!(
        checked.contains("error: certs/SSL_CERTS-2:3:8: pem has a PRIVATE KEY at line 4"),
        "{checked}"
    );
    assert!(checked.ends_with("certificates 3\n"), "{checked}");
}

#[test]
fn files_of_a_directory_are_certificates_and_follow_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let certs = dir.path().join("certs");
    let [a, b, c, again] = ["a.test", "b.test", "c.test", "a.test"].map(signed);
    write_pair(&certs, "b", &b);
    fs::write(certs.join("a.pem"), a.pem()).expect("write");
    fs::write(certs.join("half.crt"), &c.cert).expect("write");
    fs::write(certs.join("odd.cer"), &c.cert).expect("write");
    // As Kubernetes mounts a secret: links through ..data, which is swung around.
    let secret = certs.join("secret");
    write_pair(&secret.join("..1"), "tls", &c);
    symlink("..1", secret.join("..data")).expect("link");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), secret.join(file)).expect("link");
    }
    let flag = certs.display().to_string();
    let pointsman = builder().args(&["--certs", &flag]).start();
    for (name, bundle) in [("a.test", &a), ("b.test", &b), ("c.test", &c)] {
        wait_for(&pointsman, name, bundle);
    }
    pointsman.wait_for_status_words(&[
        "\"unit\":\"certs/half\"",
        &format!("{flag}/half.crt is there without {flag}/half.key"),
        "odd.cer is not read",
    ]);
    for command in ["check", "plan", "render"] {
        let told = text(&pointsman.look(command, &["--certs", &flag]));
        assert!(told.contains("odd.cer is not read"), "{told}");
        let counted = told.contains("certificates 3\n");
        assert!(counted || told.contains("certs/secret"), "{told}");
    }

    replace(&certs.join("a.pem"), &again.pem());
    wait_for(&pointsman, "a.test", &again);
    let swung = signed("c.test");
    write_pair(&secret.join("..2"), "tls", &swung);
    symlink("..2", secret.join("..new")).expect("link");
    fs::rename(secret.join("..new"), secret.join("..data")).expect("rename");
    wait_for(&pointsman, "c.test", &swung);
    replace(&certs.join("half.key"), &c.key);
    wait_until("the second half", || {
        pointsman.status()["refused_total"] == 0
    });
    fs::remove_file(certs.join("a.pem")).expect("remove");
    wait_until("a.test is gone", || {
        shown(&pointsman, "a.test") != Some(der(&again))
    });
    // Gone as a whole it is a store that does not answer: what is known stays.
    fs::rename(&certs, dir.path().join("away")).expect("rename");
    wait_until("it is missed", || {
        pointsman.status()["stores"]
            .to_string()
            .contains("does not exist")
    });
    assert_eq!(shown(&pointsman, "b.test"), Some(der(&b)));
}

#[test]
fn a_key_goes_over_a_file_over_the_environment_and_what_is_hidden_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let flag = dir.path().display().to_string();
    let [env, file, key] = ["www.test"; 3].map(signed);
    write_pair(dir.path(), "www", &file);
    let pointsman = builder()
        .env("SSL_CERT_www", &env.pem())
        .args(&["--certs", &flag])
        .key("certs/www", key.pem())
        .start();
    wait_for(&pointsman, "www.test", &key);
    let by_key = format!("certs/www of {flag} is not used: dir:");
    pointsman.wait_for_status_words(&[&by_key]);
    let checked = text(&pointsman.look("check", &["--certs", &flag]));
    assert!(checked.contains(&by_key), "{checked}");
    // A bad key is no reason to fall back to a file: nobody would look for it there.
    pointsman.put("certs/www", "no certificate");
    pointsman.wait_for_status_words(&["\"unit\":\"certs/www\"", "last-good"]);
    assert_eq!(shown(&pointsman, "www.test"), Some(der(&key)));
    pointsman.remove("certs/www");
    wait_for(&pointsman, "www.test", &file);
    pointsman.wait_for_status_words(&["certs/www of environment is not used: "]);
    for file in ["www.crt", "www.key"] {
        fs::remove_file(dir.path().join(file)).expect("remove");
    }
    wait_for(&pointsman, "www.test", &env);
    wait_until("nothing is hidden", || {
        !pointsman.status().to_string().contains("is not used")
    });
    assert_eq!(pointsman.log().matches(&by_key).count(), 1);
}

#[test]
fn a_pair_replaced_file_by_file_under_handshakes_never_breaks_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let flag = dir.path().display().to_string();
    write_pair(dir.path(), "town", &signed(certs::TOWN));
    let pointsman = builder().args(&["--certs", &flag]).start();
    let (done, shaken) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    tls::town().connect(pointsman.https(), certs::TOWN);
                    shaken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let next = signed(certs::TOWN);
            let [crt, key] = ["town.crt", "town.key"].map(|file| dir.path().join(file));
            let (first, second) = match round % 2 {
                0 => ((&crt, &next.cert), (&key, &next.key)),
                _ => ((&key, &next.key), (&crt, &next.cert)),
            };
            replace(first.0, first.1);
            pointsman.wait_for_status_words(&["wrong-key", "last-good"]);
            replace(second.0, second.1);
            wait_for(&pointsman, certs::TOWN, &next);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(shaken.into_inner() > 10);
}

#[test]
fn what_a_node_has_by_itself_is_no_matter_of_the_cluster() {
    let origin = named("web");
    let dir = tempfile::tempdir().expect("a directory");
    write_pair(dir.path(), "www", &signed("www.test"));
    let pointsman = builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .args(&["--certs", &dir.path().display().to_string()])
        .start();
    let store = format!("dir:{}", pointsman.keys_dir().display());
    let revision = pointsman.status()["revision"].clone();
    let next = signed("www.test");
    write_pair(dir.path(), "www", &next);
    wait_for(&pointsman, "www.test", &next);
    assert_eq!(pointsman.status()["revision"], revision);
    // Whoever waits has other files, or none.
    let waited = run(&["wait", "--store", &store, "--timeout", "5s"]);
    assert!(waited.status.success(), "{}", text(&waited));
}
