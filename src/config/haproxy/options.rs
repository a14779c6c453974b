//! `option` lines.

use super::check;
use super::settings::{Settings, one_of, only_services, says_nothing, too_many, within};
use super::{Problem, Scope};
use crate::config::values::{self, unknown_word};
use crate::diag::quoted;
use crate::rules::{FieldAction, Part, RequestAction, RequestRule, Source, Template, field_name};

/// What is always so here.
const ALWAYS: &[&str] = &[
    "abortonclose",
    "clitcpka",
    "contstats",
    "dontlognull",
    "http-ignore-probes",
    "http-keep-alive",
    "http-use-htx",
    "idle-close-on-response",
    "log-health-checks",
    "redispatch",
    "splice-auto",
    "splice-request",
    "splice-response",
    "tcp-smart-accept",
    "tcp-smart-connect",
];

/// What is a log's business, and changes nothing of what is forwarded.
const OF_LOGS: &[&str] = &[
    "dontlog-normal",
    "httplog",
    "httpslog",
    "log-separate-errors",
    "logasap",
    "tcplog",
];

/// What is accepted and not so, and why.
const NEVER: &[(&str, &str)] = &[
    (
        "forceclose",
        "connections to upstreams are kept and used again",
    ),
    (
        "http-buffer-request",
        "bodies are passed on while they come",
    ),
    ("http-no-delay", "nothing is held back"),
    (
        "http-pretend-keepalive",
        "connections to upstreams are kept and used again",
    ),
    (
        "http-server-close",
        "connections to upstreams are kept and used again",
    ),
    ("http-tunnel", "every request is looked at"),
    ("httpclose", "connections are kept and used again"),
    ("nolinger", "connections are closed in order"),
    (
        "persist",
        "a client is never kept on an upstream that is down",
    ),
    (
        "prefer-last-server",
        "set cookie to keep a client on one upstream",
    ),
    (
        "srvtcpka",
        "a pooled connection is looked at before it is used",
    ),
    (
        "tcpka",
        "a client's connection is probed by the kernel, a pooled one looked at before it is used",
    ),
];

const CHECKS: &[&str] = &[
    "external-check",
    "ldap-check",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "smtpchk",
    "spop-check",
    "ssl-hello-chk",
];

pub(super) fn option(
    settings: &mut Settings,
    line: usize,
    words: &[&str],
    scope: Scope,
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let Some((&name, rest)) = words.split_first() else {
        return Err(Problem::new("option lacks a name", "write it behind it"));
    };
    let no_more = || match rest {
        [] => Ok(()),
        [word, ..] => Err(too_many(&format!("option {name}"), word)),
    };
    match name {
        "httpchk" => {
            only_services("option httpchk", scope)?;
            check::httpchk(&mut settings.check, line, rest)
        }
        "tcp-check" => {
            only_services("option tcp-check", scope)?;
            no_more()?;
            settings.check.http = None;
            Ok(())
        }
        "forwardfor" if scope != Scope::Tcp => forwardfor(settings, rest, warnings),
        "originalto" if scope != Scope::Tcp => {
            let name = match rest {
                [] => "X-Original-To",
                ["header", name] => name,
                _ => return Err(one_of("option originalto", rest, &["header"])),
            };
            set_address(settings, name, Source::ListenerAddress)
        }
        "redispatch" => match rest {
            [] => Ok(()),
            [text] if text.trim_start_matches('-').parse::<u16>().is_ok() => Ok(()),
            [text, ..] => Err(Problem::new(
                format!("option redispatch {} is no whole number", quoted(text)),
                "write option redispatch alone",
            )),
        },
        "httplog" if rest == ["clf"] => Ok(()),
        "forwardfor" | "originalto" => Err(Problem::new(
            format!("option {name} is about HTTP, and this service is TCP"),
            "remove the line, or keep the service under services/",
        )),
        name if ALWAYS.contains(&name) || OF_LOGS.contains(&name) => no_more(),
        name if CHECKS.contains(&name) => Err(Problem::new(
            format!("option {name} is not done here"),
            "write option httpchk, or leave it: an upstream is checked by a connect",
        )),
        name => match NEVER.iter().find(|(known, _)| *known == name) {
            Some((_, why)) => {
                no_more()?;
                warnings.push(says_nothing(&format!("option {name}"), why));
                Ok(())
            }
            None => Err(within("option", unknown_word(name, &known()))),
        },
    }
}

/// `no option NAME`.
pub(super) fn no_option(
    settings: &mut Settings,
    words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let &[name] = words else {
        return Err(one_of("no option", words, &known()));
    };
    match name {
        "httpchk" => settings.check = check::CheckLines::default(),
        name if ALWAYS.contains(&name) || name == "forwardfor" => {
            warnings.push(says_nothing(
                &format!("no option {name}"),
                "it is always so",
            ));
        }
        name if known().contains(&name) => {}
        name => return Err(within("no option", unknown_word(name, &known()))),
    }
    Ok(())
}

fn known() -> Vec<&'static str> {
    let never = NEVER.iter().map(|(name, _)| name);
    let more = ["forwardfor", "httpchk", "originalto", "tcp-check"];
    let all = ALWAYS.iter().chain(OF_LOGS).chain(never).copied();
    all.chain(more).collect()
}

/// The field `X-Forwarded-For` is always there and tells the truth; what the line can add is another
/// name for it.
fn forwardfor(
    settings: &mut Settings,
    mut words: &[&str],
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    loop {
        match words {
            [] => return Ok(()),
            ["except", network, rest @ ..] => {
                values::network(network)
                    .map_err(|problem| within("option forwardfor except", problem))?;
                warnings.push(says_nothing(
                    "option forwardfor except",
                    "set trusted_proxies to believe what peers in a network say",
                ));
                words = rest;
            }
            ["if-none", rest @ ..] => {
                warnings.push(says_nothing(
                    "option forwardfor if-none",
                    "set trusted_proxies to believe what peers in a network say",
                ));
                words = rest;
            }
            ["header", name, rest @ ..] => {
                set_address(settings, name, Source::ClientAddress)?;
                words = rest;
            }
            [word, ..] => {
                let known = ["except", "header", "if-none"];
                return Err(within("option forwardfor", unknown_word(word, &known)));
            }
        }
    }
}

fn set_address(settings: &mut Settings, name: &str, source: Source) -> Result<(), Problem> {
    let name = field_name(name)
        .map_err(|why| Problem::new(format!("{} is no field", quoted(name)), why.to_string()))?;
    if name.eq_ignore_ascii_case("x-forwarded-for") {
        return Ok(());
    }
    settings.rules.request.push(RequestRule {
        action: RequestAction::Field(FieldAction::Set {
            name: name.to_owned(),
            value: Template {
                parts: vec![Part::Sample(source.into())],
            },
        }),
        when: None,
    });
    Ok(())
}
