//! From certificates in any order to the leaf and the chain above it.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::Problem;
use super::key::PrivateKey;
use crate::diag::quoted;

/// One certificate of the bundle, read.
pub(super) struct Link<'a> {
    pub(super) parsed: X509Certificate<'a>,
    /// Where its block begins.
    pub(super) line: usize,
}

impl Link<'_> {
    /// How messages call it: by its first host name, which people know it by, or by its subject.
    fn shown(&self) -> String {
        let list = self.parsed.subject_alternative_name().ok().flatten();
        let host = list.and_then(|list| {
            let mut names = list.value.general_names.iter();
            names.find_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
        });
        let name = host.unwrap_or_else(|| self.parsed.subject().to_string());
        format!("{} (line {})", quoted(&name), self.line)
    }

    /// What the certificate itself says: may it sign others. `None`: nothing, as in the first version.
    fn may_sign(&self) -> Option<bool> {
        let constraints = self.parsed.basic_constraints().ok().flatten();
        constraints.map(|constraints| constraints.value.ca)
    }

    fn is_self_signed(&self) -> bool {
        self.parsed.subject().as_raw() == self.parsed.issuer().as_raw()
    }

    /// Whether `self` signed `other`, as far as names and key identifiers tell: an authority that
    /// renewed its key keeps its name.
    fn issued(&self, other: &Link<'_>) -> bool {
        if self.may_sign() == Some(false)
            || self.parsed.subject().as_raw() != other.parsed.issuer().as_raw()
        {
            return false;
        }
        match (self.own_id(), other.issuer_id()) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        }
    }

    fn own_id(&self) -> Option<&[u8]> {
        let extensions = self.parsed.extensions().iter();
        extensions
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            })
            .next()
    }

    fn issuer_id(&self) -> Option<&[u8]> {
        let extensions = self.parsed.extensions().iter();
        extensions
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0)
                }
                _ => None,
            })
            .next()
    }
}

/// The places of `links` in the order in which they are sent: the leaf, who signed it, who signed that.
///
/// What belongs to no chain is left out with a warning if it is an authority: files of authorities
/// carry cross-signed ones and old roots, and a good certificate must not stay out for them. A leaf
/// that is not the key's is refused: somebody thinks that it is served.
pub(super) fn order(
    links: &[Link<'_>],
    key: &PrivateKey,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<usize>, Problem> {
    let fits = |link: &Link<'_>| link.parsed.public_key().raw == key.public.as_slice();
    let mut leaves = (0..links.len()).filter(|at| fits(&links[*at]));
    let split =
        "one bundle is one certificate: write the other one with its key as a bundle of its own";
    let Some(leaf) = leaves.next() else {
        let shown: Vec<_> = links.iter().take(4).map(Link::shown).collect();
        return Err(Problem::new(
            "wrong-key",
            format!(
                "has a private key ({}) that belongs to none of its certificates: {}",
                key.kind,
                shown.join(", ")
            ),
            "write the certificate together with the key that it was asked for with",
        ));
    };
    if let Some(second) = leaves.next() {
        return Err(Problem::new(
            "two-leaves",
            format!(
                "has two certificates for one private key: {} and {}",
                links[leaf].shown(),
                links[second].shown()
            ),
            "keep the newer one",
        ));
    }
    let mut chain = vec![leaf];
    let mut rest: Vec<usize> = (0..links.len()).filter(|at| *at != leaf).collect();
    while let Some(last) = chain.last().map(|at| &links[*at]) {
        if last.is_self_signed() {
            break;
        }
        let Some(next) = rest.iter().position(|at| links[*at].issued(last)) else {
            break;
        };
        chain.push(rest.remove(next));
    }
    for link in rest.iter().map(|at| &links[*at]) {
        if link.may_sign() != Some(true) {
            return Err(Problem::new(
                "two-leaves",
                format!(
                    "has two certificates that are no authorities: {}, which is the private key's, and {}",
                    links[leaf].shown(),
                    link.shown()
                ),
                split,
            ));
        }
        warnings.push(Problem::new(
            "unused-certificate",
            format!(
                "has a certificate that signed none of the others: {}",
                link.shown()
            ),
            "it is not sent; remove it",
        ));
    }
    Ok(chain)
}
