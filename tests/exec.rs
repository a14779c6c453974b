//! One process that is announced while it answers.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::etcd::Etcd;
use support::pointsman::Pointsman;
use support::process::Process;
use support::{free_port, wait_until};
use tokio::runtime::Runtime;

const AGENTS: &str = "/pointsman/lb/agents/";

struct Site {
    runtime: Runtime,
    etcd: Etcd,
    dir: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let mut site = Self {
            runtime,
            etcd: Etcd::prepare(),
            dir: tempfile::tempdir().expect("a directory"),
            port: free_port(),
        };
        site.runtime.block_on(site.etcd.run());
        site
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn announced(&self) -> Vec<(String, String)> {
        let mut keys = self.runtime.block_on(self.etcd.keys(AGENTS));
        keys.retain(|(key, _)| !key.ends_with("/about"));
        keys
    }

    /// Runs a shell script with what announces it; `$WHOAMI` serves on the port.
    fn exec(&self, args: &[&str], script: &str) -> Process {
        let mut command = command(&self.etcd.spec().to_string(), self.port);
        command.args(args).args(["--", "sh", "-c", script]);
        let whoami = format!(
            "{} whoami --listen 127.0.0.1:{} --name me",
            env!("CARGO_BIN_EXE_pointsman"),
            self.port
        );
        command.env("WHOAMI", whoami).env("DIR", self.dir.path());
        Process::start(command)
    }
}

