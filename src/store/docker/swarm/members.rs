//! What Swarm tells of services and tasks as facts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::super::inspect::Seen;
use super::api::{ContainerSpec, Node, PortConfig, Service, Task};
use crate::link::{Facts, Kind, Port};

/// Services, tasks and nodes of one moment.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) services: Vec<Service>,
    pub(super) tasks: Vec<Task>,
    pub(super) nodes: Vec<Node>,
    /// This engine's node, and its address as it says itself.
    pub(super) own_node: String,
    pub(super) own_address: String,
}

/// One upstream: a task, or a service by its virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Member {
    pub(in super::super) seen: Seen,
    /// The task's container, on whichever node it is.
    pub(in super::super) container: Option<String>,
}

/// How a member is told from containers, whose ids have no space.
const TASK: &str = "task ";
const SERVICE: &str = "service ";

/// Whether an id is of a member of a Swarm.
pub(in super::super) fn is_of_swarm(id: &str) -> bool {
    id.starts_with(TASK) || id.starts_with(SERVICE)
}

/// All that runs and should, by ids of their own.
pub(super) fn members(world: &World) -> BTreeMap<String, Member> {
    let services: BTreeMap<&str, &Service> = world
        .services
        .iter()
        .map(|service| (service.id.as_str(), service))
        .collect();
    let networks = networks(&world.tasks);
    let nodes = addresses(world);
    let mut members = BTreeMap::new();
    for task in &world.tasks {
        let runs = task.status.state == "running" && task.desired_state == "running";
        // A service that is gone leaves its tasks for a moment.
        let Some(service) = services.get(task.service_id.as_str()).filter(|_| runs) else {
            continue;
        };
        let as_one = format!("{SERVICE}{}", service.id);
        if members.contains_key(&as_one) {
            continue;
        }
        if let Some(member) = by_vip(service, &networks) {
            members.insert(as_one, member);
            continue;
        }
        let container = &task.status.container_status.container_id;
        let member = Member {
            seen: seen(of_task(task, service, &nodes), &task.spec.container_spec),
            container: (!container.is_empty()).then(|| container.clone()),
        };
        members.insert(format!("{TASK}{}", task.id), member);
    }
    members
}

/// Whether anybody is reached at the address of a node.
pub(super) fn needs_nodes(tasks: &[Task]) -> bool {
    tasks.iter().any(|task| {
        is_on_host(task)
            || task
                .status
                .port_status
                .ports
                .iter()
                .any(|port| port.publish_mode == "host")
    })
}

/// A network that tasks are in.
struct Net {
    name: String,
    is_overlay: bool,
    is_ingress: bool,
}

fn networks(tasks: &[Task]) -> BTreeMap<&str, Net> {
    let attachments = tasks.iter().flat_map(|task| &task.networks_attachments);
    let networks = attachments.map(|attachment| &attachment.network);
    let known = networks.map(|network| {
        let net = Net {
            name: network.spec.name.clone(),
            is_overlay: network.driver_state.name == "overlay",
            is_ingress: network.spec.ingress || network.spec.name == "ingress",
        };
        (network.id.as_str(), net)
    });
    known.collect()
}

/// The addresses of nodes. One that does not know its own says 0.0.0.0.
fn addresses(world: &World) -> BTreeMap<&str, IpAddr> {
    let known = |text: &str| {
        let address = text.parse::<IpAddr>();
        address.ok().filter(|address| !address.is_unspecified())
    };
    let nodes = world.nodes.iter().filter_map(|node| {
        let own = (node.id == world.own_node).then_some(world.own_address.as_str());
        let manager = node.manager_status.addr.parse::<SocketAddr>();
        let manager = manager.ok().map(|at| at.ip());
        let address = known(&node.status.addr)
            .or_else(|| known(own?))
            .or_else(|| manager.filter(|address| !address.is_unspecified()));
        Some((node.id.as_str(), address?))
    });
    nodes.collect()
}

fn is_on_host(task: &Task) -> bool {
    let mut names = task
        .networks_attachments
        .iter()
        .map(|attachment| attachment.network.spec.name.as_str());
    names.any(|name| name == "host")
}

