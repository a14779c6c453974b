//! Lines about health checks: `option httpchk`, `http-check`, `default-server`.

use std::time::Duration;

use super::Problem;
use super::sample::pattern;
use super::settings::{Said, says_nothing, within};
use crate::config::address::{Query, path};
use crate::config::unit::{CheckVersion, Expect, Expected, HttpCheck};
use crate::config::values::{self, unknown_word};
use crate::diag::quoted;
use crate::rules::{Range, field_name};

/// What the lines about checks say. Keys of the service go over each of them.
#[derive(Debug, Default)]
pub(in crate::config) struct CheckLines {
    /// The last `option httpchk`.
    pub(in crate::config) http: Option<Said<HttpCheck>>,
    /// From `http-check send`, over `http`.
    pub(in crate::config) method: Option<String>,
    pub(in crate::config) uri: Option<Said<String>>,
    pub(in crate::config) version: Option<CheckVersion>,
    pub(in crate::config) fields: Vec<(String, String)>,
    pub(in crate::config) body: String,
    pub(in crate::config) expect: Vec<Expect>,
    /// The first `http-check` line.
    refined: Option<usize>,
    pub(in crate::config) port: Option<Said<u16>>,
    pub(in crate::config) interval: Option<Said<Duration>>,
    pub(in crate::config) rise: Option<Said<u32>>,
    pub(in crate::config) fall: Option<Said<u32>>,
    /// `slowstart`.
    pub(in crate::config) warm_up: Option<Said<Duration>>,
}

const FIELDS: usize = 50;
const EXPECTS: usize = 20;

impl CheckLines {
    /// The check that the lines describe together; `None` if they ask for no HTTP check.
    pub(in crate::config) fn http_check(&self) -> Option<HttpCheck> {
        let mut check = self.http.as_ref()?.value.clone();
        self.refine(&mut check);
        Some(check)
    }

    /// The line of an `http-check` that refines no check.
    pub(in crate::config) fn unused(&self) -> Option<usize> {
        self.refined.filter(|_| self.http.is_none())
    }

    /// Puts what `http-check` says on top.
    pub(in crate::config) fn refine(&self, check: &mut HttpCheck) {
        if let Some(method) = &self.method {
            check.method.clone_from(method);
        }
        if let Some(uri) = &self.uri {
            check.uri.clone_from(&uri.value);
        }
        if let Some(version) = self.version {
            check.version = version;
        }
        check.fields.extend(self.fields.iter().cloned());
        check.body.clone_from(&self.body);
        check.expect.extend(self.expect.iter().cloned());
    }
}

/// `option httpchk [METHOD] [URI [VERSION]]`.
pub(super) fn httpchk(check: &mut CheckLines, line: usize, words: &[&str]) -> Result<(), Problem> {
    let mut value = HttpCheck {
        method: "OPTIONS".to_owned(),
        uri: "/".to_owned(),
        version: CheckVersion::Http10,
        fields: Vec::new(),
        body: String::new(),
        expect: Vec::new(),
    };
    match words {
        [] => {}
        [uri] => value.uri = uri_of(uri)?,
        [method, uri, version @ ..] => {
            value.method = method_of(method)?;
            value.uri = uri_of(uri)?;
            // Before 2.2 fields were written behind the version: HTTP/1.1\r\nHost:\ www.
            let version = version.join(" ");
            let mut lines = version.split("\\r\\n");
            let first = lines.next().unwrap_or_default();
            if !first.is_empty() {
                value.version = version_of(first)?;
            }
            for line in lines.filter(|line| !line.is_empty()) {
                let Some((name, text)) = line.split_once(':') else {
                    return Err(Problem::new(
                        format!("option httpchk has {}, which is no field", quoted(line)),
                        "write http-check send hdr NAME VALUE",
                    ));
                };
                value.fields.push(field(name.trim(), text.trim())?);
            }
        }
    }
    check.http = Some(Said { line, value });
    Ok(())
}

/// `http-check send|expect|...`.
pub(super) fn http_check(
    check: &mut CheckLines,
    line: usize,
    words: &[&str],
) -> Result<(), Problem> {
    check.refined.get_or_insert(line);
    match words {
        ["send", rest @ ..] => send(check, line, rest),
        ["expect", rest @ ..] if check.expect.len() < EXPECTS => {
            check.expect.push(expect(rest)?);
            Ok(())
        }
        [
            "connect" | "disable-on-404" | "send-state" | "comment" | "set-var" | "unset-var",
            ..,
        ] => Err(Problem::new(
            format!("http-check {} is not done here", words[0]),
            "http-check send and http-check expect are",
        )),
        ["expect", ..] => Err(Problem::new(
            "http-check expect stands on too many lines",
            format!("there may be {EXPECTS}"),
        )),
        [word, ..] => Err(within(
            "http-check",
            unknown_word(word, &["expect", "send"]),
        )),
        [] => Err(Problem::new(
            "http-check lacks a word",
            "write send or expect",
        )),
    }
}

fn send(check: &mut CheckLines, line: usize, mut words: &[&str]) -> Result<(), Problem> {
    loop {
        words = match words {
            [] => return Ok(()),
            ["meth", method, rest @ ..] => {
                check.method = Some(method_of(method)?);
                rest
            }
            ["uri" | "uri-lf", uri, rest @ ..] => {
                let value = uri_of(uri)?;
                check.uri = Some(Said { line, value });
                rest
            }
            ["ver", version, rest @ ..] => {
                check.version = Some(version_of(version)?);
                rest
            }
            ["hdr", name, value, rest @ ..] if check.fields.len() < FIELDS => {
                check.fields.push(field(name, value)?);
                rest
            }
            ["body", body, rest @ ..] => {
                check.body = (*body).to_owned();
                rest
            }
            [word, ..] => {
                let known = ["body", "hdr", "meth", "uri", "ver"];
                return Err(match known.contains(word) {
                    true => Problem::new(
                        format!("http-check send {word} lacks a value, or there are too many"),
                        "write one behind it",
                    ),
                    false => within("http-check send", unknown_word(word, &known)),
                });
            }
        };
    }
}

