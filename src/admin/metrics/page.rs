//! Families and samples, in the text format of 2014, which everything reads.

use std::fmt::{Display, Write as _};

pub(super) struct Page(String);

/// Labels of one service or upstream as they are written, for all of its samples: there are dozens of each.
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (number, (label, value)) in labels.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            text.push_str(label);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        Self(text)
    }
}

impl Page {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    pub(super) fn text(self) -> String {
        self.0
    }

    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            self.0.push('{');
            self.0.push_str(&Labels::new(labels).0);
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// The same for many: `more` is a label of their own, with a comma before it.
    pub(super) fn count(&mut self, name: &str, labels: &Labels, more: &str, value: u64) {
        for piece in [name, "{", &labels.0, more, "} "] {
            self.0.push_str(piece);
        }
        self.0.push_str(itoa::Buffer::new().format(value));
        self.0.push('\n');
    }

    pub(super) fn seconds(&mut self, name: &str, labels: &Labels, value: f64) {
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_are_plain() {
        let mut page = Page::with_capacity(0);
        page.sample("a", &[], 1.5);
        let labels = [("x", "a\"b\\c\nd"), ("y", "")];
        page.sample("b", &labels, 2);
        page.count("c", &Labels::new(&labels), ",z=\"1\"", u64::MAX);
        assert_eq!(
            page.0,
            "a 1.5\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 2\n\
             c{x=\"a\\\"b\\\\c\\nd\",y=\"\",z=\"1\"} 18446744073709551615\n"
        );
    }
}
