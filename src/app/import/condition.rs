//! Conditions of `use_backend` and rules as words: what they mean for routes, and how more is asked of
//! them.

use std::collections::BTreeMap;

use super::file::Line;

/// The `acl` lines of one section, by name.
pub(super) struct Acls<'a>(BTreeMap<&'a str, Vec<&'a Line>>);

impl<'a> Acls<'a> {
    pub(super) fn of(lines: &'a [Line]) -> Self {
        let mut acls: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.word(0) == "acl") {
            acls.entry(line.word(1)).or_default().push(line);
        }
        Self(acls)
    }

    /// The lines that define the names used in `words`, in the order of the file.
    pub(super) fn used(&self, words: &[String]) -> Vec<&'a Line> {
        let mut lines: Vec<&Line> = outside_braces(words)
            .filter_map(|word| self.0.get(word.trim_start_matches('!')))
            .flatten()
            .copied()
            .collect();
        lines.sort_by_key(|line| line.number);
        lines.dedup_by_key(|line| line.number);
        lines
    }

    /// Tests of one word of a condition: an ACL's lines.
    pub(super) fn tests(&self, name: &str) -> Option<Vec<&'a [String]>> {
        let lines = self.0.get(name)?;
        Some(lines.iter().map(|line| line.rest(2)).collect())
    }
}

fn outside_braces(words: &[String]) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    words.iter().filter_map(move |word| {
        match word.as_str() {
            "{" | "!{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 0 => return Some(word.as_str()),
            _ => {}
        }
        None
    })
}

/// A condition that is nothing but hosts and path prefixes, which routes can say without a `match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Simple {
    pub(super) hosts: Vec<String>,
    pub(super) paths: Vec<String>,
}

impl Simple {
    /// `words` is what stands behind `if`.
    pub(super) fn of(words: &[String], acls: &Acls<'_>) -> Option<Self> {
        let mut simple = Simple::default();
        let mut words = words;
        while let Some((first, rest)) = words.split_first() {
            let tests: Vec<&[String]>;
            if first == "{" {
                let end = rest.iter().position(|word| word == "}")?;
                tests = vec![&rest[..end]];
                words = &rest[end + 1..];
            } else {
                tests = acls.tests(first)?;
                words = rest;
            }
            simple.narrow(&tests)?;
        }
        let says_something = !simple.hosts.is_empty() || !simple.paths.is_empty();
        says_something.then_some(simple)
    }

    /// Takes in one word of a conjunction, whose tests are alternatives.
    fn narrow(&mut self, tests: &[&[String]]) -> Option<()> {
        let (mut hosts, mut paths) = (Vec::new(), Vec::new());
        for test in tests {
            let (fetch, mut values) = test.split_first()?;
            let ignores_case = values.first().is_some_and(|flag| flag == "-i");
            if ignores_case {
                values = &values[1..];
            }
            if values.is_empty() || values.iter().any(|value| value.starts_with('-')) {
                return None;
            }
            let plain = |value: &str| !value.contains([',', '*', ' ', '%', '?']);
            for value in values.iter().map(String::as_str) {
                match fetch.as_str() {
                    "hdr(host)" | "req.hdr(host)" if is_host(value) => {
                        hosts.push(value.to_ascii_lowercase());
                    }
                    "hdr_end(host)" | "req.hdr_end(host)"
                        if value.strip_prefix('.').is_some_and(is_host) =>
                    {
                        hosts.push(format!("*{}", value.to_ascii_lowercase()));
                    }
                    "path_beg" if !ignores_case && value.starts_with('/') && plain(value) => {
                        paths.push(format!("{value}*"));
                    }
                    "path" if !ignores_case && value.starts_with('/') && plain(value) => {
                        paths.push(format!("={value}"));
                    }
                    _ => return None,
                }
            }
        }
        // A word of both kinds is "this host or that path", which routes cannot say; a second word of
        // one kind is an intersection.
        match (hosts.is_empty(), paths.is_empty()) {
            (false, true) if self.hosts.is_empty() => self.hosts = hosts,
            (true, false) if self.paths.is_empty() => self.paths = paths,
            _ => return None,
        }
        Some(())
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

/// `condition` and, in each of its alternatives, `term` as well.
pub(super) fn narrowed(condition: &[String], term: &str) -> String {
    let mut out = String::new();
    for word in condition {
        if word == "||" || word == "or" {
            out += term;
            out += " || ";
        } else {
            out += &quoted(word);
            out.push(' ');
        }
    }
    out + term
}

/// A word as it has to be written to be read as one.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains([' ', '\t', '#', '"', '\'', '\\', '$']);
    if is_plain {
        return word.to_owned();
    }
    match word.contains('\'') {
        false => format!("'{word}'"),
        true => double_quoted(word),
    }
}

fn double_quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        if matches!(c, '\\' | '"' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Where the condition of a rule begins: behind its `if` or `unless`.
pub(super) fn split(words: &[String]) -> (&[String], Option<(&str, &[String])>) {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" | "!{" => depth += 1,
            "}" => depth -= 1,
            "if" | "unless" if depth == 0 => {
                return (&words[..at], Some((word, &words[at + 1..])));
            }
            _ => {}
        }
    }
    (words, None)
}

#[cfg(test)]
mod tests {
    use super::super::file::sections;
    use super::*;

    fn simple(acls: &str, condition: &str) -> Option<(String, String)> {
        let (sections, _) = sections(&format!("frontend f\n{acls}\n"));
        let words: Vec<String> = condition.split(' ').map(str::to_owned).collect();
        Simple::of(&words, &Acls::of(&sections[0].lines))
            .map(|s| (s.hosts.join(","), s.paths.join(",")))
    }

    #[test]
    fn conditions_on_host_and_path_are_routes() {
        let acls = "acl shop hdr(host) -i Shop.test www.shop.test\nacl shop hdr_end(host) .x.test\n\
                    acl api path_beg /api /v2\nacl home path /\nacl post method POST";
        let said = |condition| simple(acls, condition);
        let pair = |hosts: &str, paths: &str| Some((hosts.to_owned(), paths.to_owned()));
        assert_eq!(said("shop"), pair("shop.test,www.shop.test,*.x.test", ""));
        assert_eq!(
            said("shop api"),
            pair("shop.test,www.shop.test,*.x.test", "/api*,/v2*")
        );
        assert_eq!(said("{ path / }"), pair("", "=/"));
        for other in [
            "shop post",
            "!shop",
            "shop || api",
            "api home",
            "nobody",
            "{ path_beg -i /a }",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn a_condition_is_narrowed_in_each_alternative() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            narrowed(&words("a b || c"), "{ d }"),
            "a b { d } || c { d }"
        );
        assert_eq!(narrowed(&[], "{ d }"), "{ d }");
    }
}
