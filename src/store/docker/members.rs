//! Who is there, and the keys that come of it. A change costs the services it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::feed::Problems;
use super::inspect::Seen;
use super::own::Own;
use crate::diag::Diagnostic;
use crate::link::{self, Announced, Ground, Reach, Said, Standing};
use crate::snapshot::Snapshot;

/// Containers by id, and the keys of their services.
pub(super) struct Members {
    ground: Ground,
    own: Option<String>,
    containers: BTreeMap<String, Container>,
    /// When containers were told to end.
    killed: BTreeMap<String, Killed>,
    /// Members of each service by name and id.
    services: BTreeMap<String, BTreeMap<(String, String), Announced>>,
    /// Services whose members changed.
    touched: BTreeSet<String>,
    keys: Snapshot,
    problems: Problems,
    /// Problems changed since the last tree.
    is_told_anew: bool,
}

struct Container {
    seen: Seen,
    said: Said,
    /// How it looked in the list.
    shown: Option<u64>,
    /// It could not be looked at last time.
    is_blurred: bool,
}

struct Killed {
    signal: String,
    at: i64,
}

impl Members {
    pub(super) fn new(link: Option<String>, reach: Reach) -> Self {
        Self {
            ground: Ground {
                standing: Standing::Host,
                reach,
                link,
            },
            own: None,
            containers: BTreeMap::new(),
            killed: BTreeMap::new(),
            services: BTreeMap::new(),
            touched: BTreeSet::new(),
            keys: Snapshot::default(),
            problems: Problems::default(),
            is_told_anew: false,
        }
    }

    pub(super) fn keys(&self) -> &Snapshot {
        &self.keys
    }

    pub(super) fn problems(&mut self) -> Arc<Vec<Diagnostic>> {
        self.problems.list()
    }

    pub(super) fn is_own(&self, id: &str) -> bool {
        self.own.as_deref() == Some(id)
    }

    /// Where this balancer stands; if that is another place, everybody is reached in another way.
    pub(super) fn stand(&mut self, own: Own) -> bool {
        if own.standing == self.ground.standing && own.id == self.own {
            return false;
        }
        self.ground.standing = own.standing;
        self.own = own.id;
        let all: Vec<_> = self
            .containers
            .iter()
            .map(|(id, c)| (id.clone(), c.seen.clone()))
            .collect();
        for (id, seen) in all {
            self.read(&id, seen);
        }
        true
    }

    /// Whether a container was started after that time.
    pub(super) fn started_after(&self, id: &str, at: i64) -> bool {
        let container = self.containers.get(id);
        container.is_some_and(|container| container.seen.started_at > at)
    }

    /// Those of a list that are new, look different, or could not be looked at.
    pub(super) fn to_look_at(&self, listed: &BTreeMap<String, u64>) -> Vec<String> {
        let unknown = listed
            .iter()
            .filter(|(id, shown)| match self.containers.get(*id) {
                Some(container) => container.is_blurred || container.shown != Some(**shown),
                None => true,
            });
        unknown.map(|(id, _)| id.clone()).collect()
    }

    /// Removes who is not in the list.
    pub(super) fn keep_only(&mut self, listed: &BTreeMap<String, u64>) -> bool {
        let gone: Vec<_> = self
            .containers
            .keys()
            .filter(|id| !listed.contains_key(*id))
            .cloned()
            .collect();
        self.killed.retain(|id, _| listed.contains_key(id));
        for id in &gone {
            self.remove(id);
        }
        !gone.is_empty()
    }

    /// A container as it is now. Whether it is different from before.
    pub(super) fn put(&mut self, id: &str, seen: Seen, shown: Option<u64>) -> bool {
        if let Some(known) = self.containers.get_mut(id)
            && known.seen == seen
            && !known.is_blurred
        {
            known.shown = shown.or(known.shown);
            return false;
        }
        if self
            .killed
            .get(id)
            .is_some_and(|killed| killed.at < seen.started_at)
        {
            self.killed.remove(id);
        }
        self.read(id, seen);
        if let Some(known) = self.containers.get_mut(id) {
            known.shown = shown;
        }
        true
    }

    /// It was sent a signal. If that ends it, nobody is sent to it from now on.
    pub(super) fn killed(&mut self, id: &str, signal: &str, at: i64) {
        let killed = Killed {
            signal: signal.to_owned(),
            at,
        };
        let Some(container) = self.containers.get(id) else {
            // It is looked at soon, and whether the signal ends it is seen then.
            self.killed.insert(id.to_owned(), killed);
            return;
        };
        if container.seen.started_at > at
            || !ends(&killed.signal, container.seen.stop_signal.as_deref())
        {
            return;
        }
        self.killed.insert(id.to_owned(), killed);
        let seen = container.seen.clone();
        self.read(id, seen);
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(container) = self.containers.remove(id) else {
            return false;
        };
        self.leave(id, &container);
        true
    }

    /// A container that cannot be looked at stays as it was.
    pub(super) fn blur(&mut self, id: &str, problem: &str) -> bool {
        let short = id.get(..12).unwrap_or(id);
        let name = match self.containers.get_mut(id) {
            Some(container) => {
                container.is_blurred = true;
                container.seen.facts.name.clone()
            }
            None => short.to_owned(),
        };
        let message = format!("{name}: cannot be looked at, stays as it was: {problem}");
        self.problems
            .insert(&blurred(id), Diagnostic::warning("unreadable", message));
        self.is_told_anew = true;
        false
    }

