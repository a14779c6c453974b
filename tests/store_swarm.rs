//! Services and tasks of a Swarm as keys, with an engine that does odd things. `swarm_engine.rs` has a real one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

mod support;

use support::engine::{Engine, Swarm, container};
use support::pointsman::Pointsman;
use support::wait_until;

const HOST: (&str, &str) = ("lb.virtual_hosts", "www.test");

fn service(name: &str, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "ID": format!("s-{name}"),
        "Spec": {"Name": name, "Labels": labels, "TaskTemplate": {"ContainerSpec": {}}},
        "Endpoint": {
            "Spec": {"Mode": "vip"}, "Ports": [{"Protocol": "tcp", "TargetPort": 8000, "PublishMode": "ingress"}],
            "VirtualIPs": [{"NetworkID": "net1", "Addr": "10.9.0.5/24"}],
        },
    })
}

/// A task that runs at 10.9.0.`n`; its container is called `c` and its number.
fn task(service: &str, n: u32) -> Value {
    json!({
        "ID": format!("{service}{n:022}"), "ServiceID": format!("s-{service}"), "Slot": n, "NodeID": "n1",
        "Spec": {"ContainerSpec": {}},
        "Status": {"State": "running", "ContainerStatus": {"ContainerID": format!("{:0<64}", format!("c{n}"))}},
        "DesiredState": "running",
        "NetworksAttachments": [
            {"Network": {"ID": "net1", "Spec": {"Name": "back"}, "DriverState": {"Name": "macvlan"}}, "Addresses": [format!("10.9.0.{n}/24")]},
        ],
    })
}

/// The container of a task on this node.
fn container_of(n: u32) -> Value {
    let labels = [("com.docker.swarm.task.id", "x"), HOST];
    container(&format!("c{n}"), &format!("10.9.0.{n}"), &labels)
}

fn manager(services: Vec<Value>, tasks: Vec<Value>) -> Engine {
    let engine = Engine::start();
    engine.swarm(|swarm| {
        swarm.is_manager = true;
        swarm.services = services;
        swarm.tasks = tasks;
    });
    engine
}

fn follow(engine: &Engine, options: &str) -> Pointsman {
    let store = engine.store(options);
    let balancer = Pointsman::builder().store(&store).start();
    wait_until("the engine is followed", || engine.is_followed());
    balancer
}

/// Starts it where it may not be ready for a while.
fn begin(engine: &Engine) -> Pointsman {
    let balancer = Pointsman::builder().store(&engine.store(""));
    balancer.without_waiting().start()
}

fn wait_for(balancer: &Pointsman, upstreams: &[u32]) {
    let mut last = String::new();
    wait_until(&format!("upstreams {upstreams:?}"), || {
        last = balancer.plan().dump;
        (1..=6).all(|n| last.contains(&format!("10.9.0.{n}:8000")) == upstreams.contains(&n))
    });
}

fn asked(engine: &Engine, list: &str) -> usize {
    engine.swarm(|swarm| swarm.asked.get(list).copied().unwrap_or_default())
}

#[test]
fn services_come_scale_roll_and_go() {
    let engine = manager(vec![], vec![]);
    let balancer = follow(&engine, "");
    wait_until("it is told", || {
        balancer
            .log()
            .contains("Swarm manager: following services and tasks")
    });

    engine.swarm(|swarm| {
        swarm.services = vec![service("web", &[HOST])];
        swarm.tasks = vec![task("web", 1)];
    });
    engine.tell_service("s-web", "create");
    wait_for(&balancer, &[1]);
    assert!(
        balancer.plan().dump.contains("web.1.web000000000"),
        "{}",
        balancer.plan().dump
    );

    // Scaled without a word: the poll sees it.
    engine.swarm(|swarm| swarm.tasks.push(task("web", 2)));
    wait_for(&balancer, &[1, 2]);

    // Rolling: the new one prepares, then runs, then the old one is told to end and is still running.
    let mut next = task("web", 3);
    next["Status"]["State"] = json!("starting");
    engine.swarm(|swarm| swarm.tasks.push(next));
    engine.swarm(|swarm| swarm.tasks[2]["Status"]["State"] = json!("running"));
    wait_for(&balancer, &[1, 2, 3]);
    engine.swarm(|swarm| swarm.tasks[0]["DesiredState"] = json!("shutdown"));
    wait_for(&balancer, &[2, 3]);
    engine.swarm(|swarm| swarm.tasks.remove(0));

    // Labels are the service's.
    engine.swarm(|swarm| {
        swarm.services = vec![service("web", &[("lb.virtual_hosts", "other.test")])]
    });
    engine.tell_service("s-web", "update");
    wait_until("the new host", || {
        balancer.plan().dump.contains("other.test")
    });

    engine.swarm(|swarm| {
        *swarm = Swarm {
            is_manager: true,
            ..Swarm::default()
        }
    });
    engine.tell_service("s-web", "remove");
    wait_for(&balancer, &[]);
}

