//! What must hold for any bytes. The generators mix pieces that matter with noise, since noise alone
//! never gets past the first byte.

use proptest::prelude::*;

use super::bodies::{read_all, read_split};
use super::*;

fn pieces(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|w| w.as_bytes().to_vec());
    let noise = proptest::collection::vec(any::<u8>(), 1..3);
    proptest::collection::vec(prop_oneof![12 => word, 1 => noise], 0..most)
        .prop_map(|pieces| pieces.concat())
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = pieces(
        &[
            "GET ",
            "POST ",
            "OPTIONS ",
            "/",
            "/a",
            "*",
            "?b",
            "http://h:1",
            "/%2e",
            "..",
            ";",
            " ",
        ],
        4,
    );
    let version = proptest::sample::select(vec![" HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n", "\n"]);
    let fields = pieces(
        &[
            "Host: a\r\n",
            "Host: b:1\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 05\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: Chunked\r\n",
            "Connection: close\r\n",
            "Connection: upgrade, te, x, host\r\n",
            "Upgrade: websocket\r\n",
            "TE: trailers\r\n",
            "Expect: 100-continue\r\n",
            "X: y\r\n",
            "X-Forwarded-For: 1\r\n",
            "X_Real_IP: 1\r\n",
            "Keep-Alive: 1\r\n",
            "A:",
            "\r\n",
            "\n",
            "\r",
            " ",
            ":",
            ",",
        ],
        8,
    );
    (line, version, fields).prop_map(|(line, version, fields)| {
        [&b"GET /"[..], &line, version.as_bytes(), b"Host: z\r\n", &fields, b"\r\n"].concat()[
            // Half of them without the good start, which then may be anything.
            (line.len() % 2) * 5..
        ]
            .to_vec()
    })
}

fn chunked_bytes() -> impl Strategy<Value = Vec<u8>> {
    pieces(
        &[
            "1\r\na\r\n",
            "5\r\nhello\r\n",
            "3;x=y\r\nabc\r\n",
            "0\r\n",
            "\r\n",
            "0\r\n\r\n",
            "A\r\n",
            "X: y\r\n",
            "Host: z\r\n",
            ";",
            "\n",
            "a",
            "0",
            ":",
        ],
        12,
    )
}

/// Parses as a connection would that gets its bytes in parts of `part`.
fn drip(bytes: &[u8], part: usize) -> Result<Option<RequestHead>, Reject> {
    let mut head = RequestHead::default();
    let mut there = 0;
    while there < bytes.len() {
        there = (there + part).min(bytes.len());
        if parse_request(&bytes[..there], &Limits::default(), &mut head)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn meaning(head: &RequestHead, buf: &[u8]) -> (Framing, String, Vec<u8>, bool, bool) {
    (
        head.framing,
        head.host().to_owned(),
        head.path.get(buf).to_vec(),
        head.expect_continue,
        head.upgrade.is_some(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused_alike_in_parts_and_whole(
        bytes in prop_oneof![request_bytes(), proptest::collection::vec(any::<u8>(), 0..200)],
        part in 1usize..40,
    ) {
        let whole = drip(&bytes, usize::MAX / 2);
        let parts = drip(&bytes, part);
        match (whole, parts) {
            (Ok(Some(whole)), Ok(Some(parts))) => {
                prop_assert_eq!(meaning(&whole, &bytes), meaning(&parts, &bytes));
                prop_assert_eq!(whole.len, parts.len);
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
            // In parts a wrong line end is seen before the head is whole, and the other way round.
            (Ok(None), Err(_)) | (Err(_), Ok(None)) => {}
            (whole, parts) => prop_assert!(false, "{whole:?} but in parts {parts:?}"),
        }
    }

    #[test]
    fn what_goes_on_is_accepted_again_and_means_the_same(bytes in request_bytes(), trusted: bool) {
        let mut head = RequestHead::default();
        if parse_request(&bytes, &Limits::default(), &mut head) != Ok(true) {
            return Ok(());
        }
        let forwarded = Forwarded::new("10.0.0.1", "http", 80, trusted);
        let edit = RequestEdit {
            default_host: b"z",
            forwarded: Some(&forwarded),
            request_id: Some(b"id"),
            ..RequestEdit::default()
        };
        let mut out = Vec::new();
        write_request(&head, &bytes, &edit, &mut out);
        let mut again = RequestHead::default();
        prop_assert_eq!(parse_request(&out, &Limits::default(), &mut again), Ok(true));
        prop_assert_eq!(again.len, out.len());
        prop_assert_eq!(again.framing, head.framing);
        prop_assert_eq!(again.expect_continue, head.expect_continue);
        prop_assert_eq!(again.upgrade.is_some(), head.upgrade.is_some());
        if !head.host().is_empty() {
            prop_assert_eq!(again.host(), head.host());
        }
    }

    #[test]
    fn any_chunks_are_read_or_refused_alike_in_parts_and_whole(
        bytes in chunked_bytes(),
        split in any::<proptest::sample::Index>(),
    ) {
        let split = split.index(bytes.len() + 1);
        for decode in [false, true] {
            let whole = read_all(&mut ChunkedReader::default(), &bytes, decode);
            let parts = read_split(&bytes, split, decode);
            prop_assert_eq!(&whole, &parts);
        }
    }

    #[test]
    fn chunks_that_go_on_are_accepted_again_and_hold_the_same(bytes in chunked_bytes()) {
        let Ok((out, _)) = read_all(&mut ChunkedReader::default(), &bytes, false) else {
            return Ok(());
        };
        let data = read_all(&mut ChunkedReader::default(), &bytes, true).unwrap().0;
        let mut again = ChunkedReader::default();
        prop_assert_eq!(read_all(&mut again, &out, true).unwrap().0, data);
        let relayed = read_all(&mut ChunkedReader::default(), &out, false).unwrap();
        // Digits whose extension has not ended go on at once, but not without what follows them.
        prop_assert!(out.starts_with(&relayed.0));
        prop_assert!(relayed.0 == out || !again.is_done());
    }

    #[test]
    fn any_bytes_of_an_upstream_are_read_or_refused(
        fields in pieces(
            &[
                "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close, x\r\n",
                "Upgrade: websocket\r\n", "X: y\r\n", "\r\n", "\n", "A:", " ",
            ],
            6,
        ),
        status in proptest::sample::select(vec!["100", "101", "200", "204", "304", "426", "20", "999"]),
        head_asked: bool,
    ) {
        let bytes = [b"HTTP/1.1 ", status.as_bytes(), b" X\r\n", &fields, b"\r\n"].concat();
        let asked = Asked { head: head_asked, upgrade: true };
        let mut head = ResponseHead::default();
        if parse_response(&bytes, &Limits::default(), asked, &mut head) != Ok(true) {
            return Ok(());
        }
        let edit = ResponseEdit { framing: head.framing, ..ResponseEdit::default() };
        let mut out = Vec::new();
        write_response(&head, &bytes, &edit, &mut out);
        let mut again = ResponseHead::default();
        prop_assert_eq!(parse_response(&out, &Limits::default(), asked, &mut again), Ok(true));
        prop_assert_eq!(again.len, out.len());
        prop_assert_eq!(again.framing, head.framing);
    }
}
