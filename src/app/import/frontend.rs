//! What frontends become: listeners, routes, and rules for every request.

use std::collections::{BTreeMap, BTreeSet};

use super::Imported;
use super::bind_tls::{Bind, Verify};
use super::condition::{Acls, Simple, narrowed, quoted, split};
use super::file::{Kind, Line, Section};
use super::translate::{
    File, Form, custom, error_file, is_said_anyway, key_name, service, service_name,
};
use super::{backend, passthrough};
use crate::config::haproxy::Scope;

/// An HTTP frontend, or the front half of a `listen`.
pub(super) struct Frontend<'a> {
    section: &'a Section,
    ports: Vec<u16>,
    /// The first port, if TLS ends at all of them.
    secure: Option<u16>,
    /// What is asked of clients at any of them.
    verify: Option<Verify>,
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
    frontend: &'a Frontend<'a>,
}

impl<'a> Frontend<'a> {
    /// Reads where it listens.
    pub(super) fn new(section: &'a Section, imported: &mut Imported) -> Option<Self> {
        if is_figures_alone(section) {
            imported.left(
                section.number,
                format!(
                    "{} is not carried over; pointsman run --stats ADDRESS shows figures on a port of \
                     their own, settings/stats_uri and stats_auth beside the services",
                    section.name
                ),
            );
            return None;
        }
        let mut ports = Vec::new();
        let mut verify = None;
        let (mut with_tls, mut plain) = (false, None);
        for line in section.all("bind") {
            let said = Bind::of(line);
            imported.note_bind(line.number, &said);
            let flag = match said.tls {
                Some(_) => "--https",
                None => "--http",
            };
            let before = ports.len();
            for written in line.word(1).split(',') {
                match bind(written) {
                    Some((address, port)) => {
                        ports.push(port);
                        imported.door(flag, &format!("{address}:{port}"));
                    }
                    None => {
                        imported.left(line.number, format!("bind {written} is not carried over"))
                    }
                }
            }
            if ports.len() > before {
                match &said.tls {
                    Some(tls) => {
                        with_tls = true;
                        verify = verify.max(tls.verify);
                        tls.carry(line, &section.name, imported);
                    }
                    None => plain = Some(line.number),
                }
            }
            if !said.left.is_empty() {
                imported.left(
                    line.number,
                    format!("bind options are not carried over: {}", said.left.join(" ")),
                );
            }
        }
        if ports.is_empty() {
            imported.left(section.number, format!("{} listens nowhere", section.name));
            return None;
        }
        if let (Some(Verify::Required), Some(number)) = (verify, plain) {
            imported.left(
                number,
                format!(
                    "requests without TLS are sent to https: the services of {} ask all clients for \
                     certificates",
                    section.name
                ),
            );
        }
        Some(Self {
            section,
            secure: ports
                .first()
                .copied()
                .filter(|_| with_tls && plain.is_none()),
            ports,
            verify,
        })
    }

    /// A condition that holds for its own requests alone.
    fn own(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        format!("{{ dst_port {} }}", ports.join(" "))
    }
}

/// Whether it leads nowhere but to the statistics.
fn is_figures_alone(section: &Section) -> bool {
    let mut words = section.lines.iter().map(|line| line.word(0));
    section.all("stats").next().is_some()
        && !words.any(|word| matches!(word, "server" | "use_backend" | "default_backend"))
}

impl Imported {
    pub(super) fn note_bind(&mut self, line: usize, said: &Bind) {
        self.binds.push((line, said.accepts_proxy));
    }
}

/// Listeners that are there without a flag.
pub(super) fn untold_doors(imported: &mut Imported) {
    if imported.doors.is_empty() && imported.keys.keys().any(|key| key.starts_with("services/")) {
        imported.left(
            0,
            "no HTTP service has a bind without ssl: HTTP is served at 0.0.0.0:80 all the same, or where \
             --http says; no request is led to a service from there",
        );
    }
    let mut keys = imported.keys.iter();
    let has_443 = keys.any(|(key, value)| key.ends_with("/external_port") && value == "443");
    if imported.https.is_empty() && has_443 {
        imported.flags.push("--https none".to_owned());
    }
}

/// `accept-proxy` is of one `bind` there, and here of all that comes from a network.
pub(super) fn accept_proxy(imported: &mut Imported) {
    let (with, without): (Vec<_>, Vec<_>) = std::mem::take(&mut imported.binds)
        .into_iter()
        .partition(|(_, accepts)| *accepts);
    if !with.is_empty() && without.is_empty() {
        imported.key("settings/accept_proxy", "0.0.0.0/0,::/0");
    }
    for (number, _) in with {
        imported.left(
            number,
            match without.is_empty() {
                true => {
                    "accept-proxy believes whoever connects; name the networks of the proxies alone in \
                     settings/accept_proxy"
                }
                false => {
                    "accept-proxy of one bind is not carried over; name the networks of the proxies in \
                     settings/accept_proxy, for all listeners"
                }
            },
        );
    }
}

