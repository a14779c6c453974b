//! `redirects`: from where to where clients are sent, and where exactly.

use super::address::{self, Query};
use super::fields::Fields;
use super::unit::HostPattern;
use super::values::{Problem, unknown_word};
use crate::diag::quoted;

const PAIRS: usize = 1_000;

/// Clients give up after about as many.
const HOPS: usize = 20;

const CODES: [u16; 5] = [301, 302, 303, 307, 308];
const DEFAULT_CODE: u16 = 302;

/// The pairs of one service in their order. None of them leads to another in a circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    pub code: u16,
    pairs: Vec<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    from: Source,
    to: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    /// `None`: every host that leads to the service.
    host: Option<HostPattern>,
    /// Empty, or with a slash at the start. Takes everything below it, segment by segment.
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// `https://new.example.com:8443`; empty for a path on the same host.
    origin: String,
    /// The host in it, as requests name theirs.
    host: Option<String>,
    /// Empty, or with a slash at the start.
    path: String,
}

impl Redirects {
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Where a client is sent that asked for this; `None` if it is not sent away. `query` with its
    /// `?`. The first pair that matches decides.
    ///
    /// Whatever the path holds, the client stays on the host that the pair names, or on the one it
    /// asked.
    pub fn location(&self, host: &[u8], path: &[u8], query: &[u8]) -> Option<Vec<u8>> {
        let (pair, rest) = self
            .pairs
            .iter()
            .find_map(|pair| Some((pair, pair.rest(host, path)?)))?;
        let mut location = pair.to.origin.clone().into_bytes();
        if rest.is_empty() {
            let path = match pair.to.path.as_str() {
                "" => "/",
                path => path,
            };
            location.extend_from_slice(path.as_bytes());
        } else {
            location.extend_from_slice(pair.to.path.trim_end_matches('/').as_bytes());
            if rest[0] != b'/' {
                location.push(b'/');
            }
            location.extend_from_slice(rest);
        }
        if pair.to.origin.is_empty() {
            // Two slashes at the start would name another host, and browsers take a backslash for one.
            let slashes = location.iter().take_while(|b| matches!(b, b'/' | b'\\'));
            let extra = slashes.count().saturating_sub(1);
            location.drain(..extra);
            if let Some(first) = location.first_mut() {
                *first = b'/';
            }
        }
        location.extend_from_slice(query);
        Some(location)
    }

    /// The hosts that lead to the service for what below them is redirected, with the path (which may
    /// be empty).
    pub fn routes(&self) -> impl Iterator<Item = (&HostPattern, &str)> {
        self.pairs
            .iter()
            .filter_map(|pair| Some((pair.from.host.as_ref()?, pair.from.path.as_str())))
    }

    /// Each pair as it would be written.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.pairs.iter().map(|Pair { from, to }| {
            let host = match &from.host {
                None => String::new(),
                Some(HostPattern::Exact(name)) => name.clone(),
                Some(HostPattern::Wildcard(suffix)) => format!("*{suffix}"),
            };
            format!("{host}{},{}{}", from.path, to.origin, to.path)
        })
    }

    /// Whether a client that follows this pair would be sent on and on.
    fn is_endless(&self, pair: &Pair) -> bool {
        let mut host = match (&pair.to.host, &pair.from.host) {
            (Some(host), _) => host.clone(),
            (None, Some(HostPattern::Exact(host))) => host.clone(),
            (None, Some(HostPattern::Wildcard(suffix))) => format!("x{suffix}"),
            (None, None) => "host.invalid".to_owned(),
        };
        let mut path = match pair.to.path.as_str() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        for _ in 0..HOPS {
            let Some(location) = self.location(host.as_bytes(), path.as_bytes(), b"") else {
                return false;
            };
            let location = String::from_utf8_lossy(&location).into_owned();
            path = match location.split_once("://") {
                Some((_, rest)) => {
                    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                    host = host_of(authority).unwrap_or_default();
                    path.to_owned()
                }
                None => location,
            };
        }
        true
    }
}

