//! Files with tokens: one for those who may change keys, one for those who read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::Role;

/// Nobody tries so many.
const LEAST: usize = 16;
const MOST: u64 = 4096;

/// Read anew each time it is needed, so that it can be changed.
pub(super) struct Token {
    flag: &'static str,
    file: PathBuf,
}

impl Token {
    /// The file, and what is odd about it.
    pub(super) fn open(
        flag: &'static str,
        file: &Path,
        role: Role,
    ) -> Result<(Self, Option<String>), String> {
        let token = Self {
            flag,
            file: file.to_owned(),
        };
        let (_, mode) = token.read()?;
        let what = match role {
            Role::Admin => "change every key",
            _ => "read what is served at --stats",
        };
        let warning = (mode & 0o077 != 0).then(|| {
            format!(
                "API token file {} can be read by others (mode {mode:o}): they can {what}; chmod go= keeps it from them",
                file.display()
            )
        });
        Ok((token, warning))
    }

    /// Takes as long whatever is given: hashes are compared.
    pub(super) fn is(&self, given: &[u8]) -> Result<bool, String> {
        let (token, _) = self.read()?;
        let hash = |bytes: &[u8]| digest(&SHA256, bytes);
        let (a, b) = (hash(token.as_bytes()), hash(given));
        Ok(verify_slices_are_equal(a.as_ref(), b.as_ref()).is_ok())
    }

    fn read(&self) -> Result<(String, u32), String> {
        let told = |why: String| {
            let file = self.file.display();
            format!("API token file {file} ({}): {why}", self.flag)
        };
        let open = File::open(&self.file).map_err(|e| told(e.to_string()))?;
        let meta = open.metadata().map_err(|e| told(e.to_string()))?;
        let mut text = String::new();
        let read = open.take(MOST).read_to_string(&mut text);
        read.map_err(|e| told(e.to_string()))?;
        let token = text.trim();
        let is_one = token.bytes().all(|b| b.is_ascii_graphic());
        if token.len() < LEAST || !is_one {
            return Err(told(format!(
                "it has to have one token of at least {LEAST} visible characters; openssl rand -hex 32 makes one"
            )));
        }
        Ok((token.to_owned(), meta.mode() & 0o777))
    }
}
