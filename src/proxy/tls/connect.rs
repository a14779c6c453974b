//! Handshakes with upstreams: what they go by, and why there is none, in words for who runs them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::{ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::session::{Connection, HandshakeError, Session};
use super::verify;
use crate::plan::Secured;
use crate::proxy::buffers::Buffers;
use crate::proxy::stream::Stream;
use crate::tls::time_text;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Tickets of one upstream: as many as connections are begun at once on an ordinary day. A ticket is
/// used once.
const TICKETS: usize = 8;

/// Shakes hands with an upstream. Takes as long as the upstream likes: the caller sets a limit.
pub(crate) async fn connect(
    socket: TcpStream,
    secured: &Secured,
    buffers: &Buffers,
) -> Result<Stream, String> {
    let config = config(secured, &secured.traffic)?;
    let connection = UnbufferedClientConnection::new(config, secured.name.clone())
        .map_err(|error| reason(&error, secured))?;
    let connection = Connection::Client(connection);
    let mut session = Session::new(connection, buffers.input(), buffers);
    match poll_fn(|cx| session.poll_handshake(&socket, cx)).await {
        Ok(()) => Ok(Stream::secured(socket, session)),
        Err(HandshakeError::Tls(error)) => Err(reason(&error, secured)),
        Err(HandshakeError::Io(error)) => Err(io_reason(&error)),
        #[cfg(feature = "legacy-tls")]
        Err(error @ HandshakeError::OpenSsl(_)) => Err(error.to_string()),
    }
}

/// The same for a health check. Those run beside the workers, whose sessions cannot leave them.
pub(crate) async fn connect_check(
    socket: TcpStream,
    secured: &Secured,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let config = config(secured, &secured.checks)?;
    let connecting = TlsConnector::from(config).connect(secured.name.clone(), socket);
    connecting.await.map_err(|error| {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => reason(error, secured),
            None => io_reason(&error),
        }
    })
}

fn config(
    secured: &Secured,
    made: &OnceLock<Arc<ClientConfig>>,
) -> Result<Arc<ClientConfig>, String> {
    if let Some(config) = made.get() {
        return Ok(config.clone());
    }
    let settings = &secured.settings;
    let verifier = match settings.verifies {
        true => verify::by(settings.authorities.as_ref(), &PROVIDER)?,
        false => verify::none(&PROVIDER),
    };
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            builder.with_client_cert_resolver(Arc::new(Shown(certificate.key().clone())))
        }
    };
    if secured.speaks_http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    config.resumption = Resumption::in_memory_sessions(TICKETS);
    // Of two who made one at the same time the first counts, for both.
    Ok(made.get_or_init(|| Arc::new(config)).clone())
}

/// The one certificate that a service has for upstreams. Which authorities they name does not matter:
/// they say best themselves that they do not take it.
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// Why a session with an upstream did not come about, or ended.
fn reason(error: &Error, secured: &Secured) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_reason(error, secured),
        Error::AlertReceived(alert) => alert_reason(*alert),
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => "it speaks a TLS older than 1.2".to_owned(),
        other => other.to_string(),
    }
}

fn certificate_reason(error: &CertificateError, secured: &Secured) -> String {
    let time = |time: &rustls_pki_types::UnixTime| {
        time_text(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", time(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}", time(not_before))
        }
        CertificateError::UnknownIssuer => match secured.settings.authorities {
            Some(_) => "its certificate is signed by nobody in upstream_tls_ca".to_owned(),
            None => {
                "its certificate is signed by nobody whom this system trusts, and upstream_tls_ca \
                     is not set"
                    .to_owned()
            }
        },
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = shown_name(expected);
            let names: Vec<_> = presented.iter().take(4).map(|n| bare(n)).collect();
            match names.is_empty() {
                true => format!("its certificate is not for {expected}: it names nobody"),
                false => format!(
                    "its certificate is not for {expected}, but for {}",
                    names.join(", ")
                ),
            }
        }
        CertificateError::NotValidForName => {
            format!("its certificate is not for {}", shown_name(&secured.name))
        }
        other => format!("its certificate is not taken: {other}"),
    }
}

fn shown_name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// `app.test` of `DnsName("app.test")`, as the engine writes what a certificate has. It chose them, so
/// they are fit to be shown once nothing in them is a control character.
fn bare(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .map_or(presented, |(_, rest)| rest);
    let inner = inner.trim_end_matches(')').trim_matches('"');
    inner
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// What an upstream says when it ends a session.
pub(crate) fn alert_reason(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => {
            "it asks for a client certificate, which is not set: upstream_tls_certificate"
                .to_owned()
        }
        A::UnknownCA
        | A::BadCertificate
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::CertificateRevoked
        | A::UnsupportedCertificate
        | A::AccessDenied => format!("it does not take our client certificate: {alert:?}"),
        A::UnrecognisedName => "it does not know the name that it was asked for".to_owned(),
        A::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3".to_owned(),
        A::HandshakeFailure => {
            "it refused the handshake: no suite in common, or it asks for a client certificate"
                .to_owned()
        }
        alert => format!("it ended the session: {alert:?}"),
    }
}

fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it closed the connection in the handshake".to_owned()
        }
        _ => error.to_string(),
    }
}
