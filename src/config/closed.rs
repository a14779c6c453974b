//! What is asked of clients who come to a refused service, and what stands in its place meanwhile.
//!
//! A service that says anything about who may come in, and is refused, must not be open instead: neither by an
//! older form that asked nobody, nor by another service that takes its requests because its own routes are gone.

use std::sync::Arc;

use super::client_auth::MARK;
use super::unit::{
    Balancer, CheckKind, HealthCheck, Maintenance, Mode, PathPattern, Policy, Service,
};
use super::{read, unit};
use crate::names::UnitName;

/// How much a service wants to know of who comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    #[default]
    Nothing,
    /// Who has a certificate may show it.
    ForMore,
    /// Nobody comes in otherwise.
    First,
}

/// Fields that lead requests to a service. One that cannot be read leaves open what it would have claimed.
const ROUTING: &[&str] = &[
    "name",
    "mode",
    "virtual_hosts",
    "virtual_host_regex",
    "virtual_path",
    "match",
    "priority",
    "default",
];

/// What a text begins with that was in force and must not be again: another one that asks who comes was refused.
const CLOSED: &str = "# closed: what came after it asks who comes, and was refused\n";

/// A text for the saved config, which [`closed`] makes a form of and [`parse`](super::parse) none.
pub fn marked_closed(text: &str) -> String {
    format!("{CLOSED}{text}")
}

pub(super) fn is_marked(text: &str) -> bool {
    text.starts_with(CLOSED)
}

impl Asks {
    /// What a unit's text says, be it right or wrong. Looks at the bare text, so that it is told of one that cannot be
    /// read too; a word too many closes a service that was refused, a word too few would leave it open.
    pub fn of_text(text: &str) -> Self {
        if is_marked(text) {
            return Self::First;
        }
        let text = text.to_ascii_lowercase();
        // Other programs' words too: whoever wrote them meant to ask.
        let others = text.replace("ssl_client_ca", "");
        let foreign = ["basic_auth", "client_ca", "verify_client"];
        if foreign.iter().any(|word| others.contains(word)) {
            return Self::First;
        }
        if !text.contains(MARK) {
            return Self::Nothing;
        }
        let is_end = |c: char| matches!(c, '\n' | ',' | '}');
        let said = text.split_once("ssl_client_verify");
        let said = said.and_then(|(_, rest)| rest.split(is_end).next());
        let said = said.map(|value| value.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
        match said {
            Some("optional") => Self::ForMore,
            _ => Self::First,
        }
    }
}

/// A refused service in a form that answers 503 to what its routes lead to it. `None`: it has none that could be read,
/// or is no HTTP service, whose port is closed when it is not there.
pub fn closed(unit: &UnitName, text: &str, defaults: &Balancer) -> Option<unit::Unit> {
    let (form, _, diagnostics) = read(unit, text, defaults);
    let Some(unit::Unit::Service(service)) = form else {
        return None;
    };
    if is_marked(text) {
        return in_place_of(service);
    }
    let is_read = !diagnostics.iter().any(|d| {
        let field = d.field.as_deref().unwrap_or_default();
        d.is_error() && ROUTING.contains(&field.split('.').next().unwrap_or_default())
    });
    let Mode::Http(routes) = &service.mode else {
        return None;
    };
    // One that names nothing of its own yet, because its keys come one by one, would take everything that nobody
    // else names from whoever has it.
    let whole = PathPattern::Prefix("/".to_owned());
    let names_something = !routes.hosts.is_empty()
        || routes.host_regex.is_some()
        || routes.paths.iter().any(|path| *path != whole);
    (is_read && names_something)
        .then(|| in_place_of(service))
        .flatten()
}

/// The same of a form that was in force.
pub fn in_place_of(service: Service) -> Option<unit::Unit> {
    let Mode::Http(mut routes) = service.mode else {
        return None;
    };
    // Nobody reads the requests of a connection that goes through.
    routes.passthrough = None;
    let policy = Policy {
        maintenance: Some(Maintenance::Closed),
        ..Policy::default()
    };
    Some(unit::Unit::Service(Service {
        mode: Mode::Http(routes),
        upstreams: Vec::new(),
        health_check: HealthCheck {
            kind: CheckKind::Off,
            ..HealthCheck::default()
        },
        upstream_tls: None,
        policy: Some(Arc::new(policy)),
        ..service
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_asks_is_known_even_of_a_broken_one() {
        let check = |text: &str, asks: Asks| assert_eq!(Asks::of_text(text), asks, "{text}");
        check("service:\n  name: web\n", Asks::Nothing);
        check("service:\n  basic_auth_secrets: \"x", Asks::First);
        check("service: {name: web, \"basic_auth_realm\": x}", Asks::First);
        check("service:\n  ssl_client_ca: \"x\"\n", Asks::First);
        check("service:\n  ssl_client_caa: \"x\"\n", Asks::First);
        check("service:\n  client_ca: \"x\"\n", Asks::First);
        check("service:\n  ssl_verify_client: on\n", Asks::First);
        for optional in [
            "service:\n  ssl_client_ca: \"x\"\n  ssl_client_verify: \"optional\"\n",
            "service: {ssl_client_verify: Optional, ssl_client_ca: x}",
        ] {
            check(optional, Asks::ForMore);
            check(&optional.replace("tional", "tionally"), Asks::First);
            check(&format!("{optional}\n  basic_auth_realm: x"), Asks::First);
        }
    }

    #[test]
    fn what_could_be_read_of_its_routes_stays_claimed_and_nothing_else() {
        let of = |lines: &str| {
            let text = format!("service:\n  name: web\n{lines}");
            let closed = closed(&"services/web".into(), &text, &Balancer::default())?;
            let unit::Unit::Service(service) = closed else {
                panic!("{closed:?}")
            };
            let Mode::Http(routes) = service.mode else {
                panic!("{:?}", service.mode)
            };
            assert!(service.upstreams.is_empty());
            let policy = service.policy.expect("a policy");
            assert_eq!(policy.maintenance, Some(Maintenance::Closed));
            Some((routes.hosts.len(), routes.paths.len()))
        };
        let routes = "  virtual_hosts: a.test,b.test\n  virtual_path: /admin\n";
        let upstreams = "  upstreams: {a: '10.0.0.1:80'}\n";
        let bad = "  balance: leastcom\n  ssl_client_ca: garbage\n";
        assert_eq!(of(&format!("{routes}{upstreams}{bad}")), Some((2, 1)));
        assert_eq!(of(bad), None, "it names nothing yet");
        assert_eq!(of(&format!("  virtual_path: /x\n{bad}")), Some((0, 1)));
        assert_eq!(of(&format!("{routes}{bad}  match: nonsense\n")), None);
        assert_eq!(of("  virtual_hosts: 'a b'\n"), None);
        assert_eq!(of("  mode: tcp\n  basic_auth_realm: x\n"), None);
        assert_eq!(of("  nonsense: ["), None);
    }
}
