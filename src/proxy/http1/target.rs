//! Request targets and hosts: what is asked for, and of whom.
//!
//! The bytes that are routed are the bytes that are forwarded: nothing is decoded or normalised.
//! What an upstream might normalise into another path than the one that was routed is refused.

use std::net::Ipv6Addr;

/// The parts of a request target, as lengths from its start.
pub(super) struct Parts {
    /// Where the authority lies; only in absolute form.
    pub(super) authority: Option<(usize, usize)>,
    /// Where the path begins. It ends where the query does begin.
    pub(super) path: usize,
    /// Where the query begins, with its `?`, or the end.
    pub(super) query: usize,
}

/// Takes a target in origin form (`/a?b`) or absolute form (`http://host/a?b`) apart.
#[inline]
pub(super) fn split_target(target: &[u8]) -> Result<Parts, &'static str> {
    if target.first() == Some(&b'/') {
        let query = check_path(target)?;
        return Ok(Parts {
            authority: None,
            path: 0,
            query,
        });
    }
    split_absolute(target)
}

#[cold]
fn split_absolute(target: &[u8]) -> Result<Parts, &'static str> {
    const BAD: &str = "bad request target";
    let scheme = target.windows(3).position(|w| w == b"://").ok_or(BAD)?;
    let name = &target[..scheme];
    if !name.eq_ignore_ascii_case(b"http") && !name.eq_ignore_ascii_case(b"https") {
        return Err(BAD);
    }
    let start = scheme + 3;
    let end = target[start..]
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .map_or(target.len(), |i| start + i);
    if target[start..end].contains(&b'@') {
        return Err("userinfo in request target");
    }
    let query = end + check_path(&target[end..])?;
    Ok(Parts {
        authority: Some((start, end)),
        path: end,
        query,
    })
}

/// Whether a path that was made here could have come from a client.
pub fn is_sound_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && check_path(path) == Ok(path.len())
}

const PLAIN: u8 = 0;
/// Ends the path.
const QUERY: u8 = 1;
/// Worth a second look together with what stands before it.
const DOT: u8 = 2;
const ESCAPE: u8 = 4;
const BACKSLASH: u8 = 8;
/// `#`, anything that is not visible ASCII.
const BAD: u8 = 16;

const CLASS: [u8; 256] = {
    let mut table = [BAD; 256];
    let mut i = 0x21;
    while i < 0x7f {
        table[i] = match i as u8 {
            b'?' => QUERY,
            b'.' => DOT,
            b'%' => ESCAPE,
            b'\\' => BACKSLASH,
            b'#' => BAD,
            _ => PLAIN,
        };
        i += 1;
    }
    table
};

/// Checks path and query and gives where the query begins.
#[inline]
fn check_path(text: &[u8]) -> Result<usize, &'static str> {
    let mut seen = 0;
    let mut end = text.len();
    for (i, &b) in text.iter().enumerate() {
        let class = CLASS[b as usize];
        if class == QUERY {
            end = i;
            break;
        }
        seen |= class;
    }
    for &b in &text[end..] {
        seen |= CLASS[b as usize] & BAD;
    }
    if seen == PLAIN {
        return Ok(end);
    }
    if seen & BAD != 0 {
        return Err("bad byte in request target");
    }
    check_segments(&text[..end])?;
    Ok(end)
}

/// Refuses `.` and `..` segments, also spelled with `%2e`, `%2f`, `%5c`, `\` or with a `;parameter`,
/// and an escaped NUL. An upstream that resolves them would serve another path than was routed.
fn check_segments(path: &[u8]) -> Result<(), &'static str> {
    // Dots at the start of this segment; more than two, or anything else, is `NAME`.
    const NAME: u8 = 3;
    let mut dots = NAME;
    let mut parameter = false;
    let mut rest = path;
    loop {
        let (byte, width) = match rest {
            [] => (b'/', 0),
            [b'%', b'0', b'0', ..] => return Err("escaped NUL in path"),
            [b'%', b'2', b'e' | b'E', ..] => (b'.', 3),
            [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => (b'/', 3),
            [b'\\', ..] => (b'/', 1),
            [byte, ..] => (*byte, 1),
        };
        match byte {
            b'/' | b';' if dots == 1 || dots == 2 => return Err("dot segment in path"),
            b'/' => {
                dots = 0;
                parameter = false;
            }
            b';' => {
                dots = NAME;
                parameter = true;
            }
            b'.' if !parameter && dots < NAME => dots += 1,
            _ => dots = NAME,
        }
        if rest.is_empty() {
            return Ok(());
        }
        rest = &rest[width..];
    }
}

/// Reads `host[:port]` into `host`: lower case, no port, no trailing dot, an IPv6 literal in
/// brackets and in its shortest form. Refuses what is no name and no address.
///
/// The trailing dot of an absolute name is ignored for routing and forwarded as it came.
#[inline]
pub(super) fn read_host(text: &[u8], host: &mut String) -> Result<Option<u16>, &'static str> {
    host.clear();
    if text.first() == Some(&b'[') {
        return read_ipv6(text, host);
    }
    let mut end = text.len();
    let mut seen = 0;
    for (i, &b) in text.iter().enumerate() {
        let class = HOST[b as usize];
        if class & COLON != 0 {
            end = i;
            break;
        }
        seen |= class;
    }
    if seen & JUNK != 0 {
        return Err("bad host");
    }
    let port = match text.get(end..) {
        // RFC 3986, 3.2.3: a port may be empty.
        None | Some([] | [b':']) => None,
        Some([_, port @ ..]) => Some(read_port(port)?),
    };
    let name = &text[..end];
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > 255 {
        return Err("bad host");
    }
    if seen & PERIOD != 0 && name.split(|b| *b == b'.').any(<[u8]>::is_empty) {
        return Err("bad host");
    }
    host.push_str(std::str::from_utf8(name).map_err(|_| "bad host")?);
    if seen & UPPER != 0 {
        host.make_ascii_lowercase();
    }
    Ok(port)
}

