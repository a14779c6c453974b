//! Containers as keys: with an engine that does odd things, and with a real one where there is one.

use serde_json::json;

mod support;

use support::docker::{self, Container, docker};
use support::engine::{Engine, container};
use support::pointsman::Pointsman;
use support::wait_until;

const WEB: [(&str, &str); 2] = [("lb.service", "web"), ("lb.virtual_hosts", "www.test")];

fn follow(engine: &Engine, options: &str) -> Pointsman {
    let store = engine.store(options);
    let balancer = Pointsman::builder().store(&store).start();
    wait_until("the engine is followed", || engine.is_followed());
    balancer
}

fn wait_for(balancer: &Pointsman, upstreams: &[&str]) {
    wait_until(
        &format!("upstreams {upstreams:?}; log:\n{}", balancer.log()),
        || {
            let dump = balancer.plan().dump;
            (1..=5).all(|n| {
                let address = format!("10.9.0.{n}:8000");
                dump.contains(&address) == upstreams.contains(&address.as_str())
            })
        },
    );
}

#[test]
fn containers_come_and_go_with_their_events() {
    let engine = Engine::start();
    let one = container("web-1", "10.9.0.1", &WEB);
    let two = container("web-2", "10.9.0.2", &WEB);
    engine.put(&one);
    let balancer = follow(&engine, "");
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.run(&two);
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.2:8000"]);

    // Signals that end nothing, then one that does, while it still runs.
    engine.tell(&one, "kill", json!({"signal": "1"}));
    engine.tell(&one, "kill", json!({"signal": "10"}));
    engine.tell(&two, "kill", json!({"signal": "15"}));
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.die(&two);

    let mut again = container("web-2", "10.9.0.3", &WEB);
    again["State"]["StartedAt"] = json!("1970-01-01T00:00:10.0055Z");
    engine.run(&again);
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.3:8000"]);

    engine.tell(&again, "pause", json!({}));
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.tell(&again, "unpause", json!({}));
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.3:8000"]);

    again["Name"] = json!("/renamed");
    engine.put(&again);
    engine.tell(&again, "rename", json!({}));
    wait_until("the new name", || balancer.plan().dump.contains("renamed"));

    engine.die(&one);
    engine.die(&again);
    wait_for(&balancer, &[]);
}

#[test]
fn a_container_with_a_health_check_joins_when_it_is_healthy() {
    let engine = Engine::start();
    let mut one = container("web-1", "10.9.0.1", &WEB);
    one["State"]["Health"] = json!({"Status": "starting"});
    let balancer = follow(&engine, "");
    engine.run(&one);
    engine.run(&container("web-2", "10.9.0.2", &WEB));
    wait_for(&balancer, &["10.9.0.2:8000"]);
    one["State"]["Health"] = json!({"Status": "healthy"});
    engine.put(&one);
    engine.tell(&one, "health_status: healthy", json!({}));
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.2:8000"]);
    one["State"]["Health"] = json!({"Status": "unhealthy"});
    engine.put(&one);
    engine.tell(&one, "health_status: unhealthy", json!({}));
    wait_for(&balancer, &["10.9.0.2:8000"]);
    wait_until("it is told", || {
        let log = balancer.log();
        log.contains("web-1: is no upstream of services/web while its own health check")
    });
    engine.die(&one);
    wait_until("it is over", || {
        balancer.status()["stores"][0]["problems"] == 0
    });
}

#[test]
fn two_services_that_ask_for_one_host_are_told_of_each_other() {
    let engine = Engine::start();
    engine.put(&container("web-1", "10.9.0.1", &WEB));
    let balancer = follow(&engine, "");
    wait_for(&balancer, &["10.9.0.1:8000"]);
    let other = container(
        "other-1",
        "10.9.0.2",
        &[("lb.service", "aaa"), WEB[1], ("lb.balance", "leastconn")],
    );
    engine.run(&other);
    wait_until("it is told", || {
        let log = balancer.log();
        log.contains("\"www.test\" is asked for by services/web too: services/aaa has the requests")
    });
    engine.die(&other);
    wait_until("it is over", || {
        balancer.status()["stores"][0]["problems"] == 0
    });
}

#[test]
fn an_engine_that_is_away_or_talks_nonsense_changes_nothing() {
    let engine = Engine::start();
    engine.put(&container("web-1", "10.9.0.1", &WEB));
    let balancer = follow(&engine, "");
    wait_for(&balancer, &["10.9.0.1:8000"]);

    engine.down(true);
    wait_until("it is told", || {
        balancer.log().contains("store does not answer")
    });
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.put(&container("web-2", "10.9.0.2", &WEB));
    engine.down(false);
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.2:8000"]);

    engine.list(Some("<html>no</html>"));
    // The list is asked for before the stream is there, and what is said to nobody is lost.
    wait_until("the engine is followed again", || engine.is_followed());
    engine.babble("{\"Action\": [}\n");
    wait_until("it is told", || {
        balancer.log().contains("a list of containers failed")
    });
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.2:8000"]);
    engine.list(None);
    engine.put(&container("web-3", "10.9.0.3", &WEB));
    wait_for(
        &balancer,
        &["10.9.0.1:8000", "10.9.0.2:8000", "10.9.0.3:8000"],
    );
}

