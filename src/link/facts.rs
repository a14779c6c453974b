//! What is known of a container, and of the place the balancer stands in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Traefik's labels for the virtual address.
pub(super) const LBSWARM: [&str; 2] = ["traefik.docker.lbswarm", "traefik.swarm.lbswarm"];

/// Facts of one member: a container that runs, or what Swarm has in its place. All texts are what somebody wrote: any of them may be hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// Its name, which is the name of its upstream.
    pub name: String,
    /// The service it is a member of, as Compose, Swarm, Kontena or Rancher say.
    pub service: Option<String>,
    /// What that service is part of.
    pub stack: Option<String>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Its networks with its address there; none while it has none.
    pub networks: BTreeMap<String, Option<IpAddr>>,
    /// Those of its networks that lie between hosts: containers are in them, and no host is.
    pub overlays: BTreeSet<String>,
    /// It has the host's network.
    pub is_on_host: bool,
    /// The address of that host; none if it is the balancer's own.
    pub host: Option<IpAddr>,
    /// Its exposed TCP ports, ascending.
    pub ports: Vec<Port>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Container,
    /// A task of a Swarm service.
    Task,
    /// A Swarm service by its virtual address.
    Vip,
}

/// A TCP port that a container exposes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub number: u16,
    /// Where the host publishes it: at one of its addresses, or at all of a family.
    pub published: Vec<SocketAddr>,
}

/// What a balancer can reach, and whom it balances to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    pub standing: Standing,
    pub reach: Reach,
    /// Only containers that link to this name.
    pub link: Option<String>,
}

/// From where containers are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// By a balancer on this host.
    #[default]
    Here,
    /// By balancers on other hosts, at the containers' own addresses.
    Afar,
    /// By balancers on other hosts, at this address of the host and the ports that it publishes.
    At(IpAddr),
}

/// Where the balancer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// On the host, or in a container with the host's network.
    #[default]
    Host,
    /// In a container in these networks.
    Container(BTreeSet<String>),
}

impl Facts {
    /// The service and the stack that labels say a container is of, as Compose, Swarm, Kontena and Rancher 1 write them.
    pub fn membership(labels: &BTreeMap<String, String>) -> (Option<String>, Option<String>) {
        let get = |name: &str| labels.get(name).filter(|value| !value.is_empty()).cloned();
        if let Some(service) = get("com.docker.compose.service") {
            return (Some(service), get("com.docker.compose.project"));
        }
        if let Some(service) = get("com.docker.swarm.service.name") {
            let stack = get("com.docker.stack.namespace");
            let prefix = stack.as_ref().map(|stack| format!("{stack}_"));
            let short = prefix.and_then(|prefix| Some(service.strip_prefix(&prefix)?.to_owned()));
            return (Some(short.unwrap_or(service)), stack);
        }
        if let Some(service) = get("io.kontena.service.name") {
            return (
                Some(service),
                get("io.kontena.stack.name").filter(|stack| stack != "null"),
            );
        }
        match get("io.rancher.stack_service.name") {
            Some(both) => match both.split_once('/') {
                Some((stack, service)) => (Some(service.to_owned()), Some(stack.to_owned())),
                None => (Some(both), None),
            },
            None => (None, None),
        }
    }

    /// What its service is called: as it says, `stack-service`, the service, or its own name.
    pub(super) fn group(&self) -> String {
        let labels = ["lb.service", "LB_SERVICE"]
            .into_iter()
            .filter_map(|name| self.labels.get(name));
        let said = labels
            .chain(self.env.get("LB_SERVICE"))
            .map(|name| name.trim());
        if let Some(name) = said.into_iter().find(|name| !name.is_empty()) {
            return name.to_owned();
        }
        match (&self.stack, &self.service) {
            (Some(stack), Some(service)) => format!("{stack}-{service}"),
            (None, Some(service)) => service.clone(),
            _ => self.name.clone(),
        }
    }

    /// Whether a Swarm service asks for its virtual address as its upstream, in any dialect.
    pub fn wants_vip(&self) -> bool {
        let label = |name: &str| self.labels.get(name).map(|value| value.trim());
        let modes = [
            "com.docker.lb.backend_mode",
            "lb.backend_mode",
            "LB_BACKEND_MODE",
        ];
        let variable = self.env.get("LB_BACKEND_MODE").map(|value| value.trim());
        let said = modes.into_iter().filter_map(label).chain(variable).next();
        let is_true = |text: &str| {
            let text = text.trim().to_ascii_lowercase();
            matches!(text.as_str(), "true" | "yes" | "on" | "1")
        };
        let traefik = |(label, value): (&String, &String)| {
            let label = label.to_ascii_lowercase();
            LBSWARM.contains(&label.as_str()) && is_true(value)
        };
        said == Some("vip") || self.labels.iter().any(traefik)
    }

    /// Where a port of it is published, if that is a place that others can reach.
    pub(super) fn published(&self, number: u16) -> Option<SocketAddr> {
        let port = self.ports.iter().find(|port| port.number == number)?;
        let mut published = port.published.iter().copied();
        published.find(|at| !at.ip().is_unspecified())
    }

    /// Its one exposed port.
    pub(super) fn only_port(&self) -> Option<u16> {
        match self.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        }
    }

    /// The exposed ports as a message names them.
    pub(super) fn ports_text(&self) -> String {
        const SHOWN: usize = 10;
        let numbers = self.ports.iter().map(|port| port.number.to_string());
        let shown: Vec<_> = numbers.take(SHOWN).collect();
        match self.ports.len() {
            0 => "no port".to_owned(),
            n if n > SHOWN => format!("{n} ports ({}, ...)", shown.join(", ")),
            1 => format!("port {}", shown.join(", ")),
            n => format!("{n} ports ({})", shown.join(", ")),
        }
    }
}
