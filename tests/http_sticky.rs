//! Clients that stick to an upstream: by the balancer's cookie, by the application's, by the hash of
//! one. Each behaviour is described once and holds on every transport.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::message::Response;
use support::origin::{Conn, Gate, Origin, ok};
use support::pointsman::{Pointsman, Service, local};
use support::transport::{Ask, Transport, on_every_transport};
use support::{free_port, wait_until};

/// An application that answers its name, with the status in `x-status` and each `x-set` as a
/// `Set-Cookie`, each `x-cache` as a `Cache-Control`.
fn app(name: &'static str) -> Origin {
    Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            let head = &request.head;
            let status = head.header("x-status").unwrap_or("200");
            let mut answer = format!("HTTP/1.1 {status} Fine\r\n");
            for (ask, field) in [("x-set", "Set-Cookie"), ("x-cache", "Cache-Control")] {
                for value in head.all(ask) {
                    answer += &format!("{field}: {value}\r\n");
                }
            }
            let has_body = !["204", "304"].contains(&status);
            if has_body {
                answer += &format!("Content-Length: {}\r\n", name.len());
            }
            answer += "\r\n";
            if has_body && head.method() != "HEAD" {
                answer += name;
            }
            conn.send(answer);
        }
    })
}

fn apps<const N: usize>(names: [&'static str; N]) -> [Origin; N] {
    names.map(app)
}

fn service(origins: &[Origin]) -> Service {
    let service = Service::http("web").hosts("h.test");
    origins
        .iter()
        .fold(service, |service, origin| service.upstream(origin.addr()))
}

fn start(service: &Service) -> Pointsman {
    Pointsman::builder().service(service).start()
}

fn ask() -> Ask {
    Ask::get("h.test", "/")
}

fn with_cookie(cookie: &str) -> Ask {
    ask().header("Cookie", cookie)
}

/// The only `Set-Cookie` of an answer.
#[track_caller]
fn set_cookie(response: &Response) -> String {
    let all = response.head.all("set-cookie");
    assert_eq!(all.len(), 1, "{response:?}");
    all[0].to_owned()
}

#[track_caller]
fn assert_sets_none(response: &Response) {
    assert!(!response.head.has("set-cookie"), "{response:?}");
    assert!(!response.head.has("cache-control"), "{response:?}");
}

/// `name=value` of a `Set-Cookie`, as a client sends it back.
fn sent_back(set: &str) -> &str {
    set.split(';').next().expect("a first part")
}

/// The `Cookie` lines of the latest request at any of the origins.
fn cookies_seen(origin: &Origin) -> Vec<String> {
    let requests = origin.requests();
    let last = requests.last().expect("a request");
    let lines = last.head.all("cookie");
    lines.into_iter().map(str::to_owned).collect()
}

/// Asks by `cookie` a few times, so that a turn of roundrobin would show, and answers who it was.
#[track_caller]
fn stays(transport: &mut Transport, cookie: &str) -> String {
    let names: HashSet<_> = (0..5)
        .map(|_| {
            let response = transport.ask(&with_cookie(cookie));
            assert_sets_none(&response);
            response.text()
        })
        .collect();
    assert_eq!(names.len(), 1, "{cookie}: {names:?}");
    names.into_iter().next().expect("one")
}

#[test]
fn the_first_answer_says_where_the_client_belongs_and_it_stays_there() {
    let origins = apps(["a", "b", "c"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        let mut homes = HashSet::new();
        for _ in 0..3 {
            let first = transport.ask(&ask());
            let home = first.text();
            let set = set_cookie(&first);
            let secure = if transport.is_tls() { "; Secure" } else { "" };
            assert_eq!(
                set,
                format!("LB_SERVERID={home}; path=/; HttpOnly; SameSite=Lax{secure}")
            );
            assert_eq!(first.header("cache-control"), Some("private"));
            assert_eq!(stays(transport, sent_back(&set)), home);
            homes.insert(home);
        }
        assert_eq!(homes.len(), 3, "clients without a cookie are spread");
    });
}

#[test]
fn with_kontenas_habits_the_cookie_has_kontenas_name() {
    let origins = apps(["a", "b"]);
    let pointsman = Pointsman::builder()
        .service(&service(&origins).key("cookie", ""))
        .args(&["--compat", "kontena"])
        .start();
    on_every_transport(&pointsman, |transport| {
        let set = set_cookie(&transport.ask(&ask()));
        assert!(set.starts_with("KONTENA_SERVERID="), "{set}");
        stays(transport, sent_back(&set));
        assert!(
            transport
                .ask(&with_cookie("LB_SERVERID=a"))
                .head
                .has("set-cookie")
        );
    });
    pointsman.put("settings/compat", "pointsman");
    wait_until("the other name", || {
        set_cookie(&pointsman.get("h.test", "/")).starts_with("LB_SERVERID=")
    });
}

#[test]
fn the_application_sees_every_cookie_but_the_balancers() {
    let origins = apps(["a"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        let mut check = |sent: &[&str], seen: &[&str]| {
            let ask = sent.iter().fold(ask(), |ask, c| ask.header("Cookie", c));
            assert_eq!(transport.ask(&ask).text(), "a");
            assert_eq!(cookies_seen(&origins[0]), seen, "{sent:?}");
        };
        check(&["x=1; y=2"], &["x=1; y=2"]);
        check(&["LB_SERVERID=a"], &[]);
        check(&["LB_SERVERID=a; x=1"], &["x=1"]);
        check(&["x=1;LB_SERVERID=a ; y = \"2\""], &["x=1; y = \"2\""]);
        check(&["x=1", "LB_SERVERID=a", "y=2"], &["x=1", "y=2"]);
        check(
            &["LB_SERVERID=a; x=1", "y=2; LB_SERVERID=b"],
            &["x=1", "y=2"],
        );
        check(&["LB_SERVERID=gone; LB_SERVERID=; x=1"], &["x=1"]);
        check(
            &["lb_serverid=a; LB_SERVERIDX=a; LB_SERVERID"],
            &["lb_serverid=a; LB_SERVERIDX=a; LB_SERVERID"],
        );
    });
}

#[test]
fn a_cookie_that_names_nobody_is_put_right_in_the_same_answer() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        for cookie in ["LB_SERVERID=gone", "LB_SERVERID=", "LB_SERVERID=A", "x=1"] {
            let response = transport.ask(&with_cookie(cookie));
            let set = set_cookie(&response);
            let home = format!("LB_SERVERID={}", response.text());
            assert_eq!(sent_back(&set), home, "{cookie}");
        }
    });
}

