//! Cipher suites: all that can be served, in the order in which a server prefers them, and sets of them.
//!
//! Those that `rustls` has are AEAD with ECDHE. The others are *legacy*: without forward secrecy, or with
//! a MAC before the encryption. [`served_beyond_rustls`] says which of them this build serves.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// As it stands on the wire.
    pub code: u16,
    /// As OpenSSL, and so everybody who writes lists, calls it.
    pub name: &'static str,
    /// As the registry calls it.
    pub iana: &'static str,
    pub exchange: Exchange,
    pub auth: Auth,
    pub cipher: Cipher,
    pub mac: Mac,
}

/// How both sides come to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// TLS 1.3: the suite does not say.
    Any,
    Ecdhe,
    /// Static: whoever gets the key reads what was recorded before.
    Rsa,
}

/// The kind of key in the certificate that it goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// TLS 1.3: the suite does not say.
    Any,
    /// With Ed25519.
    Ecdsa,
    Rsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20,
    Aes128Cbc,
    Aes256Cbc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    Aead,
    Sha1,
    Sha256,
    Sha384,
}

impl Suite {
    pub fn is_tls13(&self) -> bool {
        self.exchange == Exchange::Any
    }

    /// Whether `rustls` does not have it, and never will.
    pub fn is_legacy(&self) -> bool {
        self.exchange == Exchange::Rsa || self.mac != Mac::Aead
    }

    pub fn of_code(code: u16) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.code == code)
    }
}

/// The best first.
pub const SUITES: &[Suite] = {
    use Auth as A;
    use Cipher as C;
    use Exchange as E;
    use Mac as M;
    const fn suite(
        code: u16,
        name: &'static str,
        iana: &'static str,
        (exchange, auth, cipher, mac): (Exchange, Auth, Cipher, Mac),
    ) -> Suite {
        Suite {
            code,
            name,
            iana,
            exchange,
            auth,
            cipher,
            mac,
        }
    }
    &[
        suite(
            0x1302,
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_256_GCM_SHA384",
            (E::Any, A::Any, C::Aes256Gcm, M::Aead),
        ),
        suite(
            0x1301,
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_128_GCM_SHA256",
            (E::Any, A::Any, C::Aes128Gcm, M::Aead),
        ),
        suite(
            0x1303,
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            (E::Any, A::Any, C::ChaCha20, M::Aead),
        ),
        suite(
            0xc02c,
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            (E::Ecdhe, A::Ecdsa, C::Aes256Gcm, M::Aead),
        ),
        suite(
            0xc02b,
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            (E::Ecdhe, A::Ecdsa, C::Aes128Gcm, M::Aead),
        ),
        suite(
            0xcca9,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            (E::Ecdhe, A::Ecdsa, C::ChaCha20, M::Aead),
        ),
        suite(
            0xc030,
            "ECDHE-RSA-AES256-GCM-SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            (E::Ecdhe, A::Rsa, C::Aes256Gcm, M::Aead),
        ),
        suite(
            0xc02f,
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            (E::Ecdhe, A::Rsa, C::Aes128Gcm, M::Aead),
        ),
        suite(
            0xcca8,
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            (E::Ecdhe, A::Rsa, C::ChaCha20, M::Aead),
        ),
        suite(
            0xc024,
            "ECDHE-ECDSA-AES256-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
            (E::Ecdhe, A::Ecdsa, C::Aes256Cbc, M::Sha384),
        ),
        suite(
            0xc023,
            "ECDHE-ECDSA-AES128-SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
            (E::Ecdhe, A::Ecdsa, C::Aes128Cbc, M::Sha256),
        ),
        suite(
            0xc028,
            "ECDHE-RSA-AES256-SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
            (E::Ecdhe, A::Rsa, C::Aes256Cbc, M::Sha384),
        ),
        suite(
            0xc027,
            "ECDHE-RSA-AES128-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
            (E::Ecdhe, A::Rsa, C::Aes128Cbc, M::Sha256),
        ),
        suite(
            0xc00a,
            "ECDHE-ECDSA-AES256-SHA",
            "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
            (E::Ecdhe, A::Ecdsa, C::Aes256Cbc, M::Sha1),
        ),
        suite(
            0xc009,
            "ECDHE-ECDSA-AES128-SHA",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
            (E::Ecdhe, A::Ecdsa, C::Aes128Cbc, M::Sha1),
        ),
        suite(
            0xc014,
            "ECDHE-RSA-AES256-SHA",
            "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
            (E::Ecdhe, A::Rsa, C::Aes256Cbc, M::Sha1),
        ),
        suite(
            0xc013,
            "ECDHE-RSA-AES128-SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            (E::Ecdhe, A::Rsa, C::Aes128Cbc, M::Sha1),
        ),
        suite(
            0x009d,
            "AES256-GCM-SHA384",
            "TLS_RSA_WITH_AES_256_GCM_SHA384",
            (E::Rsa, A::Rsa, C::Aes256Gcm, M::Aead),
        ),
        suite(
            0x009c,
            "AES128-GCM-SHA256",
            "TLS_RSA_WITH_AES_128_GCM_SHA256",
            (E::Rsa, A::Rsa, C::Aes128Gcm, M::Aead),
        ),
        suite(
            0x003d,
            "AES256-SHA256",
            "TLS_RSA_WITH_AES_256_CBC_SHA256",
            (E::Rsa, A::Rsa, C::Aes256Cbc, M::Sha256),
        ),
        suite(
            0x003c,
            "AES128-SHA256",
            "TLS_RSA_WITH_AES_128_CBC_SHA256",
            (E::Rsa, A::Rsa, C::Aes128Cbc, M::Sha256),
        ),
        suite(
            0x0035,
            "AES256-SHA",
            "TLS_RSA_WITH_AES_256_CBC_SHA",
            (E::Rsa, A::Rsa, C::Aes256Cbc, M::Sha1),
        ),
        suite(
            0x002f,
            "AES128-SHA",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            (E::Rsa, A::Rsa, C::Aes128Cbc, M::Sha1),
        ),
    ]
};

