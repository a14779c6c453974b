//! Who may come in, as flags and files say. The key `settings/stats_password` is beside them, in the plan.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kept::Kept;
use super::token::Token;
use super::{Access, Refusal, Role};
use crate::config::{STATS_USER, StatsPassword, Users};

/// What the command line and the environment say.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where the listener is.
    pub stats: SocketAddr,
    pub password_file: Option<PathBuf>,
    /// The variable that has one, and what it says.
    pub password: Option<(&'static str, String)>,
    pub users: Option<PathBuf>,
    pub admins: Vec<String>,
    pub token: Option<PathBuf>,
    pub read_token: Option<PathBuf>,
    pub has_certificate: bool,
    /// Clients are asked for certificates.
    pub has_client_ca: bool,
}

/// Checked, and read from its files.
pub struct Identities {
    is_loopback: bool,
    password: Password,
    users: Option<Kept<Users>>,
    admins: BTreeSet<String>,
    token: Option<Token>,
    read_token: Option<Token>,
    has_client_ca: bool,
}

enum Password {
    None,
    Of(StatsPassword),
    In(Kept<StatsPassword>),
}

const WAYS: &str = "set STATS_PASSWORD or --stats-password-file FILE (user stats, role read), --stats-users FILE, \
                    --api-read-token-file FILE, --api-token-file FILE or --stats-client-ca FILE";

impl Identities {
    /// With what is odd about it, or what is to be done before anything can start.
    pub fn open(given: &Given) -> Result<(Self, Vec<String>), String> {
        let mut warnings = Vec::new();
        let (password, none) = password(given, &mut warnings)?;
        let users = given.users.as_deref();
        let users = users.map(|file| Kept::open("--stats-users", file, users_of));
        let mut token = |flag, file: Option<&Path>, role| {
            let Some(file) = file else { return Ok(None) };
            let (token, warning) = Token::open(flag, file, role)?;
            warnings.extend(warning);
            Ok::<_, String>(Some(token))
        };
        let own = Self {
            is_loopback: given.stats.ip().to_canonical().is_loopback(),
            password,
            users: users.transpose()?,
            admins: given.admins.iter().cloned().collect(),
            token: token("--api-token-file", given.token.as_deref(), Role::Admin)?,
            read_token: token(
                "--api-read-token-file",
                given.read_token.as_deref(),
                Role::Read,
            )?,
            has_client_ca: given.has_client_ca,
        };
        own.check_admins()?;
        own.check_address(given.stats, none.as_deref())?;
        // One that is empty is not set, as with every variable.
        let is_said = given
            .password
            .as_ref()
            .is_some_and(|(_, text)| !text.trim().is_empty());
        warnings.extend(
            none.filter(|_| is_said)
                .map(|none| format!("{none}: it counts as none")),
        );
        if !own.is_loopback && !given.has_certificate {
            warnings.push(format!(
                "--stats {} is not a loopback address: passwords, tokens and what is read cross the network in clear; \
                 set --stats-certificate FILE, or keep it to a network of your own, or to 127.0.0.1 behind a tunnel",
                given.stats
            ));
        }
        Ok((own, warnings))
    }

    fn check_admins(&self) -> Result<(), String> {
        if self.admins.is_empty() {
            return Ok(());
        }
        if self.users.is_none() && !self.has_client_ca {
            return Err(
                "--stats-admins names users of --stats-users or of certificates by --stats-client-ca, and neither is \
                 given"
                    .to_owned(),
            );
        }
        match self.admins.contains(STATS_USER) {
            true => Err(
                "--stats-admins names stats, who has role read alone: name a user of --stats-users or of a certificate"
                    .to_owned(),
            ),
            false => Ok(()),
        }
    }

    /// Beyond loopback somebody has to be named. A key may come later, or never.
    fn check_address(&self, stats: SocketAddr, none: Option<&str>) -> Result<(), String> {
        if self.is_loopback || self.names_somebody(None) {
            return Ok(());
        }
        let none = none.map(|none| format!("; {none}")).unwrap_or_default();
        Err(format!(
            "--stats {stats} is not a loopback address, and everybody who reaches it could read all of it{none}: {WAYS}, \
             or keep --stats to 127.0.0.1"
        ))
    }

