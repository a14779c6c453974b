//! Logs: `tracing`, as text or JSON, written by a thread of their own.
//!
//! A worker hands a line over and goes on. When the reader of our output is slower than we are, lines
//! are dropped and counted; the next line that gets through tells how many.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::cli::{LogArgs, LogFormat};
use crate::events;

/// Lines on their way to the output.
const QUEUED: usize = 4096;

static WRITER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
static LINES: Mutex<Option<SyncSender<Vec<u8>>>> = Mutex::new(None);

/// Whose lines these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// They are the output.
    Service,
    /// The output is another program's.
    Guest,
    /// The output is the command's answer.
    Command,
}

/// Starts logging: to standard output for a service, else to standard error.
pub(super) fn start(args: &LogArgs, voice: Voice) -> io::Result<()> {
    let is_service = voice == Voice::Service;
    let quiet = match voice {
        Voice::Service | Voice::Guest => "info",
        Voice::Command => "error",
    };
    let filter = args.log.as_deref().unwrap_or(quiet);
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("--log {filter:?}: {error}; write a level such as info or debug"),
        )
    })?;
    let (lines, receiver) = sync_channel::<Vec<u8>>(QUEUED);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = dropped.clone();
    let thread = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || {
            let mut out: Box<dyn Write> = if is_service {
                Box::new(io::stdout())
            } else {
                Box::new(io::stderr())
            };
            while let Ok(line) = receiver.recv() {
                // Nobody is left to tell if the output itself is gone.
                let _ = out.write_all(&line);
                let lost = counted.swap(0, Relaxed);
                if lost > 0 {
                    let _ = writeln!(
                        out,
                        "log: {lost} lines were dropped, the output is too slow"
                    );
                }
            }
            let _ = out.flush();
        })?;
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    *LINES.lock().unwrap_or_else(PoisonError::into_inner) = Some(lines.clone());
    let output = tracing_subscriber::fmt::layer()
        .with_ansi(is_service && io::stdout().is_terminal())
        .with_target(false)
        .with_writer(Lines { lines, dropped });
    let registry = tracing_subscriber::registry().with(is_service.then(events::layer));
    match args.log_format {
        LogFormat::Text => registry.with(output.with_filter(filter)).init(),
        LogFormat::Json => registry
            .with(output.json().flatten_event(true).with_filter(filter))
            .init(),
    }
    Ok(())
}

/// Waits, not for long, until the lines logged so far are written.
pub(super) fn flush() {
    let Some(lines) = LINES.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let started = std::time::Instant::now();
    // An empty line cannot be seen, and goes through behind all others.
    while started.elapsed().as_millis() < 500 {
        match lines.try_send(Vec::new()) {
            Ok(()) => break,
            Err(TrySendError::Full(_)) => std::thread::sleep(std::time::Duration::from_millis(5)),
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
}

#[derive(Clone)]
struct Lines {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// One line; sent as a whole when it is dropped.
struct LineWriter<'a> {
    to: &'a Lines,
    line: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            to: self,
            line: Vec::with_capacity(256),
        }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if self
            .to
            .lines
            .try_send(std::mem::take(&mut self.line))
            .is_err()
        {
            self.to.dropped.fetch_add(1, Relaxed);
        }
    }
}
