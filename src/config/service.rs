//! The `service:` unit.

use std::sync::Arc;
use std::time::Duration;

use super::address::{Query, path};
use super::auth;
use super::client_auth;
use super::custom;
use super::drain::drain;
use super::fields::{Fields, name, service_name};
use super::haproxy::{Said, Scope};
use super::policy;
use super::proxy_protocol;
use super::routes::routes;
use super::unit::{
    Balance, CheckKind, Compat, HealthCheck, HttpCheck, Mode, Policy, Service, ServiceTimeouts,
    Upstream,
};
use super::upstream::upstream;
use super::upstream_tls;
use super::values::{self, Problem, unknown_word};
use crate::names::{ServiceName, UpstreamName};

/// Every field a service may have, in the order of `docs/config.md`.
pub const SERVICE_FIELDS: &[&str] = &[
    "name",
    "mode",
    "balance",
    "virtual_hosts",
    "virtual_host_regex",
    "virtual_path",
    "keep_virtual_path",
    "context_root_rewrite",
    "match",
    "priority",
    "default",
    "external_port",
    "health_check",
    "health_check_uri",
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
    "send_proxy",
    "upstream_tls",
    "upstream_tls_ca",
    "upstream_tls_name",
    "upstream_tls_certificate",
    "upstream_tls_verify",
    "allow",
    "deny",
    "redirects",
    "redirect_code",
    "force_ssl",
    "force_ssl_port",
    "force_ssl_code",
    "hsts",
    "ssl_passthrough",
    "request_headers",
    "response_headers",
    "pass_host_header",
    "max_body_size",
    "maintenance",
    "error_pages",
    "access_log",
    "cookie",
    "cookie_value",
    "sticky_session_cookie",
    "basic_auth_secrets",
    "basic_auth_realm",
    "basic_auth_forward",
    "ssl_client_ca",
    "ssl_client_verify",
    "custom_settings",
    "drain",
    "upstreams",
];

/// Kontena's port for a TCP service that names none.
pub(super) const DEFAULT_EXTERNAL_PORT: u16 = 5000;
pub(super) const UPSTREAMS_PER_SERVICE: usize = 10_000;

/// What tells HTTP services apart, whoever reads their requests.
const HTTP_ROUTING: &[&str] = &[
    "virtual_hosts",
    "virtual_host_regex",
    "priority",
    "ssl_passthrough",
];
/// What can only be done by who reads requests. Passwords are a matter of their own: a service that asks
/// for them where nobody can is closed.
pub(super) const NEEDS_REQUESTS: &[&str] = &[
    "virtual_path",
    "keep_virtual_path",
    "context_root_rewrite",
    "match",
    "default",
    "redirects",
    "redirect_code",
    "force_ssl",
    "force_ssl_port",
    "force_ssl_code",
    "hsts",
    "request_headers",
    "response_headers",
    "pass_host_header",
    "max_body_size",
    "maintenance",
    "error_pages",
    "cookie",
    "cookie_value",
    "sticky_session_cookie",
];
const TCP_ONLY: &[&str] = &["external_port"];

