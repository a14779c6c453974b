//! The program itself: started on free ports over a key directory, watched, and ended with the test.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tempfile::TempDir;

use super::certs::{self, Leaf};
use super::client::{self, Client};
use super::message::Response;
use super::{LIMIT, free_port, wait_until};

/// A `pointsman run`, over a `dir` store unless told otherwise.
pub struct Pointsman {
    child: Child,
    recipe: Recipe,
    dir: TempDir,
    http: SocketAddr,
    https: SocketAddr,
    stats: SocketAddr,
}

/// How it was started, to start it once more.
struct Recipe {
    args: Vec<String>,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
}

/// How to start one.
pub struct Builder {
    dir: TempDir,
    node: String,
    store: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    has_certificate: bool,
    wait_ready: bool,
}

impl Pointsman {
    pub fn builder() -> Builder {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for part in ["keys", "state", "tmp"] {
            fs::create_dir(dir.path().join(part)).expect("a directory inside it");
        }
        Builder {
            dir,
            node: "test".to_owned(),
            store: None,
            args: Vec::new(),
            env: Vec::new(),
            descriptors: None,
            has_certificate: true,
            wait_ready: true,
        }
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn https(&self) -> SocketAddr {
        self.https
    }

    pub fn stats(&self) -> SocketAddr {
        self.stats
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sets a key in one step.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        put(self.dir.path(), key, value.as_ref());
    }

    /// Removes a key, or a directory with all in it.
    pub fn remove(&self, key: &str) {
        let path = self.dir.path().join("keys").join(key);
        // A directory is moved out whole first, so that its keys go at one moment.
        let gone = self.dir.path().join("tmp").join(unique());
        fs::rename(&path, &gone).unwrap_or_else(|e| panic!("remove {key}: {e}"));
        if gone.is_dir() {
            fs::remove_dir_all(&gone).expect("remove a directory");
        } else {
            fs::remove_file(&gone).expect("remove a file");
        }
    }

    /// Adds a service with all its keys at one moment: it is built beside and moved in.
    pub fn put_service(&self, service: &Service) {
        put_service(self.dir.path(), service);
    }

    /// A connection to the HTTP listener.
    pub fn client(&self) -> Client {
        Client::connect(self.http)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, host: &str, target: &str) -> Response {
        client::get(self.http, host, target)
    }

    /// Waits until a GET is answered with `status`.
    pub fn wait_for_status(&self, host: &str, target: &str, status: u16) {
        wait_until(
            &format!("{status} for http://{host}{target}; log:\n{}", self.log()),
            || self.get(host, target).status() == status,
        );
    }

    /// Waits until a GET is answered by the whoami or origin whose text contains `text`.
    pub fn wait_for_text(&self, host: &str, target: &str, text: &str) {
        wait_until(&format!("{text:?} from http://{host}{target}"), || {
            self.get(host, target).text().contains(text)
        });
    }

    /// Waits until something listens on a port of 127.0.0.1.
    pub fn wait_for_port(&self, port: u16) {
        wait_until(
            &format!("a listener on {port}; log:\n{}", self.log()),
            || Client::try_connect(local(port)).is_ok(),
        );
    }

    pub fn wait_for_no_port(&self, port: u16) {
        wait_until(
            &format!("no listener on {port}; log:\n{}", self.log()),
            || Client::try_connect(local(port)).is_err(),
        );
    }

    /// `/v1/status` as it is.
    pub fn status(&self) -> serde_json::Value {
        let response = client::get(self.stats, "localhost", "/v1/status");
        assert_eq!(response.status(), 200, "{}", response.text());
        serde_json::from_slice(&response.body.bytes).expect("the status is JSON")
    }

    /// Waits until the status contains all of `words`, such as a key and a reason.
    pub fn wait_for_status_words(&self, words: &[&str]) {
        wait_until(&format!("{words:?} in the status"), || {
            let text = self.status().to_string();
            words.iter().all(|w| text.contains(w))
        });
    }

    /// `/v1/plan`: the tables that run.
    pub fn plan(&self) -> Running {
        let response = client::get(self.stats, "localhost", "/v1/plan");
        assert_eq!(response.status(), 200, "{}", response.text());
        let number = |name| -> u64 {
            let value = response.header(name).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("no number in {name}"))
        };
        Running {
            generation: number("x-generation"),
            revision: number("x-revision"),
            dump: response.text(),
        }
    }

