//! Routers, each as a service: its rule, its entry points, its middlewares and the servers behind it.

use super::claims::{self, Claims};
use super::rule::{self, Alternative, Test};
use super::{Labels, Options, Word, middlewares, servers};
use crate::diag::{Diagnostic, quoted};
use crate::link::draft::{Draft, Mode};
use crate::link::{Announced, Facts, Ground};

type Outcome = (Option<Announced>, Vec<Diagnostic>);

/// Labels of a router that mean something here, or are always so.
const HTTP: [&str; 8] = [
    "rule",
    "rulesyntax",
    "entrypoints",
    "middlewares",
    "service",
    "priority",
    "tls",
    "tls.options",
];
const TCP: [&str; 6] = [
    "rule",
    "rulesyntax",
    "entrypoints",
    "service",
    "tls",
    "tls.passthrough",
];

pub(super) fn read(facts: &Facts, ground: &Ground, labels: &Labels) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (name, options) in &labels.routers {
        outcomes.push(http(facts, ground, labels, Some(name), options));
    }
    for (name, options) in &labels.tcp_routers {
        outcomes.push(tcp(facts, ground, labels, name, options));
    }
    if outcomes.is_empty() {
        outcomes.push(http(facts, ground, labels, None, &Options::new()));
    }
    outcomes
}

/// A name for the service: the container's group, with the router's where that is another.
fn service_name(facts: &Facts, router: Option<&str>) -> String {
    let group = facts.group();
    match router {
        Some(router) if router != group && Some(router) != facts.service.as_deref() => {
            format!("{group}-{router}")
        }
        _ => group,
    }
}

fn http(
    facts: &Facts,
    ground: &Ground,
    labels: &Labels,
    router: Option<&str>,
    options: &Options,
) -> Outcome {
    let mut draft = Draft::new(facts);
    network(&mut draft, labels);
    for (word, option) in options {
        let is_domain = word.starts_with("tls.domains") || word == "tls.certresolver";
        if is_domain {
            draft.not_here(&option.label, "put the certificate under certs/<name>: it is chosen by the name that clients ask for");
        } else if word == "tls.options" {
            draft.not_here(
                &option.label,
                "ssl_ciphers and ssl_min_version hold for the whole balancer",
            );
        } else if word.starts_with("observability.") {
            draft.not_here(
                &option.label,
                "label lb.access_log is for the LB dialect alone",
            );
        } else if !HTTP.contains(&word.as_str()) {
            draft.unknown(&option.label, HTTP);
        }
    }
    let (alternatives, label) = rule_of(&mut draft, options, facts);
    let length = options
        .get("rule")
        .map_or(0, |rule| rule.value.trim().len());
    let entry = entrypoints(&mut draft, options);
    let claims = match alternatives {
        Some(all) => claims::set(&mut draft, &all, entry, &label).unwrap_or_default(),
        None => Claims::default(),
    };
    if let Some(priority) = options.get("priority") {
        set_priority(&mut draft, priority, length);
    }
    middlewares::set(&mut draft, labels, options.get("middlewares"), &claims);
    let port = servers::http(&mut draft, labels, options.get("service"));
    draft.finish(Mode::Http, &service_name(facts, router), port, ground)
}

fn rule_of(
    draft: &mut Draft<'_>,
    options: &Options,
    facts: &Facts,
) -> (Option<Vec<Alternative>>, String) {
    let Some(rule) = options
        .get("rule")
        .filter(|rule| !rule.value.trim().is_empty())
    else {
        let host = default_host(facts);
        let test = Test {
            negated: false,
            name: "Host".to_owned(),
            args: vec![host],
        };
        return (Some(vec![vec![test]]), "the default rule".to_owned());
    };
    match rule::parse(&rule.value) {
        Ok(alternatives) => (Some(alternatives), rule.label.clone()),
        Err(problem) => {
            let message = format!("{} {problem}: {}", rule.label, quoted(&rule.value));
            draft.error(
                "bad-rule",
                message,
                "docs/linking.md has what rules may say",
            );
            (None, rule.label.clone())
        }
    }
}

/// Traefik's own: service and project, or the container's name, with dashes for what no host has.
fn default_host(facts: &Facts) -> String {
    let name = match (&facts.service, &facts.stack) {
        (Some(service), Some(stack)) => format!("{service}-{stack}"),
        (Some(service), None) => service.clone(),
        _ => facts.name.clone(),
    };
    let dashed = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    dashed.collect::<String>().trim_matches('-').to_owned()
}

/// Who comes by TLS is another matter to a router than who does not.
fn entrypoints(draft: &mut Draft<'_>, options: &Options) -> Option<&'static str> {
    let (mut plain, mut tls) = (false, false);
    if let Some(option) = options.get("entrypoints") {
        for name in option
            .value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match name.to_ascii_lowercase().as_str() {
                "web" | "http" => plain = true,
                "websecure" | "https" => tls = true,
                _ => {
                    let message = format!(
                        "{} names {}, which is not known",
                        option.label,
                        quoted(name)
                    );
                    draft.warn("not-here", message, "web and http are --http, websecure and https are --https; it is served at both");
                    (plain, tls) = (true, true);
                }
            }
        }
    }
    if let Some(option) = options.get("tls")
        && draft.boolean(&option.value, &option.label) == Some(true)
    {
        return Some("{ ssl_fc }");
    }
    if options.keys().any(|word| word.starts_with("tls.")) && !plain {
        return Some("{ ssl_fc }");
    }
    match (plain, tls) {
        (true, false) => Some("!{ ssl_fc }"),
        (false, true) => Some("{ ssl_fc }"),
        _ => None,
    }
}

