use super::*;

/// Reads `input` whole; gives what goes on, and what is left of the input.
pub(super) fn read_all(
    reader: &mut ChunkedReader,
    input: &[u8],
    decode: bool,
) -> Result<(Vec<u8>, usize), Reject> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let step = match decode {
            true => reader.decode(rest)?,
            false => reader.relay(rest)?,
        };
        out.extend_from_slice(&rest[step.skip..step.skip + step.len]);
        at += step.used();
        if step.end || step.used() == 0 {
            return Ok((out, at));
        }
    }
}

/// The same input in two parts, split at `split`, what is not used kept as a connection would.
pub(super) fn read_split(
    input: &[u8],
    split: usize,
    decode: bool,
) -> Result<(Vec<u8>, usize), Reject> {
    let mut reader = ChunkedReader::default();
    let (mut out, at) = read_all(&mut reader, &input[..split], decode)?;
    let (more, used) = read_all(&mut reader, &input[at..], decode)?;
    out.extend(more);
    Ok((out, at + used))
}

#[test]
fn chunks_go_on_as_they_came_in_one_run() {
    let input = b"5\r\nhello\r\n1\r\n \r\n0A\r\nworld12345\r\n0\r\nX-Sum: 1\r\n\r\nNEXT";
    let mut reader = ChunkedReader::default();
    let step = reader.relay(input).unwrap();
    assert_eq!(
        step,
        Step {
            skip: 0,
            len: input.len() - 4,
            end: true
        }
    );
    assert_eq!(reader.data_seen(), 16);
    let (data, used) = read_all(&mut ChunkedReader::default(), input, true).unwrap();
    assert_eq!(data, b"hello world12345");
    assert_eq!(used, input.len() - 4);
}

#[test]
fn extensions_and_forbidden_trailers_stay_here() {
    let input = b"5;a=b;c=\"d e\"\r\nhello\r\n3;x\r\nabc\r\n0;last\r\nX-Sum: 1\r\n\
        Content-Length: 7\r\nhost: evil\r\nX_Real_IP: 1\r\nContent_Range: x\r\nIf-Match: x\r\n\
        Authorization: x\r\nX-Last: 2\r\n\r\n";
    let expected = b"5\r\nhello\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Last: 2\r\n\r\n";
    for split in 0..=input.len() {
        let (out, used) = read_split(input, split, false).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(expected)
        );
        assert_eq!(used, input.len());
        let (data, _) = read_split(input, split, true).unwrap();
        assert_eq!(data, b"helloabc");
    }
}

