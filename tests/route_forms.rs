//! Routes beyond host names and prefixes: other forms of paths, hosts by pattern, priorities, conditions
//! on the rest of the request, and the root of an application.

mod support;

use support::pointsman::{Pointsman, Service};
use support::town::{Town, answer, named};
use support::transport::{Ask, on_every_transport};

#[test]
fn a_path_takes_itself_or_all_below_it_and_is_cut_or_kept() {
    let kept = [("keep_virtual_path", "true")];
    Town::new()
        .service("exact-cut", "", "=/a")
        .service_with("exact-kept", "", "=/b", &kept)
        .service("prefix-cut", "", "/c")
        .service_with("prefix-kept", "", "/d", &kept)
        .check(&[
            ("h.test", "/a", "exact-cut /"),
            ("h.test", "/a?x=1", "exact-cut /?x=1"),
            ("h.test", "/a/", "404"),
            ("h.test", "/a/x", "404"),
            ("h.test", "/ab", "404"),
            ("h.test", "/b", "exact-kept /b"),
            ("h.test", "/b?x=1", "exact-kept /b?x=1"),
            ("h.test", "/b/", "404"),
            ("h.test", "/c", "prefix-cut /"),
            ("h.test", "/c/x?y", "prefix-cut /x?y"),
            ("h.test", "/cd", "404"),
            ("h.test", "/d", "prefix-kept /d"),
            ("h.test", "/d/x?y", "prefix-kept /d/x?y"),
            ("h.test", "/de", "404"),
        ]);
}

#[test]
fn a_star_takes_whatever_begins_like_the_path() {
    Town::new()
        .service("raw", "h.test", "/api*")
        .service_with("kept", "h.test", "/img-*", &[("keep_virtual_path", "true")])
        .check(&[
            ("h.test", "/api", "raw /"),
            ("h.test", "/apiary", "raw /ary"),
            ("h.test", "/api/x", "raw /x"),
            ("h.test", "/api?x", "raw /?x"),
            ("h.test", "/ap", "404"),
            ("h.test", "/API", "404"),
            ("h.test", "/img-1.png", "kept /img-1.png"),
            ("h.test", "/img", "404"),
        ]);
}

#[test]
fn what_a_star_leaves_of_a_path_is_no_way_out_of_it() {
    Town::new()
        .service("raw", "h.test", "/api*")
        .service_with("kept", "h.test", "/img*", &[("keep_virtual_path", "true")])
        .check(&[
            ("h.test", "/api../secret", "400"),
            ("h.test", "/api..", "400"),
            ("h.test", "/api.", "400"),
            ("h.test", "/api%2e%2E/secret", "400"),
            ("h.test", "/api..%2fsecret", "400"),
            ("h.test", "/api..;x/secret", "400"),
            ("h.test", "/api...", "raw /..."),
            ("h.test", "/api.x/..y", "raw /.x/..y"),
            ("h.test", "/img../x", "kept /img../x"),
        ]);
}

#[test]
fn an_exact_path_comes_before_a_prefix_and_a_prefix_before_a_star() {
    Town::new()
        .service("a-star", "", "/api*")
        .service("b-prefix", "", "/api")
        .service("c-exact", "", "=/api")
        .service("d-longer-star", "", "/api/v2*")
        .check(&[
            ("h.test", "/api", "c-exact /"),
            ("h.test", "/api/", "b-prefix /"),
            ("h.test", "/api/v1", "b-prefix /v1"),
            ("h.test", "/api/v23", "d-longer-star /3"),
            ("h.test", "/apiary", "a-star /ary"),
        ]);
}

#[test]
fn hosts_match_patterns_as_a_whole_whatever_their_case_port_and_dot() {
    let patterns = "(www|api)\\.shop-[0-9]{1,3}\\.test\n\\[fd00::.*\\]";
    Town::new()
        .service_with("pattern", "", "", &[("virtual_host_regex", patterns)])
        .check(&[
            ("www.shop-7.test", "/x", "pattern /x"),
            ("api.shop-123.test", "/", "pattern /"),
            ("WWW.Shop-7.TEST", "/", "pattern /"),
            ("www.shop-7.test:8080", "/", "pattern /"),
            ("www.shop-7.test.", "/", "pattern /"),
            ("[fd00::1]", "/", "pattern /"),
            ("[FD00::1]:81", "/", "pattern /"),
            ("www.shop-1234.test", "/", "404"),
            ("xwww.shop-7.test", "/", "404"),
            ("www.shop-7.test.evil", "/", "404"),
            ("[fd01::1]", "/", "404"),
        ]);
}

