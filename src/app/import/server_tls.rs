//! `server ... ssl`: how a server is spoken to by TLS, as keys of the service.

use std::collections::BTreeMap;

use super::Imported;
use super::file::Line;

/// What the words of one server, or of `default-server`, say.
#[derive(Clone, Default, PartialEq)]
pub(super) struct ServerTls {
    is_on: bool,
    /// `check-ssl` and `no-check-ssl`.
    checks: Option<bool>,
    verifies: Option<bool>,
    ca_file: Option<String>,
    sni: Option<String>,
    verify_host: Option<String>,
    crt: Option<String>,
    /// Not carried over, as it is written.
    left: Vec<String>,
}

impl ServerTls {
    /// Takes a word and its values; `false` if it says nothing of TLS.
    pub(super) fn read<'w>(
        &mut self,
        word: &str,
        words: &mut impl Iterator<Item = &'w str>,
    ) -> bool {
        let mut value = || words.next().unwrap_or_default().to_owned();
        match word {
            "ssl" => self.is_on = true,
            "no-ssl" => self.is_on = false,
            "check-ssl" => self.checks = Some(true),
            "no-check-ssl" => self.checks = Some(false),
            "verify" => self.verifies = Some(value() != "none"),
            "ca-file" => self.ca_file = Some(value()),
            "verifyhost" => self.verify_host = Some(value()),
            "crt" => self.crt = Some(value()),
            "sni" => {
                let expression = value();
                let name = expression.strip_prefix("str(");
                match name.and_then(|name| name.strip_suffix(')')) {
                    Some(name) => self.sni = Some(name.trim_matches(['"', '\'']).to_owned()),
                    None => self.left.push(format!("sni {expression}")),
                }
            }
            "no-sni-auto" | "ssl-reuse" | "tls-tickets" | "no-sslv3" | "no-tlsv10"
            | "no-tlsv11" => {}
            "alpn" => {
                let protocols = value();
                // Every list that has it comes to HTTP/1.1 here.
                if !protocols.split(',').any(|protocol| protocol == "http/1.1") {
                    self.left.push(format!("alpn {protocols}"));
                }
            }
            "check-sni" | "check-alpn" | "npn" | "ciphers" | "ciphersuites" | "curves"
            | "sigalgs" | "client-sigalgs" | "crl-file" | "ca-ignore-err" | "crt-ignore-err"
            | "ssl-min-ver" | "ssl-max-ver" => {
                let value = value();
                self.left.push(format!("{word} {value}"));
            }
            "no-ssl-reuse" | "no-tls-tickets" | "no-tlsv12" | "no-tlsv13" | "force-sslv3"
            | "force-tlsv10" | "force-tlsv11" | "force-tlsv12" | "force-tlsv13" => {
                self.left.push(word.to_owned());
            }
            _ => return false,
        }
        true
    }

    /// Whether checks would not be those that they were: by TLS where the traffic has none.
    pub(super) fn checks_alone(&self) -> bool {
        !self.is_on && self.checks == Some(true)
    }

    /// Whether servers can be of one service.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let settings = |tls: &Self| {
            tls.is_on.then(|| {
                let Self {
                    verifies,
                    ca_file,
                    sni,
                    verify_host,
                    crt,
                    ..
                } = tls.clone();
                (verifies, ca_file, sni, verify_host, crt)
            })
        };
        settings(self) == settings(other)
    }

    /// Tells of a server what is not the same.
    pub(super) fn tell_left(&self, line: &Line, has_check_port: bool, imported: &mut Imported) {
        if !self.is_on {
            return;
        }
        for left in &self.left {
            tell(line, &format!("{left} is not carried over"), imported);
        }
        // Here checks do where the traffic does, unless they go elsewhere.
        let do_here = !has_check_port;
        if self.checks.is_some_and(|checks| checks != do_here) {
            let what = match has_check_port {
                true => "check-ssl is not carried over: checks of another port are plain",
                false => "no-check-ssl is not carried over: checks shake hands as the traffic does",
            };
            tell(line, what, imported);
        }
    }

    /// Adds the keys of the service, and tells what has to be done by hand.
    pub(super) fn carry(
        &self,
        line: &Line,
        keys: &mut BTreeMap<&'static str, String>,
        imported: &mut Imported,
    ) {
        if !self.is_on {
            return;
        }
        let mut tell = |what: String| tell(line, &what, imported);
        keys.insert("upstream_tls", "true".to_owned());
        if let Some(crt) = &self.crt {
            tell(format!(
                "write what is in {crt} to upstream_tls_certificate, with its key"
            ));
        }
        // One name is asked for and has to be in the certificate.
        let name = self.verify_host.as_ref().or(self.sni.as_ref());
        if let Some(name) = name {
            keys.insert("upstream_tls_name", name.clone());
        }
        if self.verifies == Some(false) {
            keys.insert("upstream_tls_verify", "none".to_owned());
            return;
        }
        if name.is_none() {
            tell(
                "its certificate has to be for its address; HAProxy does not look: write whom it is \
                 for to upstream_tls_name"
                    .to_owned(),
            );
        }
        if let (Some(host), Some(sni)) = (&self.verify_host, &self.sni)
            && host != sni
        {
            tell(format!("it is asked for {host}, not for {sni}"));
        }
        if let Some(file) = self.ca_file.as_ref().filter(|file| *file != "@system-ca") {
            tell(format!("write what is in {file} to upstream_tls_ca"));
        }
    }
}

fn tell(line: &Line, what: &str, imported: &mut Imported) {
    imported.left(line.number, format!("server {}: {what}", line.word(1)));
}
