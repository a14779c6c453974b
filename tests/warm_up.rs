//! An upstream that comes up while others serve begins with a small share of the requests.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::client;
use support::load::Load;
use support::origin::{Conn, Origin, ok};
use support::pointsman::{Pointsman, Service, local};
use support::{free_port, wait_until};

/// Answers checks as `healthy` says, and everything else with `name`.
fn origin(name: &'static str, healthy: &Arc<AtomicBool>) -> Origin {
    let healthy = healthy.clone();
    Origin::scripted(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            match request.head.target() {
                "/health" if !healthy.load(Ordering::Relaxed) => {
                    conn.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
                }
                _ => conn.send(ok(name)),
            }
        }
    })
}

fn healthy() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn service(upstreams: &[(&str, &Origin)]) -> Service {
    let service = Service::http("web")
        .hosts("h.test")
        .without("health_check")
        .key("health_check_uri", "/health")
        .key("health_check_interval", "100ms")
        .key("health_check_rise", "1")
        .key("health_check_fall", "1");
    upstreams.iter().fold(service, |service, (name, origin)| {
        service.key(&format!("upstreams/{name}"), &origin.addr().to_string())
    })
}

fn start(service: &Service) -> Pointsman {
    Pointsman::builder().service(service).start()
}

fn upstream(pointsman: &Pointsman, name: &str) -> serde_json::Value {
    let status = pointsman.status();
    let upstreams = status["services"][0]["upstreams"].as_array().cloned();
    let mut upstreams = upstreams.unwrap_or_default().into_iter();
    upstreams.find(|u| u["name"] == name).unwrap_or_default()
}

fn is_up(pointsman: &Pointsman, name: &str) -> bool {
    upstream(pointsman, name)["health"] == "up"
}

/// While it warms up.
fn share(pointsman: &Pointsman, name: &str) -> Option<f64> {
    upstream(pointsman, name)["share"].as_f64()
}

fn wait_until_warm(pointsman: &Pointsman, name: &str) {
    wait_until("it is up and warm", || {
        is_up(pointsman, name) && share(pointsman, name).is_none()
    });
}

fn answers(pointsman: &Pointsman, count: usize) -> HashMap<String, usize> {
    let mut client = pointsman.client();
    let mut answers = HashMap::new();
    for _ in 0..count {
        let response = client.get("h.test", "/");
        assert_eq!(response.status(), 200);
        *answers.entry(response.text()).or_default() += 1;
    }
    answers
}

#[test]
fn one_that_joins_begins_with_a_small_share_and_ends_with_its_own() {
    for balance in ["roundrobin", "leastconn", "random"] {
        let (a, b, c) = (
            origin("a", &healthy()),
            origin("b", &healthy()),
            origin("c", &healthy()),
        );
        let pointsman = start(&service(&[("a", &a), ("b", &b)]).key("balance", balance));
        for name in ["a", "b"] {
            wait_until_warm(&pointsman, name);
        }
        let load = Load::default();
        load.http(4, pointsman.http(), "h.test", "", Duration::from_millis(5));
        pointsman.put("services/web/warm_up", "1h");
        pointsman.put("services/web/upstreams/c", c.addr().to_string());
        wait_until("c is up", || is_up(&pointsman, "c"));
        assert!(share(&pointsman, "c").is_some_and(|share| share < 0.2));
        assert_eq!(share(&pointsman, "a"), None, "it was up before");
        let few = answers(&pointsman, 300);
        let of_c = few.get("c").copied().unwrap_or_default();
        assert!(of_c < 40, "{balance}: {few:?}");

        pointsman.put("services/web/warm_up", "2s");
        wait_until_warm(&pointsman, "c");
        let all = answers(&pointsman, 300);
        assert!((60..=140).contains(&all["c"]), "{balance}: {all:?}");
        load.finish("one joined and warmed up");
    }
}

