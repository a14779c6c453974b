//! `pointsman agent`: what the containers of this host say of themselves, as keys in etcd under a lease.
//!
//! The docker store tells which keys that is, an [`Announcer`] writes them; here the one is handed to the other.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::cli::{self, StoreArgs};
use crate::app::{logging, settings};
use crate::link::Reach;
use crate::snapshot::Snapshot;
use crate::store::{
    self, Announcer, EtcdSpec, Farewell, MIN_LEASE, StoreOptions, StoreSpec, is_agent_name,
};

/// How long a farewell may take.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Names of upstreams have at most this many characters.
const MAX_NAME: usize = 200;

#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The engine whose containers are announced: docker:, docker:///PATH or docker://HOST:PORT, with
    /// ?link=NAME behind
    #[arg(
        long,
        env = "LB_DOCKER",
        value_name = "ENGINE",
        num_args = 0..=1,
        default_value = "docker:",
        default_missing_value = "docker:"
    )]
    pub docker: StoreSpec,
    /// Announce the ports that this host publishes, at this address of the host [default: the addresses of the
    /// containers]
    #[arg(long, env = "LB_ADDRESS", value_name = "IP", value_parser = address)]
    pub address: Option<IpAddr>,
    /// On SIGTERM, take away what is announced, instead of leaving it to whoever starts within the lease
    #[arg(long, env = "LB_WITHDRAW")]
    pub withdraw: bool,
    #[command(flatten)]
    pub announce: AnnounceArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How to announce, whatever it is.
#[derive(Debug, Args)]
pub struct AnnounceArgs {
    /// The name under which is announced, unique under the root [default: the host's name; with exec, also
    /// the process id and six random letters]
    #[arg(long, env = "LB_AGENT", value_name = "NAME")]
    pub agent: Option<String>,
    /// How long what is announced stays when nobody keeps it any more
    #[arg(long, env = "LB_LEASE", value_name = "DURATION", default_value = "10s", value_parser = lease)]
    pub lease: Duration,
}

impl AnnounceArgs {
    /// The name that is given, or this one.
    pub(super) fn name(&self, otherwise: impl FnOnce(&str) -> String) -> anyhow::Result<String> {
        let name = match &self.agent {
            Some(name) => name.clone(),
            None => otherwise(&rustix::system::uname().nodename().to_string_lossy()),
        };
        ensure!(
            is_agent_name(&name),
            "--agent {name:?}: an agent's name has at most 64 letters, digits, dots, dashes and underscores"
        );
        Ok(name)
    }
}

pub(super) fn agent(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    logging::flush();
    result
}

