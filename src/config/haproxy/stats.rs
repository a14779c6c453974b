//! `stats` lines: the page in the balancer's own port.

use std::time::Duration;

use super::Problem;
use super::settings::{one_of, says_nothing, within};
use crate::config::values;
use crate::diag::quoted;

/// What `stats` lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Any line turns it on.
    pub is_on: bool,
    /// `None`: HAProxy's `/haproxy?stats`.
    pub uri: Option<String>,
    pub realm: Option<String>,
    pub refresh: Option<Duration>,
    pub hide_version: bool,
    /// Names and passwords; without any the page is open.
    pub users: Vec<(String, String)>,
}

const USERS: usize = 100;

pub(super) fn line(
    stats: &mut Stats,
    words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    match words {
        ["enable"] => {}
        ["uri", uri] if uri.starts_with('/') && uri.bytes().all(|b| (0x21..0x7f).contains(&b)) => {
            stats.uri = Some((*uri).to_owned());
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
        ["realm", realm] => stats.realm = Some((*realm).to_owned()),
        ["refresh", text] => {
            let second = Duration::from_secs(1);
            // A bare number is seconds, unlike everywhere else.
            let text = match text.bytes().all(|b| b.is_ascii_digit()) {
                true => &format!("{text}s"),
                false => *text,
            };
            let value = values::duration_in(text, second..=86_400 * second)
                .map_err(|problem| within("stats refresh", problem))?;
            stats.refresh = Some(value);
        }
        ["hide-version"] => stats.hide_version = true,
        [
            "show-legends" | "show-node" | "show-desc" | "show-modules" | "scope",
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
