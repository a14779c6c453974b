//! `acl` lines, and conditions made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Problem;
use super::sample::{self, Kind};
use crate::config::values::{self, unknown_word};
use crate::diag::{nearest, quoted};
use crate::rules::{Condition, Matcher, Range, Sample, Side, Source, Split, Term, Test, TextMatch};

const ACL_LINES: usize = 1_000;
const PATTERNS: usize = 10_000;
const TERMS: usize = 200;

/// The `acl` lines of a text, by name. Lines of one name are alternatives.
#[derive(Default)]
pub(super) struct Acls {
    lines: usize,
    named: BTreeMap<String, Arc<[Test]>>,
}

impl Acls {
    /// `acl NAME CRITERION [flags] [operator] [value...]`, without `acl`.
    pub(super) fn declare(
        &mut self,
        words: &[String],
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let [name, criterion @ ..] = words else {
            return Err(Problem::new(
                "acl has no name",
                "write a name and a test, such as: acl is_api path_beg /api",
            ));
        };
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if let Some(c) = name.chars().find(|c| !is_part(*c)) {
            return Err(Problem::new(
                format!("acl {} has {c:?} in its name", quoted(name)),
                "letters, digits, - _ . and : can be in it",
            ));
        }
        if name == "or" || name == "if" || name == "unless" {
            return Err(Problem::new(
                format!("acl {} cannot be called so", quoted(name)),
                "conditions would not tell it from the word; take another name",
            ));
        }
        if self.lines == ACL_LINES {
            return Err(Problem::new(
                "has an acl too many",
                format!("there may be {ACL_LINES}"),
            ));
        }
        self.lines += 1;
        // Kept also if it is wrong: what uses it is no second mistake.
        let entry = self.named.entry(name.clone()).or_insert_with(|| [].into());
        let test = test(criterion, warnings)?;
        *entry = entry.iter().cloned().chain([test]).collect();
        Ok(())
    }

    /// Terms with `or` or `||` between alternatives, without `if`.
    pub(super) fn condition(
        &self,
        words: &[String],
        warnings: &mut Vec<Problem>,
    ) -> Result<Condition, Problem> {
        let mut any = Vec::new();
        let mut all = Vec::new();
        let mut terms = 0;
        let mut is_negated = false;
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let bare = word.trim_start_matches('!');
            is_negated ^= (word.len() - bare.len()) % 2 == 1;
            let term = match bare {
                "" => continue,
                "or" | "||" => {
                    if all.is_empty() || is_negated {
                        return Err(no_term(word));
                    }
                    any.push(std::mem::take(&mut all));
                    continue;
                }
                "{" => {
                    let words = rest.as_slice();
                    let Some(end) = words.iter().position(|word| word == "}") else {
                        return Err(Problem::new(
                            "has a { without a }",
                            "write both with spaces around, as in { path_beg /api }",
                        ));
                    };
                    rest = words[end + 1..].iter();
                    [test(&words[..end], warnings)?].into()
                }
                name => self.named(name)?,
            };
            all.push(Term::new(term, std::mem::take(&mut is_negated)));
            terms += 1;
        }
        if all.is_empty() || is_negated {
            return Err(no_term(words.last().map_or("if", String::as_str)));
        }
        if terms > TERMS {
            return Err(Problem::new(
                format!("has a condition of {terms} terms"),
                format!("it may have {TERMS}"),
            ));
        }
        any.push(all);
        Ok(Condition::new(any))
    }

    fn named(&self, name: &str) -> Result<Arc<[Test]>, Problem> {
        if let Some(tests) = self.named.get(name) {
            return Ok(tests.clone());
        }
        if let Some((_, test)) = predefined().find(|(known, _)| *known == name) {
            return Ok([test].into());
        }
        let known = predefined().map(|(name, _)| name);
        let known = self.named.keys().map(String::as_str).chain(known);
        let help = match nearest(name, known) {
            Some(word) => format!("did you mean {word:?}?"),
            None if name.starts_with('{') || name.ends_with('}') => {
                "braces stand alone, with spaces around".to_owned()
            }
            _ if criterion(name).is_ok() => {
                format!("a test stands in braces, as in {{ {name} ... }}")
            }
            None => "declare it with an acl line".to_owned(),
        };
        Err(Problem::new(
            format!("acl {} is unknown", quoted(name)),
            help,
        ))
    }
}

fn no_term(word: &str) -> Problem {
    Problem::new(
        format!("has nothing to test beside {}", quoted(word)),
        "write names of acl lines or tests in braces, such as { path_beg /api }",
    )
}

