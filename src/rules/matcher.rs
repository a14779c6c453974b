//! Matchers: what a value is compared with, and how.

use ipnet::IpNet;

use super::{Pattern, Value};

/// Holds if one of its patterns takes the value.
#[derive(Clone, Debug, PartialEq)]
pub enum Matcher {
    /// There is a value at all.
    Found,
    /// The value is true, or a number that is not 0.
    True,
    /// The same as `True`, or the opposite.
    Bool(bool),
    Text {
        how: TextMatch,
        /// In lower case if case is ignored.
        patterns: Vec<Box<[u8]>>,
        ignores_case: bool,
    },
    Regex(Vec<Pattern>),
    Length(Vec<Range>),
    Integer(Vec<Range>),
    Address(Vec<IpNet>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextMatch {
    Whole,
    Begin,
    End,
    Inside,
    /// Whole parts between slashes.
    Directory,
    /// Whole parts between dots, slashes and colons.
    Domain,
}

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: i64,
    pub to: i64,
    /// Everything but these.
    pub is_negated: bool,
}

impl Matcher {
    /// A text matcher of `patterns`, as they are written.
    pub fn text<'a>(
        how: TextMatch,
        patterns: impl IntoIterator<Item = &'a str>,
        ignores_case: bool,
    ) -> Self {
        let spelled = |pattern: &str| match ignores_case {
            true => pattern.to_ascii_lowercase().into_bytes().into(),
            false => pattern.as_bytes().into(),
        };
        Matcher::Text {
            how,
            patterns: patterns.into_iter().map(spelled).collect(),
            ignores_case,
        }
    }

    pub fn matches(&self, value: &Value<'_>) -> bool {
        let in_any = |ranges: &[Range], n: i64| ranges.iter().any(|range| range.contains(n));
        match self {
            Matcher::Found => true,
            Matcher::True => value.is_true(),
            Matcher::Bool(wanted) => value.is_true() == *wanted,
            Matcher::Text {
                how,
                patterns,
                ignores_case,
            } => {
                let text = value.text();
                patterns
                    .iter()
                    .any(|pattern| how.takes(&text, pattern, *ignores_case))
            }
            Matcher::Regex(patterns) => {
                let text = value.text();
                patterns.iter().any(|pattern| pattern.is_match(&text))
            }
            Matcher::Length(ranges) => in_any(ranges, value.text().len() as i64),
            Matcher::Integer(ranges) => value.integer().is_some_and(|n| in_any(ranges, n)),
            Matcher::Address(networks) => value
                .address()
                .is_some_and(|address| networks.iter().any(|net| net.contains(&address))),
        }
    }
}

impl Range {
    pub fn contains(self, number: i64) -> bool {
        (self.from..=self.to).contains(&number) != self.is_negated
    }
}

impl TextMatch {
    /// `pattern` is in lower case if case is ignored.
    fn takes(self, text: &[u8], pattern: &[u8], ignores_case: bool) -> bool {
        let same = |part: &[u8], pattern: &[u8]| match ignores_case {
            true => part.eq_ignore_ascii_case(pattern),
            false => part == pattern,
        };
        let length = pattern.len();
        match self {
            TextMatch::Whole => same(text, pattern),
            TextMatch::Begin => text.get(..length).is_some_and(|start| same(start, pattern)),
            TextMatch::End => {
                let start = text.len().checked_sub(length);
                start.is_some_and(|start| same(&text[start..], pattern))
            }
            // What every text holds; and windows of nothing are none.
            TextMatch::Inside if pattern.is_empty() => true,
            TextMatch::Inside if ignores_case => {
                text.windows(length).any(|part| same(part, pattern))
            }
            TextMatch::Inside => memchr::memmem::find(text, pattern).is_some(),
            TextMatch::Directory => holds_parts(text, pattern, b"/?", same),
            TextMatch::Domain => holds_parts(text, pattern, b"/?.:", same),
        }
    }
}

/// Whether `pattern`, without delimiters around it, stands in `text` between delimiters or ends.
fn holds_parts(
    text: &[u8],
    pattern: &[u8],
    delimiters: &[u8],
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> bool {
    let is_delimiter = |b: &u8| delimiters.contains(b);
    let Some(first) = pattern.iter().position(|b| !is_delimiter(b)) else {
        return false;
    };
    let end = pattern.iter().rposition(|b| !is_delimiter(b));
    let pattern = &pattern[first..=end.unwrap_or(first)];
    let length = pattern.len();
    let starts = 0..(text.len() + 1).saturating_sub(length);
    starts.into_iter().any(|start| {
        (start == 0 || is_delimiter(&text[start - 1]))
            && text.get(start + length).is_none_or(is_delimiter)
            && same(&text[start..start + length], pattern)
    })
}
