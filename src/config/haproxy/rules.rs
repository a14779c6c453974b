//! Lines that become rules: `http-request`, `http-response`, `redirect`, and their older spellings.

use super::condition::Acls;
use super::sample::{self, call, pattern, variable};
use super::template::template;
use super::words::Line;
use super::{Problem, Scope};
use crate::config::values::{self, unknown_word};
use crate::diag::quoted;
use crate::rules::{
    AnswerRule, Condition, FieldAction, NotAName, OwnAnswer, Redirect, RedirectRule, RequestAction,
    RequestRule, Rules, SetCookie, Side, Source, Split, Target, Template, field_name,
};

/// A request is judged by each of them.
const RULES: usize = 500;

/// The words of a line, taken one by one.
struct Words<'a> {
    left: &'a [String],
}

impl<'a> Words<'a> {
    /// The next word, which has to be there. `what` tells what it would be.
    fn next(&mut self, what: &str) -> Result<&'a str, Problem> {
        match self.left.split_first() {
            Some((word, left)) => {
                self.left = left;
                Ok(word)
            }
            None => Err(Problem::new(
                format!("ends where {what} has to be"),
                format!("write {what}"),
            )),
        }
    }

    /// The next word if it is no condition.
    fn option(&mut self) -> Option<&'a str> {
        let (word, left) = self.left.split_first()?;
        if word == "if" || word == "unless" {
            return None;
        }
        self.left = left;
        Some(word)
    }
}

