//! Services that lead nowhere and answer nothing: their upstreams and routes are gone, or not there yet, and
//! what is left was written for both.
//!
//! Without hosts and paths a service takes the requests of every host, and without a port a TCP service takes
//! Kontena's. That is meant where there are upstreams. A setting that somebody wrote beside an announced service,
//! and that stays when the agent goes, does not mean it.

use super::drain::DRAIN;
use super::fields::Fields;
use super::unit::{HttpRoutes, Mode, Policy, Service};
use crate::diag::Diagnostic;
use crate::rules::RequestAction;
use crate::yaml::{Entry, Value};

/// That nothing is to become of a service, and what is told of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Idle {
    /// `None` where all is as it should be.
    pub(super) told: Option<Diagnostic>,
}

pub(super) fn idle(fields: &Fields<'_>, entry: &Entry, service: &Service) -> Option<Idle> {
    if !service.upstreams.is_empty() {
        return None;
    }
    let (is_idle, what, help) = match &service.mode {
        Mode::Http(routes) => (
            !has_route(fields, routes) && !has_answer(service.policy.as_deref()),
            "no upstream, host or path, and would take the requests of every unknown host",
            "write upstreams, virtual_hosts or virtual_path; remove the keys if the service is gone for good",
        ),
        Mode::Tcp { .. } => (
            !fields.is_set("external_port"),
            "neither an upstream nor external_port, and would take a port that it does not name",
            "write upstreams or external_port; remove the keys if the service is gone for good",
        ),
    };
    if !is_idle {
        return None;
    }
    let written = written(entry);
    // Who is drained may come again, and the key is as it should be.
    let said = written.iter().find(|field| field.name != DRAIN);
    let told = said.map(|said| {
        let names: Vec<&str> = written.iter().map(|field| field.name.as_str()).collect();
        let message = format!(
            "the service is left out: it has {what}; it says only {}",
            names.join(", ")
        );
        Diagnostic::warning("idle-service", message)
            .at(said.line, said.column)
            .for_field(&said.name)
            .help(help)
    });
    Some(Idle { told })
}

fn has_route(fields: &Fields<'_>, routes: &HttpRoutes) -> bool {
    !routes.hosts.is_empty()
        || routes.host_regex.is_some()
        || fields.is_set("virtual_path")
        || routes.condition.is_some()
        || routes.is_default
        || routes.passthrough.is_some()
        || !routes.redirected.is_empty()
}

/// Whether every request gets an answer that needs no upstream. A rule with a condition is one of those that are
/// written beside upstreams.
fn has_answer(policy: Option<&Policy>) -> bool {
    let Some(policy) = policy else {
        return false;
    };
    let answers = |action: &RequestAction| {
        matches!(
            action,
            RequestAction::Deny { .. } | RequestAction::Redirect(_) | RequestAction::Answer(_)
        )
    };
    let rules = &policy.rules;
    policy.maintenance.is_some()
        || policy.redirects.is_some()
        || rules.redirects.iter().any(|rule| rule.when.is_none())
        || rules
            .request
            .iter()
            .any(|rule| rule.when.is_none() && answers(&rule.action))
}

/// The fields that came from keys.
fn written(entry: &Entry) -> Vec<&Entry> {
    let Value::Map(fields) = &entry.node.value else {
        return Vec::new();
    };
    let is_own = |field: &&Entry| !["name", "mode"].contains(&field.name.as_str());
    fields.iter().filter(is_own).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Balancer, Unit, parse};

    /// The warnings of a service that is left out; `None`: it is none.
    fn left_out(lines: &str) -> Option<Vec<String>> {
        let text = format!("service:\n  name: web\n{lines}");
        let accepted = parse(&"services/web".into(), &text, &Balancer::default());
        let accepted = accepted.unwrap().for_serving();
        let told = accepted.warnings.iter().map(ToString::to_string).collect();
        (accepted.unit == Unit::Ignored).then_some(told)
    }

    #[test]
    fn what_stays_of_a_service_whose_upstreams_are_gone_takes_nobodys_requests() {
        for lines in [
            "  timeout_server: 5s\n",
            "  upstreams:\n  balance: source\n",
            "  priority: 5\n  default: \"false\"\n  maintenance: \"off\"\n",
            "  force_ssl: \"true\"\n",
            "  custom_settings: http-request deny if { path /x }\n",
            "  virtual_hosts: \"\"\n  virtual_path: \"\"\n",
            "  mode: tcp\n  timeout_server: 5s\n",
        ] {
            let told = left_out(lines).unwrap_or_else(|| panic!("{lines} takes all"));
            assert!(told[0].contains("the service is left out"), "{told:?}");
        }
        let told = left_out("  timeout_server: 5s\n  retries: 1\n").unwrap();
        assert!(
            told[0].contains("says only timeout_server, retries"),
            "{told:?}"
        );
        assert_eq!(left_out("  drain: a\n"), Some(Vec::new()));
        assert_eq!(left_out("  drain: \"\"\n"), Some(Vec::new()));
        assert_eq!(left_out(""), Some(Vec::new()), "nothing is said at all");
    }

    #[test]
    fn routes_ports_and_answers_stay_without_upstreams_and_upstreams_without_routes() {
        for lines in [
            "  upstreams: {a: '10.0.0.1:80'}\n",
            "  virtual_hosts: www.test\n",
            "  virtual_host_regex: www\n",
            "  virtual_path: /\n",
            "  match: \"{ path /x }\"\n",
            "  default: \"true\"\n",
            "  redirects: \"http://a.test,https://b.test\"\n",
            "  maintenance: \"true\"\n",
            "  maintenance: \"10.0.0.1:80\"\n",
            "  custom_settings: http-request return status 200\n",
            "  ssl_passthrough: unknown\n",
            "  mode: tcp\n  external_port: 5432\n",
            "  mode: tcp\n  upstreams: {a: '10.0.0.1:80'}\n",
        ] {
            assert_eq!(left_out(lines), None, "{lines}");
        }
    }
}
