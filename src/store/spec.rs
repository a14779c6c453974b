//! `--store`: where keys come from, as written on the command line.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::link::Reach;

/// One store. Displays as it may be written, without user or password: those are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSpec {
    Etcd(EtcdSpec),
    Dir(PathBuf),
    /// Containers of a Docker engine that announce themselves.
    Docker(DockerSpec),
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

/// `docker:`, `docker:///PATH` or `docker://HOST:PORT`, with options behind: `?link=NAME&relist=TIME&poll=TIME&swarm=off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSpec {
    pub engine: DockerEngine,
    /// Only containers that link to this name.
    pub link: Option<String>,
    /// How often everything is compared with the engine, besides its events.
    pub relist: Duration,
    /// How often the tasks of a Swarm are asked for.
    pub poll: Duration,
    /// Services of a Swarm are followed where the engine is one of its managers.
    pub swarm: bool,
    /// From where its containers are reached. Not written in a store: `pointsman agent` knows it.
    pub reach: Reach,
}

/// Where an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerEngine {
    Socket(PathBuf),
    /// `host:port`, plain.
    Tcp(String),
}

/// Why a text is not a store. The message says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} in store {text:?}; accepted are {ACCEPTED}")]
pub struct StoreSpecError {
    text: String,
    problem: String,
}

const ACCEPTED: &str = "etcd://HOST:PORT[,HOST:PORT...], etcds://HOST:PORT[,HOST:PORT...] (TLS), dir:PATH and docker://[SOCKET|HOST:PORT][?link=NAME]";

/// The port of an etcd member where none is written.
const ETCD_PORT: u16 = 2379;

/// The port of an engine where none is written: the one that Docker has for plain TCP.
const DOCKER_PORT: u16 = 2375;

const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// How often everything is compared with the engine where nothing is said.
const RELIST: Duration = Duration::from_secs(30);

/// How often tasks are asked for where nothing is said.
const POLL: Duration = Duration::from_millis(500);

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
        if let Some(rest) = text.strip_prefix("docker:") {
            return parse_docker(rest).map(Self::Docker).map_err(fail);
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
            .map(|endpoint| parse_endpoint(endpoint.trim(), ETCD_PORT).map_err(&fail))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Etcd(EtcdSpec { endpoints, tls }))
    }
}

fn parse_docker(text: &str) -> Result<DockerSpec, String> {
    let (place, options) = text.split_once('?').unwrap_or((text, ""));
    let place = place.strip_prefix("//").unwrap_or(place);
    let engine = match place {
        "" => DockerEngine::Socket(DOCKER_SOCKET.into()),
        path if path.starts_with('/') => DockerEngine::Socket(path.into()),
        address => DockerEngine::Tcp(parse_endpoint(address.trim_end_matches('/'), DOCKER_PORT)?),
    };
    let mut spec = DockerSpec {
        engine,
        link: None,
        relist: RELIST,
        poll: POLL,
        swarm: true,
        reach: Reach::Here,
    };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("link", name)) if !name.is_empty() => spec.link = Some(name.to_owned()),
            Some(("relist", seconds)) => {
                let seconds = seconds.strip_suffix('s').unwrap_or(seconds);
                match seconds.parse::<u64>() {
                    Ok(seconds @ 1..=3600) => spec.relist = Duration::from_secs(seconds),
                    _ => return Err(format!("relist={seconds:?} is not from 1s to 3600s")),
                }
            }
            Some(("poll", text)) => {
                let poll = parse_poll(text).filter(|poll| POLLS.contains(poll));
                spec.poll =
                    poll.ok_or_else(|| format!("poll={text:?} is not from 100ms to 60s"))?;
            }
            Some(("swarm", text @ ("on" | "off"))) => spec.swarm = text == "on",
            _ => {
                let known = "link=NAME, relist=TIME, poll=TIME or swarm=off";
                return Err(format!("option {option:?} is not {known}"));
            }
        }
    }
    Ok(spec)
}

const POLLS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// `500ms`, `2s` or `2`.
fn parse_poll(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => {
            let number = text.strip_suffix('s').unwrap_or(text);
            number.parse().ok().map(Duration::from_secs)
        }
    }
}

fn parse_endpoint(text: &str, default_port: u16) -> Result<String, String> {
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
        None => default_port,
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
            Self::Docker(docker) => docker.fmt(f),
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

impl fmt::Display for DockerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            DockerEngine::Socket(path) => write!(f, "docker://{}", path.display())?,
            DockerEngine::Tcp(address) => write!(f, "docker://{address}")?,
        }
        let link = self.link.as_ref().map(|link| format!("link={link}"));
        let relist = (self.relist != RELIST).then(|| format!("relist={}s", self.relist.as_secs()));
        let poll = (self.poll != POLL).then(|| format!("poll={}ms", self.poll.as_millis()));
        let swarm = (!self.swarm).then(|| "swarm=off".to_owned());
        let options = link.into_iter().chain(relist).chain(poll).chain(swarm);
        let options: Vec<_> = options.collect();
        match options.is_empty() {
            true => Ok(()),
            false => write!(f, "?{}", options.join("&")),
        }
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
        check("docker:", "docker:///var/run/docker.sock");
        check("docker://", "docker:///var/run/docker.sock");
        check("docker:///run/d.sock", "docker:///run/d.sock");
        check("docker:/run/d.sock", "docker:///run/d.sock");
        check("docker://10.0.0.1/", "docker://10.0.0.1:2375");
        check(
            "docker:?link=blue&relist=5s",
            "docker:///var/run/docker.sock?link=blue&relist=5s",
        );
        check(
            "docker:?poll=2&swarm=off",
            "docker:///var/run/docker.sock?poll=2000ms&swarm=off",
        );
        check(
            "docker:?poll=500ms&swarm=on",
            "docker:///var/run/docker.sock",
        );
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
        check(
            "docker:?lnk=x",
            "option \"lnk=x\" is not link=NAME, relist=TIME, poll=TIME or swarm=off",
        );
        check(
            "docker:?poll=99ms",
            "poll=\"99ms\" is not from 100ms to 60s",
        );
        check("docker:?poll=61", "poll=\"61\" is not from 100ms to 60s");
        check(
            "docker:?swarm=no",
            "option \"swarm=no\" is not link=NAME, relist=TIME, poll=TIME or swarm=off",
        );
        check("docker:?relist=0", "relist=\"0\" is not from 1s to 3600s");
        check(
            "docker://a:0",
            "port \"0\" of endpoint \"a:0\" is not between 1 and 65535",
        );
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
