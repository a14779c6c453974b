//! What the last health check of an upstream found, in HAProxy's words.

use crate::balance::Health;
use crate::config::{CheckKind, HealthCheck};

/// `check_status`, its number in server states, and `check_desc`.
pub(super) struct Found {
    pub(super) status: &'static str,
    pub(super) number: u8,
    pub(super) description: &'static str,
    /// Of HTTP.
    pub(super) code: Option<u64>,
}

const L4OK: (&str, u8, &str) = ("L4OK", 6, "Layer4 check passed");
const L4TOUT: (&str, u8, &str) = ("L4TOUT", 7, "Layer4 timeout");
const L4CON: (&str, u8, &str) = ("L4CON", 8, "Layer4 connection problem");
const L6OK: (&str, u8, &str) = ("L6OK", 9, "Layer6 check passed");
const L6RSP: (&str, u8, &str) = ("L6RSP", 11, "Layer6 invalid response");
const L7TOUT: (&str, u8, &str) = ("L7TOUT", 12, "Layer7 timeout");
const L7RSP: (&str, u8, &str) = ("L7RSP", 13, "Layer7 invalid response");
const L7OK: (&str, u8, &str) = ("L7OK", 15, "Layer7 check passed");
const L7STS: (&str, u8, &str) = ("L7STS", 17, "Layer7 wrong status");
const INI: (&str, u8, &str) = ("INI", 1, "Initializing");

/// `found` is as `proxy/probe.rs` and `proxy/health.rs` say it. `None`: nothing is checked.
pub(super) fn read(check: &HealthCheck, found: &str) -> Option<Found> {
    let is_http = matches!(check.kind, CheckKind::Http(_));
    let mut code = None;
    let words = match found {
        _ if check.kind == CheckKind::Off => return None,
        "" => INI,
        "connected" => L4OK,
        "connected by TLS" => L6OK,
        _ if found.starts_with("no answer in") && is_http => L7TOUT,
        _ if found.starts_with("no answer in") => L4TOUT,
        _ if found.starts_with("handshake: ") => L6RSP,
        _ if found.starts_with("connect: ") => match found.contains("timed out") {
            true => L4TOUT,
            false => L4CON,
        },
        _ => {
            code = status(found);
            match (&check.kind, code) {
                (CheckKind::Http(http), Some(code)) => {
                    let code = u16::try_from(code).unwrap_or_default();
                    let mut of_status = http.expect.iter().filter(|e| !e.is_of_body());
                    let is_right = match http.expect.is_empty() {
                        true => (200..400).contains(&code),
                        false => of_status.all(|expect| expect.holds(code, b"")),
                    };
                    match is_right {
                        _ if found.ends_with("expected") => L7RSP,
                        true => L7OK,
                        false => L7STS,
                    }
                }
                (CheckKind::Http(_), None) => L7RSP,
                _ => L4CON,
            }
        }
    };
    let (status, number, description) = words;
    Some(Found {
        status,
        number,
        description,
        code,
    })
}

/// Of `GET / answered 200`.
fn status(found: &str) -> Option<u64> {
    let (_, rest) = found.rsplit_once(" answered ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// HAProxy's count: from `rise` on a server is up, and at the most it is `rise + fall - 1`.
pub(super) fn health(check: &HealthCheck, health: Health, streak: u32) -> u64 {
    let most = check.rise + check.fall - 1;
    u64::from(match health {
        Health::Up => most.saturating_sub(streak).max(check.rise),
        Health::Starting | Health::Down => streak.min(check.rise.saturating_sub(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_haproxy() {
        let check = HealthCheck::default();
        let of = |at, streak| health(&check, at, streak);
        assert_eq!(
            [of(Health::Up, 0), of(Health::Up, 2), of(Health::Up, 9)],
            [4, 2, 2]
        );
        assert_eq!(
            [
                of(Health::Down, 0),
                of(Health::Down, 1),
                of(Health::Down, 9)
            ],
            [0, 1, 1]
        );
    }

    #[test]
    fn what_a_check_of_a_connection_found_has_haproxys_name() {
        let check = HealthCheck::default();
        for (found, status) in [
            ("", "INI"),
            ("connected", "L4OK"),
            ("connected by TLS", "L6OK"),
            ("connect: Connection refused (os error 111)", "L4CON"),
            ("connect: Connection timed out (os error 110)", "L4TOUT"),
            ("no answer in 10s", "L4TOUT"),
            ("handshake: nobody trusts it", "L6RSP"),
            ("send: Broken pipe (os error 32)", "L4CON"),
        ] {
            assert_eq!(
                read(&check, found).expect("a check").status,
                status,
                "{found}"
            );
        }
        assert_eq!(status("GET / answered 503"), Some(503));
        assert_eq!(
            status("GET / answered 200, not the text expected"),
            Some(200)
        );
        let off = HealthCheck {
            kind: CheckKind::Off,
            ..check
        };
        assert!(read(&off, "connected").is_none());
    }
}
