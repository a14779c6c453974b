//! A handshake in memory: whether a certificate and its key can serve before anybody depends on it.
//!
//! A bundle may read well and still fail: a key whose parts do not belong together signs nonsense, and
//! every client would find out instead of the one who wrote it.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Problem;

/// Messages go to and fro this often at most; a full handshake needs three.
const ROUNDS: usize = 10;

/// The engine with the cheapest key exchange: what is on trial is the certificate.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    Arc::new(provider)
});

pub(super) fn shake_hands(key: &Arc<CertifiedKey>) -> Result<(), Problem> {
    for (version, word) in [(&TLS13, "TLS 1.3"), (&TLS12, "TLS 1.2")] {
        by(version, key).map_err(|error| {
            Problem::new(
                "handshake-failed",
                format!("cannot shake hands by {word}: {error}"),
                "certificate and key do not work together; get a new certificate for a new key",
            )
        })?;
    }
    Ok(())
}

fn by(version: &'static SupportedProtocolVersion, key: &Arc<CertifiedKey>) -> Result<(), Error> {
    let builder = ServerConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoClock));
    let mut config = builder
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(key.clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let mut server = ServerConnection::new(Arc::new(config))?;

    let client = This {
        leaf: key.end_entity_cert()?.clone().into_owned(),
        algorithms: PROVIDER.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoClock));
    let config = builder
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client))
        .with_no_client_auth();
    let name = ServerName::try_from("trial.invalid").map_err(|e| Error::General(e.to_string()))?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;

    for _ in 0..ROUNDS {
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
        let mut wire = Vec::new();
        carry(|| client.wants_write().then(|| client.write_tls(&mut wire)))?;
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).map_err(no_io)?;
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        carry(|| server.wants_write().then(|| server.write_tls(&mut wire)))?;
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).map_err(no_io)?;
            client.process_new_packets()?;
        }
    }
    Err(Error::HandshakeNotComplete)
}

/// Writes until there is nothing left to write.
fn carry(mut write: impl FnMut() -> Option<std::io::Result<usize>>) -> Result<(), Error> {
    while let Some(written) = write() {
        written.map_err(no_io)?;
    }
    Ok(())
}

/// Memory does not fail; the engine's own refusals come this way too.
fn no_io(error: std::io::Error) -> Error {
    Error::General(error.to_string())
}

/// A trial takes no time: nothing in it may depend on the clock.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Takes one certificate and no other, and looks at its signatures itself: certificates of the first
/// version are served all the same.
#[derive(Debug)]
struct This {
    leaf: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Whether `signed` is the signature of the key in `cert`. The engine's own way wants a certificate of the
/// third version, and old ones are about.
pub fn verify_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let (_, parsed) = X509Certificate::from_der(cert)
        .map_err(|_| Error::General("the leaf cannot be read".into()))?;
    let key = &parsed.public_key().subject_public_key.data;
    let mut known = algorithms.mapping.iter();
    let algorithms = known.find(|(scheme, _)| *scheme == signed.scheme);
    let is_good = algorithms.is_some_and(|(_, algorithms)| {
        let mut algorithms = algorithms.iter();
        algorithms.any(|a| a.verify_signature(key, message, signed.signature()).is_ok())
    });
    match is_good {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(Error::General("the key's signature is wrong".into())),
    }
}

impl ServerCertVerifier for This {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *end_entity == self.leaf {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General("another certificate came".into())),
        }
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
