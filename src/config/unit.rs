//! The checked forms: what a unit's text means once every value in it is known to be good.
//!
//! May not be in here: text that was not checked, names that were not lowercased, defaults of the
//! balancer inside a service (they are looked up when a request needs them, so that changing one
//! does not touch ten thousand services).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::access::Access;
use super::auth::BasicAuth;
use super::certificate::Certificate;
use super::client_auth::ClientAuth;
use super::closed::Asks;
use super::front::Front;
use super::headers::HostHeader;
pub use super::host_regex::HostRegex;
use super::pages::ErrorPages;
use super::redirects::Redirects;
use super::secure::Secure;
use super::stats_password::StatsPassword;
use super::sticky::Sticky;
use super::upstream_tls::UpstreamTls;
use crate::accesslog;
pub use crate::balance::Balance;
use crate::dns::{self, Question};
use crate::names::{CertificateName, DnsName, ServiceName, UpstreamName};
use crate::proxy_header::Form;
use crate::rules::{Condition, Pattern, Range, Rules};
use crate::tls::suites::Suites;

/// One accepted unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    Balancer(Balancer),
    Service(Service),
    Certificate(Certificate),
    /// Says nothing here: a flag that another balancer left behind, or what is left of a service that is not there.
    Ignored,
}

/// Something to balance to, with everything its keys say.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ServiceName,
    pub mode: Mode,
    /// `None`: `roundrobin` for HTTP, `leastconn` for TCP.
    pub balance: Option<Balance>,
    /// In name order; names are unique.
    pub upstreams: Vec<Upstream>,
    pub health_check: HealthCheck,
    /// `warm_up`: in which time the share of an upstream that comes up rises to its weight; up to 1 h. `None`, as
    /// with most services and wherever nothing is checked: at once.
    pub warm_up: Option<Duration>,
    pub timeouts: ServiceTimeouts,
    /// Tries after the first one; `None`: the balancer's.
    pub retries: Option<u32>,
    /// Requests (HTTP) or connections (TCP) under way at once, over all workers; `None`: no limit.
    pub max_connections: Option<u32>,
    /// How many may wait for a place when `max_connections` are under way; `None`: the balancer's.
    pub max_queue: Option<u32>,
    /// `send_proxy`: how connections to its upstreams begin; `None`, as with most services: with the
    /// client's bytes.
    pub send_proxy: Option<Form>,
    /// `upstream_tls` and what belongs to it; `None`, as with most services: connections to its
    /// upstreams are plain.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// `access_log`: whether its requests and sessions have lines where the balancer writes a log.
    pub access_log: bool,
    /// What is done to requests besides leading them on; `None`, as with most services: nothing.
    pub policy: Option<Arc<Policy>>,
}

/// What a service does to requests and answers. A TCP service has nothing of it but `access`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// `request_headers`, `response_headers`.
    pub rules: Rules,
    /// Who may come in, once the rules let a request pass; `None`: everybody.
    pub auth: Option<BasicAuth>,
    /// `ssl_client_ca`: whose certificates clients have to show; `None`: nobody is asked.
    pub client_auth: Option<ClientAuth>,
    pub sticky: Option<Sticky>,
    /// `allow`, `deny`. 403.
    pub access: Option<Access>,
    /// `redirects`, `redirect_code`.
    pub redirects: Option<Redirects>,
    /// `force_ssl`, `hsts` and so on, over the balancer's.
    pub secure: Secure,
    /// `pass_host_header`.
    pub host_header: HostHeader,
    /// `max_body_size`; `None`: the balancer's. `u64::MAX`: no limit, whatever the balancer says.
    pub max_body_size: Option<u64>,
    pub maintenance: Option<Maintenance>,
    /// `error_pages`; shared, because a request takes hold of them.
    pub error_pages: Option<Arc<ErrorPages>>,
}

impl Policy {
    /// How much it wants to know of who comes.
    pub fn asks(&self) -> Asks {
        match &self.client_auth {
            _ if self.auth.is_some() => Asks::First,
            Some(auth) if auth.is_required => Asks::First,
            Some(_) => Asks::ForMore,
            None => Asks::Nothing,
        }
    }
}

/// `maintenance`: the service's upstreams get no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// 503, and when to come again.
    Closed,
    /// Everything goes there instead.
    At(SocketAddr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Http(HttpRoutes),
    /// `external_port`: the port this service has for itself.
    Tcp {
        external_port: u16,
    },
}

