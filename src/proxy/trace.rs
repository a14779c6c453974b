//! What is remembered of a request or a TCP session on its way, for its line in the access log.
//!
//! A [`Trace`] is told of each milestone where it is reached, and makes one line when it is finished.
//! While no log is written it counts bytes and holds nothing else: being told costs a comparison, and no clock is
//! read. What it holds is lent by the worker and given back.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::accesslog::{Cause, Ended, Http, Load, Phase, Record, RequestLine, Times, Upstream};
use crate::plan::Service;
use crate::proxy::generation::Generation;
use crate::proxy::http1::{FieldId, RequestHead, Version};
use crate::proxy::listen::Ends;
use crate::proxy::tunnel::{self, End, Side};
use crate::proxy::worker::Worker;

/// What HTTP listeners are called where HAProxy names a frontend.
const HTTP_FRONTEND: &str = "http";

/// Stories kept for the next request.
const KEPT: usize = 256;

/// One request or session. If it is to have a line, dropping it unfinished says that it was cut.
#[derive(Default)]
pub(crate) struct Trace {
    traced: Option<Traced>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
}

struct Traced {
    worker: Rc<Worker>,
    story: Box<Story>,
}

/// What a worker keeps to lend.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "a connection holds one while it serves a request: a pointer where most hold nothing"
)]
pub(crate) struct Stories(RefCell<Vec<Box<Story>>>);

struct Story {
    client: SocketAddr,
    listener: SocketAddr,
    is_http: bool,
    tls: Option<&'static str>,
    began_at: SystemTime,
    began: Instant,
    asked: Cell<Option<Instant>>,
    is_queued: Cell<bool>,
    admitted: Cell<Option<Instant>>,
    connected: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    status: Cell<Option<u16>>,
    retries: Cell<u32>,
    redispatched: Cell<bool>,
    queue_place: Cell<u32>,
    generation: Cell<u64>,
    service: RefCell<Option<Arc<Service>>>,
    /// Of the service's members.
    upstream: Cell<Option<usize>>,
    ended: Cell<Option<Ended>>,
    cookies: Cell<[u8; 2]>,
    is_silent: Cell<bool>,
    said: RefCell<Said>,
}

/// What is copied of a request: its bytes are gone when its line is written.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    /// Where each piece ends.
    ends: [usize; Piece::COUNT],
    version: Version,
}

#[derive(Clone, Copy)]
enum Piece {
    Method,
    Target,
    Host,
    Referer,
    UserAgent,
    User,
    RequestId,
}

impl Trace {
    /// Begins if a log is written. The first byte of a request is there, or a connection.
    pub(crate) fn begin(
        &mut self,
        worker: &Rc<Worker>,
        generation: &Generation,
        ends: Ends,
        tls: Option<&'static str>,
        is_http: bool,
    ) {
        self.bytes_up.set(0);
        self.bytes_down.set(0);
        if generation.access_log.is_none() {
            return;
        }
        let kept = worker.stories.0.borrow_mut().pop();
        let mut said = match &kept {
            Some(story) => story.said.take(),
            None => Said::default(),
        };
        said.bytes.clear();
        said.ends = Default::default();
        let story = Story {
            client: ends.peer,
            listener: ends.asked(),
            is_http,
            tls,
            began_at: SystemTime::now(),
            began: Instant::now(),
            asked: Cell::default(),
            is_queued: Cell::default(),
            admitted: Cell::default(),
            connected: Cell::default(),
            answered: Cell::default(),
            status: Cell::default(),
            retries: Cell::default(),
            redispatched: Cell::default(),
            queue_place: Cell::default(),
            generation: Cell::new(generation.id),
            service: RefCell::default(),
            upstream: Cell::default(),
            ended: Cell::default(),
            cookies: Cell::new(*b"--"),
            is_silent: Cell::default(),
            said: RefCell::new(said),
        };
        let story = match kept {
            Some(mut kept) => {
                *kept = story;
                kept
            }
            None => Box::new(story),
        };
        self.traced = Some(Traced {
            worker: worker.clone(),
            story,
        });
    }

