//! One line, one typed setting.

use std::time::Duration;

use super::check::{self, CheckLines};
use super::condition::Acls;
use super::rules::Reader;
use super::stats::{self, StatsLines};
use super::words::Line;
use super::{LineProblem, Problem, Scope, global, options};
use crate::balance::Balance;
use crate::config::balancer::TIMEOUT;
use crate::config::pages::PAGE_STATUSES;
use crate::config::service::{CONNECTIONS, RETRIES};
use crate::config::sticky::{self, Sticky};
use crate::config::unit::MinVersion;
use crate::config::values::{self, unknown_word};
use crate::diag::{nearest, quoted};
use crate::rules::Rules;
use crate::tls::suites::Suites;

/// What the lines of a text say.
#[derive(Debug, Default)]
pub(in crate::config) struct Settings {
    pub(in crate::config) timeouts: SaidTimeouts,
    pub(in crate::config) retries: Option<Said<u32>>,
    pub(in crate::config) max_connections: Option<Said<u32>>,
    pub(in crate::config) max_headers: Option<Said<u32>>,
    /// The suites up to TLS 1.2 count.
    pub(in crate::config) ciphers: Option<Said<Suites>>,
    /// The suites of TLS 1.3.
    pub(in crate::config) ciphersuites: Option<Said<Suites>>,
    pub(in crate::config) min_version: Option<Said<MinVersion>>,
    /// `None` inside: there are no tickets.
    pub(in crate::config) ticket_lifetime: Option<Said<Option<Duration>>>,
    pub(in crate::config) balance: Option<Said<Balance>>,
    pub(in crate::config) check: CheckLines,
    pub(in crate::config) rules: Rules,
    pub(in crate::config) sticky: Option<Said<Sticky>>,
    /// `errorfile STATUS NAME`.
    pub(in crate::config) error_files: Vec<Said<(u16, String)>>,
    pub(in crate::config) stats: StatsLines,
    pub(in crate::config) warnings: Vec<LineProblem>,
}

/// A value and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Said<T> {
    pub(in crate::config) line: usize,
    pub(in crate::config) value: T,
}

#[derive(Debug, Default)]
pub(in crate::config) struct SaidTimeouts {
    pub(in crate::config) connect: Option<Said<Duration>>,
    pub(in crate::config) server: Option<Said<Duration>>,
    pub(in crate::config) client: Option<Said<Duration>>,
    pub(in crate::config) tunnel: Option<Said<Duration>>,
    pub(in crate::config) queue: Option<Said<Duration>>,
    pub(in crate::config) head: Option<Said<Duration>>,
    pub(in crate::config) idle: Option<Said<Duration>>,
    pub(in crate::config) check: Option<Said<Duration>>,
    pub(in crate::config) drain: Option<Said<Duration>>,
}

/// Every word that a line may begin with, for suggestions.
pub(super) const LINE_WORDS: &[&str] = &[
    "acl",
    "balance",
    "cookie",
    "default-server",
    "description",
    "errorfile",
    "fullconn",
    "hash-type",
    "http-check",
    "http-request",
    "http-response",
    "http-reuse",
    "log",
    "log-format",
    "maxconn",
    "mode",
    "no",
    "option",
    "redirect",
    "retries",
    "stats",
    "tcp-request",
    "timeout",
];

impl Settings {
    /// Every line but `acl` lines, which are in `acls`.
    pub(super) fn read(&mut self, line: &Line, scope: Scope, acls: &Acls) -> Result<(), Problem> {
        let mut warnings = Vec::new();
        let result = self.line(line, scope, acls, &mut warnings);
        let warnings = warnings.into_iter().map(|problem| line.problem(problem));
        self.warnings.extend(warnings);
        result
    }

