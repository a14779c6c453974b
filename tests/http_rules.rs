//! `custom_settings`: what HAProxy's words do to requests and answers, over real sockets.

mod support;

use std::net::TcpStream;

use support::client::Client;
use support::message::{Head, Response};
use support::origin::{Conn, Origin};
use support::pointsman::{Pointsman, Service, local};
use support::transport::{Ask, Transport, on_every_plain_transport, on_every_transport};
use support::{LIMIT, free_port, wait_until};

/// One HTTP service `web` at `web.test` with these lines, and its upstream.
struct Town {
    pointsman: Pointsman,
    origin: Origin,
}

impl Town {
    fn new(lines: &str) -> Self {
        Self::with(lines, &[], &[])
    }

    /// More keys of the service, and settings of the balancer.
    fn with(lines: &str, keys: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let origin = Origin::scripted(answer);
        let mut service = Service::http("web")
            .hosts("web.test")
            .key("custom_settings", lines)
            .upstream(origin.addr());
        for (key, value) in keys {
            service = service.key(key, value);
        }
        let mut builder = Pointsman::builder().service(&service);
        for (name, value) in settings {
            builder = builder.setting(name, value);
        }
        let pointsman = builder.start();
        Self { pointsman, origin }
    }

    fn everywhere(&self, behaviour: impl FnMut(&mut Transport)) {
        on_every_transport(&self.pointsman, behaviour);
    }

    /// For what depends on there being no TLS.
    fn everywhere_plain(&self, behaviour: impl FnMut(&mut Transport)) {
        on_every_plain_transport(&self.pointsman, behaviour);
    }

    /// The request as the upstream got it last.
    fn got(&self) -> Head {
        let mut all = self.origin.requests();
        all.pop().expect("the upstream got a request").head
    }
}

/// `200 ok` with fields that rules may look at.
fn answer(conn: &mut Conn) {
    while let Some(request) = conn.request() {
        let status = match request.head.target() {
            "/missing" => "404 Not Found",
            _ => "200 OK",
        };
        conn.send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 2\r\nX-Secret: yes\r\n\
             Set-Cookie: s=1; Path=/inside\r\nSet-Cookie: t=2\r\n\r\n"
        ));
        if request.head.method() != "HEAD" {
            conn.send("ok");
        }
    }
}

fn header(response: &Response, name: &str) -> String {
    response.header(name).unwrap_or_default().to_owned()
}

#[test]
fn clear_requests_are_sent_to_https_with_path_and_query_before_the_prefix_is_stripped() {
    let town = Town::with(
        "redirect scheme https code 301 if !{ ssl_fc }",
        &[("virtual_path", "/shop")],
        &[],
    );
    town.everywhere_plain(|client| {
        let moved = client.get("Web.test:80", "/shop/a%20b?x=1");
        assert_eq!(moved.status(), 301);
        assert_eq!(
            header(&moved, "location"),
            "https://web.test/shop/a%20b?x=1"
        );
    });
    town.origin.assert_saw_nothing();
}

#[test]
fn a_trusted_proxy_may_say_that_a_request_came_by_tls() {
    let lines = "http-request redirect scheme https unless { ssl_fc }";
    let town = Town::with(lines, &[], &[("trusted_proxies", "127.0.0.1")]);
    town.everywhere_plain(|client| {
        let ask = Ask::get("web.test", "/");
        assert_eq!(client.ask(&ask).status(), 302);
        let ask = ask.header("X-Forwarded-Proto", "https");
        assert_eq!(client.ask(&ask).status(), 200);
    });
}

#[test]
fn of_several_protocols_the_trusted_proxy_said_the_last() {
    let lines = "http-request redirect scheme https unless { ssl_fc }";
    let town = Town::with(lines, &[], &[("trusted_proxies", "127.0.0.1")]);
    town.everywhere(|client| {
        let ask = |first: &str, last: &str| {
            let ask = Ask::get("web.test", "/").header("X-Forwarded-Proto", first);
            ask.header("X-Forwarded-Proto", last)
        };
        assert_eq!(client.ask(&ask("https", "http")).status(), 302);
        assert_eq!(client.ask(&ask("http", "https")).status(), 200);
    });
}

