//! TLS at the operator's listener: one certificate from a file, and client certificates of those authorities that
//! another one names. Both are read anew when they change.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use super::access::Kept;
use crate::proxy::now_ms;
use crate::tls::{Authorities, Certificate, Problem, Validity, time_text};

/// What handshakes go by.
pub struct Tls {
    certificate: Kept<Certificate>,
    client_ca: Option<Kept<Authorities>>,
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// With what is odd about it.
    pub fn open(
        certificate: &Path,
        client_ca: Option<&Path>,
    ) -> Result<(Self, Vec<String>), String> {
        let certificate = Kept::open("--stats-certificate", certificate, certificate_of)?;
        let client_ca = client_ca
            .map(|file| Kept::open("--stats-client-ca", file, authorities_of))
            .transpose()?;
        let authorities = client_ca.as_ref().map(Kept::get);
        let config = config(&certificate.get(), authorities.as_deref())?;
        let own = Self {
            certificate,
            client_ca,
            config: Mutex::new(config),
        };
        let warnings = own.warnings();
        Ok((own, warnings))
    }

    fn warnings(&self) -> Vec<String> {
        let certificate = self.certificate.get();
        let mut warnings: Vec<_> = certificate.warnings().iter().map(told).collect();
        let now = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
        match certificate.validity(now) {
            Validity::Valid => {}
            Validity::NotYet => warnings.push(format!(
                "it is not valid before {}",
                time_text(certificate.not_before())
            )),
            Validity::Expired => warnings.push(format!(
                "it expired at {}",
                time_text(certificate.not_after())
            )),
        }
        let named = |warning: String| format!("--stats-certificate: {warning}");
        warnings.into_iter().map(named).collect()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let config = self.config.lock();
        config.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads what changed. Waits for disks.
    pub(super) fn look_again(&self) {
        let other = self.certificate.look_again();
        let others = self.client_ca.as_ref().is_some_and(Kept::look_again);
        if !other && !others {
            return;
        }
        let authorities = self.client_ca.as_ref().map(Kept::get);
        match config(&self.certificate.get(), authorities.as_deref()) {
            Ok(config) => {
                *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
                for reason in self.warnings() {
                    tracing::warn!(reason, "file read anew, but");
                }
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "certificates of --stats cannot be changed; those before stay"
                );
            }
        }
    }
}

fn config(
    certificate: &Certificate,
    client_ca: Option<&Authorities>,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = authorities.roots().clone();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .allow_unauthenticated()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    let one = Arc::new(One(certificate.key().clone()));
    let mut config = builder.with_cert_resolver(one);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is resumed would outlive its client's certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Whatever name a client asks for.
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").finish_non_exhaustive()
    }
}

fn certificate_of(pem: &str) -> Result<Certificate, String> {
    let certificate = Certificate::read(pem).map_err(all)?;
    certificate.trial().map_err(|problem| told(&problem))?;
    Ok(certificate)
}

fn authorities_of(pem: &str) -> Result<Authorities, String> {
    let authorities = Authorities::read(pem).map_err(all)?;
    match authorities.roots().is_empty() {
        true => Err(
            "it has no authority: write the certificate of the one that signs clients'".to_owned(),
        ),
        false => Ok(authorities),
    }
}

fn all(problems: Vec<Problem>) -> String {
    let problems: Vec<_> = problems.iter().map(told).collect();
    problems.join("\n")
}

fn told(problem: &Problem) -> String {
    format!("it {}; {}", problem.message, problem.help)
}
