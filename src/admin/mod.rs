//! The operator's listener: the [`page`], `/live`, `/ready`, `/metrics`, `/v1/status`, `/v1/plan`, and the [`api`] of the keys. What runs is
//! read here and never changed: a change goes to the store, and comes back as it does to every node. In [`haproxy`] is
//! what tools for HAProxy ask for, in [`in_band`] what the HTTP listeners show at `stats_uri`.

pub mod access;
pub mod api;
mod haproxy;
mod history;
mod in_band;
mod listen;
mod metrics;
mod page;
mod sampler;
mod tls;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::diag::Diagnostic;
use crate::plan::Service;
use crate::proxy::Shared;
use crate::status::generations::Generations;
use crate::status::{NodeStatus, Phase};
use crate::store::{Monitor, StatusBoard, StoreHealth};

use access::Guard;
use sampler::Sampler;
use views::{Glance, Nodes, Seats};

pub use haproxy::{AdminSocket, serve_socket};
pub use tls::Tls;

/// What the listener shows.
#[derive(Clone)]
pub struct Views {
    pub status: watch::Receiver<NodeStatus>,
    pub shared: Arc<Shared>,
    pub stores: Monitor,
    pub api: api::Api,
    generations: Arc<Generations>,
    nodes: Arc<Nodes>,
    sampler: Arc<Sampler>,
    glance: Arc<Glance>,
    seats: Seats,
    began: Instant,
}

/// Where what is shown comes from.
pub struct Sources {
    pub status: watch::Receiver<NodeStatus>,
    pub shared: Arc<Shared>,
    pub stores: Monitor,
    pub generations: Arc<Generations>,
    pub board: StatusBoard,
}

impl Views {
    pub fn new(sources: Sources, api: api::Api) -> Self {
        Self {
            sampler: Sampler::new(sources.shared.clone()),
            status: sources.status,
            shared: sources.shared,
            stores: sources.stores,
            generations: sources.generations,
            nodes: Nodes::new(sources.board),
            api,
            glance: Arc::default(),
            seats: Seats::default(),
            began: Instant::now(),
        }
    }
}

const PLACES: &str = "there are the page at /, /;csv, /live, /ready, /metrics and what docs/api.md lists below /v1/\n";

/// How often files of passwords and certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Serves until the task is dropped.
pub async fn serve(
    listener: TcpListener,
    views: Views,
    guard: Arc<Guard>,
    tls: Option<Tls>,
) -> std::io::Result<()> {
    let _sampler = AbortOnDropHandle::new(tokio::spawn(views.sampler.clone().run()));
    let tls = tls.map(Arc::new);
    let questions = views.shared.questions();
    let router = router(views);
    let in_band = async {
        match questions {
            Some(questions) => in_band::answer(questions, router.clone()).await,
            None => std::future::pending().await,
        }
    };
    // Outside everything else, so that nothing is answered to whom it is not for.
    let judge = from_fn_with_state(guard.clone(), access::judge);
    let guarded = router
        .clone()
        .layer(from_fn(listen::note_known))
        .layer(judge);
    tokio::select! {
        () = listen::serve(listener, guarded, tls.clone(), guard.clone()) => {}
        () = follow_files(&guard, tls.as_ref()) => {}
        () = in_band => {}
    }
    Ok(())
}

fn router(views: Views) -> Router {
    let csv = from_fn_with_state(views.clone(), haproxy::csv_or);
    Router::new()
        // Where HAProxy and its guides have the page.
        .route("/stats", get(async || Redirect::temporary("/")))
        .route("/haproxy", get(async || Redirect::temporary("/")))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/status", get(status))
        .route("/v1/plan", get(plan))
        .merge(api::router())
        .merge(page::router())
        .merge(views::router())
        .fallback(async || (StatusCode::NOT_FOUND, PLACES))
        .layer(csv)
        .with_state(views)
}

async fn follow_files(guard: &Guard, tls: Option<&Arc<Tls>>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (identities, tls) = (guard.identities().clone(), tls.cloned());
        // A file system that hangs holds up nobody but the next look.
        let looked = tokio::task::spawn_blocking(move || {
            identities.look_again();
            if let Some(tls) = tls {
                tls.look_again();
            }
        });
        let _ = looked.await;
    }
}

/// A free-standing bind, so that a taken port is told at the start.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// 200 from the first good generation on, and until the node drains.
async fn ready(State(views): State<Views>) -> Response {
    match views.status.borrow().phase {
        Phase::Running => "ready\n".into_response(),
        Phase::Starting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no good configuration yet\n",
        )
            .into_response(),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

#[derive(Serialize)]
struct StatusView {
    #[serde(flatten)]
    node: NodeStatus,
    /// Requests refused for what they are.
    rejected: u64,
    /// Lines of the access log that were lost.
    access_log_dropped: u64,
    stores: Vec<StoreHealth>,
    /// Keys that were left out of the tree.
    left_out: Vec<Diagnostic>,
    services: Vec<ServiceView>,
}

#[derive(Serialize)]
struct ServiceView {
    unit: String,
    name: String,
    mode: &'static str,
    active: u32,
    queued: usize,
    /// Answers by class, 1xx to 5xx.
    answers: [u64; 5],
    flows: u64,
    failures: u64,
    turned_away: u64,
    upstreams: Vec<UpstreamView>,
}

#[derive(Serialize)]
struct UpstreamView {
    name: String,
    address: SocketAddr,
    weight: u16,
    health: &'static str,
    /// From 0 to 1, of its weight; only while it warms up.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    in_flight: u32,
    served: u64,
    connect_failures: u64,
}

async fn status(State(views): State<Views>) -> views::Shown {
    views::shown(move || StatusView::new(&views)).await
}

impl StatusView {
    fn new(views: &Views) -> Self {
        let mut node = views.status.borrow().clone();
        let generation = views.shared.published.current();
        node.active = views.shared.connections() as u64;
        node.draining = views.shared.published.free_retired() as u64;
        Self {
            node,
            rejected: views.shared.rejected(),
            access_log_dropped: views.shared.access_log_dropped(),
            stores: views.stores.health(),
            left_out: views.stores.problems(),
            services: generation
                .plan
                .services()
                .map(|service| ServiceView::new(service))
                .collect(),
        }
    }
}

/// The compiled tables as they run, in the form that `pointsman plan` prints: what differs between the
/// two is refused here, or was not seen yet.
async fn plan(State(views): State<Views>) -> views::Shown {
    let generation = views.shared.published.current();
    let numbers = [
        ("x-generation", generation.id.to_string()),
        ("x-revision", generation.revision.to_string()),
    ];
    let text = views::made(move || generation.plan.dump()).await?;
    Ok((numbers, [(header::CONTENT_TYPE, "text/yaml")], text).into_response())
}

impl ServiceView {
    fn new(service: &Service) -> Self {
        let state = &service.state;
        Self {
            unit: service.unit.to_string(),
            name: service.config.name.to_string(),
            mode: views::mode(service),
            active: state.gate.active(),
            queued: state.gate.queued(),
            answers: state.answers(),
            flows: state.flows(),
            failures: state.failures(),
            turned_away: state.turned_away(),
            upstreams: service
                .members
                .iter()
                .map(|member| UpstreamView {
                    name: member.name.to_string(),
                    address: member.address,
                    weight: member.weight,
                    health: views::health_word(member.state.health()),
                    share: views::share(service, member),
                    in_flight: member.state.in_flight(),
                    served: member.state.served(),
                    connect_failures: member.state.connect_failures(),
                })
                .collect(),
        }
    }
}
