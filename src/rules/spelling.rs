//! Rules as text, for who wants to see what is in force: close to HAProxy's words, in which most of
//! them were written. What an `acl` line named is shown where it is used.
//!
//! Credentials are not shown: what rules write into fields that carry them is left out.

use std::fmt::{self, Display, Formatter};

use super::pattern::Piece;
use super::{
    AnswerRule, Condition, Converter, FieldAction, Matcher, OwnAnswer, Part, Pattern, Range,
    Redirect, RedirectRule, RequestAction, RequestRule, Sample, SetCookie, Side, Source, Split,
    Substitution, Target, Template, Term, Test, TextMatch,
};

/// A page is not shown for a rule.
const LONGEST_BODY: usize = 100;

/// Fields whose values let somebody in.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

impl Display for RequestRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.action, When(self.when.as_ref()))
    }
}

impl Display for RedirectRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.redirect, When(self.when.as_ref()))
    }
}

impl Display for AnswerRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.edit, When(self.when.as_ref()))
    }
}

impl Display for RequestAction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(edit) => edit.fmt(f),
            Self::SetPath(path) => write!(f, "set-path {}", Word(path)),
            Self::ReplacePath { pattern, with } => {
                write!(f, "replace-path {} {}", Word(pattern), Word(with))
            }
            Self::SetQuery(query) => write!(f, "set-query {}", Word(query)),
            Self::SetUrl(url) => write!(f, "set-uri {}", Word(url)),
            Self::ReplaceUrl { pattern, with } => {
                write!(f, "replace-uri {} {}", Word(pattern), Word(with))
            }
            Self::SetVariable { name, value } => write!(f, "set-var({name}) {}", Word(value)),
            Self::UnsetVariable(name) => write!(f, "unset-var({name})"),
            Self::Allow => f.write_str("allow"),
            Self::Deny { status } => write!(f, "deny status {status}"),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Answer(answer) => answer.fmt(f),
        }
    }
}

impl Display for FieldAction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { name, value } => write!(f, "set-header {name} {}", Value(name, value)),
            Self::Add { name, value } => write!(f, "add-header {name} {}", Value(name, value)),
            Self::Remove { name } => write!(f, "del-header {name}"),
            Self::Replace {
                name,
                split,
                pattern,
                with,
            } => {
                let word = match split {
                    Split::Lines => "replace-header",
                    Split::Commas => "replace-value",
                };
                write!(f, "{word} {name} {} {}", Word(pattern), Value(name, with))
            }
        }
    }
}

impl Display for OwnAnswer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "return status {}", self.status)?;
        if let Some(content_type) = &self.content_type {
            write!(f, " content-type {}", Word(content_type))?;
        }
        let body = self.body.to_string();
        match body.len() {
            0 => {}
            length @ LONGEST_BODY.. => write!(f, " string ({length} bytes)")?,
            _ => write!(f, " string {}", Word(body))?,
        }
        for (name, value) in &self.fields {
            write!(f, " hdr {name} {}", Value(name, value))?;
        }
        Ok(())
    }
}

impl Display for Redirect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (word, to) = match &self.to {
            Target::Location(to) => ("location", to),
            Target::Prefix(to) => ("prefix", to),
            Target::Scheme(to) => ("scheme", to),
        };
        write!(f, "redirect {word} {} code {}", Word(to), self.status)?;
        for (flag, word) in [
            (self.drops_query, " drop-query"),
            (self.appends_slash, " append-slash"),
            (self.ignores_empty, " ignore-empty"),
        ] {
            f.write_str(if flag { word } else { "" })?;
        }
        match &self.cookie {
            Some(SetCookie::Set(cookie)) => {
                let name = cookie.split('=').next().unwrap_or_default();
                write!(f, " set-cookie {}", Word(name))
            }
            Some(SetCookie::Clear(name)) => write!(f, " clear-cookie {}", Word(name)),
            None => Ok(()),
        }
    }
}

/// Behind a rule: nothing where there is no condition.
struct When<'a>(Option<&'a Condition>);

