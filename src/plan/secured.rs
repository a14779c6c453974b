//! How connections to one upstream are secured, and what of it outlives plans.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::config::{self, Mode, UpstreamTls};
use crate::plan::Service;
use crate::plan::expand::Expanded;

/// Of one upstream. Passes from plan to plan as long as nothing that it says changes, and with it the
/// tickets of its sessions and the connections that are open.
#[derive(Debug)]
pub struct Secured {
    /// No other has had it in this process: a connection that was made by one is never used for another.
    pub id: NonZeroU64,
    pub settings: Arc<UpstreamTls>,
    /// Whom the upstream has to be.
    pub name: ServerName<'static>,
    /// Whether HTTP is spoken inside, which is told in the handshake.
    pub speaks_http: bool,
    /// Made by whoever connects first: most of ten thousand upstreams may never be connected by TLS.
    pub traffic: OnceLock<Arc<ClientConfig>>,
    /// Health checks have tickets of their own, or they would use up those of the traffic.
    pub checks: OnceLock<Arc<ClientConfig>>,
}

impl Secured {
    fn new(settings: Arc<UpstreamTls>, name: ServerName<'static>, speaks_http: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            // It does not come round in five hundred years.
            id: NonZeroU64::new(NEXT.fetch_add(1, Relaxed)).unwrap_or(NonZeroU64::MAX),
            name,
            settings,
            speaks_http,
            traffic: OnceLock::new(),
            checks: OnceLock::new(),
        }
    }

    /// One for each upstream in order; none where connections are plain.
    pub(super) fn of_all(
        config: &config::Service,
        members: &[Expanded],
        before: Option<&Service>,
    ) -> Box<[Arc<Self>]> {
        let Some(settings) = &config.upstream_tls else {
            return Box::default();
        };
        let speaks_http = matches!(config.mode, Mode::Http(_));
        // A change of anything else leaves them as they are.
        let before = before.filter(|b| {
            b.config.upstream_tls.as_ref() == Some(settings)
                && matches!(b.config.mode, Mode::Http(_)) == speaks_http
        });
        let known = |member: &Expanded, name: &ServerName<'_>| {
            let before = before?;
            let at = before.place(&member.name)?;
            let is_same = before.members[at].address == member.address;
            let known = before.secured(at).filter(|_| is_same)?;
            (known.name == *name).then(|| known.clone())
        };
        let all = members.iter().map(|member| {
            let name = settings.name.clone();
            let name = name.unwrap_or_else(|| own_name(member));
            known(member, &name)
                .unwrap_or_else(|| Arc::new(Self::new(settings.clone(), name, speaks_http)))
        });
        all.collect()
    }
}

/// What its key says: a name, or an address.
fn own_name(member: &Expanded) -> ServerName<'static> {
    let written = member.server_name.as_ref();
    let named = written.and_then(|name| ServerName::try_from(name.as_str().to_owned()).ok());
    named.unwrap_or_else(|| ServerName::IpAddress(member.address.ip().to_canonical().into()))
}

#[cfg(test)]
mod tests {
    use crate::config::{Balancer, Unit, parse};
    use crate::plan::Plan;
    use crate::tls::tests::certs::Authority;

    const UNIT: &str = "services/web";

    /// The identities of a service's upstreams, in order.
    fn ids(plan: &Plan) -> Vec<Option<u64>> {
        let service = plan.service(&UNIT.into()).unwrap();
        let all = 0..service.members.len();
        all.map(|at| service.secured(at).map(|secured| secured.id.get()))
            .collect()
    }

    fn with(plan: &Plan, lines: &str) -> Plan {
        let text = format!("service:\n  name: web\n{lines}");
        let accepted = parse(&UNIT.into(), &text, &Balancer::default()).unwrap();
        let Unit::Service(service) = accepted.unit else {
            unreachable!()
        };
        plan.with(vec![(UNIT.into(), Some(Unit::Service(service)))])
    }

    fn block(pem: &str) -> String {
        pem.lines().map(|line| format!("    {line}\n")).collect()
    }

    #[test]
    fn they_stay_until_something_of_tls_or_the_address_changes() {
        let (one, two) = (Authority::root("one").pem(), Authority::root("two").pem());
        let tls = |ca: &str, more: &str, upstreams: &str| {
            let ca = block(ca);
            format!(
                "  upstream_tls: true\n  upstream_tls_ca: |\n{ca}{more}  upstreams: {{{upstreams}}}\n"
            )
        };
        let a_b = "a: '10.0.0.1:1', b: '10.0.0.2:1'";
        let first = with(&Plan::new(Balancer::default()), &tls(&one, "", a_b));
        let [Some(a), Some(b)] = ids(&first)[..] else {
            panic!("{:?}", ids(&first))
        };
        assert_ne!(a, b);
        let name = |plan: &Plan, at: usize| {
            let service = plan.service(&UNIT.into()).unwrap();
            service.secured(at).unwrap().name.to_str().into_owned()
        };
        assert_eq!(
            (name(&first, 0), name(&first, 1)),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );

        let balanced = with(&first, &tls(&one, "  balance: source\n", a_b));
        assert_eq!(ids(&balanced), [Some(a), Some(b)]);
        // What stands between certificates says nothing.
        let spoken = format!("the first\n{one}");
        assert_eq!(
            ids(&with(&balanced, &tls(&spoken, "", a_b))),
            [Some(a), Some(b)]
        );
        let moved = with(
            &first,
            &tls(
                &one,
                "",
                "a: '10.0.0.3:1', b: '10.0.0.2:1', c: '10.0.0.1:1'",
            ),
        );
        let [Some(moved_a), Some(same_b), Some(c)] = ids(&moved)[..] else {
            panic!("{:?}", ids(&moved))
        };
        assert_eq!(same_b, b);
        assert!(![a, b].contains(&moved_a) && ![a, b, moved_a].contains(&c));

        for other in [
            tls(&two, "", a_b),
            tls(&(one.clone() + &two), "", a_b),
            tls(&one, "  upstream_tls_name: app.test\n", a_b),
            tls(&one, "  upstream_tls_verify: none\n", a_b),
            tls(&one, "  mode: tcp\n", a_b),
        ] {
            let changed = ids(&with(&first, &other));
            assert!(
                changed.iter().all(|id| *id != Some(a) && *id != Some(b)),
                "{other}"
            );
            assert!(changed.iter().all(Option::is_some));
        }
        let plain = with(&first, &format!("  upstreams: {{{a_b}}}\n"));
        assert_eq!(ids(&plain), [None, None]);
    }
}
