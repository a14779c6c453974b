//! Sections to keys.

use std::collections::BTreeMap;

use super::backend::Servers;
use super::file::{Kind, Line, Section, sections};
use super::frontend::Frontend;
use super::{Imported, backend, frontend};
use crate::config::haproxy::{self, LineProblem, Scope};

/// Everything a file says, as keys.
pub(super) fn translate(text: &str) -> Imported {
    let mut imported = Imported::default();
    let (sections, problems) = sections(text);
    for (line, why) in problems {
        imported.left(line, why);
    }
    let file = File::new(&sections);
    for section in &sections {
        match section.kind {
            Kind::Global => global(section, &mut imported),
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
        }
    }

    fn unused(&self, imported: &Imported) -> Vec<&'a Section> {
        let is_used = |name: &str| {
            ["services", "tcp-services"].iter().any(|dir| {
                let prefix = format!("{dir}/{}/", service_name(name));
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

/// A name of a section as the name of a service.
pub(super) fn service_name(name: &str) -> String {
    name.replace(['/', '"', '\\'], "-")
}

fn global(section: &Section, imported: &mut Imported) {
    for line in &section.lines {
        match line.word(0) {
            "maxconn" => imported.key("settings/max_connections", line.word(1)),
            "log" => log_target(line, imported),
            // Ours by other means: workers, service managers, the stats listener.
            "daemon" | "user" | "group" | "uid" | "gid" | "chroot" | "pidfile" | "nbproc"
            | "nbthread" | "cpu-map" | "master-worker" | "stats" | "node" | "description"
            | "log-tag" | "ulimit-n" | "localpeer" => {}
            word => imported.left(line.number, format!("global {word} is not carried over")),
        }
    }
}

/// `log 127.0.0.1:514 local0 info`.
fn log_target(line: &Line, imported: &mut Imported) {
    let target = line.rest(1).join(" ");
    imported.key("settings/access_log", target);
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

/// The keys of one backend (or the backend half of a `listen`) as a service.
pub(super) fn service(
    dir: &str,
    name: &str,
    section: &Section,
    file: &File<'_>,
    imported: &mut Imported,
) {
    let at = |key: &str| format!("{dir}/{}/{key}", service_name(name));
    let is_http = dir == "services";
    let servers = Servers::of(section, imported);
    for (upstream, address) in &servers.upstreams {
        imported.key(at(&format!("upstreams/{upstream}")), address);
    }
    for (key, value) in &servers.keys {
        imported.key(at(key), value);
    }
    backend::settings(section, file, is_http, &at, imported);
}
