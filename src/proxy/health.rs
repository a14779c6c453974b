//! Health checks: one small task for each upstream that has a check, on the control runtime.
//!
//! The checker follows plans as they are committed. An upstream that stays keeps its health and its
//! streak; one whose check changed is checked the new way from then on. One that comes up begins to warm up
//! where its service says so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::balance::{Health, Share, UpstreamId, UpstreamState};
use crate::config::{CheckKind, HealthCheck};
use crate::plan::{Secured, Service};
use crate::proxy::now_ms;
use crate::proxy::probe::probe;
use crate::proxy::warm_up::WarmUp;
use crate::proxy_header::Form;

/// Checks under way at once: ten thousand upstreams must not take all descriptors.
const AT_ONCE: usize = 128;

/// The same for upstreams that are down and gave no answer in time last. They wait in a queue of their own,
/// so that a few hundred hosts that hang do not keep others from being checked.
const HANGING_AT_ONCE: usize = 64;

/// An upstream that has not been up yet is looked at this often for a while: it should serve as soon
/// as it can.
const EAGER: Duration = Duration::from_millis(100);
const STARTING: Duration = Duration::from_secs(20);

pub struct Checker {
    running: HashMap<UpstreamId, Running>,
    queues: Arc<Queues>,
}

struct Queues {
    usual: Semaphore,
    hanging: Semaphore,
}

struct Running {
    task: AbortHandle,
    check: HealthCheck,
    warm_up: Option<Duration>,
    host: String,
    send_proxy: Option<Form>,
    secured: Option<NonZeroU64>,
}

impl Default for Checker {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            queues: Arc::new(Queues {
                usual: Semaphore::new(AT_ONCE),
                hanging: Semaphore::new(HANGING_AT_ONCE),
            }),
        }
    }
}

impl Checker {
    /// Follows one service from its old form to its new one. Call inside the control runtime.
    pub fn follow(&mut self, before: Option<&Arc<Service>>, now: Option<&Arc<Service>>) {
        for member in before.into_iter().flat_map(|s| s.members.iter()) {
            let id = member.state.id();
            let stays = now.is_some_and(|s| s.members.iter().any(|m| m.state.id() == id));
            if !stays {
                self.stop(id);
            }
        }
        let Some(service) = now else { return };
        let check = &service.config.health_check;
        let warm_up = service.config.warm_up;
        for (index, member) in service.members.iter().enumerate() {
            let id = member.state.id();
            let watched = Watched::new(service, index);
            let secured = watched.secured.as_ref().map(|secured| secured.id);
            if check.kind == CheckKind::Off {
                self.stop(id);
                // Nobody would ever call it up again.
                member.state.set_health(Health::Up);
                member.state.set_share(Share::FULL);
                if member.state.since_ms().is_none() {
                    member.state.note_change(now_ms());
                }
            } else if self.running.get(&id).is_none_or(|running| {
                running.check != *check
                    || running.warm_up != warm_up
                    || running.host != watched.host
                    || running.send_proxy != watched.send_proxy
                    || running.secured != secured
            }) {
                self.stop(id);
                let (host, send_proxy) = (watched.host.clone(), watched.send_proxy);
                let task = tokio::spawn(watch(watched, check.clone(), self.queues.clone()));
                self.running.insert(
                    id,
                    Running {
                        task: task.abort_handle(),
                        check: check.clone(),
                        warm_up,
                        host,
                        send_proxy,
                        secured,
                    },
                );
            }
        }
    }

    /// How many upstreams are checked.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn stop(&mut self, id: UpstreamId) {
        if let Some(running) = self.running.remove(&id) {
            running.task.abort();
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

/// What is started and announced at once takes a moment to listen: nobody is told of that.
const GRACE: Duration = Duration::from_secs(2);

/// What a check needs to know of its upstream.
struct Watched {
    service: String,
    upstream: String,
    address: SocketAddr,
    /// For the Host field of HTTP checks.
    host: String,
    /// How a check's connection begins. Another port than the traffic's may be of another server, or
    /// of none that reads headers: checks of it begin without one, as in HAProxy.
    send_proxy: Option<Form>,
    /// The same of TLS.
    secured: Option<Arc<Secured>>,
    warm_up: Option<Duration>,
    state: Arc<UpstreamState>,
}

impl Watched {
    fn new(service: &Service, index: usize) -> Self {
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

async fn watch(watched: Watched, check: HealthCheck, queues: Arc<Queues>) {
    let mut address = watched.address;
    address.set_port(check.port.unwrap_or(address.port()));
    let born = Instant::now();
    let mut hangs = false;
    let mut is_told = false;
    let mut warm_up = WarmUp::default();
    if watched.state.health() == Health::Up {
        // It is watched in another way than before, maybe in the midst of warming up.
        warm_up.begin(&watched.state, watched.warm_up);
    }
    loop {
        let started = Instant::now();
        let result = {
            let queue = if hangs {
                &queues.hanging
            } else {
                &queues.usual
            };
            let Ok(_permit) = queue.acquire().await else {
                return;
            };
            timeout(
                check.timeout,
                probe(
                    address,
                    &watched.host,
                    &check.kind,
                    watched.send_proxy,
                    watched.secured.as_deref(),
                ),
            )
            .await
        };
        let is_late = result.is_err();
        let verdict = result.unwrap_or_else(|_| Err(format!("no answer in {:?}", check.timeout)));
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
        hangs = is_late && watched.state.health() == Health::Down;
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
