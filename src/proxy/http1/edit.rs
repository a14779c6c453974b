//! Field lines changed after a head was written: by name, whatever the name.
//!
//! What rules ask for is done to the finished head, so that they see and can replace what the proxy
//! itself added. A head that no rule touches never comes here.

use crate::rules::{FieldEdit, LineEdit};

/// Changes the head that begins at `from` and ends `out`, empty line included. Edits take effect in
/// their order. Names and values must be well formed and no name one that frames the message.
pub fn edit_fields(out: &mut Vec<u8>, from: usize, edits: &[FieldEdit]) {
    let mut removed: Vec<&str> = Vec::new();
    let mut added: Vec<(&str, &[u8])> = Vec::new();
    for edit in edits {
        match edit {
            FieldEdit::Add { name, value } => added.push((name, value)),
            FieldEdit::Each { name, lines } => edit_lines(out, from, name, lines),
            FieldEdit::Set { name, .. } | FieldEdit::Remove { name } => {
                added.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                removed.push(name);
                if let FieldEdit::Set { value, .. } = edit {
                    added.push((name, value));
                }
            }
        }
    }
    if !removed.is_empty() {
        drop_lines(out, from, &removed);
    }
    out.truncate(out.len() - 2);
    for (name, value) in added {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Moves the lines that stay together.
fn drop_lines(out: &mut Vec<u8>, from: usize, names: &[&str]) {
    let (mut read, mut write) = (from, from);
    while let Some(length) = memchr::memchr(b'\n', &out[read..]).map(|at| at + 1) {
        let line = &out[read..read + length];
        if read == from || !names.iter().any(|name| passes_for(line, name)) {
            out.copy_within(read..read + length, write);
            write += length;
        }
        read += length;
    }
    out.truncate(write);
}

/// Lines may grow: the head is written anew.
fn edit_lines(out: &mut Vec<u8>, from: usize, name: &str, lines: &[LineEdit]) {
    let head = out.split_off(from);
    let mut edits = lines.iter();
    for (nth, line) in head.split_inclusive(|b| *b == b'\n').enumerate() {
        let edit = match nth > 0 && is_named(line, name) {
            true => edits.next().unwrap_or(&LineEdit::Keep),
            false => &LineEdit::Keep,
        };
        match edit {
            LineEdit::Keep => out.extend_from_slice(line),
            LineEdit::Remove => {}
            LineEdit::Value(value) => {
                out.extend_from_slice(&line[..name.len()]);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

fn is_named(line: &[u8], name: &str) -> bool {
    line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
}

/// Whether servers that turn `-` and `_` into one variable would take the line for this field.
fn passes_for(line: &[u8], name: &str) -> bool {
    let is_same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a, *b) == (b'_', b'-');
    line.get(name.len()) == Some(&b':') && line.iter().zip(name.as_bytes()).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(head: &str, edits: &[FieldEdit]) -> String {
        let mut out = format!("before{head}").into_bytes();
        edit_fields(&mut out, 6, edits);
        String::from_utf8(out).unwrap()
    }

    fn set(name: &str, value: &str) -> FieldEdit {
        FieldEdit::Set {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        }
    }

    fn remove(name: &str) -> FieldEdit {
        FieldEdit::Remove {
            name: name.to_owned(),
        }
    }

    fn add(name: &str, value: &str) -> FieldEdit {
        FieldEdit::Add {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        }
    }

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nX-Ab: 3\r\n\r\n";

    #[test]
    fn a_set_field_stands_in_the_place_of_all_of_its_name() {
        assert_eq!(
            edited(HEAD, &[set("X-A", "9")]),
            "beforeGET / HTTP/1.1\r\nHost: a\r\nX-Ab: 3\r\nX-A: 9\r\n\r\n"
        );
    }

    #[test]
    fn edits_take_effect_in_their_order() {
        let tail = |edits: &[FieldEdit]| edited(HEAD, edits).split_off(47);
        assert_eq!(
            tail(&[remove("x-ab"), add("X-Ab", "1"), remove("X-AB")]),
            "\r\n"
        );
        assert_eq!(
            tail(&[add("X-Ab", "1"), add("X-Ab", "2")]),
            "X-Ab: 3\r\nX-Ab: 1\r\nX-Ab: 2\r\n\r\n"
        );
        assert_eq!(
            tail(&[add("X-Ab", "1"), set("X-Ab", "2")]),
            "X-Ab: 2\r\n\r\n"
        );
    }

    #[test]
    fn lines_of_one_name_are_changed_one_by_one() {
        let each = |name: &str, lines: &[LineEdit]| FieldEdit::Each {
            name: name.to_owned(),
            lines: lines.to_vec(),
        };
        let value = |text: &str| LineEdit::Value(text.as_bytes().to_vec());
        let head = "GET / HTTP/1.1\r\nX-A:  1\r\nB: 2\r\nx-a: 3\r\nX-A: 4\r\n\r\n";
        assert_eq!(
            edited(
                head,
                &[each("x-A", &[LineEdit::Keep, value("longer than it was")])]
            ),
            "beforeGET / HTTP/1.1\r\nX-A:  1\r\nB: 2\r\nx-a: longer than it was\r\nX-A: 4\r\n\r\n"
        );
        let removed = each("x-A", &[LineEdit::Remove, LineEdit::Remove, value("")]);
        assert_eq!(
            edited(head, &[add("X-A", "9"), removed, add("X-A", "8")]),
            "beforeGET / HTTP/1.1\r\nB: 2\r\nX-A: \r\nX-A: 9\r\nX-A: 8\r\n\r\n"
        );
        assert_eq!(
            edited(head, &[each("x-a", &[value("5")]), set("X-A", "6")]),
            "beforeGET / HTTP/1.1\r\nB: 2\r\nX-A: 6\r\n\r\n"
        );
        assert_eq!(
            edited("GET: x\r\n\r\n", &[each("GET", &[LineEdit::Remove])]),
            "beforeGET: x\r\n\r\n"
        );
    }

    #[test]
    fn a_name_that_is_set_or_removed_leaves_no_look_alike_with_underscores() {
        let head = "GET / HTTP/1.1\r\nX_Auth-USER: evil\r\nX_B: 1\r\nX-C: 1\r\n\r\n";
        assert_eq!(
            edited(
                head,
                &[set("X-Auth-User", "me"), remove("x-b"), remove("X_C")]
            ),
            "beforeGET / HTTP/1.1\r\nX-C: 1\r\nX-Auth-User: me\r\n\r\n"
        );
    }

    #[test]
    fn the_first_line_is_no_field() {
        assert_eq!(
            edited("GET: x\r\n\r\n", &[remove("GET")]),
            "beforeGET: x\r\n\r\n"
        );
    }
}
