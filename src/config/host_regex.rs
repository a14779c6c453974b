//! `virtual_host_regex`: host names by pattern.

use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

use super::values::Problem;
use crate::diag::quoted;

/// What the patterns of one service may take of memory, compiled. It bounds the time to compile them
/// as well; the time to match is linear in the length of a host name whatever the pattern.
const COMPILED_BYTES: usize = 1024 * 1024;
/// What each thread may keep of a lazily built automaton.
const CACHE_BYTES: usize = 256 * 1024;
/// A pattern that is longer is no name's.
const PATTERN_BYTES: usize = 1024;

/// Patterns of host names, ORed: one automaton for all of them. Each has to match the whole name,
/// whatever its case.
#[derive(Clone, Debug)]
pub struct HostRegex {
    /// As written.
    patterns: Box<[Box<str>]>,
    set: RegexSet,
}

/// The same patterns make the same automaton.
impl PartialEq for HostRegex {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl HostRegex {
    /// Refuses patterns that are none, with the words of whoever could not read them.
    pub fn new(patterns: &[&str]) -> Result<Self, Vec<Problem>> {
        let problems: Vec<Problem> = patterns.iter().filter_map(|p| problem(p)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let set = RegexSetBuilder::new(patterns.iter().map(|p| format!(r"\A(?:{p})\z")))
            .case_insensitive(true)
            .unicode(false)
            .size_limit(COMPILED_BYTES)
            .dfa_size_limit(CACHE_BYTES)
            .build()
            .map_err(|error| {
                let problem = match error {
                    regex::Error::CompiledTooBig(_) => "has patterns that take too much memory",
                    _ => "has a pattern that cannot stand beside others",
                };
                vec![Problem::new(problem, "write fewer or simpler patterns")]
            })?;
        let patterns = patterns.iter().map(|p| (*p).into()).collect();
        Ok(Self { patterns, set })
    }

    /// `host` is lowercase and without a port. Costs some tens of nanoseconds.
    pub fn is_match(&self, host: &[u8]) -> bool {
        self.set.is_match(host)
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|p| &**p)
    }
}

/// A pattern is read alone first: `a)|(b` is none, though it would be one in our brackets.
fn problem(pattern: &str) -> Option<Problem> {
    if pattern.len() > PATTERN_BYTES {
        return Some(Problem::new(
            format!("{} is too long", quoted(pattern)),
            format!("a pattern has at most {PATTERN_BYTES} characters"),
        ));
    }
    if let Some(c) = pattern.chars().find(|c| !c.is_ascii()) {
        return Some(Problem::new(
            format!("{} can match no host name", quoted(pattern)),
            format!("{c:?} is beyond ASCII; write the name's xn-- form, as browsers send it"),
        ));
    }
    let error = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .unicode(false)
        .size_limit(COMPILED_BYTES)
        .build()
        .err()?;
    Some(match error {
        regex::Error::CompiledTooBig(_) => Problem::new(
            format!("{} takes too much memory", quoted(pattern)),
            "write smaller repetitions",
        ),
        error => Problem::new(
            format!(
                "{} is no regular expression: {}",
                quoted(pattern),
                words(&error)
            ),
            r"each line is one pattern for the whole host name, such as (www|api)\.example\.com",
        ),
    })
}

/// What an error says in one line: behind a drawing of the pattern stands the reason.
fn words(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    last.to_owned()
}
