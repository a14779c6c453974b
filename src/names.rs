//! Names that are easily confused get a type of their own. All are cheap to clone.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name! {
    /// A unit: one template over one subtree, such as `services/web`, or one template over the
    /// whole tree, such as `balancer`. For a subtree the name is the key prefix it came from.
    UnitName
}

name! {
    /// Something to balance to. Unique over HTTP and TCP services of one balancer.
    ServiceName
}

name! {
    /// A certificate, as its key calls it: the last part of `certs/<name>`.
    CertificateName
}

name! {
    /// One address of a service, as its key calls it: the last part of `upstreams/<instance>`. Of a key that says
    /// a name of DNS there is one for each address, `<instance>/<address>`; no key has a slash in its name.
    UpstreamName
}

impl UpstreamName {
    /// What its key is called: what it is drained by, with all other addresses of that key.
    pub fn key(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// Whether it is an answer of DNS.
    pub fn is_resolved(&self) -> bool {
        self.0.contains('/')
    }
}

name! {
    /// A name that DNS is asked for: lower case, in ASCII, checked. With a dot at its end it is whole, and no
    /// search domain is put behind it.
    DnsName
}

/// Whether a service can be called so. No name is a pattern or has one in it: what reads keys by patterns would take
/// another service's for its own.
pub fn is_service_name(text: &str) -> bool {
    const BYTES: usize = 200;
    let stranger =
        |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '"' | '\\') || is_of_pattern(c);
    (1..=BYTES).contains(&text.len()) && !text.contains(stranger) && !matches!(text, "." | "..")
}

pub fn is_of_pattern(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | ']' | '{' | '}')
}

/// The order that people expect of names with numbers in them: `cert2` before `cert10`.
///
/// Runs of digits compare as numbers, everything else byte by byte; names that are equal by that
/// (`cert2` and `cert02`) compare as texts, so that two different names are never equal.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(first_a), Some(first_b)) = (rest_a.first(), rest_b.first()) else {
            return rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b));
        };
        let order = if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            let (number_a, number_b) = (number(&mut rest_a), number(&mut rest_b));
            let by_length = number_a.len().cmp(&number_b.len());
            by_length.then_with(|| number_a.cmp(number_b))
        } else {
            (rest_a, rest_b) = (&rest_a[1..], &rest_b[1..]);
            first_a.cmp(first_b)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits at the start, without leading zeros, cut off.
fn number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let all = *rest;
    let end = all.iter().position(|b| !b.is_ascii_digit());
    let (digits, after) = all.split_at(end.unwrap_or(all.len()));
    *rest = after;
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_not_called_as_a_pattern() {
        for name in ["web", "web-1.app_2", "a@b", "x".repeat(200).as_str()] {
            assert!(is_service_name(name), "{name}");
        }
        let long = "x".repeat(201);
        for name in [
            "", ".", "..", "p*", "?", "a[b", "a]", "{a", "a}", "a/b", "a\\", "a b", "a\n", "ü",
            &long,
        ] {
            assert!(!is_service_name(name), "{name}");
        }
    }

    #[test]
    fn an_address_of_a_name_is_called_by_the_key_and_itself() {
        let of_name = UpstreamName::from("app/[::1]:80");
        assert_eq!((of_name.key(), of_name.is_resolved()), ("app", true));
        let own = UpstreamName::from("app");
        assert_eq!((own.key(), own.is_resolved()), ("app", false));
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = vec![
            "cert10",
            "cert2",
            "cert",
            "a",
            "cert2b",
            "cert02",
            "cert1_gen",
            "cert10_gen",
            "b10a2",
            "b10a10",
            "SSL_CERT_x",
            "cert99999999999999999999",
            "cert100000000000000000000",
            "",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "",
                "SSL_CERT_x",
                "a",
                "b10a2",
                "b10a10",
                "cert",
                "cert1_gen",
                "cert02",
                "cert2",
                "cert2b",
                "cert10",
                "cert10_gen",
                "cert99999999999999999999",
                "cert100000000000000000000",
            ]
        );
    }

    #[test]
    fn the_order_is_one_for_every_three_names() {
        let names = [
            "", "0", "00", "1", "01", "a", "a0", "a00", "a1", "a01", "a10", "a1a", "a01b", "-", "~",
        ];
        for a in names {
            for b in names {
                assert_eq!(natural(a, b), natural(b, a).reverse());
                assert_eq!(natural(a, b).is_eq(), a == b);
                for c in names {
                    let falls = natural(a, b).is_lt() && natural(b, c).is_lt();
                    assert!(!falls || natural(a, c).is_lt(), "{a} {b} {c}");
                }
            }
        }
    }
}
