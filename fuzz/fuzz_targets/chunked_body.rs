//! Any bytes as a chunked body, in parts and whole. What goes on must be a chunked body again with
//! the same data, and hold neither extensions nor forbidden trailers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::proxy::http1::{ChunkedReader, FieldId, Reject};

fuzz_target!(|input: &[u8]| {
    let [low, high, bytes @ ..] = input else {
        return;
    };
    let split = usize::from(u16::from_le_bytes([*low, *high])) % (bytes.len() + 1);

    let whole = all(bytes, &[bytes.len()], false);
    assert_eq!(
        whole,
        all(bytes, &[split, bytes.len()], false),
        "split at {split}"
    );
    let Ok((relayed, used, done)) = whole else {
        return;
    };
    let (data, ..) = all(bytes, &[split, bytes.len()], true).expect("accepted as framing");

    // Once more: the same data, and nothing left to cut out of a body that has ended.
    let (again, _, again_done) = all(&relayed, &[relayed.len()], true).expect("accepted once");
    assert_eq!((&again, again_done), (&data, done));
    if done {
        assert_eq!(
            all(&relayed, &[relayed.len()], false),
            Ok((relayed.clone(), relayed.len(), true))
        );
        assert!(relayed.ends_with(b"\r\n") && bytes[..used].ends_with(b"\r\n"));
        if data.is_empty() {
            // One size line, then trailers.
            for line in relayed.split(|b| *b == b'\n').skip(1) {
                if let Some(colon) = line.iter().position(|b| *b == b':') {
                    assert_eq!(FieldId::of(&line[..colon]), FieldId::Other);
                }
            }
        }
    }
});

/// Reads `bytes` as they become available up to each of `ends`; gives what goes on, how much was
/// used, and whether the body ended.
fn all(bytes: &[u8], ends: &[usize], decode: bool) -> Result<(Vec<u8>, usize, bool), Reject> {
    let mut reader = ChunkedReader::default();
    let mut out = Vec::new();
    let mut at = 0;
    for &end in ends {
        while at < end && !reader.is_done() {
            let input = &bytes[at..end];
            let step = if decode {
                reader.decode(input)?
            } else {
                reader.relay(input)?
            };
            out.extend_from_slice(&input[step.skip..][..step.len]);
            at += step.used();
            if step.used() == 0 {
                break;
            }
        }
    }
    Ok((out, at, reader.is_done()))
}
