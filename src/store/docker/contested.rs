//! Which services ask for the same host and path. One of them has the requests, and whoever looks at the other has to
//! hear of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::{Diagnostic, quoted};

/// Hosts and paths of one service that are looked at: of more, nobody hears.
const MOST: usize = 1000;

#[derive(Default)]
pub(super) struct Contested {
    /// Services by what they ask for: `host path`.
    by_claim: BTreeMap<String, BTreeSet<String>>,
    by_service: BTreeMap<String, BTreeSet<String>>,
}

impl Contested {
    /// Takes in a service's keys, or that it has none any more. Answers which claims to look at again.
    pub(super) fn follow(
        &mut self,
        dir: &str,
        keys: &BTreeMap<String, String>,
    ) -> BTreeSet<String> {
        let now = claims(dir, keys);
        let before = self.by_service.remove(dir).unwrap_or_default();
        for claim in before.difference(&now) {
            if let Some(services) = self.by_claim.get_mut(claim) {
                services.remove(dir);
                if services.is_empty() {
                    self.by_claim.remove(claim);
                }
            }
        }
        for claim in now.difference(&before) {
            let services = self.by_claim.entry(claim.clone()).or_default();
            services.insert(dir.to_owned());
        }
        let changed = before.symmetric_difference(&now).cloned().collect();
        if !now.is_empty() {
            self.by_service.insert(dir.to_owned(), now);
        }
        changed
    }

    pub(super) fn problem(&self, claim: &str) -> Option<Diagnostic> {
        let mut services = self.by_claim.get(claim)?.iter();
        let (first, others) = (services.next()?, services.cloned().collect::<Vec<_>>());
        if others.is_empty() {
            return None;
        }
        let message = format!(
            "{} is asked for by {} too: {first} has the requests, since it is the first by name",
            quoted(claim.trim()),
            others.join(" and ")
        );
        let help = "give them different hosts or paths, or make them one service with the label lb.service";
        Some(Diagnostic::warning("contested", message).help(help))
    }
}

/// What a service asks for by host and path alone. A condition or a priority says who goes first.
fn claims(dir: &str, keys: &BTreeMap<String, String>) -> BTreeSet<String> {
    let decides = ["match", "priority", "virtual_host_regex"];
    if !dir.starts_with("services/") || decides.iter().any(|key| keys.contains_key(*key)) {
        return BTreeSet::new();
    }
    let list = |key: &str| {
        let text = keys.get(key).map_or("", String::as_str);
        let entries = text.split(',').map(str::trim);
        entries
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let hosts: Vec<_> = list("virtual_hosts")
        .iter()
        .map(|host| host.to_ascii_lowercase())
        .collect();
    let mut paths = list("virtual_path");
    if paths.is_empty() {
        paths.push(String::new());
    }
    let pairs = hosts.iter().flat_map(|host| {
        let paths = paths.iter().map(|path| path.trim_end_matches('/'));
        paths.map(move |path| format!("{host} {path}"))
    });
    pairs.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(hosts: &str, path: &str) -> BTreeMap<String, String> {
        let keys = [("virtual_hosts", hosts), ("virtual_path", path)];
        let said = keys.into_iter().filter(|(_, value)| !value.is_empty());
        said.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn who_asks_for_the_same_is_told_until_they_part() {
        let mut contested = Contested::default();
        contested.follow("services/web", &keys("a.test, B.test", ""));
        assert!(contested.problem("b.test ").is_none());
        let changed = contested.follow("services/aaa", &keys("b.test", ""));
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["b.test "]);
        let told = contested.problem("b.test ").expect("a problem").to_string();
        assert!(told.contains("services/aaa has the requests"), "{told}");
        assert!(told.contains("asked for by services/web too"), "{told}");

        contested.follow("services/aaa", &keys("b.test", "/x"));
        assert!(contested.problem("b.test ").is_none());
        contested.follow("services/aaa", &BTreeMap::new());
        contested.follow("services/web", &BTreeMap::new());
        assert!(contested.by_claim.is_empty() && contested.by_service.is_empty());
    }

    #[test]
    fn what_says_who_goes_first_is_no_contest() {
        let mut said = keys("a.test", "");
        said.insert("priority".to_owned(), "5".to_owned());
        assert!(claims("services/web", &said).is_empty());
        assert!(claims("tcp-services/db", &keys("a.test", "")).is_empty());
    }
}
