//! What the engine tells of a container as facts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bollard::models::{ContainerInspectResponse, HealthStatusEnum, PortMap};

use crate::link::{Facts, Kind, Port};

/// One container as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) facts: Facts,
    /// Runs, and is healthy as far as anybody asks.
    pub(super) is_up: bool,
    /// Runs, and its health check says no.
    pub(super) is_unhealthy: bool,
    /// In nanoseconds of the engine's clock.
    pub(super) started_at: i64,
    /// What ends it: `SIGTERM`, `15`.
    pub(super) stop_signal: Option<String>,
}

impl Seen {
    pub(super) fn of(container: &ContainerInspectResponse) -> Self {
        let state = container.state.as_ref();
        let is = |flag: Option<bool>| flag == Some(true);
        let runs = state.is_some_and(|state| {
            is(state.running) && !is(state.paused) && !is(state.restarting) && !is(state.dead)
        });
        let health = state.and_then(|state| state.health.as_ref()?.status);
        let is_healthy = !matches!(
            health,
            Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY)
        );
        let started_at = state.and_then(|state| state.started_at.as_deref());
        let started_at = started_at.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let config = container.config.as_ref();
        Self {
            facts: facts(container),
            is_up: runs && is_healthy,
            is_unhealthy: runs && health == Some(HealthStatusEnum::UNHEALTHY),
            started_at: started_at
                .and_then(|at| i64::try_from(at.as_nanosecond()).ok())
                .unwrap_or(0),
            stop_signal: config.and_then(|config| config.stop_signal.clone()),
        }
    }
}

fn facts(container: &ContainerInspectResponse) -> Facts {
    let config = container.config.clone().unwrap_or_default();
    let labels: BTreeMap<_, _> = config.labels.unwrap_or_default().into_iter().collect();
    let variables = config.env.unwrap_or_default();
    let variables = variables.iter().filter_map(|line| line.split_once('='));
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let networks: BTreeMap<String, Option<IpAddr>> = networks
        .into_iter()
        .flatten()
        .map(|(name, network)| {
            let address = |text: &Option<String>| text.as_deref()?.parse().ok();
            let address =
                address(&network.ip_address).or_else(|| address(&network.global_ipv6_address));
            (name.clone(), address)
        })
        .collect();
    let mode = container
        .host_config
        .as_ref()
        .and_then(|host| host.network_mode.as_deref());
    let published = settings.and_then(|settings| settings.ports.as_ref());
    let mut ports: Vec<Port> = config
        .exposed_ports
        .unwrap_or_default()
        .iter()
        .filter_map(|port| port_of(port, published))
        .collect();
    ports.sort_unstable();
    let (service, stack) = Facts::membership(&labels);
    let name = container.name.as_deref().unwrap_or_default();
    Facts {
        kind: Kind::Container,
        name: name.trim_start_matches('/').to_owned(),
        service,
        stack,
        env: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        labels,
        // Of what kind a network is, is not told here.
        overlays: BTreeSet::new(),
        is_on_host: mode == Some("host"),
        host: None,
        networks,
        ports,
    }
}

/// `80/tcp`; ports of other protocols are none.
fn port_of(text: &str, published: Option<&PortMap>) -> Option<Port> {
    let number = text.strip_suffix("/tcp").unwrap_or(text).parse().ok()?;
    let bindings = published.and_then(|ports| ports.get(text)?.as_ref());
    let mut published = Vec::new();
    for binding in bindings.into_iter().flatten() {
        let port = binding.host_port.as_deref();
        let Some(port) = port.and_then(|port| port.parse().ok()) else {
            continue;
        };
        match binding.host_ip.as_deref().unwrap_or_default() {
            // Some engines write every address as none.
            "" => {
                published.push((Ipv4Addr::UNSPECIFIED, port).into());
                published.push((Ipv6Addr::UNSPECIFIED, port).into());
            }
            ip => published.extend(
                ip.parse::<IpAddr>()
                    .ok()
                    .map(|ip| SocketAddr::new(ip, port)),
            ),
        }
    }
    Some(Port { number, published })
}
