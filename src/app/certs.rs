//! `pointsman certs`: every certificate, where it is from, how long it lasts, and whether it is served.
//!
//! The keys are judged here as a node would judge them. What nodes say of themselves on the status board
//! goes over that: they know what they keep in place of a refused one, and have certificates of their
//! own that are not seen from here. Without any node the table is what a node would begin with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::app::cli::LookArgs;
use crate::app::look::{self, Look};
use crate::app::pipeline::unix_time;
use crate::config::{self, Accepted, Balancer, Unit};
use crate::diag::Diagnostic;
use crate::names::natural;
use crate::status::{NodeStatus, Serving};
use crate::tls::{Certificate, time_text};

/// Units below are certificates, whatever became of them.
const CERTS: &str = "certs/";

const DAY: i64 = 24 * 3600;

/// Names of one certificate that the table shows, and characters of an issuer.
const NAMES_SHOWN: usize = 3;
const ISSUER_SHOWN: usize = 40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    Live,
    ExpiresSoon,
    Expired,
    /// Not served anywhere.
    Refused,
    /// Refused, and a node serves the last good one of that name.
    Kept,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    unit: String,
    /// The store it is from, or the node that alone has it.
    source: String,
    state: State,
    /// Why it is not live, or what is to be told of it.
    reasons: Vec<String>,
    /// Nodes that serve the last good one in its place.
    kept_by: Vec<String>,
    /// Of the newest text, as far as it can be read.
    #[serde(flatten)]
    facts: Option<Facts>,
}

#[derive(Debug, Serialize)]
struct Facts {
    names: Vec<String>,
    issuer: String,
    serial: String,
    key_type: String,
    fingerprint: String,
    not_before: String,
    not_after: String,
    days_left: i64,
}

/// 1 if anything is refused or has expired.
pub(super) fn certs(json: bool, args: &LookArgs) -> anyhow::Result<ExitCode> {
    let look = look::dry_run(args)?;
    for problem in &look.problems {
        eprintln!("{problem}");
    }
    let rows = rows(&look, &look.nodes(), unix_time());
    let is_fine = |row: &Row| matches!(row.state, State::Live | State::ExpiresSoon);
    let code = match rows.iter().all(is_fine) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    let text = match (json, rows.is_empty()) {
        (true, _) => serde_json::to_string_pretty(&rows)? + "\n",
        (false, true) => "no certificates\n".to_owned(),
        (false, false) => table(&rows),
    };
    look::print(&text)?;
    Ok(code)
}

fn rows(look: &Look, nodes: &[NodeStatus], now: i64) -> Vec<Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for own in look.dry.plan.certificates().iter() {
        let row = row(&mut rows, own.unit.as_str());
        row.name = own.name.as_str().to_owned();
        row.facts = Some(Facts::of(&own.certificate, now));
    }
    for problem in &look.dry.diagnostics {
        if rows.contains_key(&problem.unit) || problem.unit.starts_with(CERTS) {
            let row = row(&mut rows, &problem.unit);
            row.take(problem);
            if row.facts.is_none() {
                row.facts = written(look, &problem.unit).map(|own| Facts::of(&own, now));
            }
        }
    }
    for row in rows.values_mut() {
        let source = look.tree.source_of(&row.unit);
        row.source = source.unwrap_or_default().to_owned();
    }
    for node in nodes {
        let is_told = |d: &&Diagnostic| ["expires-soon", "expired"].contains(&d.code.as_str());
        for warning in node.warnings.iter().filter(is_told) {
            // Of those that are seen from here all is known, but for an end that only who served
            // it before can outlive.
            if warning.unit.starts_with(CERTS) && !rows.contains_key(&warning.unit) {
                let row = row(&mut rows, &warning.unit);
                row.source = format!("node {}", node.node);
                row.take(warning);
            }
        }
        for refusal in node.refused.iter().filter(|r| r.unit.starts_with(CERTS)) {
            let is_new = !rows.contains_key(&refusal.unit);
            let row = row(&mut rows, &refusal.unit);
            if is_new {
                row.source = format!("node {}", node.node);
            }
            if matches!(row.state, State::Live | State::ExpiresSoon) {
                row.state = State::Refused;
                row.reasons.clear();
            }
            if row.reasons.is_empty() {
                row.reasons.push(refusal.reason());
            }
            if refusal.serving == Serving::LastGood {
                row.state = State::Kept;
                row.kept_by.push(node.node.clone());
            }
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by(|a, b| natural(&a.name, &b.name).then_with(|| a.unit.cmp(&b.unit)));
    rows
}

fn row<'a>(rows: &'a mut BTreeMap<String, Row>, unit: &str) -> &'a mut Row {
    rows.entry(unit.to_owned()).or_insert_with(|| Row {
        name: unit.strip_prefix(CERTS).unwrap_or(unit).to_owned(),
        unit: unit.to_owned(),
        ..Row::default()
    })
}

