//! Tools for HAProxy, pointed at us: its CSV, its exporter, its commands on a unix socket, and what the HTTP listeners
//! show at `stats_uri`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::client::{Client, exchange, get};
use support::etcd::Etcd;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::process::Process;
use support::transport::{Ask, on_every_transport};
use support::{LIMIT, free_port, wait_until};
use tempfile::TempDir;

const HOST: &str = "web.test";

// ---- reading lines

/// Each line by proxy and server, and in it each column that is not empty, by its name.
type Lines = BTreeMap<(String, String), BTreeMap<String, String>>;

fn lines(csv: &str) -> Lines {
    let mut rows = csv.lines().filter(|line| !line.is_empty());
    let header = rows.next().expect("a header");
    let names = header.strip_prefix("# ").expect("a comment");
    let names: Vec<_> = names.split(',').collect();
    let mut all = Lines::new();
    for row in rows {
        let cells = cells(row);
        assert_eq!(cells.len(), names.len(), "{row}");
        let filled = names
            .iter()
            .zip(&cells)
            .filter(|(_, cell)| !cell.is_empty());
        let of = filled.map(|(name, cell)| ((*name).to_owned(), cell.clone()));
        let key = (cells[0].clone(), cells[1].clone());
        assert!(all.insert(key, of.collect()).is_none(), "twice: {row}");
    }
    all
}

fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for c in row.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().expect("a cell").push(c),
        }
    }
    cells
}

fn csv(pointsman: &Pointsman) -> String {
    let answer = get(pointsman.stats(), "localhost", "/;csv");
    assert_eq!(answer.status(), 200);
    answer.text()
}

#[track_caller]
fn figure(all: &Lines, proxy: &str, server: &str, column: &str) -> String {
    let line = all.get(&(proxy.to_owned(), server.to_owned()));
    let line = line.unwrap_or_else(|| panic!("no line {proxy} {server} in {all:?}"));
    line.get(column).cloned().unwrap_or_default()
}

// ---- the socket

