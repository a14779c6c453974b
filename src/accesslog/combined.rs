//! The Common Log Format of web servers, and the combined one with referer and user agent.

use super::record::{Http, Record};
use super::text::{backslash_escaped, decimal, ip};
use super::time::Stamps;

pub(super) fn write(
    record: &Record<'_>,
    http: &Http<'_>,
    is_combined: bool,
    stamps: &mut Stamps,
    out: &mut Vec<u8>,
) {
    ip(record.client.ip(), out);
    out.extend_from_slice(b" - ");
    word(http.user, out);
    let (second, _) = stamps.at(record.began);
    out.extend_from_slice(b" [");
    out.extend_from_slice(second.local.as_bytes());
    out.push(b' ');
    out.extend_from_slice(second.offset.as_bytes());
    out.extend_from_slice(b"] \"");
    if let Some(line) = &http.request {
        backslash_escaped(line.method, out);
        out.push(b' ');
        backslash_escaped(line.target, out);
        out.push(b' ');
        out.extend_from_slice(line.version.as_bytes());
    } else {
        out.push(b'-');
    }
    out.extend_from_slice(b"\" ");
    match http.status {
        Some(status) => decimal(u64::from(status), out),
        None => out.push(b'-'),
    }
    out.push(b' ');
    decimal(record.bytes_down, out);
    if is_combined {
        for text in [http.referer, http.user_agent] {
            out.extend_from_slice(b" \"");
            field(text, out);
            out.push(b'"');
        }
    }
}

fn field(text: &[u8], out: &mut Vec<u8>) {
    match text {
        b"" => out.push(b'-'),
        text => backslash_escaped(text, out),
    }
}

/// A field between spaces: a space in it would make it two.
fn word(text: &[u8], out: &mut Vec<u8>) {
    for (i, part) in text.split(|b| *b == b' ').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\\x20");
        }
        backslash_escaped(part, out);
    }
    if text.is_empty() {
        out.push(b'-');
    }
}
