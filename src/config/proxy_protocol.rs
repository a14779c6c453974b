//! `accept_proxy` and `send_proxy`: who says by a header who the client is, and to whom it is said.

use ipnet::IpNet;

use super::access;
use super::fields::Fields;
use super::values::{self, Problem, unknown_word};
use crate::diag::quoted;
use crate::proxy_header::Form;

/// From whom connections begin with a PROXY header. `None` if it is not set.
pub(super) fn accepted(fields: &mut Fields<'_>) -> Option<Vec<IpNet>> {
    if !fields.is_set("accept_proxy") {
        return None;
    }
    let items = fields.items("accept_proxy", access::NETWORKS);
    if let [item] = items[..] {
        if item.text.eq_ignore_ascii_case("none") || values::boolean(item.text) == Ok(false) {
            return Some(Vec::new());
        }
        // In Kontena's load balancer it was on when it was there at all, for everybody who connects.
        if values::boolean(item.text) == Ok(true) {
            let problem = Problem::new(
                format!("{} names nobody", quoted(item.text)),
                "whoever it takes a header from says who it is: write the networks of the proxies in \
                 front, such as 10.0.0.0/8, or 0.0.0.0/0,::/0 if nobody else can connect",
            );
            fields.refuse("accept_proxy", item, &problem);
            return None;
        }
    }
    Some(access::canonical_networks(fields, "accept_proxy", items))
}

/// How connections to upstreams begin: `none`, or a form of header.
pub(super) fn sent(text: &str) -> Result<Option<Form>, Problem> {
    let word = text.to_ascii_lowercase();
    if word == "none" || values::boolean(text) == Ok(false) {
        return Ok(None);
    }
    let form = Form::ALL.into_iter().find(|form| form.word() == word);
    let [v1, v2, ssl] = Form::ALL.map(Form::word);
    match form {
        Some(form) => Ok(Some(form)),
        None => Err(unknown_word(text, &["none", v1, v2, ssl])),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accepted, Balancer, Unit, parse};
    use super::*;

    fn accepted(value: &str) -> Result<String, String> {
        let flags = Balancer {
            accept_proxy: vec!["192.0.2.0/24".parse().unwrap()],
            ..Balancer::default()
        };
        let text = format!("balancer:\n  accept_proxy: {value}\n");
        match parse(&"balancer".into(), &text, &flags) {
            Ok(Accepted {
                unit: Unit::Balancer(balancer),
                ..
            }) => {
                let networks = balancer.accept_proxy.iter().map(ToString::to_string);
                Ok(networks.collect::<Vec<_>>().join(","))
            }
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.iter().map(|p| p.message.clone()).collect()),
        }
    }

    #[test]
    fn headers_are_taken_from_networks_that_are_named() {
        let check = |value: &str, expected: &str| {
            assert_eq!(accepted(value).as_deref(), Ok(expected), "{value}");
        };
        check("''", "192.0.2.0/24");
        for nobody in ["none", "None", "'false'", "off", "[none]"] {
            check(nobody, "");
        }
        check("'10.1.2.3/8, ::1'", "10.0.0.0/8,::1/128");
        check(
            "[10.0.0.0/8, '::ffff:192.0.2.1']",
            "10.0.0.0/8,192.0.2.1/32",
        );
        check("'0.0.0.0/0,::/0'", "0.0.0.0/0,::/0");
        let refused = |value: &str, expected: &str| {
            assert_eq!(accepted(value), Err(expected.to_owned()), "{value}");
        };
        for everybody in ["true", "Yes", "'1'", "[on]"] {
            let word = everybody.trim_matches(['[', ']', '\'']);
            refused(everybody, &format!("accept_proxy {word:?} names nobody"));
        }
        refused("'none,10.0.0.1'", "accept_proxy \"none\" is no network");
        refused("v2", "accept_proxy \"v2\" is no network");
        refused("{a: b}", "accept_proxy is a map and has to be a list");
    }

    #[test]
    fn headers_are_sent_in_a_form_that_is_named() {
        for form in Form::ALL {
            assert_eq!(sent(form.word()), Ok(Some(form)));
        }
        assert_eq!(sent("V2-SSL"), Ok(Some(Form::V2Ssl)));
        for nobody in ["none", "off", "false"] {
            assert_eq!(sent(nobody), Ok(None));
        }
        for wrong in ["true", "v3", "send-proxy", "2"] {
            assert!(sent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whose_connections_they_are_is_asked_of_the_address_as_ipv4_where_it_is_one() {
        let of = |networks: &[&str]| Balancer {
            accept_proxy: networks.iter().map(|n| n.parse().unwrap()).collect(),
            ..Balancer::default()
        };
        let named = of(&["10.0.0.0/8", "fd00::/8"]);
        let asks = |ip: &str| named.is_announced_by(ip.parse().unwrap());
        assert!(asks("10.1.1.1") && asks("::ffff:10.1.1.1") && asks("fd00::1"));
        assert!(!asks("11.0.0.1") && !asks("::ffff:11.0.0.1") && !asks("fe80::1"));
        assert!(!of(&[]).is_announced_by("10.1.1.1".parse().unwrap()));
    }
}