/// What a refused unit's text has in it, if it is a certificate at all: one that has ended is.
fn written(look: &Look, unit: &str) -> Option<std::sync::Arc<Certificate>> {
    let text = look.dry.renderer.text(unit)?;
    let parsed = config::parse(&unit.into(), &text, &Balancer::default());
    match parsed {
        Ok(Accepted {
            unit: Unit::Certificate(own),
            ..
        }) => Some(own.bundle),
        _ => None,
    }
}

impl Row {
    fn take(&mut self, problem: &Diagnostic) {
        let state = match (problem.code.as_str(), problem.is_error()) {
            ("expired", _) => State::Expired,
            ("expires-soon", _) => State::ExpiresSoon,
            (_, true) => State::Refused,
            (_, false) => self.state,
        };
        if self.state != State::Refused {
            self.state = state;
        }
        self.reasons.push(problem.to_string());
    }

    fn state(&self) -> String {
        let reason = self.reasons.first().map_or("", String::as_str);
        let more = match self.reasons.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        match self.state {
            State::Live => "live".to_owned(),
            State::ExpiresSoon => "expires soon".to_owned(),
            State::Expired => "expired".to_owned(),
            State::Refused => format!("refused: {reason}{more}"),
            State::Kept => {
                let by = self.kept_by.join(", ");
                format!("last good kept by {by}: {reason}{more}")
            }
        }
    }
}

impl Facts {
    fn of(own: &Certificate, now: i64) -> Self {
        Self {
            names: own.names().iter().map(ToString::to_string).collect(),
            issuer: own.issuer().to_owned(),
            serial: own.serial().to_owned(),
            key_type: own.key_type().to_string(),
            fingerprint: own.fingerprint(),
            not_before: time_text(own.not_before()),
            not_after: time_text(own.not_after()),
            days_left: (own.not_after() - now).div_euclid(DAY),
        }
    }

    fn names(&self) -> String {
        let shown = self.names.get(..NAMES_SHOWN).unwrap_or(&self.names);
        match self.names.len() - shown.len() {
            0 => shown.join(", "),
            more => format!("{} +{more}", shown.join(", ")),
        }
    }

    fn issuer(&self) -> String {
        match self.issuer.char_indices().nth(ISSUER_SHOWN) {
            Some((cut, _)) => format!("{}...", &self.issuer[..cut]),
            None => self.issuer.clone(),
        }
    }
}

fn table(rows: &[Row]) -> String {
    let head = [
        "NAME", "NAMES", "ISSUER", "KEY", "EXPIRES", "DAYS", "SOURCE", "STATE",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let fact = |show: &dyn Fn(&Facts) -> String| {
            row.facts.as_ref().map_or_else(|| "-".to_owned(), show)
        };
        let cells = [
            row.name.clone(),
            fact(&Facts::names),
            fact(&Facts::issuer),
            fact(&|facts| facts.key_type.clone()),
            fact(&|facts| facts.not_after.chars().take_while(|c| *c != 'T').collect()),
            fact(&|facts| facts.days_left.to_string()),
            row.source.clone(),
            row.state(),
        ];
        lines.push(cells.map(|cell| one_line(&cell)));
    }
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(at, (cell, width))| match at {
                5 => format!("{cell:>width$}"),
                7 => cell.clone(),
                _ => format!("{cell:width$}"),
            });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  "));
    }
    text
}

/// Keys and issuers are called what their writers liked.
fn one_line(cell: &str) -> String {
    let escaped = cell.chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    escaped.collect()
}
