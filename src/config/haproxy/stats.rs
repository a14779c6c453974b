//! `stats` lines: the page in the balancer's own port.

use super::Problem;
use super::settings::{one_of, says_nothing};
use crate::diag::quoted;

/// What `stats` lines say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct StatsLines {
    /// Any line turns it on.
    pub(in crate::config) is_on: bool,
    pub(in crate::config) uri: String,
    pub(in crate::config) realm: Option<String>,
    /// Names and passwords.
    pub(in crate::config) users: Vec<(String, String)>,
}

impl Default for StatsLines {
    fn default() -> Self {
        Self {
            is_on: false,
            // HAProxy's is this with `?stats`; a query says nothing here.
            uri: "/haproxy".to_owned(),
            realm: None,
            users: Vec::new(),
        }
    }
}

const USERS: usize = 100;

pub(super) fn line(
    stats: &mut StatsLines,
    words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    match words {
        ["enable"] => {}
        ["uri", uri] if uri.starts_with('/') && uri.bytes().all(|b| (0x21..0x7f).contains(&b)) => {
            let path = uri.split_once('?').map_or(*uri, |(path, _)| path);
            stats.uri = path.to_owned();
        }
        ["uri", uri] => {
            return Err(Problem::new(
                format!("stats uri {} is no path", quoted(uri)),
                "write it with a slash in front",
            ));
        }
        ["auth", user] => match user.split_once(':') {
            Some((name, password)) if !name.is_empty() && stats.users.len() < USERS => {
                stats.users.push((name.to_owned(), password.to_owned()));
            }
            // Not shown: it may be a password.
            _ => {
                return Err(Problem::new(
                    "stats auth is no user",
                    format!("write NAME:PASSWORD, at most {USERS} of them"),
                ));
            }
        },
        // Nor is what may be the rest of one.
        ["auth", ..] => {
            return Err(Problem::new(
                "stats auth is no user",
                "write NAME:PASSWORD, with a backslash before a space in it",
            ));
        }
        ["realm", realm] if is_quotable(realm) => stats.realm = Some((*realm).to_owned()),
        // A line for a page that shows no version.
        ["hide-version"] => {}
        [
            "refresh" | "show-legends" | "show-node" | "show-desc" | "show-modules" | "scope",
            ..,
        ] => {
            warnings.push(says_nothing(
                &format!("stats {}", words[0]),
                "the page shows the same to everybody",
            ));
        }
        ["admin" | "http-request" | "bind-process", ..] => {
            return Err(Problem::new(
                format!("stats {} is not done here", words[0]),
                "the page only shows; stats auth asks for passwords",
            ));
        }
        _ => {
            let known = ["auth", "enable", "hide-version", "realm", "refresh", "uri"];
            return Err(one_of("stats", words, &known));
        }
    }
    stats.is_on = true;
    Ok(())
}

/// Whether a text can stand between quotes in a field.
fn is_quotable(text: &str) -> bool {
    text.bytes()
        .all(|b| (0x20..0x7f).contains(&b) && !matches!(b, b'"' | b'\\'))
}