fn say(path: &Path, text: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("connect to the socket");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(text.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A balancer with an admin socket. The directory goes with the test.
fn with_socket(services: &[Service]) -> (Pointsman, PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let mut builder = Pointsman::builder().args(&["--admin-socket", &path.display().to_string()]);
    for service in services {
        builder = builder.service(service);
    }
    (builder.start(), path, dir)
}

// ---- the real one

/// A HAProxy with this configuration, and its socket.
fn haproxy(config: &str) -> (Process, PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, socket) = (dir.path().join("cfg"), dir.path().join("sock"));
    let global = format!("global\n  stats socket {} level admin\n", socket.display());
    fs::write(&file, global + config).expect("a configuration");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let haproxy = Process::start(command);
    wait_until("haproxy listens; scripts/needs installs it", || {
        UnixStream::connect(&socket).is_ok()
    });
    (haproxy, socket, dir)
}

#[test]
fn lines_are_those_of_haproxy_for_the_same_upstreams_and_requests() {
    let (good, checked) = (Origin::saying("a"), Origin::saying("b"));
    let (front, dead, tcp) = (free_port(), free_port(), free_port());
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         frontend http-in\n  bind 127.0.0.1:{front}\n  default_backend web\n\
         backend web\n  balance leastconn\n  cookie SRV insert\n  \
         server a {good} weight 5 check inter 100ms cookie a\n  \
         server b 127.0.0.1:{dead} check inter 100ms cookie b\n\
         backend probed\n  option httpchk GET /\n  http-check expect status 404\n  \
         server a {checked} check inter 100ms\n\
         backend plain\n  server a {good}\n\
         listen db\n  mode tcp\n  balance source\n  bind 127.0.0.1:{tcp}\n  server a {good} check inter 100ms\n",
        good = good.addr(),
        checked = checked.addr(),
    );
    let (_haproxy, socket, _dir) = haproxy(&config);

    let own_tcp = free_port();
    let web = Service::http("web")
        .hosts(HOST)
        .without("health_check")
        .key("balance", "leastconn")
        .key("cookie", "SRV insert")
        .key("cookie_value", "name")
        .key("health_check_interval", "100ms")
        .key("upstreams/a", &format!("{} weight=5", good.addr()))
        .key("upstreams/b", &format!("127.0.0.1:{dead}"));
    let probed = Service::http("probed")
        .hosts("probed.test")
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key(
            "custom_settings",
            "option httpchk GET /\nhttp-check expect status 404",
        )
        .upstream(checked.addr());
    let db = Service::tcp("db", own_tcp)
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key("balance", "source")
        .upstream(good.addr());
    let pointsman = Pointsman::builder()
        .service(&web)
        .service(&probed)
        .service(
            &Service::http("plain")
                .hosts("plain.test")
                .upstream(good.addr()),
        )
        .service(&db)
        .start();
    let theirs = || lines(&say(&socket, "show stat\n"));
    let ours = || lines(&csv(&pointsman));
    for state in [&theirs as &dyn Fn() -> Lines, &ours] {
        wait_until("checks have been made", || {
            let all = state();
            let is = |proxy, server, column, value| figure(&all, proxy, server, column) == value;
            is("web", "b", "status", "DOWN")
                && is("web", "a", "check_status", "L4OK")
                && is("probed", "a", "status", "DOWN")
                && is("probed", "a", "check_status", "L7STS")
                && is("db", "a", "check_status", "L4OK")
        });
    }
    for address in [([127, 0, 0, 1], front).into(), pointsman.http()] {
        for _ in 0..3 {
            assert_eq!(get(address, HOST, "/").text(), "a");
        }
        // Nothing is told of one that is under way.
        let mut client = Client::connect(address);
        assert_eq!(client.get(HOST, "/").text(), "a");
    }
    for port in [tcp, own_tcp] {
        let address = ([127, 0, 0, 1], port).into();
        assert_eq!(get(address, HOST, "/").text(), "a");
    }
    wait_until("flows have ended", || {
        let is_over = |all: &Lines| figure(all, "db", "BACKEND", "scur") == "0";
        is_over(&theirs()) && is_over(&ours())
    });
    let (theirs, ours) = (theirs(), ours());
    let keys = |lines: &Lines| lines.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&theirs), keys(&ours));
    // What both count, and count alike.
    let common = [
        "pxname",
        "svname",
        "qcur",
        "scur",
        "stot",
        "econ",
        "eresp",
        "status",
        "weight",
        "act",
        "bck",
        "pid",
        "lbtot",
        "type",
        "check_status",
        "check_code",
        "check_desc",
        "check_rise",
        "check_fall",
        "check_health",
        "hrsp_1xx",
        "hrsp_2xx",
        "hrsp_3xx",
        "hrsp_4xx",
        "hrsp_5xx",
        "hrsp_other",
        "req_tot",
        "addr",
        "cookie",
        "mode",
        "algo",
        "uweight",
        "-",
    ];
    // Of these HAProxy counts what we do not: see docs/haproxy_tools.md.
    let apart = |server: &str, column: &str| match server {
        "FRONTEND" => ["stot", "scur"].contains(&column),
        "BACKEND" => column == "bck",
        // Its own answers of each upstream, and what a server that is down was worth.
        _ => column.starts_with("hrsp_") || ["econ", "eresp", "req_tot"].contains(&column),
    };
    let mut apart_too = Vec::new();
    for ((proxy, server), line) in &theirs {
        for column in common.iter().filter(|column| !apart(server, column)) {
            let ours = figure(&ours, proxy, server, column);
            let theirs = line.get(*column).cloned().unwrap_or_default();
            if ours != theirs {
                apart_too.push(format!(
                    "{column} of {proxy} {server}: {ours}, and {theirs} of HAProxy"
                ));
            }
        }
    }
    assert!(apart_too.is_empty(), "{apart_too:#?}");
    // What both measure, each in its own way.
    let number = |lines: &Lines, proxy, server, column: &str| -> u64 {
        let text = figure(lines, proxy, server, column);
        text.parse()
            .unwrap_or_else(|_| panic!("{column} of {proxy} {server}: {text:?}"))
    };
    for lines in [&ours, &theirs] {
        for (proxy, server) in [
            ("http-in", "FRONTEND"),
            ("web", "BACKEND"),
            ("db", "FRONTEND"),
            ("db", "BACKEND"),
        ] {
            for column in ["bin", "bout"] {
                let bytes = number(lines, proxy, server, column);
                assert!(
                    (1..10_000).contains(&bytes),
                    "{column} of {proxy} {server}: {bytes}"
                );
            }
        }
        assert!(number(lines, "web", "b", "chkfail") > 0);
        assert!(number(lines, "web", "a", "lastchg") < 600);
        assert!(number(lines, "web", "BACKEND", "rate") < 100);
    }
}

#[test]
fn the_header_is_that_of_the_installed_haproxy() {
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
         listen x\n  bind 127.0.0.1:{}\n",
        free_port()
    );
    let (_haproxy, socket, _dir) = haproxy(&config);
    let version = say(&socket, "show version\n");
    let first = |text: &str| text.lines().next().expect("a line").to_owned();
    let header = first(&say(&socket, "show stat\n"));
    let pointsman = Pointsman::builder().start();
    assert_eq!(first(&csv(&pointsman)), header, "of HAProxy {version}");
    let state = say(&socket, "show servers state\n");
    let (pointsman, path, _dir) = with_socket(&[]);
    assert_eq!(say(&path, "show servers state\n"), state);
    drop(pointsman);
}

