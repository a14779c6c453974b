//! Passwords as crypt(3) and htpasswd write them: read once, with bounds on what checking one may
//! cost, and verified against what a client sends.
//!
//! | form | by | bounds |
//! |---|---|---|
//! | `$1$`, `$apr1$` | MD5, 1000 rounds | - |
//! | `$5$`, `$6$` | SHA-256, SHA-512 | [`MOST_ROUNDS`] |
//! | `$2a$`, `$2b$`, `$2y$` | bcrypt | [`MOST_BCRYPT_COST`] |
//! | `$y$` | yescrypt as `mkpasswd` writes it | [`MOST_YESCRYPT_MEMORY`] |
//! | `{SHA}` | SHA-1 without a salt | - |
//! | written openly | | - |
//!
//! Not in here: DES crypt, whose hashes cover 8 characters, and whatever has no name above. A secret
//! never shows itself: its `Debug` says only what form it has.
//!
//! Verifying is slow on purpose, up to a second: callers that serve others do it on a thread of its own
//! unless [`Secret::is_cheap`].

mod md5;
mod sha;
#[cfg(test)]
mod tests;
mod yescrypt;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Rounds of `$5$` and `$6$`: 5000 unless they say otherwise. As many as this are a fifth of a second
/// where the processor knows SHA, a second elsewhere.
pub const MOST_ROUNDS: u32 = 1_000_000;
pub const LEAST_ROUNDS: u32 = 1_000;

/// bcrypt's cost, a power of two: 12 is a fifth of a second, 14 is four times that.
pub const MOST_BCRYPT_COST: u32 = 14;

/// Bytes that checking one yescrypt hash fills. `mkpasswd` uses 16 MiB.
pub const MOST_YESCRYPT_MEMORY: u64 = 64 << 20;

/// Bytes of a password. libxcrypt stops here too, and the SHA forms take time by its square.
pub const LONGEST: usize = 512;

/// What a password has to match.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// The SHA-256 of a password that was written openly: digests are compared, so that no comparison
    /// depends on how long or how far right a guess is.
    Plain([u8; 32]),
    Sha1([u8; 20]),
    Md5(md5::Hash),
    Sha(sha::Hash),
    /// The whole text, which `bcrypt` has read once.
    Bcrypt(Box<str>),
    Yescrypt(yescrypt::Hash),
}

/// Why a hash cannot be used. Says nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("looks like DES crypt")]
    Des,
    #[error("is no hash of a known form")]
    Unknown,
    #[error("is of a form that is not supported")]
    Unsupported,
    #[error("is no whole {0} hash")]
    Broken(&'static str),
    #[error("has {0} rounds")]
    Rounds(u64),
    #[error("has bcrypt cost {0}")]
    BcryptCost(u32),
    #[error("takes more memory than a password may")]
    Memory,
}

impl Unusable {
    /// What to do about it.
    pub fn help(&self) -> String {
        const FORMS: &str = "$2y$ (htpasswd -nB), $6$, $5$, $y$ (mkpasswd), $apr1$ or $1$";
        match self {
            Self::Des => format!("only its first 8 characters count; make a hash of {FORMS}"),
            Self::Unknown => format!(
                "make a hash of {FORMS}; an open password follows the word insecure-password"
            ),
            Self::Unsupported => format!("make a hash of {FORMS}"),
            Self::Broken(_) => "copy it anew; it was cut or changed on its way".to_owned(),
            Self::Rounds(_) => format!("they go from {LEAST_ROUNDS} to {MOST_ROUNDS}"),
            Self::BcryptCost(_) => {
                format!(
                    "it goes from 4 to {MOST_BCRYPT_COST}; each step doubles the time of a login"
                )
            }
            Self::Memory => format!(
                "{} MiB is the most (mkpasswd: up to -R 7)",
                MOST_YESCRYPT_MEMORY >> 20
            ),
        }
    }
}

impl Secret {
    /// A password that was written openly.
    pub fn plain(password: &str) -> Self {
        Self(Form::Plain(sha256(password.as_bytes())))
    }

