//! The command line, as it is typed. What it means is worked out in [`settings`](super::settings).

mod access;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use access::AccessArgs;

use crate::app::agent::AgentArgs;
use crate::app::change::{CertArgs, DrainArgs, LinkArgs, ServicesArgs, UnlinkArgs};
use crate::app::exec::ExecArgs;
use crate::app::import::ImportArgs;
use crate::app::top::TopArgs;
use crate::app::wait::WaitArgs;
use crate::config::values;
use crate::store::{self, StoreSpec};
use crate::whoami;

/// Where HTTPS is served, unless told otherwise and as soon as there is a certificate.
pub(super) const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);

/// Where we show our own figures, unless told otherwise.
pub(super) const STATS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1000);

/// A load balancer that is reconfigured under moving traffic.
///
/// Keys in etcd or in a directory say which services there are; a key change is the reload.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, long_version = long_version(), max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
}

/// With what is built in, for `--version`; `-V` is for scripts.
fn long_version() -> &'static str {
    #[cfg(feature = "legacy-tls")]
    {
        static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            let openssl = crate::tls::legacy::version();
            format!("{}\nlegacy-tls: {openssl}", env!("CARGO_PKG_VERSION"))
        });
        &TEXT
    }
    #[cfg(not(feature = "legacy-tls"))]
    {
        concat!(env!("CARGO_PKG_VERSION"), "\nwithout legacy-tls")
    }
}

impl Cli {
    /// Reads the command line and the environment; ends the program at what it cannot read, or at
    /// `--help`.
    pub fn read() -> Self {
        let command = Self::command()
            .mut_args(unless_empty)
            .mut_subcommands(|command| {
                let nested = |command: clap::Command| command.mut_args(unless_empty);
                command.mut_args(unless_empty).mut_subcommands(nested)
            });
        Self::from_arg_matches(&command.get_matches())
            .unwrap_or_else(|error| error.format(&mut Self::command()).exit())
    }
}

/// A variable that is there and empty is not set, as a key that is empty is not: environment files
/// and composed services are full of them, and an empty root would be all of etcd.
pub(super) fn unless_empty(arg: Arg) -> Arg {
    let is_empty = arg
        .get_env()
        .and_then(std::env::var_os)
        .is_some_and(|value| value.is_empty());
    match is_empty {
        true => arg.env(None::<&'static str>),
        false => arg,
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the keys and forward traffic
    Run(Box<RunArgs>),
    /// Announce the containers of this host in etcd, for balancers anywhere
    Agent(AgentArgs),
    /// Run a program and announce it in etcd while it answers
    Exec(ExecArgs),
    /// Judge the keys without touching traffic: print every problem, exit 1 if there is one
    Check(LookArgs),
    /// Print the text of the units that the keys render to
    Render {
        /// Only this unit, such as services/web
        unit: Option<String>,
        #[command(flatten)]
        look: LookArgs,
    },
    /// Print the compiled tables of the plan that the keys lead to
    Plan(LookArgs),
    /// Show every certificate: names, end, where it is from, and whether it is served; exit 1 if one is
    /// refused or has expired
    Certs {
        /// As JSON
        #[arg(long, env = "LB_JSON")]
        json: bool,
        #[command(flatten)]
        look: LookArgs,
    },
    /// Show every node of this balancer: what it runs and what it refused
    Status {
        /// As JSON
        #[arg(long, env = "LB_JSON")]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Wait until every live node runs a revision, and has nothing left at drained upstreams; fail if one refused it
    /// or time runs out
    Wait(WaitArgs),
    /// Show a node's services in this terminal, live
    Top(TopArgs),
    /// Ask the node of this machine whether it is ready; exit 1 if it is not: for health checks of containers
    Ready {
        /// Where its /ready is; by TLS where that is spoken
        #[arg(long, env = "LB_STATS", value_name = "ADDR:PORT", default_value_t = STATS, value_parser = address)]
        stats: SocketAddr,
    },
    /// Read a value from standard input and print it sealed, to be put where only those with the key
    /// file can read it
    Seal(SealArgs),
    /// Turn a haproxy.cfg into keys, and list what could not be carried over
    Import(ImportArgs),
    /// Say which upstreams a service has and what leads to it, in one change; what is not said stays
    Link(Box<LinkArgs>),
    /// Remove a service, or upstreams of it
    Unlink(Box<UnlinkArgs>),
    /// Show every service: what leads to it, its upstreams, who refused it
    Services(ServicesArgs),
    /// Give upstreams nothing new; clients that a cookie leads there stay
    Drain(Box<DrainArgs>),
    /// Give drained upstreams their share again
    Undrain(Box<DrainArgs>),
    /// Add or remove a certificate
    Cert(CertArgs),
    /// A small upstream for demos and tests: answers its name, the path and the headers
    Whoami(whoami::Args),
    /// Print the completion script of a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub own: OwnArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub settings: SettingArgs,

    #[command(flatten)]
    pub listen: ListenArgs,
    /// The address on which TCP services open their ports
    #[arg(
        long,
        env = "LB_TCP_ADDRESS",
        value_name = "ADDR",
        default_value = "0.0.0.0",
        value_parser = ip,
        help_heading = "Listeners"
    )]
    pub tcp_address: IpAddr,

    /// Where the last accepted config is kept, to start from when no store answers
    #[arg(
        long,
        env = "LB_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/pointsman"
    )]
    pub state_dir: PathBuf,
    /// The name of this node, unique among the nodes of one balancer [default: the host's name]
    #[arg(long, env = "LB_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// A unix socket that answers HAProxy's commands, for its tools and scripts; who may open it may change
    /// keys. Made with mode 0600 [default: none]
    #[arg(long, env = "LB_ADMIN_SOCKET", value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
    /// Threads that forward traffic [default: one per CPU]
    #[arg(long, env = "LB_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// A directory with our own answers: bodies as 503.html, whole answers in HAProxy's form as
    /// 503.http
    #[arg(long, env = "LB_ERROR_PAGES", value_name = "DIR")]
    pub error_pages: Option<PathBuf>,
    #[command(flatten)]
    pub access: AccessArgs,
}