#[test]
fn hostile_cookies_are_answered_and_lead_nowhere_but_home() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    let many = "LB_SERVERID=x;".repeat(900);
    let long = format!("LB_SERVERID={}", "a".repeat(12_000));
    let pairs = "k=v; ".repeat(2_400);
    on_every_transport(&pointsman, |transport| {
        for cookie in [
            "",
            ";",
            "=",
            ";;=;=;",
            "LB_SERVERID",
            "=LB_SERVERID",
            "LB_SERVERID=\"",
            "LB_SERVERID=|||",
            "LB_SERVERID=a|",
            "LB_SERVERID=a~b",
            "LB_SERVERID=../../a",
            "LB_SERVERID=%61",
            "LB_SERVERID=\u{e9}",
            "LB_SERVERID = \" a \"",
            "\"LB_SERVERID=a\"",
            &many,
            &long,
            &pairs,
        ] {
            let response = transport.ask(&with_cookie(cookie));
            assert_eq!(response.status(), 200, "{cookie}");
        }
        for cookie in [
            "LB_SERVERID=b",
            "x;LB_SERVERID=b",
            "LB_SERVERID=\"b\"",
            "x=\"1; LB_SERVERID=b;",
            "\tLB_SERVERID =\tb\t",
            "LB_SERVERID=nobody; LB_SERVERID=b",
            &format!("{many}LB_SERVERID=b"),
            &format!("{pairs}LB_SERVERID=b"),
        ] {
            assert_eq!(stays(transport, cookie), "b", "{cookie}");
        }
    });
}

#[test]
fn a_weight_of_0_keeps_the_clients_it_has_and_gets_no_more() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    pointsman.put(
        "services/web/upstreams/b",
        format!("{} weight=0", origins[1].addr()),
    );
    wait_until("b to get nobody new", || {
        (0..4).all(|_| pointsman.get("h.test", "/").text() == "a")
    });
    on_every_transport(&pointsman, |transport| {
        assert_eq!(stays(transport, "LB_SERVERID=b"), "b");
        for _ in 0..4 {
            assert_eq!(transport.ask(&ask()).text(), "a");
        }
    });
}

#[test]
fn a_client_of_a_removed_upstream_gets_another_home() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    assert_eq!(stays(&mut one(&pointsman), "LB_SERVERID=b"), "b");
    pointsman.remove("services/web/upstreams/b");
    wait_until("b to be gone", || {
        !pointsman
            .plan()
            .dump
            .contains(&origins[1].addr().to_string())
    });
    on_every_transport(&pointsman, |transport| {
        let response = transport.ask(&with_cookie("LB_SERVERID=b"));
        assert_eq!(response.text(), "a");
        assert_eq!(sent_back(&set_cookie(&response)), "LB_SERVERID=a");
    });
}

fn one(pointsman: &Pointsman) -> Transport {
    let mut all = Transport::all(pointsman);
    all.swap_remove(0)
}

