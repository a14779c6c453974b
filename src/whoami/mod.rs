//! A small upstream for demos and tests: `pointsman whoami`.
//!
//! It answers who it is and what it was sent, and misbehaves on demand: slow, failing, endless,
//! cut off (see [`Controls`]). Requests are read strictly, so that a balancer which lets bad framing
//! through is found out here. It shares nothing with the balancer's own HTTP code on purpose: a
//! fault in that must not hide itself.

mod answer;
mod controls;
mod raw;
mod request;
mod websocket;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use controls::{Abort, Controls};

/// What `pointsman whoami` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; may be given several times
    #[arg(
        long,
        env = "LB_WHOAMI_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:8000"
    )]
    pub listen: Vec<SocketAddr>,
    /// The name it answers with [default: the host's name, in a container its id]
    #[arg(long, env = "LB_WHOAMI_NAME")]
    pub name: Option<String>,
    /// Plain TCP: send the name as a line, then echo
    #[arg(long, env = "LB_WHOAMI_TCP")]
    pub tcp: bool,
    /// Answer /health with 503 until `PUT /control?health=200`
    #[arg(long, env = "LB_WHOAMI_FAIL_HEALTH")]
    pub fail_health: bool,
    /// How long it serves on after SIGTERM before it takes no more connections and finishes what it has;
    /// none: it ends at once and cuts everything off
    #[arg(long, env = "LB_WHOAMI_DRAIN", value_name = "DURATION", default_value = "0s", value_parser = drain)]
    pub drain: Drain,
}

/// What is done at SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Serve on for this long, then finish.
    For(Duration),
    /// End in the middle of everything.
    None,
}

fn drain(text: &str) -> Result<Drain, &'static str> {
    match text {
        "none" => Ok(Drain::None),
        text => controls::duration(text)
            .map(Drain::For)
            .ok_or("write a duration such as 5s, or none"),
    }
}

/// Connections that are still busy at the end get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Serves until SIGTERM or SIGINT. Prints one line for each address once it listens there, with
/// the port it really got.
pub async fn run(args: Args) -> io::Result<()> {
    let mut listeners = Vec::new();
    let name = args.name.unwrap_or_else(|| {
        let host = rustix::system::uname();
        host.nodename().to_string_lossy().into_owned()
    });
    for addr in &args.listen {
        let listener = TcpListener::bind(addr)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))?;
        let bound = listener.local_addr()?;
        let scheme = if args.tcp { "tcp" } else { "http" };
        writeln!(io::stdout(), "{name} listens on {scheme}://{bound}")?;
        listeners.push(listener);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        match args.drain {
            Drain::For(time) => tokio::time::sleep(time).await,
            Drain::None => std::process::exit(0),
        }
    };
    let whoami = Arc::new(Whoami::new(name, args.tcp));
    if args.fail_health {
        whoami.set_health(503);
    }
    serve(listeners, whoami, end).await;
    Ok(())
}

/// What all connections of one whoami share.
#[derive(Debug)]
pub struct Whoami {
    name: String,
    tcp: bool,
    /// The status `/health` answers with.
    health: AtomicU16,
}

impl Whoami {
    pub fn new(name: impl Into<String>, tcp: bool) -> Self {
        Self {
            name: name.into(),
            tcp,
            health: AtomicU16::new(200),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn health(&self) -> u16 {
        self.health.load(Ordering::Relaxed)
    }

    pub fn set_health(&self, status: u16) {
        self.health.store(status, Ordering::Relaxed);
    }
}

/// Serves `listeners` until `end` resolves, then lets what is under way finish for a few seconds.
/// Dropping the future cuts everything off at once.
pub async fn serve(
    listeners: Vec<TcpListener>,
    whoami: Arc<Whoami>,
    end: impl Future<Output = ()>,
) {
    let (ending, watch_end) = watch::channel(false);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, whoami.clone(), watch_end.clone()));
    }
    end.await;
    let _ = ending.send(true);
    let _ = tokio::time::timeout(LAST_ANSWERS, accepting.join_all()).await;
}

async fn accept(listener: TcpListener, whoami: Arc<Whoami>, mut ending: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = ending.wait_for(|end| *end) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, whoami.clone(), ending.clone()));
            }
            // Out of descriptors, mostly: accepting again at once would only burn the processor.
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    whoami: Arc<Whoami>,
    ending: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let done = if whoami.tcp {
        raw::greet_and_echo(stream, &whoami, ending).await
    } else {
        answer::serve_connection(stream, peer, &whoami, ending).await
    };
    if let Err(error) = done {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
