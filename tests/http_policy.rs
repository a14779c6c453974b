//! What the keys of a service do to requests besides leading them on: redirects, forced https, field
//! lines, access lists, body limits, maintenance, pages.

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use support::client::{Client, exchange};
use support::message::{Framing, Response};
use support::origin::{Gate, Origin, ok};
use support::pointsman::{Builder, Pointsman, Service, local};
use support::transport::{Ask, Transport, on_every_plain_transport, on_every_transport};
use support::{free_port, wait_until};

const HOST: &str = "h.test";

fn web(origin: &Origin) -> Service {
    Service::http("web").hosts(HOST).upstream(origin.addr())
}

/// One service with these keys in front of `origin`.
fn builder(origin: &Origin, keys: &[(&str, &str)]) -> Builder {
    let service = keys.iter().fold(web(origin), |s, (k, v)| s.key(k, v));
    Pointsman::builder().service(&service)
}

fn start(origin: &Origin, keys: &[(&str, &str)]) -> Pointsman {
    builder(origin, keys).start()
}

/// An origin that answers with the request's target.
fn target_teller() -> Origin {
    Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(ok(request.head.target()));
        }
    })
}

#[track_caller]
fn assert_redirected(response: &Response, status: u16, location: &str) {
    assert_eq!(response.status(), status, "{:?}", response.head);
    assert_eq!(response.header("location"), Some(location));
}

// ---- redirects

#[test]
fn a_redirected_host_is_sent_on_with_path_and_query() {
    let origin = target_teller();
    let redirects = "http://old.test,https://new.test; *.old.test,http://new.test:8080/from";
    let pointsman = start(&origin, &[("redirects", redirects)]);
    on_every_transport(&pointsman, |transport| {
        let moved = transport.get("old.test", "/a%20b/c?x=1&y=/z");
        assert_redirected(&moved, 302, "https://new.test/a%20b/c?x=1&y=/z");
        let moved = transport.get("OLD.test:8080", "/");
        assert_redirected(&moved, 302, "https://new.test/");
        let moved = transport.get("a.b.old.test", "/x");
        assert_redirected(&moved, 302, "http://new.test:8080/from/x");
        let moved = transport.ask(&Ask::new("HEAD", "old.test", "/x"));
        assert_redirected(&moved, 302, "https://new.test/x");
        let moved = transport.ask(&Ask::new("POST", "old.test", "/x").body("field=1"));
        assert_redirected(&moved, 302, "https://new.test/x");
        // The service itself, and hosts that nobody has.
        assert_eq!(transport.get(HOST, "/a").text(), "/a");
        assert_eq!(transport.get("other.test", "/a").status(), 404);
    });
    assert!(origin.requests().iter().all(|r| r.head.target() == "/a"));
}

#[test]
fn a_redirected_path_is_sent_on_segment_by_segment_and_before_it_is_stripped() {
    let origin = target_teller();
    let pointsman = start(
        &origin,
        &[
            ("virtual_path", "/app"),
            (
                "redirects",
                "/app/old,/app/new;other.test/docs,https://docs.test",
            ),
            ("redirect_code", "308"),
        ],
    );
    on_every_transport(&pointsman, |transport| {
        assert_redirected(&transport.get(HOST, "/app/old"), 308, "/app/new");
        assert_redirected(&transport.get(HOST, "/app/old/x?y"), 308, "/app/new/x?y");
        assert_eq!(transport.get(HOST, "/app/older").text(), "/older");
        assert_redirected(
            &transport.get("other.test", "/docs/a"),
            308,
            "https://docs.test/a",
        );
        // Only what is redirected of the other host leads here.
        assert_eq!(transport.get("other.test", "/app").status(), 404);
    });
}

#[test]
fn every_code_of_a_redirect_can_be_chosen() {
    let origin = Origin::saying("web");
    let pointsman = start(&origin, &[("redirects", "/a,/b")]);
    for code in [301, 302, 303, 307, 308] {
        pointsman.put("services/web/redirect_code", code.to_string());
        pointsman.wait_for_status(HOST, "/a", code);
    }
}