#[test]
fn a_client_of_an_upstream_that_is_down_gets_another_home_and_keeps_it() {
    let is_well = Arc::new(AtomicBool::new(true));
    let checked = is_well.clone();
    let b = Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            let is_check = request.head.target() == "/health";
            if is_check && !checked.load(Ordering::Relaxed) {
                conn.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
            } else {
                conn.send(ok("b"));
            }
        }
    });
    let origins = [app("a"), b];
    let service = service(&origins)
        .without("health_check")
        .key("cookie", "")
        .key("health_check_uri", "/health")
        .key("health_check_interval", "100ms")
        .key("health_check_fall", "1");
    let pointsman = start(&service);
    wait_until("b to be up", || {
        pointsman
            .get("h.test", "/")
            .head
            .all("set-cookie")
            .iter()
            .any(|set| set.contains("=b;"))
    });
    assert_eq!(stays(&mut one(&pointsman), "LB_SERVERID=b"), "b");
    is_well.store(false, Ordering::Relaxed);
    wait_until("b to be down", || {
        one(&pointsman).ask(&with_cookie("LB_SERVERID=b")).text() == "a"
    });
    on_every_transport(&pointsman, |transport| {
        let response = transport.ask(&with_cookie("LB_SERVERID=b"));
        assert_eq!(response.text(), "a");
        assert_eq!(sent_back(&set_cookie(&response)), "LB_SERVERID=a");
        assert_eq!(stays(transport, "LB_SERVERID=a"), "a");
    });
    is_well.store(true, Ordering::Relaxed);
    wait_until("b to be up again", || {
        one(&pointsman).ask(&with_cookie("LB_SERVERID=b")).text() == "b"
    });
    assert_eq!(stays(&mut one(&pointsman), "LB_SERVERID=a"), "a");
}

#[test]
fn an_upstream_that_was_not_checked_yet_keeps_its_clients() {
    let gate = Gate::default();
    let of_check = gate.clone();
    // Its check hangs, so that it neither comes up nor goes down.
    let b = Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/health" {
                of_check.pass();
            }
            conn.send(ok("b"));
        }
    });
    let origins = [app("a"), b];
    let service = service(&origins)
        .without("health_check")
        .key("cookie", "")
        .key("health_check_uri", "/health")
        .key("health_check_timeout", "1m");
    let pointsman = start(&service);
    let mut fresh = one(&pointsman);
    wait_until("a to be up", || {
        (0..4).all(|_| fresh.ask(&ask()).text() == "a")
    });
    on_every_transport(&pointsman, |transport| {
        assert_eq!(stays(transport, "LB_SERVERID=b"), "b");
    });
    gate.open();
}

#[test]
fn a_client_whose_upstream_cannot_be_connected_is_led_on_and_told_at_once() {
    let origins = apps(["a"]);
    let service = service(&origins)
        .key("cookie", "")
        .key("upstreams/dead", &local(free_port()).to_string());
    let pointsman = start(&service);
    on_every_transport(&pointsman, |transport| {
        for ask in [
            with_cookie("LB_SERVERID=dead"),
            Ask::new("POST", "h.test", "/")
                .header("Cookie", "LB_SERVERID=dead")
                .body("hello"),
        ] {
            let response = transport.ask(&ask);
            assert_eq!(response.text(), "a");
            assert_eq!(sent_back(&set_cookie(&response)), "LB_SERVERID=a");
            assert_eq!(cookies_seen(&origins[0]), [""; 0]);
        }
    });
}

#[test]
fn a_client_whose_upstream_gives_no_answer_is_led_on_if_it_may_be_asked_twice() {
    let mute = Origin::scripted(|conn: &mut Conn| {
        conn.request();
    });
    let origins = [app("a"), mute];
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        let response = transport.ask(&with_cookie("LB_SERVERID=b; x=1"));
        assert_eq!(response.text(), "a");
        assert_eq!(sent_back(&set_cookie(&response)), "LB_SERVERID=a");
        assert_eq!(cookies_seen(&origins[0]), ["x=1"]);
        let post = Ask::new("POST", "h.test", "/").header("Cookie", "LB_SERVERID=b");
        let response = transport.ask(&post.body("once"));
        assert_eq!(response.status(), 502);
        assert!(!response.head.has("set-cookie"), "{response:?}");
    });
}

#[test]
fn tries_are_counted_as_without_a_cookie() {
    let tries = Origin::scripted(|conn: &mut Conn| {
        conn.request();
    });
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(tries.addr())
        .key("cookie", "")
        .key("retries", "2");
    let pointsman = start(&service);
    let mut count = 0;
    on_every_transport(&pointsman, |transport| {
        assert_eq!(transport.ask(&with_cookie("LB_SERVERID=a")).status(), 502);
        count += 3;
        assert_eq!(tries.requests().len(), count);
    });
    let dead = Service::http("dead")
        .hosts("dead.test")
        .key("upstreams/a", &local(free_port()).to_string())
        .key("cookie", "")
        .key("retries", "0");
    pointsman.put_service(&dead);
    pointsman.wait_for_status("dead.test", "/", 503);
    on_every_transport(&pointsman, |transport| {
        let ask = Ask::get("dead.test", "/").header("Cookie", "LB_SERVERID=a");
        let response = transport.ask(&ask);
        assert_eq!(response.status(), 503);
        assert!(!response.head.has("set-cookie"), "{response:?}");
    });
}

