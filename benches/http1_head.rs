//! What one head costs: read, checked and written, in nanoseconds of one core.
//!
//! `cargo bench --bench http1_head`. Prints the best of several rounds, which is what repeats.

use std::hint::black_box;
use std::time::Instant;

use pointsman::proxy::http1::{
    Asked, ChunkedReader, Forwarded, Limits, RequestEdit, RequestHead, ResponseEdit, ResponseHead,
    parse_request, parse_response, write_request, write_response,
};

const REQUEST: &[u8] = b"GET /api/v1/items/4711?page=2&sort=name HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Referer: https://www.example.com/api/v1/items\r\n\
Connection: keep-alive\r\n\
Cookie: session=4f9c2a7e81d34b0f; theme=dark\r\n\
Sec-Fetch-Mode: navigate\r\n\
Upgrade-Insecure-Requests: 1\r\n\r\n";

const SMALL_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx/1.22.1\r\n\
Date: Tue, 20 Oct 2026 10:00:00 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 64\r\n\
Last-Modified: Mon, 19 Oct 2026 10:00:00 GMT\r\n\
Connection: keep-alive\r\n\
ETag: \"671234ab-40\"\r\n\
Cache-Control: private, max-age=0\r\n\
Vary: Accept-Encoding\r\n\
Accept-Ranges: bytes\r\n\r\n";

fn main() {
    let limits = Limits::default();
    let forwarded = Forwarded::new("203.0.113.7", "http", 80, false);
    let edit = RequestEdit {
        default_host: b"10.0.0.1:80",
        forwarded: Some(&forwarded),
        request_id: Some(b"0123456789abcdef0123456789abcdef"),
        ..RequestEdit::default()
    };
    let mut out = Vec::with_capacity(16 * 1024);
    let mut head = RequestHead::default();

    for (name, bytes) in [("10 fields", REQUEST), ("1 field", SMALL_REQUEST)] {
        measure(&format!("request, {name}: httparse alone"), || {
            let mut headers = [const { std::mem::MaybeUninit::uninit() }; 128];
            let mut request = httparse::Request::new(&mut []);
            let parsed = request.parse_with_uninit_headers(black_box(bytes), &mut headers);
            black_box(parsed).is_ok()
        });
        measure(&format!("request, {name}: read and check"), || {
            head.clear();
            parse_request(black_box(bytes), &limits, &mut head) == Ok(true)
        });
        measure(&format!("request, {name}: write"), || {
            out.clear();
            write_request(&head, black_box(bytes), &edit, &mut out);
            !black_box(&out).is_empty()
        });
    }

    let mut head = ResponseHead::default();
    measure("response, 10 fields: read and check", || {
        head.clear();
        parse_response(black_box(RESPONSE), &limits, Asked::default(), &mut head) == Ok(true)
    });
    let edit = ResponseEdit {
        framing: head.framing,
        request_id: Some(b"0123456789abcdef0123456789abcdef"),
        ..ResponseEdit::default()
    };
    measure("response, 10 fields: write", || {
        out.clear();
        write_response(&head, black_box(RESPONSE), &edit, &mut out);
        !black_box(&out).is_empty()
    });

    let small_chunks = [
        b"10\r\n0123456789abcdef\r\n".repeat(100),
        b"0\r\n\r\n".to_vec(),
    ]
    .concat();
    measure("body of 100 small chunks: relay", || {
        ChunkedReader::default()
            .relay(black_box(&small_chunks))
            .is_ok_and(|step| step.end)
    });
}

fn measure(what: &str, mut once: impl FnMut() -> bool) {
    const ROUNDS: u32 = 20;
    const CALLS: u32 = 100_000;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            assert!(once());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{what:<45} {best:8.1} ns");
}
