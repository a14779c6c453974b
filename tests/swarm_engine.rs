//! A real Swarm: the balancer is a container in the services' overlay network, as it is run in earnest, and services are
//! scaled, rolled and killed under load. The Swarm is left as it was found.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

mod support;

use support::docker::{self, docker};
use support::load::{Load, take_answer};
use support::pointsman::Pointsman;

const IMAGE: &str = "pointsman:test";

/// Engines take their time, above all with health and networks of a Swarm.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENTS: usize = 8;

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_docker(args: &[&str]) -> bool {
    let run = Command::new("docker").args(args).output();
    run.is_ok_and(|run| run.status.success())
}

/// The engine's Swarm; left at the end if it was made here.
struct Swarm {
    is_ours: bool,
    had_bridge: bool,
}

/// What an engine makes when it joins a Swarm, and keeps when it leaves.
const BRIDGE: &str = "docker_gwbridge";

impl Swarm {
    fn join() -> Self {
        let had_bridge = try_docker(&["network", "inspect", BRIDGE]);
        let state = docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        let is_ours = state == "inactive";
        if is_ours {
            docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        }
        Self {
            is_ours,
            had_bridge,
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if self.is_ours {
            try_docker(&["swarm", "leave", "--force"]);
        }
        if self.is_ours && !self.had_bridge {
            try_docker(&["network", "rm", BRIDGE]);
        }
    }
}

/// Something that goes with the test, once nobody uses it any more.
struct Thing {
    kind: &'static str,
    name: String,
}

impl Drop for Thing {
    fn drop(&mut self) {
        let name = self.name.as_str();
        let remove = match self.kind {
            "container" => vec!["rm", "-f", name],
            kind => vec![kind, "rm", name],
        };
        let begin = Instant::now();
        while !try_docker(&remove) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
        }
        if self.kind == "service" {
            // Those that ended are kept, for whoever wants their logs.
            for id in containers(name, "-aq") {
                try_docker(&["rm", "-f", &id]);
            }
        }
    }
}

/// A service of whoamis that say its name.
fn create_service(name: &str, labels: &[String], more: &[&str]) -> Thing {
    let mut args = vec![
        "service",
        "create",
        "-d",
        "--no-healthcheck",
        "--name",
        name,
    ];
    for label in labels {
        args.extend(["--label", label]);
    }
    args.extend(more);
    let listen = "0.0.0.0:8000";
    args.extend([IMAGE, "whoami", "--listen", listen, "--name", name]);
    docker(&args);
    Thing {
        kind: "service",
        name: name.to_owned(),
    }
}

/// Containers of a service's tasks.
fn containers(service: &str, which: &str) -> Vec<String> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let ids = docker(&["ps", which, "--no-trunc", "--filter", &filter]);
    ids.lines().map(str::to_owned).collect()
}

fn running(service: &str) -> Vec<String> {
    containers(service, "-q")
}

/// The answer to one request, if there is one: what is published accepts before anybody is there.
fn get(at: SocketAddr, host: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // stats:of-the-town, for those who ask.
    let who = "Authorization: Basic c3RhdHM6b2YtdGhlLXRvd24=";
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{who}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    take_answer(&mut bytes).map(|(status, body, _)| (status, body))
}

/// The balancer in a container of its own, in the services' network.
struct Balancer {
    container: Thing,
    http: SocketAddr,
    stats: SocketAddr,
}

impl Balancer {
    fn run(network: &str) -> Self {
        let name = format!("{network}-lb");
        let store = format!("docker:?link={network}");
        let socket = "/var/run/docker.sock:/var/run/docker.sock";
        let place = ["--network", network, "-v", socket];
        let ports = ["-p", "127.0.0.1::80", "-p", "127.0.0.1::9000"];
        let program = [IMAGE, "run", "--store", &store];
        let listen = ["--http", "0.0.0.0:80", "--stats", "0.0.0.0:9000"];
        // As root, for the engine's socket.
        let start = [
            "run",
            "-d",
            "--user",
            "0:0",
            "--no-healthcheck",
            "--env",
            "STATS_PASSWORD=of-the-town",
            "--name",
            &name,
        ];
        docker(&[&start[..], &place, &ports, &program, &listen].concat());
        let container = Thing {
            kind: "container",
            name,
        };
        let port = |number: &str| {
            let at = docker(&["port", &container.name, number]);
            let at = at.lines().next().and_then(|at| at.parse().ok());
            at.expect("a published port")
        };
        Self {
            http: port("80"),
            stats: port("9000"),
            container,
        }
    }

    /// Its plan in words.
    fn plan(&self) -> String {
        get(self.stats, "localhost", "/v1/plan").map_or_else(String::new, |(_, text)| text)
    }

    /// How many upstreams it has of a service.
    fn upstreams(&self, service: &str) -> usize {
        self.plan().matches(&format!("{service}.")).count()
    }

    fn log(&self) -> String {
        let log = Command::new("docker")
            .args(["logs", &self.container.name])
            .output();
        log.map_or_else(
            |error| error.to_string(),
            |log| String::from_utf8_lossy(&log.stdout).into_owned(),
        )
    }
}

#[test]
fn services_of_a_real_swarm_are_served() {
    if !docker::is_here("a real Swarm") {
        return;
    }
    docker::images(&["pointsman"]);
    let _swarm = Swarm::join();
    let name = format!("pmswarm{}", std::process::id());
    docker(&["network", "create", "-d", "overlay", "--attachable", &name]);
    let _network = Thing {
        kind: "network",
        name: name.clone(),
    };
    let balancer = Balancer::run(&name);
    under_load(&name, &balancer);
    a_canary_shares(&name, &balancer);
    by_virtual_address(&name, &balancer);
    from_the_host(&name);
    let told = balancer.log();
    assert!(
        told.contains("Swarm manager: following services and tasks"),
        "{told}"
    );
}

