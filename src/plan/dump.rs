//! The canonical text of a plan: equal plans give equal text, on every node and on every way there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{CheckKind, HostPattern, Mode, Sticky};
use crate::plan::{Plan, Service};

#[derive(Serialize)]
struct PlanText {
    balancer: BTreeMap<&'static str, String>,
    services: BTreeMap<String, ServiceText>,
    routes: Vec<String>,
    ports: BTreeMap<u16, String>,
}

#[derive(Serialize)]
struct ServiceText {
    name: String,
    mode: &'static str,
    balance: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_path: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<&'static str, String>,
    health_check: String,
    upstreams: BTreeMap<String, String>,
}

impl Plan {
    /// The compiled tables as YAML.
    pub fn dump(&self) -> String {
        let text = PlanText {
            balancer: self.balancer_text(),
            services: self
                .services()
                .map(|s| (s.unit.to_string(), ServiceText::new(s)))
                .collect(),
            routes: self.routes.lines(),
            ports: self
                .ports()
                .map(|(port, s)| (port, s.unit.to_string()))
                .collect(),
        };
        serde_yaml::to_string(&text).unwrap_or_else(|error| format!("# not written: {error}\n"))
    }

    fn balancer_text(&self) -> BTreeMap<&'static str, String> {
        let b = &self.balancer;
        let t = &b.timeouts;
        let mut text = BTreeMap::from([
            ("compat", format!("{:?}", b.compat).to_lowercase()),
            ("max_head_size", b.max_head_size.to_string()),
            ("max_headers", b.max_headers.to_string()),
            ("max_connections", b.max_connections.to_string()),
            ("max_queue", b.max_queue.to_string()),
            ("retries", b.retries.to_string()),
            ("timeout_head", format!("{:?}", t.head)),
            ("timeout_idle", format!("{:?}", t.idle)),
            ("timeout_client", format!("{:?}", t.client)),
            ("timeout_connect", format!("{:?}", t.connect)),
            ("timeout_server", format!("{:?}", t.server)),
            ("timeout_tunnel", format!("{:?}", t.tunnel)),
            ("timeout_queue", format!("{:?}", t.queue)),
            ("timeout_drain", format!("{:?}", t.drain)),
        ]);
        if let Some(size) = b.max_body_size {
            text.insert("max_body_size", size.to_string());
        }
        if !b.trusted_proxies.is_empty() {
            let nets: Vec<_> = b.trusted_proxies.iter().map(ToString::to_string).collect();
            text.insert("trusted_proxies", nets.join(","));
        }
        text
    }
}

impl ServiceText {
    fn new(service: &Service) -> Self {
        let config = &service.config;
        let mut options = BTreeMap::new();
        let mut option = |name, value: Option<String>| {
            value.map(|v| options.insert(name, v));
        };
        let t = &config.timeouts;
        option("timeout_connect", t.connect.map(|d| format!("{d:?}")));
        option("timeout_server", t.server.map(|d| format!("{d:?}")));
        option("timeout_client", t.client.map(|d| format!("{d:?}")));
        option("timeout_tunnel", t.tunnel.map(|d| format!("{d:?}")));
        option("timeout_queue", t.queue.map(|d| format!("{d:?}")));
        option("retries", config.retries.map(|n| n.to_string()));
        option(
            "max_connections",
            config.max_connections.map(|n| n.to_string()),
        );
        option("max_queue", config.max_queue.map(|n| n.to_string()));
        if let Some(auth) = config
            .policy
            .as_ref()
            .and_then(|policy| policy.auth.as_ref())
        {
            // Nothing that depends on a secret: who reads a plan could try passwords against it.
            let forward = if auth.forward { ", forwarded" } else { "" };
            let text = format!("{} users, realm {}{forward}", auth.users.len(), auth.realm);
            option("basic_auth", Some(text));
        }
        let (mode, hosts, paths) = match &config.mode {
            Mode::Http(routes) => {
                option(
                    "keep_virtual_path",
                    routes.keep_virtual_path.then(|| "true".into()),
                );
                match config.policy.as_ref().and_then(|p| p.sticky.as_ref()) {
                    Some(Sticky::Cookie(cookie)) => {
                        option("cookie", Some(cookie.to_string()));
                    }
                    Some(Sticky::Hash { cookie }) => {
                        option("sticky_session_cookie", Some(cookie.clone()));
                    }
                    None => {}
                }
                option("default", routes.is_default.then(|| "true".into()));
                let hosts = routes.hosts.iter().map(|host| match host {
                    HostPattern::Exact(name) => name.clone(),
                    HostPattern::Wildcard(suffix) => format!("*{suffix}"),
                });
                ("http", hosts.collect(), routes.paths.clone())
            }
            Mode::Tcp { external_port } => {
                option("external_port", Some(external_port.to_string()));
                ("tcp", Vec::new(), Vec::new())
            }
        };
        let check = &config.health_check;
        let port = check.port.map(|p| format!(" port {p}")).unwrap_or_default();
        let pace = format!(
            "{port} every {:?} timeout {:?} rise {} fall {}",
            check.interval, check.timeout, check.rise, check.fall
        );
        let health_check = match &check.kind {
            CheckKind::Off => "off".to_owned(),
            CheckKind::Tcp => format!("tcp{pace}"),
            CheckKind::Http(check) if check.method == "GET" => format!("http {}{pace}", check.uri),
            CheckKind::Http(check) => format!("http {} {}{pace}", check.method, check.uri),
        };
        let upstreams = service.members.iter().map(|m| {
            (
                m.name.to_string(),
                format!("{} weight={}", m.address, m.weight),
            )
        });
        Self {
            name: config.name.to_string(),
            mode,
            balance: service.balance.word(),
            virtual_hosts: hosts,
            virtual_path: paths,
            options,
            health_check,
            upstreams: upstreams.collect(),
        }
    }
}
