//! Rolling redeploys under load: three upstreams, one after another, are replaced by new ones.

mod support;

use std::time::Duration;

use support::docker::{self, Container, docker};
use support::load::Load;
use support::pointsman::Pointsman;
use support::wait_until;

const CLIENTS: usize = 96;
const PACE: Duration = Duration::from_millis(20);

/// Each request is under way for a while, so that an end hits some.
const TARGET: &str = "/work?delay=40ms";

/// What failed while three containers were replaced, each started with `args`.
fn redeploy(args: &[&str]) -> u64 {
    let service = format!(
        "deploy{}-{}",
        std::process::id(),
        args.len() + args[1].len()
    );
    let host = format!("{service}.test");
    let labels = [
        format!("lb.service={service}"),
        format!("lb.virtual_hosts={host}"),
        "lb.internal_port=8000".to_owned(),
    ];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let start = |n: u32| Container::whoami(&format!("{service}-{n}"), &labels, args);
    let balancer = Pointsman::builder().store("docker:").start();
    let is_up = |container: &Container| {
        let status = balancer.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let mut upstreams = services.iter().filter_map(|s| s["upstreams"].as_array());
        upstreams.any(|all| {
            let mut all = all.iter();
            all.any(|u| u["name"] == container.0.as_str() && u["health"] == "up")
        })
    };
    let mut old: Vec<_> = (1..=3).map(start).collect();
    for container in &old {
        wait_until("it is up", || is_up(container));
    }
    let load = Load::default();
    load.posts(CLIENTS, balancer.http(), (&host, TARGET), "hi", PACE);
    load.assert_passes(500, "nothing changes");
    for n in 4..=6 {
        let new = start(n);
        wait_until("the new one is up", || is_up(&new));
        let leaves = old.remove(0);
        docker(&["stop", "-t", "10", &leaves.0]);
        old.push(new);
    }
    let before = load.figures().requests;
    wait_until("load goes on", || load.figures().requests > before + 500);
    let (failures, _) = load.failures();
    println!(
        "{args:?}: {} requests, {failures} failed",
        load.figures().requests
    );
    if args[1] != "none" {
        load.finish("three upstreams were replaced");
    }
    failures
}

#[test]
fn a_redeploy_of_upstreams_that_drain_fails_no_request_and_of_others_does() {
    if !docker::is_here("redeploys without errors") {
        return;
    }
    docker::images(&["pointsman"]);
    assert_eq!(redeploy(&["--drain", "1s"]), 0);
    // Nobody can answer a request that was with an upstream that ended: the proof that the load would have told.
    assert!(redeploy(&["--drain", "none"]) > 0);
}
