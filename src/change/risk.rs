//! What a change would open to everybody, though every key of it is good.

use super::{Change, HTTP, Problem, TCP, all_services, text};
use crate::config::values;
use crate::diag::nearest;
use crate::snapshot::Snapshot;

/// Keys that lead requests to a service. Without any it takes those of every host that nobody else takes.
const ROUTES: [&str; 5] = [
    "virtual_hosts",
    "virtual_host_regex",
    "virtual_path",
    "match",
    "redirects",
];

/// Keys that keep somebody out.
const ACCESS: [&str; 10] = [
    "allow",
    "deny",
    "basic_auth_secrets",
    "basic_auth_realm",
    "basic_auth_forward",
    "ssl_client_ca",
    "ssl_client_verify",
    "force_ssl",
    "custom_settings",
    "upstream_tls",
];

impl Change {
    /// Whether it would leave a service that takes more than the one before. `before` and `after` are the whole
    /// tree.
    pub fn check_risk(&self, before: &Snapshot, after: &Snapshot) -> Result<(), Problem> {
        let dir = match self {
            Self::Link(link) => link.dir(before)?,
            Self::Unlink { service, .. } => super::existing(before, service)?,
            _ => return Ok(()),
        };
        if !is_there(after, &dir) {
            return Ok(());
        }
        if !has_route(after, &dir) && (has_route(before, &dir) || !is_there(before, &dir)) {
            return Err(Problem::Risky(no_route(before, &dir)));
        }
        // What is said of a key by name is meant.
        let is_meant = |key: &str| match self {
            Self::Link(link) => link.replace || link.keys.contains_key(key),
            _ => false,
        };
        let value = |tree: &Snapshot, key: &str| tree.get(&format!("{dir}/{key}")).cloned();
        let lost: Vec<_> = ACCESS
            .into_iter()
            .filter(|key| {
                let said = value(before, key);
                said.is_some() && said != value(after, key) && !is_meant(key)
            })
            .collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Problem::Risky(format!(
                "{dir} stays as others announce it, and without {} as it is it lets in who is kept out now",
                lost.join(", ")
            ))),
        }
    }
}

fn no_route(before: &Snapshot, dir: &str) -> String {
    let (tree, name) = dir.split_once('/').unwrap_or((HTTP, dir));
    if is_there(before, dir) {
        return format!(
            "nothing would lead to {dir} alone any more: it would take the requests of every host that no other \
             service takes"
        );
    }
    let all = all_services(before);
    let names = || all.iter().filter_map(|dir| dir.split('/').nth(1));
    // Two letters in the wrong order are the usual slip.
    let swapped = || names().find(|known| letters(known) == letters(name));
    let near = match nearest(name, names()).or_else(swapped) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    };
    let help = match tree == TCP {
        true => "say its port (--tcp-port, the key external_port)",
        false => {
            "say what leads to it (--host, --path, the keys virtual_hosts and virtual_path), or default=true if it is \
             for every host"
        }
    };
    format!("there is no service {name}{near}, and nothing is said that leads to a new one: {help}")
}

fn letters(word: &str) -> Vec<char> {
    let mut letters: Vec<_> = word.chars().collect();
    letters.sort_unstable();
    letters
}

/// What only drains is none.
fn is_there(tree: &Snapshot, dir: &str) -> bool {
    let drain = format!("{dir}/drain");
    tree.under(dir).any(|(key, _)| **key != *drain)
}

fn has_route(tree: &Snapshot, dir: &str) -> bool {
    let says = |key: &str| {
        let key = format!("{dir}/{key}");
        // One that is no text here, because it is sealed or not readable, is one all the same.
        tree.get(&key).is_some() && text(tree, &key).is_none_or(|value| !value.is_empty())
    };
    match dir.starts_with(TCP) {
        true => says("external_port"),
        false => ROUTES.iter().any(|key| says(key)) || takes_all(tree, dir),
    }
}

/// What is said of hosts that nobody else has is meant.
fn takes_all(tree: &Snapshot, dir: &str) -> bool {
    let value = |key: &str| text(tree, &format!("{dir}/{key}"));
    let is_default = value("default").is_some_and(|value| values::boolean(value) == Ok(true));
    is_default || value("ssl_passthrough").is_some_and(|value| value.trim() == "unknown")
}
