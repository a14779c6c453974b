//! Web pages: our own one asks for what its reader may see, those of others get nothing. A browser sends passwords
//! and certificates along with whatever any page asks for, so that they alone say nothing of who wants it.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};

use super::Refusal;

/// What our page sends with each change. Another site's cannot: browsers ask first whether they may, and are told no.
const MARK: HeaderName = HeaderName::from_static("x-pointsman");
const PAGE: &[u8] = b"page";

/// Where it came from, as browsers tell and programs do not.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

const OTHERS: &str = "web pages of others may not see or change anything here";

/// What is ours.
pub(super) struct Site {
    pub(super) is_tls: bool,
    /// Else an address or `localhost`: a name that somebody made point at us is not ours.
    pub(super) takes_any_host: bool,
}

impl Site {
    pub(super) fn check(&self, is_change: bool, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_page(is_change, headers)?;
        let host = only(headers, &header::HOST).and_then(|host| str::from_utf8(host).ok());
        if !self.takes_any_host && !host.is_some_and(is_address) {
            return Err(Refusal::forbidden(
                "Host is no address: ask by the address of --stats, or localhost",
            ));
        }
        Ok(())
    }

    fn check_page(&self, is_change: bool, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key(header::ORIGIN) && !self.is_own_origin(headers) {
            return Err(Refusal::forbidden(OTHERS));
        }
        if !headers.contains_key(SITE) {
            return Ok(());
        }
        let may = match only(headers, &SITE) {
            Some(b"same-origin") => true,
            // Typed, or a bookmark.
            Some(b"none") => !is_change,
            // A link somewhere else leads here: who follows it sees it, and the page that has it does not.
            Some(b"same-site" | b"cross-site") => {
                !is_change
                    && only(headers, &MODE) == Some(b"navigate")
                    && only(headers, &DEST) == Some(b"document")
            }
            _ => false,
        };
        match may {
            true => Ok(()),
            false => Err(Refusal::forbidden(OTHERS)),
        }
    }

    fn is_own_origin(&self, headers: &HeaderMap) -> bool {
        let (Some(origin), Some(host)) =
            (only(headers, &header::ORIGIN), only(headers, &header::HOST))
        else {
            return false;
        };
        let scheme: &[u8] = match self.is_tls {
            true => b"https://",
            false => b"http://",
        };
        let split = origin.split_at_checked(scheme.len());
        split.is_some_and(|(own, rest)| own == scheme && rest.eq_ignore_ascii_case(host))
    }
}

/// Whether a change that a browser's own credentials would allow comes from our page, or from a program that means it.
pub(super) fn check_mark(headers: &HeaderMap) -> Result<(), Refusal> {
    match only(headers, &MARK) {
        Some(PAGE) => Ok(()),
        _ => Err(Refusal::forbidden(
            "changes by password or certificate need the header X-Pointsman: page, so that no other web page makes \
             them; or a token as Authorization: Bearer TOKEN",
        )),
    }
}

/// Of two, nobody knows which one another program believed.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.as_bytes()),
        _ => None,
    }
}

fn is_address(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_ours() {
        for host in [
            "127.0.0.1:1000",
            "127.0.0.1",
            "[::1]:1000",
            "localhost:1000",
            "10.0.0.1",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            "evil.example:1000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn pages_of_others_get_nothing_and_changes_come_from_our_own() {
        let may = |is_tls: bool, is_change: bool, lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                let name = HeaderName::from_static(name);
                headers.append(name, value.parse().expect("a value"));
            }
            let site = Site {
                is_tls,
                takes_any_host: true,
            };
            site.check(is_change, &headers).is_ok()
        };
        let host = ("host", "lb.example:1000");
        let (ours, tls) = ("http://lb.example:1000", "https://LB.example:1000");
        for is_change in [false, true] {
            assert!(may(false, is_change, &[]));
            assert!(may(false, is_change, &[host, ("origin", ours)]));
            assert!(may(true, is_change, &[host, ("origin", tls)]));
            assert!(may(
                false,
                is_change,
                &[host, ("sec-fetch-site", "same-origin")]
            ));
            for origin in [
                "null",
                "",
                "http://",
                tls,
                "http://lb.example",
                "http://evil",
            ] {
                assert!(
                    !may(false, is_change, &[host, ("origin", origin)]),
                    "{origin}"
                );
            }
            assert!(!may(false, is_change, &[("origin", ours)]));
            assert!(!may(
                false,
                is_change,
                &[host, ("origin", ours), ("origin", ours)]
            ));
            for site in ["cross-site", "same-site", "else", ""] {
                let fetched = [host, ("sec-fetch-site", site), ("sec-fetch-mode", "cors")];
                assert!(!may(false, is_change, &fetched), "{site}");
            }
            let link = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ];
            assert_eq!(may(false, is_change, &link), !is_change);
            let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
            assert!(!may(false, is_change, &frame));
            assert_eq!(
                may(false, is_change, &[("sec-fetch-site", "none")]),
                !is_change
            );
        }
    }
}
