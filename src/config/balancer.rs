//! The `balancer:` unit: `settings/*` over the flags over the defaults.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::access;
use super::accesslog;
use super::ciphers;
use super::custom;
use super::dns;
use super::fields::{self, Fields};
use super::front;
use super::haproxy::Scope;
use super::info;
use super::pages;
use super::proxy_protocol;
use super::service::{CONNECTIONS, MAX_QUEUE, RETRIES};
use super::stats_password::stats_password;
use super::unit::{Balancer, Timeouts, UnknownName};
use super::values::{self, Problem};
use crate::names::CertificateName;

/// Every field the balancer may have, in the order of `docs/config.md`.
pub const BALANCER_FIELDS: &[&str] = &[
    "compat",
    "timeout_head",
    "timeout_handshake",
    "timeout_idle",
    "timeout_client",
    "timeout_connect",
    "timeout_server",
    "timeout_tunnel",
    "timeout_queue",
    "timeout_drain",
    "max_head_size",
    "max_headers",
    "max_body_size",
    "max_connections",
    "max_handshakes",
    "max_queue",
    "retries",
    "trusted_proxies",
    "accept_proxy",
    "health_uri",
    "ready_uri",
    "stats_uri",
    "stats_auth",
    "stats_password",
    "force_ssl",
    "force_ssl_port",
    "force_ssl_code",
    "hsts",
    "error_pages",
    "acme",
    "custom_settings",
    "global_settings",
    "access_log",
    "access_log_format",
    "access_log_sample",
    "info_headers",
    "ssl_default_certificate",
    "ssl_unknown_name",
    "ssl_ticket_lifetime",
    "ssl_ciphers",
    "ssl_min_version",
    "dns_servers",
    "dns_interval",
    "dns_timeout",
];

/// A wait that ends: long enough for any long poll, short enough that nothing is held for ever.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(7 * 24);
/// Each of them holds up to 80 KiB.
const HANDSHAKES: RangeInclusive<u32> = 1..=100_000;
/// TLS 1.3 knows no longer one (RFC 8446, 4.6.1).
const TICKETS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
/// Nothing at all is a fair answer to how long to wait for what is left.
pub(super) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(7 * 24);