#[test]
fn a_task_whose_container_ends_here_leaves_before_swarm_says_so() {
    let tasks = vec![task("web", 1), task("web", 2), task("web", 3)];
    let engine = manager(vec![service("web", &[HOST])], tasks);
    for n in 1..=3 {
        engine.put(&container_of(n));
    }
    // So long that only events can be the reason.
    let balancer = follow(&engine, "?poll=60s");
    wait_for(&balancer, &[1, 2, 3]);
    assert!(
        !balancer.plan().dump.contains("services/c1"),
        "announced twice"
    );
    engine.tell(&container_of(1), "kill", json!({"signal": "1"}));
    engine.tell(&container_of(2), "kill", json!({"signal": "15"}));
    wait_for(&balancer, &[1, 3]);
    engine.die(&container_of(3));
    wait_for(&balancer, &[1]);

    // Paused and let go on: the same task.
    engine.tell(&container_of(1), "pause", json!({}));
    wait_for(&balancer, &[]);
    engine.tell(&container_of(1), "unpause", json!({}));
    wait_for(&balancer, &[1]);

    // Events of tasks' containers are reason enough to ask.
    engine.swarm(|swarm| swarm.tasks.push(task("web", 4)));
    let labelled = json!({"com.docker.swarm.task.id": "x"});
    engine.put(&container_of(4));
    engine.tell(&container_of(4), "start", labelled);
    wait_for(&balancer, &[1, 4]);
}

#[test]
fn scaling_a_service_by_its_virtual_address_changes_nothing() {
    let vip = [HOST, ("lb.backend_mode", "vip")];
    let engine = manager(vec![service("web", &vip)], vec![task("web", 1)]);
    let balancer = follow(&engine, "?poll=100ms");
    wait_for(&balancer, &[5]);
    let before = balancer.status()["stores"][0]["revision"].clone();
    let lists = asked(&engine, "services");
    engine.swarm(|swarm| swarm.tasks = (1..=4).map(|n| task("web", n)).collect());
    wait_until("it was looked at", || asked(&engine, "services") > lists);
    let polls = asked(&engine, "tasks");
    wait_until("and once more", || asked(&engine, "tasks") > polls + 1);
    wait_for(&balancer, &[5]);
    assert_eq!(balancer.status()["stores"][0]["revision"], before);

    // Without one, tasks are taken, and it is told.
    engine.swarm(|swarm| swarm.services[0]["Endpoint"]["VirtualIPs"] = Value::Null);
    engine.tell_service("s-web", "update");
    wait_for(&balancer, &[1, 2, 3, 4]);
    wait_until("it is told", || {
        balancer
            .log()
            .contains("the service has no virtual address, so its tasks are taken")
    });
}

#[test]
fn nothing_new_costs_one_request() {
    let engine = manager(vec![service("web", &[HOST])], vec![task("web", 1)]);
    let balancer = follow(&engine, "?poll=100ms");
    wait_for(&balancer, &[1]);
    let revision = balancer.status()["stores"][0]["revision"].clone();
    let (before, polls) = (asked(&engine, "services"), asked(&engine, "tasks"));
    wait_until("ten polls", || asked(&engine, "tasks") > polls + 10);
    assert_eq!(asked(&engine, "services"), before);
    assert_eq!(asked(&engine, "info"), 1);
    assert_eq!(asked(&engine, "nodes"), 0);
    assert_eq!(balancer.status()["stores"][0]["revision"], revision);
}