    fn line(
        &mut self,
        line: &Line,
        scope: Scope,
        acls: &Acls,
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let mut rules = Reader {
            scope,
            acls,
            rules: &mut self.rules,
            warnings,
        };
        if let Some(read) = rules.read(line) {
            return read;
        }
        if scope == Scope::Global {
            return global::line(self, line, warnings);
        }
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let number = line.number;
        match words[..] {
            ["timeout", ref rest @ ..] => self.timeout(number, rest, scope, warnings),
            ["retries", text] => {
                let value = values::count(text, RETRIES)?;
                say(&mut self.retries, number, value, "retries", warnings);
                Ok(())
            }
            ["maxconn", text] => {
                let value = values::count(text, CONNECTIONS)?;
                say(
                    &mut self.max_connections,
                    number,
                    value,
                    "maxconn",
                    warnings,
                );
                Ok(())
            }
            ["balance", ref rest @ ..] => self.balance(number, rest, scope, warnings),
            ["option", ref rest @ ..] => options::option(self, number, rest, scope, warnings),
            ["no", "option", ref rest @ ..] => options::no_option(self, rest, warnings),
            ["http-check", ref rest @ ..] => {
                only_services(words[0], scope)?;
                check::http_check(&mut self.check, number, rest)
            }
            ["default-server", ref rest @ ..] => {
                only_services(words[0], scope)?;
                check::default_server(&mut self.check, number, rest, warnings)
            }
            ["cookie", ..] if scope == Scope::Http => {
                let value =
                    sticky::directive(&words).map_err(|problem| within("cookie", problem))?;
                say(&mut self.sticky, number, value, "cookie", warnings);
                Ok(())
            }
            ["errorfile", status, name] if scope != Scope::Tcp => {
                let status = page_status(status)?;
                if name.contains('/') || name.starts_with('.') {
                    return Err(Problem::new(
                        format!("errorfile {} is more than a name", quoted(name)),
                        "name a file in the directory of --error-pages",
                    ));
                }
                // Nothing else in that directory is a whole answer, which is what HAProxy's files are.
                if !name.ends_with(".http") {
                    return Err(Problem::new(
                        format!("errorfile {} is no whole answer", quoted(name)),
                        format!("call the file {status}.http; 503.html and the like need no line"),
                    ));
                }
                let value = (status, name.to_owned());
                self.error_files.push(Said {
                    line: number,
                    value,
                });
                Ok(())
            }
            ["stats", ref rest @ ..] if scope == Scope::Balancer => {
                stats::line(&mut self.stats, rest, warnings)
            }
            ["mode", mode] => match (mode, scope) {
                ("http", Scope::Http | Scope::Balancer) | ("tcp", Scope::Tcp) => Ok(()),
                _ => Err(Problem::new(
                    format!("mode {} is not what this is", quoted(mode)),
                    "services/ are HTTP, tcp-services/ are TCP; remove the line",
                )),
            },
            ["hash-type", "consistent", ..] | ["description", ..] => Ok(()),
            ["http-reuse", ref rest @ ..] => match rest {
                ["safe" | "aggressive" | "always"] => Ok(()),
                ["never"] => {
                    warnings.push(says_nothing(
                        "http-reuse never",
                        "connections to upstreams are always used again",
                    ));
                    Ok(())
                }
                _ => Err(one_of(
                    "http-reuse",
                    rest,
                    &["safe", "aggressive", "always", "never"],
                )),
            },
            ["hash-type", ..] => {
                warnings.push(says_nothing("hash-type", "hashing is always consistent"));
                Ok(())
            }
            ["fullconn", _] => {
                warnings.push(says_nothing(
                    "fullconn",
                    "limits do not depend on the load; set max_connections",
                ));
                Ok(())
            }
            [
                "log" | "log-format" | "log-format-sd" | "log-tag" | "unique-id-format"
                | "unique-id-header",
                ..,
            ] => {
                warnings.push(says_nothing(
                    words[0],
                    "what is logged is said by settings of its own, see docs/keys.md",
                ));
                Ok(())
            }
            _ => Err(unknown_line(&words, scope)),
        }
    }

