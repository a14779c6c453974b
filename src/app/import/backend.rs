//! What a backend says of itself: servers, balancing, checks, waits, rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Imported;
use super::condition::{Acls, split};
use super::file::{Kind, Line, Section};
use super::server_tls::ServerTls;
use super::translate::{File, custom, error_file, is_said_anyway, key_name};
use crate::config::haproxy::Scope;
use crate::config::{self, Address};

/// The servers of a backend as upstreams.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) upstreams: BTreeMap<String, String>,
    /// What servers say that holds for the service here.
    pub(super) keys: BTreeMap<&'static str, String>,
    /// Of the first server, once there is one.
    send_proxy: Option<Option<&'static str>>,
    tls: Option<ServerTls>,
}

/// What the options of one server, or of `default-server`, say.
#[derive(Clone, Default)]
struct Options {
    is_checked: bool,
    /// `slowstart`.
    warm_up: Option<String>,
    weight: Option<String>,
    cookie: Option<String>,
    /// Whether a name is asked for again and again.
    is_resolved: bool,
    /// A value of the key `send_proxy`.
    send_proxy: Option<&'static str>,
    tls: ServerTls,
    /// `health_check_*` keys.
    checks: BTreeMap<&'static str, String>,
}

impl Servers {
    pub(super) fn of(section: &Section, imported: &mut Imported) -> Self {
        let mut servers = Self::default();
        let mut defaults = Options::default();
        let is_default = |line: &&Line| line.word(0) == "default-server";
        for line in section
            .defaults
            .iter()
            .chain(&section.lines)
            .filter(is_default)
        {
            options(line, line.rest(1), &mut defaults, imported);
        }
        let (mut checked, mut unchecked) = (0, 0);
        let lines = section.lines.iter().filter_map(one_server);
        for line in lines {
            let line = &*line;
            let mut own = defaults.clone();
            let mut fits = options(line, line.rest(3), &mut own, imported);
            if fits && own.tls.checks_alone() {
                imported.left(
                    line.number,
                    format!(
                        "server {} is left out: check-ssl without ssl is not carried over",
                        line.word(1)
                    ),
                );
                fits = false;
            }
            let name = servers.name(line, own.cookie.as_deref(), imported);
            let Some(address) = address(line, &own, imported).filter(|_| fits) else {
                continue;
            };
            // One that does not read headers would take them for a request, and the other way round.
            if *servers.send_proxy.get_or_insert(own.send_proxy) != own.send_proxy {
                imported.left(
                    line.number,
                    format!(
                        "server {} is left out: all of a service are sent the same PROXY header, or none",
                        line.word(1)
                    ),
                );
                continue;
            }
            let is_first = servers.tls.is_none();
            if !servers
                .tls
                .get_or_insert_with(|| own.tls.clone())
                .is_like(&own.tls)
            {
                imported.left(
                    line.number,
                    format!(
                        "server {} is left out: all of a service are spoken to by the same TLS, or none",
                        line.word(1)
                    ),
                );
                continue;
            }
            let has_port = own.checks.contains_key("health_check_port");
            own.tls.tell_left(line, has_port, imported);
            if is_first {
                own.tls.carry(line, &mut servers.keys, imported);
            }
            match own.is_checked {
                true => checked += 1,
                false => unchecked += 1,
            }
            let warm_up = own.warm_up.map(|time| ("warm_up", time));
            for (key, value) in own.checks.into_iter().chain(warm_up) {
                let said = servers.keys.entry(key).or_insert_with(|| value.clone());
                if *said != value {
                    imported.left(
                        line.number,
                        format!(
                            "{key} is {said} for the whole service, not {value} for one server"
                        ),
                    );
                }
            }
            let address = match own.weight {
                Some(weight) if address.starts_with("srv:") && weight != "0" => {
                    imported.left(
                        line.number,
                        format!("weight {weight} is not carried over: SRV records have their own"),
                    );
                    address
                }
                Some(weight) if weight != "1" => format!("{address} weight={weight}"),
                _ => address,
            };
            servers.upstreams.insert(name, address);
        }
        if let Some(form) = servers.send_proxy.flatten() {
            servers.keys.insert("send_proxy", form.to_owned());
        }
        if checked == 0 {
            servers.keys.insert("health_check", "off".to_owned());
        } else if unchecked > 0 {
            imported.left(
                section.number,
                format!(
                    "{}: all servers are checked, also those without check",
                    section.name
                ),
            );
        }
        servers
    }
}

