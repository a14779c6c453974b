//! Any bytes as a request and as a response. What is accepted must be accepted again once written,
//! and must mean the same; what comes in parts must mean what it means whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::proxy::http1::{
    Asked, FieldId, Forwarded, Framing, Limits, RequestEdit, RequestHead, ResponseEdit,
    ResponseHead, parse_request, parse_response, write_request, write_response,
};

fuzz_target!(|bytes: &[u8]| {
    request(bytes);
    for flags in 0..4 {
        response(
            bytes,
            Asked {
                head: flags & 1 != 0,
                upgrade: flags & 2 != 0,
            },
        );
    }
});

fn request(bytes: &[u8]) {
    let limits = Limits {
        max_head_size: 2048,
        max_headers: 20,
    };
    let mut head = RequestHead::default();
    let whole = parse_request(bytes, &limits, &mut head);
    let mut parts = RequestHead::default();
    let dripped = (0..=bytes.len())
        .map(|there| parse_request(&bytes[..there], &limits, &mut parts))
        .find(|result| *result != Ok(false));
    if whole != Ok(true) {
        assert!(
            !matches!(dripped, Some(Ok(true))),
            "refused whole, accepted in parts"
        );
        return;
    }
    assert_eq!(dripped, Some(Ok(true)), "accepted whole, not in parts");
    assert_eq!((head.len, head.framing), (parts.len, parts.framing));
    assert_eq!(head.host(), parts.host());

    // Nothing but whole lines.
    assert!(head.len <= limits.max_head_size && bytes[..head.len].ends_with(b"\r\n\r\n"));
    let lines = &bytes[..head.len];
    for (i, b) in lines.iter().enumerate() {
        match b {
            b'\n' => assert_eq!(lines[i - 1], b'\r'),
            b'\r' => assert_eq!(lines[i + 1], b'\n'),
            _ => assert_ne!(*b, 0),
        }
    }
    assert_ne!(head.framing, Framing::UntilClose);

    for trusted in [false, true] {
        let forwarded = Forwarded::new("10.0.0.1", "http", 80, trusted);
        let edit = RequestEdit {
            default_host: b"10.0.0.2:80",
            forwarded: Some(&forwarded),
            request_id: Some(b"id"),
            ..RequestEdit::default()
        };
        let mut out = Vec::new();
        write_request(&head, bytes, &edit, &mut out);
        let roomy = Limits {
            max_head_size: 8192,
            max_headers: 100,
        };
        let mut again = RequestHead::default();
        assert_eq!(parse_request(&out, &roomy, &mut again), Ok(true));
        assert_eq!(again.len, out.len());
        assert_eq!(again.framing, head.framing);
        assert_eq!(again.method, head.method);
        assert_eq!(again.query.get(&out), head.query.get(bytes));
        assert_eq!(again.expect_continue, head.expect_continue);
        assert_eq!(again.upgrade.is_some(), head.upgrade.is_some());
        if !head.host().is_empty() {
            assert_eq!(again.host(), head.host());
        }
        let own_framing = usize::from(head.framing != Framing::None);
        let framing = again.fields.values(FieldId::ContentLength, &out).count()
            + again.fields.values(FieldId::TransferEncoding, &out).count();
        assert_eq!(framing, own_framing);
        assert_eq!(again.fields.values(FieldId::Host, &out).count(), 1);
        assert!(!again.fields.has(FieldId::Alias));
        if !trusted {
            let claims: Vec<_> = again.fields.values(FieldId::XForwardedFor, &out).collect();
            assert_eq!(claims, [b"10.0.0.1"]);
            let claims: Vec<_> = again.fields.values(FieldId::XRealIp, &out).collect();
            assert_eq!(claims, [b"10.0.0.1"]);
            assert!(!again.fields.has(FieldId::Forwarded));
        }
        // Written once more without an edit, nothing changes.
        let mut twice = Vec::new();
        write_request(&again, &out, &RequestEdit::default(), &mut twice);
        let mut third = RequestHead::default();
        assert_eq!(parse_request(&twice, &roomy, &mut third), Ok(true));
        assert_eq!(third.framing, head.framing);
        assert_eq!(third.fields.len(), again.fields.len());
    }
}

fn response(bytes: &[u8], asked: Asked) {
    let limits = Limits {
        max_head_size: 2048,
        max_headers: 20,
    };
    let mut head = ResponseHead::default();
    if parse_response(bytes, &limits, asked, &mut head) != Ok(true) {
        return;
    }
    let edit = ResponseEdit {
        framing: head.framing,
        request_id: Some(b"id"),
        ..ResponseEdit::default()
    };
    let mut out = Vec::new();
    write_response(&head, bytes, &edit, &mut out);
    let roomy = Limits {
        max_head_size: 8192,
        max_headers: 100,
    };
    let mut again = ResponseHead::default();
    assert_eq!(parse_response(&out, &roomy, asked, &mut again), Ok(true));
    assert_eq!(again.len, out.len());
    assert_eq!((again.status, again.framing), (head.status, head.framing));
    assert_eq!(again.reason.get(&out), head.reason.get(bytes));
    assert_eq!(again.upgrade.is_some(), head.upgrade.is_some());
}
