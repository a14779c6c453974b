//! Which services ask clients for certificates, by the names that lead to them.
//!
//! A handshake knows the name and nothing else, so it asks if any service may be met under that name. What
//! the certificate is worth at which service is decided when the request is there.

use std::sync::Arc;

use rustls::DistinguishedName;

use super::cow_map::CowMap;
use super::service::Service;
use crate::config::HostPattern;

/// More names of authorities are not sent: a client shows what it has.
const HINTS: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    exact: CowMap<Services>,
    /// By suffix with its dot: `.example.com`.
    wildcard: CowMap<Services>,
    /// Those that requests for any name may lead to, or names by pattern.
    others: Services,
    all: usize,
}

type Services = Arc<[Arc<Service>]>;

impl Asking {
    /// The authorities whose clients are wanted under a name, as a handshake names them; empty: any.
    /// `None`: nobody is asked.
    pub(super) fn hints(&self, server_name: Option<&str>) -> Option<Vec<DistinguishedName>> {
        if self.all == 0 {
            return None;
        }
        let Some(name) = server_name else {
            // It may turn out to be any host.
            return Some(Vec::new());
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let dots = memchr::memchr_iter(b'.', name.as_bytes()).filter(|dot| *dot > 0);
        let wild = dots.filter_map(|dot| self.wildcard.get(&name.as_bytes()[dot..]));
        let found = self.exact.get(name.as_bytes()).into_iter().chain(wild);
        let mut found = found
            .chain([&self.others])
            .flat_map(|s| s.iter())
            .peekable();
        found.peek()?;
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for service in found {
            let asked = service.client_auth().map(|auth| auth.clients.hints());
            for hint in asked.unwrap_or_default() {
                if hints.len() == HINTS {
                    return Some(Vec::new());
                }
                if !hints.iter().any(|known| known.as_ref() == hint.as_ref()) {
                    hints.push(hint.clone());
                }
            }
        }
        Some(hints)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// Notes or forgets a service. Costs its hosts.
    pub(super) fn edit(&mut self, service: &Arc<Service>, present: bool) {
        let (Some(routes), Some(_)) = (service.http_routes(), service.client_auth()) else {
            return;
        };
        match present {
            true => self.all += 1,
            false => self.all -= 1,
        }
        if routes.hosts.is_empty() || routes.is_default || routes.host_regex.is_some() {
            self.others = with(&self.others, service, present);
        }
        for host in &routes.hosts {
            let (map, key) = match host {
                HostPattern::Exact(name) => (&mut self.exact, name),
                HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            };
            let services = map.get(key.as_bytes()).cloned().unwrap_or_default();
            let services = with(&services, service, present);
            map.set(key.as_bytes(), (!services.is_empty()).then_some(services));
        }
    }
}

fn with(services: &Services, service: &Arc<Service>, present: bool) -> Services {
    let others = services.iter().filter(|other| other.unit != service.unit);
    let own = present.then_some(service);
    others.chain(own).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Accepted, Balancer, Unit, parse};
    use crate::plan::Plan;
    use crate::tls::tests::certs::Authority;

    /// A service whose clients are those of an authority of the same name.
    fn change(name: &str, fields: &str) -> crate::plan::Change {
        let ca = serde_json::Value::from(Authority::root(name).pem());
        let text = format!("service:\n  name: {name}\n  ssl_client_ca: {ca}\n{fields}");
        match parse(&name.into(), &text, &Balancer::default()) {
            Ok(Accepted {
                unit: unit @ Unit::Service(_),
                ..
            }) => (name.into(), Some(unit)),
            other => panic!("{other:?}"),
        }
    }

    fn asked(plan: &Plan, server_name: Option<&str>) -> Option<Vec<String>> {
        let hints = plan.client_hints(server_name)?;
        let name = |hint: &DistinguishedName| {
            let bytes = String::from_utf8_lossy(hint.as_ref()).into_owned();
            ["exact", "wild", "regex", "paths"]
                .into_iter()
                .find(|name| bytes.ends_with(name))
                .unwrap_or("?")
                .to_owned()
        };
        Some(hints.iter().map(name).collect())
    }

    #[test]
    fn a_name_is_asked_for_the_clients_of_all_that_it_may_lead_to() {
        let none = Plan::new(Balancer::default());
        assert_eq!(asked(&none, Some("a.test")), None);
        assert_eq!(asked(&none, None), None);
        let exact = change(
            "exact",
            "  virtual_hosts: a.test,b.a.test\n  virtual_path: /x\n",
        );
        let plan = none.with([exact.clone()]);
        assert_eq!(asked(&plan, Some("A.test.")), Some(vec!["exact".into()]));
        assert_eq!(asked(&plan, Some("c.test")), None);
        assert_eq!(asked(&plan, None), Some(vec![]), "whoever it will be for");
        let plan = plan.with([
            change("wild", "  virtual_hosts: '*.test'\n"),
            change("regex", "  virtual_host_regex: '^x'\n"),
        ]);
        let names = |plan: &Plan, name: &str| asked(plan, Some(name)).unwrap();
        assert_eq!(names(&plan, "b.a.test"), ["exact", "wild", "regex"]);
        assert_eq!(names(&plan, "c.d.test"), ["wild", "regex"]);
        assert_eq!(names(&plan, "other"), ["regex"]);
        let plan = plan.with([change("paths", "  virtual_path: /admin\n")]);
        assert_eq!(names(&plan, "other"), ["regex", "paths"]);
        // What goes, and what asks no more, is forgotten.
        let open = parse(
            &"wild".into(),
            "service:\n  name: wild\n  virtual_hosts: '*.test'\n",
            &Balancer::default(),
        );
        let open = open.map(|accepted| accepted.unit).unwrap();
        let plan = plan.with([
            ("wild".into(), Some(open)),
            ("regex".into(), None),
            ("paths".into(), None),
        ]);
        assert_eq!(names(&plan, "b.a.test"), ["exact"]);
        assert_eq!(asked(&plan, Some("c.test")), None);
        let plan = plan.with([("exact".into(), None)]);
        assert_eq!(asked(&plan, None), None);
    }
}
