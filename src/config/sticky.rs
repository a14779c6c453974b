//! What keeps a client on one upstream: `cookie`, `cookie_value`, `sticky_session_cookie`.
//!
//! `cookie` speaks HAProxy's language, since that is what Kontena's keys hold. A word that would have
//! no effect is refused rather than passed over: who wrote it counts on it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::Fields;
use super::unit::Compat;
use super::values::{self, Problem, unknown_word};
use crate::diag::quoted;

/// How clients of an HTTP service are kept on one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// `cookie`: a cookie that names the upstream.
    Cookie(StickyCookie),
    /// `sticky_session_cookie`: the upstream follows from the value of a cookie of the application's.
    Hash { cookie: String },
}

/// A cookie that names the upstream of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// A token; names of cookies are compared as they are.
    pub name: String,
    pub mode: CookieMode,
    /// With `insert` the application does not see the cookie. In every mode the application's own
    /// cookie of this name is kept from a client that is where its cookie says.
    pub indirect: bool,
    /// Answers that set the cookie are marked `Cache-Control: private`.
    pub nocache: bool,
    /// Inserted into answers to POST alone.
    pub postonly: bool,
    /// A cookie of this name that the application sets stands.
    pub preserve: bool,
    /// A cookie that was not seen for longer names nobody.
    pub maxidle: Option<Duration>,
    /// A cookie that was given out longer ago names nobody.
    pub maxlife: Option<Duration>,
    pub value: CookieValue,
    /// What stands behind the value of an inserted cookie, from its first `;` on.
    pub attributes: String,
    /// `Secure` is added for clients that came by TLS.
    pub secure_on_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieMode {
    /// The application sets it; it is only read.
    Passive,
    /// It is ours: set where it is missing or wrong.
    Insert,
    /// The upstream stands in front of the value of the application's cookie.
    Prefix,
    /// The upstream stands in the place of the value that the application set.
    Rewrite,
}

/// What a cookie calls an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieValue {
    /// Its name.
    #[default]
    Name,
    /// A fingerprint of service and name, which does not show how upstreams are called.
    Opaque,
}

/// Words behind the name. Those with an argument are followed by it.
const WORDS: &[&str] = &[
    "insert", "prefix", "rewrite", "indirect", "nocache", "postonly", "preserve", "httponly",
    "secure", "domain", "maxidle", "maxlife", "dynamic", "attr",
];

/// From one second to ten years.
const AGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 3600);

/// The name that an empty `cookie` stands for.
fn default_name(compat: Compat) -> &'static str {
    match compat {
        Compat::Pointsman => "LB_SERVERID",
        Compat::Kontena => "KONTENA_SERVERID",
    }
}

/// What the fields of an HTTP service say. `None`: nothing, or refused and reported.
pub(super) fn sticky(fields: &mut Fields<'_>, compat: Compat) -> Option<Sticky> {
    let value = fields.read("cookie_value", cookie_value);
    // Kontena's agent writes the key empty to ask for the default cookie.
    let is_default = fields.place("cookie").is_some() && !fields.is_set("cookie");
    let cookie = if is_default {
        Some(Sticky::Cookie(StickyCookie::usual(default_name(compat))))
    } else {
        fields.read("cookie", written_directive)
    };
    let hashed = fields.read("sticky_session_cookie", |text| {
        cookie_name(text).map(|name| Sticky::Hash {
            cookie: name.to_owned(),
        })
    });
    if hashed.is_some() && fields.place("cookie").is_some() {
        fields.error(
            "bad-value",
            "sticky_session_cookie",
            "sticky_session_cookie cannot be had together with cookie",
            "keep one of them: a client sticks by one cookie",
        );
        return None;
    }
    match (cookie, value) {
        (Some(Sticky::Cookie(cookie)), Some(CookieValue::Name))
            if cookie.value == CookieValue::Opaque =>
        {
            fields.error(
                "bad-value",
                "cookie_value",
                "cookie_value \"name\" says the opposite of dynamic in cookie",
                "remove one of the two",
            );
            None
        }
        (Some(Sticky::Cookie(cookie)), value) => Some(Sticky::Cookie(StickyCookie {
            value: value.unwrap_or(cookie.value),
            ..cookie
        })),
        (cookie, value) => {
            if value.is_some() && fields.place("cookie").is_none() {
                fields.warn(
                    "unused-field",
                    "cookie_value",
                    "cookie_value says nothing without cookie".to_owned(),
                    "write cookie, empty for the usual one, or remove cookie_value",
                );
            }
            cookie.or(hashed)
        }
    }
}

