//! Whether a request may come in: the credentials it brings, against the users of its service.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::accesslog::Cause;
use crate::balance;
use crate::config::{Balancer, BasicAuth, User};
use crate::password;
use crate::plan::Service;
use crate::proxy::auth::{Asked, Attempt, Refused, Source};
use crate::proxy::buffers::Input;
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{Answer, FieldId, RequestHead};

/// How long a request waits for its password to be checked; then 503.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest name, a colon and the longest password.
pub(crate) const CREDENTIALS: usize = 255 + 1 + password::LONGEST;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a first look at the credentials says.
enum Look<'p> {
    In(&'p User),
    /// Nothing that could be right: ask for it.
    Out,
    /// Something that was wrong.
    Wrong(Option<&'p User>),
    /// Two answers to one question.
    Ambiguous,
    Check(&'p User, Attempt),
}

/// Why a request does not come in.
enum Out {
    /// 401, which asks for a password.
    Password,
    /// 400.
    Ambiguous,
    /// 429.
    SourceIsBusy,
    /// 503.
    Busy,
    Gone,
}

impl Client {
    /// The user that a request comes from. `Err`: it was answered here, and goes no further.
    pub(super) async fn authorize<'p>(
        &self,
        auth: &'p BasicAuth,
        service: &Service,
        balancer: &Balancer,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Result<&'p User, Next> {
        let out = match self.look(auth, balancer, head, input.filled()) {
            Look::In(user) => return Ok(user),
            Look::Out => Out::Password,
            Look::Ambiguous => Out::Ambiguous,
            Look::Wrong(user) => {
                self.note_wrong(service, user);
                Out::Password
            }
            Look::Check(user, attempt) => {
                let user = (!attempt.is_stand_in).then_some(user);
                match (self.check(attempt).await, user) {
                    (Ok(true), Some(user)) => return Ok(user),
                    (Ok(_), _) => {
                        self.note_wrong(service, user);
                        Out::Password
                    }
                    (Err(out), _) => out,
                }
            }
        };
        let (status, extra) = match out {
            Out::Password => (401, challenge(auth)),
            Out::Ambiguous => (400, String::new()),
            Out::SourceIsBusy => (429, "Retry-After: 1\r\n".to_owned()),
            Out::Busy => {
                // Not an upstream's doing.
                self.trace.stop(Cause::Refused);
                (503, "Retry-After: 1\r\n".to_owned())
            }
            Out::Gone => {
                self.trace.stop(Cause::ClientAbort);
                return Err(Next::Cut);
            }
        };
        if !matches!(out, Out::Password) {
            service.state.record(balance::Outcome::TurnedAway);
        }
        let answer = Answer {
            status,
            extra: extra.as_bytes(),
            ..Answer::default()
        };
        Err(self.answer_whole(answer, input, head, Some(id)).await)
    }

    /// Everything that takes no time.
    fn look<'p>(
        &self,
        auth: &'p BasicAuth,
        balancer: &Balancer,
        head: &RequestHead,
        bytes: &[u8],
    ) -> Look<'p> {
        let mut lines = head.fields.values(FieldId::Authorization, bytes);
        let Some(line) = lines.next() else {
            return Look::Out;
        };
        if lines.next().is_some() {
            return Look::Ambiguous;
        }
        let mut buffer = [0; CREDENTIALS + 3];
        let Some((name, given)) = credentials(line, &mut buffer) else {
            return Look::Out;
        };
        let tagger = &self.worker.shared.passwords.tagger;
        let known = auth.users.find(name);
        let chosen = known.or_else(|| auth.users.stand_in(tagger.choose(name)));
        // Longer ones are never right, and not worth the time.
        let Some(user) = chosen.filter(|_| given.len() <= password::LONGEST) else {
            return Look::Wrong(known.map(|user| &**user));
        };
        let is_stand_in = known.is_none();
        if user.secret.is_cheap() {
            return match user.secret.verify(given) && !is_stand_in {
                true => Look::In(user),
                false => Look::Wrong(known.map(|user| &**user)),
            };
        }
        let tag = tagger.tag(user, name, given);
        let now = self.worker.wheel.now_ms();
        if !is_stand_in && self.worker.http.right.borrow_mut().holds(&tag, now) {
            return Look::In(user);
        }
        let attempt = Attempt {
            tag,
            user: user.clone(),
            is_stand_in,
            password: given.into(),
            source: Source::from(self.client_ip(balancer, head, bytes)),
        };
        Look::Check(user, attempt)
    }

    async fn check(&self, attempt: Attempt) -> Result<bool, Out> {
        let tag = attempt.tag;
        let is_right = match self.worker.shared.passwords.ask(attempt) {
            Asked::Known(is_right) => is_right,
            Asked::Refused(Refused::SourceIsBusy) => return Err(Out::SourceIsBusy),
            Asked::Refused(Refused::QueueIsFull) => return Err(Out::Busy),
            Asked::Wait(checked) => {
                let checked = self.stream.unless_reset(checked);
                match self.deadline.limit(PATIENCE, checked).await {
                    Ok(Some(Ok(is_right))) => is_right,
                    Ok(None) => return Err(Out::Gone),
                    Ok(Some(Err(_))) | Err(_) => return Err(Out::Busy),
                }
            }
        };
        if is_right {
            let now = self.worker.wheel.now_ms();
            self.worker.http.right.borrow_mut().put(tag, now);
        }
        Ok(is_right)
    }

    fn note_wrong(&self, service: &Service, user: Option<&User>) {
        if self.worker.may_log() {
            // A name that nobody has may be a password in the wrong field.
            let user = user.map_or("unknown", |user| &user.name);
            tracing::info!(
                peer = %self.ends.peer, service = %service.config.name, user, "wrong password"
            );
        }
    }
}

