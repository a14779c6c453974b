//! What the environment holds beside flags, as Kontena's load balancer was given it: certificates, and the password of
//! its statistics.

use std::ffi::OsString;

use crate::store::GivenKeys;
use crate::tls;

/// Bundles one after the other; they are called `SSL_CERTS-1` and so on, by their order.
const MANY: &str = "SSL_CERTS";

/// One bundle, called by what follows.
const ONE: &str = "SSL_CERT_";

/// Other programs' words, and libraries': files with authorities.
const FOREIGN: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The password of user `stats`: our name before Kontena's.
const STATS_PASSWORD: [&str; 2] = ["LB_STATS_PASSWORD", "STATS_PASSWORD"];

/// The variable that says the password of user `stats`, and what it says. An empty one is not set, but where no other
/// says more, it is worth telling.
pub(super) fn stats_password() -> Option<(&'static str, String)> {
    let set = STATS_PASSWORD.into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    let all: Vec<_> = set.collect();
    let full = all.iter().find(|(_, value)| !value.trim().is_empty());
    full.or(all.first()).cloned()
}

/// Keys for them, if there are any. An empty variable is not set.
pub(super) fn certificates(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Option<GivenKeys> {
    let mut keys = Vec::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str() else {
            continue;
        };
        let value = value.to_string_lossy();
        if variable == MANY {
            let bundles = tls::bundles(&value).into_iter().enumerate();
            keys.extend(bundles.map(|(at, bundle)| {
                let key = format!("certs/{MANY}-{}", at + 1);
                (key, bundle.to_owned())
            }));
        } else if let Some(name) = variable.strip_prefix(ONE)
            && !FOREIGN.contains(&variable)
            && !value.trim().is_empty()
        {
            if name.is_empty() || name.contains('/') {
                tracing::warn!(
                    variable,
                    "not read: what follows SSL_CERT_ is the certificate's name, and has no slash"
                );
                continue;
            }
            keys.push((format!("certs/{name}"), value.into_owned()));
        }
    }
    keys.sort();
    (!keys.is_empty()).then_some(GivenKeys {
        from: "environment",
        keys,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter();
        let given = certificates(variables.map(|(name, value)| (name.into(), value.into())));
        let keys = given.map(|given| given.keys).unwrap_or_default();
        keys.into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    #[test]
    fn variables_become_keys_and_those_of_others_do_not() {
        let [a, b] = ["a", "b"]
            .map(|text| format!("-----BEGIN X-----\n{text}\n-----END PRIVATE KEY-----\n"));
        assert_eq!(
            found(&[
                ("SSL_CERT_www.example.com", "one"),
                ("SSL_CERTS", &format!("{a}{b}")),
                ("SSL_CERT_FILE", "/etc/ssl/cert.pem"),
                ("SSL_CERT_DIR", "/etc/ssl"),
                ("SSL_CERT_empty", ""),
                ("SSL_CERT_", "no name"),
                ("SSL_CERT_a/b", "no name"),
            ]),
            [
                format!("certs/SSL_CERTS-1={a}"),
                format!("certs/SSL_CERTS-2={b}"),
                "certs/www.example.com=one".to_owned(),
            ]
        );
        assert!(found(&[("SSL_CERTS", ""), ("SSL_CERT", "x")]).is_empty());
    }
}