/// The conditions that everybody has.
fn predefined() -> impl Iterator<Item = (&'static str, Test)> {
    let methods = |methods: &[&'static str]| {
        let matcher = Matcher::text(TextMatch::Whole, methods.iter().copied(), false);
        Test::Matches(Source::Method.into(), matcher)
    };
    let version = |version| {
        let matcher = Matcher::text(TextMatch::Whole, [version], false);
        Test::Matches(Source::Version.into(), matcher)
    };
    let url =
        |how, pattern| Test::Matches(Source::Url.into(), Matcher::text(how, [pattern], false));
    let content_length = Source::Field {
        side: Side::Request,
        name: "content-length".to_owned(),
        split: Split::Commas,
        nth: None,
    };
    let above_zero = Range {
        from: 1,
        to: i64::MAX,
        is_negated: false,
    };
    let local = ["127.0.0.0/8", "::1/128"];
    let local = local.iter().filter_map(|net| net.parse().ok()).collect();
    [
        ("FALSE", Test::Always(false)),
        ("HTTP", Test::Always(true)),
        ("HTTP_1.0", version("1.0")),
        ("HTTP_1.1", version("1.1")),
        (
            "HTTP_CONTENT",
            Test::Matches(content_length.into(), Matcher::Integer(vec![above_zero])),
        ),
        // What a client asks for in this form was put into the usual one.
        ("HTTP_URL_ABS", Test::Always(false)),
        ("HTTP_URL_SLASH", url(TextMatch::Begin, "/")),
        ("HTTP_URL_STAR", url(TextMatch::Whole, "*")),
        (
            "LOCALHOST",
            Test::Matches(Source::ClientAddress.into(), Matcher::Address(local)),
        ),
        ("METH_CONNECT", methods(&["CONNECT"])),
        ("METH_DELETE", methods(&["DELETE"])),
        ("METH_GET", methods(&["GET", "HEAD"])),
        ("METH_HEAD", methods(&["HEAD"])),
        ("METH_OPTIONS", methods(&["OPTIONS"])),
        ("METH_POST", methods(&["POST"])),
        ("METH_PUT", methods(&["PUT"])),
        ("METH_TRACE", methods(&["TRACE"])),
        ("REQ_CONTENT", Test::Always(true)),
        ("TRUE", Test::Always(true)),
        ("WAIT_END", Test::Always(true)),
    ]
    .into_iter()
}

/// How values are compared, by the word behind `-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Found,
    Bool,
    Text(TextMatch),
    Regex,
    Length,
    Integer,
    Address,
}

pub(super) const METHODS: &[(&str, Method)] = &[
    ("beg", Method::Text(TextMatch::Begin)),
    ("bool", Method::Bool),
    ("dir", Method::Text(TextMatch::Directory)),
    ("dom", Method::Text(TextMatch::Domain)),
    ("end", Method::Text(TextMatch::End)),
    ("found", Method::Found),
    ("int", Method::Integer),
    ("ip", Method::Address),
    ("len", Method::Length),
    ("reg", Method::Regex),
    ("str", Method::Text(TextMatch::Whole)),
    ("sub", Method::Text(TextMatch::Inside)),
];

fn method(word: &str) -> Option<Method> {
    let found = METHODS.iter().find(|(known, _)| *known == word);
    found.map(|(_, method)| *method)
}

/// `CRITERION [flags] [operator] [value...]`.
fn test(words: &[String], warnings: &mut Vec<Problem>) -> Result<Test, Problem> {
    let Some((first, mut rest)) = words.split_first() else {
        return Err(Problem::new(
            "has a test without words",
            "write what to look at and what to compare it with, such as path_beg /api",
        ));
    };
    match first.as_str() {
        "always_true" => return Ok(Test::Always(true)),
        "always_false" => return Ok(Test::Always(false)),
        _ => {}
    }
    let (sample, kind, mut how) = criterion(first)?;
    let mut ignores_case = false;
    while let Some((flag, behind)) = rest.split_first() {
        match flag.as_str() {
            "-i" => ignores_case = true,
            "-n" => {}
            "-m" => {
                let word = behind.first().map_or("", String::as_str);
                let known: Vec<_> = METHODS.iter().map(|(known, _)| *known).collect();
                how = Some(method(word).ok_or_else(|| {
                    let problem = unknown_word(word, &known);
                    Problem {
                        message: format!("-m {}", problem.message),
                        help: problem.help,
                    }
                })?);
                rest = behind.get(1..).unwrap_or_default();
                continue;
            }
            "--" => {
                rest = behind;
                break;
            }
            "-f" | "-M" | "-u" => {
                return Err(Problem::new(
                    format!("{flag} reads what is not in this text"),
                    "write the values on the line, or on several acl lines of one name",
                ));
            }
            _ => break,
        }
        rest = behind;
    }
    if rest.len() > PATTERNS {
        return Err(Problem::new(
            format!("{} has {} values", quoted(first), rest.len()),
            format!("there may be {PATTERNS}"),
        ));
    }
    if sample.source == Source::Host {
        ignores_case = true;
    }
    if sample == Sample::from(Source::Tls) && rest.is_empty() {
        return Ok(Test::Tls(true));
    }
    let how = how.unwrap_or(match kind {
        Kind::Text => Method::Text(TextMatch::Whole),
        Kind::Integer => Method::Integer,
        Kind::Address => Method::Address,
        Kind::Bool => Method::Bool,
    });
    let matcher = matcher(first, how, rest, ignores_case)?;
    let matcher = match (&sample.source, matcher) {
        (Source::Host, Matcher::Text { how, patterns, .. }) if sample.converters.is_empty() => {
            without_ports(how, patterns, warnings)
        }
        (_, matcher) => matcher,
    };
    Ok(Test::Matches(sample, matcher))
}

