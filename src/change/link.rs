//! `link` and `unlink`: the keys of one service.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HTTP, Planned, Problem, TCP, all_services, bad, check_name, drain, existing, is_at, split,
    text, there_are, upstreams,
};
use crate::config::{PAGE_STATUSES, SERVICE_FIELDS, read_upstream};
use crate::diag::{nearest, quoted};
use crate::snapshot::Snapshot;
use crate::store::Held;

/// What is said of a service. What is not said stays, unless `replace` says that this is all.
#[derive(Clone, Debug, Default)]
pub struct Link {
    pub service: String,
    /// Which one it is; not said, it is the one that is there.
    pub mode: Option<Mode>,
    /// It is not made anew if it is not there, or not there any more.
    pub has_to_be: bool,
    /// By name; `None` removes a key.
    pub keys: BTreeMap<String, Option<String>>,
    pub upstreams: Vec<SaidUpstream>,
    pub replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Http,
    /// It takes the port `external_port`, and reads no requests.
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidUpstream {
    /// Else it is called as its address is, or as the one is that has this address already.
    pub name: Option<String>,
    /// The address, and a weight behind it.
    pub value: String,
}

/// What the directory and the command's other words say.
const NOT_KEYS: [&str; 4] = ["name", "mode", "upstreams", "error_pages"];

/// Guards on single keys, besides those that change.
const MAX_GUARDS: usize = 90;

/// Keys that one warning names.
const STAYING_TOLD: usize = 5;

/// Whether a service has a key of this name.
pub fn check_key(key: &str) -> Result<(), Problem> {
    if let Some(status) = key.strip_prefix("error_pages/") {
        let is_page = status
            .parse()
            .is_ok_and(|code: u16| PAGE_STATUSES.contains(&code) && code.to_string() == status);
        return match is_page {
            true => Ok(()),
            false => Err(Problem::Bad(format!(
                "{} is no status that we answer with",
                quoted(status)
            ))),
        };
    }
    let known = || {
        let fields = SERVICE_FIELDS.iter().copied();
        fields.filter(|field| !NOT_KEYS.contains(field))
    };
    if known().any(|field| field == key) {
        return Ok(());
    }
    let help = match (key, nearest(key, known())) {
        ("error_pages", _) => "write error_pages/503 for the page of one status".to_owned(),
        ("upstreams", _) => "write the addresses by themselves".to_owned(),
        (_, Some(near)) => format!("did you mean {near:?}?"),
        (_, None) => "docs/keys.md lists them".to_owned(),
    };
    Err(Problem::Bad(format!(
        "services have no key {}; {help}",
        quoted(key)
    )))
}

impl Link {
    pub(super) fn dir(&self, tree: &Snapshot) -> Result<String, Problem> {
        let (dir, name) = split(&self.service)?;
        let said = self.mode.map(|mode| match mode {
            Mode::Http => HTTP,
            Mode::Tcp => TCP,
        });
        let dir = match (dir, said) {
            (Some(HTTP), Some(TCP)) => {
                return Err(Problem::Bad(format!(
                    "{} is an HTTP service, and a TCP port or the mode tcp is said",
                    self.service
                )));
            }
            (Some(TCP), Some(HTTP)) => {
                return Err(Problem::Bad(format!(
                    "{} is a TCP service, and the mode http is said",
                    self.service
                )));
            }
            (Some(dir), _) | (None, Some(dir)) => dir,
            (None, None) if self.has_to_be => return existing(tree, &self.service),
            (None, None)
                if !tree.has_dir(&format!("{HTTP}/{name}"))
                    && tree.has_dir(&format!("{TCP}/{name}")) =>
            {
                TCP
            }
            (None, None) => HTTP,
        };
        let dir = format!("{dir}/{name}");
        match self.has_to_be {
            true => existing(tree, &dir),
            false => Ok(dir),
        }
    }