const UPPER: u8 = 1;
const PERIOD: u8 = 2;
const COLON: u8 = 4;
const JUNK: u8 = 8;

/// Names are letters, digits, `-`, `_` and `.`. The escapes and delimiters that RFC 3986 would allow
/// in a name occur in attacks only.
const HOST: [u8; 256] = {
    let mut table = [JUNK; 256];
    let mut i = 0;
    while i < 128 {
        table[i] = match i as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => 0,
            b'A'..=b'Z' => UPPER,
            b'.' => PERIOD,
            b':' => COLON,
            _ => JUNK,
        };
        i += 1;
    }
    table
};

#[cold]
fn read_ipv6(text: &[u8], host: &mut String) -> Result<Option<u16>, &'static str> {
    use std::fmt::Write;
    let end = memchr::memchr(b']', text).ok_or("bad host")?;
    let address: Ipv6Addr = std::str::from_utf8(&text[1..end])
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or("bad host")?;
    let port = match &text[end + 1..] {
        [] | [b':'] => None,
        [b':', port @ ..] => Some(read_port(port)?),
        _ => return Err("bad host"),
    };
    // Writing to a String cannot fail.
    let _ = write!(host, "[{address}]");
    Ok(port)
}

fn read_port(digits: &[u8]) -> Result<u16, &'static str> {
    if digits.is_empty() || digits.len() > 5 {
        return Err("bad port in host");
    }
    let mut port = 0u32;
    for &b in digits {
        if !b.is_ascii_digit() {
            return Err("bad port in host");
        }
        port = port * 10 + u32::from(b - b'0');
    }
    u16::try_from(port).map_err(|_| "bad port in host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lowered_and_lose_port_and_trailing_dot() {
        let read = |text: &str| {
            let mut host = String::from("left over");
            read_host(text.as_bytes(), &mut host).map(|port| (host, port))
        };
        let good = [
            ("Example.COM", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("example.com.", "example.com", None),
            ("example.com.:80", "example.com", Some(80)),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:443", "[::1]", Some(443)),
            ("[2001:DB8::A]", "[2001:db8::a]", None),
            ("my_service", "my_service", None),
        ];
        for (text, host, port) in good {
            assert_eq!(read(text), Ok((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a,b",
            "user@host",
            "a/b",
            "a%00",
            "h\u{e9}",
            "[::1",
            "[]",
            "[::1%25eth0]",
            "[::1]x",
            "::1",
            "a\tb",
            "a?b",
            "a#b",
            "a..",
            "*",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        for text in [
            "a:x", "a:80:80", "a:65536", "a:123456", "a:+80", "[::1]:x", "a:8 0",
        ] {
            assert_eq!(read(text), Err("bad port in host"), "{text:?}");
        }
        assert!(read(&"a".repeat(256)).is_err());
    }

    #[test]
    fn targets_fall_apart_into_authority_path_and_query() {
        let split = |text: &'static str| {
            let parts = split_target(text.as_bytes()).unwrap();
            (
                parts.authority.map(|(a, b)| &text[a..b]),
                &text[parts.path..parts.query],
                &text[parts.query..],
            )
        };
        assert_eq!(split("/"), (None, "/", ""));
        assert_eq!(split("/a/b?c=/../d"), (None, "/a/b", "?c=/../d"));
        assert_eq!(split("/a?"), (None, "/a", "?"));
        assert_eq!(split("//a//b"), (None, "//a//b", ""));
        assert_eq!(split("http://h"), (Some("h"), "", ""));
        assert_eq!(split("HTTPS://h:1/a?b"), (Some("h:1"), "/a", "?b"));
        assert_eq!(split("http://h?b"), (Some("h"), "", "?b"));
    }

    #[test]
    fn paths_that_an_upstream_would_resolve_elsewhere_are_refused() {
        let check = |text: &str| split_target(text.as_bytes()).map(|_| ());
        for bad in [
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "/%2e%2e/a",
            "/a/.%2E",
            "/a/..;/b",
            "/..;x=1",
            "/a%2f..%2fb",
            "/a\\..\\b",
            "/a%5C..",
            "/%2e",
            "http://h/../a",
            "/a/.;",
        ] {
            assert_eq!(check(bad), Err("dot segment in path"), "{bad}");
        }
        assert_eq!(check("/a%00b"), Err("escaped NUL in path"));
        for good in [
            "/a.b",
            "/...",
            "/.well-known/x",
            "/a..b",
            "/..a",
            "/a;..",
            "/%",
            "/%2",
            "/%zz",
            "/a%2fb",
            "/a;v=1/b",
            "/%2e%2e%2e",
            "/a?../..",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["/a#b", "/a?b#c", "/\u{e9}", "/a?\u{e9}"] {
            assert_eq!(check(bad), Err("bad byte in request target"), "{bad}");
        }
        for bad in ["a", "*", "h:80", "ftp://h/", "http:/h", "://h", ""] {
            assert_eq!(check(bad), Err("bad request target"), "{bad:?}");
        }
    }
}
