//! One line of `basic_auth_secrets`: as HAProxy's userlists have them, or as htpasswd does.
//!
//! What is said of a wrong line never shows a word of it but the user's name where that is certain to
//! be one.

use super::User;
use crate::config::values::Problem;
use crate::password::{self, Secret};

const LINE_BYTES: usize = 1024;
const NAME_BYTES: usize = 255;

pub(super) const LINES: &str =
    "write user NAME password HASH, user NAME insecure-password PASSWORD, or NAME:HASH";

/// A line that names a user.
pub(super) struct Entry {
    pub(super) user: User,
    pub(super) has_groups: bool,
}

/// `None`: a line of groups alone.
pub(super) fn entry(line: &str) -> Result<Option<Entry>, Problem> {
    if line.len() > LINE_BYTES {
        let message = format!("has {} bytes", line.len());
        return Err(Problem::new(message, format!("it may have {LINE_BYTES}")));
    }
    match line.split([' ', '\t']).next() {
        Some("user") => userlist(&words(line)?).map(Some),
        Some("group") => Ok(None),
        _ => htpasswd(line).map(Some),
    }
}

/// `user NAME password HASH`, `user NAME insecure-password PASSWORD`, each with `groups A,B`.
fn userlist(words: &[String]) -> Result<Entry, Problem> {
    let Some(name) = words.get(1) else {
        return Err(Problem::new("names no user", LINES));
    };
    let name = user_name(name)?;
    let mut user = None;
    let mut has_groups = false;
    for pair in words[2..].chunks(2) {
        let (word, value) = (pair[0].as_str(), pair.get(1));
        let new = match (word, value) {
            ("groups", Some(_)) => {
                has_groups = true;
                continue;
            }
            ("password", Some(hash)) => User::new(name, secret(hash)?, hash),
            ("insecure-password", Some(plain)) => User::new(name, plain_secret(plain)?, plain),
            ("password" | "insecure-password" | "groups", None) => {
                return Err(Problem::new(format!("has nothing after {word}"), LINES));
            }
            // Not shown: it may be the password.
            _ => {
                return Err(Problem::new(
                    "has another word than password, insecure-password or groups",
                    format!("{LINES}; put quotes around a password with spaces"),
                ));
            }
        };
        if user.replace(new).is_some() {
            return Err(Problem::new("has two passwords", "keep one of the two"));
        }
    }
    match user {
        Some(user) => Ok(Entry { user, has_groups }),
        None => Err(Problem::new("has no password", LINES)),
    }
}

/// `NAME:HASH`, or `NAME:HASH:a comment`.
pub(super) fn htpasswd(line: &str) -> Result<Entry, Problem> {
    let mut parts = line.split(':');
    let (Some(name), Some(hash)) = (parts.next(), parts.next()) else {
        return Err(Problem::new("names no user and password", LINES));
    };
    let (name, hash) = (user_name(name)?, hash.trim());
    Ok(Entry {
        user: User::new(name, secret(hash)?, hash),
        has_groups: false,
    })
}

/// A name as it may stand before the colon of a client's credentials.
fn user_name(name: &str) -> Result<&str, Problem> {
    let help = if name.is_empty() {
        "it cannot be empty".to_owned()
    } else if name.len() > NAME_BYTES {
        format!("it has at most {NAME_BYTES} bytes")
    } else if name.contains(':') || name.contains(char::is_control) {
        "it has no colon and no control character".to_owned()
    } else {
        return Ok(name);
    };
    Err(Problem::new("has a user's name that cannot be sent", help))
}

fn secret(hash: &str) -> Result<Secret, Problem> {
    hash.parse().map_err(|why: password::Unusable| {
        Problem::new(format!("has a password that {why}"), why.help())
    })
}

pub(in crate::config) fn plain_secret(password: &str) -> Result<Secret, Problem> {
    let help = if password.is_empty() {
        "it cannot be empty".to_owned()
    } else if password.len() > password::LONGEST {
        format!("it has at most {} bytes", password::LONGEST)
    } else if password.contains(char::is_control) {
        "it has no control character".to_owned()
    } else {
        return Ok(Secret::plain(password));
    };
    Err(Problem::new("has a password that cannot be sent", help))
}

/// The words of a line as HAProxy reads them: a backslash takes the next character as it is, quotes
/// take all between them, and a word that begins with `#` ends the line.
fn words(line: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => {
                    return Err(Problem::new(
                        "ends with a backslash",
                        "write \\\\ for a backslash",
                    ));
                }
            },
            (' ' | '\t', None) => words.extend(word.take()),
            ('#', None) if word.is_none() => break,
            ('#', None) => {
                return Err(Problem::new(
                    "has a # inside a word",
                    "put quotes around the word; HAProxy takes what follows for a comment",
                ));
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Problem::new(
            "has a quote that is not closed",
            "write \\\" for a quote",
        ));
    }
    words.extend(word);
    Ok(words)
}