    pub(super) fn edits(
        &self,
        tree: &Snapshot,
        held: &Held,
        source: &impl Fn(&str) -> Option<String>,
    ) -> Result<Planned, Problem> {
        let dir = self.dir(tree)?;
        let mut planned = Planned {
            units: vec![dir.clone()],
            ..Planned::default()
        };
        let mut wanted: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for (key, value) in &self.keys {
            check_key(key)?;
            let value = value.as_ref().map(|value| value.trim().as_bytes().to_vec());
            wanted.insert(format!("{dir}/{key}"), value);
        }
        let known = match self.replace {
            true => Vec::new(),
            false => upstreams(tree, &dir),
        };
        let drained = text(tree, &format!("{dir}/drain")).unwrap_or_default();
        for said in &self.upstreams {
            let value = said.value.trim();
            read_upstream(value).map_err(|problem| bad("upstream", &problem))?;
            let name = match &said.name {
                Some(name) => check_name("upstream", name)?.to_owned(),
                None => match known.iter().find(|(_, known)| is_at(known, value)) {
                    Some((name, _)) => name.clone(),
                    None => name_of(value),
                },
            };
            let is_drained = drain::listed(drained).any(|drained| drained == name);
            if is_drained && !self.keys.contains_key("drain") && !self.replace {
                planned.warnings.push(format!(
                    "{name} is drained and takes nothing new; pointsman undrain changes that"
                ));
            }
            // Said again without a weight, it keeps the one that it has.
            let has_weight = value.split_ascii_whitespace().nth(1).is_some();
            let same = known
                .iter()
                .find(|(own, known)| *own == name && is_at(known, value));
            if let Some((_, same)) = same
                && !has_weight
            {
                wanted.insert(
                    format!("{dir}/upstreams/{name}"),
                    Some(same.as_bytes().to_vec()),
                );
                continue;
            }
            wanted.insert(
                format!("{dir}/upstreams/{name}"),
                Some(value.as_bytes().to_vec()),
            );
        }
        let says = wanted.values().any(Option::is_some);
        if !says && (self.replace || !tree.has_dir(&dir)) {
            return Err(Problem::Bad(format!(
                "nothing is said of {}: name an upstream, such as 10.0.0.1:80, or a key",
                self.service
            )));
        }
        let whole = format!("{dir}/");
        if self.replace {
            let there = tree.under(&dir).map(|(key, _)| &**key);
            for key in held.under(&whole).chain(there) {
                wanted.entry(key.to_owned()).or_insert(None);
            }
        }
        let mut stays: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (key, value) in wanted {
            let is_same = match (&value, held.get(&key)) {
                (Some(value), Some(own)) => own.trim_ascii() == value.as_slice(),
                // Said by others alone, even word for word: it would go with them.
                (Some(_), None) => false,
                (None, own) => own.is_none(),
            };
            if value.is_none()
                && let Some(from) = source(&key)
            {
                stays.entry(from).or_default().insert(key.clone());
            }
            if !is_same {
                planned.edit.keys.insert(key, value);
            }
        }
        for (from, keys) in stays {
            let names: Vec<_> = keys.iter().map(|key| &key[whole.len()..]).collect();
            let shown = names.get(..STAYING_TOLD).unwrap_or(&names).join(", ");
            let more = match names.len().saturating_sub(STAYING_TOLD) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let told = format!("{shown}{more} of {dir}: announced by {from}");
            // All that was asked for would not happen.
            if planned.edit.is_empty() && !self.replace && self.upstreams.is_empty() {
                return Err(Problem::Elsewhere(format!(
                    "{told}, and removed there; a key that is written here goes over it"
                )));
            }
            planned.warnings.push(format!("{told}, and it stays"));
        }
        self.guard(&dir, held, &mut planned);
        let other = match dir.starts_with(TCP) {
            true => dir.replacen(TCP, HTTP, 1),
            false => dir.replacen(HTTP, TCP, 1),
        };
        if !tree.has_dir(&dir) && tree.has_dir(&other) {
            planned
                .warnings
                .push(format!("{other} is there too: they are two services"));
        }
        Ok(planned)
    }

