//! TCP services: an upstream is chosen when a connection comes, then bytes go both ways.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accesslog::Cause;
use crate::balance::{Admission, InFlight, Outcome, Place, Tried, client_hash};
use crate::config::Balancer;
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::known::Known;
use crate::proxy::listen::Ends;
use crate::proxy::send_proxy::{About, header};
use crate::proxy::stream::Stream;
use crate::proxy::timer::Deadline;
use crate::proxy::tls::alert_reason;
use crate::proxy::trace::Trace;
use crate::proxy::tunnel::{Early, End, Lender, tunnel};
use crate::proxy::upstream::{PAUSE, Whom, connect};
use crate::proxy::worker::Counted;
use crate::rules::{Edits, Verdict};

/// Serves one connection to its end, by the service that has the port for itself.
pub(crate) async fn serve(worker: Counted, client: Stream, ends: Ends) {
    let service = worker.view.pin().plan.tcp(ends.listener.port()).cloned();
    if let Some(service) = service {
        forward(worker, client, ends, service, Known::of(ends), None).await;
    }
}

/// How often a connection whose upstreams left is led anew. Each time needs a swap in between.
const LED_ANEW: u32 = 3;

/// Leads a connection to `service`, and what was read of it before. A service without a usable upstream
/// closes at once.
pub(crate) async fn forward(
    worker: Counted,
    client: Stream,
    ends: Ends,
    mut service: Arc<Service>,
    known: Known<'_>,
    early: Option<Input>,
) {
    let peer = ends.peer;
    let mut trace = Trace::default();
    trace.begin(&worker, &worker.view.pin(), ends, None, false);
    let deadline = worker.wheel.deadline();
    let mut place = None;
    let mut left = LED_ANEW;
    let connected = loop {
        let wanted = Wanted {
            worker: &worker,
            client: &client,
            ends,
            known: &known,
            service: &service,
            deadline: &deadline,
            trace: &trace,
            may_lead_anew: left > 0,
        };
        match wanted.reach(&mut place).await {
            Ok(connected) => break connected,
            Err(NotReached::For(cause, outcome)) => {
                trace.stop(cause);
                trace.finish();
                return service.state.record(outcome);
            }
            // By all that its newest form says: who may come, and what upstreams are told, may be otherwise now.
            Err(NotReached::Outdated) => {
                left -= 1;
                let pinned = worker.view.pin();
                trace.led_anew(pinned.id);
                // As the listener found it: its name or its port may be another service's by now.
                let newer = match service.passthrough() {
                    Some(_) => {
                        let name = Some(known.server_name).filter(|name| !name.is_empty());
                        pinned.plan.passthrough(name, &known)
                    }
                    None => pinned.plan.tcp(ends.listener.port()),
                };
                match newer {
                    Some(newer) => service = newer.clone(),
                    None => {
                        trace.routed(&service);
                        trace.stop(Cause::Upstream);
                        trace.finish();
                        return service.state.record(Outcome::TurnedAway);
                    }
                }
            }
        }
    };
    let Connected {
        upstream,
        in_flight,
        index,
        idle,
    } = connected;
    trace.connected();

    let member = &service.members[index];
    let _noted = worker.tunnels.note(member.state.clone(), deadline.cutter());
    let lender = Lender {
        buffers: &worker.buffers,
        pipes: &worker.pipes,
    };
    let ended = tunnel(
        &client,
        &upstream,
        Early {
            to_upstream: early,
            to_client: None,
        },
        idle,
        &deadline,
        lender,
    )
    .await;
    drop(in_flight);
    if ended.received == 0
        && let Some(alert) = upstream.alert()
    {
        worker.note_no_handshake(&service, member, &alert_reason(alert));
    }
    service.state.record(Outcome::Flow);
    trace.tunnelled(&ended);
    service.state.record_bytes(trace.bytes());
    if trace.is_uneventful() {
        trace.forget();
    }
    trace.finish();
    if let End::Broken(_, error) = &ended.how {
        tracing::debug!(
            service = %service.config.name, upstream = %member.name, %peer, %error,
            sent = ended.sent, received = ended.received, "flow broken"
        );
    }
}

/// A connection to some upstream of a service, for this client.
struct Wanted<'a> {
    worker: &'a Counted,
    client: &'a Stream,
    ends: Ends,
    known: &'a Known<'a>,
    service: &'a Arc<Service>,
    deadline: &'a Deadline,
    trace: &'a Trace,
    /// Whether its plan may turn out to be outdated.
    may_lead_anew: bool,
}

struct Connected {
    upstream: Stream,
    in_flight: InFlight,
    /// Of the service's members.
    index: usize,
    /// How long it may be silent.
    idle: Duration,
}

