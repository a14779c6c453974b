//! `pointsman top`: a node's services in a terminal, live.
//!
//! Reads what the page reads, at `--stats`. Where the output is no terminal, or with `--once`, it prints one look as
//! plain text.

mod draw;
mod grid;
mod look;
mod state;
mod tables;
mod words;

use std::io::IsTerminal as _;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::ask::{At, NodeArgs};
use crate::app::cli::{STATS, duration};
use crate::app::look::{block_on, print};

use look::{Look, Services};
use state::{Sort, State, Wish};
use words::one_line;

/// For one look.
const LIMIT: Duration = Duration::from_secs(5);

/// Of one answer.
const MOST: u64 = 16 * 1024 * 1024;

/// Of the time between two looks.
const LEAST: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Print one look as plain text, and end
    #[arg(long, env = "LB_ONCE")]
    pub once: bool,
    /// Time between two looks, at least 200ms
    #[arg(long, env = "LB_INTERVAL", value_name = "DURATION", default_value = "2s", value_parser = between_looks)]
    pub interval: Duration,
    /// What the services are sorted by
    #[arg(long, env = "LB_SORT", value_enum, default_value_t = Sort::Requests)]
    pub sort: Sort,
    /// Only services with this in a name, a host or an address
    #[arg(long, env = "LB_SEARCH", value_name = "TEXT", default_value = "")]
    pub search: String,
    #[command(flatten)]
    pub node: NodeArgs,
}

pub(super) fn top(args: TopArgs) -> anyhow::Result<ExitCode> {
    let at = args.node.stats.clone().unwrap_or_else(|| At::from(STATS));
    let state = State::new(args.sort, args.search.clone());
    let reader = Reader {
        node: args.node,
        at,
    };
    block_on(async {
        match args.once || !std::io::stdout().is_terminal() {
            true => once(&reader, state).await,
            false => live(&reader, state, args.interval).await,
        }
    })?
}

fn between_looks(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= LEAST {
        true => Ok(time),
        false => Err(format!(
            "{LEAST:?} is the least: a look costs the node something"
        )),
    }
}

struct Reader {
    node: NodeArgs,
    at: At,
}

impl Reader {
    async fn look(&self, wish: Wish, rows: u16) -> anyhow::Result<Look> {
        let get = async |path: &str| self.get(path).await;
        match timeout(LIMIT, Look::read(&wish, rows, get)).await {
            Ok(look) => look,
            Err(_) => anyhow::bail!("no answer within {LIMIT:?}"),
        }
    }

    /// A look with all services.
    async fn whole(&self, wish: &Wish) -> anyhow::Result<Look> {
        let mut look = self.look(wish.clone(), 1).await?;
        let get = async |path: &str| match timeout(LIMIT, self.get(path)).await {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!("no answer within {LIMIT:?}"),
        };
        look.services = Services::whole(wish, get).await?;
        Ok(look)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.node.get(&self.at, path, MOST).await?;
        anyhow::ensure!(
            answer.status == 200,
            "GET {path} is answered {}: {}",
            answer.status,
            answer.said()
        );
        Ok(answer.body)
    }
}

async fn once(reader: &Reader, mut state: State) -> anyhow::Result<ExitCode> {
    match reader.whole(&state.wish()).await {
        Ok(look) => state.take(Ok(look)),
        Err(error) => {
            let why = one_line(&format!("{error:#}"));
            eprintln!("pointsman: {}: {why}", reader.at);
            return Ok(ExitCode::FAILURE);
        }
    }
    print(&draw::text(&state))?;
    Ok(ExitCode::SUCCESS)
}

async fn live(reader: &Reader, mut state: State, every: Duration) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    // Restores the terminal also if we panic.
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, reader, &mut state, every, &mut signals).await;
    // After SIGHUP there may be none.
    let _ = ratatui::try_restore();
    result
}

async fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    reader: &Reader,
    state: &mut State,
    every: Duration,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let mut keys = keys();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // For how long somebody has been lost.
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Keys and signals do not wait for it.
    let mut looking: Option<Looking<'_>> = None;
    loop {
        terminal.draw(|frame| draw::screen(frame, state))?;
        let rows = terminal.size()?.height;
        tokio::select! {
            _ = ticks.tick() => {
                if looking.is_none() && !state.is_paused {
                    looking = Some(Box::pin(reader.look(state.wish(), rows)));
                }
            }
            look = result(&mut looking) => {
                looking = None;
                let before = state.opened.clone();
                state.take(look);
                if state.opened.is_some() && state.opened != before {
                    looking = Some(Box::pin(reader.look(state.wish(), rows)));
                }
            }
            _ = seconds.tick(), if state.lost.is_some() => {}
            code = signals.recv() => return Ok(code),
            key = keys.recv() => {
                let Some(key) = key else { return Ok(ExitCode::SUCCESS) };
                match key {
                    // Drawn anew in its new size.
                    Event::Resize(..) => {}
                    Event::Key(key) if key.kind == KeyEventKind::Press => {
                        let is_end = key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL);
                        let before = state.wish();
                        if is_end || state.press(key.code) == state::Pressed::Leave {
                            return Ok(ExitCode::SUCCESS);
                        }
                        if state.wish() != before {
                            // Asked for, also while the rest holds still.
                            looking = Some(Box::pin(reader.look(state.wish(), rows)));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

type Looking<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Look>> + 'a>>;

/// Waits for ever where nobody looks.
async fn result(looking: &mut Option<Looking<'_>>) -> anyhow::Result<Look> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

/// What else ends it: the terminal has to be given back first.
struct Signals {
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The exit code, as a shell tells of a signal.
    async fn recv(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.terminate.recv() => ExitCode::from(128 + 15),
            _ = self.hangup.recv() => ExitCode::from(128 + 1),
        }
    }
}

/// Reading keys blocks: a thread does it, which ends when nobody listens.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(Duration::from_millis(100)) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    receiver
}