#[test]
fn no_target_makes_a_redirect_lead_to_a_strange_host_or_hold_a_second_field() {
    let origin = Origin::saying("web");
    let redirects = "/old,/;old.test,https://new.test";
    let pointsman = start(&origin, &[("redirects", redirects)]);
    let ask = |host: &str, target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(pointsman.http(), request)
    };
    for (target, location) in [
        ("/old//evil.com", "/evil.com"),
        ("/old///evil.com/x", "/evil.com/x"),
        ("/old/\\evil.com", "/evil.com"),
        ("/old/\\/evil.com", "/evil.com"),
        ("/old/%0d%0aSet-Cookie:%20a=b", "/%0d%0aSet-Cookie:%20a=b"),
        ("/old/%2f%2fevil.com", "/%2f%2fevil.com"),
        ("/old?//evil.com", "/?//evil.com"),
        // What the target itself names is the host that is asked.
        ("http://h.test/old/x", "/x"),
        ("HTTP://OLD.test:81//x", "https://new.test//x"),
        ("http://old.test", "https://new.test/"),
        ("http://old.test?q", "https://new.test/?q"),
    ] {
        let response = ask(HOST, target);
        assert_redirected(&response, 302, location);
        assert!(!response.head.has("set-cookie"), "{target}");
    }
    for (target, location) in [
        ("//evil.com", "https://new.test//evil.com"),
        ("/\\evil.com", "https://new.test/\\evil.com"),
        ("/@evil.com", "https://new.test/@evil.com"),
    ] {
        assert_redirected(&ask("old.test", target), 302, location);
    }
    // A line end in a target, or anything odd in a host, gets no further than the head.
    for (host, target) in [
        (HOST, "/old/\r\nSet-Cookie: a=b"),
        (HOST, "/old/\rX: y"),
        (HOST, "/old/\nX: y"),
        (HOST, "/old/\tx"),
        (HOST, "/old/\u{85}x"),
        (HOST, "http://user@old.test/"),
        ("old.test@evil.com", "/"),
        ("old.test/evil", "/"),
        ("old.test\\evil", "/"),
        ("old.test, evil.com", "/"),
        ("old.test\tx", "/"),
    ] {
        let response = ask(host, target);
        assert_eq!(response.status(), 400, "{host:?} {target:?}");
        assert!(!response.head.has("location"));
    }
    origin.assert_saw_nothing();
}

// ---- forced https

#[test]
fn plain_requests_of_a_forced_service_are_sent_to_https() {
    let origin = target_teller();
    let pointsman = start(&origin, &[("force_ssl", "true"), ("virtual_path", "/app")]);
    on_every_plain_transport(&pointsman, |transport| {
        let moved = transport.get("H.test:8080", "/app/x?a=b");
        assert_redirected(&moved, 308, "https://h.test/app/x?a=b");
        let moved = transport.ask(&Ask::new("HEAD", HOST, "/app"));
        assert_redirected(&moved, 308, "https://h.test/app");
        let moved = transport.ask(&Ask::new("POST", HOST, "/app/x").body("field=1"));
        assert_redirected(&moved, 308, "https://h.test/app/x");
        // Nobody is trusted, so nobody can say that it came by TLS.
        let claimed = Ask::get(HOST, "/app").header("X-Forwarded-Proto", "https");
        assert_redirected(&transport.ask(&claimed), 308, "https://h.test/app");
        // No host is made up.
        assert_eq!(transport.get("other.test", "/app").status(), 404);
    });
    origin.assert_saw_nothing();
}

#[test]
fn what_came_by_tls_and_challenges_of_certificate_authorities_are_not_sent_on() {
    let origin = target_teller();
    let pointsman = builder(&origin, &[("force_ssl", "yes"), ("force_ssl_port", "8443")])
        .setting("trusted_proxies", "127.0.0.0/8")
        .start();
    on_every_plain_transport(&pointsman, |transport| {
        let ask = Ask::get(HOST, "/x");
        let by_tls = ask.clone().header("X-Forwarded-Proto", "https");
        assert_eq!(transport.ask(&by_tls).text(), "/x");
        let plain = ask.header("X-Forwarded-Proto", "http");
        assert_redirected(&transport.ask(&plain), 308, "https://h.test:8443/x");
        let challenge = "/.well-known/acme-challenge/token";
        assert_eq!(transport.get(HOST, challenge).text(), challenge);
        assert_eq!(
            transport.get(HOST, "/.well-known/acme-challenges").status(),
            308
        );
    });
}

