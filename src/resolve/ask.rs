//! One question: what is asked of whom, and what counts as an answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns::{ADDRESSES, Question, Settings, Target, weights};
use crate::resolve::system::System;

/// Lookups under way at once, over all questions: one of SRV may need hundreds.
const LOOKUPS: usize = 64;

/// One lookup takes at most this many tries' time, whatever servers and search domains there are.
const TRIES: u32 = 4;

const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// What each family of each host was last, for when one of them fails and others do not.
pub(super) type Memory = BTreeMap<String, Families>;

/// A and AAAA.
type Families = [Vec<IpAddr>; 2];

/// What is known of the hosts of a question by an answer of before. The hosts of SRV records are not in it.
pub(super) fn remembered(question: &Question, last: Option<&[Target]>) -> Memory {
    let (Question::Host(name), Some(last)) = (question, last) else {
        return Memory::new();
    };
    let (v4, v6) = last
        .iter()
        .map(|target| target.ip)
        .partition(IpAddr::is_ipv4);
    Memory::from([(name.as_str().to_owned(), [v4, v6])])
}

pub(super) struct Asker {
    resolver: Option<TokioResolver>,
    hosts: Hosts,
    lookups: Semaphore,
    within: Duration,
}

/// What came of a question.
pub(super) struct Asked {
    /// Or why there is none.
    pub(super) targets: Result<Vec<Target>, String>,
    /// Whether somebody who knows says that there are none.
    pub(super) is_nothing: bool,
    /// Whether nothing is missing that may have been there before.
    pub(super) is_whole: bool,
    /// The shortest of its records. `None`: it comes from a file.
    pub(super) ttl: Option<Duration>,
    pub(super) memory: Memory,
}

impl Asked {
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self {
            targets: Err(reason.into()),
            is_nothing: false,
            is_whole: false,
            ttl: None,
            memory: Memory::new(),
        }
    }

    fn nothing(reason: String) -> Self {
        Self {
            is_nothing: true,
            ..Self::failed(reason)
        }
    }
}

/// Of one host.
#[derive(Default)]
struct Host {
    /// What it has now, or had when it was answered last.
    families: Families,
    is_answered: bool,
    failed: Option<String>,
    empty: Option<String>,
    ttl: Option<Duration>,
}

/// Of one lookup.
enum Found {
    Records(Vec<RData>, Duration),
    /// There are none, and somebody who knows says so.
    Nothing(String),
    /// Nobody knows.
    Failed(String),
}

