//! Asks DNS for the names that upstreams have, again and again, and keeps what was answered last.
//!
//! One task follows what is wanted and publishes what is known. An answer that cannot be had changes
//! nothing: neither an error nor silence takes addresses away. Another answer does, and so does "no such name"
//! when it has been said for a while: its addresses may be somebody else's by then. TTLs are followed where they are short, and not believed where they are long.

mod ask;
mod system;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::backoff::Backoff;
use crate::dns::{self, ADDRESSES, Known, NAMES, Question, Settings, Trouble};
use crate::names::UnitName;
use ask::{Asked, Asker, Memory};
use system::System;

/// Questions under way at once.
const AT_ONCE: usize = 64;

/// A name is not asked for more often, however short its TTL is.
const FLOOR: Duration = Duration::from_secs(1);

/// The first wait after a failure, at most.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// A name has to be nothing for this long before its last addresses go: a server that starts may say so of all.
const HOLD: Duration = Duration::from_secs(10);

/// How often the system's own files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Names that are logged one by one within one look; the rest are counted.
const LOGGED: u32 = 10;

/// What the plan in force wants to know.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// And who does.
    pub questions: OrdMap<Question, OrdSet<UnitName>>,
    pub settings: Settings,
}

impl Wanted {
    /// Whether they are surely the same. Costs nothing by the number of names.
    pub fn is_like(&self, other: &Self) -> bool {
        self.questions.ptr_eq(&other.questions) && self.settings == other.settings
    }
}

/// Follows `wanted` until its sender is gone. What `known` has at the start is what was answered before.
pub async fn run(mut wanted: watch::Receiver<Wanted>, known: watch::Sender<Known>) {
    let settings = wanted.borrow().settings.clone();
    let mut resolver = Resolver {
        system: System::look(),
        asker: None,
        settings,
        asked: BTreeMap::new(),
        due: BTreeSet::new(),
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
        known,
        told: 0,
        untold: 0,
    };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let newest = wanted.borrow_and_update().clone();
    resolver.follow(newest);
    loop {
        let next = resolver.start_due();
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let newest = wanted.borrow_and_update().clone();
                resolver.follow(newest);
            }
            Some(joined) = resolver.tasks.join_next_with_id() => resolver.take(joined),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            _ = look.tick() => resolver.look(),
        }
    }
}

struct Resolver {
    /// The files of the system that say whom to ask.
    system: System,
    /// Made when the first name is asked for, and again when anything of it changes.
    asker: Option<Arc<Asker>>,
    settings: Settings,
    asked: BTreeMap<Question, State>,
    /// Those that are not under way, by when they are to be asked.
    due: BTreeSet<(Instant, Question)>,
    tasks: JoinSet<Asked>,
    under_way: HashMap<Id, Question>,
    known: watch::Sender<Known>,
    /// Lines that were logged since the last look, and those that were not.
    told: u32,
    untold: u32,
}

/// Of one question.
struct State {
    memory: Memory,
    backoff: Backoff,
    /// The task that asks now.
    task: Option<Id>,
    due: Instant,
    /// Since when every answer says that there is nothing of this name.
    nothing_since: Option<Instant>,
}

impl Resolver {
    fn follow(&mut self, wanted: Wanted) {
        if wanted.settings != self.settings {
            self.settings = wanted.settings;
            self.renew();
        }
        let (questions, beyond): (Vec<_>, Vec<_>) = {
            let mut all = wanted.questions.keys().cloned();
            (all.by_ref().take(NAMES).collect(), all.collect())
        };
        let is_wanted = |q: &Question| questions.binary_search(q).is_ok();
        let gone: Vec<_> = self
            .asked
            .keys()
            .filter(|q| !is_wanted(q))
            .cloned()
            .collect();
        for question in &gone {
            if let Some(state) = self.asked.remove(question) {
                self.due.remove(&(state.due, question.clone()));
                if let Some(id) = state.task {
                    // What it comes to is nobody's answer any more.
                    self.under_way.remove(&id);
                }
            }
        }
        let now = Instant::now();
        for question in questions {
            if !self.asked.contains_key(&question) {
                self.due.insert((now, question.clone()));
                let last = self.known.borrow().answers.get(&question).cloned();
                let state = State {
                    memory: ask::remembered(&question, last.as_deref()),
                    backoff: self.backoff(),
                    task: None,
                    due: now,
                    nothing_since: None,
                };
                self.asked.insert(question, state);
            }
        }
        self.known.send_if_modified(|known| {
            let before = known.clone();
            for question in &gone {
                known.answers.remove(question);
            }
            let over = known.troubles.keys();
            let over = over.filter(|question| !self.asked.contains_key(question));
            for question in over.cloned().collect::<Vec<_>>() {
                known.troubles.remove(&question);
            }
            for question in beyond {
                known.troubles.insert(question, Trouble::Beyond);
            }
            *known != before
        });
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(FIRST_WAIT, self.settings.interval.max(FIRST_WAIT))
    }

