//! Alternatives of a rule as hosts, paths and a condition.

use std::collections::BTreeSet;

use super::rule::{Alternative, Test};
use crate::link::draft::{Draft, is_line};
use crate::link::rewrite;

/// What a rule asks for.
#[derive(Default)]
pub(super) struct Claims {
    /// The raw prefixes, if hosts and paths and nothing else lead here.
    pub(super) prefixes: Vec<String>,
}

/// One host or path of a rule, as a key has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Host(String),
    HostRegex(String),
    Path(String),
    Prefix(String),
}

/// Sets the keys of a rule. What can be looked up is hosts and paths; the rest is a condition.
pub(super) fn set(
    draft: &mut Draft<'_>,
    alternatives: &[Alternative],
    extra: Option<&str>,
    label: &str,
) -> Option<Claims> {
    let mut spread = Vec::new();
    for alternative in alternatives {
        match by_values(alternative) {
            Ok(all) => spread.extend(all),
            Err(problem) => {
                draft.error("bad-rule", format!("{label} {problem}"), "");
                return None;
            }
        }
    }
    let parts: Vec<_> = spread.iter().map(split).collect();
    let hosts: BTreeSet<&Claim> = parts.iter().filter_map(|part| part.host.as_ref()).collect();
    let paths: BTreeSet<&Claim> = parts.iter().filter_map(|part| part.path.as_ref()).collect();
    let same_rest = parts.windows(2).all(|pair| pair[0].rest == pair[1].rest);
    let all_have_host = parts.iter().all(|part| part.host.is_some());
    let all_have_path = parts.iter().all(|part| part.path.is_some());
    let combinations: BTreeSet<_> = parts.iter().map(|part| (&part.host, &part.path)).collect();
    let is_product = same_rest
        && (all_have_host || hosts.is_empty())
        && (all_have_path || paths.is_empty())
        && combinations.len() == hosts.len().max(1) * paths.len().max(1);
    let mut condition = Vec::new();
    if is_product {
        let rest = parts
            .first()
            .map(|part| part.rest.as_slice())
            .unwrap_or_default();
        condition.push(terms(draft, rest, label)?);
    } else {
        // Everybody who may match is led here, and the condition tells who does.
        for alternative in &spread {
            condition.push(terms(draft, alternative, label)?);
        }
    }
    if all_have_host {
        for host in hosts {
            match host {
                Claim::Host(host) => draft.append("virtual_hosts", ", ", host, label),
                Claim::HostRegex(regex) => draft.append("virtual_host_regex", "\n", regex, label),
                _ => {}
            }
        }
    }
    if all_have_path {
        for path in &paths {
            let path = match path {
                Claim::Path(path) => format!("={path}"),
                Claim::Prefix(path) => match path.trim_end_matches('/') {
                    "" => "/".to_owned(),
                    root if root.len() < path.len() => root.to_owned(),
                    root => format!("{root}*"),
                },
                _ => continue,
            };
            draft.append("virtual_path", ", ", &path, label);
        }
    }
    let condition = joined(&condition, extra);
    if !condition.is_empty() {
        draft.set("match", condition, label);
    }
    let only_prefixes = paths.iter().all(|path| matches!(path, Claim::Prefix(_)));
    let prefixes = match is_product && only_prefixes {
        true => paths
            .into_iter()
            .map(|path| path.text().to_owned())
            .collect(),
        false => Vec::new(),
    };
    Some(Claims { prefixes })
}

impl Claim {
    fn text(&self) -> &str {
        match self {
            Self::Host(text) | Self::HostRegex(text) | Self::Path(text) | Self::Prefix(text) => {
                text
            }
        }
    }
}

fn joined(alternatives: &[String], extra: Option<&str>) -> String {
    let with_extra = alternatives.iter().map(|terms| {
        let parts = [extra.unwrap_or_default(), terms.as_str()];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    });
    let all: Vec<_> = with_extra.collect();
    // An alternative without a condition always holds.
    match all.iter().any(String::is_empty) {
        true => String::new(),
        false => all.join(" || "),
    }
}

struct Part {
    host: Option<Claim>,
    path: Option<Claim>,
    rest: Vec<Test>,
}

/// Takes the first host and the first path out of an alternative; a second one is a condition.
fn split(alternative: &Alternative) -> Part {
    let mut part = Part {
        host: None,
        path: None,
        rest: Vec::new(),
    };
    for test in alternative {
        match claim(test) {
            Some(claim @ (Claim::Host(_) | Claim::HostRegex(_))) if part.host.is_none() => {
                part.host = Some(claim);
            }
            Some(claim @ (Claim::Path(_) | Claim::Prefix(_))) if part.path.is_none() => {
                part.path = Some(claim);
            }
            _ => part.rest.push(test.clone()),
        }
    }
    part
}

fn claim(test: &Test) -> Option<Claim> {
    if test.negated {
        return None;
    }
    let value = test.args.first()?.clone();
    match test.name.to_ascii_lowercase().as_str() {
        "host" | "hostheader" => Some(Claim::Host(value)),
        "hostregexp" => Some(Claim::HostRegex(host_regex(&value))),
        // A comma would be the end of a path in a list.
        "path" if !value.contains(',') && !value.contains('{') => Some(Claim::Path(value)),
        "pathprefix" if !value.contains([',', '{', '*']) => Some(Claim::Prefix(value)),
        _ => None,
    }
}

