//! `pointsman exec`: one process that is announced while it runs, without Docker.
//!
//! The process is started first and is never held up: what is announced, and whether etcd answers at all, is beside
//! it. The one wait that it sees is that of a signal that ends it, so that balancers hear of its end before it does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::pending;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, CommandFactory as _};
use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, wait};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::app::agent::{AnnounceArgs, FAREWELL, address, etcd, upstream_key};
use crate::app::cli::{self, Cli, StoreArgs};
use crate::app::logging;
use crate::link::{self, Facts, Ground, Said};
use crate::snapshot::Snapshot;
use crate::store::{self, Announcer, EtcdSpec, Farewell};

/// Between two looks at whether the port answers.
const LOOK: Duration = Duration::from_millis(100);

/// A port that did not answer for this long is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that lives this much longer than the drain after a signal was not ended by it.
const SURVIVAL: Duration = Duration::from_secs(5);

/// How often an address is looked for while there is none.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The service that the process is one of [default: the program's name]
    #[arg(long, env = "LB_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// The address at which balancers reach the process [default: the one from which this host reaches etcd]
    #[arg(long, env = "LB_ADDRESS", value_name = "IP", value_parser = address)]
    pub address: Option<IpAddr>,
    /// How long balancers have between being told that the process ends and the signal that ends it
    #[arg(long, env = "LB_DRAIN", value_name = "DURATION", default_value = "1s", value_parser = cli::duration)]
    pub drain: Duration,
    #[command(flatten)]
    pub announce: AnnounceArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

pub(super) fn exec(args: ExecArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    logging::flush();
    result
}

/// Whether programs have other uses for it than their end. After SIGTERM one that still answers is finishing what
/// it has, however long that takes.
fn is_survived(kind: SignalKind) -> bool {
    kind == SignalKind::quit() || kind == SignalKind::interrupt()
}

async fn run(args: ExecArgs) -> anyhow::Result<ExitCode> {
    let (etcd, options) = etcd(&args.store, "exec")?;
    let agent = args.announce.name(own_name)?;
    let member = Member::new(&args, agent.clone())?;
    let mut signals = Signals::new()?;
    let mut children = signal(SignalKind::child())?;
    let child = match member.start(&args.command) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("pointsman: {:?}: {error}", args.command[0]);
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if is_missing { 127 } else { 126 }));
        }
    };
    tracing::info!(agent, pid = child.as_raw_nonzero().get(), store = %etcd, "process started");
    let announcer = || Announcer::start(etcd.clone(), &options, &agent, args.announce.lease);
    // `None` from the withdrawal on.
    let mut announced = Some(announcer());
    let mut is_announced = false;
    let mut keys: Pin<Box<dyn Future<Output = Snapshot>>> = Box::pin(member.keys(&etcd));
    let mut again_at: Option<Instant> = None;
    let mut closing: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
    let mut held: Option<SignalKind> = None;
    let mut pass_at: Option<Instant> = None;
    let code = loop {
        tokio::select! {
            _ = children.recv() => {
                if let Some(code) = reap(child) {
                    break code;
                }
            }
            kind = signals.next() => {
                let is_ending = Signals::ENDING.contains(&kind);
                match announced.take_if(|_| is_ending && is_announced) {
                    Some(announcer) => {
                        tracing::info!(drain = ?args.drain, "told to end: withdrawing before the process hears of it");
                        closing = Some(Box::pin(announcer.close(Farewell::Withdraw, FAREWELL)));
                        held = Some(kind);
                    }
                    // Nobody comes here yet, or somebody says it twice and does not want to wait.
                    None => {
                        if let Some(first) = held.take_if(|first| is_ending && *first != kind) {
                            member.pass(child, first);
                        }
                        held = held.filter(|_| !is_ending);
                        member.pass(child, kind);
                        if is_survived(kind) && announced.is_none() {
                            again_at = Some(Instant::now() + args.drain + SURVIVAL);
                        }
                    }
                }
            }
            tree = &mut keys, if !is_announced && announced.is_some() => {
                is_announced = true;
                if let Some(announcer) = &announced {
                    announcer.announce(tree);
                }
            }
            () = finished(&mut closing) => {
                closing = None;
                pass_at = Some(Instant::now() + args.drain);
            }
            () = sleep_until(pass_at.unwrap_or_else(Instant::now)), if pass_at.is_some() => {
                pass_at = None;
                if let Some(kind) = held.take() {
                    member.pass(child, kind);
                    again_at = is_survived(kind).then(|| Instant::now() + args.drain + SURVIVAL);
                }
            }
            // It took the signal for something else than its end, as a virtual machine does with SIGQUIT.
            () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() && closing.is_none() => {
                again_at = None;
                pass_at = None;
                tracing::warn!("the process lives on after the signal: it is announced again as soon as its port answers");
                announced = Some(announcer());
                is_announced = false;
                keys = Box::pin(member.keys(&etcd));
            }
        }
    };
    if let Some(closing) = closing {
        closing.await;
    }
    if let Some(announcer) = announced {
        announcer.close(Farewell::Withdraw, FAREWELL).await;
    }
    tracing::info!(code, "process ended");
    Ok(ExitCode::from(code))
}

/// The process and what it says of itself.
struct Member {
    facts: Facts,
    is_at_terminal: bool,
    address: Option<IpAddr>,
    agent: String,
}

