//! `$1$` and `$apr1$`: a thousand rounds of MD5, as FreeBSD's crypt made them in 1994. Apache's differ
//! in the name that is mixed in.

use md5::{Digest, Md5};

use super::{Unusable, is_same, push_crypt_base64, salt_and_hash};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Magic {
    Crypt,
    Apache,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    magic: Magic,
    salt: Box<str>,
    hash: Box<str>,
}

impl Hash {
    /// What stands behind `$1$` or `$apr1$`.
    pub(super) fn parse(magic: Magic, text: &str) -> Result<Self, Unusable> {
        let (salt, hash) = salt_and_hash(text, 8, 22).ok_or(Unusable::Broken(magic.prefix()))?;
        Ok(Self {
            magic,
            salt: salt.into(),
            hash: hash.into(),
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let sum = sum(self.magic, self.salt.as_bytes(), password);
        is_same(&encode(&sum), self.hash.as_bytes())
    }
}

impl Magic {
    fn prefix(self) -> &'static str {
        match self {
            Self::Crypt => "$1$",
            Self::Apache => "$apr1$",
        }
    }
}

fn sum(magic: Magic, salt: &[u8], password: &[u8]) -> [u8; 16] {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Md5::new()
        .chain_update(password)
        .chain_update(magic.prefix())
        .chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        let part = left.min(16);
        first.update(&inner[..part]);
        left -= part;
    }
    // One byte for each bit of the length, lowest first: a zero for a one and, by an old slip that
    // became the format, the password's first byte for a zero.
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut sum: [u8; 16] = first.finalize().into();
    for round in 0..1000 {
        let is_odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if is_odd { password } else { &sum[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if is_odd { &sum[..] } else { password });
        sum = next.finalize().into();
    }
    sum
}

/// Bytes in the order that the format has, 22 characters.
fn encode(sum: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(22);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        let value = u32::from_be_bytes([0, sum[a], sum[b], sum[c]]);
        push_crypt_base64(&mut out, value, 4);
    }
    push_crypt_base64(&mut out, u32::from(sum[11]), 2);
    out
}
