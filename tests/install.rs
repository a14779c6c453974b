//! `scripts/install` into a directory that stands for a machine.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install");
const UNITS: [&str; 2] = ["pointsman.service", "pointsman-agent.service"];

fn install(args: &[&str]) -> Output {
    let mut command = Command::new(SCRIPT);
    command
        .args(args)
        .env("POINTSMAN", env!("CARGO_BIN_EXE_pointsman"));
    command.output().expect("run scripts/install")
}

fn unit(root: &Path, name: &str) -> String {
    let path = root.join("etc/systemd/system").join(name);
    fs::read_to_string(path).expect("a unit")
}

#[test]
fn what_is_installed_runs_keeps_its_settings_and_goes_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let there = root.to_str().expect("a path");
    let run = install(&["--root", there]);
    assert!(run.status.success(), "{run:?}");

    let program = root.join("usr/local/bin/pointsman");
    let version = Command::new(&program).arg("--version").output();
    assert!(version.expect("run it").status.success());
    for name in UNITS {
        let text = unit(root, name);
        let start = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let words: Vec<_> = start.expect("a command").split(' ').collect();
        assert_eq!(words[0], "/usr/local/bin/pointsman");
        let help = Command::new(&program).args([words[1], "--help"]).output();
        let help = String::from_utf8(help.expect("run it").stdout).expect("text");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        // Every variable that the example of its settings has is one of that command's.
        let file = text
            .lines()
            .find_map(|line| line.strip_prefix("EnvironmentFile=-/"));
        let env = fs::read_to_string(root.join(file.expect("its settings"))).expect("a file");
        let names = env.lines().filter_map(|line| {
            let line = line.trim_start_matches('#');
            line.starts_with("LB_")
                .then(|| line.split('=').next().unwrap_or_default())
        });
        for name in names {
            assert!(
                help.contains(&format!("[env: {name}=")),
                "{words:?} has no {name}"
            );
        }
    }

    let settings = root.join("etc/pointsman/env");
    fs::write(&settings, "LB_STORE=dir:/elsewhere\n").expect("write");
    assert!(install(&["--root", there]).status.success());
    let kept = fs::read_to_string(&settings).expect("read");
    assert_eq!(kept, "LB_STORE=dir:/elsewhere\n");

    assert!(install(&["--uninstall", "--root", there]).status.success());
    assert!(!program.exists() && settings.exists());
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("!!! SKIPPED: no systemd-analyze here, so nobody else has read the units");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    assert!(
        install(&["--root", root.to_str().expect("a path")])
            .status
            .success()
    );
    for name in UNITS {
        let path = root.join("etc/systemd/system").join(name);
        // Its program is below the root and not where the unit says.
        let text = unit(root, name);
        let program = root.join("usr/local/bin/pointsman");
        let text = text.replace(
            "/usr/local/bin/pointsman",
            program.to_str().expect("a path"),
        );
        fs::write(&path, text).expect("write");
        let run = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output();
        let run = run.expect("run systemd-analyze");
        let said = String::from_utf8_lossy(&run.stderr);
        // Of other units of this machine it may have much to say.
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.contains("pointsman"))
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

#[test]
fn a_wrong_word_is_told_and_nothing_is_done() {
    for args in [
        &["--rot", "/tmp"][..],
        &["--root"],
        &["--root", "/nowhere/at/all"],
    ] {
        let run = install(args);
        assert!(!run.status.success());
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(said.contains("--root"), "{said}");
    }
}
