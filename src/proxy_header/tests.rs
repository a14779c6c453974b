//! Headers as bytes: the good ones, each way to be none, and what holds of all bytes there are.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::crc32c::crc32c;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn pair(source: &str, destination: &str) -> Pair {
    Pair {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn client(source: &str, destination: &str) -> Header {
    Header::Client(pair(source, destination))
}

/// A header of version 2 whose length is that of its block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 0x01, 0xbb];

fn tcp4(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&ADDRESSES, tlvs].concat())
}

/// Whole, with bytes of the client behind it or none, and more at every length before.
#[track_caller]
fn good(bytes: &[u8], header: Header) {
    for behind in ["", "GET / HTTP/1.1\r\n"] {
        let all = [bytes, behind.as_bytes()].concat();
        let whole = Ok(Progress::Whole(header, bytes.len()));
        assert_eq!(read(&all), whole, "{:?}", all.escape_ascii().to_string());
    }
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Ok(Progress::More), "{end}");
    }
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, reject: Reject) {
    let bytes = bytes.as_ref();
    assert_eq!(
        read(bytes),
        Err(reject),
        "{:?}",
        bytes.escape_ascii().to_string()
    );
}

#[test]
fn lines_of_version_1_are_read() {
    let v4 = client("192.0.2.1:50000", "198.51.100.2:443");
    good(b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n", v4);
    let most = client("255.255.255.255:65535", "255.255.255.255:65535");
    let line = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    good(line.as_bytes(), most);
    let v6 = client("[2001:db8::1]:1", "[::1]:0");
    good(b"PROXY TCP6 2001:DB8:0:0::0001 ::1 1 0\r\n", v6);
    let mapped = client("[::ffff:10.0.0.1]:1", "[fe80::1]:2");
    good(b"PROXY TCP6 ::ffff:10.0.0.1 fe80::1 1 2\r\n", mapped);
    good(b"PROXY UNKNOWN\r\n", Header::Own);
    good(b"PROXY UNKNOWN anything at all 1 2\r\n", Header::Own);
    let long = "ffff:".repeat(7) + "ffff";
    let longest = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    good(longest.as_bytes(), Header::Own);
}

#[test]
fn a_line_that_is_not_exactly_one_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.01 198.51.100.2 50000 443",
        "PROXY TCP4 192.0.2.1 198.51.100.2 050000 443",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 00",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +5 443",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -5 443",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 ",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 443 ",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 443 1",
        "PROXY TCP4 192.0.2.1  198.51.100.2 5 443",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 5 443",
        "PROXY TCP4\t192.0.2.1 198.51.100.2 5 443",
        "PROXY TCP4 192.0.2 198.51.100.2 5 443",
        "PROXY TCP4 192.0.2.256 198.51.100.2 5 443",
        "PROXY TCP4 0xC0.0.2.1 198.51.100.2 5 443",
        "PROXY TCP4 ::1 ::1 5 443",
        "PROXY TCP4 192.0.2.1 ::1 5 443",
        "PROXY TCP6 192.0.2.1 198.51.100.2 5 443",
        "PROXY TCP6 ::1%lo ::1 5 443",
        "PROXY TCP6 [::1] ::1 5 443",
        "PROXY TCP6 1::2::3 ::1 5 443",
        "PROXY TCP6 00001::2 ::1 5 443",
        "PROXY tcp4 192.0.2.1 198.51.100.2 5 443",
        "PROXY UDP4 192.0.2.1 198.51.100.2 5 443",
        "PROXY TCP4",
        "PROXY TCP4 ",
        "PROXY ",
        "PROXY unknown",
        "PROXY UNKNOWNS",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 44\u{b2}",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 443\0",
    ] {
        bad(format!("{line}\r\n"), Reject::BadLine);
    }
    bad("PROXY TCP4 \u{ff}\r\n", Reject::BadLine);
    for line in [
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rX",
        "PROXY UNKNOWN\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 5 443\nX",
    ] {
        bad(line, Reject::BadLineEnd);
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(long.len(), 107);
    bad(&long, Reject::LongLine);
    bad(format!("{}\r\n", &long[..106]), Reject::LongLine);
    bad(long[..106].replace("xx", "x\n"), Reject::BadLineEnd);
}

#[test]
fn what_begins_otherwise_is_refused_at_its_first_byte_that_does() {
    for bytes in [
        "G",
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "PROXX",
        "PROXY\t",
        "proxy ",
        "\u{16}\u{3}\u{1}",
        "\r\n\r\nG",
        "\r\n\r\n\0\r\nQUIT\r",
        "\0",
        " PROXY",
    ] {
        bad(bytes, Reject::NoHeader);
    }
}

