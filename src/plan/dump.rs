//! The canonical text of a plan: equal plans give equal text, on every node and on every way there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{
    Address, Balancer, CheckKind, CheckVersion, ErrorPage, ErrorPages, Expect, Expected,
    HostHeader, HostPattern, HttpCheck, Maintenance, MinVersion, Mode, Passthrough, Policy, Sticky,
    UnknownName, UpstreamTls,
};
use crate::dns;
use crate::plan::{NamedCertificate, Plan, Service};
use crate::rules::Rules;
use crate::tls::suites::Suites;
use crate::tls::time_text;

#[derive(Serialize)]
struct PlanText {
    balancer: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "RulesText::is_empty")]
    rules: RulesText,
    services: BTreeMap<String, ServiceText>,
    routes: Vec<String>,
    ports: BTreeMap<u16, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    certificates: BTreeMap<String, CertificateText>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    server_names: Vec<String>,
}

/// All but the key.
#[derive(Serialize)]
struct CertificateText {
    name: String,
    names: Vec<String>,
    subject: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    key_type: String,
    /// How many certificates are sent.
    chain: usize,
    fingerprint: String,
}

impl CertificateText {
    fn new(own: &NamedCertificate) -> Self {
        let certificate = &own.certificate;
        Self {
            name: own.name.to_string(),
            names: certificate
                .names()
                .iter()
                .map(ToString::to_string)
                .collect(),
            subject: certificate.subject().to_owned(),
            issuer: certificate.issuer().to_owned(),
            serial: certificate.serial().to_owned(),
            not_before: time_text(certificate.not_before()),
            not_after: time_text(certificate.not_after()),
            key_type: certificate.key_type().to_string(),
            chain: certificate.key().cert.len(),
            fingerprint: certificate.fingerprint(),
        }
    }
}

#[derive(Serialize)]
struct ServiceText {
    name: String,
    mode: &'static str,
    balance: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_path: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "RulesText::is_empty")]
    rules: RulesText,
    health_check: String,
    upstreams: BTreeMap<String, String>,
    /// What names stand for, on a node that asks DNS.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resolved: BTreeMap<String, String>,
}

/// In the order in which they are judged.
#[derive(Default, Serialize)]
struct RulesText {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirects: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answer: Vec<String>,
}

impl RulesText {
    fn new(rules: Option<&Rules>) -> Self {
        let Some(rules) = rules else {
            return Self::default();
        };
        Self {
            request: rules.request.iter().map(ToString::to_string).collect(),
            redirects: rules.redirects.iter().map(ToString::to_string).collect(),
            answer: rules.answer.iter().map(ToString::to_string).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.request.is_empty() && self.redirects.is_empty() && self.answer.is_empty()
    }
}

impl Plan {
    /// The compiled tables as YAML.
    pub fn dump(&self) -> String {
        let text = PlanText {
            balancer: self.balancer_text(),
            rules: RulesText::new(self.balancer.rules.as_deref()),
            services: self
                .services()
                .map(|s| (s.unit.to_string(), ServiceText::new(s)))
                .collect(),
            routes: self.routes.lines(),
            ports: self
                .ports()
                .map(|(port, s)| (port, s.unit.to_string()))
                .collect(),
            certificates: self
                .certificates
                .iter()
                .map(|own| (own.unit.to_string(), CertificateText::new(own)))
                .collect(),
            server_names: self.certificates.lines(),
        };
        serde_yaml::to_string(&text).unwrap_or_else(|error| format!("# not written: {error}\n"))
    }

