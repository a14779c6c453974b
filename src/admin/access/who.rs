//! Who asks: by what stands in `Authorization`, else by the certificate that the connection began with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use tokio::time::timeout;

use super::{Access, Guard, Refusal, Role, page};
use crate::admin::listen::{Peer, Session};
use crate::config::{STATS_USER, StatsPassword, User};
use crate::password;
use crate::proxy::auth::{Asked, Attempt, Source, Tag};
use crate::proxy::http::{CREDENTIALS, credentials};

/// How long a request waits for its password to be checked; then 503.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Who {
    pub(super) access: Access,
    /// A browser sends it along with whatever a page asks for.
    pub(super) is_told_by_browser: bool,
}

impl Guard {
    /// The password of user `stats` in force: a key goes over the flags.
    pub(super) fn password(&self) -> Option<StatsPassword> {
        let generation = self.shared.published.current();
        let key = generation.plan.balancer().stats_password.clone();
        key.or_else(|| self.identities.password())
    }

    pub(super) async fn who(
        &self,
        peer: Peer,
        session: &Session,
        password: Option<StatsPassword>,
        headers: &HeaderMap,
    ) -> Result<Who, Refusal> {
        let ways = Ways {
            passwords: self.identities.has_passwords(password.as_ref()),
            tokens: self.identities.has_tokens(),
            certificates: self.identities.has_client_ca(),
        };
        if !headers.contains_key(header::AUTHORIZATION) {
            if !session.is_certified {
                return Err(ways.refuse(&ways.ask()).first());
            }
            let user = session.user.clone();
            let role = user
                .as_deref()
                .map_or(Role::Read, |user| self.identities.role(user));
            return Ok(Who {
                access: Access {
                    user,
                    ..Access::unnamed(role, peer)
                },
                is_told_by_browser: true,
            });
        }
        let Some(line) = page::only(headers, &header::AUTHORIZATION) else {
            return Err(ways.refuse("one Authorization alone: a password, or a token"));
        };
        if let Some(token) = bearer(line) {
            let role = self.identities.role_of_token(token);
            return match role {
                Ok(Some(role)) => Ok(Who {
                    access: Access::unnamed(role, peer),
                    is_told_by_browser: false,
                }),
                Ok(None) => Err(ways.refuse(
                    "this is not the token of --api-token-file, nor that of --api-read-token-file",
                )),
                Err(why) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)),
            };
        }
        let mut buffer = [0; CREDENTIALS + 3];
        match credentials(line, &mut buffer) {
            Some((name, given)) if ways.passwords => {
                let user = self.log_in(&ways, peer, password, name, given).await?;
                let user: Arc<str> = (*user.name).into();
                let role = self.identities.role(&user);
                let access = Access {
                    user: Some(user),
                    ..Access::unnamed(role, peer)
                };
                Ok(Who {
                    access,
                    is_told_by_browser: true,
                })
            }
            _ => Err(ways.refuse(&ways.ask())),
        }
    }

    /// The user whose name and password these are.
    async fn log_in(
        &self,
        ways: &Ways,
        peer: Peer,
        stats: Option<StatsPassword>,
        name: &[u8],
        given: &[u8],
    ) -> Result<Arc<User>, Refusal> {
        let users = self.identities.users();
        let stats = stats.as_ref().map(StatsPassword::user);
        let own = stats.filter(|_| name == STATS_USER.as_bytes());
        let known = own.or_else(|| users.as_ref().and_then(|users| users.find(name)));
        let chosen = known.or_else(|| {
            let hash = self.pool.tagger.choose(name);
            let other = users.as_ref().and_then(|users| users.stand_in(hash));
            other.or(stats)
        });
        let wrong = || {
            // A name that nobody has may be a password in the wrong field.
            let user = known.map_or("unknown", |user| &user.name);
            Err(ways.refuse(&format!("wrong user or password ({user})")))
        };
        // Longer ones are never right, and not worth the time.
        let Some(user) = chosen.filter(|_| given.len() <= password::LONGEST) else {
            return wrong();
        };
        let tag = self.pool.tagger.tag(user, name, given);
        if known.is_some() && self.guesses.knows(&tag, Instant::now()) {
            return Ok(user.clone());
        }
        let source = Source::from(peer.0.ip());
        if !self.guesses.take(source, Instant::now()) {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong passwords from this address: one each second is looked at",
            ));
        }
        let attempt = Attempt {
            tag,
            user: user.clone(),
            is_stand_in: known.is_none(),
            password: given.into(),
            source,
        };
        if !self.check(attempt).await? {
            return wrong();
        }
        self.note_right(source, tag);
        Ok(user.clone())
    }

    async fn check(&self, attempt: Attempt) -> Result<bool, Refusal> {
        if attempt.user.secret.is_cheap() {
            return Ok(attempt.user.secret.verify(&attempt.password) && !attempt.is_stand_in);
        }
        let busy = |status| Err(Refusal::new(status, "other passwords are being checked"));
        match self.pool.ask(attempt) {
            Asked::Known(is_right) => Ok(is_right),
            Asked::Refused(crate::proxy::auth::Refused::SourceIsBusy) => {
                busy(StatusCode::TOO_MANY_REQUESTS)
            }
            Asked::Refused(crate::proxy::auth::Refused::QueueIsFull) => {
                busy(StatusCode::SERVICE_UNAVAILABLE)
            }
            Asked::Wait(checked) => match timeout(PATIENCE, checked).await {
                Ok(Ok(is_right)) => Ok(is_right),
                Ok(Err(_)) | Err(_) => busy(StatusCode::SERVICE_UNAVAILABLE),
            },
        }
    }

    fn note_right(&self, source: Source, tag: Tag) {
        self.guesses.was_right(source, tag, Instant::now());
    }
}

/// How one may say who he is.
struct Ways {
    passwords: bool,
    tokens: bool,
    certificates: bool,
}

impl Ways {
    fn refuse(&self, error: &str) -> Refusal {
        Refusal::unknown(error, self.passwords, self.tokens)
    }

    fn ask(&self) -> String {
        let ways = [
            (self.passwords, "user and password"),
            (self.tokens, "a token as Authorization: Bearer TOKEN"),
            (
                self.certificates,
                "a client certificate of an authority in --stats-client-ca",
            ),
        ];
        let ways = ways.into_iter().filter(|(is_there, _)| *is_there);
        let ways: Vec<_> = ways.map(|(_, way)| way).collect();
        format!("say who you are: {}", ways.join(", or "))
    }
}

fn bearer(line: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = line.split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer
        .then(|| token.trim_ascii())
        .filter(|token| !token.is_empty())
}
