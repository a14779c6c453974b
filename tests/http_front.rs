//! What the balancer answers by itself, before all rules and services: probes, ACME challenges, its
//! figures. And what it believes of forwarded fields.

mod support;

use std::fs;

use support::client::{Client, exchange};
use support::message::Response;
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service, run};
use support::transport::{Ask, on_every_plain_transport, on_every_transport};
use support::wait_until;

const HOST: &str = "h.test";

fn builder(origin: &Origin) -> Builder {
    Pointsman::builder().service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
}

// ---- probes

#[test]
fn the_health_uri_is_answered_before_all_services_by_any_method_and_host() {
    let origin = Origin::saying("web");
    let service = Service::http("web")
        .key("default", "true")
        .key("deny", "0.0.0.0/0")
        .key("force_ssl", "true")
        .upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("health_uri", "/lb/health")
        .setting("force_ssl", "true")
        .start();
    on_every_transport(&pointsman, |transport| {
        for host in [HOST, "10.0.0.1", "[::1]:80"] {
            let response = transport.get(host, "/lb/health");
            assert_eq!(
                (response.status(), response.text().as_str()),
                (200, "200 ok\n")
            );
        }
        for method in ["HEAD", "DELETE", "OPTIONS", "PURGE"] {
            let ask = Ask::new(method, HOST, "/lb/health?deep=1");
            assert_eq!(transport.ask(&ask).status(), 200, "{method}");
        }
        let post = Ask::new("POST", HOST, "/lb/health").body("x");
        assert_eq!(transport.ask(&post).status(), 200);
        // This path and no other.
        for target in [
            "/lb/health/",
            "/lb/healthy",
            "/lb",
            "/LB/health",
            "/lb%2fhealth",
        ] {
            assert_eq!(transport.get(HOST, target).status(), 403, "{target}");
        }
    });
    let no_host = exchange(pointsman.http(), "GET /lb/health HTTP/1.0\r\n\r\n");
    assert_eq!(no_host.status(), 200);
    origin.assert_saw_nothing();
    pointsman.put("settings/health_uri", "");
    pointsman.wait_for_status(HOST, "/lb/health", 403);
}

#[test]
fn probes_are_off_by_default() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(support::origin::ok(request.head.target()));
        }
    });
    let pointsman = builder(&origin).start();
    on_every_transport(&pointsman, |transport| {
        for target in ["/health", "/lbstats", "/.well-known/acme-challenge/x"] {
            assert_eq!(transport.get(HOST, target).text(), target);
        }
    });
}

#[test]
fn a_node_is_healthy_from_its_start_and_ready_from_its_first_good_config() {
    let origin = Origin::saying("web");
    let dir = tempfile::tempdir().expect("a directory");
    let keys = dir.path().join("keys");
    let mut pointsman = Pointsman::builder()
        .store(&format!("dir:{}", keys.display()))
        .args(&["--health-uri", "/health", "--ready-uri", "/ready"])
        .without_waiting()
        .start();
    pointsman.wait_for_port(pointsman.http().port());
    on_every_plain_transport(&pointsman, |transport| {
        assert_eq!(transport.get(HOST, "/health").status(), 200);
        let ready = transport.get(HOST, "/ready");
        assert_eq!(
            (ready.status(), ready.text().as_str()),
            (503, "no good configuration yet\n")
        );
        // Nobody is served from empty tables, and nobody is told that there is no such service.
        assert_eq!(transport.get(HOST, "/").status(), 503);
    });
    let beside = dir.path().join("beside");
    let service = Service::http("web").hosts(HOST).upstream(origin.addr());
    for (key, value) in service.keys() {
        let path = beside.join(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, value).expect("a key");
    }
    fs::rename(&beside, &keys).expect("the keys appear");
    pointsman.wait_until_ready();
    on_every_plain_transport(&pointsman, |transport| {
        assert_eq!(transport.get(HOST, "/health").status(), 200);
        let ready = transport.get(HOST, "/ready");
        assert_eq!((ready.status(), ready.text().as_str()), (200, "ready\n"));
        assert_eq!(transport.get(HOST, "/").text(), "web");
        assert_eq!(transport.get("nobody.test", "/").status(), 404);
    });
}

#[test]
fn without_a_probe_by_flag_nobody_connects_before_the_first_good_config() {
    let dir = tempfile::tempdir().expect("a directory");
    let pointsman = Pointsman::builder()
        .store(&format!("dir:{}", dir.path().join("later").display()))
        .without_waiting()
        .start();
    pointsman.wait_for_port(pointsman.stats().port());
    assert_eq!(pointsman.ready(), 503);
    assert!(Client::try_connect(pointsman.http()).is_err());
}

