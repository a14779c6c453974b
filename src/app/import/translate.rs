//! Sections to keys.

use std::collections::BTreeMap;

use super::backend::Servers;
use super::condition::quoted;
use super::file::{Kind, Line, Section, sections};
use super::frontend::Frontend;
use super::{Imported, backend, frontend, resolvers};
use crate::config::haproxy::{self, LineProblem, Scope};
use crate::config::{self, Balancer};
use crate::diag::Diagnostic;
use crate::names::UnitName;

/// Everything a file says, as keys.
pub(super) fn translate(text: &str) -> Imported {
    let mut imported = Imported::default();
    let (sections, problems) = sections(text);
    for (line, why) in problems {
        imported.left(line, why);
    }
    let file = File::new(&sections);
    resolvers::carry(&sections, &mut imported);
    for section in &sections {
        match section.kind {
            Kind::Global => global(section, &mut imported),
            Kind::Other if resolvers::is(section) => {}
            Kind::Other => imported.left(
                section.number,
                format!("section {} is not carried over", section.name),
            ),
            Kind::Userlist | Kind::Backend => {}
            Kind::Frontend | Kind::Listen if section.is_tcp() => {
                frontend::tcp(section, &file, &mut imported);
            }
            Kind::Frontend | Kind::Listen => {}
        }
    }
    let http: Vec<Frontend<'_>> = sections
        .iter()
        .filter(|s| matches!(s.kind, Kind::Frontend | Kind::Listen) && !s.is_tcp())
        .filter_map(|section| Frontend::new(section, &mut imported))
        .collect();
    frontend::http(&http, &file, &mut imported);
    frontend::accept_proxy(&mut imported);
    frontend::untold_doors(&mut imported);
    access_log(&sections, &mut imported);
    untold_defaults(&sections, &mut imported);
    for section in file.unused(&imported) {
        imported.left(
            section.number,
            format!("backend {} is used by no frontend", section.name),
        );
    }
    imported.left.sort();
    imported.left.dedup();
    imported
}

/// What sections say about each other.
pub(super) struct File<'a> {
    pub(super) backends: BTreeMap<&'a str, &'a Section>,
    pub(super) userlists: BTreeMap<&'a str, &'a Section>,
    /// Whether an HTTP frontend leads anywhere.
    pub(super) has_http_routes: bool,
}

impl<'a> File<'a> {
    fn new(sections: &'a [Section]) -> Self {
        let of = |wanted: fn(Kind) -> bool| {
            let found = sections.iter().filter(move |s| wanted(s.kind));
            found.map(|s| (s.name.as_str(), s)).collect()
        };
        Self {
            backends: of(|kind| matches!(kind, Kind::Backend | Kind::Listen)),
            userlists: of(|kind| kind == Kind::Userlist),
            has_http_routes: sections.iter().any(|section| {
                let leads = |line: &Line| {
                    matches!(line.word(0), "use_backend" | "default_backend" | "server")
                };
                matches!(section.kind, Kind::Frontend | Kind::Listen)
                    && !section.is_tcp()
                    && section.lines.iter().any(leads)
            }),
        }
    }

    fn unused(&self, imported: &Imported) -> Vec<&'a Section> {
        let is_used = |name: &str| {
            ["services", "tcp-services"].iter().any(|dir| {
                let prefix = format!("{dir}/{}/", key_name(name));
                imported
                    .keys
                    .range(prefix.clone()..)
                    .next()
                    .is_some_and(|(key, _)| key.starts_with(&prefix))
            })
        };
        let mut unused = Vec::new();
        for (name, section) in &self.backends {
            if section.kind == Kind::Backend && !is_used(name) {
                unused.push(*section);
            }
        }
        unused
    }
}

/// A name in the file as a name in a key: of what a file can be called, and not hidden.
pub(super) fn key_name(name: &str) -> String {
    let is_good = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\');
    let mut name: String = name
        .chars()
        .map(|c| if is_good(c) { c } else { '-' })
        .take(150)
        .collect();
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '-');
    }
    name
}

