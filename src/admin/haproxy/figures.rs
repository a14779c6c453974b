//! The one place where lines are filled in: which of our figures stands in which of HAProxy's columns.
//!
//! `docs/haproxy_tools.md` tells where a figure means something else than HAProxy's.

use std::sync::Arc;

use super::checks;
use super::columns::{Row, at};
use super::proxies::{Proxy, Server};
use crate::admin::sampler::{Samples, Spread};
use crate::admin::views::mode;
use crate::balance::{Health, Member, ServiceFigures, ServiceState, Share};
use crate::config::{CheckKind, Maintenance, Sticky};
use crate::plan::{Plan, Service};
use crate::proxy::{Shared, now_ms};

/// The HTTP listeners, HTTPS among them.
pub(super) const HTTP_IN: &str = "http-in";
pub(super) const HTTP_IN_ID: u32 = 1;

/// HAProxy's numbers of what a line is about; a filter has a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Frontend = 0,
    Backend = 1,
    Server = 2,
}

/// How an upstream stands, in HAProxy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Maint,
    Drain,
    NoCheck,
    /// Checks that failed lately, and how many take it down.
    Up(u32, u32),
    /// Checks that passed lately, and how many bring it up.
    Down(u32, u32),
}

impl Standing {
    pub(super) fn of(service: &Service, server: &Server<'_>) -> Self {
        let check = &service.config.health_check;
        let state = &server.member.state;
        let is_drained = server.member.weight == 0;
        match state.health() {
            _ if server.index.is_none() => Self::NoCheck,
            _ if maintenance(service).is_some() => Self::Maint,
            Health::Up if is_drained => Self::Drain,
            _ if check.kind == CheckKind::Off => Self::NoCheck,
            Health::Up => Self::Up(state.streak(), check.fall),
            Health::Starting | Health::Down => Self::Down(state.streak(), check.rise),
        }
    }

    /// Whether it is given what is new.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::NoCheck | Self::Up(..))
    }

    fn words(self) -> String {
        match self {
            Self::Maint => "MAINT".to_owned(),
            Self::Drain => "DRAIN".to_owned(),
            Self::NoCheck => "no check".to_owned(),
            Self::Up(0, _) => "UP".to_owned(),
            Self::Up(failed, fall) => format!("UP {}/{fall}", fall.saturating_sub(failed).max(1)),
            Self::Down(0, _) => "DOWN".to_owned(),
            Self::Down(passed, rise) => format!("DOWN {}/{rise}", passed.min(rise)),
        }
    }
}

pub(super) fn maintenance(service: &Service) -> Option<&Maintenance> {
    service.config.policy.as_deref()?.maintenance.as_ref()
}

/// Of the weight, while it warms up; in percent.
pub(super) fn throttle(service: &Service, member: &Member) -> Option<u64> {
    let is_warming = service.config.warm_up.is_some()
        && member.state.health() == Health::Up
        && member.state.share() < Share::FULL;
    is_warming.then(|| (member.state.share().part() * 100.0) as u64)
}

pub(super) fn http_in(shared: &Shared, plan: &Plan, samples: &Samples) -> Row<'static> {
    let mut row = of(HTTP_IN, "FRONTEND", Kind::Frontend, HTTP_IN_ID);
    let sums = shared.departed.http.with(sums(plan, false));
    let rates = services(plan, false).map(|service| samples.rates_of(service).requests);
    row.set(at::SCUR, shared.connections() as u64);
    row.set(at::SLIM, u64::from(plan.balancer().max_connections));
    row.set(at::EREQ, shared.rejected());
    row.set(at::STATUS, "OPEN");
    row.set(at::BIN, sums.bytes_up);
    row.set(at::BOUT, sums.bytes_down);
    row.set(at::REQ_RATE, whole(rates.sum()));
    row.set(at::REQ_TOT, sums.requests() + shared.rejected());
    classes(&mut row, sums.answers);
    row.set(at::MODE, "http");
    row
}

