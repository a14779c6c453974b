//! What agents announce, laid under the tree of a root.
//!
//! Several hosts announce one service, and what a dead one wrote has to go without taking along what the others
//! said. So no two of them write one key: each has `agents/<agent>/` to itself, under its own lease, and below it
//! keys as they would be in the tree: `agents/host-a/services/web/virtual_hosts`. Here they are put together: a path
//! has the value that somebody wrote at it, else that of the first agent by name. What is below `agents/` is in the
//! result nowhere else. What an agent may say is in [`permit`].
//!
//! Pure, and a change costs what changed: trees are compared by what they do not share. Without agents the tree is
//! passed on as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::feed::Problems;
use super::permit::{self, Path};
use crate::diag::Diagnostic;
use crate::snapshot::{Key, Snapshot};

/// The directory of all agents.
pub(super) const AGENTS: &str = "agents";

/// The key in which an agent says who it is. It is for other agents.
pub(super) const ABOUT: &str = "about";

/// The tree with what is announced.
#[derive(Default)]
pub(super) struct Announced {
    /// What was taken in last.
    raw: Snapshot,
    merged: Snapshot,
    /// Who announces each path.
    by_path: BTreeMap<Key, BTreeSet<Arc<str>>>,
    problems: Problems,
}

impl Announced {
    /// The tree that `newer` says, at its revision.
    pub(super) fn follow(&mut self, newer: &Snapshot) -> Snapshot {
        if !newer.has_dir(AGENTS) {
            if self.raw.has_dir(AGENTS) {
                self.by_path.clear();
                self.problems = Problems::default();
            }
            self.raw = newer.clone();
            self.merged = newer.clone();
            return newer.clone();
        }
        let mut touched = BTreeSet::new();
        for change in self.raw.diff(newer) {
            match below_agents(&change.key) {
                None => {
                    touched.extend(self.guarded_by(&change.key));
                    touched.insert(change.key);
                }
                Some(below) => {
                    let is_there = newer.get(&change.key).is_some();
                    touched.extend(self.announce(&change.key, below, is_there));
                }
            }
        }
        self.raw = newer.clone();
        for path in touched {
            self.settle(&path);
        }
        self.merged.set_revision(newer.revision());
        self.merged.clone()
    }

    /// Settings that agents disagree about, and keys that none may announce.
    pub(super) fn problems(&mut self) -> Arc<Vec<Diagnostic>> {
        self.problems.list()
    }

    /// Notes that an agent says a path, or does not any more. `below` is the key without `agents/`.
    fn announce(&mut self, key: &str, below: &str, is_there: bool) -> Option<Key> {
        let said = below.split_once('/');
        let (agent, path) = match permit::judge(below) {
            Ok(said) => said,
            Err(problem) => {
                let is_about = said.is_some_and(|(_, path)| path == ABOUT);
                match is_there && !is_about {
                    true => self.problems.insert(key, problem.for_key(key)),
                    false => self.problems.remove(key),
                }
                return None;
            }
        };
        let path: Key = path.into();
        if is_there {
            let agents = self.by_path.entry(path.clone()).or_default();
            agents.insert(agent.into());
        } else if let Some(agents) = self.by_path.get_mut(&path) {
            agents.remove(agent);
            if agents.is_empty() {
                self.by_path.remove(&path);
            }
        }
        Some(path)
    }

    /// The announced paths that are taken or not as others are written. Costs what is announced of one service.
    fn guarded_by(&self, key: &str) -> Vec<Key> {
        let Some(path) = Path::new(key).filter(Path::is_guard) else {
            return Vec::new();
        };
        let dir = path.dir();
        let announced = self.by_path.range(Key::from(dir)..);
        announced
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(dir))
            .filter(|path| Path::new(path).is_some_and(|path| path.is_guarded()))
            .cloned()
            .collect()
    }

    /// Brings one path up to date.
    fn settle(&mut self, path: &str) {
        let raw = &self.raw;
        let agents = self.by_path.get(path).into_iter().flatten();
        let mut said = agents.filter_map(|agent| {
            let value = raw.get(&format!("{AGENTS}/{agent}/{path}"))?;
            Some((agent, value))
        });
        let written = raw.get(path);
        let first = said.next();
        let other = first.and_then(|(_, value)| said.find(|(_, other)| *other != value));
        let guard = Path::new(path).and_then(|path| path.guard(raw));
        match (written, first, &guard, other) {
            (None, Some((agent, _)), Some(guard), _) => {
                self.problems.insert(path, not_taken(path, agent, guard));
            }
            (None, Some((winner, _)), None, Some((loser, _))) => {
                self.problems.insert(path, differ(path, winner, loser));
            }
            _ => self.problems.remove(path),
        }
        let first = first.filter(|_| guard.is_none());
        match written.or(first.map(|(_, value)| value)) {
            Some(value) => self.merged.put(path, value.clone()),
            None => {
                self.merged.remove(path);
            }
        }
    }
}