    fn balancer_text(&self) -> BTreeMap<&'static str, String> {
        let b = &self.balancer;
        let t = &b.timeouts;
        let mut text = BTreeMap::from([
            ("compat", format!("{:?}", b.compat).to_lowercase()),
            ("max_head_size", b.max_head_size.to_string()),
            ("max_headers", b.max_headers.to_string()),
            ("max_connections", b.max_connections.to_string()),
            ("max_handshakes", b.max_handshakes.to_string()),
            ("max_queue", b.max_queue.to_string()),
            ("retries", b.retries.to_string()),
            ("timeout_head", format!("{:?}", t.head)),
            ("timeout_handshake", format!("{:?}", t.handshake)),
            ("timeout_idle", format!("{:?}", t.idle)),
            ("timeout_client", format!("{:?}", t.client)),
            ("timeout_connect", format!("{:?}", t.connect)),
            ("timeout_server", format!("{:?}", t.server)),
            ("timeout_tunnel", format!("{:?}", t.tunnel)),
            ("timeout_queue", format!("{:?}", t.queue)),
            ("timeout_drain", format!("{:?}", t.drain)),
        ]);
        if let Some(size) = b.max_body_size {
            text.insert("max_body_size", size.to_string());
        }
        if !b.trusted_proxies.is_empty() {
            let nets: Vec<_> = b.trusted_proxies.iter().map(ToString::to_string).collect();
            text.insert("trusted_proxies", nets.join(","));
        }
        if !b.accept_proxy.is_empty() {
            let nets: Vec<_> = b.accept_proxy.iter().map(ToString::to_string).collect();
            text.insert("accept_proxy", nets.join(","));
        }
        front_text(b, &mut text);
        if let Some(password) = &b.stats_password {
            text.insert("stats_password", format!("{password:?}"));
        }
        let log = &b.access_log;
        if let Some(target) = &log.target {
            text.insert("access_log", target.to_string());
            text.insert("access_log_sample", log.sample.to_string());
            text.insert("access_log_format", b.log_format().word().to_owned());
        }
        if b.ssl_unknown_name == UnknownName::Reject {
            text.insert("ssl_unknown_name", "reject".to_owned());
        }
        if b.ssl_ciphers != Suites::strict() {
            text.insert("ssl_ciphers", b.ssl_ciphers.to_string());
        }
        if b.ssl_min_version == MinVersion::Tls13 {
            text.insert("ssl_min_version", "1.3".to_owned());
        }
        if b.ssl_ticket_lifetime != Balancer::default().ssl_ticket_lifetime {
            let lifetime = b.ssl_ticket_lifetime.map(|time| format!("{time:?}"));
            text.insert(
                "ssl_ticket_lifetime",
                lifetime.unwrap_or_else(|| "none".to_owned()),
            );
        }
        dns_text(b, &mut text);
        if let Some(name) = &b.ssl_default_certificate {
            text.insert("ssl_default_certificate", name.to_string());
        }
        if !b.info_headers.are_usual() {
            text.insert("info_headers", b.info_headers.to_string());
        }
        text
    }
}

/// Where it differs from the usual.
fn dns_text(balancer: &Balancer, text: &mut BTreeMap<&'static str, String>) {
    let (dns, usual) = (&balancer.dns, dns::Settings::default());
    if !dns.servers.is_empty() {
        let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
        text.insert("dns_servers", servers.join(","));
    }
    if dns.interval != usual.interval {
        text.insert("dns_interval", format!("{:?}", dns.interval));
    }
    if dns.timeout != usual.timeout {
        text.insert("dns_timeout", format!("{:?}", dns.timeout));
    }
}

/// What is answered before services. Of users and challenges only how many there are.
fn front_text(balancer: &Balancer, text: &mut BTreeMap<&'static str, String>) {
    let mut put = |name, value: Option<String>| value.map(|value| text.insert(name, value));
    put(
        "error_pages",
        balancer.error_pages.as_deref().map(pages_text),
    );
    let Some(front) = &balancer.front else { return };
    put("health_uri", front.health_uri.clone());
    put("ready_uri", front.ready_uri.clone());
    let stats = front.stats.as_ref();
    put("stats_uri", stats.map(|stats| stats.uri.clone()));
    put(
        "stats_auth",
        stats.map(|stats| format!("{:?}", stats.users)),
    );
    let challenges = front.acme.len();
    put(
        "acme",
        (challenges > 0).then(|| format!("{challenges} challenges")),
    );
    text.extend(front.secure.fields());
}