impl Member {
    /// Judges what it says before it is started: a wrong word is mended better then.
    fn new(args: &ExecArgs, agent: String) -> anyhow::Result<Self> {
        let program = args.command.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        let mut env = environment();
        if let Some(service) = &args.service {
            env.insert("LB_SERVICE".to_owned(), service.clone());
        }
        let member = Self {
            facts: Facts {
                name: name.to_string_lossy().into_owned(),
                env,
                ..Facts::default()
            },
            is_at_terminal: std::io::stdin().is_terminal(),
            address: args.address,
            agent,
        };
        upstream_key(&member.facts.name, &member.agent)?;
        let said = member.said(Ipv4Addr::LOCALHOST.into());
        let problems: Vec<String> = said.problems.iter().map(ToString::to_string).collect();
        ensure!(
            !said.services.is_empty(),
            "nothing to announce: {}",
            match problems.is_empty() {
                true => "say it in the environment, as in LB_VIRTUAL_HOSTS=www.example.com LB_INTERNAL_PORT=8080"
                    .to_owned(),
                false => problems.join("\n"),
            }
        );
        for problem in problems {
            tracing::warn!("{problem}");
        }
        Ok(member)
    }

    /// In a process group of its own, so that a signal for all of ours does not reach it before balancers hear of
    /// it. At a terminal it stays in ours, or it could not read what is typed.
    fn start(&self, command: &[OsString]) -> std::io::Result<Pid> {
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]);
        if !self.is_at_terminal {
            process.process_group(0);
        }
        // Whoever runs the program is not whoever may write to etcd.
        process.env_remove("LB_ETCD_PASSWORD");
        let child = process.spawn()?;
        Ok(Pid::from_child(&child))
    }

    /// One that has just ended cannot take it, and need not. What a terminal sends it has already.
    fn pass(&self, child: Pid, kind: SignalKind) {
        let is_typed = [SignalKind::interrupt(), SignalKind::quit()].contains(&kind);
        let signal = rustix::process::Signal::from_named_raw(kind.as_raw_value());
        if let Some(signal) = signal.filter(|_| !(self.is_at_terminal && is_typed)) {
            let _ = kill_process(child, signal);
        }
    }

    fn said(&self, address: IpAddr) -> Said {
        let mut facts = self.facts.clone();
        facts.networks = [("host".to_owned(), Some(address))].into();
        link::read(&facts, &Ground::default())
    }

    /// What to announce, as soon as all its ports answer.
    async fn keys(&self, etcd: &EtcdSpec) -> Snapshot {
        let address = match self.address {
            Some(address) => address,
            None => own_address(etcd).await,
        };
        let mut keys = Snapshot::default();
        for service in self.said(address).services {
            let dir = &service.dir;
            for (key, setting) in service.keys {
                keys.put(format!("{dir}/{key}"), setting.value);
            }
            let Ok(upstream) = upstream_key(&self.facts.name, &self.agent) else {
                continue;
            };
            let place = service.upstream.split(' ').next();
            if let Some(place) = place.and_then(|place| place.parse().ok()) {
                answers(place).await;
            }
            keys.put(format!("{dir}/{upstream}"), service.upstream);
        }
        keys
    }
}

/// Containers of one host name may all be process 1: what is random tells them apart.
fn own_name(host: &str) -> String {
    let host: String = host.chars().take(40).collect();
    let random: String = std::iter::repeat_with(fastrand::lowercase)
        .take(6)
        .collect();
    format!("{host}-{}-{random}", std::process::id())
}

/// What the environment says, without the variables that are flags of ours, and without networks: there are none.
fn environment() -> BTreeMap<String, String> {
    let program = Cli::command();
    let ours = program.find_subcommand("exec");
    let ours = ours.into_iter().flat_map(clap::Command::get_arguments);
    let flags: Vec<OsString> = program
        .get_arguments()
        .chain(ours)
        .filter_map(|flag| flag.get_env().map(Into::into))
        .filter(|name: &OsString| name != "LB_SERVICE")
        .chain(["LB_NETWORK".into()])
        .collect();
    std::env::vars_os()
        .filter(|(name, _)| !flags.contains(name))
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

async fn own_address(etcd: &EtcdSpec) -> IpAddr {
    let mut is_told = false;
    loop {
        match store::own_address(etcd).await {
            Ok(address) => return address,
            Err(error) if !std::mem::replace(&mut is_told, true) => {
                tracing::warn!(%error, store = %etcd, "not announced yet: no way to etcd shows the address of this host; say it with --address");
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// Waits until something accepts connections there.
async fn answers(place: SocketAddr) {
    let begun = Instant::now();
    let mut is_told = false;
    while !matches!(timeout(AGAIN, TcpStream::connect(place)).await, Ok(Ok(_))) {
        if begun.elapsed() > PATIENCE && !std::mem::replace(&mut is_told, true) {
            tracing::warn!(%place, "not announced yet: nothing answers there; does the process listen on this address and port?");
        }
        sleep(LOOK).await;
    }
    tracing::info!(%place, "the process answers");
}

async fn finished(closing: &mut Option<Pin<Box<dyn Future<Output = ()>>>>) {
    match closing {
        Some(closing) => closing.await,
        None => pending().await,
    }
}

/// Takes the ends of all children, since as the first process of a container we have those that others left; the
/// exit code if ours is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            code = Some(code_of(status));
        }
    }
    code
}

/// As a shell has it.
fn code_of(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

/// Those that are passed on.
struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Programs take them for their end; a hang-up is often read the settings anew.
    const ENDING: [SignalKind; 3] = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
    ];

    fn new() -> std::io::Result<Self> {
        let others = [
            SignalKind::hangup(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let kinds = Self::ENDING.into_iter().chain(others);
        let signals = kinds.map(|kind| Ok((kind, signal(kind)?)));
        signals.collect::<std::io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> SignalKind {
        std::future::poll_fn(|context| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*kind);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