#[test]
fn who_is_turned_away_by_rules_or_limits_is_counted_once() {
    let lines = "http-request deny if { path /deny }";
    let town = Town::with(lines, &[("max_body_size", "4")], &[]);
    let mut before = 0;
    let mut turned_away = || {
        let status = town.pointsman.status();
        let now = status["services"][0]["turned_away"].as_u64().unwrap_or(0);
        std::mem::replace(&mut before, now).abs_diff(now)
    };
    town.everywhere(|client| {
        assert_eq!(client.get("web.test", "/deny").status(), 403);
        assert_eq!(turned_away(), 1);
        let large = Ask::new("POST", "web.test", "/").body("12345");
        assert_eq!(client.ask(&large).status(), 413);
        assert_eq!(turned_away(), 1);
        assert_eq!(client.get("web.test", "/").status(), 200);
        assert_eq!(turned_away(), 0);
    });
}

#[test]
fn our_own_answer_to_a_request_with_an_empty_body_keeps_the_connection() {
    let town = Town::new("http-request deny if { path /deny }");
    let mut client = town.pointsman.client();
    let head =
        |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: web.test\r\n{more}\r\n");
    let empty = head("/deny", "Content-Length: 0\r\n");
    client.send(format!(
        "{empty}{empty}{}",
        head("/", "Connection: close\r\n")
    ));
    for status in [403, 403, 200] {
        let response = client.response();
        assert_eq!(response.status(), status);
        assert_eq!(response.header("connection").is_some(), status == 200);
    }
}

