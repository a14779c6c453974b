//! What is answered before any rule and any service: probes of the balancer itself, ACME challenges,
//! its figures.

use crate::config::Front;
use crate::proxy::buffers::Input;
use crate::proxy::generation::Generation;
use crate::proxy::http::figures::Wanted;
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{Answer, RequestHead};

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
        let query = head.query.get(input.filled());
        let wanted = Wanted::read(&stats.uri, path, query)?;
        // Boxed: what waiting for it remembers is not paid for by other requests.
        let next = Box::pin(self.figures(stats, wanted, input, head, id)).await;
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