#[test]
fn headers_of_version_2_are_read() {
    let v4 = client("192.0.2.1:50000", "198.51.100.2:443");
    good(&tcp4(b""), v4);
    let noop = [4, 0, 3, 1, 2, 3];
    let unknown = [0xe0, 0, 0];
    good(&tcp4(&[&noop[..], &unknown, &noop].concat()), v4);
    let mut block = [[0; 16], [0; 16]].concat();
    (block[0], block[15], block[31]) = (0x20, 1, 2);
    block.extend([0, 80, 1, 187]);
    good(&v2(0x21, 0x21, &block), client("[2000::1]:80", "[::2]:443"));
    // The block of what is the sender's own, or of nobody's address, is passed over, whatever it is.
    good(&v2(0x20, 0x00, b""), Header::Own);
    good(&v2(0x20, 0x11, &ADDRESSES), Header::Own);
    good(&v2(0x20, 0xff, b"x"), Header::Own);
    good(&v2(0x21, 0x00, b"anything"), Header::Own);
    good(&v2(0x21, 0x10, &ADDRESSES), Header::Own);
    good(&v2(0x20, 0x00, &[0; 4096]), Header::Own);
    let most = 4096 - 12 - 3;
    let length = u16::try_from(most).unwrap().to_be_bytes();
    let tlv = [&[4], &length[..], &vec![7; most]].concat();
    good(&tcp4(&tlv), v4);
    assert_eq!(tcp4(&tlv).len(), MOST_BYTES);
}

#[test]
fn each_wrong_field_of_version_2_is_refused_when_it_is_there() {
    let up_to = |n: usize, edit: &[(usize, u8)]| {
        let mut bytes = tcp4(b"");
        for (at, byte) in edit {
            bytes[*at] = *byte;
        }
        bytes.truncate(n);
        bytes
    };
    for version in [0x01, 0x11, 0x31, 0xf1, b'\r'] {
        bad(up_to(13, &[(12, version)]), Reject::UnknownVersion);
    }
    for command in [0x22, 0x2f] {
        bad(up_to(13, &[(12, command)]), Reject::UnknownCommand);
    }
    for family in [0x41, 0xf1, 0x13, 0x1f, 0x40, 0x03] {
        bad(up_to(14, &[(13, family)]), Reject::UnknownFamily);
    }
    // UDP, and sockets of the Unix family.
    for family in [0x12, 0x22, 0x31, 0x32] {
        bad(up_to(14, &[(13, family)]), Reject::NotTcp);
    }
    bad(up_to(16, &[(14, 0x10), (15, 0x01)]), Reject::LongBlock);
    bad(up_to(16, &[(14, 0xff), (15, 0xff)]), Reject::LongBlock);
    bad(
        up_to(16, &[(12, 0x20), (14, 0x10), (15, 1)]),
        Reject::LongBlock,
    );
    for length in [0, 1, 11] {
        bad(up_to(16, &[(15, length)]), Reject::ShortBlock);
    }
    bad(v2(0x21, 0x21, &[0; 35]), Reject::ShortBlock);
}

#[test]
fn tlvs_have_to_fill_the_header() {
    for tlvs in [
        &[4][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 0, 2, 7],
        &[4, 0xff, 0xff, 7, 7],
        &[4, 0, 1, 7, 4],
        &[4, 0, 0, 4, 0],
    ] {
        bad(tcp4(tlvs), Reject::BadTlv);
    }
}

#[test]
fn a_checksum_has_to_be_that_of_the_header() {
    let v4 = client("192.0.2.1:50000", "198.51.100.2:443");
    for (before, behind) in [(&b""[..], &b""[..]), (&[4, 0, 1, 9], &[4, 0, 2, 8, 8])] {
        let with = |sum: [u8; 4]| tcp4(&[before, &[3, 0, 4], &sum, behind].concat());
        let sum = crc32c(&[&with([0; 4])]);
        good(&with(sum.to_be_bytes()), v4);
        bad(with((sum ^ 1).to_be_bytes()), Reject::BadChecksum);
        bad(with(sum.to_le_bytes()), Reject::BadChecksum);
        bad(with([0; 4]), Reject::BadChecksum);
        // An address changed on its way.
        let mut moved = with(sum.to_be_bytes());
        moved[16] ^= 1;
        bad(moved, Reject::BadChecksum);
    }
    for short in [
        &[3, 0, 0][..],
        &[3, 0, 3, 1, 2, 3],
        &[3, 0, 5, 1, 2, 3, 4, 5],
    ] {
        bad(tcp4(short), Reject::BadChecksum);
    }
}

