//! Clients that show certificates: whose are believed, and who they say they are.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DistinguishedName};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::certificate::{bytes, hex, time_text};
use super::{Authorities, Problem, SHOWN};

/// Whose clients are believed. Equal if the authorities are.
pub struct Clients {
    authorities: Authorities,
    /// By those of them that may sign, if there are any.
    by_chain: Option<Arc<dyn ClientCertVerifier>>,
}

impl Clients {
    /// Reads the certificates of those who sign clients'.
    pub fn read(pem: &str) -> Result<Self, Vec<Problem>> {
        let authorities = Authorities::read(pem)?;
        let roots = authorities.roots().clone();
        let provider = Arc::new(default_provider());
        let build = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider).build();
        let by_chain = (!roots.is_empty()).then(build).transpose();
        let by_chain = by_chain.map_err(|error| {
            vec![Problem::new(
                "bad-certificate",
                format!("cannot be used: {error}"),
                "copy the whole file again, as it is",
            )]
        })?;
        Ok(Self {
            authorities,
            by_chain,
        })
    }

    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// What a client is told when it is asked, so that it finds the right one of its certificates.
    pub fn hints(&self) -> &[DistinguishedName] {
        match &self.by_chain {
            Some(by_chain) => by_chain.root_hint_subjects(),
            None => &[],
        }
    }

    /// Whether a chain, leaf first, leads to one of the authorities and is good now, in seconds since 1970. That
    /// its client has the key is a matter of the handshake. Costs some signatures.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<(), String> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err("no certificate".to_owned());
        };
        if chain.len() > SHOWN {
            return Err(format!("more than {SHOWN} certificates"));
        }
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        if let Some(judged) = self.authorities.judge_own(leaf, now) {
            let judged = judged.and_then(|()| is_for_clients(leaf));
            return judged.map_err(|error| reason(&error));
        }
        let Some(by_chain) = &self.by_chain else {
            return Err(reason(&CertificateError::UnknownIssuer));
        };
        match by_chain.verify_client_cert(leaf, others, now) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(error)) => Err(reason(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Nobody asks the engine about a certificate that is taken as it is.
fn is_for_clients(leaf: &CertificateDer<'_>) -> Result<(), CertificateError> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    match parsed.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => Ok(()),
        _ => Err(CertificateError::InvalidPurpose),
    }
}

/// In words for the log.
fn reason(error: &CertificateError) -> String {
    use CertificateError as E;
    let time = |time: &UnixTime| time_text(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    match error {
        E::UnknownIssuer => "a certificate signed by nobody in ssl_client_ca".to_owned(),
        E::ExpiredContext { not_after, .. } => {
            format!("a certificate that is over since {}", time(not_after))
        }
        E::NotValidYetContext { not_before, .. } => {
            format!(
                "a certificate that is not valid before {}",
                time(not_before)
            )
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "a certificate that is not for clients".to_owned()
        }
        E::Other(error) if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "the certificate of an authority, which is no client's".to_owned()
        }
        other => format!("a certificate that is not taken: {other}"),
    }
}

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }
}

impl Eq for Clients {}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authorities.fmt(f)
    }
}

/// Who a client's certificate says that it is, as applications are told. Every text is of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RFC 4514, the most specific part first: `CN=anna,O=Example`.
    pub subject: String,
    /// Of the subject, the most specific one; empty without one.
    pub common_name: String,
    /// The same as it stands in the certificate, whatever letters it has.
    pub raw_common_name: String,
    /// RFC 4514.
    pub issuer: String,
    /// Hexadecimal, uppercase, as OpenSSL writes it.
    pub serial: String,
    /// SHA-256 of the certificate, hexadecimal, lowercase.
    pub fingerprint: String,
    /// The certificate as RFC 9440 has it: base64 between colons.
    pub certificate: String,
}

impl Identity {
    /// `None`: the certificate cannot be read.
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let subject = parsed.subject();
        let common_name = subject.iter_common_name().last();
        let serial = hex(parsed.tbs_certificate.raw_serial()).to_uppercase();
        Some(Self {
            subject: rfc4514(subject),
            raw_common_name: common_name
                .and_then(|pair| pair.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            common_name: common_name.map(value).unwrap_or_default(),
            issuer: rfc4514(parsed.issuer()),
            serial: match serial.strip_prefix("00") {
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => serial,
            },
            fingerprint: hex(&bytes(&digest(&SHA256, leaf))),
            certificate: format!(":{}:", BASE64_STANDARD.encode(leaf)),
        })
    }
}

/// How a client's certificate calls it: the common name, else the first name of DNS or e-mail. `None`: by no name, or by
/// one that cannot be shown.
pub fn client_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let common_name = parsed.subject().iter_common_name().last();
    let common_name = common_name.and_then(|pair| pair.as_str().ok());
    let alternative = || {
        let names = parsed.subject_alternative_name().ok()??;
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some(*name),
                _ => None,
            })
    };
    let name = common_name
        .filter(|name| !name.is_empty())
        .or_else(alternative)?;
    let is_fit = name.len() <= 255 && !name.chars().any(char::is_control);
    is_fit.then(|| name.to_owned())
}

/// The last part first, as RFC 4514 (2.1) has it.
fn rfc4514(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let pairs = part
            .iter()
            .map(|pair| format!("{}={}", key(pair), value(pair)));
        pairs.collect::<Vec<_>>().join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Short names of RFC 4514 (3) and of the mail address, which many have; of others the number.
fn key(pair: &AttributeTypeAndValue<'_>) -> String {
    let oid = pair.attr_type().to_id_string();
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return oid,
    };
    short.to_owned()
}

/// Escaped as RFC 4514 (2.4) has it, and all that is no visible ASCII byte by byte: the value goes into a
/// field of a head, and no name may end it.
fn value(pair: &AttributeTypeAndValue<'_>) -> String {
    let Ok(text) = pair.as_str() else {
        return format!("#{}", hex(pair.as_slice()));
    };
    let last = text.len().saturating_sub(1);
    let mut escaped = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let is_edge = at == 0 || at == last;
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                escaped.push('\\');
                escaped.push(char::from(byte));
            }
            b'#' if at == 0 => escaped.push_str("\\#"),
            b' ' if is_edge => escaped.push_str("\\ "),
            b' '..=b'~' => escaped.push(char::from(byte)),
            _ => escaped += &format!("\\{byte:02X}"),
        }
    }
    escaped
}
