//! `com.docker.lb.*`: Interlock's labels.

use std::collections::BTreeSet;

use super::draft::{Draft, Mode};
use super::{Announced, Facts, Ground, Said};
use crate::diag::{Diagnostic, quoted};

const PREFIX: &str = "com.docker.lb.";

/// How a label becomes a key.
enum Means {
    /// That key, with the value as it is.
    Key(&'static str),
    /// Something of its own, below.
    Own,
    /// Always so: what it asks for is done for everybody.
    Always,
    /// Nothing here, and what to do instead.
    Nothing(&'static str),
}

const TABLE: [(&str, Means); 20] = [
    ("hosts", Means::Key("virtual_hosts")),
    ("port", Means::Own),
    ("network", Means::Own),
    ("context_root", Means::Own),
    ("context_root_rewrite", Means::Own),
    ("ssl_cert", Means::Nothing(CERTIFICATES)),
    ("ssl_key", Means::Nothing(CERTIFICATES)),
    ("ssl_passthrough", Means::Key("ssl_passthrough")),
    ("ssl_backend", Means::Key("upstream_tls")),
    ("ssl_backend_tls_verify", Means::Own),
    ("ssl_only", Means::Key("force_ssl")),
    ("sticky_session_cookie", Means::Key("sticky_session_cookie")),
    ("ip_hash", Means::Own),
    ("redirects", Means::Key("redirects")),
    // Upgrades are let through on every path.
    ("websocket_endpoints", Means::Always),
    // `?link=` of the store asks for it.
    ("service_cluster", Means::Always),
    ("backend_mode", Means::Own),
    ("default_backend", Means::Key("default")),
    ("max_fails", Means::Nothing(CHECKS)),
    ("fail_timeout", Means::Nothing(CHECKS)),
];

const CERTIFICATES: &str = "put the certificate under certs/<name>, or into a directory of --certs: it is chosen by the name that clients ask for";
const CHECKS: &str = "upstreams are taken out by health checks: label lb.health_check_fall";

pub(super) fn read(facts: &Facts, ground: &Ground) -> Option<Said> {
    if !facts.labels.keys().any(|label| label.starts_with(PREFIX)) {
        return None;
    }
    let mut draft = Draft::new(facts);
    let mut port = None;
    let mut has_port = false;
    for (label, value) in &facts.labels {
        let Some(word) = label.strip_prefix(PREFIX) else {
            continue;
        };
        let known = TABLE.iter().find(|(name, _)| *name == word);
        match known.map(|(_, means)| means) {
            Some(Means::Key(key)) => draft.set(key, value.trim(), label),
            Some(Means::Always) => {}
            Some(Means::Nothing(instead)) => draft.not_here(label, instead),
            Some(Means::Own) => match word {
                "port" => {
                    has_port = true;
                    port = draft.port(value, label);
                }
                "network" => draft.network(value, label),
                "context_root" => context_root(&mut draft, value, label),
                "context_root_rewrite" => draft.set("context_root_rewrite", value.trim(), label),
                "ssl_backend_tls_verify" => verify(&mut draft, value, label),
                "ip_hash" => {
                    if draft.boolean(value, label) == Some(true) {
                        draft.set("balance", "source", label);
                    }
                }
                _ => draft.backend_mode(value, label),
            },
            None => draft.unknown(label, NAMES),
        }
    }
    if !has_port {
        let message = format!("has no label {PREFIX}port");
        let exposed = format!("it exposes {}", facts.ports_text());
        draft.error("no-port", message, &exposed);
    }
    if !draft.has("virtual_hosts") && !draft.has("default") {
        let message = format!("has no label {PREFIX}hosts");
        draft.error("no-host", message, "name at least one host");
    }
    // Nobody's certificate was looked at unless the label said so.
    if draft.has("upstream_tls") && !draft.has("upstream_tls_verify") {
        let from = format!("{PREFIX}ssl_backend");
        draft.set("upstream_tls_verify", "false", &from);
    }
    let (announced, problems) = draft.finish(Mode::Http, &facts.group(), port, ground);
    let services = announced.into_iter().map(|mut announced| {
        announced.shares = Some(claim(&announced));
        announced
    });
    let services = services.collect();
    Some(Said { services, problems })
}

/// A container that says nothing but what Interlock's first version read.
pub(super) fn older(facts: &Facts) -> Option<Diagnostic> {
    let mut labels = facts.labels.keys();
    let label = labels.find(|label| label.starts_with("interlock."))?;
    let label = quoted(label);
    let message = format!(
        "{}: is not announced: {label} is of Interlock 1",
        facts.name
    );
    let help = "write com.docker.lb.hosts and com.docker.lb.port";
    Some(Diagnostic::warning("unknown-word", message).help(help))
}

/// Which requests it asks for, and how its upstreams are spoken to. Two services that say the same share the requests
/// by their upstreams: a canary is a second service with the same hosts. One that is spoken to in another way is none:
/// its words would be those of all.
fn claim(announced: &Announced) -> String {
    let said = |key: &str| {
        let setting = announced.keys.get(key);
        setting.map(|setting| setting.value.trim().to_ascii_lowercase())
    };
    let hosts = said("virtual_hosts").unwrap_or_default();
    let hosts: BTreeSet<_> = hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .collect();
    let path = announced.keys.get("virtual_path");
    let path = path.map_or("", |path| path.value.trim().trim_end_matches('/'));
    let is = |key: &str| said(key).is_some_and(|text| text == "true");
    let (default, passthrough) = (is("default"), is("ssl_passthrough"));
    let spoken = [
        "upstream_tls",
        "upstream_tls_verify",
        "force_ssl",
        "redirects",
        // Last: without a path they say nothing.
        "keep_virtual_path",
        "context_root_rewrite",
    ];
    let count = spoken.len() - if path.is_empty() { 2 } else { 0 };
    let spoken = spoken[..count]
        .iter()
        .map(|key| said(key).unwrap_or_default());
    let spoken: Vec<_> = spoken.collect();
    format!("{hosts:?} {path:?} {default} {passthrough} {spoken:?}")
}

/// Words in full, for the nearest one.
const NAMES: [&str; 12] = [
    "com.docker.lb.hosts",
    "com.docker.lb.port",
    "com.docker.lb.network",
    "com.docker.lb.context_root",
    "com.docker.lb.context_root_rewrite",
    "com.docker.lb.ssl_passthrough",
    "com.docker.lb.ssl_backend",
    "com.docker.lb.sticky_session_cookie",
    "com.docker.lb.ip_hash",
    "com.docker.lb.redirects",
    "com.docker.lb.service_cluster",
    "com.docker.lb.default_backend",
];

/// The path stayed as it was unless the other label cut it off.
fn context_root(draft: &mut Draft<'_>, value: &str, label: &str) {
    draft.set("virtual_path", value.trim(), label);
    if !draft
        .facts
        .labels
        .contains_key("com.docker.lb.context_root_rewrite")
    {
        draft.set("context_root_rewrite", "false", label);
    }
}

fn verify(draft: &mut Draft<'_>, value: &str, label: &str) {
    match value.trim() {
        "none" | "" => draft.set("upstream_tls_verify", "false", label),
        "required" => draft.set("upstream_tls_verify", "true", label),
        other => draft.bad(label, other, "none or required"),
    }
}