#[test]
fn a_node_that_drains_is_healthy_and_not_ready() {
    let origin = Origin::saying("web");
    let mut pointsman = builder(&origin)
        .setting("health_uri", "/health")
        .setting("ready_uri", "/ready")
        .setting("timeout_head", "1m")
        .start();
    // Connections whose request has begun are served to its end.
    let begin = |path: &str| {
        let mut client = pointsman.client();
        assert_eq!(client.get(HOST, path).status(), 200);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h.test\r\n"));
        client
    };
    let (mut healthy, mut ready) = (begin("/health"), begin("/ready"));
    pointsman.terminate();
    pointsman.wait_for_no_port(pointsman.http().port());
    let answer = |client: &mut Client| -> Response {
        client.send("\r\n");
        client.response()
    };
    let response = answer(&mut healthy);
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("connection"), Some("close"));
    let response = answer(&mut ready);
    assert_eq!(
        (response.status(), response.text().as_str()),
        (503, "draining\n")
    );
    assert_eq!(pointsman.wait().code(), Some(0));
}

// ---- challenges

#[test]
fn acme_challenges_are_answered_on_every_host_before_all_services() {
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            conn.send(support::origin::ok(request.head.target()));
        }
    });
    let pointsman = builder(&origin)
        .key("acme/by-key_1", "by-key_1.thumb\n")
        .key("settings/force_ssl", "true")
        .env("ACME_CHALLENGE_fromEnv", "fromEnv.thumb")
        .env("ACME_CHALLENGE_", "")
        .start();
    on_every_plain_transport(&pointsman, |transport| {
        for token in ["by-key_1", "fromEnv"] {
            for host in [HOST, "nobody.test"] {
                let target = format!("/.well-known/acme-challenge/{token}");
                let response = transport.get(host, &target);
                assert_eq!(response.status(), 200);
                assert_eq!(response.text(), format!("{token}.thumb"));
                assert_eq!(
                    response.header("content-type"),
                    Some("text/plain; charset=utf-8")
                );
            }
        }
        for token in ["other", "", "by-key_1/", "by-key_1/x", "%62y-key_1"] {
            let target = format!("/.well-known/acme-challenge/{token}");
            assert_eq!(transport.get(HOST, &target).status(), 404, "{token}");
        }
        assert_eq!(transport.get(HOST, "/.well-known/other").status(), 308);
    });
    origin.assert_saw_nothing();
    // A key goes over the environment, and comes and goes live.
    pointsman.put("acme/fromEnv", "other");
    pointsman.wait_for_text(HOST, "/.well-known/acme-challenge/fromEnv", "other");
    pointsman.remove("acme/by-key_1");
    pointsman.wait_for_status(HOST, "/.well-known/acme-challenge/by-key_1", 404);
}

#[test]
fn challenges_are_answered_without_any_service() {
    let pointsman = Pointsman::builder().key("acme/t", "t.x").start();
    on_every_transport(&pointsman, |transport| {
        let response = transport.get(HOST, "/.well-known/acme-challenge/t");
        assert_eq!(response.text(), "t.x");
    });
}

// ---- figures

/// `user:docker`, as the cookbook has it.
const AUTH: &str = "Basic dXNlcjpkb2NrZXI=";

#[test]
fn figures_are_shown_to_who_has_the_password_and_to_nobody_else() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin)
        .setting("stats_uri", "/lbstats")
        .setting("stats_auth", "admin:other\nuser:docker")
        .start();
    on_every_transport(&pointsman, |transport| {
        let mut status = |ask: &Ask| transport.ask(ask).status();
        let ask = Ask::get("nobody.test", "/lbstats");
        assert_eq!(status(&ask), 401);
        for wrong in [
            "Basic dXNlcjpkb2NrZXIx",
            "Basic dXNlcjo=",
            "Basic OmRvY2tlcg==",
            "Basic YWRtaW46ZG9ja2Vy",
            "Basic",
            "Basic !!!!",
            "Bearer dXNlcjpkb2NrZXI=",
        ] {
            assert_eq!(status(&ask.clone().header("Authorization", wrong)), 401);
        }
        assert_eq!(status(&ask.clone().header("Authorization", AUTH)), 307);
        for target in ["/lbstats/", "/lbstats;csv", "/lbstats/v1/overview"] {
            assert_eq!(status(&Ask::get(HOST, target)), 401, "{target}");
            for (method, expected) in [("GET", 200), ("HEAD", 200), ("POST", 405)] {
                let ask = Ask::new(method, HOST, target).header("Authorization", AUTH);
                assert_eq!(status(&ask), expected, "{method} {target}");
            }
        }
        // The password goes to all below it, so nobody else gets anything of that.
        let below = Ask::get(HOST, "/lbstats/x");
        assert_eq!(status(&below), 401);
        assert_eq!(status(&below.header("Authorization", AUTH)), 404);
        let refused = transport.get(HOST, "/lbstats;csv");
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Basic realm=\"pointsman figures\"")
        );
        assert_eq!(refused.text(), "401 unauthorized\n");
        assert_eq!(transport.get(HOST, "/lbstatsx").text(), "web");
    });
    let seen = origin.requests();
    assert!(seen.iter().all(|r| r.head.target() == "/lbstatsx"));
}

