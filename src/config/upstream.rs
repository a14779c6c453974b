//! The value of an upstream: `10.0.0.1:80`, `app.internal:80` or `srv:_http._tcp.app.internal`, and a
//! weight behind it.

use std::net::{IpAddr, SocketAddr};

use super::address::{check_labels, no_host};
use super::unit::Address;
use super::values::{Problem, count, port, unknown_word};
use crate::diag::quoted;
use crate::names::DnsName;

const SRV: &str = "srv:";

/// Gives address and weight.
pub fn upstream(text: &str) -> Result<(Address, u16), Problem> {
    let mut words = text.split_ascii_whitespace();
    let Some(first) = words.next() else {
        return Err(Problem::new(
            "is empty",
            "write an address and a port, such as 10.0.0.1:80 or app.internal:80",
        ));
    };
    let address = address(first)?;
    let mut weight = None;
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if name != "weight" {
            let mut problem = unknown_word(name, &["weight"]);
            problem.message = format!("has an option {} that is unknown", quoted(name));
            return Err(problem);
        }
        if weight.is_some() {
            return Err(Problem::new("has two weights", "keep one of the two"));
        }
        let value = count(value, 0..=256).map_err(|problem| Problem {
            message: format!("has a weight that cannot be: {}", problem.message),
            ..problem
        })?;
        if value > 1 && matches!(address, Address::Srv(_)) {
            return Err(Problem::new(
                "has a weight, and SRV records have their own",
                "remove it; weight=0 alone can be said, to drain all of them",
            ));
        }
        weight = Some(u16::try_from(value).unwrap_or(256));
    }
    Ok((address, weight.unwrap_or(1)))
}

fn address(text: &str) -> Result<Address, Problem> {
    let refuse = |help: String| Problem::new(format!("{} is no address", quoted(text)), help);
    if let Some((_, rest)) = text.split_once("://") {
        return Err(refuse(format!(
            "write address and port alone, without a scheme: {}",
            quoted(rest.trim_end_matches('/'))
        )));
    }
    if let Some(name) = text.strip_prefix(SRV) {
        return srv(text, name);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(address, 80);
        return Err(refuse(format!(
            "the port is missing; write {example} if it is 80"
        )));
    }
    let Some((host, digits)) = text.rsplit_once(':') else {
        return Err(refuse(if is_srv(text) {
            format!("the port is missing; write srv:{text} if SRV records say it")
        } else if dns_name(text, text).is_ok() {
            format!("the port is missing; write {text}:80 if it is 80")
        } else {
            "write an address and a port, such as 10.0.0.1:80 or app.internal:80".to_owned()
        }));
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let Ok(address) = bare.parse::<IpAddr>() else {
        let is_none = bare.is_empty() || bare != host || bare.contains([':', '[', ']', '%']);
        if is_none || is_like_address(bare) {
            return Err(refuse(
                "write an address and a port, such as 10.0.0.1:80 or [::1]:80".to_owned(),
            ));
        }
        let name = dns_name(text, bare)?;
        return Ok(Address::Named(name, read_port(text, digits)?));
    };
    if address.is_ipv6() && bare == host {
        return Err(refuse(
            "put an IPv6 address in brackets, as in [::1]:80".to_owned(),
        ));
    }
    let port = read_port(text, digits)?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(refuse(
            "nothing can be reached at it; write the address of one host".to_owned(),
        ));
    }
    Ok(Address::At(SocketAddr::new(address, port)))
}

fn srv(text: &str, name: &str) -> Result<Address, Problem> {
    if name.contains(':') {
        return Err(Problem::new(
            format!("{} is no SRV name", quoted(text)),
            "its records say the port: write the name alone, as in srv:_http._tcp.app.internal",
        ));
    }
    Ok(Address::Srv(dns_name(text, name)?))
}

fn read_port(text: &str, digits: &str) -> Result<u16, Problem> {
    port(digits).map_err(|problem| Problem {
        message: format!("{} has a port that cannot be", quoted(text)),
        ..problem
    })
}

/// A name with a dot at its end is whole: no search domain of resolv.conf is put behind it.
fn dns_name(text: &str, name: &str) -> Result<DnsName, Problem> {
    let name = name.to_ascii_lowercase();
    let plain = name.strip_suffix('.').unwrap_or(&name);
    check_labels(text, plain)?;
    if is_like_address(plain) {
        return Err(no_host(
            text,
            "its last part is a number, as in an address, and it is none",
        ));
    }
    Ok(DnsName::from(name.as_str()))
}