    /// A request's head is complete.
    pub(crate) fn asked(&self, head: &RequestHead, bytes: &[u8], id: &[u8], generation: u64) {
        if let Some(story) = self.story() {
            story.asked.set(Some(Instant::now()));
            story.generation.set(generation);
            story.said.borrow_mut().copy(head, bytes, id);
        }
    }

    /// It begins anew by a newer plan. How long that took so far, and how often it was tried, stays.
    pub(crate) fn led_anew(&self, generation: u64) {
        if let Some(story) = self.story() {
            story.generation.set(generation);
            story.is_queued.set(false);
            story.admitted.set(None);
            story.connected.set(None);
            story.queue_place.set(0);
            story.upstream.set(None);
            story.ended.set(None);
            story.cookies.set(*b"--");
            story.is_silent.set(false);
            story.redispatched.set(true);
            if let Some(before) = story.service.take() {
                before.state.leave_traced();
            }
        }
    }

    /// It belongs to this service, which may not want lines.
    pub(crate) fn routed(&self, service: &Arc<Service>) {
        if let Some(story) = self.story() {
            if !service.config.access_log {
                story.is_silent.set(true);
            }
            service.state.enter_traced();
            if let Some(before) = story.service.replace(Some(service.clone())) {
                before.state.leave_traced();
            }
        }
    }

    /// What stickiness made of its cookies, in HAProxy's letters.
    pub(crate) fn stuck(&self, letters: [u8; 2]) {
        if let Some(story) = self.story() {
            story.cookies.set(letters);
        }
    }

    /// It asks for a place at its service.
    pub(crate) fn queued(&self, service: &Service) {
        if let Some(story) = self.story() {
            story.is_queued.set(true);
            let gate = &service.state.gate;
            let limit = service.config.max_connections;
            if limit.is_some_and(|limit| gate.active() >= limit) {
                let ahead = u32::try_from(gate.queued()).unwrap_or(u32::MAX);
                story.queue_place.set(ahead.saturating_add(1));
            }
        }
    }

    pub(crate) fn admitted(&self) {
        if let Some(story) = self.story() {
            story.admitted.set(Some(Instant::now()));
        }
    }

    /// This member of the service is to serve it.
    pub(crate) fn picked(&self, index: usize) {
        if let Some(story) = self.story() {
            let before = story.upstream.replace(Some(index));
            if before.is_some_and(|before| before != index) {
                story.redispatched.set(true);
            }
            story.connected.set(None);
        }
    }

    pub(crate) fn connected(&self) {
        if let Some(story) = self.story() {
            story.connected.set(Some(Instant::now()));
        }
    }

    pub(crate) fn retried(&self) {
        if let Some(story) = self.story() {
            story.retries.set(story.retries.get() + 1);
        }
    }

