//! `bind ... ssl`: where TLS of clients ends, and what is asked of them.

use std::path::Path;

use super::Imported;
use super::file::Line;
use crate::config::{self, Balancer};
use crate::names::UnitName;

/// What a `bind` says behind its address.
#[derive(Default)]
pub(super) struct Bind {
    pub(super) accepts_proxy: bool,
    /// `None`: without `ssl`.
    pub(super) tls: Option<BindTls>,
    /// Not of TLS, as it is written.
    pub(super) left: Vec<String>,
}

#[derive(Default)]
pub(super) struct BindTls {
    /// A value of the key `ssl_client_verify`.
    pub(super) verify: Option<Verify>,
    ca_file: Option<String>,
    certificates: Vec<String>,
    lists: Vec<String>,
    ciphers: Vec<String>,
    min_version: Option<&'static str>,
    /// `strict-sni`
    rejects_unknown: bool,
    /// `no-tls-tickets`
    has_no_tickets: bool,
    left: Vec<String>,
}

/// Whether clients have to show a certificate. The greater one is the stricter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verify {
    Optional,
    Required,
}

impl Verify {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl Bind {
    pub(super) fn of(line: &Line) -> Self {
        let mut bind = Self::default();
        let mut tls = BindTls::default();
        let mut is_tls = false;
        let mut words = line.rest(2).iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "ssl" => is_tls = true,
                "accept-proxy" => bind.accepts_proxy = true,
                _ if tls.read(word, &mut words) => {}
                _ => bind.left.push(word.to_owned()),
            }
        }
        bind.tls = is_tls.then_some(tls);
        bind
    }
}

impl BindTls {
    /// Takes a word and its values; `false` if it says nothing of TLS.
    fn read<'w>(&mut self, word: &str, words: &mut impl Iterator<Item = &'w str>) -> bool {
        let mut value = || words.next().unwrap_or_default().to_owned();
        match word {
            "crt" => self.certificates.push(value()),
            "crt-list" => self.lists.push(value()),
            "ca-file" => self.ca_file = Some(value()),
            "verify" => {
                self.verify = match value().as_str() {
                    "none" => None,
                    "optional" => Some(Verify::Optional),
                    // A word that nobody knows is no reason to ask less.
                    _ => Some(Verify::Required),
                };
            }
            "ciphers" | "ciphersuites" => self.ciphers.push(value()),
            "ssl-min-ver" => match value().as_str() {
                "TLSv1.3" => self.min_version = Some("1.3"),
                "TLSv1.2" => self.min_version = Some("1.2"),
                old => self.left.push(format!(
                    "{word} {old} is not carried over: 1.2 is the oldest version"
                )),
            },
            "ssl-max-ver" => match value().as_str() {
                "TLSv1.3" => {}
                version => self
                    .left
                    .push(format!("{word} {version} is not carried over")),
            },
            "no-tlsv12" | "force-tlsv13" => self.min_version = Some("1.3"),
            "no-tls-tickets" => self.has_no_tickets = true,
            "strict-sni" => self.rejects_unknown = true,
            "alpn" => {
                let protocols = value();
                if protocols != "http/1.1" {
                    self.left.push(format!(
                        "alpn {protocols}: HTTP/1.1 is spoken, and nothing else"
                    ));
                }
            }
            "crl-file" => {
                let file = value();
                self.left.push(format!(
                    "crl-file {file}: lists of revoked certificates are not read"
                ));
            }
            "no-sslv3"
            | "no-tlsv10"
            | "no-tlsv11"
            | "prefer-client-ciphers"
            | "no-ca-names"
            | "tls-tickets" => {}
            "ca-ignore-err" | "ca-sign-file" | "ca-sign-pass" | "ca-verify-file"
            | "client-sigalgs" | "crt-ignore-err" | "curves" | "ecdhe" | "npn" | "ocsp-update"
            | "sigalgs" | "tls-ticket-keys" => {
                let value = value();
                self.left
                    .push(format!("{word} {value} is not carried over"));
            }
            "allow-0rtt"
            | "force-sslv3"
            | "force-tlsv10"
            | "force-tlsv11"
            | "force-tlsv12"
            | "generate-certificates"
            | "no-alpn"
            | "no-tlsv13" => {
                self.left.push(format!("{word} is not carried over"));
            }
            _ => return false,
        }
        true
    }

    /// What holds for all handshakes here, and what has to be done by hand. `whose` is the frontend.
    pub(super) fn carry(&self, line: &Line, whose: &str, imported: &mut Imported) {
        for left in &self.left {
            imported.left(line.number, left.clone());
        }
        for file in &self.certificates {
            let path = Path::new(file);
            let what = match (path.file_stem(), path.extension()) {
                (Some(name), Some(_)) => format!(
                    "put what is in {file} into certs/{}, or give its directory with --certs",
                    name.to_string_lossy()
                ),
                _ => format!(
                    "put what is in {file} into certs/NAME, or give it with --certs if it is a directory"
                ),
            };
            imported.left(line.number, what);
        }
        for list in &self.lists {
            imported.left(
                line.number,
                format!(
                    "put the certificates of {list} into certs/NAME, or give their directory with \
                     --certs; what stands there in brackets is not carried over: where it says verify, \
                     write ssl_client_verify and ssl_client_ca to the services of these names"
                ),
            );
        }
        if let Some(verify) = self.verify {
            let ca = self.ca_file.as_deref().unwrap_or("the authority's file");
            imported.left(
                line.number,
                format!(
                    "verify {}: write what is in {ca} to ssl_client_ca of the services that {whose} leads \
                     to; they are closed until then",
                    verify.word()
                ),
            );
        }
        if !self.ciphers.is_empty() {
            self.carry_ciphers(line, imported);
        }
        if let Some(version) = self.min_version {
            setting(line, "ssl_min_version", version, imported);
        }
        if self.rejects_unknown {
            setting(line, "ssl_unknown_name", "reject", imported);
        }
        if self.has_no_tickets {
            setting(line, "ssl_ticket_lifetime", "none", imported);
        }
    }

    fn carry_ciphers(&self, line: &Line, imported: &mut Imported) {
        let list = self.ciphers.join(":");
        let text = format!(
            "balancer:\n  ssl_ciphers: {}\n",
            serde_json::Value::from(list.as_str())
        );
        match config::parse(&UnitName::from("balancer"), &text, &Balancer::default()) {
            Ok(_) => setting(line, "ssl_ciphers", &list, imported),
            Err(problems) => {
                let why = super::translate::told(&problems);
                imported.left(
                    line.number,
                    format!("ciphers {list} are not carried over: {why}"),
                );
            }
        }
    }
}

/// A setting that holds for all listeners; the first `bind` that says it has it.
fn setting(line: &Line, name: &str, value: &str, imported: &mut Imported) {
    let key = format!("settings/{name}");
    match imported.keys.get(&key) {
        Some(other) if other != value => {
            let why = format!("{key} is {other:?} for all listeners, not {value:?} for this one");
            imported.left(line.number, why);
        }
        _ => imported.key(key, value),
    }
}
