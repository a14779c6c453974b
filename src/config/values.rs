//! What one written value means: durations, sizes, counts, words, networks.
//!
//! Lenient in quoting and case, since values come from keys and environments; strict in content.
//! The command line reads its flags by the same functions, so one spelling holds everywhere.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::unit::{Balance, Compat};
use crate::diag::{nearest, quoted};

/// Why a value is refused, to be completed with its place. `message` follows the field's name:
/// `"5x" is no duration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

/// `true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`, in any case.
pub fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Problem::new(
            format!("{} is neither true nor false", quoted(text)),
            "write true or false",
        )),
    }
}

/// A whole number in `range`.
pub fn count(text: &str, range: RangeInclusive<u32>) -> Result<u32, Problem> {
    match digits(text).map(|n| n.map(u32::try_from)) {
        None => Err(Problem::new(
            format!("{} is no whole number", quoted(text)),
            format!("write a number from {} to {}", range.start(), range.end()),
        )),
        Some(Some(Ok(n))) if range.contains(&n) => Ok(n),
        Some(_) => Err(Problem::new(
            format!("{} is out of range", quoted(text)),
            format!("it goes from {} to {}", range.start(), range.end()),
        )),
    }
}

/// A port, 1 to 65535.
pub fn port(text: &str) -> Result<u16, Problem> {
    match digits(text).map(|n| n.map(u16::try_from)) {
        Some(Some(Ok(n))) if n > 0 => Ok(n),
        Some(_) => Err(Problem::new(
            format!("{} is out of range", quoted(text)),
            "a port goes from 1 to 65535",
        )),
        None => Err(Problem::new(
            format!("{} is no port", quoted(text)),
            "write a number from 1 to 65535",
        )),
    }
}

/// HAProxy's spelling: `500ms`, `5s`, `1m`, `2h`, `1d`, `100us`; a bare number is milliseconds.
pub fn duration(text: &str) -> Result<Duration, Problem> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let micros_per_unit = match unit.trim_start().to_ascii_lowercase().as_str() {
        "us" => Some(1),
        "" | "ms" => Some(1_000),
        "s" => Some(1_000_000),
        "m" => Some(60 * 1_000_000),
        "h" => Some(3_600 * 1_000_000),
        "d" => Some(86_400 * 1_000_000),
        _ => None,
    };
    let (Some(number), Some(micros_per_unit)) = (digits(number), micros_per_unit) else {
        return Err(Problem::new(
            format!("{} is no duration", quoted(text)),
            "write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d",
        ));
    };
    match number.and_then(|n: u64| n.checked_mul(micros_per_unit)) {
        Some(micros) => Ok(Duration::from_micros(micros)),
        None => Err(Problem::new(
            format!("{} is too long", quoted(text)),
            "a few days are the most that makes sense",
        )),
    }
}

/// A duration in `range`.
pub fn duration_in(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Problem> {
    let value = duration(text)?;
    if range.contains(&value) {
        return Ok(value);
    }
    let bounds = format!(
        "it goes from {} to {}",
        spell(*range.start()),
        spell(*range.end())
    );
    Err(match looks_like_seconds(text) {
        true => Problem::new(
            format!(
                "{} is {text} milliseconds, which is out of range",
                quoted(text)
            ),
            format!("write {text}s for seconds; {bounds}"),
        ),
        false => Problem::new(format!("{} is out of range", quoted(text)), bounds),
    })
}

/// Whether a duration was written without a unit and is so short that seconds were surely meant.
pub fn looks_like_seconds(text: &str) -> bool {
    matches!(digits(text), Some(Some(1..100)))
}

/// A duration the way it is written in a text.
pub fn spell(duration: Duration) -> String {
    let ms = duration.as_millis();
    match () {
        () if !duration.subsec_nanos().is_multiple_of(1_000_000) => {
            format!("{}us", duration.as_micros())
        }
        () if ms == 0 => "0s".to_owned(),
        () if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        () if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        () if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        () if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        () => format!("{ms}ms"),
    }
}

/// Bytes: `16384`, `16k`, `1m`, `2g` (powers of 1024; `kb` and `kib` are the same as `k`).
pub fn size(text: &str) -> Result<u64, Problem> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    };
    let (Some(number), Some(unit)) = (digits(number), unit) else {
        return Err(Problem::new(
            format!("{} is no size", quoted(text)),
            "write bytes, or a number with k, m or g: 16k, 10m",
        ));
    };
    number
        .and_then(|n: u64| n.checked_mul(unit))
        .ok_or_else(|| {
            Problem::new(
                format!("{} is out of range", quoted(text)),
                "a few gigabytes are the most that makes sense",
            )
        })
}

