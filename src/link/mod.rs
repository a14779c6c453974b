//! Linking: what a container says about itself, in one of several dialects, as keys of a service.
//!
//! [`read`] takes the [`Facts`] of one container and gives a [`Said`]: the services it announces
//! itself for, each with keys and one upstream, and all problems at once. [`merge`] makes one
//! service of all its members. Both are pure: no sockets, files, clocks or tasks.
//!
//! - `lb`: `LB_*` and `KONTENA_LB_*`. `interlock`: `com.docker.lb.*`. `rancher`: Traefik 1 as Rancher had it.
//!   `traefik`: versions 2 and 3. `nginx_proxy`: `VIRTUAL_HOST` and its kin. Each has its table, and
//!   `docs/linking.md` has them side by side.
//! - `place`: in which network, and at which address. `limits`: what is too much.
//!
//! A container speaks one dialect: the first of that order in which it says anything. Values are not judged here
//! but where keys are; here it is decided which key a word is. A word that means nothing here is a
//! warning that names it, and one without which a service would be open to more clients than it says
//! is an error: the container is not announced then.

mod draft;
mod facts;
mod interlock;
mod lb;
mod limits;
mod merge;
mod nginx_proxy;
mod place;
mod rancher;
mod rewrite;
#[cfg(test)]
mod tests;
mod traefik;

use std::collections::BTreeMap;

use crate::diag::Diagnostic;

pub use facts::{Facts, Ground, Kind, Port, Reach, Standing};
pub use lb::SERVICE_KEYS;
pub use merge::merge;

/// What one container says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub services: Vec<Announced>,
    /// In the order in which they were met. Each begins with the container's name.
    pub problems: Vec<Diagnostic>,
}

/// One service as one of its members describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// `services/web` or `tcp-services/db`.
    pub dir: String,
    /// By the name below that directory.
    pub keys: BTreeMap<String, Setting>,
    /// The value of `upstreams/<name of the container>`: its address, and its weight if one is said.
    pub upstream: String,
    /// Services that claim this are one, in dialects where two with the same hosts share the requests.
    pub shares: Option<String>,
}

/// A value, and the variable or label that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub from: String,
}

type Dialect = fn(&Facts, &Ground) -> Option<Said>;

/// The dialects in the order in which they are asked. Each gives `None` if the container does not speak it.
const DIALECTS: [(&str, Dialect); 5] = [
    ("LB_*", lb::read),
    ("com.docker.lb.*", interlock::read),
    ("traefik.http.* and traefik.tcp.*", traefik::read),
    ("traefik.*", rancher::read),
    ("VIRTUAL_HOST", nginx_proxy::read),
];

/// What a container says, for a balancer that stands on `ground`.
pub fn read(facts: &Facts, ground: &Ground) -> Said {
    if lb::is_balancer(facts) || !is_linked(facts, ground) {
        return Said::default();
    }
    if let Some(problem) = limits::too_much(facts) {
        return Said {
            services: Vec::new(),
            problems: vec![problem],
        };
    }
    let mut spoken = DIALECTS
        .iter()
        .filter_map(|(name, read)| Some((name, read(facts, ground)?)));
    let Some((first, mut said)) = spoken.next() else {
        return Said {
            services: Vec::new(),
            problems: lb::misspelt(facts)
                .into_iter()
                .chain(interlock::older(facts))
                .collect(),
        };
    };
    for (other, _) in spoken {
        let message = format!("{}: {other} is not read: it has {first} too", facts.name);
        said.problems
            .push(Diagnostic::warning("two-dialects", message).help("remove one of the two"));
    }
    limits::bound(&mut said.problems, facts);
    said
}

/// Whether it is meant for this balancer. Where no link is asked for, all are.
fn is_linked(facts: &Facts, ground: &Ground) -> bool {
    let Some(wanted) = &ground.link else {
        return true;
    };
    lb::links(facts).any(|link| link == wanted)
}
