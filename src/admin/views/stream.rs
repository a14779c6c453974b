//! The overview, every second, for as long as somebody listens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;
use tokio::sync::Semaphore;

use super::overview::Seen;
use super::{Shown, made};
use crate::admin::Views;
use crate::admin::access::Access;
use crate::admin::api::Refusal;

const EVERY: Duration = Duration::from_secs(1);

/// Who listens at once; whoever comes late asks for `/v1/overview` by itself.
const LISTENERS: usize = 64;

/// Who may listen, for all.
#[derive(Clone)]
pub(in crate::admin) struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTENERS)))
    }
}

pub(super) async fn stream(
    State(views): State<Views>,
    Extension(access): Extension<Access>,
) -> Shown {
    let Ok(seat) = views.seats.0.clone().try_acquire_owned() else {
        let why = format!("{LISTENERS} listen already; ask /v1/overview");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The seat is given back when nobody listens any more.
    let events = stream::unfold(
        (views, access, ticks, seat),
        async |(views, access, mut ticks, seat)| {
            ticks.tick().await;
            let own = (views.clone(), access.clone());
            let data = made(move || {
                serde_json::to_string(&Seen::by(&own.0, &own.1, false)).unwrap_or_default()
            });
            // A second without is no reason to end.
            let data = data.await.unwrap_or_default();
            let event = Event::default().event("overview").data(data);
            Some((Ok::<_, Infallible>(event), (views, access, ticks, seat)))
        },
    );
    Ok(Sse::new(events).into_response())
}
