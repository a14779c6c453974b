//! A client's first message, read before anybody answers it: whom it asks for decides who does.
//!
//! RFC 8446, 4.1.2 and 5.1. Looked at only for what leads the connection; whoever answers reads it
//! again, and says what is wrong with it. It may come in any number of segments and records: with
//! post-quantum keys it is longer than a segment as a rule.

use rustls::SignatureScheme;
use rustls::sign::SigningKey;

use super::suites::{Cipher, Suite, Suites};

/// The longest hello, and with the heads of its records, that is waited for. Browsers send two
/// kilobytes.
pub const HELLO_BYTES: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
const HOST_NAME: u8 = 0;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// In lower case, without a last dot.
    pub server_name: Option<Box<str>>,
    /// Of those that anybody could serve here.
    pub suites: Suites,
    /// The first of them is ChaCha20: the client has no AES in its hardware.
    pub prefers_chacha: bool,
    pub offers_tls12: bool,
    pub offers_tls13: bool,
    /// It names a curve for ECDHE that everybody has here.
    pub has_curve: bool,
    /// With which it takes signatures.
    pub schemes: Schemes,
}

/// Signature schemes that certificates here can have to do with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemes(u16);

impl Schemes {
    const KNOWN: [SignatureScheme; 10] = [
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA512,
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP521_SHA512,
        SignatureScheme::ED25519,
    ];

    /// Whether the key can sign with one of them.
    pub fn fit(self, key: &dyn SigningKey) -> bool {
        let known = Self::KNOWN.iter().enumerate();
        known
            .filter(|(at, _)| self.0 & 1 << at != 0)
            .any(|(_, scheme)| key.choose_scheme(&[*scheme]).is_some())
    }

    #[cfg(all(test, feature = "legacy-tls"))]
    pub(crate) fn all() -> Self {
        Self(u16::MAX)
    }

    fn add(&mut self, code: u16) {
        let known = Self::KNOWN.iter();
        for (at, _) in known.enumerate().filter(|(_, s)| u16::from(**s) == code) {
            self.0 |= 1 << at;
        }
    }
}

/// It is no hello, or none that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHello(pub &'static str);

/// Collects a hello from its records.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes of whole records that were taken.
    taken: usize,
    message: Vec<u8>,
}

impl Reader {
    /// `bytes` are all that the client has sent so far. `None`: there is more to come. Costs what came
    /// since the last time.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Hello>, NoHello> {
        while let Some(record) = record(&bytes[self.taken..])? {
            self.taken += RECORD_HEAD + record.len();
            self.message.extend_from_slice(record);
            if let Some(body) = whole(&self.message)? {
                return parse(body).map(Some);
            }
        }
        match bytes.len() < HELLO_BYTES {
            true => Ok(None),
            false => Err(NoHello("it is too long")),
        }
    }
}

const RECORD_HEAD: usize = 5;

/// What the first record holds, once it is there as a whole.
fn record(bytes: &[u8]) -> Result<Option<&[u8]>, NoHello> {
    if bytes.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Err(NoHello("it is no handshake"));
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(NoHello("it is no TLS"));
    }
    let Some(length) = bytes.get(3..RECORD_HEAD) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if !(1..=16 * 1024).contains(&length) {
        return Err(NoHello("a record of it has a length that none has"));
    }
    Ok(bytes.get(RECORD_HEAD..RECORD_HEAD + length))
}

/// The hello's body, once it is there as a whole.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, NoHello> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(NoHello("it begins with another message"));
    }
    let Some(length) = message.get(1..4) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
    if length > HELLO_BYTES {
        return Err(NoHello("it is too long"));
    }
    Ok(message.get(4..4 + length))
}

fn parse(body: &[u8]) -> Result<Hello, NoHello> {
    const SHORT: NoHello = NoHello("it ends early");
    let mut rest = Bytes(body);
    let version = rest.u16().ok_or(SHORT)?;
    // Random, and a session.
    rest.take(32).ok_or(SHORT)?;
    rest.list8().ok_or(SHORT)?;
    let suites = rest.list16().ok_or(SHORT)?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(NoHello("it offers no suites"));
    }
    rest.list8().ok_or(SHORT)?;
    let mut hello = Hello {
        suites: codes(suites).fold(Suites::NONE, Suites::with),
        prefers_chacha: codes(suites)
            .find_map(Suite::of_code)
            .is_some_and(|first| first.cipher == Cipher::ChaCha20),
        offers_tls12: version >= TLS12,
        ..Hello::default()
    };
    if rest.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Bytes(rest.list16().ok_or(SHORT)?);
    if !rest.0.is_empty() {
        return Err(NoHello("bytes stand behind it"));
    }
    let mut has_name = false;
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(SHORT)?;
        let extension = extensions.list16().ok_or(SHORT)?;
        if kind == SERVER_NAME {
            if std::mem::replace(&mut has_name, true) {
                return Err(NoHello("it asks for two names"));
            }
            hello.server_name = server_name(extension)?;
        } else {
            hello.note(kind, extension);
        }
    }
    Ok(hello)
}