/// What leads requests to an HTTP service. Hosts are ORed, paths are ORed; the two groups and the
/// condition are ANDed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRoutes {
    /// `virtual_hosts`, lowercase, sorted, unique.
    pub hosts: Vec<HostPattern>,
    /// `virtual_host_regex`: more hosts.
    pub host_regex: Option<Arc<HostRegex>>,
    /// `virtual_path`, sorted, unique. The prefix `/` alone when the keys name neither host nor path.
    pub paths: Vec<PathPattern>,
    /// `match`: takes only requests for which it holds.
    pub condition: Option<Arc<RouteCondition>>,
    /// `priority`, default 0, -1000 to 1000: a higher one goes before all that is lower.
    pub priority: i32,
    /// `keep_virtual_path`, or `context_root_rewrite` that is false: pass the path on as it came.
    pub keep_virtual_path: bool,
    /// `context_root_rewrite` that is true: `/app` is sent on to `/app/`.
    pub adds_slash: bool,
    /// `default`: takes what no route takes.
    pub is_default: bool,
    /// `ssl_passthrough`: connections that ask for these hosts go on as they come, TLS and all.
    pub passthrough: Option<Passthrough>,
    /// Hosts that lead here, besides `hosts`, for what is redirected from them: with a path, or with
    /// all below them where it is empty. Sorted, unique.
    pub redirected: Vec<(HostPattern, String)>,
}

/// Which TLS connections go to a service as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    /// `true`: those that ask for its hosts.
    Hosts,
    /// `unknown`: also those that ask for no name, or for one that neither a service nor a certificate
    /// has.
    Unknown,
}

/// One entry of `virtual_path`, without the marks of its form. Begins with a slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// `/api`: the path itself and what is below it, by whole segments.
    Prefix(String),
    /// `=/api`: this path alone.
    Exact(String),
    /// `/api*`: whatever begins like this.
    Raw(String),
}

/// As written.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => f.write_str(path),
            Self::Exact(path) => write!(f, "={path}"),
            Self::Raw(path) => write!(f, "{path}*"),
        }
    }
}

/// `match`: what has to hold of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCondition {
    /// As written.
    pub text: String,
    pub condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `www.example.com`, `10.0.0.1`, `[::1]`.
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: any depth below it, not the name itself.
    Wildcard(String),
}

/// Where traffic of a service goes: `10.0.0.1:80`, `app.internal:80`, `10.0.0.1:80 weight=5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: UpstreamName,
    pub address: Address,
    /// 0 to 256, default 1. 0 takes no new connections: drained by hand, or by `drain`. Of SRV names it says nothing but
    /// whether they are drained: their records have weights.
    pub weight: u16,
}

/// The one address of an upstream, or the name that stands for as many as DNS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    At(SocketAddr),
    /// `app.internal:80`: every address of the name, on this port.
    Named(DnsName, u16),
    /// `srv:_http._tcp.app.internal`: what its records say.
    Srv(DnsName),
}

impl Address {
    /// What DNS is to be asked; `None`: nothing.
    pub fn question(&self) -> Option<Question> {
        match self {
            Self::At(_) => None,
            Self::Named(name, _) => Some(Question::Host(name.clone())),
            Self::Srv(name) => Some(Question::Srv(name.clone())),
        }
    }
}

/// As written.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => write!(f, "{address}"),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub kind: CheckKind,
    /// `health_check_port`: another port than the traffic's.
    pub port: Option<u16>,
    /// `health_check_interval`, default 2 s, 100 ms to 1 h.
    pub interval: Duration,
    /// `health_check_timeout`, default 10 s (Kontena's), 10 ms to 1 h.
    pub timeout: Duration,
    /// `health_check_rise`, default 2, 1 to 100: good checks in a row that bring it back.
    pub rise: u32,
    /// `health_check_fall`, default 3, 1 to 100: bad checks in a row that take it out.
    pub fall: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// `health_check: off`.
    Off,
    /// A connect that succeeds.
    Tcp,
    /// `health_check_uri`, or `option httpchk` in `custom_settings`.
    Http(Box<HttpCheck>),
}

