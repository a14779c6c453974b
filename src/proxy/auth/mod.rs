//! Passwords checked beside the workers: hashes are slow on purpose, and a worker serves thousands.
//!
//! A worker asks its own memory of what was right ([`Recent`]), then the [`Pool`]: a few threads, a
//! bounded queue that is fair to sources, and what was found out lately. What is remembered are tags,
//! made of a user (name and secret as they are written) and a password under a key that is random in each
//! process. Whether that password matches that secret never changes, so a tag cannot become wrong: a
//! changed secret is another user, and nothing has to be forgotten when the config changes.
//!
//! What is wrong is remembered too: a client that repeats an old password costs one check, and two
//! askers of the same thing wait for one.

mod pool;
mod recent;

pub(crate) use pool::{Asked, Attempt, Pool, Refused, Source};
pub(crate) use recent::Recent;

use std::io;

use aws_lc_rs::digest::{Context, SHA256};

use crate::config::User;

/// Stands for one user and one password.
pub(crate) type Tag = [u8; 32];

/// Makes tags. They never leave the process: a hash behind a secret prefix is enough.
pub(crate) struct Tagger([u8; 32]);

impl Tagger {
    fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
        Ok(Self(key))
    }

    /// `name` is the one that was given; where nobody has it, `user` only stands in.
    pub(crate) fn tag(&self, user: &User, name: &[u8], password: &[u8]) -> Tag {
        let length = (name.len() as u64).to_le_bytes();
        self.hash(&[&user.digest, &length, name, password])
    }

    /// Chooses who stands in for a name that nobody has: always the same.
    pub(crate) fn choose(&self, name: &[u8]) -> u64 {
        let hash = self.hash(&[name]);
        hash.iter()
            .take(8)
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}
