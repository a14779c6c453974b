//! What tools for HAProxy ask for: its CSV at `;csv`, and its command line interface on a unix socket.
//!
//! [`figures`] is where our figures meet HAProxy's columns. Everything is read when it is asked for: nothing is counted
//! for it on the way of a request.

mod change;
mod checks;
mod columns;
mod command;
mod figures;
mod proxies;
mod socket;
mod stat;
mod state;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use self::change::Weights;
use self::command::Command;
use self::stat::Scope;
use super::Views;
use super::access::{Access, Role};

pub use socket::{AdminSocket, serve_socket};

/// Lists that are being written at once: one of ten thousand services is megabytes.
static LISTS: Semaphore = Semaphore::const_new(2);

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers what asks for the CSV, however it is spelled, and hands on everything else: `/;csv`, `/stats;csv`,
/// `/haproxy?stats;csv`, `/admin?stats;csv;norefresh`.
pub(super) async fn csv_or(State(views): State<Views>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let access = request.extensions().get::<Access>();
    // Of probes nobody is asked who asks, whatever stands behind them.
    let may_see = access.is_some_and(|access| access.role >= Role::Read);
    if !is_read || !may_see || !is_csv(request.uri()) {
        return next.run(request).await;
    }
    let Ok(list) = LISTS.try_acquire() else {
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "busy with others\n").into_response();
    };
    // Ten thousand services take a while to write, and others wait for this thread.
    let text = tokio::task::spawn_blocking(move || {
        // Also when nobody waits for it any more.
        let _list = list;
        stat::csv(&views, &Scope::ALL)
    });
    match text.await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn is_csv(uri: &Uri) -> bool {
    let whole = uri.path_and_query().map_or("", |whole| whole.as_str());
    let mut parts = whole.split(';');
    let place = parts.next().unwrap_or_default();
    !place.starts_with("/v1/") && parts.any(|option| option == "csv")
}

/// What a command is answered with, but for those of the session itself.
async fn answer(views: &Views, weights: &Weights, command: Command) -> String {
    let views_too = views.clone();
    match command {
        Command::Change(server, wish) => change::make(views, weights, &server, wish).await,
        Command::GetWeight(server) => change::weight(views, weights, &server).await,
        Command::Stat(scope) => {
            let text = listed(move || stat::csv(&views_too, &scope)).await;
            text.unwrap_or_else(|| "No such proxy.\n".to_owned())
        }
        Command::ServersState(backend) => {
            let text = listed(move || {
                let generation = views_too.shared.published.current();
                state::servers(&generation.plan, backend.as_deref())
            });
            let text = text.await;
            text.unwrap_or_else(|| "Can't find backend.\n".to_owned())
        }
        Command::Backends => {
            let text = listed(move || {
                let generation = views_too.shared.published.current();
                Some(state::backends(&generation.plan))
            });
            text.await.unwrap_or_default()
        }
        Command::Info => {
            let text = listed(move || Some(state::info(&views_too)));
            text.await.unwrap_or_default()
        }
        Command::Version => format!("{}\n", env!("CARGO_PKG_VERSION")),
        Command::Say(text) => text,
        // The session's own.
        Command::Prompt | Command::Quit | Command::Idle(_) => String::new(),
    }
}

/// Waits for others who write lists, and writes this one beside everything else.
async fn listed(write: impl FnOnce() -> Option<String> + Send + 'static) -> Option<String> {
    let _list = LISTS.acquire().await.ok()?;
    tokio::task::spawn_blocking(write).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_has_many_spellings() {
        for (target, expected) in [
            ("/;csv", true),
            ("/stats;csv", true),
            ("/stats;csv;norefresh", true),
            ("/;norefresh;csv", true),
            ("/?;csv", true),
            ("/haproxy?stats;csv", true),
            ("/haproxy?stats;csv;norefresh", true),
            ("/haproxy?stats/;csv", true),
            ("/admin?stats;csv", true),
            ("/haproxy?stats", false),
            ("/csv", false),
            ("/?csv", false),
            ("/v1/running/services?q=;csv", false),
        ] {
            let uri: Uri = target.parse().expect("a target");
            assert_eq!(is_csv(&uri), expected, "{target}");
        }
    }
}
