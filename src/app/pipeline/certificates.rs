//! What certificates need besides the journey of their keys: they begin and end by the clock.

use std::time::{Instant, SystemTime};

use super::Pipeline;
use super::telling::{News, log_warnings};
use crate::apply::{certificates, upstream_tls};
use crate::config::{self, Unit};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::status::generations::Reason;
use crate::tls::Validity;

/// Whether a certificate has to show that it is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Needed,
    /// It was accepted once: it comes from the saved config.
    Given,
}

impl Pipeline {
    /// Whether a certificate may go live. One that is live already stays, however old it is: it would be
    /// better than none, and nothing has changed.
    pub(super) fn prove(
        &mut self,
        unit: &UnitName,
        certificate: &config::Certificate,
    ) -> Result<(), Vec<Diagnostic>> {
        let current = self.applier.current();
        let live = current.plan.certificates().of_unit(unit);
        if live.is_some_and(|live| live.certificate == certificate.bundle) {
            return Ok(());
        }
        let now = unix_time();
        if certificate.bundle.validity(now) == Validity::NotYet {
            let from = certificate.bundle.not_before();
            self.not_yet.insert(unit.clone(), from);
        }
        certificates::judge(unit, &certificate.bundle, now)
    }

    /// Certificates come into force, and end, without any key changing.
    pub(super) fn follow_time(&mut self) {
        let now = unix_time();
        let ripe = self.not_yet.iter().filter(|(_, from)| **from <= now);
        let ripe: Vec<_> = ripe.map(|(unit, _)| unit.clone()).collect();
        let mut verdicts = Vec::new();
        for unit in ripe {
            self.not_yet.remove(&unit);
            if let Some(text) = self.renderer.text(unit.as_str()) {
                let warnings = self.renderer.warnings(unit.as_str());
                let verdict = self.judge(&unit, text, warnings, Proof::Needed);
                verdicts.push((unit, verdict));
            }
        }
        let is_due = !self.applier.current().plan.is_as_of(now);
        if !verdicts.is_empty() || is_due {
            let decision = self.court.decide(verdicts);
            let revision = self.applier.current().revision;
            self.enforce(decision, revision, Instant::now(), Reason::Time);
        }
        let told = self.look_at_certificates();
        if told.is_any {
            let revision = self.applier.current().revision;
            log_warnings(&told, revision);
            let warnings = self.all_warnings();
            self.status.send_modify(|status| {
                status.warnings_total = warnings.len();
                status.warnings = warnings;
            });
        }
    }

    /// What is to be told of live certificates that was not told before. Also true if something is not
    /// to be told any more.
    pub(super) fn look_at_certificates(&mut self) -> News {
        let plan = &self.applier.current().plan;
        let units = self.certificates.look(plan.certificates(), unix_time());
        let mut warnings = Vec::new();
        for unit in &units {
            warnings.extend_from_slice(self.certificates.of_unit(unit));
            let own = warnings.len() - self.certificates.of_unit(unit).len();
            self.renderer.name_keys(unit, &mut warnings[own..]);
        }
        News {
            is_any: !units.is_empty(),
            warnings,
        }
    }

    pub(super) fn all_warnings(&self) -> Vec<Diagnostic> {
        let own = self.warnings.values().flatten();
        let mut all: Vec<_> = own.chain(self.certificates.all()).cloned().collect();
        all.extend(self.told_of_names());
        all.sort_by(|a, b| a.unit.cmp(&b.unit));
        for warning in &mut all {
            let unit = UnitName::from(warning.unit.as_str());
            self.renderer
                .name_keys(&unit, std::slice::from_mut(warning));
        }
        all
    }
}

/// What the clock says of certificates toward upstreams when a service is read.
pub(in crate::app) fn told_of_upstream_tls(unit: &UnitName, form: &Unit) -> Vec<Diagnostic> {
    match form {
        Unit::Service(service) => service
            .upstream_tls
            .as_ref()
            .map_or(Vec::new(), |settings| {
                upstream_tls::warnings(unit, settings, unix_time())
            }),
        _ => Vec::new(),
    }
}

/// Seconds since 1970. A clock before that is as good as one that stands there.
pub(in crate::app) fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