impl Pair {
    /// What stands behind `from` in the path, if the request begins there.
    fn rest<'p>(&self, host: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
        let is_host = match &self.from.host {
            None => true,
            Some(HostPattern::Exact(name)) => name.as_bytes() == host,
            Some(HostPattern::Wildcard(suffix)) => {
                host.len() > suffix.len() && host.ends_with(suffix.as_bytes())
            }
        };
        if !is_host {
            return None;
        }
        // From a path on any host to the same path on one host: who is on that host has arrived.
        let has_arrived = |to: &str| to.as_bytes() == host && self.stays_below();
        if self.from.host.is_none() && self.to.host.as_deref().is_some_and(has_arrived) {
            return None;
        }
        below(&self.from.path, path)
    }

    fn stays_below(&self) -> bool {
        let to = match self.to.path.as_str() {
            "" => "/",
            path => path,
        };
        below(&self.from.path, to.as_bytes()).is_some()
    }
}

/// What stands in `path` behind `prefix`, if that ends where a segment ends.
fn below<'p>(prefix: &str, path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix.as_bytes())?;
    let ends_segment =
        rest.is_empty() || rest[0] == b'/' || prefix.is_empty() || prefix.ends_with('/');
    ends_segment.then_some(rest)
}

/// `redirects` and `redirect_code`; `None` if there are none.
pub(super) fn redirects(fields: &mut Fields<'_>) -> Option<Redirects> {
    let code = fields.read("redirect_code", code);
    let Some(written) = fields.text("redirects") else {
        if code.is_some() {
            fields.warn(
                "unused-field",
                "redirect_code",
                "redirect_code says nothing without redirects".to_owned(),
                "remove it, or set redirects",
            );
        }
        return None;
    };
    let mut redirects = Redirects {
        code: code.unwrap_or(DEFAULT_CODE),
        pairs: Vec::new(),
    };
    let entries = written.text.split([';', '\n']).map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        match pair(entry) {
            Ok(pair) => redirects.pairs.push(pair),
            Err(problem) => fields.refuse("redirects", written, &problem),
        }
    }
    if redirects.pairs.len() > PAIRS {
        let problem = Problem::new(
            format!("has {} pairs", redirects.pairs.len()),
            format!("it may have {PAIRS}"),
        );
        fields.refuse("redirects", written, &problem);
        return None;
    }
    if let Some(pair) = redirects
        .pairs
        .iter()
        .find(|pair| redirects.is_endless(pair))
    {
        let Pair { from, to } = pair;
        let target = format!("{}{}", to.origin, to.path);
        let problem = Problem::new(
            format!("{} leads in a circle", quoted(&target)),
            match (&from.host, &to.host) {
                (Some(HostPattern::Exact(from)), Some(to)) if from == to => {
                    "from is inside to; to send plain requests to https, set force_ssl"
                }
                _ => {
                    "who is sent there is sent on again; choose a target outside of what is redirected"
                }
            },
        );
        fields.refuse("redirects", written, &problem);
        return None;
    }
    (!redirects.is_empty()).then_some(redirects)
}

fn code(text: &str) -> Result<u16, Problem> {
    let code = text.parse().ok().filter(|code| CODES.contains(code));
    code.ok_or_else(|| unknown_word(text, &["301", "302", "303", "307", "308"]))
}

fn pair(entry: &str) -> Result<Pair, Problem> {
    let no_pair = |help: &str| Problem::new(format!("{} is no pair", quoted(entry)), help);
    let Some((from, to)) = entry.split_once(',') else {
        return Err(no_pair("write from,to with a comma between the two"));
    };
    if to.contains(',') {
        return Err(no_pair(
            "put ; between two pairs; a comma inside a path is written %2C",
        ));
    }
    Ok(Pair {
        from: from_text(from.trim())?,
        to: to_text(to.trim())?,
    })
}