#[test]
fn clients_that_do_not_know_308_can_get_301_and_keep_their_method() {
    let origin = target_teller();
    let keys = [("force_ssl", "true"), ("force_ssl_code", "301")];
    let pointsman = start(&origin, &keys);
    on_every_plain_transport(&pointsman, |transport| {
        assert_redirected(&transport.get(HOST, "/x"), 301, "https://h.test/x");
        let moved = transport.ask(&Ask::new("HEAD", HOST, "/x"));
        assert_redirected(&moved, 301, "https://h.test/x");
        // A 301 would make a GET of it.
        let moved = transport.ask(&Ask::new("POST", HOST, "/x").body("field=1"));
        assert_redirected(&moved, 308, "https://h.test/x");
    });
    origin.assert_saw_nothing();
}

#[test]
fn browsers_are_told_to_remember_https_where_they_would_believe_it() {
    let origin = target_teller();
    let service = |name: &str, keys: &[(&str, &str)]| {
        let hosts = format!("{name}.test");
        let service = Service::http(name).hosts(&hosts).upstream(origin.addr());
        keys.iter()
            .fold(service, |service, (key, value)| service.key(key, value))
    };
    let pointsman = builder(&origin, &[])
        .setting("hsts", "180d")
        .service(&service(
            "own",
            &[("hsts", "365d, includeSubDomains; preload")],
        ))
        .service(&service("seconds", &[("hsts", "31536000")]))
        .service(&service("off", &[("hsts", "off")]))
        .service(&service(
            "rules",
            &[(
                "response_headers",
                "set Strict-Transport-Security: max-age=1",
            )],
        ))
        .start();
    on_every_transport(&pointsman, |transport| {
        for (host, told) in [
            (HOST, Some("max-age=15552000")),
            (
                "own.test",
                Some("max-age=31536000; includeSubDomains; preload"),
            ),
            ("seconds.test", Some("max-age=31536000")),
            ("off.test", None),
        ] {
            let answer = transport.get(host, "/");
            let expected: Vec<_> = told.filter(|_| transport.is_tls()).into_iter().collect();
            assert_eq!(
                answer.head.all("strict-transport-security"),
                expected,
                "{host}"
            );
        }
        let answer = transport.get("rules.test", "/");
        assert_eq!(answer.head.all("strict-transport-security"), ["max-age=1"]);
    });
    for wrong in [
        "365d preload",
        "1h includeSubDomains preload",
        "365d always",
    ] {
        let before = pointsman.plan().dump;
        pointsman.put("services/own/hsts", wrong);
        pointsman.wait_for_status_words(&["services/own", "hsts"]);
        assert_eq!(pointsman.plan().dump, before, "{wrong}");
        pointsman.put("services/own/hsts", "365d, includeSubDomains; preload");
    }
}

#[test]
fn the_balancer_forces_https_for_all_services_but_those_that_say_no() {
    let origin = target_teller();
    let pointsman = builder(&origin, &[])
        .service(
            &Service::http("open")
                .hosts("open.test")
                .key("force_ssl", "no")
                .upstream(origin.addr()),
        )
        .service(
            &Service::http("odd")
                .hosts("odd.test")
                .key("force_ssl_port", "444")
                .upstream(origin.addr()),
        )
        .setting("force_ssl", "true")
        .setting("force_ssl_port", "443")
        .start();
    on_every_plain_transport(&pointsman, |transport| {
        assert_redirected(&transport.get(HOST, "/a"), 308, "https://h.test/a");
        assert_redirected(
            &transport.get("odd.test", "/"),
            308,
            "https://odd.test:444/",
        );
        assert_eq!(transport.get("open.test", "/a").text(), "/a");
        assert_eq!(transport.get("nobody.test", "/a").status(), 404);
    });
    pointsman.put("settings/force_ssl", "false");
    pointsman.wait_for_text(HOST, "/a", "/a");
}

