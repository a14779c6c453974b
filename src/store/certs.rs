//! Files with certificates as keys: a directory of them becomes `certs/<name>`, each a bundle.
//!
//! What is a certificate, and under which name, in the order in which it is looked for:
//!
//! - `NAME.pem`, the whole bundle; with `NAME.key` beside it, that is its private key
//! - `NAME.crt` with `NAME.key`
//! - `NAME/tls.crt` with `NAME/tls.key`, as Kubernetes mounts a secret
//! - `NAME/fullchain.pem` with `NAME/privkey.pem`, as certbot keeps them
//!
//! A pair is one text, so what is wrong with it is found where all bundles are judged: a file that was
//! replaced before its partner makes a key that belongs to no certificate, and the last good one serves
//! until both are there. Half a pair is a value that cannot be had.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::feed::{Problems, Tree};
use crate::diag::Diagnostic;
use crate::snapshot::{Key, Snapshot, why_unusable};

/// Where keys of certificates are.
const CERTS: &str = "certs";

/// The two files of a pair: certificates and private key.
const PAIRS: [(&str, &str); 3] = [
    (".crt", ".key"),
    ("/tls.crt", "/tls.key"),
    ("/fullchain.pem", "/privkey.pem"),
];

/// Passed over without a word: what is put beside certificates for others to read.
const BESIDE: [&str; 2] = ["ca.crt", "README"];