#[test]
fn the_csv_is_there_under_every_spelling_and_has_no_end() {
    let mut builder = Pointsman::builder();
    for n in 0..12 {
        let mut service = Service::http(&format!("s{n:02}")).hosts(&format!("s{n}.test"));
        for m in 0..200 {
            service = service.key(&format!("upstreams/u{m}"), &format!("10.0.0.1:{}", m + 1));
        }
        builder = builder.service(&service);
    }
    let pointsman = builder
        .setting("stats_uri", "/lbstats")
        .setting("stats_auth", "none")
        .start();
    for target in [
        "/;csv",
        "/stats;csv",
        "/stats;csv;norefresh",
        "/haproxy?stats;csv",
        "/?;csv",
        "/admin?stats;csv;norefresh",
    ] {
        let answer = get(pointsman.stats(), "localhost", target);
        assert_eq!(answer.status(), 200, "{target}");
        let kind = answer.header("content-type").expect("a type");
        assert!(kind.starts_with("text/plain"), "{kind}");
        // A header, the listeners, and each service and upstream.
        assert_eq!(answer.text().lines().count(), 2 + 12 * 201, "{target}");
    }
    on_every_transport(&pointsman, |transport| {
        let answer = transport.get(HOST, "/lbstats;csv");
        assert_eq!(answer.text().lines().count(), 2 + 12 * 201);
    });
    for page in ["/stats", "/haproxy?stats"] {
        let answer = get(pointsman.stats(), "localhost", page);
        assert_eq!(
            (answer.status(), answer.header("location")),
            (307, Some("/"))
        );
    }
    let post =
        "POST /;csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_ne!(exchange(pointsman.stats(), post).status(), 200);
}

#[test]
fn numbers_of_lines_stay_through_changes_and_starts() {
    let service = |name: &str| {
        let service = Service::http(name).hosts(&format!("{name}.test"));
        service.upstream(([10, 0, 0, 1], 80).into())
    };
    let mut pointsman = Pointsman::builder()
        .service(&service("web"))
        .service(&service("api"))
        .start();
    let ids = |pointsman: &Pointsman| {
        let all = lines(&csv(pointsman));
        let of = |server, column| figure(&all, "web", server, column);
        [
            of("BACKEND", "iid"),
            of("a", "iid"),
            of("a", "sid"),
            of("BACKEND", "sid"),
        ]
    };
    let first = ids(&pointsman);
    assert_eq!(first[0], first[1]);
    assert_eq!(first[3], "0");
    pointsman.remove("services/api");
    pointsman.put_service(&service("first"));
    wait_until("another service is there", || {
        csv(&pointsman).contains("\nfirst,BACKEND,")
    });
    assert_eq!(ids(&pointsman), first);
    pointsman.kill();
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert_eq!(ids(&pointsman), first);
}

// ---- the exporter

#[test]
fn the_exporter_for_prometheus_scrapes_us_as_it_does_haproxy() {
    let origin = Origin::saying("fine");
    let web = Service::http("web")
        .hosts(HOST)
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key("upstreams/dead", &format!("127.0.0.1:{}", free_port()))
        .key("upstreams/a", &origin.addr().to_string());
    let pointsman = Pointsman::builder().service(&web).start();
    wait_until("checks have been made", || {
        let all = lines(&csv(&pointsman));
        figure(&all, "web", "dead", "status") == "DOWN"
            && figure(&all, "web", "a", "status") == "UP"
    });
    for _ in 0..7 {
        assert_eq!(pointsman.get(HOST, "/").text(), "fine");
    }
    let port = free_port();
    let mut command = Command::new("prometheus-haproxy-exporter");
    command
        .arg(format!(
            "--haproxy.scrape-uri=http://{}/;csv",
            pointsman.stats()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let exporter = Process::start(command);
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the exporter listens; scripts/needs installs it", || {
        Client::try_connect(address).is_ok()
    });
    let text = get(address, "localhost", "/metrics").text();
    let sample = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().expect("a value").to_owned()
    };
    assert_eq!(sample("haproxy_up"), "1");
    assert_eq!(sample("haproxy_exporter_csv_parse_failures_total"), "0");
    assert_eq!(
        sample("haproxy_server_up{backend=\"web\",server=\"a\"}"),
        "1"
    );
    assert_eq!(
        sample("haproxy_server_up{backend=\"web\",server=\"dead\"}"),
        "0"
    );
    assert_eq!(sample("haproxy_backend_up{backend=\"web\"}"), "1");
    let answers = "haproxy_backend_http_responses_total{backend=\"web\",code=\"2xx\"}";
    assert_eq!(sample(answers), "7");
    assert_eq!(
        sample("haproxy_server_sessions_total{backend=\"web\",server=\"a\"}"),
        "7"
    );
    assert!(!exporter.log().contains("Can't"), "{}", exporter.log());
}