    fn timeout(
        &mut self,
        line: usize,
        words: &[&str],
        scope: Scope,
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        const KNOWN: &[&str] = &[
            "check",
            "client",
            "client-fin",
            "connect",
            "http-keep-alive",
            "http-request",
            "queue",
            "server",
            "server-fin",
            "tarpit",
            "tunnel",
        ];
        let &[name, text] = words else {
            return Err(match words.get(2) {
                Some(word) => too_many("timeout", word),
                None => Problem::new("timeout lacks a value", "write timeout NAME TIME"),
            });
        };
        let all = &mut self.timeouts;
        let place = match name {
            "connect" => &mut all.connect,
            "server" => &mut all.server,
            "client" => &mut all.client,
            "queue" => &mut all.queue,
            "tunnel" => &mut all.tunnel,
            "check" => &mut all.check,
            "http-request" => &mut all.head,
            "http-keep-alive" => &mut all.idle,
            "client-fin" | "server-fin" | "tarpit" => {
                values::duration(text)?;
                let why = match name {
                    "tarpit" => "no request is held back",
                    _ => "a half-closed connection waits as any other",
                };
                warnings.push(says_nothing(&format!("timeout {name}"), why));
                return Ok(());
            }
            name => return Err(within("timeout", unknown_word(name, KNOWN))),
        };
        let range = match name {
            "check" => Duration::from_millis(10)..=Duration::from_hours(1),
            _ => TIMEOUT,
        };
        let value = values::duration_in(text, range)
            .map_err(|problem| within(&format!("timeout {name}"), problem))?;
        if values::looks_like_seconds(text) {
            warnings.push(Problem::new(
                format!("timeout {name} {text:?} is {text} milliseconds"),
                format!("write {text}s for seconds, or {text}ms if it is meant"),
            ));
        }
        if matches!(name, "http-request" | "http-keep-alive") && scope != Scope::Balancer {
            warnings.push(says_nothing(
                &format!("timeout {name}"),
                "a client waits before its service is known; write it into \
                 settings/custom_settings",
            ));
            return Ok(());
        }
        if name == "check" {
            only_services("timeout check", scope)?;
        }
        say(place, line, value, &format!("timeout {name}"), warnings);
        Ok(())
    }

    fn balance(
        &mut self,
        line: usize,
        words: &[&str],
        scope: Scope,
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        only_services("balance", scope)?;
        let value = match words {
            ["static-rr"] => Balance::RoundRobin,
            ["random(2)"] => Balance::Random,
            [word] => values::balance(word).map_err(|problem| within("balance", problem))?,
            [] => return Err(Problem::new("balance lacks a word", "write it behind it")),
            [_, rest, ..] => return Err(too_many("balance", rest)),
        };
        say(&mut self.balance, line, value, "balance", warnings);
        Ok(())
    }
}

/// The last line holds, as in HAProxy, and the one before it is told.
pub(super) fn say<T>(
    place: &mut Option<Said<T>>,
    line: usize,
    value: T,
    what: &str,
    warnings: &mut Vec<Problem>,
) {
    if let Some(before) = place.replace(Said { line, value }) {
        warnings.push(Problem::new(
            format!("{what} replaces the one of line {}", before.line),
            "remove one of them",
        ));
    }
}

pub(super) fn says_nothing(what: &str, why: &str) -> Problem {
    Problem::new(format!("{what} says nothing here"), why)
}

pub(super) fn too_many(what: &str, word: &str) -> Problem {
    Problem::new(
        format!("{} is a word too many for {what}", quoted(word)),
        "remove it; a value with spaces stands in quotes",
    )
}

/// A problem with what stands behind a word.
pub(super) fn within(word: &str, problem: Problem) -> Problem {
    Problem {
        message: format!("{word} {}", problem.message),
        help: problem.help,
    }
}