#[derive(Debug, Args)]
pub struct LookArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub own: OwnArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub settings: SettingArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// How long to wait for the stores
    #[arg(long, env = "LB_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// Where we listen ourselves. Commands that only look know by it which ports services cannot have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listeners")]
pub struct ListenArgs {
    /// Where HTTP is served; may be repeated
    #[arg(
        long,
        env = "LB_HTTP",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        default_value = "0.0.0.0:80",
        value_parser = address
    )]
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is served; may be repeated; none: nowhere [default: 0.0.0.0:443, from the first
    /// certificate on]
    #[arg(
        long,
        env = "LB_HTTPS",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        value_parser = address_or_none
    )]
    pub https: Vec<Option<SocketAddr>>,
    /// Where operators see and change what runs: /live, /ready, /metrics, /v1/... Beyond loopback somebody has to be
    /// named who may
    #[arg(
        long,
        env = "LB_STATS",
        value_name = "ADDR:PORT",
        default_value_t = STATS,
        value_parser = address
    )]
    pub stats: SocketAddr,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub struct StoreArgs {
    /// Where the keys are: etcd://HOST:PORT[,HOST:PORT], etcds://..., dir:PATH or docker:; may be repeated,
    /// the later one wins where two have the same key [default: dir:./keys if that folder exists]
    #[arg(long, env = "LB_STORE", value_name = "STORE", value_delimiter = ' ')]
    pub store: Vec<StoreSpec>,
    /// The prefix of all keys in etcd
    #[arg(long, env = "LB_ROOT", value_name = "PREFIX", default_value = store::DEFAULT_ROOT, value_parser = root)]
    pub root: String,
    /// Pass a change on only when no other came for this long: for writers that set keys one by one
    #[arg(long, env = "LB_SETTLE", value_name = "DURATION", default_value = "0ms", value_parser = duration)]
    pub settle: Duration,
    /// How long a tree that suddenly has no services is not believed; 0 believes it at once
    #[arg(long, env = "LB_EMPTY_GRACE", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub empty_grace: Duration,
    /// The user to log in to etcd with
    #[arg(long, env = "LB_ETCD_USER", value_name = "NAME")]
    pub etcd_user: Option<String>,
    /// The user's password; a file is safer, because other users see command lines
    #[arg(
        long,
        env = "LB_ETCD_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        conflicts_with = "etcd_password_file"
    )]
    pub etcd_password: Option<String>,
    /// A file with the password
    #[arg(long, env = "LB_ETCD_PASSWORD_FILE", value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,
    /// The authorities that may sign etcd's certificate, PEM [default: the system's]
    #[arg(long, env = "LB_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate for etcd, PEM
    #[arg(long, env = "LB_ETCD_CERT", value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, env = "LB_ETCD_KEY", value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
    /// The name in etcd's certificate, where it is not the host's
    #[arg(long, env = "LB_ETCD_SERVER_NAME", value_name = "NAME")]
    pub etcd_server_name: Option<String>,
}

