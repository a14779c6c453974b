//! `ssl_ciphers` and `ssl_min_version`: which suites and versions handshakes with clients may come to.
//!
//! A list is read as `openssl ciphers` reads it, with two differences: a word that it does not know is
//! refused and not passed over, and the order of the words says nothing.

use super::custom;
use super::fields::Fields;
use super::haproxy::Settings;
use super::unit::{Balancer, MinVersion};
use super::values::{Problem, unknown_word};
use crate::diag::{nearest, quoted};
use crate::tls::suites::{
    Auth, Cipher, Exchange, Mac, SUITES, Suite, Suites, served_beyond_rustls,
};

/// What a list chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) suites: Suites,
    /// Elements that ask for suites which nobody serves here.
    pub(super) left_out: Vec<String>,
}

/// Both settings: keys over lines of `global_settings` over flags.
pub(super) fn settings(
    fields: &mut Fields<'_>,
    global: &mut Settings,
    defaults: &Balancer,
) -> (Suites, MinVersion) {
    let mut left_out = Vec::new();
    let own = fields.read("ssl_ciphers", |text| {
        let chosen = read(text)?;
        left_out = chosen.left_out;
        servable(text, chosen.suites, served_beyond_rustls())
    });
    if !left_out.is_empty() {
        let message = format!("ssl_ciphers {}", not_here(&left_out));
        fields.warn("custom", "ssl_ciphers", message, NOT_HERE_HELP);
    }
    let own_min = fields.read("ssl_min_version", min_version);
    // Each line says one half: TLS up to 1.2, and TLS 1.3.
    let base = own.unwrap_or(defaults.ssl_ciphers);
    let old = custom::or_global(fields, "ssl_ciphers", None, global.ciphers.take());
    let new = custom::or_global(fields, "ssl_ciphers", None, global.ciphersuites.take());
    let tls13 = Suites::tls13();
    let suites = old
        .unwrap_or(base)
        .without(tls13)
        .or(new.unwrap_or(base).and(tls13));
    let min = custom::or_global(
        fields,
        "ssl_min_version",
        own_min,
        global.min_version.take(),
    );
    let min = min.unwrap_or(defaults.ssl_min_version);
    if suites.without(suites.legacy()).is_empty() && (old.is_some() || fields.is_set("ssl_ciphers"))
    {
        fields.error(
            "bad-value",
            "ssl_ciphers",
            "ssl_ciphers leaves no suite but those of old clients",
            "leave one of TLS 1.3 in, such as TLS_AES_128_GCM_SHA256",
        );
    }
    if min == MinVersion::Tls13 && suites.and(tls13).is_empty() {
        fields.error(
            "bad-value",
            "ssl_min_version",
            "ssl_min_version 1.3 leaves nothing of ssl_ciphers, which has no suite of TLS 1.3",
            "name one, such as TLS_AES_128_GCM_SHA256, or write ssl_min_version 1.2",
        );
    }
    (suites, min)
}

pub(super) const NOT_HERE_HELP: &str =
    "nobody serves those here; everything else of the list holds";

pub(super) fn not_here(left_out: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = left_out
        .iter()
        .take(SHOWN)
        .map(|word| quoted(word))
        .collect();
    let more = match left_out.len() {
        all if all > SHOWN => format!(" and {} more", all - SHOWN),
        _ => String::new(),
    };
    format!("leaves out {}{more}", shown.join(", "))
}

/// `strict`, `compatible` or a list.
pub(super) fn read(text: &str) -> Result<Chosen, Problem> {
    let suites = match text.trim().to_ascii_lowercase().as_str() {
        "strict" => Suites::strict(),
        "compatible" => Suites::compatible(),
        _ => return list(text),
    };
    let left_out = Vec::new();
    Ok(Chosen { suites, left_out })
}

/// `suites`, if those that `rustls` does not have are in `legacy`. `text` asked for them.
pub(super) fn servable(text: &str, suites: Suites, legacy: Suites) -> Result<Suites, Problem> {
    let missing = suites.legacy().without(legacy);
    if missing.is_empty() {
        return Ok(suites);
    }
    Err(Problem::new(
        format!(
            "{} needs suites that this build does not have: {}",
            quoted(text),
            missing.names(", ")
        ),
        "a build with the feature legacy-tls serves them through OpenSSL; strict does without them",
    ))
}

/// `1.2` or `1.3`, also as `TLSv1.2` and the like.
pub(super) fn min_version(text: &str) -> Result<MinVersion, Problem> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_prefix("tls").unwrap_or(&lower);
    let number = number.strip_prefix('v').unwrap_or(number).trim();
    match number {
        "1.2" => Ok(MinVersion::Tls12),
        "1.3" => Ok(MinVersion::Tls13),
        "1.0" | "1.1" | "1" | "sslv3" | "ssl3" | "sslv2" => Err(Problem::new(
            format!("{} is older than what is served", quoted(text)),
            "TLS 1.0, 1.1 and SSL are broken and nobody is served by them: write 1.2 or 1.3",
        )),
        _ => Err(unknown_word(text, &["1.2", "1.3"])),
    }
}

