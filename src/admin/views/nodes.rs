//! All nodes of the balancer, as they say themselves on the status board, and those that were there and are no more.

mod roll;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Json};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Shown;
use crate::admin::Views;
use crate::status::time_text;
use crate::store::StatusBoard;

pub(super) use roll::Counts;
use roll::{Node, Roll, Told};

/// The board is a store's: it is not asked more often, whoever looks.
const FRESH: Duration = Duration::from_secs(1);

const LIMIT: Duration = Duration::from_secs(4);

/// Between two looks while somebody looks on, and while a node is missed that may come back at once.
const SOON: Duration = Duration::from_secs(5);

/// The same while nobody does.
const LATER: Duration = Duration::from_secs(30);

/// Who looked so lately looks on.
const LOOKING: Duration = Duration::from_secs(60);

/// Reads the board for whoever looks, and now and then for nobody: so that a node that goes is missed.
pub(in crate::admin) struct Nodes {
    board: StatusBoard,
    last: tokio::sync::Mutex<Option<(Instant, Arc<Fleet>)>>,
    roll: Mutex<Roll>,
    asked: Mutex<Option<Instant>>,
    /// Somebody looks who did not before.
    came: Notify,
}

#[derive(Debug, Serialize)]
struct Fleet {
    nodes: Vec<Node>,
    /// Why there are none, or only those that were seen before.
    problem: Option<String>,
}

impl Nodes {
    /// `own` is what this node is called.
    pub(in crate::admin) fn new(board: StatusBoard, own: &str) -> Arc<Self> {
        Arc::new(Self {
            board,
            last: tokio::sync::Mutex::default(),
            roll: Mutex::new(Roll::new(own)),
            asked: Mutex::default(),
            came: Notify::new(),
        })
    }

    /// Looks until the task is dropped.
    pub(in crate::admin) async fn run(self: Arc<Self>) {
        if !self.board.is_somewhere() {
            return;
        }
        loop {
            self.fleet().await;
            let pause = match self.is_watched() || self.roll().misses_one() {
                true => SOON,
                false => LATER,
            };
            // Who comes looks at once, if it is about nodes; and what follows comes sooner.
            let _ = timeout(pause, self.came.notified()).await;
        }
    }

    /// Somebody looks.
    pub(super) fn look(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none_or(|at| at.elapsed() > LOOKING) {
            self.came.notify_one();
        }
        *asked = Some(Instant::now());
    }

    pub(in crate::admin) fn counts(&self) -> Counts {
        self.roll().counts()
    }

    async fn fleet(&self) -> Arc<Fleet> {
        let mut last = self.last.lock().await;
        if let Some((at, fleet)) = &*last
            && at.elapsed() < FRESH
        {
            return fleet.clone();
        }
        let problem = match timeout(LIMIT, self.board.list()).await {
            Ok(Ok(nodes)) => {
                let at = time_text(SystemTime::now());
                let told = self.roll().follow(nodes, Instant::now().into_std(), &at);
                told.iter().for_each(tell);
                None
            }
            // Who cannot be asked says nothing about anybody.
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => {
                let place = self.board.place();
                Some(format!("{place} gave no answer in {LIMIT:?}"))
            }
        };
        let nodes = self.roll().nodes();
        let fleet = Arc::new(Fleet { nodes, problem });
        *last = Some((Instant::now(), fleet.clone()));
        fleet
    }

    fn is_watched(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() < LOOKING)
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(told: &Told) {
    match told {
        Told::Gone { node, since } => tracing::warn!(
            %node,
            %since,
            event = "node_gone",
            "node is gone: it ended, or its status does not reach the store"
        ),
        Told::Back { node } => tracing::info!(%node, event = "node_back", "node is back"),
    }
}

pub(super) async fn nodes(State(views): State<Views>) -> Shown {
    views.nodes.look();
    let fleet = views.nodes.fleet().await;
    Ok(Json(&*fleet).into_response())
}