#[test]
fn a_swap_moves_nobody() {
    let origins = apps(["a", "b", "c"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    let mut transports = Transport::all(&pointsman);
    for i in 0..5 {
        pointsman.put("services/web/timeout_server", format!("{}s", 30 + i));
        pointsman
            .put_service(&Service::http(&format!("other-{i}")).hosts(&format!("other-{i}.test")));
        pointsman.wait_for_status(&format!("other-{i}.test"), "/", 503);
        wait_until("the change", || {
            pointsman
                .plan()
                .dump
                .contains(&format!("timeout_server: {}s", 30 + i))
        });
        for transport in &mut transports {
            for home in ["a", "b", "c"] {
                assert_eq!(stays(transport, &format!("LB_SERVERID={home}")), home);
            }
        }
    }
}

#[test]
fn two_nodes_agree_on_every_home() {
    for cookie_value in ["name", "opaque"] {
        let origins = apps(["a", "b", "c"]);
        let service = service(&origins)
            .key("cookie", "")
            .key("cookie_value", cookie_value);
        let first = start(&service);
        let second = Pointsman::builder()
            .store(&format!("dir:{}", first.keys_dir().display()))
            .node("second")
            .start();
        for _ in 0..3 {
            let response = first.get("h.test", "/");
            let set = set_cookie(&response);
            let shown = format!("LB_SERVERID={}", response.text());
            assert_eq!(sent_back(&set) == shown, cookie_value == "name", "{set}");
            for node in [&first, &second] {
                on_every_transport(node, |transport| {
                    assert_eq!(stays(transport, sent_back(&set)), response.text());
                });
            }
        }
    }
}

#[test]
fn an_opaque_cookie_shows_no_name_and_a_name_is_no_key_to_it() {
    let origins = apps(["a", "b"]);
    let pointsman = start(
        &service(&origins)
            .key("cookie", "")
            .key("cookie_value", "opaque"),
    );
    on_every_transport(&pointsman, |transport| {
        let response = transport.ask(&ask());
        let set = set_cookie(&response);
        let value = sent_back(&set).strip_prefix("LB_SERVERID=").expect("it");
        assert_eq!(value.len(), 16, "{set}");
        let named = transport.ask(&with_cookie("LB_SERVERID=a"));
        assert!(named.head.has("set-cookie"));
    });
}

#[test]
fn an_upstream_whose_name_cannot_stand_in_a_cookie_keeps_its_clients_too() {
    let origins = apps(["a", "b"]);
    let service = Service::http("web")
        .hosts("h.test")
        .key("upstreams/x;y", &origins[0].addr().to_string())
        .key("upstreams/x~y", &origins[1].addr().to_string())
        .key("cookie", "");
    let pointsman = start(&service);
    on_every_transport(&pointsman, |transport| {
        for _ in 0..2 {
            let response = transport.ask(&ask());
            let set = set_cookie(&response);
            assert_eq!(stays(transport, sent_back(&set)), response.text());
        }
    });
}

#[test]
fn our_own_answers_and_switched_protocols_set_no_cookie() {
    let switching = Origin::scripted(|conn: &mut Conn| {
        if let Some(request) = conn.request() {
            if request.head.has("upgrade") {
                conn.send("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                conn.send("hello");
            } else {
                conn.send("nonsense\r\n\r\n");
            }
        }
    });
    let service = Service::http("web")
        .hosts("h.test")
        .upstream(switching.addr())
        .key("cookie", "");
    let empty = Service::http("empty").hosts("empty.test").key("cookie", "");
    let pointsman = Pointsman::builder()
        .service(&service)
        .service(&empty)
        .setting("max_body_size", "10")
        .start();
    on_every_transport(&pointsman, |transport| {
        for (ask, status) in [
            (Ask::get("empty.test", "/"), 503),
            (ask(), 502),
            (
                Ask::new("POST", "h.test", "/").body("more than ten bytes"),
                413,
            ),
        ] {
            let response = transport.ask(&ask);
            assert_eq!(response.status(), status);
            assert!(!response.head.has("set-cookie"), "{response:?}");
        }
    });
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.has("set-cookie")), (101, false));
    assert_eq!(client.exactly(5), b"hello");
}

#[test]
fn every_other_answer_sets_the_cookie_whatever_its_status() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        for (method, status) in [
            ("GET", "200"),
            ("HEAD", "200"),
            ("GET", "204"),
            ("GET", "304"),
            ("GET", "302"),
            ("POST", "404"),
            ("GET", "500"),
        ] {
            let ask = Ask::new(method, "h.test", "/").header("x-status", status);
            let set = set_cookie(&transport.ask(&ask));
            let back = transport.ask(&ask.header("Cookie", sent_back(&set)));
            assert_eq!(back.status().to_string(), status);
            assert_sets_none(&back);
        }
    });
}

