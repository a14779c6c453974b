//! Rules at work: what they see of a request and of an answer, and what their verdicts become.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use crate::accesslog::{Cause, Phase};
use crate::balance::Outcome;
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{
    Answer, Method, RequestHead, ResponseHead, Version, edit_fields, is_sound_path,
};
use crate::rules::{Edits, Facts, FieldEdit, Remembered, Rules, Side, Verdict};

/// A request as rules see it.
pub(super) struct Asked<'a> {
    client: &'a Client,
    head: &'a RequestHead,
    bytes: &'a [u8],
    id: &'a RequestId,
}

/// An answer as rules see it. The request's bytes are gone by now: what rules ask of it was
/// remembered.
struct Answered<'a> {
    asked: &'a Edits,
    client: &'a Client,
    head: &'a ResponseHead,
    bytes: &'a [u8],
    id: &'a RequestId,
}

impl Client {
    /// What conditions see of a request.
    pub(super) fn asked<'a>(
        &'a self,
        input: &'a Input,
        head: &'a RequestHead,
        id: &'a RequestId,
    ) -> Asked<'a> {
        Asked {
            client: self,
            head,
            bytes: input.filled(),
            id,
        }
    }

    /// Judges a request by `rules`, those of `service` or, before there is one, the balancer's.
    /// `Some`: it was answered here, and goes no further.
    pub(super) async fn judge(
        &self,
        rules: &Rules,
        service: Option<&Service>,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
        edits: &mut Edits,
    ) -> Option<Next> {
        let verdict = match rules.judge(&self.asked(input, head, id), edits) {
            // An upstream would resolve it to another path than was judged.
            Verdict::Pass if edits.path.as_deref().is_some_and(|p| !is_sound_path(p)) => {
                Verdict::Deny { status: 400 }
            }
            verdict => verdict,
        };
        if let Verdict::Deny { status } | Verdict::Answer { status, .. } = verdict
            && status >= 500
        {
            // The status alone would tell the access log that an upstream failed.
            self.trace.stop_in(Cause::Refused, Phase::Request);
        }
        match verdict {
            Verdict::Pass => None,
            Verdict::Deny { status } => {
                match service {
                    Some(service) => service.state.record(Outcome::TurnedAway),
                    None => {
                        self.worker.shared.rejected.fetch_add(1, Relaxed);
                    }
                }
                Some(self.refuse(status, input, head, Some(id)).await)
            }
            Verdict::Redirect {
                status,
                location,
                fields,
            } => Some(
                self.redirect(status, &location, &fields, input, head, id)
                    .await,
            ),
            Verdict::Answer {
                status,
                content_type,
                body,
                fields,
            } => {
                let answer = Answer {
                    status,
                    page: Some((content_type.as_deref().unwrap_or("text/plain"), &body)),
                    extra: &with_fields(Vec::new(), &fields),
                    ..Answer::default()
                };
                Some(self.answer_whole(answer, input, head, Some(id)).await)
            }
        }
    }

    /// Sends the client elsewhere.
    async fn redirect(
        &self,
        status: u16,
        location: &[u8],
        fields: &[FieldEdit],
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let mut extra = b"Location: ".to_vec();
        extra.extend_from_slice(location);
        extra.extend_from_slice(b"\r\n");
        let answer = Answer {
            status,
            extra: &with_fields(extra, fields),
            ..Answer::default()
        };
        self.answer_whole(answer, input, head, Some(id)).await
    }

    /// Sends the client from the bare root of an application to the root with a slash, against which
    /// the application's relative links resolve; by path alone, so that scheme, name and port stay
    /// those that the client knows.
    pub(super) async fn add_slash(
        &self,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let bytes = input.filled();
        let location = [head.path.get(bytes), b"/", head.query.get(bytes)].concat();
        // A 301 makes browsers ask again with GET and without the body.
        let status = match head.method {
            Method::Get | Method::Head => 301,
            _ => 308,
        };
        self.redirect(status, &location, &[], input, head, id).await
    }

    /// What `rules` change of an answer, `edits` included. `asked` is what became of the request.
    pub(super) fn amend(
        &self,
        rules: &Rules,
        head: &ResponseHead,
        bytes: &[u8],
        id: &RequestId,
        asked: &Edits,
        edits: &mut Vec<FieldEdit>,
    ) {
        let answered = Answered {
            asked,
            client: self,
            head,
            bytes,
            id,
        };
        rules.amend(&answered, edits);
    }
}

/// Field lines with `fields` on top.
fn with_fields(mut lines: Vec<u8>, fields: &[FieldEdit]) -> Vec<u8> {
    lines.extend_from_slice(b"\r\n");
    edit_fields(&mut lines, 0, fields);
    lines.truncate(lines.len() - 2);
    lines
}

impl Facts for Asked<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_name.get(self.bytes)
    }

    fn host(&self) -> &[u8] {
        self.head.host().as_bytes()
    }

    fn path(&self) -> &[u8] {
        match self.head.path.get(self.bytes) {
            b"" => b"/",
            path => path,
        }
    }

    fn query(&self) -> &[u8] {
        let query = self.head.query.get(self.bytes);
        query.strip_prefix(b"?").unwrap_or(query)
    }

    fn version(&self) -> &str {
        match self.head.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        }
    }

    fn client(&self) -> SocketAddr {
        self.client.ends.peer
    }

    fn listener(&self) -> SocketAddr {
        self.client.ends.asked()
    }

    fn is_tls(&self) -> bool {
        self.client.is_tls(self.head, self.bytes)
    }

    fn request_id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    fn status(&self) -> u16 {
        0
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        match (side, name) {
            // Of a target in absolute form it is the target that counts, whatever `Host` says.
            (Side::Request, "host") => {
                let host = self.head.authority.get(self.bytes);
                let _ = host.is_empty() || visit(host);
            }
            (Side::Request, _) => self.head.fields.each(name, self.bytes, visit),
            (Side::Answer, _) => {}
        }
    }
}

impl Answered<'_> {
    fn remembered(&self) -> Option<&Remembered> {
        self.asked.remembered.as_deref()
    }
}

impl Facts for Answered<'_> {
    fn method(&self) -> &[u8] {
        self.remembered().map_or(b"", |asked| &asked.method)
    }

    fn host(&self) -> &[u8] {
        self.remembered().map_or(b"", |asked| &asked.host)
    }

    fn path(&self) -> &[u8] {
        self.remembered().map_or(b"", |asked| &asked.path)
    }

    fn query(&self) -> &[u8] {
        self.remembered().map_or(b"", |asked| &asked.query)
    }

    fn version(&self) -> &str {
        match self.remembered() {
            Some(asked) if asked.is_http10 => "1.0",
            _ => "1.1",
        }
    }

    fn client(&self) -> SocketAddr {
        self.client.ends.peer
    }

    fn listener(&self) -> SocketAddr {
        self.client.ends.asked()
    }

    fn is_tls(&self) -> bool {
        self.remembered().is_some_and(|asked| asked.is_tls)
    }

    fn request_id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    fn status(&self) -> u16 {
        self.head.status
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        match side {
            Side::Answer => self.head.fields.each(name, self.bytes, visit),
            Side::Request => {
                if let Some(asked) = self.remembered() {
                    asked.each_field(name, visit);
                }
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&[u8]> {
        let mut known = self.asked.variables.iter();
        let (_, value) = known.find(|(known, _)| known == name)?;
        Some(value)
    }
}
