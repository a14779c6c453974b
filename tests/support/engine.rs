//! A Docker engine that is none: its API on a unix socket, with containers as a test wants them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Engine {
    dir: TempDir,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Value>,
    streams: Vec<UnixStream>,
    clock: i64,
    /// Answers of the list, instead of the truth.
    list: Option<String>,
    /// Answers of looks at containers whose ids begin so.
    broken: Option<String>,
    is_silent: bool,
    is_down: bool,
    looks: usize,
    swarm: Swarm,
}

/// What a manager answers. Without `is_manager` it is an engine like any other.
#[derive(Clone, Default)]
pub struct Swarm {
    pub is_manager: bool,
    /// `LocalNodeState`, where it is no manager.
    pub state: &'static str,
    pub services: Vec<Value>,
    pub tasks: Vec<Value>,
    pub nodes: Vec<Value>,
    /// Answered instead of any list: a status and a body.
    pub instead: Option<(&'static str, String)>,
    /// How often each list was asked for.
    pub asked: BTreeMap<String, usize>,
}

/// A container with labels and an address; it started when the engine's clock was 1.
pub fn container(name: &str, address: &str, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "Id": format!("{name:0<64}"),
        "Name": format!("/{name}"),
        "State": {"Status": "running", "Running": true, "StartedAt": "1970-01-01T00:00:01Z"},
        "Config": {"Labels": labels, "Env": ["PATH=/bin"], "ExposedPorts": {"8000/tcp": {}}},
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address}}},
    })
}

impl Engine {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("engine.sock")).expect("a socket");
        let inner = Arc::new(Mutex::new(Inner {
            clock: 10_000_000_000,
            ..Inner::default()
        }));
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { dir, inner }
    }

    /// `options` as they are written behind the socket: `?relist=1`.
    pub fn store(&self, options: &str) -> String {
        let path: PathBuf = self.dir.path().join("engine.sock");
        format!("docker://{}{options}", path.display())
    }

    /// Puts a container there and tells nobody.
    pub fn put(&self, container: &Value) {
        let id = container["Id"].as_str().expect("an id").to_owned();
        self.lock().containers.insert(id, container.clone());
    }

    pub fn run(&self, container: &Value) {
        self.put(container);
        self.tell(container, "start", json!({}));
    }

    pub fn die(&self, container: &Value) {
        self.lock()
            .containers
            .remove(container["Id"].as_str().expect("an id"));
        self.tell(container, "die", json!({}));
    }

    pub fn tell(&self, container: &Value, action: &str, attributes: Value) {
        let mut inner = self.lock();
        inner.clock += 1_000_000;
        let event = json!({
            "Type": "container", "Action": action, "timeNano": inner.clock, "time": inner.clock / 1_000_000_000,
            "Actor": {"ID": container["Id"], "Attributes": attributes},
        });
        if !inner.is_silent {
            inner.send(&format!("{event}\n"));
        }
    }

    /// Changes what the Swarm is, and tells nobody.
    pub fn swarm<T>(&self, change: impl FnOnce(&mut Swarm) -> T) -> T {
        change(&mut self.lock().swarm)
    }

    /// A service's event.
    pub fn tell_service(&self, id: &str, action: &str) {
        let mut inner = self.lock();
        inner.clock += 1_000_000;
        let event = json!({
            "Type": "service", "Action": action, "scope": "swarm",
            "timeNano": inner.clock, "time": inner.clock / 1_000_000_000,
            "Actor": {"ID": id, "Attributes": {"name": "web"}},
        });
        inner.send(&format!("{event}\n"));
    }

    /// These bytes in the stream of events.
    pub fn babble(&self, text: &str) {
        self.lock().send(text);
    }

    pub fn list(&self, answer: Option<&str>) {
        self.lock().list = answer.map(str::to_owned);
    }

    pub fn break_looks(&self, id: Option<&str>) {
        self.lock().broken = id.map(str::to_owned);
    }

    /// Events do not come any more, and the stream stays open.
    pub fn silence(&self, is_silent: bool) {
        self.lock().is_silent = is_silent;
    }

    /// Ends all streams and answers nobody, or begins to answer again.
    pub fn down(&self, is_down: bool) {
        let mut inner = self.lock();
        inner.is_down = is_down;
        for stream in inner.streams.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// How many containers were looked at so far.
    pub fn looks(&self) -> usize {
        self.lock().looks
    }

    pub fn is_followed(&self) -> bool {
        !self.lock().streams.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics with it")
    }
}

impl Inner {
    fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.streams
            .retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }
}

impl Swarm {
    fn answer(&mut self, path: &str) -> Option<(&'static str, String)> {
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/containers/") {
            return None;
        }
        let list = match name {
            "info" => {
                let state = if self.is_manager {
                    "active"
                } else {
                    self.state
                };
                json!({"Swarm": {"ControlAvailable": self.is_manager, "LocalNodeState": state, "NodeID": "n1", "NodeAddr": "127.0.0.1"}})
            }
            "services" => Value::from(self.services.clone()),
            "tasks" => Value::from(self.tasks.clone()),
            "nodes" => Value::from(self.nodes.clone()),
            _ => return None,
        };
        *self.asked.entry(name.to_owned()).or_default() += 1;
        let instead = self.instead.clone().filter(|_| name != "info");
        Some(instead.unwrap_or_else(|| ("200 OK", list.to_string())))
    }
}

fn serve(stream: UnixStream, inner: &Mutex<Inner>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = target.split('?').next().unwrap_or_default();
    let mut inner = inner.lock().expect("no test panics with it");
    if inner.is_down {
        return;
    }
    if path.ends_with("/events") {
        let mut stream = stream;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(head.as_bytes()).is_ok() {
            inner.streams.push(stream);
        }
        return;
    }
    let (status, body) = if path.ends_with("/version") {
        (
            "200 OK",
            json!({"ApiVersion": "1.41", "Version": "20.10"}).to_string(),
        )
    } else if path.ends_with("/_ping") {
        ("200 OK", "OK".to_owned())
    } else if path.ends_with("/containers/json") {
        (
            "200 OK",
            inner
                .list
                .clone()
                .unwrap_or_else(|| list(&inner.containers)),
        )
    } else if let Some(answer) = inner.swarm.answer(path) {
        answer
    } else {
        inner.looks += 1;
        let id = path.rsplit('/').nth(1).unwrap_or_default();
        let is_broken = inner
            .broken
            .as_ref()
            .is_some_and(|broken| id.starts_with(broken.as_str()));
        match inner.containers.get(id) {
            Some(_) if is_broken => ("200 OK", "{\"State\": \"odd\"".to_owned()),
            Some(container) => ("200 OK", container.to_string()),
            None => (
                "404 Not Found",
                json!({"message": "no such container"}).to_string(),
            ),
        }
    };
    drop(inner);
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn list(containers: &BTreeMap<String, Value>) -> String {
    let all: Vec<_> = containers
        .values()
        .filter(|container| container["State"]["Running"] == true)
        .map(|container| {
            json!({
                "Id": container["Id"], "Names": [container["Name"]], "State": "running", "Status": "Up 1 second",
                "Labels": container["Config"]["Labels"],
                "NetworkSettings": {"Networks": container["NetworkSettings"]["Networks"]},
            })
        })
        .collect();
    Value::from(all).to_string()
}
