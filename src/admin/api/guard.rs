//! Who may write: who has the token, and no web page in the browser of somebody who can reach the listener.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};

use super::{Api, Refusal};
use crate::admin::listen::Peer;

/// Between two lines of the log about refusals.
const QUIET: Duration = Duration::from_secs(10);

/// Those who were turned away. Whoever tries tokens does not fill the log.
#[derive(Default)]
pub(super) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    fn tell(&self, peer: Peer, refusal: &Refusal) {
        let is_turned_away = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        if !is_turned_away.contains(&refusal.status) {
            return;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|last| last.elapsed() < QUIET) {
            told.1 += 1;
            return;
        }
        let more = std::mem::take(&mut told.1);
        told.0 = Some(Instant::now());
        tracing::warn!(
            peer = %peer.0, status = refusal.status.as_u16(), since_last = more,
            reason = refusal.body["error"].as_str(), "refused over the API"
        );
    }
}

/// Whether keys may be shown: not to web pages.
pub(in crate::admin) fn may_look(
    api: &Api,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<(), Refusal> {
    let looked = is_no_page(headers);
    looked.inspect_err(|refusal| api.refusals.tell(peer, refusal))
}

pub(super) fn may_write(api: &Api, headers: &HeaderMap, peer: Peer) -> Result<(), Refusal> {
    let may = is_known(api, headers);
    may.inspect_err(|refusal| api.refusals.tell(peer, refusal))
}

fn is_no_page(headers: &HeaderMap) -> Result<(), Refusal> {
    let forbid = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, why));
    // Browsers send these with what a page asks for; programs do not.
    let fetched = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    if headers.contains_key(header::ORIGIN) || !matches!(fetched, None | Some(b"none")) {
        return forbid("web pages may not see or change keys here");
    }
    // A name that somebody made point at us is not ours.
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    if !host.is_some_and(is_ours) {
        return forbid("Host is no address: ask by the address of --stats, or localhost");
    }
    Ok(())
}

fn is_known(api: &Api, headers: &HeaderMap) -> Result<(), Refusal> {
    let forbid = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, why));
    is_no_page(headers)?;
    let Some(token) = &api.token else {
        return forbid(
            "nothing can be changed here: start the node with --api-token-file FILE, a file with a token of at \
             least 16 characters, and send it as Authorization: Bearer TOKEN",
        );
    };
    let given = bearer(headers).ok_or_else(|| {
        let why = "send the token of --api-token-file as Authorization: Bearer TOKEN";
        Refusal::new(StatusCode::UNAUTHORIZED, why)
    })?;
    match token.is(given) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this is not the token of --api-token-file",
        )),
        Err(why) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

/// Whether who asks may see everything.
pub(super) fn has_token(api: &Api, headers: &HeaderMap, peer: Peer) -> bool {
    bearer(headers).is_some() && may_write(api, headers, peer).is_ok()
}

/// Of one field alone: of two, nobody knows which one another program believed.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = only.as_bytes().split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer
        .then(|| token.trim_ascii())
        .filter(|token| !token.is_empty())
}

fn is_ours(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_ours() {
        for host in [
            "127.0.0.1:1000",
            "127.0.0.1",
            "[::1]:1000",
            "localhost:1000",
            "10.0.0.1",
        ] {
            assert!(is_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example:1000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
        ] {
            assert!(!is_ours(host), "{host}");
        }
    }
}