pub(super) fn one_of(what: &str, words: &[&str], known: &[&str]) -> Problem {
    match words {
        [] => Problem::new(
            format!("{what} lacks a word"),
            format!("it is one of {}", known.join(", ")),
        ),
        [word] => within(what, unknown_word(word, known)),
        [_, rest, ..] => too_many(what, rest),
    }
}

pub(super) fn only_services(what: &str, scope: Scope) -> Result<(), Problem> {
    match scope {
        Scope::Http | Scope::Tcp => Ok(()),
        Scope::Balancer | Scope::Global => Err(Problem::new(
            format!("{what} is a service's business"),
            "write it into the custom_settings of the services that need it",
        )),
    }
}

fn unknown_line(words: &[&str], scope: Scope) -> Problem {
    let word = words[0];
    let message = format!("{} is unknown", quoted(word));
    let not_here = |help: &str| Problem::new(format!("{} is not done here", quoted(word)), help);
    if LINE_WORDS.contains(&word) {
        return match (word, scope) {
            ("stats", _) => Problem::new(
                "stats is the balancer's business",
                "write it into settings/custom_settings",
            ),
            ("cookie", Scope::Balancer) => Problem::new(
                "cookie is a service's business",
                "write it into the custom_settings of the services that need it",
            ),
            ("cookie" | "errorfile", Scope::Tcp) => Problem::new(
                format!("{word} is about HTTP, and this service is TCP"),
                "remove the line, or keep the service under services/",
            ),
            _ => Problem::new(
                format!("{word} does not have {} words", words.len() - 1),
                "see docs/custom_settings.md",
            ),
        };
    }
    match word {
        "server" | "server-template" => not_here("upstreams are keys: upstreams/<name>"),
        "bind" => not_here("ports are keys and flags: external_port, --http"),
        "frontend" | "backend" | "listen" | "defaults" | "global" | "userlist" => {
            not_here("one text is about one service; write only what stands in its section")
        }
        "use_backend" | "default_backend" | "use-server" => {
            not_here("routes are keys: virtual_hosts, virtual_path, default")
        }
        "reqrep" | "reqirep" => {
            not_here("write http-request replace-path or http-request replace-header")
        }
        "rsprep" | "rspirep" => not_here("write http-response replace-header"),
        "reqdeny" | "reqideny" | "reqtarpit" | "reqitarpit" | "reqallow" | "reqiallow" => {
            not_here("write http-request deny if ...")
        }
        "rspdeny" | "rspideny" | "http-after-response" => not_here("write http-response"),
        "errorloc" | "errorloc302" | "errorloc303" => {
            not_here("write errorfile, or http-request redirect if ...")
        }
        "stick" | "stick-table" | "rdp-cookie" => {
            not_here("set cookie, or balance to source, to keep a client on one upstream")
        }
        "monitor-uri" | "monitor" | "monitor-net" => {
            not_here("the balancer answers its health URI by itself")
        }
        "compression" | "filter" | "capture" | "declare" | "email-alert" | "rate-limit" => {
            not_here("remove the line")
        }
        _ if word.starts_with("ssl") || word.starts_with("tls") || word == "crt" => Problem::new(
            message,
            "TLS with clients is said in settings/global_settings, see docs/tls.md",
        ),
        _ => Problem::new(
            message,
            match nearest(word, LINE_WORDS.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "docs/custom_settings.md lists what is understood".to_owned(),
            },
        ),
    }
}

fn page_status(text: &str) -> Result<u16, Problem> {
    let status = text.parse().ok();
    status
        .filter(|status| PAGE_STATUSES.contains(status))
        .ok_or_else(|| {
            Problem::new(
                format!("errorfile {} is no status of our own answers", quoted(text)),
                format!(
                    "it is one of {}",
                    PAGE_STATUSES.map(|s| s.to_string()).join(", ")
                ),
            )
        })
}