/// `None` if it has no name or was refused; the problems are in `fields`.
pub(super) fn service(fields: &mut Fields<'_>, compat: Compat) -> Option<Service> {
    let service_name = fields.read("name", |text| service_name(text).map(ServiceName::from));
    if service_name.is_none() && !fields.is_set("name") {
        fields.missing("name", "write the service's name, as in name: \"web\"");
    }
    let mut mode = match word_of_mode(fields) {
        Word::Http => Mode::Http(routes(fields, compat)),
        Word::Tcp => tcp(fields),
    };
    let scope = match &mode {
        // Nobody reads its requests here.
        Mode::Http(routes) if routes.passthrough.is_some() => Scope::Tcp,
        Mode::Http(_) => Scope::Http,
        Mode::Tcp { .. } => Scope::Tcp,
    };
    let mut custom = custom::settings(fields, "custom_settings", scope);
    let balance = fields.read("balance", values::balance);
    let balance = custom::or(fields, "balance", balance, custom.balance.take());
    let health_check = health_check(fields);
    let slow_start = custom.check.warm_up.take();
    let health_check = custom::health_check(fields, health_check, &mut custom);
    let warm_up = warm_up(fields, slow_start, &health_check, balance);
    let lines = std::mem::take(&mut custom.timeouts);
    let mut timeout = |name, line| {
        let own = fields.timeout(name);
        custom::or(fields, name, own, line)
    };
    let timeouts = ServiceTimeouts {
        connect: timeout("timeout_connect", lines.connect),
        server: timeout("timeout_server", lines.server),
        client: timeout("timeout_client", lines.client),
        tunnel: timeout("timeout_tunnel", lines.tunnel),
        queue: timeout("timeout_queue", lines.queue),
    };
    let retries = fields.read("retries", |text| values::count(text, RETRIES));
    let retries = custom::or(fields, "retries", retries, custom.retries.take());
    let max_connections = fields
        .read("max_connections", |text| {
            if values::is_unlimited(text) {
                return Ok(None);
            }
            values::count(text, CONNECTIONS).map(Some)
        })
        .flatten();
    let line = custom.max_connections.take();
    let max_connections = custom::or(fields, "max_connections", max_connections, line);
    let max_queue = fields.read("max_queue", |text| values::count(text, MAX_QUEUE));
    let send_proxy = fields.read("send_proxy", proxy_protocol::sent).flatten();
    let upstream_tls = upstream_tls::read(fields, &mode).map(Arc::new);
    let access_log = fields.read("access_log", values::boolean).unwrap_or(true);
    let auth = auth::basic_auth(fields, service_name.as_ref(), &mode);
    let client_auth = client_auth::client_auth(fields, &mode);
    let policy = match &mut mode {
        Mode::Http(routes) if routes.passthrough.is_some() => Policy {
            rules: custom.rules,
            ..policy::tcp(fields)
        },
        Mode::Http(routes) => Policy {
            auth,
            client_auth,
            ..policy::http(fields, routes, compat, custom)
        },
        Mode::Tcp { .. } => Policy {
            rules: custom.rules,
            ..policy::tcp(fields)
        },
    };
    let mut upstreams = upstreams(fields);
    drain(fields, &mut upstreams);
    Some(Service {
        name: service_name?,
        mode,
        balance,
        upstreams,
        health_check,
        warm_up,
        timeouts,
        retries,
        max_connections,
        max_queue,
        send_proxy,
        upstream_tls,
        access_log,
        policy: (policy != Policy::default()).then(|| Arc::new(policy)),
    })
}

const WARM_UP: Duration = Duration::from_secs(3600);
pub(super) const RETRIES: std::ops::RangeInclusive<u32> = 0..=100;
pub(super) const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=10_000_000;
pub(super) const MAX_QUEUE: std::ops::RangeInclusive<u32> = 0..=1_000_000;

#[derive(Clone, Copy)]
enum Word {
    Http,
    Tcp,
}

/// Anything but `http` was TCP on port 5000 in Kontena, typos too; here it is refused.
fn word_of_mode(fields: &mut Fields<'_>) -> Word {
    let word = fields.read("mode", |text| match text.to_ascii_lowercase().as_str() {
        "http" => Ok(Word::Http),
        "tcp" => Ok(Word::Tcp),
        "https" => Err(Problem::new(
            "\"https\" is unknown",
            "write \"http\"; whether clients use TLS is the listener's business",
        )),
        _ => Err(unknown_word(text, &["http", "tcp"])),
    });
    if word.is_none() && fields.is_set("mode") {
        return Word::Http;
    }
    let word = word.unwrap_or(Word::Http);
    let (unused, mode, other): (&[&[&str]], _, _) = match word {
        Word::Http => (&[TCP_ONLY], "http", "tcp"),
        Word::Tcp => (&[HTTP_ROUTING, NEEDS_REQUESTS], "tcp", "http"),
    };
    for field in unused.iter().copied().flatten() {
        if fields.says(field) {
            fields.warn(
                "unused-field",
                field,
                format!("{field} says nothing when mode is {mode}"),
                &format!("remove it, or set mode to \"{other}\""),
            );
        }
    }
    word
}

