//! HAProxy's commands on a unix socket: what they show, what they change, and the file of the socket.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use support::etcd::Etcd;
use support::haproxy::{csv, figure, lines, say, with_socket};
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::{LIMIT, free_port, wait_until};

const HOST: &str = "web.test";

fn two(origins: &[&Origin; 2]) -> Service {
    Service::http("web")
        .hosts(HOST)
        .key("upstreams/a", &format!("{} weight=8", origins[0].addr()))
        .key("upstreams/b", &origins[1].addr().to_string())
}

#[test]
fn a_server_that_is_drained_gets_nothing_until_it_is_ready_again() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let (pointsman, path, _dir) = with_socket(&[two(&[&a, &b])]);
    let key =
        || fs::read_to_string(pointsman.keys_dir().join("services/web/drain")).unwrap_or_default();
    let status = || figure(&lines(&csv(&pointsman)), "web", "a", "status");
    let all_at_b = || {
        for _ in 0..20 {
            assert_eq!(pointsman.get(HOST, "/").text(), "b");
        }
    };
    assert_eq!(status(), "no check");
    for (down, up) in [
        (
            "set server web/a state drain",
            "set server web/a state ready",
        ),
        ("set server web/a state maint", "enable server web/a"),
        ("disable server web/a", "set server web/a state ready"),
    ] {
        assert_eq!(say(&path, &format!("{down}\n")), "\n", "{down}");
        // It is in force when it is answered.
        all_at_b();
        assert_eq!((key().as_str(), status().as_str()), ("a", "DRAIN"));
        assert_eq!(say(&path, &format!("{down}\n")), "\n", "{down}");
        assert_eq!(say(&path, &format!("{up}\n")), "\n", "{up}");
        assert_eq!(key(), "");
        let texts: Vec<_> = (0..20).map(|_| pointsman.get(HOST, "/").text()).collect();
        assert!(texts.contains(&"a".to_owned()), "{texts:?}");
        assert_eq!(status(), "no check");
    }
    assert!(
        pointsman
            .log()
            .contains("keys written over the admin socket")
    );
}

#[test]
fn a_command_to_one_node_holds_for_all_of_them() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let service = two(&[&a, &b]);
    for (key, value) in service.keys() {
        runtime.block_on(etcd.put(&format!("/pointsman/lb/{key}"), value));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let store = etcd.spec().to_string();
    let east = Pointsman::builder()
        .node("east")
        .store(&store)
        .args(&["--admin-socket", &path.display().to_string()])
        .start();
    let west = Pointsman::builder().node("west").store(&store).start();
    assert_eq!(say(&path, "disable server web/a\n"), "\n");
    let only_b = |node: &Pointsman| (0..10).all(|_| node.get(HOST, "/").text() == "b");
    assert!(only_b(&east));
    wait_until("west drains it too", || only_b(&west));
    let keys = runtime.block_on(etcd.keys("/pointsman/lb/services/web/drain"));
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].1, "a");
    // Nothing that runs is changed by it, and it is answered all the same.
    assert_eq!(say(&path, "set weight web/a 50%\n"), "\n");
    let value = runtime.block_on(etcd.keys("/pointsman/lb/services/web/upstreams/a"));
    assert!(value[0].1.ends_with(" weight=4"), "{value:?}");
}

