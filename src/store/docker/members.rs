//! Who is there, and the keys that come of it. A change costs the services it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::super::feed::Problems;
use super::contested::Contested;
use super::inspect::Seen;
use super::own::Own;
use super::services::Services;
use super::signal::ends;
use super::swarm::{Member, is_of_swarm};
use crate::diag::Diagnostic;
use crate::link::{self, Facts, Ground, Kind, Reach, Said, Standing};
use crate::snapshot::Snapshot;

/// For how long a task is taken for ended before Swarm has heard of it.
const SWARM_KNOWS: Duration = Duration::from_secs(60);

/// Containers and members of a Swarm by id, and the keys of their services.
pub(super) struct Members {
    ground: Ground,
    own: Option<String>,
    containers: BTreeMap<String, Container>,
    /// When containers were told to end.
    killed: BTreeMap<String, Killed>,
    /// What Swarm says that there is, while it is followed.
    swarm: Option<BTreeMap<String, Member>>,
    /// Containers of tasks that ended here before Swarm said so.
    ended: BTreeMap<String, Instant>,
    services: Services,
    /// Services whose requests another one has, as it was told.
    contested: Contested,
    sharing: BTreeMap<String, String>,
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
            contested: Contested::default(),
            ground: Ground {
                standing: Standing::Host,
                reach,
                link,
            },
            own: None,
            containers: BTreeMap::new(),
            killed: BTreeMap::new(),
            swarm: None,
            ended: BTreeMap::new(),
            services: Services::default(),
            sharing: BTreeMap::new(),
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
        self.settle();
        true
    }

    /// What a Swarm has now; `None` if this engine follows none. Whether anything is different.
    pub(super) fn put_swarm(&mut self, swarm: Option<BTreeMap<String, Member>>) -> bool {
        if self.swarm == swarm {
            return false;
        }
        let is_other = self.swarm.is_some() != swarm.is_some();
        let members = swarm.iter().flat_map(BTreeMap::values);
        let listed: BTreeSet<_> = members
            .filter_map(|member| member.container.as_ref())
            .collect();
        self.ended
            .retain(|id, at| listed.contains(id) || at.elapsed() < SWARM_KNOWS);
        self.swarm = swarm;
        if is_other {
            let tasks = self.containers.iter().filter(|(_, c)| is_task(&c.seen));
            let tasks: Vec<_> = tasks.map(|(id, c)| (id.clone(), c.seen.clone())).collect();
            for (id, seen) in tasks {
                self.read(&id, seen);
            }
        }
        self.settle();
        true
    }

    /// Brings members of the Swarm to what it says, without those that ended here.
    fn settle(&mut self) {
        let swarm = self.swarm.take();
        let none = BTreeMap::new();
        let wanted = swarm.as_ref().unwrap_or(&none);
        let is_here = |member: &Member| {
            let container = member.container.as_deref();
            container.is_none_or(|id| !self.ended.contains_key(id) && !self.is_own(id))
        };
        let here: BTreeMap<&String, &Member> = wanted
            .iter()
            .filter(|(_, member)| is_here(member))
            .collect();
        let gone = self.containers.keys().filter(|id| is_of_swarm(id));
        let gone: Vec<_> = gone.filter(|id| !here.contains_key(id)).cloned().collect();
        for id in gone {
            self.remove(&id);
        }
        for (id, member) in here {
            self.put(id, member.seen.clone(), None);
        }
        self.swarm = swarm;
    }

    /// A task's container ended here: nobody waits until Swarm says so.
    fn end_task(&mut self, id: &str) {
        let Some(swarm) = &self.swarm else {
            return;
        };
        self.ended.insert(id.to_owned(), Instant::now());
        let mut members = swarm.iter();
        if let Some((task, _)) = members.find(|(_, member)| member.container.as_deref() == Some(id))
        {
            let task = task.clone();
            self.remove(&task);
        }
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
            .filter(|id| !is_of_swarm(id) && !listed.contains_key(*id))
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
        let is_back = seen.is_up && self.ended.contains_key(id) && !self.killed.contains_key(id);
        self.read(id, seen);
        if let Some(known) = self.containers.get_mut(id) {
            known.shown = shown;
        }
        if is_back {
            self.ended.remove(id);
            self.settle();
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
            // One of a task's that was not looked at yet.
            if self.is_container_of_task(id) && ends(signal, None) {
                self.end_task(id);
            }
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
        let is_task = is_task(&seen);
        self.read(id, seen);
        if is_task {
            self.end_task(id);
        }
    }

    /// It does not run any more, as the engine says.
    pub(super) fn gone(&mut self, id: &str) {
        self.remove(id);
        if self.is_container_of_task(id) {
            self.end_task(id);
        }
    }

    fn is_container_of_task(&self, id: &str) -> bool {
        let mut members = self.swarm.iter().flat_map(BTreeMap::values);
        members.any(|member| member.container.as_deref() == Some(id))
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
        let mut contested = BTreeSet::new();
        for dir in self.services.touched() {
            self.tell_sharing(&dir);
            self.forget_problems(&format!("{dir}\0"));
            let (keys, problems) = link::merge(self.services.members(&dir));
            let gone: Vec<_> = self
                .keys
                .under(&dir)
                .map(|(key, _)| key.clone())
                .filter(|key| !keys.contains_key(&key[dir.len() + 1..]))
                .collect();
            for key in gone {
                self.keys.remove(&key);
            }
            contested.extend(self.contested.follow(&dir, &keys));
            for (key, value) in keys {
                self.keys.put(format!("{dir}/{key}"), value);
            }
            self.tell(&format!("{dir}\0"), problems);
        }
        for claim in contested {
            self.forget_problems(&format!("{claim}\0"));
            let problem = self.contested.problem(&claim);
            self.tell(&format!("{claim}\0"), problem.into_iter().collect());
        }
        let is_told_anew = std::mem::take(&mut self.is_told_anew);
        is_told_anew || self.keys.digest() != before.digest() || !self.keys.same_keys(&before)
    }

    /// A canary is nothing wrong, but everybody looks for its keys.
    fn tell_sharing(&mut self, dir: &str) {
        let now = self.services.shares_with(dir).map(str::to_owned);
        if self.sharing.get(dir) == now.as_ref() {
            return;
        }
        match now {
            Some(home) => {
                info!(
                    "{dir} asks for the same requests as {home}: its members are upstreams of that one"
                );
                self.sharing.insert(dir.to_owned(), home);
            }
            None => {
                self.sharing.remove(dir);
            }
        }
    }

    fn read(&mut self, id: &str, seen: Seen) {
        if let Some(old) = self.containers.remove(id) {
            self.leave(id, &old);
        }
        let is_ending = self.killed.get(id).is_some_and(|killed| {
            killed.at >= seen.started_at && ends(&killed.signal, seen.stop_signal.as_deref())
        });
        // What Swarm runs, it says itself.
        let is_left_out = self.swarm.is_some() && is_task(&seen);
        let said = match seen.is_up && !is_ending && !is_left_out && !self.is_own(id) {
            true => link::read(&seen.facts, &self.ground),
            false if seen.is_unhealthy && !is_left_out => Said {
                services: Vec::new(),
                problems: unhealthy(&seen.facts, &self.ground).into_iter().collect(),
            },
            false => Said::default(),
        };
        for service in &said.services {
            self.services.join(&seen.facts.name, id, service);
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
            self.services.leave(&container.seen.facts.name, id, service);
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

/// Who announces itself and cannot be a member is looked for in vain, unless somebody says so.
fn unhealthy(facts: &Facts, ground: &Ground) -> Option<Diagnostic> {
    let name = &facts.name;
    let service = link::read(facts, ground).services.into_iter().next()?;
    let message = format!(
        "{name}: is no upstream of {} while its own health check says that it is unhealthy",
        service.dir
    );
    let help =
        format!("see docker inspect {name}; --no-healthcheck leaves it to the balancer's checks");
    Some(Diagnostic::warning("unhealthy", message).help(help))
}

/// Whether a container is one of a Swarm's tasks.
fn is_task(seen: &Seen) -> bool {
    seen.facts.kind == Kind::Container && seen.facts.labels.contains_key("com.docker.swarm.task.id")
}

/// Under which problems of a container's words are kept.
fn words(id: &str) -> String {
    format!("container {id}\0")
}

fn blurred(id: &str) -> String {
    format!("unreadable {id}")
}
