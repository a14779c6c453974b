//! Diagnostics: what is wrong, where, why, and what to do about it.
//!
//! Everything that judges text or keys reports through this one type, so that a problem reads the
//! same in `pointsman check`, in the log, in the status and in the API.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth telling; the unit goes live.
    Warning,
    /// The unit is refused.
    Error,
}

/// One problem. The message is lowercase, short, names the thing and the value, and has no full stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable and short, for scripts: `unknown-field`, `bad-value`, `port-conflict`, ...
    pub code: String,
    pub message: String,
    /// The unit it belongs to, or the template's name where no unit exists yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The key that has to be mended, where it is known; relative to the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The field inside the unit's text, such as `timeout_server` or `upstreams.web-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Line in the unit's text or the template, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: &str, message: String) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message,
            unit: String::new(),
            key: None,
            field: None,
            line: None,
            column: None,
            help: None,
        }
    }

    #[must_use]
    pub fn in_unit(mut self, unit: impl fmt::Display) -> Self {
        self.unit = unit.to_string();
        self
    }

    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    #[must_use]
    pub fn for_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn for_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One line, whatever is in it: keys and units are called what their writers liked.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        line.write_str(match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })?;
        if !self.unit.is_empty() {
            write!(line, ": {}", self.unit)?;
            if let Some(at) = self.line {
                write!(line, ":{at}")?;
                if let Some(column) = self.column {
                    write!(line, ":{column}")?;
                }
            }
        }
        write!(line, ": {}", self.message)?;
        if let Some(key) = &self.key {
            write!(line, " (key {key})")?;
        }
        if let Some(help) = &self.help {
            write!(line, "; {help}")?;
        }
        Ok(())
    }
}

/// Escapes control characters on their way.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = tail.chars();
            if let Some(control) = chars.next() {
                write!(self.0, "{}", control.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// A value as messages show it: in quotes, control characters escaped, long ones cut, so that no
/// value can fill a log or fake a line of it.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 60;
    if value.contains("-----BEGIN") {
        // Sixty characters of a private key are most of its secret.
        return format!("a PEM block ({} bytes)", value.len());
    }
    let mut head = value.char_indices().skip(SHOWN);
    match head.next() {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}... ({} bytes)", &value[..cut], value.len()),
    }
}

/// The word of `candidates` that a person most likely meant by `word`, if one is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let limit = match word.len() {
        0..=3 => 1,
        4..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|c| (distance(&word, &c.to_ascii_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein distance, capped by the length of what is compared: settings are short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line_with_place_key_and_help() {
        let d = Diagnostic::error("bad-value", "unknown balance \"leastcom\"")
            .in_unit("services/web")
            .at(3, 12)
            .for_key("services/web/balance")
            .help("did you mean \"leastconn\"?");
        assert_eq!(
            d.to_string(),
            "error: services/web:3:12: unknown balance \"leastcom\" (key services/web/balance); \
             did you mean \"leastconn\"?"
        );
    }

    #[test]
    fn a_name_with_a_line_break_fakes_no_line() {
        let d = Diagnostic::warning("x", "odd").for_key("services/a\nerror: \u{1b}[31mb");
        assert_eq!(
            d.to_string(),
            r"warning: odd (key services/a\nerror: \u{1b}[31mb)"
        );
    }

    #[test]
    fn values_are_shown_on_one_line_and_cut() {
        assert_eq!(quoted("a\n\u{1b}[0m"), r#""a\n\u{1b}[0m""#);
        let long = quoted(&"ä".repeat(10_000_000));
        assert!(long.len() < 200, "{long}");
        assert!(long.ends_with("... (20000000 bytes)"));
    }

    #[test]
    fn nearest_finds_typos_and_nothing_for_strangers() {
        let words = ["roundrobin", "leastconn", "source", "random"];
        assert_eq!(nearest("leastcon", words), Some("leastconn"));
        assert_eq!(nearest("RoundRobbin", words), Some("roundrobin"));
        assert_eq!(nearest("weighted", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_shown() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIFTiPHX0OzIdSjrw\n";
        for value in [key.to_owned(), format!("host,{key}")] {
            let shown = quoted(&value);
            assert_eq!(shown, format!("a PEM block ({} bytes)", value.len()));
        }
    }
}
