//! TCP frontends that tell connections apart by the name that their TLS asks for.

use super::Imported;
use super::bind_tls::Bind;
use super::condition::{Acls, split};
use super::file::{Line, Section};
use super::frontend::{bind, is_rule_of_tcp};
use super::translate::{File, Form, service, service_name};

const NAMES: [&str; 2] = ["req_ssl_sni", "req.ssl_sni"];
const HELLOS: [&str; 2] = ["req_ssl_hello_type", "req.ssl_hello_type"];

/// Whether the name leads its connections.
pub(super) fn goes_by_name(section: &Section) -> bool {
    let acls = Acls::of(&section.lines);
    section.all("use_backend").any(|line| {
        let condition = split(&line.words).1.map_or(&[][..], |(_, words)| words);
        let mut words: Vec<&str> = condition.iter().map(String::as_str).collect();
        let used = acls.used(condition);
        words.extend(used.iter().map(|line| line.word(2)));
        words
            .iter()
            .any(|word| NAMES.iter().any(|name| word.starts_with(name)))
    })
}

/// The frontend as services with `ssl_passthrough`.
pub(super) fn carry(section: &Section, file: &File<'_>, imported: &mut Imported) {
    for line in section.all("bind") {
        let said = Bind::of(line);
        if said.tls.is_some() {
            let why = format!(
                "bind {} is left out: TLS of TCP services does not end here",
                line.word(1)
            );
            imported.left(line.number, why);
            continue;
        }
        imported.note_bind(line.number, &said);
        for written in line.word(1).split(',') {
            match bind(written) {
                Some((address, port)) => imported.door("--https", &format!("{address}:{port}")),
                None => imported.left(line.number, format!("bind {written} is not carried over")),
            }
        }
    }
    let front: Vec<&Line> = section
        .lines
        .iter()
        .filter(|line| is_rule_of_tcp(line) && !is_about_the_hello(line))
        .collect();
    let mut ways: Vec<(&Line, Vec<String>)> = Vec::new();
    let acls = Acls::of(&section.lines);
    for line in section.all("use_backend") {
        let Some(hosts) = hosts(line, &acls) else {
            imported.left(
                line.number,
                "not carried over: a service with ssl_passthrough goes by virtual_hosts alone; what goes to \
                 default_backend instead may be more than it was",
            );
            continue;
        };
        match ways.last_mut() {
            Some((last, more)) if last.word(1) == line.word(1) => more.extend(hosts),
            _ => ways.push((line, hosts)),
        }
    }
    // `use_backend` lines are tried in their order.
    let levels = (1..=1000).rev().chain(std::iter::repeat(1));
    for ((line, hosts), priority) in ways.iter().zip(levels) {
        if let Some(name) = one(section, line, &front, file, imported) {
            let at = |key: &str| format!("services/{name}/{key}");
            imported.key(at("ssl_passthrough"), "true");
            imported.key(at("virtual_hosts"), hosts.join(","));
            imported.key(at("priority"), priority.to_string());
        }
    }
    match section.last(&["default_backend"]) {
        Some(line) => {
            if let Some(name) = one(section, line, &front, file, imported) {
                imported.key(format!("services/{name}/ssl_passthrough"), "unknown");
            }
        }
        None => imported.key("settings/ssl_unknown_name", "reject"),
    }
}

/// The service that a line leads to, without its routes.
fn one(
    section: &Section,
    line: &Line,
    front: &[&Line],
    file: &File<'_>,
    imported: &mut Imported,
) -> Option<String> {
    let Some(backend) = file.backends.get(line.word(1)) else {
        let why = format!("backend {:?} is not in the file", line.word(1));
        imported.left(line.number, why);
        return None;
    };
    let name = service_name("services", line.word(1), imported);
    service(Form::Passthrough, &name, backend, front, file, imported);
    if let Some(line) = section.last(&["timeout", "client"]) {
        imported.key(format!("services/{name}/timeout_client"), line.word(2));
    }
    if let Some(line) = section.last(&["maxconn"]) {
        imported.key(format!("services/{name}/max_connections"), line.word(1));
    }
    Some(name)
}

/// The hosts of a condition that is nothing else.
fn hosts(line: &Line, acls: &Acls<'_>) -> Option<Vec<String>> {
    let (_, condition) = split(&line.words);
    let ("if", words) = condition? else {
        return None;
    };
    let mut hosts = Vec::new();
    for mut words in words.split(|word| word == "||" || word == "or") {
        let mut found = Vec::new();
        while let Some((first, rest)) = words.split_first() {
            let tests: Vec<&[String]>;
            if first == "{" {
                let end = rest.iter().position(|word| word == "}")?;
                tests = vec![&rest[..end]];
                words = &rest[end + 1..];
            } else {
                tests = acls.tests(first)?;
                words = rest;
            }
            // What comes to a TLS listener begins with a hello.
            if tests.iter().all(|test| is_hello(test)) {
                continue;
            }
            // A second name would be an intersection.
            if !found.is_empty() {
                return None;
            }
            for test in tests {
                found.extend(names(test)?);
            }
        }
        if found.is_empty() {
            return None;
        }
        hosts.extend(found);
    }
    Some(hosts)
}

/// `req_ssl_sni -i a.test b.test`, `req.ssl_sni -m end .c.test`.
fn names(test: &[String]) -> Option<Vec<String>> {
    let (fetch, values) = test.split_first()?;
    let mut values = values.iter().map(String::as_str).peekable();
    let mut is_end = match fetch.strip_suffix("_end") {
        Some(fetch) if NAMES.contains(&fetch) => true,
        None if NAMES.contains(&fetch.as_str()) => false,
        _ => return None,
    };
    while let Some(flag) = values.next_if(|value| value.starts_with('-')) {
        match (flag, values.peek()) {
            ("-i", _) => {}
            ("-m", Some(&"str")) => drop(values.next()),
            ("-m", Some(&"end")) => {
                values.next();
                is_end = true;
            }
            _ => return None,
        }
    }
    let is_host = |host: &str| {
        let mut bytes = host.bytes();
        !host.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
    };
    let hosts: Vec<String> = values
        .map(|value| {
            let host = match is_end {
                true => value.strip_prefix('.')?,
                false => value,
            };
            let wild = if is_end { "*." } else { "" };
            is_host(host).then(|| format!("{wild}{}", host.to_ascii_lowercase()))
        })
        .collect::<Option<_>>()?;
    (!hosts.is_empty()).then_some(hosts)
}

fn is_hello(test: &[String]) -> bool {
    matches!(test, [fetch, value] if HELLOS.contains(&fetch.as_str()) && value == "1")
}

/// What HAProxy has to be told to see the name, and ACLs on it.
fn is_about_the_hello(line: &Line) -> bool {
    match (line.word(0), line.word(1)) {
        ("acl", _) => {
            let fetch = line.word(2);
            NAMES.iter().chain(&HELLOS).any(|of| fetch.starts_with(of))
        }
        ("tcp-request", "inspect-delay") => true,
        ("tcp-request", "content") => match split(&line.words) {
            (action, Some((word, [open, test @ .., close]))) => {
                let is_so = matches!(
                    (action.get(2).map(String::as_str), word),
                    (Some("accept"), "if") | (Some("reject"), "unless")
                );
                is_so && open == "{" && close == "}" && is_hello(test)
            }
            _ => false,
        },
        _ => false,
    }
}