#[test]
fn the_cookie_is_secure_for_clients_that_came_by_tls() {
    let origins = apps(["a"]);
    let pointsman = Pointsman::builder()
        .service(&service(&origins).key("cookie", ""))
        .setting("trusted_proxies", "127.0.0.0/8")
        .start();
    on_every_transport(&pointsman, |transport| {
        let set = set_cookie(&transport.ask(&ask().header("X-Forwarded-Proto", "https")));
        assert_eq!(set, "LB_SERVERID=a; path=/; HttpOnly; SameSite=Lax; Secure");
        let set = set_cookie(&transport.ask(&ask().header("X-Forwarded-Proto", "http")));
        assert_eq!(set, "LB_SERVERID=a; path=/; HttpOnly; SameSite=Lax");
    });
}

#[test]
fn the_applications_cookies_pass_and_one_of_the_balancers_name_does_not() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        let ask = ask()
            .header("x-set", "x=1; Path=/x")
            .header("x-set", "LB_SERVERID=mine; Path=/y")
            .header("x-set", "y=2");
        let response = transport.ask(&ask);
        let secure = if transport.is_tls() { "; Secure" } else { "" };
        let own = format!(
            "LB_SERVERID={}; path=/; HttpOnly; SameSite=Lax{secure}",
            response.text()
        );
        assert_eq!(
            response.head.all("set-cookie"),
            ["x=1; Path=/x", "y=2", &own]
        );
        let response = transport.ask(&ask.header("Cookie", "LB_SERVERID=b"));
        assert_eq!(response.text(), "b");
        assert_eq!(response.head.all("set-cookie"), ["x=1; Path=/x", "y=2"]);
    });
}

#[test]
fn shared_caches_are_told_not_to_keep_an_answer_that_sets_a_cookie() {
    let origins = apps(["a"]);
    let pointsman = start(&service(&origins).key("cookie", ""));
    on_every_transport(&pointsman, |transport| {
        let mut check = |said: &str, expected: &[&str]| {
            let response = transport.ask(&ask().header("x-cache", said));
            assert_eq!(response.head.all("cache-control"), expected);
        };
        check("public, max-age=60", &["public, max-age=60", "private"]);
        check("max-age=60, Private", &["max-age=60, Private"]);
        check("no-store", &["no-store"]);
        let known = with_cookie("LB_SERVERID=a").header("x-cache", "public");
        let response = transport.ask(&known);
        assert_eq!(response.head.all("cache-control"), ["public"]);
    });
}

#[test]
fn an_applications_cookie_bears_the_upstream_in_front_of_its_value() {
    let origins = apps(["a", "b", "c"]);
    let pointsman = start(&service(&origins).key("cookie", "cookie JSESSIONID prefix nocache"));
    on_every_transport(&pointsman, |transport| {
        assert_sets_none(&transport.ask(&ask()));
        let response = transport.ask(
            &ask()
                .header("x-set", "JSESSIONID=abc; Path=/; HttpOnly")
                .header("x-set", "other=1; Secure")
                .header("x-set", "JSESSIONID=\"q r\"; Path=/app")
                .header("x-set", "JSESSIONID=; Max-Age=0"),
        );
        let home = response.text();
        assert_eq!(
            response.head.all("set-cookie"),
            [
                &format!("JSESSIONID={home}~abc; Path=/; HttpOnly"),
                "other=1; Secure",
                &format!("JSESSIONID=\"{home}~q r\"; Path=/app"),
                &format!("JSESSIONID={home}~; Max-Age=0"),
            ]
        );
        assert_eq!(response.header("cache-control"), Some("private"));
        let mut check = |sent: &str, by: &str, seen: &str| {
            assert_eq!(stays(transport, sent), by, "{sent}");
            let origin = &origins[usize::from(by.as_bytes()[0] - b'a')];
            assert_eq!(cookies_seen(origin), [seen], "{sent}");
        };
        check("JSESSIONID=b~abc", "b", "JSESSIONID=abc");
        check("x=1;JSESSIONID=c~a~b; y=2", "c", "x=1;JSESSIONID=a~b; y=2");
        check("JSESSIONID=\"b~q r\"", "b", "JSESSIONID=\"q r\"");
        check("JSESSIONID=c~\"q\"", "c", "JSESSIONID=\"q\"");
        check(
            "JSESSIONID=gone~x; JSESSIONID=b~y",
            "b",
            "JSESSIONID=x; JSESSIONID=y",
        );
        // Whoever it names, the application's part is the application's.
        for (sent, seen) in [
            ("JSESSIONID=gone~abc", "JSESSIONID=abc"),
            ("JSESSIONID=plain", "JSESSIONID=plain"),
            ("jsessionid=b~x", "jsessionid=b~x"),
        ] {
            let response = transport.ask(&with_cookie(sent));
            let origin = &origins[usize::from(response.text().as_bytes()[0] - b'a')];
            assert_eq!(cookies_seen(origin), [seen], "{sent}");
        }
    });
}