    /// The upstream's head of the answer is there.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(story) = self.story() {
            story.answered.set(Some(Instant::now()));
            story.status.set(Some(status));
        }
    }

    /// The head of the request and so much of its body went to the upstream: anew, if it did before.
    pub(crate) fn passed_on(&self, bytes: usize) {
        self.bytes_up.set(bytes as u64);
    }

    /// More of the request's body came.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_up.set(self.bytes_up.get() + bytes as u64);
    }

    /// The client took this.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_down.set(self.bytes_down.get() + bytes as u64);
    }

    /// It was answered by us. What ended it, if nothing else was told, is read from the status.
    pub(crate) fn answered_here(&self, status: u16, bytes: usize, is_taken: bool) {
        if is_taken {
            self.sent(bytes);
        }
        let Some(story) = self.story() else { return };
        let (cause, phase) = match status {
            401 | 404 | 407 | 100..400 => (Cause::Local, Phase::Request),
            503 => (Cause::Upstream, Phase::Connect),
            400..500 => (Cause::Refused, Phase::Request),
            _ => (Cause::Upstream, story.phase()),
        };
        if is_taken {
            story.status.set(Some(status));
            self.stop_in(cause, phase);
        } else {
            self.stop(Cause::ClientAbort);
        }
    }

    /// It ends for this, where it is now. The first cause told is the one that counts.
    pub(crate) fn stop(&self, cause: Cause) {
        if let Some(story) = self.story() {
            self.stop_in(cause, story.phase());
        }
    }

    pub(crate) fn stop_in(&self, cause: Cause, phase: Phase) {
        if let Some(story) = self.story()
            && story.ended.get().is_none()
        {
            story.ended.set(Some(Ended { cause, phase }));
        }
    }

    /// What came was cut off before it was a request.
    pub(crate) fn cut_head(&self) {
        if let Some(story) = self.story() {
            story.status.set(Some(400));
            self.stop(Cause::ClientAbort);
        }
    }

    /// Bytes went both ways until this.
    pub(crate) fn tunnelled(&self, ended: &tunnel::Ended) {
        self.bytes_up.set(self.bytes_up.get() + ended.sent);
        self.bytes_down.set(self.bytes_down.get() + ended.received);
        let cause = match &ended.how {
            End::Finished => return,
            End::Silence => Cause::ClientTimeout,
            End::Cut => Cause::Killed,
            End::Broken(Side::Client, _) => Cause::ClientAbort,
            End::Broken(Side::Upstream, _) => Cause::Upstream,
        };
        self.stop_in(cause, Phase::Data);
    }

    /// There will be no line: nobody asked for anything, or it is nobody's business.
    pub(crate) fn forget(&self) {
        if let Some(story) = self.story() {
            story.is_silent.set(true);
        }
    }

    /// Whether not a byte went either way and nothing was wrong.
    pub(crate) fn is_uneventful(&self) -> bool {
        self.story()
            .is_some_and(|story| self.bytes() == (0, 0) && story.ended.get().is_none())
    }

    /// It is over. Writes its line.
    pub(crate) fn finish(&mut self) {
        let bytes = self.bytes();
        if let Some(traced) = self.traced.take() {
            traced.tell(bytes);
        }
    }

    /// What went up to an upstream, and down to the client.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_up.get(), self.bytes_down.get())
    }

    #[inline]
    fn story(&self) -> Option<&Story> {
        self.traced.as_ref().map(|traced| &*traced.story)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.traced.is_some() {
            self.stop(Cause::Killed);
            self.finish();
        }
    }
}

impl Traced {
    fn tell(self, bytes: (u64, u64)) {
        let Traced { worker, story } = self;
        let service = story.service.take();
        // As HAProxy counts: who is still there when this one has left.
        let left = service
            .as_ref()
            .map_or(0, |service| service.state.leave_traced());
        let generation = worker.view.pin();
        if let Some(log) = &generation.access_log
            && !story.is_silent.get()
        {
            let said = story.said.borrow();
            let record = story.record(&worker, service.as_deref(), left, &said, bytes);
            worker.journal.borrow_mut().note(log, &record);
        }
        let mut kept = worker.stories.0.borrow_mut();
        if kept.len() < KEPT {
            kept.push(story);
        }
    }
}

impl Story {
    /// Where it is, going by what it has reached.
    fn phase(&self) -> Phase {
        if self.is_http && self.asked.get().is_none() || !self.is_queued.get() {
            Phase::Request
        } else if self.admitted.get().is_none() {
            Phase::Queue
        } else if self.connected.get().is_none() {
            Phase::Connect
        } else if self.is_http && self.answered.get().is_none() {
            Phase::Headers
        } else {
            Phase::Data
        }
    }

