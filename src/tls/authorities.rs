//! Whom to believe about others: certificates of authorities, read from text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256, digest};
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::certificate::{broken, bytes, decoded, hex, parsed, shown};
use super::pem::{self, Block};
use super::{AUTHORITIES, BUNDLE_BYTES, Problem, key};

/// Every certificate of one text. Immutable; share it behind an `Arc`.
///
/// Those that say of themselves that they are no authorities are believed as they are and sign for nobody: who
/// wrote down one of a server or a client meant that very one.
///
/// Two are equal if they have the same certificates, in whatever order.
pub struct Authorities {
    all: Vec<Authority>,
    /// Those that may sign.
    roots: Arc<RootCertStore>,
    /// Of all certificates, sorted.
    digest: [u8; 32],
}

/// What a plan shows of one of them.
pub struct Authority {
    pub subject: String,
    /// Seconds since 1970. A check of certificates does not look at it: an authority is believed
    /// because somebody wrote it down.
    pub not_after: i64,
    fingerprint: [u8; 32],
    der: CertificateDer<'static>,
}

impl Authority {
    /// SHA-256, as `openssl x509 -fingerprint -sha256` tells it, hexadecimal and lowercase.
    pub fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }
}

impl Authorities {
    /// Reads certificates in any order, with anything between them but a private key. All problems that
    /// can be told are told.
    pub fn read(pem: &str) -> Result<Self, Vec<Problem>> {
        if pem.len() > BUNDLE_BYTES {
            return Err(vec![Problem::new(
                "too-big",
                format!("has {} bytes", pem.len()),
                format!(
                    "it may have {BUNDLE_BYTES}; write those authorities alone that are needed"
                ),
            )]);
        }
        let (blocks, mut problems) = pem::blocks(pem);
        let certificates: Vec<_> = blocks.iter().filter(|b| b.is_certificate()).collect();
        if certificates.len() > AUTHORITIES {
            problems.push(Problem::new(
                "too-many",
                format!("has {} certificates", certificates.len()),
                format!("it may have {AUTHORITIES}; write those authorities alone that are needed"),
            ));
            return Err(problems);
        }
        problems.extend(blocks.iter().find_map(private_key));
        if certificates.is_empty() && problems.is_empty() {
            let what = match blocks.is_empty() {
                true => "has no PEM in it",
                false => "has no certificate",
            };
            problems.push(Problem::new(
                "no-certificate",
                what,
                "write the certificates of the authorities, each from -----BEGIN CERTIFICATE----- to \
                 -----END CERTIFICATE-----",
            ));
        }
        let ders = decoded(&certificates, &mut problems);
        let mut roots = RootCertStore::empty();
        let mut all = Vec::new();
        for link in parsed(&ders, &mut problems) {
            let der = CertificateDer::from(link.parsed.as_raw().to_vec());
            // The engine reads more strictly, and does not ask an anchor whether it is one. Before version 3
            // nobody could say it.
            let may_sign = link.parsed.is_ca() || link.parsed.version() != X509Version::V3;
            let mut read = RootCertStore::empty();
            if read.add(der.clone()).is_err() {
                problems.push(broken(link.line));
            }
            if may_sign {
                roots.extend(read.roots);
            }
            all.push(Authority {
                subject: shown(link.parsed.subject()),
                not_after: link.parsed.validity().not_after.timestamp(),
                fingerprint: bytes(&digest(&SHA256, &der)),
                der,
            });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        all.sort_by_key(|authority| authority.fingerprint);
        let mut digest = digest::Context::new(&SHA256);
        for authority in &all {
            digest.update(&authority.fingerprint);
        }
        Ok(Self {
            all,
            roots: Arc::new(roots),
            digest: bytes(&digest.finish()),
        })
    }

    /// Never empty.
    pub fn all(&self) -> &[Authority] {
        &self.all
    }

    /// Those that may sign, as the engine takes them.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// What a certificate is worth that is one of them itself; `None`: it is not. It needs no chain: somebody wrote
    /// down this very one. Such certificates often say of themselves that they are authorities (`openssl req
    /// -x509` makes them so), which the engine takes of nobody who signs handshakes.
    pub fn judge_own(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), CertificateError>> {
        let mut all = self.all.iter();
        let is_own = all.any(|authority| authority.der == *certificate);
        is_own.then(|| in_time(certificate, now))
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.validity();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if seconds < from {
        let not_before = at(from);
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    if seconds > to {
        let not_after = at(to);
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        });
    }
    Ok(())
}

fn private_key(block: &Block<'_>) -> Option<Problem> {
    key::is_key(block.label).then(|| {
        Problem::new(
            "unwanted-key",
            format!("has a private key (line {})", block.line),
            "authorities are believed without it: take it out, and keep it where nobody reads it",
        )
    })
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.iter();
        let shown = all.map(|authority| (&authority.subject, authority.fingerprint()));
        f.debug_list().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::certs::{self, Leaf};

    fn read(pem: &str) -> Authorities {
        Authorities::read(pem).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    #[track_caller]
    fn refused(pem: &str, expected: &[(&str, &str)]) {
        let problems = Authorities::read(pem).unwrap_err();
        let told: Vec<_> = problems
            .iter()
            .map(|p| (p.code, p.message.as_str()))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn certificates_are_taken_in_any_order_and_whatever_stands_between() {
        let (one, two) = (certs::Authority::root("one"), certs::Authority::root("two"));
        let both = read(&(one.pem() + &two.pem()));
        let subjects = |all: &Authorities| {
            let mut subjects: Vec<_> = all.all().iter().map(|a| a.subject.clone()).collect();
            subjects.sort();
            subjects
        };
        assert_eq!(subjects(&both), ["CN=one", "CN=two"]);
        assert_eq!(both.roots().len(), 2);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(certs::now() as u64));
        assert_eq!(both.judge_own(&one.der(), now), Some(Ok(())));
        assert_eq!(read(&two.pem()).judge_own(&one.der(), now), None);
        let written = format!(
            "first\n{}\nand # second\n{}{}",
            two.pem(),
            one.pem(),
            two.pem()
        );
        for text in [written.clone(), written.replace('\n', "\r\n")] {
            assert_eq!(read(&text), both);
        }
        assert_ne!(read(&one.pem()), both);
        // One that is no authority is believed about itself.
        let alone = Leaf::of(&["app.test"]).alone();
        assert_eq!(subjects(&read(&alone.cert)), ["CN=a leaf"]);
        let print = certs::openssl(&["x509", "-noout", "-fingerprint", "-sha256"], &one.pem());
        let print = print
            .trim()
            .rsplit('=')
            .next()
            .unwrap()
            .replace(':', "")
            .to_lowercase();
        assert_eq!(read(&one.pem()).all()[0].fingerprint(), print);
    }

    #[test]
    fn what_is_no_authority_is_refused_and_all_of_it_told() {
        let one = certs::Authority::root("one").pem();
        let leaf = Leaf::of(&["app.test"]).alone();
        refused("/etc/ca.pem", &[("no-certificate", "has no PEM in it")]);
        refused(
            "-----BEGIN DH PARAMETERS-----\nMA==\n-----END DH PARAMETERS-----",
            &[("no-certificate", "has no certificate")],
        );
        let key_line = one.lines().count() + 1;
        let has_key = format!("has a private key (line {key_line})");
        refused(&(one.clone() + &leaf.key), &[("unwanted-key", &has_key)]);
        refused(&leaf.key, &[("unwanted-key", "has a private key (line 1)")]);
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nMAA=\n";
        refused(
            &format!("{broken}{}{cut}", leaf.key),
            &[
                (
                    "bad-pem",
                    &format!(
                        "has a CERTIFICATE at line {} without its end",
                        leaf.key.lines().count() + 4
                    ),
                ),
                ("unwanted-key", "has a private key (line 4)"),
                (
                    "bad-certificate",
                    "has a certificate at line 1 that is broken",
                ),
            ],
        );
        refused(
            &one.repeat(AUTHORITIES + 1),
            &[("too-many", "has 101 certificates")],
        );
        let long = format!("{one}{}", " ".repeat(BUNDLE_BYTES));
        refused(&long, &[("too-big", &format!("has {} bytes", long.len()))]);
    }

    #[test]
    fn no_cut_or_changed_text_panics() {
        let one = certs::Authority::root("one").pem();
        for at in 0..one.len() {
            let _ = Authorities::read(&one[..at]);
            let mut changed = one.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let _ = Authorities::read(std::str::from_utf8(&changed).unwrap());
        }
    }
}
