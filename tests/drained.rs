//! `pointsman wait --drained`: until no node has anything left at an upstream that takes nothing new.

mod support;

use std::sync::Arc;

use support::origin::{Gate, Origin, ok};
use support::pointsman::{Pointsman, Service, run};
use support::{client::Client, wait_until};

/// Answers `/held` when the gate is open, and everything else at once.
fn holding() -> (Origin, Gate) {
    let gate = Gate::default();
    let own = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/held" {
                own.pass();
            }
            conn.send(ok("done"));
        }
    });
    (origin, gate)
}

/// Runs the command; what it says, and whether it went well.
fn wait(balancer: &Pointsman, args: &[&str]) -> (bool, String) {
    let store = format!("dir:{}", balancer.keys_dir().display());
    let output = run(&[&["wait", "--store", &store], args].concat());
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8(text).expect("text"),
    )
}

#[test]
fn a_drained_upstream_is_waited_for_on_every_node_until_it_has_nothing() {
    let (held, gate) = holding();
    let other = Origin::saying("other");
    let east = Pointsman::builder().node("east").start();
    let store = format!("dir:{}", east.keys_dir().display());
    let west = Pointsman::builder().node("west").store(&store).start();
    east.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("upstreams/a", &held.addr().to_string())
            .key("upstreams/b", &other.addr().to_string()),
    );
    for node in [&east, &west] {
        node.wait_for_text("web.test", "/", "done");
    }
    let (is_well, told) = wait(&east, &["--drained", "a"]);
    assert!(
        !is_well && told.contains("services/web/a takes new requests"),
        "{told}"
    );

    // One request stays at west; round robin leads every other one there.
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(west.http())).collect();
    for client in &mut clients {
        client.send("GET /held HTTP/1.1\r\nHost: web.test\r\n\r\n");
    }
    held.wait_for(held.requests().len().max(1));
    wait_until("it is under way", || {
        let status = west.status();
        let upstream = &status["services"][0]["upstreams"][0];
        upstream["name"] == "a" && upstream["in_flight"] == 1
    });
    east.put("services/web/drain", "a");
    let (is_well, told) = wait(&east, &["--drained", "web/a", "--timeout", "1500ms"]);
    assert!(!is_well, "{told}");
    assert!(
        told.contains("not drained within")
            && told.contains("node west has 1 under way at services/web/a"),
        "{told}"
    );
    assert!(!told.contains("east"), "{told}");
    gate.open();
    let (is_well, told) = wait(&east, &["--drained", "services/web/a"]);
    assert!(
        is_well && told.contains("services/web/a is drained"),
        "{told}"
    );
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(west.status()["drains"][0]["done"], true);

    east.put("services/web/drain", "b");
    wait_until("it takes new ones again", || {
        let status = west.status();
        let drains = status["drains"].as_array().map_or(0, Vec::len);
        drains == 1 && status["drains"][0]["upstream"] == "b"
    });
}

#[test]
fn one_that_left_the_keys_is_waited_for_by_its_name() {
    let (held, gate) = holding();
    let other = Arc::new(Origin::saying("other"));
    let balancer = Pointsman::builder().start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("upstreams/a", &held.addr().to_string()),
    );
    balancer.wait_for_text("web.test", "/", "done");
    let mut client = Client::connect(balancer.http());
    client.send("GET /held HTTP/1.1\r\nHost: web.test\r\n\r\n");
    held.wait_for(2);
    balancer.put("services/web/upstreams/b", other.addr().to_string());
    balancer.remove("services/web/upstreams/a");
    let (is_well, told) = wait(&balancer, &["--drained", "web/a", "--timeout", "1s"]);
    assert!(
        !is_well && told.contains("has 1 under way at services/web/a"),
        "{told}"
    );
    gate.open();
    let (is_well, told) = wait(&balancer, &["--drained", "web/a"]);
    assert!(is_well, "{told}");
    let (is_well, told) = wait(&balancer, &["--drained", "web/nosuch"]);
    assert!(!is_well && told.contains("not in the keys"), "{told}");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn who_waits_for_a_place_by_an_older_plan_is_not_led_to_what_was_drained_meanwhile() {
    let (held, gate) = holding();
    let (drained, other) = (Origin::saying("drained"), Origin::saying("other"));
    let balancer = Pointsman::builder().setting("timeout_queue", "1s").start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("max_connections", "1")
            .key("timeout_queue", "20s")
            .key("upstreams/a", &held.addr().to_string())
            .key("upstreams/b", &drained.addr().to_string()),
    );
    balancer.wait_for_text("web.test", "/", "drained");
    let mut first = Client::connect(balancer.http());
    // Whoever's turn it is: one of two goes to the one that holds it.
    while balancer.status()["services"][0]["upstreams"][0]["in_flight"] != 1 {
        first = Client::connect(balancer.http());
        first.send("GET /held HTTP/1.1\r\nHost: web.test\r\n\r\n");
        wait_until("it is there, or answered", || {
            let status = balancer.status();
            status["services"][0]["active"] == 0
                || status["services"][0]["upstreams"][0]["in_flight"] == 1
        });
    }
    let mut queued = Client::connect(balancer.http());
    queued.send("GET /queued HTTP/1.1\r\nHost: web.test\r\n\r\n");
    wait_until("it waits for a place", || {
        balancer.status()["services"][0]["queued"] == 1
    });
    // The plan that the request holds to knows nothing of the last of these.
    balancer.put("services/web/upstreams/c", other.addr().to_string());
    balancer.put("services/web/drain", "a, b");
    let (is_well, told) = wait(&balancer, &["--drained", "web/b"]);
    assert!(is_well, "{told}");
    let before = drained.requests().len();
    gate.open();
    assert_eq!(first.response().status(), 200);
    assert_eq!(queued.response().text(), "other");
    assert_eq!(drained.requests().len(), before);
}

