//! What handshakes with clients go by: certificates, versions, suites, tickets.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm};

use crate::config::UnknownName;
use crate::plan::{Certificates, Plan};

/// Of one generation, and of all after it that have the same certificates.
pub struct Termination {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    unknown: UnknownName,
}

impl Termination {
    /// Of no certificates: every handshake is turned away.
    pub fn none() -> Result<Arc<Self>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates::default());
        let unknown = UnknownName::default();
        let chooser = Chooser {
            certificates: certificates.clone(),
            unknown,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(chooser));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            certificates,
            unknown,
        }))
    }

    /// Of a newer plan. Tickets stay: a session that began before a rotation is resumed after it.
    #[must_use]
    pub fn follow(self: &Arc<Self>, plan: &Plan) -> Arc<Self> {
        let certificates = plan.certificates();
        let unknown = plan.balancer().ssl_unknown_name;
        if certificates.same_as(&self.certificates) && unknown == self.unknown {
            return self.clone();
        }
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::new(Chooser {
            certificates: certificates.clone(),
            unknown,
        });
        Arc::new(Self {
            config: Arc::new(config),
            certificates: certificates.clone(),
            unknown,
        })
    }

    /// A new connection's side of the handshake.
    pub(crate) fn connection(&self) -> Result<UnbufferedServerConnection, rustls::Error> {
        UnbufferedServerConnection::new(self.config.clone())
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.certificates.len();
        f.debug_struct("Termination")
            .field("certificates", &certificates)
            .finish_non_exhaustive()
    }
}

/// Finds the certificate for a hello.
#[derive(Debug)]
struct Chooser {
    certificates: Arc<Certificates>,
    unknown: UnknownName,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name();
        let candidates = match self.unknown {
            UnknownName::Certificate => self.certificates.find(named)?,
            UnknownName::Reject => self.certificates.matching(named?)?,
        };
        let fits = |kind: SignatureAlgorithm| {
            let mut of_kind = candidates.iter().map(|named| named.certificate.key());
            of_kind.find(|certified| {
                certified.key.algorithm() == kind
                    && certified
                        .key
                        .choose_scheme(hello.signature_schemes())
                        .is_some()
                    && has_suite(&hello, kind)
            })
        };
        // Smaller and faster first, as the client can.
        [
            SignatureAlgorithm::ED25519,
            SignatureAlgorithm::ECDSA,
            SignatureAlgorithm::RSA,
        ]
        .into_iter()
        .find_map(fits)
        // None that suits: the handshake itself says best what is missing.
        .or_else(|| candidates.first().map(|named| named.certificate.key()))
        .cloned()
    }
}

/// Whether a suite that the client offers goes with the key. Those of TLS 1.3 go with every key.
fn has_suite(hello: &ClientHello<'_>, kind: SignatureAlgorithm) -> bool {
    use CipherSuite as S;
    hello.cipher_suites().iter().any(|suite| match suite {
        S::TLS13_AES_128_GCM_SHA256
        | S::TLS13_AES_256_GCM_SHA384
        | S::TLS13_CHACHA20_POLY1305_SHA256 => true,
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => kind != SignatureAlgorithm::RSA,
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => kind == SignatureAlgorithm::RSA,
        _ => false,
    })
}
