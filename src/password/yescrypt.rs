//! `$y$`: yescrypt, the default of Debian and its kin.
//!
//! The crate that computes it is young and says so. So only what `mkpasswd` and `passwd` write is taken
//! (the flavour `j`, one lane, the two block sizes that its costs stand for), within bounds of memory; all
//! of it is compared with the system's own crypt(3) in the tests.

use yescrypt::{Mode, Params, yescrypt};

use super::{
    CRYPT_BASE64, MOST_YESCRYPT_MEMORY, Unusable, is_crypt_base64, is_same, push_crypt_base64,
};

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    params: Params,
    salt: Box<[u8]>,
    hash: Box<str>,
}

impl Hash {
    /// What stands behind `$y$`: `jNR$salt$hash`.
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let broken = Unusable::Broken("$y$");
        let mut parts = text.split('$');
        let (Some(settings), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(broken);
        };
        let params = parse_params(settings)?;
        let salt = decode(salt).ok_or(broken.clone())?;
        if salt.len() > 64 || hash.len() != 43 || !hash.bytes().all(is_crypt_base64) {
            return Err(broken);
        }
        Ok(Self {
            params,
            salt: salt.into(),
            hash: hash.into(),
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut out = [0; 32];
        yescrypt(password, &self.salt, &self.params, &mut out).is_ok()
            && is_same(&encode(&out), self.hash.as_bytes())
    }
}

/// Flavour, the power of two that is N, and r, a character each.
fn parse_params(settings: &str) -> Result<Params, Unusable> {
    let &[b'j', n_log2, r] = settings.as_bytes() else {
        return Err(Unusable::Unsupported);
    };
    let (Some(n_log2), Some(r)) = (value(n_log2), value(r)) else {
        return Err(Unusable::Broken("$y$"));
    };
    // Both count from one. Larger characters would be the first of several.
    let (n_log2, r) = (n_log2 + 1, r + 1);
    if !(10..=40).contains(&n_log2) || !matches!(r, 8 | 32) {
        return Err(Unusable::Unsupported);
    }
    let n = 1u64 << n_log2;
    if n * u64::from(r) * 128 > MOST_YESCRYPT_MEMORY {
        return Err(Unusable::Memory);
    }
    Params::new(Mode::Rw, n, r, 1).map_err(|_| Unusable::Unsupported)
}

fn value(byte: u8) -> Option<u32> {
    let at = CRYPT_BASE64.iter().position(|b| *b == byte)?;
    u32::try_from(at).ok()
}

/// Four characters are three bytes, lowest bits first; what is left over at the end must be zero.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for (at, byte) in group.iter().enumerate() {
            bits |= value(*byte)? << (6 * at);
        }
        let bytes = group.len() * 6 / 8;
        if bytes == 0 {
            return None;
        }
        out.extend_from_slice(&bits.to_le_bytes()[..bytes]);
        if bits >> (8 * bytes) != 0 {
            return None;
        }
    }
    Some(out)
}

fn encode(bytes: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(43);
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[..group.len()].copy_from_slice(group);
        let characters = (group.len() * 8).div_ceil(6);
        push_crypt_base64(&mut out, u32::from_le_bytes(padded), characters);
    }
    out
}
