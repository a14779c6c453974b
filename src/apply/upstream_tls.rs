//! What is told of a service's certificates for TLS toward its upstreams when the clock is known.
//!
//! Nothing is refused. An authority is believed because somebody wrote it down, whatever its own end. A
//! certificate that is shown to upstreams is theirs to judge: many never ask for it, and without it the
//! service would be gone for those too.

use crate::config::UpstreamTls;
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::tls::{Validity, time_text};

/// `now` in seconds since 1970.
pub fn warnings(unit: &UnitName, settings: &UpstreamTls, now: i64) -> Vec<Diagnostic> {
    let warning = |code: &str, field: &str, message: String, help: &str| {
        let warning = Diagnostic::warning(code, format!("{field} {message}"));
        warning.in_unit(unit).for_field(field).help(help)
    };
    let authorities = settings.authorities.iter().flat_map(|a| a.all());
    let ended = authorities.filter(|authority| authority.not_after < now);
    let mut told: Vec<_> = ended
        .map(|authority| {
            let at = time_text(authority.not_after);
            let message = format!("has {:?}, which expired at {at}", authority.subject);
            let help = "it is believed all the same; write the one that came after it";
            warning("expired", "upstream_tls_ca", message, help)
        })
        .collect();
    if let Some(certificate) = &settings.certificate {
        let field = "upstream_tls_certificate";
        let (code, message) = match certificate.validity(now) {
            Validity::Valid => return told,
            Validity::Expired => {
                let at = time_text(certificate.not_after());
                ("expired", format!("expired at {at}"))
            }
            Validity::NotYet => {
                let from = time_text(certificate.not_before());
                ("not-yet-valid", format!("is not valid before {from}"))
            }
        };
        let help = "upstreams that ask for it will not take it; write a new one";
        told.push(warning(code, field, message, help));
    }
    told
}