#[test]
fn a_silent_stream_is_made_up_for_by_the_list() {
    let engine = Engine::start();
    engine.put(&container("web-1", "10.9.0.1", &WEB));
    let balancer = follow(&engine, "?relist=1");
    engine.silence(true);
    engine.run(&container("web-2", "10.9.0.2", &WEB));
    wait_for(&balancer, &["10.9.0.1:8000", "10.9.0.2:8000"]);
    let before = engine.looks();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(
        engine.looks(),
        before,
        "a list without news looks at nobody"
    );
}

#[test]
fn a_container_that_cannot_be_looked_at_stays_and_is_told() {
    let engine = Engine::start();
    let one = container("web-1", "10.9.0.1", &WEB);
    engine.put(&one);
    let balancer = follow(&engine, "?relist=1");
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.break_looks(Some("web-1"));
    engine.tell(&one, "update", json!({}));
    wait_until("it is told", || {
        balancer.log().contains("web-1: cannot be looked at")
    });
    wait_for(&balancer, &["10.9.0.1:8000"]);
    engine.break_looks(None);
    wait_until("it is over", || {
        balancer.status()["stores"][0]["problems"] == 0
    });
}

#[test]
fn what_is_wrong_with_a_container_is_told_and_hurts_nobody_else() {
    let engine = Engine::start();
    engine.put(&container("web-1", "10.9.0.1", &WEB));
    let long = "x".repeat(1024 * 1024);
    let hostile = [
        ("lb.service", "a/b\nerror: forged"),
        ("lb.virtual_hosts", &long),
        ("lb.mode", "- x: {{ y }}"),
    ];
    engine.put(&container("bad-1", "10.9.0.2", &hostile));
    let mut nowhere = container("bad-2", "", &WEB);
    nowhere["NetworkSettings"]["Networks"] = json!({});
    engine.put(&nowhere);
    let balancer = follow(&engine, "");
    wait_for(&balancer, &["10.9.0.1:8000"]);
    for words in [
        "bad-1: label lb.virtual_hosts has 1048576 bytes",
        "bad-2: is in no network",
    ] {
        assert!(balancer.log().contains(words), "{}", balancer.log());
    }
    assert!(
        !balancer.log().contains("\nerror: forged"),
        "{}",
        balancer.log()
    );
    assert!(balancer.status()["stores"][0]["problems"].as_u64() >= Some(4));
}

#[test]
fn only_containers_that_link_here_are_balanced_to() {
    let engine = Engine::start();
    engine.put(&container(
        "web-1",
        "10.9.0.1",
        &[WEB[0], WEB[1], ("lb.link", "blue")],
    ));
    engine.put(&container(
        "web-2",
        "10.9.0.2",
        &[WEB[0], WEB[1], ("lb.link", "red")],
    ));
    engine.put(&container("web-3", "10.9.0.3", &WEB));
    let balancer = follow(&engine, "?link=blue");
    wait_for(&balancer, &["10.9.0.1:8000"]);
}

#[test]
fn a_thousand_containers_and_one_that_flaps_cost_what_changes() {
    let engine = Engine::start();
    for n in 0..1000 {
        let service = format!("s{}", n % 100);
        let host = format!("{service}.test");
        let labels = [
            ("lb.service", service.as_str()),
            ("lb.virtual_hosts", host.as_str()),
            ("lb.health_check", "off"),
        ];
        engine.put(&container(
            &format!("c{n}-"),
            &format!("10.8.{}.{}", n / 250, n % 250 + 1),
            &labels,
        ));
    }
    let balancer = follow(&engine, "");
    wait_until("all are there", || {
        balancer.plan().dump.contains("10.8.3.250:8000")
    });
    let flapping = container("web-1", "10.9.0.1", &WEB);
    let before = engine.looks();
    assert_eq!(before, 1000);
    for _ in 0..20 {
        engine.run(&flapping);
        wait_for(&balancer, &["10.9.0.1:8000"]);
        engine.die(&flapping);
        wait_for(&balancer, &[]);
    }
    assert!(engine.looks() - before <= 20, "one look for each start");
}

#[test]
fn a_real_engines_containers_are_served() {
    if !docker::is_here("the docker store with a real engine") {
        return;
    }
    docker::images(&["pointsman"]);
    let service = format!("t{}", std::process::id());
    let host = format!("{service}.test");
    let name = |n: u32| format!("{service}-{n}");
    let labels = [
        format!("lb.service={service}"),
        format!("lb.virtual_hosts={host}"),
        "lb.internal_port=8000".to_owned(),
    ];
    let labels = labels.each_ref().map(String::as_str);
    let balancer = Pointsman::builder().store("docker:").start();
    let one = Container::whoami(&name(1), &labels, &[]);
    balancer.wait_for_text(&host, "/", &name(1));
    let two = Container::whoami(&name(2), &labels, &[]);
    balancer.wait_for_text(&host, "/", &name(2));

    docker(&["pause", &two.0]);
    wait_until("the paused one is gone", || {
        !balancer.plan().dump.contains(&name(2))
    });
    docker(&["unpause", &two.0]);
    wait_until("it is back", || balancer.plan().dump.contains(&name(2)));
    docker(&["rename", &two.0, &name(3)]);
    let three = Container(name(3));
    wait_until("the new name", || balancer.plan().dump.contains(&name(3)));
    docker(&["restart", "-t", "1", &one.0]);
    balancer.wait_for_text(&host, "/", &name(1));
    drop(one);
    wait_until("removed", || !balancer.plan().dump.contains(&name(1)));
    for _ in 0..20 {
        assert_eq!(balancer.get(&host, "/").status(), 200);
    }
    drop(three);
    balancer.wait_for_status(&host, "/", 404);
}
