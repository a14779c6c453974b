//! Several containers as one service.

use std::collections::BTreeMap;

use super::{Announced, Setting};
use crate::diag::Diagnostic;

/// The keys of one service, by their names below its directory, and what its members disagree about.
///
/// `members` are by name, ascending: of settings that differ, the first that says one has it.
pub fn merge<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a Announced)>,
) -> (BTreeMap<String, String>, Vec<Diagnostic>) {
    let mut settings: BTreeMap<&str, (&str, &Setting)> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut problems = Vec::new();
    let mut first: Option<(&str, &Announced)> = None;
    for (name, member) in members {
        keys.insert(format!("upstreams/{name}"), member.upstream.clone());
        for (key, setting) in &member.keys {
            match settings.get(key.as_str()) {
                Some((winner, winning)) if winning.value != setting.value => {
                    problems.push(differ(
                        &member.dir,
                        key,
                        (winner, &winning.from),
                        (name, &setting.from),
                    ));
                }
                Some(_) => {}
                None => {
                    if let Some((before, _)) = first {
                        problems.push(silent(&member.dir, key, before, (name, &setting.from)));
                    }
                    settings.insert(key, (name, setting));
                }
            }
        }
        if let Some((before, announced)) = first {
            for key in announced
                .keys
                .keys()
                .filter(|key| !member.keys.contains_key(*key))
            {
                problems.push(silent(
                    &member.dir,
                    key,
                    name,
                    (before, &announced.keys[key].from),
                ));
            }
        }
        first.get_or_insert((name, member));
    }
    for (key, (_, setting)) in settings {
        keys.insert(key.to_owned(), setting.value.clone());
    }
    (keys, problems)
}

fn differ(dir: &str, key: &str, winner: (&str, &str), loser: (&str, &str)) -> Diagnostic {
    let (name, from) = loser;
    let message = format!(
        "{name}: {from} is not used: {} says otherwise with {}, and is the first by name",
        winner.0, winner.1
    );
    Diagnostic::warning("members-differ", message)
        .for_key(format!("{dir}/{key}"))
        .help("say the same in all members of a service")
}

fn silent(dir: &str, key: &str, silent: &str, said: (&str, &str)) -> Diagnostic {
    let message = format!("{silent}: does not say {}, which {} has", said.1, said.0);
    Diagnostic::warning("members-differ", message)
        .for_key(format!("{dir}/{key}"))
        .help("say the same in all members of a service")
}
