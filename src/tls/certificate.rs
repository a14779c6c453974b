//! A certificate with all that is needed to serve it: made from one PEM bundle, good or not at all.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256, digest};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::chain::{self, Link};
use super::key::{self, KeyType, PrivateKey};
use super::pem::{self, Block};
use super::{BUNDLE_BYTES, CERTIFICATES, Problem, name, trial};

/// Leaf, chain and key of one bundle. Immutable; costs some kilobytes, so share it behind an `Arc`.
///
/// Two are equal if they are the same certificates in the same order: the key follows from the leaf,
/// and what else stands in a bundle changes nothing.
pub struct Certificate {
    names: Vec<Box<str>>,
    subject: String,
    issuer: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    key_type: KeyType,
    fingerprint: [u8; 32],
    /// Of all certificates in the order in which they are sent.
    bundle: [u8; 32],
    key: Arc<CertifiedKey>,
    #[cfg(feature = "legacy-tls")]
    legacy: super::legacy::Lazy,
    warnings: Vec<Problem>,
}

/// What a bundle is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serving,
    Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    NotYet,
    Expired,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Far,
    /// Within 14 days, or in the last third of a shorter life.
    Near,
    Past,
}

const DAY: i64 = 24 * 3600;

/// From when on an end is near, at the longest.
const NEAR: i64 = 14 * DAY;

impl Certificate {
    /// Reads one bundle: the leaf, the chain above it and the private key, in any order, with anything
    /// in between. The leaf is the certificate that the key belongs to. All problems that can be told
    /// are told; whether it is valid now, and whether it can shake hands, is asked separately.
    ///
    /// Cost: the text once, a parse of each certificate, and what the engine does to check a key, which
    /// is the most of it.
    pub fn read(pem: &str) -> Result<Self, Vec<Problem>> {
        Self::read_for(pem, Purpose::Serving)
    }

    /// Reads one that is shown to those whom we connect to. Whose names are in it is for them to judge:
    /// it may have none.
    pub fn read_shown(pem: &str) -> Result<Self, Vec<Problem>> {
        Self::read_for(pem, Purpose::Shown)
    }

    fn read_for(pem: &str, purpose: Purpose) -> Result<Self, Vec<Problem>> {
        if pem.len() > BUNDLE_BYTES {
            return Err(vec![Problem::new(
                "too-big",
                format!("has {} bytes", pem.len()),
                format!(
                    "a bundle may have {BUNDLE_BYTES}; it is leaf, chain and private key alone"
                ),
            )]);
        }
        let (blocks, mut problems) = pem::blocks(pem);
        let certificates: Vec<_> = blocks.iter().filter(|b| b.is_certificate()).collect();
        let keys: Vec<_> = blocks.iter().filter(|b| key::is_key(b.label)).collect();
        if certificates.len() > CERTIFICATES {
            problems.push(Problem::new(
                "too-many",
                format!("has {} certificates", certificates.len()),
                format!("it may have {CERTIFICATES}: a leaf and those between it and the root"),
            ));
            return Err(problems);
        }
        if blocks.is_empty() && problems.is_empty() {
            problems.push(Problem::new(
                "no-certificate",
                "has no PEM in it",
                "a bundle has blocks from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, \
                 and one of a private key",
            ));
            return Err(problems);
        }
        let key = one_key(&keys)
            .map_err(|problem| problems.push(problem))
            .ok();
        if certificates.is_empty() {
            problems.push(Problem::new(
                "no-certificate",
                "has no certificate",
                "write leaf, chain and private key into one bundle",
            ));
        }
        let ders = decoded(&certificates, &mut problems);
        let links = parsed(&ders, &mut problems);
        let Some(key) = key.filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        Self::new(&links, key, purpose).map_err(|problem| vec![problem])
    }

