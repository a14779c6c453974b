//! The last swaps.

use axum::extract::State;

use super::{Shown, shown};
use crate::admin::Views;

pub(super) async fn list(State(views): State<Views>) -> Shown {
    shown(move || views.generations.newest()).await
}
