//! What agents may say.
//!
//! Whoever may write below `agents/AGENT/` can announce any host and port, as whoever may start a container can. It
//! cannot speak for the upstreams of another host, drain them, or take over a service whose routes somebody wrote.

use crate::diag::{Diagnostic, quoted};
use crate::names::is_service_name;
use crate::snapshot::Snapshot;

/// What may be announced. Settings and certificates hold for a whole balancer and are nobody's on one host.
const MAY: [&str; 2] = ["services/", "tcp-services/"];

/// Keys by which clients come to a service. Whoever writes one of them makes the service.
const ROUTES: [&str; 8] = [
    "default",
    "external_port",
    "match",
    "redirects",
    "ssl_passthrough",
    "virtual_host_regex",
    "virtual_hosts",
    "virtual_path",
];

/// Keys by which such a service would be another one: where its requests go, and before whom it gets them.
/// With what they begin.
const TURNS: [&str; 8] = [
    "custom_settings",
    "default",
    "maintenance",
    "match",
    "priority",
    "redirects",
    "ssl_passthrough",
    "upstream_tls",
];

/// A key that keeps clients out, and those that say how. Who writes any of them beside agents says how: what an agent
/// says of it could be less. The key itself is taken all the same: left out it would let in whom it keeps out.
const BARS: [(&str, &[&str]); 4] = [
    (
        "basic_auth_secrets",
        &["basic_auth_forward", "basic_auth_realm"],
    ),
    ("force_ssl", &["force_ssl_code", "force_ssl_port"]),
    ("ssl_client_ca", &["ssl_client_verify"]),
    (
        "upstream_tls",
        &[
            "upstream_tls_ca",
            "upstream_tls_certificate",
            "upstream_tls_name",
            "upstream_tls_verify",
        ],
    ),
];

/// The agent and the path that a key below `agents/` says, or why it is not taken, whatever else is written.
pub(super) fn judge(below: &str) -> Result<(&str, &str), Box<Diagnostic>> {
    let said = below.split_once('/');
    let read = said.and_then(|(agent, path)| Some((agent, path, Path::new(path)?)));
    let Some((agent, path, read)) = read else {
        let help = "agents/AGENT/services/... and agents/AGENT/tcp-services/... are read; write what holds for all beside agents/";
        return Err(left_out(
            "an agent announces services and nothing else",
            help,
        ));
    };
    if !is_service_name(read.service) {
        let why = format!("{} cannot be the name of a service", quoted(read.service));
        let help = "names have at most 200 visible ASCII characters, without slash, quotes, backslash and any of * ? [ ] { }";
        return Err(left_out(&why, help));
    }
    if read.key == "drain" || read.key.starts_with("drain/") {
        let help = "write drain at services/NAME/drain, as pointsman drain does";
        return Err(left_out("no agent drains what others announce", help));
    }
    if let Some(name) = read.key.strip_prefix("upstreams/") {
        let own = name.strip_suffix(agent);
        if !own.is_some_and(|own| own.ends_with('.')) {
            let why = format!("the name of an upstream of agent {agent} ends in .{agent}");
            return Err(left_out(
                &why,
                "pointsman agent and pointsman exec call them so",
            ));
        }
    }
    Ok((agent, path))
}

fn left_out(why: &str, help: &str) -> Box<Diagnostic> {
    let problem = Diagnostic::warning("not-announced", format!("key is left out: {why}"));
    Box::new(problem.help(help))
}

/// A key in the directory of a service.
pub(super) struct Path<'a> {
    /// With a slash at its end.
    dir: &'a str,
    service: &'a str,
    key: &'a str,
}

impl<'a> Path<'a> {
    pub(super) fn new(path: &'a str) -> Option<Self> {
        let below = MAY.iter().find_map(|dir| path.strip_prefix(dir))?;
        let (service, key) = below.split_once('/')?;
        let dir = &path[..path.len() - key.len()];
        Some(Self { dir, service, key })
    }

    pub(super) fn dir(&self) -> &'a str {
        self.dir
    }

    /// Whether others are taken or not as it is written beside agents.
    pub(super) fn is_guard(&self) -> bool {
        let is_bar = |(bar, how): &(&str, &[&str])| *bar == self.key || how.contains(&self.key);
        ROUTES.contains(&self.key) || BARS.iter().any(is_bar)
    }

    /// Whether it is taken or not as others are written.
    pub(super) fn is_guarded(&self) -> bool {
        self.turns() || self.bar().is_some()
    }

    /// The key that is written beside agents, because of which it is not taken from them.
    pub(super) fn guard(&self, raw: &Snapshot) -> Option<String> {
        let routes: &[&str] = match self.turns() {
            true => &ROUTES,
            false => &[],
        };
        let (bar, how) = self.bar().unzip();
        let mut keys = routes
            .iter()
            .chain(bar)
            .chain(how.copied().into_iter().flatten())
            .map(|key| format!("{}{key}", self.dir));
        keys.find(|key| raw.get(key).is_some())
    }

    fn turns(&self) -> bool {
        TURNS.iter().any(|turn| self.key.starts_with(turn))
    }

    /// What it says more of, if it is of that kind.
    fn bar(&self) -> Option<(&'static &'static str, &'static &'static [&'static str])> {
        let of = BARS.iter().find(|(_, how)| how.contains(&self.key));
        of.map(|(bar, how)| (bar, how))
    }
}
