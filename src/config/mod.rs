//! Unit text to checked units.
//!
//! [`parse`] takes one unit's YAML and gives a [`Unit`], or every problem in it at once, each with
//! line, column, field and what to do. A `Unit` exists only if it is valid. Nothing here knows keys,
//! templates, sockets or time.
//!
//! The text has one top-level field, `service`, `certificate` or `balancer`, with flat fields below it
//! that are called what the keys are called. `docs/config.md` lists them.

mod access;
mod accesslog;
mod address;
mod auth;
mod balancer;
mod certificate;
mod custom;
mod fields;
mod front;
pub mod haproxy;
mod headers;
mod host_regex;
mod info;
mod pages;
mod policy;
mod proxy_protocol;
mod redirects;
mod routes;
mod secure;
mod service;
mod sticky;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_policy;
mod unit;
pub mod values;

pub use access::Access;
pub use auth::{BasicAuth, User, Users, asks_for_password};
pub use balancer::BALANCER_FIELDS;
pub use certificate::{CERTIFICATE_FIELDS, Certificate};
pub use front::{Front, Stats, StatsUsers};
pub use headers::HostHeader;
pub use pages::{ErrorPage, ErrorPages, PAGE_STATUSES};
pub use redirects::Redirects;
pub use secure::{ForceCode, Hsts, Secure};
pub use service::SERVICE_FIELDS;
pub use sticky::{CookieMode, CookieValue, Sticky, StickyCookie, directive};
pub use unit::*;

use crate::diag::{Diagnostic, quoted};
use crate::names::UnitName;
use crate::yaml::{self, Entry, Limits, Value};
use fields::Fields;
use values::unknown_word;

/// What one unit's text may cost. A text is refused beyond it.
pub const LIMITS: Limits = Limits {
    bytes: 256 * 1024,
    depth: 8,
    nodes: 20_000,
};

const STARTS: &str = "it starts with service:, certificate: or balancer:";

/// A unit that may go live, and what is worth telling about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub unit: Unit,
    pub warnings: Vec<Diagnostic>,
}

/// The unit that `text` describes, or everything that is wrong with it (warnings included), in the
/// order of the text. `defaults` is the balancer as the command line made it: the `balancer` unit
/// overrides its fields, and the others look only at its `compat`.
pub fn parse(
    unit: &UnitName,
    text: &str,
    defaults: &Balancer,
) -> Result<Accepted, Vec<Diagnostic>> {
    let document = yaml::parse(text, LIMITS);
    let mut diagnostics = document.diagnostics;
    let checked = document
        .root
        .and_then(|root| top(&root, &mut diagnostics, defaults));
    sort_and_cap(&mut diagnostics);
    for diagnostic in &mut diagnostics {
        diagnostic.unit = unit.to_string();
    }
    match checked {
        Some(unit) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(Accepted {
            unit,
            warnings: diagnostics,
        }),
        _ => Err(diagnostics),
    }
}

fn top(root: &yaml::Node, diagnostics: &mut Vec<Diagnostic>, defaults: &Balancer) -> Option<Unit> {
    let Value::Map(entries) = &root.value else {
        diagnostics.push(
            Diagnostic::error("wrong-type", "the text has no fields")
                .at(root.line, root.column)
                .help(STARTS),
        );
        return None;
    };
    let mut unit = None;
    for (nth, entry) in entries.iter().enumerate() {
        if nth > 0 {
            diagnostics.push(
                Diagnostic::error(
                    "unknown-field",
                    format!("{} is a second unit in one text", quoted(&entry.name)),
                )
                .at(entry.line, entry.column)
                .for_field(&entry.name)
                .help("one text is one unit; give it a template of its own"),
            );
            continue;
        }
        unit = one(entry, diagnostics, defaults);
    }
    if entries.is_empty() {
        diagnostics.push(
            Diagnostic::error("empty", "the text has no fields")
                .at(root.line, root.column)
                .help(STARTS),
        );
    }
    unit
}

fn one(entry: &Entry, diagnostics: &mut Vec<Diagnostic>, defaults: &Balancer) -> Option<Unit> {
    match entry.name.as_str() {
        "service" => {
            let mut fields = Fields::new(entry, SERVICE_FIELDS);
            let service = service::service(&mut fields, defaults.compat);
            diagnostics.append(&mut fields.finish());
            service.map(Unit::Service)
        }
        "balancer" => {
            let mut fields = Fields::new(entry, BALANCER_FIELDS);
            let balancer = balancer::balancer(&mut fields, defaults);
            diagnostics.append(&mut fields.finish());
            Some(Unit::Balancer(balancer))
        }
        "certificate" => {
            let mut fields = Fields::new(entry, CERTIFICATE_FIELDS);
            let unit = certificate::certificate(&mut fields, defaults.compat);
            diagnostics.append(&mut fields.finish());
            unit
        }
        other => {
            let problem = unknown_word(other, &["service", "certificate", "balancer"]);
            let diagnostic =
                Diagnostic::error("unknown-field", format!("unit {}", problem.message))
                    .at(entry.line, entry.column)
                    .for_field(other);
            diagnostics.push(Diagnostic {
                help: problem.help,
                ..diagnostic
            });
            None
        }
    }
}

/// In the order of the text, and no more than a person reads: ten thousand bad upstreams are one
/// mistake made ten thousand times.
fn sort_and_cap(diagnostics: &mut Vec<Diagnostic>) {
    const SHOWN: usize = 100;
    diagnostics.sort_by_key(|d| (d.line, d.column));
    if diagnostics.len() <= SHOWN {
        return;
    }
    // An error beyond the cut must not be lost: it is what refuses the unit.
    diagnostics.sort_by_key(|d| !d.is_error());
    let rest = diagnostics.split_off(SHOWN);
    diagnostics.sort_by_key(|d| (d.line, d.column));
    let message = format!("and {} more problems", rest.len());
    diagnostics.push(if rest.iter().any(Diagnostic::is_error) {
        Diagnostic::error("more", message)
    } else {
        Diagnostic::warning("more", message)
    });
}