    /// Waits until the tables of `revision` run, and the status, which is told last, says so.
    pub fn wait_for_revision(&self, revision: u64) {
        wait_until(&format!("revision {revision} runs"), || {
            self.status()["revision"].as_u64() >= Some(revision)
        });
    }

    /// What `/ready` answers.
    pub fn ready(&self) -> u16 {
        client::get(self.stats, "localhost", "/ready").status()
    }

    pub fn keys_dir(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// A command that looks at the same keys, with the same listeners in mind.
    pub fn look(&self, command: &str, args: &[&str]) -> Output {
        super::command()
            .args([command, "--store"])
            .arg(format!("dir:{}", self.keys_dir().display()))
            .args(["--http", &self.http.to_string()])
            .args(["--https", &self.https.to_string()])
            .args(["--stats", &self.stats.to_string()])
            .args(args)
            .output()
            .expect("run pointsman")
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal a child");
    }

    /// Sends SIGINT, as a terminal does, without waiting.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signal a child");
    }

    /// Stops it where it stands, without its noticing.
    pub fn freeze(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("signal a child");
    }

    pub fn thaw(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("signal a child");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Starts it once more as it was, on the same ports and the same saved state, when it has ended.
    /// Does not wait for anything.
    pub fn start_again(&mut self) {
        assert!(!self.is_running(), "it has not ended");
        self.child = self.recipe.spawn(self.dir.path());
    }

    pub fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while !is_ready(self.stats) {
            assert!(self.is_running(), "ended at once; log:\n{}", self.log());
            // Thousands of keys or certificates take a debug build a while on a machine that others use too.
            let limit = LIMIT * 3;
            assert!(start.elapsed() < limit, "not ready; log:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for its own end.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "did not end; log:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Pointsman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(8000);
            let tail = (tail..=log.len())
                .find(|i| log.is_char_boundary(*i))
                .unwrap_or(0);
            eprintln!("--- pointsman's log:\n{}", &log[tail..]);
        }
    }
}

impl Builder {
    pub fn key(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        put(self.dir.path(), key, value.as_ref());
        self
    }

    /// `settings/<name>`.
    pub fn setting(self, name: &str, value: &str) -> Self {
        self.key(&format!("settings/{name}"), value)
    }

    pub fn service(self, service: &Service) -> Self {
        put_service(self.dir.path(), service);
        self
    }

    /// Another store than the directory.
    pub fn store(mut self, store: &str) -> Self {
        self.store = Some(store.to_owned());
        self
    }

    /// `--node`, where there are several.
    pub fn node(mut self, name: &str) -> Self {
        self.node = name.to_owned();
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With no more than so many open files.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Without the one that clients of every transport trust.
    pub fn without_certificate(mut self) -> Self {
        self.has_certificate = false;
        self
    }

    /// Does not wait for the first good generation.
    pub fn without_waiting(mut self) -> Self {
        self.wait_ready = false;
        self
    }

    /// Starts it and waits until `/ready` says 200.
    pub fn start(self) -> Pointsman {
        if self.has_certificate {
            let leaf = certs::town_hall().sign(&Leaf::of(&[certs::TOWN]));
            put(self.dir.path(), "certs/town", leaf.pem().as_bytes());
        }
        let [http, https, stats] = [(); 3].map(|()| local(free_port()));
        let store = self.store.unwrap_or_else(|| {
            let keys = self.dir.path().join("keys");
            format!("dir:{}", keys.display())
        });
        let state = self.dir.path().join("state");
        let mut args: Vec<String> = ["run", "--store", &store].map(str::to_owned).into();
        args.extend(["--http".to_owned(), http.to_string()]);
        args.extend(["--stats".to_owned(), stats.to_string()]);
        args.extend(["--node".to_owned(), self.node]);
        args.extend(self.args);
        let recipe = Recipe {
            args,
            // By environment, so that a test may give the flag.
            env: [
                ("LB_WORKERS".to_owned(), "2".to_owned()),
                ("LB_STATE_DIR".to_owned(), state.display().to_string()),
                ("LB_HTTPS".to_owned(), https.to_string()),
            ]
            .into_iter()
            .chain(self.env)
            .collect(),
            descriptors: self.descriptors,
        };
        let mut pointsman = Pointsman {
            child: recipe.spawn(self.dir.path()),
            recipe,
            dir: self.dir,
            http,
            https,
            stats,
        };
        if self.wait_ready {
            pointsman.wait_until_ready();
        }
        pointsman
    }
}

impl Recipe {
    /// What it writes goes behind what is in the log already.
    fn spawn(&self, dir: &Path) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .expect("a log file");
        self.descriptors
            .map_or_else(super::command, super::command_with_descriptors)
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file once more"))
            .stderr(log)
            .spawn()
            .expect("start pointsman")
    }
}

/// Runs a subcommand to its end.
pub fn run(args: &[&str]) -> Output {
    super::command()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("run pointsman")
}

/// The tables that a node runs.
#[derive(Debug)]
pub struct Running {
    pub generation: u64,
    pub revision: u64,
    /// As `pointsman plan` prints them.
    pub dump: String,
}

/// The keys of one service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    dir: String,
    keys: Vec<(String, String)>,
}

