//! `ssl_client_ca` and `ssl_client_verify`: clients that have to show a certificate.
//!
//! As with passwords, a service that says anything about it never goes live without it: whatever is wrong
//! here refuses it.

use std::sync::Arc;

use super::fields::Fields;
use super::unit::Mode;
use super::values::{self, Problem};
use crate::tls::Clients;

const CA: &str = "ssl_client_ca";
const VERIFY: &str = "ssl_client_verify";
pub(super) const CLIENT_AUTH_FIELDS: &[&str] = &[CA, VERIFY];

/// What every field about clients' certificates begins with.
pub(super) const MARK: &str = "ssl_client";

/// Whom a service lets in by certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// `ssl_client_ca`: who signs them.
    pub clients: Arc<Clients>,
    /// `ssl_client_verify`, `required` or `optional`: whether clients without one are turned away. A
    /// bad one is in any case.
    pub is_required: bool,
}

/// `None`: the service asks for no certificate, or was refused.
pub(super) fn client_auth(fields: &mut Fields<'_>, mode: &Mode) -> Option<ClientAuth> {
    // An empty key is one that somebody is about to fill, or whose file was just cut.
    let asks = [CA, VERIFY]
        .into_iter()
        .find(|f| fields.place(f).is_some())?;
    if matches!(mode, Mode::Tcp { .. }) {
        fields.error(
            "needs-http",
            asks,
            &format!("{asks} asks clients for certificates, which a TCP service cannot do"),
            "the service stays closed rather than open; remove the key if it may be open",
        );
        return None;
    }
    let is_required = fields.read(VERIFY, verify).unwrap_or(true);
    let Some(pem) = fields.verbatim(CA) else {
        if !fields.is_set(CA) {
            let message = match asks {
                CA => format!("{CA} is empty and does not say who signs clients' certificates"),
                _ => format!(
                    "{asks} asks for clients' certificates and {CA} does not say who signs them"
                ),
            };
            fields.error(
                "missing-field",
                asks,
                &message,
                "write the certificates of the authority as PEM; the service stays closed rather than \
                 open; remove the key if it may be open",
            );
        }
        return None;
    };
    match Clients::read(pem) {
        Ok(clients) => Some(ClientAuth {
            clients: Arc::new(clients),
            is_required,
        }),
        Err(problems) => {
            for problem in problems {
                let message = format!("{CA} {}", problem.message);
                fields.error(problem.code, CA, &message, &problem.help);
            }
            None
        }
    }
}

fn verify(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "required" => Ok(true),
        "optional" => Ok(false),
        _ => Err(values::unknown_word(text, &["required", "optional"])),
    }
}
