//! `drain` and `undrain`: names in the key `drain` of services.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planned, Problem, all_services, existing, is_at, text, there_are, upstreams};
use crate::config::values;
use crate::diag::quoted;
use crate::seal::is_sealed;
use crate::snapshot::Snapshot;
use crate::store::Held;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Drain,
    Undrain,
}

pub(super) fn places(
    tree: &Snapshot,
    names: &[String],
    wish: Wish,
) -> Result<Vec<String>, Problem> {
    let found = find_all(tree, names, wish)?;
    Ok(found.keys().map(|dir| format!("{dir}/drain")).collect())
}

pub(super) fn edits(
    tree: &Snapshot,
    held: &Held,
    names: &[String],
    wish: Wish,
) -> Result<Planned, Problem> {
    let mut planned = Planned::default();
    for (dir, names) in find_all(tree, names, wish)? {
        let key = format!("{dir}/drain");
        // What another store says is taken over, where ours says nothing.
        let own = held.get(&key);
        let before = match own {
            Some(own) => std::str::from_utf8(own).unwrap_or_default(),
            None => text(tree, &key).unwrap_or_default(),
        };
        if is_sealed(before.as_bytes()) {
            return Err(Problem::Bad(format!(
                "{key} is sealed, and cannot be changed name by name"
            )));
        }
        let before: Vec<_> = listed(before).collect();
        let mut after: BTreeSet<&str> = before.iter().copied().collect();
        for name in &names {
            match wish {
                Wish::Drain => after.insert(name),
                Wish::Undrain => after.remove(name.as_str()),
            };
        }
        planned.units.push(dir.clone());
        if wish == Wish::Drain {
            let mut all = upstreams(tree, &dir).into_iter();
            if all.all(|(name, value)| after.contains(name.as_str()) || is_weightless(value)) {
                let service = dir.split('/').nth(1).unwrap_or_default();
                planned.warnings.push(format!(
                    "no upstream of {service} takes anything new now: who does not belong to one is answered 503"
                ));
            }
        }
        if after == before.into_iter().collect() {
            continue;
        }
        let value = after.into_iter().collect::<Vec<_>>().join(", ");
        // Empty where it covers what an earlier store says.
        let value = match value.is_empty() && (own.is_some() || tree.get(&key).is_none()) {
            true => None,
            false => Some(value.into_bytes()),
        };
        planned.edit.keys.insert(key, value);
    }
    Ok(planned)
}

/// Whether an upstream that is called or addressed so takes nothing new, by its whole name; `NotThere` if it is not in
/// the keys.
pub fn is_drained(tree: &Snapshot, written: &str) -> Result<(String, bool), Problem> {
    let (dir, name) = find(tree, written, Wish::Drain)?;
    let value = text(tree, &format!("{dir}/upstreams/{name}")).unwrap_or_default();
    let drained = text(tree, &format!("{dir}/drain")).unwrap_or_default();
    let is_drained = is_weightless(value) || listed(drained).any(|own| own == name);
    Ok((format!("{dir}/{name}"), is_drained))
}

/// Names of a list as it is written.
pub(super) fn listed(value: &str) -> impl Iterator<Item = &str> {
    values::list(value).filter(|name| !name.is_empty())
}

fn is_weightless(value: &str) -> bool {
    crate::config::read_upstream(value).is_ok_and(|(_, weight)| weight == 0)
}

/// Upstreams by service.
fn find_all(
    tree: &Snapshot,
    names: &[String],
    wish: Wish,
) -> Result<BTreeMap<String, BTreeSet<String>>, Problem> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if names.is_empty() {
        return Err(Problem::Bad("say which upstreams".to_owned()));
    }
    for written in names {
        let (dir, name) = find(tree, written, wish)?;
        if name.contains(',') {
            return Err(Problem::Bad(format!(
                "upstream {} has a comma in its name, which the list of drained ones cannot hold; set its weight \
                 to 0",
                quoted(&name)
            )));
        }
        found.entry(dir).or_default().insert(name);
    }
    Ok(found)
}

fn find(tree: &Snapshot, written: &str, wish: Wish) -> Result<(String, String), Problem> {
    if let Some((service, name)) = written.rsplit_once('/') {
        let dir = existing(tree, service)?;
        return match named(tree, &dir, name, wish).pop() {
            Some(name) => Ok((dir, name)),
            None => {
                let all = upstreams(tree, &dir);
                Err(Problem::NotThere(format!(
                    "{service} has no upstream {}; {}",
                    quoted(name),
                    there_are(all.iter().map(|(name, _)| name.as_str()))
                )))
            }
        };
    }
    let mut found = Vec::new();
    for dir in all_services(tree) {
        let names = named(tree, &dir, written, wish).into_iter();
        found.extend(names.map(|name| (dir.clone(), name)));
    }
    match (found.len(), found.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) | (_, None) => Err(Problem::NotThere(format!(
            "no service has an upstream {}; pointsman services lists them",
            quoted(written)
        ))),
        (_, Some(last)) => {
            found.push(last);
            let all: Vec<_> = found.iter().map(|(dir, n)| format!("{dir}/{n}")).collect();
            Err(Problem::Ambiguous(format!(
                "{} is an upstream of several services; write which: {}",
                quoted(written),
                all.join(", ")
            )))
        }
    }
}

/// Upstreams of a service that are called or addressed so. One that is gone can still be undrained.
fn named(tree: &Snapshot, dir: &str, written: &str, wish: Wish) -> Vec<String> {
    let all = upstreams(tree, dir);
    if all.iter().any(|(name, _)| name == written) {
        return vec![written.to_owned()];
    }
    let drained = text(tree, &format!("{dir}/drain")).unwrap_or_default();
    if wish == Wish::Undrain && listed(drained).any(|name| name == written) {
        return vec![written.to_owned()];
    }
    let there = all.into_iter().filter(|(_, value)| is_at(value, written));
    there.map(|(name, _)| name).collect()
}