#[test]
fn rules_on_host_see_the_target_where_it_names_one() {
    let town = Town::new("http-request replace-header Host ^(.*)\\.test$ \\1.inner");
    let mut client = town.pointsman.client();
    client.send("GET http://web.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(town.got().header("host"), Some("web.inner"));
}

#[test]
fn names_below_a_domain_are_sent_to_the_domain() {
    let lines = "acl sub hdr_end(host) -i .web.test\n\
                 redirect prefix http://web.test code 301 if sub";
    let town = Town::with(lines, &[("virtual_hosts", "*.web.test, web.test")], &[]);
    town.everywhere(|client| {
        let moved = client.get("www.WEB.test", "/a?b");
        assert_eq!(moved.status(), 301);
        assert_eq!(header(&moved, "location"), "http://web.test/a?b");
        assert_eq!(client.get("web.test", "/a?b").status(), 200);
    });
}

#[test]
fn what_a_client_sends_cannot_become_a_line_of_a_redirect() {
    let town = Town::new("http-request redirect location https://o.test/%[urlp(to)]%[req.hdr(x)]");
    town.everywhere(|client| {
        let ask = Ask::get("web.test", "/?to=a%0d%0aSet-Cookie:%20x=1").header("X", "a b\tc\u{e9}");
        let moved = client.ask(&ask);
        assert_eq!(
            header(&moved, "location"),
            "https://o.test/a%0d%0aSet-Cookie:%20x=1a%20b%09c%C3%A9"
        );
        assert_eq!(moved.header("set-cookie"), None);
    });
}

#[test]
fn the_upstream_gets_the_fields_that_rules_leave() {
    let town = Town::new(
        "acl beta req.cook(beta) yes\n\
         http-request set-header X-Client %[src]\n\
         http-request add-header X-Tag one\n\
         http-request add-header X-Tag two if beta\n\
         http-request del-header X-Internal\n\
         http-request replace-header User-Agent (.*)curl(.*) \\1robot\\2\n\
         http-request set-header X-Forwarded-Proto https if { hdr(x-tls) 1 }\n\
         http-request set-header Host inner.test",
    );
    town.everywhere(|client| {
        let ask = Ask::get("web.test", "/")
            .header("X-Client", "spoofed")
            .header("X-Internal", "1")
            .header("x-internal", "2")
            .header("User-Agent", "a curl b")
            .header("X-TLS", "1")
            .header("Cookie", "a=1; beta=yes");
        assert_eq!(client.ask(&ask).text(), "ok");
        let got = town.got();
        assert_eq!(got.all("x-client"), ["127.0.0.1"]);
        assert_eq!(got.all("x-tag"), ["one", "two"]);
        assert!(!got.has("x-internal"));
        assert_eq!(got.all("user-agent"), ["a robot b"]);
        assert_eq!(got.all("x-forwarded-proto"), ["https"]);
        assert_eq!(got.all("host"), ["inner.test"]);

        assert_eq!(client.get("web.test", "/").status(), 200);
        assert_eq!(town.got().all("x-tag"), ["one"]);
    });
}

#[test]
fn a_body_reaches_the_upstream_whole_whatever_rules_do_to_its_head() {
    let town = Town::new("http-request set-header X-A b\nhttp-request set-path /p%[path]");
    town.everywhere(|client| {
        let ask = Ask::new("POST", "web.test", "/x").body("four");
        assert_eq!(client.ask(&ask).status(), 200);
        let last = town.origin.requests().pop().expect("a request");
        assert_eq!(
            (last.head.target(), last.body.bytes.as_slice()),
            ("/p/x", &b"four"[..])
        );
    });
}

#[test]
fn paths_and_queries_are_rewritten_and_the_prefix_is_still_cut_off() {
    let town = Town::with(
        "http-request replace-path /api/old/(.*) /api/new/\\1\n\
         http-request set-query lang=de&%[query] if { query -m found }\n\
         http-request set-path /elsewhere if { path /api/away }",
        &[("virtual_path", "/api")],
        &[],
    );
    town.everywhere(|client| {
        for (asked, got) in [
            ("/api/old/x?q=1", "/new/x?lang=de&q=1"),
            ("/api/old/x", "/new/x"),
            ("/api/other?q", "/other?lang=de&q"),
            ("/api/away?a", "/elsewhere?lang=de&a"),
        ] {
            assert_eq!(client.get("web.test", asked).status(), 200, "{asked}");
            assert_eq!(town.got().target(), got, "{asked}");
        }
    });
}

#[test]
fn a_path_that_an_upstream_would_resolve_to_another_goes_nowhere() {
    let town = Town::new("http-request set-path /files/%[urlp(name)]");
    town.everywhere(|client| {
        assert_eq!(client.get("web.test", "/?name=a").status(), 200);
        assert_eq!(client.get("web.test", "/?name=../etc/passwd").status(), 400);
        assert_eq!(client.get("web.test", "/?name=%2e%2e/x").status(), 400);
    });
    for request in town.origin.requests() {
        assert_eq!(request.head.target(), "/files/a?name=a");
    }
}

#[test]
fn requests_are_denied_by_address_method_path_and_field() {
    let town = Town::new(
        "acl admin path_beg /admin\nacl office src 10.0.0.0/8\n\
         http-request deny if admin !office\n\
         http-request deny deny_status 405 unless METH_GET or METH_POST\n\
         http-request deny status 429 if { req.hdr(user-agent) -m sub -i bot }\n\
         http-request allow if { path /open }\n\
         http-request deny status 401 if { path_beg /o }",
    );
    town.everywhere(|client| {
        assert_eq!(client.get("web.test", "/").status(), 200);
        assert_eq!(client.get("web.test", "/admin/x").status(), 403);
        assert_eq!(
            client.ask(&Ask::new("DELETE", "web.test", "/")).status(),
            405
        );
        let bot = Ask::get("web.test", "/").header("User-Agent", "SuperBOT 1");
        assert_eq!(client.ask(&bot).status(), 429);
        assert_eq!(client.get("web.test", "/open").status(), 200);
        assert_eq!(client.get("web.test", "/other").status(), 401);
    });
}

#[test]
fn requests_are_answered_without_an_upstream() {
    let town = Town::new(
        "http-request return status 204 hdr Access-Control-Allow-Origin * if METH_OPTIONS\n\
         http-request return content-type text/html lf-string '<b>%[path]</b>' if { path_beg /hi }\n\
         http-request deny status 410 string gone if { path /gone }",
    );
    town.everywhere(|client| {
        let preflight = client.ask(&Ask::new("OPTIONS", "web.test", "/"));
        assert_eq!(preflight.status(), 204);
        assert_eq!(header(&preflight, "access-control-allow-origin"), "*");
        assert_eq!(preflight.header("content-length"), None);
        let hi = client.get("web.test", "/hi/you");
        assert_eq!(
            (hi.text().as_str(), header(&hi, "content-type")),
            ("<b>/hi/you</b>", "text/html".into())
        );
        let gone = client.get("web.test", "/gone");
        assert_eq!((gone.status(), gone.text().as_str()), (410, "gone"));
    });
    town.origin.assert_saw_nothing();
}

#[test]
fn answers_are_changed_on_their_way_back() {
    let town = Town::new(
        "acl font path_end .woff\n\
         http-response set-header Access-Control-Allow-Origin %[req.hdr(origin)] if font\n\
         http-response del-header X-Secret\n\
         http-response replace-header Set-Cookie (.*)/inside(.*) \\1/outside\\2\n\
         http-response set-header X-Was %[status] if { status 400:499 }",
    );
    town.everywhere(|client| {
        let ask = Ask::get("web.test", "/a.woff?v=1").header("Origin", "http://o.test");
        let font = client.ask(&ask);
        assert_eq!(
            header(&font, "access-control-allow-origin"),
            "http://o.test"
        );
        assert_eq!(font.header("x-secret"), None);
        assert_eq!(font.head.all("set-cookie"), ["s=1; Path=/outside", "t=2"]);
        assert_eq!(font.header("x-was"), None);
        let missing = client.get("web.test", "/missing");
        assert_eq!(header(&missing, "x-was"), "404");
        assert_eq!(missing.header("access-control-allow-origin"), None);
    });
}

#[test]
fn the_balancers_own_lines_judge_every_request_before_its_service_is_looked_for() {
    let town = Town::with(
        "http-request set-header X-Seen %[req.hdr(x-all)]",
        &[("virtual_path", "/new")],
        &[(
            "custom_settings",
            "http-request deny if { path /.env }\n\
             http-request set-header X-All %[path]\n\
             http-request set-header Host web.test if { hdr(host) old.test }\n\
             http-request replace-path ^/old(.*) /new\\1\n\
             http-response set-header X-By all",
        )],
    );
    town.everywhere(|client| {
        assert_eq!(client.get("nobody.test", "/.env").status(), 403);
        let answer = client.get("old.test:81", "/old/x?q");
        assert_eq!(
            (answer.status(), header(&answer, "x-by").as_str()),
            (200, "all")
        );
        let got = town.got();
        assert_eq!(got.target(), "/x?q");
        assert_eq!(got.all("x-all"), ["/old/x"]);
        assert_eq!(got.all("x-seen"), ["/old/x"]);
        assert_eq!(got.all("host"), ["web.test"]);
        assert_eq!(client.get("old.test", "/").status(), 404);
    });
}

#[test]
fn changed_lines_hold_from_the_next_request_on_and_wrong_ones_not_at_all() {
    let town = Town::new("http-request deny if { path /a }");
    let key = "services/web/custom_settings";
    let mut client = town.pointsman.client();
    assert_eq!(client.get("web.test", "/a").status(), 403);
    town.pointsman.put(key, "http-request deny if { path /b }");
    town.pointsman.wait_for_status("web.test", "/b", 403);
    assert_eq!(client.get("web.test", "/a").status(), 200);

    town.pointsman
        .put(key, "timeout server 5s\nhttp-request dney\n");
    wait_until("the lines are refused", || {
        town.pointsman.status()["refused_total"] == 1
    });
    let refused = town.pointsman.status()["refused"].to_string();
    let told = "custom_settings line 2: http-request \\\"dney\\\" is unknown";
    assert!(refused.contains(told), "{refused}");
    assert!(refused.contains("did you mean \\\"deny\\\"?"), "{refused}");
    assert_eq!(client.get("web.test", "/b").status(), 403);
}

#[test]
fn timeouts_retries_and_limits_are_set_by_lines() {
    let slow = Origin::scripted(|conn| {
        let _ = conn.request();
        let _ = conn.rest();
    });
    let service = Service::http("web")
        .hosts("web.test")
        .key("custom_settings", "timeout server 50ms\nretries 0")
        .upstream(slow.addr());
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("custom_settings", "timeout http-request 100ms")
        .start();
    assert_eq!(pointsman.get("web.test", "/").status(), 504);
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.response().status(), 408);
}

