//! What OpenSSL needs to be told: the same certificates in its own form, and which suites it has here.

use std::fmt;
use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContextBuilder, SslMethod};
use openssl::x509::X509;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::suites::Suites;

/// A certificate's chain and key as OpenSSL has them: references that cost nothing to pass on.
pub struct Chain {
    pub leaf: X509,
    pub above: Vec<X509>,
    pub key: PKey<Private>,
}

/// One that is made when the first client needs it. Most certificates are never asked for this way.
pub(super) struct Lazy {
    key: PrivateKeyDer<'static>,
    made: OnceLock<Result<Chain, ErrorStack>>,
}

impl Lazy {
    pub(super) fn new(key: PrivateKeyDer<'static>) -> Self {
        Self {
            key,
            made: OnceLock::new(),
        }
    }

    pub(super) fn get(&self, chain: &[CertificateDer<'_>]) -> Result<&Chain, ErrorStack> {
        let made = self.made.get_or_init(|| {
            let (leaf, above) = chain.split_first().ok_or_else(ErrorStack::get)?;
            let above = above.iter().map(|der| X509::from_der(der));
            Ok(Chain {
                leaf: X509::from_der(leaf)?,
                above: above.collect::<Result<_, _>>()?,
                key: PKey::private_key_from_der(self.key.secret_der())?,
            })
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// Never the key.
impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

/// Legacy suites that the library knows. It may have been built without some of them.
pub(super) fn served() -> Suites {
    static SERVED: OnceLock<Suites> = OnceLock::new();
    *SERVED.get_or_init(|| {
        let Ok(mut asked) = SslContextBuilder::new(SslMethod::tls_server()) else {
            return Suites::NONE;
        };
        let legacy = Suites::that(|_| true).legacy();
        let known = legacy
            .iter()
            .filter(|suite| asked.set_cipher_list(suite.name).is_ok());
        known.fold(Suites::NONE, |all, suite| all.with(suite.code))
    })
}

/// The library that is used, with its version.
pub fn version() -> &'static str {
    openssl::version::version()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legacy_suite_is_served_by_the_library_of_the_system() {
        assert_eq!(served(), Suites::that(|_| true).legacy());
    }
}