/// Name and password of an `Authorization` field; `None` if it is of another scheme or unreadable.
pub(crate) fn credentials<'b>(line: &[u8], buffer: &'b mut [u8]) -> Option<(&'b [u8], &'b [u8])> {
    let at = line.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = line.split_at(at);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let length = BASE64.decode_slice(rest.trim_ascii(), buffer).ok()?;
    let decoded = &buffer[..length];
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((&decoded[..colon], &decoded[colon + 1..]))
}

fn challenge(auth: &BasicAuth) -> String {
    let realm = &auth.realm;
    format!("WWW-Authenticate: Basic realm=\"{realm}\", charset=\"UTF-8\"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_in_every_spelling_and_nothing_else_is() {
        let read = |line: &str| {
            let mut buffer = [0; CREDENTIALS + 3];
            let found = credentials(line.as_bytes(), &mut buffer);
            found.map(|(name, password)| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(password))
            })
        };
        let some = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read("Basic am9lOnNlY3JldA=="), some("joe", "secret"));
        assert_eq!(read("basic  am9lOnNlY3JldA"), some("joe", "secret"));
        assert_eq!(read("BASIC am9lOg=="), some("joe", ""));
        assert_eq!(read("Basic am9lOmE6Yg=="), some("joe", "a:b"));
        assert_eq!(read("Basic OnNlY3JldA=="), some("", "secret"));
        for nothing in [
            "",
            "Basic",
            "Basic ",
            "Basic am9l",
            "Basic am9lOnNlY3JldA==, Basic am9lOnNlY3JldA==",
            "Basic am9lOnN!",
            "Bearer am9lOnNlY3JldA==",
            "Basicam9lOnNlY3JldA==",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let longest = BASE64.encode(format!("{}:{}", "n".repeat(255), "p".repeat(512)));
        assert!(read(&format!("Basic {longest}")).is_some());
        assert_eq!(read(&format!("Basic {longest}{longest}")), None);
    }

    /// `cargo test --release --lib -- --ignored --nocapture remembered`
    #[test]
    #[ignore = "a measurement"]
    fn what_a_remembered_password_costs() {
        use crate::config::{Unit, parse};
        use crate::proxy::auth::{Pool, Recent};
        const ROUNDS: u32 = 200_000;
        let hash = "$2b$12$abcdefghijklmnopqrstuuvhqlfa3SToYAWnpQD0wYcoxAD7y2cEy";
        let lines: Vec<_> = (0..1000).map(|n| format!("user{n:04}:{hash}")).collect();
        let lines = lines.join("\\n");
        let text = format!("service: {{name: web, basic_auth_secrets: \"{lines}\"}}");
        let accepted = parse(&"services/web".into(), &text, &Balancer::default()).unwrap();
        let Unit::Service(service) = accepted.unit else {
            panic!("no service");
        };
        let policy = service.policy.unwrap();
        let users = &policy.auth.as_ref().unwrap().users;
        let pool = Pool::start().unwrap();
        let mut right = Recent::default();
        let line = format!("Basic {}", BASE64.encode("user0500:slow sesame"));
        let mut look = |remember: bool| {
            let mut buffer = [0; CREDENTIALS + 3];
            let (name, given) = credentials(line.as_bytes(), &mut buffer).unwrap();
            let tag = pool.tagger.tag(users.find(name).unwrap(), name, given);
            if remember {
                right.put(tag, 0);
            }
            right.holds(&tag, 0)
        };
        assert!(look(true));
        let started = std::time::Instant::now();
        for _ in 0..ROUNDS {
            assert!(look(false));
        }
        println!("{:?} for each", started.elapsed() / ROUNDS);
    }
}