#[test]
fn a_host_by_pattern_comes_after_names_and_wildcards_of_its_tier() {
    let regex = |pattern: &'static str| [("virtual_host_regex", pattern)];
    Town::new()
        .service_with("a-all", "", "", &regex(".*\\.test"))
        .service_with("b-path", "", "/p", &regex(".*\\.test"))
        .service("c-wild", "*.foo.test", "")
        .service("d-name", "x.foo.test", "")
        .service_with("e-both", "only.example", "", &regex("e[0-9]+\\.example"))
        .check(&[
            ("x.foo.test", "/", "d-name /"),
            ("y.foo.test", "/", "c-wild /"),
            ("y.bar.test", "/", "a-all /"),
            ("x.foo.test", "/p/1", "b-path /1"),
            ("only.example", "/", "e-both /"),
            ("e12.example", "/", "e-both /"),
            ("e.example", "/", "404"),
        ]);
}

#[test]
fn a_bad_pattern_is_refused_and_the_service_stays_as_it_was() {
    let origin = named("web");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .key("virtual_host_regex", "w+\\.test")
                .upstream(origin.addr()),
        )
        .start();
    assert_eq!(pointsman.get("ww.test", "/").text(), "web /");
    pointsman.put("services/web/virtual_host_regex", "w+\\.test\nv(\\.test");
    pointsman.wait_for_status_words(&[
        "services/web/virtual_host_regex",
        "is no regular expression: unclosed group",
    ]);
    assert_eq!(pointsman.get("ww.test", "/").text(), "web /");
    pointsman.put("services/web/virtual_host_regex", "v+\\.test");
    pointsman.wait_for_text("vv.test", "/", "web /");
    assert_eq!(pointsman.get("ww.test", "/").status(), 404);
}

#[test]
fn a_higher_priority_wins_on_any_overlap() {
    let priority = |n: &'static str| [("priority", n)];
    let fallback = [("priority", "1000"), ("default", "true")];
    let (pointsman, origins) = Town::new()
        .service("a-exact", "h.test", "/x/y")
        .service_with("b-high", "*.test", "", &priority("10"))
        .service_with("c-higher", "", "/x", &priority("20"))
        .service_with("d-low", "low.example", "/", &priority("-1"))
        .service("e-path", "", "/low")
        .service_with("f-default", "none.example", "", &fallback)
        .check(&[
            ("h.test", "/x/y", "c-higher /y"),
            ("h.test", "/z", "b-high /z"),
            ("low.example", "/low", "e-path /"),
            ("low.example", "/high", "d-low /high"),
            ("other.example", "/high", "f-default /high"),
            ("other.example", "/x", "c-higher /"),
        ]);
    pointsman.put("services/c-higher/priority", "-20");
    pointsman.wait_for_text("h.test", "/x/y", "b-high /x/y");
    pointsman.remove("services/b-high");
    pointsman.wait_for_text("h.test", "/x/y", "a-exact /");
    drop(origins);
}

#[test]
fn a_condition_on_method_field_and_query_leads_on_what_the_routes_share() {
    let condition = |text: &'static str| [("match", text)];
    let (pointsman, origins) = Town::new()
        .service("plain", "h.test", "")
        .service_with("posts", "h.test", "", &condition("{ method POST PUT }"))
        .service_with(
            "second",
            "h.test",
            "",
            &condition("{ hdr(x-version) 2 } !{ url_param(debug) -m found }"),
        )
        .service_with(
            "tester",
            "h.test",
            "/t",
            &condition("acl tests url_param(debug) -m found\nif tests"),
        )
        .check(&[("h.test", "/", "plain /")]);
    on_every_transport(&pointsman, |transport| {
        let mut check = |ask: &Ask, expected: &str| {
            let (name, answered) = (transport.name, answer(transport.ask(ask)));
            assert_eq!(answered, expected, "{name}: {ask:?}");
        };
        check(&Ask::get("h.test", "/a"), "plain /a");
        check(&Ask::new("POST", "h.test", "/a").body("x"), "posts /a");
        check(&Ask::new("PUT", "h.test", "/a").body("x"), "posts /a");
        let second = |target| Ask::get("h.test", target).header("X-Version", "2");
        check(&second("/a"), "second /a");
        check(&second("/a?debug=1"), "plain /a?debug=1");
        check(&second("/a?x=1&debug=1"), "plain /a?x=1&debug=1");
        check(
            &Ask::get("h.test", "/a").header("X-Version", "3"),
            "plain /a",
        );
        // Both hold: the first name.
        let both = Ask::new("POST", "h.test", "/a").header("X-Version", "2");
        check(&both.body("x"), "posts /a");
        // More specific, but only when it holds.
        check(&Ask::get("h.test", "/t/a?debug=1"), "tester /a?debug=1");
        check(&Ask::get("h.test", "/t/a"), "plain /t/a");
    });
    drop(origins);
}

