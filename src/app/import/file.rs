//! A haproxy.cfg as it is written: sections and their lines.

use crate::config::haproxy;

/// Larger files are not read: a config is written by hand or by a template, not by the gigabyte.
pub(super) const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// One line with something on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) number: usize,
    /// As it stands in the file, without the white space around it and a comment behind it.
    pub(super) text: String,
    pub(super) words: Vec<String>,
}

impl Line {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn rest(&self, from: usize) -> &[String] {
        self.words.get(from..).unwrap_or_default()
    }
}

/// `frontend www` and the lines below it, those of its `defaults` in front.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) defaults: Vec<Line>,
    pub(super) lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Global,
    Frontend,
    Backend,
    Listen,
    Userlist,
    /// A section that has no counterpart here.
    Other,
}

impl Section {
    /// Own lines that begin with `word`.
    pub(super) fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.word(0) == word)
    }

    /// The last line that begins with these words, own ones before those of `defaults`.
    pub(super) fn last(&self, words: &[&str]) -> Option<&Line> {
        let is_it = |line: &&Line| words.iter().enumerate().all(|(i, w)| line.word(i) == *w);
        let own = self.lines.iter().rev().find(is_it);
        own.or_else(|| self.defaults.iter().rev().find(is_it))
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.last(&["mode"])
            .is_none_or(|line| line.word(1) == "tcp")
    }
}

/// The sections of a file, and the lines that could not be read.
pub(super) fn sections(text: &str) -> (Vec<Section>, Vec<(usize, String)>) {
    let mut sections: Vec<Section> = Vec::new();
    let mut problems = Vec::new();
    // Of each `defaults` section, by name; the last one holds for whoever names none.
    let mut defaults: Vec<(String, Vec<Line>)> = Vec::new();
    let mut in_defaults = false;
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let words = match haproxy::words(raw) {
            Ok(words) => words,
            Err(problem) => {
                problems.push((number, problem.message));
                continue;
            }
        };
        let Some(first) = words.first() else { continue };
        let kind = match first.as_str() {
            "defaults" => {
                in_defaults = true;
                let name = words.get(1).cloned().unwrap_or_default();
                let base = base(&words, &defaults, false);
                defaults.push((name, base));
                continue;
            }
            "global" => Some(Kind::Global),
            "frontend" => Some(Kind::Frontend),
            "backend" => Some(Kind::Backend),
            "listen" => Some(Kind::Listen),
            "userlist" => Some(Kind::Userlist),
            "resolvers" | "peers" | "mailers" | "program" | "cache" | "http-errors" | "ring"
            | "log-forward" | "fcgi-app" | "crt-store" | "traces"
                if is_unindented(raw) =>
            {
                Some(Kind::Other)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            in_defaults = false;
            sections.push(Section {
                kind,
                name: match kind {
                    Kind::Other => words.join(" "),
                    _ => words.get(1).cloned().unwrap_or_default(),
                },
                number,
                defaults: base(&words, &defaults, true),
                lines: Vec::new(),
            });
            continue;
        }
        let line = Line {
            number,
            text: without_comment(raw).trim().to_owned(),
            words,
        };
        let lines = match (in_defaults, defaults.last_mut(), sections.last_mut()) {
            (true, Some((_, lines)), _) => lines,
            (false, _, Some(section)) => &mut section.lines,
            _ => {
                problems.push((number, "stands before any section".to_owned()));
                continue;
            }
        };
        lines.push(line);
    }
    (sections, problems)
}

/// The defaults that a section begins with: those it names by `from`, else the last ones.
fn base(words: &[String], defaults: &[(String, Vec<Line>)], else_last: bool) -> Vec<Line> {
    let from = words
        .iter()
        .position(|word| word == "from")
        .and_then(|at| words.get(at + 1));
    let found = match from {
        Some(name) => defaults.iter().rev().find(|(other, _)| other == name),
        None if else_last => defaults.last(),
        None => None,
    };
    found.map(|(_, lines)| lines.clone()).unwrap_or_default()
}

fn is_unindented(line: &str) -> bool {
    !line.starts_with([' ', '\t'])
}

/// The line up to a `#` that is neither quoted nor escaped.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => drop(chars.next()),
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('#', None) => return &line[..at],
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_their_lines_and_the_defaults_before_them() {
        let text = "global\n maxconn 10 # many\ndefaults a\n mode http\nfrontend one\n bind :80\n\
                    defaults b\n mode tcp\nbackend two\n server s 10.0.0.1:1\n\
                    backend three from a\n";
        let (sections, problems) = sections(text);
        assert_eq!(problems, []);
        let names: Vec<_> = sections
            .iter()
            .map(|s| (s.kind, s.name.as_str(), s.is_tcp()))
            .collect();
        assert_eq!(
            names,
            [
                (Kind::Global, "", true),
                (Kind::Frontend, "one", false),
                (Kind::Backend, "two", true),
                (Kind::Backend, "three", false),
            ]
        );
        assert_eq!(sections[0].lines[0].text, "maxconn 10");
    }

    #[test]
    fn a_hash_in_quotes_is_no_comment() {
        assert_eq!(without_comment("a '#' b # c"), "a '#' b ");
        assert_eq!(without_comment("a \\# b"), "a \\# b");
        assert_eq!(without_comment("a \"\\\"#\" # b"), "a \"\\\"#\" ");
    }
}