fn from_text(text: &str) -> Result<Source, Problem> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) => {
            check_scheme(text, scheme)?;
            rest
        }
        None => text,
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host {
        "" if path.is_empty() || text.contains("://") => {
            return Err(Problem::new(
                format!("{} says nothing before the comma", quoted(text)),
                "write a host name or a path there",
            ));
        }
        "" => None,
        host => Some(address::host(host)?.0),
    };
    let path = match path {
        "" => String::new(),
        // All of a host is the host.
        "/" if host.is_some() => String::new(),
        path => address::path(path, Query::Refused)?,
    };
    Ok(Source { host, path })
}

fn to_text(text: &str) -> Result<Target, Problem> {
    let Some((scheme, rest)) = text.split_once("://") else {
        if !text.starts_with('/') {
            return Err(Problem::new(
                format!("{} is no target", quoted(text)),
                "write a path, or a URL that begins with http:// or https://",
            ));
        }
        if text.starts_with("//") || text.starts_with("/\\") {
            return Err(Problem::new(
                format!("{} is no path", quoted(text)),
                "a target on another host begins with http:// or https://",
            ));
        }
        return Ok(Target {
            origin: String::new(),
            host: None,
            path: address::path(text, Query::Refused)?,
        });
    };
    check_scheme(text, scheme)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match address::host(authority)?.0 {
        HostPattern::Exact(host) => host,
        HostPattern::Wildcard(_) => {
            return Err(Problem::new(
                format!("{} has a * in it", quoted(text)),
                "a target is one host; write its name whole",
            ));
        }
    };
    let path = match path {
        "" => String::new(),
        path => address::path(path, Query::Refused)?,
    };
    Ok(Target {
        origin: format!("{scheme}://{authority}").to_ascii_lowercase(),
        host: Some(host),
        path,
    })
}

fn check_scheme(text: &str, scheme: &str) -> Result<(), Problem> {
    if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Problem::new(
        format!("{} has a scheme that is not served", quoted(text)),
        "write http:// or https://",
    ))
}

