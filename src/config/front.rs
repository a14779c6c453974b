//! What the balancer answers by itself before any rule and any service: whether it lives, whether it
//! is ready, ACME challenges, its figures. And what it asks of all plain requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::address::{self, Query};
use super::fields::Fields;
use super::haproxy::StatsLines;
use super::secure::Secure;
use super::values::Problem;
use crate::diag::quoted;

const CHALLENGES: usize = 1_000;
const TOKEN_BYTES: usize = 256;
const CHALLENGE_BYTES: usize = 4096;
const USERS: usize = 100;

/// What browsers show where nobody said it better.
const REALM: &str = "pointsman figures";

/// Off as a whole in most balancers, so that a request pays one look for all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// `health_uri`: 200 as long as the program runs.
    pub health_uri: Option<String>,
    /// `ready_uri`: 200 from the first good configuration on, until the node drains.
    pub ready_uri: Option<String>,
    /// `acme/<token>`: what is answered for each token.
    pub acme: BTreeMap<String, String>,
    /// `stats_uri` and `stats_auth`.
    pub stats: Option<Stats>,
    /// `force_ssl`, `hsts` and so on: defaults for services.
    pub secure: Secure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub uri: String,
    /// What browsers show when they ask for a password.
    pub realm: String,
    pub users: StatsUsers,
}

/// Who may see the figures: `user:password` each. Empty: everybody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StatsUsers(Vec<String>);

/// Passwords are nobody's business.
impl std::fmt::Debug for StatsUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

impl StatsUsers {
    /// `None` if there are none: then nobody said that everybody may see them.
    fn of(users: &[(String, String)]) -> Option<Self> {
        let users: Vec<_> = users
            .iter()
            .map(|(name, password)| format!("{name}:{password}"))
            .collect();
        (!users.is_empty()).then_some(Self(users))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Front {
    /// Whether somebody asks it before there is any configuration.
    pub fn answers_from_the_start(&self) -> bool {
        self.health_uri.is_some() || self.ready_uri.is_some()
    }
}

/// `defaults` with what the fields say on top.
///
/// `lines` are what `custom_settings` say of the figures; the keys go over them.
pub(super) fn front(
    fields: &mut Fields<'_>,
    defaults: Option<&Arc<Front>>,
    lines: StatsLines,
) -> Option<Arc<Front>> {
    let defaults = defaults.map(|front| (**front).clone()).unwrap_or_default();
    let (uri, users) = match (lines.is_on, defaults.stats) {
        (true, _) => (Some(lines.uri), StatsUsers::of(&lines.users)),
        (false, Some(stats)) => (Some(stats.uri), Some(stats.users)),
        (false, None) => (None, None),
    };
    let realm = lines.realm.unwrap_or_else(|| REALM.to_owned());
    let mut front = Front {
        health_uri: fields.read("health_uri", uri_path).or(defaults.health_uri),
        ready_uri: fields.read("ready_uri", uri_path).or(defaults.ready_uri),
        acme: defaults.acme,
        stats: None,
        secure: Secure::read(fields, defaults.secure).of_all(),
    };
    challenges(fields, &mut front.acme);
    let uri = fields.read("stats_uri", stats_path).or(uri);
    let users = stats_users(fields).or(users);
    match (uri, users) {
        (Some(uri), Some(users)) => front.stats = Some(Stats { uri, realm, users }),
        (Some(_), None) if lines.is_on && !fields.is_set("stats_uri") => fields.error(
            "bad-value",
            "custom_settings",
            "custom_settings have stats and no user: everybody could read the figures",
            "write stats auth NAME:PASSWORD, or set stats_auth to none if everybody may",
        ),
        (Some(_), None) if !fields.is_set("stats_auth") => fields.error(
            "bad-value",
            "stats_uri",
            "stats_uri is set and stats_auth is not: everybody could read the figures",
            "set stats_auth to user:password, or to none if everybody may",
        ),
        (None, _) if fields.is_set("stats_auth") && !fields.is_set("stats_uri") => fields.warn(
            "unused-field",
            "stats_auth",
            "stats_auth says nothing without stats_uri".to_owned(),
            "remove it, or set stats_uri",
        ),
        _ => {}
    }
    distinct(fields, &front);
    (front != Front::default()).then(|| Arc::new(front))
}

fn uri_path(text: &str) -> Result<String, Problem> {
    address::path(text, Query::Refused)
}

/// Behind a `;` stands the form in which the figures are wanted.
fn stats_path(text: &str) -> Result<String, Problem> {
    if text.contains(';') {
        return Err(Problem::new(
            format!("{} has a ; in it", quoted(text)),
            "what follows it is the form that is asked for, as in /lbstats;csv",
        ));
    }
    uri_path(text)
}

/// Two answers for one path: the one that was meant might be the other.
fn distinct(fields: &mut Fields<'_>, front: &Front) {
    let stats = front.stats.as_ref().map(|stats| &stats.uri);
    let uris = [
        ("health_uri", front.health_uri.as_ref()),
        ("ready_uri", front.ready_uri.as_ref()),
        ("stats_uri", stats),
    ];
    for (nth, (field, uri)) in uris.iter().enumerate() {
        let same = uris[..nth].iter().find(|(_, other)| uri == other);
        if let (Some(uri), Some((other, _))) = (uri, same) {
            let message = format!("{field} {} is that of {other} too", quoted(uri));
            fields.error("bad-value", field, &message, "give each a path of its own");
        }
    }
}

fn challenges(fields: &mut Fields<'_>, acme: &mut BTreeMap<String, String>) {
    for (entry, written) in fields.pairs("acme", CHALLENGES) {
        let field = format!("acme.{}", entry.name);
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let token = entry.name.as_str();
        if token.is_empty() || token.len() > TOKEN_BYTES || !token.bytes().all(is_base64url) {
            let problem = Problem::new(
                format!("{} is no token", quoted(token)),
                "a token has letters, digits, - and _, at most 256 of them",
            );
            fields.refuse_as("acme", &field, written, &problem);
            continue;
        }
        if written.text.is_empty() {
            acme.remove(token);
            continue;
        }
        let is_plain = written.text.bytes().all(|b| (b' '..=b'~').contains(&b));
        if written.text.len() > CHALLENGE_BYTES || !is_plain {
            let problem = Problem::new(
                format!("{} is no key authorization", quoted(written.text)),
                "it is what the ACME client gave: the token, a dot and a thumbprint",
            );
            fields.refuse(&field, written, &problem);
            continue;
        }
        acme.insert(token.to_owned(), written.text.to_owned());
    }
}

/// `stats_auth`: a line for each user, or `none`. Messages never show what is written.
fn stats_users(fields: &mut Fields<'_>) -> Option<StatsUsers> {
    let written = fields.text("stats_auth")?;
    if written.text.eq_ignore_ascii_case("none") {
        return Some(StatsUsers::default());
    }
    let mut users = Vec::new();
    let lines = written.text.lines().map(str::trim).zip(1..);
    for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
        let is_user = line
            .split_once(':')
            .is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
        if is_user {
            users.push(line.to_owned());
            continue;
        }
        let problem = Problem::new(
            format!("line {number} is no user with a password"),
            "write user:password, one on each line; or none if everybody may see the figures",
        );
        fields.refuse("stats_auth", written, &problem);
    }
    if users.len() > USERS {
        let problem = Problem::new(
            format!("has {} users", users.len()),
            format!("it may have {USERS}"),
        );
        fields.refuse("stats_auth", written, &problem);
        return None;
    }
    (!users.is_empty()).then_some(StatsUsers(users))
}
