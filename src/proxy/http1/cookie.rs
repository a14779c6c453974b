//! `Cookie` and `Set-Cookie`: finding cookies by name, and changing one without touching the rest.
//!
//! Read as browsers and RFC 6265 section 5 do: `;` ends a pair wherever it stands, the first `=` ends
//! the name, white space around both does not count. Quotes around a whole value are no part of it.
//! Bytes that make no sense are somebody else's and stay as they are.

use std::ops::Range;

/// Between the upstream and the value of an application's cookie.
const PREFIX_END: u8 = b'~';

/// The values of every cookie of this name in one `Cookie` line, without their quotes.
pub fn cookie_values<'a>(line: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(line)
        .filter(move |pair| pair.is_named(line, name))
        .map(move |pair| unquoted(&line[pair.value]))
}

/// A `Cookie` line without the cookies of this name; every other byte as it was. Empty if no cookie is
/// left.
pub fn without_cookie(line: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut is_first = true;
    for pair in pairs(line) {
        if pair.is_named(line, name) {
            continue;
        }
        if is_first {
            let start = trimmed(line, pair.piece.clone()).start;
            out.extend_from_slice(&line[start..pair.piece.end]);
        } else {
            out.push(b';');
            out.extend_from_slice(&line[pair.piece]);
        }
        is_first = false;
    }
    if out.iter().all(|b| matches!(b, b';' | b' ' | b'\t')) {
        out.clear();
    }
    out
}

/// A `Cookie` line in which values of this name lost what stands up to the first `~`.
pub fn without_prefix(line: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut copied = 0;
    for pair in pairs(line).filter(|pair| pair.is_named(line, name)) {
        let value = &line[pair.value.clone()];
        let Some(end) = value.iter().position(|b| *b == PREFIX_END) else {
            continue;
        };
        // `"web-1~x"` and `web-1~"x"` are the application's `"x"`.
        let is_inside = value.len() > 1 && value.starts_with(b"\"") && value.ends_with(b"\"");
        let start = pair.value.start + usize::from(is_inside);
        out.extend_from_slice(&line[copied..start]);
        copied = pair.value.start + end + 1;
    }
    out.extend_from_slice(&line[copied..]);
    out
}

/// What stands before the first `~` of a value, if one is there.
pub fn prefix_of(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(|b| *b == PREFIX_END)?;
    Some(&value[..end])
}

/// Where a `Set-Cookie` line has its value, if it sets the cookie of this name.
pub fn set_value(line: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let pair = pairs(line).next()?;
    pair.is_named(line, name).then_some(pair.value)
}

/// A `Set-Cookie` line with `prefix` in front of its value, inside of its quotes.
pub fn with_prefix(line: &[u8], value: Range<usize>, prefix: &str) -> Vec<u8> {
    let is_quoted = unquoted(&line[value.clone()]).len() < value.len();
    let at = value.start + usize::from(is_quoted);
    [&line[..at], prefix.as_bytes(), &[PREFIX_END], &line[at..]].concat()
}

/// A `Set-Cookie` line with another value.
pub fn with_value(line: &[u8], value: Range<usize>, new: &str) -> Vec<u8> {
    [&line[..value.start], new.as_bytes(), &line[value.end..]].concat()
}

/// What stands between two `;`.
struct Pair {
    piece: Range<usize>,
    name: Range<usize>,
    value: Range<usize>,
    /// Without a `=` it has a value and no name.
    has_name: bool,
}

impl Pair {
    fn is_named(&self, line: &[u8], name: &[u8]) -> bool {
        self.has_name && line[self.name.clone()] == *name
    }
}

fn pairs(line: &[u8]) -> impl Iterator<Item = Pair> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let end = memchr::memchr(b';', &line[start..]).map(|at| start + at);
        next = end.map(|end| end + 1);
        let piece = start..end.unwrap_or(line.len());
        let equals = memchr::memchr(b'=', &line[piece.clone()]).map(|at| start + at);
        let (name, value) = match equals {
            Some(at) => (start..at, at + 1..piece.end),
            None => (start..start, piece.clone()),
        };
        Some(Pair {
            name: trimmed(line, name),
            value: trimmed(line, value),
            has_name: equals.is_some(),
            piece,
        })
    })
}

