//! One upstream, checked again and again for as long as the plan wants it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::balance::{Health, UpstreamState};
use crate::config::HealthCheck;
use crate::plan::{Secured, Service};
use crate::proxy::now_ms;
use crate::proxy::probe::probe;
use crate::proxy::warm_up::WarmUp;
use crate::proxy_header::Form;

use super::places::{Pace, Places};

/// An upstream that has not been up yet is looked at this often for a while: it should serve as soon
/// as it can.
const EAGER: Duration = Duration::from_millis(100);
const STARTING: Duration = Duration::from_secs(20);

/// What is started and announced at once takes a moment to listen: nobody is told of that.
const GRACE: Duration = Duration::from_secs(2);

/// What a check needs to know of its upstream.
pub(super) struct Watched {
    service: String,
    upstream: String,
    address: SocketAddr,
    /// For the Host field of HTTP checks.
    pub(super) host: String,
    /// How a check's connection begins. Another port than the traffic's may be of another server, or
    /// of none that reads headers: checks of it begin without one, as in HAProxy.
    pub(super) send_proxy: Option<Form>,
    /// The same of TLS.
    pub(super) secured: Option<Arc<Secured>>,
    warm_up: Option<Duration>,
    state: Arc<UpstreamState>,
}

impl Watched {
    pub(super) fn new(service: &Service, index: usize) -> Self {
        let member = &service.members[index];
        let is_elsewhere = service.config.health_check.port.is_some();
        let named = service.http_routes().and_then(|routes| {
            routes.hosts.iter().find_map(|host| match host {
                crate::config::HostPattern::Exact(name) => Some(name.clone()),
                crate::config::HostPattern::Wildcard(_) => None,
            })
        });
        Self {
            service: service.config.name.to_string(),
            upstream: member.name.to_string(),
            address: member.address,
            host: named.unwrap_or_else(|| member.authority()),
            send_proxy: service.config.send_proxy.filter(|_| !is_elsewhere),
            secured: service.secured(index).filter(|_| !is_elsewhere).cloned(),
            warm_up: service.config.warm_up,
            state: member.state.clone(),
        }
    }
}

pub(super) async fn watch(watched: Watched, check: HealthCheck, places: Arc<Places>) {
    let mut address = watched.address;
    address.set_port(check.port.unwrap_or(address.port()));
    let born = Instant::now();
    let mut pace = Pace::New;
    let mut is_told = false;
    let mut warm_up = WarmUp::default();
    if watched.state.health() == Health::Up {
        // It is watched in another way than before, maybe in the midst of warming up.
        warm_up.begin(&watched.state, watched.warm_up);
    }
    loop {
        let started = Instant::now();
        let begin = || {
            probe(
                address,
                &watched.host,
                &check.kind,
                watched.send_proxy,
                watched.secured.as_deref(),
            )
        };
        let Some((took, result)) = places.check(pace, &check, begin).await else {
            return;
        };
        let is_late = result.is_none();
        let verdict = result.unwrap_or_else(|| Err(format!("no answer in {:?}", check.timeout)));
        let reason = match &verdict {
            Ok(reason) | Err(reason) => reason.as_str(),
        };
        let now = now_ms();
        watched.state.note_check(reason, verdict.is_ok(), now);
        let (service, upstream) = (&watched.service, &watched.upstream);
        let is_new = !watched.state.was_up();
        let change = watched.state.judge(verdict.is_ok(), check.rise, check.fall);
        if change.is_some() {
            watched.state.note_change(now);
        }
        match change {
            Some(Health::Up) => warm_up.begin(&watched.state, watched.warm_up),
            Some(_) => warm_up.end(),
            None => {}
        }
        match change {
            // As it should be: ten thousand such lines at a start would hide the one that matters.
            Some(Health::Up) if is_new => {
                tracing::debug!(%service, %upstream, %address, reason, "new upstream is up");
            }
            Some(Health::Up) => {
                tracing::info!(%service, %upstream, %address, reason, event = "upstream_up", "upstream is up");
            }
            Some(_) if !is_new => {
                tracing::warn!(%service, %upstream, %address, reason, event = "upstream_down", "upstream is down");
            }
            _ => {}
        }
        if is_new && !is_told && verdict.is_err() && born.elapsed() >= GRACE {
            is_told = true;
            tracing::warn!(%service, %upstream, %address, reason, event = "upstream_down", "upstream is down");
        }
        pace = pace.after(took, is_late, &watched.state);
        let interval = match watched.state.was_up() || born.elapsed() > STARTING {
            true => check.interval,
            false => check.interval.min(EAGER),
        };
        // A tenth of chance, so that checks of many upstreams do not fall into step.
        let pause = interval.mul_f64(0.95 + fastrand::f64() / 10.0);
        sleep(
            pause
                .saturating_sub(started.elapsed())
                .max(Duration::from_millis(10)),
        )
        .await;
    }
}
