//! Where requests come in: virtual hosts, virtual paths.

use std::net::Ipv6Addr;

use super::unit::HostPattern;
use super::values::{Problem, port};
use crate::diag::quoted;

/// One entry of `virtual_hosts`. With it: whether a port was cut off, which is worth a warning.
///
/// The listener's port is not part of a route, so `www.example.com:8080` can only mean the name.
pub(super) fn host(text: &str) -> Result<(HostPattern, bool), Problem> {
    if text.is_empty() {
        return Err(Problem::new(
            "has an empty entry",
            "remove the comma that has nothing beside it",
        ));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return ipv6_host(text, rest);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Problem::new(
            format!("{} is an IPv6 address without brackets", quoted(text)),
            format!("write [{text}]"),
        ));
    }
    if text.contains("://") || text.contains('/') {
        return Err(Problem::new(
            format!("{} is a URL or has a path", quoted(text)),
            "write the host name alone; the path goes to virtual_path",
        ));
    }
    let (name, has_port) = match text.split_once(':') {
        None => (text, false),
        Some((name, digits)) => {
            port(digits).map_err(|_| no_host(text, "it has something like a port that is none"))?;
            (name, true)
        }
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name == "*" {
        return Err(Problem::new(
            "\"*\" takes every host",
            "leave virtual_hosts out and set virtual_path to \"/\", or set default to \"true\"",
        ));
    }
    let (plain, is_wildcard) = match name.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (name.as_str(), false),
    };
    if plain.contains('*') {
        return Err(Problem::new(
            format!("{} has a * where none can be", quoted(text)),
            "a wildcard is the whole first label, as in *.example.com, and takes any depth",
        ));
    }
    check_labels(text, plain)?;
    let pattern = if is_wildcard {
        HostPattern::Wildcard(format!(".{plain}"))
    } else {
        HostPattern::Exact(name)
    };
    Ok((pattern, has_port))
}

fn ipv6_host(text: &str, rest: &str) -> Result<(HostPattern, bool), Problem> {
    let parsed = rest.split_once(']').and_then(|(address, after)| {
        let address: Ipv6Addr = address.parse().ok()?;
        match after.strip_prefix(':') {
            None => after.is_empty().then_some((address, false)),
            Some(digits) => port(digits).ok().map(|_| (address, true)),
        }
    });
    match parsed {
        Some((address, has_port)) => Ok((HostPattern::Exact(format!("[{address}]")), has_port)),
        None => Err(no_host(text, "it starts like an IPv6 address and is none")),
    }
}

pub(super) fn check_labels(text: &str, name: &str) -> Result<(), Problem> {
    const NAME_BYTES: usize = 253;
    const LABEL_BYTES: usize = 63;
    if !name.is_ascii() {
        return Err(no_host(
            text,
            "names beyond ASCII are written in their xn-- form, as browsers send them",
        ));
    }
    if name.chars().any(|c| c.is_ascii_whitespace()) {
        return Err(no_host(
            text,
            "it has a space; put a comma between two hosts",
        ));
    }
    if name.len() > NAME_BYTES {
        return Err(no_host(text, "a name has at most 253 characters"));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(no_host(
                text,
                "there is nothing between two dots, or beside one",
            ));
        }
        if label.len() > LABEL_BYTES {
            return Err(no_host(
                text,
                "a part between dots has at most 63 characters",
            ));
        }
        let stranger = label
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
        if let Some(c) = stranger {
            return Err(no_host(
                text,
                &format!("{c:?} cannot be in one; letters, digits, - and _ can"),
            ));
        }
    }
    Ok(())
}

pub(super) fn no_host(text: &str, why: &str) -> Problem {
    Problem::new(format!("{} is no host name", quoted(text)), why)
}

