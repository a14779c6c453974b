//! The board in etcd: one key per node under a lease, so that a dead node's status goes by itself.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions, PutOptions};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::super::etcd::{EtcdError, connect, limited};
use super::super::spec::EtcdSpec;
use super::super::{StoreError, StoreOptions};
use super::{HEARTBEAT, LIFETIME, LIMIT, PAUSE, file_name, parse};
use crate::backoff::Backoff;
use crate::status::NodeStatus;

#[derive(Clone)]
pub(super) struct Board {
    spec: EtcdSpec,
    options: StoreOptions,
    prefix: String,
    /// For lists: who waits looks many times a second, and with users each new connection costs the
    /// server a password hash.
    reader: Arc<Mutex<Option<Client>>>,
}

impl Board {
    pub(super) fn new(spec: EtcdSpec, options: StoreOptions) -> Self {
        Self {
            prefix: options.status_prefix(),
            reader: Arc::default(),
            spec,
            options,
        }
    }

    pub(super) fn place(&self) -> String {
        format!("{} under {}", self.spec, self.prefix)
    }

    pub(super) async fn list(&self) -> Result<Vec<NodeStatus>, StoreError> {
        let mut reader = self.reader.lock().await;
        if let Some(client) = reader.take()
            && let Ok(nodes) = self.list_with(&client).await
        {
            *reader = Some(client);
            return Ok(nodes);
        }
        let mut reasons = Vec::new();
        for endpoint in &self.spec.endpoints {
            let answer = match connect(endpoint, self.spec.tls, &self.options.etcd).await {
                Ok(client) => self.list_with(&client).await.map(|nodes| (client, nodes)),
                Err(error) => Err(error),
            };
            match answer {
                Ok((client, nodes)) => {
                    *reader = Some(client);
                    return Ok(nodes);
                }
                Err(error) => reasons.push(format!("{endpoint}: {error}")),
            }
        }
        Err(StoreError::Failed {
            store: self.spec.to_string(),
            reason: reasons.join("; "),
        })
    }

    async fn list_with(&self, client: &Client) -> Result<Vec<NodeStatus>, EtcdError> {
        let mut kv = client.kv_client().max_decoding_message_size(MAX_LIST);
        let options = GetOptions::new().with_prefix();
        let answer = limited(LIMIT, kv.get(self.prefix.as_str(), Some(options))).await?;
        Ok(answer
            .kvs()
            .iter()
            .filter_map(|kv| parse(&String::from_utf8_lossy(kv.key()), kv.value()))
            .collect())
    }

    /// Writes what is published until the publisher goes; then takes the status away.
    pub(super) async fn write(self, mut newest: watch::Receiver<Option<NodeStatus>>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut told = false;
        loop {
            for endpoint in &self.spec.endpoints {
                let mut wrote = false;
                match self.session(endpoint, &mut newest, &mut wrote).await {
                    Ok(()) => return,
                    Err(error) => {
                        if wrote {
                            backoff.reset();
                            told = false;
                        }
                        if told {
                            debug!(%endpoint, %error, "status cannot be written");
                        } else {
                            warn!(%endpoint, %error, event = "status_unwritten", "status cannot be written, trying on");
                            told = true;
                        }
                    }
                }
                let gone = tokio::time::timeout(backoff.next_wait(), closed(&mut newest)).await;
                if gone.is_ok() {
                    return;
                }
            }
        }
    }

    /// One connection and one lease. Ends well when the publisher is gone.
    async fn session(
        &self,
        endpoint: &str,
        newest: &mut watch::Receiver<Option<NodeStatus>>,
        wrote: &mut bool,
    ) -> Result<(), EtcdError> {
        let mut client = connect(endpoint, self.spec.tls, &self.options.etcd).await?;
        let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let lease = limited(LIMIT, client.lease_grant(lifetime, None))
            .await?
            .id();
        self.put(&mut client, lease, newest).await?;
        *wrote = true;
        let mut told = false;
        let mut alive_at = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        limited(LIMIT, client.lease_revoke(lease)).await?;
                        return Ok(());
                    }
                    if let Some(other) = self.put(&mut client, lease, newest).await?
                        && !std::mem::replace(&mut told, true)
                    {
                        warn!(
                            node = %other.node, pid = other.pid, started = %other.started,
                            event = "node_named_twice",
                            "another process reports under this node's name, give each its own --node"
                        );
                    }
                    sleep(PAUSE).await;
                }
                () = sleep_until(alive_at) => {
                    keep_alive(&mut client, lease).await?;
                    alive_at = Instant::now() + HEARTBEAT;
                }
            }
        }
    }

    /// Gives what it replaced if that is another process's. At the start of a session it may well be
    /// the one before a restart; later it is a second one of the same name.
    async fn put(
        &self,
        client: &mut Client,
        lease: i64,
        newest: &mut watch::Receiver<Option<NodeStatus>>,
    ) -> Result<Option<NodeStatus>, EtcdError> {
        let Some(status) = newest.borrow_and_update().clone() else {
            return Ok(None);
        };
        let key = format!("{}{}", self.prefix, file_name(&status.node));
        let value = serde_json::to_vec(&status)
            .map_err(|_| EtcdError::Protocol("status cannot be written as JSON"))?;
        let options = PutOptions::new().with_lease(lease).with_prev_key();
        match limited(LIMIT, client.put(key, value, Some(options))).await {
            Ok(answer) => Ok(answer
                .prev_key()
                .and_then(|kv| serde_json::from_slice::<NodeStatus>(kv.value()).ok())
                .filter(|old| (&old.started, old.pid) != (&status.started, status.pid))),
            Err(error) if error.is_not_found() => {
                Err(EtcdError::Protocol("the lease expired, taking a new one"))
            }
            Err(error) => Err(error),
        }
    }
}

/// One round of keeping the lease. An error also when it is gone already.
async fn keep_alive(client: &mut Client, lease: i64) -> Result<(), EtcdError> {
    limited(LIMIT, client.lease_keep_alive(lease)).await?;
    Ok(())
}

async fn closed(newest: &mut watch::Receiver<Option<NodeStatus>>) {
    while newest.changed().await.is_ok() {}
}

/// For a list of all nodes: some hundreds of kilobytes each at the very worst.
const MAX_LIST: usize = 256 * 1024 * 1024;
