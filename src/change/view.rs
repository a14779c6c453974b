//! What services there are, as their keys say.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{TCP, all_services, drain, text, upstreams};
use crate::snapshot::Snapshot;

/// A service for people and scripts. In the form in which it can be put back.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    pub name: String,
    pub unit: String,
    pub mode: &'static str,
    pub keys: BTreeMap<String, String>,
    /// Keys whose values are not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    pub upstreams: BTreeMap<String, String>,
    /// Those of them that take nothing new, by the key `drain`.
    pub drained: Vec<String>,
}

/// Keys with nothing in them that is not for everybody who may look. All others can hold credentials.
const OPEN: &[&str] = &[
    "balance",
    "priority",
    "default",
    "virtual_hosts",
    "virtual_host_regex",
    "virtual_path",
    "keep_virtual_path",
    "context_root_rewrite",
    "external_port",
    "health_check",
    "health_check_port",
    "health_check_interval",
    "health_check_timeout",
    "health_check_rise",
    "health_check_fall",
    "warm_up",
    "timeout_connect",
    "timeout_server",
    "timeout_client",
    "timeout_tunnel",
    "timeout_queue",
    "retries",
    "max_connections",
    "max_queue",
    "max_body_size",
    "send_proxy",
    "upstream_tls",
    "upstream_tls_name",
    "upstream_tls_verify",
    "force_ssl",
    "force_ssl_port",
    "force_ssl_code",
    "hsts",
    "ssl_passthrough",
    "maintenance",
    "access_log",
    "cookie",
    "cookie_value",
    "drain",
];

impl ServiceView {
    /// Without values that are nobody's business.
    #[must_use]
    pub fn veiled(mut self) -> Self {
        let all = std::mem::take(&mut self.keys).into_iter();
        let (open, hidden): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(key, _)| OPEN.contains(&key.as_str()));
        self.keys = open;
        self.hidden.extend(hidden.into_keys());
        self.hidden.sort();
        self
    }
}

/// All services of a tree. What only drains is none.
pub fn services(tree: &Snapshot) -> Vec<ServiceView> {
    let all = all_services(tree).into_iter();
    let all = all.map(|dir| service(tree, &dir));
    let says_more = |view: &ServiceView| {
        !view.upstreams.is_empty()
            || !view.hidden.is_empty()
            || view.keys.keys().any(|key| key != "drain")
    };
    all.filter(says_more).collect()
}

fn service(tree: &Snapshot, dir: &str) -> ServiceView {
    let below = format!("{dir}/upstreams/");
    let own = tree.under(dir).map(|(key, _)| &**key);
    let mut keys = BTreeMap::new();
    // What is no text cannot be shown, nor be put back.
    let mut hidden = Vec::new();
    for key in own {
        let name = key[dir.len() + 1..].to_owned();
        match text(tree, key) {
            None => hidden.push(name),
            Some(_) if key.starts_with(&below) => {}
            Some(value) => {
                keys.insert(name, value.to_owned());
            }
        }
    }
    let (tree_name, name) = dir.split_once('/').unwrap_or(("", dir));
    let upstreams: BTreeMap<_, _> = upstreams(tree, dir)
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    let drained = text(tree, &format!("{dir}/drain")).unwrap_or_default();
    let drained = drain::listed(drained).filter(|name| upstreams.contains_key(*name));
    ServiceView {
        name: name.to_owned(),
        unit: dir.to_owned(),
        mode: if tree_name == TCP { "tcp" } else { "http" },
        keys,
        hidden,
        drained: drained.map(str::to_owned).collect(),
        upstreams,
    }
}