/// A list of OpenSSL's.
fn list(text: &str) -> Result<Chosen, Problem> {
    let mut suites = Suites::NONE;
    // What `!` names never comes back.
    let mut killed = Suites::NONE;
    let mut names_tls13 = false;
    let mut left_out = Vec::new();
    // As in `DEFAULT@SECLEVEL=1`.
    let text_of_words = text.replace('@', ":@");
    let is_between = |c: char| c.is_whitespace() || matches!(c, ':' | ',' | ';');
    for element in text_of_words
        .split(is_between)
        .filter(|element| !element.is_empty())
    {
        if let Some(command) = element.strip_prefix('@') {
            killed = killed.or(forbidden_by(command)?);
            continue;
        }
        let sign = element
            .chars()
            .next()
            .filter(|c| matches!(c, '!' | '-' | '+'));
        let words = element.strip_prefix(['!', '-', '+']).unwrap_or(element);
        let mut named = Suites::that(|_| true);
        for word in words.split('+') {
            named = named.and(meant(word)?);
        }
        match sign {
            Some('!') => killed = killed.or(named),
            Some('-') => suites = suites.without(named),
            // Moves them behind the others: their order here is their strength.
            Some(_) => {}
            None if named.is_empty() => left_out.push(element.to_owned()),
            None => {
                names_tls13 |= !named.and(Suites::tls13()).is_empty();
                suites = suites.or(named);
            }
        }
    }
    if suites.without(killed).is_empty() {
        return Err(Problem::new(
            format!("{} chooses no suite that is served here", quoted(text)),
            "write strict, compatible, or names such as ECDHE-RSA-AES128-GCM-SHA256",
        ));
    }
    if !names_tls13 {
        suites = suites.or(Suites::tls13());
    }
    let suites = suites.without(killed);
    Ok(Chosen { suites, left_out })
}

/// What stands behind `@`.
fn forbidden_by(command: &str) -> Result<Suites, Problem> {
    let lower = command.to_ascii_lowercase();
    match lower.as_str() {
        "strength" => return Ok(Suites::NONE),
        // Of 80 and 112 bits: all that is served here is above.
        "seclevel=0" | "seclevel=1" | "seclevel=2" => return Ok(Suites::NONE),
        // No suites without forward secrecy.
        "seclevel=3" => return Ok(Suites::that(|suite| suite.exchange == Exchange::Rsa)),
        _ => {}
    }
    let message = format!(
        "has a command that is not read: {}",
        quoted(&format!("@{command}"))
    );
    let help = match lower.starts_with("seclevel") {
        true => "levels go from 0 to 3 here: no certificate of the usual kinds has more",
        false => "it is @STRENGTH or @SECLEVEL=N",
    };
    Err(Problem::new(message, help))
}

/// The suites that a word means.
fn meant(word: &str) -> Result<Suites, Problem> {
    if let Some(suites) = group(word).or_else(|| one(word)) {
        return Ok(suites);
    }
    if is_foreign(word) {
        return Ok(Suites::NONE);
    }
    let names = SUITES.iter().flat_map(|suite| [suite.name, suite.iana]);
    let words = GROUPS.iter().map(|(word, _)| *word);
    let profiles = ["strict", "compatible"].into_iter();
    let help = match nearest(word, profiles.chain(names).chain(words)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "docs/tls.md lists the names and words".to_owned(),
    };
    Err(Problem::new(
        format!("has a word that is unknown: {}", quoted(word)),
        help,
    ))
}

/// A suite by a name of its own. Those of ChaCha20 are also called without their hash.
fn one(word: &str) -> Option<Suites> {
    let is_called = |name: &str| {
        let short = name
            .strip_suffix("_SHA256")
            .filter(|s| s.ends_with("POLY1305"));
        word.eq_ignore_ascii_case(name) || short.is_some_and(|s| word.eq_ignore_ascii_case(s))
    };
    let found = SUITES.iter().find(|suite| {
        let with_hash = word
            .strip_suffix("-SHA256")
            .filter(|s| s.ends_with("POLY1305"));
        is_called(suite.name)
            || is_called(suite.iana)
            || with_hash.is_some_and(|word| word.eq_ignore_ascii_case(suite.name))
    });
    found.map(|suite| Suites::NONE.with(suite.code))
}

/// The suites up to TLS 1.2 that a word of OpenSSL's stands for: lists say nothing of TLS 1.3 but by name.
fn group(word: &str) -> Option<Suites> {
    let (_, fits) = GROUPS
        .iter()
        .find(|(known, _)| word.eq_ignore_ascii_case(known))?;
    Some(Suites::that(|suite| !suite.is_tls13() && fits(suite)))
}

type Fits = fn(&Suite) -> bool;

