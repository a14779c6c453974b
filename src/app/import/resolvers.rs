//! `resolvers`: whom names of servers are asked of.

use std::net::{IpAddr, SocketAddr};

use super::Imported;
use super::file::{Kind, Section};

const WORD: &str = "resolvers ";

pub(super) fn is(section: &Section) -> bool {
    section.kind == Kind::Other && section.name.starts_with(WORD)
}

/// Servers hold for the whole balancer here, so that those of one section are carried over.
pub(super) fn carry(sections: &[Section], imported: &mut Imported) {
    let mut all = sections.iter().filter(|section| is(section));
    let Some(first) = all.next() else { return };
    for other in all {
        imported.left(
            other.number,
            format!(
                "section {} is not carried over: settings/dns_servers holds for all names",
                other.name
            ),
        );
    }
    let mut servers = Vec::new();
    for line in &first.lines {
        match line.word(0) {
            "nameserver" => match server(line.word(2)) {
                Some(server) => servers.push(server.to_string()),
                None => imported.left(
                    line.number,
                    format!("nameserver {} is not carried over", line.word(2)),
                ),
            },
            // The system's are asked where none are named.
            "parse-resolv-conf" => {}
            _ => imported.left(
                line.number,
                format!(
                    "{} is not carried over: see settings/dns_interval and dns_timeout",
                    line.text
                ),
            ),
        }
    }
    if !servers.is_empty() {
        imported.key("settings/dns_servers", servers.join(","));
    }
}

/// By UDP, and by TCP where that is too short, as `udp@` has it.
fn server(written: &str) -> Option<SocketAddr> {
    let bare = ["udp@", "udp4@", "udp6@", "ipv4@", "ipv6@"]
        .iter()
        .find_map(|prefix| written.strip_prefix(prefix))
        .unwrap_or(written);
    let with_port = bare.parse::<SocketAddr>().ok();
    with_port.or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 53)))
}

#[cfg(test)]
mod tests {
    use super::super::translate::translate;

    fn translated(text: &str) -> (Vec<String>, Vec<String>) {
        let imported = translate(text);
        let is_of_names = |key: &str| key.contains("dns_") || key.contains("upstreams/");
        let keys = imported.keys.iter().filter(|(key, _)| is_of_names(key));
        let keys = keys.map(|(key, value)| format!("{key} {value}"));
        let left = imported
            .left
            .iter()
            .map(|left| format!("{}: {}", left.line, left.why));
        (keys.collect(), left.collect())
    }

    const HEAD: &str =
        "frontend www\n bind :8080\n mode http\n default_backend app\nbackend app\n mode http\n";

    #[test]
    fn servers_keep_their_names_and_the_balancer_asks_the_same_servers() {
        let (keys, left) = translated(&format!(
            "{HEAD} default-server check resolvers docker init-addr none
 server web app.internal:80 weight 5
 server own 10.0.0.1:80
 server-template pool 5 pool.internal:8080
 server-template srv 9 _http._tcp.app.internal
resolvers docker
 parse-resolv-conf
 nameserver dns1 127.0.0.11:53
 nameserver dns2 udp@10.0.0.2:5353
 hold valid 10s
 nameserver odd /var/run/dns
resolvers other
 nameserver dns3 10.0.0.3:53
"
        ));
        assert_eq!(
            keys,
            [
                "services/app/upstreams/own 10.0.0.1:80",
                "services/app/upstreams/pool pool.internal:8080",
                "services/app/upstreams/srv srv:_http._tcp.app.internal",
                "services/app/upstreams/web app.internal:80 weight=5",
                "settings/dns_servers 127.0.0.11:53,10.0.0.2:5353",
            ]
        );
        assert_eq!(
            left,
            [
                "16: hold valid 10s is not carried over: see settings/dns_interval and dns_timeout",
                "17: nameserver /var/run/dns is not carried over",
                "18: section resolvers other is not carried over: settings/dns_servers holds for all names",
            ]
        );
    }

    #[test]
    fn without_resolvers_a_name_stood_for_one_address_which_is_told() {
        let (keys, left) = translated(&format!(
            "{HEAD} server web app.internal:80 check\n server odd app*.internal:80 check\n server bare app.internal check\n"
        ));
        assert_eq!(keys, ["services/app/upstreams/web app.internal:80"]);
        assert_eq!(
            left,
            [
                "7: app.internal is asked for again and again here, and all its addresses serve",
                "8: server odd is left out: \"app*.internal:80\" is no host name; '*' cannot be in one; letters, digits, - and _ can",
                "9: server bare is left out: \"app.internal\" is no address; the port is missing; write app.internal:80 if it is 80",
            ]
        );
    }
}
