//! What is in `compose/`, brought up on a real Docker engine and changed under load.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::Client;
use support::docker::{self, docker};
use support::load::Load;
use support::pointsman::local;
use support::{free_port, wait_until};

const PACE: Duration = Duration::from_millis(20);
const CLIENTS: usize = 32;

/// How long a cluster of databases may take to stand.
const CLUSTER: Duration = Duration::from_secs(120);

/// A project of docker-compose that goes with its test.
struct Project {
    name: String,
    file: String,
    env: Vec<(String, String)>,
}

impl Project {
    fn up(file: &str, env: &[(&str, String)]) -> Self {
        let what = file.split('.').next().unwrap_or_default().replace('-', "");
        let name = format!("pmtest{}{what}", std::process::id());
        let mut env: Vec<_> = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect();
        for (name, image) in [
            ("POINTSMAN_IMAGE", "pointsman:test"),
            ("ETCD_IMAGE", "pointsman-etcd:test"),
            ("MARIADB_IMAGE", "pointsman-mariadb:test"),
        ] {
            env.push((name.to_owned(), image.to_owned()));
        }
        env.push(("LB_LINK".to_owned(), name.clone()));
        let file = format!("{}/compose/{file}", env!("CARGO_MANIFEST_DIR"));
        let project = Self { name, file, env };
        project.compose(&["up", "-d"]);
        project
    }

    fn compose(&self, args: &[&str]) {
        let output = self.command(args).output().expect("run docker-compose");
        assert!(
            output.status.success(),
            "docker-compose {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command
            .args(["-p", &self.name, "-f", &self.file])
            .args(args);
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    fn container(&self, service: &str, number: usize) -> String {
        format!("{}_{service}_{number}", self.name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(logs) = self
                .command(&["logs", "--tail", "40", "--no-color"])
                .output()
        {
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let _ = self.command(&["down", "-v", "--timeout", "1"]).output();
    }
}

fn tools(what: &str) -> bool {
    if !docker::is_here(what) {
        return false;
    }
    let is_there = Command::new("docker-compose")
        .arg("version")
        .output()
        .is_ok();
    if !is_there {
        eprintln!("!!! SKIPPED: there is no docker-compose here, so this was not seen: {what}");
    }
    is_there
}

/// Which containers answer at a node, by their ids. A published port takes connections before anybody is behind it.
fn names(at: SocketAddr) -> BTreeSet<String> {
    let ask = |_| {
        let mut client = Client::try_connect(at).ok()?;
        let request = "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
        client.try_send(request).ok()?;
        let answer = String::from_utf8(client.try_rest().ok()?).ok()?;
        let name = answer.lines().find_map(|line| line.strip_prefix("name "));
        name.filter(|_| answer.starts_with("HTTP/1.1 200 "))
            .map(str::to_owned)
    };
    (0..30).filter_map(ask).collect()
}

#[test]
fn a_balancer_of_two_nodes_an_agent_and_etcd_serves_through_every_change() {
    if !tools("compose/docker-compose.yml under load") {
        return;
    }
    docker::images(&["pointsman", "etcd"]);
    let ports = [free_port(), free_port()];
    let project = Project::up(
        "docker-compose.yml",
        &[
            ("LB_1_PORT", ports[0].to_string()),
            ("LB_2_PORT", ports[1].to_string()),
        ],
    );
    let nodes = ports.map(local);
    for node in nodes {
        wait_until("a node serves", || !names(node).is_empty());
    }
    let load = Load::default();
    load.fleet(CLIENTS, &nodes, "web.test", "name ", PACE);
    load.assert_passes(500, "nothing changes");

    project.compose(&["up", "-d", "--scale", "web=5"]);
    for node in nodes {
        wait_until("five serve", || names(node).len() == 5);
    }
    load.assert_passes(500, "web has five containers");

    // New containers in place of all old ones: twice as many, and then the old ones go.
    let before = names(nodes[0]);
    project.compose(&["up", "-d", "--no-recreate", "--scale", "web=10"]);
    for node in nodes {
        wait_until("ten serve", || names(node).len() == 10);
    }
    let mut stop = vec!["stop"];
    stop.extend(before.iter().map(String::as_str));
    docker(&stop);
    for node in nodes {
        wait_until("only new ones serve", || {
            let now = names(node);
            now.len() == 5 && now.is_disjoint(&before)
        });
    }
    load.assert_passes(500, "web was redeployed");

    docker(&["kill", &project.container("web", 10)]);
    for node in nodes {
        wait_until("four serve", || names(node).len() == 4);
    }
    load.assert_passes(500, "a container was killed");

    project.compose(&["stop", "lb-1"]);
    load.assert_passes(500, "a node was stopped");
    project.compose(&["start", "lb-1"]);
    wait_until("the node is back", || !names(nodes[0]).is_empty());
    project.compose(&["restart", "etcd"]);
    project.compose(&["restart", "agent"]);
    load.assert_passes(1000, "etcd and the agent were restarted");
    let figures = load.finish("all of it");
    println!("{} requests, none failed", figures.requests);
}

#[test]
fn a_cluster_of_databases_is_one_port() {
    if !tools("compose/galera.yml") {
        return;
    }
    docker::images(&["pointsman", "mariadb"]);
    let port = free_port();
    let project = Project::up("galera.yml", &[("DB_PORT", port.to_string())]);
    let network = format!("{}_default", project.name);
    let ask = |query: &str| {
        let client = [
            "run",
            "--rm",
            "--network",
            &network,
            "--entrypoint",
            "mariadb",
        ];
        let rest = [
            "pointsman-mariadb:test",
            "-h",
            "lb",
            "-uroot",
            "-N",
            "-e",
            query,
        ];
        let run = Command::new("docker").args(client).args(rest).output();
        String::from_utf8_lossy(&run.expect("run a client").stdout)
            .trim()
            .to_owned()
    };
    // Each node copies the one before it, with all of a database that starts.
    let (mut seen, begun) = (BTreeSet::new(), Instant::now());
    while seen.len() < 3 {
        assert!(
            begun.elapsed() < CLUSTER,
            "of the cluster only {seen:?} answer"
        );
        seen.insert(ask("select @@hostname"));
        seen.remove("");
    }
    let log = docker(&["logs", &project.container("lb", 1)]);
    assert!(
        log.contains("pointsman starts") && !log.contains("not saved"),
        "{log}"
    );
    docker(&["kill", &project.container("db-2", 1)]);
    wait_until("two are left", || {
        (0..4).all(|_| ["db-1", "db-3"].contains(&ask("select @@hostname").as_str()))
    });
}

#[test]
fn every_image_that_compose_names_is_one_that_scripts_make() {
    let made = fs::read_to_string("scripts/images").expect("the script");
    for file in ["docker-compose.yml", "galera.yml", "swarm.yml"] {
        let text = fs::read_to_string(format!("compose/{file}")).expect("the file");
        let images: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: ${"))
            .collect();
        assert!(!images.is_empty(), "{file}");
        for image in images {
            let name = image
                .split(":-")
                .nth(1)
                .and_then(|rest| rest.split(':').next());
            let name = name.expect("a default");
            assert!(made.contains(name), "{file} names {name}");
        }
    }
}
