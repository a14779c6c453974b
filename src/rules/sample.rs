//! Samples: what rules look at, and what is made of it before it is compared or written.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Facts, Side, Substitution};

/// One thing to look at, with what is made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub source: Source,
    pub converters: Vec<Converter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Method,
    Path,
    /// Without its `?`.
    Query,
    /// Path and query, as in the request line.
    Url,
    /// Host and path, one behind the other.
    Base,
    /// Lower case, without a port.
    Host,
    /// `1.0`, `1.1`.
    Version,
    /// The values of one parameter of the query, as they were written.
    Parameter(String),
    /// The values of a field. Name in lower case.
    Field {
        side: Side,
        name: String,
        split: Split,
        /// The nth of them alone, from 1, or from the end when negative.
        nth: Option<i32>,
    },
    /// How many values a field has.
    FieldCount {
        side: Side,
        name: String,
        split: Split,
    },
    /// The values of a cookie that the client sent. Name as it is written.
    Cookie(String),
    ClientAddress,
    ClientPort,
    ListenerAddress,
    ListenerPort,
    Tls,
    /// Of the answer.
    Status,
    RequestId,
    /// What a rule put under this name before.
    Variable(String),
    /// The request as it came, whatever rules changed of it.
    AsItCame(Box<Source>),
}

/// What of a field is one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What stands between two commas.
    Commas,
    /// What stands on one line.
    Lines,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Converter {
    Lower,
    Upper,
    /// What stands at this place between delimiters, from 1, or from the end when negative.
    Field {
        nth: i32,
        delimiters: Vec<u8>,
    },
    /// The same, where delimiters in a row are one.
    Word {
        nth: i32,
        delimiters: Vec<u8>,
    },
    Substitute(Substitution),
    Length,
    /// The network of this prefix length that an address lies in.
    Mask {
        v4: u8,
        v6: u8,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, [u8]>),
    Integer(i64),
    Address(IpAddr),
    Bool(bool),
}

impl From<Source> for Sample {
    fn from(source: Source) -> Self {
        Self {
            source,
            converters: Vec::new(),
        }
    }
}

impl Sample {
    /// Shows every value until `visit` answers false.
    pub fn each(&self, facts: &dyn Facts, visit: &mut dyn FnMut(Value<'_>) -> bool) {
        if self.converters.is_empty() {
            return self.source.each(facts, visit);
        }
        self.source.each(facts, &mut |value| {
            let convert = |value, converter: &Converter| converter.convert(value);
            visit(self.converters.iter().fold(value.into_owned(), convert))
        });
    }

    /// The one value that is written where only one can be: the last of a field or cookie, the first
    /// of all else.
    pub fn one(&self, facts: &dyn Facts) -> Option<Value<'static>> {
        let is_last = matches!(self.source, Source::Field { .. } | Source::Cookie(_));
        let mut found = None;
        self.each(facts, &mut |value| {
            found = Some(value.into_owned());
            is_last
        });
        found
    }
}

