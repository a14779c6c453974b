//! Who may write: who has the token, and no web page in the browser of somebody who can reach the listener.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};

use super::{Api, Refusal};

pub(super) fn may_write(api: &Api, headers: &HeaderMap) -> Result<(), Refusal> {
    let forbid = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, why));
    // Browsers send these with what a page asks for; programs do not.
    let fetched = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    if headers.contains_key(header::ORIGIN) || !matches!(fetched, None | Some(b"none")) {
        return forbid("web pages may not change anything here");
    }
    // A name that somebody made point at us is not ours.
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    if !host.is_some_and(is_ours) {
        return forbid("Host is no address: ask by the address of --stats, or localhost");
    }
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
pub(super) fn has_token(api: &Api, headers: &HeaderMap) -> bool {
    bearer(headers).is_some() && may_write(api, headers).is_ok()
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