#[test]
fn a_node_that_is_heard_of_no_more_is_not_taken_for_done() {
    let (held, gate) = holding();
    let other = Origin::saying("other");
    let east = Pointsman::builder().node("east").start();
    let store = format!("dir:{}", east.keys_dir().display());
    let west = Pointsman::builder().node("west").store(&store).start();
    east.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("upstreams/a", &held.addr().to_string())
            .key("upstreams/b", &format!("{} weight=0", other.addr())),
    );
    west.wait_for_text("web.test", "/", "done");
    let mut client = Client::connect(west.http());
    client.send("GET /held HTTP/1.1\r\nHost: web.test\r\n\r\n");
    held.wait_for(2);
    east.put("services/web/drain", "a");
    wait_until("west tells", || west.status()["drains_left"] == 1);
    let (is_well, told) = wait(&east, &["--drained", "web/a", "--timeout", "1s"]);
    assert!(
        !is_well && told.contains("node west has 1 under way"),
        "{told}"
    );
    west.freeze();
    let (is_well, told) = wait(&east, &["--drained", "web/a", "--timeout", "20s"]);
    west.thaw();
    gate.open();
    assert!(!is_well, "{told}");
    assert!(
        told.contains("node west does not report any more: it said last that has 1 under way"),
        "{told}"
    );
}

#[test]
fn a_change_is_not_blamed_for_what_was_refused_before_it() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("upstreams/a", &origin.addr().to_string())
            .key("upstreams/b", &origin.addr().to_string()),
    );
    balancer.wait_for_text("web.test", "/", "here");
    balancer.put("services/bad/balance", "sideways");
    balancer.wait_for_status_words(&["services/bad"]);
    let store = format!("dir:{}", balancer.keys_dir().display());
    for change in ["drain", "undrain"] {
        let output = run(&[change, "web/a", "--store", &store, "--wait"]);
        // With the key `drain` goes the newest of all.
        assert!(output.status.success(), "{change}: {output:?}");
    }
}

#[test]
fn what_is_drained_is_told_with_the_time_since_when_and_counts_as_neither_up_nor_down() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .key("health_check", "tcp")
            .key("upstreams/a", &origin.addr().to_string())
            .key("upstreams/b", "127.0.0.1:1"),
    );
    balancer.wait_for_text("web.test", "/", "here");
    let detail = || {
        let path = "/v1/running/services/http/web";
        let answer = support::client::get(balancer.stats(), "localhost", path);
        serde_json::from_str::<serde_json::Value>(&answer.text()).expect("JSON")
    };
    wait_until("one is down", || detail()["state"] == "degraded");
    let before = detail()["upstreams"][1]["since"].clone();
    balancer.put("services/web/drain", "b");
    wait_until("it is drained", || {
        detail()["upstreams"][1]["state"] == "drained"
    });
    let web = detail();
    assert_eq!(
        (&web["state"], &web["upstreams_up"]),
        (&"up".into(), &1.into())
    );
    assert_eq!(web["upstreams_drained"], 1);
    assert_eq!(web["upstreams"][1]["health"], "down");
    assert!(
        web["upstreams"][1]["since"].as_str() > before.as_str(),
        "{web}"
    );
    balancer.put("services/web/drain", "a, b");
    wait_until("nobody is left", || detail()["state"] == "drained");
    assert_eq!(balancer.get("web.test", "/").status(), 503);
}