fn policy_text(policy: &Policy, text: &mut BTreeMap<&'static str, String>) {
    let mut put = |name, value: Option<String>| value.map(|value| text.insert(name, value));
    if let Some(access) = &policy.access {
        let (allow, deny) = access.lists();
        put("allow", Some(allow).filter(|list| !list.is_empty()));
        put("deny", Some(deny).filter(|list| !list.is_empty()));
    }
    if let Some(redirects) = &policy.redirects {
        let lines: Vec<_> = redirects.lines().collect();
        put("redirects", Some(lines.join(";")));
        put("redirect_code", Some(redirects.code.to_string()));
    }
    put(
        "pass_host_header",
        match &policy.host_header {
            HostHeader::Client => None,
            HostHeader::Upstream => Some("false".to_owned()),
            HostHeader::Named(name) => Some(name.clone()),
        },
    );
    put(
        "max_body_size",
        policy.max_body_size.map(|size| match size {
            u64::MAX => "none".to_owned(),
            size => size.to_string(),
        }),
    );
    put(
        "maintenance",
        policy.maintenance.map(|maintenance| match maintenance {
            Maintenance::Closed => "true".to_owned(),
            Maintenance::At(address) => address.to_string(),
        }),
    );
    put("error_pages", policy.error_pages.as_deref().map(pages_text));
    text.extend(policy.secure.fields());
}

fn pages_text(pages: &ErrorPages) -> String {
    let mut pages: Vec<_> = pages
        .iter()
        .map(|(status, page)| match page {
            ErrorPage::Text { body, .. } => format!("{status}: {} bytes", body.len()),
            ErrorPage::File(name) => format!("{status}: {name}"),
        })
        .collect();
    pages.sort();
    pages.join(", ")
}

impl ServiceText {
    fn new(service: &Service) -> Self {
        let config = &service.config;
        let mut options = BTreeMap::new();
        let mut option = |name: &'static str, value: Option<String>| {
            value.map(|v| options.insert(name, v));
        };
        let t = &config.timeouts;
        option("timeout_connect", t.connect.map(|d| format!("{d:?}")));
        option("timeout_server", t.server.map(|d| format!("{d:?}")));
        option("timeout_client", t.client.map(|d| format!("{d:?}")));
        option("timeout_tunnel", t.tunnel.map(|d| format!("{d:?}")));
        option("timeout_queue", t.queue.map(|d| format!("{d:?}")));
        option("warm_up", config.warm_up.map(|d| format!("{d:?}")));
        option("retries", config.retries.map(|n| n.to_string()));
        option(
            "max_connections",
            config.max_connections.map(|n| n.to_string()),
        );
        option("max_queue", config.max_queue.map(|n| n.to_string()));
        if let Some(auth) = config
            .policy
            .as_ref()
            .and_then(|policy| policy.auth.as_ref())
        {
            // Nothing that depends on a secret: who reads a plan could try passwords against it.
            let forward = if auth.forward { ", forwarded" } else { "" };
            let text = format!("{} users, realm {}{forward}", auth.users.len(), auth.realm);
            option("basic_auth", Some(text));
        }
        if let Some(auth) = service.client_auth() {
            let verify = if auth.is_required {
                "required"
            } else {
                "optional"
            };
            let all = auth.clients.authorities().all().iter();
            let all = all.map(|a| format!("{} {}", a.subject, a.fingerprint()));
            let text = format!("{verify}: {}", all.collect::<Vec<_>>().join("; "));
            option("ssl_client", Some(text));
        }
        option("send_proxy", config.send_proxy.map(|f| f.word().into()));
        if let Some(settings) = &config.upstream_tls {
            upstream_tls_text(settings, &mut option);
        }
        option("access_log", (!config.access_log).then(|| "off".into()));
        let (mode, hosts, paths) = match &config.mode {
            Mode::Http(routes) => {
                let regex = routes.host_regex.iter().flat_map(|regex| regex.patterns());
                let patterns: Vec<_> = regex.collect();
                option(
                    "virtual_host_regex",
                    (!patterns.is_empty()).then(|| patterns.join("\n")),
                );
                option("match", routes.condition.as_ref().map(|c| c.text.clone()));
                option(
                    "priority",
                    (routes.priority != 0).then(|| routes.priority.to_string()),
                );
                option(
                    "context_root_rewrite",
                    routes.adds_slash.then(|| "true".into()),
                );
                option(
                    "keep_virtual_path",
                    routes.keep_virtual_path.then(|| "true".into()),
                );
                match config.policy.as_ref().and_then(|p| p.sticky.as_ref()) {
                    Some(Sticky::Cookie(cookie)) => {
                        option("cookie", Some(cookie.to_string()));
                    }
                    Some(Sticky::Hash { cookie }) => {
                        option("sticky_session_cookie", Some(cookie.clone()));
                    }
                    None => {}
                }
                let passthrough = routes.passthrough.map(|passthrough| match passthrough {
                    Passthrough::Hosts => "true".to_owned(),
                    Passthrough::Unknown => "unknown".to_owned(),
                });
                option("ssl_passthrough", passthrough);
                option("default", routes.is_default.then(|| "true".into()));
                let hosts = routes.hosts.iter().map(|host| match host {
                    HostPattern::Exact(name) => name.clone(),
                    HostPattern::Wildcard(suffix) => format!("*{suffix}"),
                });
                let paths = routes.paths.iter().map(ToString::to_string);
                ("http", hosts.collect(), paths.collect())
            }
            Mode::Tcp { external_port } => {
                option("external_port", Some(external_port.to_string()));
                ("tcp", Vec::new(), Vec::new())
            }
        };
        if let Some(policy) = config.policy.as_deref() {
            policy_text(policy, &mut options);
        }
        let check = &config.health_check;
        let port = check.port.map(|p| format!(" port {p}")).unwrap_or_default();
        let pace = format!(
            "{port} every {:?} timeout {:?} rise {} fall {}",
            check.interval, check.timeout, check.rise, check.fall
        );
        let health_check = match &check.kind {
            CheckKind::Off => "off".to_owned(),
            CheckKind::Tcp => format!("tcp{pace}"),
            CheckKind::Http(check) => format!("{}{pace}", check_text(check)),
        };
        let upstreams = config.upstreams.iter().map(|u| {
            let text = match u.address {
                Address::Srv(_) if u.weight > 0 => u.address.to_string(),
                _ => format!("{} weight={}", u.address, u.weight),
            };
            (u.name.to_string(), text)
        });
        let resolved = service.resolved().map(|m| {
            (
                m.name.to_string(),
                format!("{} weight={}", m.address, m.weight),
            )
        });
        Self {
            name: config.name.to_string(),
            mode,
            balance: service.balance.word(),
            virtual_hosts: hosts,
            virtual_path: paths,
            options,
            rules: RulesText::new(config.policy.as_deref().map(|policy| &policy.rules)),
            health_check,
            upstreams: upstreams.collect(),
            resolved: resolved.collect(),
        }
    }
}

