//! TCP services: an upstream is chosen when a connection comes, then bytes go both ways.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::accesslog::Cause;
use crate::balance::{Admission, InFlight, Member, Outcome, Tried, client_hash};
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::known::Known;
use crate::proxy::listen::Ends;
use crate::proxy::send_proxy::header;
use crate::proxy::stream::Stream;
use crate::proxy::timer::Deadline;
use crate::proxy::trace::Trace;
use crate::proxy::tunnel::{Early, End, Lender, tunnel};
use crate::proxy::upstream::{PAUSE, connect_member};
use crate::proxy::worker::Counted;
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
    let header = service
        .config
        .send_proxy
        .map(|form| header(form, &client, ends, server_name, None));
    let connecting = connect_any(
        &service,
        client_id,
        header.as_deref(),
        retries,
        connect_timeout,
        &deadline,
        &trace,
    );
    let (upstream, in_flight, index) = match connecting.await {
        Ok(connected) => connected,
        Err(outcome) => {
            trace.stop(Cause::Upstream);
            trace.finish();
            return service.state.record(outcome);
        }
    };
    trace.connected();

    let member = &service.members[index];
    let _noted = worker.note_tunnel(member.state.clone(), deadline.cutter());
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

/// Tries upstreams until one takes the connection, `retries` times after the first: others before
/// the same again.
async fn connect_any(
    service: &Arc<Service>,
    client: u64,
    header: Option<&[u8]>,
    retries: u32,
    timeout: Duration,
    deadline: &Deadline,
    trace: &Trace,
) -> Result<(Stream, InFlight, usize), Outcome> {
    let mut tried = Tried::default();
    let mut outcome = Outcome::TurnedAway;
    for attempt in 0..=retries {
        let Some(index) = service.pick(client, &tried) else {
            break;
        };
        trace.picked(index);
        if attempt > 0 {
            trace.retried();
        }
        let member = &service.members[index];
        let in_flight = InFlight::begin(&member.state);
        match connect_announced(member, header, timeout, deadline).await {
            Ok(stream) => return Ok((stream, in_flight, index)),
            Err(error) => {
                tracing::debug!(
                    service = %service.config.name, upstream = %member.name, %error, "connect failed"
                );
                outcome = Outcome::UpstreamFailure;
                tried.add(index);
                if !service.has_untried(&tried) && attempt < retries {
                    tried = Tried::default();
                    deadline.sleep(PAUSE).await;
                }
            }
        }
    }
    Err(outcome)
}

/// Connects, and says first who the client is if there is a header. It is shorter than what a new
/// socket takes at once.
async fn connect_announced(
    member: &Member,
    header: Option<&[u8]>,
    timeout: Duration,
    deadline: &Deadline,
) -> io::Result<Stream> {
    let stream = connect_member(member, timeout, deadline).await?;
    if let Some(header) = header {
        deadline
            .limit(timeout, stream.write_all(header))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    Ok(stream)
}