impl Source {
    fn each(&self, facts: &dyn Facts, visit: &mut dyn FnMut(Value<'_>) -> bool) {
        let text = Value::borrowed;
        match self {
            Source::Method => visit(text(facts.method())),
            Source::Path => visit(text(facts.path())),
            // Not found where there is none.
            Source::Query => facts.query().is_empty() || visit(text(facts.query())),
            Source::Url => visit(Value::Text(url(facts))),
            Source::Base => visit(Value::Text(Cow::Owned(
                [facts.host(), facts.path()].concat(),
            ))),
            Source::Host => facts.host().is_empty() || visit(text(facts.host())),
            Source::Version => visit(text(facts.version().as_bytes())),
            Source::Parameter(name) => {
                let parameters = facts.query().split(|b| *b == b'&');
                let mut values = parameters.filter_map(|parameter| {
                    let rest = parameter.strip_prefix(name.as_bytes())?;
                    rest.strip_prefix(b"=")
                });
                values.all(|value| visit(text(value)))
            }
            Source::Field {
                side,
                name,
                split,
                nth,
            } => {
                let Some(nth) = nth else {
                    split.each(facts, *side, name, &mut |value| {
                        visit(Value::borrowed(value))
                    });
                    return;
                };
                let skip = match usize::try_from(*nth) {
                    Ok(nth) => nth.checked_sub(1),
                    Err(_) => split
                        .count(facts, *side, name)
                        .checked_sub(nth.unsigned_abs() as usize),
                };
                let Some(mut skip) = skip else { return };
                split.each(facts, *side, name, &mut |value| {
                    if skip == 0 {
                        visit(Value::borrowed(value));
                        return false;
                    }
                    skip -= 1;
                    true
                });
                true
            }
            Source::FieldCount { side, name, split } => {
                let count = split.count(facts, *side, name);
                visit(Value::Integer(count as i64))
            }
            Source::Cookie(name) => {
                facts.each_field(Side::Request, "cookie", &mut |line| {
                    let mut values = line.split(|b| *b == b';').filter_map(|pair| {
                        let rest = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
                        rest.trim_ascii_start().strip_prefix(b"=")
                    });
                    values.all(|value| visit(Value::borrowed(value.trim_ascii())))
                });
                true
            }
            Source::ClientAddress => visit(Value::Address(facts.client().ip().to_canonical())),
            Source::ClientPort => visit(Value::Integer(facts.client().port().into())),
            Source::ListenerAddress => visit(Value::Address(facts.listener().ip().to_canonical())),
            Source::ListenerPort => visit(Value::Integer(facts.listener().port().into())),
            Source::Tls => visit(Value::Bool(facts.is_tls())),
            Source::Status => facts.status() == 0 || visit(Value::Integer(facts.status().into())),
            Source::RequestId => visit(text(facts.request_id())),
            Source::Variable(name) => facts.variable(name).is_none_or(|value| visit(text(value))),
            Source::AsItCame(source) => {
                source.each(facts.as_it_came().unwrap_or(facts), visit);
                true
            }
        };
    }

    /// Whether it is gone with the request, unless it is remembered.
    pub(super) fn is_of_request(&self) -> bool {
        match self {
            Source::Method
            | Source::Path
            | Source::Query
            | Source::Url
            | Source::Base
            | Source::Host
            | Source::Version
            | Source::Parameter(_)
            | Source::Cookie(_)
            | Source::Tls
            | Source::Variable(_) => true,
            Source::AsItCame(source) => source.is_of_request(),
            Source::Field { side, .. } | Source::FieldCount { side, .. } => *side == Side::Request,
            Source::ClientAddress
            | Source::ClientPort
            | Source::ListenerAddress
            | Source::ListenerPort
            | Source::Status
            | Source::RequestId => false,
        }
    }

    /// The field of the request that it is found in, if it is one.
    pub(super) fn field_of_request(&self) -> Option<&str> {
        match self {
            Source::Field { side, name, .. } | Source::FieldCount { side, name, .. } => {
                (*side == Side::Request).then_some(name)
            }
            Source::Cookie(_) => Some("cookie"),
            Source::AsItCame(source) => source.field_of_request(),
            _ => None,
        }
    }

    /// Whether it can be known of a TCP connection.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Source::ClientAddress
                | Source::ClientPort
                | Source::ListenerAddress
                | Source::ListenerPort
        )
    }

    /// Whether there is nothing to be known of it before there is an answer.
    pub fn is_of_answer(&self) -> bool {
        match self {
            Source::Field { side, .. } | Source::FieldCount { side, .. } => *side == Side::Answer,
            Source::AsItCame(source) => source.is_of_answer(),
            source => *source == Source::Status,
        }
    }
}

fn url(facts: &dyn Facts) -> Cow<'_, [u8]> {
    match facts.query() {
        b"" => Cow::Borrowed(facts.path()),
        query => Cow::Owned([facts.path(), b"?", query].concat()),
    }
}

