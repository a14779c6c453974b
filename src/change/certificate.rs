//! `cert add` and `cert remove`: the keys `certs/<name>`.

use super::{CERTS, Planned, Problem, check_name, there_are};
use crate::diag::quoted;
use crate::snapshot::Snapshot;
use crate::store::Held;

pub(super) fn key(name: &str) -> Result<String, Problem> {
    Ok(format!("{CERTS}/{}", check_name("certificate", name)?))
}

pub(super) fn add(held: &Held, name: &str, value: &[u8]) -> Result<Planned, Problem> {
    let key = key(name)?;
    let value = value.trim_ascii();
    if value.is_empty() {
        return Err(Problem::Bad(format!("certificate {name} is empty")));
    }
    let mut planned = Planned {
        units: vec![key.clone()],
        ..Planned::default()
    };
    if held.get(&key).map(<[u8]>::trim_ascii) != Some(value) {
        planned.edit.keys.insert(key, Some(value.to_vec()));
    }
    Ok(planned)
}

pub(super) fn remove(
    tree: &Snapshot,
    held: &Held,
    name: &str,
    source: &impl Fn(&str) -> Option<String>,
) -> Result<Planned, Problem> {
    let key = key(name)?;
    if held.get(&key).is_none() {
        if let Some(from) = tree.get(&key).and_then(|_| source(&key)) {
            return Err(Problem::Elsewhere(format!(
                "certificate {name} is from {from}: it is removed there"
            )));
        }
        let all = tree.children(CERTS);
        return Err(Problem::NotThere(format!(
            "there is no certificate {}; {}",
            quoted(name),
            there_are(all.iter().map(|name| &**name))
        )));
    }
    let mut planned = Planned::default();
    let chosen = super::text(tree, "settings/ssl_default_certificate");
    if chosen == Some(name) {
        planned.warnings.push(format!(
            "{name} is the default certificate (settings/ssl_default_certificate): the first by name takes its place"
        ));
    }
    planned.edit.keys.insert(key, None);
    Ok(planned)
}
