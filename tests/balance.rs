//! Which upstream of a service gets a request, and what health has to say about it.

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::client::Client;
use support::origin::{Conn, Gate, Origin, ok};
use support::pointsman::{Pointsman, Service, local};
use support::{free_port, wait_until};

fn saying_name(name: &'static str) -> Origin {
    Origin::saying(name)
}

fn service(balance: &str, origins: &[&Origin]) -> Service {
    origins.iter().fold(
        Service::http("web").hosts("h.test").key("balance", balance),
        |s, o| s.upstream(o.addr()),
    )
}

fn start(service: &Service) -> Pointsman {
    Pointsman::builder().service(service).start()
}

/// How often each name answered `count` requests, each on a connection of its own, so that every
/// worker takes part.
fn shares(pointsman: &Pointsman, count: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..count {
        *shares
            .entry(pointsman.get("h.test", "/").text())
            .or_default() += 1;
    }
    shares
}

#[test]
fn roundrobin_alternates_exactly_across_connections_and_workers() {
    let origins = [saying_name("a"), saying_name("b"), saying_name("c")];
    let pointsman = start(&service("RoundRobin", &origins.each_ref()));
    let names: Vec<_> = (0..30)
        .map(|_| pointsman.get("h.test", "/").text())
        .collect();
    for three in names.chunks(3) {
        let mut sorted = three.to_vec();
        sorted.sort();
        assert_eq!(sorted, ["a", "b", "c"], "{names:?}");
    }
}

#[test]
fn roundrobin_goes_on_where_it_was_when_another_service_changes() {
    let origins = [saying_name("a"), saying_name("b")];
    let pointsman = start(&service("roundrobin", &origins.each_ref()));
    let mut names = Vec::new();
    for i in 0..20 {
        pointsman
            .put_service(&Service::http(&format!("other-{i}")).hosts(&format!("other-{i}.test")));
        wait_until("the other service", || {
            pointsman.get(&format!("other-{i}.test"), "/").status() == 503
        });
        names.push(pointsman.get("h.test", "/").text());
    }
    assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
}

#[test]
fn weights_set_the_shares_and_0_takes_nothing_new() {
    let (a, b, c) = (saying_name("a"), saying_name("b"), saying_name("c"));
    let service = Service::http("web")
        .hosts("h.test")
        .key("upstreams/a", &format!("{} weight=3", a.addr()))
        .key("upstreams/b", &b.addr().to_string())
        .key("upstreams/c", &format!("{} weight=0", c.addr()));
    let pointsman = start(&service);
    let shares = shares(&pointsman, 40);
    assert_eq!((shares["a"], shares["b"], shares.get("c")), (30, 10, None));
}

#[test]
fn source_keeps_a_client_at_its_upstream_and_moves_few_when_one_goes() {
    let origins = [
        saying_name("a"),
        saying_name("b"),
        saying_name("c"),
        saying_name("d"),
    ];
    let pointsman = start(&service("source", &origins.each_ref()));
    let ask = |source: u8| {
        from_source(source, pointsman.http())
            .get("h.test", "/")
            .text()
    };
    let sources: Vec<u8> = (1..=60).collect();
    let before: Vec<_> = sources.iter().map(|s| ask(*s)).collect();
    for (source, name) in sources.iter().zip(&before) {
        assert_eq!(ask(*source), *name, "127.0.0.{source} moved");
    }
    for name in ["a", "b", "c", "d"] {
        assert!(
            before.iter().any(|n| n == name),
            "nobody is at {name}: {before:?}"
        );
    }
    pointsman.remove("services/web/upstreams/d");
    let of_d = sources[before
        .iter()
        .position(|n| n == "d")
        .expect("someone is at d")];
    wait_until("d to be left", || ask(of_d) != "d");
    let moved: Vec<_> = sources
        .iter()
        .zip(&before)
        .filter(|(s, n)| *n != "d" && ask(**s) != **n)
        .collect();
    assert!(
        moved.len() <= 6,
        "clients of upstreams that stayed moved: {moved:?}"
    );
}

/// A connection from 127.0.0.`last`.
fn from_source(last: u8, to: SocketAddr) -> Client {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let from: SocketAddr = ([127, 0, 0, last], 0).into();
    socket.bind(&from.into()).expect("an address of loopback");
    socket.connect(&to.into()).expect("connect");
    Client::over(socket.into()).expect("a client on it")
}

