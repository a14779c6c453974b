//! TCP services: an upstream is chosen when a connection comes, then bytes go both ways.

use std::sync::Arc;
use std::time::Duration;

use crate::accesslog::Cause;
use crate::balance::{Admission, InFlight, Outcome, Tried, client_hash};
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
use crate::proxy::worker::{Counted, Worker};
use crate::rules::{Edits, Verdict};

/// Serves one connection to its end, by the service that has the port for itself.
pub(crate) async fn serve(worker: Counted, client: Stream, ends: Ends) {
    let service = worker.view.pin().plan.tcp(ends.listener.port()).cloned();
    if let Some(service) = service {
        forward(worker, client, ends, service, Known::of(ends), None).await;
    }
}

/// Leads a connection to `service`, and what was read of it before. A service without a usable upstream
/// closes at once.
pub(crate) async fn forward(
    worker: Counted,
    client: Stream,
    ends: Ends,
    service: Arc<Service>,
    known: Known<'_>,
    early: Option<Input>,
) {
    let peer = ends.peer;
    let pinned = worker.view.pin();
    let mut trace = Trace::default();
    trace.begin(&worker, &pinned, ends, None, false);
    trace.routed(&service);
    let balancer = pinned.plan.balancer().clone();
    if let Some(policy) = &service.config.policy
        && policy.rules.judge(&known, &mut Edits::default()) != Verdict::Pass
    {
        tracing::debug!(service = %service.config.name, %peer, "turned away");
        trace.stop(Cause::Refused);
        trace.finish();
        return service.state.record(Outcome::TurnedAway);
    }
    // A flow may live for days: it keeps its service and not the generation it began with.
    drop(pinned);
    let policy = service.config.policy.as_deref();
    let access = policy.and_then(|policy| policy.access.as_ref());
    if access.is_some_and(|access| !access.permits(peer.ip())) {
        tracing::debug!(service = %service.config.name, %peer, "turned away");
        trace.stop(Cause::Refused);
        trace.finish();
        return service.state.record(Outcome::TurnedAway);
    }
    trace.queued(&service);
    let deadline = worker.wheel.deadline();

    let timeouts = &service.config.timeouts;
    let queue = timeouts.queue.unwrap_or(balancer.timeouts.queue);
    let max_queue = service.config.max_queue.unwrap_or(balancer.max_queue);
    let _place = match service.config.max_connections {
        None => None,
        Some(limit) => {
            let mut admission = Admission::new(service.state.clone());
            let place = std::future::poll_fn(|cx| admission.poll(limit, max_queue, cx.waker()));
            match deadline.limit(queue, place).await {
                Ok(Ok(place)) => Some(place),
                result => {
                    trace.stop(match result {
                        Err(_) => Cause::UpstreamTimeout,
                        Ok(_) => Cause::Refused,
                    });
                    trace.finish();
                    return service.state.record(Outcome::TurnedAway);
                }
            }
        }
    };
    trace.admitted();

    let retries = service.config.retries.unwrap_or(balancer.retries);
    let connect_timeout = timeouts.connect.unwrap_or(balancer.timeouts.connect);
    let client_id = client_hash(peer.ip());
    let server_name = Some(known.server_name).filter(|name| !name.is_empty());
    let header = service.config.send_proxy.map(|form| {
        let about = About {
            server_name,
            ..About::default()
        };
        header(form, &client, ends, about)
    });
    let wanted = Wanted {
        service: service.clone(),
        client: client_id,
        header: header.as_deref(),
        retries,
        timeout: connect_timeout,
    };
    let connecting = wanted.connect_any(&worker, &deadline, &trace);
    // By then the service may be a newer form of it.
    let (service, upstream, in_flight, index) = match connecting.await {
        Ok(connected) => connected,
        Err(outcome) => {
            trace.stop(Cause::Upstream);
            trace.finish();
            return service.state.record(outcome);
        }
    };
    trace.connected();

    let member = &service.members[index];
    let _noted = worker.tunnels.note(member.state.clone(), deadline.cutter());
    let idle = timeouts.tunnel.unwrap_or(balancer.timeouts.tunnel);
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

/// A connection to some upstream.
struct Wanted<'a> {
    service: Arc<Service>,
    /// Of whom.
    client: u64,
    header: Option<&'a [u8]>,
    retries: u32,
    timeout: Duration,
}

impl Wanted<'_> {
    /// Tries upstreams until one takes the connection, `retries` times after the first: others before
    /// the same again, and those of now when one of them has left the plan.
    async fn connect_any(
        mut self,
        worker: &Worker,
        deadline: &Deadline,
        trace: &Trace,
    ) -> Result<(Arc<Service>, Stream, InFlight, usize), Outcome> {
        let mut tried = Tried::default();
        let mut outcome = Outcome::TurnedAway;
        for attempt in 0..=self.retries {
            let mut picked = self.service.pick(self.client, &tried);
            if picked.is_none() && self.service.has_lost_members() {
                let pinned = worker.view.pin();
                if let Some(newer) = pinned.plan.service(&self.service.unit) {
                    self.service = newer.clone();
                    tried = Tried::default();
                    picked = self.service.pick(self.client, &tried);
                }
            }
            let Some(index) = picked else {
                break;
            };
            trace.picked(index);
            if attempt > 0 {
                trace.retried();
            }
            let in_flight = InFlight::begin(&self.service.members[index].state);
            let whom = Whom {
                service: &self.service,
                index,
                header: self.header,
            };
            match connect(worker, whom, self.timeout).await {
                Ok(stream) => return Ok((self.service, stream, in_flight, index)),
                Err(_) => {
                    outcome = Outcome::UpstreamFailure;
                    tried.add(index);
                    if !self.service.has_untried(&tried) && attempt < self.retries {
                        tried = Tried::default();
                        deadline.sleep(PAUSE).await;
                    }
                }
            }
        }
        Err(outcome)
    }
}
