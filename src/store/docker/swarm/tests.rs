//! What the engine's lists come to.

use serde_json::{Value, json};

use super::members::members;
use super::*;

/// A task of service `s1`, as an engine writes it.
fn task(id: &str, slot: u64, address: &str) -> Value {
    json!({
        "ID": id, "ServiceID": "s1", "Slot": slot, "NodeID": "n1",
        "Spec": {"ContainerSpec": {"Labels": null, "Env": ["LB_INTERNAL_PORT=8000", "odd"]}, "Networks": [{"Target": "net1"}]},
        "Status": {"State": "running", "ContainerStatus": {"ContainerID": format!("c{id}"), "PID": 1}, "PortStatus": {}},
        "DesiredState": "running",
        "NetworksAttachments": [
            {"Network": {"ID": "in", "Spec": {"Name": "ingress", "Ingress": true}, "DriverState": {"Name": "overlay"}}, "Addresses": ["10.255.0.9/16"]},
            {"Network": {"ID": "net1", "Spec": {"Name": "shop_back"}, "DriverState": {"Name": "overlay"}}, "Addresses": [address]},
        ],
    })
}

fn service(labels: Value) -> Value {
    json!({
        "ID": "s1",
        "Spec": {"Name": "shop_web", "Labels": labels, "TaskTemplate": {"ContainerSpec": {"Env": ["LB_INTERNAL_PORT=8000"]}}},
        "Endpoint": {
            "Spec": {"Mode": "vip"},
            "Ports": [{"Protocol": "tcp", "TargetPort": 8000, "PublishedPort": 80, "PublishMode": "ingress"}, {"Protocol": "udp", "TargetPort": 53}],
            "VirtualIPs": [{"NetworkID": "in", "Addr": "10.255.0.2/16"}, {"NetworkID": "net1", "Addr": "10.0.1.2/24"}],
        },
    })
}

fn world(service: Value, tasks: Vec<Value>) -> World {
    World {
        services: vec![serde_json::from_value(service).expect("a service")],
        tasks: serde_json::from_value(Value::from(tasks)).expect("tasks"),
        nodes: serde_json::from_value(json!([
            {"ID": "n1", "Status": {"Addr": "0.0.0.0"}, "ManagerStatus": {"Addr": "192.0.2.1:2377"}},
            {"ID": "n2", "Status": {"Addr": "192.0.2.2"}, "ManagerStatus": null},
        ]))
        .expect("nodes"),
        own_node: "n1".to_owned(),
        own_address: String::new(),
    }
}

fn labels() -> Value {
    json!({"lb.virtual_hosts": "www.test", "com.docker.stack.namespace": "shop"})
}

#[test]
fn a_running_task_has_what_service_and_container_say() {
    let mut two = task("abcdefghijklmnop", 0, "10.0.1.4/24");
    two["Spec"]["ContainerSpec"]["Labels"] =
        json!({"lb.virtual_hosts": "other.test", "lb.weight": "2"});
    let mut leaving = task("leaving", 3, "10.0.1.5/24");
    leaving["DesiredState"] = json!("shutdown");
    let mut starting = task("starting", 4, "10.0.1.6/24");
    starting["Status"]["State"] = json!("starting");
    let mut orphan = task("orphan", 5, "10.0.1.7/24");
    orphan["ServiceID"] = json!("gone");
    let tasks = vec![
        task("one", 1, "10.0.1.3/24"),
        two,
        leaving,
        starting,
        orphan,
    ];
    let members = members(&world(service(labels()), tasks));
    let ids: Vec<_> = members.keys().map(String::as_str).collect();
    assert_eq!(ids, ["task abcdefghijklmnop", "task one"]);

    let one = &members["task one"];
    let facts = &one.seen.facts;
    assert_eq!(one.container.as_deref(), Some("cone"));
    assert_eq!(facts.name, "shop_web.1.one");
    assert_eq!(
        (facts.service.as_deref(), facts.stack.as_deref()),
        (Some("web"), Some("shop"))
    );
    // Never in the network of the mesh.
    assert_eq!(facts.networks.len(), 1);
    assert_eq!(facts.networks["shop_back"], "10.0.1.3".parse().ok());
    assert!(facts.overlays.contains("shop_back"));
    assert_eq!(facts.env["LB_INTERNAL_PORT"], "8000");
    let ports: Vec<_> = facts.ports.iter().map(|port| port.number).collect();
    assert_eq!(ports, [8000]);

    let two = &members["task abcdefghijklmnop"].seen.facts;
    assert_eq!(two.name, "shop_web.n1.abcdefghijkl");
    assert_eq!(two.labels["lb.virtual_hosts"], "www.test");
    assert_eq!(two.labels["lb.weight"], "2");
}

#[test]
fn a_service_by_its_virtual_address_is_one_member_however_many_tasks_it_has() {
    for vip in [
        "com.docker.lb.backend_mode=vip",
        "lb.backend_mode=vip",
        "LB_BACKEND_MODE=vip",
        "traefik.docker.lbswarm=true",
        "traefik.swarm.lbswarm=True",
    ] {
        let (label, value) = vip.split_once('=').expect("a label");
        let said = service(json!({label: value}));
        let one = members(&world(said.clone(), vec![task("a", 1, "10.0.1.3/24")]));
        let tasks = vec![task("a", 1, "10.0.1.3/24"), task("b", 2, "10.0.1.4/24")];
        let two = members(&world(said.clone(), tasks));
        assert_eq!(one, two, "{vip}");
        let facts = &one["service s1"].seen.facts;
        assert_eq!(facts.name, "shop_web");
        assert_eq!(facts.networks["shop_back"], "10.0.1.2".parse().ok());
        assert_eq!(facts.networks.len(), 1);
        assert!(members(&world(said.clone(), vec![])).is_empty());

        // endpoint_mode dnsrr
        let mut without = said;
        without["Endpoint"] = json!({"Spec": {"Mode": "dnsrr"}});
        let tasks = members(&world(without, vec![task("a", 1, "10.0.1.3/24")]));
        assert!(tasks.contains_key("task a"), "{vip}");
    }
}

#[test]
fn nodes_have_addresses_for_ports_that_they_publish() {
    let mut one = task("one", 1, "10.0.1.3/24");
    one["Status"]["PortStatus"] = json!({"Ports": [
        {"Protocol": "tcp", "TargetPort": 8000, "PublishedPort": 18000, "PublishMode": "host"}
    ]});
    let mut two = task("two", 2, "");
    two["NodeID"] = json!("n2");
    two["NetworksAttachments"] = json!([{"Network": {"ID": "h", "Spec": {"Name": "host"}, "DriverState": null}, "Addresses": null}]);
    let world = world(service(labels()), vec![one, two]);
    assert!(members::needs_nodes(&world.tasks));
    let members = members(&world);
    let facts = &members["task one"].seen.facts;
    assert_eq!(
        facts.ports[0].published,
        ["192.0.2.1:18000".parse().unwrap()]
    );
    let facts = &members["task two"].seen.facts;
    assert!(facts.is_on_host && facts.networks.is_empty());
    assert_eq!(facts.host, "192.0.2.2".parse().ok());
    assert!(!members::needs_nodes(&[]));
}