/// `:80`, `*:80`, `10.0.0.1:80`, `[::]:80`.
pub(super) fn bind(written: &str) -> Option<(String, u16)> {
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
    let goes_by_name = section.kind == Kind::Frontend && passthrough::goes_by_name(section);
    if goes_by_name && !file.has_http_routes {
        passthrough::carry(section, file, imported);
        return;
    }
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
            match goes_by_name {
                // Its hosts would be those of the HTTP frontends, too.
                true => {
                    "use_backend of a TCP frontend is not carried over beside HTTP frontends; write \
                     services/NAME/ssl_passthrough true and virtual_hosts for names that are in no HTTP \
                     service"
                }
                false => "use_backend of a TCP frontend is not carried over",
            },
        );
    }
    let Some(backend) = backend else {
        imported.left(
            section.number,
            format!("{} leads to no backend", section.name),
        );
        return;
    };
    let front: Vec<&Line> = match section.kind {
        Kind::Listen => Vec::new(),
        _ => section
            .lines
            .iter()
            .filter(|line| is_rule_of_tcp(line))
            .collect(),
    };
    let names = |line: &&Line| (line.word(0) == "acl").then(|| line.word(1).to_owned());
    let shared = front.iter().filter_map(names).find(|name| {
        let mut theirs = backend.all("acl");
        !std::ptr::eq(backend, section) && theirs.any(|line| line.word(1) == name)
    });
    if let Some(name) = shared {
        imported.left(
            section.number,
            format!(
                "{} is left out: its backend has an acl {name} too; rename one of them",
                section.name
            ),
        );
        return;
    }
    let mut count = 0;
    for line in section.all("bind") {
        let said = Bind::of(line);
        if said.tls.is_some() {
            // Without TLS it would be a door that nobody meant to open.
            imported.left(
                line.number,
                format!(
                    "bind {} is left out: {}",
                    line.word(1),
                    line.rest(2).join(" ")
                ),
            );
            continue;
        }
        imported.note_bind(line.number, &said);
        if !said.left.is_empty() {
            let options = said.left.join(" ");
            imported.left(
                line.number,
                format!("bind options are not carried over: {options}"),
            );
        }
        for written in line.word(1).split(',') {
            let Some((_, port)) = bind(written) else {
                imported.left(line.number, format!("bind {written} is not carried over"));
                continue;
            };
            count += 1;
            let name = match count {
                1 => key_name(name),
                _ => format!("{}-{port}", key_name(name)),
            };
            let name = service_name("tcp-services", &name, imported);
            service(Form::Tcp, &name, backend, &front, file, imported);
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

/// Lines of a TCP frontend that the service of its backend gets: access rules above all.
pub(super) fn is_rule_of_tcp(line: &Line) -> bool {
    !is_said_anyway(line)
        && !matches!(
            line.word(0),
            "bind" | "use_backend" | "default_backend" | "errorfile"
        )
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
        if frontend.verify.is_some() && frontend.section.all("stats").next().is_some() {
            imported.left(
                frontend.section.number,
                "figures at settings/stats_uri ask for a password, and for no certificate",
            );
        }
        rules_of(frontend, own.as_deref(), &mut rules, imported);
        ways.extend(ways_of(frontend, own, imported));
    }
    // What stands in `defaults` came with each frontend.
    let mut seen = BTreeSet::new();
    rules.retain(|rule| seen.insert(rule.clone()));
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
        let name = service_name("services", way.backend, imported);
        if *copy == 2 {
            imported.left(
                way.line,
                format!(
                    "{} is reached in several ways and becomes a service for each",
                    way.backend
                ),
            );
        }
        service(Form::Http, &name, backend, &[], file, imported);
        if way.frontend.section.kind != Kind::Listen {
            passwords(way, &name, file, imported);
        }
        guard(way.frontend, &name, imported);
        routes(way, &name, imported);
    }
}

/// What nobody could do without TLS, or without a certificate, nobody can here.
fn guard(frontend: &Frontend<'_>, name: &str, imported: &mut Imported) {
    let at = |key: &str| format!("services/{name}/{key}");
    if let Some(port) = frontend.secure {
        imported.key(at("force_ssl"), "true");
        if port != 443 {
            imported.key(at("force_ssl_port"), port.to_string());
        }
    }
    if let Some(verify) = frontend.verify {
        imported.key(at("ssl_client_verify"), verify.word());
    }
}

