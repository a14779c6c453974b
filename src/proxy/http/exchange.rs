//! One request to an upstream and its answer back: choosing, connecting, sending, trying again.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::accesslog::{Cause, Phase};
use crate::balance::{self, InFlight, Member, Tried};
use crate::config::{HostHeader, Policy, Timeouts};
use crate::plan::Service;
use crate::proxy::buffers::{Input, Output};
use crate::proxy::http::fault::{Blame, Fault};
use crate::proxy::http::id::RequestId;
use crate::proxy::http::info::Info;
use crate::proxy::http::relay::{AnswerEnd, Course, Upload, UploadEnd, is_too_large};
use crate::proxy::http::sticky::Stickiness;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{
    BodyReader, ClientConnection, Framing, Limits, Method, RequestEdit, RequestHead, ResponseEdit,
    ResponseHead, Version, edit_fields, is_sound_path, write_request, write_response,
};
use crate::proxy::send_proxy::{About, Told, header};
use crate::proxy::stream::Stream;
use crate::proxy::timer::Deadline;
use crate::proxy::tls::alert_reason;
use crate::proxy::upstream::{Destination, NotConnected, PAUSE, Whom, connect};
use crate::proxy_header::Form;
use crate::rules::{Edits, FieldEdit, Rules};

/// Everything one request needs on its way. Borrowed from the generation that the request pins:
/// counting references would make all workers write to the same memory for each request.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a Client,
    pub(super) service: &'a Service,
    pub(super) head: &'a RequestHead,
    /// Bytes of the path that are not passed on.
    pub(super) prefix: usize,
    /// The path that led here, where rules changed it before.
    pub(super) routed: Option<&'a [u8]>,
    /// The balancer's own, for every request.
    pub(super) rules: Option<&'a Rules>,
    pub(super) policy: Option<&'a Policy>,
    pub(super) sticky: Option<Stickiness<'a>>,
    /// What rules changed of the request.
    pub(super) edits: &'a Edits,
    /// What the client is told to remember about https.
    pub(super) hsts: Option<&'a str>,
    pub(super) id: &'a RequestId,
    /// What the client is told of how it was served.
    pub(super) info: Info,
    pub(super) waits: Waits,
    pub(super) retries: u32,
    /// Whether it may be led to the upstreams of now when those of its plan are gone.
    pub(super) may_lead_anew: bool,
    pub(super) max_body: Option<u64>,
    pub(super) limits: Limits,
}

/// Waits that hold for one request: its service's, else the balancer's.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    pub(super) server: Duration,
    pub(super) client: Duration,
    pub(super) tunnel: Duration,
}

impl Waits {
    pub(super) fn new(service: &Service, all: &Timeouts) -> Self {
        let own = &service.config.timeouts;
        Self {
            connect: own.connect.unwrap_or(all.connect),
            server: own.server.unwrap_or(all.server),
            client: own.client.unwrap_or(all.client),
            tunnel: own.tunnel.unwrap_or(all.tunnel),
        }
    }
}

/// What came of a request.
pub(super) enum Outcome {
    Answered(Next),
    /// Both sides agreed to another protocol: from here on bytes go both ways.
    Switched(Switched),
    /// Its upstreams have left the plan since it was led to them, and nothing came of it.
    Outdated,
}

/// A connection that becomes a tunnel.
pub(super) struct Switched {
    pub(super) upstream: Stream,
    /// What the upstream sent behind its 101.
    pub(super) early: Input,
    /// Of the service's members.
    pub(super) index: usize,
    pub(super) in_flight: InFlight,
}

/// How one attempt ended.
pub(super) enum Attempt {
    /// Answered. The upstream's connection can be used again, or not.
    Answered {
        next: Next,
        reuse: bool,
    },
    /// The upstream agreed to an upgrade; what it sent behind the 101 is in the input.
    Switched(Input),
    /// The upstream went away before it answered anything. `sent`: it may have seen the request.
    Lost {
        sent: bool,
    },
    Failed(Fault),
}