    /// Whether `password` is the one. Takes up to a second unless [`Secret::is_cheap`].
    ///
    /// What no tool could have hashed (more than [`LONGEST`] bytes, or a zero byte, where C's strings
    /// end) is never right.
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST || password.contains(&0) {
            return false;
        }
        match &self.0 {
            Form::Plain(digest) => is_same(&sha256(password), digest),
            Form::Sha1(sha1) => is_same(digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref(), sha1),
            Form::Md5(hash) => hash.verify(password),
            Form::Sha(hash) => hash.verify(password),
            // Cuts at 72 bytes, as htpasswd and crypt(3) do.
            Form::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Form::Yescrypt(hash) => hash.verify(password),
        }
    }

    /// Whether verifying is a matter of microseconds.
    pub fn is_cheap(&self) -> bool {
        matches!(self.0, Form::Plain(_) | Form::Sha1(_))
    }

    /// Whether it was written openly.
    pub fn is_plain(&self) -> bool {
        matches!(self.0, Form::Plain(_))
    }

    /// Whether whoever reads the hash can try passwords at the speed of a graphics card.
    pub fn is_weak(&self) -> bool {
        matches!(self.0, Form::Sha1(_))
    }

    fn form(&self) -> &'static str {
        match self.0 {
            Form::Plain(_) => "plain",
            Form::Sha1(_) => "{SHA}",
            Form::Md5(_) => "md5-crypt",
            Form::Sha(_) => "sha-crypt",
            Form::Bcrypt(_) => "bcrypt",
            Form::Yescrypt(_) => "yescrypt",
        }
    }
}

/// Reads a hash. An open password is not one: [`Secret::plain`].
impl FromStr for Secret {
    type Err = Unusable;

    fn from_str(hash: &str) -> Result<Self, Unusable> {
        if let Some(sha1) = hash.strip_prefix("{SHA}") {
            let broken = Unusable::Broken("{SHA}");
            let bytes = STANDARD.decode(sha1).map_err(|_| broken.clone())?;
            let sha1 = bytes.try_into().map_err(|_| broken)?;
            return Ok(Self(Form::Sha1(sha1)));
        }
        let Some((id, rest)) = hash.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
            let is_des = hash.len() == 13 && hash.bytes().all(is_crypt_base64);
            return Err(if is_des || hash.starts_with('_') {
                Unusable::Des
            } else if hash.starts_with(['$', '{']) {
                Unusable::Unsupported
            } else {
                Unusable::Unknown
            });
        };
        let form = match id {
            "1" => Form::Md5(md5::Hash::parse(md5::Magic::Crypt, rest)?),
            "apr1" => Form::Md5(md5::Hash::parse(md5::Magic::Apache, rest)?),
            "5" => Form::Sha(sha::Hash::parse(sha::Width::Sha256, rest)?),
            "6" => Form::Sha(sha::Hash::parse(sha::Width::Sha512, rest)?),
            "2a" | "2b" | "2y" => Form::Bcrypt(parse_bcrypt(hash)?),
            "y" => Form::Yescrypt(yescrypt::Hash::parse(rest)?),
            _ => return Err(Unusable::Unsupported),
        };
        Ok(Self(form))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.form())
    }
}

fn parse_bcrypt(hash: &str) -> Result<Box<str>, Unusable> {
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| Unusable::Broken("bcrypt"))?;
    let cost = parts.get_cost();
    if !(4..=MOST_BCRYPT_COST).contains(&cost) {
        return Err(Unusable::BcryptCost(cost));
    }
    Ok(hash.into())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Compares in a time that does not depend on where two texts differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

const CRYPT_BASE64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn is_crypt_base64(byte: u8) -> bool {
    CRYPT_BASE64.contains(&byte)
}

/// Appends the lowest bits of `value` as `characters` of six bits, lowest first.
fn push_crypt_base64(out: &mut Vec<u8>, mut value: u32, characters: usize) {
    for _ in 0..characters {
        out.push(CRYPT_BASE64[(value & 0x3f) as usize]);
        value >>= 6;
    }
}

/// `salt$hash`, where the salt is visible ASCII of at most `longest` and the hash has `length`.
fn salt_and_hash(text: &str, longest: usize, length: usize) -> Option<(&str, &str)> {
    let (salt, hash) = text.split_once('$')?;
    let is_good = salt.len() <= longest
        && salt.bytes().all(|b| b.is_ascii_graphic())
        && hash.len() == length
        && hash.bytes().all(is_crypt_base64);
    is_good.then_some((salt, hash))
}