    fn record<'a>(
        &'a self,
        worker: &Worker,
        service: Option<&'a Service>,
        left: u32,
        said: &'a Said,
        (bytes_up, bytes_down): (u64, u64),
    ) -> Record<'a> {
        let member = service
            .zip(self.upstream.get())
            .and_then(|(service, index)| service.members.get(index));
        let name = service.map(|service| service.config.name.as_str());
        let http = self.is_http.then(|| Http {
            status: self.status.get(),
            request: self.asked.get().map(|_| RequestLine {
                method: said.get(Piece::Method),
                target: said.get(Piece::Target),
                version: match said.version {
                    Version::Http10 => "HTTP/1.0",
                    Version::Http11 => "HTTP/1.1",
                },
            }),
            request_id: said.get(Piece::RequestId),
            host: said.get(Piece::Host),
            referer: said.get(Piece::Referer),
            user_agent: said.get(Piece::UserAgent),
            user: said.get(Piece::User),
            cookies: self.cookies.get(),
        });
        Record {
            began: self.began_at,
            client: self.client,
            listener: self.listener,
            frontend: match self.is_http {
                true => HTTP_FRONTEND,
                false => name.unwrap_or("tcp"),
            },
            tls: self.tls,
            service: name,
            upstream: member.map(|member| Upstream {
                name: member.name.as_str(),
                address: member.address,
            }),
            times: self.times(),
            bytes_up,
            bytes_down,
            ended: self.ended.get().unwrap_or_default(),
            load: Load {
                connections: u32::try_from(worker.shared.connections()).unwrap_or(u32::MAX),
                service: left,
                upstream: member.map_or(0, |member| member.state.in_flight()),
            },
            retries: self.retries.get(),
            redispatched: self.redispatched.get(),
            queue_place: self.queue_place.get(),
            generation: self.generation.get(),
            http,
        }
    }

    fn times(&self) -> Times {
        let now = Instant::now();
        let since =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        // A session has no head: its queue begins with it.
        let asked = match self.is_http {
            true => self.asked.get(),
            false => Some(self.began),
        };
        // HAProxy's view: where there is nobody to wait for there is no waiting.
        let has_waited = self.upstream.get().is_some() || self.queue_place.get() > 0;
        let left_queue = match self.admitted.get() {
            Some(admitted) => has_waited.then_some(admitted),
            None => self.is_queued.get().then_some(now),
        };
        Times {
            request: since(Some(self.began), self.asked.get()),
            queue: since(asked, left_queue),
            connect: since(self.admitted.get(), self.connected.get()),
            response: since(self.connected.get(), self.answered.get()),
            total: now.saturating_duration_since(self.began),
        }
    }
}

impl Said {
    fn copy(&mut self, head: &RequestHead, from: &[u8], id: &[u8]) {
        let value = |id| head.fields.get(id).map_or(&b""[..], |f| f.value.get(from));
        self.version = head.version;
        self.add(Piece::Method, head.method_name.get(from));
        self.add(Piece::Target, head.target.get(from));
        self.add(Piece::Host, head.host().as_bytes());
        self.add(Piece::Referer, value(FieldId::Referer));
        self.add(Piece::UserAgent, value(FieldId::UserAgent));
        self.add_user(value(FieldId::Authorization));
        self.add(Piece::RequestId, id);
    }

    /// Pieces are added in their order.
    fn add(&mut self, piece: Piece, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends[piece as usize] = self.bytes.len();
    }

    /// The user of basic authentication. The password is not even kept in memory.
    fn add_user(&mut self, authorization: &[u8]) {
        let before = self.bytes.len();
        if let Some((scheme, credentials)) = authorization.split_at_checked(6)
            && scheme.eq_ignore_ascii_case(b"basic ")
            // Some clients leave the padding out.
            && let Some(unpadded) = credentials.trim_ascii().split(|b| *b == b'=').next()
            && BASE64_STANDARD_NO_PAD
                .decode_vec(unpadded, &mut self.bytes)
                .is_ok()
        {
            let user = self.bytes[before..].iter().position(|b| *b == b':');
            self.bytes.truncate(before + user.unwrap_or_default());
        } else {
            self.bytes.truncate(before);
        }
        self.ends[Piece::User as usize] = self.bytes.len();
    }

    fn get(&self, piece: Piece) -> &[u8] {
        let at = piece as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..self.ends[at]).unwrap_or_default()
    }
}

impl Piece {
    const COUNT: usize = Piece::RequestId as usize + 1;
}
