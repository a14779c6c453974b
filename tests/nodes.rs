//! Nodes that are gone: a fleet misses who is on the status board no more.

mod support;

use serde_json::Value;
use support::client::get;
use support::engine::Engine;
use support::pointsman::Pointsman;
use support::wait_until;

fn json(balancer: &Pointsman, path: &str) -> Value {
    let answer = get(balancer.stats(), "localhost", path);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// The row of a node.
fn row(balancer: &Pointsman, node: &str) -> Option<Value> {
    let nodes = json(balancer, "/v1/nodes");
    let rows = nodes["nodes"].as_array().expect("rows");
    rows.iter().find(|row| row["node"] == node).cloned()
}

fn metric(balancer: &Pointsman) -> u64 {
    let text = get(balancer.stats(), "localhost", "/metrics").text();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("pointsman_nodes "));
    value.and_then(|n| n.parse().ok()).expect("the metric")
}

fn has_event(balancer: &Pointsman, name: &str, node: &str) -> bool {
    let events = json(balancer, "/v1/events");
    let mut events = events["events"].as_array().expect("events").iter();
    events.any(|one| one["event"] == name && one["fields"]["node"] == node)
}

#[test]
fn a_node_that_goes_is_missed_and_welcomed_back() {
    let one = Pointsman::builder().node("n1").start();
    let keys = format!("dir:{}", one.keys_dir().display());
    let mut two = Pointsman::builder()
        .node("n2")
        .store(&keys)
        .without_certificate()
        .start();
    wait_until("both are there", || {
        row(&one, "n1").is_some() && row(&one, "n2").is_some()
    });
    assert_eq!(metric(&one), 2);
    let counts = &json(&one, "/v1/overview")["nodes"];
    assert_eq!(
        (counts["total"].as_u64(), counts["gone"].as_u64()),
        (Some(2), Some(0))
    );

    two.kill();
    wait_until("its status is too old", || {
        row(&one, "n2").is_some_and(|row| row["gone_since"].is_string())
    });
    wait_until("that is told", || has_event(&one, "node_gone", "n2"));
    assert!(row(&one, "n1").is_some_and(|row| row["gone_since"].is_null()));
    assert_eq!(metric(&one), 1);
    wait_until("the overview has it", || {
        let counts = &json(&one, "/v1/overview")["nodes"];
        counts["total"] == 2 && counts["gone"] == 1
    });

    two.start_again();
    wait_until("it is back", || {
        row(&one, "n2").is_some_and(|row| row["gone_since"].is_null())
    });
    assert!(has_event(&one, "node_back", "n2"));
    assert_eq!(metric(&one), 2);

    // In good order: nobody can tell the difference, but nobody has to wait for its age.
    two.terminate();
    wait_until("it is gone", || {
        row(&one, "n2").is_some_and(|row| row["gone_since"].is_string())
    });
    assert!(!has_event(&one, "node_gone", "n1"));
}

#[test]
fn where_there_is_no_board_nobody_is_missed() {
    let engine = Engine::start();
    let balancer = Pointsman::builder().store(&engine.store("")).start();
    wait_until("the engine is followed", || engine.is_followed());
    let nodes = json(&balancer, "/v1/nodes");
    assert_eq!(nodes["nodes"], Value::Array(Vec::new()));
    assert!(nodes["problem"].is_string(), "{nodes}");
    // Itself.
    let counts = &json(&balancer, "/v1/overview")["nodes"];
    assert_eq!(
        (counts["total"].as_u64(), counts["gone"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(metric(&balancer), 1);
    let told = balancer.log();
    assert!(
        !told.contains("node_gone") && !told.contains("status of"),
        "{told}"
    );
}
