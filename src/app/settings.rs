//! From the command line to what it means: stores, the balancer's defaults, our own pages.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};

use crate::app::cli::{self, OwnArgs, SettingArgs, StoreArgs};
use crate::app::environment;
use crate::config::{self, Balancer, LogFiles, Unit};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::proxy::http1::Pages;
use crate::store::{EtcdOptions, StoreOptions, StoreSpec};

/// Kontena's keys are below this, whatever the balancer is called.
const KONTENA_ROOT: &str = "kontena/haproxy/";

/// Variables of this name and a token say what is answered to an ACME challenge.
const CHALLENGE: &str = "ACME_CHALLENGE_";

/// An error page may have this many bytes.
const MAX_PAGE: u64 = 256 * 1024;

/// Where the keys are. Without `--store` that is `./keys`, if it is there.
pub(super) fn stores(args: &StoreArgs) -> anyhow::Result<(Vec<StoreSpec>, StoreOptions)> {
    let mut specs = args.store.clone();
    if specs.is_empty() {
        if !Path::new("keys").is_dir() {
            bail!(
                "no store given and no folder ./keys here\n\
                 start with keys in a directory:  pointsman run --store dir:PATH\n\
                 or with keys in etcd:            pointsman run --store etcd://127.0.0.1:2379"
            );
        }
        specs.push(StoreSpec::Dir("keys".into()));
    }
    let password = match &args.etcd_password_file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("etcd password file {}", file.display()))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => args.etcd_password.clone(),
    };
    if password.is_some() != args.etcd_user.is_some() {
        bail!("etcd needs both a user and a password, or neither");
    }
    let options = StoreOptions {
        root: args.root.clone(),
        settle: args.settle,
        empty_grace: args.empty_grace,
        etcd: EtcdOptions {
            user: args.etcd_user.clone(),
            password,
            ca_file: args.etcd_ca.clone(),
            cert_file: args.etcd_cert.clone(),
            key_file: args.etcd_key.clone(),
            server_name: args.etcd_server_name.clone(),
        },
        ..StoreOptions::default()
    };
    Ok((specs, options))
}

/// These stores over what this node has by itself, which gives way to them: its environment, and over that
/// its directories of certificates.
pub(super) fn with_own(args: &OwnArgs, specs: &[StoreSpec]) -> Vec<StoreSpec> {
    let given = environment::certificates(std::env::vars_os());
    let given = given.map(StoreSpec::Given).into_iter();
    let dirs = args.certs.iter().cloned().map(StoreSpec::Certs);
    given.chain(dirs).chain(specs.iter().cloned()).collect()
}

/// What the saved config is the config of: the root in etcd, or the first directory.
pub(super) fn tree(specs: &[StoreSpec], options: &StoreOptions) -> String {
    let dir = specs.iter().find_map(|spec| match spec {
        StoreSpec::Dir(path) => Some(path),
        _ => None,
    });
    match dir {
        Some(dir) if specs.iter().all(|spec| matches!(spec, StoreSpec::Dir(_))) => {
            let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            whole.to_string_lossy().into_owned()
        }
        _ => options.root.clone(),
    }
}

/// The balancer as the flags say, over the built-in defaults, and what is odd about it. Judged as a
/// unit is judged.
pub(super) fn balancer(args: &SettingArgs, root: &str) -> anyhow::Result<(Balancer, Vec<String>)> {
    balancer_with(args, root, &challenges())
}

