//! YAML text to a tree in which every node knows its line and column.
//!
//! Serde's road to structs stops at the first problem and forgets positions, so the tree is built
//! from parser events. Only what a flat configuration needs is accepted: one document of maps,
//! lists and scalars. Anchors, aliases and tags are refused: they add nothing to generated text,
//! and aliases are how a small text becomes a huge one.
//!
//! A scalar keeps its text as written; what it means is decided by the field that holds it.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::diag::{Diagnostic, quoted};

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing was written, or `null` or `~` without quotes.
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the text. Names are unique: a second one is a diagnostic and not in here.
    Map(Vec<Entry>),
}

/// One `name: value` of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub line: u32,
    pub column: u32,
    pub node: Node,
}

/// What a text may cost at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    /// Maps and lists inside one another.
    pub depth: usize,
    /// Values, of whatever kind; the names in maps are not counted.
    pub nodes: usize,
}

/// What could be read of a text and what is wrong with it. Without a root there is at least one error.
#[derive(Clone, Debug)]
pub struct Document {
    pub root: Option<Node>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads `text`. The cost is linear in its length and bounded by `limits`.
pub fn parse(text: &str, limits: Limits) -> Document {
    let mut builder = Builder {
        limits,
        nodes: 0,
        open: Vec::new(),
        root: None,
        diagnostics: Vec::new(),
    };
    if let Err(stop) = builder.read(text) {
        builder.diagnostics.push(*stop);
        builder.root = None;
    }
    Document {
        root: builder.root,
        diagnostics: builder.diagnostics,
    }
}

/// The problem beyond which nothing more can be read.
type Stop = Box<Diagnostic>;

struct Builder {
    limits: Limits,
    nodes: usize,
    open: Vec<Open>,
    root: Option<Node>,
    diagnostics: Vec<Diagnostic>,
}

/// A map or list whose end was not met yet.
struct Open {
    at: Marker,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: HashSet<String>,
        name: Option<Name>,
    },
}

struct Name {
    /// `None`: a name that was refused; its value is read and dropped.
    text: Option<String>,
    at: Marker,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), Stop> {
        if text.len() > self.limits.bytes {
            return Err(Diagnostic::error(
                "too-big",
                format!(
                    "the text has {} bytes and may have {}",
                    text.len(),
                    self.limits.bytes
                ),
            )
            .into());
        }
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|e| not_yaml(*e.marker(), e.info()))?;
            if let Event::DocumentStart(_) = event {
                documents += 1;
                if documents > 1 {
                    return Err(problem(
                        span.start,
                        "syntax",
                        "a second document starts here; one text is one unit",
                    )
                    .help("remove the line ---")
                    .into());
                }
            }
            self.take(event, span)?;
        }
        if self.root.is_none() {
            return Err(Diagnostic::error("empty", "the text is empty")
                .at(1, 1)
                .into());
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = span.start;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), at);
                if self.awaits_name() {
                    self.name(text.into_owned(), at);
                    return Ok(());
                }
                let is_null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                self.place(at, value)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), at);
                self.open(at, Kind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), at);
                self.open(
                    at,
                    Kind::Map {
                        entries: Vec::new(),
                        seen: HashSet::new(),
                        name: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    at,
                    kind: Kind::List(items),
                }) => self.place(at, Value::List(items)),
                Some(Open {
                    at,
                    kind: Kind::Map { entries, .. },
                }) => self.place(at, Value::Map(entries)),
                None => Ok(()),
            },
            Event::Alias(_) => Err(alias(at).into()),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn refuse_extras(&mut self, anchor: usize, tagged: bool, at: Marker) {
        if anchor != 0 {
            self.diagnostics.push(
                problem(at, "anchor", "anchors (&name) are not taken")
                    .help("remove it, or quote a value that starts with &"),
            );
        }
        if tagged {
            self.diagnostics.push(
                problem(at, "tag", "tags (!name) are not taken")
                    .help("remove it, or quote a value that starts with !"),
            );
        }
    }

    fn awaits_name(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                kind: Kind::Map { name: None, .. },
                ..
            })
        )
    }

    fn name(&mut self, text: String, at: Marker) {
        let Some(Open {
            kind: Kind::Map { name, seen, .. },
            ..
        }) = self.open.last_mut()
        else {
            return;
        };
        if seen.insert(text.clone()) {
            *name = Some(Name {
                text: Some(text),
                at,
            });
            return;
        }
        self.diagnostics.push(
            problem(
                at,
                "duplicate-field",
                format!("{} is written twice", quoted(&text)),
            )
            .for_field(text)
            .help("keep one of the two"),
        );
        *name = Some(Name { text: None, at });
    }

    fn open(&mut self, at: Marker, kind: Kind) -> Result<(), Stop> {
        if self.awaits_name() {
            return Err(
                problem(at, "syntax", "a map or list stands where a name is due")
                    .help("names are plain words; quote a text that starts with [ or {")
                    .into(),
            );
        }
        if self.open.len() >= self.limits.depth {
            return Err(problem(
                at,
                "too-deep",
                format!("maps and lists lie deeper than {}", self.limits.depth),
            )
            .into());
        }
        self.open.push(Open { at, kind });
        Ok(())
    }

    fn place(&mut self, at: Marker, value: Value) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(problem(
                at,
                "too-big",
                format!("the text has more than {} values", self.limits.nodes),
            )
            .into());
        }
        let node = Node {
            line: line(at),
            column: column(at),
            value,
        };
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { entries, name, .. }) => {
                if let Some(Name {
                    text: Some(text),
                    at,
                }) = name.take()
                {
                    entries.push(Entry {
                        name: text,
                        line: line(at),
                        column: column(at),
                        node,
                    });
                }
            }
        }
        Ok(())
    }
}