impl Exchange<'_> {
    /// Brings the request to an upstream. An error means that the client got nothing yet.
    pub(super) async fn run(self, input: &mut Input) -> Result<Outcome, Fault> {
        // Cut in the middle of a segment, `/api../x` is `/../x`.
        if let Some(Cow::Owned(path)) = self.stripped_path(input.filled())
            && !is_sound_path(&path)
        {
            return Err(Fault::client(400, "dot segment in path without its prefix"));
        }
        let mut tried = Tried::default();
        let mut retries = self.retries;
        let mut may_reuse = true;
        loop {
            let Some(index) = self.pick(&tried) else {
                if self.may_lead_anew && self.service.has_lost_members() {
                    return Ok(Outcome::Outdated);
                }
                return Err(Fault::upstream(503, "no upstream can take it"));
            };
            let member = &self.service.members[index];
            self.client.trace.picked(index);
            self.info.picked(index);
            let in_flight = InFlight::begin(&member.state);
            let pooled = match may_reuse {
                true => self.reuse(index, input),
                false => None,
            };
            let is_reused = pooled.is_some();
            let connected = match pooled {
                Some(stream) => Ok(stream),
                None => self.connect(index).await,
            };
            let mut was_sent = false;
            let fault = match connected {
                Err(NotConnected::Io(_) | NotConnected::Left) => {
                    Fault::upstream(503, "no upstream could be connected")
                }
                // Somebody is there, and not whom we want to speak to.
                Err(NotConnected::Handshake(_)) => {
                    Fault::upstream(502, "no handshake with an upstream")
                }
                Ok(upstream) => match self.attempt(&upstream, is_reused, member, input).await {
                    Attempt::Answered { next, reuse } => {
                        match reuse {
                            true => self.keep(index, upstream),
                            false => upstream.end_now(),
                        }
                        return Ok(Outcome::Answered(next));
                    }
                    Attempt::Switched(early) => {
                        let switched = Switched {
                            upstream,
                            early,
                            index,
                            in_flight,
                        };
                        return Ok(Outcome::Switched(switched));
                    }
                    Attempt::Failed(fault) => {
                        if fault.by == Blame::Upstream {
                            member.state.record_failure();
                        }
                        return Err(fault);
                    }
                    Attempt::Lost { sent } => {
                        let fault = Fault::upstream(502, "upstream closed without an answer");
                        if sent && !self.is_replayable(input) {
                            member.state.record_failure();
                            return Err(fault);
                        }
                        if is_reused {
                            // It was closing while we wrote: says nothing about the upstream.
                            may_reuse = false;
                            continue;
                        }
                        was_sent = sent;
                        fault
                    }
                },
            };
            drop(in_flight);
            member.state.record_failure();
            // What was sent is not sent again where nobody wants that.
            let may_lead_anew = self.may_lead_anew && (!was_sent || retries > 0);
            if may_lead_anew && member.state.has_left() {
                self.client.trace.retried();
                return Ok(Outcome::Outdated);
            }
            if retries == 0 {
                return Err(fault);
            }
            retries -= 1;
            self.client.trace.retried();
            tried.add(index);
            if !self.service.has_untried(&tried) {
                tried = Tried::default();
                self.client.deadline.sleep(PAUSE).await;
            }
        }
    }

    /// An upstream that can take it: the client's own, else whose turn it is.
    fn pick(&self, tried: &Tried) -> Option<usize> {
        match &self.sticky {
            Some(sticky) => sticky.pick(self.client.hash, tried),
            None => self.service.pick(self.client.hash, tried),
        }
    }

    /// An unused connection to this upstream: anybody's, or the client's own where it is told who
    /// that is.
    fn reuse(&self, index: usize, input: &Input) -> Option<Stream> {
        let worker = &self.client.worker;
        let upstream = Destination::of(self.service, index);
        let may_repeat = self.is_replayable(input);
        match self.told() {
            None => worker.pools.take(upstream, may_repeat),
            Some(told) => {
                let own = &self.client.own;
                own.take(upstream, told, may_repeat, &worker.wheel)
            }
        }
    }

    fn keep(&self, index: usize, stream: Stream) {
        let worker = &self.client.worker;
        let upstream = Destination::of(self.service, index);
        match self.told() {
            None => worker.pools.put(upstream, stream),
            Some(told) => {
                let own = &self.client.own;
                own.put(upstream, told, stream, &worker.wheel);
            }
        }
    }

    /// What its upstreams are told of the client; `None`: nothing.
    fn told(&self) -> Option<Told> {
        let form = self.service.config.send_proxy?;
        let is_identified = self.client.common_name(self.service).is_some();
        Some(Told {
            form,
            is_identified,
        })
    }

    async fn connect(&self, index: usize) -> Result<Stream, NotConnected> {
        let Client { worker, .. } = self.client;
        // A plain connection has its header in one piece with its first request.
        let form = self.service.config.send_proxy;
        let header = match self.service.secured(index) {
            None => None,
            Some(_) => form.map(|form| self.header(form)),
        };
        let whom = Whom {
            service: self.service,
            index,
            header: header.as_deref(),
        };
        connect(worker, whom, self.waits.connect).await
    }

    /// Who the client is, for a connection that is made for this request.
    fn header(&self, form: Form) -> Vec<u8> {
        let Client { stream, ends, .. } = self.client;
        let about = About {
            server_name: None,
            id: Some(self.id.as_bytes()),
            common_name: self.client.common_name(self.service),
        };
        header(form, stream, *ends, about)
    }

    /// Sends the request on this connection and passes the answer on.
    async fn attempt(
        &self,
        upstream: &Stream,
        is_reused: bool,
        member: &Member,
        input: &mut Input,
    ) -> Attempt {
        self.client.trace.connected();
        self.info.connected();
        let mut body = BodyReader::new(self.head.framing);
        let (mut out, used) = match self.compose(input, member, &mut body) {
            Ok(composed) => composed,
            Err(fault) => return Attempt::Failed(fault),
        };
        if let (Some(form), false) = (self.service.config.send_proxy, is_reused)
            && !upstream.is_tls()
        {
            out.splice(0..0, self.header(form));
        }
        self.client.trace.passed_on(used);
        let deadline = &self.client.deadline;
        match deadline
            .limit(self.waits.server, send(upstream, &out))
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(sent)) => return Attempt::Lost { sent },
            Err(_) => return Attempt::Failed(Fault::upstream(504, "upstream takes no request")),
        }
        drop(out);
        let worker = &self.client.worker;
        let mut answer = worker.http.response_head();
        let attempt = if body.is_done() {
            let course = Course::default();
            course.uploaded.set(true);
            let request = Some((input, used));
            self.answer(upstream, deadline, &mut answer, &course, request)
                .await
        } else {
            // From here on there is no second try: what is sent is not kept.
            input.consume(used);
            self.both_ways(upstream, input, body, &mut answer).await
        };
        worker.http.keep_response_head(answer);
        let is_answered = matches!(attempt, Attempt::Answered { .. } | Attempt::Switched(_));
        if !is_answered
            && !is_reused
            && let Some(alert) = upstream.alert()
        {
            worker.note_no_handshake(self.service, member, &alert_reason(alert));
        }
        attempt
    }

    /// The request head as the upstream gets it, and what is there of the body already.
    fn compose(
        &self,
        input: &Input,
        member: &Member,
        body: &mut BodyReader,
    ) -> Result<(Output, usize), Fault> {
        let bytes = input.filled();
        let path = self.stripped_path(bytes);
        let needs_host = self.head.authority.is_empty();
        let default_host = if needs_host {
            member.authority()
        } else {
            String::new()
        };
        let host = self.policy.and_then(|policy| match &policy.host_header {
            HostHeader::Client => None,
            HostHeader::Upstream => Some(Cow::Owned(member.authority())),
            HostHeader::Named(name) => Some(Cow::Borrowed(name.as_str())),
        });
        let edit = RequestEdit {
            path: path.as_deref(),
            query: self.edits.query.as_deref(),
            host: host.as_deref().map(str::as_bytes),
            default_host: default_host.as_bytes(),
            forwarded: self
                .client
                .forwarded
                .as_ref()
                .map(|(_, forwarded)| forwarded),
            request_id: Some(self.id.as_bytes()),
            close: false,
            extra: b"",
        };
        let mut out = self.client.worker.buffers.output();
        write_request(self.head, bytes, &edit, &mut out);
        if !self.edits.fields.is_empty() {
            edit_fields(&mut out, 0, &self.edits.fields);
        }
        let mut used = self.head.len;
        while !body.is_done() {
            let step = body.relay(&bytes[used..])?;
            if step.used() == 0 && !step.end {
                break;
            }
            out.extend_from_slice(&bytes[used + step.skip..used + step.used()]);
            used += step.used();
        }
        if is_too_large(body, self.max_body) {
            return Err(Fault::client(413, "body is too large"));
        }
        Ok((out, used))
    }

    /// The path without the prefix that led here, as rules left it; `None` if it stays as it came.
    fn stripped_path<'b>(&'b self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let came = self.routed.unwrap_or(self.head.path.get(bytes));
        let path = self.edits.path.as_deref().unwrap_or(came);
        let unstripped = self.edits.path.as_deref().map(Cow::Borrowed);
        let prefix = came.get(..self.prefix).unwrap_or_default();
        let Some(rest) = path.strip_prefix(prefix) else {
            return unstripped;
        };
        match rest.first() {
            _ if prefix.is_empty() => unstripped,
            None | Some(b'/') => Some(Cow::Borrowed(rest)),
            Some(_) if prefix == b"/" => unstripped,
            Some(_) if prefix.ends_with(b"/") => Some(Cow::Borrowed(&path[prefix.len() - 1..])),
            Some(_) => Some(Cow::Owned([b"/", rest].concat())),
        }
    }

    /// What is changed of the answer besides what every answer gets.
    pub(super) fn answer_edits(&self, answer: &ResponseHead, bytes: &[u8]) -> Vec<FieldEdit> {
        let mut edits = Vec::new();
        if let Some(value) = self.hsts {
            // First: rules of the service's own may say it better.
            edits.push(FieldEdit::Set {
                name: "strict-transport-security".to_owned(),
                value: value.into(),
            });
        }
        let of_service = self.policy.map(|policy| &policy.rules);
        for rules in of_service.into_iter().chain(self.rules) {
            self.client
                .amend(rules, answer, bytes, self.id, self.edits, &mut edits);
        }
        if let Some(sticky) = &self.sticky {
            sticky.amend(answer, bytes, &mut edits);
            self.client.trace.stuck(sticky.letters());
        }
        self.info
            .tell(&self.client.worker, &self.service.members, &mut edits);
        edits
    }

    /// Sends the rest of the body while the answer may come already.
    async fn both_ways(
        &self,
        upstream: &Stream,
        input: &mut Input,
        body: BodyReader,
        answer: &mut ResponseHead,
    ) -> Attempt {
        let course = Course::default();
        let answer_deadline = self.client.worker.wheel.deadline();
        let mut upload = pin!(
            Upload {
                client: self.client,
                upstream,
                waits: self.waits,
                max_body: self.max_body,
                answer_deadline: &answer_deadline,
                course: &course,
            }
            .run(input, body)
        );
        let mut download = pin!(self.answer(upstream, &answer_deadline, answer, &course, None));
        let mut upload_ended = false;
        let attempt = poll_fn(|cx| {
            if !upload_ended && let Poll::Ready(end) = upload.as_mut().poll(cx) {
                upload_ended = true;
                match end {
                    UploadEnd::Finished => course.uploaded.set(true),
                    // It may have answered before it stopped reading.
                    UploadEnd::UpstreamGone => {}
                    UploadEnd::Failed(fault) => {
                        self.client.trace.stop_in(fault.cause, Phase::Data);
                        return Poll::Ready(Attempt::Failed(fault));
                    }
                }
            }
            download.as_mut().poll(cx)
        })
        .await;
        match attempt {
            // The client's fault, but it has an answer already: all that is left is to close.
            Attempt::Failed(_) if course.begun.get() => Attempt::Answered {
                next: Next::Cut,
                reuse: false,
            },
            Attempt::Lost { .. } => {
                Attempt::Failed(Fault::upstream(502, "upstream closed without an answer"))
            }
            attempt => attempt,
        }
    }

    /// Waits for the answer and passes it on. `request` is the request's own bytes, used up once the
    /// answer has begun and nothing can be sent again.
    async fn answer(
        &self,
        upstream: &Stream,
        deadline: &Deadline,
        answer: &mut ResponseHead,
        course: &Course,
        request: Option<(&mut Input, usize)>,
    ) -> Attempt {
        let mut received = self.client.worker.buffers.input();
        match self
            .answer_head(upstream, deadline, &mut received, answer, course)
            .await
        {
            Ok(()) => {}
            Err(attempt) => return attempt,
        }
        if let Some((input, used)) = request {
            input.consume(used);
            input.park();
        }
        self.client.trace.answered(answer.status);
        self.count_answer(answer.status);
        course.begun.set(true);
        if answer.status == 101 {
            return self.switch(deadline, received, answer).await;
        }
        match self
            .answer_body(upstream, deadline, &mut received, answer, course)
            .await
        {
            AnswerEnd::Whole { keep, reuse } => {
                let next = match (keep, course.uploaded.get()) {
                    (true, true) => Next::Keep,
                    (false, true) => Next::Close,
                    (_, false) => Next::Linger,
                };
                Attempt::Answered {
                    next,
                    reuse: reuse && course.uploaded.get(),
                }
            }
            AnswerEnd::Broken(reason) => {
                // Unless it was told already whose doing it was: the answer's framing is bad.
                self.client.trace.stop(Cause::Refused);
                tracing::debug!(service = %self.service.config.name, reason, "answer cut short");
                Attempt::Answered {
                    next: Next::Cut,
                    reuse: false,
                }
            }
        }
    }

    fn count_answer(&self, status: u16) {
        let (state, took) = (&self.service.state, self.info.since_picked());
        state.record(balance::Outcome::Status(status));
        state.latencies.note(took);
        if let Some(member) = self.info.member(&self.service.members) {
            member.state.answered(status, took);
        }
    }

    /// Tells the client that the protocol changes from here on.
    async fn switch(
        &self,
        deadline: &Deadline,
        mut received: Input,
        answer: &ResponseHead,
    ) -> Attempt {
        let mut out = self.client.worker.buffers.output();
        let edit = ResponseEdit {
            request_id: self.info.request_id(self.id),
            ..ResponseEdit::default()
        };
        let edits = self.answer_edits(answer, received.filled());
        write_response(answer, received.filled(), &edit, &mut out);
        if !edits.is_empty() {
            edit_fields(&mut out, 0, &edits);
        }
        received.consume(answer.len);
        match deadline
            .limit(self.waits.client, self.client.stream.write_all(&out))
            .await
        {
            Ok(Ok(())) => {
                self.client.trace.sent(out.len());
                Attempt::Switched(received)
            }
            _ => {
                self.client.trace.stop(Cause::ClientAbort);
                Attempt::Answered {
                    next: Next::Cut,
                    reuse: false,
                }
            }
        }
    }

    /// How the answer's body goes to this client, and whether the connection stays.
    pub(super) fn client_framing(&self, answer: &ResponseHead, uploaded: bool) -> (Framing, bool) {
        let wants = self.head.keep_alive && uploaded && !self.client.worker.is_draining();
        match (answer.framing, self.head.version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
                (Framing::UntilClose, false)
            }
            (Framing::UntilClose, Version::Http11) => (Framing::Chunked, wants),
            (framing, _) => (framing, wants),
        }
    }

    pub(super) fn client_connection(&self, keep: bool) -> ClientConnection {
        ClientConnection::for_client(self.head.version, keep)
    }

    pub(super) fn is_head(&self) -> bool {
        self.head.method == Method::Head
    }

    fn is_replayable(&self, input: &Input) -> bool {
        self.head.method.is_idempotent() && is_all_there(self.head, input)
    }
}

/// Writes all of it. The error says whether some of it may have arrived.
async fn send(upstream: &Stream, bytes: &[u8]) -> Result<(), bool> {
    let n = poll_fn(|cx| upstream.poll_write(cx, bytes))
        .await
        .map_err(|_| false)?;
    upstream.write_all(&bytes[n..]).await.map_err(|_| true)
}

/// A body that may be replayed is one that was there as a whole when its head was read.
fn is_all_there(head: &RequestHead, input: &Input) -> bool {
    let mut reader = BodyReader::new(head.framing);
    let mut at = head.len;
    while !reader.is_done() {
        match reader.relay(&input.filled()[at..]) {
            Ok(step) if step.used() > 0 => at += step.used(),
            _ => return false,
        }
    }
    true
}
