//! The fields of one unit, read one by one, with every problem kept.
//!
//! A field that is absent, null or an empty text is the same thing: not set. That is what a key
//! deleted, or written empty, means to its writer.

use super::values::{self, Problem, unknown_word};
use crate::diag::{Diagnostic, quoted};
use crate::names::is_of_pattern;
use crate::yaml::{Entry, Node, Value};

pub(super) struct Fields<'a> {
    entries: &'a [Entry],
    line: u32,
    column: u32,
    diagnostics: Vec<Diagnostic>,
}

/// One written text and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    line: u32,
    column: u32,
}

impl<'a> Fields<'a> {
    /// The fields of the map under `top`. Names that are not in `known` are reported here.
    pub(super) fn new(top: &'a Entry, known: &[&str]) -> Self {
        let mut fields = Self {
            entries: &[],
            line: top.line,
            column: top.column,
            diagnostics: Vec::new(),
        };
        match &top.node.value {
            Value::Map(entries) => fields.entries = entries,
            Value::Null => {}
            other => fields.push(
                &top.node,
                &top.name,
                "wrong-type",
                &Problem::new(
                    format!("is {} and has to be fields", kind(other)),
                    "write the fields below it, each on a line of its own",
                ),
            ),
        }
        for entry in fields.entries {
            if !known.contains(&entry.name.as_str()) {
                let problem = unknown_word(&entry.name, known);
                let diagnostic =
                    Diagnostic::error("unknown-field", format!("field {}", problem.message))
                        .at(entry.line, entry.column)
                        .for_field(&entry.name);
                fields.diagnostics.push(Diagnostic {
                    help: problem.help,
                    ..diagnostic
                });
            }
        }
        fields
    }

    /// Whether a field says something here: an empty `cookie` does.
    pub(super) fn says(&self, name: &str) -> bool {
        self.is_set(name) || (name == "cookie" && self.place(name).is_some())
    }

