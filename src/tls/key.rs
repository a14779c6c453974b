//! Private keys: what kind they are, whether they are good enough, and the signer made of them.
//!
//! The kind is read from the key's own DER before the engine sees it, because the engine's answer to
//! a key that it does not take is the same for a weak, a foreign and a broken one.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::pem::{self, Block};
use super::{Problem, RSA_BITS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyType {
    /// With the bits of its modulus.
    Rsa(u32),
    Ecdsa(Curve),
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl KeyType {
    /// Whether a client that can do with one can do with the other: RSA of any size, one curve.
    pub fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Rsa(_), Self::Rsa(_)) => true,
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ecdsa(Curve::P256) => f.write_str("ECDSA P-256"),
            Self::Ecdsa(Curve::P384) => f.write_str("ECDSA P-384"),
            Self::Ecdsa(Curve::P521) => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A key that can sign.
pub(super) struct PrivateKey {
    pub(super) kind: KeyType,
    pub(super) signer: Arc<dyn SigningKey>,
    /// As certificates have it, with its algorithm.
    pub(super) public: Vec<u8>,
    /// A signer does not give it away again, and OpenSSL needs it.
    #[cfg(feature = "legacy-tls")]
    pub(super) der: PrivateKeyDer<'static>,
}

const TAKEN: &str = "RSA from 2048 bits on, ECDSA on P-256, P-384 or P-521, and Ed25519 are taken";

/// Whether a block is a private key of whatever kind.
pub(super) fn is_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

pub(super) fn read(block: &Block<'_>) -> Result<PrivateKey, Problem> {
    let line = block.line;
    if block.is_encrypted() {
        return Err(Problem::new(
            "encrypted-key",
            format!("has an encrypted private key (line {line})"),
            "nobody is there to type its password: write it decrypted, as openssl pkey -in FILE does",
        ));
    }
    let unsupported = |what: &str| {
        Problem::new(
            "unsupported-key",
            format!("has a private key (line {line}) of a kind that is not taken: {what}"),
            TAKEN,
        )
    };
    let broken = || {
        Problem::new(
            "bad-key",
            format!("has a private key (line {line}) that is broken"),
            "copy the whole file again, as it is",
        )
    };
    let form = match block.label {
        "PRIVATE KEY" => Form::Pkcs8,
        "RSA PRIVATE KEY" => Form::Pkcs1,
        "EC PRIVATE KEY" => Form::Sec1,
        "OPENSSH PRIVATE KEY" => return Err(unsupported("a key of OpenSSH")),
        "DSA PRIVATE KEY" => return Err(unsupported("DSA")),
        other => return Err(unsupported(&pem::shown(other))),
    };
    let der = block.decode()?;
    let kind = match kind_of(form, &der).ok_or_else(broken)? {
        Ok(kind) => kind,
        Err(foreign) => return Err(unsupported(foreign)),
    };
    if let KeyType::Rsa(bits) = kind
        && !RSA_BITS.contains(&bits)
    {
        let (code, what) = match bits < *RSA_BITS.start() {
            true => ("weak-key", "too weak"),
            false => ("unsupported-key", "too large"),
        };
        return Err(Problem::new(
            code,
            format!("has a private key (line {line}) that is {what}: RSA with {bits} bits"),
            format!(
                "RSA keys have {} to {} bits; get a certificate for a new key, best ECDSA P-256",
                RSA_BITS.start(),
                RSA_BITS.end()
            ),
        ));
    }
    let der = match form {
        Form::Pkcs8 => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        Form::Pkcs1 => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
        Form::Sec1 => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
    };
    let signer = any_supported_type(&der).map_err(|_| broken())?;
    let public = signer.public_key().ok_or_else(broken)?.to_vec();
    Ok(PrivateKey {
        kind,
        signer,
        public,
        #[cfg(feature = "legacy-tls")]
        der,
    })
}

#[derive(Clone, Copy)]
enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];

/// The kind of a key, or what the kind is called that is not taken. `None`: it is no key at all.
fn kind_of(form: Form, der: &[u8]) -> Option<Result<KeyType, &'static str>> {
    let mut key = Der(Der(der).take(SEQUENCE)?);
    key.take(INTEGER)?;
    Some(match form {
        Form::Pkcs1 => Ok(KeyType::Rsa(bits(key.take(INTEGER)?))),
        Form::Sec1 => {
            key.take(OCTETS)?;
            curve(Der(key.take(PARAMETERS)?).take(OID)?)
        }
        Form::Pkcs8 => {
            let mut algorithm = Der(key.take(SEQUENCE)?);
            match algorithm.take(OID)? {
                RSA => {
                    let mut inner = Der(Der(key.take(OCTETS)?).take(SEQUENCE)?);
                    inner.take(INTEGER)?;
                    Ok(KeyType::Rsa(bits(inner.take(INTEGER)?)))
                }
                // Without a name there are parameters written out: nobody else takes those either.
                EC => algorithm
                    .take(OID)
                    .map_or(Err("a curve without a name"), curve),
                ED25519 => Ok(KeyType::Ed25519),
                ED448 => Err("Ed448"),
                RSA_PSS => Err("RSA for PSS alone"),
                DSA => Err("DSA"),
                _ => Err("none of those that sign handshakes"),
            }
        }
    })
}

fn curve(oid: &[u8]) -> Result<KeyType, &'static str> {
    match oid {
        P256 => Ok(KeyType::Ecdsa(Curve::P256)),
        P384 => Ok(KeyType::Ecdsa(Curve::P384)),
        P521 => Ok(KeyType::Ecdsa(Curve::P521)),
        _ => Err("ECDSA on another curve"),
    }
}

/// Of a whole number as DER writes it.
fn bits(integer: &[u8]) -> u32 {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    let digits = &integer[zeros..];
    let head = digits.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(digits.len() * 8).map_or(u32::MAX, |bits| bits - head)
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const PARAMETERS: u8 = 0xa0;

/// What is left of the content of a DER element.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let length = match usize::from(*first) {
            short @ 0..=0x7f => short,
            // Keys are far below 16 MiB, which three bytes count.
            long @ 0x81..=0x83 => {
                let (bytes, after) = rest.split_at_checked(long - 0x80)?;
                rest = after;
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if *found != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }
}
