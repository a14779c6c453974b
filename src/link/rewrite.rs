//! Lines in HAProxy's words that dialects are written as, quoted so that no value is more than a value.

/// A word of a line in single quotes, in which nothing has a meaning but the quote itself.
/// `None` for what no line can hold.
pub(super) fn word(text: &str) -> Option<String> {
    let good = |c: char| !c.is_control() && c != '\'';
    // Quoted or not, these are what conditions are made of.
    if matches!(text, "{" | "}" | "||" | "or" | "if" | "unless") {
        return None;
    }
    (!text.is_empty() && text.chars().all(good)).then(|| format!("'{text}'"))
}

/// A text that a template (FMT) writes as it is.
pub(super) fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

/// A regular expression that matches this text and nothing else.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && c != '/' && c != '_' && c != '-' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What replaces a path that begins with one of `prefixes` by `with` and the rest.
pub(super) fn swap_prefix(prefixes: &[&str], with: &str) -> Option<String> {
    let prefixes: Vec<_> = prefixes
        .iter()
        .map(|prefix| escaped(prefix.trim_end_matches('/')))
        .collect();
    let with = with.trim_end_matches('/');
    let regex = word(&format!("^(?:{})/?(.*)$", prefixes.join("|")))?;
    let by = word(&format!("{}/\\1", plain(with)))?;
    Some(format!("http-request replace-path {regex} {by}"))
}