impl Service {
    /// An HTTP service. Health checks are off, so that a scripted origin sees only what the test sends.
    pub fn http(name: &str) -> Self {
        Self {
            dir: format!("services/{name}"),
            keys: Vec::new(),
        }
        .key("health_check", "off")
    }

    /// A TCP service with a port of its own.
    pub fn tcp(name: &str, port: u16) -> Self {
        Self {
            dir: format!("tcp-services/{name}"),
            keys: Vec::new(),
        }
        .key("health_check", "off")
        .key("external_port", &port.to_string())
    }

    pub fn key(self, key: &str, value: &str) -> Self {
        let mut service = self.without(key);
        service.keys.push((key.to_owned(), value.to_owned()));
        service
    }

    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(k, _)| k != key);
        self
    }

    pub fn hosts(self, hosts: &str) -> Self {
        self.key("virtual_hosts", hosts)
    }

    pub fn paths(self, paths: &str) -> Self {
        self.key("virtual_path", paths)
    }

    /// Each key below the root, and its value.
    pub fn keys(&self) -> impl Iterator<Item = (String, &str)> {
        let dir = &self.dir;
        self.keys
            .iter()
            .map(move |(key, value)| (format!("{dir}/{key}"), value.as_str()))
    }

    /// Upstreams are named a, b, c in the order they are given.
    pub fn upstream(self, addr: SocketAddr) -> Self {
        let count = self
            .keys
            .iter()
            .filter(|(k, _)| k.starts_with("upstreams/"))
            .count();
        let name = char::from(b'a' + u8::try_from(count).expect("a few upstreams"));
        self.key(&format!("upstreams/{name}"), &addr.to_string())
    }
}

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn is_ready(stats: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut client = Client::try_connect(stats)?;
        client.try_send("GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let answer = client.try_rest()?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Writes beside and renames, so that nobody sees half of a value.
fn put(dir: &Path, key: &str, value: &[u8]) {
    let path = dir.join("keys").join(key);
    let beside = dir.join("tmp").join(unique());
    fs::create_dir_all(path.parent().expect("a key has a directory"))
        .expect("a directory for the key");
    fs::write(&beside, value).expect("write a value");
    fs::rename(&beside, &path).unwrap_or_else(|e| panic!("put {key}: {e}"));
}

fn put_service(dir: &Path, service: &Service) {
    let beside = dir.join("tmp").join(unique());
    for (key, value) in &service.keys {
        let path = beside.join(key);
        fs::create_dir_all(path.parent().expect("a key has a directory"))
            .expect("a directory for the key");
        fs::write(path, value).expect("write a value");
    }
    let place = dir.join("keys").join(&service.dir);
    fs::create_dir_all(place.parent().expect("a service has a directory"))
        .expect("a directory for services");
    fs::rename(&beside, &place).unwrap_or_else(|e| panic!("put {}: {e}", service.dir));
}

fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
