//! Who may see and change what at the operator's listener: decided here for every route at once, so that a new one
//! is guarded before anybody thinks of it.
//!
//! Whoever comes has a role, [`Role::Read`] or [`Role::Admin`], by a password, a token or a certificate. What a
//! request needs follows from method and path ([`need`]); web pages of others get nothing whoever's browser they are
//! in ([`page`]). Handlers find who asks as `Extension<Access>`, and judge nothing themselves.
//!
//! Where nobody is named at all, everybody who reaches the listener reads, which is fit for loopback alone:
//! [`Identities::open`] refuses any other address.

mod guesses;
mod identities;
mod kept;
mod need;
mod page;
mod refusals;
mod token;
mod who;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::listen::{Peer, Session};
use crate::proxy::{Shared, auth};
use need::Need;
use page::Site;
use refusals::{Refusal, Refusals};
use who::Who;

pub use identities::{Given, Identities};
pub(super) use kept::Kept;

/// What somebody may do. Who may do more may do less too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Of who was not asked: for probes.
    Nobody,
    /// `read`: sees everything but credentials.
    Read,
    /// `admin`: changes keys, and sees those that hold credentials.
    Admin,
}

/// Who asks, for handlers.
#[derive(Clone, Debug)]
pub struct Access {
    pub role: Role,
    /// How the one who asks is called; `None`: by no name.
    pub user: Option<Arc<str>>,
    /// Where he asks from.
    pub peer: SocketAddr,
    /// By a worker, at `stats_uri`.
    pub is_in_band: bool,
}

/// The way in.
pub struct Guard {
    identities: Arc<Identities>,
    /// Has the key `settings/stats_password`.
    shared: Arc<Shared>,
    pool: auth::Pool,
    guesses: guesses::Guesses,
    pub(super) refusals: Refusals,
}

impl Guard {
    /// Starts threads of its own for passwords: who guesses here keeps no client waiting.
    pub fn new(identities: Arc<Identities>, shared: Arc<Shared>) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            identities,
            shared,
            pool: auth::Pool::start()?,
            guesses: guesses::Guesses::default(),
            refusals: Refusals::default(),
        }))
    }

    pub(super) fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// Who asks for this, if it is for him.
    async fn access(
        &self,
        peer: Peer,
        session: &Session,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Access, Refusal> {
        let needed = match need::need(method, path) {
            Need::Nothing => return Ok(Access::unnamed(Role::Nobody, peer)),
            Need::Role(role) => role,
        };
        let is_change = needed == Role::Admin;
        let password = self.password();
        let site = Site {
            is_tls: session.is_tls,
            // Credentials do not follow to another name; without any, the name is all there is to go by.
            takes_any_host: self.identities.names_somebody(password.as_ref()),
        };
        site.check(is_change, headers)?;
        if !site.takes_any_host {
            return match needed {
                Role::Admin => Err(Refusal::forbidden(
                    "nothing can be changed here, since nobody has role admin: start the node with --api-token-file \
                     FILE, a file with a token of at least 16 characters, and send it as Authorization: Bearer TOKEN",
                )),
                _ if self.identities.is_loopback() => Ok(Access::unnamed(Role::Read, peer)),
                _ => Err(Refusal::forbidden(
                    "nobody may read here: the node listens beyond loopback and names nobody",
                )),
            };
        }
        let Who {
            access,
            is_told_by_browser,
        } = self.who(peer, session, password, headers).await?;
        if access.role < needed {
            return Err(self.identities.lacks_admin(&access));
        }
        if is_change && is_told_by_browser {
            page::check_mark(headers)?;
        }
        Ok(access)
    }
}

impl Access {
    fn unnamed(role: Role, peer: Peer) -> Self {
        Self {
            role,
            user: None,
            peer: peer.0,
            is_in_band: false,
        }
    }

    /// Whom a worker let in at `stats_uri`: he reads what is shown there.
    pub(super) fn in_band(peer: SocketAddr) -> Self {
        Self {
            role: Role::Read,
            user: None,
            peer,
            is_in_band: true,
        }
    }

    /// Whether this one changes keys and sees all of them.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// The one layer around every route.
pub(super) async fn judge(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    Extension(session): Extension<Session>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let judged = guard.access(peer, &session, &method, &path, request.headers());
    let mut response = match judged.await {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(refusal) => {
            guard.refusals.tell(peer, &refusal);
            refusal.into_response()
        }
    };
    keep_to_us(response.headers_mut());
    response
}

/// What keeps answers from being used by pages of others, unless a handler said it better.
fn keep_to_us(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}