fn tcp(fields: &mut Fields<'_>) -> Mode {
    let external_port = fields
        .read("external_port", values::port)
        .unwrap_or(DEFAULT_EXTERNAL_PORT);
    Mode::Tcp { external_port }
}

fn health_check(fields: &mut Fields<'_>) -> HealthCheck {
    let default = HealthCheck::default();
    let second = Duration::from_secs(1);
    let word = fields.read("health_check", |text| {
        match text.to_ascii_lowercase().as_str() {
            "off" | "none" | "false" | "no" => Ok("off"),
            "tcp" => Ok("tcp"),
            "http" => Ok("http"),
            _ => Err(unknown_word(text, &["off", "tcp", "http"])),
        }
    });
    let uri = fields.read("health_check_uri", |text| path(text, Query::Allowed));
    let kind = match (word, uri) {
        (Some("off"), _) => CheckKind::Off,
        (None | Some("http"), Some(uri)) => CheckKind::Http(HttpCheck::get(uri).into()),
        (Some("http"), None) => CheckKind::Http(HttpCheck::get("/").into()),
        (Some(_), Some(_)) => {
            fields.warn(
                "unused-field",
                "health_check_uri",
                "health_check_uri says nothing when health_check is tcp".to_owned(),
                "remove it, or set health_check to \"http\"",
            );
            CheckKind::Tcp
        }
        (_, None) => CheckKind::Tcp,
    };
    HealthCheck {
        kind,
        port: fields.read("health_check_port", values::port),
        interval: fields
            .duration(
                "health_check_interval",
                Duration::from_millis(100)..=3600 * second,
            )
            .unwrap_or(default.interval),
        timeout: fields
            .duration(
                "health_check_timeout",
                Duration::from_millis(10)..=3600 * second,
            )
            .unwrap_or(default.timeout),
        rise: fields
            .read("health_check_rise", |text| values::count(text, 1..=100))
            .unwrap_or(default.rise),
        fall: fields
            .read("health_check_fall", |text| values::count(text, 1..=100))
            .unwrap_or(default.fall),
    }
}

fn warm_up(
    fields: &mut Fields<'_>,
    slow_start: Option<Said<Duration>>,
    check: &HealthCheck,
    balance: Option<Balance>,
) -> Option<Duration> {
    let own = fields.duration("warm_up", Duration::ZERO..=WARM_UP);
    let (field, what) = match slow_start.is_some() && !fields.is_set("warm_up") {
        true => ("custom_settings", "custom_settings: slowstart"),
        false => ("warm_up", "warm_up"),
    };
    let time = custom::or(fields, "warm_up", own, slow_start)?;
    if time.is_zero() {
        return None;
    }
    let (why, help) = match (&check.kind, balance) {
        (CheckKind::Off, _) => (
            "health_check is off: nobody knows when an upstream comes up",
            "remove it, or let health_check be tcp or http",
        ),
        (_, Some(Balance::Source)) => (
            "balance is source: clients go where they belong",
            "remove it, or set balance to another word",
        ),
        _ => return Some(time),
    };
    fields.warn(
        "unused-field",
        field,
        format!("{what} says nothing when {why}"),
        help,
    );
    None
}

fn upstreams(fields: &mut Fields<'_>) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for (entry, written) in fields.pairs("upstreams", UPSTREAMS_PER_SERVICE) {
        let field = format!("upstreams.{}", entry.name);
        if let Err(problem) = name(&entry.name) {
            fields.refuse_as("upstreams", &field, written, &problem);
            continue;
        }
        match upstream(written.text) {
            Ok((address, weight)) => upstreams.push(Upstream {
                name: UpstreamName::from(entry.name.as_str()),
                address,
                weight,
            }),
            Err(problem) => fields.refuse(&field, written, &problem),
        }
    }
    upstreams.sort_by(|a, b| a.name.cmp(&b.name));
    upstreams
}
