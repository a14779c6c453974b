//! A real etcd on free ports, with its data in a directory that goes with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, CompactionOptions, ConnectOptions, Txn, TxnOp};
use pointsman::store::{StoreOptions, StoreSpec};

use super::free_port;

/// One member. Killed when dropped.
pub struct Etcd {
    dir: tempfile::TempDir,
    data: PathBuf,
    client_port: u16,
    peer_port: u16,
    scheme: &'static str,
    extra: Vec<String>,
    process: Option<Child>,
}

impl Etcd {
    /// Started and answering.
    pub async fn start() -> Self {
        let mut etcd = Self::prepare();
        etcd.run().await;
        etcd
    }

    /// Ports and a directory, no process yet.
    pub fn prepare() -> Self {
        let dir = tempfile::tempdir().expect("a directory for etcd");
        Self {
            data: dir.path().join("data"),
            dir,
            client_port: free_port(),
            peer_port: free_port(),
            scheme: "http",
            extra: Vec::new(),
            process: None,
        }
    }

    /// TLS with these files on the client port from the next start on.
    pub fn with_tls(mut self, cert: &Path, key: &Path, client_ca: &Path) -> Self {
        self.scheme = "https";
        self.extra = vec![
            format!("--cert-file={}", cert.display()),
            format!("--key-file={}", key.display()),
            format!("--trusted-ca-file={}", client_ca.display()),
            "--client-cert-auth".to_owned(),
        ];
        self
    }

    /// Starts the process on what the data directory holds, and waits for its port.
    pub async fn run(&mut self) {
        let client = format!("{}://127.0.0.1:{}", self.scheme, self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log file");
        let child = Command::new("etcd")
            .arg("--name=m1")
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=m1={peer}"))
            .arg("--unsafe-no-fsync")
            .args(&self.extra)
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd has to be installed (Debian: etcd-server)");
        self.process = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.is_serving().await {
            assert!(
                Instant::now() < deadline,
                "etcd does not start: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_serving(&self) -> bool {
        if self.scheme == "https" {
            let port = ("127.0.0.1", self.client_port);
            return tokio::net::TcpStream::connect(port).await.is_ok();
        }
        let get = async { self.client().await.get("health", None).await };
        matches!(
            tokio::time::timeout(Duration::from_secs(1), get).await,
            Ok(Ok(_) | Err(etcd_client::Error::GRpcStatus(_)))
        ) && self.is_up().await
    }

    /// A member that has a leader; it answers with an error of its own when users are asked for.
    async fn is_up(&self) -> bool {
        let status = async { self.client().await.status().await };
        matches!(
            tokio::time::timeout(Duration::from_secs(1), status).await,
            Ok(Ok(status)) if status.leader() != 0
        )
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub fn spec(&self) -> StoreSpec {
        format!("etcd://{}", self.endpoint())
            .parse()
            .expect("a store")
    }

    /// For writing: a plain client without a user.
    pub async fn client(&self) -> Client {
        Client::connect([self.endpoint()], None)
            .await
            .expect("lazy")
    }

    pub async fn client_as(&self, user: &str, password: &str) -> Client {
        let options = ConnectOptions::new().with_user(user, password);
        Client::connect([self.endpoint()], Some(options))
            .await
            .expect("etcd takes the user")
    }

    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> u64 {
        let answer = self
            .client()
            .await
            .put(key, value, None)
            .await
            .expect("put");
        answer.header().expect("header").revision().cast_unsigned()
    }

    /// All keys below a prefix, without it, with their values.
    pub async fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let options = etcd_client::GetOptions::new().with_prefix();
        let answer = self.client().await.get(prefix, Some(options)).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = answer.expect("get");
        let keys = answer.kvs().iter();
        keys.map(|kv| (text(&kv.key()[prefix.len()..]), text(kv.value())))
            .collect()
    }

    pub async fn delete(&self, prefix: &str) -> u64 {
        let options = etcd_client::DeleteOptions::new().with_prefix();
        let answer = self.client().await.delete(prefix, Some(options)).await;
        let answer = answer.expect("delete");
        answer.header().expect("header").revision().cast_unsigned()
    }

    /// Puts (`Some`) and deletes keys in one transaction.
    pub async fn transact<'a, V: AsRef<[u8]>>(
        &self,
        changes: impl IntoIterator<Item = (&'a str, Option<V>)>,
    ) -> u64 {
        let operation = |(key, value): (&str, Option<V>)| match value {
            Some(value) => TxnOp::put(key, value.as_ref(), None),
            None => TxnOp::delete(key, None),
        };
        let operations: Vec<_> = changes.into_iter().map(operation).collect();
        let mut client = self.client().await;
        let answer = client.txn(Txn::new().and_then(operations)).await;
        let answer = answer.expect("transaction");
        answer.header().expect("header").revision().cast_unsigned()
    }

    /// Forgets the history up to `revision`.
    pub async fn compact(&self, revision: u64) {
        let options = CompactionOptions::new().with_physical();
        let mut client = self.client().await;
        let compacted = client.compact(revision.cast_signed(), Some(options)).await;
        compacted.expect("compact");
    }

    /// Writes a backup of the running member.
    pub fn save(&self) -> PathBuf {
        let backup = self.dir.path().join("backup.db");
        let endpoint = format!("--endpoints={}", self.endpoint());
        etcdctl(&[&endpoint, "snapshot", "save", &backup.display().to_string()]);
        backup
    }

    /// Replaces the data of the stopped member by a backup.
    pub fn restore(&mut self, backup: &Path) {
        assert!(self.process.is_none(), "stop it first");
        self.data = self.dir.path().join("restored");
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        etcdctl(&[
            "snapshot",
            "restore",
            &backup.display().to_string(),
            "--name=m1",
            &format!("--data-dir={}", self.data.display()),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=m1={peer}"),
        ]);
    }

    /// Another cluster on the same ports, without data. Stop the old one first.
    pub fn lose_data(&mut self) {
        assert!(self.process.is_none(), "stop it first");
        self.data = self.dir.path().join("new");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = &log[log.len().saturating_sub(3000)..];
            let _ = writeln!(std::io::stderr(), "--- etcd's log ends with\n{tail}");
        }
        self.kill();
    }
}

/// No guard and no settling, under the default root.
pub fn plain_options() -> StoreOptions {
    StoreOptions {
        empty_grace: Duration::ZERO,
        ..StoreOptions::default()
    }
}

fn etcdctl(args: &[&str]) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(args)
        .output()
        .expect("etcdctl has to be installed (Debian: etcd-client)");
    assert!(
        output.status.success(),
        "etcdctl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