#[test]
fn connections_of_a_tcp_service_come_bit_by_bit_too() {
    let (a, b) = (origin("a", &healthy()), origin("b", &healthy()));
    let port = free_port();
    let service = Service::tcp("db", port)
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key("upstreams/a", &a.addr().to_string());
    let pointsman = start(&service);
    pointsman.wait_for_port(port);
    let of_b = || {
        let names = (0..200).map(|_| client::get(local(port), "h.test", "/").text());
        names.filter(|name| name == "b").count()
    };
    wait_until_warm(&pointsman, "a");
    pointsman.put("tcp-services/db/warm_up", "1h");
    pointsman.put("tcp-services/db/upstreams/b", b.addr().to_string());
    wait_until("b is up", || is_up(&pointsman, "b"));
    assert!(of_b() < 40);
    pointsman.put("tcp-services/db/warm_up", "1s");
    wait_until_warm(&pointsman, "b");
    assert!(of_b() > 60);
}

#[test]
fn a_service_whose_upstreams_are_all_new_serves_at_once_and_alike() {
    let (a, b) = (origin("a", &healthy()), origin("b", &healthy()));
    let pointsman = start(&service(&[("a", &a)]).key("warm_up", "1h"));
    assert_eq!(answers(&pointsman, 50)["a"], 50);
    wait_until("it warms up", || share(&pointsman, "a").is_some());
    assert_eq!(answers(&pointsman, 50)["a"], 50);
    pointsman.put("services/web/upstreams/b", b.addr().to_string());
    wait_until("b is up", || is_up(&pointsman, "b"));
    let all = answers(&pointsman, 100);
    assert!(all["b"] > 25, "{all:?}");
}

#[test]
fn a_swap_in_the_middle_keeps_the_share() {
    let (a, b) = (origin("a", &healthy()), origin("b", &healthy()));
    let pointsman = start(&service(&[("a", &a)]));
    wait_until_warm(&pointsman, "a");
    pointsman.put("services/web/warm_up", "15s");
    pointsman.put("services/web/upstreams/b", b.addr().to_string());
    wait_until("b is on its way", || {
        share(&pointsman, "b").is_some_and(|share| share > 0.2)
    });
    // So slow that it stands still for this test.
    pointsman.put("services/web/warm_up", "1h");
    for (i, key) in ["timeout_server", "health_check_timeout", "timeout_server"]
        .iter()
        .enumerate()
    {
        let seconds = format!("{}s", 40 + i);
        pointsman.put(&format!("services/web/{key}"), &seconds);
        wait_until("the change", || pointsman.plan().dump.contains(&seconds));
        let share = share(&pointsman, "b").expect("it warms up still");
        assert!(share > 0.2, "{share} after {key}");
    }
    // Without the key shares say nothing, and with it again who is up is warm.
    pointsman.remove("services/web/warm_up");
    wait_until_warm(&pointsman, "b");
    assert_eq!(answers(&pointsman, 100)["b"], 50);
    pointsman.put("services/web/warm_up", "1h");
    wait_until("the change", || pointsman.plan().dump.contains("warm_up"));
    assert_eq!(share(&pointsman, "b"), None);
}

#[test]
fn one_that_comes_back_warms_up_again_and_serves_when_the_other_goes() {
    let (of_a, of_b) = (healthy(), healthy());
    let (a, b) = (origin("a", &of_a), origin("b", &of_b));
    let pointsman = start(&service(&[("a", &a), ("b", &b)]));
    for name in ["a", "b"] {
        wait_until_warm(&pointsman, name);
    }
    pointsman.put("services/web/warm_up", "1h");
    of_b.store(false, Ordering::Relaxed);
    wait_until("b is down", || {
        upstream(&pointsman, "b")["health"] == "down"
    });
    of_b.store(true, Ordering::Relaxed);
    wait_until("b warms up", || share(&pointsman, "b").is_some());
    let few = answers(&pointsman, 200);
    assert!(few["a"] > 160, "{few:?}");
    of_a.store(false, Ordering::Relaxed);
    wait_until("a is down", || {
        upstream(&pointsman, "a")["health"] == "down"
    });
    assert_eq!(answers(&pointsman, 100)["b"], 100);
}