/// What is looked at, and how if the word says so: `path_beg` is `path` with `-m beg`.
fn criterion(text: &str) -> Result<(Sample, Kind, Option<Method>), Problem> {
    let (call, _) = sample::call(text)?;
    if !sample::SAMPLES.contains(&call.name)
        && let Some((name, word)) = call.name.rsplit_once('_')
        && word != "found"
        && let Some(how) = method(word)
        && sample::SAMPLES.contains(&name)
    {
        let plain = format!("{name}{}", &text[call.name.len()..]);
        let (sample, kind) = sample::sample(&plain)?;
        return Ok((sample, kind, Some(how)));
    }
    let (sample, kind) = sample::sample(text)?;
    Ok((sample, kind, None))
}

fn matcher(
    first: &str,
    how: Method,
    values: &[String],
    ignores_case: bool,
) -> Result<Matcher, Problem> {
    let needs_values = !matches!(how, Method::Found | Method::Bool);
    if needs_values && values.is_empty() {
        return Err(Problem::new(
            format!("{} is compared with nothing", quoted(first)),
            "write a value behind it, or -m found to ask whether there is one",
        ));
    }
    let texts = || values.iter().map(String::as_str);
    Ok(match how {
        Method::Found if !values.is_empty() => {
            return Err(Problem::new(
                format!("{} stands behind -m found", quoted(&values[0])),
                "found takes no value",
            ));
        }
        Method::Found => Matcher::Found,
        Method::Bool => match values {
            [] => Matcher::True,
            [value] => Matcher::Bool(values::boolean(value)?),
            [_, second, ..] => {
                return Err(Problem::new(
                    format!("{} is one value too many", quoted(second)),
                    "write true or false, or nothing",
                ));
            }
        },
        Method::Text(how) => Matcher::text(how, texts(), ignores_case),
        Method::Regex => Matcher::Regex(
            texts()
                .map(|text| sample::pattern(text, ignores_case))
                .collect::<Result<_, _>>()?,
        ),
        Method::Length => Matcher::Length(ranges(first, values)?),
        Method::Integer => Matcher::Integer(ranges(first, values)?),
        Method::Address => {
            Matcher::Address(texts().map(values::network).collect::<Result<_, _>>()?)
        }
    })
}

/// `5`, `1:10`, `:10`, `10:`, and behind `gt` and the like numbers alone.
fn ranges(first: &str, values: &[String]) -> Result<Vec<Range>, Problem> {
    let (operator, values) = match values.split_first() {
        Some((word, rest)) if ["eq", "ne", "gt", "ge", "lt", "le"].contains(&word.as_str()) => {
            (word.as_str(), rest)
        }
        _ => ("", values),
    };
    if values.is_empty() {
        return Err(Problem::new(
            format!("{} is compared with nothing", quoted(first)),
            format!("write a number behind {operator}"),
        ));
    }
    let one = |text: &String| {
        let bad = || {
            Problem::new(
                format!("{} is no whole number", quoted(text)),
                "write a number such as 10, a range such as 10:20, or gt 10",
            )
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| bad());
        let (from, to) = match (operator, text.split_once(':')) {
            ("" | "eq" | "ne", Some((from, to))) if text.len() > 1 => (
                if from.is_empty() {
                    i64::MIN
                } else {
                    number(from)?
                },
                if to.is_empty() { i64::MAX } else { number(to)? },
            ),
            _ => {
                let n = number(text)?;
                match operator {
                    "gt" => (n.saturating_add(1), i64::MAX),
                    "ge" => (n, i64::MAX),
                    "lt" => (i64::MIN, n.saturating_sub(1)),
                    "le" => (i64::MIN, n),
                    _ => (n, n),
                }
            }
        };
        Ok(Range {
            from,
            to,
            is_negated: operator == "ne",
        })
    };
    values.iter().map(one).collect()
}

/// Hosts are compared without their port, so a pattern with one would never match.
fn without_ports(
    how: TextMatch,
    mut patterns: Vec<Box<[u8]>>,
    warnings: &mut Vec<Problem>,
) -> Matcher {
    for pattern in &mut patterns {
        let Some(colon) = pattern.iter().rposition(|b| *b == b':') else {
            continue;
        };
        let (name, port) = (&pattern[..colon], &pattern[colon + 1..]);
        let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        // The end of an IPv6 address is none.
        if is_port && (name.ends_with(b"]") || !name.contains(&b':')) && !name.is_empty() {
            warnings.push(Problem::new(
                format!(
                    "host {} has a port, which is not compared",
                    quoted(&String::from_utf8_lossy(pattern))
                ),
                "remove the port",
            ));
            *pattern = name.into();
        }
    }
    Matcher::Text {
        how,
        patterns,
        ignores_case: true,
    }
}