#[test]
fn rules_on_cookies_and_stickiness_see_what_the_other_left() {
    let origins = apps(["a", "b"]);
    let lines = "http-request replace-header Cookie (.*) \"\\1; seen=1\"\n\
                 http-response replace-header Set-Cookie (.*) \"\\1; Secure\"\n\
                 http-response add-header Set-Cookie own=1";
    let prefixed = service(&origins)
        .key("cookie", "JSESSIONID prefix")
        .key("custom_settings", lines);
    on_every_transport(&start(&prefixed), |transport| {
        let response = transport.ask(
            &ask()
                .header("x-set", "JSESSIONID=abc; Path=/")
                .header("x-set", "other=1"),
        );
        let home = response.text();
        assert_eq!(
            response.head.all("set-cookie"),
            [
                &format!("JSESSIONID={home}~abc; Path=/; Secure"),
                "other=1; Secure",
                "own=1"
            ]
        );
        let response = transport.ask(&with_cookie("JSESSIONID=b~x"));
        assert_eq!(response.text(), "b");
        assert_eq!(cookies_seen(&origins[1]), ["JSESSIONID=x; seen=1"]);
    });
    let inserted = service(&origins)
        .key("cookie", "LB insert indirect")
        .key("custom_settings", lines);
    on_every_transport(&start(&inserted), |transport| {
        let response = transport.ask(&ask().header("x-set", "LB=forged").header("x-set", "x=1"));
        let set = response.head.all("set-cookie");
        assert_eq!(set[..2], ["x=1; Secure", "own=1"], "{set:?}");
        assert!(set.len() == 3 && set[2].starts_with("LB="), "{set:?}");
        let cookie = format!("y=2; {}", sent_back(set[2]));
        let origin = &origins[usize::from(response.text().as_bytes()[0] - b'a')];
        transport.ask(&with_cookie(&cookie));
        assert_eq!(cookies_seen(origin), ["y=2; seen=1"]);
    });
}

#[test]
fn an_applications_session_is_led_on_and_bears_the_new_upstream() {
    let origins = apps(["a"]);
    let service = service(&origins)
        .key("cookie", "JSESSIONID prefix")
        .key("upstreams/dead", &local(free_port()).to_string());
    let pointsman = start(&service);
    on_every_transport(&pointsman, |transport| {
        let ask = with_cookie("JSESSIONID=dead~abc").header("x-set", "JSESSIONID=new");
        let response = transport.ask(&ask);
        assert_eq!(set_cookie(&response), "JSESSIONID=a~new");
        assert!(!response.head.has("cache-control"));
        assert_eq!(cookies_seen(&origins[0]), ["JSESSIONID=abc"]);
    });
}

#[test]
fn a_directive_sets_the_cookie_as_its_words_say() {
    let check = |directive: &str, ask: Ask, expected: &[&str]| {
        let origins = apps(["a"]);
        let pointsman = start(&service(&origins).key("cookie", directive));
        on_every_transport(&pointsman, |transport| {
            let response = transport.ask(&ask);
            let set = response.head.all("set-cookie");
            assert_eq!(set, expected, "{directive}");
        });
    };
    check("SRV insert", ask(), &["SRV=a; path=/"]);
    check("cookie SRV insert indirect", with_cookie("SRV=a"), &[]);
    check("SRV insert", with_cookie("SRV=a"), &[]);
    check(
        "SRV insert httponly secure domain .a.com attr \"SameSite=None\"",
        ask(),
        &["SRV=a; path=/; domain=.a.com; HttpOnly; Secure; SameSite=None"],
    );
    check("SRV insert attr Path=/app", ask(), &["SRV=a; Path=/app"]);
    let mine = || ask().header("x-set", "SRV=mine; Path=/x");
    check("SRV insert preserve", mine(), &["SRV=mine; Path=/x"]);
    check("SRV insert preserve", ask(), &["SRV=a; path=/"]);
    check("SRV insert postonly", ask(), &[]);
    check(
        "SRV insert postonly",
        Ask::new("POST", "h.test", "/"),
        &["SRV=a; path=/"],
    );
    check("SRV rewrite", mine(), &["SRV=a; Path=/x"]);
    check("SRV rewrite", ask(), &[]);
    check("SRV", mine(), &["SRV=mine; Path=/x"]);
    check("SRV indirect", mine().header("Cookie", "SRV=a"), &[]);
}

#[test]
fn a_cookie_that_is_not_hidden_reaches_the_application() {
    for directive in ["SRV insert", "SRV rewrite", "SRV"] {
        let origins = apps(["a", "b"]);
        let pointsman = start(&service(&origins).key("cookie", directive));
        on_every_transport(&pointsman, |transport| {
            assert_eq!(stays(transport, "x=1;SRV=b"), "b");
            assert_eq!(cookies_seen(&origins[1]), ["x=1;SRV=b"]);
        });
    }
}

