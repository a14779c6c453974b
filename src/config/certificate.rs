//! The `certificate:` unit: a name and a PEM bundle.

use std::sync::Arc;

use super::fields::{self, Fields};
use super::unit::{Compat, Unit};
use super::values;
use crate::names::CertificateName;
use crate::tls;

/// Every field a certificate may have, in the order of `docs/config.md`.
pub const CERTIFICATE_FIELDS: &[&str] = &["name", "pem"];

/// A certificate and what its key calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub name: CertificateName,
    pub bundle: Arc<tls::Certificate>,
}

/// Whether it is valid now is not asked here: that would need to know when now is.
pub(super) fn certificate(fields: &mut Fields<'_>, compat: Compat) -> Option<Unit> {
    let name = fields.read("name", |text| fields::name(text).map(CertificateName::from));
    if name.is_none() && !fields.is_set("name") {
        fields.missing("name", "say what the certificate is called");
    }
    let Some(pem) = fields.verbatim("pem") else {
        if !fields.is_set("pem") {
            fields.missing(
                "pem",
                "write leaf, chain and private key, or remove the key of this certificate",
            );
        }
        return None;
    };
    if compat == Compat::Kontena && is_flag(name.as_ref(), pem) {
        return Some(Unit::Ignored);
    }
    match tls::Certificate::read(pem) {
        Ok(bundle) => {
            for warning in bundle.warnings() {
                let message = format!("pem {}", warning.message);
                fields.warn(warning.code, "pem", message, &warning.help);
            }
            let bundle = Arc::new(bundle);
            Some(Unit::Certificate(Certificate {
                name: name?,
                bundle,
            }))
        }
        Err(problems) => {
            for problem in problems {
                let message = format!("pem {}", problem.message);
                fields.error(problem.code, "pem", &message, &problem.help);
            }
            None
        }
    }
}

/// Kontena's load balancers put a flag where we have certificates: `certs/bundle` is `true`. Any other
/// value without PEM is a certificate that was spoilt, and the last good one has to stay.
fn is_flag(name: Option<&CertificateName>, pem: &str) -> bool {
    let is_named_so = name.is_some_and(|name| name.as_str() == "bundle");
    let is_word = values::boolean(pem.trim()).is_ok();
    (is_named_so || is_word) && !pem.contains("-----BEGIN")
}

#[cfg(test)]
mod tests;