/// What reads a line needs to know.
pub(super) struct Reader<'a> {
    pub(super) scope: Scope,
    pub(super) acls: &'a Acls,
    pub(super) rules: &'a mut Rules,
    pub(super) warnings: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// A line that is a rule. `None`: it is none.
    pub(super) fn read(&mut self, line: &Line) -> Option<Result<(), Problem>> {
        let words = &mut Words {
            left: &line.words[1..],
        };
        Some(match line.words[0].as_str() {
            "http-request" => self.http_request(words),
            "http-response" => self.http_response(words),
            "redirect" => self.redirect(words),
            "tcp-request" => self.tcp_request(words),
            "block" => self.request_rule(RequestAction::Deny { status: 403 }, words),
            "reqadd" | "rspadd" | "reqdel" | "reqidel" | "rspdel" | "rspidel" => {
                self.old(&line.words[0], words)
            }
            _ => return None,
        })
    }

    fn http_request(&mut self, words: &mut Words<'_>) -> Result<(), Problem> {
        self.only_http()?;
        let word = words.next("an action")?;
        let action = match word {
            "set-path" => RequestAction::SetPath(template(words.next("a path")?)?),
            "replace-path" => RequestAction::ReplacePath {
                pattern: pattern(words.next("a regular expression")?, false)?,
                with: template(words.next("a path")?)?,
            },
            "set-query" => RequestAction::SetQuery(template(words.next("a query")?)?),
            "set-uri" | "set-pathq" => RequestAction::SetUrl(template(words.next("a path")?)?),
            "replace-uri" | "replace-pathq" => RequestAction::ReplaceUrl {
                pattern: pattern(words.next("a regular expression")?, false)?,
                with: template(words.next("a path")?)?,
            },
            "allow" => RequestAction::Allow,
            "deny" => own_answer(words, "deny", 403)?,
            "return" => own_answer(words, "return", 200)?,
            "redirect" => RequestAction::Redirect(redirect(words)?),
            _ => {
                let (call, rest) = call(word)?;
                match (call.name, call.arguments.as_deref(), rest) {
                    ("set-var", Some([name]), "") => RequestAction::SetVariable {
                        name: variable(name)?.to_owned(),
                        value: sample::sample(words.next("an expression")?)?.0,
                    },
                    ("unset-var", Some([name]), "") => {
                        RequestAction::UnsetVariable(variable(name)?.to_owned())
                    }
                    _ => match field_action(word, words, Side::Request)? {
                        Some(action) => RequestAction::Field(action),
                        None => return Err(unknown_action("http-request", word, REQUEST)),
                    },
                }
            }
        };
        self.request_rule(action, words)
    }

    fn http_response(&mut self, words: &mut Words<'_>) -> Result<(), Problem> {
        self.only_http()?;
        let word = words.next("an action")?;
        match field_action(word, words, Side::Answer)? {
            Some(edit) => self.answer_rule(edit, words),
            None => Err(unknown_action("http-response", word, ANSWER)),
        }
    }

    fn redirect(&mut self, words: &mut Words<'_>) -> Result<(), Problem> {
        self.only_http()?;
        let redirect = redirect(words)?;
        let when = self.when(words, Phase::Request)?;
        let of_redirect = RequestAction::Redirect(redirect);
        check_phase(templates(&of_redirect), Phase::Request)?;
        if let RequestAction::Redirect(redirect) = of_redirect {
            let rule = RedirectRule { redirect, when };
            self.rules.redirects.push(rule);
        }
        self.count()
    }

    /// What can be said of a connection before it says anything.
    fn tcp_request(&mut self, words: &mut Words<'_>) -> Result<(), Problem> {
        if self.scope != Scope::Tcp {
            return Err(Problem::new(
                "\"tcp-request\" is for TCP services",
                "write http-request deny if ...",
            ));
        }
        match words.next("connection")? {
            "connection" | "content" => {}
            word => return Err(unknown_word(word, &["connection"])),
        }
        let action = match words.next("accept or reject")? {
            "accept" => RequestAction::Allow,
            "reject" => RequestAction::Deny { status: 403 },
            word => return Err(unknown_word(word, &["accept", "reject"])),
        };
        let when = self.when(words, Phase::Connection)?;
        self.rules.request.push(RequestRule { action, when });
        self.count()
    }

    /// HAProxy's words until 2.0: `rspadd Name:\ value`, `reqidel ^Name:.*`.
    fn old(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), Problem> {
        self.only_http()?;
        let text = words.next("a field")?;
        let is_request = word.starts_with("req");
        let direction = if is_request { "request" } else { "response" };
        let action = if word.ends_with("add") {
            let Some((name, value)) = text.split_once(':') else {
                return Err(Problem::new(
                    format!("{} is no field with a value", quoted(text)),
                    format!("write http-{direction} add-header NAME VALUE"),
                ));
            };
            FieldAction::Add {
                name: name_of(name)?,
                value: Template::text(value.trim_start()),
            }
        } else {
            // Whole fields are all that can be taken away; a regular expression could say more.
            let name = text.strip_prefix('^').and_then(|t| t.split_once(':'));
            match name {
                Some((name, "" | ".*" | "\\ .*" | " .*")) if field_name(name).is_ok() => {
                    FieldAction::Remove {
                        name: name_of(name)?,
                    }
                }
                _ => {
                    return Err(Problem::new(
                        format!("{} is more than a field's name", quoted(text)),
                        format!("write http-{direction} del-header NAME"),
                    ));
                }
            }
        };
        match is_request {
            true => self.request_rule(RequestAction::Field(action), words),
            false => self.answer_rule(action, words),
        }
    }

    fn request_rule(
        &mut self,
        action: RequestAction,
        words: &mut Words<'_>,
    ) -> Result<(), Problem> {
        self.only_http()?;
        check_phase(templates(&action), Phase::Request)?;
        let when = self.when(words, Phase::Request)?;
        self.rules.request.push(RequestRule { action, when });
        self.count()
    }

    fn answer_rule(&mut self, edit: FieldAction, words: &mut Words<'_>) -> Result<(), Problem> {
        let when = self.when(words, Phase::Answer)?;
        self.rules.answer.push(AnswerRule { edit, when });
        self.count()
    }

    /// `if ...` or `unless ...` to the end of the line, or nothing.
    fn when(&mut self, words: &Words<'_>, phase: Phase) -> Result<Option<Condition>, Problem> {
        let Some((word, rest)) = words.left.split_first() else {
            return Ok(None);
        };
        let condition = match word.as_str() {
            "if" => self.acls.condition(rest, self.warnings)?,
            "unless" => self.acls.condition(rest, self.warnings)?.inverted(),
            word => {
                return Err(Problem::new(
                    format!("{} stands where the line has to end", quoted(word)),
                    "a condition begins with if or unless; a value with spaces stands in quotes",
                ));
            }
        };
        check_phase(condition.sources(), phase)?;
        Ok(Some(condition))
    }

    fn only_http(&self) -> Result<(), Problem> {
        match self.scope {
            Scope::Http | Scope::Balancer => Ok(()),
            Scope::Tcp => Err(Problem::new(
                "is about HTTP, and this service is TCP",
                "remove the line, or keep the service under services/",
            )),
            Scope::Global => Err(Problem::new(
                "does not belong into global_settings",
                "write it into custom_settings",
            )),
        }
    }

    fn count(&self) -> Result<(), Problem> {
        let rules = &self.rules;
        match rules.request.len() + rules.redirects.len() + rules.answer.len() > RULES {
            true => Err(Problem::new(
                "has a rule too many",
                format!("there may be {RULES}"),
            )),
            false => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Connection,
    Request,
    Answer,
}

/// What is asked before it can be known would never be found.
fn check_phase<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
    phase: Phase,
) -> Result<(), Problem> {
    for source in sources {
        if phase == Phase::Connection && !source.is_of_connection() {
            return Err(Problem::new(
                "asks for more than a TCP connection tells",
                "src, src_port, dst and dst_port can be asked",
            ));
        }
        if phase == Phase::Request && source.is_of_answer() {
            return Err(Problem::new(
                "asks for the answer while the request is judged",
                "there is none yet; write http-response, or ask for the request",
            ));
        }
    }
    Ok(())
}

