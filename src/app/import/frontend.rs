//! What frontends become: listeners, routes, and rules for every request.

use std::collections::BTreeMap;

use super::Imported;
use super::condition::{Acls, Simple, narrowed, quoted, split};
use super::file::{Kind, Line, Section};
use super::translate::{File, custom, service, service_name};
use crate::config::haproxy::Scope;

/// An HTTP frontend, or the front half of a `listen`.
pub(super) struct Frontend<'a> {
    section: &'a Section,
    ports: Vec<u16>,
}

/// One way that leads to a backend.
struct Way<'a> {
    line: usize,
    backend: &'a str,
    /// `acl` lines and the condition behind `if`; none: what no other way takes.
    condition: Option<(Vec<&'a Line>, Vec<String>)>,
    simple: Option<Simple>,
    priority: i32,
    /// The ports of its frontend, if there are several frontends.
    ports: Option<String>,
}

impl<'a> Frontend<'a> {
    /// Reads where it listens.
    pub(super) fn new(section: &'a Section, imported: &mut Imported) -> Option<Self> {
        let mut ports = Vec::new();
        for line in section.all("bind") {
            let options = line.rest(2).join(" ");
            // Served without TLS it would be a door that nobody meant to open.
            let is_tls = line.rest(2).iter().any(|word| word == "ssl");
            for written in line.word(1).split(',') {
                match bind(written) {
                    Some((_, port)) if is_tls => {
                        ports.push(port);
                        imported.left(
                            line.number,
                            format!("bind {written} is left out: {options}"),
                        );
                    }
                    Some((address, port)) => {
                        ports.push(port);
                        imported.flags.push(format!("--http {address}:{port}"));
                    }
                    None => {
                        imported.left(line.number, format!("bind {written} is not carried over"))
                    }
                }
            }
            if !is_tls && !options.is_empty() {
                imported.left(
                    line.number,
                    format!("bind options are not carried over: {options}"),
                );
            }
        }
        if ports.is_empty() {
            imported.left(section.number, format!("{} listens nowhere", section.name));
            return None;
        }
        Some(Self { section, ports })
    }

    /// A condition that holds for its own requests alone.
    fn own(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        format!("{{ dst_port {} }}", ports.join(" "))
    }
}