    /// Brings the keys of touched services up to date. Whether there is anything to publish.
    pub(super) fn renew(&mut self) -> bool {
        let before = self.keys.clone();
        for dir in std::mem::take(&mut self.touched) {
            self.forget_problems(&format!("{dir}\0"));
            let members = self.services.get(&dir);
            let members = members
                .into_iter()
                .flatten()
                .map(|((name, _), said)| (name.as_str(), said));
            let (keys, problems) = link::merge(members);
            let gone: Vec<_> = self
                .keys
                .under(&dir)
                .map(|(key, _)| key.clone())
                .filter(|key| !keys.contains_key(&key[dir.len() + 1..]))
                .collect();
            for key in gone {
                self.keys.remove(&key);
            }
            for (key, value) in keys {
                self.keys.put(format!("{dir}/{key}"), value);
            }
            self.tell(&format!("{dir}\0"), problems);
        }
        let is_told_anew = std::mem::take(&mut self.is_told_anew);
        is_told_anew || self.keys.digest() != before.digest() || !self.keys.same_keys(&before)
    }

    fn read(&mut self, id: &str, seen: Seen) {
        if let Some(old) = self.containers.remove(id) {
            self.leave(id, &old);
        }
        let is_ending = self.killed.get(id).is_some_and(|killed| {
            killed.at >= seen.started_at && ends(&killed.signal, seen.stop_signal.as_deref())
        });
        let said = match seen.is_up && !is_ending && !self.is_own(id) {
            true => link::read(&seen.facts, &self.ground),
            false => Said::default(),
        };
        for service in &said.services {
            let members = self.services.entry(service.dir.clone()).or_default();
            members.insert((seen.facts.name.clone(), id.to_owned()), service.clone());
            self.touched.insert(service.dir.clone());
        }
        self.tell(&words(id), said.problems.clone());
        let container = Container {
            seen,
            said,
            shown: None,
            is_blurred: false,
        };
        self.containers.insert(id.to_owned(), container);
    }

    /// Takes a container out of its services, with its problems.
    fn leave(&mut self, id: &str, container: &Container) {
        for service in &container.said.services {
            if let Some(members) = self.services.get_mut(&service.dir) {
                members.remove(&(container.seen.facts.name.clone(), id.to_owned()));
                if members.is_empty() {
                    self.services.remove(&service.dir);
                }
            }
            self.touched.insert(service.dir.clone());
        }
        if !container.said.problems.is_empty() {
            self.forget_problems(&words(id));
        }
        if container.is_blurred {
            self.problems.remove(&blurred(id));
            self.is_told_anew = true;
        }
    }

    fn tell(&mut self, of: &str, problems: Vec<Diagnostic>) {
        for (number, problem) in problems.into_iter().enumerate() {
            self.problems.insert(&format!("{of}{number:06}"), problem);
            self.is_told_anew = true;
        }
    }

    fn forget_problems(&mut self, of: &str) {
        self.problems.retain(|key| !key.starts_with(of));
        self.is_told_anew = true;
    }
}

/// Under which problems of a container's words are kept.
fn words(id: &str) -> String {
    format!("container {id}\0")
}

fn blurred(id: &str) -> String {
    format!("unreadable {id}")
}

/// Whether a signal ends a container. `SIGTERM`, `TERM` and `15` are one.
fn ends(signal: &str, stop_signal: Option<&str>) -> bool {
    const ENDING: [(&str, &str); 4] = [("INT", "2"), ("QUIT", "3"), ("KILL", "9"), ("TERM", "15")];
    let plain = |text: &str| {
        let name = text.trim().to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        number(name).unwrap_or(name).to_owned()
    };
    let signal = plain(signal);
    ENDING.iter().any(|(_, number)| signal == *number)
        || stop_signal.is_some_and(|stop| plain(stop) == signal)
}

/// Signals that programs take for their end, and those of which others ask whether they are.
fn number(name: &str) -> Option<&'static str> {
    Some(match name {
        "HUP" => "1",
        "INT" => "2",
        "QUIT" => "3",
        "KILL" => "9",
        "USR1" => "10",
        "USR2" => "12",
        "TERM" => "15",
        "WINCH" => "28",
        "PWR" => "30",
        "RTMIN+3" => "37",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_signals_end_a_container_and_others_do_not() {
        for signal in [
            "15", "SIGTERM", "TERM", "9", "KILL", "2", "sigint", "3", "QUIT",
        ] {
            assert!(ends(signal, None), "{signal}");
        }
        for signal in ["1", "HUP", "10", "SIGUSR1", "12", "28", "", "x"] {
            assert!(!ends(signal, None), "{signal}");
        }
        assert!(
            ends("28", Some("SIGWINCH"))
                && ends("SIGWINCH", Some("28"))
                && ends("37", Some("SIGRTMIN+3"))
        );
        assert!(!ends("1", Some("SIGWINCH")) && ends("TERM", Some("SIGWINCH")));
    }
}
