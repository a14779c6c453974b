//! `traefik.*` as Rancher's "active load balancer" had it: Traefik 1, with the host made of service and stack.

use super::draft::{Draft, Mode, is_line};
use super::{Facts, Ground, Said};

const PREFIX: &str = "traefik.";

/// All labels of it, for the nearest one.
const WORDS: [&str; 21] = [
    "traefik.acme",
    "traefik.alias",
    "traefik.alias.fqdn",
    "traefik.backend.circuitbreaker.expression",
    "traefik.backend.loadbalancer.method",
    "traefik.domain",
    "traefik.domain.regexp",
    "traefik.enable",
    "traefik.frontend.passhostheader",
    "traefik.path",
    "traefik.path.prefix",
    "traefik.path.prefix.strip",
    "traefik.path.strip",
    "traefik.port",
    "traefik.priority",
    "traefik.protocol",
    "traefik.ratelimit.enable",
    "traefik.sticky",
    "traefik.weight",
    "traefik.docker.network",
    "traefik.docker.lbswarm",
];

/// What a server weighs that says nothing.
const WEIGHT: &str = "5";

pub(super) fn read(facts: &Facts, ground: &Ground) -> Option<Said> {
    let labels = facts
        .labels
        .iter()
        .map(|(label, value)| (label.to_ascii_lowercase(), value.trim()))
        .filter(|(label, _)| label.starts_with(PREFIX))
        .filter(|(label, _)| !super::traefik::is_of_newer(label));
    let labels: Vec<_> = labels.collect();
    // The newer versions have these too.
    let shared = [
        "traefik.enable",
        "traefik.docker.network",
        "traefik.docker.lbswarm",
    ];
    if labels
        .iter()
        .all(|(label, _)| shared.contains(&label.as_str()))
    {
        return None;
    }
    let get = |name: &str| {
        let found = labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| *value)
    };
    let mut draft = Draft::new(facts);
    let enable = get("traefik.enable").map(str::to_ascii_lowercase);
    let by_stack = match enable.as_deref() {
        Some("true") => false,
        Some("stack") => true,
        Some("false") => return Some(Said::default()),
        None => {
            let help = "only containers with traefik.enable=true are announced";
            draft.warn(
                "not-announced",
                "has no label traefik.enable".to_owned(),
                help,
            );
            return Some(Said {
                services: Vec::new(),
                problems: draft.give_up(),
            });
        }
        Some(other) => {
            draft.bad("traefik.enable", other, "true, false or stack");
            return Some(Said {
                services: Vec::new(),
                problems: draft.give_up(),
            });
        }
    };
    let mut port = Some(80);
    draft.weigh(get("traefik.weight").unwrap_or(WEIGHT), "traefik.weight");
    hosts(&mut draft, &labels, by_stack);
    paths(&mut draft, &labels);
    for (label, value) in &labels {
        let label = label.as_str();
        match label {
            "traefik.port" => port = draft.port(value, label),
            "traefik.protocol" => match value.to_ascii_lowercase().as_str() {
                "http" | "" => {}
                "https" => draft.set("upstream_tls", "true", label),
                _ => draft.bad(label, value, "http or https"),
            },
            "traefik.priority" => priority(&mut draft, value, label),
            "traefik.sticky" => {
                if draft.boolean(value, label) == Some(true) {
                    draft.set("cookie", "", label);
                }
            }
            "traefik.backend.loadbalancer.method" => match value.to_ascii_lowercase().as_str() {
                "wrr" | "drr" => draft.set("balance", "roundrobin", label),
                _ => draft.bad(label, value, "wrr or drr"),
            },
            "traefik.frontend.passhostheader" => draft.set("pass_host_header", *value, label),
            "traefik.docker.network" => draft.network(value, label),
            "traefik.docker.lbswarm" => draft.lbswarm(value, label),
            "traefik.acme" => {
                if draft.boolean(value, label) == Some(true) {
                    draft.not_here(label, "put the certificate under certs/<name>");
                }
            }
            "traefik.backend.circuitbreaker.expression" => {
                draft.not_here(label, "upstreams are taken out by health checks");
            }
            _ if label.starts_with("traefik.ratelimit.") => {
                draft.not_here(
                    label,
                    "nothing limits rates; max_connections limits what is under way",
                );
            }
            _ if WORDS.contains(&label) => {}
            _ => draft.unknown(label, WORDS),
        }
    }
    let (announced, problems) = draft.finish(Mode::Http, &facts.group(), port, ground);
    let services = announced.into_iter().collect();
    Some(Said { services, problems })
}

