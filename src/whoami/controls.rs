//! What a request's query asks for.

use std::time::Duration;

/// How an answer is to be given. Everything is off by default; unknown words are ignored, because
/// they may be the application's that the demo stands for; known words with bad values are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// `delay=200ms`: wait before the answer.
    pub delay: Duration,
    /// `status=503`, 200 to 599.
    pub status: Option<u16>,
    /// `size=1000000`: a body of that many bytes, the alphabet over and over.
    pub size: Option<u64>,
    /// `chunked=1`: chunked coding with a trailer.
    pub chunked: bool,
    /// `close=1`: close after the answer.
    pub close: bool,
    /// `stream=10`: that many server-sent events, one each `every`.
    pub stream: Option<u64>,
    /// `every=100ms`: the pace of `stream`, default 1 s.
    pub every: Option<Duration>,
    /// `hang=1`: never answer.
    pub hang: bool,
    /// `early=103`: that 1xx before the answer; 100, 102 and 103 only.
    pub early: Option<u16>,
    /// `abort=head` or `abort=body`: cut the connection half way through.
    pub abort: Option<Abort>,
    /// `health=500`: what `PUT /control` sets for `/health`.
    pub health: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Head,
    Body,
}

/// No wait is longer, whatever a query says.
const LONGEST: Duration = Duration::from_secs(3600);

impl Controls {
    /// Reads a query without its `?`. The error is a message for the one who asked.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut controls = Self::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (word, value) = pair.split_once('=').unwrap_or((pair, "1"));
            let bad = |want: &str| format!("{word}={value:?} must be {want}");
            match word {
                "delay" => {
                    controls.delay =
                        duration(value).ok_or_else(|| bad("a duration such as 200ms"))?
                }
                "every" => {
                    controls.every =
                        Some(duration(value).ok_or_else(|| bad("a duration such as 100ms"))?);
                }
                "status" => {
                    controls.status =
                        Some(number(value, 200, 599).ok_or_else(|| bad("200 to 599"))?);
                }
                "health" => {
                    controls.health =
                        Some(number(value, 200, 599).ok_or_else(|| bad("200 to 599"))?);
                }
                "size" => {
                    controls.size = Some(value.parse().map_err(|_| bad("a number of bytes"))?);
                }
                "stream" => {
                    controls.stream = Some(value.parse().map_err(|_| bad("a number of events"))?);
                }
                "early" => {
                    let status = number(value, 100, 199).filter(|s| *s != 101);
                    controls.early = Some(status.ok_or_else(|| bad("100 or 102 to 199"))?);
                }
                "chunked" => controls.chunked = flag(value).ok_or_else(|| bad("1 or 0"))?,
                "close" => controls.close = flag(value).ok_or_else(|| bad("1 or 0"))?,
                "hang" => controls.hang = flag(value).ok_or_else(|| bad("1 or 0"))?,
                "abort" => {
                    controls.abort = Some(match value {
                        "head" => Abort::Head,
                        "body" => Abort::Body,
                        _ => return Err(bad("head or body")),
                    });
                }
                _ => {}
            }
        }
        Ok(controls)
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" | "yes" => Some(true),
        "0" | "false" | "no" => Some(false),
        _ => None,
    }
}

fn number(value: &str, least: u16, most: u16) -> Option<u16> {
    value.parse().ok().filter(|n| (least..=most).contains(n))
}

/// `200ms`, `2s`, `1m`, or plain milliseconds; never more than an hour.
pub(super) fn duration(value: &str) -> Option<Duration> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().ok()?;
    let wait = match &value[digits.len()..] {
        "ms" | "" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "m" => Duration::from_secs(count.checked_mul(60)?),
        _ => return None,
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_word_and_leaves_strangers_alone() {
        let c = Controls::parse("delay=200ms&status=503&size=10&chunked=1&close&stream=3&every=1s&hang=0&early=103&abort=body&x=y").unwrap();
        let expected = Controls {
            delay: Duration::from_millis(200),
            status: Some(503),
            size: Some(10),
            chunked: true,
            close: true,
            stream: Some(3),
            every: Some(Duration::from_secs(1)),
            hang: false,
            early: Some(103),
            abort: Some(Abort::Body),
            health: None,
        };
        assert_eq!(c, expected);
        assert_eq!(Controls::parse("").unwrap(), Controls::default());
    }

    #[test]
    fn a_bad_value_is_told_with_word_and_value() {
        for (query, message) in [
            ("status=99", "status=\"99\" must be 200 to 599"),
            (
                "delay=soon",
                "delay=\"soon\" must be a duration such as 200ms",
            ),
            (
                "delay=\u{e9}",
                "delay=\"\u{e9}\" must be a duration such as 200ms",
            ),
            ("early=101", "early=\"101\" must be 100 or 102 to 199"),
            ("abort=all", "abort=\"all\" must be head or body"),
            ("size=-1", "size=\"-1\" must be a number of bytes"),
        ] {
            assert_eq!(Controls::parse(query), Err(message.to_owned()), "{query}");
        }
    }

    #[test]
    fn no_wait_is_longer_than_an_hour() {
        assert_eq!(duration("100000s"), Some(LONGEST));
        assert_eq!(duration(&format!("{}m", u64::MAX)), None);
        assert_eq!(duration("250"), Some(Duration::from_millis(250)));
    }
}