#[test]
fn an_upstream_is_checked_as_httpchk_says_and_leaves_when_it_fails() {
    let healthy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_healthy = healthy.clone();
    let origin = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            let is_check = request.head.target() == "/index.html";
            let fails = is_check && !is_healthy.load(std::sync::atomic::Ordering::Relaxed);
            let status = if fails { "500 No" } else { "200 OK" };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let service = Service::http("web")
        .hosts("web.test")
        .without("health_check")
        .key(
            "custom_settings",
            "option httpchk HEAD /index.html HTTP/1.0\nhttp-check send hdr X-Check yes\n\
             default-server inter 100ms fall 1 rise 1",
        )
        .upstream(origin.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    pointsman.wait_for_status("web.test", "/", 200);
    healthy.store(false, std::sync::atomic::Ordering::Relaxed);
    pointsman.wait_for_status("web.test", "/", 503);
    healthy.store(true, std::sync::atomic::Ordering::Relaxed);
    pointsman.wait_for_status("web.test", "/", 200);
    let checks = origin.requests();
    let check = checks.iter().find(|r| r.head.target() == "/index.html");
    let check = &check.expect("a check").head;
    assert_eq!(check.start, "HEAD /index.html HTTP/1.0");
    assert_eq!(check.all("x-check"), ["yes"]);
}

#[test]
fn a_check_may_ask_for_a_text_in_the_answer() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            let text = match request.head.target() {
                "/good" => "state: ready",
                _ => "state: broken",
            };
            conn.send(support::origin::ok(text));
        }
    });
    let service = |name: &str, uri: &str| {
        Service::http(name)
            .hosts(&format!("{name}.test"))
            .without("health_check")
            .key("health_check_uri", uri)
            .key(
                "custom_settings",
                "http-check expect rstring ^state:.(ready|fine)\n\
                 default-server inter 100ms fall 1 rise 1",
            )
            .upstream(origin.addr())
    };
    let pointsman = Pointsman::builder()
        .service(&service("good", "/good"))
        .service(&service("bad", "/bad"))
        .start();
    pointsman.wait_for_status("bad.test", "/", 503);
    pointsman.wait_for_status("good.test", "/", 200);
}

#[test]
fn a_tcp_service_takes_connections_from_where_its_lines_say() {
    let echo = Origin::scripted(|conn| {
        let some = conn.some();
        conn.send(&some);
    });
    let (open, closed) = (free_port(), free_port());
    let service = |name: &str, port, lines: &str| {
        Service::tcp(name, port)
            .key("custom_settings", lines)
            .upstream(echo.addr())
    };
    let pointsman = Pointsman::builder()
        .service(&service(
            "open",
            open,
            "option tcplog\ntcp-request connection accept if LOCALHOST\n\
             tcp-request connection reject",
        ))
        .service(&service(
            "closed",
            closed,
            "tcp-request connection reject if { src 127.0.0.0/8 }",
        ))
        .start();
    pointsman.wait_for_port(open);
    pointsman.wait_for_port(closed);
    assert_eq!(
        Client::connect(local(open)).send("ping").exactly(4),
        b"ping"
    );
    let stream = TcpStream::connect(local(closed)).expect("the port is open");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut end = [0];
    let read = std::io::Read::read(&mut &stream, &mut end);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