/// The balancer as `defaults` has it, with what the fields say on top.
pub(super) fn balancer(fields: &mut Fields<'_>, defaults: &Balancer) -> Balancer {
    let Timeouts {
        head,
        handshake,
        idle,
        client,
        connect,
        server,
        tunnel,
        queue,
        drain,
    } = defaults.timeouts.clone();
    let custom = custom::settings(fields, "custom_settings", Scope::Balancer);
    let mut global = custom::settings(fields, "global_settings", Scope::Global);
    let (ssl_ciphers, ssl_min_version) = ciphers::settings(fields, &mut global, defaults);
    let has_lines = fields.is_set("custom_settings");
    let lines = custom.timeouts;
    let mut timeout = |name, line, default| {
        let own = fields.timeout(name);
        custom::or(fields, name, own, line).unwrap_or(default)
    };
    let timeouts = Timeouts {
        head: timeout("timeout_head", lines.head, head),
        handshake: timeout("timeout_handshake", None, handshake),
        idle: timeout("timeout_idle", lines.idle, idle),
        client: timeout("timeout_client", lines.client, client),
        connect: timeout("timeout_connect", lines.connect, connect),
        server: timeout("timeout_server", lines.server, server),
        tunnel: timeout("timeout_tunnel", lines.tunnel, tunnel),
        queue: timeout("timeout_queue", lines.queue, queue),
        drain: {
            let own = fields.duration("timeout_drain", DRAIN);
            let line = global.timeouts.drain;
            custom::or_global(fields, "timeout_drain", own, line).unwrap_or(drain)
        },
    };
    Balancer {
        compat: fields
            .read("compat", values::compat)
            .unwrap_or(defaults.compat),
        timeouts,
        max_head_size: fields
            .read("max_head_size", head_size)
            .unwrap_or(defaults.max_head_size),
        max_headers: {
            let own = fields.read("max_headers", |text| values::count(text, 1..=1000));
            custom::or_global(fields, "max_headers", own, global.max_headers)
                .unwrap_or(defaults.max_headers)
        },
        max_body_size: fields
            .read("max_body_size", body_size)
            .unwrap_or(defaults.max_body_size),
        max_connections: {
            let own = fields.read("max_connections", |text| values::count(text, CONNECTIONS));
            match global.max_connections {
                Some(line) => custom::or_global(fields, "max_connections", own, Some(line)),
                None => custom::or(fields, "max_connections", own, custom.max_connections),
            }
            .unwrap_or(defaults.max_connections)
        },
        max_handshakes: fields
            .read("max_handshakes", |text| values::count(text, HANDSHAKES))
            .unwrap_or(defaults.max_handshakes),
        max_queue: fields
            .read("max_queue", |text| values::count(text, MAX_QUEUE))
            .unwrap_or(defaults.max_queue),
        retries: {
            let own = fields.read("retries", |text| values::count(text, RETRIES));
            custom::or(fields, "retries", own, custom.retries).unwrap_or(defaults.retries)
        },
        trusted_proxies: if fields.is_set("trusted_proxies") {
            access::networks(fields, "trusted_proxies")
        } else {
            defaults.trusted_proxies.clone()
        },
        accept_proxy: proxy_protocol::accepted(fields)
            .unwrap_or_else(|| defaults.accept_proxy.clone()),
        front: front::front(fields, defaults.front.as_ref(), custom.stats),
        error_pages: pages::error_pages(fields, defaults.error_pages.as_ref(), custom.error_files),
        rules: match has_lines {
            true => (!custom.rules.is_empty()).then(|| Arc::new(custom.rules)),
            false => defaults.rules.clone(),
        },
        access_log: accesslog::settings(fields, defaults),
        log_files: defaults.log_files.clone(),
        info_headers: info::headers(fields).unwrap_or(defaults.info_headers),
        ssl_unknown_name: fields
            .read("ssl_unknown_name", unknown_name)
            .unwrap_or(defaults.ssl_unknown_name),
        ssl_ciphers,
        ssl_min_version,
        ssl_default_certificate: fields
            .read("ssl_default_certificate", |text| {
                fields::name(text).map(CertificateName::from)
            })
            .or_else(|| defaults.ssl_default_certificate.clone()),
        ssl_ticket_lifetime: {
            let own = ticket_lifetime(fields);
            let line = global.ticket_lifetime.take();
            custom::or_global(fields, "ssl_ticket_lifetime", own, line)
                .unwrap_or(defaults.ssl_ticket_lifetime)
        },
        dns: dns::settings(fields, &defaults.dns),
        stats_password: stats_password(fields),
    }
}

impl Fields<'_> {
    /// A wait of the data plane, 1 ms to 7 days.
    pub(super) fn timeout(&mut self, name: &str) -> Option<Duration> {
        self.duration(name, TIMEOUT)
    }

    /// A duration in `range`. A small bare number is taken as the milliseconds it is, with a
    /// warning: whoever wrote 60 most likely thought of a minute.
    pub(super) fn duration(
        &mut self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.read(name, |text| values::duration_in(text, range))?;
        let text = self.text(name)?.text;
        if values::looks_like_seconds(text) {
            self.warn(
                "short-duration",
                name,
                format!("{name} {text:?} is {text} milliseconds"),
                &format!("write {text}s for seconds, or {text}ms if it is meant"),
            );
        }
        Some(value)
    }
}

/// `Some(None)`: sessions are not resumed.
fn ticket_lifetime(fields: &mut Fields<'_>) -> Option<Option<Duration>> {
    const NAME: &str = "ssl_ticket_lifetime";
    let is_off = |text: &str| text == "none" || values::boolean(text) == Ok(false);
    match fields.text(NAME) {
        Some(written) if is_off(&written.text.to_ascii_lowercase()) => Some(None),
        _ => fields.duration(NAME, TICKETS).map(Some),
    }
}

fn unknown_name(text: &str) -> Result<UnknownName, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "certificate" => Ok(UnknownName::Certificate),
        "reject" => Ok(UnknownName::Reject),
        _ => Err(values::unknown_word(text, &["certificate", "reject"])),
    }
}

fn head_size(text: &str) -> Result<u32, Problem> {
    let bytes = values::size(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| (1024..=65536).contains(bytes))
        .ok_or_else(|| {
            Problem::new(
                format!("{} is out of range", crate::diag::quoted(text)),
                "it goes from 1024 to 65536 bytes, such as 16k",
            )
        })
}

pub(super) fn body_size(text: &str) -> Result<Option<u64>, Problem> {
    if values::is_unlimited(text) {
        return Ok(None);
    }
    values::size(text).map(Some)
}