/// Scaled, rolled in both orders, and killed.
fn under_load(name: &str, balancer: &Balancer) {
    let host = format!("{name}.test");
    let labels = [
        format!("lb.virtual_hosts={host}"),
        format!("lb.link={name}"),
    ];
    let web = format!("{name}-web");
    let more = ["--env", "LB_INTERNAL_PORT=8000", "--replicas", "3"];
    let _service = create_service(&web, &labels, &[&["--network", name][..], &more].concat());
    wait_until("three tasks are served", || {
        balancer.upstreams(&web) == 3
            && get(balancer.http, &host, "/").is_some_and(|(status, _)| status == 200)
    });

    let load = Load::default();
    let pace = Duration::from_millis(2);
    load.http(CLIENTS, balancer.http, &host, "", pace);
    for replicas in [6, 2, 4] {
        docker(&["service", "scale", "-d", &format!("{web}={replicas}")]);
        wait_until("scaled", || {
            balancer.upstreams(&web) == replicas && running(&web).len() == replicas
        });
    }
    println!("scaled: {:?}, failed {:?}", load.figures(), load.failures());

    for order in ["stop-first", "start-first"] {
        let before = running(&web);
        docker(&[
            "service",
            "update",
            "-d",
            "--force",
            "--update-order",
            order,
            &web,
        ]);
        wait_until("rolled", || {
            let now = running(&web);
            let is_new = now.len() == 4 && !now.iter().any(|id| before.contains(id));
            is_new && balancer.upstreams(&web) == 4
        });
        let (figures, failed) = (load.figures(), load.failures());
        println!("rolled {order}: {figures:?}, failed {failed:?}");
    }
    let (failed, told) = load.failures();
    assert_eq!(failed, 0, "{told:?}\n{}", balancer.log());

    // Requests that it had are lost with it, and no others.
    let victim = running(&web).remove(0);
    docker(&["kill", &victim]);
    wait_until("another in its place", || {
        let now = running(&web);
        now.len() == 4 && !now.contains(&victim) && balancer.upstreams(&web) == 4
    });
    println!("killed: {:?}, failed {:?}", load.figures(), load.failures());
    let (failed, told) = load.failures();
    assert!(failed <= CLIENTS as u64, "{told:?}\n{}", balancer.log());
}

/// Interlock's: one of five tasks is the next version.
fn a_canary_shares(name: &str, balancer: &Balancer) {
    const REQUESTS: usize = 1000;
    let host = format!("{name}-canary.test");
    let labels = [
        format!("com.docker.lb.hosts={host}"),
        "com.docker.lb.port=8000".to_owned(),
        format!("com.docker.lb.service_cluster={name}"),
    ];
    let (old, next) = (format!("{name}-v1"), format!("{name}-v2"));
    let place = ["--network", name, "--replicas"];
    let _old = create_service(&old, &labels, &[&place[..], &["4"]].concat());
    let _next = create_service(&next, &labels, &[&place[..], &["1"]].concat());
    wait_until("five tasks", || {
        balancer.upstreams(&old) == 4 && balancer.upstreams(&next) == 1
    });
    let mut of_next = 0;
    let is_up = || (0..10).all(|_| get(balancer.http, &host, "/").is_some_and(|(s, _)| s == 200));
    wait_until("it is served", is_up);
    for _ in 0..REQUESTS {
        let (status, text) = get(balancer.http, &host, "/").expect("an answer");
        assert_eq!(status, 200, "{text}");
        of_next += usize::from(text.contains(&next));
    }
    println!("canary: {of_next} of {REQUESTS}");
    assert!((180..=220).contains(&of_next), "{of_next} of {REQUESTS}");
}

/// One upstream, whatever is scaled. Whether the kernel balances behind it (IPVS) is not asked.
fn by_virtual_address(name: &str, balancer: &Balancer) {
    let labels = [
        format!("lb.virtual_hosts={name}-vip.test"),
        format!("lb.link={name}"),
        "lb.backend_mode=vip".to_owned(),
        "lb.internal_port=8000".to_owned(),
    ];
    let vip = format!("{name}-vip");
    let place = ["--network", name, "--replicas", "1"];
    let _service = create_service(&vip, &labels, &place);
    let of_service = || {
        let plan = balancer.plan();
        let lines = plan.split("\\n").filter(|line| line.contains(&vip));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("its address", || !of_service().is_empty());
    let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
    let addresses = docker(&["service", "inspect", "--format", format, &vip]);
    let address = addresses.split('/').next().expect("a virtual address");
    let before = of_service();
    assert!(
        before.iter().any(|line| line.contains(address)),
        "{before:?}"
    );
    docker(&["service", "scale", "-d", &format!("{vip}=3")]);
    wait_until("scaled", || running(&vip).len() == 3);
    assert_eq!(of_service(), before);
}

/// No host is in an overlay network: a port of the node is the way in.
fn from_the_host(name: &str) {
    let host = format!("{name}-host.test");
    let labels = [
        format!("lb.virtual_hosts={host}"),
        format!("lb.link={name}-host"),
    ];
    let service = format!("{name}-host");
    let port = std::net::TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a free port").port();
    let publish = format!("mode=host,target=8000,published={port}");
    let place = ["--network", name, "--publish", publish.as_str()];
    let _service = create_service(&service, &labels, &place);
    let balancer = Pointsman::builder()
        .store(&format!("docker:?link={name}-host"))
        .start();
    balancer.wait_for_text(&host, "/", &service);
    let plan = balancer.plan().dump;
    assert!(plan.contains(&format!(":{port}")), "{plan}");
}