/// A request that has to be answered as expected.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// Upper case.
    pub method: String,
    pub uri: String,
    pub version: CheckVersion,
    /// Besides `Host`, or in its place. None that frames the message.
    pub fields: Vec<(String, String)>,
    pub body: String,
    /// All have to hold. None: 2xx or 3xx.
    pub expect: Vec<Expect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckVersion {
    Http10,
    Http11,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    pub what: Expected,
    /// The check is good if it is not so.
    pub is_negated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Status(Vec<Range>),
    StatusLike(Pattern),
    /// In the body.
    Text(String),
    TextLike(Pattern),
}

impl Expect {
    /// Whether the text of the answer is needed.
    pub fn is_of_body(&self) -> bool {
        matches!(self.what, Expected::Text(_) | Expected::TextLike(_))
    }

    pub fn holds(&self, status: u16, body: &[u8]) -> bool {
        let found = match &self.what {
            Expected::Status(ranges) => ranges.iter().any(|range| range.contains(status.into())),
            Expected::StatusLike(pattern) => pattern.is_match(status.to_string().as_bytes()),
            Expected::Text(text) => memchr::memmem::find(body, text.as_bytes()).is_some(),
            Expected::TextLike(pattern) => pattern.is_match(body),
        };
        found != self.is_negated
    }
}

impl HttpCheck {
    /// GET answered with 2xx or 3xx.
    pub fn get(uri: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            uri: uri.into(),
            version: CheckVersion::Http11,
            fields: Vec::new(),
            body: String::new(),
            expect: Vec::new(),
        }
    }
}

/// Overrides of the balancer's timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTimeouts {
    pub connect: Option<Duration>,
    pub server: Option<Duration>,
    pub client: Option<Duration>,
    pub tunnel: Option<Duration>,
    pub queue: Option<Duration>,
}

/// What holds for the whole balancer: `settings/*` over the flags over the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancer {
    pub compat: Compat,
    pub timeouts: Timeouts,
    /// `max_head_size`: bytes of a request or response head, default 16384, 1024 to 65536. 431.
    pub max_head_size: u32,
    /// `max_headers`: fields in one head, default 100, 1 to 1000. 431.
    pub max_headers: u32,
    /// `max_body_size`: bytes of a request body, default none. 413.
    pub max_body_size: Option<u64>,
    /// `max_connections`: client connections over all listeners, default 100000. Beyond it new
    /// connections wait: one in the hand of each worker, the rest in the kernel's backlog.
    pub max_connections: u32,
    /// `max_handshakes`: TLS handshakes with clients under way at once, for each worker, default 1024.
    /// Beyond it the oldest is dropped.
    pub max_handshakes: u32,
    /// `max_queue`: default for services, 1024.
    pub max_queue: u32,
    /// `retries`: default for services, 3.
    pub retries: u32,
    /// `trusted_proxies`: networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `accept_proxy`: networks whose connections begin with a PROXY header.
    pub accept_proxy: Vec<IpNet>,
    /// What is answered before all services; `None`, as in most balancers: nothing.
    pub front: Option<Arc<Front>>,
    /// `error_pages`: for all services, and for requests that reach none.
    pub error_pages: Option<Arc<ErrorPages>>,
    /// Of `custom_settings`: what is done to every request before its service is looked for, and to
    /// its answer. `None`: nothing.
    pub rules: Option<Arc<Rules>>,
    /// `access_log`, `access_log_format`, `access_log_sample`.
    pub access_log: accesslog::Settings,
    /// Which files `access_log` may name.
    pub log_files: LogFiles,
    /// `ssl_unknown_name`: what handshakes for no name, or for one that no certificate has, come to.
    pub ssl_unknown_name: UnknownName,
    /// `ssl_ciphers`: suites that handshakes may come to. All of them can be served by this build.
    pub ssl_ciphers: Suites,
    /// `ssl_min_version`: older versions are refused.
    pub ssl_min_version: MinVersion,
    /// `info_headers`: what clients are told besides the answer.
    pub info_headers: InfoHeaders,
    /// `ssl_default_certificate`: for clients that ask for no name, or for one that no certificate has.
    /// `None`: the first by name.
    pub ssl_default_certificate: Option<CertificateName>,
    /// `ssl_ticket_lifetime`, 8 h, 1 s to 7 days: how long a client may resume its session; `None`: not at all.
    pub ssl_ticket_lifetime: Option<Duration>,
    /// `dns_servers`, `dns_interval`, `dns_timeout`: how names of upstreams are resolved.
    pub dns: dns::Settings,
    /// `stats_password`: of user `stats` at the operator's listener. `None`: what the flags say.
    pub stats_password: Option<StatsPassword>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The default one is shown.
    #[default]
    Certificate,
    /// An alert.
    Reject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

