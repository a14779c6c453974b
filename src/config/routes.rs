//! What leads requests to an HTTP service: hosts, paths, a condition, and who goes first.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::address::{Query, host, path};
use super::auth::AUTH_FIELDS;
use super::client_auth::CLIENT_AUTH_FIELDS;
use super::fields::Fields;
use super::haproxy::{self, LineProblem};
use super::host_regex::HostRegex;
use super::service::NEEDS_REQUESTS;
use super::unit::{Compat, HostPattern, HttpRoutes, Passthrough, PathPattern, RouteCondition};
use super::values::{self, Problem};
use crate::diag::quoted;
use crate::rules::Source;

pub(super) const ROUTES_PER_SERVICE: usize = 1_000;
pub(super) const HOST_PATTERNS_PER_SERVICE: usize = 100;
const PRIORITY: RangeInclusive<i32> = -1000..=1000;

pub(super) fn routes(fields: &mut Fields<'_>, compat: Compat) -> HttpRoutes {
    let hosts = hosts(fields);
    let host_regex = host_regex(fields);
    let mut paths = paths(fields, compat);
    let names_hosts = !hosts.is_empty() || host_regex.is_some();
    let passthrough = passthrough(fields, names_hosts);
    if !names_hosts && paths.is_empty() && passthrough.is_none() {
        paths.insert(PathPattern::Prefix("/".to_owned()));
    }
    let (keep_virtual_path, adds_slash) = kept_path(fields, compat);
    HttpRoutes {
        hosts: hosts.into_iter().collect(),
        host_regex,
        paths: paths.into_iter().collect(),
        condition: condition(fields),
        priority: fields.read("priority", priority).unwrap_or(0),
        keep_virtual_path,
        adds_slash,
        is_default: fields.read("default", values::boolean).unwrap_or(false),
        passthrough,
        redirected: Vec::new(),
    }
}

fn passthrough(fields: &mut Fields<'_>, names_hosts: bool) -> Option<Passthrough> {
    let word = fields.read("ssl_passthrough", |text| match text {
        "unknown" => Ok(Some(Passthrough::Unknown)),
        _ => values::boolean(text).map(|on| on.then_some(Passthrough::Hosts)),
    });
    let passthrough = word.flatten()?;
    if passthrough == Passthrough::Hosts && !names_hosts {
        fields.error(
            "missing-field",
            "ssl_passthrough",
            "ssl_passthrough is on, but no host leads here",
            "set virtual_hosts: connections are told apart by the name that they ask for",
        );
    }
    let asking = AUTH_FIELDS.iter().chain(CLIENT_AUTH_FIELDS);
    for field in NEEDS_REQUESTS.iter().chain(asking) {
        if fields.says(field) {
            fields.error(
                "conflict",
                field,
                &format!("{field} cannot be done with ssl_passthrough"),
                "nobody reads the requests on the way: remove one of the two",
            );
        }
    }
    Some(passthrough)
}

fn hosts(fields: &mut Fields<'_>) -> BTreeSet<HostPattern> {
    let mut hosts = BTreeSet::new();
    for written in fields.items("virtual_hosts", ROUTES_PER_SERVICE) {
        match host(written.text) {
            Ok((pattern, has_port)) => {
                if has_port {
                    fields.warn(
                        "port-ignored",
                        "virtual_hosts",
                        format!(
                            "virtual_hosts {} has a port, which is not compared",
                            quoted(written.text)
                        ),
                        "remove the port; the name is taken on every listener",
                    );
                }
                hosts.insert(pattern);
            }
            Err(problem) => fields.refuse("virtual_hosts", written, &problem),
        }
    }
    hosts
}

/// One pattern on each line: commas belong to patterns.
fn host_regex(fields: &mut Fields<'_>) -> Option<Arc<HostRegex>> {
    let written = fields.text("virtual_host_regex")?;
    let lines = written.text.lines().map(str::trim);
    let patterns: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if patterns.len() > HOST_PATTERNS_PER_SERVICE {
        fields.error(
            "too-many",
            "virtual_host_regex",
            &format!("virtual_host_regex has {} patterns", patterns.len()),
            &format!("it may have {HOST_PATTERNS_PER_SERVICE}"),
        );
        return None;
    }
    match HostRegex::new(&patterns) {
        Ok(regex) => Some(Arc::new(regex)),
        Err(problems) => {
            for problem in &problems {
                fields.refuse("virtual_host_regex", written, problem);
            }
            None
        }
    }
}