#[test]
fn weights_are_changed_in_keys_and_parts_are_of_the_first_one() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let (pointsman, path, _dir) = with_socket(&[two(&[&a, &b])]);
    let key = || {
        fs::read_to_string(pointsman.keys_dir().join("services/web/upstreams/a")).expect("the key")
    };
    let is = |weight: &str| assert_eq!(key(), format!("{} weight={weight}", a.addr()));
    assert_eq!(say(&path, "get weight web/a\n"), "8 (initial 8)\n\n");
    for (command, weight) in [
        ("set server web/a weight 50%", "4"),
        ("set weight web/a 25%", "2"),
        ("set weight web/a 0%", "0"),
        ("set weight web/a 100%", "8"),
        ("set server web/a weight 256", "256"),
        ("set weight web/a 1%", "1"),
    ] {
        assert_eq!(say(&path, &format!("{command}\n")), "\n", "{command}");
        is(weight);
        let now = figure(&lines(&csv(&pointsman)), "web", "a", "weight");
        assert_eq!(now, weight, "{command}");
    }
    assert_eq!(say(&path, "get weight web/a\n"), "1 (initial 8)\n\n");
    // What somebody else says is the first one from then on.
    pointsman.put(
        "services/web/upstreams/a",
        format!("{} weight=100", a.addr()),
    );
    assert_eq!(say(&path, "set weight web/a 50%\n"), "\n");
    is("50");
    pointsman.put("services/web/upstreams/a", format!("{} weight=0", a.addr()));
    let told = say(&path, "set weight web/a 50%\n");
    assert!(told.contains("say the weight itself"), "{told}");
    is("0");
}

#[test]
fn what_is_wrong_is_told_in_haproxys_words_and_else_exactly() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let (pointsman, path, _dir) = with_socket(&[two(&[&a, &b])]);
    for (command, told) in [
        ("set server web/z state drain", "No such server."),
        ("set server other/a state drain", "No such backend."),
        ("disable server web", "Require 'backend/server'."),
        ("get weight web/z", "No such server."),
        (
            "set weight web/a 300",
            "Absolute weight can only be between 0 and 256 inclusive.",
        ),
        ("show servers state other", "Can't find backend."),
        ("show stat other 4 -1", "No such proxy."),
        (
            "show stat typed",
            "'show stat' speaks its plain form alone here, and no 'typed'.",
        ),
    ] {
        assert_eq!(say(&path, &format!("{command}\n")), format!("{told}\n\n"));
    }
    let unknown = say(&path, "shutdown sessions server web/a\n");
    assert!(
        unknown.starts_with("Unknown command. Please enter one of"),
        "{unknown}"
    );
    // Judged before it is written, like every change.
    pointsman.put("services/web/balance", "sideways");
    pointsman.wait_for_status_words(&["sideways"]);
    let refused = say(&path, "set server web/a state drain\n");
    assert!(
        refused.contains("balance \"sideways\" is unknown"),
        "{refused}"
    );
    assert!(!pointsman.keys_dir().join("services/web/drain").exists());
}

#[test]
fn commands_show_what_runs() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let port = free_port();
    let db = Service::tcp("web", port).upstream(a.addr());
    let (pointsman, path, _dir) = with_socket(&[two(&[&a, &b]), db]);
    // A TCP service beside an HTTP service of its name.
    assert_eq!(say(&path, "show backend\n"), "# name\nweb\ntcp/web\n\n");
    let all = lines(&say(&path, "show stat\n"));
    assert_eq!(all, lines(&csv(&pointsman)));
    assert_eq!(figure(&all, "tcp/web", "FRONTEND", "status"), "OPEN");
    let iid = figure(&all, "tcp/web", "a", "iid");
    let sid = figure(&all, "tcp/web", "a", "sid");
    for (command, count) in [
        ("show stat -1 1 -1".to_owned(), 2),
        ("show stat -1 4 -1".to_owned(), 3),
        (format!("show stat {iid} 4 {sid}"), 1),
        ("show stat web 2 -1".to_owned(), 1),
        ("show stat web -1 -1".to_owned(), 3),
    ] {
        assert_eq!(
            lines(&say(&path, &format!("{command}\n"))).len(),
            count,
            "{command}"
        );
    }
    assert_eq!(say(&path, "disable server tcp/web/a\n"), "\n");
    assert_eq!(lines(&say(&path, "show stat up -1 4 -1\n")).len(), 2);
    let state = say(&path, "show servers state tcp/web\n");
    let expected = format!(
        "{iid} tcp/web {sid} a 127.0.0.1 2 8 0 0 0 1 0 0 0 0 0 0 - {} - 0 0 - - 0",
        a.addr().port()
    );
    assert_eq!(state.lines().nth(2), Some(&*expected), "{state}");
    let info = say(&path, "show info\n");
    for line in [
        format!("Version: {}", env!("CARGO_PKG_VERSION")),
        format!("Pid: {}", pointsman.id()),
        "node: test".to_owned(),
        "Maxconn: 100000".to_owned(),
        "Stopping: 0".to_owned(),
    ] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
    // Several commands in a line, and a line without an end.
    let version = format!("{}\n\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        say(&path, "show version; show backend\n"),
        format!("{version}# name\nweb\ntcp/web\n\n")
    );
    let mut stream = UnixStream::connect(&path).expect("connect");
    stream.write_all(b"show version").expect("send");
    stream.shutdown(std::net::Shutdown::Write).expect("the end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, version);
    assert!(say(&path, "help\n").contains("set server <bk>/<srv> state"));
}

