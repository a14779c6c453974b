//! `show stat`, and `;csv`: a line for each listener, service and upstream.

use super::columns::{Row, header};
use super::figures::{self, HTTP_IN, HTTP_IN_ID, Kind, Standing};
use super::proxies::{Proxy, proxies};
use crate::admin::Views;
use crate::admin::sampler::Samples;

/// Which lines are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) of: Of,
    /// A bit for each [`Kind`].
    pub(super) kinds: u8,
    pub(super) sid: Option<u32>,
    pub(super) only: Only,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    All,
    Id(u32),
    Name(String),
}

/// Of upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    All,
    Up,
    /// Those that are not in maintenance.
    Served,
}

impl Scope {
    pub(super) const ALL: Self = Self {
        of: Of::All,
        kinds: u8::MAX,
        sid: None,
        only: Only::All,
    };

    fn takes(&self, kind: Kind) -> bool {
        self.kinds & (1 << kind as u8) != 0
    }

    fn is_about(&self, name: &str, iid: u32) -> bool {
        match &self.of {
            Of::All => true,
            Of::Id(id) => *id == iid,
            Of::Name(wanted) => wanted == name,
        }
    }
}

/// `None`: no proxy is called so.
pub(super) fn csv(views: &Views, scope: &Scope) -> Option<String> {
    let generation = views.shared.published.current();
    let samples = views.sampler.samples();
    let plan = &generation.plan;
    let mut text = String::with_capacity(16 * 1024);
    header(&mut text);
    let mut is_there = scope.is_about(HTTP_IN, HTTP_IN_ID);
    if is_there && scope.takes(Kind::Frontend) {
        figures::http_in(&views.shared, plan, &samples).write(&mut text);
    }
    for proxy in proxies(plan) {
        if !scope.is_about(&proxy.name, proxy.iid) {
            continue;
        }
        is_there = true;
        of_proxy(&proxy, scope, &samples, |row| row.write(&mut text));
    }
    (is_there || !matches!(scope.of, Of::Name(_))).then_some(text)
}

fn of_proxy(proxy: &Proxy<'_>, scope: &Scope, samples: &Samples, mut write: impl FnMut(&Row<'_>)) {
    if scope.takes(Kind::Frontend) && proxy.service.tcp_port().is_some() {
        write(&figures::frontend(proxy, samples));
    }
    if scope.takes(Kind::Server) {
        for server in proxy.servers() {
            let standing = Standing::of(proxy.service, &server);
            let is_shown = match scope.only {
                Only::All => true,
                Only::Up => standing.is_up(),
                Only::Served => standing != Standing::Maint,
            };
            if is_shown && scope.sid.is_none_or(|sid| sid == server.sid) {
                write(&figures::server(proxy, &server, samples));
            }
        }
    }
    if scope.takes(Kind::Backend) {
        write(&figures::backend(proxy, samples));
    }
}
