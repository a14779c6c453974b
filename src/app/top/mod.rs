//! `pointsman top`: a node's services in a terminal, live.
//!
//! Reads what the page reads, at `--stats`. Where the output is no terminal, or with `--once`, it prints one look as
//! plain text.

mod draw;
mod look;
mod state;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::ask::{At, NodeArgs};
use crate::app::cli::{STATS, duration};
use crate::app::look::{block_on, print};

use look::Look;
use state::{Sort, State};

/// For one look.
const LIMIT: Duration = Duration::from_secs(5);

/// Of one answer.
const MOST: u64 = 16 * 1024 * 1024;

/// Where nobody says how large the paper is.
const PAPER: (u16, u16) = (132, 60);

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Print one look as plain text, and end
    #[arg(long)]
    pub once: bool,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub interval: Duration,
    /// What the services are sorted by
    #[arg(long, value_enum, default_value_t = Sort::Requests)]
    pub sort: Sort,
    /// Only services with this in a name, a host or an address
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub search: String,
    #[command(flatten)]
    pub node: NodeArgs,
}

pub(super) fn top(args: TopArgs) -> anyhow::Result<ExitCode> {
    let at = args.node.stats.clone().unwrap_or_else(|| At::from(STATS));
    let every = args.interval.max(Duration::from_millis(200));
    let state = State::new(args.sort, args.search.clone());
    let reader = Reader {
        node: args.node,
        at,
    };
    block_on(async {
        match args.once || !std::io::stdout().is_terminal() {
            true => once(&reader, state).await,
            false => live(&reader, state, every).await,
        }
    })?
}

struct Reader {
    node: NodeArgs,
    at: At,
}

impl Reader {
    async fn look(&self, state: &State, rows: u16) -> anyhow::Result<Look> {
        let look = Look::read(state, rows, async |path: &str| {
            let answer = self.node.get(&self.at, path, MOST).await?;
            anyhow::ensure!(
                answer.status == 200,
                "GET {path} is answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body).trim()
            );
            Ok(answer.body)
        });
        match timeout(LIMIT, look).await {
            Ok(look) => look,
            Err(_) => anyhow::bail!("no answer within {LIMIT:?}"),
        }
    }
}

async fn once(reader: &Reader, mut state: State) -> anyhow::Result<ExitCode> {
    let (width, height) = PAPER;
    match reader.look(&state, height).await {
        Ok(look) => state.take(Ok(look)),
        Err(error) => {
            eprintln!("pointsman: {}: {error:#}", reader.at);
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut paper = Terminal::new(TestBackend::new(width, height))?;
    paper.draw(|frame| draw::screen(frame, &state, false))?;
    let buffer = paper.backend().buffer();
    let mut lines: Vec<String> = buffer
        .content
        .chunks(usize::from(width))
        .map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>())
        .map(|line| line.trim_end().to_owned())
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    print(&(lines.join("\n") + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn live(reader: &Reader, mut state: State, every: Duration) -> anyhow::Result<ExitCode> {
    // Restores the terminal also if we panic.
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, reader, &mut state, every).await;
    ratatui::restore();
    result.map(|()| ExitCode::SUCCESS)
}

async fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    reader: &Reader,
    state: &mut State,
    every: Duration,
) -> anyhow::Result<()> {
    let mut keys = keys();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw::screen(frame, state, true))?;
        let rows = terminal.size()?.height;
        tokio::select! {
            _ = ticks.tick() => {
                if !state.is_paused {
                    state.take(reader.look(state, rows).await);
                }
            }
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                match key {
                    // Drawn anew in its new size.
                    Event::Resize(..) => {}
                    Event::Key(key) if key.kind == KeyEventKind::Press => {
                        let is_end = key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL);
                        if is_end || state.press(key.code) == state::Pressed::Leave {
                            return Ok(());
                        }
                        ticks.reset_immediately();
                    }
                    _ => {}
                }
            }
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
