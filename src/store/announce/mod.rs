//! Announcing: keys that go by themselves when who wrote them dies.
//!
//! An [`Announcer`] keeps `<root>/agents/<agent>/` as its caller says, under one lease: one transaction for each service
//! that changed. [`announced`](super::announced) is where balancers read it.
//!
//! - `writer`: the life with etcd: claim the name, compare, write, keep the lease.
//! - `changes`: what to write, service by service. Pure.
//!
//! **Repairs.** After every connect, and now and then besides, what is written is compared with what should be: what
//! differs, or hangs on another lease, is put; what is stale is deleted. Nothing is deleted to be put again, so a
//! restart changes no tree. What others wrote elsewhere is not touched.
//!
//! **One name, one agent.** `agents/<agent>/about` says who holds the name, and every transaction asks for it. Who
//! finds another there waits until the other's lease is at less than half its time, as that of a living one never is:
//! so a restart takes over before the keys go, and two agents of one name are told and do not fight.

mod changes;
mod writer;

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::writer::Writer;
use super::spec::EtcdSpec;
use super::{StoreOptions, announced};
use crate::snapshot::Snapshot;

/// How long what is announced outlives its agent, unless told otherwise. With the lease that balancers report
/// under it is the time in which a dead host is known as such.
pub const LEASE: Duration = Duration::from_secs(10);

/// etcd grants nothing shorter than its own elections take; half of it has to be more than a keepalive's way.
pub const MIN_LEASE: Duration = Duration::from_secs(3);

/// What is written under one name. The writing ends when this is dropped, and the keys go with their lease.
pub struct Announcer {
    orders: watch::Sender<Orders>,
    written: watch::Receiver<bool>,
    writer: AbortOnDropHandle<()>,
}

/// What an announcer leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The keys, until the lease ends: for whoever comes next under the same name.
    Leave,
    /// Nothing.
    Withdraw,
}

#[derive(Clone, Debug, Default)]
struct Orders {
    /// Keys below the agent's directory: `services/web/balance`. `None`: not known yet, so nothing is written.
    keys: Option<Snapshot>,
    end: Option<Farewell>,
}

impl Announcer {
    /// Must be called inside a tokio runtime. Writes nothing before the first [`Announcer::announce`]. `agent` has
    /// to be a good name: [`is_agent_name`].
    pub fn start(spec: EtcdSpec, options: &StoreOptions, agent: &str, lease: Duration) -> Self {
        let (orders, seen) = watch::channel(Orders::default());
        let (tell, written) = watch::channel(false);
        let writer = Writer::new(spec, options, agent, lease.max(MIN_LEASE), tell);
        Self {
            orders,
            written,
            writer: AbortOnDropHandle::new(tokio::spawn(writer.run(seen))),
        }
    }

    /// Replaces what is announced. Returns at once.
    pub fn announce(&self, keys: Snapshot) {
        self.orders.send_modify(|orders| orders.keys = Some(keys));
    }

    /// Whether something that was announced has been written.
    pub async fn written(&mut self) {
        if self.written.wait_for(|written| *written).await.is_err() {
            std::future::pending().await
        }
    }

    /// Ends the writing, within `limit`; what cannot be said in that time the lease says.
    pub async fn close(self, farewell: Farewell, limit: Duration) {
        if self.orders.borrow().keys.is_none() {
            return;
        }
        self.orders
            .send_modify(|orders| orders.end = Some(farewell));
        if tokio::time::timeout(limit, self.writer).await.is_err() {
            tracing::warn!("etcd does not answer: what is announced goes with its lease");
        }
    }
}

/// An agent is called by one path component, which also is in the names of its upstreams.
pub fn is_agent_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(good) && !matches!(name, "." | "..")
}

/// The address of this host from which a member is reached; no packet is sent.
pub async fn own_address(spec: &EtcdSpec) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for endpoint in &spec.endpoints {
        let found = async {
            let mut addresses = tokio::net::lookup_host(endpoint.as_str()).await?;
            let to = addresses
                .next()
                .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(to).await?;
            Ok(socket.local_addr()?.ip())
        };
        match tokio::time::timeout(Duration::from_secs(2), found).await {
            Ok(Ok(address)) => return Ok(address),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_name_is_one_component() {
        for name in ["host-a", "host_a.example.com", "1"] {
            assert!(is_agent_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_agent_name(name), "{name}");
        }
    }
}