    /// The text of a field, trimmed; `None` if it is not set or no text.
    pub(super) fn text(&mut self, name: &str) -> Option<Written<'a>> {
        let text = self.verbatim(name)?.trim();
        let node = self.node(name)?;
        Some(Written {
            text,
            line: node.line,
            column: node.column,
        })
    }

    /// The text of a field with the space around it, for texts whose lines are counted.
    pub(super) fn verbatim(&mut self, name: &str) -> Option<&'a str> {
        let node = self.node(name)?;
        match &node.value {
            Value::Null => None,
            Value::Scalar(text) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
            other => {
                let problem = Problem::new(
                    format!("is {} and has to be one value", kind(other)),
                    "write it as a text in quotes",
                );
                self.push(node, name, "wrong-type", &problem);
                None
            }
        }
    }

    /// A field that is one value. `None` if it is not set, or was refused and reported.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let written = self.text(name)?;
        decode(written.text)
            .map_err(|problem| self.refuse(name, written, &problem))
            .ok()
    }

    /// A field that is a comma list or a YAML list of texts, at most `most` of them.
    pub(super) fn items(&mut self, name: &str, most: usize) -> Vec<Written<'a>> {
        let Some(node) = self.node(name) else {
            return Vec::new();
        };
        let at = |node: &Node, text| Written {
            text,
            line: node.line,
            column: node.column,
        };
        let mut items = Vec::new();
        match &node.value {
            Value::Null => {}
            Value::Scalar(text) => items.extend(values::list(text).map(|text| at(node, text))),
            Value::List(list) => {
                for item in list {
                    match &item.value {
                        Value::Scalar(text) => items.push(at(item, text.trim())),
                        other => {
                            let problem = Problem::new(
                                format!("has an entry that is {}", kind(other)),
                                "write a list of texts",
                            );
                            self.push(item, name, "wrong-type", &problem);
                        }
                    }
                }
            }
            other => {
                let problem = Problem::new(
                    format!("is {} and has to be a list", kind(other)),
                    "write the entries with commas between them, or as a YAML list",
                );
                self.push(node, name, "wrong-type", &problem);
            }
        }
        if items.len() > most {
            let problem = Problem::new(
                format!("has {} entries", items.len()),
                format!("it may have {most}"),
            );
            self.push(node, name, "too-many", &problem);
            items.clear();
        }
        items
    }

    /// The entries of a field that is a map of names to texts, at most `most` of them.
    pub(super) fn pairs(&mut self, name: &str, most: usize) -> Vec<(&'a Entry, Written<'a>)> {
        let Some(node) = self.node(name) else {
            return Vec::new();
        };
        let entries = match &node.value {
            Value::Null => return Vec::new(),
            Value::Scalar(text) if text.trim().is_empty() => return Vec::new(),
            Value::Map(entries) => entries,
            other => {
                let problem = Problem::new(
                    format!("is {} and has to be a map", kind(other)),
                    "write one line for each name below it",
                );
                self.push(node, name, "wrong-type", &problem);
                return Vec::new();
            }
        };
        if entries.len() > most {
            let problem = Problem::new(
                format!("has {} entries", entries.len()),
                format!("it may have {most}"),
            );
            self.push(node, name, "too-many", &problem);
            return Vec::new();
        }
        let mut pairs = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = match &entry.node.value {
                Value::Scalar(text) => text.trim(),
                Value::Null => "",
                other => {
                    let problem = Problem::new(
                        format!("is {} and has to be one value", kind(other)),
                        "write it as a text in quotes",
                    );
                    let field = format!("{name}.{}", entry.name);
                    self.push(&entry.node, &field, "wrong-type", &problem);
                    continue;
                }
            };
            let written = Written {
                text,
                line: entry.node.line,
                column: entry.node.column,
            };
            pairs.push((entry, written));
        }
        pairs
    }

    /// Where a field stands if it is written at all, even empty or as a list.
    pub(super) fn place(&self, name: &str) -> Option<(u32, u32)> {
        self.node(name).map(|node| (node.line, node.column))
    }

    /// Whether a field is written and says anything.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| match &node.value {
            Value::Null => false,
            Value::Scalar(text) => !text.trim().is_empty(),
            Value::List(_) | Value::Map(_) => true,
        })
    }

    pub(super) fn refuse(&mut self, field: &str, written: Written<'_>, problem: &Problem) {
        self.refuse_as(field, field, written, problem);
    }

    /// `called` is how the message names the field, where its own name is what is wrong.
    pub(super) fn refuse_as(
        &mut self,
        called: &str,
        field: &str,
        written: Written<'_>,
        problem: &Problem,
    ) {
        let diagnostic = Diagnostic::error("bad-value", format!("{called} {}", problem.message))
            .at(written.line, written.column)
            .for_field(field);
        self.diagnostics.push(Diagnostic {
            help: problem.help.clone(),
            ..diagnostic
        });
    }

    /// A problem of the unit as a whole: a field that has to be there and is not.
    pub(super) fn missing(&mut self, field: &str, help: &str) {
        self.diagnostics.push(
            Diagnostic::error("missing-field", format!("{field} is missing"))
                .at(self.line, self.column)
                .for_field(field)
                .help(help),
        );
    }

    /// An error about a field that is written.
    pub(super) fn error(&mut self, code: &str, field: &str, message: &str, help: &str) {
        let at = self.place(field).unwrap_or((self.line, self.column));
        self.diagnostics.push(
            Diagnostic::error(code, message)
                .at(at.0, at.1)
                .for_field(field)
                .help(help),
        );
    }

    /// A warning about a field that is written.
    pub(super) fn warn(&mut self, code: &str, field: &str, message: String, help: &str) {
        let at = self.place(field).unwrap_or((self.line, self.column));
        self.diagnostics.push(
            Diagnostic::warning(code, message)
                .at(at.0, at.1)
                .for_field(field)
                .help(help),
        );
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(&entry.node)
    }

    fn push(&mut self, node: &Node, field: &str, code: &str, problem: &Problem) {
        let diagnostic = Diagnostic::error(code, format!("{field} {}", problem.message))
            .at(node.line, node.column)
            .for_field(field);
        self.diagnostics.push(Diagnostic {
            help: problem.help.clone(),
            ..diagnostic
        });
    }
}

/// A name from a map, checked for what names of services and upstreams may be.
pub fn name(text: &str) -> Result<&str, Problem> {
    const NAME_BYTES: usize = 200;
    let stranger = |c: &char| !c.is_ascii_graphic() || matches!(c, '/' | '"' | '\\');
    let help = if text.is_empty() {
        "it cannot be empty".to_owned()
    } else if text.len() > NAME_BYTES {
        format!("it has at most {NAME_BYTES} characters")
    } else if let Some(c) = text.chars().find(stranger) {
        format!("{c:?} cannot be in it; letters, digits, - _ . and the like can")
    } else {
        return Ok(text);
    };
    Err(Problem::new(format!("{} is no name", quoted(text)), help))
}

/// The name of a service, which is no pattern.
pub(super) fn service_name(text: &str) -> Result<&str, Problem> {
    let name = name(text)?;
    match name.chars().find(|c| is_of_pattern(*c)) {
        None => Ok(name),
        Some(c) => Err(Problem::new(
            format!("{} is no name of a service", quoted(text)),
            format!("{c:?} cannot be in it; letters, digits, - _ . and the like can"),
        )),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}