/// A set of them: a bit for each place in [`SUITES`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Suites(u32);

impl Suites {
    pub const NONE: Self = Self(0);

    pub fn that(fit: impl Fn(&Suite) -> bool) -> Self {
        let fitting = SUITES.iter().filter(|suite| fit(suite));
        fitting.fold(Self::NONE, |all, suite| all.with(suite.code))
    }

    /// What `rustls` has.
    pub fn strict() -> Self {
        Self::that(|suite| !suite.is_legacy())
    }

    /// Those, and what clients that are ten years old can do: CBC with SHA-1, and RSA without ECDHE.
    pub fn compatible() -> Self {
        const MORE: [u16; 6] = [0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035];
        Self::strict().or(Self::that(|suite| MORE.contains(&suite.code)))
    }

    pub fn tls13() -> Self {
        Self::that(Suite::is_tls13)
    }

    /// A code that is none of [`SUITES`] changes nothing.
    #[must_use]
    pub fn with(self, code: u16) -> Self {
        match SUITES.iter().position(|suite| suite.code == code) {
            Some(at) => Self(self.0 | 1 << at),
            None => self,
        }
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those among them that `rustls` does not have.
    #[must_use]
    pub fn legacy(self) -> Self {
        self.without(Self::strict())
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, code: u16) -> bool {
        !self.and(Self::NONE.with(code)).is_empty()
    }

    /// In the order of [`SUITES`].
    pub fn iter(self) -> impl Iterator<Item = &'static Suite> {
        let all = SUITES.iter().enumerate();
        all.filter_map(move |(at, suite)| (self.0 & 1 << at != 0).then_some(suite))
    }

    /// As they stand in a list of OpenSSL's.
    pub fn names(self, between: &str) -> String {
        let names: Vec<_> = self.iter().map(|suite| suite.name).collect();
        names.join(between)
    }
}

/// As `ssl_ciphers` would have it.
impl fmt::Display for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            all if all == Self::strict() => f.write_str("strict"),
            all if all == Self::compatible() => f.write_str("compatible"),
            all => f.write_str(&all.names(":")),
        }
    }
}

impl fmt::Debug for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Legacy suites that this build can serve, with the library that it finds here.
#[cfg(feature = "legacy-tls")]
pub fn served_beyond_rustls() -> Suites {
    super::legacy::served()
}

/// Legacy suites that this build can serve: none, for want of the feature.
#[cfg(not(feature = "legacy-tls"))]
pub fn served_beyond_rustls() -> Suites {
    Suites::NONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_are_the_lists_that_they_promise() {
        let of_tls12 = |suites: Suites| suites.without(Suites::tls13());
        assert_eq!(of_tls12(Suites::strict()).iter().count(), 6);
        assert_eq!(of_tls12(Suites::compatible()).iter().count(), 12);
        assert_eq!(Suites::tls13().iter().count(), 3);
        let beyond = Suites::compatible().legacy();
        assert_eq!(
            beyond.names(" "),
            "ECDHE-RSA-AES256-SHA ECDHE-RSA-AES128-SHA AES256-GCM-SHA384 AES128-GCM-SHA256 \
             AES256-SHA AES128-SHA"
        );
        assert!(!Suites::strict().has(0x002f) && Suites::compatible().has(0x002f));
        assert!(!Suites::compatible().has(0xc009));
    }

    #[test]
    fn what_is_not_legacy_is_what_rustls_has() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let codes = provider.cipher_suites.iter().map(|s| u16::from(s.suite()));
        let theirs = codes.fold(Suites::NONE, Suites::with);
        assert_eq!(theirs, Suites::strict());
        assert_eq!(provider.cipher_suites.len(), theirs.iter().count());
    }

    #[test]
    fn codes_and_names_are_unique() {
        for (at, suite) in SUITES.iter().enumerate() {
            let others = &SUITES[at + 1..];
            let is_same = |other: &Suite| {
                other.code == suite.code || other.name == suite.name || other.iana == suite.iana
            };
            assert!(!others.iter().any(is_same), "{suite:?}");
            assert_eq!(Suite::of_code(suite.code), Some(suite));
        }
    }
}