/// The port of a TCP service.
pub(super) fn frontend<'a>(proxy: &'a Proxy<'a>, samples: &Samples) -> Row<'a> {
    let service = proxy.service;
    let mut row = of(&proxy.name, "FRONTEND", Kind::Frontend, proxy.iid);
    let queued = service.state.gate.queued() as u64;
    let sums = service.figures();
    row.set(at::SCUR, sums.upstreams.in_flight + queued);
    row.set(at::SLIM, service.config.max_connections.map(u64::from));
    row.set(at::STOT, sums.flows_begun() + queued);
    row.set(at::DREQ, sums.turned_away);
    row.set(at::STATUS, "OPEN");
    row.set(at::REQ_TOT, 0);
    traffic(&mut row, service, samples);
    row.set(at::MODE, "tcp");
    row
}

pub(super) fn server<'a>(proxy: &'a Proxy<'a>, server: &Server<'a>, samples: &Samples) -> Row<'a> {
    let (service, member) = (proxy.service, server.member);
    let (state, check) = (&member.state, &service.config.health_check);
    let mut row = of(&proxy.name, member.name.as_str(), Kind::Server, proxy.iid);
    let is_own = server.index.is_some();
    row.set(at::QCUR, 0);
    row.set(at::SCUR, u64::from(state.in_flight()));
    row.set(at::STOT, state.served());
    row.set(at::ECON, state.connect_failures());
    row.set(at::STATUS, Standing::of(service, server).words());
    let throttle = throttle(service, member);
    let weight = u64::from(member.weight);
    row.set(at::WEIGHT, weight * throttle.unwrap_or(100) / 100);
    row.set(at::UWEIGHT, weight);
    row.set(at::ACT, u64::from(is_own));
    row.set(at::BCK, u64::from(!is_own));
    row.set(at::SID, u64::from(server.sid));
    row.set(at::THROTTLE, throttle);
    row.set(at::LBTOT, state.served());
    row.set(at::LASTCHG, seconds_since(state.since_ms()));
    let lately = samples.upstream(service, state.id());
    row.set(at::RATE, whole(lately.requests));
    times(&mut row, service, lately.spread);
    if let Some(index) = server.index {
        let pin = service.pin(index);
        row.set(at::COOKIE, (!pin.is_empty()).then_some(pin));
        let last = state.last_check();
        if let Some(found) = checks::read(check, &last) {
            row.set(at::CHECK_STATUS, found.status);
            row.set(at::CHECK_CODE, found.code);
            row.set(at::CHECK_DESC, found.description);
            row.set(at::LAST_CHK, String::from(last));
            row.set(at::CHKFAIL, state.failed_checks());
            row.set(at::CHKDOWN, state.downs());
            row.set(at::CHECK_RISE, u64::from(check.rise));
            row.set(at::CHECK_FALL, u64::from(check.fall));
            let health = checks::health(check, state.health(), state.streak());
            row.set(at::CHECK_HEALTH, health);
        }
    }
    row.set(at::ADDR, member.address.to_string());
    row.set(at::MODE, mode(service));
    row
}

pub(super) fn backend<'a>(proxy: &'a Proxy<'a>, samples: &Samples) -> Row<'a> {
    let service = proxy.service;
    let sums = service.figures();
    let mut row = of(&proxy.name, "BACKEND", Kind::Backend, proxy.iid);
    let (mut up, mut weight, mut standing_in) = (0, 0, 0);
    for server in proxy.servers() {
        match (Standing::of(service, &server).is_up(), server.index) {
            (_, None) => standing_in += 1,
            (true, Some(_)) => {
                up += 1;
                weight += u64::from(server.member.weight);
            }
            (false, Some(_)) => {}
        }
    }
    let status = match maintenance(service) {
        Some(Maintenance::Closed) => "MAINT",
        Some(Maintenance::At(_)) => "UP",
        None if up > 0 => "UP",
        None => "DOWN",
    };
    row.set(at::STATUS, status);
    row.set(at::ACT, up);
    row.set(at::BCK, standing_in);
    row.set(at::WEIGHT, weight);
    row.set(at::UWEIGHT, weight);
    row.set(at::QCUR, service.state.gate.queued() as u64);
    row.set(at::SCUR, sums.upstreams.in_flight);
    row.set(at::SLIM, service.config.max_connections.map(u64::from));
    row.set(at::STOT, begun(service, &sums));
    row.set(at::DREQ, sums.turned_away);
    row.set(at::ERESP, sums.failures);
    row.set(at::ECON, sums.upstreams.connect_failures);
    row.set(at::LBTOT, sums.upstreams.served);
    if service.tcp_port().is_none() {
        classes(&mut row, sums.answers);
        row.set(at::REQ_TOT, sums.requests());
    }
    // Whatever of them came up or went down last.
    let since = service.members.iter().filter_map(|m| m.state.since_ms());
    row.set(at::LASTCHG, seconds_since(since.max()));
    row.set(at::CHKDOWN, sums.upstreams.downs);
    traffic(&mut row, service, samples);
    times(&mut row, service, samples.spread_of(service));
    let policy = service.config.policy.as_deref();
    if let Some(Sticky::Cookie(cookie)) = policy.and_then(|policy| policy.sticky.as_ref()) {
        row.set(at::COOKIE, cookie.name.as_str());
    }
    row.set(at::MODE, mode(service));
    row.set(at::ALGO, service.balance.word());
    row
}

