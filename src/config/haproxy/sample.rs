//! Sample expressions: `req.hdr(x-version),lower`.

use super::Problem;
use super::condition::METHODS;
use crate::config::values::unknown_word;
use crate::diag::{nearest, quoted};
use crate::rules::{Converter, Pattern, Sample, Side, Source, Split, Substitution, field_name};

/// What kind of value a sample gives, which says how it is compared when nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Address,
    Bool,
}

/// A word with arguments in parentheses behind it.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    /// `None` without parentheses.
    pub(super) arguments: Option<Vec<String>>,
}

/// Every word that gives a sample, for suggestions.
pub(super) const SAMPLES: &[&str] = &[
    "always_false",
    "always_true",
    "base",
    "capture.req.method",
    "capture.req.uri",
    "cook",
    "dst",
    "dst_port",
    "fhdr",
    "hdr",
    "hdr_cnt",
    "hdr_ip",
    "hdr_val",
    "method",
    "path",
    "pathq",
    "query",
    "req.cook",
    "req.fhdr",
    "req.fhdr_cnt",
    "req.hdr",
    "req.hdr_cnt",
    "req.hdr_ip",
    "req.hdr_val",
    "req.ver",
    "req_ver",
    "res.fhdr",
    "res.fhdr_cnt",
    "res.hdr",
    "res.hdr_cnt",
    "res.hdr_ip",
    "res.hdr_val",
    "shdr",
    "src",
    "src_port",
    "ssl_fc",
    "status",
    "unique-id",
    "url",
    "url_param",
    "urlp",
    "var",
];

const CONVERTERS: &[&str] = &[
    "field", "ipmask", "length", "lower", "regsub", "upper", "word",
];
const CONVERTERS_PER_SAMPLE: usize = 10;

/// A whole expression: a word that gives a sample, and converters behind commas.
pub(super) fn sample(text: &str) -> Result<(Sample, Kind), Problem> {
    let (sample, kind, rest) = leading(text)?;
    if rest.is_empty() {
        return Ok((sample, kind));
    }
    Err(Problem::new(
        format!(
            "{} stands behind the expression {}",
            quoted(rest),
            quoted(&text[..text.len() - rest.len()])
        ),
        "remove it, or write a comma and a converter",
    ))
}

/// The expression that `text` begins with. Gives what stands behind it.
pub(super) fn leading(text: &str) -> Result<(Sample, Kind, &str), Problem> {
    let (call, mut rest) = call(text)?;
    let (source, mut kind) = source(&call)?;
    let mut sample = Sample::from(source);
    while let Some(behind) = rest.strip_prefix(',') {
        let (call, tail) = self::call(behind)?;
        rest = tail;
        let converter = converter(&call)?;
        kind = match converter {
            Converter::Length => Kind::Integer,
            Converter::Mask { .. } => Kind::Address,
            _ => Kind::Text,
        };
        sample.converters.push(converter);
    }
    if sample.converters.len() > CONVERTERS_PER_SAMPLE {
        return Err(Problem::new(
            format!("{} has too many converters", quoted(text)),
            format!("it may have {CONVERTERS_PER_SAMPLE}"),
        ));
    }
    Ok((sample, kind, rest))
}

/// Takes `name(arguments)` off the front. Gives what stands behind it.
pub(super) fn call(text: &str) -> Result<(Call<'_>, &str), Problem> {
    let end = text.find(['(', ',', ')', ']']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(inside) = rest.strip_prefix('(') else {
        let arguments = None;
        return Ok((Call { name, arguments }, rest));
    };
    let mut arguments = Vec::new();
    let mut argument = String::new();
    let mut quote = None;
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => argument.push(c),
            (_, '\\') => match chars.next_if(|(_, c)| matches!(c, ',' | '(' | ')' | '\'' | '"')) {
                Some((_, c)) => argument.push(c),
                None => argument.push('\\'),
            },
            (Some(_), c) => argument.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => arguments.push(std::mem::take(&mut argument)),
            (None, ')') => {
                if !argument.is_empty() || !arguments.is_empty() {
                    arguments.push(argument);
                }
                let arguments = Some(arguments);
                return Ok((Call { name, arguments }, &inside[at + 1..]));
            }
            (None, c) => argument.push(c),
        }
    }
    Err(Problem::new(
        format!("{} has no closing parenthesis", quoted(text)),
        "write it, or \\( for a parenthesis itself",
    ))
}