/// Each is refused, whole and however it is split.
#[test]
fn chunks_that_two_parsers_could_read_differently_are_refused() {
    let long_extension = format!("1;{}\r\na\r\n", "x".repeat(300));
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(5000));
    let many_trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(65));
    let big_trailers = format!(
        "0\r\n{}\r\n",
        format!("X: {}\r\n", "y".repeat(2000)).repeat(9)
    );
    let many_extensions = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(100);
    let table: Vec<(&str, &str)> = vec![
        ("0x5\r\nhello\r\n", "bad chunk size"),
        ("+5\r\nhello\r\n", "no chunk size"),
        ("-5\r\nhello\r\n", "no chunk size"),
        (" 5\r\nhello\r\n", "no chunk size"),
        ("5 \r\nhello\r\n", "bad chunk size"),
        ("5\t;a\r\nhello\r\n", "bad chunk size"),
        ("1_0\r\nhello\r\n", "bad chunk size"),
        ("\r\nhello\r\n", "no chunk size"),
        (";a\r\nhello\r\n", "no chunk size"),
        ("g\r\n", "no chunk size"),
        ("00000000000000005\r\nhello\r\n", "chunk size too long"),
        ("10000000000000000\r\nhello\r\n", "chunk size too long"),
        ("5\nhello\r\n", "bare LF in chunk size line"),
        ("5\rhello\r\n", "bad chunk size line"),
        ("5\r\r\nhello\r\n", "bad chunk size line"),
        ("5;a\nhello\r\n", "bare LF in chunk extension"),
        ("5;a=\"\n\"\r\nhello\r\n", "bare LF in chunk extension"),
        ("5;a\rb\r\nhello\r\n", "bare CR in chunk extension"),
        ("5;a=\"\r\r\n\"\r\nhello\r\n", "bare CR in chunk extension"),
        ("5;\0\r\nhello\r\n", "control character in chunk extension"),
        (&long_extension, "chunk extension too long"),
        (&many_extensions, "too many chunk extensions"),
        ("5\r\nhello!\r\n", "no CR LF behind chunk data"),
        ("5\r\nhello\n", "no CR LF behind chunk data"),
        ("5\r\nhello0\r\n\r\n", "no CR LF behind chunk data"),
        ("5\r\nhello\rx", "no CR LF behind chunk data"),
        ("0\r\n\n", "bare LF in trailer"),
        ("0\r\n\rx", "bare CR in trailer"),
        ("0\r\nX: y\n\r\n", "bare LF in trailer"),
        ("0\r\nX\n\r\n", "bare LF in trailer"),
        ("0\r\nX: y\rz\r\n", "bare CR in trailer"),
        ("0\r\n X: y\r\n", "line folding in trailer"),
        ("0\r\nX : y\r\n", "space before colon in trailer"),
        ("0\r\n: y\r\n", "empty trailer name"),
        ("0\r\n(: y\r\n", "bad trailer name"),
        ("0\r\nX: \0\r\n", "control character in trailer"),
        (&long_trailer, "trailer too long"),
        (&many_trailers, "trailers too large"),
        (&big_trailers, "trailers too large"),
    ];
    for (input, reason) in table {
        let whole = read_all(&mut ChunkedReader::default(), input.as_bytes(), false);
        assert_eq!(whole.map_err(|r| r.reason), Err(reason), "{input:?}");
        for split in 0..=input.len().min(40) {
            let parts = read_split(input.as_bytes(), split, false);
            assert_eq!(
                parts.map_err(|r| r.reason),
                Err(reason),
                "{input:?} at {split}"
            );
        }
    }
}

#[test]
fn nothing_of_a_bad_size_line_goes_on() {
    let mut reader = ChunkedReader::default();
    assert_eq!(reader.relay(b"3\r\nabc\r\n5").unwrap().len, 8);
    assert_eq!(reader.relay(b"5").unwrap(), Step::default());
    assert_eq!(reader.relay(b"5\r").unwrap(), Step::default());
    assert!(reader.relay(b"5\rx").is_err());
}

#[test]
fn the_largest_size_does_not_overflow() {
    let mut reader = ChunkedReader::default();
    let step = reader.relay(b"ffffffffffffffff\r\nabc").unwrap();
    assert_eq!((step.len, step.end), (21, false));
    let mut body = BodyReader::Chunked(reader);
    assert_eq!(body.data_left(), u64::MAX - 3);
    body.passed(u64::MAX);
    assert_eq!(body.relay(b"\r\n0\r\n\r\n").map(|s| s.end), Ok(true));
}

#[test]
fn a_length_ends_where_it_says_and_a_close_delimited_body_never() {
    let mut body = BodyReader::new(Framing::Length(5));
    assert_eq!(body.relay(b"abc").unwrap().len, 3);
    body.passed(1);
    let last = body.relay(b"xNEXT").unwrap();
    assert_eq!((last.len, last.end), (1, true));
    let mut body = BodyReader::new(Framing::UntilClose);
    assert_eq!(body.relay(b"abc").unwrap().len, 3);
    assert!(!body.is_done());
    assert!(BodyReader::new(Framing::None).is_done());
    assert!(BodyReader::new(Framing::Length(0)).is_done());
}

#[test]
fn chunks_that_we_frame_are_read_back() {
    for len in [1usize, 9, 10, 15, 16, 255, 4096, 100_000] {
        let mut out = Vec::new();
        write_chunk_header(len, &mut out);
        out.resize(out.len() + len, b'x');
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(LAST_CHUNK);
        let (data, used) = read_all(&mut ChunkedReader::default(), &out, true).unwrap();
        assert_eq!((data.len(), used), (len, out.len()));
    }
}
