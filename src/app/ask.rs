//! Asking a node at its `--stats`, for commands: plainly or by TLS, with whatever says who asks.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::app::environment;
use crate::config::STATS_USER;
use crate::proxy::verify;
use crate::tls::Authorities;

/// Where a node is asked, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Ask the node whose --stats this is: ADDR:PORT, or https://HOST:PORT where it speaks TLS
    #[arg(long, env = "LB_STATS", value_name = "ADDR:PORT")]
    pub stats: Option<At>,
    /// The authority that signed the node's certificate, or that certificate, PEM [default: the system's]
    #[arg(long, env = "LB_STATS_CA", value_name = "FILE")]
    pub stats_ca: Option<PathBuf>,
    /// A file with the password of user stats [default: what LB_STATS_PASSWORD or STATS_PASSWORD says]
    #[arg(long, env = "LB_STATS_PASSWORD_FILE", value_name = "FILE")]
    pub stats_password_file: Option<PathBuf>,
    /// A file with the token of those who may read
    #[arg(long, env = "LB_API_READ_TOKEN_FILE", value_name = "FILE")]
    pub api_read_token_file: Option<PathBuf>,
    /// A file with the token of those who may change keys
    #[arg(long, env = "LB_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
}

/// A node's `--stats`.
#[derive(Clone, Debug)]
pub struct At {
    is_tls: bool,
    host: String,
    port: u16,
}

/// Whose certificates are believed.
pub(super) enum Trust {
    System,
    These(Arc<Authorities>),
    /// For whoever sends no secret, and believes no more than that somebody answers.
    Anybody,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Its text, short and without what would steer a terminal: whoever answers may be anybody.
    pub(super) fn said(&self) -> String {
        const SHOWN: usize = 300;
        let text = String::from_utf8_lossy(&self.body);
        let plain = text.trim().chars().take(SHOWN);
        plain
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

impl NodeArgs {
    /// GET, with at most `most` bytes of an answer.
    pub(super) async fn get(&self, at: &At, path: &str, most: u64) -> anyhow::Result<Answer> {
        let trust = match &self.stats_ca {
            None => Trust::System,
            Some(file) => Trust::These(authorities(file)?),
        };
        let answer = get(at, path, self.authorization()?.as_deref(), &trust, most).await?;
        match answer.status {
            426 => bail!(
                "it speaks TLS: say --stats https://HOST:PORT, with a name of its certificate"
            ),
            401 => bail!(
                "it asks who you are: say --stats-password-file, --api-read-token-file or --api-token-file"
            ),
            _ => Ok(answer),
        }
    }

    /// The least that reads.
    fn authorization(&self) -> anyhow::Result<Option<String>> {
        let basic = |password: &str| {
            let pair = BASE64_STANDARD.encode(format!("{STATS_USER}:{}", password.trim()));
            format!("Basic {pair}")
        };
        let token = self.api_read_token_file.as_ref();
        if let Some(file) = token {
            return Ok(Some(format!("Bearer {}", line(file)?)));
        }
        if let Some(file) = &self.stats_password_file {
            return Ok(Some(basic(&line(file)?)));
        }
        if let Some(file) = &self.api_token_file {
            return Ok(Some(format!("Bearer {}", line(file)?)));
        }
        let given = environment::stats_password();
        let given = given.filter(|(_, password)| !password.trim().is_empty());
        Ok(given.map(|(_, password)| basic(&password)))
    }
}

/// One GET on a connection of its own. Takes as long as the node likes: the caller sets a limit.
pub(super) async fn get(
    at: &At,
    path: &str,
    authorization: Option<&str>,
    trust: &Trust,
    most: u64,
) -> anyhow::Result<Answer> {
    let authorization = authorization
        .map(|line| format!("Authorization: {line}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Connection: close\r\n\r\n",
        at.authority()
    );
    let stream = TcpStream::connect((at.host.as_str(), at.port)).await?;
    if !at.is_tls {
        return exchange(stream, &request, most).await;
    }
    let name = ServerName::try_from(at.host.clone())
        .with_context(|| format!("{} is no name of a certificate", at.host))?;
    let connector = TlsConnector::from(Arc::new(config(trust)?));
    let stream = connector.connect(name, stream).await;
    exchange(stream.context("TLS")?, &request, most).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    most: u64,
) -> anyhow::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(most).read_to_end(&mut answer).await?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n");
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let (Some(end), Some(status)) = (end, status) else {
        bail!("what answers there is no node's --stats");
    };
    Ok(Answer {
        status,
        body: answer.split_off(end + 4),
    })
}

fn config(trust: &Trust) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = match trust {
        Trust::Anybody => verify::none(&provider),
        Trust::These(authorities) => {
            verify::by(Some(authorities), &provider).map_err(anyhow::Error::msg)?
        }
        Trust::System => match verify::by(None, &provider) {
            Ok(verifier) => verifier,
            Err(_) => bail!("this system trusts nobody: say --stats-ca FILE"),
        },
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn line(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let text = text.trim();
    let is_line = !text.is_empty() && !text.chars().any(char::is_control);
    anyhow::ensure!(is_line, "{}: it has to have one line", file.display());
    Ok(text.to_owned())
}

fn authorities(file: &Path) -> anyhow::Result<Arc<Authorities>> {
    let named = || format!("--stats-ca {}", file.display());
    let pem = fs::read_to_string(file).with_context(named)?;
    let read = Authorities::read(&pem).map_err(|problems| {
        let told = problems
            .iter()
            .map(|problem| format!("it {}; {}", problem.message, problem.help));
        anyhow::Error::msg(told.collect::<Vec<_>>().join("\n"))
    });
    Ok(Arc::new(read.with_context(named)?))
}

impl At {
    /// The same by TLS.
    pub(super) fn secured(&self) -> Self {
        Self {
            is_tls: true,
            ..self.clone()
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Who listens on all addresses is asked on our own.
impl From<SocketAddr> for At {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self {
            is_tls: false,
            host: ip.to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for At {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HELP: &str =
            "write an address and a port, such as 127.0.0.1:1000, or https://HOST:PORT";
        let (is_tls, place) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(place), _) => (true, place.trim_end_matches('/')),
            (None, Some(place)) => (false, place.trim_end_matches('/')),
            (None, None) => return text.parse::<SocketAddr>().map(Self::from).map_err(|_| HELP),
        };
        if let Ok(address) = place.parse::<SocketAddr>() {
            return Ok(Self {
                is_tls,
                ..Self::from(address)
            });
        }
        let (host, port) = place.rsplit_once(':').ok_or(HELP)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        match port.parse() {
            Ok(port) if !host.is_empty() && host.chars().all(is_name) => Ok(Self {
                is_tls,
                host: host.to_owned(),
                port,
            }),
            _ => Err(HELP),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https://" } else { "" };
        write!(f, "{scheme}{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_or_urls() {
        for (text, expected) in [
            ("127.0.0.1:1000", "127.0.0.1:1000"),
            ("0.0.0.0:1000", "127.0.0.1:1000"),
            ("[::]:1000", "[::1]:1000"),
            ("http://lb.test:1000/", "lb.test:1000"),
            ("https://lb.test:1000", "https://lb.test:1000"),
            ("https://[::1]:1", "https://[::1]:1"),
        ] {
            assert_eq!(text.parse::<At>().expect(text).to_string(), expected);
        }
        for text in [
            "",
            "lb.test:1000",
            "https://",
            "https://lb.test",
            "https://a b:1",
            "https://a:1/x",
            "https://a:99999",
            "ftp://a:1",
        ] {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
    }
}