/// The host in an authority, as requests name theirs.
fn host_of(authority: &str) -> Option<String> {
    match address::host(authority).ok()?.0 {
        HostPattern::Exact(host) => Some(host),
        HostPattern::Wildcard(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirects(text: &str) -> Redirects {
        let pairs = text.split(';').map(|entry| pair(entry).unwrap());
        Redirects {
            code: 302,
            pairs: pairs.collect(),
        }
    }

    #[track_caller]
    fn check(text: &str, request: (&str, &str), expected: Option<&str>) {
        let (host, target) = request;
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let location = redirects(text).location(host.as_bytes(), path.as_bytes(), query.as_bytes());
        let location = location.map(|l| String::from_utf8(l).unwrap());
        assert_eq!(location.as_deref(), expected, "{text}: {request:?}");
    }

    #[test]
    fn what_stands_behind_the_prefix_and_the_query_are_kept() {
        let hosts = "http://old.com,https://new.com";
        check(hosts, ("old.com", "/"), Some("https://new.com/"));
        check(
            hosts,
            ("old.com", "/a%20b/c?x=1"),
            Some("https://new.com/a%20b/c?x=1"),
        );
        check(hosts, ("new.com", "/a"), None);
        let prefix = "/old,/new/";
        check(prefix, ("h", "/old"), Some("/new/"));
        check(prefix, ("h", "/old?q"), Some("/new/?q"));
        check(prefix, ("h", "/old/"), Some("/new/"));
        check(prefix, ("h", "/old/a"), Some("/new/a"));
        check(prefix, ("h", "/older"), None);
        check("/old/,/new", ("h", "/old/a"), Some("/new/a"));
        check("/old/,/new", ("h", "/old"), None);
        check(
            "old.com/a,https://new.com/b",
            ("old.com", "/a/c"),
            Some("https://new.com/b/c"),
        );
        check("old.com/a,https://new.com/b", ("old.com", "/c"), None);
        check(
            "old.com/,http://new.com",
            ("old.com", "/c"),
            Some("http://new.com/c"),
        );
        check(
            "*.foo.com,https://foo.com",
            ("a.b.foo.com", "/"),
            Some("https://foo.com/"),
        );
        check("*.foo.com,https://foo.com", ("foo.com", "/"), None);
        check(
            "/old,http://new.com",
            ("h", "/old"),
            Some("http://new.com/"),
        );
        check(
            "a.com,http://[::1]:8080/x",
            ("a.com", "/y"),
            Some("http://[::1]:8080/x/y"),
        );
    }

    #[test]
    fn no_path_leads_to_another_host() {
        for path in [
            "/old//evil.com",
            "/old/\\evil.com",
            "/old/\\/evil.com",
            "/old///evil.com",
        ] {
            check("/old,/", ("h", path), Some("/evil.com"));
        }
        check(
            "h,http://new.com",
            ("h", "//evil.com"),
            Some("http://new.com//evil.com"),
        );
        check(
            "h,http://new.com",
            ("h", "/\\@evil.com"),
            Some("http://new.com/\\@evil.com"),
        );
        check("/old/,/", ("h", "/old/\\evil.com"), Some("/evil.com"));
        check("/old,/new", ("h", "/old//evil.com"), Some("/new//evil.com"));
    }

    #[test]
    fn the_first_pair_that_matches_decides() {
        check("/a/b,/1;/a,/2", ("h", "/a/b/c"), Some("/1/c"));
        check("/a,/2;/a/b,/1", ("h", "/a/b/c"), Some("/2/b/c"));
    }

    #[test]
    fn circles_are_found_whatever_their_length() {
        let endless = |text: &str| {
            let redirects = redirects(text);
            redirects
                .pairs
                .iter()
                .any(|pair| redirects.is_endless(pair))
        };
        for text in [
            "/a,/a",
            "/a,/a/b",
            "/,/x",
            "/a,/b;/b,/a",
            "/a,/b;/b,/c;/c,/a/d",
            "h.com,/x",
            "h.com,https://h.com",
            "*.h.com,http://www.h.com",
            "a.com,http://b.com;b.com,http://a.com",
            "/a,http://b.com/x;b.com,http://c.com/a;c.com,http://b.com",
        ] {
            assert!(endless(text), "{text}");
        }
        for text in [
            "/a,/b",
            "/a,/b;/b,/c",
            "a.com,http://b.com",
            "*.h.com,http://h.com",
            "/a/b,/a",
            "/old,https://new.com/old",
            "a.com/x,http://a.com/y",
        ] {
            assert!(!endless(text), "{text}");
        }
    }

    #[test]
    fn a_path_that_moves_to_one_host_is_not_moved_there_again() {
        let text = "/old,https://new.com/old";
        check(text, ("h", "/old/a"), Some("https://new.com/old/a"));
        check(text, ("new.com", "/old/a"), None);
    }

    #[test]
    fn bad_pairs_are_refused_with_advice() {
        let check = |text: &str, help: &str| {
            let problem = pair(text).expect_err(text);
            let whole = format!("{}; {}", problem.message, problem.help.unwrap_or_default());
            assert!(whole.contains(help), "{text}: {whole}");
        };
        check("/a", "write from,to");
        check("/a,/b,/c", "put ; between two pairs");
        check(",/b", "says nothing before the comma");
        check("http://,/b", "says nothing before the comma");
        check("/a,", "begins with http://");
        check("/a,b.com", "begins with http://");
        check("/a,//b.com", "begins with http://");
        check("/a,/\\b.com", "begins with http://");
        check("/a,javascript://x", "write http://");
        check("ftp://a.com,/b", "write http://");
        check("a b.com,/b", "is no host name");
        check("/a,http://u@b.com/", "is no host name");
        check("/a,http://*.b.com/", "write its name whole");
        check("/a,/b?c=d", "remove ? and what follows");
        check("/a?b,/c", "remove ? and what follows");
        check("/a,http://b.com/\u{e4}", "percent-encoded");
        check("/a,/b\tc", "percent-encoded");
    }
}