impl Call<'_> {
    /// The arguments, of which there have to be so many.
    fn arguments(
        &self,
        count: std::ops::RangeInclusive<usize>,
        example: &str,
    ) -> Result<&[String], Problem> {
        let arguments = self.arguments.as_deref().unwrap_or_default();
        if count.contains(&arguments.len()) {
            return Ok(arguments);
        }
        let problem = match arguments.len() {
            0 => format!("{} has nothing in parentheses behind it", quoted(self.name)),
            n => format!("{} does not take {n} arguments", quoted(self.name)),
        };
        Err(Problem::new(problem, format!("write it as {example}")))
    }
}

fn source(call: &Call<'_>) -> Result<(Source, Kind), Problem> {
    let plain = |source, kind| {
        call.arguments(0..=0, call.name)?;
        Ok((source, kind))
    };
    match call.name {
        "method" | "capture.req.method" => plain(Source::Method, Kind::Text),
        "path" => plain(Source::Path, Kind::Text),
        "query" => plain(Source::Query, Kind::Text),
        "url" | "pathq" => plain(Source::Url, Kind::Text),
        "capture.req.uri" => plain(Source::AsItCame(Source::Url.into()), Kind::Text),
        "base" => plain(Source::Base, Kind::Text),
        "req.ver" | "req_ver" => plain(Source::Version, Kind::Text),
        "src" => plain(Source::ClientAddress, Kind::Address),
        "src_port" => plain(Source::ClientPort, Kind::Integer),
        "dst" => plain(Source::ListenerAddress, Kind::Address),
        "dst_port" => plain(Source::ListenerPort, Kind::Integer),
        "ssl_fc" => plain(Source::Tls, Kind::Bool),
        "status" => plain(Source::Status, Kind::Integer),
        "unique-id" => plain(Source::RequestId, Kind::Text),
        "urlp" | "url_param" => {
            let name = &call.arguments(1..=1, "urlp(name)")?[0];
            Ok((Source::Parameter(name.clone()), Kind::Text))
        }
        "cook" | "req.cook" => {
            let name = &call.arguments(1..=1, "req.cook(name)")?[0];
            Ok((Source::Cookie(name.clone()), Kind::Text))
        }
        "var" => {
            let name = &call.arguments(1..=1, "var(txn.name)")?[0];
            Ok((Source::Variable(variable(name)?.to_owned()), Kind::Text))
        }
        name => match field(call) {
            Some(found) => found,
            None => Err(unknown(name)),
        },
    }
}

/// The words for fields; `None` if it is none of them.
fn field(call: &Call<'_>) -> Option<Result<(Source, Kind), Problem>> {
    let (side, word) = match call.name {
        "shdr" => (Side::Answer, "hdr"),
        name => match (name.strip_prefix("req."), name.strip_prefix("res.")) {
            (Some(word), _) => (Side::Request, word),
            (_, Some(word)) => (Side::Answer, word),
            (None, None) => (Side::Request, name),
        },
    };
    let (split, word) = match word.strip_prefix('f') {
        Some(word) => (Split::Lines, word),
        None => (Split::Commas, word),
    };
    let kind = match word {
        "hdr" => Kind::Text,
        "hdr_ip" => Kind::Address,
        "hdr_val" | "hdr_cnt" => Kind::Integer,
        _ => return None,
    };
    Some(named_field(call, side, split).map(|(name, nth)| {
        let source = match word {
            "hdr_cnt" => Source::FieldCount { side, name, split },
            "hdr" if side == Side::Request && name == "host" => Source::Host,
            _ => Source::Field {
                side,
                name,
                split,
                nth,
            },
        };
        (source, kind)
    }))
}

fn named_field(
    call: &Call<'_>,
    side: Side,
    split: Split,
) -> Result<(String, Option<i32>), Problem> {
    let example = match (side, split) {
        (Side::Request, Split::Commas) => "req.hdr(name)",
        (Side::Request, Split::Lines) => "req.fhdr(name)",
        (Side::Answer, Split::Commas) => "res.hdr(name)",
        (Side::Answer, Split::Lines) => "res.fhdr(name)",
    };
    let arguments = call.arguments(1..=2, example)?;
    // Any field can be looked at, also one that no rule may change.
    match field_name(&arguments[0]) {
        Ok(_) | Err(crate::rules::NotAName::IsOurs) => {}
        Err(why) => {
            return Err(Problem::new(
                format!("{} is no field", quoted(&arguments[0])),
                why.to_string(),
            ));
        }
    }
    let nth = match arguments.get(1) {
        None => None,
        Some(text) => Some(place(text)?),
    };
    Ok((arguments[0].to_ascii_lowercase(), nth))
}

/// `1` is the first, `-1` the last.
fn place(text: &str) -> Result<i32, Problem> {
    let place = text
        .parse()
        .ok()
        .filter(|n| *n != 0 && (-100..=100).contains(n));
    place.ok_or_else(|| {
        Problem::new(
            format!("{} is no place", quoted(text)),
            "1 is the first, -1 the last, up to 100",
        )
    })
}