#[test]
fn written_headers_are_byte_for_byte_those_of_the_specification() {
    let v4 = pair("192.0.2.1:50000", "198.51.100.2:443");
    let written = |form, pair, details: &Details<'_>| {
        let mut out = b"before".to_vec();
        write(form, pair, details, &mut out);
        out.split_off(6)
    };
    let none = Details::default();
    assert_eq!(
        written(Form::V1, v4, &none),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n"
    );
    assert_eq!(written(Form::V2, v4, &none), tcp4(b""));
    assert_eq!(written(Form::V2Ssl, v4, &none), tcp4(b""));
    let details = Details {
        authority: Some("a.test"),
        alpn: Some(b"h2"),
        unique_id: Some(b"id"),
        tls: Some(Tls {
            version: Some("TLSv1.3"),
            cipher: Some("C"),
            client: None,
        }),
    };
    let tlvs = [
        &b"\x01\x00\x02h2"[..],
        b"\x02\x00\x06a.test",
        b"\x05\x00\x02id",
        b"\x20\x00\x13\x01\x00\x00\x00\x01",
        b"\x21\x00\x07TLSv1.3\x23\x00\x01C",
    ];
    assert_eq!(written(Form::V2Ssl, v4, &details), tcp4(&tlvs.concat()));
    let known = Details {
        tls: details.tls.map(|tls| Tls {
            client: Some("anna"),
            ..tls
        }),
        ..Details::default()
    };
    let tlvs = [
        &b"\x20\x00\x1a\x07\x00\x00\x00\x00"[..],
        b"\x21\x00\x07TLSv1.3\x22\x00\x04anna\x23\x00\x01C",
    ];
    assert_eq!(written(Form::V2Ssl, v4, &known), tcp4(&tlvs.concat()));
    // Version 2 alone says who, and no more.
    assert_eq!(written(Form::V2, v4, &details), tcp4(b""));
    let mut own = Vec::new();
    write_own(Form::V1, &mut own);
    assert_eq!(own, b"PROXY UNKNOWN\r\n");
    own.clear();
    write_own(Form::V2, &mut own);
    assert_eq!(own, v2(0x20, 0, b""));
}

#[test]
fn a_text_without_room_is_left_out() {
    let long = "x".repeat(256);
    let details = Details {
        authority: Some(&long),
        alpn: Some(b""),
        unique_id: Some(&long.as_bytes()[..255]),
        tls: Some(Tls::default()),
    };
    let mut out = Vec::new();
    write(
        Form::V2Ssl,
        pair("1.1.1.1:1", "2.2.2.2:2"),
        &details,
        &mut out,
    );
    assert_eq!(out.len(), 16 + 12 + 3 + 255 + 3 + 5);
    assert!(matches!(read(&out), Ok(Progress::Whole(..))));
}

#[test]
fn two_addresses_are_of_one_family() {
    let same = |a: &str, b: &str, expected: Pair| {
        assert_eq!(Pair::new(a.parse().unwrap(), b.parse().unwrap()), expected);
    };
    same(
        "[::ffff:10.0.0.1]:1",
        "[::ffff:10.0.0.2]:2",
        pair("10.0.0.1:1", "10.0.0.2:2"),
    );
    same(
        "[::ffff:10.0.0.1]:1",
        "10.0.0.2:2",
        pair("10.0.0.1:1", "10.0.0.2:2"),
    );
    same(
        "[::1]:1",
        "10.0.0.2:2",
        pair("[::1]:1", "[::ffff:10.0.0.2]:2"),
    );
    same(
        "[2001:db8::1]:1",
        "[::2]:2",
        pair("[2001:db8::1]:1", "[::2]:2"),
    );
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    // Mapped ones too, and short ones.
    let v6 = any::<([u16; 8], u8, u16)>().prop_map(|(groups, zeros, port)| {
        let mut groups = groups;
        for (at, group) in groups.iter_mut().enumerate() {
            if zeros >> at & 1 == 1 {
                *group = 0;
            }
        }
        SocketAddr::from((groups, port))
    });
    prop_oneof![v4, v6]
}

/// Bytes that come near to being headers: written ones, with some bytes changed.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (address(), address(), 0..3usize, edits, ".{0,40}").prop_map(|(a, b, form, edits, name)| {
        let details = Details {
            authority: Some(&name),
            ..Details::default()
        };
        let mut bytes = Vec::new();
        write(Form::ALL[form], Pair::new(a, b), &details, &mut bytes);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        source in address(), destination in address(), form in 0..3usize,
        name in "[a-z.]{0,253}", alpn in prop::collection::vec(any::<u8>(), 0..255),
        id in "[ -~]{0,64}", is_tls in any::<bool>(), behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let pair = Pair::new(source, destination);
        let details = Details {
            authority: Some(&name),
            alpn: Some(&alpn),
            unique_id: Some(id.as_bytes()),
            tls: is_tls.then_some(Tls { version: Some("TLSv1.2"), ..Tls::default() }),
        };
        let mut out = Vec::new();
        write(Form::ALL[form], pair, &details, &mut out);
        let length = out.len();
        for end in 0..length {
            prop_assert_eq!(read(&out[..end]), Ok(Progress::More));
        }
        out.extend(behind);
        prop_assert_eq!(read(&out), Ok(Progress::Whole(Header::Client(pair), length)));
    }

    /// Whatever comes: what was refused stays refused, what was whole stays whole, and it never waits
    /// for more than there may be.
    #[test]
    fn any_bytes_are_judged_the_same_in_parts_and_whole(
        bytes in prop_oneof![near(), prop::collection::vec(any::<u8>(), 0..200)]
    ) {
        let mut judged = None;
        for end in 0..=bytes.len() {
            let now = read(&bytes[..end]);
            match judged {
                Some(before) => prop_assert_eq!(now, before),
                None if now != Ok(Progress::More) => {
                    if let Ok(Progress::Whole(_, length)) = now {
                        prop_assert_eq!(length, end);
                    }
                    judged = Some(now);
                }
                None => prop_assert!(end < MOST_BYTES),
            }
        }
    }
}