#[test]
fn odd_requests_are_sent_to_https_on_the_host_they_asked() {
    let origin = Origin::saying("web");
    let service = Service::http("web")
        .key("force_ssl", "true")
        .key("default", "true")
        .upstream(origin.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    let ask = |head: &str| {
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        exchange(pointsman.http(), request)
    };
    for (head, location) in [
        ("GET //evil.com HTTP/1.1\r\nHost: a", "https://a//evil.com"),
        (
            "GET /\\evil.com HTTP/1.1\r\nHost: a",
            "https://a/\\evil.com",
        ),
        (
            "GET http://b.test/x HTTP/1.1\r\nHost: a",
            "https://b.test/x",
        ),
        ("GET http://b.test HTTP/1.1\r\nHost: a", "https://b.test/"),
        (
            "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80",
            "https://[2001:db8::1]/",
        ),
        ("GET / HTTP/1.1\r\nHost: a_b-c.test.", "https://a_b-c.test/"),
    ] {
        assert_redirected(&ask(head), 308, location);
    }
    assert_redirected(&ask("OPTIONS * HTTP/1.1\r\nHost: a"), 308, "https://a/");
    // Whoever names no host cannot be told where to go.
    assert_eq!(ask("GET / HTTP/1.0").status(), 403);
    assert_eq!(ask("GET / HTTP/1.1\r\nHost: a@b").status(), 400);
    origin.assert_saw_nothing();
}

// ---- field lines

#[test]
fn header_lines_change_requests_and_answers() {
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: app/1\r\nVary: A\r\nX-Old: 1\r\n\r\nweb";
    let origin = Origin::answering(answer);
    let pointsman = start(
        &origin,
        &[
            (
                "request_headers",
                "set X-Env: production\nadd X-Tag: two\nremove Cookie\nset X-Real-IP: hidden",
            ),
            (
                "response_headers",
                "set Strict-Transport-Security: max-age=63072000; preload\n\
                 add Vary: Origin\nremove server\nremove X-Request-Id",
            ),
        ],
    );
    on_every_transport(&pointsman, |transport| {
        let ask = Ask::get(HOST, "/")
            .header("x-env", "test")
            .header("X-ENV", "more")
            .header("X-Tag", "one")
            .header("Cookie", "a=b");
        let response = transport.ask(&ask);
        assert_eq!(response.text(), "web");
        assert_eq!(
            response.header("strict-transport-security"),
            Some("max-age=63072000; preload")
        );
        assert_eq!(response.head.all("vary"), ["A", "Origin"]);
        assert!(!response.head.has("server") && !response.head.has("x-request-id"));
        assert_eq!(response.header("x-old"), Some("1"));
    });
    for request in origin.requests() {
        assert_eq!(request.head.header("x-env"), Some("production"));
        assert_eq!(request.head.all("x-tag"), ["one", "two"]);
        assert_eq!(request.head.header("x-real-ip"), Some("hidden"));
        assert!(!request.head.has("cookie"));
        assert_eq!(request.head.header("host"), Some(HOST));
    }
}

#[test]
fn upstreams_are_told_the_host_that_the_key_says() {
    let origin = Origin::saying("web");
    let pointsman = start(&origin, &[]);
    let own = origin.addr().to_string();
    let cases = [
        ("true", "h.test:81"),
        ("false", own.as_str()),
        ("app.internal:8080", "app.internal:8080"),
    ];
    for (value, host) in cases {
        pointsman.put("services/web/pass_host_header", value);
        wait_until(&format!("upstreams see {host}"), || {
            pointsman.get("h.test:81", "/");
            let last = origin.requests().pop().expect("a request");
            last.head.header("host") == Some(host)
        });
        let before = origin.requests().len();
        on_every_transport(&pointsman, |transport| {
            assert_eq!(transport.get("h.test:81", "/x").text(), "web");
        });
        let absolute =
            "GET http://h.test:81/y HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
        exchange(pointsman.http(), absolute);
        for request in &origin.requests()[before..] {
            assert_eq!(request.head.header("host"), Some(host), "{value}");
            // What the client asked for is not lost.
            assert_eq!(
                request.head.header("x-forwarded-host"),
                Some("h.test:81"),
                "{value}"
            );
        }
    }
}

// ---- access lists

#[test]
fn only_clients_of_allowed_networks_come_in_and_denied_ones_never() {
    let origin = Origin::saying("web");
    let pointsman = builder(
        &origin,
        &[
            ("allow", "10.0.0.0/8, 2001:db8::/32"),
            ("deny", "10.6.6.0/24"),
        ],
    )
    .setting("trusted_proxies", "127.0.0.1, 172.16.0.0/12")
    .start();
    let status = |transport: &mut Transport, forwarded: &str| {
        let ask = Ask::get(HOST, "/").header("X-Forwarded-For", forwarded);
        transport.ask(&ask).status()
    };
    on_every_transport(&pointsman, |transport| {
        for (forwarded, expected) in [
            ("10.1.1.1", 200),
            ("::ffff:10.1.1.1", 200),
            ("2001:db8::7", 200),
            ("10.6.6.6", 403),
            ("192.0.2.1", 403),
            // Proxies that are trusted stand between.
            ("10.1.1.1, 172.16.0.9", 200),
            ("192.0.2.1, 172.16.0.9, 172.17.0.1", 403),
            // What a client claims of itself stands to the left of what the proxy saw.
            ("10.1.1.1, 192.0.2.1", 403),
            ("10.1.1.1, 192.0.2.1, 172.16.0.9", 403),
            ("10.6.6.6, 10.1.1.1", 200),
            ("rubbish, 10.1.1.1", 200),
            // No address: the peer itself, which no list allows.
            ("rubbish", 403),
            ("10.1.1.1, rubbish", 403),
        ] {
            assert_eq!(status(transport, forwarded), expected, "{forwarded}");
        }
        assert_eq!(transport.get(HOST, "/").status(), 403);
        let two = Ask::get(HOST, "/")
            .header("X-Forwarded-For", "10.1.1.1")
            .header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(transport.ask(&two).status(), 403);
    });
}

#[test]
fn a_stranger_cannot_claim_an_address_that_is_allowed() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin, &[("allow", "10.0.0.0/8"), ("redirects", "/a,/b")])
        .setting("trusted_proxies", "10.0.0.0/8")
        .start();
    on_every_transport(&pointsman, |transport| {
        let claimed = Ask::get(HOST, "/")
            .header("X-Forwarded-For", "10.1.1.1")
            .header("X-Real-IP", "10.1.1.1")
            .header("Forwarded", "for=10.1.1.1");
        assert_eq!(transport.ask(&claimed).status(), 403);
        // Who may not come is not told where anything has gone.
        assert_eq!(transport.get(HOST, "/a").status(), 403);
    });
    origin.assert_saw_nothing();
    pointsman.put("services/web/allow", "127.0.0.1");
    pointsman.wait_for_text(HOST, "/", "web");
}

