//! What did not go live as its keys say, and what is to be told of what did.

use axum::extract::State;
use serde::Serialize;

use super::{Shown, shown};
use crate::admin::Views;
use crate::diag::Diagnostic;
use crate::status::Refusal;

#[derive(Debug, Serialize)]
struct Refused {
    /// The newest first.
    refused: Vec<Refusal>,
    warnings: Vec<Diagnostic>,
    templates: Vec<Diagnostic>,
    /// Keys that are not in the tree.
    left_out: Vec<Diagnostic>,
}

pub(super) async fn refused(State(views): State<Views>) -> Shown {
    shown(move || {
        let status = views.status.borrow().clone();
        Refused {
            refused: status.refused,
            warnings: status.warnings,
            templates: status.templates,
            left_out: views.stores.problems(),
        }
    })
    .await
}