#[test]
fn the_csv_lists_each_service_and_upstream_with_its_figures() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let odd = Service::http("a&b<c>,d").hosts("odd.test");
    let checked = Service::http("down")
        .hosts("down.test")
        .without("health_check")
        .key("upstreams/x", "127.0.0.1:1 weight=7")
        .key("max_connections", "9");
    let asked = Service::http("asked")
        .hosts("asked.test")
        .without("health_check")
        .key(
            "custom_settings",
            "option httpchk HEAD /index.html HTTP/1.0",
        )
        .upstream(origin.addr());
    let closed = Service::http("closed")
        .hosts("closed.test")
        .key("maintenance", "true");
    let pointsman = builder(&origin)
        .service(&odd)
        .service(&checked)
        .service(&asked)
        .service(&closed.upstream(origin.addr()))
        .setting("stats_uri", "/lbstats")
        .setting("stats_auth", "none")
        .start();
    for _ in 0..3 {
        assert_eq!(pointsman.get(HOST, "/").status(), 204);
    }
    wait_until("a check has failed", || {
        pointsman.get(HOST, "/lbstats;csv").text().contains("DOWN")
    });
    wait_until("what checks found is shown", || {
        let page = pointsman.get(HOST, "/lbstats;csv").text();
        page.contains("HEAD /index.html answered 204")
            && page.contains("connect: Connection refused")
    });
    let columns = |text: &str, service: &str, name: &str| -> Vec<String> {
        let lines = text.lines().map(|l| l.split(',').map(str::to_owned));
        let mut lines = lines.map(Iterator::collect::<Vec<_>>);
        lines
            .find(|l| l[0] == service && l[1] == name)
            .unwrap_or_else(|| panic!("{service} {name} in {text}"))
    };
    on_every_transport(&pointsman, |transport| {
        let response = transport.get("nobody.test", "/lbstats;csv");
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        let text = response.text();
        let names: Vec<_> = text.lines().next().expect("a line").split(',').collect();
        assert_eq!(names[..2], ["# pxname", "svname"]);
        let at = |name: &str| names.iter().position(|n| *n == name).expect("a column");
        let web = columns(&text, "web", "a");
        assert_eq!(web.len(), names.len());
        assert_eq!(web[at("stot")], "3");
        assert_eq!(
            (web[at("scur")].as_str(), web[at("type")].as_str()),
            ("0", "2")
        );
        assert_eq!(web[at("status")], "no check");
        let web = columns(&text, "web", "BACKEND");
        assert_eq!(web[at("hrsp_2xx")], "3");
        assert_eq!(
            (web[at("status")].as_str(), web[at("act")].as_str()),
            ("UP", "1")
        );
        let down = columns(&text, "down", "x");
        assert_eq!(
            (down[at("status")].as_str(), down[at("weight")].as_str()),
            ("DOWN", "7")
        );
        assert_eq!(columns(&text, "down", "BACKEND")[at("slim")], "9");
        assert_eq!(columns(&text, "closed", "BACKEND")[at("status")], "MAINT");
        assert!(text.contains("\n\"a&b<c>,d\",BACKEND,"), "{text}");
        columns(&text, "http-in", "FRONTEND");
    });
}

#[test]
fn figures_without_a_word_on_who_may_see_them_are_refused() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin).start();
    pointsman.put("settings/stats_uri", "/lbstats");
    let message = "stats_uri is set and stats_auth is not: everybody could read the figures";
    pointsman.wait_for_status_words(&[message, "settings/stats_uri"]);
    assert_eq!(pointsman.get(HOST, "/lbstats").text(), "web");
    pointsman.put("settings/stats_auth", "user:docker");
    pointsman.wait_for_status(HOST, "/lbstats", 401);
    // Nobody reads the password in a report of a slip beside it.
    pointsman.put("settings/stats_auth", "user:docker\nsecretword");
    pointsman.wait_for_status_words(&["stats_auth line 2 is no user with a password"]);
    assert!(!pointsman.status().to_string().contains("secretword"));
    assert!(!pointsman.log().contains("secretword"));
    assert!(!pointsman.plan().dump.contains("docker"));
    let authorized = Ask::get(HOST, "/lbstats/").header("Authorization", AUTH);
    on_every_transport(&pointsman, |transport| {
        assert_eq!(transport.ask(&authorized).status(), 200);
    });
}

