//! Which service a request reaches, and with which path.

mod support;

use support::client::exchange;
use support::etcd::Etcd;
use support::pointsman::{Pointsman, Service};
use support::town::{Town, answer, named};

#[test]
fn hosts_match_whole_whatever_their_case_and_port() {
    Town::new()
        .service("web", "www.example.test, Example.TEST", "")
        .check(&[
            ("www.example.test", "/", "web /"),
            ("WWW.Example.Test", "/", "web /"),
            ("example.test", "/a?b", "web /a?b"),
            ("www.example.test:80", "/", "web /"),
            ("www.example.test:8080", "/", "web /"),
            ("www.example.test:", "/", "web /"),
            ("www.example.test.", "/", "web /"),
            ("www.example.test.:80", "/", "web /"),
            ("ww.example.test", "/", "404"),
            ("xwww.example.test", "/", "404"),
            ("www.example.test.evil", "/", "404"),
            ("example", "/", "404"),
        ]);
}

#[test]
fn a_wildcard_takes_any_depth_below_but_not_the_name_itself() {
    Town::new().service("wild", "*.foo.test", "").check(&[
        ("a.foo.test", "/", "wild /"),
        ("a.b.c.foo.test", "/", "wild /"),
        ("A.FOO.test:81", "/", "wild /"),
        ("foo.test", "/", "404"),
        ("afoo.test", "/", "404"),
        ("foo.test.x", "/", "404"),
    ]);
}

#[test]
fn ip_literals_are_hosts() {
    Town::new()
        .service("six", "[::1]", "")
        .service("four", "10.0.0.1", "")
        .check(&[
            ("[::1]", "/", "six /"),
            ("[::1]:8080", "/", "six /"),
            ("10.0.0.1", "/", "four /"),
            ("10.0.0.1:99", "/", "four /"),
            ("[::2]", "/", "404"),
        ]);
}

#[test]
fn host_and_path_come_before_host_before_path() {
    Town::new()
        .service("a-path", "", "/api")
        .service("b-host", "h.test", "")
        .service("c-both", "h.test", "/api")
        .check(&[
            ("h.test", "/api/x", "c-both /x"),
            ("h.test", "/other", "b-host /other"),
            ("h.test", "/apiary", "b-host /apiary"),
            ("else.test", "/api/x", "a-path /x"),
            ("else.test", "/other", "404"),
        ]);
}

#[test]
fn an_exact_host_comes_before_a_wildcard_and_a_longer_wildcard_before_a_shorter() {
    Town::new()
        .service("a-short", "*.test", "")
        .service("b-long", "*.foo.test", "")
        .service("c-exact", "x.foo.test", "")
        .check(&[
            ("x.foo.test", "/", "c-exact /"),
            ("y.foo.test", "/", "b-long /"),
            ("z.y.foo.test", "/", "b-long /"),
            ("bar.test", "/", "a-short /"),
            ("foo.test", "/", "a-short /"),
        ]);
}

#[test]
fn a_wildcard_host_with_a_path_comes_before_an_exact_host_alone() {
    Town::new()
        .service("host", "x.foo.test", "")
        .service("wild-path", "*.foo.test", "/api")
        .check(&[
            ("x.foo.test", "/api/1", "wild-path /1"),
            ("x.foo.test", "/", "host /"),
            ("y.foo.test", "/", "404"),
        ]);
}

#[test]
fn an_exact_host_without_that_path_leaves_it_to_the_wildcard() {
    Town::new()
        .service("exact", "x.foo.test", "/a")
        .service("wild", "*.foo.test", "/b")
        .check(&[
            ("x.foo.test", "/a/1", "exact /1"),
            ("x.foo.test", "/b/1", "wild /1"),
            ("x.foo.test", "/c", "404"),
        ]);
}

#[test]
fn the_longest_path_wins_whatever_the_names() {
    Town::new()
        .service("a", "", "/")
        .service("b", "", "/api")
        .service("c", "", "/api/v2")
        .check(&[
            ("h.test", "/api/v2/x", "c /x"),
            ("h.test", "/api/v1/x", "b /v1/x"),
            ("h.test", "/api", "b /"),
            ("h.test", "/x", "a /x"),
            ("h.test", "/", "a /"),
        ]);
}

#[test]
fn of_two_equal_claims_the_first_name_wins() {
    let (pointsman, origins) = Town::new()
        .service("zeta", "h.test", "")
        .service("beta", "h.test", "")
        .check(&[("h.test", "/", "beta /")]);
    // The other takes over when the first goes.
    pointsman.remove("services/beta");
    pointsman.wait_for_text("h.test", "/", "zeta");
    drop(origins);
}

