//! `pointsman certs`: what nodes serve, and what was refused, in a table and as JSON.

mod support;

use std::fs;
use std::process::Output;

use support::certs::{Authority, DAY, Leaf, now};
use support::pointsman::{Pointsman, run};
use support::wait_until;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn it_works_without_a_node_and_tells_the_end_of_each() {
    let authority = Authority::root("test root");
    let dir = tempfile::tempdir().expect("a directory");
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("create");
        fs::write(path, text).expect("write");
    };
    let flags = ["keys", "files"].map(|path| dir.path().join(path).display().to_string());
    let store = format!("dir:{}", flags[0]);
    let certs =
        |more: &[&str]| run(&[&["certs", "--store", &store, "--certs", &flags[1]], more].concat());
    put("keys/settings/retries", "3");
    put("files/README", "");
    let none = certs(&[]);
    assert!(
        none.status.success() && out(&none) == "no certificates\n",
        "{none:?}"
    );

    let names = ["www.test", "a.test", "b.test", "c.test"];
    let soon = |days| Leaf::of(&["soon.test"]).valid(now() - 60 * DAY, now() + days * DAY + 60);
    put(
        "keys/certs/web2",
        &authority
            .sign(&Leaf::of(&names).valid(now() - DAY, now() + 90 * DAY + 60))
            .pem(),
    );
    put("files/web10.pem", &authority.sign(&soon(5).rsa()).pem());
    let fine = certs(&[]);
    assert!(fine.status.success(), "{fine:?}");
    let table = out(&fine);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[1].starts_with("web2   www.test, a.test, b.test +1  CN=test root  ECDSA P-256  20"),
        "{table}"
    );
    assert!(
        lines[1].contains(&format!("    90  {store}")) && lines[1].ends_with("  live"),
        "{table}"
    );
    let at = |line: &str| line.find("CN=test root");
    assert_eq!(at(lines[1]), at(lines[2]), "{table}");
    let last: Vec<_> = lines[2]
        .split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect();
    assert_eq!(
        last[..4],
        ["web10", "soon.test", "CN=test root", "RSA 2048"]
    );
    assert_eq!(last[5..], ["5", &flags[1], "expires soon"], "{table}");

    put("keys/certs/bad", "hello");
    put(
        "keys/certs/ended",
        &authority
            .sign(&Leaf::of(&["ended.test"]).valid(now() - 9 * DAY, now() - DAY))
            .pem(),
    );
    put("keys/certs/odd\nname", "hello");
    let bad = certs(&[]);
    assert_eq!(bad.status.code(), Some(1));
    let table = out(&bad);
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(
        table.contains("refused: error: certs/bad:3:8: pem has no PEM in it"),
        "{table}"
    );
    let ended = table
        .lines()
        .find(|line| line.starts_with("ended "))
        .expect("a line");
    assert!(
        ended.contains("ended.test") && ended.ends_with("  expired"),
        "{table}"
    );
    assert!(!table.contains("PRIVATE"), "{table}");

    let rows = json(&certs(&["--json"]));
    let row = |name: &str| {
        let mut rows = rows.as_array().expect("a list").iter();
        rows.find(|row| row["name"] == name).expect("a row").clone()
    };
    assert_eq!(row("web2")["names"], serde_json::json!(names));
    assert_eq!(row("web2")["state"], "live");
    assert_eq!(row("web10")["state"], "expires-soon");
    assert_eq!(row("web10")["days_left"], 5);
    assert_eq!(row("ended")["state"], "expired");
    assert_eq!(row("bad")["state"], "refused");
    assert_eq!(row("bad")["source"], store);
    assert!(
        row("bad")["reasons"][0]
            .as_str()
            .is_some_and(|r| r.contains("no PEM"))
    );
}

#[test]
fn what_a_node_keeps_and_what_it_alone_has_is_told() {
    let authority = Authority::root("test root");
    let dir = tempfile::tempdir().expect("a directory");
    let soon = Leaf::of(&["own.test"]).valid(now() - 60 * DAY, now() + DAY);
    fs::write(dir.path().join("own.pem"), authority.sign(&soon).pem()).expect("write");
    fs::write(dir.path().join("half.crt"), "").expect("write");
    let pointsman = Pointsman::builder()
        .args(&["--certs", &dir.path().display().to_string()])
        .key("certs/www", authority.sign(&Leaf::of(&["www.test"])).pem())
        .start();
    pointsman.put("certs/www", "hello");
    let told = || out(&pointsman.look("certs", &[]));
    wait_until("the status board", || {
        told().contains("last good kept by test: ")
    });
    let table = told();
    let line = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}"))
            .to_owned()
    };
    assert!(line("www").contains("pem has no PEM in it"), "{table}");
    assert!(line("town").ends_with("  live"), "{table}");
    assert!(
        line("own").contains("node test") && line("own").ends_with("expires soon"),
        "{table}"
    );
    assert!(
        line("half").contains("node test") && line("half").contains("half.crt is there without"),
        "{table}"
    );
    let rows = json(&pointsman.look("certs", &["--json"]));
    let www = rows
        .as_array()
        .expect("a list")
        .iter()
        .find(|row| row["name"] == "www");
    let www = www.expect("a row");
    assert_eq!(
        (&www["state"], &www["kept_by"]),
        (&"kept".into(), &serde_json::json!(["test"]))
    );

    let store = format!("dir:{}", pointsman.keys_dir().display());
    let status = out(&run(&["status", "--store", &store]));
    assert!(
        status.contains("the certificate for own.test expires in "),
        "{status}"
    );
    assert!(
        pointsman.status()["warnings"]
            .to_string()
            .contains("expires-soon")
    );
}
