//! The engine's API, with a limit on every wait.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EventMessage, EventMessageTypeEnum,
};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::timeout;

use super::super::spec::DockerEngine;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(5);
/// A thousand containers are some megabytes, and an engine may be busy.
const LIST: Duration = Duration::from_secs(30);

/// Looks at containers at once.
const LOOKS: usize = 8;

pub(super) struct Engine {
    docker: Docker,
}

/// What is asked of it came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("{what} has no answer within {limit:?}")]
    Silent { what: &'static str, limit: Duration },
    #[error("{what} failed: {reason}")]
    Failed { what: &'static str, reason: String },
    #[error("its stream of events ended")]
    Ended,
}

/// What happened to one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    /// In nanoseconds of the engine's clock.
    pub(super) at: i64,
    pub(super) action: Action,
    /// The container is one of a Swarm's tasks.
    pub(super) is_of_task: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It may be different now.
    Look,
    /// It does not run any more.
    Gone,
    /// It was sent this signal, by number or name.
    Kill(String),
    /// A service or a node of the Swarm is different now.
    Swarm,
}

/// A look at one container.
pub(super) enum Look {
    Seen(Box<ContainerInspectResponse>),
    Gone,
    Failed(String),
}

impl Engine {
    pub(super) async fn connect(engine: &DockerEngine) -> Result<Self, EngineError> {
        let seconds = ANSWER.as_secs();
        let docker = match engine {
            DockerEngine::Socket(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            DockerEngine::Tcp(address) => {
                Docker::connect_with_http(&format!("tcp://{address}"), seconds, API_DEFAULT_VERSION)
            }
        };
        let docker = docker.map_err(|error| failed("connecting", &error))?;
        let docker = limited("connecting", CONNECT, docker.negotiate_version()).await?;
        Ok(Self { docker })
    }

    /// The version of the API that both speak.
    pub(super) fn version(&self) -> String {
        self.docker.client_version().to_string()
    }

    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        limited("a ping", ANSWER, self.docker.ping())
            .await
            .map(drop)
    }

    /// Containers that run, each with a number that is another one when it looks different.
    pub(super) async fn list(&self) -> Result<BTreeMap<String, u64>, EngineError> {
        let options = ListContainersOptions::default();
        let listing = self.docker.list_containers(Some(options));
        let listed = limited("a list of containers", LIST, listing).await?;
        let known = listed.into_iter().filter_map(|container| {
            let shown = appearance(&container);
            Some((container.id?, shown))
        });
        Ok(known.collect())
    }

    pub(super) async fn inspect(&self, id: &str) -> Look {
        let look = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>);
        match timeout(ANSWER, look).await {
            Ok(Ok(container)) => Look::Seen(Box::new(container)),
            Ok(Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            })) => Look::Gone,
            Ok(Err(error)) => Look::Failed(one_line(&error)),
            Err(_) => Look::Failed(format!("no answer within {ANSWER:?}")),
        }
    }

    /// Looks at several, a few at a time.
    pub(super) async fn inspect_all(&self, ids: Vec<String>) -> Vec<(String, Look)> {
        let looks = ids.into_iter().map(|id| async {
            let look = self.inspect(&id).await;
            (id, look)
        });
        stream::iter(looks).buffer_unordered(LOOKS).collect().await
    }

    /// What happened since a time, and whatever happens.
    pub(super) fn events(&self, since: i64) -> Events {
        let kinds = ["container", "network", "service", "node"];
        let kinds = kinds.map(str::to_owned).to_vec();
        let options = EventsOptions {
            since: Some(format!(
                "{}.{:09}",
                since / 1_000_000_000,
                since % 1_000_000_000
            )),
            until: None,
            filters: Some(HashMap::from([("type".to_owned(), kinds)])),
        };
        let stream = self.docker.events(Some(options));
        Events {
            stream: Box::pin(
                stream.map(|item| item.map_err(|error| failed("following events", &error))),
            ),
        }
    }
}

/// A stream of events without those that concern nobody.
pub(super) struct Events {
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, EngineError>> + Send>>,
}

impl Events {
    /// Cancel safe: an event is handed out or still there.
    pub(super) async fn next(&mut self) -> Result<Event, EngineError> {
        loop {
            let message = self.stream.next().await.ok_or(EngineError::Ended)??;
            if let Some(event) = event_of(message) {
                return Ok(event);
            }
        }
    }
}

fn event_of(message: EventMessage) -> Option<Event> {
    let at = message
        .time_nano
        .or_else(|| message.time?.checked_mul(1_000_000_000))?;
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    let mut id = actor.id?;
    let is_of_swarm = matches!(
        message.typ,
        Some(EventMessageTypeEnum::SERVICE | EventMessageTypeEnum::NODE)
    );
    let action = match message.action?.as_str() {
        _ if is_of_swarm => Action::Swarm,
        "start" | "unpause" | "rename" | "restart" | "update" => Action::Look,
        health if health.starts_with("health_status") => Action::Look,
        "die" | "stop" | "pause" | "destroy" => Action::Gone,
        "kill" => Action::Kill(attributes.get("signal").cloned().unwrap_or_default()),
        // Of networks.
        "connect" | "disconnect" => {
            id = attributes.get("container")?.clone();
            Action::Look
        }
        _ => return None,
    };
    // A network's own events have no container.
    let is_of_task = attributes.contains_key("com.docker.swarm.task.id");
    (!id.is_empty()).then_some(Event {
        id,
        at,
        action,
        is_of_task,
    })
}

/// What can be seen of a container in a list, as a number: state, health, names and addresses.
fn appearance(container: &ContainerSummary) -> u64 {
    let mut hasher = DefaultHasher::new();
    container.names.hash(&mut hasher);
    format!("{:?}", container.state).hash(&mut hasher);
    let status = container.status.as_deref().unwrap_or_default();
    // "Up 3 minutes (healthy)"
    status
        .split_once('(')
        .map(|(_, health)| health)
        .hash(&mut hasher);
    let networks = container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let addresses: BTreeMap<_, _> = networks
        .into_iter()
        .flatten()
        .map(|(name, network)| (name, (&network.ip_address, &network.global_ipv6_address)))
        .collect();
    addresses.hash(&mut hasher);
    hasher.finish()
}

async fn limited<T>(
    what: &'static str,
    limit: Duration,
    asked: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(|error| failed(what, &error)),
        Err(_) => Err(EngineError::Silent { what, limit }),
    }
}

fn failed(what: &'static str, error: &bollard::errors::Error) -> EngineError {
    let reason = match error {
        // No permission says so only at the bottom.
        bollard::errors::Error::HyperLegacyError { .. } => bottom(error),
        error => one_line(error),
    };
    EngineError::Failed { what, reason }
}

fn bottom(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    one_line(last)
}

/// What an engine says of an error may be a page of HTML.
fn one_line(error: &dyn fmt::Display) -> String {
    const SHOWN: usize = 200;
    let text = error.to_string();
    text.chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
