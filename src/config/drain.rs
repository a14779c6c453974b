//! `drain`: upstreams that get nothing new, by name.
//!
//! A key of its own beside the upstreams: it holds for those that containers announce too, however often they
//! come and go. A name that nobody has says nothing.

use super::fields::{Fields, name};
use super::service::UPSTREAMS_PER_SERVICE;
use super::unit::Upstream;

pub(super) const DRAIN: &str = "drain";

/// Gives those that are named the weight 0. `upstreams` are in name order.
pub(super) fn drain(fields: &mut Fields<'_>, upstreams: &mut [Upstream]) {
    for written in fields.items(DRAIN, UPSTREAMS_PER_SERVICE) {
        match name(written.text) {
            Ok(drained) => {
                let place = upstreams.binary_search_by(|u| u.name.as_str().cmp(drained));
                if let Ok(place) = place {
                    upstreams[place].weight = 0;
                }
            }
            Err(problem) => fields.refuse(DRAIN, written, &problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Balancer, Unit, parse};

    fn weights(text: &str) -> Result<Vec<(String, u16)>, String> {
        let whole = format!("service:\n  name: web\n{text}");
        match parse(&"services/web".into(), &whole, &Balancer::default()) {
            Ok(accepted) if !accepted.warnings.is_empty() => {
                panic!("{:?}", accepted.warnings)
            }
            Ok(accepted) => match accepted.unit {
                Unit::Service(service) => {
                    let upstreams = service.upstreams.iter();
                    let weights = upstreams.map(|u| (u.name.to_string(), u.weight));
                    Ok(weights.collect())
                }
                Unit::Ignored => Err("ignored".to_owned()),
                other => panic!("{other:?}"),
            },
            Err(problems) => Err(problems[0].to_string()),
        }
    }

    const UPSTREAMS: &str = "  upstreams:\n    a: 10.0.0.1:80 weight=5\n    b: app.internal:80\n    \
                             c: srv:_http._tcp.app.internal\n";

    #[test]
    fn drained_upstreams_weigh_nothing_and_strangers_do_no_harm() {
        let with = |drain: &str| {
            let weights = weights(&format!("{UPSTREAMS}  drain: {drain}\n"));
            let weights = weights.map(|all| all.iter().map(|(_, w)| *w).collect::<Vec<_>>());
            weights.unwrap()
        };
        assert_eq!(with("\"\""), [5, 1, 1]);
        assert_eq!(with("a, c"), [0, 1, 0]);
        assert_eq!(with("[b, gone, b]"), [5, 0, 1]);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let told = weights(&format!("{UPSTREAMS}  drain: a,,b\n")).unwrap_err();
        assert!(
            told.contains("drain \"\" is no name; it cannot be empty"),
            "{told}"
        );
        let told = weights("  drain: ../x\n").unwrap_err();
        assert!(told.contains("'/' cannot be in it"), "{told}");
    }
}