/// What a node has besides the keys of its cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub struct OwnArgs {
    /// A directory with certificates: NAME.pem, NAME.crt with NAME.key, or NAME/tls.crt with
    /// NAME/tls.key; watched, may be repeated. A key certs/NAME goes over it
    #[arg(long, env = "LB_CERTS", value_name = "DIR", value_delimiter = ',')]
    pub certs: Vec<PathBuf>,
    /// A file with the keys of sealed values, one on each line, the newest first; watched. See
    /// pointsman seal
    #[arg(long, env = "LB_SEAL_KEY_FILE", value_name = "FILE")]
    pub seal_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SealArgs {
    /// The file with the seal keys; the first of them seals
    #[arg(long, env = "LB_SEAL_KEY_FILE", value_name = "FILE")]
    pub seal_key_file: PathBuf,
    /// Write a new key in front of the others, or a new file, tell what sealed values call it, and end
    #[arg(long, env = "LB_NEW_KEY")]
    pub new_key: bool,
    /// Where the value may stand: a key, with a slash at its end all keys below it, or / for all there
    /// are. Anywhere else it does not open
    #[arg(
        long = "for",
        env = "LB_FOR",
        value_name = "KEY",
        default_value = "certs/"
    )]
    pub place: String,
}

#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// A directory whose *.tera files go over the built-in templates; watched
    #[arg(long, env = "LB_TEMPLATES", value_name = "DIR")]
    pub templates: Option<PathBuf>,
}