fn templates(action: &RequestAction) -> Vec<&Source> {
    let templates: Vec<&Template> = match action {
        RequestAction::Field(
            FieldAction::Set { value, .. }
            | FieldAction::Add { value, .. }
            | FieldAction::Replace { with: value, .. },
        ) => vec![value],
        RequestAction::SetPath(value)
        | RequestAction::SetQuery(value)
        | RequestAction::SetUrl(value)
        | RequestAction::ReplacePath { with: value, .. }
        | RequestAction::ReplaceUrl { with: value, .. } => vec![value],
        RequestAction::Redirect(redirect) => match &redirect.to {
            Target::Location(value) | Target::Prefix(value) | Target::Scheme(value) => {
                vec![value]
            }
        },
        RequestAction::Answer(answer) => {
            let fields = answer.fields.iter().map(|(_, value)| value);
            fields.chain([&answer.body]).collect()
        }
        RequestAction::SetVariable { value, .. } => return vec![&value.source],
        RequestAction::Field(FieldAction::Remove { .. })
        | RequestAction::UnsetVariable(_)
        | RequestAction::Allow
        | RequestAction::Deny { .. } => Vec::new(),
    };
    let samples = templates.into_iter().flat_map(Template::samples);
    samples.map(|sample| &sample.source).collect()
}

const FIELDS: [&str; 5] = [
    "add-header",
    "del-header",
    "replace-header",
    "replace-value",
    "set-header",
];
const REQUEST: &[&str] = &[
    "allow",
    "deny",
    "redirect",
    "replace-path",
    "replace-pathq",
    "replace-uri",
    "return",
    "set-path",
    "set-pathq",
    "set-query",
    "set-uri",
    "set-var(",
    "unset-var(",
];
const ANSWER: &[&str] = &[];

fn unknown_action(of: &str, word: &str, known: &[&str]) -> Problem {
    let help = match word {
        "auth" => Some("set basic_auth_secrets"),
        "tarpit" | "silent-drop" | "reject" => Some("write deny"),
        "set-status" | "capture" | "set-log-level" => {
            Some("it cannot be done here; remove the line")
        }
        _ => None,
    };
    if let Some(help) = help {
        return Problem::new(format!("{of} {} is not done here", quoted(word)), help);
    }
    let known: Vec<_> = FIELDS.iter().chain(known).copied().collect();
    let problem = unknown_word(word, &known);
    Problem {
        message: format!("{of} {}", problem.message),
        help: problem.help,
    }
}

/// What is done to fields; `None` if `word` is something else.
fn field_action(
    word: &str,
    words: &mut Words<'_>,
    side: Side,
) -> Result<Option<FieldAction>, Problem> {
    if !FIELDS.contains(&word) {
        return Ok(None);
    }
    let written = words.next("a field's name")?;
    // A request has exactly one Host.
    let name = name_of(written)?;
    let is_host = side == Side::Request && name.eq_ignore_ascii_case("host");
    if is_host && !matches!(word, "set-header" | "replace-header") {
        return Err(Problem::new(
            format!("{word} Host would leave a request with none or two"),
            "write set-header Host",
        ));
    }
    Ok(Some(match word {
        "set-header" => FieldAction::Set {
            name,
            value: template(words.next("a value")?)?,
        },
        "add-header" => FieldAction::Add {
            name,
            value: template(words.next("a value")?)?,
        },
        "del-header" => {
            if words.left.first().is_some_and(|word| word == "-m") {
                return Err(Problem::new(
                    "del-header takes one name here",
                    "write one line for each name in the place of -m",
                ));
            }
            FieldAction::Remove { name }
        }
        _ => FieldAction::Replace {
            name,
            split: match word {
                "replace-value" => Split::Commas,
                _ => Split::Lines,
            },
            pattern: pattern(words.next("a regular expression")?, false)?,
            with: template(words.next("a value")?)?,
        },
    }))
}

fn name_of(text: &str) -> Result<String, Problem> {
    field_name(text)
        .map(str::to_owned)
        .map_err(|why| match why {
            NotAName::IsOurs => Problem::new(
                format!("field {} cannot be changed", quoted(text)),
                why.to_string(),
            ),
            why => Problem::new(format!("{} is no field", quoted(text)), why.to_string()),
        })
}

