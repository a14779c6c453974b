//! What is answered before any rule and any service: probes of the balancer itself, ACME challenges,
//! its figures.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::config::{Front, Stats, StatsUsers};
use crate::proxy::buffers::Input;
use crate::proxy::generation::Generation;
use crate::proxy::http::auth::{CREDENTIALS, credentials};
use crate::proxy::http::id::RequestId;
use crate::proxy::http::stats_page;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{Answer, FieldId, Method, RequestHead};

const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";
const TEXT: &str = "text/plain; charset=utf-8";

/// A request that was answered here.
pub(super) struct Fronted {
    pub(super) next: Next,
    /// Probes come every second or so and say nothing: they are kept out of access logs.
    pub(super) is_logged: bool,
}

impl Client {
    /// Answers what is not for any service. `None`: it is for one.
    pub(super) async fn front(
        &self,
        front: &Front,
        generation: &Generation,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Option<Fronted> {
        let path = head.path.get(input.filled());
        let is = |uri: &Option<String>| uri.as_deref().is_some_and(|uri| uri.as_bytes() == path);
        if is(&front.health_uri) {
            let next = self.say(200, "200 ok\n", input, head, id).await;
            return Some(Fronted::unlogged(next));
        }
        if is(&front.ready_uri) {
            let (status, text) = match generation.id {
                _ if self.worker.is_draining() => (503, "draining\n"),
                0 => (503, "no good configuration yet\n"),
                _ => (200, "ready\n"),
            };
            let next = self.say(status, text, input, head, id).await;
            return Some(Fronted::unlogged(next));
        }
        if !front.acme.is_empty()
            && let Some(token) = path.strip_prefix(CHALLENGES)
        {
            let token = std::str::from_utf8(token).unwrap_or_default();
            let next = match front.acme.get(token) {
                Some(answer) => self.say(200, answer, input, head, id).await,
                None => self.refuse(404, input, head, Some(id)).await,
            };
            return Some(Fronted::logged(next));
        }
        let stats = front.stats.as_ref()?;
        let form = form_asked(&stats.uri, path)?;
        let next = self.stats(stats, form, generation, input, head, id).await;
        Some(Fronted::logged(next))
    }

    async fn say(
        &self,
        status: u16,
        text: &str,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let answer = Answer {
            status,
            page: Some((TEXT, text.as_bytes())),
            ..Answer::default()
        };
        self.answer_whole(answer, input, head, Some(id)).await
    }

    async fn stats(
        &self,
        stats: &Stats,
        form: Form,
        generation: &Generation,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let mut answer = Answer::default();
        let given = head.fields.get(FieldId::Authorization);
        let given = given.map(|field| field.value.get(input.filled()));
        let (page, challenge);
        if !may_see(&stats.users, given) {
            answer.status = 401;
            challenge = format!("WWW-Authenticate: Basic realm=\"{}\"\r\n", stats.realm);
            answer.extra = challenge.as_bytes();
        } else if !matches!(head.method, Method::Get | Method::Head) {
            answer.status = 405;
            answer.extra = b"Allow: GET, HEAD\r\n";
        } else {
            answer.status = 200;
            page = match form {
                Form::Html => stats_page::html(generation, &self.worker.shared),
                Form::Csv => stats_page::csv(generation, &self.worker.shared),
            };
            answer.page = Some(match form {
                Form::Html => ("text/html; charset=utf-8", page.as_bytes()),
                Form::Csv => (TEXT, page.as_bytes()),
            });
        }
        self.answer_whole(answer, input, head, Some(id)).await
    }
}

impl Fronted {
    fn logged(next: Next) -> Self {
        Self {
            next,
            is_logged: true,
        }
    }

    fn unlogged(next: Next) -> Self {
        Self {
            next,
            is_logged: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Csv,
}

/// `/lbstats`, `/lbstats;csv`. Other options that HAProxy knows behind the `;` change nothing.
fn form_asked(uri: &str, path: &[u8]) -> Option<Form> {
    let options = path.strip_prefix(uri.as_bytes())?;
    if options.is_empty() {
        return Some(Form::Html);
    }
    let mut options = options.strip_prefix(b";")?.split(|b| *b == b';');
    Some(match options.any(|option| option == b"csv") {
        true => Form::Csv,
        false => Form::Html,
    })
}

/// Takes the same time whichever user is asked for and however much of a password is right: digests
/// are compared, and all of them.
fn may_see(users: &StatsUsers, authorization: Option<&[u8]>) -> bool {
    if users.is_empty() {
        return true;
    }
    let mut buffer = [0; CREDENTIALS + 3];
    let given = authorization.and_then(|line| credentials(line, &mut buffer));
    let Some((name, password)) = given else {
        return false;
    };
    let given = digest(&SHA256, &[name, b":", password].concat());
    users.iter().fold(false, |is_one, user| {
        let known = digest(&SHA256, user.as_bytes());
        is_one | verify_slices_are_equal(known.as_ref(), given.as_ref()).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_stands_behind_a_semicolon() {
        let check = |path: &str, expected| {
            assert_eq!(form_asked("/lbstats", path.as_bytes()), expected, "{path}");
        };
        check("/lbstats", Some(Form::Html));
        check("/lbstats;csv", Some(Form::Csv));
        check("/lbstats;norefresh;csv", Some(Form::Csv));
        check("/lbstats;norefresh", Some(Form::Html));
        check("/lbstats/", None);
        check("/lbstatsx", None);
        check("/lb", None);
        check("", None);
    }
}