/// `0` or `none`: no limit.
pub fn is_unlimited(text: &str) -> bool {
    text == "0" || text.eq_ignore_ascii_case("none")
}

/// A balance word; `leastcon` is Kontena's old spelling of `leastconn`.
pub fn balance(text: &str) -> Result<Balance, Problem> {
    let word = text.to_ascii_lowercase();
    if word == "leastcon" {
        return Ok(Balance::LeastConn);
    }
    let all = [
        Balance::RoundRobin,
        Balance::Source,
        Balance::LeastConn,
        Balance::Random,
    ];
    all.into_iter()
        .find(|b| b.word() == word)
        .ok_or_else(|| unknown_word(text, &all.map(Balance::word)))
}

/// `pointsman` or `kontena`.
pub fn compat(text: &str) -> Result<Compat, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "pointsman" => Ok(Compat::Pointsman),
        "kontena" => Ok(Compat::Kontena),
        _ => Err(unknown_word(text, &["pointsman", "kontena"])),
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            Problem::new(
                format!("{} is no network", quoted(text)),
                "write an address with a prefix length, such as 10.0.0.0/8 or fd00::/8",
            )
        })
}

/// The entries of a comma list, trimmed. The empty text has none.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let skip = if text.is_empty() { 1 } else { 0 };
    text.split(',').skip(skip).map(str::trim)
}

/// A word that is not one of `known`.
pub fn unknown_word(text: &str, known: &[&str]) -> Problem {
    let help = match nearest(text, known.iter().copied()) {
        Some(word) => format!("did you mean {word:?}?"),
        None => format!("it is one of {}", known.join(", ")),
    };
    Problem::new(format!("{} is unknown", quoted(text)), help)
}

/// `None`: no digits. `Some(None)`: more than 64 bits hold.
fn digits(text: &str) -> Option<Option<u64>> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_haproxy() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("5s", Some(5_000));
        check("5 S", Some(5_000));
        check("1m", Some(60_000));
        check("2h", Some(7_200_000));
        check("1d", Some(86_400_000));
        check("1500", Some(1_500));
        check("2000us", Some(2));
        check("0", Some(0));
        for bad in ["", "s", "5x", "-1s", "1.5s", "1m30s", "+5s", "５s", "5 5s"] {
            check(bad, None);
        }
        check("99999999999999999999s", None);
        check("9999999999999999d", None);
    }

    #[test]
    fn a_spelled_duration_is_read_back() {
        for text in ["0s", "1ms", "1500ms", "5s", "1m", "90s", "2h", "7d", "10us"] {
            assert_eq!(spell(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_counts_ports_and_words() {
        assert_eq!(size("16k"), Ok(16384));
        assert_eq!(size("1 MiB"), Ok(1 << 20));
        assert_eq!(size("10"), Ok(10));
        assert!(size("1t").is_err() && size("k").is_err() && size("99999999999g").is_err());
        assert_eq!(port("65535"), Ok(65535));
        assert!(port("0").is_err() && port("99999").is_err() && port("http").is_err());
        assert!(port("99999999999999999999999").is_err());
        assert_eq!(count("7", 1..=9), Ok(7));
        assert!(count("10", 1..=9).is_err() && count("-1", 0..=9).is_err());
        assert_eq!(boolean("Yes"), Ok(true));
        assert_eq!(boolean("off"), Ok(false));
        assert!(boolean("ja").is_err());
        assert_eq!(balance("LeastConn"), Ok(Balance::LeastConn));
        assert_eq!(balance("leastcon"), Ok(Balance::LeastConn));
        assert_eq!(
            balance("leastcom").unwrap_err().help.unwrap(),
            "did you mean \"leastconn\"?"
        );
    }

    #[test]
    fn networks_take_single_addresses_and_drop_host_bits() {
        let shown = |text| network(text).map(|n| n.to_string()).ok();
        assert_eq!(shown("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(shown("10.1.2.3").as_deref(), Some("10.1.2.3/32"));
        assert_eq!(shown("::1").as_deref(), Some("::1/128"));
        assert_eq!(shown("10.0.0.0/33"), None);
        assert_eq!(shown("private"), None);
    }

    #[test]
    fn lists_are_trimmed_and_the_empty_text_is_an_empty_list() {
        let entries = |text| list(text).collect::<Vec<_>>();
        assert_eq!(entries(" a, b ,c"), ["a", "b", "c"]);
        assert_eq!(entries("  "), [""; 0]);
        assert_eq!(entries("a,"), ["a", ""]);
    }
}
