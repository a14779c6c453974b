//! Which suites and versions handshakes with clients come to, and which library serves them.
//!
//! `rustls` serves whoever it can serve. OpenSSL gets what is left where the setting has suites that `rustls`
//! does not have: clients that are old enough to need one of them.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ResolvesServerCertUsingSni};
use rustls::version::{TLS12, TLS13};
use rustls::{DistinguishedName, ServerConfig, SupportedProtocolVersion};

use super::asks::Asks;
#[cfg(feature = "legacy-tls")]
use super::legacy;
use super::session::HandshakeError;
use crate::config::{Balancer, MinVersion};
#[cfg(feature = "legacy-tls")]
use crate::plan::NamedCertificate;
#[cfg(feature = "legacy-tls")]
use crate::tls::hello::Hello;
#[cfg(feature = "legacy-tls")]
use crate::tls::suites::Auth;
use crate::tls::suites::Suites;

/// What `ssl_ciphers` and `ssl_min_version` come to. Costs a context of each library: one serves all
/// generations with these settings.
pub(super) struct Profile {
    suites: Suites,
    min: MinVersion,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// But for certificates and tickets.
    config: ServerConfig,
    /// `None`: nobody needs it.
    #[cfg(feature = "legacy-tls")]
    openssl: Option<legacy::Context>,
}

impl Profile {
    /// The one that holds unless somebody says otherwise.
    pub(super) fn usual() -> Result<Self, HandshakeError> {
        Self::new(Suites::strict(), MinVersion::default())
    }

    pub(super) fn new(suites: Suites, min: MinVersion) -> Result<Self, HandshakeError> {
        let (provider, versions) = engine(suites, min);
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        Ok(Self {
            config: usual(config),
            versions,
            #[cfg(feature = "legacy-tls")]
            openssl: (min == MinVersion::Tls12 && !suites.legacy().is_empty())
                .then(|| legacy::Context::new(suites))
                .transpose()
                .map_err(legacy::failed)?,
            suites,
            min,
        })
    }

    /// Of a newer plan: itself, as long as the settings are these.
    ///
    /// What the settings ask for has been found to be there when they were accepted. Should a library fail
    /// all the same, what was in force stays, and the next change tries again.
    pub(super) fn follow(self: &Arc<Self>, balancer: &Balancer) -> Arc<Self> {
        let (suites, min) = (balancer.ssl_ciphers, balancer.ssl_min_version);
        if (suites, min) == (self.suites, self.min) {
            return self.clone();
        }
        match Self::new(suites, min) {
            Ok(profile) => Arc::new(profile),
            Err(error) => {
                tracing::error!(
                    ssl_ciphers = %suites, %error,
                    "suites cannot be changed; those before stay in force"
                );
                self.clone()
            }
        }
    }

    pub(super) fn suites(&self) -> Suites {
        self.suites
    }

    /// What `rustls` goes by.
    pub(super) fn config(&self, resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
        let mut config = self.config.clone();
        config.cert_resolver = resolver;
        config
    }

    /// The same for a handshake that asks for a certificate, of whom the hints say.
    pub(super) fn asking(
        &self,
        hints: Vec<DistinguishedName>,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, rustls::Error> {
        let provider = self.config.crypto_provider();
        let asks = Asks {
            hints,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)?
            .with_client_cert_verifier(Arc::new(asks))
            .with_cert_resolver(resolver);
        Ok(usual(config))
    }

    /// OpenSSL, if it is the one to serve this client with one of these certificates. In doubt it is not:
    /// `rustls` says best what is missing.
    #[cfg(feature = "legacy-tls")]
    pub(super) fn openssl_for(
        &self,
        hello: &Hello,
        candidates: &[Arc<NamedCertificate>],
    ) -> Option<&legacy::Context> {
        let openssl = self.openssl.as_ref()?;
        let is_tls13 = hello.offers_tls13 && !self.suites.and(Suites::tls13()).is_empty();
        if is_tls13 || !hello.offers_tls12 {
            return None;
        }
        let offered = hello.suites.and(self.suites).without(Suites::tls13());
        let by_openssl = offered.legacy();
        let by_rustls = offered.without(by_openssl);
        let goes_with = |suites: Suites, auth: Auth| suites.iter().any(|suite| suite.auth == auth);
        let can_rustls = hello.has_curve
            && candidates.iter().any(|own| {
                let auth = legacy::auth(own.certificate.key_type()).unwrap_or(Auth::Ecdsa);
                goes_with(by_rustls, auth) && hello.schemes.fit(&*own.certificate.key().key)
            });
        let can_openssl = || {
            let mut kinds = candidates
                .iter()
                .filter_map(|own| legacy::auth(own.certificate.key_type()));
            kinds.any(|auth| goes_with(by_openssl, auth))
        };
        (!can_rustls && can_openssl()).then_some(openssl)
    }
}

/// Suites and versions as `rustls` has them.
fn engine(
    suites: Suites,
    min: MinVersion,
) -> (CryptoProvider, Vec<&'static SupportedProtocolVersion>) {
    let mut provider: CryptoProvider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| suites.has(suite.suite().into()));
    let is_in = |version: &&'static SupportedProtocolVersion| {
        let mut all = provider.cipher_suites.iter();
        all.any(|suite| suite.version() == *version)
    };
    let versions: &[&SupportedProtocolVersion] = match min {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    // A version without a suite would be agreed on before that is found out.
    let versions = versions.iter().copied().filter(is_in).collect();
    (provider, versions)
}

fn usual(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

#[cfg(test)]
mod tests;
