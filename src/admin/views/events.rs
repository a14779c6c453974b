//! What happened lately.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{Asked, Shown, shown};
use crate::admin::Views;
use crate::events::{self, Told};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wishes {
    /// Those behind this number alone.
    after: u64,
}

#[derive(Debug, Serialize)]
struct Events {
    last: u64,
    events: Vec<Told>,
}

pub(super) async fn list(State(_): State<Views>, Asked(wishes): Asked<Wishes>) -> Shown {
    shown(move || {
        let (last, events) = events::since(wishes.after);
        Events { last, events }
    })
    .await
}
