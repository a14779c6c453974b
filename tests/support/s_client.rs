//! `openssl s_client`: a client that is told suites and versions one by one, and says what came of it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::certs::{self, Leaf, TOWN};
use super::origin::Origin;
use super::pointsman::{Builder, Pointsman, Service};

/// As OpenSSL calls them, in the order of the table in `docs/tls.md`: six that are strict, and six more
/// that are compatible.
pub const SUITES: [&str; 12] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

pub const TLS13_SUITES: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// What `openssl s_client` said, certificate and answer included.
pub struct Said(pub String);

impl Said {
    /// Whether there was a session, and a request was answered in it.
    pub fn is_served(&self) -> bool {
        let is_served = self.0.contains("HTTP/1.1 200 OK");
        assert_eq!(
            is_served,
            !self.0.contains("Cipher is (NONE)"),
            "{}",
            self.0
        );
        is_served
    }

    pub fn has(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// That its session is by this suite.
    pub fn assert_by(&self, suite: &str) {
        assert!(self.is_served(), "{suite}: {}", self.0);
        // The version beside it is the one that brought the suite.
        assert!(
            self.has(&format!(", Cipher is {suite}\n")),
            "{suite}: {}",
            self.0
        );
    }
}

pub fn s_client(addr: SocketAddr, args: &[&str]) -> Said {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-servername", TOWN, "-connect"])
        .arg(addr.to_string())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, which scripts/needs installs");
    let mut stdin = child.stdin.take().expect("its input");
    // It may be gone already: what it said tells.
    let _ = std::io::Write::write_all(
        &mut stdin,
        b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n",
    );
    let output = child.wait_with_output().expect("openssl runs");
    drop(stdin);
    let said = [output.stdout, output.stderr].concat();
    Said(String::from_utf8_lossy(&said).into_owned())
}

/// By TLS 1.2 with one suite and no other.
pub fn alone(addr: SocketAddr, suite: &str) -> Said {
    s_client(
        addr,
        &["-tls1_2", "-cipher", &format!("{suite}:@SECLEVEL=0")],
    )
}

/// The suites that work, each alone.
pub fn working<'a>(addr: SocketAddr, suites: &[&'a str]) -> Vec<&'a str> {
    let ask = |suite: &'a str| {
        let said = alone(addr, suite);
        if said.is_served() {
            said.assert_by(suite);
            return Some(suite);
        }
        // Told why, and not left to wait or to guess.
        assert!(
            said.has("handshake failure") || said.has("protocol version"),
            "{}",
            said.0
        );
        None
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = suites
            .iter()
            .map(|suite| scope.spawn(move || ask(suite)))
            .collect();
        let answers = asked
            .into_iter()
            .map(|asked| asked.join().expect("an answer"));
        answers.flatten().collect()
    })
}

/// A balancer in front of `origin` with one certificate.
pub fn town_with(origin: &Origin, leaf: Leaf) -> Builder {
    let service = Service::http("web")
        .hosts("web.test")
        .upstream(origin.addr());
    Pointsman::builder()
        .service(&service)
        .without_certificate()
        .key("certs/town", certs::town_hall().sign(&leaf).pem())
}