/// The name for the service of a section, which no other has.
pub(super) fn service_name(dir: &str, name: &str, imported: &Imported) -> String {
    let name = key_name(name);
    let is_free = |name: &str| {
        let prefix = format!("{dir}/{name}/");
        let next = imported.keys.range(prefix.clone()..).next();
        next.is_none_or(|(key, _)| !key.starts_with(&prefix))
    };
    let mut all = (2..).map(|n| format!("{name}-{n}"));
    match is_free(&name) {
        true => name,
        false => all.find(|name| is_free(name)).unwrap_or(name),
    }
}

fn global(section: &Section, imported: &mut Imported) {
    for line in &section.lines {
        match line.word(0) {
            "maxconn" => imported.key("settings/max_connections", line.word(1)),
            // Read by `access_log`.
            "log" => {}
            "ssl-default-bind-ciphers"
            | "ssl-default-bind-ciphersuites"
            | "ssl-default-bind-options" => handshakes(line, imported),
            // Ours by other means: workers, service managers, the stats listener.
            "daemon" | "user" | "group" | "uid" | "gid" | "chroot" | "pidfile" | "nbproc"
            | "nbthread" | "cpu-map" | "master-worker" | "stats" | "node" | "description"
            | "log-tag" | "ulimit-n" | "localpeer" => {}
            word => imported.left(line.number, format!("global {word} is not carried over")),
        }
    }
}

/// A line about what handshakes come to, in its own words. What it leaves out is told with the key.
fn handshakes(line: &Line, imported: &mut Imported) {
    const KEY: &str = "settings/global_settings";
    let text = format!(
        "balancer:\n  global_settings: {}\n",
        serde_json::Value::from(line.text.as_str())
    );
    if let Err(problems) = config::parse(&UnitName::from("balancer"), &text, &Balancer::default()) {
        let why = told(&problems);
        imported.left(
            line.number,
            format!("not carried over: {}: {why}", line.text),
        );
        return;
    }
    let before = imported.keys.get(KEY).map(|lines| format!("{lines}\n"));
    imported.key(KEY, before.unwrap_or_default() + &line.text);
}

/// The first problem and what to do.
pub(super) fn told(problems: &[Diagnostic]) -> String {
    problems.first().map_or(String::new(), |problem| {
        let help = problem.help.as_ref().map(|help| format!("; {help}"));
        format!("{}{}", problem.message, help.unwrap_or_default())
    })
}

/// `log 127.0.0.1:514 local0 info`, where somebody writes to it.
fn access_log(sections: &[Section], imported: &mut Imported) {
    let is_proxy = |kind| matches!(kind, Kind::Frontend | Kind::Listen);
    let proxies = sections.iter().filter(|section| is_proxy(section.kind));
    let said: Vec<&Line> = proxies
        .flat_map(|section| section.defaults.iter().chain(&section.lines))
        .filter(|line| line.word(0) == "log")
        .collect();
    let is_global = |line: &&Line| line.word(1) == "global";
    let global = sections
        .iter()
        .filter(|section| section.kind == Kind::Global && said.iter().any(is_global));
    let mut lines: Vec<&Line> = global.flat_map(|section| section.all("log")).collect();
    lines.extend(said.iter().filter(|line| !is_global(line)));
    lines.sort_by_key(|line| line.number);
    lines.dedup_by_key(|line| line.number);
    for line in lines {
        let target = match line.word(1) {
            "stdout" | "fd@1" => "stdout".to_owned(),
            _ => line.rest(1).join(" "),
        };
        let text = format!(
            "balancer:\n  access_log: {}\n",
            serde_json::Value::from(target.as_str())
        );
        let why = match config::parse(&UnitName::from("balancer"), &text, &Balancer::default()) {
            Err(problems) => told(&problems),
            Ok(_) if imported.keys.contains_key("settings/access_log") => {
                "requests are logged to one place".to_owned()
            }
            Ok(_) => {
                imported.key("settings/access_log", target);
                imported.key("settings/access_log_format", "httplog");
                continue;
            }
        };
        imported.left(
            line.number,
            format!("not carried over: {}: {why}", line.text),
        );
    }
}

/// `errorfile 503 /etc/haproxy/errors/503.http` as the line it becomes. The file has to be brought.
pub(super) fn error_file(line: &Line, imported: &mut Imported) -> String {
    let path = line.word(2);
    let file = path.rsplit('/').next().unwrap_or_default();
    let name = match file.ends_with(".http") {
        true => file.to_owned(),
        false => format!("{}.http", line.word(1)),
    };
    let text = format!("errorfile {} {}", line.word(1), quoted(&name));
    // Where it is refused, that is what is told.
    if haproxy::problems(&text, Scope::Balancer).is_empty() {
        imported.left(
            line.number,
            format!("copy {path} as {name} into a directory, and start with --error-pages DIR"),
        );
    }
    text
}

