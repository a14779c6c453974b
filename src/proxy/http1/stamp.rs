//! The dates in a sticky cookie, as HAProxy writes them: `web-1|awEKo|awEKo`.
//!
//! When the client was seen last and when it got the cookie, each in units of four seconds since 1970
//! as five digits of base64. Coarse on purpose: not every answer has to set the cookie again.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const LENGTH: usize = 5;
const BAR: u8 = b'|';

/// Clocks of nodes differ; a date that is further ahead says nothing.
const AHEAD: u64 = 24 * 3600;

/// When a cookie was used last and given first, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub last: Option<u64>,
    pub first: Option<u64>,
}

/// A cookie's value without its dates, and the dates. Those that are none are left out.
pub fn read_stamp(value: &[u8]) -> (&[u8], Stamp) {
    let mut parts = value.splitn(3, |b| *b == BAR);
    let pin = parts.next().unwrap_or_default();
    let mut date = || parts.next().and_then(read_date);
    let stamp = Stamp {
        last: date(),
        first: date(),
    };
    (pin, stamp)
}

/// Appends `|last|first`, or `|last` alone.
pub fn write_stamp(last: u64, first: Option<u64>, out: &mut Vec<u8>) {
    for date in [Some(last), first].into_iter().flatten() {
        out.push(BAR);
        let units = date.div_ceil(4);
        out.extend(
            (0..LENGTH)
                .rev()
                .map(|i| DIGITS[(units >> (6 * i) & 63) as usize]),
        );
    }
}

/// Whether a date lies further back than `most` seconds, or further ahead than clocks differ.
pub fn is_out_of_date(date: u64, most: u64, now: u64) -> bool {
    now.saturating_sub(date) > most || date.saturating_sub(now) > AHEAD
}

fn read_date(text: &[u8]) -> Option<u64> {
    let text: &[u8; LENGTH] = text.try_into().ok()?;
    let mut units = 0;
    for byte in text {
        let digit = DIGITS.iter().position(|digit| digit == byte)?;
        units = units << 6 | digit as u64;
    }
    (units > 0).then_some(units * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_haproxy_writes_them() {
        let mut out = b"s1".to_vec();
        write_stamp(1_795_230_367, Some(1_795_230_367), &mut out);
        assert_eq!(out, b"s1|awEKo|awEKo");
        let stamp = Stamp {
            last: Some(1_795_230_368),
            first: Some(1_795_230_368),
        };
        assert_eq!(read_stamp(&out), (&b"s1"[..], stamp));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for value in [
            "s1|",
            "s1||",
            "s1|abc",
            "s1|awEKo0|x",
            "s1|aw~Ko|AAAAA",
            "s1|\u{e9}\u{e9}",
        ] {
            assert_eq!(
                read_stamp(value.as_bytes()),
                (&b"s1"[..], Stamp::default()),
                "{value}"
            );
        }
        assert_eq!(read_stamp(b""), (&b""[..], Stamp::default()));
        let (_, stamp) = read_stamp(b"s1|/////|awEKo|more");
        assert_eq!(stamp.last, Some(((1 << 30) - 1) * 4));
        assert_eq!(stamp.first, None);
    }

    #[test]
    fn a_date_is_out_of_date_when_it_is_too_old_or_of_no_clock() {
        assert!(!is_out_of_date(1000, 60, 1060) && is_out_of_date(1000, 60, 1061));
        assert!(!is_out_of_date(1000 + AHEAD, 60, 1000) && is_out_of_date(1001 + AHEAD, 60, 1000));
    }
}
