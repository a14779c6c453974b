//! Counters of the node and of a service, when upstreams and services leave them: what is summed never falls.

mod support;

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use support::client::{Client, get};
use support::haproxy::{csv, figure, lines, say, with_socket};
use support::origin::{Conn, Gate, Origin, ok};
use support::pointsman::{Pointsman, Service, local};
use support::{free_port, wait_until};

fn count(node: &Pointsman, proxy: &str, server: &str, column: &str) -> u64 {
    let text = figure(&lines(&csv(node)), proxy, server, column);
    text.parse()
        .unwrap_or_else(|_| panic!("{column}: {text:?}"))
}

/// Of all listeners: what is summed over services.
fn of_node(node: &Pointsman) -> Vec<u64> {
    let columns = ["req_tot", "hrsp_2xx", "hrsp_4xx", "bin", "bout"];
    columns
        .map(|column| count(node, "http-in", "FRONTEND", column))
        .to_vec()
}

/// `CumReq` of `show info`.
fn cumulated(path: &Path) -> u64 {
    let info = say(path, "show info\n");
    let line = info.lines().find_map(|line| line.strip_prefix("CumReq: "));
    line.expect("CumReq").parse().expect("a number")
}

fn is_there(node: &Pointsman, proxy: &str, server: &str) -> bool {
    let key = (proxy.to_owned(), server.to_owned());
    lines(&csv(node)).contains_key(&key)
}

fn service(name: &str, origin: &Origin) -> Service {
    Service::http(name)
        .hosts(&format!("{name}.test"))
        .upstream(origin.addr())
}

#[test]
fn a_service_that_goes_takes_nothing_from_the_sums_and_comes_back_anew() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let (node, path, _dir) = with_socket(&[service("web", &a), service("other", &b)]);
    for _ in 0..5 {
        assert_eq!(node.get("web.test", "/").text(), "a");
        assert_eq!(node.get("other.test", "/").text(), "b");
    }
    wait_until("requests are over", || {
        count(&node, "http-in", "FRONTEND", "bout") > 0 && of_node(&node)[..2] == [10, 10]
    });
    let before = (of_node(&node), cumulated(&path));
    assert_eq!(before.1, 10);
    node.remove("services/other");
    wait_until("it is gone", || !is_there(&node, "other", "BACKEND"));
    assert_eq!((of_node(&node), cumulated(&path)), before);
    node.put_service(&service("other", &b));
    wait_until("it is back", || is_there(&node, "other", "BACKEND"));
    assert_eq!(count(&node, "other", "BACKEND", "req_tot"), 0);
    assert_eq!((of_node(&node), cumulated(&path)), before);
    node.wait_for_text("other.test", "/", "b");
    assert!(count(&node, "http-in", "FRONTEND", "hrsp_2xx") > 10);
}

#[test]
fn an_upstream_that_goes_takes_nothing_from_its_service() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let web = Service::http("web")
        .hosts("web.test")
        .key("health_check", "tcp")
        .key("health_check_interval", "100ms")
        .key("health_check_fall", "1")
        .upstream(a.addr())
        .upstream(b.addr());
    let dead = Service::http("dead")
        .hosts("dead.test")
        .upstream(local(free_port()));
    let (node, _path, _dir) = with_socket(&[web, dead]);
    wait_until("both are up", || count(&node, "web", "BACKEND", "act") == 2);
    for _ in 0..8 {
        assert_eq!(node.get("web.test", "/").status(), 200);
    }
    assert_eq!(count(&node, "web", "b", "lbtot"), 4);
    for _ in 0..3 {
        assert_eq!(node.get("dead.test", "/").status(), 503);
    }
    drop(b);
    wait_until("b goes down", || count(&node, "web", "b", "chkdown") == 1);
    let columns = [
        ("web", "lbtot"),
        ("web", "chkdown"),
        ("web", "hrsp_2xx"),
        ("dead", "lbtot"),
        ("dead", "econ"),
        ("dead", "eresp"),
    ];
    let sums = || columns.map(|(proxy, column)| count(&node, proxy, "BACKEND", column));
    let before = sums();
    assert_eq!((before[0], before[1]), (8, 1));
    assert!(before[4] >= 3, "{before:?}");
    node.remove("services/web/upstreams/b");
    node.put("services/dead/upstreams/a", a.addr().to_string());
    wait_until("they are gone", || {
        let all = lines(&csv(&node));
        !is_there(&node, "web", "b") && figure(&all, "dead", "a", "addr") == a.addr().to_string()
    });
    assert_eq!(sums(), before);
    assert_eq!(count(&node, "dead", "a", "econ"), 0);
    node.wait_for_text("dead.test", "/", "a");
    assert!(sums()[3] > before[3], "it counts on");
}

