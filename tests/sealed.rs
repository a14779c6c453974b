//! Sealed values: whoever holds the key file serves them, and nobody else sees them.

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use support::certs::{self, Bundle, Leaf};
use support::etcd::Etcd;
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service};
use support::tls;
use support::{command, wait_until};

/// A key file in a directory of its own.
struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        keys.add();
        keys
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("seal.key")
    }

    fn flag(&self) -> String {
        self.file().display().to_string()
    }

    /// What sealed values call the new one.
    fn add(&self) -> String {
        let output = self.seal(&["--new-key"], "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    }

    fn seal(&self, args: &[&str], value: &str) -> Output {
        let mut child = command()
            .args(["seal", "--seal-key-file", &self.flag()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start pointsman");
        // One that ends without reading is no error here.
        let _ = child
            .stdin
            .take()
            .expect("its input")
            .write_all(value.as_bytes());
        child.wait_with_output().expect("run pointsman")
    }

    fn sealed(&self, place: &str, value: &str) -> String {
        let output = self.seal(&["--for", place], value);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(
            text.starts_with("sealed:v1:") && text.trim_end().lines().count() == 1,
            "{text}"
        );
        text
    }
}

fn town() -> Bundle {
    certs::town_hall().sign(&Leaf::of(&[certs::TOWN]))
}

fn builder(keys: &Keys) -> Builder {
    let flag = keys.flag();
    Pointsman::builder()
        .without_certificate()
        .args(&["--seal-key-file", &flag])
}

fn shakes_hands(pointsman: &Pointsman) -> bool {
    tls::town()
        .try_connect(pointsman.https(), certs::TOWN)
        .is_ok()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// All that the program left in a directory.
fn on_disk(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("a directory");
    let files = entries.map(|entry| fs::read(entry.expect("an entry").path()).unwrap_or_default());
    files
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// Lines of a private key, which appear nowhere by chance.
fn secret_lines(bundle: &Bundle) -> Vec<String> {
    let lines = bundle.key.lines().filter(|line| line.len() > 30);
    lines.map(str::to_owned).collect()
}

#[test]
fn a_sealed_certificate_is_served_and_shown_nowhere_nor_on_disk() {
    let keys = Keys::new();
    let (bundle, origin) = (town(), Origin::saying("hello"));
    let mut pointsman = builder(&keys)
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr())
                .key("retries", "x"),
        )
        .key("certs/town", keys.sealed("certs/", &bundle.pem()))
        .start();
    assert!(shakes_hands(&pointsman), "{}", pointsman.log());
    pointsman.put("services/web/retries", "2");
    wait_until("the plain service", || {
        pointsman.get("web.test", "/").text() == "hello"
    });
    wait_until("it is saved", || {
        on_disk(&pointsman.state_dir()).contains("services/web")
    });
    let flags = ["--seal-key-file", &keys.flag()];
    let mut seen = vec![
        on_disk(&pointsman.state_dir()),
        pointsman.log(),
        pointsman.status().to_string(),
        pointsman.plan().dump,
    ];
    for look in ["check", "plan", "render", "certs"] {
        let output = pointsman.look(look, &flags);
        assert!(output.status.success(), "{look}: {output:?}");
        seen.push(text(&output));
    }
    assert!(
        seen[6].contains("pem: <sealed>") || seen[6].contains("<sealed>"),
        "{}",
        seen[6]
    );
    assert!(seen[6].contains("web.test"), "{}", seen[6]);
    for (at, seen) in seen.iter().enumerate() {
        assert!(!seen.contains("PRIVATE KEY"), "{at}: {seen}");
        assert!(
            secret_lines(&bundle)
                .iter()
                .all(|line| !seen.contains(line)),
            "{at}: {seen}"
        );
    }
    assert!(
        !seen[0].contains("web.test"),
        "all of the saved config is sealed"
    );
    // The saved config is good for a start without the keys of the tree.
    pointsman.kill();
    let tree = pointsman.keys_dir();
    fs::rename(&tree, tree.with_extension("away")).expect("rename");
    pointsman.start_again();
    wait_until("a start from the saved config", || shakes_hands(&pointsman));
}

#[test]
fn what_cannot_be_opened_is_told_by_name_and_hurts_nobody_else() {
    let (keys, other) = (Keys::new(), Keys::new());
    let (bundle, origin) = (town(), Origin::saying("hello"));
    let good = keys.sealed("certs/", &bundle.pem());
    let mut changed = good.trim_end().to_owned();
    let last = changed.pop().expect("a character");
    changed.pop();
    changed.push(if last == 'A' { 'B' } else { 'A' });
    let unknown = other.sealed("certs/", &bundle.pem());
    let bad = [
        (
            "certs/changed",
            good.trim_end().replace(&good[30..40], "AAAAAAAAAA"),
            "and was changed, or is sealed for another place than",
        ),
        ("certs/cut", good[..200].to_owned(), "it is sealed and "),
        (
            "certs/form",
            good.replacen("v1", "v7", 1),
            "in form \\\"v7\\\", which is not known here",
        ),
        ("certs/odd", changed, "it is sealed and "),
        (
            "certs/unknown",
            unknown,
            "which the seal key file does not have",
        ),
        // A private key must not come out where pages are.
        (
            "services/odd/error_pages/503",
            good.clone(),
            "sealed for another place than \\\"services/odd/error_pages/503\\\"",
        ),
    ];
    let mut builder = builder(&keys)
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .service(&Service::http("odd").hosts("odd.test"))
        .key("certs/town", &good);
    for (key, value, _) in &bad {
        builder = builder.key(key, value);
    }
    let pointsman = builder.start();
    assert!(shakes_hands(&pointsman));
    assert_eq!(pointsman.get("web.test", "/").text(), "hello");
    assert!(!pointsman.get("odd.test", "/").text().contains("PRIVATE"));
    let refused = pointsman.status()["refused"].clone();
    assert_eq!(
        refused.as_array().map(Vec::len),
        Some(bad.len()),
        "{refused:#}"
    );
    let refused = refused.to_string();
    for (key, _, why) in &bad {
        assert!(
            refused.contains(&format!("\"key\":\"{key}\"")),
            "{key}: {refused}"
        );
        assert!(refused.contains(why), "{key}: {refused}");
    }
    // The last good one stays, and it heals.
    pointsman.put("certs/town", &good[..150]);
    pointsman.wait_for_status_words(&["\"unit\":\"certs/town\"", "last-good"]);
    assert!(shakes_hands(&pointsman));
    pointsman.put("certs/town", good.clone());
    wait_until("it heals", || {
        pointsman.status()["refused_total"] == bad.len()
    });

    let checked = text(&pointsman.look("check", &[]));
    let told = "certs/town cannot be used: it is sealed and there is no seal key file; --seal-key-file names it";
    assert!(checked.contains(told), "{checked}");
    let missing = pointsman.look("check", &["--seal-key-file", "/nowhere/seal.key"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing).contains("seal key file /nowhere/seal.key"),
        "{missing:?}"
    );
}

#[test]
fn any_key_may_be_sealed_and_messages_do_not_show_it() {
    let keys = Keys::new();
    let origin = Origin::saying("hello");
    let user = |user: &str| keys.sealed("services/", user);
    let pointsman = builder(&keys)
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr())
                .key(
                    "basic_auth_secrets",
                    &user("user eve insecure-password hunter2"),
                ),
        )
        .start();
    let ask = |password: &str| {
        use base64::Engine as _;
        let word = base64::prelude::BASE64_STANDARD.encode(format!("eve:{password}"));
        let mut client = pointsman.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: web.test\r\nAuthorization: Basic {word}\r\nConnection: close\r\n\r\n"));
        client.response().status()
    };
    assert_eq!((ask("hunter2"), ask("hunter3")), (200, 401));
    for (key, value) in [
        ("basic_auth_secrets", "eve hunter3-of-old"),
        ("balance", "hunter3-balance"),
        ("custom_settings", "hunter3-setting on"),
        ("request_headers", "sett X-Token: hunter3-token"),
        ("virtual_hosts", "hunter3 host"),
    ] {
        pointsman.put(&format!("services/web/{key}"), user(value));
        pointsman.wait_for_status_words(&[&format!("\"key\":\"services/web/{key}\"")]);
    }
    pointsman.put("settings/timeout_idle", keys.sealed("/", "hunter3-idle"));
    pointsman.wait_for_status_words(&["\"key\":\"settings/timeout_idle\""]);
    assert_eq!(ask("hunter2"), 200, "the last good form serves");
    let flags = ["--seal-key-file", &keys.flag()];
    let looks = ["check", "plan", "render"].map(|look| text(&pointsman.look(look, &flags)));
    assert!(
        looks[0].contains("balance: bad-value; the message may show what is sealed"),
        "{}",
        looks[0]
    );
    let seen = [
        pointsman.log(),
        pointsman.status().to_string(),
        pointsman.plan().dump,
    ];
    for seen in seen.iter().chain(&looks) {
        assert!(!seen.contains("hunter"), "{seen}");
    }
}

#[test]
fn seal_keys_are_rotated_while_it_runs() {
    let keys = Keys::new();
    let bundle = town();
    let old = keys.sealed("certs/", &bundle.pem());
    let pointsman = builder(&keys).key("certs/town", &old).start();
    let id = keys.add();
    wait_until("the new key", || {
        pointsman.log().contains("seal keys read anew")
    });
    let new = keys.sealed("certs/", &bundle.pem());
    assert!(new.starts_with(&format!("sealed:v1:{id}:")), "{new}");
    pointsman.put("certs/second", &new);
    wait_until("it is opened", || {
        pointsman.plan().dump.contains("certs/second")
    });
    wait_until("the saved config is sealed anew", || {
        let saved = on_disk(&pointsman.state_dir());
        saved.matches("sealed:v1:").count() == saved.matches(&id).count() && saved.contains(&id)
    });
    // Without the old key, what it sealed is refused; what is served stays.
    let lines = fs::read_to_string(keys.file()).expect("the key file");
    assert_eq!(lines.lines().count(), 2);
    let first = lines.lines().next().expect("a line");
    fs::write(keys.file(), first).expect("write");
    pointsman.wait_for_status_words(&["\"unit\":\"certs/town\"", "last-good", "does not have"]);
    assert!(shakes_hands(&pointsman));
    // A broken file changes nothing.
    fs::write(keys.file(), "no key").expect("write");
    wait_until("it is told", || {
        pointsman.log().contains("seal keys cannot be read anew")
    });
    assert_eq!(pointsman.status()["refused_total"], 1);
    fs::write(keys.file(), lines).expect("write");
    wait_until("it heals", || pointsman.status()["refused_total"] == 0);
}

#[test]
fn a_start_without_the_keys_forgets_nothing_that_they_sealed() {
    let keys = Keys::new();
    let mut pointsman = builder(&keys)
        .key("certs/town", keys.sealed("certs/", &town().pem()))
        .start();
    wait_until("it is saved", || {
        on_disk(&pointsman.state_dir()).contains("certs/town")
    });
    pointsman.kill();
    let tree = pointsman.keys_dir();
    fs::rename(&tree, tree.with_extension("away")).expect("rename");
    let lines = fs::read_to_string(keys.file()).expect("the key file");
    let other = Keys::new();
    fs::copy(other.file(), keys.file()).expect("copy");
    pointsman.start_again();
    wait_until("it tells", || {
        pointsman.log().contains("saved config is sealed")
    });
    pointsman.kill();
    fs::write(keys.file(), lines).expect("write");
    pointsman.start_again();
    wait_until("a start from the saved config", || shakes_hands(&pointsman));
    pointsman.kill();

    // Its key goes while nobody can open what was saved of it: it does not come back.
    fs::rename(tree.with_extension("away"), &tree).expect("rename");
    let lines = fs::read_to_string(keys.file()).expect("the key file");
    fs::copy(other.file(), keys.file()).expect("copy");
    fs::remove_file(tree.join("certs/town")).expect("remove");
    pointsman.put("settings/retries", "2");
    pointsman.start_again();
    wait_until("it is forgotten", || {
        on_disk(&pointsman.state_dir()).contains("{\"gone\":{\"name\":\"certs/town\"}}")
    });
    pointsman.kill();
    // What was saved meanwhile was sealed with the other one.
    let both = lines + &fs::read_to_string(other.file()).expect("the other");
    fs::write(keys.file(), both).expect("write");
    fs::rename(&tree, tree.with_extension("away")).expect("rename");
    let starts = |log: &str| log.matches("starting from the saved config").count();
    let before = starts(&pointsman.log());
    pointsman.start_again();
    wait_until("a start from what is left", || {
        starts(&pointsman.log()) > before
    });
    assert!(!shakes_hands(&pointsman));
    let dump = pointsman.plan().dump;
    assert!(!dump.contains("certs/town"), "{dump}");
}

#[test]
fn what_is_odd_about_a_key_file_or_an_input_is_told() {
    let keys = Keys::new();
    let mode = keys.file().metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!text(&keys.seal(&[], "x")).contains("warning"));
    for mode in [0o604, 0o640] {
        fs::set_permissions(keys.file(), fs::Permissions::from_mode(mode)).expect("chmod");
        let told = text(&keys.seal(&[], "x"));
        let expected = format!("can be read by others (mode {mode:o})");
        assert!(told.contains(&expected), "{told}");
    }
    let pointsman = builder(&keys).start();
    assert!(pointsman.log().contains("can be read by others (mode 640)"));
    let check = |value: &str, why: &str| {
        let output = keys.seal(&[], value);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output).contains(why), "{output:?}");
    };
    check(" \n", "nothing on standard input");
    check(&keys.sealed("/", "x"), "sealed already");
    check(&"x".repeat(600_000), "no value is that large");
    fs::write(keys.file(), "hush").expect("write");
    check("x", "line 1 is no seal key");
    assert!(!text(&keys.seal(&["--new-key"], "")).contains("hush"));
    assert_eq!(fs::read_to_string(keys.file()).expect("a file"), "hush");
}

