//! Patterns over key paths: segments with `*` (any characters) and `?` (one), never across a slash.

/// Whether `path` matches `pattern`, segment by segment.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for glob in pattern.split('/') {
        match segments.next() {
            Some(segment) if segment_matches(glob.as_bytes(), segment.as_bytes()) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// The part before the first segment that is a glob: `services/web/upstreams` of
/// `services/web/upstreams/*`. Everything that matches lies under it.
pub(super) fn base(pattern: &str) -> &str {
    match pattern.find(['*', '?']) {
        None => pattern,
        Some(glob) => pattern[..glob]
            .rsplit_once('/')
            .map_or("", |(base, _)| base),
    }
}

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The directory of as many segments as `pattern` has that `key` lies in, if it lies in one. A
/// segment without a name (`services//x`) is no directory: nothing could list it.
pub(super) fn directory<'a>(pattern: &str, key: &'a str) -> Option<&'a str> {
    let segments = pattern.matches('/').count() + 1;
    let (end, _) = key.match_indices('/').nth(segments - 1)?;
    let directory = &key[..end];
    let is_named = directory.split('/').all(|segment| !segment.is_empty());
    (is_named && matches(pattern, directory)).then_some(directory)
}

/// Linear in the length of `text` for each `*`: on a mismatch only the last star takes one more.
fn segment_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g).is_some_and(|c| *c == b'?' || *c == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            g = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_inside_a_segment() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        };
        check("services/*", "services/web", true);
        check("services/*", "services/web/x", false);
        check("services/*", "services", false);
        check("services/web-*", "services/web-1", true);
        check("services/web-*", "services/db-1", false);
        check("*/a*b*c", "x/a1b2bc", true);
        check("*/a*b*c", "x/a1b2b", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("a", "a", true);
    }

    #[test]
    fn base_and_directory_cut_at_segments() {
        assert_eq!(base("services/web/upstreams/*"), "services/web/upstreams");
        assert_eq!(base("services/we*/x"), "services");
        assert_eq!(base("*"), "");
        assert_eq!(base("a/b"), "a/b");
        assert_eq!(
            directory("services/*", "services/web/a/b"),
            Some("services/web")
        );
        assert_eq!(directory("services/*", "services/web"), None);
        assert_eq!(directory("services/*", "certs/web/x"), None);
        assert_eq!(directory("services/*", "services//x"), None);
        assert_eq!(directory("*", "certs/web"), Some("certs"));
    }
}
