//! All nodes of the balancer, as they say themselves on the status board.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Json};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Shown;
use crate::admin::Views;
use crate::status::NodeStatus;
use crate::store::StatusBoard;

/// The board is a store's: it is not asked more often, whoever looks.
const FRESH: Duration = Duration::from_secs(1);

const LIMIT: Duration = Duration::from_secs(4);

/// Reads the board for whoever looks.
pub(in crate::admin) struct Nodes {
    board: StatusBoard,
    last: Mutex<Option<(Instant, Arc<Fleet>)>>,
}

#[derive(Debug, Serialize)]
struct Fleet {
    nodes: Vec<NodeStatus>,
    /// Why there are none.
    problem: Option<String>,
}

impl Nodes {
    pub(in crate::admin) fn new(board: StatusBoard) -> Arc<Self> {
        let last = Mutex::default();
        Arc::new(Self { board, last })
    }

    async fn fleet(&self) -> Arc<Fleet> {
        let mut last = self.last.lock().await;
        if let Some((at, fleet)) = &*last
            && at.elapsed() < FRESH
        {
            return fleet.clone();
        }
        let (nodes, problem) = match timeout(LIMIT, self.board.list()).await {
            Ok(Ok(nodes)) => (nodes, None),
            Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
            Err(_) => {
                let place = self.board.place();
                (
                    Vec::new(),
                    Some(format!("{place} gave no answer in {LIMIT:?}")),
                )
            }
        };
        let fleet = Arc::new(Fleet { nodes, problem });
        *last = Some((Instant::now(), fleet.clone()));
        fleet
    }
}

pub(super) async fn nodes(State(views): State<Views>) -> Shown {
    let fleet = views.nodes.fleet().await;
    Ok(Json(&*fleet).into_response())
}
