//! `pointsman ready`: whether the node of this machine is, for those who have no curl.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;

use crate::app::ask::{self, Answer, At, Trust};
use crate::app::look;

/// For each try: whoever asks has a limit of his own.
const LIMIT: Duration = Duration::from_secs(2);

/// The answer is a line.
const LONGEST: u64 = 4096;

pub(super) fn ready(stats: SocketAddr) -> anyhow::Result<ExitCode> {
    match look::runtime()?.block_on(ask_both_ways(&stats.into())) {
        Ok(Answer { status: 200, .. }) => {
            println!("ready");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Answer { body, .. }) => {
            let body = String::from_utf8_lossy(&body);
            let said: String = body.trim().chars().filter(|c| !c.is_control()).collect();
            eprintln!("pointsman: not ready: {said}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("pointsman: not ready: nobody answers at {stats}: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Plainly, and by TLS where we are told to. Nothing secret is said or heard, so whoever answers is believed: a health
/// check of a container needs to know no names.
async fn ask_both_ways(at: &At) -> anyhow::Result<Answer> {
    let plain = ask(at).await?;
    match plain.status {
        426 => ask(&at.secured()).await,
        _ => Ok(plain),
    }
}

async fn ask(at: &At) -> anyhow::Result<Answer> {
    let asked = timeout(
        LIMIT,
        ask::get(at, "/ready", None, &Trust::Anybody, LONGEST),
    );
    asked
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {LIMIT:?}")))
}
