//! Which fields rules may touch.

use std::fmt;

/// Fields that frame a message or belong to one connection. A rule that could change one could make
/// two parties disagree about where a message ends.
const NOT_FOR_RULES: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why a text names no field that a rule may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAName {
    Empty,
    TooLong,
    /// What cannot be in a name.
    Has(char),
    /// It frames messages, or belongs to one connection.
    IsOurs,
}

/// `text` if it is the name of a field that rules may touch.
pub fn field_name(text: &str) -> Result<&str, NotAName> {
    const LONGEST: usize = 200;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() {
        return Err(NotAName::Empty);
    }
    if text.len() > LONGEST {
        return Err(NotAName::TooLong);
    }
    if let Some(c) = text.chars().find(|c| !is_token(*c)) {
        return Err(NotAName::Has(c));
    }
    // Some upstreams take an underscore for a dash.
    let plain = text.to_ascii_lowercase().replace('_', "-");
    match NOT_FOR_RULES.contains(&plain.as_str()) {
        true => Err(NotAName::IsOurs),
        false => Ok(text),
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAName::Empty => f.write_str("a field has a name"),
            NotAName::TooLong => f.write_str("a name has at most 200 characters"),
            NotAName::Has(c) => write!(f, "{c:?} cannot be in a field's name"),
            NotAName::IsOurs => f.write_str(
                "it frames the message or belongs to one connection, which no rule may change",
            ),
        }
    }
}

/// Whether this can be what `Host` says.
pub(super) fn is_host(value: &[u8]) -> bool {
    let is_good = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%:[]".contains(b);
    !value.is_empty() && value.iter().all(is_good)
}

/// A host as it is compared: in lower case, without a port.
pub(super) fn plain_host(value: &[u8]) -> Vec<u8> {
    let colon = value.iter().rposition(|b| *b == b':');
    let is_port = |at: &usize| value[at + 1..].iter().all(u8::is_ascii_digit);
    let end = colon.filter(is_port).unwrap_or(value.len());
    let name = &value[..end];
    name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase()
}