#[test]
fn paths_match_by_segment() {
    Town::new()
        .service("api", "", "/api")
        .service("slash", "", "/dir/")
        .check(&[
            ("h.test", "/api", "api /"),
            ("h.test", "/api/", "api /"),
            ("h.test", "/api/x", "api /x"),
            ("h.test", "/api?x=1", "api /?x=1"),
            ("h.test", "/apiary", "404"),
            ("h.test", "/API", "404"),
            ("h.test", "/dir/x", "slash /x"),
            ("h.test", "/dirt", "404"),
        ]);
}

#[test]
fn a_path_is_stripped_once_with_the_longest_prefix() {
    Town::new().service("two", "", "/a, /a/b, /b").check(&[
        ("h.test", "/a/b/x", "two /x"),
        ("h.test", "/a/x", "two /x"),
        ("h.test", "/b/a/x", "two /a/x"),
        ("h.test", "/a/a/x", "two /a/x"),
        ("h.test", "/a/b", "two /"),
        ("h.test", "/a/x%2Fy?q=/a", "two /x%2Fy?q=/a"),
    ]);
}

#[test]
fn keep_virtual_path_passes_the_path_on_as_it_came() {
    Town::new()
        .service_with("kept", "", "/api", &[("keep_virtual_path", "true")])
        .check(&[
            ("h.test", "/api/x?y", "kept /api/x?y"),
            ("h.test", "/api", "kept /api"),
        ]);
}

#[test]
fn several_hosts_and_paths_are_ored_and_the_groups_anded() {
    Town::new()
        .service("both", "a.test,b.test", "/x,/y")
        .check(&[
            ("a.test", "/x/1", "both /1"),
            ("b.test", "/y/1", "both /1"),
            ("a.test", "/z", "404"),
            ("c.test", "/x", "404"),
        ]);
}

#[test]
fn a_service_with_neither_host_nor_path_takes_every_path() {
    Town::new()
        .service("all", "", "")
        .service("web", "h.test", "")
        .check(&[("any.test", "/x", "all /x"), ("h.test", "/x", "web /x")]);
}

#[test]
fn the_default_service_takes_what_no_route_takes() {
    Town::new()
        .service("web", "h.test", "/api")
        .service_with("fallback", "fallback.test", "", &[("default", "true")])
        .check(&[
            ("h.test", "/api/x", "web /x"),
            ("h.test", "/other", "fallback /other"),
            ("any.test", "/x", "fallback /x"),
            ("fallback.test", "/x", "fallback /x"),
        ]);
}

#[test]
fn a_service_without_upstreams_keeps_its_route_and_answers_503() {
    let everything = named("everything");
    let pointsman = Pointsman::builder()
        .service(&Service::http("empty").hosts("empty.test"))
        .service(
            &Service::http("everything")
                .paths("/")
                .upstream(everything.addr()),
        )
        .start();
    let mut client = pointsman.client();
    assert_eq!(answer(client.get("empty.test", "/")), "503");
    assert_eq!(answer(client.get("other.test", "/")), "everything /");
    let late = named("late");
    pointsman.put("services/empty/upstreams/a", late.addr().to_string());
    pointsman.wait_for_text("empty.test", "/", "late /");
    pointsman.remove("services/empty/upstreams/a");
    pointsman.wait_for_status("empty.test", "/", 503);
}

#[test]
fn a_host_that_is_added_to_a_service_is_another_name_for_it() {
    let (pointsman, origins) = Town::new()
        .service("web", "www.shop.test, shop.vpn.internal", "")
        .check(&[
            ("www.shop.test", "/", "web /"),
            ("shop.vpn.internal", "/", "web /"),
            ("shop.test", "/", "404"),
        ]);
    pointsman.put(
        "services/web/virtual_hosts",
        "www.shop.test, shop.vpn.internal, shop.test",
    );
    pointsman.wait_for_text("shop.test", "/", "web /");
    drop(origins);
}

