//! Several bundles in one text.

/// Cuts a text of bundles that follow one another, each with its private key last (or each with it
/// first). What stands behind the last key is a bundle without one if there is PEM in it, and passed
/// over if not. A text without PEM is one bundle, so that it is refused and not overlooked; a blank one is none.
pub fn bundles(text: &str) -> Vec<&str> {
    let mut cuts = Vec::new();
    let is_key = |line: &str, word: &str| {
        let line = line.trim();
        line.starts_with(word) && line.trim_end_matches('-').ends_with("PRIVATE KEY")
    };
    let first = text.lines().find(|line| line.trim().starts_with(BEGIN));
    let key_is_first = first.is_some_and(|line| is_key(line, BEGIN));
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if key_is_first && is_key(line, BEGIN) {
            cuts.push(at);
        }
        at += line.len();
        if !key_is_first && is_key(line, END) {
            cuts.push(at);
        }
    }
    let mut found: Vec<&str> = Vec::new();
    let mut from = 0;
    for to in cuts.into_iter().chain([text.len()]) {
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
