//! Lines of HAProxy's `global` section about TLS: what they ask of handshakes with clients is carried over.

use super::Problem;
use super::settings::{Settings, one_of, say, says_nothing, too_many, within};
use super::words::Line;
use crate::config::ciphers::{self, Chosen};
use crate::config::unit::MinVersion;
use crate::diag::quoted;
use crate::tls::suites::{Suites, served_beyond_rustls};

pub(super) const KNOWN: &[&str] = &[CIPHERS, CIPHERSUITES, OPTIONS];

const CIPHERS: &str = "ssl-default-bind-ciphers";
const CIPHERSUITES: &str = "ssl-default-bind-ciphersuites";
const OPTIONS: &str = "ssl-default-bind-options";

/// What does no harm, since it is so already or about something else.
const SAY_NOTHING: &[(&str, &str)] = &[
    ("ca-base", "certificates are keys: certs/<name>"),
    ("crt-base", "certificates are keys: certs/<name>"),
    ("ssl-dh-param-file", "no suite with DHE is served"),
    ("ssl-engine", "keys are used in this process"),
    ("ssl-mode-async", "keys are used in this process"),
    (
        "ssl-load-extra-files",
        "a certificate's key has all of its files",
    ),
    ("ssl-server-verify", "each service says it: upstream_tls"),
    ("tune.ssl.default-dh-param", "no suite with DHE is served"),
];

/// What would not be obeyed, and why.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "maxsslconn",
        "max_connections limits connections, and max_handshakes handshakes",
    ),
    (
        "maxsslrate",
        "max_handshakes limits the handshakes under way",
    ),
    (
        "ssl-default-bind-curves",
        "X25519MLKEM768, X25519, P-256 and P-384 are what is taken; remove the line",
    ),
    (
        "ssl-default-bind-sigalgs",
        "SHA-256 and above are what is taken; remove the line",
    ),
    (
        "ssl-default-bind-client-sigalgs",
        "SHA-256 and above are what is taken; remove the line",
    ),
];

pub(super) fn is_tls(word: &str) -> bool {
    word.starts_with("ssl-")
        || word.starts_with("tune.ssl.")
        || matches!(word, "ca-base" | "crt-base" | "maxsslconn" | "maxsslrate")
}

/// A line that begins with a word of [`is_tls`].
pub(super) fn line(
    settings: &mut Settings,
    line: &Line,
    words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let number = line.number;
    match *words {
        [CIPHERS, text] => {
            let suites = suites(CIPHERS, text, warnings)?;
            say(&mut settings.ciphers, number, suites, CIPHERS, warnings);
        }
        [CIPHERSUITES, text] => {
            let suites = suites(CIPHERSUITES, text, warnings)?;
            if !suites.without(Suites::tls13()).is_empty() {
                return Err(Problem::new(
                    format!(
                        "{CIPHERSUITES} {} has suites of older versions",
                        quoted(text)
                    ),
                    format!("it names suites of TLS 1.3; write the others into {CIPHERS}"),
                ));
            }
            let place = &mut settings.ciphersuites;
            say(place, number, suites, CIPHERSUITES, warnings);
        }
        [OPTIONS, ref options @ ..] if !options.is_empty() => {
            if let Some(min) = min_version(options, warnings)? {
                say(&mut settings.min_version, number, min, OPTIONS, warnings);
            }
            if options.contains(&"no-tls-tickets") {
                let place = &mut settings.ticket_lifetime;
                say(place, number, None, "no-tls-tickets", warnings);
            }
        }
        [word @ (CIPHERS | CIPHERSUITES), _, more, ..] => return Err(too_many(word, more)),
        [word @ (CIPHERS | CIPHERSUITES | OPTIONS)] => {
            return Err(Problem::new(
                format!("{word} lacks a value"),
                "docs/custom_settings.md lists what is understood",
            ));
        }
        [word, ..] => return other(word, warnings),
        [] => {}
    }
    Ok(())
}

fn other(word: &str, warnings: &mut Vec<Problem>) -> Result<(), Problem> {
    let said = |list: &[(&str, &'static str)]| {
        let found = list.iter().find(|(known, _)| *known == word);
        found.map(|(_, why)| *why)
    };
    if let Some(why) = said(SAY_NOTHING) {
        warnings.push(says_nothing(word, why));
        return Ok(());
    }
    if let Some(why) = said(NOT_HERE) {
        return Err(Problem::new(
            format!("{} is not done here", quoted(word)),
            why,
        ));
    }
    if word.starts_with("ssl-default-server-") {
        warnings.push(says_nothing(word, "each service says it: upstream_tls"));
        return Ok(());
    }
    if word.starts_with("tune.ssl.") {
        warnings.push(says_nothing(word, "it is about another program's buffers"));
        return Ok(());
    }
    let all = KNOWN.iter().copied();
    let all = all.chain(SAY_NOTHING.iter().chain(NOT_HERE).map(|(known, _)| *known));
    let help = match crate::diag::nearest(word, all) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "docs/custom_settings.md lists what is understood".to_owned(),
    };
    Err(Problem::new(format!("{} is unknown", quoted(word)), help))
}

fn suites(word: &str, text: &str, warnings: &mut Vec<Problem>) -> Result<Suites, Problem> {
    let Chosen { suites, left_out } = ciphers::read(text).map_err(|p| within(word, p))?;
    if !left_out.is_empty() {
        let message = format!("{word} {}", ciphers::not_here(&left_out));
        warnings.push(Problem::new(message, ciphers::NOT_HERE_HELP));
    }
    ciphers::servable(text, suites, served_beyond_rustls()).map_err(|p| within(word, p))
}

/// The lowest version that the options leave; `None`: they leave it as it is.
fn min_version(
    options: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<Option<MinVersion>, Problem> {
    let mut min = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let raised = match *option {
            "ssl-min-ver" => {
                let text = options.next().copied().unwrap_or_default();
                let min = ciphers::min_version(text);
                Some(min.map_err(|p| within("ssl-min-ver", p))?)
            }
            // Tickets are the line's own matter.
            "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "tls-tickets" | "no-tls-tickets" => None,
            "no-tlsv12" | "force-tlsv13" => Some(MinVersion::Tls13),
            "prefer-client-ciphers" | "strict-sni" => {
                let why = match *option {
                    "strict-sni" => "settings/ssl_unknown_name is what says it: reject",
                    _ => "the strongest suite that both have is taken",
                };
                warnings.push(says_nothing(option, why));
                None
            }
            "no-tlsv13" | "force-tlsv12" | "ssl-max-ver" => {
                return Err(Problem::new(
                    format!("{option} would do without TLS 1.3, which is always on"),
                    "remove the word: who can do no more speaks TLS 1.2",
                ));
            }
            "force-sslv3" | "force-tlsv10" | "force-tlsv11" => {
                let version = option.trim_start_matches("force-");
                return Err(Problem::new(
                    format!("{option} asks for a version that nobody is served by: {version}"),
                    "TLS 1.2 and 1.3 are served; remove the word",
                ));
            }
            _ => {
                const WORDS: &[&str] = &[
                    "ssl-min-ver",
                    "no-sslv3",
                    "no-tlsv10",
                    "no-tlsv11",
                    "no-tlsv12",
                    "force-tlsv13",
                    "no-tls-tickets",
                    "prefer-client-ciphers",
                ];
                return Err(one_of(OPTIONS, &[option], WORDS));
            }
        };
        min = min.max(raised);
    }
    Ok(min)
}