#[test]
fn a_service_belongs_to_a_cluster() {
    let interlock = |name: &str, cluster: &str| {
        let labels = [
            ("com.docker.lb.hosts", "www.test"),
            ("com.docker.lb.port", "8000"),
            ("com.docker.lb.service_cluster", cluster),
        ];
        service(name, &labels)
    };
    let services = vec![
        interlock("blue", "blue"),
        interlock("red", "red"),
        service("none", &[HOST]),
    ];
    let tasks = vec![task("blue", 1), task("red", 2), task("none", 3)];
    let engine = manager(services, tasks);
    let balancer = follow(&engine, "?link=blue");
    wait_for(&balancer, &[1]);
}

#[test]
fn a_canary_shares_by_its_number_of_tasks() {
    let interlock = |name: &str, hosts: &str| {
        service(
            name,
            &[
                ("com.docker.lb.hosts", hosts),
                ("com.docker.lb.port", "8000"),
            ],
        )
    };
    let services = vec![
        interlock("web", "www.test"),
        interlock("web-next", "www.test"),
    ];
    let mut tasks: Vec<_> = (1..=4).map(|n| task("web", n)).collect();
    tasks.push(task("web-next", 5));
    let engine = manager(services, tasks);
    // A container of no Swarm does so too.
    engine.put(&container(
        "zed",
        "10.9.0.6",
        &[
            ("com.docker.lb.hosts", "www.test"),
            ("com.docker.lb.port", "8000"),
        ],
    ));
    let balancer = follow(&engine, "");
    wait_for(&balancer, &[1, 2, 3, 4, 5, 6]);
    let services = |balancer: &Pointsman| {
        let dump = balancer.plan().dump;
        dump.contains("web-next.5.") && !dump.contains("service web-next ")
    };
    assert!(services(&balancer), "{}", balancer.plan().dump);
    assert!(
        balancer
            .log()
            .contains("services/web-next asks for the same requests as services/web"),
        "{}",
        balancer.log()
    );
    assert_eq!(balancer.status()["stores"][0]["problems"], 0);
    engine.swarm(|swarm| swarm.services[1] = interlock("web-next", "next.test"));
    engine.tell_service("s-web-next", "update");
    wait_until("its own again", || {
        balancer.plan().dump.contains("next.test")
    });
    wait_for(&balancer, &[1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_manager_without_a_leader_keeps_what_there_was() {
    let engine = manager(vec![service("web", &[HOST])], vec![task("web", 1)]);
    let balancer = follow(&engine, "?poll=100ms");
    wait_for(&balancer, &[1]);
    for (status, body, told) in [
        (
            "503 Service Unavailable",
            "{\"message\":\"The swarm does not have a leader.\"}",
            "answered with 503: The swarm does not have a leader.",
        ),
        (
            "200 OK",
            "<html>no</html>",
            "a list of tasks failed: expected value",
        ),
        (
            "200 OK",
            "[{\"Slot\": \"x\"}]",
            "a list of tasks failed: invalid type",
        ),
    ] {
        engine.swarm(|swarm| swarm.instead = Some((status, body.to_owned())));
        wait_until(told, || balancer.log().contains(told));
        wait_for(&balancer, &[1]);
        // Containers go on.
        let other = container("other", "10.9.0.6", &[HOST]);
        engine.run(&other);
        wait_for(&balancer, &[1, 6]);
        engine.die(&other);
        wait_for(&balancer, &[1]);
        let note = &balancer.status()["stores"][0]["note"];
        assert!(
            note.as_str()
                .is_some_and(|note| note.contains("stay as they are")),
            "{note}"
        );
        engine.swarm(|swarm| swarm.instead = None);
        wait_until("it is over", || {
            balancer.status()["stores"][0]
                .get("note")
                .is_none_or(Value::is_null)
        });
    }
    engine.swarm(|swarm| swarm.tasks.push(task("web", 2)));
    wait_for(&balancer, &[1, 2]);
}

#[test]
fn a_first_tree_waits_for_the_swarm() {
    let engine = manager(vec![service("web", &[HOST])], vec![task("web", 1)]);
    engine.put(&container("other", "10.9.0.6", &[HOST]));
    let leaderless = "{\"message\":\"The swarm does not have a leader.\"}";
    engine.swarm(|swarm| {
        swarm.instead = Some(("503 Service Unavailable", leaderless.to_owned()));
    });
    let mut balancer = begin(&engine);
    wait_until("it is told", || {
        balancer
            .log()
            .contains("the first look at the Swarm failed")
    });
    assert!(!balancer.log().contains("keys read"));
    engine.swarm(|swarm| swarm.instead = None);
    balancer.wait_until_ready();
    wait_for(&balancer, &[1, 6]);

    // An engine that is about to join.
    let engine = manager(vec![service("web", &[HOST])], vec![task("web", 1)]);
    engine.swarm(|swarm| {
        swarm.is_manager = false;
        swarm.state = "pending";
    });
    let mut balancer = begin(&engine);
    wait_until("it was asked again", || asked(&engine, "info") > 1);
    assert!(!balancer.log().contains("keys read"));
    engine.swarm(|swarm| swarm.is_manager = true);
    balancer.wait_until_ready();
    wait_for(&balancer, &[1]);
}

#[test]
fn who_manages_no_swarm_has_its_containers_alone() {
    let plain = [HOST];
    let tasks = vec![task("web", 1)];
    let engine = manager(vec![service("web", &plain)], tasks);
    engine.put(&container_of(2));
    // Turned off: the container of a task is a container.
    let off = follow(&engine, "?swarm=off");
    wait_for(&off, &[2]);
    assert_eq!(asked(&engine, "info"), 0);
    drop(off);

    let balancer = follow(&engine, "?relist=1");
    wait_for(&balancer, &[1]);
    engine.swarm(|swarm| {
        swarm.is_manager = false;
        swarm.state = "active";
        swarm.instead = Some((
            "503 Service Unavailable",
            "{\"message\":\"This node is not a swarm manager.\"}".to_owned(),
        ));
    });
    wait_for(&balancer, &[2]);
    engine.swarm(|swarm| {
        swarm.is_manager = true;
        swarm.instead = None;
    });
    wait_for(&balancer, &[1]);
    // An engine that starts again is no manager for a moment.
    engine.swarm(|swarm| {
        swarm.is_manager = false;
        swarm.state = "pending";
    });
    let polls = asked(&engine, "info");
    wait_until("it was asked", || asked(&engine, "info") > polls + 1);
    wait_for(&balancer, &[1]);
}

#[test]
fn what_may_not_be_asked_for_is_told_and_containers_are_served() {
    let engine = manager(vec![service("web", &[HOST])], vec![task("web", 1)]);
    engine.put(&container_of(2));
    engine.swarm(|swarm| swarm.instead = Some(("403 Forbidden", "<html>".to_owned())));
    let balancer = follow(&engine, "");
    wait_for(&balancer, &[2]);
    let note = &balancer.status()["stores"][0]["note"];
    assert!(
        note.as_str().is_some_and(|note| note.contains("swarm=off")),
        "{note}"
    );
}

#[test]
fn hostile_services_hurt_nobody_else() {
    let long = "x".repeat(1024 * 1024);
    let hostile = [
        ("lb.service", "a/b\nerror: forged"),
        ("lb.virtual_hosts", &long),
        ("com.docker.compose.service", "web"),
    ];
    let mut services = vec![service("web", &[HOST]), service("bad", &hostile)];
    services.push(service("nowhere", &[("lb.virtual_hosts", "nowhere.test")]));
    services.push(json!({"ID": "s-null", "Spec": {"Name": "null", "Labels": null, "TaskTemplate": null}, "Endpoint": {}}));
    let mut nowhere = task("nowhere", 3);
    nowhere["NetworksAttachments"] = Value::Null;
    let tasks = vec![task("web", 1), task("bad", 2), nowhere, task("null", 4)];
    let engine = manager(services, tasks);
    let balancer = follow(&engine, "");
    wait_for(&balancer, &[1]);
    for words in [
        "label lb.virtual_hosts has 1048576 bytes",
        "nowhere.3.nowhere00000: is in no network",
    ] {
        assert!(balancer.log().contains(words), "{}", balancer.log());
    }
    assert!(
        !balancer.log().contains("\nerror: forged"),
        "{}",
        balancer.log()
    );
}
