//! Sealed values: text in the key tree that only those can read who have the key file.
//!
//! `sealed:v1:<key id>:<base64>`, where the base64 is a nonce of 12 bytes, the ciphertext, and a tag of 16.
//! The cipher is AES-256-GCM-SIV (RFC 8452) with random nonces: should one ever come twice under one
//! key, nothing is told but whether two values are equal. The key id is the beginning of a hash of the key; it
//! says which of several keys to take and nothing about it.
//!
//! **A value is sealed for a place**, a key or a directory of keys, which goes into what is authenticated.
//! Who can write keys and read none could else have anything shown to him: a private key that is copied to
//! where error pages are would be served to the next client.
//!
//! Pure, but for the engine's random numbers. [`Opener`] is the one place where values are opened, between the
//! stores and the templates; the saved config is sealed as well, see `app/lastgood.rs`.

mod opener;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub use opener::Opener;

use crate::diag::quoted;

/// What every sealed text begins with, whatever its form.
const MARK: &str = "sealed:";

/// The one form that there is.
const FORM: &str = "v1";

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// Where a sealed text belongs.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A key; with a slash at its end all keys below it; empty: all keys there are.
    Keys(&'a str),
    /// A unit of the saved config.
    Saved(&'a str),
    /// The keys of session tickets, beside the key tree.
    Tickets,
}

/// The keys of a key file, the newest first. Cheap to clone. Without any, nothing can be sealed or opened.
#[derive(Clone, Default)]
pub struct SealKeys(Arc<[SealKey]>);

struct SealKey {
    id: String,
    key: RandomizedNonceKey,
}

/// Why a text was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("there is no seal key")]
    NoKey,
    #[error("the system gives no random numbers")]
    Engine,
}

/// Why a sealed text was not opened. To follow "it is sealed".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("and there is no seal key file; --seal-key-file names it")]
    NoKeys,
    #[error("with key {0}, which the seal key file does not have")]
    UnknownKey(String),
    #[error("in form {0}, which is not known here")]
    UnknownForm(String),
    #[error("and is no whole sealed text; it was cut or changed")]
    Cut,
    #[error("and was changed, or is sealed for another place than {0}")]
    Foreign(String),
}

/// Whether a text is meant to be a sealed one. A cut or foreign one is too: it is nobody's plain text.
pub fn is_sealed(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(MARK.as_bytes())
}

/// A new key as a line of a key file.
pub fn new_key_line() -> Result<String, SealError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| SealError::Engine)?;
    Ok(BASE64_STANDARD.encode(key))
}

impl SealKeys {
    /// Reads a key file: 32 bytes in base64 on each line, the newest first; empty lines and those that begin
    /// with `#` do not count. The reason shows nothing of a line.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(at, line)| {
            let bytes = BASE64_STANDARD.decode(line).unwrap_or_default();
            SealKey::new(&bytes).ok_or_else(|| {
                format!(
                    "line {} is no seal key: it is {KEY_BYTES} bytes in base64",
                    at + 1
                )
            })
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        match keys.is_empty() {
            true => Err("has no key; pointsman seal --new-key writes one into it".to_owned()),
            false => Ok(Self(keys.into())),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What sealed texts call the keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// Seals with the newest key, for a place.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<String, SealError> {
        let newest = self.0.first().ok_or(SealError::NoKey)?;
        let mut text = plain.to_vec();
        let nonce = newest
            .key
            .seal_in_place_append_tag(Aad::from(place.bound()), &mut text)
            .map_err(|_| SealError::Engine)?;
        let bytes = [nonce.as_ref().as_slice(), &text].concat();
        let (id, base64) = (&newest.id, BASE64_STANDARD.encode(bytes));
        Ok(format!("{MARK}{FORM}:{id}:{base64}"))
    }

    /// Opens what was sealed for this place, or for a directory that it is in.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let text = std::str::from_utf8(sealed)
            .map_err(|_| OpenError::Cut)?
            .trim();
        let rest = text.strip_prefix(MARK).ok_or(OpenError::Cut)?;
        let (form, rest) = rest.split_once(':').ok_or(OpenError::Cut)?;
        if form != FORM {
            return Err(OpenError::UnknownForm(quoted(form)));
        }
        let (id, base64) = rest.split_once(':').ok_or(OpenError::Cut)?;
        if self.is_empty() {
            return Err(OpenError::NoKeys);
        }
        // Two keys of one id are possible, if hardly.
        let mut keys = self.0.iter().filter(|key| key.id == id).peekable();
        if keys.peek().is_none() {
            return Err(OpenError::UnknownKey(quoted(id)));
        }
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| OpenError::Cut)?;
        let Some((nonce, text)) = bytes.split_first_chunk::<NONCE_LEN>() else {
            return Err(OpenError::Cut);
        };
        if text.len() < TAG_BYTES {
            return Err(OpenError::Cut);
        }
        for key in keys {
            for bound in place.all_bounds() {
                let mut text = text.to_vec();
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let opened = key.key.open_in_place(nonce, Aad::from(bound), &mut text);
                if let Ok(plain) = opened {
                    return Ok(plain.to_vec());
                }
            }
        }
        Err(OpenError::Foreign(quoted(place.name())))
    }
}

/// The ids and never the keys.
impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// By their ids, which stand for the keys.
impl PartialEq for SealKeys {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl SealKey {
    fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != KEY_BYTES {
            return None;
        }
        let hash = digest(&SHA256, &[b"pointsman seal key\0", bytes].concat());
        let id = hash
            .as_ref()
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"));
        Some(Self {
            id: id.collect(),
            key: RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes).ok()?,
        })
    }
}

impl Place<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Keys(name) | Self::Saved(name) => name,
            Self::Tickets => "tickets",
        }
    }

    /// What is authenticated along with the text.
    fn bound(&self) -> Vec<u8> {
        let kind = match self {
            Self::Keys(_) => "keys",
            Self::Saved(_) => "saved",
            Self::Tickets => "tickets",
        };
        format!("pointsman sealed {FORM} {kind}\0{}", self.name()).into_bytes()
    }

    /// For itself, and for every directory that it is in.
    fn all_bounds(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Saved(_) | Self::Tickets => vec![self.bound()],
            Self::Keys(key) => {
                let slashes = key.rmatch_indices('/').map(|(at, _)| &key[..=at]);
                let places = std::iter::once(*key).chain(slashes).chain([""]);
                places.map(|place| Place::Keys(place).bound()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
