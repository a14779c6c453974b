//! Answers what workers are asked at `stats_uri`: by the same routes as the admin listener's, with nobody's rights.
//! What may be asked is decided by the worker.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::access::Access;
use super::listen::Peer;
use crate::proxy::{Question, Told};

/// Answered at once. More wait in the queue of the workers, and beyond that are answered 503.
const AT_ONCE: usize = 4;

/// Of one answer; a page of ten thousand services is a third of it.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Shorter than workers wait.
const LIMIT: Duration = Duration::from_secs(15);

/// These are written by the worker.
const OWN: [header::HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::CACHE_CONTROL,
];

/// Answers until it is dropped.
pub(super) async fn answer(mut questions: mpsc::Receiver<Question>, router: Router) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        let Some(question) = questions.recv().await else {
            return;
        };
        let router = router.clone();
        tasks.spawn(async move {
            // Who asked may have gone by now.
            if !question.answer.is_closed() {
                let told = timeout(LIMIT, told(router, &question)).await;
                // Without an answer the worker says so.
                if let Ok(told) = told {
                    let _ = question.answer.send(told);
                }
            }
            drop(place);
        });
    }
}

async fn told(router: Router, question: &Question) -> Told {
    let target = match question.query.is_empty() {
        true => question.path.clone(),
        false => format!("{}?{}", question.path, question.query),
    };
    // The path stands for itself already: `/lbstats?stats;csv` came as `/;csv`.
    let target = match question.path.contains(';') {
        true => &question.path,
        false => &target,
    };
    let request = Request::get(target)
        .header(header::HOST, "localhost")
        .extension(Peer(question.client))
        .extension(Access::in_band(question.client))
        .body(Body::empty());
    let answer = match request {
        Ok(request) => match TowerToHyperService::new(router).call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        },
        Err(_) => (StatusCode::BAD_REQUEST, "this is no target\n").into_response(),
    };
    whole(answer).await
}

async fn whole(answer: Response) -> Told {
    let (head, body) = answer.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let mut told = Told {
        status: head.status.as_u16(),
        content_type: content_type
            .unwrap_or("text/plain; charset=utf-8")
            .to_owned(),
        ..Told::default()
    };
    let others = head.headers.iter().filter(|(name, _)| !OWN.contains(name));
    for (name, value) in others {
        if let Ok(value) = value.to_str() {
            let _ = write!(told.extra, "{name}: {value}\r\n");
        }
    }
    match to_bytes(body, MAX_BODY).await {
        Ok(body) => told.body = body,
        Err(_) => {
            told = Told {
                status: 503,
                content_type: "text/plain; charset=utf-8".to_owned(),
                body: format!("more than {MAX_BODY} bytes: ask at --stats\n").into(),
                extra: String::new(),
            };
        }
    }
    told
}
