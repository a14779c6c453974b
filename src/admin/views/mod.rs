//! What is shown of this node, as JSON: plain figures of one moment, made when they are asked for.
//!
//! `docs/api.md` lists them. The page, `pointsman top` and scripts read the same.

mod certificates;
mod events;
mod generations;
mod list;
mod listeners;
mod nodes;
mod overview;
mod refused;
mod services;
mod stream;
mod upstreams;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::Views;
use super::api::Refusal;
use crate::status::{NodeStatus, time_text};

pub(super) use nodes::Nodes;
pub(super) use overview::{Conditions, Glance};
pub(super) use services::mode;
pub(super) use stream::Seats;
pub(super) use upstreams::{health_word, share};

pub(super) type Shown = Result<Response, Refusal>;

pub(super) fn router() -> Router<Views> {
    Router::new()
        .route("/v1/overview", get(overview::overview))
        .route("/v1/running/services", get(services::list))
        .route("/v1/running/services/{mode}/{name}", get(services::one))
        .route("/v1/running/upstreams", get(upstreams::list))
        .route("/v1/running/listeners", get(listeners::list))
        .route("/v1/running/certificates", get(certificates::list))
        .route("/v1/generations", get(generations::list))
        .route("/v1/refused", get(refused::refused))
        .route("/v1/nodes", get(nodes::nodes))
        .route("/v1/events", get(events::list))
        .route("/v1/stream", get(stream::stream))
        .route("/v1/openapi.json", get(async || (JSON, OPENAPI)))
}

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// All of `/v1/`, for programs.
const OPENAPI: &str = include_str!("../../../docs/openapi.json");

/// What stands behind the question mark. A word that is not known is told, and not taken for none.
struct Asked<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let bad = |error: QueryRejection| {
            let why = error.body_text();
            let own = why
                .rsplit_once("query string: ")
                .map_or(&*why, |(_, own)| own);
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("behind the question mark: {own}"),
            )
        };
        let Query(asked) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(bad)?;
        Ok(Self(asked))
    }
}

/// Answers that are being made at once. Who goes away meanwhile leaves his place taken until it is made: threads are
/// shared with whoever reads the keys.
static MAKING: Semaphore = Semaphore::const_new(4);

/// For a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes an answer where others do not wait for it: ten thousand services take milliseconds.
pub(super) async fn shown<T: Serialize + Send + 'static>(
    make: impl FnOnce() -> T + Send + 'static,
) -> Shown {
    made(move || Json(make()).into_response()).await
}

/// The same of anything.
pub(super) async fn made<T: Send + 'static>(
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let Ok(Ok(place)) = timeout(PATIENCE, MAKING.acquire()).await else {
        let why = "busy with others; ask again";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let made = tokio::task::spawn_blocking(move || {
        let _place = place;
        make()
    });
    made.await.map_err(|_| {
        let why = "the answer could not be made";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    })
}

/// Units that are refused.
pub(super) fn refused_units(status: &watch::Receiver<NodeStatus>) -> BTreeSet<String> {
    let status = status.borrow();
    status.refused.iter().map(|own| own.unit.clone()).collect()
}

/// A moment that was kept in milliseconds since 1970.
fn moment(ms: Option<u64>) -> Option<String> {
    Some(time_text(UNIX_EPOCH + Duration::from_millis(ms?)))
}
