//! `traefik.http.*` and `traefik.tcp.*`: versions 2 and 3, as far as there is a feature here.
//!
//! Every router is a service of its own, with the container as its upstream. `rule` reads conditions, `claims` turns
//! them into hosts, paths and a `match`; `middlewares` and `servers` have the tables of the rest.
//!
//! A middleware that is not there, or that keeps somebody out and cannot be had, takes its router away:
//! a route without it would be open.

mod claims;
mod middlewares;
mod routers;
mod rule;
mod servers;

use std::collections::BTreeMap;

use super::draft::Draft;
use super::facts::LBSWARM;
use super::{Facts, Ground, Said};

const PREFIX: &str = "traefik.";

/// Options of one router, service or middleware by their names.
type Options = BTreeMap<String, Word>;

/// What an option says and the label it is from.
#[derive(Clone, Debug)]
struct Word {
    value: String,
    label: String,
}

/// The labels, sorted into what they are about.
#[derive(Default)]
struct Labels {
    routers: BTreeMap<String, Options>,
    services: BTreeMap<String, Options>,
    middlewares: BTreeMap<String, Options>,
    tcp_routers: BTreeMap<String, Options>,
    tcp_services: BTreeMap<String, Options>,
    network: Option<Word>,
    lbswarm: Option<Word>,
    enable: Option<Word>,
    unknown: Vec<String>,
}

/// Whether a label in lower case belongs to these versions and not to the first.
pub(super) fn is_of_newer(label: &str) -> bool {
    let sections = ["http.", "tcp.", "udp.", "tls.", "swarm.", "constraint"];
    let rest = label.strip_prefix(PREFIX).unwrap_or_default();
    sections.iter().any(|section| rest.starts_with(section))
}

pub(super) fn read(facts: &Facts, ground: &Ground) -> Option<Said> {
    let labels = sort(facts);
    let is_newer = facts
        .labels
        .keys()
        .any(|label| is_of_newer(&label.to_ascii_lowercase()));
    let is_bare = !is_newer && says_only_enable(facts);
    if !is_newer && !is_bare {
        return None;
    }
    let mut draft = Draft::new(facts);
    if let Some(enable) = &labels.enable
        && draft.boolean(&enable.value, &enable.label) == Some(false)
    {
        return Some(Said::default());
    }
    if let Some(lbswarm) = &labels.lbswarm {
        draft.lbswarm(&lbswarm.value, &lbswarm.label);
    }
    for label in &labels.unknown {
        match label.contains(".udp.") {
            true => draft.not_here(label, "UDP is not balanced"),
            false => draft.unknown(label, KNOWN),
        }
    }
    let mut said = Said {
        services: Vec::new(),
        problems: draft.give_up(),
    };
    for (announced, problems) in routers::read(facts, ground, &labels) {
        said.services.extend(announced);
        said.problems.extend(problems);
    }
    Some(said)
}

/// For the nearest word.
const KNOWN: [&str; 8] = [
    "traefik.enable",
    "traefik.docker.network",
    "traefik.docker.lbswarm",
    "traefik.swarm.network",
    "traefik.swarm.lbswarm",
    "traefik.http.routers",
    "traefik.http.services",
    "traefik.http.middlewares",
];

/// `traefik.enable=true` and nothing else but a network: the default rule.
fn says_only_enable(facts: &Facts) -> bool {
    let mut enabled = false;
    for label in facts.labels.keys().map(|label| label.to_ascii_lowercase()) {
        match label.as_str() {
            "traefik.enable" => enabled = true,
            "traefik.docker.network" | "traefik.swarm.network" => {}
            label if LBSWARM.contains(&label) => {}
            _ if label.starts_with(PREFIX) => return false,
            _ => {}
        }
    }
    enabled
}

/// Names of labels do not look at case.
fn sort(facts: &Facts) -> Labels {
    let mut labels = Labels::default();
    for (label, value) in &facts.labels {
        let lower = label.to_ascii_lowercase();
        let Some(rest) = lower.strip_prefix(PREFIX) else {
            continue;
        };
        let option = Word {
            value: value.clone(),
            label: label.clone(),
        };
        match rest {
            "enable" => labels.enable = Some(option),
            "docker.network" | "swarm.network" => labels.network = Some(option),
            "docker.lbswarm" | "swarm.lbswarm" => labels.lbswarm = Some(option),
            _ => {
                if labels.insert(rest, option).is_none() {
                    labels.unknown.push(label.clone());
                }
            }
        }
    }
    labels
}

impl Labels {
    fn insert(&mut self, rest: &str, option: Word) -> Option<()> {
        let mut parts = rest.splitn(4, '.');
        let (kind, group) = (parts.next()?, parts.next()?);
        let (name, what) = (parts.next()?, parts.next().unwrap_or_default());
        let group = match (kind, group) {
            ("http", "routers") => &mut self.routers,
            ("http", "services") => &mut self.services,
            ("http", "middlewares") => &mut self.middlewares,
            ("tcp", "routers") => &mut self.tcp_routers,
            ("tcp", "services") => &mut self.tcp_services,
            _ => return None,
        };
        group
            .entry(name.to_owned())
            .or_default()
            .insert(what.to_owned(), option);
        Some(())
    }
}
