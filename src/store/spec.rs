//! `--store`: where keys come from, as written on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One store. Displays as it may be written, without user or password: those are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSpec {
    Etcd(EtcdSpec),
    Dir(PathBuf),
    /// Files with certificates in a directory. Not written as a store: `--certs` says it.
    Certs(PathBuf),
    /// Keys that were given at the start and never change.
    Given(GivenKeys),
}

/// Keys with their values, and where they are from.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenKeys {
    pub from: &'static str,
    pub keys: Vec<(String, String)>,
}

/// The keys and not what is in them.
impl fmt::Debug for GivenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|(key, _)| key).collect();
        write!(f, "{names:?} of {}", self.from)
    }
}

impl StoreSpec {
    /// Whether it is this node's alone. What the cluster says is no matter of such a store: neither
    /// revision nor digest tell of it, and its certificates give way to those of keys.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Certs(_) | Self::Given(_))
    }
}

/// `etcd://HOST:PORT[,HOST:PORT]`: the members of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSpec {
    /// `host:port`, IPv6 literals in brackets. At least one.
    pub endpoints: Vec<String>,
    /// `etcds://`: TLS even if no certificate file is set.
    pub tls: bool,
}

/// Why a text is not a store. The message says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} in store {text:?}; accepted are {ACCEPTED}")]
pub struct StoreSpecError {
    text: String,
    problem: String,
}

const ACCEPTED: &str =
    "etcd://HOST:PORT[,HOST:PORT...], etcds://HOST:PORT[,HOST:PORT...] (TLS) and dir:PATH";

/// The port of an etcd member where none is written.
const ETCD_PORT: u16 = 2379;

impl FromStr for StoreSpec {
    type Err = StoreSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem: String| StoreSpecError {
            text: text.to_owned(),
            problem,
        };
        if let Some(path) = text.strip_prefix("dir:") {
            // "dir:///srv/keys" is what people used to URLs write.
            let path = path
                .strip_prefix("//")
                .filter(|rest| rest.starts_with('/'))
                .unwrap_or(path);
            if path.is_empty() {
                return Err(fail("no path".to_owned()));
            }
            // A trailing slash would make the status go inside the tree and not beside it.
            let path: PathBuf = Path::new(path).components().collect();
            return Ok(Self::Dir(path));
        }
        let (rest, tls) = if let Some(rest) = text.strip_prefix("etcd://") {
            (rest, false)
        } else if let Some(rest) = text.strip_prefix("etcds://") {
            (rest, true)
        } else {
            let scheme = text.split(':').next().unwrap_or_default();
            return Err(fail(format!("unknown kind {scheme:?}")));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(fail(
                "a path after the endpoints (the key prefix is --root)".to_owned(),
            ));
        }
        let endpoints = rest
            .split(',')
            .map(|endpoint| parse_endpoint(endpoint.trim()).map_err(&fail))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Etcd(EtcdSpec { endpoints, tls }))
    }
}

fn parse_endpoint(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an endpoint without a host".to_owned());
    }
    if text.contains('@') {
        return Err(
            "a user in the address (use the user and password settings, which do not show in the process list)"
                .to_owned(),
        );
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(format!("endpoint {text:?} lacks its \"]\""));
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("{host:?} is no IPv6 address"));
        }
        let port = match after {
            "" => None,
            _ => match after.strip_prefix(':') {
                Some(port) => Some(port),
                None => return Err(format!("{after:?} after the address of {text:?}")),
            },
        };
        (format!("[{host}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return Err(format!(
                "endpoint {text:?} has more than one \":\" (write an IPv6 address as [::1]:2379)"
            ));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(good) {
            return Err(format!("{host:?} is no host name or address"));
        }
        (host.to_owned(), port)
    };
    let port = match port {
        None => ETCD_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => {
                return Err(format!(
                    "port {port:?} of endpoint {text:?} is not between 1 and 65535"
                ));
            }
        },
    };
    Ok(format!("{host}:{port}"))
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd(etcd) => etcd.fmt(f),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Certs(path) => path.display().fmt(f),
            Self::Given(given) => f.write_str(given.from),
        }
    }
}

impl fmt::Display for EtcdSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}", self.endpoints.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_read_as_written() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<StoreSpec>().expect(text).to_string(), shown);
        };
        check("etcd://127.0.0.1:2379", "etcd://127.0.0.1:2379");
        check("etcd://a:1,b.example:2/", "etcd://a:1,b.example:2");
        check("etcd://a, b", "etcd://a:2379,b:2379");
        check(
            "etcds://[::1]:2379,[fd00::2]",
            "etcds://[::1]:2379,[fd00::2]:2379",
        );
        check("dir:./keys/", "dir:./keys");
        check("dir:/srv/keys", "dir:/srv/keys");
        check("dir:///srv/keys", "dir:/srv/keys");
    }

    #[test]
    fn what_is_no_store_is_told_with_what_is_accepted() {
        let check = |text: &str, problem: &str| {
            let error = text.parse::<StoreSpec>().expect_err(text).to_string();
            assert_eq!(
                error,
                format!("{problem} in store {text:?}; accepted are {ACCEPTED}")
            );
        };
        check("consul://a:8500", "unknown kind \"consul\"");
        check("keys", "unknown kind \"keys\"");
        check("dir:", "no path");
        check("etcd://", "an endpoint without a host");
        check("etcd://a:2379,,b:2379", "an endpoint without a host");
        check(
            "etcd://a:99999",
            "port \"99999\" of endpoint \"a:99999\" is not between 1 and 65535",
        );
        check(
            "etcd://a:0",
            "port \"0\" of endpoint \"a:0\" is not between 1 and 65535",
        );
        check(
            "etcd://::1:2379",
            "endpoint \"::1:2379\" has more than one \":\" (write an IPv6 address as [::1]:2379)",
        );
        check("etcd://[::1", "endpoint \"[::1\" lacks its \"]\"");
        check("etcd://[zz]:1", "\"zz\" is no IPv6 address");
        check("etcd://a b:1", "\"a b\" is no host name or address");
        check(
            "etcd://root:pw@a:1",
            "a user in the address (use the user and password settings, which do not show in the process list)",
        );
        check(
            "etcd://a:1/pointsman/lb",
            "a path after the endpoints (the key prefix is --root)",
        );
    }
}