/// What every line has.
fn of<'a>(proxy: &'a str, server: &'a str, kind: Kind, iid: u32) -> Row<'a> {
    let mut row = Row::default();
    row.set(at::PXNAME, proxy);
    row.set(at::SVNAME, server);
    row.set(at::PID, 1);
    row.set(at::IID, u64::from(iid));
    row.set(at::SID, 0);
    row.set(at::TYPE, kind as u64);
    row.set(at::DASH, "-");
    row
}

fn classes(row: &mut Row<'_>, answers: [u64; 5]) {
    for (class, count) in answers.into_iter().enumerate() {
        row.set(at::HRSP_1XX + class, count);
    }
    row.set(at::HRSP_OTHER, 0);
}

fn traffic(row: &mut Row<'_>, service: &Service, samples: &Samples) {
    let (up, down) = service.state.bytes();
    row.set(at::BIN, up);
    row.set(at::BOUT, down);
    row.set(at::RATE, whole(samples.rates_of(service).requests));
}

/// The median of the last seconds in milliseconds: of HTTP until the head of the answer, of TCP until the
/// connection.
fn times(row: &mut Row<'_>, service: &Service, spread: Spread) {
    let column = match service.tcp_port() {
        Some(_) => at::CTIME,
        None => at::RTIME,
    };
    row.set(column, spread.p50.map(whole));
}

fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn seconds_since(ms: Option<u64>) -> Option<u64> {
    Some(now_ms().saturating_sub(ms?) / 1000)
}

/// HTTP services, or TCP services.
fn services(plan: &Plan, is_tcp: bool) -> impl Iterator<Item = &Arc<Service>> {
    plan.services()
        .filter(move |service| service.tcp_port().is_some() == is_tcp)
}

/// The same with what each comes to.
fn sums(plan: &Plan, is_tcp: bool) -> impl Iterator<Item = (&ServiceState, ServiceFigures)> {
    services(plan, is_tcp).map(|service| (&*service.state, service.figures()))
}

/// Requests and flows of all services, also of those that are gone.
pub(super) fn all_begun(shared: &Shared, plan: &Plan) -> u64 {
    let requests = shared.departed.http.with(sums(plan, false)).requests();
    let flows = shared.departed.tcp.with(sums(plan, true)).flows_begun();
    requests + flows
}

/// Requests or flows, however they ended or will.
fn begun(service: &Service, sums: &ServiceFigures) -> u64 {
    match service.tcp_port() {
        Some(_) => sums.flows_begun(),
        None => sums.requests(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_in_between_says_how_far_it_is_as_haproxy_does() {
        let words = [
            Standing::Up(0, 3),
            Standing::Up(1, 3),
            Standing::Up(2, 3),
            Standing::Down(1, 2),
            Standing::Down(0, 2),
        ];
        let words = words.map(Standing::words);
        assert_eq!(words, ["UP", "UP 2/3", "UP 1/3", "DOWN 1/2", "DOWN"]);
    }
}