    /// Starts what is due and gives when the next one is.
    fn start_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while self.tasks.len() < AT_ONCE {
            let (due, question) = self.due.first()?.clone();
            if due > now {
                return Some(due);
            }
            self.due.pop_first();
            let (settings, system) = (&self.settings, &self.system);
            let asker = self
                .asker
                .get_or_insert_with(|| Arc::new(Asker::new(settings, system)))
                .clone();
            let Some(state) = self.asked.get_mut(&question) else {
                continue;
            };
            let (asks, memory) = (question.clone(), state.memory.clone());
            let task = self
                .tasks
                .spawn(async move { asker.ask(&asks, memory).await });
            state.task = Some(task.id());
            self.under_way.insert(task.id(), question);
        }
        None
    }

    fn take(&mut self, joined: Result<(Id, Asked), JoinError>) {
        let (id, asked) = match joined {
            Ok((id, asked)) => (id, asked),
            Err(error) => (error.id(), Asked::failed("the lookup broke off")),
        };
        let Some(question) = self.under_way.remove(&id) else {
            return;
        };
        let Some(state) = self.asked.get_mut(&question) else {
            return;
        };
        state.task = None;
        let last = self.known.borrow().answers.get(&question).cloned();
        let result = match asked.targets {
            Ok(mut all) => {
                if !asked.is_whole {
                    // Nobody knows which of them belong to what is missing.
                    all.extend(last.iter().flat_map(|last| last.iter()));
                }
                let (answer, count) = dns::targets(all);
                match answer.is_empty() {
                    true => Err("no address that can be used".to_owned()),
                    false => Ok((answer, count)),
                }
            }
            Err(reason) => Err(reason),
        };
        let now = Instant::now();
        state.nothing_since = match result.is_err() && asked.is_nothing {
            true => state.nothing_since.or(Some(now)),
            false => None,
        };
        let held = state.nothing_since.map(|since| now - since);
        let is_gone = last.is_some() && held.is_some_and(|held| held >= HOLD);
        if is_gone {
            state.memory = Memory::new();
        }
        let wait = match &result {
            Ok(_) => {
                state.backoff.reset();
                state.memory = asked.memory;
                let ttl = asked.ttl.unwrap_or(self.settings.interval);
                // Up to a tenth less, so that many names do not fall into step.
                let wait = ttl.max(FLOOR).min(self.settings.interval);
                wait.mul_f64(1.0 - fastrand::f64() / 10.0)
            }
            Err(_) => {
                let wait = state.backoff.next_wait();
                let left = held.and_then(|held| HOLD.checked_sub(held));
                left.map_or(wait, |left| wait.min(left.max(FLOOR)))
            }
        };
        state.due = now + wait;
        self.due.insert((state.due, question.clone()));
        if is_gone {
            tracing::warn!(name = %question, event = "name_lost", "name stands for nothing any more, what it stood for leaves");
            self.known.send_modify(|known| {
                known.answers.remove(&question);
            });
        }
        self.publish(&question, result, last.is_some() && !is_gone);
    }

    fn publish(
        &mut self,
        question: &Question,
        result: Result<(dns::Answer, usize), String>,
        has_last: bool,
    ) {
        let trouble = match &result {
            Ok((_, count)) if *count > ADDRESSES => Some(Trouble::TooMany(*count)),
            Ok(_) => None,
            Err(reason) => Some(Trouble::Failed(reason.clone())),
        };
        let before = self.known.borrow().troubles.get(question).cloned();
        self.tell(question, before.as_ref(), trouble.as_ref(), has_last);
        self.known.send_if_modified(|known| {
            let mut is_news = false;
            if let Ok((answer, _)) = result
                && known.answers.get(question) != Some(&answer)
            {
                tracing::debug!(name = %question, addresses = answer.len(), "name stands for others now");
                known.answers.insert(question.clone(), answer);
                is_news = true;
            }
            if before != trouble {
                match trouble {
                    Some(trouble) => known.troubles.insert(question.clone(), trouble),
                    None => known.troubles.remove(question),
                };
                is_news = true;
            }
            is_news
        });
    }

    /// Logs what begins and what ends, not what goes on.
    fn tell(
        &mut self,
        question: &Question,
        before: Option<&Trouble>,
        now: Option<&Trouble>,
        has_last: bool,
    ) {
        if before.is_some() == now.is_some() {
            return;
        }
        self.told += 1;
        if self.told > LOGGED {
            self.untold += 1;
            return;
        }
        match now {
            Some(Trouble::Failed(reason)) => {
                let serving = if has_last { "last answer" } else { "nothing" };
                tracing::warn!(name = %question, reason, serving, event = "name_lost", "name does not resolve");
            }
            Some(reason) => {
                tracing::warn!(name = %question, %reason, event = "name_lost", "name resolves in part")
            }
            None => tracing::info!(name = %question, event = "name_back", "name resolves again"),
        }
    }

    fn look(&mut self) {
        if self.untold > 0 {
            let more = self.untold;
            tracing::warn!(
                more,
                event = "name_lost",
                "more names do not resolve, or do again: see the status"
            );
        }
        (self.told, self.untold) = (0, 0);
        if self.asked.is_empty() {
            return;
        }
        if self.system.has_changed() {
            self.system = System::look();
            tracing::info!("resolv.conf or hosts changed, names are resolved anew");
            self.renew();
        }
    }

    /// Asks for everything by other rules.
    fn renew(&mut self) {
        self.asker = None;
        // What is under way was asked of others: its answers are none any more.
        self.under_way.clear();
        let now = Instant::now();
        self.due.clear();
        let backoff = self.backoff();
        for (question, state) in &mut self.asked {
            state.backoff = backoff.clone();
            state.task = None;
            state.due = now;
            // What others said is not counted on.
            state.nothing_since = None;
            self.due.insert((now, question.clone()));
        }
    }
}
