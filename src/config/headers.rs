//! `request_headers` and `response_headers`: one change of a field on each line.

use super::address;
use super::fields::Fields;
use super::unit::HostPattern;
use super::values::{self, Problem, unknown_word};
use crate::diag::{nearest, quoted};
use crate::rules::{self, FieldAction, Template};

const EDITS: usize = 100;
const VALUE_BYTES: usize = 8192;

/// What an upstream finds in `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client sent.
    #[default]
    Client,
    /// The upstream's own address and port.
    Upstream,
    Named(String),
}

/// The lines of `field`, in their order.
pub(super) fn edits(fields: &mut Fields<'_>, field: &str) -> Vec<FieldAction> {
    let mut edits = Vec::new();
    let Some(written) = fields.text(field) else {
        return edits;
    };
    let lines = written.text.lines().zip(1..);
    let lines = lines.map(|(line, number)| (line.trim(), number));
    for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
        match edit(line, field) {
            Ok(edit) => edits.push(edit),
            Err(problem) => {
                fields.refuse_as(&format!("{field} line {number}:"), field, written, &problem);
            }
        }
    }
    if edits.len() > EDITS {
        let problem = Problem::new(
            format!("has {} lines", edits.len()),
            format!("it may have {EDITS}"),
        );
        fields.refuse(field, written, &problem);
        edits.clear();
    }
    edits
}

fn edit(line: &str, field: &str) -> Result<FieldAction, Problem> {
    const WORDS: &[&str] = &["set", "add", "remove"];
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let word = word.to_ascii_lowercase();
    if !WORDS.contains(&word.as_str()) {
        return Err(unknown_word(&word, WORDS));
    }
    let rest = rest.trim();
    if word == "remove" {
        let name = field_name(rest.strip_suffix(':').unwrap_or(rest), field)?;
        return Ok(FieldAction::Remove { name });
    }
    let Some((name, value)) = rest.split_once(':') else {
        return Err(Problem::new(
            format!("{} has no value", quoted(line)),
            format!("write {word} NAME: VALUE"),
        ));
    };
    let name = field_name(name, field)?;
    let value = field_value(value.trim(), &name)?;
    Ok(match word.as_str() {
        "set" => FieldAction::Set { name, value },
        _ => FieldAction::Add { name, value },
    })
}

/// The name of a field that rules may change.
fn field_name(name: &str, field: &str) -> Result<String, Problem> {
    if let Err(problem) = rules::field_name(name) {
        return Err(Problem::new(
            format!("{} is no field that can be changed", quoted(name)),
            problem.to_string(),
        ));
    }
    let lower = name.to_ascii_lowercase();
    if lower == "host" && field == "request_headers" {
        return Err(Problem::new(
            format!("{name} cannot be changed"),
            "set pass_host_header to the name that upstreams shall see",
        ));
    }
    Ok(name.to_owned())
}

fn field_value(value: &str, name: &str) -> Result<Template, Problem> {
    if value.is_empty() {
        return Err(Problem::new(
            format!("{name} has no value"),
            format!("write remove {name} to take it away"),
        ));
    }
    if value.len() > VALUE_BYTES {
        return Err(Problem::new(
            format!("{name} has a value of {} bytes", value.len()),
            format!("it may have {VALUE_BYTES}"),
        ));
    }
    if let Some(c) = value.chars().find(|c| !matches!(c, '\t' | ' '..='~')) {
        return Err(Problem::new(
            format!("{name} has a value with {c:?} in it"),
            "a value has visible ASCII characters, spaces and tabs",
        ));
    }
    Ok(Template::text(value))
}

/// `pass_host_header`: `true`, `false`, or a host name.
pub(super) fn host_header(text: &str) -> Result<HostHeader, Problem> {
    match values::boolean(text) {
        Ok(true) => return Ok(HostHeader::Client),
        Ok(false) => return Ok(HostHeader::Upstream),
        Err(_) => {}
    }
    // A name without a dot may well be a word with a slip in it.
    if !text.contains(['.', ':'])
        && let Some(word) = nearest(text, ["true", "false"])
    {
        return Err(Problem::new(
            format!("{} is neither true nor false", quoted(text)),
            format!("did you mean {word:?}? A host name so near to it is written with its port"),
        ));
    }
    match address::host(text)? {
        (HostPattern::Exact(_), _) => Ok(HostHeader::Named(text.to_owned())),
        (HostPattern::Wildcard(_), _) => Err(Problem::new(
            format!("{} has a * in it", quoted(text)),
            "upstreams are told one name; write it whole",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_edits() {
        let name = || "X-A".to_owned();
        let value = || Template::text("b: c");
        let read = |line| edit(line, "request_headers");
        assert_eq!(
            read("set X-A: b: c"),
            Ok(FieldAction::Set {
                name: name(),
                value: value()
            })
        );
        assert_eq!(
            read("ADD\tX-A:b: c"),
            Ok(FieldAction::Add {
                name: name(),
                value: value()
            })
        );
        assert_eq!(read("remove X-A"), Ok(FieldAction::Remove { name: name() }));
        assert!(edit("set Host: x", "response_headers").is_ok());
    }

    #[test]
    fn what_could_make_a_second_message_is_refused() {
        for line in [
            "set Content-Length: 0",
            "add transfer-ENCODING: chunked",
            "remove Connection",
            "set Upgrade: h2c",
            "set Host: a",
            "set X A: b",
            "set X-A : b",
            "set : b",
            "set X-A: a\u{7f}",
            "set X-A: \u{e4}",
            "set X-A:",
            "remove",
            "remove X-A: b",
            "",
        ] {
            assert!(edit(line, "request_headers").is_err(), "{line:?}");
        }
    }
}