/// Where nothing is said the length of the rule is its priority there, and what is more specific goes first
/// here: so what is said above that length goes before, and what is said below it comes last.
fn set_priority(draft: &mut Draft<'_>, option: &Word, length: usize) {
    const MAX: i64 = 1000;
    let Ok(said) = option.value.trim().parse::<i64>() else {
        draft.bad(&option.label, &option.value, "a whole number");
        return;
    };
    let length = i64::try_from(length).unwrap_or(MAX);
    let priority = match said {
        0 => return,
        said if said < length => (said - MAX).clamp(-MAX, -1),
        said => said.min(MAX),
    };
    draft.set("priority", priority.to_string(), &option.label);
}

fn tcp(
    facts: &Facts,
    ground: &Ground,
    labels: &Labels,
    router: &str,
    options: &Options,
) -> Outcome {
    let mut draft = Draft::new(facts);
    network(&mut draft, labels);
    for (word, option) in options {
        if word == "middlewares" {
            let message = format!("{} is not known for TCP", option.label);
            draft.error(
                "not-here",
                message,
                "it may be meant to keep somebody out: take it away, or use LB_ALLOW",
            );
        } else if !TCP.contains(&word.as_str()) {
            draft.unknown(&option.label, TCP);
        }
    }
    let name = service_name(facts, Some(router));
    let port = servers::tcp(&mut draft, labels, options.get("service"));
    let label = options
        .get("rule")
        .map_or(String::new(), |rule| rule.label.clone());
    let rule = options
        .get("rule")
        .map_or("HostSNI(`*`)", |rule| rule.value.as_str());
    let names = sni(rule);
    let passes = options
        .get("tls.passthrough")
        .map(|option| (option, draft.boolean(&option.value, &option.label)));
    match (names, passes) {
        (None, _) => {
            let message = format!("{label} is {}", quoted(rule));
            draft.error(
                "bad-rule",
                message,
                "of TCP rules HostSNI(`name`) and HostSNI(`*`) are known",
            );
            (None, draft.give_up())
        }
        (Some(names), Some((option, Some(true)))) => {
            match names.iter().any(|name| name == "*") {
                true => draft.set("ssl_passthrough", "unknown", &option.label),
                false => {
                    draft.set("ssl_passthrough", "true", &option.label);
                    draft.set("virtual_hosts", names.join(", "), &label);
                }
            }
            draft.finish(Mode::Http, &name, port, ground)
        }
        (Some(names), _) => {
            if names.iter().any(|name| name != "*") || options.contains_key("tls") {
                let message = format!("{label} asks for TLS to end in front of a TCP service");
                draft.error(
                    "not-here",
                    message,
                    "tls.passthrough=true hands the connection on as it came",
                );
            }
            if let Some(external) = external_port(&mut draft, options, port) {
                let from = options
                    .get("entrypoints")
                    .map_or("entrypoints", |option| option.label.as_str());
                draft.set("external_port", external.to_string(), from);
            }
            draft.finish(Mode::Tcp, &name, port, ground)
        }
    }
}

/// The names of a rule that is one `HostSNI`.
fn sni(rule: &str) -> Option<Vec<String>> {
    let alternatives = rule::parse(rule).ok()?;
    let mut names = Vec::new();
    for alternative in alternatives {
        match alternative.as_slice() {
            [test] if !test.negated && test.name.eq_ignore_ascii_case("HostSNI") => {
                names.extend(test.args.iter().cloned());
            }
            _ => return None,
        }
    }
    (!names.is_empty()).then_some(names)
}

/// Which port an entry point has is said where nobody but Traefik reads it; its name may end in the number.
fn external_port(draft: &mut Draft<'_>, options: &Options, port: Option<u16>) -> Option<u16> {
    let port = port?;
    let Some(option) = options.get("entrypoints") else {
        draft.warn(
            "which-port",
            format!("no entry point is named, {port} is opened"),
            "entrypoints=tcp-5432 opens 5432",
        );
        return Some(port);
    };
    let name = option.value.trim();
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    match name[name.len() - digits..].parse::<u16>() {
        Ok(number) if number != 0 => Some(number),
        _ => {
            let message = format!(
                "{} is {}, whose port is not known here: {port} is opened",
                option.label,
                quoted(name)
            );
            draft.warn(
                "which-port",
                message,
                "a name that ends in the port says it, such as tcp-5432",
            );
            Some(port)
        }
    }
}

fn network(draft: &mut Draft<'_>, labels: &Labels) {
    if let Some(network) = &labels.network {
        draft.network(&network.value, &network.label);
    }
}
