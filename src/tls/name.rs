//! The names that a certificate is good for, as clients ask for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{NAMES, Problem};
use crate::diag::quoted;

/// Names in the order of the certificate, lowercase, each once; and a warning for each that no request
/// can be led by. The common name counts where there is no list of names: long ago that was the place.
pub(super) fn names(
    certificate: &X509Certificate<'_>,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<Box<str>>, Problem> {
    let list = certificate.subject_alternative_name().map_err(|_| {
        Problem::new(
            "bad-certificate",
            "has a certificate whose list of names is broken",
            "get the certificate signed again",
        )
    })?;
    let mut found: Vec<Result<Box<str>, String>> = Vec::new();
    match &list {
        Some(list) => {
            for name in &list.value.general_names {
                match name {
                    GeneralName::DNSName(name) => found.push(host(name)),
                    GeneralName::IPAddress(bytes) => found.push(address(bytes)),
                    GeneralName::Invalid(_, bytes) => {
                        found.push(Err(quoted(&String::from_utf8_lossy(bytes))));
                    }
                    // Mail addresses, URIs and the like are not for us.
                    _ => {}
                }
            }
        }
        None => {
            let subject = certificate.subject();
            found.extend(subject.iter_common_name().map(|name| match name.as_str() {
                Ok(name) => host(name),
                Err(_) => Err(quoted(&String::from_utf8_lossy(name.as_slice()))),
            }));
        }
    }
    if found.len() > NAMES {
        return Err(Problem::new(
            "too-many",
            format!("has a certificate with {} names", found.len()),
            format!("it may have {NAMES}; share them out among more certificates"),
        ));
    }
    let mut names = Vec::new();
    let mut odd = Vec::new();
    for name in found {
        match name {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(shown) => odd.push(shown),
        }
    }
    const FORMS: &str = "names are www.example.com, *.example.com (a whole label) and addresses";
    if names.is_empty() {
        let (message, help) = match (odd.first(), list.is_some()) {
            (Some(odd), _) => (
                format!("has a certificate for no name that can be asked for: {odd}"),
                FORMS,
            ),
            (None, true) => (
                "has a certificate for no host name".to_owned(),
                "it names other things alone, such as mail addresses; get one with DNS names",
            ),
            (None, false) => (
                "has a certificate without a name".to_owned(),
                "get one with subjectAltName DNS names: nobody could be led to it",
            ),
        };
        return Err(Problem::new("no-name", message, help));
    }
    warnings.extend(odd.iter().take(10).map(|odd| {
        Problem::new(
            "odd-name",
            format!("has a certificate for {odd} too, which nobody can ask for"),
            FORMS,
        )
    }));
    Ok(names)
}

/// A host name as the tables have it, or how a message shows what is none.
fn host(name: &str) -> Result<Box<str>, String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inside)
    };
    // Also `*.local`, which no authority signs, but people do for themselves.
    let rest = bare.strip_prefix("*.").unwrap_or(bare);
    // An address among DNS names is one in the wrong place; long ago tools wrote them so.
    match bare.len() <= 253 && rest.split('.').all(is_label) {
        true => Ok(bare.to_ascii_lowercase().into()),
        false => Err(quoted(name)),
    }
}

fn address(bytes: &[u8]) -> Result<Box<str>, String> {
    let address = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => IpAddr::from(Ipv4Addr::from(four)),
        (_, Ok(sixteen)) => IpAddr::from(Ipv6Addr::from(sixteen)),
        _ => return Err(format!("an address of {} bytes", bytes.len())),
    };
    Ok(address.to_string().into())
}