impl Servers {
    /// What cookies call the server, so that clients stay where they are, or its own name.
    fn name(&self, line: &Line, cookie: Option<&str>, imported: &mut Imported) -> String {
        let (server, written) = (line.word(1), cookie.unwrap_or(line.word(1)));
        let mut name = key_name(written);
        if self.upstreams.contains_key(&name) {
            name = key_name(server);
        }
        let taken = name.clone();
        let mut others = (2..).map(|n| format!("{taken}-{n}"));
        while self.upstreams.contains_key(&name) {
            name = others.next().unwrap_or_default();
        }
        if name != written {
            imported.left(
                line.number,
                format!("server {server} is called {name:?} here, not {written:?}"),
            );
        }
        name
    }
}

/// Answers whether the server can be used at all.
fn options(line: &Line, words: &[String], options: &mut Options, imported: &mut Imported) -> bool {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if options.tls.read(word, &mut words) {
            continue;
        }
        let mut value = || words.next().unwrap_or_default().to_owned();
        match word {
            "check" => options.is_checked = true,
            "no-check" => options.is_checked = false,
            "weight" => options.weight = Some(value()),
            "cookie" => options.cookie = Some(value()),
            "inter" => drop(options.checks.insert("health_check_interval", value())),
            "rise" => drop(options.checks.insert("health_check_rise", value())),
            "fall" => drop(options.checks.insert("health_check_fall", value())),
            "slowstart" => options.warm_up = Some(value()),
            "port" => drop(options.checks.insert("health_check_port", value())),
            "disabled" => options.weight = Some("0".to_owned()),
            "enabled" => {}
            "id" | "init-addr" => drop(value()),
            "resolvers" => {
                drop(value());
                options.is_resolved = true;
            }
            "send-proxy" => options.send_proxy = Some("v1"),
            "send-proxy-v2" => options.send_proxy = Some("v2"),
            "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => options.send_proxy = Some("v2-ssl"),
            "no-send-proxy" | "no-send-proxy-v2" => options.send_proxy = None,
            // They do where the traffic does.
            "check-send-proxy" if options.send_proxy.is_some() => {}
            "backup" => {
                imported.left(
                    line.number,
                    format!(
                        "server {} is left out: {word} is not carried over",
                        line.word(1)
                    ),
                );
                return false;
            }
            "maxconn" | "maxqueue" | "minconn" | "fastinter" | "downinter" | "resolve-prefer"
            | "resolve-net" | "resolve-opts" | "on-marked-down" | "on-marked-up" | "observe"
            | "error-limit" | "on-error" | "addr" | "source" | "track" | "proto"
            | "check-proto" | "agent-check" | "agent-port" | "agent-inter" | "pool-max-conn"
            | "proxy-v2-options" => {
                let value = value();
                imported.left(
                    line.number,
                    format!(
                        "server {}: {word} {value} is not carried over",
                        line.word(1)
                    ),
                );
            }
            word => imported.left(
                line.number,
                format!("server {}: {word} is not carried over", line.word(1)),
            ),
        }
    }
    true
}

/// A `server` line, or one that a `server-template` stands for: a name has all its addresses here.
fn one_server(line: &Line) -> Option<Cow<'_, Line>> {
    match line.word(0) {
        "server" => Some(Cow::Borrowed(line)),
        "server-template" => {
            let mut server = line.clone();
            if server.words.len() > 2 {
                server.words.remove(2);
            }
            Some(Cow::Owned(server))
        }
        _ => None,
    }
}

/// As a key has it: `10.0.0.1:80`, `app.internal:80`, `srv:_http._tcp.app.internal`.
fn address(line: &Line, options: &Options, imported: &mut Imported) -> Option<String> {
    let written = line.word(2);
    let key = match written.starts_with('_') && !written.contains(':') {
        true => format!("srv:{written}"),
        false => written.to_owned(),
    };
    let read = config::read_upstream(&key);
    match &read {
        Ok((Address::Named(name, _), _)) if !options.is_resolved => imported.left(
            line.number,
            format!("{name} is asked for again and again here, and all its addresses serve"),
        ),
        Ok(_) => {}
        Err(problem) => {
            let help = problem.help.as_ref().map(|help| format!("; {help}"));
            imported.left(
                line.number,
                format!(
                    "server {} is left out: {}{}",
                    line.word(1),
                    problem.message,
                    help.unwrap_or_default()
                ),
            );
        }
    }
    read.is_ok().then_some(key)
}

/// Waits that are settings of a service, by HAProxy's word.
const TIMEOUTS: &[(&str, &str)] = &[
    ("connect", "timeout_connect"),
    ("server", "timeout_server"),
    ("queue", "timeout_queue"),
    ("tunnel", "timeout_tunnel"),
    ("check", "health_check_timeout"),
];

