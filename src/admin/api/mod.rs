//! The keys over HTTP: services, their upstreams and certificates, read by everybody who may look, written by who
//! has the token. `docs/api.md` lists it.
//!
//! What a change means, and whether it may be written, is decided by [`Control`], as for the commands.

mod body;
pub(super) mod guard;
mod token;

use std::sync::Arc;
use std::time::Duration;

use super::listen::Peer;
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::body::Form;
use super::Views;
use crate::change::{
    Change, Control, Done, Failure, HTTP, How, Link, Mode, Problem, SaidUpstream, TCP,
};
use crate::config::values;
use crate::store::{WaitError, WriteError};

pub use token::Token;

/// What the listener changes, and for whom.
#[derive(Clone)]
pub struct Api {
    pub control: Arc<dyn Control>,
    /// `None`: for nobody.
    pub token: Option<Arc<Token>>,
    refusals: Arc<guard::Refusals>,
}

impl Api {
    pub fn new(control: Arc<dyn Control>, token: Option<Arc<Token>>) -> Self {
        Self {
            control,
            token,
            refusals: Arc::default(),
        }
    }
}

/// What stands in the path. One that is no text is told as everything else is.
struct Named<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.body_text())),
        }
    }
}

/// A client is not kept waiting for longer.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// An answer that says why not.
pub(super) struct Refusal {
    status: StatusCode,
    body: Value,
}

type Answered = Result<Response, Refusal>;

/// What stands behind the question mark.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wishes {
    /// `10s`: answer when every living node runs it.
    wait: Option<String>,
    /// Write what would be refused.
    force: bool,
    /// `http` or `tcp`, where a service of each is called so.
    mode: Option<String>,
    /// Seal the certificate.
    seal: bool,
}

type Asked = Result<Query<Wishes>, axum::extract::rejection::QueryRejection>;

pub(super) fn router() -> Router<Views> {
    Router::new()
        .route("/v1/services", get(list))
        .route("/v1/services/{name}", any(service))
        .route(
            "/v1/services/{name}/upstreams/{upstream}",
            put(upstream).delete(upstream),
        )
        .route(
            "/v1/services/{name}/upstreams/{upstream}/drain",
            put(drain).delete(drain),
        )
        .route("/v1/certs/{name}", put(certificate).delete(certificate))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method does nothing here, docs/api.md lists those that do",
            )
        })
}

async fn list(
    State(views): State<Views>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Answered {
    let api = &views.api;
    guard::may_look(api, &headers, peer)?;
    let all = api.control.services().await?;
    let is_known = guard::has_token(api, &headers, peer);
    let shown = all.into_iter().map(|service| match is_known {
        true => service,
        false => service.veiled(),
    });
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
}

async fn service(
    State(views): State<Views>,
    Named(name): Named<String>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let api = &views.api;
    let wishes = read(asked)?;
    match method {
        Method::GET | Method::HEAD => {
            guard::may_look(api, &headers, peer)?;
            one(api, &headers, peer, &called(&name, &wishes)?).await
        }
        Method::PUT | Method::PATCH => {
            guard::may_write(api, &headers, peer)?;
            let form: Form = body::json(&headers, body).await?;
            let is_all = method == Method::PUT;
            let change = linked(called(&name, &wishes)?, form, is_all)?;
            make(api, peer, change, wishes).await
        }
        Method::DELETE => {
            guard::may_write(api, &headers, peer)?;
            let service = called(&name, &wishes)?;
            let upstreams = Vec::new();
            make(api, peer, Change::Unlink { service, upstreams }, wishes).await
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "a service takes GET, PUT, PATCH and DELETE",
        )),
    }
}

async fn one(api: &Api, headers: &HeaderMap, peer: Peer, name: &str) -> Answered {
    let all = api.control.services().await?;
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|s| s.unit == name || s.name == name)
        .collect();
    match (found.len(), found.pop()) {
        (1, Some(service)) => {
            let shown = match guard::has_token(api, headers, peer) {
                true => service,
                false => service.veiled(),
            };
            Ok(Json(shown).into_response())
        }
        (0, _) | (_, None) => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there is no such service",
        )),
        _ => Err(Refusal::new(
            StatusCode::CONFLICT,
            "there are two services of this name; say ?mode=http or ?mode=tcp",
        )),
    }
}

async fn upstream(
    State(views): State<Views>,
    Named((name, upstream)): Named<(String, String)>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let api = &views.api;
    guard::may_write(api, &headers, peer)?;
    let wishes = read(asked)?;
    let service = called(&name, &wishes)?;
    let change = match method {
        Method::PUT => {
            let said: body::Upstream = body::json(&headers, body).await?;
            Change::Link(Link {
                service,
                // Alone it would take the requests of every host.
                has_to_be: true,
                upstreams: vec![said.named(upstream)],
                ..Link::default()
            })
        }
        _ => Change::Unlink {
            service,
            upstreams: vec![upstream],
        },
    };
    make(api, peer, change, wishes).await
}

async fn drain(
    State(views): State<Views>,
    Named((name, upstream)): Named<(String, String)>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
) -> Answered {
    let api = &views.api;
    guard::may_write(api, &headers, peer)?;
    let wishes = read(asked)?;
    let which = vec![format!("{}/{upstream}", called(&name, &wishes)?)];
    let change = match method {
        Method::PUT => Change::Drain(which),
        _ => Change::Undrain(which),
    };
    make(api, peer, change, wishes).await
}