const GROUPS: &[(&str, Fits)] = {
    const ALL: Fits = |_| true;
    const NOTHING: Fits = |_| false;
    const ECDHE: Fits = |suite| matches!(suite.exchange, Exchange::Ecdhe);
    const STATIC: Fits = |suite| matches!(suite.exchange, Exchange::Rsa);
    const ECDSA: Fits = |suite| matches!(suite.auth, Auth::Ecdsa);
    const AES: Fits = |suite| !matches!(suite.cipher, Cipher::ChaCha20);
    const SHA1: Fits = |suite| matches!(suite.mac, Mac::Sha1);
    &[
        ("ALL", ALL),
        ("DEFAULT", ALL),
        ("HIGH", ALL),
        ("ECDHE", ECDHE),
        ("EECDH", ECDHE),
        ("kECDHE", ECDHE),
        ("kEECDH", ECDHE),
        ("ECDH", ECDHE),
        ("RSA", STATIC),
        ("kRSA", STATIC),
        ("aRSA", |suite| matches!(suite.auth, Auth::Rsa)),
        ("ECDSA", ECDSA),
        ("aECDSA", ECDSA),
        ("AES", AES),
        ("FIPS", AES),
        ("AES128", |suite| {
            matches!(suite.cipher, Cipher::Aes128Gcm | Cipher::Aes128Cbc)
        }),
        ("AES256", |suite| {
            matches!(suite.cipher, Cipher::Aes256Gcm | Cipher::Aes256Cbc)
        }),
        ("AESGCM", |suite| {
            matches!(suite.cipher, Cipher::Aes128Gcm | Cipher::Aes256Gcm)
        }),
        ("CHACHA20", |suite| matches!(suite.cipher, Cipher::ChaCha20)),
        ("SHA", SHA1),
        ("SHA1", SHA1),
        ("SHA256", |suite| matches!(suite.mac, Mac::Sha256)),
        ("SHA384", |suite| matches!(suite.mac, Mac::Sha384)),
        // The version that brought them.
        ("TLSv1.2", |suite| !matches!(suite.mac, Mac::Sha1)),
        ("TLSv1", |suite| SHA1(suite) && !STATIC(suite)),
        ("TLSv1.0", |suite| SHA1(suite) && !STATIC(suite)),
        ("SSLv3", |suite| SHA1(suite) && STATIC(suite)),
        // What OpenSSL knows, or knew, and nobody has here.
        ("MEDIUM", NOTHING),
        ("LOW", NOTHING),
        ("EXP", NOTHING),
        ("EXPORT", NOTHING),
        ("EXPORT40", NOTHING),
        ("EXPORT56", NOTHING),
        ("COMPLEMENTOFALL", NOTHING),
        ("COMPLEMENTOFDEFAULT", NOTHING),
        ("SSLv2", NOTHING),
    ]
};

/// Whether it is a word of OpenSSL's, or a suite of anybody's, that means nothing here. A name made of parts
/// that suites here have too is none: it is a slip of the pen.
fn is_foreign(word: &str) -> bool {
    const FOREIGN: &[&str] = &[
        "DHE",
        "EDH",
        "kDHE",
        "kEDH",
        "DH",
        "kDH",
        "kDHr",
        "kDHd",
        "aDH",
        "ADH",
        "AECDH",
        "kECDH",
        "kECDHr",
        "kECDHe",
        "aECDH",
        "DSS",
        "aDSS",
        "PSK",
        "kPSK",
        "aPSK",
        "kDHEPSK",
        "kECDHEPSK",
        "kRSAPSK",
        "SRP",
        "kSRP",
        "aSRP",
        "KRB5",
        "kKRB5",
        "aKRB5",
        "anon",
        "aNULL",
        "eNULL",
        "NULL",
        "RC4",
        "RC2",
        "IDEA",
        "SEED",
        "DES",
        "3DES",
        "CBC3",
        "MD5",
        "CAMELLIA",
        "CAMELLIA128",
        "CAMELLIA256",
        "ARIA",
        "ARIA128",
        "ARIA256",
        "ARIAGCM",
        "AESCCM",
        "AESCCM8",
        "CCM",
        "CCM8",
        "GOST",
        "GOST89",
        "GOST94",
        "GOST01",
        "GOST2001",
        "GOST2012256",
        "GOST89MAC",
        "kGOST",
        "aGOST",
        "aGOST01",
        "aGOST12",
        "EXP",
        "EXP1024",
        "EXPORT",
        "FZA",
        "kFZA",
        "aFZA",
        "eFZA",
    ];
    const SHARED: &[&str] = &[
        "TLS", "SSL", "WITH", "RSA", "ECDHE", "ECDH", "ECDSA", "AES", "AES128", "AES256", "128",
        "256", "40", "56", "64", "GCM", "CBC", "EDE", "CHACHA20", "POLY1305", "SHA", "SHA256",
        "SHA384", "OLD", "CNT", "IMIT",
    ];
    let is_in = |list: &[&str], part: &str| list.iter().any(|k| k.eq_ignore_ascii_case(part));
    let mut parts = word.split(['-', '_']);
    let mut is_foreign = false;
    parts.all(|part| {
        is_foreign |= is_in(FOREIGN, part);
        is_in(FOREIGN, part) || is_in(SHARED, part)
    }) && is_foreign
}

#[cfg(test)]
mod tests;