fn paths(fields: &mut Fields<'_>, compat: Compat) -> BTreeSet<PathPattern> {
    let mut paths = BTreeSet::new();
    for written in fields.items("virtual_path", ROUTES_PER_SERVICE) {
        match path_pattern(written.text, compat) {
            Ok(pattern) => {
                let (PathPattern::Prefix(path) | PathPattern::Exact(path) | PathPattern::Raw(path)) =
                    &pattern;
                if path.ends_with('*') {
                    fields.warn(
                        "odd-path",
                        "virtual_path",
                        format!(
                            "virtual_path {} takes only paths with a * in them",
                            quoted(written.text)
                        ),
                        match &pattern {
                            PathPattern::Prefix(_) => {
                                "remove the *; a path takes everything below it"
                            }
                            PathPattern::Exact(_) => "remove the * if it is not part of the path",
                            PathPattern::Raw(_) => {
                                "one * at the end takes whatever begins like the path"
                            }
                        },
                    );
                }
                paths.insert(pattern);
            }
            Err(problem) => fields.refuse("virtual_path", written, &problem),
        }
    }
    paths
}

/// `=/this`, `/this*` or `/this`. A star was nothing special in Kontena's keys, where every path was a
/// raw prefix anyway.
fn path_pattern(text: &str, compat: Compat) -> Result<PathPattern, Problem> {
    if let Some(exact) = text.strip_prefix('=') {
        if exact.is_empty() {
            return Err(Problem::new(
                "\"=\" is no path",
                "the path stands behind the =, as in \"=/api\"",
            ));
        }
        return path(exact, Query::Refused).map(PathPattern::Exact);
    }
    match text.strip_suffix('*') {
        Some(raw) if compat == Compat::Pointsman && !raw.is_empty() => {
            path(raw, Query::Refused).map(PathPattern::Raw)
        }
        _ => path(text, Query::Refused).map(PathPattern::Prefix),
    }
}

/// `acl` lines, if need be, and a condition.
fn condition(fields: &mut Fields<'_>) -> Option<Arc<RouteCondition>> {
    let written = fields.text("match")?;
    match haproxy::condition(written.text) {
        Ok(condition) => {
            if condition.sources().any(Source::is_of_answer) {
                let problem = Problem::new(
                    "looks at the answer, which is not there when a request is led",
                    "write a condition on method, host, path, query, fields or addresses",
                );
                fields.refuse("match", written, &problem);
                return None;
            }
            let text = written.text.to_owned();
            Some(Arc::new(RouteCondition { text, condition }))
        }
        Err(problems) => {
            for LineProblem { line, problem } in problems {
                let problem = Problem {
                    message: format!("line {line} {}", problem.message),
                    ..problem
                };
                fields.refuse("match", written, &problem);
            }
            None
        }
    }
}

fn priority(text: &str) -> Result<i32, Problem> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::new(
            format!("{} is no whole number", quoted(text)),
            format!(
                "write a number from {} to {}",
                PRIORITY.start(),
                PRIORITY.end()
            ),
        ));
    }
    match text.parse::<i32>() {
        Ok(n) if PRIORITY.contains(&n) => Ok(n),
        _ => Err(Problem::new(
            format!("{} is out of range", quoted(text)),
            format!("it goes from {} to {}", PRIORITY.start(), PRIORITY.end()),
        )),
    }
}

/// Whether the path is passed on as it came, and whether a slash is added behind the bare root. The
/// two keys for it are in the words of two balancers, and have to agree.
fn kept_path(fields: &mut Fields<'_>, compat: Compat) -> (bool, bool) {
    let keep = keep_virtual_path(fields, compat);
    let rewrite = fields.read("context_root_rewrite", values::boolean);
    if let (Some(keep), Some(rewrite)) = (keep, rewrite)
        && keep == rewrite
    {
        let message = match keep {
            true => {
                "context_root_rewrite true cuts the path off and keep_virtual_path true keeps it"
            }
            false => {
                "context_root_rewrite false keeps the path and keep_virtual_path false cuts it off"
            }
        };
        let help = "remove one of the two";
        fields.error("conflict", "context_root_rewrite", message, help);
    }
    let keep = keep.or(rewrite.map(|rewrite| !rewrite)).unwrap_or(false);
    (keep, rewrite.unwrap_or(false))
}

/// In Kontena only `true` kept the path, and `1` or `yes` stripped it; who comes from there has
/// applications that rely on it.
fn keep_virtual_path(fields: &mut Fields<'_>, compat: Compat) -> Option<bool> {
    if compat == Compat::Pointsman {
        return fields.read("keep_virtual_path", values::boolean);
    }
    let written = fields.text("keep_virtual_path")?;
    let keep = written.text.eq_ignore_ascii_case("true");
    if !keep && values::boolean(written.text) != Ok(false) {
        fields.warn(
            "not-true",
            "keep_virtual_path",
            format!(
                "keep_virtual_path {} strips the path: with compat kontena only \"true\" keeps it",
                quoted(written.text)
            ),
            "write \"true\" or \"false\"",
        );
    }
    Some(keep)
}
