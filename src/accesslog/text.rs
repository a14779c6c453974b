//! Numbers and hostile bytes, written so that a line stays a line and a field a field.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) fn decimal(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Three digits.
pub(super) fn thousandths(n: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[100, 10, 1].map(|place| b'0' + (n / place % 10) as u8));
}

/// Whole milliseconds; -1 for what was not reached.
pub(super) fn milliseconds(time: Option<Duration>, out: &mut Vec<u8>) {
    match time {
        Some(time) => decimal(time.as_millis() as u64, out),
        None => out.extend_from_slice(b"-1"),
    }
}

pub(super) fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            for (i, part) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                decimal(u64::from(part), out);
            }
        }
        IpAddr::V6(ip) => {
            use std::io::Write;
            // Writing to a vector does not fail.
            let _ = write!(out, "{ip}");
        }
    }
}

/// `10.0.0.1:80`, `[::1]:80`.
pub(super) fn address(address: SocketAddr, out: &mut Vec<u8>) {
    let is_bracketed = address.ip().to_canonical().is_ipv6();
    if is_bracketed {
        out.push(b'[');
    }
    ip(address.ip(), out);
    if is_bracketed {
        out.push(b']');
    }
    out.push(b':');
    decimal(u64::from(address.port()), out);
}

/// As HAProxy writes a request line: `#XX` for quotes, the `#` itself and all that is not visible
/// ASCII.
pub(super) fn hash_escaped(text: &[u8], out: &mut Vec<u8>) {
    escaped(text, |b| matches!(b, b'"' | b'#'), b"#", out);
}

/// As nginx writes a variable: `\xXX` for quotes, the backslash and all that is not visible ASCII.
pub(super) fn backslash_escaped(text: &[u8], out: &mut Vec<u8>) {
    escaped(text, |b| matches!(b, b'"' | b'\\'), b"\\x", out);
}

fn escaped(text: &[u8], is_special: impl Fn(u8) -> bool, prefix: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for b in text {
        if (b' '..0x7f).contains(b) && !is_special(*b) {
            out.push(*b);
        } else {
            out.extend_from_slice(prefix);
            out.push(DIGITS[usize::from(b >> 4)]);
            out.push(DIGITS[usize::from(b & 15)]);
        }
    }
}

/// The inside of a JSON text. What is no UTF-8 becomes U+FFFD.
pub(super) fn json_escaped(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let is_plain = |b: &u8| (b' '..0x7f).contains(b) && !matches!(b, b'"' | b'\\');
    if text.iter().all(is_plain) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for b in chunk.valid().bytes() {
            match b {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
                0..=0x1f | 0x7f => {
                    out.extend_from_slice(b"\\u00");
                    out.push(DIGITS[usize::from(b >> 4)]);
                    out.push(DIGITS[usize::from(b & 15)]);
                }
                b => out.push(b),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