async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // As for `run`, it is no end.
    let _hang_up = signal(SignalKind::hangup())?;
    let (etcd, options) = etcd(&args.store, "agent")?;
    let StoreSpec::Docker(mut docker) = args.docker.clone() else {
        bail!(
            "--docker {}: no Docker engine; write docker:, docker:///PATH or docker://HOST:PORT",
            args.docker
        );
    };
    // Agents on several managers would all announce the whole Swarm.
    docker.swarm = false;
    docker.reach = args.address.map_or(Reach::Afar, Reach::At);
    let name = args.announce.name(str::to_owned)?;
    tracing::info!(
        agent = name, docker = %docker, store = %etcd, root = options.root,
        address = args.address.map(tracing::field::display), "agent starts"
    );
    let mut announcer = Announcer::start(etcd, &options, &name, args.announce.lease);
    let mut containers = store::open(vec![StoreSpec::Docker(docker)], options);
    let mut tree = Renamed::new(&name);
    let mut is_ready = false;
    loop {
        tokio::select! {
            snapshot = containers.next() => announcer.announce(tree.follow(&snapshot)),
            () = announcer.written(), if !is_ready => {
                is_ready = true;
                // Without systemd there is nobody to notify.
                let _ = sd_notify::notify(&[NotifyState::Ready]);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    let farewell = match args.withdraw {
        true => Farewell::Withdraw,
        false => Farewell::Leave,
    };
    announcer.close(farewell, FAREWELL).await;
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// The one etcd that is written to.
pub(super) fn etcd(args: &StoreArgs, command: &str) -> anyhow::Result<(EtcdSpec, StoreOptions)> {
    let help = format!("say where to announce: pointsman {command} --store etcd://HOST:PORT");
    ensure!(!args.store.is_empty(), "no store given; {help}");
    let (specs, options) = settings::stores(args)?;
    match specs.as_slice() {
        [StoreSpec::Etcd(etcd)] => Ok((etcd.clone(), options)),
        [other] => bail!("--store {other}: keys with a lease are only in etcd; {help}"),
        _ => bail!("more than one store given; {help}"),
    }
}

/// What upstream keys are called below a service's directory, so that no two hosts have one of a name.
pub(super) fn upstream_key(name: &str, agent: &str) -> anyhow::Result<String> {
    let name = format!("{name}.{agent}");
    ensure!(
        name.len() <= MAX_NAME,
        "an upstream would be called {name:?}, which has {} characters and may have {MAX_NAME}; give it or the agent a shorter name",
        name.len()
    );
    Ok(format!("upstreams/{name}"))
}

/// The tree of the containers with upstreams called as nobody else's.
struct Renamed {
    agent: String,
    seen: Snapshot,
    renamed: Snapshot,
}

impl Renamed {
    fn new(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            seen: Snapshot::default(),
            renamed: Snapshot::default(),
        }
    }

    /// Costs what changed.
    fn follow(&mut self, newer: &Snapshot) -> Snapshot {
        for change in self.seen.diff(newer) {
            let name = match self.rename(&change.key) {
                Ok(name) => name,
                Err(error) => {
                    tracing::warn!(key = &*change.key, "not announced: {error}");
                    continue;
                }
            };
            match newer.get(&change.key) {
                Some(value) => self.renamed.put(name, value.clone()),
                None => {
                    self.renamed.remove(&name);
                }
            }
        }
        self.seen = newer.clone();
        self.renamed.clone()
    }

    fn rename(&self, key: &str) -> anyhow::Result<String> {
        let mut parts = key.splitn(4, '/');
        let (top, service) = (parts.next(), parts.next());
        match (top, service, parts.next(), parts.next()) {
            (Some(top), Some(service), Some("upstreams"), Some(name)) => {
                let upstream = upstream_key(name, &self.agent)?;
                Ok(format!("{top}/{service}/{upstream}"))
            }
            _ => Ok(key.to_owned()),
        }
    }
}

/// An address at which others can reach this host.
pub(super) fn address(text: &str) -> Result<IpAddr, &'static str> {
    const HELP: &str = "write an address of this host without a port, such as 10.0.0.7";
    match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        _ => Err(HELP),
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let lease = cli::duration(text)?;
    match (MIN_LEASE..=LONGEST).contains(&lease) {
        true => Ok(lease),
        false => Err(format!("a lease is from {MIN_LEASE:?} to {LONGEST:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_called_by_their_agent_too() {
        let long = "x".repeat(195);
        let mut tree = Renamed::new("host-a");
        let first: Snapshot = [
            ("services/web/balance".to_owned(), "source"),
            ("services/web/upstreams/web-1".to_owned(), "10.0.0.1:80"),
            (format!("services/web/upstreams/{long}"), "10.0.0.2:80"),
            ("tcp-services/db/upstreams/db-1".to_owned(), "10.0.0.3:5432"),
        ]
        .into_iter()
        .collect();
        let names = |tree: &Snapshot| -> Vec<String> {
            tree.iter().map(|(key, _)| key.to_string()).collect()
        };
        assert_eq!(
            names(&tree.follow(&first)),
            [
                "services/web/balance",
                "services/web/upstreams/web-1.host-a",
                "tcp-services/db/upstreams/db-1.host-a",
            ]
        );
        let mut second = first.clone();
        second.remove("services/web/upstreams/web-1");
        assert_eq!(tree.follow(&second).len(), 2);
    }

    #[test]
    fn leases_and_addresses_are_judged() {
        assert!(lease("3s").is_ok() && lease("2s").is_err() && lease("2h").is_err());
        assert!(address("10.0.0.7").is_ok() && address("fd00::7").is_ok());
        assert!(address("0.0.0.0").is_err() && address("10.0.0.7:80").is_err());
    }
}
