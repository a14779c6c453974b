//! HAProxy's `option httplog` and `option tcplog`, field by field as HAProxy 2.6 writes them, so that
//! what reads its logs reads ours.

use super::record::{Http, Record};
use super::text::{address, decimal, hash_escaped, milliseconds, thousandths};
use super::time::Stamps;

pub(super) fn write(record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
    address(record.client, out);
    let (second, ms) = stamps.at(record.began);
    out.extend_from_slice(b" [");
    out.extend_from_slice(second.local.as_bytes());
    out.push(b'.');
    thousandths(ms, out);
    out.extend_from_slice(b"] ");
    out.extend_from_slice(record.frontend.as_bytes());
    if record.tls.is_some() {
        out.push(b'~');
    }
    out.push(b' ');
    // What was led nowhere belongs to the frontend.
    out.extend_from_slice(record.service.unwrap_or(record.frontend).as_bytes());
    out.push(b'/');
    let upstream = record.upstream.map_or("<NOSRV>", |upstream| upstream.name);
    out.extend_from_slice(upstream.as_bytes());
    out.push(b' ');

    let times = &record.times;
    if record.http.is_some() {
        milliseconds(times.request, out);
        out.push(b'/');
    }
    milliseconds(times.queue, out);
    out.push(b'/');
    milliseconds(times.connect, out);
    out.push(b'/');
    if let Some(http) = &record.http {
        milliseconds(times.response, out);
        out.push(b'/');
        milliseconds(Some(times.total), out);
        out.push(b' ');
        match http.status {
            Some(status) => decimal(u64::from(status), out),
            None => out.extend_from_slice(b"-1"),
        }
    } else {
        milliseconds(Some(times.total), out);
    }
    out.push(b' ');
    decimal(record.bytes_down, out);
    if record.http.is_some() {
        // Captured cookies.
        out.extend_from_slice(b" - -");
    }
    out.push(b' ');
    out.push(record.ended.cause.letter());
    out.push(record.ended.phase.letter());
    if let Some(http) = &record.http {
        out.extend_from_slice(&http.cookies);
    }
    out.push(b' ');
    let load = &record.load;
    for n in [
        load.connections,
        load.connections,
        load.service,
        load.upstream,
    ] {
        decimal(u64::from(n), out);
        out.push(b'/');
    }
    if record.redispatched {
        out.push(b'+');
    }
    decimal(u64::from(record.retries), out);
    // Nobody waits for a single upstream here: the queue is the service's.
    out.extend_from_slice(b" 0/");
    decimal(u64::from(record.queue_place), out);
    if let Some(http) = &record.http {
        request_line(http, out);
    }
}

fn request_line(http: &Http<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    match &http.request {
        Some(line) => {
            hash_escaped(line.method, out);
            out.push(b' ');
            hash_escaped(line.target, out);
            out.push(b' ');
            out.extend_from_slice(line.version.as_bytes());
        }
        None => out.extend_from_slice(b"<BADREQ>"),
    }
    out.push(b'"');
}