/// `service.stack.domain`, the aliases below each domain, and names in full.
fn hosts(draft: &mut Draft<'_>, labels: &[(String, &str)], by_stack: bool) {
    let facts = draft.facts;
    let list = |name: &str| {
        let found = labels.iter().find(|(label, _)| label == name);
        let value = found.map_or(String::new(), |(_, value)| value.to_ascii_lowercase());
        let items = value.split(',').map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect::<Vec<_>>()
    };
    let service = facts
        .service
        .as_ref()
        .unwrap_or(&facts.name)
        .to_ascii_lowercase();
    let stack = facts.stack.as_ref().map(|stack| stack.to_ascii_lowercase());
    let name = match (&stack, by_stack) {
        (Some(stack), true) => stack.clone(),
        (Some(stack), false) => format!("{service}.{stack}"),
        (None, _) => service,
    };
    let domains = list("traefik.domain");
    let mut hosts: Vec<String> = match domains.is_empty() {
        true => vec![name.clone()],
        false => domains
            .iter()
            .map(|domain| format!("{name}.{domain}"))
            .collect(),
    };
    for alias in list("traefik.alias") {
        hosts.extend(domains.iter().map(|domain| format!("{alias}.{domain}")));
    }
    hosts.extend(list("traefik.alias.fqdn"));
    draft.set("virtual_hosts", hosts.join(", "), "traefik.domain");
    let regexes = list("traefik.domain.regexp");
    for regex in regexes {
        match is_line(&regex) {
            true => draft.append(
                "virtual_host_regex",
                "\n",
                &format!(".*(?:{regex}).*"),
                "traefik.domain.regexp",
            ),
            false => draft.bad("traefik.domain.regexp", &regex, "a pattern on one line"),
        }
    }
}

/// Either all paths of a service are cut off, or none.
fn paths(draft: &mut Draft<'_>, labels: &[(String, &str)]) {
    let kinds = [
        ("traefik.path.strip", "=", "", true),
        ("traefik.path.prefix.strip", "", "*", true),
        ("traefik.path", "=", "", false),
        ("traefik.path.prefix", "", "*", false),
    ];
    let (mut stripped, mut kept) = (None, None);
    for (name, before, behind, is_stripped) in kinds {
        let Some((_, value)) = labels.iter().find(|(label, _)| label == name) else {
            continue;
        };
        for path in value
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty())
        {
            let root = path.trim_end_matches('/');
            let path = match behind {
                "*" if root.is_empty() => "/".to_owned(),
                "*" if root.len() < path.len() => root.to_owned(),
                _ => format!("{before}{path}{behind}"),
            };
            draft.append("virtual_path", ", ", &path, name);
        }
        match is_stripped {
            true => stripped = Some(name),
            false => kept = Some(name),
        }
    }
    if let (Some(stripped), Some(kept)) = (stripped, kept) {
        let message = format!("{stripped} and {kept} are both there; no path is cut off");
        draft.warn(
            "not-here",
            message,
            "all paths of a service are cut off, or none",
        );
    }
    if let Some(kept) = kept {
        draft.set("keep_virtual_path", "true", kept);
    }
}

fn priority(draft: &mut Draft<'_>, value: &str, label: &str) {
    const MAX: i64 = 1000;
    match value.parse::<i64>() {
        Ok(priority) => {
            if priority.abs() > MAX {
                let message = format!("{label} is {priority}, taken as the nearest there is");
                draft.warn("bad-value", message, "priorities go from -1000 to 1000");
            }
            draft.set("priority", priority.clamp(-MAX, MAX).to_string(), label);
        }
        Err(_) => draft.bad(label, value, "a whole number"),
    }
}
