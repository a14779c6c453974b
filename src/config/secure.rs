//! What holds clients to https: where plain requests are sent, and what browsers are told to remember.

use std::time::Duration;

use super::fields::Fields;
use super::values::{self, Problem};
use crate::diag::quoted;

/// `force_ssl`, `force_ssl_port`, `force_ssl_code` and `hsts`, of a service or of the balancer. What is
/// not set is the balancer's, and then as the default says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secure {
    /// `force_ssl`: plain requests are sent to https. Default false.
    pub force: Option<bool>,
    /// `force_ssl_port`: where to. Default 443.
    pub port: Option<u16>,
    /// `force_ssl_code`: with which status. Default 308.
    pub code: Option<ForceCode>,
    /// `hsts`: what answers over TLS tell browsers. Default nothing.
    pub hsts: Option<Hsts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForceCode {
    /// `308`, which keeps the method.
    #[default]
    Always308,
    /// `301`: for GET and HEAD, as clients know it that were made before 308 was. Others get 308: a 301
    /// would make a GET of a POST.
    Get301,
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// Not told, whatever the balancer says.
    Off,
    /// The field's value.
    Told(Box<str>),
}

impl Secure {
    /// What `fields` say, over `defaults`.
    pub(super) fn read(fields: &mut Fields<'_>, defaults: Self) -> Self {
        Self {
            force: fields.read("force_ssl", values::boolean).or(defaults.force),
            port: fields
                .read("force_ssl_port", values::port)
                .or(defaults.port),
            code: fields.read("force_ssl_code", code).or(defaults.code),
            hsts: fields.read("hsts", hsts).or(defaults.hsts),
        }
    }

    /// As the balancer's: what is off is not there, since it goes over nothing.
    pub(super) fn of_all(self) -> Self {
        Self {
            force: self.force.filter(|on| *on),
            hsts: self.hsts.filter(|hsts| *hsts != Hsts::Off),
            ..self
        }
    }

    /// What is told where these go over `all`.
    pub fn hsts<'a>(&'a self, all: &'a Self) -> Option<&'a str> {
        match self.hsts.as_ref().or(all.hsts.as_ref())? {
            Hsts::Off => None,
            Hsts::Told(value) => Some(value),
        }
    }

    /// As it is written, for dumps.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let code = self.code.map(|code| match code {
            ForceCode::Always308 => "308".to_owned(),
            ForceCode::Get301 => "301".to_owned(),
        });
        let hsts = self.hsts.as_ref().map(|hsts| match hsts {
            Hsts::Off => "off".to_owned(),
            Hsts::Told(value) => value.to_string(),
        });
        [
            ("force_ssl", self.force.map(|on| on.to_string())),
            ("force_ssl_port", self.port.map(|port| port.to_string())),
            ("force_ssl_code", code),
            ("hsts", hsts),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

fn code(text: &str) -> Result<ForceCode, Problem> {
    match text {
        "308" => Ok(ForceCode::Always308),
        "301" => Ok(ForceCode::Get301),
        _ => Err(Problem::new(
            format!("{} is neither 308 nor 301", quoted(text)),
            "write 308, or 301 for clients that do not know it",
        )),
    }
}

/// A time, then `includeSubDomains` and `preload` as one likes.
fn hsts(text: &str) -> Result<Hsts, Problem> {
    const LONGEST: Duration = Duration::from_hours(3650 * 24);
    /// What browsers ask of who wants to be in their lists.
    const PRELOAD: Duration = Duration::from_hours(365 * 24);
    let mut words = text
        .split([' ', ',', ';', '\t'])
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    if matches!(values::boolean(first), Ok(false)) && text.trim() == first {
        return Ok(Hsts::Off);
    }
    // As in the field itself, a bare number counts seconds.
    let age = match first.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => values::duration(first).ok(),
    };
    let Some(age) = age.filter(|age| *age <= LONGEST) else {
        return Err(Problem::new(
            format!("{} is no time up to 3650d", quoted(first)),
            "write how long browsers remember it, such as 365d, then includeSubDomains and preload \
             if wanted; or off",
        ));
    };
    let mut value = format!("max-age={}", age.as_secs());
    let (mut all_below, mut preload) = (false, false);
    for word in words {
        let (is_said, directive) = match word.to_ascii_lowercase().as_str() {
            "includesubdomains" => (&mut all_below, "; includeSubDomains"),
            "preload" => (&mut preload, "; preload"),
            _ => {
                return Err(values::unknown_word(
                    word,
                    &["includeSubDomains", "preload"],
                ));
            }
        };
        if !std::mem::replace(is_said, true) {
            value += directive;
        }
    }
    if preload && (!all_below || age < PRELOAD) {
        return Err(Problem::new(
            "preload is for 365d or more with includeSubDomains",
            "browsers take nothing less into their lists: write 365d includeSubDomains preload",
        ));
    }
    Ok(Hsts::Told(value.into()))
}
