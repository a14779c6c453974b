//! `$5$` and `$6$`: rounds of SHA-256 and SHA-512. The sums are `sha-crypt`'s; the text around them is
//! read here, because the rounds have to be bounded before anything is computed.

use sha_crypt::{Params, sha256_crypt, sha512_crypt};

use super::{LEAST_ROUNDS, MOST_ROUNDS, Unusable, is_same, push_crypt_base64, salt_and_hash};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Sha256,
    Sha512,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    width: Width,
    params: Params,
    salt: Box<str>,
    hash: Box<str>,
}

impl Hash {
    /// What stands behind `$5$` or `$6$`: `[rounds=N$]salt$hash`.
    pub(super) fn parse(width: Width, text: &str) -> Result<Self, Unusable> {
        let broken = Unusable::Broken(match width {
            Width::Sha256 => "$5$",
            Width::Sha512 => "$6$",
        });
        let mut params = Params::default();
        let mut rest = text;
        if let Some(from_rounds) = text.strip_prefix("rounds=") {
            let (rounds, behind) = from_rounds.split_once('$').ok_or(broken.clone())?;
            if rounds.is_empty() || !rounds.bytes().all(|b| b.is_ascii_digit()) {
                return Err(broken);
            }
            let rounds: u64 = rounds.parse().unwrap_or(u64::MAX);
            params = u32::try_from(rounds)
                .ok()
                .filter(|rounds| (LEAST_ROUNDS..=MOST_ROUNDS).contains(rounds))
                .and_then(|rounds| Params::new(rounds).ok())
                .ok_or(Unusable::Rounds(rounds))?;
            rest = behind;
        }
        let length = match width {
            Width::Sha256 => 43,
            Width::Sha512 => 86,
        };
        let (salt, hash) = salt_and_hash(rest, 16, length).ok_or(broken)?;
        Ok(Self {
            width,
            params,
            salt: salt.into(),
            hash: hash.into(),
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let salt = self.salt.as_bytes();
        let computed = match self.width {
            Width::Sha256 => encode_256(&sha256_crypt(password, salt, self.params)),
            Width::Sha512 => encode_512(&sha512_crypt(password, salt, self.params)),
        };
        is_same(&computed, self.hash.as_bytes())
    }
}

/// Bytes in the order that the format has: a byte of each third, and the thirds change places.
fn encode_256(sum: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(43);
    let mut group = [0, 10, 20];
    for _ in 0..10 {
        push_group(&mut out, sum, group);
        group = [group[2] + 1, group[0] + 1, group[1] + 1];
    }
    push_crypt_base64(&mut out, u32::from_be_bytes([0, 0, sum[31], sum[30]]), 3);
    out
}

fn encode_512(sum: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(86);
    let mut group = [0, 21, 42];
    for _ in 0..21 {
        push_group(&mut out, sum, group);
        group = [group[1] + 1, group[2] + 1, group[0] + 1];
    }
    push_crypt_base64(&mut out, u32::from(sum[63]), 2);
    out
}

fn push_group(out: &mut Vec<u8>, sum: &[u8], [a, b, c]: [usize; 3]) {
    let value = u32::from_be_bytes([0, sum[a], sum[b], sum[c]]);
    push_crypt_base64(out, value, 4);
}
