//! Swarm's lists in the engine's own words. `bollard`'s models have neither the networks nor the addresses of tasks, and
//! refuse a whole list for one word they do not know, so these few are asked for and read here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Deserializer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::super::super::spec::DockerEngine;
use super::super::engine::EngineError;

/// Without a leader the engine itself gives up after 20 s.
const LIMIT: Duration = Duration::from_secs(25);

/// A task is some 1.5 KB: room for forty thousand.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Only those that should run: `filters={"desired-state":["running"]}`.
const TASKS: &str = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";

#[derive(Clone, Debug)]
pub(super) struct Client {
    engine: DockerEngine,
    /// Of the API, as negotiated.
    version: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum AskError {
    #[error("{what} was answered with {status}: {message}")]
    Status {
        what: &'static str,
        status: u16,
        message: String,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl AskError {
    /// The engine, or somebody in front of it, says no.
    pub(in super::super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if (400..500).contains(status))
    }
}

impl Client {
    pub(super) fn new(engine: DockerEngine, version: String) -> Self {
        Self { engine, version }
    }

    pub(super) async fn info(&self) -> Result<Info, AskError> {
        let what = "a look at the engine";
        read(what, &self.get(what, "/info").await?)
    }

    pub(super) async fn tasks(&self) -> Result<Bytes, AskError> {
        self.get(TASK_LIST, TASKS).await
    }

    pub(super) async fn services(&self) -> Result<Bytes, AskError> {
        self.get(SERVICE_LIST, "/services").await
    }

    pub(super) async fn nodes(&self) -> Result<Bytes, AskError> {
        self.get(NODE_LIST, "/nodes").await
    }

    async fn get(&self, what: &'static str, path: &str) -> Result<Bytes, AskError> {
        let path = format!("/v{}{path}", self.version);
        let asked = async {
            match &self.engine {
                DockerEngine::Socket(socket) => {
                    let stream = UnixStream::connect(socket).await;
                    exchange(what, stream.map_err(|error| failed(what, &error))?, &path).await
                }
                DockerEngine::Tcp(address) => {
                    let stream = TcpStream::connect(address).await;
                    exchange(what, stream.map_err(|error| failed(what, &error))?, &path).await
                }
            }
        };
        match timeout(LIMIT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(EngineError::Silent { what, limit: LIMIT }.into()),
        }
    }
}

pub(super) const TASK_LIST: &str = "a list of tasks";
pub(super) const SERVICE_LIST: &str = "a list of services";
pub(super) const NODE_LIST: &str = "a list of nodes";

/// One request on a connection of its own.
async fn exchange(
    what: &'static str,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Result<Bytes, AskError> {
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| failed(what, &error))?;
    let request = hyper::Request::get(path)
        .header(HOST, "docker")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(what, &error))?;
    let answered = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(what, &error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body
            .map_err(|error| failed(what, error.as_ref()))?
            .to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let said = serde_json::from_slice::<Refusal>(&body).unwrap_or_default();
        Err(AskError::Status {
            what,
            status: status.as_u16(),
            message: one_line(&said.message),
        })
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // What it has read is still to be taken.
        _ = &mut connection => answered.await,
    }
}

/// An answer as what it should be.
pub(super) fn read<'a, T: Deserialize<'a>>(
    what: &'static str,
    answer: &'a [u8],
) -> Result<T, AskError> {
    serde_json::from_slice(answer).map_err(|error| failed(what, &error).into())
}

fn failed(what: &'static str, error: &(dyn std::error::Error + 'static)) -> EngineError {
    let mut reason = error.to_string();
    if let Some(source) = error.source() {
        reason = format!("{reason}: {source}");
    }
    let reason = one_line(&reason);
    EngineError::Failed { what, reason }
}

fn one_line(text: &str) -> String {
    const SHOWN: usize = 200;
    let line = text.chars().take(SHOWN);
    line.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Info {
    #[serde(deserialize_with = "or_default")]
    pub(super) swarm: InfoSwarm,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InfoSwarm {
    #[serde(rename = "NodeID")]
    pub(super) node_id: String,
    pub(super) node_addr: String,
    pub(super) local_node_state: String,
    pub(super) control_available: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) spec: ServiceSpec,
    pub(super) endpoint: Endpoint,
    #[serde(deserialize_with = "or_default")]
    pub(super) update_status: UpdateStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ServiceSpec {
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) task_template: TaskSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct UpdateStatus {
    pub(super) state: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<PortConfig>,
    #[serde(rename = "VirtualIPs", deserialize_with = "or_default")]
    pub(super) virtual_ips: Vec<VirtualIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct VirtualIp {
    #[serde(rename = "NetworkID")]
    pub(super) network_id: String,
    pub(super) addr: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PortConfig {
    pub(super) protocol: String,
    pub(super) target_port: u16,
    pub(super) published_port: u16,
    pub(super) publish_mode: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct TaskSpec {
    #[serde(deserialize_with = "or_default")]
    pub(super) container_spec: ContainerSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ContainerSpec {
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    pub(super) stop_signal: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
    pub(super) slot: u64,
    #[serde(rename = "NodeID")]
    pub(super) node_id: String,
    pub(super) spec: TaskSpec,
    pub(super) status: TaskStatus,
    pub(super) desired_state: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) networks_attachments: Vec<Attachment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct TaskStatus {
    pub(super) state: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) container_status: ContainerStatus,
    #[serde(deserialize_with = "or_default")]
    pub(super) port_status: PortStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ContainerStatus {
    #[serde(rename = "ContainerID")]
    pub(super) container_id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PortStatus {
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<PortConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Attachment {
    pub(super) network: Network,
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Network {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) spec: NetworkSpec,
    #[serde(deserialize_with = "or_default")]
    pub(super) driver_state: Driver,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkSpec {
    pub(super) name: String,
    pub(super) ingress: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Driver {
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Node {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: NodeAddress,
    #[serde(deserialize_with = "or_default")]
    pub(super) manager_status: NodeAddress,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NodeAddress {
    /// Of a manager with its port.
    pub(super) addr: String,
}

/// The engine writes `null` where it has no list.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
