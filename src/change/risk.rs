//! What a change would open to everybody, though every key of it is good.

use super::{Change, HTTP, Problem, TCP, all_services, text};
use crate::diag::nearest;
use crate::snapshot::Snapshot;

/// Keys that lead requests to a service. Without any it takes those of every host that nobody else takes.
const ROUTES: [&str; 6] = [
    "virtual_hosts",
    "virtual_host_regex",
    "virtual_path",
    "match",
    "default",
    "redirects",
];

/// Keys that keep somebody out.
const ACCESS: [&str; 8] = [
    "allow",
    "deny",
    "basic_auth_secrets",
    "basic_auth_realm",
    "basic_auth_forward",
    "ssl_client_ca",
    "ssl_client_verify",
    "force_ssl",
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
        if !matches!(self, Self::Unlink { .. }) {
            return Ok(());
        }
        let says = |tree: &Snapshot, key: &str| tree.get(&format!("{dir}/{key}")).is_some();
        let lost = ACCESS.iter();
        let lost: Vec<_> = lost
            .copied()
            .filter(|key| says(before, key) && !says(after, key))
            .collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Problem::Risky(format!(
                "{dir} stays as others announce it, and without {} it lets in who is kept out now",
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
        false => ROUTES.iter().any(|key| says(key)),
    }
}
