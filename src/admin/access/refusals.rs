//! Those who were turned away: what they are told, and what the log is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

use crate::admin::listen::Peer;

/// Between two lines of the log about refusals.
const QUIET: Duration = Duration::from_secs(10);

/// For browsers, which ask their users for a password then.
const BASIC: &str = "Basic realm=\"pointsman\", charset=\"UTF-8\"";

/// An answer that says why not.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    /// Which ways in there are.
    challenges: Vec<&'static str>,
    /// A browser that has not asked its user yet begins like this.
    is_first: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            challenges: Vec::new(),
            is_first: false,
        }
    }

    pub(super) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    pub(super) fn unknown(error: impl Into<String>, has_passwords: bool, has_tokens: bool) -> Self {
        let ways = [(has_passwords, BASIC), (has_tokens, "Bearer")];
        let challenges = ways.into_iter().filter(|(is_there, _)| *is_there);
        let challenges: Vec<_> = challenges.map(|(_, way)| way).collect();
        let status = match challenges.is_empty() {
            // A certificate is shown before anything is asked, or not at all.
            true => StatusCode::FORBIDDEN,
            false => StatusCode::UNAUTHORIZED,
        };
        Self {
            challenges,
            ..Self::new(status, error)
        }
    }

    pub(super) fn first(self) -> Self {
        Self {
            is_first: true,
            ..self
        }
    }

    fn is_told(&self) -> bool {
        let told = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        told.contains(&self.status) && !self.is_first
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        let headers = response.headers_mut();
        for way in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(way));
        }
        let soon = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if soon.contains(&self.status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Whoever tries passwords does not fill the log.
#[derive(Default)]
pub(in crate::admin) struct Refusals {
    requests: Pace,
    handshakes: Pace,
}

impl Refusals {
    pub(super) fn tell(&self, peer: Peer, refusal: &Refusal) {
        if !refusal.is_told() {
            return;
        }
        if let Some(more) = self.requests.turn() {
            tracing::warn!(
                peer = %peer.0, status = refusal.status.as_u16(), since_last = more,
                reason = refusal.error, "refused over the API"
            );
        }
    }

    /// A handshake that came to nothing.
    pub(in crate::admin) fn tell_handshake(&self, peer: Peer, reason: &str) {
        if let Some(more) = self.handshakes.turn() {
            tracing::warn!(
                peer = %peer.0, since_last = more, reason, "handshake failed at the listener of --stats"
            );
        }
    }
}

/// When the last line was, and how many were not told since.
#[derive(Default)]
struct Pace(Mutex<(Option<Instant>, u64)>);

impl Pace {
    /// How many were not told since the last one, if it is time for a line.
    fn turn(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|last| last.elapsed() < QUIET) {
            told.1 += 1;
            return None;
        }
        told.0 = Some(Instant::now());
        Some(std::mem::take(&mut told.1))
    }
}