/// The name of a variable, with the scope that every one has.
pub(super) fn variable(text: &str) -> Result<&str, Problem> {
    let name = text
        .strip_prefix("txn.")
        .or_else(|| text.strip_prefix("req."));
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let is_name = |name: &&str| !name.is_empty() && name.len() <= 100 && name.chars().all(is_part);
    match name.filter(is_name) {
        Some(_) => Ok(text),
        None => Err(Problem::new(
            format!("{} is no variable", quoted(text)),
            "write txn. or req. and a name of letters, digits, _ and .",
        )),
    }
}

fn converter(call: &Call<'_>) -> Result<Converter, Problem> {
    match call.name {
        "lower" => call.arguments(0..=0, "lower").map(|_| Converter::Lower),
        "upper" => call.arguments(0..=0, "upper").map(|_| Converter::Upper),
        "length" => call.arguments(0..=0, "length").map(|_| Converter::Length),
        "field" | "word" => {
            let example = format!("{}(1,:)", call.name);
            let arguments = call.arguments(2..=2, &example)?;
            let nth = place(&arguments[0])?;
            let delimiters = arguments[1].clone().into_bytes();
            Ok(match call.name {
                "field" => Converter::Field { nth, delimiters },
                _ => Converter::Word { nth, delimiters },
            })
        }
        "ipmask" => {
            let arguments = call.arguments(1..=2, "ipmask(24)")?;
            let length = |text: &String, most: u8| {
                let length = text.parse().ok().filter(|length: &u8| *length <= most);
                length.ok_or_else(|| {
                    Problem::new(
                        format!("{} is no prefix length", quoted(text)),
                        format!("it goes from 0 to {most}"),
                    )
                })
            };
            Ok(Converter::Mask {
                v4: length(&arguments[0], 32)?,
                v6: arguments.get(1).map_or(Ok(128), |text| length(text, 128))?,
            })
        }
        "regsub" => {
            let arguments = call.arguments(2..=3, "regsub(pattern,text,g)")?;
            let flags = arguments.get(2).map_or("", String::as_str);
            if let Some(flag) = flags.chars().find(|c| !matches!(c, 'g' | 'i')) {
                return Err(Problem::new(
                    format!("{flag:?} is no flag of regsub"),
                    "g replaces everywhere, i ignores case",
                ));
            }
            let pattern = pattern(&arguments[0], flags.contains('i'))?;
            let with = arguments[1].as_bytes();
            let substitution = Substitution::new(pattern, with, flags.contains('g'));
            Ok(Converter::Substitute(substitution))
        }
        name => {
            let problem = unknown_word(name, CONVERTERS);
            Err(Problem {
                message: format!("converter {}", problem.message),
                help: problem.help,
            })
        }
    }
}

pub(super) fn pattern(text: &str, ignores_case: bool) -> Result<Pattern, Problem> {
    Pattern::new(text, ignores_case).map_err(|why| {
        let help = match why.contains("look-around") || why.contains("backreference") {
            true => format!("{why}; write it without"),
            false => why,
        };
        Problem::new(format!("{} is no regular expression", quoted(text)), help)
    })
}

/// A word that gives no sample. Some are known, and there is something to say about them.
pub(super) fn unknown(name: &str) -> Problem {
    let message = format!("{} is unknown", quoted(name));
    if name.starts_with("ssl_") || name.starts_with("req.ssl") || name.starts_with("req_ssl") {
        return Problem::new(message, "of a client's TLS ssl_fc is all that can be asked");
    }
    match name {
        "http_auth" | "http_auth_group" => Problem::new(
            message,
            "basic_auth_secrets asks for passwords by itself; remove the line",
        ),
        "scook" | "res.cook" => Problem::new(message, "look at res.hdr(set-cookie)"),
        "rand" | "nbsrv" | "be_conn" | "fe_conn" | "srv_is_up" => Problem::new(
            message,
            "rules look at requests and answers only, not at counters and upstreams",
        ),
        _ => {
            // Also the words that say how to compare: path_beg, hdr_end.
            let compared = SAMPLES.iter().flat_map(|sample| {
                METHODS
                    .iter()
                    .map(move |(how, _)| format!("{sample}_{how}"))
            });
            let known: Vec<_> = SAMPLES
                .iter()
                .map(|s| (*s).to_owned())
                .chain(compared)
                .collect();
            let help = match nearest(name, known.iter().map(String::as_str)) {
                Some(word) => format!("did you mean {word:?}?"),
                None => "docs/custom_settings.md lists what can be looked at".to_owned(),
            };
            Problem::new(message, help)
        }
    }
}
