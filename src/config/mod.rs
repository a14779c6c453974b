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
mod ciphers;
mod client_auth;
mod closed;
mod custom;
mod dns;
mod drain;
mod fields;
mod front;
pub mod haproxy;
mod headers;
mod host_regex;
mod idle;
mod info;
mod pages;
mod policy;
mod proxy_protocol;
mod redirects;
mod routes;
mod secure;
mod service;
mod stats_password;
mod sticky;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_policy;
mod unit;
mod upstream;
mod upstream_tls;
pub mod values;

pub use access::Access;
pub use auth::{BasicAuth, User, Users};
pub use balancer::BALANCER_FIELDS;
pub use certificate::{CERTIFICATE_FIELDS, Certificate};
pub use client_auth::ClientAuth;
pub use closed::{Asks, closed, in_place_of, marked_closed};
pub use fields::name as read_name;
pub use front::{Front, Stats, StatsUsers};
pub use headers::HostHeader;
pub use pages::{ErrorPage, ErrorPages, PAGE_STATUSES};
pub use redirects::Redirects;
pub use secure::{ForceCode, Hsts, Secure};
pub use service::SERVICE_FIELDS;
pub use stats_password::{STATS_USER, StatsPassword};
pub use sticky::{CookieMode, CookieValue, Sticky, StickyCookie, directive};
pub use unit::*;
pub use upstream::upstream as read_upstream;
pub use upstream_tls::UpstreamTls;

use crate::diag::{Diagnostic, quoted};
use crate::names::UnitName;
use crate::yaml::{self, Entry, Limits, Value};
use fields::Fields;
use idle::Idle;
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
    idle: Option<Idle>,
}

impl Accepted {
    /// The same for whoever serves: a service that leads nowhere and answers nothing is ignored, with a warning.
    #[must_use]
    pub fn for_serving(mut self) -> Accepted {
        if let Some(idle) = self.idle.take() {
            self.unit = Unit::Ignored;
            self.warnings.extend(idle.told);
        }
        self
    }
}

/// The unit that `text` describes, or everything that is wrong with it (warnings included), in the
/// order of the text. `defaults` is the balancer as the command line made it: the `balancer` unit
/// overrides its fields, and the others look only at its `compat`.
pub fn parse(
    unit: &UnitName,
    text: &str,
    defaults: &Balancer,
) -> Result<Accepted, Vec<Diagnostic>> {
    let (checked, idle, mut diagnostics) = read(unit, text, defaults);
    if closed::is_marked(text) {
        let refused = Diagnostic::error("closed", "another text that asks who comes was refused");
        let help = "put that one right, or remove what asks for authentication";
        diagnostics.push(refused.in_unit(unit).help(help));
    }
    sort_and_cap(&mut diagnostics);
    match checked {
        Some(unit) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(Accepted {
            unit,
            warnings: diagnostics,
            idle,
        }),
        _ => Err(diagnostics),
    }
}

/// What could be read, though something may be wrong with it.
fn read(
    unit: &UnitName,
    text: &str,
    defaults: &Balancer,
) -> (Option<Unit>, Option<Idle>, Vec<Diagnostic>) {
    let mut idle = None;
    let document = yaml::parse(text, LIMITS);
    let mut diagnostics = document.diagnostics;
    let form = document
        .root
        .and_then(|root| top(&root, &mut diagnostics, &mut idle, defaults));
    let told = idle.iter_mut().flat_map(|idle: &mut Idle| &mut idle.told);
    for diagnostic in diagnostics.iter_mut().chain(told) {
        diagnostic.unit = unit.to_string();
    }
    (form, idle, diagnostics)
}

fn top(
    root: &yaml::Node,
    diagnostics: &mut Vec<Diagnostic>,
    idle: &mut Option<Idle>,
    defaults: &Balancer,
) -> Option<Unit> {
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
        unit = one(entry, diagnostics, idle, defaults);
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

fn one(
    entry: &Entry,
    diagnostics: &mut Vec<Diagnostic>,
    idle: &mut Option<Idle>,
    defaults: &Balancer,
) -> Option<Unit> {
    match entry.name.as_str() {
        "service" => {
            let mut fields = Fields::new(entry, SERVICE_FIELDS);
            let service = service::service(&mut fields, defaults.compat);
            *idle = service
                .as_ref()
                .and_then(|service| idle::idle(&fields, entry, service));
            diagnostics.append(&mut without_misplaced_pem(entry, fields.finish()));
            service.map(Unit::Service)
        }
        "balancer" => {
            let mut fields = Fields::new(entry, BALANCER_FIELDS);
            let balancer = balancer::balancer(&mut fields, defaults);
            diagnostics.append(&mut without_misplaced_pem(entry, fields.finish()));
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

/// Fields with PEM in them. What is wrong there is told without a line of it.
const PEM_FIELDS: &[&str] = &[
    "ssl_client_ca",
    "upstream_tls_ca",
    "upstream_tls_certificate",
];

/// A private key in a field that is none of those would be shown by what is told of its value, line by line or in
/// pieces: one problem stands for all of them.
fn without_misplaced_pem(entry: &Entry, mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let Value::Map(fields) = &entry.node.value else {
        return diagnostics;
    };
    let misplaced =
        |field: &&Entry| !PEM_FIELDS.contains(&field.name.as_str()) && has_pem(&field.node.value);
    for field in fields.iter().filter(misplaced) {
        let name = &field.name;
        let is_of_it = |d: &Diagnostic| {
            let of = d.field.as_deref().unwrap_or_default();
            let rest = of.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        diagnostics.retain(|d| !is_of_it(d));
        diagnostics.push(
            Diagnostic::error("misplaced-pem", format!("{name} has a PEM block in it"))
                .at(field.node.line, field.node.column)
                .for_field(name)
                .help("certificates and keys are keys of their own, certs/<name>; take it out"),
        );
    }
    diagnostics
}

fn has_pem(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Scalar(text) => text.contains("-----BEGIN"),
        Value::List(nodes) => nodes.iter().any(|node| has_pem(&node.value)),
        Value::Map(entries) => entries.iter().any(|entry| has_pem(&entry.node.value)),
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