/// No name ends in a number, and what does was meant to be an address.
fn is_like_address(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Whether it looks like the name of SRV records.
fn is_srv(name: &str) -> bool {
    let mut labels = name.split('.');
    let is_service = labels.next().is_some_and(|label| label.starts_with('_'));
    is_service && matches!(labels.next(), Some("_tcp" | "_udp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_addresses_with_an_optional_weight() {
        let address = |s: &str| Address::At(s.parse().unwrap());
        assert_eq!(upstream("10.0.0.1:80"), Ok((address("10.0.0.1:80"), 1)));
        assert_eq!(
            upstream(" 10.0.0.1:80  weight=0 "),
            Ok((address("10.0.0.1:80"), 0))
        );
        assert_eq!(
            upstream("[::1]:80 weight=256"),
            Ok((address("[::1]:80"), 256))
        );
    }

    #[test]
    fn upstreams_may_be_names() {
        let named = |name: &str, port| Address::Named(name.into(), port);
        let check = |text: &str, address: Address, weight| {
            assert_eq!(upstream(text), Ok((address, weight)), "{text}");
        };
        check("app.internal:8080", named("app.internal", 8080), 1);
        check("App.Internal:8080 weight=5", named("app.internal", 8080), 5);
        check("localhost:80", named("localhost", 80), 1);
        check("app.internal.:80", named("app.internal.", 80), 1);
        check("tasks.my_app:80", named("tasks.my_app", 80), 1);
        check("web-1:80", named("web-1", 80), 1);
        check("1password.test:80", named("1password.test", 80), 1);
        let srv = Address::Srv("_http._tcp.app.internal".into());
        check("srv:_http._tcp.App.internal", srv.clone(), 1);
        check("srv:_http._tcp.app.internal weight=0", srv, 0);
        for text in [
            "10.0.0.1:80",
            "app.internal:80",
            "srv:_http._tcp.app.internal",
        ] {
            assert_eq!(upstream(text).unwrap().0.to_string(), text);
        }
    }

    #[test]
    fn bad_upstreams_are_refused_with_advice() {
        let check = |text: &str, help: &str| {
            let problem = upstream(text).expect_err(text);
            let whole = format!("{}; {}", problem.message, problem.help.unwrap_or_default());
            assert!(whole.contains(help), "{text}: {whole}");
        };
        check("", "10.0.0.1:80");
        check("10.0.0.1", "write 10.0.0.1:80");
        check("::1", "write [::1]:80");
        check("10.0.0.1:0", "from 1 to 65535");
        check("10.0.0.1:99999", "from 1 to 65535");
        check("10.0.0.1:http", "from 1 to 65535");
        check("http://10.0.0.1:80/", "\"10.0.0.1:80\"");
        check("fe80::1%eth0:80", "write an address");
        check("1:2:3:4:5:6:7:8:80", "brackets");
        check("fd00:::80", "brackets");
        check("fd00::1:80", "the port is missing");
        check("1:2:3:4:5:6:7:8", "the port is missing");
        check("256.0.0.1:80", "write an address");
        check("0.0.0.0:80", "nothing can be reached");
        check("10.0.0.1:80 wieght=5", "did you mean \"weight\"?");
        check("10.0.0.1:80 weight=257", "from 0 to 256");
        check("10.0.0.1:80 weight", "from 0 to 256");
        check("10.0.0.1:80 weight=1 weight=2", "two weights");
        check("10.0.0.1:80 backup", "option \"backup\"");
    }

    #[test]
    fn bad_names_are_refused_with_advice() {
        let check = |text: &str, told: &str| {
            let problem = upstream(text).expect_err(text);
            let whole = format!("{}; {}", problem.message, problem.help.unwrap_or_default());
            assert_eq!(whole, told, "{text}");
        };
        check(
            "app:http",
            "\"app:http\" has a port that cannot be; write a number from 1 to 65535",
        );
        check(
            "app.internal",
            "\"app.internal\" is no address; the port is missing; write app.internal:80 if it is 80",
        );
        check(
            "_http._tcp.app.internal",
            "\"_http._tcp.app.internal\" is no address; the port is missing; \
             write srv:_http._tcp.app.internal if SRV records say it",
        );
        check(
            "srv:_http._tcp.app.internal:80",
            "\"srv:_http._tcp.app.internal:80\" is no SRV name; its records say the port: \
             write the name alone, as in srv:_http._tcp.app.internal",
        );
        check(
            "srv:_http._tcp.app.internal weight=5",
            "has a weight, and SRV records have their own; \
             remove it; weight=0 alone can be said, to drain all of them",
        );
        check(
            "srv:",
            "\"srv:\" is no host name; there is nothing between two dots, or beside one",
        );
        check(
            "*.internal:80",
            "\"*.internal:80\" is no host name; '*' cannot be in one; letters, digits, - and _ can",
        );
        check(
            "app$.internal:80",
            "\"app$.internal:80\" is no host name; '$' cannot be in one; letters, digits, - and _ can",
        );
        check(
            "app..internal:80",
            "\"app..internal:80\" is no host name; there is nothing between two dots, or beside one",
        );
        check(
            "\u{e4}pp:80",
            "\"\u{e4}pp:80\" is no host name; names beyond ASCII are written in their xn-- form, as browsers send them",
        );
        for numeric in [
            "10.0.0:80",
            "1234:80",
            "10.0.0.1.:80",
            "0x7f.0x1:80",
            ":80",
            "[app]:80",
        ] {
            let told = "write an address and a port, such as 10.0.0.1:80 or [::1]:80";
            check(numeric, &format!("{numeric:?} is no address; {told}"));
        }
        check(
            "srv:10.0.0.1",
            "\"srv:10.0.0.1\" is no host name; its last part is a number, as in an address, and it is none",
        );
        let long = format!("{}:80", "a".repeat(64));
        let problem = upstream(&long).unwrap_err();
        assert_eq!(
            problem.help.as_deref(),
            Some("a part between dots has at most 63 characters")
        );
        let long = format!("{}x:80", "a.".repeat(200));
        let problem = upstream(&long).unwrap_err();
        assert_eq!(
            problem.help.as_deref(),
            Some("a name has at most 253 characters")
        );
    }
}
