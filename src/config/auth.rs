//! Who may come in: the passwords a service asks for.
//!
//! `basic_auth_secrets` has a user on each line, as HAProxy's userlists write them or as htpasswd does.
//! A service that says anything about authentication never goes live without a user to authenticate:
//! whatever is wrong here refuses it. No message shows a password or a hash, nor a word that could be
//! one because its line is not what it should be.

mod htpasswd;
#[cfg(test)]
mod tests;
mod userlist;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::fields::Fields;
use super::unit::Mode;
use super::values::{self, Problem};
use crate::names::ServiceName;
use crate::password::Secret;
pub(super) use userlist::plain_secret;
use userlist::{Entry, LINES, entry};

const SECRETS: &str = "basic_auth_secrets";
const REALM: &str = "basic_auth_realm";
const FORWARD: &str = "basic_auth_forward";
pub(super) const AUTH_FIELDS: &[&str] = &[SECRETS, REALM, FORWARD];

const USERS_PER_SERVICE: usize = 10_000;
const REALM_BYTES: usize = 200;

/// The authentication of one service. Has at least one user.
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    pub users: Users,
    /// `basic_auth_realm`, default the service's name: what a browser shows.
    pub realm: String,
    /// `basic_auth_forward`: the application gets `Authorization` too.
    pub forward: bool,
}

/// Users of a service, in the order of their names.
#[derive(Clone, PartialEq)]
pub struct Users(Box<[Arc<User>]>);

#[derive(PartialEq)]
pub struct User {
    pub name: Box<str>,
    pub secret: Secret,
    /// Stands for name and secret together: who has another one is another user.
    pub digest: [u8; 32],
}

impl Users {
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        let at = self
            .0
            .binary_search_by(|user| user.name.as_bytes().cmp(name));
        self.0.get(at.ok()?)
    }

    /// Some user, the same for the same `hash`: whose secret is tried in the place of one that does not
    /// exist, so that it takes as long.
    pub fn stand_in(&self, hash: u64) -> Option<&Arc<User>> {
        let count = u64::try_from(self.0.len()).ok()?;
        self.0.get(hash.checked_rem(count)? as usize)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Neither names nor anything of the secrets.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.len())
    }
}

impl User {
    /// `written` is the hash or the password as it stands in the line.
    pub(super) fn new(name: &str, secret: Secret, written: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // No name has a line break: the three cannot flow into each other.
        for part in [
            name,
            "\n",
            if secret.is_plain() { "plain\n" } else { "" },
            written,
        ] {
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self {
            name: name.into(),
            secret,
            digest,
        }
    }
}

/// `None`: the service asks for no password, or was refused.
pub(super) fn basic_auth(
    fields: &mut Fields<'_>,
    service: Option<&ServiceName>,
    mode: &Mode,
) -> Option<BasicAuth> {
    let asks = [SECRETS, REALM, FORWARD]
        .into_iter()
        .find(|field| fields.is_set(field))
        // An empty key is one that somebody is about to fill, or whose file was just cut.
        .or_else(|| fields.place(SECRETS).map(|_| SECRETS))?;
    if matches!(mode, Mode::Tcp { .. }) {
        fields.error(
            "needs-http",
            asks,
            &format!("{asks} asks for authentication, which a TCP service cannot do"),
            "the service stays closed rather than open; remove the key if it may be open",
        );
        return None;
    }
    let realm = fields
        .read(REALM, |text| realm(text).map(str::to_owned))
        .or_else(|| service.map(ToString::to_string));
    let forward = fields.read(FORWARD, values::boolean).unwrap_or(false);
    let users = users(fields);
    if users.as_ref().is_some_and(Vec::is_empty) {
        let message = match asks {
            SECRETS => format!("{SECRETS} names no user"),
            _ => format!("{asks} asks for authentication and {SECRETS} names no user"),
        };
        let help = format!(
            "the service stays closed rather than open; {LINES}, or remove the key if it may be open"
        );
        fields.error("no-users", asks, &message, &help);
    }
    Some(BasicAuth {
        users: Users(users?.into()),
        realm: realm?,
        forward,
    })
}

fn realm(text: &str) -> Result<&str, Problem> {
    let is_good = |b: u8| (b' '..0x7f).contains(&b) && !matches!(b, b'"' | b'\\');
    if text.len() <= REALM_BYTES && text.bytes().all(is_good) {
        return Ok(text);
    }
    Err(Problem::new(
        format!("{} is no realm", crate::diag::quoted(text)),
        format!(
            "it has at most {REALM_BYTES} ASCII characters, none of them a quote or a backslash"
        ),
    ))
}

/// `None`: a line was refused.
fn users(fields: &mut Fields<'_>) -> Option<Vec<Arc<User>>> {
    if fields.text(SECRETS).is_none() && fields.is_set(SECRETS) {
        // It is no text, which was told just now.
        return None;
    }
    let mut users: Vec<(usize, Arc<User>)> = Vec::new();
    let mut notes = Notes::default();
    let mut is_good = true;
    let mut refuse = |fields: &mut Fields<'_>, number: usize, problem: &Problem| {
        is_good = false;
        let message = format!("{SECRETS} line {number} {}", problem.message);
        let help = problem.help.as_deref().unwrap_or(LINES);
        fields.error("bad-value", SECRETS, &message, help);
    };
    for (at, line) in fields
        .verbatim(SECRETS)
        .unwrap_or_default()
        .lines()
        .enumerate()
    {
        let number = at + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Ok(Some(entry)) if users.len() < USERS_PER_SERVICE => {
                notes.take(number, &entry);
                users.push((number, Arc::new(entry.user)));
            }
            Ok(Some(_)) => {
                let problem = Problem::new(
                    "is one user too many",
                    format!("a service may have {USERS_PER_SERVICE}"),
                );
                refuse(fields, number, &problem);
                break;
            }
            Ok(None) => notes.groups.push(number),
            Err(problem) => refuse(fields, number, &problem),
        }
    }
    users.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    for pair in users.windows(2) {
        if let [(first, user), (second, again)] = pair
            && user.name == again.name
        {
            let problem = Problem::new(
                format!("names user {:?} again, after line {first}", user.name),
                "keep one of the two",
            );
            refuse(fields, *second, &problem);
        }
    }
    notes.tell(fields);
    is_good.then(|| users.into_iter().map(|(_, user)| user).collect())
}

/// What is worth telling, once for all lines.
#[derive(Default)]
struct Notes {
    groups: Vec<usize>,
    weak: Vec<usize>,
}

impl Notes {
    fn take(&mut self, number: usize, entry: &Entry) {
        if entry.has_groups {
            self.groups.push(number);
        }
        if entry.user.secret.is_weak() {
            self.weak.push(number);
        }
    }

    fn tell(self, fields: &mut Fields<'_>) {
        if let Some(lines) = list(&self.groups) {
            let message = format!("{SECRETS} names groups, which say nothing here ({lines})");
            let help = "remove them; every user of the list may come in";
            fields.warn("unused-groups", SECRETS, message, help);
        }
        if let Some(lines) = list(&self.weak) {
            let message = format!(
                "{SECRETS} has {{SHA}} hashes, quick to guess for who reads them ({lines})"
            );
            let help = "make new ones with htpasswd -nB";
            fields.warn("weak-hash", SECRETS, message, help);
        }
    }
}

/// `line 3`, `line 3 and 4 more`.
fn list(lines: &[usize]) -> Option<String> {
    match lines {
        [] => None,
        [only] => Some(format!("line {only}")),
        [first, rest @ ..] => Some(format!("line {first} and {} more", rest.len())),
    }
}
