//! The blocks of a PEM text, whatever stands between them.
//!
//! Found by their marks and not by lines: a bundle that was indented, has CRLF, or lost its line
//! breaks on the way through an environment variable is still the bundle it was.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Problem;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Padding is left out by some tools; nothing else may differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands between a BEGIN and its END.
pub(super) struct Block<'a> {
    /// `CERTIFICATE`, `PRIVATE KEY`.
    pub(super) label: &'a str,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    body: &'a str,
}

/// The body may be a private key.
impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}", shown(self.label), self.line)
    }
}

impl Block<'_> {
    pub(super) fn is_certificate(&self) -> bool {
        ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"].contains(&self.label)
    }

    /// Whether it is a key that OpenSSL's old tools encrypted: a header says so.
    pub(super) fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTED PRIVATE KEY"
            || self.body.contains("Proc-Type:") && self.body.contains("ENCRYPTED")
    }

    pub(super) fn decode(&self) -> Result<Vec<u8>, Problem> {
        let mut text: Vec<u8> = Vec::with_capacity(self.body.len());
        // Lines with a colon are headers, in the form that RFC 1421 gave to PEM.
        let lines = self.body.lines().filter(|line| !line.contains(':'));
        text.extend(
            lines
                .flat_map(str::bytes)
                .filter(|byte| !byte.is_ascii_whitespace()),
        );
        let help = "copy the whole file again, as it is";
        if text.is_empty() {
            return Err(self.broken("is empty", help));
        }
        BASE64.decode(&text).map_err(|_| {
            let help = match self.body.contains("\\n") {
                true => "its line breaks are written as \\n; write them as line breaks",
                false => help,
            };
            self.broken("is no base64", help)
        })
    }

    fn broken(&self, what: &str, help: &str) -> Problem {
        let at = format!(
            "has {} at line {} that {what}",
            shown(self.label),
            self.line
        );
        Problem::new("bad-pem", at, help)
    }
}

/// All blocks in the order of the text, and what is wrong with marks that belong to none.
pub(super) fn blocks(text: &str) -> (Vec<Block<'_>>, Vec<Problem>) {
    let mut blocks = Vec::new();
    let mut problems = Vec::new();
    let mut lines = Lines {
        text,
        at: 0,
        line: 1,
    };
    let mut from = 0;
    while let Some(found) = text[from..].find(BEGIN) {
        let start = from + found;
        let line = lines.line_of(start);
        let rest = &text[start + BEGIN.len()..];
        let first = rest.lines().next().unwrap_or_default();
        let Some(label_end) = first.find(DASHES) else {
            from = start + BEGIN.len();
            problems.push(Problem::new(
                "bad-pem",
                format!("has a mark at line {line} that is cut off"),
                "copy the whole file again, as it is",
            ));
            continue;
        };
        let label = &rest[..label_end];
        let body = &rest[label_end + DASHES.len()..];
        let end_mark = format!("{END}{label}{DASHES}");
        let next = body.find(BEGIN).unwrap_or(body.len());
        match body[..next].find(&end_mark) {
            Some(end) => {
                blocks.push(Block {
                    label,
                    line,
                    body: &body[..end],
                });
                from = text.len() - body.len() + end + end_mark.len();
            }
            None => {
                let help = match is_plain(label) {
                    true => format!("it ends with {end_mark}; copy the whole file again"),
                    false => "copy the whole file again, as it is".to_owned(),
                };
                problems.push(Problem::new(
                    "bad-pem",
                    format!("has {} at line {line} without its end", shown(label)),
                    help,
                ));
                from = text.len() - body.len() + next;
            }
        }
    }
    (blocks, problems)
}

/// A block as messages name it. Where a mark lost a dash its label is whatever stood up to the next
/// dashes, and that may be a private key: nothing of it is shown that does not look like a label.
pub(super) fn shown(label: &str) -> String {
    match is_plain(label) {
        true => format!("a {label}"),
        false => "a block".to_owned(),
    }
}

fn is_plain(label: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    (1..=40).contains(&label.len()) && label.chars().all(is_plain)
}

/// Counts lines on the way, so that all blocks together cost one look at the text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn line_of(&mut self, at: usize) -> usize {
        let passed = &self.text.as_bytes()[self.at..at];
        self.line += memchr::memchr_iter(b'\n', passed).count();
        self.at = at;
        self.line
    }
}