enum NotReached {
    For(Cause, Outcome),
    /// Its upstreams have left the plan.
    Outdated,
}

impl Wanted<'_> {
    /// Whether the client may come, its place, and an upstream. A `place` that it has stays its own.
    async fn reach(&self, place: &mut Option<Place>) -> Result<Connected, NotReached> {
        let Self { service, trace, .. } = self;
        trace.routed(service);
        self.judge()?;
        trace.queued(service);
        let balancer = self.worker.view.pin().plan.balancer().clone();
        let timeouts = &service.config.timeouts;
        *place = self.admit(&balancer, place.take()).await?;
        trace.admitted();
        let (upstream, in_flight, index) = self.connect_any(&balancer).await?;
        Ok(Connected {
            upstream,
            in_flight,
            index,
            idle: timeouts.tunnel.unwrap_or(balancer.timeouts.tunnel),
        })
    }

    fn judge(&self) -> Result<(), NotReached> {
        let peer = self.ends.peer;
        let Some(policy) = self.service.config.policy.as_deref() else {
            return Ok(());
        };
        let access = policy.access.as_ref();
        if policy.rules.judge(self.known, &mut Edits::default()) == Verdict::Pass
            && access.is_none_or(|access| access.permits(peer.ip()))
        {
            return Ok(());
        }
        tracing::debug!(service = %self.service.config.name, %peer, "turned away");
        Err(NotReached::For(Cause::Refused, Outcome::TurnedAway))
    }

    async fn admit(
        &self,
        balancer: &Balancer,
        held: Option<Place>,
    ) -> Result<Option<Place>, NotReached> {
        let service = self.service;
        let Some(limit) = service.config.max_connections else {
            return Ok(None);
        };
        if let Some(place) = held
            && place.is_of(&service.state)
        {
            return Ok(Some(place));
        }
        let queue = service.config.timeouts.queue;
        let queue = queue.unwrap_or(balancer.timeouts.queue);
        let max_queue = service.config.max_queue.unwrap_or(balancer.max_queue);
        let mut admission = Admission::new(service.state.clone());
        let place = std::future::poll_fn(|cx| admission.poll(limit, max_queue, cx.waker()));
        let cause = match self.deadline.limit(queue, place).await {
            Ok(Ok(place)) => return Ok(Some(place)),
            Err(_) => Cause::UpstreamTimeout,
            Ok(_) => Cause::Refused,
        };
        Err(NotReached::For(cause, Outcome::TurnedAway))
    }

    /// What upstreams are told of the client before everything else.
    fn header(&self) -> Option<Vec<u8>> {
        let server_name = Some(self.known.server_name).filter(|name| !name.is_empty());
        let about = About {
            server_name,
            ..About::default()
        };
        let form = self.service.config.send_proxy?;
        Some(header(form, self.client, self.ends, about))
    }

    /// Tries upstreams until one takes the connection, `retries` times after the first: others before
    /// the same again.
    async fn connect_any(
        &self,
        balancer: &Balancer,
    ) -> Result<(Stream, InFlight, usize), NotReached> {
        let Self { service, trace, .. } = self;
        let client = client_hash(self.ends.peer.ip());
        let header = self.header();
        let timeout = service.config.timeouts.connect;
        let timeout = timeout.unwrap_or(balancer.timeouts.connect);
        let retries = service.config.retries.unwrap_or(balancer.retries);
        let mut tried = Tried::default();
        let mut outcome = Outcome::TurnedAway;
        for attempt in 0..=retries {
            let Some(index) = service.pick(client, &tried) else {
                if self.may_lead_anew && service.has_lost_members() {
                    return Err(NotReached::Outdated);
                }
                break;
            };
            trace.picked(index);
            if attempt > 0 {
                trace.retried();
            }
            let member = &service.members[index];
            let in_flight = InFlight::begin(&member.state);
            let began = Instant::now();
            let whom = Whom {
                service,
                index,
                header: header.as_deref(),
            };
            match connect(self.worker, whom, timeout).await {
                Ok(stream) => {
                    let took = began.elapsed();
                    service.state.latencies.note(took);
                    member.state.latencies.note(took);
                    return Ok((stream, in_flight, index));
                }
                Err(_) if self.may_lead_anew && member.state.has_left() => {
                    trace.retried();
                    return Err(NotReached::Outdated);
                }
                Err(_) => {
                    outcome = Outcome::UpstreamFailure;
                    member.state.record_failure();
                    tried.add(index);
                    if !service.has_untried(&tried) && attempt < retries {
                        tried = Tried::default();
                        self.deadline.sleep(PAUSE).await;
                    }
                }
            }
        }
        Err(NotReached::For(Cause::Upstream, outcome))
    }
}