impl Asker {
    pub(super) fn new(settings: &Settings, system: &System) -> Self {
        let (config, mut options) = system.config();
        let mut servers = config.name_servers.clone();
        if !settings.servers.is_empty() {
            servers = settings
                .servers
                .iter()
                .map(|s| server(s.ip(), s.port()))
                .collect();
        }
        let domain = config.domain().cloned();
        let config = ResolverConfig::from_parts(domain, config.search().to_vec(), servers);
        options.timeout = settings.timeout;
        options.attempts = 1;
        // We remember ourselves, and what was not there a second ago may be there now.
        options.cache_size = 0;
        // Files go over DNS for a name as a whole, not for each family of it.
        options.use_hosts_file = ResolveHosts::Never;
        // As everybody expects of resolv.conf: the second is for when the first does not answer.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        Self {
            resolver: builder
                .build()
                .inspect_err(|error| tracing::error!(%error, "names cannot be resolved"))
                .ok(),
            hosts: system.hosts(),
            lookups: Semaphore::new(LOOKUPS),
            within: settings.timeout * TRIES,
        }
    }

    pub(super) async fn ask(self: Arc<Self>, question: &Question, memory: Memory) -> Asked {
        match question {
            Question::Host(name) => {
                let known = memory.get(name.as_str()).cloned().unwrap_or_default();
                let host = self.host(name.as_str(), known).await;
                Asked {
                    targets: match host.is_answered {
                        true => Ok(host.ips().map(Target::host).collect()),
                        false => Err(host.why()),
                    },
                    is_nothing: !host.is_answered && host.failed.is_none(),
                    is_whole: true,
                    ttl: host.ttl,
                    memory: Memory::from([(name.as_str().to_owned(), host.families)]),
                }
            }
            Question::Srv(name) => self.service(name.as_str(), memory).await,
        }
    }

    /// Records of the best priority alone: the others are for when those cannot be reached, which is for
    /// health checks to know and not for DNS.
    async fn service(self: Arc<Self>, name: &str, memory: Memory) -> Asked {
        let (records, mut ttl) = match self.lookup(name, RecordType::SRV).await {
            Found::Records(records, ttl) => (records, ttl),
            Found::Nothing(why) => return Asked::nothing(why),
            Found::Failed(why) => return Asked::failed(why),
        };
        let mut records: Vec<_> = records
            .into_iter()
            .filter_map(|data| match data {
                RData::SRV(srv) if !srv.target.is_root() => Some(srv),
                _ => None,
            })
            .collect();
        let Some(best) = records.iter().map(|srv| srv.priority).min() else {
            return Asked::nothing("its records say that there is no such service".to_owned());
        };
        records.retain(|srv| srv.priority == best);
        records.sort_by_cached_key(|srv| (srv.target.to_ascii(), srv.port));
        records.truncate(ADDRESSES);
        let mut hosts = JoinSet::new();
        let mut names: Vec<_> = records.iter().map(|srv| srv.target.to_ascii()).collect();
        names.dedup();
        for name in names {
            let known = memory.get(&name).cloned().unwrap_or_default();
            let asker = self.clone();
            hosts.spawn(async move {
                let host = asker.host(&name, known).await;
                (name, host)
            });
        }
        let mut found = BTreeMap::new();
        while let Some(joined) = hosts.join_next().await {
            if let Ok((name, host)) = joined {
                found.insert(name, host);
            }
        }
        let loads: Vec<u16> = records.iter().map(|srv| srv.weight).collect();
        let mut targets = Vec::new();
        let mut is_whole = true;
        let mut why = None;
        for (srv, weight) in records.iter().zip(weights(&loads)) {
            let Some(host) = found.get(&srv.target.to_ascii()) else {
                is_whole = false;
                continue;
            };
            ttl = host.ttl.map_or(ttl, |own| own.min(ttl));
            if host.ips().next().is_none() {
                is_whole &= host.failed.is_none();
                why.get_or_insert_with(|| host.why());
            }
            let ips = host.ips();
            targets.extend(ips.map(|ip| Target::service(ip, srv.port, weight)));
        }
        Asked {
            targets: match targets.is_empty() {
                true => Err(why.unwrap_or_else(|| "its hosts have no addresses".to_owned())),
                false => Ok(targets),
            },
            is_nothing: false,
            is_whole,
            ttl: Some(ttl),
            memory: found
                .into_iter()
                .map(|(name, host)| (name, host.families))
                .collect(),
        }
    }

    /// All addresses of a host. A family that nobody can tell stays what it was, and so do both as long as
    /// neither is answered.
    async fn host(&self, name: &str, known: Families) -> Host {
        let of_file = self.in_hosts(name);
        if !of_file.is_empty() {
            let (v4, v6) = of_file.into_iter().partition(IpAddr::is_ipv4);
            return Host {
                families: [v4, v6],
                is_answered: true,
                ..Host::default()
            };
        }
        let [v4, v6] = FAMILIES.map(|family| self.lookup(name, family));
        let (v4, v6) = tokio::join!(v4, v6);
        let mut host = Host {
            families: known.clone(),
            ..Host::default()
        };
        for (found, family) in [v4, v6].into_iter().zip(&mut host.families) {
            match found {
                Found::Records(records, ttl) => {
                    *family = records.iter().filter_map(RData::ip_addr).collect();
                    host.is_answered = true;
                    host.ttl = Some(host.ttl.map_or(ttl, |other: Duration| other.min(ttl)));
                }
                Found::Nothing(why) => {
                    family.clear();
                    host.empty.get_or_insert(why);
                }
                Found::Failed(why) => host.failed = Some(why),
            }
        }
        if !host.is_answered {
            host.families = known;
        }
        host
    }

    fn in_hosts(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(name) else {
            return Vec::new();
        };
        let found = FAMILIES.map(|family| {
            let query = Query::query(name.clone(), family);
            self.hosts.lookup_static_host(&query)
        });
        let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Found {
        let (Some(resolver), Ok(name)) = (&self.resolver, Name::from_ascii(name)) else {
            return Found::Failed("it cannot be asked for".to_owned());
        };
        let Ok(_permit) = self.lookups.acquire().await else {
            return Found::Failed("it cannot be asked for".to_owned());
        };
        match timeout(self.within, resolver.lookup(name, kind)).await {
            Err(_) => Found::Failed("no answer in time".to_owned()),
            Ok(Err(error)) => told(&error, kind),
            Ok(Ok(lookup)) => {
                let answers = lookup.answers();
                let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
                let data = answers.iter().map(|record| record.data.clone());
                let records: Vec<_> = data.filter(|data| data.record_type() == kind).collect();
                match records.is_empty() {
                    true => Found::Nothing(none_of(kind)),
                    false => Found::Records(records, Duration::from_secs(ttl.into())),
                }
            }
        }
    }
}

impl Host {
    fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.families.iter().flatten().copied()
    }

    /// Why it has no addresses: a failure before an answer that says so.
    fn why(&self) -> String {
        let why = self.failed.as_ref().or(self.empty.as_ref());
        why.cloned().unwrap_or_else(|| none_of(RecordType::A))
    }
}

fn server(ip: IpAddr, port: u16) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = port;
        connection
    });
    NameServerConfig::new(ip, true, connections.into())
}

fn told(error: &NetError, kind: RecordType) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => Found::Nothing(none_of(kind)),
            ResponseCode::NXDomain => Found::Nothing("there is no such name".to_owned()),
            code => Found::Failed(format!("the server says: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Found::Failed(format!("the server says: {code}"))
        }
        NetError::Timeout => Found::Failed("no answer in time".to_owned()),
        error => Found::Failed(error.to_string()),
    }
}

fn none_of(kind: RecordType) -> String {
    match kind {
        RecordType::SRV => "it has no SRV records".to_owned(),
        _ => "it has no addresses".to_owned(),
    }
}
