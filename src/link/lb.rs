//! `LB_*` and `KONTENA_LB_*`: variables, labels of the same names, and labels `lb.*`.
//!
//! `LB_` and the name of a key in capitals is that key, whichever it is. `KONTENA_LB_` takes the ten words that
//! Kontena had, and its defaults: port 80, `roundrobin` for TCP too, TCP for every mode that is not `http`.

use std::collections::BTreeMap;

use super::draft::{Draft, Mode};
use super::{Facts, Ground, Said};
use crate::diag::{Diagnostic, nearest, quoted};

/// Keys of services, all of which `LB_` sets; `LB_ERROR_PAGES_503` sets `error_pages/503`.
pub const SERVICE_KEYS: [&str; 53] = [
    "access_log",
    "allow",
    "balance",
    "basic_auth_forward",
    "basic_auth_realm",
    "basic_auth_secrets",
    "context_root_rewrite",
    "cookie",
    "cookie_value",
    "custom_settings",
    "default",
    "deny",
    "external_port",
    "force_ssl",
    "force_ssl_code",
    "force_ssl_port",
    "health_check",
    "health_check_fall",
    "health_check_interval",
    "health_check_port",
    "health_check_rise",
    "health_check_timeout",
    "health_check_uri",
    "hsts",
    "keep_virtual_path",
    "maintenance",
    "match",
    "max_body_size",
    "max_connections",
    "max_queue",
    "pass_host_header",
    "priority",
    "redirect_code",
    "redirects",
    "request_headers",
    "response_headers",
    "retries",
    "send_proxy",
    "ssl_client_ca",
    "ssl_client_verify",
    "ssl_passthrough",
    "sticky_session_cookie",
    "timeout_client",
    "timeout_connect",
    "timeout_queue",
    "timeout_server",
    "timeout_tunnel",
    "upstream_tls",
    "upstream_tls_ca",
    "upstream_tls_certificate",
    "upstream_tls_name",
    "upstream_tls_verify",
    "warm_up",
];

/// Keys of services, and by any of them a container announces itself: the others are also settings of balancers.
const ROUTE_KEYS: [&str; 3] = ["virtual_host_regex", "virtual_hosts", "virtual_path"];

/// Words that are no keys.
const OWN: [&str; 7] = [
    "backend_mode",
    "internal_port",
    "link",
    "mode",
    "network",
    "service",
    "weight",
];

/// A container that says one of these announces itself.
const ANNOUNCING: [&str; 9] = [
    "default",
    "external_port",
    "internal_port",
    "match",
    "mode",
    "redirects",
    "virtual_host_regex",
    "virtual_hosts",
    "virtual_path",
];

/// What Kontena had for services.
const KONTENA: [&str; 10] = [
    "balance",
    "basic_auth_secrets",
    "cookie",
    "custom_settings",
    "external_port",
    "internal_port",
    "keep_virtual_path",
    "mode",
    "virtual_hosts",
    "virtual_path",
];

const PAGES: &str = "error_pages_";

/// Where a word was found; the first goes over those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spelling {
    Lb,
    Kontena,
}

struct Word {
    value: String,
    from: String,
    spelling: Spelling,
}

/// Whether this is a balancer itself, whose variables are about itself.
pub(super) fn is_balancer(facts: &Facts) -> bool {
    let has = |name: &str| facts.env.contains_key(name);
    has("LB_STORE")
        || facts
            .env
            .get("KONTENA_SERVICE_ROLE")
            .is_some_and(|role| role == "lb")
}

/// The balancers that a container links to.
pub(super) fn links(facts: &Facts) -> impl Iterator<Item = &str> {
    let labels = [
        "lb.link",
        "LB_LINK",
        "com.docker.lb.service_cluster",
        "io.kontena.load_balancer.name",
    ];
    let labels = labels.into_iter().filter_map(|name| facts.labels.get(name));
    let all = labels.chain(facts.env.get("LB_LINK"));
    all.flat_map(|names| names.split(',')).map(str::trim)
}

