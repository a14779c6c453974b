//! What happened lately, for whoever looks: the log's own lines, kept and counted.
//!
//! A line of the log that says `event = "upstream_down"` is an event of that name; a warning or an error that says
//! none is an event called `other`. So there is one place where something is told: the line, its number in the
//! metrics and its row on the page are the same call, and what `--log` hides from the output is counted all the same.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::status::time_text;

/// Events kept, the newest.
const KEPT: usize = 200;

/// Of one line's text or one of its fields.
const MAX_TEXT: usize = 500;

/// Names are written in the code, each once or twice.
const MAX_NAMES: usize = 64;

const OTHER: &str = "other";

static JOURNAL: LazyLock<Mutex<Journal>> = LazyLock::new(Mutex::default);

#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Rises by one; begins at 1 with the process.
    pub id: u64,
    /// RFC 3339 in UTC.
    pub at: String,
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    pub event: String,
    pub message: String,
    pub fields: BTreeMap<&'static str, String>,
}

#[derive(Debug, Default)]
struct Journal {
    last: u64,
    newest: VecDeque<Told>,
    /// By level and name.
    counts: BTreeMap<(&'static str, String), u64>,
}

/// Takes the lines in; to be put beside the output.
pub fn layer<S>() -> Filtered<Listener, LevelFilter, S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Listener.with_filter(LevelFilter::INFO)
}

/// Those behind `after`, in their order, and the number of the last.
pub fn since(after: u64) -> (u64, Vec<Told>) {
    let journal = lock();
    let newer = journal.newest.iter().filter(|told| told.id > after);
    (journal.last, newer.cloned().collect())
}

/// How many there were of each level and name.
pub fn counts() -> Vec<((&'static str, String), u64)> {
    let journal = lock();
    let counts = journal.counts.iter();
    counts.map(|(name, count)| (name.clone(), *count)).collect()
}

/// Counts `more` of an event whose lines would be too many.
pub fn count(level: &'static str, event: &str, more: u64) {
    lock().count((level, event.to_owned()), more);
}

fn lock() -> MutexGuard<'static, Journal> {
    JOURNAL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug)]
pub struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !is_ours(event.metadata()) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => "info",
        };
        let name = match line.event {
            Some(name) => name,
            None if level == "info" => return,
            None => OTHER.to_owned(),
        };
        lock().add(level, name, line.message, line.fields);
    }
}

/// Libraries tell of their own troubles; those are in the log and are not ours to count.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("pointsman")
}

impl Journal {
    fn count(&mut self, key: (&'static str, String), more: u64) {
        if self.counts.len() < MAX_NAMES || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += more;
        }
    }

    fn add(
        &mut self,
        level: &'static str,
        event: String,
        message: String,
        fields: BTreeMap<&'static str, String>,
    ) {
        self.last += 1;
        self.count((level, event.clone()), 1);
        if self.newest.len() >= KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(Told {
            id: self.last,
            at: time_text(SystemTime::now()),
            level,
            event,
            message,
            fields,
        });
    }
}

/// What one line says.
#[derive(Default)]
struct Line {
    event: Option<String>,
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Short(String::new());
        // It ends early when there is no more room.
        let _ = write!(text, "{value:?}");
        self.take(field, text.0);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Short(String::new());
        let _ = text.write_str(value);
        self.take(field, text.0);
    }
}

impl Line {
    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "event" => self.event = Some(text),
            "message" => self.message = text,
            name => {
                self.fields.insert(name, text);
            }
        }
    }
}

/// A text that stops growing.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
        self.0.push_str(&text[..end.unwrap_or(0)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn told(run: impl FnOnce()) -> Vec<Told> {
        let (before, _) = since(0);
        let subscriber = tracing_subscriber::registry().with(layer());
        tracing::subscriber::with_default(subscriber, run);
        since(before).1
    }

    // One test: the journal is one for the process.
    #[test]
    fn a_line_is_kept_and_counted_if_it_is_an_event_or_a_warning() {
        let all = told(|| {
            tracing::info!("only said");
            tracing::info!(service = %"web", event = "upstream_up", "upstream is up");
            tracing::warn!(reason = "x".repeat(2 * MAX_TEXT), "odd");
            tracing::debug!(event = "never", "too quiet");
        });
        let ours: Vec<_> = all
            .iter()
            .filter(|told| ["upstream is up", "odd"].contains(&told.message.as_str()))
            .collect();
        assert_eq!(ours.len(), 2, "{all:?}");
        assert_eq!(
            (ours[0].event.as_str(), ours[0].level),
            ("upstream_up", "info")
        );
        assert_eq!(ours[0].fields["service"], "web");
        assert_eq!((ours[1].event.as_str(), ours[1].level), (OTHER, "warn"));
        assert!(ours[1].fields["reason"].len() <= MAX_TEXT + '…'.len_utf8());
        assert!(
            all.iter()
                .all(|told| told.event != "never" && told.message != "only said")
        );
        let counts = counts();
        let of = |level, name: &str| {
            counts
                .iter()
                .find(|(of, _)| *of == (level, name.to_owned()))
        };
        assert!(of("info", "upstream_up").is_some() && of("warn", OTHER).is_some());
    }

    #[test]
    fn the_journal_keeps_the_newest_and_a_bounded_number_of_names() {
        let mut journal = Journal::default();
        for n in 0..2 * KEPT {
            journal.add("info", format!("name-{n}"), String::new(), BTreeMap::new());
        }
        assert_eq!(journal.newest.len(), KEPT);
        assert_eq!(journal.counts.len(), MAX_NAMES);
        assert_eq!(
            journal.newest.back().map(|told| told.id),
            Some(2 * KEPT as u64)
        );
    }
}