fn not_yaml(at: Marker, why: &str) -> Diagnostic {
    if why.contains("unknown anchor") {
        return alias(at);
    }
    problem(at, "syntax", format!("this is no YAML: {why}"))
        .help("a value without quotes, or a line in the wrong column, does this")
}

fn alias(at: Marker) -> Diagnostic {
    problem(at, "alias", "aliases (*name) are not taken")
        .help("write the value out, or quote it when it starts with *")
}

fn problem(at: Marker, code: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message).at(line(at), column(at))
}

fn line(at: Marker) -> u32 {
    u32::try_from(at.line()).unwrap_or(u32::MAX).max(1)
}

fn column(at: Marker) -> u32 {
    u32::try_from(at.col())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1024,
        depth: 4,
        nodes: 20,
    };

    fn problems(text: &str) -> Vec<String> {
        parse(text, LIMITS)
            .diagnostics
            .iter()
            .map(|d| {
                let place = |n: Option<u32>| n.unwrap_or_default();
                format!("{}:{} {}", place(d.line), place(d.column), d.message)
            })
            .collect()
    }

    #[test]
    fn every_node_knows_its_place() {
        let root = parse("a:\n  b: \"x\"\n  c: [1, ~]\n", LIMITS).root.unwrap();
        let Value::Map(top) = root.value else {
            panic!("no map")
        };
        assert_eq!(
            (top[0].name.as_str(), top[0].line, top[0].column),
            ("a", 1, 1)
        );
        let Value::Map(inner) = &top[0].node.value else {
            panic!("no map")
        };
        assert_eq!(inner[0].node.value, Value::Scalar("x".into()));
        assert_eq!((inner[0].node.line, inner[0].node.column), (2, 6));
        let Value::List(items) = &inner[1].node.value else {
            panic!("no list")
        };
        assert_eq!(items[0].value, Value::Scalar("1".into()));
        assert_eq!(items[1].value, Value::Null);
        assert_eq!((items[1].line, items[1].column), (3, 10));
    }

    #[test]
    fn double_quoted_json_escapes_are_read_back() {
        let text = r#"a: "\u0000\u0085\u2028\t\n\"\\ :#""#;
        let root = parse(text, LIMITS).root.unwrap();
        let Value::Map(top) = root.value else {
            panic!("no map")
        };
        assert_eq!(
            top[0].node.value,
            Value::Scalar("\0\u{85}\u{2028}\t\n\"\\ :#".into())
        );
    }

    #[test]
    fn what_can_grow_or_surprise_is_refused() {
        assert_eq!(
            problems("a: &x 1\nb: 2"),
            ["1:4 anchors (&name) are not taken"]
        );
        assert_eq!(problems("a: &x 1\nb: *x").len(), 2);
        assert_eq!(problems("a: !!int 1"), ["1:4 tags (!name) are not taken"]);
        assert_eq!(problems("a: 1\na: 2"), ["2:1 \"a\" is written twice"]);
        assert_eq!(
            problems("[[[[[1]]]]]"),
            ["1:5 maps and lists lie deeper than 4"]
        );
        assert_eq!(
            problems(&format!("[{}]", "1,".repeat(30))),
            ["1:42 the text has more than 20 values"]
        );
        assert_eq!(
            problems(&"x".repeat(2000)),
            ["0:0 the text has 2000 bytes and may have 1024"]
        );
        assert_eq!(problems(""), ["1:1 the text is empty"]);
        assert_eq!(
            problems("a: 1\n---\nb: 2"),
            ["2:1 a second document starts here; one text is one unit"]
        );
        assert_eq!(
            problems("? [a]\n: b"),
            ["1:3 a map or list stands where a name is due"]
        );
    }

    #[test]
    fn duplicates_are_reported_beside_other_problems() {
        assert_eq!(problems("a: 1\na: {x: 1}\nb: !t 2\nb: 3").len(), 3);
    }
}
