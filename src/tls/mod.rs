//! What TLS needs to be told: certificates, read from text and judged.
//!
//! Pure: no sockets, no files, no clock, no tasks. What time it is, is an argument; a trial handshake
//! runs in memory. Who listens, and which certificate a client sees, is decided elsewhere.
//!
//! The private key is in one place, [`Certificate::key`] (with the feature `legacy-tls` also in what it gives
//! to OpenSSL), and nothing here shows it: not in `Debug`, not in a [`Problem`].

mod authorities;
mod bundles;
mod certificate;
mod chain;
mod clients;
pub mod hello;
mod key;
#[cfg(feature = "legacy-tls")]
pub mod legacy;
mod name;
mod pem;
pub mod suites;
#[cfg(test)]
pub(crate) mod tests;
pub mod tickets;
mod trial;

pub use authorities::{Authorities, Authority};
pub use bundles::bundles;
pub use certificate::{Certificate, End, Validity, time_text};
pub use clients::{Clients, Identity};
pub use key::{Curve, KeyType};
pub use trial::verify_signature;

/// A bundle may have this many bytes. With its line breaks escaped it still fits into a unit's text.
pub const BUNDLE_BYTES: usize = 128 * 1024;
/// And this many certificates: no chain has more than five, and each costs a parse.
pub const CERTIFICATES: usize = 16;
/// Certificates that a peer may show, its own among them. Which of them leads where is tried in every order, and the
/// cost of that grows beyond all bounds; real chains have three.
pub const SHOWN: usize = 6;
/// Authorities of one text: those of a whole system are some hundred, and they are the default.
pub const AUTHORITIES: usize = 100;
/// Names of one certificate. Each is an entry in the tables; authorities sign some hundred at most.
pub const NAMES: usize = 1_000;
/// RSA keys below are refused: 1024 bits are broken by those who want to, and no browser takes them.
pub const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// What is wrong with a bundle, or worth telling about it. The message is to follow what the bundle is
/// called: `has no private key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable and short, for scripts.
    pub code: &'static str,
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: help.into(),
        }
    }
}
