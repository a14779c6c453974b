//! Lines to words, as HAProxy takes them apart.
//!
//! Words stand between spaces and tabs. A backslash takes the meaning of a space, `#`, quote or
//! backslash behind it away and stays where it stands before anything else, as regular expressions
//! need it. `"..."` and `'...'` hold spaces and `#`; in single quotes a backslash is one. A `#`
//! begins a comment.

use super::{LINES, LineProblem, Problem};
use crate::diag::quoted;

/// A line with something on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// At least one.
    pub(super) words: Vec<String>,
}

impl Line {
    pub(super) fn problem(&self, problem: Problem) -> LineProblem {
        LineProblem {
            line: self.number,
            problem,
        }
    }
}

/// The lines of `text` that say anything. Those that cannot be taken apart are in `problems`.
pub(super) fn lines(text: &str, problems: &mut Vec<LineProblem>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let number = nth + 1;
        if number > LINES {
            let problem = Problem::new("is one too many", format!("there may be {LINES}"));
            problems.push(LineProblem {
                line: number,
                problem,
            });
            break;
        }
        match words(line) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => lines.push(Line { number, words }),
            Err(problem) => problems.push(LineProblem {
                line: number,
                problem,
            }),
        }
    }
    lines
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Single,
    Double,
}

/// The words of one line.
pub fn words(line: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    // `None` between words: a word can be empty, as "".
    let mut word: Option<String> = None;
    let mut quote = Quote::None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Quote::None, ' ' | '\t' | '\r') => words.extend(word.take()),
            (Quote::None, '#') => break,
            (Quote::None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = if c == '"' {
                    Quote::Double
                } else {
                    Quote::Single
                };
            }
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            (Quote::None | Quote::Double, '\\') => {
                let word = word.get_or_insert_default();
                match chars.next() {
                    Some(c @ (' ' | '#' | '\\' | '"' | '\'')) => word.push(c),
                    Some('$') if quote == Quote::Double => word.push('$'),
                    Some(c) => word.extend(['\\', c]),
                    None => word.push('\\'),
                }
            }
            (Quote::Double, '$')
                if chars
                    .peek()
                    .is_some_and(|c| matches!(c, '{' | '_') || c.is_ascii_alphabetic()) =>
            {
                return Err(Problem::new(
                    "asks for a variable of the environment",
                    "the environment is not read here; write what it should say, or \\$ for a $",
                ));
            }
            (_, c) if c.is_control() && c != '\t' => {
                return Err(Problem::new(
                    format!("has the control character {c:?}"),
                    "remove it",
                ));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote != Quote::None {
        let open = quoted(word.as_deref().unwrap_or_default());
        return Err(Problem::new(
            format!("has a quote that is not closed: {open}"),
            "close it on the same line, or write \\\" for a quote itself",
        ));
    }
    words.extend(word);
    Ok(words)
}
