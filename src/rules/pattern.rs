//! Regular expressions that can be compared and cannot run away.
//!
//! They take time in proportion to what they read, whatever is written in them, and a limited
//! memory; look-around and references back to groups, which would need more, are refused where
//! rules are read. A byte is a character, as it is on the wire.

use regex::bytes::{Regex, RegexBuilder};

/// One regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) regex: Regex,
    pub(super) ignores_case: bool,
}

impl Pattern {
    /// Compiled, it takes no more than this.
    const MEMORY: usize = 256 * 1024;
    const LENGTH: usize = 2_000;
    /// More than any caller takes of what was rewritten.
    const TOO_LONG: usize = 8 * super::Template::LONGEST;

    /// The text says why it cannot be had.
    pub fn new(text: &str, ignores_case: bool) -> Result<Self, String> {
        if text.len() > Self::LENGTH {
            return Err(format!("it has more than {} characters", Self::LENGTH));
        }
        let regex = RegexBuilder::new(text)
            .unicode(false)
            .case_insensitive(ignores_case)
            .size_limit(Self::MEMORY)
            .dfa_size_limit(4 * Self::MEMORY)
            .nest_limit(50)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
                error => {
                    // The last line says what, those before it show where.
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                }
            })?;
        Ok(Self {
            regex,
            ignores_case,
        })
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.ignores_case == other.ignores_case
    }
}

/// What a regular expression finds is replaced. `\1` to `\9` stand for its groups, `\0` for all it
/// found.
#[derive(Clone, Debug, PartialEq)]
pub struct Substitution {
    pub(super) pattern: Pattern,
    pub(super) with: Vec<Piece>,
    pub(super) is_global: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Literal(Vec<u8>),
    Group(usize),
}

impl Substitution {
    /// `is_global`: everywhere, not only where it is found first.
    pub fn new(pattern: Pattern, with: &[u8], is_global: bool) -> Self {
        Self {
            pattern,
            with: pieces(with),
            is_global,
        }
    }

    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let limit = usize::from(!self.is_global);
        let replaced =
            self.pattern
                .regex
                .replacen(text, limit, |found: &regex::bytes::Captures<'_>| {
                    fill(&self.with, found, usize::MAX)
                });
        replaced.into_owned()
    }
}

impl Pattern {
    /// `with`, with the groups of what the pattern finds first in `text`; `None` if it finds nothing.
    /// What stands around it is not kept: that is how HAProxy's `replace-*` works.
    ///
    /// Clients may have written groups into `with`: what comes of it is cut where it is longer than
    /// anything that is taken.
    pub(super) fn rewrite(&self, text: &[u8], with: &[u8]) -> Option<Vec<u8>> {
        let found = self.regex.captures(text)?;
        Some(fill(&pieces(with), &found, Self::TOO_LONG))
    }
}

/// Ends early once it has more than `most`.
fn fill(with: &[Piece], found: &regex::bytes::Captures<'_>, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in with {
        if out.len() > most {
            break;
        }
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text),
            Piece::Group(nth) => {
                out.extend_from_slice(found.get(*nth).map_or(b"", |group| group.as_bytes()));
            }
        }
    }
    out
}

fn pieces(with: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = with.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(digit @ b'0'..=b'9')) => {
                let nth = usize::from(digit - b'0');
                bytes.next();
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Group(nth));
            }
            (b'\\', Some(other)) => {
                literal.push(*other);
                bytes.next();
            }
            _ => literal.push(byte),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}
