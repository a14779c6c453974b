//! What clients send, within limits.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Refusal;
use crate::change::SaidUpstream;

const MAX_BODY: usize = 1024 * 1024;

/// From the head of a request to the end of its body.
const LIMIT: Duration = Duration::from_secs(10);

/// A service as it is to be; as `GET` shows one. No deeper than texts in maps.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Form {
    pub(super) mode: Option<String>,
    /// `null` removes a key.
    pub(super) keys: BTreeMap<String, Option<String>>,
    pub(super) upstreams: BTreeMap<String, Option<String>>,
    pub(super) hidden: Vec<String>,
    /// Shown, and said by the path and by `keys` already.
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "unit")]
    _unit: Option<String>,
    #[serde(rename = "drained")]
    _drained: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    address: String,
    weight: Option<u16>,
}

impl Upstream {
    pub(super) fn named(self, name: String) -> SaidUpstream {
        let value = match self.weight {
            Some(weight) => format!("{} weight={weight}", self.address),
            None => self.address,
        };
        let name = Some(name);
        SaidUpstream { name, value }
    }
}

pub(super) async fn bytes(body: Body) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(LIMIT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(_)) => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is broken off, or has more than {MAX_BODY} bytes"),
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {LIMIT:?}"),
        )),
    }
}

pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or("");
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON, and Content-Type: application/json",
        ));
    }
    let bytes = bytes(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not what is wanted here: {error}"),
        )
    })
}