#[test]
fn a_session_with_a_prompt_goes_on_until_it_quits() {
    let (_pointsman, path, _dir) = with_socket(&[]);
    let mut stream = UnixStream::connect(&path).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut say = |text: &str| {
        stream.write_all(text.as_bytes()).expect("send");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\n> ") && stream.read(&mut byte).expect("an answer") == 1 {
            answer.push(byte[0]);
        }
        String::from_utf8(answer).expect("text")
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(say("prompt\n"), "\n> ");
    assert_eq!(say("set timeout cli 60\n"), "\n> ");
    assert_eq!(say("show version\n"), format!("{version}\n\n> "));
    assert_eq!(say("enable server x/y\n"), "No such backend.\n\n> ");
    assert_eq!(say("quit\n"), "");
}

#[test]
fn nobody_keeps_a_place_at_the_socket_by_being_slow_or_endless() {
    let (_pointsman, path, _dir) = with_socket(&[]);
    let idle: Vec<_> = (0..16)
        .map(|_| UnixStream::connect(&path).expect("connect"))
        .collect();
    // All places are taken; the ones before lose theirs after their time.
    let version = format!("{}\n\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(say(&path, "show version\n"), version);
    drop(idle);
    let told = say(&path, &"x".repeat(20_000));
    assert_eq!(told, "a line has at most 16384 bytes\n\n");
}

// ---- the file of the socket

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_program() {
    let (mut pointsman, path, dir) = with_socket(&[]);
    let made = fs::symlink_metadata(&path).expect("the socket");
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    let names = fs::read_dir(dir.path()).expect("its directory").count();
    assert_eq!(names, 1, "nothing is left beside it");
    // One that was left behind is replaced.
    pointsman.kill();
    assert!(path.exists());
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert!(say(&path, "show info\n").contains("Name: pointsman"));
    pointsman.terminate();
    assert_eq!(pointsman.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_path_that_somebody_else_has_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    let start = |path: &Path| {
        let builder = Pointsman::builder().args(&["--admin-socket", &path.display().to_string()]);
        let mut pointsman = builder.without_waiting().start();
        assert_eq!(pointsman.wait().code(), Some(2));
        pointsman.log()
    };
    fs::write(&path, "precious").expect("a file");
    let told = start(&path);
    assert!(told.contains("is there already and is no socket"), "{told}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
    fs::remove_file(&path).expect("remove it");
    let other = UnixListener::bind(&path).expect("another process");
    let told = start(&path);
    assert!(told.contains("another process listens there"), "{told}");
    other.set_nonblocking(true).expect("a socket");
    assert!(path.exists());
    let told = start(&dir.path().join("not/there/sock"));
    assert!(told.contains("its directory has to be there"), "{told}");
    let told = start(&dir.path().join("x".repeat(100)));
    assert!(told.contains("longer than 90 bytes"), "{told}");
}