/// The directive of HAProxy whose words these are, with or without `cookie` in front:
/// `SRV insert indirect nocache`.
pub fn directive(words: &[&str]) -> Result<Sticky, Problem> {
    let words = words.strip_prefix(&["cookie"]).unwrap_or(words);
    let Some((name, options)) = words.split_first() else {
        return Err(Problem::new(
            "names no cookie",
            "write its name, as in \"cookie SRV insert indirect nocache\"",
        ));
    };
    let mut said = Said::default();
    let mut options = options.iter();
    while let Some(word) = options.next() {
        said.take(word, &mut options)?;
    }
    said.cookie(cookie_name(name)?).map(Sticky::Cookie)
}

/// The words of a directive as they come.
#[derive(Default)]
struct Said<'a> {
    mode: Option<&'a str>,
    flags: Vec<&'a str>,
    domains: Vec<&'a str>,
    attrs: Vec<&'a str>,
    maxidle: Option<Duration>,
    maxlife: Option<Duration>,
}

impl<'a> Said<'a> {
    fn take(
        &mut self,
        word: &'a str,
        rest: &mut std::slice::Iter<'_, &'a str>,
    ) -> Result<(), Problem> {
        let mut argument = |example: &str| {
            rest.next().copied().ok_or_else(|| {
                Problem::new(
                    format!("has nothing behind {word}"),
                    format!("write what is meant, as in \"{word} {example}\""),
                )
            })
        };
        match word {
            "insert" | "prefix" | "rewrite" => match self.mode {
                Some(other) if other != word => {
                    return Err(Problem::new(
                        format!("says both {other} and {word}"),
                        "keep one of them",
                    ));
                }
                _ => self.mode = Some(word),
            },
            "domain" => self.domains.push(domain(argument(".example.com")?)?),
            "attr" => self.attrs.push(attribute(argument("SameSite=Lax")?)?),
            "maxidle" => self.maxidle = Some(age(word, argument("30m")?)?),
            "maxlife" => self.maxlife = Some(age(word, argument("8h")?)?),
            flag if WORDS.contains(&flag) => self.flags.push(flag),
            "path" => {
                return Err(Problem::new(
                    "\"path\" is unknown",
                    "write it as an attribute: attr \"Path=/app\"",
                ));
            }
            _ => return Err(unknown_word(word, WORDS)),
        }
        Ok(())
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    fn cookie(self, name: &str) -> Result<StickyCookie, Problem> {
        let mode = match self.mode {
            Some("insert") => CookieMode::Insert,
            Some("prefix") => CookieMode::Prefix,
            Some(_) => CookieMode::Rewrite,
            None => CookieMode::Passive,
        };
        self.refuse_what_has_no_effect(mode)?;
        let has_path = self.attrs.iter().any(|attr| {
            let name = attr.split('=').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("path")
        });
        let mut attributes = String::new();
        if mode == CookieMode::Insert {
            if !has_path {
                attributes += "; path=/";
            }
            for domain in &self.domains {
                attributes += &format!("; domain={domain}");
            }
            for (flag, attribute) in [("httponly", "; HttpOnly"), ("secure", "; Secure")] {
                attributes += if self.has(flag) { attribute } else { "" };
            }
            for attr in &self.attrs {
                attributes += &format!("; {attr}");
            }
        }
        Ok(StickyCookie {
            name: name.to_owned(),
            mode,
            indirect: self.has("indirect"),
            nocache: self.has("nocache"),
            postonly: self.has("postonly"),
            preserve: self.has("preserve"),
            maxidle: self.maxidle,
            maxlife: self.maxlife,
            value: if self.has("dynamic") {
                CookieValue::Opaque
            } else {
                CookieValue::Name
            },
            attributes,
            secure_on_tls: false,
        })
    }

    fn refuse_what_has_no_effect(&self, mode: CookieMode) -> Result<(), Problem> {
        let inserts = [
            ("postonly", self.has("postonly")),
            ("httponly", self.has("httponly")),
            ("secure", self.has("secure")),
            ("domain", !self.domains.is_empty()),
            ("attr", !self.attrs.is_empty()),
            ("maxidle", self.maxidle.is_some()),
            ("maxlife", self.maxlife.is_some()),
        ];
        if mode != CookieMode::Insert
            && let Some((word, _)) = inserts.iter().find(|(_, said)| *said)
        {
            return Err(Problem::new(
                format!("has {word}, which says nothing without insert"),
                format!("remove {word}: the application decides on a cookie that it sets itself"),
            ));
        }
        if mode == CookieMode::Rewrite && self.has("indirect") {
            return Err(Problem::new(
                "says both rewrite and indirect",
                "remove indirect: nothing would be left to rewrite",
            ));
        }
        if self.has("preserve") && mode != CookieMode::Insert && !self.has("indirect") {
            return Err(Problem::new(
                "has preserve, which says nothing without insert or indirect",
                "remove preserve",
            ));
        }
        Ok(())
    }
}

impl StickyCookie {
    /// The cookie of who asks for no particular one.
    fn usual(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: CookieMode::Insert,
            indirect: true,
            nocache: true,
            postonly: false,
            preserve: false,
            maxidle: None,
            maxlife: None,
            value: CookieValue::Name,
            attributes: "; path=/; HttpOnly; SameSite=Lax".to_owned(),
            secure_on_tls: true,
        }
    }
}

