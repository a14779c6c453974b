//! Bodies: the request's to the upstream, the answer's to the client.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::accesslog::Cause;
use crate::proxy::buffers::{Input, Output};
use crate::proxy::http::exchange::{Attempt, Exchange, Waits};
use crate::proxy::http::fault::Fault;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{
    Asked, BodyReader, Framing, LAST_CHUNK, ResponseEdit, ResponseHead, Version, edit_fields,
    parse_response, write_chunk_header, write_response,
};
use crate::proxy::stream::Stream;
use crate::proxy::timer::{Deadline, Expired};

/// Interim answers (100, 103) passed on for one request.
const MAX_INTERIM: u32 = 32;

/// An answer within this time is waited for without an eye on the client.
const QUICK: Duration = Duration::from_millis(100);

/// Smaller pieces are put together and written at once; larger ones are written from where they are.
const SMALL: usize = 4096;

/// The rest of a request's body on its way.
pub(super) struct Upload<'a> {
    pub(super) client: &'a Client,
    pub(super) upstream: &'a Stream,
    pub(super) waits: Waits,
    pub(super) max_body: Option<u64>,
    /// Of the answer: an upstream that still takes the body is not late with it.
    pub(super) answer_deadline: &'a Deadline,
    pub(super) course: &'a Course,
}

/// How far an exchange has come, for the half of it that moves the other way.
#[derive(Default)]
pub(super) struct Course {
    /// The whole request has been sent.
    pub(super) uploaded: Cell<bool>,
    /// The final answer's head has come.
    pub(super) begun: Cell<bool>,
    /// More of the request's body is waited for: no upstream can be late meanwhile.
    pub(super) awaits_client: Cell<bool>,
}

pub(super) enum UploadEnd {
    Finished,
    UpstreamGone,
    Failed(Fault),
}

pub(super) enum AnswerEnd {
    /// `keep`: the client's connection; `reuse`: the upstream's.
    Whole {
        keep: bool,
        reuse: bool,
    },
    Broken(&'static str),
}

impl Upload<'_> {
    /// Sends until the body ends; what comes behind it stays in the input.
    pub(super) async fn run(self, input: &mut Input, mut body: BodyReader) -> UploadEnd {
        let deadline = &self.client.deadline;
        loop {
            let step = match body.relay(input.filled()) {
                Ok(step) => step,
                Err(reject) => return UploadEnd::Failed(reject.into()),
            };
            if is_too_large(&body, self.max_body) {
                return UploadEnd::Failed(Fault::client(413, "body is too large"));
            }
            if step.len > 0 {
                let piece = &input.filled()[step.skip..step.used()];
                match deadline
                    .limit(self.waits.server, self.upstream.write_all(piece))
                    .await
                {
                    Ok(Ok(())) => self.answer_deadline.arm(self.waits.server),
                    Ok(Err(_)) => return UploadEnd::UpstreamGone,
                    Err(Expired) => {
                        return UploadEnd::Failed(Fault::upstream(504, "upstream takes no body"));
                    }
                }
            }
            self.client.trace.received(step.used());
            input.consume(step.used());
            if body.is_done() {
                return UploadEnd::Finished;
            }
            if step.used() > 0 {
                continue;
            }
            if input.is_empty() {
                input.park();
            }
            self.course.awaits_client.set(true);
            let more = deadline
                .limit(self.waits.client, read_more(&self.client.stream, input))
                .await;
            self.course.awaits_client.set(false);
            match more {
                Ok(Ok(true)) => self.answer_deadline.arm(self.waits.server),
                Ok(_) => return UploadEnd::Failed(Fault::client_left("body ends early")),
                Err(Expired) => {
                    return UploadEnd::Failed(Fault::client(408, "body did not come in time"));
                }
            }
        }
    }
}