#[test]
fn a_condition_sees_what_rules_of_the_balancer_made_of_the_request() {
    let rules = "http-request set-header X-Tier gold if { path_beg /g }\n\
                 http-request set-var(txn.agent) hdr(user-agent)";
    let (pointsman, origins) = Town::new()
        .setting("custom_settings", rules)
        .service("plain", "h.test", "")
        .service_with("gold", "h.test", "", &[("match", "{ hdr(x-tier) gold }")])
        .service_with("old", "h.test", "", &[("match", "{ var(txn.agent) old }")])
        .check(&[("h.test", "/g", "gold /g"), ("h.test", "/s", "plain /s")]);
    on_every_transport(&pointsman, |transport| {
        let old = Ask::get("h.test", "/s").header("User-Agent", "old");
        assert_eq!(answer(transport.ask(&old)), "old /s");
    });
    drop(origins);
}

#[test]
fn where_no_condition_holds_less_specific_routes_and_the_default_are_asked() {
    let post = ("match", "{ method POST }");
    let (pointsman, origins) = Town::new()
        .service_with("a-path", "h.test", "/x/y", &[post])
        .service_with("b-shorter", "h.test", "/x", &[post])
        .service_with("c-host", "h.test", "", &[post])
        .service_with("d-wild", "*.test", "", &[post, ("priority", "0")])
        .service_with(
            "e-pattern",
            "",
            "",
            &[post, ("virtual_host_regex", ".*test")],
        )
        .service_with("f-any", "", "/x", &[post, ("priority", "9")])
        .service_with("g-default", "own.test", "", &[("default", "true")])
        .check(&[("h.test", "/x/y", "g-default /x/y")]);
    let post = |target| Ask::new("POST", "h.test", target).body("x");
    on_every_transport(&pointsman, |transport| {
        assert_eq!(answer(transport.ask(&post("/x/y"))), "f-any /y");
        assert_eq!(answer(transport.ask(&post("/z"))), "c-host /z");
    });
    // One after the other goes, and the next has it.
    for (gone, next) in [
        ("f-any", "a-path /"),
        ("a-path", "b-shorter /y"),
        ("b-shorter", "c-host /x/y"),
        ("c-host", "d-wild /x/y"),
        ("d-wild", "e-pattern /x/y"),
        ("e-pattern", "g-default /x/y"),
    ] {
        pointsman.remove(&format!("services/{gone}"));
        support::wait_until(next, || {
            let mut client = pointsman.client();
            client.send("POST /x/y HTTP/1.1\r\nHost: h.test\r\nContent-Length: 1\r\n\r\nx");
            answer(client.response()) == next
        });
    }
    drop(origins);
}

#[test]
fn a_default_service_with_a_condition_takes_only_what_it_matches() {
    let (pointsman, origins) = Town::new()
        .service_with(
            "posts",
            "own.test",
            "",
            &[("default", "true"), ("match", "{ method POST }")],
        )
        .check(&[("h.test", "/", "404"), ("own.test", "/", "404")]);
    on_every_transport(&pointsman, |transport| {
        let post = Ask::new("POST", "h.test", "/").body("x");
        assert_eq!(answer(transport.ask(&post)), "posts /");
    });
    drop(origins);
}

#[test]
fn a_bad_condition_is_refused_and_the_service_stays_as_it_was() {
    let origin = named("web");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .key("match", "{ path_end .html }")
                .upstream(origin.addr()),
        )
        .start();
    pointsman.put("services/web/match", "{ path_end .php } { metod GET }");
    pointsman.wait_for_status_words(&["services/web/match", "metod", "did you mean", "method"]);
    assert_eq!(pointsman.get("h.test", "/a.html").text(), "web /a.html");
    assert_eq!(pointsman.get("h.test", "/a.php").status(), 404);
}

