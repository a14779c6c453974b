//! Connecting to one member, and telling in words what went wrong.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};

use super::super::options::EtcdOptions;
use super::REQUEST_TIMEOUT;

/// Why a member could not be used. Every kind leads to the next member.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum EtcdError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{}", explain(.0))]
    Client(#[from] Error),
    #[error("{what} {file}: {error}")]
    File {
        what: &'static str,
        file: String,
        error: std::io::Error,
    },
    #[error("{0}")]
    Protocol(&'static str),
    #[error("{0}")]
    Ended(String),
}

/// The numbers of gRPC's status codes that are told apart here.
const OUT_OF_RANGE: i32 = 11;
const NOT_FOUND: i32 = 5;

impl EtcdError {
    /// A compacted revision, or a message larger than the limit: both have this code, and the answer to
    /// both is to list again in smaller pages.
    pub(super) fn is_out_of_range(&self) -> bool {
        self.code() == Some(OUT_OF_RANGE)
    }

    /// A lease that expired.
    pub(in crate::store) fn is_not_found(&self) -> bool {
        self.code() == Some(NOT_FOUND)
    }

    /// Whether the server answered that it does not do it: wrong, too large, or not allowed.
    pub(in crate::store) fn is_no(&self) -> bool {
        matches!(self.code(), Some(3 | 7 | 8 | 9 | 11 | 16))
    }

    fn code(&self) -> Option<i32> {
        match self {
            Self::Client(Error::GRpcStatus(status)) => Some(status.code() as i32),
            _ => None,
        }
    }
}

/// One client for one member. With a user this asks for a token; without, nothing is sent yet.
pub(in crate::store) async fn connect(
    endpoint: &str,
    tls: bool,
    options: &EtcdOptions,
) -> Result<Client, EtcdError> {
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(3))
        // etcd ends connections that ping more often than every 5 s, or without an open stream.
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
        .with_keep_alive_while_idle(false)
        .with_tcp_keepalive(Duration::from_secs(30))
        // A member cut off from its cluster would otherwise serve a silent watch for ever.
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some(user) = &options.user {
        connect = connect.with_user(user, options.password.clone().unwrap_or_default());
    }
    let use_tls = tls || options.wants_tls();
    if use_tls {
        connect = connect.with_tls(tls_options(endpoint, options).await?);
    }
    let scheme = if use_tls { "https" } else { "http" };
    let url = format!("{scheme}://{endpoint}");
    limited(REQUEST_TIMEOUT, Client::connect([url], Some(connect))).await
}

/// A request with a limit: the library has none of its own.
pub(in crate::store) async fn limited<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, EtcdError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(EtcdError::Timeout(limit)),
    }
}

async fn tls_options(endpoint: &str, options: &EtcdOptions) -> Result<TlsOptions, EtcdError> {
    let mut tls = TlsOptions::new();
    tls = match &options.ca_file {
        Some(file) => tls.ca_certificate(Certificate::from_pem(read("CA file", file).await?)),
        None => tls.with_native_roots(),
    };
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => {
            let cert = read("client certificate", cert).await?;
            let key = read("client key", key).await?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        (None, None) => {}
        _ => {
            return Err(EtcdError::Protocol(
                "client certificate and key go together, one of them is not set",
            ));
        }
    }
    if let Some(name) = &options.server_name {
        tls = tls.domain_name(name.clone());
    } else if let Some((host, _)) = endpoint
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        // In a certificate an IPv6 address has no brackets.
        tls = tls.domain_name(host.to_owned());
    }
    Ok(tls)
}

async fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, EtcdError> {
    tokio::fs::read(file)
        .await
        .map_err(|error| EtcdError::File {
            what,
            file: file.display().to_string(),
            error,
        })
}

/// The message of the server where there is one; else the innermost cause ("connection refused"), which
/// the outer errors hide behind "transport error".
fn explain(error: &Error) -> String {
    let outer: &(dyn std::error::Error + 'static) = match error {
        Error::GRpcStatus(status) => match status.source() {
            Some(source) => source,
            None if status.message().is_empty() => return format!("{:?}", status.code()),
            None => return status.message().to_owned(),
        },
        Error::TransportError(error) => error,
        other => return other.to_string(),
    };
    let mut innermost = outer;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().to_lowercase()
}
