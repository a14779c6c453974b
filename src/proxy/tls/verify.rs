//! Who upstreams are: what they show is held against the authorities, or taken as it is.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls::{Authorities, SHOWN, verify_signature};

/// Whom this system trusts: read when the first upstream is connected that goes by it, some ten
/// milliseconds, and not again. A program that runs for months is restarted when its system changes so
/// much that it matters.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, broken) = roots.add_parsable_certificates(std::mem::take(&mut found.certs));
    for error in &found.errors {
        tracing::warn!(%error, "authorities of this system cannot be read");
    }
    let count = roots.len();
    tracing::debug!(count, broken, "read the authorities of this system");
    Arc::new(roots)
});

/// By `authorities`, or by those of the system.
pub(crate) fn by(
    authorities: Option<&Arc<Authorities>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let roots = authorities.map_or_else(|| SYSTEM.clone(), |given| given.roots().clone());
    if authorities.is_none() && roots.is_empty() {
        return Err(
            "this system trusts nobody: write upstream_tls_ca, or install the ca-certificates of \
             the distribution and restart"
                .to_owned(),
        );
    }
    let algorithms = provider.signature_verification_algorithms;
    let build =
        || WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let by_chain = (!roots.is_empty()).then(build).transpose();
    Ok(Arc::new(Given {
        by_chain: by_chain.map_err(|error| error.to_string())?,
        authorities: authorities.cloned(),
        algorithms,
    }))
}

/// Takes everybody. That the handshake is theirs who show the certificate is still seen to.
pub(crate) fn none(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    let algorithms = provider.signature_verification_algorithms;
    Arc::new(Anybody { algorithms })
}

/// By authorities that somebody wrote down for these upstreams, or by those of the system.
#[derive(Debug)]
struct Given {
    /// `None`: nobody among them may sign.
    by_chain: Option<Arc<WebPkiServerVerifier>>,
    authorities: Option<Arc<Authorities>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if intermediates.len() >= SHOWN {
            return Err(Error::General(format!(
                "it shows more than {SHOWN} certificates"
            )));
        }
        let authorities = self.authorities.as_ref();
        if let Some(judged) = authorities.and_then(|all| all.judge_own(end_entity, now)) {
            judged?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.by_chain {
            None => Err(CertificateError::UnknownIssuer.into()),
            Some(by_chain) => by_chain.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.algorithms, message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.algorithms, message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
