//! What is asked of a certificate before it goes live, and what is told of those that are.
//!
//! The clock is an argument: whoever calls knows what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::plan::{Certificates, NamedCertificate};
use crate::tls::{self, Validity, time_text};

const DAY: i64 = 24 * 3600;

/// Ends beyond this are not looked at: none of them is near.
const SOON: i64 = 14 * DAY;

/// How often live certificates are looked at while nothing changes, in seconds.
const LOOK_EVERY: i64 = 5;

/// Names that one warning tells one by one.
const NAMES_TOLD: usize = 3;

/// Whether a new form may go live at `now` (seconds since 1970): it is valid, and it can shake hands.
pub fn judge(
    unit: &UnitName,
    certificate: &tls::Certificate,
    now: i64,
) -> Result<(), Vec<Diagnostic>> {
    let refuse = |code: &str, message: String, help: &str| {
        let problem = Diagnostic::error(code, format!("pem {message}"));
        Err(vec![problem.in_unit(unit).for_field("pem").help(help)])
    };
    match certificate.validity(now) {
        Validity::Valid => {}
        Validity::NotYet => {
            let from = time_text(certificate.not_before());
            return refuse(
                "not-yet-valid",
                format!("has a certificate that is not valid before {from}"),
                "it goes live by itself then; if it should be valid already, look at this machine's clock",
            );
        }
        Validity::Expired => {
            let at = time_text(certificate.not_after());
            return refuse(
                "expired",
                format!("has a certificate that expired at {at}"),
                "get a new one from who signed it",
            );
        }
    }
    certificate
        .trial()
        .or_else(|problem| refuse(problem.code, problem.message, &problem.help))
}

/// What is worth telling about a unit's live certificate at `now`.
pub fn warnings(certificates: &Certificates, unit: &UnitName, now: i64) -> Vec<Diagnostic> {
    let Some(own) = certificates.of_unit(unit) else {
        return Vec::new();
    };
    let mut told: Vec<_> = ending(own, now).into_iter().collect();
    told.extend(overshadowed(certificates, own));
    told
}

/// What is worth telling about the choice of the default.
pub fn default_warning(certificates: &Certificates) -> Option<Diagnostic> {
    let name = certificates.missing_default()?;
    let warning = Diagnostic::warning(
        "no-default-certificate",
        format!(
            "ssl_default_certificate {:?} is no certificate",
            name.as_str()
        ),
    );
    let help = "the first one by name is the default; write the name of a key under certs/";
    Some(
        warning
            .in_unit("balancer")
            .for_field("ssl_default_certificate")
            .help(help),
    )
}

/// The text changes once a day, and so it is logged once a day.
fn ending(own: &NamedCertificate, now: i64) -> Option<Diagnostic> {
    let end = own.certificate.not_after();
    let left = end.saturating_sub(now);
    let at = time_text(end);
    let days = |seconds: i64| match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let first = own.certificate.names().first().map_or("", |name| name);
    let (code, help, message) = match own.certificate.end(now) {
        tls::End::Past => (
            "expired",
            "write a new one to the same key; this one is served only where there is no other",
            format!(
                "the certificate for {first} expired {} ago, at {at}",
                days(-left)
            ),
        ),
        tls::End::Near => (
            "expires-soon",
            "write a new one to the same key; this one is served until then",
            format!(
                "the certificate for {first} expires in {}, at {at}",
                days(left)
            ),
        ),
        tls::End::Far => return None,
    };
    let warning = Diagnostic::warning(code, message).in_unit(&own.unit);
    Some(warning.for_field("pem").help(help))
}

fn overshadowed(certificates: &Certificates, own: &NamedCertificate) -> Option<Diagnostic> {
    let told: Vec<_> = certificates
        .overshadowed(&own.unit)
        .map(|(name, first)| format!("{name} by {}", first.unit))
        .collect();
    let shown = told.get(..NAMES_TOLD).unwrap_or(&told).join(", ");
    let more = match told.len().saturating_sub(NAMES_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let kind = own.certificate.key_type();
    (!told.is_empty()).then(|| {
        let message = format!("other certificates with {kind} keys go first: {shown}{more}");
        let help = "the first by name is served; remove one of them";
        Diagnostic::warning("overshadowed", message)
            .in_unit(&own.unit)
            .for_field("pem")
            .help(help)
    })
}

/// Keeps an eye on live certificates: what is to be told of them changes with the tables, and with time.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Arc<Certificates>,
    looked_at: i64,
    /// When each of them ends.
    ends: BTreeSet<(i64, UnitName)>,
    told: BTreeMap<UnitName, Vec<Diagnostic>>,
}

impl Watch {
    /// Looks at what is live at `now`, and gives the units of which something else is to be told than at
    /// the last look. Costs what changed, and what is about to end.
    pub fn look(&mut self, current: &Arc<Certificates>, now: i64) -> Vec<UnitName> {
        let is_same = Arc::ptr_eq(&self.seen, current);
        let is_recent = (self.looked_at..self.looked_at + LOOK_EVERY).contains(&now);
        if is_same && is_recent {
            return Vec::new();
        }
        let mut units = BTreeSet::new();
        if !is_same {
            for (old, new) in self.seen.changes(current) {
                for (tables, own) in [(&self.seen, &old), (current, &new)] {
                    let Some(own) = own else { continue };
                    // Whoever shares a name with it may have come to serve it, or ceased to.
                    for tables in [tables, current] {
                        units.extend(tables.sharing(&own.certificate).cloned());
                    }
                    units.insert(own.unit.clone());
                }
                if let Some(old) = old {
                    let end = old.certificate.not_after();
                    self.ends.remove(&(end, old.unit.clone()));
                }
                if let Some(new) = new {
                    self.ends
                        .insert((new.certificate.not_after(), new.unit.clone()));
                }
            }
            self.seen = current.clone();
        }
        if !is_recent {
            // Where certificates live for days only, these are all there are: not at every change.
            self.looked_at = now;
            let soon = (now.saturating_add(SOON), UnitName::from(""));
            units.extend(self.ends.range(..soon).map(|(_, unit)| unit.clone()));
        }
        let mut news = Vec::new();
        for unit in units {
            let told = warnings(current, &unit, now);
            self.tell(unit, told, &mut news);
        }
        let default = default_warning(current).into_iter().collect();
        self.tell(UnitName::from("balancer"), default, &mut news);
        news
    }

    /// What is to be told of a unit.
    pub fn of_unit(&self, unit: &UnitName) -> &[Diagnostic] {
        self.told.get(unit).map_or(&[], Vec::as_slice)
    }

    /// Everything that is to be told, in the order of the units.
    pub fn all(&self) -> impl Iterator<Item = &Diagnostic> {
        self.told.values().flatten()
    }

    fn tell(&mut self, unit: UnitName, told: Vec<Diagnostic>, news: &mut Vec<UnitName>) {
        if self.of_unit(&unit) == told {
            return;
        }
        match told.is_empty() {
            true => self.told.remove(&unit),
            false => self.told.insert(unit.clone(), told),
        };
        news.push(unit);
    }
}

#[cfg(test)]
mod tests;