fn command(store: &str, port: u16) -> Command {
    let mut command = support::command();
    command.env("LB_VIRTUAL_HOSTS", "web.test");
    command.env("LB_INTERNAL_PORT", port.to_string());
    // As a flag and as a variable, which is no word of the process's then.
    command
        .env("LB_STORE", store)
        .env("LB_LEASE", "3s")
        .args(["exec", "--service", "web"]);
    command
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Tells the signals it hears, and ends with 7 at SIGTERM.
const LISTENER: &str = "
    trap 'echo hup >> $DIR/heard' HUP
    trap 'echo usr1 >> $DIR/heard' USR1
    trap 'echo term >> $DIR/heard; kill $pid; exit 7' TERM
    until [ -e $DIR/go ]; do sleep 0.05; done
    $WHOAMI & pid=$!
    while kill -0 $pid 2> $DIR/null; do wait $pid; done";

#[test]
fn a_process_is_linked_when_its_port_answers_and_withdrawn_before_it_ends() {
    let site = Site::new();
    // A tree that suddenly has no services would be held back.
    let other = "/pointsman/lb/services/other/virtual_hosts";
    site.runtime.block_on(site.etcd.put(other, "other.test"));
    let balancer = Pointsman::builder()
        .store(&site.etcd.spec().to_string())
        .without_certificate()
        .start();
    let mut exec = site.exec(&["--drain", "2s"], LISTENER);
    exec.wait_for_log("process started");
    std::thread::sleep(Duration::from_secs(1));
    assert!(site.announced().is_empty(), "nothing answers yet");
    fs::write(site.file("go"), "").expect("a file");
    balancer.wait_for_text("web.test", "/", "me");
    let keys = site.announced();
    let upstream = keys.iter().find(|(key, _)| key.contains("/upstreams/"));
    let (key, value) = upstream.expect("an upstream");
    assert!(
        key.contains(&format!("-{}-", exec.id())) && key.contains("/services/web/upstreams/sh."),
        "{key}"
    );
    assert_eq!(*value, format!("127.0.0.1:{}", site.port));
    assert_eq!(keys.len(), 2, "{keys:?}");

    exec.signal(Signal::HUP);
    exec.signal(Signal::USR1);
    let heard = || read(&site.file("heard"));
    wait_until("both are heard", || {
        heard().contains("hup") && heard().contains("usr1")
    });
    assert_eq!(site.announced().len(), 2, "they end nothing");
    exec.signal(Signal::TERM);
    let told = Instant::now();
    wait_until("it is withdrawn", || site.announced().is_empty());
    balancer.wait_for_status("web.test", "/", 404);
    assert!(!heard().contains("term"), "not told yet");
    assert_eq!(exec.wait().code(), Some(7));
    assert!(told.elapsed() >= Duration::from_secs(2));
    assert!(heard().contains("term"));
}

#[test]
fn a_process_that_ends_is_withdrawn_at_once_and_its_code_is_ours() {
    let site = Site::new();
    let ends = "$WHOAMI & pid=$!; until [ -e $DIR/go ]; do sleep 0.05; done; kill $pid; exit 3";
    // Long, so that it cannot have been the lease.
    let mut exec = site.exec(&["--lease", "10m"], ends);
    wait_until("it is announced", || site.announced().len() == 2);
    fs::write(site.file("go"), "").expect("a file");
    assert_eq!(exec.wait().code(), Some(3));
    assert!(site.announced().is_empty(), "{:?}", site.announced());

    let mut killed = site.exec(&[], "kill -9 $$");
    assert_eq!(killed.wait().code(), Some(137));

    // A second word from whoever ends it is no matter of patience.
    let mut exec = site.exec(&["--drain", "1h"], LISTENER);
    wait_until("it is announced again", || site.announced().len() == 2);
    exec.signal(Signal::TERM);
    wait_until("it is withdrawn", || site.announced().is_empty());
    exec.signal(Signal::TERM);
    assert_eq!(exec.wait().code(), Some(7));
}

#[test]
fn a_process_that_lives_on_after_a_signal_is_announced_again() {
    let site = Site::new();
    let script = "
        trap 'echo quit >> $DIR/heard' QUIT
        trap 'kill $pid; exit 7' TERM
        until [ -e $DIR/go ]; do sleep 0.05; done
        trap '' QUIT; $WHOAMI & pid=$!; trap 'echo quit >> $DIR/heard' QUIT
        while kill -0 $pid 2> $DIR/null; do wait $pid; done";
    let mut exec = site.exec(&["--drain", "0s"], script);
    exec.wait_for_log("process started");
    let heard = || read(&site.file("heard")).lines().count();
    // Not before it can hear it.
    std::thread::sleep(Duration::from_secs(1));
    exec.signal(Signal::QUIT);
    wait_until("it is heard before it is announced", || heard() == 1);
    fs::write(site.file("go"), "").expect("a file");
    wait_until("it is announced all the same", || {
        site.announced().len() == 2
    });
    exec.signal(Signal::QUIT);
    wait_until("it is withdrawn", || site.announced().is_empty());
    wait_until("it is heard", || heard() == 2);
    wait_until("it is announced again", || site.announced().len() == 2);
    exec.wait_for_log("announced again");
    exec.signal(Signal::TERM);
    assert_eq!(exec.wait().code(), Some(7));
    assert!(site.announced().is_empty(), "withdrawn for good");
}

#[test]
fn a_process_gets_no_password_and_two_of_one_host_have_two_names() {
    let site = Site::new();
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut command = command(&site.etcd.spec().to_string(), site.port);
        command.env("LB_ETCD_USER", "root");
        command.env("LB_ETCD_PASSWORD", "secret-of-ours");
        command.env("KEPT", "kept");
        let output = command.args(["--", "env"]).output().expect("run");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            told.contains("KEPT=kept") && !told.contains("secret-of-ours"),
            "{told}"
        );
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = log.lines().find(|line| line.contains("process started"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        let name = line.split_once("agent").expect("a name").1;
        let name = name.split_whitespace().next().expect("a name").to_owned();
        names.push(name.rsplit('-').next().expect("letters").to_owned());
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn what_was_killed_goes_with_its_lease() {
    let site = Site::new();
    fs::write(site.file("go"), "").expect("a file");
    let mut exec = site.exec(&[], "echo $$ > $DIR/pid; exec $WHOAMI");
    wait_until("it is announced", || site.announced().len() == 2);
    exec.kill();
    wait_until("its lease ends", || site.announced().is_empty());
    let pid: i32 = read(&site.file("pid")).trim().parse().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("what it left");
}

#[test]
fn without_etcd_the_process_runs_and_is_announced_later() {
    let mut site = Site::new();
    site.etcd.kill();
    let mut exec = site.exec(
        &[],
        "trap 'kill $pid; exit 0' TERM; $WHOAMI & pid=$!; wait $pid",
    );
    exec.wait_for_log("the process answers");
    exec.wait_for_log("announcing is interrupted");
    site.runtime.block_on(site.etcd.run());
    wait_until("it is announced", || site.announced().len() == 2);
    site.etcd.kill();
    exec.signal(Signal::TERM);
    assert_eq!(
        exec.wait().code(),
        Some(0),
        "nobody to tell is no reason to stay"
    );
}

#[test]
fn what_cannot_be_started_or_announced_is_told() {
    let run = |command: &mut Command, code: i32, told: &str| {
        let run = command.output().expect("run pointsman");
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(code), "{text}");
        assert!(text.contains(told), "{text}");
    };
    let store = "etcd://127.0.0.1:1";
    run(
        command(store, 1).args(["--", "/no/such/program"]),
        127,
        "No such file",
    );
    run(
        command(store, 1).args(["--", "/etc/passwd"]),
        126,
        "ermission denied",
    );
    let mut wrong = command(store, 1);
    wrong.env("LB_INTERNAL_PORT", "http");
    run(
        wrong.args(["--", "true"]),
        2,
        "LB_INTERNAL_PORT is \"http\"",
    );
    for name in ["*", "p?", "a{b}"] {
        let mut pattern = support::command();
        pattern.env("LB_VIRTUAL_HOSTS", "web.test");
        pattern.args(["exec", "--store", store, "--service", name]);
        let told = "cannot be the name of a service";
        run(pattern.args(["--", "true"]), 2, told);
    }
    let mut silent = command(store, 1);
    silent
        .env_remove("LB_VIRTUAL_HOSTS")
        .env_remove("LB_INTERNAL_PORT");
    run(silent.args(["--", "true"]), 2, "nothing to announce");
}

#[test]
fn as_the_first_process_of_a_container_it_takes_the_ends_of_orphans() {
    let site = Site::new();
    let mut inner = command(&site.etcd.spec().to_string(), site.port);
    let script = "(sleep 0.3 &) ; sleep 1; ! grep -qs 'State:.*Z' /proc/[0-9]*/status";
    inner.args(["--", "sh", "-c", script]);
    let mut outer = Command::new("unshare");
    outer.args(["--pid", "--fork", "--mount-proc"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let run = outer.output().expect("unshare is a part of every system");
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    if told.contains("unshare:") {
        eprintln!(
            "!!! SKIPPED: no namespace can be made here ({told}), so no first process was seen"
        );
        return;
    }
    assert!(told.contains("process started"), "{told}");
    assert_eq!(run.status.code(), Some(0), "{told}");
}