#[test]
fn a_wrong_flag_of_the_front_is_told_at_the_start() {
    for (flags, message) in [
        (
            &["--health-uri", "health"][..],
            "--health-uri: health_uri \"health\" is no path; a path starts with a slash: \"/health\"",
        ),
        (
            &["--stats-uri", "/s"],
            "--stats-uri: stats_uri is set and stats_auth is not: everybody could read the figures; \
             set stats_auth to user:password, or to none if everybody may",
        ),
        (
            &["--health-uri", "/x", "--ready-uri", "/x"],
            "--ready-uri: ready_uri \"/x\" is that of health_uri too; give each a path of its own",
        ),
        (
            &["--force-ssl", "always"],
            "--force-ssl: force_ssl \"always\" is neither true nor false; write true or false",
        ),
        (
            &["--force-ssl-port", "0"],
            "--force-ssl-port: force_ssl_port \"0\" is out of range; a port goes from 1 to 65535",
        ),
    ] {
        let mut args = vec!["check", "--store", "dir:/"];
        args.extend(flags);
        let output = run(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(message), "{text}");
        assert!(!output.status.success());
    }
    let output = support::command()
        .args(["check", "--store", "dir:/"])
        .env("ACME_CHALLENGE_a.b", "x")
        .output()
        .expect("run pointsman");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let message = "ACME_CHALLENGE_a.b: acme \"a.b\" is no token; \
                   a token has letters, digits, - and _, at most 256 of them";
    assert!(text.contains(message), "{text}");
}

// ---- forwarded fields

#[test]
fn forwarded_fields_of_a_stranger_are_replaced_on_every_transport() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin).start();
    on_every_transport(&pointsman, |transport| {
        let ask = Ask::get(HOST, "/")
            .header("X-Forwarded-For", "10.1.1.1")
            .header("x-forwarded-for", "10.2.2.2")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Port", "443")
            .header("X-Forwarded-Host", "evil.test")
            .header("X_Forwarded_For", "10.3.3.3")
            .header("X-Forwarded-Prefix", "/evil")
            .header("Forwarded", "for=10.1.1.1");
        assert_eq!(transport.ask(&ask).text(), "web");
    });
    let mut came_by_tls = 0;
    for request in origin.requests() {
        let head = &request.head;
        assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"));
        let (proto, addr) = match head.header("x-forwarded-proto") {
            Some("https") => ("https", pointsman.https()),
            _ => ("http", pointsman.http()),
        };
        came_by_tls += usize::from(proto == "https");
        assert_eq!(head.header("x-forwarded-proto"), Some(proto));
        let port = addr.port().to_string();
        assert_eq!(head.header("x-forwarded-port"), Some(port.as_str()));
        assert_eq!(head.header("x-forwarded-host"), Some(HOST));
        for gone in ["x_forwarded_for", "x-forwarded-prefix", "forwarded"] {
            assert!(!head.has(gone), "{gone}");
        }
    }
    assert_eq!(came_by_tls, 1, "one transport has TLS");
}

#[test]
fn forwarded_fields_of_a_trusted_proxy_are_kept_and_its_list_continued_on_every_transport() {
    let origin = Origin::saying("web");
    let pointsman = builder(&origin)
        .setting("trusted_proxies", "127.0.0.1")
        .start();
    on_every_transport(&pointsman, |transport| {
        let ask = Ask::get(HOST, "/")
            .header("X-Forwarded-For", "6.6.6.6, 192.0.2.7")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Port", "443")
            .header("X-Forwarded-Host", "public.test");
        assert_eq!(transport.ask(&ask).text(), "web");
    });
    for request in origin.requests() {
        let head = &request.head;
        assert_eq!(
            head.header("x-forwarded-for"),
            Some("6.6.6.6, 192.0.2.7, 127.0.0.1")
        );
        assert_eq!(head.header("x-forwarded-proto"), Some("https"));
        assert_eq!(head.header("x-forwarded-port"), Some("443"));
        assert_eq!(head.header("x-forwarded-host"), Some("public.test"));
    }
}
