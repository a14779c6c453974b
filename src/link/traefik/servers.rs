//! `services.<name>.loadbalancer.*`: the port, and how servers are balanced to.

use super::{Labels, Options, Word};
use crate::diag::quoted;
use crate::link::draft::Draft;

/// How an option becomes a key.
enum Means {
    Key(&'static str),
    Own,
    Always,
    Nothing(&'static str),
}

const CHECKS: &str = "checks are a GET of the path, answered with 2xx or 3xx";

const TABLE: [(&str, Means); 30] = [
    ("server.port", Means::Own),
    ("server.scheme", Means::Own),
    ("server.url", Means::Own),
    ("server.weight", Means::Own),
    ("server", Means::Always),
    ("passhostheader", Means::Key("pass_host_header")),
    ("strategy", Means::Own),
    ("healthcheck.path", Means::Key("health_check_uri")),
    ("healthcheck.port", Means::Key("health_check_port")),
    ("healthcheck.interval", Means::Key("health_check_interval")),
    ("healthcheck.timeout", Means::Key("health_check_timeout")),
    ("healthcheck.unhealthyinterval", Means::Nothing(CHECKS)),
    ("healthcheck.method", Means::Nothing(CHECKS)),
    ("healthcheck.status", Means::Nothing(CHECKS)),
    ("healthcheck.scheme", Means::Nothing(CHECKS)),
    ("healthcheck.mode", Means::Nothing(CHECKS)),
    ("healthcheck.hostname", Means::Nothing(CHECKS)),
    ("healthcheck.followredirects", Means::Nothing(CHECKS)),
    ("sticky", Means::Own),
    ("sticky.cookie", Means::Own),
    ("sticky.cookie.name", Means::Own),
    ("sticky.cookie.httponly", Means::Own),
    ("sticky.cookie.secure", Means::Own),
    ("sticky.cookie.samesite", Means::Own),
    ("sticky.cookie.maxage", Means::Own),
    ("sticky.cookie.path", Means::Own),
    ("sticky.cookie.domain", Means::Own),
    // Answers are handed on as they come.
    ("responseforwarding.flushinterval", Means::Always),
    (
        "serverstransport",
        Means::Nothing("lb.upstream_tls_* say how upstreams are spoken to by TLS"),
    ),
    ("proxyprotocol.version", Means::Own),
];

/// The service that a router leads to: the one it names, or the only one.
fn find<'l>(
    draft: &mut Draft<'_>,
    services: &'l std::collections::BTreeMap<String, Options>,
    named: Option<&Word>,
) -> Option<&'l Options> {
    if let Some(named) = named {
        let (name, provider) = named
            .value
            .trim()
            .split_once('@')
            .unwrap_or((named.value.trim(), "docker"));
        if let Some(service) = services
            .get(&name.to_ascii_lowercase())
            .filter(|_| provider == "docker")
        {
            return Some(service);
        }
        if name == "noop" && provider == "internal" {
            // Its middleware answers.
            return services.values().next();
        }
        let message = format!(
            "{} is {}, and this container has no such service",
            named.label,
            quoted(&named.value)
        );
        draft.error(
            "no-service",
            message,
            "services of other containers, files and Traefik itself are not to be had",
        );
        return None;
    }
    if services.len() > 1 {
        let names: Vec<_> = services.keys().take(5).map(|name| quoted(name)).collect();
        let message = format!(
            "has several services ({}) and a router that names none",
            names.join(", ")
        );
        draft.error(
            "which-service",
            message,
            "name it with the router's label service",
        );
        return None;
    }
    services.values().next()
}

pub(super) fn http(draft: &mut Draft<'_>, labels: &Labels, named: Option<&Word>) -> Option<u16> {
    let options = find(draft, &labels.services, named);
    let none = Options::new();
    balancer(
        draft,
        options.unwrap_or(&none),
        "traefik.http.services.<name>.loadbalancer.server.port",
    )
}

pub(super) fn tcp(draft: &mut Draft<'_>, labels: &Labels, named: Option<&Word>) -> Option<u16> {
    let options = find(draft, &labels.tcp_services, named);
    let none = Options::new();
    balancer(
        draft,
        options.unwrap_or(&none),
        "traefik.tcp.services.<name>.loadbalancer.server.port",
    )
}

