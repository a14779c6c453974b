//! The overview, every second, for as long as somebody listens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;
use tokio::sync::Semaphore;

use super::Shown;
use super::overview::Seen;
use crate::admin::Views;
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

pub(super) async fn stream(State(views): State<Views>) -> Shown {
    let Ok(seat) = views.seats.0.clone().try_acquire_owned() else {
        let why = format!("{LISTENERS} listen already; ask /v1/overview");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The seat is given back when nobody listens any more.
    let events = stream::unfold((views, ticks, seat), async |(views, mut ticks, seat)| {
        ticks.tick().await;
        let own = views.clone();
        let made = tokio::task::spawn_blocking(move || {
            serde_json::to_string(&Seen::by(&own, false)).unwrap_or_default()
        });
        let data = made.await.unwrap_or_default();
        let event = Event::default().event("overview").data(data);
        Some((Ok::<_, Infallible>(event), (views, ticks, seat)))
    });
    Ok(Sse::new(events).into_response())
}