/// Everything but servers and routes.
pub(super) fn settings(
    section: &Section,
    front: &[&Line],
    file: &File<'_>,
    is_http: bool,
    at: &impl Fn(&str) -> String,
    imported: &mut Imported,
) {
    for (word, key) in TIMEOUTS {
        if let Some(line) = section.last(&["timeout", word]) {
            imported.key(at(key), line.word(2));
        }
    }
    if !is_http && let Some(line) = section.last(&["timeout", "client"]) {
        imported.key(at("timeout_client"), line.word(2));
    }
    let balance = section.last(&["balance"]);
    match balance.map(|line| (line, line.word(1))) {
        None | Some((_, "roundrobin" | "static-rr")) => imported.key(at("balance"), "roundrobin"),
        Some((_, word @ ("leastconn" | "source" | "random"))) => imported.key(at("balance"), word),
        Some((line, word)) => {
            imported.left(line.number, format!("balance {word} becomes roundrobin"));
            imported.key(at("balance"), "roundrobin");
        }
    }
    if let Some(line) = section.last(&["retries"]) {
        imported.key(at("retries"), line.word(1));
    }
    if is_http && let Some(line) = section.last(&["cookie"]) {
        imported.key(at("cookie"), line.text.clone());
    }
    let mut carried: Vec<(usize, String)> = Vec::new();
    let acls = Acls::of(&section.lines);
    // Checks may stand in `defaults`; what else stands there is read by whoever it is meant for.
    let inherited = section
        .defaults
        .iter()
        .filter(|line| is_check(line) && !section.lines.iter().any(is_check));
    for line in front.iter().copied().chain(inherited).chain(&section.lines) {
        match line.word(0) {
            "stats" if section.kind == Kind::Backend => imported.left(
                line.number,
                "stats of a backend are not carried over; settings/stats_uri shows them",
            ),
            "errorfile" => carried.push((line.number, error_file(line, imported))),
            "server" | "server-template" | "default-server" | "balance" | "cookie" | "retries"
            | "mode" | "timeout" | "bind" | "use_backend" | "default_backend" => {}
            _ if is_said_anyway(line) => {}
            "http-request" if line.word(1) == "auth" => auth(line, &acls, file, at, imported),
            "acl" if line.word(2).starts_with("http_auth") => {}
            _ => carried.push((line.number, line.text.clone())),
        }
    }
    let scope = match is_http {
        true => Scope::Http,
        false => Scope::Tcp,
    };
    if let Some(text) = custom(&carried, scope, imported) {
        imported.key(at("custom_settings"), text);
    }
}

fn is_check(line: &Line) -> bool {
    line.word(0) == "http-check" || (line.word(0) == "option" && line.word(1) == "httpchk")
}

/// `http-request auth [realm R] unless { http_auth(LIST) }`.
pub(super) fn auth(
    line: &Line,
    acls: &Acls<'_>,
    file: &File<'_>,
    at: &impl Fn(&str) -> String,
    imported: &mut Imported,
) {
    let (action, condition) = split(&line.words);
    let asked = condition.and_then(|(word, condition)| match (word, condition) {
        ("unless", [open, test, close]) if open == "{" && close == "}" => Some(test.clone()),
        ("unless", [name]) => acls
            .used(std::slice::from_ref(name))
            .first()
            .map(|l| l.word(2).to_owned()),
        ("if", [name]) => {
            let name = name.strip_prefix('!')?.to_owned();
            acls.used(&[name]).first().map(|l| l.word(2).to_owned())
        }
        _ => None,
    });
    let list = asked
        .as_deref()
        .and_then(|test| test.strip_prefix("http_auth(")?.strip_suffix(')'))
        .and_then(|name| file.userlists.get(name));
    let Some(list) = list else {
        imported.left(
            line.number,
            "not carried over: only `http-request auth unless { http_auth(LIST) }` is; the service \
             would be open, so it asks for a password that nobody has",
        );
        // The form of a hash that is none of any password.
        let secret = format!("user nobody password $5$nobody${}", ".".repeat(43));
        imported.key(at("basic_auth_secrets"), secret);
        return;
    };
    let users: Vec<String> = list.all("user").map(|line| line.text.clone()).collect();
    imported.key(at("basic_auth_secrets"), users.join("\n"));
    if let Some(realm) = action.iter().position(|word| word == "realm") {
        let realm = action.get(realm + 1).map_or("", String::as_str);
        imported.key(at("basic_auth_realm"), realm);
    }
}
