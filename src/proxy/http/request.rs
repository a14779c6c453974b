//! One request: its head, its service, its place there, and our own answers where there is none.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;

use crate::accesslog::Cause;
use crate::balance::{self, Admission, Place};
use crate::config::{Balancer, Compat, ErrorPage, ErrorPages};
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::generation::Pinned;
use crate::proxy::http::exchange::{Exchange, Outcome, Switched, Waits};
use crate::proxy::http::fault::{Blame, Fault};
use crate::proxy::http::id::RequestId;
use crate::proxy::http::identify;
use crate::proxy::http::info::{self, Info};
use crate::proxy::http::policy::Reply;
use crate::proxy::http::sticky::Stickiness;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{
    Answer, ClientConnection, FieldId, Framing, Limits, Method, RequestHead, parse_request,
};
use crate::proxy::tunnel::{Early, Lender, tunnel};
use crate::rules::{Edits, FieldEdit, Seen};

/// How often a request whose upstreams left is led anew. Each time needs a swap in between.
const LED_ANEW: u32 = 3;

/// As much of a page is written at once.
const PIECE: usize = 64 * 1024;

impl Client {
    /// Serves the request whose bytes are in `input` or about to come, and leaves there what came
    /// behind it.
    pub(super) async fn serve_request(&mut self, input: &mut Input) -> Next {
        self.error_pages = None;
        let mut head = self.worker.http.request_head();
        let next = match self.read_head(input, &mut head).await {
            Ok(()) => self.lead(input, &head).await,
            Err(None) => {
                match is_blank(input) {
                    true => self.trace.forget(),
                    false => self.trace.cut_head(),
                }
                Next::Close
            }
            Err(Some(fault)) => {
                self.note(&fault);
                self.trace.stop(fault.cause);
                self.worker.shared.rejected.fetch_add(1, Relaxed);
                // Whatever stands behind a head that could not be read cannot be read either.
                let answer = Answer {
                    status: fault.status,
                    connection: ClientConnection::Close,
                    ..Answer::default()
                };
                match self.answer(answer).await {
                    true => Next::Linger,
                    false => Next::Cut,
                }
            }
        };
        self.trace.finish();
        self.worker.http.keep_request_head(head);
        next
    }