#[test]
fn dates_end_a_cookie_and_are_renewed_before() {
    let origins = apps(["a", "b"]);
    let directive = "SRV insert indirect maxidle 30m maxlife 8h";
    let pointsman = start(&service(&origins).key("cookie", directive));
    let fresh = |response: &Response| {
        let set = set_cookie(response);
        let value = sent_back(&set).strip_prefix("SRV=").expect("it").to_owned();
        let parts: Vec<_> = value.split('|').map(str::to_owned).collect();
        let [home, last, first] = &parts[..] else {
            panic!("{set}");
        };
        assert_eq!(*home, response.text());
        assert_eq!((last.len(), first.len()), (5, 5));
        (value, last.clone(), first.clone())
    };
    on_every_transport(&pointsman, |transport| {
        let (_, last, first) = fresh(&transport.ask(&ask()));
        assert_eq!(last, first);
        // A cookie without dates is good and gets them.
        let response = transport.ask(&with_cookie("SRV=b"));
        assert_eq!(response.text(), "b");
        fresh(&response);
        // 1970: over. Far ahead: no date of ours.
        for (bad, from) in [("AAAAB", "last"), ("/////", "last"), ("AAAAB", "first")] {
            let mut homes = HashSet::new();
            for _ in 0..4 {
                let cookie = match from {
                    "last" => format!("SRV=b|{bad}|{first}"),
                    _ => format!("SRV=b|{last}|{bad}"),
                };
                let response = transport.ask(&with_cookie(&cookie));
                let (_, new_last, new_first) = fresh(&response);
                assert_eq!(new_last, new_first, "{cookie}");
                homes.insert(response.text());
            }
            assert_eq!(homes.len(), 2, "{bad} as the {from} date leads to b");
        }
    });
    // Used again when the clock has gone on: the same first date and a new last one.
    let (value, last, first) = fresh(&one(&pointsman).ask(&ask()));
    let mut client = one(&pointsman);
    wait_until("the last date to be renewed", || {
        let response = client.ask(&with_cookie(&format!("SRV={value}")));
        if !response.head.has("set-cookie") {
            return false;
        }
        let (_, new_last, new_first) = fresh(&response);
        assert_eq!(new_first, first);
        new_last != last
    });
}

#[test]
fn services_under_one_host_keep_apart_by_the_names_of_their_cookies() {
    let (web, api) = (apps(["a", "b"]), apps(["a", "b"]));
    let service_of = |name: &str, path: &str, origins: &[Origin]| {
        let service = Service::http(name).hosts("h.test").paths(path);
        let cookie = format!("{name} insert indirect nocache");
        origins
            .iter()
            .fold(service.key("cookie", &cookie), |s, o| s.upstream(o.addr()))
    };
    let pointsman = Pointsman::builder()
        .service(&service_of("web", "/", &web))
        .service(&service_of("api", "/api", &api))
        .start();
    on_every_transport(&pointsman, |transport| {
        for (path, home, seen) in [("/", "a", "api=b"), ("/api", "b", "web=a")] {
            let ask = Ask::get("h.test", path).header("Cookie", "web=a; api=b");
            let response = transport.ask(&ask);
            assert_eq!(response.text(), home);
            assert_sets_none(&response);
            let origin = if path == "/" { &web[0] } else { &api[1] };
            assert_eq!(cookies_seen(origin), [seen]);
        }
    });
}

/// Where the sessions `s0` to `s99` lead.
fn homes_of_sessions(transport: &mut Transport) -> BTreeMap<String, String> {
    (0..100)
        .map(|i| {
            let session = format!("s{i}");
            let response = transport.ask(&with_cookie(&format!("x=1; sid={session}")));
            assert_sets_none(&response);
            (session, response.text())
        })
        .collect()
}

#[test]
fn an_applications_session_leads_to_one_upstream_by_its_hash() {
    let origins = apps(["a", "b", "c", "d", "e"]);
    let service = service(&origins).key("sticky_session_cookie", "sid");
    let first = start(&service);
    let second = Pointsman::builder()
        .store(&format!("dir:{}", first.keys_dir().display()))
        .node("second")
        .start();
    let before = homes_of_sessions(&mut one(&first));
    for node in [&first, &second] {
        on_every_transport(node, |transport| {
            assert_eq!(homes_of_sessions(transport), before);
        });
    }
    on_every_transport(&first, |transport| {
        assert_eq!(stays(transport, "sid=\"s1\""), before["s1"]);
        assert_eq!(stays(transport, "sid=; sid=s2"), before["s2"]);
        // Without a session clients take turns.
        for cookie in ["x=1", "sid=", "SID=s1"] {
            let homes: HashSet<_> = (0..5)
                .map(|_| transport.ask(&with_cookie(cookie)).text())
                .collect();
            assert_eq!(homes.len(), 5, "{cookie}");
        }
    });
    let of = |name: &str| before.values().filter(|home| *home == name).count();
    let counts = ["a", "b", "c", "d", "e"].map(of);
    assert!(counts.iter().all(|count| *count >= 8), "{counts:?}");

    first.remove("services/web/upstreams/c");
    wait_until("c to be gone", || {
        !first.plan().dump.contains("c: 127") && !second.plan().dump.contains("c: 127")
    });
    let after = homes_of_sessions(&mut one(&first));
    assert_eq!(homes_of_sessions(&mut one(&second)), after);
    for (session, home) in &before {
        let has_moved = after[session] != *home;
        assert_eq!(has_moved, home == "c", "{session} was at {home}");
    }
}

