//! What is too much, and what is no name: whoever may start a container writes here.

use super::Facts;
use crate::diag::{Diagnostic, Severity};

/// A value that is meant for us has at most this many bytes. What is not meant for us is not looked at.
pub(super) const MAX_VALUE: usize = 64 * 1024;

/// Labels and variables of one container.
const MAX_WORDS: usize = 4096;

/// Problems that are told of one container.
const MAX_PROBLEMS: usize = 20;

pub(super) fn too_much(facts: &Facts) -> Option<Diagnostic> {
    let words = facts.labels.len() + facts.env.len();
    if words <= MAX_WORDS {
        return None;
    }
    let message = format!("{}: has {words} labels and variables", facts.name);
    let help = format!("at most {MAX_WORDS} are read; it is not announced");
    Some(Diagnostic::error("too-many", message).help(help))
}

/// Keeps the worst of too many problems.
pub(super) fn bound(problems: &mut Vec<Diagnostic>, facts: &Facts) {
    if problems.len() <= MAX_PROBLEMS {
        return;
    }
    // Errors first, else in their order: they say why it is not announced.
    problems.sort_by_key(|problem| problem.severity != Severity::Error);
    let rest = problems.len() - MAX_PROBLEMS;
    problems.truncate(MAX_PROBLEMS);
    let message = format!("{}: {rest} more problems", facts.name);
    problems.push(Diagnostic::warning("too-many", message));
}

/// What an instance may be called: see `docs/keys.md`.
pub(super) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\');
    (1..=200).contains(&text.len()) && text.chars().all(good) && !matches!(text, "." | "..")
}