/// An origin that answers its name, but holds requests for /hold until the gate opens.
fn holding(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/hold" {
                gate.pass();
            }
            conn.send(ok(name));
        }
    })
}

#[test]
fn leastconn_leaves_a_busy_upstream_alone() {
    for word in ["leastconn", "leastcon"] {
        let gate = Gate::default();
        let (a, b) = (holding("a", &gate), holding("b", &gate));
        // One worker: another could see a new request before this one has noted the end of the last.
        let pointsman = Pointsman::builder()
            .service(&service(word, &[&a, &b]))
            .args(&["--workers", "1"])
            .start();
        // Two held requests lie one on each; a third makes one of them busier.
        let mut held: Vec<Client> = Vec::new();
        for count in 1..=3 {
            let mut client = pointsman.client();
            client.send("GET /hold HTTP/1.1\r\nHost: h.test\r\n\r\n");
            held.push(client);
            wait_until("the held request to arrive", || {
                a.requests().len() + b.requests().len() == count
            });
        }
        let busier = if a.requests().len() == 2 { "a" } else { "b" };
        assert_eq!(a.requests().len().abs_diff(b.requests().len()), 1, "{word}");
        for _ in 0..10 {
            assert_ne!(pointsman.get("h.test", "/").text(), busier, "{word}");
        }
        gate.open();
        for client in &mut held {
            assert_eq!(client.response().status(), 200);
        }
    }
}

#[test]
fn random_uses_every_upstream() {
    let origins = [saying_name("a"), saying_name("b")];
    let pointsman = start(&service("random", &origins.each_ref()));
    let shares = shares(&pointsman, 100);
    assert!(shares["a"] > 10 && shares["b"] > 10, "{shares:?}");
}

/// Short enough for a test, long enough for a busy machine.
fn with_checks(service: Service) -> Service {
    service
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key("health_check_timeout", "1s")
        .key("health_check_rise", "2")
        .key("health_check_fall", "2")
}

/// Answers `/health` as `healthy` says, and everything else with `name`.
fn checked(name: &'static str, healthy: &Arc<AtomicBool>) -> Origin {
    let healthy = healthy.clone();
    Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            if request.head.target() != "/health" {
                conn.send(ok(name));
            } else if healthy.load(Ordering::Relaxed) {
                conn.send(ok("fine"));
            } else {
                conn.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
            }
        }
    })
}

#[test]
fn an_upstream_that_fails_its_http_check_gets_nothing_until_it_passes_again() {
    let (of_a, of_b) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    let (a, b) = (checked("a", &of_a), checked("b", &of_b));
    let service = with_checks(service("roundrobin", &[&a, &b])).key("health_check_uri", "/health");
    let pointsman = start(&service);
    wait_until("both to be used", || shares(&pointsman, 10).len() == 2);
    of_a.store(false, Ordering::Relaxed);
    wait_until("a to be left alone", || {
        !shares(&pointsman, 10).contains_key("a")
    });
    let address = a.addr().to_string();
    wait_until("the change to be logged", || {
        let log = pointsman.log();
        let mut lines = log.lines();
        lines.any(|l| l.contains("upstream is down") && l.contains(&address))
    });
    of_b.store(false, Ordering::Relaxed);
    pointsman.wait_for_status("h.test", "/", 503);
    of_a.store(true, Ordering::Relaxed);
    pointsman.wait_for_status("h.test", "/", 200);
    wait_until("only a to be used", || {
        shares(&pointsman, 10).get("a") == Some(&10)
    });
}

#[test]
fn a_health_check_asks_at_a_port_of_its_own_where_one_is_given() {
    let works = Arc::new(AtomicBool::new(true));
    let (a, door) = (saying_name("a"), checked("door", &works));
    let service = with_checks(service("roundrobin", &[&a]))
        .key("health_check_uri", "/health")
        .key("health_check_port", &door.addr().port().to_string());
    let pointsman = start(&service);
    pointsman.wait_for_status("h.test", "/", 200);
    works.store(false, Ordering::Relaxed);
    pointsman.wait_for_status("h.test", "/", 503);
    works.store(true, Ordering::Relaxed);
    pointsman.wait_for_status("h.test", "/", 200);
    let asked = |origin: &Origin, target: &str| {
        let requests = origin.requests();
        requests.iter().any(|r| r.head.target() == target)
    };
    assert!(asked(&door, "/health") && !asked(&door, "/"));
    assert!(asked(&a, "/") && !asked(&a, "/health"));
}