#[test]
fn a_session_whose_upstream_cannot_be_connected_goes_to_one_other_and_always_the_same() {
    let origins = apps(["a", "b", "c"]);
    let service = service(&origins).key("sticky_session_cookie", "sid");
    let pointsman = start(&service);
    let before = homes_of_sessions(&mut one(&pointsman));
    pointsman.put("services/web/upstreams/b", local(free_port()).to_string());
    wait_until("b to be dead", || {
        !pointsman
            .plan()
            .dump
            .contains(&origins[1].addr().to_string())
    });
    let after = homes_of_sessions(&mut one(&pointsman));
    on_every_transport(&pointsman, |transport| {
        assert_eq!(homes_of_sessions(transport), after);
    });
    for (session, home) in &before {
        assert_eq!(after[session] != *home, home == "b", "{session}");
    }
}

#[test]
fn one_address_has_one_upstream_with_balance_source() {
    let origins = apps(["a", "b", "c"]);
    let pointsman = start(&service(&origins).key("balance", "source"));
    let mut homes = HashSet::new();
    on_every_transport(&pointsman, |transport| {
        homes.extend((0..100).map(|_| transport.ask(&ask()).text()));
    });
    assert_eq!(homes.len(), 1, "{homes:?}");
}

#[test]
fn stickiness_comes_and_goes_with_its_key() {
    let origins = apps(["a", "b"]);
    let pointsman = start(&service(&origins));
    let sets = || pointsman.get("h.test", "/").head.has("set-cookie");
    assert!(!sets());
    pointsman.put("services/web/cookie", "");
    wait_until("a cookie", sets);
    assert!(!pointsman.log().contains("cookie is not honoured"));
    pointsman.put("services/web/cookie", "SRV insrt");
    pointsman.wait_for_status_words(&["services/web", "insrt"]);
    assert_eq!(stays(&mut one(&pointsman), "LB_SERVERID=b"), "b");
    assert!(sets(), "the service is as it was");
    pointsman.remove("services/web/cookie");
    wait_until("no cookie", || !sets());
}

#[test]
fn a_service_in_its_last_good_form_goes_by_the_habits_that_hold_as_it_would_after_a_start() {
    let origins = apps(["a"]);
    let mut pointsman = start(&service(&origins).key("cookie", ""));
    pointsman.put("services/web/balance", "leastcom");
    pointsman.wait_for_status_words(&["services/web", "leastcom", "last-good"]);
    pointsman.put("settings/compat", "kontena");
    let name = |pointsman: &Pointsman| {
        let set = set_cookie(&pointsman.get("h.test", "/"));
        set.split('=').next().map(str::to_owned)
    };
    wait_until("the cookie's other name", || {
        name(&pointsman).as_deref() == Some("KONTENA_SERVERID")
    });
    pointsman.wait_for_status_words(&["services/web", "leastcom", "last-good"]);
    let running = pointsman.plan().dump;
    pointsman.kill();
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert_eq!(pointsman.plan().dump, running);
    pointsman.put("settings/compat", "");
    wait_until("the cookie's own name", || {
        name(&pointsman).as_deref() == Some("LB_SERVERID")
    });
}

#[test]
fn the_plan_shows_how_clients_stick() {
    let origins = apps(["a"]);
    let dump = |key: &str, value: &str| {
        let pointsman = start(&service(&origins).key(key, value));
        pointsman.plan().dump
    };
    let text = dump("cookie", "cookie S prefix nocache");
    assert!(text.contains("cookie: S prefix nocache"), "{text}");
    let text = dump("sticky_session_cookie", "sid");
    assert!(text.contains("sticky_session_cookie: sid"), "{text}");
}

/// Not a promise to keep, but what users see: the address a cookie was made for is no part of it.
#[test]
fn an_upstream_that_moves_keeps_its_clients() {
    let origins = apps(["a", "b", "c"]);
    let pointsman = start(&service(&origins[..2]).key("cookie", ""));
    let moved: SocketAddr = origins[2].addr();
    pointsman.put("services/web/upstreams/b", moved.to_string());
    wait_until("b to have moved", || {
        pointsman.plan().dump.contains(&moved.to_string())
    });
    on_every_transport(&pointsman, |transport| {
        assert_eq!(stays(transport, "LB_SERVERID=b"), "c");
    });
}