#[test]
fn a_tcp_connection_from_a_denied_network_is_closed_at_once_and_counted() {
    let origin = Origin::scripted(|conn| {
        conn.send("hello");
        conn.rest();
    });
    let port = free_port();
    let service = Service::tcp("db", port)
        .key("deny", "127.0.0.2")
        .upstream(origin.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    pointsman.wait_for_port(port);
    let turned_away = || {
        let status = pointsman.status();
        status["services"][0]["turned_away"].as_u64()
    };
    let from = |last: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&source.into()).expect("bind");
        socket.connect(&local(port).into()).expect("connect");
        Client::over(socket.into()).expect("a client")
    };
    assert_eq!(from(1).exactly(5), b"hello");
    assert_eq!(turned_away(), Some(0));
    from(2).assert_closed();
    assert_eq!(turned_away(), Some(1));
    pointsman.put("tcp-services/db/allow", "127.0.0.3");
    wait_until("only one address is allowed", || {
        pointsman.plan().dump.contains("allow: 127.0.0.3/32")
    });
    from(1).assert_closed();
    assert_eq!(from(3).exactly(5), b"hello");
}

// ---- bodies

#[test]
fn a_body_above_the_services_limit_is_refused_before_anybody_sees_it() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin, &[("max_body_size", "10")])
        .service(
            &Service::http("all")
                .hosts("all.test")
                .key("max_body_size", "none")
                .upstream(origin.addr()),
        )
        .service(
            &Service::http("usual")
                .hosts("usual.test")
                .upstream(origin.addr()),
        )
        .setting("max_body_size", "20")
        .start();
    on_every_transport(&pointsman, |transport| {
        let mut status = |host: &str, length: usize| {
            let ask = Ask::new("POST", host, "/").body(vec![b'x'; length]);
            transport.ask(&ask).status()
        };
        assert_eq!(status(HOST, 10), 200);
        assert_eq!(status(HOST, 11), 413);
        assert_eq!(status("usual.test", 20), 200);
        assert_eq!(status("usual.test", 21), 413);
        assert_eq!(status("all.test", 100_000), 200);
    });
    assert!(origin.requests().iter().all(|r| r.body.bytes.len() != 11));
}

