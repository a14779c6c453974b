//! HAProxy's CSV: its lines beside those of the real one, its exporter, its numbers through changes.

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use support::client::{Client, exchange, get};
use support::haproxy::{Lines, csv, figure, lines, say, with_socket};
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::process::Process;
use support::transport::on_every_transport;
use support::{free_port, wait_until};
use tempfile::TempDir;

const HOST: &str = "web.test";

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