/// Several values of one test are alternatives (version 2); those of a negated one all have to fail.
fn by_values(alternative: &Alternative) -> Result<Vec<Alternative>, String> {
    const MAX: usize = 256;
    let mut all: Vec<Alternative> = vec![Vec::new()];
    for test in alternative {
        let each: Vec<Test> = match test.name.to_ascii_lowercase().as_str() {
            "host" | "hostheader" | "hostregexp" | "path" | "pathprefix" | "pathregexp" => {
                let single = |value: &String| Test {
                    args: vec![value.clone()],
                    ..test.clone()
                };
                test.args.iter().map(single).collect()
            }
            _ => vec![test.clone()],
        };
        if each.is_empty() {
            return Err(format!("has {} without a value", test.name));
        }
        if test.negated {
            for alternative in &mut all {
                alternative.extend(each.iter().cloned());
            }
            continue;
        }
        if all.len() * each.len() > MAX {
            return Err(format!("has more than {MAX} alternatives"));
        }
        all = all
            .iter()
            .flat_map(|before| {
                each.iter()
                    .map(move |test| before.iter().chain([test]).cloned().collect())
            })
            .collect();
    }
    Ok(all)
}

/// Tests side by side in HAProxy's words.
fn terms(draft: &mut Draft<'_>, tests: &[Test], label: &str) -> Option<String> {
    let mut terms = Vec::new();
    for test in tests {
        match term(test) {
            Ok(term) => terms.push(format!(
                "{}{{ {term} }}",
                if test.negated { "!" } else { "" }
            )),
            Err(problem) => {
                let message = format!("{label}: {} {problem}", test.name);
                draft.error(
                    "bad-rule",
                    message,
                    "docs/linking.md has the tests that are known",
                );
                return None;
            }
        }
    }
    Some(terms.join(" "))
}

fn term(test: &Test) -> Result<String, String> {
    let args: Vec<&str> = test.args.iter().map(String::as_str).collect();
    let values = || -> Result<String, String> {
        let words = args.iter().map(|arg| word(arg));
        Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
    };
    let name = test.name.to_ascii_lowercase();
    Ok(match (name.as_str(), args.as_slice()) {
        ("host" | "hostheader", [_]) => format!("hdr(host) -m str -- {}", values()?),
        ("hostregexp", [regex]) => format!(
            "hdr(host) -m reg -- {}",
            word(&format!("^(?:{})$", host_regex(regex)))?
        ),
        ("path" | "pathprefix" | "pathregexp", [path])
            if name != "pathregexp" && path.contains('{') =>
        {
            let regex = with_placeholders(path);
            let end = if name == "path" { "$" } else { "" };
            format!("path -m reg -- {}", word(&format!("^{regex}{end}"))?)
        }
        ("path", [_]) => format!("path -m str -- {}", values()?),
        ("pathprefix", [_]) => format!("path -m beg -- {}", values()?),
        ("pathregexp", [_]) => format!("path -m reg -- {}", values()?),
        ("method", [_, ..]) => format!("method {}", upper(&args)?),
        ("header" | "headers", [field, value]) => {
            format!("req.fhdr({}) -m str -- {}", token(field)?, word(value)?)
        }
        ("headerregexp" | "headersregexp", [field, regex]) => {
            format!("req.fhdr({}) -m reg -- {}", token(field)?, word(regex)?)
        }
        ("query", [name]) => match name.split_once('=') {
            Some((name, value)) if !value.is_empty() => {
                format!("urlp({}) -m str -- {}", token(name)?, word(value)?)
            }
            _ => format!("urlp({}) -m found", token(name.trim_end_matches('='))?),
        },
        ("query", [name, value]) => format!("urlp({}) -m str -- {}", token(name)?, word(value)?),
        ("queryregexp", [name, regex]) => {
            format!("urlp({}) -m reg -- {}", token(name)?, word(regex)?)
        }
        ("clientip", [_, ..]) => format!("src {}", values()?),
        (
            "host" | "path" | "method" | "header" | "headers" | "headerregexp" | "headersregexp"
            | "query" | "queryregexp" | "clientip",
            args,
        ) => return Err(format!("has {} values", args.len())),
        _ => return Err("is not known".to_owned()),
    })
}

fn upper(methods: &[&str]) -> Result<String, String> {
    let words = methods.iter().map(|method| token(method));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    Ok(words.join(" ").to_ascii_uppercase())
}

fn word(text: &str) -> Result<String, String> {
    rewrite::word(text).ok_or_else(|| {
        "has a value that no condition can hold: an empty one, one with a quote or a control character, or a word of conditions".to_owned()
    })
}

/// A name that stands in brackets.
fn token(name: &str) -> Result<&str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.chars().all(good) {
        true => Ok(name),
        false => Err("has a name that is none".to_owned()),
    }
}

/// Version 3 has a pattern that is found anywhere, version 2 a text with `{name:pattern}` in it.
fn host_regex(text: &str) -> String {
    if !is_line(text) {
        // No pattern has it, so the service is refused where the key is read.
        return "(".to_owned();
    }
    match has_placeholder(text) {
        true => with_placeholders(text),
        false => format!(".*(?:{text}).*"),
    }
}

fn has_placeholder(text: &str) -> bool {
    text.split('{').skip(1).any(|rest| {
        let name = rest.split(':').next().unwrap_or_default();
        rest.contains(':') && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    })
}

fn with_placeholders(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(&rewrite::escaped(before));
        // Braces may stand in the pattern: {id:[0-9]{3}}.
        let mut depth = 1;
        let end = behind.char_indices().find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        });
        let Some((end, _)) = end else {
            rest = behind;
            out.push_str("\\{");
            continue;
        };
        let pattern = behind[..end]
            .split_once(':')
            .map_or("[^/]+", |(_, pattern)| pattern);
        out.push_str(&format!("(?:{pattern})"));
        rest = &behind[end + 1..];
    }
    out.push_str(&rewrite::escaped(rest));
    out
}