fn below_agents(key: &str) -> Option<&str> {
    key.strip_prefix(AGENTS)?.strip_prefix('/')
}

fn not_taken(path: &str, agent: &str, guard: &str) -> Diagnostic {
    let message = format!("agent {agent}: {path} is not taken: {guard} is written beside agents/");
    Diagnostic::warning("not-taken", message)
        .for_key(format!("{AGENTS}/{agent}/{path}"))
        .help("agents add upstreams to such a service; write the key there too if it is meant")
}

fn differ(path: &str, winner: &str, loser: &str) -> Diagnostic {
    let message = format!(
        "agent {loser}: {path} is not used: agent {winner} says otherwise, and is the first by name"
    );
    Diagnostic::warning("members-differ", message)
        .for_key(path)
        .help("say the same in all members of a service")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(keys: &[(&str, &str)]) -> Snapshot {
        keys.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// All at once, by the words of the rule.
    fn at_once(raw: &Snapshot) -> Snapshot {
        let mut merged = Snapshot::new(raw.revision());
        // Backwards, so that the first agent by name comes last.
        let mut announced: Vec<_> = raw
            .under(AGENTS)
            .filter_map(|(key, value)| {
                let (agent, path) = permit::judge(below_agents(key)?).ok()?;
                let is_open = Path::new(path)?.guard(raw).is_none();
                is_open.then_some((agent, path, value))
            })
            .collect();
        announced.sort_by(|a, b| b.0.cmp(a.0));
        for (_, path, value) in announced {
            merged.put(path, value.clone());
        }
        let written = raw.iter().filter(|(key, _)| below_agents(key).is_none());
        for (key, value) in written {
            merged.put(key.clone(), value.clone());
        }
        merged
    }

    fn shown(tree: &Snapshot) -> Vec<String> {
        tree.iter()
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)))
            .collect()
    }

    #[test]
    fn a_written_key_goes_over_agents_and_the_first_agent_over_the_others() {
        let mut announced = Announced::default();
        let raw = tree(&[
            ("agents/b/services/web/balance", "random"),
            ("agents/b/services/web/upstreams/1.b", "10.0.0.2:80"),
            ("agents/a/services/web/balance", "source"),
            ("agents/a/services/web/upstreams/1.a", "10.0.0.1:80"),
            ("agents/a/about", "{}"),
        ]);
        let merged = announced.follow(&raw);
        assert_eq!(
            shown(&merged),
            [
                "services/web/balance=source",
                "services/web/upstreams/1.a=10.0.0.1:80",
                "services/web/upstreams/1.b=10.0.0.2:80",
            ]
        );
        let told: Vec<_> = announced
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "warning: agent b: services/web/balance is not used: agent a says otherwise, and is the first by name \
              (key services/web/balance); say the same in all members of a service"
            ]
        );

        let mut raw = raw;
        raw.put("services/web/balance", "leastconn");
        let merged = announced.follow(&raw);
        assert_eq!(shown(&merged)[0], "services/web/balance=leastconn");
        assert!(announced.problems().is_empty(), "nobody's word is used");

        raw.remove("services/web/balance");
        raw.remove("agents/a/services/web/balance");
        raw.remove("agents/a/services/web/upstreams/1.a");
        raw.remove("agents/a/about");
        let merged = announced.follow(&raw);
        assert_eq!(
            shown(&merged),
            [
                "services/web/balance=random",
                "services/web/upstreams/1.b=10.0.0.2:80",
            ]
        );
    }

    #[test]
    fn agents_announce_services_and_nothing_else() {
        let mut announced = Announced::default();
        let raw = tree(&[
            ("agents/a/settings/compat", "kontena"),
            ("agents/a/certs/www", "x"),
            ("agents/a/services/web", "x"),
            ("agents/a", "x"),
            ("agents/a/agents/b/services/web/balance", "x"),
        ]);
        assert!(announced.follow(&raw).is_empty());
        assert_eq!(announced.problems().len(), 5);
        assert!(announced.follow(&Snapshot::default()).is_empty());
        assert!(announced.problems().is_empty());
    }

    fn told(announced: &mut Announced) -> Vec<String> {
        let problems = announced.problems();
        problems.iter().map(|d| d.message.clone()).collect()
    }

    #[test]
    fn an_agent_speaks_for_its_own_host_and_for_names() {
        let mut announced = Announced::default();
        let merged = announced.follow(&tree(&[
            ("agents/a/services/web/upstreams/1.b", "10.6.6.6:80"),
            ("agents/a/services/web/upstreams/1a", "10.6.6.6:80"),
            ("agents/a/services/web/upstreams/1.a", "10.0.0.1:80"),
            ("agents/a/services/web/drain", "1.b"),
            ("agents/a/services/p*/upstreams/1.a", "10.6.6.6:80"),
            ("agents/a/services/a{b}/balance", "source"),
            ("agents/b/services/web/upstreams/1.b", "10.0.0.2:80"),
        ]));
        assert_eq!(
            shown(&merged),
            [
                "services/web/upstreams/1.a=10.0.0.1:80",
                "services/web/upstreams/1.b=10.0.0.2:80",
            ]
        );
        let told = told(&mut announced);
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told[2].contains("drains"), "{told:?}");
        assert!(told[3].contains("ends in .a"), "{told:?}");
    }

    #[test]
    fn who_writes_the_routes_of_a_service_has_its_word() {
        let mut announced = Announced::default();
        let mut raw = tree(&[
            ("agents/a/services/web/priority", "1000"),
            ("agents/a/services/web/maintenance", "10.6.6.6:80"),
            ("agents/a/services/web/allow", "10.0.0.0/8"),
            ("agents/a/services/web/upstreams/1.a", "10.0.0.1:80"),
            ("services/web/timeout_server", "5s"),
            ("services/web/drain", "1.a"),
        ]);
        let merged = announced.follow(&raw);
        assert_eq!(merged.len(), 6, "it is the agents' service");
        raw.put("services/web/virtual_hosts", "www.test");
        let merged = announced.follow(&raw);
        assert_eq!(
            shown(&merged),
            [
                "services/web/allow=10.0.0.0/8",
                "services/web/drain=1.a",
                "services/web/timeout_server=5s",
                "services/web/upstreams/1.a=10.0.0.1:80",
                "services/web/virtual_hosts=www.test",
            ]
        );
        assert_eq!(told(&mut announced).len(), 2);
        // Open to nobody whom either would keep out.
        raw.put("services/web/deny", "10.1.0.0/16");
        let merged = announced.follow(&raw);
        let allowed = merged.get("services/web/allow");
        assert_eq!(allowed.map(|value| &**value), Some(&b"10.0.0.0/8"[..]));
        for (bar, how, other) in [
            ("force_ssl", "force_ssl_code", "force_ssl_port"),
            ("ssl_client_ca", "ssl_client_verify", "ssl_client_ca"),
        ] {
            let key = |word: &str| format!("services/web/{word}");
            raw.put(format!("agents/a/{}", key(bar)), "said");
            raw.put(format!("agents/a/{}", key(how)), "less");
            raw.put(key(other), "written");
            let merged = announced.follow(&raw);
            assert!(merged.get(&key(bar)).is_some() && merged.get(&key(how)).is_none());
            raw.remove(&format!("agents/a/{}", key(bar)));
            raw.remove(&format!("agents/a/{}", key(how)));
            raw.remove(&key(other));
        }
        raw.remove("services/web/deny");
        raw.remove("services/web/virtual_hosts");
        assert_eq!(announced.follow(&raw).len(), 6);
        assert!(announced.problems().is_empty());
    }

    #[test]
    fn without_agents_the_tree_is_passed_on() {
        let mut announced = Announced::default();
        let raw = tree(&[("services/web/balance", "source"), ("agents", "odd")]);
        let merged = announced.follow(&raw);
        assert!(raw.diff(&merged).is_empty() && merged.digest() == raw.digest());
    }

    proptest! {
        #[test]
        fn a_tree_built_step_by_step_is_the_tree_built_at_once(
            steps in prop::collection::vec(
                prop::collection::vec((0..5usize, 0..15usize, prop::option::of(0..3u8)), 1..6),
                1..30,
            )
        ) {
            let writers = ["", "agents/a/", "agents/b/", "agents/a-1/", "agents/"];
            let paths = [
                "services/web/balance", "services/web/upstreams/1.a", "services/web-x/balance",
                "tcp-services/db/external_port", "settings/compat", "about", "services/web/virtual_hosts",
                "services/web/priority", "services/web/basic_auth_secrets", "services/web/basic_auth_realm",
                "services/web/drain", "services/web-x/custom_settings", "services/web-x/default",
                "tcp-services/db/allow", "tcp-services/db/deny",
            ];
            let mut announced = Announced::default();
            let mut raw = Snapshot::default();
            for (revision, step) in steps.into_iter().enumerate() {
                for (writer, path, value) in step {
                    let key = format!("{}{}", writers[writer], paths[path]);
                    match value {
                        Some(value) => raw.put(key, vec![value]),
                        None => { raw.remove(&key); }
                    }
                }
                raw.set_revision(revision as u64);
                let merged = announced.follow(&raw);
                let expected = at_once(&raw);
                prop_assert_eq!(shown(&merged), shown(&expected));
                prop_assert_eq!(merged.digest(), expected.digest());
                prop_assert_eq!(merged.revision(), raw.revision());
                let mut anew = Announced::default();
                anew.follow(&raw);
                prop_assert_eq!(announced.problems(), anew.problems());
            }
        }
    }
}