impl Display for When<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Condition { any, is_inverted }) => {
                f.write_str(if *is_inverted { " unless " } else { " if " })?;
                joined(f, any.iter(), " || ", |f, all| {
                    joined(f, all.iter(), " ", |f, t| t.fmt(f))
                })
            }
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_negated { "!" } else { "" })?;
        match &*self.any {
            [test] => test.fmt(f),
            tests => {
                f.write_str("( ")?;
                joined(f, tests.iter(), " || ", |f, test| test.fmt(f))?;
                f.write_str(" )")
            }
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(true) => f.write_str("TRUE"),
            Self::Always(false) => f.write_str("FALSE"),
            Self::Tls(true) => f.write_str("{ ssl_fc }"),
            Self::Tls(false) => f.write_str("{ ssl_fc 0 }"),
            Self::Matches(sample, matcher) => {
                write!(f, "{{ {}", Word(sample))?;
                matcher.spell(f, sample.usual())?;
                f.write_str(" }")
            }
        }
    }
}

/// How a value is compared when nothing else is said.
#[derive(PartialEq)]
enum Usual {
    Text,
    Integer,
    Address,
    Bool,
}

impl Sample {
    fn usual(&self) -> Usual {
        match (self.converters.last(), &self.source) {
            (Some(Converter::Length), _) => Usual::Integer,
            (Some(Converter::Mask { .. }), _) => Usual::Address,
            (Some(_), _) => Usual::Text,
            (None, Source::ClientAddress | Source::ListenerAddress) => Usual::Address,
            (
                None,
                Source::ClientPort
                | Source::ListenerPort
                | Source::Status
                | Source::FieldCount { .. },
            ) => Usual::Integer,
            (None, Source::Tls) => Usual::Bool,
            (None, _) => Usual::Text,
        }
    }
}

impl Matcher {
    fn spell(&self, f: &mut Formatter<'_>, usual: Usual) -> fmt::Result {
        // What is compared as usual needs no word for it.
        let how = |f: &mut Formatter<'_>, word: &str, of: Usual| match of == usual {
            true => Ok(()),
            false => write!(f, " -m {word}"),
        };
        match self {
            Self::Found => f.write_str(" -m found"),
            Self::True => how(f, "bool", Usual::Bool),
            Self::Bool(wanted) => {
                how(f, "bool", Usual::Bool)?;
                write!(f, " {}", u8::from(*wanted))
            }
            Self::Text {
                how: text,
                patterns,
                ignores_case,
            } => {
                f.write_str(if *ignores_case { " -i" } else { "" })?;
                match text {
                    TextMatch::Whole => how(f, "str", Usual::Text)?,
                    TextMatch::Begin => f.write_str(" -m beg")?,
                    TextMatch::End => f.write_str(" -m end")?,
                    TextMatch::Inside => f.write_str(" -m sub")?,
                    TextMatch::Directory => f.write_str(" -m dir")?,
                    TextMatch::Domain => f.write_str(" -m dom")?,
                }
                let mut patterns = patterns.iter();
                patterns.try_for_each(|text| write!(f, " {}", Word(Bytes(text))))
            }
            Self::Regex(patterns) => {
                let ignores_case = patterns.iter().any(|pattern| pattern.ignores_case);
                f.write_str(if ignores_case { " -i" } else { "" })?;
                f.write_str(" -m reg")?;
                let mut patterns = patterns.iter();
                patterns.try_for_each(|pattern| write!(f, " {}", Word(pattern)))
            }
            Self::Length(ranges) => {
                f.write_str(" -m len")?;
                ranges.iter().try_for_each(|range| write!(f, " {range}"))
            }
            Self::Integer(ranges) => {
                how(f, "int", Usual::Integer)?;
                ranges.iter().try_for_each(|range| write!(f, " {range}"))
            }
            Self::Address(networks) => {
                how(f, "ip", Usual::Address)?;
                networks.iter().try_for_each(|net| write!(f, " {net}"))
            }
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_negated { "ne " } else { "" })?;
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "{from}"),
            (i64::MIN, to) => write!(f, ":{to}"),
            (from, i64::MAX) => write!(f, "{from}:"),
            (from, to) => write!(f, "{from}:{to}"),
        }
    }
}

impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        self.converters.iter().try_for_each(|c| write!(f, ",{c}"))
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of = |side: &Side, split: &Split, word: &str| {
            let side = match side {
                Side::Request => "req",
                Side::Answer => "res",
            };
            let lines = if *split == Split::Lines { "f" } else { "" };
            format!("{side}.{lines}{word}")
        };
        match self {
            Self::Method => f.write_str("method"),
            Self::Path => f.write_str("path"),
            Self::Query => f.write_str("query"),
            Self::Url => f.write_str("url"),
            Self::Base => f.write_str("base"),
            Self::Host => f.write_str("req.hdr(host)"),
            Self::Version => f.write_str("req.ver"),
            Self::Parameter(name) => write!(f, "urlp({name})"),
            Self::Field {
                side,
                name,
                split,
                nth,
            } => {
                write!(f, "{}({name}", of(side, split, "hdr"))?;
                nth.iter().try_for_each(|nth| write!(f, ",{nth}"))?;
                f.write_str(")")
            }
            Self::FieldCount { side, name, split } => {
                write!(f, "{}({name})", of(side, split, "hdr_cnt"))
            }
            Self::Cookie(name) => write!(f, "req.cook({name})"),
            Self::ClientAddress => f.write_str("src"),
            Self::ClientPort => f.write_str("src_port"),
            Self::ListenerAddress => f.write_str("dst"),
            Self::ListenerPort => f.write_str("dst_port"),
            Self::Tls => f.write_str("ssl_fc"),
            Self::Status => f.write_str("status"),
            Self::RequestId => f.write_str("unique-id"),
            Self::Variable(name) => write!(f, "var({name})"),
            Self::AsItCame(source) => match &**source {
                Self::Url => f.write_str("capture.req.uri"),
                source => write!(f, "capture.req({source})"),
            },
        }
    }
}

impl Display for Converter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower => f.write_str("lower"),
            Self::Upper => f.write_str("upper"),
            Self::Field { nth, delimiters } => write!(f, "field({nth},{})", Bytes(delimiters)),
            Self::Word { nth, delimiters } => write!(f, "word({nth},{})", Bytes(delimiters)),
            Self::Substitute(substitution) => substitution.fmt(f),
            Self::Length => f.write_str("length"),
            Self::Mask { v4, v6 } => write!(f, "ipmask({v4},{v6})"),
        }
    }
}

impl Display for Substitution {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "regsub({},", self.pattern)?;
        for piece in &self.with {
            match piece {
                Piece::Literal(text) => Bytes(text).fmt(f)?,
                Piece::Group(nth) => write!(f, "\\{nth}")?,
            }
        }
        f.write_str(match (self.is_global, self.pattern.ignores_case) {
            (true, true) => ",gi)",
            (true, false) => ",g)",
            (false, true) => ",i)",
            (false, false) => ")",
        })
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Bytes(self.regex.as_str().as_bytes()).fmt(f)
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let text = Bytes(text).to_string();
                    f.write_str(&text.replace('%', "%%"))?;
                }
                Part::Sample(sample) => write!(f, "%[{sample}]")?,
            }
        }
        Ok(())
    }
}

/// A field's value, unless it may be a credential. What is made of the request alone is none of ours.
struct Value<'a>(&'a str, &'a Template);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_secret = CREDENTIALS
            .iter()
            .any(|name| self.0.eq_ignore_ascii_case(name));
        let has_text = self
            .1
            .parts
            .iter()
            .any(|part| matches!(part, Part::Text(_)));
        match is_secret && has_text {
            true => f.write_str("(not shown)"),
            false => Word(self.1).fmt(f),
        }
    }
}

/// Text on one line.
struct Bytes<'a>(&'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.0).chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// In quotes where it would not be read as one word.
struct Word<T>(T);

impl<T: Display> Display for Word<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let is_plain = !text.is_empty() && !text.contains([' ', '#', '"', '\'']);
        match (is_plain, text.contains('\'')) {
            (true, _) => f.write_str(&text),
            (false, false) => write!(f, "'{text}'"),
            (false, true) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

fn joined<T>(
    f: &mut Formatter<'_>,
    all: impl Iterator<Item = T>,
    between: &str,
    show: impl Fn(&mut Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, one) in all.enumerate() {
        f.write_str(if at == 0 { "" } else { between })?;
        show(f, one)?;
    }
    Ok(())
}
