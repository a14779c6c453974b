//! Changes that people ask for, as keys: link and unlink services, drain upstreams, add and remove certificates.
//!
//! A [`Change`] says what is wanted. [`Change::places`] tells which keys it is made from, and [`Change::edits`]
//! which keys it comes to, exactly as somebody would write them by hand. Nothing here touches a store: reading,
//! judging and writing are [`Control`]'s, which commands and the HTTP API share.

mod certificate;
mod drain;
mod link;
mod risk;
mod view;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, read_name};
use crate::diag::{Diagnostic, quoted};
use crate::snapshot::Snapshot;
use crate::status::NodeStatus;
use crate::store::{Edit, Held, StoreError, WaitError, WriteError};

pub use drain::is_drained;
pub use link::{Link, Mode, SaidUpstream, check_key};
pub use view::{ServiceView, services};

pub const HTTP: &str = "services";
pub const TCP: &str = "tcp-services";
const CERTS: &str = "certs";

/// What is wanted.
#[derive(Clone, Debug)]
pub enum Change {
    Link(Link),
    /// Without upstreams the whole service goes.
    Unlink {
        service: String,
        upstreams: Vec<String>,
    },
    Drain(Vec<String>),
    Undrain(Vec<String>),
    AddCertificate {
        name: String,
        value: Vec<u8>,
    },
    RemoveCertificate {
        name: String,
    },
}

/// What a change comes to.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    pub edit: Edit,
    /// Units that it is about: one of them refused refuses it.
    pub units: Vec<String>,
    /// What is worth telling.
    pub warnings: Vec<String>,
}

/// Why a change cannot be made as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// What it names is not there.
    #[error("{0}")]
    NotThere(String),
    /// It names several.
    #[error("{0}")]
    Ambiguous(String),
    /// It is said by somebody else, and not by keys that can be written.
    #[error("{0}")]
    Elsewhere(String),
    /// It cannot be meant.
    #[error("{0}")]
    Bad(String),
    /// It can hardly be meant, and is done with `--force`.
    #[error("{0}; --force does it all the same")]
    Risky(String),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("refused: errors {}", errors(.0))]
    Refused(Vec<Diagnostic>),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Settings(String),
    #[error("others are still waiting for the stores; try again in a moment")]
    Busy,
    #[error("the stores took too long to answer, and nothing was written; try again")]
    Late,
}

/// A change that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// That of the change; of the newest key if there was nothing to change.
    pub revision: u64,
    pub changed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// Whether nodes can be asked for `revision`, or only for what the stores hold.
    #[serde(skip)]
    pub is_counted: bool,
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Written even if it would be refused.
    pub force: bool,
    /// A certificate's value is sealed before it is written.
    pub seal: bool,
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whoever reads, judges and writes.
pub trait Control: Send + Sync {
    fn make(&self, change: Change, how: How) -> Answer<'_, Result<Done, Failure>>;
    fn services(&self) -> Answer<'_, Result<Vec<ServiceView>, Failure>>;
    /// Until every living node runs a change.
    fn wait(&self, done: Done, limit: Duration) -> Answer<'_, Result<Vec<NodeStatus>, WaitError>>;
}

impl Change {
    /// What has to be read of the store that is written: keys, and directories with a slash at the end. `tree` is
    /// what all stores say together.
    pub fn places(&self, tree: &Snapshot) -> Result<Vec<String>, Problem> {
        match self {
            Self::Link(link) => Ok(vec![format!("{}/", link.dir(tree)?)]),
            Self::Unlink { service, .. } => Ok(vec![format!("{}/", existing(tree, service)?)]),
            Self::Drain(names) => drain::places(tree, names, drain::Wish::Drain),
            Self::Undrain(names) => drain::places(tree, names, drain::Wish::Undrain),
            Self::AddCertificate { name, .. } | Self::RemoveCertificate { name } => {
                Ok(vec![certificate::key(name)?])
            }
        }
    }

    /// Holds it to the service that it was first made for: one that goes meanwhile is not made anew from the
    /// little that is said, and not taken for another one of its name.
    pub fn pin(&mut self, tree: &Snapshot) -> Result<(), Problem> {
        match self {
            Self::Link(link) => {
                let dir = link.dir(tree)?;
                if tree.has_dir(&dir) {
                    link.has_to_be |= !link.replace;
                    link.service = dir;
                }
            }
            Self::Unlink { service, .. } => *service = existing(tree, service)?,
            _ => {}
        }
        Ok(())
    }

    /// The keys it comes to. `source` says who else announces a key, besides the store that is written: a store, or
    /// an agent.
    pub fn edits(
        &self,
        tree: &Snapshot,
        held: &Held,
        source: impl Fn(&str) -> Option<String>,
    ) -> Result<Planned, Problem> {
        match self {
            Self::Link(link) => link.edits(tree, held, &source),
            Self::Unlink { service, upstreams } => {
                link::unlink(tree, held, service, upstreams, &source)
            }
            Self::Drain(names) => drain::edits(tree, held, names, drain::Wish::Drain),
            Self::Undrain(names) => drain::edits(tree, held, names, drain::Wish::Undrain),
            Self::AddCertificate { name, value } => certificate::add(held, name, value),
            Self::RemoveCertificate { name } => certificate::remove(tree, held, name, &source),
        }
    }
}

