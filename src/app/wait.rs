//! `pointsman wait`: until a change is live everywhere, and until upstreams are empty.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::app::cli::{StoreArgs, duration};
use crate::app::look::{block_on, print};
use crate::app::settings;
use crate::change::{Problem, is_drained};
use crate::store::{self, StatusBoard, WaitError};

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The revision that a put returned [default: what the stores hold now]
    #[arg(long, env = "LB_REVISION")]
    pub revision: Option<u64>,
    /// Also until no node has anything under way at this upstream, which is drained or was removed. May be repeated
    #[arg(
        long,
        env = "LB_DRAINED",
        value_name = "[SERVICE/]UPSTREAM",
        value_delimiter = ','
    )]
    pub drained: Vec<String>,
    /// How long to wait
    #[arg(long, env = "LB_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Why it did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("{0} takes new requests, and would never be empty; pointsman drain {0} stops that")]
    NotDrained(String),
    #[error(
        "{0} is not in the keys, and no node remembers that it was: nodes do for a minute after it has nothing left"
    )]
    Unknown(String),
}

pub(super) fn wait(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let (specs, options) = settings::stores(&args.store)?;
    let began = Instant::now();
    let left = || args.timeout.saturating_sub(began.elapsed());
    let result = block_on(async {
        let board = StatusBoard::open(&specs, &options).map_err(WaitError::Store)?;
        let names = names(&board, &args.drained, args.timeout).await?;
        let before = match names.is_empty() {
            true => Vec::new(),
            false => board.list().await.map_err(WaitError::Store)?,
        };
        let mut nodes = store::wait(&board, args.revision, None, left()).await?;
        if !names.is_empty() {
            if args.revision.is_some() {
                // What is drained may be of a later one: all have to have heard of that.
                nodes = store::wait(&board, None, args.revision, left()).await?;
            }
            let mut all = before;
            all.extend(nodes.iter().cloned());
            let unknown = names
                .iter()
                .find(|(name, is_there)| !is_there && !store::is_drain_known(&all, name));
            if let Some((name, _)) = unknown {
                return Err(Failure::Unknown(name.clone()));
            }
            let names: Vec<_> = names.iter().map(|(name, _)| name.clone()).collect();
            store::wait_drained(&board, &names, &all, left()).await?;
        }
        Ok::<_, Failure>((nodes, names))
    })?;
    match result {
        Ok((nodes, names)) => {
            let nodes = nodes.iter();
            let nodes = nodes.map(|n| format!("{} runs revision {}\n", n.node, n.revision));
            let names = names.iter().map(|(name, _)| format!("{name} is drained\n"));
            print(&nodes.chain(names).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("pointsman: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Upstreams by their whole names, and whether they are in the keys; one that is gone from them as it was written.
async fn names(
    board: &StatusBoard,
    written: &[String],
    limit: Duration,
) -> Result<Vec<(String, bool)>, Failure> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let tree = board.tree(limit).await.map_err(WaitError::Store)?;
    let mut names = Vec::new();
    for written in written {
        match is_drained(&tree.snapshot, written) {
            Ok((name, true)) => names.push((name, true)),
            Ok((name, false)) => return Err(Failure::NotDrained(name)),
            Err(Problem::NotThere(_)) => names.push((written.clone(), false)),
            Err(problem) => return Err(problem.into()),
        }
    }
    Ok(names)
}