    /// What others do to the service at the same moment: more upstreams do no harm, but a service that goes
    /// must not stay as one upstream that takes the requests of every host.
    fn guard(&self, dir: &str, held: &Held, planned: &mut Planned) {
        if planned.edit.is_empty() {
            return;
        }
        let whole = format!("{dir}/");
        let below = format!("{dir}/upstreams/");
        let settings = held.under(&whole).filter(|key| !key.starts_with(&below));
        let settings = settings.filter(|key| !planned.edit.keys.contains_key(*key));
        let mut same: BTreeSet<_> = settings.take(MAX_GUARDS).map(str::to_owned).collect();
        if same.is_empty() {
            let rest = held.under(&whole);
            let mut rest = rest.filter(|key| !planned.edit.keys.contains_key(*key));
            same.extend(rest.next().map(str::to_owned));
        }
        planned.edit.same = same;
        planned.edit.quiet = match self.replace {
            true => vec![(whole, format!("{dir}0"))],
            false => vec![
                (whole, below),
                (format!("{dir}/upstreams0"), format!("{dir}0")),
            ],
        };
    }
}

/// `10.0.0.1-80` of `10.0.0.1:80`.
fn name_of(value: &str) -> String {
    let address = value.split_ascii_whitespace().next().unwrap_or_default();
    let address = address.strip_prefix("srv:").unwrap_or(address);
    let name = match address.rsplit_once(':') {
        Some((host, port)) => format!("{}-{port}", host.trim_matches(['[', ']'])),
        None => address.to_owned(),
    };
    name.to_ascii_lowercase()
}

pub(super) fn unlink(
    tree: &Snapshot,
    held: &Held,
    service: &str,
    names: &[String],
    source: &impl Fn(&str) -> Option<String>,
) -> Result<Planned, Problem> {
    let dir = existing(tree, service)?;
    let whole = format!("{dir}/");
    let elsewhere = |key: &str, what: &str| {
        let from = source(key).unwrap_or_else(|| "another store".to_owned());
        Problem::Elsewhere(format!(
            "{what} is announced by {from}, and is unlinked there"
        ))
    };
    let mut planned = Planned::default();
    if names.is_empty() {
        if held.under(&whole).next().is_none() {
            let key = tree.under(&dir).next().map(|(key, _)| key.to_string());
            return Err(elsewhere(&key.unwrap_or_default(), service));
        }
        let rest = tree.under(&dir).find_map(|(key, _)| source(key));
        if let Some(from) = &rest {
            planned
                .warnings
                .push(format!("{service} stays as {from} announces it"));
        }
        if rest.is_none() && all_services(tree) == [dir] {
            planned.warnings.push(format!(
                "{service} is the last service: nodes do not believe in an empty tree before --empty-grace (30 s) is \
                 over"
            ));
        }
        planned.edit.removed = Some(whole);
        return Ok(planned);
    }
    planned.units.push(dir.clone());
    let all = upstreams(tree, &dir);
    let mut gone = BTreeSet::new();
    for written in names {
        let by_name = all.iter().find(|(name, _)| name == written);
        let found: Vec<_> = match by_name {
            Some((name, _)) => vec![name],
            None => {
                let at = all.iter().filter(|(_, value)| is_at(value, written));
                at.map(|(name, _)| name).collect()
            }
        };
        if found.is_empty() {
            return Err(Problem::NotThere(format!(
                "{service} has no upstream {}; {}",
                quoted(written),
                there_are(all.iter().map(|(name, _)| name.as_str()))
            )));
        }
        for name in found {
            let key = format!("{dir}/upstreams/{name}");
            if held.get(&key).is_none() {
                return Err(elsewhere(&key, &format!("upstream {name} of {service}")));
            }
            if let Some(from) = source(&key) {
                planned
                    .warnings
                    .push(format!("upstream {name} stays as {from} announces it"));
            }
            planned.edit.keys.insert(key, None);
            gone.insert(name.as_str());
        }
    }
    if gone.len() == all.len() {
        planned.warnings.push(format!(
            "{service} has no upstream now and answers 503; unlink {service} alone removes it"
        ));
    }
    // Or who is linked again would be drained, and nobody would know why.
    let key = format!("{dir}/drain");
    let drained = held.get(&key).map(String::from_utf8_lossy);
    if let Some(drained) = drained {
        let before: Vec<_> = drain::listed(&drained).collect();
        let after: Vec<_> = before
            .iter()
            .copied()
            .filter(|name| !gone.contains(name))
            .collect();
        if after.len() < before.len() {
            let value = (!after.is_empty()).then(|| after.join(", ").into_bytes());
            planned.edit.keys.insert(key, value);
        }
    }
    Ok(planned)
}