/// `:80`, `*:80`, `10.0.0.1:80`, `[::]:80`.
fn bind(written: &str) -> Option<(String, u16)> {
    let (address, port) = written.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let address = match address {
        "" | "*" => "0.0.0.0",
        "::" | "[::]" => "[::]",
        other => other,
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().ok()?;
    Some((address.to_owned(), port))
}

/// A TCP frontend: one service for each of its ports.
pub(super) fn tcp(section: &Section, file: &File<'_>, imported: &mut Imported) {
    let (name, backend) = match section.kind {
        Kind::Listen => (section.name.as_str(), Some(section)),
        _ => {
            let name = section
                .last(&["default_backend"])
                .map_or("", |line| line.word(1));
            (name, file.backends.get(name).copied())
        }
    };
    for line in section.all("use_backend") {
        imported.left(
            line.number,
            "use_backend of a TCP frontend is not carried over",
        );
    }
    let Some(backend) = backend else {
        imported.left(
            section.number,
            format!("{} leads to no backend", section.name),
        );
        return;
    };
    let mut count = 0;
    for line in section.all("bind") {
        for written in line.word(1).split(',') {
            let Some((_, port)) = bind(written) else {
                imported.left(line.number, format!("bind {written} is not carried over"));
                continue;
            };
            count += 1;
            let name = match count {
                1 => service_name(name),
                _ => format!("{}-{port}", service_name(name)),
            };
            service("tcp-services", &name, backend, file, imported);
            let at = |key: &str| format!("tcp-services/{name}/{key}");
            imported.key(at("external_port"), port.to_string());
            if let Some(line) = section.last(&["timeout", "client"]) {
                imported.key(at("timeout_client"), line.word(2));
            }
            if let Some(line) = section.last(&["maxconn"]) {
                imported.key(at("max_connections"), line.word(1));
            }
        }
    }
}

/// All HTTP frontends: here their ports share one table of routes, so what only one of them says is
/// bound to its ports.
pub(super) fn http(frontends: &[Frontend<'_>], file: &File<'_>, imported: &mut Imported) {
    let is_alone = frontends.len() == 1;
    let mut rules: Vec<(usize, String)> = Vec::new();
    let mut ways: Vec<Way<'_>> = Vec::new();
    for frontend in frontends {
        let own = (!is_alone).then(|| frontend.own());
        lb_wide(frontend.section, imported);
        rules_of(frontend, own.as_deref(), &mut rules);
        ways.extend(ways_of(frontend.section, own, imported));
    }
    if let Some(text) = custom(&rules, Scope::Balancer, imported) {
        imported.key("settings/custom_settings", text);
    }
    join_neighbours(&mut ways);
    give_priorities(&mut ways, imported);
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for way in &ways {
        let Some(backend) = file.backends.get(way.backend) else {
            imported.left(
                way.line,
                format!("backend {:?} is not in the file", way.backend),
            );
            continue;
        };
        let copy = copies.entry(way.backend).or_default();
        *copy += 1;
        let name = match copy {
            1 => service_name(way.backend),
            _ => format!("{}-{copy}", service_name(way.backend)),
        };
        if *copy == 2 {
            imported.left(
                way.line,
                format!(
                    "{} is reached in several ways and becomes a service for each",
                    way.backend
                ),
            );
        }
        service("services", &name, backend, file, imported);
        routes(way, &name, imported);
    }
}

/// What holds for the whole balancer here.
fn lb_wide(section: &Section, imported: &mut Imported) {
    const TIMEOUTS: &[(&str, &str)] = &[
        ("client", "timeout_client"),
        ("http-request", "timeout_head"),
        ("http-keep-alive", "timeout_idle"),
    ];
    let mut said = Vec::new();
    for (word, key) in TIMEOUTS {
        if let Some(line) = section.last(&["timeout", word]) {
            said.push((line.number, *key, line.word(2).to_owned()));
        }
    }
    if let Some(line) = section.last(&["maxconn"]) {
        said.push((line.number, "max_connections", line.word(1).to_owned()));
    }
    if let Some(line) = section.last(&["monitor-uri"]) {
        said.push((line.number, "health_uri", line.word(1).to_owned()));
    }
    if let Some(line) = section.last(&["stats", "uri"]) {
        said.push((line.number, "stats_uri", line.word(2).to_owned()));
    }
    let lines = section.defaults.iter().chain(&section.lines);
    let users: Vec<String> = lines
        .filter(|line| line.word(0) == "stats" && line.word(1) == "auth")
        .map(|line| line.word(2).to_owned())
        .collect();
    if !users.is_empty() {
        said.push((section.number, "stats_auth", users.join("\n")));
    }
    for (number, key, value) in said {
        let key = format!("settings/{key}");
        match imported.keys.get(&key) {
            Some(other) if *other != value => imported.left(
                number,
                format!(
                    "{key} is {other:?} for all frontends, not {value:?} for {}",
                    section.name
                ),
            ),
            _ => imported.key(key, value),
        }
    }
}

/// The rules of a frontend, in its own words, with the ACLs they use.
fn rules_of(frontend: &Frontend<'_>, own: Option<&str>, rules: &mut Vec<(usize, String)>) {
    // The backend half of a `listen` keeps its rules.
    if frontend.section.kind == Kind::Listen {
        return;
    }
    let lines = &frontend.section.lines;
    let acls = Acls::of(lines);
    let mut used: Vec<usize> = Vec::new();
    for line in lines {
        let is_rule = matches!(line.word(0), "http-request" | "http-response" | "redirect");
        if let (true, (_, Some((_, condition)))) = (is_rule, split(&line.words)) {
            used.extend(acls.used(condition).iter().map(|line| line.number));
        }
    }
    for line in lines {
        match line.word(0) {
            "http-request" | "http-response" | "redirect" => {}
            "acl" => {
                if used.contains(&line.number) {
                    rules.push((line.number, line.text.clone()));
                }
                continue;
            }
            "option"
                if matches!(
                    line.word(1),
                    "httpclose" | "http-server-close" | "http-ignore-probes"
                ) =>
            {
                rules.push((line.number, line.text.clone()));
                continue;
            }
            _ => continue,
        }
        let text = match (own, split(&line.words)) {
            (None, _) => line.text.clone(),
            (Some(own), (action, None)) => format!("{} if {own}", join(action)),
            (Some(own), (action, Some(("if", condition)))) => {
                format!("{} if {}", join(action), narrowed(condition, own))
            }
            (Some(_), (_, Some(_))) => line.text.clone(),
        };
        rules.push((line.number, text));
    }
}

fn join(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn ways_of<'a>(section: &'a Section, own: Option<String>, imported: &mut Imported) -> Vec<Way<'a>> {
    let acls = Acls::of(&section.lines);
    let mut ways = Vec::new();
    for line in section.all("use_backend") {
        let (action, condition) = split(&line.words);
        let backend = action.get(1).map_or("", String::as_str);
        // `backend` borrows from the line, which outlives the words split off it.
        let backend: &'a str = backend;
        if backend.contains('%') {
            imported.left(
                line.number,
                "a backend whose name is computed is not carried over",
            );
            continue;
        }
        let condition = match condition {
            None => None,
            Some(("if", words)) => Some(words.to_vec()),
            Some((_, words)) => {
                let Some(words) = negated(words) else {
                    imported.left(line.number, "unless with alternatives is not carried over");
                    continue;
                };
                Some(words)
            }
        };
        let simple = condition
            .as_ref()
            .and_then(|words| Simple::of(words, &acls));
        ways.push(Way {
            line: line.number,
            backend,
            condition: condition.map(|words| (acls.used(&words), words)),
            simple,
            priority: 0,
            ports: own.clone(),
        });
    }
    let last = match section.kind {
        Kind::Listen => Some((section.number, section.name.as_str())),
        _ => section
            .last(&["default_backend"])
            .map(|line| (line.number, line.word(1))),
    };
    if let Some((line, backend)) = last {
        ways.push(Way {
            line,
            backend,
            condition: None,
            simple: None,
            priority: i32::MIN,
            ports: own,
        });
    }
    ways
}

/// `unless a b` is `if !a || !b`.
fn negated(words: &[String]) -> Option<Vec<String>> {
    if words.iter().any(|word| word == "||" || word == "or") {
        return None;
    }
    let mut out: Vec<String> = Vec::new();
    let mut depth = 0;
    for word in words {
        if depth == 0 && !out.is_empty() {
            out.push("||".to_owned());
        }
        match word.as_str() {
            "}" => depth -= 1,
            "{" | "!{" => depth += 1,
            _ => {}
        }
        let begins = depth == usize::from(word == "{" || word == "!{") as i32 && word != "}";
        out.push(match (begins, word.strip_prefix('!')) {
            (false, _) => word.clone(),
            (true, Some(positive)) => positive.to_owned(),
            (true, None) => format!("!{word}"),
        });
    }
    Some(out)
}

/// Lines that follow each other and lead to the same backend are one way with alternatives.
fn join_neighbours(ways: &mut Vec<Way<'_>>) {
    let mut joined: Vec<Way<'_>> = Vec::new();
    for way in ways.drain(..) {
        if let Some(last) = joined.last_mut()
            && last.backend == way.backend
            && last.ports == way.ports
            && let (Some((acls, words)), Some((more_acls, more))) =
                (&mut last.condition, &way.condition)
        {
            acls.extend(more_acls);
            acls.sort_by_key(|line| line.number);
            acls.dedup_by_key(|line| line.number);
            words.push("||".to_owned());
            words.extend_from_slice(more);
            last.simple = None;
        } else {
            joined.push(way);
        }
    }
    *ways = joined;
}

/// `use_backend` lines are tried in their order. Ways to different whole hosts cannot meet and share
/// a level, so that a file of many hosts stays a table of hosts.
fn give_priorities(ways: &mut [Way<'_>], imported: &mut Imported) {
    const MOST: i32 = 1000;
    let mut level = MOST;
    let mut hosts: Vec<String> = Vec::new();
    for way in ways.iter_mut().filter(|way| way.priority != i32::MIN) {
        let exact = way.simple.as_ref().filter(|simple| {
            simple.paths.is_empty() && simple.hosts.iter().all(|host| !host.starts_with('*'))
        });
        let shares = exact.is_some_and(|simple| {
            !hosts.is_empty() && simple.hosts.iter().all(|host| !hosts.contains(host))
        });
        if !shares {
            hosts.clear();
            level -= 1;
        }
        if let Some(simple) = exact {
            hosts.extend(simple.hosts.iter().cloned());
        }
        if level < 1 {
            imported.left(
                way.line,
                "too many use_backend lines to keep all in their order",
            );
            level = 1;
        }
        way.priority = level;
    }
}

/// The keys that lead requests to a service.
fn routes(way: &Way<'_>, name: &str, imported: &mut Imported) {
    let at = |key: &str| format!("services/{name}/{key}");
    if way.priority == i32::MIN {
        imported.key(at("default"), "true");
        if let Some(ports) = &way.ports {
            imported.key(at("match"), ports.clone());
        }
        return;
    }
    imported.key(at("priority"), way.priority.to_string());
    imported.key(at("keep_virtual_path"), "true");
    if let Some(simple) = &way.simple {
        if !simple.hosts.is_empty() {
            imported.key(at("virtual_hosts"), simple.hosts.join(","));
        }
        if !simple.paths.is_empty() {
            imported.key(at("virtual_path"), simple.paths.join(","));
        }
        if let Some(ports) = &way.ports {
            imported.key(at("match"), ports.clone());
        }
        return;
    }
    let Some((acls, words)) = &way.condition else {
        if let Some(ports) = &way.ports {
            imported.key(at("match"), ports.clone());
        }
        return;
    };
    let condition = match &way.ports {
        Some(ports) => narrowed(words, ports),
        None => join(words),
    };
    let mut text: Vec<&str> = acls.iter().map(|line| line.text.as_str()).collect();
    text.push(&condition);
    imported.key(at("match"), text.join("\n"));
}
