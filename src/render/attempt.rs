//! One template run for one unit, and what the engine's errors say to a person.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use tera::{Context, ErrorKind};

use super::reads::Read;
use super::scope::Scope;
use super::templates::{File, Templates};
use super::{Failure, TEXT_BYTES};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::snapshot::Snapshot;

/// What came of a run. The reads count whether it went well or not: they are what may mend it.
pub(super) struct Attempt {
    pub(super) text: Result<Arc<str>, Failure>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) reads: BTreeSet<Read>,
}

/// Renders `file` for `unit`; `dir` is the unit's own directory, if it has one.
pub(super) fn attempt(
    templates: &Templates,
    file: &str,
    unit: &UnitName,
    dir: Option<&str>,
    snapshot: &Snapshot,
) -> Attempt {
    let mut context = Context::new();
    let name = unit.as_str().rsplit('/').next().unwrap_or_default();
    context.insert("name", name);
    context.insert("unit", unit.as_str());
    let scope = Scope::new(snapshot.clone(), dir.unwrap_or_default());
    let mut out = Capped::default();
    let (result, scope) = scope.during(|| templates.tera.render_to(file, &context, &mut out));
    let refuse = |code: &str, why: &str| Diagnostic::error(code, format!("{file}: {why}"));
    let text = match result {
        Ok(Ok(())) => String::from_utf8(out.bytes)
            .map(Arc::from)
            .map_err(|_| refuse("template-failed", "the text is no UTF-8")),
        Ok(Err(_)) if out.is_over => {
            let why = format!("the text has more than {TEXT_BYTES} bytes");
            Err(refuse("too-big", &why).help("split it into more units, or take values out of it"))
        }
        Ok(Err(error)) => {
            let mut problem = describe(&error, &templates.files);
            if let Some(failure) = scope.failure {
                problem.message = format!("{file}: {}", failure.message);
                problem.code = failure.code;
                problem.key = failure.key;
                problem.help = failure.help;
            } else {
                problem = problem.help(format!("line and column are those of {file}"));
            }
            Err(problem)
        }
        Err(_) => Err(refuse("template-failed", "the template engine failed")),
    };
    let named = |diagnostic: Diagnostic| diagnostic.in_unit(unit);
    Attempt {
        text: text.map_err(|problem| Box::new(named(problem))),
        warnings: scope.warnings.into_iter().map(named).collect(),
        reads: scope.reads,
    }
}

/// An engine error as a diagnostic: file in the message and as its unit, line and column of the file.
pub(super) fn describe(error: &tera::Error, files: &BTreeMap<String, File>) -> Diagnostic {
    let (file, line, column, message) = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => (
            report.filename().to_owned(),
            report.span().start_line,
            report.span().start_col + 1,
            report.message().to_owned(),
        ),
        ErrorKind::CircularInclude { tpl, .. } | ErrorKind::CircularExtend { tpl, .. } => (
            tpl.clone(),
            0,
            0,
            "it includes or extends itself".to_owned(),
        ),
        ErrorKind::MissingParent { current, parent } => (
            current.clone(),
            0,
            0,
            format!("it extends {parent}, which is not there"),
        ),
        // What the engine finds out after parsing comes as the text of a report.
        _ => from_report(&error.to_string()),
    };
    let message = match file.is_empty() {
        true => message,
        false => format!("{file}: {message}"),
    };
    let mut diagnostic = Diagnostic::error("template-failed", message).in_unit(&file);
    if line > 0 {
        let above = files.get(&file).map_or(0, |file| file.lines_above);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        diagnostic = diagnostic.at(number(line).saturating_add(above), number(column));
    }
    diagnostic
}

/// File, line, column and message of `error: MESSAGE\n --> FILE:LINE:COLUMN\n...`.
fn from_report(report: &str) -> (String, usize, usize, String) {
    let mut lines = report.lines();
    let first = lines.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let place = lines.next().and_then(|line| {
        let (rest, column) = line.trim_start().strip_prefix("--> ")?.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
    });
    match place {
        Some((file, line, column)) => (file, line, column, message),
        None => (String::new(), 0, 0, message),
    }
}

/// Takes as much as a unit's text may have, and fails the render beyond it.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > TEXT_BYTES {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
