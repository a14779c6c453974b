//! Certificates made on the spot: a small authority, names and times as a test wants them.
//!
//! What rcgen does not make (weak keys, old forms of keys, encrypted ones) the `openssl` command does;
//! `scripts/needs` installs it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs() as i64
}

/// Signs what it is asked to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Certificates above it, but for the root.
    above: String,
}

impl Authority {
    /// A root that trusts itself.
    pub fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(authority(name), key).expect("a root"),
            above: String::new(),
        }
    }

    /// One below it.
    pub fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer);
        let issuer = issuer.expect("an authority");
        let above = issuer.pem() + &self.above;
        Self { issuer, above }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn sign(&self, leaf: &Leaf) -> Bundle {
        self.sign_for(leaf, &leaf.key())
    }

    /// For a key that others may have too: making one is what costs most.
    pub fn sign_for(&self, leaf: &Leaf, key: &KeyPair) -> Bundle {
        let cert = leaf.params().signed_by(key, &self.issuer);
        Bundle {
            cert: cert.expect("a certificate").pem(),
            chain: self.above.clone(),
            key: key.serialize_pem(),
        }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// What is to be signed. Valid from yesterday for ninety days, with an ECDSA key, unless told otherwise.
#[derive(Clone)]
pub struct Leaf {
    names: Vec<String>,
    common_name: String,
    is_rsa: bool,
    from: i64,
    to: i64,
}

impl Leaf {
    /// Addresses among the names become what they are.
    pub fn of(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            common_name: "a leaf".to_owned(),
            is_rsa: false,
            from: now() - DAY,
            to: now() + 90 * DAY,
        }
    }

    pub fn rsa(mut self) -> Self {
        self.is_rsa = true;
        self
    }

    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = name.to_owned();
        self
    }

    /// Seconds since 1970.
    pub fn valid(mut self, from: i64, to: i64) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// Signed by itself.
    pub fn alone(&self) -> Bundle {
        let key = self.key();
        let cert = self.params().self_signed(&key);
        Bundle {
            cert: cert.expect("a certificate").pem(),
            chain: String::new(),
            key: key.serialize_pem(),
        }
    }

    pub fn key(&self) -> KeyPair {
        let key = match self.is_rsa {
            true => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            false => KeyPair::generate(),
        };
        key.expect("a key")
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).expect("names");
        let name = self.common_name.as_str();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        let at = |seconds: i64| {
            let seconds = u64::try_from(seconds).expect("a time after 1970");
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (at(self.from), at(self.to));
        params
    }
}

/// PEM, each part with its last line break.
#[derive(Clone)]
pub struct Bundle {
    pub cert: String,
    pub chain: String,
    /// PKCS#8.
    pub key: String,
}

impl Bundle {
    /// In the usual order.
    pub fn pem(&self) -> String {
        [self.cert.as_str(), &self.chain, &self.key].concat()
    }
}

/// Runs `openssl` with this as its input, and gives its output.
pub fn openssl(args: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, which scripts/needs installs");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).expect("write to openssl");
    drop(stdin);
    let output = child.wait_with_output().expect("run openssl");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// A certificate signed by itself with a key that `openssl` makes: `rsa:1024`, `ec:secp256k1`, `ed448`.
pub fn by_openssl(kind: &str, name: &str) -> Bundle {
    let (algorithm, option) = match kind.split_once(':') {
        Some(("rsa", bits)) => ("RSA", Some(format!("rsa_keygen_bits:{bits}"))),
        Some((_, curve)) => ("EC", Some(format!("ec_paramgen_curve:{curve}"))),
        None => (kind, None),
    };
    let mut args = vec!["genpkey", "-algorithm", algorithm];
    let option = option.unwrap_or_default();
    if !option.is_empty() {
        args.extend(["-pkeyopt", &option]);
    }
    let key = openssl(&args, "");
    let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
    let cert = openssl(
        &[
            "req",
            "-x509",
            "-key",
            "/dev/stdin",
            "-subj",
            &subject,
            "-addext",
            &names,
            "-days",
            "90",
        ],
        &key,
    );
    Bundle {
        cert,
        chain: String::new(),
        key,
    }
}

/// The name in the certificate that every balancer of a test has, unless told otherwise.
pub const TOWN: &str = "town.test";

/// Who signed it.
pub fn town_hall() -> &'static Authority {
    static HALL: LazyLock<Authority> = LazyLock::new(|| Authority::root("town hall"));
    &HALL
}
