//! `dns_servers`, `dns_interval`, `dns_timeout`: how names of upstreams are resolved.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::Fields;
use super::values::Problem;
use crate::diag::quoted;
use crate::dns::Settings;

/// Nobody asks more of them for one name.
const SERVERS: usize = 8;
const PORT: u16 = 53;
/// Shorter would be a burden, longer as good as never.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

/// As `defaults` has it, with what the fields say on top.
pub(super) fn settings(fields: &mut Fields<'_>, defaults: &Settings) -> Settings {
    let servers = if fields.is_set("dns_servers") {
        servers(fields)
    } else {
        defaults.servers.clone()
    };
    Settings {
        servers,
        interval: fields
            .duration("dns_interval", INTERVAL)
            .unwrap_or(defaults.interval),
        timeout: fields
            .duration("dns_timeout", TIMEOUT)
            .unwrap_or(defaults.timeout),
    }
}

/// In the order in which they are written, each once.
fn servers(fields: &mut Fields<'_>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for written in fields.items("dns_servers", SERVERS) {
        match server(written.text) {
            Ok(server) if servers.contains(&server) => {}
            Ok(server) => servers.push(server),
            Err(problem) => fields.refuse("dns_servers", written, &problem),
        }
    }
    servers
}

fn server(text: &str) -> Result<SocketAddr, Problem> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    let address = bare.or_else(|_| text.parse::<SocketAddr>());
    match address {
        Ok(address) if address.port() > 0 && !address.ip().is_unspecified() => Ok(address),
        _ => Err(Problem::new(
            format!("{} is no address of a DNS server", quoted(text)),
            "write an address, with a port if it is not 53: 10.0.0.2, 10.0.0.2:5353 or [fd00::2]:53",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Balancer, Unit, parse};
    use super::*;

    fn read(fields: &str) -> Result<Settings, String> {
        let text = format!("balancer:\n{fields}");
        match parse(&"balancer".into(), &text, &Balancer::default()) {
            Ok(accepted) => match accepted.unit {
                Unit::Balancer(balancer) => Ok(balancer.dns),
                other => panic!("{other:?}"),
            },
            Err(problems) => Err(problems[0].to_string()),
        }
    }

    #[test]
    fn servers_have_port_53_unless_they_say_another() {
        let all = "  dns_servers: 10.0.0.2, 10.0.0.3:5353, fd00::2, [fd00::3]:54, 10.0.0.2:53\n";
        let servers = read(all).unwrap().servers;
        let shown: Vec<_> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.2:53",
                "10.0.0.3:5353",
                "[fd00::2]:53",
                "[fd00::3]:54"
            ]
        );
        assert_eq!(read("  retries: 1\n"), Ok(Settings::default()));
    }

    #[test]
    fn bad_settings_are_refused_with_advice() {
        let check = |line: &str, expected: &str| {
            let told = read(&format!("  {line}\n")).expect_err(line);
            assert!(told.contains(expected), "{line}: {told}");
        };
        check("dns_servers: ns.internal", "is no address of a DNS server");
        check("dns_servers: 10.0.0.1:0", "is no address of a DNS server");
        check("dns_servers: 0.0.0.0", "is no address of a DNS server");
        check("dns_servers: '10.0.0.1,'", "is no address of a DNS server");
        check(
            "dns_servers: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6, 10.0.0.7, 10.0.0.8, 10.0.0.9]",
            "it may have 8",
        );
        check("dns_interval: 10ms", "dns_interval");
        check("dns_interval: 2h", "dns_interval");
        check("dns_timeout: 0", "dns_timeout");
        check("dns_timeout: 1m", "dns_timeout");
    }
}