    /// Reads what changed. Waits for disks.
    pub(in crate::admin) fn look_again(&self) {
        if let Some(users) = &self.users {
            users.look_again();
        }
        if let Password::In(password) = &self.password {
            password.look_again();
        }
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether anybody has to say who he is; `password` is the one in force.
    pub(super) fn names_somebody(&self, password: Option<&StatsPassword>) -> bool {
        self.has_passwords(password) || self.has_tokens() || self.has_client_ca
    }

    pub(super) fn has_passwords(&self, password: Option<&StatsPassword>) -> bool {
        password.is_some() || self.users.is_some() || !matches!(self.password, Password::None)
    }

    pub(super) fn has_tokens(&self) -> bool {
        self.token.is_some() || self.read_token.is_some()
    }

    pub(super) fn has_client_ca(&self) -> bool {
        self.has_client_ca
    }

    /// Of user `stats`, where no key says another one.
    pub(super) fn password(&self) -> Option<StatsPassword> {
        match &self.password {
            Password::None => None,
            Password::Of(password) => Some(password.clone()),
            Password::In(kept) => Some((*kept.get()).clone()),
        }
    }

    pub(super) fn users(&self) -> Option<Arc<Users>> {
        self.users.as_ref().map(Kept::get)
    }

    /// Of a user with a password or a certificate.
    pub(super) fn role(&self, user: &str) -> Role {
        match self.admins.contains(user) {
            true => Role::Admin,
            false => Role::Read,
        }
    }

    /// What a token allows; `None`: it is nobody's.
    pub(super) fn role_of_token(&self, given: &[u8]) -> Result<Option<Role>, String> {
        let mut failed = None;
        for (token, role) in [(&self.token, Role::Admin), (&self.read_token, Role::Read)] {
            match token.as_ref().map(|token| token.is(given)) {
                Some(Ok(true)) => return Ok(Some(role)),
                Some(Err(why)) => failed = Some(why),
                Some(Ok(false)) | None => {}
            }
        }
        failed.map_or(Ok(None), Err)
    }

    pub(super) fn lacks_admin(&self, access: &Access) -> Refusal {
        let who = access.user.as_deref().unwrap_or("whoever asks so");
        let how = match (&self.token, self.admins.is_empty()) {
            (Some(_), _) => "who has the token of --api-token-file has it",
            (None, false) => "the users of --stats-admins have it",
            (None, true) => {
                "nobody has it: start the node with --api-token-file FILE, or name users with --stats-admins"
            }
        };
        let who = crate::diag::quoted(who);
        Refusal::forbidden(format!(
            "this needs role admin, and {who} has role read; {how}"
        ))
    }
}

/// The one that the flags say, or that there is none and why not.
fn password(
    given: &Given,
    warnings: &mut Vec<String>,
) -> Result<(Password, Option<String>), String> {
    if let Some(file) = &given.password_file {
        let kept = Kept::open("--stats-password-file", file, password_of)?;
        return Ok((Password::In(kept), None));
    }
    let Some((name, text)) = &given.password else {
        return Ok((Password::None, None));
    };
    match StatsPassword::read(text.trim()) {
        Ok(password) => {
            let weakness = StatsPassword::weakness(text.trim());
            warnings.extend(weakness.map(|weakness| format!("{name} {weakness}")));
            Ok((Password::Of(password), None))
        }
        Err(problem) if StatsPassword::is_none(text.trim()) => {
            Ok((Password::None, Some(format!("{name} {}", problem.message))))
        }
        Err(problem) => {
            let help = problem.help.unwrap_or_default();
            Err(format!("{name} {}; {help}", problem.message))
        }
    }
}

fn password_of(text: &str) -> Result<StatsPassword, String> {
    StatsPassword::read(text.trim()).map_err(|problem| {
        let help = problem.help.unwrap_or_default();
        format!("it {}; {help}", problem.message)
    })
}

fn users_of(text: &str) -> Result<Users, String> {
    let users = Users::of_htpasswd(text).map_err(|problems| problems.join("\n"))?;
    match users.find(STATS_USER.as_bytes()) {
        None => Ok(users),
        Some(_) => Err(
            "it names user stats, who is the one of STATS_PASSWORD and settings/stats_password; give that user another \
             name"
                .to_owned(),
        ),
    }
}