/// What `settings/*` keys may override. Read as text, so that a flag and a key are judged by the
/// same rules and refused in the same words.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings (a key settings/NAME goes over its flag)")]
pub struct SettingArgs {
    /// Whose habits hold: pointsman or kontena [default: pointsman; kontena for a root under
    /// /kontena/haproxy/]
    #[arg(long, env = "LB_COMPAT", value_name = "WORD")]
    pub compat: Option<String>,
    /// From the first byte of a request head to its end [default: 5s]
    #[arg(long, env = "LB_TIMEOUT_HEAD", value_name = "DURATION")]
    pub timeout_head: Option<String>,
    /// From a client's connection to the end of its TLS handshake [default: 10s]
    #[arg(long, env = "LB_TIMEOUT_HANDSHAKE", value_name = "DURATION")]
    pub timeout_handshake: Option<String>,
    /// A kept connection without a request [default: 10s]
    #[arg(long, env = "LB_TIMEOUT_IDLE", value_name = "DURATION")]
    pub timeout_idle: Option<String>,
    /// A client that neither sends its body nor takes the answer [default: 1m]
    #[arg(long, env = "LB_TIMEOUT_CLIENT", value_name = "DURATION")]
    pub timeout_client: Option<String>,
    /// One connect to an upstream [default: 5s]
    #[arg(long, env = "LB_TIMEOUT_CONNECT", value_name = "DURATION")]
    pub timeout_connect: Option<String>,
    /// An upstream that does not answer, or stops [default: 1m]
    #[arg(long, env = "LB_TIMEOUT_SERVER", value_name = "DURATION")]
    pub timeout_server: Option<String>,
    /// Silence in a TCP flow or an upgraded connection [default: 1h]
    #[arg(long, env = "LB_TIMEOUT_TUNNEL", value_name = "DURATION")]
    pub timeout_tunnel: Option<String>,
    /// Waiting for a place at a service [default: 1m]
    #[arg(long, env = "LB_TIMEOUT_QUEUE", value_name = "DURATION")]
    pub timeout_queue: Option<String>,
    /// How long what is left may go on when the program ends or an upstream goes [default: 30s]
    #[arg(long, env = "LB_TIMEOUT_DRAIN", value_name = "DURATION")]
    pub timeout_drain: Option<String>,
    /// The largest head of a request or an answer [default: 16k]
    #[arg(long, env = "LB_MAX_HEAD_SIZE", value_name = "SIZE")]
    pub max_head_size: Option<String>,
    /// The most fields in one head [default: 100]
    #[arg(long, env = "LB_MAX_HEADERS", value_name = "N")]
    pub max_headers: Option<String>,
    /// The largest body of a request [default: no limit]
    #[arg(long, env = "LB_MAX_BODY_SIZE", value_name = "SIZE")]
    pub max_body_size: Option<String>,
    /// Client connections at once; more wait in the kernel [default: 100000]
    #[arg(long, env = "LB_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<String>,
    /// TLS handshakes with clients at once, for each worker; beyond it the oldest is dropped [default: 1024]
    #[arg(long, env = "LB_MAX_HANDSHAKES", value_name = "N")]
    pub max_handshakes: Option<String>,
    /// How many may wait for a place at one service [default: 1024]
    #[arg(long, env = "LB_MAX_QUEUE", value_name = "N")]
    pub max_queue: Option<String>,
    /// Tries after the first one [default: 3]
    #[arg(long, env = "LB_RETRIES", value_name = "N")]
    pub retries: Option<String>,
    /// Networks whose X-Forwarded-* headers are believed [default: none]
    #[arg(long, env = "LB_TRUSTED_PROXIES", value_name = "NETS")]
    pub trusted_proxies: Option<String>,
    /// Networks whose connections begin with a PROXY header, which says who the client is [default:
    /// none]
    #[arg(long, env = "LB_ACCEPT_PROXY", value_name = "NETS")]
    pub accept_proxy: Option<String>,
    /// A path that is answered 200 as long as the program runs, from its start on [default: none]
    #[arg(long, env = "LB_HEALTH_URI", value_name = "PATH")]
    pub health_uri: Option<String>,
    /// A path that is answered 200 from the first good configuration on, until the node drains; 503
    /// else [default: none]
    #[arg(long, env = "LB_READY_URI", value_name = "PATH")]
    pub ready_uri: Option<String>,
    /// A path at which the HTTP listeners show the balancer's figures [default: none]
    #[arg(long, env = "LB_STATS_URI", value_name = "PATH")]
    pub stats_uri: Option<String>,
    /// Who may see them: USER:PASSWORD, one on each line, or none for everybody
    #[arg(
        long,
        env = "LB_STATS_AUTH",
        value_name = "USERS",
        hide_env_values = true
    )]
    pub stats_auth: Option<String>,
    /// Send plain requests of all services to https [default: false]
    #[arg(long, env = "LB_FORCE_SSL", value_name = "BOOL")]
    pub force_ssl: Option<String>,
    /// The port of https that they are sent to [default: 443]
    #[arg(long, env = "LB_FORCE_SSL_PORT", value_name = "PORT")]
    pub force_ssl_port: Option<String>,
    /// The status they are sent there with: 308, or 301 for GET and HEAD [default: 308]
    #[arg(long, env = "LB_FORCE_SSL_CODE", value_name = "CODE")]
    pub force_ssl_code: Option<String>,
    /// How long browsers remember that services speak https, as in '365d includeSubDomains'
    /// [default: they are not told]
    #[arg(long, env = "LB_HSTS", value_name = "TIME")]
    pub hsts: Option<String>,
    /// Lines in HAProxy's words for every request and service, see docs/custom_settings.md
    #[arg(
        long,
        env = "LB_CUSTOM_SETTINGS",
        value_name = "LINES",
        hide_env_values = true
    )]
    pub custom_settings: Option<String>,
    /// Lines of HAProxy's global section
    #[arg(long, env = "LB_GLOBAL_SETTINGS", value_name = "LINES")]
    pub global_settings: Option<String>,
    /// Where a line for each request goes: off, stdout, file:PATH, or a syslog server as in HAProxy,
    /// such as "127.0.0.1:514 local1" or "unix:/dev/log" [default: off]
    #[arg(long, env = "LB_ACCESS_LOG", value_name = "TARGET")]
    pub access_log: Option<String>,
    /// How such a line looks: json, httplog, common or combined [default: json; httplog with compat
    /// kontena]
    #[arg(long, env = "LB_ACCESS_LOG_FORMAT", value_name = "WORD")]
    pub access_log_format: Option<String>,
    /// The share of requests that have a line, such as 0.1 or 10%; failures always have [default: 1]
    #[arg(long, env = "LB_ACCESS_LOG_SAMPLE", value_name = "SHARE")]
    pub access_log_sample: Option<String>,
    /// The directory in which the key settings/access_log may name files [default: none]
    #[arg(long, env = "LB_ACCESS_LOG_DIR", value_name = "DIR")]
    pub access_log_dir: Option<PathBuf>,
    /// What clients are told of how they were served: x-request-id, x-proxy-id, x-server-info,
    /// x-upstream-addr, x-upstream-response-time, or none [default: x-request-id]
    #[arg(long, env = "LB_INFO_HEADERS", value_name = "NAMES")]
    pub info_headers: Option<String>,
    /// The certificate for clients that ask for no name, or for one that none has, as its key calls it
    /// [default: the first by name]
    #[arg(long, env = "LB_SSL_DEFAULT_CERTIFICATE", value_name = "NAME")]
    pub ssl_default_certificate: Option<String>,
    /// What handshakes for no name, or for one that no certificate has, come to: certificate (the
    /// default one is shown) or reject [default: certificate]
    #[arg(long, env = "LB_SSL_UNKNOWN_NAME", value_name = "WORD")]
    pub ssl_unknown_name: Option<String>,
    /// How long clients may resume a session: a time, or none [default: 8h]
    #[arg(long, env = "LB_SSL_TICKET_LIFETIME", value_name = "TIME")]
    pub ssl_ticket_lifetime: Option<String>,
    /// The suites that TLS handshakes may come to: strict, compatible (with those of old clients) or a
    /// list as OpenSSL has them [default: strict]
    #[arg(long, env = "LB_SSL_CIPHERS", value_name = "LIST")]
    pub ssl_ciphers: Option<String>,
    /// The oldest version of TLS that is served: 1.2 or 1.3 [default: 1.2]
    #[arg(long, env = "LB_SSL_MIN_VERSION", value_name = "VERSION")]
    pub ssl_min_version: Option<String>,
    /// Servers that names of upstreams are asked of, with commas between them: ADDRESS or ADDRESS:PORT
    /// [default: those of /etc/resolv.conf]
    #[arg(long, env = "LB_DNS_SERVERS", value_name = "ADDRESSES")]
    pub dns_servers: Option<String>,
    /// How often names of upstreams are asked for at least, whatever their TTL says [default: 5s]
    #[arg(long, env = "LB_DNS_INTERVAL", value_name = "TIME")]
    pub dns_interval: Option<String>,
    /// How long one DNS server may take for an answer [default: 2s]
    #[arg(long, env = "LB_DNS_TIMEOUT", value_name = "TIME")]
    pub dns_timeout: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// How much is logged: error, warn, info, debug or trace, also per module [default: info; error
    /// for commands whose output is their answer]
    #[arg(long, global = true, env = "LB_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How a line looks
    #[arg(
        long,
        global = true,
        env = "LB_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "write an address and a port, such as 0.0.0.0:80 or [::]:80")
}

/// `none` is `None`.
fn address_or_none(text: &str) -> Result<Option<SocketAddr>, &'static str> {
    if text == "none" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "write an address and a port, such as 0.0.0.0:443 or [::]:443, or none")
}

fn ip(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "write an address without a port, such as 0.0.0.0 or ::")
}

fn root(text: &str) -> Result<String, Infallible> {
    Ok(store::normalise_root(text))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    // Nobody is there yet whom a refusal could harm, so it is one and not the warning that a key gets.
    if values::looks_like_seconds(text) {
        return Err(format!(
            "without a unit it is milliseconds; write {text}s for seconds, or {text}ms if it is meant"
        ));
    }
    values::duration(text).map_err(|problem| match problem.help {
        Some(help) => format!("{}; {help}", problem.message),
        None => problem.message,
    })
}