#[test]
fn a_chunked_body_is_refused_when_it_grows_above_the_limit() {
    let origin = Origin::saying("web");
    let pointsman = start(&origin, &[("max_body_size", "10")]);
    let head = "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = pointsman.client();
    client.send(format!("{head}5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"));
    assert_eq!(client.response().status(), 200);
    // All at once, and piece by piece.
    client.send(format!("{head}5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n"));
    assert_eq!(client.response().status(), 413);
    let bytes = || origin.raw().iter().map(Vec::len).sum::<usize>();
    let before = bytes();
    let mut client = pointsman.client();
    client.send(format!("{head}5\r\nhello\r\n"));
    wait_until("the head was led on", || bytes() > before);
    client.send("6\r\nworld!\r\n");
    assert_eq!(client.response().status(), 413);
}

#[test]
fn a_client_that_asks_before_it_sends_too_much_is_answered_at_once() {
    let origin = Origin::saying("web");
    let pointsman = start(&origin, &[("max_body_size", "10")]);
    let mut client = pointsman.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.status(), 413);
    assert!(response.interim.is_empty(), "no 100 before it");
    origin.assert_saw_nothing();
}

// ---- maintenance

#[test]
fn a_service_under_maintenance_answers_503_and_when_to_come_again() {
    let origin = Origin::saying("web");
    let keys = [
        ("maintenance", "true"),
        ("error_pages/503", "<h1>back soon</h1>"),
        ("redirects", "/a,/b"),
    ];
    let pointsman = start(&origin, &keys);
    on_every_transport(&pointsman, |transport| {
        for ask in [
            Ask::get(HOST, "/"),
            Ask::new("POST", HOST, "/").body("field=1"),
        ] {
            let response = transport.ask(&ask);
            assert_eq!(response.status(), 503);
            assert_eq!(response.header("retry-after"), Some("60"));
            assert_eq!(response.text(), "<h1>back soon</h1>");
        }
        let head = transport.ask(&Ask::new("HEAD", HOST, "/"));
        assert_eq!((head.status(), head.text().as_str()), (503, ""));
        // Moved is moved.
        assert_redirected(&transport.get(HOST, "/a"), 302, "/b");
    });
    origin.assert_saw_nothing();
    pointsman.put("services/web/maintenance", "false");
    pointsman.wait_for_text(HOST, "/", "web");
}

#[test]
fn health_checks_go_on_under_maintenance() {
    let origin = Origin::saying("web");
    let service = web(&origin)
        .without("health_check")
        .key("health_check_uri", "/health")
        .key("health_check_interval", "100ms")
        .key("maintenance", "true");
    let pointsman = Pointsman::builder().service(&service).start();
    let seen = origin.wait_for(3);
    assert!(seen.iter().all(|r| r.head.target() == "/health"));
    wait_until("the upstream is up", || {
        pointsman.status()["services"][0]["upstreams"][0]["health"] == "up"
    });
    assert_eq!(pointsman.get(HOST, "/").status(), 503);
    pointsman.put("services/web/maintenance", "");
    pointsman.wait_for_text(HOST, "/", "web");
}