#[test]
fn a_new_key_leaves_a_file_to_whom_it_was_and_begins_an_empty_one() {
    let keys = Keys::new();
    fs::write(keys.file(), "\n").expect("write");
    fs::set_permissions(keys.file(), fs::Permissions::from_mode(0o640)).expect("chmod");
    // Only root can give files away.
    let _ = std::os::unix::fs::chown(keys.file(), Some(1234), Some(4321));
    let facts = || {
        let meta = keys.file().metadata().expect("a file");
        (meta.uid(), meta.gid(), meta.mode())
    };
    let before = facts();
    let (first, second) = (keys.add(), keys.add());
    assert_ne!(first, second);
    assert_eq!(facts(), before);
    let value = keys.sealed("certs/", "x");
    assert!(value.contains(&second), "{value}");
}

#[tokio::test]
async fn a_certificate_is_sealed_in_etcd_and_served() {
    let etcd = Etcd::start().await;
    let keys = Keys::new();
    let value = keys.sealed("certs/", &town().pem());
    etcd.put("/pointsman/lb/certs/town", value.trim()).await;
    let store = format!("etcd://{}", etcd.endpoint());
    tokio::task::spawn_blocking(move || {
        let pointsman = builder(&keys).store(&store).start();
        assert!(shakes_hands(&pointsman), "{}", pointsman.log());
        // Who waits needs no seal key.
        let waited = support::pointsman::run(&["wait", "--store", &store, "--timeout", "10s"]);
        assert!(waited.status.success(), "{waited:?}");
    })
    .await
    .expect("a thread");
}