/// Sets the keys and gives the port: the one that is said, or the lowest that is exposed.
fn balancer(draft: &mut Draft<'_>, options: &Options, how: &str) -> Option<u16> {
    let mut port = None;
    for (word, option) in options {
        let label = option.label.as_str();
        let value = option.value.trim();
        let Some(inner) = word.strip_prefix("loadbalancer.") else {
            let message = format!("{label} is not known");
            draft.error(
                "not-here",
                message,
                "of services loadbalancer is known: no weighted, mirroring or failover ones",
            );
            continue;
        };
        let known = TABLE.iter().find(|(name, _)| *name == inner);
        match known.map(|(_, means)| means) {
            Some(Means::Key("health_check_interval" | "health_check_timeout")) => {
                let key = if inner.ends_with("interval") {
                    "health_check_interval"
                } else {
                    "health_check_timeout"
                };
                draft.set(key, seconds(value), label);
            }
            Some(Means::Key(key)) => draft.set(key, value, label),
            Some(Means::Always) => {}
            Some(Means::Nothing(instead)) => draft.not_here(label, instead),
            Some(Means::Own) => match inner {
                "server.port" => match draft.port(value, label) {
                    Some(number) => port = Some(number),
                    None => return None,
                },
                "server.scheme" => scheme(draft, value, label),
                "server.url" => {
                    let message = format!("{label} is not known: the container is the server");
                    draft.error("not-here", message, "use server.port and server.scheme");
                }
                "server.weight" => draft.weigh(value, label),
                "strategy" => strategy(draft, value, label),
                "proxyprotocol.version" => match value {
                    "1" => draft.set("send_proxy", "v1", label),
                    "2" => draft.set("send_proxy", "v2", label),
                    _ => draft.bad(label, value, "1 or 2"),
                },
                // All of them are one directive.
                _ => {}
            },
            None if inner.starts_with("healthcheck.headers.") => draft.not_here(label, CHECKS),
            None => draft.unknown(label, TABLE.iter().map(|(name, _)| *name)),
        }
    }
    sticky(draft, options);
    if port.is_some() {
        return port;
    }
    match draft.facts.ports.first() {
        Some(lowest) => {
            if draft.facts.ports.len() > 1 {
                let message = format!(
                    "exposes {} and says not which, the lowest is taken",
                    draft.facts.ports_text()
                );
                draft.warn("which-port", message, &format!("say it with {how}"));
            }
            Some(lowest.number)
        }
        None => {
            let message = "exposes no port and says none".to_owned();
            draft.error("no-port", message, &format!("say it with {how}"));
            None
        }
    }
}

/// A bare number is seconds there and milliseconds here.
fn seconds(value: &str) -> String {
    match !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("{value}s"),
        false => value.to_owned(),
    }
}

fn scheme(draft: &mut Draft<'_>, value: &str, label: &str) {
    match value {
        "http" | "" => {}
        "https" => draft.set("upstream_tls", "true", label),
        "h2c" => {
            let message = format!("{label} is h2c, which is not spoken here");
            draft.error(
                "not-here",
                message,
                "upstreams are spoken to by HTTP/1.1: http or https",
            );
        }
        _ => draft.bad(label, value, "http or https"),
    }
}

fn strategy(draft: &mut Draft<'_>, value: &str, label: &str) {
    match value.to_ascii_lowercase().as_str() {
        "wrr" => draft.set("balance", "roundrobin", label),
        "p2c" => draft.set("balance", "random", label),
        "hrw" => draft.set("balance", "source", label),
        "leasttime" => draft.not_here(label, "lb.balance leastconn is the nearest"),
        _ => draft.bad(label, value, "wrr, p2c or hrw"),
    }
}

/// The options of the cookie as one directive.
fn sticky(draft: &mut Draft<'_>, options: &Options) {
    const COOKIE: &str = "loadbalancer.sticky.cookie";
    let get = |name: &str| options.get(&format!("{COOKIE}.{name}"));
    let whole = options
        .get(COOKIE)
        .or_else(|| options.get("loadbalancer.sticky"));
    let has_details = options
        .keys()
        .any(|word| word.starts_with("loadbalancer.sticky.cookie."));
    let label = match whole {
        Some(whole) => {
            if draft.boolean(&whole.value, &whole.label) != Some(true) {
                return;
            }
            whole.label.clone()
        }
        None if has_details => format!("traefik...{COOKIE}"),
        None => return,
    };
    if !has_details {
        draft.set("cookie", "", &label);
        return;
    }
    let name = get("name").map_or("LB_SERVERID", |option| option.value.trim());
    let is_token = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_' | '.' | '!' | '$' | '&' | '*' | '+' | '^' | '|')
    };
    if name.is_empty() || !name.chars().all(is_token) {
        draft.bad(&label, name, "the name of a cookie");
        return;
    }
    let mut words = vec![
        name.to_owned(),
        "insert".to_owned(),
        "indirect".to_owned(),
        "nocache".to_owned(),
    ];
    for flag in ["httponly", "secure"] {
        if let Some(option) = get(flag)
            && draft.boolean(&option.value, &option.label) == Some(true)
        {
            words.push(flag.to_owned());
        }
    }
    let details = [
        ("samesite", "attr \"SameSite="),
        ("maxage", "attr \"Max-Age="),
        ("path", "attr \"Path="),
        ("domain", "domain \""),
    ];
    for (detail, before) in details {
        let Some(option) = get(detail) else { continue };
        let value = option.value.trim();
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
        if value.is_empty() || !value.chars().all(good) {
            draft.bad(
                &option.label,
                value,
                "letters, digits, dots, dashes and slashes",
            );
            continue;
        }
        words.push(format!("{before}{value}\""));
    }
    draft.set("cookie", words.join(" "), &label);
}