async fn certificate(
    State(views): State<Views>,
    Named(name): Named<String>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let api = &views.api;
    guard::may_write(api, &headers, peer)?;
    let wishes = read(asked)?;
    let change = match method {
        Method::PUT => Change::AddCertificate {
            name,
            value: body::bytes(body).await?,
        },
        _ => Change::RemoveCertificate { name },
    };
    make(api, peer, change, wishes).await
}

fn read(asked: Asked) -> Result<Wishes, Refusal> {
    let bad = |error: axum::extract::rejection::QueryRejection| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text())
    };
    asked.map(|Query(wishes)| wishes).map_err(bad)
}

/// The service, as a change calls it.
fn called(name: &str, wishes: &Wishes) -> Result<String, Refusal> {
    match wishes.mode.as_deref() {
        None => Ok(name.to_owned()),
        Some("http") => Ok(format!("{HTTP}/{name}")),
        Some("tcp") => Ok(format!("{TCP}/{name}")),
        Some(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "mode is http or tcp")),
    }
}

fn linked(service: String, form: Form, is_all: bool) -> Result<Change, Refusal> {
    if !form.hidden.is_empty() {
        let why = format!(
            "the values of {} were hidden or not readable when this was read, and would be lost: read it with the token, or PATCH what is to be",
            form.hidden.join(", ")
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    }
    let mode = match form.mode.as_deref() {
        Some("tcp") => Some(Mode::Tcp),
        Some("http") => Some(Mode::Http),
        Some(_) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "mode is http or tcp"));
        }
        // `?mode=` has said it already.
        None if service.starts_with(&format!("{HTTP}/")) => None,
        None => form.keys.contains_key("external_port").then_some(Mode::Tcp),
    };
    let mut upstreams = Vec::new();
    for (name, value) in form.upstreams {
        let Some(value) = value else {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("upstream {name} is null; DELETE removes an upstream"),
            ));
        };
        let name = Some(name);
        upstreams.push(SaidUpstream { name, value });
    }
    Ok(Change::Link(Link {
        service,
        mode,
        has_to_be: false,
        keys: form.keys,
        upstreams,
        replace: is_all,
    }))
}

async fn make(api: &Api, peer: Peer, change: Change, wishes: Wishes) -> Answered {
    let limit = match &wishes.wait {
        None => None,
        Some(text) => match values::duration(text) {
            Ok(limit) if limit <= MAX_WAIT => Some(limit),
            _ => {
                let why = format!("wait is a time up to {MAX_WAIT:?}, such as 10s");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
            }
        },
    };
    let how = How {
        force: wishes.force,
        seal: wishes.seal,
    };
    let control = api.control.clone();
    // A client that goes away in the middle stops nothing.
    let made = tokio::spawn(async move {
        let what = change.to_string();
        let made = control.make(change, how).await;
        if let Ok(done) = &made {
            tracing::info!(
                peer = %peer.0, change = what, revision = done.revision, changed = done.changed,
                force = how.force, "keys written over the API"
            );
        }
        made
    });
    let done = made.await.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the change ended early; look at the keys",
        )
    })??;
    if let Some(limit) = limit {
        let waited = api.control.wait(done.clone(), limit).await;
        waited.map_err(|error| Refusal::waiting(&done, &error))?;
    }
    Ok(Json(done).into_response())
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let body = json!({ "error": error.into() });
        Self { status, body }
    }

    /// The change is made; not all nodes run it.
    fn waiting(done: &Done, error: &WaitError) -> Self {
        let status = match error {
            WaitError::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            WaitError::Timeout { .. } | WaitError::NotDrained { .. } | WaitError::NoNode(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            WaitError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut refusal = Self::new(status, error.to_string());
        refusal.body["revision"] = json!(done.revision);
        if let WaitError::Timeout { behind, .. } = error {
            let behind = behind
                .iter()
                .map(|b| json!({"node": b.node, "revision": b.revision, "wanted": b.wanted}));
            refusal.body["behind"] = behind.collect();
        }
        refusal
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = match &failure {
            Failure::Problem(Problem::Bad(_)) => StatusCode::BAD_REQUEST,
            Failure::Problem(Problem::NotThere(_)) => StatusCode::NOT_FOUND,
            Failure::Problem(Problem::Ambiguous(_) | Problem::Elsewhere(_))
            | Failure::Write(WriteError::Conflict | WriteError::NotWritable(_)) => {
                StatusCode::CONFLICT
            }
            Failure::Write(WriteError::Impossible(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Refused(_) | Failure::Problem(Problem::Risky(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Failure::Write(WriteError::Store(_))
            | Failure::Store(_)
            | Failure::Busy
            | Failure::Late => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Settings(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut refusal = Self::new(status, failure.to_string());
        if let Failure::Refused(diagnostics) = failure {
            refusal.body["diagnostics"] = json!(diagnostics);
        }
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = axum::http::HeaderValue::from_static("2");
            response
                .headers_mut()
                .insert(axum::http::header::RETRY_AFTER, soon);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = axum::http::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