/// One entry of `virtual_path`, or a `health_check_uri` when a query may follow.
pub(super) fn path(text: &str, query: Query) -> Result<String, Problem> {
    const PATH_BYTES: usize = 2048;
    let refuse = |help: &str| Problem::new(format!("{} is no path", quoted(text)), help);
    if text.is_empty() {
        return Err(Problem::new(
            "has an empty entry",
            "remove the comma that has nothing beside it",
        ));
    }
    if !text.starts_with('/') {
        return Err(refuse(&match text.split_once("://") {
            Some(_) => "it is a URL; write what comes after the host name".to_owned(),
            None if text.len() < 60 && text.bytes().all(|b| b.is_ascii_graphic()) => {
                format!("a path starts with a slash: \"/{text}\"")
            }
            None => "a path starts with a slash".to_owned(),
        }));
    }
    if text.len() > PATH_BYTES {
        return Err(refuse("a path has at most 2048 characters"));
    }
    match text.chars().find(|c| !is_path_char(*c)) {
        None => Ok(text.to_owned()),
        Some('?') if query == Query::Allowed => Ok(text.to_owned()),
        Some('?') => Err(refuse(
            "requests are led by path alone; remove ? and what follows",
        )),
        Some('#') => Err(refuse(
            "# and what follows never reaches a server; remove it",
        )),
        Some(' ') => Err(refuse(
            "a space is written %20; put a comma between two paths",
        )),
        Some(c) => Err(refuse(&format!("{c:?} has to be percent-encoded"))),
    }
}

/// Whether `?` and what follows belong to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    Allowed,
    Refused,
}

fn is_path_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '?' | '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lowercased_and_wildcards_kept_as_suffix() {
        let exact = |s: &str| Ok((HostPattern::Exact(s.into()), false));
        assert_eq!(host("WWW.Foo.com"), exact("www.foo.com"));
        assert_eq!(host("www.foo.com."), exact("www.foo.com"));
        assert_eq!(host("10.0.0.1"), exact("10.0.0.1"));
        assert_eq!(host("[0:0::1]"), exact("[::1]"));
        assert_eq!(host("a_b"), exact("a_b"));
        assert_eq!(
            host("*.Bar.com"),
            Ok((HostPattern::Wildcard(".bar.com".into()), false))
        );
        assert_eq!(
            host("www.foo.com:8080"),
            Ok((HostPattern::Exact("www.foo.com".into()), true))
        );
        assert_eq!(
            host("[::1]:80"),
            Ok((HostPattern::Exact("[::1]".into()), true))
        );
    }

    #[test]
    fn bad_hosts_are_refused_with_advice() {
        let check = |text: &str, help: &str| {
            let problem = host(text).expect_err(text);
            let whole = format!("{}; {}", problem.message, problem.help.unwrap_or_default());
            assert!(whole.contains(help), "{text}: {whole}");
        };
        check("", "empty entry");
        check("*", "set default");
        check("*foo.com", "whole first label");
        check("www.*.com", "whole first label");
        check("*.", "takes every host");
        check("*..com", "nothing between two dots");
        check("www foo.com", "put a comma");
        check("www..com", "nothing between two dots");
        check(".foo.com", "nothing between two dots");
        check("füü.com", "xn--");
        check("foo.com/api", "virtual_path");
        check("http://foo.com", "virtual_path");
        check("foo.com:http", "port");
        check("foo.com:0", "port");
        check("::1", "write [::1]");
        check("[::1", "IPv6");
        check("[::1]x", "IPv6");
        check("foo$.com", "'$' cannot be");
        check(&"a".repeat(64), "63");
        check(&"a.".repeat(200), "253");
        check("foo\0.com", "'\\0' cannot be");
    }

    #[test]
    fn paths_start_with_a_slash_and_hold_no_query() {
        assert_eq!(path("/", Query::Refused), Ok("/".into()));
        assert_eq!(path("/a/b%20c", Query::Refused), Ok("/a/b%20c".into()));
        assert_eq!(path("/ok?x=1", Query::Allowed), Ok("/ok?x=1".into()));
        for bad in ["", "api", "/a b", "/a?x", "/a#x", "/ü", "/a\n", "http://x/"] {
            assert!(path(bad, Query::Refused).is_err(), "{bad}");
        }
        assert_eq!(
            path("api", Query::Refused).unwrap_err().help.unwrap(),
            "a path starts with a slash: \"/api\""
        );
    }
}