/// As a command, without values.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, first, rest) = match self {
            Self::Link(link) => ("link", quoted(&link.service), None),
            Self::Unlink { service, upstreams } => ("unlink", quoted(service), Some(upstreams)),
            Self::Drain(names) => ("drain", String::new(), Some(names)),
            Self::Undrain(names) => ("undrain", String::new(), Some(names)),
            Self::AddCertificate { name, .. } => ("cert add", quoted(name), None),
            Self::RemoveCertificate { name } => ("cert remove", quoted(name), None),
        };
        let rest = rest.into_iter().flatten().map(|name| quoted(name));
        let words: Vec<_> = [first]
            .into_iter()
            .chain(rest)
            .filter(|w| !w.is_empty())
            .collect();
        write!(f, "{word} {}", words.join(" "))
    }
}

fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|d| d.is_error()).count()
}

/// Checks the name of a service, an upstream or a certificate.
fn check_name<'a>(what: &str, name: &'a str) -> Result<&'a str, Problem> {
    // In a directory they are no names, and nobody means them elsewhere.
    if name == "." || name == ".." {
        return Err(Problem::Bad(format!("{what} {name:?} is no name")));
    }
    read_name(name).map_err(|problem| bad(what, &problem))
}

fn bad(what: &str, problem: &config::values::Problem) -> Problem {
    let help = problem
        .help
        .as_ref()
        .map_or(String::new(), |h| format!("; {h}"));
    Problem::Bad(format!("{what} {}{help}", problem.message))
}

/// Directory and name that a service is called by: `web`, or `services/web` and `tcp-services/web` where it
/// matters.
fn split(written: &str) -> Result<(Option<&'static str>, &str), Problem> {
    for dir in [HTTP, TCP] {
        let rest = written.strip_prefix(dir);
        if let Some(name) = rest.and_then(|rest| rest.strip_prefix('/')) {
            return Ok((Some(dir), check_name("service", name)?));
        }
    }
    Ok((None, check_name("service", written)?))
}

/// The directory of a service that is there, in whatever store.
fn existing(tree: &Snapshot, written: &str) -> Result<String, Problem> {
    let (dir, name) = split(written)?;
    let dirs = dir.map_or(vec![HTTP, TCP], |dir| vec![dir]);
    let dirs = dirs.into_iter().map(|dir| format!("{dir}/{name}"));
    let mut found: Vec<_> = dirs.filter(|dir| tree.has_dir(dir)).collect();
    match (found.len(), found.pop()) {
        (1, Some(dir)) => Ok(dir),
        (0, _) | (_, None) => {
            let all = all_services(tree);
            Err(Problem::NotThere(format!(
                "there is no service {}; {}",
                quoted(written),
                there_are(all.iter().filter_map(|dir| dir.split('/').nth(1)))
            )))
        }
        _ => Err(Problem::Ambiguous(format!(
            "there are two services {name}: write {HTTP}/{name} or {TCP}/{name}"
        ))),
    }
}

/// The directories of all services.
fn all_services(tree: &Snapshot) -> Vec<String> {
    let below = |dir: &'static str| {
        let names = tree.children(dir).into_iter();
        names
            .map(move |name| format!("{dir}/{name}"))
            .filter(|dir| tree.has_dir(dir))
    };
    below(HTTP).chain(below(TCP)).collect()
}

/// What is there instead, as much of it as a person reads.
fn there_are<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let all: Vec<_> = names.collect();
    match all.len() {
        0 => "there is none".to_owned(),
        n if n > SHOWN => format!(
            "there are {} and {} more",
            all[..SHOWN].join(", "),
            n - SHOWN
        ),
        1 => format!("there is {}", all[0]),
        _ => format!("there are {}", all.join(", ")),
    }
}

/// A value of the tree as text; one that cannot be had or read is as none.
fn text<'a>(tree: &'a Snapshot, key: &str) -> Option<&'a str> {
    let value = tree.get(key)?;
    std::str::from_utf8(value).ok().map(str::trim)
}

/// Upstreams of a service, by name.
fn upstreams<'a>(tree: &'a Snapshot, dir: &str) -> Vec<(String, &'a str)> {
    let below = format!("{dir}/upstreams");
    let names = tree.children(&below).into_iter();
    let all = names.filter_map(|name| {
        let value = text(tree, &format!("{below}/{name}"))?;
        Some((name.to_string(), value))
    });
    all.collect()
}

/// Whether an upstream's value is this address, whatever its weight.
fn is_at(value: &str, address: &str) -> bool {
    let read = |text: &str| config::read_upstream(text).ok().map(|(at, _)| at);
    match (read(value), read(address)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