/// A container that says nothing, but nearly does.
pub(super) fn misspelt(facts: &Facts) -> Option<Diagnostic> {
    let names = facts.labels.keys().chain(facts.env.keys());
    let mut meant = names.filter_map(|name| {
        let (_, word) = word_of(name)?;
        let known = SERVICE_KEYS.iter().any(|key| *key == word);
        let word = nearest(&word, ANNOUNCING).filter(|_| !known)?;
        Some((name, word))
    });
    let (name, word) = meant.next()?;
    let name = quoted(name);
    let message = format!("{}: is not announced: {name} is unknown", facts.name);
    let help = format!("did you mean LB_{}?", word.to_uppercase());
    Some(Diagnostic::warning("unknown-word", message).help(help))
}

pub(super) fn read(facts: &Facts, ground: &Ground) -> Option<Said> {
    let mut draft = Draft::new(facts);
    let words = gather(&mut draft);
    if !ANNOUNCING.iter().any(|word| words.contains_key(*word)) {
        return None;
    }
    let is_kontena = words
        .values()
        .all(|word| word.spelling == Spelling::Kontena);
    let mode = mode(&mut draft, words.get("mode"));
    let mut port = None;
    let service = facts.group();
    for (word, said) in &words {
        let (value, from) = (said.value.as_str(), said.from.as_str());
        match word.as_str() {
            // The last two hold for every dialect.
            "mode" | "link" | "service" => {}
            "internal_port" => port = Some(draft.port(value, from)),
            "network" => draft.network(value, from),
            "backend_mode" => draft.backend_mode(value, from),
            "weight" => draft.weigh(value, from),
            "keep_virtual_path" if said.spelling == Spelling::Kontena => {
                keep_virtual_path(&mut draft, value, from);
            }
            page if page.starts_with(PAGES) => {
                draft.set(
                    &format!("error_pages/{}", &page[PAGES.len()..]),
                    value,
                    from,
                );
            }
            key => draft.set(key, value, from),
        }
    }
    // Set by Kontena's agent from the service's own health check.
    for key in ["health_check_uri", "health_check_port"] {
        let label = key.replacen("health_check_", "io.kontena.health_check.", 1);
        if let Some(value) = facts.labels.get(&label)
            && mode == Mode::Http
        {
            draft.set(key, value, &label);
        }
    }
    let port = match port {
        Some(port) => port,
        None if is_kontena => Some(80),
        None => draft.guess_port(80, "LB_INTERNAL_PORT"),
    };
    if is_kontena && !draft.has("balance") {
        draft.set("balance", "roundrobin", "KONTENA_LB_BALANCE");
    }
    let (announced, problems) = draft.finish(mode, &service, port, ground);
    let services = announced.into_iter().collect();
    Some(Said { services, problems })
}

/// All words by their name in lower case. A label goes over a variable, `LB_` over `KONTENA_LB_`.
fn gather(draft: &mut Draft<'_>) -> BTreeMap<String, Word> {
    let facts = draft.facts;
    let labels = facts
        .labels
        .iter()
        .map(|(name, value)| (format!("label {name}"), name, value));
    let variables = facts
        .env
        .iter()
        .map(|(name, value)| (name.clone(), name, value));
    let mut found: Vec<(Spelling, String, Word)> = Vec::new();
    for (from, name, value) in labels.chain(variables) {
        let Some((spelling, word)) = word_of(name) else {
            continue;
        };
        match is_known(&word, spelling) {
            Ok(()) => found.push((
                spelling,
                word,
                Word {
                    value: value.clone(),
                    from,
                    spelling,
                },
            )),
            Err(problem) => {
                let message = format!("{} is unknown", quoted(name).trim_matches('"'));
                draft.warn("unknown-word", message, &problem);
            }
        }
    }
    let kontena_labels = [
        ("io.kontena.load_balancer.internal_port", "internal_port"),
        ("io.kontena.load_balancer.mode", "mode"),
    ];
    if facts.labels.contains_key("io.kontena.load_balancer.name") {
        for (label, word) in kontena_labels {
            if let Some(value) = facts.labels.get(label) {
                let word_said = Word {
                    value: value.clone(),
                    from: format!("label {label}"),
                    spelling: Spelling::Kontena,
                };
                found.push((Spelling::Kontena, word.to_owned(), word_said));
            }
        }
    }
    // Stable: labels stay before variables.
    found.sort_by_key(|(spelling, _, _)| *spelling);
    let mut words: BTreeMap<String, Word> = BTreeMap::new();
    for (_, name, word) in found {
        match words.get(&name) {
            Some(first) if first.value == word.value => {}
            Some(first) => {
                let message = format!(
                    "{} is not used: {} says something else",
                    word.from, first.from
                );
                draft.warn("said-twice", message, "remove one of the two");
            }
            None => {
                words.insert(name, word);
            }
        }
    }
    words
}

