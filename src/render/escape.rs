//! Values become YAML by way of a double-quoted scalar, so that none can write YAML of its own.

use std::io::{self, Write};

/// Writes `text` as a JSON string with its quotes, which is a YAML double-quoted scalar too.
///
/// More is escaped than JSON asks for: what some YAML reader takes for a line break (U+0085,
/// U+2028, U+2029), what YAML calls unprintable (C0, DEL, C1, U+FFFE, U+FFFF) and the byte order mark.
pub(super) fn quoted(text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let escape: &[u8] = match c {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => b"",
            _ => continue,
        };
        out.write_all(&text.as_bytes()[plain..at])?;
        plain = at + c.len_utf8();
        if escape.is_empty() {
            write!(out, "\\u{:04x}", u32::from(c))?;
        } else {
            out.write_all(escape)?;
        }
    }
    out.write_all(&text.as_bytes()[plain..])?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::{self, Limits, Value};

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        quoted(text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The text as our own reader and another one read it back after `a: `.
    #[track_caller]
    fn round_trip(text: &str) {
        let document = format!("a: {}\nb: 1\n", written(text));
        assert_eq!(document.lines().count(), 2, "{document:?}");
        let limits = Limits {
            bytes: 1 << 20,
            depth: 4,
            nodes: 10,
        };
        let Some(Value::Map(entries)) = yaml::parse(&document, limits).root.map(|r| r.value) else {
            panic!("no map: {document:?}");
        };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].node.value, Value::Scalar(text.to_owned()));
        let other: serde_yaml::Value = serde_yaml::from_str(&document).unwrap();
        assert_eq!(other["a"].as_str(), Some(text));
        let json: String = serde_json::from_str(&written(text)).unwrap();
        assert_eq!(json, text);
    }

    #[test]
    fn no_value_gets_out_of_its_quotes() {
        for attack in [
            "x\nb: 2",
            "x\r\nb: 2",
            "\"\nb: 2 #",
            "\\\"\nb: 2",
            "\\",
            "x: y",
            "# no comment",
            "*alias",
            "&anchor",
            "!tag",
            "{a: b}",
            "a\u{85}b: 2",
            "a\u{2028}b: 2",
            "a\u{2029}b: 2",
            "a\tb",
            "\0\u{1}\u{1b}\u{7f}\u{9f}",
            "\u{feff}",
            "\u{fffe}\u{ffff}",
            "😀",
            "---\n...",
            "%YAML 1.2",
            " lead and trail ",
            "",
            "~",
            "null",
        ] {
            round_trip(attack);
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text in any::<String>()) {
            round_trip(&text);
        }
    }
}
