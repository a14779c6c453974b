//! What a service does to requests besides leading them on, put together from its keys.

use super::balancer::body_size;
use super::custom;
use super::fields::Fields;
use super::haproxy::Settings;
use super::secure::Secure;
use super::unit::{Address, Compat, HttpRoutes, Maintenance, Policy};
use super::upstream::upstream;
use super::values::{self, Problem};
use super::{access, headers, pages, redirects, sticky};
use crate::rules::{AnswerRule, RequestAction, RequestRule};

/// Notes in `routes` what has to lead here for the policy to be asked.
pub(super) fn http(
    fields: &mut Fields<'_>,
    routes: &mut HttpRoutes,
    compat: Compat,
    lines: Settings,
) -> Policy {
    let mut policy = tcp(fields);
    let own = sticky::sticky(fields, compat);
    policy.sticky = custom::sticky(fields, own, lines.sticky);
    // What the keys set stands: their rules come last.
    policy.rules = lines.rules;
    policy.redirects = redirects::redirects(fields);
    if let Some(redirects) = &policy.redirects {
        let redirected = redirects.routes().map(|(h, p)| (h.clone(), p.to_owned()));
        routes.redirected = redirected.collect();
        routes.redirected.sort();
        routes.redirected.dedup();
    }
    policy.secure = Secure::read(fields, Secure::default());
    for edit in headers::edits(fields, "request_headers") {
        let action = RequestAction::Field(edit);
        policy
            .rules
            .request
            .push(RequestRule { action, when: None });
    }
    for edit in headers::edits(fields, "response_headers") {
        policy.rules.answer.push(AnswerRule { edit, when: None });
    }
    policy.host_header = fields
        .read("pass_host_header", headers::host_header)
        .unwrap_or_default();
    policy.max_body_size = fields
        .read("max_body_size", body_size)
        .map(|size| size.unwrap_or(u64::MAX));
    policy.maintenance = fields.read("maintenance", maintenance).flatten();
    policy.error_pages = pages::error_pages(fields, None, lines.error_files);
    policy
}

pub(super) fn tcp(fields: &mut Fields<'_>) -> Policy {
    Policy {
        access: access::access(fields),
        ..Policy::default()
    }
}

fn maintenance(text: &str) -> Result<Option<Maintenance>, Problem> {
    match values::boolean(text) {
        Ok(false) => return Ok(None),
        Ok(true) => return Ok(Some(Maintenance::Closed)),
        Err(_) if !text.contains([':', '.']) => {
            return Err(Problem::new(
                format!("{} is neither true nor false", crate::diag::quoted(text)),
                "write true, false, or the address of an upstream that stands in: 10.0.0.1:80",
            ));
        }
        Err(_) => {}
    }
    if text.contains(char::is_whitespace) {
        return Err(Problem::new(
            format!("{} is more than an address", crate::diag::quoted(text)),
            "one upstream stands in, which needs no weight: write address and port alone",
        ));
    }
    match upstream(text)?.0 {
        Address::At(address) => Ok(Some(Maintenance::At(address))),
        Address::Named(..) | Address::Srv(_) => Err(Problem::new(
            format!("{} is a name", crate::diag::quoted(text)),
            "one upstream stands in: write its address and port",
        )),
    }
}