impl Hello {
    /// What an extension says, if it is whole: whoever answers tells what is wrong with it.
    fn note(&mut self, kind: u16, extension: &[u8]) {
        let mut rest = Bytes(extension);
        match kind {
            SUPPORTED_VERSIONS => {
                let versions = rest.list8().unwrap_or_default();
                self.offers_tls12 = codes(versions).any(|version| version == TLS12);
                self.offers_tls13 = codes(versions).any(|version| version == TLS13);
            }
            SUPPORTED_GROUPS => {
                let groups = rest.list16().unwrap_or_default();
                self.has_curve = codes(groups).any(|group| CURVES.contains(&group));
            }
            SIGNATURE_ALGORITHMS => {
                codes(rest.list16().unwrap_or_default()).for_each(|code| self.schemes.add(code));
            }
            _ => {}
        }
    }
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// P-256, P-384, X25519.
const CURVES: [u16; 3] = [23, 24, 29];

fn codes(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// RFC 6066, 3: a list with one name of the one kind there is.
fn server_name(extension: &[u8]) -> Result<Option<Box<str>>, NoHello> {
    const BAD: NoHello = NoHello("the name that it asks for is none");
    let mut rest = Bytes(extension);
    let mut names = Bytes(rest.list16().ok_or(BAD)?);
    if !rest.0.is_empty() || names.u8() != Some(HOST_NAME) {
        return Err(BAD);
    }
    let name = names.list16().ok_or(BAD)?;
    if !names.0.is_empty() {
        return Err(NoHello("it asks for two names"));
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_fine = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    if name.is_empty() || name.len() > 253 || !name.iter().all(is_fine) {
        return Err(BAD);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok(Some(name.into()))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn list8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn list16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What `rustls` sends.
    fn real(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut bytes = Vec::new();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Whom it asks for.
    fn read(bytes: &[u8]) -> Result<Option<Asked>, NoHello> {
        asked(Reader::default().read(bytes))
    }

    type Asked = Option<Box<str>>;

    fn asked(read: Result<Option<Hello>, NoHello>) -> Result<Option<Asked>, NoHello> {
        read.map(|hello| hello.map(|hello| hello.server_name))
    }

    fn asks_for(name: &str) -> Result<Option<Asked>, NoHello> {
        Ok(Some(Some(name.into())))
    }

    /// The same message in records of at most `size` bytes.
    fn in_records(bytes: &[u8], size: usize) -> Vec<u8> {
        let records = bytes[RECORD_HEAD..].chunks(size).map(|part| {
            let length = (part.len() as u16).to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        });
        records.flatten().collect()
    }

    /// A hello with these extensions.
    fn made(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut bytes = vec![22, 3, 1];
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    fn name_extension(names: &[(u8, &[u8])]) -> Vec<u8> {
        let list: Vec<u8> = names
            .iter()
            .flat_map(|(kind, name)| {
                let length = (name.len() as u16).to_be_bytes();
                [&[*kind][..], &length, name].concat()
            })
            .collect();
        let list = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
        [&[0, 0][..], &(list.len() as u16).to_be_bytes(), &list].concat()
    }

    #[test]
    fn a_hello_is_read_however_it_is_cut() {
        let bytes = real("Www.Example.com");
        assert!(bytes.len() > 1200, "with a post-quantum key");
        assert_eq!(read(&bytes), asks_for("www.example.com"));
        for size in [1, 7, 100, 1000] {
            let bytes = in_records(&bytes, size);
            let mut reader = Reader::default();
            for end in 0..bytes.len() {
                assert_eq!(reader.read(&bytes[..end]), Ok(None), "{end}");
            }
            assert_eq!(asked(reader.read(&bytes)), asks_for("www.example.com"));
        }
        // What comes behind it is not looked at.
        assert_eq!(
            read(&[&bytes[..], b"more"].concat()),
            asks_for("www.example.com")
        );
    }

    #[test]
    fn a_hello_may_ask_for_nobody() {
        assert_eq!(read(&real("127.0.0.1")), Ok(Some(None)));
        assert_eq!(read(&made(b"")), Ok(Some(None)));
        let mut without = made(b"");
        let end = without.len() - 2;
        without.truncate(end);
        without[4] -= 2;
        without[8] -= 2;
        assert_eq!(read(&without), Ok(Some(None)));
    }

    #[test]
    fn what_it_offers_is_read() {
        let hello = |bytes: &[u8]| Reader::default().read(bytes).unwrap().unwrap();
        let modern = hello(&real("a.test"));
        assert_eq!(modern.suites, Suites::strict());
        assert!(modern.offers_tls12 && modern.offers_tls13 && modern.has_curve);
        assert_eq!(modern.schemes.0, 0x3ff);
        let old = hello(&made(b""));
        assert_eq!(old.suites.names(" "), "TLS_AES_128_GCM_SHA256");
        assert!(old.offers_tls12 && !old.offers_tls13 && !old.has_curve);
        let extended = hello(&made(
            b"\0\x2b\0\x03\x02\x03\x02\0\x0a\0\x04\0\x02\0\x19\0\x0d\0\x06\0\x04\x02\x01\x04\x01",
        ));
        assert!(!extended.offers_tls12 && !extended.offers_tls13 && !extended.has_curve);
        assert_eq!(extended.schemes, Schemes(1));
        // Half an extension says nothing.
        let broken = hello(&made(b"\0\x0a\0\x02\0\x17\0\x0d\0\x01\x09\0\x2b\0\0"));
        assert!(!broken.has_curve && !broken.offers_tls12);
        assert_eq!(broken.schemes, Schemes::default());
    }

    #[test]
    fn what_is_no_hello_is_told_at_its_first_bytes() {
        let not = |bytes: &[u8]| read(bytes).unwrap_err().0;
        assert_eq!(not(b"G"), "it is no handshake");
        assert_eq!(not(b"\x16\x02"), "it is no TLS");
        assert_eq!(
            not(b"\x16\x03\x01\0\0"),
            "a record of it has a length that none has"
        );
        assert_eq!(
            not(b"\x16\x03\x01\xff\xff"),
            "a record of it has a length that none has"
        );
        assert_eq!(
            not(b"\x16\x03\x01\0\x01\x02"),
            "it begins with another message"
        );
        assert_eq!(not(b"\x16\x03\x01\0\x04\x01\xff\0\0"), "it is too long");
        let endless = in_records(
            &[&[0; 5][..], &[1, 0, 0x3f, 0xff], &[0; 20_000]].concat(),
            1,
        );
        assert_eq!(not(&endless[..HELLO_BYTES]), "it is too long");
    }

    #[test]
    fn names_that_are_none_are_told() {
        let not = |extensions: &[u8]| read(&made(extensions)).unwrap_err().0;
        let none = "the name that it asks for is none";
        let two = "it asks for two names";
        let named = |name: &[u8]| name_extension(&[(0, name)]);
        assert_eq!(read(&made(&named(b"A.test."))), asks_for("a.test"));
        for bad in [
            &b""[..],
            b".",
            b"a b",
            b"a\0b",
            b"\xc3\xbc.test",
            b"a/b",
            b"[::1]",
        ] {
            assert_eq!(not(&named(bad)), none, "{bad:?}");
        }
        assert_eq!(not(&named(&[b'a'; 254])), none);
        assert_eq!(not(&name_extension(&[])), none);
        assert_eq!(not(&name_extension(&[(1, b"a.test")])), none);
        assert_eq!(not(&name_extension(&[(0, b"a.test"), (0, b"b.test")])), two);
        assert_eq!(not(&[named(b"a.test"), named(b"b.test")].concat()), two);
        assert_eq!(not(b"\0\0\0"), "it ends early");
        assert_eq!(not(b"\0\0\0\x03\0\x05\0"), none);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_spoilt_hello_never_panics(
            at in 0usize..1400, with in any::<u8>(), cut in 0usize..1400
        ) {
            let mut bytes = real("www.example.com");
            let len = bytes.len();
            bytes[at % len] = with;
            bytes.truncate(len - cut % len);
            let _ = read(&bytes);
        }
    }
}