/// The word in a variable's or a label's name.
fn word_of(name: &str) -> Option<(Spelling, String)> {
    if let Some(word) = name.strip_prefix("KONTENA_LB_") {
        return Some((Spelling::Kontena, word.to_ascii_lowercase()));
    }
    if let Some(word) = name.strip_prefix("LB_") {
        return Some((Spelling::Lb, word.to_ascii_lowercase()));
    }
    let word = name.strip_prefix("lb.")?;
    Some((Spelling::Lb, word.replace('.', "_")))
}

/// Whether there is such a word, or what to do instead.
fn is_known(word: &str, spelling: Spelling) -> Result<(), String> {
    let is_page = word
        .strip_prefix(PAGES)
        .is_some_and(|status| status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()));
    let is_ours = is_page || all().any(|known| known == word);
    match spelling {
        Spelling::Lb if is_ours => Ok(()),
        Spelling::Kontena if KONTENA.contains(&word) => Ok(()),
        Spelling::Kontena if is_ours => Err(format!(
            "Kontena had none of this name; write LB_{}",
            word.to_uppercase()
        )),
        Spelling::Lb => Err(meant("LB_", nearest(word, all()))),
        Spelling::Kontena => Err(meant("KONTENA_LB_", nearest(word, KONTENA))),
    }
}

fn meant(prefix: &str, word: Option<&str>) -> String {
    match word {
        Some(word) => format!("did you mean {prefix}{}?", word.to_uppercase()),
        None => "docs/linking.md has all that are known".to_owned(),
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    SERVICE_KEYS.into_iter().chain(ROUTE_KEYS).chain(OWN)
}

fn mode(draft: &mut Draft<'_>, word: Option<&Word>) -> Mode {
    let Some(word) = word else {
        return Mode::Http;
    };
    match (word.spelling, word.value.as_str()) {
        (Spelling::Kontena, "http") => Mode::Http,
        (Spelling::Kontena, "tcp") => Mode::Tcp,
        (Spelling::Kontena, other) => {
            let message = format!("{} is {}, which is TCP", word.from, quoted(other));
            draft.warn("bad-value", message, "write http or tcp, in small letters");
            Mode::Tcp
        }
        (Spelling::Lb, text) => match text.trim().to_ascii_lowercase().as_str() {
            "http" | "" => Mode::Http,
            "tcp" => Mode::Tcp,
            _ => {
                draft.bad(&word.from, text, "http or tcp");
                Mode::Http
            }
        },
    }
}

/// Only the word `true` kept the path there.
fn keep_virtual_path(draft: &mut Draft<'_>, value: &str, from: &str) {
    match value.trim() {
        "true" => draft.set("keep_virtual_path", "true", from),
        "false" | "" => {}
        other => {
            let message = format!("{from} is {}, which cuts the path off", quoted(other));
            draft.warn("bad-value", message, "write true to keep it");
        }
    }
}