#[test]
fn a_connect_check_finds_a_dead_upstream_and_its_return() {
    let a = saying_name("a");
    let port = free_port();
    let service = with_checks(service("roundrobin", &[&a])).upstream(local(port));
    let pointsman = start(&service);
    wait_until("the dead one to be known", || {
        pointsman.log().contains(&port.to_string()) && shares(&pointsman, 10).get("a") == Some(&10)
    });
    let listener = std::net::TcpListener::bind(local(port)).expect("the port is still free");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {
                    let _ = stream.write_all(&ok("b"));
                }
            });
        }
    });
    wait_until("its return", || shares(&pointsman, 10).get("b") == Some(&5));
}

#[test]
fn health_is_kept_when_the_service_changes() {
    let (of_a, of_b) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(true)),
    );
    let (a, b) = (checked("a", &of_a), checked("b", &of_b));
    let service = with_checks(service("roundrobin", &[&a, &b])).key("health_check_uri", "/health");
    let pointsman = start(&service);
    wait_until("a to be left alone", || {
        !shares(&pointsman, 10).contains_key("a")
    });
    for i in 0..10 {
        pointsman.put("services/web/timeout_server", format!("{}s", 30 + i));
        pointsman.put("services/web/virtual_hosts", format!("h.test,new-{i}.test"));
        wait_until("the change", || {
            pointsman.get(&format!("new-{i}.test"), "/").status() == 200
        });
        assert!(
            !shares(&pointsman, 10).contains_key("a"),
            "a dead upstream was asked after change {i}"
        );
    }
}

#[test]
fn upstreams_that_come_and_go_cost_no_request() {
    let (a, b) = (saying_name("a"), saying_name("b"));
    let pointsman = start(&service("roundrobin", &[&a]));
    let mut client = pointsman.client();
    for _ in 0..20 {
        pointsman.put("services/web/upstreams/b", b.addr().to_string());
        wait_until("b to be used", || client.get("h.test", "/").text() == "b");
        pointsman.remove("services/web/upstreams/b");
        wait_until("b to be left", || {
            let names = [
                client.get("h.test", "/").text(),
                client.get("h.test", "/").text(),
            ];
            assert!(names.iter().all(|n| n == "a" || n == "b"), "{names:?}");
            names == ["a", "a"]
        });
    }
}

#[test]
fn hosts_that_hang_do_not_keep_others_from_being_checked() {
    // A listener that takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_addr = silent.local_addr().unwrap();
    let mut dark = with_checks(Service::http("dark").hosts("dark.test"))
        .key("health_check_uri", "/health")
        .key("health_check_timeout", "3s");
    for i in 0..400 {
        dark = dark.key(&format!("upstreams/u{i}"), &silent_addr.to_string());
    }
    let healthy = Arc::new(AtomicBool::new(true));
    let origin = checked("a", &healthy);
    let service = with_checks(service("roundrobin", &[&origin])).key("health_check_uri", "/health");
    let pointsman = Pointsman::builder()
        .service(&service)
        .service(&dark)
        .start();
    pointsman.wait_for_status("h.test", "/", 200);
    wait_until("every dark upstream to be known as such", || {
        pointsman.log().matches("upstream is down").count() >= 400
    });
    healthy.store(false, Ordering::Relaxed);
    // Behind 400 checks of 3 s, 64 at once, it would come too late even for the patience of this wait.
    pointsman.wait_for_status("h.test", "/", 503);
}

#[test]
fn http_checks_ask_for_the_host_that_the_service_has_now() {
    let origin = Origin::saying("ok");
    let service = with_checks(service("roundrobin", &[&origin])).key("health_check_uri", "/health");
    let pointsman = start(&service);
    let asked_for = |host: &str| {
        let all = origin.requests();
        all.iter()
            .any(|r| r.head.target() == "/health" && r.head.header("host") == Some(host))
    };
    wait_until("a check for the host", || asked_for("h.test"));
    pointsman.put("services/web/virtual_hosts", "new.test");
    wait_until("a check for the new host", || asked_for("new.test"));
}
