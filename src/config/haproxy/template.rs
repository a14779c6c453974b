//! Log-format texts: `https://%[hdr(host)]%[path]`.

use super::Problem;
use super::sample;
use crate::diag::quoted;
use crate::rules::{Part, Source, Template};

const PARTS: usize = 100;

type Short = fn() -> Vec<Part>;

/// The short names that say something about a request. Those about connections, times and upstreams
/// are a log's business.
const SHORT: &[(&str, Short)] = &[
    ("ci", || of(Source::ClientAddress)),
    ("cp", || of(Source::ClientPort)),
    ("fi", || of(Source::ListenerAddress)),
    ("fp", || of(Source::ListenerPort)),
    ("HM", || of(Source::Method)),
    ("HP", || of(Source::AsItCame(Source::Path.into()))),
    ("HU", || of(Source::AsItCame(Source::Url.into()))),
    ("HV", || {
        let version = Part::Sample(Source::Version.into());
        vec![Part::Text(b"HTTP/".to_vec()), version]
    }),
    ("ID", || of(Source::RequestId)),
    ("ST", || of(Source::Status)),
];

fn of(source: Source) -> Vec<Part> {
    vec![Part::Sample(source.into())]
}

/// A log-format text. `%%` is a `%`.
pub(super) fn template(text: &str) -> Result<Template, Problem> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            literal.push('%');
            rest = behind;
            continue;
        }
        push_text(&mut literal, &mut parts);
        if let Some(inside) = rest.strip_prefix('[') {
            let (sample, _, behind) = sample::leading(inside)?;
            rest = behind.strip_prefix(']').ok_or_else(|| {
                Problem::new(
                    format!("{} has no ] behind the expression", quoted(text)),
                    "write the expression as %[...]; quotes or \\ keep a space in it",
                )
            })?;
            parts.push(Part::Sample(sample));
            continue;
        }
        let name = rest.get(..2).unwrap_or(rest);
        let Some((_, short)) = SHORT.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = SHORT.iter().map(|(known, _)| format!("%{known}")).collect();
            return Err(Problem::new(
                format!(
                    "{} is unknown in {}",
                    quoted(&format!("%{name}")),
                    quoted(text)
                ),
                format!(
                    "write %% for a %, %[...] for an expression, or one of {}",
                    known.join(" ")
                ),
            ));
        };
        parts.extend(short());
        rest = &rest[2..];
    }
    literal.push_str(rest);
    push_text(&mut literal, &mut parts);
    if parts.len() > PARTS {
        return Err(Problem::new(
            format!("{} has {} parts", quoted(text), parts.len()),
            format!("it may have {PARTS}"),
        ));
    }
    Ok(Template { parts })
}

fn push_text(literal: &mut String, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal).into_bytes()));
    }
}
