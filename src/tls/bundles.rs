//! Several bundles in one text.

/// Cuts a text of bundles that follow one another, each with its private key last (or each with it
/// first). What stands behind the last key is a bundle without one if there is PEM in it, and passed
/// over if not. A text without PEM is one bundle, so that it is refused and not overlooked; a blank one is none.
pub fn bundles(text: &str) -> Vec<&str> {
    let marks: Vec<_> = marks(text).collect();
    let key_is_first = marks.first().is_some_and(|mark| mark.is_of_key);
    let cuts = marks.iter().filter(|mark| mark.is_of_key);
    let cuts = cuts.filter_map(|mark| match (key_is_first, mark.begins) {
        (true, true) => Some(mark.from),
        (false, false) => Some(line_end(text, mark.to)),
        _ => None,
    });
    let mut found: Vec<&str> = Vec::new();
    let mut from = 0;
    for to in cuts.chain([text.len()]) {
        let part = &text[from..to];
        from = to;
        if part.contains(BEGIN) {
            found.push(part);
        }
    }
    if found.is_empty() && !text.trim().is_empty() {
        found.push(text);
    }
    found
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Where a block begins or ends.
struct Mark {
    from: usize,
    to: usize,
    begins: bool,
    is_of_key: bool,
}

/// Wherever they stand: variables often lost their line breaks on the way.
fn marks(text: &str) -> impl Iterator<Item = Mark> {
    text.match_indices(DASHES).filter_map(move |(from, _)| {
        let rest = &text[from..];
        let (begins, rest) = match rest.strip_prefix(BEGIN) {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix(END)?),
        };
        let (label, _) = rest.split_once(DASHES)?;
        let to = text.len() - rest.len() + label.len() + DASHES.len();
        let is_of_key = label.ends_with("PRIVATE KEY") && !label.contains('\n');
        Some(Mark {
            from,
            to,
            begins,
            is_of_key,
        })
    })
}

/// Behind the line break that comes next, if there is nothing before it.
fn line_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    match rest.find(|c: char| !c.is_whitespace() || c == '\n') {
        Some(to) if rest[to..].starts_with('\n') => at + to + 1,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_cut_behind_their_keys() {
        let block = |label: &str, text: &str| {
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let check = |parts: &[&[(&str, &str)]]| {
            let each: Vec<String> = parts
                .iter()
                .map(|part| {
                    part.iter()
                        .map(|(label, text)| block(label, text))
                        .collect()
                })
                .collect();
            assert_eq!(bundles(&each.concat()), each);
            let flat: Vec<_> = each.iter().map(|part| part.replace('\n', " ")).collect();
            let cut = flat.concat();
            let cut: Vec<_> = bundles(&cut).into_iter().map(str::trim).collect();
            let expected: Vec<_> = flat.iter().map(|part| part.trim()).collect();
            assert_eq!(cut, expected, "without line breaks");
            let crlf: Vec<_> = each.iter().map(|part| part.replace('\n', "\r\n")).collect();
            assert_eq!(bundles(&crlf.concat()), crlf);
        };
        let (cert, key) = ("CERTIFICATE", "PRIVATE KEY");
        check(&[&[(cert, "a"), (key, "k")]]);
        check(&[
            &[(cert, "a"), (cert, "b"), ("RSA PRIVATE KEY", "k")],
            &[(cert, "c"), ("EC PARAMETERS", "p"), ("EC PRIVATE KEY", "l")],
        ]);
        check(&[
            &[(key, "k"), (cert, "a")],
            &[(key, "l"), (cert, "b"), (cert, "c")],
        ]);
        check(&[&[(cert, "a"), (key, "k")], &[(cert, "without a key")]]);
    }

    #[test]
    fn text_around_makes_no_bundle_and_none_is_lost() {
        let one = "subject=a\n-----BEGIN X-----\nx\n-----END PRIVATE KEY-----\n";
        assert_eq!(bundles(&format!("{one}\n\n# the end\n")), [one]);
        assert_eq!(bundles("hello"), ["hello"]);
        assert!(bundles(" \n").is_empty());
    }
}