// ---- commands

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

// ---- in band

#[test]
fn however_many_ask_for_figures_traffic_goes_on() {
    let origin = Origin::saying("web");
    let mut builder = Pointsman::builder().setting("stats_uri", "/lbstats");
    for n in 0..40 {
        let mut service = Service::http(&format!("s{n:02}")).hosts(&format!("s{n}.test"));
        for m in 0..100 {
            service = service.key(&format!("upstreams/u{m}"), &format!("10.0.0.1:{}", m + 1));
        }
        builder = builder.service(&service);
    }
    let pointsman = builder
        .service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
        .setting("stats_auth", "none")
        .start();
    let lines = 2 + 40 * 101 + 2;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| pointsman.get(HOST, "/lbstats;csv")))
            .collect();
        for _ in 0..100 {
            assert_eq!(pointsman.get(HOST, "/").text(), "web");
        }
        let mut whole = 0;
        for asked in asking {
            let answer = asked.join().expect("an answer");
            match answer.status() {
                200 => {
                    whole += 1;
                    assert_eq!(answer.text().lines().count(), lines);
                }
                503 => assert_eq!(answer.header("retry-after"), Some("1")),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert!(whole > 0, "somebody was answered");
    });
    assert_eq!(pointsman.get(HOST, "/lbstats;csv").status(), 200);
}

#[test]
fn the_page_is_shown_in_band_read_only_and_nothing_else_of_the_admin_listener() {
    let origin = Origin::saying("web");
    let service = Service::http("web").hosts(HOST).upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("stats_uri", "/lbstats")
        .setting("stats_auth", "none")
        .start();
    let page = get(pointsman.stats(), "localhost", "/").text();
    assert!(page.contains("pointsman"), "{page}");
    on_every_transport(&pointsman, |transport| {
        let moved = transport.get(HOST, "/lbstats");
        assert_eq!(
            (moved.status(), moved.header("location")),
            (307, Some("/lbstats/"))
        );
        let answer = transport.get("nobody.test", "/lbstats/");
        assert_eq!((answer.status(), answer.text()), (200, page.clone()));
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        for csv in ["/lbstats;csv", "/lbstats/;csv", "/lbstats?stats;csv"] {
            let all = lines(&transport.get(HOST, csv).text());
            assert_eq!(figure(&all, "web", "BACKEND", "status"), "UP");
        }
        for json in [
            "/lbstats/v1/overview?history=1",
            "/lbstats/v1/running/services?q=web&size=5",
            "/lbstats/v1/running/services/http/web",
            "/lbstats/v1/running/upstreams",
            "/lbstats/v1/running/listeners",
            "/lbstats/v1/running/certificates",
            "/lbstats/v1/generations",
            "/lbstats/v1/refused",
            "/lbstats/v1/events?after=0",
            "/lbstats/v1/nodes",
        ] {
            let answer = transport.get(HOST, json);
            assert_eq!(answer.status(), 200, "{json}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/json"));
            serde_json::from_slice::<serde_json::Value>(&answer.body.bytes).expect("JSON");
        }
        // What is refused there is refused here, with the same words.
        let refused = transport.get(HOST, "/lbstats/v1/running/services?size=x");
        assert_eq!(refused.status(), 400);
        assert!(refused.text().contains("error"), "{}", refused.text());
        let head = transport.ask(&Ask::new("HEAD", HOST, "/lbstats/;csv"));
        assert_eq!((head.status(), head.text()), (200, String::new()));
        let post = transport.ask(&Ask::new("POST", HOST, "/lbstats/v1/overview"));
        assert_eq!(post.status(), 405);
        // Whatever is not shown is the service's, as every other path.
        for target in [
            "/lbstats/v1/services",
            "/lbstats/v1/services/web/upstreams/a/drain",
            "/lbstats/v1/plan",
            "/lbstats/v1/status",
            "/lbstats/v1/stream",
            "/lbstats/metrics",
            "/lbstats/live",
        ] {
            assert_eq!(transport.get(HOST, target).text(), "web", "{target}");
        }
    });
}