#[test]
fn context_root_rewrite_cuts_the_root_and_sends_its_bare_form_on_to_the_slash() {
    let rewrite = [("context_root_rewrite", "true")];
    let (pointsman, origins) = Town::new()
        .service_with("app", "h.test", "/app, /v1.2, /star*, =/only", &rewrite)
        .service_with("root", "root.test", "/", &rewrite)
        .service_with("two", "two.test", "//two", &rewrite)
        .check(&[
            ("h.test", "/app/", "app /"),
            ("h.test", "/app/x?y", "app /x?y"),
            ("h.test", "/app/x", "app /x"),
            // A dot in the last segment is a file's.
            ("h.test", "/v1.2", "app /"),
            ("h.test", "/v1.2/x", "app /x"),
            ("h.test", "/stars", "app /s"),
            // It would not lead here any more.
            ("h.test", "/only", "app /"),
            ("h.test", "/apple", "404"),
            ("root.test", "/", "root /"),
            ("root.test", "/x", "root /x"),
            // As a place to go to, `//two/` would be another host.
            ("two.test", "//two", "two /"),
        ]);
    on_every_transport(&pointsman, |transport| {
        let mut check = |ask: &Ask, status: u16, location: &str| {
            let response = transport.ask(ask);
            assert_eq!(response.status(), status, "{ask:?}");
            assert_eq!(response.header("location"), Some(location), "{ask:?}");
            assert!(response.header("x-request-id").is_some());
        };
        check(&Ask::get("h.test", "/app"), 301, "/app/");
        check(&Ask::get("h.test:81", "/app?a=/b&c"), 301, "/app/?a=/b&c");
        check(&Ask::get("h.test", "/star"), 301, "/star/");
        check(&Ask::new("HEAD", "h.test", "/app"), 301, "/app/");
        // Any other method has to come again as what it is.
        check(&Ask::new("POST", "h.test", "/app").body("x"), 308, "/app/");
        check(&Ask::new("DELETE", "h.test", "/app?"), 308, "/app/?");
    });
    // The upstream sees none of it.
    assert!(
        origins[0]
            .requests()
            .iter()
            .all(|r| r.head.target() != "/app")
    );
}

#[test]
fn context_root_rewrite_that_is_false_keeps_the_path() {
    Town::new()
        .service_with("app", "", "/app", &[("context_root_rewrite", "false")])
        .check(&[
            ("h.test", "/app", "app /app"),
            ("h.test", "/app/x?y", "app /app/x?y"),
        ]);
}

#[test]
fn keys_that_contradict_each_other_are_refused_together() {
    let origin = named("app");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("app")
                .paths("/app")
                .key("keep_virtual_path", "true")
                .upstream(origin.addr()),
        )
        .start();
    pointsman.put("services/app/context_root_rewrite", "true");
    pointsman.wait_for_status_words(&[
        "context_root_rewrite true cuts the path off and keep_virtual_path true keeps it",
    ]);
    assert_eq!(pointsman.get("h.test", "/app/x").text(), "app /app/x");
    pointsman.remove("services/app/keep_virtual_path");
    pointsman.wait_for_text("h.test", "/app/x", "app /x");
}

#[test]
fn the_plan_shows_forms_patterns_priorities_and_conditions() {
    let regex = ("virtual_host_regex", "w+\\.test");
    let condition = ("match", "{ method POST }");
    let (pointsman, _origins) = Town::new()
        .service("a", "h.test", "=/x, /y, /z*")
        .service_with("b", "", "", &[regex, ("priority", "7")])
        .service_with("c", "h.test", "/y", &[condition])
        .service_with("d", "", "/d", &[("context_root_rewrite", "true")])
        .check(&[]);
    let dump = pointsman.plan().dump;
    for line in [
        "h.test =/x -> services/a\n",
        "h.test /z* -> services/a\n",
        "h.test /y -> services/c if it matches over services/a\n",
        "priority 7: by pattern -> services/b",
        r"virtual_host_regex: w+\.test",
        "priority: '7'",
        "match: '{ method POST }'",
        "context_root_rewrite: 'true'",
        "- =/x\n",
        "- /z*\n",
    ] {
        assert!(dump.contains(line), "no {line:?} in\n{dump}");
    }
}

#[test]
fn with_compat_kontena_a_star_is_a_star_and_the_first_name_that_takes_it_wins() {
    let (pointsman, origins) = Town::new()
        .setting("compat", "kontena")
        .service("a", "", "/api")
        .service("b", "", "/star*")
        .service("c", "", "=/exact")
        .service_with("d", "", "/low", &[("priority", "1")])
        .service_with("e", "", "/api", &[("match", "{ method POST }")])
        .service_with("0", "", "/api", &[("match", "{ method PUT }")])
        .service_with("f", "", "", &[("virtual_host_regex", "f.*")])
        .check(&[
            ("h.test", "/apiary", "a /ary"),
            ("h.test", "/star", "503"),
            ("h.test", "/star*x", "b /x"),
            ("h.test", "/exact", "c /"),
            ("h.test", "/exact/x", "503"),
            ("h.test", "/lower", "d /er"),
            ("ff.test", "/lower", "d /er"),
            ("ff.test", "/api", "f /api"),
        ]);
    on_every_transport(&pointsman, |transport| {
        let mut by = |method: &str| answer(transport.ask(&Ask::new(method, "h.test", "/api")));
        assert_eq!(by("PUT"), "0 /");
        assert_eq!(by("POST"), "a /");
    });
    drop(origins);
}