/// For dumps: equal if the cookies are.
impl fmt::Display for StickyCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            CookieMode::Passive => "",
            CookieMode::Insert => " insert",
            CookieMode::Prefix => " prefix",
            CookieMode::Rewrite => " rewrite",
        };
        write!(f, "{}{mode}", self.name)?;
        for (flag, word) in [
            (self.indirect, " indirect"),
            (self.nocache, " nocache"),
            (self.postonly, " postonly"),
            (self.preserve, " preserve"),
            (self.value == CookieValue::Opaque, " dynamic"),
        ] {
            f.write_str(if flag { word } else { "" })?;
        }
        for (word, age) in [("maxidle", self.maxidle), ("maxlife", self.maxlife)] {
            if let Some(age) = age {
                write!(f, " {word} {}", values::spell(age))?;
            }
        }
        f.write_str(&self.attributes)?;
        f.write_str(if self.secure_on_tls {
            "; Secure on TLS"
        } else {
            ""
        })
    }
}

/// The key's text, which is one directive.
fn written_directive(text: &str) -> Result<Sticky, Problem> {
    let words = split(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [word] = words[..]
        && values::boolean(word).is_ok()
    {
        return Err(Problem::new(
            format!("{} is no cookie", quoted(word)),
            "write the key empty for the usual cookie, remove it for none",
        ));
    }
    directive(&words)
}

/// Words between white space; quotes and backslashes as in HAProxy.
fn split(text: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => {
                    return Err(Problem::new(
                        "ends with a backslash",
                        "write \\\\ for a backslash",
                    ));
                }
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(Problem::new(
            format!("has a {open} that is not closed"),
            "close it, or write a backslash in front of it",
        ));
    }
    words.extend(word);
    Ok(words)
}

fn cookie_value(text: &str) -> Result<CookieValue, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "name" => Ok(CookieValue::Name),
        "opaque" => Ok(CookieValue::Opaque),
        _ => Err(unknown_word(text, &["name", "opaque"])),
    }
}

fn cookie_name(text: &str) -> Result<&str, Problem> {
    const NAME_BYTES: usize = 128;
    let stranger = |c: &char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(*c);
    let help = match text.chars().find(stranger) {
        _ if text.is_empty() => "it cannot be empty".to_owned(),
        _ if text.len() > NAME_BYTES => format!("it has at most {NAME_BYTES} characters"),
        Some(c) => format!("{c:?} cannot be in it; letters, digits, - _ and . can"),
        None => return Ok(text),
    };
    Err(Problem::new(
        format!("{} is no name of a cookie", quoted(text)),
        help,
    ))
}

fn domain(text: &str) -> Result<&str, Problem> {
    let labels = text.strip_prefix('.').unwrap_or(text).split('.');
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut labels = labels.map(|label| !label.is_empty() && label.chars().all(is_part));
    if text.len() <= 253 && labels.all(|good| good) {
        return Ok(text);
    }
    Err(Problem::new(
        format!("has the domain {}, which is no domain", quoted(text)),
        "write a name such as example.com, without scheme and port",
    ))
}

fn attribute(text: &str) -> Result<&str, Problem> {
    const BYTES: usize = 1024;
    let is_good = |c: char| (' '..='~').contains(&c) && c != ';';
    let help = if text.trim().is_empty() {
        "it cannot be empty".to_owned()
    } else if text.len() > BYTES {
        format!("it has at most {BYTES} characters")
    } else if let Some(c) = text.chars().find(|c| !is_good(*c)) {
        format!("{c:?} cannot be in it; write attr once for each attribute")
    } else {
        return Ok(text);
    };
    Err(Problem::new(
        format!("has the attribute {}, which is none", quoted(text)),
        help,
    ))
}

/// A number without a unit is seconds here, as in HAProxy.
fn age(word: &str, text: &str) -> Result<Duration, Problem> {
    let is_bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unit = if is_bare { "s" } else { "" };
    values::duration_in(&format!("{text}{unit}"), AGE).map_err(|problem| Problem {
        message: format!("{word} {}", problem.message),
        ..problem
    })
}

#[cfg(test)]
mod tests;