fn balancer_with(
    args: &SettingArgs,
    root: &str,
    challenges: &[(String, String)],
) -> anyhow::Result<(Balancer, Vec<String>)> {
    let mut text = String::from("balancer:\n");
    let flags = args.flags();
    let compat = if root.trim_start_matches('/').starts_with(KONTENA_ROOT) {
        "kontena"
    } else {
        ""
    };
    for (name, value) in &flags {
        let value = match *name {
            "compat" => value.unwrap_or(compat),
            _ => value.unwrap_or_default(),
        };
        text += &format!("  {name}: {}\n", serde_json::Value::from(value));
    }
    text += "  acme:\n";
    for (token, answer) in challenges {
        let (token, answer) = (
            serde_json::Value::from(token.as_str()),
            serde_json::Value::from(answer.as_str()),
        );
        text += &format!("    {token}: {answer}\n");
    }
    let unit = UnitName::from("flags");
    let judge = Balancer {
        log_files: LogFiles::Anywhere,
        ..Balancer::default()
    };
    match config::parse(&unit, &text, &judge) {
        Ok(config::Accepted {
            unit: Unit::Balancer(balancer),
            warnings,
            ..
        }) => {
            let log_files = match &args.access_log_dir {
                Some(dir) => LogFiles::Below(std::path::absolute(dir)?),
                None => LogFiles::Nowhere,
            };
            let balancer = Balancer {
                log_files,
                ..balancer
            };
            Ok((balancer, warnings.iter().map(told_of_flag).collect()))
        }
        Ok(_) => bail!("the flags make no balancer"),
        Err(problems) => {
            let lines = problems.iter().map(told_of_flag);
            bail!("{}", lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

/// What the environment answers to ACME challenges, as Kontena's load balancer was told them.
fn challenges() -> Vec<(String, String)> {
    let named = std::env::vars_os().filter_map(|(name, value)| {
        let token = name.to_str()?.strip_prefix(CHALLENGE)?.to_owned();
        (!value.is_empty()).then(|| (token, value.to_string_lossy().into_owned()))
    });
    named.collect()
}

fn told_of_flag(problem: &Diagnostic) -> String {
    let field = problem.field.as_deref().unwrap_or_default();
    let help = problem.help.as_ref().map(|h| format!("; {h}"));
    let name = match field.strip_prefix("acme.") {
        Some(token) => format!("{CHALLENGE}{token}"),
        None => format!("--{}", field.replace('_', "-")),
    };
    format!("{name}: {}{}", problem.message, help.unwrap_or_default())
}

impl SettingArgs {
    /// Each flag under the name of its key.
    fn flags(&self) -> Vec<(&'static str, Option<&str>)> {
        vec![
            ("compat", self.compat.as_deref()),
            ("timeout_head", self.timeout_head.as_deref()),
            ("timeout_handshake", self.timeout_handshake.as_deref()),
            ("timeout_idle", self.timeout_idle.as_deref()),
            ("timeout_client", self.timeout_client.as_deref()),
            ("timeout_connect", self.timeout_connect.as_deref()),
            ("timeout_server", self.timeout_server.as_deref()),
            ("timeout_tunnel", self.timeout_tunnel.as_deref()),
            ("timeout_queue", self.timeout_queue.as_deref()),
            ("timeout_drain", self.timeout_drain.as_deref()),
            ("max_head_size", self.max_head_size.as_deref()),
            ("max_headers", self.max_headers.as_deref()),
            ("max_body_size", self.max_body_size.as_deref()),
            ("max_connections", self.max_connections.as_deref()),
            ("max_handshakes", self.max_handshakes.as_deref()),
            ("max_queue", self.max_queue.as_deref()),
            ("retries", self.retries.as_deref()),
            ("trusted_proxies", self.trusted_proxies.as_deref()),
            ("accept_proxy", self.accept_proxy.as_deref()),
            ("health_uri", self.health_uri.as_deref()),
            ("ready_uri", self.ready_uri.as_deref()),
            ("stats_uri", self.stats_uri.as_deref()),
            ("stats_auth", self.stats_auth.as_deref()),
            ("force_ssl", self.force_ssl.as_deref()),
            ("force_ssl_port", self.force_ssl_port.as_deref()),
            ("force_ssl_code", self.force_ssl_code.as_deref()),
            ("hsts", self.hsts.as_deref()),
            ("custom_settings", self.custom_settings.as_deref()),
            ("global_settings", self.global_settings.as_deref()),
            ("access_log", self.access_log.as_deref()),
            ("access_log_format", self.access_log_format.as_deref()),
            ("access_log_sample", self.access_log_sample.as_deref()),
            ("info_headers", self.info_headers.as_deref()),
            ("ssl_unknown_name", self.ssl_unknown_name.as_deref()),
            ("ssl_ticket_lifetime", self.ssl_ticket_lifetime.as_deref()),
            ("ssl_ciphers", self.ssl_ciphers.as_deref()),
            ("ssl_min_version", self.ssl_min_version.as_deref()),
            ("dns_servers", self.dns_servers.as_deref()),
            ("dns_interval", self.dns_interval.as_deref()),
            ("dns_timeout", self.dns_timeout.as_deref()),
            (
                "ssl_default_certificate",
                self.ssl_default_certificate.as_deref(),
            ),
        ]
    }
}

/// Where HTTPS is served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HttpsAt {
    /// Nobody said: at the usual place, if there is a certificate.
    Usual,
    /// As was asked for.
    These(Vec<SocketAddr>),
}

impl HttpsAt {
    pub(super) fn read(flags: &[Option<SocketAddr>]) -> anyhow::Result<Self> {
        match flags {
            [] => Ok(Self::Usual),
            [None] => Ok(Self::These(Vec::new())),
            flags => match flags.iter().copied().collect() {
                Some(addresses) => Ok(Self::These(addresses)),
                None => bail!("--https: none stands alone"),
            },
        }
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Usual => &[cli::HTTPS],
            Self::These(addresses) => addresses,
        }
    }
}

/// Ports that no TCP service can have, and what has them.
pub(super) fn reserved_ports(
    http: &[SocketAddr],
    https: &HttpsAt,
    stats: SocketAddr,
) -> HashMap<u16, String> {
    let http = http
        .iter()
        .map(|a| (a.port(), format!("the HTTP listener {a}")));
    let https = https.addresses().iter().map(|a| {
        let whose = format!("the HTTPS listener {a}; --https says where else, or none");
        (a.port(), whose)
    });
    http.chain(https)
        .chain([(stats.port(), format!("the stats listener {stats}"))])
        .collect()
}

/// Our own answers, with the operator's pages over the plain ones: bodies as `STATUS.html`, whole
/// answers in HAProxy's form as `STATUS.http` or, to be asked for by name, `NAME.http`.
pub(super) fn pages(dir: Option<&Path>) -> anyhow::Result<Pages> {
    let mut pages = Pages::default();
    let Some(dir) = dir else { return Ok(pages) };
    let entries = std::fs::read_dir(dir)
        .with_context(|| format!("error pages directory {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let html = name.strip_suffix(".html");
        if html.is_none() && !name.ends_with(".http") {
            continue;
        }
        let page = || format!("error page {}", path.display());
        if path.metadata().with_context(page)?.len() > MAX_PAGE {
            bail!("{}: larger than {MAX_PAGE} bytes", page());
        }
        let bytes = std::fs::read(&path).with_context(page)?;
        let set = match html {
            Some(status) => {
                let status = status.parse().with_context(page)?;
                pages.set(status, "text/html; charset=utf-8", bytes)
            }
            None => pages.set_file(&name, &bytes),
        };
        if let Err(reason) = set {
            bail!("{}: {reason}", page());
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compat;

    #[test]
    fn flags_are_judged_as_keys_are_and_named_as_flags() {
        let args = SettingArgs {
            timeout_server: Some("7s".into()),
            retries: Some("many".into()),
            max_headers: Some("0".into()),
            ..SettingArgs::default()
        };
        let text = balancer(&args, "/pointsman/lb").unwrap_err().to_string();
        assert!(
            text.contains("--retries: ") && text.contains("--max-headers: "),
            "{text}"
        );
        let args = SettingArgs {
            timeout_server: Some("7s".into()),
            ..SettingArgs::default()
        };
        let (balancer, _) = balancer(&args, "/pointsman/lb").unwrap();
        assert_eq!(balancer.timeouts.server.as_secs(), 7);
        assert_eq!(balancer.compat, Compat::Pointsman);
    }

    #[test]
    fn a_flag_that_forgot_its_unit_is_told_as_a_key_is() {
        let args = SettingArgs {
            timeout_server: Some("60".into()),
            ..SettingArgs::default()
        };
        let (_, warnings) = balancer(&args, "/pointsman/lb").unwrap();
        assert_eq!(
            warnings,
            [
                "--timeout-server: timeout_server \"60\" is 60 milliseconds; write 60s for seconds, or \
              60ms if it is meant"
            ]
        );
    }

    #[test]
    fn a_root_of_kontena_implies_its_habits_unless_told_otherwise() {
        let compat = |root, flag: Option<&str>| {
            let args = SettingArgs {
                compat: flag.map(Into::into),
                ..SettingArgs::default()
            };
            balancer(&args, root).unwrap().0.compat
        };
        assert_eq!(compat("/kontena/haproxy/lb", None), Compat::Kontena);
        assert_eq!(compat("/kontena/haproxy/stack/lb", None), Compat::Kontena);
        assert_eq!(compat("kontena/haproxy/lb", None), Compat::Kontena);
        assert_eq!(compat("/kontena/haproxylb", None), Compat::Pointsman);
        assert_eq!(
            compat("/kontena/haproxy/lb", Some("pointsman")),
            Compat::Pointsman
        );
        assert_eq!(compat("/pointsman/lb", Some("kontena")), Compat::Kontena);
    }
}