impl Split {
    fn each(self, facts: &dyn Facts, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        match self {
            Split::Lines => facts.each_field(side, name, visit),
            Split::Commas => {
                facts.each_field(side, name, &mut |line| commas(line).all(&mut *visit));
            }
        }
    }

    fn count(self, facts: &dyn Facts, side: Side, name: &str) -> usize {
        let mut count = 0;
        self.each(facts, side, name, &mut |_| {
            count += 1;
            true
        });
        count
    }
}

/// The values of a field line. A comma in a quoted string is none.
pub(super) fn commas(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let comma = text.iter().position(|b| {
            if is_escaped {
                is_escaped = false;
            } else if is_quoted && *b == b'\\' {
                is_escaped = true;
            } else if *b == b'"' {
                is_quoted = !is_quoted;
            }
            *b == b',' && !is_quoted
        });
        rest = comma.map(|at| &text[at + 1..]);
        Some(text[..comma.unwrap_or(text.len())].trim_ascii())
    })
}

impl Converter {
    fn convert(&self, value: Value<'static>) -> Value<'static> {
        let text = |text: Vec<u8>| Value::Text(Cow::Owned(text));
        match self {
            Converter::Lower => text(value.text().to_ascii_lowercase()),
            Converter::Upper => text(value.text().to_ascii_uppercase()),
            Converter::Field { nth, delimiters } => {
                let all = value.text();
                let fields = all.split(|b| delimiters.contains(b));
                text(choose(fields.collect(), *nth).to_vec())
            }
            Converter::Word { nth, delimiters } => {
                let all = value.text();
                let words = all.split(|b| delimiters.contains(b));
                let words = words.filter(|word| !word.is_empty()).collect();
                text(choose(words, *nth).to_vec())
            }
            Converter::Substitute(substitution) => text(substitution.apply(&value.text())),
            Converter::Length => Value::Integer(value.text().len() as i64),
            Converter::Mask { v4, v6 } => match value.address() {
                Some(address) => {
                    let length = if address.is_ipv4() { *v4 } else { *v6 };
                    let net = ipnet::IpNet::new(address, length).map(|net| net.network());
                    Value::Address(net.unwrap_or(address))
                }
                None => text(Vec::new()),
            },
        }
    }
}

fn choose(all: Vec<&[u8]>, nth: i32) -> &[u8] {
    let distance = nth.unsigned_abs() as usize;
    let at = match nth {
        1.. => distance.checked_sub(1),
        _ => all.len().checked_sub(distance),
    };
    at.and_then(|at| all.get(at)).copied().unwrap_or_default()
}

impl<'a> Value<'a> {
    fn borrowed(text: &'a [u8]) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl Value<'_> {
    pub fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
            Value::Address(address) => Cow::Owned(address.to_string().into_bytes()),
            Value::Bool(holds) => Cow::Borrowed(if *holds { b"1" } else { b"0" }),
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Value::Integer(number) => Some(*number),
            Value::Address(_) => None,
            Value::Bool(holds) => Some((*holds).into()),
        }
    }

    /// Also of a text with a port behind the address, as some proxies write it.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Value::Address(address) => Some(*address),
            Value::Text(text) => {
                let text = std::str::from_utf8(text).ok()?;
                let with_port = || text.parse().map(|at: std::net::SocketAddr| at.ip());
                let address = text.parse().or_else(|_| with_port()).ok()?;
                Some(IpAddr::to_canonical(&address))
            }
            Value::Integer(_) | Value::Bool(_) => None,
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Value::Bool(holds) => *holds,
            value => value.integer().is_some_and(|number| number != 0),
        }
    }

    fn into_owned(self) -> Value<'static> {
        match self {
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Integer(number) => Value::Integer(number),
            Value::Address(address) => Value::Address(address),
            Value::Bool(holds) => Value::Bool(holds),
        }
    }
}