    /// `Err(None)`: the client went away without having asked for anything.
    async fn read_head(
        &mut self,
        input: &mut Input,
        head: &mut RequestHead,
    ) -> Result<(), Option<Fault>> {
        let pinned = self.worker.view.pin();
        self.trace.begin(
            &self.worker,
            &pinned,
            self.ends,
            self.stream.tls_version(),
            true,
        );
        let balancer = pinned.plan.balancer();
        let limits = Limits {
            max_head_size: balancer.max_head_size as usize,
            max_headers: balancer.max_headers as usize,
        };
        self.deadline.arm(balancer.timeouts.head);
        loop {
            if !input.is_empty() {
                match parse_request(input.filled(), &limits, head) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(reject) => return Err(Some(reject.into())),
                }
            }
            if input.room().is_empty() {
                input.grow(limits.max_head_size);
            }
            // The time counts from the first byte, not from the last: it is armed once, above.
            let result = {
                let mut reading = pin!(self.stream.read(input.room()));
                poll_fn(|cx| match reading.as_mut().poll(cx) {
                    Poll::Ready(result) => Poll::Ready(Ok(result)),
                    Poll::Pending => self.deadline.poll_expired(cx).map(Err),
                })
                .await
            };
            match result {
                Ok(Ok(0)) | Ok(Err(_)) if is_blank(input) => return Err(None),
                Ok(Ok(0)) => return Err(Some(Fault::client_left("head ends early"))),
                Ok(Ok(n)) => input.add(n),
                Ok(Err(_)) => return Err(None),
                Err(()) if is_blank(input) => return Err(None),
                Err(()) => return Err(Some(Fault::client(408, "head did not come in time"))),
            }
        }
    }

    /// Leads a request by the plan of now, and once more by a newer one if its upstreams left meanwhile. Its id and
    /// its place at a service stay its own.
    async fn lead(&mut self, input: &mut Input, head: &RequestHead) -> Next {
        let mut pinned = self.worker.view.pin();
        let id = self.request_id(pinned.plan.balancer(), head, input);
        self.trace
            .asked(head, input.filled(), id.as_bytes(), pinned.id);
        let mut place = None;
        for left in (0..=LED_ANEW).rev() {
            let led = self.lead_by_plan(pinned, input, head, &id, &mut place, left > 0);
            if let Some(next) = led.await {
                return next;
            }
            pinned = self.worker.view.pin();
            self.error_pages = None;
            self.trace.led_anew(pinned.id);
        }
        Next::Cut
    }

    /// Leads a request to its service, or answers why it cannot be. `None`: what it was led by is outdated, and
    /// that only if it `may_lead_anew`.
    async fn lead_by_plan(
        &mut self,
        pinned: Pinned,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
        place: &mut Option<Place>,
        may_lead_anew: bool,
    ) -> Option<Next> {
        let plan = &pinned.plan;
        let balancer = plan.balancer();
        let front = balancer.front.as_deref();
        if let Some(front) = front
            && let Some(fronted) = self.front(front, &pinned, input, head, id).await
        {
            if !fronted.is_logged {
                self.trace.forget();
            }
            return Some(fronted.next);
        }
        let mut edits = Edits::default();
        // Proxies in front that are trusted may have asked for themselves.
        if plan.asks_clients() && !self.forwarded(balancer).is_trusted() {
            identify::hide(&mut edits.fields);
        }
        let rules = balancer.rules.as_deref();
        if let Some(rules) = rules
            && let Some(next) = self.judge(rules, None, input, head, id, &mut edits).await
        {
            return Some(next);
        }
        // Rules of services may change it further, and what led here is to be cut off all the same.
        let routed = edits.path.clone();
        let asked = self.asked(input, head, id);
        let found = match rules.is_none() && edits.fields.is_empty() {
            true => plan.route(&asked),
            false => plan.route(&Seen::of_request(&asked, &edits)),
        };
        let Some(found) = found else {
            self.worker.shared.unrouted.fetch_add(1, Relaxed);
            let status = match balancer.compat {
                // Probes are answered before there is a plan; for everything else it is too early.
                _ if pinned.id == 0 => 503,
                Compat::Pointsman => 404,
                Compat::Kontena => 503,
            };
            return Some(self.refuse(status, input, head, Some(id)).await);
        };
        let service = found.service;
        self.trace.routed(service);
        let (prefix, lacks_slash) = match service.http_routes() {
            Some(routes) if routes.adds_slash => (
                found.prefix,
                found.lacks_slash(head.path.get(input.filled())),
            ),
            Some(routes) if !routes.keep_virtual_path => (found.prefix, false),
            _ => (0, false),
        };
        let policy = service.config.policy.as_deref();
        if policy.is_some() || front.is_some() {
            self.error_pages = policy.and_then(|policy| policy.error_pages.clone());
            let reply = self.turn_back(policy, front, balancer, head, input.filled());
            if let Some(reply) = reply {
                return Some(self.reply(reply, service, input, head, id).await);
            }
        }
        if service.passthrough().is_some() {
            // Whoever asked for it by name was led there before there was anything to read.
            service.state.record(balance::Outcome::TurnedAway);
            return Some(self.refuse(421, input, head, Some(id)).await);
        }
        if let Some(auth) = policy.and_then(|policy| policy.client_auth.as_ref())
            && let Err(next) = self
                .identify(auth, service, input, head, id, &mut edits.fields)
                .await
        {
            return Some(next);
        }
        if let Some(policy) = policy
            && let Some(next) = self
                .judge(&policy.rules, Some(service), input, head, id, &mut edits)
                .await
        {
            return Some(next);
        }
        if let Some(auth) = policy.and_then(|policy| policy.auth.as_ref()) {
            if let Err(next) = self
                .authorize(auth, service, balancer, input, head, id)
                .await
            {
                return Some(next);
            }
            if !auth.forward {
                // First: an `Authorization` that rules set is for the application.
                let name = "authorization".to_owned();
                edits.fields.insert(0, FieldEdit::Remove { name });
            }
        }
        if let Some(reply) = policy.and_then(Reply::of_maintenance) {
            return Some(self.reply(reply, service, input, head, id).await);
        }
        let service = match policy {
            Some(_) => service.stand_in.as_ref().unwrap_or(service),
            None => service,
        };
        // Its stand-in has upstreams of its own.
        if policy.is_some() {
            self.trace.routed(service);
        }
        let policy = service.config.policy.as_deref();
        let max_body = policy
            .and_then(|policy| policy.max_body_size)
            .or(balancer.max_body_size);
        if let (Framing::Length(length), Some(most)) = (head.framing, max_body)
            && length > most
        {
            service.state.record(balance::Outcome::TurnedAway);
            return Some(self.refuse(413, input, head, Some(id)).await);
        }
        let sticky = policy.and_then(|policy| policy.sticky.as_ref());
        let sticky = sticky.map(|sticky| {
            let is_tls = self.is_tls(head, input.filled());
            Stickiness::read(sticky, service, head, input.filled(), is_tls, &mut edits)
        });
        if lacks_slash && edits.path.is_none() {
            return Some(self.add_slash(input, head, id).await);
        }
        if let Some(sticky) = &sticky {
            self.trace.stuck(sticky.letters());
        }
        self.trace.queued(service);
        *place = match self.admit(service, balancer, place.take()).await {
            Ok(place) => place,
            Err(fault) => return Some(self.fail(fault, service, input, head, id).await),
        };
        self.trace.admitted();
        let waits = Waits::new(service, &balancer.timeouts);
        let exchange = Exchange {
            client: self,
            service,
            head,
            prefix,
            routed: routed.as_deref(),
            rules,
            policy,
            sticky,
            edits: &edits,
            hsts: self.hsts(policy, front),
            id,
            info: Info::new(balancer.info_headers),
            waits,
            retries: service.config.retries.unwrap_or(balancer.retries),
            may_lead_anew,
            max_body,
            limits: Limits {
                max_head_size: balancer.max_head_size as usize,
                max_headers: balancer.max_headers as usize,
            },
        };
        let next = match exchange.run(input).await {
            Ok(Outcome::Outdated) => return None,
            Ok(Outcome::Answered(next)) => {
                service.state.record_bytes(self.trace.bytes());
                next
            }
            Ok(Outcome::Switched(switched)) => {
                let service = service.clone();
                // A tunnel may live for days: it keeps its service, not its generation.
                drop(pinned);
                // Nor does it hold what only requests have a use for.
                self.own.clear();
                let early = std::mem::replace(input, self.worker.buffers.input());
                self.tunnel(&service, switched, waits.tunnel, early).await;
                *place = None;
                // Each end was passed on as it came.
                Next::Cut
            }
            Err(fault) => {
                let next = self.fail(fault, service, input, head, id).await;
                service.state.record_bytes(self.trace.bytes());
                next
            }
        };
        Some(next)
    }

    /// Passes bytes both ways until the connection ends.
    async fn tunnel(&self, service: &Service, switched: Switched, idle: Duration, input: Input) {
        let Switched {
            upstream,
            early,
            index,
            in_flight,
        } = switched;
        let member = &service.members[index];
        let worker = &self.worker;
        let _noted = worker
            .tunnels
            .note(member.state.clone(), self.deadline.cutter());
        let lender = Lender {
            buffers: &worker.buffers,
            pipes: &worker.pipes,
        };
        let waiting = Early {
            to_upstream: Some(input),
            to_client: Some(early),
        };
        let ended = tunnel(
            &self.stream,
            &upstream,
            waiting,
            idle,
            &self.deadline,
            lender,
        )
        .await;
        drop(in_flight);
        self.trace.tunnelled(&ended);
        service.state.record(balance::Outcome::Flow);
        service.state.record_bytes(self.trace.bytes());
        tracing::debug!(
            service = %service.config.name, upstream = %member.name, peer = %self.ends.peer,
            sent = ended.sent, received = ended.received, how = ?ended.how, "tunnel ended"
        );
    }

    /// A place at a service that takes only so many at once: the one that it `held`, if that is there.
    async fn admit(
        &self,
        service: &Service,
        balancer: &Balancer,
        held: Option<Place>,
    ) -> Result<Option<Place>, Fault> {
        let Some(limit) = service.config.max_connections else {
            return Ok(None);
        };
        if let Some(place) = held
            && place.is_of(&service.state)
        {
            return Ok(Some(place));
        }
        let max_queue = service.config.max_queue.unwrap_or(balancer.max_queue);
        let patience = service
            .config
            .timeouts
            .queue
            .unwrap_or(balancer.timeouts.queue);
        let mut admission = Admission::new(service.state.clone());
        let place = poll_fn(|cx| admission.poll(limit, max_queue, cx.waker()));
        let place = self.stream.unless_reset(place);
        match self.deadline.limit(patience, place).await {
            Ok(Some(Ok(place))) => Ok(Some(place)),
            Ok(Some(Err(_))) => Err(Fault::no_room("queue is full")),
            Ok(None) => Err(Fault::client_left("client went away in the queue")),
            Err(_) => Err(Fault::no_room_in_time("waited too long in the queue")),
        }
    }

    /// The id that a trusted peer gave, or a new one.
    fn request_id(
        &mut self,
        balancer: &Arc<Balancer>,
        head: &RequestHead,
        input: &Input,
    ) -> RequestId {
        if self.forwarded(balancer).is_trusted()
            && let Some(field) = head.fields.get(FieldId::XRequestId)
            && let Some(id) = RequestId::given(field.value.get(input.filled()))
        {
            return id;
        }
        RequestId::random()
    }

    /// Answers a fault at a service, and counts it there.
    async fn fail(
        &self,
        fault: Fault,
        service: &Service,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        self.trace.stop(fault.cause);
        match fault.by {
            Blame::Client => {
                service.state.record(balance::Outcome::ClientFault);
                if fault.cause != Cause::ClientAbort {
                    self.worker.shared.rejected.fetch_add(1, Relaxed);
                }
                self.note(&fault);
                // What it sent cannot be trusted to end where it says.
                let close = ClientConnection::Close;
                let answer = Answer {
                    status: fault.status,
                    head_only: is_head(head),
                    connection: close,
                    request_id: Some(id.as_bytes()),
                    ..Answer::default()
                };
                return match self.answer(answer).await {
                    true => Next::Linger,
                    false => Next::Cut,
                };
            }
            Blame::Upstream => {
                service.state.record(balance::Outcome::UpstreamFailure);
                tracing::debug!(
                    service = %service.config.name, status = fault.status, reason = fault.reason,
                    "no answer from upstream"
                );
            }
            Blame::Service => service.state.record(balance::Outcome::TurnedAway),
        }
        self.refuse(fault.status, input, head, Some(id)).await
    }

    /// Answers in our own words, and keeps the connection if the request is all there.
    pub(super) async fn refuse(
        &self,
        status: u16,
        input: &mut Input,
        head: &RequestHead,
        id: Option<&RequestId>,
    ) -> Next {
        let answer = Answer {
            status,
            ..Answer::default()
        };
        self.answer_whole(answer, input, head, id).await
    }

    /// Gives `answer`, completed for this request, and keeps the connection if the request is all there.
    pub(super) async fn answer_whole(
        &self,
        answer: Answer<'_>,
        input: &mut Input,
        head: &RequestHead,
        id: Option<&RequestId>,
    ) -> Next {
        // Faults behind the head leave an input that was used up in part: then there is no way on.
        let has_no_body = matches!(head.framing, Framing::None | Framing::Length(0));
        let is_whole = input.filled().len() >= head.len && has_no_body;
        let keep = is_whole && head.keep_alive && !self.worker.is_draining();
        let answer = Answer {
            head_only: is_head(head),
            connection: ClientConnection::for_client(head.version, keep),
            request_id: id.map(RequestId::as_bytes),
            ..answer
        };
        if !self.answer(answer).await {
            return Next::Cut;
        }
        if keep {
            input.consume(head.len);
            Next::Keep
        } else if is_whole {
            Next::Close
        } else {
            Next::Linger
        }
    }

    /// Writes one of our own answers. Answers whether the client took it.
    async fn answer(&self, answer: Answer<'_>) -> bool {
        let mut out = self.worker.buffers.output();
        let pinned = self.worker.view.pin();
        let balancer = pinned.plan.balancer();
        let headers = balancer.info_headers;
        let answer = Answer {
            request_id: answer.request_id.filter(|_| headers.request_id),
            ..answer
        };
        let extra = info::of_own_answer(headers, &self.worker, answer.extra);
        let whole = Answer {
            extra: extra.as_deref().unwrap_or(answer.extra),
            ..answer
        };
        // A large page goes out from where it is, and lets others have their turn in between.
        let rest = match whole.page {
            Some((_, page)) if page.len() > PIECE && !whole.head_only => page,
            _ => b"",
        };
        let whole = Answer {
            head_only: whole.head_only || !rest.is_empty(),
            ..whole
        };
        self.write_answer(whole, balancer, &mut out);
        let patience = balancer.timeouts.client;
        drop(pinned);
        let mut is_taken = self.is_taken(patience, &out).await;
        for piece in rest.chunks(PIECE) {
            if !is_taken {
                break;
            }
            yield_now().await;
            is_taken = self.is_taken(patience, piece).await;
        }
        let length = out.len() + rest.len();
        self.trace.answered_here(answer.status, length, is_taken);
        is_taken
    }

    async fn is_taken(&self, patience: Duration, bytes: &[u8]) -> bool {
        let written = self.stream.write_all(bytes);
        matches!(self.deadline.limit(patience, written).await, Ok(Ok(())))
    }

    /// With the service's page for this status, else the balancer's, else a file's, else a plain one.
    fn write_answer(&self, answer: Answer<'_>, balancer: &Balancer, out: &mut Vec<u8>) {
        let of = |pages: &'_ Option<Arc<ErrorPages>>| {
            let pages = pages.as_ref()?;
            pages.get(answer.status).cloned()
        };
        let mut answer = answer;
        let page = match answer.page {
            None => of(&self.error_pages).or_else(|| of(&balancer.error_pages)),
            Some(_) => None,
        };
        match &page {
            None => {}
            Some(ErrorPage::Text { content_type, body }) => {
                answer.page = Some((content_type, body.as_bytes()));
            }
            Some(ErrorPage::File(name)) => answer.file = Some(name),
        }
        self.worker.shared.pages.write(&answer, out);
    }

    /// One log line for a request that was refused for what it is.
    fn note(&self, fault: &Fault) {
        if self.worker.may_log() {
            tracing::info!(
                peer = %self.ends.peer, listener = %self.ends.listener, status = fault.status,
                reason = fault.reason, "request rejected"
            );
        }
    }
}

/// Whether there is nothing yet but what may stand before a request.
fn is_blank(input: &Input) -> bool {
    b"\r\n".starts_with(input.filled())
}

fn is_head(head: &RequestHead) -> bool {
    head.method == Method::Head
}