/// Lines of `defaults` that are neither read for whom they hold nor say what is so anyway.
fn untold_defaults(sections: &[Section], imported: &mut Imported) {
    let is_proxy = |kind| matches!(kind, Kind::Frontend | Kind::Backend | Kind::Listen);
    let proxies = sections.iter().filter(|section| is_proxy(section.kind));
    for line in proxies.flat_map(|section| &section.defaults) {
        let is_read = match line.word(0) {
            "balance" | "cookie" | "default-server" | "errorfile" | "http-check" | "retries" => {
                true
            }
            "option" => {
                matches!(line.word(1), "httpchk" | "http-server-close" | "httpclose")
                    || is_said_anyway(line)
            }
            // These have to be told where they stand, and once.
            "no" => line.word(1) == "option",
            _ => is_said_anyway(line),
        };
        if !is_read {
            imported.left(line.number, format!("not carried over: {}", line.text));
        }
    }
}

/// What needs no line: it is read by other means, says what is always so, or changes no answer.
pub(super) fn is_said_anyway(line: &Line) -> bool {
    match line.word(0) {
        "mode" | "log" | "maxconn" | "monitor-uri" | "timeout" | "description" | "id"
        | "enabled" => true,
        "stats" => line.word(1) != "admin" && line.word(1) != "http-request",
        "option" => match line.word(1) {
            "httplog"
            | "tcplog"
            | "dontlognull"
            | "http-ignore-probes"
            | "redispatch"
            | "http-keep-alive"
            | "contstats"
            | "abortonclose"
            | "log-health-checks"
            | "dontlog-normal"
            | "log-separate-errors"
            | "logasap"
            | "tcpka"
            | "clitcpka"
            | "srvtcpka"
            | "splice-auto"
            | "tcp-smart-accept"
            | "tcp-smart-connect" => true,
            // Who else is believed is for `trusted_proxies` to say.
            "forwardfor" => line.rest(2).iter().all(|word| word != "header"),
            _ => false,
        },
        _ => false,
    }
}

/// Lines for `custom_settings`, without those that would be refused there or say nothing.
pub(super) fn custom(
    lines: &[(usize, String)],
    scope: Scope,
    imported: &mut Imported,
) -> Option<String> {
    let mut lines = lines.to_vec();
    loop {
        let text: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        let text = text.join("\n");
        // The last one first: a rule goes before the acl line that it needs.
        let mut problems = haproxy::problems(&text, scope);
        problems.sort_by_key(|problem| problem.line);
        let Some(LineProblem { line, problem }) = problems.pop() else {
            return (!text.is_empty()).then_some(text);
        };
        let at = line.saturating_sub(1).min(lines.len().checked_sub(1)?);
        let (number, text) = lines.remove(at);
        let help = problem.help.map(|help| format!("; {help}"));
        imported.left(
            number,
            format!(
                "not carried over: {text}: {}{}",
                problem.message,
                help.unwrap_or_default()
            ),
        );
    }
}

/// What a backend becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Http,
    Tcp,
    /// An HTTP service with `ssl_passthrough`, whose requests nobody reads.
    Passthrough,
}

impl Form {
    fn dir(self) -> &'static str {
        match self {
            Self::Http | Self::Passthrough => "services",
            Self::Tcp => "tcp-services",
        }
    }
}

/// The keys of one backend (or the backend half of a `listen`) as a service. `front` are rules of the
/// frontend that only this service has.
pub(super) fn service(
    form: Form,
    name: &str,
    section: &Section,
    front: &[&Line],
    file: &File<'_>,
    imported: &mut Imported,
) {
    let dir = form.dir();
    let at = |key: &str| format!("{dir}/{name}/{key}");
    let is_http = form == Form::Http;
    let servers = Servers::of(section, imported);
    for (upstream, address) in &servers.upstreams {
        imported.key(at(&format!("upstreams/{upstream}")), address);
    }
    for (key, value) in &servers.keys {
        imported.key(at(key), value);
    }
    backend::settings(section, front, file, is_http, &at, imported);
}
