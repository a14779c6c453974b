//! One JSON object for each line. Every field is always there; `null` says that there was nothing to
//! tell.

use std::time::Duration;

use super::record::Record;
use super::text::{address, decimal, json_escaped, thousandths};
use super::time::Stamps;

pub(super) fn write(record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
    let kind: &[u8] = match record.http {
        Some(_) => b"{\"type\":\"http\"",
        None => b"{\"type\":\"tcp\"",
    };
    out.extend_from_slice(kind);
    name("time", out);
    let (second, ms) = stamps.at(record.began);
    out.push(b'"');
    out.extend_from_slice(second.utc.as_bytes());
    out.push(b'.');
    thousandths(ms, out);
    out.extend_from_slice(b"Z\"");
    name("client", out);
    quoted(|out| address(record.client, out), out);
    name("listener", out);
    quoted(|out| address(record.listener, out), out);
    name("tls", out);
    text(record.tls.map(str::as_bytes), out);
    name("service", out);
    text(record.service.map(str::as_bytes), out);
    name("upstream", out);
    text(record.upstream.map(|u| u.name.as_bytes()), out);
    name("upstream_address", out);
    match record.upstream {
        Some(upstream) => quoted(|out| address(upstream.address, out), out),
        None => null(out),
    }
    if let Some(http) = &record.http {
        let given = |bytes| Some(bytes).filter(|bytes: &&[u8]| !bytes.is_empty());
        let line = http.request.as_ref();
        name("method", out);
        text(line.map(|line| line.method), out);
        name("target", out);
        text(line.map(|line| line.target), out);
        name("version", out);
        text(line.map(|line| line.version.as_bytes()), out);
        name("host", out);
        text(given(http.host), out);
        name("status", out);
        match http.status {
            Some(status) => decimal(u64::from(status), out),
            None => null(out),
        }
        name("request_id", out);
        text(given(http.request_id), out);
        name("user", out);
        text(given(http.user), out);
        name("user_agent", out);
        text(given(http.user_agent), out);
        name("referer", out);
        text(given(http.referer), out);
        name("request_ms", out);
        time(record.times.request, out);
    }
    name("queue_ms", out);
    time(record.times.queue, out);
    name("connect_ms", out);
    time(record.times.connect, out);
    if record.http.is_some() {
        name("response_ms", out);
        time(record.times.response, out);
    }
    name("total_ms", out);
    time(Some(record.times.total), out);
    for (field, n) in [
        ("bytes_up", record.bytes_up),
        ("bytes_down", record.bytes_down),
        ("retries", u64::from(record.retries)),
        ("generation", record.generation),
    ] {
        name(field, out);
        decimal(n, out);
    }
    name("termination", out);
    let ended = &record.ended;
    out.extend_from_slice(&[b'"', ended.cause.letter(), ended.phase.letter(), b'"', b'}']);
}

fn name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn quoted(write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn text(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => quoted(|out| json_escaped(text, out), out),
        None => null(out),
    }
}

/// Milliseconds with three places: what a fast upstream takes is below one of them.
fn time(time: Option<Duration>, out: &mut Vec<u8>) {
    match time {
        Some(time) => {
            decimal(time.as_millis() as u64, out);
            out.push(b'.');
            thousandths((time.as_micros() % 1000) as u32, out);
        }
        None => null(out),
    }
}

fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}