/// Which files lines may go to. A flag is the operator's own word; a key may be anybody's who
/// publishes a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFiles {
    /// What flags say.
    Anywhere,
    /// What keys say, with `--access-log-dir`.
    Below(PathBuf),
    #[default]
    Nowhere,
}

/// Header fields about how a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoHeaders {
    /// `x-request-id`
    pub request_id: bool,
    /// `x-proxy-id`: the node.
    pub proxy_id: bool,
    /// `x-server-info`: program and version.
    pub server_info: bool,
    /// `x-upstream-addr`
    pub upstream_addr: bool,
    /// `x-upstream-response-time`: seconds from the connection to the head of the answer.
    pub upstream_response_time: bool,
}

/// Every wait of the data plane. Defaults are Kontena's where it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeout_head`, 5 s: first byte to the end of a request head. 408.
    pub head: Duration,
    /// `timeout_handshake`, 10 s: a client's connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// `timeout_idle`, 10 s: a kept-alive connection without a request.
    pub idle: Duration,
    /// `timeout_client`, 60 s: a client that neither sends its body nor reads the answer. 408.
    pub client: Duration,
    /// `timeout_connect`, 5 s: one connect to an upstream.
    pub connect: Duration,
    /// `timeout_server`, 60 s: an upstream that does not answer or stops. 504.
    pub server: Duration,
    /// `timeout_tunnel`, 1 h: silence in a tunnel (TCP, upgraded connections).
    pub tunnel: Duration,
    /// `timeout_queue`, 60 s: waiting for a place at a service. 503.
    pub queue: Duration,
    /// `timeout_drain`, 30 s: what is left gets this long when the program ends or an address goes.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            head: s(5),
            handshake: s(10),
            idle: s(10),
            client: s(60),
            connect: s(5),
            server: s(60),
            tunnel: s(3600),
            queue: s(60),
            drain: s(30),
        }
    }
}

/// Whose habits hold where they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    #[default]
    Pointsman,
    /// Raw string prefixes, first name wins inside a tier, 503 for no match.
    Kontena,
}

impl Default for Balancer {
    fn default() -> Self {
        Self {
            compat: Compat::default(),
            timeouts: Timeouts::default(),
            max_head_size: 16 * 1024,
            max_headers: 100,
            max_body_size: None,
            max_connections: 100_000,
            max_handshakes: 1024,
            max_queue: 1024,
            retries: 3,
            trusted_proxies: Vec::new(),
            accept_proxy: Vec::new(),
            front: None,
            error_pages: None,
            rules: None,
            access_log: accesslog::Settings::default(),
            log_files: LogFiles::default(),
            info_headers: InfoHeaders::default(),
            ssl_default_certificate: None,
            ssl_ticket_lifetime: Some(Duration::from_hours(8)),
            ssl_unknown_name: UnknownName::default(),
            ssl_ciphers: Suites::strict(),
            ssl_min_version: MinVersion::default(),
            dns: dns::Settings::default(),
            stats_password: None,
        }
    }
}

impl InfoHeaders {
    pub const NONE: Self = Self {
        request_id: false,
        proxy_id: false,
        server_info: false,
        upstream_addr: false,
        upstream_response_time: false,
    };

    /// Whether an answer gets more than the request id, or less.
    pub fn are_usual(self) -> bool {
        self == Self::default()
    }
}

impl Default for InfoHeaders {
    fn default() -> Self {
        Self {
            request_id: true,
            ..Self::NONE
        }
    }
}

impl Balancer {
    /// How lines of the access log look.
    pub fn log_format(&self) -> accesslog::Format {
        self.access_log.format.unwrap_or(match self.compat {
            Compat::Pointsman => accesslog::Format::Json,
            Compat::Kontena => accesslog::Format::Httplog,
        })
    }

    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Whether a connection from this address has to begin with a PROXY header.
    pub fn is_announced_by(&self, peer: IpAddr) -> bool {
        if self.accept_proxy.is_empty() {
            return false;
        }
        let peer = peer.to_canonical();
        self.accept_proxy.iter().any(|net| net.contains(&peer))
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            port: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
            rise: 2,
            fall: 3,
        }
    }
}