#[test]
fn balancers_with_roots_of_their_own_serve_their_own_services_from_one_store() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let etcd = runtime.block_on(Etcd::start());
    let (inner, outer) = (named("inner"), named("outer"));
    for (root, origin) in [("inner", &inner), ("outer", &outer)] {
        let service = Service::http("web").hosts("h.test").upstream(origin.addr());
        for (key, value) in service.keys() {
            runtime.block_on(etcd.put(&format!("/pointsman/{root}/{key}"), value));
        }
    }
    let balancer = |root: &str| {
        Pointsman::builder()
            .store(&etcd.spec().to_string())
            .args(&["--root", &format!("/pointsman/{root}")])
            .start()
    };
    let (one, other) = (balancer("inner"), balancer("outer"));
    assert_eq!(one.get("h.test", "/").text(), "inner /");
    assert_eq!(other.get("h.test", "/").text(), "outer /");
}

#[test]
fn routes_follow_keys_while_a_connection_stays_open() {
    let (one, two) = (named("one"), named("two"));
    let pointsman = Pointsman::builder()
        .service(&Service::http("one").hosts("h.test").upstream(one.addr()))
        .start();
    let mut client = pointsman.client();
    assert_eq!(answer(client.get("h.test", "/")), "one /");
    pointsman.put_service(
        &Service::http("two")
            .hosts("h.test")
            .paths("/two")
            .upstream(two.addr()),
    );
    support::wait_until("the new route on the old connection", || {
        answer(client.get("h.test", "/two/x")) == "two /x"
    });
    assert_eq!(answer(client.get("h.test", "/")), "one /");
    pointsman.put("services/two/virtual_path", "/zwei");
    support::wait_until("the changed route", || {
        answer(client.get("h.test", "/zwei/x")) == "two /x"
    });
    assert_eq!(answer(client.get("h.test", "/two/x")), "one /two/x");
    pointsman.remove("services/one");
    support::wait_until("no route any more", || {
        answer(client.get("h.test", "/")) == "404"
    });
    assert_eq!(answer(client.get("h.test", "/zwei/x")), "two /x");
}

#[test]
fn a_bad_service_changes_nothing_for_itself_and_others() {
    let (good, bad) = (named("good"), named("bad"));
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("good")
                .hosts("good.test")
                .upstream(good.addr()),
        )
        .service(&Service::http("bad").hosts("bad.test").upstream(bad.addr()))
        .start();
    pointsman.put("services/bad/balance", "leastcom");
    pointsman.wait_for_status_words(&["services/bad", "leastcom", "leastconn"]);
    // It keeps its last good form; another's change goes live beside it.
    assert_eq!(pointsman.get("bad.test", "/").text(), "bad /");
    pointsman.put("services/good/virtual_hosts", "better.test");
    pointsman.wait_for_text("better.test", "/", "good /");
    pointsman.wait_for_status("good.test", "/", 404);
    // Even a change that would be good alone waits until the service as a whole is good.
    pointsman.put("services/bad/virtual_hosts", "healed.test");
    pointsman.put("services/bad/balance", "leastconn");
    pointsman.wait_for_text("healed.test", "/", "bad /");
}

#[test]
fn kontenas_habits_hold_when_asked_for() {
    Town::new()
        .setting("compat", "kontena")
        .service("a", "", "/api")
        .service("b", "", "/api/v2")
        .service("c", "*.foo.test", "")
        .service("d", "x.foo.test", "")
        .check(&[
            // Raw prefixes, first name wins inside a tier, 503 for no match.
            ("h.test", "/apiary", "a /ary"),
            ("h.test", "/api/v2/x", "a /v2/x"),
            ("x.foo.test", "/", "c /"),
            ("h.test", "/other", "503"),
        ]);
}

#[test]
fn a_request_without_host_in_http_1_0_is_routed_by_path() {
    let origin = named("path");
    let pointsman = Pointsman::builder()
        .service(&Service::http("path").paths("/p").upstream(origin.addr()))
        .start();
    assert_eq!(
        exchange(pointsman.http(), "GET /p/x HTTP/1.0\r\n\r\n").text(),
        "path /x"
    );
    assert_eq!(
        exchange(pointsman.http(), "GET /q HTTP/1.0\r\n\r\n").status(),
        404
    );
}

#[test]
fn options_for_the_server_itself_is_answered_without_a_panic() {
    let origin = named("web");
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts("h.test").upstream(origin.addr()))
        .start();
    let response = exchange(
        pointsman.http(),
        "OPTIONS * HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n",
    );
    if response.status() == 200 {
        assert_eq!(response.text(), "web *");
    } else {
        assert!(
            (400..502).contains(&response.status()),
            "{}",
            response.status()
        );
    }
    assert_eq!(pointsman.get("h.test", "/").text(), "web /");
}