/// `location|prefix|scheme VALUE` with options.
fn redirect(words: &mut Words<'_>) -> Result<Redirect, Problem> {
    let mut to = None;
    let mut status = 302;
    let mut options = Redirect::new(302, Target::Prefix(Template::default()));
    while let Some(word) = words.option() {
        match word {
            "location" | "to" => to = Some(Target::Location(template(words.next("a URL")?)?)),
            "prefix" => to = Some(Target::Prefix(template(words.next("a URL")?)?)),
            "scheme" => to = Some(Target::Scheme(template(words.next("a scheme")?)?)),
            "code" => {
                let text = words.next("a status")?;
                status = match text {
                    "301" | "302" | "303" | "307" | "308" => text.parse().unwrap_or(302),
                    _ => {
                        return Err(Problem::new(
                            format!("code {} is no redirect", quoted(text)),
                            "it is 301, 302, 303, 307 or 308",
                        ));
                    }
                };
            }
            "drop-query" => options.drops_query = true,
            "append-slash" => options.appends_slash = true,
            "ignore-empty" => options.ignores_empty = true,
            "set-cookie" => options.cookie = Some(SetCookie::Set(cookie(words)?)),
            "clear-cookie" => {
                let cookie = cookie(words)?;
                let name = cookie.trim_end_matches('=').to_owned();
                options.cookie = Some(SetCookie::Clear(name));
            }
            word => {
                let known = [
                    "append-slash",
                    "clear-cookie",
                    "code",
                    "drop-query",
                    "ignore-empty",
                    "location",
                    "prefix",
                    "scheme",
                    "set-cookie",
                ];
                let problem = unknown_word(word, &known);
                return Err(Problem {
                    message: format!("redirect {}", problem.message),
                    help: problem.help,
                });
            }
        }
    }
    let Some(to) = to else {
        return Err(Problem::new(
            "redirect says not where to",
            "write location, prefix or scheme and a value",
        ));
    };
    Ok(Redirect {
        status,
        to,
        ..options
    })
}

fn cookie<'a>(words: &mut Words<'a>) -> Result<String, Problem> {
    let text = words.next("a cookie")?;
    let is_good = |b: u8| (0x21..0x7f).contains(&b) && !b"\",;\\".contains(&b);
    match !text.is_empty() && !text.starts_with('=') && text.bytes().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new(
            format!("{} is no cookie", quoted(text)),
            "write NAME or NAME=VALUE, without spaces, commas and semicolons",
        )),
    }
}

/// `deny` and `return`: a status alone, or an answer of its own.
fn own_answer(words: &mut Words<'_>, what: &str, default: u16) -> Result<RequestAction, Problem> {
    let mut status = default;
    let mut content_type = None;
    let mut body = None;
    let mut fields = Vec::new();
    while let Some(word) = words.option() {
        match word {
            "status" | "deny_status" => {
                let range = if what == "deny" { 400..=599 } else { 200..=599 };
                status = values::count(words.next("a status")?, range)? as u16;
            }
            "content-type" => {
                let text = words.next("a content type")?;
                if text.is_empty() || !text.bytes().all(|b| (b' '..0x7f).contains(&b)) {
                    return Err(Problem::new(
                        format!("{} is no content type", quoted(text)),
                        "write one such as text/plain",
                    ));
                }
                content_type = Some(text.to_owned());
            }
            "string" => body = Some(Template::text(words.next("a text")?)),
            "lf-string" => body = Some(template(words.next("a text")?)?),
            "hdr" => {
                let name = name_of(words.next("a field's name")?)?;
                fields.push((name, template(words.next("a value")?)?));
            }
            "file" | "lf-file" | "errorfile" | "errorfiles" | "default-errorfiles" => {
                return Err(Problem::new(
                    format!("{what} {word} reads what is not in this text"),
                    "write the text behind string",
                ));
            }
            word => {
                let known = ["content-type", "hdr", "lf-string", "status", "string"];
                let problem = unknown_word(word, &known);
                return Err(Problem {
                    message: format!("{what} {}", problem.message),
                    help: problem.help,
                });
            }
        }
    }
    if what == "deny" && body.is_none() && fields.is_empty() {
        return Ok(RequestAction::Deny { status });
    }
    if matches!(status, 205 | 304) || status == 204 && body.is_some() {
        return Err(Problem::new(
            format!("{what} status {status} has no body"),
            "take 204 without a text, or 200",
        ));
    }
    Ok(RequestAction::Answer(OwnAnswer {
        status,
        content_type,
        body: body.unwrap_or_default(),
        fields,
    }))
}
