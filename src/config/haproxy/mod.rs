//! HAProxy's words: the lines of `custom_settings`, and conditions in routes.
//!
//! Lines are read into typed settings, word by word, and never passed on as they stand. A line that
//! is not known is refused with its number; all problems of a text are told together.
//! `docs/custom_settings.md` lists what is understood and where it differs.

mod check;
mod condition;
mod global;
mod global_tls;
mod options;
mod rules;
mod sample;
mod settings;
mod stats;
mod template;
#[cfg(test)]
mod tests;
mod words;

use super::values::Problem;
use crate::rules::Condition;
use condition::Acls;
pub(super) use settings::{Said, Settings};
pub(super) use stats::StatsLines;
use words::Line;
pub use words::words;

/// Lines of one text. More are a mistake, and a request would have to be judged by all of them.
const LINES: usize = 2_000;

/// What is wrong with a line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    pub line: usize,
    pub problem: Problem,
}

/// A condition: any number of `acl` lines, and one line `[if|unless] CONDITION`.
pub fn condition(text: &str) -> Result<Condition, Vec<LineProblem>> {
    let mut problems = Vec::new();
    let lines = words::lines(text, &mut problems);
    let mut acls = Acls::default();
    let mut last: Option<&Line> = None;
    let mut warnings = Vec::new();
    for line in &lines {
        if line.words[0] == "acl" {
            if let Err(problem) = acls.declare(&line.words[1..], &mut warnings) {
                problems.push(line.problem(problem));
            }
            continue;
        }
        if last.replace(line).is_some() {
            problems.push(line.problem(Problem::new(
                "has a second condition",
                "write acl lines and one condition; join conditions with ||",
            )));
        }
    }
    let condition = match last {
        None => {
            let line = text.lines().count().max(1);
            let problem = Problem::new(
                "has no condition",
                "write one behind the acl lines, such as: if is_api METH_GET",
            );
            problems.push(LineProblem { line, problem });
            None
        }
        Some(line) => {
            let words = match line.words[0].as_str() {
                "if" | "unless" => &line.words[1..],
                _ => &line.words[..],
            };
            match acls.condition(words, &mut warnings) {
                Ok(condition) if line.words[0] == "unless" => Some(condition.inverted()),
                Ok(condition) => Some(condition),
                Err(problem) => {
                    problems.push(line.problem(problem));
                    None
                }
            }
        }
    };
    problems.sort_by_key(|problem| problem.line);
    match condition {
        Some(condition) if problems.is_empty() => Ok(condition),
        _ => Err(problems),
    }
}

/// Where lines stand, which says what they may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `custom_settings` of an HTTP service.
    Http,
    /// `custom_settings` of a TCP service.
    Tcp,
    /// `custom_settings` of the balancer.
    Balancer,
    /// `global_settings` of the balancer.
    Global,
}

/// What is wrong with the lines of `text`, or odd about them where nothing is.
pub fn problems(text: &str, scope: Scope) -> Vec<LineProblem> {
    match settings(text, scope) {
        Ok(settings) => settings.warnings,
        Err(problems) => problems,
    }
}

/// What the lines of `text` say, or everything that is wrong with them, in their order.
pub(super) fn settings(text: &str, scope: Scope) -> Result<Settings, Vec<LineProblem>> {
    let mut problems = Vec::new();
    let mut settings = Settings::default();
    let mut acls = Acls::default();
    let lines = words::lines(text, &mut problems);
    // All acl lines first: a line may use one that stands below it.
    for line in lines.iter().filter(|line| line.words[0] == "acl") {
        let mut warnings = Vec::new();
        if let Err(problem) = acls.declare(&line.words[1..], &mut warnings) {
            problems.push(line.problem(problem));
        }
        let warnings = warnings.into_iter().map(|problem| line.problem(problem));
        settings.warnings.extend(warnings);
    }
    for line in lines.iter().filter(|line| line.words[0] != "acl") {
        if let Err(problem) = settings.read(line, scope, &acls) {
            problems.push(line.problem(problem));
        }
    }
    problems.sort_by_key(|problem| problem.line);
    if !problems.is_empty() {
        return Err(problems);
    }
    settings.warnings.sort_by_key(|problem| problem.line);
    Ok(settings)
}