impl Exchange<'_> {
    /// Reads the final head of the answer, passing interim ones on.
    pub(super) async fn answer_head(
        &self,
        upstream: &Stream,
        deadline: &Deadline,
        received: &mut Input,
        answer: &mut ResponseHead,
        course: &Course,
    ) -> Result<(), Attempt> {
        let asked = Asked {
            head: self.is_head(),
            upgrade: self.head.upgrade.is_some(),
        };
        let mut interim = 0;
        loop {
            if !received.is_empty() {
                match parse_response(received.filled(), &self.limits, asked, answer) {
                    Ok(true) if !answer.is_interim() => return Ok(()),
                    Ok(true) => {
                        interim += 1;
                        if interim > MAX_INTERIM {
                            return refused("too many interim answers");
                        }
                        self.pass_interim(deadline, received, answer).await?;
                        received.consume(answer.len);
                        answer.clear();
                        continue;
                    }
                    Ok(false) => {}
                    Err(reject) => {
                        let reason = reject.reason;
                        tracing::info!(
                            service = %self.service.config.name, reason, "answer refused"
                        );
                        return refused(reason);
                    }
                }
                if received.room().is_empty() && !received.grow(self.limits.max_head_size) {
                    return refused("answer's head is too large");
                }
            }
            match self.read_answer(upstream, deadline, received).await {
                Ok(Some(Ok(true))) => {}
                Ok(Some(_)) if received.is_empty() && interim == 0 => {
                    return Err(Attempt::Lost { sent: true });
                }
                Ok(Some(_)) => return failed(502, "answer ends early"),
                Ok(None) => {
                    self.client.trace.stop(Cause::ClientAbort);
                    let state = &self.service.state;
                    state.record(crate::balance::Outcome::ClientFault);
                    return Err(Attempt::Answered {
                        next: Next::Cut,
                        reuse: false,
                    });
                }
                Err(Expired) if course.awaits_client.get() => {}
                Err(Expired) => return failed(504, "upstream did not answer in time"),
            }
        }
    }

    /// Reads once from the upstream. `None`: the client has reset its connection, so that nobody would
    /// get the answer and the upstream's place is worth more to somebody else. Looked for only if the
    /// answer takes its time: quick ones do not pay for it.
    async fn read_answer(
        &self,
        upstream: &Stream,
        deadline: &Deadline,
        received: &mut Input,
    ) -> Result<Option<std::io::Result<bool>>, Expired> {
        let mut read = pin!(read_more(upstream, received));
        let at_first = QUICK.min(self.waits.server);
        match deadline.limit(at_first, read.as_mut()).await {
            Ok(result) => Ok(Some(result)),
            Err(Expired) => {
                let rest = self.waits.server.saturating_sub(at_first);
                deadline
                    .limit(rest, self.client.stream.unless_reset(read))
                    .await
            }
        }
    }

    async fn pass_interim(
        &self,
        deadline: &Deadline,
        received: &Input,
        answer: &ResponseHead,
    ) -> Result<(), Attempt> {
        if self.head.version == Version::Http10 {
            return Ok(());
        }
        let mut out = self.client.worker.buffers.output();
        write_response(
            answer,
            received.filled(),
            &ResponseEdit::default(),
            &mut out,
        );
        match deadline
            .limit(self.waits.client, self.client.stream.write_all(&out))
            .await
        {
            Ok(Ok(())) => {
                self.client.trace.sent(out.len());
                Ok(())
            }
            _ => {
                // Nothing that is written now would be read as what it is.
                self.client.trace.stop(Cause::ClientTimeout);
                Err(Attempt::Answered {
                    next: Next::Cut,
                    reuse: false,
                })
            }
        }
    }

    /// Passes the answer on, head and body.
    pub(super) async fn answer_body(
        &self,
        upstream: &Stream,
        deadline: &Deadline,
        received: &mut Input,
        answer: &ResponseHead,
        course: &Course,
    ) -> AnswerEnd {
        let (framing, keep) = self.client_framing(answer, course.uploaded.get());
        let mut out = self.client.worker.buffers.output();
        let edit = ResponseEdit {
            framing,
            connection: self.client_connection(keep),
            request_id: self.info.request_id(self.id),
            extra: b"",
        };
        let edits = self.answer_edits(answer, received.filled());
        write_response(answer, received.filled(), &edit, &mut out);
        if !edits.is_empty() {
            edit_fields(&mut out, 0, &edits);
        }
        received.consume(answer.len);

        let mut body = BodyReader::new(answer.framing);
        let way = match (answer.framing, framing) {
            (Framing::Chunked, Framing::UntilClose) => Way::Decode,
            (Framing::UntilClose, Framing::Chunked) => Way::Encode,
            _ => Way::Relay,
        };
        loop {
            match self
                .pass(received, &mut body, way, deadline, &mut out)
                .await
            {
                Ok(()) => {}
                Err(reason) => return AnswerEnd::Broken(reason),
            }
            if body.is_done() {
                break;
            }
            received.park();
            match deadline
                .limit(self.waits.server, read_more(upstream, received))
                .await
            {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) if answer.framing == Framing::UntilClose => {
                    if way == Way::Encode {
                        out.extend_from_slice(LAST_CHUNK);
                        if self.flush(&mut out, b"", deadline).await.is_err() {
                            return AnswerEnd::Broken("client takes no answer");
                        }
                    }
                    return AnswerEnd::Whole { keep, reuse: false };
                }
                Ok(_) => {
                    self.client.trace.stop(Cause::Upstream);
                    return AnswerEnd::Broken("upstream ended its body early");
                }
                Err(Expired) => {
                    self.client.trace.stop(Cause::UpstreamTimeout);
                    return AnswerEnd::Broken("upstream stopped in its body");
                }
            }
        }
        // Bytes behind the answer were not asked for: such a connection is not used again.
        AnswerEnd::Whole {
            keep,
            reuse: answer.keep_alive && received.is_empty(),
        }
    }

    /// Writes what is there of the body (and, the first time, the head in front of it).
    async fn pass(
        &self,
        received: &mut Input,
        body: &mut BodyReader,
        way: Way,
        deadline: &Deadline,
        out: &mut Output,
    ) -> Result<(), &'static str> {
        while !body.is_done() && !received.is_empty() {
            let step = match way {
                Way::Decode => body.decode(received.filled()),
                Way::Relay | Way::Encode => body.relay(received.filled()),
            }
            .map_err(|reject| reject.reason)?;
            if step.used() == 0 {
                break;
            }
            let piece = &received.filled()[step.skip..step.used()];
            if way == Way::Encode {
                write_chunk_header(piece.len(), out);
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            } else if piece.len() <= SMALL {
                out.extend_from_slice(piece);
            } else {
                self.flush(out, piece, deadline).await?;
            }
            received.consume(step.used());
        }
        if out.is_empty() {
            Ok(())
        } else {
            self.flush(out, b"", deadline).await
        }
    }

    async fn flush(
        &self,
        out: &mut Output,
        piece: &[u8],
        deadline: &Deadline,
    ) -> Result<(), &'static str> {
        let written = self.client.stream.write_both(out, piece);
        let result = deadline.limit(self.waits.client, written).await;
        let length = out.len() + piece.len();
        out.clear();
        let trace = &self.client.trace;
        match result {
            Ok(Ok(())) => {
                trace.sent(length);
                Ok(())
            }
            Ok(Err(_)) => {
                trace.stop(Cause::ClientAbort);
                Err("client went away")
            }
            Err(Expired) => {
                trace.stop(Cause::ClientTimeout);
                Err("client takes no answer")
            }
        }
    }
}

/// How an answer's body is framed on, compared with how it came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Relay,
    /// For a client that does not know chunks.
    Decode,
    /// For a body whose end would otherwise be the end of the client's connection.
    Encode,
}

/// Reads once. `false` is the end. An empty input holds no buffer while nothing comes.
async fn read_more(stream: &Stream, input: &mut Input) -> std::io::Result<bool> {
    if input.is_empty() {
        stream.readable().await?;
    }
    let n = stream.read(input.room()).await?;
    input.add(n);
    Ok(n > 0)
}

fn refused<T>(reason: &'static str) -> Result<T, Attempt> {
    Err(Attempt::Failed(Fault::bad_answer(reason)))
}

fn failed<T>(status: u16, reason: &'static str) -> Result<T, Attempt> {
    Err(Attempt::Failed(Fault::upstream(status, reason)))
}

/// Whether a body without a length has grown beyond what is allowed; one with a length was judged by
/// its head.
pub(super) fn is_too_large(body: &BodyReader, most: Option<u64>) -> bool {
    match (body, most) {
        (BodyReader::Chunked(chunked), Some(most)) => chunked.data_seen() > most,
        _ => false,
    }
}
