//! Certificates that are served, and how long they last.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::{Shown, refused_units, shown};
use crate::admin::Views;
use crate::plan::NamedCertificate;
use crate::proxy::now_ms;
use crate::tls::{End, time_text};

const DAY: i64 = 24 * 3600;

#[derive(Debug, Serialize)]
struct CertificateRow {
    name: String,
    unit: String,
    names: Vec<String>,
    issuer: String,
    key: String,
    not_before: String,
    not_after: String,
    days_left: i64,
    state: &'static str,
}

pub(super) async fn list(State(views): State<Views>) -> Shown {
    shown(move || {
        let generation = views.shared.published.current();
        let all = generation.plan.certificates();
        let refused = refused_units(&views.status);
        let row = |named: &Arc<NamedCertificate>| {
            let is_kept = refused.contains(named.unit.as_str());
            CertificateRow::new(named, is_kept)
        };
        let mut rows: Vec<_> = all.iter().map(row).collect();
        rows.sort_by_key(|row| row.days_left);
        rows
    })
    .await
}

pub(super) fn end(named: &NamedCertificate) -> End {
    named.certificate.end(now())
}

impl CertificateRow {
    /// `is_kept`: its key has another one by now, which is refused.
    fn new(named: &NamedCertificate, is_kept: bool) -> Self {
        let own = &named.certificate;
        Self {
            name: named.name.as_str().to_owned(),
            unit: named.unit.to_string(),
            names: own.names().iter().map(ToString::to_string).collect(),
            issuer: own.issuer().to_owned(),
            key: own.key_type().to_string(),
            not_before: time_text(own.not_before()),
            not_after: time_text(own.not_after()),
            days_left: (own.not_after() - now()).div_euclid(DAY),
            state: match end(named) {
                _ if is_kept => "kept",
                End::Far => "live",
                End::Near => "expires-soon",
                End::Past => "expired",
            },
        }
    }
}

fn now() -> i64 {
    i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX)
}