fn trimmed(line: &[u8], range: Range<usize>) -> Range<usize> {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let text = &line[range.clone()];
    let before = text.iter().take_while(|b| is_blank(b)).count();
    let after = text[before..].iter().rev().take_while(|b| is_blank(b));
    range.start + before..range.end - after.count()
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_cookie_is_found_however_it_is_written() {
        let check = |line: &str, expected: &[&str]| {
            let values: Vec<_> = cookie_values(line.as_bytes(), b"LB")
                .map(|v| std::str::from_utf8(v).unwrap())
                .collect();
            assert_eq!(values, expected, "{line:?}");
        };
        check("LB=a", &["a"]);
        check("x=1; LB=a; y=2", &["a"]);
        check("x=1;LB=a;y=2", &["a"]);
        check("x=1;\t LB =  a ;y", &["a"]);
        check("LB=\"a\"", &["a"]);
        check("LB=a=b", &["a=b"]);
        check("LB=a; LB=b;LB=", &["a", "b", ""]);
        check("lb=a; LBX=b; XLB=c; LB; =LB; LB", &[]);
        check("x=\"1; LB=a\"", &["a\""]);
        check("LB=\"", &["\""]);
        check("", &[]);
        check(";;; ;LB=a;;", &["a"]);
    }

    #[test]
    fn a_cookie_goes_and_leaves_every_other_byte() {
        let check = |line: &str, expected: &str| {
            assert_eq!(text(without_cookie(line.as_bytes(), b"LB")), expected);
        };
        check("LB=a", "");
        check("LB=a; x=1", "x=1");
        check("x=1; LB=a", "x=1");
        check("x=1; LB=a; y=2", "x=1; y=2");
        check("x=1;LB=a ;y=2", "x=1;y=2");
        check("x=1 ;\tLB = a; y = 2 ", "x=1 ; y = 2 ");
        check("LB=a; LB=b; x; LB=c", "x");
        check("LB=a; LB=b", "");
        check("LB=a; ;", "");
        check("x=\"a b\"; LB=\"q\"; $Path=\"/\"", "x=\"a b\"; $Path=\"/\"");
        check("xLB=1; LB; =LB", "xLB=1; LB; =LB");
    }

    #[test]
    fn a_prefix_comes_and_goes_inside_of_quotes() {
        let check = |line: &str, expected: &str| {
            assert_eq!(text(without_prefix(line.as_bytes(), b"S")), expected);
        };
        check("S=a~x; y=b~z", "S=x; y=b~z");
        check("x=1;S = a~x~y ;S=b~\"q\"", "x=1;S = x~y ;S=\"q\"");
        check("S=\"a~q\"", "S=\"q\"");
        check("S=plain; S=\"plain\"; S=", "S=plain; S=\"plain\"; S=");
        check("S=~; S=\"~\"; S=\"~", "S=; S=\"\"; S=");
        let set = |line: &str| {
            let value = set_value(line.as_bytes(), b"S")?;
            Some(text(with_prefix(line.as_bytes(), value, "a")))
        };
        assert_eq!(set("S=x; Path=/").as_deref(), Some("S=a~x; Path=/"));
        assert_eq!(set("S = x ;Path").as_deref(), Some("S = a~x ;Path"));
        assert_eq!(set("S=\"x\"; P").as_deref(), Some("S=\"a~x\"; P"));
        assert_eq!(set("S=; Max-Age=0").as_deref(), Some("S=a~; Max-Age=0"));
        assert_eq!(set("S=\"").as_deref(), Some("S=a~\""));
        assert_eq!(set("s=x; S=y"), None);
        assert_eq!(set("S; S=y"), None);
        assert_eq!(prefix_of(b"a~b~c"), Some(&b"a"[..]));
        assert_eq!(prefix_of(b"abc"), None);
    }

    #[test]
    fn a_value_is_replaced_and_its_attributes_stay() {
        let line = b"S=\"old\" ; Path=/; HttpOnly";
        let value = set_value(line, b"S").unwrap();
        assert_eq!(text(with_value(line, value, "a")), "S=a ; Path=/; HttpOnly");
    }

    /// Lines that are mostly cookies, of any other byte too.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            4 => Just(b"LB=web-1".to_vec()),
            1 => Just(b"LB=".to_vec()),
            2 => Just(b"LB = \"web~x\"".to_vec()),
            4 => Just(b"; ".to_vec()),
            2 => Just(b";".to_vec()),
            2 => Just(b"a=b~c".to_vec()),
            2 => vec(prop_oneof![Just(b';'), Just(b'='), Just(b'"'), Just(b'~'), any::<u8>()], 0..6),
        ];
        vec(word, 0..12).prop_map(|words| words.concat())
    }

    fn others(line: &[u8]) -> Vec<Vec<u8>> {
        line.split(|b| *b == b';')
            .filter(|piece| {
                let name = piece.split(|b| *b == b'=').next().unwrap_or_default();
                !piece.contains(&b'=') || trimmed_text(name) != b"LB"
            })
            .map(|piece| trimmed_text(piece).to_vec())
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    fn trimmed_text(text: &[u8]) -> &[u8] {
        &text[trimmed(text, 0..text.len())]
    }

    proptest! {
        #[test]
        fn removing_takes_all_of_the_name_and_nothing_else(line in line()) {
            let left = without_cookie(&line, b"LB");
            prop_assert_eq!(cookie_values(&left, b"LB").count(), 0);
            prop_assert_eq!(others(&left), others(&line));
            prop_assert_eq!(&without_cookie(&left, b"LB"), &left);
            if cookie_values(&line, b"LB").next().is_none() && !others(&line).is_empty() {
                let start = line.iter().position(|b| !matches!(b, b' ' | b'\t'));
                prop_assert_eq!(&left[..], &line[start.unwrap_or(line.len())..]);
            }
        }

        #[test]
        fn a_prefix_that_was_put_on_comes_off_again(
            value in "[!-:<-~]{0,20}",
            attributes in "(; ?[a-zA-Z=/0-9]{0,10}){0,3}",
        ) {
            let set = format!("S={value}{attributes}").into_bytes();
            let at = set_value(&set, b"S").unwrap();
            let set = with_prefix(&set, at, "web-1");
            let given = &set[set_value(&set, b"S").unwrap()];
            // As a client keeps it and sends it back.
            let sent = [b"x=1; S=", given, b"; y=2"].concat();
            prop_assert_eq!(
                prefix_of(cookie_values(&sent, b"S").next().unwrap()),
                Some(&b"web-1"[..])
            );
            let seen = without_prefix(&sent, b"S");
            prop_assert_eq!(seen, format!("x=1; S={value}; y=2").into_bytes());
        }

        #[test]
        fn no_line_is_too_odd(line in vec(any::<u8>(), 0..200), name in vec(any::<u8>(), 0..4)) {
            let _ = cookie_values(&line, &name).count();
            let _ = without_cookie(&line, &name);
            let shorter = without_prefix(&line, &name);
            prop_assert!(shorter.len() <= line.len());
            if let Some(value) = set_value(&line, &name) {
                let _ = with_value(&line, value.clone(), "v");
                let longer = with_prefix(&line, value, "p");
                prop_assert_eq!(longer.len(), line.len() + 2);
            }
        }
    }
}
