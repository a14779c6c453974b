//! One agent's keys in etcd, written and kept for as long as the agent lives.

use std::time::{Duration, SystemTime};

use etcd_client::{Client, Compare, CompareOp, Error, KeyValue, PutOptions, Txn, TxnOp};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::super::StoreOptions;
use super::super::etcd::{EtcdError, connect, limited, list};
use super::super::spec::EtcdSpec;
use super::announced::{ABOUT, AGENTS};
use super::changes::{self, Change, Op};
use super::{Farewell, Orders};
use crate::backoff::Backoff;
use crate::snapshot::{Key, Snapshot};
use crate::status::time_text;

/// How often what is written is compared with what should be, besides after every connect.
const COMPARE: Duration = Duration::from_secs(30);

/// How often to look at the lease of another agent of our name.
const LOOK: Duration = Duration::from_millis(500);

/// While another process has our name.
const TAKEN: &str = "another process took this agent's name";

pub(super) struct Writer {
    spec: EtcdSpec,
    options: StoreOptions,
    agent: String,
    /// `<root>/agents/<agent>/`.
    prefix: String,
    lifetime: Duration,
    /// Who we are: what stands in `about` while the name is ours.
    about: Vec<u8>,
    lease: Option<i64>,
    alive_at: Instant,
    /// What is in etcd, as far as is known.
    there: Snapshot,
    /// Services that were told as announced.
    told: Snapshot,
    is_connected: bool,
    written: watch::Sender<bool>,
}

impl Writer {
    pub(super) fn new(
        spec: EtcdSpec,
        options: &StoreOptions,
        agent: &str,
        lifetime: Duration,
        written: watch::Sender<bool>,
    ) -> Self {
        let host = rustix::system::uname();
        let about = json!({
            "host": host.nodename().to_string_lossy(),
            "pid": std::process::id(),
            "started": time_text(SystemTime::now()),
            "id": format!("{:016x}", fastrand::u64(..)),
        });
        Self {
            prefix: format!("{}{AGENTS}/{agent}/", options.key_prefix()),
            agent: agent.to_owned(),
            options: options.clone(),
            about: about.to_string().into_bytes(),
            lease: None,
            alive_at: Instant::now(),
            there: Snapshot::default(),
            told: Snapshot::default(),
            is_connected: false,
            spec,
            lifetime,
            written,
        }
    }

