//! Which members each service has. Where a dialect says that services which ask for the same requests share them, all
//! their members are the first one's, by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::link::Announced;

#[derive(Default)]
pub(super) struct Services {
    /// Members of each service by name and id.
    members: BTreeMap<String, BTreeMap<(String, String), Announced>>,
    /// Services that ask for the same requests, with how many of their members do.
    claims: BTreeMap<String, BTreeMap<String, usize>>,
    /// Services whose members changed.
    touched: BTreeSet<String>,
}

impl Services {
    pub(super) fn join(&mut self, name: &str, id: &str, announced: &Announced) {
        let dir = announced.dir.clone();
        let members = self.members.entry(dir.clone()).or_default();
        members.insert((name.to_owned(), id.to_owned()), announced.clone());
        if let Some(claim) = &announced.shares {
            let sharing = self.claims.entry(claim.clone()).or_default();
            *sharing.entry(dir.clone()).or_default() += 1;
            self.touched.extend(sharing.keys().cloned());
        }
        self.touched.insert(dir);
    }

    pub(super) fn leave(&mut self, name: &str, id: &str, announced: &Announced) {
        let dir = &announced.dir;
        self.touched.insert(dir.clone());
        if let Some(members) = self.members.get_mut(dir) {
            members.remove(&(name.to_owned(), id.to_owned()));
            if members.is_empty() {
                self.members.remove(dir);
            }
        }
        if let Some(claim) = &announced.shares
            && let Some(sharing) = self.claims.get_mut(claim)
        {
            self.touched.extend(sharing.keys().cloned());
            if let Some(count) = sharing.get_mut(dir) {
                *count -= 1;
                if *count == 0 {
                    sharing.remove(dir);
                }
            }
            if sharing.is_empty() {
                self.claims.remove(claim);
            }
        }
    }

    /// Services whose members changed since this was asked last.
    pub(super) fn touched(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.touched)
    }

    /// The members of a service: its own, and behind them those of services that share with it.
    pub(super) fn members(&self, dir: &str) -> Vec<(&str, &Announced)> {
        let mut members = Vec::new();
        let mut shared = BTreeSet::new();
        for ((name, _), announced) in self.members.get(dir).into_iter().flatten() {
            if self.home(announced) == dir {
                members.push((name.as_str(), announced));
                shared.extend(announced.shares.as_deref());
            }
        }
        for claim in shared {
            let others = self.claims.get(claim).into_iter().flatten();
            for (other, _) in others.filter(|(other, _)| *other != dir) {
                let theirs = self.members.get(other).into_iter().flatten();
                let sharing =
                    theirs.filter(|(_, announced)| announced.shares.as_deref() == Some(claim));
                members.extend(sharing.map(|((name, _), announced)| (name.as_str(), announced)));
            }
        }
        members
    }

    /// The service that has the requests of this one, if another does.
    pub(super) fn shares_with(&self, dir: &str) -> Option<&str> {
        let own = self.members.get(dir)?;
        let mut homes = own.values().map(|announced| self.home(announced));
        homes.find(|home| *home != dir)
    }

    fn home<'a>(&'a self, announced: &'a Announced) -> &'a str {
        let claim = announced.shares.as_ref();
        let sharing = claim.and_then(|claim| self.claims.get(claim));
        let first = sharing.and_then(|sharing| sharing.keys().next());
        first.map_or(announced.dir.as_str(), String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(dir: &str, shares: Option<&str>) -> Announced {
        Announced {
            dir: dir.to_owned(),
            keys: BTreeMap::new(),
            upstream: "10.0.0.1:80".to_owned(),
            shares: shares.map(str::to_owned),
        }
    }

    fn names<'a>(services: &'a Services, dir: &str) -> Vec<&'a str> {
        let members = services.members(dir).into_iter();
        members.map(|(name, _)| name).collect()
    }

    #[test]
    fn services_that_ask_for_the_same_are_the_first_by_name() {
        let mut services = Services::default();
        services.join("b-1", "1", &announced("services/b", Some("x")));
        assert_eq!(names(&services, "services/b"), ["b-1"]);
        services.touched();

        services.join("a-1", "2", &announced("services/a", Some("x")));
        assert_eq!(services.touched().len(), 2);
        services.join("c-1", "3", &announced("services/c", Some("y")));
        services.join("d-1", "4", &announced("services/d", None));
        assert_eq!(names(&services, "services/a"), ["a-1", "b-1"]);
        assert!(names(&services, "services/b").is_empty());
        assert_eq!(services.shares_with("services/b"), Some("services/a"));
        assert_eq!(services.shares_with("services/a"), None);
        assert_eq!(names(&services, "services/c"), ["c-1"]);
        assert_eq!(names(&services, "services/d"), ["d-1"]);

        services.touched();
        services.leave("a-1", "2", &announced("services/a", Some("x")));
        assert_eq!(services.touched().len(), 2);
        assert_eq!(names(&services, "services/b"), ["b-1"]);
        services.leave("b-1", "1", &announced("services/b", Some("x")));
        assert!(services.claims.len() == 1 && services.members.len() == 2);
    }

    #[test]
    fn only_members_that_ask_for_the_same_are_shared() {
        let mut services = Services::default();
        services.join("a-1", "1", &announced("services/a", Some("x")));
        services.join("b-1", "2", &announced("services/b", Some("x")));
        services.join("b-2", "3", &announced("services/b", Some("y")));
        assert_eq!(names(&services, "services/a"), ["a-1", "b-1"]);
        assert_eq!(names(&services, "services/b"), ["b-2"]);
    }
}
