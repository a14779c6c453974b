//! Clients that prove by certificate who they are, and what applications are told of it.

use std::sync::Arc;

use crate::accesslog::{Cause, Phase};
use crate::balance::Outcome;
use crate::config::ClientAuth;
use crate::plan::Service;
use crate::proxy::buffers::Input;
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next, unix_time};
use crate::proxy::http1::RequestHead;
use crate::rules::FieldEdit;
use crate::tls::{Clients, Identity};

/// What the client's certificate was found to be, by those whose clients are believed. Kept with the connection:
/// its next request most likely goes to the same service.
pub(super) struct Identified {
    by: Arc<Clients>,
    verdict: Result<Arc<Identity>, String>,
    until: u64,
}

/// For how long a verdict holds, in seconds: certificates end.
const FRESH: u64 = 60;

/// Verdicts of one connection: its requests may go to services that believe different authorities.
const MOST: usize = 4;

/// Fields that say who the client is. None of a client's own gets through, under no spelling.
const FIELDS: [&str; 8] = [
    CERT,
    CHAIN,
    VERIFY,
    SUBJECT,
    COMMON_NAME,
    ISSUER,
    SERIAL,
    FINGERPRINT,
];
/// RFC 9440.
const CERT: &str = "Client-Cert";
const CHAIN: &str = "Client-Cert-Chain";
const VERIFY: &str = "X-SSL-Client-Verify";
const SUBJECT: &str = "X-SSL-Client-DN";
const COMMON_NAME: &str = "X-SSL-Client-CN";
const ISSUER: &str = "X-SSL-Client-Issuer";
const SERIAL: &str = "X-SSL-Client-Serial";
const FINGERPRINT: &str = "X-SSL-Client-SHA256";

/// Why somebody is not let in.
struct Stranger {
    status: u16,
    reason: String,
}

impl Client {
    /// Asks for the certificate that the service asks for, and says in `edits` who came. An error is the answer that the
    /// client got.
    pub(super) async fn identify(
        &mut self,
        auth: &ClientAuth,
        service: &Service,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
        edits: &mut Vec<FieldEdit>,
    ) -> Result<(), Next> {
        match self.who(auth) {
            Ok(identity) => {
                tell(identity.as_deref(), edits);
                Ok(())
            }
            Err(Stranger { status, reason }) => {
                service.state.record(Outcome::TurnedAway);
                self.trace.stop_in(Cause::Refused, Phase::Request);
                if self.worker.may_log() {
                    tracing::info!(
                        service = %service.config.name, peer = %self.ends.peer, status, reason,
                        "client not let in"
                    );
                }
                Err(self.refuse(status, input, head, Some(id)).await)
            }
        }
    }

    /// In the certificate by which the service let this client in.
    pub(super) fn common_name(&self, service: &Service) -> Option<&str> {
        let auth = service.client_auth()?;
        let mut known = self.identified.iter();
        let known = known.find(|known| known.by == auth.clients)?;
        let identity = known.verdict.as_ref().ok()?;
        Some(&identity.raw_common_name)
    }

    /// `None`: somebody without a certificate, who may come all the same.
    fn who(&mut self, auth: &ClientAuth) -> Result<Option<Arc<Identity>>, Stranger> {
        let forbidden = |reason: &str| Stranger {
            status: 403,
            reason: reason.to_owned(),
        };
        if !self.stream.is_tls() {
            return match auth.is_required {
                true => Err(forbidden("no TLS, and so no certificate")),
                false => Ok(None),
            };
        }
        let now = unix_time();
        let known = |known: &&Identified| known.by == auth.clients && now < known.until;
        if let Some(known) = self.identified.iter().find(known) {
            let verdict = known.verdict.clone();
            return verdict.map(Some).map_err(|reason| forbidden(&reason));
        }
        let found = self.stream.with_client_chain(|chain| match chain {
            // The session was begun for a name that nobody asks certificates for. A new one will be asked.
            None => Err(Stranger {
                status: 421,
                reason: "the handshake was for another name".to_owned(),
            }),
            Some([]) if auth.is_required => Err(forbidden("no certificate")),
            Some([]) => Ok(None),
            Some(chain) => Ok(Some(auth.clients.verify(chain, now).and_then(|()| {
                let identity = Identity::of(&chain[0]);
                identity.ok_or_else(|| "a certificate that cannot be read".to_owned())
            }))),
        })?;
        let Some(verdict) = found else {
            return Ok(None);
        };
        let verdict = verdict.map(Arc::new);
        self.identified.retain(|known| known.by != auth.clients);
        if self.identified.len() == MOST {
            self.identified.remove(0);
        }
        self.identified.push(Identified {
            by: auth.clients.clone(),
            verdict: verdict.clone(),
            until: now + FRESH,
        });
        verdict.map(Some).map_err(|reason| forbidden(&reason))
    }
}

/// Drops what a client says of itself, before anybody has looked at it.
pub(super) fn hide(edits: &mut Vec<FieldEdit>) {
    edits.extend(FIELDS.map(|name| FieldEdit::Remove {
        name: name.to_owned(),
    }));
}

/// Behind what the balancer's rules said of these fields, and before the service's own rules, which see it and may
/// change it.
fn tell(identity: Option<&Identity>, edits: &mut Vec<FieldEdit>) {
    let set = |name: &str, value: &str| FieldEdit::Set {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
    };
    hide(edits);
    match identity {
        None => edits.push(set(VERIFY, "NONE")),
        Some(identity) => edits.extend([
            set(CERT, &identity.certificate),
            set(VERIFY, "SUCCESS"),
            set(SUBJECT, &identity.subject),
            set(COMMON_NAME, &identity.common_name),
            set(ISSUER, &identity.issuer),
            set(SERIAL, &identity.serial),
            set(FINGERPRINT, &identity.fingerprint),
        ]),
    }
}
