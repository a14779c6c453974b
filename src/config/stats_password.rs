//! `stats_password`: what user `stats` shows at the operator's listener.

use std::fmt;
use std::sync::Arc;

use super::auth::{User, plain_secret};
use super::fields::Fields;
use super::values::Problem;

/// Kontena's habit.
pub const STATS_USER: &str = "stats";

/// What Kontena's load balancer had where nobody said anything: everybody knows it.
const DEFAULT: &str = "secret";

const NAME: &str = "stats_password";
const HELP: &str = "choose one of your own; openssl rand -hex 16 makes one";

/// A shorter one is worth telling.
const SHORT: usize = 8;

/// Equal if the passwords are.
#[derive(Clone, PartialEq)]
pub struct StatsPassword(Arc<User>);

/// Nothing of it.
impl fmt::Debug for StatsPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("set")
    }
}

impl StatsPassword {
    /// One that may be in force. What is wrong never shows what was written.
    pub fn read(text: &str) -> Result<Self, Problem> {
        match text {
            "" => return Err(Problem::new("is empty", HELP)),
            DEFAULT => {
                let message = "is the default of Kontena's load balancer, which everybody knows";
                return Err(Problem::new(message, HELP));
            }
            _ => {}
        }
        let secret = plain_secret(text)?;
        Ok(Self(Arc::new(User::new(STATS_USER, secret, text))))
    }

    /// What is odd about one that may be in force, to follow what it is called.
    pub fn weakness(text: &str) -> Option<String> {
        (text.len() < SHORT).then(|| format!("has fewer than {SHORT} bytes, and is quick to guess"))
    }

    /// Whether whoever wrote this has not chosen any.
    pub fn is_none(text: &str) -> bool {
        ["", DEFAULT].contains(&text)
    }

    pub fn user(&self) -> &Arc<User> {
        &self.0
    }
}

/// `None`: the flags say it.
pub(super) fn stats_password(fields: &mut Fields<'_>) -> Option<StatsPassword> {
    let password = fields.read(NAME, StatsPassword::read)?;
    let weakness = fields
        .text(NAME)
        .and_then(|text| StatsPassword::weakness(text.text));
    if let Some(weakness) = weakness {
        let message = format!("{NAME} {weakness}");
        fields.warn("weak-password", NAME, message, HELP);
    }
    Some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_default_and_nothing_empty_is_a_password() {
        let told = |text| {
            StatsPassword::read(text)
                .err()
                .map(|problem| problem.message)
        };
        assert!(told("").is_some_and(|t| t.contains("empty")));
        assert!(told("secret").is_some_and(|t| t.contains("Kontena") && !t.contains("secret")));
        assert!(told("line\nbreak").is_some_and(|t| !t.contains("line")));
        let good = StatsPassword::read("Secret").expect("another word");
        assert!(good.user().secret.verify(b"Secret") && !good.user().secret.verify(b"secret"));
        assert_eq!(format!("{good:?}"), "set");
    }
}