/// A frontend's passwords are asked for by each service that it leads to.
fn passwords(way: &Way<'_>, name: &str, file: &File<'_>, imported: &mut Imported) {
    let at = |key: &str| format!("services/{name}/{key}");
    let acls = Acls::of(&way.frontend.section.lines);
    for line in way
        .frontend
        .section
        .all("http-request")
        .filter(|line| is_auth(line))
    {
        match imported.keys.contains_key(&at("basic_auth_secrets")) {
            true => imported.left(
                line.number,
                format!("{name} asks for the password of its backend alone"),
            ),
            false => backend::auth(line, &acls, file, &at, imported),
        }
    }
}

fn is_auth(line: &Line) -> bool {
    line.word(0) == "http-request" && line.word(1) == "auth"
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
    let lines = section.defaults.iter().chain(&section.lines);
    let users: Vec<String> = lines
        .filter(|line| line.word(0) == "stats" && line.word(1) == "auth")
        .map(|line| line.word(2).to_owned())
        .collect();
    let uri = section.last(&["stats", "uri"]);
    match (uri.or(section.last(&["stats", "enable"])), users.is_empty()) {
        (None, true) => {}
        // HAProxy shows them to everybody then.
        (Some(line), true) => imported.left(
            line.number,
            "stats without stats auth are not carried over; set settings/stats_uri, and \
             settings/stats_auth to users, or to none for everybody",
        ),
        (_, false) => {
            let path = uri.map_or("/haproxy", |line| line.word(2));
            let path = path.split('?').next().unwrap_or_default();
            said.push((section.number, "stats_uri", path.to_owned()));
            said.push((section.number, "stats_auth", users.join("\n")));
        }
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
fn rules_of(
    frontend: &Frontend<'_>,
    own: Option<&str>,
    rules: &mut Vec<(usize, String)>,
    imported: &mut Imported,
) {
    let inherited = frontend.section.defaults.iter();
    for line in inherited.filter(|line| line.word(0) == "errorfile") {
        rules.push((line.number, error_file(line, imported)));
    }
    // The backend half of a `listen` keeps its rules.
    if frontend.section.kind == Kind::Listen {
        return;
    }
    let lines = &frontend.section.lines;
    let acls = Acls::of(lines);
    let mut used: Vec<usize> = Vec::new();
    for line in lines {
        let is_rule = matches!(line.word(0), "http-request" | "http-response" | "redirect");
        if let (true, (_, Some((_, condition)))) = (is_rule && !is_auth(line), split(&line.words)) {
            used.extend(acls.used(condition).iter().map(|line| line.number));
        }
    }
    for line in lines {
        match line.word(0) {
            // Asked for by the services.
            "http-request" if line.word(1) == "auth" => continue,
            "http-request" | "http-response" | "redirect" => {}
            "bind" | "use_backend" | "default_backend" => continue,
            "errorfile" => {
                rules.push((line.number, error_file(line, imported)));
                continue;
            }
            "acl" => {
                if used.contains(&line.number) {
                    rules.push((line.number, line.text.clone()));
                }
                continue;
            }
            _ if is_said_anyway(line) => continue,
            // What means nothing here is told where it is read.
            _ if own.is_none() || line.word(0) == "option" => {
                rules.push((line.number, line.text.clone()));
                continue;
            }
            _ => {
                imported.left(line.number, format!("not carried over: {}", line.text));
                continue;
            }
        }
        let text = match (own, split(&line.words)) {
            (None, _) => line.text.clone(),
            (Some(own), (action, None)) => format!("{} if {own}", join(action)),
            (Some(own), (action, Some(("if", condition)))) => {
                format!("{} if {}", join(action), narrowed(condition, own))
            }
            (Some(own), (action, Some((_, condition)))) => {
                let Some(condition) = negated(condition) else {
                    imported.left(line.number, "unless with alternatives is not carried over");
                    continue;
                };
                format!("{} if {}", join(action), narrowed(&condition, own))
            }
        };
        rules.push((line.number, text));
    }
}

fn join(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn ways_of<'a>(
    frontend: &'a Frontend<'a>,
    own: Option<String>,
    imported: &mut Imported,
) -> Vec<Way<'a>> {
    let section = frontend.section;
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
            frontend,
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
            frontend,
        });
    }
    ways
}

/// `unless a b` is `if !a || !b`, and `unless a || b` is `if !a !b`. `None` for both in one.
fn negated(words: &[String]) -> Option<Vec<String>> {
    let is_or = |word: &String| word == "||" || word == "or";
    if words.iter().any(is_or) {
        let mut all = Vec::new();
        for alternative in words.split(is_or) {
            let term = negated(alternative)?;
            if term.iter().any(is_or) {
                return None;
            }
            all.extend(term);
        }
        return Some(all);
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
