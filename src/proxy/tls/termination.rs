//! What handshakes with clients go by: certificates, versions, suites, tickets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, ServerConfig, SignatureAlgorithm};

use super::profile::Profile;
use super::session::{Connection, HandshakeError};
use super::tickets::Tickets;
use crate::config::UnknownName;
use crate::plan::{Certificates, NamedCertificate, Plan};
use crate::proxy::buffers::Buffers;
use crate::tls::hello::Hello;
use crate::tls::suites::{Auth, Suites};
use crate::tls::tickets::Ring;

/// By which rule sessions were made. One in which nobody was asked must not become one in which the client
/// had nothing to show.
const UNASKED: &[u8] = b"";
const ASKED: &[u8] = b"client certificate";

/// Of one generation, and of all after it that have the same certificates and settings.
pub struct Termination {
    /// By our order of suites, the strongest first.
    config: Arc<ServerConfig>,
    /// By the client's, for those that begin theirs with ChaCha20: where AES is no hardware's, it is slow.
    by_client: Arc<ServerConfig>,
    chooser: Arc<Chooser>,
    profile: Arc<Profile>,
    ring: Arc<Ring>,
    /// Of tickets.
    lifetime: Option<Duration>,
}

impl Termination {
    /// Of no certificates: every handshake is turned away. Those to come seal their tickets with `ring`.
    pub fn none(ring: Arc<Ring>) -> anyhow::Result<Arc<Self>> {
        let profile = Profile::usual()?;
        let chooser = Arc::new(Chooser {
            certificates: Arc::default(),
            unknown: UnknownName::default(),
            suites: profile.suites(),
        });
        let config = profile.config(chooser.clone());
        Ok(Arc::new(Self {
            by_client: by_client(&config),
            config: Arc::new(config),
            chooser,
            profile: Arc::new(profile),
            ring,
            lifetime: None,
        }))
    }

    /// Of a newer plan. Tickets stay: a session that began before a rotation is resumed after it.
    #[must_use]
    pub fn follow(self: &Arc<Self>, plan: &Plan) -> Arc<Self> {
        let certificates = plan.certificates();
        let unknown = plan.balancer().ssl_unknown_name;
        let lifetime = plan.balancer().ssl_ticket_lifetime;
        let profile = self.profile.follow(plan.balancer());
        if certificates.same_as(&self.chooser.certificates)
            && (unknown, lifetime) == (self.chooser.unknown, self.lifetime)
            && Arc::ptr_eq(&profile, &self.profile)
        {
            return self.clone();
        }
        let chooser = Arc::new(Chooser {
            certificates: certificates.clone(),
            unknown,
            suites: profile.suites(),
        });
        let mut config = profile.config(chooser.clone());
        config.ticketer = Arc::new(Tickets::new(self.ring.clone(), lifetime, UNASKED));
        Arc::new(Self {
            by_client: by_client(&config),
            config: Arc::new(config),
            chooser,
            profile,
            ring: self.ring.clone(),
            lifetime,
        })
    }

    /// A new connection's side of the handshake that this hello begins; `None`: it could not be read. It asks for
    /// a certificate where there are `hints` on whose it should be.
    #[cfg_attr(not(feature = "legacy-tls"), expect(unused_variables))]
    pub(crate) fn connection(
        &self,
        hello: Option<&Hello>,
        hints: Option<Vec<DistinguishedName>>,
        buffers: &Buffers,
    ) -> Result<Connection, HandshakeError> {
        #[cfg(feature = "legacy-tls")]
        if let Some(hello) = hello
            && let Some(candidates) = self.chooser.candidates(hello.server_name.as_deref())
            && let Some(openssl) = self.profile.openssl_for(hello, candidates)
        {
            let legacy = openssl.connection(candidates, hints.is_some(), buffers);
            let legacy = legacy.map_err(super::legacy::failed)?;
            return Ok(Connection::Legacy(Box::new(legacy)));
        }
        let prefers_chacha = hello.is_some_and(|hello| hello.prefers_chacha);
        let config = match hints {
            None if prefers_chacha => self.by_client.clone(),
            None => self.config.clone(),
            Some(hints) => self.asking(hints, prefers_chacha)?,
        };
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Connection::Server(connection))
    }

    /// Made for each connection: whom a handshake asks for goes by the name in its hello.
    fn asking(
        &self,
        hints: Vec<DistinguishedName>,
        prefers_chacha: bool,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = self.profile.asking(hints, self.chooser.clone())?;
        config.ticketer = Arc::new(Tickets::new(self.ring.clone(), self.lifetime, ASKED));
        config.ignore_client_order = !prefers_chacha;
        Ok(Arc::new(config))
    }
}

fn by_client(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.ignore_client_order = false;
    Arc::new(config)
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.chooser.certificates.len();
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
    suites: Suites,
}

impl Chooser {
    /// All that a client may see who asks for this name.
    fn candidates(&self, named: Option<&str>) -> Option<&[Arc<NamedCertificate>]> {
        match self.unknown {
            UnknownName::Certificate => self.certificates.find(named),
            UnknownName::Reject => self.certificates.matching(named?),
        }
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name())?;
        let offered = hello.cipher_suites().iter().map(|suite| (*suite).into());
        let suites = offered.fold(Suites::NONE, Suites::with).and(self.suites);
        let fits = |kind: SignatureAlgorithm| {
            let mut of_kind = candidates.iter().map(|named| named.certificate.key());
            of_kind.find(|certified| {
                certified.key.algorithm() == kind
                    && certified
                        .key
                        .choose_scheme(hello.signature_schemes())
                        .is_some()
                    && has_suite(suites, kind)
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

/// Whether one of the suites that both have goes with the key. Those of TLS 1.3 go with every key, and
/// legacy ones are not for whom this asks.
fn has_suite(suites: Suites, kind: SignatureAlgorithm) -> bool {
    let mut all = suites.without(suites.legacy()).iter();
    all.any(|suite| match suite.auth {
        Auth::Any => true,
        Auth::Ecdsa => kind != SignatureAlgorithm::RSA,
        Auth::Rsa => kind == SignatureAlgorithm::RSA,
    })
}