/// `[!] status|rstatus|string|rstring VALUE`.
fn expect(words: &[&str]) -> Result<Expect, Problem> {
    let mut is_negated = false;
    let mut rest = words;
    while let [first, behind @ ..] = rest {
        if *first != "!" {
            break;
        }
        is_negated = !is_negated;
        rest = behind;
    }
    let (kind, value) = match rest {
        [kind, value] => (*kind, *value),
        _ => {
            return Err(Problem::new(
                "http-check expect lacks a value, or has too many",
                "write status, rstatus, string or rstring and one value; \
                 a value with spaces stands in quotes",
            ));
        }
    };
    let bare = kind.trim_start_matches('!');
    is_negated ^= (kind.len() - bare.len()) % 2 == 1;
    let what = match bare {
        "status" => Expected::Status(statuses(value)?),
        "rstatus" => Expected::StatusLike(pattern(value, false)?),
        "string" => Expected::Text(value.to_owned()),
        "rstring" => Expected::TextLike(pattern(value, false)?),
        word => {
            let known = ["rstatus", "rstring", "status", "string"];
            return Err(within("http-check expect", unknown_word(word, &known)));
        }
    };
    Ok(Expect { what, is_negated })
}

/// `200`, `200-299`, `200,204`.
fn statuses(text: &str) -> Result<Vec<Range>, Problem> {
    let one = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let status = |text: &str| text.parse().ok().filter(|n| (100..=599).contains(n));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Range {
                from,
                to,
                is_negated: false,
            }),
            _ => Err(Problem::new(
                format!("{} is no status", quoted(text)),
                "write 200, 200-299 or 200,204",
            )),
        }
    };
    text.split(',').map(one).collect()
}

fn method_of(text: &str) -> Result<String, Problem> {
    match !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new(
            format!("{} is no method", quoted(text)),
            "write one such as GET, HEAD or OPTIONS",
        )),
    }
}

fn uri_of(text: &str) -> Result<String, Problem> {
    path(text, Query::Allowed)
}

fn version_of(text: &str) -> Result<CheckVersion, Problem> {
    match text {
        "HTTP/1.0" => Ok(CheckVersion::Http10),
        "HTTP/1.1" => Ok(CheckVersion::Http11),
        _ => Err(unknown_word(text, &["HTTP/1.0", "HTTP/1.1"])),
    }
}

fn field(name: &str, value: &str) -> Result<(String, String), Problem> {
    let name = field_name(name)
        .map_err(|why| Problem::new(format!("{} is no field", quoted(name)), why.to_string()))?;
    if value.bytes().any(|b| b.is_ascii_control()) {
        return Err(Problem::new(
            format!("{} cannot be what {name} says", quoted(value)),
            "remove the control character",
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `default-server`: what holds for every upstream of the service.
pub(super) fn default_server(
    check: &mut CheckLines,
    line: usize,
    mut words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    const KNOWN: &[&str] = &["check", "fall", "inter", "port", "rise", "slowstart"];
    loop {
        words = match words {
            [] => return Ok(()),
            ["inter", text, rest @ ..] => {
                let range = Duration::from_millis(100)..=Duration::from_hours(1);
                let value =
                    values::duration_in(text, range).map_err(|problem| within("inter", problem))?;
                check.interval = Some(Said { line, value });
                rest
            }
            ["rise", text, rest @ ..] => {
                let value =
                    values::count(text, 1..=100).map_err(|problem| within("rise", problem))?;
                check.rise = Some(Said { line, value });
                rest
            }
            ["fall", text, rest @ ..] => {
                let value =
                    values::count(text, 1..=100).map_err(|problem| within("fall", problem))?;
                check.fall = Some(Said { line, value });
                rest
            }
            ["slowstart", text, rest @ ..] => {
                let range = Duration::ZERO..=Duration::from_hours(1);
                let value = values::duration_in(text, range)
                    .map_err(|problem| within("slowstart", problem))?;
                check.warm_up = Some(Said { line, value });
                rest
            }
            ["port", text, rest @ ..] => {
                let value = values::port(text).map_err(|problem| within("port", problem))?;
                check.port = Some(Said { line, value });
                rest
            }
            ["check", rest @ ..] => rest,
            ["weight", text, rest @ ..] => {
                values::count(text, 0..=256).map_err(|problem| within("weight", problem))?;
                warnings.push(says_nothing(
                    "default-server weight",
                    "all upstreams weigh the same unless their keys say weight=N",
                ));
                rest
            }
            [
                "init-addr" | "resolvers" | "resolve-prefer" | "fastinter" | "downinter",
                _,
                rest @ ..,
            ] => {
                warnings.push(says_nothing(
                    &format!("default-server {}", words[0]),
                    "inter is all that paces checks, and addresses are keys",
                ));
                rest
            }
            ["maxconn" | "minconn" | "maxqueue", ..] => {
                return Err(Problem::new(
                    format!("default-server {} is not done here", words[0]),
                    "set max_connections and max_queue, which hold for the service as a whole",
                ));
            }
            [word @ ("inter" | "rise" | "fall" | "slowstart" | "port" | "weight")] => {
                return Err(Problem::new(
                    format!("default-server {word} lacks a value"),
                    "write one behind it",
                ));
            }
            [word, ..] => return Err(within("default-server", unknown_word(word, KNOWN))),
        };
    }
}