#[test]
fn what_is_under_way_when_its_service_goes_is_counted_when_it_is_over() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = Origin::scripted(move |conn: &mut Conn| {
        while conn.request().is_some() {
            held.pass();
            conn.send(ok("late"));
        }
    });
    let echo = Origin::scripted(|conn: &mut Conn| {
        loop {
            let bytes = conn.some();
            if bytes.is_empty() {
                return;
            }
            conn.send(bytes);
        }
    });
    let port = free_port();
    let db = Service::tcp("db", port).upstream(echo.addr());
    // Without any service the tree would be held back.
    let stays = service("stays", &slow);
    let (node, path, _dir) = with_socket(&[service("slow", &slow), db, stays]);
    let mut asked = Client::connect(node.http());
    asked.send("GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n");
    slow.wait_for(1);
    let mut flow = TcpStream::connect(local(port)).expect("connect");
    let mut said = |byte: u8| {
        let mut back = [0];
        flow.write_all(&[byte]).expect("send");
        flow.read_exact(&mut back).expect("an echo");
        assert_eq!(back, [byte]);
    };
    said(1);
    wait_until("the flow is counted", || cumulated(&path) == 1);
    node.remove("tcp-services/db");
    node.remove("services/slow");
    wait_until("both are gone", || {
        !is_there(&node, "db", "BACKEND") && !is_there(&node, "slow", "BACKEND")
    });
    said(2);
    assert_eq!(cumulated(&path), 1);
    gate.open();
    assert_eq!(asked.response().text(), "late");
    wait_until("the answer is counted", || {
        cumulated(&path) == 2 && count(&node, "http-in", "FRONTEND", "hrsp_2xx") == 1
    });
    drop(flow);
    wait_until("its bytes are counted", || {
        count(&node, "http-in", "FRONTEND", "bout") > 0
    });
    assert_eq!(cumulated(&path), 2);
}

/// Ends the others when it is dropped, and so when a test fails too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn sums_never_fall_while_services_and_upstreams_come_and_go() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let web = service("web", &a).upstream(b.addr());
    let (node, path, _dir) = with_socket(&[web, service("other", &b)]);
    let is_over = AtomicBool::new(false);
    let ask = |host: &str| {
        // Whoever comes while nothing is there is told so.
        let answer = get(node.http(), host, "/");
        assert!([200, 404].contains(&answer.status()), "{}", answer.status());
    };
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let asking = ["web.test", "other.test"].map(|host| {
            let (ask, is_over) = (&ask, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    ask(host);
                }
            })
        });
        let looking = scope.spawn(|| {
            let (mut last, mut looks) = ([0; 3], 0);
            while !is_over.load(Ordering::Relaxed) {
                let now = [
                    cumulated(&path),
                    count(&node, "http-in", "FRONTEND", "req_tot"),
                    count(&node, "web", "BACKEND", "lbtot"),
                ];
                for (now, last) in now.iter().zip(&last) {
                    assert!(now >= last, "{now:?} after {last:?}");
                }
                (last, looks) = (now, looks + 1);
            }
            looks
        });
        for _ in 0..12 {
            node.remove("services/other");
            node.remove("services/web/upstreams/b");
            wait_until("they are gone", || {
                !is_there(&node, "other", "BACKEND") && !is_there(&node, "web", "b")
            });
            node.put("services/web/upstreams/b", b.addr().to_string());
            node.put_service(&service("other", &b));
            wait_until("they are back", || {
                is_there(&node, "other", "BACKEND") && is_there(&node, "web", "b")
            });
        }
        drop(over);
        for asking in asking {
            asking.join().expect("answers");
        }
        assert!(looking.join().expect("sums that rise") > 12);
    });
}