/// Of certificates what tells them apart, and nothing of the key.
fn upstream_tls_text(
    settings: &UpstreamTls,
    option: &mut impl FnMut(&'static str, Option<String>),
) {
    option("upstream_tls", Some("true".to_owned()));
    let authorities = settings.authorities.as_ref().map(|authorities| {
        let lines = authorities.all().iter().map(|authority| {
            let (until, print) = (time_text(authority.not_after), authority.fingerprint());
            format!("{} until {until}, {print}", authority.subject)
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    option("upstream_tls_ca", authorities);
    let name = settings
        .name
        .as_ref()
        .map(|name| name.to_str().into_owned());
    option("upstream_tls_name", name);
    let certificate = settings.certificate.as_ref().map(|certificate| {
        let until = time_text(certificate.not_after());
        let (subject, print) = (certificate.subject(), certificate.fingerprint());
        format!("{subject} until {until}, {print}")
    });
    option("upstream_tls_certificate", certificate);
    let is_off = !settings.verifies;
    option("upstream_tls_verify", is_off.then(|| "false".to_owned()));
}

/// What is asked and what has to come back. Of fields the names: their values may be credentials.
fn check_text(check: &HttpCheck) -> String {
    let mut text = "http".to_owned();
    if check.method != "GET" {
        text += &format!(" {}", check.method);
    }
    text += &format!(" {}", check.uri);
    if check.version == CheckVersion::Http10 {
        text += " HTTP/1.0";
    }
    for (name, _) in &check.fields {
        text += &format!(" hdr {name}");
    }
    if !check.body.is_empty() {
        text += &format!(" body of {} bytes", check.body.len());
    }
    for Expect { what, is_negated } in &check.expect {
        text += if *is_negated { " expect !" } else { " expect" };
        text += &match what {
            Expected::Status(ranges) => {
                let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
                format!(" status {}", ranges.join(","))
            }
            Expected::StatusLike(pattern) => format!(" rstatus {pattern}"),
            Expected::Text(text) => format!(" string {text:?}"),
            Expected::TextLike(pattern) => format!(" rstring {pattern}"),
        };
    }
    text
}