#[test]
fn another_upstream_stands_in_during_maintenance() {
    let (origin, other) = (Origin::saying("web"), target_teller());
    let gate = Gate::default();
    let waits = gate.clone();
    let slow = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            waits.pass();
            conn.send(ok("slow"));
        }
    });
    let address = other.addr().to_string();
    let keys = [
        ("maintenance", address.as_str()),
        ("virtual_path", "/app"),
        ("response_headers", "set X-A: 1"),
    ];
    let pointsman = start(&origin, &keys);
    on_every_transport(&pointsman, |transport| {
        let response = transport.get(HOST, "/app/x");
        assert_eq!(response.text(), "/x", "as to any upstream");
        assert_eq!(response.header("x-a"), Some("1"));
        let posted = transport.ask(&Ask::new("POST", HOST, "/app/y").body("field=1"));
        assert_eq!(posted.text(), "/y");
    });
    origin.assert_saw_nothing();
    // A request that is under way ends where it began.
    let runs = |address: &str| pointsman.plan().dump.contains(address);
    let slow_address = slow.addr().to_string();
    pointsman.put("services/web/maintenance", &slow_address);
    wait_until("another one stands in", || runs(&slow_address));
    let mut client = pointsman.client();
    client.send("GET /app HTTP/1.1\r\nHost: h.test\r\n\r\n");
    wait_until("it has the request", || slow.connections() > 0);
    pointsman.put("services/web/maintenance", "no");
    wait_until("nobody stands in", || !runs(&slow_address));
    assert_eq!(pointsman.get(HOST, "/app").text(), "web");
    gate.open();
    assert_eq!(client.response().text(), "slow");
}

#[test]
fn a_tunnel_to_an_upstream_that_stood_in_is_cut_when_it_has_left_and_clients_keep_their_own() {
    let origin = Origin::saying("web");
    let tunnels = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            if !request.head.has("upgrade") {
                conn.send(ok("stand-in"));
                continue;
            }
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            );
            conn.rest();
        }
    });
    let service = web(&origin).key("cookie", "SRV insert");
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("timeout_drain", "0")
        .start();
    let stands_in = || pointsman.plan().dump.contains("maintenance:");
    let cookie = pointsman.get(HOST, "/");
    assert!(cookie.head.has("set-cookie"));
    pointsman.put("services/web/maintenance", tunnels.addr().to_string());
    wait_until("another one stands in", stands_in);
    let response = pointsman.get(HOST, "/");
    assert_eq!(response.text(), "stand-in");
    assert!(!response.head.has("set-cookie"));
    let mut client = pointsman.client();
    client.send("GET / HTTP/1.1\r\nHost: h.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    pointsman.put("services/web/maintenance", "false");
    wait_until("nobody stands in", || !stands_in());
    client.assert_closed();
}

#[test]
fn an_upstream_that_stands_in_and_is_not_there_is_503() {
    let origin = Origin::saying("web");
    let nobody = local(free_port()).to_string();
    let pointsman = start(&origin, &[("maintenance", &nobody), ("retries", "0")]);
    on_every_transport(&pointsman, |transport| {
        assert_eq!(transport.get(HOST, "/").status(), 503);
    });
    origin.assert_saw_nothing();
}

// ---- pages

#[test]
fn the_page_of_the_service_goes_over_the_balancers_over_a_file_over_the_plain_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a page");
    for status in [403, 404, 413, 503] {
        write(&format!("{status}.html"), &format!("file {status}"));
    }
    write(
        "400.http",
        "HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Type: text/x-raw\r\nX-Page: raw\r\n\r\nraw 400",
    );
    // Named after no status of ours: there to be asked for by name.
    write("425.http", "HTTP/1.0 425 Too Early\r\n\r\nearly");
    let origin = Origin::saying("web");
    let pointsman = builder(
        &origin,
        &[
            ("max_body_size", "1"),
            ("allow", "127.0.0.1"),
            ("error_pages/413", "\n <p>service \"413\": ü</p>\n"),
            ("error_pages/503", "service 503"),
        ],
    )
    .service(&Service::http("none").hosts("none.test"))
    .key("settings/error_pages/413", "balancer 413")
    .key("settings/error_pages/404", "balancer 404")
    .args(&["--error-pages", &dir.path().display().to_string()])
    .start();
    let page = |response: &Response| {
        let content_type = response.header("content-type").unwrap_or_default();
        (response.status(), content_type.to_owned(), response.text())
    };
    let expected = |status: u16, content_type: &str, text: &str| {
        (status, content_type.to_owned(), text.to_owned())
    };
    const HTML: &str = "text/html; charset=utf-8";
    const TEXT: &str = "text/plain; charset=utf-8";
    on_every_transport(&pointsman, |transport| {
        let large = transport.ask(&Ask::new("POST", HOST, "/").body("xx"));
        assert_eq!(
            page(&large),
            expected(413, HTML, "<p>service \"413\": ü</p>")
        );
        assert_eq!(
            page(&transport.get("nobody.test", "/")),
            expected(404, TEXT, "balancer 404")
        );
        assert_eq!(
            page(&transport.get("none.test", "/")),
            expected(503, HTML, "file 503")
        );
        // A service's page is for its own requests, also on a connection that goes on.
        assert_eq!(
            page(&transport.get("nobody.test", "/")),
            expected(404, TEXT, "balancer 404")
        );
        let bad = transport.ask(&Ask::get(HOST, "/").header("Host", "second"));
        assert_eq!(page(&bad), expected(400, "text/x-raw", "raw 400"));
        assert_eq!(bad.header("x-page"), Some("raw"));
    });
    // A fault in a body is told with the service's page too.
    let chunked =
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n";
    let response = exchange(pointsman.http(), chunked);
    assert_eq!(response.text(), "<p>service \"413\": ü</p>");
    assert_eq!(response.body.framing, Framing::Length);
    pointsman.remove("settings/error_pages/404");
    pointsman.wait_for_text("nobody.test", "/", "file 404");
    pointsman.remove("services/web/error_pages");
    wait_until("the balancer's page shows", || {
        let chunked = exchange(pointsman.http(), chunked);
        chunked.text() == "balancer 413"
    });
}