    /// Until an end is ordered, or nobody can order anything any more.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Orders>) {
        let longest = (self.lifetime / 5).min(Duration::from_secs(2));
        let mut backoff = Backoff::new(Duration::from_millis(100), longest);
        let mut last_error = String::new();
        loop {
            for endpoint in self.spec.endpoints.clone() {
                let error = match self.session(&endpoint, &mut orders).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                };
                let was_connected = std::mem::take(&mut self.is_connected);
                if was_connected {
                    backoff.reset();
                }
                if was_connected || error != last_error {
                    warn!(
                        agent = self.agent, %endpoint, error,
                        "announcing is interrupted, trying on; what is announced stays until its lease ends"
                    );
                } else {
                    debug!(agent = self.agent, %endpoint, error, "still not announcing");
                }
                last_error = error;
                let leave = Farewell::Leave;
                let is_left = |orders: &Orders| orders.end == Some(leave);
                let told = tokio::time::timeout(backoff.next_wait(), orders.wait_for(is_left));
                if told.await.is_ok() {
                    return;
                }
            }
        }
    }

    /// One connection. Ends well when an end was ordered and everything said.
    async fn session(
        &mut self,
        endpoint: &str,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<(), EtcdError> {
        let mut client = connect(endpoint, self.spec.tls, &self.options.etcd).await?;
        let is_ordered = |orders: &Orders| orders.keys.is_some() || orders.end.is_some();
        // Nobody left to order anything is an end as well.
        if orders.wait_for(is_ordered).await.is_err() {
            return Ok(());
        }
        let end = orders.borrow().end;
        if let Some(farewell) = end {
            return self.end(&mut client, farewell).await;
        }
        if !self.claim(&mut client, orders).await? {
            return Ok(());
        }
        let mut compare_at = Instant::now();
        loop {
            let order = orders.borrow_and_update().clone();
            if let Some(farewell) = order.end {
                return self.end(&mut client, farewell).await;
            }
            let keys = order.keys.unwrap_or_default();
            if compare_at <= Instant::now() {
                self.compare(&mut client, &keys).await?;
                compare_at = Instant::now() + COMPARE;
            } else {
                let ops = changes::between(&self.there, &keys);
                self.write(&mut client, ops, &keys).await?;
            }
            if !std::mem::replace(&mut self.is_connected, true) {
                let (services, lease) = (services(&keys).len(), self.lifetime);
                info!(
                    agent = self.agent, %endpoint, services, ?lease,
                    "connected: what is announced is written"
                );
            }
            self.tell(&keys);
            let until = compare_at;
            loop {
                tokio::select! {
                    changed = orders.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                        break;
                    }
                    () = sleep_until(self.alive_at) => self.keep_alive(&mut client).await?,
                    () = sleep_until(until) => break,
                }
            }
        }
    }

    /// Makes the name ours, with a lease that lives. `false`: an end was ordered.
    async fn claim(
        &mut self,
        client: &mut Client,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<bool, EtcdError> {
        if self.lease.is_some() {
            match self.keep_alive(client).await {
                Err(error) if self.lease.is_none() => debug!(%error, "taking a new lease"),
                other => other?,
            }
        }
        let key = self.key(ABOUT);
        let mut since: Option<Instant> = None;
        let mut is_told = false;
        loop {
            let answer = limited(self.limit(), client.get(key.as_str(), None)).await?;
            let found = answer.kvs().first();
            if let Some(other) = found.filter(|kv| kv.value() != self.about)
                && self.is_alive(client, other).await?
            {
                let begun = *since.get_or_insert_with(|| {
                    info!(
                        agent = self.agent,
                        holder = %String::from_utf8_lossy(other.value()),
                        "waiting for the lease of who had this name before"
                    );
                    Instant::now()
                });
                if begun.elapsed() > self.lifetime && !std::mem::replace(&mut is_told, true) {
                    warn!(
                        agent = self.agent,
                        holder = %String::from_utf8_lossy(other.value()),
                        "another process announces under this name, and nothing is announced here: give each its own --agent"
                    );
                }
                let is_end = |orders: &Orders| orders.end.is_some();
                if let Ok(told) = tokio::time::timeout(LOOK, orders.wait_for(is_end)).await {
                    let _ = told;
                    return Ok(false);
                }
                continue;
            }
            let revision = found.map_or(0, KeyValue::mod_revision);
            let lease = match self.lease {
                Some(lease) => lease,
                None => self.grant(client).await?,
            };
            let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, revision);
            let put = TxnOp::put(
                key.as_str(),
                self.about.clone(),
                Some(PutOptions::new().with_lease(lease)),
            );
            let txn = Txn::new().when([unchanged]).and_then([put]);
            if limited(self.limit(), client.txn(txn)).await?.succeeded() {
                return Ok(true);
            }
        }
    }

    /// Whether somebody keeps another holder's lease. Keepalives come at every third of its time.
    async fn is_alive(&self, client: &mut Client, holder: &KeyValue) -> Result<bool, EtcdError> {
        if holder.lease() == 0 {
            return Ok(false);
        }
        let asked = client.lease_time_to_live(holder.lease(), None);
        let answer = limited(self.limit(), asked).await?;
        Ok(answer.ttl() * 2 >= answer.granted_ttl() && answer.ttl() > 0)
    }

    async fn grant(&mut self, client: &mut Client) -> Result<i64, EtcdError> {
        let seconds = self.lifetime.as_secs_f64().ceil() as i64;
        let granted = limited(self.limit(), client.lease_grant(seconds, None)).await?;
        self.lease = Some(granted.id());
        self.alive_at = Instant::now() + self.lifetime / 3;
        Ok(granted.id())
    }

    /// Forgets the lease if it has ended.
    async fn keep_alive(&mut self, client: &mut Client) -> Result<(), EtcdError> {
        let Some(lease) = self.lease else {
            return Err(EtcdError::Protocol("there is no lease to keep"));
        };
        match limited(self.limit(), client.lease_keep_alive(lease)).await {
            Ok(_) => {
                self.alive_at = Instant::now() + self.lifetime / 3;
                Ok(())
            }
            Err(EtcdError::Client(Error::LeaseKeepAliveError(_))) => {
                self.lease = None;
                Err(EtcdError::Protocol(
                    "the lease ended, everything is announced anew",
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads what is there, and writes what differs from `keys` or is another lease's.
    async fn compare(&mut self, client: &mut Client, keys: &Snapshot) -> Result<(), EtcdError> {
        let listed = list(client, &self.prefix).await?;
        let mut there = Snapshot::default();
        let mut others: Vec<Op> = Vec::new();
        for entry in listed.entries {
            let (lease, full) = (entry.lease(), entry.key());
            let Some(key) = full.strip_prefix(self.prefix.as_bytes()) else {
                continue;
            };
            let Ok(key) = std::str::from_utf8(key) else {
                continue;
            };
            if key == ABOUT {
                continue;
            }
            let key: Key = key.into();
            if let Some(value) = keys.get(&key).filter(|_| Some(lease) != self.lease) {
                others.push(Op::Put(key.clone(), value.clone()));
            }
            there.put(key, entry.value().to_vec());
        }
        let mut ops = changes::between(&there, keys);
        // One that differs in its value is among them already.
        others.retain(|op| match op {
            Op::Put(key, value) => there.get(key) == Some(value),
            Op::Delete(_) => false,
        });
        ops.append(&mut others);
        self.there = there;
        self.write(client, ops, keys).await
    }

    async fn write(
        &mut self,
        client: &mut Client,
        ops: Vec<Op>,
        keys: &Snapshot,
    ) -> Result<(), EtcdError> {
        for Change { dir, parts } in changes::by_service(ops, keys) {
            for part in parts {
                if self.alive_at <= Instant::now() {
                    self.keep_alive(client).await?;
                }
                self.transact(client, &part).await.inspect_err(|error| {
                    debug!(service = dir, %error, "not written");
                })?;
                for op in part {
                    match op {
                        Op::Put(key, value) => self.there.put(key, value),
                        Op::Delete(key) => {
                            self.there.remove(&key);
                        }
                    }
                }
            }
        }
        self.written.send_replace(true);
        Ok(())
    }

    /// All of it, if the name is ours still.
    async fn transact(&mut self, client: &mut Client, ops: &[Op]) -> Result<(), EtcdError> {
        let Some(lease) = self.lease else {
            return Err(EtcdError::Protocol("there is no lease to write under"));
        };
        let options = || Some(PutOptions::new().with_lease(lease));
        let ops: Vec<TxnOp> = ops
            .iter()
            .map(|op| match op {
                Op::Put(key, value) => TxnOp::put(self.key(key), value.to_vec(), options()),
                Op::Delete(key) => TxnOp::delete(self.key(key), None),
            })
            .collect();
        let txn = Txn::new().when([self.is_ours()]).and_then(ops);
        match limited(self.limit(), client.txn(txn)).await {
            Ok(answer) if answer.succeeded() => Ok(()),
            Ok(_) => {
                // What is left of ours under it goes with it, and the other one puts its own.
                self.lease = None;
                Err(EtcdError::Protocol(TAKEN))
            }
            Err(error) if error.is_not_found() => {
                self.lease = None;
                Err(EtcdError::Protocol(
                    "the lease ended, everything is announced anew",
                ))
            }
            Err(error) => Err(error),
        }
    }

    async fn end(&mut self, client: &mut Client, farewell: Farewell) -> Result<(), EtcdError> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        match farewell {
            Farewell::Withdraw => {
                limited(self.limit(), client.lease_revoke(lease)).await?;
                info!(agent = self.agent, "everything is withdrawn");
            }
            Farewell::Leave => {
                self.keep_alive(client).await?;
                // Who comes next need not wait to see that nobody keeps the lease.
                let gone = TxnOp::delete(self.key(ABOUT), None);
                let txn = Txn::new().when([self.is_ours()]).and_then([gone]);
                limited(self.limit(), client.txn(txn)).await?;
                info!(agent = self.agent, lifetime = ?self.lifetime, "what is announced stays until its lease ends");
            }
        }
        Ok(())
    }

    fn is_ours(&self) -> Compare {
        Compare::value(self.key(ABOUT), CompareOp::Equal, self.about.clone())
    }

    fn key(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    /// For one request: another member has to have a chance before the lease ends.
    fn limit(&self) -> Duration {
        (self.lifetime / 3).min(Duration::from_secs(5))
    }

    /// A line for each service whose members changed.
    fn tell(&mut self, keys: &Snapshot) {
        let ops = changes::between(&self.told, keys);
        for Change { dir, .. } in changes::by_service(ops, keys) {
            match changes::upstreams(keys, &dir) {
                0 if !keys.has_dir(&dir) => {
                    info!(agent = self.agent, service = dir, "service withdrawn");
                }
                upstreams => {
                    info!(
                        agent = self.agent,
                        service = dir,
                        upstreams,
                        "service announced"
                    );
                }
            }
        }
        self.told = keys.clone();
    }
}

fn services(keys: &Snapshot) -> Vec<std::sync::Arc<str>> {
    let mut services = keys.children("services");
    services.extend(keys.children("tcp-services"));
    services
}
