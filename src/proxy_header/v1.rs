//! Version 1: one line of text.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Pair, Progress, Reject};

const BEGINNING: &[u8] = b"PROXY ";

/// The longest line that can be, its end included.
const MOST_BYTES: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Progress, Reject> {
    let begun = bytes.len().min(BEGINNING.len());
    if bytes[..begun] != BEGINNING[..begun] {
        return Err(Reject::NoHeader);
    }
    let window = &bytes[..bytes.len().min(MOST_BYTES)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return match bytes.len() < MOST_BYTES {
            true => Ok(Progress::More),
            false => Err(Reject::LongLine),
        };
    };
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(Progress::Whole(line(&window[..end])?, end + 2)),
        // Its LF could only come behind the longest line.
        (b'\r', None) if end + 2 > MOST_BYTES => Err(Reject::LongLine),
        (b'\r', None) => Ok(Progress::More),
        _ => Err(Reject::BadLineEnd),
    }
}

/// A whole line without its end. Addresses are looked at only now: a part of one is another one.
fn line(line: &[u8]) -> Result<Header, Reject> {
    let line = line.strip_prefix(BEGINNING).ok_or(Reject::BadLine)?;
    if let Some(rest) = line.strip_prefix(b"UNKNOWN") {
        // What a sender says of a client that has no address counts for nothing.
        return match rest.first() {
            None | Some(b' ') => Ok(Header::Own),
            Some(_) => Err(Reject::BadLine),
        };
    }
    let line = std::str::from_utf8(line).map_err(|_| Reject::BadLine)?;
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, from, to] = words[..] else {
        return Err(Reject::BadLine);
    };
    let ip = |text: &str| -> Option<IpAddr> {
        // Both refuse leading zeros of IPv4, zones, and everything around an address.
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let address = |text, its_port| Some(SocketAddr::new(ip(text)?, port(its_port)?));
    let pair = address(source, from).zip(address(destination, to));
    let (source, destination) = pair.ok_or(Reject::BadLine)?;
    Ok(Header::Client(Pair {
        source,
        destination,
    }))
}

/// 0 to 65535, as a number is written: without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

pub(super) fn write(pair: Pair, out: &mut Vec<u8>) {
    let Pair {
        source,
        destination,
    } = pair;
    let family = match source.is_ipv4() {
        true => "TCP4",
        false => "TCP6",
    };
    let (from, to) = (source.port(), destination.port());
    let (source, destination) = (source.ip(), destination.ip());
    let _ = write!(out, "PROXY {family} {source} {destination} {from} {to}\r\n");
}

pub(super) fn write_unknown(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}