fn seen(facts: Facts, spec: &ContainerSpec) -> Seen {
    Seen {
        facts,
        is_up: true,
        is_unhealthy: false,
        started_at: 0,
        stop_signal: spec.stop_signal.clone(),
    }
}

/// What service and container say together; of labels that both have, the service's go before.
fn base(name: String, kind: Kind, service: &Service, spec: &ContainerSpec) -> Facts {
    let mut labels = spec.labels.clone();
    labels.extend(service.spec.labels.clone());
    let variables = spec.env.iter().filter_map(|line| line.split_once('='));
    let stack = "com.docker.stack.namespace";
    let said = [
        Some(("com.docker.swarm.service.name", service.spec.name.clone())),
        labels.get(stack).map(|name| (stack, name.clone())),
    ];
    let said = said.into_iter().flatten();
    let (service, stack) =
        Facts::membership(&said.map(|(name, value)| (name.to_owned(), value)).collect());
    Facts {
        kind,
        name,
        service,
        stack,
        env: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        labels,
        ..Facts::default()
    }
}

/// A service that asks for its virtual address, and has one.
fn by_vip(service: &Service, known: &BTreeMap<&str, Net>) -> Option<Member> {
    let spec = &service.spec.task_template.container_spec;
    let mut facts = base(service.spec.name.clone(), Kind::Vip, service, spec);
    if !facts.wants_vip() {
        return None;
    }
    for vip in &service.endpoint.virtual_ips {
        if let Some(net) = known.get(vip.network_id.as_str())
            && !net.is_ingress
            && let Some(address) = without_mask(&vip.addr)
        {
            facts.networks.insert(net.name.clone(), Some(address));
            if net.is_overlay {
                facts.overlays.insert(net.name.clone());
            }
        }
    }
    if facts.networks.is_empty() {
        return None;
    }
    facts.ports = ports(&service.endpoint.ports, &[], None);
    Some(Member {
        seen: seen(facts, spec),
        container: None,
    })
}

fn of_task(task: &Task, service: &Service, nodes: &BTreeMap<&str, IpAddr>) -> Facts {
    // A task that takes another's place is another upstream.
    let short = task.id.get(..12).unwrap_or(&task.id);
    let name = &service.spec.name;
    let name = match task.slot {
        // One on each node.
        0 => format!("{name}.{}.{short}", task.node_id),
        slot => format!("{name}.{slot}.{short}"),
    };
    let mut facts = base(name, Kind::Task, service, &task.spec.container_spec);
    let node = nodes.get(task.node_id.as_str()).copied();
    let mut overlays = BTreeSet::new();
    for attachment in &task.networks_attachments {
        let net = &attachment.network;
        if net.spec.ingress || matches!(net.spec.name.as_str(), "ingress" | "host") {
            continue;
        }
        let mut addresses = attachment.addresses.iter();
        let address = addresses.find_map(|text| without_mask(text));
        facts.networks.insert(net.spec.name.clone(), address);
        if net.driver_state.name == "overlay" {
            overlays.insert(net.spec.name.clone());
        }
    }
    facts.overlays = overlays;
    facts.is_on_host = is_on_host(task);
    facts.host = node.filter(|address| !address.is_loopback());
    let open = &task.status.port_status.ports;
    facts.ports = ports(&service.endpoint.ports, open, node);
    facts
}

/// The service's TCP ports; where the task's node opens one for it alone, that place too.
fn ports(said: &[PortConfig], open: &[PortConfig], node: Option<IpAddr>) -> Vec<Port> {
    let tcp = |port: &&PortConfig| port.protocol == "tcp" && port.target_port != 0;
    let numbers: BTreeSet<u16> = said
        .iter()
        .filter(tcp)
        .map(|port| port.target_port)
        .collect();
    let at = |number: u16| {
        let mut open = open.iter().filter(tcp);
        let open = open.find(|port| port.target_port == number && port.publish_mode == "host")?;
        Some(SocketAddr::new(node?, open.published_port))
    };
    let numbered = numbers.into_iter().map(|number| Port {
        number,
        published: at(number).into_iter().collect(),
    });
    numbered.collect()
}

/// `10.0.1.3/24`
fn without_mask(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}