#[test]
fn a_large_page_goes_out_whole() {
    let page = format!("<html>{}</html>", "ä\"\n".repeat(30_000));
    let origin = Origin::saying("web");
    let keys = [("maintenance", "true"), ("error_pages/503", &page)];
    let pointsman = start(&origin, &keys);
    on_every_transport(&pointsman, |transport| {
        assert_eq!(transport.get(HOST, "/").text(), page);
    });
}

// ---- the default service

#[test]
fn the_default_service_takes_hosts_and_paths_that_nobody_has() {
    let (origin, fallback) = (Origin::saying("web"), target_teller());
    let pointsman = builder(&origin, &[("virtual_path", "/app")])
        .service(
            &Service::http("fallback")
                .hosts("fallback.test")
                .key("default", "true")
                .key("response_headers", "set X-From: fallback")
                .upstream(fallback.addr()),
        )
        .start();
    on_every_transport(&pointsman, |transport| {
        assert_eq!(transport.get(HOST, "/app").text(), "web");
        for (host, target) in [("nobody.test", "/a?b"), (HOST, "/other"), ("10.1.2.3", "/")] {
            let response = transport.get(host, target);
            assert_eq!(response.text(), target);
            assert_eq!(response.header("x-from"), Some("fallback"));
        }
    });
}

// ---- wrong values

#[test]
fn a_wrong_value_leaves_the_service_in_its_last_good_form() {
    let origin = Origin::saying("web");
    let pointsman = start(&origin, &[("redirects", "/a,/b"), ("deny", "10.0.0.0/8")]);
    for (key, value, message) in [
        ("redirects", "/a,/a", "leads in a circle"),
        ("redirect_code", "200", "it is one of 301"),
        ("request_headers", "set Host: x", "set pass_host_header"),
        ("response_headers", "set", "has no value"),
        ("pass_host_header", "a b", "is no host name"),
        ("deny", "everybody", "is no network"),
        ("max_body_size", "-1", "is no size"),
        ("maintenance", "soon", "is neither true nor false"),
        ("error_pages/302", "x", "is no status of our own answers"),
        ("force_ssl_port", "70000", "is out of range"),
    ] {
        let key = format!("services/web/{key}");
        let before = fs::read(pointsman.keys_dir().join(&key)).ok();
        pointsman.put(&key, value);
        pointsman.wait_for_status_words(&[&key, message]);
        let check = pointsman.look("check", &[]);
        let text = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(text.contains(message) && text.contains(&key), "{text}");
        assert_eq!(pointsman.get(HOST, "/").text(), "web");
        assert_redirected(&pointsman.get(HOST, "/a"), 302, "/b");
        match before {
            Some(before) => pointsman.put(&key, before),
            None => pointsman.remove(&key),
        }
        wait_until("nothing is refused", || {
            pointsman.status()["refused_total"] == 0
        });
    }
}