/// Makes keys of files, and follows what changes. The cost is that of the change.
pub(super) struct Files {
    dir: String,
    files: Snapshot,
    keys: Snapshot,
    /// By the name of a certificate, or the file that nobody reads.
    problems: Problems,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.display().to_string(),
            files: Snapshot::default(),
            keys: Snapshot::default(),
            problems: Problems::default(),
        }
    }

    pub(super) fn shape(&mut self, tree: Tree) -> Tree {
        let changes = self.files.diff(&tree.snapshot);
        self.files = tree.snapshot;
        let names: BTreeSet<String> = changes
            .iter()
            .map(|change| self.name_of(&change.key))
            .collect();
        for name in names {
            self.renew(&name);
        }
        self.keys.set_revision(self.files.revision());
        let read = tree.problems.iter().map(|problem| {
            let file = problem.key.as_deref().unwrap_or_default();
            problem.clone().for_key(format!("{}/{file}", self.dir))
        });
        let mut problems: Vec<_> = read.collect();
        problems.extend(self.problems.list().iter().cloned());
        Tree {
            snapshot: self.keys.clone(),
            raw: None,
            newest_key: tree.newest_key,
            problems: Arc::new(problems),
        }
    }

    /// The certificate that a file belongs to; the file itself if it can belong to none.
    fn name_of(&self, file: &str) -> String {
        if let Some((dir, _)) = file.split_once('/') {
            return dir.to_owned();
        }
        let stem = [".pem", ".crt", ".key"]
            .iter()
            .find_map(|end| file.strip_suffix(end));
        stem.unwrap_or(file).to_owned()
    }

    /// Brings the key of one name up to date.
    fn renew(&mut self, name: &str) {
        let key: Key = format!("{CERTS}/{name}").into();
        let mut forms = self.forms(name).into_iter();
        let problem = match forms.next() {
            Some((_, bundle)) => {
                match bundle {
                    Ok(bundle) => self.keys.put(key, bundle),
                    Err(why) => self.keys.put_unusable(key, &why),
                }
                forms.next().map(|(file, _)| {
                    let help =
                        format!("{name} has its certificate from another file, remove one of them");
                    self.unread(&file).help(help)
                })
            }
            None => {
                self.keys.remove(&key);
                self.nothing_in(name)
            }
        };
        match problem {
            Some(problem) => self.problems.insert(name, problem),
            None => self.problems.remove(name),
        }
    }

    /// Every certificate that files make of a name: its first file, and the bundle or why there is none.
    fn forms(&self, name: &str) -> Vec<(String, Result<Vec<u8>, String>)> {
        let file = |end: &str| {
            let file = format!("{name}{end}");
            self.files.get(&file).map(|value| (file, value.to_vec()))
        };
        let mut forms = Vec::new();
        let mut key_is_taken = false;
        if let Some(pem) = file(".pem") {
            let key = file(".key");
            key_is_taken = key.is_some();
            forms.push((pem.0.clone(), self.joined([Some(pem), key])));
        }
        for (cert_end, key_end) in PAIRS {
            let cert = file(cert_end);
            let key = file(key_end).filter(|_| key_end != ".key" || !key_is_taken);
            let is_besides = cert
                .as_ref()
                .is_some_and(|(file, _)| BESIDE.contains(&file.as_str()));
            match (cert, key) {
                (None, None) => {}
                (Some(_), None) if is_besides => {}
                (Some((found, _)), None) => {
                    forms.push((found.clone(), Err(self.half(&found, name, key_end))));
                }
                (None, Some((found, _))) => {
                    forms.push((found.clone(), Err(self.half(&found, name, cert_end))));
                }
                (cert, key) => {
                    let first = format!("{name}{cert_end}");
                    forms.push((first, self.joined([cert, key])));
                }
            }
        }
        forms
    }

    fn joined(&self, files: [Option<(String, Vec<u8>)>; 2]) -> Result<Vec<u8>, String> {
        let mut bundle = Vec::new();
        for (file, value) in files.into_iter().flatten() {
            if let Some(why) = why_unusable(&value) {
                return Err(format!("{}/{file}: {why}", self.dir));
            }
            if !bundle.is_empty() {
                bundle.push(b'\n');
            }
            bundle.extend(value);
        }
        Ok(bundle)
    }

    fn half(&self, found: &str, name: &str, missing_end: &str) -> String {
        let dir = &self.dir;
        format!("{dir}/{found} is there without {dir}/{name}{missing_end}")
    }

    /// What is to be told of a name that has no certificate.
    fn nothing_in(&self, name: &str) -> Option<Diagnostic> {
        let is_file = self.files.get(name).is_some() && !BESIDE.contains(&name);
        let help = match self.files.has_dir(name) {
            true => {
                "in a directory, tls.crt with tls.key or fullchain.pem with privkey.pem are read"
            }
            false => "certificates are NAME.pem, or NAME.crt with NAME.key",
        };
        (is_file || self.files.has_dir(name)).then(|| self.unread(name).help(help))
    }

    fn unread(&self, file: &str) -> Diagnostic {
        Diagnostic::warning("unread-file", format!("{}/{file} is not read", self.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(files: &mut Files, now: &[(&str, &str)]) -> Tree {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let snapshot = now.iter().map(owned).collect();
        files.shape(Tree {
            snapshot,
            ..Tree::default()
        })
    }

    #[track_caller]
    fn check(now: &[(&str, &str)], keys: &[(&str, &str)], told: &[&str]) {
        let mut files = Files::new(Path::new("/c"));
        // Files that come one after the other lead to the same as all of them at once.
        for end in 0..now.len() {
            shape(&mut files, &now[..end]);
        }
        let tree = shape(&mut files, now);
        let shown = |value: &[u8]| match why_unusable(value) {
            Some(why) => format!("! {why}"),
            None => String::from_utf8_lossy(value).into_owned(),
        };
        let found: Vec<_> = tree
            .snapshot
            .iter()
            .map(|(key, value)| (key.to_string(), shown(value)))
            .collect();
        let keys: Vec<_> = keys
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(found, keys, "{now:?}");
        let messages: Vec<_> = tree.problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(messages, told, "{now:?}");
        let gone = shape(&mut files, &[]);
        assert!(gone.snapshot.is_empty() && gone.problems.is_empty());
    }

    #[test]
    fn files_become_keys_by_their_names() {
        check(&[("a.pem", "A")], &[("certs/a", "A")], &[]);
        check(
            &[("b.crt", "C"), ("b.key", "K")],
            &[("certs/b", "C\nK")],
            &[],
        );
        check(
            &[("www.b.test.key", "K"), ("www.b.test.pem", "C")],
            &[("certs/www.b.test", "C\nK")],
            &[],
        );
        check(
            &[("d/ca.crt", "X"), ("d/tls.crt", "C"), ("d/tls.key", "K")],
            &[("certs/d", "C\nK")],
            &[],
        );
        check(
            &[
                ("e/cert.pem", "X"),
                ("e/chain.pem", "X"),
                ("e/fullchain.pem", "C"),
                ("e/privkey.pem", "K"),
            ],
            &[("certs/e", "C\nK")],
            &[],
        );
        check(
            &[("ca.crt", "X"), ("tls.crt", "C"), ("tls.key", "K")],
            &[("certs/tls", "C\nK")],
            &[],
        );
    }

    #[test]
    fn half_a_pair_is_a_value_that_cannot_be_had() {
        check(
            &[("a.crt", "C")],
            &[("certs/a", "! /c/a.crt is there without /c/a.key")],
            &[],
        );
        check(
            &[("a.key", "K")],
            &[("certs/a", "! /c/a.key is there without /c/a.crt")],
            &[],
        );
        check(
            &[("a/tls.key", "K")],
            &[("certs/a", "! /c/a/tls.key is there without /c/a/tls.crt")],
            &[],
        );
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_absent() {
        let mut files = Files::new(Path::new("/c"));
        let mut snapshot: Snapshot = [("a.crt", "C")].into_iter().collect();
        snapshot.put_unusable("a.key", "no rights");
        let tree = files.shape(Tree {
            snapshot,
            ..Tree::default()
        });
        let value = tree.snapshot.get("certs/a").expect("a key");
        assert_eq!(why_unusable(value), Some("/c/a.key: no rights"));
    }

    #[test]
    fn files_that_nobody_reads_are_told() {
        check(&[("a.cer", "C")], &[], &["/c/a.cer is not read"]);
        check(&[("README", "x")], &[], &[]);
        check(
            &[("live/a/fullchain.pem", "C")],
            &[],
            &["/c/live is not read"],
        );
        check(
            &[("a.crt", "C"), ("a.key", "K"), ("a.pem", "A")],
            &[("certs/a", "A\nK")],
            &["/c/a.crt is not read"],
        );
        check(
            &[("a.pem", "A"), ("a/tls.crt", "C"), ("a/tls.key", "K")],
            &[("certs/a", "A")],
            &["/c/a/tls.crt is not read"],
        );
    }
}