    fn new(links: &[Link<'_>], key: PrivateKey, purpose: Purpose) -> Result<Self, Problem> {
        let mut warnings = Vec::new();
        let order = chain::order(links, &key, &mut warnings)?;
        let leaf = &links[order[0]].parsed;
        let names = match purpose {
            Purpose::Serving => name::names(leaf, &mut warnings)?,
            Purpose::Shown => Vec::new(),
        };
        let sent: Vec<_> = order
            .iter()
            .map(|at| CertificateDer::from(links[*at].parsed.as_raw().to_vec()))
            .collect();
        let mut bundle = digest::Context::new(&SHA256);
        for der in &sent {
            bundle.update(&der.len().to_be_bytes());
            bundle.update(der);
        }
        let validity = leaf.validity();
        Ok(Self {
            names,
            subject: shown(leaf.subject()),
            issuer: shown(leaf.issuer()),
            serial: hex(leaf.tbs_certificate.raw_serial()),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            key_type: key.kind,
            fingerprint: bytes(&digest(&SHA256, &sent[0])),
            bundle: bytes(&bundle.finish()),
            key: Arc::new(CertifiedKey::new(sent, key.signer)),
            #[cfg(feature = "legacy-tls")]
            legacy: super::legacy::Lazy::new(key.der),
            warnings,
        })
    }

    /// What it is good for, in its own order, lowercase: `www.example.com`, `*.example.com`, `10.0.0.1`.
    /// Empty only for one that was read to be shown.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Hexadecimal, lowercase, as the certificate has it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Seconds since 1970; valid up to and with this one.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// SHA-256 of the leaf, as `openssl x509 -fingerprint -sha256` tells it, hexadecimal and lowercase.
    pub fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }

    /// What a handshake needs: the chain as it is sent, and the signer.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The same for OpenSSL. Made at the first call, some hundred microseconds.
    #[cfg(feature = "legacy-tls")]
    pub fn for_openssl(&self) -> Result<&super::legacy::Chain, openssl::error::ErrorStack> {
        self.legacy.get(&self.key.cert)
    }

    /// What is worth telling about it.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// How far its end is at `now`, in seconds since 1970.
    pub fn end(&self, now: i64) -> End {
        let left = self.not_after.saturating_sub(now);
        let lifetime = self.not_after.saturating_sub(self.not_before);
        match left {
            ..0 => End::Past,
            left if left < NEAR.min(lifetime / 3) => End::Near,
            _ => End::Far,
        }
    }

    /// Whether it holds at `now`, in seconds since 1970.
    pub fn validity(&self, now: i64) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }

    /// Shakes hands in memory, by TLS 1.3 and by TLS 1.2, with a client that takes this certificate and
    /// no other. Costs two handshakes on both sides, some milliseconds at worst (RSA).
    pub fn trial(&self) -> Result<(), Problem> {
        trial::shake_hands(&self.key)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.bundle == other.bundle
    }
}

impl Eq for Certificate {}

/// Never the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("serial", &self.serial)
            .field("not_after", &time_text(self.not_after))
            .field("key_type", &self.key_type)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn one_key(keys: &[&Block<'_>]) -> Result<PrivateKey, Problem> {
    match keys {
        [] => Err(Problem::new(
            "no-key",
            "has no private key",
            "write the key that the certificate was asked for with into the same bundle",
        )),
        [only] => key::read(only),
        many => {
            let lines: Vec<_> = many
                .iter()
                .take(8)
                .map(|key| key.line.to_string())
                .collect();
            Err(Problem::new(
                "many-keys",
                format!(
                    "has {} private keys, at lines {}",
                    many.len(),
                    lines.join(", ")
                ),
                "one bundle is one certificate with its key: write each as a bundle of its own",
            ))
        }
    }
}

/// The content of each block once: the same certificate twice is no second one.
pub(super) fn decoded(blocks: &[&Block<'_>], problems: &mut Vec<Problem>) -> Vec<(usize, Vec<u8>)> {
    let mut ders: Vec<(usize, Vec<u8>)> = Vec::new();
    for block in blocks {
        match block.decode() {
            Ok(der) if ders.iter().any(|(_, known)| *known == der) => {}
            Ok(der) => ders.push((block.line, der)),
            Err(problem) => problems.push(problem),
        }
    }
    ders
}

pub(super) fn parsed<'d>(
    ders: &'d [(usize, Vec<u8>)],
    problems: &mut Vec<Problem>,
) -> Vec<Link<'d>> {
    let mut links = Vec::new();
    for (line, der) in ders {
        match X509Certificate::from_der(der) {
            Ok((_, parsed)) => links.push(Link {
                parsed,
                line: *line,
            }),
            Err(_) => problems.push(broken(*line)),
        }
    }
    links
}

pub(super) fn broken(line: usize) -> Problem {
    Problem::new(
        "bad-certificate",
        format!("has a certificate at line {line} that is broken"),
        "copy the whole file again, as it is",
    )
}

/// A time in seconds since 1970 as RFC 3339 in UTC.
pub fn time_text(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{seconds} seconds after 1970"),
    }
}

/// A name as its certificate has it, cut where nobody reads on.
pub(super) fn shown(name: &x509_parser::x509::X509Name<'_>) -> String {
    const SHOWN: usize = 200;
    let text = name.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

pub(super) fn bytes(digest: &digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    // SHA-256 has 32 of them.
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
